/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holdings and grants. A holding is one export as we hold it now: tenure, view, regions, grants and
 * the recall that takes all of it back and gets it again. It is the only caller of tenure, the owner
 * of views and regions, and calls no one above: clients and reactors are reached through
 * holding_ops, wired in main.c.
 *
 * Threads: every function here runs on the control loop. What blocks is handed to the registrar
 * (keys) and the workers (files). Callbacks come back on the control loop.
 *
 *   OFFLINE -> STARTING -> SERVING -> RECALLING -> RELEASED -> (STARTING, generation + 1) ...
 */
#ifndef LEASEHOLD_GRANT_H
#define LEASEHOLD_GRANT_H

#include "export/export.h"
#include "fabric/fabric.h"
#include "grant/range_recall.h"
#include "region/region.h"
#include "tenure/tenure.h"
#include "util/list.h"
#include "util/loop.h"
#include "util/pool.h"

#define GRANT_MAX_DEVICES      8
#define GRANT_MAX_RESIZE_BYTES GIB(65536) /* half of what a process can address */

#define GRANT_KEY_BYTES GIB(1) /* of one grant; a longer Acquire gets several */

#define GRANT_HOST_BYTES 16 /* of a host's identifier */

#define GRANT_CONFLICT_DEADLINES 5 /* of a recall that a block command waits for a grant to go */

#define GRANT_DEFAULT_DEADLINE_MS    1000	      /* ask first; then fence */
#define GRANT_WATCH_TELL_NS	     (10 * NS_PER_MS) /* a recall that is over by then is told when it is */
#define GRANT_RECALL_AWAKE_NS	     (500 * NS_PER_US) /* that threads wait for answers unslept */
#define GRANT_DEFAULT_MAX_PER_CLIENT 4096
/*
 * Of all clients together: a recall kills every key of an export, one after another, at 4 to 10 µs each,
 * while a landlord waits; and no host is to have all of them.
 */
#define GRANT_DEFAULT_MAX_PER_EXPORT 16384
#define GRANT_DEFAULT_MAX_PER_HOST   8192
#define GRANT_MAX_PER_EXPORT	     (1u << 24)
#define GRANT_DEFAULT_MAX_BYTES	     0 /* no limit: what is granted takes no memory but the file's own */
/*
 * Keys that a client may have made in a second. Who waits for each answer, as libleasehold does, comes
 * to some 10,000; more than that is somebody who keeps the registrar from others.
 */
#define GRANT_DEFAULT_MAX_REGISTRATIONS 100000
#define GRANT_MAX_REGISTRATIONS		1000000
#define GRANT_DEFAULT_EXPIRY_MS		60000 /* a client's grants, unless renewed */
#define GRANT_DEFAULT_MAX_REGISTERED	0     /* for block commands: no limit but the adapter's */
#define GRANT_MIN_REGISTERED_BYTES	MIB(1)
#define GRANT_DEFAULT_TURN_MS		100 /* of the choice what is registered */
#define GRANT_DEFAULT_HOTTER		(3 * REGION_HEAT_TOUCH) /* used in three turns */
#define GRANT_DEFAULT_RUNG_RETRY_MS	1000 /* to the first attempt at a better rung; then doubled */

struct holding;
struct histogram;
struct grant_client;

/**
 * The longest deadline that a recall may have on this machine, a quarter of fs.lease-break-time;
 * UINT32_MAX if that cannot be read. Any thread.
 */
uint32_t grant_longest_deadline_ms(void);

/**
 * What reactors work with: immutable, one per (holding, generation, extent map). regions[i] belongs
 * to device i of holding_env, NULL on the staged rung (bytes are copied).
 */
struct serving {
	struct holding *holding;
	const struct view *view;
	const struct region *regions[GRANT_MAX_DEVICES];
};

/** A window that is to be bound, on its client's direct queue. Embed it. */
struct grant_bind {
	struct fabric_send_wr wr; /* but for its wr_id */
	int err;		  /* … with which it is done: 0, or -errno: the queue is dead */
	/* Whoever binds: */
	void *queue;
	struct list link;
	struct loop_msg msg;
	void (*fn)(struct loop_msg *);
};

