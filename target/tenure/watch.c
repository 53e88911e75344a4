// SPDX-License-Identifier: BSD-3-Clause
/*
 * A file that others may use while we serve it. Whoever opens, reads, writes, maps or changes it asks
 * first. While we hold the file they wait, and are let go on when we have let go; at other times they
 * are let go on at once.
 *
 * - No descriptor is blind: the mark is set first, then the write lease proves that nobody has the
 *   file open (they would raise nothing), then it is dropped at once. After that whoever opens it is
 *   seen. Our own descriptor is older than the mark and raises nothing but for truncate(2), which the
 *   listener lets pass.
 * - What was let go on has not happened yet, and nobody says when it has. So we stand back until a
 *   change, an open or a close was seen since (inotify) and it was quiet for a while, or, unseen, for
 *   a longer while; then size and extents are looked at again. What is late all the same finds memory
 *   whose keys the file system can take back itself: watched files are never pinned.
 * - Somebody who reads in a loop would be a recall for each read. So quiet gets longer, the sooner we
 *   are asked again. After WATCH_FORCE_NS it is our turn nevertheless, for a slice of time in which
 *   they wait: both get on.
 * - Who was not let go on in patience_ns gets EBUSY: never is anybody let go on without proof.
 * - Who names a range need not wait for the whole file: a part is let go, settles and is held again in
 *   the same way, by itself. An open(2) names none: it may carry O_TRUNC.
 *
 * The loop's thread, but for watch_take() and watch_end().
 */
#include "watch.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "group.h"
#include "util/counter.h"
#include "util/log.h"

#define SLICE_SHARE 4 /* of the patience of who waits meanwhile; a recall follows */

DEFINE_COUNTER(watch_refused, "watch_refused", "Local operations that got EBUSY, as configured");
DEFINE_COUNTER(watch_expired, "watch_expired",
	       "Local operations that got EBUSY since a recall had no end");

struct watch {
	struct list link; /* watches */
	struct tenure_config c;
	dev_t dev;
	ino_t ino;
	atomic_bool alone; /* marked, and no descriptor of others is older; a worker may set it */
	bool held;
	bool lost;	   /* somebody was let go on without us */
	bool whole;	   /* somebody waits for all of it, and that was told */
	struct list asks;  /* who waits, the oldest first */
	struct list parts; /* struct tenure_part: let go */
	struct loop_timer timer;
	uint64_t begun_ns;     /* it, or a part, is held since … */
	uint64_t slice_end_ns; /* … and nobody breaks [slice_from, slice_to) before */
	uint64_t slice_from, slice_to;
	uint64_t let_go_ns;
	uint64_t allowed_ns; /* the last one that was let go on */
	uint64_t noticed_ns; /* something was opened, changed, closed */
	uint64_t quiet_ns;
};

static struct list watches = LIST_INIT(watches);

/* ---- those who ask --------------------------------------------------------------------------- */

static void allow(struct watch *w, struct group_ask *a)
{
	list_del(&a->link);
	if (group_answer(a, 0))
		w->allowed_ns = now_ns();
}

static void refuse(struct group_ask *a)
{
	list_del(&a->link);
	(void)group_answer(a, EBUSY);
}

static struct group_ask *oldest(const struct watch *w)
{
	return list_empty(&w->asks) ? NULL : list_entry(w->asks.next, struct group_ask, link);
}

static void say_who(const struct watch *w, const struct tenure_ask *ask)
{
	char range[64] = "";

	if (!ask->open && ask->length)
		(void)snprintf(range, sizeof(range), " from %llu, %llu bytes",
			       (unsigned long long)ask->offset, (unsigned long long)ask->length);
	else if (!ask->open)
		(void)snprintf(range, sizeof(range), " from %llu on",
			       (unsigned long long)ask->offset);
	log_info("%s: process %d wants to %s the file%s", w->c.name, (int)ask->pid,
		 ask->open ? "open" : "use", range);
}

static bool in_part(const struct tenure_part *part, const struct tenure_ask *ask)
{
	return !ask->open && ask->offset >= part->offset && tenure_ask_end(ask) <= part->end;
}

static struct tenure_part *part_of(const struct watch *w, const struct tenure_ask *ask)
{
	struct list *l;

	list_for_each (l, &w->parts) {
		struct tenure_part *part = list_entry(l, struct tenure_part, link);

		if (in_part(part, ask))
			return part;
	}
	return NULL;
}

static bool in_slice(const struct watch *w, const struct tenure_ask *ask, uint64_t now)
{
	return now < w->slice_end_ns &&
	       (ask->open || (ask->offset < w->slice_to && tenure_ask_end(ask) > w->slice_from));
}

