// SPDX-License-Identifier: BSD-3-Clause
/* The watchdog: beats while all turn, none while one of them does not, and no sleep for a manager that does. */
#include "leaks.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "control/watchdog.h"

#define TIMEOUT_US ((uint64_t)100000)
#define BEAT_NS	   (TIMEOUT_US * NS_PER_US / 2)

static struct loop *control;
static struct watchdog *dog;
static int manager = -1;
static char address[64]; /* as $NOTIFY_SOCKET has it */
static sem_t entered, gate;

static void listen_at(const char *at)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	size_t length = strlen(at);

	assert_true(length < sizeof(sa.sun_path));
	memcpy(sa.sun_path, at, length);
	if (at[0] == '@')
		sa.sun_path[0] = 0;
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(manager >= 0);
	assert_int_equal(bind(manager, (struct sockaddr *)&sa,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)),
			 0);
}

static int setup(void **state)
{
	if (leaks_setup(state))
		return -1;
	(void)sem_init(&entered, 0, 0);
	(void)sem_init(&gate, 0, 0);
	(void)snprintf(address, sizeof(address), "@leasehold-test-watchdog-%d", (int)getpid());
	listen_at(address);
	assert_int_equal(loop_new("control", &control), 0);
	assert_int_equal(watchdog_new(control, TIMEOUT_US, address, &dog), 0);
	return 0;
}

static int teardown(void **state)
{
	watchdog_free(dog);
	loop_free(control);
	(void)close(manager);
	return leaks_teardown(state);
}

/* Those that have come since it was called last. */
static unsigned int beats(void)
{
	char text[64];
	unsigned int n = 0;
	ssize_t got;

	while ((got = recv(manager, text, sizeof(text), 0)) >= 0) {
		assert_int_equal(got, strlen("WATCHDOG=1"));
		assert_memory_equal(text, "WATCHDOG=1", (size_t)got);
		n++;
	}
	assert_int_equal(errno, EAGAIN);
	return n;
}

/* Runs the control loop for so many times of a beat, and says how many came. */
static unsigned int beats_in(unsigned int times)
{
	const uint64_t until = now_ns() + times * BEAT_NS;

	(void)beats();
	while (now_ns() < until)
		loop_turn(control, 5);
	return beats();
}

/* Until one comes, or it takes too long. */
static bool beats_again(void)
{
	for (unsigned int i = 0; i < 100; i++) {
		if (beats_in(1) > 0)
			return true;
	}
	return false;
}

static void stand_still(void)
{
	(void)sem_post(&entered);
	(void)sem_wait(&gate);
}

static void stop_in_message(struct loop_msg *msg)
{
	(void)msg;
	stand_still();
}

static void stop_in_work(struct work *work)
{
	(void)work;
	stand_still();
}

static atomic_bool asked, answers;

static void ask(void)
{
	atomic_store(&asked, !atomic_load(&answers));
}

static bool has_answered(void)
{
	return !atomic_load(&asked);
}

/* ---- the tests ------------------------------------------------------------------------------- */

static void test_beats(void **state)
{
	unsigned int n;

	(void)state;
	/* The first one at once. */
	loop_turn(control, 0);
	assert_int_equal(beats(), 1);
	n = beats_in(10);
	/* A machine that is busy may be late; never are there more than two in the time. */
	assert_in_range(n, 3, 11);
}

static void test_control_stands(void **state)
{
	const struct timespec ts = {.tv_nsec = (long)(4 * BEAT_NS)};

	(void)state;
	assert_true(beats_again());
	(void)nanosleep(&ts, NULL);
	assert_int_equal(beats(), 0);
}

static void test_loop_stands(void **state)
{
	struct loop_msg msg = {0};
	struct loop *other;

	(void)state;
	assert_int_equal(loop_new("other", &other), 0);
	assert_int_equal(loop_start(other), 0);
	watchdog_add_loop(dog, "other", other);
	assert_true(beats_again());
	assert_true(beats_again());
	loop_post(other, &msg, stop_in_message);
	(void)sem_wait(&entered);
	/* One may have been due for the probe that was back. */
	(void)beats_in(2);
	assert_int_equal(beats_in(6), 0);
	(void)sem_post(&gate);
	assert_true(beats_again());
	loop_join(other);
	loop_free(other);
}

