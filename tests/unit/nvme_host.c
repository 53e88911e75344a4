// SPDX-License-Identifier: BSD-3-Clause
/* A raw NVMe/RDMA host for tests, and the target it talks to. */
#include "nvme_host.h"

#include <arpa/inet.h>

#define WR_SEND	       1000
#define CAPSULE_AT(i)  ((size_t)(i) * HOST_CAPSULE)
#define RESPONSE_BYTES 64 /* a completion, or what comes on a direct queue */
#define RESPONSE_AT(i) (CAPSULE_AT(HOST_DEPTH) + (size_t)(i) * RESPONSE_BYTES)
#define DATA_AT	       RESPONSE_AT(HOST_DEPTH)
#define STEP_MS	       20000u

/* ---- the target ------------------------------------------------------------------------------- */

static void rig_done(void *arg)
{
	((struct rig *)arg)->done = true;
}

static void rig_started(void *arg, int err, const char *why)
{
	struct rig *rig = arg;

	if (err)
		print_error("the holding did not start: %s\n", why);
	rig->err = err;
	rig->done = true;
}

static void note_addr(const struct nvme_listener_status *status, void *arg)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&((struct rig *)arg)->addr;

	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)strtoul(strrchr(status->address, ':') + 1, NULL, 10));
	in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

static void make_file(void)
{
	int fd = open(in_dir("export"), O_CREAT | O_RDWR | O_CLOEXEC | O_TRUNC, 0600);
	uint8_t *bytes = malloc(TEST_HOLE_OFFSET);

	assert_true(fd >= 0);
	assert_non_null(bytes);
	for (size_t i = 0; i < TEST_HOLE_OFFSET; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 4096);
	assert_int_equal(write_full(fd, bytes, TEST_HOLE_OFFSET), 0);
	assert_int_equal(ftruncate(fd, TEST_FILE_BYTES), 0);
	free(bytes);
	(void)close(fd);
}

static void make_target(struct rig *rig)
{
	struct nvme_env env = {
		.control = rig->control,
		.registrar = rig->registrar,
		.workers = rig->workers,
		.reactors = rig->reactors,
		.nr_reactors = rig->nr_reactors,
		.holdings = &rig->env,
		.limits = rig->limits,
		.version = "0.1",
		.starts = 7,
		.unclean_ends = 3,
	};
	struct holding_config config = {
		.export = {.name = "a",
			   .path = in_dir("export"),
			   .lba_bytes = 512,
			   .software_fabric_only = true,
			   .lock_dir = in_dir("run"),
			   .state_dir = rig->state_dir},
		.nsid = TEST_NSID,
		.wait_if_busy = true,
		.deny_conflicts = rig->deny_conflicts,
	};

	rig->env = (struct holding_env){
		.control = rig->control,
		.registrar = rig->registrar,
		.workers = rig->workers,
		.devices = {rig->dev},
		.nr_devices = 1,
		.ops = nvme_holding_ops(),
		.deadline_ms = rig->deadline_ms,
		.grant_expiry_ms = 60000,
		.max_grants_per_client = 128,
		.max_grants_per_export = GRANT_DEFAULT_MAX_PER_EXPORT,
		.max_grants_per_host = GRANT_DEFAULT_MAX_PER_HOST,
		.rung_retry_ms = GRANT_DEFAULT_RUNG_RETRY_MS,
	};
	assert_int_equal(fabric_pd_alloc(rig->dev, &rig->env.block_pds[0]), 0);
	assert_int_equal(cache_new(&rig->env, &(struct cache_limits){0}), 0);
	assert_int_equal(nvme_target_new(&env, &rig->target), 0);
	rig->env.ops_ctx = rig->target;
	assert_int_equal(nvme_subsystem_new(rig->target, TEST_NQN, &rig->subsystem), 0);
	assert_int_equal(holding_new(&rig->env, &config, &rig->holding), 0);
	assert_int_equal(nvme_subsystem_add(rig->subsystem, rig->holding), 0);
	rig->done = false;
	holding_start(rig->holding, rig_started, rig);
	assert_true(rig_wait(rig, NULL, &rig->done, STEP_MS));
	assert_int_equal(rig->err, 0);
	holding_became_known(rig->holding);
}

