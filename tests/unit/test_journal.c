// SPDX-License-Identifier: BSD-3-Clause
/*
 * Exports with sector_atomic = "journal": a crash in the middle of a write leaves blocks that are torn, and
 * the next start makes them whole; but what others have done to the file meanwhile is not undone. The crash
 * is a process that ends between journal_begin() and journal_end().
 */
#include "test_export_rig.h"

#include <dirent.h>
#include <pthread.h>

#include "export/file.h"
#include "export/journal_file.h" /* the room's own: records, and where they lie */
#include "tenure/lease.h"

#define LBA    ((uint64_t)512)
#define PAGE   KIB(4)
#define SIZE   MIB(1)
#define AT     KIB(64) /* where the write was that did not end … */
#define LENGTH KIB(16) /* … and how long */
#define OLD    0x0f
#define NEW    0xf3
#define OTHER  0x55

static bool sync_fails;
static unsigned int interrupted; /* so many calls to come are */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
	if (interrupted > 0) {
		interrupted--;
		errno = EINTR;
		return -1;
	}
	if (sync_fails) {
		errno = EIO;
		return -1;
	}
	return __real_fdatasync(fd);
}

/* ---- as if a tmpfs were DAX ------------------------------------------------------------------- */

static bool as_dax;	 /* files are mapped with MAP_SYNC */
static bool state_as_is; /* folders say what they lie on */
static bool no_pmem;	 /* of the journal libpmem2 knows nothing */

void *__real_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
int __real_fstatfs64(int fd, struct statfs *fs);
int __wrap_fstatfs64(int fd, struct statfs *fs);
int __real_persistence_find(int fd, const char *path, uint64_t piece, struct persistence *by,
			    struct errtext *err);
int __wrap_persistence_find(int fd, const char *path, uint64_t piece, struct persistence *by,
			    struct errtext *err);
int __real_fsync(int fd);
int __wrap_fsync(int fd);

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

static void put(uint64_t offset, int byte, size_t length)
{
	int fd = open(in_dir("a"), O_RDWR | O_CLOEXEC);
	uint8_t bytes[LENGTH];

	memset(bytes, byte, sizeof(bytes));
	assert_true(fd >= 0 && length <= sizeof(bytes));
	assert_int_equal(pwrite(fd, bytes, length, (off_t)offset), length);
	assert_int_equal(fsync(fd), 0);
	(void)close(fd);
}

static bool all_are(uint64_t offset, int byte, size_t length)
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

static void make_old(void)
{
	make_file("a", SIZE);
	for (uint64_t at = 0; at < SIZE; at += LENGTH)
		put(at, OLD, LENGTH);
}

static struct export_config journaled(void)
{
	struct export_config config = config_of("a");

	config.state_dir = in_dir("state");
	config.sector_atomic = true;
	return config;
}

static const char *journal_path(void)
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

static void die_between(uint64_t from, uint64_t to)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(begin_and_die(from, to));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Serves it, for a moment. */
static void start(const struct export_config *config)
{
	struct export *e = must_open(config);
	struct view *view = must_view(e);

	view_free(view);
	export_became_known(e);
	export_close(e);
}

static void start_again(void)
{
	const struct export_config config = journaled();

	start(&config);
}

static unsigned int live_in(const char *path)
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

static unsigned int live_records(void)
{
	return live_in(journal_path());
}

static void flip(const char *path, uint64_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	(void)close(fd);
}

/* ---- writes that end -------------------------------------------------------------------------- */

