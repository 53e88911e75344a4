// SPDX-License-Identifier: BSD-3-Clause
/* The target and the raw host of the NVMe tests. */
#include "nvme_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <time.h>

#include "iwarp/iwarp.h"

#define WAIT_NS	   (30 * NS_PER_S)
#define SLOT_BYTES 32768
#define SUBNQN	   "nqn.2026-11.org.leasehold:test"
#define SEND_TAG   1000

/* ---- the target ------------------------------------------------------------------------------- */

struct call {
	struct loop_msg msg;
	struct rig *rig;
	void (*fn)(struct call *call);
	int err;
	sem_t sem;
};

static void on_call(struct loop_msg *msg)
{
	struct call *call = container_of(msg, struct call, msg);

	call->fn(call);
}

static void wait_sem(sem_t *sem)
{
	struct timespec end;

	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 30;
	if (sem_timedwait(sem, &end) != 0) {
		print_error("waited in vain\n");
		abort();
	}
}

/* fn runs on the control loop and posts the semaphore, then or later. */
static int on_control(struct rig *rig, void (*fn)(struct call *call))
{
	struct call call = {.rig = rig, .fn = fn};

	(void)sem_init(&call.sem, 0, 0);
	loop_post(rig->env.control, &call.msg, on_call);
	wait_sem(&call.sem);
	return call.err;
}

static void started(void *arg, int err, const char *why)
{
	struct call *call = arg;

	if (err)
		print_error("%s\n", why);
	call->err = err;
	(void)sem_post(&call->sem);
}

static void start(struct call *call)
{
	holding_start(call->rig->h, started, call);
}

static void ended(void *arg)
{
	(void)sem_post(&((struct call *)arg)->sem);
}

static void stop_target(struct call *call)
{
	nvme_target_stop(call->rig->target, ended, call);
}

static void stop_holding(struct call *call)
{
	holding_stop(call->rig->h, ended, call);
}

static void on_break(void *arg)
{
	holding_scan(((struct rig *)arg)->h);
}

static void watch(struct call *call)
{
	call->err =
		tenure_signals_new(call->rig->env.control, on_break, call->rig, &call->rig->watch);
	(void)sem_post(&call->sem);
}

static void listen_there(struct call *call)
{
	struct rig *rig = call->rig;
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct nvme_listen_options options = {.no_invalidate = rig->options.no_invalidate};
	struct errtext err;

	rig->target->loses_receives[0] |= rig->options.loses_receives;
	call->err = -EADDRINUSE;
	for (unsigned int i = 0; call->err == -EADDRINUSE && i < 100; i++) {
		rig->port = (uint16_t)(15000 + ((unsigned int)getpid() * 7 + i * 131) % 15000);
		addr.sin_port = htons(rig->port);
		call->err = nvme_target_listen(rig->target, rig->fabric, (struct sockaddr *)&addr,
					       &options, &err);
	}
	(void)sem_post(&call->sem);
}

static void free_there(struct call *call)
{
	struct rig *rig = call->rig;

	nvme_target_free(rig->target);
	holding_free(rig->h);
	tenure_signals_free(rig->watch);
	(void)sem_post(&call->sem);
}

