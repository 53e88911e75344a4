// SPDX-License-Identifier: BSD-3-Clause
/* An NVMe host on the simulated fabric. Runs in its client's coroutine. */
#include "host.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPSULE_BYTES (64u + HOST_INLINE_BYTES)
#define RECEIVE_AT(i) ((size_t)(i) * HOST_RECEIVE)
#define CAPSULE_AT(i) (RECEIVE_AT(HOST_DEPTH) + (size_t)(i) * CAPSULE_BYTES)
#define DATA_AT(i)    (CAPSULE_AT(HOST_DEPTH) + (size_t)(i) * HOST_DATA_BYTES)
#define MEMORY_BYTES  DATA_AT(HOST_DEPTH)
#define WR_SEND	      1000u
#define WR_RDMA	      2000u
#define SETUP_NS      (20 * NS_PER_S)

const char *client_kind_text(enum client_kind kind)
{
	static const char *const text[] = {"good", "slow", "dead", "lying", "reconnecting"};

	return text[kind];
}

/* ---- what comes ------------------------------------------------------------------------------ */

static void post_receive(struct host_queue *q, unsigned int i)
{
	struct fabric_sge sge = {(uint64_t)(uintptr_t)q->memory + RECEIVE_AT(i), HOST_RECEIVE,
				 q->mr->lkey};
	struct fabric_recv_wr wr = {.wr_id = i, .sg_list = &sge, .num_sge = 1};

	if (fabric_post_recv(q->conn, &wr, NULL) < 0)
		q->dead = true;
}

static void take_answer(struct host_queue *q, const uint8_t *bytes, uint32_t length)
{
	struct nvme_completion cqe;
	struct host_slot *slot;

	if (length != sizeof(cqe))
		sim_fail(P_HOST, "%s got a response of %u bytes", q->host->client->name, length);
	memcpy(&cqe, bytes, sizeof(cqe));
	slot = &q->slots[le16toh(cqe.cid) % HOST_DEPTH];
	if (le16toh(cqe.cid) >= HOST_DEPTH || !slot->busy || slot->done)
		sim_fail(P_HOST, "%s got a response that it did not wait for",
			 q->host->client->name);
	slot->done = true;
	slot->cqe = cqe;
}

static void take(struct host_queue *q, const struct fabric_wc *wc)
{
	if (wc->wr_id >= WR_RDMA && q->transferred)
		q->transferred(q, wc->wr_id - WR_RDMA, wc->status == FABRIC_OK);
	if (wc->status != FABRIC_OK) {
		q->dead = true;
		return;
	}
	if (wc->wr_id >= WR_SEND)
		return;
	if (q->message)
		q->message(q, q->memory + RECEIVE_AT(wc->wr_id), wc->byte_len);
	else
		take_answer(q, q->memory + RECEIVE_AT(wc->wr_id), wc->byte_len);
	post_receive(q, (unsigned int)wc->wr_id);
}

static void take_event(const struct fabric_cm_event *event)
{
	struct host_queue *q = fabric_conn_user(event->conn);

	switch (event->type) {
	case FABRIC_CM_RESOLVED:
		q->resolved = true;
		break;
	case FABRIC_CM_ESTABLISHED:
		memcpy(q->accept, event->private_data, sizeof(q->accept));
		q->established = true;
		break;
	default:
		q->dead = true;
	}
}

static void pump(struct host *h)
{
	struct fabric_cm_event event;
	struct fabric_wc wc;

	while (fabric_cm_poll(h->cm, &event) == 1)
		take_event(&event);
	for (unsigned int i = 0; i < ARRAY_SIZE(h->queues); i++)
		while (h->queues[i] && h->queues[i]->cq &&
		       fabric_cq_poll(h->queues[i]->cq, &wc, 1) == 1)
			take(h->queues[i], &wc);
}

void host_turn(struct host *h, uint64_t ns)
{
	pump(h);
	if (co_wait(ns))
		pump(h);
}

/* ---- connections ----------------------------------------------------------------------------- */

bool host_open(struct host *h, struct client *client)
{
	memset(h, 0, sizeof(*h));
	h->client = client;
	if (fabric_cm_open(world_fabric(), &h->cm) != 0)
		return false;
	sim_cm_owner(h->cm, co_self());
	return fabric_pd_alloc(fabric_device_at(world_fabric(), 0), &h->pd) == 0;
}

void host_close(struct host *h)
{
	for (unsigned int i = ARRAY_SIZE(h->queues); i-- > 0;)
		host_disconnect(h, i);
	fabric_cm_close(h->cm);
	(void)fabric_pd_free(h->pd);
}

