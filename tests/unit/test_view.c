// SPDX-License-Identifier: BSD-3-Clause
/* Views: what of a file may be registered, and that preparing it takes nothing away. */
#include "test_export_rig.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "export/extents.h" /* the room's own: what it makes of any map of extents */
#include "export/persistence.h"
#include "tenure/lease.h"

#define PAGE KIB(4)

/* Every byte of [offset, offset + bytes) is what fill_file() wrote, or 0, read by read(2). */
static void check_file(const char *name, uint64_t offset, uint64_t bytes, bool filled)
{
	int fd = open(in_dir(name), O_RDONLY | O_CLOEXEC);
	uint8_t *buf = malloc(bytes);

	assert_true(fd >= 0);
	assert_non_null(buf);
	assert_int_equal(pread(fd, buf, bytes, (off_t)offset), bytes);
	for (uint64_t i = 0; i < bytes; i++)
		if (buf[i] != (filled ? fill_byte(offset + i) : 0))
			fail_msg("byte %llu is %u", (unsigned long long)(offset + i), buf[i]);
	free(buf);
	(void)close(fd);
}

/* The runs are these, pairs of offset and length; 0, 0 ends. */
static void check_runs(const struct view *view, const uint64_t *expected)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < view->nr_runs; i++)
		print_message("run %u: %llu + %llu\n", i, (unsigned long long)view->runs[i].offset,
			      (unsigned long long)view->runs[i].length);
	for (; expected[1]; expected += 2, n++) {
		assert_true(n < view->nr_runs);
		assert_int_equal(view->runs[n].offset, expected[0]);
		assert_int_equal(view->runs[n].length, expected[1]);
	}
	assert_int_equal(view->nr_runs, n);
}

#define RUNS(...) ((const uint64_t[]){__VA_ARGS__, 0, 0})

/* A view under tenure, which making it must not break. */
static struct view *leased_view(struct export *e)
{
	struct view *view;

	assert_int_equal(lease_take(export_fd(e)), 0);
	view = must_view(e);
	assert_int_equal(lease_check(export_fd(e)), TENURE_HELD);
	return view;
}

static void drop(struct view *view)
{
	struct export *e = view->export;

	view_free(view);
	export_close(e); /* and the lease goes with it */
}

static void test_full(void **state)
{
	struct view *view;

	(void)state;
	make_file("a", MIB(5));
	fill_file("a", 0, MIB(5));
	view = leased_view(open_file("a"));
	assert_int_equal((uintptr_t)view->base % MIB(2), 0);
	assert_int_equal(view->generation, 1);
	assert_int_equal(view->size_bytes, MIB(5));
	assert_int_equal(view->mapped_bytes, MIB(5));
	assert_int_equal(view->backed_bytes, MIB(5));
	assert_int_equal(view->hole_bytes, 0);
	assert_int_equal(view->shared_bytes, 0);
	check_runs(view, RUNS(0, MIB(5)));
	for (uint64_t at = 0; at < MIB(5); at += 511)
		assert_int_equal(view->base[at], fill_byte(at));
	assert_true(view_backed(view, 0, MIB(5)));
	assert_false(view_backed(view, 1, MIB(5)));
	assert_false(view_backed(view, MIB(5), 1));
	assert_false(view_backed(view, UINT64_MAX, 2));
	assert_ptr_equal(view_run_at(view, MIB(5) - 1), &view->runs[0]);
	assert_null(view_run_at(view, MIB(5)));
	drop(view);
}

static void test_odd_sizes(void **state)
{
	static const uint64_t sizes[] = {512,  513,	   4095,       4096,
					 4097, MIB(2) - 1, MIB(2) + 1, 1048576 + 1234};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct view *view;

		make_file("a", sizes[i]);
		fill_file("a", 0, sizes[i]);
		view = leased_view(open_file("a"));
		assert_int_equal(view->size_bytes, align_down(sizes[i], 512));
		assert_int_equal(view->mapped_bytes, align_up(sizes[i], PAGE));
		assert_int_equal(view->backed_bytes, sizes[i]);
		assert_int_equal(view->hole_bytes, 0);
		check_runs(view, RUNS(0, align_up(sizes[i], PAGE)));
		drop(view);
		assert_int_equal(file_bytes("a"), sizes[i]);
		check_file("a", 0, sizes[i], true);
	}
}

