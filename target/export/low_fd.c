// SPDX-License-Identifier: BSD-3-Clause
/*
 * Low descriptor numbers for export files. When a process ends, its descriptors are closed in the order of
 * their numbers. An unlinked file whose memory an adapter has pinned is waited for, for ever, if the
 * adapter's descriptor, which ends the pins, is closed before the file's was: the last close frees the
 * blocks, and that waits for pins. So numbers are set aside before any device is opened. Any thread.
 */
#include "low_fd.h"

#include "export/export.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

static struct {
	pthread_mutex_t lock;
	int numbers[EXPORT_LOW_FDS];
	bool taken[EXPORT_LOW_FDS];
	unsigned int nr;
} low = {.lock = PTHREAD_MUTEX_INITIALIZER};

void export_reserve_fds(void)
{
	struct rlimit limit = {.rlim_cur = 0};

	(void)getrlimit(RLIMIT_NOFILE, &limit);
	while (low.nr < min_u64(EXPORT_LOW_FDS, limit.rlim_cur / 8)) {
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			return;
		low.numbers[low.nr++] = fd;
	}
}

int low_fd(int fd)
{
	int at = fd;

	(void)pthread_mutex_lock(&low.lock);
	for (unsigned int i = 0; i < low.nr && at == fd; i++) {
		if (low.taken[i] || dup3(fd, low.numbers[i], O_CLOEXEC) < 0)
			continue;
		low.taken[i] = true;
		at = low.numbers[i];
	}
	(void)pthread_mutex_unlock(&low.lock);
	if (at != fd)
		(void)close(fd);
	return at;
}

void low_fd_close(int fd)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	bool was_low = false;

	(void)pthread_mutex_lock(&low.lock);
	for (unsigned int i = 0; i < low.nr; i++) {
		if (!low.taken[i] || low.numbers[i] != fd)
			continue;
		/* Without a descriptor to spare the number is lost: anybody may get it. */
		was_low = null >= 0 && dup3(null, fd, O_CLOEXEC) >= 0;
		low.taken[i] = !was_low;
	}
	(void)pthread_mutex_unlock(&low.lock);
	if (!was_low)
		(void)close(fd);
	if (null >= 0)
		(void)close(null);
}
