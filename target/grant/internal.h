/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a holding, a grant and a client are inside this room. For the room's own files; everything on
 * the control loop, but the `run` halves of works, which touch only what their comment names.
 *
 *   holding.c  birth, start and stop, the recall machine's actions, status
 *   make.c     open, self-test, tenure, views and regions: what takes workers and the registrar
 *   rest.c     slices that are registered while the export is served
 *   cache.c    which slices, where an adapter's budget is too small for all
 *   punch.c    holes that hosts ask for, and the file's part of a new size
 *   resize.c   a new size, from the wish to the answer
 *   range.c    recalls of a range, while the rest is served on
 *   reclaim.c  local tools that want a range, or all of it, for a while
 *   local.c    local operations, under watch, that want a range
 *   close.c    letting go at once, where adapters map on demand
 *   evict.c    grants that are forbidden from now on
 *   conflict.c block commands beside other hosts' grants for writing
 *   ladder.c   how the memory is registered with each adapter, and when that changes
 *   look.c     whether the file is still where its path says, and what is served
 *   serve.c    generations that are or were served: publishing and burying them
 *   grant.c    Acquire
 *   release.c  Release, of all of a grant or a part
 *   client.c   clients: the killing of keys, expiry, the end
 *   slab.c     what the windows of grants are bound to
 *   budget.c   what recalls have time for
 *   listing.c  who holds what, for people
 */
#ifndef LEASEHOLD_GRANT_INTERNAL_H
#define LEASEHOLD_GRANT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "grant/grant.h"
#include "grant/recall.h"
#include "util/histogram.h"
#include "util/range_table.h"
#include "grant/usage.h"
#include "tenure/tenure.h"

#define GRANT_ALLOCATE_BYTES MIB(256) /* that one Acquire fills; the answer says how far it came */
#define GRANT_UNSHARE_BYTES  MIB(64)  /* the same of what it has copied, without ALLOCATE */
#define GRANT_KILL_BATCH     128      /* keys that the registrar kills before it looks up */
#define GRANT_IDLE_SLABS     8	      /* of a client, without a window; more go */
#define GRANT_MAX_SLABS	     1024     /* of an export; fewer, if a recall has no time for them */
#define GRANT_KILL_NS	     4000 /* that a recall takes for each grant, beside the adapter's part */
#define RETRY_MIN_NS	     NS_PER_MS /* back-off of what failed, doubled each time … */
#define RETRY_MAX_NS	     (100 * NS_PER_MS)
#define RETAKE_MAX_NS	     (1000 * NS_PER_MS)
#define STAND_BACK_NS	     (2000 * NS_PER_MS) /* after a recall, for who opens without waiting */
#define WATCH_SHARE	     2 /* deadlines that a local operation waits under watch; then EBUSY */
#define WATCH_PATIENCE_NS    (365 * 86400ull * NS_PER_S) /* nobody breaks a watch by force */
#define BUDGET_SHARE	     4 /* of fs.lease-break-time: a recall must need no more than one of these */
#define PATIENCE_SHARE	     2 /* without proof after one of these, the process ends */
#define HOLDING_EVENTS	     16
#define LADDER_RETRY_MAX_NS  (300 * NS_PER_S)	/* from one attempt at a better rung to the next */
#define LOOK_NS		     (2000 * NS_PER_MS) /* from one look at the path to the next */

/* ---- generations ----------------------------------------------------------------------------- */

/** One view with its registrations, from the making to the burial. */
struct served {
	struct serving pub; /* what reactors see */
	struct holding *h;
	struct list link; /* holding.served */
	struct view *view;
	struct region *regions[GRANT_MAX_DEVICES];
	uint64_t left_out;    /* ranges whose holding_range.left_out is this are not in it */
	bool making;	      /* make.c still works on it */
	bool growing;	      /* a slice more of it is with the registrar */
	bool unregister;      /* its keys are to go */
	bool dead;	      /* nobody uses it any more */
	bool publish_pending; /* publish_msg is on its way */
	bool burying;
	bool closing;	    /* a worker closes its memory */
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
	MAKE_NARROW, /* the same without what landlords want; registers what lies beside it */
	MAKE_RETURN, /* the same with what they have given back, as it is now */
};

