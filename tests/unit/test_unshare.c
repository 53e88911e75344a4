// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is shared with clones, on a file system made up here, so that it can be seen on any: what is
 * asked of the kernel, in which pieces, and what becomes of an error. The real one: test_view.c.
 */
#include "test_export_rig.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/statvfs.h>

#define PAGE  KIB(4)
#define SIZE  MIB(16)
#define SLICE MIB(4) /* no more is copied at once */

/* ---- the file system ------------------------------------------------------------------------- */

static struct piece {
	uint64_t offset, end;
	bool shared;
} pieces[] = {
	{0, MIB(1), false},	 {MIB(1), MIB(2), true},    /* a hole behind it */
	{MIB(3), MIB(12), true}, {MIB(12), MIB(13), false}, /* and another */
	{MIB(14), SIZE, true},
};

static uint64_t copied;	 /* bytes, of shared pieces only */
static uint64_t longest; /* call */
static unsigned int calls, fails_at, fills;
static int error;
static atomic_bool *stop_then; /* at the same call */
static uint64_t free_bytes;

int __real_fallocate64(int fd, int mode, off_t offset, off_t length);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t length);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __real_fstatvfs64(int fd, struct statvfs *fs);
int __wrap_fstatvfs64(int fd, struct statvfs *fs);

static struct piece *piece_with(uint64_t offset, uint64_t end)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(pieces); i++)
		if (pieces[i].offset <= offset && end <= pieces[i].end)
			return &pieces[i];
	return NULL;
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t length)
{
	const uint64_t from = (uint64_t)offset, n = (uint64_t)length;
	struct piece *p = piece_with(from, from + n);

	fills += mode == FALLOC_FL_KEEP_SIZE;
	if (!(mode & FALLOC_FL_UNSHARE_RANGE))
		return __real_fallocate64(fd, mode, offset, length);
	assert_int_equal(mode, FALLOC_FL_UNSHARE_RANGE | FALLOC_FL_KEEP_SIZE);
	if (error && calls++ == fails_at) {
		errno = error;
		return -1;
	}
	if (stop_then)
		atomic_store(stop_then, true);
	/* The whole of a hole would be filled, of what is not shared nothing be done. */
	if (!p || !p->shared)
		return 0;
	copied += n;
	longest = max_u64(longest, n);
	if (from + n == p->end)
		p->shared = false;
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct fiemap *map;
	uint32_t n = 0;
	va_list ap;

	va_start(ap, request);
	map = va_arg(ap, struct fiemap *);
	va_end(ap);
	if (request != FS_IOC_FIEMAP)
		return __real_ioctl(fd, request, map);
	for (unsigned int i = 0; i < ARRAY_SIZE(pieces); i++) {
		const struct piece *p = &pieces[i];

		if (p->end <= map->fm_start || p->offset >= map->fm_start + map->fm_length)
			continue;
		assert_true(n < map->fm_extent_count);
		map->fm_extents[n++] = (struct fiemap_extent){
			.fe_logical = p->offset,
			.fe_physical = GIB(1) + p->offset,
			.fe_length = p->end - p->offset,
			.fe_flags = (p->shared ? FIEMAP_EXTENT_SHARED : 0u) |
				    (p->end == SIZE ? FIEMAP_EXTENT_LAST : 0u),
		};
	}
	map->fm_mapped_extents = n;
	return 0;
}

int __wrap_fstatvfs64(int fd, struct statvfs *fs)
{
	int ret = __real_fstatvfs64(fd, fs);

	fs->f_frsize = PAGE;
	fs->f_blocks = MIB(100) / PAGE;
	fs->f_bavail = free_bytes / PAGE;
	return ret;
}

/* ---- the file -------------------------------------------------------------------------------- */

static struct view *view;

static void up(enum export_unshare unshare)
{
	struct export_config config;

	pieces[1].shared = pieces[2].shared = pieces[4].shared = true;
	error = 0;
	stop_then = NULL;
	free_bytes = MIB(100);
	make_file("a", SIZE);
	fill_file("a", 0, SIZE);
	config = config_of("a");
	config.unshare = unshare;
	config.allocate_reserve_percent = 10;
	view = must_view(must_open(&config));
	copied = longest = calls = fails_at = fills = 0;
}

static void down(void)
{
	struct export *e = view->export;

	view_free(view);
	export_close(e);
}

