// SPDX-License-Identifier: BSD-3-Clause
/* The suite's bench, and the list of its tests. */
#include "fabric_suite_internal.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

const struct fabric_suite *suite;
static struct fabric *opened;

void pattern_fill(uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 7 + i / 253 + i / 65521 + seed * 31 + 1);
}

/* ---- birth and end -------------------------------------------------------------------------- */

static void side_open(struct rig *rig, struct side *side)
{
	if (side->pd)
		return;
	assert_int_equal(fabric_pd_alloc(rig->dev, &side->pd), 0);
	assert_int_equal(fabric_cq_create(rig->dev, RIG_CQ, &side->cq), 0);
	side->buf = aligned_alloc(4096, RIG_BYTES);
	assert_non_null(side->buf);
	memset(side->buf, 0, RIG_BYTES);
	side->mr = rig_reg(rig, side->pd, side->buf, RIG_BYTES, addr_of(side->buf), RIG_ALL);
}

static int side_close(struct rig *rig, struct side *side)
{
	int bad = 0;

	fabric_cm_close(side->cm);
	fabric_srq_destroy(side->srq);
	fabric_cq_destroy(side->cq);
	bad |= fabric_pd_free(side->pd);
	free(side->buf);
	(void)rig;
	return bad;
}

struct rig_state {
	struct rig rig;
	struct leaks *leaks;
};

int rig_setup(void **state)
{
	struct rig_state *s = calloc(1, sizeof(*s));

	if (!s || leaks_setup((void **)&s->leaks) != 0)
		return -1;
	s->rig.f = opened;
	s->rig.dev = fabric_device_at(opened, 0);
	s->rig.info = fabric_device_info(s->rig.dev);
	s->rig.client = s->rig.server =
		(struct fabric_conn_param){.responder_resources = 8, .initiator_depth = 8};
	s->rig.next_id = 1;
	*state = &s->rig;
	return 0;
}

int rig_teardown(void **state)
{
	struct rig_state *s = container_of(*state, struct rig_state, rig);
	struct rig *rig = &s->rig;
	int bad = 0;

	/* In this order: rxe waits 50 s for the windows of a queue pair that is destroyed. */
	for (unsigned int i = 0; i < RIG_MRS; i++)
		bad |= fabric_mw_free(rig->mw[i]);
	for (unsigned int i = 0; i < RIG_PAIRS; i++)
		rig_unpair(rig, i);
	fabric_listener_destroy(rig->listener);
	for (unsigned int i = 0; i < RIG_MRS; i++)
		bad |= fabric_mr_dereg(rig->mr[i]);
	bad |= side_close(rig, &rig->a);
	bad |= side_close(rig, &rig->b);
	if (bad)
		print_error("something could not be freed\n");
	bad |= leaks_teardown((void **)&s->leaks);
	free(s);
	return bad;
}

struct fabric_mr *rig_reg(struct rig *rig, struct fabric_pd *pd, void *addr, uint64_t len,
			  uint64_t iova, unsigned int access)
{
	for (unsigned int i = 0; i < RIG_MRS; i++) {
		if (rig->mr[i])
			continue;
		assert_int_equal(fabric_mr_reg(pd, addr, len, iova, access, &rig->mr[i]), 0);
		return rig->mr[i];
	}
	fail_msg("too many registrations");
	return NULL;
}

void rig_dereg(struct rig *rig, struct fabric_mr *mr)
{
	for (unsigned int i = 0; i < RIG_MRS; i++)
		if (rig->mr[i] == mr)
			rig->mr[i] = NULL;
	assert_int_equal(fabric_mr_dereg(mr), 0);
}

struct fabric_mw *rig_window(struct rig *rig, struct fabric_pd *pd)
{
	for (unsigned int i = 0; i < RIG_MRS; i++) {
		if (rig->mw[i])
			continue;
		assert_int_equal(fabric_mw_alloc(pd, &rig->mw[i]), 0);
		return rig->mw[i];
	}
	fail_msg("too many windows");
	return NULL;
}

