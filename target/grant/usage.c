// SPDX-License-Identifier: BSD-3-Clause
/*
 * The limits of one client, of its host, and of an export. Who may hold so many grants may get as many
 * at once, whatever the rate: a recall may have taken them all.
 */
#include "grant/usage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/counter.h"
#include "wire/direct.h"

DEFINE_COUNTER(over_grants, "acquires_over_grants_limit", "Acquires beyond max_grants_per_client");
DEFINE_COUNTER(over_host, "acquires_over_host_limit", "Acquires beyond max_grants_per_host");
DEFINE_COUNTER(over_export, "acquires_over_export_limit", "Acquires beyond max_grants_per_export");
DEFINE_COUNTER(over_bytes, "acquires_over_bytes_limit",
	       "Acquires beyond max_granted_bytes_per_client");
DEFINE_COUNTER(over_rate, "acquires_over_rate_limit",
	       "Acquires beyond max_registrations_per_second");

static struct list hosts = LIST_INIT(hosts);

struct usage_host *usage_host_get(const char *nqn)
{
	struct usage_host *host;
	struct list *l;

	list_for_each (l, &hosts) {
		host = list_entry(l, struct usage_host, link);
		if (strcmp(host->nqn, nqn) == 0) {
			host->clients++;
			return host;
		}
	}
	host = calloc(1, sizeof(*host));
	if (!host)
		return NULL;
	host->clients = 1;
	(void)snprintf(host->nqn, sizeof(host->nqn), "%s", nqn);
	list_push(&hosts, &host->link);
	return host;
}

void usage_host_put(struct usage_host *host)
{
	assert(host->clients > 0);
	if (--host->clients > 0)
		return;
	assert(host->grants == 0);
	list_del(&host->link);
	free(host);
}

static void leak(struct usage *usage, uint64_t rate, uint64_t now_ns)
{
	const uint64_t elapsed_ns = now_ns - usage->then_ns;

	assert(now_ns >= usage->then_ns);
	usage->then_ns = now_ns;
	if (elapsed_ns > usage->registered / rate)
		usage->registered = 0;
	else
		usage->registered -= elapsed_ns * rate;
}

static bool register_some(struct usage *usage, const struct holding_env *env, uint64_t count,
			  uint64_t now_ns)
{
	const uint64_t rate = env->max_registrations_per_second;
	const uint64_t room = max_u64(rate, env->max_grants_per_client) * NS_PER_S;

	if (rate == 0)
		return true;
	leak(usage, rate, now_ns);
	if (!range_ok(usage->registered, count * NS_PER_S, room))
		return false;
	usage->registered += count * NS_PER_S;
	return true;
}

uint16_t usage_allow(struct usage *usage, const struct holding_env *env, uint64_t of_export,
		     uint64_t grants, uint64_t bytes, uint64_t now_ns)
{
	const uint64_t most = env->max_granted_bytes_per_client;

	if (usage->grants + grants > env->max_grants_per_client) {
		counter_add(&over_grants, 1);
		return LH_SC_LIMIT;
	}
	if (of_export + grants > env->max_grants_per_export) {
		counter_add(&over_export, 1);
		return LH_SC_LIMIT_EXPORT;
	}
	if (usage->host->grants + grants > env->max_grants_per_host) {
		counter_add(&over_host, 1);
		return LH_SC_LIMIT_HOST;
	}
	if (most > 0 && !range_ok(usage->bytes, bytes, most)) {
		counter_add(&over_bytes, 1);
		return LH_SC_LIMIT_BYTES;
	}
	if (!register_some(usage, env, grants, now_ns)) {
		counter_add(&over_rate, 1);
		return LH_SC_LIMIT_RATE;
	}
	return NVME_SC_SUCCESS;
}

void usage_add(struct usage *usage, uint64_t bytes)
{
	usage->grants++;
	usage->host->grants++;
	usage->bytes += bytes;
	usage->host->bytes += bytes;
}

void usage_drop(struct usage *usage, uint64_t bytes)
{
	assert(usage->grants > 0 && usage->host->grants > 0 && usage->bytes >= bytes);
	usage->grants--;
	usage->host->grants--;
	usage->bytes -= bytes;
	usage->host->bytes -= bytes;
}

void grant_each_host(void (*fn)(const char *nqn, unsigned int grants, uint64_t bytes, void *arg),
		     void *arg)
{
	struct list *l;

	list_for_each (l, &hosts) {
		const struct usage_host *host = list_entry(l, struct usage_host, link);

		fn(host->nqn, host->grants, host->bytes, arg);
	}
}
