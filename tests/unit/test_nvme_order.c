// SPDX-License-Identifier: BSD-3-Clause
/*
 * The order of overlapping commands where it hurts: a command of one queue is stopped in the middle
 * of its work, and one of another queue wants the same blocks. It waits, whatever becomes of the
 * first one's queue meanwhile. And work that fails half-way says how far it came.
 */
#include "nvme_rig.h"

#include <stdlib.h>

#include "iwarp/iwarp.h"
#include "util/log.h"

#define DNR	  NVME_SC_DNR
#define STOPPED_S 20

static const struct rig_options options = {.lba_bytes = 512, .inline_bytes = 4096};

static struct rig rig;

/* ---- what workers do, stopped at will --------------------------------------------------------- */

static atomic_bool hold, entered;

static void stop_here(void)
{
	uint64_t end = now_ns() + STOPPED_S * NS_PER_S;

	if (!atomic_load(&hold) || atomic_exchange(&entered, true))
		return;
	while (atomic_load(&hold) && now_ns() < end)
		(void)usleep(500);
}

int __real_view_copy_in(const struct view *view, uint64_t offset, const void *src, uint64_t length);
int __wrap_view_copy_in(const struct view *view, uint64_t offset, const void *src, uint64_t length);
int __real_view_zero(const struct view *view, uint64_t offset, uint64_t length);
int __wrap_view_zero(const struct view *view, uint64_t offset, uint64_t length);
int __real_view_copy(const struct view *view, uint64_t from, uint64_t to, uint64_t length,
		     bool *unread);
int __wrap_view_copy(const struct view *view, uint64_t from, uint64_t to, uint64_t length,
		     bool *unread);

int __real_export_punch(const struct export *e, const struct export_range *ranges,
			unsigned int nr_ranges);
int __wrap_export_punch(const struct export *e, const struct export_range *ranges,
			unsigned int nr_ranges);

int __wrap_export_punch(const struct export *e, const struct export_range *ranges,
			unsigned int nr_ranges)
{
	stop_here();
	return __real_export_punch(e, ranges, nr_ranges);
}

int __wrap_view_copy_in(const struct view *view, uint64_t offset, const void *src, uint64_t length)
{
	stop_here();
	return __real_view_copy_in(view, offset, src, length);
}

int __wrap_view_zero(const struct view *view, uint64_t offset, uint64_t length)
{
	stop_here();
	return __real_view_zero(view, offset, length);
}

/* Which range of a Copy fails, from 1 on; and whether that is its source's fault. */
static atomic_int copy_fails, copied;
static atomic_bool copy_unread;

int __wrap_view_copy(const struct view *view, uint64_t from, uint64_t to, uint64_t length,
		     bool *unread)
{
	stop_here();
	if (atomic_fetch_add(&copied, 1) + 1 == atomic_load(&copy_fails)) {
		*unread = atomic_load(&copy_unread);
		return -EIO;
	}
	return __real_view_copy(view, from, to, length, unread);
}

static void up(void)
{
	atomic_store(&hold, false);
	atomic_store(&entered, false);
	atomic_store(&copied, 0);
	atomic_store(&copy_fails, 0);
	rig_up(&rig, &options);
}

static void make_hole(uint64_t slba, uint32_t blocks)
{
	struct nvme_command sqe = rig_blocks(NVME_IO_WRITE_ZEROES, slba, blocks);

	sqe.cdw12 |= htole32(NVME_WZ_DEAC);
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
}

static void wait_entered(void)
{
	uint64_t end = now_ns() + STOPPED_S * NS_PER_S;

	while (!atomic_load(&entered) && now_ns() < end)
		(void)usleep(500);
	assert_true(atomic_load(&entered));
}

static unsigned int write_of(struct rig_queue *q, uint64_t slba, int byte)
{
	struct nvme_command sqe = rig_blocks(NVME_IO_WRITE, slba, 2);
	uint8_t bytes[1024];

	memset(bytes, byte, sizeof(bytes));
	nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(bytes));
	return rig_send(q, &sqe, bytes, sizeof(bytes));
}

/*
 * One that is stopped has the blocks from slba on: a Write of the second queue beside them passes,
 * over them it waits, and what it writes stays.
 */
