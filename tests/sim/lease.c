// SPDX-License-Identifier: BSD-3-Clause
/*
 * The lease on the file, as the kernel has it, behind the door of target/tenure; and those who make
 * it go. Signals come late, and inotify's events, too.
 */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tenure/tenure.h"

#define BREAK_TIME_S   45
#define SLACK_NS       (400 * NS_PER_MS) /* beyond the deadline: keys to kill, threads that lull */
#define RETRY_FIRST_NS NS_PER_MS
#define RETRY_LAST_NS  (250 * NS_PER_MS)
#define MAX_WAITERS    8

struct tenure {
	struct loop *loop;
};

struct tenure_signals {
	struct loop *loop;
	void (*broken)(void *arg);
	void *arg;
	struct loop_msg msg;
	bool posted;
};

struct tenure_retry {
	struct list link;
	struct loop *loop;
	struct loop_timer timer;
	uint64_t wait_ns;
	bool closed, came_in, standing_back;
	void (*retry)(void *arg);
	void *arg;
};

static struct {
	enum tenure_state state;
	unsigned int inside; /* who has it open, or waits to */
	struct co *waiters[MAX_WAITERS];
	struct tenure_signals *signals;
	struct list retries;
	struct loop_msg closes_msg;
	bool closes_posted;
} l;

void lease_begin(void)
{
	memset(&l, 0, sizeof(l));
	l.state = TENURE_NONE;
	list_init(&l.retries);
}

void lease_end(void)
{
	if (l.state != TENURE_NONE || l.signals || !list_empty(&l.retries) || l.inside)
		sim_fail(P_STUCK, "the lease, or somebody who waits for it, is left over");
}

bool lease_held(void)
{
	return l.state != TENURE_NONE;
}

/* ---- what the target hears ---- */

static void on_signal(struct loop_msg *msg)
{
	struct tenure_signals *signals = container_of(msg, struct tenure_signals, msg);

	signals->posted = false;
	signals->broken(signals->arg);
}

static void signal_arrives(void *arg)
{
	(void)arg;
	if (!l.signals || l.signals->posted)
		return;
	l.signals->posted = true;
	loop_post(l.signals->loop, &l.signals->msg, on_signal);
}

static void arm(struct tenure_retry *r, uint64_t wait_ns)
{
	r->wait_ns = wait_ns;
	loop_timer_set(r->loop, &r->timer, sim_now + wait_ns);
}

static void on_closes(struct loop_msg *msg)
{
	struct list *p;

	(void)msg;
	l.closes_posted = false;
again:
	list_for_each (p, &l.retries) {
		struct tenure_retry *r = list_entry(p, struct tenure_retry, link);

		if (r->came_in && r->standing_back && !r->closed) {
			r->standing_back = false;
			arm(r, RETRY_FIRST_NS);
		}
		r->came_in = false;
		if (!r->closed)
			continue;
		r->closed = r->standing_back = false;
		arm(r, RETRY_FIRST_NS);
		r->retry(r->arg); /* may free any */
		goto again;
	}
}

static void notify(bool closed)
{
	struct list *p;

	list_for_each (p, &l.retries) {
		struct tenure_retry *r = list_entry(p, struct tenure_retry, link);

		r->closed |= closed;
		r->came_in |= !closed;
		if (l.closes_posted)
			continue;
		l.closes_posted = true;
		loop_post(r->loop, &l.closes_msg, on_closes);
	}
}

static void close_arrives(void *arg)
{
	(void)arg;
	notify(true);
}

static void open_arrives(void *arg)
{
	(void)arg;
	notify(false);
}

void lease_modified(void)
{
	sim_after(sim_delay(200 * NS_PER_US), open_arrives, NULL);
}

/* ---- the landlord ---- */

static void break_lease(void)
{
	if (l.state == TENURE_HELD) {
		l.state = TENURE_BREAKING;
		sim_log("the lease is being broken");
	}
	if (l.state == TENURE_BREAKING)
		sim_after(sim_delay(300 * NS_PER_US), signal_arrives, NULL);
}

static void wait_for_release(void)
{
	uint64_t since = sim_now, most = w.deadline_ms * NS_PER_MS + SLACK_NS;
	unsigned int i = 0;

	while (i < MAX_WAITERS && l.waiters[i])
		i++;
	assert(i < MAX_WAITERS);
	l.waiters[i] = co_self();
	while (l.state == TENURE_BREAKING) {
		if (sim_now - since > most)
			sim_fail(P_LATE, "the landlord has waited %llu ms, the deadline is %u ms",
				 (unsigned long long)((sim_now - since) / NS_PER_MS),
				 w.deadline_ms);
		(void)co_wait(most / 4);
	}
	l.waiters[i] = NULL;
	sim_log("the landlord waited %llu us", (unsigned long long)((sim_now - since) / NS_PER_US));
}

