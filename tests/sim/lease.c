// SPDX-License-Identifier: BSD-3-Clause
/*
 * The lease on the file, as the kernel has it, behind target/tenure/lease.h; and those who make it go.
 * Signals come late.
 */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tenure/lease.h"
#include "tenure/watch.h"

#define BREAK_TIME_S 45
#define MAX_WAITERS  8

struct tenure_signals {
	struct loop *loop;
	void (*broken)(void *arg);
	void *arg;
	struct loop_msg msg;
	bool posted;
};

static struct {
	enum tenure_state state;
	unsigned int inside; /* who has it open, or waits to */
	struct co *waiters[MAX_WAITERS];
	struct tenure_signals *signals;
} l;

void lease_begin(void)
{
	memset(&l, 0, sizeof(l));
	l.state = TENURE_NONE;
}

void lease_end(void)
{
	if (l.state != TENURE_NONE || l.signals || l.inside)
		sim_fail(P_STUCK, "the lease, or somebody who waits for it, is left over");
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
	notice_change();
	return true;
}

void landlord_close(void)
{
	assert(l.inside > 0);
	l.inside--;
	notice_close();
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

/* ---- target/tenure/lease.c ---- */

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
	watch_stop();
	free(signals);
	l.signals = NULL;
}

int lease_take(int fd)
{
	(void)fd;
	sim_pause();
	assert(l.state == TENURE_NONE);
	if (l.inside > 0)
		return -EAGAIN;
	l.state = TENURE_HELD;
	return 0;
}

void lease_release(int fd)
{
	(void)fd;
	sim_pause();
	l.state = TENURE_NONE;
	for (unsigned int i = 0; i < MAX_WAITERS; i++)
		co_wake(l.waiters[i]);
}

enum tenure_state lease_check(int fd)
{
	(void)fd;
	return l.state;
}

int tenure_break_time_s(void)
{
	return BREAK_TIME_S;
}
