// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reservations as several raw hosts see them, over the software fabric: the commands and their bad
 * forms, who may do what, notifications, features, preempt and abort, grants of direct clients, and
 * what is left after the target has gone and come back.
 */
#include "nvme_host.h"

#include "nvme/io.h"
#include "nvme/resv.h"
#include "tenure/tenure.h"
#include "wire/direct.h"

#define DNR	 NVME_SC_DNR
#define CONFLICT (NVME_SC_RESERVATION_CONFLICT | DNR)
#define INVALID	 (NVME_SC_INVALID_FIELD | DNR)
#define HOSTS	 3
#define WE	 NVME_RESV_WRITE_EXCLUSIVE
#define EA	 NVME_RESV_EXCLUSIVE_ACCESS
#define WERO	 NVME_RESV_WRITE_EXCLUSIVE_REGISTRANTS
#define EARO	 NVME_RESV_EXCLUSIVE_ACCESS_REGISTRANTS
#define EAAR	 NVME_RESV_EXCLUSIVE_ACCESS_ALL

/* One host: an admin and an I/O queue. Its identifier is its number. */
struct host {
	struct host_queue admin, io;
	uint16_t cntlid;
};

static struct rig rig;
static struct host hosts[HOSTS + 1];

static void host_up(unsigned int n)
{
	struct host *h = &hosts[n];

	rig.hostid = (uint8_t)n;
	h->cntlid = host_admin(&rig, &h->admin);
	assert_true(host_connect_nvme(&rig, &h->io, 1));
	assert_int_equal(host_associate(&h->io, 1, h->cntlid, TEST_NQN, 0), 0);
}

static void host_down(unsigned int n)
{
	host_close(&hosts[n].io);
	host_close(&hosts[n].admin);
}

static void up(void)
{
	rig_start_at(&rig, in_dir("state"));
	for (unsigned int n = 1; n <= HOSTS; n++)
		host_up(n);
}

static void down(void)
{
	for (unsigned int n = 1; n <= HOSTS; n++)
		host_down(n);
	rig_stop(&rig);
}

static int setup(void **state)
{
	if (leaks_setup(state))
		return -1;
	remove_tree(in_dir("state"));
	up();
	return 0;
}

static int teardown(void **state)
{
	down();
	return leaks_teardown(state);
}

/* ---- commands --------------------------------------------------------------------------------- */

static struct nvme_command *io(unsigned int n, uint8_t opcode, uint32_t length)
{
	struct nvme_command *cmd = host_command(&hosts[n].io, 0, opcode);

	cmd->nsid = htole32(TEST_NSID);
	if (length)
		host_keyed(&hosts[n].io, cmd, length);
	return cmd;
}

static uint16_t change(unsigned int n, uint8_t opcode, uint32_t cdw10, uint64_t crkey, uint64_t key)
{
	struct nvme_resv_keys keys = {.crkey = htole64(crkey), .key = htole64(key)};
	struct nvme_command *cmd = io(n, opcode, opcode == NVME_IO_RESV_RELEASE ? 8 : 16);

	cmd->cdw10 = htole32(cdw10);
	memcpy(hosts[n].io.data, &keys, sizeof(keys));
	return host_run(&hosts[n].io, 64);
}

static uint16_t reg(unsigned int n, uint64_t key)
{
	return change(n, NVME_IO_RESV_REGISTER, NVME_RREGA_REGISTER, 0, key);
}

static uint16_t reg_kept(unsigned int n, uint64_t key)
{
	return change(n, NVME_IO_RESV_REGISTER, NVME_RREGA_REGISTER | 3u << 30, 0, key);
}

static uint16_t acquire(unsigned int n, uint64_t key, uint32_t type)
{
	return change(n, NVME_IO_RESV_ACQUIRE, type << 8, key, 0);
}

static uint16_t preempt(unsigned int n, uint64_t key, uint64_t other, uint32_t type, bool abort)
{
	return change(n, NVME_IO_RESV_ACQUIRE, type << 8 | (abort ? 2 : 1), key, other);
}

static uint16_t rel(unsigned int n, uint64_t key, uint32_t type)
{
	return change(n, NVME_IO_RESV_RELEASE, type << 8, key, 0);
}

static uint16_t rw(unsigned int n, uint8_t opcode)
{
	struct nvme_command *cmd = io(n, opcode, 4096);

	cmd->cdw12 = htole32(7);
	return host_run(&hosts[n].io, 64);
}

static uint16_t no_data(unsigned int n, uint8_t opcode)
{
	struct nvme_command *cmd = io(n, opcode, 0);

	cmd->cdw12 = htole32(opcode == NVME_IO_FLUSH ? 0 : 7);
	return host_run(&hosts[n].io, 64);
}

