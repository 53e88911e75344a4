// SPDX-License-Identifier: BSD-3-Clause
/*
 * Completion queues, receive queues, queue pairs and work requests over libibverbs. Posting,
 * polling and arming run on the thread that owns the completion queue; creating and destroying on
 * any, off polling threads; fencing on any at any time.
 *
 * A completion names its queue pair by number only, and, where it failed, not even whether it was a
 * receive. So the queue keeps a small table of its connections by number, and bit 63 of a receive's
 * wr_id is ours, with bit 62 for those of a shared queue. Software providers leave completions of a
 * destroyed queue pair in the queue and may give its number out again at once, others throw them
 * away: destroying one takes everything off the queue, before and after, and keeps what belongs to
 * the living or to a shared queue.
 */
#include "fabric/verbs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define WR_ID_RECV   (1ull << 63)
#define WR_ID_SHARED (1ull << 62) /* with the other */

/* No queue pair has this number: instead of a dead one's in what is kept. */
#define NO_QP 0u

/* How long a queue pair in error may take to say that it has taken its last receive. */
#define LAST_TAKEN_MS	  2000
#define FIRST_TAKEN_MS	  200 /* the same, of an adapter that has never said so yet */
#define FIRST_TAKEN_TRIES 8   /* after so many it is not waited for: some software never does */

#define POST_BATCH 16
#define POLL_BATCH 16

/* The lists are handed to rdma-core as they are. */
static_assert(sizeof(struct fabric_sge) == sizeof(struct ibv_sge), "sge size");
static_assert(offsetof(struct fabric_sge, addr) == offsetof(struct ibv_sge, addr), "sge addr");
static_assert(offsetof(struct fabric_sge, length) == offsetof(struct ibv_sge, length),
	      "sge length");
static_assert(offsetof(struct fabric_sge, lkey) == offsetof(struct ibv_sge, lkey), "sge lkey");

/* ---- completion queues ---------------------------------------------------------------------- */

