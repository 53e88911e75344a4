// SPDX-License-Identifier: BSD-3-Clause
/*
 * What fails, fails clean: the N-th registration for every N, through a start, an Acquire, a recall
 * and the second generation; and keys that do not die at the first attempt: the landlord waits for
 * the proof. And a file that nobody may write to any more.
 */
#include "grant_rig.h"

#include "fabric/fault.h"
#include "iwarp/iwarp.h"

static struct rig rig;
static struct rig_client one;

static const unsigned int read_write = LH_GRANT_READ | LH_GRANT_WRITE;

/* ---- deregistrations that fail: a stand-in by the linker's --wrap ----------------------------- */

static atomic_int dereg_failures;

int __real_fabric_mr_dereg(struct fabric_mr *mr);
int __wrap_fabric_mr_dereg(struct fabric_mr *mr);

int __wrap_fabric_mr_dereg(struct fabric_mr *mr)
{
	if (atomic_load(&dereg_failures) > 0) {
		atomic_fetch_sub(&dereg_failures, 1);
		return -EBUSY;
	}
	return __real_fabric_mr_dereg(mr);
}

/* Of windows it is what they were bound to. */
static void keys_that_live_on(bool windows)
{
	struct rig_options options = rig_defaults;
	struct rig_landlord landlord;
	struct holding_status status;
	uint64_t took;

	options.windows = windows;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	rig_up(&rig, &options);
	rig_client_up(&rig, &one);
	for (unsigned int i = 0; i < 300; i++)
		assert_int_equal(rig_acquire(&one, KIB(4) * i, KIB(4), read_write).status,
				 NVME_SC_SUCCESS);
	/* The first attempts of every batch, then those of the region too. */
	atomic_store(&dereg_failures, windows ? 6 : 1500);
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, KIB(4));
	took = rig_landlord_join(&landlord);
	assert_int_equal(atomic_load(&dereg_failures), 0);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	print_message("[          ] truncate took %llu ms\n",
		      (unsigned long long)(took / NS_PER_MS));
	assert_true(took > 5 * NS_PER_MS);
	assert_int_equal(status.last.fenced_clients, 0);

	/* Only the block region's. */
	atomic_store(&dereg_failures, 5);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	took = rig_landlord_join(&landlord);
	assert_true(took > 10 * NS_PER_MS);
	(void)rig_wait(&rig, HOLDING_SERVING, 3);
	rig_client_down(&one);
	rig_down(&rig);
}

static void test_keys_that_live_on(void **state)
{
	(void)state;
	keys_that_live_on(false);
}

static void test_slabs_that_live_on(void **state)
{
	(void)state;
	keys_that_live_on(true);
}

/* ---- registrations that fail ------------------------------------------------------------------ */

/* A region that could not be made: the adapter is staged until the next attempt, which works. */
static struct grant_answer acquire(const struct grant_want *want)
{
	uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;
	struct grant_answer answer = rig_acquire_want(&one, want);

	while ((answer.status == LH_SC_NO_DIRECT || answer.status == LH_SC_RECALLING) &&
	       now_ns() < end) {
		(void)usleep(2000);
		answer = rig_acquire_want(&one, want);
	}
	return answer;
}

/* Who binds windows reads them at any time. */
static void set_faults(const struct fault_options *options)
{
	(void)pthread_mutex_lock(&one.lock);
	fault_set(rig.fabric, options);
	(void)pthread_mutex_unlock(&one.lock);
}