static void test_writes(void **state)
{
	const struct export_config config = journaled();
	const uint64_t longer = EXPORT_ATOMIC_BYTES + KIB(8);
	uint8_t *bytes = malloc(longer), *is = malloc(longer);
	struct export *e;
	struct view *view;
	bool unread;

	(void)state;
	assert_non_null(bytes);
	assert_non_null(is);
	make_file("a", SIZE);
	e = must_open(&config);
	assert_int_equal(export_atomic_bytes(e), EXPORT_ATOMIC_BYTES);
	view = must_view(e);
	for (uint64_t i = 0; i < longer; i++)
		bytes[i] = (uint8_t)(i / 100 + 1);
	/* Over holes; of more than a record; more often than there are slots. */
	for (unsigned int i = 0; i < 3 * JOURNAL_SLOTS; i++)
		assert_int_equal(view_copy_in(view, i * LBA, bytes, 2 * LBA), 0);
	assert_int_equal(view_copy_in(view, KIB(512), bytes, longer), 0);
	assert_int_equal(view_copy_out(view, KIB(512), is, longer), 0);
	assert_memory_equal(is, bytes, longer);
	assert_int_equal(view_copy(view, KIB(512), KIB(256), KIB(64), &unread), 0);
	assert_int_equal(view_copy_out(view, KIB(256), is, KIB(64)), 0);
	assert_memory_equal(is, bytes, KIB(64));
	assert_int_equal(view_zero(view, KIB(512) + LBA, longer - LBA), 0);
	memset(bytes + LBA, 0, longer - LBA);
	assert_int_equal(view_copy_out(view, KIB(512), is, longer), 0);
	assert_memory_equal(is, bytes, longer);
	assert_int_equal(view_copy_in(view, SIZE - LBA, bytes, 2 * LBA), -ERANGE);
	assert_int_equal(live_records(), 0);
	view_free(view);
	export_close(e);
	free(is);
	free(bytes);
}

/* Of a mapping that was closed for a landlord (odp_release = at-once) block commands go on. */
static void test_closed(void **state)
{
	struct export_config config = journaled();
	uint8_t bytes[LENGTH], is[LENGTH];
	struct export *e;
	struct view *view;
	bool unread;

	(void)state;
	make_file("a", SIZE);
	put(AT, OLD, LENGTH);
	config.closable = true;
	e = must_open(&config);
	assert_int_equal(export_atomic_bytes(e), EXPORT_ATOMIC_BYTES);
	view = must_view(e);
	assert_int_equal(view_close(view), 0);
	memset(bytes, NEW, sizeof(bytes));
	/* Over bytes, and half over a hole, which the journal fills first. */
	assert_int_equal(view_copy_in(view, AT, bytes, LBA), 0);
	assert_int_equal(view_copy_in(view, AT + LENGTH - LBA, bytes, 3 * LBA), 0);
	assert_int_equal(view_copy(view, AT, 0, PAGE, &unread), 0);
	assert_int_equal(view_zero(view, AT + LBA, LBA), 0);
	assert_int_equal(view_copy_out(view, AT, is, LBA), 0);
	assert_memory_equal(is, bytes, LBA);
	assert_int_equal(live_records(), 0);
	view_free(view);
	export_close(e);
	assert_true(all_are(AT, NEW, LBA));
	assert_true(all_are(AT + LBA, 0, LBA));
	assert_true(all_are(AT + 2 * LBA, OLD, LENGTH - 3 * LBA));
	assert_true(all_are(AT + LENGTH - LBA, NEW, 3 * LBA));
	assert_true(all_are(AT + LENGTH + 2 * LBA, 0, LBA));
	assert_true(all_are(0, NEW, LBA));
	assert_true(all_are(LBA, OLD, PAGE - LBA));
}

#define THREADS 8
#define WRITES	40

static struct view *shared;

static void *writer(void *arg)
{
	const unsigned int n = (unsigned int)(uintptr_t)arg;
	uint8_t bytes[2 * PAGE];

	for (unsigned int i = 1; i <= WRITES; i++) {
		memset(bytes, (int)(n * 16 + i), sizeof(bytes));
		if (view_copy_in(shared, n * KIB(64) + i * PAGE / 4, bytes, sizeof(bytes)))
			return arg;
	}
	return NULL;
}

