// SPDX-License-Identifier: BSD-3-Clause
/*
 * Every command's bad forms: a good form, in which one thing is wrong. Each is refused with one
 * status and changes nothing; where it is one field's fault the error log names that field.
 */
#include "nvme_rig.h"

#include "iwarp/iwarp.h"
#include "util/log.h"

#define DNR	       NVME_SC_DNR
#define NOWHERE	       0xffff /* in no field of the command */
#define NOT_LOGGED     0xfffe
#define BIT(byte, bit) ((bit) << 8 | (byte))
#define BLOCKS	       (RIG_BYTES / 512)
#define LOG_AT	       MIB(2) /* of the host's memory: the error log */
#define LIST_AT	       MIB(3)

static struct rig rig;
static const struct rig_options options = {.lba_bytes = 512, .inline_bytes = 8192};

enum where {
	ADMIN,
	IO
};

/* One thing that is wrong: a field of the command, little-endian. */
struct edit {
	uint8_t byte, bytes;
	uint64_t value;
};

struct row {
	const char *what;
	enum where where;
	uint8_t opcode;
	struct edit edits[3];
	uint16_t status, location;
};

/* ---- good forms ------------------------------------------------------------------------------- */

#define CDW10	   40
#define CDW11	   44
#define CDW12	   48
#define CDW13	   52
#define CDW14	   56
#define NSID	   4
#define FLAGS	   1
#define SGL_TYPE   39
#define SGL_LENGTH 32

static struct nvme_dsm_range dsm_ranges[2];
static struct nvme_copy_range copy_ranges[2];

static struct nvme_command good_admin(uint8_t opcode)
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

static struct nvme_command good_io(uint8_t opcode)
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

static struct nvme_command good(enum where where, uint8_t opcode)
{
	return where == ADMIN ? good_admin(opcode) : good_io(opcode);
}

/* What the good forms find in the file, so that they change nothing themselves. */
static void make_good(void)
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

/* The newest error; 0 if there is none. */
static const struct nvme_error_entry *newest(void)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_GET_LOG_PAGE);

	sqe.nsid = 0;
	sqe.cdw10 = htole32(NVME_LOG_ERROR | 15u << 16);
	rig_keyed(&rig, &sqe, LOG_AT, 64);
	assert_int_equal(rig_do(rig.admin, &sqe, NULL, 0), 0);
	return (const void *)(rig.memory + LOG_AT);
}