static void start_with(struct rig *rig, unsigned int nr_reactors, const struct nvme_limits *limits,
		       const char *state_dir, uint32_t deadline_ms, bool deny_conflicts)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct nvme_listen_options options = {0};
	struct errtext err;

	memset(rig, 0, sizeof(*rig));
	rig->nr_reactors = nr_reactors;
	rig->limits = *limits;
	if (getenv("LEASEHOLD_TEST_SHARED_RECEIVES"))
		rig->limits.shared_receives = limits->max_connections + 1;
	rig->state_dir = state_dir;
	rig->deadline_ms = deadline_ms;
	rig->deny_conflicts = deny_conflicts;
	(void)mkdir(in_dir("run"), 0700);
	make_file();
	assert_int_equal(iwarp_fabric_open(NULL, &rig->fabric, &err), 0);
	rig->dev = fabric_device_at(rig->fabric, 0);
	assert_int_equal(loop_new("control", &rig->control), 0);
	assert_int_equal(pool_new("registrar", 1, &rig->registrar), 0);
	assert_int_equal(pool_new("worker", 2, &rig->workers), 0);
	for (unsigned int i = 0; i < nr_reactors; i++) {
		assert_int_equal(reactor_new_sized(i, &rig->dev, 1, 0,
						   nvme_completions_wanted(limits, nr_reactors),
						   &rig->reactors[i]),
				 0);
		assert_int_equal(reactor_start(rig->reactors[i]), 0);
	}
	make_target(rig);
	assert_int_equal(nvme_target_listen(rig->target, rig->fabric, (struct sockaddr *)&any,
					    &options, &err),
			 0);
	nvme_target_each_listener(rig->target, note_addr, rig);
	assert_int_equal(fabric_cm_open(rig->fabric, &rig->cm), 0);
	assert_int_equal(fabric_pd_alloc(rig->dev, &rig->pd), 0);
}

static void start(struct rig *rig, unsigned int nr_reactors, const struct nvme_limits *limits,
		  const char *state_dir)
{
	start_with(rig, nr_reactors, limits, state_dir, 1000, false);
}

static const struct nvme_limits usual_limits = {
	.queue_depth = 128,
	.max_io_queues = TEST_QUEUES,
	.max_controllers = 4,
	.max_connections = 16,
	.inline_bytes = 4096,
	.mdts_bytes = MIB(1),
	.first_command_ms = TEST_FIRST_MS,
	.bounce_bytes = MIB(2),
};

void rig_start(struct rig *rig)
{
	start(rig, ARRAY_SIZE(rig->reactors), &usual_limits, "");
}

void rig_start_deadline(struct rig *rig, uint32_t deadline_ms)
{
	start_with(rig, ARRAY_SIZE(rig->reactors), &usual_limits, "", deadline_ms, false);
}

void rig_start_hosts(struct rig *rig, uint32_t deadline_ms, bool deny_conflicts)
{
	struct nvme_limits limits = usual_limits;

	limits.first_command_ms = NVME_DEFAULT_FIRST_COMMAND_MS;
	start_with(rig, ARRAY_SIZE(rig->reactors), &limits, "", deadline_ms, deny_conflicts);
}

void rig_start_at(struct rig *rig, const char *state_dir)
{
	struct nvme_limits limits = usual_limits;

	limits.first_command_ms = NVME_DEFAULT_FIRST_COMMAND_MS;
	start(rig, ARRAY_SIZE(rig->reactors), &limits, state_dir);
}

void rig_start_wide(struct rig *rig, const struct nvme_limits *limits)
{
	start(rig, 1, limits, "");
}

void rig_stop(struct rig *rig)
{
	rig->done = false;
	nvme_target_stop(rig->target, rig_done, rig);
	assert_true(rig_wait(rig, NULL, &rig->done, STEP_MS));
	rig->done = false;
	holding_stop(rig->holding, rig_done, rig);
	assert_true(rig_wait(rig, NULL, &rig->done, STEP_MS));
	holding_free(rig->holding);
	cache_free(&rig->env);
	nvme_target_free(rig->target);
	pool_free(rig->registrar);
	pool_free(rig->workers);
	for (unsigned int i = 0; i < rig->nr_reactors; i++)
		reactor_free(rig->reactors[i]);
	fabric_cm_close(rig->cm);
	assert_int_equal(fabric_pd_free(rig->pd), 0);
	assert_int_equal(fabric_pd_free(rig->env.block_pds[0]), 0);
	region_probe_forget(NULL);
	fabric_close(rig->fabric);
	loop_free(rig->control);
}

/* ---- turning ---------------------------------------------------------------------------------- */

static uint16_t reject_code(const struct fabric_cm_event *event)
{
	struct nvmf_rdma_cm_reject reject;

	if (event->private_data_len < sizeof(reject))
		return 0xffff;
	memcpy(&reject, event->private_data, sizeof(reject));
	return le16toh(reject.recfmt) == 0 ? le16toh(reject.status) : 0xffff;
}

static uint16_t direct_reject_code(const struct fabric_cm_event *event)
{
	struct lh_cm_reject reject;

	if (event->private_data_len < sizeof(reject))
		return 0xffff;
	memcpy(&reject, event->private_data, sizeof(reject));
	return le16toh(reject.recfmt) == LH_CM_RECFMT ? le16toh(reject.status) : 0xffff;
}