static void test_shrunk_to_nothing(void **state)
{
	struct export *e;
	struct errtext err;
	struct view *view;

	(void)state;
	make_file("a", MIB(1));
	e = open_file("a");
	assert_int_equal(ftruncate(export_fd(e), 511), 0);
	assert_int_equal(view_new(e, 1, NULL, NULL, &view, &err), -ENODATA);
	export_close(e);
}

static void test_sparse(void **state)
{
	uint64_t before;
	struct view *view;

	(void)state;
	make_file("a", MIB(8));
	view = leased_view(open_file("a"));
	check_runs(view, RUNS(0, 0));
	assert_int_equal(view->hole_bytes, MIB(8));
	assert_null(view_run_at(view, 0));
	drop(view);

	fill_file("a", KIB(64), KIB(64));
	fill_file("a", MIB(1), PAGE);
	fill_file("a", MIB(6), MIB(2));
	before = allocated_bytes("a");
	view = leased_view(open_file("a"));
	check_runs(view, RUNS(KIB(64), KIB(64), MIB(1), PAGE, MIB(6), MIB(2)));
	assert_int_equal(view->backed_bytes, MIB(2) + KIB(64) + PAGE);
	assert_int_equal(view->hole_bytes, MIB(6) - KIB(64) - PAGE);
	assert_ptr_equal(view_run_at(view, 0), &view->runs[0]);
	assert_ptr_equal(view_run_at(view, KIB(128)), &view->runs[1]);
	assert_ptr_equal(view_run_at(view, MIB(1) + PAGE), &view->runs[2]);
	assert_true(view_backed(view, KIB(64), KIB(64)));
	assert_false(view_backed(view, KIB(64), KIB(64) + 1));
	assert_false(view_backed(view, KIB(64) - 1, 2));
	assert_false(view_backed(view, 0, 1));
	assert_int_equal(allocated_bytes("a"), before);
	drop(view);
	assert_int_equal(allocated_bytes("a"), before);
	check_file("a", 0, KIB(64), false);
	check_file("a", KIB(64), KIB(64), true);
	check_file("a", MIB(6), MIB(2), true);
}

/* Huge pages must not fill what was punched beside a run. */
static void test_punched(void **state)
{
	uint64_t before;
	struct view *view;

	(void)state;
	make_file("a", MIB(16));
	alter_file("a", 0, 0, MIB(16));
	fill_file("a", 0, MIB(16));
	alter_file("a", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB(2), MIB(1));
	alter_file("a", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB(7), MIB(1));
	alter_file("a", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB(10), PAGE);
	before = allocated_bytes("a");
	view = leased_view(open_file("a"));
	assert_int_equal(allocated_bytes("a"), before);
	check_runs(view,
		   RUNS(0, MIB(2), MIB(3), MIB(4), MIB(8), MIB(2), MIB(10) + PAGE, MIB(6) - PAGE));
	assert_int_equal(view->hole_bytes, MIB(2) + PAGE);
	/* Nor must writes to the runs, later. */
	for (unsigned int i = 0; i < view->nr_runs; i++)
		for (uint64_t at = 0; at < view->runs[i].length; at += PAGE) {
			volatile uint8_t *p = view->base + view->runs[i].offset + at;

			*p = *p;
		}
	assert_int_equal(allocated_bytes("a"), before);
	drop(view);
	check_file("a", 0, MIB(2), true);
	check_file("a", MIB(2), MIB(1), false);
	check_file("a", MIB(3), MIB(4), true);
	check_file("a", MIB(10), PAGE, false);
}

/* SEEK_HOLE does not tell such blocks from holes. */
static bool knows_unwritten(int fd)
{
	struct fiemap map = {.fm_length = MIB(1)};

	return !ioctl(fd, FS_IOC_FIEMAP, &map);
}

