// SPDX-License-Identifier: BSD-3-Clause
/*
 * Receives that the I/O queues of a reactor share: more commands than receives, hosts that stop,
 * send too much or go in the middle, and what the others get meanwhile.
 */
#include "nvme_rig.h"

#include <stdlib.h>

#include "iwarp/iwarp.h"
#include "nvme/receives.h"
#include "util/counter.h"
#include "util/log.h"

#define BLOCK	   512
#define DATA	   4096
#define MOST	   (RIG_DEPTH - 1) /* commands in flight on a queue */
#define HOSTS	   8
#define FEW	   33 /* just more than there may be connections; of one reactor */
#define TIMEOUT_MS 20000u
#define TIMEOUT_NS (TIMEOUT_MS * NS_PER_MS)
#define PATIENT_MS 600000u /* nobody is cut for what he does not answer */

static struct rig host[HOSTS]; /* of one target, the first one's */
static unsigned int nr_hosts;

static void up_with(unsigned int hosts, const struct rig_options *options)
{
	rig_up(&host[0], options);
	assert_true(host[0].target->shares_receives[0]);
	for (nr_hosts = 1; nr_hosts < hosts; nr_hosts++) {
		struct rig *h = &host[nr_hosts];

		*h = host[0];
		h->admin = h->io[0] = h->io[1] = NULL;
		h->cntlid = 0;
		rig_host_up(h);
	}
}

static void up(unsigned int hosts, uint32_t receives, uint32_t timeout_ms)
{
	const struct rig_options options = {.lba_bytes = BLOCK,
					    .inline_bytes = DATA,
					    .transfer_timeout_ms = timeout_ms,
					    .shared_receives = receives};

	up_with(hosts, &options);
}

static void down(void)
{
	while (nr_hosts > 1)
		rig_host_down(&host[--nr_hosts]);
	rig_down(&host[0]);
}

static uint64_t counted(const char *name)
{
	for (const struct counter *c = counter_first(); c; c = c->next) {
		if (strcmp(c->name, name) == 0)
			return counter_read(c);
	}
	fail();
	return 0;
}

/* Data in the capsule, for block `lba`. */
static unsigned int send_write(struct rig_queue *q, uint64_t lba, uint8_t byte)
{
	struct nvme_command sqe = rig_blocks(NVME_IO_WRITE, lba, DATA / BLOCK);
	uint8_t data[DATA];

	memset(data, byte, sizeof(data));
	nvme_offset_sgl_set(&sqe.sgl, 0, DATA);
	return rig_send(q, &sqe, data, DATA);
}

/* Data in the host's memory, for which it has to answer a READ; or to it. */
static unsigned int send_keyed(struct rig *h, struct rig_queue *q, uint8_t opcode, uint64_t lba)
{
	struct nvme_command sqe = rig_blocks(opcode, lba, DATA / BLOCK);

	rig_keyed(h, &sqe, (uint32_t)(lba * BLOCK % RIG_MEMORY), DATA);
	return rig_send(q, &sqe, NULL, 0);
}

static uint64_t lba_of(unsigned int nth)
{
	return (uint64_t)nth * (DATA / BLOCK);
}

/* It waits for nobody: no host had to be cut for it. */
static void answered_alone(struct rig_queue *q, unsigned int slot)
{
	uint64_t stalls = counted("nvme_stalled_queues");

	assert_int_equal(rig_answer(q, slot), 0);
	assert_int_equal(counted("nvme_stalled_queues"), stalls);
}

/* A Write of the host that it will not answer has its blocks; others' to them wait from now on. */
static void stop_in_the_middle(struct rig *h)
{
	uint64_t before = counted("nvme_bytes_from_hosts"), end = now_ns() + 10 * NS_PER_S;

	(void)send_keyed(h, h->io[0], NVME_IO_WRITE, 0);
	while (counted("nvme_bytes_from_hosts") == before && now_ns() < end)
		(void)usleep(1000);
	assert_true(counted("nvme_bytes_from_hosts") > before);
}

static void admin_is_served(struct rig *h)
{
	struct nvme_command identify = rig_command(NVME_ADMIN_IDENTIFY);

	rig_keyed(h, &identify, 0, 4096);
	answered_alone(h->admin, rig_send(h->admin, &identify, NULL, 0));
}

