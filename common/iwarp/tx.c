/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sending side of a connection: builds units (FPDUs) from the send queue and from the peer's
 * READs, many at a time, and pushes them with one sendmsg() as far as the socket takes them.
 *
 * Without CRC the vector points straight at the source memory; the keys are held from the check of a
 * segment until the system call has copied it, and held and checked again before each further call
 * for what the socket did not take. With CRC the payload is first copied to a buffer of our own, so
 * that the sum is that of the bytes sent.
 *
 * Whole messages alternate between the two sources while both have some: DDP sends messages in their
 * order (RFC 5041 §5.3), and some receivers (Linux siw) do not untangle two tagged ones. Only where
 * our own software is at the other end may a request go in the middle of a long Read Response.
 * Runs on the CQ's thread only, with the hazard naming the connection.
 */
#include "iwarp_internal.h"

#include <errno.h>
#include <string.h>

#define TURN_BATCHES 4 /* what one connection may send before others get their turn */

enum tx_step {
	TX_BUILT, /* one unit more */
	TX_FULL,  /* no room: push first */
	TX_IDLE,  /* nothing to send now */
	TX_FAILED /* the connection is in error */
};

/* ---- a unit's bytes ------------------------------------------------------------------------- */

/* Where the vector stood, to take a unit back. */
struct tx_mark {
	size_t buf_used, total, last_len;
	unsigned int iov_n;
};

static struct tx_mark tx_mark(const struct iw_tx *tx)
{
	return (struct tx_mark){
		.buf_used = tx->buf_used,
		.total = tx->total,
		.last_len = tx->iov_n ? tx->iov[tx->iov_n - 1].iov_len : 0,
		.iov_n = tx->iov_n,
	};
}

static void tx_rewind(struct iw_tx *tx, const struct tx_mark *mark)
{
	tx->buf_used = mark->buf_used;
	tx->total = mark->total;
	tx->iov_n = mark->iov_n;
	if (tx->iov_n)
		tx->iov[tx->iov_n - 1].iov_len = mark->last_len;
}

static void tx_append(struct iw_tx *tx, void *base, size_t len)
{
	struct iovec *last = tx->iov_n ? &tx->iov[tx->iov_n - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == base)
		last->iov_len += len;
	else
		tx->iov[tx->iov_n++] = (struct iovec){base, len};
	tx->total += len;
}

/* `len` bytes of the connection's own buffer, next in the stream. */
static uint8_t *tx_room(struct iw_tx *tx, size_t len)
{
	uint8_t *p = tx->buf + tx->buf_used;

	assert(tx->buf_used + len <= tx->buf_len);
	tx->buf_used += len;
	tx_append(tx, p, len);
	return p;
}

/* Adds a unit of `header` and the payload in `slice`. 0, or -EFAULT: a source page is gone. */
static int tx_unit(struct iw_conn *conn, union iw_header *header, size_t header_len,
		   const struct iovec *slice, unsigned int slices, uint32_t payload,
		   enum iw_unit_kind kind, bool last)
{
	struct iw_tx *tx = &conn->tx;
	struct tx_mark mark = tx_mark(tx);
	uint32_t pad = -(uint32_t)(header_len + payload) & 3;
	uint32_t crc = 0;
	uint8_t *start, *trailer;

	header->ctrl.ulpdu_len = htobe16((uint16_t)(header_len + payload - IW_MPA_LENGTH));
	header->ctrl.ddp |= IW_DDP_VERSION | (last ? IW_DDP_LAST : 0);
	header->ctrl.rdmap |= IW_RDMAP_VERSION;
	start = tx_room(tx, header_len);
	memcpy(start, header, header_len);
	for (unsigned int i = 0; i < slices; i++) {
		if (!conn->crc) {
			tx_append(tx, slice[i].iov_base, slice[i].iov_len);
		} else if (iw_copy(tx_room(tx, slice[i].iov_len), slice[i].iov_base,
				   slice[i].iov_len)) {
			tx_rewind(tx, &mark);
			return -EFAULT;
		}
	}
	trailer = tx_room(tx, pad + IW_MPA_CRC_BYTES);
	memset(trailer, 0, pad);
	if (conn->crc)
		crc = htole32(crc32c(0, start, header_len + payload + pad));
	memcpy(trailer + pad, &crc, sizeof(crc));
	tx->unit[tx->units++] = (struct iw_unit){.end = tx->total, .kind = kind, .last = last};
	return 0;
}

