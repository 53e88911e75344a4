/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receiving side of a connection: cuts the stream into units, checks each header once, places
 * the payload where the check allows, ends messages.
 *
 * A small read-ahead buffer takes headers and what fits of small units with one system call; the
 * rest of a large unit is received straight into its place, with the header of the next one behind
 * it. Each piece placed is checked anew, under the key's hazard. With CRC the whole unit is first
 * received into the buffer, its sum checked, and only then is anything placed.
 *
 * There is no "receiver not ready" in iWARP: a Send that finds no receive posted ends the
 * connection (RFC 5041 §7.2), so whoever speaks over this room counts credits. Nobody can count
 * those of a shared queue: where that is empty the stream is not read on, with all that lies behind
 * the Send. Runs on the CQ's thread only, with the hazard naming the connection.
 */
#include "iwarp_internal.h"

#include <errno.h>
#include <string.h>

#define TURN_BYTES	 MIB(1) /* what one connection may receive before others have a turn */
#define MIN_ULPDU	 (sizeof(struct iw_tagged) - IW_MPA_LENGTH)
#define READ_REQUEST_LEN (sizeof(struct iw_read_request))

/*
 * What an opcode needs. `begin` checks the header of a unit; `place` tells where the next bytes of
 * its payload belong (keys held); `end` is called when the unit has landed. Each returns false with
 * the fault filled in.
 */
struct iw_opcode {
	bool tagged;
	bool local_sink; /* placed into memory of ours that the peer does not name */
	uint8_t header_len;
	uint8_t queue;
	bool (*begin)(struct iw_conn *conn, struct iw_fault *fault);
	bool (*place)(struct iw_conn *conn, uint32_t len, struct iovec *iov, unsigned int *n,
		      struct iw_fault *fault);
	bool (*end)(struct iw_conn *conn, struct iw_fault *fault);
};

/* ---- memory of ours -------------------------------------------------------------------------- */

static struct iw_fault rx_local_fault(void)
{
	struct iw_fault fault = iw_fault_rdmap(IW_RDMAP_LOCAL_CATASTROPHIC, 0);

	fault.context = false;
	return fault;
}

/* Bytes [off, off + len) of a list of entries, each checked for local write. */
static bool rx_scatter(struct iw_conn *conn, const struct fabric_sge *sge, uint32_t off,
		       uint32_t len, struct iovec *iov, unsigned int *n)
{
	unsigned int out = 0;

	for (; len > 0; sge++) {
		uint32_t part;

		if (off >= sge->length) {
			off -= sge->length;
			continue;
		}
		part = (uint32_t)min_u64(len, sge->length - off);
		if (iw_key_check(&conn->cq->hold, conn, sge->lkey, sge->addr + off, part,
				 FABRIC_ACCESS_LOCAL_WRITE, &iov[out].iov_base) != IW_KEY_OK)
			return false;
		iov[out++].iov_len = part;
		len -= part;
		off = 0;
	}
	*n = out;
	return true;
}

/* ---- Send ------------------------------------------------------------------------------------ */

static bool send_begin(struct iw_conn *conn, struct iw_fault *fault)
{
	struct iw_rx *rx = &conn->rx;
	const struct iw_untagged *h = &rx->header.untagged;

	*fault = iw_fault_ddp(IW_DDP_UNTAGGED_BUFFER, IW_DDP_U_BAD_MSN);
	if (be32toh(h->msn) != rx->msn_send)
		return false;
	fault->ecode = IW_DDP_U_BAD_MO;
	if (be32toh(h->mo) != (rx->receiving ? rx->received : 0))
		return false;
	if (!rx->receiving) {
		fault->ecode = IW_DDP_U_NO_BUFFER;
		rx->rwr = iw_recv_begin(conn);
		if (!rx->rwr)
			return false;
		rx->receiving = true;
		rx->received = 0;
	}
	fault->ecode = IW_DDP_U_TOO_LONG;
	fault->recv_status = FABRIC_LENGTH;
	return range_ok(rx->received, rx->payload, rx->rwr->length);
}

static bool send_place(struct iw_conn *conn, uint32_t len, struct iovec *iov, unsigned int *n,
		       struct iw_fault *fault)
{
	struct iw_rx *rx = &conn->rx;

