// SPDX-License-Identifier: BSD-3-Clause
/*
 * Asymmetric namespace access as a raw host sees it: two listeners, one controller by each, and
 * states that change while they look.
 */
#include "nvme_host.h"

#include "tenure/tenure.h"

#define DNR	  NVME_SC_DNR
#define LOG_BYTES (sizeof(struct nvme_ana_log) + sizeof(struct nvme_ana_group) + sizeof(le32))

static struct rig rig;
static struct sockaddr_storage addrs[2];
static uint16_t ports[2];
static unsigned int nr_seen;

static void note_listener(const struct nvme_listener_status *status, void *arg)
{
	(void)arg;
	assert_true(nr_seen < 2);
	addrs[nr_seen] = status->bound;
	ports[nr_seen++] = status->portid;
}

static int setup(void **state)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct nvme_listen_options options = {.ana_state = {[1] = NVME_ANA_NON_OPTIMIZED}};
	struct errtext err;

	if (leaks_setup(state))
		return -1;
	rig_start(&rig);
	assert_int_equal(
		nvme_target_listen(rig.target, rig.fabric, (struct sockaddr *)&any, &options, &err),
		0);
	nr_seen = 0;
	nvme_target_each_listener(rig.target, note_listener, NULL);
	assert_int_equal(nr_seen, 2);
	assert_int_not_equal(ports[0], ports[1]);
	return 0;
}

static int teardown(void **state)
{
	rig_stop(&rig);
	return leaks_teardown(state);
}

static uint16_t admin_by(unsigned int listener, struct host_queue *q)
{
	rig.addr = addrs[listener];
	return host_admin(&rig, q);
}

static void io_by(unsigned int listener, struct host_queue *q, uint16_t cntlid)
{
	rig.addr = addrs[listener];
	assert_true(host_connect_nvme(&rig, q, 1));
	assert_int_equal(host_associate(q, 1, cntlid, TEST_NQN, 0), 0);
}

static void set(unsigned int listener, unsigned int group, enum nvme_ana_state state)
{
	assert_int_equal(nvme_target_set_ana(rig.target, ports[listener], group, state), 0);
}

/* ---- Identify --------------------------------------------------------------------------------- */

static uint16_t identify(struct host_queue *q, uint32_t cns, uint32_t nsid)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_IDENTIFY);

	cmd->cdw10 = htole32(cns);
	cmd->nsid = htole32(nsid);
	host_keyed(q, cmd, 4096);
	return host_run(q, 64);
}

static void test_identify(void **state)
{
	const struct nvme_id_ns_independent *independent;
	const struct nvme_id_ctrl *ctrl;
	const struct nvme_id_ns *ns;
	struct host_queue q;

	(void)state;
	(void)admin_by(0, &q);
	ctrl = (void *)q.data;
	ns = (void *)q.data;
	independent = (void *)q.data;
	assert_int_equal(identify(&q, NVME_CNS_CONTROLLER, 0), 0);
	assert_int_equal(ctrl->cmic, 0x0b);
	assert_int_equal(le32toh(ctrl->oaes) & 1u << 11, 1u << 11);
	assert_int_equal(ctrl->anatt, 10);
	assert_int_equal(ctrl->anacap, 0x5f);
	assert_int_equal(le32toh(ctrl->anagrpmax), 32);
	assert_int_equal(le32toh(ctrl->nanagrpid), 32);
	/* A host that speaks ANA wants a number here. */
	assert_in_range(le32toh(ctrl->mnan), 1, le32toh(ctrl->nn));
	for (unsigned int i = 0; i < 5; i++) {
		static const struct {
			enum nvme_ana_state state;
			bool used;
		} cases[] = {{NVME_ANA_NON_OPTIMIZED, true},
			     {NVME_ANA_INACCESSIBLE, false},
			     {NVME_ANA_CHANGE, true},
			     {NVME_ANA_OPTIMIZED, true},
			     {NVME_ANA_PERSISTENT_LOSS, false}};

		set(0, 1, cases[i].state);
		assert_int_equal(identify(&q, NVME_CNS_NS, TEST_NSID), 0);
		assert_int_equal(ns->nmic, 1);
		assert_int_equal(le32toh(ns->anagrpid), 1);
		/* Its size is known; what of it is in use is not. */
		assert_int_equal(le64toh(ns->nsze), TEST_FILE_BYTES / 512);
		assert_int_equal(le64toh(ns->ncap), TEST_FILE_BYTES / 512);
		assert_int_equal(le64toh(ns->nuse), cases[i].used ? TEST_FILE_BYTES / 512 : 0);
		assert_int_equal(identify(&q, NVME_CNS_CS_INDEPENDENT_NS, TEST_NSID), 0);
		assert_int_equal(le32toh(independent->anagrpid), 1);
		assert_int_equal(identify(&q, NVME_CNS_ACTIVE_NS, 0), 0);
		assert_int_equal(le32toh(*(le32 *)q.data), TEST_NSID);
		assert_int_equal(identify(&q, NVME_CNS_NS_DESCRIPTORS, TEST_NSID), 0);
	}
	host_close(&q);
}

