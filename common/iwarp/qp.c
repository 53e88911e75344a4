/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queue pairs: the rings of a connection's work requests, posting to them, shared receive queues.
 * Creation may block and is for any thread; posting is for the completion queue's thread. A post
 * tries to send at once: a small write is one system call, made here.
 */
#include "iwarp_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- rings ----------------------------------------------------------------------------------- */

static int ring_init(struct iw_ring *ring, unsigned int limit, size_t stride)
{
	uint32_t size = 1;

	while (size < limit)
		size <<= 1;
	*ring = (struct iw_ring){
		.stride = align_up(stride, 16),
		.size = size,
		.limit = limit,
	};
	ring->mem = calloc(size, ring->stride);
	return ring->mem ? 0 : -ENOMEM;
}

static void ring_fini(struct iw_ring *ring)
{
	free(ring->mem);
	ring->mem = NULL;
}

static bool ring_full(const struct iw_ring *ring)
{
	return ring->tail - ring->head >= ring->limit;
}

/* ---- birth ----------------------------------------------------------------------------------- */

static unsigned int at_least_one(unsigned int n)
{
	return n ? n : 1;
}

int iw_qp_create(struct fabric_conn *base, const struct fabric_qp_attr *attr)
{
	struct iw_conn *conn = iw_conn_of(base);
	unsigned int send_sge = at_least_one(attr->max_send_sge);
	unsigned int recv_sge = at_least_one(attr->max_recv_sge);
	unsigned int max_inline = (unsigned int)min_u64(attr->max_inline, IW_MAX_INLINE);
	size_t send_tail = max_u64(send_sge * sizeof(struct fabric_sge), max_inline);
	size_t recv_tail = recv_sge * sizeof(struct fabric_sge);
	int err;

	if (!attr->pd || !attr->cq || conn->cq || attr->max_send_wr > IW_MAX_WR ||
	    attr->max_recv_wr > IW_MAX_WR || send_sge > FABRIC_MAX_SGE || recv_sge > FABRIC_MAX_SGE)
		return -EINVAL;
	if (attr->pd->device != base->device || &iw_cq_of(attr->cq)->dev->base != base->device)
		return -EINVAL;
	conn->pd = container_of(attr->pd, struct iw_pd, base);
	conn->srq = attr->srq ? container_of(attr->srq, struct iw_srq, base) : NULL;
	conn->max_send_sge = send_sge;
	conn->max_recv_sge = recv_sge;
	conn->max_inline = max_inline;
	err = ring_init(&conn->sq, at_least_one(attr->max_send_wr),
			sizeof(struct iw_swr) + send_tail);
	if (err)
		return err;
	err = ring_init(&conn->rq, at_least_one(conn->srq ? 1 : attr->max_recv_wr),
			sizeof(struct iw_rwr) + recv_tail);
	if (err)
		goto no_rq;
	if (conn->srq) {
		conn->rx.srq_copy = calloc(1, conn->srq->ring.stride);
		err = conn->rx.srq_copy ? 0 : -ENOMEM;
		if (err)
			goto no_copy;
	}
	err = iw_cq_join(iw_cq_of(attr->cq), conn);
	if (err)
		goto no_place;
	atomic_fetch_add(&conn->pd->objects, 1);
	return 0;

no_place:
	free(conn->rx.srq_copy);
	conn->rx.srq_copy = NULL;
no_copy:
	ring_fini(&conn->rq);
no_rq:
	ring_fini(&conn->sq);
	return err;
}

/* ---- sends ----------------------------------------------------------------------------------- */

static int list_length(const struct fabric_sge *sge, unsigned int n, uint32_t *length)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < n; i++)
		sum += sge[i].length;
	if (sum > IW_MAX_MESSAGE)
		return -EINVAL;
	*length = (uint32_t)sum;
	return 0;
}

static int fill_inline(const struct iw_conn *conn, const struct fabric_send_wr *wr,
		       struct iw_swr *swr)
{
	uint8_t *to = (uint8_t *)swr->sge;

	if (swr->length > conn->max_inline || wr->op == FABRIC_OP_READ)
		return -EINVAL;
	for (unsigned int i = 0; i < wr->num_sge; i++) {
		if (wr->sg_list[i].length == 0)
			continue;
		memcpy(to, (const void *)(uintptr_t)wr->sg_list[i].addr, wr->sg_list[i].length);
		to += wr->sg_list[i].length;
	}
	swr->inline_len = (uint16_t)swr->length;
	return 0;
}

static int fill_bind(struct iw_conn *conn, struct fabric_send_wr *wr, struct iw_swr *swr)
{
	struct iw_mw *mw = container_of(wr->bind.mw, struct iw_mw, base);
	struct iw_mr *mr = container_of(wr->bind.mr, struct iw_mr, base);

	if (!wr->bind.mw || !wr->bind.mr || conn->dev->options.no_windows)
		return -EINVAL;
	/* Counted from here on: the region cannot go while the request waits. */
	if (!iw_mr_get(mr))
		return -EINVAL;
	swr->bind.mw = mw;
	swr->bind.mr = mr;
	swr->bind.addr = wr->bind.addr;
	swr->bind.length = wr->bind.length;
	swr->bind.access = wr->bind.access;
	swr->bind.key = iw_window_next_key(mw);
	wr->rkey = swr->bind.key;
	return 0;
}