void rig_window_free(struct rig *rig, struct fabric_mw *mw)
{
	for (unsigned int i = 0; i < RIG_MRS; i++)
		if (rig->mw[i] == mw)
			rig->mw[i] = NULL;
	assert_int_equal(fabric_mw_free(mw), 0);
}

/* ---- pairs ---------------------------------------------------------------------------------- */

static struct fabric_qp_attr qp_attr(const struct side *side)
{
	return (struct fabric_qp_attr){
		.pd = side->pd,
		.cq = side->cq,
		.srq = side->srq,
		.max_send_wr = RIG_MAX_WR,
		.max_recv_wr = RIG_MAX_WR,
		.max_send_sge = RIG_MAX_SGE,
		.max_recv_sge = RIG_MAX_SGE,
		.max_inline = 128,
	};
}

void rig_pair(struct rig *rig, unsigned int i)
{
	struct fabric_qp_attr a, b;

	side_open(rig, &rig->a);
	side_open(rig, &rig->b);
	a = qp_attr(&rig->a);
	b = qp_attr(&rig->b);
	assert_int_equal(fabric_loopback_pair(rig->dev, &a, &b, &rig->a.conn[i], &rig->b.conn[i]),
			 0);
}

void rig_pair_srq(struct rig *rig, unsigned int i)
{
	side_open(rig, &rig->b);
	if (!rig->b.srq)
		assert_int_equal(fabric_srq_create(rig->b.pd, RIG_MAX_WR, 2, &rig->b.srq), 0);
	rig_pair(rig, i);
}

static void forget(struct rig *rig, struct side *side, const struct fabric_conn *conn)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < rig->kept_count; i++)
		if (rig->kept[i].conn != conn)
			rig->kept[kept++] = rig->kept[i];
	rig->kept_count = kept;
	kept = 0;
	for (unsigned int i = 0; i < side->event_count; i++)
		if (side->events[i].conn != conn)
			side->events[kept++] = side->events[i];
	side->event_count = kept;
}

void rig_unpair(struct rig *rig, unsigned int i)
{
	struct fabric_conn *a = rig->a.conn[i], *b = rig->b.conn[i];

	rig->a.conn[i] = rig->b.conn[i] = NULL;
	forget(rig, &rig->a, a);
	forget(rig, &rig->b, b);
	fabric_conn_destroy(a);
	fabric_conn_destroy(b);
}

void rig_repair(struct rig *rig, unsigned int i)
{
	rig_unpair(rig, i);
	rig_pair(rig, i);
}

/* ---- through the CM ------------------------------------------------------------------------- */

void rig_listen(struct rig *rig, const char *addr)
{
	struct sockaddr_storage any = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&any;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&any;

	if (!addr) {
		print_message("no address given for tests of the CM\n");
		skip();
	}
	if (inet_pton(AF_INET, addr, &in->sin_addr) == 1)
		in->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, addr, &in6->sin6_addr) == 1)
		in6->sin6_family = AF_INET6;
	else
		fail_msg("not a numeric address: %s", addr);
	assert_int_equal(fabric_cm_open(rig->f, &rig->a.cm), 0);
	assert_int_equal(fabric_cm_open(rig->f, &rig->b.cm), 0);
	assert_int_equal(fabric_listen(rig->b.cm, (struct sockaddr *)&any, 16, rig, &rig->listener),
			 0);
}

void rig_resolve(struct rig *rig, unsigned int i, const struct sockaddr_storage *to)
{
	assert_int_equal(
		fabric_resolve(rig->a.cm, (const struct sockaddr *)to, 5000, rig, &rig->a.conn[i]),
		0);
	assert_ptr_equal(fabric_conn_user(rig->a.conn[i]), rig);
	(void)rig_event(rig, &rig->a, FABRIC_CM_RESOLVED);
	assert_ptr_equal(rig->event.conn, rig->a.conn[i]);
	rig->dev = fabric_conn_device(rig->a.conn[i]);
	rig->info = fabric_device_info(rig->dev);
}

int rig_qp_try(struct rig *rig, struct side *side, unsigned int i)
{
	struct fabric_qp_attr attr;

	side_open(rig, side);
	attr = qp_attr(side);
	return fabric_qp_create(side->conn[i], &attr);
}

