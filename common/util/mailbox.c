// SPDX-License-Identifier: BSD-3-Clause
/* A lock-free stack with many writers and one reader, which takes it whole: no ABA problem. */
#include "util/mailbox.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct loop_msg asleep;
#define ASLEEP (&asleep)

int mailbox_init(struct mailbox *box)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	atomic_init(&box->head, NULL);
	atomic_init(&box->stop, false);
	box->event_fd = fd;
	return 0;
}

void mailbox_fini(struct mailbox *box)
{
	(void)close(box->event_fd);
}

void mailbox_push(struct mailbox *box, struct loop_msg *msg)
{
	struct loop_msg *head = atomic_load_explicit(&box->head, memory_order_relaxed);

	do {
		msg->next = head == ASLEEP ? NULL : head;
	} while (!atomic_compare_exchange_weak(&box->head, &head, msg));
	if (head == ASLEEP)
		(void)eventfd_write(box->event_fd, 1);
}

bool mailbox_run(struct mailbox *box)
{
	struct loop_msg *stack, *msg, *first = NULL;

	if (!atomic_load_explicit(&box->head, memory_order_relaxed))
		return false;
	stack = atomic_exchange(&box->head, NULL);
	while (stack) {
		msg = stack;
		stack = msg->next;
		msg->next = first;
		first = msg;
	}
	while (first) {
		msg = first;
		first = msg->next;
		msg->fn(msg);
	}
	return true;
}

static bool leave_mark(struct mailbox *box)
{
	struct loop_msg *head = NULL;

	return atomic_compare_exchange_strong(&box->head, &head, ASLEEP);
}

static bool take_mark(struct mailbox *box)
{
	struct loop_msg *head = ASLEEP;

	return atomic_compare_exchange_strong(&box->head, &head, NULL);
}

/*
 * mailbox_stop() sets `stop`, then looks for the mark; mailbox_fall_asleep() leaves the mark, then
 * looks at `stop`. All four are sequentially consistent: at least one of the two sees the other.
 */
void mailbox_stop(struct mailbox *box)
{
	atomic_store(&box->stop, true);
	if (take_mark(box))
		(void)eventfd_write(box->event_fd, 1);
}

bool mailbox_fall_asleep(struct mailbox *box)
{
	return leave_mark(box) && !atomic_load(&box->stop);
}

void mailbox_awake(struct mailbox *box)
{
	(void)take_mark(box);
}