/* Checks and copies one request into its place in the ring. */
static int fill_send(struct iw_conn *conn, struct fabric_send_wr *wr, struct iw_swr *swr)
{
	int err;

	swr->wr_id = wr->wr_id;
	swr->op = (uint8_t)wr->op;
	swr->state = IW_SWR_POSTED;
	swr->flags = (uint16_t)wr->flags;
	swr->num_sge = 0;
	swr->inline_len = 0;
	swr->length = 0;
	swr->rkey = wr->rkey;
	swr->remote_addr = wr->remote_addr;
	switch (wr->op) {
	case FABRIC_OP_SEND:
	case FABRIC_OP_SEND_INV:
	case FABRIC_OP_WRITE:
	case FABRIC_OP_READ:
		if (wr->num_sge > conn->max_send_sge)
			return -EINVAL;
		err = list_length(wr->sg_list, wr->num_sge, &swr->length);
		if (err)
			return err;
		if (wr->flags & FABRIC_F_INLINE)
			return fill_inline(conn, wr, swr);
		swr->num_sge = (uint16_t)wr->num_sge;
		if (wr->num_sge)
			memcpy(swr->sge, wr->sg_list, wr->num_sge * sizeof(wr->sg_list[0]));
		return wr->op == FABRIC_OP_READ && conn->ord == 0 ? -EINVAL : 0;
	case FABRIC_OP_LOCAL_INV:
		return 0;
	case FABRIC_OP_BIND_MW:
		return fill_bind(conn, wr, swr);
	case FABRIC_OP_FLUSH:
		return -EOPNOTSUPP;
	default:
		return -EINVAL;
	}
}

static bool usable(const struct iw_conn *conn, bool established)
{
	enum iw_state state = iw_conn_state(conn);

	if (atomic_load(&conn->fenced) || !conn->cq)
		return false;
	return established ? state == IW_ESTABLISHED : state != IW_ERROR;
}

int iw_post_send(struct fabric_conn *base, struct fabric_send_wr *wr, struct fabric_send_wr **bad)
{
	struct iw_conn *conn = iw_conn_of(base);
	struct iw_cq *cq = conn->cq;
	int err = 0;

	if (!usable(conn, true)) {
		if (bad)
			*bad = wr;
		return -ENOTCONN;
	}
	for (; wr; wr = wr->next) {
		if (ring_full(&conn->sq))
			err = -ENOMEM;
		else
			err = fill_send(conn, wr, iw_ring_at(&conn->sq, conn->sq.tail));
		if (err)
			break;
		conn->sq.tail++;
	}
	if (err && bad)
		*bad = wr;
	if (conn->sq.tail == conn->tx.next || conn->tx.blocked)
		return err;
	/* What does not leave now leaves at a poll. */
	atomic_store(&cq->hazard->conn, conn);
	if (usable(conn, true)) {
		(void)iw_tx_run(conn);
		iw_sq_reap(conn);
	}
	atomic_store_explicit(&cq->hazard->conn, NULL, memory_order_release);
	iw_cq_posted(cq, conn);
	return err;
}

/* ---- receives -------------------------------------------------------------------------------- */

static int fill_recv(const struct fabric_recv_wr *wr, unsigned int max_sge, struct iw_rwr *rwr)
{
	if (wr->num_sge > max_sge)
		return -EINVAL;
	rwr->wr_id = wr->wr_id;
	rwr->num_sge = wr->num_sge;
	if (wr->num_sge)
		memcpy(rwr->sge, wr->sg_list, wr->num_sge * sizeof(wr->sg_list[0]));
	return list_length(wr->sg_list, wr->num_sge, &rwr->length);
}

static int post_recv_ring(struct iw_ring *ring, unsigned int max_sge, struct fabric_recv_wr *wr,
			  struct fabric_recv_wr **bad)
{
	int err = 0;

	for (; wr; wr = wr->next) {
		if (ring_full(ring))
			err = -ENOMEM;
		else
			err = fill_recv(wr, max_sge, iw_ring_at(ring, ring->tail));
		if (err)
			break;
		ring->tail++;
	}
	if (err && bad)
		*bad = wr;
	return err;
}

int iw_post_recv(struct fabric_conn *base, struct fabric_recv_wr *wr, struct fabric_recv_wr **bad)
{
	struct iw_conn *conn = iw_conn_of(base);

	if (!usable(conn, false) || conn->srq) {
		if (bad)
			*bad = wr;
		return conn->srq ? -EINVAL : -ENOTCONN;
	}
	return post_recv_ring(&conn->rq, conn->max_recv_sge, wr, bad);
}

