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

/* On a stack. */
struct place {
	ucontext_t beginning;
	jmp_buf jump;
	bool begun;
};

struct co {
	char name[32];
	struct place place; /* where it goes on */
	void *stack;
	void (*fn)(void *arg);
	void *arg;
	bool used, over;
	bool lives;   /* somebody waits for it to go home */
	bool waiting; /* until `at` … */
	uint64_t at;
	bool early;  /* … which is before its time: it is woken */
	bool asleep; /* … and is not woken */
	bool woken;
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
	unsigned int alive;
	struct co *current, *alarm; /* who runs; who waits and goes on first */
	struct place scheduler;
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
static inline uint64_t draw(void)
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

uint64_t sim_random(void)
{
	return draw();
}

uint64_t sim_below(uint64_t n)
{
	/* A product is sooner done than a division. */
	return (uint64_t)((unsigned __int128)draw() * n >> 64);
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

/* ---- coroutines ---- */

/*
 * A context is for the first step onto a stack only: swapcontext(3) asks the kernel about signals each
 * time, which would be a fifth of all that a seed costs. AddressSanitizer knows nothing else.
 */
static void leave(struct place *from, struct place *to)
{
#ifdef __SANITIZE_ADDRESS__
	(void)swapcontext(&from->beginning, &to->beginning);
#else
	if (_setjmp(from->jump) != 0)
		return;
	from->begun = true;
	if (to->begun)
		_longjmp(to->jump, 1);
	(void)setcontext(&to->beginning);
#endif
}

static void co_entry(void)
{
	struct co *co = s.current;

	co->fn(co->arg);
	co->over = true;
	s.alive -= co->lives;
	leave(&co->place, &s.scheduler);
}

static void resume(struct co *co)
{
	assert(!s.current && !co->over);
	s.current = co;
	leave(&s.scheduler, &co->place);
	s.current = NULL;
}

static void suspend(void)
{
	leave(&s.current->place, &s.scheduler);
}

static bool is_sooner(const struct co *a, const struct co *b)
{
	return !b || a->at < b->at || (a->at == b->at && a < b);
}

/* The earliest alarm is looked for when it has changed, not in each step. */
static void find_alarm(void)
{
	s.alarm = NULL;
	for (unsigned int i = 0; i < MAX_CO; i++) {
		struct co *co = &s.cos[i];

		if (co->used && co->waiting && is_sooner(co, s.alarm))
			s.alarm = co;
	}
}

static void set_alarm(struct co *co, uint64_t ns, bool early)
{
	co->waiting = true;
	co->at = sim_now + ns;
	co->early = early;
	if (is_sooner(co, s.alarm))
		s.alarm = co;
}

static void ring(void)
{
	struct co *co = s.alarm;

	co->waiting = false;
	co->woken = co->early;
	find_alarm();
	resume(co);
}

static struct co *free_co(void)
{
	for (unsigned int i = 0; i < MAX_CO; i++)
		if (!s.cos[i].used || s.cos[i].over)
			return &s.cos[i];
	abort();
}

static void make_context(struct co *co)
{
	co->place.begun = false;
	(void)getcontext(&co->place.beginning);
	co->place.beginning.uc_stack.ss_sp = co->stack;
	co->place.beginning.uc_stack.ss_size = STACK_BYTES;
	co->place.beginning.uc_link = NULL;
	makecontext(&co->place.beginning, co_entry, 0);
}

static struct co *make_co(const char *name, void (*fn)(void *arg), void *arg)
{
	struct co *co = free_co();

	if (!co->stack)
		co->stack = malloc(STACK_BYTES);
	assert(co->stack);
	co->used = true;
	co->over = co->lives = co->woken = co->early = false;
	co->fn = fn;
	co->arg = arg;
	(void)snprintf(co->name, sizeof(co->name), "%s", name);
	make_context(co);
	return co;
}

struct co *co_new(const char *name, void (*fn)(void *arg), void *arg)
{
	struct co *co = make_co(name, fn, arg);

	co->lives = true;
	s.alive++;
	set_alarm(co, sim_below(1000), false);
	return co;
}

void co_run(const char *name, void (*fn)(void *arg), void *arg)
{
	resume(make_co(name, fn, arg));
}

struct co *co_self(void)
{
	return s.current;
}

bool co_wait(uint64_t ns)
{
	struct co *co = s.current;
	bool woken;

	set_alarm(co, co->woken ? sim_below(500) : ns, false);
	co->woken = false;
	suspend();
	woken = co->woken;
	co->woken = false;
	return woken;
}

void co_sleep(uint64_t ns)
{
	struct co *co = s.current;

	set_alarm(co, ns, co->woken);
	co->asleep = true;
	suspend();
	co->asleep = false;
}

void co_wake(struct co *co)
{
	uint64_t ns;

	if (!co || co->over || !co->used || co->woken)
		return;
	if (!co->waiting || co->asleep) {
		co->woken = co->early = true;
		return;
	}
	/* The more there is to look at, the sooner. */
	ns = sim_below(2000);
	if (sim_now + ns < co->at)
		set_alarm(co, ns, true);
}

unsigned int co_alive(void)
{
	return s.alive;
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

/* The first event or alarm. */
static uint64_t next_ns(void)
{
	uint64_t at = s.count > 0 ? s.heap[1].at : NEVER;

	return s.alarm ? min_u64(at, s.alarm->at) : at;
}

static void run_next(void)
{
	if (s.alarm && (s.count == 0 || s.alarm->at <= s.heap[1].at)) {
		ring();
	} else {
		struct event e = pop();

		e.fn(e.arg);
	}
}

bool sched_step(uint64_t until_ns)
{
	uint64_t at = next_ns(), loops_at;
	unsigned int ready = threads_ready(&loops_at);

	if (!ready && at > sim_now) {
		if (min_u64(at, loops_at) > until_ns || min_u64(at, loops_at) == NEVER)
			return false;
		sim_now = min_u64(at, loops_at);
		if (loops_at <= sim_now)
			ready = threads_ready(&loops_at);
	}
	s.steps++;
	if (at <= sim_now && (!ready || sim_below(ready + 1) == 0)) {
		run_next();
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
	s.count = 0; /* of what was looked for in time, and is over */
	for (unsigned int i = 0; i < MAX_CO; i++)
		s.cos[i].used = false;
}
