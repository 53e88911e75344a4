// SPDX-License-Identifier: BSD-3-Clause
/*
 * Generations that are or were served. Reactors see one after another; the one before may be freed
 * when its successor's publication is done. Its keys go first, a slice at a time on the registrar,
 * then its memory, on a worker. A recall takes the keys of all of them, and leaves the last one's
 * mapping to the file-system path.
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

#define BURY_COMPLAIN 8 /* failures in a row that are worth a line */

struct served *served_new(struct holding *h)
{
	struct served *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->h = h;
	s->making = true;
	list_push(&h->served, &s->link);
	return s;
}

static struct region **region_with_keys(struct served *s)
{
	for (unsigned int i = 0; i < GRANT_MAX_DEVICES; i++) {
		if (s->regions[i] && region_count(s->regions[i]) > 0)
			return &s->regions[i];
	}
	return NULL;
}

bool served_has_keys(const struct served *s)
{
	for (unsigned int i = 0; i < GRANT_MAX_DEVICES; i++) {
		if (s->regions[i] && region_count(s->regions[i]) > 0)
			return true;
	}
	return false;
}

/* ---- publishing ------------------------------------------------------------------------------ */

static void retire(struct served *s)
{
	if (!s)
		return;
	s->unregister = true;
	s->dead = true;
}

static void on_published(struct loop_msg *msg)
{
	struct served *s = container_of(msg, struct served, publish_msg);
	struct holding *h = s->h;

	s->publish_pending = false;
	retire(s->before);
	s->before = NULL;
	serve_bury(h);
	punch_check_buried(h);
	rest_next(h);
	holding_check_stopped(h);
}

static void on_stopped(struct loop_msg *msg)
{
	struct holding *h = container_of(msg, struct holding, stop_msg);

	retire(h->current);
	h->current = NULL;
	serve_bury(h);
	holding_check_stopped(h);
}

void serve_publish(struct holding *h, struct served *next)
{
	const struct holding_env *env = h->env;

	if (!next) {
		env->ops->publish(env->ops_ctx, h, NULL, &h->stop_msg, on_stopped);
		return;
	}
	next->making = false;
	next->pub.holding = h;
	next->pub.view = next->view;
	for (unsigned int i = 0; i < GRANT_MAX_DEVICES; i++)
		next->pub.regions[i] = next->regions[i];
	next->before = h->current;
	next->publish_pending = true;
	h->current = next;
	cache_forget(h);
	look_published(h);
	env->ops->publish(env->ops_ctx, h, &next->pub, &next->publish_msg, on_published);
	range_published(h);
}

/* ---- burying --------------------------------------------------------------------------------- */

/* Touches the served that nobody else knows any more. */
static void free_run(struct work *work)
{
	struct served *s = container_of(work, struct served, bury_work);

	for (unsigned int i = 0; i < GRANT_MAX_DEVICES; i++) {
		int err = region_free(s->regions[i]); /* no key is left: memory only */

		assert(err == 0);
		(void)err;
	}
	if (s->view)
		view_free(s->view);
}

static void free_done(struct work *work)
{
	struct served *s = container_of(work, struct served, bury_work);
	struct holding *h = s->h;

	free(s);
	h->burials--;
	holding_check_stopped(h);
}

static void free_dead(struct holding *h)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &h->served) {
		struct served *s = list_entry(l, struct served, link);

		if (!s->dead || s->making || s->growing || s->closing || s->publish_pending ||
		    s->users > 0 || region_with_keys(s))
			continue;
		list_del(&s->link);
		h->burials++;
		pool_submit(h->env->workers, &s->bury_work, POOL_BULK, free_run, free_done,
			    h->env->control);
	}
}

static void bury_again(struct loop_timer *timer)
{
	serve_bury(container_of(timer, struct holding, bury_timer));
}

/* Touches the region and bury_err. */
static void shrink_run(struct work *work)
{
	struct holding *h = container_of(work, struct holding, bury_work);
	const struct export_range *r = &h->bury_range;

	h->bury_err = r->length > 0 ? region_withdraw(h->bury_region, r->offset, r->length)
				    : region_shrink(h->bury_region);
}

static void shrink_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, bury_work);

	h->bury_busy = false;
	if (h->bury_err >= 0) {
		h->bury_failures = 0;
		serve_bury(h);
		close_check(h);
		punch_check_buried(h);
		if (!recall_going_on(&h->recall))
			cache_next(h);
		return;
	}
	if (h->bury_failures % BURY_COMPLAIN == 0)
		log_error("%s: block keys cannot be deregistered, trying again: %s",
			  h->config.export.name, strerror(-h->bury_err));
	h->bury_failures++;
	loop_timer_set(h->env->control, &h->bury_timer,
		       now_ns() + backoff_ns(h->bury_failures, RETRY_MAX_NS));
}

static void submit(struct holding *h, struct region *region, const struct holding_range *r,
		   bool urgent)
{
	h->bury_busy = true;
	h->bury_region = region;
	h->bury_range = (struct export_range){0};
	if (r)
		h->bury_range =
			(struct export_range){.offset = r->offset, .length = r->end - r->offset};
	h->bury_timer.fn = bury_again;
	pool_submit(h->env->registrar, &h->bury_work, urgent ? POOL_URGENT : POOL_NORMAL,
		    shrink_run, shrink_done, h->env->control);
}

/* A region, used or not, that has a key over the range. */
static struct region *reaching(const struct holding *h, const struct holding_range *r)
{
	struct list *l;

	list_for_each (l, &h->served) {
		struct served *s = list_entry(l, struct served, link);

		/* What is being made was begun without the range. */
		for (unsigned int i = 0; i < GRANT_MAX_DEVICES && !s->making; i++) {
			if (s->regions[i] &&
			    region_reaches(s->regions[i], r->offset, r->end - r->offset))
				return s->regions[i];
		}
	}
	return NULL;
}

/* True: a slice that a landlord waits for is with the registrar. */
static bool withdraw(struct holding *h)
{
	struct holding_range *r;

	/* One that is being registered may be of them. */
	if (h->rest.served && range_to_withdraw(h))
		return true;
	while (!h->bury_busy && (r = range_to_withdraw(h))) {
		struct region *region = reaching(h, r);

		if (region)
			submit(h, region, r, true);
		else
			range_withdrawn(r);
	}
	return h->bury_busy;
}

void serve_bury(struct holding *h)
{
	bool any = false;
	struct list *l;

	if (h->bury_busy || loop_timer_armed(&h->bury_timer) || withdraw(h))
		return;
	list_for_each (l, &h->served) {
		struct served *s = list_entry(l, struct served, link);
		struct region **region;

		if (s->making || s->growing) {
			any = true;
			continue;
		}
		region = region_with_keys(s);
		if (!region)
			continue;
		any = true;
		if (!s->unregister)
			continue;
		submit(h, *region, NULL, recall_going_on(&h->recall));
		return;
	}
	free_dead(h);
	if (!any && h->recall.state == RECALL_INVALID)
		holding_event(h, RECALL_REGIONS_GONE);
}

void serve_unregister_all(struct holding *h)
{
	struct list *l;

	rest_cancel(h);
	cache_forget(h);
	list_for_each (l, &h->served)
		list_entry(l, struct served, link)->unregister = true;
	serve_bury(h);
}
