// SPDX-License-Identifier: BSD-3-Clause
/*
 * Command capsules sent to a whole target over the software fabric: an admin queue and two I/O
 * queues, several commands in flight. Each is answered, once, or its connection ends; nothing else
 * may happen. State lasts from one input to the next, as it does for hosts: an input that breaks
 * something may need those before it.
 *
 * Input: records of one byte "where", one byte "mend", the 64 bytes of the command, two bytes of
 * length, so many bytes of data. What is mended saves the fuzzer from guessing keys and numbers.
 */
#include "fuzz.h"

#include "nvme_rig.h"
#include "iwarp/iwarp.h"
#include "util/log.h"

#include <stdio.h>

#define WHERE_QUEUE  0x03 /* 0: admin, 1 and 2: I/O */
#define WHERE_NOW    0x04 /* waits for the answer before the next */
#define WHERE_RANGES 0x08 /* the data are ranges: mend their blocks */
#define WHERE_WILD \
	0xe0 /* all of it: keys may be wrong, or be invalidated, which ends the connection */
#define MEND_FLAGS   0x01 /* SGLs; FUSE stays */
#define MEND_NSID    0x02
#define MEND_KEYED   0x04 /* a key and an address of ours; length modulo 128 KiB */
#define MEND_CAPSULE 0x08 /* the data behind the command */
#define MEND_LIST    0x10 /* the data are descriptors: keys and addresses of ours */
#define MEND_SLBA    0x20 /* within the namespace, more or less */
#define MEND_BLOCKS  0x40 /* few */
#define MEND_FITS    0x80 /* the length is that of the blocks, or of a log page's dwords */

#define MEND_ANY (MEND_KEYED | MEND_CAPSULE | MEND_LIST)

#define INLINE	    8192u
#define MAX_RECORDS 24u
#define BLOCKS	    (RIG_BYTES / 512)
#define LENGTH_MASK 0x1ffffu
#define WAIT_LOOKS  1000u /* of 500 turns each: half a minute */

static struct rig rig;
static const struct rig_options options = {.lba_bytes = 512, .inline_bytes = INLINE};

struct flight {
	struct rig_queue *q;
	unsigned int slot;
	bool event; /* is asked for: answered when there is one */
};

static void clean_up(void)
{
	remove_tree(test_dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *parent = getenv("LEASEHOLD_TEST_DIR");

	(void)argc;
	(void)argv;
	(void)setenv("CMOCKA_TEST_ABORT", "1", 1);
	log_set_level(LOG_LEVEL_ERROR);
	tenure_block_signals();
	if (export_guard_init())
		abort();
	iwarp_set_copy_hook(export_guarded_copy);
	(void)snprintf(test_dir, sizeof(test_dir), "%s/leasehold-fuzz-XXXXXX",
		       parent ? parent : "/dev/shm");
	if (!mkdtemp(test_dir))
		abort();
	(void)atexit(clean_up);
	(void)mkdir(in_dir("run"), 0700);
	rig_up(&rig, &options);
	return 0;
}

/* Of the record at hand. */
static bool wild;

/* The key is a registration's, which cannot be invalidated from afar: asking for it ends the connection. */
static uint8_t subtype(const struct nvme_sgl_desc *sgl)
{
	uint8_t type = sgl->type & 0x0f;

	return type == NVME_SGL_INVALIDATE && !wild ? NVME_SGL_ADDRESS : type;
}

static void put_keyed(struct nvme_sgl_desc *sgl)
{
	uint32_t length = nvme_keyed_sgl_length(sgl) & LENGTH_MASK;
	uint64_t at = le64toh(sgl->address) % (RIG_MEMORY - LENGTH_MASK);

	nvme_keyed_sgl_set(sgl, (uint64_t)(uintptr_t)(rig.memory + at), length, rig.mr->rkey,
			   subtype(sgl));
}

/* How many bytes the command is about. */
static uint32_t wanted(const struct nvme_command *sqe, bool admin)
{
	if (admin && sqe->opcode == NVME_ADMIN_GET_LOG_PAGE)
		return ((le32toh(sqe->cdw10) >> 16) + 1) * 4;
	if (admin && sqe->opcode == NVME_ADMIN_IDENTIFY)
		return 4096;
	return ((le32toh(sqe->cdw12) & 0xffff) + 1) * 512;
}

static void mend_command(struct nvme_command *sqe, uint8_t mend, bool admin, uint16_t bytes)
{
	if (mend & MEND_FLAGS)
		sqe->flags = (uint8_t)((sqe->flags & NVME_FLAGS_FUSE_MASK) % 3 | NVME_FLAGS_SGL);
	if (mend & MEND_NSID && sqe->opcode != NVME_FABRICS)
		sqe->nsid = htole32(RIG_NSID);
	if (mend & MEND_SLBA && !admin) {
		sqe->cdw10 = htole32(le32toh(sqe->cdw10) % (BLOCKS + 8));
		sqe->cdw11 = 0;
	}
	if (mend & MEND_BLOCKS && !admin)
		sqe->cdw12 &= htole32(0xffff003f);
	if (mend & MEND_CAPSULE) {
		nvme_offset_sgl_set(&sqe->sgl, 0, bytes);
	} else if (mend & MEND_LIST) {
		nvme_offset_sgl_set(&sqe->sgl, 0, bytes);
		sqe->sgl.type = NVME_SGL_LAST_SEGMENT << 4 | NVME_SGL_OFFSET;
	} else if (mend & MEND_KEYED) {
		sqe->sgl.type = NVME_SGL_KEYED_DATA_BLOCK << 4 | (sqe->sgl.type & 0x0f);
		put_keyed(&sqe->sgl);
		if (mend & MEND_FITS)
			nvme_keyed_sgl_set(&sqe->sgl, le64toh(sqe->sgl.address),
					   wanted(sqe, admin) & LENGTH_MASK, rig.mr->rkey,
					   subtype(&sqe->sgl));
	}
}

static void mend_list(uint8_t *data, uint16_t bytes)
{
	for (uint16_t at = 0; at + sizeof(struct nvme_sgl_desc) <= bytes;
	     at = (uint16_t)(at + sizeof(struct nvme_sgl_desc))) {
		struct nvme_sgl_desc sgl;

		memcpy(&sgl, data + at, sizeof(sgl));
		put_keyed(&sgl);
		memcpy(data + at, &sgl, sizeof(sgl));
	}
}

/* Ranges of Deallocate and sources of Copy, each within the namespace. */
static void mend_ranges(uint8_t *data, uint16_t bytes, bool copy)
{
	const uint16_t size = copy ? sizeof(struct nvme_copy_range) : sizeof(struct nvme_dsm_range);

	for (uint16_t at = 0; at + size <= bytes; at = (uint16_t)(at + size)) {
		le64 slba;

		memcpy(&slba, data + at + 8, sizeof(slba));
		slba = htole64(le64toh(slba) % BLOCKS);
		memcpy(data + at + 8, &slba, sizeof(slba));
		memset(data + at + (copy ? 17 : 5), 0, copy ? 1 : 3);
	}
}

static bool broken(void)
{
	return rig.admin->dead || rig.io[0]->dead || rig.io[1]->dead;
}

/* Waits for the answer; false if a connection ended before it. */
static bool wait_for(struct rig_queue *q, unsigned int slot)
{
	for (unsigned int i = 0; i < WAIT_LOOKS && !broken(); i++) {
		if (rig_answered(q, slot))
			return true;
	}
	if (broken())
		return false;
	(void)fprintf(stderr, "a command was never answered\n");
	abort();
}

static bool works(struct rig_queue *q, const struct nvme_command *sqe)
{
	unsigned int slot;

	if (broken())
		return false;
	slot = rig_send(q, sqe, NULL, 0);
	return wait_for(q, slot) && le16toh(q->cqe[slot].status) >> 1 == 0;
}

/* Commands for events wait for ever: they are aborted. */
static bool abort_event(unsigned int slot)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_ABORT);

	sqe.nsid = 0;
	sqe.cdw10 = htole32(slot << 16);
	return works(rig.admin, &sqe);
}

