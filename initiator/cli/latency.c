// SPDX-License-Identifier: BSD-3-Clause
#include "cli/latency.h"

/* Below LATENCY_STEPS each ns has a bucket; from there on the highest bits below the first one choose. */
static unsigned int bucket_of(uint64_t ns)
{
	unsigned int top, shift;

	if (ns < LATENCY_STEPS)
		return (unsigned int)ns;
	top = 63 - (unsigned int)__builtin_clzll(ns);
	shift = top - 5;
	return (shift + 1) * LATENCY_STEPS + (unsigned int)(ns >> shift) - LATENCY_STEPS;
}

static uint64_t highest_of(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < LATENCY_STEPS)
		return bucket;
	shift = bucket / LATENCY_STEPS - 1;
	return ((uint64_t)(bucket % LATENCY_STEPS + LATENCY_STEPS + 1) << shift) - 1;
}

void latency_add(struct latency *l, uint64_t ns)
{
	static_assert(LATENCY_STEPS == 32, "five bits below the first one");
	static_assert(LATENCY_BUCKETS >= (63 - 5 + 2) * LATENCY_STEPS, "any time has a bucket");
	l->count++;
	l->sum_ns += ns;
	l->max_ns = max_u64(l->max_ns, ns);
	l->buckets[bucket_of(ns)]++;
}

uint64_t latency_at(const struct latency *l, double part)
{
	double wanted = part * (double)l->count;
	uint64_t seen = 0;

	for (unsigned int i = 0; i < LATENCY_BUCKETS; i++) {
		seen += l->buckets[i];
		if (seen > 0 && (double)seen >= wanted)
			return min_u64(highest_of(i), l->max_ns);
	}
	return l->max_ns;
}

uint64_t latency_mean(const struct latency *l)
{
	return l->count ? l->sum_ns / l->count : 0;
}