/* Is there room for another unit of up to `payload` bytes in `slices` pieces? */
static bool tx_has_room(const struct iw_conn *conn, size_t payload, unsigned int slices)
{
	const struct iw_tx *tx = &conn->tx;
	size_t bytes = sizeof(union iw_header) + 3 + IW_MPA_CRC_BYTES + (conn->crc ? payload : 0);

	return tx->units < IW_TX_UNITS && tx->buf_len - tx->buf_used >= bytes &&
	       IW_TX_IOV - tx->iov_n >= slices + 2 && (tx->units == 0 || tx->total < IW_TX_BATCH);
}

/* The most payload behind a header of this length, a multiple of four so that none is padded. */
static uint32_t tx_max_payload(const struct iw_conn *conn, size_t header_len)
{
	return (conn->mulpdu - (uint32_t)(header_len - IW_MPA_LENGTH)) & ~3u;
}

/* ---- the peer's READs ------------------------------------------------------------------------ */

static enum tx_step tx_fail(struct iw_conn *conn, struct iw_fault fault)
{
	/* What was built before is sent first; the error comes up again then, with nothing before it. */
	if (conn->tx.units > 0)
		return TX_FULL;
	iw_conn_fail(conn, &fault);
	return TX_FAILED;
}

static enum tx_step tx_build_reply(struct iw_conn *conn)
{
	struct iw_reply *reply = &conn->replies[conn->replies_head % conn->ird];
	uint32_t max = tx_max_payload(conn, sizeof(struct iw_tagged));
	uint32_t payload = (uint32_t)min_u64(reply->length - reply->built, max);
	bool last = reply->built + payload == reply->length;
	union iw_header header = {
		.tagged.ctrl.ddp = IW_DDP_TAGGED,
		.tagged.ctrl.rdmap = IW_RDMAP_READ_RESPONSE,
		.tagged.stag = htobe32(reply->sink_stag),
		.tagged.to = htobe64(reply->sink_to + reply->built),
	};
	struct iovec slice = {.iov_len = payload};
	struct iw_fault fault;

	if (!tx_has_room(conn, payload, 1))
		return TX_FULL;
	if (payload > 0) {
		enum iw_key_result result = iw_key_check(
			&conn->cq->hold, conn, reply->source_stag, reply->source_to + reply->built,
			payload, FABRIC_ACCESS_REMOTE_READ, &slice.iov_base);

		if (result == IW_KEY_FULL)
			return TX_FULL;
		if (result != IW_KEY_OK) {
			fault = iw_fault_key(result, false);
			fault.context = false;
			return tx_fail(conn, fault);
		}
	}
	if (tx_unit(conn, &header, sizeof(header.tagged), &slice, payload > 0, payload,
		    IW_UNIT_REPLY, last)) {
		fault = iw_fault_key(IW_KEY_BOUNDS, false);
		fault.context = false;
		return tx_fail(conn, fault);
	}
	reply->built += payload;
	conn->tx.reply_run += payload;
	if (last) {
		conn->replies_head++;
		conn->tx.reply_turn = false;
	}
	return TX_BUILT;
}

/* ---- the send queue -------------------------------------------------------------------------- */

/*
 * The next `len` bytes of a request's list, as pieces of memory. Moves *at and *off. The keys stay
 * held. IW_KEY_OK, or what is wrong with a key.
 */
