// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reservations of one namespace at work. Control loop, but for what a worker does with the file.
 *
 *   op -> step -> [store] -> [publish] -> [evict, abort] -> notices -> done -> next op
 *
 * One change at a time, whoever asks for it: each sees the state that the one before it left. The
 * state holds from the moment it is on disk: from then on no grant is given against it, and none of
 * the steps that follow can fail. An answered command therefore means: it is kept (if it persists),
 * every reactor judges by it, and nobody whom it shuts out has a key any more.
 */
#include "nvme/resv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/direct_queue.h"
#include "util/log.h"

DEFINE_COUNTER(evictions, "nvme_resv_evictions", "Reservation changes that may take back grants");

struct resv_part {
	struct loop_msg msg;
	struct ns_resv *nsr;
	struct nvme_reactor *nr;
};

struct ns_resv {
	struct nvme_target *target;
	struct ns_home *home;
	unsigned int slot;
	struct resv_state state;
	_Atomic bool persists; /* of state: for Get Features */
	bool served;	       /* state is what holds; before: what a worker has loaded */

	/* A worker's while it opens the export, or stores. */
	struct resv_state kept;
	uint8_t uuid[16];
	struct work work;
	int err;

	struct list waiting; /* struct resv_op */
	struct resv_op *op;  /* being done */
	struct resv_state next;
	struct resv_outcome outcome;
	unsigned int pending; /* of evict and abort */
	struct holding_eviction eviction;
	bool retiring;
	void (*retired_fn)(struct ns_home *home);
	struct loop_msg retired_msg;

	/* What reactors look at, NULL while nothing is held; and what they did before. */
	struct resv_state *published, *retired;
	bool publishing;
	_Atomic unsigned int parts_left;
	struct loop_msg published_msg;
	struct resv_part parts[];
};

static void next_op(struct ns_resv *nsr);
static void effects(struct ns_resv *nsr);

static const struct export_config *config_of(const struct ns_resv *nsr)
{
	return &holding_config(nsr->home->holding)->export;
}

static bool can_persist(const struct ns_resv *nsr)
{
	return config_of(nsr)->state_dir[0] != '\0';
}

/* ---- birth ------------------------------------------------------------------------------------ */

/* A worker has opened the export. Once it was served its reservations are here, not there. */
static int opened(void *arg, const struct export *e, struct errtext *err)
{
	struct ns_resv *nsr = arg;

	if (nsr->served)
		return 0;
	memcpy(nsr->uuid, export_identity(e)->uuid, sizeof(nsr->uuid));
	return resv_load(config_of(nsr)->state_dir, config_of(nsr)->name, nsr->uuid, &nsr->kept,
			 err);
}

int resv_new(struct nvme_target *t, unsigned int slot)
{
	unsigned int n = t->env.nr_reactors;
	struct ns_resv *nsr = calloc(1, sizeof(*nsr) + n * sizeof(nsr->parts[0]));

	if (!nsr)
		return -ENOMEM;
	nsr->target = t;
	nsr->home = &t->homes[slot];
	nsr->slot = slot;
	list_init(&nsr->waiting);
	for (unsigned int i = 0; i < n; i++) {
		nsr->parts[i].nsr = nsr;
		nsr->parts[i].nr = &t->reactors[i];
	}
	nsr->home->resv = nsr;
	holding_on_open(nsr->home->holding, opened, nsr);
	return 0;
}

void resv_free(struct ns_resv *nsr)
{
	if (!nsr)
		return;
	assert(!nsr->op && list_empty(&nsr->waiting));
	free(nsr->published);
	free(nsr->retired);
	free(nsr);
}

/* ---- reactors --------------------------------------------------------------------------------- */

static void on_published(struct loop_msg *msg)
{
	struct ns_resv *nsr = container_of(msg, struct ns_resv, published_msg);

	free(nsr->retired);
	nsr->retired = NULL;
	nsr->publishing = false;
	if (nsr->op)
		effects(nsr);
	else
		next_op(nsr);
}

/* On each reactor: commands that it looks at from here on are judged by the new state. */
static void part_arrived(struct loop_msg *msg)
{
	struct resv_part *part = container_of(msg, struct resv_part, msg);
	struct ns_resv *nsr = part->nsr;

	part->nr->slots[nsr->slot].reservation = nsr->published;
	if (atomic_fetch_sub(&nsr->parts_left, 1) == 1)
		loop_post(nsr->target->env.control, &nsr->published_msg, on_published);
}

/* Without memory for a copy it must not go on as if nothing were reserved. */
static struct resv_state *copy_of(const struct resv_state *state)
{
	struct resv_state *copy = malloc(sizeof(*copy));

