// SPDX-License-Identifier: BSD-3-Clause
/*
 * The daemon on a simulated medium. A file on a tmpfs is served as if it were DAX; beside it lies a
 * file of what is on its medium: the cache lines that the daemon persisted. At a moment of choice power
 * fails: the process ends, and that file is what there is then. main.c and the rooms are linked in as
 * they are; what is here takes the place of libpmem2 and of what the kernel says of the file.
 *
 *	LEASEHOLD_POWERFAIL_MEDIUM	the file of the medium, of the same size as what is served
 *	LEASEHOLD_POWERFAIL_JOURNAL	the same of the export's journal, if it has one; empty: it is new
 *	LEASEHOLD_POWERFAIL_AT		the moment, counted from 1 on; 0: never
 *	LEASEHOLD_POWERFAIL_SEED	which lines the caches wrote back before, unasked
 *	LEASEHOLD_POWERFAIL_EARLY	set: moments count from the start, else from the first persist
 *	LEASEHOLD_POWERFAIL_FOLDERS	set: folders say what they lie on, so that state_dir may be volatile
 *
 * Moments are: before a persist (or an fsync(2), which is one of all), when half of its lines are done,
 * after it; before and after a message or a transfer of the target's is posted.
 */
#include "fabric/fabric.h"
#include "persistence.h"
#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LINE	     64u
#define PIECE	     KIB(16)
#define MAX_MAPPINGS 1024u
#define MAX_STORES   64u

int __wrap_persistence_find(int fd, const char *path, uint64_t piece,
			    struct persistence *persistence, struct errtext *err);
void *__real_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
int __wrap_fsync(int fd);
int __real_fstatfs64(int fd, struct statfs *fs);
int __wrap_fstatfs64(int fd, struct statfs *fs);
int __real_fabric_post_send(struct fabric_conn *conn, struct fabric_send_wr *wr,
			    struct fabric_send_wr **bad);
int __wrap_fabric_post_send(struct fabric_conn *conn, struct fabric_send_wr *wr,
			    struct fabric_send_wr **bad);

struct bytes {
	const uint8_t *at;
	size_t length;
};

/* What is mapped, and what of it is on the medium. */
struct disk {
	int file, medium;
	struct bytes mappings[MAX_MAPPINGS]; /* of the file, from its beginning; the newest last */
	unsigned int nr_mappings;
};

enum disks {
	SERVED,
	JOURNAL,
	NR_DISKS,
};

static struct {
	pthread_mutex_t lock; /* of what follows, and held by whom power fails */
	struct disk disks[NR_DISKS];
	bool counting;
	uint64_t moment, at, seed;
} p = {.lock = PTHREAD_MUTEX_INITIALIZER, .disks = {{.file = -1}, {.file = -1}}};

/* Past the caches, and not yet drained. */
static _Thread_local struct {
	struct bytes list[MAX_STORES];
	unsigned int nr;
} stores;

_Noreturn static void give_up(const char *what)
{
	(void)fprintf(stderr, "powerfail: %s: %s\n", what, strerror(errno));
	abort();
}

static uint64_t number(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : 0;
}

/* ---- the medium ------------------------------------------------------------------------------ */

/* Through descriptors: what is mapped may be gone. What is behind the end of the file is nothing. */
static void copy_lines(const struct disk *d, uint64_t from, uint64_t to,
		       bool (*wanted)(uint64_t line))
{
	while (from < to) {
		uint64_t length = min_u64(to - from, PIECE);
		uint8_t is[PIECE], stays[PIECE];
		ssize_t n = pread(d->file, is, length, (off_t)from);

		if (n < 0 || pread(d->medium, stays, (size_t)n, (off_t)from) != n)
			give_up("the file or its medium");
		for (uint64_t at = 0; at < (uint64_t)n; at += LINE)
			if (wanted((from + at) / LINE))
				memcpy(stays + at, is + at, min_u64(LINE, (uint64_t)n - at));
		if (pwrite(d->medium, stays, (size_t)n, (off_t)from) != n)
			give_up("the medium");
		from += length;
	}
}