static void try_row(const struct row *row)
{
	struct rig_queue *q = queue_of(row->where);
	struct nvme_command sqe = good(row->where, row->opcode);
	uint64_t count = le64toh(newest()->count);
	const struct nvme_error_entry *e;
	uint16_t status, location = NOT_LOGGED;
	unsigned int slot;

	apply(&sqe, row->edits, ARRAY_SIZE(row->edits));
	slot = rig_send(q, &sqe, NULL, 0);
	status = rig_answer(q, slot);
	e = newest();
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

/* The same where the good form is run first: it is good. */
static void try_rows(const struct row *rows, size_t n)
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

static void up(void)
{
	rig_up(&rig, &options);
	make_good();
}

static void down(void)
{
	uint8_t *bytes = malloc(RIG_BYTES);

	assert_non_null(bytes);
	rig_read(&rig, 0, bytes, RIG_BYTES);
	for (uint64_t i = 0; i < RIG_BYTES; i++)
		assert_int_equal(bytes[i], fill_byte(i));
	free(bytes);
	rig_down(&rig);
}

/* ---- what all commands share ------------------------------------------------------------------ */

static void test_common(void **state)
{
	static const struct {
		enum where where;
		uint8_t opcode;
	} commands[] = {
		{ADMIN, NVME_ADMIN_IDENTIFY},
		{ADMIN, NVME_ADMIN_GET_LOG_PAGE},
		{ADMIN, NVME_ADMIN_SET_FEATURES},
		{ADMIN, NVME_ADMIN_GET_FEATURES},
		{ADMIN, NVME_ADMIN_ABORT},
		{ADMIN, NVME_ADMIN_KEEP_ALIVE},
		{IO, NVME_IO_FLUSH},
		{IO, NVME_IO_READ},
		{IO, NVME_IO_WRITE},
		{IO, NVME_IO_COMPARE},
		{IO, NVME_IO_WRITE_ZEROES},
		{IO, NVME_IO_VERIFY},
		{IO, NVME_IO_DSM},
		{IO, NVME_IO_COPY},
	};
	static const uint8_t sgl_types[] = {0x00, 0x10, 0x11, 0x20, 0x21, 0x30,
					    0x50, 0x41, 0x42, 0x4e, 0x7f, 0xff};

	(void)state;
	up();
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		struct row row = {.where = commands[i].where, .opcode = commands[i].opcode};

		row.status = NVME_SC_INVALID_FIELD | DNR;
		row.location = BIT(FLAGS, 6);
		row.what = "PRP";
		row.edits[0] = (struct edit){FLAGS, 1, 0x00};
		try_row(&row);
		row.what = "a metadata SGL";
		row.edits[0].value = 0x80;
		try_row(&row);
		row.what = "a reserved PSDT";
		row.edits[0].value = 0xc0;
		try_row(&row);
		row.what = "a reserved FUSE";
		row.edits[0].value = 0x43;
		row.location = FLAGS;
		try_row(&row);
		for (uint64_t fuse = 0x41; row.where == ADMIN && fuse <= 0x42; fuse++) {
			row.what = "fused, on the admin queue";
			row.edits[0].value = fuse;
			try_row(&row);
		}
		for (size_t t = 0; t < ARRAY_SIZE(sgl_types); t++) {
			row.what = "an SGL type that is not for fabrics";
			row.edits[0] = (struct edit){SGL_TYPE, 1, sgl_types[t]};
			row.status = NVME_SC_SGL_INVALID_TYPE | DNR;
			row.location = SGL_TYPE;
			try_row(&row);
		}
		row.what = "a list that is not there";
		row.edits[0] = (struct edit){SGL_TYPE, 1, 0x31};
		row.edits[1] = (struct edit){SGL_LENGTH, 4, 16};
		row.edits[2] = (struct edit){24, 8, 0};
		row.status = NVME_SC_SGL_OFFSET_INVALID | DNR;
		row.location = 24;
		try_row(&row);
		row.what = "half a descriptor";
		row.edits[1].value = 24;
		row.status = NVME_SC_SGL_INVALID_LAST | DNR;
		row.location = SGL_LENGTH;
		try_row(&row);
		row.what = "too many descriptors";
		row.edits[1].value = 17 * 16;
		row.status = NVME_SC_SGL_INVALID_COUNT | DNR;
		try_row(&row);
	}
	down();
}

/* ---- admin commands --------------------------------------------------------------------------- */

#define ID NVME_ADMIN_IDENTIFY