void rig_qp(struct rig *rig, struct side *side, unsigned int i)
{
	assert_int_equal(rig_qp_try(rig, side, i), 0);
}

void rig_request(struct rig *rig, unsigned int i)
{
	struct sockaddr_storage to;

	assert_int_equal(fabric_listener_addr(rig->listener, &to), 0);
	rig_resolve(rig, i, &to);
	rig_qp(rig, &rig->a, i);
	assert_int_equal(fabric_connect(rig->a.conn[i], &rig->client), 0);
	(void)rig_event(rig, &rig->b, FABRIC_CM_CONNECT_REQUEST);
	rig->b.conn[i] = rig->event.conn;
	assert_non_null(rig->b.conn[i]);
	assert_ptr_equal(rig->event.listener, rig->listener);
	assert_ptr_equal(fabric_listener_user(rig->event.listener), rig);
	assert_ptr_equal(fabric_conn_device(rig->b.conn[i]), rig->dev);
}

void rig_connect(struct rig *rig, unsigned int i)
{
	rig_request(rig, i);
	rig_qp(rig, &rig->b, i);
	assert_int_equal(fabric_accept(rig->b.conn[i], &rig->server), 0);
	(void)rig_event(rig, &rig->a, FABRIC_CM_ESTABLISHED);
	assert_ptr_equal(rig->event.conn, rig->a.conn[i]);
	/*
	 * The server's side is sure only once the client has spoken: iWARP wants a first message, and
	 * the CM of InfiniBand may lose the confirmation, for which the message stands.
	 */
	assert_int_equal(rig_do(rig, rig->a.conn[i], FABRIC_OP_READ, rig_sge(&rig->a, 0, 1),
				addr_of(rig->b.buf), rig->b.mr->rkey),
			 FABRIC_OK);
	(void)rig_event(rig, &rig->b, FABRIC_CM_ESTABLISHED);
	assert_ptr_equal(rig->event.conn, rig->b.conn[i]);
}

static const char *event_name(enum fabric_cm_type type)
{
	static const char *const names[] = {
		[FABRIC_CM_RESOLVED] = "RESOLVED",
		[FABRIC_CM_CONNECT_REQUEST] = "CONNECT_REQUEST",
		[FABRIC_CM_SHOWN_OUT] = "SHOWN_OUT",
		[FABRIC_CM_ESTABLISHED] = "ESTABLISHED",
		[FABRIC_CM_REJECTED] = "REJECTED",
		[FABRIC_CM_FAILED] = "FAILED",
		[FABRIC_CM_DISCONNECTED] = "DISCONNECTED",
		[FABRIC_CM_DEVICE_GONE] = "DEVICE_GONE",
	};

	return names[type];
}

const struct fabric_cm_event *rig_event(struct rig *rig, struct side *side,
					enum fabric_cm_type type)
{
	uint64_t deadline = now_ns() + RIG_TIMEOUT_S * NS_PER_S;
	char name = side == &rig->a ? 'a' : 'b';

	while (side->event_count == 0) {
		rig_pump(rig);
		if (now_ns() > deadline)
			fail_msg("side %c: no %s", name, event_name(type));
	}
	rig->event = side->events[0];
	side->event_count--;
	memmove(side->events, side->events + 1, side->event_count * sizeof(side->events[0]));
	if (rig->event.type != type)
		fail_msg("side %c: %s (error %d) where %s was due", name,
			 event_name(rig->event.type), rig->event.error, event_name(type));
	return &rig->event;
}

/* ---- completions ---------------------------------------------------------------------------- */

static void pump_side(struct rig *rig, struct side *side)
{
	if (side->cq) {
		int n;

		assert_true(rig->kept_count + 16 <= RIG_KEPT);
		n = fabric_cq_poll(side->cq, rig->kept + rig->kept_count, 16);
		assert_in_range(n, 0, 16);
		rig->kept_count += (unsigned int)n;
	}
	if (side->cm) {
		int n;

		assert_true(side->event_count < RIG_EVENTS);
		n = fabric_cm_poll(side->cm, &side->events[side->event_count]);
		assert_in_range(n, 0, 1);
		/* A client that asks a second time, in an older way, may be gone by then. */
		if (n == 1 && side->events[side->event_count].type == FABRIC_CM_SHOWN_OUT)
			n = 0;
		side->event_count += (unsigned int)n;
	}
}

