// SPDX-License-Identifier: BSD-3-Clause
/*
 * The verbs `status` and `stats`: what the daemon is and does, as JSON. Reads snapshots only; runs
 * on the control loop and never sleeps.
 */
#include "control/counts.h"
#include "control/verbs.h"

#include "util/counter.h"
#include "util/histogram.h"
#include "wire/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t started_ns;

__attribute__((constructor)) static void remember_start(void)
{
	started_ns = now_ns();
}

static void put_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

static void put_number(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_uint64(v));
}

static void put_bool(struct json_object *o, const char *key, bool v)
{
	json_object_object_add(o, key, json_object_new_boolean(v));
}

static const char *state_text(const struct holding_status *s)
{
	switch (s->state) {
	case HOLDING_OFFLINE:
		return "offline";
	case HOLDING_STARTING:
		return "starting";
	case HOLDING_SERVING:
		return s->deleted ? "deleted" : "serving";
	case HOLDING_RECALLING:
		return "recalling";
	case HOLDING_RELEASED:
		return "released";
	}
	return "unknown";
}

static struct json_object *recall_budget_json(void)
{
	struct json_object *o = json_object_new_object();
	struct recall_budget budget;

	grant_recall_budget(&budget);
	put_number(o, "limit_ms", budget.limit_ns / NS_PER_MS);
	put_text(o, "export", budget.name);
	put_number(o, "registered_ms", budget.regions_ns / NS_PER_MS);
	put_number(o, "granted_ms", budget.granted_ns / NS_PER_MS);
	return o;
}

static struct json_object *daemon_json(const struct admin_env *env)
{
	struct json_object *o = json_object_new_object();

	put_text(o, "version", env->version);
	put_number(o, "pid", (uint64_t)getpid());
	put_number(o, "uptime_s", (now_ns() - started_ns) / NS_PER_S);
	put_text(o, "config", env->config->file);
	put_text(o, "nqn", env->config->nqn);
	put_number(o, "reactors", env->config->reactors);
	put_number(o, "recall_deadline_ms", env->config->recall_deadline_ms);
	put_number(o, "max_grants_per_client", env->config->max_grants_per_client);
	put_number(o, "max_grants_per_export", env->config->max_grants_per_export);
	put_number(o, "max_grants_per_host", env->config->max_grants_per_host);
	put_number(o, "max_granted_bytes_per_client", env->config->max_granted_bytes_per_client);
	put_number(o, "max_registrations_per_second", env->config->max_registrations_per_second);
	json_object_object_add(o, "recall_budget", recall_budget_json());
	put_number(o, "max_controllers", env->config->limits.max_controllers);
	put_number(o, "controllers_per_host", env->config->limits.controllers_per_host);
	return o;
}

static struct json_object *devices_json(const struct admin_env *env)
{
	struct json_object *list = json_object_new_array();

	for (unsigned int i = 0; i < env->holdings_env->nr_devices; i++) {
		const struct fabric_device_info *info =
			fabric_device_info(env->holdings_env->devices[i]);
		const struct region_budget *budget = cache_budget(env->holdings_env, i);
		struct json_object *o = json_object_new_object();

		put_text(o, "name", info->name);
		put_text(o, "fabric", info->software_fabric ? "iwarp" : "verbs");
		put_bool(o, "claims_odp", info->odp);
		put_bool(o, "claims_windows", info->windows_type2);
		put_bool(o, "claims_flush", info->flush);
		put_number(o, "registrations", budget->registrations);
		put_number(o, "max_registrations", budget->max_registrations);
		put_number(o, "registered_bytes", budget->bytes);
		put_number(o, "max_registered_bytes", budget->max_bytes);
		json_object_array_add(list, o);
	}
	return list;
}

/* What lies behind the end is recalled too, should the file grow. */
static uint64_t length_there(const struct holding_status *s, uint64_t offset, uint64_t length)
{
	return offset < s->size_bytes ? min_u64(length, s->size_bytes - offset) : 0;
}

static struct json_object *timeline_json(const struct recall_timeline *t)
{
	struct json_object *o = json_object_new_object();