static uint16_t dsm(unsigned int n)
{
	struct nvme_command *cmd = io(n, NVME_IO_DSM, sizeof(struct nvme_dsm_range));

	cmd->cdw11 = htole32(NVME_DSM_AD);
	memset(hosts[n].io.data, 0, sizeof(struct nvme_dsm_range));
	return host_run(&hosts[n].io, 64);
}

static uint16_t copy(unsigned int n)
{
	struct nvme_copy_range range = {.blocks = htole16(7)};
	struct nvme_command *cmd = io(n, NVME_IO_COPY, sizeof(range));

	cmd->cdw10 = htole32(64);
	memcpy(hosts[n].io.data, &range, sizeof(range));
	return host_run(&hosts[n].io, 64);
}

static uint16_t report(unsigned int n, struct nvme_resv_status *head,
		       struct nvme_resv_registrant *list, uint32_t bytes)
{
	struct nvme_command *cmd = io(n, NVME_IO_RESV_REPORT, bytes);
	uint16_t status;

	cmd->cdw10 = htole32(bytes / 4 - 1);
	cmd->cdw11 = htole32(NVME_RESV_EDS);
	memset(hosts[n].io.data, 0xee, 4096);
	status = host_run(&hosts[n].io, 64);
	memcpy(head, hosts[n].io.data, sizeof(*head));
	if (list)
		memcpy(list, hosts[n].io.data + sizeof(*head), HOSTS * sizeof(*list));
	return status;
}

static uint16_t feature(unsigned int n, bool set, uint8_t id, uint32_t nsid, uint32_t cdw11)
{
	struct nvme_command *cmd = host_command(
		&hosts[n].admin, 0, set ? NVME_ADMIN_SET_FEATURES : NVME_ADMIN_GET_FEATURES);

	cmd->nsid = htole32(nsid);
	cmd->cdw10 = htole32(id);
	cmd->cdw11 = htole32(cdw11);
	return host_run(&hosts[n].admin, 64);
}

static uint32_t feature_value(unsigned int n, uint8_t id)
{
	assert_int_equal(feature(n, false, id, TEST_NSID, 0), 0);
	return le32toh(hosts[n].admin.by_cid[0].dw0);
}

static struct nvme_resv_log notice(unsigned int n, bool retain)
{
	struct host_queue *q = &hosts[n].admin;
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_GET_LOG_PAGE);
	struct nvme_resv_log log;

	cmd->cdw10 = htole32(NVME_LOG_RESERVATION | (retain ? 1u << 15 : 0) |
			     (sizeof(log) / 4 - 1) << 16);
	host_keyed(q, cmd, sizeof(log));
	memset(q->data, 0xee, sizeof(log));
	/* What was refused was not read. */
	cmd->cdw12 = htole32(sizeof(log) + 4);
	assert_int_equal(host_run(q, 64), NVME_SC_INVALID_FIELD | DNR);
	cmd->cdw12 = 0;
	assert_int_equal(host_run(q, 64), 0);
	memcpy(&log, q->data, sizeof(log));
	return log;
}

