// SPDX-License-Identifier: BSD-3-Clause
/*
 * When to try for a tenure again. The kernel tells of the close(2) that may have been the last one,
 * but a little before it counts the file as closed, and not of a mapping that goes; so there is a
 * timer as well. The loop's thread.
 */
#include "tenure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#define RETRY_FIRST_NS (1 * NS_PER_MS)
#define RETRY_LAST_NS  (250 * NS_PER_MS)
#define EVENTS_BYTES   1024

struct tenure_retry {
	struct loop *loop;
	struct loop_fd lfd; /* fd -1: no inotify */
	struct loop_timer timer;
	uint64_t wait_ns; /* that the timer is armed with */
	void (*retry)(void *arg);
	void *arg;
};

static void arm(struct tenure_retry *r, uint64_t wait_ns)
{
	r->wait_ns = wait_ns;
	loop_timer_set(r->loop, &r->timer, now_ns() + wait_ns);
}

static void on_timer(struct loop_timer *timer)
{
	struct tenure_retry *r = container_of(timer, struct tenure_retry, timer);

	arm(r, min_u64(2 * r->wait_ns, RETRY_LAST_NS));
	r->retry(r->arg); /* may free r */
}

static void on_close(struct loop_fd *lfd, uint32_t events)
{
	struct tenure_retry *r = container_of(lfd, struct tenure_retry, lfd);
	_Alignas(struct inotify_event) char buf[EVENTS_BYTES];
	bool any = false;

	(void)events;
	while (read(lfd->fd, buf, sizeof(buf)) > 0)
		any = true;
	if (!any)
		return;
	arm(r, RETRY_FIRST_NS);
	r->retry(r->arg); /* may free r */
}

/* The link in /proc leads to the inode without opening it: an open would break a lease. */
static int watch_closes(struct tenure_retry *r, int fd)
{
	char path[64];
	int ret;

	r->lfd.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (r->lfd.fd < 0)
		return -errno;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (inotify_add_watch(r->lfd.fd, path, IN_CLOSE_WRITE | IN_CLOSE_NOWRITE) < 0)
		ret = -errno;
	else
		ret = loop_add_fd(r->loop, &r->lfd, EPOLLIN);
	if (ret) {
		(void)close(r->lfd.fd);
		r->lfd.fd = -1;
	}
	return ret;
}

int tenure_retry_new(struct loop *loop, int fd, void (*retry)(void *arg), void *arg,
		     struct tenure_retry **r)
{
	struct tenure_retry *new = calloc(1, sizeof(*new));

	if (!new)
		return -ENOMEM;
	*new = (struct tenure_retry){.loop = loop, .retry = retry, .arg = arg};
	new->lfd = (struct loop_fd){.fd = -1, .fn = on_close};
	new->timer.fn = on_timer;
	(void)watch_closes(new, fd);
	arm(new, RETRY_FIRST_NS);
	*r = new;
	return 0;
}

void tenure_retry_free(struct tenure_retry *r)
{
	if (!r)
		return;
	loop_timer_cancel(r->loop, &r->timer);
	if (r->lfd.fd >= 0) {
		loop_del_fd(r->loop, &r->lfd);
		(void)close(r->lfd.fd);
	}
	free(r);
}
