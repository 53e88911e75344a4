// SPDX-License-Identifier: BSD-3-Clause
/*
 * Exports with sector_atomic = "journal": a crash in the middle of a write leaves blocks that are torn, and
 * the next start makes them whole; but what others have done to the file meanwhile is not undone. The crash
 * is a process that ends between journal_begin() and journal_end().
 */
#include "journal_rig.h"

#include <dirent.h>

#include "export/file.h"

/* ---- crashes ---------------------------------------------------------------------------------- */

static void test_torn(void **state)
{
	(void)state;
	make_old();
	die_between(LBA + 100, 3 * LBA - 7);
	assert_int_equal(live_records(), 1);
	start_again();
	/* The write is whole: all of it. */
	assert_true(all_are(AT, NEW, LENGTH));
	assert_true(all_are(AT - LENGTH, OLD, LENGTH));
	assert_true(all_are(AT + LENGTH, OLD, LENGTH));
	assert_int_equal(live_records(), 0);
	/* Not once more. */
	put(AT, OLD, LBA / 2);
	start_again();
	assert_true(all_are(AT, OLD, LBA / 2));
}

static void test_not_begun(void **state)
{
	(void)state;
	make_old();
	die_between(0, 0);
	assert_int_equal(live_records(), 1);
	start_again();
	assert_true(all_are(AT, OLD, LENGTH));
	assert_int_equal(live_records(), 0);
}

/* Over holes, which are none any more when it begins: what is one afterwards was made by others. */
static void test_over_holes(void **state)
{
	(void)state;
	make_file("a", SIZE);
	die_between(0, PAGE + 100);
	assert_int_equal(allocated_bytes("a"), LENGTH);
	start_again();
	assert_true(all_are(AT, NEW, LENGTH));
}

/* Power fails while the record is written: nothing was begun. And what is there is not believed. */
static void test_torn_record(void **state)
{
	static const uint64_t places[] = {
		offsetof(struct journal_record, offset), offsetof(struct journal_record, sequence),
		sizeof(struct journal_record) + 5, sizeof(struct journal_record) + 2 * LENGTH - 1};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
		make_old();
		die_between(LBA / 2, LENGTH);
		flip(journal_path(), JOURNAL_HEAD_BYTES + places[i]);
		start_again();
		assert_true(all_are(AT, OLD, LBA / 2));
		assert_true(all_are(AT + LBA / 2, NEW, LENGTH - LBA / 2));
		/* Its slot is as good as another. */
		die_between(0, LENGTH - LBA / 2);
		start_again();
		assert_true(all_are(AT, NEW, LENGTH));
	}
}

/* The start that makes it whole dies in the middle of that. */
static void test_torn_again(void **state)
{
	static uint8_t kept[JOURNAL_FILE_BYTES];
	int fd;

	(void)state;
	make_old();
	die_between(0, 5 * LBA + 5);
	fd = open(journal_path(), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, kept, sizeof(kept), 0), sizeof(kept));
	for (uint64_t cut = 0; cut <= LENGTH; cut += 3 * PAGE / 4 + 1) {
		put(AT, NEW, LENGTH);
		put(AT + cut, OLD, LENGTH - cut);
		assert_int_equal(pwrite(fd, kept, sizeof(kept), 0), sizeof(kept));
		start_again();
		assert_true(all_are(AT, cut == 0 ? OLD : NEW, LENGTH));
	}
	(void)close(fd);
}

/* ---- what others have done between crash and start ------------------------------------------- */

static void test_written_since(void **state)
{
	(void)state;
	make_old();
	die_between(LBA / 2, 3 * LBA + 9);
	/* A whole block, part of one that was whole, part of one that is torn. */
	put(AT + LBA, OTHER, LBA);
	put(AT + 2 * LBA + 5, OTHER, 20);
	put(AT + 3 * LBA + 100, OTHER, 20);
	put(AT + 8 * LBA, OTHER, 1);
	start_again();
	assert_true(all_are(AT, NEW, LBA)); /* torn, and nobody's since */
	assert_true(all_are(AT + LBA, OTHER, LBA));
	assert_true(all_are(AT + 2 * LBA + 5, OTHER, 20));
	assert_true(all_are(AT + 3 * LBA + 100, OTHER, 20));
	assert_true(all_are(AT + 3 * LBA, NEW, 9));
	assert_true(all_are(AT + 3 * LBA + 9, OLD, 91));
	/* Nor is written what had not begun: the write is in pieces already. */
	assert_true(all_are(AT + 4 * LBA, OLD, 4 * LBA));
	assert_true(all_are(AT + 8 * LBA, OTHER, 1));
	assert_true(all_are(AT + 9 * LBA, OLD, LBA));
	assert_int_equal(live_records(), 0);
}

