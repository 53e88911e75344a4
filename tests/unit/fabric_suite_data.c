// SPDX-License-Identifier: BSD-3-Clause
/* The suite: moving bytes, and learning that they moved. */
#include "fabric_suite_internal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void test_devices(void **state)
{
	struct rig *rig = *state;

	assert_non_null(fabric_name(rig->f));
	assert_true(fabric_device_count(rig->f) > 0);
	for (unsigned int i = 0; i < fabric_device_count(rig->f); i++) {
		const struct fabric_device_info *info =
			fabric_device_info(fabric_device_at(rig->f, i));

		print_message("%s: odp %d, windows %d, flush %d, sge %u, read sge %u, read depth "
			      "%u, inline %u, qp_wr %u\n",
			      info->name, info->odp, info->windows_type2, info->flush,
			      info->max_sge, info->max_read_sge, info->max_read_depth,
			      info->max_inline_bytes, info->max_qp_wr);
		assert_true(info->name[0] != '\0');
		assert_in_range(info->max_sge, 1, FABRIC_MAX_SGE);
		assert_in_range(info->max_read_sge, 1, FABRIC_MAX_SGE);
		assert_true(info->max_read_depth > 0);
		assert_true(info->max_qp_wr >= RIG_MAX_WR);
		assert_true(info->max_mr_bytes >= RIG_BYTES);
	}
}

void test_send_recv(void **state)
{
	struct rig *rig = *state;
	struct fabric_wc wc;
	uint64_t sent, received;

	rig_pair(rig, 0);
	pattern_fill(rig->a.buf, 3000, 1);
	received = rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 100, 4096));
	sent = rig_post(rig, rig->a.conn[0], FABRIC_OP_SEND, rig_sge(&rig->a, 0, 3000), 0, 0);
	wc = rig_wait_ok(rig, rig->b.conn[0], FABRIC_OP_RECV);
	assert_int_equal(wc.wr_id, received);
	assert_int_equal(wc.byte_len, 3000);
	assert_int_equal(wc.flags, 0);
	assert_memory_equal(rig->b.buf + 100, rig->a.buf, 3000);
	assert_int_equal(rig->b.buf[99], 0);
	assert_int_equal(rig->b.buf[3100], 0);
	wc = rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_SEND);
	assert_int_equal(wc.wr_id, sent);
	assert_true(rig_quiet(rig, rig->a.conn[0], 10));

	/* The other way, and an empty message. */
	(void)rig_recv(rig, rig->a.conn[0], rig_sge(&rig->a, 8192, 64));
	(void)rig_recv(rig, rig->a.conn[0], rig_sge(&rig->a, 8256, 64));
	(void)rig_post(rig, rig->b.conn[0], FABRIC_OP_SEND, rig_sge(&rig->b, 100, 64), 0, 0);
	(void)rig_post(rig, rig->b.conn[0], FABRIC_OP_SEND, rig_sge(&rig->b, 100, 0), 0, 0);
	wc = rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_RECV);
	assert_int_equal(wc.byte_len, 64);
	assert_memory_equal(rig->a.buf + 8192, rig->b.buf + 100, 64);
	wc = rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_RECV);
	assert_int_equal(wc.byte_len, 0);
}

/* Three connections at once, messages of many sizes, in order on each. */
void test_send_many(void **state)
{
	enum {
		MESSAGES = 120,
		SLOT = 2048,
		WINDOW = 16
	};
	static const uint64_t region = KIB(64); /* of each pair, in either buffer */
	struct rig *rig = *state;
	unsigned int sent[RIG_PAIRS] = {0}, received[RIG_PAIRS] = {0}, done = 0;

	pattern_fill((rig_pair(rig, 0), rig->a.buf), RIG_BYTES, 2);
	rig_pair(rig, 1);
	rig_pair(rig, 2);
	for (unsigned int i = 0; i < RIG_PAIRS; i++)
		for (unsigned int m = 0; m < WINDOW; m++)
			(void)rig_recv(rig, rig->b.conn[i],
				       rig_sge(&rig->b, i * region + m * SLOT, SLOT));
	while (done < RIG_PAIRS * MESSAGES) {
		unsigned int i = done % RIG_PAIRS;
		struct fabric_wc wc;

		while (sent[i] < MESSAGES && sent[i] < received[i] + WINDOW) {
			uint32_t len = (sent[i] * 61 + i * 7) % SLOT + 1;

			(void)rig_post(rig, rig->a.conn[i], FABRIC_OP_SEND,
				       rig_sge(&rig->a, sent[i] * 17 + i * region, len), 0, 0);
			sent[i]++;
		}
		wc = rig_wait_ok(rig, rig->b.conn[i], FABRIC_OP_RECV);
		assert_int_equal(wc.byte_len, (received[i] * 61 + i * 7) % SLOT + 1);
		assert_memory_equal(rig->b.buf + i * region + received[i] % WINDOW * SLOT,
				    rig->a.buf + received[i] * 17 + i * region, wc.byte_len);
		(void)rig_recv(rig, rig->b.conn[i],
			       rig_sge(&rig->b, i * region + received[i] % WINDOW * SLOT, SLOT));
		(void)rig_wait_ok(rig, rig->a.conn[i], FABRIC_OP_SEND);
		received[i]++;
		done++;
	}
}

