// SPDX-License-Identifier: BSD-3-Clause
/*
 * Recalls under the tenure `watch`, with the real rooms and a fake of the kernel's fanotify group:
 * nobody is let go on while a key of ours works, and everybody is answered in time.
 */
#include "grant_rig.h"
#include "watch_rig.h"

#include "iwarp/iwarp.h"
#include "tenure/watch.h"

static struct fake_kernel kernel;
static struct rig rig;
static struct rig_client one, two;

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
	rig_client_up(&rig, &two);
}

static void down(void)
{
	rig_client_down(&one);
	rig_client_down(&two);
	rig_down(&rig);
	kernel_down(&kernel);
}

static struct lh_grant must_acquire_of(struct rig_client *c, uint64_t offset)
{
	struct grant_answer answer = rig_acquire(c, offset, MIB(1), read_write);
	struct lh_grant g;

	assert_int_equal(answer.status, NVME_SC_SUCCESS);
	g = answer.grants[0];
	g.address = le64toh(g.address);
	g.rkey = le32toh(g.rkey);
	return g;
}

static struct lh_grant must_acquire(void)
{
	return must_acquire_of(&one, 0);
}

static bool works_for(struct rig_client *c, const struct lh_grant *g)
{
	uint64_t byte = 7;

	return rig_write(c, g->address, g->rkey, &byte, 8) == FABRIC_OK;
}

static bool works(const struct lh_grant *g)
{
	return works_for(&one, g);
}

static int ask(uint64_t mask)
{
	return kernel_event(&kernel, in_dir("file"), SOMEBODY, mask, 0, KIB(4));
}

/* Of a part; length 0: to the end. */
static int ask_part(uint64_t offset, uint64_t length)
{
	return kernel_event(&kernel, in_dir("file"), SOMEBODY, FAN_PRE_ACCESS, offset, length);
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
	/* It appends: another recall, and the new size. */
	expect_answer(ask_part(RIG_BYTES, KIB(4)), FAN_ALLOW);
	assert_int_equal(ftruncate(opened, RIG_BYTES + KIB(4)), 0);
	status = rig_wait(&rig, HOLDING_SERVING, 3);
	assert_int_equal(status.size_bytes, RIG_BYTES + KIB(4));
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
	fds[0] = ask(FAN_OPEN_PERM);
	fds[1] = ask(FAN_PRE_ACCESS);
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
	fd = ask(FAN_OPEN_PERM);
	for (hung = NULL; !hung;)
		rig_call(&rig, keep_quiesce, NULL);
	expect_answer(fd, WATCH_DENIED);
	assert_true(now_ns() >= begun + 2 * options.deadline_ms * NS_PER_MS);
	assert_int_equal(rig_status(&rig).state, HOLDING_RECALLING);
	fd = ask(FAN_PRE_ACCESS);
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
	/* Where nobody is granted anything they are let in. */
	expect_answer(ask_part(MIB(1), 0), FAN_ALLOW);
	assert_true(works(&g));
	assert_int_equal(rig_status(&rig).generation, 2);
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 2), NVME_SC_SUCCESS);
	expect_answer(ask(FAN_PRE_ACCESS), FAN_ALLOW);
	expect_answer(ask(FAN_OPEN_PERM), FAN_ALLOW);
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
	expect_answer(ask(FAN_OPEN_PERM), FAN_ALLOW);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	(void)close(fd);
	down();
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* All that was let go is served again. */
static struct holding_status wait_back(uint32_t generation)
{
	uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;
	struct holding_status status;

	do {
		assert_true(now_ns() < end);
		(void)usleep(1000);
		status = rig_wait(&rig, HOLDING_SERVING, generation);
	} while (status.reclaimed_bytes > 0 ||
		 (status.recalls == 0 && status.last_range.serving_ns == 0));
	assert_int_equal(status.generation, generation);
	return status;
}

static void assert_untouched(const struct lh_grant *g)
{
	assert_true(works_for(&two, g));
	assert_int_equal(atomic_load(&two.told), 0);
	assert_int_equal(rig_status(&rig).state, HOLDING_SERVING);
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(rig_status(&rig).recalls, 0);
}