static void expect_notice(unsigned int n, enum nvme_resv_notice what, unsigned int more)
{
	struct nvme_resv_log log = notice(n, false);

	assert_int_equal(log.type, what);
	assert_int_equal(log.more, more);
	assert_int_equal(le32toh(log.nsid), what ? TEST_NSID : 0);
	assert_int_equal(le64toh(log.count) != 0, what != 0);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void test_identify(void **state)
{
	struct nvme_command *cmd;
	const struct nvme_id_ctrl *ctrl = (const void *)hosts[1].admin.data;
	const struct nvme_id_ns *ns = (const void *)hosts[1].admin.data;
	const struct nvme_id_ns_independent *any = (const void *)hosts[1].admin.data;

	(void)state;
	for (uint32_t cns = 0; cns <= 8; cns += cns ? 7 : 1) {
		cmd = host_command(&hosts[1].admin, 0, NVME_ADMIN_IDENTIFY);
		cmd->cdw10 = htole32(cns);
		cmd->nsid = htole32(cns == 1 ? 0 : TEST_NSID);
		host_keyed(&hosts[1].admin, cmd, 4096);
		assert_int_equal(host_run(&hosts[1].admin, 64), 0);
		if (cns == 0)
			assert_int_equal(ns->rescap, 0xff);
		else if (cns == 1)
			assert_true(le16toh(ctrl->oncs) & 1u << 5);
		else
			assert_int_equal(any->rescap, 0xff);
	}
}

static void test_report(void **state)
{
	struct nvme_resv_registrant list[HOSTS];
	struct nvme_resv_status head;
	struct nvme_command *cmd;

	(void)state;
	assert_int_equal(report(1, &head, NULL, 64), 0);
	assert_int_equal(head.generation, 0);
	assert_int_equal(head.registrants[0], 0);
	assert_int_equal(reg(2, 0x22), 0);
	assert_int_equal(reg(1, 0x1122334455667788), 0);
	assert_int_equal(acquire(2, 0x22, WERO), 0);
	assert_int_equal(report(3, &head, list, 4096), 0);
	assert_int_equal(le32toh(head.generation), 2);
	assert_int_equal(head.type, WERO);
	assert_int_equal(head.registrants[0], 2);
	assert_int_equal(head.ptpl, 0);
	assert_int_equal(le16toh(list[0].cntlid), NVME_CNTLID_DYNAMIC);
	assert_true(le64toh(list[0].key) == 0x1122334455667788);
	assert_int_equal(list[0].hostid[3], 1);
	assert_int_equal(list[0].holds, 0);
	assert_int_equal(list[1].holds, 1);
	assert_int_equal(list[2].holds, 0);
	/* A part of it, to the byte. */
	assert_int_equal(report(3, &head, list, 64 + 64 + 12), 0);
	assert_int_equal(list[1].holds, 1);
	assert_int_equal(((uint8_t *)&list[1])[12], 0xee);
	assert_int_equal(report(3, &head, NULL, 4), 0);
	assert_int_equal(le32toh(head.generation), 2);
	assert_int_equal(head.type, 0xee);
	/* Bad forms. */
	cmd = io(3, NVME_IO_RESV_REPORT, 64);
	cmd->cdw10 = htole32(15);
	assert_int_equal(host_run(&hosts[3].io, 64), NVME_SC_HOSTID_INCONSISTENT | DNR);
	cmd = io(3, NVME_IO_RESV_REPORT, 64);
	cmd->cdw10 = htole32(14);
	cmd->cdw11 = htole32(1);
	assert_int_equal(host_run(&hosts[3].io, 64), NVME_SC_SGL_INVALID_DATA | DNR);
	cmd = io(3, NVME_IO_RESV_REPORT, 64);
	cmd->cdw10 = htole32(0xffffffff);
	cmd->cdw11 = htole32(1);
	assert_int_equal(host_run(&hosts[3].io, 64), INVALID);
	cmd = io(3, NVME_IO_RESV_REPORT, 0);
	cmd->cdw11 = htole32(1);
	assert_int_equal(host_run(&hosts[3].io, 64), NVME_SC_SGL_INVALID_DATA | DNR);
	for (unsigned int i = 0; i < 3; i++) {
		static const uint8_t opcodes[] = {NVME_IO_RESV_REGISTER, NVME_IO_RESV_ACQUIRE,
						  NVME_IO_RESV_RELEASE};

		(void)io(1, opcodes[i], 12);
		assert_int_equal(host_run(&hosts[1].io, 64), NVME_SC_SGL_INVALID_DATA | DNR);
		(void)io(1, opcodes[i], 0);
		assert_int_equal(host_run(&hosts[1].io, 64), NVME_SC_SGL_INVALID_DATA | DNR);
		cmd = io(1, opcodes[i], 16);
		cmd->nsid = htole32(NVME_NSID_ALL);
		assert_int_equal(host_run(&hosts[1].io, 64), NVME_SC_INVALID_NS | DNR);
	}
	assert_int_equal(change(1, NVME_IO_RESV_REGISTER, 5, 0, 0), INVALID);
	assert_int_equal(change(1, NVME_IO_RESV_REGISTER, 1u << 30, 0, 0x1122334455667788),
			 INVALID);
	assert_int_equal(change(1, NVME_IO_RESV_ACQUIRE, 8 | WE << 8, 0x1122334455667788, 0),
			 INVALID);
}

/* Hosts of identifier 0 are no one host: they have no reservations, and obey those of others. */
static void test_nobody(void **state)
{
	(void)state;
	host_down(2);
	rig.no_hostid = true;
	host_up(2);
	rig.no_hostid = false;
	assert_int_equal(reg(2, 0x22), NVME_SC_OPERATION_DENIED | DNR);
	assert_int_equal(acquire(2, 0, WE), NVME_SC_OPERATION_DENIED | DNR);
	assert_int_equal(rel(2, 0, WE), NVME_SC_OPERATION_DENIED | DNR);
	assert_int_equal(reg(1, 0x11), 0);
	assert_int_equal(acquire(1, 0x11, WE), 0);
	assert_int_equal(rel(2, 0x11, WE), NVME_SC_OPERATION_DENIED | DNR);
	assert_int_equal(rw(2, NVME_IO_WRITE), CONFLICT);
}

/* Each I/O command by each host, while host 1 holds and host 2 is registered. */
static void test_conflicts(void **state)
{
	static const struct {
		uint8_t type;
		bool registrant[2], other[2]; /* reads, writes */
	} table[] = {
		{WE, {1, 0}, {1, 0}},
		{EA, {0, 0}, {0, 0}},
		{WERO, {1, 1}, {1, 0}},
		{EARO, {1, 1}, {0, 0}},
		{NVME_RESV_WRITE_EXCLUSIVE_ALL, {1, 1}, {1, 0}},
		{EAAR, {1, 1}, {0, 0}},
	};

	(void)state;
	assert_int_equal(reg(1, 1), 0);
	assert_int_equal(reg(2, 2), 0);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		assert_int_equal(acquire(1, 1, table[i].type), 0);
		for (unsigned int n = 1; n <= HOSTS; n++) {
			bool reads = n == 1 || (n == 2 ? table[i].registrant : table[i].other)[0];
			bool writes = n == 1 || (n == 2 ? table[i].registrant : table[i].other)[1];
			uint16_t r = reads ? 0 : CONFLICT, w = writes ? 0 : CONFLICT;

			assert_int_equal(rw(n, NVME_IO_READ), r);
			assert_int_equal(rw(n, NVME_IO_COMPARE), r);
			assert_int_equal(no_data(n, NVME_IO_VERIFY), r);
			assert_int_equal(rw(n, NVME_IO_WRITE), w);
			assert_int_equal(no_data(n, NVME_IO_WRITE_ZEROES), w);
			assert_int_equal(no_data(n, NVME_IO_FLUSH), w);
			assert_int_equal(dsm(n), w);
			assert_int_equal(copy(n), w);
			/* Same bytes for the Compare of the next. */
			assert_int_equal(rw(1, NVME_IO_READ), 0);
			memcpy(hosts[n % HOSTS + 1].io.data, hosts[1].io.data, 4096);
			memset(hosts[n % HOSTS + 1].io.data, 0, 4096);
			assert_int_equal(no_data(1, NVME_IO_WRITE_ZEROES), 0);
		}
		assert_int_equal(rel(1, 1, table[i].type), 0);
		for (unsigned int n = 1; n <= HOSTS; n++)
			assert_int_equal(rw(n, NVME_IO_WRITE), 0);
	}
}

