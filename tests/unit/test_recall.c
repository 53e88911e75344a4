// SPDX-License-Identifier: BSD-3-Clause
/*
 * The recall machine, without a clock and without I/O: every event in every state, lies included,
 * and a small world of keys, work requests and commits in which honest events come in random order.
 * The world checks the invariants: the tenure is released only when nothing of it is alive. And the
 * table of ranges, against a list.
 */
#include "leaks.h"

#include <string.h>

#include "grant/recall.h"
#include "util/range_table.h"

#define DEADLINE_NS 1000
#define PATIENCE_NS 20000

static const struct recall_limits limits = {DEADLINE_NS, PATIENCE_NS};

/* splitmix64: the same on every machine. */
static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* ---- single steps ---------------------------------------------------------------------------- */

/* Does `event` at `now` and expects these actions and that state. */
static void expect(struct recall *r, enum recall_event event, uint64_t now, unsigned int mask,
		   enum recall_state state)
{
	struct recall_actions actions;

	recall_step(r, event, now, &actions);
	assert_int_equal(actions.mask, mask);
	assert_string_equal(recall_state_text(r->state), recall_state_text(state));
}

static void to_granted(struct recall *r)
{
	recall_init(r, &limits);
	expect(r, RECALL_TAKEN, 0, RECALL_DO_PREPARE, RECALL_RETAKING);
	expect(r, RECALL_PREPARED, 0, RECALL_DO_PUBLISH, RECALL_GRANTED);
}

#define BEGIN (RECALL_DO_CANCEL | RECALL_DO_QUIESCE | RECALL_DO_TELL | RECALL_DO_TIMER)

static void test_cooperative(void **state)
{
	struct recall r;

	(void)state;
	to_granted(&r);
	expect(&r, RECALL_BREAK, 10, BEGIN, RECALL_RECALLING);
	assert_int_equal(r.deadline_ns, 10 + DEADLINE_NS);
	expect(&r, RECALL_BREAK, 20, 0, RECALL_RECALLING);
	assert_int_equal(r.deadline_ns, 10 + DEADLINE_NS); /* the first one counts */
	expect(&r, RECALL_DRAINED, 30, 0, RECALL_RECALLING);
	expect(&r, RECALL_KEYS_DEAD, 40, RECALL_DO_SEAL, RECALL_DRAINING);
	expect(&r, RECALL_SEALED, 50, RECALL_DO_FREE_REGIONS, RECALL_INVALID);
	expect(&r, RECALL_REGIONS_GONE, 60, RECALL_DO_RELEASE_TENURE | RECALL_DO_RETRY_TENURE,
	       RECALL_RELEASED);
	expect(&r, RECALL_TIMER, 10 + DEADLINE_NS, 0, RECALL_RELEASED);
	expect(&r, RECALL_TAKEN, 2000, RECALL_DO_PREPARE, RECALL_RETAKING);
	expect(&r, RECALL_PREPARED, 2001, RECALL_DO_PUBLISH, RECALL_GRANTED);
	assert_false(r.keys_dead || r.drained || r.sealed || r.fence_done);
}

/* Commits are sealed while the keys of what was given back are killed. */
static void test_given_back(void **state)
{
	struct recall r;

	(void)state;
	to_granted(&r);
	expect(&r, RECALL_GIVEN_BACK, 0, 0, RECALL_GRANTED);
	expect(&r, RECALL_BREAK, 10, BEGIN, RECALL_RECALLING);
	expect(&r, RECALL_DRAINED, 20, 0, RECALL_RECALLING);
	expect(&r, RECALL_GIVEN_BACK, 30, RECALL_DO_SEAL, RECALL_RECALLING);
	expect(&r, RECALL_GIVEN_BACK, 31, 0, RECALL_RECALLING);
	expect(&r, RECALL_SEALED, 40, 0, RECALL_RECALLING);
	expect(&r, RECALL_KEYS_DEAD, 50, RECALL_DO_FREE_REGIONS, RECALL_INVALID);
	/* The keys may as well be dead before it is sealed. */
	to_granted(&r);
	expect(&r, RECALL_BREAK, 10, BEGIN, RECALL_RECALLING);
	expect(&r, RECALL_GIVEN_BACK, 20, RECALL_DO_SEAL, RECALL_RECALLING);
	expect(&r, RECALL_KEYS_DEAD, 30, 0, RECALL_DRAINING);
	expect(&r, RECALL_DRAINED, 40, 0, RECALL_DRAINING);
	expect(&r, RECALL_SEALED, 50, RECALL_DO_FREE_REGIONS, RECALL_INVALID);
}

