/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a holding, a grant and a client are inside this room. For the room's own files; everything on
 * the control loop, but the `run` halves of works, which touch only what their comment names.
 *
 *   holding.c  birth, start and stop, the recall machine's actions, status
 *   make.c     open, self-test, tenure, views and regions: what takes workers and the registrar
 *   punch.c    holes that hosts ask for, and the file's part of a new size
 *   resize.c   a new size, from the wish to the answer
 *   evict.c    grants that are forbidden from now on
 *   look.c     whether the file is still where its path says
 *   serve.c    generations that are or were served: publishing and burying them
 *   grant.c    Acquire and Release
 *   client.c   clients: the killing of keys, expiry, the end
 */
#ifndef LEASEHOLD_GRANT_INTERNAL_H
#define LEASEHOLD_GRANT_INTERNAL_H

#include <stdatomic.h>

#include "grant/grant.h"
#include "grant/recall.h"
#include "grant/table.h"
#include "tenure/tenure.h"

#define GRANT_KEY_BYTES	     GIB(1)    /* of one grant; a longer Acquire gets several */
#define GRANT_ALLOCATE_BYTES MIB(256)  /* that one Acquire fills; the answer says how far it came */
#define GRANT_KILL_BATCH     128       /* keys that the registrar kills before it looks up */
#define RETRY_MIN_NS	     NS_PER_MS /* back-off of what failed, doubled each time … */
#define RETRY_MAX_NS	     (100 * NS_PER_MS)
#define RETAKE_MAX_NS	     (1000 * NS_PER_MS)
#define STAND_BACK_NS	     (2000 * NS_PER_MS) /* after a recall, for who opens without waiting */
#define BUDGET_SHARE	     4 /* of fs.lease-break-time: a recall must need no more than one of these */
#define PATIENCE_SHARE	     2 /* without proof after one of these, the process ends */
#define HOLDING_EVENTS	     16
#define LOOK_NS		     (2000 * NS_PER_MS) /* from one look at the path to the next */

/* ---- generations ----------------------------------------------------------------------------- */

/** One view with its registrations, from the making to the burial. */
struct served {
	struct serving pub; /* what reactors see */
	struct holding *h;
	struct list link; /* holding.served */
	struct view *view;
	struct region *regions[GRANT_MAX_DEVICES];
	bool making;	      /* make.c still works on it */
	bool unregister;      /* its keys are to go */
	bool dead;	      /* nobody uses it any more */
	bool publish_pending; /* publish_msg is on its way */
	bool burying;
	unsigned int users; /* keys of grants being made over its view */
	struct loop_msg publish_msg;
	struct served *before; /* that its publication retires, or NULL */
	struct work bury_work;
};

/** What make.c is at: one thing at a time per holding. */
enum making {
	MAKE_NOTHING,
	MAKE_GENERATION,
	MAKE_GROWTH, /* a view of the same generation, with holes filled */
	MAKE_PUNCH,  /* the same without what is to be punched or cut off */
};

struct make {
	enum making kind;
	atomic_bool cancel; /* what has not started does not */
	struct served *next;
	unsigned int device;	 /* whose region is being made */
	uint64_t offset, length; /* to fill */
	struct work work;
	bool in_registrar; /* else with the workers */
	int err;
	struct errtext text;
	const struct region *old; /* to share registrations with, or NULL */
	struct acquire *grower;
};

/* ---- holes ----------------------------------------------------------------------------------- */

enum punch_step {
	PUNCH_IDLE,
	PUNCH_MAKING,  /* a view without the ranges */
	PUNCH_BURYING, /* it is published; the keys of the one before go */
	PUNCH_FILE,    /* no key is alive over the ranges; a worker punches */
};

struct punch {
	enum punch_step step;
	struct list waiting; /* struct holding_punch */
	struct list batch;   /* being carried out */
	struct export_range *ranges;
	unsigned int nr_ranges;
	uint64_t resize_to; /* 0: the batch is of holes */
	bool durable;	    /* for one of them at least */
	bool cut;	    /* a view that ends there was published */
	bool recalled;	    /* by us: nobody else waits for the file */
	const struct export *export;
	struct work work;
	int err;
};

/* ---- size ------------------------------------------------------------------------------------ */

struct resize {
	bool busy;
	bool file_done; /* it waits for a view of the new size */
	int err;
	struct holding_punch punch;
	struct export_range range;
	char why[ERRTEXT_BYTES];
	void (*done)(void *arg, int err, const char *why);
	void *arg;
	struct loop_msg msg;
};

