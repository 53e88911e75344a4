// SPDX-License-Identifier: BSD-3-Clause
/*
 * A client that misbehaves, for the end-to-end tests. Written against the wire (wire/nvme.h,
 * wire/direct.h) and the fabric, not against libleasehold, so that nothing in it is ever polite by
 * accident. One thread, one command at a time.
 *
 *	rogue FABRIC ADDRESS PORT NQN NSID MODE [ARGUMENT...]
 *
 *	keep SECONDS	   gives its grant back when asked, then goes on using the key, on the same
 *			   queue pair and on new ones
 *	ignore SECONDS	   never answers a recall and goes on using the key
 *	idle SECONDS	   gets a grant and prints it, does nothing else
 *	steal ADDR RKEY	   uses another client's key on its own direct queue
 *	beyond		   reads and writes one byte past either end of its grant
 *	read-only	   writes through a grant for reading
 *	garbage SEED N	   N connections that break off or send nonsense at some step
 *	resv HOST WHAT CRKEY KEY TYPE
 *			   one reservation command as the host of that number, on an I/O queue:
 *			   register, register-kept, unregister, acquire, preempt, preempt-abort,
 *			   release, clear; or read, write: one block. Prints "status XXXh".
 *	discovery SECONDS  stays connected to the discovery service and reads the log after each
 *			   event. Prints "log GENERATION RECORDS PORTID:SERVICE...", then for each
 *			   event "event XXXXXXXXh" and another "log".
 *
 * Lines on stdout: granted GENERATION ADDRESS RKEY LENGTH | told NS GENERATION | released NS |
 * refused NS WORDS | worked NS (posting time of the last round trip that the target let happen,
 * printed when it is refused and at the end). Exit: 0 done, 1 could not, 3 something worked that must not.
 */
#include "fabric/fabric.h"
#include "fabric/verbs.h"
#include "iwarp/iwarp.h"
#include "util/util.h"
#include "wire/wire.h"

#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEPTH	   32
#define SLOT_BYTES 8192
#define STEP_NS	   (20 * NS_PER_S)
#define BAD_EXIT   3

enum tag {
	TAG_RECV = 0, /* + slot */
	TAG_SEND = 1000,
	TAG_RMA = 2000,
};

/** One connection: a queue pair with its receives. */
struct link {
	struct fabric_conn *conn;
	struct fabric_cq *cq;
	struct fabric_mr *mr;
	uint8_t *mem; /* DEPTH receive slots, then the send slot, then the data slot */
	bool resolved, established, dead;
	int error;
	uint8_t reply[FABRIC_PRIVATE_DATA_MAX];
	bool got; /* a message for the caller is in `in` */
	uint8_t in[SLOT_BYTES];
	bool sent, rma_done;
	enum fabric_status rma_status;
	bool told; /* a Recall came */
	uint32_t told_generation;
};

struct grant {
	uint32_t generation, rkey;
	uint64_t address, length;
};

static struct fabric *fabric;
static struct fabric_cm *cm;
static struct fabric_pd *pd;
static struct sockaddr_storage dst;
static const char *nqn;
static uint32_t nsid;
static uint16_t cntlid;
static int host_number; /* 0: one that nobody else has */

static uint8_t *send_slot(struct link *l)
{
	return l->mem + (size_t)DEPTH * SLOT_BYTES;
}

static uint8_t *data_slot(struct link *l)
{
	return l->mem + (size_t)(DEPTH + 1) * SLOT_BYTES;
}

