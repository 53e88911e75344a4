// SPDX-License-Identifier: BSD-3-Clause
/*
 * The limits of one client. Who may hold so many grants may get as many at once, whatever the rate: a
 * recall may have taken them all.
 */
#include "grant/usage.h"

#include "util/counter.h"
#include "wire/direct.h"

DEFINE_COUNTER(over_grants, "acquires_over_grants_limit", "Acquires beyond max_grants_per_client");
DEFINE_COUNTER(over_bytes, "acquires_over_bytes_limit",
	       "Acquires beyond max_granted_bytes_per_client");
DEFINE_COUNTER(over_rate, "acquires_over_rate_limit",
	       "Acquires beyond max_registrations_per_second");

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

uint16_t usage_allow(struct usage *usage, const struct holding_env *env, uint64_t grants,
		     uint64_t bytes, uint64_t now_ns)
{
	const uint64_t most = env->max_granted_bytes_per_client;

	if (usage->grants + grants > env->max_grants_per_client) {
		counter_add(&over_grants, 1);
		return LH_SC_LIMIT;
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
	usage->bytes += bytes;
}

void usage_drop(struct usage *usage, uint64_t bytes)
{
	assert(usage->grants > 0 && usage->bytes >= bytes);
	usage->grants--;
	usage->bytes -= bytes;
}
