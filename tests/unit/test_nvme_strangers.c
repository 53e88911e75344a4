// SPDX-License-Identifier: BSD-3-Clause
/*
 * Connections of other machines: what they may not be a part of, and how much room they may take. The network
 * of a test has this machine only, so fabric_conn_returns() is wrapped: what comes from an address of ours, but does not
 * go back there, is from elsewhere.
 */
#include "direct_client.h"

#include "nvme/internal.h"
#include "tenure/tenure.h"

#define HOST	    "nqn.2026-11.org.leasehold:host" /* nvme_host.c's */
#define CONTROLLERS 8
#define STRANGERS   (CONTROLLERS / NVME_STRANGERS_PART)
#define ALL_OF_THEM (CONTROLLERS - 1) /* but the setup's */

static bool elsewhere;

bool __real_fabric_conn_returns(const struct fabric_conn *conn);
bool __wrap_fabric_conn_returns(const struct fabric_conn *conn);

bool __wrap_fabric_conn_returns(const struct fabric_conn *conn)
{
	return __real_fabric_conn_returns(conn) && !elsewhere;
}

static void start(struct rig *r)
{
	const struct nvme_limits limits = {
		.queue_depth = 128,
		.max_io_queues = TEST_QUEUES,
		.max_controllers = CONTROLLERS,
		.max_connections = 32,
		.inline_bytes = 4096,
		.mdts_bytes = MIB(1),
		.first_command_ms = NVME_DEFAULT_FIRST_COMMAND_MS,
		.bounce_bytes = MIB(2),
	};

	rig_start_wide(r, &limits);
}

static int setup_here(void **state)
{
	elsewhere = false;
	return setup_with(state, start);
}

static uint16_t associate(struct host_queue *q, uint16_t qid, uint16_t id, const char *nqn)
{
	assert_true(host_connect_nvme(&rig, q, qid));
	return host_associate(q, qid, id, nqn, 0);
}

/* An I/O queue, one of the controller that the setup made from here. */
static uint16_t join(void)
{
	struct host_queue io;
	const uint16_t status = associate(&io, 1, cntlid, TEST_NQN);

	if (status)
		assert_int_equal(le32toh(io.by_cid[0].dw0), CONNECT_IN_DATA(cntlid));
	host_close(&io);
	return status;
}

static void test_io_queue(void **state)
{
	(void)state;
	elsewhere = true;
	assert_int_equal(join(), NVME_SC_CONNECT_INVALID_PARAM | DNR);
	/* Who is listed has a controller of its own. */
	assert_int_equal(nvme_target_allow_host(rig.target, HOST), 0);
	assert_int_equal(join(), NVME_SC_CONNECT_INVALID_PARAM | DNR);
	elsewhere = false;
	assert_int_equal(join(), 0);
}

static void test_direct_queue(void **state)
{
	struct lh_cm_request request;
	struct direct d;

	(void)state;
	take_token(&admin, &request, cntlid);
	elsewhere = true;
	assert_int_equal(connect_with(&d, &request), LH_CM_BAD_TOKEN);
	/* Nor has the token been used up. */
	elsewhere = false;
	assert_int_equal(connect_with(&d, &request), 0);
	host_close(&d.q);
}

/* Of another machine: a controller of its own, with an I/O queue from here or there. */
static void test_other_machine(void **state)
{
	struct host_queue q, io;
	uint16_t id;

	(void)state;
	elsewhere = true;
	assert_int_equal(associate(&q, 0, NVME_CNTLID_DYNAMIC, TEST_NQN),
			 NVME_SC_CONNECT_INVALID_HOST | DNR);
	host_close(&q);
	assert_int_equal(nvme_target_allow_host(rig.target, HOST), 0);
	assert_int_equal(associate(&q, 0, NVME_CNTLID_DYNAMIC, TEST_NQN), 0);
	id = (uint16_t)le32toh(q.by_cid[0].dw0);
	assert_int_equal(host_enable(&q), 0);
	assert_int_equal(associate(&io, 1, id, TEST_NQN), 0);
	/* Both are gone when it is denied; what came from here stays. */
	assert_int_equal(nvme_target_deny_host(rig.target, HOST), 0);
	assert_true(rig_wait(&rig, &q, &q.dead, STEP_MS));
	assert_true(rig_wait(&rig, &io, &io.dead, STEP_MS));
	assert_false(admin.dead);
	host_close(&io);
	host_close(&q);
}

static void test_room(void **state)
{
	struct host_queue q[CONTROLLERS];
	unsigned int n = 0;

	(void)state;
	elsewhere = true;
	while (n < STRANGERS)
		assert_int_equal(associate(&q[n++], 0, NVME_CNTLID_DYNAMIC, NVME_DISCOVERY_NQN), 0);
	assert_int_equal(associate(&q[n], 0, NVME_CNTLID_DYNAMIC, NVME_DISCOVERY_NQN),
			 NVME_SC_CONNECT_BUSY);
	host_close(&q[n]);
	/* This machine has the rest, and whoever is listed. */
	elsewhere = false;
	assert_int_equal(associate(&q[n++], 0, NVME_CNTLID_DYNAMIC, NVME_DISCOVERY_NQN), 0);
	elsewhere = true;
	assert_int_equal(nvme_target_allow_host(rig.target, HOST), 0);
	while (n < ALL_OF_THEM)
		assert_int_equal(associate(&q[n++], 0, NVME_CNTLID_DYNAMIC, TEST_NQN), 0);
	assert_int_equal(associate(&q[n], 0, NVME_CNTLID_DYNAMIC, TEST_NQN), NVME_SC_CONNECT_BUSY);
	host_close(&q[n]);
	while (n > 0)
		host_close(&q[--n]);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_io_queue, setup_here, teardown),
		cmocka_unit_test_setup_teardown(test_direct_queue, setup_here, teardown),
		cmocka_unit_test_setup_teardown(test_other_machine, setup_here, teardown),
		cmocka_unit_test_setup_teardown(test_room, setup_here, teardown),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	tenure_block_signals();
	if (export_guard_init() < 0)
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run);
}
