// SPDX-License-Identifier: BSD-3-Clause
/*
 * The iwarp room over a link that is no loopback: two network namespaces and a veth pair between
 * them, so that CRC is on by default and units fit a TCP segment. Skipped where namespaces cannot
 * be made.
 */
#include "leaks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "iwarp/iwarp.h"
#include "iwarp/iwarp_internal.h"

#define BYTES	MIB(2)
#define WAIT	(20 * NS_PER_S)
#define SERVER	"10.99.7.2"
#define SEGMENT 1448 /* of a TCP over Ethernet, with time stamps */

static int near_ns = -1, far_ns = -1;

/* ---- two ends --------------------------------------------------------------------------------- */

struct end {
	struct fabric_pd *pd;
	struct fabric_cq *cq;
	struct fabric_cm *cm;
	struct fabric_conn *conn;
	struct fabric_mr *mr;
	uint8_t *buf;
};

struct pair {
	struct fabric *f;
	struct end client, server;
	struct fabric_listener *listener;
	struct fabric_cm_event event;
};

static void end_open(struct fabric *f, struct end *end)
{
	assert_int_equal(fabric_pd_alloc(fabric_device_at(f, 0), &end->pd), 0);
	assert_int_equal(fabric_cq_create(fabric_device_at(f, 0), 256, &end->cq), 0);
	assert_int_equal(fabric_cm_open(f, &end->cm), 0);
	end->buf = malloc(BYTES);
	assert_non_null(end->buf);
	random_bytes(end->buf, BYTES);
	assert_int_equal(fabric_mr_reg(end->pd, end->buf, BYTES, (uintptr_t)end->buf,
				       FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE,
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
	free(end->buf);
}

static void wait_event(struct pair *p, struct end *end, enum fabric_cm_type type)
{
	struct end *other = end == &p->client ? &p->server : &p->client;
	uint64_t deadline = now_ns() + WAIT;

	while (fabric_cm_poll(end->cm, &p->event) == 0) {
		/* The other end's events wait in its queue, but its handshake moves on. */
		if (other->conn == NULL || type == FABRIC_CM_CONNECT_REQUEST) {
			struct fabric_cm_event event;

			assert_int_equal(fabric_cm_poll(other->cm, &event), 0);
		}
		if (now_ns() > deadline)
			fail_msg("no event");
	}
	assert_int_equal(p->event.type, type);
}

static void make_qp(struct end *end)
{
	const struct fabric_qp_attr attr = {
		.pd = end->pd,
		.cq = end->cq,
		.max_send_wr = 64,
		.max_recv_wr = 64,
		.max_send_sge = 1,
		.max_recv_sge = 1,
	};

	assert_int_equal(fabric_qp_create(end->conn, &attr), 0);
}

static void pair_open(struct pair *p, enum iwarp_crc crc, const char *private_data)
{
	const struct iwarp_options options = {.crc = crc};
	const struct fabric_conn_param param = {.private_data = private_data,
						.private_data_len = (uint8_t)strlen(private_data),
						.responder_resources = 16,
						.initiator_depth = 16};
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_storage addr;

	memset(p, 0, sizeof(*p));
	assert_int_equal(iwarp_fabric_open(&options, &p->f, NULL), 0);
	end_open(p->f, &p->client);
	end_open(p->f, &p->server);
	assert_int_equal(inet_pton(AF_INET, SERVER, &in.sin_addr), 1);
	/* A socket stays in the namespace in which it was made. */
	assert_int_equal(setns(far_ns, CLONE_NEWNET), 0);
	assert_int_equal(fabric_listen(p->server.cm, (struct sockaddr *)&in, 4, NULL, &p->listener),
			 0);
	assert_int_equal(setns(near_ns, CLONE_NEWNET), 0);
	assert_int_equal(fabric_listener_addr(p->listener, &addr), 0);
	assert_int_equal(
		fabric_resolve(p->client.cm, (struct sockaddr *)&addr, 1000, NULL, &p->client.conn),
		0);
	wait_event(p, &p->client, FABRIC_CM_RESOLVED);
	make_qp(&p->client);
	assert_int_equal(fabric_connect(p->client.conn, &param), 0);
	wait_event(p, &p->server, FABRIC_CM_CONNECT_REQUEST);
	p->server.conn = p->event.conn;
	make_qp(&p->server);
	assert_int_equal(fabric_accept(p->server.conn, &param), 0);
	wait_event(p, &p->client, FABRIC_CM_ESTABLISHED);
	wait_event(p, &p->server, FABRIC_CM_ESTABLISHED);
}

static void pair_close(struct pair *p)
{
	fabric_listener_destroy(p->listener);
	end_close(&p->client);
	end_close(&p->server);
	fabric_close(p->f);
}

/* ---- traffic ---------------------------------------------------------------------------------- */

static void run(struct pair *p, struct end *from, struct end *to, enum fabric_op op, uint32_t len)
{
	uint64_t deadline = now_ns() + WAIT;
	struct fabric_sge sge = {
		.addr = (uintptr_t)from->buf + 1, .length = len, .lkey = from->mr->lkey};
	struct fabric_sge sink = {
		.addr = (uintptr_t)to->buf + 2, .length = len, .lkey = to->mr->lkey};
	struct fabric_recv_wr recv = {.sg_list = &sink, .num_sge = 1};
	struct fabric_send_wr wr = {.op = op,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1,
				    .remote_addr = (uintptr_t)to->buf + 2,
				    .rkey = to->mr->rkey};
	unsigned int due = op == FABRIC_OP_SEND ? 2 : 1;
	struct fabric_wc wc;

	random_bytes(from->buf, len + 2);
	if (op == FABRIC_OP_SEND)
		assert_int_equal(fabric_post_recv(to->conn, &recv, NULL), 0);
	assert_int_equal(fabric_post_send(from->conn, &wr, NULL), 0);
	while (due > 0 || (op == FABRIC_OP_WRITE && memcmp(from->buf + 1, to->buf + 2, len) != 0)) {
		struct fabric_cq *cqs[] = {p->client.cq, p->server.cq};

		for (size_t i = 0; i < ARRAY_SIZE(cqs); i++) {
			if (fabric_cq_poll(cqs[i], &wc, 1) == 0)
				continue;
			assert_int_equal(wc.status, FABRIC_OK);
			due--;
		}
		if (now_ns() > deadline)
			fail_msg("operation %d of %u bytes does not end", op, len);
	}
	assert_memory_equal(from->buf + 1, to->buf + 2, len);
}

static void traffic(enum iwarp_crc crc, const char *private_data, bool summed, bool large)
{
	static const uint32_t sizes[] = {1, 100, 1428, 1429, 4096, 65537, 1 << 20};
	static const enum fabric_op ops[] = {FABRIC_OP_SEND, FABRIC_OP_WRITE, FABRIC_OP_READ};
	struct pair p;

	pair_open(&p, crc, private_data);
	assert_int_equal(iw_conn_of(p.client.conn)->crc, summed);
	assert_int_equal(iw_conn_of(p.server.conn)->crc, summed);
	if (large)
		assert_in_range(iw_conn_of(p.client.conn)->mulpdu, 60000, UINT16_MAX);
	else
		assert_in_range(iw_conn_of(p.client.conn)->mulpdu, SEGMENT - 10, SEGMENT - 6);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (size_t o = 0; o < ARRAY_SIZE(ops); o++) {
			run(&p, &p.client, &p.server, ops[o], sizes[i]);
			run(&p, &p.server, &p.client, ops[o], sizes[i]);
		}
	}
	pair_close(&p);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void test_default(void **state)
{
	(void)state;
	traffic(IWARP_CRC_AUTO, "anyone", true, false);
}

static void test_both_opt_out(void **state)
{
	(void)state;
	traffic(IWARP_CRC_OFF, "anyone", false, false);
}

static void test_own_peer(void **state)
{
	(void)state;
	traffic(IWARP_CRC_AUTO, IWARP_OWN_PRIVATE_DATA " and more", true, true);
	traffic(IWARP_CRC_OFF, IWARP_OWN_PRIVATE_DATA, false, true);
}

static void test_nobody_there(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct pair p;

	(void)state;
	pair_open(&p, IWARP_CRC_AUTO, "");
	fabric_conn_destroy(p.client.conn);
	/* No route leads there from a namespace with one link. */
	assert_int_equal(inet_pton(AF_INET, "192.0.2.1", &in.sin_addr), 1);
	in.sin_port = htons(4420);
	assert_int_equal(
		fabric_resolve(p.client.cm, (struct sockaddr *)&in, 1000, NULL, &p.client.conn), 0);
	wait_event(&p, &p.client, FABRIC_CM_RESOLVED);
	make_qp(&p.client);
	assert_int_equal(fabric_connect(p.client.conn, &(struct fabric_conn_param){0}), 0);
	wait_event(&p, &p.client, FABRIC_CM_FAILED);
	assert_int_equal(p.event.error, -ENETUNREACH);
	pair_close(&p);
}

/* ---- namespaces ------------------------------------------------------------------------------- */

static bool command(const char *fmt, ...) PRINTF_LIKE(1, 2);

static bool command(const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return system(text) == 0; /* NOLINT(cert-env33-c): fixed text and a number */
}

/* A child holds the far namespace; the near one is ours. */
static bool make_link(pid_t *child)
{
	char path[64];
	int ready[2];
	char byte = 0;

	if (pipe2(ready, O_CLOEXEC))
		return false;
	*child = fork();
	if (*child == 0) {
		byte = unshare(CLONE_NEWNET) == 0;
		(void)!write(ready[1], &byte, 1);
		for (;;)
			(void)pause();
	}
	if (*child < 0 || read(ready[0], &byte, 1) != 1 || !byte || unshare(CLONE_NEWNET))
		return false;
	(void)close(ready[0]);
	(void)close(ready[1]);
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)*child);
	far_ns = open(path, O_RDONLY | O_CLOEXEC);
	near_ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (far_ns < 0 || near_ns < 0 ||
	    !command("ip link add v0 type veth peer name v1 netns %d", (int)*child) ||
	    !command("ip addr add 10.99.7.1/24 dev v0 && ip link set v0 up") ||
	    setns(far_ns, CLONE_NEWNET) ||
	    !command("ip addr add " SERVER "/24 dev v1 && ip link set v1 up"))
		return false;
	return setns(near_ns, CLONE_NEWNET) == 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_default),
		leaks_test(test_both_opt_out),
		leaks_test(test_own_peer),
		leaks_test(test_nobody_there),
	};
	pid_t child = -1;
	int failed = 77;

	if (make_link(&child))
		failed = cmocka_run_group_tests_name("iwarp_link", tests, NULL, NULL);
	else
		(void)fputs("skipped: network namespaces cannot be made here\n", stderr);
	if (child > 0) {
		(void)kill(child, SIGKILL);
		(void)waitpid(child, NULL, 0);
	}
	return failed;
}
