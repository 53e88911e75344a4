// SPDX-License-Identifier: BSD-3-Clause
/* For how long the library polls, against targets that answer in different times. */
#include "libleasehold/spin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

struct target {
	uint64_t polled_ns; /* until the answer, while the client polls */
	uint64_t slept_ns;  /* the same when it has gone to sleep */
};

/* One wait; returns for how long it polled. */
static uint64_t wait_once(struct spin *spin, const struct target *t)
{
	uint64_t limit = spin_begin(spin);

	if (t->polled_ns <= limit) {
		spin_end(spin, t->polled_ns);
		return t->polled_ns;
	}
	spin_end(spin, t->slept_ns > limit ? t->slept_ns : limit);
	return limit;
}

static uint64_t polled(struct spin *spin, const struct target *t, unsigned int waits)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < waits; i++)
		sum += wait_once(spin, t);
	return sum;
}

static const struct target prompt = {.polled_ns = 9000, .slept_ns = 50000};
/* As an emulated machine has it: a sleep says nothing of what polling would have met. */
static const struct target sleepy = {.polled_ns = 100000, .slept_ns = 260000};
static const struct target slow = {.polled_ns = 5000000, .slept_ns = 5000000};

/* After a time of slow answers a prompt target is polled for again, whatever a sleep takes. */
static void test_recovers(void **state)
{
	static const struct target *const targets[] = {&prompt, &sleepy};

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		struct spin spin;

		spin_init(&spin);
		(void)polled(&spin, &slow, 100);
		assert_in_range(spin.ns, SPIN_MIN_NS, 2 * SPIN_MIN_NS);
		(void)polled(&spin, targets[i], SPIN_PROBE_ONE);
		assert_in_range(spin.ns, targets[i]->polled_ns, SPIN_MAX_NS);
		assert_int_equal(polled(&spin, targets[i], 100), 100 * targets[i]->polled_ns);
	}
}

/* Where polling never meets an answer, next to nothing is spent on it. */
static void test_gives_up(void **state)
{
	struct spin spin;
	uint64_t all;

	(void)state;
	spin_init(&spin);
	(void)polled(&spin, &slow, SPIN_PROBE_ONE);
	all = polled(&spin, &slow, 100 * SPIN_PROBE_ONE);
	assert_true(all <= 100 * (SPIN_MAX_NS + (SPIN_PROBE_ONE - 1) * 2 * SPIN_MIN_NS));
}

/* A few hiccups do not end it. */
static void test_hiccups(void **state)
{
	struct spin spin;

	(void)state;
	spin_init(&spin);
	(void)polled(&spin, &prompt, 100);
	(void)polled(&spin, &slow, 1);
	assert_int_equal(polled(&spin, &prompt, 100), 100 * prompt.polled_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recovers),
		cmocka_unit_test(test_gives_up),
		cmocka_unit_test(test_hiccups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
