// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bytes in and out of a file that may be cut, full, damaged at any moment: an error code, never a
 * signal, and never a byte behind the end.
 */
#include "test_export_rig.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "export/file.h" /* the room's own */

#define PAGE	KIB(4)
#define RACE_NS (1500 * NS_PER_MS)

struct rig {
	struct export *e;
	struct view *view;
	int fd;
	uint8_t x[KIB(64)]; /* what is written */
	uint8_t y[KIB(64)]; /* what is read */
};

/* cmocka puts a handler of its own in the place of ours before each test. */
static struct sigaction ours;

/* A file of `bytes`, the first `filled` of them written, and a view of it. */
static struct rig *rig_new(uint64_t bytes, uint64_t filled)
{
	struct rig *rig = malloc(sizeof(*rig));

	assert_non_null(rig);
	assert_int_equal(sigaction(SIGBUS, &ours, NULL), 0);
	make_file("a", bytes);
	if (filled)
		fill_file("a", 0, filled);
	rig->e = open_file("a");
	rig->view = must_view(rig->e);
	rig->fd = export_fd(rig->e);
	memset(rig->x, 0xee, sizeof(rig->x));
	memset(rig->y, 0xdd, sizeof(rig->y));
	return rig;
}

static void rig_free(struct rig *rig)
{
	view_free(rig->view);
	export_close(rig->e);
	free(rig);
}

static bool is_dax(const struct rig *rig)
{
	return export_medium(rig->e) == EXPORT_DAX;
}

/* The file is cut to cut_to behind this thread's next look at its size; 0: it is not. */
static _Thread_local off_t cut_to;

int __real_export_file_bytes(const struct export *e, uint64_t *bytes);
int __wrap_export_file_bytes(const struct export *e, uint64_t *bytes);

int __wrap_export_file_bytes(const struct export *e, uint64_t *bytes)
{
	int ret = __real_export_file_bytes(e, bytes);

	if (cut_to)
		assert_int_equal(ftruncate(export_fd(e), cut_to), 0);
	cut_to = 0;
	return ret;
}

/* ---- in and out ------------------------------------------------------------------------------ */

static void test_in_out(void **state)
{
	static const uint64_t lengths[] = {1, 7, 512, 4095, 4096, 4097, KIB(64)};
	static const uint64_t offsets[] = {0, 1, 512, 4095, KIB(60), MIB(2) - 100};
	struct rig *rig = rig_new(MIB(4), MIB(4));

	(void)state;
	random_bytes(rig->x, sizeof(rig->x));
	for (unsigned int i = 0; i < ARRAY_SIZE(lengths); i++) {
		for (unsigned int j = 0; j < ARRAY_SIZE(offsets); j++) {
			uint64_t len = lengths[i], off = offsets[j];

			assert_int_equal(view_copy_in(rig->view, off, rig->x + 1, len - 1), 0);
			assert_int_equal(view_copy_in(rig->view, off, rig->x, len), 0);
			assert_int_equal(view_persist(rig->view, off, len), 0);
			assert_int_equal(pread(rig->fd, rig->y, len, (off_t)off), len);
			assert_memory_equal(rig->x, rig->y, len);
			memset(rig->y, 0, len);
			assert_int_equal(view_copy_out(rig->view, off, rig->y, len), 0);
			assert_memory_equal(rig->x, rig->y, len);
			assert_memory_equal(rig->x, rig->view->base + off, len);
			assert_int_equal(export_guarded_equal(rig->x, rig->view->base + off, len),
					 1);
			rig->y[len - 1] ^= 1;
			assert_int_equal(export_guarded_equal(rig->view->base + off, rig->y, len),
					 0);
		}
	}
	assert_int_equal(export_guarded_equal(rig->x, rig->view->base, 0), 1);
	/* Under tenure, over what is backed. */
	for (uint64_t off = 100; off < MIB(4) - KIB(64); off += MIB(1) + 77) {
		assert_int_equal(view_stage_in(rig->view, off, rig->x, KIB(64)), 0);
		assert_int_equal(pread(rig->fd, rig->y, KIB(64), (off_t)off), KIB(64));
		assert_memory_equal(rig->x, rig->y, KIB(64));
		memset(rig->y, 0, KIB(64));
		assert_int_equal(view_stage_out(rig->view, off, rig->y, KIB(64)), 0);
		assert_memory_equal(rig->x, rig->y, KIB(64));
	}
	/* Outside the view, whatever the file. */
	assert_int_equal(view_copy_in(rig->view, MIB(4), rig->x, 1), -ERANGE);
	assert_int_equal(view_copy_in(rig->view, MIB(4) - 1, rig->x, 2), -ERANGE);
	assert_int_equal(view_copy_in(rig->view, UINT64_MAX, rig->x, 2), -ERANGE);
	assert_int_equal(view_copy_out(rig->view, MIB(4) - 1, rig->y, 2), -ERANGE);
	assert_int_equal(view_persist(rig->view, MIB(4) - 1, 2), -ERANGE);
	assert_int_equal(view_copy_in(rig->view, MIB(4), rig->x, 0), 0);
	assert_int_equal(export_flush(rig->e), 0);
	assert_int_equal(file_bytes("a"), MIB(4));
	rig_free(rig);
}