static const struct row identify_rows[] = {
	{"CNS 04h", ADMIN, ID, {{CDW10, 4, 0x04}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"CNS 10h", ADMIN, ID, {{CDW10, 4, 0x10}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"CNS 11h", ADMIN, ID, {{CDW10, 4, 0x11}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"CNS 14h", ADMIN, ID, {{CDW10, 4, 0x14}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"CNS FFh", ADMIN, ID, {{CDW10, 4, 0xff}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"NSID 0", ADMIN, ID, {{NSID, 4, 0}}, NVME_SC_INVALID_NS | DNR, 4},
	{"NSID of all", ADMIN, ID, {{NSID, 4, NVME_NSID_ALL}}, NVME_SC_INVALID_NS | DNR, 4},
	{"NSID beyond NN", ADMIN, ID, {{NSID, 4, 1025}}, NVME_SC_INVALID_NS | DNR, 4},
	{"list from all",
	 ADMIN,
	 ID,
	 {{CDW10, 4, 2}, {NSID, 4, NVME_NSID_ALL}},
	 NVME_SC_INVALID_NS | DNR,
	 4},
	{"list from all - 1",
	 ADMIN,
	 ID,
	 {{CDW10, 4, 2}, {NSID, 4, NVME_NSID_ALL - 1}},
	 NVME_SC_INVALID_NS | DNR,
	 4},
	{"descriptors of 0", ADMIN, ID, {{CDW10, 4, 3}, {NSID, 4, 0}}, NVME_SC_INVALID_NS | DNR, 4},
	{"descriptors of none",
	 ADMIN,
	 ID,
	 {{CDW10, 4, 3}, {NSID, 4, 2}},
	 NVME_SC_INVALID_NS | DNR,
	 4},
	{"a command set that is none",
	 ADMIN,
	 ID,
	 {{CDW10, 4, 5}, {CDW11, 4, 1u << 24}},
	 NVME_SC_INVALID_FIELD | DNR,
	 47},
	{"a command set that is none",
	 ADMIN,
	 ID,
	 {{CDW10, 4, 6}, {CDW11, 4, 2u << 24}},
	 NVME_SC_INVALID_FIELD | DNR,
	 47},
	{"a command set that is none",
	 ADMIN,
	 ID,
	 {{CDW10, 4, 7}, {CDW11, 4, 0xffu << 24}},
	 NVME_SC_INVALID_FIELD | DNR,
	 47},
	{"NSID 0, independent",
	 ADMIN,
	 ID,
	 {{CDW10, 4, 8}, {NSID, 4, 0}},
	 NVME_SC_INVALID_NS | DNR,
	 4},
	{"another controller's sets",
	 ADMIN,
	 ID,
	 {{CDW10, 4, 0x1c | 0x1234u << 16}},
	 NVME_SC_INVALID_FIELD | DNR,
	 42},
	{"no data", ADMIN, ID, {{SGL_LENGTH, 3, 0}}, NVME_SC_SGL_INVALID_DATA | DNR, SGL_LENGTH},
	{"short", ADMIN, ID, {{SGL_LENGTH, 3, 4095}}, NVME_SC_SGL_INVALID_DATA | DNR, SGL_LENGTH},
	{"long", ADMIN, ID, {{SGL_LENGTH, 3, 4097}}, NVME_SC_SGL_INVALID_DATA | DNR, SGL_LENGTH},
	{"longer than MDTS",
	 ADMIN,
	 ID,
	 {{SGL_LENGTH, 3, MIB(1) + 1}},
	 NVME_SC_INVALID_FIELD | DNR,
	 SGL_LENGTH},
	{"into the capsule",
	 ADMIN,
	 ID,
	 {{SGL_TYPE, 1, 0x01}},
	 NVME_SC_SGL_INVALID_TYPE | DNR,
	 SGL_TYPE},
};

#define GL	   NVME_ADMIN_GET_LOG_PAGE
#define PAGE(page) ((page) | 127u << 16)

static const struct row log_rows[] = {
	{"a page that is none",
	 ADMIN,
	 GL,
	 {{CDW10, 4, PAGE(0x99)}},
	 NVME_SC_INVALID_LOG_PAGE | DNR,
	 40},
	{"the discovery log",
	 ADMIN,
	 GL,
	 {{CDW10, 4, PAGE(NVME_LOG_DISCOVERY)}},
	 NVME_SC_INVALID_LOG_PAGE | DNR,
	 40},
	{"NUMD less than the data",
	 ADMIN,
	 GL,
	 {{CDW10, 4, NVME_LOG_FIRMWARE | 126u << 16}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"NUMD more than the data",
	 ADMIN,
	 GL,
	 {{CDW10, 4, NVME_LOG_FIRMWARE | 128u << 16}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"NUMDU", ADMIN, GL, {{CDW11, 4, 1}}, NVME_SC_SGL_INVALID_DATA | DNR, SGL_LENGTH},
	{"no data", ADMIN, GL, {{SGL_LENGTH, 3, 0}}, NVME_SC_SGL_INVALID_DATA | DNR, SGL_LENGTH},
	{"an odd offset", ADMIN, GL, {{CDW12, 4, 2}}, NVME_SC_INVALID_FIELD | DNR, 48},
	{"an offset behind the end", ADMIN, GL, {{CDW12, 4, 516}}, NVME_SC_INVALID_FIELD | DNR, 48},
	{"a far offset", ADMIN, GL, {{CDW13, 4, UINT32_MAX}}, NVME_SC_INVALID_FIELD | DNR, 48},
	{"an offset behind SMART",
	 ADMIN,
	 GL,
	 {{CDW10, 4, PAGE(NVME_LOG_SMART)}, {CDW12, 4, 516}},
	 NVME_SC_INVALID_FIELD | DNR,
	 48},
	{"an offset behind the exports",
	 ADMIN,
	 GL,
	 {{CDW10, 4, PAGE(0xc0)}, {CDW12, 4, 4096}},
	 NVME_SC_INVALID_FIELD | DNR,
	 48},
	{"an index", ADMIN, GL, {{CDW14, 4, 1u << 23}}, NVME_SC_INVALID_FIELD | DNR, BIT(58, 7)},
	{"effects of another set",
	 ADMIN,
	 GL,
	 {{CDW10, 4, PAGE(NVME_LOG_EFFECTS)}, {CDW14, 4, 1u << 24}},
	 NVME_SC_INVALID_FIELD | DNR,
	 59},
	{"SMART of a namespace",
	 ADMIN,
	 GL,
	 {{CDW10, 4, PAGE(NVME_LOG_SMART)}, {NSID, 4, 1}},
	 NVME_SC_INVALID_FIELD | DNR,
	 4},
	{"firmware of a namespace", ADMIN, GL, {{NSID, 4, 1}}, NVME_SC_INVALID_FIELD | DNR, 4},
	{"errors of a namespace",
	 ADMIN,
	 GL,
	 {{CDW10, 4, PAGE(NVME_LOG_ERROR)}, {NSID, 4, 7}},
	 NVME_SC_INVALID_FIELD | DNR,
	 4},
};

#define SF NVME_ADMIN_SET_FEATURES
#define GF NVME_ADMIN_GET_FEATURES

static const struct row feature_rows[] = {
	{"feature 0", ADMIN, SF, {{CDW10, 4, 0}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"interrupt coalescing", ADMIN, SF, {{CDW10, 4, 8}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"interrupt vectors", ADMIN, SF, {{CDW10, 4, 9}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"timestamp", ADMIN, SF, {{CDW10, 4, 0x0e}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"a vendor's", ADMIN, SF, {{CDW10, 4, 0xc0}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"feature 0", ADMIN, GF, {{CDW10, 4, 0}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"a vendor's", ADMIN, GF, {{CDW10, 4, 0xff}}, NVME_SC_INVALID_FIELD | DNR, 40},
	{"save",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 1u << 31 | 1}},
	 NVME_SC_FEATURE_NOT_SAVEABLE | DNR,
	 BIT(43, 7)},
	{"of a namespace", ADMIN, SF, {{NSID, 4, 1}}, NVME_SC_FEATURE_NOT_NS_SPECIFIC | DNR, 4},
	{"select 4", ADMIN, GF, {{CDW10, 4, 4u << 8 | 1}}, NVME_SC_INVALID_FIELD | DNR, 41},
	{"select 7", ADMIN, GF, {{CDW10, 4, 7u << 8 | 1}}, NVME_SC_INVALID_FIELD | DNR, 41},
	{"power state 1",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 2}, {CDW11, 4, 1}},
	 NVME_SC_INVALID_FIELD | DNR,
	 44},
	{"sensor 1",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 4}, {CDW11, 4, 1u << 16}},
	 NVME_SC_INVALID_FIELD | DNR,
	 46},
	{"threshold type 2",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 4}, {CDW11, 4, 2u << 20}},
	 NVME_SC_INVALID_FIELD | DNR,
	 BIT(46, 4)},
	{"sensor 1",
	 ADMIN,
	 GF,
	 {{CDW10, 4, 4}, {CDW11, 4, 1u << 16}},
	 NVME_SC_INVALID_FIELD | DNR,
	 46},
	{"all sensors",
	 ADMIN,
	 GF,
	 {{CDW10, 4, 4}, {CDW11, 4, 15u << 16}},
	 NVME_SC_INVALID_FIELD | DNR,
	 46},
	{"threshold type 3",
	 ADMIN,
	 GF,
	 {{CDW10, 4, 4}, {CDW11, 4, 3u << 20}},
	 NVME_SC_INVALID_FIELD | DNR,
	 BIT(46, 4)},
	{"recovery of none", ADMIN, SF, {{CDW10, 4, 5}, {NSID, 4, 0}}, NVME_SC_INVALID_NS | DNR, 4},
	{"recovery beyond NN",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 5}, {NSID, 4, 1025}},
	 NVME_SC_INVALID_NS | DNR,
	 4},
	{"DULBE",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 5}, {NSID, 4, 1}, {CDW11, 4, 1u << 16}},
	 NVME_SC_INVALID_FIELD | DNR,
	 46},
	{"recovery of all",
	 ADMIN,
	 GF,
	 {{CDW10, 4, 5}, {NSID, 4, NVME_NSID_ALL}},
	 NVME_SC_INVALID_NS | DNR,
	 4},
	{"65,536 queues",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 7}, {CDW11, 4, 0xffff}},
	 NVME_SC_INVALID_FIELD | DNR,
	 44},
	{"65,536 completion queues",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 7}, {CDW11, 4, 0xffffull << 16}},
	 NVME_SC_INVALID_FIELD | DNR,
	 46},
	{"queues while there are some",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 7}, {CDW11, 4, 0x00010001}},
	 NVME_SC_COMMAND_SEQUENCE | DNR,
	 NOWHERE},
	{"behaviour without data",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 0x16}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"behaviour to nowhere",
	 ADMIN,
	 GF,
	 {{CDW10, 4, 0x16}},
	 NVME_SC_SGL_INVALID_DATA | DNR,
	 SGL_LENGTH},
	{"profile 1",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 0x19}, {CDW11, 4, 1}},
	 NVME_SC_INVALID_FIELD | DNR,
	 44},
	{"the host's identifier",
	 ADMIN,
	 SF,
	 {{CDW10, 4, 0x81}, {CDW11, 4, 1}},
	 NVME_SC_COMMAND_SEQUENCE | DNR,
	 NOWHERE},
	{"its short form",
	 ADMIN,
	 GF,
	 {{CDW10, 4, 0x81}, {CDW11, 4, 0}},
	 NVME_SC_INVALID_FIELD | DNR,
	 44},
};

