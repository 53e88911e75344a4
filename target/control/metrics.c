// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the daemon counts, as OpenMetrics text (the specification's 1.0.0): its counters and histograms as
 * they are, and what `leasehold status` says of exports, adapters and clients. Samples of one family must be
 * together, so the exports are looked at first and then told of family by family. Control loop.
 */
#include "control/metrics.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/counts.h"
#include "nvme/nvme.h"
#include "util/counter.h"
#include "util/histogram.h"
#include "wire/wire.h"

#define PREFIX "leasehold_"

struct looked {
	const struct admin_env *env;
	struct counted *list;
	unsigned int nr, room;
};

static void family(FILE *f, const char *name, const char *type, const char *help)
{
	(void)fprintf(f, "# TYPE " PREFIX "%s %s\n# HELP " PREFIX "%s ", name, type, name);
	for (; *help; help++) {
		if (*help == '\\' || *help == '\n')
			(void)fputc('\\', f);
		(void)fputc(*help == '\n' ? 'n' : *help, f);
	}
	(void)fputc('\n', f);
}

/* KEY="value", with what stands for itself nowhere else. */
static void label(FILE *f, const char *key, const char *value)
{
	(void)fprintf(f, "%s=\"", key);
	for (; *value; value++) {
		if (*value == '\\' || *value == '"' || *value == '\n')
			(void)fputc('\\', f);
		(void)fputc(*value == '\n' ? 'n' : *value, f);
	}
	(void)fputc('"', f);
}

/* ---- what is counted ------------------------------------------------------------------------- */

static void put_counters(FILE *f)
{
	for (const struct counter *c = counter_first(); c; c = c->next) {
		family(f, c->name, "counter", c->help);
		(void)fprintf(f, PREFIX "%s_total %" PRIu64 "\n", c->name, counter_read(c));
	}
}

static double seconds(uint64_t ns)
{
	return (double)ns / (double)NS_PER_S;
}

/* The samples of one. */
static void put_buckets(FILE *f, const char *name, const char *export, const struct histogram *h)
{
	uint64_t all = 0;

	for (unsigned int i = 0; i <= HISTOGRAM_BOUNDS; i++) {
		all += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
		(void)fprintf(f, PREFIX "%s_bucket{", name);
		if (export) {
			label(f, "export", export);
			(void)fputc(',', f);
		}
		if (i < HISTOGRAM_BOUNDS)
			(void)fprintf(f, "le=\"%g\"} %" PRIu64 "\n",
				      seconds(histogram_bounds_ns[i]), all);
		else
			(void)fprintf(f, "le=\"+Inf\"} %" PRIu64 "\n", all);
	}
	for (unsigned int i = 0; i < 2; i++) {
		(void)fprintf(f, PREFIX "%s_%s", name, i == 0 ? "sum" : "count");
		if (export) {
			(void)fputc('{', f);
			label(f, "export", export);
			(void)fputc('}', f);
		}
		if (i == 0)
			(void)fprintf(
				f, " %.9f\n",
				seconds(atomic_load_explicit(&h->sum_ns, memory_order_relaxed)));
		else
			(void)fprintf(f, " %" PRIu64 "\n", all);
	}
}

static void put_histograms(FILE *f)
{
	char name[96];

	for (const struct histogram *h = histogram_first(); h; h = h->next) {
		(void)snprintf(name, sizeof(name), "%s_seconds", h->name);
		family(f, name, "histogram", h->help);
		put_buckets(f, name, NULL, h);
	}
}

/* ---- exports --------------------------------------------------------------------------------- */

static void look(const struct holding *h, bool removing, void *arg)
{
	struct looked *l = arg;

	if (removing || l->nr == l->room)
		return;
	counts_look(l->env, h, &l->list[l->nr++]);
}

struct gauge {
	const char *name, *help;
	uint64_t (*value)(const struct holding_status *s);
};

#define FIELD(field)                                                \
	static uint64_t get_##field(const struct holding_status *s) \
	{                                                           \
		return s->field;                                    \
	}

FIELD(size_bytes)
FIELD(backed_bytes)
FIELD(hole_bytes)
FIELD(shared_bytes)
FIELD(reclaimed_bytes)
FIELD(grants)
FIELD(granted_bytes)
FIELD(clients)
FIELD(keys)
FIELD(generation)

