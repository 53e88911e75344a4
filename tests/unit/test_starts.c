// SPDX-License-Identifier: BSD-3-Clause
/* The count of starts: over clean ends, others, a second daemon, and a file that is no good. */
#include "test_dirs.h"

#include "control/control.h"
#include "util/state_file.h"

static struct starts one;

static void begin(uint64_t all, uint64_t unclean)
{
	assert_int_equal(starts_begin(in_dir("state"), &one), 0);
	assert_int_equal(one.all, all);
	assert_int_equal(one.unclean, unclean);
}

/* As when it is killed: the kernel closes the folder. */
static void vanish(void)
{
	(void)close(one.folder);
}

static void test_starts(void **state)
{
	struct starts other;

	(void)state;
	begin(1, 0);
	assert_int_equal(starts_begin(in_dir("state"), &other), -EWOULDBLOCK);
	assert_true(other.all == 0 && other.unclean == 0);
	assert_int_equal(starts_end(&other), 0);
	assert_int_equal(starts_end(&one), 0);
	assert_int_equal(starts_end(&one), 0);
	begin(2, 0);
	vanish();
	begin(3, 1);
	vanish();
	begin(4, 2);
	assert_int_equal(starts_end(&one), 0);
	begin(5, 2);
	assert_int_equal(starts_end(&one), 0);
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
		"",
		"starts\nunclean 0\nrunning 0\n",
		"starts 1\nunclean 0\n",
		"starts 1\nunclean 2\nrunning 0\n",
		"starts 1\nunclean 0\nrunning 2\n",
		"starts -1\nunclean 0\nrunning 0\n",
		"starts 1 \nunclean 0\nrunning 0\n",
		"starts 1\nunclean 0\nrunning 0\nmore 1\n",
		"starts 99999999999999999999\nunclean 0\nrunning 0\n",
	};
	char longer[300];
	int folder = state_folder_open(in_dir("state"), "daemon");

	(void)state;
	assert_true(folder >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(state_file_write(folder, "starts", bad[i]), 0);
		assert_int_equal(starts_begin(in_dir("state"), &one), -EBADMSG);
		assert_true(one.all == 0 && one.unclean == 0 && one.folder < 0);
	}
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(state_file_write(folder, "starts", longer), 0);
	assert_int_equal(starts_begin(in_dir("state"), &one), -EFBIG);
	assert_int_equal(state_file_remove(folder, "starts"), 0);
	(void)close(folder);
	begin(1, 0);
	assert_int_equal(starts_end(&one), 0);
	assert_int_equal(starts_begin("/proc/none", &one), -ENOENT);
}

/* No state directory: nothing is kept, and that is no error. */
static void test_none(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(starts_begin("", &one), 0);
		assert_true(one.all == 0 && one.unclean == 0 && one.folder < 0);
		assert_int_equal(starts_end(&one), 0);
	}
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {leaks_test(test_starts), leaks_test(test_bad),
					   leaks_test(test_none)};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return for_each_dir(run);
}
