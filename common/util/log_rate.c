// SPDX-License-Identifier: BSD-3-Clause
/* A bucket of lines: LOG_RATE_AT_ONCE fit in, and it fills at one in LOG_RATE_EVERY_NS. */
#include "util/log_rate.h"

bool log_rate_allows(struct log_rate *rate, uint64_t now_ns, uint64_t *left_out)
{
	uint64_t due = max_u64(rate->due_ns, now_ns);

	if (due - now_ns > (LOG_RATE_AT_ONCE - 1) * LOG_RATE_EVERY_NS) {
		rate->left_out++;
		return false;
	}
	rate->due_ns = due + LOG_RATE_EVERY_NS;
	*left_out = rate->left_out;
	rate->left_out = 0;
	return true;
}
