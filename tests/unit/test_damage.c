// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is known of damaged memory, from the SIGBUS that tells of it to the blocks that hosts are refused:
 * these, and no others.
 */
#include "nvme_rig.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "export/file.h" /* the room's own */
#include "iwarp/iwarp.h"
#include "util/log.h"

#define PAGE KIB(4)

/* cmocka puts a handler of its own in the place of ours before each test. */
static struct sigaction ours;

static const struct rig_options small = {.lba_bytes = 512, .inline_bytes = 4096};

static struct rig rig;

/* ---- the list --------------------------------------------------------------------------------- */

static struct export *e;

/* "OFFSET+LENGTH …", in pages. */
static const char *known(void)
{
	static char text[EXPORT_MAX_BAD_RANGES * 24];
	struct export_range ranges[EXPORT_MAX_BAD_RANGES];
	const unsigned int nr = export_bad_ranges(e, ranges);
	size_t used = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < nr; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%llu+%llu",
					 i ? " " : "",
					 (unsigned long long)(ranges[i].offset / PAGE),
					 (unsigned long long)(ranges[i].length / PAGE));
	return text;
}

static bool add(uint64_t page, uint64_t pages)
{
	return damage_add(e->damage, page * PAGE, pages * PAGE);
}

static void clear(uint64_t page, uint64_t pages)
{
	damage_clear(e->damage, page * PAGE, pages * PAGE);
}

static void test_list(void **state)
{
	struct export_range bad;
	uint64_t found;

	(void)state;
	make_file("a", MIB(4));
	e = open_file("a");
	assert_false(export_bad(e, 0, UINT64_MAX / 2, &bad));
	assert_int_equal(export_bad_found(e), 0);
	/* Sorted, and one where they touch or overlap. */
	assert_true(add(20, 1) && add(10, 2) && add(30, 1));
	assert_string_equal(known(), "10+2 20+1 30+1");
	assert_true(add(12, 1) && add(19, 1));
	assert_string_equal(known(), "10+3 19+2 30+1");
	found = export_bad_found(e);
	assert_true(add(11, 1));
	assert_int_equal(export_bad_found(e), found);
	assert_true(add(12, 9));
	assert_string_equal(known(), "10+11 30+1");
	assert_true(export_bad_found(e) > found);
	/* The first that is touched; whole pages around what was said. */
	assert_true(damage_add(e->damage, 40 * PAGE + 100, PAGE));
	assert_string_equal(known(), "10+11 30+1 40+2");
	assert_false(export_bad(e, 0, 10 * PAGE, &bad));
	assert_false(export_bad(e, 21 * PAGE, 9 * PAGE, &bad));
	assert_true(export_bad(e, 21 * PAGE, 9 * PAGE + 1, &bad));
	assert_int_equal(bad.offset, 30 * PAGE);
	assert_true(export_bad(e, 20 * PAGE + PAGE - 1, MIB(1), &bad));
	assert_int_equal(bad.offset, 10 * PAGE);
	assert_int_equal(bad.length, 11 * PAGE);
	/* Whole pages only are well again. */
	damage_clear(e->damage, 30 * PAGE + 1, PAGE - 1);
	damage_clear(e->damage, 30 * PAGE, PAGE - 1);
	assert_string_equal(known(), "10+11 30+1 40+2");
	clear(30, 1);
	clear(41, 5);
	clear(5, 6);
	assert_string_equal(known(), "11+10 40+1");
	clear(14, 2);
	assert_string_equal(known(), "11+3 16+5 40+1");
	clear(0, 1000);
	assert_string_equal(known(), "");
	export_close(e);
}

/* What does not fit is not taken for something else. */
static void test_limit(void **state)
{
	struct export_range bad;
	const unsigned int last = EXPORT_MAX_BAD_RANGES - 1;

	(void)state;
	make_file("a", MIB(4));
	e = open_file("a");
	for (unsigned int i = 0; i < last; i++)
		assert_true(add(4 * i, 1));
	assert_true(add(4 * last, 3));
	assert_false(add(2, 1));
	assert_false(export_bad(e, 2 * PAGE, PAGE, &bad));
	assert_true(add(1, 1));
	/* The middle of one makes two: then it stays, rather than that any of it were lost. */
	clear(4 * last + 1, 1);
	assert_true(export_bad(e, (4 * last + 1) * PAGE, PAGE, &bad));
	assert_int_equal(bad.length, 3 * PAGE);
	clear(0, 2);
	clear(4 * last + 1, 1);
	assert_false(export_bad(e, (4 * last + 1) * PAGE, PAGE, &bad));
	assert_true(export_bad(e, (4 * last + 2) * PAGE, PAGE, &bad));
	export_close(e);
}

