// SPDX-License-Identifier: BSD-3-Clause
/* Chance, the clock, events, coroutines, and who runs next. */
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)64 << 10)
#define MAX_CO	    32

struct event {
	uint64_t at, seq;
	void (*fn)(void *arg);
	void *arg;
};

struct co {
	char name[32];
	ucontext_t beginning;
	jmp_buf place; /* where it goes on, once it has begun */
	void *stack;
	void (*fn)(void *arg);
	void *arg;
	bool used, begun, over, waiting, woken;
	uint64_t wait; /* which of its waits a wake-up is for */
};

struct sim_options sim;
struct world w;
uint64_t sim_now;

static struct {
	uint64_t state[4];
	struct event *heap; /* from 1 */
	size_t count, room;
	uint64_t seq;
	unsigned long steps;
	struct co cos[MAX_CO];
	struct co *current;
	jmp_buf scheduler;
} s;

/* ---- chance ---- */

static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static uint64_t rotate(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

/* xoshiro256** */
uint64_t sim_random(void)
{
	uint64_t *a = s.state, result = rotate(a[1] * 5, 7) * 9, t = a[1] << 17;

	a[2] ^= a[0];
	a[3] ^= a[1];
	a[1] ^= a[2];
	a[0] ^= a[3];
	a[2] ^= t;
	a[3] = rotate(a[3], 45);
	return result;
}

uint64_t sim_below(uint64_t n)
{
	return n ? sim_random() % n : 0;
}

uint64_t sim_delay(uint64_t most)
{
	uint64_t r = sim_below(100);

	if (r < 60)
		return sim_below(most / 20 + 1);
	return sim_below(r < 95 ? most / 4 + 1 : most + 1);
}

/* ---- words ---- */

void sim_log(const char *fmt, ...)
{
	va_list ap;

	if (!sim.verbose)
		return;
	printf("%12.6f %-10s ", (double)(sim_now - w.base_ns) / 1e6,
	       s.current ? s.current->name : "");
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	(void)putchar('\n');
}

void sim_fail(enum promise promise, const char *fmt, ...)
{
	va_list ap;

	(void)fflush(stdout);
	printf("seed %llu: promise %d broken at %.6f ms: ", (unsigned long long)sim.seed,
	       (int)promise, (double)(sim_now - w.base_ns) / 1e6);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	printf("\nreplay: tests/sim/sim --seed %llu --verbose\n", (unsigned long long)sim.seed);
	(void)fflush(stdout);
	_exit(1);
}

/* ---- events ---- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

void sim_after(uint64_t ns, void (*fn)(void *arg), void *arg)
{
	struct event e = {.at = sim_now + ns, .seq = ++s.seq, .fn = fn, .arg = arg};
	size_t i;

	if (s.count + 2 > s.room) {
		s.room = s.room ? 2 * s.room : 256;
		s.heap = realloc(s.heap, s.room * sizeof(e));
		assert(s.heap);
	}
	for (i = ++s.count; i > 1 && before(&e, &s.heap[i / 2]); i /= 2)
		s.heap[i] = s.heap[i / 2];
	s.heap[i] = e;
}

static struct event pop(void)
{
	struct event first = s.heap[1], last = s.heap[s.count--];
	size_t i = 1, child;

	for (; (child = 2 * i) <= s.count; i = child) {
		if (child < s.count && before(&s.heap[child + 1], &s.heap[child]))
			child++;
		if (before(&last, &s.heap[child]))
			break;
		s.heap[i] = s.heap[child];
	}
	s.heap[i] = last;
	return first;
}

/*
 * ---- coroutines ----
 *
 * A context is for the first step onto a coroutine's stack only: swapcontext(3) asks the kernel about
 * signals each time, which would be a fifth of all that a seed costs.
 */

static void co_entry(void)
{
	struct co *co = s.current;

	co->fn(co->arg);
	co->over = true;
	_longjmp(s.scheduler, 1);
}

static void resume(struct co *co)
{
	assert(!s.current && !co->over);
	s.current = co;
	if (_setjmp(s.scheduler) == 0) {
		if (co->begun)
			_longjmp(co->place, 1);
		co->begun = true;
		(void)setcontext(&co->beginning);
	}
	s.current = NULL;
}

static void suspend(void)
{
	if (_setjmp(s.current->place) == 0)
		_longjmp(s.scheduler, 1);
}

static void co_start(void *arg)
{
	resume(arg);
}

static struct co *free_co(void)
{
	for (unsigned int i = 0; i < MAX_CO; i++)
		if (!s.cos[i].used)
			return &s.cos[i];
	abort();
}

static void make_context(struct co *co)
{
	(void)getcontext(&co->beginning);
	co->beginning.uc_stack.ss_sp = co->stack;
	co->beginning.uc_stack.ss_size = STACK_BYTES;
	co->beginning.uc_link = NULL;
	makecontext(&co->beginning, co_entry, 0);
}

struct co *co_new(const char *name, void (*fn)(void *arg), void *arg)
{
	struct co *co = free_co();

	if (!co->stack)
		co->stack = malloc(STACK_BYTES);
	assert(co->stack);
	co->used = true;
	co->begun = co->over = co->waiting = co->woken = false;
	co->fn = fn;
	co->arg = arg;
	(void)snprintf(co->name, sizeof(co->name), "%s", name);
	make_context(co);
	sim_after(sim_below(1000), co_start, co);
	return co;
}

struct co *co_self(void)
{
	return s.current;
}

struct alarm {
	struct co *co;
	uint64_t wait;
	bool woken;
};

static void on_alarm(void *arg)
{
	struct alarm *a = arg;

	if (a->co->waiting && a->co->wait == a->wait) {
		a->co->waiting = false;
		a->co->woken = a->woken;
		resume(a->co);
	}
	free(a);
}

static void set_alarm(struct co *co, uint64_t ns, bool woken)
{
	struct alarm *a = malloc(sizeof(*a));

	assert(a);
	*a = (struct alarm){.co = co, .wait = co->wait, .woken = woken};
	sim_after(ns, on_alarm, a);
}

bool co_wait(uint64_t ns)
{
	struct co *co = s.current;

	co->wait++;
	if (co->woken) {
		co->woken = false;
		ns = sim_below(500);
	}
	co->waiting = true;
	set_alarm(co, ns, false);
	suspend();
	if (!co->woken)
		return false;
	co->woken = false;
	return true;
}

void co_sleep(uint64_t ns)
{
	struct co *co = s.current;

	co->wait++;
	co->waiting = true;
	set_alarm(co, ns, false);
	/* Who is woken meanwhile looks when it waits next. */
	suspend();
}

void co_wake(struct co *co)
{
	if (!co || co->over || !co->used || co->woken)
		return;
	if (co->waiting)
		set_alarm(co, sim_below(2000), true);
	else
		co->woken = true;
}

unsigned int co_alive(void)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < MAX_CO; i++)
		n += s.cos[i].used && !s.cos[i].over;
	return n;
}