	if (!copy) {
		log_error("out of memory in the middle of a reservation");
		abort();
	}
	*copy = *state;
	return copy;
}

/* False: reactors know already all that they need to. */
static bool publish(struct ns_resv *nsr)
{
	unsigned int n = nsr->target->env.nr_reactors;

	assert(!nsr->publishing && !nsr->retired);
	if (nsr->state.type == NVME_RESV_NONE && !nsr->published)
		return false;
	nsr->retired = nsr->published;
	nsr->published = nsr->state.type == NVME_RESV_NONE ? NULL : copy_of(&nsr->state);
	nsr->publishing = true;
	atomic_store(&nsr->parts_left, n);
	for (unsigned int i = 0; i < n; i++)
		loop_post(nsr->parts[i].nr->loop, &nsr->parts[i].msg, part_arrived);
	return true;
}

void resv_served(struct ns_resv *nsr)
{
	if (nsr->served)
		return;
	nsr->served = true;
	nsr->state = nsr->kept;
	atomic_store_explicit(&nsr->persists, nsr->state.ptpl, memory_order_relaxed);
	if (nsr->state.nr > 0)
		log_notice("%s: %u hosts are registered for reservations, type %d is held",
			   config_of(nsr)->name, nsr->state.nr, (int)nsr->state.type);
	/* Ahead of what makes the namespace known there. */
	(void)publish(nsr);
}

/* ---- what a change brings about --------------------------------------------------------------- */

static void finish(struct ns_resv *nsr)
{
	struct resv_op *op = nsr->op;

	nsr->op = NULL;
	op->done(op, nsr->outcome.status, nsr->outcome.fault);
	next_op(nsr);
}

static void effect_done(struct ns_resv *nsr)
{
	assert(nsr->pending > 0);
	if (--nsr->pending > 0)
		return;
	for (unsigned int i = 0; i < nsr->outcome.nr_notices; i++)
		controllers_resv_notice(nsr->target, nsr->home, &nsr->outcome.notices[i]);
	finish(nsr);
}

static bool forbidden(const struct holding_eviction *eviction, const struct grant_client *client,
		      unsigned int access)
{
	const struct ns_resv *nsr = container_of(eviction, const struct ns_resv, eviction);
	const struct direct_queue *dq = grant_client_user(client);
	const struct controller *c = direct_queue_owner(dq);

	return c && !resv_may_acquire(nsr, c->hostid, access);
}

static void evicted(struct holding_eviction *eviction)
{
	effect_done(container_of(eviction, struct ns_resv, eviction));
}

/* Every reactor judges by the new state. */
static void effects(struct ns_resv *nsr)
{
	nsr->pending = 1;
	if (nsr->state.type != NVME_RESV_NONE) {
		nsr->pending++;
		counter_add(&evictions, 1);
		nsr->eviction.forbidden = forbidden;
		nsr->eviction.done = evicted;
		holding_evict(nsr->home->holding, &nsr->eviction);
	}
	if (nsr->outcome.abort) {
		nsr->pending++;
		resv_abort(nsr, nsr->home, &nsr->outcome, effect_done);
	}
	effect_done(nsr);
}

/* It holds from here on. */
static void take_effect(struct ns_resv *nsr)
{
	nsr->state = nsr->next;
	atomic_store_explicit(&nsr->persists, nsr->state.ptpl, memory_order_relaxed);
	if (!publish(nsr))
		effects(nsr);
}

/* Touches kept, uuid and err. */
static void store_run(struct work *work)
{
	struct ns_resv *nsr = container_of(work, struct ns_resv, work);

	nsr->err =
		resv_store(config_of(nsr)->state_dir, config_of(nsr)->name, nsr->uuid, &nsr->kept);
}

static void store_done(struct work *work)
{
	struct ns_resv *nsr = container_of(work, struct ns_resv, work);

	if (nsr->err == 0) {
		take_effect(nsr);
		return;
	}
	log_error("%s: a reservation cannot be kept in %s/reservations/%s, and was refused: %s",
		  config_of(nsr)->name, config_of(nsr)->state_dir, config_of(nsr)->name,
		  strerror(-nsr->err));
	nsr->outcome.status = NVME_SC_INTERNAL;
	nsr->outcome.fault = 0;
	finish(nsr);
}

/* ---- one change after another ----------------------------------------------------------------- */

static void on_retired(struct loop_msg *msg)
{
	struct ns_resv *nsr = container_of(msg, struct ns_resv, retired_msg);

	nsr->retired_fn(nsr->home);
}

