// SPDX-License-Identifier: BSD-3-Clause
/*
 * Slabs: the registrations that the windows of a client's grants are bound to (grant_keys = window).
 * One is kept while its client lives and nobody wants its bytes back, also when its last window has gone:
 * whoever acquires and releases all the time then pays for a window only. It dies as soon as nothing is
 * bound to it once it is doomed: by a recall of any of its bytes, a punch, the client's end, or because
 * too many lie idle. What no slab can be had for is granted by a registration of its own. Control loop.
 */
#include "grant/internal.h"

#include <stdlib.h>

static struct slab *slab_of_client(struct list *l)
{
	return list_entry(l, struct slab, client_link);
}

static struct slab *slab_of_holding(struct list *l)
{
	return list_entry(l, struct slab, link);
}

/* ---- where there are any --------------------------------------------------------------------- */

static bool wanted(const struct holding *h, unsigned int device)
{
	return h->config.windows && region_registers(h->probes[device].rung);
}

bool slab_windows(const struct holding *h, unsigned int device)
{
	return wanted(h, device) && h->probes[device].windows && h->most_slabs > 0;
}

const char *slab_no_windows(const struct holding *h, unsigned int device)
{
	const struct region_probe *probe = &h->probes[device];

	if (!wanted(h, device))
		return NULL;
	if (!fabric_device_info(h->env->devices[device])->windows_type2)
		return "it has no type-2 memory windows";
	if (!probe->windows)
		return probe->why;
	if (h->generation > 0 && h->most_slabs == 0)
		return "a recall would have no time left for what windows are bound to: lower "
		       "max_grants_per_export";
	return NULL;
}

void slab_afford(struct holding *h, uint64_t ns)
{
	uint64_t each_ns = GRANT_KILL_NS, most;

	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		const struct region_probe *probe = &h->probes[i];

		if (wanted(h, i) && probe->windows)
			each_ns = max_u64(each_ns, GRANT_KILL_NS + probe->dereg_ns_per_key +
							   probe->dereg_ns_per_gib /
								   (GIB(1) / GRANT_SLAB_BYTES));
	}
	most = min_u64(ns / each_ns, h->env->max_grants_per_export);
	h->most_slabs = (unsigned int)min_u64(most, GRANT_MAX_SLABS);
}

/* ---- birth and end --------------------------------------------------------------------------- */

void slab_free(struct slab *s)
{
	assert(!s->mem.mr && list_empty(&s->grants));
	list_del(&s->link);
	list_del(&s->client_link);
	list_del(&s->dying_link);
	s->h->nr_slabs--;
	budget_refund(s->h, s->cost_ns);
	free(s);
}

static void doom(struct slab *s)
{
	if (s->doomed)
		return;
	s->doomed = true;
	if (list_empty(&s->grants))
		client_slab_kill(s);
}

static bool idle(const struct slab *s)
{
	return list_empty(&s->grants) && !s->doomed;
}

/* The one whose last window went longest ago goes. */
static void make_room(struct grant_client *client)
{
	struct slab *oldest = NULL;
	unsigned int n = 0;
	struct list *l;

	list_for_each (l, &client->slabs) {
		struct slab *s = slab_of_client(l);

		if (!idle(s))
			continue;
		n++;
		if (!oldest)
			oldest = s;
	}
	if (n > GRANT_IDLE_SLABS)
		doom(oldest);
}

/* Somebody else's, if need be: he has no window. */
static void make_room_for_others(const struct holding *h)
{
	struct list *l;

	list_for_each (l, &h->slabs) {
		struct slab *s = slab_of_holding(l);

		if (!idle(s))
			continue;
		doom(s);
		return;
	}
}

/* Round a grant that is in what is served now; NULL: it would not fit, or there are too many. */
static struct slab *slab_new(const struct grant *g)
{
	struct grant_client *client = g->client;
	struct holding *h = g->h;
	const uint64_t length = g->node.end - g->node.offset;
	struct grant_slab mem;
	struct slab *s;
	uint64_t ns;

	grant_slab_plan(h->env->devices[client->config.device], h->current->view, g->node.offset,
			&mem);
	range_clip(h, g->node.offset, &mem.offset, &mem.end);
	if (!grant_slab_covers(&mem, g->node.offset, length))
		return NULL;
	ns = budget_grant_ns(h, client->config.device, 1, mem.end - mem.offset);
	if (h->nr_slabs >= h->most_slabs || !budget_fits(h, ns)) {
		make_room_for_others(h);
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->mem = mem;
	s->cost_ns = ns;
	budget_charge(h, ns);
	s->h = h;
	s->client = client;
	list_init(&s->grants);
	list_push(&h->slabs, &s->link);
	list_push(&client->slabs, &s->client_link);
	list_init(&s->dying_link);
	h->nr_slabs++;
	return s;
}

/* ---- use ------------------------------------------------------------------------------------- */

static struct slab *find(const struct grant *g)
{
	struct list *l;

