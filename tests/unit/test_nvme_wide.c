// SPDX-License-Identifier: BSD-3-Clause
/*
 * As many queues as one controller may have, and as deep as one may be, through one reactor: every
 * entry of every queue holds a command at the same time, and each is answered once.
 */
#include "nvme_host.h"

#include <sys/prctl.h>

#include "tenure/tenure.h"

#define DNR	   NVME_SC_DNR
#define QUEUES	   128
#define DEPTH	   128
#define DEEPEST	   1024
#define WAIT_NS	   (150 * NS_PER_S)
#define SEND_TAG   (1ull << 32)
#define DATA_BYTES 4096

static struct rig rig;

/* A queue with nothing but what it needs: capsules of 64 bytes, responses, one buffer for all data. */
struct deep {
	struct fabric_conn *conn;
	struct fabric_cq *cq;
	struct fabric_mr *mr;
	uint8_t *memory;
	unsigned int depth;
	uint16_t crqsize;
	bool resolved, established, dead;
	unsigned int answers, errors;
	uint16_t sqhd, status;
	uint32_t dw0;
	bool seen[DEEPEST];
};

static struct deep admin, queues[QUEUES];

static struct nvme_command *capsule(struct deep *q, unsigned int i)
{
	return (struct nvme_command *)q->memory + i;
}

static uint8_t *response(struct deep *q, unsigned int i)
{
	return q->memory + (size_t)q->depth * 64 + (size_t)i * 16;
}

static uint8_t *data(struct deep *q)
{
	return q->memory + (size_t)q->depth * 80;
}

static void post_receive(struct deep *q, unsigned int i)
{
	struct fabric_sge sge = {(uint64_t)(uintptr_t)response(q, i), 16, q->mr->lkey};
	struct fabric_recv_wr wr = {.wr_id = i, .sg_list = &sge, .num_sge = 1};

	assert_int_equal(fabric_post_recv(q->conn, &wr, NULL), 0);
}

static void take(struct deep *q, unsigned int i)
{
	struct nvme_completion cqe;
	unsigned int cid;

	memcpy(&cqe, response(q, i), sizeof(cqe));
	cid = le16toh(cqe.cid);
	assert_true(cid < q->depth);
	assert_false(q->seen[cid]);
	q->seen[cid] = true;
	q->answers++;
	q->status = (uint16_t)(le16toh(cqe.status) >> 1 & ~NVME_SC_MORE);
	q->errors += q->status != 0;
	q->sqhd = le16toh(cqe.sqhd);
	q->dw0 = le32toh(cqe.dw0);
	post_receive(q, i);
}

static void poll_queue(struct deep *q)
{
	struct fabric_wc wc[16];
	int n;

	while (q->cq && (n = fabric_cq_poll(q->cq, wc, 16)) > 0) {
		for (int i = 0; i < n; i++) {
			if (wc[i].status != FABRIC_OK)
				q->dead = true;
			else if (wc[i].wr_id < SEND_TAG)
				take(q, (unsigned int)wc[i].wr_id);
		}
	}
}

static void turn(void)
{
	struct fabric_cm_event event;

	loop_turn(rig.control, 0);
	while (fabric_cm_poll(rig.cm, &event) == 1) {
		struct deep *q = event.conn ? fabric_conn_user(event.conn) : NULL;
		struct nvmf_rdma_cm_accept accept;

		if (!q)
			continue;
		if (event.type == FABRIC_CM_RESOLVED) {
			q->resolved = true;
		} else if (event.type == FABRIC_CM_ESTABLISHED) {
			memcpy(&accept, event.private_data, sizeof(accept));
			q->crqsize = le16toh(accept.crqsize);
			q->established = true;
		} else {
			q->dead = true;
		}
	}
}