static void test_deadline(void **state)
{
	struct recall r;

	(void)state;
	to_granted(&r);
	expect(&r, RECALL_BREAK, 0, BEGIN, RECALL_RECALLING);
	expect(&r, RECALL_TIMER, DEADLINE_NS - 1, RECALL_DO_TIMER, RECALL_RECALLING);
	expect(&r, RECALL_TIMER, DEADLINE_NS,
	       RECALL_DO_FENCE_CLIENTS | RECALL_DO_FENCE_BLOCK | RECALL_DO_REPORT_FENCE |
		       RECALL_DO_SEAL | RECALL_DO_TIMER,
	       RECALL_FENCED);
	/* Keys are killed after the queues are in error, never before. */
	expect(&r, RECALL_FENCE_DONE, DEADLINE_NS, RECALL_DO_KILL_KEYS, RECALL_FENCED);
	expect(&r, RECALL_FENCE_DONE, DEADLINE_NS, 0, RECALL_FENCED);
	expect(&r, RECALL_SEALED, DEADLINE_NS, 0, RECALL_FENCED);
	expect(&r, RECALL_DRAINED, DEADLINE_NS, 0, RECALL_FENCED);
	expect(&r, RECALL_KEYS_DEAD, DEADLINE_NS, RECALL_DO_FREE_REGIONS, RECALL_INVALID);
	expect(&r, RECALL_TIMER, PATIENCE_NS - 1, RECALL_DO_TIMER, RECALL_INVALID);
	expect(&r, RECALL_TIMER, PATIENCE_NS, RECALL_DO_ABORT, RECALL_INVALID);
}

/* Everybody has released, but a block command hangs: only its queue is fenced. */
static void test_deadline_of_block_work(void **state)
{
	struct recall r;

	(void)state;
	to_granted(&r);
	expect(&r, RECALL_BREAK, 0, BEGIN, RECALL_RECALLING);
	expect(&r, RECALL_KEYS_DEAD, 1, RECALL_DO_SEAL, RECALL_DRAINING);
	expect(&r, RECALL_SEALED, 2, 0, RECALL_DRAINING);
	expect(&r, RECALL_TIMER, DEADLINE_NS,
	       RECALL_DO_FENCE_BLOCK | RECALL_DO_REPORT_FENCE | RECALL_DO_TIMER, RECALL_FENCED);
	expect(&r, RECALL_DRAINED, DEADLINE_NS, 0, RECALL_FENCED);
	expect(&r, RECALL_FENCE_DONE, DEADLINE_NS, RECALL_DO_FREE_REGIONS, RECALL_INVALID);
}

/* Broken while it was being taken again: nobody has to be asked. */
static void test_break_while_retaking(void **state)
{
	struct recall r;

	(void)state;
	recall_init(&r, &limits);
	expect(&r, RECALL_BREAK, 0, 0, RECALL_RELEASED);
	expect(&r, RECALL_TAKEN, 0, RECALL_DO_PREPARE, RECALL_RETAKING);
	expect(&r, RECALL_BREAK, 1, RECALL_DO_CANCEL | RECALL_DO_TIMER, RECALL_DRAINING);
	expect(&r, RECALL_PREPARED, 2, 0, RECALL_DRAINING); /* too late */
	expect(&r, RECALL_TIMER, 1 + DEADLINE_NS, RECALL_DO_REPORT_FENCE | RECALL_DO_TIMER,
	       RECALL_FENCED);
	expect(&r, RECALL_FENCE_DONE, 2000, 0, RECALL_FENCED);
	expect(&r, RECALL_DRAINED, 2001, RECALL_DO_FREE_REGIONS, RECALL_INVALID);
	expect(&r, RECALL_REGIONS_GONE, 2002, RECALL_DO_RELEASE_TENURE | RECALL_DO_RETRY_TENURE,
	       RECALL_RELEASED);
}

