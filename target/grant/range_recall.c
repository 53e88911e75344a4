// SPDX-License-Identifier: BSD-3-Clause
/*
 * The recall of a range. Pure: any thread, any clock. Its obligations, asserted here:
 * - INVALID is entered only when no key of a grant touches the range, no block work on it is in
 *   flight and commits to it are sealed, so only our own idle keys are left;
 * - RELEASED is entered only when these are gone too, or when the whole export has none;
 * - whoever wanted it is told once, and it ends once, never before that.
 */
#include "grant/range_recall.h"

#define BIT(state) (1u << (state))

/* Where each state may go. */
static const unsigned int transitions[RANGE_STATES] = {
	[RANGE_WAITING] = BIT(RANGE_RECALLING) | BIT(RANGE_RELEASED),
	[RANGE_RECALLING] = BIT(RANGE_FENCED) | BIT(RANGE_INVALID) | BIT(RANGE_RELEASED),
	[RANGE_FENCED] = BIT(RANGE_INVALID) | BIT(RANGE_RELEASED),
	[RANGE_INVALID] = BIT(RANGE_RELEASED),
	[RANGE_RELEASED] = BIT(RANGE_RETURNING),
	[RANGE_RETURNING] = BIT(RANGE_ENDED),
};

static const char *const texts[RANGE_STATES] = {
	[RANGE_WAITING] = "waiting",   [RANGE_RECALLING] = "recalling",
	[RANGE_FENCED] = "fenced",     [RANGE_INVALID] = "invalid",
	[RANGE_RELEASED] = "released", [RANGE_RETURNING] = "returning",
	[RANGE_ENDED] = "ended",
};

const char *range_recall_state_text(enum range_state state)
{
	assert(state < RANGE_STATES);
	return texts[state];
}

static void set_state(struct range_recall *r, enum range_state state)
{
	assert(transitions[r->state] & BIT(state));
	if (state == RANGE_INVALID)
		assert(r->narrowed && r->drained && r->keys_dead && r->sealed);
	r->state = state;
}

void range_recall_init(struct range_recall *r, const struct range_limits *limits, bool grants_only)
{
	*r = (struct range_recall){
		.state = RANGE_WAITING, .limits = *limits, .grants_only = grants_only};
	assert(limits->deadline_ns <= limits->patience_ns);
}

static bool under_way(const struct range_recall *r)
{
	return r->state == RANGE_RECALLING || r->state == RANGE_FENCED || r->state == RANGE_INVALID;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void begin(struct range_recall *r, uint64_t now, struct range_actions *out)
{
	set_state(r, RANGE_RECALLING);
	r->deadline_ns = now + r->limits.deadline_ns;
	r->patience_ns = now + r->limits.patience_ns;
	r->grace_ns = r->deadline_ns + (r->patience_ns - r->deadline_ns) / 2;
	out->mask |= RANGE_DO_TELL | RANGE_DO_TIMER;
	if (!r->grants_only)
		out->mask |= RANGE_DO_NARROW;
	out->wake_ns = r->deadline_ns;
}

static void release(struct range_recall *r, struct range_actions *out)
{
	set_state(r, RANGE_RELEASED);
	out->mask |= RANGE_DO_RELEASE;
}

/* Whatever the last event has made possible. */
static void advance(struct range_recall *r, struct range_actions *out)
{
	if (under_way(r) && r->keys_dead && r->grants_only)
		release(r, out);
	if (under_way(r) && r->keys_dead && !r->seal_asked) {
		r->seal_asked = true;
		out->mask |= RANGE_DO_SEAL;
	}
	if ((r->state == RANGE_RECALLING || r->state == RANGE_FENCED) && r->narrowed &&
	    r->drained && r->keys_dead && r->sealed) {
		set_state(r, RANGE_INVALID);
		out->mask |= RANGE_DO_WITHDRAW;
	}
	if (r->state == RANGE_RELEASED && r->over) {
		set_state(r, RANGE_RETURNING);
		out->mask |= RANGE_DO_RETURN;
	}
}

/* Too late it is our own doing: block work that ends by itself has a while to do so. */
static void narrowed(struct range_recall *r, uint64_t now, struct range_actions *out)
{
	if (!under_way(r) || r->narrowed || r->grants_only)
		return;
	r->narrowed = true;
	out->mask |= RANGE_DO_DRAIN;
	if (r->state != RANGE_FENCED)
		return;
	r->late = now < r->grace_ns;
	if (!r->late) {
		out->mask |= RANGE_DO_FENCE_BLOCK;
		return;
	}
	out->mask |= RANGE_DO_TIMER;
	out->wake_ns = r->grace_ns;
}

static void timer(struct range_recall *r, uint64_t now, struct range_actions *out)
{
	if (!under_way(r))
		return;
	if (now >= r->deadline_ns && r->state == RANGE_RECALLING) {
		set_state(r, RANGE_FENCED);
		if (!r->keys_dead)
			out->mask |= RANGE_DO_FENCE_CLIENTS | RANGE_DO_KILL_KEYS;
		if (r->narrowed && !r->drained)
			out->mask |= RANGE_DO_FENCE_BLOCK;
	}
	if (now >= r->grace_ns && r->late) {
		r->late = false;
		if (!r->drained)
			out->mask |= RANGE_DO_FENCE_BLOCK;
	}
	if (now >= r->patience_ns) {
		/* Keys that cannot be killed would hold up the whole export just so. */
		if (!r->escalated && !r->grants_only)
			out->mask |= RANGE_DO_ESCALATE;
		r->escalated = true;
		return;
	}
	out->mask |= RANGE_DO_TIMER;
	out->wake_ns = now < r->deadline_ns ? r->deadline_ns
		       : r->late	    ? r->grace_ns
					    : r->patience_ns;
}

void range_recall_step(struct range_recall *r, enum range_event event, uint64_t now,
		       struct range_actions *out)
{
	*out = (struct range_actions){0};
	switch (event) {
	case RANGE_BEGIN:
		if (r->state == RANGE_WAITING)
			begin(r, now, out);
		break;
	case RANGE_NARROWED:
		narrowed(r, now, out);
		break;
	case RANGE_DRAINED:
		if (under_way(r) && r->narrowed)
			r->drained = true;
		break;
	case RANGE_KEYS_DEAD:
		if (under_way(r))
			r->keys_dead = true;
		break;
	case RANGE_SEALED:
		if (r->seal_asked)
			r->sealed = true;
		break;
	case RANGE_REGIONS_GONE:
		if (r->state == RANGE_INVALID)
			release(r, out);
		break;
	case RANGE_TIMER:
		timer(r, now, out);
		break;
	case RANGE_OVERTAKEN:
		if (under_way(r) || r->state == RANGE_WAITING)
			release(r, out);
		break;
	case RANGE_END:
		r->over = true;
		break;
	case RANGE_RETURNED:
		if (r->state != RANGE_RETURNING)
			break;
		set_state(r, RANGE_ENDED);
		out->mask |= RANGE_DO_END;
		break;
	case RANGE_EVENTS:
		assert(false);
	}
	advance(r, out);
}