/* As long as one of its threads turns all is well; then a pool is given time. */
static void test_pool_stands(void **state)
{
	struct work works[2] = {0};
	struct pool *pool;

	(void)state;
	assert_int_equal(pool_new("worker", 2, &pool), 0);
	watchdog_add_pool(dog, "every worker", pool);
	assert_true(beats_again());
	pool_submit(pool, &works[0], POOL_NORMAL, stop_in_work, NULL, NULL);
	(void)sem_wait(&entered);
	assert_true(beats_in(2 * WATCHDOG_SLOW_BEATS) >= WATCHDOG_SLOW_BEATS / 2);
	pool_submit(pool, &works[1], POOL_NORMAL, stop_in_work, NULL, NULL);
	(void)sem_wait(&entered);
	assert_true(beats_in(WATCHDOG_SLOW_BEATS / 2 + 1) > 2);
	(void)beats_in(WATCHDOG_SLOW_BEATS);
	assert_int_equal(beats_in(4), 0);
	(void)sem_post(&gate);
	assert_true(beats_again());
	(void)sem_post(&gate);
	pool_free(pool);
}

static void test_other_stands(void **state)
{
	(void)state;
	atomic_store(&answers, true);
	watchdog_add(dog, "it", ask, has_answered);
	assert_true(beats_again());
	assert_true(beats_again());
	atomic_store(&answers, false);
	(void)beats_in(2);
	assert_int_equal(beats_in(4), 0);
	atomic_store(&asked, false);
	atomic_store(&answers, true);
	assert_true(beats_again());
}

/* sd_notify(3) would sleep here, and the control loop with it. */
static void test_manager_sleeps(void **state)
{
	unsigned int turns = 0;
	char text[64];

	(void)state;
	for (const uint64_t until = now_ns() + 20 * BEAT_NS; now_ns() < until; turns++) {
		const uint64_t begun = now_ns();

		loop_turn(control, 5);
		assert_true(now_ns() - begun < NS_PER_S);
	}
	assert_true(turns > 0);
	/* The queue is full by now; who reads it hears of a daemon that is well. */
	while (recv(manager, text, sizeof(text), 0) >= 0)
		continue;
	assert_true(beats_again());
	/* One that was started anew is found by its name. */
	(void)close(manager);
	for (unsigned int i = 0; i < 20; i++)
		loop_turn(control, 10);
	listen_at(address);
	assert_true(beats_again());
}

static void test_addresses(void **state)
{
	char path[64], longer[200];
	struct watchdog *other = NULL;

	(void)state;
	memset(longer, 'x', sizeof(longer));
	longer[0] = '/';
	longer[sizeof(longer) - 1] = 0;
	assert_int_equal(watchdog_new(control, TIMEOUT_US, NULL, &other), -EINVAL);
	assert_int_equal(watchdog_new(control, 0, address, &other), -EINVAL);
	assert_int_equal(watchdog_new(control, UINT64_MAX, address, &other), -EINVAL);
	assert_int_equal(watchdog_new(control, TIMEOUT_US, "", &other), -EAFNOSUPPORT);
	assert_int_equal(watchdog_new(control, TIMEOUT_US, "vsock:2:1234", &other), -EAFNOSUPPORT);
	assert_int_equal(watchdog_new(control, TIMEOUT_US, "@", &other), -EINVAL);
	assert_int_equal(watchdog_new(control, TIMEOUT_US, longer, &other), -EINVAL);
	assert_null(other);
	(void)close(manager);
	(void)snprintf(path, sizeof(path), "/tmp/leasehold-test-watchdog-%d", (int)getpid());
	listen_at(path);
	assert_int_equal(watchdog_new(control, TIMEOUT_US, path, &other), 0);
	assert_true(beats_again());
	watchdog_free(other);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_beats, setup, teardown),
		cmocka_unit_test_setup_teardown(test_control_stands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loop_stands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pool_stands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_stands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_manager_sleeps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
