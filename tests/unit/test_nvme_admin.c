// SPDX-License-Identifier: BSD-3-Clause
/* Admin commands as a raw host sees them: what they answer, and how they refuse bad forms. */
#include "nvme_host.h"

#include <errno.h>
#include <stdatomic.h>

#include "nvme/internal.h"
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
	check(&admin, NVME_FEAT_TEMPERATURE, 0, 358);
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
	/* What there is not is not turned on; of endurance groups it is refused. */
	assert_int_equal(set(&admin, NVME_FEAT_ASYNC_EVENT, ~NVME_AEN_CFG_ENDURANCE), 0);
	check(&admin, NVME_FEAT_ASYNC_EVENT, 0,
	      NVME_AEN_CFG_WARNINGS | NVME_AEN_CFG_NS_ATTR | NVME_AEN_CFG_ANA);
	assert_int_equal(
		set(&admin, NVME_FEAT_ASYNC_EVENT, NVME_AEN_CFG_ENDURANCE | NVME_AEN_CFG_NS_ATTR),
		NVME_SC_INVALID_FIELD | DNR);
	check(&admin, NVME_FEAT_ASYNC_EVENT, 0,
	      NVME_AEN_CFG_WARNINGS | NVME_AEN_CFG_NS_ATTR | NVME_AEN_CFG_ANA);
	assert_int_equal(set(&admin, NVME_FEAT_COMMAND_SET_PROFILE, 1),
			 NVME_SC_COMMAND_SETS_REJECTED | DNR);
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
	struct host_queue admin, io, second, third;
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
	/* That many, and no more. */
	assert_true(host_connect_nvme(&rig, &third, 3));
	assert_int_equal(host_associate(&third, 3, cntlid, TEST_NQN, 0),
			 NVME_SC_CONNECT_INVALID_PARAM | DNR);
	assert_int_equal(dw0(&third), offsetof(struct nvmf_connect_command, qid));
	host_close(&third);
	connect_io(&second, 2, cntlid);
	host_close(&second);

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
	/* Extended LBA formats are not there to be enabled; nothing of what came with it is taken. */
	cmd = host_command(&admin, 0, NVME_ADMIN_SET_FEATURES);
	cmd->cdw10 = htole32(NVME_FEAT_HOST_BEHAVIOUR);
	memset(admin.data, 0, 512);
	admin.data[0] = admin.data[2] = 1;
	host_keyed(&admin, cmd, 512);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_FIELD | DNR);
	cmd->opcode = NVME_ADMIN_GET_FEATURES;
	memset(admin.data, 0xee, 512);
	assert_int_equal(host_run(&admin, 64), 0);
	assert_int_equal(admin.data[0], 0);
	assert_int_equal(admin.data[1], 1);
	assert_int_equal(admin.data[2], 0);
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

/* ---- log pages -------------------------------------------------------------------------------- */

static uint16_t get_log(struct host_queue *q, uint8_t page, uint64_t offset, uint32_t bytes)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_GET_LOG_PAGE);

	cmd->cdw10 = htole32(page | (bytes / 4 - 1) << 16);
	cmd->cdw12 = htole32((uint32_t)offset);
	host_keyed(q, cmd, bytes);
	return host_run(q, 64);
}

