// SPDX-License-Identifier: BSD-3-Clause
/* Copies of unconfirmed writes: in order, cut where they are confirmed or written over; against a model. */
#include "leaks.h"

#include <stdlib.h>
#include <string.h>

#include "libleasehold/replay.h"

#define PAGE	 WRITE_LOG_PAGE
#define PAGES	 16u
#define BYTES	 (PAGES * PAGE)
#define STEPS	 3000
#define KEEP_MAX 9000u

static void keep(struct replay *r, uint64_t offset, uint64_t length, uint8_t fill)
{
	uint8_t *data = malloc(length);

	assert_non_null(data);
	memset(data, fill, length);
	assert_int_equal(replay_keep(r, offset, data, length), 0);
	free(data);
}

/* What would be written again, over `file`. */
static void replay(struct replay *r, uint8_t *file)
{
	struct replay_write *w;

	while ((w = replay_pop(r))) {
		assert_true(replay_out(r, w->offset, 1));
		memcpy(file + w->offset, w->data, w->length);
		replay_put(r);
		assert_false(replay_out(r, 0, UINT64_MAX));
	}
	assert_int_equal(r->bytes, 0);
}

static void test_order(void **state)
{
	uint8_t *file = calloc(1, BYTES);
	struct replay r;

	(void)state;
	replay_init(&r, true, BYTES);
	keep(&r, 0, 100, 1);
	keep(&r, 50, 100, 2);
	assert_int_equal(r.bytes, 200);
	replay(&r, file);
	assert_int_equal(file[49], 1);
	assert_int_equal(file[50], 2);
	assert_int_equal(file[149], 2);
	assert_int_equal(file[150], 0);
	replay_fini(&r);
	free(file);
}

/* Confirmed up to a write: of what came later all is kept. */
static void test_confirmed(void **state)
{
	struct write_range range = {PAGE, PAGE}, lost;
	uint8_t *file = calloc(1, BYTES);
	struct replay r;
	uint64_t number;

	(void)state;
	replay_init(&r, true, BYTES);
	keep(&r, 0, 3 * PAGE, 1);
	number = r.number;
	keep(&r, PAGE + 10, 10, 2);
	assert_int_equal(replay_confirmed(&r, &range, 1, number, &lost), 0);
	assert_int_equal(r.bytes, 2 * PAGE + 10);
	replay(&r, file);
	assert_int_equal(file[PAGE - 1], 1);
	assert_int_equal(file[PAGE], 0);
	assert_int_equal(file[PAGE + 10], 2);
	assert_int_equal(file[2 * PAGE - 1], 0);
	assert_int_equal(file[2 * PAGE], 1);
	replay_fini(&r);
	free(file);
}

static uint64_t pick(unsigned int *seed, uint64_t below)
{
	return (uint64_t)rand_r(seed) % below;
}

/* A byte is as it was written last, unless that was confirmed or written over: then nothing is made again. */
static void test_model(void **state)
{
	static uint8_t model[BYTES], file[BYTES];
	static uint64_t made[BYTES]; /* number of the write, 0: none to be made again */
	unsigned int seed = 7;
	struct replay r;

	(void)state;
	replay_init(&r, true, UINT64_MAX);
	for (int step = 0; step < STEPS; step++) {
		uint64_t offset = pick(&seed, BYTES), length = pick(&seed, KEEP_MAX) + 1;
		struct write_range ranges[4], lost;
		size_t count = 0;
		uint64_t number;

		length = min_u64(length, BYTES - offset);
		switch (pick(&seed, 4)) {
		case 0:
		case 1:
			keep(&r, offset, length, (uint8_t)(step | 1));
			memset(model + offset, step | 1, length);
			for (uint64_t i = offset; i < offset + length; i++)
				made[i] = r.number;
			break;
		case 2:
			assert_int_equal(replay_overwritten(&r, offset, length, &lost), 0);
			memset(model + offset, 0, length);
			memset(made + offset, 0, length * sizeof(made[0]));
			break;
		default:
			/* Some writes back; every page of a range is confirmed whole. */
			number = r.number - min_u64(r.number, pick(&seed, 3));
			for (uint64_t page = 0; page < PAGES && count < ARRAY_SIZE(ranges);
			     page += 2)
				if (pick(&seed, 2))
					ranges[count++] = (struct write_range){page * PAGE, PAGE};
			assert_int_equal(replay_confirmed(&r, ranges, count, number, &lost), 0);
			for (size_t n = 0; n < count; n++)
				for (uint64_t i = 0; i < PAGE; i++)
					if (made[ranges[n].offset + i] <= number) {
						made[ranges[n].offset + i] = 0;
						model[ranges[n].offset + i] = 0;
					}
			break;
		}
		if (step % 100 != 99)
			continue;
		memset(file, 0, sizeof(file));
		replay(&r, file);
		assert_memory_equal(file, model, BYTES);
		memset(model, 0, sizeof(model));
		memset(made, 0, sizeof(made));
	}
	replay_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_order),
		leaks_test(test_confirmed),
		leaks_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
