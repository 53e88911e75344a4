// SPDX-License-Identifier: BSD-3-Clause
/*
 * Connections over librdmacm. One channel belongs to one thread, which polls it; its descriptor does
 * not block. Each event is copied out and acknowledged at once, since rdma_destroy_id() waits for
 * acknowledgements. Every id's context is its connection (or, of a listener, the listener).
 *
 *   client                                   server
 *   verbs_resolve: address, route            verbs_listen
 *     RESOLVED: queue pair, verbs_connect  → CONNECT_REQUEST: queue pair, verbs_accept
 *     ESTABLISHED                          ← (librdmacm moves the queue pairs to RTS by itself)
 *                                            ESTABLISHED, perhaps after the first message
 */
#include "fabric/verbs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/verbs_path.h"

/* Of the CM over InfiniBand: what a REJECTED event's status says (IBTA 12.6.7.2). */
#define REJ_INVALID_SERVICE_ID 8
#define REJ_STALE_CONNECTION   10
#define REJ_CONSUMER_DEFINED   28

#define RETRY_COUNT 7
/*
 * Sent in a connect or an accept it binds the peer: how often it repeats a request for which we were
 * not ready. 7 is for ever. An adapter that fetches a page on demand says "not ready", and a page may
 * take as long as the file system likes; our fence, not a counter, ends that.
 */
#define RNR_RETRY_FOR_EVER 7
#define MIN_RNR_TIMER	   12 /* 0.64 ms; librdmacm leaves 0, which is 655 ms */

/* ---- channel -------------------------------------------------------------------------------- */

