// SPDX-License-Identifier: BSD-3-Clause
/*
 * The file-system path: bytes into the file through its mapping, out of it by pread(2), and made
 * durable. Needs no tenure (but view_stage_in() and view_stage_out()), so the file may be
 * truncated and its blocks moved at any moment; what must never happen is that a write makes the
 * file longer or is acknowledged though it is lost. Any thread that may sleep; view_persist() any.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "copy.h"
#include "damage.h"
#include "extents.h"
#include "fill.h"
#include "guard.h"
#include "journal.h"
#include "mapping.h"

#define SLICE_BYTES 4096
#define PIECE_BYTES KIB(32)
/* How often a fault that seems to have no cause is taken for one that is gone. */
#define ATTEMPTS 8

int export_fault_errno(const struct export *e, uint64_t offset, int si_code)
{
	uint64_t page = export_page_bytes(), bytes, from;
	int ret = export_file_bytes(e, &bytes);
	bool all_there;

	if (ret)
		return -EIO;
	if (offset >= align_up(bytes, page))
		return -ERANGE;
	if (si_code == BUS_MCEERR_AR || e->medium == EXPORT_DEVICE)
		return -EIO;
	/* Blocks that are there and ours need no space: all of the page, which may have several. */
	from = align_down(offset, page);
	ret = extents_all_data(e->fd, from, min_u64(from + page, bytes), &all_there);
	return !ret && !all_there ? -ENOSPC : -EIO;
}

/* Never view->base, which is for adapters and may be closed at any moment. */
static uint8_t *own(const struct view *view)
{
	return view->mapping->own;
}

/*
 * Runs fn(arg), which may be begun again from the start. A fault with nothing wrong to be seen was
 * behind the end of a file that has grown again since: then it is worth another try.
 */
static int run(const struct view *view, void (*fn)(void *arg), void *arg)
{
	int ret = 0;

	for (int i = 0; i < ATTEMPTS; i++) {
		struct guard_fault fault;
		uint64_t offset;

		if (!guard_run(fn, arg, &fault))
			return 0;
		offset = (uint64_t)((const uint8_t *)fault.address - own(view));
		if ((const uint8_t *)fault.address < own(view) || offset >= view->mapped_bytes)
			return -EFAULT; /* not in the view: it was the caller's memory */
		ret = export_fault_errno(view->export, offset, fault.code);
		if (ret == -ERANGE || fault.code == BUS_MCEERR_AR)
			return ret;
	}
	return ret;
}

/* The same for what may fill holes: none is given back meanwhile. */
static int write_through(const struct view *view, void (*fn)(void *arg), void *arg)
{
	int ret;

	fill_write_begin(view->export);
	ret = run(view, fn, arg);
	fill_write_end(view->export);
	return ret;
}

/* -ERANGE if the file does not reach the end of the range now. */
static int check_end(const struct view *view, uint64_t offset, uint64_t length)
{
	uint64_t bytes;
	int ret = export_file_bytes(view->export, &bytes);

	if (ret)
		return ret;
	return range_ok(offset, length, bytes) ? 0 : -ERANGE;
}

struct persist {
	const struct view *view;
	uint64_t offset, length;
};

static void persist(void *arg)
{
	const struct persist *p = arg;

	p->view->export->persistence.persist(own(p->view) + p->offset, p->length);
}

int view_persist(const struct view *view, uint64_t offset, uint64_t length)
{
	struct persist p = {.view = view, .offset = offset, .length = length};

	if (!range_ok(offset, length, view->size_bytes))
		return -ERANGE;
	return view->export->persistence.persist ? run(view, persist, &p) : 0;
}

struct copy_in {
	const struct persistence *by;
	uint8_t *dst;
	const uint8_t *src;
	uint64_t length;
};