/* From a copy, say. */
static void test_put_back(void **state)
{
	(void)state;
	make_old();
	die_between(0, 5 * LBA - 100);
	put(AT, OLD, LENGTH);
	start_again();
	assert_true(all_are(AT, OLD, LENGTH));
}

/* A block that the write does not change is the same before and after: of whether it has begun it says nothing. */
static void test_unchanged_block(void **state)
{
	(void)state;
	make_old();
	put(AT + 3 * LBA, NEW, LBA);
	die_between(0, 0);
	start_again();
	assert_true(all_are(AT, OLD, 3 * LBA));
	assert_true(all_are(AT + 3 * LBA, NEW, LBA));
	assert_true(all_are(AT + 4 * LBA, OLD, LENGTH - 4 * LBA));
	assert_int_equal(live_records(), 0);
	/* One that has begun is made whole as ever. */
	die_between(LBA, 2 * LBA);
	start_again();
	assert_true(all_are(AT, NEW, LENGTH));
}

static void test_truncated_since(void **state)
{
	(void)state;
	make_old();
	die_between(0, LENGTH - LBA / 2);
	assert_int_equal(truncate(in_dir("a"), AT + 2 * PAGE), 0);
	start_again();
	assert_int_equal(file_bytes("a"), AT + 2 * PAGE);
	/* And made long again, with a hole. */
	make_old();
	die_between(LBA / 2, LENGTH);
	assert_int_equal(truncate(in_dir("a"), AT + 2 * PAGE), 0);
	assert_int_equal(truncate(in_dir("a"), SIZE), 0);
	start_again();
	assert_true(all_are(AT, NEW, 2 * PAGE));
	assert_true(all_are(AT + 2 * PAGE, 0, 2 * PAGE));
	assert_int_equal(allocated_bytes("a"), AT + 2 * PAGE);
}

static void test_punched_since(void **state)
{
	(void)state;
	/* Zeros are written over what was none, and over what were zeros: a hole is either of them. */
	for (int old = 0; old <= OLD; old += OLD) {
		make_old();
		put(AT, old, LENGTH);
		die_between(0, LENGTH - PAGE - LBA / 2);
		alter_file("a", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, AT + PAGE, PAGE);
		start_again();
		assert_true(all_are(AT, NEW, PAGE));
		assert_true(all_are(AT + PAGE, 0, PAGE));
		assert_true(all_are(AT + 2 * PAGE, NEW, PAGE));
		assert_true(all_are(AT + 3 * PAGE, old, PAGE));
		assert_int_equal(allocated_bytes("a"), SIZE - PAGE);
	}
}

/* How many journals there are, under whatever name. */
static unsigned int journals(void)
{
	DIR *dir = opendir(in_dir("state/journals"));
	unsigned int n = 0;

	assert_non_null(dir);
	for (const struct dirent *entry; (entry = readdir(dir));)
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	(void)closedir(dir);
	return n;
}

/* Another file, with the same bytes, takes the name of the one that was being written to, which is "c" then. */
static void replace_file(void)
{
	make_file("b", SIZE);
	assert_int_equal(rename(in_dir("a"), in_dir("c")), 0);
	assert_int_equal(rename(in_dir("b"), in_dir("a")), 0);
	for (uint64_t at = 0; at < SIZE; at += LENGTH)
		put(at, OLD, LENGTH);
	put(AT, NEW, 5 * LBA + 5);
}

static void put_file_back(void)
{
	assert_int_equal(rename(in_dir("c"), in_dir("a")), 0);
}

static bool is_torn(void)
{
	return all_are(AT, NEW, 5 * LBA + 5) &&
	       all_are(AT + 5 * LBA + 5, OLD, LENGTH - 5 * LBA - 5);
}

