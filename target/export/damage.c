// SPDX-License-Identifier: BSD-3-Clause
/*
 * Poison: memory that the machine cannot read any more. What is known of it is kept by export, so that
 * nobody touches it again and no client is granted it, until somebody has written it anew. It is learned
 * from the SIGBUS that an access of ours gets, and from the one that tells of somebody else's; both
 * name an address, from which the mapping tells the file. Any thread; the lock is taken only where
 * there is damage.
 */
#include "damage.h"

#include <errno.h>
#include <string.h>

#include "file.h"
#include "mapping.h"

#define TOLD_SLOTS 32 /* addresses between two looks; what is beyond is found by an access */

int damage_init(struct damage *d)
{
	return -pthread_mutex_init(&d->lock, NULL);
}

void damage_fini(struct damage *d)
{
	(void)pthread_mutex_destroy(&d->lock);
}

/* ---- the list --------------------------------------------------------------------------------- */

static uint64_t end_of(const struct export_range *r)
{
	return r->offset + r->length;
}

static void remove_at(struct damage *d, unsigned int i)
{
	unsigned int nr = atomic_load_explicit(&d->nr, memory_order_relaxed) - 1;

	memmove(&d->list[i], &d->list[i + 1], (nr - i) * sizeof(d->list[0]));
	atomic_store_explicit(&d->nr, nr, memory_order_release);
}

static bool insert_at(struct damage *d, unsigned int i, uint64_t offset, uint64_t end)
{
	unsigned int nr = atomic_load_explicit(&d->nr, memory_order_relaxed);

	if (nr == EXPORT_MAX_BAD_RANGES)
		return false;
	memmove(&d->list[i + 1], &d->list[i], (nr - i) * sizeof(d->list[0]));
	d->list[i] = (struct export_range){.offset = offset, .length = end - offset};
	atomic_store_explicit(&d->nr, nr + 1, memory_order_release);
	return true;
}

static bool add(struct damage *d, uint64_t offset, uint64_t end)
{
	unsigned int i = 0;

	while (i < atomic_load_explicit(&d->nr, memory_order_relaxed) &&
	       end_of(&d->list[i]) < offset)
		i++;
	if (i < atomic_load_explicit(&d->nr, memory_order_relaxed) && d->list[i].offset <= offset &&
	    end_of(&d->list[i]) >= end)
		return true;
	while (i < atomic_load_explicit(&d->nr, memory_order_relaxed) && d->list[i].offset <= end) {
		offset = min_u64(offset, d->list[i].offset);
		end = max_u64(end, end_of(&d->list[i]));
		remove_at(d, i);
	}
	if (!insert_at(d, i, offset, end))
		return false;
	(void)atomic_fetch_add(&d->found, 1);
	return true;
}

bool damage_add(struct damage *d, uint64_t offset, uint64_t length)
{
	uint64_t page = export_page_bytes();
	bool added;

	(void)pthread_mutex_lock(&d->lock);
	added = add(d, align_down(offset, page), align_up(offset + length, page));
	(void)pthread_mutex_unlock(&d->lock);
	return added;
}

/* Of the range at `i` what lies in [offset, end) goes; true: the next one is at `i` now. */
static bool cut(struct damage *d, unsigned int i, uint64_t offset, uint64_t end)
{
	const struct export_range r = d->list[i];

	if (offset <= r.offset && end >= end_of(&r)) {
		remove_at(d, i);
		return true;
	}
	if (offset <= r.offset) {
		d->list[i] = (struct export_range){.offset = end, .length = end_of(&r) - end};
	} else if (end >= end_of(&r)) {
		d->list[i].length = offset - r.offset;
	} else if (insert_at(d, i + 1, end, end_of(&r))) {
		/* Without room for two it stays whole: its middle is refused though it is well. */
		d->list[i].length = offset - r.offset;
	}
	return false;
}

void damage_clear(struct damage *d, uint64_t offset, uint64_t length)
{
	uint64_t page = export_page_bytes();
	uint64_t from = align_up(offset, page), to = align_down(offset + length, page);

	if (atomic_load_explicit(&d->nr, memory_order_acquire) == 0 || from >= to)
		return;
	(void)pthread_mutex_lock(&d->lock);
	for (unsigned int i = 0; i < atomic_load_explicit(&d->nr, memory_order_relaxed);) {
		if (!range_overlaps(d->list[i].offset, d->list[i].length, from, to - from) ||
		    !cut(d, i, from, to))
			i++;
	}
	(void)pthread_mutex_unlock(&d->lock);
}

bool export_bad(const struct export *e, uint64_t offset, uint64_t length, struct export_range *bad)
{
	struct damage *d = e->damage;
	bool found = false;

	if (atomic_load_explicit(&d->nr, memory_order_acquire) == 0)
		return false;
	(void)pthread_mutex_lock(&d->lock);
	for (unsigned int i = 0; !found && i < atomic_load_explicit(&d->nr, memory_order_relaxed);
	     i++) {
		found = range_overlaps(d->list[i].offset, d->list[i].length, offset, length);
		if (found)
			*bad = d->list[i];
	}
	(void)pthread_mutex_unlock(&d->lock);
	return found;
}

unsigned int export_bad_ranges(const struct export *e,
			       struct export_range ranges[EXPORT_MAX_BAD_RANGES])
{
	struct damage *d = e->damage;
	unsigned int nr;

	(void)pthread_mutex_lock(&d->lock);
	nr = atomic_load_explicit(&d->nr, memory_order_relaxed);
	memcpy(ranges, d->list, nr * sizeof(ranges[0]));
	(void)pthread_mutex_unlock(&d->lock);
	return nr;
}

uint64_t export_bad_found(const struct export *e)
{
	return atomic_load(&e->damage->found);
}

/* ---- what a signal told ----------------------------------------------------------------------- */

static struct told {
	_Atomic uintptr_t address; /* 0: free */
	_Atomic uint64_t bytes;
} told[TOLD_SLOTS];

void damage_told_at(const void *address, uint64_t bytes)
{
	for (unsigned int i = 0; i < TOLD_SLOTS; i++) {
		uintptr_t none = 0;

		if (!atomic_compare_exchange_strong(&told[i].address, &none, (uintptr_t)address))
			continue;
		atomic_store(&told[i].bytes, bytes);
		return;
	}
}

void export_bad_collect(void)
{
	for (unsigned int i = 0; i < TOLD_SLOTS; i++) {
		uintptr_t address = atomic_load(&told[i].address);
		uint64_t bytes = atomic_load(&told[i].bytes);

		/* Not written yet: the next look has it. */
		if (address == 0 || bytes == 0)
			continue;
		mapping_damaged(address, bytes);
		atomic_store(&told[i].bytes, 0);
		atomic_store(&told[i].address, 0);
	}
}
