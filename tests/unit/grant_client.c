// SPDX-License-Identifier: BSD-3-Clause
/* The clients of the grant room's tests: their queues, what they ask for, what they write and read. */
#include "grant_rig.h"

#define CQ_ENTRIES  256
#define TRANSFER_MS 5000

/* ---- clients --------------------------------------------------------------------------------- */

static struct fabric_mr *register_buffer(struct fabric_pd *pd, void *bytes)
{
	struct fabric_mr *mr = NULL;

	assert_int_equal(fabric_mr_reg(pd, bytes, RIG_BUFFER, (uint64_t)(uintptr_t)bytes,
				       FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ, &mr),
			 0);
	return mr;
}

static void connect_pair(struct rig_client *c)
{
	struct fabric_qp_attr a = {
		.pd = c->peer_pd,
		.cq = c->cq,
		.max_send_wr = 8,
		.max_recv_wr = 8,
		.max_send_sge = 1,
		.max_recv_sge = 1,
	};
	struct fabric_qp_attr b = a;
	struct fabric_conn *peer, *file;

	b.pd = c->pd;
	b.cq = c->file_cq ? c->file_cq : c->cq;
	assert_int_equal(fabric_loopback_pair(c->rig->env.devices[c->device], &a, &b, &peer, &file),
			 0);
	(void)pthread_mutex_lock(&c->lock);
	c->peer = peer;
	c->file = file;
	(void)pthread_mutex_unlock(&c->lock);
}

static void bind_over(const struct rig_client *c, struct grant_bind *bind, int err)
{
	list_del(&bind->link);
	bind->err = err;
	loop_post(c->rig->env.control, &bind->msg, bind->fn);
}

/* What waits is posted, to a connection in error in vain. Under the lock. */
static void post_binds(struct rig_client *c, struct list *posted)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &c->binds) {
		struct grant_bind *bind = list_entry(l, struct grant_bind, link);

		if (atomic_load(&c->hold_binds))
			continue;
		bind->wr.wr_id = (uint64_t)(uintptr_t)bind;
		if (fabric_post_send(c->file, &bind->wr, NULL) < 0) {
			bind_over(c, bind, -ENOTCONN);
			continue;
		}
		list_del(l);
		list_push(posted, l);
	}
}

static void *reactor_main(void *arg)
{
	struct list posted = LIST_INIT(posted);
	struct rig_client *c = arg;

	while (!atomic_load(&c->reactor_stops)) {
		struct fabric_wc wc;
		int n;

		(void)pthread_mutex_lock(&c->lock);
		post_binds(c, &posted);
		n = fabric_cq_poll(c->file_cq, &wc, 1);
		(void)pthread_mutex_unlock(&c->lock);
		if (n != 1) {
			(void)usleep(50);
			continue;
		}
		if (list_empty(&posted) || wc.wr_id == 0)
			continue;
		atomic_fetch_add(&c->bound, wc.status == FABRIC_OK);
		bind_over(c, (struct grant_bind *)(uintptr_t)wc.wr_id,
			  wc.status == FABRIC_OK ? 0 : -ENOTCONN);
	}
	return NULL;
}

static void make_reactor(struct rig_client *c)
{
	(void)pthread_mutex_init(&c->lock, NULL);
	list_init(&c->binds);
	if (!c->rig->windows)
		return;
	assert_int_equal(fabric_cq_create(c->rig->env.devices[c->device], CQ_ENTRIES, &c->file_cq),
			 0);
}

static void end_reactor(struct rig_client *c)
{
	if (c->file_cq) {
		atomic_store(&c->reactor_stops, true);
		(void)pthread_join(c->reactor, NULL);
		assert_true(list_empty(&c->binds));
	}
	(void)pthread_mutex_destroy(&c->lock);
}

static void make_grant_client(void *arg)
{
	struct rig_client *c = arg;
	struct grant_client_config config = {
		.device = c->device,
		.pd = c->pd,
		.conn = c->file,
		.user = c,
		.name = "client",
		.host = "nqn.client",
		.cntlid = ++c->rig->last_cntlid,
	};

	if (grant_client_new(&c->rig->env, &config, &c->grants) != 0)
		c->grants = NULL;
}

void rig_client_up(struct rig *rig, struct rig_client *c)
{
	rig_client_up_on(rig, 0, c);
}

