/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An opened export: its size, its operations, its direct queue with the grants, its keeper. Inside
 * the library only.
 */
#ifndef LEASEHOLD_EXPORT_H
#define LEASEHOLD_EXPORT_H

#include "leasehold.h"

#include "libleasehold/client.h"
#include "libleasehold/direct.h"
#include "libleasehold/watch.h"

/** In the order of struct lh_stats. */
enum stat {
	STAT_DIRECT_READS,
	STAT_DIRECT_READ_BYTES,
	STAT_DIRECT_WRITES,
	STAT_DIRECT_WRITE_BYTES,
	STAT_BLOCK_READS,
	STAT_BLOCK_READ_BYTES,
	STAT_BLOCK_WRITES,
	STAT_BLOCK_WRITE_BYTES,
	STAT_FALLBACKS,
	STAT_FALLBACK_BYTES,
	STAT_RETRIES,
	STAT_BOUNCED_BYTES,
	STAT_COMMITS,
	STAT_COMMIT_RANGES,
	STAT_CONFIRMING_READS,
	STAT_CONFIRMING_FLUSHES,
	STAT_ACQUIRES,
	STAT_GRANTS,
	STAT_RENEWALS,
	STAT_RECALLS,
	STAT_RELEASES,
	STAT_REGRANTS,
	STAT_FENCED,
	STAT_RECONNECTS,
	STAT_DEAD_BYTES,
	STAT_REPLAYED_BYTES,
	STAT_COUNT,
};
static_assert(sizeof(struct lh_stats) == STAT_COUNT * sizeof(uint64_t), "one per field");

enum op_state {
	OP_BLOCK,  /* on an I/O queue */
	OP_DIRECT, /* on the direct queue */
	OP_RETRY,  /* came back undone: its waiter sends it another way */
	OP_DONE,
};

/** A read or a write. Guarded by the lock of `q` while it is OP_BLOCK or OP_DIRECT. */
struct lh_op {
	struct lh_export *ex;
	struct queue *q; /* NULL: nobody but the caller's thread knows of it */
	enum op_state state;
	unsigned int flags; /* enum lh_io_flags */
	uint64_t offset;
	uint64_t length;
	uint8_t *buf;
	const struct fabric_mr *mr; /* of all of buf, or NULL: it is bounced */
	uint64_t cursor;	    /* posted up to here */
	unsigned int in_flight;	    /* pieces */
	bool stop;		    /* post no more: it failed or goes another way */
	bool listed;		    /* in the queue's pending list */
	bool confirming;	    /* in the direct queue's list of that name */
	bool covered;		    /* `tag` is of the last Commit that it waits for */
	uint64_t tag;
	bool pooled;	/* lives in ex->ops */
	bool transient; /* the target could not just now: pause before trying again */
	int error;
	uint16_t status; /* NVMe, if error comes from one */
	bool retried;
	bool by_block;	 /* went by block commands in the end */
	bool for_direct; /* counted as direct */
	bool overwrites; /* copies of unconfirmed writes were dropped for it */
	uint64_t begun_ns;
	uint64_t give_up_ns; /* retries end then */
	struct list link;    /* pending, confirming or free */
};

struct hold_error {
	int code;
	struct errtext text;
};

enum hold_state {
	HOLD_NEW,     /* the keeper has not been round */
	HOLD_SETTLED, /* what could be granted was, once */
	HOLD_FAILED,  /* `error` */
};

/** Guarded by the direct queue's lock; taken out by the keeper alone. */
struct lh_hold {
	struct lh_export *ex;
	struct list link;
	uint64_t offset;
	uint64_t end; /* UINT64_MAX: whatever the end is */
	uint32_t access;
	bool allocate;
	bool patient; /* what may pass (others' grants, holes) does not fail it */
	enum hold_state state;
	bool leaving;
	bool gone;
	/* It was over these bytes, and what of them is wanted no more is to be given back. */
	bool narrowing;
	uint64_t narrowed_from, narrowed_to;
	/*
	 * All of it up to here was asked for when the map had lost so much: what is not granted has no
	 * blocks of its own. Of a map that has lost more since it says nothing.
	 */
	uint64_t asked_to;
	uint64_t asked_losses;
	uint64_t
		later_ns; /* while new: since when the target cannot just now, `error.text` says why */
	struct hold_error error;
};

struct lh_export {
	struct lh_client *client;
	struct list link;	      /* client->lock */
	struct lh_export_entry entry; /* client->lock; the latest */
	char name[LH_NAME_BYTES];
	uint32_t nsid;
	uint32_t lba_bytes;
	struct watch watch; /* client->lock */
	_Atomic uint64_t size_bytes;
	_Atomic uint64_t refreshed_ns;
	_Atomic uint64_t stats[STAT_COUNT];

	struct direct direct;
	_Atomic bool direct_wanted; /* a hold exists: operations ask the direct queue first */
	struct list holds;	    /* direct lock */
	pthread_cond_t changed;	    /* direct lock: gate, grants, holds */

	pthread_mutex_t keeper_lock; /* starting the keeper */
	pthread_t keeper;
	bool keeper_started;
	int wake_fd;
	_Atomic bool keeper_stop;
	_Atomic bool poke;    /* look at the holds again */
	_Atomic bool regrant; /* the target says that Acquire will work */
	void (*on_event)(const struct lh_event *event, void *user); /* direct lock */
	void *on_event_user;

	pthread_mutex_t ops_lock;
	struct lh_op *ops;
	struct list free_ops;
	pthread_mutex_t patch_lock; /* block writes that read, patch and write */
};

/** What is said of a namespace that is not there any more; takes the export's name. */
#define LH_EXPORT_GONE                                                                           \
	"\"%s\" is not served any more: the export was removed or taken offline on the target (" \
	"leasehold status on that host tells)"

/** -EOPNOTSUPP: direct writes of that level cannot be confirmed as lh_options.persist has it. */
MUST_CHECK int export_check_level(const struct lh_export *ex, enum lh_durability level,
				  struct lh_error *err);

static inline void stat_add(struct lh_export *ex, enum stat which, uint64_t n)
{
	atomic_fetch_add_explicit(&ex->stats[which], n, memory_order_relaxed);
}

/** The target's word about the export, from the list or a change. Any thread, no lock held. */
void export_update(struct lh_export *ex, const struct lh_export_entry *entry);

/** Wakes the keeper. Any thread, any lock held. */
void export_wake(struct lh_export *ex);

/* io.c: an operation has nothing in flight and nothing more to post. Under op->q's lock. */
void op_settle(struct lh_op *op);
/* A copy of an unconfirmed direct write, by block commands, as lh_block_write(). */
MUST_CHECK int io_replay(struct lh_export *ex, uint64_t offset, const void *buf, uint64_t length);

/* block.c */

/** Posts what fits of the pending operations (nvme_queue.pump). */
void block_pump(struct nvme_queue *nq);
/** Puts an operation on the I/O queue; aligned to the block. -ENOTCONN: not live now. */
MUST_CHECK int block_start(struct lh_op *op, struct nvme_queue *nq);
/** NVMe Flush, waited for. */
MUST_CHECK int block_flush(struct lh_export *ex, struct nvme_queue *nq, uint16_t *status);

/* keeper.c */

/** Starts the export's keeper if it does not run. */
MUST_CHECK int keeper_start(struct lh_export *ex);
/** Has it commit, release and end; waits. Returns 0 or -LH_EDEAD. */
int keeper_stop(struct lh_export *ex);

#endif