static void test_holes(void **state)
{
	struct rig *rig = rig_new(MIB(8), PAGE);
	uint64_t before = allocated_bytes("a");

	(void)state;
	for (uint64_t off = 0; off < MIB(8); off += KIB(64)) {
		assert_int_equal(view_copy_out(rig->view, off, rig->y, KIB(64)), 0);
		assert_int_equal(rig->y[KIB(64) - 1], 0);
		if (is_dax(rig))
			assert_int_equal(view_persist(rig->view, off, KIB(64)), 0);
	}
	assert_int_equal(allocated_bytes("a"), before);
	/* A host's write fills the page it writes to, and no more; in the page cache, its folio. */
	assert_int_equal(view_copy_in(rig->view, MIB(4) + 512, rig->x, 512), 0);
	assert_int_equal(export_flush(rig->e), 0);
	assert_int_equal(fsync(rig->fd), 0);
	assert_in_range(allocated_bytes("a"), before + PAGE,
			before + (export_medium(rig->e) == EXPORT_PAGE_CACHE ? MIB(2) : 4 * PAGE));
	assert_int_equal(pread(rig->fd, rig->y, 2048, (off_t)MIB(4)), 2048);
	assert_int_equal(rig->y[511], 0);
	assert_int_equal(rig->y[512], 0xee);
	assert_int_equal(rig->y[1023], 0xee);
	assert_int_equal(rig->y[1024], 0);
	rig_free(rig);
}

static void test_cut(void **state)
{
	struct rig *rig = rig_new(MIB(4), MIB(4));
	int ret;

	(void)state;
	assert_int_equal(ftruncate(rig->fd, MIB(1) + 100), 0);
	assert_int_equal(view_copy_in(rig->view, MIB(2), rig->x, 512), -ERANGE);
	assert_int_equal(view_copy_in(rig->view, MIB(1), rig->x, 512), -ERANGE);
	assert_int_equal(view_copy_in(rig->view, MIB(1) - KIB(32), rig->x, KIB(64)), -ERANGE);
	assert_int_equal(view_copy_in(rig->view, MIB(1), rig->x, 100), 0);
	assert_int_equal(view_copy_out(rig->view, MIB(2), rig->y, 512), -ERANGE);
	/* The lease broken by force: no look at the file, but no fault either. */
	assert_int_equal(view_stage_in(rig->view, MIB(2), rig->x, 512), -ERANGE);
	assert_int_equal(view_stage_out(rig->view, MIB(2), rig->y, 512), -ERANGE);
	assert_int_equal(view_copy_out(rig->view, MIB(1), rig->y, 512), -ERANGE);
	assert_int_equal(view_copy_out(rig->view, MIB(1) - 512, rig->y, 512), 0);
	/* Whether a flush faults is the CPU's affair (the testbed's emulated one lets it pass). */
	ret = view_persist(rig->view, MIB(2), 512);
	assert_true(ret == 0 || (is_dax(rig) && ret == -ERANGE));
	/* Through the mapping alone. */
	assert_int_equal(export_guarded_copy(rig->view->base + MIB(2), rig->x, 512), -EFAULT);
	assert_int_equal(export_guarded_copy(rig->y, rig->view->base + MIB(2), 512), -EFAULT);
	assert_int_equal(export_guarded_copy(rig->y, rig->view->base + MIB(1) - KIB(60), KIB(64)),
			 0); /* ends in the last page */
	assert_int_equal(export_guarded_copy(rig->view->base + MIB(1) - KIB(56), rig->x, KIB(64)),
			 -EFAULT);
	assert_int_equal(export_guarded_equal(rig->view->base + MIB(2), rig->x, 512), -EFAULT);
	assert_int_equal(export_guarded_equal(rig->x, rig->view->base + MIB(2), 512), -EFAULT);
	/* What is before the failing page was copied, and the file did not grow. */
	assert_int_equal(file_bytes("a"), MIB(1) + 100);
	assert_int_equal(pread(rig->fd, rig->y, PAGE, (off_t)(MIB(1) - PAGE)), PAGE);
	assert_memory_equal(rig->x, rig->y, PAGE);
	assert_int_equal(export_flush(rig->e), 0);
	/* Grown again, it has zeros. */
	assert_int_equal(ftruncate(rig->fd, MIB(4)), 0);
	assert_int_equal(view_copy_out(rig->view, MIB(2), rig->y, 512), 0);
	assert_int_equal(rig->y[0], 0);
	assert_int_equal(view_copy_in(rig->view, MIB(2), rig->x, 512), 0);
	rig_free(rig);
}

