// SPDX-License-Identifier: BSD-3-Clause
/*
 * Commands whose data lies where a key of the host's does not reach. The adapter says so only when the
 * data is moved: the queue ends, the command is not answered, and it has done nothing.
 */
#include "bad_forms.h"

#include "iwarp/iwarp.h"
#include "util/log.h"

#define KEY 0x77u

enum bad_key {
	KEY_UNKNOWN,
	KEY_DEAD,     /* was good */
	KEY_NO_RIGHT, /* not for remote hosts */
	KEY_BEFORE,   /* begins before what it names … */
	KEY_BEYOND,   /* … or ends behind it */
	KEY_SECOND,   /* unknown, of the second of two pieces: the first is good */
	KEY_KINDS,
};

static const char *const kinds[] = {
	[KEY_UNKNOWN] = "unknown",	    [KEY_DEAD] = "dead",
	[KEY_NO_RIGHT] = "without rights",  [KEY_BEFORE] = "before its memory",
	[KEY_BEYOND] = "beyond its memory", [KEY_SECOND] = "unknown, the second of two",
};
static_assert(ARRAY_SIZE(kinds) == KEY_KINDS, "a name for each");

/* ---- commands that would do something --------------------------------------------------------- */

static struct nvme_command resv(uint8_t opcode, uint32_t cdw10, uint64_t crkey, uint64_t key)
{
	const struct nvme_resv_keys keys = {.crkey = htole64(crkey), .key = htole64(key)};
	struct nvme_command sqe = good_io(opcode);

	sqe.cdw10 = htole32(cdw10);
	memcpy(rig.memory + LIST_AT, &keys, sizeof(keys));
	return sqe;
}

static struct nvme_command whole_pages(void)
{
	dsm_ranges[0].slba = 0;
	dsm_ranges[0].blocks = htole32(64);
	return good_io(NVME_IO_DSM);
}

/* In place of blocks that are not the same. */
static struct nvme_command from_elsewhere(void)
{
	copy_ranges[0].slba = htole64(100);
	return good_io(NVME_IO_COPY);
}

static struct nvme_command behaviour(uint8_t opcode)
{
	struct nvme_command sqe = good_admin(opcode);

	sqe.cdw10 = htole32(NVME_FEAT_HOST_BEHAVIOUR);
	memset(rig.memory + LIST_AT, 0, 512);
	rig.memory[LIST_AT] = 1;
	rig_keyed(&rig, &sqe, LIST_AT, 512);
	return sqe;
}

static struct nvme_command get_host_id(void)
{
	struct nvme_command sqe = good_admin(NVME_ADMIN_GET_FEATURES);

	sqe.cdw10 = htole32(NVME_FEAT_HOST_ID);
	sqe.cdw11 = htole32(1);
	rig_keyed(&rig, &sqe, LIST_AT, 16);
	return sqe;
}

/* ---- one of them, with a bad key -------------------------------------------------------------- */

static struct fabric_mr *other_memory(unsigned int access)
{
	struct fabric_mr *mr;

	assert_int_equal(fabric_mr_reg(rig.pd, rig.memory, RIG_MEMORY,
				       (uint64_t)(uintptr_t)rig.memory,
				       FABRIC_ACCESS_LOCAL_WRITE | access, &mr),
			 0);
	return mr;
}

/** Sends a command of one keyed descriptor with its key spoilt; *mr is to be deregistered behind it. */
static unsigned int send_spoilt(struct rig_queue *q, struct nvme_command *sqe, enum bad_key kind,
				struct fabric_mr **mr)
{
	const uint32_t length = nvme_keyed_sgl_length(&sqe->sgl);
	uint64_t address = le64toh(sqe->sgl.address);
	uint32_t key = rig.mr->rkey;
	struct nvme_sgl_desc list[2];

	*mr = NULL;
	switch (kind) {
	case KEY_UNKNOWN:
	case KEY_SECOND:
		key ^= 0x5a5a5a00;
		break;
	case KEY_DEAD:
		*mr = other_memory(FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE);
		key = (*mr)->rkey;
		assert_int_equal(fabric_mr_dereg(*mr), 0);
		*mr = NULL;
		break;
	case KEY_NO_RIGHT:
		*mr = other_memory(0);
		key = (*mr)->rkey;
		break;
	case KEY_BEFORE:
		address = (uint64_t)(uintptr_t)rig.memory - length / 2;
		break;
	default:
		address = (uint64_t)(uintptr_t)rig.memory + RIG_MEMORY - length / 2;
		break;
	}
	if (kind != KEY_SECOND) {
		nvme_keyed_sgl_set(&sqe->sgl, address, length, key, NVME_SGL_ADDRESS);
		return rig_send(q, sqe, NULL, 0);
	}
	nvme_keyed_sgl_set(&list[0], address, length / 2, rig.mr->rkey, NVME_SGL_ADDRESS);
	nvme_keyed_sgl_set(&list[1], address + length / 2, length - length / 2, key,
			   NVME_SGL_ADDRESS);
	nvme_offset_sgl_set(&sqe->sgl, 0, sizeof(list));
	sqe->sgl.type = NVME_SGL_LAST_SEGMENT << 4 | NVME_SGL_OFFSET;
	return rig_send(q, sqe, list, sizeof(list));
}

