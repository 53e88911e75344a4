// SPDX-License-Identifier: BSD-3-Clause
/*
 * Block commands that change what another host was granted for writing. Either the host gets an
 * error (deny_conflicts), or the command waits until these grants, and no others, were recalled:
 * range.c does that, and leaves our own registrations as they are. Control loop, but for
 * holding_conflicts().
 *
 * The order of a command and an Acquire for writing. A command takes its place among those that
 * overlap it, then looks for grants. An Acquire puts its grants into the table, then waits
 * (ops->settle) for the commands that have a place there already, and only then gets a key. The
 * place is taken under a lock that both pass, so of the two the later one sees the earlier: the
 * command finds the grant, or the Acquire waits for the command's end. That lock is why the counter
 * of grants may be read without any other.
 *
 * A command keeps its place while it waits. So a client that acquires again and again is behind it
 * each time, and the grants of such Acquires, which have no key, are not waited for.
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/counter.h"
#include "wire/wire.h"

#define CONFLICT_RECALLS \
	16 /* ranges recalled one by one for a command; the last has all the rest */

DEFINE_COUNTER(conflicts, "grant_conflicts",
	       "Block commands that waited until another host's grants for writing were recalled");
DEFINE_COUNTER(conflicts_late, "grant_conflicts_late", "… in vain");

/* ---- any thread ------------------------------------------------------------------------------- */

struct search {
	const uint8_t *host;
	const uint32_t *last_id; /* NULL: however late it came */
	const struct grant *found;
};

static bool is_no_conflict(struct table_node *node, void *arg)
{
	const struct grant *g = container_of(node, struct grant, node);
	struct search *s = arg;

	if (!(g->access & LH_GRANT_WRITE) ||
	    memcmp(g->client->config.hostid, s->host, GRANT_HOST_BYTES) == 0 ||
	    (s->last_id && (int32_t)(g->id - *s->last_id) > 0))
		return true;
	s->found = g;
	return false;
}

bool holding_conflicts(struct holding *h, const uint8_t host[GRANT_HOST_BYTES],
		       const struct export_range *ranges, unsigned int nr_ranges)
{
	struct search s = {.host = host};

	if (atomic_load_explicit(&h->nr_write_grants, memory_order_relaxed) == 0)
		return false;
	(void)pthread_mutex_lock(&h->table_lock);
	for (unsigned int i = 0; i < nr_ranges && !s.found; i++)
		(void)table_each(&h->table, ranges[i].offset, ranges[i].offset + ranges[i].length,
				 is_no_conflict, &s);
	(void)pthread_mutex_unlock(&h->table_lock);
	return s.found != NULL;
}

/* ---- recalls ---------------------------------------------------------------------------------- */

/* The first grant in [from, end) that the command waits for, or NULL. */
static const struct grant *first(const struct holding_conflict *c, uint64_t from, uint64_t end)
{
	struct search s = {.host = c->host, .last_id = &c->last_id};

	(void)table_each(&c->h->table, from, end, is_no_conflict, &s);
	return s.found;
}

static bool is_over(const struct holding_conflict *c)
{
	for (unsigned int i = 0; i < c->nr_ranges; i++) {
		const struct export_range *r = &c->ranges[i];

		if (first(c, r->offset, r->offset + r->length))
			return false;
	}
	return true;
}

static void on_proven(struct holding_range *r)
{
	holding_recall_end(r);
}

static void on_ended(struct holding_range *r)
{
	r->h->conflict_recalls--;
	free(r);
}

int conflict_recall(struct holding *h, uint64_t from, uint64_t to)
{
	struct holding_range *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	*r = (struct holding_range){
		.offset = from,
		.length = to - from,
		.grants_only = true,
		.done = on_proven,
		.ended = on_ended,
	};
	h->conflict_recalls++;
	holding_recall_range(h, r);
	return 0;
}

/* What is being recalled already is not asked for again. */
static int recall_part(const struct holding_conflict *c, uint64_t from, uint64_t end,
		       unsigned int *left)
{
	const struct grant *g;

	while (from < end && (g = first(c, from, end))) {
		uint64_t to = min_u64(g->node.end, end), held;
		int err;

		from = max_u64(from, g->node.offset);
		held = range_held_length(c->h, from);
		if (held > 0) {
			from += held;
			continue;
		}
		while (to < end && (g = first(c, to, end)) && g->node.offset <= to)
			to = min_u64(g->node.end, end);
		if (*left > 0)
			(*left)--;
		if (*left == 0)
			to = end;
		err = conflict_recall(c->h, from, to);
		if (err)
			return err;
		from = to;
	}
	return 0;
}

static int recall_all(const struct holding_conflict *c)
{
	unsigned int left = CONFLICT_RECALLS;
	int err = 0;

	/* In any other state they are on their way out. */
	for (unsigned int i = 0; i < c->nr_ranges && c->h->recall.state == RECALL_GRANTED; i++) {
		const struct export_range *r = &c->ranges[i];

		err = recall_part(c, r->offset, r->offset + r->length, &left);
		if (err)
			break;
	}
	return err;
}

/* ---- who waits -------------------------------------------------------------------------------- */

static void finish(struct holding_conflict *c, int err)
{
	list_del(&c->link);
	loop_timer_cancel(c->h->env->control, &c->timer);
	c->done(c, err);
}

static void on_timer(struct loop_timer *timer)
{
	counter_add(&conflicts_late, 1);
	finish(container_of(timer, struct holding_conflict, timer), -EAGAIN);
}

void conflict_check(struct holding *h)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &h->conflicts) {
		struct holding_conflict *c = list_entry(l, struct holding_conflict, link);

		if (is_over(c))
			finish(c, 0);
	}
}

void holding_recall_conflicts(struct holding *h, struct holding_conflict *c)
{
	int err;

	counter_add(&conflicts, 1);
	c->h = h;
	c->last_id = h->next_id;
	c->timer = (struct loop_timer){.fn = on_timer};
	list_push(&h->conflicts, &c->link);
	loop_timer_set(h->env->control, &c->timer,
		       now_ns() + (uint64_t)GRANT_CONFLICT_DEADLINES * h->env->deadline_ms *
					  NS_PER_MS);
	err = recall_all(c);
	if (err)
		finish(c, err);
	else
		conflict_check(h);
}