static void test_unwritten(void **state)
{
	uint64_t before;
	struct view *view;

	(void)state;
	make_file("a", MIB(8));
	alter_file("a", 0, MIB(1), MIB(6)); /* a hole at both ends */
	fill_file("a", MIB(3), KIB(64));
	before = allocated_bytes("a");
	view = leased_view(open_file("a"));
	if (!knows_unwritten(export_fd(view->export)))
		check_runs(view, RUNS(MIB(3), KIB(64)));
	else
		check_runs(view, RUNS(MIB(1), MIB(6)));
	/* Converting part of an extent may take a block for the extent tree. */
	assert_in_range(allocated_bytes("a"), before, before + KIB(64));
	drop(view);
	check_file("a", 0, MIB(3), false);
	check_file("a", MIB(3), KIB(64), true);
	check_file("a", MIB(3) + KIB(64), MIB(5) - KIB(64), false);

	/* All of it: tmpfs can tell that by the number of blocks. */
	alter_file("a", 0, 0, MIB(8));
	view = leased_view(open_file("a"));
	check_runs(view, RUNS(0, MIB(8)));
	drop(view);
	check_file("a", MIB(3), KIB(64), true);
	check_file("a", MIB(4), MIB(4), false);
}

/* What is preallocated behind the end is no part of the file, and the end stays where it is. */
static void test_preallocated(void **state)
{
	struct view *view;

	(void)state;
	make_file("a", MIB(1) + 512);
	fill_file("a", 0, MIB(1) + 512);
	alter_file("a", FALLOC_FL_KEEP_SIZE, 0, MIB(4));
	view = leased_view(open_file("a"));
	check_runs(view, RUNS(0, MIB(1) + PAGE));
	assert_int_equal(view->backed_bytes, MIB(1) + 512);
	drop(view);
	assert_int_equal(file_bytes("a"), MIB(1) + 512);
}

static void test_prepare_allocate(void **state)
{
	struct export_config config = config_of("a");
	struct view *view;

	(void)state;
	make_file("a", MIB(6) + 512);
	fill_file("a", MIB(3), KIB(64));
	config.prepare = EXPORT_PREPARE_ALLOCATE;
	view = leased_view(must_open(&config));
	check_runs(view, RUNS(0, MIB(6) + PAGE));
	assert_int_equal(view->hole_bytes, 0);
	drop(view);
	assert_int_equal(file_bytes("a"), MIB(6) + 512);
	assert_true(allocated_bytes("a") >= MIB(6) + 512);
	check_file("a", 0, MIB(3), false);
	check_file("a", MIB(3), KIB(64), true);
}

/* Opens it as a daemon that starts, and looks. What it found is known when it ends. */
static uint64_t holes_after_start(const struct export_config *config)
{
	struct export *e = must_open(config);
	struct view *view = leased_view(e);
	uint64_t bytes = view->hole_bytes;

	export_became_known(e);
	drop(view);
	return bytes;
}

/* A hole that somebody punched stays one, whoever starts again; until the file is adopted anew. */
static void test_prepare_once(void **state)
{
	struct export_config config = config_of("a");
	struct export *e;

	(void)state;
	make_file("a", MIB(6));
	config.state_dir = in_dir("once");
	assert_int_equal(holes_after_start(&config), MIB(6));
	/* Who says so only now wants them filled. */
	config.prepare = EXPORT_PREPARE_ALLOCATE;
	assert_int_equal(holes_after_start(&config), 0);
	alter_file("a", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB(2), KIB(64));
	assert_int_equal(holes_after_start(&config), KIB(64));
	assert_int_equal(holes_after_start(&config), KIB(64));
	config.prepare = EXPORT_PREPARE_NONE;
	assert_int_equal(holes_after_start(&config), KIB(64));
	config.prepare = EXPORT_PREPARE_ALLOCATE;
	assert_int_equal(holes_after_start(&config), KIB(64));
	/* A start that is refused has changed nothing of what is known. */
	config.adopt = true;
	e = must_open(&config);
	export_close(e);
	config.adopt = false;
	assert_int_equal(holes_after_start(&config), KIB(64));
	config.adopt = true;
	assert_int_equal(holes_after_start(&config), 0);
	config.adopt = false;
	alter_file("a", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, KIB(64));
	assert_int_equal(holes_after_start(&config), KIB(64));
	/* Another file is another matter. */
	make_file("a", MIB(6));
	config.adopt = true;
	assert_int_equal(holes_after_start(&config), 0);
}

