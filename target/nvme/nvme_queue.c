// SPDX-License-Identifier: BSD-3-Clause
/*
 * An NVMe queue's memory and its place in the life of a connection (queue.c): capsules, requests,
 * the queue pair, the receives. What requests do is in request.c and transfer.c.
 */
#include "nvme/nvme_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "nvme/controller.h"
#include "nvme/direct_queue.h"
#include "nvme/receives.h"

#define RECV_BATCH 32
/* Send queue entries beyond one per command: chains of reads and writes share them. */
#define SPARE_SEND_WRS 64
/* Of an admin queue: what Linux asks for, and our own client. */
#define USUAL_ADMIN_DEPTH 32

static const struct queue_ops nvme_queue_ops;

unsigned int nvme_completions_wanted(const struct nvme_limits *limits, unsigned int nr_reactors)
{
	uint64_t deepest = 2 * (uint64_t)limits->queue_depth + SPARE_SEND_WRS;
	uint64_t admin = 2 * min_u64(USUAL_ADMIN_DEPTH, limits->queue_depth) + SPARE_SEND_WRS;
	uint64_t controllers = (limits->max_controllers + nr_reactors - 1) / nr_reactors;
	uint64_t wanted = (limits->max_io_queues + 1) * deepest +
			  controllers * (admin + deepest + DIRECT_QUEUE_COMPLETIONS);

	return (unsigned int)min_u64(wanted + limits->shared_receives, NVME_MAX_COMPLETIONS);
}

bool queue_is_nvme(const struct queue *q)
{
	return q->ops == &nvme_queue_ops;
}

/* ---- birth ------------------------------------------------------------------------------------ */

static uint32_t capsule_stride(const struct nvme_queue *nq)
{
	return (uint32_t)align_up(sizeof(struct nvme_command) + nq->limits.inline_bytes, 64);
}

/* Its own; none if it shares. */
static unsigned int nr_capsules(const struct nvme_queue *nq)
{
	return nq->q.shared ? 0 : nq->q.receives;
}