void test_sges(void **state)
{
	struct rig *rig = *state;
	struct fabric_sge from[4], to[3];
	struct fabric_send_wr wr = {
		.wr_id = 1, .op = FABRIC_OP_SEND, .flags = FABRIC_F_SIGNALED, .sg_list = from};
	struct fabric_recv_wr rwr = {.wr_id = 2, .sg_list = to, .num_sge = 3};
	struct fabric_sge saved[4];
	struct fabric_wc wc;
	uint8_t whole[6000];

	rig_pair(rig, 0);
	pattern_fill(rig->a.buf, RIG_BYTES, 3);
	from[0] = rig_sge(&rig->a, 5, 1);
	from[1] = rig_sge(&rig->a, 5000, 3999);
	from[2] = rig_sge(&rig->a, 100, 1000);
	from[3] = rig_sge(&rig->a, 20001, 1000);
	memcpy(whole, rig->a.buf + 5, 1);
	memcpy(whole + 1, rig->a.buf + 5000, 3999);
	memcpy(whole + 4000, rig->a.buf + 100, 1000);
	memcpy(whole + 5000, rig->a.buf + 20001, 1000);

	/* Gathered and scattered, split at other places. */
	to[0] = rig_sge(&rig->b, 30003, 2500);
	to[1] = rig_sge(&rig->b, 1, 7);
	to[2] = rig_sge(&rig->b, 50000, 10000);
	assert_int_equal(fabric_post_recv(rig->b.conn[0], &rwr, NULL), 0);
	memset(to, 0xff, sizeof(to)); /* the list was copied */
	wr.num_sge = 4;
	memcpy(saved, from, sizeof(from));
	assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), 0);
	memset(from, 0xff, sizeof(from));
	wc = rig_wait_ok(rig, rig->b.conn[0], FABRIC_OP_RECV);
	assert_int_equal(wc.byte_len, 6000);
	assert_memory_equal(rig->b.buf + 30003, whole, 2500);
	assert_memory_equal(rig->b.buf + 1, whole + 2500, 7);
	assert_memory_equal(rig->b.buf + 50000, whole + 2507, 3493);
	assert_int_equal(rig->b.buf[50000 + 3493], 0);
	(void)rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_SEND);

	/* A write gathers; more entries than the queue pair has are refused. */
	memcpy(from, saved, sizeof(from));
	wr.op = FABRIC_OP_WRITE;
	wr.remote_addr = addr_of(rig->b.buf) + 100001;
	wr.rkey = rig->b.mr->rkey;
	assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), 0);
	(void)rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_WRITE);
	assert_int_equal(rig_do(rig, rig->a.conn[0], FABRIC_OP_READ, rig_sge(&rig->a, 300000, 1),
				addr_of(rig->b.buf), rig->b.mr->rkey),
			 FABRIC_OK);
	assert_memory_equal(rig->b.buf + 100001, whole, 6000);
	wr.num_sge = RIG_MAX_SGE + 1;
	assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), -EINVAL);

	/* A read scatters where the device can. */
	if (rig->info->max_read_sge < 3)
		return;
	pattern_fill(rig->b.buf, 6000, 4);
	from[0] = rig_sge(&rig->a, 200003, 2500);
	from[1] = rig_sge(&rig->a, 250000, 7);
	from[2] = rig_sge(&rig->a, 300001, 3493);
	wr.num_sge = 3;
	wr.op = FABRIC_OP_READ;
	wr.remote_addr = addr_of(rig->b.buf);
	assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), 0);
	(void)rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_READ);
	assert_memory_equal(rig->a.buf + 200003, rig->b.buf, 2500);
	assert_memory_equal(rig->a.buf + 250000, rig->b.buf + 2500, 7);
	assert_memory_equal(rig->a.buf + 300001, rig->b.buf + 2507, 3493);
}

void test_inline(void **state)
{
	struct rig *rig = *state;
	uint8_t local[2][32] = {{0}}; /* in no registration */
	struct fabric_sge sge[2] = {{.addr = addr_of(local[0]), .length = 32},
				    {.addr = addr_of(local[1]), .length = 29}};
	struct fabric_send_wr wr = {
		.wr_id = 1,
		.op = FABRIC_OP_SEND,
		.flags = FABRIC_F_SIGNALED | FABRIC_F_INLINE,
		.sg_list = sge,
		.num_sge = 2,
	};
	uint8_t expected[61];

	if (rig->info->max_inline_bytes < 64)
		skip();
	rig_pair(rig, 0);
	pattern_fill(local[0], sizeof(local), 5);
	memcpy(expected, local, 61);
	(void)rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 0, 100));
	assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), 0);
	memset(local, 0xcc, sizeof(local)); /* copied when it was posted */
	assert_int_equal(rig_wait_ok(rig, rig->b.conn[0], FABRIC_OP_RECV).byte_len, 61);
	(void)rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_SEND);
	assert_memory_equal(rig->b.buf, expected, 61);

	pattern_fill(local[0], sizeof(local), 6);
	memcpy(expected, local, 61);
	wr.op = FABRIC_OP_WRITE;
	wr.remote_addr = addr_of(rig->b.buf) + 4095;
	wr.rkey = rig->b.mr->rkey;
	assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), 0);
	memset(local, 0xcc, sizeof(local));
	(void)rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_WRITE);
	assert_int_equal(rig_do(rig, rig->a.conn[0], FABRIC_OP_READ, rig_sge(&rig->a, 0, 61),
				addr_of(rig->b.buf) + 4095, rig->b.mr->rkey),
			 FABRIC_OK);
	assert_memory_equal(rig->a.buf, expected, 61);

	/* More than the queue pair was made for. */
	sge[0] = rig_sge(&rig->a, 0, 2048);
	wr.num_sge = 1;
	assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), -EINVAL);
}