static void test_view_allocate(void **state)
{
	struct view *view, *more;
	struct errtext err;

	(void)state;
	make_file("a", MIB(8));
	fill_file("a", MIB(3), KIB(64));
	view = leased_view(open_file("a"));
	check_runs(view, RUNS(MIB(3), KIB(64)));
	assert_int_equal(view_allocate(view, MIB(2) + 512, MIB(2) - 512, NULL, &more, &err), 0);
	assert_int_equal(lease_check(export_fd(view->export)), TENURE_HELD);
	check_runs(more, RUNS(MIB(2), MIB(2)));
	assert_ptr_equal(more->base, view->base);
	assert_int_equal(more->generation, view->generation);
	assert_int_equal(more->hole_bytes, MIB(6));
	check_runs(view, RUNS(MIB(3), KIB(64))); /* the old one is as it was */
	view_free(view);
	more->base[MIB(2)] = 7; /* and the mapping outlives it */
	more->base[MIB(2)] = 0;

	/* Allocating twice is nothing new; the rest of the file; outside it. */
	assert_int_equal(view_allocate(more, MIB(2), MIB(2), NULL, &view, &err), 0);
	check_runs(view, RUNS(MIB(2), MIB(2)));
	view_free(view);
	assert_int_equal(view_allocate(more, 0, MIB(8), NULL, &view, &err), 0);
	check_runs(view, RUNS(0, MIB(8)));
	view_free(view);
	assert_int_equal(view_allocate(more, MIB(8), 512, NULL, &view, &err), -ERANGE);
	assert_int_equal(view_allocate(more, 512, MIB(8), NULL, &view, &err), -ERANGE);
	assert_int_equal(view_allocate(more, UINT64_MAX - 511, 512, NULL, &view, &err), -ERANGE);
	assert_int_equal(view_allocate(more, 0, 0, NULL, &view, &err), -ERANGE);
	/* Cut under us (no tenure would have let that be). */
	assert_int_equal(ftruncate(export_fd(more->export), MIB(4)), 0);
	assert_int_equal(view_allocate(more, 0, MIB(1), NULL, &view, &err), -ERANGE);
	assert_int_equal(file_bytes("a"), MIB(4));
	drop(more);
	check_file("a", MIB(3), KIB(64), true);
	check_file("a", 0, MIB(3), false);
}

