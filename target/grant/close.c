// SPDX-License-Identifier: BSD-3-Clause
/*
 * Letting go at once (odp_release = at-once). Where all that is registered is mapped on demand, what a key
 * reaches is what this process has mapped there; so the process takes its own access away, the kernel has
 * every adapter drop what it had of these pages before that returns, and what is asked for again is not
 * given. Then no key reaches the file, dead or alive: the landlord goes on, and the keys die behind him.
 * Nobody asks clients and waits for an answer; they are told, and their keys go.
 *
 * What stays as it is: our own work requests and commits are drained first, and the machine (recall.c) is
 * the same. To it a key that reaches nothing is dead: KEYS_DEAD and REGIONS_GONE come when the memory is
 * closed. The tenure is not taken again, and nothing else registered, before the keys are dead indeed;
 * what is served next is mapped anew. Control loop, but where said.
 */
#include "grant/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/counter.h"
#include "util/log.h"

#define STUCK_DEADLINES 2  /* no key died for so long: it is told … */
#define STUCK_ENDS	10 /* … and after so many of these a stop ends the process */

DEFINE_COUNTER(recalls_at_once, "recalls_at_once",
	       "Recalls in which the file system did not wait for keys to die");

const char *close_unfit(const struct holding *h)
{
	bool any = false;

	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		const struct region_probe *probe = &h->probes[i];

		if (!region_registers(probe->rung))
			continue;
		any = true;
		if (fabric_device_info(h->env->devices[i])->software_fabric)
			return "the software fabric copies by itself: no kernel takes its access "
			       "away";
		if (probe->rung != LH_RUNG_ODP)
			return "memory that is pinned is reached until it is deregistered";
		if (!probe->closes)
			return "by the self-test the adapter reaches what the kernel has taken "
			       "away";
	}
	return any ? NULL : "nothing is registered on demand";
}

static bool is_registering(const struct holding *h)
{
	const struct list *l;

	list_for_each (l, &h->served) {
		const struct served *s = list_entry(l, struct served, link);

		if (s->making || s->growing || s->users > 0)
			return true;
	}
	return false;
}

static bool keys_left(const struct holding *h)
{
	return !list_empty(&h->grants) || !list_empty(&h->slabs) ||
	       (h->current && region_keys_alive(h->current->view) > 0);
}

bool close_going_on(const struct holding *h)
{
	return h->closing.busy || h->closing.closed;
}

/* ---- the worker ------------------------------------------------------------------------------ */

/* Touches the mappings of those that are served, of which none comes or goes meanwhile, and err. */
static void close_run(struct work *work)
{
	struct holding *h = container_of(work, struct holding, closing.work);
	struct closing *c = &h->closing;
	struct list *l;

	c->err = 0;
	list_for_each (l, &h->served) {
		const struct served *s = list_entry(l, struct served, link);

		if (c->err == 0 && s->view)
			c->err = view_close(s->view);
	}
}

static void close_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, closing.work);
	struct closing *c = &h->closing;
	struct list *l;

	c->busy = false;
	list_for_each (l, &h->served)
		list_entry(l, struct served, link)->closing = false;
	if (c->err) {
		c->failed = true;
		log_warning("%s: its memory cannot be closed (%s): whoever waits for the file "
			    "waits until all keys are dead",
			    h->config.export.name, strerror(-c->err));
	} else if (recall_going_on(&h->recall)) {
		c->closed = true;
		counter_add(&recalls_at_once, 1);
		h->timeline.closed_ns = now_ns();
		if (!h->recall.keys_dead)
			holding_event(h, RECALL_KEYS_DEAD);
		close_next(h);
	}
	if (!recall_going_on(&h->recall) && !c->closed)
		close_released(h);
	serve_bury(h);
	close_check(h);
}

/* ---- a recall -------------------------------------------------------------------------------- */

