// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bitmaps of unconfirmed and dead pages. Setting a bit is all that a direct write pays; runs are put
 * together when a commit is made up. Pure but for the memory of the bitmaps.
 */
#include "libleasehold/write_log.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define WORD_BITS 64u

static size_t bitmap_bytes(uint64_t pages)
{
	return (size_t)align_up((pages + WORD_BITS - 1) / WORD_BITS * 8 + 1, 4096);
}

static uint64_t *bitmap_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static uint64_t page_count(uint64_t size_bytes)
{
	return size_bytes / WRITE_LOG_PAGE + (size_bytes % WRITE_LOG_PAGE != 0);
}

int write_log_init(struct write_log *w, uint64_t size_bytes)
{
	*w = (struct write_log){.size_bytes = size_bytes, .pages = page_count(size_bytes)};
	w->mapped_bytes = bitmap_bytes(w->pages);
	w->dirty = bitmap_map(w->mapped_bytes);
	w->dead = bitmap_map(w->mapped_bytes);
	if (!w->dirty || !w->dead) {
		write_log_fini(w);
		return -ENOMEM;
	}
	w->low = w->pages;
	return 0;
}

void write_log_fini(struct write_log *w)
{
	if (w->dirty)
		(void)munmap(w->dirty, w->mapped_bytes);
	if (w->dead)
		(void)munmap(w->dead, w->mapped_bytes);
	*w = (struct write_log){0};
}

static bool test_bit(const uint64_t *map, uint64_t page)
{
	return map[page / WORD_BITS] >> page % WORD_BITS & 1;
}

/* Sets or clears [from, to); returns how many changed. */
static uint64_t change_bits(uint64_t *map, uint64_t from, uint64_t to, bool set)
{
	uint64_t changed = 0;

	while (from < to) {
		uint64_t *word = &map[from / WORD_BITS];
		unsigned int bit = (unsigned int)(from % WORD_BITS);
		uint64_t n = min_u64(to - from, WORD_BITS - bit);
		uint64_t mask = (n == WORD_BITS ? ~0ull : (1ull << n) - 1) << bit;
		uint64_t is = *word & mask;

		changed += (uint64_t)__builtin_popcountll(set ? mask & ~is : is);
		/* Clean words of a sparse bitmap are not to be given memory. */
		if (set)
			*word |= mask;
		else if (is)
			*word &= ~mask;
		from += n;
	}
	return changed;
}

/* The first page at or behind `from` whose bit is `set`; `to` if there is none before it. */
static uint64_t next_bit(const uint64_t *map, uint64_t from, uint64_t to, bool set)
{
	while (from < to) {
		uint64_t word = map[from / WORD_BITS];

		word = (set ? word : ~word) >> from % WORD_BITS;
		if (word) {
			from += (uint64_t)__builtin_ctzll(word);
			return min_u64(from, to);
		}
		from += WORD_BITS - from % WORD_BITS;
	}
	return to;
}

/* Pages that the range touches, cut off at the end. */
static void touched(const struct write_log *w, uint64_t offset, uint64_t length, uint64_t *from,
		    uint64_t *to)
{
	uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;

	*from = min_u64(offset / WRITE_LOG_PAGE, w->pages);
	*to = length == 0 ? *from : min_u64((end - 1) / WRITE_LOG_PAGE + 1, w->pages);
}

int write_log_resize(struct write_log *w, uint64_t size_bytes)
{
	uint64_t pages = page_count(size_bytes);
	size_t bytes = bitmap_bytes(pages);

	if (pages < w->pages) {
		w->dirty_pages -= change_bits(w->dirty, pages, w->pages, false);
		w->dead_pages -= change_bits(w->dead, pages, w->pages, false);
		w->high = min_u64(w->high, pages);
	}
	if (bytes > w->mapped_bytes) {
		void *dirty, *dead;

		dirty = mremap(w->dirty, w->mapped_bytes, bytes, MREMAP_MAYMOVE);
		if (dirty == MAP_FAILED)
			return -ENOMEM;
		w->dirty = dirty;
		dead = mremap(w->dead, w->mapped_bytes, bytes, MREMAP_MAYMOVE);
		if (dead == MAP_FAILED) {
			/* Back to one length for both; shrinking does not fail. */
			w->dirty = mremap(w->dirty, bytes, w->mapped_bytes, 0);
			return -ENOMEM;
		}
		w->dead = dead;
		w->mapped_bytes = bytes;
	}
	w->pages = pages;
	w->size_bytes = size_bytes;
	return 0;
}