/**
 * How a holding reaches the block and direct queues. All are called on the control loop and return
 * at once; each `done` is posted to the control loop exactly once.
 */
struct holding_ops {
	/**
	 * From now on reactors serve this holding with `s` (NULL: no bytes at all, the export is
	 * offline). done: no request, commit or copy uses any earlier serving any more: it may be freed.
	 */
	void (*publish)(void *ctx, struct holding *h, const struct serving *s,
			struct loop_msg *done, void (*fn)(struct loop_msg *));
	/**
	 * Block commands take the file-system path of the current serving; no new work request names
	 * keys of this holding. done: no block work request that names any, of this serving or an
	 * earlier one, is in flight. Commits still run. Until the next publish.
	 */
	void (*quiesce)(void *ctx, struct holding *h, struct loop_msg *done,
			void (*fn)(struct loop_msg *));
	/** Commits of the current generation are refused as stale. done: none is in flight. After a
	 *  quiesce, until the next publish. */
	void (*seal)(void *ctx, struct holding *h, struct loop_msg *done,
		     void (*fn)(struct loop_msg *));
	/** Block queue pairs that still have work on the quiesced keys go to error, now. */
	void (*fence_block)(void *ctx, struct holding *h);
	/**
	 * After a publish that leaves the range out. done: no block work request on an earlier serving
	 * that names keys touches it, or names one that reaches it (region_shares()).
	 */
	void (*drain)(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
		      struct loop_msg *done, void (*fn)(struct loop_msg *));
	/**
	 * The same of every serving. Of a slice that nobody finds any more (region_withhold()).
	 */
	void (*drain_all)(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
			  struct loop_msg *done, void (*fn)(struct loop_msg *));
	/** Block queue pairs with such work go to error, as soon as their reactors turn to it. */
	void (*fence_range)(void *ctx, struct holding *h, uint64_t offset, uint64_t length);
	/** Commits that touch the range are refused as stale, until unsealed as often as sealed.
	 *  done: none is in flight. */
	void (*seal_range)(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
			   struct loop_msg *done, void (*fn)(struct loop_msg *));
	void (*unseal_range)(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
			     struct loop_msg *done, void (*fn)(struct loop_msg *));
	/**
	 * done: block commands that change any of the range and have begun, as far as their order
	 * goes, before this was called have ended. Those that begin later see what was done before
	 * it was called (conflict.c). 0, or -ENOMEM: then no done.
	 */
	int (*settle)(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
		      struct loop_msg *done, void (*fn)(struct loop_msg *));
	/**
	 * Sends Recall on the client's direct queue (without one: as an event): of grants that touch
	 * the range; UINT64_MAX: to the end. Once a recall.
	 */
	void (*tell)(void *ctx, struct grant_client *client, struct holding *h, uint64_t offset,
		     uint64_t length, uint32_t generation, uint32_t deadline_ms);
	/**
	 * Posts bind->wr on the client's direct queue. fn(&bind->msg) once, on the control loop, when
	 * it has completed; at the latest soon after the queue was fenced.
	 */
	void (*bind)(void *ctx, struct grant_client *client, struct grant_bind *bind,
		     void (*fn)(struct loop_msg *));
	/**
	 * The client is to have a grant for writing: from now on, before it can know of it, its direct queue
	 * may commit the bytes. NULL: no memory. Else it is for commit_ends(), once, when the key is dead.
	 */
	void *(*commit_begins)(void *ctx, struct grant_client *client, struct holding *h,
			       uint64_t offset, uint64_t length);
	void (*commit_ends)(void *ctx, void *right);
	/**
	 * One enum lh_change a call: LH_CHANGE_EXPORT when it came, went or changed its size,
	 * LH_CHANGE_REGRANT when a new generation is served. For events to controllers.
	 */
	void (*changed)(void *ctx, struct holding *h, unsigned int change);
	/**
	 * For who only watches: LH_CHANGE_RECALLING when a recall has begun and is not over soon,
	 * LH_CHANGE_RELEASED when the landlord has the bytes. (0, UINT64_MAX): all of the export's.
	 */
	void (*recalled)(void *ctx, struct holding *h, unsigned int change, uint64_t offset,
			 uint64_t length);
};

