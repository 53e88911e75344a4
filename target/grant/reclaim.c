// SPDX-License-Identifier: BSD-3-Clause
/*
 * Local tools that want a range, or the whole file, quiet for a while: `leasehold reclaim`. The time
 * counts from the proof on, and ends by itself. Control loop.
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/log.h"

struct reclaim {
	struct holding_range range;
	struct holding *h;
	struct list link; /* holding.reclaims */
	struct loop_timer timer;
	uint64_t hold_ns;
	bool proven;
	bool ending;
	void (*done)(void *arg, int err, const char *why);
	void *arg;
};

static void end(struct reclaim *r)
{
	if (r->ending)
		return;
	r->ending = true;
	loop_timer_cancel(r->h->env->control, &r->timer);
	holding_recall_end(&r->range);
}

static void on_timer(struct loop_timer *timer)
{
	end(container_of(timer, struct reclaim, timer));
}

static void proven(struct holding_range *range)
{
	struct reclaim *r = container_of(range, struct reclaim, range);

	r->proven = true;
	if (r->hold_ns == HOLDING_RECLAIM_TILL_STOP) {
		r->done(r->arg, 0, "");
		return;
	}
	log_notice("%s: reclaimed %s for %llu ms", r->h->config.export.name,
		   range->tenure ? "as a whole" : "in part",
		   (unsigned long long)(r->hold_ns / NS_PER_MS));
	if (r->hold_ns > 0 && !r->ending)
		loop_timer_set(r->h->env->control, &r->timer, now_ns() + r->hold_ns);
	r->done(r->arg, 0, "");
	if (r->hold_ns == 0)
		end(r);
}

static void ended(struct holding_range *range)
{
	struct reclaim *r = container_of(range, struct reclaim, range);

	list_del(&r->link);
	r->h->nr_reclaims--;
	free(r);
}

static void refuse(const struct holding *h, void (*done)(void *arg, int err, const char *why),
		   void *arg, int err, const char *why)
{
	char text[ERRTEXT_BYTES];

	(void)snprintf(text, sizeof(text), "%s: %s", h->config.export.name, why);
	done(arg, err, text);
}

void holding_reclaim(struct holding *h, const struct holding_reclaim *want,
		     void (*done)(void *arg, int err, const char *why), void *arg)
{
	struct reclaim *r;

	if (h->recall.stopping || h->state == HOLDING_OFFLINE) {
		refuse(h, done, arg, -ENODEV, "it is not served");
		return;
	}
	if (!want->whole && h->current && want->offset >= h->current->view->size_bytes) {
		refuse(h, done, arg, -EINVAL,
		       "the range begins behind its end: nothing of it is in the file");
		return;
	}
	if (h->nr_reclaims >= GRANT_MAX_RECLAIMS) {
		char why[160];

		(void)snprintf(
			why, sizeof(why),
			"%u reclaims of it are under way, the most there can be: wait until one "
			"ends, or end them all with leasehold reclaim --end",
			GRANT_MAX_RECLAIMS);
		refuse(h, done, arg, -EBUSY, why);
		return;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		refuse(h, done, arg, -ENOMEM, "out of memory");
		return;
	}
	r->h = h;
	r->hold_ns = want->hold_ns;
	r->done = done;
	r->arg = arg;
	r->timer.fn = on_timer;
	r->range = (struct holding_range){
		.offset = want->whole ? 0 : want->offset,
		.length = want->whole ? 0 : want->length,
		.tenure = want->whole,
		.done = proven,
		.ended = ended,
	};
	list_push(&h->reclaims, &r->link);
	h->nr_reclaims++;
	holding_recall_range(h, &r->range);
}

unsigned int holding_reclaim_end(struct holding *h)
{
	unsigned int n = 0;
	struct list *l;

	/* One that ends is freed later. */
	list_for_each (l, &h->reclaims) {
		struct reclaim *r = list_entry(l, struct reclaim, link);

		n += !r->ending;
		end(r);
	}
	return n;
}

void reclaim_stop(struct holding *h)
{
	(void)holding_reclaim_end(h);
}

bool reclaim_has(const struct holding *h, uint64_t offset)
{
	struct list *l;

	list_for_each (l, &h->reclaims) {
		const struct reclaim *r = list_entry(l, struct reclaim, link);

		if (r->hold_ns != HOLDING_RECLAIM_TILL_STOP && offset >= r->range.offset &&
		    offset < r->range.end)
			return true;
	}
	return false;
}

bool holding_reclaimed(const struct holding *h, unsigned int i, struct holding_reclaim *out)
{
	struct list *l;

	list_for_each (l, &h->reclaims) {
		const struct reclaim *r = list_entry(l, struct reclaim, link);
		uint64_t now = now_ns();

		if (i-- > 0)
			continue;
		*out = (struct holding_reclaim){
			.offset = r->range.offset,
			.length = r->range.end - r->range.offset,
			.whole = r->range.tenure,
			.hold_ns = loop_timer_armed(&r->timer) && r->timer.deadline_ns > now
					   ? r->timer.deadline_ns - now
					   : 0,
		};
		return true;
	}
	return false;
}
