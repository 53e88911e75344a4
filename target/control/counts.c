// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is counted of each export and of each host. Reactors count commands for themselves, and sums are made
 * when somebody asks. Control loop.
 */
#include "control/counts.h"

#include <stdlib.h>
#include <string.h>

/* ---- exports --------------------------------------------------------------------------------- */

#define VALUE(name, field)                                  \
	static uint64_t get_##name(const struct counted *c) \
	{                                                   \
		return c->field;                            \
	}

VALUE(reads, n.reads)
VALUE(writes, n.writes)
VALUE(read_bytes, n.read_bytes)
VALUE(written_bytes, n.written_bytes)
VALUE(errors, n.errors)
VALUE(commits, n.commits)
VALUE(committed_bytes, n.committed_bytes)
VALUE(commits_refused, n.commits_refused)
VALUE(given, s.counts.grants)
VALUE(given_bytes, s.counts.grant_bytes)
VALUE(refused, s.counts.acquires_refused)
VALUE(recalls, s.recalls)
VALUE(range_recalls, s.range_recalls)
VALUE(fenced, s.counts.clients_fenced)

const struct counts_kind counts_kinds[] = {
	{"block_reads", "Read and Compare commands of hosts, without those that failed", get_reads},
	{"block_writes", "Write commands of hosts, without those that failed", get_writes},
	{"block_read_bytes", "Bytes that block commands read", get_read_bytes},
	{"block_written_bytes", "Bytes that block commands wrote", get_written_bytes},
	{"block_errors", "Block commands of any kind that were answered with an error", get_errors},
	{"commits", "Commits of direct clients, without those that were refused", get_commits},
	{"committed_bytes", "Bytes that these named", get_committed_bytes},
	{"commits_refused", "Commits that were refused, or overtaken by a recall",
	 get_commits_refused},
	{"grants_given", "Grants given to direct clients", get_given},
	{"bytes_given", "Bytes in these: what is read and written there nobody can count here",
	 get_given_bytes},
	{"acquires_refused", "Acquires that were refused, for anything but a recall under way",
	 get_refused},
	{"recalls", "Times that all of it was recalled", get_recalls},
	{"range_recalls", "Times that a part of it was recalled", get_range_recalls},
	{"clients_fenced", "Clients that had not answered at the deadline", get_fenced},
	{NULL, NULL, NULL},
};

void counts_look(const struct admin_env *env, const struct holding *h, struct counted *c)
{
	holding_status(h, &c->s);
	nvme_target_ns_counts(env->target, h, &c->n);
}

/* ---- hosts ----------------------------------------------------------------------------------- */

struct hosts {
	struct host_counts *list; /* NULL: they are only counted */
	size_t nr;
};

static struct host_counts *next(struct hosts *x, const char *nqn)
{
	struct host_counts *h = x->list ? &x->list[x->nr] : NULL;

	x->nr++;
	if (h)
		*h = (struct host_counts){.nqn = nqn};
	return h;
}

static void add_controller(const struct nvme_controller_status *status, void *arg)
{
	struct host_counts *h = next(arg, status->hostnqn);

	if (!h)
		return;
	h->controllers = 1;
	h->io_queues = status->io_queues;
	h->direct_queues = status->direct_queues;
}

static void add_holder(const char *nqn, unsigned int grants, uint64_t bytes, void *arg)
{
	struct host_counts *h = next(arg, nqn);

	if (!h)
		return;
	h->grants = grants;
	h->granted_bytes = bytes;
}

static void add_all(const struct admin_env *env, struct hosts *x)
{
	nvme_target_each_controller(env->target, add_controller, x);
	grant_each_host(add_holder, x);
}

static int by_nqn(const void *a, const void *b)
{
	return strcmp(((const struct host_counts *)a)->nqn, ((const struct host_counts *)b)->nqn);
}

struct host_counts *counts_hosts(const struct admin_env *env, size_t *count)
{
	struct hosts x = {0};
	size_t n = 0;

	add_all(env, &x);
	x.list = calloc(x.nr + 1, sizeof(*x.list));
	if (!x.list)
		return NULL;
	x.nr = 0;
	add_all(env, &x);
	qsort(x.list, x.nr, sizeof(*x.list), by_nqn);
	for (size_t i = 0; i < x.nr; i++) {
		const struct host_counts *h = &x.list[i];

		if (n == 0 || strcmp(x.list[n - 1].nqn, h->nqn) != 0) {
			x.list[n++] = *h;
			continue;
		}
		x.list[n - 1].controllers += h->controllers;
		x.list[n - 1].io_queues += h->io_queues;
		x.list[n - 1].direct_queues += h->direct_queues;
		x.list[n - 1].grants += h->grants;
		x.list[n - 1].granted_bytes += h->granted_bytes;
	}
	*count = n;
	return x.list;
}
