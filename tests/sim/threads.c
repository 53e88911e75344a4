// SPDX-License-Identifier: BSD-3-Clause
/*
 * Loops and pools without threads: the scheduler runs one message, one batch of timers, one poll or
 * one descriptor of a loop at a time, of whichever loop the seed says. Everything between threads of
 * the target goes by messages, so that every order that threads could bring about is one of these.
 * Timers are util's own heap.
 */
#include "sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "util/pool.h"
#include "util/timer_heap.h"

#define MAX_LOOPS 8
#define MAX_FDS	  64
#define FIRST_FD  1000000
#define MAX_POOL  4

struct loop {
	char name[24];
	struct loop_msg *first, **last;
	struct timer_heap timers;
	struct list pollers;
	bool poll;	       /* something came that a poller should see */
	struct list ready_fds; /* struct watched */
	uint64_t lull_ns;      /* it is not run before */
	uint64_t ready_ns;     /* when it has something to do and is run, or NEVER */
	bool started;
};

struct watched {
	struct list link;
	struct loop_fd *lfd;
	struct loop *loop;
	uint32_t events;
	bool pending;
};

struct pool_thread {
	struct pool *pool;
	struct work *work;
	bool busy, bulk;
};

struct pool {
	char name[24];
	struct list urgent, normal, bulk;
	unsigned int nr_bulk;
	bool bulk_turn;
	bool registers;
	unsigned int threads;
	struct pool_thread thread[MAX_POOL];
};

/* Whose code runs: a loop's, a pool's (IN_POOL), or the simulator's own. */
static struct loop in_pool;
#define IN_POOL (&in_pool)

static struct {
	struct loop *loops[MAX_LOOPS];
	unsigned int nr_loops;
	struct watched fds[MAX_FDS];
	int next_fd;
	struct loop *current;
	const struct pool *pool; /* whose code runs, if it is one's */
} t;

void threads_begin(void)
{
	memset(&t, 0, sizeof(t));
}

void threads_end(void)
{
	if (t.nr_loops > 0)
		sim_fail(P_STUCK, "a loop is left over");
}

/* After each change of what it has to do. */
static void look(struct loop *l)
{
	uint64_t at = timer_heap_next_ns(&l->timers);

	if (l->first || (l->poll && !list_empty(&l->pollers)) || !list_empty(&l->ready_fds))
		at = 0;
	l->ready_ns = at == NEVER ? NEVER : max_u64(at, l->lull_ns);
}

/* ---- descriptors ---- */

int sim_fd_new(void)
{
	return FIRST_FD + t.next_fd++ % MAX_FDS;
}

static struct watched *watched_of(int fd)
{
	assert(fd >= FIRST_FD && fd < FIRST_FD + (int)MAX_FDS);
	return &t.fds[fd - FIRST_FD];
}

void sim_fd_kick(int fd)
{
	struct watched *wd = watched_of(fd);

	wd->pending = true;
	if (!wd->lfd)
		return;
	wd->loop->poll = true;
	if (wd->events & EPOLLIN && list_empty(&wd->link))
		list_push(&wd->loop->ready_fds, &wd->link);
	look(wd->loop);
}

int loop_add_fd(struct loop *loop, struct loop_fd *lfd, uint32_t events)
{
	struct watched *wd = watched_of(lfd->fd);

	assert(loop_is_current(loop) && !wd->lfd);
	*wd = (struct watched){.lfd = lfd, .loop = loop, .events = events};
	list_init(&wd->link);
	lfd->loop = loop;
	return 0;
}

int loop_mod_fd(struct loop *loop, struct loop_fd *lfd, uint32_t events)
{
	struct watched *wd = watched_of(lfd->fd);

	assert(wd->lfd == lfd && wd->loop == loop && loop_is_current(loop));
	wd->events = events;
	if (events & EPOLLIN && wd->pending && list_empty(&wd->link))
		list_push(&loop->ready_fds, &wd->link);
	else if (!(events & EPOLLIN))
		list_del(&wd->link);
	look(loop);
	return 0;
}

void loop_del_fd(struct loop *loop, struct loop_fd *lfd)
{
	struct watched *wd = watched_of(lfd->fd);

	assert(wd->lfd == lfd && wd->loop == loop && loop_is_current(loop));
	list_del(&wd->link);
	look(loop);
	wd->lfd = NULL;
	lfd->loop = NULL;
}

/* ---- loops ---- */

