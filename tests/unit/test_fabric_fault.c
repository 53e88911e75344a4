// SPDX-License-Identifier: BSD-3-Clause
/*
 * The fault fabric, around our own iWARP: that it changes nothing but what it is told to, that its
 * faults can be repeated, and that a scenario survives the failure of every one of its calls.
 */
#include "leaks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "fabric/fault.h"
#include "fabric_suite.h"
#include "iwarp/iwarp.h"

#define BYTES KIB(64)

static struct fabric *open_fault(const struct fault_options *options)
{
	struct fabric *inner, *f = NULL;
	struct errtext err;

	assert_int_equal(iwarp_fabric_open(NULL, &inner, &err), 0);
	assert_int_equal(fault_fabric_open(inner, options, &f), 0);
	return f;
}

/* Late completions and events, and nothing else wrong: the whole suite passes. */
static int open_holding(struct fabric **f, struct errtext *err)
{
	const struct fault_options holding = {.seed = 7, .hold_ppm = 200000, .hold_polls = 30};
	struct fabric *inner;
	int rc = iwarp_fabric_open(NULL, &inner, err);

	return rc ? rc : fault_fabric_open(inner, &holding, f);
}

/* ---- a scenario ----------------------------------------------------------------------------- */

struct end {
	struct fabric_cm *cm;
	struct fabric_pd *pd;
	struct fabric_cq *cq;
	struct fabric_mr *mr;
	struct fabric_mw *mw;
	struct fabric_conn *conn;
	unsigned int done; /* completions with success, not yet asked for */
	uint8_t mem[BYTES];
};

static struct end client, server;

static int end_open(struct fabric *f, struct end *end)
{
	struct fabric_device *dev = fabric_device_at(f, 0);
	int rc = fabric_cm_open(f, &end->cm);

	if (rc == 0)
		rc = fabric_pd_alloc(dev, &end->pd);
	if (rc == 0)
		rc = fabric_cq_create(dev, 64, &end->cq);
	if (rc == 0)
		rc = fabric_mr_reg(end->pd, end->mem, BYTES, (uint64_t)(uintptr_t)end->mem,
				   FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_WRITE |
					   FABRIC_ACCESS_MW_BIND,
				   &end->mr);
	return rc;
}

static void end_close(struct end *end)
{
	assert_int_equal(fabric_mw_free(end->mw), 0);
	fabric_conn_destroy(end->conn);
	assert_int_equal(fabric_mr_dereg(end->mr), 0);
	fabric_cq_destroy(end->cq);
	assert_int_equal(fabric_pd_free(end->pd), 0);
	fabric_cm_close(end->cm);
	memset(end, 0, sizeof(*end));
}

static int end_qp(struct end *end)
{
	const struct fabric_qp_attr attr = {
		.pd = end->pd,
		.cq = end->cq,
		.max_send_wr = 16,
		.max_recv_wr = 16,
		.max_send_sge = 1,
		.max_recv_sge = 1,
	};

	return fabric_qp_create(end->conn, &attr);
}

/* Polls both ends once: 1 and an event, 0, or an error, of which the end of a connection is one. */
static int pump(struct fabric_cm_event *event)
{
	struct end *ends[] = {&client, &server};
	struct fabric_wc wc;
	int rc;

	for (unsigned int i = 0; i < 2; i++) {
		rc = fabric_cq_poll(ends[i]->cq, &wc, 1);
		if (rc == 1 && wc.status != FABRIC_OK)
			return -EIO;
		if (rc < 0)
			return rc;
		ends[i]->done += (unsigned int)rc;
	}
	for (unsigned int i = 0; i < 2; i++) {
		rc = fabric_cm_poll(ends[i]->cm, event);
		if (rc == 1 &&
		    (event->type == FABRIC_CM_DISCONNECTED || event->type == FABRIC_CM_FAILED))
			return -ENOTCONN;
		if (rc)
			return rc;
	}
	return 0;
}