static void test_logs(void **state)
{
	const le32 *entries;
	struct nvme_command *cmd;
	struct host_queue admin;

	(void)state;
	(void)host_admin(&rig, &admin);
	entries = (const le32 *)(const void *)admin.data;
	assert_int_equal(get_log(&admin, NVME_LOG_SUPPORTED, 0, 1024), 0);
	for (unsigned int page = 0; page < 256; page++) {
		bool supported = le32toh(entries[page]) & 1;
		struct host_queue *q = &admin;
		uint8_t saved[1024];

		memcpy(saved, q->data, sizeof(saved));
		assert_int_equal(get_log(q, (uint8_t)page, 0, 16),
				 supported ? 0 : NVME_SC_INVALID_LOG_PAGE | DNR);
		memcpy(q->data, saved, sizeof(saved));
	}
	assert_int_equal(get_log(&admin, NVME_LOG_EFFECTS, 0, 4096), 0);
	assert_int_equal(le32toh(entries[NVME_ADMIN_IDENTIFY]), 1); /* no scope: LPA says so */
	assert_int_equal(le32toh(entries[0x80]), 0);		    /* Format */
	assert_int_equal(le32toh(entries[256 + NVME_IO_READ]), 1);
	assert_int_equal(le32toh(entries[256 + NVME_IO_WRITE]), 3);
	assert_int_equal(le32toh(entries[256 + NVME_IO_WRITE_UNCORRECTABLE]), 0);
	assert_int_equal(get_log(&admin, NVME_LOG_FEATURE_EFFECTS, 0, 1024), 0);
	assert_int_equal(le32toh(entries[NVME_FEAT_QUEUES]), 1 | 1u << 21);
	assert_int_equal(le32toh(entries[NVME_FEAT_INTERRUPT_VECTOR]), 0);
	assert_int_equal(le32toh(entries[NVME_FEAT_ERROR_RECOVERY]), 1 | 1u << 20);

	/* Offsets: whole dwords, inside the page, in bytes. */
	assert_int_equal(get_log(&admin, NVME_LOG_EFFECTS, 2, 16), NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(get_log(&admin, NVME_LOG_EFFECTS, 4 * NVME_ADMIN_IDENTIFY, 4), 0);
	assert_int_equal(le32toh(entries[0]) & 1, 1);
	assert_int_equal(get_log(&admin, NVME_LOG_EFFECTS, 4096, 4), 0);
	assert_int_equal(get_log(&admin, NVME_LOG_EFFECTS, 4100, 4), NVME_SC_INVALID_FIELD | DNR);
	cmd = host_command(&admin, 0, NVME_ADMIN_GET_LOG_PAGE);
	cmd->cdw10 = htole32(NVME_LOG_EFFECTS | 3u << 16);
	cmd->cdw13 = htole32(1);
	host_keyed(&admin, cmd, 16);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_FIELD | DNR);
	cmd->cdw13 = 0;
	cmd->cdw14 = htole32(1u << 23);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_FIELD | DNR);
	cmd->cdw14 = htole32(2u << 24); /* of another command set */
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_FIELD | DNR);
	/* NUMD and the SGL are to agree. */
	cmd->cdw14 = 0;
	host_keyed(&admin, cmd, 12);
	assert_int_equal(host_run(&admin, 64), NVME_SC_SGL_INVALID_DATA | DNR);
	nvme_keyed_sgl_set(&cmd->sgl, 0, 0, 0, NVME_SGL_ADDRESS);
	assert_int_equal(host_run(&admin, 64), NVME_SC_SGL_INVALID_DATA | DNR);
	host_close(&admin);
}

static uint64_t low(const uint8_t field[16])
{
	le64 value;

	memcpy(&value, field, sizeof(value));
	return le64toh(value);
}

static uint16_t rw(struct host_queue *q, uint8_t opcode, uint64_t lba, uint32_t blocks)
{
	struct nvme_command *cmd = host_command(q, 0, opcode);

	cmd->nsid = htole32(TEST_NSID);
	cmd->cdw10 = htole32((uint32_t)lba);
	cmd->cdw12 = htole32(blocks - 1);
	host_keyed(q, cmd, blocks * 512);
	return host_run(q, 64);
}

