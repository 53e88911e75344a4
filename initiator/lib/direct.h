/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A direct queue: one-sided reads and writes through grants, Commit and Recall messages, and the
 * account of what is unconfirmed. All grants of an export live here and are of one generation.
 *
 * The gate. Closed: nothing is posted (a recall is under way, or the queue was lost and the keeper
 * has not cleared up). Open: operations whose range is granted go out, others go by block commands.
 * Only the keeper opens it.
 *
 * All under queue.lock unless it says otherwise.
 */
#ifndef LEASEHOLD_DIRECT_H
#define LEASEHOLD_DIRECT_H

#include "libleasehold/grant_map.h"
#include "libleasehold/memory.h"
#include "libleasehold/queue.h"
#include "libleasehold/replay.h"
#include "libleasehold/write_log.h"
#include "util/list.h"
#include "wire/wire.h"

#define DIRECT_WR_BYTES_MAX MIB(1)
#define DIRECT_MESSAGES	    16 /* that may be on their way out */
#define DIRECT_TRIALS	    2
#define DIRECT_COMMITS	    8	    /* sent and not answered, or READs in their place */
#define DIRECT_READ_BYTES   8	    /* of such a READ, or fewer: it is for the order alone */
#define DIRECT_FLUSH_BYTES  KIB(64) /* by one FLUSH, whatever of it was written */

struct lh_export;
struct lh_op;

/** A work request of an operation. */
struct direct_wr {
	struct lh_op *op; /* NULL: free */
	uint64_t op_offset;
	uint32_t length;
	uint8_t *bounce;
	struct direct_wr *next_free;
};

/** Ranges on their way to be confirmed, by a Commit or by an RDMA READ or FLUSH behind their writes. */
struct direct_commit {
	bool used;
	bool one_sided; /* by no Commit */
	uint64_t tag;
	size_t count;
	uint64_t copies; /* replay: those up to this number are confirmed with it */
	uint64_t sent_ns;
	struct write_range ranges[LH_COMMIT_MAX_RANGES];
};

/** The recall that was told and not yet answered; of several, all that they want. */
struct direct_recall {
	bool pending;
	uint64_t told_ns;
	uint64_t offset, length;
	uint32_t generation;
	uint32_t deadline_ms;
};

/** A key being tried out: lh_try_key(). */
struct direct_trial {
	bool under_way;
	bool cost_queue; /* the queue died of it; the keeper has not cleared up */
	enum fabric_status status;
};

struct direct {
	struct queue q;
	struct lh_export *ex;
	uint16_t dqid;
	uint8_t token[LH_TOKEN_BYTES]; /* that it was opened with */
	bool unburied;		       /* lost, and keys of it may be alive at the target */
	uint64_t epoch;		       /* of the client's controller that it belongs to */
	uint64_t incarnation;	       /* counts queues */
	bool gate_closed;
	bool lost; /* the queue died; the keeper has not cleared up */

	struct grant_map map;
	uint32_t generation; /* of everything in the map */
	uint32_t recalled;   /* on this queue, the newest: never take grants of it or older */
	enum lh_durability durability; /* of the newest grants */

	struct write_log log;
	uint64_t commit_tag; /* of the last Commit sent */
	uint32_t max_commit_ranges;
	uint64_t max_unconfirmed_bytes;
	struct direct_commit commits[DIRECT_COMMITS];
	struct replay replay;

	struct direct_wr *wrs;
	struct direct_wr *free_wr;
	unsigned int depth;
	unsigned int in_flight; /* work requests of operations */
	struct list pending;	/* struct lh_op.link, not wholly posted */
	struct list
		confirming; /* struct lh_op.link, posted, and to be durable before they are done */
	struct bounce bounce;

	/* Messages: DIRECT_MESSAGES out, then LH_MSG_DEFAULT_CREDITS in; then what READs for the order
	 * bring. */
	uint8_t *mem;
	struct fabric_mr *mr;
	uint32_t free_messages; /* bitmap */
	unsigned int credits;	/* receives that the target has for us */
	unsigned int owed;	/* receives posted again and not yet told */

	struct direct_recall recall;
	uint64_t tells; /* recalls heard of, so far */
	bool part;	/* the last one wanted part of it only */
	struct direct_trial trial;
};

MUST_CHECK int direct_init(struct direct *d, struct lh_export *ex);
void direct_fini(struct direct *d);

/** Connects with a token from the admin queue and says Hello. Keeper, lock not held. */
MUST_CHECK int direct_open(struct direct *d, const struct lh_token *token, struct errtext *err);
/** Lock not held. */
void direct_close(struct direct *d);

