// SPDX-License-Identifier: BSD-3-Clause
/* What a peer says, refused at the edge: connection requests, capsules, Connect, direct messages. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "nvme/parse.h"

/* Of a refusal here the status; where it lies is test_nvme_bad's and test_nvme_bad_io's business. */
#define command_parse(...)	  refusal_status(command_parse(__VA_ARGS__))
#define command_parse_blocks(...) refusal_status(command_parse_blocks(__VA_ARGS__))
#define command_parse_range(...)  refusal_status(command_parse_range(__VA_ARGS__))
#define dsm_parse(...)		  refusal_status(dsm_parse(__VA_ARGS__))
#define dsm_parse_ranges(...)	  refusal_status(dsm_parse_ranges(__VA_ARGS__))
#define copy_parse(...)		  refusal_status(copy_parse(__VA_ARGS__))
#define copy_parse_sources(...)	  refusal_status(copy_parse_sources(__VA_ARGS__))
#define log_part_parse(...)	  refusal_status(log_part_parse(__VA_ARGS__))
#define direct_want_parse(...)	  refusal_status(direct_want_parse(__VA_ARGS__))

#define DNR    NVME_SC_DNR
#define INLINE 4096u
#define MDTS   (1u << 20)

static const struct capsule_limits limits = {.inline_bytes = INLINE, .mdts_bytes = MDTS};

struct capsule_text {
	struct nvme_command sqe;
	uint8_t data[INLINE];
};

static struct capsule_text capsule(uint8_t opcode)
{
	struct capsule_text c = {.sqe = {.opcode = opcode,
					 .flags = NVME_FLAGS_SGL,
					 .cid = htole16(7),
					 .nsid = htole32(1)}};

	nvme_keyed_sgl_set(&c.sqe.sgl, 0, 0, 0, NVME_SGL_ADDRESS);
	return c;
}

static uint16_t parse(const struct capsule_text *c, uint32_t data_bytes, struct command *command)
{
	return command_parse(c, (uint32_t)sizeof(c->sqe) + data_bytes, &limits, command);
}

/* ---- capsules --------------------------------------------------------------------------------- */

static void test_capsule_sizes(void **state)
{
	(void)state;
	assert_false(capsule_size_ok(0, &limits));
	assert_false(capsule_size_ok(63, &limits));
	assert_true(capsule_size_ok(64, &limits));
	assert_true(capsule_size_ok(64 + INLINE, &limits));
	assert_false(capsule_size_ok(64 + INLINE + 1, &limits));
	assert_false(capsule_size_ok(UINT32_MAX, &limits));
}

static void test_good_keyed(void **state)
{
	struct capsule_text c = capsule(NVME_IO_READ);
	struct command cmd;

	(void)state;
	nvme_keyed_sgl_set(&c.sqe.sgl, 0x123456789abcull, 8192, 0xdeadbeef, NVME_SGL_INVALIDATE);
	assert_int_equal(parse(&c, 0, &cmd), 0);
	assert_int_equal(cmd.data, COMMAND_KEYED);
	assert_int_equal(cmd.direction, DIRECTION_TO_HOST);
	assert_int_equal(cmd.length, 8192);
	assert_int_equal(cmd.keyed[0].key, 0xdeadbeef);
	assert_int_equal(cmd.keyed[0].address, 0x123456789abcull);
	assert_true(cmd.invalidate);
	assert_int_equal(le16toh(cmd.cid), 7);
	nvme_keyed_sgl_set(&c.sqe.sgl, 0x1000, 8192, 1, NVME_SGL_ADDRESS);
	assert_int_equal(parse(&c, 0, &cmd), 0);
	assert_false(cmd.invalidate);
}

static void test_no_data(void **state)
{
	struct capsule_text c = capsule(NVME_IO_FLUSH);
	struct command cmd;

	(void)state;
	assert_int_equal(parse(&c, 0, &cmd), 0);
	assert_int_equal(cmd.data, COMMAND_NO_DATA);
	assert_int_equal(cmd.length, 0);
	/* What a command without data says of data is not looked at. */
	nvme_keyed_sgl_set(&c.sqe.sgl, 0, MDTS * 2, 0, NVME_SGL_ADDRESS);
	assert_int_equal(parse(&c, 0, &cmd), 0);
	assert_int_equal(cmd.length, 0);
}

static void test_flags(void **state)
{
	static const uint8_t bad[] = {0x00, 0x80, 0xc0, 0x43, 0x60, 0x01, 0x44};
	struct command cmd;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct capsule_text c = capsule(NVME_IO_READ);

		c.sqe.flags = bad[i];
		assert_int_equal(parse(&c, 0, &cmd), NVME_SC_INVALID_FIELD | DNR);
		assert_int_equal(le16toh(cmd.cid), 7);
	}
}

