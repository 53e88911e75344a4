// SPDX-License-Identifier: BSD-3-Clause
/*
 * Ranges that landlords want while workers have no time: what comes first, and what is made of several at
 * once. With the real rooms below.
 */
#include "grant_rig.h"

#define WORKERS 2 /* of the rig */

static struct rig rig;

static void up(const struct rig_options *options)
{
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	rig_up(&rig, options);
}

/* ---- landlords, and works of others ------------------------------------------------------------ */

struct wanted {
	struct holding_range range;
	sem_t proven, ended;
};

static void on_proven(struct holding_range *r)
{
	(void)sem_post(&container_of(r, struct wanted, range)->proven);
}

static void on_ended(struct holding_range *r)
{
	(void)sem_post(&container_of(r, struct wanted, range)->ended);
}

static void want_there(void *arg)
{
	holding_recall_range(rig.h, &((struct wanted *)arg)->range);
}

static void want(struct wanted *w, uint64_t offset, uint64_t length)
{
	memset(w, 0, sizeof(*w));
	(void)sem_init(&w->proven, 0, 0);
	(void)sem_init(&w->ended, 0, 0);
	w->range.offset = offset;
	w->range.length = length;
	w->range.done = on_proven;
	w->range.ended = on_ended;
	rig_call(&rig, want_there, w);
}

static void end_there(void *arg)
{
	holding_recall_end(&((struct wanted *)arg)->range);
}

static void give(struct wanted *w)
{
	rig_call(&rig, end_there, w);
	rig_wait_sem(&w->ended);
}

struct look {
	uint64_t offset;
	bool served;
};

static void look_there(void *arg)
{
	struct look *l = arg;

	l->served = region_find(rig.serving->regions[0], l->offset) != NULL &&
		    view_backed(rig.serving->view, l->offset, 1);
}

static bool is_served(uint64_t offset)
{
	struct look l = {.offset = offset};

	rig_call(&rig, look_there, &l);
	return l.served;
}

struct stall {
	struct work work;
	sem_t over;
};

static void stall(struct work *work)
{
	(void)sem_wait(&container_of(work, struct stall, work)->over);
}

/* ---- tests ------------------------------------------------------------------------------------- */

static bool watching;
static uint64_t looked_at[2][2]; /* from, to */
static atomic_uint looks;

int __real_view_again(const struct view *old, uint64_t offset, uint64_t length,
		      const atomic_bool *stop, struct view **view, struct errtext *err);
int __wrap_view_again(const struct view *old, uint64_t offset, uint64_t length,
		      const atomic_bool *stop, struct view **view, struct errtext *err);

int __wrap_view_again(const struct view *old, uint64_t offset, uint64_t length,
		      const atomic_bool *stop, struct view **view, struct errtext *err)
{
	unsigned int n = watching ? atomic_fetch_add(&looks, 1) : 2;

	if (n < 2) {
		looked_at[n][0] = offset;
		looked_at[n][1] = offset + length;
	}
	return __real_view_again(old, offset, length, stop, view, err);
}

static void end_both(void *arg)
{
	struct wanted *w = arg;

	holding_recall_end(&w[0].range);
	holding_recall_end(&w[2].range);
}

/* Two come back at once, and what lies between them is a landlord's still: nothing is done there. */
static void test_between(void **state)
{
	struct stall busy[WORKERS];
	struct wanted w[3], other;

	(void)state;
	up(&rig_defaults);
	for (unsigned int i = 0; i < 3; i++) {
		want(&w[i], MIB(2 + 2 * i), MIB(1));
		rig_wait_sem(&w[i].proven);
	}
	/* Something else is being made when both come to their end. */
	for (unsigned int i = 0; i < WORKERS; i++) {
		(void)sem_init(&busy[i].over, 0, 0);
		pool_submit(rig.env.workers, &busy[i].work, POOL_URGENT, stall, NULL, NULL);
	}
	want(&other, MIB(10), MIB(1));
	atomic_store(&looks, 0);
	watching = true;
	rig_call(&rig, end_both, w);
	for (unsigned int i = 0; i < WORKERS; i++)
		(void)sem_post(&busy[i].over);
	rig_wait_sem(&w[0].ended);
	rig_wait_sem(&w[2].ended);
	watching = false;
	assert_int_equal(atomic_load(&looks), 2);
	for (unsigned int i = 0; i < 2; i++)
		assert_true(looked_at[i][1] <= MIB(4) || looked_at[i][0] >= MIB(5));
	assert_true(is_served(MIB(2)));
	assert_false(is_served(MIB(4)));
	assert_true(is_served(MIB(6)));
	give(&w[1]);
	give(&other);
	rig_down(&rig);
	for (unsigned int i = 0; i < WORKERS; i++)
		(void)sem_destroy(&busy[i].over);
}

/* Workers have much to do for others: a landlord's view is the next thing that one does. */
static void test_busy_workers(void **state)
{
	struct stall busy[2 * WORKERS];
	struct wanted w;

	(void)state;
	up(&rig_defaults);
	for (unsigned int i = 0; i < ARRAY_SIZE(busy); i++) {
		(void)sem_init(&busy[i].over, 0, 0);
		pool_submit(rig.env.workers, &busy[i].work, POOL_NORMAL, stall, NULL, NULL);
	}
	want(&w, 0, MIB(1));
	(void)sem_post(&busy[0].over);
	rig_wait_sem(&w.proven);
	assert_false(is_served(0));
	for (unsigned int i = 1; i < ARRAY_SIZE(busy); i++)
		(void)sem_post(&busy[i].over);
	give(&w);
	rig_down(&rig);
	for (unsigned int i = 0; i < ARRAY_SIZE(busy); i++)
		(void)sem_destroy(&busy[i].over);
}

/* They have none for it before the deadline: block work that can end is not cut off for that. */
static void test_late(void **state)
{
	struct rig_options options = rig_defaults;
	struct stall busy[WORKERS];
	struct wanted w;

	(void)state;
	options.deadline_ms = 2000;
	up(&options);
	atomic_store(&rig.hold_drain, true);
	for (unsigned int i = 0; i < WORKERS; i++) {
		(void)sem_init(&busy[i].over, 0, 0);
		pool_submit(rig.env.workers, &busy[i].work, POOL_URGENT, stall, NULL, NULL);
	}
	want(&w, 0, MIB(1));
	(void)usleep((options.deadline_ms + 20) * 1000);
	for (unsigned int i = 0; i < WORKERS; i++)
		(void)sem_post(&busy[i].over);
	while (atomic_load(&rig.drains) == 0)
		(void)usleep(1000);
	rig_release_quiesce(&rig);
	rig_wait_sem(&w.proven);
	assert_false(is_served(0));
	assert_int_equal(atomic_load(&rig.range_fences), 0);
	atomic_store(&rig.hold_drain, false);
	give(&w);
	rig_down(&rig);
	for (unsigned int i = 0; i < WORKERS; i++)
		(void)sem_destroy(&busy[i].over);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_between),
		leaks_test(test_busy_workers),
		leaks_test(test_late),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run_group);
}
