// SPDX-License-Identifier: BSD-3-Clause
/*
 * Slices that are registered while the export is served: it is served before them, they come, and whoever
 * wants the blocks back meanwhile waits for one of them at most. With the real rooms below; a file of many
 * pieces has many slices.
 */
#include "grant_rig.h"

#include <stdlib.h>

#define RW     (LH_GRANT_READ | LH_GRANT_WRITE)
#define PIECES 16
#define FIRST  4 /* are there when it is served */
#define PIECE  (RIG_BYTES / PIECES)
#define LAST   ((PIECES - 1) * PIECE)

static struct rig rig;
static struct rig_client one;

/* ---- registrations --------------------------------------------------------------------------- */

static atomic_int made;		      /* of block commands, … */
static atomic_int fail_from, hold_at; /* … the how manieth; 0: none */
static atomic_bool held;
static sem_t go_on;

int __real_fabric_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			 unsigned int access, struct fabric_mr **mr);
int __wrap_fabric_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			 unsigned int access, struct fabric_mr **mr);

int __wrap_fabric_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			 unsigned int access, struct fabric_mr **mr)
{
	int n;

	if (pd != rig.env.block_pds[0] || length != PIECE / 2)
		return __real_fabric_mr_reg(pd, addr, length, iova, access, mr);
	n = atomic_fetch_add(&made, 1) + 1;
	if (atomic_load(&fail_from) && n >= atomic_load(&fail_from)) {
		atomic_fetch_sub(&made, 1);
		return -ENOMEM;
	}
	if (n == atomic_load(&hold_at)) {
		atomic_store(&held, true);
		(void)sem_wait(&go_on);
	}
	return __real_fabric_mr_reg(pd, addr, length, iova, access, mr);
}

static void up(int fail, int hold)
{
	make_file("file", RIG_BYTES);
	for (uint64_t at = 0; at < RIG_BYTES; at += PIECE)
		fill_file("file", at, PIECE / 2);
	atomic_store(&made, 0);
	atomic_store(&fail_from, fail);
	atomic_store(&hold_at, hold);
	atomic_store(&held, false);
	(void)sem_init(&go_on, 0, 0);
	rig_up(&rig, &rig_defaults);
	rig_client_up(&rig, &one);
}

static void down(void)
{
	rig_client_down(&one);
	rig_down(&rig);
	(void)sem_destroy(&go_on);
}

static void wait_for_keys(unsigned int keys)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;

	while (rig_status(&rig).keys != keys && now_ns() < end)
		(void)usleep(1000);
	assert_int_equal(rig_status(&rig).keys, keys);
}

static void wait_held(void)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;

	while (!atomic_load(&held) && now_ns() < end)
		(void)usleep(1000);
	assert_true(atomic_load(&held));
}

/* ---- the tests ------------------------------------------------------------------------------- */

/* All is served before all is registered, and what could not be is tried again. */
static void test_served_before(void **state)
{
	struct grant_answer answer;
	uint8_t bytes[512];

	(void)state;
	up(FIRST + 2, 0);
	assert_int_equal(rig_status(&rig).state, HOLDING_SERVING);
	wait_for_keys(FIRST + 1);
	rig_read(&rig, LAST, bytes, sizeof(bytes));
	answer = rig_acquire(&one, LAST, PIECE / 2, RW);
	assert_int_equal(answer.status, 0);
	assert_int_equal(rig_status(&rig).grants, 1);
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 0), 0);
	wait_for_keys(FIRST + 1);
	atomic_store(&fail_from, 0);
	wait_for_keys(PIECES);
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(atomic_load(&rig.published), 1);
	down();
}

/* The landlord waits for the slice that is just being registered, and for no other. */
static void test_recall_amid(void **state)
{
	struct rig_landlord landlord;
	struct holding_status status;
	int at_most;

	(void)state;
	up(0, FIRST + 3);
	wait_held();
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	while (rig_status(&rig).state == HOLDING_SERVING)
		(void)usleep(1000);
	(void)usleep(20000);
	at_most = atomic_load(&made);
	assert_int_equal(at_most, FIRST + 3);
	assert_int_equal(landlord.ended_ns, 0);
	(void)sem_post(&go_on);
	(void)rig_landlord_join(&landlord);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(status.generation, 2);
	wait_for_keys(PIECES);
	assert_int_equal(atomic_load(&made), at_most + PIECES);
	down();
}

struct wanted {
	struct holding_range range;
	sem_t proven, ended;
	unsigned int slices; /* that a look at the proof found in the range */
};

static void on_proven(struct holding_range *r)
{
	struct wanted *w = container_of(r, struct wanted, range);

	for (uint64_t at = r->offset; at < r->end; at += PIECE / 2)
		w->slices += region_find(rig.serving->regions[0], at) != NULL;
	(void)sem_post(&w->proven);
}

static void on_ended(struct holding_range *r)
{
	(void)sem_post(&container_of(r, struct wanted, range)->ended);
}

static void want_there(void *arg)
{
	holding_recall_range(rig.h, &((struct wanted *)arg)->range);
}

static void give_there(void *arg)
{
	holding_recall_end(&((struct wanted *)arg)->range);
}

/* A range with the slice that is just being registered in it; the others come meanwhile, its own when it
 * is back. */
static void test_range_amid(void **state)
{
	struct wanted w = {.range = {.offset = (FIRST + 2) * PIECE,
				     .length = 2 * PIECE,
				     .done = on_proven,
				     .ended = on_ended}};

	(void)state;
	up(0, FIRST + 3);
	wait_held();
	(void)sem_init(&w.proven, 0, 0);
	(void)sem_init(&w.ended, 0, 0);
	rig_call(&rig, want_there, &w);
	(void)usleep(20000);
	assert_int_equal(sem_trywait(&w.proven), -1);
	(void)sem_post(&go_on);
	assert_int_equal(sem_wait(&w.proven), 0);
	assert_int_equal(w.slices, 0);
	wait_for_keys(PIECES - 2);
	rig_call(&rig, give_there, &w);
	assert_int_equal(sem_wait(&w.ended), 0);
	wait_for_keys(PIECES);
	assert_int_equal(rig_status(&rig).generation, 1);
	(void)sem_destroy(&w.proven);
	(void)sem_destroy(&w.ended);
	down();
}

static void *let_go(void *arg)
{
	(void)arg;
	(void)usleep(50000);
	(void)sem_post(&go_on);
	return NULL;
}

/* It ends, and no slice is begun after the one that was. */
static void test_stop_amid(void **state)
{
	pthread_t thread;

	(void)state;
	up(0, FIRST + 3);
	rig_client_down(&one);
	wait_held();
	assert_int_equal(pthread_create(&thread, NULL, let_go, NULL), 0);
	rig_down(&rig);
	(void)pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&made), FIRST + 3);
	(void)sem_destroy(&go_on);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_served_before),
		leaks_test(test_recall_amid),
		leaks_test(test_range_amid),
		leaks_test(test_stop_amid),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main_chosen(run_group);
}