static void assert_in_order(uint64_t slba, uint64_t beside)
{
	unsigned int slot;
	uint8_t got[1024];

	wait_entered();
	assert_int_equal(rig_answer(rig.io[1], write_of(rig.io[1], beside, 0xcc)), 0);
	slot = write_of(rig.io[1], slba, 0xbb);
	for (unsigned int i = 0; i < 10; i++) {
		assert_false(rig_answered(rig.io[1], slot));
		(void)usleep(20000);
	}
	atomic_store(&hold, false);
	assert_int_equal(rig_answer(rig.io[1], slot), 0);
	rig_read(&rig, slba * 512, got, sizeof(got));
	for (size_t i = 0; i < sizeof(got); i++)
		assert_int_equal(got[i], 0xbb);
}

/* ---- a queue that dies in the middle ---------------------------------------------------------- */

static void cut(bool fused)
{
	struct nvme_command sqe;
	uint8_t zeros[1024] = {0}, bytes[1024];

	up();
	make_hole(4096, 2048);
	memset(bytes, 0xaa, sizeof(bytes));
	atomic_store(&hold, true);
	if (fused) {
		sqe = rig_blocks(NVME_IO_COMPARE, 4096, 2);
		sqe.flags |= FUSE_FIRST;
		nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(zeros));
		(void)rig_send(rig.io[0], &sqe, zeros, sizeof(zeros));
	}
	sqe = rig_blocks(NVME_IO_WRITE, 4096, 2);
	if (fused)
		sqe.flags |= FUSE_SECOND;
	nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(bytes));
	(void)rig_send(rig.io[0], &sqe, bytes, sizeof(bytes));
	wait_entered();
	(void)fabric_conn_fence(rig.io[0]->conn);
	/* Its end has been seen, and all that only waited is given up. */
	for (unsigned int i = 0; i < 30; i++) {
		(void)rig_answered(rig.io[1], 0);
		(void)usleep(20000);
	}
	assert_in_order(4096, 5000);
	rig_down(&rig);
}

static void test_cut_write(void **state)
{
	(void)state;
	cut(false);
}

static void test_cut_pair(void **state)
{
	(void)state;
	cut(true);
}

/* ---- commands without data -------------------------------------------------------------------- */

static void test_zeroes_order(void **state)
{
	struct nvme_command sqe = rig_blocks(NVME_IO_WRITE_ZEROES, 4096, 64);
	unsigned int slot;

	(void)state;
	up();
	atomic_store(&hold, true);
	slot = rig_send(rig.io[0], &sqe, NULL, 0);
	assert_in_order(4100, 4096 + 64);
	assert_int_equal(rig_answer(rig.io[0], slot), 0);
	rig_down(&rig);
}

static unsigned int copy(const struct nvme_copy_range *from, unsigned int nr, uint64_t to)
{
	struct nvme_command sqe = rig_command(NVME_IO_COPY);

	sqe.cdw10 = htole32((uint32_t)to);
	sqe.cdw12 = htole32(nr - 1);
	nvme_offset_sgl_set(&sqe.sgl, 0, (uint32_t)(nr * sizeof(*from)));
	return rig_send(rig.io[0], &sqe, from, (uint32_t)(nr * sizeof(*from)));
}

/* Both what it reads and what it writes. */
static void test_copy_order(void **state)
{
	const struct nvme_copy_range from[] = {{.slba = htole64(64), .blocks = htole16(63)}};

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		unsigned int slot;

		up();
		atomic_store(&hold, true);
		slot = copy(from, 1, 1024);
		assert_in_order(i ? 64 : 1025, 2000);
		assert_int_equal(rig_answer(rig.io[0], slot), 0);
		rig_down(&rig);
	}
}

/* ---- Deallocate ------------------------------------------------------------------------------- */

#define DSM_BLOCKS 64 /* of each range, so many after the one before */
#define DSM_STRIDE 512

static struct nvme_command dsm(struct nvme_dsm_range *ranges, unsigned int nr, uint64_t slba)
{
	struct nvme_command sqe = rig_command(NVME_IO_DSM);

