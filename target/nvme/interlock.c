// SPDX-License-Identifier: BSD-3-Clause
/*
 * The range interlock. A node counts the conflicting ranges that were there when it came; each of
 * them, when it goes, takes itself off the count of those behind it. To be counted and taken off
 * exactly once, a pair meets in one place only: two narrow ranges in the shard of the first granule
 * that both have, a narrow one and a wide one in the first shard of the narrow one. All shards of a
 * newcomer are locked at once, ascending, so that the order of any two is the same everywhere and
 * nobody waits in a circle; who goes needs them one at a time.
 */
#include "nvme/interlock.h"

#include <sched.h>
#include <stdlib.h>

#define SHARDS	  256u
#define SPINS	  200	    /* before the processor is offered to whoever holds the lock */
#define CANCELLED (1 << 30) /* on top of the blockers: the count never comes to 0 */

struct shard {
	_Alignas(64) atomic_bool locked;
	struct list nodes; /* oldest first */
};

struct interlock {
	/* Written under all locks, read under any. */
	struct list wide; /* oldest first */
	uint64_t epoch;
	struct shard shards[SHARDS];
};

static void shard_lock(struct shard *s)
{
	unsigned int spins = 0;

	while (atomic_exchange_explicit(&s->locked, true, memory_order_acquire)) {
		while (atomic_load_explicit(&s->locked, memory_order_relaxed)) {
			if (++spins % SPINS == 0)
				(void)sched_yield();
		}
	}
}

static void shard_unlock(struct shard *s)
{
	atomic_store_explicit(&s->locked, false, memory_order_release);
}

struct interlock *interlock_new(void)
{
	struct interlock *il = aligned_alloc(_Alignof(struct interlock), sizeof(*il));

	if (!il)
		return NULL;
	list_init(&il->wide);
	il->epoch = 0;
	for (unsigned int i = 0; i < SHARDS; i++) {
		atomic_init(&il->shards[i].locked, false);
		list_init(&il->shards[i].nodes);
	}
	return il;
}

void interlock_free(struct interlock *il)
{
	if (!il)
		return;
	assert(list_empty(&il->wide));
	for (unsigned int i = 0; i < SHARDS; i++)
		assert(list_empty(&il->shards[i].nodes));
	free(il);
}

/* ---- where a range lies ----------------------------------------------------------------------- */

static unsigned int shard_of(uint64_t granule)
{
	return (unsigned int)((granule ^ granule >> 8 ^ granule >> 16) % SHARDS);
}

static bool is_wide(const struct interlock_node *n)
{
	return n->nr_links == 0;
}

/* Fills the links with its shards, ascending, each once; or with none: it is wide. */
static void find_shards(struct interlock_node *n)
{
	uint64_t first = n->offset / INTERLOCK_GRANULE_BYTES;
	uint64_t last = (n->end - 1) / INTERLOCK_GRANULE_BYTES;

	n->nr_links = 0;
	if (n->nr_parts > 0 || last - first >= INTERLOCK_LINKS)
		return;
	for (uint64_t granule = first; granule <= last; granule++) {
		unsigned int shard = shard_of(granule), at = n->nr_links;

		while (at > 0 && n->links[at - 1].shard > shard)
			at--;
		if (at > 0 && n->links[at - 1].shard == shard)
			continue;
		for (unsigned int i = n->nr_links; i > at; i--)
			n->links[i].shard = n->links[i - 1].shard;
		n->links[at].shard = shard;
		n->nr_links++;
	}
}

static bool parts_overlap(const struct interlock_node *a, const struct interlock_node *b)
{
	const struct interlock_part all_a = {a->offset, a->end}, all_b = {b->offset, b->end};
	const struct interlock_part *p = a->nr_parts ? a->parts : &all_a;
	const struct interlock_part *q = b->nr_parts ? b->parts : &all_b;

	for (unsigned int i = 0; i == 0 || i < a->nr_parts; i++) {
		for (unsigned int j = 0; j == 0 || j < b->nr_parts; j++) {
			if (p[i].offset < q[j].end && q[j].offset < p[i].end)
				return true;
		}
	}
	return false;
}

/* Whether `b`, which came later, waits for `a`. */
static bool conflict(const struct interlock_node *a, const struct interlock_node *b)
{
	if (a->passive || !(a->exclusive || b->exclusive) || a->offset >= b->end ||
	    b->offset >= a->end)
		return false;
	return (a->nr_parts == 0 && b->nr_parts == 0) || parts_overlap(a, b);
}

/* Two narrow ones: the only shard in which they count. */
static unsigned int meeting_place(const struct interlock_node *a, const struct interlock_node *b)
{
	return shard_of(max_u64(a->offset, b->offset) / INTERLOCK_GRANULE_BYTES);
}

static struct interlock_node *node_of(struct list *link)
{
	/* The node's address lies behind the link. */
	return *(struct interlock_node **)(void *)(link + 1);
}
static_assert(offsetof(struct interlock_node, links[0].node) -
			      offsetof(struct interlock_node, links[0].link) ==
		      sizeof(struct list),
	      "node_of()");

/* ---- coming ----------------------------------------------------------------------------------- */

static int count_wide(const struct interlock *il, const struct interlock_node *n)
{
	int blockers = 0;
	struct list *l;

	list_for_each (l, &il->wide)
		blockers += conflict(list_entry(l, struct interlock_node, wide), n);
	return blockers;
}