/* ---- the log ---------------------------------------------------------------------------------- */

static uint16_t get_log(struct host_queue *q, uint32_t flags, uint64_t offset, uint32_t bytes)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_GET_LOG_PAGE);

	cmd->cdw10 = htole32(NVME_LOG_ANA | flags | (bytes / 4 - 1) << 16);
	cmd->cdw12 = htole32((uint32_t)offset);
	memset(q->data, 0xee, bytes);
	host_keyed(q, cmd, bytes);
	return host_run(q, 64);
}

static void check_log(struct host_queue *q, uint64_t changes, uint64_t changed_at,
		      enum nvme_ana_state state)
{
	struct nvme_ana_log head;
	struct nvme_ana_group group;
	le32 nsid;

	assert_int_equal(get_log(q, 0, 0, 4096), 0);
	memcpy(&head, q->data, sizeof(head));
	memcpy(&group, q->data + sizeof(head), sizeof(group));
	memcpy(&nsid, q->data + sizeof(head) + sizeof(group), sizeof(nsid));
	assert_int_equal(le64toh(head.change_count), changes);
	assert_int_equal(le16toh(head.groups), 1);
	assert_int_equal(le32toh(group.id), 1);
	assert_int_equal(le32toh(group.nsids), 1);
	assert_int_equal(le64toh(group.change_count), changed_at);
	assert_int_equal(group.state, state);
	assert_int_equal(le32toh(nsid), TEST_NSID);
	for (size_t i = LOG_BYTES; i < 4096; i++)
		assert_int_equal(q->data[i], 0);
}

/* Where the last error was, as the error log says. */
static uint16_t newest_fault(struct host_queue *q)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_GET_LOG_PAGE);
	struct nvme_error_entry newest;

	cmd->cdw10 = htole32(NVME_LOG_ERROR | (sizeof(newest) / 4 - 1) << 16);
	host_keyed(q, cmd, sizeof(newest));
	assert_int_equal(host_run(q, 64), 0);
	memcpy(&newest, q->data, sizeof(newest));
	return le16toh(newest.location);
}

