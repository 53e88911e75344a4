// SPDX-License-Identifier: BSD-3-Clause
/*
 * The discovery service: the log byte by byte, what listeners are shown as, and a discovery controller
 * as a raw host sees it over the software fabric.
 */
#include "nvme_host.h"

#include <arpa/inet.h>

#include "nvme/discovery.h"
#include "tenure/tenure.h"

#define DNR	  NVME_SC_DNR
#define MAX_BYTES 8192

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

/* ---- the log ---------------------------------------------------------------------------------- */

static struct sockaddr_storage address(const char *text, uint16_t port)
{
	struct sockaddr_storage addr = {0};
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&addr;
	struct sockaddr_in *in = (struct sockaddr_in *)&addr;

	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
	}
	return addr;
}

static void check_text(const char *field, size_t size, const char *text)
{
	assert_memory_equal(field, text, strlen(text));
	for (size_t i = strlen(text); i < size; i++)
		assert_int_equal(field[i], ' ');
}

/* Three entries. */
static uint64_t build(uint64_t offset, uint64_t length, uint8_t *out)
{
	const struct sockaddr_storage a = address("192.0.2.1", 4420);
	const struct sockaddr_storage b = address("2001:db8::2", 4421);
	const struct sockaddr_storage c = address("::ffff:192.0.2.3", 8009);
	struct discovery_log log = {.out = out, .offset = offset, .length = length};
	struct discovery_record record = {.subtype = NVMF_SUBTYPE_NVM,
					  .provider = NVMF_RDMA_IWARP,
					  .portid = 1,
					  .admin_entries = 128,
					  .addr = &a,
					  .nqn = TEST_NQN};

	memset(out, 0, length);
	discovery_log_add(&log, &record);
	record.portid = 2;
	record.provider = NVMF_RDMA_ROCE_V2;
	record.addr = &b;
	discovery_log_add(&log, &record);
	record.subtype = NVMF_SUBTYPE_REFERRAL;
	record.provider = NVMF_RDMA_UNKNOWN;
	record.eflags = NVMF_EFLAGS_PERSISTENT;
	record.addr = &c;
	record.nqn = NVME_DISCOVERY_NQN;
	discovery_log_add(&log, &record);
	return discovery_log_end(&log, 77);
}

static void test_log(void **state)
{
	uint8_t whole[4096];
	const struct nvmf_discovery_head *head = (void *)whole;
	const struct nvmf_discovery_entry *e = (void *)(whole + 1024);

	(void)state;
	assert_int_equal(build(0, sizeof(whole), whole), 4096);
	assert_int_equal(le64toh(head->genctr), 77);
	assert_int_equal(le64toh(head->numrec), 3);
	assert_int_equal(head->recfmt, 0);
	assert_int_equal(e[0].trtype, 1);
	assert_int_equal(e[0].adrfam, 1);
	assert_int_equal(e[0].subtype, 2);
	assert_int_equal(e[0].treq, 4);
	assert_int_equal(le16toh(e[0].portid), 1);
	assert_int_equal(le16toh(e[0].cntlid), 0xffff);
	assert_int_equal(le16toh(e[0].asqsz), 128);
	assert_int_equal(e[0].rdma.qptype, 1);
	assert_int_equal(e[0].rdma.prtype, 5);
	assert_int_equal(e[0].rdma.cms, 1);
	assert_string_equal(e[0].subnqn, TEST_NQN);
	check_text(e[0].traddr, sizeof(e->traddr), "192.0.2.1");
	check_text(e[0].trsvcid, sizeof(e->trsvcid), "4420");
	assert_int_equal(e[1].adrfam, 2);
	assert_int_equal(e[1].rdma.prtype, 4);
	check_text(e[1].traddr, sizeof(e->traddr), "2001:db8::2");
	check_text(e[1].trsvcid, sizeof(e->trsvcid), "4421");
	assert_int_equal(e[2].subtype, 1);
	assert_int_equal(e[2].adrfam, 1);
	assert_int_equal(le16toh(e[2].eflags), 2);
	check_text(e[2].traddr, sizeof(e->traddr), "192.0.2.3");
	assert_string_equal(e[2].subnqn, NVME_DISCOVERY_NQN);
}

static void test_log_in_pieces(void **state)
{
	static const uint64_t sizes[] = {4, 16, 100, 1020, 1024, 1028, 3000};
	uint8_t whole[MAX_BYTES], piece[MAX_BYTES];

	(void)state;
	assert_int_equal(build(0, sizeof(whole), whole), 4096);
	for (size_t i = 4096; i < sizeof(whole); i++)
		assert_int_equal(whole[i], 0);
	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		for (uint64_t at = 0; at + sizes[s] <= sizeof(whole); at += sizes[s]) {
			/* One byte more, which must stay as it is. */
			piece[sizes[s]] = 0xee;
			assert_int_equal(build(at, sizes[s], piece), 4096);
			assert_memory_equal(piece, whole + at, sizes[s]);
			assert_int_equal(piece[sizes[s]], 0xee);
		}
	}
	assert_int_equal(build(UINT64_MAX - 4095, 4, piece), 4096);
	assert_int_equal(piece[0], 0);
}

