// SPDX-License-Identifier: BSD-3-Clause
/*
 * When to try for a tenure again: what target/tenure/retry.c does, with an inotify that comes late.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "tenure/lease.h"

#define RETRY_FIRST_NS NS_PER_MS
#define RETRY_LAST_NS  (250 * NS_PER_MS)

struct tenure_retry {
	struct list link;
	struct loop *loop;
	struct retry_pace pace; /* empty: a lease */
	struct loop_timer timer;
	uint64_t wait_ns;
	bool closed, came_in, standing_back;
	void (*retry)(void *arg);
	void *arg;
};

static struct {
	struct list retries;
	struct loop_msg msg;
	bool posted;
} c;

void closes_begin(void)
{
	memset(&c, 0, sizeof(c));
	list_init(&c.retries);
}

void closes_end(void)
{
	if (!list_empty(&c.retries))
		sim_fail(P_STUCK, "who waits for the file to be closed is left over");
}

static void arm(struct tenure_retry *r, uint64_t wait_ns)
{
	r->wait_ns = wait_ns;
	loop_timer_set(r->loop, &r->timer, sim_now + wait_ns);
}

/* Too early: the timer is set for when it is not. */
static bool wait_on(struct tenure_retry *r)
{
	uint64_t due = r->pace.due ? r->pace.due(r->pace.arg) : 0;

	if (due <= sim_now)
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

/* ---- what happens to the file ---------------------------------------------------------------- */

static void come_in(struct tenure_retry *r)
{
	if (r->pace.noticed && (r->came_in || r->closed)) {
		r->pace.noticed(r->pace.arg);
		(void)wait_on(r);
	}
	if (r->came_in && r->standing_back && !r->closed) {
		r->standing_back = false;
		arm(r, RETRY_FIRST_NS);
	}
	r->came_in = false;
}

static struct tenure_retry *next_closed(void)
{
	struct list *l;

	list_for_each (l, &c.retries) {
		struct tenure_retry *r = list_entry(l, struct tenure_retry, link);

		if (r->closed)
			return r;
	}
	return NULL;
}

static void on_events(struct loop_msg *msg)
{
	struct tenure_retry *r;
	struct list *l;

	(void)msg;
	c.posted = false;
	list_for_each (l, &c.retries)
		come_in(list_entry(l, struct tenure_retry, link));
	while ((r = next_closed())) {
		r->closed = r->standing_back = false;
		if (wait_on(r))
			continue;
		arm(r, RETRY_FIRST_NS);
		r->retry(r->arg); /* may free any */
	}
}

static void tell(bool closed)
{
	struct list *l;

	list_for_each (l, &c.retries) {
		struct tenure_retry *r = list_entry(l, struct tenure_retry, link);

		r->closed |= closed;
		r->came_in |= !closed;
		if (c.posted)
			continue;
		c.posted = true;
		loop_post(r->loop, &c.msg, on_events);
	}
}

static void close_arrives(void *arg)
{
	(void)arg;
	tell(true);
}

static void change_arrives(void *arg)
{
	(void)arg;
	tell(false);
}

void notice_close(void)
{
	sim_after(sim_delay(200 * NS_PER_US), close_arrives, NULL);
}

void notice_change(void)
{
	sim_after(sim_delay(200 * NS_PER_US), change_arrives, NULL);
}

/* ---- target/tenure/retry.c ------------------------------------------------------------------- */

int retry_new(struct loop *loop, int fd, const struct retry_pace *pace, void (*retry)(void *arg),
	      void *arg, struct tenure_retry **retries)
{
	struct tenure_retry *r = calloc(1, sizeof(*r));

	(void)fd;
	assert(r);
	*r = (struct tenure_retry){.loop = loop, .pace = *pace, .retry = retry, .arg = arg};
	r->timer.fn = on_timer;
	list_push(&c.retries, &r->link);
	arm(r, RETRY_FIRST_NS);
	*retries = r;
	return 0;
}

void tenure_retry_stand_back(struct tenure_retry *r, uint64_t ns)
{
	if (r->pace.due)
		return;
	r->standing_back = true;
	arm(r, ns);
}

void tenure_retry_free(struct tenure_retry *r)
{
	if (!r)
		return;
	loop_timer_cancel(r->loop, &r->timer);
	list_del(&r->link);
	free(r);
}