static void begin_slice(struct watch *w, uint64_t now, uint64_t from, uint64_t to)
{
	w->slice_end_ns = now + min_u64(WATCH_SLICE_NS, w->c.patience_ns / SLICE_SHARE);
	w->slice_from = from;
	w->slice_to = to;
}

/* Tells of those who wait, of each once. True: of one at least nobody knew. */
static bool tell(struct watch *w, uint64_t now)
{
	bool news = false;
	struct list *l;

	list_for_each (l, &w->asks) {
		struct group_ask *a = list_entry(l, struct group_ask, link);

		if (a->told || in_slice(w, &a->ask, now))
			continue;
		a->told = true;
		if (w->whole)
			continue;
		if (!news)
			say_who(w, &a->ask);
		news = true;
		w->whole = a->ask.open || !w->c.part(w->c.arg, &a->ask);
	}
	return news;
}

static bool all_told(const struct watch *w)
{
	struct list *l;

	list_for_each (l, &w->asks) {
		if (!list_entry(l, struct group_ask, link)->told)
			return false;
	}
	return true;
}

/* Tells of whoever waits, and sees to it that nobody waits for ever. */
static void plan(struct watch *w)
{
	uint64_t now = now_ns(), next;
	bool whole = w->whole;

	if (tell(w, now))
		w->quiet_ns = now < w->begun_ns + WATCH_BUSY_NS
				      ? min_u64(2 * w->quiet_ns, WATCH_QUIET_MAX_NS)
				      : WATCH_QUIET_NS;
	if (w->whole && !whole)
		w->c.broken(w->c.arg); /* may let them go on */
	if (list_empty(&w->asks)) {
		loop_timer_cancel(w->c.loop, &w->timer);
		return;
	}
	next = oldest(w)->since_ns + w->c.patience_ns;
	if (!all_told(w))
		next = min_u64(next, w->slice_end_ns);
	loop_timer_set(w->c.loop, &w->timer, next);
}

static void on_timer(struct loop_timer *timer)
{
	struct watch *w = container_of(timer, struct watch, timer);
	uint64_t now = now_ns();
	struct group_ask *a;
	unsigned int n = 0;

	for (; (a = oldest(w)) && a->since_ns + w->c.patience_ns <= now; n++)
		refuse(a);
	counter_add(&watch_expired, n);
	if (n)
		log_warning("%s: the recall is not done after %llu ms: %u local operation(s) get "
			    "\"device or resource busy\"",
			    w->c.name, (unsigned long long)(w->c.patience_ns / NS_PER_MS), n);
	plan(w);
}

static void lose(struct watch *w)
{
	if (!w->held || w->lost)
		return;
	w->lost = true;
	w->c.broken(w->c.arg);
}

static void on_ask(struct group_ask *a)
{
	struct tenure_part *part;
	struct list *l, *next;
	struct watch *w;

	list_for_each_safe (l, next, &watches) {
		w = list_entry(l, struct watch, link);
		if (a->event_fd < 0) {
			lose(w);
			continue;
		}
		if (w->dev != a->dev || w->ino != a->ino)
			continue;
		part = part_of(w, &a->ask);
		if (part)
			part->allowed_ns = now_ns();
		if (!w->held || part) {
			allow(w, a);
		} else if (w->c.refuse(w->c.arg, &a->ask)) {
			counter_add(&watch_refused, 1);
			refuse(a);
		} else {
			list_push(&w->asks, &a->link);
			plan(w);
		}
		return;
	}
	/* None of ours, or not any more. */
	(void)group_answer(a, 0);
}

/* ---- the tenure ------------------------------------------------------------------------------ */

int watch_new(const struct tenure_config *config, struct watch **result)
{
	struct watch *w = calloc(1, sizeof(*w));
	struct stat st;
	int rc = 0;

	if (!w)
		return -ENOMEM;
	*w = (struct watch){.c = *config, .quiet_ns = WATCH_QUIET_NS};
	w->timer.fn = on_timer;
	list_init(&w->asks);
	list_init(&w->parts);
	if (fstat(config->fd, &st) != 0)
		rc = -errno;
	else
		rc = group_start(config->loop, on_ask);
	if (rc) {
		free(w);
		return rc;
	}
	w->dev = st.st_dev;
	w->ino = st.st_ino;
	list_push(&watches, &w->link);
	*result = w;
	return 0;
}

void watch_free(struct watch *w)
{
	assert(!w->held && list_empty(&w->asks) && list_empty(&w->parts));
	loop_timer_cancel(w->c.loop, &w->timer);
	list_del(&w->link);
	free(w);
}