int loop_new(const char *name, struct loop **loop)
{
	struct loop *l = calloc(1, sizeof(*l));

	assert(l && t.nr_loops < MAX_LOOPS);
	(void)snprintf(l->name, sizeof(l->name), "%s", name);
	l->last = &l->first;
	list_init(&l->pollers);
	list_init(&l->ready_fds);
	if (timer_heap_init(&l->timers) != 0)
		abort();
	look(l);
	t.loops[t.nr_loops++] = l;
	*loop = l;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	if (timer_heap_next_ns(&loop->timers) != NEVER)
		sim_fail(P_STUCK, "a timer is left over on %s", loop->name);
	if (loop->first)
		sim_fail(P_STUCK, "a message is left over on %s", loop->name);
	timer_heap_fini(&loop->timers);
	for (unsigned int i = 0; i < t.nr_loops; i++) {
		if (t.loops[i] != loop)
			continue;
		t.loops[i] = t.loops[--t.nr_loops];
		break;
	}
	free(loop);
}

int loop_start(struct loop *loop)
{
	loop->started = true;
	return 0;
}

void loop_join(struct loop *loop)
{
	loop->started = false;
}

bool loop_is_current(const struct loop *loop)
{
	return t.current == loop || !t.current;
}

void loop_post(struct loop *loop, struct loop_msg *msg, void (*fn)(struct loop_msg *msg))
{
	msg->fn = fn;
	msg->next = NULL;
	*loop->last = msg;
	loop->last = &msg->next;
	look(loop);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns)
{
	assert(loop_is_current(loop));
	timer_heap_set(&loop->timers, timer, deadline_ns);
	look(loop);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	assert(loop_is_current(loop));
	timer_heap_cancel(&loop->timers, timer);
	look(loop);
}

void loop_add_poller(struct loop *loop, struct loop_poller *poller)
{
	list_push(&loop->pollers, &poller->link);
	loop->poll = true;
	look(loop);
}

void loop_del_poller(struct loop *loop, struct loop_poller *poller)
{
	list_del(&poller->link);
	look(loop);
}

void loop_stay_awake(struct loop *loop, uint64_t until_ns)
{
	(void)loop;
	(void)until_ns;
}

void loop_set_spin(struct loop *loop, uint64_t spin_ns)
{
	(void)loop;
	(void)spin_ns;
}

unsigned int threads_ready(uint64_t *next_ns)
{
	uint64_t next = NEVER;
	unsigned int n = 0;

	for (unsigned int i = 0; i < t.nr_loops; i++) {
		n += t.loops[i]->ready_ns <= sim_now;
		next = min_u64(next, t.loops[i]->ready_ns);
	}
	*next_ns = next;
	return n;
}

static bool run_pollers(struct loop *l, bool arm)
{
	bool worked = false;
	struct list *p, *next;

	list_for_each_safe (p, next, &l->pollers) {
		struct loop_poller *poller = list_entry(p, struct loop_poller, link);

		if (arm)
			poller->arm(poller);
		worked |= poller->poll(poller);
	}
	return worked;
}

static void run_one(struct loop *l)
{
	struct loop_msg *msg = l->first;
	struct list *ready_fd;

	if (msg && sim_below(4) != 0) {
		l->first = msg->next;
		if (!l->first)
			l->last = &l->first;
		msg->fn(msg);
		return;
	}
	if (timer_heap_run(&l->timers, sim_now))
		return;
	ready_fd = list_pop(&l->ready_fds);
	if (ready_fd) {
		struct watched *wd = list_entry(ready_fd, struct watched, link);

		if (wd->events & EPOLLONESHOT)
			wd->events = 0;
		wd->pending = false;
		wd->lfd->fn(wd->lfd, EPOLLIN);
		return;
	}
	if (l->poll && !list_empty(&l->pollers)) {
		l->poll = false;
		if (run_pollers(l, false) || run_pollers(l, true))
			l->poll = true;
	}
}

void threads_step(unsigned int ready)
{
	unsigned int which = (unsigned int)sim_below(ready);

	for (unsigned int i = 0; i < t.nr_loops; i++) {
		struct loop *l = t.loops[i];

		if (l->ready_ns > sim_now || which-- > 0)
			continue;
		t.current = l;
		run_one(l);
		t.current = NULL;
		if (sim_below(400) == 0)
			l->lull_ns = sim_now + sim_delay(w.lull_ns);
		look(l);
		break;
	}
}

