// SPDX-License-Identifier: BSD-3-Clause
/*
 * The target as a raw host sees it, over the software fabric: association, identification, data,
 * events, and what ends a connection.
 */
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

static uint8_t byte_at(uint64_t offset)
{
	return offset < TEST_HOLE_OFFSET ? (uint8_t)(offset * 7 + offset / 4096) : 0;
}

/* ---- association ------------------------------------------------------------------------------ */

static uint16_t property(struct host_queue *q, uint32_t offset, uint8_t attrib)
{
	struct nvmf_property_command *cmd = (void *)host_command(q, 0, NVME_FABRICS);

	cmd->fctype = NVMF_PROPERTY_GET;
	cmd->offset = htole32(offset);
	cmd->attrib = attrib;
	return host_run(q, 64);
}

static void test_association(void **state)
{
	struct host_queue admin, io, other;
	uint16_t cntlid;

	(void)state;
	assert_true(host_connect_nvme(&rig, &admin, 0));
	assert_int_equal(admin.crqsize, HOST_DEPTH);
	/* Connect comes first. */
	assert_int_equal(property(&admin, NVME_PROP_VS, 0), NVME_SC_COMMAND_SEQUENCE | DNR);
	(void)host_command(&admin, 0, NVME_ADMIN_KEEP_ALIVE);
	assert_int_equal(host_run(&admin, 64), NVME_SC_COMMAND_SEQUENCE | DNR);
	assert_int_equal(host_associate(&admin, 0, NVME_CNTLID_DYNAMIC,
					"nqn.2026-11.org.leasehold:nobody", 0),
			 NVME_SC_CONNECT_INVALID_PARAM | DNR);
	assert_int_equal(le32toh(admin.by_cid[0].dw0), 1u << 16 | 256);
	assert_int_equal(host_associate(&admin, 0, NVME_CNTLID_DYNAMIC, TEST_NQN, 0), 0);
	cntlid = (uint16_t)le32toh(admin.by_cid[0].dw0);
	assert_int_equal(host_associate(&admin, 0, NVME_CNTLID_DYNAMIC, TEST_NQN, 0),
			 NVME_SC_COMMAND_SEQUENCE | DNR);
	/* Not enabled: nothing but properties. */
	(void)host_command(&admin, 0, NVME_ADMIN_IDENTIFY);
	assert_int_equal(host_run(&admin, 64), NVME_SC_COMMAND_SEQUENCE | DNR);
	assert_int_equal(property(&admin, NVME_PROP_CAP, 1), 0);
	assert_int_equal(le32toh(admin.by_cid[0].dw0) & 0xffff, 127);
	assert_int_equal(property(&admin, NVME_PROP_CAP, 0), NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(property(&admin, NVME_PROP_VS, 0), 0);
	assert_int_equal(le32toh(admin.by_cid[0].dw0), NVME_VS_2_0);
	assert_int_equal(property(&admin, 0x1000, 0), NVME_SC_INVALID_FIELD | DNR);
	assert_true(host_connect_nvme(&rig, &io, 1));
	assert_int_equal(host_associate(&io, 1, cntlid, TEST_NQN, 0),
			 NVME_SC_COMMAND_SEQUENCE | DNR);
	assert_int_equal(host_enable(&admin), 0);
	assert_int_equal(property(&admin, NVME_PROP_CSTS, 0), 0);
	assert_int_equal(le32toh(admin.by_cid[0].dw0), NVME_CSTS_RDY);
	assert_int_equal(host_associate(&io, 1, (uint16_t)(cntlid + 1), TEST_NQN, 0),
			 NVME_SC_CONNECT_INVALID_PARAM | DNR);
	assert_int_equal(host_associate(&io, 1, cntlid, TEST_NQN, 0), 0);
	/* A number that is taken, and one that was never given. */
	assert_true(host_connect_nvme(&rig, &other, 1));
	assert_int_equal(host_associate(&other, 1, cntlid, TEST_NQN, 0),
			 NVME_SC_COMMAND_SEQUENCE | DNR);
	host_close(&other);
	assert_false(host_connect_nvme(&rig, &other, TEST_QUEUES + 1));
	host_close(&other);
	/* The admin queue's end is the end of all. */
	host_close(&admin);
	assert_true(rig_wait(&rig, &io, &io.dead, 10000));
	host_close(&io);
}

static void test_identify(void **state)
{
	struct host_queue admin;
	const struct nvme_id_ctrl *ctrl;
	const struct nvme_id_ns *ns;
	const struct lh_identify *ours;
	struct nvme_command *cmd;

	(void)state;
	(void)host_admin(&rig, &admin);
	ctrl = (void *)admin.data;
	ns = (void *)admin.data;
	cmd = host_command(&admin, 0, NVME_ADMIN_IDENTIFY);
	cmd->cdw10 = htole32(NVME_CNS_CONTROLLER);
	host_keyed(&admin, cmd, 4096);
	assert_int_equal(host_run(&admin, 64), 0);
	assert_int_equal(le32toh(ctrl->ioccsz), 4 + 4096 / 16);
	assert_int_equal(ctrl->mdts, 8);
	assert_int_equal(le32toh(ctrl->sgls), 0x100005);
	assert_int_equal(le32toh(ctrl->nn), NVME_MAX_NSID);
	assert_int_equal(le32toh(ctrl->mnan), NVME_MAX_NAMESPACES);
	assert_string_equal(ctrl->subnqn, TEST_NQN);
	ours = (const void *)ctrl->vendor;
	assert_memory_equal(ours->magic, LH_MAGIC, 8);
	assert_int_equal(le32toh(ours->recall_deadline_ms), 1000);
	cmd->cdw10 = htole32(NVME_CNS_NS);
	cmd->nsid = htole32(TEST_NSID);
	assert_int_equal(host_run(&admin, 64), 0);
	assert_int_equal(le64toh(ns->nsze), TEST_FILE_BYTES / 512);
	assert_int_equal(ns->lbaf[0].lbads, 9);
	cmd->nsid = htole32(TEST_NSID - 1); /* inactive: zeros */
	assert_int_equal(host_run(&admin, 64), 0);
	assert_int_equal(le64toh(ns->nsze), 0);
	cmd->nsid = htole32(NVME_MAX_NSID + 1);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_NS | DNR);
	cmd->cdw10 = htole32(NVME_CNS_ACTIVE_NS);
	cmd->nsid = 0;
	assert_int_equal(host_run(&admin, 64), 0);
	assert_int_equal(le32toh(((le32 *)admin.data)[0]), TEST_NSID);
	assert_int_equal(((le32 *)admin.data)[1], 0);
	cmd->cdw10 = htole32(0x7e);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_FIELD | DNR);
	cmd->cdw10 = htole32(NVME_CNS_CONTROLLER);
	host_keyed(&admin, cmd, 4095);
	assert_int_equal(host_run(&admin, 64), NVME_SC_SGL_INVALID_DATA | DNR);
	host_close(&admin);
}

