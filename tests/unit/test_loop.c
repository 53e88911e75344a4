// SPDX-License-Identifier: BSD-3-Clause
/* One loop, turned by hand or run on its own thread: descriptors, running and stopping. */
#include "leaks.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>

#include "util/loop.h"

static struct loop *loop;

static int setup(void **state)
{
	return leaks_setup(state) || loop_new("a-loop-for-tests", &loop) ? -1 : 0;
}

static int teardown(void **state)
{
	loop_free(loop);
	return leaks_teardown(state);
}

/* Descriptors. */

struct tube {
	struct loop_fd lfd;
	int write_fd;
	int calls;
	uint32_t events;
	struct tube *del, *readd;
};

static void tube_ready(struct loop_fd *lfd, uint32_t events)
{
	struct tube *tube = container_of(lfd, struct tube, lfd);

	tube->calls++;
	tube->events |= events;
	if (tube->del) {
		loop_del_fd(loop, &tube->del->lfd);
		tube->del = NULL;
	}
	if (tube->readd) {
		loop_del_fd(loop, &tube->readd->lfd);
		assert_int_equal(loop_add_fd(loop, &tube->readd->lfd, EPOLLIN), 0);
		tube->readd = NULL;
	}
}

static void tube_new(struct tube *tube)
{
	int fds[2];

	memset(tube, 0, sizeof(*tube));
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	tube->lfd.fd = fds[0];
	tube->lfd.fn = tube_ready;
	tube->write_fd = fds[1];
	assert_int_equal(loop_add_fd(loop, &tube->lfd, EPOLLIN), 0);
	assert_ptr_equal(tube->lfd.loop, loop);
}

static void tube_free(struct tube *tube)
{
	if (tube->lfd.loop)
		loop_del_fd(loop, &tube->lfd);
	(void)close(tube->lfd.fd);
	(void)close(tube->write_fd);
}

static void test_fd(void **state)
{
	struct tube tube;
	char c;

	(void)state;
	tube_new(&tube);
	loop_turn(loop, 0);
	assert_int_equal(tube.calls, 0);
	assert_int_equal(write(tube.write_fd, "x", 1), 1);
	loop_turn(loop, -1);
	assert_int_equal(tube.calls, 1);
	assert_int_equal(tube.events, EPOLLIN);
	assert_int_equal(loop_mod_fd(loop, &tube.lfd, 0), 0);
	loop_turn(loop, 0);
	assert_int_equal(tube.calls, 1);
	assert_int_equal(loop_mod_fd(loop, &tube.lfd, EPOLLIN), 0);
	loop_turn(loop, -1);
	assert_int_equal(tube.calls, 2);
	assert_int_equal(read(tube.lfd.fd, &c, 1), 1);
	loop_turn(loop, 10);
	assert_int_equal(tube.calls, 2);
	assert_int_equal(loop_add_fd(loop, &tube.lfd, EPOLLIN), -EEXIST);
	tube_free(&tube);
	tube.lfd.fd = -1;
	assert_int_equal(loop_add_fd(loop, &tube.lfd, EPOLLIN), -EBADF);
}

/* Each takes the other off: whichever comes first, the other must not be called. */
static void test_fd_del_in_batch(void **state)
{
	struct tube a, b;

	(void)state;
	tube_new(&a);
	tube_new(&b);
	a.del = &b;
	b.del = &a;
	assert_int_equal(write(a.write_fd, "x", 1), 1);
	assert_int_equal(write(b.write_fd, "x", 1), 1);
	loop_turn(loop, -1);
	assert_int_equal(a.calls + b.calls, 1);
	a.del = b.del = NULL;
	loop_turn(loop, -1);
	assert_int_equal(a.calls * b.calls, 0);
	assert_int_equal(a.calls + b.calls, 2);
	tube_free(&a);
	tube_free(&b);
}

/* The old event of a struct used again is not delivered to the new descriptor. */
static void test_fd_readd_in_batch(void **state)
{
	struct tube a, b;

	(void)state;
	tube_new(&a);
	tube_new(&b);
	a.readd = &b;
	b.readd = &a;
	assert_int_equal(write(a.write_fd, "x", 1), 1);
	assert_int_equal(write(b.write_fd, "x", 1), 1);
	loop_turn(loop, -1);
	assert_int_equal(a.calls + b.calls, 1);
	a.readd = b.readd = NULL;
	loop_turn(loop, -1);
	assert_int_equal(a.calls + b.calls, 3);
	tube_free(&a);
	tube_free(&b);
}

static void test_fd_del_self(void **state)
{
	struct tube a;

	(void)state;
	tube_new(&a);
	a.del = &a;
	assert_int_equal(write(a.write_fd, "x", 1), 1);
	loop_turn(loop, -1);
	loop_turn(loop, 0);
	assert_int_equal(a.calls, 1);
	tube_free(&a);
}

/* Running and stopping. */

static void test_turn_times_out(void **state)
{
	uint64_t start = now_ns();

	(void)state;
	loop_turn(loop, 20);
	assert_true(now_ns() - start >= 20 * NS_PER_MS);
	loop_turn(loop, 0);
}

static void test_stop_before_run(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		loop_stop(loop);
		loop_run(loop);
	}
}

static void stop_at(struct loop_timer *timer)
{
	(void)timer;
	loop_stop(loop);
}

static void test_run_again(void **state)
{
	struct loop_timer timer = {.fn = stop_at};

	(void)state;
	for (int i = 0; i < 3; i++) {
		loop_timer_set(loop, &timer, now_ns() + NS_PER_MS);
		loop_run(loop);
		assert_false(loop_timer_armed(&timer));
	}
}

static void *stop_soon(void *arg)
{
	usleep(2000);
	loop_stop(arg);
	return NULL;
}

static void test_stop_from_outside(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, stop_soon, loop), 0);
		loop_run(loop);
		(void)pthread_join(thread, NULL);
	}
}

static struct {
	char name[16];
	bool current;
	int signals_blocked;
} seen;

static void look_around(struct loop_msg *msg)
{
	sigset_t mask;

	(void)msg;
	(void)pthread_getname_np(pthread_self(), seen.name, sizeof(seen.name));
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	seen.signals_blocked = sigismember(&mask, SIGTERM) + sigismember(&mask, SIGINT) +
			       sigismember(&mask, SIGUSR1);
	seen.current = loop_is_current(loop);
}

static void test_thread(void **state)
{
	sigset_t mask;

	(void)state;
	for (int i = 0; i < 50; i++) {
		struct loop_msg msg;

		memset(&seen, 0, sizeof(seen));
		assert_true(loop_is_current(loop));
		assert_int_equal(loop_start(loop), 0);
		assert_false(loop_is_current(loop));
		loop_post(loop, &msg, look_around);
		if (i % 2)
			loop_stop(loop);
		loop_join(loop);
		assert_true(loop_is_current(loop));
		assert_true(seen.current);
		assert_string_equal(seen.name, "a-loop-for-test");
		assert_int_equal(seen.signals_blocked, 3);
	}
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	assert_false(sigismember(&mask, SIGTERM));
}

#define loop_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		loop_test(test_fd),
		loop_test(test_fd_del_in_batch),
		loop_test(test_fd_readd_in_batch),
		loop_test(test_fd_del_self),
		loop_test(test_turn_times_out),
		loop_test(test_stop_before_run),
		loop_test(test_run_again),
		loop_test(test_stop_from_outside),
		loop_test(test_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