void sim_on_loop(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct loop *was = t.current;

	t.current = loop;
	fn(arg);
	t.current = was;
}

/* ---- pools ---- */

void sim_pause(void)
{
	const struct pool *pool = t.pool;

	if (t.current != IN_POOL || w.work_ns == 0)
		return;
	t.current = NULL;
	co_sleep(sim_delay(pool->registers ? w.registration_ns : w.work_ns));
	t.current = IN_POOL;
	t.pool = pool;
}

static void pool_wake(struct pool *pool);

static void call_done(struct loop_msg *msg)
{
	struct work *work = container_of(msg, struct work, msg);

	work->done(work);
}

static void work_over(void *arg)
{
	struct pool_thread *thread = arg;
	struct work *work = thread->work;

	thread->work = NULL;
	thread->busy = false;
	thread->pool->nr_bulk -= thread->bulk;
	thread->bulk = false;
	if (work)
		loop_post(work->reply, &work->msg, call_done);
	pool_wake(thread->pool);
}

static void work_run(void *arg)
{
	struct pool_thread *thread = arg;
	struct work *work = thread->work;
	bool reply = work->done != NULL;

	t.current = IN_POOL;
	t.pool = thread->pool;
	work->run(work);
	t.current = NULL;
	if (!reply) /* and the work may be gone */
		thread->work = NULL;
	sim_after(sim_delay(w.lull_ns / 4), work_over, thread);
}

/* Bulk work is never done by all of them, where there are several. */
static bool may_bulk(const struct pool *pool)
{
	return !list_empty(&pool->bulk) &&
	       (pool->nr_bulk + 1 < pool->threads || pool->nr_bulk == 0);
}

static struct list *work_next(struct pool_thread *thread)
{
	struct pool *pool = thread->pool;
	struct list *l = list_pop(&pool->urgent);

	thread->bulk = !l && may_bulk(pool) && (pool->bulk_turn || list_empty(&pool->normal));
	if (l)
		return l;
	pool->nr_bulk += thread->bulk;
	pool->bulk_turn = !thread->bulk;
	return list_pop(thread->bulk ? &pool->bulk : &pool->normal);
}

static void work_begin(void *arg)
{
	struct pool_thread *thread = arg;
	struct list *l = work_next(thread);

	if (!l) {
		thread->busy = false;
		return;
	}
	thread->work = list_entry(l, struct work, link);
	if (w.work_ns > 0)
		co_run(thread->pool->name, work_run, thread);
	else
		work_run(thread);
}

static void pool_next(struct pool_thread *thread)
{
	const struct pool *pool = thread->pool;

	if (thread->busy ||
	    (list_empty(&pool->urgent) && list_empty(&pool->normal) && !may_bulk(pool)))
		return;
	thread->busy = true;
	sim_after(sim_delay(w.lull_ns / 4), work_begin, thread);
}

static void pool_wake(struct pool *pool)
{
	for (unsigned int i = 0; i < pool->threads; i++)
		pool_next(&pool->thread[i]);
}

int pool_new(const char *name, unsigned int threads, struct pool **pool)
{
	struct pool *p = calloc(1, sizeof(*p));

	assert(p && threads <= MAX_POOL);
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
	list_init(&p->urgent);
	list_init(&p->normal);
	list_init(&p->bulk);
	p->registers = strcmp(name, "registrar") == 0;
	p->threads = threads;
	for (unsigned int i = 0; i < threads; i++)
		p->thread[i].pool = p;
	*pool = p;
	return 0;
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	for (unsigned int i = 0; i < pool->threads; i++)
		if (pool->thread[i].busy)
			sim_fail(P_STUCK, "a pool is at work still");
	free(pool);
}

void pool_submit(struct pool *pool, struct work *work, enum pool_urgency urgency,
		 void (*run)(struct work *work), void (*done)(struct work *work),
		 struct loop *reply)
{
	work->run = run;
	work->done = done;
	work->reply = reply;
	list_push(urgency == POOL_URGENT ? &pool->urgent
		  : urgency == POOL_BULK ? &pool->bulk
					 : &pool->normal,
		  &work->link);
	pool_wake(pool);
}

void pool_hurry(struct pool *pool, struct work *work)
{
	if (list_empty(&work->link))
		return;
	list_del(&work->link);
	list_push(&pool->urgent, &work->link);
	pool_wake(pool);
}

void pool_stay_awake(struct pool *pool, uint64_t until_ns)
{
	(void)pool;
	(void)until_ns;
}