/* Many short extents: more than one FIEMAP batch, more runs than huge pages are sorted out for. */
static void test_many_extents(void **state)
{
	const unsigned int n = 1200;
	uint8_t page[KIB(4)];
	uint64_t before;
	struct view *view;
	int fd;

	(void)state;
	make_file("a", n * 2 * PAGE);
	fd = open(in_dir("a"), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	memset(page, 'x', sizeof(page));
	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(pwrite(fd, page, PAGE, (off_t)((2 * i + 1) * PAGE)), PAGE);
	assert_int_equal(fsync(fd), 0);
	(void)close(fd);
	before = allocated_bytes("a");
	view = leased_view(open_file("a"));
	assert_int_equal(view->nr_runs, n);
	for (unsigned int i = 0; i < n; i++) {
		assert_int_equal(view->runs[i].offset, (2 * i + 1) * PAGE);
		assert_int_equal(view->runs[i].length, PAGE);
		assert_ptr_equal(view_run_at(view, 2 * i * PAGE), &view->runs[i]);
		assert_int_equal(view->base[view->runs[i].offset], 'x');
	}
	assert_int_equal(view->hole_bytes, n * PAGE);
	assert_int_equal(allocated_bytes("a"), before);
	drop(view);
}

/* File "a", 4 of whose 6 MiB are there; "b" shares the second. Skips where there are no clones. */
static void make_clone(void)
{
	struct file_clone_range part = {.src_offset = MIB(1), .src_length = MIB(1)};
	int a, b, ret;

	make_file("a", MIB(6));
	fill_file("a", 0, MIB(4));
	make_file("b", MIB(6));
	a = open(in_dir("a"), O_RDWR | O_CLOEXEC);
	b = open(in_dir("b"), O_RDWR | O_CLOEXEC);
	assert_true(a >= 0 && b >= 0);
	part.src_fd = a;
	part.dest_offset = MIB(1);
	ret = ioctl(b, FICLONERANGE, &part) ? errno : 0;
	(void)close(a);
	(void)close(b);
	if (ret) {
		print_message("no clones here: %s\n", strerror(ret));
		skip();
	}
}

/* A clone's blocks are nobody's to write in place. */
static void test_clone(void **state)
{
	struct view *view, *more;
	struct errtext err;
	uint8_t x[512];
	bool exact;

	(void)state;
	make_clone();
	view = leased_view(open_file("a"));
	check_runs(view, RUNS(0, MIB(1), MIB(2), MIB(2)));
	assert_int_equal(view->shared_bytes, MIB(1));
	assert_int_equal(view->hole_bytes, MIB(2));
	assert_int_equal(view_allocate(view, 0, MIB(6), NULL, &more, &err), 0);
	check_runs(more, RUNS(0, MIB(1), MIB(2), MIB(4)));
	assert_int_equal(more->shared_bytes, MIB(1));
	view_free(view);
	/* A host's write parts the two, and only there. */
	memset(x, 0xee, sizeof(x));
	assert_int_equal(view_copy_in(more, MIB(1) + KIB(64), x, sizeof(x)), 0);
	assert_int_equal(export_flush(more->export), 0);
	exact = export_medium(more->export) == EXPORT_DAX; /* else folio by folio, when written */
	drop(more);
	view = leased_view(open_file("b"));
	if (exact)
		assert_int_equal(view->shared_bytes, MIB(1) - PAGE);
	assert_in_range(view->shared_bytes, 0, MIB(1));
	drop(view);
	check_file("b", MIB(1), MIB(1), true);
	check_file("a", 0, MIB(1) + KIB(64), true);
	check_file("a", MIB(1) + KIB(64) + 512, MIB(2), true);
}

/* It is copied for who asks, and the holes stay. */
static void test_unshare(void **state)
{
	const struct export_range punched = {.offset = MIB(1), .length = KIB(64)};
	struct view *view, *less, *more;
	struct export_config config;
	uint8_t x[PAGE];
	struct errtext err;

	(void)state;
	make_clone();
	config = config_of("a");
	config.unshare = EXPORT_UNSHARE_ON_ACQUIRE;
	view = leased_view(must_open(&config));
	check_runs(view, RUNS(0, MIB(1), MIB(2), MIB(2)));
	assert_int_equal(view->shared_bytes, MIB(1));
	assert_false(view_unsharable(view, MIB(1) - PAGE));
	assert_true(view_unsharable(view, MIB(1)));
	assert_true(view_unsharable(view, MIB(2) - PAGE));
	assert_false(view_unsharable(view, MIB(2)));
	assert_int_equal(view_exclude(view, &punched, 1, &less), 0);
	assert_false(view_unsharable(less, MIB(1)));
	assert_true(view_unsharable(less, MIB(1) + KIB(64)));
	view_free(less);
	/* A part; then all, by who asks for the holes, too. */
	assert_int_equal(view_unshare(view, MIB(1) + KIB(512), MIB(4), NULL, &more, &err), 0);
	check_runs(more, RUNS(0, MIB(1), MIB(1) + KIB(512), MIB(2) + KIB(512)));
	assert_int_equal(more->hole_bytes, MIB(2));
	assert_int_equal(more->shared_bytes, KIB(512));
	assert_ptr_equal(more->base, view->base);
	view_free(view);
	assert_int_equal(view_allocate(more, 0, MIB(6), NULL, &view, &err), 0);
	view_free(more);
	check_runs(view, RUNS(0, MIB(6)));
	assert_int_equal(view->shared_bytes, 0);
	/* Both have their own now, the mapping as well. */
	memset(x, 0xee, sizeof(x));
	memcpy(view->base + MIB(1), x, sizeof(x));
	assert_int_equal(msync(view->base + MIB(1), sizeof(x), MS_SYNC), 0);
	assert_int_equal(view_compare(view, MIB(1), x, sizeof(x)), 0);
	check_file("b", MIB(1), MIB(1), true);
	drop(view);
	check_file("a", MIB(1) + PAGE, MIB(3) - PAGE, true);
}

/* Our tenure can be taken again while the view of the last generation is still mapped. */
static void test_tenure_again(void **state)
{
	struct export *e;
	struct view *view, *next;
	struct errtext err;
	int fd;

	(void)state;
	make_file("a", MIB(4));
	fill_file("a", 0, MIB(4));
	e = open_file("a");
	view = leased_view(e);
	lease_release(export_fd(e));
	assert_int_equal(truncate(in_dir("a"), MIB(2)), 0);
	assert_int_equal(lease_take(export_fd(e)), 0);
	assert_int_equal(view_new(e, 2, view, NULL, &next, &err), 0);
	assert_int_equal(next->generation, 2);
	assert_int_equal(next->size_bytes, MIB(2));
	assert_ptr_not_equal(next->base, view->base);
	check_runs(next, RUNS(0, MIB(2)));
	view_free(view);
	assert_int_equal(lease_check(export_fd(e)), TENURE_HELD);
	/* Of the same size it is the same mapping, in which what came meanwhile is seen. */
	lease_release(export_fd(e));
	fd = open(in_dir("a"), O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "other", 5, MIB(1)), 5);
	(void)close(fd);
	assert_int_equal(lease_take(export_fd(e)), 0);
	assert_int_equal(view_new(e, 3, next, NULL, &view, &err), 0);
	assert_ptr_equal(view->base, next->base);
	assert_int_equal(view->generation, 3);
	view_free(next);
	check_runs(view, RUNS(0, MIB(2)));
	assert_memory_equal(view->base + MIB(1), "other", 5);
	drop(view);
	view_free(NULL);
}