/* A pair is checked as a whole: nothing is compared for a Write that may not be. */
static void test_fused(void **state)
{
	struct host_queue *q = &hosts[3].io;
	uint16_t expected[2] = {NVME_SC_FUSED_FAIL, CONFLICT};

	(void)state;
	assert_int_equal(rw(3, NVME_IO_READ), 0);
	assert_int_equal(reg(1, 1), 0);
	assert_int_equal(acquire(1, 1, WE), 0);
	for (unsigned int i = 0; i < 2; i++) {
		struct nvme_command *cmd =
			host_command(q, i + 1, i ? NVME_IO_WRITE : NVME_IO_COMPARE);

		cmd->nsid = htole32(TEST_NSID);
		cmd->flags |= (uint8_t)(i + 1);
		cmd->cdw12 = htole32(7);
		host_keyed(q, cmd, 4096);
		host_post(q, i + 1, 64);
	}
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(host_wait(q, i + 1) & ~DNR, expected[i] & ~DNR);
}

static void test_notices(void **state)
{
	struct host_queue *q = &hosts[2].admin;
	uint32_t dw0;

	(void)state;
	assert_int_equal(reg(1, 1), 0);
	assert_int_equal(reg(2, 2), 0);
	assert_int_equal(reg(3, 3), 0);
	expect_notice(2, NVME_RESV_NOTICE_NONE, 0);
	(void)host_command(q, 5, NVME_ADMIN_ASYNC_EVENT);
	host_post(q, 5, 64);
	/* Two at once: one event, until the log is read. */
	assert_int_equal(acquire(1, 1, WERO), 0);
	assert_int_equal(rel(1, 1, WERO), 0);
	assert_int_equal(acquire(1, 1, EARO), 0);
	assert_int_equal(preempt(1, 1, 2, EA, false), 0);
	assert_int_equal(host_wait(q, 5), 0);
	dw0 = le32toh(q->by_cid[5].dw0);
	assert_int_equal(dw0, NVME_AEN_IO_SPECIFIC | NVME_LOG_RESERVATION << 16);
	(void)host_command(q, 5, NVME_ADMIN_ASYNC_EVENT);
	host_post(q, 5, 64);
	for (unsigned int i = 0; i < 100; i++)
		rig_turn(&rig, q);
	assert_false(q->has_cid[5]);
	/* Asked to retain, it stays. */
	assert_int_equal(notice(2, true).type, NVME_RESV_RESERVATION_RELEASED);
	expect_notice(2, NVME_RESV_RESERVATION_RELEASED, 1);
	assert_int_equal(host_wait(q, 5), 0);
	expect_notice(2, NVME_RESV_REGISTRATION_PREEMPTED, 0);
	expect_notice(2, NVME_RESV_NOTICE_NONE, 0);
	/* Host 3 was not preempted; host 1 did all that. */
	expect_notice(3, NVME_RESV_RESERVATION_RELEASED, 0);
	expect_notice(3, NVME_RESV_NOTICE_NONE, 0);
	expect_notice(1, NVME_RESV_NOTICE_NONE, 0);
	assert_int_equal(change(1, NVME_IO_RESV_RELEASE, NVME_RRELA_CLEAR, 1, 0), 0);
	expect_notice(3, NVME_RESV_RESERVATION_PREEMPTED, 0);
	/* Too many: the rest is counted. */
	for (unsigned int i = 0; i < RESV_LOG_ENTRIES + 3; i++) {
		assert_int_equal(reg(3, 3), 0);
		assert_int_equal(reg(1, 1), 0);
		assert_int_equal(change(1, NVME_IO_RESV_RELEASE, NVME_RRELA_CLEAR, 1, 0), 0);
	}
	expect_notice(3, NVME_RESV_RESERVATION_PREEMPTED, RESV_LOG_ENTRIES - 1);
	for (unsigned int i = RESV_LOG_ENTRIES - 1; i-- > 0;)
		expect_notice(3, NVME_RESV_RESERVATION_PREEMPTED, i);
	assert_int_equal(reg(3, 3), 0);
	assert_int_equal(reg(1, 1), 0);
	assert_int_equal(change(1, NVME_IO_RESV_RELEASE, NVME_RRELA_CLEAR, 1, 0), 0);
	assert_int_equal(le64toh(notice(3, false).count), 2 + RESV_LOG_ENTRIES + 3 + 1);
}

