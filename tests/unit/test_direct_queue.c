// SPDX-License-Identifier: BSD-3-Clause
/*
 * Direct queues as a raw client sees them, well-behaved or not: the token, the messages, credits,
 * Commit in every form.
 */
#include "direct_client.h"

#include "tenure/tenure.h"

/* ---- tokens ----------------------------------------------------------------------------------- */

static struct direct_token *newest_token(const struct lh_cm_request *request)
{
	struct controller *c = controller_find(rig.target, cntlid);

	for (unsigned int i = 0; i < NVME_MAX_TOKENS; i++) {
		if (!memcmp(c->tokens[i].token, request->token, LH_TOKEN_BYTES))
			return &c->tokens[i];
	}
	fail_msg("the controller does not know its token");
	return NULL;
}

static void test_token(void **state)
{
	struct lh_cm_request good, bad, many[NVME_MAX_TOKENS + 1];
	struct direct d, other;

	(void)state;
	take_token(&admin, &good, cntlid);
	/* What is wrong otherwise does not use it up. */
	bad = good;
	bad.version = htole16(LH_PROTOCOL_VERSION + 1);
	assert_int_equal(connect_with(&d, &bad), LH_CM_BAD_VERSION);
	bad = good;
	bad.credits = htole16(1);
	assert_int_equal(connect_with(&d, &bad), LH_CM_BAD_FORMAT);
	bad = good;
	bad.token[LH_TOKEN_BYTES - 1] ^= 1;
	assert_int_equal(connect_with(&d, &bad), LH_CM_BAD_TOKEN);
	bad = good;
	memset(bad.token, 0, sizeof(bad.token)); /* as the slots that are empty */
	assert_int_equal(connect_with(&d, &bad), LH_CM_BAD_TOKEN);
	assert_int_equal(connect_with(&d, &good), 0);
	/* Once. */
	assert_int_equal(connect_with(&other, &good), LH_CM_BAD_TOKEN);
	host_close(&d.q);
	assert_int_equal(connect_with(&other, &good), LH_CM_BAD_TOKEN);
	/* More than are kept: the oldest is forgotten. */
	for (unsigned int i = 0; i < ARRAY_SIZE(many); i++)
		take_token(&admin, &many[i], cntlid);
	assert_int_equal(connect_with(&d, &many[0]), LH_CM_BAD_TOKEN);
	assert_int_equal(connect_with(&d, &many[1]), 0);
	host_close(&d.q);
}

static void test_token_expired(void **state)
{
	struct lh_cm_request late, in_time;
	struct direct_token *token;
	uint64_t before = now_ns();
	struct direct d;

	(void)state;
	take_token(&admin, &late, cntlid);
	token = newest_token(&late);
	assert_true(token->until_ns >= before + LH_TOKEN_LIFE_MS * NS_PER_MS);
	assert_true(token->until_ns <= now_ns() + LH_TOKEN_LIFE_MS * NS_PER_MS);
	take_token(&admin, &in_time, cntlid);
	/* As if it were ten seconds later. */
	token->until_ns = now_ns();
	assert_int_equal(connect_with(&d, &late), LH_CM_BAD_TOKEN);
	assert_int_equal(connect_with(&d, &in_time), 0);
	host_close(&d.q);
}

static void test_token_of_another(void **state)
{
	struct lh_cm_request request;
	struct host_queue second;
	uint16_t id = host_admin(&rig, &second);
	struct direct d;

	(void)state;
	assert_int_not_equal(id, cntlid);
	take_token(&second, &request, cntlid);
	assert_int_equal(connect_with(&d, &request), LH_CM_BAD_TOKEN);
	request.cntlid = htole16(0x7fff); /* nobody */
	assert_int_equal(connect_with(&d, &request), LH_CM_BAD_TOKEN);
	request.cntlid = htole16(id);
	assert_int_equal(connect_with(&d, &request), 0);
	host_close(&d.q);
	host_close(&second);
}

