// SPDX-License-Identifier: BSD-3-Clause
/*
 * The suite: after a fence, a deregistration or a freed window has returned, nothing that is still
 * under way changes memory. The traffic runs on a thread of its own meanwhile.
 */
#include "fabric_suite_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void test_fence(void **state)
{
	struct rig *rig = *state;
	struct fabric_sge sge;
	struct fabric_wc wc;
	uint64_t first;

	rig_pair(rig, 0);
	rig_pair(rig, 1);
	first = rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 0, 100));
	(void)rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 100, 100));
	assert_int_equal(fabric_conn_fence(rig->b.conn[0]), 0);
	assert_int_equal(fabric_conn_fence(rig->b.conn[0]), 0);
	for (unsigned int i = 0; i < 2; i++) {
		wc = rig_wait(rig, rig->b.conn[0]);
		assert_int_equal(wc.status, FABRIC_FLUSHED);
		assert_int_equal(wc.op, FABRIC_OP_RECV);
		assert_int_equal(wc.wr_id, first + i);
	}
	assert_int_equal(
		fabric_post_recv(rig->b.conn[0], &(struct fabric_recv_wr){.wr_id = 1}, NULL),
		-ENOTCONN);
	assert_int_equal(fabric_post_send(rig->b.conn[0],
					  &(struct fabric_send_wr){.op = FABRIC_OP_SEND}, NULL),
			 -ENOTCONN);
	if (adapter_iwarp(rig)) /* siw tells the peer through the CM, and may lose what it posts */
		return;
	/* The peer finds out by using it, in bounded time, or has found out by now. */
	sge = rig_sge(&rig->a, 0, 100);
	if (fabric_post_send(rig->a.conn[0],
			     &(struct fabric_send_wr){.op = FABRIC_OP_READ,
						      .flags = FABRIC_F_SIGNALED,
						      .sg_list = &sge,
						      .num_sge = 1,
						      .remote_addr = addr_of(rig->b.buf),
						      .rkey = rig->b.mr->rkey},
			     NULL) == 0) {
		wc = rig_wait(rig, rig->a.conn[0]);
		print_message("the peer sees: %s\n", fabric_status_text(wc.status));
		assert_int_not_equal(wc.status, FABRIC_OK);
	}
	assert_int_equal(
		rig_try(rig, 1, FABRIC_OP_WRITE, 100, addr_of(rig->b.buf), rig->b.mr->rkey),
		FABRIC_OK);
}

#define FLOOD_BYTES  KIB(64)
#define FLOOD_DEPTH  6
#define FLOOD_ROUNDS 40

/* One thread that polls both queues and keeps requests of pair 0 in flight, until told to stop. */
struct flood {
	struct rig *rig;
	enum fabric_op op;
	uint64_t remote_addr;
	uint32_t rkey;
	uint8_t *source; /* rewritten all the time: each request carries other bytes */
	unsigned int outstanding;
	atomic_bool stop;
	atomic_uint completed, failed;
};

static void flood_poll(struct flood *f, struct fabric_cq *cq)
{
	struct fabric_wc wc[16];
	int n = fabric_cq_poll(cq, wc, 16);

	for (int i = 0; i < n; i++) {
		if (wc[i].conn != f->rig->a.conn[0])
			continue;
		f->outstanding--;
		atomic_fetch_add(wc[i].status == FABRIC_OK ? &f->completed : &f->failed, 1);
	}
}

static void *flood_thread(void *arg)
{
	struct flood *f = arg;
	unsigned int turn = 0;

	while (!atomic_load(&f->stop)) {
		struct fabric_sge sge = {.addr = addr_of(f->rig->a.buf),
					 .length = FLOOD_BYTES,
					 .lkey = f->rig->a.mr->lkey};
		struct fabric_send_wr wr = {.op = f->op,
					    .flags = FABRIC_F_SIGNALED,
					    .sg_list = &sge,
					    .num_sge = 1,
					    .remote_addr = f->remote_addr,
					    .rkey = f->rkey};

		memset(f->source, (int)++turn, FLOOD_BYTES);
		while (f->outstanding < FLOOD_DEPTH &&
		       fabric_post_send(f->rig->a.conn[0], &wr, NULL) == 0)
			f->outstanding++;
		flood_poll(f, f->rig->a.cq);
		flood_poll(f, f->rig->b.cq);
	}
	return NULL;
}

static bool flood_start(struct flood *f, pthread_t *thread, unsigned int round)
{
	uint64_t deadline = now_ns() + RIG_TIMEOUT_S * NS_PER_S;

	if (pthread_create(thread, NULL, flood_thread, f) != 0)
		return false;
	while (atomic_load(&f->completed) < 3 && now_ns() < deadline)
		usleep(200);
	usleep(round * 997 % 3000);
	return atomic_load(&f->completed) >= 3;
}

/* How often `mem` changed in 20 ms while the traffic went on. */
static unsigned int changes(const uint8_t *mem, uint8_t *copy)
{
	uint64_t deadline = now_ns() + 20 * NS_PER_MS;
	unsigned int n = 0;

	memcpy(copy, mem, FLOOD_BYTES);
	while (now_ns() < deadline) {
		if (memcmp(copy, mem, FLOOD_BYTES) == 0)
			continue;
		n++;
		memcpy(copy, mem, FLOOD_BYTES);
	}
	return n;
}

/* An adapter may finish what it was placing; see fabric_conn_fence(). */
static void settle(const struct rig *rig)
{
	if (!rig->info->software_fabric)
		usleep(20000);
}

enum killer {
	KILL_FENCE_TARGET,
	KILL_FENCE_OWN,
	KILL_DEREG,
	KILL_WINDOW
};