struct make {
	enum making kind;
	atomic_bool cancel; /* what has not started does not */
	struct served *next;
	unsigned int device;	 /* whose region is being made */
	uint64_t offset, length; /* to fill, or to unshare only */
	bool allocate;		 /* the first */
	struct work work;
	bool in_registrar; /* else with the workers */
	int err;
	struct errtext text;
	const struct region
		*old;	    /* to share registrations with, and what is known of use; or NULL */
	bool dropping;	    /* what there is of the device's region goes again */
	unsigned int fresh; /* slices of it that were registered, and not shared */
	uint64_t until_ns;  /* MAKE_NARROW: no more of them after that, … */
	bool bare;	    /* … or none at all */
	struct acquire *grower;
	struct export_range *left_out; /* of ranges that are recalled */
	unsigned int nr_left_out;
	uint64_t serial;
};

/* ---- the rest of the slices ------------------------------------------------------------------ */

enum rest_job {
	REST_STEP,     /* the next one is registered */
	REST_REGISTER, /* `slice` is */
	REST_RELEASE,  /* `slice` is deregistered: it is withheld, and drained */
};

struct rest {
	struct served *served; /* of whose slices one comes or goes; NULL: none does */
	enum rest_job job;
	unsigned int device, slice;
	atomic_bool cancel; /* what has not started does not */
	struct work work;
	int err;
	struct errtext text;
	unsigned int failures;
	struct loop_timer timer;
};

/* ---- the cache of slices --------------------------------------------------------------------- */

/** A holding's part in it. */
struct caching {
	struct list link;  /* cache.holdings, from start to end */
	atomic_bool asked; /* by holding_miss(): msg is on its way, … */
	bool noticed;	   /* … or has come */
	struct loop_msg msg;
	bool withheld;		    /* a slice of what is served is, … */
	unsigned int device, slice; /* … this one, … */
	bool draining;		    /* … or of what was: commands may use it still */
	struct loop_msg drain_msg;
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
	bool looking; /* a worker is: whether the file is still there */
	struct work work;
	const struct export *export;
	bool file_done; /* it waits for a view of the new size */
	int err;
	struct holding_punch punch;
	struct export_range range;
	char why[ERRTEXT_BYTES];
	void (*done)(void *arg, int err, const char *why);
	void *arg;
	struct loop_msg msg;
};

/* ---- letting go at once ---------------------------------------------------------------------- */

struct closing {
	bool wanted; /* by the recall that is going on */
	bool busy;   /* a worker closes the memory of what was served … */
	bool closed; /* … and has: the keys that are left reach nothing. Until the last of them is dead */
	bool failed;
	bool retake; /* the tenure was to be taken meanwhile */
	bool told;   /* the log says why it is not done */
	struct work work;
	int err;
	/* While it is closed and the tenure released. */
	struct loop_timer timer;
	uint64_t left;	    /* keys, when it went off last */
	unsigned int stuck; /* times that none had died since */
};

/* ---- the file's place ------------------------------------------------------------------------ */

struct look {
	struct loop_timer timer;
	struct work work;
	bool busy;
	const struct export *export;
	enum export_place place; /* the worker's */
	enum export_place known; /* which the log says */
	/* What is left of the holes of the view that is served. */
	bool counting, overtaken; /* of a look: that it counts; another view was published since */
	uint64_t blocks, holes;	  /* the worker's */
	int count_err;		  /* the same */
	bool counted;
	uint64_t known_holes;
	/* Whether the view that is served is still what the file has. */
	bool comparing, compared;  /* of a look: that it compares; its blocks are of this view */
	uint64_t kept, size_bytes; /* the worker's: blocks, and what it found of … */
	struct export_run *runs;   /* … these, NULL: nothing went */
	unsigned int nr_runs;
	int compare_err;
	atomic_bool asked; /* by holding_suspect(): msg is on its way */
	bool again;	   /* at once, when the one under way is done */
	struct loop_msg msg;
};

/* ---- rungs ----------------------------------------------------------------------------------- */

struct ladder {
	enum region_choice choice[GRANT_MAX_DEVICES]; /* what each adapter may do */
	struct region_probe best[GRANT_MAX_DEVICES];  /* what it can, NONE: nothing of that */
	/* A region could not be made, or given back in time: nothing but staged until the next attempt. */
	bool failed[GRANT_MAX_DEVICES];
	char failure[GRANT_MAX_DEVICES][ERRTEXT_BYTES / 2];
	enum lh_rung published[GRANT_MAX_DEVICES];
	bool no_windows[GRANT_MAX_DEVICES]; /* which the log says */
	unsigned int attempts;		    /* since all was as it should be */
	struct loop_timer timer;

