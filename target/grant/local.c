// SPDX-License-Identifier: BSD-3-Clause
/*
 * Local operations under watch that name a range: recalls of what they touch (range.c), while the rest
 * is served on. They are let go on with the proof; once what they do seems to have ended, the range is
 * taken back: a fresh look, registration, clients told. Whatever else recalls the whole export goes on
 * beside that. Control loop.
 */
#include "grant/internal.h"

#include <stdlib.h>

struct local {
	struct holding_range range;
	struct tenure_part part;
	struct region_gap gap; /* the same bytes, while they are let go */
	struct holding *h;
	struct list link; /* holding.locals */
	bool let_go;
	bool ending;
};

static struct local *local_of(struct list *l)
{
	return list_entry(l, struct local, link);
}

/* ---- refusing -------------------------------------------------------------------------------- */

static bool is_dead(struct table_node *node, void *arg)
{
	(void)arg;
	return container_of(node, struct grant, node)->state != GRANT_LIVE;
}

bool local_refuses(const struct holding *h, const struct tenure_ask *ask)
{
	uint64_t from = ask->open ? 0 : align_down(ask->offset, LH_GRANT_ALIGN);
	uint64_t to = ask->open ? INT64_MAX : tenure_ask_end(ask);

	return h->config.refuse_while_granted && h->recall.state == RECALL_GRANTED &&
	       !table_each(&h->table, from, to, is_dead, NULL);
}

/* ---- from the wish to the end ---------------------------------------------------------------- */

static void end(struct local *local)
{
	if (local->ending)
		return;
	local->ending = true;
	if (local->let_go) {
		tenure_part_take(local->h->tenure, &local->part);
		region_gap_close(&local->gap);
	}
	holding_recall_end(&local->range);
}

static void on_retry(void *arg)
{
	const struct holding *h = arg;
	struct list *l;

	/* One that ends is freed later. */
	list_for_each (l, &h->locals) {
		struct local *local = local_of(l);

		if (local->let_go && !local->ending && tenure_part_settled(h->tenure, &local->part))
			end(local);
	}
}

static void proven(struct holding_range *range)
{
	struct local *local = container_of(range, struct local, range);

	if (local->ending)
		return;
	local->let_go = true;
	local->gap.offset = local->part.offset;
	local->gap.end = local->part.end;
	region_gap_open(&local->h->cover, &local->gap);
	tenure_part_release(local->h->tenure, &local->part);
}

static void ended(struct holding_range *range)
{
	struct local *local = container_of(range, struct local, range);
	struct holding *h = local->h;

	list_del(&local->link);
	h->nr_locals--;
	free(local);
	if (!list_empty(&h->locals))
		return;
	tenure_retry_free(h->local_retry);
	h->local_retry = NULL;
}

bool local_wanted(struct holding *h, const struct tenure_ask *ask)
{
	struct local *local;
	struct list *l;

	if (h->recall.state != RECALL_GRANTED || h->nr_locals >= GRANT_MAX_LOCALS)
		return false;
	list_for_each (l, &h->locals) {
		local = local_of(l);
		if (!local->ending && ask->offset >= local->part.offset &&
		    tenure_ask_end(ask) <= local->part.end)
			return true;
	}
	local = calloc(1, sizeof(*local));
	if (!local)
		return false;
	if (!h->local_retry &&
	    tenure_part_retry_new(h->tenure, on_retry, h, &h->local_retry) != 0) {
		h->local_retry = NULL;
		free(local);
		return false;
	}
	local->h = h;
	local->range = (struct holding_range){
		.offset = ask->offset,
		.length = ask->length,
		.done = proven,
		.ended = ended,
	};
	list_push(&h->locals, &local->link);
	h->nr_locals++;
	holding_recall_range(h, &local->range);
	local->part.offset = local->range.offset;
	local->part.end = local->range.end;
	return true;
}

void local_stop(struct holding *h)
{
	struct list *l;

	list_for_each (l, &h->locals)
		end(local_of(l));
}
