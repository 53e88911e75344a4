// SPDX-License-Identifier: BSD-3-Clause
/*
 * Recalls under the tenure `watch`, with the real rooms and a fake of the kernel's fanotify group:
 * nobody is let go on while a key of ours works, and everybody is answered in time.
 */
#include "grant_rig.h"
#include "watch_rig.h"

#include "iwarp/iwarp.h"
#include "util/log.h"

static struct fake_kernel kernel;
static struct rig rig;
static struct rig_client one;

static const unsigned int read_write = LH_GRANT_READ | LH_GRANT_WRITE;

static struct rig_options watched(void)
{
	struct rig_options options = rig_defaults;

	options.tenure = TENURE_WATCH;
	return options;
}

static void up(const struct rig_options *options)
{
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	kernel_up(&kernel);
	rig_up(&rig, options);
	rig_client_up(&rig, &one);
}

static void down(void)
{
	rig_client_down(&one);
	rig_down(&rig);
	kernel_down(&kernel);
}

static struct lh_grant must_acquire(void)
{
	struct grant_answer answer = rig_acquire(&one, 0, MIB(1), read_write);
	struct lh_grant g;

	assert_int_equal(answer.status, NVME_SC_SUCCESS);
	g = answer.grants[0];
	g.address = le64toh(g.address);
	g.rkey = le32toh(g.rkey);
	return g;
}

static bool works(const struct lh_grant *g)
{
	uint64_t byte = 7;

	return rig_write(&one, g->address, g->rkey, &byte, 8) == FABRIC_OK;
}

static int ask(uint64_t mask)
{
	return kernel_event(&kernel, in_dir("file"), SOMEBODY, mask, 0, KIB(4));
}

static void expect_answer(int fd, uint32_t response)
{
	struct fanotify_response r = {0};

	assert_true(kernel_answer(&kernel, RIG_WAIT_MS, &r));
	assert_int_equal(r.fd, fd);
	assert_int_equal(r.response, response);
}

/* Block work that hangs: the fence forgets it, we do not. */
static struct loop_msg *hung;

static void keep_quiesce(void *arg)
{
	(void)arg;
	hung = rig.quiesce_msg;
}

static void release_quiesce(void *arg)
{
	(void)arg;
	loop_post(rig.env.control, hung, rig.quiesce_fn);
}

/* The whole way: asked, told, released, let go on, settled, served again. The opener may stay. */
static void test_recall(void **state)
{
	struct rig_options options = watched();
	struct holding_status status;
	struct lh_grant g;
	int opened;

	(void)state;
	up(&options);
	assert_int_equal(rig_status(&rig).tenure, TENURE_WATCH);
	g = must_acquire();
	assert_true(works(&g));
	expect_answer(ask(FAN_OPEN_PERM), FAN_ALLOW);
	assert_false(works(&g));
	rig_client_reconnect(&one);
	opened = open(in_dir("file"), O_RDWR | O_CLOEXEC);
	assert_true(opened >= 0);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(status.recalls, 1);
	assert_int_equal(status.last.fenced_clients, 0);
	assert_int_equal(atomic_load(&one.told), 1);
	g = must_acquire();
	assert_true(works(&g));
	/* It truncates: another recall, and the new size. */
	expect_answer(ask(FAN_PRE_ACCESS), FAN_ALLOW);
	assert_int_equal(ftruncate(opened, RIG_BYTES / 2), 0);
	status = rig_wait(&rig, HOLDING_SERVING, 3);
	assert_int_equal(status.size_bytes, RIG_BYTES / 2);
	(void)close(opened);
	down();
}

/* Not before the deadline's fence, and then at once. */
static void test_silent_client(void **state)
{
	struct rig_options options = watched();
	struct fanotify_response r;
	struct lh_grant g;
	int fds[2];

	(void)state;
	options.deadline_ms = 400;
	up(&options);
	atomic_store(&one.answers, false);
	g = must_acquire();
	fds[0] = ask(FAN_PRE_ACCESS);
	fds[1] = ask(FAN_OPEN_PERM);
	assert_false(kernel_answer(&kernel, 200, &r));
	expect_answer(fds[0], FAN_ALLOW);
	expect_answer(fds[1], FAN_ALLOW);
	assert_false(works(&g));
	rig_client_reconnect(&one);
	assert_false(works(&g));
	assert_int_equal(rig_wait(&rig, HOLDING_SERVING, 2).last.fenced_clients, 1);
	rig_client_reconnect(&one);
	down();
}