	/* The self-test: a worker's, while it is busy. */
	bool busy;
	struct work work;
	const struct export *export;
	enum region_choice asked[GRANT_MAX_DEVICES];
	bool again[GRANT_MAX_DEVICES]; /* nothing that was found before counts */
	bool insist;		       /* what is asked for must be possible */
	struct region_probe found[GRANT_MAX_DEVICES];
	int err;
	struct errtext text;

	/* Who asked for it; NULL: nobody. */
	void (*done)(void *arg, int err, const char *why);
	void *arg;
	bool answering;
	struct loop_msg msg;
};

/* ---- what a recall takes --------------------------------------------------------------------- */

/** A holding's part in what a recall of all of them would take. */
struct load {
	struct list link; /* of all, while … */
	bool counted;
	bool told;	  /* that nothing more is granted */
	uint64_t room_ns; /* what its landlords' patience leaves behind the deadline */
	uint64_t bytes;	  /* that may be registered for block commands … */
	uint64_t ns_per_gib[GRANT_MAX_DEVICES]; /* … by each adapter, at this price */
	uint64_t granted_ns; /* to end its grants, and what windows are bound to */
};

/* ---- holdings -------------------------------------------------------------------------------- */

struct holding {
	const struct holding_env *env;
	struct holding_config config;
	char *name, *path, *lock_dir, *state_dir;
	_Atomic(struct export *) export;
	/* In the table. Reactors look: here, where little else is written. */
	_Atomic unsigned int nr_write_grants;
	enum holding_state state;
	char why[ERRTEXT_BYTES];
	struct region_probe
		probes[GRANT_MAX_DEVICES]; /* in force; STAGED where nothing is registered */

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
	/* Whose slices are withdrawn: it may be over before they are. Empty: it is a burial. */
	struct export_range bury_range;
	unsigned int bury_failures, burials;
	struct loop_timer bury_timer;

	struct make make;
	struct rest rest;
	struct caching caching;
	struct punch punch;
	struct resize resize;
	struct closing closing;
	struct look look;
	uint64_t damage_found; /* export_bad_found(), as it was seen last */
	struct export_range damage[EXPORT_MAX_BAD_RANGES]; /* which the log says */
	unsigned int nr_damage;
	struct ladder ladder;
	struct list growers; /* acquires that wait for their holes to be filled */
	bool growth_failed;  /* the last one, which the log says */
	struct list ranges;  /* struct holding_range */
	struct list reclaims;
	unsigned int nr_reclaims;
	struct list locals;
	unsigned int nr_locals;
	struct tenure_retry *local_retry; /* while there are locals */
	unsigned int kept; /* of the ranges: that keep the tenure from being taken again */
	uint64_t range_recalls;
	struct range_timeline range_timeline; /* of the last one … */
	uint64_t range_serial;		      /* … whose holding_range.serial is this */
	struct loop_timer watch_timer;	      /* who watches is told of the recall then */
	struct loop_timer range_timer;	      /* a return that failed is tried again */
	unsigned int range_failures;
	struct list evictions;
	bool evicting; /* we recall for ourselves: there is nothing to stand back for */
	int (*on_open)(void *arg, const struct export *e, struct errtext *err);
	void *on_open_arg;
	void (*held)(void *arg); /* NULL: it may change the file */
	void *held_arg;

	bool work_busy; /* `work`: opening, taking, closing */
	struct work work;
	int work_err;
	struct errtext work_text;
	struct export *opened; /* the worker's, until it is ours */
	unsigned int takes;    /* in a row that failed … */
	int take_err;	       /* … the last one with this */
	int break_time_s;
	bool take_no_leases;	   /* the worker's word for it */
	bool look_ahead;	   /* for the worker */
	uint64_t changes;	   /* export_look_ahead()'s, of the first generation */
	bool no_leases;		   /* this file system has none, and needs none: see take_run() */
	struct tenure *tenure;	   /* while the file is open */
	struct region_cover cover; /* from when it is taken until it is let go */
	struct tenure_retry *retry;
	bool retry_missed; /* it came while an attempt was under way */
	struct loop_timer retake_timer;
	unsigned int retake_failures;

