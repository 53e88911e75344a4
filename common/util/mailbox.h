/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How other threads reach a loop: messages and the order to stop. For loop.c only.
 *
 * A stack that any thread pushes on and only the loop's thread empties. Its head is a mark while
 * the loop sleeps with nothing in it: who pushes on the mark writes the eventfd, and nobody else
 * does, so a message to a busy loop is one atomic operation and no system call.
 */
#ifndef LEASEHOLD_MAILBOX_H
#define LEASEHOLD_MAILBOX_H

#include <stdalign.h>
#include <stdatomic.h>

#include "util/loop.h"

#define CACHE_LINE 64

struct mailbox {
	alignas(CACHE_LINE) _Atomic(struct loop_msg *) head;
	atomic_bool stop;
	int event_fd; /* to be watched edge-triggered; never read */
};

/** Returns 0 or -errno. */
MUST_CHECK int mailbox_init(struct mailbox *box);
void mailbox_fini(struct mailbox *box);

/** Any thread; the mailbox must stay until it returned, even if the message was run before. */
void mailbox_push(struct mailbox *box, struct loop_msg *msg);
void mailbox_stop(struct mailbox *box);

/** Runs what is there now, the oldest first; not what that posts. True if there was anything. */
bool mailbox_run(struct mailbox *box);

/** About to sleep: from here on, who comes writes the eventfd. False: do not sleep. */
bool mailbox_fall_asleep(struct mailbox *box);
/** Awake again, whatever mailbox_fall_asleep() said. */
void mailbox_awake(struct mailbox *box);

#endif