struct cache;

/** Shared by all holdings of the daemon. Must outlive them. */
struct holding_env {
	struct loop *control;
	struct pool *registrar;
	struct pool *workers;
	struct fabric_device *devices[GRANT_MAX_DEVICES];
	struct fabric_pd *block_pds[GRANT_MAX_DEVICES]; /* of the block queue pairs */
	unsigned int nr_devices;
	const struct holding_ops *ops;
	void *ops_ctx;
	uint32_t deadline_ms;
	uint32_t grant_expiry_ms;
	uint32_t max_grants_per_client;
	uint32_t max_grants_per_export;	       /* of all clients */
	uint32_t max_grants_per_host;	       /* of all its clients, to all exports; by host NQN */
	uint64_t max_granted_bytes_per_client; /* 0: no limit; what overlaps counts twice */
	uint32_t max_registrations_per_second; /* of a client; 0: no limit */
	uint32_t rung_retry_ms;
	struct cache *cache; /* of cache_new() */
};

/** What each adapter may have registered for block commands, of all exports together. */
struct cache_limits {
	uint32_t max_registrations; /* 0: what the adapter has, less max_grants_per_export */
	uint64_t max_bytes;	    /* 0: no limit */
	uint32_t turn_ms; /* from one look at what is used to the next; 0: GRANT_DEFAULT_TURN_MS */
	uint32_t hotter;  /* than another must be who takes its room; 0: GRANT_DEFAULT_HOTTER */
};

/**
 * Before the first holding, when devices, control loop and limits of `env` are set: sets env->cache.
 * -ENOMEM.
 */
MUST_CHECK int cache_new(struct holding_env *env, const struct cache_limits *limits);
/** After the last holding. */
void cache_free(struct holding_env *env);
/** What is used of it, of all exports. Any thread. */
const struct region_budget *cache_budget(const struct holding_env *env, unsigned int device);

/** What a recall of all exports at once may take, and would. */
struct recall_budget {
	uint64_t limit_ns;   /* without the deadline; 0: nothing is served */
	const char *name;    /* of the export that has so little; valid until the loop goes on */
	uint64_t regions_ns; /* to end what is registered for block commands … */
	uint64_t granted_ns; /* … and what is granted */
};

/** Calls fn for each host that has direct clients, with what they hold together. Control loop. */
void grant_each_host(void (*fn)(const char *nqn, unsigned int grants, uint64_t bytes, void *arg),
		     void *arg);

/** Control loop. */
void grant_recall_budget(struct recall_budget *budget);

struct holding_config {
	struct export_config export;
	uint32_t nsid;
	uint32_t ana_group; /* of asymmetric access; 0: 1 */
	enum region_choice registration;
	bool advisory_deallocate; /* hosts' wish for holes is not fulfilled */
	bool wait_if_busy;	  /* else refused when another process has the file open at start */
	enum tenure_kind tenure;
	bool refuse_while_granted; /* under watch: while there are grants local operations get EBUSY */
	bool deny_conflicts; /* who changes what another host may write directly gets an error */
	bool windows;	     /* grants are windows, with adapters for which these are proven */
	uint32_t generations_before; /* that were of its nsid; its own count on from there */
};

enum holding_state {
	HOLDING_OFFLINE,  /* no tenure wanted: failed to start, or stopped; see holding_why() */
	HOLDING_STARTING, /* open, tenure, self-test, view, registration under way, or waiting */
	HOLDING_SERVING,
	HOLDING_RECALLING, /* block commands on the file-system path; grants going */
	HOLDING_RELEASED, /* the landlord has its blocks; waiting for the tenure to be free again */
};

MUST_CHECK int holding_new(const struct holding_env *env, const struct holding_config *config,
			   struct holding **h);