static void next_op(struct ns_resv *nsr)
{
	struct list *l;

	while (!nsr->op && !nsr->publishing && (l = list_pop(&nsr->waiting))) {
		struct resv_op *op = list_entry(l, struct resv_op, link);

		resv_step(&nsr->state, &op->event, can_persist(nsr), &nsr->next, &nsr->outcome);
		if (!nsr->outcome.changed) {
			op->done(op, nsr->outcome.status, nsr->outcome.fault);
			continue;
		}
		nsr->op = op;
		if (!nsr->next.ptpl && !nsr->state.ptpl) {
			take_effect(nsr);
			continue;
		}
		nsr->kept = nsr->next;
		pool_submit(nsr->target->env.workers, &nsr->work, POOL_NORMAL, store_run,
			    store_done, nsr->target->env.control);
	}
	if (nsr->retiring && !nsr->op && !nsr->publishing) {
		nsr->retiring = false;
		loop_post(nsr->target->env.control, &nsr->retired_msg, on_retired);
	}
}

void resv_change(struct ns_resv *nsr, struct resv_op *op)
{
	/* What is on disk is not known yet. */
	if (!nsr->served) {
		op->done(op, NVME_SC_NS_NOT_READY, 0);
		return;
	}
	list_push(&nsr->waiting, &op->link);
	next_op(nsr);
}

void resv_retire(struct ns_resv *nsr, void (*done)(struct ns_home *home))
{
	nsr->served = false;
	nsr->retiring = true;
	nsr->retired_fn = done;
	next_op(nsr);
}

/* ---- questions -------------------------------------------------------------------------------- */

void resv_report(const struct ns_resv *nsr, uint8_t *data, uint32_t length)
{
	const struct resv_state *s = &nsr->state;
	struct nvme_resv_status head = {
		.generation = htole32(s->generation),
		.type = (uint8_t)s->type,
		.registrants = {(uint8_t)s->nr, (uint8_t)(s->nr >> 8)},
		.ptpl = s->ptpl,
	};
	uint32_t at = sizeof(head);

	memcpy(data, &head, min_u64(length, sizeof(head)));
	for (unsigned int i = 0; i < s->nr && at < length; i++) {
		struct nvme_resv_registrant entry = {
			.cntlid = htole16(NVME_CNTLID_DYNAMIC),
			.holds = resv_holds(s, i),
			.key = htole64(s->registrants[i].key),
		};

		memcpy(entry.hostid, s->registrants[i].hostid, sizeof(entry.hostid));
		memcpy(data + at, &entry, min_u64(length - at, sizeof(entry)));
		at += sizeof(entry);
	}
}

bool resv_may_acquire(const struct ns_resv *nsr, const uint8_t hostid[RESV_HOSTID_BYTES],
		      unsigned int access)
{
	return resv_allows(&nsr->state, hostid, (access & LH_GRANT_WRITE) != 0);
}

bool resv_persists(const struct ns_resv *nsr)
{
	return atomic_load_explicit(&nsr->persists, memory_order_relaxed);
}

/* ---- what status shows ------------------------------------------------------------------------ */

/* NULL: nobody is registered. */
static const struct resv_state *state_of(const struct nvme_target *t, const struct holding *h)
{
	for (unsigned int i = 0; i < t->nr_homes; i++) {
		const struct ns_home *home = &t->homes[i];

		if (home->holding == h)
			return home->resv && home->resv->state.nr > 0 ? &home->resv->state : NULL;
	}
	return NULL;
}

bool nvme_target_reservation(const struct nvme_target *t, const struct holding *h,
			     struct nvme_resv_summary *summary)
{
	const struct resv_state *s = state_of(t, h);

	if (!s)
		return false;
	*summary = (struct nvme_resv_summary){
		.type = s->type, .persists = s->ptpl, .registrants = s->nr};
	return true;
}

static const char *nqn_of(const struct nvme_target *t, const uint8_t hostid[RESV_HOSTID_BYTES])
{
	struct list *l;

	list_for_each (l, &t->controllers) {
		const struct controller *c = list_entry(l, struct controller, link);

		if (!c->dying && memcmp(c->hostid, hostid, sizeof(c->hostid)) == 0)
			return c->hostnqn;
	}
	return NULL;
}

void nvme_target_each_registrant(const struct nvme_target *t, const struct holding *h,
				 void (*fn)(const struct nvme_registrant_status *status, void *arg),
				 void *arg)
{
	const struct resv_state *s = state_of(t, h);

	for (unsigned int i = 0; s && i < s->nr; i++) {
		const struct nvme_registrant_status status = {
			.hostid = s->registrants[i].hostid,
			.hostnqn = nqn_of(t, s->registrants[i].hostid),
			.holds = resv_holds(s, i),
		};

		fn(&status, arg);
	}
}
