// SPDX-License-Identifier: BSD-3-Clause
/* Admin commands as a raw host sees them: what they answer, and how they refuse bad forms. */
#include "nvme_host.h"

#include "tenure/tenure.h"

#define DNR NVME_SC_DNR

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

static uint32_t dw0(const struct host_queue *q)
{
	return le32toh(q->by_cid[0].dw0);
}

static void connect_io(struct host_queue *io, uint16_t qid, uint16_t cntlid)
{
	assert_true(host_connect_nvme(&rig, io, qid));
	assert_int_equal(host_associate(io, qid, cntlid, TEST_NQN, 0), 0);
}

/* ---- features --------------------------------------------------------------------------------- */

static uint16_t set_ns(struct host_queue *q, uint32_t id, uint32_t cdw11, uint32_t nsid)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_SET_FEATURES);

	cmd->nsid = htole32(nsid);
	cmd->cdw10 = htole32(id);
	cmd->cdw11 = htole32(cdw11);
	return host_run(q, 64);
}

static uint16_t set(struct host_queue *q, uint32_t id, uint32_t cdw11)
{
	return set_ns(q, id, cdw11, 0);
}

static uint16_t get_ns(struct host_queue *q, uint32_t id, unsigned int select, uint32_t cdw11,
		       uint32_t nsid)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_GET_FEATURES);

	cmd->nsid = htole32(nsid);
	cmd->cdw10 = htole32(id | select << 8);
	cmd->cdw11 = htole32(cdw11);
	return host_run(q, 64);
}

static uint16_t get(struct host_queue *q, uint32_t id, unsigned int select)
{
	return get_ns(q, id, select, 0, 0);
}

static void check(struct host_queue *q, uint32_t id, unsigned int select, uint32_t value)
{
	assert_int_equal(get(q, id, select), 0);
	assert_int_equal(dw0(q), value);
}

