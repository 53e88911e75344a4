/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connecting side: resolve, TCP, MPA Request, Reply. It asks for revision 2 with depths; a peer
 * that speaks only revision 1 closes the connection or refuses in revision 1, and is then asked again
 * in its own way. Runs on the CM channel's thread under its lock.
 */
#include "cm_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static socklen_t address_length(const struct sockaddr *addr)
{
	switch (addr->sa_family) {
	case AF_INET:
		return sizeof(struct sockaddr_in);
	case AF_INET6:
		return sizeof(struct sockaddr_in6);
	default:
		return 0;
	}
}

int iw_resolve(struct fabric_cm *base, const struct sockaddr *dst, unsigned int timeout_ms,
	       void *user, struct fabric_conn **out)
{
	struct iw_cm *cm = container_of(base, struct iw_cm, base);
	struct iw_conn *conn;

	(void)timeout_ms; /* there is one device, and the route is TCP's affair */
	if (address_length(dst) == 0)
		return -EINVAL;
	conn = cm_conn_new(cm);
	if (!conn)
		return -ENOMEM;
	conn->base.user = user;
	memcpy(&conn->cmc->address, dst, address_length(dst));
	pthread_mutex_lock(&cm->lock);
	cm_report(cm, conn->cmc, FABRIC_CM_RESOLVED, 0);
	pthread_mutex_unlock(&cm->lock);
	*out = &conn->base;
	return 0;
}

void cm_connect_failed(struct iw_cm *cm, struct iw_cm_conn *cmc, int error)
{
	struct iw_conn *conn = cmc->conn;

	cm_unwatch(cm, cmc);
	cm_handshake_end(cm, cmc);
	cmc->step = CM_OVER;
	iw_conn_set_error(conn);
	if (conn->fd >= 0)
		(void)shutdown(conn->fd, SHUT_RDWR);
	if (error)
		cm_report(cm, cmc, FABRIC_CM_FAILED, error);
	else
		cm_report(cm, cmc, FABRIC_CM_REJECTED, 0);
	/* Receives that were posted complete as flushed. */
	iw_cq_attach(conn->cq, conn);
}

/* A socket on its way to the peer. The time allowed runs from the first of them. */
static int connect_tcp(struct iw_cm *cm, struct iw_cm_conn *cmc)
{
	const struct sockaddr *dst = (const struct sockaddr *)&cmc->address;
	struct iw_conn *conn = cmc->conn;

	if (conn->fd >= 0) {
		cm_unwatch(cm, cmc);
		(void)close(conn->fd);
	}
	cmc->have = 0;
	cmc->step = CM_TCP;
	conn->fd = socket(dst->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		return -errno;
	/* A fence that came before there was a socket to shut has left its mark. */
	if (atomic_load(&conn->fenced))
		return -ECONNABORTED;
	if (connect(conn->fd, dst, address_length(dst)) && errno != EINPROGRESS)
		return -errno;
	return cm_watch(cm, cmc, EPOLLOUT);
}

int iw_connect(struct fabric_conn *base, const struct fabric_conn_param *param)
{
	struct iw_conn *conn = iw_conn_of(base);
	struct iw_cm_conn *cmc = conn->cmc;
	struct iw_cm *cm = conn->cm;
	int err = -EINVAL;

	if (!cm || !conn->cq)
		return -EINVAL;
	pthread_mutex_lock(&cm->lock);
	if (cmc->step != CM_NEW || !list_empty(&cmc->main.link))
		goto out;
	err = -ENOTCONN;
	if (atomic_load(&conn->fenced) || !iw_conn_move(conn, IW_IDLE, IW_HANDSHAKE))
		goto out;
	cmc->mine = (struct iw_mpa){
		.ird = (uint16_t)min_u64(param->responder_resources, IW_MAX_READ_DEPTH),
		.ord = (uint16_t)min_u64(param->initiator_depth, IW_MAX_READ_DEPTH),
	};
	cm_set_private(&cmc->mine, param->private_data, param->private_data_len);
	cm_handshake_begin(cm, cmc);
	err = connect_tcp(cm, cmc);
	/* The answer is always an event, also where the kernel knows it at once. */
	if (err)
		cm_connect_failed(cm, cmc, err);
	err = 0;
out:
	pthread_mutex_unlock(&cm->lock);
	return err;
}

static int tcp_connected(struct iw_cm *cm, struct iw_cm_conn *cmc)
{
	struct iw_conn *conn = cmc->conn;
	int error = 0;
	socklen_t len = sizeof(error);
	int err;

	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len))
		return -errno;
	if (error)
		return -error;
	iw_socket_tune(conn->fd);
	cmc->mine.revision = cmc->plain ? 1 : 2;
	cmc->mine.enhanced = !cmc->plain;
	cmc->mine.crc = cm_want_crc(conn);
	err = cm_send_frame(cmc);
	if (err)
		return err;
	cmc->step = CM_AWAIT_REPLY;
	return cm_watch(cm, cmc, EPOLLIN);
}

/* Is this how a peer that knows only revision 1 answers revision 2? */
static bool speaks_only_plain(const struct iw_cm_conn *cmc, int result)
{
	if (cmc->plain || atomic_load(&cmc->conn->fenced))
		return false;
	if (result == 1)
		return cmc->peer.reject && cmc->peer.revision == 1;
	return (result == -ECONNRESET || result == -EPIPE) && cmc->have == 0;
}

static int replied(struct iw_cm *cm, struct iw_cm_conn *cmc)
{
	const struct iw_mpa *peer = &cmc->peer;
	unsigned int ird = cmc->mine.ird, ord = cmc->mine.ord;

	if (peer->markers)
		return -EPROTONOSUPPORT;
	if (peer->private_len > UINT8_MAX)
		return -EMSGSIZE;
	if (peer->enhanced) {
		if (peer->ird != IW_MPA_DEPTH_NONE)
			ord = (unsigned int)min_u64(ord, peer->ird);
		/* The peer may read as deep as it said, where we can hold it. */
		if (peer->ord != IW_MPA_DEPTH_NONE)
			ird = (unsigned int)max_u64(ird, peer->ord);
		if (ird > IW_MAX_READ_DEPTH)
			return -EPROTO;
	}
	return cm_establish(cm, cmc, IW_HANDSHAKE, ird, ord);
}

void cm_connect_event(struct iw_cm *cm, struct iw_cm_conn *cmc)
{
	int err;

	if (cmc->step == CM_TCP) {
		err = tcp_connected(cm, cmc);
	} else {
		err = cm_receive_frame(cmc, true);
		if (err == 0)
			return;
		if (speaks_only_plain(cmc, err)) {
			cmc->plain = true;
			err = connect_tcp(cm, cmc);
		} else if (err == 1 && cmc->peer.reject) {
			cm_connect_failed(cm, cmc, 0);
			return;
		} else if (err == 1) {
			err = replied(cm, cmc);
		}
	}
	if (err)
		cm_connect_failed(cm, cmc, err);
}