static void bind_all(struct rig *rig, struct fabric_mr *mr, struct fabric_mw *mw)
{
	struct fabric_send_wr wr = {
		.op = FABRIC_OP_BIND_MW,
		.flags = FABRIC_F_SIGNALED,
		.bind = {.mw = mw,
			 .mr = mr,
			 .addr = mr->iova,
			 .length = mr->length,
			 .access = FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE},
	};

	assert_int_equal(fabric_post_send(rig->b.conn[0], &wr, NULL), 0);
	(void)rig_wait_ok(rig, rig->b.conn[0], FABRIC_OP_BIND_MW);
}

static void flood_round(struct rig *rig, enum killer killer, unsigned int round, uint8_t *copy)
{
	uint8_t *mem = killer == KILL_FENCE_OWN ? rig->a.buf : rig->b.buf + KIB(128);
	struct fabric_mr *mr = NULL;
	struct fabric_mw *mw = NULL;
	struct flood f = {.rig = rig, .remote_addr = addr_of(rig->b.buf) + KIB(128)};
	unsigned int changed = 0;
	pthread_t thread;
	bool flowing;
	int rc = 0;

	f.op = killer == KILL_FENCE_OWN ? FABRIC_OP_READ : FABRIC_OP_WRITE;
	f.source = killer == KILL_FENCE_OWN ? rig->b.buf + KIB(128) : rig->a.buf;
	mr = rig_reg(rig, rig->b.pd, rig->b.buf + KIB(128), FLOOD_BYTES, f.remote_addr,
		     RIG_ALL | (killer == KILL_WINDOW ? FABRIC_ACCESS_MW_BIND : 0u));
	if (killer == KILL_WINDOW) {
		mw = rig_window(rig, rig->b.pd);
		bind_all(rig, mr, mw);
	}
	f.rkey = mw ? mw->rkey : mr->rkey;

	flowing = flood_start(&f, &thread, round);
	if (flowing) {
		switch (killer) {
		case KILL_FENCE_TARGET:
			rc = fabric_conn_fence(rig->b.conn[0]);
			settle(rig);
			break;
		case KILL_FENCE_OWN:
			rc = fabric_conn_fence(rig->a.conn[0]);
			settle(rig);
			break;
		case KILL_DEREG:
			rig_dereg(rig, mr);
			mr = NULL;
			break;
		case KILL_WINDOW:
			rig_window_free(rig, mw);
			settle(rig);
			break;
		}
		changed = changes(mem, copy);
	}
	atomic_store(&f.stop, true);
	(void)pthread_join(thread, NULL);
	rig->kept_count = 0;
	if (mr)
		rig_dereg(rig, mr);
	assert_true(flowing);
	assert_int_equal(rc, 0);
	if (changed)
		fail_msg("round %u: memory changed %u times afterwards", round, changed);
}

static void flood(struct rig *rig, enum killer killer)
{
	uint8_t *copy = malloc(FLOOD_BYTES);
	unsigned int rounds = rig->info->software_fabric ? FLOOD_ROUNDS : FLOOD_ROUNDS / 2;

	assert_non_null(copy);
	for (unsigned int round = 0; round < rounds; round++) {
		flood_round(rig, killer, round, copy);
		rig_repair(rig, 0);
	}
	free(copy);
}

void test_fence_flood_write(void **state)
{
	rig_pair(*state, 0);
	flood(*state, KILL_FENCE_TARGET);
}

void test_fence_flood_read(void **state)
{
	rig_pair(*state, 0);
	flood(*state, KILL_FENCE_OWN);
}

void test_dereg_flood(void **state)
{
	rig_pair(*state, 0);
	flood(*state, KILL_DEREG);
}

void test_window_flood(void **state)
{
	struct rig *rig = *state;

	if (!rig->info->windows_type2)
		skip();
	rig_pair(rig, 0);
	flood(rig, KILL_WINDOW);
}

/*
 * A connection that goes while its completions are still in the queue takes them along; those of its
 * neighbours stay, in order. Many times over, so that numbers of queue pairs come back into use.
 */
void test_destroy_with_completions(void **state)
{
	struct rig *rig = *state;
	struct fabric_wc wc;

	rig_pair(rig, 1);
	for (unsigned int round = 0; round < 60; round++) {
		uint64_t ids[4];

		rig_pair(rig, 0);
		for (unsigned int i = 0; i < 4; i++) {
			(void)rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 0, 100));
			ids[i] = rig_recv(rig, rig->b.conn[1], rig_sge(&rig->b, 100, 100));
		}
		/* Both get completions in b's queue: by a flush, without polling. */
		for (unsigned int i = 0; i < 4; i++)
			(void)rig_post(rig, rig->a.conn[1], FABRIC_OP_SEND,
				       rig_sge(&rig->a, 0, 10 + i), 0, 0);
		assert_int_equal(fabric_conn_fence(rig->b.conn[0]), 0);
		usleep(500);
		rig_unpair(rig, 0);
		rig_pair(rig, 0);
		(void)rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 0, 100));
		for (unsigned int i = 0; i < 4; i++) {
			wc = rig_wait_ok(rig, rig->b.conn[1], FABRIC_OP_RECV);
			assert_int_equal(wc.wr_id, ids[i]);
			assert_int_equal(wc.byte_len, 10 + i);
			(void)rig_wait_ok(rig, rig->a.conn[1], FABRIC_OP_SEND);
		}
		assert_true(rig_quiet(rig, rig->b.conn[0], 1));
		assert_int_equal(rig->kept_count, 0);
		rig_unpair(rig, 0);
	}
}