/* ---- the file's place ------------------------------------------------------------------------ */

struct look {
	struct loop_timer timer;
	struct work work;
	bool busy;
	const struct export *export;
	enum export_place place; /* the worker's */
	enum export_place known; /* which the log says */
};

/* ---- holdings -------------------------------------------------------------------------------- */

struct holding {
	const struct holding_env *env;
	struct holding_config config;
	char *name, *path, *lock_dir, *state_dir;
	_Atomic(struct export *) export;
	enum holding_state state;
	char why[ERRTEXT_BYTES];
	struct region_probe probes[GRANT_MAX_DEVICES];

	struct recall recall;
	enum recall_event events[HOLDING_EVENTS]; /* still to be stepped through */
	unsigned int nr_events;
	bool stepping;
	struct loop_timer timer; /* deadline and patience */
	struct loop_msg quiesce_msg, seal_msg;
	bool quiesced;
	uint64_t recall_serial; /* of this recall among all; marks clients */
	uint64_t recalls;
	struct recall_timeline timeline;

	uint32_t generation; /* of the last publication; 0: none yet */
	struct served *current;
	struct list served; /* all, the oldest first */
	bool bury_busy;
	struct work bury_work;
	struct region *bury_region;
	int bury_err;
	unsigned int bury_failures, burials;
	struct loop_timer bury_timer;

	struct make make;
	struct punch punch;
	struct resize resize;
	struct look look;
	struct list growers; /* acquires that wait for their holes to be filled */
	bool growth_failed;  /* the last one, which the log says */
	struct list evictions;
	bool evicting; /* we recall for ourselves: the tenure is taken again at once */
	int (*on_open)(void *arg, const struct export *e, struct errtext *err);
	void *on_open_arg;

	bool work_busy; /* `work`: opening, taking, closing */
	struct work work;
	int work_err;
	struct errtext work_text;
	struct export *opened; /* the worker's, until it is ours */
	struct region_probe opened_probes[GRANT_MAX_DEVICES];
	unsigned int takes; /* in a row that failed … */
	int take_err;	    /* … the last one with this */
	int break_time_s;
	bool take_no_leases; /* the worker's word for it */
	bool no_leases;	     /* this file system has none, and needs none: see take_run() */
	struct tenure_retry *retry;
	bool retry_missed; /* it came while an attempt was under way */
	struct loop_timer retake_timer;
	unsigned int retake_failures;

	unsigned int warned; /* enum export_warning: what is in the log already */

	struct table table;
	struct list grants;
	struct list acquires;
	unsigned int nr_live;
	uint32_t next_id;

	void (*start_done)(void *arg, int err, const char *why);
	void *start_arg;
	int start_err;
	bool stopped; /* the machine is */
	bool stop_published;
	struct loop_msg stop_msg;
	void (*stop_done)(void *arg);
	void *stop_arg;
};

