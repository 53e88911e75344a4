// SPDX-License-Identifier: BSD-3-Clause
/*
 * What Identify promises of the I/O commands is what they do, to the last block; and data goes the
 * way it should, not only to the right place.
 */
#include "nvme_rig.h"

#include <stdlib.h>

#include "iwarp/iwarp.h"
#include "nvme/io.h"
#include "util/counter.h"
#include "util/log.h"

#define DNR NVME_SC_DNR

static const struct rig_options small = {.lba_bytes = 512, .inline_bytes = 4096};
static const struct rig_options large = {.lba_bytes = 4096, .inline_bytes = 4096};

static struct rig rig;
static struct nvme_id_ctrl ctrl;
static struct nvme_id_ns ns;

static void identify(uint32_t cns, uint32_t nsid, void *to)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_IDENTIFY);

	sqe.nsid = htole32(nsid);
	sqe.cdw10 = htole32(cns);
	rig_keyed(&rig, &sqe, 0, 4096);
	assert_int_equal(rig_do(rig.admin, &sqe, NULL, 0), 0);
	memcpy(to, rig.memory, 4096);
}

static void up(const struct rig_options *options)
{
	static_assert(sizeof(ctrl) == 4096 && sizeof(ns) == 4096, "Identify");
	rig_up(&rig, options);
	identify(NVME_CNS_CONTROLLER, 0, &ctrl);
	identify(NVME_CNS_NS, RIG_NSID, &ns);
}

static uint64_t counted(const char *name)
{
	for (const struct counter *c = counter_first(); c; c = c->next) {
		if (strcmp(c->name, name) == 0)
			return counter_read(c);
	}
	fail_msg("no counter %s", name);
	return 0;
}

/* ---- atomicity -------------------------------------------------------------------------------- */

/* One command is one step, and a command has MDTS at most: that, and not a block more. */
static void atomics(const struct rig_options *options)
{
	uint64_t mdts;

	up(options);
	mdts = 4096ull << ctrl.mdts;
	assert_int_equal((le16toh(ctrl.awun) + 1ull) * 4096, mdts);
	assert_int_equal((le16toh(ctrl.acwu) + 1ull) * 4096, mdts);
	assert_int_equal(le16toh(ctrl.awupf), 0);
	assert_int_equal((le16toh(ns.nawun) + 1ull) * options->lba_bytes, mdts);
	assert_int_equal((le16toh(ns.nacwu) + 1ull) * options->lba_bytes, mdts);
	/* Of a write that ends half-way; where there is no journal that is to say nothing. */
	assert_int_equal((le16toh(ns.nawupf) + 1ull) * options->lba_bytes,
			 options->journal ? EXPORT_ATOMIC_BYTES : options->lba_bytes);
	rig_down(&rig);
}

static void test_atomics(void **state)
{
	(void)state;
	atomics(&small);
	atomics(&large);
}

static const struct rig_options journaled = {
	.lba_bytes = 512, .inline_bytes = 4096, .journal = true};

/* Whatever writes goes by the journal, and nothing into file memory past it. */
static void test_by_journal(void **state)
{
	const struct nvme_copy_range from = {.blocks = htole16(7)};
	const uint64_t straight = counted("nvme_write_region_bytes");
	uint64_t records = counted("journal_records");
	uint8_t inlined[512] = {1};
	struct nvme_command sqe;

	(void)state;
	up(&journaled);
	sqe = rig_blocks(NVME_IO_WRITE, 8, 64);
	rig_keyed(&rig, &sqe, 0, 64 * 512);
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	assert_int_equal(counted("journal_records"), ++records);
	sqe = rig_blocks(NVME_IO_WRITE, 8, 1);
	nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(inlined));
	assert_int_equal(rig_do(rig.io[0], &sqe, inlined, sizeof(inlined)), 0);
	assert_int_equal(counted("journal_records"), ++records);
	/* Of more than a record each block is whole, and the blocks are several. */
	sqe = rig_blocks(NVME_IO_WRITE, 8, EXPORT_ATOMIC_BYTES / 512 + 1);
	rig_keyed(&rig, &sqe, 0, EXPORT_ATOMIC_BYTES + 512);
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	assert_int_equal(counted("journal_records"), records += 2);
	sqe = rig_blocks(NVME_IO_WRITE_ZEROES, 8, 1);
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	assert_int_equal(counted("journal_records"), ++records);
	sqe = rig_command(NVME_IO_COPY);
	sqe.cdw10 = htole32(RIG_BYTES / 2 / 512);
	nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(from));
	assert_int_equal(rig_do(rig.io[0], &sqe, &from, sizeof(from)), 0);
	assert_int_equal(counted("journal_records"), ++records);
	assert_int_equal(counted("nvme_write_region_bytes"), straight);
	rig_down(&rig);
}

