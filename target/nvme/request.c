// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of a request on its reactor: parsed, given buffers, sent elsewhere and back, completed.
 * Nothing is allocated, locked or logged here.
 */
#include "nvme/nvme_queue.h"

#include <stdio.h>
#include <string.h>

#include "nvme/io.h"

DEFINE_COUNTER(commands, "nvme_commands", "Command capsules received");
DEFINE_COUNTER(capsule_errors, "nvme_capsule_errors", "Capsules refused at the edge");
DEFINE_COUNTER(errors, "nvme_command_errors", "Commands that were answered with an error");

void request_set_state(struct request *r, enum request_state state)
{
#define TO(s) (1u << REQUEST_##s)
	static const uint16_t allowed[] = {
		[REQUEST_FREE] = TO(PARSED),
		[REQUEST_PARSED] = TO(WAIT_FUSED) | TO(WAIT_LOCK) | TO(WAIT_BUFFER) |
				   TO(WAIT_FETCH) | TO(FETCHING) | TO(EXECUTING) | TO(HELD) |
				   TO(WAIT_SEND) | TO(SENDING) | TO(FREE),
		[REQUEST_WAIT_FUSED] = TO(PARSED) | TO(FREE),
		[REQUEST_WAIT_LOCK] = TO(PARSED) | TO(FREE),
		[REQUEST_WAIT_BUFFER] = TO(PARSED) | TO(FREE),
		[REQUEST_WAIT_FETCH] = TO(FETCHING) | TO(FREE),
		[REQUEST_FETCHING] = TO(PARSED) | TO(FREE),
		[REQUEST_EXECUTING] = TO(PARSED) | TO(FREE),
		[REQUEST_HELD] = TO(PARSED) | TO(FREE),
		[REQUEST_WAIT_SEND] = TO(SENDING) | TO(FREE),
		[REQUEST_SENDING] = TO(FREE),
	};
#undef TO

	assert(allowed[r->state] & 1u << state);
	r->state = state;
}

/* ---- the namespace it works on ---------------------------------------------------------------- */

/* One writer; control reads it to know whom to fence. */
static void count(_Atomic uint32_t *counter, int by)
{
	atomic_store_explicit(counter,
			      atomic_load_explicit(counter, memory_order_relaxed) + (uint32_t)by,
			      memory_order_release);
}

void request_get_ns(struct request *r, struct ns_use *use, unsigned int slot)
{
	assert(!r->use && (!r->counted || r->slot == slot));
	ns_get(use);
	r->use = use;
	r->slot = slot;
	if (r->counted)
		return;
	r->counted = true;
	use->slot->requests++;
	count(&r->queue->q.requests[slot], 1);
}

/* The last thing that it knows of the namespace. */
static void forget_ns(struct request *r)
{
	struct ns_slot *slot = &r->queue->q.nr->slots[r->slot];

	if (!r->counted)
		return;
	r->counted = false;
	count(&r->queue->q.requests[r->slot], -1);
	if (--slot->requests == 0 && !list_empty(&slot->waits))
		ns_put_slow(slot);
}

void request_get_keyed(struct request *r)
{
	assert(!r->keyed && !r->use->quiesced && ns_is_current(r->use));
	r->keyed = true;
	r->use->keyed++;
	list_push(&r->use->keyed_requests, &r->keyed_link);
	count(&r->queue->q.keyed[r->slot], 1);
}

void request_put_keyed(struct request *r)
{
	if (!r->keyed)
		return;
	r->keyed = false;
	r->use->keyed--;
	list_del(&r->keyed_link);
	count(&r->queue->q.keyed[r->slot], -1);
	ns_check(r->use);
}

void request_put_ns(struct request *r)
{
	struct ns_use *use = r->use;

	if (!use)
		return;
	request_put_keyed(r);
	r->use = NULL;
	ns_put(use);
}

/* ---- its place among those that overlap it ---------------------------------------------------- */

static void unlock(struct request *r)
{
	if (!r->locked)
		return;
	r->locked = false;
	interlock_unlock(request_interlock(r), &r->lock);
}

bool request_cancel_lock(struct request *r)
{
	return interlock_cancel(request_interlock(r), &r->lock);
}

/* ---- birth ------------------------------------------------------------------------------------ */

static void execute(struct request *r)
{
	struct controller *c = r->queue->controller;

	if (r->command.opcode == NVME_FABRICS) {
		io_fused_apart(r);
		fabrics_execute(r);
		return;
	}
	/* What a reset has met is not answered: its queue is as good as deleted (NVMe base 2.0 §3.7.2). */
	if (c && r->queue->qid > 0 && atomic_load_explicit(&c->in_reset, memory_order_acquire)) {
		request_release(r);
		return;
	}
	if (!c || !controller_ready(c) || r->queue->disconnected) {
		io_fused_apart(r);
		request_complete(r, NVME_SC_COMMAND_SEQUENCE | NVME_SC_DNR);
		return;
	}
	if (r->queue->qid == 0)
		admin_execute(r);
	else
		io_execute(r);
}