static void test_smart(void **state)
{
	const struct nvme_smart_log *log;
	struct host_queue admin, io;
	struct nvme_command *cmd;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	log = (const void *)admin.data;
	assert_int_equal(get_log(&admin, NVME_LOG_SMART, 0, sizeof(*log)), 0);
	assert_int_equal(log->warning, 0);
	assert_int_equal(log->spare_percent, 100);
	assert_int_equal(low(log->power_cycles), 7);
	assert_int_equal(low(log->unsafe_shutdowns), 3);
	assert_int_equal(low(log->host_reads), 0);
	connect_io(&io, 1, cntlid);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(rw(&io, NVME_IO_READ, 0, 1024), 0);
	assert_int_equal(rw(&io, NVME_IO_WRITE, 8, 8), 0);
	assert_int_equal(rw(&io, NVME_IO_READ, TEST_FILE_BYTES / 512, 1), NVME_SC_LBA_RANGE | DNR);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(get_log(&admin, NVME_LOG_SMART, 0, sizeof(*log)), 0);
		assert_int_equal(low(log->host_reads), 3);
		assert_int_equal(low(log->host_writes), 1);
		assert_int_equal(low(log->units_read), 4); /* 3072 blocks */
		assert_int_equal(low(log->units_written), 1);
		assert_int_equal(low(log->media_errors), 0);
		assert_int_equal(low(log->error_entries), 1);
		/* What the queue counted outlives it. */
		if (i == 0) {
			host_close(&io);
			(void)rig_wait(&rig, &admin, &admin.dead, 200);
		}
	}
	cmd = host_command(&admin, 0, NVME_ADMIN_GET_LOG_PAGE);
	cmd->cdw10 = htole32(NVME_LOG_SMART | 127u << 16);
	cmd->nsid = htole32(NVME_NSID_ALL);
	host_keyed(&admin, cmd, 512);
	assert_int_equal(host_run(&admin, 64), 0);
	cmd->nsid = htole32(TEST_NSID);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_FIELD | DNR);
	host_close(&admin);
}

/* What the sensors say. */
static _Atomic uint16_t kelvins;
uint16_t __wrap_health_memory_temperature(const char *dir);

uint16_t __wrap_health_memory_temperature(const char *dir)
{
	assert_string_equal(dir, "/sys/class/hwmon");
	return kelvins;
}

static void check_temperature(struct host_queue *q, uint16_t k, uint8_t warning)
{
	const struct nvme_smart_log *log = (const void *)q->data;

	kelvins = k;
	assert_int_equal(get_log(q, NVME_LOG_SMART, 0, sizeof(*log)), 0);
	assert_int_equal(log->temperature_k[0] | log->temperature_k[1] << 8, k);
	assert_int_equal(log->warning, warning);
	kelvins = 0;
}

/* Warned of at the thresholds, which the host may set; never where nothing is measured. */
static void test_temperature(void **state)
{
	struct host_queue admin;

	(void)state;
	(void)host_admin(&rig, &admin);
	check_temperature(&admin, 0, 0);
	check_temperature(&admin, 314, 0);
	check_temperature(&admin, 357, 0);
	check_temperature(&admin, 358, 2);
	assert_int_equal(set(&admin, NVME_FEAT_TEMPERATURE, 310), 0);
	check_temperature(&admin, 309, 0);
	check_temperature(&admin, 310, 2);
	assert_int_equal(set(&admin, NVME_FEAT_TEMPERATURE, 1u << 20 | 290), 0);
	check_temperature(&admin, 290, 2);
	check_temperature(&admin, 291, 0);
	check_temperature(&admin, 0, 0);
	host_close(&admin);
}

static void hold_event(struct host_queue *q, unsigned int slot)
{
	(void)host_command(q, slot, NVME_ADMIN_ASYNC_EVENT);
	host_post(q, slot, 64);
}

static bool told_of_temperature(struct host_queue *q, unsigned int slot)
{
	return host_wait(q, slot) == 0 &&
	       le32toh(q->by_cid[slot].dw0) ==
		       (NVME_AEN_SMART | NVME_AEN_SMART_TEMPERATURE << 8 | NVME_LOG_SMART << 16);
}

static void read_smart(struct host_queue *q)
{
	assert_int_equal(get_log(q, NVME_LOG_SMART, 0, sizeof(struct nvme_smart_log)), 0);
}

/* It becomes so warm, and the controller has heard of it. */
static void becomes(struct host_queue *q, uint16_t k)
{
	const uint64_t end = now_ns() + 10 * NS_PER_S;

	kelvins = k;
	while (rig.target->warmth.temperature != k && now_ns() < end)
		rig_turn(&rig, q);
	assert_int_equal(rig.target->warmth.temperature, k);
	/* What a reactor was told before a command came is done when the next one is answered. */
	for (unsigned int i = 0; i < 2; i++) {
		(void)host_command(q, 0, NVME_ADMIN_KEEP_ALIVE);
		assert_int_equal(host_run(q, 64), 0);
	}
}