static uint64_t address_of(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

/* ---- moving ---------------------------------------------------------------------------------- */

static void post_receive(struct link *l, unsigned int slot)
{
	struct fabric_sge sge = {.addr = address_of(l->mem + (size_t)slot * SLOT_BYTES),
				 .length = SLOT_BYTES,
				 .lkey = l->mr->lkey};
	struct fabric_recv_wr wr = {.wr_id = TAG_RECV + slot, .sg_list = &sge, .num_sge = 1};

	if (fabric_post_recv(l->conn, &wr, NULL) < 0)
		l->dead = true;
}

static void take_message(struct link *l, unsigned int slot, uint32_t bytes)
{
	const uint8_t *at = l->mem + (size_t)slot * SLOT_BYTES;
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

	while (fabric_cm_poll(cm, &ev) == 1) {
		struct link *l = ev.conn ? fabric_conn_user(ev.conn) : NULL;

		if (!l)
			continue;
		switch (ev.type) {
		case FABRIC_CM_RESOLVED:
			l->resolved = true;
			break;
		case FABRIC_CM_ESTABLISHED:
			memcpy(l->reply, ev.private_data,
			       min_u64(sizeof(l->reply), ev.private_data_len));
			l->established = true;
			break;
		default:
			l->error = ev.error;
			l->dead = true;
		}
	}
}

static void turn(struct link *a, struct link *b)
{
	turn_cm();
	if (a)
		turn_cq(a);
	if (b)
		turn_cq(b);
	usleep(20);
}

/* ---- connections ----------------------------------------------------------------------------- */

static void link_close(struct link *l)
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
	struct fabric_qp_attr attr = {
		.max_send_wr = DEPTH, .max_recv_wr = DEPTH, .max_send_sge = 1, .max_recv_sge = 1};
	int rc = 0;

	if (!pd)
		rc = fabric_pd_alloc(dev, &pd);
	if (rc == 0)
		rc = fabric_cq_create(dev, 4 * DEPTH, &l->cq);
	l->mem = aligned_alloc(4096, (size_t)(DEPTH + 2) * SLOT_BYTES);
	if (!l->mem)
		err(1, "memory");
	if (rc == 0)
		rc = fabric_mr_reg(pd, l->mem, (uint64_t)(DEPTH + 2) * SLOT_BYTES,
				   address_of(l->mem),
				   FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ |
					   FABRIC_ACCESS_REMOTE_WRITE,
				   &l->mr);
	attr.pd = pd;
	attr.cq = l->cq;
	return rc ? rc : fabric_qp_create(l->conn, &attr);
}

/** Connects with that private data. 0, or -errno; the link may then be closed only. */
static int link_open(struct link *l, const void *private_data, uint8_t len)
{
	struct fabric_conn_param param = {.private_data = private_data,
					  .private_data_len = len,
					  .responder_resources = 4,
					  .initiator_depth = 4};
	const uint64_t end = now_ns() + STEP_NS;
	int rc = fabric_resolve(cm, (struct sockaddr *)&dst, 5000, l, &l->conn);

	if (rc < 0)
		return rc;
	fabric_conn_set_user(l->conn, l);
	while (!l->resolved && !l->dead && now_ns() < end)
		turn(NULL, NULL);
	if (!l->resolved)
		return l->error ? l->error : -ETIMEDOUT;
	rc = link_prepare(l);
	if (rc < 0)
		return rc;
	for (unsigned int i = 0; i < DEPTH; i++)
		post_receive(l, i);
	rc = fabric_connect(l->conn, &param);
	while (rc == 0 && !l->established && !l->dead && now_ns() < end)
		turn(l, NULL);
	if (rc == 0 && !l->established)
		rc = l->error ? l->error : -ECONNREFUSED;
	return rc;
}

static int link_send(struct link *l, uint32_t bytes)
{
	struct fabric_sge sge = {
		.addr = address_of(send_slot(l)), .length = bytes, .lkey = l->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = TAG_SEND,
				    .op = FABRIC_OP_SEND,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1};

	l->sent = l->got = false;
	return fabric_post_send(l->conn, &wr, NULL);
}

/* ---- commands -------------------------------------------------------------------------------- */

/** Sends what is in the send slot and waits for the completion queue entry. */
static struct nvme_completion command(struct link *admin, struct link *other)
{
	struct nvme_command *cmd = (struct nvme_command *)(void *)send_slot(admin);
	const uint64_t end = now_ns() + STEP_NS;
	struct nvme_completion cqe;