/* One that was used before, if there is any: the others have cost no memory yet. */
static struct request *take_request(struct nvme_queue *nq)
{
	struct list *l = list_pop(&nq->free_requests);
	struct request *r;

	if (l)
		return list_entry(l, struct request, link);
	if (nq->nr_used == nq->nr_requests)
		return NULL;
	r = &nq->requests[nq->nr_used];
	r->queue = nq;
	r->cqe = &nq->cqes[nq->nr_used++];
	return r;
}

void request_start(struct capsule *capsule)
{
	struct nvme_queue *nq = capsule->queue;
	struct request *r;
	uint32_t refused;

	if (!capsule_size_ok(capsule->bytes, &nq->limits)) {
		counter_add(&capsule_errors, 1);
		(void)snprintf(nq->bad_capsule, sizeof(nq->bad_capsule),
			       "it sent a capsule of %u bytes, which has %zu to %zu",
			       capsule->bytes, sizeof(struct nvme_command),
			       sizeof(struct nvme_command) + nq->limits.inline_bytes);
		queue_fail_as(&nq->q, QUEUE_END_GARBAGE, nq->bad_capsule);
		capsule_repost(capsule);
		return;
	}
	r = take_request(nq);
	if (!r) {
		list_push(&nq->received, &capsule->link);
		return;
	}
	counter_add(&commands, 1);
	r->capsule = capsule;
	r->in_hand = true;
	memcpy(&r->sqe, capsule->data, sizeof(r->sqe));
	r->dw0 = r->dw1 = 0;
	r->nr_segments = 0;
	r->send_data = false;
	r->way_clear = r->punched = r->compared = false;
	request_set_state(r, REQUEST_PARSED);
	nq->q.busy++;
	/* The answer to Disconnect is the last entry of its queue (NVMe base 2.0 §3.3.2.4). */
	if (nq->silent) {
		request_release(r);
		return;
	}
	if (nq->controller)
		controller_active(nq->controller);
	else if (atomic_load_explicit(&nq->dawn, memory_order_relaxed) == QUEUE_DAWN)
		nvme_queue_dawns(nq, QUEUE_DAWN_COMMAND);
	refused = command_parse(capsule->data, capsule->bytes, &nq->limits, &r->command);
	if (refused) {
		counter_add(&capsule_errors, 1);
		io_fused_apart(r);
		request_reject(r, refused);
		return;
	}
	/* The others may need it more. */
	if (capsule->pool && r->command.data != COMMAND_IN_CAPSULE) {
		capsule_repost(capsule);
		r->capsule = NULL;
	}
	execute(r);
}

void request_put_capsule(struct request *r)
{
	if (r->capsule)
		capsule_repost(r->capsule);
	r->capsule = NULL;
	if (r->in_hand)
		r->queue->in_hand--;
	r->in_hand = false;
}

/* ---- buffers and data from the host ----------------------------------------------------------- */

/* Small data of admin commands and of Connect do not wait for anybody's I/O. */
static struct bounce_line *line_of(const struct request *r, uint32_t length)
{
	bool reserved = r->queue->limits.admin || r->command.opcode == NVME_FABRICS;

	return &r->queue->lines[reserved && length <= BOUNCE_SMALL_BYTES ? BOUNCE_RESERVE
									 : BOUNCE_IO];
}

static void use_buffer(struct request *r)
{
	r->segments[0] = (struct fabric_sge){
		.addr = (uint64_t)(uintptr_t)r->bounce.data,
		.length = r->bounce.length,
		.lkey = r->bounce.lkey,
	};
	r->nr_segments = 1;
}

static void buffer_ready(struct bounce *bounce)
{
	struct request *r = container_of(bounce, struct request, bounce);

	request_set_state(r, REQUEST_PARSED);
	if (r->queue->q.failed) {
		request_release(r);
		return;
	}
	use_buffer(r);
	r->buffered(r);
}

void request_buffer(struct request *r, uint32_t length, void (*buffered)(struct request *r))
{
	r->buffered = buffered;
	if (bounce_get(line_of(r, length), &r->bounce, length, buffer_ready)) {
		use_buffer(r);
		buffered(r);
		return;
	}
	request_set_state(r, REQUEST_WAIT_BUFFER);
}

void request_drop_buffer(struct request *r)
{
	r->nr_segments = 0;
	bounce_put(&r->bounce);
}

void request_fetch(struct request *r, void (*fetched)(struct request *r))
{
	assert(r->command.data == COMMAND_KEYED && r->nr_segments > 0);
	r->fetched = fetched;
	r->fetched_to = (struct transfer_place){0};
	transfer_fetch(r);
}

static void take_buffered(struct request *r)
{
	request_fetch(r, r->back);
}

void request_take_data(struct request *r, void (*ready)(struct request *r))
{
	if (r->command.data == COMMAND_IN_CAPSULE) {
		ready(r);
		return;
	}
	r->back = ready;
	request_buffer(r, r->command.length, take_buffered);
}

