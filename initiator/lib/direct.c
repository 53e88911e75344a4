// SPDX-License-Identifier: BSD-3-Clause
/*
 * The direct data path: operations cut at grant boundaries into RDMA READs and WRITEs. No allocation,
 * and no copy where the caller's memory is registered. All under the queue's lock, whoever holds it.
 */
#include "libleasehold/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct direct *to_direct(struct queue *q)
{
	return container_of(q, struct direct, q);
}

static uint32_t access_of(const struct lh_op *op)
{
	return op->flags & LH_IO_WRITE ? LH_GRANT_WRITE : LH_GRANT_READ;
}

/* ---- completions ----------------------------------------------------------------------------- */

static void free_wr(struct direct *d, struct direct_wr *wr)
{
	if (wr->bounce)
		chunk_put(&d->bounce, wr->bounce);
	wr->bounce = NULL;
	wr->op = NULL;
	wr->next_free = d->free_wr;
	d->free_wr = wr;
	d->in_flight--;
}

static void wr_completed(struct direct *d, struct direct_wr *wr)
{
	struct lh_op *op = wr->op;

	if (wr->bounce && !(op->flags & LH_IO_WRITE))
		memcpy(op->buf + wr->op_offset, wr->bounce, wr->length);
	free_wr(d, wr);
	op->in_flight--;
	op_settle(op);
	if (!list_empty(&d->pending))
		direct_pump(d);
}

static void on_complete(struct queue *q, const struct fabric_wc *wc)
{
	struct direct *d = to_direct(q);
	unsigned int index = (unsigned int)(wc->wr_id & 0xffffffff);

	if (wc->wr_id & DIRECT_WR_TRIAL)
		direct_trial_completed(d, wc);
	else if (wc->status != FABRIC_OK)
		queue_kill(q, fabric_status_text(wc->status));
	else if (wc->wr_id & DIRECT_WR_RECV)
		direct_message_received(d, index, wc->byte_len);
	else if (wc->wr_id & DIRECT_WR_MESSAGE)
		direct_message_sent(d, index);
	else if (wc->wr_id & DIRECT_WR_ORDER)
		direct_order_answered(d, index);
	else
		wr_completed(d, &d->wrs[index]);
}

void direct_turn_away(struct direct *d)
{
	struct list *pos, *tmp;

	list_for_each_safe (pos, tmp, &d->pending) {
		struct lh_op *op = list_entry(pos, struct lh_op, link);

		if (d->q.live && grant_map_covers(&d->map, op->offset + op->cursor,
						  op->length - op->cursor, access_of(op)))
			continue;
		op->stop = true;
		op->listed = false;
		list_del(&op->link);
		op_settle(op);
	}
}

static void on_died(struct queue *q)
{
	struct direct *d = to_direct(q);

	d->gate_closed = true;
	d->lost = true;
	for (unsigned int i = 0; i < d->depth; i++) {
		struct direct_wr *wr = &d->wrs[i];
		struct lh_op *op = wr->op;

		if (!op)
			continue;
		free_wr(d, wr);
		op->stop = true;
		op->in_flight--;
		op_settle(op);
	}
	direct_turn_away(d);
	direct_confirm_died(d);
	direct_trial_died(d);
	direct_message_died(d);
	export_wake(d->ex);
}

/* ---- birth and end --------------------------------------------------------------------------- */

int direct_init(struct direct *d, struct lh_export *ex)
{
	const struct lh_options *opt = &ex->client->opt;
	int rc;

	memset(d, 0, sizeof(*d));
	d->ex = ex;
	d->depth = opt->direct_depth;
	d->max_unconfirmed_bytes = KIB(opt->max_unconfirmed_kib);
	list_init(&d->pending);
	list_init(&d->confirming);
	replay_init(&d->replay, opt->replay, LH_REPLAY_BYTES);
	rc = queue_init(&d->q, "direct queue", on_complete, on_died);
	if (rc < 0)
		return rc;
	d->wrs = calloc(d->depth, sizeof(*d->wrs));
	rc = d->wrs ? direct_message_init(d) : -ENOMEM;
	if (rc == 0)
		rc = write_log_init(&d->log, ex->size_bytes);
	if (rc < 0) {
		direct_fini(d);
		return rc;
	}
	for (unsigned int i = d->depth; i-- > 0;) {
		d->wrs[i].next_free = d->free_wr;
		d->free_wr = &d->wrs[i];
	}
	return 0;
}