	*fault = rx_local_fault();
	fault->recv_status = FABRIC_LOCAL_PROTECTION;
	return rx_scatter(conn, rx->rwr->sge, rx->received + rx->placed, len, iov, n);
}

static bool send_end(struct iw_conn *conn, struct iw_fault *fault)
{
	struct iw_rx *rx = &conn->rx;
	uint8_t opcode = rx->header.ctrl.rdmap & 0xf;
	bool inv = opcode == IW_RDMAP_SEND_INV || opcode == IW_RDMAP_SEND_SE_INV;
	uint32_t key = be32toh(rx->header.untagged.inv_stag);

	rx->received += rx->payload;
	if (!rx->last)
		return true;
	if (inv && !iw_window_invalidate(conn->dev, &conn->cq->hold, conn, key)) {
		*fault = iw_fault_rdmap(IW_RDMAP_REMOTE_PROTECTION, IW_RDMAP_CANNOT_INVALIDATE);
		return false;
	}
	rx->msn_send++;
	rx->receiving = false;
	iw_recv_done(conn, rx->received, inv, key);
	return true;
}

/* ---- RDMA Write ------------------------------------------------------------------------------ */

static bool write_check(struct iw_conn *conn, uint32_t off, uint32_t len, void **ptr,
			struct iw_fault *fault)
{
	const struct iw_tagged *h = &conn->rx.header.tagged;
	uint64_t to = be64toh(h->to) + off;
	enum iw_key_result result = iw_key_check(&conn->cq->hold, conn, be32toh(h->stag), to, len,
						 FABRIC_ACCESS_REMOTE_WRITE, ptr);

	if (result == IW_KEY_OK)
		return true;
	*fault = iw_fault_key(result, true);
	return false;
}

static bool write_begin(struct iw_conn *conn, struct iw_fault *fault)
{
	void *ptr;
	bool ok;

	/* Without payload the key means nothing (RFC 5041 §5.2). */
	if (conn->rx.payload == 0)
		return true;
	ok = write_check(conn, 0, conn->rx.payload, &ptr, fault);
	iw_hold_drop(&conn->cq->hold);
	return ok;
}

static bool write_place(struct iw_conn *conn, uint32_t len, struct iovec *iov, unsigned int *n,
			struct iw_fault *fault)
{
	iov->iov_len = len;
	*n = 1;
	return write_check(conn, conn->rx.placed, len, &iov->iov_base, fault);
}

static bool write_end(struct iw_conn *conn, struct iw_fault *fault)
{
	(void)conn;
	(void)fault;
	return true;
}

/* ---- RDMA Read Response ---------------------------------------------------------------------- */

static bool response_begin(struct iw_conn *conn, struct iw_fault *fault)
{
	const struct iw_rx *rx = &conn->rx;
	const struct iw_tagged *h = &rx->header.tagged;
	const struct iw_read *read;
	const struct iw_swr *swr;

	if (conn->reads_head == conn->reads_tail) {
		*fault = iw_fault_rdmap(IW_RDMAP_REMOTE_OPERATION, IW_RDMAP_BAD_OPCODE);
		return false;
	}
	read = &conn->reads[conn->reads_head % conn->ord];
	swr = iw_ring_at(&conn->sq, read->swr);
	*fault = iw_fault_ddp(IW_DDP_TAGGED_BUFFER, IW_DDP_T_INVALID_STAG);
	/* The key of the READ at the head, its bytes in sequence, and no more or fewer than asked. */
	if (be32toh(h->stag) != read->sink_stag)
		return false;
	fault->ecode = IW_DDP_T_BOUNDS;
	return be64toh(h->to) == read->received &&
	       range_ok(read->received, rx->payload, swr->length) &&
	       rx->last == (read->received + rx->payload == swr->length);
}

static bool response_place(struct iw_conn *conn, uint32_t len, struct iovec *iov, unsigned int *n,
			   struct iw_fault *fault)
{
	const struct iw_read *read = &conn->reads[conn->reads_head % conn->ord];
	const struct iw_swr *swr = iw_ring_at(&conn->sq, read->swr);

