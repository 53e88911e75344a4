/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registered buffers for what cannot go straight between host and file: the file-system path, admin
 * data, Connect data. One pool per reactor and device, made at start; reactor's thread only. Who
 * finds it empty waits in line.
 */
#ifndef LEASEHOLD_NVME_BOUNCE_H
#define LEASEHOLD_NVME_BOUNCE_H

#include "fabric/fabric.h"
#include "util/list.h"

struct bounce_pool;

/** A buffer, or somebody waiting for one. Embed it; zero it first. */
struct bounce {
	uint8_t *data; /* NULL: none */
	uint32_t length;
	uint32_t lkey;
	uint32_t first, chunks;
	struct list link; /* while it waits */
	void (*ready)(
		struct bounce *bounce); /* when it has waited; not called if it did not have to */
};

/** Blocks: at start. `max_bytes` is the largest request; the pool holds at least one of these. */
MUST_CHECK int bounce_pool_new(struct fabric_pd *pd, uint64_t bytes, uint32_t max_bytes,
			       struct bounce_pool **pool);
void bounce_pool_free(struct bounce_pool *pool);

/** True: `b` has a buffer of `length` bytes now. False: it waits, and ready() follows. */
MUST_CHECK bool bounce_get(struct bounce_pool *pool, struct bounce *b, uint32_t length,
			   void (*ready)(struct bounce *bounce));
/** Gives the buffer back (or the place in line up); harmless if it has neither. */
void bounce_put(struct bounce_pool *pool, struct bounce *b);

#endif