static void poll_cm(struct rig *rig)
{
	struct fabric_cm_event event;

	while (rig->cm && fabric_cm_poll(rig->cm, &event) == 1) {
		struct host_queue *q = event.conn ? fabric_conn_user(event.conn) : NULL;
		struct nvmf_rdma_cm_accept accept;

		if (!q)
			continue;
		switch (event.type) {
		case FABRIC_CM_RESOLVED:
			q->resolved = true;
			break;
		case FABRIC_CM_ESTABLISHED:
			memcpy(&accept, event.private_data, sizeof(accept));
			memcpy(q->accept, event.private_data, sizeof(q->accept));
			q->crqsize = le16toh(accept.crqsize);
			q->established = true;
			break;
		case FABRIC_CM_REJECTED:
			q->reject = reject_code(&event);
			q->direct_reject = direct_reject_code(&event);
			q->dead = true;
			break;
		default:
			q->dead = true;
		}
	}
}

static void post_receive(struct host_queue *q, unsigned int i)
{
	struct fabric_sge sge = {(uint64_t)(uintptr_t)q->memory + RESPONSE_AT(i), RESPONSE_BYTES,
				 q->mr->lkey};
	struct fabric_recv_wr wr = {.wr_id = i, .sg_list = &sge, .num_sge = 1};

	if (fabric_post_recv(q->conn, &wr, NULL) < 0)
		q->dead = true;
}

static void take(struct host_queue *q, const struct fabric_wc *wc)
{
	if (wc->status != FABRIC_OK) {
		q->dead = true;
		return;
	}
	if (wc->wr_id >= WR_SEND) {
		q->sent++;
		return;
	}
	q->answered++;
	if (q->message) {
		q->message(q, q->memory + RESPONSE_AT(wc->wr_id), wc->byte_len);
		post_receive(q, (unsigned int)wc->wr_id);
		return;
	}
	memcpy(&q->last, q->memory + RESPONSE_AT(wc->wr_id), sizeof(q->last));
	if (le16toh(q->last.cid) < ARRAY_SIZE(q->by_cid)) {
		q->by_cid[le16toh(q->last.cid)] = q->last;
		q->has_cid[le16toh(q->last.cid)] = true;
	}
	post_receive(q, (unsigned int)wc->wr_id);
}

void host_poll(struct host_queue *q)
{
	struct fabric_wc wc;

	while (q && q->cq && fabric_cq_poll(q->cq, &wc, 1) == 1)
		take(q, &wc);
}

void rig_turn(struct rig *rig, struct host_queue *q)
{
	loop_turn(rig->control, 0);
	poll_cm(rig);
	host_poll(q);
	usleep(20);
}

bool rig_wait(struct rig *rig, struct host_queue *q, const bool *flag, unsigned int ms)
{
	uint64_t end = now_ns() + ms * NS_PER_MS;

	while (!*flag && now_ns() < end)
		rig_turn(rig, q);
	return *flag;
}

/* ---- connections ------------------------------------------------------------------------------ */

static void make_queue(struct rig *rig, struct host_queue *q)
{
	struct fabric_qp_attr attr = {.pd = rig->pd,
				      .max_send_wr = HOST_DEPTH,
				      .max_recv_wr = HOST_DEPTH,
				      .max_send_sge = 1,
				      .max_recv_sge = 1};

	assert_int_equal(fabric_cq_create(rig->dev, 4 * HOST_DEPTH, &q->cq), 0);
	q->memory = aligned_alloc(4096, align_up(DATA_AT + HOST_DATA, 4096));
	assert_non_null(q->memory);
	memset(q->memory, 0, DATA_AT + HOST_DATA);
	q->data = q->memory + DATA_AT;
	assert_int_equal(fabric_mr_reg(rig->pd, q->memory, DATA_AT + HOST_DATA,
				       (uint64_t)(uintptr_t)q->memory,
				       FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ |
					       FABRIC_ACCESS_REMOTE_WRITE,
				       &q->mr),
			 0);
	attr.cq = q->cq;
	assert_int_equal(fabric_qp_create(q->conn, &attr), 0);
	for (unsigned int i = 0; i < HOST_DEPTH; i++)
		post_receive(q, i);
}

bool host_connect_depths(struct rig *rig, struct host_queue *q, const void *request, uint8_t length,
			 uint8_t ird, uint8_t ord)
{
	struct fabric_conn_param param = {.private_data = request,
					  .private_data_len = length,
					  .responder_resources = ird,
					  .initiator_depth = ord};
	uint64_t end = now_ns() + STEP_MS * NS_PER_MS;

	memset(q, 0, sizeof(*q));
	q->rig = rig;
	assert_int_equal(fabric_resolve(rig->cm, (struct sockaddr *)&rig->addr, 5000, q, &q->conn),
			 0);
	fabric_conn_set_user(q->conn, q);
	assert_true(rig_wait(rig, NULL, &q->resolved, STEP_MS));
	make_queue(rig, q);
	assert_int_equal(fabric_connect(q->conn, &param), 0);
	while (!q->established && !q->dead && now_ns() < end)
		rig_turn(rig, NULL);
	return q->established;
}