static void test_admin(void **state)
{
	/* Queues, firmware, namespaces, self-test, directives, MI, doorbells, format, … */
	static const uint8_t absent[] = {0x00, 0x01, 0x04, 0x05, 0x0d, 0x10, 0x11, 0x14, 0x15,
					 0x19, 0x1a, 0x1c, 0x1d, 0x1e, 0x20, 0x24, 0x7c, 0x80,
					 0x81, 0x82, 0x84, 0x86, 0xc0, 0xc1, 0xc3, 0xff};

	(void)state;
	up();
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		struct row row = {"no such command", ADMIN, absent[i]};

		row.status = NVME_SC_INVALID_OPCODE | DNR;
		row.location = 0;
		try_row(&row);
	}
	try_rows(identify_rows, ARRAY_SIZE(identify_rows));
	try_rows(log_rows, ARRAY_SIZE(log_rows));
	try_rows(feature_rows, ARRAY_SIZE(feature_rows));
	down();
}

/* Set on each feature with each of the selects of Get: what has no saved value has its default. */
static void test_selects(void **state)
{
	static const uint8_t ids[] = {
		NVME_FEAT_ARBITRATION,	   NVME_FEAT_POWER,
		NVME_FEAT_TEMPERATURE,	   NVME_FEAT_QUEUES,
		NVME_FEAT_WRITE_ATOMICITY, NVME_FEAT_ASYNC_EVENT,
		NVME_FEAT_KEEP_ALIVE,	   NVME_FEAT_COMMAND_SET_PROFILE,
	};

	(void)state;
	up();
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		uint32_t values[4];

		for (unsigned int select = 0; select < 8; select++) {
			struct nvme_command sqe = good_admin(NVME_ADMIN_GET_FEATURES);
			unsigned int slot;

			sqe.cdw10 = htole32(ids[i] | select << 8);
			slot = rig_send(rig.admin, &sqe, NULL, 0);
			assert_int_equal(rig_answer(rig.admin, slot),
					 select < 4 ? 0 : NVME_SC_INVALID_FIELD | DNR);
			if (select < 4)
				values[select] = le32toh(rig.admin->cqe[slot].dw0);
		}
		assert_int_equal(values[1], values[2]);
		/* Not saveable, not of a namespace; changeable but for the one that has one value. */
		assert_int_equal(values[3], ids[i] == NVME_FEAT_COMMAND_SET_PROFILE ? 0 : 4);
	}
	down();
}

