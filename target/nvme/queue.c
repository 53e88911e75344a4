// SPDX-License-Identifier: BSD-3-Clause
/*
 * A connection and its queue pair, from the connection request to the grave; what both kinds of
 * queue begin with. The life is a relay, and each message hands everything over:
 *
 *   control -> registrar: make buffers and queue pair
 *   control -> reactor:   post the receives
 *   control:              accept ... established ... (the reactor serves)
 *   control:              disconnect, queue pair to error
 *   control -> reactor:   wait until nothing is in flight
 *   control -> registrar: destroy
 *   control -> reactor:   the last message: whatever was posted before has been seen
 *   control:              free
 *
 * Teardown only goes forward and may be asked for at any time, by anyone, more than once.
 */
#include "nvme/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "nvme/receives.h"
#include "util/log.h"

#define DRAIN_COMPLAIN_S 10u

static const char peer_closed[] = "the peer closed the connection";

DEFINE_COUNTER(failures, "nvme_queue_failures", "Queues that ended by an error of theirs");

static void set_state(struct queue *q, enum queue_state state)
{
	static const uint8_t allowed[] = {
		[QUEUE_PREPARING] = 1 << QUEUE_ARMING | 1 << QUEUE_STOPPING,
		[QUEUE_ARMING] = 1 << QUEUE_ACCEPTING | 1 << QUEUE_STOPPING,
		[QUEUE_ACCEPTING] = 1 << QUEUE_LIVE | 1 << QUEUE_STOPPING,
		[QUEUE_LIVE] = 1 << QUEUE_STOPPING,
		[QUEUE_STOPPING] = 1 << QUEUE_DESTROYING,
		[QUEUE_DESTROYING] = 1 << QUEUE_LEAVING,
		[QUEUE_LEAVING] = 0,
	};

	assert(allowed[q->state] & 1u << state);
	q->state = state;
}

/* ---- birth ------------------------------------------------------------------------------------ */

static void first_command_late(struct loop_timer *timer)
{
	struct queue *q = container_of(timer, struct queue, timer);

	queue_end(q, QUEUE_END_LATE, q->target->late_why);
}

DEFINE_COUNTER(no_room, "nvme_no_room", "Queues refused since no reactor had room for completions");

/* Shared receives have their room already. */
static unsigned int completions_of(const struct queue *q)
{
	return (q->shared ? 0 : q->receives) + q->send_wrs;
}

/* A completion queue with room for all that this queue can have in flight. */
static bool reserve(struct nvme_reactor *nr, struct queue *q)
{
	unsigned int need = completions_of(q), entries;

	for (unsigned int n = 0; n < REACTOR_MAX_CQS; n++) {
		entries = reactor_cq_entries(nr->reactor, fabric_conn_device(q->conn), n);
		if (entries < need || need > entries - nr->cq_reserved[q->device][n])
			continue;
		nr->cq_reserved[q->device][n] += need;
		q->cq = n;
		return true;
	}
	return false;
}

static struct nvme_reactor *choose_reactor(struct nvme_target *t, struct queue *q)
{
	for (unsigned int i = 0; i < t->env.nr_reactors; i++) {
		struct nvme_reactor *nr = &t->reactors[t->next_reactor];

		t->next_reactor = (t->next_reactor + 1) % t->env.nr_reactors;
		q->shared = q->may_share && receive_pool_may_join(nr->receives[q->device]);
		if (!reserve(nr, q))
			continue;
		if (q->shared)
			receive_pool_join(nr->receives[q->device]);
		return nr;
	}
	counter_add(&no_room, 1);
	t->no_queue = "no reactor has room for its completions, limits.max_controllers times "
		      "limits.queue_depth";
	return NULL;
}

static void enter_stopping(struct queue *q);

static void set_why(struct queue *q, enum queue_end end, const char *why)
{
	q->end = end;
	q->why = why;
}

static void set_why_by_error(struct queue *q, const char *why)
{
	if (q->err == -ENOTCONN)
		set_why(q, QUEUE_END_CLOSED, peer_closed);
	else
		set_why(q, QUEUE_END_HERE, why);
}

