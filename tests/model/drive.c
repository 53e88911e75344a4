// SPDX-License-Identifier: BSD-3-Clause
/* Steps of the model, done by recall.c and compared. For replay.c, and for any.pml within spin. */
#include "drive.h"

#include <stdio.h>

#define DEADLINE_NS 1000
#define PATIENCE_NS 50000
#define START_NS    1000000

/* struct recall, packed. */
#define STATE_MASK 7
enum packed_bit {
	BIT_STOPPING = 3,
	BIT_PUBLISHED,
	BIT_KEYS_DEAD,
	BIT_DRAINED,
	BIT_SEALED,
	BIT_SEAL_ASKED,
	BIT_FENCE_DONE,
	BIT_LOST,
};

static_assert(RECALL_STATES == 7 && RECALL_EVENTS == 13 && RECALL_DO_ABORT == 1 << 15,
	      "machine.pml has the same numbers");

static const char *const event_texts[RECALL_EVENTS] = {
	"TAKEN",   "PREPARED", "PREPARE_FAILED", "BREAK",	 "LOST",  "STOP",	"KEYS_DEAD",
	"DRAINED", "SEALED",   "FENCE_DONE",	 "REGIONS_GONE", "TIMER", "GIVEN_BACK",
};

static const struct recall_limits limits = {DEADLINE_NS, PATIENCE_NS};

static bool deadline_moved(const struct drive *d)
{
	return recall_going_on(&d->recall) && d->recall.deadline_ns < d->began_ns + DEADLINE_NS;
}

static int pack(const struct drive *d)
{
	const struct recall *r = &d->recall;

	return (int)r->state | r->stopping << BIT_STOPPING | r->published << BIT_PUBLISHED |
	       r->keys_dead << BIT_KEYS_DEAD | r->drained << BIT_DRAINED | r->sealed << BIT_SEALED |
	       r->seal_asked << BIT_SEAL_ASKED | r->fence_done << BIT_FENCE_DONE |
	       deadline_moved(d) << BIT_LOST;
}

static bool has(int packed, enum packed_bit bit)
{
	return (packed >> bit & 1) != 0;
}

static void unpack(struct drive *d, int packed)
{
	struct recall *r = &d->recall;

	r->state = (enum recall_state)(packed & STATE_MASK);
	r->stopping = has(packed, BIT_STOPPING);
	r->published = has(packed, BIT_PUBLISHED);
	r->keys_dead = has(packed, BIT_KEYS_DEAD);
	r->drained = has(packed, BIT_DRAINED);
	r->sealed = has(packed, BIT_SEALED);
	r->seal_asked = has(packed, BIT_SEAL_ASKED);
	r->fence_done = has(packed, BIT_FENCE_DONE);
	r->deadline_ns = d->began_ns + (has(packed, BIT_LOST) ? 0 : DEADLINE_NS);
	r->patience_ns = d->began_ns + PATIENCE_NS;
}

void drive_init(struct drive *d)
{
	*d = (struct drive){.began_ns = START_NS, .now_ns = START_NS};
	recall_init(&d->recall, &limits);
}

/* The clock at a phase: as late in it as can be, for the first; then at its very beginning. */
static uint64_t now_in(const struct drive *d, int phase)
{
	switch (phase) {
	case 0:
		return d->began_ns + DEADLINE_NS - 1;
	case 1:
		return d->began_ns + DEADLINE_NS;
	default:
		return d->began_ns + PATIENCE_NS;
	}
}

static uint64_t wake_of(const struct drive *d, int wake)
{
	return d->began_ns + (wake == 1 ? DEADLINE_NS : PATIENCE_NS);
}

static bool differ(const struct drive_step *step, const char *what, int here, int there)
{
	(void)fprintf(stderr, "%s in state %s, phase %d: %s is %#x in recall.c, %#x in the model\n",
		      event_texts[step->event],
		      recall_state_text((enum recall_state)(step->before & STATE_MASK)),
		      step->phase, what, (unsigned int)here, (unsigned int)there);
	return false;
}

bool drive_step(struct drive *d, const struct drive_step *step)
{
	bool going_on = recall_going_on(&d->recall);
	struct recall_actions actions;

	if (step->event < 0 || step->event >= RECALL_EVENTS)
		return false;
	if (pack(d) != step->before)
		return differ(step, "the state before", pack(d), step->before);
	d->now_ns = going_on ? now_in(d, step->phase) : d->now_ns + 1;
	recall_step(&d->recall, (enum recall_event)step->event, d->now_ns, &actions);
	if (!going_on && recall_going_on(&d->recall))
		d->began_ns = d->now_ns;

	if (actions.mask != (unsigned int)step->mask)
		return differ(step, "what to do", (int)actions.mask, step->mask);
	if (pack(d) != step->after)
		return differ(step, "the state after", pack(d), step->after);
	if (!(actions.mask & RECALL_DO_TIMER) != (step->wake == 0))
		return differ(step, "a timer", (actions.mask & RECALL_DO_TIMER) != 0, step->wake);
	if (step->wake != 0 && actions.wake_ns != wake_of(d, step->wake))
		return differ(step, "the time of the timer",
			      actions.wake_ns == wake_of(d, 3 - step->wake) ? 3 - step->wake : 0,
			      step->wake);
	return true;
}

bool drive_lone_step(const struct drive_step *step)
{
	struct drive d;

	drive_init(&d);
	unpack(&d, step->before);
	return drive_step(&d, step);
}
