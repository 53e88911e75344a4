// SPDX-License-Identifier: BSD-3-Clause
/*
 * Listeners and connection events. Control loop. A connection request is checked here, a queue of
 * the right kind is made for it or it is rejected with the standard's code; all else is passed to
 * its queue.
 */
#include "nvme/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "nvme/controller.h"
#include "nvme/direct_queue.h"
#include "nvme/discovery.h"
#include "util/log.h"

#define LISTEN_BACKLOG	128
#define EVENTS_PER_TURN 64 /* then it is others' turn: strangers come as fast as they like */

DEFINE_COUNTER(connects, "nvme_connects", "Connection requests that were taken up");

void address_format(const struct sockaddr_storage *addr, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (addr->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;

		(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		(void)snprintf(text, size, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)addr;

		(void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		(void)snprintf(text, size, "%s:%u", host, ntohs(in->sin_port));
	}
}

static void reject(struct cm_channel *channel, const struct fabric_cm_event *event, bool direct,
		   uint16_t code, const char *why)
{
	/* The two kinds have the same layout; the record format tells them apart. */
	struct lh_cm_reject data = {
		.recfmt = htole16(direct ? LH_CM_RECFMT : 0),
		.status = htole16(code),
	};

	refusal_of_request(fabric_listener_user(event->listener), event->conn, direct, code, why);
	queue_reject(channel->target, channel, event->conn, &data, sizeof(data));
}

static void connect_request(struct cm_channel *channel, const struct fabric_cm_event *event)
{
	struct nvme_target *t = channel->target;
	struct cm_request request;
	uint16_t code = cm_request_parse(event->private_data, event->private_data_len, &request);

	t->no_queue = NULL;
	/* Nobody is there yet, and nobody who tries is to think otherwise. */
	if (t->shut) {
		refusal_of_request(fabric_listener_user(event->listener), event->conn,
				   request.direct,
				   request.direct ? LH_CM_NO_RESOURCES : NVMF_RDMA_CM_NO_RESOURCES,
				   "the daemon is being started");
		queue_reject(t, channel, event->conn, NULL, 0);
		return;
	}
	if (event->error) {
		code = request.direct ? LH_CM_BAD_FORMAT : NVMF_RDMA_CM_INVALID_RECFMT;
		t->no_queue = fabric_refusal_text(event->error);
	} else if (!code && (t->stopping || t->nr_queues >= t->env.limits.max_connections)) {
		code = request.direct ? LH_CM_NO_RESOURCES : NVMF_RDMA_CM_NO_RESOURCES;
		t->no_queue = t->stopping ? "the daemon is being stopped"
					  : "there are limits.max_connections already";
	}
	if (!code) {
		code = request.direct ? direct_queue_new(t, channel, event, &request)
				      : nvme_queue_new(t, channel, event, &request);
	}
	if (code)
		reject(channel, event, request.direct, code, t->no_queue);
	else
		counter_add(&connects, 1);
}

static void device_gone(struct nvme_target *t, struct cm_channel *channel)
{
	struct list *l;

	log_error("an adapter of fabric %s has gone", fabric_name(channel->fabric));
	list_for_each (l, &t->queues) {
		struct queue *q = list_entry(l, struct queue, link);

		if (q->channel == channel)
			queue_stop(q, "its adapter has gone");
	}
}

static void channel_event(struct cm_channel *channel, const struct fabric_cm_event *event)
{
	struct queue *q = event->conn ? fabric_conn_user(event->conn) : NULL;

	switch (event->type) {
	case FABRIC_CM_CONNECT_REQUEST:
		connect_request(channel, event);
		break;
	case FABRIC_CM_SHOWN_OUT:
		refusal_of_stranger(fabric_listener_user(event->listener), event);
		break;
	case FABRIC_CM_ESTABLISHED:
		if (q)
			queue_established(q);
		break;
	case FABRIC_CM_DISCONNECTED:
	case FABRIC_CM_REJECTED:
	case FABRIC_CM_FAILED:
		if (q)
			queue_disconnected(q);
		break;
	case FABRIC_CM_DEVICE_GONE:
		if (q)
			queue_stop(q, "its adapter has gone");
		else
			device_gone(channel->target, channel);
		break;
	case FABRIC_CM_RESOLVED: /* a client's */
		break;
	}
}

void channel_watch(struct cm_channel *channel, uint32_t events)
{
	int err = loop_mod_fd(channel->target->env.control, &channel->lfd, events);

	/* The descriptor is in the loop: nothing can be wrong with it. */
	assert(!err);
}

static void channel_ready(struct loop_fd *lfd, uint32_t events)
{
	struct cm_channel *channel = container_of(lfd, struct cm_channel, lfd);
	struct fabric_cm_event event;
	int n = 1;

	(void)events;
	/*
	 * The registrar may be destroying a connection: events are left alone until it is done, lest
	 * one be about that connection (fabric_conn_destroy()).
	 */
	for (unsigned int i = 0; i < EVENTS_PER_TURN && channel->destroying == 0; i++) {
		n = fabric_cm_poll(channel->cm, &event);
		if (n != 1)
			break;
		channel_event(channel, &event);
	}
	if (n < 0) {
		log_error("connection events of fabric %s: error %d; no more are taken",
			  fabric_name(channel->fabric), -n);
		channel_watch(channel, 0);
		return;
	}
	if (channel->destroying > 0 && !channel->resting) {
		channel->resting = true;
		channel_watch(channel, 0);
	}
}

void nvme_target_admit(struct nvme_target *t, bool hosts)
{
	assert(loop_is_current(t->env.control));
	t->shut = !hosts;
}

/* ---- listeners -------------------------------------------------------------------------------- */

static int channel_new(struct nvme_target *t, struct fabric *f, struct cm_channel **channel)
{
	struct cm_channel *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->target = t;
	c->fabric = f;
	err = fabric_cm_open(f, &c->cm);
	if (err)
		goto free_memory;
	c->lfd = (struct loop_fd){.fd = fabric_cm_fd(c->cm), .fn = channel_ready};
	err = loop_add_fd(t->env.control, &c->lfd, EPOLLIN);
	if (err)
		goto close_cm;
	list_push(&t->channels, &c->link);
	*channel = c;
	return 0;

close_cm:
	fabric_cm_close(c->cm);
free_memory:
	free(c);
	return err;
}

static int channel_of(struct nvme_target *t, struct fabric *f, struct cm_channel **channel)
{
	struct list *l;

	list_for_each (l, &t->channels) {
		struct cm_channel *c = list_entry(l, struct cm_channel, link);

		if (c->fabric == f) {
			*channel = c;
			return 0;
		}
	}
	return channel_new(t, f, channel);
}

static int listen_error(int err, const char *text, const struct fabric *f, struct errtext *e)
{
	switch (err) {
	case -EADDRINUSE:
		return errtext_set(
			e, err,
			"cannot listen on %s: the port is in use; stop the other program "
			"or choose another port",
			text);
	case -EADDRNOTAVAIL:
		return errtext_set(e, err, "cannot listen on %s: this machine has no such address",
				   text);
	case -ENODEV:
		return errtext_set(e, err,
				   "cannot listen on %s: no RDMA device serves this address; check "
				   "'rdma link', or use the software fabric",
				   text);
	default:
		return errtext_set(e, err, "cannot listen on %s with fabric %s: error %d", text,
				   fabric_name(f), -err);
	}
}

static int may_listen(const struct nvme_target *t, struct errtext *err)
{
	unsigned int n = 0;
	struct list *l;

	list_for_each (l, &t->listeners)
		n++;
	if (t->stopping)
		return errtext_set(err, -ESHUTDOWN, "cannot listen: the daemon is being stopped");
	if (n >= NVME_MAX_LISTENERS)
		return errtext_set(err, -ENOSPC,
				   "cannot listen: there are %d listeners, more cannot be",
				   NVME_MAX_LISTENERS);
	/* Hosts may remember a number, so it is one listener's. */
	if (t->last_portid >= NVME_MAX_PORTID)
		return errtext_set(
			err, -ENOSPC,
			"cannot listen: every port id up to %d was used since the daemon "
			"started; restart it",
			NVME_MAX_PORTID);
	return 0;
}

int nvme_target_listen(struct nvme_target *t, struct fabric *f, const struct sockaddr *addr,
		       const struct nvme_listen_options *options, struct errtext *err)
{
	struct nvme_listener *l = calloc(1, sizeof(*l));
	struct sockaddr_storage ss = {0};
	int rc;

	assert(loop_is_current(t->env.control));
	if (!l)
		return errtext_set(err, -ENOMEM, "cannot listen: out of memory");
	l->options = *options;
	ana_init(&l->ana, options);
	rc = may_listen(t, err);
	if (rc) {
		free(l);
		return rc;
	}
	rc = channel_of(t, f, &l->channel);
	if (rc) {
		free(l);
		return errtext_set(err, rc,
				   "cannot listen: fabric %s has no connection events (error %d)",
				   fabric_name(f), -rc);
	}
	rc = fabric_listen(l->channel->cm, addr, LISTEN_BACKLOG, l, &l->listener);
	if (rc) {
		char text[ADDRESS_BYTES];

		if (addr->sa_family == AF_INET6)
			*(struct sockaddr_in6 *)&ss = *(const struct sockaddr_in6 *)addr;
		else
			*(struct sockaddr_in *)&ss = *(const struct sockaddr_in *)addr;
		address_format(&ss, text, sizeof(text));
		free(l);
		return listen_error(rc, text, f, err);
	}
	if (fabric_listener_addr(l->listener, &l->bound) == 0)
		address_format(&l->bound, l->address, sizeof(l->address));
	l->portid = ++t->last_portid;
	list_push(&t->listeners, &l->link);
	discovery_changed(t);
	return 0;
}

void listener_get(struct nvme_listener *listener)
{
	listener->users++;
}

void listener_put(struct nvme_listener *listener)
{
	assert(listener->users > 0);
	if (--listener->users > 0 || listener->listener)
		return;
	list_del(&listener->link);
	free(listener);
}

/* What is left of it goes with its last user. */
static void close_listener(struct nvme_listener *listener)
{
	struct nvme_target *t = listener->channel->target;

	fabric_listener_destroy(listener->listener);
	listener->listener = NULL;
	list_del(&listener->link);
	list_push(&t->closed_listeners, &listener->link);
}

static struct nvme_listener *find_in(struct list *listeners, uint16_t portid)
{
	struct list *l;

	list_for_each (l, listeners) {
		struct nvme_listener *listener = list_entry(l, struct nvme_listener, link);

		if (listener->portid == portid)
			return listener;
	}
	return NULL;
}

struct nvme_listener *listener_find(struct nvme_target *t, uint16_t portid)
{
	struct nvme_listener *listener = find_in(&t->listeners, portid);

	return listener ? listener : find_in(&t->closed_listeners, portid);
}

static void disconnect_all(struct nvme_target *t, const struct nvme_listener *listener)
{
	static const char why[] = "its listener was removed";
	struct list *l;

	list_for_each (l, &t->controllers) {
		struct controller *c = list_entry(l, struct controller, link);

		if (c->listener == listener)
			controller_kill(c, why);
	}
	/* And those that are of no controller yet. */
	list_for_each (l, &t->queues) {
		struct queue *q = list_entry(l, struct queue, link);

		if (queue_is_nvme(q) && nvme_queue_of(q)->listener == listener)
			queue_stop(q, why);
	}
}

int nvme_target_unlisten(struct nvme_target *t, uint16_t portid, bool disconnect)
{
	struct nvme_listener *listener = listener_find(t, portid);

	assert(loop_is_current(t->env.control));
	if (!listener)
		return -ENOENT;
	/* It must not go before the end of this. */
	listener_get(listener);
	if (listener->listener) {
		close_listener(listener);
		discovery_changed(t);
	}
	if (disconnect)
		disconnect_all(t, listener);
	listener_put(listener);
	return 0;
}

void listener_close_all(struct nvme_target *t)
{
	while (!list_empty(&t->listeners))
		close_listener(list_entry(t->listeners.next, struct nvme_listener, link));
}

void listener_free_all(struct nvme_target *t)
{
	struct list *l;

	while ((l = list_pop(&t->closed_listeners)))
		free(list_entry(l, struct nvme_listener, link));
}

void channel_close_all(struct nvme_target *t)
{
	struct list *l;

	while ((l = list_pop(&t->channels))) {
		struct cm_channel *channel = list_entry(l, struct cm_channel, link);

		assert(channel->destroying == 0);
		loop_del_fd(t->env.control, &channel->lfd);
		fabric_cm_close(channel->cm);
		free(channel);
	}
}

static unsigned int count_controllers(const struct nvme_target *t,
				      const struct nvme_listener *listener)
{
	unsigned int n = 0;
	struct list *l;

	list_for_each (l, &t->controllers) {
		const struct controller *c = list_entry(l, struct controller, link);

		n += c->listener == listener && !c->dying;
	}
	return n;
}

static void show(const struct nvme_target *t, const struct nvme_listener *listener,
		 void (*fn)(const struct nvme_listener_status *status, void *arg), void *arg)
{
	struct nvme_listener_status status = {
		.fabric = fabric_name(listener->channel->fabric),
		.portid = listener->portid,
		.controllers = count_controllers(t, listener),
		.removed = !listener->listener,
		.bound = listener->bound,
		.provider = discovery_provider(listener->channel->fabric, NULL),
	};

	(void)snprintf(status.address, sizeof(status.address), "%s", listener->address);
	for (unsigned int g = 1; g <= NVME_MAX_ANA_GROUPS; g++)
		status.ana_state[g] = (uint8_t)ana_state(&listener->ana, g);
	fn(&status, arg);
}

void nvme_target_each_listener(struct nvme_target *t,
			       void (*fn)(const struct nvme_listener_status *status, void *arg),
			       void *arg)
{
	struct list *l;

	list_for_each (l, &t->listeners)
		show(t, list_entry(l, struct nvme_listener, link), fn, arg);
	list_for_each (l, &t->closed_listeners) {
		const struct nvme_listener *listener = list_entry(l, struct nvme_listener, link);

		if (count_controllers(t, listener) > 0)
			show(t, listener, fn, arg);
	}
}
