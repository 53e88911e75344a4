// SPDX-License-Identifier: BSD-3-Clause
/*
 * Block commands that change what another host's client was granted for writing (grant_conflict). A
 * whole target; a direct client of one host, and a second host that has nothing but block queues.
 */
#include "direct_client.h"

#include <stdlib.h>

#include "nvme/io.h"
#include "region/region.h"
#include "tenure/tenure.h"
#include "util/counter.h"

#define OTHER_HOST 5
#define QUICK_MS   100u
#define LBA	   512u
#define BLOCKS	   8u	/* of a command here: 4 KiB */
#define NEWS	   0xb1 /* what the second host writes */
#define OLD	   0x0d /* what the client has written before */

/* ---- keys that live on ------------------------------------------------------------------------ */

static atomic_bool kills_fail;

int __real_grant_key_kill(struct grant_key *key);
int __wrap_grant_key_kill(struct grant_key *key);

int __wrap_grant_key_kill(struct grant_key *key)
{
	return atomic_load(&kills_fail) ? -EAGAIN : __real_grant_key_kill(key);
}

/* ---- block commands --------------------------------------------------------------------------- */

struct blocks {
	struct host_queue admin, io;
};

/* A host's controller and one I/O queue. */
static void blocks_up(struct blocks *b, uint8_t hostid)
{
	uint16_t id;

	rig.hostid = hostid;
	id = host_admin(&rig, &b->admin);
	assert_true(host_connect_nvme(&rig, &b->io, 1));
	assert_int_equal(host_associate(&b->io, 1, id, TEST_NQN, 0), 0);
	rig.hostid = 0;
}

static void blocks_down(struct blocks *b)
{
	host_close(&b->io);
	host_close(&b->admin);
}

static struct nvme_command *over(struct blocks *b, unsigned int slot, uint8_t opcode,
				 uint64_t offset, uint32_t blocks)
{
	struct nvme_command *cmd = host_command(&b->io, slot, opcode);

	cmd->nsid = htole32(TEST_NSID);
	cmd->cdw10 = htole32((uint32_t)(offset / LBA));
	cmd->cdw12 = htole32(blocks - 1);
	return cmd;
}

/* Posts a Write of NEWS, whose bytes stay as they are in the queue's memory. */
static void post_block_write(struct blocks *b, unsigned int slot, uint64_t offset, uint32_t length)
{
	host_keyed(&b->io, over(b, slot, NVME_IO_WRITE, offset, length / LBA), length);
	memset(b->io.data, NEWS, length);
	host_post(&b->io, slot, 64);
}

static bool has_answer(struct blocks *b, unsigned int slot, struct direct *d)
{
	uint64_t end = now_ns() + QUIET_MS * NS_PER_MS;

	while (!b->io.has_cid[slot] && now_ns() < end) {
		rig_turn(&rig, &b->io);
		if (d)
			host_poll(&d->q);
	}
	return b->io.has_cid[slot];
}

/* What a command brings is read from its host: that has to look, too. */
static void turn_both(struct blocks *b, struct direct *d)
{
	rig_turn(&rig, &b->io);
	host_poll(&d->q);
}

static void wait_at_work(struct blocks *b, struct direct *d)
{
	uint64_t end = now_ns() + STEP_MS * NS_PER_MS;

	while (atomic_load(&persists.begun) == 0 && now_ns() < end)
		turn_both(b, d);
	assert_int_equal(atomic_load(&persists.begun), 1);
}

static void wait_told(struct blocks *b, struct direct *d)
{
	uint64_t end = now_ns() + STEP_MS * NS_PER_MS;

	while (!d->recalled && now_ns() < end)
		turn_both(b, d);
	assert_true(d->recalled);
}

static uint16_t posted(struct blocks *b, uint8_t opcode, uint32_t blocks, uint32_t data)
{
	struct nvme_command *cmd = over(b, 0, opcode, 0, blocks);

	if (data)
		host_keyed(&b->io, cmd, data);
	return host_run(&b->io, 64);
}