	cmd->flags = NVME_FLAGS_SGL;
	cmd->cid = htole16(7);
	if (link_send(admin, sizeof(*cmd)) < 0)
		errx(1, "the admin queue is gone");
	while (!(admin->got && admin->sent) && !admin->dead && now_ns() < end)
		turn(admin, other);
	if (!admin->got)
		errx(1, "no answer to command %02xh", cmd->opcode);
	memcpy(&cqe, admin->in, sizeof(cqe));
	return cqe;
}

static struct nvme_command *command_new(struct link *admin, uint8_t opcode, uint32_t data_bytes)
{
	struct nvme_command *cmd = (struct nvme_command *)(void *)send_slot(admin);

	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = opcode;
	nvme_keyed_sgl_set(&cmd->sgl, data_bytes ? address_of(data_slot(admin)) : 0, data_bytes,
			   data_bytes ? admin->mr->rkey : 0, NVME_SGL_ADDRESS);
	return cmd;
}

static uint16_t status_of(const struct nvme_completion *cqe)
{
	return (uint16_t)(le16toh(cqe->status) >> 1 & 0x7ff);
}

/* A queue of the controller; 0 is the admin queue, which makes one. */
static void queue_open(struct link *admin, uint16_t qid)
{
	const struct nvmf_rdma_cm_request request = {.qid = htole16(qid),
						     .hrqsize = htole16(DEPTH),
						     .hsqsize = htole16(DEPTH - 1),
						     .cntlid = htole16(cntlid)};
	struct nvmf_connect_command *connect;
	struct nvmf_connect_data *data;
	struct nvme_completion cqe;
	int rc = link_open(admin, &request, sizeof(request));

	if (rc < 0)
		errx(1, "no queue %u: %s", qid, strerror(-rc));
	connect = (struct nvmf_connect_command *)command_new(admin, NVME_FABRICS, sizeof(*data));
	connect->fctype = NVMF_CONNECT;
	connect->qid = htole16(qid);
	connect->sqsize = htole16(DEPTH - 1);
	data = (struct nvmf_connect_data *)data_slot(admin);
	memset(data, 0, sizeof(*data));
	data->hostid[0] = (uint8_t)host_number;
	data->hostid[1] = (uint8_t)(host_number >> 8);
	data->hostid[15] = 1;
	data->cntlid = htole16(qid ? cntlid : NVME_CNTLID_DYNAMIC);
	(void)snprintf(data->subnqn, sizeof(data->subnqn), "%s", nqn);
	(void)snprintf(data->hostnqn, sizeof(data->hostnqn), "nqn.2026-11.org.leasehold:rogue-%d",
		       host_number);
	cqe = command(admin, NULL);
	if (status_of(&cqe) != 0)
		errx(1, "Connect: %s", nvme_status_text(status_of(&cqe)));
	cntlid = (uint16_t)le32toh(cqe.dw0);
}

static void admin_open(struct link *admin)
{
	struct nvmf_property_command *set;
	struct nvme_completion cqe;

	if (host_number == 0)
		host_number = getpid();
	queue_open(admin, 0);
	set = (struct nvmf_property_command *)command_new(admin, NVME_FABRICS, 0);
	set->fctype = NVMF_PROPERTY_SET;
	set->offset = htole32(NVME_PROP_CC);
	set->value = htole64(NVME_CC_EN | 6u << 16 | 4u << 20);
	cqe = command(admin, NULL);
	if (status_of(&cqe) != 0)
		errx(1, "CC.EN: %s", nvme_status_text(status_of(&cqe)));
}