/* ---- Commit ----------------------------------------------------------------------------------- */

/* Written one-sidedly, persisted range by range, and only then answered. */
static void test_commit(void **state)
{
	static const struct lh_commit_range ranges[] = {{4096, 512}, {1, 1}, {65536, 65536}};
	struct lh_commit_range many[LH_COMMIT_MAX_RANGES];
	struct lh_grant grant;
	struct direct d;
	uint32_t generation;
	unsigned int tag;

	(void)state;
	open_direct(&d);
	grant = acquire(&d, 0, MIB(1), &generation);
	post_write(&d, &grant, 4096, 0xa5, 512);
	tag = post_commit_as(&d, TEST_NSID, generation, ranges, ARRAY_SIZE(ranges));
	assert_int_equal(committed(&d, tag), NVME_SC_SUCCESS);
	assert_int_equal(d.persisted[tag], ARRAY_SIZE(ranges));
	for (unsigned int i = 0; i < ARRAY_SIZE(ranges); i++)
		assert_persisted(i, ranges[i].offset, ranges[i].length);
	assert_byte(4096, 0xa5);
	assert_byte(4096 + 511, 0xa5);
	/* Nothing; and as much as one message can ask for. */
	tag = post_commit_as(&d, TEST_NSID, generation, NULL, 0);
	assert_int_equal(committed(&d, tag), NVME_SC_SUCCESS);
	assert_int_equal(d.persisted[tag], 3);
	for (unsigned int i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct lh_commit_range){i * 8192ull, 8192};
	tag = post_commit_as(&d, TEST_NSID, generation, many, ARRAY_SIZE(many));
	assert_int_equal(committed(&d, tag), NVME_SC_SUCCESS);
	assert_int_equal(d.persisted[tag], 3 + ARRAY_SIZE(many));
	assert_persisted(3 + 63, 63 * 8192ull, 8192);
	host_close(&d.q);
}

/* On a worker: no answer until it is done there; others on the same queue overtake it. */
static void test_commit_large(void **state)
{
	struct direct d;
	unsigned int large, small;
	uint32_t generation;

	(void)state;
	open_direct(&d);
	(void)acquire(&d, 0, MIB(1), &generation);
	atomic_store(&persists.hold, true);
	large = post_commit(&d, generation, 0, LARGE);
	small = post_commit(&d, generation, 4096, 4096);
	assert_int_equal(committed(&d, small), NVME_SC_SUCCESS);
	watch_quiet(&d);
	assert_false(d.has[large]);
	let_go();
	assert_int_equal(committed(&d, large), NVME_SC_SUCCESS);
	assert_int_equal(d.persisted[large], 2);
	host_close(&d.q);
}

/* The file system's error is the answer, and what is behind it is not touched. */
static void test_commit_fails(void **state)
{
	static const struct lh_commit_range ranges[] = {{0, 512}, {4096, 512}, {8192, 512}};
	static const struct lh_commit_range large[] = {{0, LARGE}, {MIB(1), LARGE}};
	struct direct d;
	uint32_t generation;
	unsigned int tag;

	(void)state;
	open_direct(&d);
	(void)acquire(&d, 0, MIB(2), &generation);
	persists.err = -EIO;
	persists.fails_after = 1;
	tag = post_commit_as(&d, TEST_NSID, generation, ranges, ARRAY_SIZE(ranges));
	assert_int_equal(committed(&d, tag), nvme_status_from_errno(-EIO));
	assert_int_equal(d.persisted[tag], 2);
	tag = post_commit_as(&d, TEST_NSID, generation, large, ARRAY_SIZE(large));
	assert_int_equal(committed(&d, tag), nvme_status_from_errno(-EIO));
	assert_int_equal(d.persisted[tag], 3);
	persists.err = 0;
	assert_int_equal(commit(&d, generation, 0, 512), NVME_SC_SUCCESS);
	host_close(&d.q);
}