static bool make_queue(struct host_queue *q)
{
	struct fabric_device *dev = fabric_device_at(world_fabric(), 0);
	struct fabric_qp_attr attr = {.pd = q->host->pd,
				      .max_send_wr = 4 * HOST_DEPTH,
				      .max_recv_wr = HOST_DEPTH,
				      .max_send_sge = 1,
				      .max_recv_sge = 1};

	if (fabric_cq_create(dev, 8 * HOST_DEPTH, &q->cq) != 0)
		return false;
	sim_cq_owner(q->cq, co_self());
	q->memory = malloc(MEMORY_BYTES);
	assert(q->memory);
	if (fabric_mr_reg(q->host->pd, q->memory, MEMORY_BYTES, (uint64_t)(uintptr_t)q->memory,
			  FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ |
				  FABRIC_ACCESS_REMOTE_WRITE,
			  &q->mr) != 0)
		return false;
	attr.cq = q->cq;
	if (fabric_qp_create(q->conn, &attr) != 0)
		return false;
	for (unsigned int i = 0; i < HOST_DEPTH; i++)
		post_receive(q, i);
	return true;
}

static void on_post(void *user, const void *bytes, uint32_t length)
{
	struct host_queue *q = user;

	if (q->posted)
		q->posted(q, bytes, length);
}

static bool await(struct host_queue *q, const bool *flag)
{
	uint64_t end = sim_now + SETUP_NS;

	while (!*flag && !q->dead && sim_now < end)
		host_turn(q->host, NS_PER_S);
	return *flag && !q->dead;
}

struct host_queue *host_connect(struct host *h, unsigned int which, const void *request,
				uint8_t length)
{
	static const struct sockaddr_in dst = {.sin_family = AF_INET};
	struct fabric_conn_param param = {.private_data = request,
					  .private_data_len = length,
					  .responder_resources = 4,
					  .initiator_depth = 4};
	struct host_queue *q = calloc(1, sizeof(*q));

	assert(q && !h->queues[which]);
	q->host = h;
	h->queues[which] = q;
	if (fabric_resolve(h->cm, (const struct sockaddr *)&dst, 5000, q, &q->conn) != 0)
		abort();
	fabric_conn_set_user(q->conn, q);
	sim_conn_owner(q->conn, h->client);
	sim_conn_on_post(q->conn, on_post, q);
	if (await(q, &q->resolved) && make_queue(q) && fabric_connect(q->conn, &param) == 0 &&
	    await(q, &q->established))
		return q;
	host_disconnect(h, which);
	return NULL;
}

void host_disconnect(struct host *h, unsigned int which)
{
	struct host_queue *q = h->queues[which];

	if (!q)
		return;
	h->queues[which] = NULL;
	fabric_conn_destroy(q->conn);
	if (q->mr)
		(void)fabric_mr_dereg(q->mr);
	if (q->cq)
		fabric_cq_destroy(q->cq);
	free(q->memory);
	free(q);
}

/* ---- commands -------------------------------------------------------------------------------- */

unsigned int host_slot(struct host_queue *q)
{
	for (unsigned int i = 0; i < HOST_DEPTH; i++) {
		if (q->slots[i].busy)
			continue;
		q->slots[i] = (struct host_slot){.busy = true};
		return i;
	}
	return HOST_DEPTH;
}

struct nvme_command *host_command(struct host_queue *q, unsigned int slot, uint8_t opcode)
{
	struct nvme_command *cmd = (void *)(q->memory + CAPSULE_AT(slot));

	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = opcode;
	cmd->flags = NVME_FLAGS_SGL;
	cmd->cid = htole16((uint16_t)slot);
	cmd->nsid = htole32(SIM_NSID);
	nvme_keyed_sgl_set(&cmd->sgl, 0, 0, 0, NVME_SGL_ADDRESS);
	return cmd;
}

uint8_t *host_data(struct host_queue *q, unsigned int slot)
{
	return q->memory + DATA_AT(slot);
}

void host_keyed(struct host_queue *q, unsigned int slot, uint32_t length)
{
	struct nvme_command *cmd = (void *)(q->memory + CAPSULE_AT(slot));

	nvme_keyed_sgl_set(&cmd->sgl, (uint64_t)(uintptr_t)host_data(q, slot), length, q->mr->rkey,
			   NVME_SGL_ADDRESS);
}

uint8_t *host_inline(struct host_queue *q, unsigned int slot, uint32_t length)
{
	struct nvme_command *cmd = (void *)(q->memory + CAPSULE_AT(slot));

	assert(length <= HOST_INLINE_BYTES);
	nvme_offset_sgl_set(&cmd->sgl, 0, length);
	return (uint8_t *)(cmd + 1);
}

static bool post(struct host_queue *q, struct fabric_send_wr *wr)
{
	if (q->dead || fabric_post_send(q->conn, wr, NULL) < 0) {
		q->dead = true;
		return false;
	}
	return true;
}

bool host_message(struct host_queue *q, unsigned int slot, uint32_t length)
{
	struct fabric_sge sge = {(uint64_t)(uintptr_t)q->memory + CAPSULE_AT(slot), length,
				 q->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = WR_SEND + slot,
				    .op = FABRIC_OP_SEND,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1};

	return post(q, &wr);
}

