// SPDX-License-Identifier: BSD-3-Clause
/* The file, its journal and the daemon that dies, of the tests of journals. */
#include "journal_rig.h"

#include "export/file.h"
#include "tenure/lease.h"

/* ---- as if a tmpfs were DAX ------------------------------------------------------------------- */

bool as_dax, state_as_is, no_pmem;

void *__real_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
int __real_fstatfs64(int fd, struct statfs *fs);
int __wrap_fstatfs64(int fd, struct statfs *fs);
int __real_persistence_find(int fd, const char *path, uint64_t piece, struct persistence *by,
			    struct errtext *err);
int __wrap_persistence_find(int fd, const char *path, uint64_t piece, struct persistence *by,
			    struct errtext *err);

void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	if (as_dax && (flags & MAP_SYNC))
		flags = (flags & ~(MAP_SHARED_VALIDATE | MAP_SYNC)) | MAP_SHARED;
	return __real_mmap64(addr, length, prot, flags, fd, offset);
}

int __wrap_fstatfs64(int fd, struct statfs *fs)
{
	int ret = __real_fstatfs64(fd, fs);
	struct stat st;

	if (as_dax && !ret && fs->f_type == TMPFS_MAGIC && !fstat(fd, &st) &&
	    !(state_as_is && S_ISDIR(st.st_mode)))
		fs->f_type = XFS_SUPER_MAGIC;
	return ret;
}

static void persist(const void *at, size_t bytes)
{
	(void)at;
	(void)bytes;
}

static void drain(void)
{
}

static void *copy(void *dst, const void *src, size_t bytes, unsigned int flags)
{
	(void)flags;
	return memcpy(dst, src, bytes);
}

int __wrap_persistence_find(int fd, const char *path, uint64_t piece, struct persistence *by,
			    struct errtext *err)
{
	if (!as_dax)
		return __real_persistence_find(fd, path, piece, by, err);
	*by = (struct persistence){0};
	if (no_pmem && strstr(path, "/journals/"))
		return errtext_set(err, -EINVAL, "nobody knows");
	*by = (struct persistence){.persist = persist, .drain = drain, .memcpy = copy};
	return 0;
}

/* ---- the file, as others see it --------------------------------------------------------------- */

void put(uint64_t offset, int byte, size_t length)
{
	int fd = open(in_dir("a"), O_RDWR | O_CLOEXEC);
	uint8_t bytes[LENGTH];

	memset(bytes, byte, sizeof(bytes));
	assert_true(fd >= 0 && length <= sizeof(bytes));
	assert_int_equal(pwrite(fd, bytes, length, (off_t)offset), length);
	assert_int_equal(fsync(fd), 0);
	(void)close(fd);
}

bool all_are(uint64_t offset, int byte, size_t length)
{
	int fd = open(in_dir("a"), O_RDONLY | O_CLOEXEC);
	uint8_t is[LENGTH];
	bool same = true;

	assert_true(fd >= 0 && length <= sizeof(is));
	assert_int_equal(pread(fd, is, length, (off_t)offset), length);
	(void)close(fd);
	for (size_t i = 0; i < length; i++)
		same = same && is[i] == byte;
	return same;
}

void make_old(void)
{
	make_file("a", SIZE);
	for (uint64_t at = 0; at < SIZE; at += LENGTH)
		put(at, OLD, LENGTH);
}

struct export_config journaled(void)
{
	struct export_config config = config_of("a");

	config.state_dir = in_dir("state");
	config.sector_atomic = true;
	return config;
}

const char *journal_path(void)
{
	return in_dir("state/journals/disk");
}

/* ---- a daemon that dies ----------------------------------------------------------------------- */

/* In the child. What is torn: bytes [from, to) of the write are in place. */
static int begin_and_die(uint64_t from, uint64_t to)
{
	const struct export_config config = journaled();
	static uint8_t bytes[LENGTH];
	struct journal_slot *slot;
	struct errtext err;
	struct export *e;
	struct view *view;

	memset(bytes, NEW, sizeof(bytes));
	if (export_open(&config, &e, &err) || view_new(e, 1, NULL, NULL, &view, &err) ||
	    journal_begin(e->journal, view, AT, bytes, sizeof(bytes), &slot))
		return 1;
	return export_guarded_copy(view->base + AT + from, bytes, to - from) ? 1 : 0;
}

void die_between(uint64_t from, uint64_t to)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(begin_and_die(from, to));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

void start(const struct export_config *config)
{
	struct export *e = must_open(config);
	struct view *view = must_view(e);

	view_free(view);
	export_became_known(e);
	export_close(e);
}

void start_again(void)
{
	const struct export_config config = journaled();

	start(&config);
}

unsigned int live_in(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	unsigned int n = 0;

	assert_true(fd >= 0);
	for (unsigned int i = 0; i < JOURNAL_SLOTS; i++) {
		struct journal_record r;

		assert_int_equal(pread(fd, &r, sizeof(r),
				       (off_t)(JOURNAL_HEAD_BYTES + i * JOURNAL_SLOT_BYTES)),
				 sizeof(r));
		n += r.magic != 0;
	}
	(void)close(fd);
	return n;
}

unsigned int live_records(void)
{
	return live_in(journal_path());
}

void flip(const char *path, uint64_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	(void)close(fd);
}

/* ---- where it runs ---------------------------------------------------------------------------- */

static int (*with_journal)(const char *name), (*without_journal)(const char *name);
static bool has_run;

static int run(const char *where)
{
	struct export *e;
	enum export_medium medium;
	int failed;

	make_file("a", SIZE);
	e = open_file("a");
	medium = export_medium(e);
	export_close(e);
	if (medium == EXPORT_PAGE_CACHE && !without_journal) {
		(void)printf("skipped: in %s there is a page cache, and so no journal\n", where);
		return 0;
	}
	has_run = true;
	if (medium == EXPORT_PAGE_CACHE)
		return without_journal(where);
	failed = with_journal(where);
	if (medium == EXPORT_MEMORY) {
		as_dax = true;
		failed += with_journal("as if DAX");
		as_dax = false;
	}
	return failed;
}

int journal_main(int (*with)(const char *name), int (*without)(const char *name))
{
	int failed;

	with_journal = with;
	without_journal = without;
	tenure_block_signals();
	if (export_guard_init())
		return 1;
	failed = for_each_dir(run);
	return failed || has_run ? failed : 77;
}