void direct_fini(struct direct *d)
{
	queue_fini(&d->q);
	write_log_fini(&d->log);
	direct_message_fini(d);
	chunk_fini(&d->bounce);
	replay_fini(&d->replay);
	grant_map_fini(&d->map);
	free(d->wrs);
}

static int get_pd(void *user, struct fabric_device *dev, struct fabric_pd **pd)
{
	struct direct *d = user;

	return memory_pd(&d->ex->client->memory, dev, pd);
}

static int prepare(struct queue *q, void *user)
{
	(void)q;
	return direct_message_post_receives(user);
}

static int explain_reject(const struct lh_client *client, int rc, const uint8_t *reply,
			  struct errtext *err)
{
	struct lh_cm_reject reject;
	const char *why;

	memcpy(&reject, reply, sizeof(reject));
	switch (le16toh(reject.recfmt) == LH_CM_RECFMT ? le16toh(reject.status) : 0) {
	case LH_CM_BAD_TOKEN:
		why = "our token was too old or used";
		break;
	case LH_CM_NO_RESOURCES:
		why = "it has no room for another: close other clients, or raise its limits";
		break;
	case LH_CM_WRONG_DEVICE:
		why = "it came in by another adapter than the admin queue";
		break;
	case LH_CM_BAD_VERSION:
		why = "it speaks another version of the direct protocol";
		break;
	default:
		why = "it did not say why: look at its log";
	}
	return errtext_set(err, rc, "%s refused the direct queue: %s", client->address, why);
}

int direct_open(struct direct *d, const struct lh_token *token, struct errtext *err)
{
	struct lh_client *client = d->ex->client;
	struct lh_cm_request request = {
		.recfmt = htole16(LH_CM_RECFMT),
		.version = htole16(LH_PROTOCOL_VERSION),
		.cntlid = htole16(client->cntlid),
		.credits = htole16(LH_MSG_DEFAULT_CREDITS),
	};
	struct queue_param param = {
		.addr = &client->addr,
		.address = client->address,
		.timeout_ms = client->opt.connect_ms,
		.send_wr = d->depth + DIRECT_MESSAGES + DIRECT_TRIALS + DIRECT_COMMITS,
		.recv_wr = LH_MSG_DEFAULT_CREDITS,
		.responder_resources = 1,
		.initiator_depth = 16,
		.private_data = &request,
		.private_data_len = sizeof(request),
		.get_pd = get_pd,
		.prepare = prepare,
		.user = d,
	};
	struct lh_cm_accept accept;
	int rc;

	memcpy(request.token, token->token, sizeof(request.token));
	rc = queue_open(&d->q, client->fabric, &param, err);
	if (rc < 0)
		return param.rejected ? explain_reject(client, rc, param.reply, err) : rc;
	memcpy(&accept, param.reply, sizeof(accept));
	if (le16toh(accept.recfmt) != LH_CM_RECFMT || le16toh(accept.credits) < 2) {
		queue_close(&d->q);
		return errtext_set(
			err, -EPROTO,
			"%s accepted the direct queue with an answer that makes no sense",
			client->address);
	}
	(void)pthread_mutex_lock(&d->q.lock);
	d->dqid = le16toh(accept.dqid);
	memcpy(d->token, token->token, sizeof(d->token));
	d->credits = le16toh(accept.credits);
	d->incarnation++;
	d->max_commit_ranges = client->ext.max_commit_ranges;
	d->lost = false;
	d->recall.pending = false;
	d->recalled = 0; /* a restarted target counts from 1 again */
	rc = direct_send_hello(d);
	(void)pthread_mutex_unlock(&d->q.lock);
	if (rc < 0) {
		queue_close(&d->q);
		return errtext_set(err, rc, "%s closed the direct queue at once: its log says why",
				   client->address);
	}
	return 0;
}

void direct_close(struct direct *d)
{
	queue_close(&d->q);
}

/* ---- posting --------------------------------------------------------------------------------- */

static int post_wr(struct direct *d, struct lh_op *op, const struct grant_piece *piece,
		   struct direct_wr *wr)
{
	const bool write = op->flags & LH_IO_WRITE;
	const uint64_t at = op->offset + wr->op_offset;
	const struct fabric_mr *mr = wr->bounce ? d->bounce.mr : op->mr;
	struct fabric_sge sge = {
		.addr = (uint64_t)(uintptr_t)(wr->bounce ? wr->bounce : op->buf + wr->op_offset),
		.length = wr->length,
		.lkey = mr->lkey};
	struct fabric_send_wr send = {.wr_id = (uint64_t)(wr - d->wrs),
				      .op = write ? FABRIC_OP_WRITE : FABRIC_OP_READ,
				      .flags = FABRIC_F_SIGNALED,
				      .sg_list = &sge,
				      .num_sge = 1,
				      .remote_addr = piece->address + (at - piece->offset),
				      .rkey = piece->rkey};

