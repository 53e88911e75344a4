// SPDX-License-Identifier: BSD-3-Clause
/*
 * Slices within a budget: no more is registered than may be, what is used much gets its registration, from
 * what is not, in whichever export that lies, and whoever wants the blocks back does not wait for it. With
 * the real rooms below; a file of many pieces has many slices.
 */
#include "grant_rig.h"

#include <stdlib.h>

#define PIECES	16
#define PIECE	(RIG_BYTES / PIECES)
#define SLICE	(PIECE / 2) /* what of a piece is no hole */
#define BUDGET	6u	    /* slices */
#define TURN_MS 5

static struct rig rig;

/* ---- registrations --------------------------------------------------------------------------- */

static atomic_uint alive; /* of block commands, … */
static atomic_ulong alive_bytes;
static atomic_uint most; /* … the most there ever were */
static atomic_ulong most_bytes;

int __real_fabric_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			 unsigned int access, struct fabric_mr **mr);
int __wrap_fabric_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			 unsigned int access, struct fabric_mr **mr);
int __real_fabric_mr_dereg(struct fabric_mr *mr);
int __wrap_fabric_mr_dereg(struct fabric_mr *mr);

int __wrap_fabric_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			 unsigned int access, struct fabric_mr **mr)
{
	if (pd == rig.env.block_pds[0]) {
		unsigned int n = atomic_fetch_add(&alive, 1) + 1;
		unsigned long bytes = atomic_fetch_add(&alive_bytes, length) + length;

		/* One thread registers. */
		if (n > atomic_load(&most))
			atomic_store(&most, n);
		if (bytes > atomic_load(&most_bytes))
			atomic_store(&most_bytes, bytes);
	}
	return __real_fabric_mr_reg(pd, addr, length, iova, access, mr);
}

int __wrap_fabric_mr_dereg(struct fabric_mr *mr)
{
	if (mr->pd == rig.env.block_pds[0]) {
		atomic_fetch_sub(&alive, 1);
		atomic_fetch_sub(&alive_bytes, mr->length);
	}
	return __real_fabric_mr_dereg(mr);
}

static void make_pieces(const char *name)
{
	make_file(name, RIG_BYTES);
	for (uint64_t at = 0; at < RIG_BYTES; at += PIECE)
		fill_file(name, at, SLICE);
}

static void up(uint32_t registrations, uint64_t bytes)
{
	struct rig_options options = rig_defaults;

	make_pieces("file");
	atomic_store(&alive, 0);
	atomic_store(&alive_bytes, 0);
	atomic_store(&most, 0);
	atomic_store(&most_bytes, 0);
	options.cache = (struct cache_limits){
		.max_registrations = registrations,
		.max_bytes = bytes,
		.turn_ms = TURN_MS,
	};
	rig_up(&rig, &options);
}

static void down(void)
{
	rig_down(&rig);
	assert_int_equal(atomic_load(&alive), 0);
}

/* ---- commands -------------------------------------------------------------------------------- */

/* As a reactor does; true: it found a key. */
static bool use(const struct serving *s, unsigned int piece)
{
	const uint64_t at = (uint64_t)piece * PIECE;

	if (region_find(s->regions[0], at))
		return true;
	if (region_miss(s->regions[0], at))
		holding_miss(s->holding);
	return false;
}

static unsigned int registered(const struct serving *s)
{
	unsigned int mask = 0;

	for (unsigned int i = 0; i < PIECES; i++)
		mask |= (unsigned int)(region_find(s->regions[0], (uint64_t)i * PIECE) != NULL)
			<< i;
	return mask;
}

/* What it is when nobody moves it any more. */
static unsigned int settled(const struct serving *s)
{
	unsigned int mask = 0, same = 0;

	while (same < 20) {
		unsigned int before = mask;

		(void)usleep(TURN_MS * 1000);
		mask = registered(s);
		same = mask == before ? same + 1 : 0;
	}
	return mask;
}

/* All of them are used until each has a key. */
static void use_until_there(const struct serving *s, unsigned int pieces)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;
	unsigned int there = 0;

	while (there != pieces && now_ns() < end) {
		there = 0;
		for (unsigned int i = 0; i < PIECES; i++)
			if (pieces & 1u << i)
				there |= (unsigned int)use(s, i) << i;
		(void)usleep(1000);
	}
	assert_int_equal(there, pieces);
}

/* ---- the tests ------------------------------------------------------------------------------- */

static void test_by_count(void **state)
{
	const struct region_budget *budget;
	struct holding_status status;

	(void)state;
	up(BUDGET, 0);
	budget = cache_budget(&rig.env, 0);
	assert_int_equal(settled(rig.serving), (1u << BUDGET) - 1);
	status = rig_status(&rig);
	assert_int_equal(status.state, HOLDING_SERVING);
	assert_int_equal(status.registrations[0], BUDGET);
	assert_int_equal(status.registered_bytes[0], BUDGET * SLICE);
	assert_int_equal(budget->registrations, BUDGET);
	assert_int_equal(budget->max_registrations, BUDGET);
	/* The hot ones come, those that are used with them stay. */
	use_until_there(rig.serving, 1u << 0 | 1u << 1 | 1u << 10 | 1u << 15);
	assert_int_equal(rig_status(&rig).registrations[0], BUDGET);
	assert_int_equal(atomic_load(&most), BUDGET);
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(atomic_load(&rig.published), 1);
	down();
}