static enum iw_key_result tx_gather(struct iw_conn *conn, struct iw_swr *swr, uint32_t len,
				    unsigned int *at, uint32_t *off, struct iovec *slice,
				    unsigned int *slices)
{
	unsigned int n = 0;

	while (len > 0) {
		const struct fabric_sge *sge = &swr->sge[*at];
		uint32_t part = (uint32_t)min_u64(len, sge->length - *off);

		if (part > 0) {
			enum iw_key_result result =
				iw_key_check(&conn->cq->hold, conn, sge->lkey, sge->addr + *off,
					     part, 0, &slice[n].iov_base);

			if (result != IW_KEY_OK)
				return result;
			slice[n++].iov_len = part;
			len -= part;
			*off += part;
		}
		if (*off == sge->length) {
			++*at;
			*off = 0;
		}
	}
	*slices = n;
	return IW_KEY_OK;
}

static struct iw_fault tx_local_fault(const struct iw_conn *conn, enum fabric_status status)
{
	struct iw_fault fault = iw_fault_rdmap(IW_RDMAP_LOCAL_CATASTROPHIC, 0);

	fault.context = false;
	fault.send_status = status;
	fault.has_swr = true;
	fault.swr = conn->tx.next;
	return fault;
}

static uint32_t random_stag(struct iw_tx *tx)
{
	uint64_t z = tx->stag_seed += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)(z >> 32);
}

/* The request `next` is done with building: its last unit is in the batch. */
static void tx_message_built(struct iw_conn *conn)
{
	struct iw_tx *tx = &conn->tx;

	tx->next++;
	tx->built = 0;
	tx->sge_at = 0;
	tx->sge_off = 0;
	tx->reply_turn = true;
	tx->reply_run = 0;
}

static enum tx_step tx_build_read(struct iw_conn *conn, struct iw_swr *swr)
{
	struct iw_tx *tx = &conn->tx;
	struct iw_read *read = &conn->reads[conn->reads_tail % conn->ord];
	union iw_header header;

	if (!tx_has_room(conn, 0, 0))
		return TX_FULL;
	*read = (struct iw_read){.swr = tx->next, .sink_stag = random_stag(tx)};
	header.read = (struct iw_read_request){
		.u.ctrl.rdmap = IW_RDMAP_READ_REQUEST,
		.u.queue = htobe32(IW_QUEUE_READ_REQUEST),
		.u.msn = htobe32(tx->msn_read++),
		.sink_stag = htobe32(read->sink_stag),
		.length = htobe32(swr->length),
		.source_stag = htobe32(swr->rkey),
		.source_to = htobe64(swr->remote_addr),
	};
	(void)tx_unit(conn, &header, sizeof(header.read), NULL, 0, 0, IW_UNIT_SEND_QUEUE, true);
	conn->reads_tail++;
	swr->state = IW_SWR_READING;
	tx_message_built(conn);
	return TX_BUILT;
}

/* The opcode of a Send, by what it carries. */
static uint8_t tx_send_opcode(const struct iw_swr *swr)
{
	bool inv = swr->op == FABRIC_OP_SEND_INV;

	if (swr->flags & FABRIC_F_SOLICITED)
		return inv ? IW_RDMAP_SEND_SE_INV : IW_RDMAP_SEND_SE;
	return inv ? IW_RDMAP_SEND_INV : IW_RDMAP_SEND;
}

/* A segment of a Write or of a Send. */
static enum tx_step tx_build_segment(struct iw_conn *conn, struct iw_swr *swr)
{
	struct iw_tx *tx = &conn->tx;
	bool write = swr->op == FABRIC_OP_WRITE;
	size_t header_len = write ? sizeof(struct iw_tagged) : sizeof(struct iw_untagged);
	uint32_t left = swr->length - tx->built;
	uint32_t payload = (uint32_t)min_u64(left, tx_max_payload(conn, header_len));
	bool last = payload == left;
	struct iovec slice[FABRIC_MAX_SGE];
	unsigned int slices = 0, at = tx->sge_at;
	uint32_t off = tx->sge_off;
	union iw_header header;

