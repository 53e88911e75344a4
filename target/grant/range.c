// SPDX-License-Identifier: BSD-3-Clause
/*
 * Recalls of a range, while the rest of the export is served on: carries out what the machine of each
 * (range_recall.h) asks for. Reactors get a serving whose view and regions leave the range out: of the
 * slices that touch it what lies beside it is registered first, so that commands there go on as they
 * did. What was under way on an older one, there or by these slices' keys, drains; grants that touch it are
 * asked for; then these slices of all older servings are deregistered, whoever still uses the rest of
 * them. At the end a fresh look at the file makes a serving that has it again, of the same generation.
 * Where the export is not served, or is recalled as a whole, that is the proof. Control loop.
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdlib.h>

#include "util/counter.h"
#include "util/log.h"
#include "wire/wire.h"

#define PATIENCE_DEADLINES 2 /* without proof after so many of them the whole export is recalled */

DEFINE_COUNTER(range_recalls, "range_recalls", "Times that part of an export was wanted back");
DEFINE_COUNTER(range_fences, "range_recalls_fenced", "… in which queues had to be put in error");
DEFINE_COUNTER(range_escalations, "range_recalls_escalated",
	       "… that had to recall the whole export in the end");

static void event(struct holding_range *r, enum range_event e);

static struct holding_range *range_of(struct list *l)
{
	return list_entry(l, struct holding_range, link);
}

static uint64_t length_of(const struct holding_range *r)
{
	return r->end - r->offset;
}

/* NULL: another one was begun since. */
static struct range_timeline *timeline(const struct holding_range *r)
{
	return r->h->range_serial == r->serial ? &r->h->range_timeline : NULL;
}

/* The whole export, on our own account: nobody is waited for before it is taken again. */
static void recall_all(struct holding *h)
{
	if (h->recall.state != RECALL_GRANTED && h->recall.state != RECALL_RETAKING)
		return;
	h->evicting = true;
	holding_event(h, RECALL_BREAK);
}

/* ---- what others must know ------------------------------------------------------------------- */

static bool wants_narrow(const struct holding *h, const struct holding_range *r)
{
	return h->recall.state == RECALL_GRANTED && !r->recall.narrowed && !r->grants_only &&
	       (r->recall.state == RANGE_RECALLING || r->recall.state == RANGE_FENCED);
}

static bool wants_return(const struct holding *h, const struct holding_range *r)
{
	return h->recall.state == RECALL_GRANTED && r->recall.state == RANGE_RETURNING &&
	       !r->finishing && r->out;
}

bool range_wants_make(const struct holding *h)
{
	struct list *l;

	list_for_each (l, &h->ranges) {
		const struct holding_range *r = range_of(l);

		if (wants_narrow(h, r) ||
		    (wants_return(h, r) && !loop_timer_armed(&h->range_timer)))
			return true;
	}
	return false;
}

bool range_all_out(const struct holding *h)
{
	struct list *l;

	list_for_each (l, &h->ranges) {
		if (range_of(l)->recall.state != RANGE_RELEASED || punch_pinned_dax(h))
			return false;
	}
	return true;
}

bool range_held_back(const struct holding *h, uint64_t offset, uint64_t *length)
{
	struct list *l;

	list_for_each (l, &h->ranges) {
		const struct holding_range *r = range_of(l);

		if (offset >= r->offset && offset < r->end)
			return true;
		if (length && r->offset > offset)
			*length = min_u64(*length, r->offset - offset);
	}
	return false;
}

uint64_t range_held_length(const struct holding *h, uint64_t offset)
{
	uint64_t end = offset, before;
	struct list *l;

	/* They may overlap, and are in no order. */
	do {
		before = end;
		list_for_each (l, &h->ranges) {
			const struct holding_range *r = range_of(l);

			if (end >= r->offset && end < r->end)
				end = r->end;
		}
	} while (end != before);
	return end - offset;
}