/* Writes and reads of `len` bytes at `off` of b's region at `base`; all of it is compared. */
static void there_and_back(struct rig *rig, uint8_t *base, size_t size, const struct fabric_mr *mr,
			   uint64_t off, uint32_t len, unsigned int seed)
{
	uint8_t *expected = malloc(size);

	assert_non_null(expected);
	memset(base, 0xee, size);
	memset(expected, 0xee, size);
	pattern_fill(expected + off, len, seed);
	pattern_fill(rig->a.buf + 11, len, seed);
	assert_int_equal(rig_do(rig, rig->a.conn[0], FABRIC_OP_WRITE, rig_sge(&rig->a, 11, len),
				mr->iova + off, mr->rkey),
			 FABRIC_OK);
	memset(rig->a.buf, 0, len + 100);
	assert_int_equal(rig_do(rig, rig->a.conn[0], FABRIC_OP_READ, rig_sge(&rig->a, 13, len),
				mr->iova + off, mr->rkey),
			 FABRIC_OK);
	if (memcmp(base, expected, size) != 0)
		fail_msg("write of %u at %llu went wrong", len, (unsigned long long)off);
	if (memcmp(rig->a.buf + 13, expected + off, len) != 0)
		fail_msg("read of %u at %llu went wrong", len, (unsigned long long)off);
	assert_int_equal(rig->a.buf[12], 0);
	assert_int_equal(rig->a.buf[13 + len], 0);
	free(expected);
}

static const struct {
	uint64_t off;
	uint32_t len;
} odd_ranges[] = {
	{0, 1},	       {0, 100},     {0, 4096},	  {0, 65536},	{200, 100},
	{1024, 1024},  {4608, 512},  {8000, 400}, {4095, 2},	{100, 8192},
	{64, 64},      {4000, 4096}, {1, 65535},  {3, 65536},	{12345, 9973},
	{777, 131072}, {1, 130000},  {131071, 1}, {65521, 257}, {4097, 4095},
};

void test_write_read(void **state)
{
	struct rig *rig = *state;

	rig_pair(rig, 0);
	for (size_t i = 0; i < ARRAY_SIZE(odd_ranges); i++)
		there_and_back(rig, rig->b.buf, KIB(256), rig->b.mr, odd_ranges[i].off,
			       odd_ranges[i].len, (unsigned int)i);
}

/* Only where it is right at all: the target finds that out by its own probe (region/). */
void test_on_demand(void **state)
{
	struct rig *rig = *state;
	struct fabric_mr *mr;
	uint8_t *mem;

	if (!rig->info->odp) {
		skip();
	} else if (!rig->info->software_fabric && !getenv("LEASEHOLD_TEST_ODP")) {
		print_message("the device claims ODP; believed only with LEASEHOLD_TEST_ODP=1\n");
		skip();
	}
	rig_pair(rig, 0);
	mem = mmap(NULL, KIB(256), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(mem, MAP_FAILED);
	mr = rig_reg(rig, rig->b.pd, mem, KIB(256), addr_of(mem),
		     RIG_ALL | FABRIC_ACCESS_ON_DEMAND);
	for (size_t i = 0; i < ARRAY_SIZE(odd_ranges); i++)
		there_and_back(rig, mem, KIB(256), mr, odd_ranges[i].off, odd_ranges[i].len,
			       (unsigned int)i);
	/* As local source and sink. */
	for (size_t i = 0; i < ARRAY_SIZE(odd_ranges); i++) {
		uint64_t off = odd_ranges[i].off;
		uint32_t len = odd_ranges[i].len;
		struct fabric_sge sge = {.addr = mr->iova + off, .length = len, .lkey = mr->lkey};

		pattern_fill(mem, KIB(256), (unsigned int)i);
		memset(rig->a.buf, 0, KIB(256));
		assert_int_equal(rig_do(rig, rig->b.conn[0], FABRIC_OP_WRITE, sge,
					addr_of(rig->a.buf) + 5, rig->a.mr->rkey),
				 FABRIC_OK);
		assert_int_equal(rig_do(rig, rig->b.conn[0], FABRIC_OP_READ, rig_sge(&rig->b, 0, 1),
					addr_of(rig->a.buf), rig->a.mr->rkey),
				 FABRIC_OK);
		assert_memory_equal(rig->a.buf + 5, mem + off, len);
		pattern_fill(rig->a.buf, len + 10, (unsigned int)i + 50);
		assert_int_equal(rig_do(rig, rig->b.conn[0], FABRIC_OP_READ, sge,
					addr_of(rig->a.buf) + 7, rig->a.mr->rkey),
				 FABRIC_OK);
		assert_memory_equal(rig->a.buf + 7, mem + off, len);
	}
	rig_dereg(rig, mr);
	(void)munmap(mem, KIB(256));
}

void test_zero_length(void **state)
{
	struct rig *rig = *state;
	struct fabric_send_wr wr = {.wr_id = 5, .op = FABRIC_OP_WRITE, .flags = FABRIC_F_SIGNALED};

	rig_pair(rig, 0);
	assert_int_equal(rig_do(rig, rig->a.conn[0], FABRIC_OP_WRITE, rig_sge(&rig->a, 0, 0),
				addr_of(rig->b.buf), rig->b.mr->rkey),
			 FABRIC_OK);
	assert_int_equal(rig_do(rig, rig->a.conn[0], FABRIC_OP_READ, rig_sge(&rig->a, 0, 0),
				addr_of(rig->b.buf), rig->b.mr->rkey),
			 FABRIC_OK);
	/* No entry at all. */
	wr.remote_addr = addr_of(rig->b.buf);
	wr.rkey = rig->b.mr->rkey;
	assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), 0);
	assert_int_equal(rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_WRITE).wr_id, 5);
	assert_int_equal(rig_try(rig, 0, FABRIC_OP_WRITE, 8, addr_of(rig->b.buf), rig->b.mr->rkey),
			 FABRIC_OK);
}

