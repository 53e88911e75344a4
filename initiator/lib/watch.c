// SPDX-License-Identifier: BSD-3-Clause
/*
 * Watching an export: what the target's change log (C1h) says of it, in order, and what is different in
 * its export list (C0h) and is not explained by that. The service thread notes events in a ring; any
 * thread takes them out. Nothing is asked for but what the doorbell announces.
 *
 * The list is read before the log, so it may be older than what the log says: as long as the log has
 * news of an export, the list is not compared but both are read again.
 */
#include "libleasehold/watch.h"

#include "libleasehold/export.h"

#include "wire/wire.h"

#include <errno.h>
#include <stdlib.h>

const char *lh_watch_name(enum lh_watch_kind kind)
{
	switch (kind) {
	case LH_WATCH_BEGUN:
		return "begun";
	case LH_WATCH_RECALLING:
		return "recalling";
	case LH_WATCH_RELEASED:
		return "released";
	case LH_WATCH_SERVED:
		return "served";
	case LH_WATCH_RESIZED:
		return "resized";
	case LH_WATCH_OFFLINE:
		return "offline";
	case LH_WATCH_CHANGED:
		return "changed";
	case LH_WATCH_LOST:
		return "lost";
	case LH_WATCH_RECONNECTED:
		return "reconnected";
	case LH_WATCH_MISSED:
		return "missed";
	}
	return "unknown";
}

/* ---- noting ---------------------------------------------------------------------------------- */

static void put(struct watch *w, enum lh_watch_kind kind, uint64_t offset, uint64_t length)
{
	w->events[(w->first + w->count++) % LH_WATCH_EVENTS] = (struct lh_watch_event){
		.kind = kind,
		.time_ns = now_ns(),
		.offset = offset,
		.length = length,
		.size_bytes = w->size_bytes,
		.generation = w->generation,
		.state = lh_export_state_text(w->offline ? LH_EXPORT_OFFLINE : w->state),
		.rung = lh_rung_text(w->rung),
	};
}

/* With the last place it is said that the rest has none. */
static void note_range(struct lh_export *ex, enum lh_watch_kind kind, uint64_t offset,
		       uint64_t length)
{
	struct watch *w = &ex->watch;

	if (w->count < LH_WATCH_EVENTS - 1)
		put(w, kind, offset, length);
	else if (w->count < LH_WATCH_EVENTS)
		put(w, LH_WATCH_MISSED, 0, 0);
	(void)pthread_cond_broadcast(&ex->client->changed);
}

static void note(struct lh_export *ex, enum lh_watch_kind kind)
{
	note_range(ex, kind, 0, 0);
}

static void set_size(struct lh_export *ex, uint64_t size_bytes)
{
	if (size_bytes != ex->watch.size_bytes) {
		ex->watch.size_bytes = size_bytes;
		note(ex, LH_WATCH_RESIZED);
	}
}

void watch_change(struct lh_export *ex, const struct lh_change_entry *change)
{
	const uint64_t offset = le64toh(change->offset), length = le64toh(change->length);
	struct watch *w = &ex->watch;

	if (!w->events)
		return;
	w->busy = true;
	if (!w->begun)
		return;
	switch (change->change) {
	case LH_CHANGE_RECALLING:
	case LH_CHANGE_RELEASED:
		if (length == LH_ALL)
			w->state = change->change == LH_CHANGE_RECALLING ? LH_EXPORT_RECALLING
									 : LH_EXPORT_REACQUIRING;
		note_range(ex,
			   change->change == LH_CHANGE_RECALLING ? LH_WATCH_RECALLING
								 : LH_WATCH_RELEASED,
			   offset, length);
		break;
	case LH_CHANGE_REGRANT:
		w->state = LH_EXPORT_SERVING;
		w->offline = false;
		w->generation = le32toh(change->generation);
		set_size(ex, length);
		note(ex, LH_WATCH_SERVED);
		break;
	case LH_CHANGE_EXPORT:
		/* 0: it has gone, or has not come yet; the list tells. */
		if (length)
			set_size(ex, length);
		break;
	default:
		break;
	}
}