/* ---- each command that changes bytes: the first page ------------------------------------------ */

static void post_first_page(struct blocks *b)
{
	post_block_write(b, 0, 0, BLOCKS * LBA);
}

static void post_zeroes(struct blocks *b)
{
	(void)over(b, 0, NVME_IO_WRITE_ZEROES, 0, BLOCKS);
	host_post(&b->io, 0, 64);
}

static void post_deallocate(struct blocks *b)
{
	struct nvme_command *cmd = over(b, 0, NVME_IO_DSM, 0, 1);
	struct nvme_dsm_range range = {.blocks = htole32(BLOCKS)};

	cmd->cdw10 = 0;
	cmd->cdw11 = htole32(1u << 2);
	cmd->cdw12 = 0;
	memcpy(b->io.data, &range, sizeof(range));
	host_keyed(&b->io, cmd, sizeof(range));
	host_post(&b->io, 0, 64);
}

/* From a place that nobody is granted. */
static void post_copy(struct blocks *b)
{
	struct nvme_command *cmd = over(b, 0, NVME_IO_COPY, 0, 1);
	struct nvme_copy_range range = {
		.slba = htole64(MIB(2) / LBA),
		.blocks = htole16(BLOCKS - 1),
	};

	memcpy(b->io.data, &range, sizeof(range));
	host_keyed(&b->io, cmd, sizeof(range));
	host_post(&b->io, 0, 64);
}

/* The Write has the first slot, as all others have. */
static void post_fused(struct blocks *b)
{
	assert_int_equal(pread(export_fd(holding_export(rig.holding)), b->io.data, BLOCKS * LBA, 0),
			 BLOCKS * LBA);
	for (unsigned int slot = 2; slot-- > 0;) {
		struct nvme_command *cmd =
			over(b, slot, slot ? NVME_IO_COMPARE : NVME_IO_WRITE, 0, BLOCKS);

		cmd->flags |= (uint8_t)(slot ? 1 : 2);
		host_keyed(&b->io, cmd, BLOCKS * LBA);
		host_post(&b->io, slot, 64);
	}
}

static void (*const changes[])(struct blocks *b) = {
	post_first_page, post_zeroes, post_copy, post_fused, post_deallocate,
};

/* What became of it; the Compare's status says what became of the pair. */
static uint16_t outcome(struct blocks *b, void (*change)(struct blocks *b))
{
	uint16_t status = host_wait(&b->io, 0);

	if (change == post_fused)
		assert_int_equal(host_wait(&b->io, 1), status ? NVME_SC_FUSED_FAIL : 0);
	return status;
}

/* ---- grants ----------------------------------------------------------------------------------- */

/* Not waiting for the answer, which comes to the admin queue's slot 1. */
static void post_acquire(const struct direct *d, uint64_t offset, uint64_t length)
{
	struct lh_admin_command *cmd = (void *)host_command(&admin, 1, LH_ADMIN_ACQUIRE);

	cmd->nsid = htole32(TEST_NSID);
	cmd->dqid = htole16(d->dqid);
	cmd->offset = htole64(offset);
	cmd->length = htole64(length);
	cmd->access_flags = htole16(LH_GRANT_READ | LH_GRANT_WRITE);
	host_keyed(&admin, (struct nvme_command *)(void *)cmd, 65536);
	host_post(&admin, 1, 64);
}

static void still_writes(struct direct *d, const struct lh_grant *grant, uint32_t generation,
			 uint64_t from)
{
	post_write(d, grant, 0, OLD, 512);
	assert_int_equal(commit(d, generation, from, 512), NVME_SC_SUCCESS);
	assert_byte(from, OLD);
}

static struct holding_status status_of(void)
{
	struct holding_status status;

	holding_status(rig.holding, &status);
	return status;
}

static uint64_t counted(const char *name)
{
	const struct counter *c = counter_first();

	while (c && strcmp(c->name, name) != 0)
		c = c->next;
	assert_non_null(c);
	return counter_read(c);
}

/* ---- recall ----------------------------------------------------------------------------------- */

