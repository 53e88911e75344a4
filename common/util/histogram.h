/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Times, counted by how long they were: static objects like counters (util/counter.h), for what does not
 * happen on a data path. DEFINE_HISTOGRAM(recall_wait, "recall_wait", "How long …").
 */
#ifndef LEASEHOLD_HISTOGRAM_H
#define LEASEHOLD_HISTOGRAM_H

#include "util/util.h"

#include <stdatomic.h>

#define HISTOGRAM_BOUNDS 21

/** Upper bounds of the buckets, ascending, ns; behind the last there is one more without a bound. */
extern const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS];

struct histogram {
	const char *name; /* snake_case, unique, without a unit */
	const char *help;
	struct histogram *next;
	_Atomic uint64_t buckets[HISTOGRAM_BOUNDS + 1]; /* each what fell into it alone */
	_Atomic uint64_t sum_ns;
};

/**
 * A time that `part` (0 to 1) of all did not exceed: the bound of a bucket, ns. 0: there are none;
 * UINT64_MAX: longer than all bounds. Any thread.
 */
uint64_t histogram_at(const struct histogram *h, double part);
/** How many there are. */
uint64_t histogram_count(const struct histogram *h);

void histogram_register(struct histogram *h);
/** Any thread. */
void histogram_add(struct histogram *h, uint64_t ns);
/** All of them, in no particular order; NULL ends. */
const struct histogram *histogram_first(void);

#define DEFINE_HISTOGRAM(variable, text, help_text)                               \
	static struct histogram variable = {.name = (text), .help = (help_text)}; \
	__attribute__((constructor)) static void variable##_register(void)        \
	{                                                                         \
		histogram_register(&variable);                                    \
	}                                                                         \
	static_assert(true, "semicolon")

#endif