/*
 * Cut between the look at the size and the copy, inside a page, which stays writable: no fault tells,
 * and what was copied is in no file. It must not be called written.
 */
static void test_cut_under_way(void **state)
{
	struct rig *rig = rig_new(MIB(4), MIB(4));
	uint64_t last = MIB(2) - PAGE;

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(ftruncate(rig->fd, MIB(2)), 0);
		cut_to = (off_t)(last + 1024);
		assert_int_equal(i ? view_zero(rig->view, last + 512, 1024)
				   : view_copy_in(rig->view, last + 512, rig->x, 1024),
				 -ERANGE);
		assert_int_equal(cut_to, 0);
		assert_int_equal(file_bytes("a"), last + 1024);
		/* What still fits is written. */
		cut_to = (off_t)(last + 1024);
		assert_int_equal(i ? view_zero(rig->view, last, 1024)
				   : view_copy_in(rig->view, last, rig->x, 1024),
				 0);
	}
	rig_free(rig);
}

/* ---- races ----------------------------------------------------------------------------------- */

struct race {
	struct rig *rig;
	atomic_bool end;
	atomic_uint copied, refused, others;
};

static void *copy_in_thread(void *arg)
{
	struct race *race = arg;
	unsigned int seed = 1;

	while (!atomic_load(&race->end)) {
		uint64_t off = align_down((uint64_t)rand_r(&seed) % MIB(1), 512);
		int ret = view_copy_in(race->rig->view, off, race->rig->x, KIB(16));

		atomic_fetch_add(ret == 0	  ? &race->copied
				 : ret == -ERANGE ? &race->refused
						  : &race->others,
				 1);
		ret = view_persist(race->rig->view, off, 4096);
		if (ret && ret != -ERANGE)
			atomic_fetch_add(&race->others, 1);
		ret = view_copy_out(race->rig->view, off, (uint8_t[512]){0}, 512);
		if (ret && ret != -ERANGE)
			atomic_fetch_add(&race->others, 1);
	}
	return NULL;
}

/* The landlord cuts and grows all the time; no write of ours ever moves the end. */
static void test_truncate_race(void **state)
{
	struct race race = {.rig = rig_new(MIB(1) + KIB(16), MIB(1))};
	uint64_t end = now_ns() + RACE_NS;
	unsigned int seed = 2, cuts = 0;
	pthread_t threads[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, copy_in_thread, &race), 0);
	while (now_ns() < end) {
		uint64_t size = (uint64_t)rand_r(&seed) % MIB(1);
		struct stat st;
		uint8_t last[PAGE];
		ssize_t n;

		assert_int_equal(ftruncate(race.rig->fd, (off_t)size), 0);
		usleep((useconds_t)rand_r(&seed) % 200);
		assert_int_equal(fstat(race.rig->fd, &st), 0);
		assert_int_equal(st.st_size, size);
		/* Cut to the page and grown: what is behind the cut is zeros or a later write. */
		assert_int_equal(ftruncate(race.rig->fd, (off_t)(MIB(1) + KIB(16))), 0);
		n = pread(race.rig->fd, last, sizeof(last), (off_t)size);
		assert_int_equal(n, sizeof(last));
		for (ssize_t i = 0; i < n; i++)
			assert_true(last[i] == 0 || last[i] == 0xee);
		cuts++;
	}
	atomic_store(&race.end, true);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	print_message("%u cuts, %u copied, %u refused\n", cuts, race.copied, race.refused);
	assert_int_equal(race.others, 0);
	assert_true(race.copied > 0 && race.refused > 0);
	rig_free(race.rig);
}

