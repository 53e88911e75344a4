// SPDX-License-Identifier: BSD-3-Clause
/*
 * The end of a controller, and of its queues, while something is at work: a shutdown is complete when
 * what was written is durable, and a queue's id is free when it has ended, whatever of its work has
 * not.
 */
#include "nvme_host.h"

#include <stdatomic.h>

#include "nvme/internal.h"
#include "tenure/tenure.h"

#define DNR	  NVME_SC_DNR
#define STOPPED_S 20
#define ENABLED	  (NVME_CC_EN | 6u << 16 | 4u << 20)
#define SHN	  (1u << 14)
#define HOLE_SLBA ((uint32_t)(TEST_HOLE_OFFSET / 512))

static struct rig rig;
static struct host_queue admin, io, io2;
static uint16_t cntlid;
static const bool never;

/* ---- what workers do, stopped at will --------------------------------------------------------- */

static atomic_bool hold_flush, hold_write;
static atomic_int flush_err, flushes, writes, stopped_writes;

static void stop_here(const atomic_bool *hold)
{
	uint64_t end = now_ns() + STOPPED_S * NS_PER_S;

	while (atomic_load(hold) && now_ns() < end)
		(void)usleep(500);
}

int __real_export_flush(const struct export *e);
int __wrap_export_flush(const struct export *e);
int __real_view_copy_in(const struct view *view, uint64_t offset, const void *src, uint64_t length);
int __wrap_view_copy_in(const struct view *view, uint64_t offset, const void *src, uint64_t length);

int __wrap_export_flush(const struct export *e)
{
	int err = atomic_load(&flush_err);

	atomic_fetch_add(&flushes, 1);
	stop_here(&hold_flush);
	return err ? err : __real_export_flush(e);
}

int __wrap_view_copy_in(const struct view *view, uint64_t offset, const void *src, uint64_t length)
{
	if (atomic_fetch_add(&writes, 1) < atomic_load(&stopped_writes))
		stop_here(&hold_write);
	return __real_view_copy_in(view, offset, src, length);
}

/* ---- the host --------------------------------------------------------------------------------- */

static int setup(void **state)
{
	if (leaks_setup(state))
		return -1;
	rig_start(&rig);
	atomic_store(&hold_flush, false);
	atomic_store(&hold_write, false);
	atomic_store(&flush_err, 0);
	atomic_store(&flushes, 0);
	atomic_store(&writes, 0);
	atomic_store(&stopped_writes, 1);
	cntlid = host_admin(&rig, &admin);
	return 0;
}

static int teardown(void **state)
{
	rig_stop(&rig);
	return leaks_teardown(state);
}

static uint16_t connect_io(struct host_queue *q, uint16_t qid)
{
	assert_true(host_connect_nvme(&rig, q, qid));
	return host_associate(q, qid, cntlid, TEST_NQN, 0);
}

static uint16_t set_cc(uint32_t cc)
{
	struct nvmf_property_command *cmd = (void *)host_command(&admin, 0, NVME_FABRICS);

	cmd->fctype = NVMF_PROPERTY_SET;
	cmd->offset = htole32(NVME_PROP_CC);
	cmd->value = htole64(cc);
	return host_run(&admin, 64);
}

static uint32_t csts(void)
{
	struct nvmf_property_command *cmd = (void *)host_command(&admin, 0, NVME_FABRICS);

	cmd->fctype = NVMF_PROPERTY_GET;
	cmd->offset = htole32(NVME_PROP_CSTS);
	assert_int_equal(host_run(&admin, 64), 0);
	return le32toh(admin.by_cid[0].dw0);
}

static uint32_t csts_becomes(uint32_t want)
{
	uint64_t end = now_ns() + STOPPED_S * NS_PER_S;
	uint32_t now;

	do {
		now = csts();
	} while (now != want && now_ns() < end);
	return now;
}

static bool cached(void)
{
	return export_volatile_cache(holding_export(rig.holding));
}

/* ---- shutdown --------------------------------------------------------------------------------- */

static void test_shutdown_flushes(void **state)
{
	(void)state;
	atomic_store(&hold_flush, true);
	assert_int_equal(set_cc(ENABLED | SHN), 0);
	if (cached()) {
		for (unsigned int i = 0; i < 20; i++)
			assert_int_equal(csts(), NVME_CSTS_RDY | NVME_CSTS_SHST_OCCURRING);
		/* Asked again, it is the same one. */
		assert_int_equal(set_cc(ENABLED), 0);
		assert_int_equal(set_cc(ENABLED | SHN), 0);
	}
	atomic_store(&hold_flush, false);
	assert_int_equal(csts_becomes(NVME_CSTS_RDY | NVME_CSTS_SHST_DONE),
			 NVME_CSTS_RDY | NVME_CSTS_SHST_DONE);
	assert_int_equal(atomic_load(&flushes), cached() ? 1 : 0);
	host_close(&admin);
}