static void test_replaced(void **state)
{
	struct export_config config = journaled();

	(void)state;
	make_old();
	die_between(0, 5 * LBA + 5);
	replace_file();
	must_fail(&config, -EREMCHG, "not the file");
	/* A start that is refused has done nothing to what is of another file. */
	config.adopt = true;
	export_close(must_open(&config));
	assert_int_equal(live_records(), 1);
	start(&config);
	assert_true(is_torn());
	assert_int_equal(live_records(), 0);
	assert_int_equal(journals(), 2);
	/* The other one is made whole when it is served again, under whatever name. */
	put_file_back();
	assert_true(is_torn());
	config.name = "other";
	start(&config);
	assert_true(all_are(AT, NEW, LENGTH));
	assert_int_equal(journals(), 2);
	assert_int_equal(live_in(in_dir("state/journals/other")), 0);
	assert_int_equal(unlink(in_dir("state/exports/disk")), 0);
	assert_int_equal(unlink(in_dir("state/exports/other")), 0);
	/* Nor does what has nothing to say stay. */
	config.name = "disk";
	config.sector_atomic = false;
	start(&config);
	assert_int_equal(journals(), 0);
}

/* Without one of its own the export leaves the other file's alone. */
static void test_replaced_and_off(void **state)
{
	struct export_config config = journaled();

	(void)state;
	make_old();
	die_between(0, 5 * LBA + 5);
	replace_file();
	config.adopt = true;
	config.sector_atomic = false;
	start(&config);
	assert_true(is_torn());
	assert_int_equal(live_records(), 1);
	put_file_back();
	start(&config);
	assert_true(all_are(AT, NEW, LENGTH));
	assert_int_equal(journals(), 0);
	assert_int_equal(unlink(in_dir("state/exports/disk")), 0);
}

static void test_export_renamed(void **state)
{
	struct export_config config = journaled();

	(void)state;
	make_old();
	die_between(0, 5 * LBA + 5);
	config.name = "other";
	start(&config);
	assert_true(all_are(AT, NEW, LENGTH));
	assert_int_equal(access(journal_path(), F_OK), -1);
	config.sector_atomic = false;
	start(&config);
	assert_int_equal(journals(), 0);
	assert_int_equal(unlink(in_dir("state/exports/other")), 0);
}

static void test_file_renamed(void **state)
{
	struct export_config config = journaled();

	(void)state;
	make_old();
	die_between(0, 5 * LBA + 5);
	assert_int_equal(rename(in_dir("a"), in_dir("c")), 0);
	config.path = in_dir("c");
	start(&config);
	put_file_back();
	assert_true(all_are(AT, NEW, LENGTH));
	assert_int_equal(live_records(), 0);
}

/* Who reads is not to see it either. */
static void test_read_only(void **state)
{
	struct export_config config = journaled();

	(void)state;
	for (int on = 0; on <= 1; on++) {
		make_old();
		die_between(LBA / 2, LENGTH);
		config.read_only = true;
		config.sector_atomic = on;
		start(&config);
		assert_true(all_are(AT, NEW, LENGTH));
		assert_int_equal(access(journal_path(), F_OK), -1);
	}
}

/* ---- with and without ------------------------------------------------------------------------- */

static void test_turned_off(void **state)
{
	struct export_config config = journaled();
	struct export *e;

	(void)state;
	make_old();
	die_between(100, LENGTH);
	config.sector_atomic = false;
	e = must_open(&config);
	assert_int_equal(export_atomic_bytes(e), 0);
	view_free(must_view(e));
	assert_true(all_are(AT, NEW, LENGTH));
	assert_int_equal(access(journal_path(), F_OK), -1);
	/* A folder is not made for it. */
	export_close(e);
	assert_int_equal(rmdir(in_dir("state/journals")), 0);
	start(&config);
	assert_int_equal(access(in_dir("state/journals"), F_OK), -1);
	config.sector_atomic = config.read_only = true;
	e = must_open(&config);
	assert_int_equal(export_atomic_bytes(e), 0);
	view_free(must_view(e));
	export_close(e);
	assert_int_equal(access(in_dir("state/journals"), F_OK), -1);
}