static void test_prepare_failed(void **state)
{
	struct recall r;

	(void)state;
	recall_init(&r, &limits);
	expect(&r, RECALL_TAKEN, 0, RECALL_DO_PREPARE, RECALL_RETAKING);
	expect(&r, RECALL_PREPARE_FAILED, 1, RECALL_DO_FREE_REGIONS | RECALL_DO_TIMER,
	       RECALL_INVALID);
	expect(&r, RECALL_REGIONS_GONE, 2, RECALL_DO_RELEASE_TENURE | RECALL_DO_RETRY_TENURE,
	       RECALL_RELEASED);
}

static void test_lost(void **state)
{
	struct recall r;

	(void)state;
	to_granted(&r);
	expect(&r, RECALL_LOST, 5,
	       BEGIN | RECALL_DO_FENCE_CLIENTS | RECALL_DO_FENCE_BLOCK | RECALL_DO_REPORT_FENCE |
		       RECALL_DO_SEAL,
	       RECALL_FENCED);
}

static void test_stop(void **state)
{
	struct recall r;

	(void)state;
	recall_init(&r, &limits);
	expect(&r, RECALL_STOP, 0, RECALL_DO_STOPPED, RECALL_RELEASED);
	/* The tenure was on its way. */
	expect(&r, RECALL_TAKEN, 1, RECALL_DO_RELEASE_TENURE, RECALL_RELEASED);
	expect(&r, RECALL_STOP, 2, 0, RECALL_RELEASED);

	to_granted(&r);
	expect(&r, RECALL_STOP, 0, BEGIN, RECALL_RECALLING);
	expect(&r, RECALL_KEYS_DEAD, 1, RECALL_DO_SEAL, RECALL_DRAINING);
	expect(&r, RECALL_DRAINED, 2, 0, RECALL_DRAINING);
	expect(&r, RECALL_SEALED, 3, RECALL_DO_FREE_REGIONS, RECALL_INVALID);
	expect(&r, RECALL_REGIONS_GONE, 4, RECALL_DO_RELEASE_TENURE | RECALL_DO_STOPPED,
	       RECALL_RELEASED);

	/* In the middle of a recall: it is finished, and nothing comes after it. */
	to_granted(&r);
	expect(&r, RECALL_BREAK, 0, BEGIN, RECALL_RECALLING);
	expect(&r, RECALL_STOP, 1, 0, RECALL_RECALLING);
	expect(&r, RECALL_DRAINED, 2, 0, RECALL_RECALLING);
	expect(&r, RECALL_KEYS_DEAD, 3, RECALL_DO_SEAL, RECALL_DRAINING);
	expect(&r, RECALL_SEALED, 4, RECALL_DO_FREE_REGIONS, RECALL_INVALID);
	expect(&r, RECALL_REGIONS_GONE, 5, RECALL_DO_RELEASE_TENURE | RECALL_DO_STOPPED,
	       RECALL_RELEASED);
}

/* Any event in any state, true or not: never a forbidden transition (those abort). */
static void test_any_event_anywhere(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 2000; seed++) {
		uint64_t random = seed, now = 0;
		struct recall r;

		recall_init(&r, &limits);
		for (int i = 0; i < 300; i++) {
			enum recall_event event = next_random(&random) % RECALL_EVENTS;
			enum recall_state before = r.state;
			struct recall_actions actions;

			now += next_random(&random) % 400;
			recall_step(&r, event, now, &actions);
			if (actions.mask & RECALL_DO_RELEASE_TENURE)
				assert_true(before == RECALL_INVALID || r.stopping);
			if (r.state == RECALL_INVALID)
				assert_true(r.keys_dead && r.drained && r.sealed);
			if (r.stopping && r.state == RECALL_RELEASED)
				assert_false(actions.mask &
					     (RECALL_DO_PREPARE | RECALL_DO_RETRY_TENURE));
			if (actions.mask & RECALL_DO_TIMER)
				assert_true(recall_going_on(&r));
		}
	}
}

