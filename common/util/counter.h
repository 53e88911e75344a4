/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters that any thread adds to without contention and the admin socket reads. A counter is a
 * static object, known from program start: DEFINE_COUNTER(block_reads, "block_reads", "Reads …").
 */
#ifndef LEASEHOLD_COUNTER_H
#define LEASEHOLD_COUNTER_H

#include "util/util.h"

#include <stdatomic.h>

#define COUNTER_SHARDS 8

struct counter {
	const char *name; /* snake_case, unique; what `leasehold stats` shows */
	const char *help;
	struct counter *next;
	struct {
		_Alignas(64) _Atomic uint64_t value;
	} shards[COUNTER_SHARDS];
};

/** The calling thread's shard. */
unsigned int counter_shard(void);

void counter_register(struct counter *c);

/** Sum over the shards; a moment's view. */
uint64_t counter_read(const struct counter *c);

/** All counters, in no particular order; NULL ends. */
const struct counter *counter_first(void);

static inline void counter_add(struct counter *c, uint64_t n)
{
	atomic_fetch_add_explicit(&c->shards[counter_shard()].value, n, memory_order_relaxed);
}

#define DEFINE_COUNTER(variable, text, help_text)                               \
	static struct counter variable = {.name = (text), .help = (help_text)}; \
	__attribute__((constructor)) static void variable##_register(void)      \
	{                                                                       \
		counter_register(&variable);                                    \
	}                                                                       \
	static_assert(true, "semicolon")

#endif
