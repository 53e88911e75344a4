// SPDX-License-Identifier: BSD-3-Clause
/* Percentiles out of buckets, beside those of the sorted times. */
#include "cli/latency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MANY 20000

static int smaller_first(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Never less than the true one, and at most 1/32 more. */
static void check(const uint64_t *sorted, size_t n, const struct latency *l, double part)
{
	size_t i = (size_t)(part * (double)n + 0.999999);
	uint64_t truth = sorted[i ? i - 1 : 0], got = latency_at(l, part);

	assert_true(got >= truth);
	assert_true(got <= truth + truth / 32);
}

static void test_against_sorted(void **state)
{
	static uint64_t times[MANY];
	static const double parts[] = {0, .001, .5, .9, .99, .999, 1};
	struct latency l;
	uint64_t sum = 0, x = 88172645463325252ull;

	(void)state;
	memset(&l, 0, sizeof(l));
	for (size_t i = 0; i < MANY; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		/* All magnitudes from ns to minutes. */
		times[i] = x >> (28 + x % 36);
		sum += times[i];
		latency_add(&l, times[i]);
	}
	qsort(times, MANY, sizeof(times[0]), smaller_first);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		check(times, MANY, &l, parts[i]);
	assert_int_equal(latency_at(&l, 1), times[MANY - 1]);
	assert_int_equal(latency_mean(&l), sum / MANY);
	assert_int_equal(l.count, MANY);
}

static void test_ends(void **state)
{
	struct latency l;

	(void)state;
	memset(&l, 0, sizeof(l));
	assert_int_equal(latency_at(&l, .5), 0);
	assert_int_equal(latency_mean(&l), 0);
	latency_add(&l, 0);
	assert_int_equal(latency_at(&l, 1), 0);
	latency_add(&l, UINT64_MAX / 2);
	assert_int_equal(latency_at(&l, 1), UINT64_MAX / 2);
	assert_int_equal(latency_at(&l, .5), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_sorted),
		cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
