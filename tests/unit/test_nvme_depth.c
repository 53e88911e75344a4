// SPDX-License-Identifier: BSD-3-Clause
/*
 * How many RDMA READs a queue pair of the target has in flight: as many as both ends agreed on, and no
 * more, however many the commands want. Counted where work requests are posted and completions polled.
 */
#include "nvme_host.h"

#include <assert.h>
#include <pthread.h>

#include "nvme/parse.h"
#include "tenure/tenure.h"

#define WRITES 24 /* at once, each of which takes NVME_MAX_KEYED READs */
#define BLOCKS 16
#define CONNS  8
#define CHAINS 512

/* ---- who has how many in flight ---------------------------------------------------------------- */

struct reads {
	const struct fabric_conn *conn;
	unsigned int flying, most;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct reads reads[CONNS];
static struct {
	uint64_t wr_id; /* of the last one, which is signaled */
	struct reads *reads;
	unsigned int n;
} chains[CHAINS];
static unsigned int nr_chains;
static bool counting; /* not while fabrics test themselves, on connections of their own */
static unsigned int agreed, ours; /* the last queue's; what the adapter here can, or 0 */

int __real_fabric_post_send(struct fabric_conn *conn, struct fabric_send_wr *wr,
			    struct fabric_send_wr **bad);
int __wrap_fabric_post_send(struct fabric_conn *conn, struct fabric_send_wr *wr,
			    struct fabric_send_wr **bad);
int __real_fabric_cq_poll(struct fabric_cq *cq, struct fabric_wc *wc, unsigned int n);
int __wrap_fabric_cq_poll(struct fabric_cq *cq, struct fabric_wc *wc, unsigned int n);
unsigned int __real_fabric_conn_read_depth(const struct fabric_conn *conn);
unsigned int __wrap_fabric_conn_read_depth(const struct fabric_conn *conn);

static struct reads *reads_of(const struct fabric_conn *conn)
{
	unsigned int i = 0;

	while (i < CONNS - 1 && reads[i].conn && reads[i].conn != conn)
		i++;
	assert(!reads[i].conn || reads[i].conn == conn);
	reads[i].conn = conn;
	return &reads[i];
}

int __wrap_fabric_post_send(struct fabric_conn *conn, struct fabric_send_wr *wr,
			    struct fabric_send_wr **bad)
{
	const struct fabric_send_wr *last = wr;
	unsigned int n = wr->op == FABRIC_OP_READ;

	for (; last->next; last = last->next)
		n += last->next->op == FABRIC_OP_READ;
	(void)pthread_mutex_lock(&mutex);
	if (n > 0 && counting) {
		struct reads *r = reads_of(conn);

		r->flying += n;
		r->most = r->flying > r->most ? r->flying : r->most;
		assert(nr_chains < CHAINS);
		chains[nr_chains].wr_id = last->wr_id;
		chains[nr_chains].reads = r;
		chains[nr_chains++].n = n;
	}
	(void)pthread_mutex_unlock(&mutex);
	return __real_fabric_post_send(conn, wr, bad);
}

int __wrap_fabric_cq_poll(struct fabric_cq *cq, struct fabric_wc *wc, unsigned int n)
{
	int got = __real_fabric_cq_poll(cq, wc, n);

	(void)pthread_mutex_lock(&mutex);
	for (int i = 0; i < got; i++) {
		for (unsigned int j = 0; j < nr_chains; j++) {
			if (chains[j].wr_id != wc[i].wr_id)
				continue;
			chains[j].reads->flying -= chains[j].n;
			chains[j] = chains[--nr_chains];
			break;
		}
	}
	(void)pthread_mutex_unlock(&mutex);
	return got;
}

unsigned int __wrap_fabric_conn_read_depth(const struct fabric_conn *conn)
{
	agreed = __real_fabric_conn_read_depth(conn);
	return ours && ours < agreed ? ours : agreed;
}

static unsigned int most_of_any(void)
{
	unsigned int most = 0;

	(void)pthread_mutex_lock(&mutex);
	counting = false;
	assert_int_equal(nr_chains, 0);
	for (unsigned int i = 0; i < CONNS; i++) {
		assert_int_equal(reads[i].flying, 0);
		most = reads[i].most > most ? reads[i].most : most;
	}
	(void)pthread_mutex_unlock(&mutex);
	return most;
}

static void count_anew(void)
{
	(void)pthread_mutex_lock(&mutex);
	memset(reads, 0, sizeof(reads));
	nr_chains = 0;
	counting = true;
	(void)pthread_mutex_unlock(&mutex);
}

/* ---- the host ---------------------------------------------------------------------------------- */

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_start(&rig);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	return 0;
}