	unsigned int warned; /* enum export_warning: what is in the log already */

	struct list conflicts;	       /* struct holding_conflict */
	unsigned int conflict_recalls; /* under way for these */

	/* Control writes it, under the lock; reactors read it, under the lock. */
	pthread_mutex_t table_lock;
	struct table table;
	struct list grants;
	struct list slabs;		   /* struct slab */
	unsigned int nr_slabs, most_slabs; /* most: that a recall has time for */
	struct list acquires;
	unsigned int nr_grants; /* in the list … */
	uint64_t
		granted_bytes; /* … with what overlaps counted twice, as its keys have to be killed twice */
	uint64_t most_granted_bytes; /* that a recall has time for */
	struct load load;
	struct holding_counts counts;
	uint64_t away_since_ns; /* 0: it is served, or was not yet */
	struct histogram waits; /* told of by holding_status(), in no list */
	unsigned int nr_live;	/* … of which so many can be used */
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
/** It is released, and why it is not taken again yet. */
void holding_why_released(struct holding *h);
/** Another view is served, of the same generation: says what it is. */
void holding_describe(struct holding *h);
/** The file was found shorter: what is served now ends there. */
void holding_shrunk(struct holding *h);
void holding_check_drained(struct holding *h);
/** Control and the registrar wait for clients' answers without sleeping, but not for long. */
void holding_stay_awake(const struct holding *h, bool awake);
void holding_check_keys(struct holding *h);
void holding_check_stopped(struct holding *h);
/** Answers holding_start(), if nobody has yet. */
void holding_started(struct holding *h, int err, const char *why);
/** Gives up starting: all is undone, then holding_start() is answered. */
void holding_fail_start(struct holding *h, int err, const char *why);
/** The export is closed: the last step of a stop. */
void holding_closed(struct holding *h);
void holding_changed(struct holding *h, enum lh_change change);
/** The same of a recall: LH_CHANGE_RECALLING, LH_CHANGE_RELEASED. */
void holding_recalled(struct holding *h, enum lh_change change, uint64_t offset, uint64_t length);
/** What is worth a warning may have changed. */
void holding_log_warnings(struct holding *h);
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

/* rest.c */
/** Registers what the view that is served lacks, a slice at a time, if nothing else is going on. */
void rest_next(struct holding *h);
/** Nothing else is going on, so slices may come and go. */
bool rest_idle(const struct holding *h);
/** Registers slice `i` of what is served, out of turn. Idle. */
void rest_register(struct holding *h, unsigned int device, unsigned int i);
/** No slice is added any more but one that is just being registered: serve_bury() is called after it. */
void rest_cancel(struct holding *h);
/** Before the end. */
void rest_stop(struct holding *h);

/* cache.c */
void cache_join(struct holding *h);
void cache_leave(struct holding *h);
struct region_budget *cache_budget_of(const struct holding *h, unsigned int device);
/** Somebody needs the room more than who comes next in order. */
bool cache_contended(const struct holding *h, unsigned int device);
/** The holding lacks slices that there is no room for. */
void cache_starve(const struct holding *h);
/** Registrations have gone, or come. */
void cache_next(const struct holding *h);
/** Another region is served, or none: what was withheld goes with the old one. */
void cache_forget(struct holding *h);
/** Nothing of it is on its way. */
bool cache_quiet(const struct holding *h);

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
void make_growth(struct holding *h, struct acquire *grower, uint64_t offset, uint64_t length,
		 bool allocate);
/** A view without the ranges of h->punch; punch_prepared() or punch_failed() follows. */
void make_punched(struct holding *h);
/** A view without the ranges; range_published() follows, or range_make_failed(). */
void make_narrow(struct holding *h);
/** One with those that are coming back, which lie in the range. range_published() follows, or
 *  range_make_failed(). */
void make_return(struct holding *h, uint64_t offset, uint64_t length);
void make_cancel(struct holding *h);
/** The generation that is made: to be published now. */
struct served *make_take_over(struct holding *h);

/* punch.c */
/** Begins what can begin now: after anything that may have been in the way. */
void punch_next(struct holding *h);
/** False: it is to be given up, with -ECANCELED. */
bool punch_prepared(struct holding *h);
void punch_failed(struct holding *h, int err);
/** The kernel waits for what is pinned of the file, and of what lies in the same huge page. */
bool punch_pinned_dax(const struct holding *h);
/** A key has died. */
void punch_check_buried(struct holding *h);
/** A recall begins. */
void punch_recalled(struct holding *h);

/* resize.c */
/** A new generation is served. */
void resize_served(struct holding *h);
/** It will not be soon, for the reason in h->why. */
void resize_not_served(struct holding *h);

/* ladder.c */
/** Before the file is opened; after it is to be closed, when no test is under way. */
void ladder_start(struct holding *h);
void ladder_stop(struct holding *h);
/** Worker: tests for what is `asked`; -EOPNOTSUPP if that is more than any adapter can. */
MUST_CHECK int ladder_test(struct holding *h, const struct export *e, struct errtext *err);
/** What was found counts from now on. */
void ladder_adopt(struct holding *h);
/** A generation is to be made: decides h->probes. Nothing is being registered. */
void ladder_settle(struct holding *h);
/** The region of the generation that is made cannot be. True: the adapter is staged instead. */
bool ladder_fall(struct holding *h, unsigned int device, const char *why);
/**
 * The generation that is made may have so many bytes registered: claims a recall's time for them. Of one
 * that was served before, adapters with which there is not enough are staged instead. 0 or -EDQUOT.
 */
MUST_CHECK int ladder_fit(struct holding *h, uint64_t bytes, struct errtext *err);
/** A new generation is served. */
void ladder_published(struct holding *h);
/** It will not be soon, for the reason in h->why. */
void ladder_not_served(struct holding *h);

/* look.c */
/** The file is open; until it is to be closed, when none is under way. */
void look_start(struct holding *h);
void look_stop(struct holding *h);
/** Another view is served. */
void look_published(struct holding *h);
/** What is left of the holes of the view that is served. */
uint64_t look_hole_bytes(const struct holding *h);
/** The sentence about it, if there is anything to say. */
bool look_warning(const struct holding *h, char *text, size_t size);

/* range.c */
/** Begins and ends what can be: after anything that may have been in the way. */
void range_next(struct holding *h);
/** A grant has gone. */
void range_check(struct holding *h);
/** The tenure is released: nothing is left of any generation. */
void range_overtaken(struct holding *h);
/** Another serving is published: h->current. */
void range_published(struct holding *h);
void range_make_failed(struct holding *h, enum making kind, int err);
/** It wants to make a view: others stand back. */
bool range_wants_make(const struct holding *h);
/** What a view that is made now must leave out, of that kind. -ENOMEM. */
MUST_CHECK int range_leave_out(struct holding *h, enum making kind);
/** Whoever wanted a range has it, and nobody has come back from there: nothing of them is going on. */
bool range_all_out(const struct holding *h);
/** Recalled just now: no grant there. False: `*length`, from `offset` on, ends before the next one. */
bool range_held_back(const struct holding *h, uint64_t offset, uint64_t *length);
/** How many bytes from `offset` on, without a gap; 0: none. */
uint64_t range_held_length(const struct holding *h, uint64_t offset);
/** Narrows [*from, *end), round `offset`, to what no landlord wants. */
void range_clip(const struct holding *h, uint64_t offset, uint64_t *from, uint64_t *end);
/** One whose slices are to be withdrawn, or NULL; and then that they are. */
struct holding_range *range_to_withdraw(struct holding *h);
void range_withdrawn(struct holding_range *r);

/* reclaim.c */
/** The holding is being stopped. */
void reclaim_stop(struct holding *h);
/** Whether one of them has `offset`. */
bool reclaim_has(const struct holding *h, uint64_t offset);

/* local.c */
/** Whether a local operation gets EBUSY, as configured. */
bool local_refuses(const struct holding *h, const struct tenure_ask *ask);
/** Somebody wants a part of the file; false: he must wait for the whole. */
bool local_wanted(struct holding *h, const struct tenure_ask *ask);
/** The holding is being stopped. */
void local_stop(struct holding *h);

/* close.c */
/** Why a landlord waits until all keys are dead though the export asks for less; NULL: he does not. */
const char *close_unfit(const struct holding *h);
/** The kernel says that somebody waits; a recall may be going on. */
void close_begin(struct holding *h);
/** Does what can be done now: after anything that may have been in the way. */
void close_next(struct holding *h);
/** Keys of it are left, that reach nothing, or a worker is at it: nothing new is to be begun. */
bool close_going_on(const struct holding *h);
/** A key has died. */
void close_check(struct holding *h);
/** The tenure is released. */
void close_released(struct holding *h);
/** The machine has come to its end: what is left is to end, too. */
void close_stopped(struct holding *h);
/** Another generation is served. */
void close_published(struct holding *h);
/** A sentence, if it is asked for and not in force. */
bool close_warning(const struct holding *h, char *text, size_t size);

/* evict.c */
/** A grant has gone. */
void evict_check(struct holding *h);

/* budget.c */
/**
 * Whether an export of so many bytes that may be registered can be given back in time, by itself and with
 * all others, at what its rungs cost now; if so it counts from now on. -EDQUOT: no, and `err` says why.
 */
MUST_CHECK int budget_check(struct holding *h, uint64_t bytes, struct errtext *err);
/** The same of what counts already, if it stood on other rungs; nothing changes. */
MUST_CHECK int budget_try(struct holding *h, const struct region_probe *probes,
			  struct errtext *err);
/** The adapter with which a recall takes longest; -1: with none is anything registered. */
int budget_dearest(const struct holding *h, const struct region_probe *probes);
/** It is not served any more, and will not be. */
void budget_leave(struct holding *h);
/** What so many keys over so many bytes cost of a recall's time, at least. */
uint64_t budget_grant_ns(const struct holding *h, unsigned int device, uint64_t keys,
			 uint64_t bytes);
/** Whether so much more may be granted of it … */
bool budget_fits(const struct holding *h, uint64_t ns);
/** … counted, and told, if not. */
bool budget_allows(struct holding *h, uint64_t ns);
void budget_charge(struct holding *h, uint64_t ns);
void budget_refund(struct holding *h, uint64_t ns);

/* damage.c */
/** Says what was found since the last time, and has clients let go of it. */
void damage_check(struct holding *h);
/** How much from `offset` on is damaged; 0: it is not, and `*length` ends before what is. */
uint64_t damage_length(const struct holding *h, uint64_t offset, uint64_t *length);
/** A sentence, if anything is. */
bool damage_warning(const struct holding *h, char *text, size_t size);

/* unwritable.c */
/** Of a file that nobody may write to any more: has clients let go that are granted it for writing. */
void unwritable_check(struct holding *h);

/* conflict.c */
/** Has clients let go of it; nobody waits. -ENOMEM. */
MUST_CHECK int conflict_recall(struct holding *h, uint64_t from, uint64_t to);
/** A grant has gone. */
void conflict_check(struct holding *h);

/* serve.c */
bool served_has_keys(const struct served *s);
struct served *served_new(struct holding *h);
/** Retires what was served before; NULL: serves nothing. */
void serve_publish(struct holding *h, struct served *next);
/** Deregisters and frees what is marked so; reports REGIONS_GONE when no key is left. */
void serve_bury(struct holding *h);
void serve_unregister_all(struct holding *h);

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
	bool is_rest;	       /* what is left of one that is cut */
	bool binding;	       /* being made: its client's queue is waited for */
	struct slab *slab;     /* that its window is bound to, or is to be; or NULL */
	struct list slab_link; /* slab.grants */
	uint64_t cost_ns;      /* of a recall's time */
	void *right;	       /* to commit what is written through it; NULL: it is for reading */
	uint64_t life;	       /* once alive: the how-manieth of its client's */
	uint32_t generation;
	uint32_t id;
	uint64_t born_ns;
	struct grant_key key;
};

