// SPDX-License-Identifier: BSD-3-Clause
/*
 * When to try for a tenure again. The kernel tells of the close(2) that may have been the last one,
 * but a little before it counts the file as closed, and not of a mapping that goes; so there is a
 * timer as well. It tells of an open(2) and of a truncate(2) too: whoever broke the lease has come in,
 * and there is no reason to go on standing back. For a watch it is the watch that says when (watch.c);
 * here it learns what happens to the file. The loop's thread.
 */
#include "lease.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "closes.h"

#define RETRY_FIRST_NS (1 * NS_PER_MS)
#define RETRY_LAST_NS  (250 * NS_PER_MS)
#define EVENTS_BYTES   1024
#define NO_WATCH       (-1)

struct tenure_retry {
	struct loop *loop;
	struct retry_pace pace; /* empty: a lease */
	struct loop_timer timer;
	uint64_t wait_ns; /* that the timer is armed with */
	void (*retry)(void *arg);
	void *arg;
	struct list link;   /* in closes.retries */
	int wd;		    /* NO_WATCH: timer only */
	bool closed;	    /* told so in this batch of events */
	bool standing_back; /* until the timer, or somebody comes in */
};

/* The lease signals, and so their watch, are the whole process's; this goes with them. */
static struct {
	struct loop *loop; /* NULL: not started */
	struct loop_fd lfd;
	struct list retries;
} closes = {.retries = LIST_INIT(closes.retries)};

static void arm(struct tenure_retry *r, uint64_t wait_ns)
{
	r->wait_ns = wait_ns;
	loop_timer_set(r->loop, &r->timer, now_ns() + wait_ns);
}

/* Too early: the timer is set for when it is not. */
static bool wait_on(struct tenure_retry *r)
{
	uint64_t due = r->pace.due ? r->pace.due(r->pace.arg) : 0;

	if (due <= now_ns())
		return false;
	r->wait_ns = RETRY_FIRST_NS;
	loop_timer_set(r->loop, &r->timer, due);
	return true;
}

static void on_timer(struct loop_timer *timer)
{
	struct tenure_retry *r = container_of(timer, struct tenure_retry, timer);

	if (wait_on(r))
		return;
	arm(r, r->standing_back ? RETRY_FIRST_NS : min_u64(2 * r->wait_ns, RETRY_LAST_NS));
	r->standing_back = false;
	r->retry(r->arg); /* may free r */
}

/* ---- closes ---------------------------------------------------------------------------------- */

static void mark_closed(int wd, bool all)
{
	struct list *l;

	list_for_each (l, &closes.retries) {
		struct tenure_retry *r = list_entry(l, struct tenure_retry, link);

		if (!all && r->wd != wd)
			continue;
		r->closed = true;
		if (r->pace.noticed)
			r->pace.noticed(r->pace.arg);
	}
}

/* Opened or changed: too early to try, but the usual pace from now on. */
static void come_in(int wd)
{
	struct list *l;

	list_for_each (l, &closes.retries) {
		struct tenure_retry *r = list_entry(l, struct tenure_retry, link);

		if (r->wd != wd)
			continue;
		if (r->pace.noticed) {
			r->pace.noticed(r->pace.arg);
			(void)wait_on(r);
		}
		if (!r->standing_back)
			continue;
		r->standing_back = false;
		arm(r, RETRY_FIRST_NS);
	}
}

static struct tenure_retry *next_closed(void)
{
	struct list *l;

	list_for_each (l, &closes.retries) {
		struct tenure_retry *r = list_entry(l, struct tenure_retry, link);

		if (r->closed)
			return r;
	}
	return NULL;
}

static void on_closes(struct loop_fd *lfd, uint32_t events)
{
	_Alignas(struct inotify_event) char buf[EVENTS_BYTES];
	struct tenure_retry *r;
	ssize_t n;

	(void)events;
	while ((n = read(lfd->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(buf + at);

			if (e->mask & (IN_CLOSE | IN_Q_OVERFLOW)) /* else IN_IGNORED: removed */
				mark_closed(e->wd, e->mask & IN_Q_OVERFLOW);
			else if (e->mask & (IN_OPEN | IN_MODIFY))
				come_in(e->wd);
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	}
	/* From the start each time: a callback may free any of them. */
	while ((r = next_closed())) {
		r->closed = r->standing_back = false;
		if (wait_on(r))
			continue;
		arm(r, RETRY_FIRST_NS);
		r->retry(r->arg); /* may free r */
	}
}

void closes_start(struct loop *loop)
{
	assert(!closes.loop);
	closes.lfd = (struct loop_fd){.fn = on_closes};
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
	assert(list_empty(&closes.retries));
	if (!closes.loop)
		return;
	loop_del_fd(closes.loop, &closes.lfd);
	(void)close(closes.lfd.fd);
	closes.loop = NULL;
}

/* ---- birth and end --------------------------------------------------------------------------- */

/* The link in /proc leads to the inode without opening it: an open would break a lease. */
static int watch_inode(int fd)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return inotify_add_watch(closes.lfd.fd, path, IN_CLOSE | IN_OPEN | IN_MODIFY);
}

int retry_new(struct loop *loop, int fd, const struct retry_pace *pace, void (*retry)(void *arg),
	      void *arg, struct tenure_retry **r)
{
	struct tenure_retry *new = calloc(1, sizeof(*new));

	if (!new)
		return -ENOMEM;
	*new = (struct tenure_retry){.loop = loop, .retry = retry, .arg = arg, .wd = NO_WATCH};
	if (pace)
		new->pace = *pace;
	new->timer.fn = on_timer;
	list_init(&new->link);
	if (closes.loop == loop) {
		new->wd = watch_inode(fd);
		list_push(&closes.retries, &new->link);
	}
	arm(new, RETRY_FIRST_NS);
	*r = new;
	return 0;
}

void tenure_retry_stand_back(struct tenure_retry *r, uint64_t ns)
{
	if (r->wd == NO_WATCH || r->pace.due)
		return;
	r->standing_back = true;
	arm(r, ns);
}

/* A file has one watch, whoever asked for it. */
static bool watched_for_another(int wd)
{
	struct list *l;

	list_for_each (l, &closes.retries) {
		if (list_entry(l, struct tenure_retry, link)->wd == wd)
			return true;
	}
	return false;
}

void tenure_retry_free(struct tenure_retry *r)
{
	if (!r)
		return;
	loop_timer_cancel(r->loop, &r->timer);
	list_del(&r->link);
	if (r->wd >= 0 && !watched_for_another(r->wd))
		(void)inotify_rm_watch(closes.lfd.fd, r->wd);
	free(r);
}