	put_number(o, "generation", t->generation);
	put_number(o, "clients", t->clients);
	put_number(o, "grants", t->grants);
	put_number(o, "fenced_clients", t->fenced_clients);
	put_number(o, "seen_ns", t->seen_ns);
	put_number(o, "told_ns", t->told_ns);
	put_number(o, "drained_ns", t->drained_ns);
	put_number(o, "released_ns", t->released_ns);
	put_number(o, "fenced_ns", t->fenced_ns);
	put_number(o, "closed_ns", t->closed_ns);
	put_number(o, "keys_dead_ns", t->keys_dead_ns);
	put_number(o, "unlocked_ns", t->unlocked_ns);
	put_number(o, "retaken_ns", t->retaken_ns);
	put_number(o, "serving_ns", t->serving_ns);
	return o;
}

static struct json_object *range_timeline_json(const struct holding_status *s)
{
	const struct range_timeline *t = &s->last_range;
	struct json_object *o = json_object_new_object();

	put_number(o, "offset", t->offset);
	put_number(o, "length", length_there(s, t->offset, t->end - t->offset));
	put_number(o, "clients", t->clients);
	put_number(o, "fenced_clients", t->fenced_clients);
	put_number(o, "seen_ns", t->seen_ns);
	put_number(o, "proven_ns", t->proven_ns);
	put_number(o, "serving_ns", t->serving_ns);
	return o;
}

static struct json_object *rungs_json(const struct admin_env *env, const struct holding_status *s)
{
	struct json_object *list = json_object_new_array();

	for (unsigned int i = 0; i < env->holdings_env->nr_devices; i++) {
		const struct region_probe *p = &s->probes[i];
		struct json_object *o = json_object_new_object();

		put_text(o, "registration", region_choice_text(s->choices[i]));
		put_text(o, "device", fabric_device_info(env->holdings_env->devices[i])->name);
		put_text(o, "rung", lh_rung_text(p->rung));
		put_number(o, "registrations", s->registrations[i]);
		put_number(o, "registered_bytes", s->registered_bytes[i]);
		put_bool(o, "iova_proven", p->iova);
		put_bool(o, "windows_proven", p->windows);
		put_bool(o, "flush_proven", p->flush);
		put_bool(o, "closing_proven", p->closes);
		put_text(o, "grant_keys", s->windows[i] ? "window" : "mr");
		if (s->no_windows[i])
			put_text(o, "grant_keys_why", s->no_windows[i]);
		put_number(o, "dereg_us_per_gib", p->dereg_ns_per_gib / NS_PER_US);
		put_number(o, "dereg_ns_per_key", p->dereg_ns_per_key);
		put_text(o, "why", p->why);
		json_object_array_add(list, o);
	}
	return list;
}

static const char *resv_type_text(enum nvme_resv_type type)
{
	switch (type) {
	case NVME_RESV_NONE:
		return "none";
	case NVME_RESV_WRITE_EXCLUSIVE:
		return "write exclusive";
	case NVME_RESV_EXCLUSIVE_ACCESS:
		return "exclusive access";
	case NVME_RESV_WRITE_EXCLUSIVE_REGISTRANTS:
		return "write exclusive, registrants only";
	case NVME_RESV_EXCLUSIVE_ACCESS_REGISTRANTS:
		return "exclusive access, registrants only";
	case NVME_RESV_WRITE_EXCLUSIVE_ALL:
		return "write exclusive, all registrants";
	case NVME_RESV_EXCLUSIVE_ACCESS_ALL:
		return "exclusive access, all registrants";
	}
	return "unknown";
}

static void add_registrant(const struct nvme_registrant_status *status, void *arg)
{
	struct json_object *o = json_object_new_object();
	char hostid[UUID_TEXT_BYTES];

	uuid_format(status->hostid, hostid);
	put_text(o, "hostid", hostid);
	if (status->hostnqn)
		put_text(o, "hostnqn", status->hostnqn);
	put_bool(o, "holds", status->holds);
	json_object_array_add(arg, o);
}

