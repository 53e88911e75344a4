// SPDX-License-Identifier: BSD-3-Clause
/* The suite: keys, what they refuse, and how they die. */
#include "fabric_suite_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void test_registration_errors(void **state)
{
	struct rig *rig = *state;
	struct fabric_mr *mr = NULL;
	struct fabric_pd *pd;
	uint8_t *hole;

	rig_pair(rig, 0);
	assert_int_equal(fabric_mr_reg(rig->a.pd, rig->a.buf, 0, 0, RIG_ALL, &mr), -EINVAL);
	assert_int_equal(fabric_mr_reg(rig->a.pd, rig->a.buf, 4096, UINT64_MAX - 100, RIG_ALL, &mr),
			 -EINVAL);
	assert_int_equal(fabric_mr_reg(rig->a.pd, rig->a.buf, UINT64_MAX, 4096, RIG_ALL, &mr),
			 -EINVAL);
	if (!rig->info->odp)
		assert_int_equal(fabric_mr_reg(rig->a.pd, rig->a.buf, 4096, addr_of(rig->a.buf),
					       RIG_ALL | FABRIC_ACCESS_ON_DEMAND, &mr),
				 -EOPNOTSUPP);
	if (!rig->info->software_fabric) { /* which copies, and looks when it does */
		hole = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(hole, MAP_FAILED);
		assert_int_not_equal(
			fabric_mr_reg(rig->a.pd, hole, 8192, addr_of(hole), RIG_ALL, &mr), 0);
		(void)munmap(hole, 8192);
	}
	assert_null(mr); /* outputs are written on success only */

	assert_int_equal(fabric_pd_alloc(rig->dev, &pd), 0);
	assert_ptr_equal(fabric_pd_device(pd), rig->dev);
	assert_int_equal(fabric_mr_reg(pd, rig->a.buf, 4096, addr_of(rig->a.buf), RIG_ALL, &mr), 0);
	assert_ptr_equal(mr->pd, pd);
	assert_ptr_equal(mr->addr, rig->a.buf);
	assert_int_equal(mr->length, 4096);
	assert_int_equal(mr->iova, addr_of(rig->a.buf));
	assert_int_equal(fabric_pd_free(pd), -EBUSY);
	assert_int_equal(fabric_mr_dereg(mr), 0);
	assert_int_equal(fabric_pd_free(pd), 0);
}

struct refusal {
	const char *what;
	enum fabric_op op;
	uint64_t addr;
	uint32_t rkey;
};

