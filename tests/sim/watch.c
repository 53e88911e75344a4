// SPDX-License-Identifier: BSD-3-Clause
/*
 * Pre-content events of the file, as the kernel has them, behind target/tenure/group.h; and local
 * programs, which ask before they do anything. Events come late, and what was let go on is done late.
 * Whoever is let go on must find no key over the bytes that it named, and whoever is not must be told
 * so in time.
 */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tenure/group.h"

#define PATIENCE_DEADLINES 2 /* that somebody waits, at least; then EBUSY */
#define LATE_NS		   NS_PER_MS
#define EVENT_FD	   3 /* any: nobody opens the file for an event */

/* Somebody who waits in the kernel. */
struct asking {
	struct group_ask a;
	uint64_t from, to;
	struct co *co;
	const struct watched_op *op;
	bool answered, over, killed;
	int err;
};

static struct {
	struct loop *loop;
	void (*on_ask)(struct group_ask *a);
	struct group_ask *first, **last; /* the inbox */
	struct loop_msg msg;
	bool posted, marked;
	struct stat st;
	unsigned int waiting;
} k;

void watch_begin_world(void)
{
	memset(&k, 0, sizeof(k));
	k.last = &k.first;
}

void watch_end_world(void)
{
	if (k.loop || k.marked || k.waiting > 0)
		sim_fail(P_STUCK, "a mark, or somebody who asks, is left over");
}

/* ---- target/tenure/group.c ------------------------------------------------------------------- */

static void on_inbox(struct loop_msg *msg)
{
	struct group_ask *a = k.first;

	(void)msg;
	k.posted = false;
	k.first = NULL;
	k.last = &k.first;
	while (a) {
		struct group_ask *next = a->next;

		k.on_ask(a);
		a = next;
	}
}

int group_start(struct loop *loop, void (*on_ask)(struct group_ask *a))
{
	k.loop = loop;
	k.on_ask = on_ask;
	return 0;
}

void group_stop(void)
{
	struct group_ask *a = k.first;

	k.loop = NULL;
	k.first = NULL;
	k.last = &k.first;
	while (a) {
		struct group_ask *next = a->next;

		(void)group_answer(a, 0);
		a = next;
	}
}

int group_mark(int fd, struct errtext *err)
{
	(void)err;
	sim_pause();
	assert(k.loop && !k.marked);
	if (fstat(fd, &k.st) != 0)
		abort();
	k.marked = true;
	return 0;
}

void group_unmark(int fd)
{
	(void)fd;
	k.marked = false;
}

static void go_on(void *arg)
{
	struct asking *asking = arg;

	if (asking->op)
		asking->op->run(asking->op);
	asking->over = true;
	co_wake(asking->co);
}

static void check_allowed(const struct asking *asking)
{
	fabric_check_no_key(P_REACHED, asking->from, asking->to, "who asked was let go on");
	if (!tenure_let_go(asking->from, asking->to))
		sim_fail(P_RELEASED,
			 "who asked for bytes %llu to %llu was let go on while they are held",
			 (unsigned long long)asking->from, (unsigned long long)asking->to);
}

static void check_refused(const struct asking *asking, int err)
{
	uint64_t patience_ns = (uint64_t)PATIENCE_DEADLINES * w.deadline_ms * NS_PER_MS;

	if (err != EBUSY)
		sim_fail(P_ROOM, "who asked got %d", err);
	if (sim_now - asking->a.since_ns >= patience_ns)
		return;
	if (!w.refuse)
		sim_fail(P_LATE, "who asked got EBUSY after %llu us",
			 (unsigned long long)(sim_now - asking->a.since_ns) / NS_PER_US);
	if (!fabric_granted(NULL, asking->from, asking->to))
		sim_fail(P_ROOM, "who asked got EBUSY, and nobody has a grant");
}

