// SPDX-License-Identifier: BSD-3-Clause
/*
 * What happens to the files that retry.c waits for: the process's inotify instance, read on the
 * loop's thread.
 */
#include "closes.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#define EVENTS_BYTES 1024

/* The lease signals, and so their watch, are the whole process's; this goes with them. */
static struct {
	struct loop *loop; /* NULL: not started */
	struct loop_fd lfd;
} closes;

static void on_events(struct loop_fd *lfd, uint32_t events)
{
	_Alignas(struct inotify_event) char buf[EVENTS_BYTES];
	ssize_t n;

	(void)events;
	while ((n = read(lfd->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(buf + at);

			if (e->mask & IN_Q_OVERFLOW)
				retry_closed(CLOSES_ALL);
			else if (e->mask & IN_CLOSE) /* else IN_IGNORED: removed */
				retry_closed(e->wd);
			else if (e->mask & (IN_OPEN | IN_MODIFY))
				retry_came_in(e->wd);
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	}
	retry_after_events();
}

void closes_start(struct loop *loop)
{
	assert(!closes.loop);
	closes.lfd = (struct loop_fd){.fn = on_events};
	closes.lfd.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (closes.lfd.fd < 0)
		return;
	if (loop_add_fd(loop, &closes.lfd, EPOLLIN)) {
		(void)close(closes.lfd.fd);
		return;
	}
	closes.loop = loop;
}

void closes_stop(void)
{
	assert(retry_none());
	if (!closes.loop)
		return;
	loop_del_fd(closes.loop, &closes.lfd);
	(void)close(closes.lfd.fd);
	closes.loop = NULL;
}

/* The link in /proc leads to the inode without opening it: an open would break a lease. */
int closes_watch(struct loop *loop, int fd)
{
	char path[64];

	if (closes.loop != loop)
		return CLOSES_NONE;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return inotify_add_watch(closes.lfd.fd, path, IN_CLOSE | IN_OPEN | IN_MODIFY);
}

void closes_unwatch(int wd)
{
	(void)inotify_rm_watch(closes.lfd.fd, wd);
}