static void target_up(struct rig *rig)
{
	struct iwarp_options iwarp = {0};
	struct holding_config config = {
		.export = config_of("file"),
		.nsid = RIG_NSID,
		.advisory_deallocate = rig->options.advisory,
		.registration = rig->options.registration,
	};
	struct nvme_env nvme = {
		.reactors = rig->reactors,
		.nr_reactors = RIG_REACTORS,
		.holdings = &rig->env,
		.limits = {.queue_depth = RIG_DEPTH,
			   .max_io_queues = 4,
			   .max_controllers = 8,
			   .max_connections = 32,
			   .inline_bytes = rig->options.inline_bytes,
			   .mdts_bytes = MIB(1),
			   .first_command_ms = 5000,
			   .transfer_timeout_ms = rig->options.transfer_timeout_ms,
			   .bounce_bytes = MIB(4),
			   .shared_receives = rig->options.shared_receives},
		.version = "1",
	};
	struct errtext err;

	if (getenv("LEASEHOLD_TEST_SHARED_RECEIVES") && nvme.limits.shared_receives == 0)
		nvme.limits.shared_receives = nvme.limits.max_connections + 1;
	config.export.lba_bytes = rig->options.lba_bytes;
	config.export.read_only = rig->options.read_only;
	if (rig->options.journal) {
		config.export.sector_atomic = true;
		config.export.state_dir = in_dir("state");
	}
	assert_int_equal(iwarp_fabric_open(&iwarp, &rig->fabric, &err), 0);
	rig->env.devices[0] = fabric_device_at(rig->fabric, 0);
	rig->env.nr_devices = 1;
	assert_int_equal(fabric_pd_alloc(rig->env.devices[0], &rig->env.block_pds[0]), 0);
	assert_int_equal(loop_new("control", &rig->env.control), 0);
	assert_int_equal(pool_new("registrar", 1, &rig->env.registrar), 0);
	assert_int_equal(pool_new("worker", 2, &rig->env.workers), 0);
	for (unsigned int i = 0; i < RIG_REACTORS; i++) {
		assert_int_equal(reactor_new(i, rig->env.devices, 1, 0, &rig->reactors[i]), 0);
		assert_int_equal(reactor_start(rig->reactors[i]), 0);
	}
	rig->env.ops = nvme_holding_ops();
	rig->env.deadline_ms = 1000;
	rig->env.grant_expiry_ms = 60000;
	rig->env.max_grants_per_client = 16;
	rig->env.max_grants_per_export = GRANT_DEFAULT_MAX_PER_EXPORT;
	rig->env.max_grants_per_host = GRANT_DEFAULT_MAX_PER_HOST;
	rig->env.rung_retry_ms = GRANT_DEFAULT_RUNG_RETRY_MS;
	nvme.control = rig->env.control;
	nvme.registrar = rig->env.registrar;
	nvme.workers = rig->env.workers;
	assert_int_equal(cache_new(&rig->env, &(struct cache_limits){0}), 0);
	assert_int_equal(nvme_target_new(&nvme, &rig->target), 0);
	rig->env.ops_ctx = rig->target;
	assert_int_equal(nvme_subsystem_new(rig->target, SUBNQN, &rig->subsystem), 0);
	assert_int_equal(holding_new(&rig->env, &config, &rig->h), 0);
	assert_int_equal(nvme_subsystem_add(rig->subsystem, rig->h), 0);
	assert_int_equal(loop_start(rig->env.control), 0);
	assert_int_equal(on_control(rig, watch), 0);
	assert_int_equal(on_control(rig, start), 0);
	assert_int_equal(on_control(rig, listen_there), 0);
}

void rig_target_down(struct rig *rig)
{
	(void)on_control(rig, stop_target);
	(void)on_control(rig, stop_holding);
	(void)on_control(rig, free_there);
	cache_free(&rig->env);
	pool_free(rig->env.registrar);
	pool_free(rig->env.workers);
	for (unsigned int i = 0; i < RIG_REACTORS; i++)
		reactor_free(rig->reactors[i]);
	loop_join(rig->env.control);
	loop_free(rig->env.control);
	assert_int_equal(fabric_pd_free(rig->env.block_pds[0]), 0);
	region_probe_forget(NULL);
	fabric_close(rig->fabric);
}

/* ---- a queue of the host ---------------------------------------------------------------------- */

static uint8_t *buffer(struct rig_queue *q, unsigned int i)
{
	return q->buffers + (size_t)i * SLOT_BYTES;
}