void rig_pump(struct rig *rig)
{
	pump_side(rig, &rig->a);
	pump_side(rig, &rig->b);
}

static bool take(struct rig *rig, const struct fabric_conn *conn, struct fabric_wc *wc)
{
	for (unsigned int i = 0; i < rig->kept_count; i++) {
		if (rig->kept[i].conn != conn)
			continue;
		*wc = rig->kept[i];
		rig->kept_count--;
		memmove(rig->kept + i, rig->kept + i + 1,
			(rig->kept_count - i) * sizeof(rig->kept[0]));
		return true;
	}
	return false;
}

struct fabric_wc rig_wait(struct rig *rig, const struct fabric_conn *conn)
{
	uint64_t deadline = now_ns() + RIG_TIMEOUT_S * NS_PER_S;
	struct fabric_wc wc = {0};

	while (!take(rig, conn, &wc)) {
		rig_pump(rig);
		if (now_ns() > deadline)
			fail_msg("no completion");
	}
	return wc;
}

struct fabric_wc rig_wait_ok(struct rig *rig, const struct fabric_conn *conn, enum fabric_op op)
{
	struct fabric_wc wc = rig_wait(rig, conn);

	if (wc.status != FABRIC_OK)
		fail_msg("%s", fabric_status_text(wc.status));
	assert_int_equal(wc.op, op);
	return wc;
}

bool rig_quiet(struct rig *rig, const struct fabric_conn *conn, unsigned int ms)
{
	uint64_t deadline = now_ns() + ms * NS_PER_MS;
	struct fabric_wc wc;

	do {
		rig_pump(rig);
		if (take(rig, conn, &wc))
			return false;
	} while (now_ns() < deadline);
	return true;
}

struct fabric_sge rig_sge(const struct side *side, uint64_t off, uint32_t len)
{
	assert_true(range_ok(off, len, RIG_BYTES));
	return (struct fabric_sge){
		.addr = addr_of(side->buf) + off, .length = len, .lkey = side->mr->lkey};
}

uint64_t rig_post(struct rig *rig, struct fabric_conn *conn, enum fabric_op op,
		  struct fabric_sge sge, uint64_t remote_addr, uint32_t rkey)
{
	struct fabric_send_wr wr = {
		.wr_id = rig->next_id++,
		.op = op,
		.flags = FABRIC_F_SIGNALED,
		.sg_list = &sge,
		.num_sge = 1,
		.remote_addr = remote_addr,
		.rkey = rkey,
	};

	assert_int_equal(fabric_post_send(conn, &wr, NULL), 0);
	return wr.wr_id;
}

uint64_t rig_recv(struct rig *rig, struct fabric_conn *conn, struct fabric_sge sge)
{
	struct fabric_recv_wr wr = {.wr_id = rig->next_id++, .sg_list = &sge, .num_sge = 1};

	assert_int_equal(fabric_post_recv(conn, &wr, NULL), 0);
	return wr.wr_id;
}

enum fabric_status rig_do(struct rig *rig, struct fabric_conn *conn, enum fabric_op op,
			  struct fabric_sge sge, uint64_t remote_addr, uint32_t rkey)
{
	uint64_t id = rig_post(rig, conn, op, sge, remote_addr, rkey);
	struct fabric_wc wc = rig_wait(rig, conn);

	assert_int_equal(wc.wr_id, id);
	if (wc.status == FABRIC_OK)
		assert_int_equal(wc.op, op);
	return wc.status;
}

