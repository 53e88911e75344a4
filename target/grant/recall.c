// SPDX-License-Identifier: BSD-3-Clause
/*
 * The recall machine. Pure: any thread, any clock. Its obligations, asserted here:
 * - INVALID is entered only when no key of a grant is alive, no block work is in flight, commits are
 *   sealed (or nothing was ever published), so only our own idle keys are left;
 * - the tenure is released only from INVALID, when these are gone too, or where it was taken and
 *   nothing was made under it;
 * - the deadline and the end of patience are set once a recall, and only ever come earlier.
 */
#include "grant/recall.h"

#define BIT(state) (1u << (state))

/* Where each state may go. */
static const unsigned int transitions[RECALL_STATES] = {
	[RECALL_RELEASED] = BIT(RECALL_RETAKING),
	[RECALL_RETAKING] = BIT(RECALL_GRANTED) | BIT(RECALL_DRAINING) | BIT(RECALL_INVALID),
	[RECALL_GRANTED] = BIT(RECALL_RECALLING),
	[RECALL_RECALLING] = BIT(RECALL_DRAINING) | BIT(RECALL_FENCED),
	[RECALL_DRAINING] = BIT(RECALL_FENCED) | BIT(RECALL_INVALID),
	[RECALL_FENCED] = BIT(RECALL_INVALID),
	[RECALL_INVALID] = BIT(RECALL_RELEASED),
};

static const char *const texts[RECALL_STATES] = {
	[RECALL_RELEASED] = "released", [RECALL_RETAKING] = "retaking",
	[RECALL_GRANTED] = "granted",	[RECALL_RECALLING] = "recalling",
	[RECALL_DRAINING] = "draining", [RECALL_FENCED] = "fenced",
	[RECALL_INVALID] = "invalid",
};

const char *recall_state_text(enum recall_state state)
{
	assert(state < RECALL_STATES);
	return texts[state];
}

static void set_state(struct recall *r, enum recall_state state)
{
	assert(transitions[r->state] & BIT(state));
	if (state == RECALL_INVALID)
		assert(r->keys_dead && r->drained && r->sealed);
	r->state = state;
}

void recall_init(struct recall *r, const struct recall_limits *limits)
{
	*r = (struct recall){.state = RECALL_RELEASED, .limits = *limits};
	assert(limits->deadline_ns <= limits->patience_ns);
}

