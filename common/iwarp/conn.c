/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection's life: its states, its turn on the completion queue, error and flushing, fence,
 * destruction, and the loopback pair. fence, disconnect and destroy are for any thread; the rest is
 * for the thread that the connection belongs to.
 */
#include "iwarp_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- states ---------------------------------------------------------------------------------- */

static const bool allowed[IW_ERROR + 1][IW_ERROR + 1] = {
	[IW_IDLE] = {[IW_HANDSHAKE] = true, [IW_ESTABLISHED] = true, [IW_ERROR] = true},
	[IW_HANDSHAKE] = {[IW_ESTABLISHED] = true, [IW_ERROR] = true},
	[IW_ESTABLISHED] = {[IW_ERROR] = true},
};

bool iw_conn_move(struct iw_conn *conn, enum iw_state from, enum iw_state to)
{
	int expected = from;

	assert(allowed[from][to]);
	return atomic_compare_exchange_strong(&conn->state, &expected, to);
}

void iw_conn_set_error(struct iw_conn *conn)
{
	atomic_store(&conn->state, IW_ERROR);
}

struct iw_conn *iw_conn_new(struct iw_device *dev)
{
	struct iw_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return NULL;
	conn->base.ops = &iw_ops;
	conn->base.device = &dev->base;
	conn->dev = dev;
	conn->id = atomic_fetch_add(&dev->next_conn_id, 1) + 1;
	conn->fd = -1;
	return conn;
}

void iw_conn_free(struct iw_conn *conn)
{
	/* Binds that were posted and neither carried out nor flushed. */
	for (uint32_t i = conn->sq.head; i != conn->sq.tail; i++) {
		struct iw_swr *swr = iw_ring_at(&conn->sq, i);

		if (swr->op == FABRIC_OP_BIND_MW && swr->bind.mr)
			iw_mr_put(swr->bind.mr);
	}
	if (conn->fd >= 0)
		(void)close(conn->fd);
	if (conn->cq)
		atomic_fetch_sub(&conn->pd->objects, 1);
	iw_recv_return(conn);
	free(conn->sq.mem);
	free(conn->rq.mem);
	free(conn->rx.srq_copy);
	free(conn->rx.buf);
	free(conn->tx.buf);
	free(conn->reads);
	free(conn->replies);
	free(conn->cmc);
	free(conn);
}

int iw_conn_prepare(struct iw_conn *conn, const struct iw_terms *terms)
{
	struct iw_tx *tx = &conn->tx;
	struct iw_rx *rx = &conn->rx;

	conn->crc = terms->crc;
	conn->own = terms->own;
	conn->mulpdu = iw_socket_mulpdu(conn->fd, terms->own || iw_socket_is_loopback(conn->fd));
	conn->ird = terms->ird;
	conn->ord = terms->ord;
	tx->buf_len = terms->crc ? IW_TX_CRC_BYTES : IW_TX_HEADERS;
	rx->size = terms->crc ? IW_RX_CRC_BYTES : IW_RX_AHEAD;
	tx->buf = malloc(tx->buf_len);
	rx->buf = malloc(rx->size);
	conn->reads = calloc(terms->ord + 1, sizeof(conn->reads[0]));
	conn->replies = calloc(terms->ird + 1, sizeof(conn->replies[0]));
	if (!tx->buf || !rx->buf || !conn->reads || !conn->replies)
		return -ENOMEM; /* iw_conn_free() has the rest */
	tx->hold_back = terms->accepting;
	tx->msn_send = tx->msn_read = 1;
	rx->msn_send = rx->msn_read = 1;
	random_bytes(&tx->stag_seed, sizeof(tx->stag_seed));
	return 0;
}

/* ---- error ----------------------------------------------------------------------------------- */

void iw_conn_fail(struct iw_conn *conn, const struct iw_fault *fault)
{
	iw_hold_drop(&conn->cq->hold);
	if (!iw_conn_move(conn, IW_ESTABLISHED, IW_ERROR))
		return;
	conn->fault = *fault;
	atomic_store(&conn->breach, iw_fault_breach(fault));
	/* After a fence nothing of ours is read any more, not even to finish a unit. */
	if (fault->terminate && !atomic_load(&conn->fenced))
		iw_tx_terminate(conn, fault);
	(void)shutdown(conn->fd, SHUT_RDWR);
	iw_cm_disconnected(conn);
}

