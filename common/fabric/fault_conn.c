// SPDX-License-Identifier: BSD-3-Clause
/* The fault fabric: channels, listeners, connections. An event held back holds back all behind it. */
#include "fabric/fault_internal.h"

#include <errno.h>
#include <stdlib.h>

static struct fault_conn *conn_new(struct fault_fabric *f, struct fault_cm *cm, void *user)
{
	struct fault_conn *conn = calloc(1, sizeof(*conn));

	if (conn) {
		conn->base = (struct fabric_conn){.ops = &fault_ops, .user = user};
		conn->fabric = f;
		conn->cm = cm;
	}
	return conn;
}

static void conn_adopt(struct fault_conn *conn, struct fabric_conn *inner)
{
	const struct fabric_device *dev = fabric_conn_device(inner);
	struct fault_fabric *f = conn->fabric;

	conn->inner = inner;
	fabric_conn_set_user(inner, &conn->base);
	for (unsigned int i = 0; dev && i < f->device_count; i++)
		if (f->devices[i].inner == dev)
			conn->base.device = &f->devices[i].base;
}

int fault_cm_open(struct fabric *base, struct fabric_cm **out)
{
	struct fault_fabric *f = FAULT_OF(fabric, base);
	struct fault_cm *cm;
	int rc = fault_begin(f, FAULT_CREATE, sizeof(*cm), &cm);

	if (rc)
		return rc;
	rc = fabric_cm_open(f->inner, &cm->inner);
	if (rc)
		goto free_cm;
	rc = fault_bell_init(&cm->bell, fabric_cm_fd(cm->inner));
	if (rc)
		goto close_inner;
	cm->base = (struct fabric_cm){.ops = &fault_ops, .fd = cm->bell.epoll};
	cm->fabric = f;
	*out = &cm->base;
	return 0;

close_inner:
	fabric_cm_close(cm->inner);
free_cm:
	free(cm);
	return rc;
}

void fault_cm_close(struct fabric_cm *base)
{
	struct fault_cm *cm = FAULT_OF(cm, base);

	if (cm->holding && cm->event.type == FABRIC_CM_CONNECT_REQUEST)
		fabric_conn_destroy(cm->event.conn); /* nobody else knows of it */
	fault_bell_fini(&cm->bell);
	fabric_cm_close(cm->inner);
	free(cm);
}

/* From the inner fabric's event to ours. */
static int cm_translate(struct fault_cm *cm, struct fabric_cm_event *event)
{
	struct fabric_conn *inner = event->conn;

	if (event->listener)
		event->listener = fabric_listener_user(event->listener);
	if (event->type == FABRIC_CM_CONNECT_REQUEST) {
		struct fault_conn *conn = conn_new(cm->fabric, cm, NULL);

		if (!conn) {
			fabric_conn_destroy(inner);
			return -ENOMEM;
		}
		conn_adopt(conn, inner);
		event->conn = &conn->base;
	} else if (inner) {
		event->conn = fabric_conn_user(inner);
		conn_adopt(FAULT_OF(conn, event->conn), inner); /* its device may be known now */
	}
	return 0;
}

int fault_cm_poll(struct fabric_cm *base, struct fabric_cm_event *event)
{
	struct fault_cm *cm = FAULT_OF(cm, base);
	int rc;

	if (!cm->holding) {
		rc = fabric_cm_poll(cm->inner, &cm->event);
		if (rc <= 0)
			return rc;
		rc = cm_translate(cm, &cm->event);
		if (rc)
			return rc;
		cm->polls = fault_hold_for(cm->fabric, FAULT_CM_EVENT);
		cm->holding = true;
	}
	fault_bell_set(&cm->bell, cm->polls > 0);
	if (cm->polls > 0) {
		cm->polls--;
		return 0;
	}
	*event = cm->event;
	cm->holding = false;
	return 1;
}

int fault_listen(struct fabric_cm *base, const struct sockaddr *addr, int backlog,
		 struct fabric_listener **out)
{
	struct fault_cm *cm = FAULT_OF(cm, base);
	struct fault_listener *l;
	int rc = fault_begin(cm->fabric, FAULT_CREATE, sizeof(*l), &l);

	if (rc)
		return rc;
	rc = fabric_listen(cm->inner, addr, backlog, &l->base, &l->inner);
	if (rc) {
		free(l);
		return rc;
	}
	l->base.ops = &fault_ops;
	*out = &l->base;
	return 0;
}

void fault_listener_destroy(struct fabric_listener *l)
{
	fabric_listener_destroy(FAULT_INNER(listener, l));
	free(FAULT_OF(listener, l));
}

int fault_listener_addr(const struct fabric_listener *l, struct sockaddr_storage *addr)
{
	return fabric_listener_addr(FAULT_INNER(listener, l), addr);
}

int fault_resolve(struct fabric_cm *base, const struct sockaddr *dst, unsigned int timeout_ms,
		  void *user, struct fabric_conn **out)
{
	struct fault_cm *cm = FAULT_OF(cm, base);
	int rc = fault_may_fail(cm->fabric, FAULT_CONNECT);
	struct fault_conn *conn = rc ? NULL : conn_new(cm->fabric, cm, user);
	struct fabric_conn *inner;

	if (!conn)
		return rc ? rc : -ENOMEM;
	rc = fabric_resolve(cm->inner, dst, timeout_ms, &conn->base, &inner);
	if (rc) {
		free(conn);
		return rc;
	}
	conn_adopt(conn, inner);
	*out = &conn->base;
	return 0;
}

