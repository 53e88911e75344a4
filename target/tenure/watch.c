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
	bool lost;	  /* somebody was let go on without us */
	bool told;	  /* that it is breaking */
	struct list asks; /* who waits, the oldest first */
	struct loop_timer timer;
	uint64_t begun_ns;     /* it is held since … */
	uint64_t slice_end_ns; /* … and nobody breaks it before */
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

/* Tells of whoever waits, once, and sees to it that nobody waits for ever. */
static void plan(struct watch *w)
{
	uint64_t now = now_ns(), next;

	if (!w->told && !list_empty(&w->asks) && now >= w->slice_end_ns) {
		w->told = true;
		w->quiet_ns = now < w->begun_ns + WATCH_BUSY_NS
				      ? min_u64(2 * w->quiet_ns, WATCH_QUIET_MAX_NS)
				      : WATCH_QUIET_NS;
		say_who(w, &oldest(w)->ask);
		w->c.broken(w->c.arg); /* may let them go on */
	}
	if (list_empty(&w->asks)) {
		loop_timer_cancel(w->c.loop, &w->timer);
		return;
	}
	next = oldest(w)->since_ns + w->c.patience_ns;
	if (!w->told)
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
		if (!w->held) {
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
	assert(!w->held && list_empty(&w->asks));
	loop_timer_cancel(w->c.loop, &w->timer);
	list_del(&w->link);
	free(w);
}

void watch_stop(void)
{
	assert(list_empty(&watches));
	group_stop();
}

/* What was let go on may have ended. */
static uint64_t settled_ns(const struct watch *w)
{
	if (w->allowed_ns == 0)
		return 0;
	return w->allowed_ns + (w->noticed_ns >= w->allowed_ns
					? w->quiet_ns
					: max_u64(w->quiet_ns, WATCH_UNSEEN_NS));
}

void watch_begin(struct watch *w)
{
	uint64_t now = now_ns();

	if (w->held)
		return;
	w->held = true;
	w->told = false;
	w->begun_ns = now;
	w->slice_end_ns = 0;
	if (w->alone && now < settled_ns(w))
		w->slice_end_ns = now + min_u64(WATCH_SLICE_NS, w->c.patience_ns / SLICE_SHARE);
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
	w->held = w->lost = w->told = false;
	w->let_go_ns = now_ns();
	while ((a = oldest(w)))
		allow(w, a);
	loop_timer_cancel(w->c.loop, &w->timer);
}

enum tenure_state watch_check(const struct watch *w)
{
	if (!w->held || w->lost)
		return TENURE_NONE;
	return list_empty(&w->asks) || now_ns() < w->slice_end_ns ? TENURE_HELD : TENURE_BREAKING;
}

void watch_end(struct watch *w)
{
	if (w->alone)
		group_unmark(w->c.fd);
	w->alone = false;
}

/* ---- when to take it again ------------------------------------------------------------------- */

static uint64_t due(void *arg)
{
	const struct watch *w = arg;

	/* Until it was alone once it is with a watch as with a lease. */
	return w->alone ? min_u64(settled_ns(w), w->let_go_ns + WATCH_FORCE_NS) : 0;
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
