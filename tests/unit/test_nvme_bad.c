// SPDX-License-Identifier: BSD-3-Clause
/* Bad forms of what all commands share, of admin commands and of those of fabrics. */
#include "bad_forms.h"

#include "iwarp/iwarp.h"
#include "util/log.h"

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
		{ADMIN, NVME_ADMIN_ASYNC_EVENT},
		{ADMIN, NVME_ADMIN_KEEP_ALIVE},
		{ADMIN, LH_ADMIN_OPEN_DIRECT},
		{ADMIN, LH_ADMIN_ACQUIRE},
		{ADMIN, LH_ADMIN_RENEW},
		{ADMIN, LH_ADMIN_RELEASE},
		{ADMIN, LH_ADMIN_RELEASE_PART},
		{IO, NVME_IO_FLUSH},
		{IO, NVME_IO_READ},
		{IO, NVME_IO_WRITE},
		{IO, NVME_IO_COMPARE},
		{IO, NVME_IO_WRITE_ZEROES},
		{IO, NVME_IO_VERIFY},
		{IO, NVME_IO_DSM},
		{IO, NVME_IO_COPY},
		{IO, NVME_IO_RESV_REGISTER},
		{IO, NVME_IO_RESV_REPORT},
		{IO, NVME_IO_RESV_ACQUIRE},
		{IO, NVME_IO_RESV_RELEASE},
	};
	static const uint8_t sgl_types[] = {0x00, 0x10, 0x11, 0x20, 0x21, 0x30,
					    0x50, 0x41, 0x42, 0x4e, 0x7f, 0xff};

	(void)state;
	forms_up();
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
		row.edits[1].value = 17 * 16ull;
		row.status = NVME_SC_SGL_INVALID_COUNT | DNR;
		try_row(&row);
	}
	forms_down();
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
	 NVME_SC_COMMAND_SETS_REJECTED | DNR,
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
	forms_up();
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
		struct row row = {"no such command", ADMIN, absent[i]};

		row.status = NVME_SC_INVALID_OPCODE | DNR;
		row.location = 0;
		try_row(&row);
	}
	try_rows(identify_rows, ARRAY_SIZE(identify_rows));
	try_rows(log_rows, ARRAY_SIZE(log_rows));
	try_rows(feature_rows, ARRAY_SIZE(feature_rows));
	forms_down();
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
	forms_up();
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
	forms_down();
}

static void test_events(void **state)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_ASYNC_EVENT);
	unsigned int slots[NVME_AER_LIMIT + 1];
	uint64_t count;

	(void)state;
	forms_up();
	sqe.nsid = 0;
	count = le64toh(newest_error()->count);
	for (unsigned int i = 0; i < ARRAY_SIZE(slots); i++)
		slots[i] = rig_send(rig.admin, &sqe, NULL, 0);
	assert_int_equal(rig_answer(rig.admin, slots[NVME_AER_LIMIT]), NVME_SC_AEN_LIMIT | DNR);
	assert_int_equal(le64toh(newest_error()->count), count + 1);
	assert_int_equal(le16toh(newest_error()->location), NOWHERE);
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
	forms_down();
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
		{"Property Get with PRPs",
		 ADMIN,
		 FAB,
		 {{FLAGS, 1, 0x00}, {FCTYPE, 1, NVMF_PROPERTY_GET}, {OFFSET, 4, NVME_PROP_VS}},
		 NVME_SC_INVALID_FIELD | DNR,
		 BIT(FLAGS, 6)},
		{"Property Set with PRPs",
		 ADMIN,
		 FAB,
		 {{FLAGS, 1, 0x00}, {FCTYPE, 1, NVMF_PROPERTY_SET}, {OFFSET, 4, NVME_PROP_CC}},
		 NVME_SC_INVALID_FIELD | DNR,
		 BIT(FLAGS, 6)},
		{"Disconnect with PRPs",
		 IO,
		 FAB,
		 {{FLAGS, 1, 0x00}, {FCTYPE, 1, NVMF_DISCONNECT}},
		 NVME_SC_INVALID_FIELD | DNR,
		 BIT(FLAGS, 6)},
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
	forms_up();
	/* The good form is all zeros where it matters: each row says what it wants. */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct row row = rows[i];

		try_row(&row);
	}
	forms_down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {leaks_test(test_common), leaks_test(test_admin),
					   leaks_test(test_selects), leaks_test(test_events),
					   leaks_test(test_fabrics)};

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
