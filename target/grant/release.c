// SPDX-License-Identifier: BSD-3-Clause
/*
 * Release, of whole grants or of a part. A grant that reaches outside the range is split in an order in
 * which its bytes are never up for grabs: what is left of it enters the table beside it and gets keys
 * of its own, then the old key is killed with the others of the range, and when these are dead, the
 * client is told the new keys. Until these are there it can be given up, and nothing has changed; a
 * recall of what would be left does that, and so does the end of the grant that is cut, by expiry, a
 * fence or another Release: what is to be cut is looked at anew then. Control loop.
 */
#include "grant/internal.h"

#include <stdlib.h>

#include "util/counter.h"
#include "wire/wire.h"

DEFINE_COUNTER(grants_split, "grants_split", "Grants of which a part was given back");

struct release {
	struct loop_msg msg;
	struct list link; /* grant_client.releases */
	struct holding *h;
	struct grant_client *client;
	struct grant_give_back what;
	uint64_t end;
	void (*done)(void *arg, const struct grant_answer *answer);
	void *arg;
	uint64_t last_life;  /* what is granted later is not meant */
	unsigned int nr_cut; /* grants that are split … */
	bool splitting;	     /* … when those for what is left have their keys */
	bool answering;
	struct grant_answer answer;
};

/* ---- what is meant --------------------------------------------------------------------------- */

static bool touches(const struct release *r, const struct grant *g)
{
	return g->h == r->h && g->node.offset < r->end && g->node.end > r->what.offset &&
	       (r->what.generation == 0 || g->generation == r->what.generation);
}

static bool is_meant(const struct release *r, const struct grant *g)
{
	return g->state == GRANT_LIVE && touches(r, g) && g->life <= r->last_life;
}

static bool is_cut(const struct release *r, const struct grant *g)
{
	return is_meant(r, g) && (g->node.offset < r->what.offset || g->node.end > r->end);
}

static unsigned int count_cut(const struct release *r)
{
	unsigned int n = 0;
	struct list *l;

	list_for_each (l, &r->client->grants)
		n += is_cut(r, list_entry(l, struct grant, client_link));
	return n;
}

