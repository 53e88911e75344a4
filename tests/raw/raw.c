// SPDX-License-Identifier: BSD-3-Clause
/* See raw.h. */
#include "raw/raw.h"

#include "fabric/verbs.h"
#include "iwarp/iwarp.h"

#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_BYTES ((uint64_t)(2 * RAW_DEPTH + 1) * RAW_SLOT_BYTES)

enum tag {
	TAG_RECV = 0, /* + slot */
	TAG_SEND = 1000,
	TAG_RMA = 2000,
};

struct raw_target raw;

static uint64_t address_of(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

uint64_t raw_number(const char *text)
{
	return text ? strtoull(text, NULL, 0) : 0;
}

void raw_say(const char *what, uint64_t at_ns, const char *words)
{
	(void)printf("%s %llu %s\n", what, (unsigned long long)at_ns, words);
	(void)fflush(stdout);
}

void raw_open(char *const argv[])
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	struct errtext text = {"cannot open the fabric"};
	int rc;

	raw.nqn = argv[3];
	raw.nsid = (uint32_t)raw_number(argv[4]);
	if (getaddrinfo(argv[1], argv[2], &hints, &found) != 0)
		errx(1, "what address is %s?", argv[1]);
	memcpy(&raw.dst, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	rc = strcmp(argv[0], "verbs") == 0 ? verbs_fabric_open(&raw.fabric, &text)
					   : iwarp_fabric_open(NULL, &raw.fabric, &text);
	if (rc < 0)
		errx(1, "%s", text.text);
	if (fabric_cm_open(raw.fabric, &raw.cm) < 0)
		errx(1, "no channel for connections");
}

/* ---- moving ---------------------------------------------------------------------------------- */

uint8_t *link_slot(struct link *l, unsigned int slot)
{
	return l->mem + (size_t)(RAW_DEPTH + slot) * RAW_SLOT_BYTES;
}

uint8_t *link_data(struct link *l)
{
	return link_slot(l, RAW_DEPTH);
}

static void post_receive(struct link *l, unsigned int slot)
{
	struct fabric_sge sge = {.addr = address_of(l->mem + (size_t)slot * RAW_SLOT_BYTES),
				 .length = RAW_SLOT_BYTES,
				 .lkey = l->mr->lkey};
	struct fabric_recv_wr wr = {.wr_id = TAG_RECV + slot, .sg_list = &sge, .num_sge = 1};

	if (fabric_post_recv(l->conn, &wr, NULL) < 0)
		l->dead = true;
}

static void take_message(struct link *l, unsigned int slot, uint32_t bytes)
{
	const uint8_t *at = l->mem + (size_t)slot * RAW_SLOT_BYTES;
	struct lh_msg_recall recall;

	if (bytes >= sizeof(recall)) {
		memcpy(&recall, at, sizeof(recall));
		if (le16toh(recall.header.type) == LH_MSG_RECALL) {
			l->told = true;
			l->told_generation = le32toh(recall.generation);
			return;
		}
	}
	memcpy(l->in, at, bytes);
	l->got = true;
	l->answers++;
}

static void turn_cq(struct link *l)
{
	struct fabric_wc wc;

	while (l->cq && fabric_cq_poll(l->cq, &wc, 1) == 1) {
		if (wc.wr_id >= TAG_RMA) {
			l->rma_done = true;
			l->rma_status = wc.status;
		} else if (wc.wr_id >= TAG_SEND) {
			l->sent = true;
		} else if (wc.status == FABRIC_OK) {
			take_message(l, (unsigned int)wc.wr_id, wc.byte_len);
			post_receive(l, (unsigned int)wc.wr_id);
		}
		if (wc.status != FABRIC_OK)
			l->dead = true;
	}
}

static void turn_cm(void)
{
	struct fabric_cm_event ev;

	while (fabric_cm_poll(raw.cm, &ev) == 1) {
		struct link *l = ev.conn ? fabric_conn_user(ev.conn) : NULL;

		if (!l)
			continue;
		switch (ev.type) {
		case FABRIC_CM_RESOLVED:
			l->resolved = true;
			break;
		case FABRIC_CM_ESTABLISHED:
		case FABRIC_CM_REJECTED:
			memcpy(l->reply, ev.private_data,
			       min_u64(sizeof(l->reply), ev.private_data_len));
			l->established = ev.type == FABRIC_CM_ESTABLISHED;
			l->dead = !l->established;
			l->error = ev.error;
			break;
		default:
			l->error = ev.error;
			l->dead = true;
		}
	}
}

void link_turn(struct link *a, struct link *b)
{
	turn_cm();
	if (a)
		turn_cq(a);
	if (b)
		turn_cq(b);
	usleep(20);
}

/* ---- connections ----------------------------------------------------------------------------- */

void link_close(struct link *l)
{
	if (l->conn)
		fabric_conn_destroy(l->conn);
	if (l->mr)
		(void)fabric_mr_dereg(l->mr);
	if (l->cq)
		fabric_cq_destroy(l->cq);
	free(l->mem);
	memset(l, 0, sizeof(*l));
}

static int link_prepare(struct link *l)
{
	struct fabric_device *dev = fabric_conn_device(l->conn);
	struct fabric_qp_attr attr = {.max_send_wr = RAW_DEPTH,
				      .max_recv_wr = RAW_DEPTH,
				      .max_send_sge = 1,
				      .max_recv_sge = 1};
	int rc = 0;

	if (!raw.pd)
		rc = fabric_pd_alloc(dev, &raw.pd);
	if (rc == 0)
		rc = fabric_cq_create(dev, 4 * RAW_DEPTH, &l->cq);
	l->mem = aligned_alloc(4096, MEMORY_BYTES);
	if (!l->mem)
		err(1, "memory");
	if (rc == 0)
		rc = fabric_mr_reg(raw.pd, l->mem, MEMORY_BYTES, address_of(l->mem),
				   FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ |
					   FABRIC_ACCESS_REMOTE_WRITE,
				   &l->mr);
	attr.pd = raw.pd;
	attr.cq = l->cq;
	return rc ? rc : fabric_qp_create(l->conn, &attr);
}

int link_open(struct link *l, const void *private_data, uint8_t len)
{
	struct fabric_conn_param param = {.private_data = private_data,
					  .private_data_len = len,
					  .responder_resources = 4,
					  .initiator_depth = 4};
	const uint64_t end = now_ns() + RAW_STEP_NS;
	int rc = fabric_resolve(raw.cm, (struct sockaddr *)&raw.dst, 5000, l, &l->conn);

	if (rc < 0)
		return rc;
	fabric_conn_set_user(l->conn, l);
	while (!l->resolved && !l->dead && now_ns() < end)
		link_turn(NULL, NULL);
	if (!l->resolved)
		return l->error ? l->error : -ETIMEDOUT;
	rc = link_prepare(l);
	if (rc < 0)
		return rc;
	for (unsigned int i = 0; i < RAW_DEPTH; i++)
		post_receive(l, i);
	rc = fabric_connect(l->conn, &param);
	while (rc == 0 && !l->established && !l->dead && now_ns() < end)
		link_turn(l, NULL);
	if (rc == 0 && !l->established)
		rc = l->error ? l->error : -ECONNREFUSED;
	return rc;
}

int link_send_slot(struct link *l, unsigned int slot, uint32_t bytes)
{
	struct fabric_sge sge = {
		.addr = address_of(link_slot(l, slot)), .length = bytes, .lkey = l->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = TAG_SEND,
				    .op = FABRIC_OP_SEND,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1};

	l->sent = l->got = false;
	return fabric_post_send(l->conn, &wr, NULL);
}

int link_send(struct link *l, uint32_t bytes)
{
	return link_send_slot(l, 0, bytes);
}

/* ---- commands -------------------------------------------------------------------------------- */

struct nvme_command *command_in(struct link *l, unsigned int slot, uint8_t opcode,
				uint32_t data_bytes)
{
	struct nvme_command *cmd = (struct nvme_command *)(void *)link_slot(l, slot);

	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = opcode;
	cmd->flags = NVME_FLAGS_SGL;
	cmd->cid = htole16((uint16_t)(7 + slot));
	nvme_keyed_sgl_set(&cmd->sgl, data_bytes ? address_of(link_data(l)) : 0, data_bytes,
			   data_bytes ? l->mr->rkey : 0, NVME_SGL_ADDRESS);
	return cmd;
}

struct nvme_command *command_new(struct link *l, uint8_t opcode, uint32_t data_bytes)
{
	return command_in(l, 0, opcode, data_bytes);
}

struct nvme_completion command_run(struct link *l, struct link *other)
{
	const struct nvme_command *cmd = (const struct nvme_command *)(const void *)link_slot(l, 0);
	const uint64_t end = now_ns() + RAW_STEP_NS;
	struct nvme_completion cqe;

	if (link_send(l, sizeof(*cmd)) < 0)
		errx(1, "the queue is gone");
	while (!(l->got && l->sent) && !l->dead && now_ns() < end)
		link_turn(l, other);
	if (!l->got)
		errx(1, "no answer to command %02xh", cmd->opcode);
	memcpy(&cqe, l->in, sizeof(cqe));
	return cqe;
}

uint16_t raw_status_of(const struct nvme_completion *cqe)
{
	return (uint16_t)(le16toh(cqe->status) >> 1 & 0x7ff);
}

uint16_t command_status(struct link *l, struct link *other)
{
	const struct nvme_completion cqe = command_run(l, other);

	return raw_status_of(&cqe);
}

void connect_build(struct nvmf_connect_command *connect, struct nvmf_connect_data *data,
		   uint16_t qid, int host, uint16_t cntlid)
{
	connect->opcode = NVME_FABRICS;
	connect->flags = NVME_FLAGS_SGL;
	connect->fctype = NVMF_CONNECT;
	connect->qid = htole16(qid);
	connect->sqsize = htole16(RAW_DEPTH - 1);
	memset(data, 0, sizeof(*data));
	data->hostid[0] = (uint8_t)host;
	data->hostid[1] = (uint8_t)(host >> 8);
	data->hostid[15] = 1;
	data->cntlid = htole16(qid ? cntlid : NVME_CNTLID_DYNAMIC);
	(void)snprintf(data->subnqn, sizeof(data->subnqn), "%s", raw.nqn);
	(void)snprintf(data->hostnqn, sizeof(data->hostnqn), "nqn.2026-11.org.leasehold:rogue-%d",
		       host);
}

struct nvmf_rdma_cm_request queue_request(uint16_t qid, uint16_t cntlid)
{
	return (struct nvmf_rdma_cm_request){.qid = htole16(qid),
					     .hrqsize = htole16(RAW_DEPTH),
					     .hsqsize = htole16(RAW_DEPTH - 1),
					     .cntlid = htole16(cntlid)};
}

void queue_open(struct link *l, uint16_t qid)
{
	const struct nvmf_rdma_cm_request request = queue_request(qid, l->cntlid);
	struct nvme_completion cqe;
	int rc = link_open(l, &request, sizeof(request));

	if (rc < 0)
		errx(1, "no queue %u: %s", qid, strerror(-rc));
	connect_build((void *)command_new(l, NVME_FABRICS, sizeof(struct nvmf_connect_data)),
		      (void *)link_data(l), qid, l->host, l->cntlid);
	cqe = command_run(l, NULL);
	if (raw_status_of(&cqe) != 0)
		errx(1, "Connect: %s", nvme_status_text(raw_status_of(&cqe)));
	l->cntlid = (uint16_t)le32toh(cqe.dw0);
}

void admin_open(struct link *admin)
{
	struct nvmf_property_command *set;
	uint16_t status;

	if (admin->host == 0)
		admin->host = getpid();
	queue_open(admin, 0);
	set = (struct nvmf_property_command *)command_new(admin, NVME_FABRICS, 0);
	set->fctype = NVMF_PROPERTY_SET;
	set->offset = htole32(NVME_PROP_CC);
	set->value = htole64(NVME_CC_EN | 6u << 16 | 4u << 20);
	status = command_status(admin, NULL);
	if (status != 0)
		errx(1, "CC.EN: %s", nvme_status_text(status));
}

uint16_t block_io(struct link *io, uint8_t opcode, uint64_t offset)
{
	struct nvme_command *cmd = command_new(io, opcode, 4096);
	/* The block is 512 or 4096 bytes; these tests export with 4096. */
	const uint64_t lba = offset / 4096;

	cmd->nsid = htole32(raw.nsid);
	cmd->cdw10 = htole32((uint32_t)lba);
	cmd->cdw11 = htole32((uint32_t)(lba >> 32));
	return command_status(io, NULL);
}

/* ---- direct queues and grants ---------------------------------------------------------------- */

uint16_t token_take(struct link *admin, struct lh_cm_request *request)
{
	uint16_t status;

	(void)command_new(admin, LH_ADMIN_OPEN_DIRECT, sizeof(struct lh_token));
	status = command_status(admin, NULL);
	*request = (struct lh_cm_request){.recfmt = htole16(LH_CM_RECFMT),
					  .version = htole16(LH_PROTOCOL_VERSION),
					  .cntlid = htole16(admin->cntlid),
					  .credits = htole16(RAW_DEPTH)};
	memcpy(request->token, link_data(admin), LH_TOKEN_BYTES);
	return status;
}

void hello(struct link *admin, struct link *direct)
{
	const struct lh_msg wire = {.type = htole16(LH_MSG_HELLO), .length = htole32(sizeof(wire))};

	memcpy(link_slot(direct, 0), &wire, sizeof(wire));
	if (link_send(direct, sizeof(wire)) < 0)
		direct->dead = true;
	while (!direct->sent && !direct->dead)
		link_turn(admin, direct);
}

int direct_open(struct link *admin, struct link *direct)
{
	struct lh_cm_request request;
	struct lh_cm_accept accept;

	if (token_take(admin, &request) != 0)
		return -1;
	if (link_open(direct, &request, sizeof(request)) < 0)
		return -1;
	memcpy(&accept, direct->reply, sizeof(accept));
	direct->dqid = le16toh(accept.dqid);
	direct->cntlid = admin->cntlid;
	hello(admin, direct);
	return direct->dead ? -1 : direct->dqid;
}

void direct_must_open(struct link *admin, struct link *direct)
{
	if (direct_open(admin, direct) < 0)
		errx(1, "no direct queue");
}

void grant_command(struct link *admin, unsigned int slot, uint8_t opcode, uint16_t dqid,
		   uint64_t offset, uint64_t length, uint32_t generation, unsigned int access)
{
	const uint32_t room =
		sizeof(struct lh_acquire_reply) + LH_ACQUIRE_MAX_GRANTS * sizeof(struct lh_grant);
	struct lh_admin_command *cmd = (struct lh_admin_command *)command_in(
		admin, slot, opcode, opcode == LH_ADMIN_ACQUIRE ? room : 0);

	cmd->nsid = htole32(raw.nsid);
	cmd->dqid = htole16(dqid);
	cmd->access_flags = htole16((uint16_t)access);
	cmd->offset = htole64(offset);
	cmd->length = htole64(length);
	cmd->generation = htole32(generation);
}

uint16_t acquire_try(struct link *admin, struct link *direct, unsigned int access, uint64_t offset,
		     uint64_t bytes, struct raw_grant *g)
{
	struct lh_acquire_reply reply;
	struct lh_grant first;
	uint16_t status;

	grant_command(admin, 0, LH_ADMIN_ACQUIRE, direct->dqid, offset, bytes, 0, access);
	status = command_status(admin, direct);
	if (status != 0)
		return status;
	memcpy(&reply, link_data(admin), sizeof(reply));
	memcpy(&first, link_data(admin) + sizeof(reply), sizeof(first));
	if (le16toh(reply.count) == 0)
		errx(1, "Acquire: no grant");
	*g = (struct raw_grant){.generation = le32toh(reply.generation),
				.rkey = le32toh(first.rkey),
				.address = le64toh(first.address),
				.length = le64toh(first.length)};
	return 0;
}

struct raw_grant acquire(struct link *admin, struct link *direct, unsigned int access,
			 uint64_t offset, uint64_t bytes)
{
	const uint64_t end = now_ns() + RAW_STEP_NS;
	struct raw_grant g;

	for (;;) {
		uint16_t status = acquire_try(admin, direct, access, offset, bytes, &g);

		if (status == 0)
			break;
		if (status != LH_SC_RECALLING || now_ns() > end)
			errx(1, "Acquire: status %03xh", status);
		usleep(10000);
	}
	(void)printf("granted %u %llu %u %llu\n", g.generation, (unsigned long long)g.address,
		     g.rkey, (unsigned long long)g.length);
	(void)fflush(stdout);
	return g;
}

uint16_t release_try(struct link *admin, struct link *direct, uint64_t offset, uint64_t length,
		     uint32_t generation)
{
	grant_command(admin, 0, LH_ADMIN_RELEASE, direct->dqid, offset, length, generation, 0);
	return command_status(admin, direct);
}

void release_all(struct link *admin, struct link *direct, uint32_t generation)
{
	uint16_t status = release_try(admin, direct, 0, UINT64_MAX, generation);

	if (status != 0)
		errx(1, "Release: status %03xh", status);
}

int commit_try(struct link *admin, struct link *direct, uint32_t ns, uint32_t generation,
	       uint64_t offset, uint64_t length)
{
	const uint64_t end = now_ns() + RAW_STEP_NS;
	const struct lh_commit_range range = {htole64(offset), htole64(length)};
	struct lh_msg_commit wire = {
		.header = {.type = htole16(LH_MSG_COMMIT),
			   .credits = htole16(1), /* the last answer's receive */
			   .length = htole32(sizeof(wire) + sizeof(range)),
			   .nsid = htole32(ns)},
		.generation = htole32(generation),
		.count = htole32(1),
	};
	struct lh_msg m;

	if (direct->dead)
		return -1;
	memcpy(link_slot(direct, 0), &wire, sizeof(wire));
	memcpy(link_slot(direct, 0) + sizeof(wire), &range, sizeof(range));
	if (link_send(direct, sizeof(wire) + sizeof(range)) < 0)
		return -1;
	while (!direct->dead && now_ns() < end) {
		link_turn(admin, direct);
		if (!direct->got)
			continue;
		memcpy(&m, direct->in, sizeof(m));
		direct->got = false;
		if (le16toh(m.type) == LH_MSG_COMMITTED)
			return le16toh(m.status);
	}
	return -1;
}

/* ---- one-sided ------------------------------------------------------------------------------- */

enum fabric_status rma(struct link *admin, struct link *l, enum fabric_op op, uint64_t address,
		       uint32_t rkey, uint32_t bytes)
{
	struct fabric_sge sge = {
		.addr = address_of(link_data(l)), .length = bytes, .lkey = l->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = TAG_RMA,
				    .op = op,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1,
				    .remote_addr = address,
				    .rkey = rkey};
	const uint64_t end = now_ns() + RAW_STEP_NS;

	l->rma_done = false;
	if (l->dead || fabric_post_send(l->conn, &wr, NULL) < 0)
		return FABRIC_FLUSHED;
	while (!l->rma_done && !l->dead && now_ns() < end)
		link_turn(admin, l);
	return l->rma_done ? l->rma_status : FABRIC_FLUSHED;
}

enum fabric_status round_trip(struct link *admin, struct link *l, uint64_t address, uint32_t rkey,
			      uint32_t bytes)
{
	enum fabric_status status;

	memset(link_data(l), 0xbd, bytes);
	status = rma(admin, l, FABRIC_OP_WRITE, address, rkey, bytes);
	return status == FABRIC_OK ? rma(admin, l, FABRIC_OP_READ, address, rkey, bytes) : status;
}