/* Long chains of which only the last completes; the queue's slots come back all the same. */
void test_unsignaled(void **state)
{
	enum {
		CHAIN = 40,
		ROUNDS = 20
	};
	struct rig *rig = *state;
	struct fabric_send_wr wr[CHAIN];
	struct fabric_sge sge[CHAIN];

	rig_pair(rig, 0);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		pattern_fill(rig->a.buf, CHAIN * 1000, round);
		for (unsigned int i = 0; i < CHAIN; i++) {
			sge[i] = rig_sge(&rig->a, i * 1000, 1000);
			wr[i] = (struct fabric_send_wr){
				.next = i + 1 < CHAIN ? &wr[i + 1] : NULL,
				.wr_id = round * 1000 + i,
				.op = FABRIC_OP_WRITE,
				.flags = i + 1 < CHAIN ? 0 : FABRIC_F_SIGNALED,
				.sg_list = &sge[i],
				.num_sge = 1,
				.remote_addr = addr_of(rig->b.buf) + i * 1001,
				.rkey = rig->b.mr->rkey,
			};
		}
		assert_int_equal(fabric_post_send(rig->a.conn[0], wr, NULL), 0);
		assert_int_equal(rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_WRITE).wr_id,
				 round * 1000 + CHAIN - 1);
		/* A fenced write goes after the read before it. */
		wr[0].next = &wr[1];
		wr[0].op = FABRIC_OP_READ;
		sge[0] = rig_sge(&rig->a, 100000, 1000);
		wr[1].next = NULL;
		wr[1].flags = FABRIC_F_SIGNALED | FABRIC_F_FENCE;
		assert_int_equal(fabric_post_send(rig->a.conn[0], wr, NULL), 0);
		assert_int_equal(rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_WRITE).wr_id,
				 round * 1000 + 1);
		assert_memory_equal(rig->a.buf + 100000, rig->a.buf, 1000);
		for (unsigned int i = 0; i < CHAIN; i++)
			assert_memory_equal(rig->b.buf + i * 1001, rig->a.buf + i * 1000, 1000);
	}
	assert_true(rig_quiet(rig, rig->a.conn[0], 10));
}

/* Nothing leaves the queue: on IB the peer is not ready, on the software fabric nobody polls. */
void test_queue_full(void **state)
{
	enum {
		MOST = 4 * RIG_MAX_WR
	};
	struct rig *rig = *state;
	struct fabric_sge sge;
	struct fabric_send_wr wr = {.sg_list = &sge, .num_sge = 1}, *bad = NULL;
	unsigned int posted = 0;
	int rc = 0;

	if (adapter_iwarp(rig))
		skip();
	rig_pair(rig, 0);
	sge = rig_sge(&rig->a, 0, 100);
	wr.op = rig->info->software_fabric ? FABRIC_OP_READ : FABRIC_OP_SEND;
	wr.remote_addr = addr_of(rig->b.buf);
	wr.rkey = rig->b.mr->rkey;
	while (posted <= MOST && rc == 0) {
		wr.wr_id = posted;
		rc = fabric_post_send(rig->a.conn[0], &wr, &bad);
		posted += rc == 0;
	}
	assert_int_equal(rc, -ENOMEM);
	assert_ptr_equal(bad, &wr);
	assert_in_range(posted, RIG_MAX_WR, MOST);

	/* A chain of which only a part fits: receives, on the other side. */
	{
		struct fabric_recv_wr chain[MOST];
		struct fabric_recv_wr *bad_recv = NULL;
		struct fabric_sge to = rig_sge(&rig->b, 0, 100);

		for (unsigned int i = 0; i < MOST; i++)
			chain[i] = (struct fabric_recv_wr){
				.next = i + 1 < MOST ? &chain[i + 1] : NULL,
				.wr_id = 1000 + i,
				.sg_list = &to,
				.num_sge = 1,
			};
		assert_int_equal(fabric_post_recv(rig->b.conn[0], chain, &bad_recv), -ENOMEM);
		assert_in_range(bad_recv - chain, RIG_MAX_WR, MOST - 1);
	}
}

