// SPDX-License-Identifier: BSD-3-Clause
/*
 * The range interlock: who waits for whom, in which order; then many threads over few bytes, each
 * checking that nobody else is where it writes.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/interlock.h"

struct one {
	struct interlock_node node;
	int granted;
};

static void on_granted(struct interlock_node *node)
{
	container_of(node, struct one, node)->granted++;
}

static struct one range(uint64_t offset, uint64_t length, bool exclusive)
{
	return (struct one){.node = {.offset = offset,
				     .end = offset + length,
				     .exclusive = exclusive,
				     .granted = on_granted}};
}

static struct interlock *il;

static int setup(void **state)
{
	(void)state;
	il = interlock_new();
	return il ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	interlock_free(il); /* asserts that nothing is left in it */
	return 0;
}

static bool take(struct one *o)
{
	return interlock_lock(il, &o->node);
}

static void leave(struct one *o)
{
	interlock_unlock(il, &o->node);
}

static void test_disjoint(void **state)
{
	struct one a = range(0, 4096, true), b = range(4096, 4096, true);
	struct one far = range(GIB(1), 4096, true);

	(void)state;
	assert_true(take(&a));
	assert_true(take(&b));
	assert_true(take(&far));
	leave(&b);
	leave(&a);
	leave(&far);
	assert_int_equal(a.granted + b.granted + far.granted, 0);
}

static void test_readers_share(void **state)
{
	struct one r1 = range(0, 8192, false), r2 = range(4096, 8192, false);
	struct one w = range(4096, 4096, true), r3 = range(4096, 1, false);

	(void)state;
	assert_true(take(&r1));
	assert_true(take(&r2));
	assert_false(take(&w));
	/* Behind a writer that waits: readers do not starve it. */
	assert_false(take(&r3));
	leave(&r1);
	assert_int_equal(w.granted, 0);
	leave(&r2);
	assert_int_equal(w.granted, 1);
	assert_int_equal(r3.granted, 0);
	leave(&w);
	assert_int_equal(r3.granted, 1);
	leave(&r3);
}