	*fault = rx_local_fault();
	fault->send_status = FABRIC_LOCAL_PROTECTION;
	fault->has_swr = true;
	fault->swr = read->swr;
	return rx_scatter(conn, swr->sge, read->received + conn->rx.placed, len, iov, n);
}

static bool response_end(struct iw_conn *conn, struct iw_fault *fault)
{
	struct iw_read *read = &conn->reads[conn->reads_head % conn->ord];
	struct iw_swr *swr = iw_ring_at(&conn->sq, read->swr);

	(void)fault;
	read->received += conn->rx.payload;
	if (conn->rx.last) {
		conn->reads_head++;
		swr->state = IW_SWR_DONE;
		/* Before what comes behind it. */
		iw_sq_reap(conn);
	}
	return true;
}

/* ---- RDMA Read Request ----------------------------------------------------------------------- */

static bool request_begin(struct iw_conn *conn, struct iw_fault *fault)
{
	const struct iw_rx *rx = &conn->rx;
	const struct iw_read_request *h = &rx->header.read;
	uint32_t length = be32toh(h->length);
	enum iw_key_result result;
	void *ptr;

	*fault = iw_fault_ddp(IW_DDP_UNTAGGED_BUFFER, IW_DDP_U_TOO_LONG);
	if (rx->payload > 0 || !rx->last)
		return false;
	fault->ecode = IW_DDP_U_BAD_MSN;
	if (be32toh(h->u.msn) != rx->msn_read)
		return false;
	fault->ecode = IW_DDP_U_BAD_MO;
	if (h->u.mo != 0)
		return false;
	fault->ecode = IW_DDP_U_NO_BUFFER;
	if (conn->replies_tail - conn->replies_head >= conn->ird)
		return false;
	if (length == 0)
		return true;
	/* Now, so that the Terminate can quote the request; and again with each segment sent. */
	result = iw_key_check(&conn->cq->hold, conn, be32toh(h->source_stag), be64toh(h->source_to),
			      length, FABRIC_ACCESS_REMOTE_READ, &ptr);
	iw_hold_drop(&conn->cq->hold);
	if (result == IW_KEY_OK)
		return true;
	*fault = iw_fault_key(result, false);
	return false;
}

static bool request_place(struct iw_conn *conn, uint32_t len, struct iovec *iov, unsigned int *n,
			  struct iw_fault *fault)
{
	(void)conn;
	(void)len;
	(void)iov;
	(void)n;
	*fault = rx_local_fault();
	assert(!"a Read Request has no payload");
	return false;
}

static bool request_end(struct iw_conn *conn, struct iw_fault *fault)
{
	const struct iw_read_request *h = &conn->rx.header.read;

	(void)fault;
	conn->replies[conn->replies_tail++ % conn->ird] = (struct iw_reply){
		.sink_stag = be32toh(h->sink_stag),
		.sink_to = be64toh(h->sink_to),
		.source_stag = be32toh(h->source_stag),
		.source_to = be64toh(h->source_to),
		.length = be32toh(h->length),
	};
	conn->rx.msn_read++;
	return true;
}

/* ---- Terminate ------------------------------------------------------------------------------- */

static bool terminate_begin(struct iw_conn *conn, struct iw_fault *fault)
{
	/* Whatever it says, it is the end: no Terminate answers a Terminate. */
	*fault = iw_fault_silent(FABRIC_GENERAL_ERROR);
	return conn->rx.payload <= IW_TERMINATE_MAX;
}

static bool terminate_place(struct iw_conn *conn, uint32_t len, struct iovec *iov, unsigned int *n,
			    struct iw_fault *fault)
{
	(void)fault;
	*iov = (struct iovec){conn->rx.terminate + conn->rx.placed, len};
	*n = 1;
	return true;
}

static bool terminate_end(struct iw_conn *conn, struct iw_fault *fault)
{
	*fault = iw_fault_silent(iw_term_status(conn->rx.terminate, conn->rx.payload));
	return false;
}

