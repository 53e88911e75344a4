/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies of direct writes that are not yet confirmed, for the replay mode: oldest first, bounded by
 * LH_REPLAY_BYTES. What is confirmed, and what a block command has written over, is kept no longer: made
 * again it would undo what came after it. Pure; the owner locks.
 */
#ifndef LEASEHOLD_REPLAY_H
#define LEASEHOLD_REPLAY_H

#include "libleasehold/write_log.h"
#include "util/list.h"
#include "util/util.h"

struct replay_write {
	struct list link;
	uint64_t number; /* in the order in which they were made */
	uint64_t offset;
	uint64_t length;
	uint8_t data[];
};

struct replay {
	bool on;
	uint64_t bytes;
	uint64_t limit;
	uint64_t number; /* of the last one */
	struct list writes;
	struct replay_write *out; /* being written again */
};

void replay_init(struct replay *r, bool on, uint64_t limit);
void replay_fini(struct replay *r);

/** True if another write of `length` bytes fits, or nothing is kept at all. */
bool replay_fits(const struct replay *r, uint64_t length);

/** Keeps a copy. -ENOMEM. */
MUST_CHECK int replay_keep(struct replay *r, uint64_t offset, const void *data, uint64_t length);

/**
 * Forgets the bytes of the ranges (ascending, apart) in the copies up to `number`: they are confirmed.
 * -ENOMEM: a copy could not be cut in two, so all of `lost`, more than the range, is kept no longer.
 */
MUST_CHECK int replay_confirmed(struct replay *r, const struct write_range *ranges, size_t count,
				uint64_t number, struct write_range *lost);
/** The same of all copies: a block command writes over the range. True: of some. */
MUST_CHECK int replay_overwritten(struct replay *r, uint64_t offset, uint64_t length,
				  struct write_range *lost);

/** Takes the oldest out, to be written again; then replay_put(). NULL: none. */
struct replay_write *replay_pop(struct replay *r);
void replay_put(struct replay *r);
/** The one that is out touches the range. */
bool replay_out(const struct replay *r, uint64_t offset, uint64_t length);

#endif
