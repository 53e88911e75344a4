// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is of fabrics only, as a raw host sees it: reject codes, several controllers, shutdown and
 * reset, Disconnect, a time limit that traffic keeps away.
 */
#include "nvme_host.h"

#include "tenure/tenure.h"

#define DNR		NVME_SC_DNR
#define TRAFFIC_KATO_MS 1000u

static struct rig rig;

static int setup(void **state)
{
	if (leaks_setup(state))
		return -1;
	rig_start(&rig);
	return 0;
}

static int teardown(void **state)
{
	rig_stop(&rig);
	return leaks_teardown(state);
}

static void connect_io(struct host_queue *io, uint16_t qid, uint16_t cntlid)
{
	assert_true(host_connect_nvme(&rig, io, qid));
	assert_int_equal(host_associate(io, qid, cntlid, TEST_NQN, 0), 0);
}

static uint16_t flush(struct host_queue *q)
{
	host_command(q, 0, NVME_IO_FLUSH)->nsid = htole32(TEST_NSID);
	return host_run(q, 64);
}

/* ---- reject codes ----------------------------------------------------------------------------- */

static uint16_t rejected(uint16_t recfmt, uint16_t qid, uint16_t hsqsize, uint16_t hrqsize,
			 uint16_t cntlid, uint8_t length)
{
	struct nvmf_rdma_cm_request request = {
		.recfmt = htole16(recfmt),
		.qid = htole16(qid),
		.hrqsize = htole16(hrqsize),
		.hsqsize = htole16(hsqsize),
		.cntlid = htole16(cntlid),
	};
	struct host_queue q;
	uint16_t code;

	assert_false(host_connect(&rig, &q, &request, length));
	code = q.reject;
	host_close(&q);
	return code;
}

static void test_rejects(void **state)
{
	struct host_queue admin, io;
	uint16_t cntlid;

	(void)state;
	assert_int_equal(rejected(0, 0, 31, 32, 0, 31), NVMF_RDMA_CM_INVALID_LEN);
	assert_int_equal(rejected(1, 0, 31, 32, 0, 32), NVMF_RDMA_CM_INVALID_RECFMT);
	assert_int_equal(rejected(0, TEST_QUEUES + 1, 31, 32, 0, 32), NVMF_RDMA_CM_INVALID_QID);
	assert_int_equal(rejected(0, 0, 0, 32, 0, 32), NVMF_RDMA_CM_INVALID_HSQSIZE);
	assert_int_equal(rejected(0, 0, 31, 0, 0, 32), NVMF_RDMA_CM_INVALID_HRQSIZE);
	/* A controller that is not there; hosts that do not say which are let in. */
	assert_int_equal(rejected(0, 1, 31, 32, 77, 32), NVMF_RDMA_CM_INVALID_CNTLID);
	cntlid = host_admin(&rig, &admin);
	assert_int_equal(rejected(0, 1, 31, 32, (uint16_t)(cntlid + 1), 32),
			 NVMF_RDMA_CM_INVALID_CNTLID);
	connect_io(&io, 1, cntlid);
	host_close(&io);
	host_close(&admin);
}

/*
 * A host that answers no READ could send no data but in capsules; one that answers few is waited for, and
 * how many READs it wants is never a reason: none is for it to read.
 */
static void test_depths(void **state)
{
	static const struct {
		uint8_t ird, ord;
	} good[] = {{1, 0}, {1, 1}, {16, 255}, {255, 255}};
	struct nvmf_rdma_cm_request request = {.hrqsize = htole16(HOST_DEPTH),
					       .hsqsize = htole16(HOST_DEPTH - 1)};
	struct host_queue admin, io;
	uint16_t cntlid;

	(void)state;
	assert_false(host_connect_depths(&rig, &admin, &request, sizeof(request), 0, 4));
	assert_int_equal(admin.reject, NVMF_RDMA_CM_INVALID_IRD);
	host_close(&admin);
	cntlid = host_admin(&rig, &admin);
	request.qid = htole16(1);
	assert_false(host_connect_depths(&rig, &io, &request, sizeof(request), 0, 0));
	assert_int_equal(io.reject, NVMF_RDMA_CM_INVALID_IRD);
	host_close(&io);
	for (unsigned int i = 0; i < ARRAY_SIZE(good); i++) {
		request.qid = htole16((uint16_t)(1 + i));
		assert_true(host_connect_depths(&rig, &io, &request, sizeof(request), good[i].ird,
						good[i].ord));
		assert_int_equal(host_associate(&io, (uint16_t)(1 + i), cntlid, TEST_NQN, 0), 0);
		/* More READs than it answers at a time. */
		for (unsigned int slot = 1; slot <= 20; slot++) {
			struct nvme_command *cmd = host_command(&io, slot, NVME_IO_WRITE);

			cmd->nsid = htole32(TEST_NSID);
			cmd->cdw10 = htole32(slot * 8);
			cmd->cdw12 = htole32(7);
			host_keyed(&io, cmd, 8 * 512);
			host_post(&io, slot, 64);
		}
		for (unsigned int slot = 1; slot <= 20; slot++)
			assert_int_equal(host_wait(&io, slot), 0);
		host_close(&io);
	}
	host_close(&admin);
}