static const struct iw_opcode opcodes[IW_RDMAP_OPCODES] = {
	[IW_RDMAP_WRITE] = {true, false, sizeof(struct iw_tagged), 0, write_begin, write_place,
			    write_end},
	[IW_RDMAP_READ_REQUEST] = {false, false, READ_REQUEST_LEN, IW_QUEUE_READ_REQUEST,
				   request_begin, request_place, request_end},
	[IW_RDMAP_READ_RESPONSE] = {true, true, sizeof(struct iw_tagged), 0, response_begin,
				    response_place, response_end},
	[IW_RDMAP_SEND] = {false, true, sizeof(struct iw_untagged), IW_QUEUE_SEND, send_begin,
			   send_place, send_end},
	[IW_RDMAP_SEND_INV] = {false, true, sizeof(struct iw_untagged), IW_QUEUE_SEND, send_begin,
			       send_place, send_end},
	[IW_RDMAP_SEND_SE] = {false, true, sizeof(struct iw_untagged), IW_QUEUE_SEND, send_begin,
			      send_place, send_end},
	[IW_RDMAP_SEND_SE_INV] = {false, true, sizeof(struct iw_untagged), IW_QUEUE_SEND,
				  send_begin, send_place, send_end},
	[IW_RDMAP_TERMINATE] = {false, true, sizeof(struct iw_untagged), IW_QUEUE_TERMINATE,
				terminate_begin, terminate_place, terminate_end},
};

/* ---- units ----------------------------------------------------------------------------------- */

enum rx_step {
	RX_ON,	  /* go on */
	RX_NEED,  /* more bytes are needed than are at hand */
	RX_STALL, /* cannot go on now though there may be bytes */
	RX_FAIL,  /* the fault says why */
};

static uint32_t rx_have(const struct iw_rx *rx)
{
	return rx->tail - rx->head;
}

/* What is wrong with a header that every opcode has in common; in the order of the layers. */
static bool rx_header_ok(struct iw_rx *rx, struct iw_fault *fault)
{
	const struct iw_ctrl *ctrl = &rx->header.ctrl;
	bool tagged = ctrl->ddp & IW_DDP_TAGGED;

	if ((ctrl->ddp & 0x03) != IW_DDP_VERSION) {
		*fault = tagged ? iw_fault_ddp(IW_DDP_TAGGED_BUFFER, IW_DDP_T_BAD_VERSION)
				: iw_fault_ddp(IW_DDP_UNTAGGED_BUFFER, IW_DDP_U_BAD_VERSION);
		return false;
	}
	*fault = iw_fault_rdmap(IW_RDMAP_REMOTE_OPERATION, IW_RDMAP_BAD_VERSION);
	if ((ctrl->rdmap & 0xc0) != IW_RDMAP_VERSION)
		return false;
	fault->ecode = IW_RDMAP_BAD_OPCODE;
	if ((ctrl->rdmap & 0xf) >= IW_RDMAP_OPCODES)
		return false;
	rx->op = &opcodes[ctrl->rdmap & 0xf];
	return rx->op->tagged == tagged;
}

/* Takes the header of the next unit out of the buffer. */
static enum rx_step rx_header(struct iw_conn *conn, struct iw_fault *fault)
{
	struct iw_rx *rx = &conn->rx;
	const uint8_t *p = rx->buf + rx->head;
	uint32_t ulpdu, pad;

