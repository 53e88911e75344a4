// SPDX-License-Identifier: BSD-3-Clause
/* Unconfirmed and dead writes: ranges taken for commits, killed, forgiven; against a plain model. */
#include "leaks.h"

#include <stdlib.h>
#include <string.h>

#include "libleasehold/write_log.h"

#define PAGE WRITE_LOG_PAGE
#define TIB  (GIB(1024))

static void take_is(struct write_log *w, uint64_t offset, uint64_t length, size_t max,
		    const struct write_range *want, size_t count)
{
	struct write_range got[64];
	uint64_t next;

	assert_int_equal(write_log_take(w, offset, length, got, max, &next), count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(got[i].offset, want[i].offset);
		assert_int_equal(got[i].length, want[i].length);
	}
}

static void test_take(void **state)
{
	struct write_log w;

	(void)state;
	assert_int_equal(write_log_init(&w, 100 * PAGE + 10), 0);
	take_is(&w, 0, UINT64_MAX, 8, NULL, 0);
	write_log_write(&w, 5, 1);
	write_log_write(&w, PAGE - 1, 2); /* two pages, the first known */
	write_log_write(&w, 70 * PAGE, PAGE);
	write_log_write(&w, 100 * PAGE, 10); /* the tail */
	assert_int_equal(write_log_dirty_bytes(&w), 4 * PAGE);
	/* A part of the export, from the middle. */
	assert_true(write_log_dirty(&w, 71 * PAGE - 1, 2));
	assert_false(write_log_dirty(&w, 71 * PAGE, 29 * PAGE));
	take_is(&w, 60 * PAGE, 20 * PAGE, 8, (struct write_range[]){{70 * PAGE, PAGE}}, 1);
	assert_false(write_log_dirty(&w, 2 * PAGE, 98 * PAGE));
	assert_true(write_log_dirty(&w, 0, UINT64_MAX));
	take_is(&w, 60 * PAGE, 20 * PAGE, 8, NULL, 0);
	take_is(&w, 0, UINT64_MAX, 8, (struct write_range[]){{0, 2 * PAGE}, {100 * PAGE, 10}}, 2);
	take_is(&w, 0, UINT64_MAX, 8, NULL, 0);
	assert_int_equal(write_log_dirty_bytes(&w), 0);
	/* A write after the take is dirty again. */
	write_log_write(&w, 70 * PAGE, 1);
	take_is(&w, 0, UINT64_MAX, 8, (struct write_range[]){{70 * PAGE, PAGE}}, 1);
	write_log_fini(&w);
}

static void test_take_in_parts(void **state)
{
	struct write_range got[3];
	struct write_log w;
	uint64_t at = 0;
	size_t total = 0, n;

	(void)state;
	assert_int_equal(write_log_init(&w, 1000 * PAGE), 0);
	for (uint64_t p = 0; p < 1000; p += 2)
		write_log_write(&w, p * PAGE, PAGE);
	while ((n = write_log_take(&w, at, UINT64_MAX, got, 3, &at)) > 0) {
		for (size_t i = 0; i < n; i++)
			assert_int_equal(got[i].offset, (total + i) * 2 * PAGE);
		total += n;
	}
	assert_int_equal(total, 500);
	assert_int_equal(at, UINT64_MAX);
	write_log_fini(&w);
}

static void test_dead(void **state)
{
	struct write_range range;
	struct write_log w;

	(void)state;
	assert_int_equal(write_log_init(&w, 10 * PAGE + 100), 0);
	assert_false(write_log_dead(&w, 0, UINT64_MAX, &range));
	write_log_write(&w, 2 * PAGE, 3 * PAGE);
	assert_int_equal(write_log_kill_dirty(&w), 3 * PAGE);
	assert_int_equal(write_log_dirty_bytes(&w), 0);
	assert_false(write_log_dead(&w, 0, 2 * PAGE, &range));
	assert_true(write_log_dead(&w, 0, 2 * PAGE + 1, &range));
	assert_int_equal(range.offset, 2 * PAGE);
	assert_int_equal(range.length, PAGE); /* of what was asked about */
	assert_true(write_log_dead(&w, 0, UINT64_MAX, &range));
	assert_int_equal(range.length, 3 * PAGE);
	/* Written again in part: still dead, and dirty; whole: alive. */
	write_log_write(&w, 2 * PAGE + 1, PAGE - 1);
	assert_true(write_log_dead(&w, 2 * PAGE, 1, &range));
	write_log_write(&w, 2 * PAGE, PAGE);
	assert_false(write_log_dead(&w, 2 * PAGE, PAGE, &range));
	assert_true(write_log_dead(&w, 0, UINT64_MAX, &range));
	assert_int_equal(range.offset, 3 * PAGE);
	write_log_forget(&w, 3 * PAGE, 1);
	assert_true(write_log_dead(&w, 0, UINT64_MAX, &range));
	assert_int_equal(range.offset, 4 * PAGE);
	write_log_forget(&w, 0, UINT64_MAX);
	assert_false(write_log_dead(&w, 0, UINT64_MAX, &range));
	/* Written again by block commands. */
	write_log_kill(&w, 0, 3 * PAGE);
	write_log_revive(&w, 1, 3 * PAGE - 1);
	assert_true(write_log_dead(&w, 0, UINT64_MAX, &range));
	assert_int_equal(range.length, PAGE);
	write_log_revive(&w, 0, PAGE);
	assert_false(write_log_dead(&w, 0, UINT64_MAX, &range));
	assert_int_equal(write_log_dirty_bytes(&w), PAGE); /* of the writes above */
	/* A commit that failed, over the short last page. */
	write_log_kill(&w, 10 * PAGE, 100);
	assert_true(write_log_dead(&w, 10 * PAGE + 50, 1, &range));
	assert_int_equal(range.length, 100);
	/* To the end of the export is the whole of the last page. */
	write_log_write(&w, 10 * PAGE, 100);
	assert_false(write_log_dead(&w, 0, UINT64_MAX, &range));
	write_log_fini(&w);
}