static uint64_t get_serving(const struct holding_status *s)
{
	return s->state == HOLDING_SERVING;
}

static uint64_t get_recalling(const struct holding_status *s)
{
	return s->state == HOLDING_RECALLING;
}

static const struct gauge gauges[] = {
	{"export_serving", "1: registered and served; 0: offline, recalled, or starting",
	 get_serving},
	{"export_recalling", "1: somebody waits for its blocks", get_recalling},
	{"export_size_bytes", "Bytes that are served", get_size_bytes},
	{"export_backed_bytes", "Bytes that have blocks of their own, so that they can be granted",
	 get_backed_bytes},
	{"export_hole_bytes", "Bytes without blocks", get_hole_bytes},
	{"export_shared_bytes", "Bytes whose blocks clones of the file share", get_shared_bytes},
	{"export_reclaimed_bytes", "Bytes that local tools were given for a while",
	 get_reclaimed_bytes},
	{"export_grants", "Grants that clients hold", get_grants},
	{"export_granted_bytes", "Bytes in these; what overlaps counts twice", get_granted_bytes},
	{"export_clients", "Clients that hold any", get_clients},
	{"export_keys", "RDMA keys that are alive over its memory", get_keys},
	{"export_generation", "Generation of its grants", get_generation},
};

static void put_exports(FILE *f, const struct admin_env *env, const struct looked *l)
{
	for (unsigned int g = 0; g < ARRAY_SIZE(gauges); g++) {
		family(f, gauges[g].name, "gauge", gauges[g].help);
		for (unsigned int i = 0; i < l->nr; i++) {
			(void)fprintf(f, PREFIX "%s{", gauges[g].name);
			label(f, "export", l->list[i].s.name);
			(void)fprintf(f, "} %" PRIu64 "\n", gauges[g].value(&l->list[i].s));
		}
	}
	family(f, "export_rung", "gauge", "1: how its memory is registered with the adapter");
	for (unsigned int i = 0; i < l->nr; i++) {
		for (unsigned int d = 0; d < env->holdings_env->nr_devices; d++) {
			(void)fputs(PREFIX "export_rung{", f);
			label(f, "export", l->list[i].s.name);
			(void)fputc(',', f);
			label(f, "device", fabric_device_info(env->holdings_env->devices[d])->name);
			(void)fputc(',', f);
			label(f, "rung",
			      lh_rung_text(l->list[i].s.state == HOLDING_OFFLINE
						   ? LH_RUNG_NONE
						   : l->list[i].s.probes[d].rung));
			(void)fputs("} 1\n", f);
		}
	}
}

static void put_export_counts(FILE *f, const struct looked *l)
{
	char name[96];

	for (const struct counts_kind *k = counts_kinds; k->name; k++) {
		(void)snprintf(name, sizeof(name), "export_%s", k->name);
		family(f, name, "counter", k->help);
		for (unsigned int i = 0; i < l->nr; i++) {
			(void)fprintf(f, PREFIX "%s_total{", name);
			label(f, "export", l->list[i].s.name);
			(void)fprintf(f, "} %" PRIu64 "\n", k->value(&l->list[i]));
		}
	}
	family(f, "export_away_seconds", "counter",
	       "How long nothing of it could be granted, since it was served first");
	for (unsigned int i = 0; i < l->nr; i++) {
		(void)fputs(PREFIX "export_away_seconds_total{", f);
		label(f, "export", l->list[i].s.name);
		(void)fprintf(f, "} %.9f\n", seconds(l->list[i].s.counts.away_ns));
	}
	family(f, "export_recall_wait_seconds", "histogram",
	       "How long who wanted its blocks waited, all of them or a part");
	for (unsigned int i = 0; i < l->nr; i++)
		put_buckets(f, "export_recall_wait_seconds", l->list[i].s.name, l->list[i].s.waits);
}

/* ---- adapters -------------------------------------------------------------------------------- */