static void check_shown(const char *bound, const char *local, const char *expected)
{
	const struct sockaddr_storage b = address(bound, 4420), l = address(local, 999);
	struct sockaddr_storage shown, want;

	if (!expected) {
		assert_false(discovery_address(&b, &l, &shown));
		return;
	}
	want = address(expected, 4420);
	assert_true(discovery_address(&b, &l, &shown));
	assert_true(discovery_same_address(&shown, &want));
}

static void test_addresses(void **state)
{
	const struct sockaddr_storage none = {0}, any = address("0.0.0.0", 4420);
	const struct sockaddr_storage a = address("192.0.2.1", 1), b = address("192.0.2.1", 2);
	const struct sockaddr_storage c = address("::ffff:192.0.2.1", 1);
	struct sockaddr_storage shown;

	(void)state;
	check_shown("192.0.2.1", "198.51.100.7", "192.0.2.1");
	check_shown("2001:db8::1", "198.51.100.7", "2001:db8::1");
	check_shown("0.0.0.0", "198.51.100.7", "198.51.100.7");
	check_shown("0.0.0.0", "::ffff:198.51.100.7", "198.51.100.7");
	check_shown("0.0.0.0", "2001:db8::7", NULL);
	check_shown("::", "2001:db8::7", "2001:db8::7");
	check_shown("::", "198.51.100.7", "198.51.100.7");
	check_shown("::", "::ffff:198.51.100.7", "198.51.100.7");
	assert_false(discovery_address(&any, &none, &shown));
	assert_false(discovery_same_address(&a, &b));
	assert_true(discovery_same_address(&a, &c));
	assert_false(discovery_same_address(&a, &none));
}

/* ---- a controller ----------------------------------------------------------------------------- */

static uint16_t get_log(struct host_queue *q, uint8_t page, uint64_t offset, uint32_t bytes)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_GET_LOG_PAGE);
	uint32_t numd = bytes / 4 - 1;

	cmd->cdw10 = htole32(page | numd << 16);
	cmd->cdw12 = htole32((uint32_t)offset);
	host_keyed(q, cmd, bytes);
	return host_run(q, 64);
}

static uint64_t generation(struct host_queue *q)
{
	assert_int_equal(get_log(q, NVME_LOG_DISCOVERY, 0, 16), 0);
	return le64toh(((struct nvmf_discovery_head *)q->data)->genctr);
}

static uint16_t set_feature(struct host_queue *q, uint8_t feature, uint32_t value)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_SET_FEATURES);

	cmd->cdw10 = htole32(feature);
	cmd->cdw11 = htole32(value);
	return host_run(q, 64);
}

static uint16_t get_feature(struct host_queue *q, uint8_t feature)
{
	host_command(q, 0, NVME_ADMIN_GET_FEATURES)->cdw10 = htole32(feature);
	return host_run(q, 64);
}

static uint16_t discover(struct host_queue *q, uint32_t kato_ms)
{
	uint16_t cntlid;

	assert_true(host_connect_nvme(&rig, q, 0));
	assert_int_equal(host_associate(q, 0, NVME_CNTLID_DYNAMIC, NVME_DISCOVERY_NQN, kato_ms), 0);
	cntlid = (uint16_t)le32toh(q->by_cid[0].dw0);
	assert_int_equal(host_enable(q), 0);
	return cntlid;
}

static void note_status(const struct nvme_controller_status *status, void *arg)
{
	*(struct nvme_controller_status *)arg = *status;
}

