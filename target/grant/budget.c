// SPDX-License-Identifier: BSD-3-Clause
/*
 * What recalls have time for. One export by itself: its deadline, the registrations of its file and the
 * keys of as many grants as there may be must fit into the patience of whoever wants the blocks, else it
 * is not served; what is left is for the bytes that are granted. And all together, since one registrar
 * serves them all, and a file system that goes away, or a storm of landlords, wants all at once: what is
 * registered and granted of all exports must fit into the least of these times. Half of what is left for
 * grants there is shared out, so that nobody can take all of it from the others; the other half is
 * whoever comes first has it. What an export's registrations cost is what its adapters were measured at
 * when it was counted: that changes with its generation only (ladder.c), and then it is asked again.
 * Control loop.
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdio.h>

#include "util/counter.h"
#include "util/log.h"

#define SHARED_OUT 2 /* one part of so many is kept for who has little */

DEFINE_COUNTER(over_all, "acquires_over_daemon_recall_time",
	       "Acquires of more than a recall of all exports at once has time to give back, "
	       "and grants that were not split for it");

/* Of all exports that are served, or wait for it. */
static struct {
	struct list loads; /* struct load */
	unsigned int count;
	uint64_t room_ns;      /* the least of theirs … */
	const char *room_name; /* … this one's */
	uint64_t regions_ns;   /* to end all that is registered for block commands */
	uint64_t granted_ns;
} all = {.loads = LIST_INIT(all.loads)};

static struct holding *holding_of(struct list *l)
{
	return list_entry(l, struct holding, load.link);
}

/* ---- what things cost ------------------------------------------------------------------------ */

static uint64_t grant_ns(const struct region_probe *probe, uint64_t keys, uint64_t bytes)
{
	/* In units of 4 KiB, so that nothing wraps. */
	return keys * (GRANT_KILL_NS + probe->dereg_ns_per_key) +
	       bytes / KIB(4) * probe->dereg_ns_per_gib / (GIB(1) / KIB(4));
}

uint64_t budget_grant_ns(const struct holding *h, unsigned int device, uint64_t keys,
			 uint64_t bytes)
{
	return grant_ns(&h->probes[device], keys, bytes);
}

/* Of as many grants as there may be; whichever adapters they are by. */
static uint64_t kill_all_ns(const struct holding *h, const struct region_probe *probes)
{
	uint64_t each_ns = 0;

	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		if (region_registers(probes[i].rung))
			each_ns = max_u64(each_ns, grant_ns(&probes[i], 1, 0));
	}
	return each_ns * h->env->max_grants_per_export;
}

static uint64_t region_ns(uint64_t ns_per_gib, uint64_t bytes)
{
	return ns_per_gib / KIB(1) * (bytes / MIB(1));
}

/* Of all exports as they were counted, with as much of them as an adapter may have registered. */
static uint64_t all_regions_ns(const struct holding_env *env)
{
	uint64_t ns = 0;

	for (unsigned int i = 0; i < env->nr_devices; i++) {
		const uint64_t most = cache_budget(env, i)->max_bytes;
		uint64_t sum_ns = 0, most_ns = 0 /* a GiB */, bytes = 0;
		struct list *l;

		list_for_each (l, &all.loads) {
			const struct load *load = &holding_of(l)->load;

			bytes += load->bytes;
			sum_ns += region_ns(load->ns_per_gib[i], load->bytes);
			most_ns = max_u64(most_ns, load->ns_per_gib[i]);
		}
		if (bytes > most)
			sum_ns = min_u64(sum_ns, most_ns / KIB(1) * (most / MIB(1)));
		ns += sum_ns;
	}
	return ns;
}

/* ---- all exports ----------------------------------------------------------------------------- */

static void count_all(const struct holding_env *env)
{
	struct list *l;

	all.count = 0;
	all.room_ns = UINT64_MAX;
	list_for_each (l, &all.loads) {
		const struct holding *h = holding_of(l);

		all.count++;
		if (h->load.room_ns >= all.room_ns)
			continue;
		all.room_ns = h->load.room_ns;
		all.room_name = h->config.export.name;
	}
	all.regions_ns = all_regions_ns(env);
}