void range_clip(const struct holding *h, uint64_t offset, uint64_t *from, uint64_t *end)
{
	struct list *l;

	list_for_each (l, &h->ranges) {
		const struct holding_range *r = range_of(l);

		if (r->grants_only)
			continue;
		if (r->end <= offset)
			*from = max_u64(*from, r->end);
		else
			*end = min_u64(*end, r->offset);
	}
}

static bool left_out(const struct holding_range *r, enum making kind)
{
	if (r->finishing || r->grants_only)
		return false;
	if (kind == MAKE_RETURN)
		return !r->coming_back;
	return kind != MAKE_GENERATION || r->recall.state != RANGE_RETURNING;
}

int range_leave_out(struct holding *h, enum making kind)
{
	struct make *make = &h->make;
	unsigned int n = 0;
	struct list *l;

	list_for_each (l, &h->ranges)
		n += left_out(range_of(l), kind);
	make->nr_left_out = 0;
	make->serial++;
	if (n == 0)
		return 0;
	make->left_out = calloc(n, sizeof(*make->left_out));
	if (!make->left_out)
		return -ENOMEM;
	list_for_each (l, &h->ranges) {
		struct holding_range *r = range_of(l);

		if (!left_out(r, kind))
			continue;
		r->left_out = make->serial;
		make->left_out[make->nr_left_out++] =
			(struct export_range){.offset = r->offset, .length = length_of(r)};
	}
	return 0;
}

struct holding_range *range_to_withdraw(struct holding *h)
{
	struct list *l;

	list_for_each (l, &h->ranges) {
		struct holding_range *r = range_of(l);

		if (r->recall.state == RANGE_INVALID && !(r->pending & 1u << RANGE_REGIONS_GONE))
			return r;
	}
	return NULL;
}

void range_withdrawn(struct holding_range *r)
{
	event(r, RANGE_REGIONS_GONE);
}

/* ---- what the machine asks for --------------------------------------------------------------- */

static void on_timer(struct loop_timer *timer)
{
	event(container_of(timer, struct holding_range, timer), RANGE_TIMER);
}

static void finished(struct holding_range *r)
{
	if (r->finishing && r->ops == 0)
		event(r, RANGE_RETURNED);
}

static void on_drained(struct loop_msg *msg)
{
	struct holding_range *r = container_of(msg, struct holding_range, drain_msg);

	r->ops--;
	event(r, RANGE_DRAINED);
	finished(r);
}

static void on_sealed(struct loop_msg *msg)
{
	struct holding_range *r = container_of(msg, struct holding_range, seal_msg);

	r->ops--;
	event(r, RANGE_SEALED);
	finished(r);
}

static void on_unsealed(struct loop_msg *msg)
{
	struct holding_range *r = container_of(msg, struct holding_range, unseal_msg);

	r->ops--;
	finished(r);
}

/* What is served has it again, or nothing is served. */
static void finish(struct holding_range *r)
{
	struct holding *h = r->h;

	if (r->finishing)
		return;
	r->finishing = true;
	r->coming_back = false;
	if (r->recall.seal_asked) {
		r->ops++;
		h->env->ops->unseal_range(h->env->ops_ctx, h, r->offset, length_of(r),
					  &r->unseal_msg, on_unsealed);
	}
	finished(r);
}

static void on_done(struct loop_msg *msg)
{
	struct holding_range *r = container_of(msg, struct holding_range, done_msg);
	struct holding *h = r->h;

	if (r->done)
		r->done(r);
	/* What had no room beside the registrations that are gone has it now. */
	rest_next(h);
}

static void on_ended(struct loop_msg *msg)
{
	struct holding_range *r = container_of(msg, struct holding_range, ended_msg);
	struct holding *h = r->h;

	list_del(&r->link);
	if (r->tenure)
		h->kept--;
	if (h->state == HOLDING_SERVING) {
		struct range_timeline *t = timeline(r);

		if (t)
			t->serving_ns = now_ns();
		holding_changed(h, LH_CHANGE_REGRANT);
	}
	if (r->ended)
		r->ended(r);
	if (h->kept == 0 && h->state == HOLDING_RELEASED && !h->stopped) {
		make_want(h);
		make_take(h);
	}
	punch_next(h);
	grant_grow_next(h);
	rest_next(h);
	holding_check_stopped(h);
}