void rig_client_up_on(struct rig *rig, unsigned int device, struct rig_client *c)
{
	struct fabric_device *dev = rig->env.devices[device];

	memset(c, 0, sizeof(*c));
	c->rig = rig;
	c->device = device;
	assert_int_equal(fabric_pd_alloc(dev, &c->pd), 0);
	assert_int_equal(fabric_pd_alloc(dev, &c->peer_pd), 0);
	assert_int_equal(fabric_cq_create(dev, CQ_ENTRIES, &c->cq), 0);
	c->buffer = aligned_alloc(4096, RIG_BUFFER);
	c->anchor = aligned_alloc(4096, RIG_BUFFER);
	assert_true(c->buffer && c->anchor);
	memset(c->anchor, 0, RIG_BUFFER);
	c->buffer_mr = register_buffer(c->peer_pd, c->buffer);
	c->anchor_mr = register_buffer(c->pd, c->anchor);
	make_reactor(c);
	connect_pair(c);
	c->first_peer = c->peer;
	c->first_file = c->file;
	if (c->file_cq)
		assert_int_equal(pthread_create(&c->reactor, NULL, reactor_main, c), 0);
	atomic_store(&c->answers, true);
	rig_call(rig, make_grant_client, c);
	assert_non_null(c->grants);
}

struct gone {
	struct rig_client *c;
	sem_t sem;
};

static void on_gone(void *arg)
{
	struct gone *gone = arg;

	grant_client_free(gone->c->grants);
	gone->c->grants = NULL;
	(void)sem_post(&gone->sem);
}

static void do_gone(void *arg)
{
	struct gone *gone = arg;

	grant_client_gone(gone->c->grants, on_gone, gone);
}

void rig_client_gone(struct rig_client *c)
{
	struct gone gone = {.c = c};

	(void)sem_init(&gone.sem, 0, 0);
	rig_call(c->rig, do_gone, &gone);
	rig_wait_sem(&gone.sem);
	(void)sem_destroy(&gone.sem);
}

static void destroy_second(struct rig_client *c)
{
	if (c->peer == c->first_peer)
		return;
	fabric_conn_destroy(c->peer);
	fabric_conn_destroy(c->file);
}

void rig_client_reconnect(struct rig_client *c)
{
	destroy_second(c);
	connect_pair(c);
}

void rig_client_down(struct rig_client *c)
{
	if (c->grants)
		rig_client_gone(c);
	end_reactor(c);
	destroy_second(c);
	fabric_conn_destroy(c->first_peer);
	fabric_conn_destroy(c->first_file);
	assert_int_equal(fabric_mr_dereg(c->buffer_mr), 0);
	assert_int_equal(fabric_mr_dereg(c->anchor_mr), 0);
	free(c->buffer);
	free(c->anchor);
	/* Fails while a grant's key is alive. */
	assert_int_equal(fabric_pd_free(c->pd), 0);
	assert_int_equal(fabric_pd_free(c->peer_pd), 0);
	fabric_cq_destroy(c->cq);
	if (c->file_cq)
		fabric_cq_destroy(c->file_cq);
}

struct acquiring {
	struct rig_client *c;
	const struct grant_want *want;
	struct grant_answer answer;
	sem_t sem;
};

static void on_answer(void *arg, const struct grant_answer *answer)
{
	struct acquiring *a = arg;

	a->answer = *answer;
	(void)sem_post(&a->sem);
}

static void do_acquire(void *arg)
{
	struct acquiring *a = arg;

	grant_acquire(a->c->rig->h, a->c->grants, a->want, on_answer, a);
}

struct grant_answer rig_acquire_want(struct rig_client *c, const struct grant_want *want)
{
	struct acquiring a = {.c = c, .want = want};

	(void)sem_init(&a.sem, 0, 0);
	rig_call(c->rig, do_acquire, &a);
	rig_wait_sem(&a.sem);
	(void)sem_destroy(&a.sem);
	return a.answer;
}

struct grant_answer rig_acquire(struct rig_client *c, uint64_t offset, uint64_t length,
				unsigned int access)
{
	struct grant_want want = {.offset = offset, .length = length, .access = access};

	return rig_acquire_want(c, &want);
}

struct releasing {
	struct rig_client *c;
	const struct grant_give_back *what;
	unsigned int n;
	struct grant_answer *answers; /* of each, in the order in which they come */
	sem_t sem;
};

static void on_release(void *arg, const struct grant_answer *answer)
{
	struct releasing *r = arg;

	*r->answers++ = *answer;
	(void)sem_post(&r->sem);
}

