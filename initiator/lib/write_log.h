/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What was written through grants and is not yet confirmed, and what died unconfirmed: two bitmaps
 * over the pages of an export (invariant 5). A page is
 *	clean		nothing of ours is out
 *	dirty		written since the last commit that covers it was sent
 *	(in a commit)	taken out by write_log_take(); the commit's owner brings it back by
 *			write_log_kill() if no answer comes
 *	dead		its generation died first; so it stays until written again whole, or forgotten
 * A page can be dirty and dead at once (written again in part). Pure but for its memory; the owner
 * locks.
 */
#ifndef LEASEHOLD_WRITE_LOG_H
#define LEASEHOLD_WRITE_LOG_H

#include "util/util.h"

#define WRITE_LOG_PAGE 4096u

struct write_log {
	uint64_t size_bytes; /* of the export */
	uint64_t pages;
	uint64_t *dirty, *dead; /* bitmaps, mapped, sparse */
	size_t mapped_bytes;	/* of each */
	uint64_t dirty_pages, dead_pages;
	uint64_t low, high; /* no dirty page below or at and above */
};

struct write_range {
	uint64_t offset;
	uint64_t length;
};

/** For an export of `size_bytes`. -ENOMEM. */
MUST_CHECK int write_log_init(struct write_log *w, uint64_t size_bytes);
void write_log_fini(struct write_log *w);

/** The export has a new size. What lies beyond is neither dirty nor dead any more. -ENOMEM. */
MUST_CHECK int write_log_resize(struct write_log *w, uint64_t size_bytes);

/** A write of [offset, offset + length) is posted. Inside the export. Revives what it covers. */
void write_log_write(struct write_log *w, uint64_t offset, uint64_t length);

/** The range was written again by other means: pages that it covers whole are dead no more. */
void write_log_revive(struct write_log *w, uint64_t offset, uint64_t length);

/**
 * Takes up to `max` ranges of dirty pages out of [offset, offset + length), from its beginning;
 * they are whole pages cut off at the end of the export. `*next` is where to go on. Returns how many.
 */
size_t write_log_take(struct write_log *w, uint64_t offset, uint64_t length,
		      struct write_range *ranges, size_t max, uint64_t *next);

/** True if a page that touches the range is dirty. */
bool write_log_dirty(const struct write_log *w, uint64_t offset, uint64_t length);

/** The range is dead. */
void write_log_kill(struct write_log *w, uint64_t offset, uint64_t length);

/** Nothing is dirty any more. */
void write_log_clean(struct write_log *w);

/** Everything dirty is dead. Returns how many bytes that were. */
uint64_t write_log_kill_dirty(struct write_log *w);

/** The first dead range that touches [offset, offset + length). False: none. */
bool write_log_dead(const struct write_log *w, uint64_t offset, uint64_t length,
		    struct write_range *range);

/** Dead pages that touch the range are dead no more. */
void write_log_forget(struct write_log *w, uint64_t offset, uint64_t length);

static inline uint64_t write_log_dirty_bytes(const struct write_log *w)
{
	return w->dirty_pages * WRITE_LOG_PAGE;
}

#endif
