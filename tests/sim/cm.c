// SPDX-License-Identifier: BSD-3-Clause
/* The simulated fabric: channels, listeners, connections and their ends. */
#include "fabric.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct sim_cm_event {
	struct list link;
	struct fabric_cm_event event;
};

/* ---- events ---- */

struct arrival {
	struct sim_conn *conn;
	struct fabric_cm_event event;
};

static void drop_events(struct sim_cm *cm, const struct fabric_conn *conn)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &cm->events) {
		struct sim_cm_event *e = list_entry(l, struct sim_cm_event, link);

		if (e->event.conn != conn)
			continue;
		list_del(l);
		free(e);
	}
}

static void deliver(struct sim_cm *cm, const struct fabric_cm_event *event)
{
	struct sim_cm_event *e = calloc(1, sizeof(*e));

	assert(e);
	e->event = *event;
	list_push(&cm->events, &e->link);
	if (cm->owner)
		co_wake(cm->owner);
	else
		sim_fd_kick(cm->base.fd);
}

static void arrive(void *arg)
{
	struct arrival *a = arg;
	struct sim_conn *c = a->conn;
	bool wanted = !c->destroyed && c->state != CONN_OVER;

	switch (a->event.type) {
	case FABRIC_CM_ESTABLISHED:
		if (wanted && (c->server || c->state == CONN_CONNECTING)) {
			c->state = CONN_OPEN;
			deliver(c->cm, &a->event);
		}
		break;
	case FABRIC_CM_DISCONNECTED:
		if (!wanted || c->told)
			break;
		c->told = true;
		if (c->has_qp)
			conn_break(c);
		if (!c->server && c->state != CONN_OPEN) {
			a->event.type = FABRIC_CM_FAILED;
			a->event.error = -ECONNREFUSED;
		}
		c->state = CONN_OVER;
		deliver(c->cm, &a->event);
		break;
	default:
		if (a->event.type == FABRIC_CM_REJECTED || a->event.type == FABRIC_CM_FAILED)
			c->state = CONN_OVER;
		if (!c->destroyed)
			deliver(c->cm, &a->event);
	}
	free(a);
	conn_put(c);
}

static void send_event(struct sim_conn *c, const struct fabric_cm_event *event)
{
	struct arrival *a = calloc(1, sizeof(*a));

	assert(a);
	*a = (struct arrival){.conn = c, .event = *event};
	a->event.conn = &c->base;
	c->refs++;
	sim_after(1000 + sim_delay(4 * w.wire_ns), arrive, a);
}

static void send_simple(struct sim_conn *c, enum fabric_cm_type type, int error)
{
	struct fabric_cm_event event = {.type = type, .error = error};

	send_event(c, &event);
}

int sim_cm_open(struct fabric *f, struct fabric_cm **cm)
{
	struct sim_cm *c = calloc(1, sizeof(*c));

	(void)f;
	assert(c);
	c->base = (struct fabric_cm){.ops = sf.base.ops, .fd = sim_fd_new()};
	list_init(&c->events);
	sf.objects++;
	*cm = &c->base;
	return 0;
}

void sim_cm_close(struct fabric_cm *cm)
{
	struct list *l;

	/* Who asked, and nobody knows of. */
	while ((l = list_pop(&OF(cm, cm)->events))) {
		struct sim_cm_event *e = list_entry(l, struct sim_cm_event, link);

		if (e->event.type == FABRIC_CM_CONNECT_REQUEST)
			sim_conn_destroy(e->event.conn);
		free(e);
	}
	assert(OF(cm, cm)->objects == 0 && list_empty(&OF(cm, cm)->events));
	sf.objects--;
	free(OF(cm, cm));
}

void sim_cm_owner(struct fabric_cm *cm, struct co *co)
{
	OF(cm, cm)->owner = co;
}

int sim_cm_poll(struct fabric_cm *base, struct fabric_cm_event *event)
{
	struct sim_cm *cm = OF(cm, base);
	struct list *l = list_pop(&cm->events);

	if (!l)
		return 0;
	*event = list_entry(l, struct sim_cm_event, link)->event;
	free(list_entry(l, struct sim_cm_event, link));
	return 1;
}

