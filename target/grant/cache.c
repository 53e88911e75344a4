// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which slices have a registration, where an adapter's budget is too small for all of all exports.
 * What has none goes through buffers. Reactors note which slices commands touch, found or missed; a
 * timer, which runs only while some are missed, makes of it how hot each slice is: a slice that is
 * touched in turn after turn gets hot, one that is not gets cold, and what a scan touches once
 * never gets hot enough. A missed slice that is so much hotter than the coldest of those that are
 * registered gets its room, in whichever export it lies:
 *
 *   withhold   no command finds the cold one any more
 *   drain      those that had found it have ended
 *   release    the registrar deregisters it                             (rest.c, as the next)
 *   register   the hot one
 *
 * A recall, a punch, whatever else makes a view comes first: it takes the keys of all that there
 * is, and what was withheld goes with it. Control loop, but holding_miss().
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdlib.h>

#include "util/counter.h"

#define CACHE_COOL  10 /* of so many turns one cools: what is used every other second gets hot */
#define CACHE_LOOKS 32 /* for the hottest and the coldest, in a turn: each moves a slice at most */

DEFINE_COUNTER(moves, "registrations_moved",
	       "Slices that lost their registration to others that were used more");

struct cache {
	struct loop *control;
	unsigned int nr_devices;
	struct region_budget budgets[GRANT_MAX_DEVICES];
	struct list holdings;
	uint64_t turn_ns;
	unsigned int hotter;
	struct loop_timer timer;
	unsigned int turns;
	unsigned int looks; /* left of this turn */
	bool contended[GRANT_MAX_DEVICES];
	bool starved; /* somebody waits for room */
};

static void on_turn(struct loop_timer *timer);

/* ---- birth ----------------------------------------------------------------------------------- */

static uint32_t most_registrations(const struct holding_env *env, unsigned int device,
				   uint32_t wanted)
{
	uint32_t most = fabric_device_info(env->devices[device])->max_mr;
	uint32_t grants = env->max_grants_per_export;

	if (most == 0)
		return wanted ? wanted : UINT32_MAX;
	if (wanted)
		return wanted < most ? wanted : most;
	return most / 2 > grants ? most - grants : most - most / 2;
}

int cache_new(struct holding_env *env, const struct cache_limits *limits)
{
	struct cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->control = env->control;
	c->nr_devices = env->nr_devices;
	for (unsigned int i = 0; i < env->nr_devices; i++) {
		c->budgets[i].max_registrations =
			most_registrations(env, i, limits->max_registrations);
		c->budgets[i].max_bytes = limits->max_bytes ? limits->max_bytes : INT64_MAX;
	}
	list_init(&c->holdings);
	c->timer.fn = on_turn;
	c->hotter = limits->hotter ? limits->hotter : GRANT_DEFAULT_HOTTER;
	c->turn_ns = (limits->turn_ms ? limits->turn_ms : GRANT_DEFAULT_TURN_MS) * NS_PER_MS;
	env->cache = c;
	return 0;
}

void cache_free(struct holding_env *env)
{
	struct cache *c = env->cache;

	if (!c)
		return;
	assert(list_empty(&c->holdings) && !loop_timer_armed(&c->timer));
	for (unsigned int i = 0; i < c->nr_devices; i++)
		assert(c->budgets[i].registrations == 0 && c->budgets[i].bytes == 0);
	free(c);
	env->cache = NULL;
}

const struct region_budget *cache_budget(const struct holding_env *env, unsigned int device)
{
	return &env->cache->budgets[device];
}

struct region_budget *cache_budget_of(const struct holding *h, unsigned int device)
{
	return &h->env->cache->budgets[device];
}

void cache_join(struct holding *h)
{
	atomic_store(&h->caching.asked, false);
	h->caching.noticed = false;
	list_push(&h->env->cache->holdings, &h->caching.link);
}

void cache_leave(struct holding *h)
{
	struct cache *c = h->env->cache;

	assert(cache_quiet(h));
	list_del(&h->caching.link);
	if (list_empty(&c->holdings))
		loop_timer_cancel(c->control, &c->timer);
}

static struct holding *holding_at(struct list *l)
{
	return list_entry(l, struct holding, caching.link);
}

/* ---- what was missed ------------------------------------------------------------------------- */

static void on_missed(struct loop_msg *msg)
{
	struct holding *h = container_of(msg, struct holding, caching.msg);
	struct cache *c = h->env->cache;

	h->caching.noticed = true;
	if (!loop_timer_armed(&c->timer))
		loop_timer_set(c->control, &c->timer, now_ns() + c->turn_ns);
	holding_check_stopped(h);
}

void holding_miss(struct holding *h)
{
	if (!atomic_exchange(&h->caching.asked, true))
		loop_post(h->env->control, &h->caching.msg, on_missed);
}

bool cache_quiet(const struct holding *h)
{
	const struct caching *m = &h->caching;

	return !m->draining && (m->noticed || !atomic_load(&m->asked));
}

/* ---- the choice ------------------------------------------------------------------------------ */

struct choice {
	struct holding *h; /* NULL: none */
	unsigned int slice, heat;
	uint64_t bytes;
};

static struct region *region_of(const struct holding *h, unsigned int device)
{
	return h->current ? h->current->regions[device] : NULL;
}