void test_key_checks(void **state)
{
	struct rig *rig = *state;
	struct fabric_mr *local, *read_only, *write_only, *other_pd;
	uint8_t *mem, *before;
	uint64_t at, end;

	rig_pair(rig, 0);
	rig_pair(rig, 1);
	/* A quarter of b's buffer, with memory of ours on either side. */
	mem = rig->b.buf + KIB(128);
	at = addr_of(mem);
	end = at + KIB(128);
	local = rig_reg(rig, rig->b.pd, mem, KIB(128), at, FABRIC_ACCESS_LOCAL_WRITE);
	read_only = rig_reg(rig, rig->b.pd, mem, KIB(128), at, FABRIC_ACCESS_REMOTE_READ);
	write_only = rig_reg(rig, rig->b.pd, mem, KIB(128), at, FABRIC_ACCESS_REMOTE_WRITE);
	other_pd = rig_reg(rig, rig->a.pd, mem, KIB(128), at, RIG_ALL);
	before = malloc(RIG_BYTES);
	assert_non_null(before);
	pattern_fill(rig->b.buf, RIG_BYTES, 20);
	memcpy(before, rig->b.buf, RIG_BYTES);
	pattern_fill(rig->a.buf, RIG_BYTES, 21);

	/* What they do allow. */
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_READ, 100, end - 100, read_only->rkey),
			 FABRIC_OK);
	assert_memory_equal(rig->a.buf, before + KIB(256) - 100, 100);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_WRITE, 100, at, write_only->rkey), FABRIC_OK);
	assert_memory_equal(mem, rig->a.buf, 100);
	memcpy(rig->b.buf, before, RIG_BYTES);

	const struct refusal refusals[] = {
		{"write, another index", FABRIC_OP_WRITE, at, write_only->rkey ^ 0x5a5a00},
		{"write, another key byte", FABRIC_OP_WRITE, at, write_only->rkey ^ 1},
		{"read, another index", FABRIC_OP_READ, at, read_only->rkey ^ 0x5a5a00},
		{"read, another key byte", FABRIC_OP_READ, at, read_only->rkey ^ 1},
		{"write, another protection domain", FABRIC_OP_WRITE, at, other_pd->rkey},
		{"read, another protection domain", FABRIC_OP_READ, at, other_pd->rkey},
		{"write, no remote access", FABRIC_OP_WRITE, at, local->rkey},
		{"read, no remote access", FABRIC_OP_READ, at, local->rkey},
		{"write, read only", FABRIC_OP_WRITE, at, read_only->rkey},
		{"read, write only", FABRIC_OP_READ, at, write_only->rkey},
		{"write over the end", FABRIC_OP_WRITE, end - 99, write_only->rkey},
		{"read over the end", FABRIC_OP_READ, end - 99, read_only->rkey},
		{"write behind the end", FABRIC_OP_WRITE, end, write_only->rkey},
		{"write over the start", FABRIC_OP_WRITE, at - 1, write_only->rkey},
		{"read over the start", FABRIC_OP_READ, at - 1, read_only->rkey},
		{"write that wraps", FABRIC_OP_WRITE, UINT64_MAX - 49, write_only->rkey},
		{"read that wraps", FABRIC_OP_READ, UINT64_MAX - 49, read_only->rkey},
		{"write at the top", FABRIC_OP_WRITE, UINT64_MAX - 99, write_only->rkey},
		{"write at 0", FABRIC_OP_WRITE, 0, write_only->rkey},
	};

	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		const struct refusal *r = &refusals[i];

		print_message("%s\n", r->what);
		if (adapter_iwarp(rig) && r->op == FABRIC_OP_READ &&
		    (r->rkey == local->rkey || r->rkey == write_only->rkey))
			continue; /* siw lets a READ have whatever is registered */
		rig_refused(rig, 0, r->op, 100, r->addr, r->rkey);
		assert_memory_equal(rig->b.buf, before, RIG_BYTES);
		/* The pair is in error, the other one is not. */
		assert_int_equal(fabric_post_send(rig->a.conn[0],
						  &(struct fabric_send_wr){.op = FABRIC_OP_SEND},
						  NULL),
				 -ENOTCONN);
		assert_int_equal(rig_try(rig, 1, FABRIC_OP_READ, 100, at, read_only->rkey),
				 FABRIC_OK);
		rig_repair(rig, 0);
	}

	/* Several packets, the last of which runs over: none of its bytes lands. */
	pattern_fill(rig->a.buf, RIG_BYTES, 22);
	rig_refused(rig, 0, FABRIC_OP_WRITE, KIB(64), end - KIB(64) + 1, write_only->rkey);
	assert_memory_equal(rig->b.buf + KIB(256), before + KIB(256), KIB(256));
	rig_repair(rig, 0);

	/* Our own key: a local one of nothing, and a receive into what may not be written. */
	{
		struct fabric_sge sge = rig_sge(&rig->a, 0, 100);
		enum fabric_status status;

		sge.lkey ^= 0x5a5a00;
		status = rig_do(rig, rig->a.conn[0], FABRIC_OP_WRITE, sge, at, write_only->rkey);
		print_message("a wrong lkey: %s\n", fabric_status_text(status));
		assert_int_not_equal(status, FABRIC_OK); /* rxe only flushes */
		if (rig->info->software_fabric)
			assert_int_equal(status, FABRIC_LOCAL_PROTECTION);
		assert_memory_equal(mem, before + KIB(128), 100);
		rig_repair(rig, 0);
		sge = (struct fabric_sge){.addr = at, .length = 100, .lkey = read_only->lkey};
		(void)rig_recv(rig, rig->b.conn[0], sge);
		(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_SEND, rig_sge(&rig->a, 0, 50), 0, 0);
		status = rig_wait(rig, rig->b.conn[0]).status;
		print_message("a receive into read-only memory: %s\n", fabric_status_text(status));
		assert_int_not_equal(status, FABRIC_OK);
		assert_memory_equal(mem, before + KIB(128), 100);
	}
	free(before);
}