/* Page by page in ascending order; on DAX past the caches, and durable at the end. */
static void copy_in(void *arg)
{
	const struct copy_in *c = arg;
	const struct persistence *by = c->by;
	uint64_t done = 0;

	while (done < c->length) {
		uint8_t *dst = c->dst + done;
		uint64_t n = min_u64(c->length - done, SLICE_BYTES - (uintptr_t)dst % SLICE_BYTES);

		if (by->memcpy)
			(void)by->memcpy(dst, c->src + done, n,
					 PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
		else
			guard_memcpy(dst, c->src + done, n);
		done += n;
	}
	if (by->drain)
		by->drain();
}

int view_stage_in(const struct view *view, uint64_t offset, const void *src, uint64_t length)
{
	struct copy_in c = {
		.by = &view->export->persistence,
		.dst = own(view) + offset,
		.src = src,
		.length = length,
	};

	int ret;

	assert(view_backed(view, offset, length) && !view->export->journal);
	ret = run(view, copy_in, &c);
	if (!ret)
		damage_clear(view->export->damage, offset, length);
	return ret;
}

struct copy_out {
	uint8_t *dst;
	const uint8_t *src;
	uint64_t length;
};

static void copy_out(void *arg)
{
	const struct copy_out *c = arg;

	guard_memcpy(c->dst, c->src, c->length);
}

int view_stage_out(const struct view *view, uint64_t offset, void *dst, uint64_t length)
{
	struct copy_out c = {.dst = dst, .src = own(view) + offset, .length = length};

	assert(view_backed(view, offset, length));
	return run(view, copy_out, &c);
}

static void touch(void *arg)
{
	const struct copy_out *c = arg;
	uint8_t piece[SLICE_BYTES];

	guard_memcpy(piece, c->src, c->length);
	/* Nobody looks at it; it was read all the same. */
	__asm__ volatile("" : : "r"(piece) : "memory");
}

void view_touch(const struct view *view, uint64_t offset, uint64_t length)
{
	const uint64_t end = min_u64(offset + length, view->mapped_bytes);

	while (offset < end) {
		uint64_t n = min_u64(end - offset, SLICE_BYTES - offset % SLICE_BYTES);
		struct copy_out c = {.src = own(view) + offset, .length = n};

		(void)run(view, touch, &c);
		offset += n;
	}
}

struct zero {
	const struct persistence *by;
	uint8_t *dst;
	uint64_t length;
};

static void zero(void *arg)
{
	static const uint8_t zeros[SLICE_BYTES];
	const struct zero *z = arg;
	const struct persistence *by = z->by;
	uint64_t done = 0;

	while (done < z->length) {
		uint8_t *dst = z->dst + done;
		uint64_t n = min_u64(z->length - done, SLICE_BYTES - (uintptr_t)dst % SLICE_BYTES);

		if (by->memcpy)
			(void)by->memcpy(dst, zeros, n,
					 PMEM2_F_MEM_NONTEMPORAL | PMEM2_F_MEM_NODRAIN);
		else
			guard_memcpy(dst, zeros, n);
		done += n;
	}
	if (by->drain)
		by->drain();
}

/*
 * The file ends inside a page that stays writable to its last byte. If it was cut there meanwhile, what was
 * copied is in no file.
 */
int copy_in_place(const struct view *view, uint64_t offset, const void *src, uint64_t length)
{
	const struct persistence *by = &view->export->persistence;
	uint8_t *dst = own(view) + offset;
	struct copy_in c = {.by = by, .dst = dst, .src = src, .length = length};
	struct zero z = {.by = by, .dst = dst, .length = length};
	int ret;

	if (!range_ok(offset, length, view->size_bytes))
		return -ERANGE;
	ret = check_end(view, offset, length);
	if (!ret && src)
		ret = write_through(view, copy_in, &c);
	else if (!ret)
		ret = write_through(view, zero, &z);
	ret = ret ? ret : check_end(view, offset, length);
	if (!ret)
		damage_clear(view->export->damage, offset, length);
	return ret;
}

/* A record after the other: each is whole, whatever happens. */
static int write_noted(const struct view *view, uint64_t offset, const uint8_t *src,
		       uint64_t length)
{
	struct journal *j = view->export->journal;

	while (length > 0) {
		const uint32_t n = (uint32_t)min_u64(length, EXPORT_ATOMIC_BYTES);
		struct journal_slot *slot;
		int ret = journal_begin(j, view, offset, src, n, &slot), ended;

		if (ret)
			return ret;
		ret = copy_in_place(view, offset, src, n);
		ended = journal_end(j, slot);
		if (ret || ended)
			return ret ? ret : ended;
		src = src ? src + n : NULL;
		offset += n;
		length -= n;
	}
	return 0;
}

int view_copy_in(const struct view *view, uint64_t offset, const void *src, uint64_t length)
{
	assert(view->export->journal || export_atomic_bytes(view->export) == 0);
	return view->export->journal ? write_noted(view, offset, src, length)
				     : copy_in_place(view, offset, src, length);
}

int view_zero(const struct view *view, uint64_t offset, uint64_t length)
{
	return view->export->journal ? write_noted(view, offset, NULL, length)
				     : copy_in_place(view, offset, NULL, length);
}

/* Not through the mapping: on memory file systems a read fault fills the hole. */
int view_copy_out(const struct view *view, uint64_t offset, void *dst, uint64_t length)
{
	struct copy_out by_mapping = {.dst = dst, .src = own(view) + offset, .length = length};
	struct export_range bad;
	uint8_t *p = dst;

	if (!range_ok(offset, length, view->size_bytes))
		return -ERANGE;
	if (export_bad(view->export, offset, length, &bad))
		return -EIO;
	if (export_by_mapping_only(view->export))
		return run(view, copy_out, &by_mapping);
	while (length > 0) {
		ssize_t n = pread(view->export->fd, p, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ERANGE;
		p += n;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

/* ---- bytes that go nowhere ------------------------------------------------------------------- */

int view_compare(const struct view *view, uint64_t offset, const void *bytes, uint64_t length)
{
	const uint8_t *p = bytes;
	uint8_t piece[PIECE_BYTES];

	while (length > 0) {
		uint64_t n = min_u64(length, sizeof(piece));
		int ret = view_copy_out(view, offset, piece, n);

		if (ret)
			return ret;
		if (memcmp(p, piece, n) != 0)
			return -EILSEQ;
		p += n;
		offset += n;
		length -= n;
	}
	return 0;
}

int view_verify(const struct view *view, uint64_t offset, uint64_t length)
{
	uint8_t piece[PIECE_BYTES];

	while (length > 0) {
		uint64_t n = min_u64(length, sizeof(piece));
		int ret = view_copy_out(view, offset, piece, n);

		if (ret)
			return ret;
		offset += n;
		length -= n;
	}
	return 0;
}

int view_copy(const struct view *view, uint64_t from, uint64_t to, uint64_t length, bool *unread)
{
	uint8_t piece[PIECE_BYTES];

	while (length > 0) {
		uint64_t n = min_u64(length, sizeof(piece));
		int ret = view_copy_out(view, from, piece, n);

		*unread = ret != 0;
		if (!ret)
			ret = view_copy_in(view, to, piece, n);
		if (ret)
			return ret;
		from += n;
		to += n;
		length -= n;
	}
	return 0;
}

/* ---- holes ----------------------------------------------------------------------------------- */

bool export_can_punch(const struct export *e)
{
	/* hugetlbfs has no holes: each view gets every page. Nor has a device. */
	return !e->read_only && !e->hugetlbfs && e->medium != EXPORT_DEVICE;
}

int export_punch(const struct export *e, const struct export_range *ranges, unsigned int nr_ranges)
{
	for (unsigned int i = 0; i < nr_ranges; i++) {
		while (fallocate(e->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)ranges[i].offset, (off_t)ranges[i].length)) {
			if (errno != EINTR)
				return -errno;
		}
		damage_clear(e->damage, ranges[i].offset, ranges[i].length);
	}
	/* On DAX a write is durable when it is answered: so is this. */
	if (e->medium == EXPORT_DAX && fsync(e->fd))
		return -errno;
	return 0;
}
