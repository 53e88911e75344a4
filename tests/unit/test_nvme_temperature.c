// SPDX-License-Identifier: BSD-3-Clause
/* The temperature that the SMART log shows, from a folder of sensors made for the purpose. */
#include "test_dirs.h"

#include "nvme/health.h"

static void put(const char *sensor, const char *file, const char *text)
{
	char path[2 * PATH_BYTES];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", test_dir, sensor);
	(void)mkdir(path, 0755);
	(void)snprintf(path, sizeof(path), "%s/%s/%s", test_dir, sensor, file);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	(void)fclose(f);
}

static void sensor(const char *name, const char *driver, const char *value)
{
	put(name, "name", driver);
	put(name, "temp1_input", value);
}

static void test_sensors(void **state)
{
	(void)state;
	assert_int_equal(health_memory_temperature("/dev/null/nothing"), 0);
	assert_int_equal(health_memory_temperature(test_dir), 0);
	/* Others are not looked at, and one without a value, or with none that can be, says nothing. */
	sensor("hwmon0", "coretemp\n", "99000\n");
	sensor("hwmon1", "jc42\n", "");
	put("hwmon2", "name", "spd5118\n");
	sensor("hwmon3", "jc42\n", "200000\n");
	sensor("hwmon4", "jc42\n", "-56000\n");
	sensor("hwmon5", "jc42\n", "warm\n");
	sensor("hwmon6", "jc42x\n", "40000\n");
	assert_int_equal(health_memory_temperature(test_dir), 0);
	/* The warmest, to the nearest kelvin. */
	sensor("hwmon7", "jc42\n", "41250\n");
	assert_int_equal(health_memory_temperature(test_dir), 314);
	sensor("hwmon8", "spd5118\n", "43500\n");
	sensor("hwmon9", "spd5118\n", "-5000\n");
	assert_int_equal(health_memory_temperature(test_dir), 317);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {leaks_test(test_sensors)};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return for_each_dir(run);
}