bool recall_going_on(const struct recall *r)
{
	return r->state >= RECALL_RECALLING;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void arm(struct recall *r, uint64_t now, struct recall_actions *out)
{
	r->deadline_ns = now + r->limits.deadline_ns;
	r->patience_ns = now + r->limits.patience_ns;
	out->mask |= RECALL_DO_TIMER;
	out->wake_ns = r->deadline_ns;
}

static void seal(struct recall *r, struct recall_actions *out)
{
	if (!r->seal_asked)
		out->mask |= RECALL_DO_SEAL;
	r->seal_asked = true;
}

/* Whatever the last event has made possible. */
static void advance(struct recall *r, struct recall_actions *out)
{
	if (r->state == RECALL_RECALLING && r->keys_dead) {
		set_state(r, RECALL_DRAINING);
		seal(r, out);
	}
	if ((r->state == RECALL_DRAINING || (r->state == RECALL_FENCED && r->fence_done)) &&
	    r->keys_dead && r->drained && r->sealed) {
		set_state(r, RECALL_INVALID);
		out->mask |= RECALL_DO_FREE_REGIONS;
	}
}

/* BREAK, LOST and STOP. */
static void begin(struct recall *r, uint64_t now, struct recall_actions *out)
{
	switch (r->state) {
	case RECALL_GRANTED:
		set_state(r, RECALL_RECALLING);
		arm(r, now, out);
		out->mask |= RECALL_DO_CANCEL | RECALL_DO_QUIESCE | RECALL_DO_TELL;
		break;
	case RECALL_RETAKING:
		/* Nobody was told of anything: only what is being made has to stop. */
		r->keys_dead = r->sealed = r->seal_asked = true;
		set_state(r, RECALL_DRAINING);
		arm(r, now, out);
		out->mask |= RECALL_DO_CANCEL;
		break;
	default: /* under way already, or not ours */
		break;
	}
}

static void fence(struct recall *r, struct recall_actions *out)
{
	if (!r->keys_dead)
		out->mask |= RECALL_DO_FENCE_CLIENTS;
	if (!r->drained && r->published)
		out->mask |= RECALL_DO_FENCE_BLOCK;
	out->mask |= RECALL_DO_REPORT_FENCE;
	seal(r, out);
	set_state(r, RECALL_FENCED);
}

static void timer(struct recall *r, uint64_t now, struct recall_actions *out)
{
	if (!recall_going_on(r))
		return;
	if (now >= r->patience_ns) {
		out->mask |= RECALL_DO_ABORT;
		return;
	}
	if (now >= r->deadline_ns && (r->state == RECALL_RECALLING || r->state == RECALL_DRAINING))
		fence(r, out);
	out->mask |= RECALL_DO_TIMER;
	out->wake_ns = now < r->deadline_ns ? r->deadline_ns : r->patience_ns;
}

static void taken(struct recall *r, struct recall_actions *out)
{
	if (r->state != RECALL_RELEASED)
		return;
	if (r->stopping) {
		out->mask |= RECALL_DO_RELEASE_TENURE;
		return;
	}
	r->published = r->keys_dead = r->drained = false;
	r->sealed = r->seal_asked = r->fence_done = false;
	set_state(r, RECALL_RETAKING);
	out->mask |= RECALL_DO_PREPARE;
}

static void regions_gone(struct recall *r, struct recall_actions *out)
{
	if (r->state != RECALL_INVALID)
		return;
	set_state(r, RECALL_RELEASED);
	out->mask |= RECALL_DO_RELEASE_TENURE;
	out->mask |= r->stopping ? RECALL_DO_STOPPED : RECALL_DO_RETRY_TENURE;
}

void recall_step(struct recall *r, enum recall_event event, uint64_t now,
		 struct recall_actions *out)
{
	*out = (struct recall_actions){0};
	switch (event) {
	case RECALL_TAKEN:
		taken(r, out);
		break;
	case RECALL_PREPARED:
		if (r->state != RECALL_RETAKING)
			break;
		set_state(r, RECALL_GRANTED);
		r->published = true;
		out->mask |= RECALL_DO_PUBLISH;
		break;
	case RECALL_PREPARE_FAILED:
		if (r->state != RECALL_RETAKING)
			break;
		r->keys_dead = r->drained = r->sealed = r->seal_asked = true;
		arm(r, now, out);
		set_state(r, RECALL_INVALID);
		out->mask |= RECALL_DO_FREE_REGIONS;
		break;
	case RECALL_BREAK:
		begin(r, now, out);
		break;
	case RECALL_LOST:
		begin(r, now, out);
		/* The blocks are the landlord's already: nothing to wait for. */
		if (recall_going_on(r)) {
			r->deadline_ns = min_u64(r->deadline_ns, now);
			timer(r, now, out);
		}
		break;
	case RECALL_STOP:
		if (r->stopping)
			break;
		r->stopping = true;
		begin(r, now, out);
		if (r->state == RECALL_RELEASED)
			out->mask |= RECALL_DO_STOPPED;
		break;
	case RECALL_KEYS_DEAD:
		if (recall_going_on(r))
			r->keys_dead = true;
		break;
	case RECALL_DRAINED:
		if (recall_going_on(r))
			r->drained = true;
		break;
	case RECALL_SEALED:
		if (r->seal_asked)
			r->sealed = true;
		break;
	case RECALL_FENCE_DONE:
		if (r->state != RECALL_FENCED || r->fence_done)
			break;
		r->fence_done = true;
		if (!r->keys_dead)
			out->mask |= RECALL_DO_KILL_KEYS;
		break;
	case RECALL_REGIONS_GONE:
		regions_gone(r, out);
		break;
	case RECALL_TIMER:
		timer(r, now, out);
		break;
	case RECALL_GIVEN_BACK:
		/* While the keys are killed, not afterwards: the landlord waits for both. */
		if (r->state == RECALL_RECALLING)
			seal(r, out);
		break;
	case RECALL_EVENTS:
		assert(false);
	}
	advance(r, out);
}
