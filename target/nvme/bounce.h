/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registered buffers for what cannot go straight between host and file: the file-system path, admin
 * data, Connect data. One pool per reactor and device, made at start; reactor's thread only.
 *
 * It has two parts, of which neither takes from the other: the reserve, for small data of admin
 * commands and of Connect, and the rest. Each queue has a line to each part. A line holds a share at
 * most; what it wants beyond waits in the line, and lines that wait are served in turns.
 */
#ifndef LEASEHOLD_NVME_BOUNCE_H
#define LEASEHOLD_NVME_BOUNCE_H

#include "fabric/fabric.h"
#include "util/list.h"

#define BOUNCE_RESERVE_BYTES MIB(2)  /* of each pool, besides its size */
#define BOUNCE_SMALL_BYTES   KIB(64) /* the largest buffer that comes from the reserve */
/* A line holds one part in that many, or one buffer, whatever its size. */
#define BOUNCE_IO_SHARE	     4
#define BOUNCE_RESERVE_SHARE 16

enum bounce_kind {
	BOUNCE_IO,
	BOUNCE_RESERVE,
	BOUNCE_KINDS
};

struct bounce_part;
struct bounce_pool;

/** A queue's place at one part of a pool. */
struct bounce_line {
	struct bounce_part *part;
	struct list link;    /* among the lines that could be served now, if there were room */
	struct list waiting; /* struct bounce */
	uint32_t held;	     /* chunks */
};

/** A buffer, or somebody waiting for one. Embed it; zero it first. */
struct bounce {
	uint8_t *data; /* NULL: none */
	uint32_t length;
	uint32_t lkey;
	uint32_t first, chunks;
	struct bounce_line *line;
	struct list link; /* while it waits */
	void (*ready)(
		struct bounce *bounce); /* when it has waited; not called if it did not have to */
};

/** Blocks: at start. `max_bytes` is the largest request; the pool holds at least one of these. */
MUST_CHECK int bounce_pool_new(struct fabric_pd *pd, uint64_t bytes, uint32_t max_bytes,
			       struct bounce_pool **pool);
void bounce_pool_free(struct bounce_pool *pool);

void bounce_line_init(struct bounce_line *line, struct bounce_pool *pool, enum bounce_kind kind);

/** True: `b` has a buffer of `length` bytes now. False: it waits, and ready() follows. */
MUST_CHECK bool bounce_get(struct bounce_line *line, struct bounce *b, uint32_t length,
			   void (*ready)(struct bounce *bounce));
/** Gives the buffer back (or the place in line up); harmless if it has neither. */
void bounce_put(struct bounce *b);

/** It holds some of what others wait for. */
bool bounce_line_in_the_way(const struct bounce_line *line);

#endif