/* ---- the signal ------------------------------------------------------------------------------ */

static void *blocked_thread(void *arg)
{
	struct rig *rig = arg;
	sigset_t all;
	int ret = 0;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, NULL);
	for (int i = 0; i < 1000 && !ret; i++)
		if (export_guarded_copy(rig->view->base + MIB(1), rig->x, 512) != -EFAULT ||
		    export_guarded_copy(rig->view->base, rig->x, 512) != 0)
			ret = 1;
	return ret ? rig : NULL;
}

/* Our loops and workers block every signal; four of them at once. */
static void test_blocked_threads(void **state)
{
	struct rig *rig = rig_new(MIB(2), MIB(2));
	pthread_t threads[4];
	void *ret;

	(void)state;
	assert_int_equal(ftruncate(rig->fd, MIB(1)), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, blocked_thread, rig), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &ret), 0);
		assert_null(ret);
	}
	rig_free(rig);
}

/* True if the child died: of SIGBUS, or as a sanitizer's handler from before ours ends it. */
static bool dies(void (*fn)(struct rig *rig), struct rig *rig)
{
	struct rlimit none = {0};
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &none);
		fn(rig);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) == SIGBUS : WEXITSTATUS(status) != 0;
}

static void touch(struct rig *rig)
{
	*(volatile uint8_t *)(rig->view->base + MIB(1)) = 1;
}

static void touch_after_copy(struct rig *rig)
{
	if (export_guarded_copy(rig->y, rig->view->base + MIB(1), 512) == -EFAULT)
		touch(rig);
}

static void sent(struct rig *rig)
{
	(void)rig;
	(void)kill(getpid(), SIGBUS);
	usleep(100000);
}

static void test_other_sigbus(void **state)
{
	struct rig *rig = rig_new(MIB(2), MIB(2));

	(void)state;
	assert_int_equal(ftruncate(rig->fd, MIB(1)), 0);
	assert_int_equal(export_guard_init(), 0); /* again: nothing */
	assert_true(dies(touch, rig));
	assert_true(dies(touch_after_copy, rig));
	assert_true(dies(sent, rig));
	rig_free(rig);
}

/* ---- a full file system and a damaged medium --------------------------------------------------- */