/* Each state is reached, and in each each event is survived. */
static void test_matrix(void **state)
{
	static const enum recall_event path[] = {
		RECALL_TAKEN,	   RECALL_PREPARED, RECALL_BREAK,     RECALL_TIMER,
		RECALL_FENCE_DONE, RECALL_SEALED,   RECALL_KEYS_DEAD, RECALL_DRAINED,
	};
	unsigned int seen = 0;

	(void)state;
	for (size_t steps = 0; steps <= ARRAY_SIZE(path); steps++) {
		for (enum recall_event event = 0; event < RECALL_EVENTS; event++) {
			struct recall r;
			struct recall_actions actions;

			recall_init(&r, &limits);
			for (size_t i = 0; i < steps; i++)
				recall_step(&r, path[i], i == 3 ? DEADLINE_NS : 0, &actions);
			seen |= 1u << r.state;
			recall_step(&r, event, DEADLINE_NS, &actions);
			seen |= 1u << r.state;
		}
	}
	assert_int_equal(seen, (1u << RECALL_STATES) - 1);
}

/* ---- a world --------------------------------------------------------------------------------- */

/* What the actions act on. Events tell the truth about it, late. */
struct world {
	struct recall r;
	uint64_t now, wake_ns, random;
	bool tenure, wanted, taking, making, break_waits;
	uint64_t break_ns;
	unsigned int grant_keys, region_keys, block_work, commits;
	bool block_open, commits_open, told, killing, freeing, fenced;
	bool clients_answer, block_ends; /* this time */
	bool quiesce_pending, seal_pending, fence_pending;
	unsigned int recalls, fences;
	bool stopped;
};

static void do_event(struct world *w, enum recall_event event);

static void check_world(const struct world *w)
{
	/* 1: no memory is registered without a tenure. */
	if (w->grant_keys + w->region_keys > 0)
		assert_true(w->tenure);
	if (w->block_open || w->block_work > 0)
		assert_true(w->region_keys > 0);
}

static void carry_out(struct world *w, const struct recall_actions *a)
{
	assert_false(a->mask & RECALL_DO_ABORT);
	if (a->mask & RECALL_DO_CANCEL)
		w->making = w->making && (next_random(&w->random) & 1); /* or it is late */
	if (a->mask & RECALL_DO_QUIESCE) {
		w->block_open = false;
		w->quiesce_pending = true;
	}
	if (a->mask & RECALL_DO_TELL)
		w->told = true;
	if (a->mask & RECALL_DO_SEAL) {
		w->commits_open = false;
		w->seal_pending = true;
	}
	if (a->mask & RECALL_DO_FENCE_CLIENTS)
		w->fenced = true;
	if (a->mask & RECALL_DO_FENCE_BLOCK)
		w->block_ends = true;
	if (a->mask & RECALL_DO_REPORT_FENCE) {
		w->fence_pending = true;
		w->fences++;
	}
	if (a->mask & RECALL_DO_KILL_KEYS) {
		assert_true(w->fenced);
		w->killing = true;
	}
	if (a->mask & RECALL_DO_FREE_REGIONS) {
		/* 2, the first half. */
		assert_int_equal(w->grant_keys + w->block_work + w->commits, 0);
		w->freeing = true;
	}
	if (a->mask & RECALL_DO_RELEASE_TENURE) {
		/* 2 and 3: nothing is alive. */
		assert_int_equal(w->grant_keys + w->region_keys + w->block_work + w->commits, 0);
		assert_false(w->making);
		assert_true(w->tenure);
		/* 4: in time. */
		if (w->break_waits)
			assert_true(w->now <= w->break_ns + 4 * DEADLINE_NS);
		w->tenure = w->break_waits = w->freeing = w->killing = w->fenced = false;
		w->recalls++;
	}
	w->wanted |= (a->mask & RECALL_DO_RETRY_TENURE) != 0;
	w->making |= (a->mask & RECALL_DO_PREPARE) != 0;
	if (a->mask & RECALL_DO_PUBLISH)
		w->block_open = w->commits_open = true;
	w->stopped |= (a->mask & RECALL_DO_STOPPED) != 0;
	if (a->mask & RECALL_DO_TIMER)
		w->wake_ns = a->wake_ns;
}

