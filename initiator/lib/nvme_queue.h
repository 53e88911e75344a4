/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NVMe over Fabrics queue: capsules out, responses in (NVMe-oF 1.1 §2, §7.3). The admin queue and
 * the I/O queues are this. A slot is a command identifier with its capsule; it comes back when the
 * response is here and the capsule's send has completed.
 *
 * All under queue.lock but for init, open, close, fini.
 */
#ifndef LEASEHOLD_NVME_QUEUE_H
#define LEASEHOLD_NVME_QUEUE_H

#include "libleasehold/memory.h"
#include "libleasehold/queue.h"
#include "util/list.h"
#include "wire/wire.h"

#define NVME_SLOT_DATA_BYTES 4096 /* in-capsule data, or an admin command's buffer */

struct nvme_queue;
struct lh_op;

struct nvme_slot {
	uint16_t cid;
	bool busy, sent, responded;
	struct nvme_command *cmd; /* in registered memory; zeroed by nvme_queue_get() */
	uint8_t *data;		  /* NVME_SLOT_DATA_BYTES behind the command */
	struct nvme_completion cqe;
	int error; /* -ENOTCONN: the queue died first; then cqe says nothing */
	/** Called once, under the lock; the slot is free when it returns. */
	void (*done)(struct nvme_queue *nq, struct nvme_slot *slot);
	void *user;
	/* block commands: the piece that this is of an operation */
	struct lh_op *op;
	uint64_t op_offset;
	uint32_t length;
	uint8_t *bounce;
	uint64_t posted_ns;
	struct fabric_mw *mw; /* one-shot keys: NULL until first needed */
	bool bound;	      /* and not invalidated since */
	struct nvme_slot *next_free;
};

struct nvme_queue {
	struct queue q;
	struct lh_client *client;
	uint16_t qid;
	unsigned int depth;   /* slots, and receives that are posted */
	unsigned int entries; /* of this connection: `depth`, or as many as the target takes */
	unsigned int limit;   /* in flight at most: one less */
	unsigned int in_flight;
	bool up; /* Connect has succeeded: commands may be sent */
	struct nvme_slot *slots;
	struct nvme_slot *free;
	uint8_t *mem;
	size_t mem_bytes;
	struct fabric_mr *mr;
	bool one_shot;	     /* data is named by windows */
	struct list pending; /* I/O: struct lh_op.link, not wholly posted */
	struct bounce bounce;
	/** A slot is free again (or the queue died): post more. May be NULL. */
	void (*pump)(struct nvme_queue *nq);
};

MUST_CHECK int nvme_queue_init(struct nvme_queue *nq, struct lh_client *client, uint16_t qid,
			       unsigned int depth, void (*pump)(struct nvme_queue *nq));
void nvme_queue_fini(struct nvme_queue *nq);

/**
 * Connects and sends the Connect command. `cntlid` is NVME_CNTLID_DYNAMIC for the admin queue and is
 * the controller's number afterwards. Blocks.
 */
MUST_CHECK int nvme_queue_open(struct nvme_queue *nq, unsigned int timeout_ms, uint32_t kato_ms,
			       uint16_t *cntlid, struct errtext *err);
void nvme_queue_close(struct nvme_queue *nq);

/** Connected and not dead; takes the lock itself. A moment's view. */
bool nvme_queue_is_up(struct nvme_queue *nq);

/** A free slot, or NULL: as many as may be are in flight, or the queue is not up. */
struct nvme_slot *nvme_queue_get(struct nvme_queue *nq);

/** Has the command's SGL name the slot's own data (keyed). */
void nvme_slot_set_data(struct nvme_queue *nq, struct nvme_slot *slot, uint32_t length);
/**
 * Has it name memory of a registration, by a window of its own where the queue has one-shot keys.
 * `remote` is what the target does with it (FABRIC_ACCESS_REMOTE_*). False: the queue has died.
 */
MUST_CHECK bool nvme_slot_set_memory(struct nvme_queue *nq, struct nvme_slot *slot,
				     const struct fabric_mr *mr, const void *at, uint32_t length,
				     unsigned int remote);
/** Has it name the data that goes in the capsule. */
void nvme_slot_set_inline(struct nvme_slot *slot, uint32_t length);
/** No data: a null keyed SGL, as Linux sends it. */
void nvme_slot_set_no_data(struct nvme_slot *slot);

/** Sends it with `inline_bytes` of data behind. The slot ends in done() whatever happens. */
void nvme_queue_post(struct nvme_queue *nq, struct nvme_slot *slot, uint32_t inline_bytes);

/**
 * One command from beginning to end; takes the lock itself. `fill` sets the command up. Data of a
 * reading command is copied to `in`. Returns 0 and the completion, or -errno.
 */
MUST_CHECK int nvme_queue_exec(struct nvme_queue *nq,
			       void (*fill)(struct nvme_queue *nq, struct nvme_slot *slot,
					    void *arg),
			       void *arg, void *in, size_t in_bytes, uint64_t deadline_ns,
			       struct nvme_completion *cqe);

/** The status without phase of a completion. */
static inline uint16_t nvme_cqe_status(const struct nvme_completion *cqe)
{
	return (uint16_t)(le16toh(cqe->status) >> 1);
}

#endif