void test_dereg(void **state)
{
	struct rig *rig = *state;
	struct fabric_mr *mr, *again;
	struct fabric_wc wc;
	uint64_t at;
	uint32_t rkey;

	rig_pair(rig, 0);
	rig_pair(rig, 1);
	at = addr_of(rig->b.buf) + 4096;
	mr = rig_reg(rig, rig->b.pd, rig->b.buf + 4096, 8192, at, RIG_ALL);
	pattern_fill(rig->a.buf, 8192, 30);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_WRITE, 8192, at, mr->rkey), FABRIC_OK);
	assert_memory_equal(rig->b.buf + 4096, rig->a.buf, 8192);
	rkey = mr->rkey;
	rig_dereg(rig, mr);

	(void)rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 0, 100));
	pattern_fill(rig->a.buf, 8192, 31);
	rig_refused(rig, 0, FABRIC_OP_WRITE, 8192, at, rkey);
	pattern_fill(rig->a.buf, 8192, 30);
	assert_memory_equal(rig->b.buf + 4096, rig->a.buf, 8192);
	/* Both ends are in error: what the owner had posted is flushed. */
	wc = rig_wait(rig, rig->b.conn[0]);
	assert_int_equal(wc.op, FABRIC_OP_RECV);
	assert_int_equal(wc.status, FABRIC_FLUSHED);
	assert_int_equal(
		fabric_post_recv(rig->b.conn[0], &(struct fabric_recv_wr){.wr_id = 1}, NULL),
		-ENOTCONN);
	assert_int_equal(
		rig_try(rig, 1, FABRIC_OP_WRITE, 100, addr_of(rig->b.buf), rig->b.mr->rkey),
		FABRIC_OK);
	rig_repair(rig, 0);

	/* A new registration of the same memory does not bring the old key back. */
	again = rig_reg(rig, rig->b.pd, rig->b.buf + 4096, 8192, at, RIG_ALL);
	assert_int_not_equal(again->rkey, rkey);
	rig_refused(rig, 0, FABRIC_OP_READ, 100, at, rkey);
	rig_repair(rig, 0);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_WRITE, 8192, at, again->rkey), FABRIC_OK);
}

void test_iova(void **state)
{
	struct rig *rig = *state;
	struct fabric_mr *mr;
	struct fabric_sge sge;
	uint64_t iova, off = 4096 + 100; /* the registration begins inside a page */
	uint32_t len = KIB(128) + 77;

	if (adapter_iwarp(rig)) /* siw takes it, and does not translate */
		skip();
	rig_pair(rig, 0);
	iova = (0x7ull << 52) + addr_of(rig->b.buf + off) % 4096;
	mr = rig_reg(rig, rig->b.pd, rig->b.buf + off, len, iova, RIG_ALL);
	assert_int_equal(mr->iova, iova);
	pattern_fill(rig->a.buf, len, 40);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_WRITE, len, iova, mr->rkey), FABRIC_OK);
	assert_memory_equal(rig->b.buf + off, rig->a.buf, len);
	assert_int_equal(rig->b.buf[off - 1], 0);
	assert_int_equal(rig->b.buf[off + len], 0);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_READ, 4097, iova + 4095, mr->rkey), FABRIC_OK);
	assert_memory_equal(rig->a.buf, rig->b.buf + off + 4095, 4097);

	/* Of our own requests too the address is in the iova space. */
	sge = (struct fabric_sge){.addr = iova + 1234, .length = 5001, .lkey = mr->lkey};
	assert_int_equal(rig_do(rig, rig->b.conn[0], FABRIC_OP_WRITE, sge, addr_of(rig->a.buf) + 3,
				rig->a.mr->rkey),
			 FABRIC_OK);
	assert_int_equal(rig_do(rig, rig->b.conn[0], FABRIC_OP_READ, rig_sge(&rig->b, 0, 1),
				addr_of(rig->a.buf), rig->a.mr->rkey),
			 FABRIC_OK);
	assert_memory_equal(rig->a.buf + 3, rig->b.buf + off + 1234, 5001);

	rig_refused(rig, 0, FABRIC_OP_READ, 100, addr_of(rig->b.buf) + off, mr->rkey);
	rig_repair(rig, 0);
	rig_refused(rig, 0, FABRIC_OP_READ, 100, iova + len - 99, mr->rkey);
	rig_repair(rig, 0);
	rig_refused(rig, 0, FABRIC_OP_READ, 100, iova - 1, mr->rkey);
}

/* ---- windows -------------------------------------------------------------------------------- */

#define WINDOW_AT    8192
#define WINDOW_BYTES 16384

struct window {
	struct fabric_mr *mr; /* all of b's buffer */
	struct fabric_mw *mw;
	uint64_t addr; /* of the window's first byte */
};