static void test_features(void **state)
{
	(void)state;
	assert_int_equal(feature_value(1, NVME_FEAT_RESV_NOTICE_MASK), 0);
	assert_int_equal(feature(1, true, NVME_FEAT_RESV_NOTICE_MASK, 99, 2),
			 NVME_SC_INVALID_NS | DNR);
	assert_int_equal(feature(1, false, NVME_FEAT_RESV_NOTICE_MASK, NVME_NSID_ALL, 0),
			 NVME_SC_INVALID_NS | DNR);
	assert_int_equal(feature(2, true, NVME_FEAT_RESV_NOTICE_MASK, NVME_NSID_ALL,
				 1u << NVME_RESV_RESERVATION_RELEASED | 1),
			 0);
	assert_int_equal(feature_value(2, NVME_FEAT_RESV_NOTICE_MASK),
			 1u << NVME_RESV_RESERVATION_RELEASED);
	assert_int_equal(feature_value(1, NVME_FEAT_RESV_NOTICE_MASK), 0);
	assert_int_equal(reg(1, 1), 0);
	assert_int_equal(reg(2, 2), 0);
	assert_int_equal(acquire(1, 1, WERO), 0);
	assert_int_equal(rel(1, 1, WERO), 0);
	expect_notice(2, NVME_RESV_NOTICE_NONE, 0);
	assert_int_equal(feature(2, true, NVME_FEAT_RESV_NOTICE_MASK, TEST_NSID, 0), 0);
	assert_int_equal(preempt(1, 1, 2, WE, false), 0);
	expect_notice(2, NVME_RESV_REGISTRATION_PREEMPTED, 0);

	assert_int_equal(feature_value(1, NVME_FEAT_RESV_PERSIST), 0);
	assert_int_equal(feature(1, true, NVME_FEAT_RESV_PERSIST, 99, 1), NVME_SC_INVALID_NS | DNR);
	assert_int_equal(feature(1, true, NVME_FEAT_RESV_PERSIST, NVME_NSID_ALL, 1), 0);
	assert_int_equal(feature_value(2, NVME_FEAT_RESV_PERSIST), 1);
	assert_int_equal(access(in_dir("state/reservations/a"), F_OK), 0);
	assert_int_equal(feature(2, true, NVME_FEAT_RESV_PERSIST, TEST_NSID, 0), 0);
	assert_int_equal(feature_value(1, NVME_FEAT_RESV_PERSIST), 0);
	assert_int_equal(access(in_dir("state/reservations/a"), F_OK), -1);
}