/*
 * The command waits while the client has a key; when it is answered that key reaches nothing.
 * Nothing else was recalled: not the other client's grant, not the export.
 */
static void test_recall(void **state)
{
	struct lh_grant grant, beside;
	struct direct d, other;
	uint32_t generation;
	struct blocks b;

	(void)state;
	open_direct(&d);
	open_direct(&other);
	blocks_up(&b, OTHER_HOST);
	grant = acquire(&d, 0, MIB(1), &generation);
	beside = acquire(&other, MIB(1), MIB(1), &generation);
	still_writes(&d, &grant, generation, 0);

	/* Its last page, and the one behind is the other's. */
	post_block_write(&b, 0, MIB(1) - 4096, 4096);
	wait_told(&b, &d);
	assert_int_equal(le64toh(d.recall.offset), MIB(1) - 4096);
	assert_int_equal(le64toh(d.recall.length), 4096);
	assert_int_equal(le32toh(d.recall.generation), generation);
	assert_false(has_answer(&b, 0, &d));
	still_writes(&d, &grant, generation, 0);
	give_back(&d, generation);
	assert_int_equal(host_wait(&b.io, 0), NVME_SC_SUCCESS);
	assert_byte(MIB(1) - 4096, NEWS);
	post_write(&d, &grant, MIB(1) - 4096, OLD, 512);
	assert_true(turn_until(&d, &d.q.dead, STEP_MS));
	assert_byte(MIB(1) - 4096, NEWS);

	assert_int_equal(other.recalls, 0);
	still_writes(&other, &beside, generation, MIB(1));
	assert_int_equal(status_of().state, HOLDING_SERVING);
	assert_int_equal(status_of().generation, generation);
	assert_int_equal(status_of().recalls, 0);
	assert_int_equal(status_of().range_recalls, 1);
	assert_int_equal(status_of().grants, 1);
	blocks_down(&b);
	host_close(&other.q);
	assert_ended(&d);
}

static void test_each_change(void **state)
{
	struct direct d;
	uint32_t generation;
	struct blocks b;

	(void)state;
	open_direct(&d);
	blocks_up(&b, OTHER_HOST);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		uint64_t conflicts = counted("grant_conflicts");

		(void)acquire(&d, 0, MIB(1), &generation);
		d.recalled = false;
		changes[i](&b);
		wait_told(&b, &d);
		assert_false(has_answer(&b, 0, &d));
		give_back(&d, generation);
		assert_int_equal(outcome(&b, changes[i]), NVME_SC_SUCCESS);
		assert_int_equal(counted("grant_conflicts"), conflicts + 1);
	}
	assert_int_equal(d.recalls, ARRAY_SIZE(changes));
	assert_int_equal(status_of().recalls, 0);
	blocks_down(&b);
	host_close(&d.q);
}

/* What only reads is in nobody's way, nor is what the client's own host does. */
static void test_no_conflict(void **state)
{
	struct lh_grant grant;
	struct direct d;
	uint32_t generation;
	struct blocks b, own;

	(void)state;
	open_direct(&d);
	blocks_up(&b, OTHER_HOST);
	blocks_up(&own, 0);
	grant = acquire(&d, 0, MIB(1), &generation);
	assert_int_equal(posted(&b, NVME_IO_READ, BLOCKS, BLOCKS * LBA), NVME_SC_SUCCESS);
	assert_int_equal(posted(&b, NVME_IO_COMPARE, BLOCKS, BLOCKS * LBA), NVME_SC_SUCCESS);
	assert_int_equal(posted(&b, NVME_IO_VERIFY, BLOCKS, 0), NVME_SC_SUCCESS);
	post_block_write(&b, 0, MIB(1), 4096);
	assert_int_equal(host_wait(&b.io, 0), NVME_SC_SUCCESS);
	post_block_write(&own, 0, 4096, 4096);
	assert_int_equal(host_wait(&own.io, 0), NVME_SC_SUCCESS);
	assert_byte(4096, NEWS);
	watch_quiet(&d);
	assert_int_equal(d.recalls, 0);
	still_writes(&d, &grant, generation, 0);
	blocks_down(&own);
	blocks_down(&b);
	host_close(&d.q);
}