/* ---- several controllers and hosts ------------------------------------------------------------ */

static void test_several(void **state)
{
	struct host_queue admin[4], io[4], one_more;
	uint16_t cntlid[4];

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		cntlid[i] = host_admin(&rig, &admin[i]);
		for (unsigned int j = 0; j < i; j++)
			assert_int_not_equal(cntlid[i], cntlid[j]);
		connect_io(&io[i], 1, cntlid[i]);
	}
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(flush(&io[i]), 0);
	/* The limit of the rig is 4. */
	assert_true(host_connect_nvme(&rig, &one_more, 0));
	assert_int_equal(host_associate(&one_more, 0, NVME_CNTLID_DYNAMIC, TEST_NQN, 0),
			 NVME_SC_CONNECT_BUSY);
	host_close(&one_more);
	/* One goes; the others stay. */
	host_close(&admin[1]);
	assert_true(rig_wait(&rig, &io[1], &io[1].dead, 10000));
	for (unsigned int i = 0; i < 4; i++) {
		if (i != 1)
			assert_int_equal(flush(&io[i]), 0);
		host_close(&io[i]);
	}
	host_close(&admin[0]);
	host_close(&admin[2]);
	host_close(&admin[3]);
}

static void call_it(struct host_queue *q, const char *hostnqn)
{
	struct nvmf_connect_data *data = (void *)q->data;

	(void)snprintf(data->hostnqn, sizeof(data->hostnqn), "%s", hostnqn);
}

/* Nobody can have all of them: what one host is refused the others get. */
static void test_per_host(void **state)
{
	struct nvme_limits limits = rig.limits;
	struct host_queue mine[2], third, other;
	uint16_t status = NVME_SC_CONNECT_BUSY;

	(void)state;
	rig_stop(&rig);
	limits.controllers_per_host = 2;
	rig_start_wide(&rig, &limits);
	(void)host_admin(&rig, &mine[0]);
	/* The discovery service's is one too. */
	assert_true(host_connect_nvme(&rig, &mine[1], 0));
	assert_int_equal(host_associate(&mine[1], 0, NVME_CNTLID_DYNAMIC, NVME_DISCOVERY_NQN, 0),
			 0);
	assert_true(host_connect_nvme(&rig, &third, 0));
	assert_int_equal(host_associate(&third, 0, NVME_CNTLID_DYNAMIC, TEST_NQN, 0),
			 NVME_SC_CONNECT_BUSY);
	assert_int_equal(le32toh(third.by_cid[0].dw0), 0);
	/* Another host is no matter of this. */
	assert_true(host_connect_nvme(&rig, &other, 0));
	assert_int_equal(host_associate(&other, 0, NVME_CNTLID_DYNAMIC, TEST_NQN, 0),
			 NVME_SC_CONNECT_BUSY);
	call_it(&other, "nqn.2026-11.org.leasehold:other");
	assert_int_equal(host_run(&other, 64), 0);
	/* When one of its own has gone it gets another, by the same connection. */
	host_close(&mine[1]);
	for (uint64_t end = now_ns() + 10 * NS_PER_S;
	     status == NVME_SC_CONNECT_BUSY && now_ns() < end;)
		status = host_associate(&third, 0, NVME_CNTLID_DYNAMIC, TEST_NQN, 0);
	assert_int_equal(status, 0);
	host_close(&third);
	host_close(&other);
	host_close(&mine[0]);
}

/* ---- shutdown and reset ----------------------------------------------------------------------- */