/* Four hosts send all they may at once, of all kinds; each byte ends where it should. */
static void test_all_at_once(void **state)
{
	enum {
		SENDERS = 4,
		ROUNDS = 20
	};
	unsigned int slot[SENDERS][2][MOST];
	uint8_t bytes[DATA];

	(void)state;
	up(SENDERS, FEW, 0);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		for (unsigned int n = 0; n < MOST * 2 * SENDERS; n++) {
			struct rig *h = &host[n / 2 % SENDERS];
			struct rig_queue *q = h->io[n % 2];
			unsigned int i = n / (2 * SENDERS);

			slot[n / 2 % SENDERS][n % 2][i] =
				i % 3 == 0   ? send_keyed(h, q, NVME_IO_READ, lba_of(n))
				: i % 3 == 1 ? send_keyed(h, q, NVME_IO_WRITE, lba_of(n))
					     : send_write(q, lba_of(n), (uint8_t)(n * 7 + round));
		}
		for (unsigned int n = 0; n < MOST * 2 * SENDERS; n++) {
			struct rig *h = &host[n / 2 % SENDERS];
			unsigned int i = n / (2 * SENDERS);

			/* No others are waited for: what they sent is placed all the same. */
			assert_int_equal(rig_answer(h->io[n % 2], slot[n / 2 % SENDERS][n % 2][i]),
					 0);
			if (i % 3 != 2)
				continue;
			rig_read(&host[0], lba_of(n) * BLOCK, bytes, DATA);
			for (unsigned int b = 0; b < DATA; b++)
				assert_int_equal(bytes[b], (uint8_t)(n * 7 + round));
		}
	}
	down();
}

/* Hosts that answer no READ keep no receive, however many commands of theirs are under way. */
static void test_stopped_keep_none(void **state)
{
	(void)state;
	up(HOSTS, FEW, PATIENT_MS);
	for (unsigned int i = 1; i < HOSTS; i++) {
		for (unsigned int n = 0; n < MOST; n++) {
			(void)send_keyed(&host[i], host[i].io[0], NVME_IO_WRITE,
					 lba_of(i * 64 + n));
			(void)send_keyed(&host[i], host[i].io[1], NVME_IO_WRITE,
					 lba_of(i * 64 + 32 + n));
		}
	}
	for (unsigned int n = 0; n < 3 * MOST; n++) {
		struct rig_queue *q = host[0].io[n % 2];

		answered_alone(q, send_write(q, lba_of(n % 32), 1));
		answered_alone(q, send_keyed(&host[0], q, NVME_IO_READ, lba_of(n % 32)));
	}
	admin_is_served(&host[0]);
	down();
}

/*
 * One write does not end, and commands with data wait for its place with all receives: others'
 * admin commands are answered, the one in the way is cut before its time, and all goes on.
 */
static void test_all_are_taken(void **state)
{
	uint64_t empty = counted("nvme_shared_receives_empty");
	uint64_t stalls = counted("nvme_stalled_queues"), begun, end;
	unsigned int slot[2][2][MOST], last;

	(void)state;
	up(4, FEW, TIMEOUT_MS);
	begun = now_ns();
	stop_in_the_middle(&host[1]);
	for (unsigned int n = 0; n < MOST; n++) {
		for (unsigned int q = 0; q < 4; q++)
			slot[q / 2][q % 2][n] = send_write(host[2 + q / 2].io[q % 2], 0, 3);
	}
	end = now_ns() + 10 * NS_PER_S;
	while (counted("nvme_shared_receives_empty") < empty + 2 && now_ns() < end) {
		(void)rig_answered(host[2].admin, RIG_DEPTH - 1);
		(void)rig_answered(host[3].admin, RIG_DEPTH - 1);
	}
	assert_true(counted("nvme_shared_receives_empty") >= empty + 2);
	admin_is_served(&host[0]);
	admin_is_served(&host[3]);
	assert_int_equal(counted("nvme_stalled_queues"), stalls);
	last = send_write(host[0].io[0], lba_of(100), 4);
	assert_int_equal(rig_answer(host[0].io[0], last), 0);
	assert_true(now_ns() - begun >= TIMEOUT_NS / 4);
	assert_true(now_ns() - begun < TIMEOUT_NS);
	assert_int_equal(counted("nvme_stalled_queues"), stalls + 1);
	for (unsigned int n = 0; n < MOST; n++) {
		for (unsigned int q = 0; q < 4; q++)
			assert_int_equal(
				rig_answer(host[2 + q / 2].io[q % 2], slot[q / 2][q % 2][n]), 0);
	}
	down();
}