/* holding.c */
void holding_event(struct holding *h, enum recall_event event);
void holding_why(struct holding *h, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** Another view is served, of the same generation: says what it is. */
void holding_describe(struct holding *h);
void holding_check_drained(struct holding *h);
void holding_check_keys(struct holding *h);
void holding_check_stopped(struct holding *h);
/** Answers holding_start(), if nobody has yet. */
void holding_started(struct holding *h, int err, const char *why);
/** Gives up starting: all is undone, then holding_start() is answered. */
void holding_fail_start(struct holding *h, int err, const char *why);
/** The export is closed: the last step of a stop. */
void holding_closed(struct holding *h);
void holding_changed(struct holding *h, enum lh_change change);
/** True until holding_start() was answered. */
static inline bool holding_is_starting(const struct holding *h)
{
	return h->start_done != NULL;
}
static inline struct export *holding_file(const struct holding *h)
{
	return atomic_load_explicit(&h->export, memory_order_acquire);
}
/** A back-off after `failures` of them. */
uint64_t backoff_ns(unsigned int failures, uint64_t most_ns);

/* make.c */
void make_open(struct holding *h);
void make_close(struct holding *h);
/** Tries for the tenure, now or when whoever has the file open has closed it. */
void make_take(struct holding *h);
void make_want(struct holding *h);
/** The same once whoever made us let go has come in, or had STAND_BACK_NS; before letting go. */
void make_want_later(struct holding *h);
void make_unwant(struct holding *h);
void make_generation(struct holding *h);
/** Fills holes in the current view for `grower`, which is told by grant_grown(). */
void make_growth(struct holding *h, struct acquire *grower, uint64_t offset, uint64_t length);
/** A view without the ranges of h->punch; punch_prepared() or punch_failed() follows. */
void make_punched(struct holding *h);
void make_cancel(struct holding *h);
/** The generation that is made: to be published now. */
struct served *make_take_over(struct holding *h);

/* punch.c */
/** Begins what can begin now: after anything that may have been in the way. */
void punch_next(struct holding *h);
/** False: it is to be given up, with -ECANCELED. */
bool punch_prepared(struct holding *h);
void punch_failed(struct holding *h, int err);
/** A key has died. */
void punch_check_buried(struct holding *h);

/* resize.c */
/** A new generation is served. */
void resize_served(struct holding *h);
/** It will not be soon, for the reason in h->why. */
void resize_not_served(struct holding *h);

/* look.c */
/** The file is open; until it is to be closed, when none is under way. */
void look_start(struct holding *h);
void look_stop(struct holding *h);
/** The sentence about it, if there is anything to say. */
bool look_warning(const struct holding *h, char *text, size_t size);

/* evict.c */
/** A grant has gone. */
void evict_check(struct holding *h);

/* serve.c */
bool served_has_keys(const struct served *s);
struct served *served_new(struct holding *h);
/** Retires what was served before; NULL: serves nothing. */
void serve_publish(struct holding *h, struct served *next);
/** Deregisters and frees what is marked so; reports REGIONS_GONE when no key is left. */
void serve_bury(struct holding *h);
void serve_unregister_all(struct holding *h);
bool serve_publishing(const struct holding *h);

/* ---- grants ---------------------------------------------------------------------------------- */

enum grant_state {
	GRANT_MAKING, /* no key yet, but its bytes are taken */
	GRANT_LIVE,
	GRANT_DYING, /* the registrar kills its key */
};

struct grant {
	struct table_node node; /* holding.table */
	struct list link;	/* holding.grants */
	struct list client_link;
	struct list dying_link; /* client.dying */
	struct holding *h;
	struct grant_client *client;
	enum grant_state state;
	unsigned int access;
	uint32_t generation;
	uint32_t id;
	struct grant_key key;
};

struct grant_client {
	const struct holding_env *env;
	struct grant_client_config config;
	struct list grants;
	unsigned int nr_grants;
	struct list acquires;
	struct list releases;
	bool fenced;	     /* or gone: no more grants */
	uint64_t mark;	     /* recall_serial of the last recall that asked it */
	uint64_t count_mark; /* the same of the last count */
	uint64_t expires_ns;
	struct loop_timer expiry;

	struct list dying;
	bool kill_busy;
	struct work kill_work;
	struct grant *batch[GRANT_KILL_BATCH];
	int batch_err[GRANT_KILL_BATCH];
	unsigned int batch_count;
	unsigned int kill_failures;
	struct loop_timer kill_timer;

	bool gone;
	struct loop_msg gone_msg;
	void (*gone_done)(void *arg);
	void *gone_arg;
};

/* grant.c */
/** The hole that `grower` waited for is filled, or not: `err`. */
void grant_grown(struct holding *h, struct acquire *grower, int err);
/** Fills the next hole, if nothing else is being made. */
void grant_grow_next(struct holding *h);
/** No new grant of this generation comes to life. */
void grant_cancel_all(struct holding *h);
void grant_cancel_forbidden(struct holding *h, const struct holding_eviction *e);
void grant_cancel_client(struct grant_client *client);
/** Every grant of the holding is to die. */
void grant_kill_all(struct holding *h);
void grant_check_releases(struct grant_client *client);

/* client.c */
struct grant *client_grant_new(struct grant_client *client, struct holding *h, uint64_t offset,
			       uint64_t length, unsigned int access);
/** Its key is dead, or was never made. */
void client_grant_free(struct grant *grant);
void client_grant_kill(struct grant *grant);
void client_touch(struct grant_client *client);
/** Asks every client that holds grants of h; fences those that still do. Return how many. */
unsigned int client_tell_all(struct holding *h, unsigned int *grants);
unsigned int client_fence_all(struct holding *h);
void client_check_gone(struct grant_client *client);
uint64_t client_next_serial(void);

#endif