static void put_devices(FILE *f, const struct admin_env *env)
{
	static const char *const names[] = {"registrations", "registered_bytes"};
	static const char *const helps[] = {"Registrations of exports' memory for block commands",
					    "Bytes in them"};

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		family(f, names[i], "gauge", helps[i]);
		for (unsigned int d = 0; d < env->holdings_env->nr_devices; d++) {
			const struct region_budget *b = cache_budget(env->holdings_env, d);

			(void)fprintf(f, PREFIX "%s{", names[i]);
			label(f, "device", fabric_device_info(env->holdings_env->devices[d])->name);
			(void)fprintf(f, "} %" PRIu64 "\n",
				      i == 0 ? (uint64_t)b->registrations : (uint64_t)b->bytes);
		}
	}
}

/* ---- clients --------------------------------------------------------------------------------- */

static void count_controller(const struct nvme_controller_status *status, void *arg)
{
	uint64_t *counts = arg;

	counts[0]++;
	counts[1] += status->io_queues;
	counts[2] += status->direct_queues;
}

static void put_clients(FILE *f, const struct admin_env *env)
{
	static const char *const names[] = {"controllers", "io_queues", "direct_queues"};
	static const char *const helps[] = {"Hosts' controllers", "Their block queues",
					    "Their direct queues"};
	uint64_t counts[ARRAY_SIZE(names)] = {0};

	nvme_target_each_controller(env->target, count_controller, counts);
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		family(f, names[i], "gauge", helps[i]);
		(void)fprintf(f, PREFIX "%s %" PRIu64 "\n", names[i], counts[i]);
	}
}

/* ---- hosts ----------------------------------------------------------------------------------- */

static const struct {
	const char *name, *help;
	size_t at; /* in struct host_counts */
} of_hosts[] = {
	{"host_controllers", "Controllers of one host", offsetof(struct host_counts, controllers)},
	{"host_io_queues", "Its block queues", offsetof(struct host_counts, io_queues)},
	{"host_direct_queues", "Its direct queues", offsetof(struct host_counts, direct_queues)},
	{"host_grants", "Grants that its clients hold", offsetof(struct host_counts, grants)},
	{"host_granted_bytes", "Bytes in these", offsetof(struct host_counts, granted_bytes)},
};

static void put_hosts(FILE *f, const struct admin_env *env)
{
	size_t nr = 0;
	struct host_counts *list = counts_hosts(env, &nr);

	for (unsigned int k = 0; list && k < ARRAY_SIZE(of_hosts); k++) {
		family(f, of_hosts[k].name, "gauge", of_hosts[k].help);
		for (size_t i = 0; i < nr; i++) {
			const char *h = (const char *)&list[i];
			uint64_t value;

			memcpy(&value, h + of_hosts[k].at, sizeof(value));
			(void)fprintf(f, PREFIX "%s{", of_hosts[k].name);
			label(f, "host", list[i].nqn);
			(void)fprintf(f, "} %" PRIu64 "\n", value);
		}
	}
	free(list);
}

/* ---- a recall of all ------------------------------------------------------------------------- */

static void put_budget(FILE *f)
{
	static const char *const names[] = {"recall_budget_seconds", "recall_registered_seconds",
					    "recall_granted_seconds"};
	static const char *const helps[] = {
		"What a recall of all exports at once may take, without the deadline",
		"What it would take to end what is registered", "And what is granted"};
	struct recall_budget budget;

	grant_recall_budget(&budget);
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		family(f, names[i], "gauge", helps[i]);
		(void)fprintf(f, PREFIX "%s %.9f\n", names[i],
			      seconds(i == 0   ? budget.limit_ns
				      : i == 1 ? budget.regions_ns
					       : budget.granted_ns));
	}
}

char *metrics_text(const struct admin_env *env, size_t *bytes)
{
	struct looked l = {.env = env, .room = exports_count(env->exports)};
	char *text = NULL;
	FILE *f;

	l.list = calloc(l.room + 1, sizeof(*l.list));
	if (!l.list)
		return NULL;
	f = open_memstream(&text, bytes);
	if (!f) {
		free(l.list);
		return NULL;
	}
	exports_each(env->exports, look, &l);
	family(f, "build", "info", "What runs here");
	(void)fputs(PREFIX "build_info{", f);
	label(f, "version", env->version);
	(void)fputs("} 1\n", f);
	put_devices(f, env);
	put_clients(f, env);
	put_hosts(f, env);
	put_budget(f);
	put_exports(f, env, &l);
	put_export_counts(f, &l);
	put_histograms(f);
	put_counters(f);
	(void)fputs("# EOF\n", f);
	free(l.list);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}
