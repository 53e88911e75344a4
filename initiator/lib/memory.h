/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that adapters may touch: the client's protection domain, the callers' registered buffers
 * (found by address on the data path), and bounce chunks for memory that is not registered.
 */
#ifndef LEASEHOLD_MEMORY_H
#define LEASEHOLD_MEMORY_H

#include "fabric/fabric.h"
#include "util/util.h"

#include <pthread.h>

struct lh_client;

struct lh_buf {
	struct lh_client *client;
	struct fabric_mr *mr;
	uint8_t *addr;
	size_t bytes;
	bool ours; /* mapped by lh_alloc() */
};

/** Any thread; `lock` is held for a search only. */
struct memory {
	pthread_mutex_t lock;
	struct fabric_pd *pd; /* NULL until the first connection told the device */
	struct lh_buf **bufs; /* sorted by address */
	size_t count, room;
};

void memory_init(struct memory *m);
/** All buffers are gone, all connections too. */
void memory_fini(struct memory *m);

/** The device has memory windows that block commands may use. */
bool memory_has_windows(const struct memory *m);

/** The protection domain, made on `dev` at the first call. -EXDEV: it is on another device. */
MUST_CHECK int memory_pd(struct memory *m, struct fabric_device *dev, struct fabric_pd **pd);

MUST_CHECK int memory_register(struct memory *m, struct lh_client *client, void *addr, size_t bytes,
			       struct lh_buf **buf, struct errtext *err);
void memory_unregister(struct memory *m, struct lh_buf *buf);

/** The registration that holds all of [addr, addr + bytes), or NULL. */
const struct fabric_mr *memory_find(struct memory *m, const void *addr, uint64_t bytes);
/** The buffer that begins at `addr`, or NULL. */
struct lh_buf *memory_at(struct memory *m, const void *addr);

#define BOUNCE_CHUNK_BYTES KIB(128)
#define BOUNCE_CHUNKS	   32

/** Chunks for one queue, under its lock; made when first needed. */
struct bounce {
	uint8_t *mem;
	struct fabric_mr *mr;
	uint32_t free; /* bitmap */
};

/** A chunk, or NULL: all are out, or there is no memory. */
uint8_t *chunk_get(struct bounce *b, struct fabric_pd *pd);
void chunk_put(struct bounce *b, uint8_t *chunk);
void chunk_fini(struct bounce *b);

#endif