static void test_log(void **state)
{
	uint8_t whole[LOG_BYTES];
	struct host_queue a, b;
	struct nvme_ana_group group;

	(void)state;
	(void)admin_by(0, &a);
	(void)admin_by(1, &b);
	/* Each sees the listener that it came in by. */
	check_log(&a, 0, 0, NVME_ANA_OPTIMIZED);
	check_log(&b, 0, 0, NVME_ANA_NON_OPTIMIZED);
	set(0, 1, NVME_ANA_INACCESSIBLE);
	set(0, 1, NVME_ANA_INACCESSIBLE); /* no change */
	check_log(&a, 1, 1, NVME_ANA_INACCESSIBLE);
	check_log(&b, 0, 0, NVME_ANA_NON_OPTIMIZED);
	set(0, 2, NVME_ANA_CHANGE); /* nobody's group: it counts, and is not shown */
	check_log(&a, 2, 1, NVME_ANA_INACCESSIBLE);
	set(0, 0, NVME_ANA_OPTIMIZED); /* both groups */
	check_log(&a, 4, 3, NVME_ANA_OPTIMIZED);

	assert_int_equal(get_log(&a, NVME_LOG_ANA_RGO, 0, 64), 0);
	memcpy(&group, a.data + sizeof(struct nvme_ana_log), sizeof(group));
	assert_int_equal(le32toh(group.id), 1);
	assert_int_equal(le32toh(group.nsids), 0);
	assert_int_equal(a.data[LOG_BYTES - 1], 0);

	assert_int_equal(get_log(&a, 0, 0, LOG_BYTES), 0);
	memcpy(whole, a.data, LOG_BYTES);
	for (uint32_t at = 0; at < LOG_BYTES; at += 4) {
		assert_int_equal(get_log(&a, 0, at, 4), 0);
		assert_memory_equal(a.data, whole + at, 4);
	}
	assert_int_equal(get_log(&a, 0, LOG_BYTES, 4), 0);
	assert_int_equal(get_log(&a, 0, LOG_BYTES + 4, 4), NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(newest_fault(&a), offsetof(struct nvme_command, cdw12));
	assert_int_equal(get_log(&a, 0, 2, 4), NVME_SC_INVALID_FIELD | DNR);

	assert_int_equal(nvme_target_set_ana(rig.target, 99, 1, NVME_ANA_OPTIMIZED), -ENOENT);
	assert_int_equal(nvme_target_set_ana(rig.target, ports[0], NVME_MAX_ANA_GROUPS + 1,
					     NVME_ANA_OPTIMIZED),
			 -ERANGE);
	host_close(&a);
	host_close(&b);
}

/* The count begins with the controller, and with a reset. */
static void test_count_of_a_reset(void **state)
{
	struct nvmf_property_command *cmd;
	struct host_queue q;

	(void)state;
	set(0, 1, NVME_ANA_CHANGE);
	set(0, 1, NVME_ANA_OPTIMIZED);
	(void)admin_by(0, &q);
	check_log(&q, 0, 0, NVME_ANA_OPTIMIZED);
	set(0, 1, NVME_ANA_NON_OPTIMIZED);
	check_log(&q, 1, 1, NVME_ANA_NON_OPTIMIZED);
	cmd = (void *)host_command(&q, 0, NVME_FABRICS);
	cmd->fctype = NVMF_PROPERTY_SET;
	cmd->offset = htole32(NVME_PROP_CC);
	assert_int_equal(host_run(&q, 64), 0);
	assert_int_equal(host_enable(&q), 0);
	check_log(&q, 0, 0, NVME_ANA_NON_OPTIMIZED);
	host_close(&q);
}

/* ---- commands --------------------------------------------------------------------------------- */

static uint16_t rw(struct host_queue *q, uint8_t opcode)
{
	struct nvme_command *cmd = host_command(q, 0, opcode);

	cmd->nsid = htole32(TEST_NSID);
	cmd->cdw12 = htole32(7);
	host_keyed(q, cmd, 4096);
	return host_run(q, 64);
}

static uint16_t without_data(struct host_queue *q, uint8_t opcode)
{
	host_command(q, 0, opcode)->nsid = htole32(TEST_NSID);
	return host_run(q, 64);
}

static void check_io(struct host_queue *q, uint16_t status)
{
	assert_int_equal(rw(q, NVME_IO_READ), status);
	assert_int_equal(rw(q, NVME_IO_WRITE), status);
	assert_int_equal(rw(q, NVME_IO_COMPARE), status);
	assert_int_equal(without_data(q, NVME_IO_FLUSH), status);
	assert_int_equal(without_data(q, NVME_IO_WRITE_ZEROES), status);
	assert_int_equal(without_data(q, NVME_IO_VERIFY), status);
}

static void test_io(void **state)
{
	struct host_queue admin[2], io[2];

	(void)state;
	for (unsigned int i = 0; i < 2; i++)
		io_by(i, &io[i], admin_by(i, &admin[i]));
	check_io(&io[0], 0);
	check_io(&io[1], 0); /* non-optimized */
	/* Another path may take them: no DNR. The other listener is not touched. */
	set(0, 1, NVME_ANA_INACCESSIBLE);
	check_io(&io[0], NVME_SC_ANA_INACCESSIBLE);
	check_io(&io[1], 0);
	set(0, 1, NVME_ANA_CHANGE);
	check_io(&io[0], NVME_SC_ANA_TRANSITION);
	set(0, 1, NVME_ANA_PERSISTENT_LOSS);
	check_io(&io[0], NVME_SC_ANA_PERSISTENT_LOSS);
	check_io(&io[1], 0);
	/* A namespace that is not there is not there by any path. */
	host_command(&io[0], 0, NVME_IO_FLUSH)->nsid = htole32(TEST_NSID + 1);
	assert_int_equal(host_run(&io[0], 64), NVME_SC_INVALID_NS | DNR);
	for (unsigned int i = 0; i < 2; i++) {
		host_close(&io[i]);
		host_close(&admin[i]);
	}
}

/* Back and forth while commands run: each gets one of the two answers. */
static void test_back_and_forth(void **state)
{
	struct host_queue admin, io;
	unsigned int good = 0, refused = 0;

	(void)state;
	io_by(0, &io, admin_by(0, &admin));
	for (unsigned int i = 0; i < 400; i++) {
		uint16_t status;

		struct nvme_command *cmd = host_command(&io, 0, NVME_IO_READ);

		cmd->nsid = htole32(TEST_NSID);
		host_keyed(&io, cmd, 512);
		host_post(&io, 0, 64);
		set(0, 1, i % 2 ? NVME_ANA_OPTIMIZED : NVME_ANA_INACCESSIBLE);
		status = host_wait(&io, 0);
		assert_true(status == 0 || status == NVME_SC_ANA_INACCESSIBLE);
		good += status == 0;
		refused += status != 0;
	}
	assert_true(good > 0);
	assert_true(good + refused == 400);
	host_close(&io);
	host_close(&admin);
}

static uint16_t feature(struct host_queue *q, uint8_t opcode, uint32_t id)
{
	struct nvme_command *cmd = host_command(q, 0, opcode);

	cmd->nsid = htole32(id == NVME_FEAT_ERROR_RECOVERY ? TEST_NSID : 0);
	cmd->cdw10 = htole32(id);
	cmd->cdw11 = htole32(id == NVME_FEAT_KEEP_ALIVE ? 60000 : 1);
	return host_run(q, 64);
}

/* Of one namespace, or of all. */
static uint16_t set_for(struct host_queue *q, uint32_t id, uint32_t nsid)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_SET_FEATURES);

	cmd->nsid = htole32(nsid);
	cmd->cdw10 = htole32(id);
	return host_run(q, 64);
}