	if (!tx_has_room(conn, payload, FABRIC_MAX_SGE))
		return TX_FULL;
	if (swr->inline_len > 0) {
		slice[0] = (struct iovec){(uint8_t *)swr->sge + tx->built, payload};
		slices = 1;
	} else {
		enum iw_key_result result =
			tx_gather(conn, swr, payload, &at, &off, slice, &slices);

		if (result == IW_KEY_FULL && tx->units > 0)
			return TX_FULL;
		if (result != IW_KEY_OK)
			return tx_fail(conn, tx_local_fault(conn, FABRIC_LOCAL_PROTECTION));
	}
	if (write)
		header.tagged = (struct iw_tagged){
			.ctrl.ddp = IW_DDP_TAGGED,
			.ctrl.rdmap = IW_RDMAP_WRITE,
			.stag = htobe32(swr->rkey),
			.to = htobe64(swr->remote_addr + tx->built),
		};
	else
		header.untagged = (struct iw_untagged){
			.ctrl.rdmap = tx_send_opcode(swr),
			.inv_stag = swr->op == FABRIC_OP_SEND_INV ? htobe32(swr->rkey) : 0,
			.queue = htobe32(IW_QUEUE_SEND),
			.msn = htobe32(tx->msn_send),
			.mo = htobe32(tx->built),
		};
	if (tx_unit(conn, &header, header_len, slice, slices, payload, IW_UNIT_SEND_QUEUE, last))
		return tx_fail(conn, tx_local_fault(conn, FABRIC_LOCAL_PROTECTION));
	tx->built += payload;
	tx->sge_at = at;
	tx->sge_off = off;
	if (last) {
		if (!write)
			tx->msn_send++;
		tx_message_built(conn);
	}
	return TX_BUILT;
}

/* Requests that send nothing. Everything before them has left, so they can take effect now. */
static enum tx_step tx_local(struct iw_conn *conn, struct iw_swr *swr)
{
	struct iw_tx *tx = &conn->tx;
	bool ok;

	if (tx->units > 0)
		return TX_FULL;
	iw_hold_drop(&conn->cq->hold);
	if (swr->op == FABRIC_OP_BIND_MW) {
		struct iw_mr *mr = swr->bind.mr;

		swr->bind.mr = NULL; /* the bind takes the reference over */
		ok = iw_window_bind(conn->dev, swr->bind.mw, mr, conn, swr->bind.key,
				    swr->bind.addr, swr->bind.length, swr->bind.access);
	} else {
		ok = iw_window_invalidate(conn->dev, &conn->cq->hold, conn, swr->rkey);
	}
	if (!ok)
		return tx_fail(conn, tx_local_fault(conn, swr->op == FABRIC_OP_BIND_MW
								  ? FABRIC_MW_BIND_ERROR
								  : FABRIC_LOCAL_PROTECTION));
	swr->state = IW_SWR_DONE;
	tx->next++;
	tx->sent_swr++;
	assert(tx->sent_swr == tx->next);
	return TX_BUILT;
}

/* May the request at the head of what is not built yet go now? */
static bool tx_queue_ready(const struct iw_conn *conn)
{
	const struct iw_tx *tx = &conn->tx;
	uint32_t reading = conn->reads_tail - conn->reads_head;
	const struct iw_swr *swr;

	if (tx->next == conn->sq.tail)
		return false;
	swr = iw_ring_at(&conn->sq, tx->next);
	/* Before the first unit has come nothing is sent, but a window may be bound. */
	if (tx->hold_back && swr->op != FABRIC_OP_BIND_MW && swr->op != FABRIC_OP_LOCAL_INV)
		return false;
	if ((swr->flags & FABRIC_F_FENCE) && reading > 0)
		return false;
	return swr->op != FABRIC_OP_READ || reading < conn->ord;
}

