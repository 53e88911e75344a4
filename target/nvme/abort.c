// SPDX-License-Identifier: BSD-3-Clause
/*
 * Abort (NVMe base 2.0 §5.1): stops what only waits. A request for an event, or a command that has
 * not got its place in the order or its buffer yet, is answered at once; what moves data or is
 * with a worker runs to its end, and the Abort says so. The queue that the command is on may be
 * another reactor's: control knows it.
 *
 *   admin queue's reactor [-> control -> the queue's reactor] -> admin queue's reactor
 */
#include "nvme/controller.h"

#define ABORT_SQID(cdw10) ((uint16_t)((cdw10) & 0xffff))
#define ABORT_CID(cdw10)  ((uint16_t)((cdw10) >> 16))
#define NOT_ABORTED	  1u /* dw0 */

DEFINE_COUNTER(aborts, "nvme_aborts", "Commands that hosts aborted");

/* ---- the command's own reactor ---------------------------------------------------------------- */

bool request_stop_waiting(struct request *r)
{
	switch (r->state) {
	case REQUEST_HELD:
		/* Else it is a Disconnect. */
		if (r->queue->qid != 0)
			return false;
		event_request_forget(r->queue->controller, r);
		list_del(&r->link);
		break;
	case REQUEST_WAIT_LOCK:
		/* Else its turn has come just now. */
		if (!request_cancel_lock(r))
			return false;
		break;
	case REQUEST_WAIT_FUSED:
		/* A first half alone, whose second fails when it comes. Of a pair one is at work. */
		if (r->queue->fused_first != r)
			return false;
		r->queue->fused_first = NULL;
		r->queue->fused_broken = true;
		break;
	case REQUEST_WAIT_BUFFER:
		/* It leaves the line; others that fit now may go on meanwhile. */
		bounce_put(&r->bounce);
		break;
	default:
		return false;
	}
	request_set_state(r, REQUEST_PARSED);
	return true;
}

static bool abort_on(struct nvme_queue *nq, uint16_t cid)
{
	if (nq->q.failed || nq->q.draining)
		return false;
	for (unsigned int i = 0; i < nq->nr_used; i++) {
		struct request *r = &nq->requests[i];

		/* One that is being answered may have given its number to the next already. */
		if (r->state == REQUEST_FREE || le16toh(r->command.cid) != cid ||
		    !request_stop_waiting(r))
			continue;
		counter_add(&aborts, 1);
		request_complete(r, NVME_SC_ABORT_REQUESTED);
		return true;
	}
	return false;
}

static void abort_there(struct loop_msg *msg)
{
	struct request *r = container_of(msg, struct request, msg);

	if (abort_on(r->u.abort.queue, r->u.abort.cid))
		r->dw0 = 0;
	request_from_control(r);
}

/* ---- control ---------------------------------------------------------------------------------- */

static void abort_on_control(struct request *r)
{
	const struct controller *c = r->queue->owner;
	struct nvme_queue *nq = c ? controller_find_queue(c, r->u.abort.sqid) : NULL;

	if (!nq || !queue_reachable(&nq->q)) {
		request_from_control(r);
		return;
	}
	/* It comes there before the queue's last message does. */
	r->u.abort.queue = nq;
	loop_post(nq->q.nr->loop, &r->msg, abort_there);
}

/* ---- the admin queue's reactor ---------------------------------------------------------------- */

static void finish(struct request *r)
{
	r->queue->controller->a.nr_aborts--;
	request_complete(r, NVME_SC_SUCCESS);
}

void abort_execute(struct request *r)
{
	struct controller_admin *a = &r->queue->controller->a;
	uint32_t cdw10 = le32toh(request_sqe(r)->cdw10);

	r->u.abort.sqid = ABORT_SQID(cdw10);
	r->u.abort.cid = ABORT_CID(cdw10);
	r->dw0 = NOT_ABORTED;
	if (r->u.abort.sqid == 0) {
		if (abort_on(r->queue, r->u.abort.cid))
			r->dw0 = 0;
		request_complete(r, NVME_SC_SUCCESS);
		return;
	}
	if (a->nr_aborts == NVME_ABORT_LIMIT) {
		r->dw0 = 0;
		request_complete(r, NVME_SC_ABORT_LIMIT | NVME_SC_DNR);
		return;
	}
	a->nr_aborts++;
	request_on_control(r, abort_on_control, finish);
}