static void test_resize(void **state)
{
	struct write_range range;
	struct write_log w;

	(void)state;
	assert_int_equal(write_log_init(&w, 64 * PAGE), 0);
	write_log_write(&w, 0, 64 * PAGE);
	write_log_kill(&w, 40 * PAGE, PAGE);
	assert_int_equal(write_log_resize(&w, 32 * PAGE), 0);
	assert_false(write_log_dead(&w, 0, UINT64_MAX, &range));
	assert_int_equal(write_log_dirty_bytes(&w), 32 * PAGE);
	/* Large, sparse: costs address space, not memory. What was gone stays gone. */
	assert_int_equal(write_log_resize(&w, TIB), 0);
	write_log_write(&w, TIB - 1, 1);
	take_is(&w, 0, UINT64_MAX, 8, (struct write_range[]){{0, 32 * PAGE}, {TIB - PAGE, PAGE}},
		2);
	assert_int_equal(write_log_resize(&w, 0), 0);
	take_is(&w, 0, UINT64_MAX, 8, NULL, 0);
	write_log_fini(&w);
}

/* Random operations beside two arrays of bools. */
static void test_model(void **state)
{
	enum {
		PAGES = 300
	};
	static bool dirty[PAGES], dead[PAGES];
	struct write_log w;

	(void)state;
	srandom(7);
	memset(dirty, 0, sizeof(dirty));
	memset(dead, 0, sizeof(dead));
	assert_int_equal(write_log_init(&w, PAGES * PAGE), 0);
	for (int step = 0; step < 20000; step++) {
		const uint64_t from = (uint64_t)random() % PAGES;
		const uint64_t count = (uint64_t)random() % 5 + 1;
		const uint64_t to = min_u64(from + count, PAGES);
		struct write_range got[4];
		uint64_t next, n = 0;
		size_t taken;

		switch (random() % 5) {
		case 0:
		case 1:
			write_log_write(&w, from * PAGE, (to - from) * PAGE);
			for (uint64_t p = from; p < to; p++) {
				dirty[p] = true;
				dead[p] = false;
			}
			break;
		case 2:
			taken = write_log_take(&w, from * PAGE, 50 * PAGE, got, 4, &next);
			for (size_t i = 0; i < taken; i++) {
				for (uint64_t p = got[i].offset / PAGE;
				     p < (got[i].offset + got[i].length) / PAGE; p++) {
					assert_true(dirty[p]);
					dirty[p] = false;
				}
			}
			/* Nothing dirty is skipped. */
			for (uint64_t p = from; p < min_u64(min_u64(from + 50, PAGES), next / PAGE);
			     p++)
				assert_false(dirty[p]);
			break;
		case 3:
			write_log_kill(&w, from * PAGE, (to - from) * PAGE);
			for (uint64_t p = from; p < to; p++)
				dead[p] = true;
			break;
		case 4:
			write_log_forget(&w, from * PAGE, (to - from) * PAGE);
			for (uint64_t p = from; p < to; p++)
				dead[p] = false;
			break;
		}
		for (uint64_t p = 0; p < PAGES; p++)
			n += dirty[p];
		assert_int_equal(w.dirty_pages, n);
		for (uint64_t p = 0; p < PAGES; p++) {
			struct write_range range;

			if (step % 100 == 0)
				assert_int_equal(write_log_dead(&w, p * PAGE, 1, &range), dead[p]);
		}
	}
	write_log_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take),  cmocka_unit_test(test_take_in_parts),
		cmocka_unit_test(test_dead),  cmocka_unit_test(test_resize),
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
