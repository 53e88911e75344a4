// SPDX-License-Identifier: BSD-3-Clause
/*
 * The machine of a range's recall, exhaustively: every state that any order of events can bring it to,
 * with a world beside it that knows what is alive. The world answers what it was asked, in any order,
 * or not at all; time passes when it likes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grant/range_recall.h"

#define DEADLINE 10
#define GRACE	 15
#define PATIENCE 20
#define MAX_SEEN (1u << 20)

/* What there is outside of the machine. Small numbers only: it is hashed as bytes. */
struct world {
	uint8_t clock; /* 0: before the deadline, 1: at it, 2: past the grace, 3: past the patience */
	bool begun;
	bool keys;     /* of grants, alive */
	bool old_work; /* block work on an older serving */
	bool commits;  /* may be at work */
	bool regions;  /* our keys over it */
	bool asked_narrow, asked_drain, asked_seal, asked_withdraw, asked_return;
	bool sealed;
	bool fenced_clients, fenced_block;
	bool escalated, whole_gone;
	bool over;
	uint8_t released, ended; /* how often */
	uint8_t timers;		 /* armed */
};

struct place {
	struct range_recall machine;
	struct world world;
};

static struct place *seen;
static uint32_t *table;
static unsigned int nr_seen;

static uint64_t now_of(const struct world *w)
{
	static const uint64_t times[] = {0, DEADLINE, GRACE, PATIENCE};

	return times[w->clock];
}

static uint32_t hash(const struct place *p)
{
	const uint8_t *bytes = (const uint8_t *)p;
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < sizeof(*p); i++)
		h = (h ^ bytes[i]) * 1099511628211u;
	return (uint32_t)(h >> 20);
}

static void add(const struct place *p)
{
	uint32_t at = hash(p) % (2 * MAX_SEEN);

	while (table[at]) {
		if (memcmp(&seen[table[at] - 1], p, sizeof(*p)) == 0)
			return;
		at = (at + 1) % (2 * MAX_SEEN);
	}
	assert_true(nr_seen < MAX_SEEN);
	seen[nr_seen] = *p;
	table[at] = ++nr_seen;
}

/* Field by field: what lies between them stays zero. */
static void copy(struct place *to, const struct place *from)
{
	memcpy(to, from, sizeof(*to));
}

static void invariants(const struct place *p)
{
	const struct world *w = &p->world;

	assert_true(w->released <= 1 && w->ended <= w->released);
	/* The proof: nothing remote reaches the range. */
	if (w->released && !w->ended && !w->asked_return)
		assert_true(!w->keys && !w->old_work && !w->commits && !w->regions);
	if (p->machine.state == RANGE_INVALID)
		assert_true(!w->keys && !w->old_work && !w->commits);
	if (w->ended)
		assert_true(w->over && p->machine.state == RANGE_ENDED);
	/* Nobody is cut off before the deadline. */
	if (w->fenced_clients || w->fenced_block)
		assert_true(w->clock > 0);
	/* It ends: whoever hangs, the whole export is recalled. */
	if (w->clock == 3 && w->begun && !w->released && !w->timers)
		assert_true(w->escalated);
}

static void step(const struct place *from, enum range_event event, const struct world *after)
{
	struct range_actions actions;
	struct place p;
	struct world *w;

	copy(&p, from);
	memcpy(&p.world, after, sizeof(*after));
	w = &p.world;
	range_recall_step(&p.machine, event, now_of(w), &actions);
	if (actions.mask & RANGE_DO_NARROW)
		w->asked_narrow = true;
	if (actions.mask & RANGE_DO_DRAIN) {
		assert_true(p.machine.narrowed);
		w->asked_drain = true;
	}
	if (actions.mask & RANGE_DO_SEAL) {
		assert_false(w->keys);
		w->asked_seal = true;
	}
	if (actions.mask & RANGE_DO_FENCE_CLIENTS)
		w->fenced_clients = true;
	/* It is drained for a while before. */
	if (event == RANGE_NARROWED && w->clock < 2)
		assert_false(actions.mask & RANGE_DO_FENCE_BLOCK);
	if (actions.mask & RANGE_DO_FENCE_BLOCK)
		w->fenced_block = true;
	if (actions.mask & RANGE_DO_ESCALATE)
		w->escalated = true;
	if (actions.mask & RANGE_DO_WITHDRAW) {
		assert_true(!w->keys && !w->old_work && !w->commits);
		w->asked_withdraw = true;
	}
	if (actions.mask & RANGE_DO_RELEASE)
		w->released++;
	if (actions.mask & RANGE_DO_RETURN)
		w->asked_return = true;
	if (actions.mask & RANGE_DO_END)
		w->ended++;
	w->timers = (actions.mask & RANGE_DO_TIMER) ? 1 : event == RANGE_TIMER ? 0 : w->timers;
	/* Times are those of the beginning, which is always at 0. */
	if (actions.mask & RANGE_DO_TIMER)
		assert_true(actions.wake_ns == DEADLINE || actions.wake_ns == GRACE ||
			    actions.wake_ns == PATIENCE);
	invariants(&p);
	add(&p);
}