static void test_sgl_types(void **state)
{
	struct capsule_text c = capsule(NVME_IO_WRITE);
	struct command cmd;

	(void)state;
	for (unsigned int type = 0; type < 256; type++) {
		bool known = type == (NVME_SGL_KEYED_DATA_BLOCK << 4 | NVME_SGL_ADDRESS) ||
			     type == (NVME_SGL_KEYED_DATA_BLOCK << 4 | NVME_SGL_INVALIDATE) ||
			     type == (NVME_SGL_DATA_BLOCK << 4 | NVME_SGL_OFFSET);

		c.sqe.sgl.type = (uint8_t)type;
		if (type == (NVME_SGL_LAST_SEGMENT << 4 | NVME_SGL_OFFSET))
			continue; /* test_list() */
		assert_int_equal(parse(&c, 0, &cmd), known ? 0 : NVME_SC_SGL_INVALID_TYPE | DNR);
	}
}

static void test_fuse(void **state)
{
	struct capsule_limits admin = limits;
	struct command cmd;

	(void)state;
	admin.admin = true;
	for (uint8_t fuse = 0; fuse < 3; fuse++) {
		struct capsule_text c = capsule(NVME_IO_READ);

		c.sqe.flags = (uint8_t)(NVME_FLAGS_SGL | fuse);
		assert_int_equal(parse(&c, 0, &cmd), 0);
		assert_int_equal(cmd.fuse, fuse);
		assert_int_equal(command_parse(&c, sizeof(c.sqe), &admin, &cmd),
				 fuse ? NVME_SC_INVALID_FIELD | DNR : 0);
		c.sqe.opcode = NVME_FABRICS;
		assert_int_equal(parse(&c, 0, &cmd), fuse ? NVME_SC_INVALID_FIELD | DNR : 0);
	}
}

/* Descriptors in the capsule. */
static void test_list(void **state)
{
	struct capsule_text c = capsule(NVME_IO_READ);
	struct nvme_sgl_desc list[NVME_MAX_KEYED + 1];
	struct capsule_limits deaf = limits;
	struct command cmd;

	(void)state;
	deaf.no_invalidate = true;
	for (unsigned int i = 0; i < ARRAY_SIZE(list); i++)
		nvme_keyed_sgl_set(&list[i], 0x1000 * i, 512, 100 + i,
				   i == 1 ? NVME_SGL_INVALIDATE : NVME_SGL_ADDRESS);
	memcpy(c.data + 24, list, sizeof(list));
	nvme_offset_sgl_set(&c.sqe.sgl, 24, 16 * NVME_MAX_KEYED);
	c.sqe.sgl.type = NVME_SGL_LAST_SEGMENT << 4 | NVME_SGL_OFFSET;
	assert_int_equal(parse(&c, INLINE, &cmd), 0);
	assert_int_equal(cmd.data, COMMAND_KEYED);
	assert_int_equal(cmd.nr_keyed, NVME_MAX_KEYED);
	assert_int_equal(cmd.length, 512 * NVME_MAX_KEYED);
	assert_int_equal(cmd.keyed[3].key, 103);
	assert_int_equal(cmd.keyed[3].address, 0x3000);
	assert_true(cmd.invalidate);
	assert_int_equal(cmd.invalidate_key, 101);
	assert_int_equal(command_parse(&c, sizeof(c.sqe) + INLINE, &deaf, &cmd), 0);
	assert_false(cmd.invalidate);
	/* Not all of it is in the capsule. */
	assert_int_equal(parse(&c, 24 + 16 * NVME_MAX_KEYED - 1, &cmd),
			 NVME_SC_SGL_OFFSET_INVALID | DNR);
	nvme_offset_sgl_set(&c.sqe.sgl, UINT64_MAX, 16);
	c.sqe.sgl.type = NVME_SGL_LAST_SEGMENT << 4 | NVME_SGL_OFFSET;
	assert_int_equal(parse(&c, INLINE, &cmd), NVME_SC_SGL_OFFSET_INVALID | DNR);
	/* Too many, none, part of one, at an address. */
	nvme_offset_sgl_set(&c.sqe.sgl, 24, 16 * (NVME_MAX_KEYED + 1));
	c.sqe.sgl.type = NVME_SGL_LAST_SEGMENT << 4 | NVME_SGL_OFFSET;
	assert_int_equal(parse(&c, INLINE, &cmd), NVME_SC_SGL_INVALID_COUNT | DNR);
	c.sqe.sgl.bytes[0] = c.sqe.sgl.bytes[1] = 0;
	assert_int_equal(parse(&c, INLINE, &cmd), NVME_SC_SGL_INVALID_LAST | DNR);
	c.sqe.sgl.bytes[0] = 24;
	assert_int_equal(parse(&c, INLINE, &cmd), NVME_SC_SGL_INVALID_LAST | DNR);
	c.sqe.sgl.bytes[0] = 16;
	assert_int_equal(parse(&c, INLINE, &cmd), 0);
	c.sqe.sgl.type = NVME_SGL_LAST_SEGMENT << 4 | NVME_SGL_ADDRESS;
	assert_int_equal(parse(&c, INLINE, &cmd), NVME_SC_SGL_INVALID_TYPE | DNR);
	/* A list in a list, data of the capsule in one, more than MDTS together, one without bytes. */
	c.sqe.sgl.type = NVME_SGL_LAST_SEGMENT << 4 | NVME_SGL_OFFSET;
	memcpy(c.data + 24, &c.sqe.sgl, 16);
	assert_int_equal(parse(&c, INLINE, &cmd), NVME_SC_SGL_INVALID_TYPE | DNR);
	nvme_offset_sgl_set(&list[0], 0, 512);
	memcpy(c.data + 24, list, 16);
	assert_int_equal(parse(&c, INLINE, &cmd), NVME_SC_SGL_INVALID_TYPE | DNR);
	nvme_keyed_sgl_set(&list[0], 0, MDTS, 1, NVME_SGL_ADDRESS);
	memcpy(c.data + 24, list, sizeof(list));
	assert_int_equal(parse(&c, INLINE, &cmd), 0);
	c.sqe.sgl.bytes[0] = 32;
	assert_int_equal(parse(&c, INLINE, &cmd), NVME_SC_INVALID_FIELD | DNR);
	nvme_keyed_sgl_set(&list[0], 0, 0, 1, NVME_SGL_ADDRESS);
	memcpy(c.data + 24, list, sizeof(list));
	assert_int_equal(parse(&c, INLINE, &cmd), 0);
	assert_int_equal(cmd.nr_keyed, 1);
	assert_int_equal(cmd.length, 512);
}

