// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the daemon counts, as OpenMetrics text (the specification's 1.0.0): its counters and histograms as
 * they are, and what `leasehold status` says of exports, adapters and clients. Samples of one family must be
 * together, so the exports are looked at first and then told of family by family. Control loop.
 */
#include "control/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/exports.h"
#include "nvme/nvme.h"
#include "util/counter.h"
#include "util/histogram.h"
#include "wire/wire.h"

#define PREFIX "leasehold_"

struct looked {
	struct holding_status *list;
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

static void put_histograms(FILE *f)
{
	char name[96];

	for (const struct histogram *h = histogram_first(); h; h = h->next) {
		uint64_t all = 0;

		(void)snprintf(name, sizeof(name), "%s_seconds", h->name);
		family(f, name, "histogram", h->help);
		for (unsigned int i = 0; i < HISTOGRAM_BOUNDS; i++) {
			all += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
			(void)fprintf(f, PREFIX "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
				      seconds(histogram_bounds_ns[i]), all);
		}
		all += atomic_load_explicit(&h->buckets[HISTOGRAM_BOUNDS], memory_order_relaxed);
		(void)fprintf(f, PREFIX "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, all);
		(void)fprintf(f, PREFIX "%s_sum %.9f\n" PREFIX "%s_count %" PRIu64 "\n", name,
			      seconds(atomic_load_explicit(&h->sum_ns, memory_order_relaxed)), name,
			      all);
	}
}

/* ---- exports --------------------------------------------------------------------------------- */

static void look(const struct holding *h, bool removing, void *arg)
{
	struct looked *l = arg;

	if (removing || l->nr == l->room)
		return;
	holding_status(h, &l->list[l->nr++]);
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
			label(f, "export", l->list[i].name);
			(void)fprintf(f, "} %" PRIu64 "\n", gauges[g].value(&l->list[i]));
		}
	}
	family(f, "export_rung", "gauge", "1: how its memory is registered with the adapter");
	for (unsigned int i = 0; i < l->nr; i++) {
		for (unsigned int d = 0; d < env->holdings_env->nr_devices; d++) {
			(void)fputs(PREFIX "export_rung{", f);
			label(f, "export", l->list[i].name);
			(void)fputc(',', f);
			label(f, "device", fabric_device_info(env->holdings_env->devices[d])->name);
			(void)fputc(',', f);
			label(f, "rung",
			      lh_rung_text(l->list[i].state == HOLDING_OFFLINE
						   ? LH_RUNG_NONE
						   : l->list[i].probes[d].rung));
			(void)fputs("} 1\n", f);
		}
	}
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

char *metrics_text(const struct admin_env *env, size_t *bytes)
{
	struct looked l = {.room = exports_count(env->exports)};
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
	put_exports(f, env, &l);
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
