// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which overlay a file is the upper one of. Directories are compared by device and inode: mount options
 * have paths as whoever mounted it saw them. On a worker.
 */
#include "overlay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOUNT_POINT 5 /* which field of a line it is */

/* "\040" is a space, and so on; in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (*from == '\\' && strspn(from + 1, "01234567") >= 3) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* The end of the line after its fields: "overlay SOURCE OPTIONS", or NULL: another kind. */
static char *overlay_options(char *line)
{
	char *kind = strstr(line, " - overlay ");
	char *options = kind ? strrchr(kind, ' ') : NULL;

	return options ? options + 1 : NULL;
}

/* The value of upperdir, or NULL: it has none, and is read-only. */
static char *upper_of(char *options)
{
	char *rest = NULL;

	for (char *o = strtok_r(options, ",\n", &rest); o; o = strtok_r(NULL, ",\n", &rest)) {
		if (strncmp(o, "upperdir=", strlen("upperdir=")) == 0) {
			unescape(o + strlen("upperdir="));
			return o + strlen("upperdir=");
		}
	}
	return NULL;
}

static bool same_directory(const char *path, const struct stat *st)
{
	struct stat other;

	return stat(path, &other) == 0 && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

/* `file` is a real path: is any of its folders that one? */
static bool lies_in(const char *file, const char *directory)
{
	char *folder = strdup(file), *slash;
	struct stat st;
	bool found = false;

	if (folder && stat(directory, &st) == 0) {
		while (!found && (slash = strrchr(folder, '/'))) {
			slash[slash == folder ? 1 : 0] = '\0';
			found = same_directory(folder, &st);
			if (slash == folder)
				break;
		}
	}
	free(folder);
	return found;
}

static void mount_point(char *line, char *where, size_t size)
{
	char *rest = NULL, *field = strtok_r(line, " ", &rest);

	for (int i = 1; field && i < MOUNT_POINT; i++)
		field = strtok_r(NULL, " ", &rest);
	if (field)
		unescape(field);
	(void)snprintf(where, size, "%s", field ? field : "?");
}

bool overlay_over(const char *mounts, const char *path, char *where, size_t size)
{
	char *file = realpath(path, NULL), *line = NULL;
	FILE *list = fopen(mounts, "re");
	size_t room = 0;
	bool found = false;

	while (file && list && !found && getline(&line, &room, list) >= 0) {
		char *options = overlay_options(line);
		char *upper = options ? upper_of(options) : NULL;

		found = upper && lies_in(file, upper);
	}
	if (found)
		mount_point(line, where, size);
	if (list)
		(void)fclose(list);
	free(line);
	free(file);
	return found;
}
