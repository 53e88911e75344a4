// SPDX-License-Identifier: BSD-3-Clause
/*
 * Compare, and Compare and Write as a pair, over the wire against a whole target: what is a pair and what is
 * none, that a pair is done whole or not at all, and so too where two queues on two reactors do it at once.
 */
#include "nvme_io_rig.h"

/* ---- Compare and pairs ------------------------------------------------------------------------ */

static struct nvme_command fuse(struct nvme_command sqe, enum command_fuse half)
{
	sqe.flags = (uint8_t)(NVME_FLAGS_SGL | half);
	return sqe;
}

static void test_compare(void **state)
{
	struct nvme_command sqe;

	(void)state;
	up(&small);
	for (uint32_t i = 0; i < MIB(1); i++)
		rig.memory[i] = fill_byte(4 * 512 + i);
	sqe = moving(NVME_IO_COMPARE, 4, 2);
	assert_int_equal(simple(&sqe), 0);
	sqe = moving(NVME_IO_COMPARE, 4, MIB(1) / 512);
	assert_int_equal(simple(&sqe), 0);
	rig.memory[MIB(1) - 1] ^= 1;
	assert_int_equal(simple(&sqe), NVME_SC_COMPARE_FAILED | DNR);
	sqe = moving(NVME_IO_COMPARE, 4, 2);
	nvme_offset_sgl_set(&sqe.sgl, 0, 1024);
	assert_int_equal(rig_do(io, &sqe, rig.memory, 1024), 0);
	assert_int_equal(rig_do(io, &sqe, rig.memory + 512, 1024), NVME_SC_COMPARE_FAILED | DNR);
	rig_down(&rig);
}

/* Sends both halves; their answers, which come in this order. */
static void pair(struct nvme_command first, struct nvme_command second, uint16_t *a, uint16_t *b)
{
	unsigned int x, y;

	first = fuse(first, FUSE_FIRST);
	second = fuse(second, FUSE_SECOND);
	x = rig_send(io, &first, NULL, 0);
	y = rig_send(io, &second, NULL, 0);
	*a = rig_answer(io, x);
	*b = rig_answer(io, y);
	assert_true(io->order[x] < io->order[y]);
}

static void test_fused(void **state)
{
	struct nvme_command compare, write;
	uint16_t a, b;

	(void)state;
	up(&small);
	for (uint32_t i = 0; i < 1024; i++)
		rig.memory[i] = fill_byte(4 * 512 + i);
	memset(rig.memory + 4096, 0x77, 1024);
	compare = moving(NVME_IO_COMPARE, 4, 2);
	write = moving(NVME_IO_WRITE, 4, 2);
	rig_keyed(&rig, &write, 4096, 1024);
	pair(compare, write, &a, &b);
	assert_int_equal(a, 0);
	assert_int_equal(b, 0);
	assert_file(4 * 512, 1024, 0x77);
	/* Now it differs: neither. */
	memset(rig.memory + 4096, 0x78, 1024);
	pair(compare, write, &a, &b);
	assert_int_equal(a, NVME_SC_COMPARE_FAILED | DNR);
	assert_int_equal(b, NVME_SC_FUSED_FAIL);
	assert_file(4 * 512, 1024, 0x77);
	/* The write in the capsule. */
	memset(rig.memory, 0x77, 1024);
	{
		struct nvme_command second = fuse(write, FUSE_SECOND);
		struct nvme_command first = fuse(compare, FUSE_FIRST);
		unsigned int x, y;

		nvme_offset_sgl_set(&second.sgl, 0, 1024);
		x = rig_send(io, &first, NULL, 0);
		y = rig_send(io, &second, rig.memory + 4096, 1024);
		assert_int_equal(rig_answer(io, x), 0);
		assert_int_equal(rig_answer(io, y), 0);
		assert_file(4 * 512, 1024, 0x78);
	}
	rig_down(&rig);
}

