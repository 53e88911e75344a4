// SPDX-License-Identifier: BSD-3-Clause
/* The pool: order, urgency, replies, threads, and an end that loses no work. */
#include "leaks.h"

#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "util/pool.h"

#define WORKS 1000

struct job {
	struct work work;
	int id;
	bool ran, done;
	char thread_name[16];
	int signals_blocked;
};

static struct loop *loop;
static struct pool *pool;
static struct job jobs[WORKS];
static int ran[WORKS], n_ran; /* of one-thread pools: read after a done, or after pool_free() */
static int n_done;	      /* the loop's thread */
static atomic_int n_freed;
static sem_t running, gate;

static int setup(void **state)
{
	memset(jobs, 0, sizeof(jobs));
	for (int i = 0; i < WORKS; i++)
		jobs[i].id = i;
	n_ran = n_done = 0;
	atomic_store(&n_freed, 0);
	(void)sem_init(&running, 0, 0);
	(void)sem_init(&gate, 0, 0);
	return leaks_setup(state) || loop_new("asker", &loop) ? -1 : 0;
}

static int teardown(void **state)
{
	/* The loop of setup() is no leak: it came after the count. */
	loop_free(loop);
	return leaks_teardown(state);
}

static void run_job(struct work *work)
{
	struct job *job = container_of(work, struct job, work);

	assert(!loop_is_current(loop)); /* cmocka knows only its own thread */
	job->ran = true;
}

static void run_in_order(struct work *work)
{
	run_job(work);
	ran[n_ran++] = container_of(work, struct job, work)->id;
}

static void run_at_gate(struct work *work)
{
	run_job(work);
	(void)sem_post(&running);
	(void)sem_wait(&gate);
}

static void *open_gate(void *arg)
{
	usleep(20000);
	(void)sem_post(&gate);
	return arg;
}

static void job_done(struct work *work)
{
	struct job *job = container_of(work, struct job, work);

	assert_true(loop_is_current(loop));
	assert_true(job->ran && !job->done);
	job->done = true;
	n_done++;
}

static void wait_done(int count)
{
	uint64_t give_up_ns = now_ns() + 30 * NS_PER_S;

	while (n_done < count && now_ns() < give_up_ns)
		loop_turn(loop, 1000);
	assert_int_equal(n_done, count);
}

static void test_replies(void **state)
{
	(void)state;
	assert_int_equal(pool_new("many", 4, &pool), 0);
	for (int i = 0; i < WORKS; i++)
		pool_submit(pool, &jobs[i].work, i % 3 ? POOL_NORMAL : POOL_URGENT, run_job,
			    job_done, loop);
	wait_done(WORKS);
	pool_free(pool);
}

static void test_urgent_first(void **state)
{
	static const int expected[] = {5, 6, 1, 2, 3, 4};

	(void)state;
	assert_int_equal(pool_new("one", 1, &pool), 0);
	pool_submit(pool, &jobs[0].work, POOL_NORMAL, run_at_gate, job_done, loop);
	(void)sem_wait(&running);
	for (int i = 1; i <= 6; i++)
		pool_submit(pool, &jobs[i].work, i >= 5 ? POOL_URGENT : POOL_NORMAL, run_in_order,
			    job_done, loop);
	(void)sem_post(&gate);
	wait_done(7);
	assert_int_equal(n_ran, 6);
	assert_memory_equal(ran, expected, sizeof(expected));
	pool_free(pool);
}

static void test_hurry(void **state)
{
	static const int expected[] = {5, 3, 1, 2, 4};

	(void)state;
	assert_int_equal(pool_new("one", 1, &pool), 0);
	pool_submit(pool, &jobs[0].work, POOL_NORMAL, run_at_gate, job_done, loop);
	(void)sem_wait(&running);
	for (int i = 1; i <= 5; i++)
		pool_submit(pool, &jobs[i].work, i == 5 ? POOL_URGENT : POOL_NORMAL, run_in_order,
			    job_done, loop);
	pool_hurry(pool, &jobs[3].work);
	pool_hurry(pool, &jobs[0].work); /* runs already */
	(void)sem_post(&gate);
	wait_done(6);
	pool_hurry(pool, &jobs[0].work); /* is over */
	assert_int_equal(n_ran, 5);
	assert_memory_equal(ran, expected, sizeof(expected));
	pool_free(pool);
}

