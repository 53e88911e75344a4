// SPDX-License-Identifier: BSD-3-Clause
/*
 * Direct queues: their place in the life of a connection (queue.c), their messages, Commit. A
 * message's receive buffer is the commit's object: it is posted again, and its credit returned, when
 * the commit is done. What we send needs a credit of the client's; Recalls go first. See the head of
 * wire/direct.h for the dialogue. Windows of the client's grants are bound here, too, since they are
 * this queue's alone.
 */
#include "nvme/direct_queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "nvme/commit_right.h"
#include "nvme/controller.h"
#include "util/log.h"

#define DQ_RECEIVES LH_MSG_DEFAULT_CREDITS
#define DQ_SENDS    32
#define DQ_BINDS    16 /* at once: a client has few acquires under way */
static_assert(DQ_RECEIVES + DQ_SENDS + DQ_BINDS == DIRECT_QUEUE_COMPLETIONS,
	      "room for completions");
#define MSG_STRIDE	   ((size_t)align_up(LH_MSG_MAX_BYTES, 64))
#define SEND_STRIDE	   ((size_t)align_up(sizeof(struct lh_msg_recall), 64))
#define COMMIT_SLICE_BYTES MIB(1)  /* of a Commit, between two looks whether it is to stop … */
#define COMMIT_TURN_BYTES  MIB(16) /* … and till others have their turn */
#define CREDIT_AFTER	   (LH_MSG_DEFAULT_CREDITS / 2) /* owed without anything to carry them */

static_assert(LH_MSG_MAX_BYTES <= 4096, "a message is small");

DEFINE_COUNTER(commits, "nvme_commits", "Commit messages");
DEFINE_COUNTER(commit_bytes, "nvme_commit_bytes", "Bytes persisted for commits");
DEFINE_COUNTER(commits_refused, "nvme_commits_refused", "Commits answered with an error");
DEFINE_COUNTER(commits_foreign, "nvme_commits_not_granted",
	       "… since their queue had no grant for writing there");
DEFINE_COUNTER(recalls_told, "nvme_recalls_told", "Recall messages sent to clients");
DEFINE_COUNTER(direct_queues, "nvme_direct_queues", "Direct queues connected");
DEFINE_COUNTER(binds, "nvme_window_binds", "Memory windows bound for grants");

/** A received message; of a Commit, also the work. Reactor. */
struct dq_message {
	struct reactor_wr wr;
	struct direct_queue *dq;
	uint8_t *data;
	struct direct_message m;
	struct list link; /* answer waits */
	struct loop_msg again;
	struct ns_use *use;
	struct ns_commit at_work;
	struct work work;
	bool working;	    /* a worker has it, or is to get it */
	uint32_t range;	    /* that is persisted next, … */
	uint64_t persisted; /* … of which so much has been */
	int err;
	uint16_t status;
};

struct dq_send {
	struct reactor_wr wr;
	struct direct_queue *dq;
	uint8_t *data;
	struct list link; /* free */
};

/** A work request that binds a window. Reactor. */
struct dq_bind {
	struct reactor_wr wr;
	struct direct_queue *dq;
	struct grant_bind *bind;
	struct list link; /* free */
};

/** A recall on its way to the client. */
struct dq_tell {
	struct loop_msg msg;
	struct direct_queue *dq;
	struct list link;
	uint32_t nsid;
	uint32_t generation;
	uint64_t offset, length;
	uint64_t deadline_ns;
};

struct direct_queue {
	struct queue q;
	uint16_t dqid;
	uint16_t peer_credits; /* asked for at the connect */
	uint8_t token[LH_TOKEN_BYTES];

	/* registrar */
	struct fabric_pd *pd;
	struct fabric_mr *mr;
	uint8_t *memory;
	size_t memory_bytes;

	/* control */
	struct controller *owner;
	struct list owner_link;
	struct grant_client *client;
	bool client_going;