const char *iw_conn_breach(const struct fabric_conn *base)
{
	return atomic_load(&container_of(base, const struct iw_conn, base)->breach);
}

/* Completes everything posted, sends first, as far as the queue has room. True if all is out. */
static bool conn_flush(struct iw_conn *conn)
{
	struct iw_ring *sq = &conn->sq, *rq = &conn->rq;
	struct iw_fault *fault = &conn->fault;
	struct fabric_wc wc = {.conn = &conn->base};

	iw_sq_reap(conn);
	for (; sq->head != sq->tail; sq->head++) {
		struct iw_swr *swr = iw_ring_at(sq, sq->head);

		if (!iw_cq_room(conn->cq))
			return false;
		wc.wr_id = swr->wr_id;
		wc.op = (enum fabric_op)swr->op;
		wc.status = FABRIC_FLUSHED;
		if (swr->state == IW_SWR_DONE) {
			/* Done, behind one that was not: in order, as on an adapter. */
			wc.status = FABRIC_OK;
			if (!(swr->flags & FABRIC_F_SIGNALED))
				continue;
		} else if (!fault->has_swr || fault->swr == sq->head) {
			wc.status = fault->send_status;
			fault->send_status = FABRIC_FLUSHED;
		}
		if (swr->op == FABRIC_OP_BIND_MW && swr->bind.mr) {
			iw_mr_put(swr->bind.mr);
			swr->bind.mr = NULL;
		}
		iw_cq_push(conn->cq, conn, &wc);
	}
	wc.op = FABRIC_OP_RECV;
	if (conn->rx.has_copy) {
		if (!iw_cq_room(conn->cq))
			return false;
		wc.wr_id = conn->rx.srq_copy->wr_id;
		wc.user = conn->base.user;
		wc.status = conn->rx.receiving ? fault->recv_status : FABRIC_FLUSHED;
		conn->rx.has_copy = false;
		iw_cq_push(conn->cq, conn, &wc);
	}
	for (; rq->head != rq->tail; rq->head++) {
		if (!iw_cq_room(conn->cq))
			return false;
		wc.wr_id = ((struct iw_rwr *)iw_ring_at(rq, rq->head))->wr_id;
		wc.status = conn->rx.receiving ? fault->recv_status : FABRIC_FLUSHED;
		conn->rx.receiving = false;
		iw_cq_push(conn->cq, conn, &wc);
	}
	conn->rx.receiving = false;
	return true;
}

/* ---- a turn ---------------------------------------------------------------------------------- */

bool iw_conn_service(struct iw_conn *conn)
{
	bool worked = false;

	if (atomic_load(&conn->fenced) && iw_conn_state(conn) != IW_ERROR) {
		struct iw_fault fault = iw_fault_silent(FABRIC_FLUSHED);

		if (iw_conn_state(conn) == IW_ESTABLISHED)
			iw_conn_fail(conn, &fault);
		else
			iw_conn_set_error(conn);
	}
	if (iw_conn_state(conn) == IW_ESTABLISHED) {
		worked |= iw_rx_run(conn);
		if (iw_conn_state(conn) == IW_ESTABLISHED && iw_tx_pending(conn))
			worked |= iw_tx_run(conn);
		iw_sq_reap(conn);
	}
	if (iw_conn_state(conn) == IW_ERROR && !conn->flushed) {
		conn->flushed = conn_flush(conn);
		worked = true;
	}
	return worked;
}

bool iw_conn_pending(const struct iw_conn *conn)
{
	enum iw_state state = iw_conn_state(conn);

	if (atomic_load(&conn->fenced) || state != IW_ESTABLISHED)
		return state == IW_ERROR ? !conn->flushed : atomic_load(&conn->fenced);
	return conn->rx.stalled || (iw_tx_pending(conn) && !conn->tx.blocked);
}

/* ---- fence and end --------------------------------------------------------------------------- */