static uint16_t acquire(struct host_queue *q, uint8_t opcode)
{
	struct lh_admin_command *cmd = (void *)host_command(q, 0, opcode);

	cmd->nsid = htole32(TEST_NSID);
	cmd->access_flags = htole16(LH_GRANT_READ);
	cmd->length = htole64(4096);
	host_keyed(q, (struct nvme_command *)cmd, 65536);
	return host_run(q, 64);
}

static void check_admin(struct host_queue *q, uint16_t path)
{
	static const uint32_t of_namespaces[] = {
		NVME_FEAT_ERROR_RECOVERY,
		NVME_FEAT_RESV_NOTICE_MASK,
		NVME_FEAT_RESV_PERSIST,
	};
	struct nvme_command *cmd;

	/* What belongs to the namespace is behind the path; what belongs to the controller is not. */
	assert_int_equal(feature(q, NVME_ADMIN_GET_FEATURES, NVME_FEAT_ERROR_RECOVERY), path);
	assert_int_equal(feature(q, NVME_ADMIN_SET_FEATURES, NVME_FEAT_ERROR_RECOVERY), path);
	for (size_t i = 0; i < ARRAY_SIZE(of_namespaces); i++) {
		assert_int_equal(set_for(q, of_namespaces[i], TEST_NSID), path);
		assert_int_equal(set_for(q, of_namespaces[i], NVME_NSID_ALL), path);
	}
	assert_int_equal(feature(q, NVME_ADMIN_GET_FEATURES, NVME_FEAT_WRITE_ATOMICITY), 0);
	assert_int_equal(feature(q, NVME_ADMIN_SET_FEATURES, NVME_FEAT_KEEP_ALIVE), 0);
	(void)host_command(q, 0, NVME_ADMIN_KEEP_ALIVE);
	assert_int_equal(host_run(q, 64), 0);
	for (uint32_t page = NVME_LOG_SUPPORTED; page <= NVME_LOG_EFFECTS; page++) {
		cmd = host_command(q, 0, NVME_ADMIN_GET_LOG_PAGE);
		cmd->cdw10 = htole32(page | 127 << 16);
		host_keyed(q, cmd, 512);
		assert_int_equal(host_run(q, 64), 0);
	}
	/* No new grant; without a direct queue it is not even looked at otherwise. */
	assert_int_equal(acquire(q, LH_ADMIN_ACQUIRE), path ? path : LH_SC_NO_DIRECT_QUEUE | DNR);
	assert_int_equal(acquire(q, LH_ADMIN_RELEASE), 0);
}