	/* reactor */
	struct dq_message messages[DQ_RECEIVES];
	struct dq_send sends[DQ_SENDS];
	struct dq_bind binds[DQ_BINDS];
	struct list free_sends;
	struct list free_binds;
	struct list waiting_binds; /* struct grant_bind */
	struct list answers;	   /* dq_message that wait for a credit */
	struct list tells;
	uint64_t hurry_until_ns; /* a landlord waits for the client's answer */
	unsigned int credits;	 /* messages the client can take */
	unsigned int owed;	 /* receives posted again and not told */
	bool hello;
};

static struct direct_queue *direct_queue_of(struct queue *q)
{
	return container_of(q, struct direct_queue, q);
}

struct queue *direct_queue_base(struct direct_queue *dq)
{
	return &dq->q;
}

const struct controller *direct_queue_owner(const struct direct_queue *dq)
{
	return dq->owner;
}

struct direct_queue *direct_queue_from_link(struct list *link)
{
	return list_entry(link, struct direct_queue, owner_link);
}

struct direct_queue *direct_queue_by_token(struct nvme_target *t,
					   const uint8_t token[LH_TOKEN_BYTES])
{
	struct list *cl, *ql;

	list_for_each (cl, &t->controllers) {
		struct controller *c = list_entry(cl, struct controller, link);

		list_for_each (ql, &c->direct_queues) {
			struct direct_queue *dq = direct_queue_from_link(ql);

			if (memcmp(dq->token, token, sizeof(dq->token)) == 0)
				return dq;
		}
	}
	return NULL;
}

uint16_t direct_queue_id(const struct direct_queue *dq)
{
	return dq->dqid;
}

struct grant_client *direct_queue_client(struct direct_queue *dq)
{
	return dq->client_going ? NULL : dq->client;
}

/* ---- birth ------------------------------------------------------------------------------------ */