/* Everything is answered, or the host has to come anew. */
static bool settle(const struct flight *flights, unsigned int n)
{
	struct nvme_command flush = rig_command(NVME_IO_FLUSH);
	struct nvme_command alive = rig_command(NVME_ADMIN_KEEP_ALIVE);

	/* A first half waits for what comes behind it. And a controller may be reset, or shut down. */
	alive.nsid = 0;
	if (!works(rig.io[0], &flush) || !works(rig.io[1], &flush) || !works(rig.admin, &alive))
		return false;
	for (unsigned int i = 0; i < n; i++) {
		const struct flight *f = &flights[i];

		if (f->event && !f->q->done[f->slot] && !abort_event(f->slot))
			return false;
		if (!wait_for(f->q, f->slot))
			return false;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct flight flights[MAX_RECORDS];
	unsigned int n = 0;

	while (in.left > 0 && n < MAX_RECORDS && !broken()) {
		uint8_t where = fuzz_byte(&in), mend = fuzz_byte(&in), bytes[INLINE + 16];
		struct rig_queue *queues[] = {rig.admin, rig.io[0], rig.io[1], rig.io[0]};
		struct rig_queue *q = queues[where & WHERE_QUEUE];
		struct nvme_command sqe;
		uint16_t length;

		fuzz_take(&in, &sqe, sizeof(sqe));
		length = (uint16_t)(fuzz_u16(&in) % (INLINE + 1));
		if (length > in.left)
			length = (uint16_t)in.left;
		fuzz_take(&in, bytes, length);
		wild = (where & WHERE_WILD) == WHERE_WILD;
		if (!wild && !(mend & MEND_ANY))
			mend |= sqe.sgl.type >> 4 == NVME_SGL_LAST_SEGMENT ? MEND_LIST : MEND_KEYED;
		mend_command(&sqe, mend, q == rig.admin, length);
		if (mend & MEND_LIST)
			mend_list(bytes, length);
		else if (where & WHERE_RANGES)
			mend_ranges(bytes, length, sqe.opcode == NVME_IO_COPY);
		flights[n].q = q;
		flights[n].event = q == rig.admin && sqe.opcode == NVME_ADMIN_ASYNC_EVENT;
		flights[n].slot = rig_send(q, &sqe, bytes, length);
		if (where & WHERE_NOW && !flights[n].event && sqe.flags % 4 == 0)
			(void)rig_answered(q, flights[n].slot);
		n++;
	}
	if (!settle(flights, n)) {
		rig_host_down(&rig);
		rig_host_up(&rig);
	}
	return 0;
}
