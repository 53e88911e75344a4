// SPDX-License-Identifier: BSD-3-Clause
/*
 * Our iWARP against the kernel's (siw, through rdma-core), each in turn as the connecting side, with
 * and without CRC. Runs in the testbed (scripts/testbed --rdma siw), elsewhere it is skipped.
 */
#include "leaks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>

#include "fabric/verbs.h"
#include "iwarp/iwarp.h"

#define BYTES	MIB(2)
#define WAIT	(60 * NS_PER_S)
#define DEPTH	8
#define ENTRIES 256

/* One end: a fabric of its own, opened anew for each test. */
struct end {
	const char *name;
	struct fabric *f;
	struct fabric_device *dev;
	struct fabric_pd *pd;
	struct fabric_cq *cq;
	struct fabric_cm *cm;
	struct fabric_conn *conn;
	struct fabric_mr *mr;
	uint8_t *buf;
	struct fabric_wc wc[ENTRIES]; /* polled, not asked for yet */
	unsigned int wcs;
};

struct pair {
	struct end ours, kernel;
	struct end *client, *server;
	struct fabric_listener *listener;
	struct fabric_cm_event event;
};

static void end_open(struct end *end)
{
	end->dev = fabric_device_at(end->f, 0);
	assert_int_equal(fabric_pd_alloc(end->dev, &end->pd), 0);
	assert_int_equal(fabric_cq_create(end->dev, ENTRIES, &end->cq), 0);
	assert_int_equal(fabric_cm_open(end->f, &end->cm), 0);
	end->buf = aligned_alloc(4096, BYTES);
	assert_non_null(end->buf);
	random_bytes(end->buf, BYTES);
	assert_int_equal(fabric_mr_reg(end->pd, end->buf, BYTES, (uintptr_t)end->buf,
				       FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ |
					       FABRIC_ACCESS_REMOTE_WRITE,
				       &end->mr),
			 0);
}

static void end_close(struct end *end)
{
	fabric_conn_destroy(end->conn);
	assert_int_equal(fabric_mr_dereg(end->mr), 0);
	fabric_cm_close(end->cm);
	fabric_cq_destroy(end->cq);
	assert_int_equal(fabric_pd_free(end->pd), 0);
	fabric_close(end->f);
	free(end->buf);
}

static void pump(struct pair *p)
{
	struct end *ends[] = {&p->ours, &p->kernel};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct end *end = ends[i];
		int n = fabric_cq_poll(end->cq, end->wc + end->wcs, ENTRIES - end->wcs);

		assert_true(n >= 0);
		end->wcs += (unsigned int)n;
	}
}

static void wait_event(struct pair *p, struct end *end, enum fabric_cm_type type)
{
	uint64_t deadline = now_ns() + WAIT;

	for (;;) {
		int n;

		pump(p);
		n = fabric_cm_poll(end->cm, &p->event);
		assert_true(n >= 0);
		if (n == 1)
			break;
		if (now_ns() > deadline)
			fail_msg("%s: no event", end->name);
	}
	if (p->event.type != type)
		fail_msg("%s: event %d (error %d) where %d should be", end->name, p->event.type,
			 p->event.error, type);
}

static struct fabric_wc wait_completion(struct pair *p, struct end *end)
{
	uint64_t deadline = now_ns() + WAIT;
	struct fabric_wc wc;

	pump(p);
	while (end->wcs == 0) {
		struct pollfd fds[] = {
			{.fd = fabric_cq_fd(p->ours.cq), .events = POLLIN},
			{.fd = fabric_cq_fd(p->kernel.cq), .events = POLLIN},
		};

		/* Asleep, not spinning: siw's threads need the processors. */
		assert_int_equal(fabric_cq_arm(p->ours.cq), 0);
		assert_int_equal(fabric_cq_arm(p->kernel.cq), 0);
		pump(p);
		if (end->wcs == 0) {
			(void)poll(fds, ARRAY_SIZE(fds), 1000);
			pump(p);
		}
		if (now_ns() > deadline)
			fail_msg("%s: no completion", end->name);
	}
	wc = end->wc[0];
	memmove(end->wc, end->wc + 1, --end->wcs * sizeof(wc));
	return wc;
}

static void wait_ok(struct pair *p, struct end *end, enum fabric_op op)
{
	struct fabric_wc wc = wait_completion(p, end);

	if (wc.status != FABRIC_OK)
		fail_msg("%s: %s", end->name, fabric_status_text(wc.status));
	assert_int_equal(wc.op, op);
}

static void make_qp(struct end *end)
{
	struct fabric_qp_attr attr = {.pd = end->pd,
				      .cq = end->cq,
				      .max_send_wr = 32,
				      .max_recv_wr = 32,
				      .max_send_sge = 2,
				      .max_recv_sge = 2};

	assert_int_equal(fabric_qp_create(end->conn, &attr), 0);
}

