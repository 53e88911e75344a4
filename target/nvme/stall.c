// SPDX-License-Identifier: BSD-3-Clause
/*
 * Hosts that stopped: a queue whose transfers do not move has its connection cut, so that they do not
 * keep buffers and places in the order for ever. A timer of each reactor looks at its queues while
 * anything is under way; the data path only counts.
 */
#include "nvme/nvme_queue.h"

#include "nvme/receives.h"
#include "util/log.h"

/* How often is looked, in a time of patience. */
#define LOOKS 8
/* With others waiting for a buffer of such a queue, patience is that much shorter. */
#define PRESSED_DIVISOR 4

static const char stall_why[] = "its host has answered no transfer for limits.transfer_timeout_ms";
static const char stall_pressed_why[] =
	"its host has answered no transfer for a quarter of limits.transfer_timeout_ms, and others "
	"wait for buffers";

DEFINE_COUNTER(stalls, "nvme_stalled_queues", "Queues cut since their host answered no transfer");

static uint64_t patience_ns(const struct nvme_reactor *nr)
{
	return nr->target->env.limits.transfer_timeout_ms * NS_PER_MS;
}

/* True: the same is under way for so long. */
static bool stands(struct stall_sight *s, bool under_way, uint32_t done, uint64_t now,
		   uint64_t patience)
{
	if (!under_way)
		s->since_ns = 0;
	else if (s->since_ns == 0 || s->done != done)
		s->since_ns = now;
	s->done = done;
	return under_way && now - s->since_ns >= patience;
}

/* On control. */
static void tell(struct loop_msg *msg)
{
	const struct nvme_queue *nq = container_of(msg, struct nvme_queue, stall_msg);

	/* Of one without a controller refusal.c tells. */
	if (nq->owner)
		log_notice("the connection of %s is cut: %s", nq->q.address, nq->q.failed_why);
}

static void cut(struct nvme_queue *nq, const char *why)
{
	counter_add(&stalls, 1);
	/* Posted after the failure, which sets why, and before the queue's last message. */
	queue_fail_as(&nq->q, QUEUE_END_LATE, why);
	loop_post(nq->q.target->env.control, &nq->stall_msg, tell);
}

/* True: something is under way. */
static bool look(struct nvme_queue *nq, uint64_t now)
{
	uint64_t patience = patience_ns(nq->q.nr);
	bool reads = nq->reads_used > 0;
	bool sends = nq->send_free + nq->reads_used < nq->q.send_wrs;
	bool pressed = false, stuck;

	if (nq->q.failed)
		return false;
	for (unsigned int i = 0; i < BOUNCE_KINDS; i++)
		pressed |= bounce_line_in_the_way(&nq->lines[i]);
	/* Others' commands with data may wait for its places, and hold receives meanwhile. */
	pressed |= nq->q.shared && receive_pool_short(nq->q.nr->receives[nq->q.device]);
	if (pressed)
		patience /= PRESSED_DIVISOR;
	/* Both, so that neither is forgotten. READs apart: one who answers none may still take sends. */
	stuck = stands(&nq->reads_sight, reads, nq->reads_done, now, patience);
	stuck |= stands(&nq->sends_sight, sends, nq->sends_done, now, patience);
	if (stuck)
		cut(nq, pressed ? stall_pressed_why : stall_why);
	return reads || sends;
}

static void scan(struct loop_timer *timer)
{
	struct nvme_reactor *nr = container_of(timer, struct nvme_reactor, stall_timer);
	uint64_t now = now_ns(), period = patience_ns(nr) / LOOKS;
	bool late = now - timer->deadline_ns > period, any = false;
	struct list *l;

	list_for_each (l, &nr->queues) {
		struct nvme_queue *nq = list_entry(l, struct nvme_queue, reactor_link);

		/* It was us who did not run: nothing is known of the hosts. */
		if (late)
			nq->reads_sight.since_ns = nq->sends_sight.since_ns = 0;
		any |= look(nq, now);
	}
	if (any)
		loop_timer_set(nr->loop, timer, now + period);
}

void stall_init(struct nvme_reactor *nr)
{
	list_init(&nr->queues);
	nr->stall_timer.fn = scan;
}

void stall_begin(struct nvme_reactor *nr)
{
	loop_timer_set(nr->loop, &nr->stall_timer, now_ns() + patience_ns(nr) / LOOKS);
}

void stall_watch(struct nvme_queue *nq)
{
	list_push(&nq->q.nr->queues, &nq->reactor_link);
}

void stall_forget(struct nvme_queue *nq)
{
	struct nvme_reactor *nr = nq->q.nr;

	list_del(&nq->reactor_link);
	if (list_empty(&nr->queues))
		loop_timer_cancel(nr->loop, &nr->stall_timer);
}