bool landlord_open(bool nonblock)
{
	break_lease();
	if (nonblock && l.state == TENURE_BREAKING)
		return false;
	l.inside++;
	wait_for_release();
	sim_after(sim_delay(200 * NS_PER_US), open_arrives, NULL);
	return true;
}

void landlord_close(void)
{
	assert(l.inside > 0);
	l.inside--;
	sim_after(sim_delay(200 * NS_PER_US), close_arrives, NULL);
}

void landlord_enter(void)
{
	break_lease();
	l.inside++;
	wait_for_release();
}

void landlord_leave(void)
{
	assert(l.inside > 0);
	l.inside--;
}

/* ---- the door ---- */

void tenure_block_signals(void)
{
}

int tenure_signals_new(struct loop *loop, void (*broken)(void *arg), void *arg,
		       struct tenure_signals **signals)
{
	assert(!l.signals);
	l.signals = calloc(1, sizeof(*l.signals));
	assert(l.signals);
	*l.signals = (struct tenure_signals){.loop = loop, .broken = broken, .arg = arg};
	*signals = l.signals;
	return 0;
}

void tenure_signals_free(struct tenure_signals *signals)
{
	assert(signals == l.signals && !signals->posted);
	free(signals);
	l.signals = NULL;
}

int tenure_new(const struct tenure_config *config, struct tenure **t)
{
	struct tenure *new = calloc(1, sizeof(*new));

	assert(new && config->kind == TENURE_LEASE);
	new->loop = config->loop;
	*t = new;
	return 0;
}

void tenure_free(struct tenure *t)
{
	free(t);
}

bool tenure_settled(const struct tenure *t)
{
	(void)t;
	return true;
}

void tenure_begin(struct tenure *t)
{
	(void)t;
}

void tenure_end(struct tenure *t)
{
	(void)t;
}

int tenure_take(struct tenure *t, struct errtext *err)
{
	(void)t;
	(void)err;
	if (l.state != TENURE_NONE)
		sim_fail(P_ROOM, "the lease is taken twice");
	if (l.inside > 0)
		return -EAGAIN;
	l.state = TENURE_HELD;
	sim_log("the lease is taken");
	return 0;
}

void tenure_release(struct tenure *t)
{
	(void)t;
	if (l.state == TENURE_NONE)
		return;
	fabric_check_no_key(P_RELEASED, 0, NEVER, "the lease was let go");
	l.state = TENURE_NONE;
	sim_log("the lease is let go");
	for (unsigned int i = 0; i < MAX_WAITERS; i++)
		co_wake(l.waiters[i]);
}

enum tenure_state tenure_check(const struct tenure *t)
{
	(void)t;
	return l.state;
}

int tenure_break_time_s(void)
{
	return BREAK_TIME_S;
}

static void on_timer(struct loop_timer *timer)
{
	struct tenure_retry *r = container_of(timer, struct tenure_retry, timer);

	arm(r, r->standing_back ? RETRY_FIRST_NS : min_u64(2 * r->wait_ns, RETRY_LAST_NS));
	r->standing_back = false;
	r->retry(r->arg); /* may free r */
}

int tenure_retry_new(struct tenure *t, void (*retry)(void *arg), void *arg,
		     struct tenure_retry **retries)
{
	struct tenure_retry *r = calloc(1, sizeof(*r));

	assert(r);
	*r = (struct tenure_retry){.loop = t->loop, .retry = retry, .arg = arg};
	r->timer.fn = on_timer;
	list_push(&l.retries, &r->link);
	arm(r, RETRY_FIRST_NS);
	*retries = r;
	return 0;
}

void tenure_retry_stand_back(struct tenure_retry *r, uint64_t ns)
{
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

/* ---- parts: of a watch, which nobody has here ---- */

uint64_t tenure_ask_end(const struct tenure_ask *ask)
{
	(void)ask;
	abort();
}

void tenure_part_release(struct tenure *t, struct tenure_part *part)
{
	(void)t;
	(void)part;
	abort();
}

void tenure_part_take(struct tenure *t, struct tenure_part *part)
{
	(void)t;
	(void)part;
	abort();
}

bool tenure_part_settled(const struct tenure *t, const struct tenure_part *part)
{
	(void)t;
	(void)part;
	abort();
}

int tenure_part_retry_new(struct tenure *t, void (*retry)(void *arg), void *arg,
			  struct tenure_retry **r)
{
	(void)t;
	(void)retry;
	(void)arg;
	(void)r;
	abort();
}
