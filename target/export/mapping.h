/* SPDX-License-Identifier: BSD-3-Clause */
/* A file's bytes in memory. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_MAPPING_H
#define LEASEHOLD_EXPORT_MAPPING_H

#include "extents.h"
#include "util/list.h"

#include <stdatomic.h>

#define HUGE_PAGE_BYTES MIB(2)

/** The whole file, mapped shared; views of one generation share it. */
struct mapping {
	atomic_uint references;
	uint8_t *base;	    /* at export.map_align; what adapters are told of */
	uint8_t *own;	    /* what this process loads from and stores to: `base`, or another … */
	atomic_bool closed; /* … where this may become true: `base` reaches nothing any more */
	uint64_t bytes;	    /* of the file, rounded up to a page */
	struct damage *damage; /* the export's */
	struct list link;      /* among all, for mapping_damaged() */
};

/** Maps `file_bytes` of the export. Worker thread. */
MUST_CHECK int mapping_new(const struct export *e, uint64_t file_bytes, struct mapping **mapping,
			   struct errtext *err);
struct mapping *mapping_get(struct mapping *m);
void mapping_put(struct mapping *m);

/**
 * An access to `address` failed since a page, or what of a power of two `bytes` around it is longer, is
 * damaged: if it lies in a mapping, that file's damage has it. Any thread, but in no signal handler.
 */
void mapping_damaged(uintptr_t address, uint64_t bytes);

/**
 * Takes all access to `base` away, for good; `own` stays. Whoever goes by the page tables of this process
 * has none either when it returns, and gets none by faulting. Of an export that is `closable`. 0 or
 * -errno. Idempotent; a thread that may sleep.
 */
MUST_CHECK int mapping_close(struct mapping *m);

/** The same of `own` alone, for what this process is about to write: `base` may be closed. */
MUST_CHECK int mapping_populate_own(const struct mapping *m, const struct export *e,
				    uint64_t offset, uint64_t length);

/**
 * Faults [offset, offset + length) in for writing, in slices. The file system allocates, zeroes and
 * converts as for a write, but no byte that is there changes. -ECANCELED: `stop`, which may be NULL, has
 * become true. What is damaged is noted and left as it is; -EIO: there is too much of that. -ENOSPC,
 * -ERANGE, -ENOMEM.
 */
MUST_CHECK int mapping_populate(const struct mapping *m, const struct export *e, uint64_t offset,
				uint64_t length, const atomic_bool *stop);

/**
 * On DAX: huge pages only where a whole one lies inside a run. A fault for a huge page allocates
 * all the blocks under it, so next to a punched hole it would fill the hole.
 */
MUST_CHECK int mapping_keep_holes(struct mapping *m, const struct export *e,
				  const struct runs *runs);

#endif
