// SPDX-License-Identifier: BSD-3-Clause
/* Range → key: found, split at boundaries, gaps, access, removal. */
#include "leaks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libleasehold/grant_map.h"

#define R 1u
#define W 2u

static void add(struct grant_map *m, uint64_t offset, uint64_t length, uint32_t rkey,
		uint32_t access)
{
	const struct grant_piece p = {.offset = offset,
				      .length = length,
				      .address = 0x100000 + offset,
				      .rkey = rkey,
				      .access = access};

	assert_int_equal(grant_map_add(m, &p), 0);
}

static uint32_t key_at(struct grant_map *m, uint64_t offset, uint32_t access)
{
	const struct grant_piece *p = grant_map_find(m, offset, access);

	return p ? p->rkey : 0;
}

static void test_find(void **state)
{
	struct grant_map m = {0};

	(void)state;
	assert_null(grant_map_find(&m, 0, R));
	add(&m, 8192, 4096, 2, R | W);
	add(&m, 0, 4096, 1, R);
	add(&m, 12288, 4096, 3, R | W);
	assert_int_equal(key_at(&m, 0, R), 1);
	assert_int_equal(key_at(&m, 4095, R), 1);
	assert_int_equal(key_at(&m, 4096, R), 0);
	assert_int_equal(key_at(&m, 8191, R), 0);
	assert_int_equal(key_at(&m, 8192, R), 2);
	assert_int_equal(key_at(&m, 12287, R | W), 2);
	assert_int_equal(key_at(&m, 12288, W), 3);
	assert_int_equal(key_at(&m, 16384, R), 0);
	assert_int_equal(key_at(&m, UINT64_MAX, R), 0);
	assert_int_equal(key_at(&m, 0, W), 0);
	assert_int_equal(key_at(&m, 0, 0), 1);
	grant_map_fini(&m);
}

static void test_refused(void **state)
{
	static const struct grant_piece bad[] = {
		{.offset = 0, .length = 0},	  {.offset = UINT64_MAX, .length = 4096},
		{.offset = 4096, .length = 8192}, {.offset = 8191, .length = 1},
		{.offset = 4096, .length = 1},	  {.offset = 0, .length = UINT64_MAX},
		{.offset = 0, .length = 4097},
	};
	struct grant_map m = {0};

	(void)state;
	add(&m, 4096, 4096, 1, R);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(grant_map_add(&m, &bad[i]), -EINVAL);
	assert_int_equal(m.count, 1);
	add(&m, 0, 4096, 2, R);
	add(&m, 8192, 1, 3, R);
	grant_map_fini(&m);
}

static void test_covers(void **state)
{
	struct grant_map m = {0};

	(void)state;
	assert_true(grant_map_covers(&m, 0, 0, R));
	assert_false(grant_map_covers(&m, 0, 1, R));
	add(&m, 0, 4096, 1, R | W);
	add(&m, 4096, 4096, 2, R);
	add(&m, 12288, 4096, 3, R | W);
	assert_true(grant_map_covers(&m, 1, 8191, R));
	assert_false(grant_map_covers(&m, 1, 8191, W));
	assert_false(grant_map_covers(&m, 1, 8192, R));
	assert_false(grant_map_covers(&m, 8191, 8192, R));
	assert_true(grant_map_covers(&m, 12288, 4096, W));
	assert_false(grant_map_covers(&m, 12288, 4097, W));
	assert_false(grant_map_covers(&m, 0, UINT64_MAX, R));
	grant_map_fini(&m);
}

static void gap_is(struct grant_map *m, uint64_t offset, uint64_t end, uint32_t access,
		   uint64_t want_offset, uint64_t want_length)
{
	uint64_t gap, length;

	assert_true(grant_map_gap(m, offset, end, access, &gap, &length));
	assert_int_equal(gap, want_offset);
	assert_int_equal(length, want_length);
}

static void test_gaps(void **state)
{
	struct grant_map m = {0};
	uint64_t gap, length;

	(void)state;
	gap_is(&m, 0, 100, R, 0, 100);
	assert_false(grant_map_gap(&m, 5, 5, R, &gap, &length));
	add(&m, 0, 4096, 1, R | W);
	add(&m, 8192, 4096, 2, R);
	gap_is(&m, 0, 65536, R, 4096, 4096);
	gap_is(&m, 4096, 65536, R, 4096, 4096);
	gap_is(&m, 5000, 6000, R, 5000, 1000);
	gap_is(&m, 8192, 65536, R, 12288, 53248);
	gap_is(&m, 8192, 65536, W, 8192, 4096);
	assert_false(grant_map_gap(&m, 0, 4096, R | W, &gap, &length));
	assert_false(grant_map_gap(&m, 100, 200, R | W, &gap, &length));
	grant_map_fini(&m);
}

static void test_bytes_and_removal(void **state)
{
	struct grant_map m = {0};
	size_t pieces;

	(void)state;
	add(&m, 0, 4096, 1, R);
	add(&m, 8192, 4096, 2, R);
	add(&m, 12288, 4096, 3, R);
	assert_int_equal(grant_map_bytes(&m, 0, UINT64_MAX, &pieces), 12288);
	assert_int_equal(pieces, 3);
	assert_int_equal(grant_map_bytes(&m, 4000, 8292, &pieces), 196);
	assert_int_equal(pieces, 2);
	assert_int_equal(grant_map_bytes(&m, 4096, 8192, &pieces), 0);
	assert_int_equal(key_at(&m, 12288, R), 3); /* the remembered hit must not outlive it */
	grant_map_remove(&m, 2);
	assert_int_equal(key_at(&m, 12288, R), 0);
	grant_map_remove(&m, 0);
	assert_int_equal(key_at(&m, 0, R), 0);
	assert_int_equal(key_at(&m, 8192, R), 2);
	grant_map_clear(&m);
	assert_int_equal(key_at(&m, 8192, R), 0);
	grant_map_fini(&m);
}

static void test_many(void **state)
{
	enum {
		N = 1000
	};
	struct grant_map m = {0};

	(void)state;
	/* 7 is prime to N: every index once, out of order. */
	for (uint64_t i = 0; i < N; i++)
		add(&m, i * 7 % N * 4096, 4096, (uint32_t)(i * 7 % N + 1), R);
	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(key_at(&m, i * 4096 + i, R), i + 1);
	assert_true(grant_map_covers(&m, 0, N * 4096, R));
	grant_map_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_covers),
		cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_bytes_and_removal),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