/* A host that sends more than its queue holds is cut, and what it had is everybody's again. */
static void test_too_many(void **state)
{
	uint64_t overruns = counted("nvme_queue_overruns");

	(void)state;
	up(3, 2 * FEW, PATIENT_MS);
	stop_in_the_middle(&host[1]);
	/* The last into the place of the first one's capsule, which has gone and was the same. */
	for (unsigned int n = 0; n < RIG_DEPTH + 1; n++)
		(void)send_write(host[2].io[0], 0, 5);
	assert_true(rig_was_cut(host[2].io[0]));
	assert_false(host[2].io[1]->dead);
	assert_int_equal(counted("nvme_queue_overruns"), overruns + 1);
	for (unsigned int n = 0; n < 4 * FEW; n++)
		answered_alone(host[0].io[n % 2],
			       send_write(host[0].io[n % 2], lba_of(100 + n % 32), 6));
	admin_is_served(&host[2]);
	down();
}

/* A host goes with commands in every state, and comes back. */
static void come_and_go(struct rig *h, unsigned int round)
{
	for (unsigned int n = 0; n < MOST; n++) {
		(void)send_write(h->io[0], lba_of(n % 4), 7);
		(void)send_keyed(h, h->io[1], n % 2 ? NVME_IO_WRITE : NVME_IO_READ, lba_of(n % 8));
	}
	if (round % 3)
		(void)usleep(round * 50);
	rig_host_down(h);
	*h = host[0];
	h->admin = h->io[0] = h->io[1] = NULL;
	h->cntlid = 0;
	rig_host_up(h);
}

static void all_served(unsigned int h)
{
	for (unsigned int n = 0; n < 4 * FEW; n++)
		answered_alone(host[h].io[n % 2], send_write(host[h].io[n % 2], lba_of(n % 32), 8));
}

/* No receive is lost with them. */
static void test_gone(void **state)
{
	uint64_t renewed = counted("nvme_shared_receives_renewed");

	(void)state;
	up(2, FEW, PATIENT_MS);
	for (unsigned int round = 0; round < 3 * FEW; round++)
		come_and_go(&host[1], round);
	all_served(0);
	all_served(1);
	assert_int_equal(counted("nvme_shared_receives_renewed"), renewed);
	down();
}

/*
 * Or each may have lost one: then they are counted, and who comes when half may be lost has its
 * own. With nobody left all are posted anew.
 */
static void test_lossy(void **state)
{
	const struct rig_options options = {.lba_bytes = BLOCK,
					    .inline_bytes = DATA,
					    .transfer_timeout_ms = PATIENT_MS,
					    .shared_receives = FEW,
					    .loses_receives = true};
	uint64_t renewed = counted("nvme_shared_receives_renewed"), end;

	(void)state;
	up_with(2, &options);
	for (unsigned int round = 0; round < 3 * FEW; round++) {
		come_and_go(&host[1], round);
		if (round == FEW)
			all_served(1);
	}
	all_served(0);
	all_served(1);
	for (unsigned int again = 0; again < 3; again++) {
		rig_host_down(&host[1]);
		rig_host_down(&host[0]);
		end = now_ns() + 10 * NS_PER_S;
		while (counted("nvme_shared_receives_renewed") == renewed && now_ns() < end)
			(void)usleep(1000);
		assert_true(counted("nvme_shared_receives_renewed") > renewed);
		rig_host_up(&host[0]);
		host[1] = host[0];
		host[1].admin = host[1].io[0] = host[1].io[1] = NULL;
		host[1].cntlid = 0;
		rig_host_up(&host[1]);
		for (unsigned int round = 0; round < FEW; round++)
			come_and_go(&host[1], round);
		all_served(0);
		renewed = counted("nvme_shared_receives_renewed");
	}
	down();
}

/* The target stops with commands everywhere. */
static void test_stop(void **state)
{
	(void)state;
	up(4, FEW, PATIENT_MS);
	for (unsigned int i = 0; i < 4; i++) {
		for (unsigned int n = 0; n < MOST; n++) {
			(void)send_write(host[i].io[0], 0, 7);
			(void)send_keyed(&host[i], host[i].io[1], NVME_IO_WRITE, 0);
		}
	}
	rig_target_down(&host[0]);
	while (nr_hosts > 0)
		rig_host_down(&host[--nr_hosts]);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_all_at_once),	leaks_test(test_stopped_keep_none),
		leaks_test(test_all_are_taken), leaks_test(test_too_many),
		leaks_test(test_gone),		leaks_test(test_lossy),
		leaks_test(test_stop),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	log_set_level(getenv("LEASEHOLD_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	tenure_block_signals();
	if (export_guard_init())
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run_group);
}
