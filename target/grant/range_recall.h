/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How part of an export's blocks are given back and got again, while the rest is served on: the
 * pure part, one machine a recall. (state, event, now) in, actions out; no clock, no I/O, no
 * pointers. range.c carries the actions out; tests/model has the same machine for spin. The recall
 * of the whole export (recall.h) goes on beside it, and overtakes it: when that has let go, so has
 * this. Of some only the grants are wanted: block commands and our own registrations go on, so that
 * is all there is to prove.
 *
 *   WAITING -> RECALLING -> INVALID -> RELEASED -> RETURNING -> ENDED
 *      |          |  |         ^  |       ^
 *      |          |  +> FENCED +  |       |
 *      +----------+--------+------+-------+   overtaken, or no grant is left and no more was wanted
 */
#ifndef LEASEHOLD_GRANT_RANGE_RECALL_H
#define LEASEHOLD_GRANT_RANGE_RECALL_H

#include "util/util.h"

enum range_state {
	RANGE_WAITING, /* the export is not served: what is going on with it ends by itself */
	RANGE_RECALLING, /* clients were asked, block commands go elsewhere, what is under way drains */
	RANGE_FENCED,	 /* the deadline passed: who is in the way is cut off; it drains still */
	RANGE_INVALID,	 /* nothing uses the range; our own keys over it are being deregistered */
	RANGE_RELEASED,	 /* the proof: nothing remote reaches the range */
	RANGE_RETURNING, /* it is over: the range is looked at and registered again */
	RANGE_ENDED,
	RANGE_STATES,
};

enum range_event {
	RANGE_BEGIN,	    /* the export is served: there are keys */
	RANGE_NARROWED,	    /* a serving without the range is published */
	RANGE_DRAINED,	    /* no block work on older servings touches it */
	RANGE_KEYS_DEAD,    /* no key of a grant touches it, none is being made */
	RANGE_SEALED,	    /* no commit touches it, and none will be accepted */
	RANGE_REGIONS_GONE, /* no key of ours touches it */
	RANGE_TIMER,
	RANGE_OVERTAKEN, /* the whole export has no key: there was a recall, or it is not served */
	RANGE_END,	 /* whoever wanted it is through */
	RANGE_RETURNED,	 /* what is served has it again, or nothing is served */
	RANGE_EVENTS,
};

/* What to do now, in this order. */
enum range_action {
	RANGE_DO_NARROW = 1 << 0, /* make and publish a serving without the range; NARROWED */
	RANGE_DO_TELL = 1 << 1,	  /* ask the clients; KEYS_DEAD */
	RANGE_DO_DRAIN = 1 << 2,  /* DRAINED */
	RANGE_DO_SEAL = 1 << 3,	  /* SEALED */
	RANGE_DO_FENCE_CLIENTS = 1 << 4,
	RANGE_DO_FENCE_BLOCK = 1 << 5,
	RANGE_DO_KILL_KEYS = 1 << 6, /* of those who were fenced; KEYS_DEAD */
	RANGE_DO_ESCALATE = 1 << 7,  /* recall the whole export; OVERTAKEN */
	RANGE_DO_WITHDRAW = 1 << 8,  /* REGIONS_GONE */
	RANGE_DO_RELEASE = 1 << 9,   /* tell whoever wanted it */
	RANGE_DO_RETURN = 1 << 10,   /* look and register again; RETURNED */
	RANGE_DO_END = 1 << 11,	     /* nothing more will be asked for */
	RANGE_DO_TIMER = 1 << 12,    /* TIMER at range_actions.wake_ns */
};

struct range_limits {
	uint64_t deadline_ns; /* from the beginning: then the fence */
	uint64_t patience_ns; /* from the beginning: then the whole export */
};

struct range_recall {
	enum range_state state;
	struct range_limits limits;
	bool grants_only;
	bool narrowed;
	bool drained;
	bool keys_dead;
	bool sealed, seal_asked;
	bool escalated;
	bool over; /* END came */
	bool late; /* narrowed behind the deadline, and block work is not fenced yet */
	uint64_t deadline_ns;
	uint64_t grace_ns; /* half way between the two */
	uint64_t patience_ns;
};

struct range_actions {
	unsigned int mask; /* enum range_action */
	uint64_t wake_ns;
};

void range_recall_init(struct range_recall *r, const struct range_limits *limits, bool grants_only);

/** Any event in any state; those that mean nothing there do nothing. */
void range_recall_step(struct range_recall *r, enum range_event event, uint64_t now,
		       struct range_actions *actions);

/** Proven, and not yet to be registered again. */
static inline bool range_recall_proven(const struct range_recall *r)
{
	return r->state >= RANGE_RELEASED;
}

const char *range_recall_state_text(enum range_state state);

#endif