static int dq_make_memory(struct direct_queue *dq)
{
	int err;

	dq->memory_bytes = align_up(DQ_RECEIVES * MSG_STRIDE + DQ_SENDS * SEND_STRIDE, 4096);
	dq->memory = mmap(NULL, dq->memory_bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (dq->memory == MAP_FAILED)
		return -ENOMEM;
	err = fabric_mr_reg(dq->pd, dq->memory, dq->memory_bytes, (uint64_t)(uintptr_t)dq->memory,
			    FABRIC_ACCESS_LOCAL_WRITE, &dq->mr);
	if (err)
		(void)munmap(dq->memory, dq->memory_bytes);
	return err;
}

static int dq_prepare(struct queue *q)
{
	struct direct_queue *dq = direct_queue_of(q);
	struct fabric_device *dev = fabric_conn_device(q->conn);
	struct fabric_qp_attr attr = {
		.cq = reactor_cq_at(q->nr->reactor, dev, q->cq),
		.max_send_wr = q->send_wrs,
		.max_recv_wr = q->receives,
		.max_send_sge = 1,
		.max_recv_sge = 1,
	};
	int err = fabric_pd_alloc(dev, &dq->pd);

	if (err)
		return err;
	err = dq_make_memory(dq);
	if (err)
		goto free_pd;
	attr.pd = dq->pd;
	err = fabric_qp_create(q->conn, &attr);
	if (err)
		goto free_memory;
	return 0;

free_memory:
	(void)fabric_mr_dereg(dq->mr);
	(void)munmap(dq->memory, dq->memory_bytes);
free_pd:
	(void)fabric_pd_free(dq->pd);
	dq->pd = NULL;
	return err;
}

static int dq_prepared(struct queue *q)
{
	struct direct_queue *dq = direct_queue_of(q);
	struct grant_client_config config = {
		.device = q->device,
		.pd = dq->pd,
		.conn = q->conn,
		.user = dq,
		.cntlid = dq->owner->cntlid,
	};

	memcpy(config.hostid, dq->owner->hostid, sizeof(config.hostid));
	(void)snprintf(config.name, sizeof(config.name), "%.80s (%.40s)", dq->owner->hostnqn,
		       q->address);
	(void)snprintf(config.host, sizeof(config.host), "%s", dq->owner->hostnqn);
	return grant_client_new(q->target->env.holdings, &config, &dq->client);
}

static void message_received(struct reactor_wr *wr, const struct fabric_wc *wc);
static void send_done(struct reactor_wr *wr, const struct fabric_wc *wc);
static void bind_done(struct reactor_wr *wr, const struct fabric_wc *wc);

static int post_receive(struct dq_message *message)
{
	struct direct_queue *dq = message->dq;
	struct fabric_sge sge = {
		.addr = (uint64_t)(uintptr_t)message->data,
		.length = LH_MSG_MAX_BYTES,
		.lkey = dq->mr->lkey,
	};
	struct fabric_recv_wr wr = {
		.wr_id = reactor_wr_id(&message->wr),
		.sg_list = &sge,
		.num_sge = 1,
	};
	int err = fabric_post_recv(dq->q.conn, &wr, NULL);

	if (!err)
		dq->q.posted++;
	return err;
}

static int dq_arm(struct queue *q)
{
	struct direct_queue *dq = direct_queue_of(q);

	for (unsigned int i = 0; i < DQ_SENDS; i++) {
		dq->sends[i].dq = dq;
		dq->sends[i].wr.done = send_done;
		dq->sends[i].data = dq->memory + DQ_RECEIVES * MSG_STRIDE + i * SEND_STRIDE;
		list_push(&dq->free_sends, &dq->sends[i].link);
	}
	for (unsigned int i = 0; i < DQ_BINDS; i++) {
		dq->binds[i].dq = dq;
		dq->binds[i].wr.done = bind_done;
		list_push(&dq->free_binds, &dq->binds[i].link);
	}
	for (unsigned int i = 0; i < DQ_RECEIVES; i++) {
		int err;

		dq->messages[i].dq = dq;
		dq->messages[i].wr.done = message_received;
		dq->messages[i].data = dq->memory + i * MSG_STRIDE;
		err = post_receive(&dq->messages[i]);
		if (err)
			return err;
	}
	return 0;
}

static void dq_accept_data(struct queue *q, uint8_t data[32])
{
	struct lh_cm_accept wire = {
		.recfmt = htole16(LH_CM_RECFMT),
		.version = htole16(LH_PROTOCOL_VERSION),
		.dqid = htole16(direct_queue_of(q)->dqid),
		.credits = htole16(LH_MSG_DEFAULT_CREDITS),
	};

	memcpy(data, &wire, sizeof(wire));
	counter_add(&direct_queues, 1);
	log_info("controller %u: direct queue %u connected from %s",
		 direct_queue_of(q)->owner->cntlid, direct_queue_of(q)->dqid, q->address);
}

/* ---- sending ---------------------------------------------------------------------------------- */

static void post_message(struct direct_queue *dq, struct lh_msg *wire, enum lh_msg_type type,
			 uint32_t length)
{
	struct dq_send *send = list_entry(list_pop(&dq->free_sends), struct dq_send, link);
	struct fabric_sge sge = {
		.addr = (uint64_t)(uintptr_t)send->data,
		.length = length,
		.lkey = dq->mr->lkey,
	};
	struct fabric_send_wr wr = {
		.wr_id = reactor_wr_id(&send->wr),
		.op = FABRIC_OP_SEND,
		.flags = FABRIC_F_SIGNALED,
		.sg_list = &sge,
		.num_sge = 1,
	};

	wire->type = htole16((uint16_t)type);
	wire->length = htole32(length);
	wire->credits = htole16((uint16_t)dq->owed);
	dq->owed = 0;
	dq->credits--;
	memcpy(send->data, wire, length);
	if (fabric_post_send(dq->q.conn, &wr, NULL) < 0) {
		list_push(&dq->free_sends, &send->link);
		queue_fail(&dq->q, "a message could not be posted");
		return;
	}
	dq->q.posted++;
}

/* Control made it, control frees it. */
static void tell_over(struct loop_msg *msg)
{
	free(container_of(msg, struct dq_tell, msg));
}

static void send_recall(struct direct_queue *dq, struct dq_tell *tell)
{
	uint64_t now = now_ns();
	uint64_t left = tell->deadline_ns > now ? tell->deadline_ns - now : 0;
	struct lh_msg_recall wire = {
		.header.nsid = htole32(tell->nsid),
		.offset = htole64(tell->offset),
		.length = htole64(tell->length),
		.generation = htole32(tell->generation),
		.deadline_ms = htole32((uint32_t)(left / NS_PER_MS)),
	};

	counter_add(&recalls_told, 1);
	loop_stay_awake(dq->q.nr->loop, now + GRANT_RECALL_AWAKE_NS);
	post_message(dq, &wire.header, LH_MSG_RECALL, sizeof(wire));
	loop_post(dq->q.target->env.control, &tell->msg, tell_over);
}

static void send_answer(struct direct_queue *dq, struct dq_message *message)
{
	struct lh_msg wire = {
		.tag = htole64(message->m.tag),
		.status = htole16(message->status),
		.nsid = htole32(message->m.nsid),
	};

	/* The receive first: its credit goes with this answer. */
	if (post_receive(message) < 0) {
		queue_fail(&dq->q, "a receive could not be posted");
		return;
	}
	dq->owed++;
	post_message(dq, &wire, LH_MSG_COMMITTED, sizeof(wire));
}

/* The last credit is for a message that brings credits and nothing else. */
static bool may_send(const struct direct_queue *dq, enum lh_msg_type type)
{
	return !dq->q.failed && dq->credits > (type == LH_MSG_CREDIT ? 0 : 1) &&
	       !list_empty(&dq->free_sends);
}

static void kick(struct direct_queue *dq)
{
	struct list *l;

	while (may_send(dq, LH_MSG_RECALL) && (l = list_pop(&dq->tells)))
		send_recall(dq, list_entry(l, struct dq_tell, link));
	while (may_send(dq, LH_MSG_COMMITTED) && (l = list_pop(&dq->answers)))
		send_answer(dq, list_entry(l, struct dq_message, link));
	if (dq->owed >= CREDIT_AFTER && may_send(dq, LH_MSG_CREDIT)) {
		struct lh_msg wire = {0};

		post_message(dq, &wire, LH_MSG_CREDIT, sizeof(wire));
	}
}

static void send_done(struct reactor_wr *wr, const struct fabric_wc *wc)
{
	struct dq_send *send = container_of(wr, struct dq_send, wr);
	struct direct_queue *dq = send->dq;

	list_push(&dq->free_sends, &send->link);
	if (wc->status != FABRIC_OK)
		queue_fail(&dq->q, "a message could not be sent");
	else
		kick(dq);
	queue_done_posted(&dq->q);
}

/* ---- windows ---------------------------------------------------------------------------------- */

static void bind_over(const struct direct_queue *dq, struct grant_bind *bind, int err)
{
	bind->err = err;
	loop_post(dq->q.target->env.control, &bind->msg, bind->fn);
}

static void post_bind(struct direct_queue *dq, struct grant_bind *bind)
{
	struct dq_bind *slot = list_entry(list_pop(&dq->free_binds), struct dq_bind, link);

	slot->bind = bind;
	bind->wr.wr_id = reactor_wr_id(&slot->wr);
	if (fabric_post_send(dq->q.conn, &bind->wr, NULL) < 0) {
		list_push(&dq->free_binds, &slot->link);
		bind_over(dq, bind, -ENOTCONN);
		queue_fail(&dq->q, "a window could not be bound");
		return;
	}
	dq->q.posted++;
}

static void kick_binds(struct direct_queue *dq)
{
	struct list *l;

	while (!dq->q.failed && !list_empty(&dq->free_binds) && (l = list_pop(&dq->waiting_binds)))
		post_bind(dq, list_entry(l, struct grant_bind, link));
}

/* Nothing that is left of them is posted any more. */
static void drop_binds(struct direct_queue *dq)
{
	struct list *l;

	while ((l = list_pop(&dq->waiting_binds)))
		bind_over(dq, list_entry(l, struct grant_bind, link), -ENOTCONN);
}

static void bind_done(struct reactor_wr *wr, const struct fabric_wc *wc)
{
	struct dq_bind *slot = container_of(wr, struct dq_bind, wr);
	struct direct_queue *dq = slot->dq;

	list_push(&dq->free_binds, &slot->link);
	if (wc->status != FABRIC_OK)
		queue_fail_by(&dq->q, wc->status, "a window was not bound");
	else
		counter_add(&binds, 1);
	bind_over(dq, slot->bind, wc->status == FABRIC_OK ? 0 : -ENOTCONN);
	kick_binds(dq);
	queue_done_posted(&dq->q);
}

static void bind_arrived(struct loop_msg *msg)
{
	struct grant_bind *bind = container_of(msg, struct grant_bind, msg);
	struct direct_queue *dq = bind->queue;

	if (dq->q.failed || dq->q.draining) {
		bind_over(dq, bind, -ENOTCONN);
		return;
	}
	list_push(&dq->waiting_binds, &bind->link);
	kick_binds(dq);
}

/* The queue outlives it: it waits for the client, and the client for each acquire. */
void direct_queue_bind(struct direct_queue *dq, struct grant_bind *bind,
		       void (*fn)(struct loop_msg *))
{
	bind->queue = dq;
	bind->fn = fn;
	if (queue_reachable(&dq->q))
		loop_post(dq->q.nr->loop, &bind->msg, bind_arrived);
	else
		bind_over(dq, bind, -ENOTCONN);
}

/* ---- Commit ----------------------------------------------------------------------------------- */

/*
 * In slices: a landlord waits for one of them at most, once what is committed is sealed (-ECANCELED). 1: so
 * much was persisted, and there is more.
 */
static int persist_ranges(struct dq_message *message, uint64_t most)
{
	const struct view *view = message->use->serving->view;

	while (message->range < message->m.count) {
		const struct lh_commit_range *range = &message->m.ranges[message->range];
		const uint64_t left = le64toh(range->length) - message->persisted;
		const uint64_t n = min_u64(COMMIT_SLICE_BYTES, left);
		int err;

		if (n > most)
			return 1;
		if (atomic_load_explicit(&message->at_work.stop, memory_order_relaxed))
			return -ECANCELED;
		err = view_persist(view, le64toh(range->offset) + message->persisted, n);
		if (err)
			return err;
		most -= n;
		message->persisted += n;
		if (n == left) {
			message->range++;
			message->persisted = 0;
		}
	}
	return 0;
}

static void answer(struct dq_message *message, uint16_t status)
{
	struct direct_queue *dq = message->dq;

	if (status)
		counter_add(&commits_refused, 1);
	message->status = status;
	list_push(&dq->answers, &message->link);
	kick(dq);
}

static uint64_t ranges_bytes(const struct dq_message *message)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < message->m.count; i++)
		total += le64toh(message->m.ranges[i].length);
	return total;
}

