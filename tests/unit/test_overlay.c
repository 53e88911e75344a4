// SPDX-License-Identifier: BSD-3-Clause
/* Whether a file lies in the upper directory of an overlay, by lists of mounts that the test wrote. */
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "export/overlay.h"

static char top[] = "/tmp/leasehold-overlay-XXXXXX";

/* Valid until the next but one. */
static const char *in_top(const char *name)
{
	static char paths[2][PATH_MAX];
	static unsigned int turn;
	char *path = paths[turn++ % 2];

	(void)snprintf(path, PATH_MAX, "%s/%s", top, name);
	return path;
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(top) || mkdir(in_top("up per"), 0700) || mkdir(in_top("up per/sub"), 0700) ||
	    mkdir(in_top("up"), 0700) || symlink("up per", in_top("link")))
		return -1;
	return close(creat(in_top("up per/sub/file"), 0600));
}

static int tear_down(void **state)
{
	static const char *const names[] = {"mounts", "link", "up per/sub/file"};
	static const char *const folders[] = {"up per/sub", "up per", "up", ""};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlink(in_top(names[i]));
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		(void)rmdir(in_top(folders[i]));
	return 0;
}

/* Of a list with that overlay, among others. */
static bool over(const char *options, char *where, size_t size)
{
	FILE *list = fopen(in_top("mounts"), "we");

	assert_non_null(list);
	(void)fprintf(list,
		      "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw,upperdir=%s\n"
		      "61 22 0:40 / /mnt/ro rw - overlay overlay ro,lowerdir=/a:/b\n"
		      "60 22 0:39 / /mnt/a\\040b rw,relatime shared:9 - overlay none %s\n",
		      top, options);
	(void)fclose(list);
	return overlay_over(in_top("mounts"), in_top("link/sub/file"), where, size);
}

static void test_upper(void **state)
{
	char options[PATH_MAX + 64], where[64] = "";

	(void)state;
	/* With a space in it, by another name, and at any depth. */
	(void)snprintf(options, sizeof(options),
		       "rw,lowerdir=/a,upperdir=%s/up\\040per,workdir=/w,xino=off", top);
	assert_true(over(options, where, sizeof(where)));
	assert_string_equal(where, "/mnt/a b");
	(void)snprintf(options, sizeof(options), "rw,upperdir=%s/link/sub", top);
	assert_true(over(options, where, sizeof(where)));
}

static void test_not_upper(void **state)
{
	char options[PATH_MAX + 64], where[64] = "";

	(void)state;
	(void)snprintf(options, sizeof(options), "rw,lowerdir=%s,upperdir=%s/up,workdir=/w", top,
		       top);
	assert_false(over(options, where, sizeof(where)));
	assert_false(over("rw,upperdir=/is/not/there", where, sizeof(where)));
	assert_false(over("rw,upperdir=", where, sizeof(where)));
	assert_false(overlay_over("/is/not/there", top, where, sizeof(where)));
	assert_false(overlay_over(in_top("mounts"), in_top("gone"), where, sizeof(where)));
	assert_string_equal(where, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upper),
		cmocka_unit_test(test_not_upper),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