/* Everything that can happen next. */
static void explore(const struct place *p)
{
	const struct world *w = &p->world;
	struct world a;

	memcpy(&a, w, sizeof(a));
	if (!w->begun && !w->released && w->clock == 0) {
		a.begun = a.keys = a.old_work = a.commits = a.regions = true;
		step(p, RANGE_BEGIN, &a);
		memcpy(&a, w, sizeof(a));
	}
	if (w->asked_narrow)
		step(p, RANGE_NARROWED, &a);
	/* Work ends by itself, or by the fence; and is then reported, at once or twice. */
	if (w->asked_drain && !w->whole_gone) {
		a.old_work = false;
		step(p, RANGE_DRAINED, &a);
		memcpy(&a, w, sizeof(a));
	}
	if (w->begun) {
		a.keys = false;
		step(p, RANGE_KEYS_DEAD, &a);
		memcpy(&a, w, sizeof(a));
	}
	if (w->asked_seal) {
		a.sealed = true;
		a.commits = false;
		step(p, RANGE_SEALED, &a);
		memcpy(&a, w, sizeof(a));
	}
	if (w->asked_withdraw) {
		a.regions = false;
		step(p, RANGE_REGIONS_GONE, &a);
		memcpy(&a, w, sizeof(a));
	}
	if (w->clock < 3) {
		a.clock++;
		step(p, RANGE_TIMER, &a);
		memcpy(&a, w, sizeof(a));
	}
	step(p, RANGE_TIMER, &a);
	/* The whole export, at any time: then all is gone. */
	if (!w->whole_gone) {
		a.keys = a.old_work = a.commits = a.regions = false;
		a.whole_gone = true;
		step(p, RANGE_OVERTAKEN, &a);
		memcpy(&a, w, sizeof(a));
	}
	a.over = true;
	step(p, RANGE_END, &a);
	memcpy(&a, w, sizeof(a));
	if (w->asked_return)
		step(p, RANGE_RETURNED, &a);
}

static void test_all(void **state)
{
	const struct range_limits limits = {.deadline_ns = DEADLINE, .patience_ns = PATIENCE};
	unsigned int states = 0, ended = 0;
	struct place first;

	(void)state;
	seen = calloc(MAX_SEEN, sizeof(*seen));
	table = calloc(2 * (size_t)MAX_SEEN, sizeof(*table));
	assert_non_null(seen);
	assert_non_null(table);
	memset(&first, 0, sizeof(first));
	range_recall_init(&first.machine, &limits, false);
	add(&first);
	for (unsigned int i = 0; i < nr_seen; i++) {
		struct place p;

		copy(&p, &seen[i]);
		states |= 1u << p.machine.state;
		ended += p.world.ended;
		explore(&p);
	}
	print_message("[          ] %u places\n", nr_seen);
	assert_int_equal(states, (1u << RANGE_STATES) - 1);
	assert_true(ended > 0);
	free(seen);
	free(table);
}

/* From every place there is a way to the end: the world only has to answer what it was asked. */
static void test_way_out(void **state)
{
	const struct range_limits limits = {.deadline_ns = DEADLINE, .patience_ns = PATIENCE};
	const enum range_event kind_world[] = {RANGE_BEGIN,	   RANGE_END,	  RANGE_NARROWED,
					       RANGE_KEYS_DEAD,	   RANGE_DRAINED, RANGE_SEALED,
					       RANGE_REGIONS_GONE, RANGE_RETURNED};
	struct range_actions actions;
	unsigned int all = 0;

	(void)state;
	/* In each order of the first six. */
	for (unsigned int order = 0; order < 46656; order++) {
		struct range_recall r;
		unsigned int x = order;

		range_recall_init(&r, &limits, false);
		for (unsigned int i = 0; i < 6; i++, x /= 6)
			range_recall_step(&r, kind_world[x % 6], i, &actions);
		for (unsigned int round = 0; round < 2; round++) {
			for (unsigned int i = 0; i < 8; i++)
				range_recall_step(&r, kind_world[i], 100, &actions);
		}
		assert_int_equal(r.state, RANGE_ENDED);
		all++;
	}
	assert_int_equal(all, 46656);
}