static bool is_free(struct table_node *node, void *arg)
{
	(void)node;
	(void)arg;
	return false;
}

/* A grant lives that has to go, or what its window was bound to. */
static bool granted(const struct holding_range *r)
{
	return !table_each(&r->h->table, r->offset, r->end, is_free, NULL) ||
	       (!r->grants_only && slab_reaches(r->h, r->offset, r->end));
}

static void tell(struct holding_range *r)
{
	unsigned int clients = client_tell_range(r);

	counter_add(&range_recalls, 1);
	r->h->range_recalls++;
	r->h->range_serial = r->serial;
	r->seen_ns = now_ns();
	r->h->range_timeline = (struct range_timeline){
		.offset = r->offset,
		.end = r->end,
		.seen_ns = r->seen_ns,
		.clients = clients,
	};
	if (clients > 0)
		holding_stay_awake(r->h, true);
	log_info("%s: bytes %llu to %llu are recalled from %u clients", r->h->config.export.name,
		 (unsigned long long)r->offset, (unsigned long long)r->end - 1, clients);
}

static void fence_clients(struct holding_range *r)
{
	unsigned int clients = client_fence_range(r);
	struct range_timeline *t = timeline(r);

	if (t)
		t->fenced_clients = clients;
	r->h->counts.clients_fenced += clients;
}

static bool kill_one(struct table_node *node, void *arg)
{
	(void)arg;
	client_grant_kill(container_of(node, struct grant, node));
	return true;
}

/* Once, and not before clients have had their time: who only watches asks for logs then. */
static void tell_watchers(struct holding_range *r)
{
	if (!r->watchers_told)
		holding_recalled(r->h, LH_CHANGE_RECALLING, r->offset, length_of(r));
	r->watchers_told = true;
}

static void release(struct holding_range *r)
{
	struct range_timeline *t = timeline(r);

	if (t)
		t->proven_ns = now_ns();
	if (r->done && r->seen_ns)
		histogram_add(&r->h->waits, now_ns() - r->seen_ns);
	loop_timer_cancel(r->h->env->control, &r->timer);
	/* Closed memory is reached by no key, dead or alive: close.c. */
	assert(r->h->closing.closed || !granted(r));
	/* What was taken beside it, for a slab, may be had again. */
	if (r->beside && r->h->state == HOLDING_SERVING)
		holding_changed(r->h, LH_CHANGE_REGRANT);
	holding_stay_awake(r->h, false);
	loop_post(r->h->env->control, &r->done_msg, on_done);
	tell_watchers(r);
	holding_recalled(r->h, LH_CHANGE_RELEASED, r->offset, length_of(r));
}