void watch_stop(void)
{
	assert(list_empty(&watches));
	group_stop();
}

/* What was let go on then may have ended. */
static uint64_t settled_ns(const struct watch *w, uint64_t allowed_ns)
{
	if (allowed_ns == 0)
		return 0;
	return allowed_ns +
	       (w->noticed_ns >= allowed_ns ? w->quiet_ns : max_u64(w->quiet_ns, WATCH_UNSEEN_NS));
}

void watch_begin(struct watch *w)
{
	uint64_t now = now_ns();

	if (w->held)
		return;
	w->held = true;
	w->whole = false;
	w->begun_ns = now;
	w->slice_end_ns = 0;
	if (w->alone && now < settled_ns(w, w->allowed_ns))
		begin_slice(w, now, 0, INT64_MAX);
}

int watch_take(struct watch *w, struct errtext *err)
{
	int rc;

	if (w->alone)
		return 0;
	rc = group_mark(w->c.fd, err);
	if (rc)
		return rc;
	rc = lease_take(w->c.fd);
	if (rc == 0) {
		lease_release(w->c.fd);
		w->alone = true;
		return 0;
	}
	group_unmark(w->c.fd);
	if (rc == -EAGAIN)
		return rc;
	return errtext_set(
		err, rc == -EINVAL ? -EOPNOTSUPP : rc,
		"tenure = \"watch\" takes a lease once, to see that nobody else has the file "
		"open: %s",
		rc == -EACCES	? "not the owner of the file, and no CAP_LEASE"
		: rc == -EINVAL ? "its file system has none"
				: strerror(-rc));
}

void watch_release(struct watch *w)
{
	struct group_ask *a;

	if (!w->held)
		return;
	w->held = w->lost = w->whole = false;
	w->let_go_ns = now_ns();
	while ((a = oldest(w)))
		allow(w, a);
	loop_timer_cancel(w->c.loop, &w->timer);
}

enum tenure_state watch_check(const struct watch *w)
{
	if (!w->held || w->lost)
		return TENURE_NONE;
	return w->whole ? TENURE_BREAKING : TENURE_HELD;
}

void watch_end(struct watch *w)
{
	if (w->alone)
		group_unmark(w->c.fd);
	w->alone = false;
}

/* ---- when to take it again ------------------------------------------------------------------- */

static uint64_t due_ns(const struct watch *w)
{
	/* Until it was alone once it is with a watch as with a lease. */
	return w->alone ? min_u64(settled_ns(w, w->allowed_ns), w->let_go_ns + WATCH_FORCE_NS) : 0;
}

bool watch_settled(const struct watch *w)
{
	return now_ns() >= due_ns(w);
}

static uint64_t due(void *arg)
{
	return due_ns(arg);
}

static void noticed(void *arg)
{
	struct watch *w = arg;

	w->noticed_ns = now_ns();
}

struct retry_pace watch_pace(struct watch *w)
{
	return (struct retry_pace){.due = due, .noticed = noticed, .arg = w};
}

/* ---- parts ----------------------------------------------------------------------------------- */

void watch_part_release(struct watch *w, struct tenure_part *part)
{
	struct list *l, *next;

	part->let_go_ns = part->allowed_ns = now_ns();
	list_push(&w->parts, &part->link);
	list_for_each_safe (l, next, &w->asks) {
		struct group_ask *a = list_entry(l, struct group_ask, link);

		if (in_part(part, &a->ask))
			allow(w, a);
	}
	plan(w);
}

static uint64_t part_due(const struct watch *w, const struct tenure_part *part)
{
	return min_u64(settled_ns(w, part->allowed_ns), part->let_go_ns + WATCH_FORCE_NS);
}

bool watch_part_settled(const struct watch *w, const struct tenure_part *part)
{
	return now_ns() >= part_due(w, part);
}

void watch_part_take(struct watch *w, struct tenure_part *part)
{
	uint64_t now = now_ns();

	list_del(&part->link);
	w->begun_ns = now;
	if (now < settled_ns(w, part->allowed_ns))
		begin_slice(w, now, part->offset, part->end);
}

static uint64_t first_part_due(void *arg)
{
	const struct watch *w = arg;
	/* Those that are to be let go are asked for then. */
	uint64_t due = now_ns() + WATCH_QUIET_NS;
	struct list *l;

	if (!list_empty(&w->parts))
		due = UINT64_MAX;
	list_for_each (l, &w->parts)
		due = min_u64(due, part_due(w, list_entry(l, struct tenure_part, link)));
	return due;
}

struct retry_pace watch_parts_pace(struct watch *w)
{
	return (struct retry_pace){.due = first_part_due, .noticed = noticed, .arg = w};
}