static uint16_t set_cc(struct host_queue *q, uint32_t cc)
{
	struct nvmf_property_command *cmd = (void *)host_command(q, 0, NVME_FABRICS);

	cmd->fctype = NVMF_PROPERTY_SET;
	cmd->offset = htole32(NVME_PROP_CC);
	cmd->value = htole64(cc);
	return host_run(q, 64);
}

static uint32_t csts(struct host_queue *q)
{
	struct nvmf_property_command *cmd = (void *)host_command(q, 0, NVME_FABRICS);

	cmd->fctype = NVMF_PROPERTY_GET;
	cmd->offset = htole32(NVME_PROP_CSTS);
	assert_int_equal(host_run(q, 64), 0);
	return le32toh(q->by_cid[0].dw0);
}

/* What a shutdown comes to. */
static uint32_t csts_shut(struct host_queue *q)
{
	for (unsigned int i = 0; i < 1000; i++) {
		uint32_t now = csts(q);

		if ((now & NVME_CSTS_SHST_MASK) != NVME_CSTS_SHST_OCCURRING ||
		    (now & NVME_CSTS_CFS))
			return now;
	}
	fail_msg("%s", "the shutdown does not end");
	return 0;
}

#define ENABLED (NVME_CC_EN | 6u << 16 | 4u << 20)

static void test_shutdown(void **state)
{
	struct host_queue admin, io;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	for (uint32_t shn = 1; shn <= 2; shn++) { /* normal, abrupt */
		connect_io(&io, 1, cntlid);
		assert_int_equal(flush(&io), 0);
		assert_int_equal(set_cc(&admin, ENABLED | shn << 14), 0);
		assert_int_equal(csts_shut(&admin), NVME_CSTS_RDY | NVME_CSTS_SHST_DONE);
		assert_int_equal(flush(&io), NVME_SC_COMMAND_SEQUENCE | DNR);
		(void)host_command(&admin, 0, NVME_ADMIN_KEEP_ALIVE);
		assert_int_equal(host_run(&admin, 64), NVME_SC_COMMAND_SEQUENCE | DNR);
		/* Taking the wish back changes nothing: a reset does. */
		assert_int_equal(set_cc(&admin, ENABLED), 0);
		assert_int_equal(csts(&admin), NVME_CSTS_RDY | NVME_CSTS_SHST_DONE);
		assert_int_equal(set_cc(&admin, 0), 0);
		assert_int_equal(csts(&admin), 0);
		assert_true(rig_wait(&rig, &io, &io.dead, 10000));
		host_close(&io);
		assert_int_equal(set_cc(&admin, ENABLED), 0);
		assert_int_equal(csts(&admin), NVME_CSTS_RDY);
	}
	/* The reserved value asks for nothing. */
	assert_int_equal(set_cc(&admin, ENABLED | 3u << 14), 0);
	assert_int_equal(csts(&admin), NVME_CSTS_RDY);
	host_close(&admin);
}

/* ---- Disconnect ------------------------------------------------------------------------------- */

static struct nvmf_disconnect_command *disconnect(struct host_queue *q, unsigned int slot)
{
	struct nvmf_disconnect_command *cmd = (void *)host_command(q, slot, NVME_FABRICS);

	cmd->fctype = NVMF_DISCONNECT;
	return cmd;
}