/* ---- shared receive queues ------------------------------------------------------------------- */

int iw_srq_create(struct fabric_pd *pd, unsigned int max_wr, unsigned int max_sge,
		  struct fabric_srq **out)
{
	struct iw_srq *srq;
	int err;

	max_sge = at_least_one(max_sge);
	if (max_wr > IW_MAX_WR || max_sge > FABRIC_MAX_SGE)
		return -EINVAL;
	srq = calloc(1, sizeof(*srq));
	if (!srq)
		return -ENOMEM;
	err = ring_init(&srq->ring, at_least_one(max_wr),
			sizeof(struct iw_rwr) + max_sge * sizeof(struct fabric_sge));
	if (!err) {
		err = -pthread_mutex_init(&srq->lock, NULL);
		if (err)
			ring_fini(&srq->ring);
	}
	if (err) {
		free(srq);
		return err;
	}
	srq->base.ops = &iw_ops;
	srq->pd = container_of(pd, struct iw_pd, base);
	srq->max_sge = max_sge;
	atomic_fetch_add(&srq->pd->objects, 1);
	*out = &srq->base;
	return 0;
}

void iw_srq_destroy(struct fabric_srq *base)
{
	struct iw_srq *srq = container_of(base, struct iw_srq, base);

	atomic_fetch_sub(&srq->pd->objects, 1);
	pthread_mutex_destroy(&srq->lock);
	ring_fini(&srq->ring);
	free(srq);
}

int iw_post_srq_recv(struct fabric_srq *base, struct fabric_recv_wr *wr,
		     struct fabric_recv_wr **bad)
{
	struct iw_srq *srq = container_of(base, struct iw_srq, base);
	int err;

	pthread_mutex_lock(&srq->lock);
	err = post_recv_ring(&srq->ring, srq->max_sge, wr, bad);
	pthread_mutex_unlock(&srq->lock);
	return err;
}

/* ---- completing ------------------------------------------------------------------------------ */

bool iw_recv_take(struct iw_conn *conn)
{
	struct iw_srq *srq = conn->srq;

	if (!srq || conn->rx.has_copy)
		return true;
	/* Several queues' threads may share it; the entry is taken for good. */
	pthread_mutex_lock(&srq->lock);
	if (srq->ring.head != srq->ring.tail) {
		memcpy(conn->rx.srq_copy, iw_ring_at(&srq->ring, srq->ring.head++),
		       srq->ring.stride);
		conn->rx.has_copy = true;
	}
	pthread_mutex_unlock(&srq->lock);
	return conn->rx.has_copy;
}

void iw_recv_return(struct iw_conn *conn)
{
	struct iw_srq *srq = conn->srq;

	if (!conn->rx.has_copy)
		return;
	conn->rx.has_copy = false;
	/* It was counted as posted all the time: there is room. */
	pthread_mutex_lock(&srq->lock);
	assert(!ring_full(&srq->ring));
	memcpy(iw_ring_at(&srq->ring, srq->ring.tail++), conn->rx.srq_copy, srq->ring.stride);
	pthread_mutex_unlock(&srq->lock);
}

struct iw_rwr *iw_recv_begin(struct iw_conn *conn)
{
	if (conn->srq)
		return conn->rx.has_copy ? conn->rx.srq_copy : NULL;
	return conn->rq.head == conn->rq.tail ? NULL : iw_ring_at(&conn->rq, conn->rq.head);
}

void iw_recv_done(struct iw_conn *conn, uint32_t bytes, bool invalidated, uint32_t key)
{
	struct fabric_wc wc = {
		.wr_id = conn->rx.rwr->wr_id,
		.conn = &conn->base,
		.user = conn->srq ? conn->base.user : NULL,
		.status = FABRIC_OK,
		.op = FABRIC_OP_RECV,
		.byte_len = bytes,
		.flags = invalidated ? FABRIC_WC_WITH_INV : 0,
		.inv_rkey = invalidated ? key : 0,
	};

	if (!conn->srq)
		conn->rq.head++;
	conn->rx.has_copy = false;
	iw_cq_push(conn->cq, conn, &wc);
}

void iw_sq_reap(struct iw_conn *conn)
{
	struct iw_ring *sq = &conn->sq;

	while (sq->head != conn->tx.next) {
		const struct iw_swr *swr = iw_ring_at(sq, sq->head);
		struct fabric_wc wc = {
			.wr_id = swr->wr_id,
			.conn = &conn->base,
			.status = FABRIC_OK,
			.op = (enum fabric_op)swr->op,
			.byte_len = swr->length,
		};

		if (swr->state != IW_SWR_DONE)
			return;
		/* Verbs do not tell the two apart either. */
		if (wc.op == FABRIC_OP_SEND_INV)
			wc.op = FABRIC_OP_SEND;
		if (swr->flags & FABRIC_F_SIGNALED) {
			if (!iw_cq_room(conn->cq))
				return;
			iw_cq_push(conn->cq, conn, &wc);
		}
		sq->head++;
	}
}
