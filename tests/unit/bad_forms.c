// SPDX-License-Identifier: BSD-3-Clause
/* The good forms of commands, and how a row makes a bad one of them. */
#include "bad_forms.h"

struct rig rig;

static const struct rig_options options = {.lba_bytes = 512, .inline_bytes = 8192};

/* ---- good forms ------------------------------------------------------------------------------- */

struct nvme_dsm_range dsm_ranges[2];
struct nvme_copy_range copy_ranges[2];

struct nvme_command good_admin(uint8_t opcode)
{
	struct nvme_command sqe = rig_command(opcode);

	sqe.nsid = 0;
	switch (opcode) {
	case NVME_ADMIN_IDENTIFY:
		sqe.nsid = htole32(RIG_NSID);
		rig_keyed(&rig, &sqe, 0, 4096);
		break;
	case NVME_ADMIN_GET_LOG_PAGE:
		sqe.cdw10 = htole32(NVME_LOG_FIRMWARE | 127u << 16);
		rig_keyed(&rig, &sqe, 0, 512);
		break;
	case NVME_ADMIN_SET_FEATURES:
	case NVME_ADMIN_GET_FEATURES:
		sqe.cdw10 = htole32(NVME_FEAT_ARBITRATION);
		break;
	default:
		break;
	}
	return sqe;
}

struct nvme_command good_io(uint8_t opcode)
{
	struct nvme_command sqe = rig_blocks(opcode, 4, 2);

	switch (opcode) {
	case NVME_IO_READ:
	case NVME_IO_WRITE:
	case NVME_IO_COMPARE:
		rig_keyed(&rig, &sqe, 0, 1024);
		break;
	case NVME_IO_DSM:
		sqe = rig_command(opcode);
		sqe.cdw10 = htole32(1);
		sqe.cdw11 = htole32(NVME_DSM_AD);
		memcpy(rig.memory + LIST_AT, dsm_ranges, sizeof(dsm_ranges));
		rig_keyed(&rig, &sqe, LIST_AT, sizeof(dsm_ranges));
		break;
	case NVME_IO_COPY:
		sqe = rig_command(opcode);
		sqe.cdw10 = htole32(4);
		sqe.cdw12 = htole32(1);
		memcpy(rig.memory + LIST_AT, copy_ranges, sizeof(copy_ranges));
		rig_keyed(&rig, &sqe, LIST_AT, sizeof(copy_ranges));
		break;
	case NVME_IO_FLUSH:
		sqe = rig_command(opcode);
		break;
	case NVME_IO_RESV_REGISTER:
	case NVME_IO_RESV_ACQUIRE:
	case NVME_IO_RESV_RELEASE:
		/* Registers key 0 in place of 0; who is not registered has nothing to acquire or release. */
		sqe = rig_command(opcode);
		sqe.cdw10 = htole32(opcode == NVME_IO_RESV_REGISTER ? 0 : 1u << 8);
		memset(rig.memory + LIST_AT, 0, sizeof(struct nvme_resv_keys));
		rig_keyed(&rig, &sqe, LIST_AT, opcode == NVME_IO_RESV_RELEASE ? 8 : 16);
		break;
	case NVME_IO_RESV_REPORT:
		sqe = rig_command(opcode);
		sqe.cdw10 = htole32(15);
		sqe.cdw11 = htole32(NVME_RESV_EDS);
		rig_keyed(&rig, &sqe, LIST_AT, 64);
		break;
	default:
		break;
	}
	return sqe;
}

struct nvme_command good(enum where where, uint8_t opcode)
{
	return where == ADMIN ? good_admin(opcode) : good_io(opcode);
}

void make_good(void)
{
	for (uint32_t i = 0; i < 1024; i++)
		rig.memory[i] = fill_byte(4 * 512 + i);
	/* No whole page, and from where it goes to the same bytes. */
	dsm_ranges[0] = dsm_ranges[1] =
		(struct nvme_dsm_range){.blocks = htole32(1), .slba = htole64(9)};
	copy_ranges[0] = (struct nvme_copy_range){.slba = htole64(4 + 251 * 8)};
	copy_ranges[1] = (struct nvme_copy_range){.slba = htole64(5 + 251 * 8)};
}

/* ---- one row ---------------------------------------------------------------------------------- */

static struct rig_queue *queue_of(enum where where)
{
	return where == ADMIN ? rig.admin : rig.io[0];
}

static void apply(struct nvme_command *sqe, const struct edit *edits, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		le64 value = htole64(edits[i].value);

		memcpy((uint8_t *)sqe + edits[i].byte, &value, edits[i].bytes);
	}
}

const struct nvme_error_entry *newest_error(void)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_GET_LOG_PAGE);

	sqe.nsid = 0;
	sqe.cdw10 = htole32(NVME_LOG_ERROR | 15u << 16);
	rig_keyed(&rig, &sqe, LOG_AT, 64);
	assert_int_equal(rig_do(rig.admin, &sqe, NULL, 0), 0);
	return (const void *)(rig.memory + LOG_AT);
}

void try_row(const struct row *row)
{
	struct rig_queue *q = queue_of(row->where);
	struct nvme_command sqe = good(row->where, row->opcode);
	uint64_t count = le64toh(newest_error()->count);
	const struct nvme_error_entry *e;
	uint16_t status, location = NOT_LOGGED;
	unsigned int slot;

	apply(&sqe, row->edits, ARRAY_SIZE(row->edits));
	slot = rig_send(q, &sqe, NULL, 0);
	status = rig_answer(q, slot);
	e = newest_error();
	if (le64toh(e->count) == count + 1) {
		location = le16toh(e->location);
		assert_int_equal(le16toh(e->sqid), row->where == ADMIN ? 0 : 1);
		assert_int_equal(le16toh(e->cid), slot);
		assert_int_equal(le16toh(e->status) >> 1, status | NVME_SC_MORE);
	} else {
		assert_int_equal(le64toh(e->count), count);
	}
	if (status != row->status || location != row->location)
		fail_msg("%s %02x: %s: status %x at %x, not %x at %x",
			 row->where == ADMIN ? "admin" : "I/O", row->opcode, row->what, status,
			 location, row->status, row->location);
}

void try_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct nvme_command sqe = good(rows[i].where, rows[i].opcode);

		uint16_t status = rig_do(queue_of(rows[i].where), &sqe, NULL, 0);

		if (status != 0 && status != (NVME_SC_RESERVATION_CONFLICT | DNR) &&
		    status != NVME_SC_RESERVATION_CONFLICT)
			fail_msg("%02x: the good form is refused", rows[i].opcode);
		try_row(&rows[i]);
	}
}

void forms_up(void)
{
	rig_up(&rig, &options);
	make_good();
}

void forms_down(void)
{
	uint8_t *bytes = malloc(RIG_BYTES);

	assert_non_null(bytes);
	rig_read(&rig, 0, bytes, RIG_BYTES);
	for (uint64_t i = 0; i < RIG_BYTES; i++)
		assert_int_equal(bytes[i], fill_byte(i));
	free(bytes);
	rig_down(&rig);
}
