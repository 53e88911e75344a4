// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bytes between the host's memory and ours, and the response: work requests are chained and posted
 * with one doorbell. RDMA WRITEs and the response that follows them are one chain; only its last is
 * signaled. RDMA READs are bounded by the negotiated depth. What does not fit the send queue waits,
 * in order.
 */
#include "nvme/nvme_queue.h"

#include <errno.h>

#include "nvme/controller.h"

DEFINE_COUNTER(bytes_out, "nvme_bytes_to_hosts", "Bytes sent by RDMA WRITE");
DEFINE_COUNTER(bytes_in, "nvme_bytes_from_hosts", "Bytes fetched by RDMA READ");
DEFINE_COUNTER(send_waits, "nvme_send_queue_waits", "Chains that waited for a send queue");

/* Of one transfer: each begins where a segment or a piece of the host's memory does. */
#define MAX_PARTS (NVME_MAX_SEGMENTS + NVME_MAX_KEYED)

/*
 * The next work request from `at` on: as many segments as it can name, to or from one piece of the
 * host's memory.
 */
static void next_part(const struct request *r, unsigned int max_sge, struct transfer_place *at,
		      struct fabric_send_wr *wr, struct fabric_sge *sges)
{
	const struct keyed_sgl *keyed = &r->command.keyed[at->keyed];
	unsigned int n = 0;

	assert(at->keyed < r->command.nr_keyed);
	*wr = (struct fabric_send_wr){
		.remote_addr = keyed->address + at->keyed_bytes,
		.rkey = keyed->key,
		.sg_list = sges,
	};
	while (n < max_sge && at->segment < r->nr_segments && at->keyed_bytes < keyed->length) {
		const struct fabric_sge *s = &r->segments[at->segment];
		uint32_t length = (uint32_t)min_u64(s->length - at->segment_bytes,
						    keyed->length - at->keyed_bytes);

		sges[n++] = (struct fabric_sge){
			.addr = s->addr + at->segment_bytes,
			.length = length,
			.lkey = s->lkey,
		};
		at->segment_bytes += length;
		at->keyed_bytes += length;
		if (at->segment_bytes == s->length) {
			at->segment++;
			at->segment_bytes = 0;
		}
	}
	if (at->keyed_bytes == keyed->length) {
		at->keyed++;
		at->keyed_bytes = 0;
	}
	wr->num_sge = n;
}

/* How many work requests that makes. */
static unsigned int count_parts(const struct request *r, unsigned int max_sge)
{
	struct transfer_place at = {0};
	struct fabric_send_wr wr;
	struct fabric_sge sges[NVME_MAX_SEGMENTS];
	unsigned int n = 0;

	if (r->command.nr_keyed == 1)
		return (r->nr_segments + max_sge - 1) / max_sge;
	for (; at.segment < r->nr_segments; n++)
		next_part(r, max_sge, &at, &wr, sges);
	return n;
}

/*
 * Memory that is the file's own is missing, on our side: it was cut by somebody who did not ask, or is
 * damaged, which the touch finds out. The
 * connection is lost with it; by the time the host comes again the file is served as it is.
 */
static void check_memory(const struct request *r, enum fabric_status status)
{
	if (status != FABRIC_LOCAL_PROTECTION || !r->keyed)
		return;
	view_touch(r->use->serving->view, r->range.offset, r->range.length);
	holding_suspect(r->use->serving->holding);
}

/* An unsignaled request completes only if it failed; its chain's last one then completes too. */
static void part_done(struct reactor_wr *wr, const struct fabric_wc *wc)
{
	struct request *r = container_of(wr, struct request, part_wr);

	check_memory(r, wc->status);
	if (wc->status != FABRIC_OK)
		queue_fail_by(&r->queue->q, wc->status, "a transfer failed");
}

/* ---- towards the host ------------------------------------------------------------------------- */

static void send_done(struct reactor_wr *wr, const struct fabric_wc *wc)
{
	struct request *r = container_of(wr, struct request, last_wr);
	struct nvme_queue *nq = r->queue;

	nq->send_free += r->chain;
	nq->sends_done++;
	if (wc->status != FABRIC_OK)
		queue_fail(&nq->q, "a response could not be sent");
	request_release(r);
	transfer_kick(nq);
}

static void fill_completion(struct request *r)
{
	struct nvme_queue *nq = r->queue;
	uint16_t sqhd = 0xffff; /* flow control is off */

	if (!nq->sq_flow_off) {
		nq->sqhd = nq->entries ? (uint16_t)((nq->sqhd + 1) % nq->entries) : 0;
		sqhd = nq->sqhd;
	}
	*r->cqe = (struct nvme_completion){
		.dw0 = htole32(r->dw0),
		.dw1 = htole32(r->dw1),
		.sqhd = htole16(sqhd),
		.sqid = htole16(0),
		.cid = r->command.cid,
		.status = htole16((uint16_t)(r->status << 1)),
	};
}

static unsigned int send_chain(const struct request *r)
{
	return r->send_data ? count_parts(r, r->queue->q.max_sge) + 1 : 1;
}