/* Two clients in two halves: who holds nothing of what is asked for does not notice. */
static void test_part(void **state)
{
	struct rig_options options = watched();
	struct lh_grant mine, others;
	struct grant_answer answer;
	struct holding_status status;
	unsigned int recalls;

	(void)state;
	up(&options);
	mine = must_acquire();
	others = must_acquire_of(&two, MIB(8));
	expect_answer(ask_part(KIB(4), KIB(8)), FAN_ALLOW);
	assert_false(works(&mine));
	assert_int_equal(atomic_load(&one.told), 1);
	assert_int_equal(atomic_load(&one.told_offset), KIB(4));
	assert_int_equal(atomic_load(&one.told_length), KIB(8));
	assert_untouched(&others);
	assert_int_equal(rig_status(&rig).reclaimed_bytes, KIB(8));
	rig_client_reconnect(&one);
	answer = rig_acquire(&one, KIB(8), KIB(4), read_write);
	assert_int_equal(answer.status, LH_SC_RECALLING);
	assert_int_equal(answer.held_length, KIB(4));
	assert_false(answer.reclaimed);
	/* What is let go anyhow is no recall more; where all is slow it may have come back meanwhile. */
	expect_answer(ask_part(KIB(8), KIB(4)), FAN_ALLOW);
	status = rig_status(&rig);
	recalls = status.reclaimed_bytes == KIB(8) ? 1 : 2;
	assert_int_equal(status.range_recalls, recalls);
	status = wait_back(1);
	assert_int_equal(status.last_range.offset, recalls == 1 ? KIB(4) : KIB(8));
	assert_int_equal(status.last_range.end, KIB(12));
	assert_int_equal(status.last_range.clients, recalls == 1);
	assert_int_equal(status.last_range.fenced_clients, 0);
	assert_true(status.last_range.seen_ns <= status.last_range.proven_ns);
	assert_true(status.last_range.proven_ns < status.last_range.serving_ns);
	assert_true(atomic_load(&rig.regrants) >= 1);
	mine = must_acquire();
	assert_true(works(&mine));
	assert_untouched(&others);
	/* Held again: who asks now waits for a recall. */
	expect_answer(ask_part(0, KIB(4)), FAN_ALLOW);
	assert_false(works(&mine));
	rig_client_reconnect(&one);
	assert_int_equal(rig_status(&rig).range_recalls, recalls + 1);
	assert_untouched(&others);
	down();
}

/* Fenced at the deadline, and only who is in the way. */
static void test_part_silent(void **state)
{
	struct rig_options options = watched();
	struct lh_grant mine, others;
	struct fanotify_response r;
	int fd;

	(void)state;
	options.deadline_ms = 400;
	up(&options);
	atomic_store(&one.answers, false);
	atomic_store(&two.answers, false);
	mine = must_acquire();
	others = must_acquire_of(&two, MIB(8));
	fd = ask_part(0, KIB(4));
	assert_false(kernel_answer(&kernel, 200, &r));
	expect_answer(fd, FAN_ALLOW);
	assert_false(works(&mine));
	assert_untouched(&others);
	rig_client_reconnect(&one);
	assert_int_equal(wait_back(1).last_range.fenced_clients, 1);
	assert_untouched(&others);
	down();
}

/* No proof: EBUSY at twice the deadline, and the recall goes on, with the means of the whole's. */
static void test_part_no_proof(void **state)
{
	struct rig_options options = watched();
	struct fanotify_response r;
	uint64_t begun;
	int fds[2];

	(void)state;
	options.deadline_ms = 500;
	up(&options);
	atomic_store(&rig.hold_drain, true);
	atomic_store(&rig.hold_quiesce, true);
	atomic_store(&rig.hold_forever, true);
	begun = now_ns();
	fds[0] = ask_part(0, KIB(4));
	expect_answer(fds[0], WATCH_DENIED);
	assert_true(now_ns() >= begun + 2 * options.deadline_ms * NS_PER_MS);
	for (hung = NULL; !hung;)
		rig_call(&rig, keep_quiesce, NULL);
	fds[1] = ask_part(MIB(8), KIB(4));
	assert_false(kernel_answer(&kernel, 100, &r));
	atomic_store(&rig.hold_drain, false);
	atomic_store(&rig.hold_forever, false);
	atomic_store(&rig.hold_quiesce, false);
	rig_release_quiesce(&rig);
	expect_answer(fds[1], FAN_ALLOW);
	(void)wait_back(2);
	down();
}