static void take(struct choice *choice, struct holding *h, const struct region *region,
		 unsigned int i)
{
	const struct region_slice *slice = region_slice_at(region, i);

	*choice = (struct choice){
		.h = h,
		.slice = i,
		.heat = region_slice_heat(slice),
		.bytes = slice->length,
	};
}

/* The hottest that is missing, of all exports in which slices may come and go. */
static struct choice hottest(const struct cache *c, unsigned int device)
{
	struct choice best = {NULL};
	struct list *l;

	list_for_each (l, &c->holdings) {
		struct holding *h = holding_at(l);
		const struct region *region = region_of(h, device);
		unsigned int i =
			region && rest_idle(h) ? region_hottest_missing(region) : REGION_NO_SLICE;

		if (i != REGION_NO_SLICE &&
		    region_slice_heat(region_slice_at(region, i)) > best.heat)
			take(&best, h, region, i);
	}
	return best;
}

/* The coldest of those that have at least so many bytes, the same. */
static struct choice coldest(const struct cache *c, unsigned int device, uint64_t bytes)
{
	struct choice best = {NULL};
	struct list *l;

	list_for_each (l, &c->holdings) {
		struct holding *h = holding_at(l);
		const struct region *region = region_of(h, device);
		unsigned int i =
			region && rest_idle(h) && !h->caching.draining && !h->caching.withheld
				? region_coldest_ready(region, bytes)
				: REGION_NO_SLICE;

		if (i != REGION_NO_SLICE &&
		    (!best.h || region_slice_heat(region_slice_at(region, i)) < best.heat))
			take(&best, h, region, i);
	}
	return best;
}

/* Some slice is on its way out, and nothing in its way. */
static bool moving(const struct cache *c, unsigned int device)
{
	struct list *l;

	list_for_each (l, &c->holdings) {
		const struct holding *h = holding_at(l);
		const struct caching *m = &h->caching;

		if (m->withheld && m->device == device && (h->rest.served || rest_idle(h)))
			return true;
	}
	return false;
}

static void on_drained(struct loop_msg *msg)
{
	struct holding *h = container_of(msg, struct holding, caching.drain_msg);

	h->caching.draining = false;
	rest_next(h);
	holding_check_stopped(h);
}

static void withhold(struct holding *h, unsigned int device, unsigned int i)
{
	const struct region_slice *slice = region_slice_at(region_of(h, device), i);
	struct caching *m = &h->caching;

	region_withhold(region_of(h, device), i);
	m->withheld = m->draining = true;
	m->device = device;
	m->slice = i;
	counter_add(&moves, 1);
	h->env->ops->drain_all(h->env->ops_ctx, h, slice->offset, slice->length, &m->drain_msg,
			       on_drained);
}

static void choose(struct cache *c, unsigned int device)
{
	const struct region_budget *budget = &c->budgets[device];
	struct choice hot = hottest(c, device), cold;
	uint64_t room = budget->max_bytes - budget->bytes;

	c->contended[device] = false;
	if (!hot.h)
		return;
	if (region_budget_fits(budget, hot.bytes)) {
		rest_register(hot.h, device, hot.slice);
		return;
	}
	c->contended[device] = moving(c, device);
	if (c->contended[device])
		return;
	cold = coldest(c, device, hot.bytes > room ? hot.bytes - room : 0);
	if (!cold.h || cold.heat + c->hotter > hot.heat)
		return;
	c->contended[device] = true;
	withhold(cold.h, device, cold.slice);
}

/* True while somebody misses something. */
static bool age(struct cache *c)
{
	const bool cools = ++c->turns % CACHE_COOL == 0;
	bool missed = false;
	struct list *l;

	list_for_each (l, &c->holdings) {
		struct holding *h = holding_at(l);

		/* First: what is touched from here on is news. */
		if (h->caching.noticed) {
			h->caching.noticed = false;
			(void)atomic_exchange(&h->caching.asked, false);
		}
		for (unsigned int i = 0; i < c->nr_devices; i++) {
			struct region *region = region_of(h, i);

			if (!region)
				continue;
			region_age(region, cools);
			missed |= region_hottest_missing(region) != REGION_NO_SLICE;
		}
	}
	return missed;
}

/* Those who wait for room, whatever they want it for. */
static void feed(struct cache *c)
{
	struct list *l;

	if (!c->starved)
		return;
	c->starved = false;
	list_for_each (l, &c->holdings)
		rest_next(holding_at(l));
}

static void on_turn(struct loop_timer *timer)
{
	struct cache *c = container_of(timer, struct cache, timer);

	c->looks = CACHE_LOOKS;
	if (age(c))
		loop_timer_set(c->control, timer, now_ns() + c->turn_ns);
	for (unsigned int i = 0; i < c->nr_devices; i++)
		choose(c, i);
	feed(c);
}

/* ---- room ------------------------------------------------------------------------------------ */

bool cache_contended(const struct holding *h, unsigned int device)
{
	return h->env->cache->contended[device];
}

void cache_starve(const struct holding *h)
{
	h->env->cache->starved = true;
}

void cache_next(const struct holding *h)
{
	struct cache *c = h->env->cache;

	if (c->looks > 0 && loop_timer_armed(&c->timer)) {
		c->looks--;
		for (unsigned int i = 0; i < c->nr_devices; i++)
			choose(c, i);
	}
	feed(c);
}

void cache_forget(struct holding *h)
{
	h->caching.withheld = false;
}
