// SPDX-License-Identifier: BSD-3-Clause
/*
 * Shared receives: made and freed on control, handed out and taken back on the reactor. A receive
 * that arrives is a capsule of the queue that the completion names; its queue may be on its way to
 * the grave, or gone, and then the receive is only posted again.
 */
#include "nvme/receives.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util/log.h"

#define POST_BATCH 32

DEFINE_COUNTER(exhausted, "nvme_shared_receives_empty",
	       "Times that all shared receives were taken");
DEFINE_COUNTER(unposted, "nvme_shared_receives_unposted",
	       "Shared receives that could not be posted at once");
DEFINE_COUNTER(
	renewals, "nvme_shared_receives_renewed",
	"Times that shared receives were posted anew, since queues that ended may have kept some");
DEFINE_COUNTER(overruns, "nvme_queue_overruns", "Queues cut since they held more than they may");

struct receive_pool {
	struct fabric_srq *srq;
	struct fabric_mr *mr;
	uint8_t *memory;
	size_t memory_bytes;
	uint32_t receive_bytes;
	unsigned int nr, taken; /* taken: not posted */
	struct capsule *capsules;
	struct list unposted; /* of the taken: nobody's, to be posted */

	/* control */
	struct nvme_reactor *nr_reactor;
	unsigned int device;
	unsigned int users;
	/* Queues that may have a receive: the users, and those whose end may have lost one. */
	unsigned int keepers;
	bool renewing; /* or that failed, for good: nobody joins */
	int err;       /* of renewing */
	struct loop_msg msg;
	struct work work;
};

static int post(struct receive_pool *pool, struct capsule *first, unsigned int n)
{
	struct fabric_recv_wr wr[POST_BATCH];
	struct fabric_sge sge[POST_BATCH];
	int err;

	assert(n <= POST_BATCH);
	for (unsigned int i = 0; i < n; i++) {
		sge[i] = (struct fabric_sge){
			.addr = (uint64_t)(uintptr_t)first[i].data,
			.length = pool->receive_bytes,
			.lkey = pool->mr->lkey,
		};
		wr[i] = (struct fabric_recv_wr){
			.next = i + 1 < n ? &wr[i + 1] : NULL,
			.wr_id = reactor_wr_id(&first[i].wr),
			.sg_list = &sge[i],
			.num_sge = 1,
		};
	}
	err = fabric_post_srq_recv(pool->srq, wr, NULL);
	if (!err)
		pool->taken -= n;
	return err;
}

void receive_pool_post(struct receive_pool *pool, struct capsule *capsule)
{
	struct list *l;

	while (post(pool, capsule, 1) == 0) {
		l = list_pop(&pool->unposted);
		if (!l)
			return;
		capsule = list_entry(l, struct capsule, link);
	}
	list_push(&pool->unposted, &capsule->link);
	counter_add(&unposted, 1);
}

bool receive_pool_short(const struct receive_pool *pool)
{
	return pool->nr - pool->taken < pool->nr / 4;
}

struct fabric_srq *receive_pool_srq(const struct receive_pool *pool)
{
	return pool->srq;
}

static void received(struct reactor_wr *wr, const struct fabric_wc *wc)
{
	struct capsule *capsule = container_of(wr, struct capsule, wr);
	struct receive_pool *pool = capsule->pool;
	struct queue *q = wc->user;
	struct nvme_queue *nq;

	if (++pool->taken == pool->nr)
		counter_add(&exhausted, 1);
	/* If it was alive when this was polled, a later message frees it: it may be looked at. */
	if (q && wc->status != FABRIC_OK)
		queue_fail_by(q, wc->status, "a receive failed");
	if (!q || q->failed) {
		receive_pool_post(pool, capsule);
		return;
	}
	nq = nvme_queue_of(q);
	/* With receives of its own it would have found none. */
	if (nq->in_hand == q->receives) {
		counter_add(&overruns, 1);
		queue_fail_as(q, QUEUE_END_GARBAGE, "it sent more commands than its queue holds");
		receive_pool_post(pool, capsule);
		return;
	}
	capsule->queue = nq;
	capsule->bytes = wc->byte_len;
	nq->in_hand++;
	request_start(capsule);
}

/* ---- birth and end ---------------------------------------------------------------------------- */

static void shared_free(struct receive_pool *pool)
{
	if (!pool)
		return;
	if (pool->srq)
		fabric_srq_destroy(pool->srq);
	if (pool->mr)
		(void)fabric_mr_dereg(pool->mr);
	if (pool->memory)
		(void)munmap(pool->memory, pool->memory_bytes);
	free(pool->capsules);
	free(pool);
}

