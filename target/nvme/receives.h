/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receives that the I/O queues of one reactor and device share: one registered buffer area and one
 * shared receive queue, made at start, so that an idle queue costs none. Reactor's thread, but
 * where said.
 *
 * A receive is the pool's, not the queue's it came in by: whoever has it posts it again, also when
 * its queue is failed or gone. It is posted again as soon as the command is parsed, unless data
 * came with it, so that a host that answers nothing keeps no receive. Admin queues have receives of
 * their own: a Connect, an Identify or a keep-alive waits for nobody's I/O.
 *
 * A queue pair that dies in the middle of a message has a receive that some adapters never give
 * back: soft-RoCE does not. Which one it was cannot be known while others take from the same queue.
 * So at most half as many queues as there are receives have joined since the pool was new, but for
 * those whose adapter gives all back; who comes later has receives of its own. When the last one
 * has left, and a quarter may be lost, the shared receive queue is made anew and all are posted
 * again.
 */
#ifndef LEASEHOLD_NVME_RECEIVES_H
#define LEASEHOLD_NVME_RECEIVES_H

#include "nvme/nvme_queue.h"

struct receive_pool;

/**
 * Control, at start: for every reactor and device, if the limits want it. A device that cannot is
 * left without, and the log says so.
 */
void receives_new(struct nvme_target *t);
/** Control: after the queues, and receives_settle() if there were any. */
void receives_free(struct nvme_target *t);
/**
 * Control: false while a reactor may still be handed a receive of a queue that is gone;
 * target_check_stopped() is called when that is over.
 */
MUST_CHECK bool receives_settle(struct nvme_target *t);

/**
 * Control: whether one more queue may take from the pool (which may be NULL); it joins, and leaves
 * when its queue pair is destroyed and its reactor has seen all of it.
 */
bool receive_pool_may_join(const struct receive_pool *pool);
void receive_pool_join(struct receive_pool *pool);
void receive_pool_leave(struct receive_pool *pool);

/** What a queue pair takes from. Any thread, of a queue that has joined. */
struct fabric_srq *receive_pool_srq(const struct receive_pool *pool);
/** The capsule is done with. */
void receive_pool_post(struct receive_pool *pool, struct capsule *capsule);
/** Few are left: who does not answer is given less time. */
bool receive_pool_short(const struct receive_pool *pool);

#endif