static bool sync_fails;

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
	errno = EIO;
	return sync_fails ? -1 : __real_fdatasync(fd);
}

static uint16_t status_of(uint8_t opcode, uint64_t slba)
{
	const struct nvme_dsm_range range = {.blocks = htole32(8), .slba = htole64(slba)};
	const struct nvme_copy_range from = {.blocks = htole16(7)};
	struct nvme_command sqe = rig_blocks(opcode, slba, 8);

	switch (opcode) {
	case NVME_IO_DSM:
		sqe.cdw10 = 0;
		sqe.cdw11 = htole32(NVME_DSM_AD);
		sqe.cdw12 = 0;
		nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(range));
		return rig_do(rig.io[0], &sqe, &range, sizeof(range));
	case NVME_IO_COPY:
		sqe.cdw12 = 0;
		nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(from));
		return rig_do(rig.io[0], &sqe, &from, sizeof(from));
	case NVME_IO_WRITE_ZEROES:
		return rig_do(rig.io[0], &sqe, NULL, 0);
	default:
		rig_keyed(&rig, &sqe, 0, 8 * 512);
		return rig_do(rig.io[0], &sqe, NULL, 0);
	}
}

/* Nothing is written past a journal that cannot be, and nothing else goes either; reads do. */
static void test_broken_journal(void **state)
{
	static const uint8_t writes[] = {NVME_IO_WRITE, NVME_IO_WRITE_ZEROES, NVME_IO_DSM,
					 NVME_IO_COPY};
	uint8_t same[8 * 512];

	(void)state;
	up(&journaled);
	memset(rig.memory, 0x5a, sizeof(same));
	assert_int_equal(status_of(NVME_IO_WRITE, 64), 0);
	sync_fails = true;
	assert_int_equal(status_of(NVME_IO_WRITE, 64), NVME_SC_WRITE_FAULT);
	sync_fails = false;
	for (unsigned int i = 0; i < ARRAY_SIZE(writes); i++)
		assert_int_equal(status_of(writes[i], 64), NVME_SC_WRITE_FAULT | DNR);
	memset(rig.memory, 0, sizeof(same));
	assert_int_equal(status_of(NVME_IO_READ, 64), 0);
	memset(same, 0x5a, sizeof(same));
	assert_memory_equal(rig.memory, same, sizeof(same));
	rig_down(&rig);
}

static void test_journal_atomics(void **state)
{
	struct rig_options with = large;

	(void)state;
	atomics(&journaled);
	with.journal = true;
	atomics(&with);
}

/* ---- Copy ------------------------------------------------------------------------------------- */

static uint16_t copy(unsigned int ranges, uint32_t blocks)
{
	struct nvme_command sqe = rig_command(NVME_IO_COPY);
	struct nvme_copy_range from[NVME_COPY_MAX_RANGES + 1] = {0};

	assert_true(ranges <= ARRAY_SIZE(from));
	for (unsigned int i = 0; i < ranges; i++)
		from[i].blocks = htole16((uint16_t)(blocks - 1));
	sqe.cdw10 = htole32(RIG_BYTES / 2 / rig.options.lba_bytes);
	sqe.cdw12 = htole32(ranges - 1);
	nvme_offset_sgl_set(&sqe.sgl, 0, (uint32_t)(ranges * sizeof(from[0])));
	return rig_do(rig.io[0], &sqe, from, (uint32_t)(ranges * sizeof(from[0])));
}

