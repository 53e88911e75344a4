/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A controller: one association of a host with a subsystem. Made and freed on control; its
 * registers, features and events belong to the reactor of its admin queue. Its queues keep it
 * alive; the admin queue's end is its end.
 */
#ifndef LEASEHOLD_NVME_CONTROLLER_H
#define LEASEHOLD_NVME_CONTROLLER_H

#include "nvme/nvme_queue.h"

#define CHANGE_LOG_ENTRIES 64
#define CHANGED_NS_MAX	   1024 /* of the Changed Namespace List */

#define RESV_LOG_ENTRIES 64 /* reservation notifications that wait to be read */

/* Temperatures at which a host is to worry: memory refreshes twice as often; is out of its bounds. */
#define CONTROLLER_WARNING_K  358
#define CONTROLLER_CRITICAL_K 368

struct direct_queue;

struct direct_token {
	uint8_t token[LH_TOKEN_BYTES];
	uint64_t until_ns; /* 0: none */
};

/** Features that are no more than what the host has set (features.c). */
struct controller_features {
	uint32_t arbitration;
	uint32_t power;
	uint32_t queues; /* granted */
	uint32_t atomicity;
	uint16_t over_k, under_k; /* temperature thresholds */
	uint8_t behaviour[3];	  /* of the 512 bytes those that mean something */
	/* By slot: the time limit of error recovery, 100 ms. */
	uint16_t recovery[NVME_MAX_NAMESPACES];
	/* By slot: reservation notifications that are not wanted, 1 << enum nvme_resv_notice. */
	uint8_t resv_mask[NVME_MAX_NAMESPACES];
};

/** A shutdown under way (shutdown.c). */
struct controller_shutdown {
	struct work work;
	struct nvme_queue *queue; /* the admin queue */
	struct ns_use *use;	  /* is being flushed */
	uint32_t nsid;		  /* its */
	bool busy;
	bool again; /* from the first namespace on, when the flush that a reset overtook has ended */
	bool failed;
	int err;
};

/** Asynchronous events, features and registers: the admin queue's reactor. */
struct controller_admin {
	uint32_t cc, csts;
	struct controller_shutdown shutdown;
	uint32_t async_config; /* feature 0Bh */
	uint32_t kato_ms;
	struct controller_features features;
	bool direct_aware; /* it asked for our extension: it gets our events */

	struct request *held[NVME_AER_LIMIT];
	unsigned int nr_held;
	unsigned int nr_aborts; /* under way */
	bool error_pending, error_masked;
	bool ns_pending, ns_masked; /* masked: told, and the log not read since */
	bool vendor_pending, vendor_masked;
	bool discovery_pending, discovery_masked;
	bool ana_pending, ana_masked;
	bool resv_masked;
	bool hot, hot_told, smart_masked;
	uint16_t temperature; /* in kelvins, as it was last measured; 0: not known */
	struct nvme_resv_log resv_log[RESV_LOG_ENTRIES]; /* a ring, as they are read */
	unsigned int resv_first, nr_resv;
	uint64_t resv_count;   /* in all, lost ones included */
	uint8_t vendor_change; /* of the newest entry */
	uint32_t changed_ns[CHANGED_NS_MAX];
	unsigned int nr_changed_ns; /* CHANGED_NS_MAX + 1: too many */
	struct lh_change_entry changes[CHANGE_LOG_ENTRIES];
	uint64_t next_change; /* sequence numbers start at 1 */
	unsigned int nr_changes;
};

struct controller {
	struct nvme_target *target;
	struct nvme_subsystem *subsystem;
	struct nvme_listener *listener; /* all its queues came in by it */
	uint16_t cntlid;
	uint8_t hostid[16];
	char hostnqn[NVME_NQN_BYTES];
	bool here; /* its host is this machine, by each of its connections */

	_Atomic bool ready;	 /* CSTS.RDY: written by the admin queue's reactor */
	_Atomic bool in_reset;	 /* the same; its I/O queues end */
	struct error_log errors; /* any reactor */
	struct loop_msg error_msg;
	_Atomic bool error_told; /* error_msg is on its way */
	_Atomic bool watching;	 /* LH_LOG_WATCH: written by the admin queue's reactor */
	_Atomic bool active;	 /* a command came since the last look of the keep-alive timer */

	/* control */
	struct list link;
	struct nvme_queue *admin;
	uint64_t ana_base;	   /* of the count of changes: it begins with a reset */
	struct list io_queues;	   /* owner_link */
	struct list direct_queues; /* owner_link */
	unsigned int nr_io_queues, nr_direct_queues;
	unsigned int max_qid; /* what the host was given by feature 07h */
	uint16_t next_dqid;
	bool dying;
	uint32_t kato_ms;
	struct loop_timer keep_alive;
	struct direct_token tokens[NVME_MAX_TOKENS];

	struct controller_admin a;
};

/** Temperature beyond a threshold; in kelvins, 0 is not known. */
static inline bool controller_is_hot(const struct controller_features *f, uint16_t kelvins)
{
	return kelvins != 0 && (kelvins >= f->over_k || kelvins <= f->under_k);
}