/* ---- listeners ---- */

int sim_listen(struct fabric_cm *cm, const struct sockaddr *addr, int backlog,
	       struct fabric_listener **listener)
{
	struct sim_listener *l = calloc(1, sizeof(*l));

	(void)addr;
	(void)backlog;
	assert(l);
	l->base.ops = sf.base.ops;
	l->cm = OF(cm, cm);
	l->cm->objects++;
	list_push(&sf.listeners, &l->link);
	sf.objects++;
	*listener = &l->base;
	return 0;
}

void sim_listener_destroy(struct fabric_listener *listener)
{
	struct sim_listener *l = OF(listener, listener);

	list_del(&l->link);
	l->cm->objects--;
	sf.objects--;
	free(l);
}

static void any_addr(struct sockaddr_storage *addr)
{
	struct sockaddr_in *in = (struct sockaddr_in *)addr;

	memset(addr, 0, sizeof(*addr));
	in->sin_family = AF_INET;
	in->sin_port = htons(SIM_PORT);
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

int sim_listener_addr(const struct fabric_listener *listener, struct sockaddr_storage *addr)
{
	(void)listener;
	any_addr(addr);
	return 0;
}

/* ---- connections ---- */

static struct sim_conn *conn_new(struct sim_cm *cm, bool server)
{
	struct sim_conn *c = calloc(1, sizeof(*c));

	assert(c);
	c->base = (struct fabric_conn){.ops = sf.base.ops, .device = &sf.device};
	c->server = server;
	c->cm = cm;
	c->refs = 1;
	list_init(&c->recvs);
	list_init(&c->sends);
	list_init(&c->inbox);
	list_push(&sf.conns, &c->link);
	cm->objects++;
	sf.objects++;
	return c;
}

int sim_resolve(struct fabric_cm *cm, const struct sockaddr *dst, unsigned int timeout_ms,
		void *user, struct fabric_conn **conn)
{
	struct sim_conn *c = conn_new(OF(cm, cm), false);

	(void)dst;
	(void)timeout_ms;
	c->base.user = user;
	c->id = ++sf.next_id;
	send_simple(c, FABRIC_CM_RESOLVED, 0);
	*conn = &c->base;
	return 0;
}

int sim_qp_create(struct fabric_conn *base, const struct fabric_qp_attr *attr)
{
	struct sim_conn *c = OF(conn, base);

	if (c->server && fabric_fault(20))
		return -ENOMEM;
	if (c->server && c->told)
		return -ENOTCONN;
	c->has_qp = true;
	c->attr = *attr;
	c->pd = OF(pd, attr->pd);
	c->cq = OF(cq, attr->cq);
	c->pd->objects++;
	if (c->server && c->client && c->client->direct)
		c->pd->client = c->client;
	return 0;
}

static void request(void *arg)
{
	struct arrival *a = arg;
	struct sim_conn *c = a->conn, *server;
	struct sim_listener *l;

	if (c->destroyed || c->state == CONN_OVER)
		goto over;
	if (list_empty(&sf.listeners)) {
		send_simple(c, FABRIC_CM_FAILED, -ECONNREFUSED);
		goto over;
	}
	l = list_entry(sf.listeners.next, struct sim_listener, link);
	server = conn_new(l->cm, true);
	server->id = c->id;
	server->client = c->client;
	server->peer = c;
	c->peer = server;
	c->refs++;
	server->refs++;
	server->read_depth = a->event.responder_resources;
	a->event.type = FABRIC_CM_CONNECT_REQUEST;
	a->event.conn = &server->base;
	a->event.listener = &l->base;
	deliver(l->cm, &a->event);
over:
	free(a);
	conn_put(c);
}

int sim_connect(struct fabric_conn *base, const struct fabric_conn_param *param)
{
	struct sim_conn *c = OF(conn, base);
	struct arrival *a = calloc(1, sizeof(*a));

	assert(a && c->has_qp && c->state == CONN_NEW);
	c->state = CONN_CONNECTING;
	c->refs++;
	a->conn = c;
	a->event.responder_resources = param->responder_resources;
	a->event.initiator_depth = param->initiator_depth;
	a->event.private_data_len = param->private_data_len;
	memcpy(a->event.private_data, param->private_data, param->private_data_len);
	sim_after(1000 + sim_delay(2 * w.wire_ns), request, a);
	return 0;
}

int sim_accept(struct fabric_conn *base, const struct fabric_conn_param *param)
{
	struct sim_conn *c = OF(conn, base);
	struct fabric_cm_event event = {
		.type = FABRIC_CM_ESTABLISHED,
		.private_data_len = param->private_data_len,
	};

	if (fabric_fault(10))
		return -ENOMEM;
	if (c->told || c->error)
		return -ENOTCONN;
	memcpy(event.private_data, param->private_data, param->private_data_len);
	c->accepted = true;
	c->state = CONN_CONNECTING;
	send_event(c->peer, &event);
	/* Its first message may overtake our own event. */
	c->state = CONN_OPEN;
	event.private_data_len = 0;
	send_event(c, &event);
	return 0;
}

int sim_reject(struct fabric_conn *base, const void *private_data, uint8_t len)
{
	struct sim_conn *c = OF(conn, base);
	struct fabric_cm_event event = {.type = FABRIC_CM_REJECTED, .private_data_len = len};

	memcpy(event.private_data, private_data, len);
	c->told = true; /* nothing more is said about it */
	if (c->peer)
		send_event(c->peer, &event);
	c->state = CONN_OVER;
	return 0;
}

static void tell_peer(struct sim_conn *c)
{
	if (c->peer && !c->peer->destroyed)
		send_simple(c->peer, FABRIC_CM_DISCONNECTED, 0);
}

int sim_disconnect(struct fabric_conn *base)
{
	struct sim_conn *c = OF(conn, base);

	if (c->has_qp)
		conn_break(c);
	tell_peer(c);
	return 0;
}

int sim_conn_fence(struct fabric_conn *base)
{
	struct sim_conn *c = OF(conn, base);

	if (c->has_qp && !c->error) {
		sim_log("connection %llu is fenced", (unsigned long long)c->id);
		conn_break(c);
		tell_peer(c);
	}
	return 0;
}

void sim_conn_destroy(struct fabric_conn *base)
{
	struct sim_conn *c = OF(conn, base);

	fabric_check_unbound(c);
	if (c->has_qp)
		conn_break(c);
	tell_peer(c);
	if (c->has_qp) {
		cq_forget(c->cq, base);
		c->pd->objects--;
	}
	c->destroyed = true;
	if (c->server)
		oracle_conn_dead(c->id);
	drop_events(c->cm, base);
	c->cm->objects--;
	list_del(&c->link);
	sf.objects--;
	if (c->peer) {
		struct sim_conn *peer = c->peer;

		c->peer = NULL;
		conn_put(peer);
	}
	conn_put(c);
}

int sim_conn_addr(const struct fabric_conn *conn, struct sockaddr_storage *addr)
{
	(void)conn;
	any_addr(addr);
	return 0;
}

bool sim_conn_returns(const struct fabric_conn *base)
{
	(void)base; /* there is but one machine */
	return true;
}

bool sim_conn_taken(const struct fabric_conn *base)
{
	(void)base; /* a request is answered, or it never came */
	return false;
}

const char *sim_conn_breach(const struct fabric_conn *base)
{
	(void)base; /* whoever is on it keeps its rules */
	return NULL;
}

unsigned int sim_conn_read_depth(const struct fabric_conn *base)
{
	return OF(conn, base)->read_depth;
}

void sim_conn_owner(struct fabric_conn *conn, struct client *client)
{
	OF(conn, conn)->client = client;
}

uint64_t sim_conn_id(const struct fabric_conn *conn)
{
	return OF(conn, conn)->id;
}
