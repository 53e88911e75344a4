// SPDX-License-Identifier: BSD-3-Clause
/* Sharded counters. Registration happens before main(), on one thread. */
#include "util/counter.h"

static struct counter *first;
static _Atomic unsigned int next_shard;

unsigned int counter_shard(void)
{
	static _Thread_local unsigned int shard = COUNTER_SHARDS;

	if (shard == COUNTER_SHARDS)
		shard = atomic_fetch_add(&next_shard, 1) % COUNTER_SHARDS;
	return shard;
}

void counter_register(struct counter *c)
{
	c->next = first;
	first = c;
}

uint64_t counter_read(const struct counter *c)
{
	uint64_t sum = 0;

	for (int i = 0; i < COUNTER_SHARDS; i++)
		sum += atomic_load_explicit(&c->shards[i].value, memory_order_relaxed);
	return sum;
}

const struct counter *counter_first(void)
{
	return first;
}
