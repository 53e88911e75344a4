// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the I/O commands can do, for Identify. Atomicity: any command up to MDTS is one step for all
 * others (interlock.h), so AWUN is MDTS. With power lost in the middle of a write nothing is promised
 * that memory does not do by itself, unless the export has a journal; AWUPF cannot say less than one block,
 * and says that.
 */
#include "nvme/io.h"

#define ONCS_COMPARE		(1u << 0)
#define ONCS_DSM		(1u << 2)
#define ONCS_WRITE_ZEROES	(1u << 3)
#define ONCS_RESERVATIONS	(1u << 5)
#define ONCS_VERIFY		(1u << 7)
#define ONCS_COPY		(1u << 8)
#define FUSES_COMPARE_AND_WRITE 0x0001
#define OCFS_FORMAT_0		0x0001

#define NSFEAT_ATOMICS	    0x02 /* NAWUN, NAWUPF, NACWU are set */
#define NSFEAT_OPTIMAL_IO   0x10 /* NPWG … NOWS are set */
#define DLFEAT_READS_ZEROS  0x01
#define DLFEAT_WRITE_ZEROES 0x08 /* Deallocate of Write Zeroes is honoured */

static uint16_t zero_based(uint64_t bytes, uint32_t lba_bytes)
{
	return (uint16_t)(max_u64(bytes / lba_bytes, 1) - 1);
}

void io_identify_controller(const struct nvme_target *t, struct nvme_id_ctrl *id)
{
	/* In blocks of whatever format: of the largest. */
	uint16_t awun = zero_based(t->env.limits.mdts_bytes, 4096);

	id->oncs = htole16(le16toh(id->oncs) | ONCS_COMPARE | ONCS_DSM | ONCS_WRITE_ZEROES |
			   ONCS_VERIFY | ONCS_COPY | ONCS_RESERVATIONS);
	id->fuses = htole16(FUSES_COMPARE_AND_WRITE);
	id->awun = htole16(awun);
	id->awupf = htole16(0);
	id->acwu = htole16(awun);
	id->ocfs = htole16(OCFS_FORMAT_0);
	id->msdbd = NVME_MAX_KEYED;
}

uint8_t io_rescap(const struct serving *serving)
{
	bool persist = holding_config(serving->holding)->export.state_dir[0] != '\0';

	return (uint8_t)(NVME_RESCAP_TYPES | NVME_RESCAP_IEKEY |
			 (persist ? NVME_RESCAP_PERSIST : 0));
}

void io_identify_namespace(const struct nvme_target *t, const struct serving *serving,
			   struct nvme_id_ns *id)
{
	const struct export *e = serving->view->export;
	uint32_t lba = export_lba_bytes(e);
	uint16_t awun = zero_based(t->env.limits.mdts_bytes, lba);
	uint16_t page = zero_based(IO_PUNCH_BYTES, lba);

	id->rescap = io_rescap(serving);
	id->nsfeat |= NSFEAT_ATOMICS | NSFEAT_OPTIMAL_IO;
	id->nawun = id->nacwu = htole16(awun);
	id->nawupf =
		htole16(zero_based(min_u64(export_atomic_bytes(e), t->env.limits.mdts_bytes), lba));
	id->npwg = id->npwa = htole16(page);
	id->npdg = id->npda = htole16(page);
	id->nows = htole16(awun);
	if (!holding_config(serving->holding)->advisory_deallocate && export_can_punch(e))
		id->dlfeat = DLFEAT_READS_ZEROS | DLFEAT_WRITE_ZEROES;
	id->mssrl = htole16((uint16_t)min_u64(IO_COPY_RANGE_BYTES / lba, UINT16_MAX));
	id->mcl = htole32((uint32_t)(IO_COPY_BYTES / lba));
	id->msrc = NVME_COPY_MAX_RANGES - 1;
}