/* What could not be made durable is never called complete; a reset begins anew. */
static void test_shutdown_fails(void **state)
{
	const uint32_t failed = NVME_CSTS_RDY | NVME_CSTS_CFS | NVME_CSTS_SHST_OCCURRING;

	(void)state;
	atomic_store(&flush_err, -EIO);
	assert_int_equal(set_cc(ENABLED | SHN), 0);
	if (cached()) {
		assert_int_equal(csts_becomes(failed), failed);
		assert_int_equal(set_cc(ENABLED), 0);
		assert_int_equal(csts(), failed);
	}
	atomic_store(&flush_err, 0);
	assert_int_equal(set_cc(0), 0);
	assert_int_equal(csts(), 0);
	assert_int_equal(set_cc(ENABLED), 0);
	assert_int_equal(csts(), NVME_CSTS_RDY);
	assert_int_equal(set_cc(ENABLED | SHN), 0);
	assert_int_equal(csts_becomes(NVME_CSTS_RDY | NVME_CSTS_SHST_DONE),
			 NVME_CSTS_RDY | NVME_CSTS_SHST_DONE);
	host_close(&admin);
}

/* A reset overtakes the flush; what the next shutdown says is about a flush of its own. */
static void test_shutdown_reset(void **state)
{
	(void)state;
	atomic_store(&hold_flush, true);
	assert_int_equal(set_cc(ENABLED | SHN), 0);
	assert_int_equal(set_cc(0), 0);
	assert_int_equal(csts(), 0);
	assert_int_equal(set_cc(ENABLED), 0);
	assert_int_equal(csts(), NVME_CSTS_RDY);
	assert_int_equal(set_cc(ENABLED | SHN), 0);
	if (cached())
		assert_int_equal(csts(), NVME_CSTS_RDY | NVME_CSTS_SHST_OCCURRING);
	atomic_store(&hold_flush, false);
	assert_int_equal(csts_becomes(NVME_CSTS_RDY | NVME_CSTS_SHST_DONE),
			 NVME_CSTS_RDY | NVME_CSTS_SHST_DONE);
	assert_int_equal(atomic_load(&flushes), cached() ? 2 : 0);
	/* Overtaken for good: ready stays. */
	assert_int_equal(set_cc(0), 0);
	assert_int_equal(set_cc(ENABLED), 0);
	atomic_store(&hold_flush, true);
	assert_int_equal(set_cc(ENABLED | SHN), 0);
	assert_int_equal(set_cc(0), 0);
	assert_int_equal(set_cc(ENABLED), 0);
	atomic_store(&hold_flush, false);
	(void)rig_wait(&rig, &admin, &never, 100);
	assert_int_equal(csts(), NVME_CSTS_RDY);
	host_close(&admin);
}

/* The host does not wait. */
static void test_shutdown_leave(void **state)
{
	(void)state;
	atomic_store(&hold_flush, true);
	assert_int_equal(set_cc(ENABLED | SHN), 0);
	host_close(&admin);
	(void)rig_wait(&rig, NULL, &never, 200);
	atomic_store(&hold_flush, false);
	(void)rig_wait(&rig, NULL, &never, 200);
}

/* ---- what is held ends with a reset ------------------------------------------------------------ */

/* As many requests for events as there may be, unanswered; after the reset there is room for as many. */
static void test_events_gone(void **state)
{
	(void)state;
	for (unsigned int round = 0; round < 3; round++) {
		unsigned int first = 1 + round * NVME_AER_LIMIT;

		for (unsigned int i = first; i < first + NVME_AER_LIMIT; i++) {
			(void)host_command(&admin, i, NVME_ADMIN_ASYNC_EVENT);
			host_post(&admin, i, 64);
		}
		assert_int_equal(csts(), NVME_CSTS_RDY);
		for (unsigned int i = 1; i < first + NVME_AER_LIMIT; i++)
			assert_false(admin.has_cid[i]);
		assert_int_equal(set_cc(0), 0);
		assert_int_equal(set_cc(ENABLED), 0);
	}
	host_close(&admin);
}

/* ---- too many Aborts --------------------------------------------------------------------------- */

