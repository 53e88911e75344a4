// SPDX-License-Identifier: BSD-3-Clause
/*
 * One thread's event loop: in which order things are looked at, and when it sleeps. Everything but
 * the mailbox belongs to the loop's thread and takes no lock. Who posts to a loop or stops it keeps
 * it alive until that call returned.
 */
#include "util/loop.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "util/mailbox.h"
#include "util/thread.h"
#include "util/timer_heap.h"

#define EVENTS_PER_LOOK 64
/* How often a loop that is busy polling looks at its descriptors: rare enough to cost nothing. */
#define LOOK_EVERY_NS (50 * NS_PER_US)
#define NEVER_NS      UINT64_MAX

/* Its address is a thread's identity. */
static _Thread_local char this_thread;

static atomic_bool no_pwait2;

struct loop {
	struct mailbox mailbox;
	_Atomic(char *) owner; /* &this_thread of the loop's thread; NULL while it starts */

	alignas(CACHE_LINE) char *name;
	int epoll_fd;

	struct timer_heap timers;

	struct list pollers;
	struct list *next_poller; /* of the walk under way */
	bool poller_added;
	uint64_t spin_ns;
	uint64_t worked_ns; /* start of the last turn that did something */
	uint64_t looked_ns;
	uint64_t awake_ns; /* no sleep before that */
	bool fds_worked;

	struct epoll_event events[EVENTS_PER_LOOK];
	int event, n_events; /* the batch under way */
	bool in_turn;

	pthread_t thread;
	bool started;
};

int loop_new(const char *name, struct loop **loop)
{
	struct epoll_event wake = {.events = EPOLLIN | EPOLLET};
	struct loop *l = aligned_alloc(CACHE_LINE, sizeof(*l));
	int err = -ENOMEM;

	if (!l)
		return -ENOMEM;
	memset(l, 0, sizeof(*l));
	list_init(&l->pollers);
	l->next_poller = &l->pollers;
	atomic_init(&l->owner, &this_thread);
	if (timer_heap_init(&l->timers) < 0)
		goto free_memory;
	l->name = strdup(name);
	if (!l->name)
		goto free_memory;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0) {
		err = -errno;
		goto free_memory;
	}
	err = mailbox_init(&l->mailbox);
	if (err)
		goto close_epoll;
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->mailbox.event_fd, &wake) < 0) {
		err = -errno;
		goto fini_mailbox;
	}
	*loop = l;
	return 0;

fini_mailbox:
	mailbox_fini(&l->mailbox);
close_epoll:
	(void)close(l->epoll_fd);
free_memory:
	free(l->name);
	timer_heap_fini(&l->timers);
	free(l);
	return err;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	assert(!loop->started && !loop->in_turn);
	mailbox_fini(&loop->mailbox);
	(void)close(loop->epoll_fd);
	free(loop->name);
	timer_heap_fini(&loop->timers);
	free(loop);
}

bool loop_is_current(const struct loop *loop)
{
	return atomic_load_explicit(&loop->owner, memory_order_relaxed) == &this_thread;
}

static void take_over(struct loop *loop)
{
	atomic_store_explicit(&loop->owner, &this_thread, memory_order_relaxed);
}

void loop_set_spin(struct loop *loop, uint64_t spin_ns)
{
	assert(loop_is_current(loop));
	loop->spin_ns = spin_ns;
}

void loop_stay_awake(struct loop *loop, uint64_t until_ns)
{
	assert(loop_is_current(loop));
	loop->awake_ns = until_ns;
}

void loop_post(struct loop *loop, struct loop_msg *msg, void (*fn)(struct loop_msg *msg))
{
	msg->fn = fn;
	mailbox_push(&loop->mailbox, msg);
}

void loop_stop(struct loop *loop)
{
	mailbox_stop(&loop->mailbox);
}

/* Timers. */

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns)
{
	assert(loop_is_current(loop));
	timer_heap_set(&loop->timers, timer, deadline_ns);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	assert(loop_is_current(loop));
	timer_heap_cancel(&loop->timers, timer);
}