	if (write)
		write_log_write(&d->log, at, wr->length);
	return fabric_post_send(d->q.conn, &send, NULL);
}

/* Posts the next piece. False: it must wait for room. */
static bool post_piece(struct direct *d, struct lh_op *op)
{
	const bool write = op->flags & LH_IO_WRITE;
	const uint64_t at = op->offset + op->cursor;
	const struct grant_piece *piece = grant_map_find(&d->map, at, access_of(op));
	struct direct_wr *wr = d->free_wr;
	uint64_t length;
	uint8_t *chunk = NULL;

	if (!piece) {
		op->stop = true; /* released since it was taken */
		return true;
	}
	if (!wr)
		return false;
	length = min_u64(op->length - op->cursor, piece->length - (at - piece->offset));
	length = min_u64(length, DIRECT_WR_BYTES_MAX);
	if (!op->mr) {
		length = min_u64(length, BOUNCE_CHUNK_BYTES);
		chunk = chunk_get(&d->bounce, d->ex->client->memory.pd);
		if (!chunk) {
			if (d->bounce.mem)
				return false;
			op->error = -ENOMEM;
			op->stop = true;
			return true;
		}
		if (write)
			memcpy(chunk, op->buf + op->cursor, length);
		stat_add(d->ex, STAT_BOUNCED_BYTES, length);
	}
	if (write && d->replay.on) {
		int rc = replay_fits(&d->replay, length)
				 ? replay_keep(&d->replay, at, op->buf + op->cursor, length)
				 : -EAGAIN;

		if (rc < 0) {
			uint64_t next;

			if (chunk)
				chunk_put(&d->bounce, chunk);
			if (rc == -EAGAIN && direct_can_commit(d))
				rc = direct_send_commit(d, 0, UINT64_MAX, &next);
			if (rc == 0 || rc == -EAGAIN)
				return false;
			op->error = rc == -ENOMEM ? rc : 0;
			op->stop = true;
			return true;
		}
	}
	d->free_wr = wr->next_free;
	d->in_flight++;
	*wr = (struct direct_wr){
		.op = op, .op_offset = op->cursor, .length = (uint32_t)length, .bounce = chunk};
	op->cursor += length;
	op->in_flight++;
	if (post_wr(d, op, piece, wr) < 0)
		queue_kill(&d->q, "a request could not be posted"); /* takes wr and op back */
	return true;
}

/* So many unconfirmed bytes that a recall's Commit could miss its deadline: begin now. */
static void commit_ahead(struct direct *d)
{
	uint64_t at = 0;

	while (direct_can_commit(d) && at != UINT64_MAX) {
		if (direct_send_commit(d, at, UINT64_MAX, &at) < 0)
			return;
	}
}

void direct_pump(struct direct *d)
{
	while (!list_empty(&d->pending) && !d->gate_closed) {
		struct lh_op *op = list_entry(d->pending.next, struct lh_op, link);

		while (!op->stop && op->cursor < op->length) {
			if (!post_piece(d, op))
				return;
		}
		if (op->listed) {
			list_del(&op->link);
			op->listed = false;
			if (op->flags & LH_IO_DURABLE && !op->stop)
				direct_confirm_later(d, op);
			else
				op_settle(op);
		}
	}
	direct_confirm(d);
	if (write_log_dirty_bytes(&d->log) > d->max_unconfirmed_bytes && d->q.live)
		commit_ahead(d);
}

static void wait_changed(struct direct *d, uint64_t deadline_ns)
{
	struct timespec ts;

	deadline_ns = min_u64(deadline_ns, now_ns() + NS_PER_S);
	ts.tv_sec = (time_t)(deadline_ns / NS_PER_S);
	ts.tv_nsec = (long)(deadline_ns % NS_PER_S);
	(void)pthread_cond_timedwait(&d->ex->changed, &d->q.lock, &ts);
}

/* True if some hold wants the range with this access: the keeper is after it. */
static bool is_held(const struct direct *d, const struct lh_op *op)
{
	const struct list *pos;

	list_for_each (pos, &d->ex->holds) {
		const struct lh_hold *h = list_entry(pos, struct lh_hold, link);

		if (!h->leaving && h->offset <= op->offset && h->end >= op->offset + op->length &&
		    h->access & access_of(op))
			return true;
	}
	return false;
}