static int make_memory(struct nvme_queue *nq)
{
	struct fabric_pd *pd = nq->q.target->env.holdings->block_pds[nq->q.device];
	size_t capsules = (size_t)nr_capsules(nq) * capsule_stride(nq);
	int err;

	nq->memory_bytes =
		align_up(capsules + nq->nr_requests * sizeof(struct nvme_completion), 4096);
	nq->memory = mmap(NULL, nq->memory_bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (nq->memory == MAP_FAILED)
		return -ENOMEM;
	err = fabric_mr_reg(pd, nq->memory, nq->memory_bytes, (uint64_t)(uintptr_t)nq->memory,
			    FABRIC_ACCESS_LOCAL_WRITE, &nq->mr);
	if (err)
		(void)munmap(nq->memory, nq->memory_bytes);
	return err;
}

/* Mapped, and in small pages, so that those never used stay untouched. */
static int map_requests(struct nvme_queue *nq)
{
	void *requests = mmap(NULL, nq->nr_requests * sizeof(*nq->requests), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (requests == MAP_FAILED)
		return -ENOMEM;
	(void)madvise(requests, nq->nr_requests * sizeof(*nq->requests), MADV_NOHUGEPAGE);
	nq->requests = requests;
	return 0;
}

static void free_arrays(struct nvme_queue *nq)
{
	if (nq->requests)
		(void)munmap(nq->requests, nq->nr_requests * sizeof(*nq->requests));
	free(nq->capsules);
	nq->capsules = NULL;
	nq->requests = NULL;
}

static void free_memory(struct nvme_queue *nq)
{
	(void)fabric_mr_dereg(nq->mr);
	(void)munmap(nq->memory, nq->memory_bytes);
}

static int nvme_queue_prepare(struct queue *q)
{
	struct nvme_queue *nq = nvme_queue_of(q);
	struct fabric_device *dev = fabric_conn_device(q->conn);
	struct fabric_qp_attr attr = {
		.pd = q->target->env.holdings->block_pds[q->device],
		.cq = reactor_cq_at(q->nr->reactor, dev, q->cq),
		.max_send_wr = q->send_wrs,
		.srq = q->shared ? receive_pool_srq(q->nr->receives[q->device]) : NULL,
		.max_recv_wr = nr_capsules(nq),
		.max_send_sge = q->max_sge,
		.max_recv_sge = 1,
		.max_inline = sizeof(struct nvme_completion),
	};
	int err;

	nq->capsules = calloc((size_t)nr_capsules(nq) + 1, sizeof(*nq->capsules));
	if (!nq->capsules)
		return -ENOMEM;
	err = map_requests(nq);
	if (err)
		goto free_arrays;
	err = make_memory(nq);
	if (err)
		goto free_arrays;
	err = fabric_qp_create(q->conn, &attr);
	if (err)
		goto free_memory;
	return 0;

free_memory:
	free_memory(nq);
free_arrays:
	free_arrays(nq);
	return err;
}

static int nvme_queue_prepared(struct queue *q)
{
	(void)q;
	return 0;
}

static void capsule_received(struct reactor_wr *wr, const struct fabric_wc *wc)
{
	struct capsule *capsule = container_of(wr, struct capsule, wr);
	struct queue *q = &capsule->queue->q;

	if (wc->status != FABRIC_OK) {
		queue_fail_by(q, wc->status, "a receive failed");
	} else if (!q->failed) {
		capsule->bytes = wc->byte_len;
		capsule->queue->in_hand++;
		request_start(capsule);
	}
	queue_done_posted(q);
}

/* Those that were taken are counted, also where the rest was not. */
static int post_receives(struct nvme_queue *nq, unsigned int first, unsigned int n)
{
	struct fabric_recv_wr wr[RECV_BATCH], *bad = NULL;
	struct fabric_sge sge[RECV_BATCH];
	int err;

	for (unsigned int i = 0; i < n; i++) {
		struct capsule *capsule = &nq->capsules[first + i];

		sge[i] = (struct fabric_sge){
			.addr = (uint64_t)(uintptr_t)capsule->data,
			.length = (uint32_t)sizeof(struct nvme_command) + nq->limits.inline_bytes,
			.lkey = nq->mr->lkey,
		};
		wr[i] = (struct fabric_recv_wr){
			.next = i + 1 < n ? &wr[i + 1] : NULL,
			.wr_id = reactor_wr_id(&capsule->wr),
			.sg_list = &sge[i],
			.num_sge = 1,
		};
	}
	err = fabric_post_recv(nq->q.conn, wr, &bad);
	nq->q.posted += err ? (unsigned int)(bad - wr) : n;
	return err;
}

void capsule_repost(struct capsule *capsule)
{
	struct nvme_queue *nq = capsule->queue;

	if (capsule->pool) {
		receive_pool_post(capsule->pool, capsule);
		return;
	}
	if (nq->q.failed)
		return;
	if (post_receives(nq, (unsigned int)(capsule - nq->capsules), 1) < 0)
		queue_fail(&nq->q, "a receive could not be posted");
}

static int nvme_queue_arm(struct queue *q)
{
	struct nvme_queue *nq = nvme_queue_of(q);

	for (unsigned int i = 0; i < nr_capsules(nq); i++) {
		nq->capsules[i] = (struct capsule){
			.wr.done = capsule_received,
			.queue = nq,
			.data = nq->memory + (size_t)i * capsule_stride(nq),
		};
	}
	nq->cqes = (void *)(nq->memory + (size_t)nr_capsules(nq) * capsule_stride(nq));
	nq->send_free = q->send_wrs;
	for (unsigned int i = 0; i < BOUNCE_KINDS; i++)
		bounce_line_init(&nq->lines[i], q->nr->bounce[q->device], (enum bounce_kind)i);
	stall_watch(nq);
	for (unsigned int first = 0; first < nr_capsules(nq); first += RECV_BATCH) {
		unsigned int n = (unsigned int)min_u64(RECV_BATCH, nr_capsules(nq) - first);
		int err = post_receives(nq, first, n);

		if (err) {
			(void)fabric_conn_fence(q->conn);
			return err;
		}
	}
	return 0;
}

static void nvme_queue_accept_data(struct queue *q, uint8_t data[32])
{
	struct nvmf_rdma_cm_accept wire = {.crqsize = htole16((uint16_t)q->receives)};

	memcpy(data, &wire, sizeof(wire));
}

/* ---- death ------------------------------------------------------------------------------------ */

static void nvme_queue_stopping(struct queue *q)
{
	struct nvme_queue *nq = nvme_queue_of(q);

	if (nq->owner)
		controller_queue_stopping(nq);
	else
		refusal_of_queue(nq);
}

static void nvme_queue_drain(struct queue *q)
{
	struct nvme_queue *nq = nvme_queue_of(q);
	struct list *l;

	stall_forget(nq);
	while ((l = list_pop(&nq->received)))
		capsule_repost(list_entry(l, struct capsule, link));
	if (nq->controller && nq->qid == 0)
		nq->controller->a.nr_held = 0;
	for (unsigned int i = 0; i < nq->nr_used; i++) {
		struct request *r = &nq->requests[i];

		switch (r->state) {
		case REQUEST_WAIT_LOCK:
			if (request_cancel_lock(r))
				request_release(r);
			break;
		case REQUEST_WAIT_FUSED:
			/* The second half works in the place of the first, and takes it along. */
			if (!request_holds_for_pair(r))
				request_release(r);
			break;
		case REQUEST_WAIT_BUFFER:
		case REQUEST_WAIT_FETCH:
		case REQUEST_WAIT_SEND:
		case REQUEST_HELD:
			request_release(r);
			break;
		default:
			break;
		}
	}
}

static bool nvme_queue_may_destroy(struct queue *q)
{
	(void)q;
	return true;
}

static void nvme_queue_destroyed(struct queue *q)
{
	struct nvme_queue *nq = nvme_queue_of(q);

	if (nq->requests)
		free_memory(nq);
	free_arrays(nq);
}

static void nvme_queue_free(struct queue *q)
{
	struct nvme_queue *nq = nvme_queue_of(q);

	controller_queue_gone(nq);
	listener_put(nq->listener);
	free(nq);
}

static const struct queue_ops nvme_queue_ops = {
	.prepare = nvme_queue_prepare,
	.prepared = nvme_queue_prepared,
	.arm = nvme_queue_arm,
	.accept_data = nvme_queue_accept_data,
	.stopping = nvme_queue_stopping,
	.drain = nvme_queue_drain,
	.may_destroy = nvme_queue_may_destroy,
	.destroyed = nvme_queue_destroyed,
	.free = nvme_queue_free,
};

/* ---- the request ------------------------------------------------------------------------------ */

uint16_t nvme_queue_new(struct nvme_target *t, struct cm_channel *channel,
			const struct fabric_cm_event *event, const struct cm_request *request)
{
	const struct fabric_device_info *info = fabric_device_info(fabric_conn_device(event->conn));
	const struct nvme_limits *limits = &t->env.limits;
	struct nvme_listener *listener = fabric_listener_user(event->listener);
	uint64_t depth = min_u64(min_u64(request->sqsize, request->hrqsize), limits->queue_depth);
	struct nvme_queue *nq;

	if (info->max_qp_wr)
		depth = min_u64(depth, info->max_qp_wr);
	if (request->qid > limits->max_io_queues)
		return NVMF_RDMA_CM_INVALID_QID;
	/* Older hosts do not say which; no controller has the id 0. */
	if (request->qid > 0 && request->cntlid != 0 && !controller_find(t, request->cntlid))
		return NVMF_RDMA_CM_INVALID_CNTLID;
	/*
	 * Without RDMA READs towards the host no command could bring data. Of an iWARP adapter 0 may
	 * only mean that nothing was said. How many READs the host wants is met as far as the adapter
	 * can, which its connection manager is told in the answer: no wish is refused.
	 */
	if (event->initiator_depth == 0 &&
	    (info->transport == FABRIC_TRANSPORT_IB || info->software_fabric))
		return NVMF_RDMA_CM_INVALID_IRD;
	nq = calloc(1, sizeof(*nq));
	if (!nq)
		return NVMF_RDMA_CM_NO_RESOURCES;
	nq->cm_qid = request->qid;
	nq->listener = listener;
	nq->nr_requests = (unsigned int)(2 * depth);
	nq->limits = (struct capsule_limits){
		.inline_bytes = limits->inline_bytes,
		.mdts_bytes = limits->mdts_bytes,
		.admin = request->qid == 0,
		.no_invalidate = listener->options.no_invalidate,
	};
	list_init(&nq->owner_link);
	list_init(&nq->reactor_link);
	list_init(&nq->free_requests);
	list_init(&nq->received);
	list_init(&nq->sends);
	list_init(&nq->fetches);
	nq->q.ops = &nvme_queue_ops;
	nq->q.receives = (unsigned int)depth;
	nq->q.may_share = request->qid > 0;
	nq->q.send_wrs = (unsigned int)depth + SPARE_SEND_WRS;
	if (info->max_qp_wr)
		nq->q.send_wrs = (unsigned int)min_u64(nq->q.send_wrs, info->max_qp_wr);
	if (queue_start(&nq->q, t, channel, event) < 0) {
		free(nq);
		return NVMF_RDMA_CM_NO_RESOURCES;
	}
	listener_get(listener);
	return 0;
}
