// SPDX-License-Identifier: BSD-3-Clause
/*
 * A command capsule through the edge: what all commands share, then what each kind makes of it. What
 * passes must keep the promises of parse.h, on which everything further in relies.
 *
 * Input: one byte of settings, two bytes for the size of the namespace, then the capsule.
 */
#include "fuzz.h"
#include "nvme/parse.h"

#define SET_ADMIN	  0x01
#define SET_LBA_4096	  0x02
#define SET_NO_INVALIDATE 0x04
#define INLINE_BYTES	  4096u
#define MDTS_BYTES	  (1u << 20)

static void check_command(const struct command *c, uint32_t bytes)
{
	uint64_t sum = 0;

	assert(c->length <= MDTS_BYTES);
	switch (c->data) {
	case COMMAND_NO_DATA:
		assert(c->length == 0 && !c->invalidate);
		break;
	case COMMAND_IN_CAPSULE:
		assert(c->length > 0 && c->direction == DIRECTION_FROM_HOST);
		assert(c->capsule_offset >= sizeof(struct nvme_command) &&
		       range_ok(c->capsule_offset, c->length, bytes));
		break;
	case COMMAND_KEYED:
		assert(c->nr_keyed > 0 && c->nr_keyed <= NVME_MAX_KEYED);
		assert(c->direction != DIRECTION_NONE);
		for (unsigned int i = 0; i < c->nr_keyed; i++) {
			assert(c->keyed[i].length > 0);
			assert(c->keyed[i].address <= UINT64_MAX - c->keyed[i].length);
			sum += c->keyed[i].length;
		}
		assert(sum == c->length);
		break;
	}
}

static void check_range(const struct command_range *range, uint32_t lba, uint64_t size)
{
	assert(range->length > 0 && range->offset % lba == 0 && range->length % lba == 0);
	assert(range_ok(range->offset, range->length, size));
}

static void try_blocks(const struct nvme_command *sqe, const struct command *c, uint32_t lba,
		       uint64_t size)
{
	struct command_range range;

	if (command_parse_range(sqe, c, lba, size, MDTS_BYTES, &range) == 0) {
		check_range(&range, lba, size);
		assert(range.length == c->length);
	}
	if (command_parse_blocks(sqe, lba, size, &range) == 0)
		check_range(&range, lba, size);
}

static void try_lists(const struct nvme_command *sqe, const struct command *c, uint32_t lba,
		      uint64_t size)
{
	struct export_range ranges[NVME_DSM_MAX_RANGES];
	struct copy_limits limits = {lba, size, MIB(8), MIB(64)};
	const uint8_t *data = (const uint8_t *)sqe + c->capsule_offset;
	struct command_range to;
	unsigned int nr, n;
	bool deallocate;

	if (c->data != COMMAND_IN_CAPSULE)
		return;
	if (dsm_parse(sqe, c, &deallocate, &nr) == 0) {
		assert(nr * sizeof(struct nvme_dsm_range) <= c->length);
		if (dsm_parse_ranges(data, nr, lba, size, KIB(4), ranges, &n) == 0) {
			assert(n <= nr);
			for (unsigned int i = 0; i < n; i++)
				assert(ranges[i].length > 0 && ranges[i].offset % KIB(4) == 0 &&
				       range_ok(ranges[i].offset, ranges[i].length, size));
		}
	}
	if (copy_parse(sqe, c, &nr) == 0) {
		assert(nr <= NVME_COPY_MAX_RANGES &&
		       nr * sizeof(struct nvme_copy_range) <= c->length);
		if (copy_parse_sources(sqe, data, nr, &limits, ranges, &to) == 0) {
			check_range(&to, lba, size);
			for (unsigned int i = 0; i < nr; i++)
				assert(range_ok(ranges[i].offset, ranges[i].length, size));
		}
	}
}

static void try_reservation(const struct nvme_command *sqe, const struct command *c)
{
	struct resv_event event;

	switch (c->opcode) {
	case NVME_IO_RESV_REGISTER:
	case NVME_IO_RESV_ACQUIRE:
	case NVME_IO_RESV_RELEASE:
		if (resv_parse_command(sqe, c, &event) == 0 && c->data == COMMAND_IN_CAPSULE)
			resv_parse_data((const uint8_t *)sqe + c->capsule_offset, &event);
		break;
	case NVME_IO_RESV_REPORT:
		if (resv_parse_report(sqe, c, MDTS_BYTES) == 0)
			assert(c->length <= MDTS_BYTES && c->data == COMMAND_KEYED);
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t set = fuzz_byte(&in);
	uint64_t bytes_there = (uint64_t)fuzz_u16(&in) * KIB(64);
	uint32_t lba = set & SET_LBA_4096 ? 4096 : 512, bytes = (uint32_t)in.left;
	const struct capsule_limits limits = {
		.inline_bytes = INLINE_BYTES,
		.mdts_bytes = MDTS_BYTES,
		.admin = (set & SET_ADMIN) != 0,
		.no_invalidate = (set & SET_NO_INVALIDATE) != 0,
	};
	struct log_part part;
	struct command c;
	void *capsule;

	if (!capsule_size_ok(bytes, &limits))
		return 0;
	capsule = fuzz_copy(in.data, in.left);
	if (command_parse(capsule, bytes, &limits, &c) == 0) {
		check_command(&c, bytes);
		assert(!limits.no_invalidate || !c.invalidate);
		assert(!limits.admin || c.fuse == FUSE_NONE);
		try_blocks(capsule, &c, lba, bytes_there);
		try_lists(capsule, &c, lba, bytes_there);
		try_reservation(capsule, &c);
		if (log_part_parse(capsule, &c, &part) == 0)
			assert(part.length == c.length && part.offset % 4 == 0);
	}
	free(capsule);
	return 0;
}