/* ---- how it is learned ------------------------------------------------------------------------ */

static int told_code, told_lsb;

/* An access that a test forbade is, to us, one that met damage. */
static void on_segv(int sig, siginfo_t *info, void *context)
{
	siginfo_t told = {.si_signo = SIGBUS, .si_code = told_code, .si_addr = info->si_addr};

	(void)sig;
	told.si_addr_lsb = (short)told_lsb;
	ours.sa_sigaction(SIGBUS, &told, context);
	abort();
}

static struct sigaction segv_before;

static void forbid(uint8_t *at, size_t bytes, int code, int lsb)
{
	struct sigaction action = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER};

	told_code = code;
	told_lsb = lsb;
	assert_int_equal(sigaction(SIGSEGV, &action, &segv_before), 0);
	assert_int_equal(mprotect(at, bytes, PROT_NONE), 0);
}

static void allow(uint8_t *at, size_t bytes)
{
	assert_int_equal(mprotect(at, bytes, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(sigaction(SIGSEGV, &segv_before, NULL), 0);
}

static void test_access(void **state)
{
	uint8_t buf[3 * PAGE] = {0};
	struct export_range bad;
	siginfo_t told = {.si_signo = SIGBUS, .si_code = BUS_MCEERR_AO};
	struct view *view;

	(void)state;
	assert_int_equal(sigaction(SIGBUS, &ours, NULL), 0);
	make_file("a", MIB(8));
	fill_file("a", 0, MIB(8));
	e = open_file("a");
	view = must_view(e);
	/* A page, as the kernel says; behind it all is well. */
	forbid(view->base + 8 * PAGE, PAGE, BUS_MCEERR_AR, 12);
	assert_int_equal(view_copy_in(view, 7 * PAGE, buf, sizeof(buf)), -EIO);
	assert_string_equal(known(), "8+1");
	assert_int_equal(view_copy_out(view, 8 * PAGE, buf, 512), -EIO);
	assert_int_equal(view_copy_out(view, 9 * PAGE, buf, PAGE), 0);
	allow(view->base + 8 * PAGE, PAGE);
	/* Now that it takes what is written: a part of the page does not mend it, all of it does. */
	assert_int_equal(view_copy_in(view, 8 * PAGE + 512, buf, 512), 0);
	assert_int_equal(view_copy_out(view, 8 * PAGE, buf, 512), -EIO);
	assert_int_equal(view_zero(view, 8 * PAGE, PAGE), 0);
	assert_string_equal(known(), "");
	assert_int_equal(view_copy_out(view, 8 * PAGE, buf, PAGE), 0);
	/* A huge page is damaged whole, within the file; nowhere else is anything. */
	forbid(view->base + MIB(4) + 5 * PAGE, PAGE, BUS_MCEERR_AR, 21);
	view_touch(view, MIB(4), 16 * PAGE);
	assert_string_equal(known(), "1024+512");
	allow(view->base + MIB(4) + 5 * PAGE, PAGE);
	damage_clear(e->damage, 0, MIB(8));
	/* The end of a file is no damage. */
	forbid(view->base + 8 * PAGE, PAGE, BUS_ADRERR, 0);
	assert_true(view_stage_out(view, 8 * PAGE, buf, 512) != 0);
	allow(view->base + 8 * PAGE, PAGE);
	assert_string_equal(known(), "");
	/* Told by the way: known at the next look. */
	told.si_addr = view->base + 3 * PAGE + 17;
	told.si_addr_lsb = 12;
	ours.sa_sigaction(SIGBUS, &told, NULL);
	assert_false(export_bad(e, 0, MIB(8), &bad));
	export_bad_collect();
	assert_string_equal(known(), "3+1");
	export_bad_collect();
	clear(3, 1);
	export_bad_collect();
	assert_string_equal(known(), "");
	view_free(view);
	/* An address of nobody's. */
	ours.sa_sigaction(SIGBUS, &told, NULL);
	export_bad_collect();
	assert_string_equal(known(), "");
	export_close(e);
}

/* ---- hosts ------------------------------------------------------------------------------------ */

static uint16_t moves(uint8_t opcode, uint64_t slba, uint32_t blocks)
{
	struct nvme_command sqe = rig_blocks(opcode, slba, blocks);

	rig_keyed(&rig, &sqe, 0, blocks * 512);
	return rig_do(rig.io[0], &sqe, NULL, 0);
}

static void *get_log(uint8_t page, uint32_t bytes)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_GET_LOG_PAGE);

	sqe.nsid = htole32(page == NVME_LOG_SMART ? NVME_NSID_ALL : 0);
	sqe.cdw10 = htole32(page | (bytes / 4 - 1) << 16);
	rig_keyed(&rig, &sqe, MIB(2), bytes);
	assert_int_equal(rig_do(rig.admin, &sqe, NULL, 0), 0);
	return rig.memory + MIB(2);
}