/** A direct queue of our own; says Hello. Returns its number, or -1 if the target refuses. */
static int direct_open(struct link *admin, struct link *direct)
{
	struct lh_cm_request request = {.recfmt = htole16(LH_CM_RECFMT),
					.version = htole16(LH_PROTOCOL_VERSION),
					.cntlid = htole16(cntlid),
					.credits = htole16(DEPTH)};
	struct nvme_completion cqe;
	struct lh_cm_accept accept;
	struct lh_msg hello = {.type = htole16(LH_MSG_HELLO), .length = htole32(sizeof(hello))};

	(void)command_new(admin, LH_ADMIN_OPEN_DIRECT, sizeof(struct lh_token));
	cqe = command(admin, NULL);
	if (status_of(&cqe) != 0)
		return -1;
	memcpy(request.token, data_slot(admin), LH_TOKEN_BYTES);
	if (link_open(direct, &request, sizeof(request)) < 0)
		return -1;
	memcpy(&accept, direct->reply, sizeof(accept));
	memcpy(send_slot(direct), &hello, sizeof(hello));
	if (link_send(direct, sizeof(hello)) < 0)
		return -1;
	while (!direct->sent && !direct->dead)
		turn(admin, direct);
	return le16toh(accept.dqid);
}

static struct grant acquire(struct link *admin, struct link *direct, int dqid, unsigned int access,
			    uint64_t bytes)
{
	struct lh_acquire_reply reply;
	struct lh_grant first;
	struct grant g;
	const uint64_t end = now_ns() + STEP_NS;

	for (;;) {
		struct lh_admin_command *cmd = (struct lh_admin_command *)command_new(
			admin, LH_ADMIN_ACQUIRE,
			sizeof(reply) + LH_ACQUIRE_MAX_GRANTS * sizeof(first));
		struct nvme_completion cqe;

		cmd->nsid = htole32(nsid);
		cmd->dqid = htole16((uint16_t)dqid);
		cmd->access_flags = htole16((uint16_t)access);
		cmd->length = htole64(bytes);
		cqe = command(admin, direct);
		if (status_of(&cqe) == 0)
			break;
		if (status_of(&cqe) != LH_SC_RECALLING || now_ns() > end)
			errx(1, "Acquire: status %03xh", status_of(&cqe));
		usleep(10000);
	}
	memcpy(&reply, data_slot(admin), sizeof(reply));
	memcpy(&first, data_slot(admin) + sizeof(reply), sizeof(first));
	if (le16toh(reply.count) == 0)
		errx(1, "Acquire: no grant");
	g.generation = le32toh(reply.generation);
	g.rkey = le32toh(first.rkey);
	g.address = le64toh(first.address);
	g.length = le64toh(first.length);
	(void)printf("granted %u %llu %u %llu\n", g.generation, (unsigned long long)g.address,
		     g.rkey, (unsigned long long)g.length);
	return g;
}

static void release(struct link *admin, struct link *direct, int dqid, uint32_t generation)
{
	struct lh_admin_command *cmd =
		(struct lh_admin_command *)command_new(admin, LH_ADMIN_RELEASE, 0);
	struct nvme_completion cqe;

	cmd->nsid = htole32(nsid);
	cmd->dqid = htole16((uint16_t)dqid);
	cmd->length = htole64(UINT64_MAX);
	cmd->generation = htole32(generation);
	cqe = command(admin, direct);
	if (status_of(&cqe) != 0)
		errx(1, "Release: status %03xh", status_of(&cqe));
}

/* ---- one-sided ------------------------------------------------------------------------------- */

static enum fabric_status rma(struct link *admin, struct link *l, enum fabric_op op,
			      uint64_t address, uint32_t rkey, uint32_t bytes)
{
	struct fabric_sge sge = {
		.addr = address_of(data_slot(l)), .length = bytes, .lkey = l->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = TAG_RMA,
				    .op = op,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1,
				    .remote_addr = address,
				    .rkey = rkey};
	const uint64_t end = now_ns() + STEP_NS;

	l->rma_done = false;
	if (l->dead || fabric_post_send(l->conn, &wr, NULL) < 0)
		return FABRIC_FLUSHED;
	while (!l->rma_done && !l->dead && now_ns() < end)
		turn(admin, l);
	return l->rma_done ? l->rma_status : FABRIC_FLUSHED;
}

