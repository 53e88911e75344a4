// SPDX-License-Identifier: BSD-3-Clause
/*
 * Shutdown (CC.SHN): what hosts wrote and was acknowledged becomes durable before CSTS.SHST says that
 * the shutdown is complete; where a cache is volatile that takes a while, and the host looks at CSTS
 * meanwhile. Normal and abrupt are the same. If a flush fails the shutdown is never complete, and
 * the controller says that it has failed (CSTS.CFS), until it is reset.
 *
 * Admin queue's reactor, but where said. The queue counts it as work of its own, so that neither it
 * nor the controller goes away meanwhile.
 */
#include "nvme/controller.h"

#include <string.h>

#include "util/log.h"

DEFINE_COUNTER(shutdowns, "nvme_shutdowns", "Controllers that hosts shut down");

static void next(struct controller *c);

/* Worker. */
static void flush_run(struct work *work)
{
	struct controller_shutdown *s = container_of(work, struct controller_shutdown, work);

	s->err = export_flush(s->use->serving->view->export);
}

static void flush_done(struct work *work)
{
	struct controller_shutdown *s = container_of(work, struct controller_shutdown, work);
	struct controller *c = container_of(s, struct controller, a.shutdown);

	ns_put(s->use);
	s->use = NULL;
	if (s->err) {
		log_warning(
			"controller %u: at its shutdown, what was written to namespace %u could "
			"not be made durable: %s",
			c->cntlid, s->nsid, strerror(-s->err));
		s->failed = true;
	}
	next(c);
}

static struct ns_use *find(struct controller *c, uint32_t nsid)
{
	unsigned int slot;
	struct ns_use *use = ns_find(c->a.shutdown.queue->q.nr, c->subsystem, nsid, &slot);

	if (!use || !use->serving || !export_volatile_cache(use->serving->view->export))
		return NULL;
	return use;
}

/* A reset may have come meanwhile, and another wish after that. */
static void finish(struct controller *c)
{
	struct controller_shutdown *s = &c->a.shutdown;

	if (s->again) {
		s->again = s->failed = false;
		s->nsid = 0;
		next(c);
		return;
	}
	s->busy = false;
	if ((c->a.csts & NVME_CSTS_SHST_MASK) == NVME_CSTS_SHST_OCCURRING) {
		if (s->failed)
			c->a.csts |= NVME_CSTS_CFS;
		else
			c->a.csts ^= NVME_CSTS_SHST_OCCURRING ^ NVME_CSTS_SHST_DONE;
	}
	/* The last thing: the queue may go, and the controller with it. */
	queue_done_busy(&s->queue->q);
}

/* One after another: nobody waits for it but the host that goes. */
static void next(struct controller *c)
{
	struct controller_shutdown *s = &c->a.shutdown;

	while (s->nsid < c->subsystem->max_nsid) {
		struct ns_use *use = find(c, ++s->nsid);

		if (!use)
			continue;
		ns_get(use);
		s->use = use;
		pool_submit(c->target->env.workers, &s->work, POOL_BULK, flush_run, flush_done,
			    s->queue->q.nr->loop);
		return;
	}
	finish(c);
}

void shutdown_begin(struct controller *c, struct nvme_queue *admin)
{
	struct controller_shutdown *s = &c->a.shutdown;

	/* Asked for once more. */
	if (c->a.csts & NVME_CSTS_SHST_MASK)
		return;
	counter_add(&shutdowns, 1);
	c->a.csts |= NVME_CSTS_SHST_OCCURRING;
	if (s->busy) {
		s->again = true;
		return;
	}
	s->busy = true;
	s->failed = false;
	s->queue = admin;
	s->nsid = 0;
	admin->q.busy++;
	next(c);
}
