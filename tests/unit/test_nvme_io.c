// SPDX-License-Identifier: BSD-3-Clause
/*
 * I/O commands against a whole target, over the wire: each once as it should be, and each in every
 * bad form. Then the order of overlapping commands of two queues on two reactors, and what is counted of
 * them. What Compare says, and pairs of it with Write: test_nvme_io_pairs.c.
 */
#include "nvme_io_rig.h"

#include <stdlib.h>

#include "util/counter.h"

static const struct rig_options large = {.lba_bytes = 4096, .inline_bytes = 16384};

/* How often what was written was made durable; or why it cannot be. */
static atomic_uint flushes;
static atomic_int flush_err;

int __real_export_flush(const struct export *e);
int __wrap_export_flush(const struct export *e);

int __wrap_export_flush(const struct export *e)
{
	int err = atomic_load(&flush_err);

	atomic_fetch_add(&flushes, 1);
	return err ? err : __real_export_flush(e);
}

static uint64_t counted(const char *name)
{
	for (const struct counter *c = counter_first(); c; c = c->next) {
		if (strcmp(c->name, name) == 0)
			return counter_read(c);
	}
	fail();
	return 0;
}

/* ---- Read and Write --------------------------------------------------------------------------- */

static void read_write(const struct rig_options *options)
{
	struct nvme_command sqe;
	uint8_t inlined[16384];

	up(options);
	sqe = moving(NVME_IO_READ, 8, 16);
	assert_int_equal(simple(&sqe), 0);
	for (uint32_t i = 0; i < 16 * lba(); i++)
		assert_int_equal(rig.memory[i], fill_byte(8 * lba() + i));
	memset(rig.memory, 0xa5, MIB(1));
	sqe = moving(NVME_IO_WRITE, 8, 3);
	sqe.cdw12 |= htole32(NVME_RW_FUA);
	assert_int_equal(simple(&sqe), 0);
	assert_file(0, 8 * lba(), -1);
	assert_file(8 * lba(), 3 * lba(), 0xa5);
	assert_file(11 * lba(), lba(), -1);
	/* All of MDTS, both ways. */
	sqe = moving(NVME_IO_WRITE, MIB(2) / lba(), MIB(1) / lba());
	assert_int_equal(simple(&sqe), 0);
	assert_file(MIB(2), MIB(1), 0xa5);
	memset(rig.memory, 0, MIB(1));
	sqe = moving(NVME_IO_READ, MIB(2) / lba(), MIB(1) / lba());
	assert_int_equal(simple(&sqe), 0);
	assert_int_equal(rig.memory[0], 0xa5);
	assert_int_equal(rig.memory[MIB(1) - 1], 0xa5);
	sqe = moving(NVME_IO_READ, 0, MIB(1) / lba() + 1);
	assert_int_equal(simple(&sqe), NVME_SC_INVALID_FIELD | DNR);
	/* As much as a capsule carries. */
	memset(inlined, 0x5a, sizeof(inlined));
	sqe = rig_blocks(NVME_IO_WRITE, 32, options->inline_bytes / lba());
	nvme_offset_sgl_set(&sqe.sgl, 0, options->inline_bytes);
	assert_int_equal(rig_do(io, &sqe, inlined, options->inline_bytes), 0);
	assert_file(32 * lba(), options->inline_bytes, 0x5a);
	rig_down(&rig);
}

/* Which way the bytes go: not straight, and small ones of a memory file not by a worker either. */
static void test_way(void **state)
{
	bool memory;
	uint64_t before[4], after[4];
	static const char *const names[4] = {"nvme_read_region_bytes", "nvme_write_region_bytes",
					     "nvme_read_staged_bytes", "nvme_write_staged_bytes"};

	(void)state;
	up(&small);
	memory = export_medium(holding_export(rig.h)) != EXPORT_PAGE_CACHE;
	for (unsigned int i = 0; i < 4; i++)
		before[i] = counted(names[i]);
	for (unsigned int i = 0; i < 2; i++) {
		struct nvme_command sqe = moving(i ? NVME_IO_READ : NVME_IO_WRITE, 8, 128);

		assert_int_equal(simple(&sqe), 0);
		sqe = moving(i ? NVME_IO_READ : NVME_IO_WRITE, 8, 129); /* too long for a reactor */
		assert_int_equal(simple(&sqe), 0);
	}
	for (unsigned int i = 0; i < 4; i++) {
		bool region = i < 2;
		uint64_t bytes = region ? 257 * 512 : KIB(64);

		after[i] = counted(names[i]) - before[i];
		if (region ? registration == REGION_STAGED
			   : registration != REGION_STAGED || !memory)
			bytes = 0;
		if (journal && i % 2)
			bytes = 0; /* written: by a worker */
		assert_int_equal(after[i], bytes);
	}
	rig_down(&rig);
}