static void test_controller(void **state)
{
	static const uint8_t refused[] = {LH_ADMIN_OPEN_DIRECT, LH_ADMIN_ACQUIRE, 0x00, 0x01, 0x10};
	struct nvme_controller_status status = {0};
	const struct nvme_id_ctrl *id;
	struct host_queue admin, io;
	struct nvme_command *cmd;
	uint16_t cntlid;

	(void)state;
	cntlid = discover(&admin, 0);
	/* Silent for ever it must not be, though it asked for no keep-alive. */
	nvme_target_each_controller(rig.target, note_status, &status);
	assert_int_equal(status.kato_ms, NVME_DISCOVERY_IDLE_MS);
	assert_string_equal(status.subnqn, NVME_DISCOVERY_NQN);
	cmd = host_command(&admin, 0, NVME_ADMIN_IDENTIFY);
	cmd->cdw10 = htole32(NVME_CNS_CONTROLLER);
	host_keyed(&admin, cmd, 4096);
	assert_int_equal(host_run(&admin, 64), 0);
	id = (const void *)admin.data;
	assert_int_equal(id->cntrltype, 2);
	assert_int_equal(le16toh(id->cntlid), cntlid);
	assert_int_equal(le32toh(id->oaes), 1u << 31);
	assert_int_equal(id->lpa & 4, 4);
	assert_int_equal(le16toh(id->kas), 1);
	assert_int_equal(id->nn, 0);
	assert_string_equal(id->subnqn, NVME_DISCOVERY_NQN);
	assert_memory_not_equal(id->vendor, LH_MAGIC, 8);
	cmd->cdw10 = htole32(NVME_CNS_NS);
	cmd->nsid = htole32(TEST_NSID);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_FIELD | DNR);
	cmd->cdw10 = htole32(NVME_CNS_ACTIVE_NS);
	assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_FIELD | DNR);

	assert_int_equal(get_log(&admin, NVME_LOG_SMART, 0, 512), NVME_SC_INVALID_LOG_PAGE | DNR);
	assert_int_equal(get_log(&admin, LH_LOG_EXPORTS, 0, 16), NVME_SC_INVALID_LOG_PAGE | DNR);
	assert_int_equal(set_feature(&admin, NVME_FEAT_QUEUES, 0), NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(get_feature(&admin, NVME_FEAT_QUEUES), NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(set_feature(&admin, NVME_FEAT_ASYNC_EVENT, 1u << 31 | 1u << 8),
			 NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(set_feature(&admin, NVME_FEAT_ASYNC_EVENT, 1u << 31), 0);
	assert_int_equal(get_feature(&admin, NVME_FEAT_ASYNC_EVENT), 0);
	assert_int_equal(le32toh(admin.by_cid[0].dw0), 1u << 31);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		(void)host_command(&admin, 0, refused[i]);
		assert_int_equal(host_run(&admin, 64), NVME_SC_INVALID_OPCODE | DNR);
	}
	(void)host_command(&admin, 0, NVME_ADMIN_KEEP_ALIVE);
	assert_int_equal(host_run(&admin, 64), 0);
	/* No I/O queues: the number is what is wrong. */
	assert_true(host_connect_nvme(&rig, &io, 1));
	assert_int_equal(host_associate(&io, 1, cntlid, NVME_DISCOVERY_NQN, 0),
			 NVME_SC_CONNECT_INVALID_PARAM | DNR);
	assert_int_equal(le32toh(io.by_cid[0].dw0), 42);
	host_close(&io);
	host_close(&admin);
}

static void test_log_page(void **state)
{
	uint8_t whole[1024 * 3];
	const struct nvmf_discovery_head *head = (void *)whole;
	const struct nvmf_discovery_entry *e = (void *)(whole + 1024);
	struct host_queue admin;
	char port[8];

	(void)state;
	(void)discover(&admin, 0);
	(void)snprintf(port, sizeof(port), "%u",
		       ntohs(((struct sockaddr_in *)&rig.addr)->sin_port));
	assert_int_equal(get_log(&admin, NVME_LOG_DISCOVERY, 0, sizeof(whole)), 0);
	memcpy(whole, admin.data, sizeof(whole));
	assert_int_equal(le64toh(head->numrec), 2);
	assert_int_equal(e[0].subtype, NVMF_SUBTYPE_CURRENT);
	assert_int_equal(le16toh(e[0].eflags), NVMF_EFLAGS_PERSISTENT);
	assert_string_equal(e[0].subnqn, NVME_DISCOVERY_NQN);
	assert_int_equal(e[1].subtype, NVMF_SUBTYPE_NVM);
	assert_int_equal(e[1].rdma.prtype, NVMF_RDMA_IWARP);
	assert_int_equal(le16toh(e[1].portid), 1);
	assert_string_equal(e[1].subnqn, TEST_NQN);
	check_text(e[1].traddr, sizeof(e->traddr), "127.0.0.1");
	check_text(e[1].trsvcid, sizeof(e->trsvcid), port);
	for (uint32_t at = 0; at < sizeof(whole); at += 96) {
		assert_int_equal(get_log(&admin, NVME_LOG_DISCOVERY, at, 96), 0);
		assert_memory_equal(admin.data, whole + at, 96);
	}
	/* Behind the end: zeros; beginning there: no. */
	admin.data[4095] = 1;
	assert_int_equal(get_log(&admin, NVME_LOG_DISCOVERY, 0, 4096), 0);
	assert_int_equal(admin.data[4095], 0);
	assert_int_equal(get_log(&admin, NVME_LOG_DISCOVERY, sizeof(whole) + 4, 16),
			 NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(get_log(&admin, NVME_LOG_DISCOVERY, 2, 16), NVME_SC_INVALID_FIELD | DNR);
	host_close(&admin);
}

static void send_event_request(struct host_queue *q, unsigned int slot)
{
	(void)host_command(q, slot, NVME_ADMIN_ASYNC_EVENT);
	host_post(q, slot, 64);
}

/* A listener at all addresses, and referrals, while a host is connected to stay. */
static void test_changes(void **state)
{
	const struct sockaddr_in any = {.sin_family = AF_INET,
					.sin_addr.s_addr = htonl(INADDR_ANY)};
	struct nvme_referral referral = {.addr = address("192.0.2.9", 8009),
					 .nqn = NVME_DISCOVERY_NQN};
	const struct nvme_listen_options options = {.no_invalidate = false};
	const struct nvmf_discovery_entry *e;
	struct host_queue admin, plain;
	struct errtext err;
	uint64_t first, second;

	(void)state;
	(void)discover(&admin, 60000);
	(void)host_admin(&rig, &plain);
	first = generation(&admin);
	assert_int_equal(generation(&admin), first);
	assert_int_equal(set_feature(&admin, NVME_FEAT_ASYNC_EVENT, 1u << 31), 0);
	send_event_request(&admin, 1);
	send_event_request(&plain, 1);
	assert_int_equal(nvme_target_listen(rig.target, rig.fabric, (const struct sockaddr *)&any,
					    &options, &err),
			 0);
	assert_int_equal(host_wait(&admin, 1), 0);
	assert_int_equal(le32toh(admin.by_cid[1].dw0), 0x70f002);
	/* Told once until the log is read. */
	send_event_request(&admin, 2);
	assert_int_equal(nvme_target_add_referral(rig.target, &referral), 0);
	assert_false(rig_wait(&rig, &admin, &admin.has_cid[2], 200));
	second = generation(&admin);
	assert_int_equal(second, first + 2);
	/* What it has read is no news. */
	assert_false(rig_wait(&rig, &admin, &admin.has_cid[2], 200));
	assert_false(plain.has_cid[1]);

	assert_int_equal(get_log(&admin, NVME_LOG_DISCOVERY, 0, 5120), 0);
	e = (const void *)(admin.data + 1024);
	assert_int_equal(le64toh(((struct nvmf_discovery_head *)admin.data)->numrec), 4);
	assert_int_equal(e[2].subtype, NVMF_SUBTYPE_NVM);
	assert_int_equal(le16toh(e[2].portid), 2);
	check_text(e[2].traddr, sizeof(e->traddr), "127.0.0.1");
	assert_memory_not_equal(e[2].trsvcid, e[1].trsvcid, sizeof(e->trsvcid));
	assert_int_equal(e[3].subtype, NVMF_SUBTYPE_REFERRAL);
	check_text(e[3].traddr, sizeof(e->traddr), "192.0.2.9");
	check_text(e[3].trsvcid, sizeof(e->trsvcid), "8009");

	referral.nqn[0] = '\0';
	assert_int_equal(nvme_target_add_referral(rig.target, &referral), -EINVAL);
	(void)snprintf(referral.nqn, sizeof(referral.nqn), "%s", NVME_DISCOVERY_NQN);
	for (unsigned int i = 1; i < NVME_MAX_REFERRALS; i++)
		assert_int_equal(nvme_target_add_referral(rig.target, &referral), 0);
	assert_int_equal(nvme_target_add_referral(rig.target, &referral), -ENOSPC);
	assert_int_equal(host_wait(&admin, 2), 0);
	assert_int_equal(generation(&admin), second + NVME_MAX_REFERRALS - 1);
	host_close(&plain);
	host_close(&admin);
}

/* What changed while the target was away changes the number too. */
static void test_restart(void **state)
{
	struct host_queue admin;
	uint64_t before;

	(void)state;
	(void)discover(&admin, 0);
	before = generation(&admin);
	host_close(&admin);
	rig_stop(&rig);
	rig_start(&rig);
	(void)discover(&admin, 0);
	assert_true(generation(&admin) > before);
	assert_true(generation(&admin) < 1ull << 53);
	host_close(&admin);
}

/* One that wants to stay says so with a keep-alive time, and is held to it. */
static void test_keep_alive(void **state)
{
	struct host_queue admin;

	(void)state;
	(void)discover(&admin, 300);
	assert_true(rig_wait(&rig, &admin, &admin.dead, 10000));
	host_close(&admin);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_log_in_pieces),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test_setup_teardown(test_controller, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_page, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keep_alive, setup, teardown),
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