static void commit_finish(struct dq_message *message, int err)
{
	struct ns_use *use = message->use;
	struct ns_figures *figures = &use->slot->figures;

	if (err) {
		figures_count(&figures->commits_refused, 1);
	} else {
		figures_count(&figures->commits, 1);
		figures_count(&figures->committed_bytes, ranges_bytes(message));
	}

	message->use = NULL;
	use->commits--;
	ns_put(use);
	if (!message->dq->q.failed)
		answer(message, err == -ECANCELED ? LH_SC_STALE_GENERATION
				: err		  ? nvme_status_from_errno(err)
						  : NVME_SC_SUCCESS);
	queue_done_busy(&message->dq->q);
}

static void commit_on_worker(struct work *work)
{
	struct dq_message *message = container_of(work, struct dq_message, work);

	message->err = persist_ranges(message, COMMIT_TURN_BYTES);
}

static void commit_back(struct work *work);

static void commit_work(struct dq_message *message)
{
	const struct direct_queue *dq = message->dq;
	const bool hurry = now_ns() < dq->hurry_until_ns;

	pool_submit(dq->q.target->env.workers, &message->work, hurry ? POOL_URGENT : POOL_NORMAL,
		    commit_on_worker, commit_back, dq->q.nr->loop);
}

static void commit_back(struct work *work)
{
	struct dq_message *message = container_of(work, struct dq_message, work);

	if (message->err > 0 && !message->dq->q.failed) {
		commit_work(message);
		return;
	}
	message->working = false;
	list_del(&message->at_work.link);
	commit_finish(message, message->err);
}