static void test_admin(void **state)
{
	struct host_queue q;

	(void)state;
	(void)admin_by(0, &q);
	check_admin(&q, 0);
	set(0, 1, NVME_ANA_INACCESSIBLE);
	check_admin(&q, NVME_SC_ANA_INACCESSIBLE);
	set(0, 1, NVME_ANA_CHANGE);
	check_admin(&q, NVME_SC_ANA_TRANSITION);
	set(0, 1, NVME_ANA_PERSISTENT_LOSS);
	check_admin(&q, NVME_SC_ANA_PERSISTENT_LOSS);
	host_close(&q);
}

/* ---- events ----------------------------------------------------------------------------------- */

static void hold_event(struct host_queue *q, unsigned int slot)
{
	(void)host_command(q, slot, NVME_ADMIN_ASYNC_EVENT);
	host_post(q, slot, 64);
}

static uint16_t want_events(struct host_queue *q, uint32_t which)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_SET_FEATURES);

	cmd->cdw10 = htole32(NVME_FEAT_ASYNC_EVENT);
	cmd->cdw11 = htole32(which);
	return host_run(q, 64);
}

static bool told(struct host_queue *q, unsigned int slot)
{
	return rig_wait(&rig, q, &q->has_cid[slot], 100);
}

static void check_event(struct host_queue *q, unsigned int slot)
{
	assert_int_equal(host_wait(q, slot), 0);
	assert_int_equal(le32toh(q->by_cid[slot].dw0), 2 | 3u << 8 | 0x0cu << 16);
}