static void test_read_write_512(void **state)
{
	(void)state;
	read_write(&small);
}

static void test_read_write_4096(void **state)
{
	(void)state;
	read_write(&large);
}

/* The data of one command in many pieces, in an order of their own. */
static void test_lists(void **state)
{
	struct nvme_sgl_desc list[NVME_MAX_KEYED];
	struct nvme_command sqe;

	(void)state;
	up(&small);
	for (int pass = 0; pass < 2; pass++) {
		uint32_t bytes = pass ? MIB(1) : 16 * 512, piece = bytes / 16, at = 0;

		for (unsigned int i = 0; i < NVME_MAX_KEYED; i++) {
			/* Uneven ones: 16 bytes more, 16 bytes less. */
			uint32_t length = i % 2 ? piece - 16 : piece + 16;

			nvme_keyed_sgl_set(&list[i],
					   (uint64_t)(uintptr_t)(rig.memory + (15 - i) * 2 * piece),
					   length, rig.mr->rkey, NVME_SGL_ADDRESS);
		}
		memset(rig.memory, 0, RIG_MEMORY);
		sqe = rig_blocks(NVME_IO_READ, 0, bytes / 512);
		nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(list));
		sqe.sgl.type = NVME_SGL_LAST_SEGMENT << 4 | NVME_SGL_OFFSET;
		assert_int_equal(rig_do(io, &sqe, list, sizeof(list)), 0);
		for (unsigned int i = 0; i < NVME_MAX_KEYED; i++) {
			uint32_t length = i % 2 ? piece - 16 : piece + 16;
			const uint8_t *p = rig.memory + (15 - i) * 2 * piece;

			for (uint32_t j = 0; j < length; j++)
				assert_int_equal(p[j], fill_byte(at + j));
			at += length;
		}
		/* And back, elsewhere. */
		sqe.opcode = NVME_IO_WRITE;
		sqe.cdw10 = htole32(MIB(4) / 512);
		assert_int_equal(rig_do(io, &sqe, list, sizeof(list)), 0);
		{
			uint8_t *bytes_there = malloc(bytes);

			assert_non_null(bytes_there);
			rig_read(&rig, MIB(4), bytes_there, bytes);
			for (uint32_t i = 0; i < bytes; i++)
				assert_int_equal(bytes_there[i], fill_byte(i));
			free(bytes_there);
		}
	}
	rig_down(&rig);
}

/* Asked to kill the host's key: done, or not where the listener says so. */
static void test_invalidate(void **state)
{
	struct rig_options deaf = small;

	(void)state;
	deaf.no_invalidate = true;
	for (int pass = 0; pass < 2; pass++) {
		struct nvme_command sqe = rig_blocks(NVME_IO_READ, 0, 8);
		struct fabric_send_wr bind = {.wr_id = UINT32_MAX, .op = FABRIC_OP_BIND_MW};
		struct fabric_mr *mr;
		struct fabric_mw *mw;

		up(pass ? &deaf : &small);
		assert_int_equal(
			fabric_mr_reg(rig.pd, rig.memory, 8192, (uint64_t)(uintptr_t)rig.memory,
				      FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_MW_BIND, &mr),
			0);
		assert_int_equal(fabric_mw_alloc(rig.pd, &mw), 0);
		bind.bind.mw = mw;
		bind.bind.mr = mr;
		bind.bind.addr = (uint64_t)(uintptr_t)rig.memory;
		bind.bind.length = 4096;
		bind.bind.access = FABRIC_ACCESS_REMOTE_WRITE;
		assert_int_equal(fabric_post_send(io->conn, &bind, NULL), 0);
		nvme_keyed_sgl_set(&sqe.sgl, (uint64_t)(uintptr_t)rig.memory, 4096, mw->rkey,
				   NVME_SGL_INVALIDATE);
		assert_int_equal(simple(&sqe), 0);
		assert_int_equal(rig.memory[0], fill_byte(0));
		assert_int_equal(io->invalidated, pass ? 0 : 1);
		if (pass == 0)
			assert_int_equal(io->invalidated_key, mw->rkey);
		(void)fabric_mw_free(mw);
		(void)fabric_mr_dereg(mr);
		rig_down(&rig);
	}
}