enum fabric_status rig_try(struct rig *rig, unsigned int i, enum fabric_op op, uint32_t len,
			   uint64_t remote_addr, uint32_t rkey)
{
	struct fabric_sge data = rig_sge(&rig->a, 0, len);
	struct fabric_sge proof = rig_sge(&rig->a, RIG_BYTES - 8, 8);
	struct fabric_send_wr allowed = {
		.wr_id = rig->next_id + 1,
		.op = FABRIC_OP_READ,
		.flags = FABRIC_F_SIGNALED,
		.sg_list = &proof,
		.num_sge = 1,
		.remote_addr = addr_of(rig->b.buf) + RIG_BYTES - 8,
		.rkey = rig->b.mr->rkey,
	};
	struct fabric_send_wr wr = {
		.next = &allowed,
		.wr_id = rig->next_id,
		.op = op,
		.flags = FABRIC_F_SIGNALED,
		.sg_list = &data,
		.num_sge = 1,
		.remote_addr = remote_addr,
		.rkey = rkey,
	};
	struct fabric_wc first, second;

	rig->next_id += 2;
	assert_int_equal(fabric_post_send(rig->a.conn[i], &wr, NULL), 0);
	first = rig_wait(rig, rig->a.conn[i]);
	second = rig_wait(rig, rig->a.conn[i]);
	assert_int_equal(first.wr_id, wr.wr_id);
	assert_int_equal(second.wr_id, allowed.wr_id);
	return first.status != FABRIC_OK ? first.status : second.status;
}

void rig_refused(struct rig *rig, unsigned int i, enum fabric_op op, uint32_t len,
		 uint64_t remote_addr, uint32_t rkey)
{
	enum fabric_status status = rig_try(rig, i, op, len, remote_addr, rkey);

	/* Kernels' iWARP flushes where it should say why. */
	if (adapter_iwarp(rig))
		assert_int_not_equal(status, FABRIC_OK);
	else if (status != FABRIC_REMOTE_ACCESS)
		fail_msg("\"%s\" where it should be refused", fabric_status_text(status));
}

/* ---- the list ------------------------------------------------------------------------------- */

int fabric_suite_run(const struct fabric_suite *s)
{
	const struct CMUnitTest tests[] = {
		rig_test(test_devices),
		rig_test(test_send_recv),
		rig_test(test_send_many),
		rig_test(test_sges),
		rig_test(test_inline),
		rig_test(test_write_read),
		rig_test(test_zero_length),
		rig_test(test_unsignaled),
		rig_test(test_queue_full),
		rig_test(test_srq),
		rig_test(test_srq_empty),
		rig_test(test_srq_destroyed),
		rig_test(test_too_long),
		rig_test(test_no_receive),
		rig_test(test_sleep),
		rig_test(test_sleep_behind_writes),
		rig_test(test_echo_threads),
		rig_test(test_on_demand),
		rig_test(test_flush),
		rig_test(test_registration_errors),
		rig_test(test_key_checks),
		rig_test(test_dereg),
		rig_test(test_iova),
		rig_test(test_window),
		rig_test(test_window_bounds),
		rig_test(test_window_free),
		rig_test(test_window_before_first_message),
		rig_test(test_send_inv),
		rig_test(test_fence),
		rig_test(test_fence_flood_write),
		rig_test(test_fence_flood_read),
		rig_test(test_dereg_flood),
		rig_test(test_window_flood),
		rig_test(test_destroy_with_completions),
		rig_test(test_private_data),
		rig_test(test_addresses),
		rig_test(test_reject),
		rig_test(test_closed_port),
		rig_test(test_unanswered),
		rig_test(test_disconnect),
		rig_test(test_destroy_connected),
		rig_test(test_read_depth),
		rig_test(test_listen_errors),
		rig_test(test_ipv6),
		rig_test(test_cycles),
	};
	struct errtext err = {{0}};
	int failed;

	suite = s;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (s->open(&opened, &err) != 0) {
		print_message("skipped: %s\n", err.text);
		return 77;
	}
	if (getenv("LEASEHOLD_TEST_FILTER"))
		cmocka_set_test_filter(getenv("LEASEHOLD_TEST_FILTER"));
	failed = _cmocka_run_group_tests(s->name, tests, ARRAY_SIZE(tests), NULL, NULL);
	fabric_close(opened);
	return failed ? 1 : 0;
}