/* ---- who runs next ---- */

void sched_begin(uint64_t seed)
{
	uint64_t x = seed * 0x2545f4914f6cdd1dull + 1;

	for (unsigned int i = 0; i < 4; i++)
		s.state[i] = splitmix(&x);
	assert(s.count == 0 && !s.current);
	s.seq = 0;
	s.steps = 0;
	sim_now = 0;
}

bool sched_step(uint64_t until_ns)
{
	uint64_t next;
	unsigned int ready = threads_ready(&next);
	bool due = s.count > 0 && s.heap[1].at <= sim_now;

	s.steps++;
	if (!ready && !due) {
		if (s.count > 0)
			next = min_u64(next, s.heap[1].at);
		if (next > until_ns || next == NEVER)
			return false;
		sim_now = max_u64(sim_now, next);
		return true;
	}
	if (due && (!ready || sim_below(ready + 1) == 0)) {
		struct event e = pop();

		e.fn(e.arg);
	} else {
		threads_step(ready);
		sim_now += sim_below(400);
	}
	return true;
}

unsigned long sched_steps(void)
{
	return s.steps;
}

void sched_end(void)
{
	/* Only alarms of waits that are over, by now. */
	while (s.count > 0) {
		struct event e = pop();

		if (e.fn == on_alarm)
			free(e.arg);
	}
	for (unsigned int i = 0; i < MAX_CO; i++)
		s.cos[i].used = false;
}