static void test_features(void **state)
{
	static const uint8_t refused[] = {
		0x00, 0x03, NVME_FEAT_INTERRUPT_COALESCING, NVME_FEAT_INTERRUPT_VECTOR, 0x0c,
		0x7f, 0xff};
	struct host_queue admin;

	(void)state;
	(void)host_admin(&rig, &admin);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		assert_int_equal(set(&admin, refused[i], 0), NVME_SC_INVALID_FIELD | DNR);
		assert_int_equal(get(&admin, refused[i], 0), NVME_SC_INVALID_FIELD | DNR);
	}
	check(&admin, NVME_FEAT_ARBITRATION, 0, 7);
	assert_int_equal(set(&admin, NVME_FEAT_ARBITRATION, 0x01020303), 0);
	check(&admin, NVME_FEAT_ARBITRATION, 0, 0x01020303);
	check(&admin, NVME_FEAT_ARBITRATION, 1, 7);
	check(&admin, NVME_FEAT_ARBITRATION, 2, 7); /* saved: there is none */
	check(&admin, NVME_FEAT_ARBITRATION, 3, 4);
	for (unsigned int select = 4; select < 8; select++)
		assert_int_equal(get(&admin, NVME_FEAT_ARBITRATION, select),
				 NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(set(&admin, NVME_FEAT_ARBITRATION | 1u << 31, 0),
			 NVME_SC_FEATURE_NOT_SAVEABLE | DNR);
	assert_int_equal(set_ns(&admin, NVME_FEAT_ARBITRATION, 0, TEST_NSID),
			 NVME_SC_FEATURE_NOT_NS_SPECIFIC | DNR);
	assert_int_equal(set_ns(&admin, NVME_FEAT_ARBITRATION, 0, NVME_NSID_ALL), 0);

	assert_int_equal(set(&admin, NVME_FEAT_POWER, 1), NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(set(&admin, NVME_FEAT_POWER, 0), 0);
	check(&admin, NVME_FEAT_POWER, 0, 0);
	check(&admin, NVME_FEAT_TEMPERATURE, 0, 343);
	assert_int_equal(set(&admin, NVME_FEAT_TEMPERATURE, 330), 0);
	assert_int_equal(set(&admin, NVME_FEAT_TEMPERATURE, 1u << 20 | 270), 0);
	check(&admin, NVME_FEAT_TEMPERATURE, 0, 330);
	assert_int_equal(get_ns(&admin, NVME_FEAT_TEMPERATURE, 0, 1u << 20, 0), 0);
	assert_int_equal(dw0(&admin), 270);
	assert_int_equal(set(&admin, NVME_FEAT_TEMPERATURE, 1u << 16), NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(set(&admin, NVME_FEAT_TEMPERATURE, 2u << 20), NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(set(&admin, NVME_FEAT_WRITE_ATOMICITY, 1), 0);
	check(&admin, NVME_FEAT_WRITE_ATOMICITY, 0, 1);
	check(&admin, NVME_FEAT_WRITE_ATOMICITY, 1, 0);
	assert_int_equal(set(&admin, NVME_FEAT_ASYNC_EVENT, NVME_AEN_CFG_NS_ATTR), 0);
	check(&admin, NVME_FEAT_ASYNC_EVENT, 0, NVME_AEN_CFG_NS_ATTR);
	assert_int_equal(set(&admin, NVME_FEAT_COMMAND_SET_PROFILE, 1),
			 NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(set(&admin, NVME_FEAT_COMMAND_SET_PROFILE, 0), 0);
	check(&admin, NVME_FEAT_COMMAND_SET_PROFILE, 0, 0);

	assert_int_equal(set_ns(&admin, NVME_FEAT_ERROR_RECOVERY, 20, 0), NVME_SC_INVALID_NS | DNR);
	assert_int_equal(set_ns(&admin, NVME_FEAT_ERROR_RECOVERY, 20, TEST_NSID + 1),
			 NVME_SC_INVALID_NS | DNR);
	assert_int_equal(set_ns(&admin, NVME_FEAT_ERROR_RECOVERY, 1u << 16, TEST_NSID),
			 NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(set_ns(&admin, NVME_FEAT_ERROR_RECOVERY, 20, TEST_NSID), 0);
	assert_int_equal(get_ns(&admin, NVME_FEAT_ERROR_RECOVERY, 0, 0, TEST_NSID), 0);
	assert_int_equal(dw0(&admin), 20);
	assert_int_equal(get_ns(&admin, NVME_FEAT_ERROR_RECOVERY, 0, 0, NVME_NSID_ALL),
			 NVME_SC_INVALID_NS | DNR);
	check(&admin, NVME_FEAT_ERROR_RECOVERY, 3, 4 | 2);
	host_close(&admin);
}

static void test_features_of_fabrics(void **state)
{
	struct host_queue admin, io;
	struct nvme_command *cmd;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	assert_int_equal(set(&admin, NVME_FEAT_KEEP_ALIVE, 60001), 0);
	check(&admin, NVME_FEAT_KEEP_ALIVE, 0, 60100);
	assert_int_equal(set(&admin, NVME_FEAT_KEEP_ALIVE, UINT32_MAX), 0);
	check(&admin, NVME_FEAT_KEEP_ALIVE, 0, 4294967200u);
	assert_int_equal(set(&admin, NVME_FEAT_KEEP_ALIVE, 0), 0);

	check(&admin, NVME_FEAT_QUEUES, 0, (TEST_QUEUES - 1) | (TEST_QUEUES - 1) << 16);
	assert_int_equal(set(&admin, NVME_FEAT_QUEUES, 1 | 2u << 16), 0);
	assert_int_equal(dw0(&admin), 1 | 1u << 16);
	check(&admin, NVME_FEAT_QUEUES, 0, 1 | 1u << 16);
	assert_int_equal(set(&admin, NVME_FEAT_QUEUES, 0xffff), NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(set(&admin, NVME_FEAT_QUEUES, 0xffffu << 16), NVME_SC_INVALID_FIELD | DNR);
	connect_io(&io, 1, cntlid);
	assert_int_equal(set(&admin, NVME_FEAT_QUEUES, 3 | 3u << 16),
			 NVME_SC_COMMAND_SEQUENCE | DNR);
	check(&admin, NVME_FEAT_QUEUES, 0, 1 | 1u << 16);

	/* The host's identifier is Connect's. */
	assert_int_equal(set(&admin, NVME_FEAT_HOST_ID, 1), NVME_SC_COMMAND_SEQUENCE | DNR);
	cmd = host_command(&admin, 0, NVME_ADMIN_GET_FEATURES);
	cmd->cdw10 = htole32(NVME_FEAT_HOST_ID);
	host_keyed(&admin, cmd, 16);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_FIELD | DNR);
	cmd->cdw11 = htole32(1);
	memset(admin.data, 0xee, 16);
	assert_int_equal(host_run(&admin, 64), 0);
	assert_int_equal(admin.data[3], 9);
	assert_int_equal(admin.data[4], 0);
	host_keyed(&admin, cmd, 8);
	assert_int_equal(host_run(&admin, 64), NVME_SC_SGL_INVALID_DATA | DNR);
	host_close(&io);
	host_close(&admin);
}

static void test_host_behaviour(void **state)
{
	struct host_queue admin;
	struct nvme_command *cmd;

	(void)state;
	(void)host_admin(&rig, &admin);
	cmd = host_command(&admin, 0, NVME_ADMIN_SET_FEATURES);
	cmd->cdw10 = htole32(NVME_FEAT_HOST_BEHAVIOUR);
	assert_int_equal(host_run(&admin, 64), NVME_SC_SGL_INVALID_DATA | DNR);
	host_keyed(&admin, cmd, 511);
	assert_int_equal(host_run(&admin, 64), NVME_SC_SGL_INVALID_DATA | DNR);
	memset(admin.data, 0, 512);
	admin.data[0] = 2;
	host_keyed(&admin, cmd, 512);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_FIELD | DNR);
	admin.data[0] = 1;
	assert_int_equal(host_run(&admin, 64), 0);
	/* The same in the capsule. */
	nvme_offset_sgl_set(&cmd->sgl, 0, 512);
	memset(cmd + 1, 0, 512);
	((uint8_t *)(cmd + 1))[1] = 1;
	assert_int_equal(host_run(&admin, 64 + 512), 0);
	cmd = host_command(&admin, 0, NVME_ADMIN_GET_FEATURES);
	cmd->cdw10 = htole32(NVME_FEAT_HOST_BEHAVIOUR);
	host_keyed(&admin, cmd, 512);
	memset(admin.data, 0xee, 512);
	assert_int_equal(host_run(&admin, 64), 0);
	assert_int_equal(admin.data[0], 0);
	assert_int_equal(admin.data[1], 1);
	assert_int_equal(admin.data[511], 0);
	host_close(&admin);
}

/* ---- Abort ------------------------------------------------------------------------------------ */

static uint16_t abort_command(struct host_queue *q, uint16_t sqid, uint16_t cid)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_ABORT);

	cmd->cdw10 = htole32(sqid | (uint32_t)cid << 16);
	return host_run(q, 64);
}

static void test_abort(void **state)
{
	struct host_queue admin, io;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	connect_io(&io, 1, cntlid);
	for (unsigned int i = 1; i <= 4; i++) {
		(void)host_command(&admin, i, NVME_ADMIN_ASYNC_EVENT);
		host_post(&admin, i, 64);
	}
	assert_int_equal(abort_command(&admin, 0, 2), 0);
	assert_int_equal(dw0(&admin), 0);
	assert_int_equal(host_wait(&admin, 2), NVME_SC_ABORT_REQUESTED);
	assert_false(admin.has_cid[1] || admin.has_cid[3] || admin.has_cid[4]);
	/* Again, one that never was, the Abort itself, and queues with nothing or that are not there. */
	assert_int_equal(abort_command(&admin, 0, 2), 0);
	assert_int_equal(dw0(&admin), 1);
	assert_int_equal(abort_command(&admin, 0, 77), 0);
	assert_int_equal(dw0(&admin), 1);
	assert_int_equal(abort_command(&admin, 0, 0), 0);
	assert_int_equal(dw0(&admin), 1);
	assert_int_equal(abort_command(&admin, 1, 1), 0);
	assert_int_equal(dw0(&admin), 1);
	assert_int_equal(abort_command(&admin, 9, 1), 0);
	assert_int_equal(dw0(&admin), 1);
	/* There is room for another one. */
	(void)host_command(&admin, 2, NVME_ADMIN_ASYNC_EVENT);
	host_post(&admin, 2, 64);
	(void)host_command(&admin, 5, NVME_ADMIN_ASYNC_EVENT);
	host_post(&admin, 5, 64);
	assert_int_equal(host_wait(&admin, 5), NVME_SC_AEN_LIMIT | DNR);
	host_close(&io);
	host_close(&admin);
}

/*
 * Commands over the hole wait for the few bounce buffers: some of them can be aborted, and every
 * command is answered once, the aborted ones with the status for it.
 */
static void test_abort_io(void **state)
{
	unsigned int stopped = 0, aborted = 0;
	struct host_queue admin, io;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	connect_io(&io, 1, cntlid);
	for (unsigned int round = 0; round < 20; round++) {
		for (unsigned int i = 0; i < 24; i++) {
			struct nvme_command *cmd = host_command(&io, i, NVME_IO_READ);

			cmd->nsid = htole32(TEST_NSID);
			cmd->cdw10 = htole32(TEST_HOLE_OFFSET / 512);
			cmd->cdw12 = htole32(MIB(1) / 512 - 1);
			host_keyed(&io, cmd, MIB(1));
			host_post(&io, i, 64);
		}
		for (unsigned int i = 23; i > 19; i--) {
			assert_int_equal(abort_command(&admin, 1, (uint16_t)i), 0);
			stopped += dw0(&admin) == 0;
		}
		for (unsigned int i = 0; i < 24; i++) {
			uint16_t status = host_wait(&io, i);

			if (status != 0)
				assert_int_equal(status, NVME_SC_ABORT_REQUESTED);
			aborted += status != 0;
		}
	}
	assert_int_equal(stopped, aborted);
	assert_true(aborted > 0);
	assert_false(io.dead);
	host_close(&io);
	host_close(&admin);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_features, setup, teardown),
		cmocka_unit_test_setup_teardown(test_features_of_fabrics, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_behaviour, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abort, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abort_io, setup, teardown),
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