/* One life with a fault at the n-th call; returns how many calls there were. */
static uint64_t live(uint64_t n, bool windows)
{
	struct rig_options options = rig_defaults;
	struct fault_options nth = {.seed = 1, .sites = FAULT_REGISTER, .fail_nth = n};
	struct fault_options none = {.seed = 1};
	struct grant_want want = {.length = MIB(4), .access = read_write, .allocate = true};
	struct rig_landlord landlord;
	struct grant_answer answer;
	uint64_t calls;

	make_file("file", MIB(8));
	fill_file("file", 0, MIB(2));
	options.faults = true;
	options.rung_retry_ms = 5;
	options.no_start = true;
	options.windows = windows;
	rig_up(&rig, &options);
	rig_client_up(&rig, &one);
	/* The start is as without windows. */
	if (windows)
		assert_int_equal(rig_start(&rig), 0);
	set_faults(&nth);
	if (!windows && rig_start(&rig) != 0) {
		/* All is undone, and the next attempt works. */
		assert_int_equal(rig_status(&rig).state, HOLDING_OFFLINE);
		assert_int_equal(rig_status(&rig).keys, 0);
		if (rig_start(&rig) != 0)
			print_error("%s\n", rig.start_why);
		assert_int_equal(rig.start_err, 0);
	}
	answer = acquire(&want);
	if (answer.status == NVME_SC_SUCCESS && answer.covered_length == MIB(4)) {
		assert_int_equal(rig_status(&rig).grants, 1);
	} else if (answer.status == NVME_SC_SUCCESS) {
		/* The new view could not be registered: the old one is served on. */
		assert_int_equal(answer.covered_length, MIB(2));
	} else {
		assert_int_equal(answer.status, LH_SC_LIMIT);
		assert_int_equal(rig_status(&rig).grants, 0);
		assert_int_equal(rig_acquire_want(&one, &want).status, NVME_SC_SUCCESS);
	}
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, MIB(1));
	(void)rig_landlord_join(&landlord);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	want.length = MIB(1);
	answer = acquire(&want);
	if (answer.status == LH_SC_LIMIT)
		answer = acquire(&want);
	assert_int_equal(answer.status, NVME_SC_SUCCESS);
	calls = fault_calls(rig.fabric);
	set_faults(&none);
	rig_client_down(&one);
	rig_down(&rig);
	return calls;
}

static void each_registration(bool windows)
{
	uint64_t n = 1;

	while (live(n, windows) >= n)
		n++;
	print_message("[          ] %llu registrations, each failed once\n",
		      (unsigned long long)(n - 1));
	assert_true(n > (windows ? 5 : 10));
}

static void test_nth_registration(void **state)
{
	(void)state;
	each_registration(false);
}

/* Of a slab or a window, too. */
static void test_nth_of_windows(void **state)
{
	(void)state;
	each_registration(true);
}

/* ---- both at random, under a storm ------------------------------------------------------------ */

static atomic_bool storm_over;

static void storm(struct rig_landlord *l)
{
	while (!atomic_load(&storm_over)) {
		landlord_open_close(l);
		atomic_store(&dereg_failures, 3);
		(void)usleep(2000);
	}
}

/* On the registrar: it reads the options at any time. */
struct healing {
	struct work work;
	sem_t sem;
};

static void heal(struct work *work)
{
	struct healing *healing = container_of(work, struct healing, work);
	struct fault_options none = {.seed = 1};

	set_faults(&none);
	(void)sem_post(&healing->sem);
}

static void at_random(bool windows)
{
	struct healing healing;
	struct rig_options options = rig_defaults;
	struct fault_options some = {.seed = 3, .sites = FAULT_REGISTER, .fail_ppm = 100000};
	struct rig_landlord landlord;
	unsigned int granted = 0, seed = 9;
	uint64_t end;

	make_file("file", RIG_BYTES);
	fill_file("file", 0, MIB(4));
	options.faults = true;
	options.rung_retry_ms = 5;
	options.windows = windows;
	rig_up(&rig, &options);
	rig_client_up(&rig, &one);
	set_faults(&some);
	(void)rig_status(&rig); /* from here on every thread of it knows */
	atomic_store(&storm_over, false);
	rig_landlord_start(&landlord, in_dir("file"), storm, 0);
	end = now_ns() + 2 * NS_PER_S;
	while (now_ns() < end) {
		struct grant_want want = {
			.offset = KIB(4) * ((unsigned int)rand_r(&seed) % 2048),
			.length = KIB(64),
			.access = read_write,
			.allocate = true,
		};

		granted += rig_acquire_want(&one, &want).status == NVME_SC_SUCCESS;
		if (rand_r(&seed) % 4 == 0)
			(void)rig_release(&one, 0, UINT64_MAX, 0);
	}
	atomic_store(&storm_over, true);
	(void)rig_landlord_join(&landlord);
	(void)sem_init(&healing.sem, 0, 0);
	pool_submit(rig.env.registrar, &healing.work, POOL_URGENT, heal, NULL, NULL);
	(void)sem_wait(&healing.sem);
	atomic_store(&dereg_failures, 0);
	print_message("[          ] %u generations, %u granted\n",
		      rig_wait(&rig, HOLDING_SERVING, 2).generation, granted);
	rig_client_down(&one);
	rig_down(&rig);
}

