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
#include <stdlib.h>

#include "closes.h"

#define RETRY_FIRST_NS (1 * NS_PER_MS)
#define RETRY_LAST_NS  (250 * NS_PER_MS)

struct tenure_retry {
	struct loop *loop;
	struct retry_pace pace; /* empty: a lease */
	struct loop_timer timer;
	uint64_t wait_ns; /* that the timer is armed with */
	void (*retry)(void *arg);
	void *arg;
	struct list link;   /* in retries */
	int wd;		    /* CLOSES_NONE: timer only */
	bool closed;	    /* told so in this batch of events */
	bool standing_back; /* until the timer, or somebody comes in */
};

/* Those that have a watch. */
static struct list retries = LIST_INIT(retries);

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

/* ---- what happens to the file ----------------------------------------------------------------- */

void retry_closed(int wd)
{
	struct list *l;

	list_for_each (l, &retries) {
		struct tenure_retry *r = list_entry(l, struct tenure_retry, link);

		if (r->wd != wd && wd != CLOSES_ALL)
			continue;
		r->closed = true;
		if (r->pace.noticed)
			r->pace.noticed(r->pace.arg);
	}
}

/* Too early to try, but the usual pace from now on. */
void retry_came_in(int wd)
{
	struct list *l;

	list_for_each (l, &retries) {
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

	list_for_each (l, &retries) {
		struct tenure_retry *r = list_entry(l, struct tenure_retry, link);

		if (r->closed)
			return r;
	}
	return NULL;
}

void retry_after_events(void)
{
	struct tenure_retry *r;

	/* From the start each time: a callback may free any of them. */
	while ((r = next_closed())) {
		r->closed = r->standing_back = false;
		if (wait_on(r))
			continue;
		arm(r, RETRY_FIRST_NS);
		r->retry(r->arg); /* may free r */
	}
}

bool retry_none(void)
{
	return list_empty(&retries);
}

/* ---- birth and end --------------------------------------------------------------------------- */

int retry_new(struct loop *loop, int fd, const struct retry_pace *pace, void (*retry)(void *arg),
	      void *arg, struct tenure_retry **r)
{
	struct tenure_retry *new = calloc(1, sizeof(*new));

	if (!new)
		return -ENOMEM;
	*new = (struct tenure_retry){.loop = loop, .retry = retry, .arg = arg};
	if (pace)
		new->pace = *pace;
	new->timer.fn = on_timer;
	list_init(&new->link);
	new->wd = closes_watch(loop, fd);
	if (new->wd != CLOSES_NONE)
		list_push(&retries, &new->link);
	arm(new, RETRY_FIRST_NS);
	*r = new;
	return 0;
}

void tenure_retry_stand_back(struct tenure_retry *r, uint64_t ns)
{
	if (r->wd == CLOSES_NONE || r->pace.due)
		return;
	r->standing_back = true;
	arm(r, ns);
}

/* A file has one watch, whoever asked for it. */
static bool watched_for_another(int wd)
{
	struct list *l;

	list_for_each (l, &retries) {
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
	if (r->wd != CLOSES_NONE && !watched_for_another(r->wd))
		closes_unwatch(r->wd);
	free(r);
}
