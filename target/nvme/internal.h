/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this room share: the target, its share of each reactor, subsystems, and the
 * connection ("queue") that both kinds of queue begin with.
 *
 * Who owns what. Fields say "control", "reactor" or "registrar" where only that thread may touch
 * them. Hand-over is by message, so that nothing here needs a lock.
 */
#ifndef LEASEHOLD_NVME_INTERNAL_H
#define LEASEHOLD_NVME_INTERNAL_H

#include "nvme/ana.h"
#include "nvme/health.h"
#include "nvme/nvme.h"
#include "nvme/interlock.h"
#include "nvme/parse.h"
#include "util/counter.h"
#include "util/list.h"
#include "util/log_rate.h"
#include "util/range_table.h"
#include "util/text.h"

#include <stdatomic.h>

#define NVME_MAX_SEGMENTS	16 /* registered slices one command may touch; beyond: fs path */
#define NVME_MAX_TOKENS		8 /* direct queues asked for and not yet connected, per controller */
#define NVME_MAX_DIRECT_QUEUES	16 /* per controller */
#define NVME_AER_LIMIT		4
#define NVME_ABORT_LIMIT	4	/* of I/O commands, at a time */
#define NVME_REMOVE_DEADLINES	5	/* of a recall: then queues with commands left are cut */
#define NVME_DSM_MAX_PARTS	16	/* more ranges of one command are ordered as that many */
#define NVME_REACTOR_COPY_BYTES KIB(64) /* persisted or copied on a reactor; more: on a worker */
#define NVME_NAME_BYTES		320
#define ADDRESS_BYTES		64 /* address_format() */

struct bounce_pool;
struct controller;
struct ns_resv;
struct ns_use;
struct nvme_queue;
struct receive_pool;
struct resv_state;

/* ---- namespaces as one reactor sees them (holdings.c) ---------------------------------------- */

/** What one reactor has done to a namespace. It writes, control reads. */
struct ns_figures {
	_Atomic uint64_t reads, writes, read_bytes, written_bytes, errors;
	_Atomic uint64_t commits, committed_bytes, commits_refused;
};

struct ns_slot {
	struct ns_use *current; /* the last of uses, or NULL before the first publish */
	struct list uses;	/* oldest first */
	struct list waits;	/* struct holding_op_part */
	struct list seals;	/* struct ns_seal: commits there are refused; mostly none */
	struct table rights;	/* struct commit_right, of direct queues here */
	unsigned int requests;	/* that have ever found it, until they end */
	bool detached;		/* being removed: only commits and Releases still find it */
	/** NULL: nobody has reserved it. Control's, replaced by message. */
	const struct resv_state *reservation;
	/* Sequence of the last quiesce this reactor has obeyed; control reads it (fence_block). */
	_Atomic uint64_t quiesced_seq;
	struct ns_figures figures;
};

/** A Commit that is with a worker. Embed it. */
struct ns_commit {
	struct list link;
	const struct lh_commit_range *ranges;
	uint32_t count;
	struct work *work; /* a worker's */
	atomic_bool stop;  /* it is sealed: who is at it may give up */
};

/** One serving on one reactor, as long as anything there uses it. Reactor. */
struct ns_use {
	struct list link;
	struct ns_slot *slot;
	const struct serving *serving; /* NULL: offline */
	uint64_t seq;
	unsigned int refs;	    /* commands and commits that use the serving */
	unsigned int keyed;	    /* of these: that have work requests naming region keys … */
	unsigned int commits;	    /* of these */
	struct list keyed_requests; /* … request.keyed_link */
	struct list commit_list;    /* struct ns_commit, of those that take longer */
	uint16_t ana_group;
	bool quiesced;
	bool sealed;
};

/** What control knows of one holding. A slot is taken again when every reactor has forgotten it. */
struct ns_home {
	struct holding *holding; /* NULL: the slot is free */
	struct nvme_subsystem *subsystem;
	struct interlock *interlock; /* any thread */
	struct ns_resv *resv;
	uint64_t seq; /* of the last operation */
	uint64_t quiesce_seq, publish_seq;
	uint64_t announced_bytes; /* size that hosts were told; 0: offline */
	uint16_t ana_group;