static void test_restart(void **state)
{
	struct nvme_resv_status head;
	struct nvme_resv_registrant list[HOSTS];

	(void)state;
	/* Does not persist: gone. */
	assert_int_equal(reg(1, 1), 0);
	assert_int_equal(acquire(1, 1, EA), 0);
	assert_int_equal(rw(2, NVME_IO_READ), CONFLICT);
	down();
	up();
	assert_int_equal(rw(2, NVME_IO_WRITE), 0);
	assert_int_equal(report(2, &head, NULL, 64), 0);
	assert_int_equal(head.registrants[0], 0);
	/* Persists: the same, for who comes back and for all others. */
	assert_int_equal(reg_kept(1, 0xabc), 0);
	assert_int_equal(reg(2, 0xdef), 0);
	assert_int_equal(acquire(1, 0xabc, EA), 0);
	down();
	up();
	assert_int_equal(rw(1, NVME_IO_WRITE), 0);
	assert_int_equal(rw(2, NVME_IO_READ), CONFLICT);
	assert_int_equal(rw(3, NVME_IO_WRITE), CONFLICT);
	assert_int_equal(report(3, &head, list, 4096), 0);
	assert_int_equal(le32toh(head.generation), 2);
	assert_int_equal(head.type, EA);
	assert_int_equal(head.ptpl, 1);
	assert_int_equal(head.registrants[0], 2);
	assert_int_equal(list[0].hostid[3], 1);
	assert_int_equal(list[0].holds, 1);
	assert_int_equal(le64toh(list[1].key), 0xdef);
	/* Released, and then: released. */
	assert_int_equal(rel(1, 0xabc, EA), 0);
	down();
	up();
	assert_int_equal(rw(3, NVME_IO_WRITE), 0);
	assert_int_equal(acquire(2, 0xdef, WE), 0);
	/* No longer to persist: nothing is found next time. */
	assert_int_equal(feature(3, true, NVME_FEAT_RESV_PERSIST, TEST_NSID, 0), 0);
	assert_int_equal(rw(3, NVME_IO_WRITE), CONFLICT);
	down();
	up();
	assert_int_equal(rw(3, NVME_IO_WRITE), 0);
}

/* What cannot be kept is refused, and changes nothing. */
static void test_no_room(void **state)
{
	struct nvme_resv_status head;

	(void)state;
	assert_int_equal(reg_kept(1, 1), 0);
	remove_tree(in_dir("state/reservations"));
	assert_int_equal(close(open(in_dir("state/reservations"), O_CREAT | O_WRONLY, 0600)), 0);
	assert_int_equal(acquire(1, 1, EA), NVME_SC_INTERNAL);
	assert_int_equal(rw(2, NVME_IO_READ), 0);
	assert_int_equal(report(2, &head, NULL, 64), 0);
	assert_int_equal(head.type, NVME_RESV_NONE);
	assert_int_equal(unlink(in_dir("state/reservations")), 0);
	assert_int_equal(acquire(1, 1, EA), 0);
	assert_int_equal(rw(2, NVME_IO_READ), CONFLICT);
}

/*
 * Host 2 has a Write that waits for a Compare-free range: the range is taken by hand, so the Write
 * waits for its place; host 1 preempts it.
 */