static bool connect_queue(struct deep *q, uint16_t qid, unsigned int depth)
{
	struct nvmf_rdma_cm_request request = {
		.qid = htole16(qid),
		.hrqsize = htole16((uint16_t)depth),
		.hsqsize = htole16((uint16_t)(depth - 1)),
	};
	struct fabric_conn_param param = {.private_data = &request,
					  .private_data_len = sizeof(request),
					  .responder_resources = 4,
					  .initiator_depth = 4};
	struct fabric_qp_attr attr = {.pd = rig.pd,
				      .max_send_wr = depth,
				      .max_recv_wr = depth,
				      .max_send_sge = 1,
				      .max_recv_sge = 1};
	size_t bytes = align_up((size_t)depth * 80 + DATA_BYTES, 4096);
	uint64_t end = now_ns() + WAIT_NS;

	memset(q, 0, sizeof(*q));
	q->depth = depth;
	assert_int_equal(fabric_resolve(rig.cm, (struct sockaddr *)&rig.addr, 5000, q, &q->conn),
			 0);
	fabric_conn_set_user(q->conn, q);
	while (!q->resolved && now_ns() < end)
		turn();
	assert_int_equal(fabric_cq_create(rig.dev, 4 * depth, &q->cq), 0);
	q->memory = aligned_alloc(4096, bytes);
	assert_non_null(q->memory);
	memset(q->memory, 0, bytes);
	assert_int_equal(fabric_mr_reg(rig.pd, q->memory, bytes, (uint64_t)(uintptr_t)q->memory,
				       FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ |
					       FABRIC_ACCESS_REMOTE_WRITE,
				       &q->mr),
			 0);
	attr.cq = q->cq;
	assert_int_equal(fabric_qp_create(q->conn, &attr), 0);
	for (unsigned int i = 0; i < depth; i++)
		post_receive(q, i);
	assert_int_equal(fabric_connect(q->conn, &param), 0);
	while (!q->established && !q->dead && now_ns() < end)
		turn();
	return q->established;
}

static void close_queue(struct deep *q)
{
	if (!q->conn)
		return;
	fabric_conn_destroy(q->conn);
	assert_int_equal(fabric_mr_dereg(q->mr), 0);
	fabric_cq_destroy(q->cq);
	free(q->memory);
	memset(q, 0, sizeof(*q));
}

/* ---- commands --------------------------------------------------------------------------------- */

static struct nvme_command *command(struct deep *q, unsigned int i, uint8_t opcode, uint32_t bytes)
{
	struct nvme_command *cmd = capsule(q, i);

	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = opcode;
	cmd->flags = NVME_FLAGS_SGL;
	cmd->cid = htole16((uint16_t)i);
	cmd->nsid = htole32(TEST_NSID);
	nvme_keyed_sgl_set(&cmd->sgl, (uint64_t)(uintptr_t)data(q), bytes, q->mr->rkey,
			   NVME_SGL_ADDRESS);
	return cmd;
}

static void post(struct deep *q, unsigned int i)
{
	struct fabric_sge sge = {(uint64_t)(uintptr_t)capsule(q, i), 64, q->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = SEND_TAG + i,
				    .op = FABRIC_OP_SEND,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1};

	q->seen[i] = false;
	assert_int_equal(fabric_post_send(q->conn, &wr, NULL), 0);
}

static void wait_answers(struct deep *q, unsigned int n)
{
	uint64_t end = now_ns() + WAIT_NS;

	while (q->answers < n && !q->dead && now_ns() < end) {
		turn();
		poll_queue(q);
	}
	assert_int_equal(q->answers, n);
}

static uint16_t run_one(struct deep *q)
{
	q->answers = 0;
	post(q, 0);
	wait_answers(q, 1);
	return q->status;
}

static uint16_t associate_as(struct deep *q, uint16_t qid, uint16_t cntlid, uint8_t cattr)
{
	struct nvmf_connect_command *cmd = (void *)command(q, 0, NVME_FABRICS, 1024);
	struct nvmf_connect_data *d = (void *)data(q);

	cmd->fctype = NVMF_CONNECT;
	memset(cmd->reserved1, 0, sizeof(cmd->reserved1));
	cmd->qid = htole16(qid);
	cmd->sqsize = htole16((uint16_t)(q->depth - 1));
	cmd->cattr = cattr;
	memset(d, 0, sizeof(*d));
	d->hostid[3] = 9;
	d->cntlid = htole16(cntlid);
	(void)snprintf(d->subnqn, sizeof(d->subnqn), "%s", TEST_NQN);
	(void)snprintf(d->hostnqn, sizeof(d->hostnqn), "nqn.2026-11.org.leasehold:host");
	return run_one(q);
}