int verbs_cq_create(struct fabric_device *base, unsigned int entries, struct fabric_cq **out)
{
	struct verbs_device *dev = verbs_device(base);
	struct verbs_cq *cq;
	int rc, flags;

	if (entries > dev->max_cqe)
		return -ENOMEM;
	cq = calloc(1, sizeof(*cq));
	if (!cq)
		return -ENOMEM;
	cq->base.ops = &verbs_ops;
	(void)pthread_mutex_init(&cq->lock, NULL);
	errno = 0;
	cq->channel = ibv_create_comp_channel(dev->ctx);
	if (!cq->channel) {
		rc = verbs_error(errno);
		goto free_cq;
	}
	cq->base.fd = cq->channel->fd;
	flags = fcntl(cq->base.fd, F_GETFL);
	if (flags < 0 || fcntl(cq->base.fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		rc = verbs_error(errno);
		goto destroy_channel;
	}
	errno = 0;
	cq->cq = ibv_create_cq(dev->ctx, (int)entries, cq, cq->channel, 0);
	if (!cq->cq) {
		rc = verbs_error(errno);
		goto destroy_channel;
	}
	*out = &cq->base;
	return 0;

destroy_channel:
	(void)ibv_destroy_comp_channel(cq->channel);
free_cq:
	(void)pthread_mutex_destroy(&cq->lock);
	free(cq);
	return rc;
}

void verbs_cq_destroy(struct fabric_cq *base)
{
	struct verbs_cq *cq = VERBS_OF(cq, base);
	int err;

	/* Waits for acknowledgements, of which verbs_cq_arm() leaves none open. */
	err = ibv_destroy_cq(cq->cq);
	assert(err == 0); /* else a connection still uses it */
	(void)err;
	(void)ibv_destroy_comp_channel(cq->channel);
	(void)pthread_mutex_destroy(&cq->lock);
	free(cq->stash);
	free(cq);
}

int verbs_cq_arm(struct fabric_cq *base)
{
	struct verbs_cq *cq = VERBS_OF(cq, base);
	unsigned int events = 0;
	struct ibv_cq *which;
	void *context;
	int err;

	while (ibv_get_cq_event(cq->channel, &which, &context) == 0)
		events++;
	if (events > 0)
		ibv_ack_cq_events(cq->cq, events);
	err = ibv_req_notify_cq(cq->cq, 0);
	return err ? verbs_error(err) : 0;
}

static struct verbs_conn **bucket_of(struct verbs_cq *cq, uint32_t qp_num)
{
	/* Adapters spread the numbers over either end. */
	return &cq->buckets[(qp_num ^ qp_num >> 8 ^ qp_num >> 16) % VERBS_CQ_BUCKETS];
}

static struct verbs_conn *find_conn(struct verbs_cq *cq, uint32_t qp_num)
{
	struct verbs_conn *conn = *bucket_of(cq, qp_num);

	while (conn && conn->qp->qp_num != qp_num)
		conn = conn->next;
	return conn;
}

static enum fabric_status wc_status(enum ibv_wc_status status)
{
	switch (status) {
	case IBV_WC_SUCCESS:
		return FABRIC_OK;
	case IBV_WC_WR_FLUSH_ERR:
		return FABRIC_FLUSHED;
	case IBV_WC_REM_ACCESS_ERR:
		return FABRIC_REMOTE_ACCESS;
	case IBV_WC_LOC_PROT_ERR:
	case IBV_WC_LOC_ACCESS_ERR:
		return FABRIC_LOCAL_PROTECTION;
	case IBV_WC_LOC_LEN_ERR:
		return FABRIC_LENGTH;
	case IBV_WC_REM_INV_REQ_ERR:
	case IBV_WC_REM_OP_ERR:
	case IBV_WC_REM_ABORT_ERR:
		return FABRIC_REMOTE_OPERATION;
	case IBV_WC_RETRY_EXC_ERR:
		return FABRIC_RETRY_EXCEEDED;
	case IBV_WC_RNR_RETRY_EXC_ERR:
		return FABRIC_RNR_EXCEEDED;
	case IBV_WC_MW_BIND_ERR:
		return FABRIC_MW_BIND_ERROR;
	default:
		return FABRIC_GENERAL_ERROR;
	}
}

static enum fabric_op wc_op(const struct ibv_wc *wc)
{
	if (wc->wr_id & WR_ID_RECV)
		return FABRIC_OP_RECV;
	if (wc->status != IBV_WC_SUCCESS)
		return FABRIC_OP_SEND; /* the opcode is not valid */
	switch (wc->opcode) {
	case IBV_WC_RDMA_WRITE:
		return FABRIC_OP_WRITE;
	case IBV_WC_RDMA_READ:
		return FABRIC_OP_READ;
	case IBV_WC_BIND_MW:
		return FABRIC_OP_BIND_MW;
	case IBV_WC_LOCAL_INV:
		return FABRIC_OP_LOCAL_INV;
#ifdef LEASEHOLD_HAVE_IBV_WR_FLUSH
	case IBV_WC_FLUSH:
		return FABRIC_OP_FLUSH;
#endif
	default:
		return FABRIC_OP_SEND;
	}
}

/* False if the completion is a dead connection's, and no receive of a shared queue. */
static bool wc_convert(struct verbs_cq *cq, const struct ibv_wc *wc, struct fabric_wc *out)
{
	struct verbs_conn *conn = find_conn(cq, wc->qp_num);
	bool shared = wc->wr_id & WR_ID_SHARED;

	if (!conn && !shared)
		return false;
	if (conn && wc->status != IBV_WC_SUCCESS)
		atomic_store_explicit(&conn->broken, true, memory_order_relaxed);
	*out = (struct fabric_wc){
		.wr_id = wc->wr_id & ~(WR_ID_RECV | WR_ID_SHARED),
		.conn = conn ? &conn->base : NULL,
		.user = conn && shared ? conn->base.user : NULL,
		.status = wc_status(wc->status),
		.op = wc_op(wc),
	};
	if (out->status == FABRIC_OK && out->op == FABRIC_OP_RECV) {
		out->byte_len = wc->byte_len;
		if (wc->wc_flags & IBV_WC_WITH_INV) {
			out->flags = FABRIC_WC_WITH_INV;
			out->inv_rkey = wc->invalidated_rkey;
		}
	}
	return true;
}

static int take_completions(struct verbs_cq *cq, struct ibv_wc *wc, unsigned int n)
{
	if (cq->stash_count > 0) {
		if (n > cq->stash_count)
			n = cq->stash_count;
		memcpy(wc, cq->stash + cq->stash_head, n * sizeof(*wc));
		cq->stash_head += n;
		cq->stash_count -= n;
		return (int)n;
	}
	return ibv_poll_cq(cq->cq, (int)n, wc);
}

int verbs_cq_poll(struct fabric_cq *base, struct fabric_wc *out, unsigned int n)
{
	struct verbs_cq *cq = VERBS_OF(cq, base);
	struct ibv_wc wc[POLL_BATCH];
	unsigned int got = 0;
	int count = 1;

	(void)pthread_mutex_lock(&cq->lock);
	while (got < n && count > 0) {
		unsigned int want = n - got < POLL_BATCH ? n - got : POLL_BATCH;

		count = take_completions(cq, wc, want);
		for (int i = 0; i < count; i++)
			got += wc_convert(cq, &wc[i], &out[got]);
		if (count > 0 && (unsigned int)count < want && cq->stash_count == 0)
			break;
	}
	(void)pthread_mutex_unlock(&cq->lock);
	return got == 0 && count < 0 ? -EIO : (int)got;
}

/* To be kept when a connection dies: what the living own, and receives of shared queues. */
static bool outlives(struct verbs_cq *cq, struct ibv_wc *wc)
{
	if (find_conn(cq, wc->qp_num))
		return true;
	/* Its number may be another's before this is polled. */
	wc->qp_num = NO_QP;
	return wc->wr_id & WR_ID_SHARED;
}

/* Takes all off the queue, drops what no living connection owns, keeps the rest for polling. */
static void stash_living(struct verbs_cq *cq)
{
	unsigned int first = cq->stash_head, end = first + cq->stash_count;
	struct ibv_wc wc[POLL_BATCH];
	int count;

	cq->stash_head = cq->stash_count = 0;
	for (unsigned int i = first; i < end; i++)
		if (outlives(cq, &cq->stash[i]))
			cq->stash[cq->stash_count++] = cq->stash[i];
	do {
		if (cq->stash_size - cq->stash_count < POLL_BATCH) {
			unsigned int size = cq->stash_size * 2 + POLL_BATCH;
			struct ibv_wc *more = realloc(cq->stash, size * sizeof(*more));

			if (!more)
				return; /* they stay in the queue: only a number's reuse could hurt */
			cq->stash = more;
			cq->stash_size = size;
		}
		count = ibv_poll_cq(cq->cq, POLL_BATCH, wc);
		for (int i = 0; i < count; i++)
			if (outlives(cq, &wc[i]))
				cq->stash[cq->stash_count++] = wc[i];
	} while (count > 0);
}

/* ---- receive queues and queue pairs --------------------------------------------------------- */

int verbs_srq_create(struct fabric_pd *pd, unsigned int max_wr, unsigned int max_sge,
		     struct fabric_srq **out)
{
	struct ibv_srq_init_attr attr = {.attr = {.max_wr = max_wr, .max_sge = max_sge}};
	int async_fd = verbs_device(pd->device)->ctx->async_fd;
	int flags = fcntl(async_fd, F_GETFL);
	struct verbs_srq *srq;

	if (verbs_device(pd->device)->max_srq_wr == 0)
		return -EOPNOTSUPP;
	if (max_wr > verbs_device(pd->device)->max_srq_wr)
		return -ENOMEM;
	/* See wait_last_taken(): another may have taken the event that was announced. */
	if (flags < 0 || fcntl(async_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return verbs_error(errno);
	srq = calloc(1, sizeof(*srq));
	if (!srq)
		return -ENOMEM;
	srq->base.ops = &verbs_ops;
	srq->max_sge = max_sge;
	errno = 0;
	srq->srq = ibv_create_srq(VERBS_OF(pd, pd)->pd, &attr);
	if (!srq->srq) {
		int rc = verbs_error(errno);

		free(srq);
		return rc;
	}
	*out = &srq->base;
	return 0;
}

void verbs_srq_destroy(struct fabric_srq *base)
{
	struct verbs_srq *srq = VERBS_OF(srq, base);
	int err = ibv_destroy_srq(srq->srq);

	assert(err == 0); /* else a connection still uses it */
	(void)err;
	free(srq);
}

int verbs_qp_create(struct fabric_conn *base, const struct fabric_qp_attr *attr)
{
	struct verbs_conn *conn = verbs_conn(base);
	struct verbs_device *dev = verbs_device(base->device);
	const struct fabric_device_info *info = &base->device->info;
	struct verbs_cq *cq = VERBS_OF(cq, attr->cq);
	uint32_t max_inline = attr->max_inline < info->max_inline_bytes ? attr->max_inline
									: info->max_inline_bytes;
	struct ibv_qp_init_attr_ex init = {
		.qp_context = conn,
		.send_cq = cq->cq,
		.recv_cq = cq->cq,
		.srq = attr->srq ? VERBS_OF(srq, attr->srq)->srq : NULL,
		.cap = {.max_send_wr = attr->max_send_wr,
			.max_recv_wr = attr->srq ? 0 : attr->max_recv_wr,
			.max_send_sge = attr->max_send_sge,
			.max_recv_sge = attr->srq ? 0 : attr->max_recv_sge,
			.max_inline_data = max_inline},
		.qp_type = IBV_QPT_RC,
		.comp_mask = IBV_QP_INIT_ATTR_PD,
		.pd = VERBS_OF(pd, attr->pd)->pd,
	};
	struct verbs_conn **bucket;
	int rc = 0;

	if (conn->qp)
		return -EINVAL;
	if (attr->max_send_wr > info->max_qp_wr || attr->max_recv_wr > info->max_qp_wr ||
	    attr->max_send_sge > info->max_sge || attr->max_recv_sge > info->max_sge)
		return -ENOMEM;
#ifdef LEASEHOLD_HAVE_IBV_WR_FLUSH
	if (info->flush) {
		init.comp_mask |= IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
		init.send_ops_flags = IBV_QP_EX_WITH_FLUSH;
	}
#endif
	(void)pthread_mutex_lock(&dev->qp_lock);
	errno = 0;
	if (conn->cm.id) {
		rc = verbs_cm_result(rdma_create_qp_ex(conn->cm.id, &init));
		/* Limits were checked: it is the kernel's id that is in no state for it. */
		if (rc == -EINVAL && conn->state == VERBS_CONN_REQUESTED)
			rc = -ENOTCONN;
		conn->qp = rc ? NULL : conn->cm.id->qp;
	} else {
		conn->qp = ibv_create_qp_ex(dev->ctx, &init);
		rc = conn->qp ? 0 : verbs_error(errno);
	}
	if (conn->qp) {
#ifdef LEASEHOLD_HAVE_IBV_WR_FLUSH
		conn->qpx = info->flush ? ibv_qp_to_qp_ex(conn->qp) : NULL;
#endif
		conn->cq = cq;
		conn->has_srq = attr->srq;
		conn->max_inline = max_inline;
		conn->max_send_sge = attr->max_send_sge;
		conn->max_recv_sge = attr->max_recv_sge;
		(void)pthread_mutex_lock(&cq->lock);
		bucket = bucket_of(cq, conn->qp->qp_num);
		conn->next = *bucket;
		*bucket = conn;
		(void)pthread_mutex_unlock(&cq->lock);
	}
	(void)pthread_mutex_unlock(&dev->qp_lock);
	return rc;
}

/* Reads one event, waits for it at most until then; false: there is none. */
static bool take_event(struct verbs_device *dev, uint64_t end_ns)
{
	struct pollfd pfd = {.fd = dev->ctx->async_fd, .events = POLLIN};
	struct ibv_async_event event;
	uint64_t now = now_ns();
	int wait_ms = now < end_ns ? (int)((end_ns - now) / NS_PER_MS) + 1 : 0;

	if (poll(&pfd, 1, wait_ms) <= 0)
		return false;
	if (ibv_get_async_event(dev->ctx, &event))
		return true; /* another has taken it */
	if (event.event_type == IBV_EVENT_QP_LAST_WQE_REACHED) {
		struct verbs_conn *conn = event.element.qp->qp_context;

		dev->tells_last = true;
		atomic_store(&conn->last_taken, true);
	}
	ibv_ack_async_event(&event);
	return true;
}

/*
 * A queue pair in error may still be about to complete receives of its shared queue; the adapter
 * says when the last is out. One that never got as far as to receive is not waited for.
 */
static void wait_last_taken(struct verbs_device *dev, struct verbs_conn *conn)
{
	uint64_t end_ns = now_ns();

	(void)pthread_mutex_lock(&dev->event_lock);
	if (dev->tells_last)
		end_ns += LAST_TAKEN_MS * NS_PER_MS;
	else if (dev->silent < FIRST_TAKEN_TRIES)
		end_ns += FIRST_TAKEN_MS * NS_PER_MS;
	while (!atomic_load(&conn->last_taken) && take_event(dev, end_ns))
		continue;
	if (!atomic_load(&conn->last_taken) && dev->silent < FIRST_TAKEN_TRIES)
		dev->silent++;
	(void)pthread_mutex_unlock(&dev->event_lock);
}

void verbs_qp_destroy(struct verbs_conn *conn)
{
	struct verbs_device *dev = verbs_device(conn->base.device);
	struct verbs_cq *cq = conn->cq;
	struct verbs_conn **link;

	if (!conn->qp)
		return;
	if (conn->may_take) {
		(void)verbs_conn_fence(&conn->base);
		wait_last_taken(dev, conn);
	}
	(void)pthread_mutex_lock(&dev->qp_lock);
	(void)pthread_mutex_lock(&cq->lock);
	for (link = bucket_of(cq, conn->qp->qp_num); *link != conn; link = &(*link)->next)
		assert(*link);
	*link = conn->next;
	if (conn->has_srq)
		stash_living(cq);
	(void)pthread_mutex_unlock(&cq->lock);

	if (conn->cm.id)
		rdma_destroy_qp(conn->cm.id);
	else
		(void)ibv_destroy_qp(conn->qp);

	(void)pthread_mutex_lock(&cq->lock);
	stash_living(cq);
	(void)pthread_mutex_unlock(&cq->lock);
	(void)pthread_mutex_unlock(&dev->qp_lock);
	conn->qp = NULL;
}

/*
 * rxe's tasks may be in the middle of a packet when this returns; nothing that a program can call
 * waits for them but destroying the queue pair or deregistering the memory, which both do.
 */
int verbs_conn_fence(struct fabric_conn *base)
{
	struct verbs_conn *conn = verbs_conn(base);
	struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
	int err;

	if (!conn->qp)
		return 0;
	atomic_store_explicit(&conn->broken, true, memory_order_relaxed);
	/* Not skipped if it was done before: another thread's call may not have returned yet. */
	err = ibv_modify_qp(conn->qp, &attr, IBV_QP_STATE);
	return err ? verbs_error(err) : 0;
}

/* ---- work requests -------------------------------------------------------------------------- */

static unsigned int sge_bytes(const struct fabric_send_wr *wr)
{
	unsigned int bytes = 0;

	for (unsigned int i = 0; i < wr->num_sge; i++)
		bytes += wr->sg_list[i].length;
	return bytes;
}

/* An entry of length 0 means 2 GiB to some adapters. */
static int used_sges(const struct fabric_sge *sge, unsigned int num)
{
	while (num > 0 && sge[num - 1].length == 0)
		num--;
	return (int)num;
}

static int convert_bind(const struct fabric_send_wr *wr, struct ibv_send_wr *out)
{
	if (!wr->bind.mw || !wr->bind.mr)
		return -EINVAL;
	out->opcode = IBV_WR_BIND_MW;
	out->bind_mw.mw = VERBS_OF(mw, wr->bind.mw)->mw;
	out->bind_mw.rkey = ibv_inc_rkey(out->bind_mw.mw->rkey);
	out->bind_mw.bind_info.mr = VERBS_OF(mr, wr->bind.mr)->mr;
	out->bind_mw.bind_info.addr = wr->bind.addr;
	out->bind_mw.bind_info.length = wr->bind.length;
	out->bind_mw.bind_info.mw_access_flags = verbs_access(wr->bind.access);
	return 0;
}

static int convert_send(const struct verbs_conn *conn, const struct fabric_send_wr *wr,
			struct ibv_send_wr *out)
{
	unsigned int flags = 0;

	assert(!(wr->wr_id & (WR_ID_RECV | WR_ID_SHARED)));
	if (wr->num_sge > conn->max_send_sge)
		return -EINVAL;
	if (wr->flags & FABRIC_F_SIGNALED)
		flags |= IBV_SEND_SIGNALED;
	if (wr->flags & FABRIC_F_SOLICITED)
		flags |= IBV_SEND_SOLICITED;
	if (wr->flags & FABRIC_F_FENCE)
		flags |= IBV_SEND_FENCE;
	if ((wr->flags & FABRIC_F_INLINE) && conn->max_inline > 0) {
		if (sge_bytes(wr) > conn->max_inline)
			return -EINVAL;
		flags |= IBV_SEND_INLINE;
	}
	*out = (struct ibv_send_wr){
		.wr_id = wr->wr_id,
		.sg_list = (struct ibv_sge *)(void *)wr->sg_list,
		.num_sge = used_sges(wr->sg_list, wr->num_sge),
		.send_flags = flags,
	};
	switch (wr->op) {
	case FABRIC_OP_SEND:
		out->opcode = IBV_WR_SEND;
		return 0;
	case FABRIC_OP_SEND_INV:
		out->opcode = IBV_WR_SEND_WITH_INV;
		out->invalidate_rkey = wr->rkey;
		return 0;
	case FABRIC_OP_WRITE:
		out->opcode = IBV_WR_RDMA_WRITE;
		break;
	case FABRIC_OP_READ:
		out->opcode = IBV_WR_RDMA_READ;
		out->send_flags &= ~(unsigned int)IBV_SEND_INLINE;
		break;
	case FABRIC_OP_LOCAL_INV:
		out->opcode = IBV_WR_LOCAL_INV;
		out->num_sge = 0;
		out->invalidate_rkey = wr->rkey;
		return 0;
	case FABRIC_OP_BIND_MW:
		out->num_sge = 0;
		return convert_bind(wr, out);
	default:
		return -EINVAL;
	}
	out->wr.rdma.remote_addr = wr->remote_addr;
	out->wr.rdma.rkey = wr->rkey;
	return 0;
}

static int post_flush(struct verbs_conn *conn, struct fabric_send_wr *wr)
{
#ifdef LEASEHOLD_HAVE_IBV_WR_FLUSH
	struct ibv_qp_ex *qp = conn->qpx;
	int err;

	if (!qp)
		return -EOPNOTSUPP;
	ibv_wr_start(qp);
	qp->wr_id = wr->wr_id;
	qp->wr_flags = wr->flags & FABRIC_F_SIGNALED ? IBV_SEND_SIGNALED : 0;
	if (wr->flags & FABRIC_F_FENCE)
		qp->wr_flags |= IBV_SEND_FENCE;
	ibv_wr_flush(qp, wr->rkey, wr->remote_addr, wr->flush.length,
		     wr->flush.level == FABRIC_FLUSH_PERSISTENT ? IBV_FLUSH_PERSISTENT
								: IBV_FLUSH_GLOBAL,
		     IBV_FLUSH_RANGE);
	err = ibv_wr_complete(qp);
	return err ? verbs_error(err) : 0;
#else
	(void)conn;
	(void)wr;
	return -EOPNOTSUPP;
#endif
}

/*
 * Posts the longest run from *wr that one doorbell can take; leaves *wr at the first request that was
 * not posted. A window's bind ends a run: the new key has to be in place before the next is made.
 */
static int post_run(struct verbs_conn *conn, struct fabric_send_wr **wr)
{
	struct ibv_send_wr batch[POST_BATCH], *failed = NULL;
	struct fabric_send_wr *from[POST_BATCH], *pos = *wr, *bind = NULL;
	unsigned int n = 0;
	int rc = 0, err;

	while (pos && n < POST_BATCH && !bind && pos->op != FABRIC_OP_FLUSH) {
		rc = convert_send(conn, pos, &batch[n]);
		if (rc)
			break;
		if (n > 0)
			batch[n - 1].next = &batch[n];
		if (pos->op == FABRIC_OP_BIND_MW)
			bind = pos;
		from[n] = pos;
		pos = pos->next;
		n++;
	}
	if (n == 0)
		return rc;
	err = ibv_post_send(conn->qp, batch, &failed);
	if (err) {
		*wr = from[failed ? failed - batch : 0];
		return verbs_error(err);
	}
	if (bind) {
		bind->rkey = batch[n - 1].bind_mw.rkey;
		bind->bind.mw->rkey = bind->rkey;
		batch[n - 1].bind_mw.mw->rkey = bind->rkey;
	}
	*wr = pos;
	return rc;
}

int verbs_post_send(struct fabric_conn *base, struct fabric_send_wr *wr,
		    struct fabric_send_wr **bad)
{
	struct verbs_conn *conn = verbs_conn(base);
	int rc = conn->qp ? 0 : -ENOTCONN;

	while (wr && rc == 0) {
		if (atomic_load_explicit(&conn->broken, memory_order_relaxed)) {
			rc = -ENOTCONN;
		} else if (wr->op == FABRIC_OP_FLUSH) {
			rc = post_flush(conn, wr);
			if (rc == 0)
				wr = wr->next;
		} else {
			rc = post_run(conn, &wr);
		}
	}
	if (rc)
		*bad = wr;
	return rc;
}

/* One run of receives, for either kind of queue: exactly one of qp and srq is given. */
static int post_recv_run(struct ibv_qp *qp, struct ibv_srq *srq, unsigned int max_sge,
			 struct fabric_recv_wr **wr)
{
	struct ibv_recv_wr batch[POST_BATCH], *failed = NULL;
	struct fabric_recv_wr *from[POST_BATCH], *pos = *wr;
	unsigned int n = 0;
	int rc = 0, err;

	for (; pos && n < POST_BATCH; pos = pos->next, n++) {
		assert(!(pos->wr_id & (WR_ID_RECV | WR_ID_SHARED)));
		if (pos->num_sge > max_sge) {
			rc = -EINVAL;
			break;
		}
		batch[n] = (struct ibv_recv_wr){
			.wr_id = pos->wr_id | WR_ID_RECV | (qp ? 0 : WR_ID_SHARED),
			.sg_list = (struct ibv_sge *)(void *)pos->sg_list,
			.num_sge = used_sges(pos->sg_list, pos->num_sge),
		};
		from[n] = pos;
		if (n > 0)
			batch[n - 1].next = &batch[n];
	}
	if (n == 0)
		return rc;
	err = qp ? ibv_post_recv(qp, batch, &failed) : ibv_post_srq_recv(srq, batch, &failed);
	if (err) {
		*wr = from[failed ? failed - batch : 0];
		return verbs_error(err);
	}
	*wr = pos;
	return rc;
}

int verbs_post_recv(struct fabric_conn *base, struct fabric_recv_wr *wr,
		    struct fabric_recv_wr **bad)
{
	struct verbs_conn *conn = verbs_conn(base);
	int rc = 0;

	if (!conn->qp || atomic_load_explicit(&conn->broken, memory_order_relaxed))
		rc = -ENOTCONN;
	else if (conn->has_srq)
		rc = -EINVAL;
	while (wr && rc == 0)
		rc = post_recv_run(conn->qp, NULL, conn->max_recv_sge, &wr);
	if (rc)
		*bad = wr;
	return rc;
}

int verbs_post_srq_recv(struct fabric_srq *base, struct fabric_recv_wr *wr,
			struct fabric_recv_wr **bad)
{
	struct verbs_srq *srq = VERBS_OF(srq, base);
	int rc = 0;

	while (wr && rc == 0)
		rc = post_recv_run(NULL, srq->srq, srq->max_sge, &wr);
	if (rc)
		*bad = wr;
	return rc;
}
