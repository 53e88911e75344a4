// SPDX-License-Identifier: BSD-3-Clause
/*
 * One lock file by device and inode, in one directory that all daemons of the machine share, so
 * that no file is served twice. It is taken before the file is opened: our open(2) would recall the
 * lease of who serves it already. flock(2) belongs to the open file description, so it also refuses
 * the same inode twice in one process; the kernel lets go of it if we die.
 * Worker threads.
 */
#include "lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define OWNER_TEXT_BYTES 128

#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

/* "pid <number> export <name>", as try_take() writes it. */
static bool parse_owner(const char *text, long *pid, const char **name, size_t *name_len)
{
	static const char first[] = "pid ", second[] = " export ";
	char *end;

	if (strncmp(text, first, strlen(first)) != 0)
		return false;
	*pid = strtol(text + strlen(first), &end, 10);
	if (*pid <= 0 || strncmp(end, second, strlen(second)) != 0)
		return false;
	*name = end + strlen(second);
	*name_len = strspn(*name, NAME_CHARS);
	return *name_len > 0;
}

/* The owner's words, for people. They may not be there yet. */
static int say_busy(int fd, struct errtext *err)
{
	char text[OWNER_TEXT_BYTES] = "";
	const char *name;
	size_t len;
	long pid;

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0 || !parse_owner(text, &pid, &name, &len))
		return errtext_set(err, -EBUSY, "served already by another leaseholdd");
	if (pid == getpid())
		return errtext_set(err, -EBUSY, "served already by this daemon as export %.*s",
				   (int)len, name);
	return errtext_set(err, -EBUSY, "served already by leaseholdd pid %ld as export %.*s", pid,
			   (int)len, name);
}

/* 0, -EAGAIN if the owner removed the file meanwhile, or an error with its sentence. */
static int try_take(const char *path, const char *name, int *out, struct errtext *err)
{
	char text[OWNER_TEXT_BYTES];
	struct stat ours, named;
	int fd, ret;

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0644);
	if (fd < 0)
		return errtext_set(err, -errno, "cannot open lock file %s: %s", path,
				   strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		ret = errno == EWOULDBLOCK ? say_busy(fd, err)
					   : errtext_set(err, -errno, "cannot lock %s: %s", path,
							 strerror(errno));
		goto close_fd;
	}
	ret = -EAGAIN;
	if (fstat(fd, &ours) || stat(path, &named) || ours.st_dev != named.st_dev ||
	    ours.st_ino != named.st_ino)
		goto close_fd;
	(void)snprintf(text, sizeof(text), "pid %d export %s\n", (int)getpid(), name);
	ret = ftruncate(fd, 0) ? -errno : write_full(fd, text, strlen(text));
	if (ret) {
		(void)unlink(path);
		ret = errtext_set(err, ret, "cannot write lock file %s: %s", path, strerror(-ret));
		goto close_fd;
	}
	*out = fd;
	return 0;

close_fd:
	(void)close(fd);
	return ret;
}

static char *path_of(const char *dir, const struct stat *st)
{
	char *path;

	if (asprintf(&path, "%s/lock-%u:%u-%llu", dir, major(st->st_dev), minor(st->st_dev),
		     (unsigned long long)st->st_ino) < 0)
		return NULL;
	return path;
}

int lockfile_take(const char *dir, const struct stat *st, const char *name, struct lockfile *lock,
		  struct errtext *err)
{
	char *path;
	int fd = -1, ret = -EAGAIN;

	if (mkdir(dir, 0755) && errno != EEXIST)
		return errtext_set(err, -errno, "cannot make the directory of lock files %s: %s",
				   dir, strerror(errno));
	path = path_of(dir, st);
	if (!path)
		return errtext_set(err, -ENOMEM, "out of memory");
	while (ret == -EAGAIN)
		ret = try_take(path, name, &fd, err);
	if (ret) {
		free(path);
		return ret;
	}
	*lock = (struct lockfile){.fd = fd, .path = path};
	return 0;
}

int lockfile_look(const char *dir, const struct stat *st, struct errtext *err)
{
	char *path = path_of(dir, st);
	int fd, ret = 0;

	if (!path)
		return errtext_set(err, -ENOMEM, "out of memory");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
	free(path);
	if (fd < 0)
		return 0;
	/* Who starts in this very moment and finds it locked by us reads no owner in it: at worst it is told
	 * of another leaseholdd. */
	if (flock(fd, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK)
		ret = say_busy(fd, err);
	(void)close(fd);
	return ret;
}

void lockfile_drop(struct lockfile *lock)
{
	/* While still locked: who opened it before will see that it is no longer named. */
	(void)unlink(lock->path);
	(void)close(lock->fd);
	free(lock->path);
}