static void test_events(void **state)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_ASYNC_EVENT);
	unsigned int slots[NVME_AER_LIMIT + 1];
	uint64_t count;

	(void)state;
	up();
	sqe.nsid = 0;
	count = le64toh(newest()->count);
	for (unsigned int i = 0; i < ARRAY_SIZE(slots); i++)
		slots[i] = rig_send(rig.admin, &sqe, NULL, 0);
	assert_int_equal(rig_answer(rig.admin, slots[NVME_AER_LIMIT]), NVME_SC_AEN_LIMIT | DNR);
	assert_int_equal(le64toh(newest()->count), count + 1);
	assert_int_equal(le16toh(newest()->location), NOWHERE);
	for (unsigned int i = 0; i < NVME_AER_LIMIT; i++)
		assert_false(rig.admin->done[slots[i]]);
	/* Of what is not there: done, and nothing was. */
	for (unsigned int i = 0; i < 4; i++) {
		static const uint16_t queues[] = {0, 1, 3, 0xffff};
		unsigned int slot;

		sqe = rig_command(NVME_ADMIN_ABORT);
		sqe.nsid = 0;
		sqe.cdw10 = htole32(0x7777u << 16 | queues[i]);
		slot = rig_send(rig.admin, &sqe, NULL, 0);
		assert_int_equal(rig_answer(rig.admin, slot), 0);
		assert_int_equal(le32toh(rig.admin->cqe[slot].dw0), 1);
	}
	down();
}