/* ---- bad forms -------------------------------------------------------------------------------- */

static const uint8_t ranged[] = {NVME_IO_READ, NVME_IO_WRITE, NVME_IO_COMPARE, NVME_IO_WRITE_ZEROES,
				 NVME_IO_VERIFY};

static bool moves(uint8_t opcode)
{
	return (opcode & 3) != 0;
}

static struct nvme_command good(uint8_t opcode)
{
	return moves(opcode) ? moving(opcode, 4, 2) : rig_blocks(opcode, 4, 2);
}

static void test_bad_forms(void **state)
{
	static const uint8_t absent[] = {NVME_IO_WRITE_UNCORRECTABLE, 0x40, 0x7e, 0x80, 0xff, 0x1d};
	struct nvme_command sqe;

	(void)state;
	up(&small);
	for (size_t i = 0; i < ARRAY_SIZE(ranged); i++) {
		uint64_t end = RIG_BYTES / 512;

		sqe = good(ranged[i]);
		sqe.nsid = 0;
		assert_int_equal(simple(&sqe), NVME_SC_INVALID_NS | DNR);
		sqe.nsid = htole32(NVME_NSID_ALL);
		assert_int_equal(simple(&sqe), NVME_SC_INVALID_NS | DNR);
		sqe.nsid = htole32(2);
		assert_int_equal(simple(&sqe), NVME_SC_INVALID_NS | DNR);
		sqe = good(ranged[i]);
		sqe.flags = 0; /* PRP */
		assert_int_equal(simple(&sqe), NVME_SC_INVALID_FIELD | DNR);
		sqe.flags = NVME_FLAGS_SGL | 3;
		assert_int_equal(simple(&sqe), NVME_SC_INVALID_FIELD | DNR);
		sqe = good(ranged[i]);
		sqe.cdw10 = htole32((uint32_t)end - 1); /* one block too far */
		assert_int_equal(simple(&sqe), NVME_SC_LBA_RANGE | DNR);
		sqe.cdw10 = sqe.cdw11 = htole32(UINT32_MAX);
		assert_int_equal(simple(&sqe), NVME_SC_LBA_RANGE | DNR);
		sqe = good(ranged[i]);
		sqe.cdw12 |= htole32(1u << 20); /* a directive */
		assert_int_equal(simple(&sqe), NVME_SC_INVALID_FIELD | DNR);
		sqe = good(ranged[i]);
		sqe.sgl.type = 0x00; /* an address without a key */
		assert_int_equal(simple(&sqe), NVME_SC_SGL_INVALID_TYPE | DNR);
		if (!moves(ranged[i]))
			continue;
		rig_keyed(&rig, &sqe, 0, 3 * 512);
		assert_int_equal(simple(&sqe), NVME_SC_SGL_INVALID_DATA | DNR);
		rig_keyed(&rig, &sqe, 0, 512);
		assert_int_equal(simple(&sqe), NVME_SC_SGL_INVALID_DATA | DNR);
		rig_keyed(&rig, &sqe, 0, 0); /* zero length */
		assert_int_equal(simple(&sqe), NVME_SC_SGL_INVALID_DATA | DNR);
	}
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		sqe = rig_command(absent[i]);
		assert_int_equal(simple(&sqe), NVME_SC_INVALID_OPCODE | DNR);
	}
	sqe = rig_command(NVME_IO_FLUSH);
	assert_int_equal(simple(&sqe), 0);
	sqe.nsid = htole32(NVME_NSID_ALL);
	assert_int_equal(simple(&sqe), NVME_SC_INVALID_NS | DNR);
	assert_file(0, KIB(64), -1); /* nothing of it was done */
	rig_down(&rig);
}