/* Nobody was told of the export: it has left nothing, and taken nothing away. */
static void test_refused_start(void **state)
{
	struct export_config config = journaled();

	(void)state;
	make_old();
	config.state_dir = in_dir("state2");
	export_close(must_open(&config));
	assert_int_equal(access(in_dir("state2/journals/disk"), F_OK), -1);
	/* The identity is a new one, and the journal is not. */
	die_between(0, LBA / 2);
	assert_int_equal(unlink(in_dir("state/exports/disk")), 0);
	config.state_dir = in_dir("state");
	export_close(must_open(&config));
	assert_int_equal(live_records(), 1);
	start(&config);
	assert_true(all_are(AT, NEW, LENGTH));
}

/* ---- the file -------------------------------------------------------------------------------- */

static bool watched;
static uint64_t head_magic[8]; /* of the journal, at each fsync(2) of it */
static unsigned int fsyncs;

int __real_fsync(int fd);
int __wrap_fsync(int fd);

int __wrap_fsync(int fd)
{
	struct stat st;

	if (watched && !fstat(fd, &st) && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size == JOURNAL_FILE_BYTES && fsyncs < ARRAY_SIZE(head_magic)) {
		assert_int_equal(pread(fd, &head_magic[fsyncs], sizeof(*head_magic), 0),
				 sizeof(*head_magic));
		fsyncs++;
	}
	return __real_fsync(fd);
}

/* Whenever power fails, there is a whole head, or none: which is no reason to refuse anything. */
static void test_half_made(void **state)
{
	const uint64_t none = 0;
	int fd;

	(void)state;
	make_old();
	(void)unlink(journal_path());
	watched = true;
	start_again();
	watched = false;
	assert_int_equal(fsyncs, 2);
	assert_int_equal(head_magic[0], 0);
	assert_int_not_equal(head_magic[1], 0);
	fsyncs = 0;
	fd = open(journal_path(), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, &none, sizeof(none), 0), sizeof(none));
	start_again();
	die_between(0, LBA / 2);
	start_again();
	assert_true(all_are(AT, NEW, LENGTH));
	assert_int_equal(ftruncate(fd, 0), 0);
	start_again();
	assert_int_equal(live_records(), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	(void)close(fd);
	/* And without one it goes. */
	struct export_config config = journaled();

	config.sector_atomic = false;
	start(&config);
	assert_int_equal(access(journal_path(), F_OK), -1);
}

/* A start has no use for the memory of slots with nothing in them. */
static void test_little_memory(void **state)
{
	const struct export_config config = journaled();
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t bytes = (size_t)JOURNAL_SLOTS * JOURNAL_SLOT_BYTES, pages = bytes / page;
	unsigned char *resident = calloc(pages, 1);
	struct export *e;
	unsigned int n = 0;
	struct view *view;

	(void)state;
	assert_non_null(resident);
	make_old();
	die_between(0, LBA / 2);
	e = must_open(&config);
	view = must_view(e);
	assert_true(all_are(AT, NEW, LENGTH));
	assert_int_equal(mincore(e->journal->memory, bytes, resident), 0);
	for (size_t i = 0; i < pages; i++)
		n += resident[i] & 1;
	assert_in_range(n, 1, 2 * (LENGTH / page) + 2);
	view_free(view);
	export_became_known(e);
	export_close(e);
	free(resident);
}

static int run(const char *name)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_torn),
		leaks_test(test_not_begun),
		leaks_test(test_over_holes),
		leaks_test(test_torn_record),
		leaks_test(test_torn_again),
		leaks_test(test_written_since),
		leaks_test(test_put_back),
		leaks_test(test_unchanged_block),
		leaks_test(test_truncated_since),
		leaks_test(test_punched_since),
		leaks_test(test_replaced),
		leaks_test(test_replaced_and_off),
		leaks_test(test_export_renamed),
		leaks_test(test_file_renamed),
		leaks_test(test_read_only),
		leaks_test(test_turned_off),
		leaks_test(test_refused_start),
		leaks_test(test_half_made),
		leaks_test(test_little_memory),
	};

	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
	return journal_main(run, NULL);
}