bool group_answer(struct group_ask *a, int err)
{
	struct asking *asking = container_of(a, struct asking, a);
	uint64_t late = sim_chance(500) ? sim_delay(LATE_NS) : 0;

	k.waiting--;
	if (asking->killed) {
		free(asking);
		return false;
	}
	sim_log("who asked for bytes %llu to %llu: %s", (unsigned long long)asking->from,
		(unsigned long long)asking->to, err ? "busy" : "goes on");
	asking->answered = true;
	asking->err = -err;
	if (err) {
		check_refused(asking, err);
		co_wake(asking->co);
		return true;
	}
	check_allowed(asking);
	/* What is later than that finds memory that the file system takes back itself. */
	if (late > 0 && sim_now + late < tenure_forced_ns(asking->from, asking->to))
		sim_after(late, go_on, asking);
	else
		go_on(asking);
	return true;
}

/* ---- local programs -------------------------------------------------------------------------- */

static void event_arrives(void *arg)
{
	struct asking *asking = arg;

	asking->a.since_ns = sim_now;
	if (!k.loop) {
		(void)group_answer(&asking->a, 0);
		return;
	}
	*k.last = &asking->a;
	k.last = &asking->a.next;
	if (k.posted)
		return;
	k.posted = true;
	loop_post(k.loop, &k.msg, on_inbox);
}

static struct asking *ask(const struct watched_op *op, uint64_t from, uint64_t to)
{
	struct asking *asking = calloc(1, sizeof(*asking));

	assert(asking);
	*asking = (struct asking){.from = from, .to = to, .co = co_self(), .op = op};
	asking->a =
		(struct group_ask){.event_fd = EVENT_FD, .dev = k.st.st_dev, .ino = k.st.st_ino};
	asking->a.ask = (struct tenure_ask){
		.pid = 1,
		.open = !op,
		.offset = from,
		.length = to < (uint64_t)INT64_MAX ? to - from : 0,
	};
	list_init(&asking->a.link);
	k.waiting++;
	sim_after(sim_delay(300 * NS_PER_US), event_arrives, asking);
	return asking;
}

static int wait_for_answer(struct asking *asking)
{
	uint64_t since = sim_now, end = since + SLACK_NS, dies = NEVER;

	end += (uint64_t)PATIENCE_DEADLINES * w.deadline_ms * NS_PER_MS;
	if (sim_chance(20))
		dies = sim_now + sim_delay(w.deadline_ms * NS_PER_MS);
	while (!asking->answered) {
		if (sim_now > end)
			sim_fail(P_LATE, "who asked has waited %llu ms, the deadline is %u ms",
				 (unsigned long long)((sim_now - since) / NS_PER_MS),
				 w.deadline_ms);
		if (sim_now >= dies) {
			sim_log("who asked is killed");
			asking->killed = true;
			return -EINTR;
		}
		(void)co_wait(min_u64(end, dies) - sim_now + 1);
	}
	return asking->err;
}

static int ask_and_do(const struct watched_op *op, uint64_t from, uint64_t to)
{
	struct asking *asking;
	int err;

	if (!k.marked || (op && op->blind)) {
		if (op)
			op->run(op);
		return 0;
	}
	asking = ask(op, from, to);
	err = wait_for_answer(asking);
	if (err == -EINTR)
		return err; /* whoever answers frees it */
	while (err == 0 && !asking->over)
		(void)co_wait(LATE_NS);
	free(asking);
	return err;
}

int watch_ask_open(bool *blind)
{
	*blind = !k.marked;
	sim_log("asks to open the file");
	return ask_and_do(NULL, 0, NEVER);
}

int watch_ask(const struct watched_op *op, uint64_t from, uint64_t to)
{
	sim_log("asks for bytes %llu to %llu", (unsigned long long)from, (unsigned long long)to);
	return ask_and_do(op, align_down(from, PAGE_BYTES),
			  to == NEVER ? (uint64_t)INT64_MAX : align_up(to, PAGE_BYTES));
}