void test_srq(void **state)
{
	enum {
		SLOT = 512
	};
	struct rig *rig = *state;
	struct fabric_recv_wr wr[RIG_MAX_WR];
	struct fabric_sge sge[RIG_MAX_WR];
	bool seen[RIG_MAX_WR] = {false};

	rig_pair_srq(rig, 0);
	rig_pair_srq(rig, 1);
	pattern_fill(rig->a.buf, KIB(64), 8);
	for (unsigned int i = 0; i < RIG_MAX_WR; i++) {
		sge[i] = rig_sge(&rig->b, i * SLOT, SLOT);
		wr[i] = (struct fabric_recv_wr){
			.next = i + 1 < RIG_MAX_WR ? &wr[i + 1] : NULL,
			.wr_id = i,
			.sg_list = &sge[i],
			.num_sge = 1,
		};
	}
	assert_int_equal(fabric_post_srq_recv(rig->b.srq, wr, NULL), 0);
	/* A queue pair with a shared queue has none of its own. */
	assert_int_not_equal(fabric_post_recv(rig->b.conn[0], wr, NULL), 0);
	for (unsigned int i = 0; i < RIG_MAX_WR; i++) {
		struct fabric_conn *to = rig->b.conn[i % 2];
		struct fabric_wc wc;

		(void)rig_post(rig, rig->a.conn[i % 2], FABRIC_OP_SEND,
			       rig_sge(&rig->a, i * 3, SLOT - i), 0, 0);
		wc = rig_wait_ok(rig, to, FABRIC_OP_RECV);
		assert_int_equal(wc.byte_len, SLOT - i);
		assert_in_range(wc.wr_id, 0, RIG_MAX_WR - 1);
		assert_false(seen[wc.wr_id]);
		seen[wc.wr_id] = true;
		assert_memory_equal(rig->b.buf + wc.wr_id * SLOT, rig->a.buf + i * 3, SLOT - i);
		(void)rig_wait_ok(rig, rig->a.conn[i % 2], FABRIC_OP_SEND);
	}
	/* The end of one connection leaves the queue to the others. */
	rig_unpair(rig, 0);
	wr[0].next = NULL;
	assert_int_equal(fabric_post_srq_recv(rig->b.srq, wr, NULL), 0);
	(void)rig_post(rig, rig->a.conn[1], FABRIC_OP_SEND, rig_sge(&rig->a, 9, 99), 0, 0);
	assert_int_equal(rig_wait_ok(rig, rig->b.conn[1], FABRIC_OP_RECV).byte_len, 99);
}

/* So long nothing more came of a shared queue: nothing will. */
#define LOST_NS (500 * NS_PER_MS)

/* Receive i of the shared queue: a slot of side b's buffer. */
static void post_shared(struct rig *rig, unsigned int i, uint32_t slot)
{
	struct fabric_sge sge = rig_sge(&rig->b, (uint64_t)i * slot, slot);
	struct fabric_recv_wr wr = {.wr_id = i, .sg_list = &sge, .num_sge = 1};

	assert_int_equal(fabric_post_srq_recv(rig->b.srq, &wr, NULL), 0);
}

/* Who finds none posted waits, whoever used the last one up; nobody's connection ends. */
void test_srq_empty(void **state)
{
	enum {
		SLOT = 512,
		MESSAGES = 5
	};
	struct rig *rig = *state;

	if (adapter_iwarp(rig)) {
		print_message("an iWARP adapter ends the connection\n");
		skip();
	}
	rig_pair_srq(rig, 0);
	rig_pair_srq(rig, 1);
	pattern_fill(rig->a.buf, KIB(64), 9);
	for (unsigned int i = 0; i < MESSAGES; i++)
		(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_SEND, rig_sge(&rig->a, i, SLOT - i),
			       0, 0);
	for (unsigned int i = 0; i < MESSAGES; i++) {
		assert_true(rig_quiet(rig, rig->b.conn[0], 30));
		post_shared(rig, i, SLOT);
		assert_int_equal(rig_wait_ok(rig, rig->b.conn[0], FABRIC_OP_RECV).byte_len,
				 SLOT - i);
		assert_memory_equal(rig->b.buf + i * SLOT, rig->a.buf + i, SLOT - i);
		(void)rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_SEND);
	}
	(void)rig_post(rig, rig->a.conn[1], FABRIC_OP_SEND, rig_sge(&rig->a, 7, 70), 0, 0);
	assert_true(rig_quiet(rig, rig->b.conn[1], 30));
	/* Writes of another connection do not wait for receives. */
	assert_int_equal(rig_do(rig, rig->a.conn[0], FABRIC_OP_WRITE, rig_sge(&rig->a, 0, 4096),
				addr_of(rig->b.buf) + KIB(16), rig->b.mr->rkey),
			 FABRIC_OK);
	post_shared(rig, 0, SLOT);
	assert_int_equal(rig_wait_ok(rig, rig->b.conn[1], FABRIC_OP_RECV).byte_len, 70);
}