/* One thread never does bulk work; what is normal and what is bulk take turns elsewhere. */
static void test_bulk(void **state)
{
	(void)state;
	assert_int_equal(pool_new("three", 3, &pool), 0);
	for (int i = 0; i < 10; i++)
		pool_submit(pool, &jobs[i].work, POOL_BULK, run_at_gate, job_done, loop);
	(void)sem_wait(&running);
	(void)sem_wait(&running);
	for (int i = 10; i < 20; i++)
		pool_submit(pool, &jobs[i].work, i % 2 ? POOL_URGENT : POOL_NORMAL, run_in_order,
			    job_done, loop);
	wait_done(10);
	assert_int_not_equal(sem_trywait(&running), 0);
	/* Somebody waits for the last one, and for none of the others. */
	pool_hurry(pool, &jobs[9].work);
	(void)sem_wait(&running);
	assert_true(jobs[9].ran && !jobs[8].ran);
	for (int i = 0; i < 10; i++)
		(void)sem_post(&gate);
	wait_done(20);
	pool_free(pool);
}

static void test_turns(void **state)
{
	static const int expected[] = {9, 5, 1, 6, 2, 7, 3, 8, 4};

	(void)state;
	assert_int_equal(pool_new("one", 1, &pool), 0);
	pool_submit(pool, &jobs[0].work, POOL_NORMAL, run_at_gate, job_done, loop);
	(void)sem_wait(&running);
	for (int i = 1; i <= 9; i++)
		pool_submit(pool, &jobs[i].work,
			    i == 9  ? POOL_URGENT
			    : i > 4 ? POOL_BULK
				    : POOL_NORMAL,
			    run_in_order, job_done, loop);
	(void)sem_post(&gate);
	wait_done(10);
	assert_int_equal(n_ran, 9);
	assert_memory_equal(ran, expected, sizeof(expected));
	pool_free(pool);
}

/* The end comes while more of it waits than may be done at once. */
static void test_free_runs_bulk(void **state)
{
	pthread_t opener;

	(void)state;
	assert_int_equal(pool_new("two", 2, &pool), 0);
	for (int i = 0; i < WORKS; i++)
		pool_submit(pool, &jobs[i].work, POOL_BULK, i ? run_in_order : run_at_gate,
			    job_done, loop);
	(void)sem_wait(&running);
	assert_int_equal(pthread_create(&opener, NULL, open_gate, NULL), 0);
	pool_free(pool);
	(void)pthread_join(opener, NULL);
	assert_int_equal(n_ran, WORKS - 1);
	for (int i = 1; i < WORKS; i++)
		assert_int_equal(ran[i - 1], i);
	wait_done(WORKS);
}

/* Two jobs that wait for each other's start: only two threads get through. */
static void test_in_parallel(void **state)
{
	(void)state;
	assert_int_equal(pool_new("two", 2, &pool), 0);
	for (int i = 0; i < 2; i++)
		pool_submit(pool, &jobs[i].work, POOL_NORMAL, run_at_gate, job_done, loop);
	(void)sem_wait(&running);
	(void)sem_wait(&running);
	(void)sem_post(&gate);
	(void)sem_post(&gate);
	wait_done(2);
	pool_free(pool);
}

static void resubmit(struct work *work)
{
	job_done(work);
	if (n_done == 100)
		return;
	container_of(work, struct job, work)->done = false;
	pool_submit(pool, work, POOL_NORMAL, run_job, resubmit, loop);
}

static void test_submit_again_from_done(void **state)
{
	(void)state;
	assert_int_equal(pool_new("again", 2, &pool), 0);
	pool_submit(pool, &jobs[0].work, POOL_NORMAL, run_job, resubmit, loop);
	wait_done(100);
	pool_free(pool);
}

static void run_and_free(struct work *work)
{
	free(work);
	atomic_fetch_add(&n_freed, 1);
}

static void test_free_runs_the_rest(void **state)
{
	(void)state;
	assert_int_equal(pool_new("rest", 1, &pool), 0);
	for (int i = 0; i < WORKS; i++) {
		struct work *work = malloc(sizeof(*work));

		assert_non_null(work);
		pool_submit(pool, work, POOL_NORMAL, run_and_free, NULL, NULL);
		pool_submit(pool, &jobs[i].work, POOL_NORMAL, run_in_order, job_done, loop);
	}
	pool_free(pool);
	assert_int_equal(atomic_load(&n_freed), WORKS);
	assert_int_equal(n_ran, WORKS);
	for (int i = 0; i < WORKS; i++)
		assert_int_equal(ran[i], i);
	wait_done(WORKS);
}

