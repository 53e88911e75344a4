/* SPDX-License-Identifier: BSD-3-Clause */
/* Space of the file system that an export is to have. For the room's own files; worker threads. */
#ifndef LEASEHOLD_EXPORT_SPACE_H
#define LEASEHOLD_EXPORT_SPACE_H

#include "file.h"

/**
 * Keeps `missing` bytes for the export, so that neither another export's promise nor what is done
 * for that one gets them; other programs may. -ENOSPC: they do not fit beside what stays for others
 * (allocate_reserve_percent). `doing` is for the sentence, as "fill the holes of".
 */
MUST_CHECK int space_promise(struct export *e, const char *doing, uint64_t missing,
			     struct errtext *err);
/** Kept no longer; it may not have been. */
void space_promise_end(struct export *e);

/**
 * fallocate(2) with `mode` of [from, to), a slice at a time; never makes the file longer.
 * 0, -ECANCELED (`stop`, or NULL, has become true) or -errno; what was taken by then stays taken.
 */
MUST_CHECK int space_take(const struct export *e, int mode, uint64_t from, uint64_t to,
			  uint64_t slice_bytes, const atomic_bool *stop);

/** Counts that it failed, and says so; `rest` ends the sentence. Returns `ret`. */
int space_refused(const struct export *e, const char *doing, int ret, const char *rest,
		  struct errtext *err);

#endif
