/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies of direct writes that are not yet confirmed, for the replay mode: oldest first, bounded by
 * LH_REPLAY_BYTES. Pure; the owner locks.
 */
#ifndef LEASEHOLD_REPLAY_H
#define LEASEHOLD_REPLAY_H

#include "util/list.h"
#include "util/util.h"

struct replay_write {
	struct list link;
	uint64_t offset;
	uint64_t length;
	uint8_t data[];
};

struct replay {
	bool on;
	uint64_t bytes;
	uint64_t limit;
	struct list writes;
};

void replay_init(struct replay *r, bool on, uint64_t limit);
void replay_fini(struct replay *r);

/** True if another write of `length` bytes fits, or nothing is kept at all. */
bool replay_fits(const struct replay *r, uint64_t length);

/** Keeps a copy. -ENOMEM. */
MUST_CHECK int replay_keep(struct replay *r, uint64_t offset, const void *data, uint64_t length);

/** Everything posted is confirmed: no copy is needed any more. */
void replay_clear(struct replay *r);

/** Takes the oldest out, to be written again and freed by free(3); NULL: none. */
struct replay_write *replay_pop(struct replay *r);

#endif
