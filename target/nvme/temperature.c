// SPDX-License-Identifier: BSD-3-Clause
/*
 * The temperature of the medium, which is the machine's memory: that of its warmest module, from the
 * sensors that the kernel shows for memory modules. Processors, boards and adapters have sensors as
 * well, but what is normal for them would look like a fire to a host. Reads files that may wait for
 * a bus: workers only.
 */
#include "nvme/health.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES    32
#define PATH_BYTES    512
#define MILLI	      1000L
#define ZERO_C_MILLIK 273150L
#define LOWEST	      (-55 * MILLI) /* what such a sensor can measure */
#define HIGHEST	      (150 * MILLI)

/* The kernel's names for the sensors of memory modules: DDR3 and DDR4, DDR5. */
static const char *const drivers[] = {"jc42", "spd5118"};

static bool read_line(const char *dir, const char *entry, const char *file, char *line, int size)
{
	char path[PATH_BYTES];
	FILE *f;
	bool ok;

	if (snprintf(path, sizeof(path), "%s/%s/%s", dir, entry, file) >= (int)sizeof(path))
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(line, size, f) != NULL;
	(void)fclose(f);
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

static bool is_memory(const char *dir, const char *entry)
{
	char name[NAME_BYTES];

	if (!read_line(dir, entry, "name", name, sizeof(name)))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
		if (strcmp(name, drivers[i]) == 0)
			return true;
	}
	return false;
}

uint16_t health_memory_temperature(const char *dir)
{
	DIR *d = opendir(dir);
	long warmest = LOWEST - 1;
	const struct dirent *entry;

	if (!d)
		return 0;
	/* Nobody else reads this stream. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((entry = readdir(d))) {
		char text[NAME_BYTES], *end;
		long milli;

		if (entry->d_name[0] == '.' || !is_memory(dir, entry->d_name) ||
		    !read_line(dir, entry->d_name, "temp1_input", text, sizeof(text)))
			continue;
		milli = strtol(text, &end, 10);
		if (end != text && *end == '\0' && milli >= LOWEST && milli <= HIGHEST)
			warmest = milli > warmest ? milli : warmest;
	}
	(void)closedir(d);
	return warmest < LOWEST ? 0 : (uint16_t)((warmest + ZERO_C_MILLIK + MILLI / 2) / MILLI);
}
