// SPDX-License-Identifier: BSD-3-Clause
/*
 * A reactor on the software fabric: completions reach the one who posted the work, also after the
 * reactor has slept; reads of files are answered, many at once, short at the end.
 */
#include "leaks.h"

#include <errno.h>
#include <sys/mman.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>

#include "iwarp/iwarp.h"
#include "reactor/reactor.h"

#define BYTES 4096
#define READS 300 /* more than the ring holds */

static struct fabric *fabric;
static struct fabric_device *dev;
static struct reactor *reactor;
static sem_t answered;

static int setup(void **state)
{
	if (leaks_setup(state) || iwarp_fabric_open(NULL, &fabric, NULL))
		return -1;
	dev = fabric_device_at(fabric, 0);
	(void)sem_init(&answered, 0, 0);
	if (reactor_new(3, &dev, 1, REACTOR_DEFAULT_SPIN_US * NS_PER_US, &reactor))
		return -1;
	return reactor_start(reactor);
}

static int teardown(void **state)
{
	reactor_free(reactor);
	fabric_close(fabric);
	return leaks_teardown(state);
}

/* ---- completions ------------------------------------------------------------------------------ */

struct pair {
	struct reactor_wr send, receive;
	struct loop_msg msg;
	struct fabric_pd *pd;
	struct fabric_mr *mr;
	struct fabric_conn *a, *b;
	uint8_t memory[2 * BYTES];
	atomic_int done;
	bool on_reactor;
	int err;
};

static void pair_done(struct pair *p, const struct fabric_wc *wc)
{
	p->on_reactor = loop_is_current(reactor_loop(reactor));
	if (wc->status != FABRIC_OK)
		p->err = -EIO;
	if (atomic_fetch_add(&p->done, 1) == 1)
		(void)sem_post(&answered);
}

static void send_done(struct reactor_wr *wr, const struct fabric_wc *wc)
{
	pair_done(container_of(wr, struct pair, send), wc);
}

static void receive_done(struct reactor_wr *wr, const struct fabric_wc *wc)
{
	pair_done(container_of(wr, struct pair, receive), wc);
}

static void post_both(struct loop_msg *msg)
{
	struct pair *p = container_of(msg, struct pair, msg);
	struct fabric_sge from = {(uint64_t)(uintptr_t)p->memory, BYTES, p->mr->lkey};
	struct fabric_sge to = {(uint64_t)(uintptr_t)p->memory + BYTES, BYTES, p->mr->lkey};
	struct fabric_recv_wr recv = {
		.wr_id = reactor_wr_id(&p->receive), .sg_list = &to, .num_sge = 1};
	struct fabric_send_wr send = {.wr_id = reactor_wr_id(&p->send),
				      .op = FABRIC_OP_SEND,
				      .flags = FABRIC_F_SIGNALED,
				      .sg_list = &from,
				      .num_sge = 1};

	p->err = fabric_post_recv(p->b, &recv, NULL);
	if (!p->err)
		p->err = fabric_post_send(p->a, &send, NULL);
	if (p->err)
		(void)sem_post(&answered);
}

static void test_completions(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));
	struct fabric_qp_attr attr = {.cq = reactor_cq(reactor, dev),
				      .max_send_wr = 4,
				      .max_recv_wr = 4,
				      .max_send_sge = 1,
				      .max_recv_sge = 1};

	(void)state;
	assert_non_null(p);
	assert_non_null(attr.cq);
	p->send.done = send_done;
	p->receive.done = receive_done;
	assert_int_equal(fabric_pd_alloc(dev, &p->pd), 0);
	assert_int_equal(fabric_mr_reg(p->pd, p->memory, sizeof(p->memory),
				       (uint64_t)(uintptr_t)p->memory, FABRIC_ACCESS_LOCAL_WRITE,
				       &p->mr),
			 0);
	attr.pd = p->pd;
	assert_int_equal(fabric_loopback_pair(dev, &attr, &attr, &p->a, &p->b), 0);
	for (int round = 0; round < 20; round++) {
		/* Long enough to fall asleep, at times. */
		if (round % 4 == 0)
			usleep(20000);
		memset(p->memory, round + 1, BYTES);
		atomic_store(&p->done, 0);
		loop_post(reactor_loop(reactor), &p->msg, post_both);
		(void)sem_wait(&answered);
		assert_int_equal(p->err, 0);
		assert_true(p->on_reactor);
		assert_memory_equal(p->memory, p->memory + BYTES, BYTES);
	}
	fabric_conn_destroy(p->a);
	fabric_conn_destroy(p->b);
	assert_int_equal(fabric_mr_dereg(p->mr), 0);
	assert_int_equal(fabric_pd_free(p->pd), 0);
	free(p);
}

/* ---- files ------------------------------------------------------------------------------------ */

static struct reads {
	struct reactor_read read[READS];
	int result[READS];
	uint8_t data[READS][512];
	struct loop_msg msg;
	unsigned int left;
	int fd;
} reads;

static void read_done(struct reactor_read *read, int result)
{
	reads.result[read - reads.read] = result;
	if (--reads.left == 0)
		(void)sem_post(&answered);
}

static void start_reads(struct loop_msg *msg)
{
	(void)msg;
	for (unsigned int i = 0; i < READS; i++) {
		reads.read[i] = (struct reactor_read){.done = read_done,
						      .fd = reads.fd,
						      .buf = reads.data[i],
						      .length = 512,
						      .offset = i * 512ull};
		reactor_pread(reactor, &reads.read[i]);
	}
}

static void test_reads(void **state)
{
	uint8_t block[512];

	(void)state;
	reads.fd = memfd_create("reads", MFD_CLOEXEC);
	assert_true(reads.fd >= 0);
	/* The last but one is short, the last is beyond the end. */
	for (unsigned int i = 0; i < READS - 1; i++) {
		memset(block, (int)(i & 0xff), sizeof(block));
		assert_int_equal(write_full(reads.fd, block, i == READS - 2 ? 100 : 512), 0);
	}
	for (int round = 0; round < 3; round++) {
		memset(reads.data, 0xee, sizeof(reads.data));
		reads.left = READS;
		loop_post(reactor_loop(reactor), &reads.msg, start_reads);
		(void)sem_wait(&answered);
		for (unsigned int i = 0; i < READS - 2; i++) {
			assert_int_equal(reads.result[i], 512);
			assert_int_equal(reads.data[i][511], i & 0xff);
		}
		assert_int_equal(reads.result[READS - 2], 100);
		assert_int_equal(reads.result[READS - 1], 0);
		usleep(20000);
	}
	(void)close(reads.fd);
	reads.left = READS;
	loop_post(reactor_loop(reactor), &reads.msg, start_reads);
	(void)sem_wait(&answered);
	for (unsigned int i = 0; i < READS; i++)
		assert_int_equal(reads.result[i], -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_completions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
