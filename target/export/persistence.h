/* SPDX-License-Identifier: BSD-3-Clause */
/* What makes stores to DAX memory durable on this machine. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_PERSISTENCE_H
#define LEASEHOLD_EXPORT_PERSISTENCE_H

#include "util/util.h"

#include <libpmem2.h>

/** libpmem2's, of any address; all NULL: nothing does. */
struct persistence {
	pmem2_persist_fn persist;
	pmem2_drain_fn drain;
	pmem2_memcpy_fn memcpy;
	bool caches_survive; /* the platform flushes them at power failure (eADR) */
};

/** Around every use of libpmem2 that looks devices up: one at a time, with a working directory apart. */
void persistence_begin(void);
void persistence_end(void);

/**
 * Looks what the file's memory needs. It maps `piece` bytes for that, of which mappings are multiples; a
 * file that is shorter as a whole. `path` is for the sentence. Worker thread.
 */
MUST_CHECK int persistence_find(int fd, const char *path, uint64_t piece,
				struct persistence *persistence, struct errtext *err);

#endif