static void run_submits_more(struct work *work)
{
	run_at_gate(work);
	pool_submit(pool, &jobs[1].work, POOL_NORMAL, run_job, job_done, loop);
}

/* Work that submits work while pool_free() waits for it. */
static void test_submit_during_free(void **state)
{
	pthread_t opener;

	(void)state;
	assert_int_equal(pool_new("more", 2, &pool), 0);
	pool_submit(pool, &jobs[0].work, POOL_NORMAL, run_submits_more, job_done, loop);
	(void)sem_wait(&running);
	assert_int_equal(pthread_create(&opener, NULL, open_gate, NULL), 0);
	pool_free(pool);
	(void)pthread_join(opener, NULL);
	wait_done(2);
}

static void run_looks_around(struct work *work)
{
	struct job *job = container_of(work, struct job, work);
	sigset_t mask;

	(void)pthread_getname_np(pthread_self(), job->thread_name, sizeof(job->thread_name));
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	job->signals_blocked = sigismember(&mask, SIGTERM) + sigismember(&mask, SIGINT) +
			       sigismember(&mask, SIGUSR1);
	run_at_gate(work);
}

static void test_threads(void **state)
{
	unsigned int seen = 0;
	sigset_t mask;

	(void)state;
	assert_int_equal(pool_new("a-rather-long-name", 3, &pool), 0);
	for (int i = 0; i < 3; i++)
		pool_submit(pool, &jobs[i].work, POOL_NORMAL, run_looks_around, job_done, loop);
	for (int i = 0; i < 3; i++)
		(void)sem_wait(&running);
	for (int i = 0; i < 3; i++)
		(void)sem_post(&gate);
	wait_done(3);
	for (int i = 0; i < 3; i++) {
		assert_memory_equal(jobs[i].thread_name, "a-rather-long/", 14);
		seen |= 1u << (jobs[i].thread_name[14] - '0');
		assert_int_equal(jobs[i].signals_blocked, 3);
	}
	assert_int_equal(seen, 7);
	pool_free(pool);
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	assert_false(sigismember(&mask, SIGTERM));
}

#define WINDOW_US 20000

/* Processor time of the process in a while in which this thread sleeps. */
static uint64_t busy_ns(void)
{
	struct timespec before, after;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	(void)usleep(WINDOW_US);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	return (uint64_t)(after.tv_sec - before.tv_sec) * NS_PER_S + (uint64_t)after.tv_nsec -
	       (uint64_t)before.tv_nsec;
}

/* Threads that sleep get up for it, work is done as ever, and then they sleep again. */
static void test_stay_awake(void **state)
{
	(void)state;
	assert_int_equal(pool_new("awake", 1, &pool), 0);
	for (int i = 0; i < 2; i++) {
		while (busy_ns() > NS_PER_MS)
			;
		pool_stay_awake(pool, now_ns() + 60 * NS_PER_S);
		while (busy_ns() < 2 * NS_PER_MS)
			;
		(void)sem_post(&gate);
		pool_submit(pool, &jobs[i].work, POOL_NORMAL, run_looks_around, job_done, loop);
		wait_done(i + 1);
		/* Called off, or over. */
		pool_stay_awake(pool, i == 0 ? 0 : now_ns() + NS_PER_MS);
	}
	while (busy_ns() > NS_PER_MS)
		;
	pool_free(pool);
}

static void test_idle(void **state)
{
	(void)state;
	assert_int_equal(pool_new("idle", 8, &pool), 0);
	pool_free(pool);
	pool_free(NULL);
}

#define pool_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		pool_test(test_replies),
		pool_test(test_urgent_first),
		pool_test(test_hurry),
		pool_test(test_bulk),
		pool_test(test_turns),
		pool_test(test_free_runs_bulk),
		pool_test(test_in_parallel),
		pool_test(test_submit_again_from_done),
		pool_test(test_free_runs_the_rest),
		pool_test(test_submit_during_free),
		pool_test(test_threads),
		pool_test(test_stay_awake),
		pool_test(test_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
