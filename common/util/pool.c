// SPDX-License-Identifier: BSD-3-Clause
/*
 * Threads for what may block. The lock covers the lists, `ending` and what counts those at bulk work; it is
 * never held while work runs.
 */
#include "util/pool.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "util/thread.h"

struct pool_thread {
	struct pool *pool;
	unsigned int index;
	pthread_t thread;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list urgent, normal, bulk;
	unsigned int nr_bulk, most_bulk; /* threads that do it, or may */
	bool bulk_turn;			 /* if there is normal work, too */
	bool ending;
	uint64_t awake_ns; /* no sleep before that */

	char *name;
	unsigned int started;
	struct pool_thread threads[];
};

static void call_done(struct loop_msg *msg)
{
	struct work *work = container_of(msg, struct work, msg);

	work->done(work);
}

/* Under the lock, which others may have in between. */
static void wait_for_work(struct pool *pool)
{
	if (now_ns() >= pool->awake_ns) {
		(void)pthread_cond_wait(&pool->more, &pool->lock);
		return;
	}
	(void)pthread_mutex_unlock(&pool->lock);
	(void)sched_yield();
	(void)pthread_mutex_lock(&pool->lock);
}

static bool may_bulk(const struct pool *pool)
{
	return pool->nr_bulk < pool->most_bulk && !list_empty(&pool->bulk);
}

/* Under the lock. NULL: nothing that this thread may do. */
static struct list *next(struct pool *pool, bool *bulk)
{
	struct list *l = list_pop(&pool->urgent);

	*bulk = !l && may_bulk(pool) && (pool->bulk_turn || list_empty(&pool->normal));
	if (l)
		return l;
	l = list_pop(*bulk ? &pool->bulk : &pool->normal);
	pool->nr_bulk += *bulk;
	if (l)
		pool->bulk_turn = !*bulk;
	return l;
}

/* The next work, or NULL to end. `bulk`: whether the one before was, and this one is. */
static struct work *take(struct pool *pool, bool *bulk)
{
	struct list *l = NULL;

	(void)pthread_mutex_lock(&pool->lock);
	pool->nr_bulk -= *bulk;
	for (;;) {
		l = next(pool, bulk);
		/* Bulk work that is left has threads that come back for it. */
		if (l || pool->ending)
			break;
		wait_for_work(pool);
	}
	/* Who was woken for it when nobody might do it sleeps again. */
	if (may_bulk(pool))
		(void)pthread_cond_signal(&pool->more);
	(void)pthread_mutex_unlock(&pool->lock);
	return l ? list_entry(l, struct work, link) : NULL;
}

static void *thread_main(void *arg)
{
	struct pool_thread *thread = arg;
	struct pool *pool = thread->pool;
	struct work *work;
	bool bulk = false;
	char suffix[12];

	(void)snprintf(suffix, sizeof(suffix), "/%u", thread->index);
	thread_name_self(pool->name, suffix);
	while ((work = take(pool, &bulk))) {
		/* Without `done`, run may free the work. */
		bool reply = work->done != NULL;

		work->run(work);
		if (reply)
			loop_post(work->reply, &work->msg, call_done);
	}
	return NULL;
}

int pool_new(const char *name, unsigned int threads, struct pool **pool)
{
	struct pool *p = calloc(1, sizeof(*p) + threads * sizeof(p->threads[0]));

	assert(threads > 0);
	if (!p)
		return -ENOMEM;
	p->name = strdup(name);
	if (!p->name) {
		free(p);
		return -ENOMEM;
	}
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->more, NULL);
	list_init(&p->urgent);
	list_init(&p->normal);
	list_init(&p->bulk);
	p->most_bulk = threads > 1 ? threads - 1 : 1;
	for (; p->started < threads; p->started++) {
		struct pool_thread *thread = &p->threads[p->started];
		int err;

		*thread = (struct pool_thread){.pool = p, .index = p->started};
		err = thread_start(&thread->thread, thread_main, thread);
		if (err) {
			pool_free(p);
			return err;
		}
	}
	*pool = p;
	return 0;
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	(void)pthread_mutex_lock(&pool->lock);
	pool->ending = true;
	(void)pthread_cond_broadcast(&pool->more);
	(void)pthread_mutex_unlock(&pool->lock);
	for (unsigned int i = 0; i < pool->started; i++)
		(void)pthread_join(pool->threads[i].thread, NULL);
	assert(list_empty(&pool->urgent) && list_empty(&pool->normal) && list_empty(&pool->bulk));
	(void)pthread_cond_destroy(&pool->more);
	(void)pthread_mutex_destroy(&pool->lock);
	free(pool->name);
	free(pool);
}

void pool_submit(struct pool *pool, struct work *work, enum pool_urgency urgency,
		 void (*run)(struct work *work), void (*done)(struct work *work),
		 struct loop *reply)
{
	assert(!done || reply);
	work->run = run;
	work->done = done;
	work->reply = reply;
	(void)pthread_mutex_lock(&pool->lock);
	list_push(urgency == POOL_URGENT ? &pool->urgent
		  : urgency == POOL_BULK ? &pool->bulk
					 : &pool->normal,
		  &work->link);
	(void)pthread_cond_signal(&pool->more);
	(void)pthread_mutex_unlock(&pool->lock);
}

void pool_hurry(struct pool *pool, struct work *work)
{
	(void)pthread_mutex_lock(&pool->lock);
	/* What a thread has taken is in no list. */
	if (!list_empty(&work->link)) {
		list_del(&work->link);
		list_push(&pool->urgent, &work->link);
		/* There may be a thread that was not to do it. */
		(void)pthread_cond_signal(&pool->more);
	}
	(void)pthread_mutex_unlock(&pool->lock);
}

void pool_stay_awake(struct pool *pool, uint64_t until_ns)
{
	(void)pthread_mutex_lock(&pool->lock);
	pool->awake_ns = until_ns;
	if (until_ns)
		(void)pthread_cond_broadcast(&pool->more);
	(void)pthread_mutex_unlock(&pool->lock);
}
