// SPDX-License-Identifier: BSD-3-Clause
/*
 * The journal's file: made, found again, and written durably. Where the state directory lies on DAX it is
 * mapped and written past the caches; else by pwrite(2) and fdatasync(2), of which whoever comes while one is
 * under way shares the next. Worker threads.
 */
#include "journal_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "addresses.h"
#include "file.h"
#include "guard.h"
#include "util/counter.h"
#include "util/crc32c.h"
#include "util/log.h"
#include "util/state_file.h"

#define HEAD_MAGIC 0x316c6e72756f6a68ull
#define FOLDER	   "journals"

DEFINE_COUNTER(syncs, "journal_syncs", "Times that journals were synced, for one write or several");

struct head {
	uint64_t magic;
	uint64_t id;
	uint64_t slots, atomic_bytes;
	struct identity_mark mark;
	uint32_t crc; /* of all before it */
	uint32_t reserved;
};
static_assert(sizeof(struct head) <= JOURNAL_HEAD_BYTES, "it has its page");

/* ---- bytes that stay ------------------------------------------------------------------------- */

static int broken(struct journal *j, int err)
{
	(void)pthread_mutex_lock(&j->lock);
	if (!j->err)
		log_error(
			"%s: the journal %s cannot be written, so nothing can until the export is "
			"added anew: %s",
			j->name, j->path, strerror(-err));
	j->err = -EIO;
	(void)pthread_cond_broadcast(&j->slot_free);
	(void)pthread_cond_broadcast(&j->synced_more);
	(void)pthread_mutex_unlock(&j->lock);
	return -EIO;
}

struct put {
	const struct persistence *by;
	uint8_t *dst;
	const void *src;
	size_t length;
};

