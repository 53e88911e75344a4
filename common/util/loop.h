/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread's event loop: file descriptors, timers, a mailbox for messages from other threads,
 * and pollers (the reactors' completion queues). Sleeps in epoll when nothing is due.
 *
 * All calls are for the loop's own thread, but loop_post(), loop_stop() and loop_new() (any thread).
 */
#ifndef LEASEHOLD_LOOP_H
#define LEASEHOLD_LOOP_H

#include "util/list.h"
#include "util/util.h"

struct loop;

/** A message; embed it in what it is about. Must stay alive until `fn` was called. */
struct loop_msg {
	struct loop_msg *next;
	void (*fn)(struct loop_msg *msg);
};

/** A watched descriptor; the caller fills fd and fn, and keeps it alive until loop_del_fd(). */
struct loop_fd {
	int fd;
	void (*fn)(struct loop_fd *lfd, uint32_t events); /* EPOLLIN … of epoll(7) */
	struct loop *loop;				  /* set by loop_add_fd() */
};

/** A one-shot timer; zero it, set fn, keep it alive while armed. */
struct loop_timer {
	void (*fn)(struct loop_timer *timer);
	uint64_t deadline_ns;
	size_t heap_index; /* 0: not armed */
};

/** Something to poll without sleeping. */
struct loop_poller {
	/** Does what work there is; returns true if there was any. */
	bool (*poll)(struct loop_poller *poller);
	/** About to sleep: ask for wake-ups (fabric_cq_arm). poll() is called once more afterwards. */
	void (*arm)(struct loop_poller *poller);
	struct list link;
};

MUST_CHECK int loop_new(const char *name, struct loop **loop);
/** The loop must not be running. Messages still in the mailbox are dropped. */
void loop_free(struct loop *loop);

/** Runs until loop_stop(). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/**
 * Runs one turn: what is due now, then sleeps at most `timeout_ms` (0: does not, -1: until something
 * comes) if nothing was. For tests and for programs with a loop of their own.
 */
void loop_turn(struct loop *loop, int timeout_ms);

/** Starts a thread that runs the loop; named after it. loop_join() stops it and waits. */
MUST_CHECK int loop_start(struct loop *loop);
void loop_join(struct loop *loop);

/** Calls msg->fn(msg) on the loop's thread, in order of posting per sender. Never fails. */
void loop_post(struct loop *loop, struct loop_msg *msg, void (*fn)(struct loop_msg *msg));

/** True on the loop's own thread; for assertions. */
bool loop_is_current(const struct loop *loop);

MUST_CHECK int loop_add_fd(struct loop *loop, struct loop_fd *lfd, uint32_t events);
MUST_CHECK int loop_mod_fd(struct loop *loop, struct loop_fd *lfd, uint32_t events);
/** Takes it off; it will not be called any more, not even in this turn. Does not close it. */
void loop_del_fd(struct loop *loop, struct loop_fd *lfd);

/** Arms or re-arms at an absolute time of now_ns(). */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);
static inline bool loop_timer_armed(const struct loop_timer *timer)
{
	return timer->heap_index != 0;
}

void loop_add_poller(struct loop *loop, struct loop_poller *poller);
void loop_del_poller(struct loop *loop, struct loop_poller *poller);

/** How long to go on polling after the last work before sleeping. Default 0. */
void loop_set_spin(struct loop *loop, uint64_t spin_ns);

/**
 * Does not sleep before `until_ns` (now_ns(); 0: as usual): a message or a completion is expected any
 * moment, and to be woken for it would take longer. Others that want the processor get it.
 */
void loop_stay_awake(struct loop *loop, uint64_t until_ns);

#endif
