/* SPDX-License-Identifier: BSD-3-Clause */
/* What a file's blocks are. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_EXTENTS_H
#define LEASEHOLD_EXPORT_EXTENTS_H

#include "export/export.h"

enum extent_kind {
	EXTENT_HOLE,
	EXTENT_DATA,
	EXTENT_UNWRITTEN, /* allocated, reads as zeros, converted by the first write */
	EXTENT_SHARED,	  /* a clone has it too: a write moves it */
	EXTENT_OTHER,	  /* data, but not in plain blocks: compressed, inline, not yet allocated */
};

struct extent {
	uint64_t offset;
	uint64_t length;
	enum extent_kind kind; /* not EXTENT_HOLE */
};

/** Ascending and disjoint; what lies between is holes. Zeroed: empty. */
struct extents {
	struct extent *list;
	size_t nr, room;
	bool seek; /* told by SEEK_DATA and SEEK_HOLE: unwritten extents look like holes */
};

/**
 * Lists [offset, end). FIEMAP where there is, else SEEK_DATA and SEEK_HOLE (nothing is shared then).
 * `sync`: writes back first, so that delayed allocations are seen as what they become. Worker
 * thread. 0 or -errno; extents_free() in both cases.
 */
MUST_CHECK int extents_read(int fd, uint64_t offset, uint64_t end, bool sync, struct extents *x);
void extents_free(struct extents *x);

/** Makes it one extent of data, [0, end). -ENOMEM. */
MUST_CHECK int extents_set_all(struct extents *x, uint64_t end);

/**
 * Whether all blocks of [offset, end), which is not empty, are data of this file alone now, without
 * syncing. -errno if nobody can tell.
 */
MUST_CHECK int extents_all_data(int fd, uint64_t offset, uint64_t end, bool *all);

struct runs {
	struct export_run *list; /* to free() */
	unsigned int nr;
	uint64_t backed_bytes; /* inside the first `size` bytes of the file */
	uint64_t shared_bytes; /* the same */
};

/**
 * Joins the extents whose kind's bit (1 << kind) is in `kinds` to runs of whole pages, none beyond
 * `size` rounded up to a page. -ENOMEM, -E2BIG.
 */
MUST_CHECK int runs_build(const struct extents *x, unsigned int kinds, uint64_t size,
			  struct runs *runs);

#endif
