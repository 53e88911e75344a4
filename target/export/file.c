// SPDX-License-Identifier: BSD-3-Clause
/*
 * An export's birth and end: which file it is, whether it may be served, its only open file
 * description. Takes no lease and keeps nothing mapped. Worker threads.
 */
#include "file.h"

#include <errno.h>
#include <limits.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "extents.h"
#include "fill.h"
#include "identity.h"
#include "journal.h"
#include "kept.h"
#include "low_fd.h"
#include "overlay.h"
#include "space.h"
#include "unshare.h"
#include "util/log.h"

/* How often another file may take the name's place while we look. */
#define OPEN_ATTEMPTS 5

uint64_t export_page_bytes(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- is it a file to serve? ------------------------------------------------------------------ */

/* Of a device `device` is filled in. */
static int check_kind(const struct stat *st, const char *path, uint32_t lba_bytes,
		      struct device *device, struct errtext *err)
{
	if (S_ISDIR(st->st_mode))
		return errtext_set(err, -EISDIR, "%s is a directory: name a file", path);
	if (S_ISCHR(st->st_mode))
		return device_look(st->st_rdev, path, device, err);
	if (!S_ISREG(st->st_mode))
		return errtext_set(err, -EINVAL,
				   "%s is neither a regular file nor a device-dax device", path);
	if (st->st_size == 0)
		return errtext_set(err, -EINVAL, "%s is empty: give it a size first (truncate -s)",
				   path);
	if ((uint64_t)st->st_size < lba_bytes)
		return errtext_set(err, -EINVAL, "%s is smaller than a block of %u bytes", path,
				   lba_bytes);
	return 0;
}

static int say_open(int error, const char *path, struct errtext *err)
{
	int ret;

	switch (error) {
	case ENOENT:
		ret = device_missing(path, err);
		if (ret)
			return ret;
		return errtext_set(err, -ENOENT, "%s does not exist", path);
	case EWOULDBLOCK:
		return errtext_set(err, -EWOULDBLOCK,
				   "another process holds a lease on %s: stop it, or serve another "
				   "file",
				   path);
	case ETXTBSY:
		return errtext_set(err, -ETXTBSY, "%s is a program or swap file in use", path);
	default:
		return errtext_set(err, -error, "cannot open %s for reading and writing: %s", path,
				   strerror(error));
	}
}

/* Locks, then opens: the other order would recall the lease of who serves the file already. */
static int open_locked(struct export *e, const struct export_config *config, struct errtext *err)
{
	struct stat named, opened, lock;
	struct errtext why;
	int ret;

	if (stat(e->path, &named))
		return say_open(errno, e->path, err);
	ret = check_kind(&named, e->path, e->lba_bytes, &e->device, err);
	if (ret)
		return ret;
	lock = named;
	/* A device is the same one under whatever name. */
	if (S_ISCHR(named.st_mode)) {
		lock.st_dev = named.st_rdev;
		lock.st_ino = 0;
	}
	ret = lockfile_take(config->lock_dir, &lock, e->name, &e->lock, &why);
	if (ret)
		return errtext_set(err, ret, "%s: %.400s", e->path, why.text);
	/* One that was kept has the lease on it, which an open(2) would recall. */
	e->fd = config->keep ? kept_take(&named) : -1;
	e->taken_over = e->fd >= 0;
	if (e->fd < 0)
		e->fd = open(e->path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (e->fd >= 0 && !e->taken_over)
		e->fd = low_fd(e->fd);
	if (e->fd < 0) {
		ret = say_open(errno, e->path, err);
		goto drop_lock;
	}
	if (fstat(e->fd, &opened)) {
		ret = say_open(errno, e->path, err);
		goto close_fd;
	}
	if (opened.st_dev != named.st_dev || opened.st_ino != named.st_ino) {
		ret = errtext_set(err, -EAGAIN, "%s was replaced while it was opened", e->path);
		goto close_fd;
	}
	ret = check_kind(&opened, e->path, e->lba_bytes, &e->device, err);
	if (ret)
		goto close_fd;
	if (S_ISCHR(opened.st_mode))
		e->medium = EXPORT_DEVICE;
	e->dev = opened.st_dev;
	e->ino = opened.st_ino;
	return 0;

close_fd:
	low_fd_close(e->fd);
drop_lock:
	lockfile_drop(&e->lock);
	return ret;
}

int export_look(const struct export_config *config, struct errtext *err)
{
	/* As much of one as tells whose it is. */
	struct export e = {.fd = -1, .path = (char *)(uintptr_t)config->path};
	struct stat st, lock;
	char holders[256];
	struct errtext why;
	int ret;

	if (stat(config->path, &st))
		return say_open(errno, config->path, err);
	ret = check_kind(&st, config->path, config->lba_bytes, &e.device, err);
	if (ret)
		return ret;
	if (faccessat(AT_FDCWD, config->path, R_OK | W_OK, AT_EACCESS))
		return say_open(errno, config->path, err);
	lock = st;
	if (S_ISCHR(st.st_mode)) {
		lock.st_dev = st.st_rdev;
		lock.st_ino = 0;
	}
	ret = lockfile_look(config->lock_dir, &lock, &why);
	if (ret)
		return errtext_set(err, ret, "%s: %.400s", config->path, why.text);
	e.dev = st.st_dev;
	e.ino = st.st_ino;
	if (!S_ISCHR(st.st_mode) && export_holders(&e, holders, sizeof(holders)) > 0)
		return errtext_set(err, -EAGAIN, "%s is open or mapped elsewhere: by %.250s",
				   config->path, holders);
	return 0;
}

bool export_map_sync_works(int fd)
{
	size_t page = export_page_bytes();
	void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);

	if (p == MAP_FAILED)
		return false;
	(void)munmap(p, page);
	return true;
}

static int find_medium(struct export *e, bool software_fabric_only, struct errtext *err)
{
	struct statfs fs;

	if (e->medium == EXPORT_DEVICE) {
		e->map_align = max_u64(MIB(2), e->device.align);
		return 0;
	}
	if (fstatfs(e->fd, &fs))
		return errtext_set(err, -errno, "cannot look at the file system of %s: %s", e->path,
				   strerror(errno));
	e->map_align = MIB(2);
	e->hugetlbfs = fs.f_type == HUGETLBFS_MAGIC;
	if (fs.f_type == HUGETLBFS_MAGIC)
		e->map_align = max_u64(e->map_align, (uint64_t)fs.f_bsize);
	if (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC)
		e->medium = EXPORT_MEMORY;
	else if (export_map_sync_works(e->fd))
		e->medium = EXPORT_DAX;
	else
		e->medium = EXPORT_PAGE_CACHE;
	if (e->medium == EXPORT_PAGE_CACHE && !software_fabric_only)
		return errtext_set(
			err, -EMEDIUMTYPE,
			"%s is on a file system without DAX, which adapters cannot reach: "
			"put it on one mounted with dax, on tmpfs or on hugetlbfs, or have "
			"only listeners of the software fabric",
			e->path);
	return 0;
}

/* What was declared of the machine's adapters: can it be so of this export? */
static int check_declared(const struct export *e, bool software_fabric_only, struct errtext *err)
{
	if (!e->inbound_persistent)
		return 0;
	if (software_fabric_only)
		return errtext_set(
			err, -EMEDIUMTYPE,
			"inbound_writes = \"persistent\" is of what adapters write, and every "
			"listener is of the software fabric, which has the processor write through "
			"its caches: leave it out for %s",
			e->path);
	if (export_volatile_cache(e))
		return errtext_set(
			err, -EMEDIUMTYPE,
			"inbound_writes = \"persistent\" cannot be so of %s (%s), where nothing "
			"that arrives survives a power failure by itself: leave it out",
			e->path, export_medium_text(e->medium));
	return 0;
}

bool export_state_is_volatile(const char *state_dir)
{
	struct statfs fs = {0};
	char parent[PATH_MAX];
	int fd = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool is;

	/* Its last part may be missing yet. */
	if (fd < 0 && errno == ENOENT) {
		(void)snprintf(parent, sizeof(parent), "%s", state_dir);
		fd = open(dirname(parent), O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0)
		return false;
	is = !fstatfs(fd, &fs) &&
	     (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC);
	(void)close(fd);
	return is;
}

/* What was asked for: can it be kept? */
static int check_atomic(const struct export *e, struct errtext *err)
{
	if (!e->sector_atomic || e->read_only)
		return 0;
	if (e->state_dir[0] == '\0')
		return errtext_set(err, -EINVAL,
				   "sector_atomic = \"journal\" needs a place for the journal: set "
				   "state_dir, or leave it out for %s",
				   e->path);
	if (e->medium == EXPORT_PAGE_CACHE)
		return errtext_set(
			err, -EMEDIUMTYPE,
			"sector_atomic = \"journal\" cannot be so of %s (page cache): the "
			"kernel writes its pages back when it likes: leave it out",
			e->path);
	if (!export_volatile_cache(e) && export_state_is_volatile(e->state_dir))
		return errtext_set(
			err, -EMEDIUMTYPE,
			"sector_atomic = \"journal\" of %s (%s) needs a state_dir that survives a "
			"power failure, and %s is on tmpfs: set state_dir to a folder on a disk, "
			"at "
			"best on DAX, or leave it out",
			e->path, export_medium_text(e->medium), e->state_dir);
	return 0;
}

static int find_overlay(struct export *e, struct errtext *err)
{
	char where[PATH_MAX];

	if (!overlay_over(OVERLAY_MOUNTS, e->path, where, sizeof(where)))
		return 0;
	e->overlay = strdup(where);
	return e->overlay ? 0 : errtext_set(err, -ENOMEM, "out of memory");
}

/* ---- birth and end --------------------------------------------------------------------------- */

static void free_strings(struct export *e)
{
	free(e->overlay);
	space_promise_end(e);
	fill_lock_fini(e);
	damage_fini(e->damage);
	free(e->damage);
	free(e->name);
	free(e->path);
	free(e->state_dir);
	free(e->identity_before);
	free(e);
}

int export_open(const struct export_config *config, struct export **e, struct errtext *err)
{
	struct export *new = calloc(1, sizeof(*new));
	struct journal *journal = NULL;
	int ret = -EAGAIN;

	if (!new)
		return errtext_set(err, -ENOMEM, "out of memory");
	new->damage = calloc(1, sizeof(*new->damage));
	if (!new->damage || damage_init(new->damage)) {
		free(new->damage);
		free(new);
		return errtext_set(err, -ENOMEM, "out of memory");
	}
	if (fill_lock_init(new)) {
		damage_fini(new->damage);
		free(new->damage);
		free(new);
		return errtext_set(err, -ENOMEM, "out of memory");
	}
	list_init(&new->promise_link);
	new->name = strdup(config->name);
	new->path = strdup(config->path);
	new->state_dir = strdup(config->state_dir);
	new->lba_bytes = config->lba_bytes;
	new->prepare = config->prepare;
	new->unshare = config->unshare;
	new->allocate_reserve_percent = config->allocate_reserve_percent;
	new->read_only = config->read_only;
	new->inbound_persistent = config->inbound_persistent;
	new->sector_atomic = config->sector_atomic;
	new->keep = config->keep;
	if (!new->name || !new->path || !new->state_dir) {
		ret = errtext_set(err, -ENOMEM, "out of memory");
		goto free_export;
	}
	if (config->lba_bytes != 512 && config->lba_bytes != 4096) {
		ret = errtext_set(err, -EINVAL, "blocks of %u bytes: 512 and 4096 are possible",
				  config->lba_bytes);
		goto free_export;
	}
	for (int i = 0; ret == -EAGAIN && i < OPEN_ATTEMPTS; i++)
		ret = open_locked(new, config, err);
	if (ret)
		goto free_export;
	ret = find_medium(new, config->software_fabric_only, err);
	if (!ret)
		ret = find_overlay(new, err);
	if (!ret)
		ret = check_declared(new, config->software_fabric_only, err);
	if (!ret)
		ret = check_atomic(new, err);
	/* Nobody takes a device's memory back. */
	new->closable = config->closable &&new->medium != EXPORT_DEVICE;
	if (!ret && export_is_dax(new))
		ret = persistence_find(new->fd, new->path,
				       max_u64(export_page_bytes(), new->device.align),
				       &new->persistence, err);
	if (!ret)
		ret = identity_get(config->state_dir, new, config->adopt, &new->identity,
				   &new->identity_before, &new->filled, err);
	if (!ret && new->unshare == EXPORT_UNSHARE_ON_ACQUIRE)
		ret = unshare_check(new, err);
	if (!ret && config->uuid &&
	    memcmp(config->uuid, new->identity.uuid, sizeof(new->identity.uuid)) != 0)
		ret = errtext_set(err, -ESTALE,
				  "%s is another disk than the one that hosts knew under this nsid "
				  "since the daemon started: give it another nsid",
				  new->path);
	if (!ret && export_atomic_bytes(new) > 0)
		ret = journal_open(new, &journal, err);
	atomic_init(&new->journal, journal);
	if (ret) {
		export_close(new);
		return ret;
	}
	if (new->keep && !new->taken_over)
		kept_store(new);
	*e = new;
	return 0;

free_export:
	free_strings(new);
	return ret;
}

void export_close(struct export *e)
{
	int err;

	if (!e)
		return;
	if (e->identity_before)
		journal_take_back(e->journal);
	else
		journal_close(e->journal);
	if (e->identity_before) {
		err = identity_take_back(e->state_dir, e->name, e->identity_before);
		if (err)
			log_warning("%s: its identity, which nobody was told, stays in %s: %s",
				    e->name, e->state_dir, strerror(-err));
	}
	if (e->keep)
		kept_forget(e);
	low_fd_close(e->fd);
	lockfile_drop(&e->lock);
	free_strings(e);
}

/* ---- what it is ------------------------------------------------------------------------------ */

const char *export_medium_text(enum export_medium medium)
{
	switch (medium) {
	case EXPORT_DAX:
		return "fsdax";
	case EXPORT_DEVICE:
		return "device-dax";
	case EXPORT_MEMORY:
		return "memory";
	case EXPORT_PAGE_CACHE:
		return "page cache";
	}
	return "unknown";
}

bool export_caches_survive(const struct export *e)
{
	return e->persistence.caches_survive;
}

const char *export_overlay(const struct export *e)
{
	return e->overlay;
}

bool export_taken_over(const struct export *e)
{
	return e->taken_over;
}

const char *export_name(const struct export *e)
{
	return e->name;
}

const char *export_path(const struct export *e)
{
	return e->path;
}

void export_became_known(struct export *e)
{
	free(e->identity_before);
	e->identity_before = NULL;
}

const struct export_identity *export_identity(const struct export *e)
{
	return &e->identity;
}

enum export_medium export_medium(const struct export *e)
{
	return e->medium;
}

uint32_t export_lba_bytes(const struct export *e)
{
	return e->lba_bytes;
}

bool export_read_only(const struct export *e)
{
	return e->read_only;
}

int export_fd(const struct export *e)
{
	return e->fd;
}

bool export_is_dax(const struct export *e)
{
	return e->medium == EXPORT_DAX || e->medium == EXPORT_DEVICE;
}

bool export_by_mapping_only(const struct export *e)
{
	return e->medium == EXPORT_DEVICE;
}

bool export_needs_no_lease(const struct export *e)
{
	return e->medium == EXPORT_DEVICE || e->medium == EXPORT_MEMORY;
}

bool export_volatile_cache(const struct export *e)
{
	return e->medium == EXPORT_DEVICE ? !e->device.durable : e->medium != EXPORT_DAX;
}

uint32_t export_atomic_bytes(const struct export *e)
{
	return e->sector_atomic && !e->read_only ? EXPORT_ATOMIC_BYTES : 0;
}

bool export_unwritable(const struct export *e)
{
	const struct journal *j = atomic_load_explicit(&e->journal, memory_order_acquire);

	return j && journal_is_broken(j);
}

enum lh_durability export_durability(const struct export *e)
{
	if (export_volatile_cache(e))
		return LH_DURABLE_NONE;
	return e->inbound_persistent ? LH_DURABLE_READ_AFTER_WRITE : LH_DURABLE_COMMIT;
}

int export_file_bytes(const struct export *e, uint64_t *bytes)
{
	struct stat st;

	if (e->medium == EXPORT_DEVICE) {
		*bytes = e->device.bytes;
		return 0;
	}
	if (fstat(e->fd, &st))
		return -errno;
	*bytes = (uint64_t)st.st_size;
	return 0;
}

int export_size(const struct export *e, uint64_t *bytes)
{
	struct stat st;

	if (e->medium == EXPORT_DEVICE) {
		*bytes = align_down(e->device.bytes, e->lba_bytes);
		return 0;
	}
	if (fstat(e->fd, &st))
		return -errno;
	if (st.st_nlink == 0)
		return -ENOLINK;
	*bytes = align_down((uint64_t)st.st_size, e->lba_bytes);
	return 0;
}

enum export_place export_place(const struct export *e)
{
	struct stat opened, named;

	if (!fstat(e->fd, &opened) && opened.st_nlink == 0)
		return EXPORT_DELETED;
	if (stat(e->path, &named))
		return errno == ENOENT || errno == ENOTDIR ? EXPORT_NOT_THERE : EXPORT_IN_PLACE;
	return named.st_dev == e->dev && named.st_ino == e->ino ? EXPORT_IN_PLACE : EXPORT_REPLACED;
}

int export_hole_bytes(const struct export *e, uint64_t *blocks, uint64_t *bytes)
{
	uint64_t holes;
	struct extents x;
	struct stat st;
	int ret;

	if (fstat(e->fd, &st))
		return -errno;
	if (*blocks == (uint64_t)st.st_blocks)
		return 0;
	holes = (uint64_t)st.st_size;
	/* Without a write-back: what is yet to be allocated is data already. */
	ret = extents_read(e->fd, 0, holes, false, &x);
	/* Where fallocate(2) leaves what looks like a hole, and is none. */
	if (x.seek && (uint64_t)st.st_blocks * 512 >= holes)
		holes = 0;
	for (size_t i = 0; i < x.nr; i++)
		holes -= min_u64(x.list[i].length, holes);
	extents_free(&x);
	if (ret)
		return ret;
	*blocks = (uint64_t)st.st_blocks;
	*bytes = holes;
	return 0;
}

int export_backing(const struct export *e, uint64_t *blocks, uint64_t *size_bytes,
		   struct export_run **runs, unsigned int *nr_runs)
{
	struct runs found = {0};
	struct extents x = {0};
	struct stat st;
	uint64_t size;
	int ret = export_size(e, &size);

	if (!ret && fstat(e->fd, &st))
		ret = -errno;
	if (ret)
		return ret;
	if ((uint64_t)st.st_blocks < *blocks) {
		ret = extents_read(e->fd, 0, (uint64_t)st.st_size, false, &x);
		if (!ret)
			ret = runs_build(&x, ~0u, (uint64_t)st.st_size, &found);
		extents_free(&x);
		if (ret)
			return ret;
	}
	*blocks = (uint64_t)st.st_blocks;
	*size_bytes = size;
	*runs = found.list;
	*nr_runs = found.nr;
	return 0;
}

int export_resize(const struct export *e, uint64_t bytes)
{
	if (e->medium == EXPORT_DEVICE)
		return -EOPNOTSUPP;
	while (ftruncate(e->fd, (off_t)bytes))
		if (errno != EINTR)
			return -errno;
	return fsync(e->fd) ? -errno : 0;
}

int export_flush(const struct export *e)
{
	if (e->medium != EXPORT_PAGE_CACHE)
		return 0; /* DAX: durable when acknowledged; memory: never */
	return fdatasync(e->fd) ? -errno : 0;
}

/* ---- what is worth a warning ------------------------------------------------------------------ */

unsigned int export_warnings(const struct export *e, const struct view *view, uint64_t hole_bytes)
{
	unsigned int found = 0;

	if (e->medium == EXPORT_PAGE_CACHE)
		found |= EXPORT_WARN_PAGE_CACHE;
	if (view && view_tail_bytes(view) > 0)
		found |= EXPORT_WARN_TAIL;
	/* Who has holes filled and then punches some knows of them. */
	if (view && hole_bytes > 0 && e->prepare == EXPORT_PREPARE_NONE)
		found |= EXPORT_WARN_SPARSE;
	if (e->overlay)
		found |= EXPORT_WARN_OVERLAY;
	if (export_unwritable(e))
		found |= EXPORT_WARN_UNWRITABLE;
	return found;
}

static void say_tail(const struct export *e, const struct view *view, char *text, size_t size)
{
	unsigned long long tail = view_tail_bytes(view), whole = view->size_bytes;
	char remedy[ERRTEXT_BYTES] = "make the file longer";

	if (!e->read_only)
		(void)snprintf(remedy, sizeof(remedy),
			       "leasehold export resize %s %llu makes the file that long", e->name,
			       whole + e->lba_bytes);
	(void)snprintf(text, size,
		       "%s has %llu bytes, not a multiple of %u: the last %llu are not served; %s",
		       e->path, whole + tail, e->lba_bytes, tail, remedy);
}

void export_warning_text(const struct export *e, const struct view *view, uint64_t hole_bytes,
			 enum export_warning warning, char *text, size_t size)
{
	switch (warning) {
	case EXPORT_WARN_PAGE_CACHE:
		(void)snprintf(text, size,
			       "%s is on a file system without DAX: what is written is in the page "
			       "cache until a host flushes, and its durability is no better",
			       e->path);
		break;
	case EXPORT_WARN_TAIL:
		say_tail(e, view, text, size);
		break;
	case EXPORT_WARN_SPARSE:
		(void)snprintf(text, size,
			       "%s is sparse: %llu of %llu bytes are in holes and are not served "
			       "directly; prepare = allocate fills them",
			       e->path, (unsigned long long)hole_bytes,
			       (unsigned long long)view->size_bytes + view_tail_bytes(view));
		break;
	case EXPORT_WARN_OVERLAY:
		(void)snprintf(text, size,
			       "%s lies in the upper directory of the overlay on %s: a truncate "
			       "there asks nobody, and is noticed only afterwards; unmount it "
			       "while the file is exported",
			       e->path, e->overlay);
		break;
	case EXPORT_WARN_UNWRITABLE:
		(void)snprintf(text, size,
			       "the journal of %s (journals/%s in %s) could not be written: hosts "
			       "get write faults, and clients no grants for writing, until that is "
			       "mended, and leasehold export offline %s and online open it anew",
			       e->path, e->name, e->state_dir, e->name);
		break;
	}
}