/* Control does not turn while the host only posts: none of them gets on. */
static void test_abort_limit(void **state)
{
	unsigned int refused = 0;

	(void)state;
	assert_int_equal(connect_io(&io, 1), 0);
	for (unsigned int i = 1; i <= 2 * NVME_ABORT_LIMIT; i++) {
		struct nvme_command *cmd = host_command(&admin, i, NVME_ADMIN_ABORT);

		cmd->cdw10 = htole32(77u << 16 | 1);
		host_post(&admin, i, 64);
	}
	for (unsigned int i = 0; i < 50; i++) {
		(void)usleep(10000);
		host_poll(&admin);
	}
	for (unsigned int i = 1; i <= 2 * NVME_ABORT_LIMIT; i++) {
		if (!admin.has_cid[i])
			continue;
		assert_int_equal(host_wait(&admin, i), NVME_SC_ABORT_LIMIT | DNR);
		refused++;
	}
	assert_int_equal(refused, NVME_ABORT_LIMIT);
	for (unsigned int i = 1; i <= NVME_ABORT_LIMIT; i++)
		assert_int_equal(host_wait(&admin, i), 0);
	host_close(&io);
	host_close(&admin);
}

/* ---- a queue comes back while its work goes on ------------------------------------------------- */

static void send_write_to(struct host_queue *q, unsigned int cid, uint32_t slba, int byte)
{
	struct nvme_command *cmd = host_command(q, cid, NVME_IO_WRITE);

	cmd->nsid = htole32(TEST_NSID);
	cmd->cdw10 = htole32(slba);
	nvme_offset_sgl_set(&cmd->sgl, 0, 512);
	memset(cmd + 1, byte, 512);
	host_post(q, cid, 64 + 512);
}

static void send_write(struct host_queue *q, int byte)
{
	send_write_to(q, 1, HOLE_SLBA + 8, byte);
}

static uint16_t flush(struct host_queue *q)
{
	host_command(q, 0, NVME_IO_FLUSH)->nsid = htole32(TEST_NSID);
	return host_run(q, 64);
}

static void assert_written(int byte)
{
	uint8_t got[512];

	assert_int_equal(pread(export_fd(holding_export(rig.holding)), got, sizeof(got),
			       (off_t)TEST_HOLE_OFFSET + (off_t)8 * 512),
			 sizeof(got));
	for (size_t i = 0; i < sizeof(got); i++)
		assert_int_equal(got[i], byte);
}

/* The new queue works; what overlaps the old one's work comes after it. */
static void come_back(bool reset)
{
	uint64_t end = now_ns() + STOPPED_S * NS_PER_S;

	assert_int_equal(connect_io(&io, 1), 0);
	atomic_store(&hold_write, true);
	send_write(&io, 0x11);
	while (atomic_load(&writes) == 0 && now_ns() < end)
		rig_turn(&rig, &io);
	if (reset) {
		assert_int_equal(set_cc(0), 0);
		assert_int_equal(set_cc(ENABLED), 0);
	} else {
		host_close(&io);
		(void)rig_wait(&rig, &admin, &never, 300);
	}
	assert_int_equal(connect_io(&io2, 1), 0);
	assert_int_equal(flush(&io2), 0);
	send_write(&io2, 0x22);
	(void)rig_wait(&rig, &io2, &never, 200);
	assert_false(io2.has_cid[1]);
	atomic_store(&hold_write, false);
	assert_int_equal(host_wait(&io2, 1), 0);
	assert_written(0x22);
	if (reset)
		host_close(&io);
	host_close(&io2);
	host_close(&admin);
}

static void test_reset(void **state)
{
	(void)state;
	come_back(true);
}

static void test_lost(void **state)
{
	(void)state;
	come_back(false);
}

/* What no worker has begun when its host is lost is never done. */
static void test_lost_before(void **state)
{
	const unsigned int busy = 2; /* workers */
	uint64_t end = now_ns() + STOPPED_S * NS_PER_S;

	(void)state;
	assert_int_equal(connect_io(&io, 1), 0);
	atomic_store(&stopped_writes, (int)busy);
	atomic_store(&hold_write, true);
	for (unsigned int i = 1; i <= busy; i++)
		send_write_to(&io, i, HOLE_SLBA + 16 * i, 0x11);
	while (atomic_load(&writes) < (int)busy && now_ns() < end)
		rig_turn(&rig, &io);
	send_write(&io, 0x33);
	(void)rig_wait(&rig, &io, &never, 100);
	host_close(&io);
	(void)rig_wait(&rig, &admin, &never, 300);
	assert_int_equal(connect_io(&io2, 1), 0);
	atomic_store(&hold_write, false);
	send_write_to(&io2, 1, HOLE_SLBA + 64, 0x22);
	assert_int_equal(host_wait(&io2, 1), 0);
	assert_int_equal(atomic_load(&writes), busy + 1);
	assert_written(0);
	host_close(&io2);
	host_close(&admin);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_shutdown_flushes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shutdown_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shutdown_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shutdown_leave, setup, teardown),
		cmocka_unit_test_setup_teardown(test_events_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abort_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost_before, setup, teardown),
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
	return for_each_dir(run_group);
}