/* A key that is none ends the connection, of that queue only. */
static void test_bad_key(void **state)
{
	static const uint8_t which[] = {NVME_IO_READ, NVME_IO_WRITE};

	(void)state;
	up(&small);
	for (size_t i = 0; i < ARRAY_SIZE(which); i++) {
		struct nvme_command sqe = moving(which[i], 4, 2);
		unsigned int slot;

		sqe.sgl.bytes[4] ^= 0x55;
		slot = rig_send(rig.io[i], &sqe, NULL, 0);
		assert_true(rig_was_cut(rig.io[i]));
		assert_false(rig.io[i]->done[slot]);
		assert_false(rig.admin->dead);
	}
	assert_file(0, KIB(64), -1);
	rig_down(&rig);
}

static void test_read_only(void **state)
{
	static const uint8_t writers[] = {NVME_IO_WRITE, NVME_IO_WRITE_ZEROES};
	struct rig_options options = small;
	struct nvme_command sqe;

	(void)state;
	options.read_only = true;
	up(&options);
	for (size_t i = 0; i < ARRAY_SIZE(writers); i++) {
		sqe = good(writers[i]);
		assert_int_equal(simple(&sqe), NVME_SC_NS_WRITE_PROTECTED | DNR);
	}
	sqe = good(NVME_IO_READ);
	assert_int_equal(simple(&sqe), 0);
	rig_down(&rig);
}

/* ---- Write Zeroes, Verify, Deallocate --------------------------------------------------------- */

static void test_zeroes(void **state)
{
	struct nvme_command sqe;

	(void)state;
	up(&small);
	sqe = rig_blocks(NVME_IO_WRITE_ZEROES, 3, 5);
	assert_int_equal(simple(&sqe), 0);
	assert_file(0, 3 * 512, -1);
	assert_file(3 * 512, 5 * 512, 0);
	assert_file(8 * 512, 512, -1);
	sqe = rig_blocks(NVME_IO_WRITE_ZEROES, 2048, MIB(9) / 512);
	sqe.cdw12 |= htole32(NVME_RW_FUA);
	assert_int_equal(simple(&sqe), 0);
	assert_file(MIB(1), MIB(9), 0);
	assert_int_equal(allocated_bytes("file"), RIG_BYTES);
	sqe = rig_blocks(NVME_IO_VERIFY, 0, RIG_BYTES / 512);
	assert_int_equal(simple(&sqe), 0);
	rig_down(&rig);
}

/* With deallocation: what can be is a hole, its edges are zeros, I/O goes on. */
static void test_zeroes_deallocate(void **state)
{
	struct nvme_command sqe;

	(void)state;
	up(&small);
	sqe = rig_blocks(NVME_IO_WRITE_ZEROES, 2048 + 3, 2048);
	sqe.cdw12 |= htole32(NVME_WZ_DEAC);
	assert_int_equal(simple(&sqe), 0);
	assert_file(MIB(1), 3 * 512, -1);
	assert_file(MIB(1) + 3 * 512, MIB(1), 0);
	assert_file(MIB(2) + 3 * 512, 512, -1);
	assert_int_equal(allocated_bytes("file"), RIG_BYTES - MIB(1) + 4096);
	/* Less than a page. */
	sqe = rig_blocks(NVME_IO_WRITE_ZEROES, 1, 7);
	sqe.cdw12 |= htole32(NVME_WZ_DEAC);
	assert_int_equal(simple(&sqe), 0);
	assert_file(512, 7 * 512, 0);
	memset(rig.memory, 0x11, 4096);
	sqe = moving(NVME_IO_WRITE, 3000, 8);
	assert_int_equal(simple(&sqe), 0);
	assert_file(3000 * 512, 4096, 0x11);
	sqe = moving(NVME_IO_READ, 3000, 16);
	assert_int_equal(simple(&sqe), 0);
	assert_int_equal(rig.memory[4095], 0x11);
	assert_int_equal(rig.memory[4096], 0);
	rig_down(&rig);
}

