// SPDX-License-Identifier: BSD-3-Clause
/*
 * Who else has the file, from /proc: for a person who wonders why there is no lease. Looks through
 * the links in /proc without opening what they lead to. What another PID namespace hides, or we may
 * not look at, is not seen. Worker threads.
 */
#include "file.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

struct out {
	char *text;
	size_t size, used;
	int found;
	bool full;
};

static void put(struct out *out, const char *comm, long pid)
{
	char one[64];
	int n = snprintf(one, sizeof(one), "%s%s (pid %ld)", out->found ? ", " : "", comm, pid);

	out->found++;
	if (out->full || (size_t)n >= out->size - out->used) {
		out->full = true; /* whole names only */
		return;
	}
	memcpy(out->text + out->used, one, (size_t)n + 1);
	out->used += (size_t)n;
}

/* Leads the link /proc/<pid>/fd/<n> to our inode? */
static bool leads_here(const struct export *e, int dir, const char *name)
{
	struct statx stx;
	char path[2];

	/* Pipes, sockets and such never do; a file system that hangs is asked for nothing. */
	if (readlinkat(dir, name, path, sizeof(path)) < 1 || path[0] != '/')
		return false;
	if (statx(dir, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &stx))
		return false;
	return stx.stx_ino == e->ino && makedev(stx.stx_dev_major, stx.stx_dev_minor) == e->dev;
}

static bool has_open(const struct export *e, int process)
{
	int fd = openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;
	bool found = false;

	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return false;
	}
	while (!found && (d = readdir(dir)))
		found = isdigit((unsigned char)d->d_name[0]) && leads_here(e, fd, d->d_name);
	(void)closedir(dir);
	return found;
}

/* "7f0c…-7f0c… rw-s 00000000 fd:00 1234      /path": some file systems show another device here
 * than to stat(2), so the path counts as well. */
static bool maps_line_is_ours(const struct export *e, const char *line)
{
	unsigned long maj, min;
	char *end;

	for (int field = 0; field < 3; field++) {
		line = strchr(line, ' ');
		if (!line)
			return false;
		line++;
	}
	maj = strtoul(line, &end, 16);
	if (*end != ':')
		return false;
	min = strtoul(end + 1, &end, 16);
	if (strtoull(end, &end, 10) != e->ino)
		return false;
	end += strspn(end, " ");
	return makedev(maj, min) == e->dev || strcmp(end, e->path) == 0;
}

static bool has_mapped(const struct export *e, int process)
{
	int fd = openat(process, "maps", O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	bool found = false;
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	if (!file) {
		if (fd >= 0)
			(void)close(fd);
		return false;
	}
	while (!found && (n = getline(&line, &room, file)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		found = maps_line_is_ours(e, line);
	}
	free(line);
	(void)fclose(file);
	return found;
}

static void read_comm(int process, char comm[32])
{
	int fd = openat(process, "comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, comm, 31);

	if (fd >= 0)
		(void)close(fd);
	if (n <= 1) {
		(void)snprintf(comm, 32, "?");
		return;
	}
	comm[n] = '\0';
	comm[strcspn(comm, "\n")] = '\0';
	for (char *c = comm; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
}

int export_holders(const struct export *e, char *text, size_t size)
{
	struct out out = {.text = text, .size = size};
	int root = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *proc = root < 0 ? NULL : fdopendir(root);
	struct dirent *d;

	assert(size > 0);
	text[0] = '\0';
	if (!proc) {
		if (root >= 0)
			(void)close(root);
		return 0;
	}
	while ((d = readdir(proc))) {
		long pid = strtol(d->d_name, NULL, 10); /* 0: no process */
		int process;

		if (pid <= 0 || pid == getpid())
			continue;
		process = openat(root, d->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (process < 0)
			continue;
		if (has_open(e, process) || has_mapped(e, process)) {
			char comm[32];

			read_comm(process, comm);
			put(&out, comm, pid);
		}
		(void)close(process);
	}
	(void)closedir(proc);
	return out.found;
}