static void test_abort(void **state)
{
	struct interlock *il = rig.target->homes[0].interlock;
	struct interlock_node node = {.offset = 0, .end = 4096, .exclusive = true};
	struct host_queue *q = &hosts[2].io;
	struct nvme_command *cmd;

	(void)state;
	assert_int_equal(reg(1, 1), 0);
	assert_int_equal(reg(2, 2), 0);
	assert_int_equal(reg(3, 3), 0);
	assert_int_equal(acquire(2, 2, WERO), 0);
	assert_true(interlock_lock(il, &node));
	for (unsigned int n = 2; n <= 3; n++) {
		cmd = host_command(&hosts[n].io, 6, NVME_IO_WRITE);
		cmd->nsid = htole32(TEST_NSID);
		cmd->cdw12 = htole32(7);
		host_keyed(&hosts[n].io, cmd, 4096);
		host_post(&hosts[n].io, 6, 64);
		for (unsigned int i = 0; i < 300; i++)
			rig_turn(&rig, &hosts[n].io);
		assert_false(hosts[n].io.has_cid[6]);
	}
	assert_int_equal(preempt(1, 1, 2, WERO, true), 0);
	assert_int_equal(host_wait(q, 6), NVME_SC_ABORTED_PREEMPTED | DNR);
	/* Host 3 was not preempted: its Write goes on. */
	interlock_unlock(il, &node);
	assert_int_equal(host_wait(&hosts[3].io, 6), 0);
	assert_int_equal(rw(2, NVME_IO_WRITE), CONFLICT);
	assert_int_equal(rw(2, NVME_IO_READ), 0);
	assert_false(q->dead);
	/* The same without abort: it waits on, and finds the new state when its turn has come. */
	assert_int_equal(reg(2, 2), 0);
	assert_true(interlock_lock(il, &node));
	host_post(q, 6, 64);
	for (unsigned int i = 0; i < 300; i++)
		rig_turn(&rig, q);
	assert_int_equal(preempt(1, 1, 2, WERO, false), 0);
	assert_false(q->has_cid[6]);
	interlock_unlock(il, &node);
	assert_int_equal(host_wait(q, 6), CONFLICT);
}

/* A host that is dead in the middle of a transfer: its queue is cut at the deadline. */
static void test_abort_dead(void **state)
{
	struct host_queue *q = &hosts[2].io;
	struct nvme_command *cmd;
	uint64_t before;

	(void)state;
	assert_int_equal(reg(1, 1), 0);
	assert_int_equal(reg(2, 2), 0);
	assert_int_equal(acquire(2, 2, EA), 0);
	cmd = host_command(q, 6, NVME_IO_WRITE);
	cmd->nsid = htole32(TEST_NSID);
	cmd->cdw12 = htole32(2047);
	host_keyed(q, cmd, MIB(1));
	host_post(q, 6, 64);
	/* Nobody looks after its side any more, so the target's READs stay unanswered. */
	for (unsigned int i = 0; i < 1000; i++)
		rig_turn(&rig, NULL);
	before = now_ns();
	assert_int_equal(preempt(1, 1, 2, EA, true), 0);
	assert_in_range(now_ns() - before, 900 * NS_PER_MS, 15 * NS_PER_S);
	assert_true(rig_wait(&rig, q, &q->dead, 5000));
	assert_false(q->has_cid[6]);
	assert_int_equal(rw(1, NVME_IO_WRITE), 0);
}

/* ---- direct clients --------------------------------------------------------------------------- */

static uint16_t direct_open(unsigned int n, struct host_queue *dq)
{
	struct lh_cm_request request = {.recfmt = htole16(LH_CM_RECFMT),
					.version = htole16(LH_PROTOCOL_VERSION),
					.cntlid = htole16(hosts[n].cntlid),
					.credits = htole16(HOST_DEPTH)};
	struct lh_msg *hello;
	struct lh_cm_accept accept;
	struct nvme_command *cmd = host_command(&hosts[n].admin, 0, LH_ADMIN_OPEN_DIRECT);

	host_keyed(&hosts[n].admin, cmd, sizeof(struct lh_token));
	assert_int_equal(host_run(&hosts[n].admin, 64), 0);
	memcpy(request.token, hosts[n].admin.data, LH_TOKEN_BYTES);
	assert_true(host_connect(&rig, dq, &request, sizeof(request)));
	memcpy(&accept, dq->accept, sizeof(accept));
	hello = (struct lh_msg *)host_command(dq, 0, 0);
	*hello = (struct lh_msg){.type = htole16(LH_MSG_HELLO), .length = htole32(sizeof(*hello))};
	host_post(dq, 0, sizeof(*hello));
	return le16toh(accept.dqid);
}

static uint16_t grant(unsigned int n, uint16_t dqid, unsigned int access)
{
	uint64_t end = now_ns() + 10 * NS_PER_S;
	uint16_t status;

	do {
		struct lh_admin_command *cmd =
			(void *)host_command(&hosts[n].admin, 0, LH_ADMIN_ACQUIRE);

		cmd->nsid = htole32(TEST_NSID);
		cmd->dqid = htole16(dqid);
		cmd->access_flags = htole16((uint16_t)access);
		cmd->length = htole64(65536);
		host_keyed(&hosts[n].admin, (struct nvme_command *)(void *)cmd, 65536);
		status = host_run(&hosts[n].admin, 64);
	} while (status == LH_SC_RECALLING && now_ns() < end);
	return status;
}

