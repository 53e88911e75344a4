/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of overlapping commands of one export, whichever reactors they are on: a command that
 * changes bytes has its range alone, readers share theirs. First come, first served.
 *
 * Ranges are found by granule: each lies in the lists of the shards that its granules hash to. A
 * shard has a lock of its own, held for some tens of ns, so that two reactors meet only when they
 * work on the same bytes, or once in many times by accident. Uncontended it costs one exchange and
 * a look at a short list. A range of more granules than a node has links ("wide": a large Write
 * Zeroes) takes every shard's lock, and lies in a list that the holder of any one of them may read;
 * so does a node that has only some parts of its range.
 *
 * Any thread. Nothing here waits but for a shard's lock.
 */
#ifndef LEASEHOLD_NVME_INTERLOCK_H
#define LEASEHOLD_NVME_INTERLOCK_H

#include "util/list.h"
#include "util/util.h"

#include <stdatomic.h>

#define INTERLOCK_GRANULE_BYTES KIB(128)
#define INTERLOCK_LINKS		9 /* 1 MiB at any offset; longer ranges are wide */

struct interlock;

struct interlock_part {
	uint64_t offset;
	uint64_t end;
};

struct interlock_node {
	/* The caller's; constant from lock to unlock. */
	uint64_t offset;
	uint64_t end;
	bool exclusive;
	bool passive; /* it waits for others, and nobody for it */
	/** All that it has of its range, in any order; none: the whole. */
	unsigned int nr_parts;
	const struct interlock_part *parts;
	/**
	 * It waited and has the range now. Called once, on the thread that made way, with no lock
	 * held: it posts a message, or lets the range go at once.
	 */
	void (*granted)(struct interlock_node *node);

	/* The room's own. */
	atomic_int blockers; /* earlier ranges in the way */
	uint64_t epoch;	     /* wide ranges that came before it */
	unsigned int nr_links;
	struct list wide;
	struct list granting;
	struct {
		struct list link;
		struct interlock_node *node;
		unsigned int shard;
	} links[INTERLOCK_LINKS];
};

/** NULL: no memory. */
struct interlock *interlock_new(void);
void interlock_free(struct interlock *lock);

/** True: the range is taken. False: `granted` follows, unless cancelled. */
MUST_CHECK bool interlock_lock(struct interlock *lock, struct interlock_node *node);
void interlock_unlock(struct interlock *lock, struct interlock_node *node);
/** Of one that waits: true: forgotten. False: `granted` was, or is being, called. */
MUST_CHECK bool interlock_cancel(struct interlock *lock, struct interlock_node *node);

/**
 * One more to be had, beside `nr` parts of at most `max` (not 0): a part of its own, or the one
 * that grows least by it is made longer, also over what nobody asked for. Returns how many there
 * are then.
 */
MUST_CHECK unsigned int interlock_cover(struct interlock_part *parts, unsigned int nr,
					unsigned int max, struct interlock_part more);

#endif