static void test_deadlines(void **state)
{
	const struct range_limits limits = {.deadline_ns = DEADLINE, .patience_ns = PATIENCE};
	struct range_actions a;
	struct range_recall r;

	(void)state;
	range_recall_init(&r, &limits, false);
	range_recall_step(&r, RANGE_BEGIN, 100, &a);
	assert_int_equal(a.mask, RANGE_DO_NARROW | RANGE_DO_TELL | RANGE_DO_TIMER);
	assert_int_equal(a.wake_ns, 100 + DEADLINE);
	range_recall_step(&r, RANGE_NARROWED, 101, &a);
	assert_int_equal(a.mask, RANGE_DO_DRAIN);
	range_recall_step(&r, RANGE_TIMER, 105, &a);
	assert_int_equal(a.mask, RANGE_DO_TIMER);
	range_recall_step(&r, RANGE_TIMER, 100 + DEADLINE, &a);
	assert_int_equal(a.mask, RANGE_DO_FENCE_CLIENTS | RANGE_DO_KILL_KEYS |
					 RANGE_DO_FENCE_BLOCK | RANGE_DO_TIMER);
	assert_int_equal(a.wake_ns, 100 + PATIENCE);
	range_recall_step(&r, RANGE_TIMER, 100 + PATIENCE, &a);
	assert_int_equal(a.mask, RANGE_DO_ESCALATE);
	range_recall_step(&r, RANGE_TIMER, 200, &a);
	assert_int_equal(a.mask, 0);
	range_recall_step(&r, RANGE_OVERTAKEN, 201, &a);
	assert_int_equal(a.mask, RANGE_DO_RELEASE);
	range_recall_step(&r, RANGE_END, 202, &a);
	assert_int_equal(a.mask, RANGE_DO_RETURN);
	for (int e = 0; e < RANGE_STATES; e++)
		assert_non_null(range_recall_state_text((enum range_state)e));
}

/* The serving without the range came late: its work has half of what is left to end. */
static void test_grace(void **state)
{
	const struct range_limits limits = {.deadline_ns = DEADLINE, .patience_ns = PATIENCE};
	struct range_actions a;
	struct range_recall r;

	(void)state;
	for (unsigned int drained = 0; drained < 2; drained++) {
		range_recall_init(&r, &limits, false);
		range_recall_step(&r, RANGE_BEGIN, 100, &a);
		range_recall_step(&r, RANGE_TIMER, 100 + DEADLINE, &a);
		assert_int_equal(a.mask,
				 RANGE_DO_FENCE_CLIENTS | RANGE_DO_KILL_KEYS | RANGE_DO_TIMER);
		assert_int_equal(a.wake_ns, 100 + PATIENCE);
		range_recall_step(&r, RANGE_NARROWED, 101 + DEADLINE, &a);
		assert_int_equal(a.mask, RANGE_DO_DRAIN | RANGE_DO_TIMER);
		assert_int_equal(a.wake_ns, 100 + GRACE);
		if (drained)
			range_recall_step(&r, RANGE_DRAINED, 102 + DEADLINE, &a);
		range_recall_step(&r, RANGE_TIMER, 100 + GRACE, &a);
		assert_int_equal(a.mask, (drained ? 0 : RANGE_DO_FENCE_BLOCK) | RANGE_DO_TIMER);
		assert_int_equal(a.wake_ns, 100 + PATIENCE);
	}
	/* No time is left. */
	range_recall_init(&r, &limits, false);
	range_recall_step(&r, RANGE_BEGIN, 100, &a);
	range_recall_step(&r, RANGE_TIMER, 100 + DEADLINE, &a);
	range_recall_step(&r, RANGE_NARROWED, 100 + GRACE, &a);
	assert_int_equal(a.mask, RANGE_DO_DRAIN | RANGE_DO_FENCE_BLOCK);
}

/* Where only the grants are wanted nothing of our own is touched, and the whole export never is. */
static void test_grants_only(void **state)
{
	const struct range_limits limits = {.deadline_ns = DEADLINE, .patience_ns = PATIENCE};
	const enum range_event nothing[] = {RANGE_NARROWED, RANGE_DRAINED, RANGE_SEALED,
					    RANGE_REGIONS_GONE};
	struct range_actions a;
	struct range_recall r;

	(void)state;
	range_recall_init(&r, &limits, true);
	range_recall_step(&r, RANGE_BEGIN, 100, &a);
	assert_int_equal(a.mask, RANGE_DO_TELL | RANGE_DO_TIMER);
	assert_int_equal(a.wake_ns, 100 + DEADLINE);
	for (size_t i = 0; i < ARRAY_SIZE(nothing); i++) {
		range_recall_step(&r, nothing[i], 101, &a);
		assert_int_equal(a.mask, 0);
	}
	range_recall_step(&r, RANGE_TIMER, 100 + DEADLINE, &a);
	assert_int_equal(a.mask, RANGE_DO_FENCE_CLIENTS | RANGE_DO_KILL_KEYS | RANGE_DO_TIMER);
	range_recall_step(&r, RANGE_TIMER, 100 + PATIENCE, &a);
	assert_int_equal(a.mask, 0);
	assert_int_equal(r.state, RANGE_FENCED);
	range_recall_step(&r, RANGE_KEYS_DEAD, 200, &a);
	assert_int_equal(a.mask, RANGE_DO_RELEASE);
	range_recall_step(&r, RANGE_END, 201, &a);
	assert_int_equal(a.mask, RANGE_DO_RETURN);
	range_recall_step(&r, RANGE_RETURNED, 202, &a);
	assert_int_equal(a.mask, RANGE_DO_END);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),	    cmocka_unit_test(test_way_out),
		cmocka_unit_test(test_deadlines),   cmocka_unit_test(test_grace),
		cmocka_unit_test(test_grants_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
