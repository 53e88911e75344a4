// SPDX-License-Identifier: BSD-3-Clause
/*
 * Hosts that stop in the middle, so that no RDMA READ is answered: what the others still get, and
 * when the stopped one is cut.
 */
#include "nvme_rig.h"

#include <stdlib.h>

#include "iwarp/iwarp.h"
#include "nvme/bounce.h"
#include "util/counter.h"
#include "util/log.h"

#define BLOCK	   512
#define BIG	   MIB(1)
#define BIG_BLOCKS ((uint32_t)(BIG / BLOCK))
#define TIMEOUT_MS 2000u
#define TIMEOUT_NS (TIMEOUT_MS * NS_PER_MS)
/* What an answer may take that waits for nobody, on whatever machine. */
#define HANGS_NS (20 * NS_PER_S)

static struct rig rig;	  /* the host that stops: nobody polls its queues meanwhile */
static struct rig others; /* the target's other host */

static void up(uint32_t timeout_ms)
{
	const struct rig_options options = {
		.lba_bytes = BLOCK, .inline_bytes = 4096, .transfer_timeout_ms = timeout_ms};

	rig_up(&rig, &options);
	others = rig;
	others.admin = others.io[0] = others.io[1] = NULL;
	others.cntlid = 0;
	rig_host_up(&others);
}

static void down(void)
{
	rig_host_down(&others);
	rig_down(&rig);
}

static uint64_t counted(const char *name)
{
	for (const struct counter *c = counter_first(); c; c = c->next) {
		if (strcmp(c->name, name) == 0)
			return counter_read(c);
	}
	fail();
	return 0;
}

static struct nvme_command compare(struct rig *host, uint32_t length)
{
	struct nvme_command sqe = rig_blocks(NVME_IO_COMPARE, 0, length / BLOCK);

	rig_keyed(host, &sqe, 0, length);
	return sqe;
}

/* More than both pools hold: 4 MiB each. */
static void stop_in_the_middle(struct rig *host)
{
	struct nvme_command sqe = compare(host, BIG);

	for (unsigned int i = 0; i < 8; i++) {
		(void)rig_send(host->io[0], &sqe, NULL, 0);
		(void)rig_send(host->io[1], &sqe, NULL, 0);
	}
}

static void wait_for_waits(uint64_t n)
{
	uint64_t end = now_ns() + 10 * NS_PER_S;

	while (counted("nvme_bounce_waits") < n && now_ns() < end)
		(void)rig_answered(others.admin, RIG_DEPTH - 1);
	assert_true(counted("nvme_bounce_waits") >= n);
}

static uint64_t took(struct rig_queue *q, const struct nvme_command *sqe, uint16_t wanted)
{
	uint64_t begun = now_ns();

	assert_int_equal(rig_do(q, sqe, NULL, 0), wanted);
	return now_ns() - begun;
}

/* An answer that waits for nobody: no host had to be cut for it. */
static void at_once(struct rig_queue *q, const struct nvme_command *sqe)
{
	uint64_t stalls = counted("nvme_stalled_queues");

	assert_true(took(q, sqe, 0) < HANGS_NS);
	assert_int_equal(counted("nvme_stalled_queues"), stalls);
}

static void admin_data_comes(void)
{
	struct nvme_command identify = rig_command(NVME_ADMIN_IDENTIFY);
	struct nvme_command log = rig_command(NVME_ADMIN_GET_LOG_PAGE);

	rig_keyed(&others, &identify, 0, 4096);
	at_once(others.admin, &identify);
	log.nsid = 0;
	log.cdw10 = htole32(NVME_LOG_FIRMWARE | 127u << 16);
	rig_keyed(&others, &log, 0, 512);
	at_once(others.admin, &log);
}

/* Admin data and the I/O of another host on both reactors. */
static void test_others_are_served(void **state)
{
	struct nvme_command sqe;
	uint64_t waits;

	(void)state;
	up(60000);
	waits = counted("nvme_bounce_waits");
	stop_in_the_middle(&rig);
	wait_for_waits(waits + 14);
	admin_data_comes();
	for (unsigned int i = 0; i < 2; i++) {
		rig_read(&rig, 0, others.memory, BIG);
		sqe = compare(&others, 4096);
		at_once(others.io[i], &sqe);
		sqe = compare(&others, BIG);
		at_once(others.io[i], &sqe);
	}
	assert_false(rig.io[0]->dead);
	down();
}