	bool detached;
	struct loop_timer patience; /* then queues that still have commands on it are cut */
	struct loop_msg attached_msg, forgotten_msg;
	void (*removed)(void *arg);
	void *removed_arg;
};

struct nvme_reactor {
	struct nvme_target *target;
	struct reactor *reactor;
	struct loop *loop;
	unsigned int index;
	struct ns_slot slots[NVME_MAX_NAMESPACES];
	struct bounce_pool *bounce[GRANT_MAX_DEVICES];
	struct receive_pool *receives[GRANT_MAX_DEVICES]; /* NULL: each queue has its own */
	struct loop_msg settle_msg;
	struct list queues; /* struct nvme_queue, until they drain; the reactor's */
	struct loop_timer stall_timer;
	/* Control: completions that the queues on each may have. */
	unsigned int cq_reserved[GRANT_MAX_DEVICES][REACTOR_MAX_CQS];
};

struct nvme_subsystem {
	struct list link;
	struct nvme_target *target;
	char nqn[NVME_NQN_BYTES];
	char serial[21];
	bool discovery;	     /* the discovery service: no namespaces, no I/O queues */
	uint32_t max_nsid;   /* that could ever be; constant */
	struct figures past; /* of I/O queues that have ended; control */
	/* By reactor, which alone reads and writes its own; NVME_MAX_NAMESPACES: none. */
	uint16_t (*slot_of)[NVME_MAX_NSID + 1];
};

/* ---- the target (control) -------------------------------------------------------------------- */

/** Connection events of one fabric. */
struct cm_channel {
	struct list link;
	struct nvme_target *target;
	struct fabric *fabric;
	struct fabric_cm *cm;
	struct loop_fd lfd;
	unsigned int destroying; /* connections the registrar is at: no event is taken meanwhile */
	bool resting;
};

struct nvme_listener {
	struct list link;
	unsigned int users; /* queues and controllers that came in by it */
	struct cm_channel *channel;
	struct fabric_listener *listener; /* NULL: removed */
	struct nvme_listen_options options;
	struct sockaddr_storage bound;
	struct ana_states ana;
	struct log_rate refusals;
	uint16_t portid;
	char address[ADDRESS_BYTES];
};

struct nvme_target {
	struct nvme_env env;
	struct nvme_reactor *reactors;
	struct list channels;
	struct list listeners;
	struct list closed_listeners; /* whose users still look at their states */
	struct list subsystems;
	struct list controllers;
	char (*hosts)[NVME_NQN_BYTES]; /* that may connect from other machines: hosts.c */
	unsigned int nr_hosts;
	bool any_host;
	struct list queues; /* of both kinds, from request to grave */
	struct ns_home homes[NVME_MAX_NAMESPACES];
	unsigned int nr_homes; /* ever used */
	unsigned int nr_attaching;
	bool shares_receives[GRANT_MAX_DEVICES]; /* queues of it, those for I/O */
	bool loses_receives[GRANT_MAX_DEVICES];	 /* a queue that ends may take one along */
	unsigned int nr_renewing;		 /* pools of receives */
	bool settling;				 /* receives_settle() */
	unsigned int nr_settling;
	unsigned int nr_queues;
	unsigned int nr_rejects; /* under way */
	const char *no_queue;	 /* why queue_start() could not last time */
	char late_why[96];	 /* queues that send nothing to begin with end */
	unsigned int nr_controllers;
	unsigned int next_reactor;
	uint16_t next_cntlid;
	uint64_t change_count;
	uint64_t discovery_generation;
	uint16_t last_portid;
	struct nvme_referral referrals[NVME_MAX_REFERRALS];
	uint16_t referral_ids[NVME_MAX_REFERRALS];
	unsigned int nr_referrals;
	uint16_t last_referral_id;
	struct {
		unsigned int period_ms;
		struct loop_timer timer;
		struct work work;
		bool armed, busy;     /* the timer; a worker */
		bool asked;	      /* a controller came since the last look */
		uint16_t measured;    /* the worker's, while it is busy */
		uint16_t temperature; /* that controllers were told, in kelvins */
	} warmth;
	uint64_t started_ns;
	bool shut; /* see nvme_target_admit() */
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct loop_msg stop_msg;
};

