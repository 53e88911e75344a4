// SPDX-License-Identifier: BSD-3-Clause
/* Timers of a loop: in order, never early, and asleep until then, on an old kernel too. */
#include "leaks.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "util/loop.h"

static struct loop *loop;

/* Instead of the C library's: an old kernel on request. */
static atomic_bool old_kernel;
static atomic_int looks, old_looks;

int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
		 const sigset_t *mask)
{
	assert(!mask);
	atomic_fetch_add(&looks, 1);
	if (atomic_load(&old_kernel)) {
		errno = ENOSYS;
		return -1;
	}
	return (int)syscall(SYS_epoll_pwait2, epfd, events, max, timeout, NULL, (size_t)8);
}

int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms)
{
	atomic_fetch_add(&old_looks, 1);
	return epoll_pwait(epfd, events, max, timeout_ms, NULL);
}

static int setup(void **state)
{
	return leaks_setup(state) || loop_new("a-loop-for-tests", &loop) ? -1 : 0;
}

static int teardown(void **state)
{
	loop_free(loop);
	return leaks_teardown(state);
}

#define TIMERS 1000

struct alarm {
	struct loop_timer timer;
	int id;
	int fired;
	uint64_t early_ns;
};

static struct alarm alarms[TIMERS];
static int order[TIMERS], n_fired;

static void alarm_fire(struct loop_timer *timer)
{
	struct alarm *alarm = container_of(timer, struct alarm, timer);
	uint64_t now = now_ns();

	assert_false(loop_timer_armed(timer));
	alarm->early_ns = now < timer->deadline_ns ? timer->deadline_ns - now : 0;
	alarm->fired++;
	if (n_fired < TIMERS)
		order[n_fired] = alarm->id;
	n_fired++;
}

static void reset_alarms(void)
{
	memset(alarms, 0, sizeof(alarms));
	n_fired = 0;
	for (int i = 0; i < TIMERS; i++) {
		alarms[i].id = i;
		alarms[i].timer.fn = alarm_fire;
	}
}

static void test_timer_order(void **state)
{
	uint64_t now = now_ns();
	int i;

	(void)state;
	reset_alarms();
	for (i = 0; i < TIMERS; i++)
		loop_timer_set(loop, &alarms[i].timer, now + NS_PER_S + (uint64_t)i);
	/* Moved and taken out in a scattered order: 7 and 1,000 share no divisor. */
	for (i = 0; i < TIMERS; i++) {
		int k = i * 7 % TIMERS;

		loop_timer_set(loop, &alarms[k].timer, now - (uint64_t)(k * 37 % TIMERS));
		if (k % 3 == 0)
			loop_timer_cancel(loop, &alarms[k].timer);
	}
	loop_turn(loop, 0);
	assert_int_equal(n_fired, TIMERS - (TIMERS + 2) / 3);
	for (i = 0; i < TIMERS; i++) {
		assert_int_equal(alarms[i].fired, i % 3 != 0);
		assert_false(loop_timer_armed(&alarms[i].timer));
	}
	for (i = 1; i < n_fired; i++)
		assert_true(alarms[order[i - 1]].timer.deadline_ns <=
			    alarms[order[i]].timer.deadline_ns);
}

static void sleep_for_timers(void)
{
	reset_alarms();
	for (int i = 0; i < 20; i++) {
		uint64_t start = now_ns();

		loop_timer_set(loop, &alarms[i].timer, start + 300 * NS_PER_US);
		while (!alarms[i].fired)
			loop_turn(loop, -1);
		assert_int_equal(alarms[i].early_ns, 0);
		assert_true(now_ns() - start < 10 * NS_PER_S);
	}
}

static void test_timer_sleep(void **state)
{
	(void)state;
	atomic_store(&looks, 0);
	sleep_for_timers();
	/* Sleeping, not spinning: about one call for each timer. */
	assert_in_range(atomic_load(&looks), 20, 100);
}

static void fire_and_cancel_next(struct loop_timer *timer)
{
	alarm_fire(timer);
	loop_timer_cancel(loop, &alarms[container_of(timer, struct alarm, timer)->id + 1].timer);
}

static void fire_and_repeat(struct loop_timer *timer)
{
	alarm_fire(timer);
	loop_timer_set(loop, timer, 0);
}

static void test_timer_in_timer(void **state)
{
	(void)state;
	reset_alarms();
	alarms[0].timer.fn = fire_and_cancel_next;
	alarms[2].timer.fn = fire_and_repeat;
	for (uint64_t i = 0; i < 4; i++)
		loop_timer_set(loop, &alarms[i].timer, i + 1);
	loop_turn(loop, 0);
	/* The one for ever in the past had its turn, and so had the one behind it. */
	assert_int_equal(alarms[0].fired, 1);
	assert_int_equal(alarms[1].fired, 0);
	assert_int_equal(alarms[2].fired, 1);
	assert_int_equal(alarms[3].fired, 1);
	assert_int_equal(alarms[2].timer.deadline_ns, 0);
	loop_turn(loop, -1);
	assert_true(alarms[2].fired >= 2);
	loop_timer_cancel(loop, &alarms[2].timer);
	loop_timer_cancel(loop, &alarms[2].timer);
	assert_false(loop_timer_armed(&alarms[2].timer));
}

/* Last: the loop never tries the call again. */
static void test_old_kernel(void **state)
{
	(void)state;
	atomic_store(&old_kernel, true);
	atomic_store(&looks, 0);
	sleep_for_timers();
	assert_int_equal(atomic_load(&looks), 1);
	/* A part of a millisecond is slept through, not spun through. */
	assert_in_range(atomic_load(&old_looks), 20, 100);
}

#define loop_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		loop_test(test_timer_order),
		loop_test(test_timer_sleep),
		loop_test(test_timer_in_timer),
		loop_test(test_old_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
