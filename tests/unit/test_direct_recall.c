// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a recall and a fence do to a direct queue: Commit before, during and after it, keys that were
 * given back, the landlord who waits, and the client that does not answer.
 */
#include "direct_client.h"

#include "tenure/tenure.h"

#define EVENT_SLOT 9

/* ---- recalls ---------------------------------------------------------------------------------- */

/* Told, commits, gives back: then its keys and its generation are worth nothing. */
static void test_recall(void **state)
{
	struct lh_grant grant;
	struct direct d, late;
	uint32_t generation, next;
	int fd;

	(void)state;
	open_direct(&d);
	open_direct(&late);
	grant = acquire(&d, 0, MIB(1), &generation);
	(void)host_command(&admin, EVENT_SLOT, NVME_ADMIN_ASYNC_EVENT);
	host_post(&admin, EVENT_SLOT, 64);
	assert_int_equal(commit(&d, generation, 0, 4096), NVME_SC_SUCCESS);
	assert_int_equal(landlord_open(&d, 1), -1);
	assert_true(turn_until(&d, &d.recalled, STEP_MS));
	assert_int_equal(le32toh(d.recall.header.nsid), TEST_NSID);
	assert_int_equal(le32toh(d.recall.generation), generation);
	assert_true(le32toh(d.recall.deadline_ms) <= PATIENT_MS);
	/* What it wrote before is still made durable; there is nothing new to be had. */
	post_write(&d, &grant, 8192, 0x5a, 512);
	assert_int_equal(commit(&d, generation, 8192, 512), NVME_SC_SUCCESS);
	assert_byte(8192, 0x5a);
	assert_int_equal(ask(&d, LH_ADMIN_ACQUIRE, 0, 4096, 0), LH_SC_RECALLING);
	assert_int_equal(ask(&d, LH_ADMIN_RELEASE, 0, UINT64_MAX, generation + 1),
			 LH_SC_STALE_GENERATION);
	assert_int_equal(landlord_open(&d, QUIET_MS), -1);
	give_back(&d, generation);
	fd = landlord_open(&d, STEP_MS);
	assert_true(fd >= 0);
	/* Sealed: the blocks may be somewhere else by now. */
	assert_int_equal(commit(&d, generation, 8192, 512), LH_SC_STALE_GENERATION);
	assert_int_equal(commit(&late, generation, 0, LARGE), LH_SC_STALE_GENERATION);
	assert_int_equal(atomic_load(&persists.begun), 2);
	assert_int_equal(d.recalls, 1);
	assert_int_equal(late.recalls, 0); /* it held nothing */
	/* Who was told by a message is not told by an event. */
	assert_false(admin.has_cid[EVENT_SLOT]);
	/* The next generation, on the same queue. The old one's are not taken for its. */
	(void)close(fd);
	assert_int_equal(host_wait(&admin, EVENT_SLOT), NVME_SC_SUCCESS);
	assert_int_equal(le32toh(admin.by_cid[EVENT_SLOT].dw0),
			 NVME_AEN_VENDOR | LH_CHANGE_REGRANT << 8 | LH_LOG_RECALLS << 16);
	grant = acquire(&d, 0, MIB(1), &next);
	assert_int_equal(next, generation + 1);
	assert_int_equal(commit(&d, generation, 0, 4096), LH_SC_STALE_GENERATION);
	assert_int_equal(commit(&late, generation, 0, 4096), LH_SC_STALE_GENERATION);
	assert_int_equal(atomic_load(&persists.begun), 2);
	assert_int_equal(commit(&d, next, 0, 4096), NVME_SC_SUCCESS);
	assert_int_equal(atomic_load(&persists.done), 3);
	host_close(&late.q);
	host_close(&d.q);
}

static void read_log(struct host_queue *q, uint8_t page, uint8_t specific, uint32_t bytes)
{
	struct nvme_command *cmd = host_command(q, 0, NVME_ADMIN_GET_LOG_PAGE);

	cmd->cdw10 = htole32(page | (uint32_t)specific << 8 | (bytes / 4 - 1) << 16);
	host_keyed(q, cmd, bytes);
	assert_int_equal(host_run(q, 64), NVME_SC_SUCCESS);
}

