// SPDX-License-Identifier: BSD-3-Clause
/*
 * Holes that cannot be filled: nothing stays allocated of what was refused, and nothing is lost of
 * what was there before or was written meanwhile.
 */
#include "test_export_rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/statvfs.h>

#include "export/extents.h" /* the room's own: what the file is before and after */
#include "tenure/lease.h"

#define PAGE	  KIB(4)
#define SIZE	  MIB(8)
#define GOT	  MIB(6) /* of it, before there is no space any more */
#define DATA	  MIB(1)
#define PREPARED  MIB(2)
#define MEANWHILE MIB(5)

/* ---- a file system that fills up -------------------------------------------------------------- */

static uint64_t got_bytes; /* of the next fallocate(2); 0: it is the system's */
static void (*meanwhile)(void);
static unsigned int fills, punches;
static uint64_t free_bytes; /* what fstatvfs(2) says; UINT64_MAX: what it does say */

int __real_fallocate64(int fd, int mode, off_t offset, off_t length);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t length);
int __real_fstatvfs64(int fd, struct statvfs *fs);
int __wrap_fstatvfs64(int fd, struct statvfs *fs);

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t length)
{
	fills += mode == FALLOC_FL_KEEP_SIZE;
	punches += (mode & FALLOC_FL_PUNCH_HOLE) != 0;
	if (got_bytes == 0 || mode != FALLOC_FL_KEEP_SIZE)
		return __real_fallocate64(fd, mode, offset, length);
	assert_true((uint64_t)length > got_bytes);
	assert_int_equal(__real_fallocate64(fd, mode, offset, (off_t)got_bytes), 0);
	if (meanwhile)
		meanwhile();
	errno = ENOSPC;
	return -1;
}

int __wrap_fstatvfs64(int fd, struct statvfs *fs)
{
	int ret = __real_fstatvfs64(fd, fs);

	if (free_bytes != UINT64_MAX) {
		fs->f_frsize = PAGE;
		fs->f_blocks = MIB(100) / PAGE;
		fs->f_bavail = free_bytes / PAGE;
	}
	return ret;
}

/* ---- the file --------------------------------------------------------------------------------- */

static struct view *view;

/* Holes, but for data and blocks that somebody got beforehand. */
static void up(unsigned int reserve_percent)
{
	struct export_config config;

	fills = punches = 0;
	free_bytes = UINT64_MAX;
	got_bytes = 0;
	meanwhile = NULL;
	make_file("a", SIZE);
	fill_file("a", DATA, KIB(64));
	if (!dir_is_memory())
		alter_file("a", FALLOC_FL_KEEP_SIZE, PREPARED, MIB(1));
	fills = 0;
	config = config_of("a");
	config.allocate_reserve_percent = reserve_percent;
	view = must_view(must_open(&config));
	assert_int_equal(lease_take(export_fd(view->export)), 0);
}

static void down(void)
{
	struct export *e = view->export;

	view_free(view);
	export_close(e);
}

static struct extents extents_now(void)
{
	struct extents x;

	assert_int_equal(extents_read(export_fd(view->export), 0, SIZE, true, &x), 0);
	return x;
}

static uint64_t bytes_of(const struct extents *x, enum extent_kind kind)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < x->nr; i++)
		bytes += x->list[i].kind == kind ? x->list[i].length : 0;
	return bytes;
}

static void check_data(void)
{
	static uint8_t buf[KIB(64)];

	assert_int_equal(view_copy_out(view, DATA, buf, sizeof(buf)), 0);
	for (uint64_t i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], fill_byte(DATA + i));
}

static int allocate(uint64_t offset, uint64_t length, struct errtext *err)
{
	struct view *more = NULL;
	int ret = view_allocate(view, offset, length, NULL, &more, err);

	if (ret == 0)
		view_free(more);
	return ret;
}

/* ---- tests ------------------------------------------------------------------------------------ */

/* What does not fit is seen beforehand, and the file system's last part is nobody's. */
static void test_looks_first(void **state)
{
	struct errtext err;
	uint64_t before;

	(void)state;
	up(10);
	before = allocated_bytes("a");
	free_bytes = MIB(13);
	assert_int_equal(allocate(0, SIZE, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "allocate_reserve_percent = 10"));
	assert_non_null(strstr(err.text, "10 stay for others"));
	free_bytes = MIB(9);
	assert_int_equal(allocate(MIB(4), PAGE, &err), -ENOSPC);
	assert_int_equal(fills, 0);
	assert_int_equal(allocated_bytes("a"), before);
	/* What is there is not missing. */
	free_bytes = 0;
	assert_int_equal(allocate(DATA, KIB(64), &err), 0);
	free_bytes = MIB(18);
	assert_int_equal(allocate(0, SIZE, &err), 0);
	down();
}

/* The same at a start with prepare = "allocate". */
static void test_looks_first_at_start(void **state)
{
	struct export_config config;
	struct view *none = NULL;
	struct errtext err;
	struct export *e;
	uint64_t before;

	(void)state;
	make_file("a", SIZE);
	before = allocated_bytes("a");
	config = config_of("a");
	config.prepare = EXPORT_PREPARE_ALLOCATE;
	e = must_open(&config);
	free_bytes = SIZE - PAGE;
	fills = 0;
	assert_int_equal(view_new(e, 1, NULL, NULL, &none, &err), -ENOSPC);
	assert_null(none);
	assert_int_equal(fills, 0);
	assert_int_equal(allocated_bytes("a"), before);
	free_bytes = UINT64_MAX;
	export_close(e);
}