static void deallocate(const struct rig_options *options, bool in_capsule)
{
	struct nvme_dsm_range ranges[3] = {
		{.blocks = htole32(MIB(1) / options->lba_bytes),
		 .slba = htole64(MIB(2) / options->lba_bytes)},
		{.blocks = htole32(MIB(1) / options->lba_bytes),
		 .slba = htole64(MIB(8) / options->lba_bytes)},
		{.blocks = 0, .slba = 0},
	};
	struct nvme_command sqe = rig_command(NVME_IO_DSM);
	bool punched = !options->advisory;

	up(options);
	sqe.cdw10 = htole32(2);
	sqe.cdw11 = htole32(NVME_DSM_AD);
	memcpy(rig.memory, ranges, sizeof(ranges));
	if (in_capsule) {
		nvme_offset_sgl_set(&sqe.sgl, 8, sizeof(ranges));
		memmove(rig.memory + 8, rig.memory, sizeof(ranges));
		assert_int_equal(rig_do(io, &sqe, rig.memory, sizeof(ranges) + 8), 0);
	} else {
		rig_keyed(&rig, &sqe, 0, 4096);
		assert_int_equal(simple(&sqe), 0);
	}
	assert_int_equal(allocated_bytes("file"), RIG_BYTES - (punched ? MIB(2) : 0));
	assert_file(MIB(2), MIB(1), punched ? 0 : -1);
	assert_file(MIB(8), MIB(1), punched ? 0 : -1);
	assert_file(MIB(3), MIB(1), -1);
	sqe = moving(NVME_IO_READ, MIB(2) / lba(), 8);
	assert_int_equal(simple(&sqe), 0);
	assert_int_equal(rig.memory[0], punched ? 0 : fill_byte(MIB(2)));
	rig_down(&rig);
}

static void test_deallocate(void **state)
{
	struct rig_options advisory = small;

	(void)state;
	advisory.advisory = true;
	deallocate(&small, false);
	deallocate(&large, true);
	deallocate(&advisory, false);
}

static void test_deallocate_bad(void **state)
{
	struct nvme_dsm_range range = {.blocks = htole32(8), .slba = htole64(RIG_BYTES / 512 - 7)};
	struct nvme_command sqe = rig_command(NVME_IO_DSM);

	(void)state;
	up(&small);
	sqe.cdw11 = htole32(NVME_DSM_AD);
	assert_int_equal(simple(&sqe), NVME_SC_SGL_INVALID_DATA | DNR); /* no data */
	nvme_offset_sgl_set(&sqe.sgl, 0, 16);
	assert_int_equal(rig_do(io, &sqe, &range, 16), NVME_SC_LBA_RANGE | DNR);
	sqe.cdw10 = htole32(1);
	assert_int_equal(rig_do(io, &sqe, &range, 16), NVME_SC_SGL_INVALID_DATA | DNR);
	sqe.cdw10 = 0;
	sqe.nsid = 0;
	assert_int_equal(rig_do(io, &sqe, &range, 16), NVME_SC_INVALID_NS | DNR);
	sqe.nsid = htole32(NVME_NSID_ALL);
	assert_int_equal(rig_do(io, &sqe, &range, 16), NVME_SC_INVALID_NS | DNR);
	sqe.nsid = htole32(1);
	sqe.cdw11 = 0; /* only a hint: the ranges are not looked at */
	assert_int_equal(rig_do(io, &sqe, &range, 16), 0);
	assert_int_equal(allocated_bytes("file"), RIG_BYTES);
	rig_down(&rig);
}

/* Holes and reads and writes around them, all at once. */
static void test_deallocate_busy(void **state)
{
	unsigned int slots[16];
	struct nvme_command sqe;

	(void)state;
	up(&small);
	memset(rig.memory, 0x33, MIB(1));
	for (unsigned int round = 0; round < 20; round++) {
		struct nvme_dsm_range range = {.blocks = htole32(64),
					       .slba = htole64(4096 + 256 * round)};

		for (unsigned int i = 0; i < 16; i++) {
			if (i % 4 == 1) {
				sqe = rig_command(NVME_IO_DSM);
				sqe.cdw11 = htole32(NVME_DSM_AD);
				nvme_offset_sgl_set(&sqe.sgl, 0, 16);
				slots[i] = rig_send(rig.io[i % 2], &sqe, &range, 16);
			} else {
				sqe = moving(NVME_IO_WRITE, 4096 + 256 * round + 64 + 8 * i, 8);
				slots[i] = rig_send(rig.io[i % 2], &sqe, NULL, 0);
			}
		}
		for (unsigned int i = 0; i < 16; i++)
			assert_int_equal(rig_answer(rig.io[i % 2], slots[i]), 0);
	}
	for (unsigned int round = 0; round < 20; round++) {
		uint64_t at = (uint64_t)(4096 + 256 * round) * 512;

		assert_file(at, 64 * 512, 0);
		assert_file(at + 64 * 512, 4096, 0x33);
		assert_file(at + (64 + 128) * 512, 64 * 512, -1);
	}
	rig_down(&rig);
}