static void reactor_arm(struct loop_msg *msg);

static void prepare_run(struct work *work)
{
	struct queue *q = container_of(work, struct queue, work);

	q->err = q->ops->prepare(q);
}

static void prepare_done(struct work *work)
{
	struct queue *q = container_of(work, struct queue, work);

	q->has_qp = q->err == 0;
	if (!q->err)
		q->err = q->ops->prepared(q);
	if (q->err || q->stop_wanted) {
		if (!q->why)
			set_why_by_error(q, "the adapter has no room for its queue pair");
		enter_stopping(q);
		return;
	}
	set_state(q, QUEUE_ARMING);
	loop_post(q->nr->loop, &q->to_reactor, reactor_arm);
}

int queue_start(struct queue *q, struct nvme_target *t, struct cm_channel *channel,
		const struct fabric_cm_event *event)
{
	int device = target_device_index(t, fabric_conn_device(event->conn));
	const struct fabric_device_info *info;
	struct sockaddr_storage addr;

	if (device < 0)
		return device;
	info = fabric_device_info(fabric_conn_device(event->conn));
	q->target = t;
	q->channel = channel;
	q->conn = event->conn;
	q->device = (unsigned int)device;
	q->responder_resources = event->responder_resources;
	q->initiator_depth = event->initiator_depth;
	q->max_sge = (unsigned int)min_u64(info->max_sge ? info->max_sge : 1, FABRIC_MAX_SGE);
	q->max_read_sge =
		(unsigned int)min_u64(info->max_read_sge ? info->max_read_sge : 1, q->max_sge);
	q->state = QUEUE_PREPARING;
	q->nr = choose_reactor(t, q);
	if (!q->nr)
		return -ENOSPC;
	if (fabric_conn_peer(q->conn, &addr) == 0)
		address_format(&addr, q->address, sizeof(q->address));
	q->here = host_came_from_here(q->conn);
	fabric_conn_set_user(q->conn, q);
	list_push(&t->queues, &q->link);
	t->nr_queues++;
	q->timer.fn = first_command_late;
	loop_timer_set(t->env.control, &q->timer,
		       now_ns() + t->env.limits.first_command_ms * NS_PER_MS);
	pool_submit(t->env.registrar, &q->work, POOL_NORMAL, prepare_run, prepare_done,
		    t->env.control);
	return 0;
}

static void accept_it(struct queue *q)
{
	uint8_t data[32] = {0};
	struct fabric_conn_param param = {
		.private_data = data,
		.private_data_len = sizeof(data),
		.responder_resources = q->responder_resources,
		.initiator_depth = q->initiator_depth,
	};
	int err;

	q->ops->accept_data(q, data);
	err = fabric_accept(q->conn, &param);
	if (err) {
		queue_end(q, QUEUE_END_CLOSED, "the connection could not be accepted");
		return;
	}
	/* One, if the transport does not say: that much every peer can answer. */
	atomic_store_explicit(&q->read_depth,
			      (unsigned int)max_u64(fabric_conn_read_depth(q->conn), 1),
			      memory_order_relaxed);
}

static void armed(struct loop_msg *msg)
{
	struct queue *q = container_of(msg, struct queue, to_control);

	if (q->err || q->stop_wanted) {
		if (!q->why)
			set_why_by_error(q, "its receives could not be posted");
		enter_stopping(q);
		return;
	}
	set_state(q, QUEUE_ACCEPTING);
	accept_it(q);
}

static void reactor_arm(struct loop_msg *msg)
{
	struct queue *q = container_of(msg, struct queue, to_reactor);

	q->err = q->ops->arm(q);
	loop_post(q->target->env.control, &q->to_control, armed);
}

void queue_established(struct queue *q)
{
	if (q->state == QUEUE_ACCEPTING)
		set_state(q, QUEUE_LIVE);
}

void queue_started(struct queue *q)
{
	if (q->state < QUEUE_STOPPING)
		loop_timer_cancel(q->target->env.control, &q->timer);
}