static void test_order(void **state)
{
	struct one w[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		w[i] = range(512 * (unsigned int)i, 1024, true);
	assert_true(take(&w[0]));
	assert_false(take(&w[1]));
	assert_false(take(&w[2])); /* behind 1, not behind 0 */
	assert_false(take(&w[3]));
	leave(&w[0]);
	assert_int_equal(w[1].granted, 1);
	assert_int_equal(w[2].granted + w[3].granted, 0);
	leave(&w[1]);
	assert_int_equal(w[2].granted, 1);
	leave(&w[2]);
	assert_int_equal(w[3].granted, 1);
	leave(&w[3]);
}

/* Many granules each: counted once, though they meet in several shards. */
static void test_long(void **state)
{
	struct one a = range(0, MIB(1), true), b = range(KIB(512), MIB(1), true);
	struct one c = range(MIB(1) - 1, 1, false);

	(void)state;
	assert_true(take(&a));
	assert_false(take(&b));
	assert_false(take(&c));
	leave(&a);
	assert_int_equal(b.granted, 1);
	assert_int_equal(c.granted, 0);
	leave(&b);
	assert_int_equal(c.granted, 1);
	leave(&c);
}

static void test_wide(void **state)
{
	struct one n1 = range(GIB(3), KIB(512), false), all = range(0, GIB(1024), true);
	struct one n2 = range(GIB(5), MIB(1), false), beyond = range(GIB(1024), 512, true);
	struct one next = range(GIB(2), GIB(2), false);

	(void)state;
	assert_true(take(&n1));
	assert_false(take(&all));
	assert_false(take(&n2));
	assert_true(take(&beyond));
	assert_false(take(&next));
	leave(&n1);
	assert_int_equal(all.granted, 1);
	leave(&all);
	assert_int_equal(n2.granted, 1);
	assert_int_equal(next.granted, 1);
	leave(&beyond);
	leave(&next);
	leave(&n2);
}

/* Only what it has of its range is in others' way, and once each. */
static void test_parts(void **state)
{
	const struct interlock_part parts[] = {
		{GIB(2), GIB(2) + 8192}, {0, 4096}, {MIB(1), MIB(1) + KIB(300)}};
	const struct interlock_part others[] = {{4096, 8192}, {GIB(2), GIB(2) + 512}};
	struct one a = range(0, GIB(2) + 8192, true), between = range(4096, MIB(1) - 4096, true);
	struct one long_between = range(MIB(2), GIB(1), true), first = range(4095, 1, false);
	struct one over_two = range(0, MIB(3), false), last = range(GIB(2) + 4096, 4096, true);
	struct one b = range(4096, GIB(2) - 4096 + 512, true);

	(void)state;
	a.node.parts = parts;
	a.node.nr_parts = 3;
	b.node.parts = others;
	b.node.nr_parts = 2;
	assert_true(take(&a));
	assert_true(take(&between));
	assert_true(take(&long_between));
	assert_false(take(&first));
	assert_false(take(&last));
	leave(&between);
	leave(&long_between);
	assert_false(take(&b));
	assert_false(take(&over_two));
	leave(&a);
	assert_int_equal(first.granted, 1);
	assert_int_equal(last.granted, 1);
	assert_int_equal(b.granted, 1);
	assert_int_equal(over_two.granted, 0); /* b has some of it */
	leave(&b);
	assert_int_equal(over_two.granted, 1);
	leave(&first);
	leave(&last);
	leave(&over_two);
	/* It comes later than what is in its way. */
	a.granted = first.granted = 0;
	assert_true(take(&first));
	assert_false(take(&a));
	leave(&first);
	assert_int_equal(a.granted, 1);
	leave(&a);
}

/* Who only waits until others are gone, narrow and wide, with one of each before it and behind it. */
static void test_passive(void **state)
{
	const uint64_t lengths[] = {4096, MIB(16)};

	(void)state;
	for (unsigned int i = 0; i < 8; i++) {
		struct one before = range(0, lengths[i & 1], true);
		struct one waits = range(0, lengths[i >> 1 & 1], false);
		struct one reader = range(0, lengths[i & 1], false);
		struct one behind = range(1024, lengths[i >> 2 & 1], true);

		waits.node.passive = true;
		assert_true(take(&before));
		assert_false(take(&waits));
		assert_false(take(&behind));
		leave(&before);
		assert_int_equal(waits.granted, 1);
		assert_int_equal(behind.granted, 1);
		leave(&behind);
		leave(&waits);
		assert_int_equal(behind.granted, 1);

		assert_true(take(&reader));
		assert_true(take(&waits));
		leave(&reader);
		assert_true(take(&behind));
		leave(&waits);
		leave(&behind);
		assert_int_equal(behind.granted, 1);
	}
}

static void test_cover(void **state)
{
	struct interlock_part parts[3];
	unsigned int nr = 0;

	(void)state;
	nr = interlock_cover(parts, nr, 3, (struct interlock_part){100, 200});
	nr = interlock_cover(parts, nr, 3, (struct interlock_part){200, 300}); /* touches */
	nr = interlock_cover(parts, nr, 3, (struct interlock_part){150, 160}); /* within */
	assert_int_equal(nr, 1);
	assert_int_equal(parts[0].offset, 100);
	assert_int_equal(parts[0].end, 300);
	nr = interlock_cover(parts, nr, 3, (struct interlock_part){1000, 1100});
	nr = interlock_cover(parts, nr, 3, (struct interlock_part){0, 99});
	assert_int_equal(nr, 3);
	/* No room: the next one, whichever side it lies. */
	nr = interlock_cover(parts, nr, 3, (struct interlock_part){900, 910});
	nr = interlock_cover(parts, nr, 3, (struct interlock_part){400, 410});
	assert_int_equal(nr, 3);
	assert_int_equal(parts[1].offset, 900);
	assert_int_equal(parts[1].end, 1100);
	assert_int_equal(parts[0].offset, 100);
	assert_int_equal(parts[0].end, 410);
	assert_int_equal(parts[2].offset, 0);
	assert_int_equal(parts[2].end, 99);
	assert_int_equal(
		interlock_cover(parts, 1, 1, (struct interlock_part){UINT64_MAX - 1, UINT64_MAX}),
		1);
	assert_int_equal(parts[0].end, UINT64_MAX);
}

static void test_cancel(void **state)
{
	struct one a = range(0, 4096, true), b = range(0, 4096, true), c = range(0, 4096, true);
	struct one wide = range(0, GIB(1), true), d = range(0, 512, true);

	(void)state;
	assert_true(take(&a));
	assert_false(take(&b));
	assert_false(take(&c));
	assert_true(interlock_cancel(il, &b.node));
	leave(&a);
	assert_int_equal(b.granted, 0);
	assert_int_equal(c.granted, 1);
	/* Too late: it has the range. */
	assert_false(interlock_cancel(il, &c.node));
	assert_false(take(&wide));
	assert_false(take(&d));
	assert_true(interlock_cancel(il, &wide.node));
	assert_int_equal(d.granted, 0);
	leave(&c);
	assert_int_equal(d.granted, 1);
	leave(&d);
}

/* ---- many threads ----------------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS	20000
#define CELLS	512 /* of half a granule */
#define CELL	(INTERLOCK_GRANULE_BYTES / 2)

static _Atomic int cells[CELLS]; /* readers, or -1 */

struct worker {
	pthread_t thread;
	unsigned int seed;
	struct one one;
	sem_t sem;
	unsigned long waited, cancelled;
	bool bad;
};

static void wake(struct interlock_node *node)
{
	struct one *one = container_of(node, struct one, node);

	(void)sem_post(&container_of(one, struct worker, one)->sem);
}

static void check_cells(struct worker *w, unsigned int from, unsigned int n, bool exclusive)
{
	for (unsigned int i = from; i < from + n; i++) {
		int was =
			exclusive ? atomic_exchange(&cells[i], -1) : atomic_fetch_add(&cells[i], 1);

		w->bad |= exclusive ? was != 0 : was < 0;
	}
	(void)sched_yield();
	for (unsigned int i = from; i < from + n; i++) {
		int was =
			exclusive ? atomic_exchange(&cells[i], 0) : atomic_fetch_sub(&cells[i], 1);

		w->bad |= exclusive ? was != -1 : was < 1;
	}
}

/* One that is given up by whoever grants it, and is no more: as a place behind the commands that are there. */
static _Atomic long passing;

static void pass(struct interlock_node *node)
{
	interlock_unlock(il, node);
	free(container_of(node, struct one, node));
	atomic_fetch_sub(&passing, 1);
}

static void pass_through(uint64_t from, uint64_t n)
{
	struct one *one = malloc(sizeof(*one));

	if (!one)
		return;
	*one = range(from * CELL, n * CELL, false);
	one->node.passive = true;
	one->node.granted = pass;
	atomic_fetch_add(&passing, 1);
	if (interlock_lock(il, &one->node))
		pass(&one->node);
}

static void *work(void *arg)
{
	struct interlock_part parts[2];
	struct worker *w = arg;

	for (int i = 0; i < ROUNDS && !w->bad; i++) {
		bool exclusive = rand_r(&w->seed) % 3 == 0;
		unsigned int n = 1 + (unsigned int)rand_r(&w->seed) % 8;
		unsigned int from;

		if (rand_r(&w->seed) % 64 == 0)
			n = 40; /* wide */
		from = (unsigned int)rand_r(&w->seed) % (CELLS - n);
		if (rand_r(&w->seed) % 8 == 0)
			pass_through(from, n);
		w->one = range(from * CELL, n * CELL, exclusive);
		w->one.node.granted = wake;
		if (rand_r(&w->seed) % 64 == 0) {
			/* Two parts, of which the second is not looked at: wherever the threads are. */
			parts[0] = (struct interlock_part){w->one.node.offset, w->one.node.end};
			parts[1].offset = (unsigned int)rand_r(&w->seed) % CELLS * CELL;
			parts[1].end = parts[1].offset + CELL;
			w->one.node.offset = min_u64(parts[0].offset, parts[1].offset);
			w->one.node.end = max_u64(parts[0].end, parts[1].end);
			w->one.node.parts = parts;
			w->one.node.nr_parts = 2;
		}
		if (!interlock_lock(il, &w->one.node)) {
			w->waited++;
			if (rand_r(&w->seed) % 4 == 0 && interlock_cancel(il, &w->one.node)) {
				w->cancelled++;
				continue;
			}
			(void)sem_wait(&w->sem);
		}
		check_cells(w, from, n, exclusive);
		interlock_unlock(il, &w->one.node);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct worker *workers = calloc(THREADS, sizeof(*workers));
	unsigned long waited = 0;

	(void)state;
	assert_non_null(workers);
	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i].seed = i + 1;
		(void)sem_init(&workers[i].sem, 0, 0);
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_false(workers[i].bad);
		waited += workers[i].waited;
	}
	assert_int_equal(passing, 0);
	assert_true(waited > 0);
	print_message("%lu of %d had to wait\n", waited, THREADS * ROUNDS);
	free(workers);
}

/* What a command pays that nobody is in the way of. */
static void test_cost(void **state)
{
	struct one one = range(0, 4096, false);
	uint64_t start = now_ns();

	(void)state;
	for (unsigned int i = 0; i < 1000000; i++) {
		one.node.offset = (uint64_t)i * 4096;
		one.node.end = one.node.offset + 4096;
		if (!take(&one))
			fail();
		leave(&one);
	}
	print_message("%llu ns a lock and unlock\n",
		      (unsigned long long)((now_ns() - start) / 1000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_disjoint, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readers_share, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wide, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_passive, setup, teardown),
		cmocka_unit_test(test_cover),
		cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cost, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