static void test_by_bytes(void **state)
{
	const uint64_t bytes = 4 * SLICE + PIECE / 8;

	(void)state;
	up(0, bytes);
	(void)settled(rig.serving);
	assert_in_range(rig_status(&rig).registered_bytes[0], 4 * SLICE, bytes);
	use_until_there(rig.serving, 1u << 1 | 1u << 12 | 1u << 13);
	assert_in_range(rig_status(&rig).registered_bytes[0], 4 * SLICE - PIECE / 8, bytes);
	assert_in_range(atomic_load(&most_bytes), 4 * SLICE, bytes);
	down();
}

/* Who looks at everything once takes nobody's room. */
static void test_scan(void **state)
{
	unsigned int before;

	(void)state;
	up(BUDGET, 0);
	before = settled(rig.serving);
	for (unsigned int i = 0; i < PIECES; i++) {
		(void)use(rig.serving, i);
		(void)usleep(TURN_MS * 1000 / 2);
	}
	assert_int_equal(settled(rig.serving), before);
	down();
}

static struct holding *other;
static sem_t other_done;
static int other_err;

static void on_other_started(void *arg, int err, const char *why)
{
	(void)arg;
	(void)why;
	other_err = err;
	(void)sem_post(&other_done);
}

static void do_start_other(void *arg)
{
	(void)arg;
	holding_start(other, on_other_started, NULL);
}

static void on_other_stopped(void *arg)
{
	(void)arg;
	holding_free(other);
	(void)sem_post(&other_done);
}

static void do_stop_other(void *arg)
{
	(void)arg;
	holding_stop(other, on_other_stopped, NULL);
}

/* The one that came first has it all, and gives what it does not use. */
static void test_shared(void **state)
{
	struct holding_config config = {.export = config_of("other"), .nsid = 2};

	(void)state;
	make_pieces("other");
	up(BUDGET, 0);
	assert_int_equal(settled(rig.serving), (1u << BUDGET) - 1);
	(void)sem_init(&other_done, 0, 0);
	assert_int_equal(holding_new(&rig.env, &config, &other), 0);
	rig_call(&rig, do_start_other, NULL);
	assert_int_equal(sem_wait(&other_done), 0);
	assert_int_equal(other_err, 0);
	assert_int_equal(registered(rig.other), 0);
	use_until_there(rig.other, 1u << 3 | 1u << 9);
	assert_int_equal(rig_status(&rig).registrations[0], BUDGET - 2);
	assert_int_equal(atomic_load(&most), BUDGET);
	/* What it had is free again, for who waits. */
	rig_call(&rig, do_stop_other, NULL);
	assert_int_equal(sem_wait(&other_done), 0);
	(void)settled(rig.serving);
	assert_int_equal(rig_status(&rig).registrations[0], BUDGET);
	(void)sem_destroy(&other_done);
	down();
}

/* A slice is on its way out, and a command that uses it does not end. */
static void hang(void)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;

	atomic_store(&rig.hold_drain, true);
	while (atomic_load(&rig.drains) == 0 && now_ns() < end) {
		(void)use(rig.serving, 15);
		(void)usleep(1000);
	}
	assert_int_equal(atomic_load(&rig.drains), 1);
	(void)usleep(20000);
	/* It keeps its key. */
	assert_int_equal(atomic_load(&alive), BUDGET);
	assert_false(use(rig.serving, 15));
}

static void let_end(void)
{
	atomic_store(&rig.hold_drain, false);
	rig_release_quiesce(&rig);
}

static void test_recall_amid(void **state)
{
	struct rig_landlord landlord;

	(void)state;
	up(BUDGET, 0);
	(void)settled(rig.serving);
	hang();
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	let_end();
	/* What was hot before still is. */
	assert_int_equal(__builtin_popcount(settled(rig.serving)), BUDGET);
	use_until_there(rig.serving, 1u << 15);
	assert_int_equal(atomic_load(&most), BUDGET);
	down();
}

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

static void give_there(void *arg)
{
	holding_recall_end(&((struct wanted *)arg)->range);
}

/* A range is wanted that has nothing to do with it; what was begun is gone on with afterwards. */
static void test_range_amid(void **state)
{
	struct wanted w = {.range = {.offset = 12 * PIECE,
				     .length = PIECE,
				     .done = on_proven,
				     .ended = on_ended}};

	(void)state;
	up(BUDGET, 0);
	(void)settled(rig.serving);
	hang();
	(void)sem_init(&w.proven, 0, 0);
	(void)sem_init(&w.ended, 0, 0);
	rig_call(&rig, want_there, &w);
	assert_int_equal(sem_wait(&w.proven), 0);
	let_end();
	rig_call(&rig, give_there, &w);
	assert_int_equal(sem_wait(&w.ended), 0);
	use_until_there(rig.serving, 1u << 15);
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(atomic_load(&most), BUDGET);
	(void)sem_destroy(&w.proven);
	(void)sem_destroy(&w.ended);
	down();
}

static void *let_go(void *arg)
{
	(void)arg;
	(void)usleep(50000);
	let_end();
	return NULL;
}

/* It ends when the command has. */
static void test_stop_amid(void **state)
{
	pthread_t thread;

	(void)state;
	up(BUDGET, 0);
	(void)settled(rig.serving);
	hang();
	assert_int_equal(pthread_create(&thread, NULL, let_go, NULL), 0);
	rig_stop(&rig);
	(void)pthread_join(thread, NULL);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_by_count),    leaks_test(test_by_bytes),
		leaks_test(test_scan),	      leaks_test(test_shared),
		leaks_test(test_recall_amid), leaks_test(test_range_amid),
		leaks_test(test_stop_amid),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main_chosen(run_group);
}