/**
 * Opens, tests the adapters, takes the tenure, registers, publishes. done(arg, 0 or -errno, sentence)
 * once: when it serves; with wait_if_busy, as soon as it waits for others to close the file (0); or
 * when it failed and everything is undone (OFFLINE, may be started again).
 */
void holding_start(struct holding *h, void (*done)(void *arg, int err, const char *why), void *arg);

/**
 * Recalls what is granted, deregisters, releases the tenure, publishes NULL, closes. In any state,
 * also while it starts (whose done then gets -ECANCELED). done once, later; then free or start.
 */
void holding_stop(struct holding *h, void (*done)(void *arg), void *arg);
/** What status is to say of one that is stopped. */
void holding_set_why(struct holding *h, const char *why);
void holding_free(struct holding *h);

/**
 * Called by a worker each time the file was opened, before it is served; on an error it is not, and
 * `err` says why. Before holding_start().
 */
void holding_on_open(struct holding *h,
		     int (*opened)(void *arg, const struct export *e, struct errtext *err),
		     void *arg);

/**
 * Before holding_start(): the file stays as it is until holding_go_on(). held(arg), perhaps more
 * than once: what is left of the start would change it, and nothing is known that could refuse it.
 */
void holding_hold(struct holding *h, void (*held)(void *arg), void *arg);
/** Just now: it has its tenure, and waits for nothing but holding_go_on(). */
bool holding_is_held(const struct holding *h);
void holding_go_on(struct holding *h);

/** A lease signal came: every holding looks at its tenure. */
void holding_scan(struct holding *h);

/**
 * A transfer of a serving that is in use found that memory of the file is missing: the file is compared
 * with what is served now, not in a few seconds. Any thread.
 */
void holding_suspect(struct holding *h);

/**
 * A block command went through buffers for want of a registration, and region_miss() says that it is
 * news. Any thread; of a serving that is in use.
 */
void holding_miss(struct holding *h);

/* ---- clients and grants ---------------------------------------------------------------------- */

/** What a client is to a grant: its direct queue's device, protection domain and queue pair. */
struct grant_client_config {
	unsigned int device; /* index in holding_env.devices */
	struct fabric_pd *pd;
	struct fabric_conn *conn; /* fenced at a deadline */
	void *user;
	char name[128]; /* host NQN and address, for logs */
	char host[NVME_NQN_BYTES];
	uint8_t hostid[GRANT_HOST_BYTES]; /* whose it is */
	uint16_t cntlid;
};

MUST_CHECK int grant_client_new(const struct holding_env *env, const struct grant_client_config *c,
				struct grant_client **client);
/**
 * The direct queue is dead or is to be: fences it, answers its acquires, kills every key of it. done
 * once, later, when all are dead: then free the client, destroy its queue and protection domain.
 */
void grant_client_gone(struct grant_client *client, void (*done)(void *arg), void *arg);
void grant_client_free(struct grant_client *client);
void *grant_client_user(const struct grant_client *client);

struct grant_want {
	uint64_t offset; /* bytes, LH_GRANT_ALIGN-aligned */
	uint64_t length;
	unsigned int access; /* enum lh_grant_access */
	bool allocate;
	uint32_t generation; /* 0: any */
};

/** One Acquire's answer; valid during the callback only. */
struct grant_answer {
	uint16_t status; /* NVMe status */
	uint32_t generation;
	enum lh_durability durability;
	uint32_t expiry_ms;
	unsigned int access; /* that all of the grants have */
	uint64_t covered_length;
	/* From the offset on. LH_SC_RECALLING: that a landlord has; 0: all. LH_SC_DAMAGED: that are. */
	uint64_t held_length;
	bool reclaimed; /* the same: by holding_reclaim() */
	unsigned int count;
	struct lh_grant grants[LH_ACQUIRE_MAX_GRANTS]; /* wire format */
};