static void test_many_at_once(void **state)
{
	const struct export_config config = journaled();
	pthread_t threads[THREADS];
	struct export *e;

	(void)state;
	make_file("a", SIZE);
	e = must_open(&config);
	shared = must_view(e);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writer, (void *)i), 0);
	for (unsigned int i = 0; i < THREADS; i++) {
		void *failed;

		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
		for (unsigned int n = 1; n <= WRITES; n++)
			assert_true(
				all_are(i * KIB(64) + n * PAGE / 4, (int)(i * 16 + n), PAGE / 4));
	}
	assert_int_equal(live_records(), 0);
	view_free(shared);
	export_close(e);
}

static void *one_more(void *arg)
{
	struct export *e = arg;
	struct journal_slot *slot;

	if (journal_begin(e->journal, shared, SIZE - LBA, NULL, (uint32_t)LBA, &slot))
		return e;
	return journal_end(e->journal, slot) ? e : NULL;
}

static void test_full_waits(void **state)
{
	const struct export_config config = journaled();
	struct journal_slot *slots[JOURNAL_SLOTS];
	struct timespec soon;
	struct export *e;
	pthread_t thread;
	void *failed;

	(void)state;
	make_old();
	e = must_open(&config);
	shared = must_view(e);
	for (unsigned int i = 0; i < JOURNAL_SLOTS; i++)
		assert_int_equal(journal_begin(e->journal, shared, i * PAGE, NULL, (uint32_t)PAGE,
					       &slots[i]),
				 0);
	assert_int_equal(live_records(), JOURNAL_SLOTS);
	assert_int_equal(pthread_create(&thread, NULL, one_more, e), 0);
	assert_int_equal(clock_gettime(CLOCK_REALTIME, &soon), 0);
	soon.tv_sec++;
	assert_int_equal(pthread_timedjoin_np(thread, &failed, &soon), ETIMEDOUT);
	assert_int_equal(journal_end(e->journal, slots[5]), 0);
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
	for (unsigned int i = 0; i < JOURNAL_SLOTS; i++)
		if (i != 5)
			assert_int_equal(journal_end(e->journal, slots[i]), 0);
	assert_int_equal(live_records(), 0);
	view_free(shared);
	export_close(e);
}

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