	for (unsigned int i = 0; i < nr; i++)
		ranges[i] =
			(struct nvme_dsm_range){.slba = htole64(slba + (uint64_t)i * DSM_STRIDE),
						.blocks = htole32(DSM_BLOCKS)};
	sqe.cdw10 = htole32(nr - 1);
	sqe.cdw11 = htole32(NVME_DSM_AD);
	nvme_offset_sgl_set(&sqe.sgl, 0, (uint32_t)(nr * sizeof(*ranges)));
	return sqe;
}

static unsigned int deallocate(unsigned int nr, uint64_t slba)
{
	struct nvme_dsm_range ranges[NVME_DSM_MAX_RANGES];
	struct nvme_command sqe = dsm(ranges, nr, slba);

	return rig_send(rig.io[0], &sqe, ranges, (uint32_t)(nr * sizeof(*ranges)));
}

/* Its holes are still to come when its queue ends: what is written later does not fall into them. */
static void test_cut_deallocate(void **state)
{
	(void)state;
	for (unsigned int nr = 1; nr <= 2; nr++) {
		up();
		atomic_store(&hold, true);
		(void)deallocate(nr, 4096);
		wait_entered();
		(void)fabric_conn_fence(rig.io[0]->conn);
		for (unsigned int i = 0; i < 30; i++) {
			(void)rig_answered(rig.io[1], 0);
			(void)usleep(20000);
		}
		assert_in_order(4096 + (nr - 1) * DSM_STRIDE, 4096 + DSM_BLOCKS);
		rig_down(&rig);
	}
}

/* Each of its ranges, and nothing between them, as long as there are no more than can be told apart. */
static void test_deallocate_order(void **state)
{
	static const unsigned int nrs[] = {1, 2, NVME_DSM_MAX_PARTS, 40};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(nrs); i++) {
		uint64_t last = 1024 + (uint64_t)(nrs[i] - 1) * DSM_STRIDE;
		unsigned int slot;

		up();
		atomic_store(&hold, true);
		slot = deallocate(nrs[i], 1024);
		assert_in_order(last + DSM_BLOCKS - 2,
				nrs[i] <= NVME_DSM_MAX_PARTS ? last - 8 : last + DSM_BLOCKS);
		assert_int_equal(rig_answer(rig.io[0], slot), 0);
		rig_down(&rig);
	}
}

/* A Write of the second queue is at work on what it wants. */
static unsigned int stop_write(uint64_t slba)
{
	unsigned int slot;

	up();
	make_hole(4096, 2048);
	atomic_store(&hold, true);
	slot = write_of(rig.io[1], slba, 0xbb);
	wait_entered();
	return slot;
}

static void let_go(unsigned int slot)
{
	atomic_store(&hold, false);
	assert_int_equal(rig_answer(rig.io[1], slot), 0);
}

/* It waits without its ranges, and gets them again; a host that has changed them repeats it. */
static void test_deallocate_waits(void **state)
{
	enum {
		IN_CAPSULE,
		KEYED,
		CHANGED,
		MANY,
		WAYS
	};

	(void)state;
	for (int way = 0; way < WAYS; way++) {
		struct nvme_dsm_range ranges[NVME_DSM_MAX_RANGES];
		unsigned int other = stop_write(4096 + DSM_STRIDE), slot;
		unsigned int nr = way == MANY ? 40 : 2;
		struct nvme_command sqe = dsm(ranges, nr, way == MANY ? 1024 : 4096);
		uint8_t got[1024];

		if (way == IN_CAPSULE) {
			slot = rig_send(rig.io[0], &sqe, ranges, nr * sizeof(*ranges));
		} else {
			memcpy(rig.memory, ranges, sizeof(ranges));
			rig_keyed(&rig, &sqe, 0, 4096);
			slot = rig_send(rig.io[0], &sqe, NULL, 0);
		}
		for (unsigned int i = 0; i < 10; i++) {
			assert_false(rig_answered(rig.io[0], slot));
			(void)usleep(20000);
		}
		if (way == CHANGED) {
			ranges[0].slba = htole64(0);
			memcpy(rig.memory, ranges, sizeof(ranges));
		}
		let_go(other);
		assert_int_equal(rig_answer(rig.io[0], slot),
				 way == CHANGED ? NVME_SC_NS_NOT_READY : 0);
		rig_read(&rig, (4096ull + DSM_STRIDE) * 512, got, sizeof(got));
		for (size_t i = 0; i < sizeof(got); i++)
			assert_int_equal(got[i], way == CHANGED ? 0xbb : 0);
		rig_read(&rig, 0, got, sizeof(got));
		assert_int_equal(got[1], fill_byte(1));
		rig_down(&rig);
	}
}