/* ---- connecting ------------------------------------------------------------------------------- */

static void pair_open(struct pair *p, bool kernel_connects, enum iwarp_crc crc)
{
	const struct iwarp_options options = {.crc = crc};
	const char *text = getenv("LEASEHOLD_TESTBED_ADDR");
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_storage addr;
	struct fabric_conn_param param = {.private_data = "from the client",
					  .private_data_len = 15,
					  .responder_resources = DEPTH,
					  .initiator_depth = DEPTH};

	memset(p, 0, sizeof(*p));
	p->ours.name = "iwarp";
	p->kernel.name = "siw";
	assert_int_equal(iwarp_fabric_open(&options, &p->ours.f, NULL), 0);
	assert_int_equal(verbs_fabric_open(&p->kernel.f, NULL), 0);
	end_open(&p->ours);
	end_open(&p->kernel);
	p->client = kernel_connects ? &p->kernel : &p->ours;
	p->server = kernel_connects ? &p->ours : &p->kernel;
	assert_int_equal(inet_pton(AF_INET, text, &in.sin_addr), 1);
	assert_int_equal(
		fabric_listen(p->server->cm, (struct sockaddr *)&in, 8, NULL, &p->listener), 0);
	assert_int_equal(fabric_listener_addr(p->listener, &addr), 0);

	assert_int_equal(fabric_resolve(p->client->cm, (struct sockaddr *)&addr, 5000, NULL,
					&p->client->conn),
			 0);
	wait_event(p, p->client, FABRIC_CM_RESOLVED);
	make_qp(p->client);
	assert_int_equal(fabric_connect(p->client->conn, &param), 0);
	/* Ours moves when its channel is polled: the kernel's request comes only then. */
	for (uint64_t deadline = now_ns() + WAIT; now_ns() < deadline;) {
		struct fabric_cm_event none;

		if (fabric_cm_poll(p->server->cm, &p->event) == 1)
			break;
		assert_int_equal(fabric_cm_poll(p->client->cm, &none), 0);
	}
	assert_int_equal(p->event.type, FABRIC_CM_CONNECT_REQUEST);
	assert_memory_equal(p->event.private_data, "from the client", 15);
	assert_int_equal(p->event.responder_resources, DEPTH);
	p->server->conn = p->event.conn;
	make_qp(p->server);
	param.private_data = "from the server";
	assert_int_equal(fabric_accept(p->server->conn, &param), 0);
	wait_event(p, p->client, FABRIC_CM_ESTABLISHED);
	assert_memory_equal(p->event.private_data, "from the server", 15);
	wait_event(p, p->server, FABRIC_CM_ESTABLISHED);
	assert_int_equal(fabric_conn_read_depth(p->client->conn), DEPTH);
}

static void pair_close(struct pair *p)
{
	fabric_listener_destroy(p->listener);
	end_close(&p->ours);
	end_close(&p->kernel);
}

/* ---- traffic ---------------------------------------------------------------------------------- */

static void post(struct end *from, const struct end *to, enum fabric_op op, uint64_t off,
		 uint64_t remote_off, uint32_t len)
{
	struct fabric_sge sge = {
		.addr = (uintptr_t)from->buf + off, .length = len, .lkey = from->mr->lkey};
	struct fabric_send_wr wr = {.op = op,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1,
				    .remote_addr = (uintptr_t)to->buf + remote_off,
				    .rkey = to->mr->rkey};

	assert_int_equal(fabric_post_send(from->conn, &wr, NULL), 0);
}

static void post_recv(struct end *end, uint64_t off, uint32_t len)
{
	struct fabric_sge sge = {
		.addr = (uintptr_t)end->buf + off, .length = len, .lkey = end->mr->lkey};
	struct fabric_recv_wr wr = {.sg_list = &sge, .num_sge = 1};

	assert_int_equal(fabric_post_recv(end->conn, &wr, NULL), 0);
}

static const uint32_t sizes[] = {0, 1, 3, 100, 4096, 8191, 65536, 100001, 1 << 20};

static void sends(struct pair *p, struct end *from, struct end *to)
{
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		post_recv(to, 5, 1 << 20);
		random_bytes(from->buf, 1 << 20);
		post(from, to, FABRIC_OP_SEND, 3, 0, sizes[i]);
		wait_ok(p, from, FABRIC_OP_SEND);
		{
			struct fabric_wc wc = wait_completion(p, to);

			assert_int_equal(wc.status, FABRIC_OK);
			assert_int_equal(wc.op, FABRIC_OP_RECV);
			assert_int_equal(wc.byte_len, sizes[i]);
		}
		assert_memory_equal(from->buf + 3, to->buf + 5, sizes[i]);
	}
}