static int make_memory(struct receive_pool *pool, struct fabric_pd *pd, uint32_t stride)
{
	void *memory;

	pool->memory_bytes = align_up((size_t)pool->nr * stride, 4096);
	memory = mmap(NULL, pool->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	pool->memory = memory;
	return fabric_mr_reg(pd, memory, pool->memory_bytes, (uint64_t)(uintptr_t)memory,
			     FABRIC_ACCESS_LOCAL_WRITE, &pool->mr);
}

/* All receives are nobody's. */
static int make_queue(struct receive_pool *pool, struct fabric_pd *pd)
{
	int err = fabric_srq_create(pd, pool->nr, 1, &pool->srq);

	pool->taken = pool->nr;
	list_init(&pool->unposted);
	for (unsigned int i = 0; i < pool->nr && !err; i += POST_BATCH)
		err = post(pool, &pool->capsules[i],
			   (unsigned int)min_u64(POST_BATCH, pool->nr - i));
	return err;
}

static int shared_new(struct fabric_pd *pd, const struct nvme_limits *limits,
		      struct receive_pool **out)
{
	struct receive_pool *pool = calloc(1, sizeof(*pool));
	uint32_t stride;
	int err = -ENOMEM;

	if (!pool)
		return -ENOMEM;
	pool->nr = limits->shared_receives;
	pool->receive_bytes = (uint32_t)sizeof(struct nvme_command) + limits->inline_bytes;
	stride = (uint32_t)align_up(pool->receive_bytes, 64);
	pool->capsules = calloc(pool->nr, sizeof(*pool->capsules));
	if (!pool->capsules)
		goto fail;
	err = make_memory(pool, pd, stride);
	if (err)
		goto fail;
	for (unsigned int i = 0; i < pool->nr; i++) {
		pool->capsules[i] = (struct capsule){
			.wr.done = received,
			.pool = pool,
			.data = pool->memory + (size_t)i * stride,
		};
	}
	err = make_queue(pool, pd);
	if (err)
		goto fail;
	*out = pool;
	return 0;

fail:
	shared_free(pool);
	return err;
}

/* Room for all of them in each of the reactor's completion queues of the device, or in none. */
static bool reserve(struct nvme_reactor *nr, unsigned int device, unsigned int entries)
{
	const struct fabric_device *dev = nr->target->env.holdings->devices[device];
	unsigned int n = 0, has;

	for (; n < REACTOR_MAX_CQS && (has = reactor_cq_entries(nr->reactor, dev, n)); n++) {
		if (has / 2 < entries)
			return false;
	}
	while (n-- > 0)
		nr->cq_reserved[device][n] += entries;
	return true;
}

static void drop_device(struct nvme_target *t, unsigned int device)
{
	for (unsigned int i = 0; i < t->env.nr_reactors; i++) {
		shared_free(t->reactors[i].receives[device]);
		t->reactors[i].receives[device] = NULL;
		memset(t->reactors[i].cq_reserved[device], 0,
		       sizeof(t->reactors[i].cq_reserved[device]));
	}
}

static int make_device(struct nvme_target *t, unsigned int device)
{
	struct fabric_pd *pd = t->env.holdings->block_pds[device];
	const struct fabric_device_info *info = fabric_device_info(fabric_pd_device(pd));

	/* Its connections would end when the receives do. */
	if (info->transport == FABRIC_TRANSPORT_IWARP && !info->software_fabric)
		return -EPROTONOSUPPORT;
	for (unsigned int i = 0; i < t->env.nr_reactors; i++) {
		struct nvme_reactor *nr = &t->reactors[i];
		int err = reserve(nr, device, t->env.limits.shared_receives) ? 0 : -ENOSPC;

		if (!err)
			err = shared_new(pd, &t->env.limits, &nr->receives[device]);
		if (err) {
			drop_device(t, device);
			return err;
		}
		nr->receives[device]->nr_reactor = nr;
		nr->receives[device]->device = device;
	}
	return 0;
}

static const char *why_not(int err)
{
	switch (err) {
	case -EPROTONOSUPPORT:
		return "iWARP cannot wait for a receive";
	case -EOPNOTSUPP:
		return "the adapter has no shared receive queues";
	case -ENOSPC:
		return "its completion queues are too short";
	default:
		return strerror(-err);
	}
}

void receives_new(struct nvme_target *t)
{
	const struct holding_env *h = t->env.holdings;

	for (unsigned int d = 0; d < h->nr_devices && t->env.limits.shared_receives > 0; d++) {
		int err = make_device(t, d);

		t->shares_receives[d] = !err;
		/* Nobody asks an adapter; the software fabric is ours. */
		t->loses_receives[d] = !fabric_device_info(h->devices[d])->software_fabric;
		if (!err)
			log_info("%s: the I/O queues of each reactor share %u receives",
				 fabric_device_info(h->devices[d])->name,
				 t->env.limits.shared_receives);
		else
			log_warning("%s cannot share %u receives, as limits.shared_receives wants "
				    "(%s): its queues have receives of their own",
				    fabric_device_info(h->devices[d])->name,
				    t->env.limits.shared_receives, why_not(err));
	}
}

void receives_free(struct nvme_target *t)
{
	for (unsigned int d = 0; d < GRANT_MAX_DEVICES; d++)
		drop_device(t, d);
}

/* ---- who takes from it ------------------------------------------------------------------------ */

bool receive_pool_may_join(const struct receive_pool *pool)
{
	return pool && !pool->renewing && pool->keepers < pool->nr / 2;
}

void receive_pool_join(struct receive_pool *pool)
{
	pool->users++;
	pool->keepers++;
}

/* Registrar. */
static void renew_run(struct work *work)
{
	struct receive_pool *pool = container_of(work, struct receive_pool, work);
	const struct nvme_target *t = pool->nr_reactor->target;

	fabric_srq_destroy(pool->srq);
	pool->srq = NULL;
	pool->err = make_queue(pool, t->env.holdings->block_pds[pool->device]);
}

static void renew_done(struct work *work)
{
	struct receive_pool *pool = container_of(work, struct receive_pool, work);
	struct nvme_target *t = pool->nr_reactor->target;

	counter_add(&renewals, 1);
	pool->keepers = 0;
	pool->renewing = pool->err != 0;
	if (pool->err)
		log_warning("the shared receives of reactor %u could not be posted anew (%s): its "
			    "queues have receives of their own",
			    pool->nr_reactor->index, strerror(-pool->err));
	t->nr_renewing--;
	target_check_stopped(t);
}

static void renew_settled(struct loop_msg *msg)
{
	struct receive_pool *pool = container_of(msg, struct receive_pool, msg);
	const struct nvme_target *t = pool->nr_reactor->target;

	pool_submit(t->env.registrar, &pool->work, POOL_NORMAL, renew_run, renew_done,
		    t->env.control);
}

/* Reactor: what queues that are gone gave back after their end. */
static void renew_settle(struct loop_msg *msg)
{
	struct receive_pool *pool = container_of(msg, struct receive_pool, msg);

	reactor_take_completions(pool->nr_reactor->reactor);
	loop_post(pool->nr_reactor->target->env.control, &pool->msg, renew_settled);
}

void receive_pool_leave(struct receive_pool *pool)
{
	struct nvme_target *t = pool->nr_reactor->target;

	pool->users--;
	if (!t->loses_receives[pool->device])
		pool->keepers--;
	if (pool->users > 0 || pool->keepers == 0 || pool->keepers < pool->nr / 4 || t->stopping)
		return;
	pool->renewing = true;
	t->nr_renewing++;
	loop_post(pool->nr_reactor->loop, &pool->msg, renew_settle);
}

/* ---- the stop --------------------------------------------------------------------------------- */

static void settled(struct loop_msg *msg)
{
	struct nvme_target *t = container_of(msg, struct nvme_reactor, settle_msg)->target;

	if (--t->nr_settling == 0)
		target_check_stopped(t);
}

static void settle(struct loop_msg *msg)
{
	struct nvme_reactor *nr = container_of(msg, struct nvme_reactor, settle_msg);

	reactor_take_completions(nr->reactor);
	loop_post(nr->target->env.control, &nr->settle_msg, settled);
}

bool receives_settle(struct nvme_target *t)
{
	bool any = false;

	if (t->settling)
		return t->nr_settling == 0;
	for (unsigned int d = 0; d < GRANT_MAX_DEVICES; d++)
		any |= t->shares_receives[d];
	if (!any)
		return true;
	t->settling = true;
	t->nr_settling = t->env.nr_reactors;
	for (unsigned int i = 0; i < t->env.nr_reactors; i++)
		loop_post(t->reactors[i].loop, &t->reactors[i].settle_msg, settle);
	return false;
}