const void *request_data(const struct request *r)
{
	if (r->command.data == COMMAND_IN_CAPSULE)
		return r->capsule->data + r->command.capsule_offset;
	return r->bounce.data;
}

/* ---- elsewhere and back ----------------------------------------------------------------------- */

static void come_back(struct request *r)
{
	request_set_state(r, REQUEST_PARSED);
	if (r->queue->q.failed)
		request_release(r);
	else
		r->back(r);
}

static void worker_run(struct work *work)
{
	struct request *r = container_of(work, struct request, work);

	/* What has not begun when its queue dies is not done any more: its host may be dead for long. */
	if (!atomic_load_explicit(&r->queue->q.failed_why, memory_order_relaxed))
		r->there(r);
}

static void worker_done(struct work *work)
{
	come_back(container_of(work, struct request, work));
}

static void on_worker(struct request *r, enum pool_urgency urgency,
		      void (*there)(struct request *r), void (*back)(struct request *r))
{
	struct queue *q = &r->queue->q;

	request_set_state(r, REQUEST_EXECUTING);
	r->there = there;
	r->back = back;
	pool_submit(q->target->env.workers, &r->work, urgency, worker_run, worker_done,
		    q->nr->loop);
}

void request_on_worker(struct request *r, void (*there)(struct request *r),
		       void (*back)(struct request *r))
{
	on_worker(r, POOL_NORMAL, there, back);
}

void request_on_worker_long(struct request *r, void (*there)(struct request *r),
			    void (*back)(struct request *r))
{
	on_worker(r, POOL_BULK, there, back);
}

static void control_run(struct loop_msg *msg)
{
	struct request *r = container_of(msg, struct request, msg);

	r->there(r);
}

static void control_done(struct loop_msg *msg)
{
	come_back(container_of(msg, struct request, msg));
}

void request_on_control(struct request *r, void (*there)(struct request *r),
			void (*back)(struct request *r))
{
	request_set_state(r, REQUEST_EXECUTING);
	r->there = there;
	r->back = back;
	loop_post(r->queue->q.target->env.control, &r->msg, control_run);
}

void request_from_control(struct request *r)
{
	loop_post(r->queue->q.nr->loop, &r->msg, control_done);
}

static void tour_on(struct loop_msg *msg)
{
	struct request *r = container_of(msg, struct request, msg);
	const struct nvme_target *t = r->queue->q.target;

	if (r->tour < t->env.nr_reactors)
		loop_post(t->reactors[r->tour++].loop, &r->msg, tour_on);
	else
		request_from_control(r);
}

void request_by_all_reactors(struct request *r)
{
	r->tour = 0;
	tour_on(&r->msg);
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void complete(struct request *r, uint16_t status)
{
	r->status = status;
	if (r->state == REQUEST_WAIT_FUSED)
		request_set_state(r, REQUEST_PARSED);
	if (status != NVME_SC_SUCCESS) {
		r->send_data = false;
		counter_add(&errors, 1);
	}
	/* What is sent from the file is read until the response has gone. */
	if (!r->send_data)
		unlock(r);
	transfer_send(r);
}

/* The other half of a pair, answered with this one. */
static void complete_other(struct request *other, uint16_t status)
{
	other->pair = NULL;
	complete(other, status);
}

void request_complete(struct request *r, uint16_t status)
{
	struct request *other = r->pair;

	r->pair = NULL;
	/* The first half is answered first; it counts only if the second was good to begin with. */
	if (other && r->command.fuse == FUSE_SECOND)
		complete_other(other, other->compared ? NVME_SC_SUCCESS : NVME_SC_FUSED_FAIL);
	complete(r, status);
	if (other && r->command.fuse == FUSE_FIRST)
		complete_other(other, NVME_SC_FUSED_FAIL);
}

void request_release(struct request *r)
{
	struct request *first = r->pair && request_holds_for_pair(r->pair) ? r->pair : NULL;
	struct resv_abort_part *preempted = r->preempted;
	struct nvme_queue *nq = r->queue;
	struct list *l;

	if (r->state == REQUEST_WAIT_FETCH || r->state == REQUEST_WAIT_SEND ||
	    r->state == REQUEST_HELD)
		list_del(&r->link);
	request_set_state(r, REQUEST_FREE);
	if (r->pair)
		r->pair->pair = NULL;
	r->pair = NULL;
	if (nq->fused_first == r)
		nq->fused_first = NULL;
	if (nq->disconnect == r)
		nq->disconnect = NULL;
	unlock(r);
	request_put_ns(r);
	forget_ns(r);
	request_put_capsule(r);
	list_push_front(&nq->free_requests, &r->link);
	r->preempted = NULL;
	if (preempted)
		request_preempted_gone(preempted);
	/* Last: it may hand the buffer to a request that goes on at once. */
	bounce_put(&r->bounce);
	if (!nq->q.failed && (l = list_pop(&nq->received)))
		request_start(list_entry(l, struct capsule, link));
	if (first)
		request_release(first);
	queue_done_busy(&nq->q);
	if (nq->disconnect)
		disconnect_check(nq);
}
