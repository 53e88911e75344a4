/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Times of many operations in little room: counted in buckets of which each is at most 1/32 wide as what it
 * stands for. Pure.
 */
#ifndef LEASEHOLD_LATENCY_H
#define LEASEHOLD_LATENCY_H

#include "util/util.h"

#define LATENCY_STEPS	32 /* buckets for each doubling */
#define LATENCY_BUCKETS (60 * LATENCY_STEPS)

/** Zero it to begin. */
struct latency {
	uint64_t count, sum_ns, max_ns;
	uint64_t buckets[LATENCY_BUCKETS];
};

void latency_add(struct latency *l, uint64_t ns);
/** The time that `part` (0 to 1) of the operations did not exceed, ns; 0 if there were none. */
uint64_t latency_at(const struct latency *l, double part);
uint64_t latency_mean(const struct latency *l);

#endif