/**
 * done(arg, answer) once, on the control loop, also if the client goes away meanwhile; never before
 * this returns, but when there is no memory at all. Covers what is backed without a gap from the
 * offset on, in pieces; with `allocate` fills at most 256 MiB of holes: for the rest ask again.
 * Status: NVME_SC_INVALID_FIELD, NVME_SC_LBA_RANGE, NVME_SC_ACCESS_DENIED (read-only),
 * NVME_SC_NS_NOT_READY (offline), NVME_SC_CAP_EXCEEDED or another of the file system's when holes
 * cannot be filled, and enum lh_status. A grant for writing excludes every other client from its
 * bytes, readers too.
 */
void grant_acquire(struct holding *h, struct grant_client *client, const struct grant_want *want,
		   void (*done)(void *arg, const struct grant_answer *answer), void *arg);

struct grant_give_back {
	uint64_t offset;     /* bytes, LH_GRANT_ALIGN-aligned */
	uint64_t length;     /* bytes; what wraps is to the end */
	uint32_t generation; /* 0: any */
	bool split; /* what reaches outside is cut, else refused; then `length` is aligned, too */
};

/**
 * Ends every grant of the client in the range, of that generation, then done(arg, answer), never
 * before this returns: no key of the client reaches the bytes any more. Also during a recall and after
 * it. Releasing nothing is a success.
 * A grant that reaches outside the range is split: what is left of it, before the range and behind it,
 * is granted anew before the old key dies, so that nobody gets it in between, with the same access and
 * the rest of its life; `answer` has these grants, its covered_length their bytes.
 * On an error nothing has changed: LH_SC_STALE_GENERATION (newer than ours), LH_SC_CUT (a grant reaches
 * outside, and without `split`), and of what would be left: LH_SC_RECALLING (it is wanted back, so it
 * is to be released as well), LH_SC_NOT_BACKED, LH_SC_NO_DIRECT_QUEUE, those of the limits, as of an
 * Acquire, but that bytes do not count; LH_SC_LIMIT, too, beyond LH_ACQUIRE_MAX_GRANTS.
 */
void grant_release(struct holding *h, struct grant_client *client,
		   const struct grant_give_back *what,
		   void (*done)(void *arg, const struct grant_answer *answer), void *arg);

/**
 * Extends the life of all grants of the client (as each Acquire does); returns an NVMe status and
 * the new life in ms.
 */
uint16_t grant_renew(struct grant_client *client, uint32_t *expiry_ms);

/* ---- clients that may not any more ------------------------------------------------------------ */

/** Embed it. */
struct holding_eviction {
	/** Whether the client may not have such a grant (enum lh_grant_access) any more. */
	bool (*forbidden)(const struct holding_eviction *e, const struct grant_client *client,
			  unsigned int access);
	/** Once, later: no such grant is alive. */
	void (*done)(struct holding_eviction *e);
	struct list link; /* the room's own, as is … */
	struct loop_msg msg;
};

/**
 * Takes back what is forbidden, by a recall if somebody has such a grant, and refuses acquires that
 * are under way with NVME_SC_RESERVATION_CONFLICT. Later ones are the caller's to refuse.
 */
void holding_evict(struct holding *h, struct holding_eviction *e);

/* ---- block commands beside grants ------------------------------------------------------------- */

/**
 * Whether another host has, or is getting, a grant for writing that touches any of the ranges.
 * Asked by a command that changes them and has its place in the order. One relaxed load while the
 * export has no such grant. Any thread.
 */
bool holding_conflicts(struct holding *h, const uint8_t host[GRANT_HOST_BYTES],
		       const struct export_range *ranges, unsigned int nr_ranges);

/** A command that waits until the grants that it is in conflict with are gone. Embed it. */
struct holding_conflict {
	const struct export_range *ranges; /* valid until done, as is … */
	unsigned int nr_ranges;
	const uint8_t *host; /* … whose command it is */
	/**
	 * Control loop, once; may come before holding_recall_conflicts() returns. 0: until its
	 * place in the order is free no other host writes there directly. -EAGAIN: they are not
	 * gone after GRANT_CONFLICT_DEADLINES; -ENOMEM.
	 */
	void (*done)(struct holding_conflict *c, int err);
	/* the room's own */
	struct holding *h;
	struct list link;
	uint32_t last_id; /* later grants wait for its place, so it does not for them */
	struct loop_timer timer;
};