/* Completions of side b's: receives by their ids. Returns how many came of `conn`. */
static unsigned int shared_came(struct rig *rig, const struct fabric_conn *conn, bool *seen,
				unsigned int *nr_seen)
{
	struct fabric_wc wc[8];
	unsigned int of_conn = 0;
	int n;

	n = fabric_cq_poll(rig->a.cq, wc, ARRAY_SIZE(wc));
	assert_true(n >= 0);
	n = fabric_cq_poll(rig->b.cq, wc, ARRAY_SIZE(wc));
	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		assert_int_equal(wc[i].op, FABRIC_OP_RECV);
		assert_in_range(wc[i].wr_id, 0, RIG_MAX_WR - 1);
		assert_false(seen[wc[i].wr_id]);
		assert_ptr_equal(wc[i].user, wc[i].conn ? rig : NULL);
		seen[wc[i].wr_id] = true;
		(*nr_seen)++;
		of_conn += wc[i].conn == conn;
	}
	return of_conn;
}

/*
 * Whatever a connection was doing when it was destroyed, each receive comes back once; of an
 * adapter, all but the one of a message that it was in the middle of. That one may be posted again.
 */
void test_srq_destroyed(void **state)
{
	enum {
		SLOT = KIB(8),
		ROUNDS = 40
	};
	struct rig *rig = *state;
	unsigned int may_lose = rig->info->software_fabric ? 0 : 1;

	rig_pair_srq(rig, 1);
	fabric_conn_set_user(rig->b.conn[1], rig);
	for (unsigned int i = 0; i < RIG_MAX_WR; i++)
		post_shared(rig, i, SLOT);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		unsigned int sent = 0, received = 0, nr_seen = 0;
		uint64_t end = now_ns() + RIG_TIMEOUT_S * NS_PER_S;
		bool seen[RIG_MAX_WR] = {false};
		uint64_t last_ns = now_ns();

		rig_pair_srq(rig, 0);
		fabric_conn_set_user(rig->b.conn[0], rig);
		for (unsigned int i = 0; i < RIG_MAX_WR / 2; i++)
			(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_SEND,
				       rig_sge(&rig->a, 0, i % 2 ? SLOT : 64), 0, 0);
		for (unsigned int i = 0; i < round / 2; i++)
			(void)shared_came(rig, NULL, seen, &nr_seen);
		if (round % 2)
			(void)fabric_conn_fence(rig->b.conn[0]);
		rig_unpair(rig, 0);
		while (nr_seen < RIG_MAX_WR && now_ns() < end) {
			unsigned int before = nr_seen;

			if (sent == received) {
				(void)rig_post(rig, rig->a.conn[1], FABRIC_OP_SEND,
					       rig_sge(&rig->a, 0, 64), 0, 0);
				sent++;
			}
			received += shared_came(rig, rig->b.conn[1], seen, &nr_seen);
			if (nr_seen > before)
				last_ns = now_ns();
			if (nr_seen + may_lose >= RIG_MAX_WR && now_ns() - last_ns > LOST_NS)
				break;
		}
		assert_true(nr_seen + may_lose >= RIG_MAX_WR);
		if (nr_seen < RIG_MAX_WR) {
			/* The other connection's next message has waited for the one that is lost, and rxe does
			 * not always go on with it. */
			print_message("round %u: the adapter has kept a receive\n", round);
			return;
		}
		for (unsigned int i = 0; i < RIG_MAX_WR; i++)
			post_shared(rig, i, SLOT);
		if (sent > received) {
			/* It has waited for a receive: that one is used up. */
			memset(seen, 0, sizeof(seen));
			nr_seen = 0;
			while (received < sent && now_ns() < end)
				received += shared_came(rig, rig->b.conn[1], seen, &nr_seen);
			assert_int_equal(received, sent);
			for (unsigned int i = 0; i < RIG_MAX_WR; i++)
				if (seen[i])
					post_shared(rig, i, SLOT);
		}
	}
}

void test_too_long(void **state)
{
	struct rig *rig = *state;
	struct fabric_wc wc;

	rig_pair(rig, 0);
	memset(rig->a.buf, 0x5a, 4096);
	(void)rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 0, 1000));
	(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_SEND, rig_sge(&rig->a, 0, 4096), 0, 0);
	wc = rig_wait(rig, rig->b.conn[0]);
	assert_int_equal(wc.op, FABRIC_OP_RECV);
	print_message("the receiver sees: %s\n", fabric_status_text(wc.status));
	assert_true(wc.status == FABRIC_LENGTH || wc.status == FABRIC_FLUSHED ||
		    wc.status == FABRIC_GENERAL_ERROR);
	if (rig->info->software_fabric)
		assert_int_equal(wc.status, FABRIC_LENGTH);
	wc = rig_wait(rig, rig->a.conn[0]);
	print_message("the sender sees: %s\n", fabric_status_text(wc.status));
	if (rig->info->transport == FABRIC_TRANSPORT_IB)
		assert_int_not_equal(wc.status, FABRIC_OK);
	assert_int_equal(
		fabric_post_recv(rig->b.conn[0], &(struct fabric_recv_wr){.wr_id = 1}, NULL),
		-ENOTCONN);
	for (unsigned int i = 1000; i < 8192; i++)
		assert_int_equal(rig->b.buf[i], 0);
}

