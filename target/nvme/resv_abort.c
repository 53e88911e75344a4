// SPDX-License-Identifier: BSD-3-Clause
/*
 * Preempt and abort: the commands that hosts whose registration was taken have on the namespace end
 * before the Acquire is answered. On the reactor of each of their queues those that only wait are
 * answered at once; the others are marked, and counted down as they end. Commands that come
 * meanwhile find the new state, which was published before. Who is not through at the deadline (a
 * host that has died in the middle of a transfer, say) loses the queue.
 *
 *   control -> the queues' reactors -> control
 */
#include "nvme/resv.h"

#include <stdlib.h>
#include <string.h>

#include "util/log.h"

DEFINE_COUNTER(preempted_aborts, "nvme_resv_aborts", "Commands aborted by preempt and abort");
DEFINE_COUNTER(preempted_cuts, "nvme_resv_cuts", "Queues cut since preempted work did not end");

/* One queue's share. */
struct resv_abort_part {
	struct loop_msg msg;
	struct resv_abort *abort;
	struct nvme_queue *nq; /* lives as long as `over` is false */
	uint32_t nsid;
	unsigned int left; /* reactor: commands, and one for the looking */
	bool over;	   /* control */
};

struct resv_abort {
	struct nvme_target *target;
	struct ns_resv *nsr;
	void (*done)(struct ns_resv *nsr);
	struct loop_timer timer;
	unsigned int nr, left;
	struct resv_abort_part parts[];
};

/* ---- control: the end ------------------------------------------------------------------------- */

static void part_over(struct loop_msg *msg)
{
	struct resv_abort_part *part = container_of(msg, struct resv_abort_part, msg);
	struct resv_abort *abort = part->abort;

	part->over = true;
	if (--abort->left > 0)
		return;
	loop_timer_cancel(abort->target->env.control, &abort->timer);
	abort->done(abort->nsr);
	free(abort);
}

/* ---- the queue's reactor ---------------------------------------------------------------------- */

static void part_put(struct resv_abort_part *part)
{
	assert(part->left > 0);
	if (--part->left == 0)
		loop_post(part->abort->target->env.control, &part->msg, part_over);
}

void request_preempted_gone(struct resv_abort_part *part)
{
	part_put(part);
}

/* A reservation command may be waiting for the very change that this is part of. */
static bool concerns(const struct request *r, uint32_t nsid)
{
	if (r->state == REQUEST_FREE || r->command.nsid != nsid)
		return false;
	switch (r->command.opcode) {
	case NVME_FABRICS:
	case NVME_IO_RESV_REGISTER:
	case NVME_IO_RESV_REPORT:
	case NVME_IO_RESV_ACQUIRE:
	case NVME_IO_RESV_RELEASE:
		return false;
	default:
		return true;
	}
}

static void part_arrived(struct loop_msg *msg)
{
	struct resv_abort_part *part = container_of(msg, struct resv_abort_part, msg);
	struct nvme_queue *nq = part->nq;

	part->left = 1;
	for (unsigned int i = 0; i < nq->nr_used; i++) {
		struct request *r = &nq->requests[i];

		if (!concerns(r, part->nsid))
			continue;
		assert(!r->preempted);
		r->preempted = part;
		part->left++;
	}
	for (unsigned int i = 0; i < nq->nr_used && !nq->q.failed && !nq->q.draining; i++) {
		struct request *r = &nq->requests[i];

		if (r->preempted != part || !request_stop_waiting(r))
			continue;
		counter_add(&preempted_aborts, 1);
		request_complete(r, NVME_SC_ABORTED_PREEMPTED | NVME_SC_DNR);
	}
	part_put(part);
}

/* ---- control ---------------------------------------------------------------------------------- */

static void cut(struct nvme_queue *nq)
{
	counter_add(&preempted_cuts, 1);
	log_warning("the queue of %s had work that a preempt was to abort and was cut",
		    nq->q.address);
	if (nq->q.has_qp)
		(void)fabric_conn_fence(nq->q.conn);
	queue_stop(&nq->q, "its host was preempted with its work in flight");
}

static void on_deadline(struct loop_timer *timer)
{
	struct resv_abort *abort = container_of(timer, struct resv_abort, timer);

	for (unsigned int i = 0; i < abort->nr; i++) {
		if (!abort->parts[i].over)
			cut(abort->parts[i].nq);
	}
}

static bool was_preempted(const struct resv_outcome *outcome, const struct controller *c)
{
	for (unsigned int i = 0; i < outcome->nr_notices; i++) {
		const struct resv_notice *n = &outcome->notices[i];

		if (n->what == NVME_RESV_REGISTRATION_PREEMPTED &&
		    memcmp(n->hostid, c->hostid, sizeof(c->hostid)) == 0)
			return true;
	}
	return false;
}

/* An I/O queue of a preempted host, or NULL. */
static struct nvme_queue *victim(struct queue *q, const struct ns_home *home,
				 const struct resv_outcome *outcome)
{
	struct nvme_queue *nq;

	if (!queue_is_nvme(q) || !queue_reachable(q))
		return NULL;
	nq = nvme_queue_of(q);
	if (nq->cm_qid == 0 || !nq->owner || nq->owner->subsystem != home->subsystem ||
	    !was_preempted(outcome, nq->owner))
		return NULL;
	return nq;
}

void resv_abort(struct ns_resv *nsr, const struct ns_home *home, const struct resv_outcome *outcome,
		void (*done)(struct ns_resv *nsr))
{
	struct nvme_target *t = home->subsystem->target;
	struct resv_abort *abort =
		calloc(1, sizeof(*abort) + t->nr_queues * sizeof(abort->parts[0]));
	struct list *l;

	list_for_each (l, &t->queues) {
		struct nvme_queue *nq = victim(list_entry(l, struct queue, link), home, outcome);

		if (!nq)
			continue;
		if (!abort) {
			cut(nq);
			continue;
		}
		abort->parts[abort->nr++] = (struct resv_abort_part){
			.abort = abort,
			.nq = nq,
			.nsid = holding_nsid(home->holding),
		};
	}
	if (!abort || abort->nr == 0) {
		free(abort);
		done(nsr);
		return;
	}
	abort->target = t;
	abort->nsr = nsr;
	abort->done = done;
	abort->left = abort->nr;
	abort->timer.fn = on_deadline;
	loop_timer_set(t->env.control, &abort->timer,
		       now_ns() + t->env.holdings->deadline_ms * NS_PER_MS);
	/* Each comes there before the queue's last message does. */
	for (unsigned int i = 0; i < abort->nr; i++)
		loop_post(abort->parts[i].nq->q.nr->loop, &abort->parts[i].msg, part_arrived);
}