/* Who wants to know is told by itself, once each time that a threshold is passed. */
static void test_temperature_event(void **state)
{
	struct host_queue admin, other;

	(void)state;
	rig.target->warmth.period_ms = 20;
	kelvins = 300;
	(void)host_admin(&rig, &admin);
	(void)host_admin(&rig, &other);
	for (unsigned int slot = 1; slot <= NVME_AER_LIMIT; slot++)
		hold_event(&admin, slot);
	hold_event(&other, 1);
	becomes(&admin, 358);
	/* Nobody wants to know. */
	assert_false(admin.has_cid[1]);
	assert_int_equal(set(&admin, NVME_FEAT_ASYNC_EVENT, NVME_AEN_CFG_TEMPERATURE), 0);
	assert_true(told_of_temperature(&admin, 1));
	/* Neither hotter nor read is news. */
	becomes(&admin, 360);
	read_smart(&admin);
	becomes(&admin, 361);
	assert_false(admin.has_cid[2]);
	becomes(&admin, 357);
	assert_false(admin.has_cid[2]);
	becomes(&admin, 358);
	assert_true(told_of_temperature(&admin, 2));
	/* The log was not read since: quiet until it is, and for as long as it stays what was read. */
	becomes(&admin, 300);
	becomes(&admin, 400);
	assert_false(admin.has_cid[3]);
	read_smart(&admin);
	becomes(&admin, 401);
	assert_false(admin.has_cid[3]);
	becomes(&admin, 300);
	becomes(&admin, 400);
	assert_true(told_of_temperature(&admin, 3));
	becomes(&admin, 300);
	read_smart(&admin);
	/* A threshold that is passed by being set; it is that controller's own. */
	assert_int_equal(set(&admin, NVME_FEAT_TEMPERATURE, 1u << 20 | 299), 0);
	assert_false(admin.has_cid[4]);
	assert_int_equal(set(&admin, NVME_FEAT_TEMPERATURE, 1u << 20 | 300), 0);
	assert_true(told_of_temperature(&admin, 4));
	assert_int_equal(set(&other, NVME_FEAT_ASYNC_EVENT, NVME_AEN_CFG_TEMPERATURE), 0);
	/* Not measured is neither hot nor cold. */
	becomes(&other, 0);
	assert_false(other.has_cid[1]);
	host_close(&other);
	host_close(&admin);
}

static bool has_more(const struct host_queue *q)
{
	return le16toh(q->by_cid[0].status) >> 1 & NVME_SC_MORE;
}

static void check_error(const struct host_queue *q, unsigned int i, uint64_t count, uint16_t sqid,
			uint16_t status, uint16_t location)
{
	const struct nvme_error_entry *e = (const struct nvme_error_entry *)(const void *)q->data;

	assert_int_equal(le64toh(e[i].count), count);
	assert_int_equal(le16toh(e[i].sqid), sqid);
	assert_int_equal(le16toh(e[i].cid), 0);
	assert_int_equal(le16toh(e[i].status) >> 1, status | DNR | NVME_SC_MORE);
	assert_int_equal(le16toh(e[i].location), location);
}