void write_log_write(struct write_log *w, uint64_t offset, uint64_t length)
{
	uint64_t from, to;

	touched(w, offset, length, &from, &to);
	if (from == to)
		return;
	w->dirty_pages += change_bits(w->dirty, from, to, true);
	w->low = min_u64(w->low, from);
	w->high = max_u64(w->high, to);
	write_log_revive(w, offset, length);
}

void write_log_revive(struct write_log *w, uint64_t offset, uint64_t length)
{
	const uint64_t end = offset + length;
	uint64_t from, to;

	if (!w->dead_pages)
		return;
	/* Only what is written again whole. */
	from = offset / WRITE_LOG_PAGE + (offset % WRITE_LOG_PAGE != 0);
	to = end >= w->size_bytes ? w->pages : end / WRITE_LOG_PAGE;
	w->dead_pages -= from < to ? change_bits(w->dead, from, to, false) : 0;
}

size_t write_log_take(struct write_log *w, uint64_t offset, uint64_t length,
		      struct write_range *ranges, size_t max, uint64_t *next)
{
	uint64_t from, to, at;
	size_t n = 0;

	touched(w, offset, length, &from, &to);
	from = max_u64(from, w->low);
	to = min_u64(to, w->high);
	at = from;
	while (n < max && at < to && w->dirty_pages) {
		uint64_t start = next_bit(w->dirty, at, to, true);
		uint64_t end;

		if (start == to) {
			at = to;
			break;
		}
		end = next_bit(w->dirty, start, to, false);
		w->dirty_pages -= change_bits(w->dirty, start, end, false);
		ranges[n].offset = start * WRITE_LOG_PAGE;
		ranges[n].length = min_u64(end * WRITE_LOG_PAGE, w->size_bytes) - ranges[n].offset;
		n++;
		at = end;
	}
	if (!w->dirty_pages) {
		w->low = w->pages;
		w->high = 0;
		at = max_u64(at, to);
	}
	*next = at >= to ? UINT64_MAX : at * WRITE_LOG_PAGE;
	return n;
}

bool write_log_dirty(const struct write_log *w, uint64_t offset, uint64_t length)
{
	uint64_t from, to;

	touched(w, offset, length, &from, &to);
	from = max_u64(from, w->low);
	to = min_u64(to, w->high);
	return from < to && next_bit(w->dirty, from, to, true) < to;
}

void write_log_kill(struct write_log *w, uint64_t offset, uint64_t length)
{
	uint64_t from, to;

	touched(w, offset, length, &from, &to);
	w->dead_pages += from < to ? change_bits(w->dead, from, to, true) : 0;
}

void write_log_clean(struct write_log *w)
{
	struct write_range range;
	uint64_t at = 0;

	while (write_log_take(w, at, UINT64_MAX, &range, 1, &at) == 1)
		;
}

uint64_t write_log_kill_dirty(struct write_log *w)
{
	struct write_range range;
	uint64_t at = 0, bytes = 0;

	while (write_log_take(w, at, UINT64_MAX, &range, 1, &at) == 1) {
		write_log_kill(w, range.offset, range.length);
		bytes += range.length;
	}
	return bytes;
}

bool write_log_dead(const struct write_log *w, uint64_t offset, uint64_t length,
		    struct write_range *range)
{
	uint64_t from, to, start, end;

	if (!w->dead_pages)
		return false;
	touched(w, offset, length, &from, &to);
	start = next_bit(w->dead, from, to, true);
	if (start >= to)
		return false;
	end = next_bit(w->dead, start, to, false);
	assert(test_bit(w->dead, start));
	range->offset = start * WRITE_LOG_PAGE;
	range->length = min_u64(end * WRITE_LOG_PAGE, w->size_bytes) - range->offset;
	return true;
}

void write_log_forget(struct write_log *w, uint64_t offset, uint64_t length)
{
	uint64_t from, to;

	touched(w, offset, length, &from, &to);
	w->dead_pages -= from < to ? change_bits(w->dead, from, to, false) : 0;
}