/* ---- features, logs, events ------------------------------------------------------------------- */

static uint16_t get_log(struct host_queue *q, uint8_t page, uint64_t offset, uint32_t bytes)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_GET_LOG_PAGE);
	uint32_t numd = bytes / 4 - 1;

	cmd->cdw10 = htole32(page | numd << 16);
	cmd->cdw12 = htole32((uint32_t)offset);
	host_keyed(q, cmd, bytes);
	return host_run(q, 64);
}

static void test_features_and_logs(void **state)
{
	uint8_t whole[sizeof(struct lh_export_log) + sizeof(struct lh_export_entry)];
	const struct lh_export_entry *entry = (void *)(whole + sizeof(struct lh_export_log));
	struct host_queue admin;
	struct nvme_command *cmd;

	(void)state;
	(void)host_admin(&rig, &admin);
	cmd = host_command(&admin, 0, NVME_ADMIN_SET_FEATURES);
	cmd->cdw10 = htole32(NVME_FEAT_QUEUES);
	cmd->cdw11 = htole32(63 | 63u << 16);
	assert_int_equal(host_run(&admin, 64), 0);
	assert_int_equal(le32toh(admin.by_cid[0].dw0), (TEST_QUEUES - 1) | (TEST_QUEUES - 1) << 16);
	cmd->cdw11 = htole32(0xffff | 0xffffu << 16);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_FIELD | DNR);
	cmd->cdw10 = htole32(NVME_FEAT_QUEUES | 1u << 31);
	assert_int_equal(host_run(&admin, 64), NVME_SC_FEATURE_NOT_SAVEABLE | DNR);
	(void)host_command(&admin, 0, NVME_ADMIN_ABORT);
	assert_int_equal(host_run(&admin, 64), 0);
	assert_int_equal(le32toh(admin.by_cid[0].dw0), 1);

	assert_int_equal(get_log(&admin, LH_LOG_EXPORTS, 0, sizeof(whole)), 0);
	memcpy(whole, admin.data, sizeof(whole));
	assert_string_equal(entry->name, "a");
	assert_int_equal(le32toh(entry->nsid), TEST_NSID);
	assert_int_equal(entry->state, LH_EXPORT_SERVING);
	assert_int_equal(le64toh(entry->size_bytes), TEST_FILE_BYTES);
	for (uint32_t at = 0; at < sizeof(whole); at += 16) {
		assert_int_equal(get_log(&admin, LH_LOG_EXPORTS, at, 16), 0);
		assert_memory_equal(admin.data, whole + at, 16);
	}
	assert_int_equal(get_log(&admin, LH_LOG_EXPORTS, 4096, 16), NVME_SC_INVALID_FIELD | DNR);
	/* What lies behind the end reads as zeros. */
	admin.data[4095] = 1;
	assert_int_equal(get_log(&admin, NVME_LOG_SMART, 0, 4096), 0);
	assert_int_equal(admin.data[4095], 0);
	assert_int_equal(get_log(&admin, 0x70, 0, 16), NVME_SC_INVALID_LOG_PAGE | DNR);
	assert_int_equal(get_log(&admin, LH_LOG_RECALLS, 0, 16), 0);
	host_close(&admin);
}