static void test_cut_in_time(void **state)
{
	uint64_t stalls = counted("nvme_stalled_queues"), begun;

	(void)state;
	up(TIMEOUT_MS);
	begun = now_ns();
	stop_in_the_middle(&rig);
	while (counted("nvme_stalled_queues") < stalls + 2 && now_ns() - begun < HANGS_NS)
		(void)rig_answered(others.admin, RIG_DEPTH - 1);
	assert_true(now_ns() - begun >= TIMEOUT_NS);
	assert_int_equal(counted("nvme_stalled_queues"), stalls + 2);
	/* It wakes up and finds its queues gone, not its controller. */
	while ((!rig.io[0]->dead || !rig.io[1]->dead) && now_ns() - begun < 2 * HANGS_NS)
		(void)rig_answered(rig.admin, RIG_DEPTH - 1);
	assert_true(rig.io[0]->dead && rig.io[1]->dead);
	assert_false(rig.admin->dead);
	down();
}

/* Four hosts with a queue on each reactor have all of the pools: admin data come, and I/O soon. */
static void test_all_is_taken(void **state)
{
	uint64_t waits = counted("nvme_bounce_waits"), stalls = counted("nvme_stalled_queues"), t;
	struct nvme_command sqe;
	struct rig more[3];

	(void)state;
	up(4 * TIMEOUT_MS);
	for (unsigned int i = 0; i < 3; i++) {
		more[i] = others;
		more[i].admin = more[i].io[0] = more[i].io[1] = NULL;
		more[i].cntlid = 0;
		rig_host_up(&more[i]);
	}
	stop_in_the_middle(&rig);
	for (unsigned int i = 0; i < 3; i++)
		stop_in_the_middle(&more[i]);
	wait_for_waits(waits + 56);
	admin_data_comes();
	assert_int_equal(counted("nvme_stalled_queues"), stalls);
	rig_read(&rig, 0, others.memory, BIG);
	sqe = compare(&others, 4096);
	t = took(others.io[0], &sqe, 0);
	assert_true(t > TIMEOUT_NS / 4);
	assert_true(t < 4 * TIMEOUT_NS);
	assert_true(counted("nvme_stalled_queues") > stalls);
	for (unsigned int i = 0; i < 3; i++)
		rig_host_down(&more[i]);
	down();
}

/* Who answers, however often he pauses, is not cut; nor who has nothing to answer. */
static void test_slow_is_not_stopped(void **state)
{
	struct nvme_command sqe;
	uint64_t stalls = counted("nvme_stalled_queues"), begun;
	unsigned int slot;

	(void)state;
	up(TIMEOUT_MS);
	rig_read(&rig, 0, rig.memory, BIG);
	sqe = compare(&rig, BIG);
	for (unsigned int i = 0; i < 4; i++) {
		slot = rig_send(rig.io[0], &sqe, NULL, 0);
		for (begun = now_ns(); now_ns() - begun < TIMEOUT_NS / 2;)
			(void)rig_answered(others.admin, RIG_DEPTH - 1);
		assert_int_equal(rig_answer(rig.io[0], slot), 0);
	}
	assert_int_equal(counted("nvme_stalled_queues"), stalls);
	down();
}

/* ---- the pool --------------------------------------------------------------------------------- */

static unsigned int served[8], nr_served;
static struct bounce taken[24];

static void note(struct bounce *b)
{
	served[nr_served++ % 8] = (unsigned int)(b - taken);
}