/* The client waits for them before it gives back what it was asked for. */
static void hurry_commits(struct direct_queue *dq, uint64_t until_ns)
{
	dq->hurry_until_ns = max_u64(dq->hurry_until_ns, until_ns);
	for (unsigned int i = 0; i < DQ_RECEIVES; i++) {
		if (dq->messages[i].working)
			pool_hurry(dq->q.target->env.workers, &dq->messages[i].work);
	}
}

/* Whether the ranges can be committed now; their sum in *total. */
static uint16_t check_commit(const struct dq_message *message, const struct ns_use *use,
			     uint64_t *total)
{
	const struct view *view;

	if (!use || !use->serving)
		return LH_SC_STALE_GENERATION;
	view = use->serving->view;
	if (use->sealed || message->m.generation != view->generation)
		return LH_SC_STALE_GENERATION;
	*total = 0;
	for (uint32_t i = 0; i < message->m.count; i++) {
		uint64_t offset = le64toh(message->m.ranges[i].offset);
		uint64_t length = le64toh(message->m.ranges[i].length);

		if (!range_ok(offset, length, view->size_bytes))
			return NVME_SC_LBA_RANGE | NVME_SC_DNR;
		/* What it wrote there may be the landlord's by now: nothing can be said of it. */
		if (ns_sealed(use->slot, offset, length))
			return LH_SC_STALE_GENERATION;
		*total += length;
	}
	/* Some of it twice, or more often: nobody has reason to. */
	if (*total > view->size_bytes)
		return NVME_SC_INVALID_FIELD | NVME_SC_DNR;
	/* What it did not write is not its to have persisted. */
	for (uint32_t i = 0; i < message->m.count; i++) {
		if (!commit_right_covers(use->slot, message->dq,
					 le64toh(message->m.ranges[i].offset),
					 le64toh(message->m.ranges[i].length)))
			return LH_SC_NOT_GRANTED;
	}
	return NVME_SC_SUCCESS;
}

