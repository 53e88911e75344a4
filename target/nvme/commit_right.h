/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What direct queues may commit: the bytes of their grants for writing. Control begins and ends a right
 * by messages to the reactor that has the queue, and that alone looks at them: a Commit takes no lock
 * for it. The message that begins one is posted before the grant's key is made. So whoever learns of the
 * grant and commits is at most ahead of a message that is on its way already: see direct_queue.c.
 */
#ifndef LEASEHOLD_NVME_COMMIT_RIGHT_H
#define LEASEHOLD_NVME_COMMIT_RIGHT_H

#include "nvme/internal.h"

struct commit_right;
struct direct_queue;

/** Control. Of a slot that `nr` has, or is to hear of. NULL: no memory. */
struct commit_right *commit_right_begin(struct nvme_reactor *nr, unsigned int slot,
					const struct direct_queue *dq, uint64_t offset,
					uint64_t length);
/** Control: it is freed when its reactor has let go of it. The queue may be gone by then. */
void commit_right_end(struct commit_right *right);

/** Reactor: whether the queue has all of the range, in one or several. */
bool commit_right_covers(const struct ns_slot *slot, const struct direct_queue *dq, uint64_t offset,
			 uint64_t length);

#endif