void close_next(struct holding *h)
{
	struct closing *c = &h->closing;
	struct list *l;

	if (c->closed) {
		if (h->recall.state == RECALL_INVALID)
			holding_event(h, RECALL_REGIONS_GONE);
		return;
	}
	if (!c->wanted || c->busy || c->failed || !recall_going_on(&h->recall) ||
	    !h->recall.drained || !h->recall.sealed || is_registering(h) || !keys_left(h))
		return;
	c->busy = true;
	list_for_each (l, &h->served)
		list_entry(l, struct served, link)->closing = true;
	pool_submit(h->env->workers, &c->work, POOL_URGENT, close_run, close_done, h->env->control);
}

void close_begin(struct holding *h)
{
	struct closing *c = &h->closing;

	if (c->wanted || !h->config.export.closable || !recall_going_on(&h->recall) ||
	    !h->recall.published || close_unfit(h))
		return;
	c->wanted = true;
	/* They were told, and need not answer: that seals the commits. */
	grant_kill_all(h);
	close_next(h);
}

/* ---- keys that do not die --------------------------------------------------------------------- */

/* Whatever there is to be killed, one by one. */
static uint64_t keys_to_die(const struct holding *h)
{
	return h->nr_grants + h->nr_slabs + region_keys_alive(h->current->view);
}

static void set_timer(struct holding *h)
{
	loop_timer_set(h->env->control, &h->closing.timer,
		       now_ns() + (uint64_t)STUCK_DEADLINES * h->env->deadline_ms * NS_PER_MS);
}

/* Nobody waits for the file, so it is no matter for the process; but who ends the export waits. */
static void on_timer(struct loop_timer *timer)
{
	struct holding *h = container_of(timer, struct holding, closing.timer);
	struct closing *c = &h->closing;
	const uint64_t left = keys_to_die(h);

	c->stuck = left == c->left ? c->stuck + 1 : 0;
	c->left = left;
	if (c->stuck == 1) {
		unsigned int keys = region_keys_alive(h->current->view);

		log_error("%s: %u keys of generation %u do not die; they reach nothing, but it is "
			  "not %s before they have",
			  h->config.export.name, keys, h->generation,
			  h->stopped ? "stopped" : "served again");
		holding_why(h, "released; %u keys do not die: see the log", keys);
	}
	if (h->stopped && c->stuck >= STUCK_ENDS) {
		log_error("%s: its keys still do not die: ending the process, so that the kernel "
			  "destroys them",
			  h->config.export.name);
		abort();
	}
	set_timer(h);
}

void close_released(struct holding *h)
{
	struct closing *c = &h->closing;

	if (c->closed) {
		c->left = keys_to_die(h);
		c->stuck = 0;
		c->timer.fn = on_timer;
		set_timer(h);
	}
	if (close_going_on(h))
		return;
	c->wanted = c->failed = false;
}

void close_stopped(struct holding *h)
{
	h->closing.stuck = 0;
}

void close_check(struct holding *h)
{
	struct closing *c = &h->closing;
	bool retake;

	if (c->busy || recall_going_on(&h->recall) || (c->closed && keys_left(h)))
		return;
	if (c->closed) {
		c->closed = false;
		loop_timer_cancel(h->env->control, &c->timer);
		h->timeline.keys_dead_ns = now_ns();
		close_released(h);
		if (c->stuck > 0 && !h->stopped)
			holding_why_released(h);
	}
	retake = c->retake;
	c->retake = false;
	if (retake)
		make_take(h);
	holding_check_stopped(h);
}

/* ---- for people ------------------------------------------------------------------------------ */

void close_published(struct holding *h)
{
	const char *why = h->config.export.closable ? close_unfit(h) : NULL;

	if (why && !h->closing.told)
		log_warning("%s: odp_release = \"at-once\" is not in force, as if it were "
			    "\"after-recall\": %s",
			    h->config.export.name, why);
	h->closing.told = why != NULL;
}

bool close_warning(const struct holding *h, char *text, size_t size)
{
	const char *why = h->config.export.closable && h->generation > 0 ? close_unfit(h) : NULL;

	if (why)
		(void)snprintf(text, size, "odp_release = at-once is not in force: %s", why);
	return why != NULL;
}