static void test_shares_and_turns(void **state)
{
	struct iwarp_options iwarp = {0};
	struct bounce_line a, b, reserve;
	struct bounce_pool *pool;
	struct fabric *fabric;
	struct fabric_pd *pd;
	struct errtext err;

	(void)state;
	memset(taken, 0, sizeof(taken));
	nr_served = 0;
	assert_int_equal(iwarp_fabric_open(&iwarp, &fabric, &err), 0);
	assert_int_equal(fabric_pd_alloc(fabric_device_at(fabric, 0), &pd), 0);
	assert_int_equal(bounce_pool_new(pd, MIB(4), BIG, &pool), 0);
	bounce_line_init(&a, pool, BOUNCE_IO);
	bounce_line_init(&b, pool, BOUNCE_IO);
	bounce_line_init(&reserve, pool, BOUNCE_RESERVE);
	/* One has a quarter, and no more while the rest lies idle. */
	for (unsigned int i = 0; i < 4; i++)
		assert_true(bounce_get(&a, &taken[i], KIB(256), note));
	for (unsigned int i = 4; i < 6; i++)
		assert_false(bounce_get(&a, &taken[i], KIB(256), note));
	assert_false(bounce_line_in_the_way(&a));
	assert_true(bounce_get(&b, &taken[6], BIG, note));
	assert_false(bounce_get(&b, &taken[7], KIB(16), note));
	/* Who waits is served by what his own queue gives back, in order. */
	bounce_put(&taken[6]);
	assert_int_equal(nr_served, 1);
	assert_int_equal(served[0], 7);
	bounce_put(&taken[0]);
	bounce_put(&taken[1]);
	assert_int_equal(nr_served, 3);
	assert_int_equal(served[1], 4);
	assert_int_equal(served[2], 5);
	/* One buffer, whatever its size, also of the reserve; the rest of it to others. */
	assert_true(bounce_get(&reserve, &taken[8], BOUNCE_SMALL_BYTES, note));
	assert_true(bounce_get(&reserve, &taken[9], BOUNCE_SMALL_BYTES, note));
	assert_false(bounce_get(&reserve, &taken[10], KIB(4), note));
	bounce_put(&taken[10]);
	for (unsigned int i = 2; i < 10; i++)
		bounce_put(&taken[i]);
	assert_int_equal(a.held + b.held + reserve.held, 0);
	bounce_pool_free(pool);
	assert_int_equal(fabric_pd_free(pd), 0);
	fabric_close(fabric);
}

/* A full pool: what comes free goes to the lines by turns, not to who asked first. */
static void test_turns(void **state)
{
	struct iwarp_options iwarp = {0};
	struct bounce_line lines[6];
	struct bounce_pool *pool;
	struct fabric *fabric;
	struct fabric_pd *pd;
	struct errtext err;

	(void)state;
	memset(taken, 0, sizeof(taken));
	nr_served = 0;
	assert_int_equal(iwarp_fabric_open(&iwarp, &fabric, &err), 0);
	assert_int_equal(fabric_pd_alloc(fabric_device_at(fabric, 0), &pd), 0);
	assert_int_equal(bounce_pool_new(pd, MIB(4), BIG, &pool), 0);
	for (unsigned int i = 0; i < 6; i++)
		bounce_line_init(&lines[i], pool, BOUNCE_IO);
	for (unsigned int i = 0; i < 4; i++)
		assert_true(bounce_get(&lines[i], &taken[i], BIG, note));
	for (unsigned int i = 4; i < 7; i++)
		assert_false(bounce_get(&lines[4], &taken[i], KIB(256), note));
	assert_false(bounce_get(&lines[5], &taken[7], KIB(512), note));
	assert_true(bounce_line_in_the_way(&lines[0]));
	assert_false(bounce_line_in_the_way(&lines[5]));
	/* The third gives up before its turn; the place of its line is kept. */
	bounce_put(&taken[6]);
	bounce_put(&taken[0]);
	assert_int_equal(nr_served, 3);
	assert_int_equal(served[0], 4);
	assert_int_equal(served[1], 7);
	assert_int_equal(served[2], 5);
	for (unsigned int i = 1; i < 8; i++)
		bounce_put(&taken[i]);
	bounce_pool_free(pool);
	assert_int_equal(fabric_pd_free(pd), 0);
	fabric_close(fabric);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_shares_and_turns),  leaks_test(test_turns),
		leaks_test(test_others_are_served), leaks_test(test_cut_in_time),
		leaks_test(test_all_is_taken),	    leaks_test(test_slow_is_not_stopped),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	log_set_level(getenv("LEASEHOLD_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	tenure_block_signals();
	if (export_guard_init())
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run_group);
}