static void bind_window(struct rig *rig, struct window *w, unsigned int pair, unsigned int access)
{
	struct fabric_send_wr wr = {
		.wr_id = rig->next_id++,
		.op = FABRIC_OP_BIND_MW,
		.flags = FABRIC_F_SIGNALED,
		.bind = {.mw = w->mw,
			 .mr = w->mr,
			 .addr = w->addr,
			 .length = WINDOW_BYTES,
			 .access = access},
	};
	uint32_t before = w->mw->rkey;

	assert_int_equal(fabric_post_send(rig->b.conn[pair], &wr, NULL), 0);
	assert_int_equal(wr.rkey, w->mw->rkey);
	assert_int_not_equal(wr.rkey, before);
	assert_int_equal(rig_wait_ok(rig, rig->b.conn[pair], FABRIC_OP_BIND_MW).wr_id, wr.wr_id);
}

static void invalidate(struct rig *rig, unsigned int pair, uint32_t rkey)
{
	struct fabric_send_wr wr = {.wr_id = rig->next_id++,
				    .op = FABRIC_OP_LOCAL_INV,
				    .flags = FABRIC_F_SIGNALED,
				    .rkey = rkey};

	assert_int_equal(fabric_post_send(rig->b.conn[pair], &wr, NULL), 0);
	assert_int_equal(rig_wait_ok(rig, rig->b.conn[pair], FABRIC_OP_LOCAL_INV).wr_id, wr.wr_id);
}

static struct window window_new(struct rig *rig)
{
	struct window w;

	if (!rig->info->windows_type2) {
		struct fabric_mw *mw;

		assert_int_equal(fabric_mw_alloc(rig->b.pd, &mw), -EOPNOTSUPP);
		skip();
	}
	w.mr = rig_reg(rig, rig->b.pd, rig->b.buf, RIG_BYTES, addr_of(rig->b.buf),
		       RIG_ALL | FABRIC_ACCESS_MW_BIND);
	w.mw = rig_window(rig, rig->b.pd);
	w.addr = addr_of(rig->b.buf) + WINDOW_AT;
	return w;
}

void test_window(void **state)
{
	const unsigned int both = FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE;
	struct rig *rig = *state;
	struct window w;
	uint32_t old;

	rig_pair(rig, 0);
	rig_pair(rig, 1);
	w = window_new(rig);
	bind_window(rig, &w, 0, both);
	pattern_fill(rig->a.buf, WINDOW_BYTES, 50);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_WRITE, WINDOW_BYTES, w.addr, w.mw->rkey),
			 FABRIC_OK);
	assert_memory_equal(rig->b.buf + WINDOW_AT, rig->a.buf, WINDOW_BYTES);
	assert_int_equal(rig->b.buf[WINDOW_AT - 1], 0);
	assert_int_equal(rig->b.buf[WINDOW_AT + WINDOW_BYTES], 0);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_READ, 777, w.addr + 333, w.mw->rkey), FABRIC_OK);
	assert_memory_equal(rig->a.buf, rig->b.buf + WINDOW_AT + 333, 777);

	/* Another queue pair of the same protection domain. */
	memset(rig->a.buf, 0x77, 100);
	rig_refused(rig, 1, FABRIC_OP_WRITE, 100, w.addr, w.mw->rkey);
	assert_int_not_equal(rig->b.buf[WINDOW_AT], 0x77);
	rig_repair(rig, 1);

	/* The registration may not go before the window. */
	assert_int_equal(fabric_mr_dereg(w.mr), -EBUSY);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_READ, 100, w.addr, w.mw->rkey), FABRIC_OK);

	/* Invalidated, and bound again: to less access, under another key. */
	old = w.mw->rkey;
	invalidate(rig, 0, old);
	bind_window(rig, &w, 0, FABRIC_ACCESS_REMOTE_READ);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_READ, 100, w.addr, w.mw->rkey), FABRIC_OK);
	memset(rig->a.buf, 0x77, 100);
	rig_refused(rig, 0, FABRIC_OP_WRITE, 100, w.addr, w.mw->rkey);
	assert_int_not_equal(rig->b.buf[WINDOW_AT], 0x77);
	rig_window_free(rig, w.mw);
	rig_repair(rig, 0);

	w.mw = rig_window(rig, rig->b.pd);
	bind_window(rig, &w, 0, both);
	old = w.mw->rkey;
	invalidate(rig, 0, old);
	bind_window(rig, &w, 0, both);
	rig_refused(rig, 0, FABRIC_OP_READ, 100, w.addr, old);
	rig_window_free(rig, w.mw);
	rig_repair(rig, 0);

	w.mw = rig_window(rig, rig->b.pd);
	bind_window(rig, &w, 0, both);
	invalidate(rig, 0, w.mw->rkey);
	memset(rig->a.buf, 0x77, 100);
	rig_refused(rig, 0, FABRIC_OP_WRITE, 100, w.addr, w.mw->rkey);
	assert_int_not_equal(rig->b.buf[WINDOW_AT], 0x77);
	rig_dereg(rig, w.mr); /* nothing is bound any more */
}