static uint16_t make_admin(void)
{
	struct nvmf_property_command *cmd;
	uint16_t cntlid;

	assert_true(connect_queue(&admin, 0, 32));
	assert_int_equal(associate_as(&admin, 0, NVME_CNTLID_DYNAMIC, 0), 0);
	cntlid = (uint16_t)admin.dw0;
	cmd = (void *)command(&admin, 0, NVME_FABRICS, 0);
	memset(cmd->reserved1, 0, 20);
	cmd->fctype = NVMF_PROPERTY_SET;
	cmd->offset = htole32(NVME_PROP_CC);
	cmd->value = htole64(NVME_CC_EN | 6u << 16 | 4u << 20);
	assert_int_equal(run_one(&admin), 0);
	return cntlid;
}

/* All entries but one, as a queue holds: Reads of one block each. */
static void fill_queue(struct deep *q)
{
	q->answers = q->errors = 0;
	for (unsigned int i = 0; i + 1 < q->depth; i++) {
		command(q, i, NVME_IO_READ, 512)->cdw10 = htole32(i);
		post(q, i);
	}
}

/* ---- the tests -------------------------------------------------------------------------------- */

static void up(unsigned int depth, unsigned int nr_queues)
{
	const struct nvme_limits limits = {
		.queue_depth = depth,
		.max_io_queues = nr_queues,
		.max_controllers = 4,
		.max_connections = 512,
		.inline_bytes = 4096,
		.mdts_bytes = MIB(1),
		.first_command_ms = 20000,
		/* One thread answers for all queues, on a busy machine. */
		.transfer_timeout_ms = 60000,
		.bounce_bytes = MIB(2),
	};

	rig_start_wide(&rig, &limits);
}

static void test_many_queues(void **state)
{
	uint16_t cntlid;

	(void)state;
	up(DEPTH, QUEUES);
	cntlid = make_admin();
	for (unsigned int i = 0; i < QUEUES; i++) {
		assert_true(connect_queue(&queues[i], (uint16_t)(i + 1), DEPTH));
		assert_int_equal(queues[i].crqsize, DEPTH);
		assert_int_equal(associate_as(&queues[i], (uint16_t)(i + 1), cntlid, 0), 0);
	}
	for (unsigned int i = 0; i < QUEUES; i++)
		fill_queue(&queues[i]);
	for (unsigned int i = 0; i < QUEUES; i++) {
		wait_answers(&queues[i], DEPTH - 1);
		assert_int_equal(queues[i].errors, 0);
	}
	/* One more than there may be. */
	close_queue(&queues[0]);
	assert_false(connect_queue(&queues[0], QUEUES + 1, DEPTH));
	for (unsigned int i = 0; i < QUEUES; i++)
		close_queue(&queues[i]);
	close_queue(&admin);
	rig_stop(&rig);
}

/* What a sanitizer keeps beside it says nothing of it. */
static bool resident_counts(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return false;
#else
	return true;
#endif
}

/* In KiB. */
static long resident(void)
{
	char text[128];
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	(void)close(fd);
	assert_true(n > 0);
	text[n] = '\0';
	/* The second number, in pages. */
	assert_non_null(strchr(text, ' '));
	return strtol(strchr(text, ' '), NULL, 10) * (sysconf(_SC_PAGESIZE) / 1024);
}

