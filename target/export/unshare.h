/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks that clones have too, and that the file gets for itself. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_UNSHARE_H
#define LEASEHOLD_EXPORT_UNSHARE_H

#include "file.h"

/**
 * Whether the file system can unshare, found by doing it to a scratch file; one that is full may.
 * -EMEDIUMTYPE: it cannot, or it is a device; others of the system's. Worker thread.
 */
MUST_CHECK int unshare_check(const struct export *e, struct errtext *err);

/**
 * Copies what is shared in [from, to), two page bounds, to blocks of the file's own; the clones
 * keep theirs. Holes stay holes. -ENOSPC: it does not fit beside what stays for others
 * (allocate_reserve_percent); -ECANCELED: `stop`, or NULL, has become true; others of the system's.
 * What was copied before an error stays so. Under tenure; worker thread.
 */
MUST_CHECK int unshare_range(struct export *e, uint64_t from, uint64_t to, const atomic_bool *stop,
			     struct errtext *err);

#endif