static void commit_again(struct loop_msg *msg);

/* `waited`: all has come that was on its way here when it came. */
static void commit(struct dq_message *message, bool waited)
{
	struct direct_queue *dq = message->dq;
	const struct nvme_subsystem *s = dq->owner->subsystem;
	/* What was written before a removal is still made durable. */
	struct ns_use *use = ns_find_detached(dq->q.nr, s, message->m.nsid);
	uint64_t total = 0;
	uint16_t status = check_commit(message, use, &total);

	/* Its grant may have been answered by another reactor before we have looked for messages. */
	if (status == LH_SC_NOT_GRANTED && !waited) {
		dq->q.busy++;
		loop_post(dq->q.nr->loop, &message->again, commit_again);
		return;
	}
	counter_add(&commits, 1);
	if (status) {
		if (status == LH_SC_NOT_GRANTED)
			counter_add(&commits_foreign, 1);
		if (use)
			figures_count(&use->slot->figures.commits_refused, 1);
		answer(message, status);
		return;
	}
	counter_add(&commit_bytes, total);
	ns_get(use);
	use->commits++;
	message->use = use;
	message->range = 0;
	message->persisted = 0;
	atomic_store(&message->at_work.stop, false);
	dq->q.busy++;
	if (total <= NVME_REACTOR_COPY_BYTES) {
		commit_finish(message, persist_ranges(message, total));
		return;
	}
	message->working = true;
	message->at_work.work = &message->work;
	message->at_work.ranges = message->m.ranges;
	message->at_work.count = message->m.count;
	list_push(&use->commit_list, &message->at_work.link);
	commit_work(message);
}