/**
 * Recalls exactly what is in conflict with it: no other grant, no registration, no tenure, no
 * generation. Clients that do not answer are fenced at the deadline.
 */
void holding_recall_conflicts(struct holding *h, struct holding_conflict *c);

/* ---- holes ----------------------------------------------------------------------------------- */

/** Page-aligned ranges that a host wants to go back to the file system. Embed it. */
struct holding_punch {
	const struct export_range *ranges; /* valid until done */
	unsigned int nr_ranges;
	bool durable; /* and all that was written before it, where there is a volatile cache */
	/** Control loop, once; may come before holding_punch() returns. 0: they read as zeros. */
	void (*done)(struct holding_punch *punch, int err);
	/* the room's own */
	struct list link;
	uint64_t resize_to; /* 0: it is no resize */
};

/**
 * Punches holes: keys over the ranges are killed first, grants over them recalled. Nothing fills a
 * hole again but a later write. Waits for a recall that is going on. -ENODEV: stopped; -EOPNOTSUPP:
 * not on this file system; others of the file system's. The caller uses no serving meanwhile: who
 * does holds it up.
 */
void holding_punch(struct holding *h, struct holding_punch *punch);

/* ---- part of it for a landlord ----------------------------------------------------------------- */

/**
 * A range that somebody on this machine wants for himself for a while. Any number at once, overlapping
 * or not. Embed it; it is the room's from holding_recall_range() to `ended`.
 */
struct holding_range {
	uint64_t offset;  /* bytes; rounded outwards to LH_GRANT_ALIGN */
	uint64_t length;  /* 0: to the end, wherever that will be */
	bool tenure;	  /* the tenure of the whole export too: any process may open the file */
	bool grants_only; /* not what block commands use: they go on as they did */
	/**
	 * The proof, once: nothing remote reaches the range, no work request or commit of ours is
	 * under way on it. Block commands reach it through the file system. With grants_only: no
	 * grant touches it. NULL: nobody asks.
	 */
	void (*done)(struct holding_range *r);
	/** Once, after holding_recall_end() and `done`: what is served has the range again, or nothing
	 *  is served. The memory is the caller's again. */
	void (*ended)(struct holding_range *r);

	/* the room's own */
	struct holding *h;
	struct list link;
	struct range_recall recall;
	unsigned int pending; /* events still to be stepped through, a mask */
	bool stepping;
	bool beside;	  /* grants went that do not touch it */
	bool out;	  /* what is served leaves it out */
	bool coming_back; /* a serving that has it is being made */
	bool finishing;
	unsigned int ops;  /* that reactors have not answered */
	uint64_t left_out; /* in which view that was being made, last */
	uint64_t serial;   /* among all recalls; marks clients */
	uint64_t seen_ns;  /* when clients were told */
	uint64_t end;	   /* of the rounded range */
	struct loop_timer timer;
	struct loop_msg drain_msg, seal_msg, unseal_msg, done_msg, ended_msg;
	bool watchers_told;
};

/**
 * Recalls the range: clients that hold grants touching it are asked to let these go and fenced at the
 * deadline, block queue pairs likewise whose work on it does not end, or on a registration that reaches
 * it and is older than the recall; a recall of the whole export follows if even then there is no proof. All else is served
 * on, its keys and the generation as they were. In any state but OFFLINE; the callbacks come later.
 */
void holding_recall_range(struct holding *h, struct holding_range *r);
/** Whoever wanted it is through: a fresh look, registration, clients told. Once; also before `done`. */
void holding_recall_end(struct holding_range *r);

/** What local tools ask for: `leasehold reclaim`. */
struct holding_reclaim {
	uint64_t offset, length; /* as above */
	bool whole;		 /* with the tenure */
	uint64_t hold_ns;	 /* from the proof on; then it ends by itself */
};

/** As hold_ns: till holding_stop(). Clients take it for a recall like any other. */
#define HOLDING_RECLAIM_TILL_STOP UINT64_MAX

#define GRANT_MAX_RECLAIMS 64 /* of an export at once */