	if (rx_have(rx) < sizeof(struct iw_tagged))
		return RX_NEED;
	memset(&rx->header, 0, sizeof(rx->header));
	memcpy(&rx->header, p, sizeof(struct iw_tagged));
	rx->header_len = sizeof(struct iw_tagged);
	ulpdu = be16toh(rx->header.ctrl.ulpdu_len);
	pad = -(IW_MPA_LENGTH + ulpdu) & 3;
	*fault = (struct iw_fault){.send_status = FABRIC_FLUSHED,
				   .recv_status = FABRIC_FLUSHED,
				   .terminate = true,
				   .layer = IW_LAYER_MPA,
				   .ecode = IW_MPA_FRAMING};
	if (ulpdu < MIN_ULPDU)
		return RX_FAIL;
	if (conn->crc) {
		uint32_t covered = IW_MPA_LENGTH + ulpdu + pad;
		uint32_t crc;

		if (rx_have(rx) < covered + IW_MPA_CRC_BYTES)
			return RX_NEED;
		memcpy(&crc, p + covered, sizeof(crc));
		fault->ecode = IW_MPA_CRC_ERROR;
		if (le32toh(crc) != crc32c(0, p, covered))
			return RX_FAIL;
	}
	/* For a Terminate to quote, should the opcode turn out to be none. */
	memcpy(&rx->header, p, min_u64(rx_have(rx), sizeof(struct iw_untagged)));
	if (!rx_header_ok(rx, fault))
		return RX_FAIL;
	if (IW_MPA_LENGTH + ulpdu < rx->op->header_len) {
		fault->context = false;
		fault->layer = IW_LAYER_MPA;
		fault->etype = 0;
		fault->ecode = IW_MPA_FRAMING;
		return RX_FAIL;
	}
	if (rx_have(rx) < rx->op->header_len)
		return RX_NEED;
	if (rx->op->begin == send_begin && !rx->receiving && !iw_recv_take(conn))
		return RX_STALL;
	memcpy(&rx->header, p, rx->op->header_len);
	rx->header_len = rx->op->header_len;
	rx->head += rx->header_len;
	rx->payload = IW_MPA_LENGTH + ulpdu - rx->header_len;
	rx->placed = 0;
	rx->pad = pad;
	rx->last = rx->header.ctrl.ddp & IW_DDP_LAST;
	if (!rx->op->tagged && be32toh(rx->header.untagged.queue) != rx->op->queue) {
		*fault = iw_fault_ddp(IW_DDP_UNTAGGED_BUFFER, IW_DDP_U_BAD_QUEUE);
		return RX_FAIL;
	}
	if (!rx->op->begin(conn, fault))
		return RX_FAIL;
	conn->tx.hold_back = false;
	rx->state = IW_RX_PAYLOAD;
	return RX_ON;
}

/* What an access beyond the end of a file means: the peer's fault if it named the place. */
static void rx_efault(const struct iw_rx *rx, struct iw_fault *fault)
{
	if (!rx->op->local_sink)
		*fault = iw_fault_key(IW_KEY_BOUNDS, true);
	/* else place() has filled in what a bad local buffer means */
}

/* Places what is in the buffer. */
static enum rx_step rx_place_buffered(struct iw_conn *conn, struct iw_fault *fault)
{
	struct iw_rx *rx = &conn->rx;
	uint32_t len = (uint32_t)min_u64(rx->payload - rx->placed, rx_have(rx));
	struct iovec iov[FABRIC_MAX_SGE];
	unsigned int n = 0;
	bool ok = rx->op->place(conn, len, iov, &n, fault);

	for (unsigned int i = 0; ok && i < n; i++) {
		if (iw_copy(iov[i].iov_base, rx->buf + rx->head, iov[i].iov_len)) {
			rx_efault(rx, fault);
			ok = false;
		}
		rx->head += (uint32_t)iov[i].iov_len;
	}
	iw_hold_drop(&conn->cq->hold);
	rx->placed += len;
	return ok ? RX_ON : RX_FAIL;
}

/* One recvmsg() or recv(); RX_ON if bytes came. */
static enum rx_step rx_came(struct iw_conn *conn, ssize_t n, size_t wanted, struct iw_fault *fault)
{
	struct iw_rx *rx = &conn->rx;
	int error = n < 0 ? errno : conn->tx.broken_errno;

	if (n > 0) {
		rx->drained = (size_t)n < wanted;
		return RX_ON;
	}
	if (n < 0 && (error == EAGAIN || error == EINTR)) {
		rx->drained = true;
		return RX_NEED;
	}
	if (n < 0 && error == EFAULT)
		rx_efault(rx, fault);
	else if (error == ETIMEDOUT || error == EHOSTUNREACH)
		*fault = iw_fault_silent(FABRIC_RETRY_EXCEEDED);
	else
		*fault = iw_fault_silent(FABRIC_FLUSHED);
	return RX_FAIL;
}

/* The buffer is empty: receives the rest of the payload into its place, and a little behind it. */
static enum rx_step rx_place_direct(struct iw_conn *conn, struct iw_fault *fault)
{
	struct iw_rx *rx = &conn->rx;
	uint32_t len = rx->payload - rx->placed;
	struct iovec iov[FABRIC_MAX_SGE + 1];
	struct msghdr msg = {.msg_iov = iov};
	uint32_t ahead = rx->pad + IW_MPA_CRC_BYTES + rx->op->header_len;
	enum rx_step step;
	unsigned int count = 0;
	ssize_t n;