static enum tx_step tx_build_request(struct iw_conn *conn)
{
	struct iw_swr *swr = iw_ring_at(&conn->sq, conn->tx.next);

	switch ((enum fabric_op)swr->op) {
	case FABRIC_OP_SEND:
	case FABRIC_OP_SEND_INV:
	case FABRIC_OP_WRITE:
		return tx_build_segment(conn, swr);
	case FABRIC_OP_READ:
		return tx_build_read(conn, swr);
	default:
		return tx_local(conn, swr);
	}
}

static enum tx_step tx_build_one(struct iw_conn *conn)
{
	const struct iw_tx *tx = &conn->tx;
	bool reply = conn->replies_head != conn->replies_tail;
	bool request, begun;

	/* A message that was begun is finished first. */
	if (tx->built > 0)
		return tx_build_request(conn);
	request = tx_queue_ready(conn);
	begun = reply && conn->replies[conn->replies_head % conn->ird].built > 0;
	if (begun && conn->own && tx->reply_run >= IW_TX_BATCH && request)
		return tx_build_request(conn);
	if (begun)
		return tx_build_reply(conn);
	if (reply && (!request || tx->reply_turn))
		return tx_build_reply(conn);
	return request ? tx_build_request(conn) : TX_IDLE;
}

/* ---- pushing --------------------------------------------------------------------------------- */

static void tx_reset(struct iw_tx *tx)
{
	tx->buf_used = 0;
	tx->iov_n = tx->iov_at = 0;
	tx->units = tx->unit_at = 0;
	tx->total = tx->sent = 0;
	tx->refs = 0;
}

/* Fills the empty batch; the keys it points into stay held. False: the connection failed. */
static bool tx_build(struct iw_conn *conn)
{
	struct iw_hold *hold = &conn->cq->hold;
	struct iw_tx *tx = &conn->tx;
	enum tx_step step;

	do {
		step = tx_build_one(conn);
	} while (step == TX_BUILT);
	if (step == TX_FAILED)
		return false;
	if (conn->crc) {
		iw_hold_drop(hold);
		return true;
	}
	memcpy(tx->ref, hold->ref, hold->n * sizeof(hold->ref[0]));
	tx->refs = hold->n;
	return true;
}

/* The socket took `n` bytes: whole units end, and with their last one messages. */
static void tx_advance(struct iw_conn *conn, size_t n)
{
	struct iw_tx *tx = &conn->tx;

	tx->sent += n;
	while (n > 0) {
		struct iovec *iov = &tx->iov[tx->iov_at];
		size_t part = min_u64(n, iov->iov_len);

		iov->iov_base = (uint8_t *)iov->iov_base + part;
		iov->iov_len -= part;
		n -= part;
		if (iov->iov_len == 0)
			tx->iov_at++;
	}
	for (; tx->unit_at < tx->units && tx->unit[tx->unit_at].end <= tx->sent; tx->unit_at++) {
		const struct iw_unit *unit = &tx->unit[tx->unit_at];
		struct iw_swr *swr;

		if (unit->kind != IW_UNIT_SEND_QUEUE || !unit->last)
			continue;
		swr = iw_ring_at(&conn->sq, tx->sent_swr++);
		if (swr->op != FABRIC_OP_READ)
			swr->state = IW_SWR_DONE;
	}
	if (tx->sent == tx->total)
		tx_reset(tx);
}

/* A key of the batch has died, or a page, with part of the batch on the wire. */
static void tx_fail_sending(struct iw_conn *conn)
{
	struct iw_tx *tx = &conn->tx;
	bool reply = tx->unit[tx->unit_at].kind == IW_UNIT_REPLY;
	struct iw_fault fault;

	if (reply) {
		fault = iw_fault_key(IW_KEY_INVALID, false);
		fault.context = false;
	} else {
		fault = tx_local_fault(conn, FABRIC_LOCAL_PROTECTION);
		fault.swr = tx->sent_swr;
	}
	/* In the middle of a unit nothing can be said any more. */
	fault.terminate = tx->sent == (tx->unit_at ? tx->unit[tx->unit_at - 1].end : 0);
	iw_conn_fail(conn, &fault);
}