static void test_event(void **state)
{
	struct host_queue a, b;

	(void)state;
	(void)admin_by(0, &a);
	(void)admin_by(1, &b);
	assert_int_equal(want_events(&b, NVME_AEN_CFG_ANA), 0);
	hold_event(&a, 1);
	hold_event(&b, 1);
	/* Not asked for: noted, not told. */
	set(0, 1, NVME_ANA_INACCESSIBLE);
	assert_false(told(&a, 1));
	assert_int_equal(want_events(&a, NVME_AEN_CFG_ANA | NVME_AEN_CFG_NS_ATTR), 0);
	set(0, 1, NVME_ANA_OPTIMIZED);
	check_event(&a, 1);
	/* Masked until the log was read without RAE. */
	hold_event(&a, 2);
	set(0, 1, NVME_ANA_CHANGE);
	assert_false(told(&a, 2));
	assert_int_equal(get_log(&a, 1u << 15, 0, LOG_BYTES), 0);
	assert_false(told(&a, 2));
	/* What is read is no news; the next change is. */
	assert_int_equal(get_log(&a, 0, 0, LOG_BYTES), 0);
	assert_false(told(&a, 2));
	set(0, 1, NVME_ANA_INACCESSIBLE);
	check_event(&a, 2);
	/* The same where there was no request to answer. */
	assert_int_equal(get_log(&a, 0, 0, LOG_BYTES), 0);
	set(0, 1, NVME_ANA_CHANGE);
	assert_int_equal(get_log(&a, 0, 0, LOG_BYTES), 0);
	hold_event(&a, 3);
	assert_false(told(&a, 3));
	/* A later part of the log may be older than what its beginning would say now. */
	set(0, 1, NVME_ANA_INACCESSIBLE);
	check_event(&a, 3);
	hold_event(&a, 4);
	set(0, 1, NVME_ANA_OPTIMIZED);
	assert_false(told(&a, 4));
	assert_int_equal(get_log(&a, 0, 8, 8), 0);
	check_event(&a, 4);
	/* Nothing that the other would see has changed. */
	assert_false(told(&b, 1));
	set(1, 1, NVME_ANA_NON_OPTIMIZED); /* as it was */
	assert_false(told(&b, 1));
	set(1, 1, NVME_ANA_OPTIMIZED);
	check_event(&b, 1);
	host_close(&a);
	host_close(&b);
}

/* ---- associations ----------------------------------------------------------------------------- */

static void test_one_port_for_all_queues(void **state)
{
	struct host_queue admin, io;
	uint16_t cntlid;

	(void)state;
	cntlid = admin_by(0, &admin);
	rig.addr = addrs[1];
	assert_true(host_connect_nvme(&rig, &io, 1));
	assert_int_equal(host_associate(&io, 1, cntlid, TEST_NQN, 0),
			 NVME_SC_CONNECT_INVALID_PARAM | DNR);
	assert_int_equal(le32toh(io.by_cid[0].dw0), 1u << 16 | 16);
	host_close(&io);
	io_by(0, &io, cntlid);
	host_close(&io);
	host_close(&admin);
}

static void test_loss_that_ends(void **state)
{
	struct host_queue a, b;

	(void)state;
	(void)admin_by(0, &a);
	(void)admin_by(1, &b);
	set(0, 1, NVME_ANA_PERSISTENT_LOSS);
	check_log(&a, 1, 1, NVME_ANA_PERSISTENT_LOSS);
	set(0, 1, NVME_ANA_OPTIMIZED);
	assert_true(rig_wait(&rig, &a, &a.dead, 5000));
	host_close(&a);
	check_log(&b, 0, 0, NVME_ANA_NON_OPTIMIZED);
	(void)admin_by(0, &a);
	check_log(&a, 0, 0, NVME_ANA_OPTIMIZED);
	host_close(&a);
	host_close(&b);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identify, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log, setup, teardown),
		cmocka_unit_test_setup_teardown(test_count_of_a_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_io, setup, teardown),
		cmocka_unit_test_setup_teardown(test_back_and_forth, setup, teardown),
		cmocka_unit_test_setup_teardown(test_admin, setup, teardown),
		cmocka_unit_test_setup_teardown(test_event, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_port_for_all_queues, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loss_that_ends, setup, teardown),
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