static void test_disconnect(void **state)
{
	struct host_queue admin, io, again;
	unsigned int answered;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	(void)disconnect(&admin, 0);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_QUEUE_TYPE | DNR);
	assert_true(host_connect_nvme(&rig, &io, 1));
	(void)disconnect(&io, 0);
	assert_int_equal(host_run(&io, 64), NVME_SC_COMMAND_SEQUENCE | DNR); /* before Connect */
	assert_int_equal(host_associate(&io, 1, cntlid, TEST_NQN, 0), 0);
	disconnect(&io, 0)->recfmt = htole16(1);
	assert_int_equal(host_run(&io, 64), NVME_SC_CONNECT_FORMAT | DNR);
	assert_int_equal(flush(&io), 0);
	/* What is under way ends, then Disconnect is answered. */
	for (unsigned int i = 1; i <= 20; i++) {
		struct nvme_command *cmd = host_command(&io, i, NVME_IO_READ);

		cmd->nsid = htole32(TEST_NSID);
		cmd->cdw12 = htole32(255);
		host_keyed(&io, cmd, 256 * 512);
		host_post(&io, i, 64);
	}
	(void)disconnect(&io, 21);
	host_post(&io, 21, 64);
	assert_int_equal(host_wait(&io, 21), 0);
	for (unsigned int i = 1; i <= 20; i++) {
		assert_true(io.has_cid[i]);
		assert_int_equal(host_wait(&io, i), 0);
	}
	/*
	 * The queue is no more, and nothing is answered on it; its id is free at once, and the
	 * connection is the host's to close.
	 */
	answered = io.answered;
	host_command(&io, 1, NVME_IO_FLUSH)->nsid = htole32(TEST_NSID);
	host_post(&io, 1, 64);
	(void)disconnect(&io, 2);
	host_post(&io, 2, 64);
	host_command(&io, 3, NVME_IO_FLUSH)->flags = 0; /* not even if it is no command */
	host_post(&io, 3, 64);
	connect_io(&again, 1, cntlid);
	assert_int_equal(flush(&again), 0);
	assert_true(rig_wait(&rig, &io, &io.dead, 10 * TEST_FIRST_MS));
	assert_int_equal(io.answered, answered);
	assert_int_equal(flush(&again), 0);
	host_close(&io);
	host_close(&again);
	host_close(&admin);
}

/* A first half whose second will not come, and an Abort of what only waits to be the last. */
static void test_disconnect_and_others(void **state)
{
	struct host_queue admin, io;
	struct nvme_command *cmd;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	connect_io(&io, 1, cntlid);
	cmd = host_command(&io, 1, NVME_IO_COMPARE);
	cmd->flags |= 1;
	cmd->nsid = htole32(TEST_NSID);
	host_keyed(&io, cmd, 512);
	host_post(&io, 1, 64);
	(void)disconnect(&io, 2);
	host_post(&io, 2, 64);
	assert_int_equal(host_wait(&io, 2), 0);
	assert_int_equal(host_wait(&io, 1), NVME_SC_FUSED_MISSING);
	host_close(&io);
	connect_io(&io, 1, cntlid);
	(void)disconnect(&io, 2);
	host_post(&io, 2, 64);
	for (unsigned int i = 0; i < 20; i++) {
		host_command(&admin, 0, NVME_ADMIN_ABORT)->cdw10 = htole32(1 | 2u << 16);
		assert_int_equal(host_run(&admin, 64), 0);
		assert_int_equal(le32toh(admin.by_cid[0].dw0), 1);
	}
	assert_int_equal(host_wait(&io, 2), 0);
	host_close(&io);
	host_close(&admin);
}

/* ---- keep alive ------------------------------------------------------------------------------- */

/* Any command on any queue is a sign of life, and nothing else is (CTRATT.TBKAS). */
static void test_traffic(void **state)
{
	struct host_queue admin, io;
	uint16_t cntlid;
	uint64_t start, last = 0;

	(void)state;
	assert_true(host_connect_nvme(&rig, &admin, 0));
	assert_int_equal(host_associate(&admin, 0, NVME_CNTLID_DYNAMIC, TEST_NQN, TRAFFIC_KATO_MS),
			 0);
	cntlid = (uint16_t)le32toh(admin.by_cid[0].dw0);
	assert_int_equal(host_enable(&admin), 0);
	connect_io(&io, 1, cntlid);
	start = now_ns();
	while (now_ns() - start < 5ull * TRAFFIC_KATO_MS / 2 * NS_PER_MS) {
		last = now_ns();
		assert_int_equal(flush(&io), 0);
		(void)rig_wait(&rig, &io, &io.dead, 100);
	}
	assert_false(io.dead);
	/* Not before the limit. */
	assert_true(rig_wait(&rig, &io, &io.dead, 10000));
	assert_true(now_ns() - last >= TRAFFIC_KATO_MS * NS_PER_MS);
	assert_true(rig_wait(&rig, &admin, &admin.dead, 10000));
	host_close(&io);
	host_close(&admin);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rejects, setup, teardown),
		cmocka_unit_test_setup_teardown(test_depths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_several, setup, teardown),
		cmocka_unit_test_setup_teardown(test_per_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shutdown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disconnect, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disconnect_and_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_traffic, setup, teardown),
	};

	print_message("in %s\n", where);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	tenure_block_signals();
	if (export_guard_init() < 0)
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run);
}