/** A write, and a read behind it, so that success means that the target let both happen. */
static enum fabric_status round_trip(struct link *admin, struct link *l, uint64_t address,
				     uint32_t rkey, uint32_t bytes)
{
	enum fabric_status status;

	memset(data_slot(l), 0xbd, bytes);
	status = rma(admin, l, FABRIC_OP_WRITE, address, rkey, bytes);
	return status == FABRIC_OK ? rma(admin, l, FABRIC_OP_READ, address, rkey, bytes) : status;
}

static void say(const char *what, uint64_t at_ns, const char *words)
{
	(void)printf("%s %llu %s\n", what, (unsigned long long)at_ns, words);
	(void)fflush(stdout);
}

/* ---- modes ----------------------------------------------------------------------------------- */

/** Uses a key on new direct queues until the time is up. Returns whether one worked. */
static bool try_on_new_queues(struct link *admin, const struct grant *g, uint64_t end)
{
	while (now_ns() < end) {
		struct link l = {0};
		const uint64_t begun = now_ns();
		enum fabric_status status;

		if (direct_open(admin, &l) >= 0) {
			status = round_trip(admin, &l, g->address, g->rkey, 8);
			if (status == FABRIC_OK) {
				say("worked", begun, "on another queue pair");
				return true;
			}
			say("refused", begun, fabric_status_text(status));
		}
		link_close(&l);
		usleep(100000);
	}
	return false;
}

/** keep and ignore: see the top. The whole granted range is aimed at, a page at a time. */
static int misuse(bool answers, uint64_t seconds)
{
	struct link admin = {0}, direct = {0};
	const uint64_t end = now_ns() + seconds * NS_PER_S;
	uint64_t worked = 0, released = 0;
	struct grant g;
	uint64_t page = 0;
	int dqid;

	admin_open(&admin);
	dqid = direct_open(&admin, &direct);
	if (dqid < 0)
		errx(1, "no direct queue");
	g = acquire(&admin, &direct, dqid, LH_GRANT_READ | LH_GRANT_WRITE, MIB(32));
	(void)fflush(stdout);
	while (now_ns() < end) {
		const uint64_t begun = now_ns();
		enum fabric_status status =
			round_trip(&admin, &direct, g.address + page, g.rkey, 4096);

		if (status != FABRIC_OK) {
			say("refused", begun, fabric_status_text(status));
			break;
		}
		worked = begun;
		page = (page + 4096) % g.length;
		if (released) {
			say("worked", begun, "after it was released");
			return BAD_EXIT;
		}
		if (direct.told) {
			say("told", now_ns(), "");
			direct.told = false;
			if (answers) {
				release(&admin, &direct, dqid, direct.told_generation);
				released = now_ns();
				say("released", released, "");
				/* What stays in the file: behind its end the kernel refuses too. */
				page = 0;
			}
		}
	}
	say("worked", worked, "last");
	if (try_on_new_queues(&admin, &g, end))
		return BAD_EXIT;
	return 0;
}

static int idle(uint64_t seconds)
{
	struct link admin = {0}, direct = {0};
	const uint64_t end = now_ns() + seconds * NS_PER_S;
	int dqid;

	admin_open(&admin);
	dqid = direct_open(&admin, &direct);
	if (dqid < 0)
		errx(1, "no direct queue");
	(void)acquire(&admin, &direct, dqid, LH_GRANT_READ | LH_GRANT_WRITE, MIB(1));
	(void)fflush(stdout);
	while (now_ns() < end && !direct.dead)
		turn(&admin, &direct);
	return 0;
}

/** One access that must be refused; a queue of its own, since it dies of it. */
static bool must_refuse(const char *what, struct link *admin, unsigned int access,
			enum fabric_op op, int64_t offset, int64_t bytes, bool from_end)
{
	struct link l = {0};
	enum fabric_status status;
	struct grant g;
	int dqid = direct_open(admin, &l);

