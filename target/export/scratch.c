// SPDX-License-Identifier: BSD-3-Clause
/*
 * Scratch files: for the self-test of adapters, on the export's own file system and prepared as its
 * own memory is; for a device, in memory. Workers. A scratch file is linked until it is freed, so that
 * a process that dies with its memory pinned leaves no unlinked one behind (the kernel would hang in
 * its exit); who comes later removes what is left: the owner's flock(2) tells the living from the dead.
 */
#include "export/export.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "addresses.h"
#include "scratch.h"
#include "util/log.h"

#define SCRATCH_PREFIX	   ".leasehold-probe-"
#define SCRATCH_ATTEMPTS   16
#define SCRATCH_ALIGN	   MIB(2)
#define HUGETLBFS_FS_MAGIC 0x958458f6

static atomic_uint scratch_counter;

/* The folder of the file itself, which a link may hide. */
static int open_folder(const struct export *e, struct stat *st, int *dir)
{
	char link[64], path[PATH_MAX];
	ssize_t n;
	char *slash;

	if (fstat(export_fd(e), st) != 0)
		return -errno;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", export_fd(e));
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash || path[0] != '/')
		return -ENOENT;
	slash[slash == path ? 1 : 0] = '\0';
	*dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *dir < 0 ? -errno : 0;
}

/* Removes what processes that are gone have left. */
static void remove_stale(int dir)
{
	DIR *d;
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;

	d = copy < 0 ? NULL : fdopendir(copy);
	if (!d) {
		if (copy >= 0)
			(void)close(copy);
		return;
	}
	while ((entry = readdir(d))) {
		int fd;

		if (strncmp(entry->d_name, SCRATCH_PREFIX, strlen(SCRATCH_PREFIX)) != 0)
			continue;
		fd = openat(dir, entry->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0 && unlinkat(dir, entry->d_name, 0) == 0)
			log_info("removed %s, left by a process that is gone", entry->d_name);
		(void)close(fd);
	}
	(void)closedir(d);
}

/* Makes the file and locks it. Between the two another process may take it for stale. */
int scratch_create(int dir, char name[SCRATCH_NAME_BYTES], int *result)
{
	for (int i = 0; i < SCRATCH_ATTEMPTS; i++) {
		struct stat st;
		int fd;

		(void)snprintf(name, SCRATCH_NAME_BYTES, SCRATCH_PREFIX "%d-%u", (int)getpid(),
			       atomic_fetch_add(&scratch_counter, 1));
		fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 1) {
			*result = fd;
			return 0;
		}
		(void)close(fd);
	}
	return -EBUSY;
}

/* What the mapping is aligned to: huge pages where there may be some. */
static uint64_t scratch_align(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == HUGETLBFS_FS_MAGIC)
		return max_u64(SCRATCH_ALIGN, (uint64_t)fs.f_bsize);
	return SCRATCH_ALIGN;
}

static int map(const struct export *e, struct export_scratch *s, uint64_t align)
{
	int err = addresses_map(s->fd, s->bytes, align, export_medium(e) == EXPORT_DAX, &s->base);

	if (err)
		return err;
	return madvise(s->base, s->bytes, MADV_POPULATE_WRITE) == 0 ? 0 : -errno;
}

int export_scratch_close(const struct export_scratch *s, bool closed)
{
	return mprotect(s->base, s->bytes, closed ? PROT_NONE : PROT_READ | PROT_WRITE) == 0
		       ? 0
		       : -errno;
}

int scratch_unnamed(const struct export *e, int *fd)
{
	struct stat st;
	int dir, new, err = open_folder(e, &st, &dir);

	if (err)
		return err;
	new = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	err = new < 0 ? -errno : 0;
	(void)close(dir);
	if (err == 0)
		*fd = new;
	return err;
}

/* Instead of a device, which has room for nothing but its content: memory that can be pinned as well. */
static int scratch_in_memory(const struct export *e, uint64_t bytes, struct export_scratch *scratch,
			     struct errtext *text)
{
	struct export_scratch s = {.dir = -1, .bytes = align_up(bytes, SCRATCH_ALIGN)};
	int err = 0;

	s.fd = memfd_create("leasehold-probe", MFD_CLOEXEC);
	if (s.fd < 0 || ftruncate(s.fd, (off_t)s.bytes) != 0)
		err = -errno;
	if (err == 0)
		err = map(e, &s, SCRATCH_ALIGN);
	if (err) {
		export_scratch_free(&s);
		return errtext_set(text, err, "no memory for the self-test: %s", strerror(-err));
	}
	*scratch = s;
	return 0;
}

int export_scratch_new(const struct export *e, uint64_t bytes, struct export_scratch *scratch,
		       struct errtext *text)
{
	struct export_scratch s = {.fd = -1, .dir = -1};
	struct stat file, st;
	uint64_t align;
	int err;

	if (export_medium(e) == EXPORT_DEVICE)
		return scratch_in_memory(e, bytes, scratch, text);
	err = open_folder(e, &file, &s.dir);
	if (err)
		return errtext_set(text, err, "the folder of %s cannot be opened: %s",
				   export_path(e), strerror(-err));
	remove_stale(s.dir);
	err = scratch_create(s.dir, s.name, &s.fd);
	if (err) {
		(void)close(s.dir);
		return errtext_set(text, err, "no file for the self-test can be made beside %s: %s",
				   export_path(e), strerror(-err));
	}
	/* A kernel that lets fsdax be pinned at all wants a write lease under it, as under the export.
	 * Who opens the file waits until the test is done; we need not hear of him. */
	if (export_medium(e) == EXPORT_DAX && fcntl(s.fd, F_SETLEASE, F_WRLCK) == 0)
		(void)fcntl(s.fd, F_SETOWN, 0);
	align = scratch_align(s.fd);
	s.bytes = align_up(bytes, align);
	if (fstat(s.fd, &st) != 0)
		err = -errno;
	else if (st.st_dev != file.st_dev)
		err = -EXDEV;
	if (err == 0)
		err = -posix_fallocate(s.fd, 0, (off_t)s.bytes);
	if (err == 0)
		err = map(e, &s, align);
	if (err == 0 && fsync(s.fd) != 0 && errno != EINVAL)
		err = -errno;
	if (err) {
		export_scratch_free(&s);
		return errtext_set(
			text, err, "%llu KiB for the self-test beside %s: %s (room must be there)",
			(unsigned long long)(bytes / KIB(1)), export_path(e), strerror(-err));
	}
	*scratch = s;
	return 0;
}

void export_scratch_free(struct export_scratch *s)
{
	if (s->base)
		(void)munmap(s->base, s->bytes);
	if (s->dir >= 0) {
		(void)unlinkat(s->dir, s->name, 0);
		(void)close(s->dir);
	}
	if (s->fd >= 0)
		(void)close(s->fd);
	*s = (struct export_scratch){.fd = -1, .dir = -1};
}

int export_device(const struct export *e, dev_t *device)
{
	struct stat st;

	if (fstat(export_fd(e), &st) != 0)
		return -errno;
	*device = st.st_dev;
	return 0;
}
