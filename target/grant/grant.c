// SPDX-License-Identifier: BSD-3-Clause
/*
 * Acquire. An acquire takes its bytes in the table first, so that whoever comes next
 * sees them taken, then has its keys made on the registrar, one at a time; afterwards everything is
 * checked again, since a recall, or the client's end, may have come meanwhile. One that is a window is
 * bound, too, on the client's direct queue, by the reactor that has it. Before one for
 * writing gets a key, block commands that change the bytes and began before have ended. Holes are
 * filled, and blocks unshared, one acquire after another: each gives the export a view with more
 * runs. Control loop.
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/counter.h"
#include "wire/wire.h"

DEFINE_COUNTER(over_time, "acquires_over_recall_time",
	       "Acquires of more than a recall of the export has time to give back");
DEFINE_COUNTER(grants_made, "grants", "Grants given to direct clients");

#define PAGE_BYTES KIB(4)

/* Outlives an acquire that is cancelled, since what it waits for may wait for that one's grants. */
struct settling {
	struct loop_msg msg;
	struct acquire *op; /* NULL: cancelled */
};

struct acquire {
	struct loop_msg msg;
	struct list link;	 /* holding.acquires */
	struct list client_link; /* grant_client.acquires */
	struct list grow_link;	 /* holding.growers, or alone */
	struct holding *h;
	struct grant_client *client;
	struct grant_want want;
	void (*done)(void *arg, const struct grant_answer *answer);
	void *arg;
	struct release *split;	    /* whose: for what stays of what it cuts, all of it or none */
	_Atomic uint16_t cancelled; /* 0, or the status to answer as soon as nothing is under way */
	bool making;		    /* `work` is with the registrar */
	bool grown;		    /* its holes were filled or blocks unshared, once */
	struct settling *settling;  /* it waits for block commands */

	struct served *served; /* whose view the keys are made over */
	struct grant *grants[LH_ACQUIRE_MAX_GRANTS];
	unsigned int count, made;
	struct work work;
	struct grant_bind bind;
	int err;
};

/* ---- the answer ------------------------------------------------------------------------------ */

static void fill_answer(const struct acquire *op, struct grant_answer *answer)
{
	const struct holding *h = op->h;

	answer->generation = h->generation;
	answer->durability = holding_durability(h, op->client->config.device);
	answer->expiry_ms = h->env->grant_expiry_ms;
	answer->access = LH_GRANT_READ | LH_GRANT_WRITE;
	answer->count = op->count;
	for (unsigned int i = 0; i < op->count; i++) {
		const struct grant *g = op->grants[i];

		answer->access &= g->access;
		answer->covered_length += g->key.length;
		answer->grants[i] = (struct lh_grant){
			.offset = htole64(g->key.offset),
			.length = htole64(g->key.length),
			.address = htole64(g->key.address),
			.rkey = htole32(g->key.rkey),
			.id = htole32(g->id),
		};
	}
}