/* A queue costs what it was ever used for at once, not what it could be used for. */
static void test_idle_queues(void **state)
{
	uint16_t cntlid;
	long before, each;

	(void)state;
	if (!resident_counts())
		skip();
	/* The memory for receives, and our own, come in small pages too: what is touched is counted. */
	assert_int_equal(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
	up(DEPTH, QUEUES);
	cntlid = make_admin();
	before = resident();
	for (unsigned int i = 0; i < QUEUES; i++) {
		assert_true(connect_queue(&queues[i], (uint16_t)(i + 1), DEPTH));
		assert_int_equal(associate_as(&queues[i], (uint16_t)(i + 1), cntlid, 0), 0);
		for (unsigned int n = 0; n < 10; n++) {
			(void)command(&queues[i], 0, NVME_IO_FLUSH, 0);
			assert_int_equal(run_one(&queues[i]), 0);
		}
	}
	each = (resident() - before) / QUEUES;
	print_message("%ld KiB for each of %d queues\n", each, QUEUES);
	/* The C library of Debian 13 clears, and so touches, more of what it gives out again. */
	assert_in_range(each, 0, 400);
	for (unsigned int i = 0; i < QUEUES; i++)
		close_queue(&queues[i]);
	close_queue(&admin);
	rig_stop(&rig);
}

static void test_deep_queue(void **state)
{
	uint16_t cntlid;

	(void)state;
	up(DEEPEST, 4);
	cntlid = make_admin();
	for (unsigned int i = 0; i < 4; i++) {
		assert_true(connect_queue(&queues[i], (uint16_t)(i + 1), DEEPEST));
		assert_int_equal(queues[i].crqsize, DEEPEST);
		assert_int_equal(associate_as(&queues[i], (uint16_t)(i + 1), cntlid, 0), 0);
	}
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 4; i++)
			fill_queue(&queues[i]);
		for (unsigned int i = 0; i < 4; i++) {
			wait_answers(&queues[i], DEEPEST - 1);
			assert_int_equal(queues[i].errors, 0);
		}
	}
	for (unsigned int i = 0; i < 4; i++)
		close_queue(&queues[i]);
	close_queue(&admin);
	rig_stop(&rig);
}

/* There is room for one controller's and some others'; who finds none is refused, and leaves none taken. */
static void test_no_room(void **state)
{
	unsigned int first = 0, second = 0;

	(void)state;
	up(DEEPEST, 1);
	(void)make_admin();
	while (first < QUEUES && connect_queue(&queues[first], 1, DEEPEST))
		first++;
	assert_in_range(first, 2, 20);
	for (unsigned int i = 0; i <= first; i++)
		close_queue(&queues[i]);
	for (uint64_t end = now_ns() + NS_PER_S; now_ns() < end;)
		turn();
	while (second < QUEUES && connect_queue(&queues[second], 1, DEEPEST))
		second++;
	assert_int_equal(second, first);
	for (unsigned int i = 0; i <= second; i++)
		close_queue(&queues[i]);
	close_queue(&admin);
	rig_stop(&rig);
}

/* The head of the queue goes round with flow control, and is all ones without. */
static void test_flow_control(void **state)
{
	uint16_t cntlid;

	(void)state;
	up(DEPTH, 2);
	cntlid = make_admin();
	assert_true(connect_queue(&queues[0], 1, 4));
	assert_true(connect_queue(&queues[1], 2, 4));
	assert_int_equal(associate_as(&queues[0], 1, cntlid, 0), 0);
	/* Connect was the first entry. */
	assert_int_equal(queues[0].sqhd, 1);
	assert_int_equal(associate_as(&queues[1], 2, cntlid, NVMF_CATTR_DISABLE_SQFLOW), 0);
	assert_int_equal(queues[1].sqhd, 0xffff);
	for (unsigned int i = 0; i < 10; i++) {
		for (unsigned int q = 0; q < 2; q++) {
			(void)command(&queues[q], 0, NVME_IO_FLUSH, 0);
			assert_int_equal(run_one(&queues[q]), 0);
		}
		assert_int_equal(queues[0].sqhd, (i + 2) % 4);
		assert_int_equal(queues[1].sqhd, 0xffff);
	}
	close_queue(&queues[0]);
	close_queue(&queues[1]);
	close_queue(&admin);
	rig_stop(&rig);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_many_queues, leaks_setup, leaks_teardown),
		cmocka_unit_test_setup_teardown(test_idle_queues, leaks_setup, leaks_teardown),
		cmocka_unit_test_setup_teardown(test_deep_queue, leaks_setup, leaks_teardown),
		cmocka_unit_test_setup_teardown(test_no_room, leaks_setup, leaks_teardown),
		cmocka_unit_test_setup_teardown(test_flow_control, leaks_setup, leaks_teardown),
	};

	print_message("in %s\n", where);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
	tenure_block_signals();
	if (export_guard_init() < 0)
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run);
}