/* ---- Copy ------------------------------------------------------------------------------------- */

static void test_copy(void **state)
{
	struct nvme_copy_range from[2] = {{.slba = htole64(16), .blocks = htole16(7)},
					  {.slba = htole64(1000), .blocks = htole16(2047)}};
	struct nvme_command sqe = rig_command(NVME_IO_COPY);
	uint8_t *bytes = malloc(MIB(2));

	(void)state;
	assert_non_null(bytes);
	up(&small);
	sqe.cdw10 = htole32(8192);
	sqe.cdw12 = htole32(1 | NVME_RW_FUA);
	nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(from));
	assert_int_equal(rig_do(io, &sqe, from, sizeof(from)), 0);
	rig_read(&rig, 8192 * 512, bytes, 2056 * 512);
	for (uint32_t i = 0; i < 2056 * 512; i++)
		assert_int_equal(bytes[i],
				 fill_byte(i < 8 * 512 ? 16 * 512 + i : 1000 * 512 + i - 8 * 512));
	free(bytes);
	assert_file((8192 + 2056) * 512, 512, -1);
	/* Bad forms. */
	sqe.cdw10 = htole32(1001);
	assert_int_equal(rig_do(io, &sqe, from, sizeof(from)), NVME_SC_OVERLAPPING_RANGE | DNR);
	sqe.cdw10 = htole32(RIG_BYTES / 512 - 1);
	assert_int_equal(rig_do(io, &sqe, from, sizeof(from)), NVME_SC_LBA_RANGE | DNR);
	sqe.cdw10 = htole32(8192);
	sqe.cdw12 = htole32(1 | 1 << 8);
	assert_int_equal(rig_do(io, &sqe, from, sizeof(from)), NVME_SC_INVALID_FIELD | DNR);
	sqe.cdw12 = htole32(16);
	assert_int_equal(rig_do(io, &sqe, from, sizeof(from)), NVME_SC_CMD_SIZE_LIMIT | DNR);
	sqe.cdw12 = htole32(2);
	assert_int_equal(rig_do(io, &sqe, from, sizeof(from)), NVME_SC_SGL_INVALID_DATA | DNR);
	sqe.cdw12 = htole32(0);
	sqe.nsid = htole32(NVME_NSID_ALL);
	assert_int_equal(rig_do(io, &sqe, from, sizeof(from)), NVME_SC_INVALID_NS | DNR);
	rig_down(&rig);
}

/* ---- Force Unit Access ------------------------------------------------------------------------ */

/*
 * Answered when it is durable, and only then; without the bit nobody waits for that. What is read
 * with the bit is what is durable.
 */
static void fua(const struct nvme_command *plain, const void *data, uint32_t bytes)
{
	const bool cached = export_volatile_cache(holding_export(rig.h));
	const bool reads = plain->opcode == NVME_IO_READ || plain->opcode == NVME_IO_COMPARE ||
			   plain->opcode == NVME_IO_VERIFY;
	struct nvme_command sqe = *plain;

	atomic_store(&flushes, 0);
	atomic_store(&flush_err, -EIO);
	assert_int_equal(rig_do(io, &sqe, data, bytes), 0);
	assert_int_equal(atomic_load(&flushes), 0);
	sqe.cdw12 |= htole32(NVME_RW_FUA);
	if (cached)
		assert_int_equal(rig_do(io, &sqe, data, bytes),
				 reads ? NVME_SC_READ_ERROR : NVME_SC_WRITE_FAULT);
	atomic_store(&flushes, 0);
	atomic_store(&flush_err, 0);
	assert_int_equal(rig_do(io, &sqe, data, bytes), 0);
	if (cached)
		assert_int_equal(atomic_load(&flushes), 1);
}

