// SPDX-License-Identifier: BSD-3-Clause
/* The edge, for I/O commands: block ranges, and the lists that Deallocate and Copy bring. Pure. */
#include "nvme/parse.h"

#include <string.h>

#define DTYPE_MASK  (0xfu << 20) /* cdw12: directives, of which there are none */
#define BYTE_FORMAT 49		 /* bits 11:8 of cdw12 */
#define BYTE_DTYPE  50
#define BIT_DTYPE   4
#define BYTE_PRACT  51
#define BIT_PRACT   5

static uint64_t slba_of(const struct nvme_command *sqe)
{
	return (uint64_t)le32toh(sqe->cdw11) << 32 | le32toh(sqe->cdw10);
}

uint32_t command_parse_blocks(const struct nvme_command *sqe, uint32_t lba_bytes,
			      uint64_t size_bytes, struct command_range *range)
{
	uint32_t cdw12 = le32toh(sqe->cdw12);
	uint64_t slba = slba_of(sqe), blocks = (cdw12 & 0xffff) + 1ull;

	if (cdw12 & DTYPE_MASK)
		return REFUSED_AT(NVME_SC_INVALID_FIELD, BYTE_DTYPE, BIT_DTYPE);
	if (!range_ok(slba, blocks, size_bytes / lba_bytes))
		return REFUSED_IN(NVME_SC_LBA_RANGE, cdw10);
	range->offset = slba * lba_bytes;
	range->length = (uint32_t)(blocks * lba_bytes);
	range->fua = (cdw12 & NVME_RW_FUA) != 0;
	range->deallocate = (cdw12 & NVME_WZ_DEAC) != 0;
	return NVME_SC_SUCCESS;
}

uint32_t verify_parse(const struct nvme_command *sqe, uint32_t lba_bytes, uint64_t size_bytes,
		      struct command_range *range)
{
	if (le32toh(sqe->cdw12) & NVME_RW_PRACT)
		return REFUSED_AT(NVME_SC_INVALID_FIELD, BYTE_PRACT, BIT_PRACT);
	return command_parse_blocks(sqe, lba_bytes, size_bytes, range);
}

uint32_t command_parse_range(const struct nvme_command *sqe, const struct command *command,
			     uint32_t lba_bytes, uint64_t size_bytes, uint32_t mdts_bytes,
			     struct command_range *range)
{
	uint64_t blocks = (le32toh(sqe->cdw12) & 0xffff) + 1ull;
	uint32_t refused;

	if (blocks * lba_bytes > mdts_bytes)
		return REFUSED_IN(NVME_SC_INVALID_FIELD, cdw12);
	refused = command_parse_blocks(sqe, lba_bytes, size_bytes, range);
	if (!refused && range->length != command->length)
		refused = REFUSED_IN(NVME_SC_SGL_INVALID_DATA, sgl.bytes);
	range->deallocate = false;
	return refused;
}

/* ---- Dataset Management ----------------------------------------------------------------------- */

uint32_t dsm_parse(const struct nvme_command *sqe, const struct command *command, bool *deallocate,
		   unsigned int *nr)
{
	unsigned int n = (le32toh(sqe->cdw10) & 0xff) + 1;

	/* Hosts send room for all the ranges there may be. */
	if (command->length < n * sizeof(struct nvme_dsm_range) ||
	    command->length > NVME_DSM_MAX_RANGES * sizeof(struct nvme_dsm_range))
		return REFUSED_IN(NVME_SC_SGL_INVALID_DATA, sgl.bytes);
	*deallocate = (le32toh(sqe->cdw11) & NVME_DSM_AD) != 0;
	*nr = n;
	return NVME_SC_SUCCESS;
}

