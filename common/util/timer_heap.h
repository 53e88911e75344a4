/* SPDX-License-Identifier: BSD-3-Clause */
/* The timers of one loop: a binary heap, the earliest first. For loop.c only; the loop's thread. */
#ifndef LEASEHOLD_TIMER_HEAP_H
#define LEASEHOLD_TIMER_HEAP_H

#include "util/loop.h"

struct timer_slot {
	uint64_t due_ns;
	struct loop_timer *timer;
};

struct timer_heap {
	struct timer_slot *slots; /* from 1 */
	size_t count, room;
	uint64_t floor_ns; /* what is put in now is not due before */
};

/** Returns 0 or -ENOMEM. */
MUST_CHECK int timer_heap_init(struct timer_heap *heap);
void timer_heap_fini(struct timer_heap *heap);

/** Puts in or moves. Aborts if there is no memory to grow: a deadline must not get lost. */
void timer_heap_set(struct timer_heap *heap, struct loop_timer *timer, uint64_t deadline_ns);
/** Takes out; harmless on one that is not in. */
void timer_heap_cancel(struct timer_heap *heap, struct loop_timer *timer);

/** When the earliest is due, or UINT64_MAX. */
static inline uint64_t timer_heap_next_ns(const struct timer_heap *heap)
{
	return heap->count ? heap->slots[1].due_ns : UINT64_MAX;
}

/** Calls what is due at `now`, each at most once. True if anything was. */
bool timer_heap_run(struct timer_heap *heap, uint64_t now);

#endif