/* Several at once, over the same bytes, next to each other, and one in the other's. */
static void test_parts_overlap(void **state)
{
	struct rig_options options = watched();
	struct fanotify_response r;
	struct lh_grant others;
	unsigned int answered = 0;
	int fds[6];

	(void)state;
	up(&options);
	(void)must_acquire();
	others = must_acquire_of(&two, MIB(8));
	for (unsigned int round = 0; round < 3; round++) {
		fds[0] = ask_part(0, KIB(8));
		fds[1] = ask_part(KIB(4), KIB(16));
		fds[2] = ask_part(KIB(4), KIB(16));
		fds[3] = ask_part(KIB(8), KIB(4));
		fds[4] = ask_part(KIB(20), KIB(4));
		fds[5] = ask_part(MIB(2), MIB(2));
		for (answered = 0; answered < 1 << 6;) {
			assert_true(kernel_answer(&kernel, RIG_WAIT_MS, &r));
			assert_int_equal(r.response, FAN_ALLOW);
			for (unsigned int i = 0; i < ARRAY_SIZE(fds); i++)
				answered += r.fd == fds[i] ? 1u << i : 0;
			if (answered == (1 << 6) - 1)
				break;
		}
		assert_untouched(&others);
		(void)usleep(round * 60000);
	}
	(void)wait_back(1);
	rig_client_reconnect(&one);
	(void)must_acquire();
	assert_untouched(&others);
	down();
}