/** Calls the one who waits for the stop, when everything is gone. */
void target_check_stopped(struct nvme_target *t);
struct nvme_subsystem *target_find_subsystem(struct nvme_target *t, const char *nqn);
/** Index of a device in env.holdings, or -ENODEV. */
int target_device_index(const struct nvme_target *t, const struct fabric_device *dev);

/* listener.c */

/** Also one that is removed and has users; or NULL. */
struct nvme_listener *listener_find(struct nvme_target *t, uint16_t portid);
/** For who came in by it: it stays until the last one has put it, also if it is removed. */
void listener_get(struct nvme_listener *listener);
void listener_put(struct nvme_listener *listener);
void listener_close_all(struct nvme_target *t);
/** After the last controller and queue. */
void listener_free_all(struct nvme_target *t);
void channel_close_all(struct nvme_target *t);
/** Which of epoll's events of the channel are wanted. */
void channel_watch(struct cm_channel *channel, uint32_t events);
/** "192.0.2.1:4420", "[2001:db8::1]:4420". */
void address_format(const struct sockaddr_storage *addr, char *text, size_t size);

/* hosts.c: who may connect; control */

/** Whether the peer is this machine: it came by loopback, or from the address that it came to. Ports do not count. */
bool host_is_here(const struct sockaddr_storage *peer, const struct sockaddr_storage *local);
bool host_came_from_here(const struct fabric_conn *conn);
/** Whether a further connection may be the controller's: one that was let in as this machine's own has no others. */
bool host_may_join(const struct controller *c, bool here);
bool host_may_connect(const struct nvme_target *t, const char *hostnqn, bool here);
/** How a host's NQN, which is what the host says, stands in the log: `out`, as a shell takes it for one word. */
#define HOST_TEXT_BYTES TEXT_WORD_BYTES(NVME_NQN_BYTES)
const char *host_text(const char *hostnqn, char out[HOST_TEXT_BYTES]);
/** The line in the log for one that may not. */
struct nvme_queue;
void host_refused(const struct nvme_queue *nq, const char *hostnqn);

/* refusal.c: connections that come to nothing; control */

#define REFUSAL_MORE_BYTES 64
/**
 * Whether one more refusal may have a line in the log, since strangers shall not fill it; `more` is what
 * that line says of those that had none.
 */
bool refusal_has_line(struct nvme_listener *listener, char more[REFUSAL_MORE_BYTES]);
/** A connection request that is rejected; `why` instead of what the code says, or NULL. */
void refusal_of_request(struct nvme_listener *listener, const struct fabric_conn *conn, bool direct,
			uint16_t code, const char *why);
/** FABRIC_CM_SHOWN_OUT. */
void refusal_of_stranger(struct nvme_listener *listener, const struct fabric_cm_event *event);
/** A queue that ends without ever having had a controller. */
void refusal_of_queue(struct nvme_queue *nq);

/* ---- a connection and its queue pair (queue.c) ------------------------------------------------ */

/** Control's view; from STOPPING on it only goes forward. */
enum queue_state {
	QUEUE_PREPARING, /* the registrar makes buffers and queue pair */
	QUEUE_ARMING,	 /* the reactor posts receives */
	QUEUE_ACCEPTING, /* accepted; the peer has not said that it knows */
	QUEUE_LIVE,
	QUEUE_STOPPING,	  /* queue pair in error; the reactor waits for all that is in flight */
	QUEUE_DESTROYING, /* nothing in flight; the registrar destroys */
	QUEUE_LEAVING,	  /* the reactor sees the last message about it */
};

/** Whose doing the end of a queue is. */
enum queue_end {
	QUEUE_END_ORDERED, /* by its controller, the landlord, the administrator */
	QUEUE_END_HERE,	   /* an error of ours, or no room */
	QUEUE_END_GARBAGE, /* the peer's, by what it sent */
	QUEUE_END_CLOSED,  /* the peer's, or the wire's */
	QUEUE_END_LATE,	   /* the peer's, by what it did not send */
};