/* Under watch, parts that local operations want, of an export at once; who comes then recalls the
 * whole. */
#define GRANT_MAX_LOCALS 256

/**
 * done(arg, err, sentence) once, later or at once: 0 with the proof; -EBUSY: too many; -ENODEV: not
 * served; -ENOMEM; -EINVAL: outside the export.
 */
void holding_reclaim(struct holding *h, const struct holding_reclaim *want,
		     void (*done)(void *arg, int err, const char *why), void *arg);
/** Ends all of them before their time; returns how many. */
unsigned int holding_reclaim_end(struct holding *h);
/**
 * Reclaim `i`, from 0 on: what it is (`length` may reach far behind the end), and how long it holds
 * still (0: not proven yet, or over).
 */
bool holding_reclaimed(const struct holding *h, unsigned int i, struct holding_reclaim *r);

/* ---- size ------------------------------------------------------------------------------------- */

/**
 * Gives the file another size. Larger: the export is recalled as by a landlord, the file extended
 * by a hole. Smaller: what goes is no longer served, its keys die, then the file is truncated;
 * only where somebody is granted some of it (or the file is pinned on DAX) all is recalled.
 * done(arg, err, sentence) once, also before this returns: when the new size is served, or, with a
 * sentence that says why it is not yet, when the file has it; -EINVAL (0, not of whole blocks),
 * -EFBIG, -EROFS, -EBUSY (another one is under way), -ENODEV (stopped, or not yet served), -ENOLINK
 * (the file was deleted: its size stays, as it could not be served again), others of the file
 * system's.
 */
void holding_resize(struct holding *h, uint64_t bytes,
		    void (*done)(void *arg, int err, const char *why), void *arg);

/* ---- rungs ----------------------------------------------------------------------------------- */

/**
 * Tests the adapter of that name (NULL: all) again, for `choice` (NULL: as before), and changes its rung
 * live: if it comes to another one the export is recalled as by a landlord and served with the next
 * generation. done(arg, err, sentence) once, also before this returns: when that is served, when
 * nothing changes, or with a sentence why it is not served yet. -EOPNOTSUPP: "pinned" or "odp" is asked
 * for and no adapter can, then nothing changes; -ENOENT: no such adapter; -EBUSY: another one is under
 * way; -ENODEV: stopped, or not yet served.
 */
void holding_rung(struct holding *h, const char *device, const enum region_choice *choice,
		  void (*done)(void *arg, int err, const char *why), void *arg);

/** "auto", "pinned", "odp", "staged". Any thread. */
const char *region_choice_text(enum region_choice choice);

/* ---- what status shows ------------------------------------------------------------------------ */

/** CLOCK_MONOTONIC nanoseconds of one recall; 0: did not happen (yet). */
struct recall_timeline {
	uint32_t generation; /* that was recalled */
	uint64_t seen_ns;
	uint64_t told_ns;
	uint64_t drained_ns;   /* no block work request of ours on it any more */
	uint64_t released_ns;  /* the last client's Release came, or the fence */
	uint64_t fenced_ns;    /* 0: nobody had to be */
	uint64_t closed_ns;    /* keys reach nothing from then on; 0: the landlord waited for … */
	uint64_t keys_dead_ns; /* … this, of the last grant; else of the last key of all */
	uint64_t unlocked_ns;
	uint64_t retaken_ns;
	uint64_t serving_ns; /* registered again, generation + 1 */
	unsigned int clients, grants, fenced_clients;
};

/** The same of one recall of a range. */
struct range_timeline {
	uint64_t offset, end; /* bytes; INT64_MAX: with the file */
	uint64_t seen_ns;
	uint64_t proven_ns;
	uint64_t serving_ns; /* it is served again */
	unsigned int clients, fenced_clients;
};

/** What happened to an export since the daemon was started. */
struct holding_counts {
	uint64_t clients_fenced; /* in recalls of any kind */
	uint64_t grants,
		grant_bytes; /* that were given; what is left of one that was split is given anew */
	uint64_t acquires_refused; /* but for those that a recall was in the way of */
	uint64_t away_ns; /* that nothing could be granted, from the landlord's signal on */
};