static void ask_for_event(struct host_queue *q)
{
	q->has_cid[EVENT_SLOT] = false;
	(void)host_command(q, EVENT_SLOT, NVME_ADMIN_ASYNC_EVENT);
	host_post(q, EVENT_SLOT, 64);
}

/* Who watches is told of what others hold: when it is wanted back, and when it is gone. Others are not. */
static void test_watched(void **state)
{
	const uint32_t bytes = sizeof(struct lh_change_log) + 2 * sizeof(struct lh_change_entry);
	const struct lh_change_entry *entry;
	struct host_queue watcher, other;
	struct direct d;
	uint32_t generation;
	int fd;

	(void)state;
	open_direct(&d);
	(void)acquire(&d, 0, MIB(1), &generation);
	(void)host_admin(&rig, &watcher);
	(void)host_admin(&rig, &other);
	read_log(&watcher, LH_LOG_RECALLS, LH_LOG_WATCH, bytes);
	read_log(&other, LH_LOG_EXPORTS, 0, 16);
	read_log(&other, LH_LOG_RECALLS, 0, bytes);
	ask_for_event(&watcher);
	ask_for_event(&other);
	assert_int_equal(landlord_open(&d, QUIET_MS), -1);
	assert_int_equal(host_wait(&watcher, EVENT_SLOT), NVME_SC_SUCCESS);
	assert_int_equal(le32toh(watcher.by_cid[EVENT_SLOT].dw0),
			 NVME_AEN_VENDOR | LH_CHANGE_RECALLING << 8 | LH_LOG_RECALLS << 16);
	ask_for_event(&watcher);
	read_log(&watcher, LH_LOG_RECALLS, LH_LOG_WATCH, bytes);
	give_back(&d, generation);
	fd = landlord_open(&d, STEP_MS);
	assert_true(fd >= 0);
	assert_int_equal(host_wait(&watcher, EVENT_SLOT), NVME_SC_SUCCESS);
	read_log(&watcher, LH_LOG_RECALLS, 0, bytes);
	assert_int_equal(le32toh(((const struct lh_change_log *)watcher.data)->count), 2);
	entry = (const struct lh_change_entry *)(watcher.data + sizeof(struct lh_change_log));
	assert_int_equal(entry[0].change, LH_CHANGE_RECALLING);
	assert_int_equal(le32toh(entry[0].generation), generation);
	assert_int_equal(entry[1].change, LH_CHANGE_RELEASED);
	assert_true(le64toh(entry[1].length) == UINT64_MAX);
	read_log(&other, LH_LOG_RECALLS, 0, bytes);
	assert_int_equal(le32toh(((const struct lh_change_log *)other.data)->count), 0);
	assert_false(other.has_cid[EVENT_SLOT]);
	(void)close(fd);
	host_close(&other);
	host_close(&watcher);
	host_close(&d.q);
}

/* A key that was given back reaches nothing, before the answer to Release. */
static void test_released_key(void **state)
{
	struct lh_grant grant;
	struct direct d;
	uint32_t generation;

	(void)state;
	open_direct(&d);
	grant = acquire(&d, 0, MIB(1), &generation);
	post_write(&d, &grant, 0, 0x11, 512);
	assert_int_equal(commit(&d, generation, 0, 512), NVME_SC_SUCCESS);
	give_back(&d, generation);
	post_write(&d, &grant, 0, 0x22, 512);
	assert_true(turn_until(&d, &d.q.dead, STEP_MS));
	assert_byte(0, 0x11);
	assert_ended(&d);
}

/* Release by the token that a queue was opened with. */
static uint16_t release_by(struct host_queue *from, const uint8_t token[LH_TOKEN_BYTES],
			   bool *no_queue)
{
	struct lh_admin_command *cmd = (void *)host_command(from, 0, LH_ADMIN_RELEASE);
	uint16_t status;

	cmd->nsid = htole32(TEST_NSID);
	cmd->length = htole64(UINT64_MAX);
	memcpy(cmd->token, token, sizeof(cmd->token));
	status = host_run(from, 64);
	*no_queue = le32toh(from->by_cid[0].dw0) == LH_RELEASED_NO_QUEUE;
	return status;
}