static void test_random(void **state)
{
	(void)state;
	at_random(false);
}

static void test_random_windows(void **state)
{
	(void)state;
	at_random(true);
}

/* ---- a journal that is broken: the same ------------------------------------------------------- */

static atomic_bool unwritable;

bool __real_export_unwritable(const struct export *e);
bool __wrap_export_unwritable(const struct export *e);

bool __wrap_export_unwritable(const struct export *e)
{
	return atomic_load(&unwritable) || __real_export_unwritable(e);
}

/* Who holds it for writing is asked to let go; nobody gets it so again, and reading goes on. */
static void test_unwritable(void **state)
{
	const uint64_t end = now_ns() + (uint64_t)RIG_WAIT_MS * NS_PER_MS;
	const uint8_t bytes[64] = {1};
	struct grant_answer answer;
	struct lh_grant g;
	uint8_t is[64];

	(void)state;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	rig_up(&rig, &rig_defaults);
	rig_client_up(&rig, &one);
	answer = rig_acquire(&one, MIB(1), KIB(64), read_write);
	g = rig_grant_of(&answer, 0);
	assert_int_equal(rig_write(&one, g.address, g.rkey, bytes, sizeof(bytes)), FABRIC_OK);
	atomic_store(&unwritable, true);
	assert_int_equal(rig_acquire(&one, 0, KIB(4), read_write).status, NVME_SC_WRITE_FAULT);
	assert_int_equal(rig_acquire(&one, 0, KIB(4), LH_GRANT_WRITE).status, NVME_SC_WRITE_FAULT);
	holding_suspect(rig.h);
	while (rig_status(&rig).grants > 0 && now_ns() < end)
		(void)usleep(1000);
	assert_int_equal(rig_status(&rig).grants, 0);
	assert_int_equal(atomic_load(&one.told), 1);
	assert_int_equal(rig_acquire(&one, MIB(1), KIB(64), read_write).status,
			 NVME_SC_WRITE_FAULT);
	answer = rig_acquire(&one, MIB(1), KIB(64), LH_GRANT_READ);
	g = rig_grant_of(&answer, 0);
	assert_int_equal(rig_rdma_read(&one, g.address, g.rkey, is, sizeof(is)), FABRIC_OK);
	assert_memory_equal(is, bytes, sizeof(is));
	/* He is left alone, for as long as it lasts. */
	holding_suspect(rig.h);
	(void)rig_status(&rig);
	(void)usleep(100000);
	assert_int_equal(atomic_load(&one.told), 1);
	assert_int_equal(rig_status(&rig).grants, 1);
	assert_int_equal(rig_status(&rig).generation, 1);
	atomic_store(&unwritable, false);
	rig_client_down(&one);
	rig_down(&rig);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_keys_that_live_on),
		leaks_test(test_nth_registration),
		leaks_test(test_random),
		leaks_test(test_slabs_that_live_on),
		leaks_test(test_nth_of_windows),
		leaks_test(test_random_windows),
		leaks_test(test_unwritable),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run_group);
}
