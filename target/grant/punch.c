// SPDX-License-Identifier: BSD-3-Clause
/*
 * Holes that a host asks for. No key may be alive over blocks that go back to the file system, so:
 *
 *   nobody is granted any of it   a view without the ranges is published, and the file punched when
 *                                 the last key of the one before is dead. The generation stays, I/O
 *                                 elsewhere goes on untouched;
 *   somebody is                   the whole export is recalled, as a landlord would do it;
 *   it is being recalled          the punch waits until the tenure is released;
 *   the tenure is released        there is no key: the file is punched.
 *
 * What was asked for while one batch is under way is the next batch. A new size is a batch of its own:
 * what is cut off goes the same ways, and a longer file needs another mapping, so all is recalled.
 * Control loop, but for punch_run().
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/counter.h"
#include "util/log.h"

DEFINE_COUNTER(punches, "hole_punches", "Batches of ranges given back to the file system");
DEFINE_COUNTER(punch_recalls, "hole_punch_recalls", "Batches that had to recall grants first");

static void answer(struct list *punches_done, int err)
{
	struct list *l;

	while ((l = list_pop(punches_done))) {
		struct holding_punch *p = list_entry(l, struct holding_punch, link);

		p->done(p, err);
	}
}

/* ---- one batch ------------------------------------------------------------------------------- */

static int gather(struct holding *h)
{
	struct punch *punch = &h->punch;
	struct export_range *ranges;
	unsigned int n = 0;
	struct list *l;

	assert(list_empty(&punch->batch));
	punch->cut = punch->durable = false;
	punch->resize_to = list_entry(punch->waiting.next, struct holding_punch, link)->resize_to;
	list_for_each (l, &punch->waiting) {
		const struct holding_punch *p = list_entry(l, struct holding_punch, link);

		if (p->resize_to != punch->resize_to)
			break;
		n += p->nr_ranges;
		if (punch->resize_to)
			break;
	}
	ranges = calloc(n + 1, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	punch->ranges = ranges;
	punch->nr_ranges = n;
	while ((l = list_pop(&punch->waiting))) {
		const struct holding_punch *p = list_entry(l, struct holding_punch, link);

		if (p->resize_to != punch->resize_to) {
			list_push_front(&punch->waiting, l);
			break;
		}
		for (unsigned int i = 0; i < p->nr_ranges; i++)
			*ranges++ = p->ranges[i];
		punch->durable |= p->durable;
		list_push(&punch->batch, l);
		if (punch->resize_to)
			break;
	}
	return 0;
}

static void end_batch(struct holding *h)
{
	h->punch.step = PUNCH_IDLE;
	free(h->punch.ranges);
	h->punch.ranges = NULL;
}

static void move_all(struct list *from, struct list *to)
{
	struct list *l;

	while ((l = list_pop(from)))
		list_push(to, l);
}

/* They are asked for again, before those that came later. */
static void put_back(struct holding *h)
{
	struct list all = LIST_INIT(all);

	move_all(&h->punch.batch, &all);
	move_all(&h->punch.waiting, &all);
	move_all(&all, &h->punch.waiting);
	end_batch(h);
}

static bool stop_at_first(struct table_node *node, void *arg)
{
	(void)node;
	(void)arg;
	return false;
}

/* Also next to a range, by a window whose slab has to go for it. */
static bool granted(const struct holding *h)
{
	for (unsigned int i = 0; i < h->punch.nr_ranges; i++) {
		const struct export_range *r = &h->punch.ranges[i];

		if (!table_each(&h->table, r->offset, r->offset + r->length, stop_at_first, NULL) ||
		    slab_in_use(h, r->offset, r->offset + r->length))
			return true;
	}
	return false;
}

static bool slabbed(const struct holding *h)
{
	for (unsigned int i = 0; i < h->punch.nr_ranges; i++) {
		const struct export_range *r = &h->punch.ranges[i];

		if (slab_reaches(h, r->offset, r->offset + r->length))
			return true;
	}
	return false;
}

/* Those that nobody uses. */
static void doom_slabs(struct holding *h)
{
	for (unsigned int i = 0; i < h->punch.nr_ranges; i++) {
		const struct export_range *r = &h->punch.ranges[i];

		slab_doom(h, r->offset, r->offset + r->length);
	}
}

static bool registered(const struct holding *h)
{
	const struct view *view = h->current->view;

	for (unsigned int i = 0; i < h->punch.nr_ranges; i++) {
		const struct export_range *r = &h->punch.ranges[i];
		const struct export_run *run = view_run_at(view, r->offset);

		if (run && run->offset < r->offset + r->length)
			return true;
	}
	return false;
}

static void recall_first(struct holding *h)
{
	put_back(h);
	h->punch.recalled = true;
	counter_add(&punch_recalls, 1);
	holding_event(h, RECALL_BREAK);
}

/* ---- the file -------------------------------------------------------------------------------- */

/* Touches the ranges and err. */
static void punch_run(struct work *work)
{
	struct punch *punch = container_of(work, struct punch, work);

	punch->err = punch->resize_to
			     ? export_resize(punch->export, punch->resize_to)
			     : export_punch(punch->export, punch->ranges, punch->nr_ranges);
	if (punch->durable && punch->err == 0)
		punch->err = export_flush(punch->export);
}

static void punch_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, punch.work);
	struct list done = LIST_INIT(done);
	bool released = h->recall.state == RECALL_RELEASED && h->work_busy;
	bool again = h->punch.recalled || h->retry_missed;
	bool cut_in_vain = h->punch.cut && h->punch.err;

	move_all(&h->punch.batch, &done);
	end_batch(h);
	if (released) {
		h->work_busy = false;
		h->punch.recalled = false;
	}
	counter_add(&punches, 1);
	if (h->punch.err)
		log_info("%s: a hole could not be punched, or the size not changed: %s",
			 h->config.export.name, strerror(-h->punch.err));
	answer(&done, h->punch.err);
	/* What was cut off is there still: a new look. */
	if (cut_in_vain)
		holding_event(h, RECALL_BREAK);
	punch_next(h);
	/* Nobody is waiting for the file: there is nothing to stand back for. */
	if (released && again && h->punch.step == PUNCH_IDLE)
		make_take(h);
	else if (released && again)
		h->punch.recalled = true;
	if (h->punch.step == PUNCH_IDLE)
		grant_grow_next(h);
	rest_next(h);
	holding_check_drained(h);
	holding_check_stopped(h);
}