static void writes(struct pair *p, struct end *from, struct end *to)
{
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		random_bytes(from->buf, 1 << 20);
		post(from, to, FABRIC_OP_WRITE, 1, 7, sizes[i]);
		/* The READ tells that the write was placed. */
		post(from, to, FABRIC_OP_READ, MIB(1) + 8192, 7, 1);
		wait_ok(p, from, FABRIC_OP_WRITE);
		wait_ok(p, from, FABRIC_OP_READ);
		assert_memory_equal(from->buf + 1, to->buf + 7, sizes[i]);
	}
}

static void reads(struct pair *p, struct end *from, struct end *to)
{
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		random_bytes(to->buf, BYTES);
		post(from, to, FABRIC_OP_READ, 2, 9, sizes[i]);
		wait_ok(p, from, FABRIC_OP_READ);
		assert_memory_equal(from->buf + 2, to->buf + 9, sizes[i]);
	}
	/* More of them than may be in flight, and writes of the other side in between. */
	random_bytes(to->buf, BYTES);
	for (uint32_t i = 0; i < 3 * DEPTH; i++)
		post(from, to, FABRIC_OP_READ, (uint64_t)i * 20000, (uint64_t)i * 20000, 20000);
	for (uint32_t i = 0; i < 3 * DEPTH; i++)
		post(to, from, FABRIC_OP_WRITE, MIB(1) + (uint64_t)i * 20000,
		     MIB(1) + (uint64_t)i * 20000, 20000);
	for (uint32_t i = 0; i < 3 * DEPTH; i++)
		wait_ok(p, from, FABRIC_OP_READ);
	for (uint32_t i = 0; i < 3 * DEPTH; i++)
		wait_ok(p, to, FABRIC_OP_WRITE);
	post(to, from, FABRIC_OP_READ, MIB(1) + 3 * DEPTH * 20000, 0, 1);
	wait_ok(p, to, FABRIC_OP_READ);
	assert_memory_equal(from->buf, to->buf, 3 * DEPTH * 20000);
	assert_memory_equal(from->buf + MIB(1), to->buf + MIB(1), 3 * DEPTH * 20000);
}

static void traffic(bool kernel_connects, enum iwarp_crc crc)
{
	struct pair *p = malloc(sizeof(*p));
	uint64_t start;

	assert_non_null(p);
	pair_open(p, kernel_connects, crc);
	sends(p, p->client, p->server);
	sends(p, p->server, p->client);
	writes(p, p->client, p->server);
	writes(p, p->server, p->client);
	reads(p, p->client, p->server);
	reads(p, p->server, p->client);
	start = now_ns();
	for (int i = 0; i < 200; i++) {
		post(&p->ours, &p->kernel, FABRIC_OP_READ, 0, 0, 4096);
		wait_ok(p, &p->ours, FABRIC_OP_READ);
	}
	print_message("4 KiB READ from siw: %llu us\n",
		      (unsigned long long)((now_ns() - start) / 200 / NS_PER_US));
	assert_int_equal(fabric_disconnect(p->client->conn), 0);
	wait_event(p, p->server, FABRIC_CM_DISCONNECTED);
	wait_event(p, p->client, FABRIC_CM_DISCONNECTED);
	pair_close(p);
	free(p);
}

static void test_connecting(void **state)
{
	(void)state;
	traffic(false, IWARP_CRC_OFF);
}

static void test_connecting_crc(void **state)
{
	(void)state;
	traffic(false, IWARP_CRC_ON);
}

static void test_accepting(void **state)
{
	(void)state;
	traffic(true, IWARP_CRC_OFF);
}

static void test_accepting_crc(void **state)
{
	(void)state;
	traffic(true, IWARP_CRC_ON);
}

/* ---- errors, seen from both ends --------------------------------------------------------------- */

/* Each side is given a key that is none; it says so, and both ends of the connection are over. */
static void wrong_key(struct end *(*from)(struct pair *p), enum fabric_op op)
{
	struct pair *p = malloc(sizeof(*p));
	struct end *a, *b;
	struct fabric_wc wc;

	assert_non_null(p);
	pair_open(p, false, IWARP_CRC_OFF);
	a = from(p);
	b = a == &p->ours ? &p->kernel : &p->ours;
	/* The connecting side speaks first. */
	post(p->client, p->server, FABRIC_OP_READ, 0, 0, 1);
	wait_ok(p, p->client, FABRIC_OP_READ);
	b->mr->rkey ^= 1;
	post(a, b, op, 0, 0, 100);
	b->mr->rkey ^= 1;
	if (op == FABRIC_OP_WRITE)
		wait_ok(p, a, op);
	else {
		wc = wait_completion(p, a);
		print_message("%s reads with a wrong key: %s\n", a->name,
			      fabric_status_text(wc.status));
		assert_int_not_equal(wc.status, FABRIC_OK);
		if (a == &p->ours)
			assert_int_equal(wc.status, FABRIC_REMOTE_ACCESS);
	}
	wait_event(p, a, FABRIC_CM_DISCONNECTED);
	wait_event(p, b, FABRIC_CM_DISCONNECTED);
	pair_close(p);
	free(p);
}