/* On tmpfs what is missing is told by the number of blocks, which those behind the end must not make up for. */
static void test_behind(void **state)
{
	struct view *view, *next;
	struct errtext err;
	struct export *e;

	(void)state;
	if (!dir_is_memory())
		skip();
	make_file("a", MIB(4));
	fill_file("a", 0, MIB(4));
	alter_file("a", FALLOC_FL_KEEP_SIZE, MIB(4), MIB(2));
	e = open_file("a");
	view = leased_view(e);
	check_runs(view, RUNS(0, MIB(4)));
	assert_int_equal(
		fallocate(export_fd(e), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, MIB(2)), 0);
	assert_int_equal(view_new(e, 2, view, NULL, &next, &err), 0);
	view_free(view);
	assert_int_equal(next->hole_bytes, MIB(2));
	check_runs(next, RUNS(MIB(2), MIB(2)));
	drop(next);
}

/* Who wants the file back does not wait until all of it has been made ready. */
static void test_stopped_view(void **state)
{
	atomic_bool stop = true;
	struct export *e;
	struct view *view, *more;
	struct errtext err;

	(void)state;
	make_file("a", MIB(4));
	fill_file("a", 0, MIB(4));
	e = open_file("a");
	if (export_medium(e) == EXPORT_PAGE_CACHE) {
		export_close(e);
		skip(); /* nothing is made ready there */
	}
	assert_int_equal(lease_take(export_fd(e)), 0);
	assert_int_equal(view_new(e, 1, NULL, &stop, &view, &err), -ECANCELED);
	assert_non_null(strstr(err.text, "somebody wants"));
	stop = false;
	assert_int_equal(view_new(e, 1, NULL, &stop, &view, &err), 0);
	check_runs(view, RUNS(0, MIB(4)));
	stop = true;
	assert_int_equal(view_allocate(view, 0, MIB(4), &stop, &more, &err), -ECANCELED);
	assert_int_equal(view_again(view, 0, MIB(4), &stop, &more, &err), -ECANCELED);
	drop(view);
}

