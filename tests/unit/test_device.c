// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device-dax device that has no node, and why: what the kernel shows of it under /sys is made up here.
 * Devices that are there: tests/e2e, device-dax, in the testbed VM.
 */
#include "test_export_rig.h"

#include <errno.h>
#include <string.h>

#define FOLDER "/sys/bus/dax/devices/dax77.3"

static bool there;	   /* the device, among those of the bus */
static const char *driver; /* it is bound to; NULL: to none */

int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);

int __wrap_access(const char *path, int mode)
{
	if (strcmp(path, FOLDER) != 0)
		return __real_access(path, mode);
	errno = ENOENT;
	return there ? 0 : -1;
}

static ssize_t follow(char *text, size_t size)
{
	char to[64];
	int n = snprintf(to, sizeof(to), "../../../../bus/dax/drivers/%s", driver ? driver : "");

	errno = ENOENT;
	if (!driver)
		return -1;
	assert_true((size_t)n <= size);
	memcpy(text, to, (size_t)n);
	return n;
}

ssize_t __real_readlink(const char *path, char *text, size_t size);
ssize_t __wrap_readlink(const char *path, char *text, size_t size);

ssize_t __wrap_readlink(const char *path, char *text, size_t size)
{
	return strcmp(path, FOLDER "/driver") == 0 ? follow(text, size)
						   : __real_readlink(path, text, size);
}

/* Where the build has the C library check lengths. */
ssize_t __real___readlink_chk(const char *path, char *text, size_t size, size_t room);
ssize_t __wrap___readlink_chk(const char *path, char *text, size_t size, size_t room);

ssize_t __wrap___readlink_chk(const char *path, char *text, size_t size, size_t room)
{
	return strcmp(path, FOLDER "/driver") == 0 ? follow(text, size)
						   : __real___readlink_chk(path, text, size, room);
}

static int open_device(struct errtext *err)
{
	struct export_config config = config_of("none");
	struct export *e;
	int ret;

	config.path = "/dev/dax77.3";
	config.lba_bytes = 4096;
	ret = export_open(&config, &e, err);
	/* Who only looks gets the same answer. */
	assert_true(ret != 0);
	assert_int_equal(export_look(&config, err), ret);
	return ret;
}

static void test_system_ram(void **state)
{
	struct errtext err;

	(void)state;
	there = true;
	driver = "kmem";
	assert_int_equal(open_device(&err), -EBUSY);
	assert_non_null(strstr(err.text, "dax77.3 is in system-ram mode"));
	assert_non_null(strstr(err.text, "\"daxctl reconfigure-device --mode=devdax dax77.3\""));
}

static void test_disabled(void **state)
{
	struct errtext err;

	(void)state;
	there = true;
	driver = NULL;
	assert_int_equal(open_device(&err), -EBUSY);
	assert_non_null(strstr(err.text, "dax77.3 is disabled"));
	assert_non_null(strstr(err.text, "\"daxctl enable-device dax77.3\""));
}

/* Nothing that the bus knows, or nothing that explains it: it is not there. */
static void test_not_there(void **state)
{
	struct errtext err;

	(void)state;
	there = false;
	driver = "kmem";
	assert_int_equal(open_device(&err), -ENOENT);
	there = true;
	driver = "device_dax";
	assert_int_equal(open_device(&err), -ENOENT);
	assert_null(strstr(err.text, "system-ram"));
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_system_ram),
		leaks_test(test_disabled),
		leaks_test(test_not_there),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return for_each_dir(run_group);
}