/*
 * Who has lost a queue and perhaps its controller makes sure by another one that its keys are dead:
 * what is on its way still is not placed behind what it writes now.
 */
static void test_released_by_token(void **state)
{
	struct lh_cm_request request;
	struct host_queue second;
	struct lh_grant grant;
	struct direct d;
	uint32_t generation;
	uint8_t unknown[LH_TOKEN_BYTES] = {1};
	bool no_queue;

	(void)state;
	(void)host_admin(&rig, &second);
	take_token(&admin, &request, cntlid);
	assert_int_equal(connect_with(&d, &request), 0);
	post_type(&d, LH_MSG_HELLO, 0);
	grant = acquire(&d, 0, MIB(1), &generation);
	post_write(&d, &grant, 0, 0x11, 512);
	assert_int_equal(commit(&d, generation, 0, 512), NVME_SC_SUCCESS);
	assert_int_equal(release_by(&second, unknown, &no_queue), NVME_SC_SUCCESS);
	assert_true(no_queue);
	post_write(&d, &grant, 0, 0x22, 512);
	assert_int_equal(commit(&d, generation, 0, 512), NVME_SC_SUCCESS);
	assert_byte(0, 0x22);
	assert_int_equal(release_by(&second, request.token, &no_queue), NVME_SC_SUCCESS);
	assert_false(no_queue);
	post_write(&d, &grant, 0, 0x33, 512);
	assert_true(turn_until(&d, &d.q.dead, STEP_MS));
	assert_byte(0, 0x22);
	assert_ended(&d);
	assert_int_equal(release_by(&second, request.token, &no_queue), NVME_SC_SUCCESS);
	host_close(&second);
}

/* The landlord waits for a Commit that is at work, though its client has given back everything. */
static void test_recall_waits(void **state)
{
	unsigned int tag;
	struct direct d;
	uint32_t generation;
	int fd;

	(void)state;
	open_direct(&d);
	(void)acquire(&d, 0, MIB(1), &generation);
	atomic_store(&persists.hold, true);
	tag = post_commit(&d, generation, 0, LARGE);
	wait_begun(&d);
	assert_int_equal(landlord_open(&d, 1), -1);
	assert_true(turn_until(&d, &d.recalled, STEP_MS));
	give_back(&d, generation);
	assert_int_equal(landlord_open(&d, QUIET_MS), -1);
	assert_false(d.has[tag]);
	/* From now on it is too late to ask for more. */
	assert_int_equal(commit(&d, generation, 0, 4096), LH_SC_STALE_GENERATION);
	let_go();
	assert_int_equal(committed(&d, tag), NVME_SC_SUCCESS);
	fd = landlord_open(&d, STEP_MS);
	assert_true(fd >= 0);
	(void)close(fd);
	host_close(&d.q);
}

#define BUSY 4 /* works of others: two are with the workers, two wait */

static sem_t begun, gate, over;

static void be_busy(struct work *work)
{
	(void)work;
	(void)sem_post(&begun);
	(void)sem_wait(&gate);
	(void)sem_post(&over);
}

/* Who is asked for his grants and commits first is not behind what workers have to do for others. */
static void commit_behind_others(bool commit_first)
{
	static struct work works[BUSY];
	unsigned int tag = 0;
	struct direct d;
	uint32_t generation;
	int fd;

	open_direct(&d);
	(void)acquire(&d, 0, MIB(1), &generation);
	for (unsigned int i = 0; i < BUSY; i++)
		pool_submit(rig.workers, &works[i], POOL_NORMAL, be_busy, NULL, NULL);
	(void)sem_wait(&begun);
	(void)sem_wait(&begun);
	if (commit_first) {
		tag = post_commit(&d, generation, 0, LARGE);
		watch_quiet(&d);
		assert_false(d.has[tag]);
	}
	assert_int_equal(landlord_open(&d, 1), -1);
	assert_true(turn_until(&d, &d.recalled, STEP_MS));
	if (!commit_first) {
		tag = post_commit(&d, generation, 0, LARGE);
		watch_quiet(&d);
	}
	(void)sem_post(&gate);
	assert_int_equal(committed(&d, tag), NVME_SC_SUCCESS);
	for (unsigned int i = 1; i < BUSY; i++)
		(void)sem_post(&gate);
	give_back(&d, generation);
	fd = landlord_open(&d, STEP_MS);
	assert_true(fd >= 0);
	(void)close(fd);
	for (unsigned int i = 0; i < BUSY; i++)
		(void)sem_wait(&over);
	(void)sem_wait(&begun);
	(void)sem_wait(&begun);
	host_close(&d.q);
}