/* rxe does not bound a window (FACTS): the target's probe has to know, so this only reports. */
void test_window_bounds(void **state)
{
	struct rig *rig = *state;
	struct window w;
	enum fabric_status status;

	rig_pair(rig, 0);
	w = window_new(rig);
	bind_window(rig, &w, 0, FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE);
	memset(rig->a.buf, 0x77, 100);
	status = rig_try(rig, 0, FABRIC_OP_WRITE, 100, w.addr + WINDOW_BYTES - 50, w.mw->rkey);
	if (rig->info->software_fabric) {
		assert_int_equal(status, FABRIC_REMOTE_ACCESS);
		assert_int_equal(rig->b.buf[WINDOW_AT + WINDOW_BYTES], 0);
	} else {
		print_message("window bounds: %s\n",
			      status == FABRIC_OK ? "not enforced" : "enforced");
	}
}

void test_window_free(void **state)
{
	struct rig *rig = *state;
	struct window w;
	uint32_t rkey;

	rig_pair(rig, 0);
	rig_pair(rig, 1);
	w = window_new(rig);
	bind_window(rig, &w, 0, FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE);
	rkey = w.mw->rkey;
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_READ, 100, w.addr, rkey), FABRIC_OK);
	rig_window_free(rig, w.mw); /* no work request needed */
	memset(rig->a.buf, 0x77, 100);
	rig_refused(rig, 0, FABRIC_OP_WRITE, 100, w.addr, rkey);
	assert_int_not_equal(rig->b.buf[WINDOW_AT], 0x77);
	rig_repair(rig, 0);

	/* Nor a queue pair that works. */
	w.mw = rig_window(rig, rig->b.pd);
	bind_window(rig, &w, 1, FABRIC_ACCESS_REMOTE_READ);
	assert_int_equal(fabric_conn_fence(rig->b.conn[1]), 0);
	rig_window_free(rig, w.mw);
	rig_dereg(rig, w.mr);
}

/* The accepting side may not speak first; what concerns nobody else it does at once. */
void test_window_before_first_message(void **state)
{
	struct rig *rig = *state;
	struct window w;

	if (!rig->info->windows_type2)
		skip();
	rig_listen(rig, suite->addr);
	rig_request(rig, 0);
	rig_qp(rig, &rig->b, 0);
	assert_int_equal(fabric_accept(rig->b.conn[0], &rig->server), 0);
	(void)rig_event(rig, &rig->a, FABRIC_CM_ESTABLISHED);
	w = window_new(rig);
	bind_window(rig, &w, 0, FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE);
	invalidate(rig, 0, w.mw->rkey);
	bind_window(rig, &w, 0, FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_WRITE, 100, w.addr, w.mw->rkey), FABRIC_OK);
}

void test_send_inv(void **state)
{
	struct rig *rig = *state;
	struct fabric_sge sge;
	struct fabric_send_wr wr = {.wr_id = 9,
				    .op = FABRIC_OP_SEND_INV,
				    .flags = FABRIC_F_SIGNALED,
				    .sg_list = &sge,
				    .num_sge = 1};
	struct fabric_wc wc;
	struct window w;

	rig_pair(rig, 0);
	w = window_new(rig);
	bind_window(rig, &w, 0, FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_READ, 100, w.addr, w.mw->rkey), FABRIC_OK);
	(void)rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 0, 100));
	sge = rig_sge(&rig->a, 0, 60);
	wr.rkey = w.mw->rkey;
	assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), 0);
	assert_int_equal(rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_SEND).wr_id, 9);
	wc = rig_wait_ok(rig, rig->b.conn[0], FABRIC_OP_RECV);
	assert_int_equal(wc.byte_len, 60);
	print_message("the receive %s what it invalidated\n",
		      wc.flags & FABRIC_WC_WITH_INV ? "says" : "does not say");
	if (wc.flags & FABRIC_WC_WITH_INV)
		assert_int_equal(wc.inv_rkey, w.mw->rkey);
	else
		assert_false(rig->info->software_fabric);
	rig_refused(rig, 0, FABRIC_OP_READ, 100, w.addr, w.mw->rkey);
}
