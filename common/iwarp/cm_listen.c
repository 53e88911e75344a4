/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The accepting side: listeners, half-open connections, accept, reject. What a peer can make us hold
 * before the owner has said a word is bounded in number and in time; whoever makes no request is shown
 * out, and the owner is told why. Runs on the CM channel's thread under its lock; accept and reject on any.
 */
#include "cm_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_PER_EVENT 32

/* ---- listeners ------------------------------------------------------------------------------- */

static int listen_socket(const struct sockaddr *addr, int backlog, int *out)
{
	socklen_t len = addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						    : sizeof(struct sockaddr_in);
	int on = 1;
	int err = 0;
	int fd;

	if (addr->sa_family != AF_INET && addr->sa_family != AF_INET6)
		return -EINVAL;
	fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) || bind(fd, addr, len) ||
	    listen(fd, backlog > 0 ? backlog : SOMAXCONN))
		err = -errno;
	if (err) {
		(void)close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

int iw_listen(struct fabric_cm *base, const struct sockaddr *addr, int backlog,
	      struct fabric_listener **out)
{
	struct iw_cm *cm = container_of(base, struct iw_cm, base);
	struct iw_listener *listener = calloc(1, sizeof(*listener));
	struct epoll_event event = {.events = EPOLLIN};
	int err;

	if (!listener)
		return -ENOMEM;
	listener->base.ops = &iw_ops;
	listener->source.kind = CM_KIND_LISTENER;
	listener->cm = cm;
	list_init(&listener->conns);
	err = listen_socket(addr, backlog, &listener->fd);
	if (err) {
		free(listener);
		return err;
	}
	event.data.ptr = &listener->source;
	pthread_mutex_lock(&cm->lock);
	if (epoll_ctl(cm->base.fd, EPOLL_CTL_ADD, listener->fd, &event))
		err = -errno;
	pthread_mutex_unlock(&cm->lock);
	if (err) {
		(void)close(listener->fd);
		free(listener);
		return err;
	}
	*out = &listener->base;
	return 0;
}

void iw_listener_destroy(struct fabric_listener *base)
{
	struct iw_listener *listener = container_of(base, struct iw_listener, base);
	struct iw_cm *cm = listener->cm;
	struct list *pos, *tmp;

	pthread_mutex_lock(&cm->lock);
	list_for_each_safe (pos, tmp, &listener->conns) {
		struct iw_cm_conn *cmc = list_entry(pos, struct iw_cm_conn, of_listener);

		if (cmc->step == CM_REQUESTED && list_empty(&cmc->main.link)) {
			/* The owner has it, and may still accept it. */
			list_del(&cmc->of_listener);
			cmc->listener = NULL;
		} else {
			cm_drop(cm, cmc);
		}
	}
	(void)close(listener->fd); /* which takes it out of the epoll set */
	pthread_mutex_unlock(&cm->lock);
	free(listener);
}

int iw_listener_addr(const struct fabric_listener *base, struct sockaddr_storage *addr)
{
	const struct iw_listener *listener = container_of(base, const struct iw_listener, base);
	socklen_t len = sizeof(*addr);

	return getsockname(listener->fd, (struct sockaddr *)addr, &len) ? -errno : 0;
}

/* ---- half-open connections ------------------------------------------------------------------- */

/* Closes it; the owner is told why, in its turn, and with that it is gone. */
PRINTF_LIKE(4, 5)
static void show_out(struct iw_cm *cm, struct iw_cm_conn *cmc, int error, const char *fmt, ...)
{
	struct fabric_cm_event *event = &cmc->main.event;
	va_list ap;

	cm_unwatch(cm, cmc);
	cm_handshake_end(cm, cmc);
	(void)close(cmc->conn->fd);
	cmc->conn->fd = -1;
	cmc->step = CM_SHOWN_OUT;
	cm_report(cm, cmc, FABRIC_CM_SHOWN_OUT, error);
	event->conn = NULL;
	event->peer = cmc->address;
	va_start(ap, fmt);
	(void)vsnprintf(event->why, sizeof(event->why), fmt, ap);
	va_end(ap);
}

/* Of the request, as far as that is known. */
static size_t bytes_wanted(const struct iw_cm_conn *cmc)
{
	if (cmc->have < IW_MPA_HEADER)
		return IW_MPA_HEADER;
	return IW_MPA_HEADER + (size_t)(cmc->frame[18] << 8 | cmc->frame[19]);
}

void cm_request_late(struct iw_cm *cm, struct iw_cm_conn *cmc)
{
	show_out(cm, cmc, -ETIMEDOUT, "%zu of the %zu bytes of an MPA request came in %llu s",
		 cmc->have, bytes_wanted(cmc), IW_HANDSHAKE_NS / NS_PER_S);
}

static void request_broken(struct iw_cm *cm, struct iw_cm_conn *cmc, int error)
{
	const uint8_t *frame = cmc->frame;

	if (error != -EPROTO)
		show_out(cm, cmc, -ECONNRESET,
			 "closed after %zu of the %zu bytes of an MPA request", cmc->have,
			 bytes_wanted(cmc));
	else if (memcmp(frame, IW_MPA_KEY_REQUEST, min_u64(cmc->have, IW_MPA_KEY_BYTES)) != 0)
		show_out(cm, cmc, error, "its first bytes are no MPA request");
	else
		show_out(cm, cmc, error,
			 "its MPA request makes no sense: flags %02xh, revision %u, %zu bytes long",
			 frame[16], frame[17], bytes_wanted(cmc));
}

/* Makes room for one more by ending the oldest that has not said anything useful yet. */
static bool make_room(struct iw_cm *cm, struct iw_listener *listener)
{
	struct list *pos;

	if (listener->nconns < IW_MAX_PENDING_HANDSHAKES)
		return true;
	list_for_each (pos, &listener->conns) {
		struct iw_cm_conn *cmc = list_entry(pos, struct iw_cm_conn, of_listener);

		if (cmc->step == CM_AWAIT_REQUEST) {
			show_out(cm, cmc, -ENOBUFS,
				 "%zu of the %zu bytes of an MPA request had come when its place "
				 "was needed; %d may wait at a time",
				 cmc->have, bytes_wanted(cmc), IW_MAX_PENDING_HANDSHAKES);
			return true;
		}
	}
	return false;
}

void cm_listen_event(struct iw_cm *cm, struct iw_listener *listener)
{
	for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
		struct sockaddr_storage address = {0};
		socklen_t len = sizeof(address);
		int fd = accept4(listener->fd, (struct sockaddr *)&address, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct iw_conn *conn;
		struct iw_cm_conn *cmc;
		bool room;

		if (fd < 0)
			return;
		room = make_room(cm, listener);
		conn = cm_conn_new(cm);
		if (!conn) {
			(void)close(fd);
			continue;
		}
		iw_socket_tune(fd);
		cmc = conn->cmc;
		conn->fd = fd;
		cmc->address = address;
		cmc->step = CM_AWAIT_REQUEST;
		cmc->listener = listener;
		list_push(&listener->conns, &cmc->of_listener);
		listener->nconns++;
		cm_handshake_begin(cm, cmc);
		if (!room)
			show_out(cm, cmc, -ENOBUFS, "%d others wait to be accepted already",
				 IW_MAX_PENDING_HANDSHAKES);
		else if (cm_watch(cm, cmc, EPOLLIN))
			show_out(cm, cmc, -ENOBUFS, "out of memory");
	}
}

static void refuse(struct iw_cm_conn *cmc, const void *data, uint8_t len)
{
	const struct iw_mpa *peer = &cmc->peer;

	cmc->mine = (struct iw_mpa){
		.reply = true,
		.reject = true,
		.revision = peer->revision,
		.enhanced = peer->enhanced,
		.crc = peer->crc,
	};
	cm_set_private(&cmc->mine, data, len);
	(void)cm_send_frame(cmc);
	(void)shutdown(cmc->conn->fd, SHUT_RDWR);
}

static unsigned int depth(const struct iw_mpa *m, uint16_t value)
{
	if (!m->enhanced || value == IW_MPA_DEPTH_NONE)
		return IW_MAX_READ_DEPTH;
	return (unsigned int)min_u64(value, IW_MAX_READ_DEPTH);
}

void cm_request_event(struct iw_cm *cm, struct iw_cm_conn *cmc)
{
	struct fabric_cm_event *event = &cmc->main.event;
	int err = cm_receive_frame(cmc, false);

	if (err == 0)
		return;
	if (err < 0) {
		request_broken(cm, cmc, err);
		return;
	}
	/* We cannot send markers, and an event cannot carry more private data (RFC 5044 §7.1.1). */
	err = 0;
	if (cmc->peer.markers)
		err = -EPROTONOSUPPORT;
	else if (cmc->peer.private_len > UINT8_MAX)
		err = -EMSGSIZE;
	if (err)
		cmc->peer.private_len = 0;
	cm_unwatch(cm, cmc);
	cm_handshake_end(cm, cmc);
	cmc->step = CM_REQUESTED;
	cm_report(cm, cmc, FABRIC_CM_CONNECT_REQUEST, err);
	event->responder_resources = (uint8_t)depth(&cmc->peer, cmc->peer.ord);
	event->initiator_depth = (uint8_t)depth(&cmc->peer, cmc->peer.ird);
}

/* ---- accept and reject ----------------------------------------------------------------------- */

static void leave_listener(struct iw_cm_conn *cmc)
{
	if (!cmc->listener)
		return;
	list_del(&cmc->of_listener);
	cmc->listener->nconns--;
	cmc->listener = NULL;
}

int iw_accept(struct fabric_conn *base, const struct fabric_conn_param *param)
{
	struct iw_conn *conn = iw_conn_of(base);
	struct iw_cm_conn *cmc = conn->cmc;
	struct iw_cm *cm = conn->cm;
	const struct iw_mpa *peer;
	int err = -EINVAL;

	if (!cm || !conn->cq)
		return -EINVAL;
	pthread_mutex_lock(&cm->lock);
	peer = &cmc->peer;
	if (cmc->step != CM_REQUESTED || !list_empty(&cmc->main.link))
		goto out;
	err = cmc->main.event.error;
	if (err)
		goto out;
	leave_listener(cmc);
	cmc->mine = (struct iw_mpa){
		.reply = true,
		.revision = peer->revision,
		.enhanced = peer->enhanced,
		/* Who is asked for it must answer yes (RFC 5044 §7.1.1). */
		.crc = peer->crc || cm_want_crc(conn),
		.ird = (uint16_t)min_u64(param->responder_resources, depth(peer, peer->ord)),
		.ord = (uint16_t)min_u64(param->initiator_depth, depth(peer, peer->ird)),
	};
	if (peer->enhanced && peer->peer_to_peer) {
		/* RFC 6581 §9.2: one of what the initiator offers; a Write where it may be one. */
		cmc->mine.peer_to_peer = true;
		cmc->mine.rtr_read = peer->rtr_read && !peer->rtr_write;
		cmc->mine.rtr_write = !cmc->mine.rtr_read;
		if (cmc->mine.rtr_read && cmc->mine.ird == 0)
			cmc->mine.ird = 1;
	}
	cm_set_private(&cmc->mine, param->private_data, param->private_data_len);
	cmc->step = CM_OVER;
	err = cm_send_frame(cmc);
	if (!err)
		err = cm_establish(cm, cmc, IW_IDLE, cmc->mine.ird, cmc->mine.ord);
	if (err) {
		iw_conn_set_error(conn);
		iw_cq_attach(conn->cq, conn);
		(void)shutdown(conn->fd, SHUT_RDWR);
	}
	/* The request's private data is not news any more. */
	cmc->main.event.private_data_len = 0;
out:
	pthread_mutex_unlock(&cm->lock);
	return err;
}

int iw_reject(struct fabric_conn *base, const void *private_data, uint8_t len)
{
	struct iw_conn *conn = iw_conn_of(base);
	struct iw_cm_conn *cmc = conn->cmc;
	struct iw_cm *cm = conn->cm;
	int err = -EINVAL;

	if (!cm)
		return -EINVAL;
	pthread_mutex_lock(&cm->lock);
	if (cmc->step == CM_REQUESTED && list_empty(&cmc->main.link)) {
		leave_listener(cmc);
		cmc->step = CM_OVER;
		refuse(cmc, private_data, len);
		iw_conn_set_error(conn);
		if (conn->cq)
			iw_cq_attach(conn->cq, conn);
		err = 0;
	}
	pthread_mutex_unlock(&cm->lock);
	return err;
}