static uint16_t give_back(unsigned int n, uint16_t dqid)
{
	struct lh_admin_command *cmd = (void *)host_command(&hosts[n].admin, 0, LH_ADMIN_RELEASE);

	cmd->nsid = htole32(TEST_NSID);
	cmd->dqid = htole16(dqid);
	cmd->length = htole64(UINT64_MAX);
	return host_run(&hosts[n].admin, 64);
}

static void post_acquire(unsigned int n, uint64_t key, uint32_t type)
{
	struct nvme_resv_keys keys = {.crkey = htole64(key)};
	struct nvme_command *cmd = host_command(&hosts[n].io, 9, NVME_IO_RESV_ACQUIRE);

	cmd->nsid = htole32(TEST_NSID);
	cmd->cdw10 = htole32(type << 8);
	nvme_offset_sgl_set(&cmd->sgl, 0, sizeof(keys));
	memcpy(cmd + 1, &keys, sizeof(keys));
	host_post(&hosts[n].io, 9, 64 + sizeof(keys));
}

static void test_grants(void **state)
{
	struct host_queue direct[HOSTS + 1];
	uint16_t dqid[HOSTS + 1];
	unsigned int told[HOSTS + 1];

	(void)state;
	for (unsigned int n = 2; n <= HOSTS; n++)
		dqid[n] = direct_open(n, &direct[n]);
	assert_int_equal(reg(1, 1), 0);
	assert_int_equal(reg(2, 2), 0);
	/* Held by another: none for those who may not, for what they may not. */
	assert_int_equal(acquire(1, 1, WERO), 0);
	assert_int_equal(grant(3, dqid[3], LH_GRANT_WRITE), CONFLICT);
	assert_int_equal(grant(3, dqid[3], LH_GRANT_READ | LH_GRANT_WRITE), CONFLICT);
	assert_int_equal(grant(3, dqid[3], LH_GRANT_READ), 0);
	assert_int_equal(give_back(3, dqid[3]), 0);
	assert_int_equal(grant(2, dqid[2], LH_GRANT_WRITE), 0);
	assert_int_equal(rel(1, 1, WERO), 0);
	/* Taken by another: not answered until what it forbids is back. */
	for (unsigned int i = 0; i < 300; i++)
		rig_turn(&rig, &direct[2]);
	told[2] = direct[2].answered;
	post_acquire(1, 1, EA);
	while (direct[2].answered == told[2])
		rig_turn(&rig, &direct[2]);
	for (unsigned int i = 0; i < 200; i++)
		rig_turn(&rig, &hosts[1].io);
	assert_false(hosts[1].io.has_cid[9]);
	assert_int_equal(rw(2, NVME_IO_READ), CONFLICT);
	assert_int_equal(give_back(2, dqid[2]), 0);
	assert_int_equal(host_wait(&hosts[1].io, 9), 0);
	assert_false(direct[2].dead);
	assert_int_equal(grant(2, dqid[2], LH_GRANT_READ), CONFLICT);
	assert_int_equal(rel(1, 1, EA), 0);
	/* A reader is not disturbed by who only keeps writers out. */
	assert_int_equal(grant(3, dqid[3], LH_GRANT_READ), 0);
	for (unsigned int i = 0; i < 300; i++)
		rig_turn(&rig, &direct[3]);
	told[3] = direct[3].answered;
	assert_int_equal(acquire(1, 1, WE), 0);
	for (unsigned int i = 0; i < 300; i++)
		rig_turn(&rig, &direct[3]);
	assert_int_equal(direct[3].answered, told[3]);
	/* Who does not give it back is fenced at the deadline. */
	assert_int_equal(preempt(1, 1, 1, EARO, false), 0);
	assert_true(rig_wait(&rig, &direct[3], &direct[3].dead, 5000));
	assert_int_equal(grant(2, dqid[2], LH_GRANT_WRITE), 0);
	/* And a preempt takes what its victim was granted as a registrant. */
	post_acquire(1, 1, EARO);
	assert_int_equal(host_wait(&hosts[1].io, 9), 0);
	assert_int_equal(preempt(1, 1, 2, EARO, true), 0);
	assert_true(rig_wait(&rig, &direct[2], &direct[2].dead, 5000));
	for (unsigned int n = 2; n <= HOSTS; n++)
		host_close(&direct[n]);
}

static int group(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_report, setup, teardown),
		cmocka_unit_test_setup_teardown(test_conflicts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_notices, setup, teardown),
		cmocka_unit_test_setup_teardown(test_features, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abort, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abort_dead, setup, teardown),
		cmocka_unit_test_setup_teardown(test_grants, setup, teardown),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	tenure_block_signals();
	if (export_guard_init() < 0)
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(group);
}