uint32_t dsm_parse_ranges(const void *wire, unsigned int nr, uint32_t lba_bytes,
			  uint64_t size_bytes, uint64_t unit_bytes, struct export_range *ranges,
			  unsigned int *nr_ranges)
{
	const uint8_t *p = wire;
	unsigned int n = 0;

	static_assert(sizeof(struct nvme_dsm_range) == sizeof(struct export_range), "in place");
	/* All are checked before one is changed. */
	for (unsigned int i = 0; i < nr; i++) {
		struct nvme_dsm_range r;

		memcpy(&r, p + i * sizeof(r), sizeof(r));
		if (!range_ok(le64toh(r.slba), le32toh(r.blocks), size_bytes / lba_bytes))
			return NVME_SC_LBA_RANGE | NVME_SC_DNR;
	}
	for (unsigned int i = 0; i < nr; i++) {
		struct nvme_dsm_range r;
		uint64_t from, to;

		memcpy(&r, p + i * sizeof(r), sizeof(r));
		from = le64toh(r.slba) * lba_bytes;
		to = align_down(from + (uint64_t)le32toh(r.blocks) * lba_bytes, unit_bytes);
		from = align_up(from, unit_bytes);
		if (from < to)
			ranges[n++] = (struct export_range){.offset = from, .length = to - from};
	}
	*nr_ranges = n;
	return NVME_SC_SUCCESS;
}

/* ---- Copy ------------------------------------------------------------------------------------- */

uint32_t copy_parse(const struct nvme_command *sqe, const struct command *command, unsigned int *nr)
{
	uint32_t cdw12 = le32toh(sqe->cdw12);
	unsigned int n = (cdw12 & 0xff) + 1;

	if ((cdw12 >> 8 & 0xf) != 0)
		return REFUSED_AT(NVME_SC_INVALID_FIELD, BYTE_FORMAT, 0);
	if (cdw12 & DTYPE_MASK)
		return REFUSED_AT(NVME_SC_INVALID_FIELD, BYTE_DTYPE, BIT_DTYPE);
	if (n > NVME_COPY_MAX_RANGES)
		return REFUSED_IN(NVME_SC_CMD_SIZE_LIMIT, cdw12);
	if (command->length < n * sizeof(struct nvme_copy_range))
		return REFUSED_IN(NVME_SC_SGL_INVALID_DATA, sgl.bytes);
	*nr = n;
	return NVME_SC_SUCCESS;
}

uint32_t copy_parse_sources(const struct nvme_command *sqe, const void *wire, unsigned int nr,
			    const struct copy_limits *limits, struct export_range *sources,
			    struct command_range *to)
{
	uint64_t slba = slba_of(sqe), blocks = limits->size_bytes / limits->lba_bytes, total = 0;
	const uint8_t *p = wire;

	for (unsigned int i = 0; i < nr; i++) {
		struct nvme_copy_range r;
		uint64_t n;

		memcpy(&r, p + i * sizeof(r), sizeof(r));
		n = le16toh(r.blocks) + 1ull;
		total += n;
		if (n * limits->lba_bytes > limits->range_bytes)
			return NVME_SC_CMD_SIZE_LIMIT | NVME_SC_DNR;
		if (!range_ok(le64toh(r.slba), n, blocks))
			return NVME_SC_LBA_RANGE | NVME_SC_DNR;
		sources[i] = (struct export_range){
			.offset = le64toh(r.slba) * limits->lba_bytes,
			.length = n * limits->lba_bytes,
		};
	}
	if (total * limits->lba_bytes > limits->total_bytes)
		return NVME_SC_CMD_SIZE_LIMIT | NVME_SC_DNR;
	if (!range_ok(slba, total, blocks))
		return REFUSED_IN(NVME_SC_LBA_RANGE, cdw10);
	*to = (struct command_range){
		.offset = slba * limits->lba_bytes,
		.length = (uint32_t)(total * limits->lba_bytes),
		.fua = (le32toh(sqe->cdw12) & NVME_RW_FUA) != 0,
	};
	for (unsigned int i = 0; i < nr; i++) {
		if (sources[i].offset < to->offset + to->length &&
		    to->offset < sources[i].offset + sources[i].length)
			return NVME_SC_OVERLAPPING_RANGE | NVME_SC_DNR;
	}
	return NVME_SC_SUCCESS;
}