static void test_refused(void **state)
{
	struct export_config config = journaled();

	(void)state;
	make_old();
	start(&config);
	flip(journal_path(), 20);
	must_fail(&config, -EBADMSG, "state/journals/disk is no journal");
	assert_int_equal(unlink(journal_path()), 0);
	start(&config);
	config.state_dir = "";
	must_fail(&config, -EINVAL, "state_dir");
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

static void test_interrupted(void **state)
{
	const struct export_config config = journaled();
	static const uint8_t bytes[PAGE] = {1};
	struct export *e;
	struct view *view;

	(void)state;
	make_old();
	e = must_open(&config);
	view = must_view(e);
	interrupted = 3;
	assert_int_equal(view_copy_in(view, AT, bytes, sizeof(bytes)), 0);
	assert_true(e->journal->map || interrupted == 0);
	interrupted = 0;
	view_free(view);
	export_close(e);
}

/* What is not there any more is behind the end, whichever page of the write it is. */
static void test_truncated_under_us(void **state)
{
	const struct export_config config = journaled();
	static const uint8_t bytes[LENGTH] = {1};
	struct export *e;
	struct view *view;

	(void)state;
	make_old();
	e = must_open(&config);
	view = must_view(e);
	assert_int_equal(truncate(in_dir("a"), AT + PAGE), 0);
	assert_int_equal(view_copy_in(view, AT, bytes, sizeof(bytes)), -ERANGE);
	assert_int_equal(view_zero(view, AT, LENGTH), -ERANGE);
	assert_int_equal(view_copy_in(view, AT + PAGE, bytes, LBA), -ERANGE);
	assert_int_equal(view_copy_in(view, AT, bytes, LBA), 0);
	assert_int_equal(file_bytes("a"), AT + PAGE);
	assert_int_equal(live_records(), 0);
	view_free(view);
	export_close(e);
}

/* What cannot be mapped as it should is written like any other file. */
static void test_no_mapping(void **state)
{
	const struct export_config config = journaled();
	struct export *e;

	(void)state;
	if (!as_dax)
		skip();
	make_old();
	e = must_open(&config);
	assert_non_null(e->journal->map);
	export_close(e);
	no_pmem = true;
	e = must_open(&config);
	assert_null(e->journal->map);
	export_close(e);
	die_between(0, LBA / 2);
	start_again();
	no_pmem = false;
	assert_true(all_are(AT, NEW, LENGTH));
}

/* A journal that is gone with the power is of no use for what is not. */
static void test_volatile_state(void **state)
{
	struct export_config config = journaled();

	(void)state;
	make_old();
	assert_false(export_state_is_volatile("/proc/self"));
	if (!as_dax) {
		assert_int_equal(export_state_is_volatile(test_dir), dir_is_memory());
		assert_int_equal(export_state_is_volatile(in_dir("to come")), dir_is_memory());
		return;
	}
	state_as_is = true;
	config.state_dir = in_dir("state3");
	must_fail(&config, -EMEDIUMTYPE, "state_dir");
	assert_int_equal(access(config.state_dir, F_OK), -1);
	config.read_only = true;
	start(&config);
	config.read_only = config.sector_atomic = false;
	start(&config);
	state_as_is = false;
}

static void test_no_page_cache(void **state)
{
	const struct export_config config = journaled();

	(void)state;
	make_old();
	must_fail(&config, -EMEDIUMTYPE, "page cache");
	assert_int_equal(access(journal_path(), F_OK), -1);
}

static void test_broken(void **state)
{
	const struct export_config config = journaled();
	static const uint8_t bytes[PAGE] = {1};
	struct export *e;
	struct view *view;
	char text[ERRTEXT_BYTES];
	bool mapped;

	(void)state;
	make_old();
	e = must_open(&config);
	view = must_view(e);
	mapped = e->journal->map;
	sync_fails = !mapped;
	assert_int_equal(view_copy_in(view, AT, bytes, sizeof(bytes)), mapped ? 0 : -EIO);
	sync_fails = false;
	assert_true(mapped || all_are(AT, OLD, PAGE));
	assert_int_equal(view_copy_in(view, AT, bytes, sizeof(bytes)), mapped ? 0 : -EIO);
	assert_int_equal(view_zero(view, AT, PAGE), mapped ? 0 : -EIO);
	assert_int_equal(export_unwritable(e), !mapped);
	assert_int_equal(export_warnings(e, view, 0) & EXPORT_WARN_UNWRITABLE,
			 mapped ? 0 : EXPORT_WARN_UNWRITABLE);
	export_warning_text(e, view, 0, EXPORT_WARN_UNWRITABLE, text, sizeof(text));
	assert_non_null(strstr(text, "leasehold export offline disk"));
	view_free(view);
	export_became_known(e);
	export_close(e);
	start_again();
	assert_true(all_are(AT, mapped ? 0 : OLD, PAGE));
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_writes),
		leaks_test(test_many_at_once),
		leaks_test(test_full_waits),
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
		leaks_test(test_refused),
		leaks_test(test_refused_start),
		leaks_test(test_half_made),
		leaks_test(test_little_memory),
		leaks_test(test_interrupted),
		leaks_test(test_truncated_under_us),
		leaks_test(test_no_mapping),
		leaks_test(test_volatile_state),
		leaks_test(test_broken),
		leaks_test(test_closed),
	};
	const struct CMUnitTest others[] = {leaks_test(test_no_page_cache)};
	struct export *e;
	enum export_medium medium;
	int failed;

	make_file("a", SIZE);
	e = open_file("a");
	medium = export_medium(e);
	export_close(e);
	if (medium == EXPORT_PAGE_CACHE)
		return cmocka_run_group_tests_name(where, others, NULL, NULL);
	failed = cmocka_run_group_tests_name(where, tests, NULL, NULL);
	if (medium == EXPORT_MEMORY) {
		as_dax = true;
		failed += cmocka_run_group_tests_name("as if DAX", tests, NULL, NULL);
		as_dax = false;
	}
	return failed;
}

int main(void)
{
	tenure_block_signals();
	if (export_guard_init())
		return 1;
	return for_each_dir(run);
}