static void commit_again(struct loop_msg *msg)
{
	struct dq_message *message = container_of(msg, struct dq_message, again);

	if (!message->dq->q.failed)
		commit(message, true);
	queue_done_busy(&message->dq->q);
}

void *direct_queue_commit_begins(struct direct_queue *dq, unsigned int slot, uint64_t offset,
				 uint64_t length)
{
	return commit_right_begin(dq->q.nr, slot, dq, offset, length);
}

/* ---- receiving -------------------------------------------------------------------------------- */

static void receive_again(struct dq_message *message)
{
	struct direct_queue *dq = message->dq;

	if (post_receive(message) < 0) {
		queue_fail(&dq->q, "a receive could not be posted");
		return;
	}
	dq->owed++;
	kick(dq);
}

static void handle_message(struct dq_message *message, uint32_t bytes)
{
	struct direct_queue *dq = message->dq;

	if (direct_message_parse(message->data, bytes, &message->m) < 0) {
		queue_fail(&dq->q, "it sent what is no message");
		return;
	}
	if (!dq->hello && message->m.type != LH_MSG_HELLO) {
		queue_fail(&dq->q, "its first message was no Hello");
		return;
	}
	controller_active(dq->owner);
	/* More than it ever posted it cannot have. */
	dq->credits = (unsigned int)min_u64(dq->credits + message->m.credits, dq->peer_credits);
	switch (message->m.type) {
	case LH_MSG_HELLO:
		dq->hello = true;
		queue_alive(&dq->q);
		receive_again(message);
		break;
	case LH_MSG_COMMIT:
		commit(message, false);
		break;
	default: /* LH_MSG_CREDIT: that was all */
		receive_again(message);
		break;
	}
	kick(dq);
}

static void message_received(struct reactor_wr *wr, const struct fabric_wc *wc)
{
	struct dq_message *message = container_of(wr, struct dq_message, wr);
	struct queue *q = &message->dq->q;

	if (wc->status != FABRIC_OK)
		queue_fail_by(q, wc->status, "a receive failed");
	else if (!q->failed)
		handle_message(message, wc->byte_len);
	queue_done_posted(q);
}

/* ---- recalls ---------------------------------------------------------------------------------- */

static void tell_arrived(struct loop_msg *msg)
{
	struct dq_tell *tell = container_of(msg, struct dq_tell, msg);
	struct direct_queue *dq = tell->dq;

	if (dq->q.failed || dq->q.draining) {
		loop_post(dq->q.target->env.control, msg, tell_over);
		return;
	}
	hurry_commits(dq, tell->deadline_ns);
	list_push(&dq->tells, &tell->link);
	kick(dq);
}

void direct_queue_tell(struct direct_queue *dq, uint32_t nsid, uint64_t offset, uint64_t length,
		       uint32_t generation, uint32_t deadline_ms)
{
	struct dq_tell *tell = queue_reachable(&dq->q) ? calloc(1, sizeof(*tell)) : NULL;

	if (tell) {
		*tell = (struct dq_tell){
			.dq = dq,
			.nsid = nsid,
			.generation = generation,
			.offset = offset,
			.length = length,
			.deadline_ns = now_ns() + deadline_ms * NS_PER_MS,
		};
		loop_post(dq->q.nr->loop, &tell->msg, tell_arrived);
	}
	/* The doorbell is for those whom no message reaches: what it starts would delay the answer. */
	controller_recall_event(dq->owner, nsid, offset, length, generation, tell != NULL);
}

/* ---- death ------------------------------------------------------------------------------------ */