/* Some hash of a line and the seed. */
static uint64_t chance(uint64_t line)
{
	uint64_t x = (line + 1) * 0x9e3779b97f4a7c15ull ^ (p.seed + 1) * 0xbf58476d1ce4e5b9ull;

	x ^= x >> 29;
	x *= 0x94d049bb133111ebull;
	return x >> 33;
}

/* What of a persist is done first: some lines; by seed, lines of 512 bytes together. */
static bool half(uint64_t line)
{
	return chance(p.seed & 1 ? line : line / 8) & 1;
}

static bool all(uint64_t line)
{
	(void)line;
	return true;
}

/* By seed: no cache line was written back unasked, half of them, all of them. */
static bool evicted(uint64_t line)
{
	return p.seed % 3 == 2 || (p.seed % 3 == 1 && (chance(line) & 2));
}

static uint64_t file_bytes(const struct disk *d)
{
	struct stat st;

	if (fstat(d->file, &st) < 0)
		give_up("the file");
	return (uint64_t)st.st_size;
}

/* With the lock held: nobody persists any more, so nobody acknowledges anything else. */
_Noreturn static void power_fails(void)
{
	for (unsigned int i = 0; i < NR_DISKS && p.disks[i].file >= 0; i++)
		copy_lines(&p.disks[i], 0, file_bytes(&p.disks[i]), evicted);
	(void)kill(getpid(), SIGKILL);
	for (;;)
		(void)pause();
}

static void moment(void)
{
	if (p.counting && ++p.moment == p.at)
		power_fails();
}

static void persist_lines(const struct disk *d, uint64_t from, uint64_t to)
{
	moment();
	copy_lines(d, from, to, half);
	moment();
	copy_lines(d, from, to, all);
	moment();
}

/* False: those addresses are not of the file. */
static bool find(const struct disk *d, const uint8_t *at, size_t length, uint64_t *offset)
{
	for (unsigned int i = d->nr_mappings; i-- > 0;) {
		const struct bytes *m = &d->mappings[i];

		if (at < m->at || !range_ok((uint64_t)(at - m->at), length, m->length))
			continue;
		*offset = (uint64_t)(at - m->at);
		return true;
	}
	return false;
}

static void persist_bytes(const uint8_t *at, size_t length)
{
	uint64_t offset;

	(void)pthread_mutex_lock(&p.lock);
	for (unsigned int i = 0; i < NR_DISKS && length > 0; i++) {
		const struct disk *d = &p.disks[i];

		if (!find(d, at, length, &offset))
			continue;
		p.counting = true;
		persist_lines(d, align_down(offset, LINE), align_up(offset + length, LINE));
		break;
	}
	(void)pthread_mutex_unlock(&p.lock);
}

/* ---- libpmem2's part ------------------------------------------------------------------------- */

static void persist(const void *ptr, size_t size)
{
	const volatile uint8_t *at = ptr;

	/* The instruction faults where a load does. */
	for (size_t i = 0; i < size; i += LINE)
		(void)at[i];
	persist_bytes(ptr, size);
}

static void drain(void)
{
	for (unsigned int i = 0; i < stores.nr; i++)
		persist_bytes(stores.list[i].at, stores.list[i].length);
	stores.nr = 0;
}

static void *copy(void *dst, const void *src, size_t length, unsigned int flags)
{
	struct bytes *last = stores.nr > 0 ? &stores.list[stores.nr - 1] : NULL;

	(void)memcpy(dst, src, length);
	if (!(flags & PMEM2_F_MEM_NONTEMPORAL)) {
		persist_bytes(dst, length);
	} else if (last && last->at + last->length == (uint8_t *)dst) {
		last->length += length;
	} else {
		if (stores.nr == MAX_STORES)
			give_up("so many stores without a drain");
		stores.list[stores.nr++] = (struct bytes){dst, length};
	}
	if (!(flags & PMEM2_F_MEM_NODRAIN))
		drain();
	return dst;
}