/* While it waits it can be aborted, and its queue can end. */
static void test_deallocate_given_up(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		unsigned int other = stop_write(4096), slot = deallocate(2, 4096);
		struct nvme_command sqe = rig_command(NVME_ADMIN_ABORT);
		uint8_t got[1024];

		assert_false(rig_answered(rig.io[0], slot));
		if (i) {
			(void)usleep(100000);
			sqe.nsid = 0;
			sqe.cdw10 = htole32(slot << 16 | 1);
			assert_int_equal(rig_do(rig.admin, &sqe, NULL, 0), 0);
			assert_int_equal(rig_answer(rig.io[0], slot), NVME_SC_ABORT_REQUESTED);
		} else {
			(void)fabric_conn_fence(rig.io[0]->conn);
			(void)usleep(300000);
		}
		let_go(other);
		rig_read(&rig, 4096ull * 512, got, sizeof(got));
		assert_int_equal(got[0], 0xbb);
		rig_down(&rig);
	}
}

/* ---- work that fails half-way ----------------------------------------------------------------- */

static void test_copy_fails(void **state)
{
	const struct nvme_copy_range from[] = {
		{.slba = htole64(16), .blocks = htole16(7)},
		{.slba = htole64(1000), .blocks = htole16(7)},
		{.slba = htole64(2000), .blocks = htole16(7)},
	};

	(void)state;
	up();
	for (int fails = 0; fails <= 3; fails++) {
		for (int unread = 0; unread < 2; unread++) {
			uint16_t want = unread ? NVME_SC_READ_ERROR : NVME_SC_WRITE_FAULT;
			unsigned int slot;

			atomic_store(&copied, 0);
			atomic_store(&copy_fails, fails);
			atomic_store(&copy_unread, unread);
			slot = copy(from, ARRAY_SIZE(from), 8192);
			assert_int_equal(rig_answer(rig.io[0], slot), fails ? want : 0);
			/* The lowest source that is not copied. */
			assert_int_equal(le32toh(rig.io[0]->cqe[slot].dw0), fails ? fails - 1 : 0);
		}
	}
	rig_down(&rig);
}

/* ---- what is counted -------------------------------------------------------------------------- */

static struct nvme_smart_log smart(void)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_GET_LOG_PAGE);
	struct nvme_smart_log log;

	sqe.nsid = htole32(NVME_NSID_ALL);
	sqe.cdw10 = htole32(NVME_LOG_SMART | 127u << 16);
	rig_keyed(&rig, &sqe, 0, sizeof(log));
	assert_int_equal(rig_do(rig.admin, &sqe, NULL, 0), 0);
	memcpy(&log, rig.memory, sizeof(log));
	return log;
}

/* A Verify reads the medium: it counts in data units, and is no read command. */
static void test_verify_counted(void **state)
{
	struct nvme_command sqe = rig_blocks(NVME_IO_VERIFY, 0, RIG_BYTES / 512);
	struct nvme_smart_log before, after;

	(void)state;
	up();
	before = smart();
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	after = smart();
	/* Thousands of blocks, rounded up. */
	assert_int_equal(after.units_read[0] - before.units_read[0],
			 (RIG_BYTES / 512 + 999) / 1000);
	assert_memory_equal(after.host_reads, before.host_reads, sizeof(before.host_reads));
	rig_down(&rig);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_cut_write),	   leaks_test(test_cut_pair),
		leaks_test(test_zeroes_order),	   leaks_test(test_copy_order),
		leaks_test(test_cut_deallocate),   leaks_test(test_deallocate_order),
		leaks_test(test_deallocate_waits), leaks_test(test_deallocate_given_up),
		leaks_test(test_copy_fails),	   leaks_test(test_verify_counted),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	log_set_level(getenv("LEASEHOLD_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	tenure_block_signals();
	if (export_guard_init())
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run_group);
}