/* Nothing where nobody is registered. */
static void put_reservation(struct json_object *o, const struct admin_env *env,
			    const struct holding *h)
{
	struct nvme_resv_summary summary;
	struct json_object *resv, *registrants;

	if (!nvme_target_reservation(env->target, h, &summary))
		return;
	resv = json_object_new_object();
	registrants = json_object_new_array();
	put_text(resv, "type", resv_type_text(summary.type));
	put_bool(resv, "persists", summary.persists);
	nvme_target_each_registrant(env->target, h, add_registrant, registrants);
	json_object_object_add(o, "reservation", resv);
	json_object_object_add(o, "registrants", registrants);
}

/* `offline`: why it is, or NULL. */
static struct json_object *warnings_json(const struct holding *h, const char *offline)
{
	struct json_object *list = json_object_new_array();
	char text[ERRTEXT_BYTES];

	if (offline)
		json_object_array_add(list, json_object_new_string(offline));
	for (unsigned int i = 0; holding_warning(h, i, text, sizeof(text)); i++)
		json_object_array_add(list, json_object_new_string(text));
	return list;
}

struct json_object *status_reclaimed(const struct holding *h)
{
	struct json_object *list = json_object_new_array();
	struct holding_reclaim r;
	struct holding_status s;

	holding_status(h, &s);
	for (unsigned int i = 0; holding_reclaimed(h, i, &r); i++) {
		struct json_object *o = json_object_new_object();

		put_bool(o, "whole", r.whole);
		put_number(o, "offset", r.offset);
		put_number(o, "length", length_there(&s, r.offset, r.length));
		put_number(o, "left_ms", (r.hold_ns + NS_PER_MS - 1) / NS_PER_MS);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *bad_ranges_json(const struct export *e)
{
	struct json_object *list = json_object_new_array();
	struct export_range ranges[EXPORT_MAX_BAD_RANGES];
	unsigned int nr = e ? export_bad_ranges(e, ranges) : 0;

	for (unsigned int i = 0; i < nr; i++) {
		struct json_object *o = json_object_new_object();

		put_number(o, "offset", ranges[i].offset);
		put_number(o, "length", ranges[i].length);
		json_object_array_add(list, o);
	}
	return list;
}

struct json_object *status_export(const struct admin_env *env, const struct holding *h,
				  bool removing)
{
	const struct export *e = holding_export(h);
	struct json_object *o = json_object_new_object();
	struct holding_status s;

	holding_status(h, &s);
	put_text(o, "name", s.name);
	put_number(o, "nsid", s.nsid);
	put_text(o, "path", s.path);
	put_text(o, "state", removing ? "removing" : state_text(&s));
	put_text(o, "why", s.why);
	if (e) {
		char uuid[UUID_TEXT_BYTES];

		uuid_format(export_identity(e)->uuid, uuid);
		put_text(o, "uuid", uuid);
		put_number(o, "lba_bytes", export_lba_bytes(e));
		put_bool(o, "volatile_cache", export_volatile_cache(e));
		put_text(o, "sector_atomic", export_atomic_bytes(e) ? "journal" : "none");
		put_text(o, "medium", export_medium_text(s.medium));
	}
	put_text(o, "tenure", s.no_tenure ? "none" : s.tenure == TENURE_WATCH ? "watch" : "lease");
	put_text(o, "grant_keys", s.wants_windows ? "window" : "mr");
	put_text(o, "odp_release", s.at_once ? "at-once" : "after-recall");
	if (s.not_at_once)
		put_text(o, "odp_release_why", s.not_at_once);
	put_number(o, "generation", s.generation);
	put_number(o, "size_bytes", s.size_bytes);
	put_number(o, "backed_bytes", s.backed_bytes);
	put_number(o, "hole_bytes", s.hole_bytes);
	put_number(o, "shared_bytes", s.shared_bytes);
	put_number(o, "reclaimed_bytes", s.reclaimed_bytes);
	put_number(o, "grants", s.grants);
	put_number(o, "clients", s.clients);
	put_number(o, "keys", s.keys);
	put_number(o, "recalls", s.recalls);
	put_number(o, "range_recalls", s.range_recalls);
	json_object_object_add(o, "reclaimed", status_reclaimed(h));
	json_object_object_add(o, "bad_ranges", bad_ranges_json(e));
	json_object_object_add(
		o, "warnings",
		warnings_json(h, s.state == HOLDING_OFFLINE && !removing ? s.why : NULL));
	put_reservation(o, env, h);
	json_object_object_add(o, "rungs", rungs_json(env, &s));
	if (s.recalls)
		json_object_object_add(o, "last_recall", timeline_json(&s.last));
	if (s.range_recalls)
		json_object_object_add(o, "last_range_recall", range_timeline_json(&s));
	return o;
}

static void add_controller(const struct nvme_controller_status *status, void *arg)
{
	struct json_object *o = json_object_new_object();

	put_number(o, "cntlid", status->cntlid);
	put_text(o, "hostnqn", status->hostnqn);
	put_text(o, "subnqn", status->subnqn);
	put_text(o, "address", status->address);
	put_text(o, "fabric", status->fabric);
	put_number(o, "io_queues", status->io_queues);
	put_number(o, "direct_queues", status->direct_queues);
	put_number(o, "kato_ms", status->kato_ms);
	json_object_array_add(arg, o);
}

static void put_bound(struct json_object *o, const char *key, const struct histogram *h,
		      double part)
{
	const uint64_t ns = histogram_at(h, part);

	json_object_object_add(o, key, ns == UINT64_MAX ? NULL : json_object_new_uint64(ns));
}

/* How long recalls took since the start, and their parts; each at most so long. */
static struct json_object *times_json(void)
{
	struct json_object *list = json_object_new_array();

	for (const struct histogram *h = histogram_first(); h; h = h->next) {
		struct json_object *o = json_object_new_object();

		put_text(o, "name", h->name);
		put_number(o, "count", histogram_count(h));
		put_bound(o, "p50_ns", h, 0.5);
		put_bound(o, "p90_ns", h, 0.9);
		put_bound(o, "p99_ns", h, 0.99);
		json_object_array_add(list, o);
	}
	return list;
}

struct exports_list {
	const struct admin_env *env;
	struct json_object *list;
};

static void add_export(const struct holding *h, bool removing, void *arg)
{
	struct exports_list *x = arg;

	json_object_array_add(x->list, status_export(x->env, h, removing));
}

/* Neither takes anything but its name. */
static int check_bare(struct json_object *request, struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", NULL};

	return request_check_keys(request, known, err);
}

static int answer_status(const struct admin_env *env, struct admin_call *call,
			 struct json_object *request, struct json_object **result,
			 struct errtext *err)
{
	struct json_object *o, *exports, *clients;
	struct exports_list all = {.env = env};
	int rc = check_bare(request, err);

	(void)call;
	if (rc < 0)
		return rc;
	o = json_object_new_object();
	exports = all.list = json_object_new_array();
	clients = json_object_new_array();
	exports_each(env->exports, add_export, &all);
	nvme_target_each_controller(env->target, add_controller, clients);
	json_object_object_add(o, "daemon", daemon_json(env));
	json_object_object_add(o, "devices", devices_json(env));
	json_object_object_add(o, "listeners", admin_listeners_json(env));
	json_object_object_add(o, "exports", exports);
	json_object_object_add(o, "clients", clients);
	json_object_object_add(o, "times", times_json());
	*result = o;
	return 0;
}

struct rung_counts {
	const struct admin_env *env;
	uint64_t of[LH_RUNG_STAGED + 1];
	struct json_object *list;
};

/* How many adapters stand on each rung, of all exports; which, and why. */
static void count_rungs(const struct holding *h, bool removing, void *arg)
{
	struct rung_counts *counts = arg;
	const struct holding_env *env = counts->env->holdings_env;
	struct holding_status s;

	holding_status(h, &s);
	for (unsigned int i = 0; !removing && i < env->nr_devices; i++) {
		const bool offline = s.state == HOLDING_OFFLINE;
		const enum lh_rung rung = offline ? LH_RUNG_NONE : s.probes[i].rung;
		struct json_object *o = json_object_new_object();

		counts->of[rung]++;
		put_text(o, "export", s.name);
		put_text(o, "device", fabric_device_info(env->devices[i])->name);
		put_text(o, "rung", lh_rung_text(rung));
		put_text(o, "why", offline ? s.why : s.probes[i].why);
		json_object_array_add(counts->list, o);
	}
}

static void count_export(const struct holding *h, bool removing, void *arg)
{
	const struct exports_list *x = arg;
	struct json_object *o = json_object_new_object();
	struct counted c;

	(void)removing;
	counts_look(x->env, h, &c);
	put_text(o, "name", c.s.name);
	for (const struct counts_kind *k = counts_kinds; k->name; k++)
		put_number(o, k->name, k->value(&c));
	put_number(o, "away_ms", c.s.counts.away_ns / NS_PER_MS);
	put_number(o, "waits", histogram_count(c.s.waits));
	put_bound(o, "wait_p50_ns", c.s.waits, 0.5);
	put_bound(o, "wait_p99_ns", c.s.waits, 0.99);
	json_object_array_add(x->list, o);
}

static struct json_object *hosts_json(const struct admin_env *env)
{
	struct json_object *list = json_object_new_array();
	size_t nr = 0;
	struct host_counts *hosts = counts_hosts(env, &nr);

	for (size_t i = 0; hosts && i < nr; i++) {
		struct json_object *o = json_object_new_object();

		put_text(o, "hostnqn", hosts[i].nqn);
		put_number(o, "controllers", hosts[i].controllers);
		put_number(o, "io_queues", hosts[i].io_queues);
		put_number(o, "direct_queues", hosts[i].direct_queues);
		put_number(o, "grants", hosts[i].grants);
		put_number(o, "granted_bytes", hosts[i].granted_bytes);
		json_object_array_add(list, o);
	}
	free(hosts);
	return list;
}

static int answer_stats(const struct admin_env *env, struct admin_call *call,
			struct json_object *request, struct json_object **result,
			struct errtext *err)
{
	struct rung_counts counts = {.env = env};
	struct exports_list each = {.env = env};
	uint64_t registrations = 0, registered_bytes = 0;
	struct json_object *o;
	int rc = check_bare(request, err);

	(void)call;
	if (rc < 0)
		return rc;
	o = json_object_new_object();
	for (const struct counter *c = counter_first(); c; c = c->next)
		put_number(o, c->name, counter_read(c));
	counts.list = json_object_new_array();
	exports_each(env->exports, count_rungs, &counts);
	put_number(o, "rungs_pinned", counts.of[LH_RUNG_PINNED]);
	put_number(o, "rungs_odp", counts.of[LH_RUNG_ODP]);
	put_number(o, "rungs_staged", counts.of[LH_RUNG_STAGED]);
	put_number(o, "rungs_none", counts.of[LH_RUNG_NONE]);
	for (unsigned int i = 0; i < env->holdings_env->nr_devices; i++) {
		const struct region_budget *budget = cache_budget(env->holdings_env, i);

		registrations += budget->registrations;
		registered_bytes += budget->bytes;
	}
	put_number(o, "registrations", registrations);
	put_number(o, "registered_bytes", registered_bytes);
	json_object_object_add(o, "rungs", counts.list);
	each.list = json_object_new_array();
	exports_each(env->exports, count_export, &each);
	json_object_object_add(o, "exports", each.list);
	json_object_object_add(o, "hosts", hosts_json(env));
	*result = o;
	return 0;
}

const struct admin_verb admin_verbs[] = {
	{"status", answer_status},
	{"stats", answer_stats},
	{"listener-list", admin_listener_list},
	{"listener-ana", admin_listener_ana},
	{"listener-add", admin_listener_add},
	{"listener-remove", admin_listener_remove},
	{"host-list", admin_host_list},
	{"host-allow", admin_host_allow},
	{"host-deny", admin_host_deny},
	{"referral-list", admin_referral_list},
	{"referral-add", admin_referral_add},
	{"referral-remove", admin_referral_remove},
	{"export add", admin_export_add},
	{"export remove", admin_export_remove},
	{"export resize", admin_export_resize},
	{"export rung", admin_export_rung},
	{"export offline", admin_export_offline},
	{"export online", admin_export_online},
	{"export list", admin_export_list},
	{"reclaim", admin_reclaim},
	{"grants", admin_grants},
	{"reload", admin_reload},
	{NULL, NULL},
};