static void post_receive(struct rig_queue *q, unsigned int i)
{
	struct fabric_sge sge = {.addr = (uint64_t)(uintptr_t)buffer(q, i),
				 .length = SLOT_BYTES,
				 .lkey = q->mr->lkey};
	struct fabric_recv_wr wr = {.wr_id = i, .sg_list = &sge, .num_sge = 1};

	if (fabric_post_recv(q->conn, &wr, NULL) < 0)
		q->dead = true;
}

static void take_answer(struct rig_queue *q, unsigned int i, uint32_t bytes)
{
	struct nvme_completion cqe;
	unsigned int slot;

	assert_int_equal(bytes, sizeof(cqe));
	memcpy(&cqe, buffer(q, i), sizeof(cqe));
	slot = le16toh(cqe.cid);
	assert_true(slot < RIG_DEPTH);
	assert_false(q->done[slot]); /* one answer each */
	q->done[slot] = true;
	q->order[slot] = q->answered++;
	q->cqe[slot] = cqe;
}

static void turn_queue(struct rig_queue *q)
{
	struct fabric_wc wc;

	while (q && q->cq && fabric_cq_poll(q->cq, &wc, 1) == 1) {
		if (wc.status != FABRIC_OK) {
			q->dead = true;
		} else if (wc.wr_id < SEND_TAG) {
			if (wc.flags & FABRIC_WC_WITH_INV) {
				q->invalidated++;
				q->invalidated_key = wc.inv_rkey;
			}
			take_answer(q, (unsigned int)wc.wr_id, wc.byte_len);
			post_receive(q, (unsigned int)wc.wr_id);
		}
	}
}

static void turn(struct rig *rig)
{
	struct fabric_cm_event ev;

	while (fabric_cm_poll(rig->cm, &ev) == 1) {
		struct rig_queue *q = ev.conn ? fabric_conn_user(ev.conn) : NULL;

		if (!q)
			continue;
		q->resolved |= ev.type == FABRIC_CM_RESOLVED;
		q->established |= ev.type == FABRIC_CM_ESTABLISHED;
		q->dead |= ev.type != FABRIC_CM_RESOLVED && ev.type != FABRIC_CM_ESTABLISHED;
	}
	turn_queue(rig->admin);
	turn_queue(rig->io[0]);
	turn_queue(rig->io[1]);
	(void)usleep(20);
}

static struct rig_queue *queue_open(struct rig *rig, struct rig_queue **where, uint16_t qid)
{
	struct nvmf_rdma_cm_request request = {
		.qid = htole16(qid),
		.hrqsize = htole16(RIG_DEPTH),
		.hsqsize = htole16(RIG_DEPTH - 1),
		.cntlid = htole16(rig->cntlid),
	};
	struct fabric_conn_param param = {
		.private_data = &request,
		.private_data_len = sizeof(request),
		.responder_resources = 4,
		.initiator_depth = 4,
	};
	struct sockaddr_in dst = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(rig->port),
	};
	struct fabric_qp_attr attr = {
		.pd = rig->pd,
		.max_send_wr = 2 * RIG_DEPTH,
		.max_recv_wr = RIG_DEPTH,
		.max_send_sge = 1,
		.max_recv_sge = 1,
	};
	struct rig_queue *q = calloc(1, sizeof(*q));
	uint64_t end = now_ns() + WAIT_NS;

	assert_non_null(q);
	*where = q;
	q->rig = rig;
	assert_int_equal(fabric_resolve(rig->cm, (struct sockaddr *)&dst, 5000, q, &q->conn), 0);
	fabric_conn_set_user(q->conn, q);
	while (!q->resolved && !q->dead && now_ns() < end)
		turn(rig);
	assert_true(q->resolved);
	assert_int_equal(fabric_cq_create(fabric_conn_device(q->conn), 8 * RIG_DEPTH, &q->cq), 0);
	q->buffers = aligned_alloc(4096, (size_t)2 * RIG_DEPTH * SLOT_BYTES);
	assert_non_null(q->buffers);
	assert_int_equal(fabric_mr_reg(rig->pd, q->buffers, (uint64_t)2 * RIG_DEPTH * SLOT_BYTES,
				       (uint64_t)(uintptr_t)q->buffers, FABRIC_ACCESS_LOCAL_WRITE,
				       &q->mr),
			 0);
	attr.cq = q->cq;
	assert_int_equal(fabric_qp_create(q->conn, &attr), 0);
	for (unsigned int i = 0; i < RIG_DEPTH; i++)
		post_receive(q, i);
	assert_int_equal(fabric_connect(q->conn, &param), 0);
	while (!q->established && !q->dead && now_ns() < end)
		turn(rig);
	assert_true(q->established);
	return q;
}