static void client_gone(void *arg)
{
	struct direct_queue *dq = arg;

	grant_client_free(dq->client);
	dq->client = NULL;
	queue_destroy(&dq->q);
}

static void dq_stopping(struct queue *q)
{
	struct direct_queue *dq = direct_queue_of(q);

	log_info("controller %u: direct queue %u ended: %s", dq->owner->cntlid, dq->dqid, q->why);
	if (!dq->client)
		return;
	/* Its keys die now, whatever else the queue waits for. */
	dq->client_going = true;
	(void)fabric_conn_fence(q->conn);
	grant_client_gone(dq->client, client_gone, dq);
}

static void dq_drain(struct queue *q)
{
	struct direct_queue *dq = direct_queue_of(q);
	struct list *l;

	list_init(&dq->answers);
	drop_binds(dq);
	while ((l = list_pop(&dq->tells)))
		loop_post(q->target->env.control, &list_entry(l, struct dq_tell, link)->msg,
			  tell_over);
}

static bool dq_may_destroy(struct queue *q)
{
	return direct_queue_of(q)->client == NULL;
}

static void dq_destroyed(struct queue *q)
{
	struct direct_queue *dq = direct_queue_of(q);

	if (!dq->pd)
		return;
	(void)fabric_mr_dereg(dq->mr);
	(void)munmap(dq->memory, dq->memory_bytes);
	(void)fabric_pd_free(dq->pd);
}

static void dq_free(struct queue *q)
{
	struct direct_queue *dq = direct_queue_of(q);
	struct controller *c = dq->owner;

	list_del(&dq->owner_link);
	c->nr_direct_queues--;
	free(dq);
	controller_put(c);
}

static const struct queue_ops direct_queue_ops = {
	.prepare = dq_prepare,
	.prepared = dq_prepared,
	.arm = dq_arm,
	.accept_data = dq_accept_data,
	.stopping = dq_stopping,
	.drain = dq_drain,
	.may_destroy = dq_may_destroy,
	.destroyed = dq_destroyed,
	.free = dq_free,
};

/* ---- the request ------------------------------------------------------------------------------ */

static uint16_t new_dqid(struct controller *c)
{
	do {
		if (++c->next_dqid == 0)
			c->next_dqid = 1;
	} while (controller_find_direct(c, c->next_dqid));
	return c->next_dqid;
}

uint16_t direct_queue_new(struct nvme_target *t, struct cm_channel *channel,
			  const struct fabric_cm_event *event, const struct cm_request *request)
{
	struct controller *c = controller_find(t, request->cntlid);
	struct direct_queue *dq;

	if (!c || c->dying || !host_may_join(c, host_came_from_here(event->conn)) ||
	    !controller_take_token(c, request->token))
		return LH_CM_BAD_TOKEN;
	if (c->nr_direct_queues >= NVME_MAX_DIRECT_QUEUES)
		return LH_CM_NO_RESOURCES;
	if (target_device_index(t, fabric_conn_device(event->conn)) < 0)
		return LH_CM_WRONG_DEVICE;
	dq = calloc(1, sizeof(*dq));
	if (!dq)
		return LH_CM_NO_RESOURCES;
	dq->owner = c;
	memcpy(dq->token, request->token, sizeof(dq->token));
	dq->dqid = new_dqid(c);
	dq->peer_credits = request->credits;
	dq->credits = request->credits;
	list_init(&dq->free_sends);
	list_init(&dq->free_binds);
	list_init(&dq->waiting_binds);
	list_init(&dq->answers);
	list_init(&dq->tells);
	dq->q.ops = &direct_queue_ops;
	dq->q.receives = DQ_RECEIVES;
	dq->q.send_wrs = DQ_SENDS + DQ_BINDS;
	if (queue_start(&dq->q, t, channel, event) < 0) {
		free(dq);
		return LH_CM_NO_RESOURCES;
	}
	list_push(&c->direct_queues, &dq->owner_link);
	c->nr_direct_queues++;
	return 0;
}
