// SPDX-License-Identifier: BSD-3-Clause
/*
 * Connect's bad forms, against a whole target: each field that can be wrong, with the status and the
 * place that the answer names (NVMe-oF 1.1 §3.3): bit 16 for the data, and the byte.
 */
#include "nvme_host.h"

#include "export/export.h"
#include "tenure/tenure.h"
#include "util/log.h"

#define DNR	     NVME_SC_DNR
#define INVALID	     (NVME_SC_CONNECT_INVALID_PARAM | DNR)
#define DATA(byte)   (1u << 16 | (byte))
#define SQE_FCTYPE   4
#define SQE_LENGTH   32
#define SQE_TYPE     39
#define SQE_RECFMT   40
#define SQE_QID	     42
#define SQE_SQSIZE   44
#define DATA_HOSTID  0
#define DATA_CNTLID  16
#define DATA_SUBNQN  256
#define DATA_HOSTNQN 512
#define EITHER	     2 /* kinds of queues */
#define HOSTNQN	     "nqn.2026-11.org.leasehold:host"
#define NEVER_WAS    0x1234

struct row {
	const char *what;
	unsigned int qid; /* 0, 1 or EITHER */
	bool in_data;
	uint16_t at, bytes;
	uint64_t value;
	const char *text; /* instead of the value */
	uint16_t status;
	uint32_t dw0;
};

static const struct row rows[] = {
	{"record format 1", EITHER, false, SQE_RECFMT, 2, 1, NULL, NVME_SC_CONNECT_FORMAT | DNR,
	 SQE_RECFMT},
	{"another queue than the connection's", 0, false, SQE_QID, 2, 1, NULL, INVALID, SQE_QID},
	{"another queue than the connection's", 1, false, SQE_QID, 2, 0, NULL, INVALID, SQE_QID},
	{"another queue than the connection's", 1, false, SQE_QID, 2, 2, NULL, INVALID, SQE_QID},
	{"a far queue", 1, false, SQE_QID, 2, 0xffff, NULL, INVALID, SQE_QID},
	{"one entry", EITHER, false, SQE_SQSIZE, 2, 0, NULL, INVALID, SQE_SQSIZE},
	{"an entry more than receives", EITHER, false, SQE_SQSIZE, 2, HOST_DEPTH, NULL, INVALID,
	 SQE_SQSIZE},
	{"65,536 entries", EITHER, false, SQE_SQSIZE, 2, 0xffff, NULL, INVALID, SQE_SQSIZE},
	{"no data", EITHER, false, SQE_LENGTH, 3, 0, NULL, NVME_SC_SGL_INVALID_DATA | DNR, 0},
	{"short data", EITHER, false, SQE_LENGTH, 3, 1023, NULL, NVME_SC_SGL_INVALID_DATA | DNR, 0},
	{"long data", EITHER, false, SQE_LENGTH, 3, 1025, NULL, NVME_SC_SGL_INVALID_DATA | DNR, 0},
	{"PRP", EITHER, false, 1, 1, 0, NULL, NVME_SC_INVALID_FIELD | DNR, 0},
	{"no SGL for fabrics", EITHER, false, SQE_TYPE, 1, 0x00, NULL,
	 NVME_SC_SGL_INVALID_TYPE | DNR, 0},
	{"a type that is none", EITHER, false, SQE_FCTYPE, 1, 0x0d, NULL,
	 NVME_SC_COMMAND_SEQUENCE | DNR, 0},
	{"a controller of its choice", 0, true, DATA_CNTLID, 2, 1, NULL, INVALID,
	 DATA(DATA_CNTLID)},
	{"a static controller", 0, true, DATA_CNTLID, 2, 0xfffe, NULL, INVALID, DATA(DATA_CNTLID)},
	{"any controller", 1, true, DATA_CNTLID, 2, 0xffff, NULL, INVALID, DATA(DATA_CNTLID)},
	{"a controller that never was", 1, true, DATA_CNTLID, 2, NEVER_WAS, NULL, INVALID,
	 DATA(DATA_CNTLID)},
	{"no subsystem", EITHER, true, DATA_SUBNQN, 8, 0, NULL, INVALID, DATA(DATA_SUBNQN)},
	{"no name", EITHER, true, DATA_SUBNQN, 8, 0x7878787878787878, NULL, INVALID,
	 DATA(DATA_SUBNQN)},
	{"another subsystem", EITHER, true, DATA_SUBNQN, 256, 0, "nqn.2026-11.org.leasehold:other",
	 INVALID, DATA(DATA_SUBNQN)},
	{"I/O with the discovery service", 1, true, DATA_SUBNQN, 256, 0, NVME_DISCOVERY_NQN,
	 INVALID, DATA(DATA_SUBNQN)},
	{"no host", EITHER, true, DATA_HOSTNQN, 8, 0, NULL, INVALID, DATA(DATA_HOSTNQN)},
	{"a host without a name", EITHER, true, DATA_HOSTNQN, 256, 0, "nqn.", INVALID,
	 DATA(DATA_HOSTNQN)},
	{"a host with a line in its name", EITHER, true, DATA_HOSTNQN, 256, 0,
	 "nqn.2026-11.org.leasehold:a\nb", INVALID, DATA(DATA_HOSTNQN)},
	{"a host whose name is no UTF-8", EITHER, true, DATA_HOSTNQN, 256, 0,
	 "nqn.2026-11.org.leasehold:\xff", INVALID, DATA(DATA_HOSTNQN)},
	{"a subsystem with an escape in its name", EITHER, true, DATA_SUBNQN, 256, 0,
	 "nqn.2026-11.org.leasehold:\033[2J", INVALID, DATA(DATA_SUBNQN)},
	{"another host", 1, true, DATA_HOSTNQN, 256, 0, "nqn.2026-11.org.leasehold:else", INVALID,
	 DATA(DATA_HOSTNQN)},
	{"another host's identifier", 1, true, DATA_HOSTID, 8, 77, NULL, INVALID,
	 DATA(DATA_HOSTID)},
};

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