/* Of two whose holes do not fit together one is told so before anything is filled. */
static void test_promises(void **state)
{
	static const char *const names[] = {"a", "b", "c"};
	struct export *e[ARRAY_SIZE(names)];
	uint64_t before, bytes = 0;
	struct errtext err;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		struct export_config config;

		make_file(names[i], SIZE);
		config = config_of(names[i]);
		config.prepare = EXPORT_PREPARE_ALLOCATE;
		e[i] = must_open(&config);
	}
	before = allocated_bytes("b");
	free_bytes = SIZE + SIZE / 2;
	fills = 0;
	assert_int_equal(export_look_ahead(e[0], &bytes, &err), 0);
	assert_int_equal(bytes, SIZE);
	assert_int_equal(export_look_ahead(e[0], &bytes, &err), 0);
	assert_int_equal(export_look_ahead(e[1], &bytes, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "and 8 for the holes of other exports"));
	assert_int_equal(fills, 0);
	assert_int_equal(allocated_bytes("b"), before);
	/* It is kept, and is none any more when the holes are filled … */
	free_bytes = SIZE / 2;
	view_free(must_view(e[0]));
	assert_true(fills > 0);
	free_bytes = SIZE + SIZE / 2;
	assert_int_equal(export_look_ahead(e[1], &bytes, &err), 0);
	assert_int_equal(export_look_ahead(e[2], &bytes, &err), -ENOSPC);
	/* … or nobody wants it any more. */
	export_close(e[1]);
	assert_int_equal(export_look_ahead(e[2], &bytes, &err), 0);
	/* What has no holes needs none. */
	free_bytes = UINT64_MAX;
	view_free(must_view(e[2]));
	assert_int_equal(export_look_ahead(e[2], &bytes, &err), 0);
	if (!dir_is_memory())
		assert_int_equal(bytes, 0);
	export_close(e[0]);
	export_close(e[2]);
}

static void write_meanwhile(void)
{
	assert_int_equal(view_copy_in(view, MEANWHILE, "meanwhile", 9), 0);
}

/* It was wrong: the call fails in the midst and keeps what it got. */
static void test_gives_back(void **state)
{
	struct extents before, now;
	struct errtext err;
	char text[9];

	(void)state;
	up(0);
	if (dir_is_memory()) {
		down();
		skip(); /* tmpfs gives back itself */
	}
	before = extents_now();
	got_bytes = GOT;
	meanwhile = write_meanwhile;
	assert_int_equal(allocate(0, SIZE, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "no space"));
	assert_null(strstr(err.text, "keeps"));
	now = extents_now();
	assert_false(now.seek);
	/* A file system may write zeros around what is written into unwritten blocks. */
	assert_in_range(bytes_of(&now, EXTENT_DATA), bytes_of(&before, EXTENT_DATA) + PAGE,
			bytes_of(&before, EXTENT_DATA) + KIB(128));
	assert_int_equal(bytes_of(&now, EXTENT_UNWRITTEN), bytes_of(&before, EXTENT_UNWRITTEN));
	check_data();
	assert_int_equal(view_copy_out(view, MEANWHILE, text, sizeof(text)), 0);
	assert_memory_equal(text, "meanwhile", sizeof(text));
	extents_free(&before);
	extents_free(&now);
	/* And it can be had when there is space. */
	got_bytes = 0;
	assert_int_equal(allocate(0, SIZE, &err), 0);
	assert_int_equal(view_copy_out(view, MEANWHILE, text, sizeof(text)), 0);
	assert_memory_equal(text, "meanwhile", sizeof(text));
	check_data();
	down();
}

/* Somebody else may be writing: nothing is punched. */
static void test_not_ours_any_more(void **state)
{
	struct errtext err;

	(void)state;
	up(0);
	if (dir_is_memory()) {
		down();
		skip(); /* tmpfs gives back itself */
	}
	lease_release(export_fd(view->export));
	got_bytes = GOT;
	assert_int_equal(allocate(0, SIZE, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "it keeps what it got"));
	assert_int_equal(punches, 0);
	assert_true(allocated_bytes("a") >= GOT);
	down();
}

static atomic_bool enough;
static atomic_uint written;

static void *writer(void *arg)
{
	uint64_t page[PAGE / sizeof(uint64_t)];

	(void)arg;
	/* The last page stays a hole: without one there is nothing to be refused. */
	for (uint64_t at = MIB(3); at < SIZE - PAGE && !enough; at += PAGE) {
		for (size_t i = 0; i < ARRAY_SIZE(page); i++)
			page[i] = at + 1;
		if (view_copy_in(view, at, page, sizeof(page)))
			abort();
		written++;
	}
	return NULL;
}

/* No write is lost that is under way while it is given back. */
static void test_writers(void **state)
{
	uint64_t page[PAGE / sizeof(uint64_t)];
	struct errtext err;
	pthread_t thread;

	(void)state;
	up(0);
	enough = false;
	written = 0;
	got_bytes = SIZE - PAGE;
	assert_int_equal(pthread_create(&thread, NULL, writer, NULL), 0);
	for (unsigned int i = 0; i < 200 && written < (SIZE - MIB(3)) / PAGE - 1; i++)
		assert_int_equal(allocate(0, SIZE, &err), -ENOSPC);
	enough = true;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(written > 0);
	for (unsigned int n = 0; n < written; n++) {
		uint64_t at = MIB(3) + (uint64_t)n * PAGE;

		assert_int_equal(view_copy_out(view, at, page, sizeof(page)), 0);
		for (size_t i = 0; i < ARRAY_SIZE(page); i++)
			assert_int_equal(page[i], at + 1);
	}
	check_data();
	down();
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_looks_first),	    leaks_test(test_looks_first_at_start),
		leaks_test(test_promises),	    leaks_test(test_gives_back),
		leaks_test(test_not_ours_any_more), leaks_test(test_writers),
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