static int event_wait(enum fabric_cm_type type, struct fabric_cm_event *event)
{
	uint64_t deadline = now_ns() + 5 * NS_PER_S;

	while (now_ns() < deadline) {
		int rc = pump(event);

		if (rc < 0)
			return rc;
		if (rc == 1 && event->type == type)
			return 0;
	}
	return -ETIMEDOUT;
}

static int done_wait(struct end *end)
{
	uint64_t deadline = now_ns() + 5 * NS_PER_S;
	struct fabric_cm_event event;

	while (end->done == 0) {
		int rc = pump(&event);

		if (rc < 0)
			return rc;
		if (now_ns() > deadline)
			return -ETIMEDOUT;
	}
	end->done--;
	return 0;
}

static int send_small(unsigned int flags)
{
	struct fabric_sge from = {.addr = client.mr->iova, .length = 50, .lkey = client.mr->lkey};
	struct fabric_send_wr send = {
		.op = FABRIC_OP_SEND, .flags = flags, .sg_list = &from, .num_sge = 1};

	return fabric_post_send(client.conn, &send, NULL);
}

static int receive_small(void)
{
	struct fabric_sge to = {.addr = server.mr->iova, .length = 100, .lkey = server.mr->lkey};
	struct fabric_recv_wr recv = {.sg_list = &to, .num_sge = 1};

	return fabric_post_recv(server.conn, &recv, NULL);
}

/* The client greets, the server opens a window, the client writes there and says so. */
static int converse(void)
{
	struct fabric_sge from = {.addr = client.mr->iova, .length = 5000, .lkey = client.mr->lkey};
	struct fabric_send_wr bind = {
		.op = FABRIC_OP_BIND_MW,
		.flags = FABRIC_F_SIGNALED,
		.bind = {.mw = server.mw,
			 .mr = server.mr,
			 .addr = server.mr->iova + 4096,
			 .length = 8192,
			 .access = FABRIC_ACCESS_REMOTE_WRITE},
	};
	struct fabric_send_wr write = {
		.op = FABRIC_OP_WRITE,
		.flags = FABRIC_F_SIGNALED,
		.sg_list = &from,
		.num_sge = 1,
		.remote_addr = server.mr->iova + 4100,
	};
	int rc = send_small(FABRIC_F_SIGNALED);

	if (rc == 0)
		rc = done_wait(&client);
	if (rc == 0)
		rc = done_wait(&server);
	if (rc == 0)
		rc = receive_small();
	if (rc == 0)
		rc = fabric_post_send(server.conn, &bind, NULL);
	if (rc == 0)
		rc = done_wait(&server);
	if (rc)
		return rc;
	assert_int_equal(bind.rkey, server.mw->rkey);
	write.rkey = server.mw->rkey;
	memset(client.mem, 0x5a, 5000);
	rc = fabric_post_send(client.conn, &write, NULL);
	if (rc == 0)
		rc = send_small(0);
	if (rc == 0)
		rc = done_wait(&client);
	if (rc == 0)
		rc = done_wait(&server); /* the message: so the write is there */
	if (rc == 0) {
		assert_memory_equal(server.mem + 4100, client.mem, 5000);
		assert_memory_equal(server.mem, client.mem, 50);
		assert_int_equal(server.mem[4099], 0);
		assert_int_equal(server.mem[9100], 0);
	}
	return rc;
}