/* iWARP has no "not ready": there the connection ends, here it ends after some patience. */
void test_no_receive(void **state)
{
	struct rig *rig = *state;
	struct fabric_wc wc;

	if (adapter_iwarp(rig))
		skip();
	rig_pair(rig, 0);
	(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_SEND, rig_sge(&rig->a, 0, 100), 0, 0);
	(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_READ, rig_sge(&rig->a, 4096, 100),
		       addr_of(rig->b.buf), rig->b.mr->rkey);
	wc = rig_wait(rig, rig->a.conn[0]);
	if (rig->info->transport == FABRIC_TRANSPORT_IB)
		assert_int_equal(wc.status, FABRIC_RNR_EXCEEDED);
	wc = rig_wait(rig, rig->a.conn[0]);
	assert_int_not_equal(wc.status, FABRIC_OK);

	/* A late receive is in time. */
	if (rig->info->transport == FABRIC_TRANSPORT_IB) {
		rig_repair(rig, 0);
		(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_SEND, rig_sge(&rig->a, 0, 100), 0, 0);
		usleep(5000);
		(void)rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 0, 1000));
		(void)rig_wait_ok(rig, rig->b.conn[0], FABRIC_OP_RECV);
		(void)rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_SEND);
	}
}

/* ---- sleeping ------------------------------------------------------------------------------- */

static bool readable(const struct fabric_cq *cq, int timeout_ms)
{
	struct pollfd pfd = {.fd = fabric_cq_fd(cq), .events = POLLIN};
	int n = poll(&pfd, 1, timeout_ms);

	return n == 1 && (pfd.revents & POLLIN);
}

void test_sleep(void **state)
{
	struct rig *rig = *state;
	struct fabric_wc wc;
	bool woken = false;
	int n = 0;

	rig_pair(rig, 0);
	for (unsigned int round = 0; round < 50; round++) {
		uint64_t deadline = now_ns() + RIG_TIMEOUT_S * NS_PER_S;

		(void)rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 0, 100));
		/* The protocol of a sleeper: arm, poll once more, sleep, poll. */
		do {
			assert_int_equal(fabric_cq_arm(rig->b.cq), 0);
		} while (fabric_cq_poll(rig->b.cq, &wc, 1) > 0);
		(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_SEND, rig_sge(&rig->a, 0, 10), 0, 0);
		for (n = 0; n == 0 && now_ns() < deadline;) {
			struct fabric_wc mine;

			while (fabric_cq_poll(rig->a.cq, &mine, 1) > 0)
				assert_int_equal(mine.status, FABRIC_OK);
			if (!readable(rig->b.cq, 1))
				continue;
			woken = true;
			assert_int_equal(fabric_cq_arm(rig->b.cq), 0);
			n = fabric_cq_poll(rig->b.cq, &wc, 1);
		}
		assert_int_equal(n, 1);
		assert_int_equal(wc.status, FABRIC_OK);
		assert_int_equal(wc.op, FABRIC_OP_RECV);
		assert_true(woken);
	}
	/* Nothing happens: it sleeps. */
	while (!rig_quiet(rig, rig->a.conn[0], 20))
		;
	do {
		assert_int_equal(fabric_cq_arm(rig->b.cq), 0);
	} while (fabric_cq_poll(rig->b.cq, &wc, 1) > 0);
	assert_false(readable(rig->b.cq, 50));
}

struct echo {
	struct fabric_cq *cq;
	struct fabric_conn *conn;
	struct side *side;
	atomic_bool stop;
	unsigned int echoed;
	unsigned int overslept; /* nothing woke it for seconds */
	bool failed;
};

/* The next receive is there before the answer goes: nobody may send into none. */
static void echo_one(struct echo *e, const struct fabric_wc *wc)
{
	uint64_t mine = addr_of(e->side->buf) + e->echoed % 2 * 4096;
	uint64_t next = addr_of(e->side->buf) + (e->echoed + 1) % 2 * 4096;
	struct fabric_sge from = {.addr = mine, .length = wc->byte_len, .lkey = e->side->mr->lkey};
	struct fabric_sge to = {.addr = next, .length = 4096, .lkey = e->side->mr->lkey};
	struct fabric_recv_wr rwr = {.sg_list = &to, .num_sge = 1};
	struct fabric_send_wr wr = {
		.op = FABRIC_OP_SEND, .flags = FABRIC_F_SIGNALED, .sg_list = &from, .num_sge = 1};

	if (wc->status != FABRIC_OK) {
		e->failed = true;
	} else if (wc->op == FABRIC_OP_RECV) {
		e->failed |= fabric_post_recv(e->conn, &rwr, NULL) != 0;
		e->failed |= fabric_post_send(e->conn, &wr, NULL) != 0;
		e->echoed++;
	}
}

static void *echo_thread(void *arg)
{
	struct echo *e = arg;
	struct fabric_wc wc;

	while (!atomic_load(&e->stop) && !e->failed) {
		bool worked = false;

		e->failed |= fabric_cq_arm(e->cq) != 0;
		while (fabric_cq_poll(e->cq, &wc, 1) > 0) {
			echo_one(e, &wc);
			worked = true;
		}
		if (!worked && !readable(e->cq, 2000) && !atomic_load(&e->stop))
			e->overslept++;
	}
	return NULL;
}

