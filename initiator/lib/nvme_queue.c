// SPDX-License-Identifier: BSD-3-Clause
/*
 * Capsules out, responses in. Owns the slots and their registered memory. Knows queues of NVMe over
 * Fabrics and the Connect command; what the other commands mean is for admin.c and block.c.
 */
#include "libleasehold/nvme_queue.h"

#include "libleasehold/client.h"
#include "libleasehold/refusal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CAPSULE_BYTES (sizeof(struct nvme_command) + NVME_SLOT_DATA_BYTES)
#define ACCESS	      (FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE)

#define WR_RECV (1ull << 32) /* wr_id: this bit and a receive's index, or a slot's index */

static const char *const cannot_post = "a command could not be posted";

static struct nvme_queue *to_nvme(struct queue *q)
{
	return container_of(q, struct nvme_queue, q);
}

static uint8_t *response_at(const struct nvme_queue *nq, unsigned int i)
{
	return nq->mem + nq->depth * CAPSULE_BYTES + i * sizeof(struct nvme_completion);
}

/* ---- completions ----------------------------------------------------------------------------- */

static int post_receive(struct nvme_queue *nq, unsigned int i)
{
	struct fabric_sge sge = {.addr = (uint64_t)(uintptr_t)response_at(nq, i),
				 .length = sizeof(struct nvme_completion),
				 .lkey = nq->mr->lkey};
	struct fabric_recv_wr wr = {.wr_id = WR_RECV | i, .sg_list = &sge, .num_sge = 1};

	return fabric_post_recv(nq->q.conn, &wr, NULL);
}

static void finish(struct nvme_queue *nq, struct nvme_slot *slot)
{
	slot->done(nq, slot);
	slot->busy = false;
	slot->next_free = nq->free;
	nq->free = slot;
	nq->in_flight--;
}

static bool unbind(struct nvme_queue *nq, struct nvme_slot *slot)
{
	struct fabric_send_wr wr = {
		.wr_id = slot->cid, .op = FABRIC_OP_LOCAL_INV, .rkey = slot->mw->rkey};

	slot->bound = false;
	return fabric_post_send(nq->q.conn, &wr, NULL) == 0;
}

static void take_response(struct nvme_queue *nq, const struct fabric_wc *wc)
{
	unsigned int i = (unsigned int)(wc->wr_id & 0xffffffff);
	struct nvme_completion cqe;
	struct nvme_slot *slot;
	uint16_t cid;

	memcpy(&cqe, response_at(nq, i), sizeof(cqe));
	cid = le16toh(cqe.cid);
	/* A response to nothing of ours, or a short one: this target cannot be trusted. */
	if (wc->byte_len != sizeof(cqe) || cid >= nq->depth || !nq->slots[cid].busy ||
	    nq->slots[cid].responded || post_receive(nq, i) < 0) {
		queue_kill(&nq->q, "the target answered a command that it was not given");
		return;
	}
	slot = &nq->slots[cid];
	if (wc->flags & FABRIC_WC_WITH_INV) {
		/* Only the key that this command named is the target's to kill. */
		if (!slot->bound || wc->inv_rkey != slot->mw->rkey) {
			queue_kill(&nq->q, "the target invalidated a key that was not its own");
			return;
		}
		slot->bound = false;
	}
	/* A target may answer without invalidating: then it is done here, or the key would live on. */
	if (slot->bound && !unbind(nq, slot)) {
		queue_kill(&nq->q, "a key could not be invalidated");
		return;
	}
	slot->cqe = cqe;
	slot->responded = true;
	if (slot->sent) {
		finish(nq, slot);
		if (nq->pump)
			nq->pump(nq);
	}
}