/* The good form: fills command and data; its data lies behind it or in the host's memory. */
static uint8_t *good(struct host_queue *q, uint16_t qid, uint16_t cntlid, bool in_capsule)
{
	struct nvmf_connect_command *cmd = (void *)host_command(q, 0, NVME_FABRICS);
	struct nvmf_connect_data *data = in_capsule ? (void *)(cmd + 1) : (void *)q->data;

	cmd->fctype = NVMF_CONNECT;
	cmd->qid = htole16(qid);
	cmd->sqsize = htole16(HOST_DEPTH - 1);
	memset(data, 0, sizeof(*data));
	data->hostid[3] = 9;
	data->cntlid = htole16(cntlid);
	(void)snprintf(data->subnqn, sizeof(data->subnqn), "%s", TEST_NQN);
	(void)snprintf(data->hostnqn, sizeof(data->hostnqn), "%s", HOSTNQN);
	if (in_capsule)
		nvme_offset_sgl_set(&cmd->sgl, 0, sizeof(*data));
	else
		host_keyed(q, (struct nvme_command *)cmd, sizeof(*data));
	return (uint8_t *)data;
}

static void try_row(struct host_queue *q, const struct row *row, uint16_t qid, uint16_t cntlid)
{
	uint8_t *data = good(q, qid, cntlid, false);
	uint8_t *at = (row->in_data ? data : q->memory) + row->at;
	le64 value = htole64(row->value);
	uint16_t status;
	uint32_t dw0;

	if (row->text)
		strncpy((char *)at, row->text, row->bytes);
	else
		memcpy(at, &value, row->bytes);
	status = host_run(q, 64);
	dw0 = le32toh(q->by_cid[0].dw0);
	if (status != row->status || dw0 != row->dw0)
		fail_msg("queue %u: %s: status %x at %x, not %x at %x", qid, row->what, status, dw0,
			 row->status, row->dw0);
}

static void try_rows(struct host_queue *q, uint16_t qid, uint16_t cntlid)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].qid == qid || rows[i].qid == EITHER)
			try_row(q, &rows[i], qid, cntlid);
	}
}