/* ---- fabrics commands ------------------------------------------------------------------------- */

#define FAB    NVME_FABRICS
#define FCTYPE 4
#define ATTRIB 40
#define OFFSET 44

static void test_fabrics(void **state)
{
	static const struct row rows[] = {
		{"Connect again",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_CONNECT}},
		 NVME_SC_COMMAND_SEQUENCE | DNR,
		 NOWHERE},
		{"Connect again",
		 IO,
		 FAB,
		 {{FCTYPE, 1, NVMF_CONNECT}},
		 NVME_SC_COMMAND_SEQUENCE | DNR,
		 NOWHERE},
		{"Authentication Send",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_AUTH_SEND}},
		 NVME_SC_INVALID_OPCODE | DNR,
		 FCTYPE},
		{"Authentication Receive",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_AUTH_RECEIVE}},
		 NVME_SC_INVALID_OPCODE | DNR,
		 FCTYPE},
		{"Disconnect of the admin queue",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_DISCONNECT}},
		 NVME_SC_INVALID_QUEUE_TYPE | DNR,
		 FCTYPE},
		{"Disconnect of another format",
		 IO,
		 FAB,
		 {{FCTYPE, 1, NVMF_DISCONNECT}, {40, 2, 1}},
		 NVME_SC_CONNECT_FORMAT | DNR,
		 40},
		{"a type that is none",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, 0x03}},
		 NVME_SC_INVALID_OPCODE | DNR,
		 FCTYPE},
		{"a type that is none",
		 IO,
		 FAB,
		 {{FCTYPE, 1, 0xc0}},
		 NVME_SC_INVALID_OPCODE | DNR,
		 FCTYPE},
		{"Property Get on an I/O queue",
		 IO,
		 FAB,
		 {{FCTYPE, 1, NVMF_PROPERTY_GET}},
		 NVME_SC_INVALID_OPCODE | DNR,
		 FCTYPE},
		{"Property Set on an I/O queue",
		 IO,
		 FAB,
		 {{FCTYPE, 1, NVMF_PROPERTY_SET}},
		 NVME_SC_INVALID_OPCODE | DNR,
		 FCTYPE},
		{"half of CAP",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_PROPERTY_GET}, {OFFSET, 4, 0}},
		 NVME_SC_INVALID_FIELD | DNR,
		 ATTRIB},
		{"VS twice as long",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_PROPERTY_GET}, {ATTRIB, 1, 1}, {OFFSET, 4, NVME_PROP_VS}},
		 NVME_SC_INVALID_FIELD | DNR,
		 ATTRIB},
		{"the rest of CAP",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_PROPERTY_GET}, {OFFSET, 4, 4}},
		 NVME_SC_INVALID_FIELD | DNR,
		 OFFSET},
		{"a register of PCI",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_PROPERTY_GET}, {OFFSET, 4, 0x24}},
		 NVME_SC_INVALID_FIELD | DNR,
		 OFFSET},
		{"a far one",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_PROPERTY_GET}, {OFFSET, 4, UINT32_MAX}},
		 NVME_SC_INVALID_FIELD | DNR,
		 OFFSET},
		{"set CAP",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_PROPERTY_SET}, {ATTRIB, 1, 1}, {OFFSET, 4, 0}},
		 NVME_SC_INVALID_FIELD | DNR,
		 OFFSET},
		{"set CSTS",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_PROPERTY_SET}, {OFFSET, 4, NVME_PROP_CSTS}},
		 NVME_SC_INVALID_FIELD | DNR,
		 OFFSET},
		{"set CC twice as long",
		 ADMIN,
		 FAB,
		 {{FCTYPE, 1, NVMF_PROPERTY_SET}, {ATTRIB, 1, 1}, {OFFSET, 4, NVME_PROP_CC}},
		 NVME_SC_INVALID_FIELD | DNR,
		 ATTRIB},
	};

	(void)state;
	up();
	/* The good form is all zeros where it matters: each row says what it wants. */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct row row = rows[i];

		try_row(&row);
	}
	down();
}