/* A client that does not answer is fenced at the deadline; then the command runs. */
static void test_fence(void **state)
{
	struct lh_grant grant;
	uint64_t before;
	struct direct d;
	uint32_t generation;
	struct blocks b;

	(void)state;
	open_direct(&d);
	blocks_up(&b, OTHER_HOST);
	grant = acquire(&d, 0, MIB(1), &generation);
	still_writes(&d, &grant, generation, 0);
	ends.watched = &d.q;
	before = now_ns();
	post_block_write(&b, 0, 0, 4096);
	assert_int_equal(host_wait(&b.io, 0), NVME_SC_SUCCESS);
	assert_true(now_ns() - before >= FENCE_MS * NS_PER_MS);
	assert_true(ends.fences > 0);
	assert_true(ends.error_here);
	ends.watched = NULL;
	assert_byte(0, NEWS);
	assert_int_equal(status_of().generation, generation);
	assert_ended(&d);
	blocks_down(&b);
}

/* The end of all waiting, where a key cannot be killed: a status on which hosts try again. */
static void test_late(void **state)
{
	uint64_t end = now_ns() + STEP_MS * NS_PER_MS;
	struct direct d;
	uint32_t generation;
	struct blocks b;
	uint16_t status;

	(void)state;
	open_direct(&d);
	blocks_up(&b, OTHER_HOST);
	(void)acquire(&d, 0, MIB(1), &generation);
	atomic_store(&kills_fail, true);
	post_block_write(&b, 0, 0, 4096);
	assert_int_equal(host_wait(&b.io, 0), NVME_SC_CMD_INTERRUPTED);
	assert_int_equal(status_of().recalls, 0);
	atomic_store(&kills_fail, false);
	do {
		post_block_write(&b, 0, 0, 4096);
		status = host_wait(&b.io, 0);
	} while (status == NVME_SC_CMD_INTERRUPTED && now_ns() < end);
	assert_int_equal(status, NVME_SC_SUCCESS);
	assert_byte(0, NEWS);
	assert_ended(&d);
	blocks_down(&b);
}

/* ---- deny ------------------------------------------------------------------------------------- */

static void test_deny(void **state)
{
	uint64_t logged = counted("nvme_errors_logged");
	struct lh_grant grant;
	struct direct d;
	uint32_t generation;
	struct blocks b, own;

	(void)state;
	open_direct(&d);
	blocks_up(&b, OTHER_HOST);
	blocks_up(&own, 0);
	grant = acquire(&d, 0, MIB(1), &generation);
	still_writes(&d, &grant, generation, 0);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		changes[i](&b);
		assert_int_equal(outcome(&b, changes[i]), NVME_SC_ACCESS_DENIED | DNR);
	}
	assert_int_equal(posted(&b, NVME_IO_READ, BLOCKS, BLOCKS * LBA), NVME_SC_SUCCESS);
	assert_byte(0, OLD);
	assert_int_equal(counted("nvme_errors_logged"), logged);
	post_first_page(&own);
	assert_int_equal(host_wait(&own.io, 0), NVME_SC_SUCCESS);
	watch_quiet(&d);
	assert_int_equal(d.recalls, 0);
	still_writes(&d, &grant, generation, 0);
	give_back(&d, generation);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		changes[i](&b);
		assert_int_equal(outcome(&b, changes[i]), NVME_SC_SUCCESS);
	}
	blocks_down(&own);
	blocks_down(&b);
	host_close(&d.q);
}

/* ---- the order -------------------------------------------------------------------------------- */