/* A view with more in it, or the error; the sentence has `part` in it. */
static int grow(uint64_t offset, uint64_t length, const atomic_bool *stop, const char *part)
{
	struct view *more = NULL;
	struct errtext err = {""};
	int ret = view_unshare(view, offset, length, stop, &more, &err);

	assert_non_null(strstr(err.text, part));
	if (ret)
		return ret;
	view_free(view);
	view = more;
	return 0;
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* A file system that is full is no reason to serve nothing; one that cannot do it is. */
static void test_tried(void **state)
{
	struct export_config config;

	(void)state;
	make_file("a", SIZE);
	config = config_of("a");
	config.unshare = EXPORT_UNSHARE_ON_ACQUIRE;
	calls = fails_at = 0;
	error = ENOSPC;
	export_close(must_open(&config));
	assert_int_equal(calls, 1);
	calls = 0;
	error = EOPNOTSUPP;
	must_fail(&config, -EMEDIUMTYPE, "its file system does not unshare");
	calls = 0;
	error = EACCES;
	must_fail(&config, -EACCES, "cannot be tried beside");
	error = 0;
}

static void test_pieces(void **state)
{
	(void)state;
	up(EXPORT_UNSHARE_ON_ACQUIRE);
	assert_int_equal(view->shared_bytes, MIB(12));
	assert_int_equal(view->hole_bytes, MIB(2));
	/* What is shared, and nothing but that; not more at once than may be waited for. */
	assert_int_equal(grow(0, MIB(13), NULL, ""), 0);
	assert_int_equal(copied, MIB(10));
	assert_int_equal(longest, SLICE);
	assert_int_equal(view->shared_bytes, MIB(2));
	assert_int_equal(view->hole_bytes, MIB(2));
	assert_true(view_backed(view, MIB(3), MIB(10)));
	assert_false(view_unsharable(view, MIB(3)));
	assert_true(view_unsharable(view, MIB(14)));
	assert_false(view_unsharable(view, MIB(13)));
	/* Who has holes filled has the rest done, too. */
	assert_int_equal(grow(MIB(13), MIB(3), NULL, ""), 0);
	assert_int_equal(copied, MIB(12));
	assert_int_equal(view->nr_clones, 0);
	down();
}

static void test_never(void **state)
{
	struct view *more;
	struct errtext err;

	(void)state;
	up(EXPORT_UNSHARE_NEVER);
	assert_int_equal(view->shared_bytes, MIB(12));
	assert_int_equal(view->nr_clones, 0);
	assert_false(view_unsharable(view, MIB(3)));
	assert_int_equal(view_allocate(view, MIB(3), MIB(9), NULL, &more, &err), 0);
	assert_int_equal(more->shared_bytes, MIB(12));
	view_free(more);
	assert_int_equal(copied, 0);
	down();
}

/* What does not fit is seen beforehand; what fails all the same changes nothing that is served. */
static void test_space(void **state)
{
	struct view *more;
	struct errtext err;

	(void)state;
	up(EXPORT_UNSHARE_ON_ACQUIRE);
	free_bytes = MIB(10) + MIB(9) - PAGE; /* the reserve, and a page less than it takes */
	assert_int_equal(
		grow(MIB(3), MIB(9), NULL, "no space on the file system to unshare the blocks of"),
		-ENOSPC);
	assert_int_equal(view_allocate(view, 0, SIZE, NULL, &more, &err), -ENOSPC);
	assert_int_equal(copied, 0);
	assert_int_equal(fills, 0);
	free_bytes += PAGE;
	error = ENOSPC;
	fails_at = 1;
	assert_int_equal(grow(MIB(3), MIB(9), NULL, "No space left"), -ENOSPC);
	assert_int_equal(copied, SLICE);
	error = EIO;
	calls = 0;
	assert_int_equal(grow(MIB(3), MIB(9), NULL, "cannot unshare the blocks of"), -EIO);
	/* Nothing is kept for it any more. */
	error = 0;
	assert_int_equal(grow(MIB(3), MIB(9), NULL, ""), 0);
	assert_true(view_backed(view, MIB(3), MIB(9)));
	down();
}

/* Who wants the file does not wait until all of it has been copied. */
static void test_stopped(void **state)
{
	atomic_bool stop = false;

	(void)state;
	up(EXPORT_UNSHARE_ON_ACQUIRE);
	stop_then = &stop;
	assert_int_equal(grow(MIB(3), MIB(9), &stop, "somebody wants"), -ECANCELED);
	assert_int_equal(copied, SLICE);
	stop_then = NULL;
	stop = false;
	assert_int_equal(grow(MIB(3), MIB(9), &stop, ""), 0);
	down();
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_tried), leaks_test(test_pieces),  leaks_test(test_never),
		leaks_test(test_space), leaks_test(test_stopped),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	if (export_guard_init())
		return 1;
	return for_each_dir(run);
}