/** A registration for the windows of one client's grants of one export. */
struct slab {
	struct grant_slab mem; /* `mr`: the registrar's, while there are grants */
	struct holding *h;
	struct grant_client *client;
	struct list link;	 /* holding.slabs */
	struct list client_link; /* grant_client.slabs */
	struct list dying_link;	 /* grant_client.dying_slabs */
	struct list grants;	 /* that have a window of it, or are to get one */
	bool doomed;		 /* no more of them; it dies without any */
	uint64_t cost_ns;	 /* of a recall's time */
};

struct release;

struct grant_client {
	const struct holding_env *env;
	struct grant_client_config config;
	struct list grants;
	struct list slabs;
	uint64_t lives; /* grants that ever came alive */
	struct usage usage;
	struct list acquires;
	struct list releases;
	bool fenced;	     /* or gone: no more grants */
	uint64_t mark;	     /* recall_serial of the last recall that asked it */
	uint64_t count_mark; /* the same of the last count */
	uint64_t expires_ns;
	struct loop_timer expiry;

	struct list dying;
	struct list dying_slabs;
	bool kill_busy;
	struct work kill_work;
	struct slab *kill_slab; /* behind the batch; or NULL */
	int kill_slab_err;
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
/** The same of those that touch the range. */
void grant_cancel_range(struct holding *h, uint64_t offset, uint64_t end);
/** The same of those that have, or are to get, a window of a slab that is to die. */
void grant_cancel_doomed(struct holding *h);
void grant_cancel_forbidden(struct holding *h, const struct holding_eviction *e);
void grant_cancel_client(struct grant_client *client);
/** Every grant of the holding is to die. */
void grant_kill_all(struct holding *h);
/** Bytes from `offset` on that are backed without a gap, at most `length`. */
uint64_t grant_backed_from(const struct view *view, uint64_t offset, uint64_t length);
/**
 * Has keys made for grants that are in the table, all or none, unless a recall of their bytes, or the
 * client's end, comes in between: then done(release, answer), as grant_acquire()'s, and on an error
 * they are gone. -ENOMEM: nothing was done.
 */
MUST_CHECK int grant_split(struct holding *h, struct grant_client *client, struct release *release,
			   struct grant *const *remains, unsigned int count,
			   void (*done)(void *arg, const struct grant_answer *answer));

/* release.c */
/** Keys have died. */
void release_check(struct grant_client *client);
/** Nothing of what it cuts has ended meanwhile. */
bool release_stands(const struct release *r);

/* client.c */
struct grant *client_grant_new(struct grant_client *client, struct holding *h, uint64_t offset,
			       uint64_t length, unsigned int access);
/** Its key is dead, or was never made. */
void client_grant_free(struct grant *grant);
void client_grant_kill(struct grant *grant);
/** Nothing is bound to it, and it is doomed. */
void client_slab_kill(struct slab *slab);
void client_touch(struct grant_client *client);
/** Asks every client that holds grants of h; fences those that still do. Return how many. */
unsigned int client_tell_all(struct holding *h);
unsigned int client_fence_all(struct holding *h);
/** The same for grants that have to go for the range; both return how many clients. */
unsigned int client_tell_range(struct holding_range *r);
unsigned int client_fence_range(struct holding_range *r);
void client_check_gone(struct grant_client *client);
uint64_t client_next_serial(void);

/* slab.c */
/** Grants of that adapter get windows, where they can. */
bool slab_windows(const struct holding *h, unsigned int device);
/** Why they do not, where they are wanted and could get keys; or NULL. */
const char *slab_no_windows(const struct holding *h, unsigned int device);
/** How long a recall may take for slabs, beside all else: there are no more. Before a view is served. */
void slab_afford(struct holding *h, uint64_t ns);
/**
 * Finds one for a grant that is to get a key, or plans it, over what is served now: g->slab, till
 * slab_put(). NULL: it gets a key without.
 */
void slab_get(struct grant *g);
/** Its window is dead, or was never made. */
void slab_put(struct grant *g);
/** It is dead, or was never registered. */
void slab_free(struct slab *slab);
/** Those that touch the range are to die, and are there till then: no more windows of them. */
void slab_doom(struct holding *h, uint64_t offset, uint64_t end);
/** The same, and no grant that is just to get one comes to life. */
void slab_recall(struct holding *h, uint64_t offset, uint64_t end);
void slab_doom_client(struct grant_client *client);
bool slab_reaches(const struct holding *h, uint64_t offset, uint64_t end);
/** One that touches the range has windows, or is to get some. */
bool slab_in_use(const struct holding *h, uint64_t offset, uint64_t end);
/**
 * Calls fn for each grant that has to go for the range, because it touches it or its slab does, until
 * it returns false; fn takes none out.
 */
void slab_each_holder(const struct holding_range *r, bool (*fn)(struct table_node *node, void *arg),
		      void *arg);
/** Widens [*from, *end) to those of the client's grants that go for a slab only. True: there are some. */
bool slab_widen(const struct grant_client *client, const struct holding_range *r, uint64_t *from,
		uint64_t *end);

#endif