static void put_mapped(void *arg)
{
	const struct put *p = arg;

	(void)p->by->memcpy(p->dst, p->src, p->length,
			    PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
	p->by->drain();
}

static int write_at(int fd, uint64_t at, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t n = pwrite(fd, bytes, length, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		at += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

int journal_put_loosely(struct journal *j, uint64_t at, const void *bytes, size_t length)
{
	struct put p = {.by = &j->by, .src = bytes, .length = length};
	struct guard_fault fault;
	int ret;

	assert(range_ok(at, length, JOURNAL_FILE_BYTES));
	if (j->map) {
		p.dst = j->map + at;
		ret = guard_run(put_mapped, &p, &fault);
	} else {
		ret = write_at(j->fd, at, bytes, length);
	}
	return ret ? broken(j, ret) : 0;
}

int journal_sync(struct journal *j)
{
	uint64_t mine;
	int ret = 0;

	if (j->map)
		return 0;
	(void)pthread_mutex_lock(&j->lock);
	mine = ++j->asked;
	while (j->synced < mine && !j->err) {
		uint64_t all = j->asked;

		if (j->syncing) {
			(void)pthread_cond_wait(&j->synced_more, &j->lock);
			continue;
		}
		j->syncing = true;
		(void)pthread_mutex_unlock(&j->lock);
		counter_add(&syncs, 1);
		ret = fdatasync(j->fd) ? -errno : 0;
		if (ret)
			(void)broken(j, ret);
		(void)pthread_mutex_lock(&j->lock);
		j->syncing = false;
		if (!ret)
			j->synced = all;
		(void)pthread_cond_broadcast(&j->synced_more);
	}
	ret = j->synced < mine ? j->err : 0;
	(void)pthread_mutex_unlock(&j->lock);
	return ret;
}

int journal_put(struct journal *j, uint64_t at, const void *bytes, size_t length)
{
	int ret = journal_put_loosely(j, at, bytes, length);

	return ret ? ret : journal_sync(j);
}

uint32_t journal_crc(const struct journal_record *r)
{
	struct journal_record bare = *r;

	bare.crc = 0;
	return crc32c(crc32c(0, &bare, sizeof(bare)), r + 1, journal_record_bytes(r) - sizeof(*r));
}

/* ---- the file -------------------------------------------------------------------------------- */

static uint32_t head_crc(const struct head *h)
{
	return crc32c(0, h, offsetof(struct head, crc));
}

/* The head last: without it there is no journal yet. */
static int make(struct journal *j, const struct identity_mark *mark, struct errtext *err)
{
	struct head head = {
		.magic = HEAD_MAGIC,
		.slots = JOURNAL_SLOTS,
		.atomic_bytes = EXPORT_ATOMIC_BYTES,
		.mark = *mark,
	};
	static const uint8_t zeros[KIB(64)];
	int ret = 0;

	random_bytes(&head.id, sizeof(head.id));
	head.crc = head_crc(&head);
	j->id = head.id;
	for (uint64_t at = 0; !ret && at < JOURNAL_FILE_BYTES; at += sizeof(zeros))
		ret = write_at(j->fd, at, zeros, min_u64(sizeof(zeros), JOURNAL_FILE_BYTES - at));
	if (!ret && fsync(j->fd))
		ret = -errno;
	if (!ret)
		ret = write_at(j->fd, 0, (const uint8_t *)&head, sizeof(head));
	if (!ret && (fsync(j->fd) || fsync(j->dir)))
		ret = -errno;
	if (!ret)
		return 0;
	(void)unlinkat(j->dir, j->name, 0);
	return errtext_set(err, ret, "cannot make the journal %s, of %llu KiB: %s", j->path,
			   (unsigned long long)(JOURNAL_FILE_BYTES / KIB(1)), strerror(-ret));
}

static int bad(const struct journal *j, struct errtext *err)
{
	return errtext_set(
		err, -EBADMSG,
		"%s is no journal, of another version, or damaged: what was being written "
		"when the daemon ended may be torn; remove it to go on nevertheless",
		j->path);
}

/* Finds what there is, or makes it. `*none`: there is nothing. */
static int find(struct journal *j, const struct export *e, bool create, bool *none,
		struct errtext *err)
{
	static const struct head nothing;
	struct identity_mark mark;
	struct head head = {0};
	struct stat st;
	ssize_t n;
	int ret = identity_mark(e, &mark);

	if (ret)
		return errtext_set(err, ret, "cannot tell which file %s is: %s", e->path,
				   strerror(-ret));
	if (fstat(j->fd, &st))
		return errtext_set(err, -errno, "%s: %s", j->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return bad(j, err);
	n = pread(j->fd, &head, sizeof(head), 0);
	if (n < 0)
		return errtext_set(err, -errno, "cannot read %s: %s", j->path, strerror(errno));
	*none = memcmp(&head, &nothing, sizeof(head)) == 0;
	if (*none)
		return create ? make(j, &mark, err) : 0;
	if (head.magic != HEAD_MAGIC || head.crc != head_crc(&head) ||
	    head.slots != JOURNAL_SLOTS || head.atomic_bytes != EXPORT_ATOMIC_BYTES ||
	    (uint64_t)st.st_size < JOURNAL_FILE_BYTES)
		return bad(j, err);
	j->id = head.id;
	if (identity_same(&head.mark, &mark))
		return 0;
	log_notice("%s: what %s says is of another file, and forgotten", e->name, j->path);
	return make(j, &mark, err);
}

static int map(struct journal *j, struct errtext *err)
{
	int ret;

	if (!export_map_sync_works(j->fd))
		return 0;
	ret = persistence_find(j->fd, j->path, export_page_bytes(), &j->by, err);
	if (ret)
		return ret;
	ret = addresses_map(j->fd, JOURNAL_FILE_BYTES, export_page_bytes(), true, &j->map);
	if (ret)
		return errtext_set(err, ret, "cannot map %s: %s", j->path, strerror(-ret));
	return 0;
}

/* ---- birth and end --------------------------------------------------------------------------- */

static int open_file(struct journal *j, const struct export *e, bool create, struct errtext *err)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;

	j->name = strdup(e->name);
	if (!j->name || asprintf(&j->path, "%s/" FOLDER "/%s", e->state_dir, e->name) < 0) {
		j->path = NULL;
		return errtext_set(err, -ENOMEM, "out of memory");
	}
	/* Most exports never have one. */
	if (!create && access(j->path, F_OK) && errno == ENOENT)
		return 0;
	j->dir = state_folder_open(e->state_dir, FOLDER);
	if (j->dir < 0)
		return errtext_set(err, j->dir, "cannot use the state directory %s: %s",
				   e->state_dir, strerror(-j->dir));
	j->fd = openat(j->dir, e->name, flags | (create ? O_CREAT : 0), 0600);
	if (j->fd < 0 && (create || errno != ENOENT))
		return errtext_set(err, -errno, "cannot open %s: %s", j->path, strerror(errno));
	return 0;
}

static int make_slots(struct journal *j, struct errtext *err)
{
	j->memory = calloc(JOURNAL_SLOTS, JOURNAL_SLOT_BYTES);
	if (!j->memory)
		return errtext_set(err, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < JOURNAL_SLOTS; i++)
		j->slots[i] = (struct journal_slot){
			.at = JOURNAL_HEAD_BYTES + i * JOURNAL_SLOT_BYTES,
			.data = j->memory + i * JOURNAL_SLOT_BYTES,
		};
	return 0;
}

int journal_open(const struct export *e, bool create, struct journal **journal, struct errtext *err)
{
	struct journal *j = calloc(1, sizeof(*j));
	bool none = false;
	int ret;

	if (!j)
		return errtext_set(err, -ENOMEM, "out of memory");
	j->dir = j->fd = -1;
	(void)pthread_mutex_init(&j->lock, NULL);
	(void)pthread_cond_init(&j->slot_free, NULL);
	(void)pthread_cond_init(&j->synced_more, NULL);
	ret = open_file(j, e, create, err);
	if (!ret && j->fd >= 0)
		ret = find(j, e, create, &none, err);
	if (ret || j->fd < 0) {
		journal_close(j);
		j = NULL;
	} else if (none && !create) {
		journal_remove(j);
		j = NULL;
	} else {
		ret = map(j, err);
		if (!ret)
			ret = make_slots(j, err);
		if (ret)
			journal_close(j);
	}
	if (!ret)
		*journal = j;
	return ret;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	if (j->map)
		(void)munmap(j->map, JOURNAL_FILE_BYTES);
	if (j->fd >= 0)
		(void)close(j->fd);
	if (j->dir >= 0)
		(void)close(j->dir);
	(void)pthread_cond_destroy(&j->synced_more);
	(void)pthread_cond_destroy(&j->slot_free);
	(void)pthread_mutex_destroy(&j->lock);
	free(j->memory);
	free(j->path);
	free(j->name);
	free(j);
}

void journal_remove(struct journal *j)
{
	assert(j->dir >= 0);
	if (unlinkat(j->dir, j->name, 0) || fsync(j->dir))
		log_warning("%s: %s, which is of no use any more, stays: %s", j->name, j->path,
			    strerror(errno));
	journal_close(j);
}
