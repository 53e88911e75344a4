// SPDX-License-Identifier: BSD-3-Clause
/*
 * What no lease tells: that the file was deleted, that its path names another file now, or none,
 * what hosts have left of its holes, and that somebody has cut it who need not ask: truncate(2)
 * through an overlay does not. A worker looks every few seconds, or when a transfer found that memory
 * is missing; never on the data path. Control loop, but for look_run() and holding_suspect().
 */
#include "grant/internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "util/counter.h"
#include "util/log.h"

DEFINE_COUNTER(unasked, "unasked_changes",
	       "Recalls of a file that was cut or made longer by somebody who did not ask");

/* Touches place, blocks, holes, count_err, kept, size_bytes, runs, nr_runs and compare_err. */
static void look_run(struct work *work)
{
	struct look *look = container_of(work, struct look, work);

	export_bad_collect();
	export_bad_look(look->export);
	look->place = export_place(look->export);
	if (look->counting)
		look->count_err = export_hole_bytes(look->export, &look->blocks, &look->holes);
	if (look->comparing)
		look->compare_err = export_backing(look->export, &look->kept, &look->size_bytes,
						   &look->runs, &look->nr_runs);
}

static bool sentence(const struct holding *h, char *text, size_t size)
{
	const char *path = h->config.export.path;

	switch (h->look.known) {
	case EXPORT_IN_PLACE:
		return false;
	case EXPORT_DELETED:
		(void)snprintf(text, size,
			       "%s was deleted: what is written is gone when the export stops",
			       path);
		return true;
	case EXPORT_REPLACED:
		(void)snprintf(text, size,
			       "%s is another file now: the one that is served was renamed, and a "
			       "restart would not find it",
			       path);
		return true;
	case EXPORT_NOT_THERE:
		(void)snprintf(text, size,
			       "%s does not exist any more: the file that is served was renamed, "
			       "and a restart would not find it",
			       path);
		return true;
	}
	return false;
}

/* ---- what is served, and what there is --------------------------------------------------------- */

/* Nothing of ours, and nobody who asked, changes the file just now. */
static bool is_quiet(const struct holding *h)
{
	return h->state == HOLDING_SERVING && h->recall.state == RECALL_GRANTED &&
	       h->make.kind == MAKE_NOTHING && h->punch.step == PUNCH_IDLE &&
	       list_empty(&h->ranges) && !h->resize.busy;
}

/* Every run of the view must lie in one of those. */
static bool has_lost(const struct view *view, const struct export_run *runs, unsigned int nr)
{
	unsigned int at = 0;

	for (unsigned int i = 0; i < view->nr_runs; i++) {
		const struct export_run *run = &view->runs[i];

		while (at < nr && runs[at].offset + runs[at].length <= run->offset)
			at++;
		if (at == nr || runs[at].offset > run->offset ||
		    runs[at].offset + runs[at].length < run->offset + run->length)
			return true;
	}
	return false;
}

/*
 * The blocks are somebody else's already, but no key reaches them: what is on demand went with them, and
 * under what is pinned they would have stayed. So clients are asked first, as in any recall.
 */
static void compare(struct holding *h)
{
	struct look *look = &h->look;
	const struct view *view = h->current ? h->current->view : NULL;
	bool current = view && look->compare_err == 0 && !look->overtaken && is_quiet(h);
	bool other_size = current && look->size_bytes != view->size_bytes;
	bool differs =
		other_size || (current && look->runs && has_lost(view, look->runs, look->nr_runs));

	if (look->compare_err == 0)
		free(look->runs);
	look->runs = NULL;
	look->compared = current;
	if (!differs)
		return;
	counter_add(&unasked, 1);
	log_warning("%s: %s was changed by somebody who did not have to ask (truncate through an "
		    "overlay?): %s %llu bytes; it is recalled and served as it is",
		    h->config.export.name, h->config.export.path,
		    other_size ? "it has" : "blocks are missing in its",
		    (unsigned long long)look->size_bytes);
	h->evicting = true;
	holding_event(h, RECALL_BREAK);
}

static void look_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, look.work);
	bool news = h->look.known != h->look.place;
	char text[ERRTEXT_BYTES];

	h->look.busy = false;
	h->look.known = h->look.place;
	if (h->look.counting && !h->look.overtaken && h->look.count_err == 0) {
		h->look.counted = true;
		h->look.known_holes = h->look.holes;
		holding_log_warnings(h);
	}
	if (news && sentence(h, text, sizeof(text)))
		log_warning("%s: %s", h->config.export.name, text);
	if (h->look.comparing)
		compare(h);
	damage_check(h);
	unwritable_check(h);
	if (!h->stopped)
		loop_timer_set(h->env->control, &h->look.timer,
			       now_ns() + (h->look.again ? 0 : LOOK_NS));
	h->look.again = false;
	holding_check_stopped(h);
}

static void on_timer(struct loop_timer *timer)
{
	struct holding *h = container_of(timer, struct holding, look.timer);

	if (h->stopped)
		return;
	h->look.busy = true;
	h->look.counting = h->current && h->current->view->hole_bytes > 0;
	h->look.overtaken = false;
	if (!h->look.counted)
		h->look.blocks = UINT64_MAX;
	h->look.export = holding_file(h);
	h->look.comparing = is_quiet(h) && !h->no_leases && !export_by_mapping_only(h->look.export);
	if (!h->look.compared)
		h->look.kept = UINT64_MAX;
	pool_submit(h->env->workers, &h->look.work, POOL_BULK, look_run, look_done,
		    h->env->control);
}

static void on_asked(struct loop_msg *msg)
{
	struct holding *h = container_of(msg, struct holding, look.msg);

	atomic_store(&h->look.asked, false);
	if (h->look.busy) {
		h->look.again = true;
	} else if (loop_timer_armed(&h->look.timer)) {
		loop_timer_cancel(h->env->control, &h->look.timer);
		on_timer(&h->look.timer);
	}
	holding_check_stopped(h);
}

void holding_suspect(struct holding *h)
{
	if (!atomic_exchange(&h->look.asked, true))
		loop_post(h->env->control, &h->look.msg, on_asked);
}

void look_start(struct holding *h)
{
	h->look.known = EXPORT_IN_PLACE;
	h->look.timer.fn = on_timer;
	loop_timer_set(h->env->control, &h->look.timer, now_ns() + LOOK_NS);
}

void look_stop(struct holding *h)
{
	assert(!h->look.busy);
	loop_timer_cancel(h->env->control, &h->look.timer);
	h->look.known = EXPORT_IN_PLACE;
}

void look_published(struct holding *h)
{
	h->look.overtaken = true;
	h->look.counted = h->look.compared = false;
}

uint64_t look_hole_bytes(const struct holding *h)
{
	uint64_t bytes = h->current ? h->current->view->hole_bytes : 0;

	return h->look.counted ? min_u64(h->look.known_holes, bytes) : bytes;
}

bool look_warning(const struct holding *h, char *text, size_t size)
{
	return holding_file(h) && sentence(h, text, size);
}