/* One sendmsg() of the batch whose keys are held; drops them. False: failed. */
static bool tx_push(struct iw_conn *conn)
{
	struct iw_tx *tx = &conn->tx;
	struct msghdr msg = {.msg_iov = tx->iov + tx->iov_at, .msg_iovlen = tx->iov_n - tx->iov_at};
	size_t left = tx->total - tx->sent;
	ssize_t n;

	n = sendmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno == EFAULT) {
		iw_touch(msg.msg_iov, msg.msg_iovlen);
		errno = EFAULT;
	}
	iw_hold_drop(&conn->cq->hold);
	if (n >= 0) {
		tx->blocked = (size_t)n < left;
		tx_advance(conn, (size_t)n);
		return true;
	}
	switch (errno) {
	case EAGAIN:
	case EINTR:
	case ENOBUFS:
	case ENOMEM:
		tx->blocked = true;
		return true;
	case EFAULT:
		tx_fail_sending(conn);
		return false;
	default:
		/* The peer may have said why: what it sent is read before this becomes an error. */
		tx->broken = true;
		tx->broken_errno = errno;
		return true;
	}
}

bool iw_tx_run(struct iw_conn *conn)
{
	struct iw_tx *tx = &conn->tx;
	bool moved = false;

	if (tx->broken)
		return false;
	tx->blocked = false;
	for (unsigned int batches = 0; batches < TURN_BATCHES && !tx->blocked && !tx->broken;) {
		uint32_t next = tx->next;

		if (tx->units > 0) {
			if (!iw_hold_again(&conn->cq->hold, tx->ref, tx->refs)) {
				tx_fail_sending(conn);
				return true;
			}
		} else {
			batches++;
			if (!tx_build(conn))
				return true;
			if (tx->units == 0) {
				iw_hold_drop(&conn->cq->hold);
				moved |= tx->next != next;
				break;
			}
		}
		if (!tx_push(conn))
			return true;
		moved |= !tx->blocked;
	}
	return moved;
}

bool iw_tx_pending(const struct iw_conn *conn)
{
	const struct iw_tx *tx = &conn->tx;

	return !tx->broken && (tx->units > 0 || conn->replies_head != conn->replies_tail ||
			       tx->built > 0 || tx_queue_ready(conn));
}

void iw_tx_terminate(struct iw_conn *conn, const struct iw_fault *fault)
{
	struct iw_tx *tx = &conn->tx;
	uint8_t bytes[IW_TERMINATE_UNIT_MAX];
	struct iovec iov[IW_TX_IOV + 1];
	struct msghdr msg = {.msg_iov = iov};
	size_t rest = 0;

	assert(conn->cq->hold.n == 0);
	if (tx->broken)
		return;
	/* The unit under way has to be finished first, if its memory may still be read. */
	if (tx->sent > (tx->unit_at ? tx->unit[tx->unit_at - 1].end : 0)) {
		if (!iw_hold_again(&conn->cq->hold, tx->ref, tx->refs))
			return;
		rest = tx->unit[tx->unit_at].end - tx->sent;
	}
	for (unsigned int i = tx->iov_at; rest > 0; i++) {
		size_t part = min_u64(rest, tx->iov[i].iov_len);

		iov[msg.msg_iovlen++] = (struct iovec){tx->iov[i].iov_base, part};
		rest -= part;
	}
	iov[msg.msg_iovlen++] = (struct iovec){bytes, iw_term_build(conn, fault, bytes)};
	/* If the socket does not take it, the peer learns from the end of the connection. */
	(void)sendmsg(conn->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	iw_hold_drop(&conn->cq->hold);
	tx_reset(tx);
}