static void close_late(struct loop_timer *timer)
{
	queue_stop(container_of(timer, struct queue, timer),
		   "its host disconnected it, and left it open");
}

void queue_linger(struct queue *q)
{
	const struct nvme_target *t = q->target;

	if (q->state >= QUEUE_STOPPING)
		return;
	q->timer.fn = close_late;
	loop_timer_set(t->env.control, &q->timer,
		       now_ns() + t->env.limits.first_command_ms * NS_PER_MS);
}

static void alive(struct loop_msg *msg)
{
	queue_started(container_of(msg, struct queue, alive_msg));
}

void queue_alive(struct queue *q)
{
	if (q->alive_told)
		return;
	q->alive_told = true;
	loop_post(q->target->env.control, &q->alive_msg, alive);
}

/* ---- death ------------------------------------------------------------------------------------ */

static void failed(struct loop_msg *msg)
{
	struct queue *q = container_of(msg, struct queue, failed_msg);

	queue_end(q, q->failed_end, atomic_load(&q->failed_why));
}

void queue_fail_as(struct queue *q, enum queue_end end, const char *why)
{
	q->failed = true;
	if (q->failed_told || q->draining)
		return;
	q->failed_told = true;
	q->failed_end = end;
	atomic_store(&q->failed_why, why);
	(void)fabric_conn_fence(q->conn);
	counter_add(&failures, 1);
	loop_post(q->target->env.control, &q->failed_msg, failed);
}

void queue_fail_by(struct queue *q, enum fabric_status status, const char *why)
{
	switch (status) {
	case FABRIC_FLUSHED:
		queue_fail(q, peer_closed);
		break;
	case FABRIC_RETRY_EXCEEDED:
	case FABRIC_RNR_EXCEEDED:
		queue_fail_as(q, QUEUE_END_LATE, why);
		break;
	default:
		queue_fail_as(q, QUEUE_END_GARBAGE, why);
		break;
	}
}

void queue_disconnected(struct queue *q)
{
	queue_end(q, QUEUE_END_CLOSED, peer_closed);
}

void queue_end(struct queue *q, enum queue_end end, const char *why)
{
	if (q->state >= QUEUE_STOPPING)
		return;
	if (!q->why)
		set_why(q, end, why);
	q->stop_wanted = true;
	/* Another thread has it now: it stops when it comes back. */
	if (q->state == QUEUE_PREPARING || q->state == QUEUE_ARMING)
		return;
	enter_stopping(q);
}

static void drained(struct loop_msg *msg)
{
	struct queue *q = container_of(msg, struct queue, to_control);

	q->ready = true;
	queue_destroy(q);
}

void queue_check_drained(struct queue *q)
{
	if (!q->draining || q->drained || q->posted > 0 || q->busy > 0)
		return;
	q->drained = true;
	loop_post(q->target->env.control, &q->to_control, drained);
}

static void reactor_drain(struct loop_msg *msg)
{
	struct queue *q = container_of(msg, struct queue, to_reactor);

	q->failed = true;
	(void)fabric_conn_fence(q->conn);
	q->ops->drain(q);
	q->draining = true;
	queue_check_drained(q);
}

/* Flushed completions, a worker, a grant: something does not come back, and a stop would hang. */
static void drain_late(struct loop_timer *timer)
{
	struct queue *q = container_of(timer, struct queue, timer);

	log_warning("the queue of %s still has work in flight %u s after its end", q->address,
		    DRAIN_COMPLAIN_S);
	loop_timer_set(q->target->env.control, timer, now_ns() + DRAIN_COMPLAIN_S * NS_PER_S);
}

/* That a connection is closed is often heard of first; it may be the fabric or the reactor that did it. */
static void look_behind(struct queue *q)
{
	const char *breach = fabric_conn_breach(q->conn);
	const char *failed_why = atomic_load(&q->failed_why);

	if (breach)
		set_why(q, QUEUE_END_GARBAGE, breach);
	else if (failed_why && q->end == QUEUE_END_CLOSED)
		set_why(q, q->failed_end, failed_why);
}

