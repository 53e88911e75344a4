// SPDX-License-Identifier: BSD-3-Clause
/* The target of tests of I/O commands, and the ways that their bytes go. */
#include "nvme_io_rig.h"

#include <stdlib.h>

#include "iwarp/iwarp.h"
#include "util/log.h"

const struct rig_options small = {.lba_bytes = 512, .inline_bytes = 4096};

struct rig rig;
struct rig_queue *io;

enum region_choice registration;
bool journal;

void up(const struct rig_options *options)
{
	struct rig_options with = *options;

	with.registration = registration;
	with.journal = journal;
	rig_up(&rig, &with);
	io = rig.io[0];
}

uint32_t lba(void)
{
	return rig.options.lba_bytes;
}

void assert_file(uint64_t offset, uint64_t length, int byte)
{
	uint8_t *bytes = malloc(length);

	assert_non_null(bytes);
	rig_read(&rig, offset, bytes, length);
	for (uint64_t i = 0; i < length; i++) {
		int want = byte < 0 ? fill_byte(offset + i) : byte;

		if (bytes[i] != want)
			print_error("byte %llu\n", (unsigned long long)(offset + i));
		assert_int_equal(bytes[i], want);
	}
	free(bytes);
}

struct nvme_command moving(uint8_t opcode, uint64_t slba, uint32_t blocks)
{
	struct nvme_command sqe = rig_blocks(opcode, slba, blocks);

	rig_keyed(&rig, &sqe, 0, blocks * lba());
	return sqe;
}

uint16_t simple(const struct nvme_command *sqe)
{
	return rig_do(io, sqe, NULL, 0);
}

/* ---- each way --------------------------------------------------------------------------------- */

static int (*run)(const char *name);

static int run_ways(const char *where)
{
	char name[128];
	int failed;

	registration = REGION_AUTO;
	failed = run(where);
	/* Copies of a page-cache file are those of its holes. */
	if (strcmp(where, "/var/tmp") != 0) {
		registration = REGION_STAGED;
		(void)snprintf(name, sizeof(name), "%s, staged", where);
		failed += run(name);
		registration = REGION_AUTO;
		journal = true;
		(void)snprintf(name, sizeof(name), "%s, with a journal", where);
		failed += run(name);
		journal = false;
	}
	return failed;
}

int io_main(int (*group)(const char *name))
{
	log_set_level(getenv("LEASEHOLD_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	tenure_block_signals();
	if (export_guard_init())
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	run = group;
	return for_each_dir(run_ways);
}