static void test_events(void **state)
{
	struct host_queue admin;

	(void)state;
	(void)host_admin(&rig, &admin);
	for (unsigned int i = 1; i <= 5; i++) {
		(void)host_command(&admin, i, NVME_ADMIN_ASYNC_EVENT);
		host_post(&admin, i, 64);
	}
	assert_int_equal(host_wait(&admin, 5), NVME_SC_AEN_LIMIT | DNR);
	/* The others are held, and hold nothing up. */
	assert_int_equal(get_log(&admin, LH_LOG_RECALLS, 0, 16), 0);
	assert_false(admin.has_cid[1] || admin.has_cid[2] || admin.has_cid[3] || admin.has_cid[4]);
	host_close(&admin);
}

/* ---- data ------------------------------------------------------------------------------------- */

static void rw_fill(struct nvme_command *cmd, uint64_t offset, uint32_t length)
{
	cmd->nsid = htole32(TEST_NSID);
	cmd->cdw10 = htole32((uint32_t)(offset / 512));
	cmd->cdw12 = htole32(length / 512 - 1);
}

static uint16_t rw(struct host_queue *q, uint8_t opcode, uint64_t offset, uint32_t length)
{
	struct nvme_command *cmd = host_command(q, 0, opcode);

	rw_fill(cmd, offset, length);
	host_keyed(q, cmd, length);
	return host_run(q, 64);
}

static uint16_t write_in_capsule(struct host_queue *q, uint64_t offset, uint32_t length, int byte)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_IO_WRITE);

	rw_fill(cmd, offset, length);
	nvme_offset_sgl_set(&cmd->sgl, 0, length);
	memset(cmd + 1, byte, length);
	return host_run(q, 64 + length);
}

static void check_read(struct host_queue *q, uint64_t offset, uint32_t length)
{
	memset(q->data, 0xee, length);
	assert_int_equal(rw(q, NVME_IO_READ, offset, length), 0);
	for (uint32_t i = 0; i < length; i++) {
		if (q->data[i] != byte_at(offset + i))
			fail_msg("byte %llu is %02x, not %02x", (unsigned long long)offset + i,
				 q->data[i], byte_at(offset + i));
	}
}