static bool lock_narrow(struct interlock *il, struct interlock_node *n)
{
	int blockers;

	for (unsigned int i = 0; i < n->nr_links; i++)
		shard_lock(&il->shards[n->links[i].shard]);
	blockers = count_wide(il, n);
	n->epoch = il->epoch;
	for (unsigned int i = 0; i < n->nr_links; i++) {
		unsigned int shard = n->links[i].shard;
		struct list *l;

		list_for_each (l, &il->shards[shard].nodes) {
			const struct interlock_node *other = node_of(l);

			blockers += conflict(other, n) && meeting_place(other, n) == shard;
		}
		n->links[i].node = n;
		list_push(&il->shards[shard].nodes, &n->links[i].link);
	}
	atomic_store_explicit(&n->blockers, blockers, memory_order_relaxed);
	/* Once the last is given back, whoever granted the node may have freed it. */
	for (unsigned int i = 0, nr_links = n->nr_links; i < nr_links; i++)
		shard_unlock(&il->shards[n->links[i].shard]);
	return blockers == 0;
}

static void lock_all(struct interlock *il)
{
	for (unsigned int i = 0; i < SHARDS; i++)
		shard_lock(&il->shards[i]);
}

static void unlock_all(struct interlock *il)
{
	for (unsigned int i = 0; i < SHARDS; i++)
		shard_unlock(&il->shards[i]);
}

static bool lock_wide(struct interlock *il, struct interlock_node *n)
{
	int blockers;

	lock_all(il);
	blockers = count_wide(il, n);
	for (unsigned int i = 0; i < SHARDS; i++) {
		struct list *l;

		list_for_each (l, &il->shards[i].nodes) {
			const struct interlock_node *other = node_of(l);

			blockers += conflict(other, n) && other->links[0].shard == i;
		}
	}
	n->epoch = ++il->epoch;
	list_push(&il->wide, &n->wide);
	atomic_store_explicit(&n->blockers, blockers, memory_order_relaxed);
	unlock_all(il);
	return blockers == 0;
}

bool interlock_lock(struct interlock *il, struct interlock_node *n)
{
	assert(n->offset < n->end);
	find_shards(n);
	return is_wide(n) ? lock_wide(il, n) : lock_narrow(il, n);
}

/* ---- going ------------------------------------------------------------------------------------ */

/* One fewer in the way of `n`. */
static void make_way(struct interlock_node *n, struct list *granted)
{
	if (atomic_fetch_sub_explicit(&n->blockers, 1, memory_order_acq_rel) == 1)
		list_push(granted, &n->granting);
}

static void leave_narrow(struct interlock *il, struct interlock_node *n, struct list *granted)
{
	for (unsigned int i = 0; i < n->nr_links; i++) {
		unsigned int shard = n->links[i].shard;
		struct shard *s = &il->shards[shard];
		struct list *l;

		shard_lock(s);
		for (l = n->links[i].link.next; l != &s->nodes; l = l->next) {
			struct interlock_node *other = node_of(l);

			if (conflict(n, other) && meeting_place(other, n) == shard)
				make_way(other, granted);
		}
		for (l = il->wide.next; i == 0 && l != &il->wide; l = l->next) {
			struct interlock_node *other = list_entry(l, struct interlock_node, wide);

			if (other->epoch > n->epoch && conflict(n, other))
				make_way(other, granted);
		}
		list_del(&n->links[i].link);
		shard_unlock(s);
	}
}

static void leave_wide(struct interlock *il, struct interlock_node *n, struct list *granted)
{
	struct list *l;

	lock_all(il);
	for (l = n->wide.next; l != &il->wide; l = l->next) {
		struct interlock_node *other = list_entry(l, struct interlock_node, wide);

		if (conflict(n, other))
			make_way(other, granted);
	}
	for (unsigned int i = 0; i < SHARDS; i++) {
		list_for_each (l, &il->shards[i].nodes) {
			struct interlock_node *other = node_of(l);

			if (other->epoch >= n->epoch && other->links[0].shard == i &&
			    conflict(n, other))
				make_way(other, granted);
		}
	}
	list_del(&n->wide);
	unlock_all(il);
}

static void leave(struct interlock *il, struct interlock_node *n)
{
	struct list granted = LIST_INIT(granted);
	struct list *l;

	if (is_wide(n))
		leave_wide(il, n, &granted);
	else
		leave_narrow(il, n, &granted);
	while ((l = list_pop(&granted))) {
		struct interlock_node *other = list_entry(l, struct interlock_node, granting);

		other->granted(other);
	}
}

void interlock_unlock(struct interlock *il, struct interlock_node *n)
{
	assert(atomic_load_explicit(&n->blockers, memory_order_relaxed) == 0);
	leave(il, n);
}

bool interlock_cancel(struct interlock *il, struct interlock_node *n)
{
	if (atomic_fetch_add_explicit(&n->blockers, CANCELLED, memory_order_acq_rel) == 0) {
		atomic_fetch_sub_explicit(&n->blockers, CANCELLED, memory_order_relaxed);
		return false;
	}
	leave(il, n);
	return true;
}

/* ---- parts ------------------------------------------------------------------------------------ */

static struct interlock_part both(struct interlock_part a, struct interlock_part b)
{
	return (struct interlock_part){min_u64(a.offset, b.offset), max_u64(a.end, b.end)};
}

static uint64_t growth(struct interlock_part part, struct interlock_part more)
{
	struct interlock_part grown = both(part, more);

	return (grown.end - grown.offset) - (part.end - part.offset);
}

unsigned int interlock_cover(struct interlock_part *parts, unsigned int nr, unsigned int max,
			     struct interlock_part more)
{
	unsigned int best = 0;

	for (unsigned int i = 1; i < nr; i++) {
		if (growth(parts[i], more) < growth(parts[best], more))
			best = i;
	}
	/* What touches it costs nothing that was not asked for. */
	if (nr > 0 && (nr == max || growth(parts[best], more) <= more.end - more.offset)) {
		parts[best] = both(parts[best], more);
		return nr;
	}
	parts[nr] = more;
	return nr + 1;
}