bool host_connect(struct rig *rig, struct host_queue *q, const void *request, uint8_t length)
{
	return host_connect_depths(rig, q, request, length, 4, 4);
}

bool host_connect_nvme(struct rig *rig, struct host_queue *q, uint16_t qid)
{
	struct nvmf_rdma_cm_request request = {.qid = htole16(qid),
					       .hrqsize = htole16(HOST_DEPTH),
					       .hsqsize = htole16(HOST_DEPTH - 1)};

	return host_connect(rig, q, &request, sizeof(request));
}

void host_close(struct host_queue *q)
{
	fabric_conn_destroy(q->conn);
	assert_int_equal(fabric_mr_dereg(q->mr), 0);
	fabric_cq_destroy(q->cq);
	free(q->memory);
	q->cq = NULL;
}

/* ---- commands --------------------------------------------------------------------------------- */

struct nvme_command *host_command(struct host_queue *q, unsigned int slot, uint8_t opcode)
{
	struct nvme_command *cmd = (struct nvme_command *)(q->memory + CAPSULE_AT(slot));

	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = opcode;
	cmd->flags = NVME_FLAGS_SGL;
	cmd->cid = htole16((uint16_t)slot);
	nvme_keyed_sgl_set(&cmd->sgl, 0, 0, 0, NVME_SGL_ADDRESS);
	return cmd;
}

void host_keyed(struct host_queue *q, struct nvme_command *cmd, uint32_t length)
{
	nvme_keyed_sgl_set(&cmd->sgl, (uint64_t)(uintptr_t)q->data, length, q->mr->rkey,
			   NVME_SGL_ADDRESS);
}

void host_post(struct host_queue *q, unsigned int slot, uint32_t bytes)
{
	struct fabric_sge sge = {(uint64_t)(uintptr_t)q->memory + CAPSULE_AT(slot), bytes,
				 q->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = WR_SEND + slot,
				    .op = FABRIC_OP_SEND,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1};

	q->has_cid[slot] = false;
	if (fabric_post_send(q->conn, &wr, NULL) < 0)
		q->dead = true;
}

uint16_t host_wait(struct host_queue *q, unsigned int slot)
{
	if (!rig_wait(q->rig, q, &q->has_cid[slot], STEP_MS))
		return 0xffff;
	return (uint16_t)(le16toh(q->by_cid[slot].status) >> 1 & ~NVME_SC_MORE);
}

uint16_t host_run(struct host_queue *q, uint32_t bytes)
{
	host_post(q, 0, bytes);
	return host_wait(q, 0);
}

uint16_t host_associate(struct host_queue *q, uint16_t qid, uint16_t cntlid, const char *nqn,
			uint32_t kato_ms)
{
	struct nvmf_connect_command *cmd = (void *)host_command(q, 0, NVME_FABRICS);
	struct nvmf_connect_data *data = (void *)q->data;

	cmd->fctype = NVMF_CONNECT;
	cmd->qid = htole16(qid);
	cmd->sqsize = htole16(HOST_DEPTH - 1);
	cmd->kato_ms = htole32(kato_ms);
	memset(data, 0, sizeof(*data));
	if (!q->rig->no_hostid)
		data->hostid[3] = q->rig->hostid ? q->rig->hostid : 9;
	data->cntlid = htole16(cntlid);
	(void)snprintf(data->subnqn, sizeof(data->subnqn), "%s", nqn);
	(void)snprintf(data->hostnqn, sizeof(data->hostnqn), "nqn.2026-11.org.leasehold:host");
	host_keyed(q, (struct nvme_command *)cmd, sizeof(*data));
	return host_run(q, 64);
}

uint16_t host_enable(struct host_queue *q)
{
	struct nvmf_property_command *cmd = (void *)host_command(q, 0, NVME_FABRICS);

	cmd->fctype = NVMF_PROPERTY_SET;
	cmd->offset = htole32(NVME_PROP_CC);
	cmd->value = htole64(NVME_CC_EN | 6u << 16 | 4u << 20);
	return host_run(q, 64);
}

uint16_t host_admin(struct rig *rig, struct host_queue *q)
{
	uint16_t cntlid;

	assert_true(host_connect_nvme(rig, q, 0));
	assert_int_equal(host_associate(q, 0, NVME_CNTLID_DYNAMIC, TEST_NQN, 0), 0);
	cntlid = (uint16_t)le32toh(q->by_cid[0].dw0);
	assert_int_equal(host_enable(q), 0);
	return cntlid;
}
