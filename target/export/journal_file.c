// SPDX-License-Identifier: BSD-3-Clause
/*
 * The journal's file: made, opened, and written durably. Where the state directory lies on DAX it is
 * mapped and written past the caches; else, and where that cannot be had, by pwrite(2) and fdatasync(2), of
 * which whoever comes while one is under way shares the next. Worker threads.
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

#define HEAD_MAGIC   0x316c6e72756f6a68ull
#define FOLDER	     "journals"
#define MEMORY_BYTES (JOURNAL_SLOTS * JOURNAL_SLOT_BYTES)

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
	if (!atomic_load(&j->err))
		log_error("%s: the journal %s cannot be written, so hosts cannot write, and nobody "
			  "is granted it for writing, until that is mended and the export is "
			  "opened anew (leasehold export offline, then online): %s",
			  j->name, j->path, strerror(-err));
	atomic_store(&j->err, -EIO);
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

static int sync_data(int fd)
{
	while (fdatasync(fd))
		if (errno != EINTR)
			return -errno;
	return 0;
}

int journal_sync(struct journal *j)
{
	uint64_t mine;
	int ret = 0;

	if (j->map)
		return 0;
	(void)pthread_mutex_lock(&j->lock);
	mine = ++j->asked;
	while (j->synced < mine && !atomic_load(&j->err)) {
		uint64_t all = j->asked;

		if (j->syncing) {
			(void)pthread_cond_wait(&j->synced_more, &j->lock);
			continue;
		}
		j->syncing = true;
		(void)pthread_mutex_unlock(&j->lock);
		counter_add(&syncs, 1);
		ret = sync_data(j->fd);
		if (ret)
			(void)broken(j, ret);
		(void)pthread_mutex_lock(&j->lock);
		j->syncing = false;
		if (!ret)
			j->synced = all;
		(void)pthread_cond_broadcast(&j->synced_more);
	}
	ret = j->synced < mine ? atomic_load(&j->err) : 0;
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

static int sync_all(int fd)
{
	while (fsync(fd))
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Its first eight bytes last, which are never torn: without them there is no journal yet. */
static int make(struct journal *j, const struct identity_mark *mark, struct errtext *err)
{
	struct head head = {
		.magic = HEAD_MAGIC,
		.slots = JOURNAL_SLOTS,
		.atomic_bytes = EXPORT_ATOMIC_BYTES,
		.mark = *mark,
	};
	const uint8_t *bytes = (const uint8_t *)&head;
	static const uint8_t zeros[KIB(64)];
	int ret = 0;

	assert(j->dir >= 0);
	random_bytes(&head.id, sizeof(head.id));
	head.crc = head_crc(&head);
	for (uint64_t at = 0; !ret && at < JOURNAL_FILE_BYTES; at += sizeof(zeros))
		ret = write_at(j->fd, at, zeros, min_u64(sizeof(zeros), JOURNAL_FILE_BYTES - at));
	if (!ret)
		ret = write_at(j->fd, sizeof(head.magic), bytes + sizeof(head.magic),
			       sizeof(head) - sizeof(head.magic));
	if (!ret)
		ret = sync_all(j->fd);
	if (!ret)
		ret = write_at(j->fd, 0, bytes, sizeof(head.magic));
	if (!ret)
		ret = sync_all(j->fd);
	if (!ret)
		ret = sync_all(j->dir);
	if (ret) {
		(void)unlinkat(j->dir, j->name, 0);
		return errtext_set(err, ret, "cannot make the journal %s, of %llu KiB: %s", j->path,
				   (unsigned long long)(JOURNAL_FILE_BYTES / KIB(1)),
				   strerror(-ret));
	}
	j->id = head.id;
	j->whose = JOURNAL_OURS;
	j->made = true;
	return 0;
}

static int bad(const struct journal *j, struct errtext *err)
{
	return errtext_set(
		err, -EBADMSG,
		"%s is no journal, of another version, or damaged: what was being written "
		"when the daemon ended may be torn; remove it to go on nevertheless",
		j->path);
}

/* Whose it is. -EBADMSG; others of the system. */
static int read_head(int fd, const struct identity_mark *mark, struct head *head,
		     enum journal_whose *whose)
{
	struct stat st;
	ssize_t n;

	*head = (struct head){0};
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	n = pread(fd, head, sizeof(*head), 0);
	if (n < 0)
		return -errno;
	*whose = JOURNAL_NOBODYS;
	if (head->magic == 0)
		return 0;
	if (head->magic != HEAD_MAGIC || head->crc != head_crc(head) ||
	    head->slots != JOURNAL_SLOTS || head->atomic_bytes != EXPORT_ATOMIC_BYTES ||
	    (uint64_t)st.st_size < JOURNAL_FILE_BYTES)
		return -EBADMSG;
	*whose = identity_same(&head->mark, mark) ? JOURNAL_OURS : JOURNAL_OTHERS;
	return 0;
}

/* Finds what there is, or makes it. */
static int find(struct journal *j, const struct identity_mark *mark, bool create,
		struct errtext *err)
{
	struct head head;
	int ret = read_head(j->fd, mark, &head, &j->whose);

	if (ret == -EBADMSG)
		return bad(j, err);
	if (ret)
		return errtext_set(err, ret, "cannot read %s: %s", j->path, strerror(-ret));
	j->id = head.id;
	return create && j->whose == JOURNAL_NOBODYS ? make(j, mark, err) : 0;
}