/* A Write that began before: the client gets its key when that has ended. */
static void test_acquire_behind(void **state)
{
	struct direct d;
	struct blocks b;

	(void)state;
	open_direct(&d);
	blocks_up(&b, OTHER_HOST);
	atomic_store(&persists.hold, true);
	post_block_write(&b, 0, 0, LARGE);
	wait_at_work(&b, &d);
	post_acquire(&d, 0, MIB(1));
	assert_false(has_answer(&b, 0, &d));
	host_poll(&admin);
	assert_false(admin.has_cid[1]);
	let_go();
	assert_int_equal(host_wait(&b.io, 0), NVME_SC_SUCCESS);
	assert_int_equal(host_wait(&admin, 1), NVME_SC_SUCCESS);
	assert_int_equal(d.recalls, 0);
	blocks_down(&b);
	host_close(&d.q);
}

/*
 * While that Acquire waits a second Write comes, elsewhere in its range: it ends the Acquire, which
 * waits for the first one no longer, since nobody may wait in a circle.
 */
static void test_acquire_gives_way(void **state)
{
	struct direct d;
	struct blocks b;

	(void)state;
	open_direct(&d);
	blocks_up(&b, OTHER_HOST);
	atomic_store(&persists.hold, true);
	post_block_write(&b, 0, 0, LARGE);
	wait_at_work(&b, &d);
	post_acquire(&d, 0, MIB(1));
	assert_false(has_answer(&b, 0, &d));
	post_block_write(&b, 1, MIB(1) - 4096, 4096);
	assert_int_equal(host_wait(&b.io, 1), NVME_SC_SUCCESS);
	assert_int_equal(host_wait(&admin, 1), LH_SC_RECALLING);
	assert_false(b.io.has_cid[0]);
	let_go();
	assert_int_equal(host_wait(&b.io, 0), NVME_SC_SUCCESS);
	blocks_down(&b);
	host_close(&d.q);
}

static void acquire_until_it_waits(const struct direct *d, struct blocks *b, uint64_t length)
{
	bool waits;

	do {
		post_acquire(d, 0, length);
		assert_false(has_answer(b, 0, NULL));
		host_poll(&admin);
		waits = !admin.has_cid[1];
		assert_true(waits || host_wait(&admin, 1) == LH_SC_RECALLING);
	} while (!waits);
}

/* Nor does it while the command still waits for another client. */
static void test_acquires_meanwhile(void **state)
{
	struct direct d, slow;
	uint32_t generation;
	struct blocks b;

	(void)state;
	open_direct(&d);
	open_direct(&slow);
	blocks_up(&b, OTHER_HOST);
	(void)acquire(&d, 0, KIB(256), &generation);
	(void)acquire(&slow, KIB(512), KIB(512), &generation);
	(void)over(&b, 0, NVME_IO_WRITE_ZEROES, 0, MIB(1) / LBA);
	host_post(&b.io, 0, 64);
	wait_told(&b, &d);
	wait_told(&b, &slow);
	give_back(&d, generation);
	acquire_until_it_waits(&d, &b, KIB(256));
	give_back(&slow, generation);
	assert_int_equal(host_wait(&b.io, 0), NVME_SC_SUCCESS);
	assert_int_equal(host_wait(&admin, 1), NVME_SC_SUCCESS);
	assert_byte(0, 0);
	assert_int_equal(d.recalls + slow.recalls, 2);
	blocks_down(&b);
	host_close(&slow.q);
	host_close(&d.q);
}

/* A client that acquires again as soon as it has given back does not keep the command waiting. */
static void test_acquires_again(void **state)
{
	struct direct d;
	uint32_t generation;
	struct blocks b;

	(void)state;
	open_direct(&d);
	blocks_up(&b, OTHER_HOST);
	(void)acquire(&d, 0, MIB(1), &generation);
	atomic_store(&persists.hold, true);
	post_block_write(&b, 0, 0, LARGE);
	wait_told(&b, &d);
	give_back(&d, generation);
	wait_at_work(&b, &d);
	/* It is at work. Until it has ended the client gets no key. */
	acquire_until_it_waits(&d, &b, MIB(1));
	let_go();
	assert_int_equal(host_wait(&b.io, 0), NVME_SC_SUCCESS);
	assert_int_equal(host_wait(&admin, 1), NVME_SC_SUCCESS);
	assert_int_equal(d.recalls, 1);
	blocks_down(&b);
	host_close(&d.q);
}