/* The other side on a thread of its own that sleeps between messages: no wake-up is lost. */
void test_echo_threads(void **state)
{
	enum {
		MESSAGES = 300
	};
	struct rig *rig = *state;
	struct echo echo;
	pthread_t thread;
	uint64_t start;
	unsigned int done = 0;
	struct fabric_wc wc;

	rig_pair(rig, 0);
	echo = (struct echo){.cq = rig->b.cq, .conn = rig->b.conn[0], .side = &rig->b};
	(void)rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 0, 4096));
	assert_int_equal(pthread_create(&thread, NULL, echo_thread, &echo), 0);
	start = now_ns();
	for (; done < MESSAGES; done++) {
		uint32_t len = done * 13 % 4000 + 1;
		bool sent = false, received = false;
		uint64_t deadline = now_ns() + RIG_TIMEOUT_S * NS_PER_S;

		pattern_fill(rig->a.buf, len, done);
		(void)rig_recv(rig, rig->a.conn[0], rig_sge(&rig->a, 8192, 4096));
		(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_SEND, rig_sge(&rig->a, 0, len), 0, 0);
		while ((!sent || !received) && now_ns() < deadline) {
			if (fabric_cq_poll(rig->a.cq, &wc, 1) < 1)
				continue;
			if (wc.status != FABRIC_OK)
				break;
			sent |= wc.op == FABRIC_OP_SEND;
			received |= wc.op == FABRIC_OP_RECV;
		}
		if (!sent || !received || memcmp(rig->a.buf, rig->a.buf + 8192, len) != 0)
			break;
	}
	print_message("%u round trips in %llu us each\n", done,
		      (unsigned long long)((now_ns() - start) / 1000 / (done ? done : 1)));
	atomic_store(&echo.stop, true);
	(void)pthread_join(thread, NULL);
	assert_false(echo.failed);
	assert_int_equal(done, MESSAGES);
	assert_int_equal(echo.echoed, MESSAGES);
}

/*
 * A message behind so many written bytes that one turn is used up by them: it may be at hand, and the
 * socket empty, when the last poll before the sleep finds no completion.
 */
void test_sleep_behind_writes(void **state)
{
	enum {
		MESSAGES = 400,
		WRITES = 8,
	};
	struct rig *rig = *state;
	struct echo echo;
	pthread_t thread;
	unsigned int done = 0;
	struct fabric_wc wc;

	rig_pair(rig, 0);
	echo = (struct echo){.cq = rig->b.cq, .conn = rig->b.conn[0], .side = &rig->b};
	(void)rig_recv(rig, rig->b.conn[0], rig_sge(&rig->b, 0, 4096));
	assert_int_equal(pthread_create(&thread, NULL, echo_thread, &echo), 0);
	for (; done < MESSAGES && echo.overslept == 0; done++) {
		unsigned int completed = 0;
		uint64_t deadline = now_ns() + RIG_TIMEOUT_S * NS_PER_S;

		(void)rig_recv(rig, rig->a.conn[0], rig_sge(&rig->a, 8192, 4096));
		for (unsigned int i = 0; i < WRITES; i++)
			(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_WRITE,
				       rig_sge(&rig->a, 0, MIB(1) / WRITES),
				       addr_of(rig->b.buf) + RIG_BYTES / 2, rig->b.mr->rkey);
		(void)rig_post(rig, rig->a.conn[0], FABRIC_OP_SEND, rig_sge(&rig->a, 0, 16), 0, 0);
		while (completed < WRITES + 2 && now_ns() < deadline) {
			if (fabric_cq_poll(rig->a.cq, &wc, 1) < 1)
				continue;
			if (wc.status != FABRIC_OK)
				break;
			completed++;
		}
		if (completed < WRITES + 2)
			break;
	}
	atomic_store(&echo.stop, true);
	(void)pthread_join(thread, NULL);
	assert_false(echo.failed);
	assert_int_equal(echo.overslept, 0);
	assert_int_equal(done, MESSAGES);
}

void test_flush(void **state)
{
	struct rig *rig = *state;
	struct fabric_mr *mr;
	struct fabric_send_wr wr = {.wr_id = 77, .op = FABRIC_OP_FLUSH, .flags = FABRIC_F_SIGNALED};

	rig_pair(rig, 0);
	wr.remote_addr = addr_of(rig->b.buf);
	wr.flush.length = 4096;
	if (!rig->info->flush) {
		wr.rkey = rig->b.mr->rkey;
		assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), -EOPNOTSUPP);
		skip();
	}
	mr = rig_reg(rig, rig->b.pd, rig->b.buf, 4096, addr_of(rig->b.buf),
		     RIG_ALL | FABRIC_ACCESS_FLUSH_GLOBAL);
	assert_int_equal(rig_do(rig, rig->a.conn[0], FABRIC_OP_WRITE, rig_sge(&rig->a, 0, 4096),
				mr->iova, mr->rkey),
			 FABRIC_OK);
	wr.rkey = mr->rkey;
	wr.flush.level = FABRIC_FLUSH_GLOBAL;
	assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), 0);
	assert_int_equal(rig_wait_ok(rig, rig->a.conn[0], FABRIC_OP_FLUSH).wr_id, 77);
	/* A key that does not allow it. */
	wr.rkey = rig->b.mr->rkey;
	assert_int_equal(fabric_post_send(rig->a.conn[0], &wr, NULL), 0);
	assert_int_equal(rig_wait(rig, rig->a.conn[0]).status, FABRIC_REMOTE_ACCESS);
}
