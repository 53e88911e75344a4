// SPDX-License-Identifier: BSD-3-Clause
/*
 * What no lease tells: that the file was deleted, that its path names another file now, or none,
 * and what hosts have left of its holes. A worker looks every few seconds, never on the data path.
 * Control loop, but for look_run().
 */
#include "grant/internal.h"

#include <stdio.h>

#include "util/log.h"

/* Touches place, blocks, holes and count_err. */
static void look_run(struct work *work)
{
	struct look *look = container_of(work, struct look, work);

	look->place = export_place(look->export);
	if (look->counting)
		look->count_err = export_hole_bytes(look->export, &look->blocks, &look->holes);
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
	if (!h->stopped)
		loop_timer_set(h->env->control, &h->look.timer, now_ns() + LOOK_NS);
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
	pool_submit(h->env->workers, &h->look.work, POOL_NORMAL, look_run, look_done,
		    h->env->control);
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
	h->look.counted = false;
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