	if (!rx->op->place(conn, len, iov, &count, fault)) {
		iw_hold_drop(&conn->cq->hold);
		return RX_FAIL;
	}
	/* Within a message the next unit is a large one as well: only its header. */
	if (rx->last)
		ahead = rx->size;
	iov[count] = (struct iovec){rx->buf, ahead};
	msg.msg_iovlen = count + 1;
	n = recvmsg(conn->fd, &msg, MSG_DONTWAIT);
	if (n < 0 && errno == EFAULT) {
		iw_touch(iov, count);
		errno = EFAULT;
	}
	iw_hold_drop(&conn->cq->hold);
	step = rx_came(conn, n, (size_t)len + ahead, fault);
	if (step != RX_ON)
		return step;
	rx->placed += (uint32_t)min_u64((size_t)n, len);
	rx->head = 0;
	rx->tail = (size_t)n > len ? (uint32_t)((size_t)n - len) : 0;
	return RX_ON;
}

static enum rx_step rx_payload(struct iw_conn *conn, struct iw_fault *fault)
{
	struct iw_rx *rx = &conn->rx;

	if (rx->placed == rx->payload) {
		rx->state = IW_RX_TRAILER;
		return RX_ON;
	}
	if (rx_have(rx) > 0)
		return rx_place_buffered(conn, fault);
	return rx->drained ? RX_NEED : rx_place_direct(conn, fault);
}

static enum rx_step rx_trailer(struct iw_conn *conn, struct iw_fault *fault)
{
	struct iw_rx *rx = &conn->rx;

	if (rx_have(rx) < rx->pad + IW_MPA_CRC_BYTES)
		return RX_NEED;
	/* A message must not end without room to say so. */
	if (rx->receiving && rx->last && !iw_cq_room(conn->cq))
		return RX_STALL;
	rx->head += rx->pad + IW_MPA_CRC_BYTES;
	rx->state = IW_RX_HEADER;
	return rx->op->end(conn, fault) ? RX_ON : RX_FAIL;
}

/* Reads ahead into the buffer. */
static enum rx_step rx_fill(struct iw_conn *conn, struct iw_fault *fault)
{
	struct iw_rx *rx = &conn->rx;
	size_t room;
	ssize_t n;

	if (rx->drained)
		return RX_NEED;
	if (rx->head > 0) {
		memmove(rx->buf, rx->buf + rx->head, rx_have(rx));
		rx->tail -= rx->head;
		rx->head = 0;
	}
	room = rx->size - rx->tail;
	assert(room > 0);
	n = recv(conn->fd, rx->buf + rx->tail, room, MSG_DONTWAIT);
	if (n > 0)
		rx->tail += (uint32_t)n;
	return rx_came(conn, n, room, fault);
}

bool iw_rx_run(struct iw_conn *conn)
{
	static enum rx_step (*const step_of[])(struct iw_conn *conn, struct iw_fault *fault) = {
		[IW_RX_HEADER] = rx_header,
		[IW_RX_PAYLOAD] = rx_payload,
		[IW_RX_TRAILER] = rx_trailer,
	};
	struct iw_rx *rx = &conn->rx;
	struct iw_fault fault = iw_fault_silent(FABRIC_FLUSHED);
	enum rx_step step = RX_ON;
	uint64_t bytes = 0;
	bool moved = false;

	rx->drained = false;
	while (step == RX_ON && bytes < TURN_BYTES) {
		enum iw_rx_state state = rx->state;

		step = step_of[state](conn, &fault);
		if (step == RX_NEED && state != IW_RX_PAYLOAD)
			step = rx_fill(conn, &fault);
		if (step != RX_ON)
			break;
		moved = true;
		if (state == IW_RX_TRAILER)
			bytes += rx->payload;
	}
	rx->stalled = step == RX_STALL || step == RX_ON;
	if (step == RX_FAIL) {
		iw_conn_fail(conn, &fault);
		moved = true;
	}
	return moved;
}
