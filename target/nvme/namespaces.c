// SPDX-License-Identifier: BSD-3-Clause
/*
 * Namespaces that come and go while I/O runs. Control loop. A holding takes a slot, which every
 * reactor is told of; its removal goes in two steps, since who is told to give its grants back must
 * still be heard:
 *
 *   detach   new commands find no such namespace; hosts are told. The holding is stopped meanwhile.
 *   remove   when no reactor has a command left that ever found it, the slot is free.
 */
#include <errno.h>

#include "nvme/resv.h"
#include "util/log.h"

DEFINE_COUNTER(namespaces_added, "nvme_namespaces_added", "Namespaces added");
DEFINE_COUNTER(namespaces_removed, "nvme_namespaces_removed", "Namespaces removed");
DEFINE_COUNTER(namespace_cuts, "nvme_namespace_cuts",
	       "Block queues cut since commands on a removed namespace did not end");

struct ns_home *subsystem_home(const struct nvme_subsystem *s, uint32_t nsid)
{
	struct nvme_target *t = s->target;

	for (unsigned int i = 0; i < t->nr_homes; i++) {
		struct ns_home *home = &t->homes[i];

		if (home->holding && home->subsystem == s && holding_nsid(home->holding) == nsid)
			return home;
	}
	return NULL;
}

static struct ns_home *home_of(const struct nvme_subsystem *s, const struct holding *h)
{
	struct ns_home *home = subsystem_home(s, holding_nsid(h));

	assert(home && home->holding == h);
	return home;
}

/* ---- add -------------------------------------------------------------------------------------- */

static void attached(struct loop_msg *msg)
{
	struct ns_home *home = container_of(msg, struct ns_home, attached_msg);
	struct nvme_target *t = home->subsystem->target;

	t->nr_attaching--;
	target_check_stopped(t);
}

static unsigned int free_slot(const struct nvme_target *t)
{
	unsigned int slot = 0;

	while (slot < t->nr_homes && t->homes[slot].holding)
		slot++;
	return slot;
}

int nvme_subsystem_add(struct nvme_subsystem *s, struct holding *h)
{
	struct nvme_target *t = s->target;
	uint32_t nsid = holding_nsid(h);
	uint16_t ana_group = (uint16_t)max_u64(holding_config(h)->ana_group, 1);
	unsigned int slot = free_slot(t);
	struct interlock *interlock;
	struct ns_home *home;
	int err;

	if (t->stopping)
		return -ESHUTDOWN;
	if (nsid == 0 || nsid > s->max_nsid || ana_group > NVME_MAX_ANA_GROUPS)
		return -ERANGE;
	if (subsystem_home(s, nsid))
		return -EEXIST;
	if (slot == NVME_MAX_NAMESPACES)
		return -ENOSPC;
	interlock = interlock_new();
	if (!interlock)
		return -ENOMEM;
	home = &t->homes[slot];
	/* The sequence numbers go on: reactors have seen those of whoever was here before. */
	home->holding = h;
	home->subsystem = s;
	home->interlock = interlock;
	home->announced_bytes = 0;
	home->ana_group = ana_group;
	home->detached = false;
	err = resv_new(t, slot);
	if (err) {
		interlock_free(interlock);
		home->holding = NULL;
		home->interlock = NULL;
		return err;
	}
	if (slot == t->nr_homes)
		t->nr_homes++;
	t->change_count++;
	counter_add(&namespaces_added, 1);
	holdings_attach(t, slot, attached);
	return 0;
}

/* ---- remove ----------------------------------------------------------------------------------- */

/* A host that does not take or give its data holds its commands up, and so the removal. */
static void out_of_patience(struct loop_timer *timer)
{
	struct ns_home *home = container_of(timer, struct ns_home, patience);
	struct nvme_target *t = home->subsystem->target;
	size_t slot = (size_t)(home - t->homes);
	struct list *l;

	list_for_each (l, &t->queues) {
		struct queue *q = list_entry(l, struct queue, link);

		if (!q->has_qp || !queue_is_nvme(q) || q->state >= QUEUE_STOPPING ||
		    atomic_load_explicit(&q->requests[slot], memory_order_acquire) == 0)
			continue;
		(void)fabric_conn_fence(q->conn);
		counter_add(&namespace_cuts, 1);
		log_warning("removal of %s: the queue of %s has commands on it that do not end and "
			    "was cut; the host reconnects",
			    holding_name(home->holding), q->address);
		queue_stop(q, "its commands held the removal of a namespace up");
	}
}

void nvme_subsystem_detach(struct nvme_subsystem *s, struct holding *h)
{
	struct nvme_target *t = s->target;
	struct ns_home *home = home_of(s, h);

	if (home->detached)
		return;
	home->detached = true;
	t->change_count++;
	holdings_detach(t, (unsigned int)(home - t->homes));
	/* Behind it: who looks on this event sees it gone. */
	controllers_ns_changed(t, home);
	if (home->announced_bytes > 0)
		ana_members_changed(t, home->ana_group);
	home->announced_bytes = 0;
	home->patience.fn = out_of_patience;
	loop_timer_set(t->env.control, &home->patience,
		       now_ns() + (uint64_t)NVME_REMOVE_DEADLINES * t->env.holdings->deadline_ms *
					  NS_PER_MS);
}

static void forgotten(struct loop_msg *msg)
{
	struct ns_home *home = container_of(msg, struct ns_home, forgotten_msg);

	loop_timer_cancel(home->subsystem->target->env.control, &home->patience);
	resv_free(home->resv);
	home->resv = NULL;
	interlock_free(home->interlock);
	home->interlock = NULL;
	home->holding = NULL;
	home->subsystem->target->change_count++;
	counter_add(&namespaces_removed, 1);
	home->removed(home->removed_arg);
}

/* Reactors are told nothing any more of its reservations: they may forget it. */
static void retired(struct ns_home *home)
{
	holdings_forget(home->subsystem->target,
			(unsigned int)(home - home->subsystem->target->homes), forgotten);
}

void nvme_subsystem_remove(struct nvme_subsystem *s, struct holding *h, void (*done)(void *arg),
			   void *arg)
{
	struct ns_home *home = home_of(s, h);

	nvme_subsystem_detach(s, h);
	home->removed = done;
	home->removed_arg = arg;
	resv_retire(home->resv, retired);
}