static struct end *ours(struct pair *p)
{
	return &p->ours;
}

static struct end *kernels(struct pair *p)
{
	return &p->kernel;
}

static void test_wrong_keys(void **state)
{
	(void)state;
	wrong_key(ours, FABRIC_OP_READ);
	wrong_key(ours, FABRIC_OP_WRITE);
	wrong_key(kernels, FABRIC_OP_READ);
	wrong_key(kernels, FABRIC_OP_WRITE);
}

/* The kernel reads through a window of ours; we end a key of the kernel's with a Send. */
static void test_window_and_invalidate(void **state)
{
	struct pair *p = malloc(sizeof(*p));
	struct fabric_send_wr wr = {.op = FABRIC_OP_SEND_INV, .flags = FABRIC_F_SIGNALED};
	struct fabric_send_wr bind = {.op = FABRIC_OP_BIND_MW, .flags = FABRIC_F_SIGNALED};
	struct fabric_mr *mr;
	struct fabric_mw *mw;
	uint32_t key;

	(void)state;
	assert_non_null(p);
	pair_open(p, true, IWARP_CRC_OFF);
	assert_int_equal(fabric_mr_reg(p->ours.pd, p->ours.buf, BYTES, (uintptr_t)p->ours.buf,
				       FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_MW_BIND, &mr),
			 0);
	assert_int_equal(fabric_mw_alloc(p->ours.pd, &mw), 0);
	bind.bind.mw = mw;
	bind.bind.mr = mr;
	bind.bind.addr = (uintptr_t)p->ours.buf;
	bind.bind.length = 4096;
	bind.bind.access = FABRIC_ACCESS_REMOTE_READ;
	assert_int_equal(fabric_post_send(p->ours.conn, &bind, NULL), 0);
	wait_ok(p, &p->ours, FABRIC_OP_BIND_MW);
	/* Siw reads through the window. (Its user-space half cannot say which key to end.) */
	key = p->ours.mr->rkey;
	p->ours.mr->rkey = mw->rkey;
	post(&p->kernel, &p->ours, FABRIC_OP_READ, 0, 0, 4096);
	p->ours.mr->rkey = key;
	wait_ok(p, &p->kernel, FABRIC_OP_READ);
	assert_memory_equal(p->kernel.buf, p->ours.buf, 4096);
	assert_int_equal(fabric_mr_dereg(mr), -EBUSY);
	assert_int_equal(fabric_mw_free(mw), 0);
	assert_int_equal(fabric_mr_dereg(mr), 0);

	post(&p->ours, &p->kernel, FABRIC_OP_READ, 0, 0, 100);
	wait_ok(p, &p->ours, FABRIC_OP_READ);
	post_recv(&p->kernel, 0, 64);
	wr.rkey = p->kernel.mr->rkey;
	assert_int_equal(fabric_post_send(p->ours.conn, &wr, NULL), 0);
	wait_ok(p, &p->ours, FABRIC_OP_SEND);
	wait_ok(p, &p->kernel, FABRIC_OP_RECV);
	post(&p->ours, &p->kernel, FABRIC_OP_READ, 0, 0, 100);
	assert_int_equal(wait_completion(p, &p->ours).status, FABRIC_REMOTE_ACCESS);
	pair_close(p);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_connecting),
		leaks_test(test_accepting),
		leaks_test(test_connecting_crc),
		leaks_test(test_accepting_crc),
		leaks_test(test_window_and_invalidate),
		leaks_test(test_wrong_keys),
	};
	const char *rdma = getenv("LEASEHOLD_TESTBED_RDMA");
	struct fabric *f;

	if (!rdma || strcmp(rdma, "siw") != 0) {
		(void)fputs("skipped: needs the kernel's soft-iWARP (scripts/testbed --rdma siw)\n",
			    stderr);
		return 77;
	}
	/* What rdma-core opens with the first device stays open. */
	if (verbs_fabric_open(&f, NULL))
		return 1;
	fabric_close(f);
	return cmocka_run_group_tests_name("iwarp_siw", tests, NULL, NULL);
}