/* No proof, for whatever reason: EBUSY at twice the deadline. With the proof who comes is let go on. */
static void test_no_proof(void **state)
{
	struct rig_options options = watched();
	struct fanotify_response r;
	uint64_t begun;
	int fd;

	(void)state;
	options.deadline_ms = 1000;
	up(&options);
	atomic_store(&rig.hold_quiesce, true);
	atomic_store(&rig.hold_forever, true);
	begun = now_ns();
	fd = ask(FAN_PRE_ACCESS);
	for (hung = NULL; !hung;)
		rig_call(&rig, keep_quiesce, NULL);
	expect_answer(fd, WATCH_DENIED);
	assert_true(now_ns() >= begun + 2 * options.deadline_ms * NS_PER_MS);
	assert_int_equal(rig_status(&rig).state, HOLDING_RECALLING);
	fd = ask(FAN_OPEN_PERM);
	assert_false(kernel_answer(&kernel, 100, &r));
	atomic_store(&rig.hold_forever, false);
	atomic_store(&rig.hold_quiesce, false);
	rig_call(&rig, release_quiesce, NULL);
	expect_answer(fd, FAN_ALLOW);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	down();
}

static void test_refuse(void **state)
{
	struct rig_options options = watched();
	struct lh_grant g;

	(void)state;
	options.refuse_while_granted = true;
	up(&options);
	expect_answer(ask(FAN_OPEN_PERM), FAN_ALLOW);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	g = must_acquire();
	expect_answer(ask(FAN_OPEN_PERM), WATCH_DENIED);
	expect_answer(ask(FAN_PRE_ACCESS), WATCH_DENIED);
	assert_true(works(&g));
	assert_int_equal(rig_status(&rig).generation, 2);
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 2), NVME_SC_SUCCESS);
	expect_answer(ask(FAN_PRE_ACCESS), FAN_ALLOW);
	(void)rig_wait(&rig, HOLDING_SERVING, 3);
	down();
}

/* The file must be ours alone once, at the start. */
static void test_start_busy(void **state)
{
	struct rig_options options = watched();
	int fd;

	(void)state;
	options.wait_if_busy = true;
	make_file("file", RIG_BYTES);
	fd = open(in_dir("file"), O_RDONLY | O_CLOEXEC);
	up(&options);
	assert_int_equal(rig_status(&rig).state, HOLDING_STARTING);
	(void)close(fd);
	(void)rig_wait(&rig, HOLDING_SERVING, 1);
	fd = open(in_dir("file"), O_RDONLY | O_CLOEXEC);
	expect_answer(ask(FAN_PRE_ACCESS), FAN_ALLOW);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	(void)close(fd);
	down();
}

/* Stopped with somebody waiting, again and again: each is let go on, and nothing is left. */
static void test_stop(void **state)
{
	struct rig_options options = watched();

	(void)state;
	for (int i = 0; i < 10; i++) {
		struct fanotify_response r;
		int fd;

		up(&options);
		(void)must_acquire();
		fd = ask(FAN_PRE_ACCESS);
		usleep((useconds_t)i * 300);
		rig_stop(&rig);
		assert_true(kernel_answer(&kernel, RIG_WAIT_MS, &r));
		assert_int_equal(r.fd, fd);
		assert_int_equal(r.response, FAN_ALLOW);
		down();
	}
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_recall), leaks_test(test_silent_client), leaks_test(test_no_proof),
		leaks_test(test_refuse), leaks_test(test_start_busy),	 leaks_test(test_stop),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	log_set_level(getenv("LEASEHOLD_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	tenure_block_signals();
	assert_int_equal(export_guard_init(), 0);
	iwarp_set_copy_hook(export_guarded_copy);
	rig_warm_up();
	return for_each_dir(run_group);
}