/* A Write to the place, whose data lie in many pieces. */
static void post_write(struct host_queue *q, unsigned int slot, unsigned int place)
{
	struct nvme_command *cmd = host_command(q, slot, NVME_IO_WRITE);
	struct nvme_sgl_desc *list = (void *)(cmd + 1);
	uint32_t piece = BLOCKS * 512 / NVME_MAX_KEYED;

	cmd->nsid = htole32(TEST_NSID);
	cmd->cdw10 = htole32(place * BLOCKS);
	cmd->cdw12 = htole32(BLOCKS - 1);
	for (unsigned int i = 0; i < NVME_MAX_KEYED; i++)
		nvme_keyed_sgl_set(&list[i], (uint64_t)(uintptr_t)(q->data + (size_t)i * piece),
				   piece, q->mr->rkey, NVME_SGL_ADDRESS);
	nvme_offset_sgl_set(&cmd->sgl, 0, NVME_MAX_KEYED * sizeof(*list));
	cmd->sgl.type = NVME_SGL_LAST_SEGMENT << 4 | NVME_SGL_OFFSET;
	host_post(q, slot, 64 + NVME_MAX_KEYED * sizeof(*list));
}

/* The host answers `ird` READs at a time, and the adapter here can have `limit` in flight. */
static void assert_bound(uint16_t cntlid, uint8_t ird, unsigned int limit, unsigned int want)
{
	struct nvmf_rdma_cm_request request = {
		.qid = htole16(1),
		.hrqsize = htole16(HOST_DEPTH),
		.hsqsize = htole16(HOST_DEPTH - 1),
	};
	struct host_queue io;

	ours = limit;
	assert_true(host_connect_depths(&rig, &io, &request, sizeof(request), ird, 4));
	assert_int_equal(host_associate(&io, 1, cntlid, TEST_NQN, 0), 0);
	assert_int_equal(agreed, ird);
	count_anew();
	for (unsigned int slot = 1; slot <= WRITES; slot++)
		post_write(&io, slot, slot);
	for (unsigned int slot = 1; slot <= WRITES; slot++)
		assert_int_equal(host_wait(&io, slot), 0);
	/* All of it is used, too. */
	assert_int_equal(most_of_any(), want);
	host_close(&io);
}

static void test_host(void **state)
{
	struct host_queue admin;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	assert_bound(cntlid, 1, 0, 1);
	assert_bound(cntlid, 2, 0, 2);
	assert_bound(cntlid, 5, 0, 5);
	assert_bound(cntlid, 16, 0, 16);
	host_close(&admin);
}

static void test_adapter(void **state)
{
	struct host_queue admin;
	uint16_t cntlid;

	(void)state;
	cntlid = host_admin(&rig, &admin);
	assert_bound(cntlid, 16, 1, 1);
	assert_bound(cntlid, 16, 3, 3);
	assert_bound(cntlid, 4, 9, 4);
	host_close(&admin);
}

/* Each queue pair has its own. */
static void test_two(void **state)
{
	struct nvmf_rdma_cm_request request = {.hrqsize = htole16(HOST_DEPTH),
					       .hsqsize = htole16(HOST_DEPTH - 1)};
	struct host_queue admin, io[2];
	uint16_t cntlid;

	(void)state;
	ours = 0;
	cntlid = host_admin(&rig, &admin);
	for (uint16_t i = 0; i < 2; i++) {
		request.qid = htole16((uint16_t)(i + 1));
		assert_true(host_connect_depths(&rig, &io[i], &request, sizeof(request), 3, 4));
		assert_int_equal(host_associate(&io[i], (uint16_t)(i + 1), cntlid, TEST_NQN, 0), 0);
	}
	count_anew();
	for (unsigned int slot = 1; slot <= WRITES; slot++) {
		/* Apart: a queue that we are not looking at answers no READ, and would hold the other up. */
		post_write(&io[0], slot, slot);
		post_write(&io[1], slot, WRITES + slot);
	}
	for (unsigned int slot = 1; slot <= WRITES; slot++) {
		assert_int_equal(host_wait(&io[0], slot), 0);
		assert_int_equal(host_wait(&io[1], slot), 0);
	}
	assert_int_equal(most_of_any(), 3);
	assert_true(reads[0].most == 3 && reads[1].most == 3);
	host_close(&io[0]);
	host_close(&io[1]);
	host_close(&admin);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adapter, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two, setup, teardown),
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