/**
 * Takes an operation if its range is granted and the gate open. Returns 1 (taken), 0 (not granted:
 * go by block commands; what was written there directly is confirmed by then), or -errno with `why`.
 * Waits while the gate is closed. Lock not held.
 */
MUST_CHECK int direct_start(struct direct *d, struct lh_op *op, struct errtext *why);

/** Posts what fits of the pending operations. */
void direct_pump(struct direct *d);
/** Turns pending operations away whose range is granted no more. */
void direct_turn_away(struct direct *d);

/** Waits for all of our work requests to complete. -ETIMEDOUT, -ENOTCONN. */
MUST_CHECK int direct_drain(struct direct *d, uint64_t deadline_ns);

/**
 * Commits what is dirty in the range and waits for it and for overlapping commits sent earlier.
 * 0: answered or nothing to do. What was not confirmed is dead then (write_log_dead()).
 */
int direct_commit(struct direct *d, uint64_t offset, uint64_t length, uint64_t deadline_ns);

/* direct_message.c */

MUST_CHECK int direct_message_init(struct direct *d);
void direct_message_fini(struct direct *d);
MUST_CHECK int direct_message_post_receives(struct direct *d);
/** A receive completed. */
void direct_message_received(struct direct *d, unsigned int index, uint32_t bytes);
/** A message left. */
void direct_message_sent(struct direct *d, unsigned int index);
MUST_CHECK int direct_send_hello(struct direct *d);
/** A Commit to put ranges into and to send, all under one hold of the lock. NULL: none can be sent now. */
struct direct_commit *direct_commit_begin(struct direct *d);
/** Takes what is dirty in the range, as far as the message has room; `*next` as in write_log_take(). */
void direct_commit_add(struct direct *d, struct direct_commit *c, uint64_t offset, uint64_t length,
		       uint64_t *next);
/**
 * Sends it, or posts an RDMA READ or FLUSH in its place, where that does and the gate is open. Nothing, if there is
 * nothing in it. -ENOTCONN: the queue died of it, with what was to be confirmed.
 */
MUST_CHECK int direct_commit_send(struct direct *d, struct direct_commit *c);
/** The three of them: up to one message's ranges from the range on. -EAGAIN: none can be sent now. */
MUST_CHECK int direct_send_commit(struct direct *d, uint64_t offset, uint64_t length,
				  uint64_t *next);
/** True if a Commit could be sent now. */
bool direct_can_commit(const struct direct *d);
/** How many are unanswered. */
unsigned int direct_commits_out(const struct direct *d);
/** When the oldest unanswered one has been waited for long enough; UINT64_MAX: there is none. */
uint64_t direct_commit_due_ns(const struct direct *d);
/** True if all of the export is wanted: a generation dies. */
static inline bool direct_recall_whole(const struct direct_recall *r)
{
	return r->offset == 0 && r->length == UINT64_MAX;
}
/** A READ or FLUSH in a Commit's place is answered. */
void direct_order_answered(struct direct *d, unsigned int index);
/** True while a commit up to `tag` that touches the range is unanswered. */
bool direct_commit_out(const struct direct *d, uint64_t tag, uint64_t offset, uint64_t length);
/** A recall heard of by other means than a message; ignored if the message came first. */
void direct_message_recall(struct direct *d, uint32_t generation);
/** The queue died: unanswered commits are dead writes. */
void direct_message_died(struct direct *d);

/* direct_confirm.c: operations with LH_IO_DURABLE */

/** Of one that is wholly posted. */
void direct_confirm_later(struct direct *d, struct lh_op *op);
/** Sends what confirms them, if something can be sent, and gives back those that are confirmed. */
void direct_confirm(struct direct *d);
/** What `c` was to confirm is not there for sure: those with bytes in it are to be sent anew. */
void direct_confirm_failed(struct direct *d, const struct direct_commit *c);
/** The queue died: all of them are. */
void direct_confirm_died(struct direct *d);

/* try_key.c */

/** A work request of the trial completed; refused, it costs the queue. */
void direct_trial_completed(struct direct *d, const struct fabric_wc *wc);
/** The queue died. */
void direct_trial_died(struct direct *d);

#define DIRECT_WR_MESSAGE \
	(1ull << 32) /* wr_id: one of these and an index, or a direct_wr's index */
#define DIRECT_WR_RECV	(1ull << 33)
#define DIRECT_WR_TRIAL (1ull << 34)
#define DIRECT_WR_LAST	(1ull << 35) /* with the one above */
#define DIRECT_WR_ORDER (1ull << 36) /* a READ or FLUSH in a Commit's place */

#endif