static void carry_out(struct holding_range *r, const struct range_actions *actions)
{
	struct holding *h = r->h;
	const struct holding_env *env = h->env;
	unsigned int mask = actions->mask;

	if (mask & RANGE_DO_TELL) {
		grant_cancel_range(h, r->offset, r->end);
		if (!r->grants_only)
			slab_recall(h, r->offset, r->end);
		tell(r);
		range_check(h);
	}
	if (mask & RANGE_DO_DRAIN) {
		r->ops++;
		env->ops->drain(env->ops_ctx, h, r->offset, length_of(r), &r->drain_msg,
				on_drained);
	}
	if (mask & RANGE_DO_SEAL) {
		r->ops++;
		env->ops->seal_range(env->ops_ctx, h, r->offset, length_of(r), &r->seal_msg,
				     on_sealed);
	}
	if (mask & (RANGE_DO_FENCE_CLIENTS | RANGE_DO_FENCE_BLOCK))
		counter_add(&range_fences, 1);
	if (mask & RANGE_DO_FENCE_CLIENTS) {
		fence_clients(r);
		tell_watchers(r);
	}
	if (mask & RANGE_DO_FENCE_BLOCK)
		env->ops->fence_range(env->ops_ctx, h, r->offset, length_of(r));
	if (mask & RANGE_DO_KILL_KEYS)
		slab_each_holder(r, kill_one, NULL);
	if (mask & RANGE_DO_TIMER)
		loop_timer_set(env->control, &r->timer, actions->wake_ns);
	if (mask & RANGE_DO_WITHDRAW) {
		if (h->bury_busy)
			pool_hurry(env->registrar, &h->bury_work);
		serve_bury(h);
	}
	if (mask & RANGE_DO_RELEASE)
		release(r);
	if (mask & RANGE_DO_ESCALATE) {
		log_warning("%s: bytes %llu to %llu are not free after %u ms: the whole export is "
			    "recalled",
			    h->config.export.name, (unsigned long long)r->offset,
			    (unsigned long long)r->end - 1, PATIENCE_DEADLINES * env->deadline_ms);
		counter_add(&range_escalations, 1);
		recall_all(h);
	}
	if (mask & RANGE_DO_END)
		loop_post(env->control, &r->ended_msg, on_ended);
	if (mask & (RANGE_DO_NARROW | RANGE_DO_RETURN))
		range_next(h);
}

static void event(struct holding_range *r, enum range_event e)
{
	r->pending |= 1u << e;
	if (r->stepping)
		return;
	r->stepping = true;
	while (r->pending) {
		struct range_actions actions;

		e = (enum range_event)__builtin_ctz(r->pending);
		r->pending &= r->pending - 1;
		range_recall_step(&r->recall, e, now_ns(), &actions);
		carry_out(r, &actions);
	}
	r->stepping = false;
}

/* ---- what has happened ----------------------------------------------------------------------- */

void range_check(struct holding *h)
{
	struct list *l;

	list_for_each (l, &h->ranges) {
		struct holding_range *r = range_of(l);

		if (!r->recall.keys_dead && r->recall.state != RANGE_WAITING &&
		    !range_recall_proven(&r->recall) && !granted(r))
			event(r, RANGE_KEYS_DEAD);
	}
}

void range_overtaken(struct holding *h)
{
	struct list *l;

	list_for_each (l, &h->ranges)
		event(range_of(l), RANGE_OVERTAKEN);
}

void range_published(struct holding *h)
{
	struct list *l;

	list_for_each (l, &h->ranges) {
		struct holding_range *r = range_of(l);

		r->out = r->left_out == h->current->left_out;
		if (r->out)
			event(r, RANGE_NARROWED);
		else if (r->recall.state == RANGE_RETURNING)
			finish(r);
	}
	h->range_failures = 0;
}

static void on_range_timer(struct loop_timer *timer)
{
	range_next(container_of(timer, struct holding, range_timer));
}

void range_make_failed(struct holding *h, enum making kind, int err)
{
	struct list *l;

	list_for_each (l, &h->ranges)
		range_of(l)->coming_back = false;
	if (err == -ECANCELED)
		return;
	if (kind == MAKE_NARROW || err == -ERANGE || err == -EDQUOT || err == -ENODATA ||
	    err == -ENOLINK) {
		/*
		 * Another size takes another mapping, and what a recall has no time for another
		 * rung; either is another generation.
		 */
		recall_all(h);
		return;
	}
	if (h->range_failures++ == 0)
		log_warning("%s: what was recalled cannot be registered again, trying on: %s",
			    h->config.export.name, h->make.text.text);
	h->range_timer.fn = on_range_timer;
	loop_timer_set(h->env->control, &h->range_timer,
		       now_ns() + backoff_ns(h->range_failures, RETAKE_MAX_NS));
}

/* ---- the queue ------------------------------------------------------------------------------- */

