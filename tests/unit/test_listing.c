// SPDX-License-Identifier: BSD-3-Clause
/* Who holds what: the order, the going on behind a place, the states. With the real rooms below. */
#include "grant_rig.h"

#include "iwarp/iwarp.h"

#define RW   (LH_GRANT_READ | LH_GRANT_WRITE)
#define ROWS 32

static struct rig rig;
static struct rig_client one, two;

static void up(const struct rig_options *options)
{
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	rig_up(&rig, options);
	rig_client_up(&rig, &one);
	rig_client_up(&rig, &two);
}

static void down(void)
{
	rig_client_down(&one);
	rig_client_down(&two);
	assert_int_equal(rig_status(&rig).grants, 0);
	rig_down(&rig);
}

static uint16_t status_of(struct rig_client *c, uint64_t offset, uint64_t length)
{
	return rig_acquire(c, offset, length, LH_GRANT_READ).status;
}

struct rows {
	uint64_t after_offset, after_serial;
	unsigned int most, count;
	struct grant_status row[ROWS];
};

static bool add_row(const struct grant_status *status, void *arg)
{
	struct rows *rows = arg;

	if (rows->count == rows->most)
		return false;
	rows->row[rows->count++] = *status;
	return true;
}

static void list_there(void *arg)
{
	struct rows *rows = arg;

	holding_each_grant(rig.h, rows->after_offset, rows->after_serial, add_row, rows);
}

static struct rows listing(void)
{
	struct rows rows = {.most = ROWS};

	rig_call(&rig, list_there, &rows);
	return rows;
}

static void test_order(void **state)
{
	struct rig_options options = rig_defaults;
	struct rows rows, rest;

	(void)state;
	options.expiry_ms = 60000;
	up(&options);
	assert_int_equal(listing().count, 0);
	assert_int_equal(status_of(&two, MIB(2), KIB(8)), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&one, MIB(1), MIB(4)), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&two, MIB(1), KIB(4)), NVME_SC_SUCCESS);
	assert_int_equal(rig_acquire(&two, 0, KIB(4), RW).status, NVME_SC_SUCCESS);
	rows = listing();
	/* By offset; those of one offset as they came. */
	assert_int_equal(rows.count, 4);
	assert_int_equal(rows.row[0].offset, 0);
	assert_int_equal(rows.row[0].access, RW);
	assert_int_equal(rows.row[1].offset, MIB(1));
	assert_int_equal(rows.row[1].length, MIB(4));
	assert_int_equal(rows.row[1].access, LH_GRANT_READ);
	assert_int_equal(rows.row[1].cntlid, 1);
	assert_int_equal(rows.row[2].offset, MIB(1));
	assert_int_equal(rows.row[2].cntlid, 2);
	assert_int_equal(rows.row[3].offset, MIB(2));
	for (unsigned int i = 0; i < rows.count; i++) {
		const struct grant_status *s = &rows.row[i];

		assert_string_equal(s->host, "nqn.client");
		assert_int_equal(s->generation, 1);
		assert_string_equal(s->state, "granted");
		assert_int_equal(s->durability, export_durability(holding_export(rig.h)));
		assert_int_equal(s->rung, rig_status(&rig).probes[0].rung);
		assert_true(s->expires);
		assert_in_range(s->left_ns, 1, 60 * NS_PER_S);
		assert_in_range(s->age_ns, 1, 60 * NS_PER_S);
	}
	/* Piece by piece it is the same, also if what one goes on behind has gone meanwhile. */
	for (unsigned int i = 0; i < rows.count; i++) {
		rest = (struct rows){.most = 1,
				     .after_offset = i ? rows.row[i - 1].offset : 0,
				     .after_serial = i ? rows.row[i - 1].serial : 0};
		rig_call(&rig, list_there, &rest);
		assert_int_equal(rest.count, 1);
		assert_int_equal(rest.row[0].id, rows.row[i].id);
		if (i == 1)
			assert_int_equal(rig_release(&one, MIB(1), MIB(4), 1), NVME_SC_SUCCESS);
	}
	assert_int_equal(listing().count, 3);
	down();
}

static const char *state_at(uint64_t offset)
{
	static struct rows rows;

	rows = listing();
	for (unsigned int i = 0; i < rows.count; i++) {
		if (rows.row[i].offset == offset)
			return rows.row[i].state;
	}
	return "none";
}

static void wait_state(uint64_t offset, const char *state)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;

	while (strcmp(state_at(offset), state) != 0 && now_ns() < end)
		(void)usleep(1000);
	assert_string_equal(state_at(offset), state);
}

static void reclaimed(void *arg, int err, const char *why)
{
	(void)arg;
	(void)err;
	(void)why;
}

static void reclaim_there(void *arg)
{
	holding_reclaim(rig.h, arg, reclaimed, NULL);
}

static void test_recalls(void **state)
{
	struct holding_reclaim part = {.offset = MIB(1) + KIB(8), .length = KIB(4)};
	struct rig_options options = rig_defaults;
	struct rig_landlord landlord;

	(void)state;
	options.deadline_ms = 10000;
	up(&options);
	atomic_store(&one.answers, false);
	assert_int_equal(status_of(&one, MIB(1), KIB(16)), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&one, MIB(2), KIB(4)), NVME_SC_SUCCESS);
	/* A part: only who is in its way. */
	rig_call(&rig, reclaim_there, &part);
	assert_string_equal(state_at(MIB(1)), "recalling");
	assert_string_equal(state_at(MIB(2)), "granted");
	assert_int_equal(rig_release(&one, MIB(1), KIB(16), 1), NVME_SC_SUCCESS);
	assert_string_equal(state_at(MIB(1)), "none");
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	wait_state(MIB(2), "recalling");
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	(void)rig_landlord_join(&landlord);
	assert_int_equal(listing().count, 0);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_order),
		leaks_test(test_recalls),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run_group);
}