	if (dqid < 0)
		errx(1, "no direct queue");
	g = acquire(admin, &l, dqid, access, MIB(1));
	if (from_end)
		offset += (int64_t)g.length;
	memset(data_slot(&l), 0xbd, SLOT_BYTES);
	status = rma(admin, &l, op, g.address + (uint64_t)offset, g.rkey, (uint32_t)bytes);
	if (status == FABRIC_OK) /* of a write it means sent */
		status = rma(admin, &l, FABRIC_OP_READ, g.address, g.rkey, 8);
	say(status == FABRIC_OK ? "worked" : "refused", now_ns(), what);
	link_close(&l);
	usleep(50000);
	return status != FABRIC_OK;
}

static int beyond(void)
{
	struct link admin = {0};
	const unsigned int both = LH_GRANT_READ | LH_GRANT_WRITE;
	bool ok = true;

	admin_open(&admin);
	ok &= must_refuse("write past the end", &admin, both, FABRIC_OP_WRITE, -7, 8, true);
	ok &= must_refuse("write behind the end", &admin, both, FABRIC_OP_WRITE, 4096, 8, true);
	ok &= must_refuse("write before the beginning", &admin, both, FABRIC_OP_WRITE, -1, 8,
			  false);
	ok &= must_refuse("read past the end", &admin, both, FABRIC_OP_READ, -7, 8, true);
	ok &= must_refuse("read before the beginning", &admin, both, FABRIC_OP_READ, -1, 8, false);
	link_close(&admin);
	return ok ? 0 : BAD_EXIT;
}

static int read_only(void)
{
	struct link admin = {0};
	bool ok;

	admin_open(&admin);
	ok = must_refuse("write through a grant for reading", &admin, LH_GRANT_READ,
			 FABRIC_OP_WRITE, 0, 8, false);
	link_close(&admin);
	return ok ? 0 : BAD_EXIT;
}

static int steal(uint64_t address, uint32_t rkey)
{
	struct link admin = {0}, direct = {0};
	enum fabric_status status;

	admin_open(&admin);
	if (direct_open(&admin, &direct) < 0)
		errx(1, "no direct queue");
	status = round_trip(&admin, &direct, address, rkey, 8);
	say(status == FABRIC_OK ? "worked" : "refused", now_ns(), fabric_status_text(status));
	return status == FABRIC_OK ? BAD_EXIT : 0;
}

static uint64_t random_state;

static uint32_t dice(uint32_t sides)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(random_state >> 33) % sides;
}

/** A connection that goes wrong in one of several ways. */
static void nonsense(void)
{
	struct nvmf_rdma_cm_request request = {.hrqsize = htole16(DEPTH),
					       .hsqsize = htole16(DEPTH - 1)};
	struct lh_cm_request direct = {.recfmt = htole16(LH_CM_RECFMT),
				       .version = htole16(LH_PROTOCOL_VERSION)};
	uint8_t private_data[FABRIC_PRIVATE_DATA_MAX];
	const uint32_t way = dice(7);
	struct link l = {0};
	int rc;

	for (size_t i = 0; i < sizeof(private_data); i++)
		private_data[i] = (uint8_t)dice(256);
	switch (way) {
	case 0: /* private data that is nobody's */
		rc = link_open(&l, private_data, (uint8_t)dice(sizeof(private_data)));
		break;
	case 1: /* a direct queue without a token */
		memcpy(direct.token, private_data, sizeof(direct.token));
		rc = link_open(&l, &direct, sizeof(direct));
		break;
	case 2: /* an I/O queue of a controller that is not there */
		request.qid = htole16(1);
		request.cntlid = htole16(999);
		rc = link_open(&l, &request, sizeof(request));
		break;
	default:
		rc = link_open(&l, &request, sizeof(request));
	}
	if (rc == 0) {
		for (size_t i = 0; i < SLOT_BYTES; i++)
			send_slot(&l)[i] = (uint8_t)dice(256);
		if (way == 4) /* half a capsule */
			rc = link_send(&l, 1 + dice(63));
		else if (way > 4) /* a whole one, of nonsense, perhaps with data behind */
			rc = link_send(&l, 64 + dice(2) * dice(4096));
		for (int i = 0; rc == 0 && way >= 4 && i < 500 && !l.got && !l.dead; i++)
			turn(&l, NULL);
	}
	link_close(&l);
}