static void test_copy_limits(void **state)
{
	(void)state;
	up(&small);
	assert_int_equal(copy(ns.msrc + 1u, 1), 0);
	assert_int_equal(copy(ns.msrc + 2u, 1), NVME_SC_CMD_SIZE_LIMIT | DNR);
	assert_int_equal(copy(1, le16toh(ns.mssrl)), 0);
	assert_int_equal(copy(1, le16toh(ns.mssrl) + 1u), NVME_SC_CMD_SIZE_LIMIT | DNR);
	/* More in all than one command copies; the file is too small for as much as that. */
	assert_int_equal(le32toh(ns.mcl), IO_COPY_BYTES / 512);
	assert_int_equal(copy(IO_COPY_BYTES / IO_COPY_RANGE_BYTES, le16toh(ns.mssrl)),
			 NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(copy(IO_COPY_BYTES / IO_COPY_RANGE_BYTES + 1, le16toh(ns.mssrl)),
			 NVME_SC_CMD_SIZE_LIMIT | DNR);
	rig_down(&rig);
}

/* ---- deallocation ----------------------------------------------------------------------------- */

/* DLFEAT says that what is deallocated reads as zeros, and that Write Zeroes may do it; or nothing. */
static void test_dlfeat(void **state)
{
	struct rig_options advisory = small;

	(void)state;
	advisory.advisory = true;
	for (unsigned int i = 0; i < 2; i++) {
		struct nvme_dsm_range range = {.blocks = htole32(2048), .slba = htole64(4096)};
		struct nvme_command sqe = rig_command(NVME_IO_DSM);
		uint8_t byte;

		up(i ? &advisory : &small);
		assert_int_equal(ns.dlfeat, i ? 0 : 0x09);
		sqe.cdw11 = htole32(NVME_DSM_AD);
		nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(range));
		assert_int_equal(rig_do(rig.io[0], &sqe, &range, sizeof(range)), 0);
		rig_read(&rig, 4096 * 512 + 1, &byte, 1);
		assert_int_equal(byte, i ? fill_byte(4096 * 512 + 1) : 0);
		rig_down(&rig);
	}
}

/* ---- the way of the data ---------------------------------------------------------------------- */

static void move(uint8_t opcode, uint64_t slba, const char *region, const char *fs, bool direct)
{
	uint64_t by_region = counted(region), by_fs = counted(fs);
	struct nvme_command sqe = rig_blocks(opcode, slba, 128);

	rig_keyed(&rig, &sqe, 0, KIB(64));
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	assert_int_equal(counted(region) - by_region, direct ? KIB(64) : 0);
	assert_int_equal(counted(fs) - by_fs, direct ? 0 : KIB(64));
}

/* Straight from the file's memory where it is registered; over a hole by the file system. */
static void test_ways(void **state)
{
	const struct fabric_device_info *info;
	struct nvme_command sqe;
	bool bounced;

	(void)state;
	up(&small);
	info = fabric_device_info(rig.env.devices[0]);
	bounced = info->read_sink_needs_bounce;
	move(NVME_IO_READ, 256, "nvme_read_region_bytes", "nvme_read_fs_bytes", true);
	move(NVME_IO_WRITE, 256, "nvme_write_region_bytes", "nvme_write_fs_bytes", !bounced);
	sqe = rig_blocks(NVME_IO_WRITE_ZEROES, 4096, 2048);
	sqe.cdw12 |= htole32(NVME_WZ_DEAC);
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	move(NVME_IO_READ, 4096, "nvme_read_region_bytes", "nvme_read_fs_bytes", false);
	move(NVME_IO_WRITE, 4096, "nvme_write_region_bytes", "nvme_write_fs_bytes", false);
	rig_down(&rig);
}

/* ---- commands that bring data from where there is none ----------------------------------------- */

/* The queue ends, as the fabric has it; nobody else notices, and no byte has changed. */
static void test_bad_keys(void **state)
{
	static const struct {
		uint8_t opcode;
		uint32_t bytes;
	} commands[] = {
		{NVME_IO_COMPARE, 1024},
		{NVME_IO_COPY, sizeof(struct nvme_copy_range)},
		{NVME_IO_DSM, sizeof(struct nvme_dsm_range)},
		{NVME_IO_RESV_REGISTER, 16},
		{NVME_IO_RESV_REPORT, 64},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		struct nvme_command sqe = rig_command(commands[i].opcode);
		uint8_t bytes[1024];
		unsigned int slot;

		up(&small);
		switch (commands[i].opcode) {
		case NVME_IO_COMPARE:
			sqe = rig_blocks(NVME_IO_COMPARE, 4, 2);
			break;
		case NVME_IO_COPY:
			sqe.cdw10 = htole32(4096);
			break;
		case NVME_IO_DSM:
			sqe.cdw11 = htole32(NVME_DSM_AD);
			break;
		case NVME_IO_RESV_REPORT:
			sqe.cdw10 = htole32(64 / 4 - 1);
			sqe.cdw11 = htole32(1); /* extended */
			break;
		default:
			break;
		}
		rig_keyed(&rig, &sqe, 0, commands[i].bytes);
		sqe.sgl.bytes[4] ^= 0x55; /* the key's */
		slot = rig_send(rig.io[0], &sqe, NULL, 0);
		for (unsigned int j = 0; j < 100 && !rig.io[0]->dead; j++)
			assert_false(rig_answered(rig.io[0], slot));
		assert_true(rig.io[0]->dead);
		assert_false(rig.admin->dead);
		sqe = rig_command(NVME_IO_FLUSH);
		assert_int_equal(rig_do(rig.io[1], &sqe, NULL, 0), 0);
		rig_read(&rig, (uint64_t)4096 * 512, bytes, sizeof(bytes));
		for (size_t j = 0; j < sizeof(bytes); j++)
			assert_int_equal(bytes[j], fill_byte((size_t)4096 * 512 + j));
		rig_down(&rig);
	}
}