static void do_release(void *arg)
{
	struct releasing *r = arg;

	for (unsigned int i = 0; i < r->n; i++)
		grant_release(r->c->rig->h, r->c->grants, &r->what[i], on_release, r);
}

void rig_release_parts(struct rig_client *c, const struct grant_give_back *parts, unsigned int n,
		       struct grant_answer *answers)
{
	struct releasing r = {.c = c, .what = parts, .n = n, .answers = answers};

	(void)sem_init(&r.sem, 0, 0);
	rig_call(c->rig, do_release, &r);
	for (unsigned int i = 0; i < n; i++)
		rig_wait_sem(&r.sem);
	(void)sem_destroy(&r.sem);
}

uint16_t rig_release(struct rig_client *c, uint64_t offset, uint64_t length, uint32_t generation)
{
	const struct grant_give_back what = {offset, length, generation, .split = false};
	struct grant_answer answer;

	rig_release_parts(c, &what, 1, &answer);
	return answer.status;
}

struct grant_answer rig_release_part(struct rig_client *c, uint64_t offset, uint64_t length)
{
	const struct grant_give_back what = {offset, length, .split = true};
	struct grant_answer answer;

	rig_release_parts(c, &what, 1, &answer);
	return answer;
}

/* The release comes while the acquire is under way. */
struct both {
	struct acquiring a;
	struct releasing r;
};

static void do_both(void *arg)
{
	struct both *b = arg;

	do_acquire(&b->a);
	do_release(&b->r);
}

struct grant_answer rig_acquire_and_release(struct rig_client *c, const struct grant_want *want,
					    uint16_t *released)
{
	const struct grant_give_back all = {.length = UINT64_MAX};
	struct grant_answer answer;
	struct both b = {
		.a = {.c = c, .want = want},
		.r = {.c = c, .what = &all, .n = 1, .answers = &answer},
	};

	(void)sem_init(&b.a.sem, 0, 0);
	(void)sem_init(&b.r.sem, 0, 0);
	rig_call(c->rig, do_both, &b);
	rig_wait_sem(&b.a.sem);
	rig_wait_sem(&b.r.sem);
	(void)sem_destroy(&b.a.sem);
	(void)sem_destroy(&b.r.sem);
	*released = answer.status;
	return b.a.answer;
}

/* ---- RDMA ------------------------------------------------------------------------------------ */

static int transfer(struct rig_client *c, enum fabric_op op, uint64_t address, uint32_t rkey,
		    uint32_t length)
{
	struct fabric_sge sge = {
		.addr = (uint64_t)(uintptr_t)c->buffer,
		.length = length,
		.lkey = c->buffer_mr->lkey,
	};
	struct fabric_send_wr wr = {
		.op = op,
		.flags = FABRIC_F_SIGNALED,
		.sg_list = &sge,
		.num_sge = 1,
		.remote_addr = address,
		.rkey = rkey,
	};
	uint64_t end = now_ns() + TRANSFER_MS * NS_PER_MS;
	int rc = fabric_post_send(c->peer, &wr, NULL);

	if (rc)
		return rc == -ENOTCONN ? (int)FABRIC_FLUSHED : rc;
	while (now_ns() < end) {
		struct fabric_wc wc;
		int n = fabric_cq_poll(c->cq, &wc, 1);

		if (n < 0)
			return n;
		if (n == 1 && wc.conn == c->peer)
			return (int)wc.status;
	}
	return -ETIMEDOUT;
}

int rig_write(struct rig_client *c, uint64_t address, uint32_t rkey, const void *bytes,
	      uint32_t length)
{
	int rc;

	memcpy(c->buffer, bytes, length);
	rc = transfer(c, FABRIC_OP_WRITE, address, rkey, length);
	/* Sent is not placed: a round trip, behind it on the same queue, tells. */
	if (rc == 0)
		rc = transfer(c, FABRIC_OP_READ, (uint64_t)(uintptr_t)c->anchor, c->anchor_mr->rkey,
			      8);
	return rc;
}

int rig_rdma_read(struct rig_client *c, uint64_t address, uint32_t rkey, void *bytes,
		  uint32_t length)
{
	int rc = transfer(c, FABRIC_OP_READ, address, rkey, length);

	if (rc == 0)
		memcpy(bytes, c->buffer, length);
	return rc;
}