/* Pollers. */

void loop_add_poller(struct loop *loop, struct loop_poller *poller)
{
	assert(loop_is_current(loop));
	list_push(&loop->pollers, &poller->link);
	loop->poller_added = true;
}

void loop_del_poller(struct loop *loop, struct loop_poller *poller)
{
	assert(loop_is_current(loop));
	if (loop->next_poller == &poller->link)
		loop->next_poller = poller->link.next;
	list_del(&poller->link);
}

static bool run_pollers(struct loop *loop)
{
	bool worked = false;

	for (struct list *l = loop->pollers.next; l != &loop->pollers; l = loop->next_poller) {
		struct loop_poller *poller = list_entry(l, struct loop_poller, link);

		loop->next_poller = l->next;
		worked |= poller->poll(poller);
	}
	return worked;
}

/* Asks for wake-ups. False if there is work after all. */
static bool arm_pollers(struct loop *loop)
{
	loop->poller_added = false;
	for (struct list *l = loop->pollers.next; l != &loop->pollers; l = loop->next_poller) {
		struct loop_poller *poller = list_entry(l, struct loop_poller, link);

		loop->next_poller = l->next;
		poller->arm(poller);
	}
	return !run_pollers(loop) && !loop->poller_added;
}

/* File descriptors. */

static int fd_ctl(struct loop *loop, int op, struct loop_fd *lfd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = lfd};

	assert(loop_is_current(loop));
	return epoll_ctl(loop->epoll_fd, op, lfd->fd, &event) < 0 ? -errno : 0;
}

int loop_add_fd(struct loop *loop, struct loop_fd *lfd, uint32_t events)
{
	int err = fd_ctl(loop, EPOLL_CTL_ADD, lfd, events);

	if (!err)
		lfd->loop = loop;
	return err;
}

int loop_mod_fd(struct loop *loop, struct loop_fd *lfd, uint32_t events)
{
	return fd_ctl(loop, EPOLL_CTL_MOD, lfd, events);
}

void loop_del_fd(struct loop *loop, struct loop_fd *lfd)
{
	int err = fd_ctl(loop, EPOLL_CTL_DEL, lfd, 0);

	/* Closed too early? Then the kernel still knows it, by a number that may be another's. */
	assert(!err && lfd->loop == loop);
	lfd->loop = NULL;
	for (int i = loop->event; i < loop->n_events; i++)
		if (loop->events[i].data.ptr == lfd)
			loop->events[i].data.ptr = NULL;
}

static int epoll_ms(struct loop *loop, uint64_t wait_ns)
{
	/* Up: a timer must be due when the loop wakes. */
	uint64_t ms = wait_ns / NS_PER_MS + (wait_ns % NS_PER_MS != 0);

	return epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_LOOK,
			  wait_ns == NEVER_NS ? -1 : (int)min_u64(ms, INT_MAX));
}

static int epoll_ns(struct loop *loop, uint64_t wait_ns)
{
	struct timespec ts = {(time_t)(wait_ns / NS_PER_S), (long)(wait_ns % NS_PER_S)};
	int n;

	if (atomic_load_explicit(&no_pwait2, memory_order_relaxed))
		return epoll_ms(loop, wait_ns);
	n = epoll_pwait2(loop->epoll_fd, loop->events, EVENTS_PER_LOOK,
			 wait_ns == NEVER_NS ? NULL : &ts, NULL);
	/* EPERM: a sandbox older than the call. */
	if (n >= 0 || (errno != ENOSYS && errno != EPERM))
		return n;
	atomic_store_explicit(&no_pwait2, true, memory_order_relaxed);
	return epoll_ms(loop, wait_ns);
}

static void dispatch(struct loop *loop, int n)
{
	/* loop_del_fd() clears what is left of the batch: a call may take off any descriptor. */
	loop->n_events = n;
	for (loop->event = 0; loop->event < loop->n_events;) {
		struct epoll_event event = loop->events[loop->event++];
		struct loop_fd *lfd = event.data.ptr;

		if (!lfd)
			continue; /* taken off, or the eventfd, which has woken us and that is all */
		loop->fds_worked = true;
		lfd->fn(lfd, event.events);
	}
	loop->event = loop->n_events = 0;
}