static void test_error_log(void **state)
{
	struct host_queue admin, io, other;
	const struct nvme_error_entry *e;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	e = (const void *)admin.data;
	assert_int_equal(get_log(&admin, NVME_LOG_ERROR, 0, 4096), 0);
	assert_false(has_more(&admin));
	assert_int_equal(le64toh(e[0].count), 0);

	(void)host_command(&admin, 0, 0x55);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_OPCODE | DNR);
	assert_true(has_more(&admin));
	assert_int_equal(set(&admin, 0x0c, 0), NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(set(&admin, NVME_FEAT_POWER | 1u << 31, 0),
			 NVME_SC_FEATURE_NOT_SAVEABLE | DNR);
	assert_int_equal(get_log(&admin, 0x99, 0, 16), NVME_SC_INVALID_LOG_PAGE | DNR);
	connect_io(&io, 2, cntlid);
	assert_int_equal(rw(&io, NVME_IO_READ, 0x123456789, 1), NVME_SC_LBA_RANGE | DNR);
	assert_true(has_more(&io));
	(void)host_command(&io, 0, NVME_IO_FLUSH);
	assert_int_equal(host_run(&io, 64), NVME_SC_INVALID_NS | DNR);

	assert_int_equal(get_log(&admin, NVME_LOG_ERROR, 0, 4096), 0);
	check_error(&admin, 0, 6, 2, NVME_SC_INVALID_NS, 4);
	check_error(&admin, 1, 5, 2, NVME_SC_LBA_RANGE, 40);
	assert_int_equal(le64toh(e[1].lba), 0x23456789);
	assert_int_equal(le32toh(e[1].nsid), TEST_NSID);
	assert_int_equal(e[1].trtype, 1);
	check_error(&admin, 2, 4, 0, NVME_SC_INVALID_LOG_PAGE, 40);
	check_error(&admin, 3, 3, 0, NVME_SC_FEATURE_NOT_SAVEABLE, 7 << 8 | 43);
	check_error(&admin, 4, 2, 0, NVME_SC_INVALID_FIELD, 40);
	check_error(&admin, 5, 1, 0, NVME_SC_INVALID_OPCODE, 0);
	assert_int_equal(le64toh(e[6].count), 0);
	/* More than there is room for: the newest stay. */
	for (unsigned int i = 0; i < 70; i++)
		assert_int_equal(get_log(&admin, 0x99, 0, 16), NVME_SC_INVALID_LOG_PAGE | DNR);
	assert_int_equal(get_log(&admin, NVME_LOG_ERROR, 0, 4096), 0);
	assert_int_equal(le64toh(e[0].count), 76);
	assert_int_equal(le64toh(e[63].count), 76 - 63);
	/* Each controller has its own. */
	(void)host_admin(&rig, &other);
	assert_int_equal(get_log(&other, NVME_LOG_ERROR, 0, 4096), 0);
	assert_int_equal(le64toh(((const struct nvme_error_entry *)(void *)other.data)->count), 0);
	host_close(&other);
	host_close(&io);
	host_close(&admin);
}

/* The file breaks under what we do with it. */
static _Atomic bool broken;
int __real_view_verify(const struct view *view, uint64_t offset, uint64_t length);
int __wrap_view_verify(const struct view *view, uint64_t offset, uint64_t length);
int __real_view_zero(const struct view *view, uint64_t offset, uint64_t length);
int __wrap_view_zero(const struct view *view, uint64_t offset, uint64_t length);

int __wrap_view_verify(const struct view *view, uint64_t offset, uint64_t length)
{
	return broken ? -EIO : __real_view_verify(view, offset, length);
}

int __wrap_view_zero(const struct view *view, uint64_t offset, uint64_t length)
{
	return broken ? -ENOTTY : __real_view_zero(view, offset, length);
}

static uint16_t run_blocks(struct host_queue *q, uint8_t opcode)
{
	struct nvme_command *cmd = host_command(q, 0, opcode);

	cmd->nsid = htole32(TEST_NSID);
	cmd->cdw12 = htole32(7);
	return host_run(q, 64) & (uint16_t)~DNR;
}

/* An internal error tells so by an event, once; a lost block is counted. */
static void test_broken(void **state)
{
	const struct nvme_smart_log *smart;
	struct host_queue admin, io;
	struct nvme_command *cmd;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	smart = (const void *)admin.data;
	connect_io(&io, 1, cntlid);
	for (unsigned int i = 1; i <= 2; i++) {
		(void)host_command(&admin, i, NVME_ADMIN_ASYNC_EVENT);
		host_post(&admin, i, 64);
	}
	assert_int_equal(run_blocks(&io, NVME_IO_VERIFY), 0);
	assert_int_equal(run_blocks(&io, NVME_IO_WRITE_ZEROES), 0);
	broken = true;
	assert_int_equal(run_blocks(&io, NVME_IO_WRITE_ZEROES), NVME_SC_INTERNAL);
	assert_int_equal(host_wait(&admin, 1), 0);
	assert_int_equal(le32toh(admin.by_cid[1].dw0), 0x010400);
	assert_int_equal(run_blocks(&io, NVME_IO_WRITE_ZEROES), NVME_SC_INTERNAL);
	assert_int_equal(run_blocks(&io, NVME_IO_VERIFY), NVME_SC_READ_ERROR);
	broken = false;
	/* Quiet until the log is read without being asked to retain the event. */
	cmd = host_command(&admin, 0, NVME_ADMIN_GET_LOG_PAGE);
	cmd->cdw10 = htole32(NVME_LOG_ERROR | 1u << 15 | 15u << 16);
	host_keyed(&admin, cmd, 64);
	assert_int_equal(host_run(&admin, 64), 0);
	assert_int_equal(get_log(&admin, NVME_LOG_SMART, 0, sizeof(*smart)), 0);
	assert_int_equal(low(smart->media_errors), 1);
	assert_int_equal(low(smart->error_entries), 3);
	assert_false(admin.has_cid[2]);
	assert_int_equal(get_log(&admin, NVME_LOG_ERROR, 0, 64), 0);
	assert_false(rig_wait(&rig, &admin, &admin.has_cid[2], 100));
	broken = true;
	assert_int_equal(run_blocks(&io, NVME_IO_WRITE_ZEROES), NVME_SC_INTERNAL);
	broken = false;
	assert_int_equal(host_wait(&admin, 2), 0);
	assert_int_equal(le32toh(admin.by_cid[2].dw0), 0x010400);
	host_close(&io);
	host_close(&admin);
}

