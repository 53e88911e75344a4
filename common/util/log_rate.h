/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many lines strangers may cause: some at once, then one in a while; those left out are counted,
 * for the next line to say. One thread at a time. All zeros is a fresh one.
 */
#ifndef LEASEHOLD_LOG_RATE_H
#define LEASEHOLD_LOG_RATE_H

#include "util/util.h"

#define LOG_RATE_AT_ONCE  10u
#define LOG_RATE_EVERY_NS NS_PER_S

struct log_rate {
	/* When the lines there were would have come, at one in LOG_RATE_EVERY_NS. */
	uint64_t due_ns;
	uint64_t left_out;
};

/**
 * Whether one more line may be written at `now_ns` (monotonic). If so `left_out` is how many might not
 * since the last one; if not it is unchanged.
 */
MUST_CHECK bool log_rate_allows(struct log_rate *rate, uint64_t now_ns, uint64_t *left_out);

#endif