bool release_stands(const struct release *r)
{
	return count_cut(r) == r->nr_cut;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static void on_release(struct loop_msg *msg)
{
	struct release *r = container_of(msg, struct release, msg);
	struct grant_client *client = r->client;

	list_del(&r->link);
	r->done(r->arg, &r->answer);
	free(r);
	client_check_gone(client);
}

static void answer(struct release *r, uint16_t status)
{
	r->answering = true;
	r->answer.status = status;
	loop_post(r->client->env->control, &r->msg, on_release);
}

/*
 * Of what is being made only that counts which another Release began: it was cut from what this one
 * has ended, so it is given up.
 */
static bool is_waited_for(const struct release *r, const struct grant *g)
{
	return touches(r, g) &&
	       (g->state == GRANT_DYING || (g->state == GRANT_MAKING && g->is_rest));
}

void release_check(struct grant_client *client)
{
	struct list *rl, *gl;

	list_for_each (rl, &client->releases) {
		struct release *r = list_entry(rl, struct release, link);
		bool left = r->splitting || r->answering;

		list_for_each (gl, &client->grants) {
			if (left)
				break;
			left = is_waited_for(r, list_entry(gl, struct grant, client_link));
		}
		if (!left)
			answer(r, NVME_SC_SUCCESS);
	}
}

static void kill_meant(struct release *r)
{
	struct list *l;

	list_for_each (l, &r->client->grants) {
		struct grant *g = list_entry(l, struct grant, client_link);

		if (is_meant(r, g))
			client_grant_kill(g);
	}
	holding_check_keys(r->h);
	release_check(r->client);
}

/* ---- what is left ---------------------------------------------------------------------------- */

struct remain {
	uint64_t offset, end;
	unsigned int access;
};

struct remains {
	struct remain all[LH_ACQUIRE_MAX_GRANTS];
	unsigned int count;
	bool too_many;
};

static void add_remain(struct remains *x, uint64_t offset, uint64_t end, unsigned int access)
{
	if (offset >= end)
		return;
	x->too_many = x->count == LH_ACQUIRE_MAX_GRANTS;
	if (!x->too_many)
		x->all[x->count++] = (struct remain){offset, end, access};
}

static void find_remains(const struct release *r, struct remains *x)
{
	struct list *l;

	*x = (struct remains){0};
	list_for_each (l, &r->client->grants) {
		const struct grant *g = list_entry(l, struct grant, client_link);

		if (x->too_many)
			break;
		if (!is_cut(r, g))
			continue;
		add_remain(x, g->node.offset, r->what.offset, g->access);
		if (!x->too_many)
			add_remain(x, r->end, g->node.end, g->access);
	}
}

/* What speaks against these grants. */
static uint16_t check_remains(const struct release *r, const struct remains *x)
{
	struct holding *h = r->h;
	uint64_t bytes = 0;

	if (r->client->fenced)
		return LH_SC_NO_DIRECT_QUEUE;
	if (h->stopped || h->state != HOLDING_SERVING)
		return LH_SC_RECALLING;
	if (x->too_many)
		return LH_SC_LIMIT;
	for (unsigned int i = 0; i < x->count; i++) {
		const uint64_t length = x->all[i].end - x->all[i].offset;
		uint64_t kept = length;

		if (damage_length(h, x->all[i].offset, &kept) || kept < length)
			return LH_SC_DAMAGED;
		if (range_held_back(h, x->all[i].offset, &kept) || kept < length)
			return LH_SC_RECALLING;
		if (grant_backed_from(h->current->view, x->all[i].offset, length) < length)
			return LH_SC_NOT_BACKED;
		bytes += length;
	}
	/* Till the old keys are dead a recall has both to end. */
	if (!range_ok(h->granted_bytes, bytes, h->most_granted_bytes) ||
	    !budget_allows(h, budget_grant_ns(h, r->client->config.device, x->count, bytes)))
		return LH_SC_LIMIT_TIME;
	return usage_allow(&r->client->usage, h->env, h->nr_grants, x->count, 0, now_ns());
}

static void consider(struct release *r);

static void on_split(void *arg, const struct grant_answer *given)
{
	struct release *r = arg;

	r->splitting = false;
	if (given->status == NVME_SC_SUCCESS) {
		counter_add(&grants_split, r->nr_cut);
		r->answer = *given;
		kill_meant(r);
		return;
	}
	if (release_stands(r))
		answer(r, given->status);
	else
		consider(r);
	release_check(r->client);
}

static uint16_t split(struct release *r)
{
	struct grant *grants[LH_ACQUIRE_MAX_GRANTS];
	unsigned int count = 0;
	struct remains remains;
	uint16_t status;

	find_remains(r, &remains);
	status = check_remains(r, &remains);
	if (status)
		return status;
	while (count < remains.count) {
		const struct remain *x = &remains.all[count];
		struct grant *g =
			client_grant_new(r->client, r->h, x->offset, x->end - x->offset, x->access);

		if (!g)
			break;
		g->is_rest = true;
		grants[count++] = g;
	}
	if (count == remains.count &&
	    grant_split(r->h, r->client, r, grants, count, on_split) == 0) {
		r->splitting = true;
		return NVME_SC_SUCCESS;
	}
	while (count > 0)
		client_grant_free(grants[--count]);
	return LH_SC_LIMIT;
}

/* ---- the command ----------------------------------------------------------------------------- */

static void consider(struct release *r)
{
	uint16_t status = NVME_SC_SUCCESS;

	r->last_life = r->client->lives;
	r->nr_cut = count_cut(r);
	if (r->what.generation > r->h->generation)
		status = LH_SC_STALE_GENERATION;
	else if (r->nr_cut > 0)
		status = r->what.split ? split(r) : LH_SC_CUT;
	if (status)
		answer(r, status);
	else if (!r->splitting)
		kill_meant(r);
}

void grant_release(struct holding *h, struct grant_client *client,
		   const struct grant_give_back *what,
		   void (*done)(void *arg, const struct grant_answer *answer), void *arg)
{
	const uint64_t most = UINT64_MAX - what->offset;
	struct release *r = calloc(1, sizeof(*r));

	if (!r) {
		const struct grant_answer none = {.status = NVME_SC_INTERNAL};

		done(arg, &none);
		return;
	}
	assert(what->offset % LH_GRANT_ALIGN == 0);
	assert(!what->split || what->length >= most || what->length % LH_GRANT_ALIGN == 0);
	r->h = h;
	r->client = client;
	r->what = *what;
	r->end = what->offset + min_u64(what->length, most);
	r->done = done;
	r->arg = arg;
	list_push(&client->releases, &r->link);
	consider(r);
}