/* What cannot be mapped is written by system calls: slower, and as durable. */
static void map(struct journal *j)
{
	struct errtext why;
	int ret;

	if (!export_map_sync_works(j->fd))
		return;
	ret = persistence_find(j->fd, j->path, export_page_bytes(), &j->by, &why);
	if (!ret) {
		ret = addresses_map(j->fd, JOURNAL_FILE_BYTES, export_page_bytes(), true, &j->map);
		if (ret)
			(void)errtext_set(&why, ret, "%s", strerror(-ret));
	}
	if (ret) {
		j->map = NULL;
		log_notice("%s: the journal %s, which cannot be mapped, is written by "
			   "fdatasync(2): %s",
			   j->name, j->path, why.text);
	}
}

/* ---- birth and end --------------------------------------------------------------------------- */

static int open_file(struct journal *j, const char *state_dir, const char *name, bool create,
		     struct errtext *err)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;

	j->name = strdup(name);
	if (!j->name || asprintf(&j->path, "%s/" FOLDER "/%s", state_dir, name) < 0) {
		j->path = NULL;
		return errtext_set(err, -ENOMEM, "out of memory");
	}
	/* Most exports never have one. */
	j->dir = create ? state_folder_open(state_dir, FOLDER) : journal_folder_open(state_dir);
	if (j->dir == -ENOENT && !create)
		return 0;
	if (j->dir < 0)
		return errtext_set(err, j->dir, "cannot use the state directory %s: %s", state_dir,
				   strerror(-j->dir));
	j->fd = openat(j->dir, name, flags | (create ? O_CREAT : 0), 0600);
	if (j->fd < 0 && (create || errno != ENOENT))
		return errtext_set(err, -errno, "cannot open %s: %s", j->path, strerror(errno));
	return 0;
}

static int make_slots(struct journal *j, struct errtext *err)
{
	void *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return errtext_set(err, -ENOMEM, "out of memory");
	/* An export that is little written to has little of it. */
	(void)madvise(memory, MEMORY_BYTES, MADV_NOHUGEPAGE);
	j->memory = memory;
	for (unsigned int i = 0; i < JOURNAL_SLOTS; i++)
		j->slots[i] = (struct journal_slot){
			.at = JOURNAL_HEAD_BYTES + i * JOURNAL_SLOT_BYTES,
			.data = j->memory + i * JOURNAL_SLOT_BYTES,
		};
	return 0;
}

int journal_open_named(const char *state_dir, const char *name, const struct identity_mark *mark,
		       bool create, struct journal **journal, struct errtext *err)
{
	struct journal *j = calloc(1, sizeof(*j));
	int ret;

	if (!j)
		return errtext_set(err, -ENOMEM, "out of memory");
	j->dir = j->fd = -1;
	(void)pthread_mutex_init(&j->lock, NULL);
	(void)pthread_cond_init(&j->slot_free, NULL);
	(void)pthread_cond_init(&j->synced_more, NULL);
	ret = open_file(j, state_dir, name, create, err);
	if (!ret && j->fd >= 0)
		ret = find(j, mark, create, err);
	if (!ret && j->fd >= 0)
		ret = make_slots(j, err);
	if (!ret && j->whose == JOURNAL_OURS)
		map(j);
	if (ret || j->fd < 0) {
		journal_close(j);
		j = NULL;
	}
	if (!ret)
		*journal = j;
	return ret;
}

int journal_open(const struct export *e, struct journal **journal, struct errtext *err)
{
	struct identity_mark mark;
	struct journal *j = NULL;
	int ret = identity_mark(e, &mark);

	if (ret)
		return errtext_set(err, ret, "cannot tell which file %s is: %s", e->path,
				   strerror(-ret));
	ret = journal_open_named(e->state_dir, e->name, &mark, true, &j, err);
	if (ret)
		return ret;
	assert(j);
	if (j->whose == JOURNAL_OTHERS) {
		journal_close(j);
		j = NULL;
	}
	*journal = j;
	return 0;
}

bool journal_is_of(int dir, const char *name, const struct identity_mark *mark)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	enum journal_whose whose = JOURNAL_NOBODYS;
	struct head head;
	bool is;

	if (fd < 0)
		return false;
	is = !read_head(fd, mark, &head, &whose) && whose == JOURNAL_OURS;
	(void)close(fd);
	return is;
}

int journal_folder_open(const char *state_dir)
{
	char *path;
	int fd;

	if (asprintf(&path, "%s/" FOLDER, state_dir) < 0)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = fd < 0 ? -errno : fd;
	free(path);
	return fd;
}

bool journal_is_broken(const struct journal *j)
{
	return atomic_load_explicit(&j->err, memory_order_relaxed) != 0;
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
	if (j->memory)
		(void)munmap(j->memory, MEMORY_BYTES);
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

void journal_take_back(struct journal *j)
{
	if (j && j->made)
		journal_remove(j);
	else
		journal_close(j);
}

int journal_set_aside(struct journal *j, struct errtext *err)
{
	char name[32];
	int ret = 0;

	(void)snprintf(name, sizeof(name), ".%016llx", (unsigned long long)j->id);
	if (renameat(j->dir, j->name, j->dir, name))
		ret = -errno;
	if (!ret)
		ret = sync_all(j->dir);
	if (ret)
		ret = errtext_set(err, ret, "cannot rename %s: %s", j->path, strerror(-ret));
	else
		log_notice(
			"%s: the journal of another file is kept as %s beside it until that file "
			"is served again; remove it if it never will be",
			j->path, name);
	journal_close(j);
	return ret;
}
