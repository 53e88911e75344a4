// SPDX-License-Identifier: BSD-3-Clause
/* Small text files that must survive. Any thread that may sleep; keeps nothing. */
#include "state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Makes a directory that may be there, and makes sure it stays. */
static int make_dir(const char *parent, const char *path)
{
	int fd, ret = 0;

	if (mkdir(path, 0700))
		return errno == EEXIST ? 0 : -errno;
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0; /* not ours to sync: then its owner made it */
	if (fsync(fd))
		ret = -errno;
	(void)close(fd);
	return ret;
}

int state_folder_open(const char *state_dir, const char *folder)
{
	char *parent, *path;
	int ret = -ENOMEM;

	if (asprintf(&parent, "%s/..", state_dir) < 0)
		return -ENOMEM;
	if (asprintf(&path, "%s/%s", state_dir, folder) < 0)
		goto free_parent;
	ret = make_dir(parent, state_dir);
	if (!ret)
		ret = make_dir(state_dir, path);
	if (!ret) {
		ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (ret < 0)
			ret = -errno;
	}
	free(path);
free_parent:
	free(parent);
	return ret;
}

int state_file_read(int folder, const char *name, char *text, size_t size)
{
	size_t len = 0;
	int fd, ret = 0;

	fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	while (len < size) {
		ssize_t n = read(fd, text + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ret = -errno;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	(void)close(fd);
	if (len == size) {
		len--;
		ret = ret ? ret : -EFBIG;
	}
	text[len] = '\0';
	/* A NUL would hide what follows it; turned into a character of a line it is found. */
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\0')
			text[i] = '?';
	return ret;
}

int state_file_write(int folder, const char *name, const char *text)
{
	char *temporary;
	int fd, ret;

	if (asprintf(&temporary, ".%s.%d.tmp", name, (int)getpid()) < 0)
		return -ENOMEM;
	fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		ret = -errno;
		goto free_name;
	}
	ret = write_full(fd, text, strlen(text));
	if (!ret && fsync(fd))
		ret = -errno;
	(void)close(fd);
	if (!ret && renameat(folder, temporary, folder, name))
		ret = -errno;
	if (ret)
		(void)unlinkat(folder, temporary, 0);
	else if (fsync(folder))
		ret = -errno;
free_name:
	free(temporary);
	return ret;
}

int state_file_remove(int folder, const char *name)
{
	if (unlinkat(folder, name, 0) && errno != ENOENT)
		return -errno;
	return fsync(folder) ? -errno : 0;
}