static void queue_close(struct rig_queue **where)
{
	struct rig_queue *q = *where;

	if (!q)
		return;
	*where = NULL;
	fabric_conn_destroy(q->conn);
	(void)fabric_mr_dereg(q->mr);
	fabric_cq_destroy(q->cq);
	free(q->buffers);
	free(q);
}

/* ---- commands --------------------------------------------------------------------------------- */

struct nvme_command rig_command(uint8_t opcode)
{
	struct nvme_command sqe = {
		.opcode = opcode,
		.flags = NVME_FLAGS_SGL,
		.nsid = htole32(RIG_NSID),
	};

	nvme_keyed_sgl_set(&sqe.sgl, 0, 0, 0, NVME_SGL_ADDRESS);
	return sqe;
}

struct nvme_command rig_blocks(uint8_t opcode, uint64_t slba, uint32_t blocks)
{
	struct nvme_command sqe = rig_command(opcode);

	sqe.cdw10 = htole32((uint32_t)slba);
	sqe.cdw11 = htole32((uint32_t)(slba >> 32));
	sqe.cdw12 = htole32(blocks - 1);
	return sqe;
}

void rig_keyed(struct rig *rig, struct nvme_command *sqe, uint32_t at, uint32_t length)
{
	nvme_keyed_sgl_set(&sqe->sgl, (uint64_t)(uintptr_t)(rig->memory + at), length,
			   rig->mr->rkey, NVME_SGL_ADDRESS);
}

unsigned int rig_send(struct rig_queue *q, const struct nvme_command *sqe, const void *data,
		      uint32_t bytes)
{
	unsigned int slot = q->next++ % RIG_DEPTH;
	struct nvme_command *capsule = (void *)buffer(q, RIG_DEPTH + slot);
	struct fabric_sge sge = {.addr = (uint64_t)(uintptr_t)capsule,
				 .length = (uint32_t)sizeof(*sqe) + bytes,
				 .lkey = q->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = SEND_TAG + slot,
				    .op = FABRIC_OP_SEND,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1};

	*capsule = *sqe;
	capsule->cid = htole16((uint16_t)slot);
	if (bytes)
		memcpy(capsule + 1, data, bytes);
	q->done[slot] = false;
	if (fabric_post_send(q->conn, &wr, NULL) < 0)
		q->dead = true;
	return slot;
}

bool rig_answered(struct rig_queue *q, unsigned int slot)
{
	for (unsigned int i = 0; i < 500 && !q->done[slot]; i++)
		turn(q->rig);
	return q->done[slot];
}

uint16_t rig_answer(struct rig_queue *q, unsigned int slot)
{
	uint64_t end = now_ns() + WAIT_NS;

	while (!q->done[slot] && !q->dead && now_ns() < end)
		turn(q->rig);
	assert_true(q->done[slot]);
	return (uint16_t)(le16toh(q->cqe[slot].status) >> 1 & (uint16_t)~NVME_SC_MORE);
}

bool rig_was_cut(struct rig_queue *q)
{
	uint64_t end = now_ns() + WAIT_NS;

	while (!q->dead && now_ns() < end)
		turn(q->rig);
	return q->dead;
}

uint16_t rig_do(struct rig_queue *q, const struct nvme_command *sqe, const void *data,
		uint32_t bytes)
{
	return rig_answer(q, rig_send(q, sqe, data, bytes));
}

