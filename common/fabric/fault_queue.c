// SPDX-License-Identifier: BSD-3-Clause
/*
 * The fault fabric: completion queues, receive queues, posting. All completions go through a list in
 * the order they came; what is held there holds back what comes later of the same connection.
 */
#include "fabric/fault_internal.h"

#include <errno.h>
#include <stdlib.h>

#define BATCH 16

int fault_cq_create(struct fabric_device *dev, unsigned int entries, struct fabric_cq **out)
{
	struct fault_fabric *f = fault_of_device(dev);
	struct fault_cq *cq;
	int rc = fault_begin(f, FAULT_CREATE, sizeof(*cq), &cq);

	if (rc)
		return rc;
	rc = fabric_cq_create(FAULT_INNER(device, dev), entries, &cq->inner);
	if (rc)
		goto free_cq;
	rc = fault_bell_init(&cq->bell, fabric_cq_fd(cq->inner));
	if (rc)
		goto destroy_inner;
	cq->base = (struct fabric_cq){.ops = &fault_ops, .fd = cq->bell.epoll};
	cq->fabric = f;
	(void)pthread_mutex_init(&cq->lock, NULL);
	*out = &cq->base;
	return 0;

destroy_inner:
	fabric_cq_destroy(cq->inner);
free_cq:
	free(cq);
	return rc;
}

void fault_cq_destroy(struct fabric_cq *base)
{
	struct fault_cq *cq = FAULT_OF(cq, base);

	fault_bell_fini(&cq->bell);
	fabric_cq_destroy(cq->inner);
	(void)pthread_mutex_destroy(&cq->lock);
	free(cq);
}

/* Takes what the inner queue has, holds some of it back, cuts some of the connections. */
static int cq_fill(struct fault_cq *cq)
{
	unsigned int room = FAULT_HELD_MAX - cq->held_count;
	struct fabric_wc wc[BATCH];
	int n = fabric_cq_poll(cq->inner, wc, room < BATCH ? room : BATCH);

	cq->base.moved |= fabric_cq_moved(cq->inner);
	for (int i = 0; i < n; i++) {
		struct fabric_conn *inner = wc[i].conn;
		struct fabric_conn *conn = inner ? fabric_conn_user(inner) : NULL;

		if (fault_chance(cq->fabric, FAULT_COMPLETION, cq->fabric->options.cut_ppm) &&
		    inner)
			(void)fabric_conn_fence(inner);
		wc[i].conn = conn;
		wc[i].user = conn && wc[i].user ? conn->user : NULL;
		cq->held[cq->held_count++] = (struct fault_held){
			.wc = wc[i], .polls = fault_hold_for(cq->fabric, FAULT_COMPLETION)};
	}
	return n < 0 ? n : 0;
}

static bool overtakes(const struct fault_cq *cq, unsigned int kept, const struct fabric_conn *conn)
{
	for (unsigned int i = 0; i < kept; i++)
		if (cq->held[i].wc.conn == conn)
			return true;
	return false;
}

int fault_cq_poll(struct fabric_cq *base, struct fabric_wc *wc, unsigned int n)
{
	struct fault_cq *cq = FAULT_OF(cq, base);
	unsigned int got = 0, kept = 0;
	int rc;

	(void)pthread_mutex_lock(&cq->lock);
	rc = cq_fill(cq);
	for (unsigned int i = 0; i < cq->held_count; i++) {
		struct fault_held h = cq->held[i];

		if (h.polls > 0) {
			h.polls--;
			cq->held[kept++] = h;
		} else if (got == n || (h.wc.conn && overtakes(cq, kept, h.wc.conn))) {
			cq->held[kept++] = h;
		} else {
			wc[got++] = h.wc;
		}
	}
	cq->held_count = kept;
	fault_bell_set(&cq->bell, kept > 0);
	(void)pthread_mutex_unlock(&cq->lock);
	return rc && got == 0 ? rc : (int)got;
}

int fault_cq_arm(struct fabric_cq *base)
{
	return fabric_cq_arm(FAULT_INNER(cq, base)); /* the bell rings on its own */
}

int fault_srq_create(struct fabric_pd *pd, unsigned int max_wr, unsigned int max_sge,
		     struct fabric_srq **out)
{
	struct fault_srq *srq;
	int rc = fault_begin(fault_of_device(pd->device), FAULT_CREATE, sizeof(*srq), &srq);

	if (rc)
		return rc;
	rc = fabric_srq_create(FAULT_INNER(pd, pd), max_wr, max_sge, &srq->inner);
	if (rc) {
		free(srq);
		return rc;
	}
	srq->base.ops = &fault_ops;
	*out = &srq->base;
	return 0;
}

void fault_srq_destroy(struct fabric_srq *srq)
{
	fabric_srq_destroy(FAULT_INNER(srq, srq));
	free(FAULT_OF(srq, srq));
}

/* One at a time, so that a fault may come at each request of a chain. */
int fault_post_send(struct fabric_conn *base, struct fabric_send_wr *wr,
		    struct fabric_send_wr **bad)
{
	struct fault_conn *conn = FAULT_OF(conn, base);
	struct fault_fabric *f = conn->fabric;
	int rc = 0;

	for (; wr; wr = wr->next) {
		struct fabric_send_wr one = *wr;

		one.next = NULL;
		if (wr->op == FABRIC_OP_BIND_MW) {
			one.bind.mw = FAULT_INNER(mw, wr->bind.mw);
			one.bind.mr = FAULT_INNER(mr, wr->bind.mr);
		}
		rc = fault_may_fail(f, FAULT_POST);
		if (rc == 0)
			rc = fabric_post_send(conn->inner, &one, NULL);
		if (rc)
			break;
		wr->rkey = one.rkey;
		if (wr->op == FABRIC_OP_BIND_MW)
			wr->bind.mw->rkey = one.rkey;
		if (fault_chance(f, FAULT_POST, f->options.cut_ppm))
			(void)fabric_conn_fence(conn->inner);
	}
	if (rc)
		*bad = wr;
	return rc;
}

int fault_post_recv(struct fabric_conn *base, struct fabric_recv_wr *wr,
		    struct fabric_recv_wr **bad)
{
	struct fault_conn *conn = FAULT_OF(conn, base);
	int rc = fault_may_fail(conn->fabric, FAULT_POST);

	if (rc == 0)
		return fabric_post_recv(conn->inner, wr, bad);
	*bad = wr;
	return rc;
}

int fault_post_srq_recv(struct fabric_srq *srq, struct fabric_recv_wr *wr,
			struct fabric_recv_wr **bad)
{
	return fabric_post_srq_recv(FAULT_INNER(srq, srq), wr, bad);
}