static void post_send(struct request *r)
{
	struct nvme_queue *nq = r->queue;
	struct fabric_send_wr wr[MAX_PARTS + 1];
	struct fabric_sge sges[MAX_PARTS], cqe_sge;
	struct transfer_place at = {0};
	unsigned int n = 0, used = 0;

	request_set_state(r, REQUEST_SENDING);
	/* Its receive first: the host may use it as soon as it has the response. */
	request_put_capsule(r);
	if (nq->q.failed) {
		request_release(r);
		return;
	}
	for (; r->send_data && at.segment < r->nr_segments; n++) {
		next_part(r, nq->q.max_sge, &at, &wr[n], &sges[used]);
		wr[n].next = &wr[n + 1];
		wr[n].wr_id = reactor_wr_id(&r->part_wr);
		wr[n].op = FABRIC_OP_WRITE;
		used += wr[n].num_sge;
	}
	if (r->send_data)
		counter_add(&bytes_out, r->command.length);
	fill_completion(r);
	cqe_sge = (struct fabric_sge){
		.addr = (uint64_t)(uintptr_t)r->cqe,
		.length = sizeof(*r->cqe),
		.lkey = nq->mr->lkey,
	};
	wr[n++] = (struct fabric_send_wr){
		.wr_id = reactor_wr_id(&r->last_wr),
		.op = r->command.invalidate ? FABRIC_OP_SEND_INV : FABRIC_OP_SEND,
		.flags = FABRIC_F_SIGNALED,
		.sg_list = &cqe_sge,
		.num_sge = 1,
		.rkey = r->command.invalidate ? r->command.invalidate_key : 0,
	};
	r->part_wr.done = part_done;
	r->last_wr.done = send_done;
	r->chain = n;
	nq->send_free -= n;
	stall_expect(nq);
	if (fabric_post_send(nq->q.conn, wr, NULL) < 0) {
		/* The fence comes with it: what was posted of the chain touches nothing any more. */
		queue_fail(&nq->q, "a response could not be posted");
		request_release(r);
	}
}

void transfer_send(struct request *r)
{
	struct nvme_queue *nq = r->queue;

	if (nq->q.failed) {
		request_release(r);
		return;
	}
	request_account(r);
	if (list_empty(&nq->sends) && nq->send_free >= send_chain(r)) {
		post_send(r);
		return;
	}
	request_set_state(r, REQUEST_WAIT_SEND);
	list_push(&nq->sends, &r->link);
	counter_add(&send_waits, 1);
}

/* ---- from the host ---------------------------------------------------------------------------- */

static void fetch_done(struct reactor_wr *wr, const struct fabric_wc *wc)
{
	struct request *r = container_of(wr, struct request, last_wr);
	struct nvme_queue *nq = r->queue;

	nq->send_free += r->chain;
	nq->reads_used -= r->chain;
	nq->reads_done++;
	request_set_state(r, REQUEST_PARSED);
	check_memory(r, wc->status);
	if (wc->status != FABRIC_OK)
		queue_fail_by(&nq->q, wc->status, "data could not be fetched");
	if (nq->q.failed)
		request_release(r);
	else if (r->fetched_to.segment < r->nr_segments)
		transfer_fetch(r);
	else
		r->fetched(r);
	transfer_kick(nq);
}

/* As many READs as there is room for now. False: none. */
static bool post_fetch(struct request *r)
{
	struct nvme_queue *nq = r->queue;
	unsigned int depth = atomic_load_explicit(&nq->q.read_depth, memory_order_relaxed);
	struct fabric_send_wr wr[MAX_PARTS];
	struct fabric_sge sges[MAX_PARTS];
	unsigned int room, n = 0, used = 0;

	/* Not known yet: the first command can overtake our own accept. */
	depth = depth ? depth : 1;
	room = depth > nq->reads_used ? depth - nq->reads_used : 0;
	room = (unsigned int)min_u64(room, nq->send_free);
	if (room == 0)
		return false;
	for (; r->fetched_to.segment < r->nr_segments && n < room; n++) {
		next_part(r, nq->q.max_read_sge, &r->fetched_to, &wr[n], &sges[used]);
		wr[n].next = &wr[n + 1];
		wr[n].wr_id = reactor_wr_id(&r->part_wr);
		wr[n].op = FABRIC_OP_READ;
		used += wr[n].num_sge;
	}
	wr[n - 1].next = NULL;
	wr[n - 1].wr_id = reactor_wr_id(&r->last_wr);
	wr[n - 1].flags = FABRIC_F_SIGNALED;
	r->part_wr.done = part_done;
	r->last_wr.done = fetch_done;
	r->chain = n;
	nq->send_free -= n;
	nq->reads_used += n;
	stall_expect(nq);
	request_set_state(r, REQUEST_FETCHING);
	if (r->fetched_to.segment == r->nr_segments)
		counter_add(&bytes_in, r->command.length);
	if (fabric_post_send(nq->q.conn, wr, NULL) < 0) {
		queue_fail(&nq->q, "a fetch could not be posted");
		request_release(r);
	}
	return true;
}

void transfer_fetch(struct request *r)
{
	struct nvme_queue *nq = r->queue;

	if (nq->q.failed) {
		request_release(r);
		return;
	}
	if (list_empty(&nq->fetches) && post_fetch(r))
		return;
	request_set_state(r, REQUEST_WAIT_FETCH);
	list_push(&nq->fetches, &r->link);
	counter_add(&send_waits, 1);
}

void transfer_kick(struct nvme_queue *nq)
{
	while (!nq->q.failed && !list_empty(&nq->sends)) {
		struct request *r = list_entry(nq->sends.next, struct request, link);

		if (nq->send_free < send_chain(r))
			return;
		list_del(&r->link);
		post_send(r);
	}
	while (!nq->q.failed && !list_empty(&nq->fetches)) {
		struct request *r = list_entry(nq->fetches.next, struct request, link);

		list_del(&r->link);
		if (!post_fetch(r)) {
			list_push_front(&nq->fetches, &r->link);
			return;
		}
	}
}