/* ---- the command's end ------------------------------------------------------------------------ */

static void wait_in_vain(struct direct *d, struct blocks *b, uint32_t *generation)
{
	open_direct(d);
	blocks_up(b, OTHER_HOST);
	(void)acquire(d, 0, MIB(1), generation);
	post_block_write(b, 0, 0, 4096);
	post_block_write(b, 1, 0, 4096); /* behind the first */
	post_block_write(b, 2, 8192, 4096);
	wait_told(b, d);
}

/* Its connection breaks while it waits: it changes nothing, and leaves nothing behind. */
static void test_disconnect(void **state)
{
	struct direct d;
	uint32_t generation;
	struct blocks b, next;

	(void)state;
	wait_in_vain(&d, &b, &generation);
	host_close(&b.io);
	watch_quiet(&d);
	give_back(&d, generation);
	watch_quiet(&d);
	assert_int_equal(status_of().grants, 0);
	host_close(&b.admin);
	/* Its place is free. */
	blocks_up(&next, OTHER_HOST);
	post_zeroes(&next);
	assert_int_equal(host_wait(&next.io, 0), NVME_SC_SUCCESS);
	assert_byte(8192, (uint8_t)(8192 * 7 + 2));
	blocks_down(&next);
	host_close(&d.q);
}

/* The same by a reset of its controller, and the client never answers. */
static void test_reset(void **state)
{
	struct nvmf_property_command *cmd;
	struct direct d;
	uint32_t generation;
	struct blocks b, next;

	(void)state;
	wait_in_vain(&d, &b, &generation);
	cmd = (void *)host_command(&b.admin, 0, NVME_FABRICS);
	cmd->fctype = NVMF_PROPERTY_SET;
	cmd->offset = htole32(NVME_PROP_CC);
	assert_int_equal(host_run(&b.admin, 64), NVME_SC_SUCCESS);
	assert_ended(&d);
	assert_byte(8192, (uint8_t)(8192 * 7 + 2));
	blocks_up(&next, OTHER_HOST);
	post_first_page(&next);
	assert_int_equal(host_wait(&next.io, 0), NVME_SC_SUCCESS);
	blocks_down(&next);
	blocks_down(&b);
}

/* ---- up --------------------------------------------------------------------------------------- */

static void start_patient(struct rig *r)
{
	rig_start_hosts(r, PATIENT_MS, false);
}

static void start_fencing(struct rig *r)
{
	rig_start_hosts(r, FENCE_MS, false);
}

static void start_quick(struct rig *r)
{
	rig_start_hosts(r, QUICK_MS, false);
}

static void start_denying(struct rig *r)
{
	rig_start_hosts(r, PATIENT_MS, true);
}

static int setup_patient(void **state)
{
	return setup_with(state, start_patient);
}

static int setup_fencing(void **state)
{
	return setup_with(state, start_fencing);
}

static int setup_quick(void **state)
{
	return setup_with(state, start_quick);
}

static int setup_denying(void **state)
{
	return setup_with(state, start_denying);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_recall, setup_patient, teardown),
		cmocka_unit_test_setup_teardown(test_each_change, setup_patient, teardown),
		cmocka_unit_test_setup_teardown(test_no_conflict, setup_patient, teardown),
		cmocka_unit_test_setup_teardown(test_fence, setup_fencing, teardown),
		cmocka_unit_test_setup_teardown(test_late, setup_quick, teardown),
		cmocka_unit_test_setup_teardown(test_deny, setup_denying, teardown),
		cmocka_unit_test_setup_teardown(test_acquire_behind, setup_patient, teardown),
		cmocka_unit_test_setup_teardown(test_acquire_gives_way, setup_patient, teardown),
		cmocka_unit_test_setup_teardown(test_acquires_again, setup_patient, teardown),
		cmocka_unit_test_setup_teardown(test_acquires_meanwhile, setup_patient, teardown),
		cmocka_unit_test_setup_teardown(test_disconnect, setup_patient, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup_fencing, teardown),
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