struct queue;

struct queue_ops {
	/** Registrar: PD (direct), buffers, queue pair. On an error nothing is left. */
	int (*prepare)(struct queue *q);
	/** Control: the queue pair is there. */
	int (*prepared)(struct queue *q);
	/** Reactor: posts the receives. */
	int (*arm)(struct queue *q);
	/** Control: the private data of the accept, 32 bytes. */
	void (*accept_data)(struct queue *q, uint8_t data[32]);
	/** Control, once, first thing of the teardown; before anything is destroyed. */
	void (*stopping)(struct queue *q);
	/** Reactor, once: gives up what waits for others. What is in flight comes back by itself. */
	void (*drain)(struct queue *q);
	/** Control: false while it waits for someone (grants); then queue_destroy() is called again. */
	bool (*may_destroy)(struct queue *q);
	/** Registrar: after the queue pair is destroyed. */
	void (*destroyed)(struct queue *q);
	/** Control: the end; frees. */
	void (*free)(struct queue *q);
};

struct queue {
	const struct queue_ops *ops;
	struct nvme_target *target;
	struct nvme_reactor *nr;
	struct cm_channel *channel;
	struct fabric_conn *conn;
	unsigned int device;
	unsigned int cq;       /* which of the device's there */
	unsigned int receives; /* posted: the contract with the peer */
	bool may_share;	       /* its receives */
	bool shared;	       /* it does (receives.h) */
	unsigned int send_wrs; /* entries of the send queue */
	unsigned int max_sge, max_read_sge;
	uint8_t responder_resources, initiator_depth; /* asked for by the peer */
	_Atomic unsigned int read_depth;	      /* READs of ours that may be in flight */
	char address[ADDRESS_BYTES];		      /* of the peer */
	bool here;				      /* the peer is this machine */

	/* control */
	struct list link;
	enum queue_state state;
	bool has_qp; /* fabric_conn_fence() is allowed */
	bool stop_wanted;
	bool ready;	 /* the reactor has drained it, or never had it */
	const char *why; /* it ends */
	enum queue_end end;
	int err;
	struct loop_timer timer;    /* the first command is late; later: the drain is */
	struct loop_msg to_reactor; /* arm, then stop, then leave: never two at once */
	struct work work;	    /* prepare, then destroy */

	/* reactor */
	struct loop_msg to_control;	/* armed, then drained, then left */
	struct loop_msg failed_msg;	/* once */
	struct loop_msg alive_msg;	/* once: the first command came */
	enum queue_end failed_end;	/* before failed_why */
	const char *_Atomic failed_why; /* control reads it */
	unsigned int posted;		/* receives and signaled chains that have not completed */
	unsigned int busy;		/* requests, commits: elsewhere or in flight */
	bool failed;			/* no more posts */
	bool failed_told;
	bool draining;
	bool drained;
	bool alive_told;

	/* Commands in flight that name region keys, by namespace: reactor writes, control reads. */
	_Atomic uint32_t keyed[NVME_MAX_NAMESPACES];
	/* The same of all commands that have found the namespace. */
	_Atomic uint32_t requests[NVME_MAX_NAMESPACES];
};

/** Control. Takes over `conn`; on an error the caller rejects. `q` is zeroed but for ops. */
MUST_CHECK int queue_start(struct queue *q, struct nvme_target *t, struct cm_channel *channel,
			   const struct fabric_cm_event *event);
/**
 * Control: from any state, idempotent. `why` is a clause for the log that lives as long as the queue;
 * queue_stop(): it is ordered.
 */