static void test_fused_bad(void **state)
{
	struct nvme_command compare, write, other, sqe;
	unsigned int x, y, z;
	uint16_t a, b;

	(void)state;
	up(&small);
	for (uint32_t i = 0; i < 1024; i++)
		rig.memory[i] = fill_byte(4 * 512 + i);
	memset(rig.memory + 4096, 0x77, 1024);
	compare = moving(NVME_IO_COMPARE, 4, 2);
	write = moving(NVME_IO_WRITE, 4, 2);
	rig_keyed(&rig, &write, 4096, 1024);
	/* A second half alone. */
	sqe = fuse(write, FUSE_SECOND);
	assert_int_equal(simple(&sqe), NVME_SC_FUSED_MISSING);
	/* A first half, then something else, which is done. */
	sqe = fuse(compare, FUSE_FIRST);
	other = moving(NVME_IO_READ, 0, 1);
	rig_keyed(&rig, &other, 8192, 512);
	x = rig_send(io, &sqe, NULL, 0);
	assert_false(rig_answered(io, x)); /* it waits */
	y = rig_send(io, &other, NULL, 0);
	assert_int_equal(rig_answer(io, x), NVME_SC_FUSED_MISSING);
	assert_int_equal(rig_answer(io, y), 0);
	/* Two first halves: the second of them has its pair. */
	z = rig_send(io, &sqe, NULL, 0);
	x = rig_send(io, &sqe, NULL, 0);
	other = fuse(write, FUSE_SECOND);
	y = rig_send(io, &other, NULL, 0);
	assert_int_equal(rig_answer(io, z), NVME_SC_FUSED_MISSING);
	assert_int_equal(rig_answer(io, x), 0);
	assert_int_equal(rig_answer(io, y), 0);
	assert_file(4 * 512, 1024, 0x77);
	memset(rig.memory, 0x77, 1024);
	memset(rig.memory + 4096, 0x78, 1024);
	/* Out of order. */
	other = fuse(write, FUSE_SECOND);
	x = rig_send(io, &other, NULL, 0);
	y = rig_send(io, &sqe, NULL, 0);
	assert_int_equal(rig_answer(io, x), NVME_SC_FUSED_MISSING);
	assert_false(rig_answered(io, y));
	sqe = rig_command(NVME_IO_FLUSH);
	assert_int_equal(simple(&sqe), 0);
	assert_int_equal(rig_answer(io, y), NVME_SC_FUSED_MISSING);
	/* Other pairs than this one; other places; halves that are no good. */
	pair(moving(NVME_IO_READ, 4, 2), write, &a, &b);
	assert_int_equal(a, NVME_SC_INVALID_FIELD | DNR);
	assert_int_equal(b, NVME_SC_FUSED_FAIL);
	pair(compare, moving(NVME_IO_READ, 4, 2), &a, &b);
	assert_int_equal(a, NVME_SC_FUSED_FAIL);
	assert_int_equal(b, NVME_SC_INVALID_FIELD | DNR);
	pair(compare, moving(NVME_IO_WRITE, 5, 2), &a, &b);
	assert_int_equal(a, NVME_SC_FUSED_FAIL);
	assert_int_equal(b, NVME_SC_INVALID_FIELD | DNR);
	other = write;
	rig_keyed(&rig, &other, 4096, 512);
	pair(compare, other, &a, &b);
	assert_int_equal(a, NVME_SC_FUSED_FAIL);
	assert_int_equal(b, NVME_SC_SGL_INVALID_DATA | DNR);
	other = compare;
	other.sgl.type = 0;
	pair(other, write, &a, &b);
	assert_int_equal(a, NVME_SC_SGL_INVALID_TYPE | DNR);
	assert_int_equal(b, NVME_SC_FUSED_FAIL);
	other = write;
	other.sgl.type = 0;
	pair(compare, other, &a, &b);
	assert_int_equal(a, NVME_SC_FUSED_FAIL);
	assert_int_equal(b, NVME_SC_SGL_INVALID_TYPE | DNR);
	other = compare;
	other.cdw11 = htole32(1);
	sqe = write;
	sqe.cdw11 = htole32(1);
	pair(other, sqe, &a, &b);
	assert_int_equal(a, NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(b, NVME_SC_FUSED_FAIL);
	assert_file(4 * 512, 1024, 0x77);
	/* The first half is aborted while it waits: the second fails. */
	sqe = fuse(compare, FUSE_FIRST);
	x = rig_send(io, &sqe, NULL, 0);
	assert_false(rig_answered(io, x));
	other = rig_command(NVME_ADMIN_ABORT);
	other.cdw10 = htole32(x << 16 | 1);
	assert_int_equal(rig_do(rig.admin, &other, NULL, 0), 0);
	assert_int_equal(rig_answer(io, x), NVME_SC_ABORT_REQUESTED);
	sqe = fuse(write, FUSE_SECOND);
	assert_int_equal(simple(&sqe), NVME_SC_FUSED_FAIL);
	assert_file(4 * 512, 1024, 0x77);
	/* The connection ends while a first half waits. */
	sqe = fuse(compare, FUSE_FIRST);
	(void)rig_send(io, &sqe, NULL, 0);
	rig_down(&rig);
}

/* ---- two queues ------------------------------------------------------------------------------- */

/* A counter that both queues count up by Compare and Write: nothing is lost. */
static void test_count(void **state)
{
	uint64_t last = 0;
	unsigned int won = 0, lost = 0;

	(void)state;
	up(&small);
	memset(rig.memory, 0, 4096);
	{
		struct nvme_command w = moving(NVME_IO_WRITE, 100, 1);

		assert_int_equal(simple(&w), 0);
	}
	for (unsigned int round = 0; round < 200; round++) {
		unsigned int slots[2][2];

		for (unsigned int i = 0; i < 2; i++) {
			uint8_t *p = rig.memory + 8192 * (i + 1);
			struct nvme_command c = rig_blocks(NVME_IO_COMPARE, 100, 1);
			struct nvme_command w = rig_blocks(NVME_IO_WRITE, 100, 1);
			uint64_t next = last + 1;

			memset(p, 0, 1024);
			memcpy(p, &last, sizeof(last));
			memcpy(p + 512, &next, sizeof(next));
			p[512 + 500] = 0;
			rig_keyed(&rig, &c, 8192 * (i + 1), 512);
			rig_keyed(&rig, &w, 8192 * (i + 1) + 512, 512);
			c = fuse(c, FUSE_FIRST);
			w = fuse(w, FUSE_SECOND);
			slots[i][0] = rig_send(rig.io[i], &c, NULL, 0);
			slots[i][1] = rig_send(rig.io[i], &w, NULL, 0);
		}
		for (unsigned int i = 0; i < 2; i++) {
			uint16_t a = rig_answer(rig.io[i], slots[i][0]);
			uint16_t b = rig_answer(rig.io[i], slots[i][1]);

			if (a == 0 && b == 0) {
				won++;
			} else {
				assert_int_equal(a, NVME_SC_COMPARE_FAILED | DNR);
				assert_int_equal(b, NVME_SC_FUSED_FAIL);
				lost++;
			}
		}
		last++;
	}
	/* Exactly one of the two each time. */
	assert_int_equal(won, 200);
	assert_int_equal(lost, 200);
	rig_down(&rig);
}

static int run_group(const char *name)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_compare),
		leaks_test(test_fused),
		leaks_test(test_fused_bad),
		leaks_test(test_count),
	};

	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
	return io_main(run_group);
}