static void test_fua(void **state)
{
	/* Only blocks of 512 bytes have edges beside the pages. */
	static const uint32_t zeroed[][2] = {{64, 64}, {129, 64}, {2, 3}};
	const struct nvme_copy_range from = {.slba = htole64(16), .blocks = htole16(7)};
	struct nvme_command sqe;

	(void)state;
	up(&small);
	sqe = moving(NVME_IO_WRITE, 8, 8);
	fua(&sqe, NULL, 0);
	nvme_offset_sgl_set(&sqe.sgl, 0, 4096);
	fua(&sqe, rig.memory, 4096);
	for (size_t i = 0; i < ARRAY_SIZE(zeroed); i++) {
		sqe = rig_blocks(NVME_IO_WRITE_ZEROES, zeroed[i][0], zeroed[i][1]);
		fua(&sqe, NULL, 0);
		sqe.cdw12 |= htole32(NVME_WZ_DEAC);
		fua(&sqe, NULL, 0);
	}
	sqe = rig_command(NVME_IO_COPY);
	sqe.cdw10 = htole32(8192);
	nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(from));
	fua(&sqe, &from, sizeof(from));
	sqe = moving(NVME_IO_READ, 8, 8);
	fua(&sqe, NULL, 0);
	sqe = moving(NVME_IO_COMPARE, 8, 8); /* what was read just now */
	fua(&sqe, NULL, 0);
	sqe = rig_blocks(NVME_IO_VERIFY, 0, RIG_BYTES / 512);
	fua(&sqe, NULL, 0);
	rig_down(&rig);
}

static void test_flush(void **state)
{
	struct nvme_command sqe = rig_command(NVME_IO_FLUSH);
	bool cached;

	(void)state;
	up(&small);
	cached = export_volatile_cache(holding_export(rig.h));
	atomic_store(&flushes, 0);
	assert_int_equal(simple(&sqe), 0);
	assert_int_equal(atomic_load(&flushes), cached ? 1 : 0);
	atomic_store(&flush_err, -EIO);
	assert_int_equal(simple(&sqe), cached ? NVME_SC_WRITE_FAULT : 0);
	atomic_store(&flush_err, 0);
	rig_down(&rig);
}

/* ---- the order -------------------------------------------------------------------------------- */

/*
 * Writes of 1 MiB of one byte each from both queues, on two reactors, and reads between them: every
 * read sees one of them whole. Half of the file is a hole, so both paths are taken.
 */
static void test_atomic(void **state)
{
	unsigned int torn = 0;

	(void)state;
	up(&small);
	for (unsigned int round = 0; round < 60; round++) {
		uint64_t slba = (round % 2) * 16384; /* 0 and 8 MiB */
		struct nvme_command w0 = rig_blocks(NVME_IO_WRITE, slba, 2048);
		struct nvme_command w1 = w0, r;
		unsigned int a, b, c;

		if (round % 8 == 0) {
			struct nvme_command z = rig_blocks(NVME_IO_WRITE_ZEROES, 16384, 2048);

			z.cdw12 |= htole32(NVME_WZ_DEAC);
			assert_int_equal(simple(&z), 0);
		}
		memset(rig.memory, (int)(2 * round + 1), MIB(1));
		memset(rig.memory + MIB(1), (int)(2 * round + 2), MIB(1));
		rig_keyed(&rig, &w0, 0, MIB(1));
		rig_keyed(&rig, &w1, MIB(1), MIB(1));
		r = w0;
		r.opcode = NVME_IO_READ;
		rig_keyed(&rig, &r, MIB(2), MIB(1));
		a = rig_send(rig.io[0], &w0, NULL, 0);
		b = rig_send(rig.io[1], &w1, NULL, 0);
		c = rig_send(rig.io[round / 2 % 2], &r, NULL, 0);
		assert_int_equal(rig_answer(rig.io[0], a), 0);
		assert_int_equal(rig_answer(rig.io[1], b), 0);
		assert_int_equal(rig_answer(rig.io[round / 2 % 2], c), 0);
		for (uint32_t i = 1; i < MIB(1); i++)
			torn += rig.memory[MIB(2) + i] != rig.memory[MIB(2)];
		assert_int_equal(torn, 0);
		/* And what is there in the end is one of them. */
		r = rig_blocks(NVME_IO_READ, slba, 2048);
		rig_keyed(&rig, &r, MIB(2), MIB(1));
		assert_int_equal(simple(&r), 0);
		for (uint32_t i = 1; i < MIB(1); i++)
			torn += rig.memory[MIB(2) + i] != rig.memory[MIB(2)];
		assert_int_equal(torn, 0);
	}
	rig_down(&rig);
}