static atomic_bool cwd_end;

/* Returns where it was sent to, or NULL. */
static void *watch_cwd(void *arg)
{
	static char now[2 * PATH_BYTES];

	while (!atomic_load(&cwd_end))
		if (!getcwd(now, sizeof(now)) || strcmp(now, arg) != 0)
			return now;
	return NULL;
}

static void *look_often(void *arg)
{
	struct persistence persistence;
	struct errtext err;
	int ret = 0;

	/* On most file systems it finds nothing, after the same way through /sys. */
	for (int i = 0; i < 300; i++)
		ret |= persistence_find(export_fd(arg), export_path(arg), PAGE, &persistence, &err);
	return ret == 0 || export_medium(arg) != EXPORT_DAX ? NULL : arg;
}

/* Other threads keep their working directory (libpmem2 goes through /sys by changing it). */
static void test_cwd(void **state)
{
	char before[2 * PATH_BYTES];
	pthread_t watcher, looker;
	struct export *e;
	void *ret;

	(void)state;
	make_file("a", MIB(1));
	e = open_file("a");
	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(pthread_create(&watcher, NULL, watch_cwd, before), 0);
	assert_int_equal(pthread_create(&looker, NULL, look_often, e), 0);
	assert_int_equal(pthread_join(looker, &ret), 0);
	assert_null(ret);
	atomic_store(&cwd_end, true);
	assert_int_equal(pthread_join(watcher, &ret), 0);
	if (ret)
		print_error("sent to %s\n", (char *)ret);
	assert_null(ret);
	atomic_store(&cwd_end, false);
	export_close(e);
}

/* ---- addresses ------------------------------------------------------------------------------- */

#define NEIGHBOURS_FILE MIB(256)
#define NEIGHBOURS	2

static atomic_bool neighbours_end;