static int scenario(struct fabric *f)
{
	const struct fabric_conn_param param = {.responder_resources = 4, .initiator_depth = 4};
	struct sockaddr_in any = {.sin_family = AF_INET};
	struct sockaddr_storage at;
	struct fabric_listener *listener = NULL;
	struct fabric_cm_event event;
	int rc;

	(void)inet_pton(AF_INET, "127.0.0.1", &any.sin_addr);
	rc = end_open(f, &client);
	if (rc == 0)
		rc = end_open(f, &server);
	if (rc == 0)
		rc = fabric_mw_alloc(server.pd, &server.mw);
	if (rc == 0)
		rc = fabric_listen(server.cm, (struct sockaddr *)&any, 4, NULL, &listener);
	if (rc == 0)
		rc = fabric_listener_addr(listener, &at);
	if (rc == 0)
		rc = fabric_resolve(client.cm, (struct sockaddr *)&at, 2000, NULL, &client.conn);
	if (rc == 0)
		rc = event_wait(FABRIC_CM_RESOLVED, &event);
	if (rc == 0)
		rc = end_qp(&client);
	if (rc == 0)
		rc = fabric_connect(client.conn, &param);
	if (rc == 0)
		rc = event_wait(FABRIC_CM_CONNECT_REQUEST, &event);
	if (rc == 0) {
		server.conn = event.conn;
		rc = end_qp(&server);
	}
	if (rc == 0)
		rc = receive_small();
	if (rc == 0)
		rc = fabric_accept(server.conn, &param);
	if (rc == 0)
		rc = event_wait(FABRIC_CM_ESTABLISHED, &event);
	if (rc == 0)
		rc = converse();
	fabric_listener_destroy(listener);
	end_close(&client);
	end_close(&server);
	return rc;
}

/* ---- the tests ------------------------------------------------------------------------------ */

static void test_sweep(void **state)
{
	uint64_t n = 0;

	(void)state;
	for (;;) {
		const struct fault_options options = {.fail_nth = ++n, .error = -ENOSPC};
		struct fabric *f = open_fault(&options);
		int fds = leaks_count("/proc/self/fd");
		int rc = scenario(f);
		bool through = fault_calls(f) < n;

		assert_int_equal(leaks_count("/proc/self/fd"), fds);
		fabric_close(f);
		assert_int_equal(rc, through ? 0 : -ENOSPC);
		if (through)
			break;
	}
	print_message("%llu calls failed, one at a time\n", (unsigned long long)n - 1);
	assert_true(n > 15);
}

static void test_same_seed_same_faults(void **state)
{
	struct fault_options options = {.seed = 42, .sites = FAULT_REGISTER, .fail_ppm = 300000};
	struct fabric *f = open_fault(&options);
	bool failed[3][100];
	struct fabric_pd *pd;
	unsigned int count = 0;

	(void)state;
	assert_int_equal(fabric_pd_alloc(fabric_device_at(f, 0), &pd), 0);
	for (unsigned int run = 0; run < 3; run++) {
		options.seed = run < 2 ? 42 : 43;
		fault_set(f, &options);
		for (unsigned int i = 0; i < 100; i++) {
			struct fabric_mr *mr;
			int rc = fabric_mr_reg(pd, client.mem, 4096, 0x10000, 0, &mr);

			assert_true(rc == 0 || rc == -ENOMEM);
			failed[run][i] = rc != 0;
			count += rc != 0;
			if (rc == 0)
				assert_int_equal(fabric_mr_dereg(mr), 0);
		}
		assert_int_equal(fault_calls(f), 100);
	}
	assert_in_range(count, 50, 130);
	assert_memory_equal(failed[0], failed[1], sizeof(failed[0]));
	assert_memory_not_equal(failed[0], failed[2], sizeof(failed[0]));
	assert_int_equal(fabric_pd_free(pd), 0);
	fabric_close(f);
}

/* A wire that is cut here and there: each run ends, with success or with an error that says so. */
static void test_cut(void **state)
{
	unsigned int cut = 0, through = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		const struct fault_options options = {
			.seed = seed, .cut_ppm = 80000, .hold_ppm = 100000, .hold_polls = 5};
		struct fabric *f = open_fault(&options);
		int rc = scenario(f);

		fabric_close(f);
		if (rc != 0 && rc != -EIO && rc != -ENOTCONN)
			fail_msg("seed %llu: %d", (unsigned long long)seed, rc);
		cut += rc != 0;
		through += rc == 0;
	}
	print_message("%u cut, %u came through\n", cut, through);
	assert_true(cut > 0 && through > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_sweep),
		leaks_test(test_same_seed_same_faults),
		leaks_test(test_cut),
	};
	const struct fabric_suite holding = {
		.name = "fabric_fault",
		.open = open_holding,
		.addr = "127.0.0.1",
		.addr6 = "::1",
		.cycles = 50,
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	return failed ? 1 : fabric_suite_run(&holding);
}