void queue_end(struct queue *q, enum queue_end end, const char *why);
static inline void queue_stop(struct queue *q, const char *why)
{
	queue_end(q, QUEUE_END_ORDERED, why);
}
/** Control: events of the connection. */
void queue_established(struct queue *q);
void queue_disconnected(struct queue *q);
/** Control: the first command came. */
void queue_started(struct queue *q);
/** Control: of no use any more; the peer closes it, or it is stopped after a while. */
void queue_linger(struct queue *q);
/** Control: may_destroy() may be true now. */
void queue_destroy(struct queue *q);
/** Control: the registrar does it; events of the channel rest meanwhile. For rejected ones. */
void queue_reject(struct nvme_target *t, struct cm_channel *channel, struct fabric_conn *conn,
		  const void *data, uint8_t length);

/**
 * Reactor: the connection is of no use any more: tells control, posts nothing more. `why` as above;
 * queue_fail(): it broke, as far as is known here.
 */
void queue_fail_as(struct queue *q, enum queue_end end, const char *why);
static inline void queue_fail(struct queue *q, const char *why)
{
	queue_fail_as(q, QUEUE_END_CLOSED, why);
}
/** The same after a completion that is no success, of what the peer had to send. */
void queue_fail_by(struct queue *q, enum fabric_status status, const char *why);
/** Reactor: the peer has sent its first command. Control drops the timer. */
void queue_alive(struct queue *q);
/** Reactor: after `posted` or `busy` went down. */
void queue_check_drained(struct queue *q);

static inline void queue_done_posted(struct queue *q)
{
	assert(q->posted > 0);
	q->posted--;
	if (q->draining)
		queue_check_drained(q);
}

static inline void queue_done_busy(struct queue *q)
{
	assert(q->busy > 0);
	q->busy--;
	if (q->draining)
		queue_check_drained(q);
}

/** Control: messages about the queue may be posted to its reactor; they come before the last one. */
static inline bool queue_reachable(const struct queue *q)
{
	return q->state >= QUEUE_ARMING && q->state <= QUEUE_STOPPING;
}

/* ---- namespaces (holdings.c) ------------------------------------------------------------------ */

/** Reactor: the slot of a namespace that is there, or NVME_MAX_NAMESPACES. */
unsigned int ns_slot(const struct nvme_reactor *nr, const struct nvme_subsystem *s, uint32_t nsid);
/** Reactor: the use to work with, or NULL (no such namespace, or never published). */
struct ns_use *ns_find(struct nvme_reactor *nr, const struct nvme_subsystem *s, uint32_t nsid,
		       unsigned int *slot);
/** The same, also of one that is being removed. */
struct ns_use *ns_find_detached(struct nvme_reactor *nr, const struct nvme_subsystem *s,
				uint32_t nsid);
void ns_put_slow(struct ns_slot *slot);

/** Whether it is what this reactor serves now: keys of another one's regions are not to be named. */
static inline bool ns_is_current(const struct ns_use *use)
{
	return use == use->slot->current;
}

static inline void ns_get(struct ns_use *use)
{
	use->refs++;
}

static inline void ns_check(struct ns_use *use)
{
	struct ns_slot *slot = use->slot;

	if (!list_empty(&slot->waits) || (use->refs == 0 && !ns_is_current(use)))
		ns_put_slow(slot);
}

static inline void ns_put(struct ns_use *use)
{
	assert(use->refs > 0);
	use->refs--;
	ns_check(use);
}

/** Whether a commit that touches the range is refused: somebody got it back. */
bool ns_sealed(const struct ns_slot *slot, uint64_t offset, uint64_t length);

void holdings_init(struct nvme_reactor *nr);
void holdings_fini(struct nvme_reactor *nr);

/**
 * Control: what every reactor is told of a slot; the home's holding and subsystem are set. attach:
 * commands find it. detach: new ones do not. forget: done when none is left that has ever found it;
 * after the holding has stopped.
 */
void holdings_attach(struct nvme_target *t, unsigned int slot, void (*done)(struct loop_msg *));
void holdings_detach(struct nvme_target *t, unsigned int slot);
void holdings_forget(struct nvme_target *t, unsigned int slot, void (*done)(struct loop_msg *));

/** Control (namespaces.c): also one that is being removed; NULL: there is none. */
struct ns_home *subsystem_home(const struct nvme_subsystem *s, uint32_t nsid);

#endif