/* ---- I/O commands ----------------------------------------------------------------------------- */

static void test_blocks(void **state)
{
	struct nvme_command sqe = {.cdw12 = htole32(0xffff | NVME_RW_FUA | NVME_WZ_DEAC)};
	struct command_range range;

	(void)state;
	assert_int_equal(command_parse_blocks(&sqe, 4096, MIB(256), &range), 0);
	assert_int_equal(range.length, MIB(256));
	assert_true(range.fua && range.deallocate);
	assert_int_equal(command_parse_blocks(&sqe, 4096, MIB(256) - 4096, &range),
			 NVME_SC_LBA_RANGE | DNR);
	sqe.cdw10 = sqe.cdw11 = htole32(UINT32_MAX);
	assert_int_equal(command_parse_blocks(&sqe, 512, UINT64_MAX, &range),
			 NVME_SC_LBA_RANGE | DNR);
	sqe = (struct nvme_command){.cdw12 = htole32(1u << 20)};
	assert_int_equal(command_parse_blocks(&sqe, 512, MIB(1), &range),
			 NVME_SC_INVALID_FIELD | DNR);
	/* No action on protection information for Verify; others ignore it where there is none. */
	sqe = (struct nvme_command){.cdw12 = htole32(7 | NVME_RW_PRACT)};
	assert_int_equal(command_parse_blocks(&sqe, 512, MIB(1), &range), 0);
	assert_int_equal(verify_parse(&sqe, 512, MIB(1), &range),
			 REFUSED_AT(NVME_SC_INVALID_FIELD, 51, 5));
	sqe.cdw12 = htole32(7 | NVME_RW_FUA);
	assert_int_equal(verify_parse(&sqe, 512, MIB(1), &range), 0);
	assert_int_equal(range.length, 4096);
}