static int garbage(uint64_t seed, uint64_t count)
{
	random_state = seed;
	for (uint64_t i = 0; i < count; i++)
		nonsense();
	return 0;
}

/* ---- the program ----------------------------------------------------------------------------- */

static uint64_t number(const char *text)
{
	return text ? strtoull(text, NULL, 0) : 0;
}

/* ---- reservations ---------------------------------------------------------------------------- */

struct resv_word {
	const char *name;
	uint8_t opcode, bytes;
	uint32_t cdw10;
};

static const struct resv_word resv_words[] = {
	{"register", NVME_IO_RESV_REGISTER, 16, NVME_RREGA_REGISTER},
	{"register-kept", NVME_IO_RESV_REGISTER, 16, NVME_RREGA_REGISTER | 3u << 30},
	{"unregister", NVME_IO_RESV_REGISTER, 16, NVME_RREGA_UNREGISTER},
	{"acquire", NVME_IO_RESV_ACQUIRE, 16, NVME_RACQA_ACQUIRE},
	{"preempt", NVME_IO_RESV_ACQUIRE, 16, NVME_RACQA_PREEMPT},
	{"preempt-abort", NVME_IO_RESV_ACQUIRE, 16, NVME_RACQA_PREEMPT_ABORT},
	{"release", NVME_IO_RESV_RELEASE, 8, NVME_RRELA_RELEASE},
	{"clear", NVME_IO_RESV_RELEASE, 8, NVME_RRELA_CLEAR},
};

static void resv_fill(struct link *io, const char *what, char **numbers)
{
	struct nvme_resv_keys keys = {.crkey = htole64(number(numbers[0])),
				      .key = htole64(number(numbers[1]))};
	struct nvme_command *cmd;

	for (size_t i = 0; i < ARRAY_SIZE(resv_words); i++) {
		const struct resv_word *w = &resv_words[i];

		if (strcmp(w->name, what) != 0)
			continue;
		cmd = command_new(io, w->opcode, w->bytes);
		cmd->nsid = htole32(nsid);
		cmd->cdw10 = htole32(w->cdw10 | (uint32_t)number(numbers[2]) << 8);
		memcpy(data_slot(io), &keys, sizeof(keys));
		return;
	}
	/* The first 4096 bytes, which are one block or eight. */
	cmd = command_new(io, strcmp(what, "write") == 0 ? NVME_IO_WRITE : NVME_IO_READ, 4096);
	cmd->nsid = htole32(nsid);
}

static int reserve(char **argv)
{
	struct link admin = {0}, io = {0};
	struct nvme_completion cqe;

	host_number = (int)number(argv[0]);
	admin_open(&admin);
	queue_open(&io, 1);
	resv_fill(&io, argv[1], &argv[2]);
	cqe = command(&io, &admin);
	(void)printf("status %03xh\n", status_of(&cqe));
	link_close(&io);
	link_close(&admin);
	return 0;
}

/* ---- discovery ------------------------------------------------------------------------------- */

static void show_log(struct link *admin)
{
	const uint32_t bytes = SLOT_BYTES;
	const struct nvmf_discovery_head *head = (const void *)data_slot(admin);
	const struct nvmf_discovery_entry *e = (const void *)(data_slot(admin) + 1024);
	struct nvme_command *cmd = command_new(admin, NVME_ADMIN_GET_LOG_PAGE, bytes);
	struct nvme_completion cqe;

	memset(data_slot(admin), 0, bytes);
	cmd->cdw10 = htole32(NVME_LOG_DISCOVERY | (bytes / 4 - 1) << 16);
	cqe = command(admin, NULL);
	if (status_of(&cqe) != 0)
		errx(1, "the discovery log: status %03xh", status_of(&cqe));
	(void)printf("log %llu %llu", (unsigned long long)le64toh(head->genctr),
		     (unsigned long long)le64toh(head->numrec));
	for (uint64_t i = 0; i < le64toh(head->numrec) && i < bytes / 1024 - 1; i++)
		(void)printf(" %u:%.*s", le16toh(e[i].portid), (int)strcspn(e[i].trsvcid, " "),
			     e[i].trsvcid);
	(void)printf("\n");
	(void)fflush(stdout);
}