/* Takes as much as the file, wherever it is to be had, as malloc() does. Returns what went wrong. */
static void *be_neighbour(void *arg)
{
	static char no_memory[] = "no memory", over[] = "memory of a thread was mapped over";

	(void)arg;
	while (!atomic_load(&neighbours_end)) {
		volatile uint8_t *p = mmap(NULL, NEIGHBOURS_FILE, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		bool hurt = false;

		if (p == MAP_FAILED)
			return no_memory;
		*p = 0x5a;
		for (int i = 0; i < 1000; i++)
			hurt |= *p != 0x5a;
		(void)munmap((void *)p, NEIGHBOURS_FILE);
		if (hurt)
			return over;
	}
	return NULL;
}

/* A file is mapped where nothing else is, and stays, whatever other threads map meanwhile. */
static void test_addresses(void **state)
{
	pthread_t neighbours[NEIGHBOURS];
	struct export *e;
	void *ret;

	(void)state;
	make_file("a", NEIGHBOURS_FILE);
	e = open_file("a");
	atomic_store(&neighbours_end, false);
	for (int i = 0; i < NEIGHBOURS; i++)
		assert_int_equal(pthread_create(&neighbours[i], NULL, be_neighbour, NULL), 0);
	for (int i = 0; i < 4000; i++) {
		struct view *view = must_view(e);

		assert_int_equal((uintptr_t)view->base % MIB(2), 0);
		for (uint64_t at = 0; at < view->size_bytes; at += MIB(16))
			assert_int_equal(((volatile uint8_t *)view->base)[at], 0);
		view_free(view);
	}
	atomic_store(&neighbours_end, true);
	for (int i = 0; i < NEIGHBOURS; i++) {
		assert_int_equal(pthread_join(neighbours[i], &ret), 0);
		if (ret)
			fail_msg("%s", (char *)ret);
	}
	export_close(e);
}

/* The whole of a file in huge pages of the file system's own. */
static void test_hugetlbfs(void **state)
{
	char before[PATH_BYTES];
	struct export_config config = config_of("a");
	struct view *view;
	struct statfs fs;
	int fd;

	(void)state;
	if (statfs("/run/hugetlb", &fs) || fs.f_type != HUGETLBFS_MAGIC) {
		print_message("no huge pages on /run/hugetlb\n");
		skip();
	}
	memcpy(before, test_dir, sizeof(before));
	(void)snprintf(test_dir, sizeof(test_dir), "/run/hugetlb");
	fd = open(in_dir("a"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(3 * fs.f_bsize)), 0);
	(void)close(fd);
	config.path = in_dir("a");	      /* the lock file stays where write(2) works */
	view = must_view(must_open(&config)); /* newer kernels give no leases there */
	assert_int_equal(export_medium(view->export), EXPORT_MEMORY);
	assert_int_equal((uintptr_t)view->base % (uint64_t)fs.f_bsize, 0);
	check_runs(view, RUNS(0, 3 * (uint64_t)fs.f_bsize));
	assert_int_equal(allocated_bytes("a"), 3 * (uint64_t)fs.f_bsize);
	assert_int_equal(view_copy_in(view, KIB(4), "huge", 4), 0);
	assert_memory_equal(view->base + KIB(4), "huge", 4);
	drop(view);
	assert_int_equal(unlink(in_dir("a")), 0);
	memcpy(test_dir, before, sizeof(before));
}

/* Blocks smaller than a page, and neighbours of several kinds. */
static void test_runs(void **state)
{
	struct extent list[] = {
		{1024, 1024, EXTENT_DATA},	      /* no whole page */
		{4096 + 1024, 2 * 4096, EXTENT_DATA}, /* one */
		{16384, 4096, EXTENT_DATA},	      /* three, joined */
		{20480, 4096, EXTENT_UNWRITTEN},
		{24576, 4096, EXTENT_DATA},
		{28672, 4096, EXTENT_SHARED},
		{32768, 1024, EXTENT_DATA},
		{32768 + 1024, 1024, EXTENT_OTHER},	  /* keeps its neighbours apart */
		{32768 + 2048, 2048 + 4096, EXTENT_DATA}, /* one */
		{40960, 1024, EXTENT_DATA}, /* holds the last byte: to the page's end */
	};
	struct extents x = {.list = list, .nr = ARRAY_SIZE(list)};
	static const struct export_run expected[] = {{8192, 4096}, {16384, 12288}, {36864, 8192}};
	unsigned int kinds = 1u << EXTENT_DATA | 1u << EXTENT_UNWRITTEN;
	struct runs runs;

	(void)state;
	assert_int_equal(runs_build(&x, kinds, 40960 + 700, &runs), 0);
	assert_int_equal(runs.nr, ARRAY_SIZE(expected));
	assert_memory_equal(runs.list, expected, sizeof(expected));
	assert_int_equal(runs.shared_bytes, 4096);
	assert_int_equal(runs.backed_bytes, 4096 + 12288 + 4096 + 700);
	free(runs.list);
	/* What lies behind the end counts for nothing. */
	assert_int_equal(runs_build(&x, kinds, 16384, &runs), 0);
	assert_int_equal(runs.nr, 1);
	assert_int_equal(runs.shared_bytes, 0);
	free(runs.list);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_runs),
		leaks_test(test_full),
		leaks_test(test_odd_sizes),
		leaks_test(test_shrunk_to_nothing),
		leaks_test(test_sparse),
		leaks_test(test_punched),
		leaks_test(test_unwritten),
		leaks_test(test_preallocated),
		leaks_test(test_prepare_allocate),
		leaks_test(test_prepare_once),
		leaks_test(test_stopped_view),
		leaks_test(test_view_allocate),
		leaks_test(test_many_extents),
		leaks_test(test_clone),
		leaks_test(test_unshare),
		leaks_test(test_tenure_again),
		leaks_test(test_behind),
		leaks_test(test_cwd),
		leaks_test(test_addresses),
		leaks_test(test_hugetlbfs),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	tenure_block_signals();
	if (export_guard_init())
		return 1;
	return for_each_dir(run);
}