static void test_commit_hurries(void **state)
{
	(void)state;
	(void)sem_init(&begun, 0, 0);
	(void)sem_init(&gate, 0, 0);
	(void)sem_init(&over, 0, 0);
	commit_behind_others(true);
	commit_behind_others(false);
}

/* ---- the fence -------------------------------------------------------------------------------- */

/*
 * Who does not answer: at the deadline the queue pair is in error, at our end at once and for the
 * client as soon as it looks, and the landlord has not gone on before.
 */
static void test_fence(void **state)
{
	struct lh_grant grant;
	struct direct d, next;
	uint32_t generation;
	uint64_t before = now_ns();
	int fd;

	(void)state;
	open_direct(&d);
	grant = acquire(&d, 0, MIB(1), &generation);
	post_write(&d, &grant, 0, 0x33, 512);
	assert_int_equal(commit(&d, generation, 0, 512), NVME_SC_SUCCESS);
	ends.watched = &d.q;
	fd = landlord_open(&d, STEP_MS);
	assert_true(fd >= 0);
	assert_true(now_ns() - before >= FENCE_MS * NS_PER_MS);
	assert_int_equal(d.recalls, 1);
	assert_int_equal(ends.releases, 1);
	assert_true(ends.fences > 0);
	assert_true(ends.error_here);
	assert_true(ends.dead_at_release);
	assert_true(d.q.dead);
	post_write(&d, &grant, 0, 0x44, 512);
	watch_quiet(&d);
	assert_byte(0, 0x33);
	assert_int_equal(d.committed, 1);
	ends.watched = NULL;
	(void)close(fd);
	assert_int_equal(ask(&d, LH_ADMIN_ACQUIRE, 0, 4096, 0), LH_SC_NO_DIRECT_QUEUE | DNR);
	assert_ended(&d);
	/* It comes again; what it had not confirmed in the old generation it cannot confirm now. */
	open_direct(&next);
	(void)acquire(&next, 0, MIB(1), &generation);
	assert_int_equal(commit(&next, generation - 1, 0, 512), LH_SC_STALE_GENERATION);
	assert_int_equal(commit(&next, generation, 0, 512), NVME_SC_SUCCESS);
	host_close(&next.q);
}

/*
 * A Commit at work when its client is fenced: the landlord waits for what is under way of it, not for the
 * rest, and nobody gets an answer.
 */
static void test_fence_commit(void **state)
{
	const struct lh_commit_range ranges[] = {
		{.offset = htole64(0), .length = htole64(LARGE)},
		{.offset = htole64(MIB(1)), .length = htole64(LARGE)},
		{.offset = htole64(MIB(2)), .length = htole64(LARGE)},
	};
	struct direct d;
	uint32_t generation;
	int fd;

	(void)state;
	open_direct(&d);
	(void)acquire(&d, 0, MIB(3), &generation);
	atomic_store(&persists.hold, true);
	(void)post_commit_as(&d, TEST_NSID, generation, ranges, ARRAY_SIZE(ranges));
	wait_begun(&d);
	assert_int_equal(landlord_open(&d, 1), -1);
	assert_true(turn_until(&d, &d.q.dead, STEP_MS));
	assert_int_equal(landlord_open(&d, QUIET_MS), -1);
	let_go();
	fd = landlord_open(&d, STEP_MS);
	assert_true(fd >= 0);
	assert_int_equal(atomic_load(&persists.done), 1);
	watch_quiet(&d);
	assert_int_equal(d.committed, 0);
	(void)close(fd);
	assert_ended(&d);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_recall, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watched, setup, teardown),
		cmocka_unit_test_setup_teardown(test_released_key, setup, teardown),
		cmocka_unit_test_setup_teardown(test_released_by_token, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recall_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_commit_hurries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fence, setup_strict, teardown),
		cmocka_unit_test_setup_teardown(test_fence_commit, setup_strict, teardown),
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