/* After all the bad forms the good one still works, on the same connection. */
static void test_fields(void **state)
{
	struct host_queue admin, io, other;
	uint16_t cntlid;

	(void)state;
	assert_true(host_connect_nvme(&rig, &admin, 0));
	try_rows(&admin, 0, NVME_CNTLID_DYNAMIC);
	(void)good(&admin, 0, NVME_CNTLID_DYNAMIC, false);
	assert_int_equal(host_run(&admin, 64), 0);
	cntlid = (uint16_t)le32toh(admin.by_cid[0].dw0);
	assert_int_equal(host_enable(&admin), 0);
	assert_true(host_connect_nvme(&rig, &io, 1));
	try_rows(&io, 1, cntlid);
	(void)good(&io, 1, cntlid, true);
	assert_int_equal(host_run(&io, 64 + 1024), 0);
	assert_int_equal(le32toh(io.by_cid[0].dw0), cntlid);
	/* A queue that is there. */
	assert_true(host_connect_nvme(&rig, &other, 1));
	(void)good(&other, 1, cntlid, false);
	assert_int_equal(host_run(&other, 64), NVME_SC_COMMAND_SEQUENCE | NVME_SC_DNR);
	host_close(&other);
	/* Not with the discovery service's controller either. */
	assert_true(host_connect_nvme(&rig, &other, 0));
	assert_int_equal(host_associate(&other, 0, NVME_CNTLID_DYNAMIC, NVME_DISCOVERY_NQN, 0), 0);
	cntlid = (uint16_t)le32toh(other.by_cid[0].dw0);
	host_close(&io);
	assert_true(host_connect_nvme(&rig, &io, 1));
	assert_int_equal(host_associate(&io, 1, cntlid, NVME_DISCOVERY_NQN, 0), INVALID);
	assert_int_equal(le32toh(io.by_cid[0].dw0), SQE_QID);
	host_close(&io);
	host_close(&other);
	host_close(&admin);
}

/* Data that cannot be fetched ends the connection; nothing of a controller or a queue is left of it. */
static void test_bad_keys(void **state)
{
	struct host_queue admin, io;
	uint16_t cntlid = NVME_CNTLID_DYNAMIC;

	(void)state;
	for (unsigned int qid = 0; qid < 2; qid++) {
		/* More often than there may be controllers. */
		for (unsigned int i = 0; i < 8; i++) {
			struct nvme_command *cmd;
			struct host_queue q;

			assert_true(host_connect_nvme(&rig, &q, (uint16_t)qid));
			(void)good(&q, (uint16_t)qid, cntlid, false);
			cmd = (void *)q.memory; /* send buffer 0 */
			if (i % 2)
				nvme_keyed_sgl_set(&cmd->sgl,
						   (uint64_t)(uintptr_t)(q.data + HOST_DATA - 512),
						   1024, q.mr->rkey, NVME_SGL_ADDRESS);
			else
				nvme_keyed_sgl_set(&cmd->sgl, (uint64_t)(uintptr_t)q.data, 1024,
						   q.mr->rkey ^ 0x5a5a5a00, NVME_SGL_ADDRESS);
			host_post(&q, 0, 64);
			assert_true(rig_wait(&rig, &q, &q.dead, 10000));
			assert_false(q.has_cid[0]);
			host_close(&q);
		}
		if (qid == 0)
			cntlid = host_admin(&rig, &admin);
	}
	assert_true(host_connect_nvme(&rig, &io, 1));
	assert_int_equal(host_associate(&io, 1, cntlid, TEST_NQN, 0), 0);
	host_close(&io);
	host_close(&admin);
}

/* The submission queue's head: counts answers, wraps, and is all ones without flow control. */
static void test_heads(void **state)
{
	struct nvmf_connect_command *cmd;
	struct host_queue admin, io;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	for (unsigned int flow = 0; flow < 2; flow++) {
		assert_true(host_connect_nvme(&rig, &io, 1));
		(void)good(&io, 1, cntlid, false);
		cmd = (void *)io.memory; /* send buffer 0 */
		cmd->sqsize = htole16(4);
		cmd->cattr = flow ? NVMF_CATTR_DISABLE_SQFLOW : 0;
		assert_int_equal(host_run(&io, 64), 0);
		assert_int_equal(le16toh(io.last.sqhd), flow ? 0xffff : 1);
		for (unsigned int i = 2; i < 12; i++) {
			struct nvme_command *flush = host_command(&io, 0, NVME_IO_FLUSH);

			flush->nsid = htole32(TEST_NSID);
			assert_int_equal(host_run(&io, 64), 0);
			assert_int_equal(le16toh(io.last.sqhd), flow ? 0xffff : i % 5);
			assert_int_equal(io.last.sqid, 0);
		}
		host_close(&io);
		/* Its number is free again when the target has seen the end. */
		for (unsigned int i = 0; i < 2000; i++)
			rig_turn(&rig, &admin);
	}
	host_close(&admin);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fields, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heads, setup, teardown),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	log_set_level(getenv("LEASEHOLD_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	tenure_block_signals();
	if (export_guard_init() < 0)
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run);
}