/* PRP, and a form of SGL that does not exist, are refused by every command of its own. */
static void test_no_prp(void **state)
{
	static const uint8_t io[] = {NVME_IO_FLUSH,	  NVME_IO_DSM,
				     NVME_IO_COPY,	  NVME_IO_RESV_REGISTER,
				     NVME_IO_RESV_REPORT, NVME_IO_RESV_ACQUIRE,
				     NVME_IO_RESV_RELEASE};
	static const uint8_t admin[] = {NVME_ADMIN_IDENTIFY,	 NVME_ADMIN_GET_LOG_PAGE,
					NVME_ADMIN_ASYNC_EVENT,	 NVME_ADMIN_ABORT,
					NVME_ADMIN_SET_FEATURES, NVME_ADMIN_GET_FEATURES,
					NVME_ADMIN_KEEP_ALIVE};

	(void)state;
	up(&small);
	for (unsigned int form = 0; form < 3; form += 2) { /* PRP; a metadata pointer to SGLs */
		for (size_t i = 0; i < ARRAY_SIZE(io) + ARRAY_SIZE(admin); i++) {
			bool of_io = i < ARRAY_SIZE(io);
			struct nvme_command sqe =
				rig_command(of_io ? io[i] : admin[i - ARRAY_SIZE(io)]);

			sqe.flags = (uint8_t)(form << 6);
			assert_int_equal(rig_do(of_io ? rig.io[0] : rig.admin, &sqe, NULL, 0),
					 NVME_SC_INVALID_FIELD | DNR);
		}
	}
	assert_false(rig.io[0]->dead || rig.admin->dead);
	rig_down(&rig);
}

/* ---- a reset ---------------------------------------------------------------------------------- */

#define RESETS	     10
#define RESET_WRITES (RIG_DEPTH - 2)

/* What is good and met a reset is done or unanswered; no host is told never to send it again. */
static void test_reset_answers(void **state)
{
	struct nvmf_property_command disable = {.opcode = NVME_FABRICS,
						.flags = NVME_FLAGS_SGL,
						.fctype = NVMF_PROPERTY_SET,
						.offset = htole32(NVME_PROP_CC)};

	(void)state;
	for (unsigned int n = 0; n < RESETS; n++) {
		unsigned int slots[RESET_WRITES];
		struct nvme_command sqe;

		rig_up(&rig, &small);
		for (unsigned int i = 0; i < RESET_WRITES; i++) {
			sqe = rig_blocks(NVME_IO_WRITE, i * 8, 8);
			rig_keyed(&rig, &sqe, i * 4096, 4096);
			slots[i] = rig_send(rig.io[0], &sqe, NULL, 0);
		}
		memcpy(&sqe, &disable, sizeof(sqe));
		nvme_keyed_sgl_set(&sqe.sgl, 0, 0, 0, NVME_SGL_ADDRESS);
		assert_int_equal(rig_do(rig.admin, &sqe, NULL, 0), 0);
		(void)rig_answered(rig.admin, RIG_DEPTH - 1);
		for (unsigned int i = 0; i < RESET_WRITES; i++) {
			if (rig.io[0]->done[slots[i]])
				assert_int_equal(rig.io[0]->cqe[slots[i]].status, 0);
		}
		rig_down(&rig);
	}
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_atomics),	leaks_test(test_copy_limits),
		leaks_test(test_dlfeat),	leaks_test(test_ways),
		leaks_test(test_bad_keys),	leaks_test(test_no_prp),
		leaks_test(test_reset_answers),
	};

	const struct CMUnitTest with_journal[] = {
		leaks_test(test_journal_atomics),
		leaks_test(test_by_journal),
		leaks_test(test_broken_journal),
	};
	int failed = cmocka_run_group_tests_name(where, tests, NULL, NULL);

	/* None of a page cache. */
	if (strcmp(where, "/var/tmp") != 0)
		failed += cmocka_run_group_tests_name(where, with_journal, NULL, NULL);
	return failed;
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