static struct fabric_qp_attr inner_attr(const struct fabric_qp_attr *attr)
{
	struct fabric_qp_attr inner = *attr;

	inner.pd = FAULT_INNER(pd, attr->pd);
	inner.cq = FAULT_INNER(cq, attr->cq);
	inner.srq = attr->srq ? FAULT_INNER(srq, attr->srq) : NULL;
	return inner;
}

int fault_qp_create(struct fabric_conn *base, const struct fabric_qp_attr *attr)
{
	struct fault_conn *conn = FAULT_OF(conn, base);
	struct fabric_qp_attr inner = inner_attr(attr);
	int rc = fault_may_fail(conn->fabric, FAULT_CREATE);

	if (rc == 0)
		rc = fabric_qp_create(conn->inner, &inner);
	if (rc == 0) {
		conn->cq = FAULT_OF(cq, attr->cq);
		conn->has_srq = attr->srq;
	}
	return rc;
}

int fault_connect(struct fabric_conn *conn, const struct fabric_conn_param *param)
{
	int rc = fault_may_fail(FAULT_OF(conn, conn)->fabric, FAULT_CONNECT);

	return rc ? rc : fabric_connect(FAULT_INNER(conn, conn), param);
}

int fault_accept(struct fabric_conn *conn, const struct fabric_conn_param *param)
{
	int rc = fault_may_fail(FAULT_OF(conn, conn)->fabric, FAULT_CONNECT);

	return rc ? rc : fabric_accept(FAULT_INNER(conn, conn), param);
}

int fault_reject(struct fabric_conn *conn, const void *private_data, uint8_t len)
{
	return fabric_reject(FAULT_INNER(conn, conn), private_data, len);
}

int fault_disconnect(struct fabric_conn *conn)
{
	return fabric_disconnect(FAULT_INNER(conn, conn));
}

int fault_conn_fence(struct fabric_conn *conn)
{
	return fabric_conn_fence(FAULT_INNER(conn, conn));
}

void fault_conn_destroy(struct fabric_conn *base)
{
	struct fault_conn *conn = FAULT_OF(conn, base);
	struct fault_cq *cq = conn->cq;

	/* Under the lock of polling: afterwards nothing that names it is held or can come. */
	if (cq) {
		unsigned int kept = 0;

		(void)pthread_mutex_lock(&cq->lock);
		fabric_conn_destroy(conn->inner);
		for (unsigned int i = 0; i < cq->held_count; i++) {
			struct fault_held *h = &cq->held[i];

			if (h->wc.conn == base) {
				if (!conn->has_srq || h->wc.op != FABRIC_OP_RECV)
					continue;
				h->wc.conn = NULL;
				h->wc.user = NULL;
			}
			cq->held[kept++] = *h;
		}
		cq->held_count = kept;
		(void)pthread_mutex_unlock(&cq->lock);
	} else {
		fabric_conn_destroy(conn->inner);
	}
	if (conn->cm && conn->cm->holding && conn->cm->event.conn == base)
		conn->cm->holding = false;
	free(conn);
}

int fault_conn_peer(const struct fabric_conn *conn, struct sockaddr_storage *addr)
{
	return fabric_conn_peer(FAULT_INNER(conn, conn), addr);
}

int fault_conn_local(const struct fabric_conn *conn, struct sockaddr_storage *addr)
{
	return fabric_conn_local(FAULT_INNER(conn, conn), addr);
}

bool fault_conn_returns(const struct fabric_conn *conn)
{
	return fabric_conn_returns(FAULT_INNER(conn, conn));
}

bool fault_conn_taken(const struct fabric_conn *conn)
{
	return fabric_conn_taken(FAULT_INNER(conn, conn));
}

const char *fault_conn_breach(const struct fabric_conn *conn)
{
	return fabric_conn_breach(FAULT_INNER(conn, conn));
}

unsigned int fault_conn_read_depth(const struct fabric_conn *conn)
{
	return fabric_conn_read_depth(FAULT_INNER(conn, conn));
}

int fault_loopback_pair(struct fabric_device *dev, const struct fabric_qp_attr *attr_a,
			const struct fabric_qp_attr *attr_b, struct fabric_conn **conn_a,
			struct fabric_conn **conn_b)
{
	struct fabric_qp_attr inner_a = inner_attr(attr_a), inner_b = inner_attr(attr_b);
	struct fault_fabric *f = fault_of_device(dev);
	struct fault_conn *a = conn_new(f, NULL, NULL), *b = conn_new(f, NULL, NULL);
	struct fabric_conn *ia, *ib;
	int rc = !a || !b ? -ENOMEM : fault_may_fail(f, FAULT_CREATE);

	if (rc == 0)
		rc = fabric_loopback_pair(FAULT_INNER(device, dev), &inner_a, &inner_b, &ia, &ib);
	if (rc) {
		free(a);
		free(b);
		return rc;
	}
	conn_adopt(a, ia);
	conn_adopt(b, ib);
	a->cq = FAULT_OF(cq, attr_a->cq);
	b->cq = FAULT_OF(cq, attr_b->cq);
	a->has_srq = attr_a->srq;
	b->has_srq = attr_b->srq;
	*conn_a = &a->base;
	*conn_b = &b->base;
	return 0;
}
