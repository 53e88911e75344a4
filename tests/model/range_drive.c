// SPDX-License-Identifier: BSD-3-Clause
/* Steps of the model of a range, done by range_recall.c and compared. For replay.c and range_any.pml. */
#include "range_drive.h"

#include <stdio.h>

#define DEADLINE_NS 1000
#define PATIENCE_NS 50000
#define GRACE_NS    ((DEADLINE_NS + PATIENCE_NS) / 2)
#define START_NS    1000000

/* struct range_recall, packed. */
#define STATE_MASK 7
enum packed_bit {
	BIT_NARROWED = 3,
	BIT_DRAINED,
	BIT_KEYS_DEAD,
	BIT_SEALED,
	BIT_SEAL_ASKED,
	BIT_ESCALATED,
	BIT_OVER,
	BIT_GRANTS_ONLY,
	BIT_LATE,
};

static_assert(RANGE_STATES == 7 && RANGE_EVENTS == 10 && RANGE_DO_TIMER == 1 << 12,
	      "range_machine.pml has the same numbers");

static const char *const event_texts[RANGE_EVENTS] = {
	"BEGIN",	"NARROWED", "DRAINED",	 "KEYS_DEAD", "SEALED",
	"REGIONS_GONE", "TIMER",    "OVERTAKEN", "END",	      "RETURNED",
};

static const struct range_limits limits = {DEADLINE_NS, PATIENCE_NS};

static int pack(const struct range_recall *r)
{
	return (int)r->state | r->narrowed << BIT_NARROWED | r->drained << BIT_DRAINED |
	       r->keys_dead << BIT_KEYS_DEAD | r->sealed << BIT_SEALED |
	       r->seal_asked << BIT_SEAL_ASKED | r->escalated << BIT_ESCALATED |
	       r->over << BIT_OVER | r->grants_only << BIT_GRANTS_ONLY | r->late << BIT_LATE;
}

static bool has(int packed, enum packed_bit bit)
{
	return (packed >> bit & 1) != 0;
}

static void unpack(struct range_drive *d, int packed)
{
	struct range_recall *r = &d->recall;

	r->state = (enum range_state)(packed & STATE_MASK);
	r->narrowed = has(packed, BIT_NARROWED);
	r->drained = has(packed, BIT_DRAINED);
	r->keys_dead = has(packed, BIT_KEYS_DEAD);
	r->sealed = has(packed, BIT_SEALED);
	r->seal_asked = has(packed, BIT_SEAL_ASKED);
	r->escalated = has(packed, BIT_ESCALATED);
	r->over = has(packed, BIT_OVER);
	r->late = has(packed, BIT_LATE);
	if (r->state == RANGE_WAITING)
		return;
	r->deadline_ns = d->began_ns + DEADLINE_NS;
	r->grace_ns = d->began_ns + GRACE_NS;
	r->patience_ns = d->began_ns + PATIENCE_NS;
}

void range_drive_init(struct range_drive *d, bool grants_only)
{
	*d = (struct range_drive){.began_ns = START_NS, .now_ns = START_NS};
	range_recall_init(&d->recall, &limits, grants_only);
}

bool range_drive_grants_only(const struct range_drive_step *step)
{
	return has(step->before, BIT_GRANTS_ONLY);
}

/* The clock at a phase: as late in it as can be, for the first; then at its very beginning. */
static uint64_t now_in(const struct range_drive *d, int phase)
{
	switch (phase) {
	case 0:
		return d->began_ns + DEADLINE_NS - 1;
	case 1:
		return d->began_ns + DEADLINE_NS;
	case 2:
		return d->began_ns + GRACE_NS;
	default:
		return d->began_ns + PATIENCE_NS;
	}
}

static uint64_t wake_of(const struct range_drive *d, int wake)
{
	return d->began_ns + (wake == 1 ? DEADLINE_NS : wake == 2 ? GRACE_NS : PATIENCE_NS);
}

static bool differ(const struct range_drive_step *step, const char *what, int here, int there)
{
	(void)fprintf(stderr,
		      "%s in state %s, phase %d: %s is %#x in range_recall.c, %#x in the model\n",
		      event_texts[step->event],
		      range_recall_state_text((enum range_state)(step->before & STATE_MASK)),
		      step->phase, what, (unsigned int)here, (unsigned int)there);
	return false;
}

bool range_drive_step(struct range_drive *d, const struct range_drive_step *step)
{
	bool waiting = d->recall.state == RANGE_WAITING;
	struct range_actions actions;

	if (step->event < 0 || step->event >= RANGE_EVENTS)
		return false;
	if (pack(&d->recall) != step->before)
		return differ(step, "the state before", pack(&d->recall), step->before);
	d->now_ns = waiting ? d->now_ns + 1 : now_in(d, step->phase);
	range_recall_step(&d->recall, (enum range_event)step->event, d->now_ns, &actions);
	if (waiting)
		d->began_ns = d->now_ns;

	if (actions.mask != (unsigned int)step->mask)
		return differ(step, "what to do", (int)actions.mask, step->mask);
	if (pack(&d->recall) != step->after)
		return differ(step, "the state after", pack(&d->recall), step->after);
	if (!(actions.mask & RANGE_DO_TIMER) != (step->wake == 0))
		return differ(step, "a timer", (actions.mask & RANGE_DO_TIMER) != 0, step->wake);
	if (step->wake != 0 && actions.wake_ns != wake_of(d, step->wake))
		return differ(step, "the time of the timer", (int)(actions.wake_ns - d->began_ns),
			      step->wake);
	return true;
}

bool range_drive_lone_step(const struct range_drive_step *step)
{
	struct range_drive d;

	range_drive_init(&d, range_drive_grants_only(step));
	unpack(&d, step->before);
	return range_drive_step(&d, step);
}