struct holding_status {
	const char *name, *path;
	uint32_t nsid;
	enum holding_state state;
	char why[ERRTEXT_BYTES]; /* why it is not serving, or which rung and why */
	uint32_t generation;
	enum export_medium medium;
	enum tenure_kind tenure;
	bool no_tenure; /* there are no leases, and its memory needs none (a device, hugetlbfs) */
	uint64_t size_bytes, backed_bytes, hole_bytes, shared_bytes;
	uint64_t reclaimed_bytes; /* of a part: neither backed nor a hole till it comes back */
	uint64_t tail_bytes;	  /* behind size_bytes: not served */
	unsigned int grants, clients, keys;
	uint64_t recalls, range_recalls;
	bool deleted; /* the file, seen within seconds; offline once it was recalled */
	struct region_probe probes[GRANT_MAX_DEVICES]; /* rung in force, and why no better one */
	enum region_choice choices[GRANT_MAX_DEVICES]; /* what each may do */
	bool at_once;				       /* odp_release: is in force; … */
	const char *not_at_once; /* … why it is not though it is asked for; or NULL */
	bool wants_windows;	 /* for grants, and where they get them */
	bool windows[GRANT_MAX_DEVICES];
	const char *no_windows[GRANT_MAX_DEVICES]; /* why not, though they are wanted; or NULL */
	unsigned int
		registrations[GRANT_MAX_DEVICES];     /* of what is served, for block commands, … */
	uint64_t registered_bytes[GRANT_MAX_DEVICES]; /* … and what they cover */
	struct recall_timeline last;
	struct range_timeline last_range;
	uint64_t granted_bytes; /* what overlaps counts twice */
	struct holding_counts counts;
	const struct histogram *waits; /* how long landlords waited, for all of it or a part; the
					* holding's */
};

void holding_status(const struct holding *h, struct holding_status *status);

/** One grant of one client. */
struct grant_status {
	const char *host; /* NQN */
	uint16_t cntlid;
	uint32_t id, generation;
	uint64_t offset, length; /* bytes */
	uint64_t serial;	 /* with the offset its place in the listing */
	unsigned int access;	 /* enum lh_grant_access */
	enum lh_durability durability;
	enum lh_rung rung;
	bool window;	     /* its key is one */
	unsigned int device; /* index in holding_env.devices */
	bool expires;
	uint64_t left_ns; /* till it does, unless renewed */
	uint64_t age_ns;
	/**
	 * "making": no key yet; "granted"; "recalling": the client was asked to let go; "fenced": it did
	 * not, its queue is in error; "dying": the key is being killed.
	 */
	const char *state;
};

/**
 * Every grant behind (offset, serial), by offset, until fn returns false; fn changes no grant. 0, 0: from
 * the first on. Takes as long as what is shown, however many there are. Control loop.
 */
void holding_each_grant(const struct holding *h, uint64_t offset, uint64_t serial,
			bool (*fn)(const struct grant_status *status, void *arg), void *arg);

/** Sentence `i`, from 0 on, of what is worth a warning now; false behind the last. Control loop. */
bool holding_warning(const struct holding *h, unsigned int i, char *text, size_t size);

/* Constant while the holding lives; any thread. */
uint32_t holding_nsid(const struct holding *h);
const char *holding_name(const struct holding *h);
const struct holding_config *holding_config(const struct holding *h);
/** NULL before it was opened, and once it is closed (stopped, or its start failed). Any thread. */
const struct export *holding_export(const struct holding *h);
/**
 * Level that a client of `device` may rely on: export_durability(), but never more than
 * LH_DURABLE_COMMIT on the software fabric, where the processor places what arrives, through its
 * caches; and LH_DURABLE_FLUSH in its place where the self-test has shown that FLUSH is obeyed and
 * grants have registrations of their own. Of an export that is open. Control.
 */
enum lh_durability holding_durability(const struct holding *h, unsigned int device);

/** As export_became_known(), if there is an export. Control loop. */
void holding_became_known(struct holding *h);

#endif