static void enter_stopping(struct queue *q)
{
	bool accepted = q->state >= QUEUE_ACCEPTING;

	if (q->end != QUEUE_END_ORDERED)
		look_behind(q);
	set_state(q, QUEUE_STOPPING);
	q->timer.fn = drain_late;
	loop_timer_set(q->target->env.control, &q->timer, now_ns() + DRAIN_COMPLAIN_S * NS_PER_S);
	q->ops->stopping(q);
	if (q->has_qp) {
		if (accepted)
			(void)fabric_disconnect(q->conn);
		loop_post(q->nr->loop, &q->to_reactor, reactor_drain);
		return;
	}
	q->ready = true;
	queue_destroy(q);
}

static void left(struct loop_msg *msg)
{
	struct queue *q = container_of(msg, struct queue, to_control);
	struct nvme_target *t = q->target;

	list_del(&q->link);
	t->nr_queues--;
	q->nr->cq_reserved[q->device][q->cq] -= completions_of(q);
	if (q->shared)
		receive_pool_leave(q->nr->receives[q->device]);
	q->ops->free(q);
	target_check_stopped(t);
}

static void reactor_leave(struct loop_msg *msg)
{
	struct queue *q = container_of(msg, struct queue, to_reactor);

	loop_post(q->target->env.control, &q->to_control, left);
}

static void channel_rest(struct cm_channel *channel)
{
	channel->destroying++;
}

static void channel_resume(struct cm_channel *channel)
{
	assert(channel->destroying > 0);
	if (--channel->destroying > 0 || !channel->resting)
		return;
	channel->resting = false;
	channel_watch(channel, EPOLLIN);
}

static void destroy_run(struct work *work)
{
	struct queue *q = container_of(work, struct queue, work);

	fabric_conn_destroy(q->conn);
	q->ops->destroyed(q);
}

static void destroy_done(struct work *work)
{
	struct queue *q = container_of(work, struct queue, work);

	channel_resume(q->channel);
	q->conn = NULL;
	set_state(q, QUEUE_LEAVING);
	loop_post(q->nr->loop, &q->to_reactor, reactor_leave);
}

void queue_destroy(struct queue *q)
{
	if (q->state != QUEUE_STOPPING || !q->ready || !q->ops->may_destroy(q))
		return;
	set_state(q, QUEUE_DESTROYING);
	loop_timer_cancel(q->target->env.control, &q->timer);
	q->has_qp = false;
	channel_rest(q->channel);
	pool_submit(q->target->env.registrar, &q->work, POOL_NORMAL, destroy_run, destroy_done,
		    q->target->env.control);
}

/* ---- connections that never become a queue --------------------------------------------------- */

struct rejected {
	struct work work;
	struct nvme_target *target;
	struct cm_channel *channel;
	struct fabric_conn *conn;
};

static void reject_run(struct work *work)
{
	fabric_conn_destroy(container_of(work, struct rejected, work)->conn);
}

static void reject_done(struct work *work)
{
	struct rejected *rejected = container_of(work, struct rejected, work);
	struct nvme_target *t = rejected->target;

	channel_resume(rejected->channel);
	t->nr_rejects--;
	free(rejected);
	target_check_stopped(t);
}

void queue_reject(struct nvme_target *t, struct cm_channel *channel, struct fabric_conn *conn,
		  const void *data, uint8_t length)
{
	struct rejected *rejected = calloc(1, sizeof(*rejected));

	fabric_conn_set_user(conn, NULL);
	(void)fabric_reject(conn, data, length);
	if (!rejected) {
		/* Blocks for a moment, which is better than a leak. */
		fabric_conn_destroy(conn);
		return;
	}
	*rejected = (struct rejected){.target = t, .channel = channel, .conn = conn};
	t->nr_rejects++;
	channel_rest(channel);
	pool_submit(t->env.registrar, &rejected->work, POOL_NORMAL, reject_run, reject_done,
		    t->env.control);
}