int __wrap_persistence_find(int fd, const char *path, uint64_t piece,
			    struct persistence *persistence, struct errtext *err)
{
	static const char *const names[NR_DISKS] = {"LEASEHOLD_POWERFAIL_MEDIUM",
						    "LEASEHOLD_POWERFAIL_JOURNAL"};
	unsigned int n = p.disks[SERVED].file < 0 ? SERVED : JOURNAL;
	struct disk *d = &p.disks[n];
	const char *medium = getenv(names[n]);
	struct stat st;

	(void)path;
	(void)piece;
	if (!medium)
		return errtext_set(err, -EINVAL, "%s is not set", names[n]);
	if (d->file >= 0 && n == JOURNAL)
		give_up("a second journal, which would have no medium");
	if (d->file >= 0)
		return errtext_set(err, -EINVAL, "this daemon has one medium, for one file");
	d->medium = open(medium, O_RDWR | O_CLOEXEC);
	if (d->medium < 0 || fstat(d->medium, &st) < 0)
		return errtext_set(err, -errno, "%s: %s", medium, strerror(errno));
	d->file = fd;
	/* It was made just now, and synced. */
	if (n == JOURNAL && st.st_size == 0) {
		if (ftruncate(d->medium, (off_t)file_bytes(d)) < 0)
			give_up("the medium");
		copy_lines(d, 0, file_bytes(d), all);
	}
	p.at = number("LEASEHOLD_POWERFAIL_AT");
	p.seed = number("LEASEHOLD_POWERFAIL_SEED");
	p.counting = getenv("LEASEHOLD_POWERFAIL_EARLY") != NULL;
	*persistence = (struct persistence){.persist = persist, .drain = drain, .memcpy = copy};
	return 0;
}

/* ---- the kernel's part ----------------------------------------------------------------------- */

/* MAP_SYNC works. */
void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	bool sync = fd >= 0 && (flags & MAP_SYNC);
	struct disk *d = NULL;
	void *map;

	if (sync)
		flags = (flags & ~(MAP_SHARED_VALIDATE | MAP_SYNC)) | MAP_SHARED;
	map = __real_mmap64(addr, length, prot, flags, fd, offset);
	for (unsigned int i = 0; i < NR_DISKS; i++)
		if (fd == p.disks[i].file)
			d = &p.disks[i];
	if (!sync || map == MAP_FAILED || !d)
		return map;
	(void)pthread_mutex_lock(&p.lock);
	if (d->nr_mappings == MAX_MAPPINGS)
		give_up("so many mappings");
	d->mappings[d->nr_mappings++] = (struct bytes){map, length};
	(void)pthread_mutex_unlock(&p.lock);
	return map;
}

int __wrap_fstatfs64(int fd, struct statfs *fs)
{
	int rc = __real_fstatfs64(fd, fs);
	struct stat st;

	if (!rc && fs->f_type == TMPFS_MAGIC && fstat(fd, &st) == 0 &&
	    (S_ISREG(st.st_mode) || !getenv("LEASEHOLD_POWERFAIL_FOLDERS")))
		fs->f_type = XFS_SUPER_MAGIC;
	return rc;
}

/* All that is in caches, and all that is a hole. */
int __wrap_fsync(int fd)
{
	const struct disk *d = &p.disks[SERVED];

	if (fd == d->file) {
		(void)pthread_mutex_lock(&p.lock);
		persist_lines(d, 0, file_bytes(d));
		(void)pthread_mutex_unlock(&p.lock);
	}
	return 0;
}

/* ---- what others learn ----------------------------------------------------------------------- */

static void locked_moment(void)
{
	(void)pthread_mutex_lock(&p.lock);
	moment();
	(void)pthread_mutex_unlock(&p.lock);
}

int __wrap_fabric_post_send(struct fabric_conn *conn, struct fabric_send_wr *wr,
			    struct fabric_send_wr **bad)
{
	int rc;

	locked_moment();
	rc = __real_fabric_post_send(conn, wr, bad);
	locked_moment();
	return rc;
}
