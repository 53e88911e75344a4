// SPDX-License-Identifier: BSD-3-Clause
/* Bad forms of I/O commands, their lists, their limits, and pairs that are none. */
#include "bad_forms.h"

#include "iwarp/iwarp.h"
#include "util/log.h"

static const struct row io_rows[] = {
	{"one block too long",
	 IO,
	 NVME_IO_READ,
	 {{SGL_LENGTH, 3, 1536}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"odd",
	 IO,
	 NVME_IO_READ,
	 {{SGL_LENGTH, 3, 1023}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"no data",
	 IO,
	 NVME_IO_READ,
	 {{SGL_LENGTH, 3, 0}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"no data",
	 IO,
	 NVME_IO_WRITE,
	 {{SGL_LENGTH, 3, 0}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"no data",
	 IO,
	 NVME_IO_COMPARE,
	 {{SGL_LENGTH, 3, 0}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"more than MDTS",
	 IO,
	 NVME_IO_READ,
	 {{CDW12, 4, MIB(1) / 512}},
	 NVME_SC_INVALID_FIELD | DNR,
	 48},
	{"65,536 blocks", IO, NVME_IO_WRITE, {{CDW12, 4, 0xffff}}, NVME_SC_INVALID_FIELD | DNR, 48},
	{"data beyond MDTS",
	 IO,
	 NVME_IO_WRITE,
	 {{SGL_LENGTH, 3, 0xffffff}},
	 NVME_SC_INVALID_FIELD | DNR,
	 SGL_LENGTH},
	{"an address that wraps",
	 IO,
	 NVME_IO_READ,
	 {{24, 8, UINT64_MAX - 511}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"data to the host in the capsule",
	 IO,
	 NVME_IO_READ,
	 {{SGL_TYPE, 1, 0x01}},
	 NVME_SC_SGL_INVALID_TYPE | DNR,
	 SGL_TYPE},
	{"data that is not in the capsule",
	 IO,
	 NVME_IO_WRITE,
	 {{24, 8, 0}, {SGL_LENGTH, 7, 1024}, {SGL_TYPE, 1, 0x01}},
	 NVME_SC_SGL_OFFSET_INVALID | DNR,
	 24},
	{"an offset that wraps",
	 IO,
	 NVME_IO_WRITE,
	 {{24, 8, UINT64_MAX}, {SGL_LENGTH, 7, 1024}, {SGL_TYPE, 1, 0x01}},
	 NVME_SC_SGL_OFFSET_INVALID | DNR,
	 24},
	{"all namespaces",
	 IO,
	 NVME_IO_FLUSH,
	 {{NSID, 4, NVME_NSID_ALL}},
	 NVME_SC_INVALID_NS | DNR,
	 4},
	{"no namespace", IO, NVME_IO_FLUSH, {{NSID, 4, 0}}, NVME_SC_INVALID_NS | DNR, 4},
	{"no namespace", IO, NVME_IO_DSM, {{NSID, 4, 0}}, NVME_SC_INVALID_NS | DNR, 4},
	{"all namespaces",
	 IO,
	 NVME_IO_DSM,
	 {{NSID, 4, NVME_NSID_ALL}},
	 NVME_SC_INVALID_NS | DNR,
	 4},
	{"fewer ranges than it says",
	 IO,
	 NVME_IO_DSM,
	 {{CDW10, 4, 2}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"256 ranges",
	 IO,
	 NVME_IO_DSM,
	 {{CDW10, 4, 255}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"more than 256 ranges",
	 IO,
	 NVME_IO_DSM,
	 {{SGL_LENGTH, 3, 4097}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"no data",
	 IO,
	 NVME_IO_DSM,
	 {{SGL_LENGTH, 3, 0}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"no namespace", IO, NVME_IO_COPY, {{NSID, 4, 0}}, NVME_SC_INVALID_NS | DNR, 4},
	{"format 1", IO, NVME_IO_COPY, {{CDW12, 4, 1u << 8 | 1}}, NVME_SC_INVALID_FIELD | DNR, 49},
	{"format 15",
	 IO,
	 NVME_IO_COPY,
	 {{CDW12, 4, 15u << 8 | 1}},
	 NVME_SC_INVALID_FIELD | DNR,
	 49},
	{"a directive",
	 IO,
	 NVME_IO_COPY,
	 {{CDW12, 4, 1u << 20 | 1}},
	 NVME_SC_INVALID_FIELD | DNR,
	 BIT(50, 4)},
	{"17 ranges", IO, NVME_IO_COPY, {{CDW12, 4, 16}}, NVME_SC_CMD_SIZE_LIMIT | DNR, 48},
	{"256 ranges", IO, NVME_IO_COPY, {{CDW12, 4, 255}}, NVME_SC_CMD_SIZE_LIMIT | DNR, 48},
	{"fewer ranges than it says",
	 IO,
	 NVME_IO_COPY,
	 {{CDW12, 4, 2}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"no data",
	 IO,
	 NVME_IO_COPY,
	 {{SGL_LENGTH, 3, 0}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"to behind the end",
	 IO,
	 NVME_IO_COPY,
	 {{CDW10, 4, BLOCKS - 1}},
	 NVME_SC_LBA_RANGE | DNR,
	 40},
	{"a short key",
	 IO,
	 NVME_IO_RESV_REGISTER,
	 {{SGL_LENGTH, 3, 15}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"no data",
	 IO,
	 NVME_IO_RESV_REGISTER,
	 {{SGL_LENGTH, 3, 0}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"action 3", IO, NVME_IO_RESV_REGISTER, {{CDW10, 4, 3}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"CPTPL 1",
	 IO,
	 NVME_IO_RESV_REGISTER,
	 {{CDW10, 4, 1u << 30}},
	 NVME_SC_INVALID_FIELD | DNR,
	 BIT(43, 6)},
	{"no key",
	 IO,
	 NVME_IO_RESV_ACQUIRE,
	 {{SGL_LENGTH, 3, 0}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"one key",
	 IO,
	 NVME_IO_RESV_ACQUIRE,
	 {{SGL_LENGTH, 3, 8}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"three keys",
	 IO,
	 NVME_IO_RESV_ACQUIRE,
	 {{SGL_LENGTH, 3, 24}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"both keys and more",
	 IO,
	 NVME_IO_RESV_ACQUIRE,
	 {{SGL_LENGTH, 3, 17}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"action 3",
	 IO,
	 NVME_IO_RESV_ACQUIRE,
	 {{CDW10, 4, 0x103}},
	 NVME_SC_INVALID_FIELD | DNR,
	 40},
	{"ignores the key",
	 IO,
	 NVME_IO_RESV_ACQUIRE,
	 {{CDW10, 4, 0x108}},
	 NVME_SC_INVALID_FIELD | DNR,
	 BIT(40, 3)},
	{"type 0", IO, NVME_IO_RESV_ACQUIRE, {{CDW10, 4, 0}}, NVME_SC_INVALID_FIELD | DNR, 41},
	{"type 7", IO, NVME_IO_RESV_ACQUIRE, {{CDW10, 4, 0x700}}, NVME_SC_INVALID_FIELD | DNR, 41},
	{"no key",
	 IO,
	 NVME_IO_RESV_RELEASE,
	 {{SGL_LENGTH, 3, 0}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"half a key",
	 IO,
	 NVME_IO_RESV_RELEASE,
	 {{SGL_LENGTH, 3, 4}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"two keys",
	 IO,
	 NVME_IO_RESV_RELEASE,
	 {{SGL_LENGTH, 3, 16}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"action 2",
	 IO,
	 NVME_IO_RESV_RELEASE,
	 {{CDW10, 4, 0x102}},
	 NVME_SC_INVALID_FIELD | DNR,
	 40},
	{"ignores the key",
	 IO,
	 NVME_IO_RESV_RELEASE,
	 {{CDW10, 4, 0x108}},
	 NVME_SC_INVALID_FIELD | DNR,
	 BIT(40, 3)},
	{"short identifiers",
	 IO,
	 NVME_IO_RESV_REPORT,
	 {{CDW11, 4, 0}},
	 NVME_SC_HOSTID_INCONSISTENT | DNR,
	 CDW11},
	{"more than MDTS",
	 IO,
	 NVME_IO_RESV_REPORT,
	 {{CDW10, 4, UINT32_MAX}},
	 NVME_SC_INVALID_FIELD | DNR,
	 40},
	{"not what it says",
	 IO,
	 NVME_IO_RESV_REPORT,
	 {{CDW10, 4, 16}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"to where it comes from",
	 IO,
	 NVME_IO_COPY,
	 {{CDW10, 4, 4 + 251 * 8 + 1}},
	 NVME_SC_OVERLAPPING_RANGE | DNR,
	 NOWHERE},
};

static void test_io(void **state)
{
	static const uint8_t ranged[] = {NVME_IO_READ, NVME_IO_WRITE, NVME_IO_COMPARE,
					 NVME_IO_WRITE_ZEROES, NVME_IO_VERIFY};
	static const uint8_t reservations[] = {NVME_IO_RESV_REGISTER, NVME_IO_RESV_ACQUIRE,
					       NVME_IO_RESV_RELEASE, NVME_IO_RESV_REPORT};
	static const uint32_t nsids[] = {0, 1025, NVME_NSID_ALL};
	static const struct {
		const char *what;
		struct edit edit;
		uint16_t status, location;
	} all[] = {
		{"no namespace", {NSID, 4, 0}, NVME_SC_INVALID_NS | DNR, 4},
		{"all namespaces", {NSID, 4, NVME_NSID_ALL}, NVME_SC_INVALID_NS | DNR, 4},
		{"a namespace beyond NN", {NSID, 4, 1025}, NVME_SC_INVALID_NS | DNR, 4},
		{"a directive", {CDW12, 4, 1u << 20 | 1}, NVME_SC_INVALID_FIELD | DNR, BIT(50, 4)},
		{"one block too far", {CDW10, 4, BLOCKS - 1}, NVME_SC_LBA_RANGE | DNR, 40},
		{"behind the end", {CDW10, 4, BLOCKS}, NVME_SC_LBA_RANGE | DNR, 40},
		{"far behind", {CDW11, 4, 1}, NVME_SC_LBA_RANGE | DNR, 40},
		{"a range that wraps", {CDW10, 8, UINT64_MAX}, NVME_SC_LBA_RANGE | DNR, 40},
		{"a byte offset that wraps",
		 {CDW10, 8, UINT64_MAX / 512 + 5},
		 NVME_SC_LBA_RANGE | DNR,
		 40},
	};
	static const uint8_t absent[] = {NVME_IO_WRITE_UNCORRECTABLE,
					 0x03,
					 0x07,
					 0x12,
					 0x1d,
					 0x40,
					 0x79,
					 0x7d,
					 0x80,
					 0x81,
					 0xfe,
					 0xff};

	(void)state;
	forms_up();
	for (size_t i = 0; i < ARRAY_SIZE(ranged); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(all); j++) {
			struct row row = {all[j].what, IO, ranged[i], {all[j].edit}};

			row.status = all[j].status;
			row.location = all[j].location;
			if (ranged[i] == NVME_IO_WRITE_ZEROES) {
				try_row(&row);
				continue;
			}
			try_rows(&row, 1);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(reservations); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(nsids); j++) {
			const struct row row = {"a namespace that is none",
						IO,
						reservations[i],
						{{NSID, 4, nsids[j]}},
						NVME_SC_INVALID_NS | DNR,
						4};

			try_rows(&row, 1);
		}
	}
	try_rows(io_rows, ARRAY_SIZE(io_rows));
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		struct row row = {"no such command", IO, absent[i]};

		row.status = NVME_SC_INVALID_OPCODE | DNR;
		row.location = 0;
		try_row(&row);
	}
	forms_down();
}

/* What is wrong lies in the data: no field of the command is. */
static void test_lists(void **state)
{
	const struct row bad_dsm = {
		"a range", IO, NVME_IO_DSM, {{NSID, 4, RIG_NSID}}, NVME_SC_LBA_RANGE | DNR,
		NOWHERE};
	struct row bad_copy = {
		"a source", IO, NVME_IO_COPY, {{NSID, 4, RIG_NSID}}, NVME_SC_LBA_RANGE | DNR,
		NOWHERE};
	const uint64_t slbas[] = {BLOCKS, UINT64_MAX, UINT64_MAX / 512 + 2};

	(void)state;
	forms_up();
	for (size_t i = 0; i < ARRAY_SIZE(slbas); i++) {
		dsm_ranges[1].slba = copy_ranges[1].slba = htole64(slbas[i]);
		try_row(&bad_dsm);
		try_row(&bad_copy);
	}
	dsm_ranges[1].slba = htole64(1);
	dsm_ranges[1].blocks = htole32(UINT32_MAX);
	try_row(&bad_dsm);
	make_good();
	copy_ranges[1].slba = htole64(BLOCKS - 1);
	copy_ranges[1].blocks = htole16(1);
	try_row(&bad_copy);
	/* 8 MiB and a block. */
	copy_ranges[1].slba = 0;
	copy_ranges[1].blocks = htole16(16384);
	bad_copy.status = NVME_SC_CMD_SIZE_LIMIT | DNR;
	try_row(&bad_copy);
	make_good();
	forms_down();
}

/* At the edge, and still good; and bits that mean nothing here, since there is no metadata. */
static void test_limits(void **state)
{
	static const uint8_t opcodes[] = {NVME_IO_COMPARE, NVME_IO_WRITE, NVME_IO_READ,
					  NVME_IO_COPY, NVME_IO_VERIFY};
	static const uint32_t ignored[] = {1u << 24,  1u << 26, 7u << 26, 1u << 29,
					   15u << 26, 1u << 30, 1u << 31};
	struct nvme_dsm_range ranges[256] = {0};
	struct nvme_copy_range sources[NVME_COPY_MAX_RANGES];
	struct nvme_command sqe;

	(void)state;
	forms_up();
	sqe = rig_blocks(NVME_IO_READ, 0, MIB(1) / 512);
	rig_keyed(&rig, &sqe, 0, MIB(1));
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	sqe = rig_blocks(NVME_IO_READ, BLOCKS - 1, 1);
	rig_keyed(&rig, &sqe, 0, 512);
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	assert_int_equal(rig.memory[0], fill_byte(RIG_BYTES - 512));
	sqe = rig_blocks(NVME_IO_VERIFY, 0, BLOCKS);
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	make_good();
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(opcodes); j++) {
			bool refused = opcodes[j] == NVME_IO_VERIFY && ignored[i] & NVME_RW_PRACT;

			sqe = good_io(opcodes[j]);
			sqe.cdw12 |= htole32(ignored[i]);
			assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0),
					 refused ? NVME_SC_INVALID_FIELD | DNR : 0);
		}
		/* Zeros, and what was there again. */
		sqe = rig_blocks(NVME_IO_WRITE_ZEROES, 4, 2);
		sqe.cdw12 |= htole32(ignored[i]);
		assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
		sqe = good_io(NVME_IO_WRITE);
		assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	}
	/* All the ranges there may be, of no blocks. */
	sqe = good_io(NVME_IO_DSM);
	sqe.cdw10 = htole32(255);
	memcpy(rig.memory + LIST_AT, ranges, sizeof(ranges));
	rig_keyed(&rig, &sqe, LIST_AT, sizeof(ranges));
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	/* Attributes that are hints, on a range that is not there: not looked at. */
	sqe.cdw11 = htole32(3);
	memset(rig.memory + LIST_AT, 0xff, sizeof(ranges));
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	for (uint64_t i = 0; i < ARRAY_SIZE(sources); i++)
		sources[i] = (struct nvme_copy_range){.slba = htole64(251 * 8 + i)};
	sqe = good_io(NVME_IO_COPY);
	sqe.cdw10 = 0;
	sqe.cdw12 = htole32(ARRAY_SIZE(sources) - 1);
	memcpy(rig.memory + LIST_AT, sources, sizeof(sources));
	rig_keyed(&rig, &sqe, LIST_AT, sizeof(sources));
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	forms_down();
}

/* A pair is on one queue: each half alone misses the other. */
static void test_fused_apart(void **state)
{
	struct nvme_command first, second, flush = rig_command(NVME_IO_FLUSH);
	const struct nvmf_property_command get = {
		.opcode = NVME_FABRICS,
		.flags = NVME_FLAGS_SGL,
		.fctype = NVMF_PROPERTY_GET,
	};
	struct nvme_command property;
	unsigned int slot;

	(void)state;
	forms_up();
	memcpy(&property, &get, sizeof(property));
	nvme_keyed_sgl_set(&property.sgl, 0, 0, 0, NVME_SGL_ADDRESS);
	first = good_io(NVME_IO_COMPARE);
	first.flags |= 1;
	second = good_io(NVME_IO_WRITE);
	second.flags |= 2;
	slot = rig_send(rig.io[0], &first, NULL, 0);
	assert_int_equal(rig_do(rig.io[1], &second, NULL, 0), NVME_SC_FUSED_MISSING);
	assert_false(rig_answered(rig.io[0], slot));
	assert_int_equal(rig_do(rig.io[0], &flush, NULL, 0), 0);
	assert_int_equal(rig_answer(rig.io[0], slot), NVME_SC_FUSED_MISSING);
	/* Nor does what is no command at all come between them. */
	slot = rig_send(rig.io[0], &first, NULL, 0);
	flush.opcode = 0x7d;
	assert_int_equal(rig_do(rig.io[0], &flush, NULL, 0), NVME_SC_INVALID_OPCODE | DNR);
	assert_int_equal(rig_answer(rig.io[0], slot), NVME_SC_FUSED_MISSING);
	assert_int_equal(rig_do(rig.io[0], &second, NULL, 0), NVME_SC_FUSED_MISSING);
	/* A command of fabrics neither; the pair that comes after it is one. */
	slot = rig_send(rig.io[0], &first, NULL, 0);
	assert_int_equal(rig_do(rig.io[0], &property, NULL, 0), NVME_SC_INVALID_OPCODE | DNR);
	assert_int_equal(rig_answer(rig.io[0], slot), NVME_SC_FUSED_MISSING);
	assert_int_equal(rig_do(rig.io[0], &second, NULL, 0), NVME_SC_FUSED_MISSING);
	slot = rig_send(rig.io[0], &first, NULL, 0);
	assert_int_equal(rig_do(rig.io[0], &second, NULL, 0), 0);
	assert_int_equal(rig_answer(rig.io[0], slot), 0);
	forms_down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {leaks_test(test_io), leaks_test(test_lists),
					   leaks_test(test_limits), leaks_test(test_fused_apart)};

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
