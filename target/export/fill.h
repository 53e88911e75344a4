/* SPDX-License-Identifier: BSD-3-Clause */
/* Holes that get blocks before anybody writes to them. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_FILL_H
#define LEASEHOLD_EXPORT_FILL_H

#include "extents.h"
#include "file.h"

/**
 * Allocates what is a hole in [from, to), two page bounds, and nothing behind the end of the file. All
 * of it or nothing: looks first whether it fits beside what stays for others (allocate_reserve_percent;
 * else -ENOSPC), and gives back what a failing fallocate(2) has got. -ECANCELED: `stop`, or NULL, has
 * become true. Under tenure; worker thread.
 */
MUST_CHECK int fill_holes(struct export *e, uint64_t from, uint64_t to, const atomic_bool *stop,
			  struct errtext *err);

/** space_promise() of what fill_holes() will need there. */
MUST_CHECK int fill_promise(struct export *e, uint64_t from, uint64_t to, const struct extents *x,
			    struct errtext *err);

/* Around whatever writes through a mapping where no key is: what is given back has no writer. */
MUST_CHECK int fill_lock_init(struct export *e);
void fill_lock_fini(struct export *e);
void fill_write_begin(struct export *e);
void fill_write_end(struct export *e);

#endif