/* ---- I/O commands ----------------------------------------------------------------------------- */

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
	{"no namespace", IO, NVME_IO_RESV_REGISTER, {{NSID, 4, 0}}, NVME_SC_INVALID_NS | DNR, 4},
	{"all namespaces",
	 IO,
	 NVME_IO_RESV_ACQUIRE,
	 {{NSID, 4, NVME_NSID_ALL}},
	 NVME_SC_INVALID_NS | DNR,
	 4},
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
	up();
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
	try_rows(io_rows, ARRAY_SIZE(io_rows));
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		struct row row = {"no such command", IO, absent[i]};

		row.status = NVME_SC_INVALID_OPCODE | DNR;
		row.location = 0;
		try_row(&row);
	}
	down();
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
	up();
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
	down();
}

/* At the edge, and still good; and bits that mean nothing here, since there is no metadata. */
static void test_limits(void **state)
{
	static const uint32_t ignored[] = {1u << 24,  1u << 26, 7u << 26, 1u << 29,
					   15u << 26, 1u << 30, 1u << 31};
	struct nvme_dsm_range ranges[256] = {0};
	struct nvme_copy_range sources[NVME_COPY_MAX_RANGES];
	struct nvme_command sqe;

	(void)state;
	up();
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
		sqe = good_io(NVME_IO_COMPARE);
		sqe.cdw12 |= htole32(ignored[i]);
		assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
		sqe = good_io(NVME_IO_WRITE);
		sqe.cdw12 |= htole32(ignored[i]);
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
	down();
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
	up();
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
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_common), leaks_test(test_admin),   leaks_test(test_selects),
		leaks_test(test_events), leaks_test(test_fabrics), leaks_test(test_io),
		leaks_test(test_lists),	 leaks_test(test_limits),  leaks_test(test_fused_apart),
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
