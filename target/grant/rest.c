// SPDX-License-Identifier: BSD-3-Clause
/*
 * The rest of an export's slices. It is served when the first ones are registered: a large one
 * would be waited for too long. The others come while it is served, one after another on the
 * registrar, behind all that somebody waits for, as far as the adapter's budget goes (cache.c
 * chooses then); block commands go through buffers there until then. Whoever wants the blocks back,
 * or makes another view, comes first: this is cancelled, and goes on with what is served
 * afterwards. Control loop.
 */
#include "grant/internal.h"

#include <errno.h>
#include <string.h>

#include "util/log.h"

/* Touches the region, which others look at, err and text. */
static void step_run(struct work *work)
{
	struct holding *h = container_of(work, struct holding, rest.work);
	struct rest *rest = &h->rest;
	struct region *region = rest->served->regions[rest->device];

	rest->err = -ECANCELED;
	if (atomic_load(&rest->cancel))
		return;
	switch (rest->job) {
	case REST_STEP:
		rest->err = region_step(region, &rest->text);
		break;
	case REST_REGISTER:
		rest->err = region_register(region, rest->slice, &rest->text);
		break;
	case REST_RELEASE:
		rest->err = region_release(region, rest->slice);
		if (rest->err)
			(void)errtext_set(&rest->text, 0, "a slice cannot be deregistered: %s",
					  strerror(-rest->err));
		break;
	}
}

static void on_timer(struct loop_timer *timer)
{
	rest_next(container_of(timer, struct holding, rest.timer));
}

static void step_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, rest.work);
	struct rest *rest = &h->rest;

	rest->served->growing = false;
	if (rest->err >= 0) {
		rest->failures = 0;
		if (rest->job == REST_RELEASE && rest->served == h->current)
			h->caching.withheld = false;
	} else if (rest->err != -ECANCELED) {
		if (rest->failures++ == 0)
			log_warning("%s: %s; it is tried again%s", h->config.export.name,
				    rest->text.text,
				    rest->job == REST_RELEASE
					    ? ""
					    : ", till then they are served through buffers");
		rest->timer.fn = on_timer;
		loop_timer_set(h->env->control, &rest->timer,
			       now_ns() + backoff_ns(rest->failures, RETAKE_MAX_NS));
	}
	rest->served = NULL;
	serve_bury(h);
	close_next(h);
	punch_check_buried(h);
	cache_next(h);
	rest_next(h);
	holding_check_stopped(h);
}

static void submit(struct holding *h, enum rest_job job, unsigned int device, unsigned int slice)
{
	struct rest *rest = &h->rest;

	h->current->growing = true;
	rest->served = h->current;
	rest->job = job;
	rest->device = device;
	rest->slice = slice;
	atomic_store(&rest->cancel, false);
	pool_submit(h->env->registrar, &rest->work, POOL_NORMAL, step_run, step_done,
		    h->env->control);
}

bool rest_idle(const struct holding *h)
{
	const struct served *s = h->current;

	return !h->rest.served && s && !s->unregister && !s->publish_pending && !h->stopped &&
	       h->recall.state == RECALL_GRANTED && h->make.kind == MAKE_NOTHING &&
	       h->punch.step == PUNCH_IDLE && range_all_out(h) && !loop_timer_armed(&h->rest.timer);
}

void rest_register(struct holding *h, unsigned int device, unsigned int i)
{
	submit(h, REST_REGISTER, device, i);
}

void rest_next(struct holding *h)
{
	bool lacks = false;

	if (!rest_idle(h))
		return;
	if (h->caching.withheld && !h->caching.draining) {
		submit(h, REST_RELEASE, h->caching.device, h->caching.slice);
		return;
	}
	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		const struct region *region = h->current->regions[i];

		if (!region || !region_lacks(region))
			continue;
		lacks = true;
		if (cache_contended(h, i) || !region_more(region))
			continue;
		submit(h, REST_STEP, i, 0);
		return;
	}
	if (lacks)
		cache_starve(h);
}

void rest_cancel(struct holding *h)
{
	if (!h->rest.served)
		return;
	atomic_store(&h->rest.cancel, true);
	pool_hurry(h->env->registrar, &h->rest.work);
}

void rest_stop(struct holding *h)
{
	rest_cancel(h);
	loop_timer_cancel(h->env->control, &h->rest.timer);
}