static void check_filled(struct host_queue *q, uint64_t offset, uint32_t length, uint8_t byte)
{
	memset(q->data, (uint8_t)~byte, length);
	assert_int_equal(rw(q, NVME_IO_READ, offset, length), 0);
	for (uint32_t i = 0; i < length; i++)
		assert_int_equal(q->data[i], byte);
}

static void test_data(void **state)
{
	struct host_queue admin, io;
	struct nvme_command *cmd;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	assert_true(host_connect_nvme(&rig, &io, 1));
	assert_int_equal(host_associate(&io, 1, cntlid, TEST_NQN, 0), 0);
	check_read(&io, 0, 512);
	check_read(&io, 512ull * 7, 4096 + 512);
	check_read(&io, MIB(1), MIB(1));
	check_read(&io, TEST_HOLE_OFFSET - 4096, 8192); /* partly not registered: fs path */
	check_read(&io, TEST_FILE_BYTES - 512, 512);

	memset(io.data, 0x5a, HOST_DATA);
	assert_int_equal(rw(&io, NVME_IO_WRITE, 4096, 512), 0);
	check_filled(&io, 4096, 512, 0x5a);
	check_read(&io, 4096 + 512, 512);
	memset(io.data, 0xa5, HOST_DATA);
	assert_int_equal(rw(&io, NVME_IO_WRITE, MIB(1), MIB(1)), 0);
	check_filled(&io, MIB(1), MIB(1), 0xa5);
	memset(io.data, 0x77, HOST_DATA);
	assert_int_equal(rw(&io, NVME_IO_WRITE, TEST_HOLE_OFFSET + 4096, 4096), 0);
	check_filled(&io, TEST_HOLE_OFFSET + 4096, 4096, 0x77);
	check_filled(&io, TEST_HOLE_OFFSET, 4096, 0);
	assert_int_equal(write_in_capsule(&io, 512, 4096, 0x33), 0);
	check_filled(&io, 512, 4096, 0x33);
	assert_int_equal(write_in_capsule(&io, TEST_HOLE_OFFSET + MIB(1) / 2, 512, 0x34), 0);
	check_filled(&io, TEST_HOLE_OFFSET + MIB(1) / 2, 512, 0x34);

	assert_int_equal(rw(&io, NVME_IO_READ, TEST_FILE_BYTES, 512), NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(rw(&io, NVME_IO_WRITE, TEST_FILE_BYTES - 512, 1024),
			 NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(rw(&io, 0x7c, 0, 512), NVME_SC_INVALID_OPCODE | DNR);
	cmd = host_command(&io, 0, NVME_IO_FLUSH);
	cmd->nsid = htole32(TEST_NSID);
	assert_int_equal(host_run(&io, 64), 0);
	cmd->nsid = htole32(NVME_NSID_ALL);
	assert_int_equal(host_run(&io, 64), NVME_SC_INVALID_NS | DNR);
	cmd->nsid = 0;
	assert_int_equal(host_run(&io, 64), NVME_SC_INVALID_NS | DNR);
	cmd->nsid = htole32(TEST_NSID - 1);
	assert_int_equal(host_run(&io, 64), NVME_SC_INVALID_NS | DNR);
	cmd = host_command(&io, 0, NVME_IO_READ);
	rw_fill(cmd, 0, 1024);
	host_keyed(&io, cmd, 512);
	assert_int_equal(host_run(&io, 64), NVME_SC_SGL_INVALID_DATA | DNR);
	host_close(&io);
	host_close(&admin);
}

/* As many commands at once as receives were promised, over and over. */
static void test_full_depth(void **state)
{
	struct host_queue admin, io;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	assert_true(host_connect_nvme(&rig, &io, 2));
	assert_int_equal(host_associate(&io, 2, cntlid, TEST_NQN, 0), 0);
	for (unsigned int round = 0; round < 20; round++) {
		for (unsigned int i = 0; i < io.crqsize; i++) {
			struct nvme_command *cmd = host_command(
				&io, i, (i + round) % 3 ? NVME_IO_READ : NVME_IO_WRITE);

			/* Every fourth over the hole: through the bounce buffers, which are few. */
			rw_fill(cmd, (i % 4 ? i * 4096ull : TEST_HOLE_OFFSET + i * 4096ull), 65536);
			host_keyed(&io, cmd, 65536);
			host_post(&io, i, 64);
		}
		for (unsigned int i = 0; i < io.crqsize; i++)
			assert_int_equal(host_wait(&io, i), 0);
	}
	assert_false(io.dead);
	host_close(&io);
	host_close(&admin);
}

/* ---- ends ------------------------------------------------------------------------------------- */

static void test_first_command(void **state)
{
	struct host_queue silent;

	(void)state;
	assert_true(host_connect_nvme(&rig, &silent, 0));
	assert_false(rig_wait(&rig, &silent, &silent.dead, TEST_FIRST_MS / 2));
	assert_true(rig_wait(&rig, &silent, &silent.dead, 10000));
	host_close(&silent);
}

static void test_keep_alive(void **state)
{
	struct host_queue admin;
	uint64_t start;

	(void)state;
	assert_true(host_connect_nvme(&rig, &admin, 0));
	assert_int_equal(host_associate(&admin, 0, NVME_CNTLID_DYNAMIC, TEST_NQN, 300), 0);
	assert_int_equal(host_enable(&admin), 0);
	start = now_ns();
	while (now_ns() - start < 1200 * NS_PER_MS) {
		(void)host_command(&admin, 0, NVME_ADMIN_KEEP_ALIVE);
		assert_int_equal(host_run(&admin, 64), 0);
		(void)rig_wait(&rig, &admin, &admin.dead, 100);
	}
	assert_false(admin.dead);
	assert_true(rig_wait(&rig, &admin, &admin.dead, 10000));
	host_close(&admin);
}

static void test_garbage(void **state)
{
	struct lh_cm_request direct = {.recfmt = htole16(LH_CM_RECFMT),
				       .version = htole16(LH_PROTOCOL_VERSION),
				       .credits = htole16(8)};
	struct host_queue q;

	(void)state;
	assert_false(host_connect(&rig, &q, "x", 1));
	host_close(&q);
	assert_false(host_connect(&rig, &q, &direct, sizeof(direct)));
	host_close(&q);
	assert_true(host_connect_nvme(&rig, &q, 0));
	(void)host_command(&q, 0, NVME_FABRICS);
	host_post(&q, 0, 63); /* no capsule */
	assert_true(rig_wait(&rig, &q, &q.dead, 10000));
	host_close(&q);
}

/* Gone in the middle of everything, with the target stopped right behind. */
static void test_sudden_end(void **state)
{
	struct host_queue admin, io;
	uint16_t cntlid;

	(void)state;
	for (unsigned int round = 0; round < 10; round++) {
		cntlid = host_admin(&rig, &admin);
		assert_true(host_connect_nvme(&rig, &io, 1));
		assert_int_equal(host_associate(&io, 1, cntlid, TEST_NQN, 0), 0);
		for (unsigned int i = 1; i < 4; i++) {
			(void)host_command(&admin, i, NVME_ADMIN_ASYNC_EVENT);
			host_post(&admin, i, 64);
		}
		for (unsigned int i = 0; i < 24; i++) {
			struct nvme_command *cmd =
				host_command(&io, i, i % 2 ? NVME_IO_READ : NVME_IO_WRITE);

			rw_fill(cmd, i % 4 ? MIB(1) : TEST_HOLE_OFFSET, MIB(1) / 2);
			host_keyed(&io, cmd, MIB(1) / 2);
			host_post(&io, i, 64);
		}
		for (unsigned int i = 0; i < round * 3; i++)
			rig_turn(&rig, &io);
		if (round % 2) {
			host_close(&io);
			host_close(&admin);
		} else {
			host_close(&admin);
			host_close(&io);
		}
	}
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_association, setup, teardown),
		cmocka_unit_test_setup_teardown(test_identify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_features_and_logs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_events, setup, teardown),
		cmocka_unit_test_setup_teardown(test_data, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_depth, setup, teardown),
		cmocka_unit_test_setup_teardown(test_first_command, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keep_alive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sudden_end, setup, teardown),
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