int verbs_cm_open(struct fabric *f, struct fabric_cm **out)
{
	struct verbs_cm *cm = calloc(1, sizeof(*cm));
	int flags, rc;

	if (!cm)
		return -ENOMEM;
	cm->base.ops = &verbs_ops;
	cm->fabric = VERBS_OF(fabric, f);
	errno = 0;
	cm->channel = rdma_create_event_channel();
	if (!cm->channel) {
		rc = verbs_error(errno);
		goto free_cm;
	}
	cm->base.fd = cm->channel->fd;
	flags = fcntl(cm->base.fd, F_GETFL);
	if (flags < 0 || fcntl(cm->base.fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		rc = verbs_error(errno);
		goto destroy_channel;
	}
	*out = &cm->base;
	return 0;

destroy_channel:
	rdma_destroy_event_channel(cm->channel);
free_cm:
	free(cm);
	return rc;
}

void verbs_cm_close(struct fabric_cm *base)
{
	struct verbs_cm *cm = VERBS_OF(cm, base);

	rdma_destroy_event_channel(cm->channel);
	free(cm);
}

static struct fabric_device *device_of(const struct verbs_cm *cm, const struct rdma_cm_id *id)
{
	for (unsigned int i = 0; i < cm->fabric->device_count; i++)
		if (cm->fabric->devices[i].ctx == id->verbs)
			return &cm->fabric->devices[i].base;
	return NULL;
}

/* ---- listeners ------------------------------------------------------------------------------ */

int verbs_listen(struct fabric_cm *base, const struct sockaddr *addr, int backlog,
		 struct fabric_listener **out)
{
	struct verbs_cm *cm = VERBS_OF(cm, base);
	struct verbs_listener *l = calloc(1, sizeof(*l));
	int rc, v6_only = 1;

	if (!l)
		return -ENOMEM;
	l->base.ops = &verbs_ops;
	l->cm.listening = true;
	rc = verbs_cm_result(rdma_create_id(cm->channel, &l->cm.id, &l->cm, RDMA_PS_TCP));
	if (rc)
		goto free_listener;
	/* As for sockets: "::" beside 0.0.0.0 on one port. Older kernels lack it; so be it. */
	if (addr->sa_family == AF_INET6)
		(void)rdma_set_option(l->cm.id, RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY, &v6_only,
				      sizeof(v6_only));
	rc = verbs_cm_result(rdma_bind_addr(l->cm.id, (struct sockaddr *)(uintptr_t)addr));
	if (rc == 0)
		rc = verbs_cm_result(rdma_listen(l->cm.id, backlog));
	if (rc)
		goto destroy_id;
	*out = &l->base;
	return 0;

destroy_id:
	(void)rdma_destroy_id(l->cm.id);
free_listener:
	free(l);
	return rc;
}

void verbs_listener_destroy(struct fabric_listener *base)
{
	struct verbs_listener *l = VERBS_OF(listener, base);

	(void)rdma_destroy_id(l->cm.id);
	free(l);
}

static int copy_addr(const struct sockaddr *from, struct sockaddr_storage *to)
{
	size_t len;

	switch (from->sa_family) {
	case AF_INET:
		len = sizeof(struct sockaddr_in);
		break;
	case AF_INET6:
		len = sizeof(struct sockaddr_in6);
		break;
	default:
		return -ENOTCONN;
	}
	memset(to, 0, sizeof(*to));
	memcpy(to, from, len);
	return 0;
}

int verbs_listener_addr(const struct fabric_listener *base, struct sockaddr_storage *addr)
{
	return copy_addr(rdma_get_local_addr(VERBS_OF(listener, base)->cm.id), addr);
}

/* ---- connections ---------------------------------------------------------------------------- */

static struct verbs_conn *conn_new(struct rdma_cm_id *id, enum verbs_conn_state state)
{
	struct verbs_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->base.ops = &verbs_ops;
	conn->cm.id = id;
	conn->state = state;
	return conn;
}

static void conn_set_state(struct verbs_conn *conn, enum verbs_conn_state state)
{
	static const unsigned int allowed[] = {
		[VERBS_CONN_RESOLVING] = 1u << VERBS_CONN_RESOLVED | 1u << VERBS_CONN_OVER,
		[VERBS_CONN_RESOLVED] = 1u << VERBS_CONN_CONNECTING | 1u << VERBS_CONN_OVER,
		[VERBS_CONN_CONNECTING] = 1u << VERBS_CONN_ESTABLISHED | 1u << VERBS_CONN_OVER,
		[VERBS_CONN_REQUESTED] = 1u << VERBS_CONN_ACCEPTED | 1u << VERBS_CONN_OVER,
		[VERBS_CONN_ACCEPTED] = 1u << VERBS_CONN_ESTABLISHED | 1u << VERBS_CONN_OVER,
		[VERBS_CONN_ESTABLISHED] = 1u << VERBS_CONN_OVER,
		[VERBS_CONN_OVER] = 0,
	};

	assert(allowed[conn->state] & 1u << state);
	conn->state = state;
}

int verbs_resolve(struct fabric_cm *base, const struct sockaddr *dst, unsigned int timeout_ms,
		  void *user, struct fabric_conn **out)
{
	struct verbs_cm *cm = VERBS_OF(cm, base);
	struct verbs_conn *conn = conn_new(NULL, VERBS_CONN_RESOLVING);
	int rc;

	if (!conn)
		return -ENOMEM;
	conn->base.user = user;
	conn->timeout_ms = timeout_ms / 2; /* address and route take one each */
	rc = verbs_cm_result(rdma_create_id(cm->channel, &conn->cm.id, &conn->cm, RDMA_PS_TCP));
	if (rc)
		goto free_conn;
	rc = verbs_cm_result(rdma_resolve_addr(conn->cm.id, NULL, (struct sockaddr *)(uintptr_t)dst,
					       (int)conn->timeout_ms));
	if (rc)
		goto destroy_id;
	*out = &conn->base;
	return 0;

destroy_id:
	(void)rdma_destroy_id(conn->cm.id);
free_conn:
	free(conn);
	return rc;
}

static uint8_t min_depth(const struct verbs_conn *conn, uint8_t a, uint8_t b)
{
	uint32_t device = conn->base.device->info.max_read_depth;
	uint8_t depth = a < b ? a : b;

	return depth < device ? depth : (uint8_t)device;
}

static struct rdma_conn_param cm_param(const struct verbs_conn *conn,
				       const struct fabric_conn_param *param)
{
	return (struct rdma_conn_param){
		.private_data = param->private_data,
		.private_data_len = param->private_data_len,
		.responder_resources = conn->responder_resources,
		.initiator_depth = conn->initiator_depth,
		.retry_count = RETRY_COUNT,
		.rnr_retry_count = RNR_RETRY_FOR_EVER,
	};
}

int verbs_connect(struct fabric_conn *base, const struct fabric_conn_param *param)
{
	struct verbs_conn *conn = verbs_conn(base);
	struct rdma_conn_param p;
	int rc;

	if (conn->state != VERBS_CONN_RESOLVED || !conn->qp)
		return -EINVAL;
	conn->responder_resources = min_depth(conn, param->responder_resources, UINT8_MAX);
	conn->initiator_depth = min_depth(conn, param->initiator_depth, UINT8_MAX);
	p = cm_param(conn, param);
	conn->may_take = conn->has_srq;
	rc = verbs_cm_result(rdma_connect(conn->cm.id, &p));
	if (rc == 0)
		conn_set_state(conn, VERBS_CONN_CONNECTING);
	return rc;
}

/* Fails harmlessly on a queue pair that was fenced meanwhile. */
static void shorten_rnr_timer(struct verbs_conn *conn)
{
	struct ibv_qp_attr attr = {.min_rnr_timer = MIN_RNR_TIMER};

	if (conn->base.device->info.transport == FABRIC_TRANSPORT_IB)
		(void)ibv_modify_qp(conn->qp, &attr, IBV_QP_MIN_RNR_TIMER);
}

int verbs_accept(struct fabric_conn *base, const struct fabric_conn_param *param)
{
	struct verbs_conn *conn = verbs_conn(base);
	struct rdma_conn_param p;
	int rc;

	if (conn->state == VERBS_CONN_OVER)
		return -ENOTCONN;
	if (conn->state != VERBS_CONN_REQUESTED || !conn->qp)
		return -EINVAL;
	/* They hold what the peer asked for. */
	conn->responder_resources =
		min_depth(conn, conn->responder_resources, param->responder_resources);
	conn->initiator_depth = min_depth(conn, conn->initiator_depth, param->initiator_depth);
	p = cm_param(conn, param);
	conn->may_take = conn->has_srq;
	rc = verbs_cm_result(rdma_accept(conn->cm.id, &p));
	if (rc)
		return rc;
	conn_set_state(conn, VERBS_CONN_ACCEPTED);
	shorten_rnr_timer(conn);
	return 0;
}

int verbs_reject(struct fabric_conn *base, const void *private_data, uint8_t len)
{
	struct verbs_conn *conn = verbs_conn(base);
	int rc;

	if (conn->state == VERBS_CONN_OVER)
		return -ENOTCONN;
	if (conn->state != VERBS_CONN_REQUESTED)
		return -EINVAL;
	rc = verbs_cm_result(rdma_reject(conn->cm.id, private_data, len));
	conn_set_state(conn, VERBS_CONN_OVER);
	return rc;
}

int verbs_disconnect(struct fabric_conn *base)
{
	struct verbs_conn *conn = verbs_conn(base);
	int rc = verbs_conn_fence(base);

	if (conn->cm.id &&
	    (conn->state == VERBS_CONN_ACCEPTED || conn->state == VERBS_CONN_ESTABLISHED))
		(void)rdma_disconnect(conn->cm.id); /* the peer may have been first */
	return rc;
}

void verbs_conn_destroy(struct fabric_conn *base)
{
	struct verbs_conn *conn = verbs_conn(base);

	verbs_qp_destroy(conn);
	/* Disconnects, or rejects what was not answered. */
	if (conn->cm.id)
		(void)rdma_destroy_id(conn->cm.id);
	if (conn->loop)
		verbs_loop_put(conn->loop);
	free(conn);
}

int verbs_conn_peer(const struct fabric_conn *base, struct sockaddr_storage *addr)
{
	struct verbs_conn *conn = verbs_conn(base);

	return conn->cm.id ? copy_addr(rdma_get_peer_addr(conn->cm.id), addr) : -ENOTCONN;
}

int verbs_conn_local(const struct fabric_conn *base, struct sockaddr_storage *addr)
{
	struct verbs_conn *conn = verbs_conn(base);

	return conn->cm.id ? copy_addr(rdma_get_local_addr(conn->cm.id), addr) : -ENOTCONN;
}

/* The queue pair sends on this path: who forges it in a request has our answers go elsewhere. */
bool verbs_conn_returns(const struct fabric_conn *base)
{
	const struct fabric_device_info *info = &base->device->info;
	const struct rdma_cm_id *id = verbs_conn(base)->cm.id;
	const struct ibv_sa_path_rec *path;

	if (info->transport == FABRIC_TRANSPORT_IWARP)
		return true;
	if (!id || id->route.num_paths == 0)
		return false;
	path = &id->route.path_rec[0];
	return verbs_ends_are_one(&(struct verbs_end){path->sgid.raw, path->slid},
				  &(struct verbs_end){path->dgid.raw, path->dlid}, !info->ethernet);
}

bool verbs_conn_taken(const struct fabric_conn *base)
{
	(void)base; /* the handshake is the kernel's, as a whole */
	return false;
}

const char *verbs_conn_breach(const struct fabric_conn *base)
{
	(void)base; /* the adapter keeps it to itself */
	return NULL;
}

unsigned int verbs_conn_read_depth(const struct fabric_conn *base)
{
	return verbs_conn(base)->initiator_depth;
}

/* ---- events --------------------------------------------------------------------------------- */

/* Each handler fills the event and returns whether the user gets it. */

static bool fail(struct verbs_conn *conn, struct fabric_cm_event *event, int error)
{
	enum verbs_conn_state was = conn->state;

	if (was == VERBS_CONN_OVER)
		return false;
	conn_set_state(conn, VERBS_CONN_OVER);
	(void)verbs_conn_fence(&conn->base);
	if (was == VERBS_CONN_RESOLVING || was == VERBS_CONN_RESOLVED ||
	    was == VERBS_CONN_CONNECTING) {
		event->type = FABRIC_CM_FAILED;
		event->error = error;
	} else {
		event->type = FABRIC_CM_DISCONNECTED;
	}
	return true;
}

/* The kernel's status of a failed step: an errno, of either sign, or a number of the CM's. */
static int step_error(int status, int otherwise)
{
	if (status == 0)
		return otherwise;
	return status == -1 ? verbs_error(errno) : -abs(status);
}

static bool on_addr_resolved(struct verbs_conn *conn, struct fabric_cm_event *event)
{
	int rc = verbs_cm_result(rdma_resolve_route(conn->cm.id, (int)conn->timeout_ms));

	return rc ? fail(conn, event, rc) : false;
}

static bool on_route_resolved(struct verbs_cm *cm, struct verbs_conn *conn,
			      struct fabric_cm_event *event)
{
	conn->base.device = device_of(cm, conn->cm.id);
	if (!conn->base.device)
		return fail(conn, event, -ENODEV); /* plugged in after we opened */
	conn_set_state(conn, VERBS_CONN_RESOLVED);
	event->type = FABRIC_CM_RESOLVED;
	return true;
}

static void copy_private_data(const struct rdma_conn_param *param, struct fabric_cm_event *event)
{
	if (!param->private_data)
		return;
	event->private_data_len = param->private_data_len;
	memcpy(event->private_data, param->private_data, param->private_data_len);
}

/* Rejects it when it is acknowledged, see verbs_cm_poll(). */
static bool show_out(const struct rdma_cm_event *from, struct verbs_listener *listener,
		     struct fabric_cm_event *event, const char *why)
{
	event->type = FABRIC_CM_SHOWN_OUT;
	event->listener = &listener->base;
	event->error = -ENOBUFS;
	(void)copy_addr(rdma_get_peer_addr(from->id), &event->peer);
	(void)snprintf(event->why, sizeof(event->why), "%s", why);
	return true;
}

static bool on_connect_request(struct verbs_cm *cm, struct rdma_cm_event *from,
			       struct fabric_cm_event *event)
{
	struct verbs_listener *listener =
		container_of(from->listen_id->context, struct verbs_listener, cm);
	struct verbs_conn *conn = conn_new(from->id, VERBS_CONN_REQUESTED);

	if (!conn)
		return show_out(from, listener, event, "out of memory");
	conn->base.device = device_of(cm, from->id);
	if (!conn->base.device) {
		free(conn);
		return show_out(from, listener, event,
				"it came by an adapter that was not there at the start");
	}
	from->id->context = &conn->cm;
	conn->responder_resources = from->param.conn.responder_resources;
	conn->initiator_depth = from->param.conn.initiator_depth;
	event->type = FABRIC_CM_CONNECT_REQUEST;
	event->conn = &conn->base;
	event->listener = &listener->base;
	event->responder_resources = conn->responder_resources;
	event->initiator_depth = conn->initiator_depth;
	copy_private_data(&from->param.conn, event);
	return true;
}

static bool on_established(struct verbs_conn *conn, const struct rdma_cm_event *from,
			   struct fabric_cm_event *event)
{
	if (conn->state == VERBS_CONN_CONNECTING) {
		const struct rdma_conn_param *p = &from->param.conn;

		/* From here the peer's view: its answer. Some iWARP kernels leave it zero. */
		if (p->initiator_depth > 0 ||
		    conn->base.device->info.transport == FABRIC_TRANSPORT_IB)
			conn->initiator_depth =
				min_depth(conn, conn->initiator_depth, p->initiator_depth);
		if (p->responder_resources > 0)
			conn->responder_resources =
				min_depth(conn, conn->responder_resources, p->responder_resources);
		copy_private_data(p, event);
		shorten_rnr_timer(conn);
	} else if (conn->state != VERBS_CONN_ACCEPTED) {
		return false;
	}
	conn_set_state(conn, VERBS_CONN_ESTABLISHED);
	event->type = FABRIC_CM_ESTABLISHED;
	event->responder_resources = conn->responder_resources;
	event->initiator_depth = conn->initiator_depth;
	return true;
}

static bool on_rejected(struct verbs_conn *conn, const struct rdma_cm_event *from,
			struct fabric_cm_event *event)
{
	bool by_user = from->status == REJ_CONSUMER_DEFINED;

	/* iWARP has one status for a closed port and for a refusal; only the latter carries data. */
	if (conn->base.device->info.transport == FABRIC_TRANSPORT_IWARP)
		by_user = from->param.conn.private_data_len > 0;
	if (!by_user)
		return fail(conn, event,
			    from->status == REJ_STALE_CONNECTION ? -EAGAIN : -ECONNREFUSED);
	if (conn->state != VERBS_CONN_CONNECTING)
		return fail(conn, event, -ECONNREFUSED);
	conn_set_state(conn, VERBS_CONN_OVER);
	(void)verbs_conn_fence(&conn->base);
	copy_private_data(&from->param.conn, event);
	event->type = FABRIC_CM_REJECTED;
	return true;
}

static bool on_disconnected(struct verbs_conn *conn, struct fabric_cm_event *event)
{
	if (conn->state != VERBS_CONN_OVER && conn->qp)
		(void)rdma_disconnect(conn->cm.id); /* answers, so that the peer need not wait */
	return fail(conn, event, -ECONNRESET);
}

static bool translate(struct verbs_cm *cm, struct rdma_cm_event *from,
		      struct fabric_cm_event *event)
{
	struct verbs_id *id = from->id->context;
	struct verbs_conn *conn;

	if (from->event == RDMA_CM_EVENT_CONNECT_REQUEST)
		return on_connect_request(cm, from, event);
	if (id->listening) {
		event->type = FABRIC_CM_DEVICE_GONE;
		event->listener = &container_of(id, struct verbs_listener, cm)->base;
		return from->event == RDMA_CM_EVENT_DEVICE_REMOVAL;
	}
	conn = container_of(id, struct verbs_conn, cm);
	event->conn = &conn->base;
	switch (from->event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		return on_addr_resolved(conn, event);
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		return on_route_resolved(cm, conn, event);
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
		return fail(conn, event, step_error(from->status, -EHOSTUNREACH));
	case RDMA_CM_EVENT_UNREACHABLE:
		return fail(conn, event, step_error(from->status, -ETIMEDOUT));
	case RDMA_CM_EVENT_CONNECT_ERROR:
		return fail(conn, event, step_error(from->status, -ECONNABORTED));
	case RDMA_CM_EVENT_REJECTED:
		return on_rejected(conn, from, event);
	case RDMA_CM_EVENT_ESTABLISHED:
		return on_established(conn, from, event);
	case RDMA_CM_EVENT_DISCONNECTED:
		return on_disconnected(conn, event);
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		event->type = FABRIC_CM_DEVICE_GONE;
		(void)verbs_conn_fence(&conn->base);
		return true;
	default:
		return false; /* TIMEWAIT_EXIT, ADDR_CHANGE: nothing anyone waits for */
	}
}

int verbs_cm_poll(struct fabric_cm *base, struct fabric_cm_event *event)
{
	struct verbs_cm *cm = VERBS_OF(cm, base);
	struct rdma_cm_event *from;

	for (;;) {
		struct rdma_cm_id *orphan = NULL;
		bool wanted;

		if (rdma_get_cm_event(cm->channel, &from) != 0) {
			if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
				return 0;
			return verbs_error(errno);
		}
		memset(event, 0, offsetof(struct fabric_cm_event, private_data));
		wanted = translate(cm, from, event);
		if (wanted && event->type == FABRIC_CM_SHOWN_OUT)
			orphan = from->id;
		(void)rdma_ack_cm_event(from);
		if (orphan)
			(void)rdma_destroy_id(orphan); /* rejects */
		if (wanted)
			return 1;
	}
}