/* Of a range that is held and not granted: 0 while a grant may come, else why none will. */
static int no_grant_will_come(const struct direct *d, const struct lh_op *op, struct errtext *why)
{
	const uint64_t end = op->offset + op->length;
	const struct list *pos;
	int rc = 0;

	list_for_each (pos, &d->ex->holds) {
		const struct lh_hold *h = list_entry(pos, struct lh_hold, link);

		if (h->leaving || h->offset > op->offset || h->end < end ||
		    !(h->access & access_of(op)))
			continue;
		if (h->state == HOLD_FAILED) {
			*why = h->error.text;
			rc = h->error.code;
		} else if (h->asked_to >= end && h->asked_losses == d->map.losses) {
			rc = errtext_set(
				why, -ENODATA,
				"of %llu bytes at offset %llu of \"%s\" some are in holes, "
				"or shared with another file: no grant of them will come, and "
				"falling back to block commands is off",
				(unsigned long long)op->length, (unsigned long long)op->offset,
				d->ex->name);
		} else {
			return 0;
		}
	}
	return rc;
}

int direct_start(struct direct *d, struct lh_op *op, struct errtext *why)
{
	const bool fallback = !d->ex->client->opt.no_fallback;
	int rc = 0;

	(void)pthread_mutex_lock(&d->q.lock);
	for (;;) {
		bool covered;

		if (d->gate_closed) {
			/* The keeper opens it when it has cleared up, whatever the target does. */
			wait_changed(d, UINT64_MAX);
			continue;
		}
		covered = d->q.live &&
			  grant_map_covers(&d->map, op->offset, op->length, access_of(op));
		if (covered) {
			op->q = &d->q;
			op->state = OP_DIRECT;
			op->transient = false;
			op->cursor = 0;
			op->stop = false;
			op->listed = true;
			list_push(&d->pending, &op->link);
			direct_pump(d);
			rc = 1;
			break;
		}
		if (fallback || !is_held(d, op)) {
			/* Block commands must not overtake what left here and may not be placed. */
			if (d->q.live &&
			    direct_commit(d, op->offset, op->length,
					  now_ns() + CLIENT_COMMAND_MS * NS_PER_MS) < 0) {
				queue_kill(&d->q, "a Commit was not answered");
				continue;
			}
			if (is_held(d, op))
				stat_add(d->ex, STAT_FALLBACKS, 1);
			break;
		}
		rc = no_grant_will_come(d, op, why);
		if (rc < 0)
			break;
		if (now_ns() > op->give_up_ns || atomic_load(&d->ex->client->given_up)) {
			rc = errtext_set(
				why, -ETIMEDOUT,
				"\"%s\" was not granted again in time, and falling back to "
				"block commands is off",
				d->ex->name);
			break;
		}
		wait_changed(d, op->give_up_ns);
	}
	(void)pthread_mutex_unlock(&d->q.lock);
	return rc;
}

/* ---- draining and committing ----------------------------------------------------------------- */

static bool is_drained(void *arg)
{
	const struct direct *d = arg;

	return d->in_flight == 0;
}

int direct_drain(struct direct *d, uint64_t deadline_ns)
{
	int rc = queue_wait(&d->q, is_drained, d, deadline_ns);

	return rc < 0 ? rc : d->q.live ? 0 : -ENOTCONN;
}

struct commit_wait {
	struct direct *d;
	uint64_t tag, offset, length;
};

static bool has_room(void *arg)
{
	const struct commit_wait *w = arg;

	return !w->d->q.live || direct_can_commit(w->d);
}

static bool is_answered(void *arg)
{
	const struct commit_wait *w = arg;

	return !direct_commit_out(w->d, w->tag, w->offset, w->length);
}

int direct_commit(struct direct *d, uint64_t offset, uint64_t length, uint64_t deadline_ns)
{
	struct commit_wait w = {.d = d, .offset = offset, .length = length};
	const uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
	uint64_t at = offset;
	int rc = 0;

	while (at < end && d->log.dirty_pages) {
		rc = queue_wait(&d->q, has_room, &w, deadline_ns);
		if (rc < 0 || !d->q.live)
			break;
		rc = direct_send_commit(d, at, end - at, &at);
		if (rc < 0)
			break;
	}
	if (rc < 0 && rc != -ENOTCONN)
		return rc;
	w.tag = d->commit_tag;
	return queue_wait(&d->q, is_answered, &w, deadline_ns);
}