static void begin(struct holding *h, struct holding_range *r)
{
	if (h->recall.state == RECALL_RELEASED) {
		/* An attempt to take the tenure may succeed yet. */
		if (!r->tenure || !h->work_busy)
			event(r, RANGE_OVERTAKEN);
	} else if (r->recall.state != RANGE_WAITING) {
		return;
	} else if (h->recall.state == RECALL_RETAKING && r->grants_only) {
		event(r, RANGE_OVERTAKEN); /* nobody has any yet */
	} else if (h->recall.state == RECALL_RETAKING ||
		   (h->recall.state == RECALL_GRANTED && r->tenure)) {
		recall_all(h);
	} else if (h->recall.state == RECALL_GRANTED && h->state == HOLDING_SERVING) {
		event(r, RANGE_BEGIN);
	}
}

/* Somebody has a part of it still. */
static bool is_held(const struct holding *h, uint64_t from, uint64_t to)
{
	struct list *l;

	list_for_each (l, &h->ranges) {
		const struct holding_range *r = range_of(l);

		if (left_out(r, MAKE_NARROW) && !wants_return(h, r) && r->offset < to &&
		    r->end > from)
			return true;
	}
	return false;
}

/* All that are over, in one go, but for those behind a range that is not: it is not to be touched. */
static void bring_back(struct holding *h)
{
	uint64_t from = UINT64_MAX, to = 0;
	struct list *l;

	list_for_each (l, &h->ranges) {
		struct holding_range *r = range_of(l);
		uint64_t first = min_u64(from, r->offset), end = max_u64(to, r->end);

		if (!wants_return(h, r) || (from < to && is_held(h, first, end)))
			continue;
		r->coming_back = true;
		from = first;
		to = end;
	}
	if (from < to)
		make_return(h, from, to - from);
}

void range_next(struct holding *h)
{
	bool narrow = false;
	struct list *l;

	if (h->stepping || list_empty(&h->ranges))
		return;
	/* Nothing is taken out of the list here: that takes a message. */
	list_for_each (l, &h->ranges) {
		struct holding_range *r = range_of(l);

		if (!range_recall_proven(&r->recall))
			begin(h, r);
		if (r->recall.state == RANGE_RETURNING &&
		    (h->recall.state == RECALL_RELEASED ||
		     (h->recall.state == RECALL_GRANTED && !r->out)))
			finish(r);
		narrow |= wants_narrow(h, r);
	}
	if (narrow && h->make.kind == MAKE_NOTHING)
		make_narrow(h);
	else if (narrow && h->make.kind != MAKE_NARROW)
		make_cancel(h);
	else if (!narrow && h->make.kind == MAKE_NOTHING && h->punch.step == PUNCH_IDLE &&
		 h->state == HOLDING_SERVING && !loop_timer_armed(&h->range_timer))
		bring_back(h);
}

void holding_recall_range(struct holding *h, struct holding_range *r)
{
	const struct range_limits limits = {
		.deadline_ns = h->env->deadline_ms * NS_PER_MS,
		.patience_ns = (uint64_t)PATIENCE_DEADLINES * h->env->deadline_ms * NS_PER_MS,
	};
	uint64_t offset = min_u64(align_down(r->offset, LH_GRANT_ALIGN),
				  align_down(INT64_MAX - LH_GRANT_ALIGN, LH_GRANT_ALIGN));
	struct holding_range ours = {
		.offset = offset,
		.length = r->length,
		.tenure = r->tenure,
		.grants_only = r->grants_only,
		.done = r->done,
		.ended = r->ended,
		.h = h,
		.serial = client_next_serial(),
		.end = INT64_MAX,
	};

	if (r->length > 0 && r->length < INT64_MAX - LH_GRANT_ALIGN - r->offset)
		ours.end = align_up(r->offset + r->length, LH_GRANT_ALIGN);
	*r = ours;
	r->timer.fn = on_timer;
	range_recall_init(&r->recall, &limits, r->grants_only);
	list_push(&h->ranges, &r->link);
	rest_cancel(h);
	h->kept += r->tenure;
	range_next(h);
}

void holding_recall_end(struct holding_range *r)
{
	event(r, RANGE_END);
	range_next(r->h);
}
