// SPDX-License-Identifier: BSD-3-Clause
/*
 * Grants that somebody above has come to forbid. What such clients are about to get is refused; what
 * they have is taken back by a recall of the whole export, since that is what clients know how to
 * answer, and what ends in time whatever they do. Nobody else wants the file, so nobody
 * is waited for before it is taken again. Control loop.
 */
#include "grant/internal.h"

#include "util/counter.h"

DEFINE_COUNTER(evict_recalls, "evict_recalls", "Recalls since a client's grants were forbidden");

static bool holds_forbidden(const struct holding *h, const struct holding_eviction *e, bool live)
{
	struct list *l;

	list_for_each (l, &h->grants) {
		const struct grant *g = list_entry(l, struct grant, link);

		if ((!live || g->state == GRANT_LIVE) && e->forbidden(e, g->client, g->access))
			return true;
	}
	return false;
}

static void on_done(struct loop_msg *msg)
{
	struct holding_eviction *e = container_of(msg, struct holding_eviction, msg);

	e->done(e);
}

void evict_check(struct holding *h)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &h->evictions) {
		struct holding_eviction *e = list_entry(l, struct holding_eviction, link);

		if (holds_forbidden(h, e, false))
			continue;
		list_del(&e->link);
		loop_post(h->env->control, &e->msg, on_done);
	}
}

void holding_evict(struct holding *h, struct holding_eviction *e)
{
	list_push(&h->evictions, &e->link);
	grant_cancel_forbidden(h, e);
	/* In any other state they are on their way out. */
	if (h->recall.state == RECALL_GRANTED && holds_forbidden(h, e, true)) {
		counter_add(&evict_recalls, 1);
		h->evicting = true;
		holding_event(h, RECALL_BREAK);
	}
	evict_check(h);
}