void budget_leave(struct holding *h)
{
	if (!h->load.counted)
		return;
	assert(h->load.granted_ns == 0);
	h->load.counted = false;
	list_del(&h->load.link);
	count_all(h->env);
}

static uint64_t limit_ns(void)
{
	return all.room_ns > all.regions_ns ? all.room_ns - all.regions_ns : 0;
}

/*
 * Who has less than his share finds room for it: what others have and what is kept for them, together,
 * is never more than there is.
 */
bool budget_fits(const struct holding *h, uint64_t ns)
{
	const uint64_t limit = limit_ns(), mine = h->load.granted_ns + ns;
	const uint64_t share = all.count ? limit / SHARED_OUT / all.count : 0;
	uint64_t others = 0;
	struct list *l;

	if (!range_ok(all.granted_ns, ns, limit))
		return false;
	if (mine <= share)
		return true;
	list_for_each (l, &all.loads) {
		if (holding_of(l) != h)
			others += max_u64(holding_of(l)->load.granted_ns, share);
	}
	return range_ok(others, mine, limit);
}

bool budget_allows(struct holding *h, uint64_t ns)
{
	if (budget_fits(h, ns))
		return true;
	counter_add(&over_all, 1);
	if (!h->load.told)
		log_warning(
			"%s: more is not granted: a recall of all exports at once would take too "
			"long: %llu ms for what is registered, %llu ms for what is granted (%llu "
			"of them of this export), and %llu ms are the limit (%s, see "
			"recall_budget in `leasehold status`): hold less, or raise %s",
			h->config.export.name, (unsigned long long)(all.regions_ns / NS_PER_MS),
			(unsigned long long)(all.granted_ns / NS_PER_MS),
			(unsigned long long)(h->load.granted_ns / NS_PER_MS),
			(unsigned long long)(all.room_ns / NS_PER_MS), all.room_name,
			h->config.tenure == TENURE_WATCH ? "recall_deadline_ms"
							 : "fs.lease-break-time");
	h->load.told = true;
	return false;
}

void budget_charge(struct holding *h, uint64_t ns)
{
	h->load.granted_ns += ns;
	all.granted_ns += ns;
}

void budget_refund(struct holding *h, uint64_t ns)
{
	assert(h->load.granted_ns >= ns && all.granted_ns >= ns);
	h->load.granted_ns -= ns;
	all.granted_ns -= ns;
	if (h->load.granted_ns == 0)
		h->load.told = false;
}

void grant_recall_budget(struct recall_budget *budget)
{
	*budget = (struct recall_budget){
		.limit_ns = all.count ? all.room_ns : 0,
		.regions_ns = all.regions_ns,
		.granted_ns = all.granted_ns,
		.name = all.count ? all.room_name : "",
	};
}

/* ---- whether it is served -------------------------------------------------------------------- */

/*
 * What is left of the patience is for the bytes of grants, each time that they are granted. Where there are
 * windows half of it is for slabs: what is bound to one costs no more for its bytes.
 */
static void afford(struct holding *h, uint64_t ns)
{
	uint64_t ns_per_gib = 0;

	if (h->config.windows)
		ns /= 2;
	slab_afford(h, ns);
	for (unsigned int i = 0; i < h->env->nr_devices; i++)
		if (region_registers(h->probes[i].rung))
			ns_per_gib = max_u64(ns_per_gib, h->probes[i].dereg_ns_per_gib);
	/* In units of 4 KiB, so that nothing wraps: some hours by some TiB. */
	h->most_granted_bytes =
		ns_per_gib ? ns * (GIB(1) / KIB(4)) / ns_per_gib * KIB(4) : UINT64_MAX;
}

/* Whose patience it is. */
static void say_whose(const struct holding *h, char *whose, size_t size)
{
	if (h->config.tenure == TENURE_WATCH)
		(void)snprintf(whose, size, "local operations wait, %d times recall_deadline_ms",
			       WATCH_SHARE);
	else
		(void)snprintf(whose, size, "a quarter of fs.lease-break-time (%d s)",
			       h->break_time_s);
}