/* The host is cut off, and comes again. */
static void come_again(struct rig_queue *q, struct fabric_mr *mr)
{
	assert_true(rig_was_cut(q));
	if (mr)
		assert_int_equal(fabric_mr_dereg(mr), 0);
	rig_host_down(&rig);
	rig_host_up(&rig);
	make_good();
}

static void try_key(struct rig_queue *q, struct nvme_command sqe, enum bad_key kind)
{
	struct fabric_mr *mr;
	unsigned int slot = send_spoilt(q, &sqe, kind, &mr);
	bool cut = rig_was_cut(q);

	if (!cut || q->done[slot])
		fail_msg("%02x, a key %s: %s", sqe.opcode, kinds[kind],
			 cut ? "answered" : "the queue is still there");
	come_again(q, mr);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void test_io(void **state)
{
	(void)state;
	forms_up();
	for (enum bad_key kind = 0; kind < KEY_KINDS; kind++) {
		try_key(rig.io[0], good_io(NVME_IO_READ), kind);
		try_key(rig.io[0], good_io(NVME_IO_COMPARE), kind);
		try_key(rig.io[0], whole_pages(), kind);
		try_key(rig.io[0], from_elsewhere(), kind);
	}
	forms_down();
}

/* Of a pair neither is done when one of them has a bad key. */
static void test_fused(void **state)
{
	(void)state;
	forms_up();
	for (enum bad_key kind = 0; kind < KEY_KINDS; kind++) {
		for (unsigned int bad = 0; bad < 2; bad++) {
			struct rig_queue *q = rig.io[0];
			struct nvme_command pair[2];
			struct fabric_mr *mr = NULL;
			unsigned int slot[2];

			pair[0] = good_io(NVME_IO_COMPARE);
			pair[0].flags |= 1;
			pair[1] = good_io(NVME_IO_WRITE);
			pair[1].flags |= 2;
			memset(rig.memory + LIST_AT, 0xee, 1024);
			rig_keyed(&rig, &pair[1], LIST_AT, 1024);
			for (unsigned int i = 0; i < 2; i++)
				slot[i] = i == bad ? send_spoilt(q, &pair[i], kind, &mr)
						   : rig_send(q, &pair[i], NULL, 0);
			assert_true(rig_was_cut(q));
			assert_false(q->done[slot[0]] || q->done[slot[1]]);
			come_again(q, mr);
		}
	}
	forms_down();
}

static void test_admin(void **state)
{
	(void)state;
	forms_up();
	for (enum bad_key kind = 0; kind < KEY_KINDS; kind++) {
		try_key(rig.admin, good_admin(NVME_ADMIN_IDENTIFY), kind);
		try_key(rig.admin, good_admin(NVME_ADMIN_GET_LOG_PAGE), kind);
		try_key(rig.admin, behaviour(NVME_ADMIN_SET_FEATURES), kind);
		try_key(rig.admin, behaviour(NVME_ADMIN_GET_FEATURES), kind);
		try_key(rig.admin, get_host_id(), kind);
	}
	forms_down();
}

static void assert_reserved(unsigned int registrants, uint8_t type)
{
	struct nvme_command sqe = good_io(NVME_IO_RESV_REPORT);
	const struct nvme_resv_status *head = (const void *)(rig.memory + LIST_AT);

	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
	assert_int_equal(head->registrants[0], registrants);
	assert_int_equal(head->type, type);
}

static void change(struct nvme_command sqe)
{
	assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), 0);
}

/* A host keeps what it has reserved when it comes again. */
static void test_reservations(void **state)
{
	const uint32_t type = NVME_RESV_WRITE_EXCLUSIVE;

	(void)state;
	forms_up();
	for (enum bad_key kind = 0; kind < KEY_KINDS; kind++) {
		try_key(rig.io[0], resv(NVME_IO_RESV_REGISTER, NVME_RREGA_REGISTER, 0, KEY), kind);
		assert_reserved(0, 0);
		try_key(rig.io[0], good_io(NVME_IO_RESV_REPORT), kind);
	}
	change(resv(NVME_IO_RESV_REGISTER, NVME_RREGA_REGISTER, 0, KEY));
	for (enum bad_key kind = 0; kind < KEY_KINDS; kind++) {
		try_key(rig.io[0],
			resv(NVME_IO_RESV_ACQUIRE, NVME_RACQA_ACQUIRE | type << 8, KEY, 0), kind);
		assert_reserved(1, 0);
	}
	change(resv(NVME_IO_RESV_ACQUIRE, NVME_RACQA_ACQUIRE | type << 8, KEY, 0));
	for (enum bad_key kind = 0; kind < KEY_KINDS; kind++) {
		try_key(rig.io[0],
			resv(NVME_IO_RESV_RELEASE, NVME_RRELA_RELEASE | type << 8, KEY, 0), kind);
		assert_reserved(1, (uint8_t)type);
		try_key(rig.io[0], resv(NVME_IO_RESV_REGISTER, NVME_RREGA_UNREGISTER, KEY, 0),
			kind);
		assert_reserved(1, (uint8_t)type);
	}
	change(resv(NVME_IO_RESV_RELEASE, NVME_RRELA_CLEAR, KEY, 0));
	assert_reserved(0, 0);
	forms_down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {leaks_test(test_io), leaks_test(test_fused),
					   leaks_test(test_admin), leaks_test(test_reservations)};

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