/* The end of an acquire, which is freed; its grants are alive, or it has none. */
static void finish(struct acquire *op, uint16_t status)
{
	struct grant_answer answer = {.status = status};
	struct grant_client *client = op->client;
	struct holding *h = op->h;

	if (status == NVME_SC_SUCCESS)
		fill_answer(op, &answer);
	if (status != NVME_SC_SUCCESS && status != LH_SC_RECALLING)
		h->counts.acquires_refused++;
	if (status == LH_SC_RECALLING) {
		answer.reclaimed = reclaim_has(h, op->want.offset);
		if (h->state == HOLDING_SERVING)
			answer.held_length = range_held_length(h, op->want.offset);
	}
	if (status == LH_SC_DAMAGED)
		answer.held_length = damage_length(h, op->want.offset, NULL);
	list_del(&op->link);
	list_del(&op->client_link);
	list_del(&op->grow_link);
	op->done(op->arg, &answer);
	free(op);
	client_check_gone(client);
	holding_check_stopped(h);
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void make_key(struct acquire *op);

/* Those that have no key are forgotten; returns how many. */
static unsigned int drop_unmade(struct acquire *op)
{
	unsigned int n = op->count - op->made;

	for (unsigned int i = op->made; i < op->count; i++)
		client_grant_free(op->grants[i]);
	op->count = op->made;
	return n;
}

static uint16_t status_of_key(int err)
{
	switch (err) {
	case -ENOMEM: /* of the adapter: it may be better later */
		return LH_SC_LIMIT;
	case -EOPNOTSUPP:
		return LH_SC_NO_DIRECT;
	default:
		return NVME_SC_INTERNAL;
	}
}

static void keys_made(struct acquire *op)
{
	struct holding *h = op->h;
	/* A recall of other bytes, or of another export, may have fenced it meanwhile. */
	uint16_t status = op->client->fenced ? LH_SC_NO_DIRECT_QUEUE : op->cancelled;

	if (status == 0 && op->bind.err)
		status = LH_SC_NO_DIRECT_QUEUE;
	op->served->users--;
	(void)drop_unmade(op);
	if (status == 0 && (op->count == 0 || (op->split && op->err)))
		status = status_of_key(op->err);
	if (status == 0 && op->split && !release_stands(op->split))
		status = LH_SC_STALE_GENERATION;
	for (unsigned int i = 0; i < op->count; i++) {
		op->grants[i]->state = GRANT_LIVE;
		op->grants[i]->life = ++op->client->lives;
		h->nr_live++;
		/* The client never learns of these. */
		if (status)
			client_grant_kill(op->grants[i]);
	}
	if (status == 0) {
		assert(h->recall.state == RECALL_GRANTED && !op->client->fenced);
		counter_add(&grants_made, op->count);
		h->counts.grants += op->count;
		for (unsigned int i = 0; i < op->count; i++)
			h->counts.grant_bytes += op->grants[i]->key.length;
		/* What stays lives as long as it would have. */
		if (!op->split)
			client_touch(op->client);
	} else {
		op->count = 0;
	}
	finish(op, status);
	serve_bury(h);
	holding_check_keys(h);
}

static int make_window(const struct acquire *op, struct grant *g)
{
	struct grant_slab *slab = &g->slab->mem;
	int err = grant_slab_register(op->client->config.pd, op->served->view,
				      &op->h->probes[op->client->config.device], slab);

	return err ? err
		   : grant_window_new(slab, g->node.offset, g->node.end - g->node.offset, &g->key);
}

/* Touches the key and the slab of a grant that is being made, and err. */
static void key_run(struct work *work)
{
	struct acquire *op = container_of(work, struct acquire, work);
	const struct holding *h = op->h;
	struct grant *g = op->grants[op->made];

	op->err = -ECANCELED;
	if (op->cancelled)
		return;
	/* Where there is no room for a slab, there may be for less. */
	if (g->slab && make_window(op, g) == 0)
		op->err = 0;
	else
		op->err = grant_key_new(op->client->config.pd, op->served->view, g->node.offset,
					g->node.end - g->node.offset, g->access,
					&h->probes[op->client->config.device], &g->key);
}

static void next_key(struct acquire *op)
{
	if (op->err || op->bind.err || op->cancelled || op->made == op->count)
		keys_made(op);
	else
		make_key(op);
}

static void on_bound(struct loop_msg *msg)
{
	struct acquire *op = container_of(msg, struct acquire, bind.msg);
	struct grant *g = op->grants[op->made];

	g->binding = false;
	if (op->bind.err == 0)
		grant_window_bound(&g->key);
	/* Also in vain: what there is of it has to be freed. */
	op->made++;
	next_key(op);
}

static void key_done(struct work *work)
{
	struct acquire *op = container_of(work, struct acquire, work);
	struct grant *g = op->grants[op->made];
	const struct holding_env *env = op->h->env;

	op->making = false;
	if (!g->key.mw)
		slab_put(g);
	if (op->err == 0 && g->slab && op->cancelled == 0) {
		grant_window_bind(&g->slab->mem, &g->key, g->access, &op->bind.wr);
		g->binding = true;
		env->ops->bind(env->ops_ctx, op->client, &op->bind, on_bound);
		return;
	}
	if (op->err == 0)
		op->made++;
	next_key(op);
}

static void make_key(struct acquire *op)
{
	struct grant *g = op->grants[op->made];

	slab_get(g);
	if (g->slab && op->served != op->h->current) {
		/* The slab is of what is served now; the grant is in that, too. */
		op->served->users--;
		op->served = op->h->current;
		op->served->users++;
	}
	op->making = true;
	pool_submit(op->h->env->registrar, &op->work, POOL_NORMAL, key_run, key_done,
		    op->h->env->control);
}

static void on_unsettled(struct loop_msg *msg)
{
	keys_made(container_of(msg, struct acquire, msg));
}

/* Its grants are dropped; not from inside whoever walks through what it is in. */
static void unsettle(struct acquire *op)
{
	if (op->settling)
		op->settling->op = NULL;
	op->settling = NULL;
	loop_post(op->h->env->control, &op->msg, on_unsettled);
}

static void on_settled(struct loop_msg *msg)
{
	struct settling *settling = container_of(msg, struct settling, msg);
	struct acquire *op = settling->op;

	free(settling);
	if (!op)
		return;
	op->settling = NULL;
	make_key(op);
}

/* Its grants are in the table: commands that begin from now on see them. */
static void settle(struct acquire *op)
{
	const struct holding_env *env = op->h->env;
	uint64_t from = op->grants[0]->node.offset, to = op->grants[op->count - 1]->node.end;
	struct settling *settling = calloc(1, sizeof(*settling));

	if (settling && env->ops->settle(env->ops_ctx, op->h, from, to - from, &settling->msg,
					 on_settled) == 0) {
		settling->op = op;
		op->settling = settling;
		return;
	}
	free(settling);
	op->err = -ENOMEM;
	unsettle(op);
}

static uint64_t key_bytes(const struct acquire *op)
{
	const struct fabric_device *dev = op->h->env->devices[op->client->config.device];
	uint64_t most = fabric_device_info(dev)->max_mr_bytes;
	uint64_t bytes = GRANT_KEY_BYTES;

	while (most >= PAGE_BYTES && bytes > most)
		bytes /= 2;
	return bytes;
}

struct conflict {
	const struct grant_client *client;
	unsigned int access;
};

static bool no_conflict(struct table_node *node, void *arg)
{
	const struct grant *g = container_of(node, struct grant, node);
	const struct conflict *c = arg;

	return g->client == c->client || !((g->access | c->access) & LH_GRANT_WRITE);
}

/*
 * What of [at, end) is to be one grant. What would fit into a slab is cut where it reaches over the border
 * of a slice, so that there are windows for it; what is longer has registrations of its own, whose cost
 * is in the bytes.
 */
static uint64_t piece_bytes(const struct acquire *op, uint64_t at, uint64_t end)
{
	unsigned int device = op->client->config.device;
	uint64_t slice = grant_slab_bytes(op->h->env->devices[device]);

	if (slab_windows(op->h, device) && op->want.length <= slice)
		return min_u64(align_down(at, slice) + slice, end) - at;
	return min_u64(key_bytes(op), end - at);
}

static unsigned int count_pieces(const struct acquire *op, uint64_t at, uint64_t end)
{
	unsigned int n = 0;

	for (; at < end; at += piece_bytes(op, at, end))
		n++;
	return n;
}

/* Takes [offset, offset + length), which is backed, and has keys made for it. */
static void take(struct acquire *op, uint64_t length)
{
	struct conflict conflict = {.client = op->client, .access = op->want.access};
	uint64_t at = op->want.offset, end;
	uint16_t status;

	length = min_u64(length, key_bytes(op) * LH_ACQUIRE_MAX_GRANTS);
	end = at + length;
	if (!table_each(&op->h->table, at, end, no_conflict, &conflict)) {
		finish(op, LH_SC_CONFLICT);
		return;
	}
	if (!range_ok(op->h->granted_bytes, length, op->h->most_granted_bytes)) {
		counter_add(&over_time, 1);
		finish(op, LH_SC_LIMIT_TIME);
		return;
	}
	if (!budget_allows(op->h, budget_grant_ns(op->h, op->client->config.device,
						  count_pieces(op, at, end), length))) {
		finish(op, LH_SC_LIMIT_TIME);
		return;
	}
	status = usage_allow(&op->client->usage, op->h->env, op->h->nr_grants,
			     count_pieces(op, at, end), length, now_ns());
	if (status) {
		finish(op, status);
		return;
	}
	while (at < end && op->count < LH_ACQUIRE_MAX_GRANTS) {
		uint64_t piece = piece_bytes(op, at, end);
		struct grant *g = client_grant_new(op->client, op->h, at, piece, op->want.access);

		if (!g)
			break;
		op->grants[op->count++] = g;
		at += piece;
	}
	if (op->count == 0) {
		finish(op, LH_SC_LIMIT);
		return;
	}
	op->served = op->h->current;
	op->h->current->users++;
	if (op->want.access & LH_GRANT_WRITE)
		settle(op);
	else
		make_key(op);
}

/* ---- what may be had ------------------------------------------------------------------------- */

/* Of an acquire that may have waited: what speaks against it now. */
static uint16_t check(const struct acquire *op)
{
	const struct holding *h = op->h;
	const struct grant_want *want = &op->want;
	uint64_t limit;

	if (op->client->fenced)
		return LH_SC_NO_DIRECT_QUEUE;
	if (op->cancelled)
		return op->cancelled;
	if (want->access == 0 || (want->access & ~(LH_GRANT_READ | LH_GRANT_WRITE)) != 0 ||
	    want->length == 0 || want->offset % LH_GRANT_ALIGN || want->length % LH_GRANT_ALIGN)
		return NVME_SC_INVALID_FIELD;
	if (h->state == HOLDING_OFFLINE || h->stopped)
		return NVME_SC_NS_NOT_READY;
	if (h->state != HOLDING_SERVING)
		return LH_SC_RECALLING;
	assert(h->recall.state == RECALL_GRANTED);
	if (h->config.export.read_only && (want->access & LH_GRANT_WRITE))
		return NVME_SC_ACCESS_DENIED;
	if ((want->access & LH_GRANT_WRITE) && export_unwritable(holding_file(h)))
		return NVME_SC_WRITE_FAULT;
	if (want->generation && want->generation != h->generation)
		return LH_SC_STALE_GENERATION;
	if (!region_registers(h->probes[op->client->config.device].rung))
		return LH_SC_NO_DIRECT;
	/* The last page of a file is mapped, and granted, whole. */
	limit = align_up(h->current->view->size_bytes, LH_GRANT_ALIGN);
	if (!range_ok(want->offset, want->length, limit))
		return NVME_SC_LBA_RANGE;
	if (range_held_back(h, want->offset, NULL))
		return LH_SC_RECALLING;
	if (damage_length(h, want->offset, NULL))
		return LH_SC_DAMAGED;
	return NVME_SC_SUCCESS;
}

uint64_t grant_backed_from(const struct view *view, uint64_t offset, uint64_t length)
{
	const struct export_run *run = view_run_at(view, offset);

	if (!run || run->offset > offset)
		return 0;
	return min_u64(length, run->offset + run->length - offset);
}

/* Is more to be made ready than what is backed? Of what is shared, only if nothing is: what is
 * backed in front of it does not wait for a copy. */
static bool wants_more(const struct acquire *op, uint64_t backed)
{
	if (op->want.allocate)
		return backed < op->want.length;
	return backed == 0 && view_unsharable(op->h->current->view, op->want.offset);
}

static void give(struct acquire *op, uint64_t backed)
{
	if (backed == 0)
		finish(op, LH_SC_NOT_BACKED);
	else
		take(op, backed);
}

static void consider(struct acquire *op)
{
	struct holding *h = op->h;
	uint16_t status = check(op);
	uint64_t backed;

	if (status) {
		finish(op, status);
		return;
	}
	/* The rest it asks for again, and is told to wait. */
	(void)range_held_back(h, op->want.offset, &op->want.length);
	(void)damage_length(h, op->want.offset, &op->want.length);
	backed = grant_backed_from(h->current->view, op->want.offset, op->want.length);
	if (!op->grown && wants_more(op, backed)) {
		if (op->want.allocate && h->config.export.read_only) {
			finish(op, NVME_SC_ACCESS_DENIED);
			return;
		}
		list_push(&h->growers, &op->grow_link);
		grant_grow_next(h);
		return;
	}
	give(op, backed);
}

static void on_acquire(struct loop_msg *msg)
{
	consider(container_of(msg, struct acquire, msg));
}

static struct acquire *acquire_new(struct holding *h, struct grant_client *client,
				   void (*done)(void *arg, const struct grant_answer *answer),
				   void *arg)
{
	struct acquire *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->h = h;
	op->client = client;
	op->done = done;
	op->arg = arg;
	list_push(&h->acquires, &op->link);
	list_push(&client->acquires, &op->client_link);
	list_init(&op->grow_link);
	return op;
}

void grant_acquire(struct holding *h, struct grant_client *client, const struct grant_want *want,
		   void (*done)(void *arg, const struct grant_answer *answer), void *arg)
{
	struct acquire *op = acquire_new(h, client, done, arg);

	if (!op) {
		struct grant_answer answer = {.status = NVME_SC_INTERNAL};

		done(arg, &answer);
		return;
	}
	op->want = *want;
	loop_post(h->env->control, &op->msg, on_acquire);
}

/* ---- what stays of grants that are cut ------------------------------------------------------- */

/*
 * No block command is waited for: the grants that are cut, over the same bytes, are alive till these
 * are, and hold up who came behind them; who was before them has ended.
 */
int grant_split(struct holding *h, struct grant_client *client, struct release *release,
		struct grant *const *remains, unsigned int count,
		void (*done)(void *arg, const struct grant_answer *answer))
{
	struct acquire *op = acquire_new(h, client, done, release);

	assert(count > 0 && count <= LH_ACQUIRE_MAX_GRANTS);
	if (!op)
		return -ENOMEM;
	op->split = release;
	memcpy(op->grants, remains, count * sizeof(*remains));
	op->count = count;
	op->served = h->current;
	op->served->users++;
	make_key(op);
	return 0;
}

/* ---- holes and clones ------------------------------------------------------------------------ */

void grant_grow_next(struct holding *h)
{
	struct acquire *op;
	uint64_t backed, from, length;
	uint16_t status;

	if (h->make.kind != MAKE_NOTHING || h->punch.step != PUNCH_IDLE ||
	    list_empty(&h->growers) || range_wants_make(h))
		return;
	op = list_entry(list_pop(&h->growers), struct acquire, grow_link);
	status = check(op);
	if (status) {
		finish(op, status);
		grant_grow_next(h);
		return;
	}
	(void)range_held_back(h, op->want.offset, &op->want.length);
	(void)damage_length(h, op->want.offset, &op->want.length);
	/* Another acquire may have had it done meanwhile. */
	backed = grant_backed_from(h->current->view, op->want.offset, op->want.length);
	from = op->want.offset + backed;
	length = min_u64(op->want.length - backed,
			 op->want.allocate ? GRANT_ALLOCATE_BYTES : GRANT_UNSHARE_BYTES);
	if (wants_more(op, backed)) {
		make_growth(h, op, from, length, op->want.allocate);
		return;
	}
	give(op, backed);
	grant_grow_next(h);
}

void grant_grown(struct holding *h, struct acquire *op, int err)
{
	(void)h;
	/* Cancelled for something else, it is tried again. */
	op->grown = err != -ECANCELED;
	/* Somebody has a part and has changed the size: the look at that is yet to come. */
	if (err == -ERANGE && !list_empty(&h->ranges) && check(op) == NVME_SC_SUCCESS) {
		finish(op, LH_SC_RECALLING);
		return;
	}
	/* What was backed before can be had still. */
	if (err && err != -ECANCELED &&
	    grant_backed_from(op->h->current->view, op->want.offset, op->want.length) == 0 &&
	    check(op) == NVME_SC_SUCCESS)
		finish(op, op->want.allocate ? nvme_status_from_errno(err) : LH_SC_NOT_BACKED);
	else
		consider(op);
}

/* ---- the end of acquires --------------------------------------------------------------------- */

static void cancel(struct acquire *op, uint16_t status)
{
	bool waiting = !list_empty(&op->grow_link);

	if (op->cancelled == 0)
		op->cancelled = status;
	if (waiting)
		finish(op, op->cancelled);
	else if (op->settling)
		unsettle(op);
	else if (op->making)
		pool_hurry(op->h->env->registrar, &op->work);
}

void grant_cancel_all(struct holding *h)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &h->acquires)
		cancel(list_entry(l, struct acquire, link), LH_SC_RECALLING);
}