static uint64_t media_errors(void)
{
	const struct nvme_smart_log *smart = get_log(NVME_LOG_SMART, sizeof(*smart));
	le64 low;

	memcpy(&low, smart->media_errors, sizeof(low));
	return le64toh(low);
}

static void refused(uint8_t opcode, uint64_t slba, uint32_t blocks, uint64_t first)
{
	const uint64_t before = media_errors();
	const struct nvme_error_entry *newest;

	assert_int_equal(moves(opcode, slba, blocks) & ~NVME_SC_MORE, NVME_SC_READ_ERROR);
	assert_int_equal(media_errors(), before + 1);
	newest = get_log(NVME_LOG_ERROR, sizeof(*newest));
	assert_int_equal(le16toh(newest->status) >> 1 & ~NVME_SC_MORE, NVME_SC_READ_ERROR);
	assert_int_equal(le64toh(newest->lba), first);
	assert_int_equal(le32toh(newest->nsid), RIG_NSID);
}

static void test_blocks(void **state)
{
	struct export_range bad;
	struct export *there;

	(void)state;
	rig_up(&rig, &small);
	there = (struct export *)(uintptr_t)holding_export(rig.h);
	e = there;
	/* Blocks 128 to 135. */
	assert_true(damage_add(there->damage, KIB(64), PAGE));
	assert_int_equal(moves(NVME_IO_READ, 0, 128), 0);
	assert_int_equal(moves(NVME_IO_READ, 136, 128), 0);
	refused(NVME_IO_READ, 127, 2, 128);
	refused(NVME_IO_READ, 0, 256, 128);
	refused(NVME_IO_READ, 131, 1, 131);
	refused(NVME_IO_READ, 135, 8, 135);
	refused(NVME_IO_COMPARE, 130, 1, 130);
	refused(NVME_IO_VERIFY, 100, 100, 128);
	/* What can be written is, and what was written whole can be read. */
	assert_int_equal(moves(NVME_IO_WRITE, 129, 1), 0);
	refused(NVME_IO_READ, 129, 1, 129);
	assert_int_equal(moves(NVME_IO_WRITE, 120, 32), 0);
	assert_false(export_bad(there, 0, RIG_BYTES, &bad));
	assert_int_equal(moves(NVME_IO_READ, 0, 256), 0);
	/* By zeroes, too. */
	assert_true(damage_add(there->damage, KIB(64), PAGE));
	assert_int_equal(moves(NVME_IO_WRITE_ZEROES, 128, 8), 0);
	assert_int_equal(moves(NVME_IO_READ, 0, 256), 0);
	rig_down(&rig);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_list),
		leaks_test(test_limit),
		leaks_test(test_access),
		leaks_test(test_blocks),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	log_set_level(getenv("LEASEHOLD_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	tenure_block_signals();
	if (export_guard_init() || sigaction(SIGBUS, NULL, &ours))
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run_group);
}
