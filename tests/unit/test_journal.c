// SPDX-License-Identifier: BSD-3-Clause
/*
 * Exports with sector_atomic = "journal": what a write does with the journal, what of it is refused, and the file
 * it is kept in. What a start finds after a crash is in test_journal_replay.c.
 */
#include "journal_rig.h"

#include <pthread.h>

#include "export/file.h"

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

/* ---- the file -------------------------------------------------------------------------------- */

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

static int run(const char *name)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_writes),      leaks_test(test_many_at_once),
		leaks_test(test_full_waits),  leaks_test(test_refused),
		leaks_test(test_interrupted), leaks_test(test_truncated_under_us),
		leaks_test(test_no_mapping),  leaks_test(test_volatile_state),
		leaks_test(test_broken),      leaks_test(test_closed),
	};

	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

static int run_without(const char *name)
{
	const struct CMUnitTest tests[] = {leaks_test(test_no_page_cache)};

	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(void)
{
	return journal_main(run, run_without);
}