/* Sees to the descriptors; sleeps until `until_ns` (0: does not) or until something is due. */
static void look_at_fds(struct loop *loop, uint64_t until_ns)
{
	uint64_t wait_ns = 0;
	int n;

	if (until_ns && mailbox_fall_asleep(&loop->mailbox)) {
		wait_ns = min_u64(until_ns, timer_heap_next_ns(&loop->timers));
		if (wait_ns != NEVER_NS) {
			uint64_t now = now_ns();

			wait_ns = wait_ns > now ? wait_ns - now : 0;
		}
	}
	n = epoll_ns(loop, wait_ns);
	assert(n >= 0 || errno == EINTR);
	if (until_ns)
		mailbox_awake(&loop->mailbox);
	dispatch(loop, n);
}

/* Turns. */

static bool run_due(struct loop *loop, uint64_t now)
{
	bool worked = mailbox_run(&loop->mailbox);

	worked |= timer_heap_run(&loop->timers, now);
	worked |= run_pollers(loop);
	return worked;
}

static void look_now_and_then(struct loop *loop, uint64_t now)
{
	if (now - loop->looked_ns < LOOK_EVERY_NS)
		return;
	loop->looked_ns = now;
	look_at_fds(loop, 0);
}

static void run_turn(struct loop *loop)
{
	uint64_t now = now_ns();
	bool worked = run_due(loop, now) || loop->fds_worked;

	if (worked) {
		loop->worked_ns = now;
		loop->fds_worked = false;
	}
	if (now < loop->awake_ns) {
		if (!worked)
			(void)sched_yield();
		look_now_and_then(loop, now);
	} else if (list_empty(&loop->pollers)) {
		look_at_fds(loop, NEVER_NS);
	} else if (!worked && now - loop->worked_ns >= loop->spin_ns && arm_pollers(loop)) {
		look_at_fds(loop, NEVER_NS);
	} else {
		look_now_and_then(loop, now);
	}
}

void loop_turn(struct loop *loop, int timeout_ms)
{
	uint64_t now = now_ns(), until_ns = NEVER_NS;

	assert(!loop->in_turn);
	take_over(loop);
	loop->in_turn = true;
	if (timeout_ms >= 0)
		until_ns = now + (uint64_t)timeout_ms * NS_PER_MS;
	if (run_due(loop, now) || timeout_ms == 0 || !arm_pollers(loop)) {
		look_at_fds(loop, 0);
	} else {
		look_at_fds(loop, until_ns);
		(void)run_due(loop, now_ns());
	}
	loop->in_turn = false;
}

void loop_run(struct loop *loop)
{
	assert(!loop->in_turn);
	take_over(loop);
	loop->in_turn = true;
	while (!atomic_load(&loop->mailbox.stop))
		run_turn(loop);
	/* What was posted before the stop is run. */
	(void)mailbox_run(&loop->mailbox);
	atomic_store(&loop->mailbox.stop, false);
	loop->in_turn = false;
}

/* The thread. */

static void *thread_main(void *arg)
{
	struct loop *loop = arg;

	thread_name_self(loop->name, "");
	loop_run(loop);
	return NULL;
}

int loop_start(struct loop *loop)
{
	int err;

	assert(!loop->started && loop_is_current(loop));
	atomic_store_explicit(&loop->owner, NULL, memory_order_relaxed);
	err = thread_start(&loop->thread, thread_main, loop);
	if (err) {
		take_over(loop);
		return err;
	}
	loop->started = true;
	return 0;
}

void loop_join(struct loop *loop)
{
	assert(loop->started);
	loop_stop(loop);
	(void)pthread_join(loop->thread, NULL);
	/* It may have stopped by itself before. */
	atomic_store(&loop->mailbox.stop, false);
	loop->started = false;
	take_over(loop);
}