static void fill_up(const char *name)
{
	int fd = open(in_dir(name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	uint64_t at = 0;

	assert_true(fd >= 0);
	for (uint64_t n = GIB(1); n >= PAGE; n /= 2)
		while (!fallocate(fd, 0, (off_t)at, (off_t)n))
			at += n;
	assert_int_equal(errno, ENOSPC);
	(void)close(fd);
}

static void check_full(void)
{
	struct errtext err;
	struct view *more;
	struct rig *rig = rig_new(MIB(2), PAGE);

	fill_up("filler");
	assert_int_equal(view_copy_in(rig->view, 0, rig->x, 512), 0);
	assert_int_equal(view_copy_in(rig->view, MIB(1), rig->x, 512), -ENOSPC);
	assert_int_equal(view_allocate(rig->view, MIB(1), MIB(1), NULL, &more, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "no space"));
	/* Nothing is broken by it: with room there it works. */
	assert_int_equal(unlink(in_dir("filler")), 0);
	assert_int_equal(view_copy_in(rig->view, MIB(1), rig->x, 512), 0);
	assert_int_equal(view_allocate(rig->view, MIB(1), MIB(1), NULL, &more, &err), 0);
	view_free(more);
	rig_free(rig);
}

/* Of each page, as FIEMAP says it; 0: what it does say. */
static uint64_t data_of_a_page;

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct fiemap *map;
	va_list ap;

	va_start(ap, request);
	map = va_arg(ap, struct fiemap *);
	va_end(ap);
	if (request != FS_IOC_FIEMAP || data_of_a_page == 0)
		return __real_ioctl(fd, request, map);
	map->fm_mapped_extents = 1;
	map->fm_extents[0] = (struct fiemap_extent){
		.fe_logical = align_down(map->fm_start, PAGE),
		.fe_physical = MIB(1),
		.fe_length = data_of_a_page,
		.fe_flags = FIEMAP_EXTENT_LAST,
	};
	return 0;
}

/* Blocks of a KiB: a page may lack some for lack of space, though it has its first. */
static void test_part_of_a_page(void **state)
{
	struct rig *rig = rig_new(MIB(2) + 1500, MIB(2));
	const struct export *e = rig->view->export;

	(void)state;
	data_of_a_page = KIB(1);
	assert_int_equal(export_fault_errno(e, MIB(1), 0), -ENOSPC);
	assert_int_equal(export_fault_errno(e, MIB(1) + PAGE - 1, 0), -ENOSPC);
	data_of_a_page = KIB(2); /* as many as the last page has bytes */
	assert_int_equal(export_fault_errno(e, MIB(1), 0), -ENOSPC);
	assert_int_equal(export_fault_errno(e, MIB(2) + 100, 0), -EIO);
	data_of_a_page = PAGE;
	assert_int_equal(export_fault_errno(e, MIB(1), 0), -EIO);
	data_of_a_page = 0;
	rig_free(rig);
}

/* On a small tmpfs of its own anywhere, and on the DAX file system itself in the testbed. */
static void test_full_fs(void **state)
{
	char before[PATH_BYTES], small[PATH_BYTES + 8];
	struct rig *rig = rig_new(MIB(1), MIB(1));
	bool dax = is_dax(rig);

	(void)state;
	rig_free(rig);
	if (dax) {
		check_full();
		return;
	}
	(void)snprintf(small, sizeof(small), "%s/small", test_dir);
	assert_int_equal(mkdir(small, 0700), 0);
	if (mount("none", small, "tmpfs", 0, "size=8m")) {
		print_message("cannot mount: %s\n", strerror(errno));
		skip();
	}
	memcpy(before, test_dir, sizeof(before));
	memcpy(test_dir, small, sizeof(before));
	check_full();
	memcpy(test_dir, before, sizeof(before));
	assert_int_equal(umount(small), 0);
	assert_int_equal(rmdir(small), 0);
}

/* Another process runs into damage in the page at 64 KiB, or says that it did. */
static void find_damage(struct rig *rig)
{
	(void)signal(SIGBUS, SIG_IGN);
	if (madvise(rig->view->base + KIB(64), PAGE, MADV_HWPOISON))
		_exit(errno);
}

/*
 * Only in the testbed: it takes a page of the machine's memory out of use. We are told by a signal
 * in the middle of anything (BUS_MCEERR_AO), and get an error when we touch it; the emulated NVDIMM
 * goes on working, so there only the first can be seen.
 */
static void test_poison(void **state)
{
	struct rig *rig;
	int in, out;

	(void)state;
	if (!getenv("LEASEHOLD_TESTBED") || strstr(test_dir, "/var/tmp")) {
		print_message("only in the testbed\n");
		skip();
	}
	rig = rig_new(MIB(1), MIB(1));
	if (dies(find_damage, rig))
		print_message("the one that found the damage was ended\n");
	usleep(100000);
	in = view_copy_in(rig->view, KIB(64) + 512, rig->x, 512);
	out = view_copy_out(rig->view, KIB(64) + 512, rig->y, 512);
	print_message("damaged page: copy in %d, out %d\n", in, out);
	if (is_dax(rig)) {
		assert_true(in == 0 || in == -EIO);
		assert_true(out == 0 || out == -EIO);
	} else {
		assert_int_equal(in, -EIO);
		assert_int_equal(out, -EIO);
		assert_int_equal(export_guarded_copy(rig->y, rig->view->base + KIB(64), 512),
				 -EFAULT);
	}
	/* The neighbours are well. */
	assert_int_equal(view_copy_in(rig->view, KIB(60), rig->x, KIB(4)), 0);
	assert_int_equal(view_copy_in(rig->view, KIB(68), rig->x, KIB(4)), 0);
	/* And we are still on guard. */
	assert_int_equal(ftruncate(rig->fd, PAGE), 0);
	assert_int_equal(export_guarded_copy(rig->y, rig->view->base + KIB(128), 512), -EFAULT);
	rig_free(rig);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_in_out),
		leaks_test(test_holes),
		leaks_test(test_cut),
		leaks_test(test_cut_under_way),
		leaks_test(test_truncate_race),
		leaks_test(test_blocked_threads),
		leaks_test(test_other_sigbus),
		leaks_test(test_full_fs),
		leaks_test(test_part_of_a_page),
		leaks_test(test_poison),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	if (export_guard_init() || sigaction(SIGBUS, NULL, &ours))
		return 1;
	return for_each_dir(run);
}