static void punch_file(struct holding *h)
{
	h->punch.step = PUNCH_FILE;
	h->punch.export = holding_file(h);
	pool_submit(h->env->workers, &h->punch.work, POOL_NORMAL, punch_run, punch_done,
		    h->env->control);
}

void punch_check_buried(struct holding *h)
{
	struct list *l;

	if (h->punch.step != PUNCH_BURYING || slabbed(h))
		return;
	list_for_each (l, &h->served) {
		const struct served *s = list_entry(l, struct served, link);

		/* A worker's still. It gets no more than the current one has, which lacks the ranges. */
		if (s->making)
			continue;
		if (s->publish_pending)
			return;
		if (s != h->current && (s->growing || served_has_keys(s)))
			return;
	}
	assert(h->recall.state == RECALL_GRANTED);
	punch_file(h);
}

/* First the landlord: it is asked for again when he has his blocks, or the next view is served. */
void punch_recalled(struct holding *h)
{
	if (h->punch.step == PUNCH_BURYING)
		put_back(h);
	else if (h->punch.step == PUNCH_FILE)
		pool_hurry(h->env->workers, &h->punch.work);
}

/* ---- views and regions ----------------------------------------------------------------------- */

bool punch_prepared(struct holding *h)
{
	/* Between the look at the grants and now somebody may have acquired. */
	if (granted(h))
		return false;
	doom_slabs(h);
	h->punch.step = PUNCH_BURYING;
	serve_publish(h, make_take_over(h));
	holding_describe(h);
	h->punch.cut = h->punch.resize_to > 0;
	if (h->punch.cut)
		holding_changed(h, LH_CHANGE_EXPORT);
	return true;
}

void punch_failed(struct holding *h, int err)
{
	struct list failed = LIST_INIT(failed);

	if (err == -ECANCELED) {
		put_back(h);
		return;
	}
	move_all(&h->punch.batch, &failed);
	end_batch(h);
	answer(&failed, err);
}

/* The kernel does not change the size of a file on DAX while any page of it is pinned. */
bool punch_pinned_dax(const struct holding *h)
{
	if (export_medium(holding_file(h)) != EXPORT_DAX)
		return false;
	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		if (h->probes[i].rung == LH_RUNG_PINNED)
			return true;
	}
	return false;
}

static void begin_served(struct holding *h)
{
	uint64_t bytes = h->punch.resize_to;

	if (bytes && bytes == view_file_bytes(h->current->view)) {
		struct list done = LIST_INIT(done);

		move_all(&h->punch.batch, &done);
		end_batch(h);
		answer(&done, 0);
		punch_next(h); /* those that came behind it */
		return;
	}
	if (granted(h) ||
	    (bytes && (bytes > view_file_bytes(h->current->view) || punch_pinned_dax(h)))) {
		recall_first(h);
		return;
	}
	doom_slabs(h);
	/* A recall of a range may have taken it out just now: the one before is not buried yet. */
	if (!bytes && !registered(h)) {
		h->punch.step = PUNCH_BURYING;
		punch_check_buried(h);
		return;
	}
	h->punch.step = PUNCH_MAKING;
	make_punched(h);
}

/* ---- the queue ------------------------------------------------------------------------------- */

void punch_next(struct holding *h)
{
	bool served, released;

	range_next(h);
	served = h->recall.state == RECALL_GRANTED && h->state == HOLDING_SERVING &&
		 h->make.kind == MAKE_NOTHING;
	released = h->recall.state == RECALL_RELEASED && !h->work_busy && holding_file(h) &&
		   h->generation > 0;
	if (list_empty(&h->punch.waiting) || h->punch.step != PUNCH_IDLE || h->stepping)
		return;
	if (h->recall.stopping || h->state == HOLDING_OFFLINE) {
		answer(&h->punch.waiting, -ENODEV);
		return;
	}
	if ((!served && !released) || range_wants_make(h))
		return;
	if (gather(h) != 0) {
		answer(&h->punch.waiting, -ENOMEM);
		return;
	}
	if (served) {
		begin_served(h);
		return;
	}
	h->work_busy = true; /* the tenure is not taken meanwhile */
	punch_file(h);
}

void holding_punch(struct holding *h, struct holding_punch *punch)
{
	list_push(&h->punch.waiting, &punch->link);
	punch_next(h);
}