static inline bool controller_ready(const struct controller *c)
{
	return atomic_load_explicit(&c->ready, memory_order_acquire);
}

static inline void controller_active(struct controller *c)
{
	/* Read first: the line stays shared among the reactors. */
	if (!atomic_load_explicit(&c->active, memory_order_relaxed))
		atomic_store_explicit(&c->active, true, memory_order_relaxed);
}

/* ---- control ---------------------------------------------------------------------------------- */

/** Makes a controller, or attaches an I/O queue: a Connect. Status and dw0 as for the host. */
uint16_t controller_connect(struct nvme_queue *nq, const struct connect *connect,
			    struct controller **controller, uint32_t *dw0);
/** Ends the association: every queue of it. Idempotent. */
void controller_kill(struct controller *c, const char *why);
/** Ends all queues but the admin queue: a controller reset. */
void controller_reset(struct controller *c);
/** Whether I/O queues are connected that nobody is about to end. */
bool controller_has_io_queues(const struct controller *c);
struct nvme_queue *controller_find_queue(const struct controller *c, uint16_t qid);
/** Arms or re-arms the keep-alive timer; 0: off. */
void controller_set_kato(struct controller *c, uint32_t kato_ms);
/** Its host has deleted it: the id is free; the host has a while to close the connection. */
void controller_queue_disconnected(struct nvme_queue *nq);
/** From the queue's teardown: its first and its last step. */
void controller_queue_stopping(struct nvme_queue *nq);
void controller_queue_gone(struct nvme_queue *nq);
/** The same for a direct queue, which calls them itself. */
void controller_put(struct controller *c);

struct controller *controller_find(struct nvme_target *t, uint16_t cntlid);
/** How many a host has, of the discovery service too. Control. */
unsigned int controllers_of_host(const struct nvme_target *t, const char *hostnqn);
void controller_new_token(struct controller *c, uint8_t token[LH_TOKEN_BYTES]);
/** True once for each token, in its time. */
bool controller_take_token(struct controller *c, const uint8_t token[LH_TOKEN_BYTES]);
struct direct_queue *controller_find_direct(struct controller *c, uint16_t dqid);

/** Events (event.c): to every controller that this namespace concerns, or to one. */
void controllers_ns_changed(struct nvme_target *t, const struct ns_home *home);
void controllers_changed(struct nvme_target *t, const struct ns_home *home, unsigned int change);
/** The same of a recall, to those that watch. */
void controllers_recalled(struct nvme_target *t, const struct ns_home *home, unsigned int change,
			  uint64_t offset, uint64_t length);
/** Reactor: something of ours broke. */
void controller_error_event(struct controller *c);
/** `told`: it hears of it by another way, so this is for the log alone. */
void controller_recall_event(struct controller *c, uint32_t nsid, uint64_t offset, uint64_t length,
			     uint32_t generation, bool told);
/** To every controller that came in by the listener. */
void controllers_ana_changed(struct nvme_target *t, const struct nvme_listener *listener);
/** To every controller that has a SMART log. */
void controllers_temperature(struct nvme_target *t, uint16_t kelvins);
/** To every discovery controller. */
void controllers_discovery_changed(struct nvme_target *t);

/** A controller has come: as long as there is one the temperature is looked at (temperature_watch.c). */
void temperature_watch(struct nvme_target *t);
/** The target stops. */
void temperature_forget(struct nvme_target *t);

/* ---- the admin queue's reactor ---------------------------------------------------------------- */

/** Its host wants it shut down: CSTS.SHST says how far that is. */
void shutdown_begin(struct controller *c, struct nvme_queue *admin);
void identify_execute(struct request *r);
void set_features_execute(struct request *r);
void get_features_execute(struct request *r);
/** What they are after a reset. */
void features_reset(struct controller *c);
/** Log page 12h: 256 entries. */
void features_effects(le32 *log);
/** The time limit as it is kept: in whole units of KAS. */
uint32_t keep_alive_round(uint32_t kato_ms);
void log_page_execute(struct request *r);
void direct_execute(struct request *r);
void event_request_execute(struct request *r);
/** A held request will be answered otherwise. */
void event_request_forget(struct controller *c, const struct request *r);
void abort_execute(struct request *r);
/** The thresholds, or the wish to be told, may be others now. */
void event_thresholds_changed(struct controller *c);
/** Which events the host wants, as feature 0Bh. */
void event_configure(struct controller *c, uint32_t config);
/**
 * A part of a log page was made, and answered with success, since the last event arrived: unless the
 * host retains them, its events are cleared, and what is read only once is gone.
 */
void event_log_read(struct controller *c, const struct log_part *part);
/** Copies the logs that events fill: `size` bytes at most; returns how many there are in all. */
uint32_t event_changed_ns_log(const struct controller *c, uint8_t *log);
uint32_t event_change_log(const struct controller *c, uint8_t *log);

/** Builds `length` bytes for the host in a bounce buffer (zeroed) and answers with them. */
void admin_reply(struct request *r, uint32_t length, void (*fill)(struct request *r));

/** Set by the target's limits; what features and Identify say. */
uint8_t controller_mdts(const struct nvme_target *t);
bool controller_volatile_cache(struct nvme_queue *nq);

#endif