void host_send(struct host_queue *q, unsigned int slot, uint32_t inline_bytes)
{
	q->host->client->commands++;
	(void)host_message(q, slot, 64 + inline_bytes);
}

bool host_rdma(struct host_queue *q, enum fabric_op op, unsigned int slot, uint32_t length,
	       uint64_t address, uint32_t rkey, uint64_t id)
{
	struct fabric_sge sge = {(uint64_t)(uintptr_t)host_data(q, slot), length, q->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = WR_RDMA + id,
				    .op = op,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1,
				    .remote_addr = address,
				    .rkey = rkey};

	return post(q, &wr);
}

uint16_t host_status(struct host_queue *q, unsigned int slot)
{
	struct host_slot *s = &q->slots[slot];

	assert(s->done);
	s->busy = s->done = false;
	return (uint16_t)(le16toh(s->cqe.status) >> 1 & ~NVME_SC_MORE);
}

uint16_t host_wait(struct host_queue *q, unsigned int slot, uint64_t ns)
{
	uint64_t end = sim_now + ns;

	while (!q->slots[slot].done && !q->dead && sim_now < end)
		host_turn(q->host, end - sim_now);
	return q->slots[slot].done ? host_status(q, slot) : HOST_NO_ANSWER;
}

/* ---- a controller ---------------------------------------------------------------------------- */

static struct host_queue *connect_nvme(struct host *h, unsigned int which, uint16_t qid)
{
	struct nvmf_rdma_cm_request request = {.qid = htole16(qid),
					       .hrqsize = htole16(HOST_DEPTH),
					       .hsqsize = htole16(HOST_DEPTH - 1),
					       .cntlid = htole16(h->cntlid)};

	return host_connect(h, which, &request, sizeof(request));
}

static uint16_t associate(struct host_queue *q, uint16_t qid, uint16_t *cntlid)
{
	unsigned int slot = host_slot(q);
	struct nvmf_connect_command *cmd = (void *)host_command(q, slot, NVME_FABRICS);
	struct nvmf_connect_data *data = (void *)host_data(q, slot);
	uint16_t status;

	cmd->fctype = NVMF_CONNECT;
	cmd->qid = htole16(qid);
	cmd->sqsize = htole16(HOST_DEPTH - 1);
	memset(data, 0, sizeof(*data));
	data->hostid[0] = (uint8_t)(q->host->client->number + 1);
	data->cntlid = htole16(*cntlid);
	(void)snprintf(data->subnqn, sizeof(data->subnqn), "%s", SIM_NQN);
	(void)snprintf(data->hostnqn, sizeof(data->hostnqn), "nqn.2026-11.org.leasehold:host%u",
		       q->host->client->number);
	host_keyed(q, slot, sizeof(*data));
	host_send(q, slot, 0);
	status = host_wait(q, slot, SETUP_NS);
	if (status == 0)
		*cntlid = (uint16_t)le32toh(q->slots[slot].cqe.dw0);
	return status;
}

bool host_admin(struct host *h)
{
	struct nvmf_property_command *cmd;
	struct host_queue *q;
	unsigned int slot;

	h->cntlid = 0;
	q = connect_nvme(h, HOST_ADMIN, 0);
	if (!q)
		return false;
	h->cntlid = NVME_CNTLID_DYNAMIC;
	if (associate(q, 0, &h->cntlid) != 0)
		return false;
	slot = host_slot(q);
	cmd = (void *)host_command(q, slot, NVME_FABRICS);
	cmd->fctype = NVMF_PROPERTY_SET;
	cmd->offset = htole32(NVME_PROP_CC);
	cmd->value = htole64(NVME_CC_EN | 6u << 16 | 4u << 20);
	host_send(q, slot, 0);
	return host_wait(q, slot, SETUP_NS) == 0;
}

bool host_io(struct host *h)
{
	struct host_queue *q = connect_nvme(h, HOST_IO, 1);
	uint16_t cntlid = h->cntlid;

	return q && associate(q, 1, &cntlid) == 0;
}

/* ---- what it ever asked for ------------------------------------------------------------------ */

void client_asked(struct client *c, uint64_t offset, uint64_t length, unsigned int access)
{
	struct asked *a = malloc(sizeof(*a));

	assert(a);
	*a = (struct asked){.offset = offset, .length = length, .access = access, .next = c->asked};
	c->asked = a;
}

bool client_may(const struct client *c, uint64_t offset, uint64_t length, unsigned int access)
{
	unsigned int rights = 0;

	if (access & FABRIC_ACCESS_REMOTE_READ)
		rights |= LH_GRANT_READ;
	if (access & FABRIC_ACCESS_REMOTE_WRITE)
		rights |= LH_GRANT_WRITE;
	for (const struct asked *a = c->asked; a; a = a->next)
		if ((a->access & rights) == rights && offset >= a->offset &&
		    range_ok(offset - a->offset, length, a->length))
			return true;
	return false;
}