/* What is different and was not told. */
static void compare(struct lh_export *ex)
{
	const struct lh_export_entry *e = &ex->entry;
	const bool offline = !ex->watch.listed || e->state == LH_EXPORT_OFFLINE;
	const bool first = !ex->watch.begun;
	struct watch *w = &ex->watch;
	bool served;

	if (!first && offline) {
		if (!w->offline) {
			w->offline = true;
			note(ex, LH_WATCH_OFFLINE);
		}
		return;
	}
	if (!first)
		set_size(ex, le64toh(e->size_bytes));
	served = e->state == LH_EXPORT_SERVING && (w->offline || w->state != LH_EXPORT_SERVING ||
						   w->generation != le32toh(e->generation));
	if (!first && !served &&
	    (w->rung != e->rung || w->durability != e->durability || w->flags != e->flags)) {
		w->rung = e->rung;
		note(ex, LH_WATCH_CHANGED);
	}
	*w = (struct watch){
		.events = w->events,
		.first = w->first,
		.count = w->count,
		.listed = w->listed,
		.begun = true,
		.offline = offline,
		.state = (enum lh_export_state)e->state,
		.generation = le32toh(e->generation),
		.size_bytes = le64toh(e->size_bytes),
		.rung = e->rung,
		.durability = e->durability,
		.flags = e->flags,
	};
	if (first)
		note(ex, LH_WATCH_BEGUN);
	else if (served)
		note(ex, LH_WATCH_SERVED);
}

void watch_look(struct lh_client *client, bool missed)
{
	struct list *pos;

	(void)pthread_mutex_lock(&client->lock);
	list_for_each (pos, &client->exports) {
		struct lh_export *ex = list_entry(pos, struct lh_export, link);

		if (!ex->watch.events)
			continue;
		if (missed && ex->watch.begun)
			note(ex, LH_WATCH_MISSED);
		if (ex->watch.busy)
			atomic_store(&client->aen_pending, true);
		else
			compare(ex);
		ex->watch.busy = false;
	}
	(void)pthread_mutex_unlock(&client->lock);
}

void watch_connection(struct lh_client *client, bool back)
{
	struct list *pos;

	list_for_each (pos, &client->exports) {
		struct lh_export *ex = list_entry(pos, struct lh_export, link);

		if (ex->watch.events)
			note(ex, back ? LH_WATCH_RECONNECTED : LH_WATCH_LOST);
	}
}

/* ---- for callers ----------------------------------------------------------------------------- */

int lh_watch(struct lh_export *ex, struct lh_error *err)
{
	struct lh_client *client = ex->client;
	struct lh_watch_event *events = calloc(LH_WATCH_EVENTS, sizeof(*events));

	if (!events)
		return client_failf(err, -ENOMEM, "out of memory");
	(void)pthread_mutex_lock(&client->lock);
	if (ex->watch.events)
		free(events);
	else
		ex->watch.events = events;
	(void)pthread_mutex_unlock(&client->lock);
	/* The next time that it reads the log it says so to the target. */
	atomic_store(&client->watching, true);
	atomic_store(&client->aen_pending, true);
	client_wake(client);
	return 0;
}

static int take(struct lh_export *ex, uint64_t deadline_ns, struct lh_watch_event *event,
		struct lh_error *err)
{
	const struct timespec until = {.tv_sec = (time_t)(deadline_ns / NS_PER_S),
				       .tv_nsec = (long)(deadline_ns % NS_PER_S)};
	struct lh_client *client = ex->client;
	struct watch *w = &ex->watch;
	bool late = false;

	while (w->count == 0) {
		if (client->state == CLIENT_FAILED) {
			if (!atomic_load(&client->given_up)) {
				client->state = CLIENT_LOST;
				client_wake(client);
			}
			return client_fail(err, -ENOTCONN, &client->why);
		}
		if (late)
			return client_failf(err, -ETIMEDOUT, "nothing has happened to \"%s\"",
					    ex->name);
		late = pthread_cond_timedwait(&client->changed, &client->lock, &until) == ETIMEDOUT;
	}
	*event = w->events[w->first];
	w->first = (w->first + 1) % LH_WATCH_EVENTS;
	w->count--;
	return 0;
}

int lh_watch_next(struct lh_export *ex, int timeout_ms, struct lh_watch_event *event,
		  struct lh_error *err)
{
	const uint64_t ever = (uint64_t)INT32_MAX * NS_PER_S;
	const uint64_t deadline =
		timeout_ms < 0 ? ever : now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	int rc;

	(void)pthread_mutex_lock(&ex->client->lock);
	if (ex->watch.events)
		rc = take(ex, deadline, event, err);
	else
		rc = client_failf(err, -EINVAL, "\"%s\" is not watched: call lh_watch() first",
				  ex->name);
	(void)pthread_mutex_unlock(&ex->client->lock);
	return rc;
}

void watch_fini(struct watch *w)
{
	free(w->events);
	w->events = NULL;
}
