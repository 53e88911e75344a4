/* SPDX-License-Identifier: BSD-3-Clause */
/* What of a file's memory is damaged. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_DAMAGE_H
#define LEASEHOLD_EXPORT_DAMAGE_H

#include "export/export.h"

#include <pthread.h>

/** Sorted, disjoint, not touching, of whole pages. Looked at by all threads; seldom not empty. */
struct damage {
	pthread_mutex_t lock;
	atomic_uint nr;
	struct export_range list[EXPORT_MAX_BAD_RANGES];
	_Atomic uint64_t found;	    /* export_bad_found() */
	_Atomic uint64_t list_hash; /* badblocks.c: of the device's own list, as it was seen last */
};

MUST_CHECK int damage_init(struct damage *d);
void damage_fini(struct damage *d);

/** Whole pages around [offset, offset + length) are damaged. False: the list is full. Any thread. */
bool damage_add(struct damage *d, uint64_t offset, uint64_t length);
/** The whole pages inside [offset, offset + length) are well. Any thread. */
void damage_clear(struct damage *d, uint64_t offset, uint64_t length);

/** In a signal handler: memory was found to be damaged. Kept until export_bad_collect(). */
void damage_told_at(const void *address, uint64_t bytes);

#endif