static void do_event(struct world *w, enum recall_event event)
{
	struct recall_actions actions;

	recall_step(&w->r, event, w->now, &actions);
	carry_out(w, &actions);
	check_world(w);
}

/* One thing that may happen now. */
static void happen(struct world *w)
{
	unsigned int what = (unsigned int)(next_random(&w->random) % 16);
	bool granted = w->r.state == RECALL_GRANTED;

	switch (what) {
	case 0: /* the landlord */
		if (w->tenure && !w->break_waits && next_random(&w->random) % 4 == 0) {
			w->break_waits = true;
			w->break_ns = w->now;
			w->clients_answer = next_random(&w->random) & 1;
			w->block_ends = next_random(&w->random) & 1;
			do_event(w, RECALL_BREAK);
		}
		break;
	case 1:
		if (w->wanted && !w->tenure) {
			w->wanted = false;
			w->tenure = true;
			do_event(w, RECALL_TAKEN);
		}
		break;
	case 2: /* a step of the making */
		if (w->making && w->r.state == RECALL_RETAKING && w->region_keys < 3) {
			w->region_keys++;
		} else if (w->making && w->r.state == RECALL_RETAKING) {
			w->making = false;
			do_event(w, next_random(&w->random) % 8 ? RECALL_PREPARED
								: RECALL_PREPARE_FAILED);
		} else {
			w->making = false;
		}
		break;
	case 3:
		w->grant_keys += granted && w->grant_keys < 5;
		break;
	case 4:
		w->block_work += w->block_open && w->block_work < 5;
		break;
	case 5:
		w->commits += w->commits_open && w->grant_keys > 0 && w->commits < 3;
		break;
	case 6:
		w->commits -= w->commits > 0;
		break;
	case 7:
		if (w->block_work > 0 && (w->block_open || w->block_ends))
			w->block_work--;
		break;
	case 8: /* clients release, or the registrar kills */
		if (w->grant_keys > 0 && (granted || (w->told && w->clients_answer) || w->killing))
			w->grant_keys--;
		break;
	case 9:
		if (recall_going_on(&w->r) && w->grant_keys == 0)
			do_event(w, RECALL_KEYS_DEAD);
		break;
	case 10:
		if (w->block_work == 0 && !w->making && recall_going_on(&w->r)) {
			w->quiesce_pending = false;
			do_event(w, RECALL_DRAINED);
		}
		break;
	case 11:
		if (w->seal_pending && w->commits == 0) {
			w->seal_pending = false;
			do_event(w, RECALL_SEALED);
		}
		break;
	case 12:
		if (w->fence_pending) {
			w->fence_pending = false;
			do_event(w, RECALL_FENCE_DONE);
		}
		break;
	case 13:
		if (w->freeing && w->region_keys > 0)
			w->region_keys--;
		else if (w->freeing)
			do_event(w, RECALL_REGIONS_GONE);
		break;
	case 14:
		if (w->told && w->clients_answer)
			do_event(w, RECALL_GIVEN_BACK);
		break;
	default:
		w->now += next_random(&w->random) % 5;
		if (w->wake_ns && w->now >= w->wake_ns) {
			w->wake_ns = 0;
			do_event(w, RECALL_TIMER);
		}
	}
}