int iw_conn_fence(struct fabric_conn *base)
{
	struct iw_conn *conn = iw_conn_of(base);

	atomic_store(&conn->fenced, true);
	if (conn->cq)
		iw_cq_wait(conn->cq, conn);
	/* From here on the queue's thread sees the flag before it touches anything. */
	iw_cm_shut(conn, SHUT_RDWR);
	iw_cm_disconnected(conn);
	if (conn->cq) {
		iw_cq_attach(conn->cq, conn);
		iw_cq_kick(conn->cq);
	}
	return 0;
}

int iw_disconnect(struct fabric_conn *base)
{
	/* What the socket has taken is still delivered: shutdown() sends it before the end. */
	return iw_conn_fence(base);
}

void iw_conn_destroy(struct fabric_conn *base)
{
	struct iw_conn *conn = iw_conn_of(base);

	atomic_store(&conn->fenced, true);
	iw_cm_forget(conn);
	if (conn->cq)
		iw_cq_leave(conn->cq, conn);
	/* Only now can no more event be on its way. */
	iw_cm_forget(conn);
	iw_conn_free(conn);
}

/* ---- loopback pair --------------------------------------------------------------------------- */

/* Two connected TCP sockets over 127.0.0.1. 0 or -errno. */
static int tcp_pair(int fd[2])
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in mine = {0}, peer = {0};
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err = 0;

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fd[1] = -1;
	if (listener < 0 || fd[0] < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) ||
	    listen(listener, 1) || getsockname(listener, (struct sockaddr *)&addr, &len) ||
	    connect(fd[0], (struct sockaddr *)&addr, sizeof(addr)))
		err = -errno;
	/* Whoever else found the port in this moment is not our other end. */
	while (!err) {
		if (fd[1] >= 0)
			(void)close(fd[1]);
		len = sizeof(peer);
		fd[1] = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
		if (fd[1] < 0)
			err = -errno;
		len = sizeof(mine);
		if (!err && getsockname(fd[0], (struct sockaddr *)&mine, &len))
			err = -errno;
		if (!err && mine.sin_port == peer.sin_port &&
		    mine.sin_addr.s_addr == peer.sin_addr.s_addr)
			break;
	}
	if (listener >= 0)
		(void)close(listener);
	for (int i = 0; err && i < 2; i++)
		if (fd[i] >= 0)
			(void)close(fd[i]);
	return err;
}

static int pair_end(struct iw_device *dev, int fd, const struct fabric_qp_attr *attr,
		    struct fabric_conn **out)
{
	struct iw_conn *conn = iw_conn_new(dev);
	const struct iw_terms terms = {
		.crc = dev->options.crc == IWARP_CRC_ON,
		.own = true,
		.ird = IW_MAX_READ_DEPTH,
		.ord = IW_MAX_READ_DEPTH,
	};
	int err;

	if (!conn) {
		(void)close(fd);
		return -ENOMEM;
	}
	conn->fd = fd;
	iw_socket_tune(fd);
	err = iw_qp_create(&conn->base, attr);
	if (!err)
		err = iw_conn_prepare(conn, &terms);
	if (err) {
		iw_conn_destroy(&conn->base);
		return err;
	}
	(void)iw_conn_move(conn, IW_IDLE, IW_ESTABLISHED);
	*out = &conn->base;
	return 0;
}

int iw_loopback_pair(struct fabric_device *base, const struct fabric_qp_attr *a,
		     const struct fabric_qp_attr *b, struct fabric_conn **conn_a,
		     struct fabric_conn **conn_b)
{
	struct iw_device *dev = iw_device_of(base);
	struct fabric_conn *first, *second;
	int fd[2];
	int err = tcp_pair(fd);

	/* Without a loopback interface a pair of local sockets does as well. */
	if (err && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
		return -errno;
	err = pair_end(dev, fd[0], a, &first);
	if (err) {
		(void)close(fd[1]);
		return err;
	}
	err = pair_end(dev, fd[1], b, &second);
	if (err) {
		iw_conn_destroy(first);
		return err;
	}
	iw_cq_attach(iw_conn_of(first)->cq, iw_conn_of(first));
	iw_cq_attach(iw_conn_of(second)->cq, iw_conn_of(second));
	*conn_a = first;
	*conn_b = second;
	return 0;
}
