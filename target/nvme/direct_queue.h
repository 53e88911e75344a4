/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A direct queue: the connection over which a client's one-sided traffic goes, with a protection
 * domain of its own, and the few messages of wire/direct.h. It belongs to a controller; when it is
 * fenced or closed its grants die with it and the controller stays.
 */
#ifndef LEASEHOLD_NVME_DIRECT_QUEUE_H
#define LEASEHOLD_NVME_DIRECT_QUEUE_H

#include "nvme/internal.h"

struct direct_queue;

/** Control. Returns a reject code (enum lh_cm_status). */
uint16_t direct_queue_new(struct nvme_target *t, struct cm_channel *channel,
			  const struct fabric_cm_event *event, const struct cm_request *request);

/** Control: Recall goes out as soon as there is a credit; without a queue that works, an event. */
void direct_queue_tell(struct direct_queue *dq, uint32_t nsid, uint64_t offset, uint64_t length,
		       uint32_t generation, uint32_t deadline_ms);

/** Control: as holding_ops.bind. */
void direct_queue_bind(struct direct_queue *dq, struct grant_bind *bind,
		       void (*fn)(struct loop_msg *));

/** Control: as holding_ops.commit_begins; of the namespace in that slot. */
void *direct_queue_commit_begins(struct direct_queue *dq, unsigned int slot, uint64_t offset,
				 uint64_t length);

/** Completions that one can have in flight. */
#define DIRECT_QUEUE_COMPLETIONS 64

/* Control. */
struct queue *direct_queue_base(struct direct_queue *dq);
struct direct_queue *direct_queue_from_link(struct list *link);
/** The controller it belongs to, as long as there is a client. */
const struct controller *direct_queue_owner(const struct direct_queue *dq);
uint16_t direct_queue_id(const struct direct_queue *dq);
/** The one that was opened with it, of any controller, until its keys are dead; or NULL. Control. */
struct direct_queue *direct_queue_by_token(struct nvme_target *t,
					   const uint8_t token[LH_TOKEN_BYTES]);
/** NULL once the teardown has begun. */
struct grant_client *direct_queue_client(struct direct_queue *dq);

#endif