/* While it is being recalled as a whole who comes waits for that; and one who waits for a part, too. */
static void test_part_and_whole(void **state)
{
	struct rig_options options = watched();
	struct fanotify_response r;
	int fds[3];

	(void)state;
	options.deadline_ms = 5000;
	up(&options);
	(void)must_acquire_of(&two, MIB(8));
	atomic_store(&two.answers, false);
	fds[0] = ask_part(MIB(8), KIB(4));
	while (atomic_load(&two.told) == 0)
		(void)usleep(1000);
	fds[1] = ask(FAN_OPEN_PERM);
	(void)rig_wait(&rig, HOLDING_RECALLING, 1);
	fds[2] = ask_part(0, KIB(4));
	assert_false(kernel_answer(&kernel, 50, &r));
	assert_int_equal(rig_release(&two, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	for (unsigned int i = 0; i < ARRAY_SIZE(fds); i++)
		expect_answer(fds[i], FAN_ALLOW);
	(void)wait_back(2);
	down();
}

/* The file is shorter by what was asked for: it ends there, and that is all. */
static void test_part_truncated(void **state)
{
	struct rig_options options = watched();
	struct lh_grant others, last;
	int opened;

	(void)state;
	up(&options);
	opened = open(in_dir("file"), O_RDWR | O_CLOEXEC);
	assert_true(opened >= 0);
	last = must_acquire_of(&one, MIB(12));
	others = must_acquire_of(&two, 0);
	expect_answer(ask_part(MIB(10), 0), FAN_ALLOW);
	assert_false(works(&last));
	rig_client_reconnect(&one);
	assert_int_equal(ftruncate(opened, MIB(10)), 0);
	assert_int_equal(wait_back(1).size_bytes, MIB(10));
	assert_int_equal(atomic_load(&rig.changes), 2);
	assert_untouched(&others);
	assert_int_equal(rig_acquire(&one, MIB(10), KIB(4), read_write).status, NVME_SC_LBA_RANGE);
	last = must_acquire_of(&one, MIB(9));
	assert_true(works(&last));
	(void)close(opened);
	down();
}

/* It is shorter, and not by what was asked for (collapse): whoever has something there is recalled. */
static void test_part_collapsed(void **state)
{
	struct rig_options options = watched();
	struct lh_grant last;
	int opened;

	(void)state;
	up(&options);
	opened = open(in_dir("file"), O_RDWR | O_CLOEXEC);
	assert_true(opened >= 0);
	last = must_acquire_of(&two, RIG_BYTES - MIB(1));
	expect_answer(ask_part(0, KIB(4)), FAN_ALLOW);
	assert_int_equal(ftruncate(opened, RIG_BYTES - MIB(1)), 0);
	assert_int_equal(wait_back(2).size_bytes, RIG_BYTES - MIB(1));
	assert_false(works_for(&two, &last));
	assert_int_equal(atomic_load(&two.told), 1);
	rig_client_reconnect(&two);
	(void)close(opened);
	down();
}

static void reclaimed(void *arg, int err, const char *why)
{
	(void)why;
	assert_int_equal(err, 0);
	(void)sem_post(arg);
}

static void reclaim_there(void *arg)
{
	struct holding_reclaim want = {.length = MIB(1), .hold_ns = 3600 * NS_PER_S};

	holding_reclaim(rig.h, &want, reclaimed, arg);
}

static void reclaim_end_there(void *arg)
{
	(void)arg;
	(void)holding_reclaim_end(rig.h);
}

/* Of what somebody has by hand: no wait, and it stays his. */
static void test_part_reclaimed(void **state)
{
	struct rig_options options = watched();
	sem_t proven;

	(void)state;
	up(&options);
	(void)sem_init(&proven, 0, 0);
	rig_call(&rig, reclaim_there, &proven);
	assert_int_equal(sem_wait(&proven), 0);
	expect_answer(ask_part(KIB(512), MIB(1)), FAN_ALLOW);
	while (rig_status(&rig).last_range.serving_ns == 0)
		(void)usleep(1000);
	assert_int_equal(rig_status(&rig).reclaimed_bytes, MIB(1));
	rig_call(&rig, reclaim_end_there, NULL);
	(void)wait_back(1);
	assert_int_equal(rig_status(&rig).recalls, 0);
	(void)sem_destroy(&proven);
	down();
}

struct resized {
	sem_t sem;
	int err;
};

static void on_resized(void *arg, int err, const char *why)
{
	struct resized *r = arg;

	(void)why;
	r->err = err;
	(void)sem_post(&r->sem);
}

static void enlarge_there(void *arg)
{
	holding_resize(rig.h, 2 * RIG_BYTES, on_resized, arg);
}

/* A recall of our own, for a new size, when others were just let go on: they may not be through. */
static void test_part_and_ours(void **state)
{
	struct rig_options options = watched();
	struct resized resized;
	uint64_t asked;
	int fd;

	(void)state;
	up(&options);
	asked = now_ns();
	fd = ask_part(MIB(4), MIB(1));
	expect_answer(fd, FAN_ALLOW);
	(void)sem_init(&resized.sem, 0, 0);
	rig_call(&rig, enlarge_there, &resized);
	assert_int_equal(sem_wait(&resized.sem), 0);
	assert_int_equal(resized.err, 0);
	assert_true(now_ns() >= asked + WATCH_QUIET_NS);
	assert_int_equal(wait_back(2).size_bytes, 2 * RIG_BYTES);
	(void)sem_destroy(&resized.sem);
	down();
}

/* More than can be let go one by one: the whole. */
static void test_parts_crowd(void **state)
{
	struct rig_options options = watched();
	struct fanotify_response r;

	(void)state;
	up(&options);
	for (unsigned int i = 0; i <= GRANT_MAX_LOCALS; i++)
		(void)ask_part(i * KIB(8), KIB(4));
	for (unsigned int i = 0; i <= GRANT_MAX_LOCALS; i++) {
		assert_true(kernel_answer(&kernel, RIG_WAIT_MS, &r));
		assert_int_equal(r.response, FAN_ALLOW);
	}
	(void)wait_back(2);
	assert_int_equal(rig_status(&rig).recalls, 1);
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

static void *stop_main(void *arg)
{
	rig_stop(arg);
	return NULL;
}

/* Stopped while a reactor still looks through a part's work: it is not over before that answers. */
static void test_stop_part(void **state)
{
	struct rig_options options = watched();
	pthread_t thread;
	int fd;

	(void)state;
	options.deadline_ms = RIG_WAIT_MS;
	up(&options);
	atomic_store(&rig.hold_drain, true);
	atomic_store(&rig.hold_forever, true);
	fd = ask_part(0, KIB(4));
	while (atomic_load(&rig.drains) == 0)
		(void)usleep(1000);
	assert_int_equal(pthread_create(&thread, NULL, stop_main, &rig), 0);
	expect_answer(fd, FAN_ALLOW);
	(void)usleep(50000);
	assert_int_not_equal(rig_status(&rig).state, HOLDING_OFFLINE);
	rig_release_quiesce(&rig);
	assert_int_equal(pthread_join(thread, NULL), 0);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_recall),	 leaks_test(test_silent_client),
		leaks_test(test_no_proof),	 leaks_test(test_refuse),
		leaks_test(test_start_busy),	 leaks_test(test_stop),
		leaks_test(test_part),		 leaks_test(test_part_silent),
		leaks_test(test_part_no_proof),	 leaks_test(test_parts_overlap),
		leaks_test(test_part_and_whole), leaks_test(test_part_truncated),
		leaks_test(test_part_collapsed), leaks_test(test_part_reclaimed),
		leaks_test(test_parts_crowd),	 leaks_test(test_stop_part),
		leaks_test(test_part_and_ours),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run_group);
}