/* ---- Identify --------------------------------------------------------------------------------- */

static uint16_t identify(struct host_queue *q, uint32_t cns, uint32_t nsid, uint32_t cdw11)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_IDENTIFY);

	cmd->nsid = htole32(nsid);
	cmd->cdw10 = htole32(cns);
	cmd->cdw11 = htole32(cdw11);
	host_keyed(q, cmd, 4096);
	memset(q->data, 0xee, 4096);
	return host_run(q, 64);
}

static bool all_zero(const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (data[i])
			return false;
	}
	return true;
}

static void test_identify(void **state)
{
	static const uint8_t with_csi[] = {NVME_CNS_CS_NS, NVME_CNS_CS_CONTROLLER,
					   NVME_CNS_CS_ACTIVE_NS};
	const struct nvme_id_ns_independent *ns;
	const struct nvme_id_ctrl *id;
	struct host_queue admin;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	ns = (const void *)admin.data;
	id = (const void *)admin.data;
	assert_int_equal(identify(&admin, NVME_CNS_CONTROLLER, 0, 0), 0);
	assert_int_equal(le32toh(id->ver), NVME_VS_2_0);
	assert_int_equal(id->elpe, 63);
	assert_int_equal(id->lpa, 6);
	assert_int_equal(id->acl, 3);
	assert_int_equal(le16toh(id->oncs) & 0x10, 0x10);
	assert_int_equal(identify(&admin, NVME_CNS_CS_NS, TEST_NSID, 0), 0);
	assert_true(all_zero(admin.data, 4096)); /* nothing but 16-bit guards: no metadata */
	assert_int_equal(identify(&admin, NVME_CNS_CS_CONTROLLER, 0, 0), 0);
	assert_int_equal(identify(&admin, NVME_CNS_CS_ACTIVE_NS, 0, 0), 0);
	assert_int_equal(le32toh(((const le32 *)(const void *)admin.data)[0]), TEST_NSID);
	assert_true(all_zero(admin.data + 4, 4092));
	assert_int_equal(identify(&admin, NVME_CNS_CS_ACTIVE_NS, TEST_NSID, 0), 0);
	assert_true(all_zero(admin.data, 4096));
	assert_int_equal(identify(&admin, NVME_CNS_CS_ACTIVE_NS, NVME_NSID_ALL, 0),
			 NVME_SC_INVALID_NS | DNR);
	for (size_t i = 0; i < ARRAY_SIZE(with_csi); i++)
		assert_int_equal(identify(&admin, with_csi[i], TEST_NSID, 2u << 24),
				 NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(identify(&admin, NVME_CNS_CS_NS, 0, 0), NVME_SC_INVALID_NS | DNR);
	assert_int_equal(identify(&admin, NVME_CNS_CS_INDEPENDENT_NS, TEST_NSID, 0), 0);
	assert_int_equal(ns->nmic, 1);
	assert_int_equal(ns->nstat, 1);
	assert_int_equal(identify(&admin, NVME_CNS_CS_INDEPENDENT_NS, TEST_NSID - 1, 0), 0);
	assert_true(all_zero(admin.data, 4096));
	assert_int_equal(identify(&admin, NVME_CNS_CS_INDEPENDENT_NS, NVME_NSID_ALL, 0),
			 NVME_SC_INVALID_NS | DNR);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(
			identify(&admin,
				 NVME_CNS_COMMAND_SETS | (i ? cntlid : NVME_CNTLID_DYNAMIC) << 16,
				 0, 0),
			0);
		assert_int_equal(admin.data[0], 1);
		assert_true(all_zero(admin.data + 1, 4095));
	}
	assert_int_equal(identify(&admin, NVME_CNS_COMMAND_SETS | (cntlid + 1u) << 16, 0, 0),
			 NVME_SC_INVALID_FIELD | DNR);
	/* The descriptors: NGUID, UUID, command set. */
	assert_int_equal(identify(&admin, NVME_CNS_NS_DESCRIPTORS, TEST_NSID, 0), 0);
	assert_int_equal(admin.data[0], 2);
	assert_int_equal(admin.data[20], 3);
	assert_int_equal(admin.data[40], 4);
	assert_int_equal(admin.data[41], 1);
	assert_true(all_zero(admin.data + 42, 4096 - 42));
	host_close(&admin);
}

