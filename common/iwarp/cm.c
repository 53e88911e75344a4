/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel of connection events: its epoll set of listening and handshaking sockets, the timer of
 * the handshakes, the queue of events. Belongs to the thread that calls fabric_cm_poll(); other
 * threads come in through the channel's lock (accept, fence, destroy, a disconnect seen by a
 * completion queue). The set is readable whenever poll would do something.
 */
#include "cm_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_PER_POLL 64 /* looked at before fabric_cm_poll() returns */

/* ---- channel --------------------------------------------------------------------------------- */

static int add_source(struct iw_cm *cm, int fd, struct cm_source *source, enum cm_kind kind)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	source->kind = kind;
	return epoll_ctl(cm->base.fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static void cm_free(struct iw_cm *cm)
{
	if (cm->timer_fd >= 0)
		(void)close(cm->timer_fd);
	if (cm->wake_fd >= 0)
		(void)close(cm->wake_fd);
	if (cm->base.fd >= 0)
		(void)close(cm->base.fd);
	free(cm);
}

int iw_cm_open(struct fabric *f, struct fabric_cm **out)
{
	struct iw_cm *cm = calloc(1, sizeof(*cm));
	int err;

	if (!cm)
		return -ENOMEM;
	cm->base.ops = &iw_ops;
	cm->dev = iw_device_of(f->ops->device_at(f, 0));
	list_init(&cm->events);
	list_init(&cm->handshakes);
	cm->base.fd = epoll_create1(EPOLL_CLOEXEC);
	cm->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	cm->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	err = cm->base.fd < 0 || cm->wake_fd < 0 || cm->timer_fd < 0 ? -errno : 0;
	if (!err)
		err = add_source(cm, cm->wake_fd, &cm->wake, CM_KIND_WAKE);
	if (!err)
		err = add_source(cm, cm->timer_fd, &cm->timer, CM_KIND_TIMER);
	if (!err)
		err = -pthread_mutex_init(&cm->lock, NULL);
	if (err) {
		cm_free(cm);
		return err;
	}
	atomic_fetch_add(&cm->dev->objects, 1);
	*out = &cm->base;
	return 0;
}

void iw_cm_close(struct fabric_cm *base)
{
	struct iw_cm *cm = container_of(base, struct iw_cm, base);

	assert(list_empty(&cm->events) && list_empty(&cm->handshakes));
	atomic_fetch_sub(&cm->dev->objects, 1);
	pthread_mutex_destroy(&cm->lock);
	cm_free(cm);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void queue_event(struct iw_cm *cm, struct cm_event *event)
{
	assert(list_empty(&event->link));
	if (list_empty(&cm->events))
		(void)eventfd_write(cm->wake_fd, 1);
	list_push(&cm->events, &event->link);
}

/* Takes an event out of the queue, if it is there. */
static void unqueue_event(struct iw_cm *cm, struct cm_event *event)
{
	eventfd_t count;

	if (list_empty(&event->link))
		return;
	list_del(&event->link);
	if (list_empty(&cm->events))
		(void)eventfd_read(cm->wake_fd, &count);
}

void cm_report(struct iw_cm *cm, struct iw_cm_conn *cmc, enum fabric_cm_type type, int error)
{
	cmc->main.event = (struct fabric_cm_event){
		.type = type,
		.conn = &cmc->conn->base,
		.listener = cmc->listener ? &cmc->listener->base : NULL,
		.error = error,
	};
	if (type == FABRIC_CM_CONNECT_REQUEST || type == FABRIC_CM_ESTABLISHED ||
	    type == FABRIC_CM_REJECTED) {
		struct fabric_cm_event *event = &cmc->main.event;

		/* The frame's parser has checked the length; more than 255 was refused. */
		event->private_data_len = (uint8_t)cmc->peer.private_len;
		memcpy(event->private_data, cmc->peer.private_data, event->private_data_len);
	}
	queue_event(cm, &cmc->main);
}

void iw_cm_disconnected(struct iw_conn *conn)
{
	struct iw_cm_conn *cmc = conn->cmc;
	struct iw_cm *cm = conn->cm;

	if (!cm)
		return;
	pthread_mutex_lock(&cm->lock);
	if (cmc->established && !atomic_exchange(&conn->disconnected, true)) {
		cmc->disconnected.event = (struct fabric_cm_event){
			.type = FABRIC_CM_DISCONNECTED,
			.conn = &conn->base,
		};
		queue_event(cm, &cmc->disconnected);
	}
	pthread_mutex_unlock(&cm->lock);
}

void iw_cm_shut(struct iw_conn *conn, int how)
{
	if (conn->cm)
		pthread_mutex_lock(&conn->cm->lock);
	if (conn->fd >= 0)
		(void)shutdown(conn->fd, how);
	if (conn->cm)
		pthread_mutex_unlock(&conn->cm->lock);
}

/* ---- connections ----------------------------------------------------------------------------- */

struct iw_conn *cm_conn_new(struct iw_cm *cm)
{
	struct iw_conn *conn = iw_conn_new(cm->dev);
	struct iw_cm_conn *cmc = calloc(1, sizeof(*cmc));

	if (!conn || !cmc) {
		free(conn);
		free(cmc);
		return NULL;
	}
	cmc->source.kind = CM_KIND_CONN;
	cmc->conn = conn;
	list_init(&cmc->of_listener);
	list_init(&cmc->handshake);
	list_init(&cmc->main.link);
	list_init(&cmc->disconnected.link);
	conn->cm = cm;
	conn->cmc = cmc;
	return conn;
}

int cm_watch(struct iw_cm *cm, struct iw_cm_conn *cmc, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = &cmc->source};

	if (epoll_ctl(cm->base.fd, cmc->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, cmc->conn->fd,
		      &event))
		return -errno;
	cmc->watched = true;
	return 0;
}

void cm_unwatch(struct iw_cm *cm, struct iw_cm_conn *cmc)
{
	struct epoll_event event = {0};

	if (cmc->watched)
		(void)epoll_ctl(cm->base.fd, EPOLL_CTL_DEL, cmc->conn->fd, &event);
	cmc->watched = false;
}

/* The timer goes off for the oldest handshake. Setting it also takes its last alarm back. */
static void set_timer(struct iw_cm *cm)
{
	struct itimerspec when = {0};

	if (!list_empty(&cm->handshakes)) {
		const struct iw_cm_conn *oldest =
			list_entry(cm->handshakes.next, struct iw_cm_conn, handshake);

		when.it_value.tv_sec = (time_t)(oldest->deadline_ns / NS_PER_S);
		when.it_value.tv_nsec = (long)(oldest->deadline_ns % NS_PER_S);
	}
	(void)timerfd_settime(cm->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void cm_handshake_begin(struct iw_cm *cm, struct iw_cm_conn *cmc)
{
	cmc->deadline_ns = now_ns() + IW_HANDSHAKE_NS;
	list_push(&cm->handshakes, &cmc->handshake);
	if (cm->handshakes.next == &cmc->handshake)
		set_timer(cm);
}

void cm_handshake_end(struct iw_cm *cm, struct iw_cm_conn *cmc)
{
	bool oldest = cm->handshakes.next == &cmc->handshake;

	list_del(&cmc->handshake);
	if (oldest)
		set_timer(cm);
}

void cm_detach(struct iw_conn *conn)
{
	struct iw_cm_conn *cmc = conn->cmc;
	struct iw_cm *cm = conn->cm;

	cm_unwatch(cm, cmc);
	cm_handshake_end(cm, cmc);
	if (cmc->listener) {
		list_del(&cmc->of_listener);
		cmc->listener->nconns--;
		cmc->listener = NULL;
	}
	unqueue_event(cm, &cmc->main);
	unqueue_event(cm, &cmc->disconnected);
}

void iw_cm_forget(struct iw_conn *conn)
{
	struct iw_cm *cm = conn->cm;

	if (!cm)
		return;
	pthread_mutex_lock(&cm->lock);
	cm_detach(conn);
	conn->cmc->step = CM_OVER;
	pthread_mutex_unlock(&cm->lock);
}

void cm_drop(struct iw_cm *cm, struct iw_cm_conn *cmc)
{
	struct iw_conn *conn = cmc->conn;

	(void)cm;
	cm_detach(conn);
	assert(!conn->cq);
	iw_conn_free(conn);
}

/* ---- frames ---------------------------------------------------------------------------------- */

int cm_receive_frame(struct iw_cm_conn *cmc, bool reply)
{
	for (;;) {
		/* Again from the start: the peer decides in how many pieces it comes. */
		int len = iw_mpa_parse(cmc->frame, cmc->have, reply, &cmc->peer);
		size_t want = len > 0 ? (size_t)len : IW_MPA_HEADER;
		ssize_t n;

		if (len < 0)
			return len;
		if (cmc->have == want)
			return 1;
		assert(cmc->have < want && want <= sizeof(cmc->frame));
		/* What lies behind the frame belongs to the completion queue. */
		n = recv(cmc->conn->fd, cmc->frame + cmc->have, want - cmc->have, MSG_DONTWAIT);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		cmc->have += (size_t)n;
	}
}

int cm_send_frame(struct iw_cm_conn *cmc)
{
	uint8_t frame[IW_MPA_FRAME_MAX];
	size_t len = iw_mpa_build(&cmc->mine, frame);
	ssize_t n = send(cmc->conn->fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	/* It is the first thing on a new socket: there is room for it. */
	return (size_t)n == len ? 0 : -ENOBUFS;
}

bool cm_want_crc(const struct iw_conn *conn)
{
	switch (conn->dev->options.crc) {
	case IWARP_CRC_ON:
		return true;
	case IWARP_CRC_OFF:
		return false;
	default:
		return !iw_socket_is_loopback(conn->fd);
	}
}

void cm_set_private(struct iw_mpa *m, const void *data, uint8_t len)
{
	m->private_len = len;
	if (len)
		memcpy(m->private_data, data, len);
}

/* Do these private data say that they are our own software's? */
static bool own_private_data(const struct iw_mpa *m)
{
	const size_t len = sizeof(IWARP_OWN_PRIVATE_DATA) - 1;

	return m->private_len >= len && memcmp(m->private_data, IWARP_OWN_PRIVATE_DATA, len) == 0;
}

int cm_establish(struct iw_cm *cm, struct iw_cm_conn *cmc, enum iw_state from, unsigned int ird,
		 unsigned int ord)
{
	struct iw_conn *conn = cmc->conn;
	const struct iw_terms terms = {
		/* Both must compute it if one wants it (RFC 5044 §7.1.1). */
		.crc = cmc->mine.crc || cmc->peer.crc,
		.own = own_private_data(&cmc->mine) && own_private_data(&cmc->peer),
		.accepting = from == IW_IDLE,
		.ird = ird,
		.ord = ord,
	};
	int err;

	cm_unwatch(cm, cmc);
	cm_handshake_end(cm, cmc);
	err = iw_conn_prepare(conn, &terms);
	if (!err && (atomic_load(&conn->fenced) || !iw_conn_move(conn, from, IW_ESTABLISHED)))
		err = -ECONNABORTED;
	if (err)
		return err;
	cmc->step = CM_OVER;
	cmc->established = true;
	cm_report(cm, cmc, FABRIC_CM_ESTABLISHED, 0);
	cmc->main.event.responder_resources = (uint8_t)ird;
	cmc->main.event.initiator_depth = (uint8_t)ord;
	iw_cq_attach(conn->cq, conn);
	return 0;
}

/* ---- polling --------------------------------------------------------------------------------- */

static void expire_handshakes(struct iw_cm *cm)
{
	uint64_t now = now_ns();

	while (!list_empty(&cm->handshakes)) {
		struct iw_cm_conn *cmc =
			list_entry(cm->handshakes.next, struct iw_cm_conn, handshake);

		if (cmc->deadline_ns > now)
			break;
		if (cmc->step == CM_AWAIT_REQUEST)
			cm_request_late(cm, cmc);
		else
			cm_connect_failed(cm, cmc, -ETIMEDOUT);
	}
	set_timer(cm);
}

static void handle_source(struct iw_cm *cm, struct cm_source *source)
{
	struct iw_cm_conn *cmc;

	switch (source->kind) {
	case CM_KIND_WAKE:
		break; /* who takes the last event out clears it */
	case CM_KIND_TIMER:
		expire_handshakes(cm);
		break;
	case CM_KIND_LISTENER:
		cm_listen_event(cm, container_of(source, struct iw_listener, source));
		break;
	case CM_KIND_CONN:
		cmc = container_of(source, struct iw_cm_conn, source);
		if (cmc->step == CM_AWAIT_REQUEST)
			cm_request_event(cm, cmc);
		else
			cm_connect_event(cm, cmc);
		break;
	}
}

int iw_cm_poll(struct fabric_cm *base, struct fabric_cm_event *event)
{
	struct iw_cm *cm = container_of(base, struct iw_cm, base);
	int found = 0;

	pthread_mutex_lock(&cm->lock);
	/* One at a time: handling one may end another. */
	for (int i = 0; i < EVENTS_PER_POLL && list_empty(&cm->events); i++) {
		struct epoll_event ready;

		if (epoll_wait(cm->base.fd, &ready, 1, 0) != 1)
			break;
		handle_source(cm, ready.data.ptr);
	}
	if (!list_empty(&cm->events)) {
		struct cm_event *first = list_entry(cm->events.next, struct cm_event, link);

		*event = first->event;
		unqueue_event(cm, first);
		if (event->type == FABRIC_CM_SHOWN_OUT)
			cm_drop(cm, container_of(first, struct iw_cm_conn, main));
		found = 1;
	}
	pthread_mutex_unlock(&cm->lock);
	return found;
}

/* ---- addresses ------------------------------------------------------------------------------- */

int iw_conn_peer(const struct fabric_conn *base, struct sockaddr_storage *addr)
{
	const struct iw_conn *conn = container_of(base, const struct iw_conn, base);
	socklen_t len = sizeof(*addr);

	if (conn->fd >= 0 && getpeername(conn->fd, (struct sockaddr *)addr, &len) == 0)
		return 0;
	if (!conn->cmc || conn->cmc->address.ss_family == AF_UNSPEC)
		return -ENOTCONN;
	*addr = conn->cmc->address;
	return 0;
}

bool iw_conn_returns(const struct fabric_conn *base)
{
	(void)base; /* no handshake of TCP ends otherwise */
	return true;
}

bool iw_conn_taken(const struct fabric_conn *base)
{
	const struct iw_conn *conn = container_of(base, const struct iw_conn, base);
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	return conn->fd >= 0 && getpeername(conn->fd, (struct sockaddr *)&addr, &len) == 0;
}

int iw_conn_local(const struct fabric_conn *base, struct sockaddr_storage *addr)
{
	const struct iw_conn *conn = container_of(base, const struct iw_conn, base);
	socklen_t len = sizeof(*addr);

	if (conn->fd < 0 || getsockname(conn->fd, (struct sockaddr *)addr, &len))
		return -ENOTCONN;
	return 0;
}