/* Whether it leaves enough with all that others have. Counted only if so, and never as a `trial`. */
static int join(struct holding *h, const struct region_probe *probes, uint64_t bytes,
		uint64_t patience_ns, bool trial, struct errtext *err)
{
	struct load *load = &h->load, before = *load;
	const uint64_t regions_before_ns = all.regions_ns;
	uint64_t need_ns;
	int ret = 0;

	load->bytes = bytes;
	load->room_ns = patience_ns - h->recall.limits.deadline_ns;
	for (unsigned int i = 0; i < h->env->nr_devices; i++)
		load->ns_per_gib[i] = probes[i].dereg_ns_per_gib;
	if (!load->counted)
		list_push(&all.loads, &load->link);
	load->counted = true;
	count_all(h->env);
	need_ns = all.regions_ns + all.granted_ns;
	/* What is there already is there, whoever it is said to; at what it costs now. */
	if (need_ns > all.room_ns && !(before.counted && all.regions_ns <= regions_before_ns &&
				       load->room_ns >= before.room_ns))
		ret = errtext_set(
			err, -EDQUOT,
			"%s: to give back what is registered (%llu ms) and granted (%llu ms) of "
			"all exports at once may take longer than recall_deadline_ms leaves for it "
			"with %s (%llu ms): raise fs.lease-break-time (under watch: "
			"recall_deadline_ms), lower max_registered_bytes_per_adapter, or export "
			"less",
			h->config.export.name, (unsigned long long)(all.regions_ns / NS_PER_MS),
			(unsigned long long)(all.granted_ns / NS_PER_MS), all.room_name,
			(unsigned long long)(all.room_ns / NS_PER_MS));
	if (ret == 0 && !trial)
		return 0;
	if (!before.counted)
		list_del(&load->link);
	before.link = load->link;
	*load = before;
	count_all(h->env);
	return ret;
}

static int check(struct holding *h, const struct region_probe *probes, uint64_t bytes, bool trial,
		 struct errtext *err)
{
	bool watch = h->config.tenure == TENURE_WATCH;
	uint64_t patience_ns = watch ? h->recall.limits.deadline_ns * WATCH_SHARE
				     : (uint64_t)h->break_time_s * NS_PER_S / BUDGET_SHARE;
	uint64_t mib = bytes / MIB(1), bytes_ns = 0, grants_ns = kill_all_ns(h, probes), need_ns;
	char whose[64];
	int ret;

	for (unsigned int i = 0; i < h->env->nr_devices; i++)
		bytes_ns += region_ns(probes[i].dereg_ns_per_gib, bytes);
	need_ns = h->recall.limits.deadline_ns + bytes_ns + grants_ns;
	if (need_ns <= patience_ns) {
		ret = join(h, probes, bytes, patience_ns, trial, err);
		if (ret == 0 && !trial)
			afford(h, patience_ns - need_ns);
		return ret;
	}
	say_whose(h, whose, sizeof(whose));
	return errtext_set(err, -EDQUOT,
			   "%s: to give %llu MiB and %u grants back may take %llu ms (%llu of them "
			   "for the grants), more than %s: raise it, or %s",
			   h->config.export.name, (unsigned long long)mib,
			   h->env->max_grants_per_export, (unsigned long long)(need_ns / NS_PER_MS),
			   (unsigned long long)(grants_ns / NS_PER_MS), whose,
			   grants_ns > bytes_ns ? "lower max_grants_per_export"
						: "export smaller files");
}

int budget_check(struct holding *h, uint64_t bytes, struct errtext *err)
{
	return check(h, h->probes, bytes, false, err);
}

int budget_try(struct holding *h, const struct region_probe *probes, struct errtext *err)
{
	return h->load.counted ? check(h, probes, h->load.bytes, true, err) : 0;
}

int budget_dearest(const struct holding *h, const struct region_probe *probes)
{
	uint64_t most_ns = 0;
	int dearest = -1;

	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		uint64_t ns;

		if (!region_registers(probes[i].rung))
			continue;
		ns = region_ns(probes[i].dereg_ns_per_gib, h->load.bytes) +
		     grant_ns(&probes[i], h->env->max_grants_per_export, 0);
		if (dearest >= 0 && ns <= most_ns)
			continue;
		dearest = (int)i;
		most_ns = ns;
	}
	return dearest;
}