static bool wants_any(const struct acquire *op, uint64_t offset, uint64_t end)
{
	if (!op->split)
		return range_overlaps(op->want.offset, op->want.length, offset, end - offset);
	for (unsigned int i = 0; i < op->count; i++) {
		const struct table_node *node = &op->grants[i]->node;

		if (node->offset < end && node->end > offset)
			return true;
	}
	return false;
}

void grant_cancel_range(struct holding *h, uint64_t offset, uint64_t end)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &h->acquires) {
		struct acquire *op = list_entry(l, struct acquire, link);

		if (wants_any(op, offset, end))
			cancel(op, LH_SC_RECALLING);
	}
}

void grant_cancel_doomed(struct holding *h)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &h->acquires) {
		struct acquire *op = list_entry(l, struct acquire, link);
		bool doomed = false;

		for (unsigned int i = 0; i < op->count; i++)
			doomed |= op->grants[i]->slab && op->grants[i]->slab->doomed;
		if (doomed)
			cancel(op, LH_SC_RECALLING);
	}
}

void grant_cancel_forbidden(struct holding *h, const struct holding_eviction *e)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &h->acquires) {
		struct acquire *op = list_entry(l, struct acquire, link);

		if (e->forbidden(e, op->client, op->want.access))
			cancel(op, NVME_SC_RESERVATION_CONFLICT | NVME_SC_DNR);
	}
}

void grant_cancel_client(struct grant_client *client)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &client->acquires)
		cancel(list_entry(l, struct acquire, client_link), LH_SC_NO_DIRECT_QUEUE);
}

void grant_kill_all(struct holding *h)
{
	struct list *l;

	list_for_each (l, &h->grants)
		client_grant_kill(list_entry(l, struct grant, link));
	holding_check_keys(h);
}