static void test_world(void **state)
{
	unsigned int recalls = 0, fences = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 300; seed++) {
		struct world w = {.random = seed, .wanted = true};

		recall_init(&w.r, &limits);
		for (int i = 0; i < 20000; i++)
			happen(&w);
		/* A stop comes to its end from wherever it is. */
		do_event(&w, RECALL_STOP);
		for (int i = 0; i < 40000 && !w.stopped; i++)
			happen(&w);
		assert_true(w.stopped);
		assert_int_equal(w.r.state, RECALL_RELEASED);
		assert_false(w.tenure);
		recalls += w.recalls;
		fences += w.fences;
	}
	print_message("[          ] %u recalls, %u with a fence\n", recalls, fences);
	assert_true(recalls > 1000 && fences > 100);
}

/* ---- the table of ranges --------------------------------------------------------------------- */

#define RANGES 2000

static bool count_one(struct table_node *node, void *arg)
{
	(void)node;
	(*(unsigned int *)arg)++;
	return true;
}

static bool stop_at_once(struct table_node *node, void *arg)
{
	*(struct table_node **)arg = node;
	return false;
}

/* Those behind a place, each behind the one before. */
struct behind {
	uint64_t offset, serial;
	unsigned int found;
};

static bool count_behind(struct table_node *node, void *arg)
{
	struct behind *b = arg;

	assert_true(node->offset > b->offset ||
		    (node->offset == b->offset && node->serial > b->serial));
	b->offset = node->offset;
	b->serial = node->serial;
	b->found++;
	return true;
}

static void check_behind(const struct table *table, const struct table_node *nodes, const bool *in,
			 uint64_t offset, uint64_t serial)
{
	struct behind b = {.offset = offset, .serial = serial};
	unsigned int expected = 0;

	for (int k = 0; k < RANGES; k++)
		expected += in[k] && (nodes[k].offset > offset ||
				      (nodes[k].offset == offset && nodes[k].serial > serial));
	assert_true(table_each_after(table, offset, serial, count_behind, &b));
	assert_int_equal(b.found, expected);
}

static void test_table(void **state)
{
	static struct table_node nodes[RANGES];
	static bool in[RANGES];
	struct table table = {NULL};
	uint64_t random = 7;

	(void)state;
	memset(in, 0, sizeof(in));
	for (int i = 0; i < 20000; i++) {
		unsigned int n = (unsigned int)(next_random(&random) % RANGES);
		uint64_t offset = next_random(&random) % 10000, end;
		unsigned int found = 0, expected = 0;
		struct table_node *first = NULL;

		if (in[n]) {
			table_remove(&table, &nodes[n]);
			in[n] = false;
		} else {
			/* Some of them are the same. */
			nodes[n].offset = next_random(&random) % 1000 * 10;
			nodes[n].end = nodes[n].offset + 1 + next_random(&random) % 300;
			table_insert(&table, &nodes[n]);
			in[n] = true;
		}
		if (i % 20)
			continue;
		end = offset + 1 + next_random(&random) % 100;
		for (int k = 0; k < RANGES; k++)
			expected += in[k] && nodes[k].offset < end && offset < nodes[k].end;
		assert_true(table_each(&table, offset, end, count_one, &found));
		assert_int_equal(found, expected);
		assert_int_equal(table_each(&table, offset, end, stop_at_once, &first),
				 expected == 0);
		assert_true((first != NULL) == (expected > 0));
		check_behind(&table, nodes, in, offset, 0);
		check_behind(&table, nodes, in, nodes[n].offset, nodes[n].serial);
	}
	for (int k = 0; k < RANGES; k++) {
		if (in[k])
			table_remove(&table, &nodes[k]);
	}
	assert_null(table.root);
	assert_int_equal(table.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_cooperative),
		leaks_test(test_given_back),
		leaks_test(test_deadline),
		leaks_test(test_deadline_of_block_work),
		leaks_test(test_break_while_retaking),
		leaks_test(test_prepare_failed),
		leaks_test(test_lost),
		leaks_test(test_stop),
		leaks_test(test_any_event_anywhere),
		leaks_test(test_matrix),
		leaks_test(test_world),
		leaks_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