static void test_dsm(void **state)
{
	struct nvme_command sqe = {.cdw10 = htole32(1), .cdw11 = htole32(NVME_DSM_AD)};
	struct command cmd = {.length = 32};
	union {
		struct nvme_dsm_range wire[3];
		struct export_range ranges[3];
	} u = {.wire = {{.blocks = htole32(16), .slba = htole64(1)},
			{.blocks = htole32(7), .slba = htole64(33)},
			{.blocks = htole32(8), .slba = htole64(2040)}}};
	unsigned int nr;
	bool deallocate;

	(void)state;
	assert_int_equal(dsm_parse(&sqe, &cmd, &deallocate, &nr), 0);
	assert_true(deallocate);
	assert_int_equal(nr, 2);
	cmd.length = 4096; /* room for all */
	assert_int_equal(dsm_parse(&sqe, &cmd, &deallocate, &nr), 0);
	cmd.length = 4097;
	assert_int_equal(dsm_parse(&sqe, &cmd, &deallocate, &nr), NVME_SC_SGL_INVALID_DATA | DNR);
	cmd.length = 31;
	assert_int_equal(dsm_parse(&sqe, &cmd, &deallocate, &nr), NVME_SC_SGL_INVALID_DATA | DNR);
	cmd.length = 0;
	assert_int_equal(dsm_parse(&sqe, &cmd, &deallocate, &nr), NVME_SC_SGL_INVALID_DATA | DNR);
	/* Whole pages only; one beyond the end spoils all. */
	assert_int_equal(dsm_parse_ranges(u.wire, 3, 512, MIB(1) - 512, 4096, u.ranges, &nr),
			 NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(dsm_parse_ranges(u.wire, 3, 512, MIB(1), 4096, u.ranges, &nr), 0);
	assert_int_equal(nr, 2);
	assert_int_equal(u.ranges[0].offset, 4096);
	assert_int_equal(u.ranges[0].length, 4096);
	assert_int_equal(u.ranges[1].offset, MIB(1) - 4096);
	assert_int_equal(u.ranges[1].length, 4096);
	u.wire[0] =
		(struct nvme_dsm_range){.blocks = htole32(UINT32_MAX), .slba = htole64(UINT64_MAX)};
	assert_int_equal(dsm_parse_ranges(u.wire, 1, 4096, MIB(1), 4096, u.ranges, &nr),
			 NVME_SC_LBA_RANGE | DNR);
}

static void test_copy(void **state)
{
	struct nvme_command sqe = {.cdw10 = htole32(64), .cdw12 = htole32(1)};
	struct command cmd = {.length = 64};
	struct copy_limits most = {.lba_bytes = 512,
				   .size_bytes = MIB(1),
				   .range_bytes = KIB(16),
				   .total_bytes = KIB(24)};
	struct nvme_copy_range wire[2] = {{.slba = htole64(0), .blocks = htole16(31)},
					  {.slba = htole64(40), .blocks = htole16(15)}};
	struct export_range sources[NVME_COPY_MAX_RANGES];
	struct command_range to;
	unsigned int nr;

	(void)state;
	assert_int_equal(copy_parse(&sqe, &cmd, &nr), 0);
	assert_int_equal(nr, 2);
	cmd.length = 63;
	assert_int_equal(copy_parse(&sqe, &cmd, &nr), NVME_SC_SGL_INVALID_DATA | DNR);
	sqe.cdw12 = htole32(1 | 1 << 8); /* format */
	assert_int_equal(copy_parse(&sqe, &cmd, &nr), NVME_SC_INVALID_FIELD | DNR);
	sqe.cdw12 = htole32(NVME_COPY_MAX_RANGES);
	assert_int_equal(copy_parse(&sqe, &cmd, &nr), NVME_SC_CMD_SIZE_LIMIT | DNR);
	assert_int_equal(copy_parse_sources(&sqe, wire, 2, &most, sources, &to), 0);
	assert_int_equal(to.offset, KIB(32));
	assert_int_equal(to.length, KIB(24));
	assert_int_equal(sources[1].offset, KIB(20));
	wire[0].blocks = htole16(32);
	assert_int_equal(copy_parse_sources(&sqe, wire, 2, &most, sources, &to),
			 NVME_SC_CMD_SIZE_LIMIT | DNR);
	wire[0].blocks = htole16(31);
	wire[1].blocks = htole16(16);
	assert_int_equal(copy_parse_sources(&sqe, wire, 2, &most, sources, &to),
			 NVME_SC_CMD_SIZE_LIMIT | DNR);
	wire[1] = (struct nvme_copy_range){.slba = htole64(64 + 47)};
	assert_int_equal(copy_parse_sources(&sqe, wire, 2, &most, sources, &to), 0);
	wire[1].slba = htole64(64 + 32);
	assert_int_equal(copy_parse_sources(&sqe, wire, 2, &most, sources, &to),
			 NVME_SC_OVERLAPPING_RANGE | DNR);
	wire[1].slba = htole64(2048);
	assert_int_equal(copy_parse_sources(&sqe, wire, 2, &most, sources, &to),
			 NVME_SC_LBA_RANGE | DNR);
	sqe.cdw10 = htole32(2047);
	wire[1].slba = htole64(40);
	assert_int_equal(copy_parse_sources(&sqe, wire, 2, &most, sources, &to),
			 NVME_SC_LBA_RANGE | DNR);
}

static void test_keyed_too_long(void **state)
{
	struct capsule_text c = capsule(NVME_IO_READ);
	struct command cmd;

	(void)state;
	nvme_keyed_sgl_set(&c.sqe.sgl, 0, MDTS, 1, NVME_SGL_ADDRESS);
	assert_int_equal(parse(&c, 0, &cmd), 0);
	nvme_keyed_sgl_set(&c.sqe.sgl, 0, MDTS + 1, 1, NVME_SGL_ADDRESS);
	assert_int_equal(parse(&c, 0, &cmd), NVME_SC_INVALID_FIELD | DNR);
	nvme_keyed_sgl_set(&c.sqe.sgl, 0, 0xffffff, 1, NVME_SGL_ADDRESS);
	assert_int_equal(parse(&c, 0, &cmd), NVME_SC_INVALID_FIELD | DNR);
	nvme_keyed_sgl_set(&c.sqe.sgl, UINT64_MAX - 10, 4096, 1, NVME_SGL_ADDRESS);
	assert_int_equal(parse(&c, 0, &cmd), NVME_SC_SGL_INVALID_DATA | DNR);
}

static void test_in_capsule(void **state)
{
	struct capsule_text c = capsule(NVME_IO_WRITE);
	struct command cmd;

	(void)state;
	nvme_offset_sgl_set(&c.sqe.sgl, 0, 512);
	assert_int_equal(parse(&c, 512, &cmd), 0);
	assert_int_equal(cmd.data, COMMAND_IN_CAPSULE);
	assert_int_equal(cmd.capsule_offset, 64);
	nvme_offset_sgl_set(&c.sqe.sgl, 3584, 512);
	assert_int_equal(parse(&c, INLINE, &cmd), 0);
	assert_int_equal(cmd.capsule_offset, 64 + 3584);
	/* Beyond what came, and beyond everything. */
	nvme_offset_sgl_set(&c.sqe.sgl, 0, 513);
	assert_int_equal(parse(&c, 512, &cmd), NVME_SC_SGL_OFFSET_INVALID | DNR);
	nvme_offset_sgl_set(&c.sqe.sgl, 1, 512);
	assert_int_equal(parse(&c, 512, &cmd), NVME_SC_SGL_OFFSET_INVALID | DNR);
	nvme_offset_sgl_set(&c.sqe.sgl, UINT64_MAX, 2);
	assert_int_equal(parse(&c, 512, &cmd), NVME_SC_SGL_OFFSET_INVALID | DNR);
	nvme_offset_sgl_set(&c.sqe.sgl, 8, UINT32_MAX);
	assert_int_equal(parse(&c, 512, &cmd), NVME_SC_SGL_OFFSET_INVALID | DNR);
	/* A capsule carries nothing towards the host. */
	c.sqe.opcode = NVME_IO_READ;
	nvme_offset_sgl_set(&c.sqe.sgl, 0, 512);
	assert_int_equal(parse(&c, 512, &cmd), NVME_SC_SGL_INVALID_TYPE | DNR);
}

static void test_direction(void **state)
{
	struct capsule_text c = capsule(0x03);
	struct command cmd;

	(void)state;
	assert_int_equal(parse(&c, 0, &cmd), NVME_SC_INVALID_OPCODE | DNR);
	c = capsule(NVME_FABRICS);
	c.sqe.nsid = htole32(NVMF_CONNECT);
	nvme_offset_sgl_set(&c.sqe.sgl, 0, 1024);
	assert_int_equal(parse(&c, 1024, &cmd), 0);
	assert_int_equal(cmd.fctype, NVMF_CONNECT);
	assert_int_equal(cmd.direction, DIRECTION_FROM_HOST);
	assert_int_equal(cmd.nsid, 0);
	/* The namespace is checked where namespaces are known: 0 and broadcast pass here. */
	c = capsule(NVME_IO_READ);
	c.sqe.nsid = htole32(NVME_NSID_ALL);
	assert_int_equal(parse(&c, 0, &cmd), 0);
	assert_int_equal(cmd.nsid, NVME_NSID_ALL);
}

/* ---- Read and Write --------------------------------------------------------------------------- */

static uint16_t range_of(uint64_t slba, uint32_t cdw12, uint32_t length, uint64_t size,
			 struct command_range *range)
{
	struct nvme_command sqe = {.cdw10 = htole32((uint32_t)slba),
				   .cdw11 = htole32((uint32_t)(slba >> 32)),
				   .cdw12 = htole32(cdw12)};
	struct command command = {.length = length, .data = COMMAND_KEYED};

	return command_parse_range(&sqe, &command, 512, size, MDTS, range);
}

static void test_ranges(void **state)
{
	struct command_range r;

	(void)state;
	assert_int_equal(range_of(2, 7 | NVME_RW_FUA, 4096, 8192, &r), 0);
	assert_int_equal(r.offset, 1024);
	assert_int_equal(r.length, 4096);
	assert_true(r.fua);
	assert_int_equal(range_of(15, 0, 512, 8192, &r), 0);
	assert_int_equal(range_of(15, 1, 1024, 8192, &r), NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(range_of(16, 0, 512, 8192, &r), NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(range_of(UINT64_MAX, 0, 512, 8192, &r), NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(range_of(1ull << 55, 0, 512, 8192, &r), NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(range_of(0, 0, 512, 0, &r), NVME_SC_LBA_RANGE | DNR);
	/* A size that is no multiple of the block: the rest is not there. */
	assert_int_equal(range_of(1, 0, 512, 1023, &r), NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(range_of(0, 7, 512, 8192, &r), NVME_SC_SGL_INVALID_DATA | DNR);
	assert_int_equal(range_of(0, 7, 0, 8192, &r), NVME_SC_SGL_INVALID_DATA | DNR);
	assert_int_equal(range_of(0, 2047, MDTS, MDTS, &r), 0);
	assert_int_equal(range_of(0, 2048, MDTS, 2ull * MDTS, &r), NVME_SC_INVALID_FIELD | DNR);
}

/* ---- Connect ---------------------------------------------------------------------------------- */

static const struct connect_limits connect_limits = {
	.cm_qid = 1, .receives = 32, .max_io_queues = 4, .max_entries = 128};

static uint16_t connect_command(uint16_t recfmt, uint16_t qid, uint16_t sqsize, uint32_t length,
				uint32_t *dw0)
{
	struct nvmf_connect_command sqe = {.recfmt = htole16(recfmt),
					   .qid = htole16(qid),
					   .sqsize = htole16(sqsize),
					   .cattr = NVMF_CATTR_DISABLE_SQFLOW,
					   .kato_ms = htole32(1000)};
	struct connect_limits l = connect_limits;
	struct command command = {.length = length};
	struct connect connect;
	uint16_t status;

	if (qid == 0)
		l.cm_qid = 0;
	status = connect_parse_command(&sqe, &command, &l, &connect, dw0);
	if (!status) {
		assert_int_equal(connect.entries, sqsize + 1);
		assert_true(connect.sq_flow_off);
		assert_int_equal(connect.kato_ms, qid == 0 ? 1000 : 0);
	}
	return status;
}

static void test_connect_command(void **state)
{
	const uint16_t invalid = NVME_SC_CONNECT_INVALID_PARAM | DNR;
	uint32_t dw0;

	(void)state;
	assert_int_equal(connect_command(0, 1, 31, 1024, &dw0), 0);
	assert_int_equal(connect_command(0, 0, 31, 1024, &dw0), 0);
	assert_int_equal(connect_command(1, 1, 31, 1024, &dw0), NVME_SC_CONNECT_FORMAT | DNR);
	assert_int_equal(connect_command(0, 1, 31, 1023, &dw0), NVME_SC_SGL_INVALID_DATA | DNR);
	assert_int_equal(connect_command(0, 1, 31, 0, &dw0), NVME_SC_SGL_INVALID_DATA | DNR);
	/* Not what the connection request said. */
	assert_int_equal(connect_command(0, 2, 31, 1024, &dw0), invalid);
	assert_int_equal(dw0, 42);
	assert_int_equal(connect_command(0, 1, 0, 1024, &dw0), invalid);
	assert_int_equal(dw0, 44);
	/* More than the receives that are posted. */
	assert_int_equal(connect_command(0, 1, 32, 1024, &dw0), invalid);
	assert_int_equal(connect_command(0, 1, 0xffff, 1024, &dw0), invalid);
}

static struct nvmf_connect_data connect_data(uint16_t cntlid)
{
	struct nvmf_connect_data d = {.cntlid = htole16(cntlid)};

	strcpy(d.subnqn, "nqn.2026-11.org.leasehold:target");
	strcpy(d.hostnqn, "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-0000-0000-000000000001");
	return d;
}

static void test_connect_data(void **state)
{
	const uint16_t invalid = NVME_SC_CONNECT_INVALID_PARAM | DNR;
	struct nvmf_connect_data d = connect_data(NVME_CNTLID_DYNAMIC);
	struct connect admin = {.qid = 0}, io = {.qid = 1};
	uint32_t dw0;

	(void)state;
	assert_int_equal(connect_parse_data(&d, &admin, &dw0), 0);
	assert_int_equal(connect_parse_data(&d, &io, &dw0), invalid);
	assert_int_equal(dw0, 1u << 16 | 16);
	d = connect_data(3);
	assert_int_equal(connect_parse_data(&d, &io, &dw0), 0);
	assert_int_equal(io.cntlid, 3);
	assert_int_equal(connect_parse_data(&d, &admin, &dw0), invalid);
	d = connect_data(3);
	memset(d.subnqn, 'x', sizeof(d.subnqn));
	assert_int_equal(connect_parse_data(&d, &io, &dw0), invalid);
	assert_int_equal(dw0, 1u << 16 | 256);
	d = connect_data(3);
	strcat(d.hostnqn, "\xc2\x9b"); /* C1 */
	assert_int_equal(connect_parse_data(&d, &io, &dw0), invalid);
	assert_int_equal(dw0, 1u << 16 | 512);
	d = connect_data(3);
	strcat(d.hostnqn, "\xc3\xa9");
	assert_int_equal(connect_parse_data(&d, &io, &dw0), 0);
	d = connect_data(3);
	memset(d.hostnqn, 0, sizeof(d.hostnqn));
	assert_int_equal(connect_parse_data(&d, &io, &dw0), invalid);
	assert_int_equal(dw0, 1u << 16 | 512);
	d = connect_data(3);
	memset(d.hostnqn + 4, '1', sizeof(d.hostnqn) - 4); /* no NUL */
	assert_int_equal(connect_parse_data(&d, &io, &dw0), invalid);
}

/* ---- connection requests ---------------------------------------------------------------------- */

static uint16_t cm_nvme(uint16_t recfmt, uint16_t qid, uint16_t hrqsize, uint16_t hsqsize,
			size_t length, struct cm_request *r)
{
	uint8_t data[56] = {0};
	struct nvmf_rdma_cm_request wire = {.recfmt = htole16(recfmt),
					    .qid = htole16(qid),
					    .hrqsize = htole16(hrqsize),
					    .hsqsize = htole16(hsqsize),
					    .cntlid = htole16(9)};

	memcpy(data, &wire, sizeof(wire));
	return cm_request_parse(data, length, r);
}

static void test_cm_request(void **state)
{
	struct cm_request r;

	(void)state;
	assert_int_equal(cm_nvme(0, 3, 32, 31, 32, &r), 0);
	assert_false(r.direct);
	assert_int_equal(r.qid, 3);
	assert_int_equal(r.sqsize, 32);
	assert_int_equal(cm_nvme(0, 3, 32, 31, 56, &r), 0);
	assert_int_equal(cm_nvme(0, 3, 32, 31, 31, &r), NVMF_RDMA_CM_INVALID_LEN);
	assert_int_equal(cm_nvme(0, 3, 32, 31, 0, &r), NVMF_RDMA_CM_INVALID_LEN);
	assert_int_equal(cm_nvme(1, 3, 32, 31, 32, &r), NVMF_RDMA_CM_INVALID_RECFMT);
	assert_int_equal(cm_nvme(0, 3, 32, 0, 32, &r), NVMF_RDMA_CM_INVALID_HSQSIZE);
	assert_int_equal(cm_nvme(0, 3, 32, 0xffff, 32, &r), NVMF_RDMA_CM_INVALID_HSQSIZE);
	assert_int_equal(cm_nvme(0, 3, 0, 31, 32, &r), NVMF_RDMA_CM_INVALID_HRQSIZE);
}

static void test_cm_direct(void **state)
{
	struct lh_cm_request wire = {.recfmt = htole16(LH_CM_RECFMT),
				     .version = htole16(LH_PROTOCOL_VERSION),
				     .cntlid = htole16(4),
				     .credits = htole16(16),
				     .token = {1, 2, 3}};
	struct cm_request r;

	(void)state;
	assert_int_equal(cm_request_parse((const uint8_t *)&wire, sizeof(wire), &r), 0);
	assert_true(r.direct);
	assert_int_equal(r.cntlid, 4);
	assert_int_equal(r.credits, 16);
	assert_memory_equal(r.token, wire.token, sizeof(wire.token));
	assert_int_equal(cm_request_parse((const uint8_t *)&wire, 31, &r), LH_CM_BAD_FORMAT);
	assert_true(r.direct);
	wire.version = htole16(2);
	assert_int_equal(cm_request_parse((const uint8_t *)&wire, sizeof(wire), &r),
			 LH_CM_BAD_VERSION);
	wire.version = htole16(LH_PROTOCOL_VERSION);
	wire.credits = htole16(1);
	assert_int_equal(cm_request_parse((const uint8_t *)&wire, sizeof(wire), &r),
			 LH_CM_BAD_FORMAT);
}

/* ---- log pages, wants, messages --------------------------------------------------------------- */

static void test_log_part(void **state)
{
	struct nvme_command sqe = {.cdw10 = htole32(LH_LOG_EXPORTS | 1u << 15 | 1023u << 16),
				   .cdw12 = htole32(4096),
				   .cdw13 = htole32(1)};
	struct command command = {.length = 4096};
	struct log_part part;

	(void)state;
	assert_int_equal(log_part_parse(&sqe, &command, &part), 0);
	assert_int_equal(part.page, LH_LOG_EXPORTS);
	assert_true(part.retain);
	assert_int_equal(part.offset, (1ull << 32) + 4096);
	assert_int_equal(part.length, 4096);
	command.length = 4092;
	assert_int_equal(log_part_parse(&sqe, &command, &part), NVME_SC_SGL_INVALID_DATA | DNR);
	sqe.cdw12 = htole32(2);
	assert_int_equal(log_part_parse(&sqe, &command, &part), NVME_SC_INVALID_FIELD | DNR);
	sqe.cdw12 = 0;
	sqe.cdw10 = htole32(0xffff0000);
	sqe.cdw11 = htole32(0xffff);
	assert_int_equal(log_part_parse(&sqe, &command, &part), NVME_SC_SGL_INVALID_DATA | DNR);
}

static void test_wants(void **state)
{
	struct lh_admin_command sqe = {.opcode = LH_ADMIN_ACQUIRE,
				       .access_flags = htole16(LH_GRANT_READ),
				       .offset = htole64(4096),
				       .length = htole64(8192)};
	struct direct_want want;

	(void)state;
	assert_int_equal(direct_want_parse(&sqe, &want), 0);
	assert_int_equal(want.offset, 4096);
	sqe.access_flags = htole16(LH_ACQUIRE_ALLOCATE);
	assert_int_equal(direct_want_parse(&sqe, &want), NVME_SC_INVALID_FIELD | DNR);
	sqe.access_flags = htole16(0x8001);
	assert_int_equal(direct_want_parse(&sqe, &want), NVME_SC_INVALID_FIELD | DNR);
	sqe.access_flags = htole16(LH_GRANT_WRITE);
	sqe.offset = htole64(4095);
	assert_int_equal(direct_want_parse(&sqe, &want), NVME_SC_INVALID_FIELD | DNR);
	sqe.offset = htole64(UINT64_MAX - 4095);
	sqe.length = htole64(8192);
	assert_int_equal(direct_want_parse(&sqe, &want), NVME_SC_LBA_RANGE | DNR);
	sqe.opcode = LH_ADMIN_RELEASE;
	sqe.offset = 0;
	sqe.length = htole64(UINT64_MAX);
	assert_int_equal(direct_want_parse(&sqe, &want), 0);
	assert_int_equal(want.length, UINT64_MAX);
	/* Of a part the end is that of a page, or the very end; a token is none of its fields. */
	sqe.opcode = LH_ADMIN_RELEASE_PART;
	sqe.token[0] = 1;
	assert_int_equal(direct_want_parse(&sqe, &want), 0);
	assert_int_equal(want.length, UINT64_MAX);
	assert_false(want.by_token);
	sqe.length = htole64(8191);
	assert_int_equal(direct_want_parse(&sqe, &want), NVME_SC_INVALID_FIELD | DNR);
	sqe.length = htole64(8192);
	assert_int_equal(direct_want_parse(&sqe, &want), 0);
	assert_int_equal(want.length, 8192);
}

static void test_messages(void **state)
{
	uint8_t data[LH_MSG_MAX_BYTES + 16] = {0};
	struct lh_msg_commit *commit = (struct lh_msg_commit *)data;
	struct direct_message m;
	uint32_t bytes = sizeof(*commit) + 2 * sizeof(commit->ranges[0]);

	(void)state;
	commit->header.type = htole16(LH_MSG_COMMIT);
	commit->header.length = htole32(bytes);
	commit->header.tag = htole64(77);
	commit->count = htole32(2);
	assert_int_equal(direct_message_parse(data, bytes, &m), 0);
	assert_int_equal(m.count, 2);
	assert_int_equal(m.tag, 77);
	assert_int_equal(direct_message_parse(data, bytes - 1, &m), -EPROTO);
	assert_int_equal(direct_message_parse(data, 23, &m), -EPROTO);
	assert_int_equal(direct_message_parse(data, 0, &m), -EPROTO);
	commit->count = htole32(3);
	assert_int_equal(direct_message_parse(data, bytes, &m), -EPROTO);
	commit->count = htole32(UINT32_MAX);
	assert_int_equal(direct_message_parse(data, bytes, &m), -EPROTO);
	commit->header.length = htole32(sizeof(commit->header));
	assert_int_equal(direct_message_parse(data, sizeof(commit->header), &m), -EPROTO);
	commit->header.type = htole16(LH_MSG_HELLO);
	assert_int_equal(direct_message_parse(data, sizeof(commit->header), &m), 0);
	commit->header.type = htole16(LH_MSG_RECALL); /* a target's */
	assert_int_equal(direct_message_parse(data, sizeof(commit->header), &m), -EPROTO);
	commit->header.type = htole16(99);
	assert_int_equal(direct_message_parse(data, sizeof(commit->header), &m), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capsule_sizes),
		cmocka_unit_test(test_good_keyed),
		cmocka_unit_test(test_no_data),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_sgl_types),
		cmocka_unit_test(test_fuse),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_dsm),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_keyed_too_long),
		cmocka_unit_test(test_in_capsule),
		cmocka_unit_test(test_direction),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_connect_command),
		cmocka_unit_test(test_connect_data),
		cmocka_unit_test(test_cm_request),
		cmocka_unit_test(test_cm_direct),
		cmocka_unit_test(test_log_part),
		cmocka_unit_test(test_wants),
		cmocka_unit_test(test_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