struct counts_asked {
	struct loop_msg msg;
	struct nvme_ns_counts counts;
	sem_t done;
};

static void on_counts(struct loop_msg *msg)
{
	struct counts_asked *asked = container_of(msg, struct counts_asked, msg);

	nvme_target_ns_counts(rig.target, rig.h, &asked->counts);
	(void)sem_post(&asked->done);
}

static struct nvme_ns_counts ns_counts(void)
{
	struct counts_asked asked;

	(void)sem_init(&asked.done, 0, 0);
	loop_post(rig.env.control, &asked.msg, on_counts);
	while (sem_wait(&asked.done) != 0)
		;
	(void)sem_destroy(&asked.done);
	return asked.counts;
}

/* Of the export: what is answered well by its bytes, what is not as an error, from all reactors. */
static void test_ns_counts(void **state)
{
	struct nvme_ns_counts counts;
	struct nvme_command sqe;

	(void)state;
	up(&small);
	counts = ns_counts();
	assert_int_equal(counts.reads + counts.writes + counts.errors, 0);
	for (unsigned int i = 0; i < 2; i++) {
		sqe = moving(NVME_IO_WRITE, 8, 3);
		assert_int_equal(rig_do(rig.io[i], &sqe, NULL, 0), 0);
		sqe = moving(NVME_IO_READ, 8, 16);
		assert_int_equal(rig_do(rig.io[i], &sqe, NULL, 0), 0);
	}
	sqe = moving(NVME_IO_READ, 0, 2048);
	assert_int_equal(simple(&sqe), 0);
	sqe = rig_blocks(NVME_IO_FLUSH, 0, 1);
	assert_int_equal(simple(&sqe), 0);
	counts = ns_counts();
	assert_int_equal(counts.writes, 2);
	assert_int_equal(counts.written_bytes, 2 * 3 * 512);
	assert_int_equal(counts.reads, 3);
	assert_int_equal(counts.read_bytes, (2 * 16 + 2048) * 512);
	assert_int_equal(counts.errors, 0);
	sqe = moving(NVME_IO_READ, RIG_BYTES / 512, 1);
	assert_int_equal(simple(&sqe), NVME_SC_LBA_RANGE | DNR);
	sqe = moving(NVME_IO_WRITE, RIG_BYTES / 512 - 1, 2);
	assert_int_equal(simple(&sqe), NVME_SC_LBA_RANGE | DNR);
	/* Of no export. */
	sqe.nsid = htole32(2);
	assert_int_equal(simple(&sqe), NVME_SC_INVALID_NS | DNR);
	counts = ns_counts();
	assert_int_equal(counts.errors, 2);
	assert_int_equal(counts.reads + counts.writes, 5);
	assert_int_equal(counts.commits + counts.commits_refused, 0);
	rig_down(&rig);
}

static int run_group(const char *name)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_read_write_512),
		leaks_test(test_read_write_4096),
		leaks_test(test_way),
		leaks_test(test_lists),
		leaks_test(test_invalidate),
		leaks_test(test_bad_forms),
		leaks_test(test_bad_key),
		leaks_test(test_read_only),
		leaks_test(test_zeroes),
		leaks_test(test_zeroes_deallocate),
		leaks_test(test_deallocate),
		leaks_test(test_deallocate_bad),
		leaks_test(test_deallocate_busy),
		leaks_test(test_copy),
		leaks_test(test_fua),
		leaks_test(test_flush),
		leaks_test(test_atomic),
		leaks_test(test_ns_counts),
	};

	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
	return io_main(run_group);
}