void rig_read(struct rig *rig, uint64_t offset, void *bytes, size_t length)
{
	int fd = export_fd(holding_export(rig->h));

	assert_int_equal(pread(fd, bytes, length, (off_t)offset), length);
}

/* ---- up and down ------------------------------------------------------------------------------ */

static void nvme_connect(struct rig *rig, struct rig_queue *q, uint16_t qid)
{
	struct nvmf_connect_command connect = {
		.opcode = NVME_FABRICS,
		.flags = NVME_FLAGS_SGL,
		.fctype = NVMF_CONNECT,
		.qid = htole16(qid),
		.sqsize = htole16(RIG_DEPTH - 1),
	};
	struct nvmf_connect_data data = {.hostid = {1, 2, 3}};
	struct nvme_command sqe;

	data.cntlid = htole16(qid ? rig->cntlid : NVME_CNTLID_DYNAMIC);
	(void)snprintf(data.subnqn, sizeof(data.subnqn), "%s", SUBNQN);
	(void)snprintf(data.hostnqn, sizeof(data.hostnqn), "nqn.2026-11.org.leasehold:raw");
	memcpy(&sqe, &connect, sizeof(sqe));
	nvme_offset_sgl_set(&sqe.sgl, 0, sizeof(data));
	assert_int_equal(rig_do(q, &sqe, &data, sizeof(data)), 0);
	rig->cntlid = (uint16_t)le32toh(q->cqe[0].dw0);
}

void rig_host_up(struct rig *rig)
{
	struct nvmf_property_command set = {
		.opcode = NVME_FABRICS,
		.flags = NVME_FLAGS_SGL,
		.fctype = NVMF_PROPERTY_SET,
		.offset = htole32(NVME_PROP_CC),
		.value = htole64(NVME_CC_EN | 6u << 16 | 4u << 20),
	};
	struct iwarp_options iwarp = {0};
	struct nvme_command sqe;
	struct errtext err;

	assert_int_equal(iwarp_fabric_open(&iwarp, &rig->host, &err), 0);
	assert_int_equal(fabric_cm_open(rig->host, &rig->cm), 0);
	assert_int_equal(fabric_pd_alloc(fabric_device_at(rig->host, 0), &rig->pd), 0);
	rig->memory = aligned_alloc(4096, RIG_MEMORY);
	assert_non_null(rig->memory);
	memset(rig->memory, 0, RIG_MEMORY);
	assert_int_equal(fabric_mr_reg(rig->pd, rig->memory, RIG_MEMORY,
				       (uint64_t)(uintptr_t)rig->memory,
				       FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ |
					       FABRIC_ACCESS_REMOTE_WRITE,
				       &rig->mr),
			 0);
	nvme_connect(rig, queue_open(rig, &rig->admin, 0), 0);
	memcpy(&sqe, &set, sizeof(sqe));
	nvme_keyed_sgl_set(&sqe.sgl, 0, 0, 0, NVME_SGL_ADDRESS);
	assert_int_equal(rig_do(rig->admin, &sqe, NULL, 0), 0);
	for (uint16_t i = 0; i < 2; i++)
		nvme_connect(rig, queue_open(rig, &rig->io[i], (uint16_t)(i + 1)),
			     (uint16_t)(i + 1));
}

void rig_up(struct rig *rig, const struct rig_options *options)
{
	memset(rig, 0, sizeof(*rig));
	rig->options = *options;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	target_up(rig);
	rig_host_up(rig);
}

void rig_host_down(struct rig *rig)
{
	queue_close(&rig->io[1]);
	queue_close(&rig->io[0]);
	queue_close(&rig->admin);
	(void)fabric_mr_dereg(rig->mr);
	(void)fabric_pd_free(rig->pd);
	fabric_cm_close(rig->cm);
	fabric_close(rig->host);
	free(rig->memory);
	rig->cntlid = 0;
}

void rig_down(struct rig *rig)
{
	rig_host_down(rig);
	rig_target_down(rig);
}
