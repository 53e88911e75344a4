// SPDX-License-Identifier: BSD-3-Clause
/* A binary heap of timers; each timer knows its slot, so that it can be moved or taken out. */
#include "util/timer_heap.h"

#include <errno.h>
#include <stdlib.h>

#include "util/log.h"

#define ROOM_AT_START 64

int timer_heap_init(struct timer_heap *heap)
{
	*heap = (struct timer_heap){.room = ROOM_AT_START};
	heap->slots = calloc(heap->room + 1, sizeof(*heap->slots));
	return heap->slots ? 0 : -ENOMEM;
}

void timer_heap_fini(struct timer_heap *heap)
{
	free(heap->slots);
	heap->slots = NULL;
}

static void place(struct timer_heap *heap, size_t i, struct timer_slot slot)
{
	heap->slots[i] = slot;
	slot.timer->heap_index = i;
}

/* Puts `slot` where it belongs, starting from the hole at `i`. */
static void settle(struct timer_heap *heap, size_t i, struct timer_slot slot)
{
	struct timer_slot *slots = heap->slots;

	for (; i > 1 && slot.due_ns < slots[i / 2].due_ns; i /= 2)
		place(heap, i, slots[i / 2]);
	for (;;) {
		size_t child = 2 * i;

		if (child < heap->count && slots[child + 1].due_ns < slots[child].due_ns)
			child++;
		if (child > heap->count || slots[child].due_ns >= slot.due_ns)
			break;
		place(heap, i, slots[child]);
		i = child;
	}
	place(heap, i, slot);
}

static void grow(struct timer_heap *heap)
{
	size_t room = 2 * heap->room;
	struct timer_slot *slots = reallocarray(heap->slots, room + 1, sizeof(*slots));

	if (!slots) {
		log_error("no memory for %zu timers", room);
		abort();
	}
	heap->slots = slots;
	heap->room = room;
}

static bool is_in(const struct timer_heap *heap, const struct loop_timer *timer)
{
	return timer->heap_index <= heap->count && heap->slots[timer->heap_index].timer == timer;
}

void timer_heap_set(struct timer_heap *heap, struct loop_timer *timer, uint64_t deadline_ns)
{
	struct timer_slot slot = {max_u64(deadline_ns, heap->floor_ns), timer};

	timer->deadline_ns = deadline_ns;
	if (timer->heap_index == 0) {
		if (heap->count == heap->room)
			grow(heap);
		/* New at the end, where only going up is possible: the slot is not read yet. */
		settle(heap, ++heap->count, slot);
		return;
	}
	assert(is_in(heap, timer));
	settle(heap, timer->heap_index, slot);
}

void timer_heap_cancel(struct timer_heap *heap, struct loop_timer *timer)
{
	size_t i = timer->heap_index;
	struct timer_slot last;

	if (i == 0)
		return;
	assert(is_in(heap, timer));
	last = heap->slots[heap->count--];
	timer->heap_index = 0;
	if (last.timer != timer)
		settle(heap, i, last);
}

bool timer_heap_run(struct timer_heap *heap, uint64_t now)
{
	bool worked = false;

	/* One that sets itself for the past must not keep this going for ever. */
	heap->floor_ns = now + 1;
	while (timer_heap_next_ns(heap) <= now) {
		struct loop_timer *timer = heap->slots[1].timer;

		timer_heap_cancel(heap, timer);
		timer->fn(timer);
		worked = true;
	}
	heap->floor_ns = 0;
	return worked;
}