/* The answer comes when something has changed; nothing else is asked for until then. */
static void ask_for_event(struct link *admin)
{
	struct nvme_command *cmd = command_new(admin, NVME_ADMIN_ASYNC_EVENT, 0);

	cmd->flags = NVME_FLAGS_SGL;
	cmd->cid = htole16(9);
	if (link_send(admin, sizeof(*cmd)) < 0)
		errx(1, "the admin queue is gone");
	while (!admin->sent && !admin->dead)
		turn(admin, NULL);
}

static int discovery(uint64_t seconds)
{
	const uint64_t end = now_ns() + seconds * NS_PER_S;
	struct link admin = {0};
	struct nvme_completion cqe;
	struct nvme_command *cmd;

	nqn = NVME_DISCOVERY_NQN;
	admin_open(&admin);
	cmd = command_new(&admin, NVME_ADMIN_SET_FEATURES, 0);
	cmd->cdw10 = htole32(NVME_FEAT_ASYNC_EVENT);
	cmd->cdw11 = htole32(NVME_AEN_CFG_DISCOVERY);
	cqe = command(&admin, NULL);
	if (status_of(&cqe) != 0)
		errx(1, "events: status %03xh", status_of(&cqe));
	show_log(&admin);
	ask_for_event(&admin);
	while (now_ns() < end && !admin.dead) {
		turn(&admin, NULL);
		if (!admin.got)
			continue;
		memcpy(&cqe, admin.in, sizeof(cqe));
		(void)printf("event %08xh\n", le32toh(cqe.dw0));
		show_log(&admin);
		ask_for_event(&admin);
	}
	if (admin.dead)
		(void)printf("the connection is gone\n");
	link_close(&admin);
	return 0;
}

static int run(char **argv, const char *mode)
{
	if (strcmp(mode, "discovery") == 0)
		return discovery(number(argv[7]));
	if (strcmp(mode, "keep") == 0)
		return misuse(true, number(argv[7]));
	if (strcmp(mode, "ignore") == 0)
		return misuse(false, number(argv[7]));
	if (strcmp(mode, "idle") == 0)
		return idle(number(argv[7]));
	if (strcmp(mode, "beyond") == 0)
		return beyond();
	if (strcmp(mode, "read-only") == 0)
		return read_only();
	if (strcmp(mode, "steal") == 0 && argv[7])
		return steal(number(argv[7]), (uint32_t)number(argv[8]));
	if (strcmp(mode, "garbage") == 0 && argv[7])
		return garbage(number(argv[7]), number(argv[8]));
	if (strcmp(mode, "resv") == 0 && argv[7] && argv[8] && argv[9] && argv[10] && argv[11])
		return reserve(argv + 7);
	errx(2, "what is %s? See the top of rogue.c", mode);
}

int main(int argc, char **argv)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	struct errtext text = {"cannot open the fabric"};
	int rc;

	if (argc < 7)
		errx(2, "FABRIC ADDRESS PORT NQN NSID MODE [ARGUMENT...]");
	nqn = argv[4];
	nsid = (uint32_t)number(argv[5]);
	if (getaddrinfo(argv[2], argv[3], &hints, &found) != 0)
		errx(1, "what address is %s?", argv[2]);
	memcpy(&dst, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	rc = strcmp(argv[1], "verbs") == 0 ? verbs_fabric_open(&fabric, &text)
					   : iwarp_fabric_open(NULL, &fabric, &text);
	if (rc < 0)
		errx(1, "%s", text.text);
	if (fabric_cm_open(fabric, &cm) < 0)
		errx(1, "no channel for connections");
	return run(argv, argv[6]);
}