static void on_complete(struct queue *q, const struct fabric_wc *wc)
{
	struct nvme_queue *nq = to_nvme(q);
	struct nvme_slot *slot;

	if (wc->status != FABRIC_OK) {
		queue_kill(q, fabric_status_text(wc->status));
		return;
	}
	if (wc->wr_id & WR_RECV) {
		take_response(nq, wc);
		return;
	}
	slot = &nq->slots[wc->wr_id];
	slot->sent = true;
	if (slot->responded) {
		finish(nq, slot);
		if (nq->pump)
			nq->pump(nq);
	}
}

static void on_died(struct queue *q)
{
	struct nvme_queue *nq = to_nvme(q);

	nq->up = false;
	for (unsigned int i = 0; i < nq->depth; i++) {
		struct nvme_slot *slot = &nq->slots[i];

		if (slot->busy) {
			slot->error = -ENOTCONN;
			finish(nq, slot);
		}
	}
	if (nq->pump)
		nq->pump(nq);
	client_queue_died(nq->client);
}

/* ---- birth and end --------------------------------------------------------------------------- */

int nvme_queue_init(struct nvme_queue *nq, struct lh_client *client, uint16_t qid,
		    unsigned int depth, void (*pump)(struct nvme_queue *nq))
{
	char name[32];
	int rc;

	memset(nq, 0, sizeof(*nq));
	if (qid == 0)
		(void)snprintf(name, sizeof(name), "admin queue");
	else
		(void)snprintf(name, sizeof(name), "I/O queue %u", qid);
	nq->client = client;
	nq->qid = qid;
	nq->depth = depth;
	nq->pump = pump;
	list_init(&nq->pending);
	nq->slots = calloc(depth, sizeof(*nq->slots));
	if (!nq->slots)
		return -ENOMEM;
	nq->mem_bytes = depth * (CAPSULE_BYTES + sizeof(struct nvme_completion));
	nq->mem = mmap(NULL, nq->mem_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
	if (nq->mem == MAP_FAILED) {
		free(nq->slots);
		return -ENOMEM;
	}
	rc = queue_init(&nq->q, name, on_complete, on_died);
	if (rc < 0) {
		(void)munmap(nq->mem, nq->mem_bytes);
		free(nq->slots);
		return rc;
	}
	for (unsigned int i = depth; i-- > 0;) {
		struct nvme_slot *slot = &nq->slots[i];

		slot->cid = (uint16_t)i;
		slot->cmd = (struct nvme_command *)(nq->mem + i * CAPSULE_BYTES);
		slot->data = nq->mem + i * CAPSULE_BYTES + sizeof(struct nvme_command);
		slot->next_free = nq->free;
		nq->free = slot;
	}
	return 0;
}

void nvme_queue_fini(struct nvme_queue *nq)
{
	queue_fini(&nq->q);
	chunk_fini(&nq->bounce);
	if (nq->mr)
		(void)fabric_mr_dereg(nq->mr);
	(void)munmap(nq->mem, nq->mem_bytes);
	free(nq->slots);
}

void nvme_queue_close(struct nvme_queue *nq)
{
	queue_close(&nq->q);
	/* Bound to the queue pair that is gone, or in doubt. */
	for (unsigned int i = 0; i < nq->depth; i++) {
		if (nq->slots[i].mw)
			(void)fabric_mw_free(nq->slots[i].mw);
		nq->slots[i].mw = NULL;
		nq->slots[i].bound = false;
	}
}

/* ---- commands -------------------------------------------------------------------------------- */

bool nvme_queue_is_up(struct nvme_queue *nq)
{
	bool up;

	(void)pthread_mutex_lock(&nq->q.lock);
	up = nq->up;
	(void)pthread_mutex_unlock(&nq->q.lock);
	return up;
}

static struct nvme_slot *take_slot(struct nvme_queue *nq)
{
	struct nvme_slot *slot = nq->free;

	if (!nq->q.live || !slot || nq->in_flight >= nq->limit)
		return NULL;
	nq->free = slot->next_free;
	nq->in_flight++;
	memset(slot->cmd, 0, sizeof(*slot->cmd));
	slot->busy = true;
	slot->sent = slot->responded = false;
	slot->error = 0;
	slot->op = NULL;
	slot->bounce = NULL;
	return slot;
}

struct nvme_slot *nvme_queue_get(struct nvme_queue *nq)
{
	return nq->up ? take_slot(nq) : NULL;
}

void nvme_slot_set_data(struct nvme_queue *nq, struct nvme_slot *slot, uint32_t length)
{
	nvme_keyed_sgl_set(&slot->cmd->sgl, (uint64_t)(uintptr_t)slot->data, length, nq->mr->rkey,
			   NVME_SGL_ADDRESS);
}

static bool bind_window(struct nvme_queue *nq, struct nvme_slot *slot, const struct fabric_mr *mr,
			uint64_t address, uint32_t length, unsigned int remote)
{
	struct fabric_send_wr bind = {.wr_id = slot->cid,
				      .op = FABRIC_OP_BIND_MW,
				      .bind = {.mr = (struct fabric_mr *)mr,
					       .addr = address,
					       .length = length,
					       .access = remote}};

	if (!slot->mw && fabric_mw_alloc(nq->client->memory.pd, &slot->mw) < 0)
		return false;
	bind.bind.mw = slot->mw;

	/* Unsignaled: the SEND behind them tells; if one fails the queue dies. */
	if (fabric_post_send(nq->q.conn, &bind, NULL) < 0)
		return false;
	slot->bound = true;
	return true;
}

bool nvme_slot_set_memory(struct nvme_queue *nq, struct nvme_slot *slot, const struct fabric_mr *mr,
			  const void *at, uint32_t length, unsigned int remote)
{
	const uint64_t address = mr->iova + (uint64_t)((const uint8_t *)at - (uint8_t *)mr->addr);

	if (!nq->one_shot) {
		nvme_keyed_sgl_set(&slot->cmd->sgl, address, length, mr->rkey, NVME_SGL_ADDRESS);
		return true;
	}
	if (!bind_window(nq, slot, mr, address, length, remote)) {
		queue_kill(&nq->q, cannot_post); /* ends in done() */
		return false;
	}
	nvme_keyed_sgl_set(&slot->cmd->sgl, address, length, slot->mw->rkey, NVME_SGL_INVALIDATE);
	return true;
}

void nvme_slot_set_inline(struct nvme_slot *slot, uint32_t length)
{
	nvme_offset_sgl_set(&slot->cmd->sgl, 0, length);
}

void nvme_slot_set_no_data(struct nvme_slot *slot)
{
	nvme_keyed_sgl_set(&slot->cmd->sgl, 0, 0, 0, NVME_SGL_ADDRESS);
}

void nvme_queue_post(struct nvme_queue *nq, struct nvme_slot *slot, uint32_t inline_bytes)
{
	struct fabric_sge sge = {.addr = (uint64_t)(uintptr_t)slot->cmd,
				 .length = (uint32_t)sizeof(*slot->cmd) + inline_bytes,
				 .lkey = nq->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = slot->cid,
				    .op = FABRIC_OP_SEND,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1};

	slot->cmd->flags = NVME_FLAGS_SGL;
	slot->cmd->cid = htole16(slot->cid);
	slot->posted_ns = now_ns();
	if (fabric_post_send(nq->q.conn, &wr, NULL) < 0)
		queue_kill(&nq->q, cannot_post); /* ends in done() */
}

struct exec {
	struct nvme_queue *nq;
	bool done;
	int error;
	struct nvme_completion cqe;
	void *in;
	size_t in_bytes;
};

static bool exec_done(void *arg)
{
	return ((struct exec *)arg)->done;
}

static bool exec_slot_free(void *arg)
{
	const struct nvme_queue *nq = arg;

	return !nq->q.live || (nq->free && nq->in_flight < nq->limit);
}

static void exec_finish(struct nvme_queue *nq, struct nvme_slot *slot)
{
	struct exec *e = slot->user;

	(void)nq;
	e->error = slot->error;
	e->cqe = slot->cqe;
	if (!slot->error && e->in && nvme_cqe_status(&slot->cqe) == NVME_SC_SUCCESS)
		memcpy(e->in, slot->data, e->in_bytes);
	e->done = true;
}

static int exec(struct nvme_queue *nq, bool connecting,
		void (*fill)(struct nvme_queue *nq, struct nvme_slot *slot, void *arg), void *arg,
		void *in, size_t in_bytes, uint64_t deadline_ns, struct nvme_completion *cqe)
{
	struct exec e = {.nq = nq, .in = in, .in_bytes = in_bytes};
	struct nvme_slot *slot;
	int rc;

	assert(in_bytes <= NVME_SLOT_DATA_BYTES);
	(void)pthread_mutex_lock(&nq->q.lock);
	rc = nq->up == connecting ? -ENOTCONN : queue_wait(&nq->q, exec_slot_free, nq, deadline_ns);
	slot = rc == 0 ? take_slot(nq) : NULL;
	if (rc == 0 && !slot)
		rc = -ENOTCONN;
	if (rc == 0) {
		fill(nq, slot, arg);
		slot->done = exec_finish;
		slot->user = &e;
		nvme_queue_post(nq, slot, 0);
		rc = queue_wait(&nq->q, exec_done, &e, deadline_ns);
		if (rc == -ETIMEDOUT) {
			/* `e` and its memory must be out of reach before we return. */
			queue_kill(&nq->q, CLIENT_NO_ANSWER);
			assert(e.done);
		} else {
			rc = e.error;
		}
	}
	(void)pthread_mutex_unlock(&nq->q.lock);
	if (rc < 0)
		return rc;
	*cqe = e.cqe;
	return 0;
}

int nvme_queue_exec(struct nvme_queue *nq,
		    void (*fill)(struct nvme_queue *nq, struct nvme_slot *slot, void *arg),
		    void *arg, void *in, size_t in_bytes, uint64_t deadline_ns,
		    struct nvme_completion *cqe)
{
	return exec(nq, false, fill, arg, in, in_bytes, deadline_ns, cqe);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int get_pd(void *user, struct fabric_device *dev, struct fabric_pd **pd)
{
	struct nvme_queue *nq = user;

	return memory_pd(&nq->client->memory, dev, pd);
}

static int prepare(struct queue *q, void *user)
{
	struct nvme_queue *nq = user;
	int rc = 0;

	(void)q;
	if (!nq->mr)
		rc = fabric_mr_reg(nq->client->memory.pd, nq->mem, nq->mem_bytes,
				   (uint64_t)(uintptr_t)nq->mem, ACCESS, &nq->mr);
	for (unsigned int i = 0; rc == 0 && i < nq->depth; i++)
		rc = post_receive(nq, i);
	return rc;
}

struct connect_args {
	struct nvme_queue *nq;
	uint16_t cntlid;
	uint32_t kato_ms;
};

static void fill_connect(struct nvme_queue *nq, struct nvme_slot *slot, void *arg)
{
	const struct connect_args *args = arg;
	const struct lh_client *client = nq->client;
	struct nvmf_connect_command *cmd = (struct nvmf_connect_command *)slot->cmd;
	struct nvmf_connect_data *data = (struct nvmf_connect_data *)slot->data;

	cmd->opcode = NVME_FABRICS;
	cmd->fctype = NVMF_CONNECT;
	cmd->qid = htole16(nq->qid);
	cmd->sqsize = htole16((uint16_t)(nq->entries - 1));
	cmd->kato_ms = htole32(nq->qid == 0 ? args->kato_ms : 0);
	memset(data, 0, sizeof(*data));
	memcpy(data->hostid, client->host_id, sizeof(data->hostid));
	data->cntlid = htole16(args->cntlid);
	(void)snprintf(data->subnqn, sizeof(data->subnqn), "%s", client->uri.nqn);
	(void)snprintf(data->hostnqn, sizeof(data->hostnqn), "%s", client->host_nqn);
	nvme_slot_set_data(nq, slot, sizeof(*data));
}

static bool wants_one_shot(const struct lh_client *client)
{
	const struct fabric_device *dev = fabric_pd_device(client->memory.pd);

	if (client->opt.keys == LH_KEYS_LASTING || !memory_has_windows(&client->memory))
		return false;
	return client->opt.keys == LH_KEYS_ONE_SHOT || fabric_device_info(dev)->software_fabric;
}

int nvme_queue_open(struct nvme_queue *nq, unsigned int timeout_ms, uint32_t kato_ms,
		    uint16_t *cntlid, struct errtext *err)
{
	const uint16_t id = *cntlid;
	const unsigned int entries =
		nq->qid ? (unsigned int)min_u64(nq->depth, nq->client->max_entries) : nq->depth;
	const struct nvmf_rdma_cm_request request = {
		.qid = htole16(nq->qid),
		.hrqsize = htole16((uint16_t)entries),
		.hsqsize = htole16((uint16_t)(entries - 1)),
		.cntlid = htole16(nq->qid == 0 ? 0 : id),
	};
	struct connect_args args = {.nq = nq, .cntlid = id, .kato_ms = kato_ms};
	struct queue_param param = {
		.addr = &nq->client->addr,
		.address = nq->client->address,
		.timeout_ms = timeout_ms,
		.send_wr = 3 * nq->depth, /* bind, send, invalidate */
		.recv_wr = nq->depth,
		.responder_resources = 16, /* the target reads what we write */
		.initiator_depth = 1,
		.private_data = &request,
		.private_data_len = sizeof(request),
		.get_pd = get_pd,
		.prepare = prepare,
		.user = nq,
	};
	struct nvmf_rdma_cm_accept accept;
	struct nvme_completion cqe;
	int rc;

	rc = queue_open(&nq->q, nq->client->fabric, &param, err);
	if (rc < 0 && param.rejected) {
		struct nvmf_rdma_cm_reject reject;

		memcpy(&reject, param.reply, sizeof(reject));
		return errtext_set(err, rc, "%s refused the %s: %s", nq->client->address,
				   nq->q.name, refusal_of_connection(le16toh(reject.status)));
	}
	if (rc < 0)
		return rc;
	nq->one_shot = nq->qid && wants_one_shot(nq->client);
	memcpy(&accept, param.reply, sizeof(accept));
	/* An adapter of the target's may hold fewer receives than its controllers take entries. */
	nq->entries = entries;
	if (le16toh(accept.crqsize) > 0)
		nq->entries = (unsigned int)min_u64(entries, max_u64(le16toh(accept.crqsize), 2));
	nq->limit = nq->entries - 1;
	rc = exec(nq, true, fill_connect, &args, NULL, 0, now_ns() + timeout_ms * NS_PER_MS, &cqe);
	if (rc < 0) {
		nvme_queue_close(nq);
		return errtext_set(err, rc,
				   rc == -ETIMEDOUT ? "%s accepted the %s but did not answer "
						      "Connect: is it an NVMe target?"
						    : "%s closed the %s during Connect: its log "
						      "says why",
				   nq->client->address, nq->q.name);
	}
	if (nvme_cqe_status(&cqe) != NVME_SC_SUCCESS) {
		nvme_queue_close(nq);
		return refusal_of_connect(nq, &cqe, err);
	}
	(void)pthread_mutex_lock(&nq->q.lock);
	nq->up = nq->q.live;
	(void)pthread_mutex_unlock(&nq->q.lock);
	*cntlid = (uint16_t)le32toh(cqe.dw0);
	return 0;
}