static void test_commit_refused(void **state)
{
	static const struct lh_commit_range end_is_bad[] = {{0, 4096}, {TEST_FILE_BYTES, 1}};
	const struct lh_commit_range all_twice[] = {
		{.offset = 0, .length = htole64(TEST_FILE_BYTES)},
		{.offset = 0, .length = htole64(TEST_FILE_BYTES)},
	};
	const struct lh_commit_range range = {0, 4096};
	struct direct d, other;
	uint32_t generation;

	(void)state;
	open_direct(&d);
	open_direct(&other);
	(void)acquire(&d, 0, MIB(1), &generation);
	/* A generation that is not, or not yet. */
	assert_int_equal(commit(&d, generation + 1, 0, 4096), LH_SC_STALE_GENERATION);
	assert_int_equal(commit(&d, generation - 1, 0, 4096), LH_SC_STALE_GENERATION);
	assert_int_equal(commit(&d, UINT32_MAX, 0, 4096), LH_SC_STALE_GENERATION);
	/* Not a namespace. */
	assert_int_equal(committed(&d, post_commit_as(&d, TEST_NSID + 1, generation, &range, 1)),
			 LH_SC_STALE_GENERATION);
	assert_int_equal(committed(&d, post_commit_as(&d, 0, generation, &range, 1)),
			 LH_SC_STALE_GENERATION);
	assert_int_equal(committed(&d, post_commit_as(&d, UINT32_MAX, generation, &range, 1)),
			 LH_SC_STALE_GENERATION);
	/* Not in the export, and none of the others with it. */
	assert_int_equal(commit(&d, generation, TEST_FILE_BYTES, 1), NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(commit(&d, generation, 0, TEST_FILE_BYTES + 1), NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(commit(&d, generation, UINT64_MAX, 2), NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(commit(&d, generation, 4096, UINT64_MAX), NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(committed(&d, post_commit_as(&d, TEST_NSID, generation, end_is_bad, 2)),
			 NVME_SC_LBA_RANGE | DNR);
	/* All of it twice: whoever waits for that waits too long. */
	assert_int_equal(committed(&d, post_commit_as(&d, TEST_NSID, generation, all_twice, 2)),
			 NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(atomic_load(&persists.begun), 0);
	assert_false(d.q.dead || other.q.dead);
	host_close(&other.q);
	host_close(&d.q);
}

static struct lh_grant acquire_to_read(const struct direct *d, uint64_t offset, uint64_t length)
{
	struct lh_admin_command *cmd = (void *)host_command(&admin, 1, LH_ADMIN_ACQUIRE);
	struct lh_acquire_reply reply;
	struct lh_grant grant;

	cmd->nsid = htole32(TEST_NSID);
	cmd->dqid = htole16(d->dqid);
	cmd->offset = htole64(offset);
	cmd->length = htole64(length);
	cmd->access_flags = htole16(LH_GRANT_READ);
	host_keyed(&admin, (struct nvme_command *)(void *)cmd, 65536);
	host_post(&admin, 1, 64);
	assert_int_equal(host_wait(&admin, 1), NVME_SC_SUCCESS);
	memcpy(&reply, admin.data, sizeof(reply));
	memcpy(&grant, admin.data + sizeof(reply), sizeof(grant));
	assert_int_equal(le64toh(reply.covered_length), length);
	return grant;
}

/* What a queue has no grant for writing of is not its to have persisted, whoever has one. */
static void test_commit_foreign(void **state)
{
	const struct lh_commit_range mixed[] = {{0, 4096}, {MIB(3), 4096}};
	struct direct d, other;
	uint32_t generation;

	(void)state;
	open_direct(&d);
	open_direct(&other);
	(void)acquire(&d, 0, MIB(1), &generation);
	(void)acquire(&d, MIB(1), MIB(1), &generation);
	(void)acquire_to_read(&d, MIB(2), MIB(1));
	(void)acquire_to_read(&other, MIB(2), MIB(1));
	/* Nobody's, another's, what is for reading, and what reaches out of its own. */
	assert_int_equal(commit(&d, generation, MIB(3), 4096), LH_SC_NOT_GRANTED);
	assert_int_equal(commit(&other, generation, 0, 4096), LH_SC_NOT_GRANTED);
	assert_int_equal(commit(&other, generation, MIB(2), 4096), LH_SC_NOT_GRANTED);
	assert_int_equal(commit(&d, generation, MIB(2) - 1, 2), LH_SC_NOT_GRANTED);
	assert_int_equal(commit(&d, generation, 0, TEST_FILE_BYTES), LH_SC_NOT_GRANTED);
	assert_int_equal(committed(&d, post_commit_as(&d, TEST_NSID, generation, mixed, 2)),
			 LH_SC_NOT_GRANTED);
	assert_int_equal(atomic_load(&persists.begun), 0);
	/* Its own, by two grants. */
	assert_int_equal(commit(&d, generation, MIB(1) - 1, 2), NVME_SC_SUCCESS);
	assert_int_equal(commit(&d, generation, MIB(2) - 1, 1), NVME_SC_SUCCESS);
	/* And when it has given them back. A Release that was refused has ended nothing. */
	assert_int_equal(ask(&d, LH_ADMIN_RELEASE, 4096, 4096, generation), LH_SC_CUT);
	assert_int_equal(commit(&d, generation, 4096, 4096), NVME_SC_SUCCESS);
	assert_int_equal(ask(&d, LH_ADMIN_RELEASE, 0, MIB(1), generation), NVME_SC_SUCCESS);
	assert_int_equal(commit(&d, generation, 4096, 4096), LH_SC_NOT_GRANTED);
	assert_int_equal(commit(&d, generation, MIB(1), 4096), NVME_SC_SUCCESS);
	assert_int_equal(atomic_load(&persists.done), 4);
	assert_false(d.q.dead || other.q.dead);
	host_close(&other.q);
	host_close(&d.q);
}

/* ---- credits ---------------------------------------------------------------------------------- */

/* The target never sends what the client has no receive for, and the last one is for credits. */
static void test_credits(void **state)
{
	struct lh_cm_request request;
	unsigned int tags[4];
	struct direct d;
	uint32_t generation;

	(void)state;
	take_token(&admin, &request, cntlid);
	request.credits = htole16(2);
	assert_int_equal(connect_with(&d, &request), 0);
	d.gives_credits = false;
	post_type(&d, LH_MSG_HELLO, 0);
	(void)acquire(&d, 0, MIB(1), &generation);
	for (unsigned int i = 0; i < ARRAY_SIZE(tags); i++)
		tags[i] = post_commit(&d, generation, i * 4096ull, 4096);
	assert_int_equal(committed(&d, tags[0]), NVME_SC_SUCCESS);
	watch_quiet(&d);
	assert_int_equal(d.committed, 1);
	post_type(&d, LH_MSG_CREDIT, 1);
	assert_int_equal(committed(&d, tags[1]), NVME_SC_SUCCESS);
	watch_quiet(&d);
	assert_int_equal(d.committed, 2);
	/* More than it ever posted it cannot have. */
	post_type(&d, LH_MSG_CREDIT, UINT16_MAX);
	assert_int_equal(committed(&d, tags[2]), NVME_SC_SUCCESS);
	watch_quiet(&d);
	assert_int_equal(d.committed, 3);
	host_close(&d.q);
}

/* One message more than the target has receives for. */
static void test_too_many(void **state)
{
	struct direct d;
	uint32_t generation;

	(void)state;
	open_direct(&d);
	(void)acquire(&d, 0, MIB(1), &generation);
	atomic_store(&persists.hold, true);
	for (unsigned int i = 0; i < LH_MSG_DEFAULT_CREDITS; i++)
		(void)post_commit(&d, generation, 0, LARGE);
	watch_quiet(&d);
	assert_false(d.q.dead);
	(void)post_commit(&d, generation, 0, LARGE);
	assert_true(turn_until(&d, &d.q.dead, STEP_MS));
	let_go();
	assert_int_equal(d.committed, 0);
	assert_ended(&d);
}

/* ---- what is no message ----------------------------------------------------------------------- */

struct bad_message {
	const char *what;
	uint32_t bytes;	 /* that are sent */
	uint32_t length; /* that it says */
	unsigned int type;
	uint32_t count; /* that a Commit says */
	bool first;	/* instead of Hello */
};

static const struct bad_message bad_messages[] = {
	{"one byte", 1, 24, LH_MSG_HELLO, 0, false},
	{"a header less one", 23, 23, LH_MSG_CREDIT, 0, false},
	{"says less", 24, 23, LH_MSG_CREDIT, 0, false},
	{"says more", 24, 25, LH_MSG_CREDIT, 0, false},
	{"says nothing", 24, 0, LH_MSG_CREDIT, 0, false},
	{"type 0", 24, 24, 0, 0, false},
	{"type 6", 24, 24, 6, 0, false},
	{"an answer", 24, 24, LH_MSG_COMMITTED, 0, false},
	{"a recall", 48, 48, LH_MSG_RECALL, 0, false},
	{"Commit without its count", 24, 24, LH_MSG_COMMIT, 0, false},
	{"Commit without its range", 32, 32, LH_MSG_COMMIT, 1, false},
	{"Commit with half a range", 40, 40, LH_MSG_COMMIT, 1, false},
	{"Commit with a range too many", 64, 64, LH_MSG_COMMIT, 1, false},
	{"Commit of 2^28 ranges", 32, 32, LH_MSG_COMMIT, 1u << 28, false},
	{"Commit of 65 ranges", 32 + 65 * 16, 32 + 65 * 16, LH_MSG_COMMIT, 65, false},
	{"longer than any", 4000, 4000, LH_MSG_COMMIT, 248, false},
	{"Commit before Hello", 32, 32, LH_MSG_COMMIT, 0, true},
	{"credits before Hello", 24, 24, LH_MSG_CREDIT, 0, true},
};

static void test_bad_messages(void **state)
{
	uint8_t bytes[4096];
	struct direct d;
	uint32_t generation;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad_messages); i++) {
		const struct bad_message *bad = &bad_messages[i];
		struct lh_msg_commit wire = {
			.header = {.type = htole16((uint16_t)bad->type),
				   .length = htole32(bad->length),
				   .nsid = htole32(TEST_NSID)},
			.count = htole32(bad->count),
		};

		print_message("[          ] %s\n", bad->what);
		if (bad->first) {
			open_silent(&d);
		} else {
			open_direct(&d);
			/* All of it: the one before has nothing of it any more, or soon. */
			(void)acquire(&d, 4096ull * i, 4096, &generation);
			wire.generation = htole32(generation);
		}
		memset(bytes, 0, sizeof(bytes));
		memcpy(bytes, &wire, sizeof(wire));
		post(&d, bytes, bad->bytes);
		assert_ended(&d);
		assert_int_equal(d.committed, 0);
	}
	assert_int_equal(atomic_load(&persists.begun), 0);
	open_direct(&d);
	(void)acquire(&d, 0, MIB(1), &generation);
	assert_int_equal(commit(&d, generation, 0, 4096), NVME_SC_SUCCESS);
	host_close(&d.q);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_token, setup, teardown),
		cmocka_unit_test_setup_teardown(test_token_expired, setup, teardown),
		cmocka_unit_test_setup_teardown(test_token_of_another, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commit_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commit_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commit_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commit_foreign, setup, teardown),
		cmocka_unit_test_setup_teardown(test_credits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_messages, setup, teardown),
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