	list_for_each (l, &g->client->slabs) {
		struct slab *s = slab_of_client(l);

		if (s->h == g->h && !s->doomed &&
		    grant_slab_covers(&s->mem, g->node.offset, g->node.end - g->node.offset))
			return s;
	}
	return NULL;
}

void slab_get(struct grant *g)
{
	const struct holding *h = g->h;
	struct slab *s;

	assert(!g->slab);
	/* What a punch or a landlord has taken out of what is served must not be in it. */
	if (!slab_windows(h, g->client->config.device) || g->client->fenced ||
	    h->state != HOLDING_SERVING ||
	    !view_backed(h->current->view, g->node.offset, g->node.end - g->node.offset))
		return;
	s = find(g);
	if (!s)
		s = slab_new(g);
	if (!s)
		return;
	g->slab = s;
	list_push(&s->grants, &g->slab_link);
}

void slab_put(struct grant *g)
{
	struct slab *s = g->slab;

	if (!s)
		return;
	assert(!g->key.mw);
	g->slab = NULL;
	list_del(&g->slab_link);
	if (!list_empty(&s->grants))
		return;
	if (!s->mem.mr) {
		slab_free(s);
		return;
	}
	if (s->doomed) {
		client_slab_kill(s);
		return;
	}
	/* The last to become idle is the last to go. */
	list_del(&s->link);
	list_push(&s->h->slabs, &s->link);
	list_del(&s->client_link);
	list_push(&s->client->slabs, &s->client_link);
	make_room(s->client);
}

/* ---- what is wanted back --------------------------------------------------------------------- */

static bool touches(const struct slab *s, uint64_t offset, uint64_t end)
{
	return s->mem.offset < end && s->mem.end > offset;
}

static bool node_touches(const struct table_node *node, const struct holding_range *r)
{
	return node->offset < r->end && node->end > r->offset;
}

void slab_doom(struct holding *h, uint64_t offset, uint64_t end)
{
	struct list *l;

	list_for_each (l, &h->slabs) {
		struct slab *s = slab_of_holding(l);

		if (touches(s, offset, end))
			doom(s);
	}
}

void slab_recall(struct holding *h, uint64_t offset, uint64_t end)
{
	slab_doom(h, offset, end);
	grant_cancel_doomed(h);
}

void slab_doom_client(struct grant_client *client)
{
	struct list *l;

	list_for_each (l, &client->slabs)
		doom(slab_of_client(l));
}

bool slab_reaches(const struct holding *h, uint64_t offset, uint64_t end)
{
	struct list *l;

	list_for_each (l, &h->slabs) {
		if (touches(slab_of_holding(l), offset, end))
			return true;
	}
	return false;
}

bool slab_in_use(const struct holding *h, uint64_t offset, uint64_t end)
{
	struct list *l;

	list_for_each (l, &h->slabs) {
		const struct slab *s = slab_of_holding(l);

		if (!list_empty(&s->grants) && touches(s, offset, end))
			return true;
	}
	return false;
}

static struct grant *grant_of_slab(struct list *l)
{
	return list_entry(l, struct grant, slab_link);
}

void slab_each_holder(const struct holding_range *r, bool (*fn)(struct table_node *node, void *arg),
		      void *arg)
{
	struct list *sl, *gl;

	if (!table_each(&r->h->table, r->offset, r->end, fn, arg) || r->grants_only)
		return;
	list_for_each (sl, &r->h->slabs) {
		const struct slab *s = slab_of_holding(sl);

		if (!touches(s, r->offset, r->end))
			continue;
		list_for_each (gl, &s->grants) {
			struct grant *g = grant_of_slab(gl);

			if (!node_touches(&g->node, r) && !fn(&g->node, arg))
				return;
		}
	}
}

bool slab_widen(const struct grant_client *client, const struct holding_range *r, uint64_t *from,
		uint64_t *end)
{
	bool any = false;
	struct list *sl, *gl;

	if (r->grants_only)
		return false;
	list_for_each (sl, &client->slabs) {
		const struct slab *s = slab_of_client(sl);

		if (s->h != r->h || !touches(s, r->offset, r->end))
			continue;
		list_for_each (gl, &s->grants) {
			const struct grant *g = grant_of_slab(gl);

			if (node_touches(&g->node, r))
				continue;
			*from = min_u64(*from, g->node.offset);
			*end = max_u64(*end, g->node.end);
			any = true;
		}
	}
	return any;
}