/* ---- registers -------------------------------------------------------------------------------- */

static uint32_t property(struct host_queue *q, uint32_t offset)
{
	struct nvmf_property_command *cmd = (void *)host_command(q, 0, NVME_FABRICS);

	cmd->fctype = NVMF_PROPERTY_GET;
	cmd->offset = htole32(offset);
	cmd->attrib = offset == NVME_PROP_CAP;
	assert_int_equal(host_run(q, 64), 0);
	return offset == NVME_PROP_CAP ? le32toh(q->by_cid[0].dw1) : dw0(q);
}

static void configure(struct host_queue *q, uint32_t cc)
{
	struct nvmf_property_command *cmd = (void *)host_command(q, 0, NVME_FABRICS);

	cmd->fctype = NVMF_PROPERTY_SET;
	cmd->offset = htole32(NVME_PROP_CC);
	cmd->value = htole64(cc);
	assert_int_equal(host_run(q, 64), 0);
}

/* Which command sets may be chosen, and what a reset puts back. */
static void test_configuration(void **state)
{
	static const uint32_t command_sets[] = {0, 6, 1, 7};
	struct host_queue admin;

	(void)state;
	assert_true(host_connect_nvme(&rig, &admin, 0));
	assert_int_equal(host_associate(&admin, 0, NVME_CNTLID_DYNAMIC, TEST_NQN, 0), 0);
	assert_int_equal(property(&admin, NVME_PROP_CAP) & (1u << 5 | 1u << 11 | 1u << 27),
			 1u << 5 | 1u << 11 | 1u << 27);
	assert_int_equal(property(&admin, NVME_PROP_CRTO), 15);
	for (size_t i = 0; i < ARRAY_SIZE(command_sets); i++) {
		configure(&admin, NVME_CC_EN | command_sets[i] << 4 | 6u << 16 | 4u << 20);
		assert_int_equal(property(&admin, NVME_PROP_CSTS),
				 i < 2 ? NVME_CSTS_RDY : NVME_CSTS_CFS);
		if (i < 2) {
			check(&admin, NVME_FEAT_ARBITRATION, 0, 7);
			assert_int_equal(set(&admin, NVME_FEAT_ARBITRATION, 3), 0);
			check(&admin, NVME_FEAT_ARBITRATION, 0, 3);
		}
		configure(&admin, 0);
		assert_int_equal(property(&admin, NVME_PROP_CSTS), 0);
		assert_int_equal(get(&admin, NVME_FEAT_ARBITRATION, 0),
				 NVME_SC_COMMAND_SEQUENCE | DNR);
	}
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
		cmocka_unit_test_setup_teardown(test_logs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_smart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_temperature, setup, teardown),
		cmocka_unit_test_setup_teardown(test_temperature_event, setup, teardown),
		cmocka_unit_test_setup_teardown(test_error_log, setup, teardown),
		cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_identify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_configuration, setup, teardown),
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
