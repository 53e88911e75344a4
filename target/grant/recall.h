/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How an export's blocks are given back and got again: the pure part. (state, event, now) in,
 * actions out; no clock, no I/O, no pointers. holding.c carries the actions out and brings the
 * events; tests/model has the same machine for spin.
 *
 *   RELEASED -> RETAKING -> GRANTED -> RECALLING -> DRAINING -> INVALID -> RELEASED -> ...
 *                  |                      |             |         ^
 *                  |                      +--> FENCED <-+         |    at the deadline
 *                  |                             +----------------+
 *                  +--> DRAINING (broken while it was retaken), INVALID (could not be prepared)
 */
#ifndef LEASEHOLD_GRANT_RECALL_H
#define LEASEHOLD_GRANT_RECALL_H

#include "util/util.h"

enum recall_state {
	RECALL_RELEASED,  /* the landlord has its blocks: no tenure, no key; the beginning, too */
	RECALL_RETAKING,  /* the tenure is ours; keys are being made; nobody was given one yet */
	RECALL_GRANTED,	  /* served, granted */
	RECALL_RECALLING, /* clients were asked to stop and release; our own work drains */
	RECALL_DRAINING,  /* no key of a grant is left; commits are refused; our own work drains */
	RECALL_FENCED,	/* the deadline passed: queues in error, the keys of the rest are killed */
	RECALL_INVALID, /* nothing uses the memory; our own keys are being deregistered */
	RECALL_STATES,
};

enum recall_event {
	RECALL_TAKEN,	       /* the tenure is ours */
	RECALL_PREPARED,       /* view and regions of a new generation are made */
	RECALL_PREPARE_FAILED, /* they cannot be made; what was made is still registered */
	RECALL_BREAK,	       /* the landlord wants its blocks */
	RECALL_LOST,	       /* the kernel broke the tenure by force */
	RECALL_STOP,	       /* give everything back, and do not take it again */
	RECALL_KEYS_DEAD,      /* no key of a grant is alive, none is being made */
	RECALL_DRAINED,	       /* no block work on our keys is in flight, and none is being made */
	RECALL_SEALED,	       /* no commit is in flight, and none will be accepted */
	RECALL_FENCE_DONE,     /* the queues are in error */
	RECALL_REGIONS_GONE,   /* every key of ours is deregistered */
	RECALL_TIMER,	       /* time has passed */
	RECALL_GIVEN_BACK,     /* no grant lives, though keys may: nobody has anything to commit */
	RECALL_EVENTS,
};

/* What to do now, in this order. */
enum recall_action {
	RECALL_DO_CANCEL = 1 << 0,	  /* stop making views and regions; DRAINED tells the end */
	RECALL_DO_TELL = 1 << 1,	  /* ask the clients, whose way is the longest; KEYS_DEAD */
	RECALL_DO_QUIESCE = 1 << 2,	  /* block commands to the file-system path; DRAINED */
	RECALL_DO_SEAL = 1 << 3,	  /* SEALED */
	RECALL_DO_FENCE_CLIENTS = 1 << 4, /* queues of those who hold grants still */
	RECALL_DO_FENCE_BLOCK = 1 << 5,	  /* block queues with work in flight still */
	RECALL_DO_REPORT_FENCE = 1 << 6,  /* FENCE_DONE, after the two above */
	RECALL_DO_KILL_KEYS = 1 << 7,	  /* KEYS_DEAD */
	RECALL_DO_FREE_REGIONS = 1 << 8,  /* REGIONS_GONE */
	RECALL_DO_RELEASE_TENURE = 1 << 9, /* the landlord goes on */
	RECALL_DO_RETRY_TENURE = 1 << 10,  /* try to take it again; TAKEN */
	RECALL_DO_PREPARE = 1 << 11,	   /* view and regions; PREPARED or PREPARE_FAILED */
	RECALL_DO_PUBLISH = 1 << 12,	   /* a new generation */
	RECALL_DO_STOPPED = 1 << 13,	   /* nothing more will be asked for */
	RECALL_DO_TIMER = 1 << 14,	   /* TIMER at recall_actions.wake_ns */
	RECALL_DO_ABORT = 1 << 15, /* no proof in time: end the process, that kills the keys */
};

struct recall_limits {
	uint64_t deadline_ns; /* from the break: then the fence */
	uint64_t patience_ns; /* from the break: then the end of the process */
};

struct recall {
	enum recall_state state;
	struct recall_limits limits;
	bool stopping;
	bool published; /* somebody was given this generation's keys */
	bool keys_dead;
	bool drained;
	bool sealed, seal_asked;
	bool fence_done;
	uint64_t deadline_ns; /* of the recall that is going on */
	uint64_t patience_ns;
};

struct recall_actions {
	unsigned int mask; /* enum recall_action */
	uint64_t wake_ns;
};

void recall_init(struct recall *r, const struct recall_limits *limits);

/** Any event in any state; those that mean nothing there do nothing. */
void recall_step(struct recall *r, enum recall_event event, uint64_t now,
		 struct recall_actions *actions);

/** From the break to the release. */
bool recall_going_on(const struct recall *r);

const char *recall_state_text(enum recall_state state);

#endif
