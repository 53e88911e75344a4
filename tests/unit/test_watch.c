// SPDX-License-Identifier: BSD-3-Clause
/*
 * The tenure `watch`, with a fake of the kernel's group and real leases for the proof: who waits, who
 * is let go on and when, who gets EBUSY. What the real kernel does is the end-to-end tests' (watch-*).
 */
#include "watch_rig.h"

#include <sys/resource.h>

#include "tenure/watch.h"
#include "util/log.h"

#define WAIT_MS	    10000
#define PATIENCE_NS (2000 * NS_PER_MS)	 /* where it is to run out … */
#define NO_END_NS   (600000 * NS_PER_MS) /* … and where it is not, however busy the machine is */

struct rig {
	struct fake_kernel kernel;
	struct loop *loop;
	struct tenure_signals *signals;
	struct tenure *t;
	int fd;
	const char *path;
	unsigned int broken, parts;
	bool in_parts;
	bool refuses;
	struct tenure_ask last; /* that was to be refused or not */
};

static void on_signals(void *arg)
{
	(void)arg;
}

static void on_broken(void *arg)
{
	((struct rig *)arg)->broken++;
}

static bool on_part(void *arg, const struct tenure_ask *ask)
{
	struct rig *rig = arg;

	(void)ask;
	rig->parts++;
	return rig->in_parts;
}

static bool on_refuse(void *arg, const struct tenure_ask *ask)
{
	struct rig *rig = arg;

	rig->last = *ask;
	return rig->refuses;
}

static void up_with(struct rig *rig, uint64_t patience_ns)
{
	struct tenure_config config = {
		.kind = TENURE_WATCH,
		.name = "data",
		.patience_ns = patience_ns,
		.broken = on_broken,
		.part = on_part,
		.refuse = on_refuse,
		.arg = rig,
	};

	*rig = (struct rig){.path = in_dir("watched")};
	rig->fd = open(rig->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(rig->fd >= 0);
	assert_int_equal(ftruncate(rig->fd, MIB(2)), 0);
	kernel_up(&rig->kernel);
	assert_int_equal(loop_new("test", &rig->loop), 0);
	assert_int_equal(tenure_signals_new(rig->loop, on_signals, rig, &rig->signals), 0);
	config.fd = rig->fd;
	config.loop = rig->loop;
	assert_int_equal(tenure_new(&config, &rig->t), 0);
}

static void up(struct rig *rig)
{
	up_with(rig, NO_END_NS);
}

static void down(struct rig *rig)
{
	tenure_release(rig->t);
	tenure_end(rig->t);
	tenure_free(rig->t);
	tenure_signals_free(rig->signals);
	kernel_down(&rig->kernel);
	loop_free(rig->loop);
	(void)close(rig->fd);
}

static int take(struct rig *rig)
{
	struct errtext err = {""};
	int rc;

	tenure_begin(rig->t);
	rc = tenure_take(rig->t, &err);
	if (rc)
		tenure_release(rig->t);
	return rc;
}

static int event(struct rig *rig)
{
	return kernel_event(&rig->kernel, rig->path, SOMEBODY, FAN_PRE_ACCESS, KIB(4), KIB(8));
}

/* Turns the loop until the answer to `fd` has come; what it was. */
static uint32_t answer_to(struct rig *rig, int fd, unsigned int ms)
{
	struct fanotify_response r = {0};
	uint64_t end = now_ns() + ms * NS_PER_MS;

	while (!kernel_answer(&rig->kernel, 0, &r)) {
		if (now_ns() > end)
			return 0;
		loop_turn(rig->loop, 1);
	}
	assert_int_equal(r.fd, fd);
	/* Closed, by the listener, just after it has answered. */
	while (fcntl(fd, F_GETFD) != -1) {
		assert_true(now_ns() < end + WAIT_MS * NS_PER_MS);
		loop_turn(rig->loop, 1);
	}
	return r.response;
}

static void turn_until_parts(struct rig *rig, unsigned int times)
{
	uint64_t end = now_ns() + WAIT_MS * NS_PER_MS;

	while (rig->parts < times) {
		assert_true(now_ns() < end);
		loop_turn(rig->loop, 1);
	}
	assert_int_equal(rig->parts, times);
}

static void turn_until_broken(struct rig *rig, unsigned int times)
{
	uint64_t end = now_ns() + WAIT_MS * NS_PER_MS;

	while (rig->broken < times) {
		assert_true(now_ns() < end);
		loop_turn(rig->loop, 1);
	}
}

/* ---- who waits ------------------------------------------------------------------------------- */

static void test_not_held(void **state)
{
	struct fanotify_response r;
	struct rig rig;
	int fd;

	(void)state;
	up(&rig);
	assert_int_equal(tenure_check(rig.t), TENURE_NONE);
	assert_int_equal(answer_to(&rig, event(&rig), WAIT_MS), FAN_ALLOW);
	/* Of a file that nobody serves. */
	fd = open(in_dir("other"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	(void)close(fd);
	assert_int_equal(take(&rig), 0);
	fd = kernel_event(&rig.kernel, in_dir("other"), SOMEBODY, FAN_OPEN_PERM, 0, 0);
	assert_int_equal(answer_to(&rig, fd, WAIT_MS), FAN_ALLOW);
	/* Our own: at once, though the loop does not turn. */
	fd = kernel_event(&rig.kernel, rig.path, getpid(), FAN_PRE_ACCESS, 0, 0);
	assert_true(kernel_answer(&rig.kernel, WAIT_MS, &r));
	assert_int_equal(r.fd, fd);
	assert_int_equal(r.response, FAN_ALLOW);
	assert_int_equal(rig.broken, 0);
	assert_int_equal(tenure_check(rig.t), TENURE_HELD);
	down(&rig);
}

static void test_recall(void **state)
{
	struct rig rig;
	int fds[3];

	(void)state;
	up(&rig);
	assert_int_equal(take(&rig), 0);
	assert_int_equal(tenure_check(rig.t), TENURE_HELD);
	fds[0] = event(&rig);
	turn_until_broken(&rig, 1);
	assert_int_equal(tenure_check(rig.t), TENURE_BREAKING);
	assert_false(rig.last.open);
	assert_int_equal(rig.last.offset, KIB(4));
	assert_int_equal(rig.last.length, KIB(8));
	assert_int_equal(rig.last.pid, SOMEBODY);
	fds[1] = kernel_event(&rig.kernel, rig.path, SOMEBODY, FAN_OPEN_PERM, 0, 0);
	fds[2] = kernel_event(&rig.kernel, rig.path, SOMEBODY, FAN_PRE_ACCESS, MIB(1), 0);
	assert_int_equal(answer_to(&rig, fds[0], 50), 0);
	assert_int_equal(rig.broken, 1); /* told once */
	assert_int_equal(rig.last.offset, MIB(1));
	assert_int_equal(rig.last.length, 0);
	tenure_release(rig.t);
	assert_int_equal(tenure_check(rig.t), TENURE_NONE);
	for (int i = 0; i < 3; i++)
		assert_int_equal(answer_to(&rig, fds[i], WAIT_MS), FAN_ALLOW);
	/* Let go: nobody waits any more. Taken again: they do. */
	assert_int_equal(answer_to(&rig, event(&rig), WAIT_MS), FAN_ALLOW);
	assert_int_equal(take(&rig), 0);
	fds[0] = event(&rig);
	assert_int_equal(answer_to(&rig, fds[0], 50), 0);
	tenure_release(rig.t);
	assert_int_equal(answer_to(&rig, fds[0], WAIT_MS), FAN_ALLOW);
	down(&rig);
}

static int event_at(struct rig *rig, uint64_t offset, uint64_t length)
{
	return kernel_event(&rig->kernel, rig->path, SOMEBODY, FAN_PRE_ACCESS, offset, length);
}

/* Who waits for a part goes on with it; who wants more than that, or an open, does not. */
static void test_part(void **state)
{
	struct tenure_part part = {.offset = KIB(4), .end = KIB(12)};
	struct rig rig;
	int fds[4];

	(void)state;
	up(&rig);
	rig.in_parts = true;
	assert_int_equal(take(&rig), 0);
	fds[0] = event_at(&rig, KIB(4), KIB(8));
	turn_until_parts(&rig, 1);
	fds[1] = event_at(&rig, KIB(8), KIB(8));
	fds[2] = event_at(&rig, KIB(8), 0);
	turn_until_parts(&rig, 3);
	assert_int_equal(answer_to(&rig, fds[0], 20), 0);
	tenure_part_release(rig.t, &part);
	assert_int_equal(answer_to(&rig, fds[0], WAIT_MS), FAN_ALLOW);
	assert_int_equal(answer_to(&rig, event_at(&rig, KIB(8), KIB(4)), WAIT_MS), FAN_ALLOW);
	assert_int_equal(answer_to(&rig, fds[1], 20), 0);
	assert_int_equal(rig.parts, 3);
	assert_int_equal(rig.broken, 0);
	assert_int_equal(tenure_check(rig.t), TENURE_HELD);
	/* Held again: who asks waits. */
	tenure_part_take(rig.t, &part);
	fds[3] = event_at(&rig, KIB(4), KIB(4));
	assert_int_equal(answer_to(&rig, fds[3], 20), 0);
	fds[0] = kernel_event(&rig.kernel, rig.path, SOMEBODY, FAN_OPEN_PERM, 0, 0);
	turn_until_broken(&rig, 1);
	assert_int_equal(tenure_check(rig.t), TENURE_BREAKING);
	assert_int_equal(answer_to(&rig, fds[0], 20), 0);
	tenure_release(rig.t);
	for (int i = 1; i < 5; i++)
		assert_int_equal(answer_to(&rig, fds[i % 4], WAIT_MS), FAN_ALLOW);
	down(&rig);
}

/* It settles by itself. Taken before, it is ours for a while. */
static void test_part_settles(void **state)
{
	struct tenure_part part = {.offset = 0, .end = KIB(8)};
	struct rig rig;
	uint64_t begun;
	int fds[2];

	(void)state;
	up(&rig);
	rig.in_parts = true;
	assert_int_equal(take(&rig), 0);
	fds[0] = event_at(&rig, 0, KIB(4));
	turn_until_parts(&rig, 1);
	begun = now_ns();
	tenure_part_release(rig.t, &part);
	assert_int_equal(answer_to(&rig, fds[0], WAIT_MS), FAN_ALLOW);
	while (!tenure_part_settled(rig.t, &part))
		loop_turn(rig.loop, 1);
	assert_true(now_ns() >= begun + WATCH_UNSEEN_NS);
	tenure_part_take(rig.t, &part);
	fds[0] = event_at(&rig, 0, KIB(4));
	turn_until_parts(&rig, 2);

	tenure_part_release(rig.t, &part);
	assert_int_equal(answer_to(&rig, fds[0], WAIT_MS), FAN_ALLOW);
	begun = now_ns();
	tenure_part_take(rig.t, &part);
	fds[0] = event_at(&rig, KIB(4), KIB(8));
	fds[1] = event_at(&rig, KIB(8), KIB(4));
	turn_until_parts(&rig, 4);
	assert_true(now_ns() >= begun + WATCH_SLICE_NS);
	tenure_release(rig.t);
	for (int i = 0; i < 2; i++)
		assert_int_equal(answer_to(&rig, fds[i], WAIT_MS), FAN_ALLOW);
	down(&rig);
}

/* Before a worker has even begun, since what is asked after its look must be known. */
static void test_asked_while_taken(void **state)
{
	struct errtext err;
	struct rig rig;
	int fd;

	(void)state;
	up(&rig);
	tenure_begin(rig.t);
	fd = kernel_event(&rig.kernel, rig.path, SOMEBODY, FAN_OPEN_PERM, 0, 0);
	turn_until_broken(&rig, 1);
	assert_true(rig.last.open);
	/* It is open for the one who asks: no proof. */
	assert_int_equal(tenure_take(rig.t, &err), -EAGAIN);
	assert_int_equal(answer_to(&rig, fd, 20), 0);
	tenure_release(rig.t);
	assert_int_equal(answer_to(&rig, fd, WAIT_MS), FAN_ALLOW);
	down(&rig);
}

/* Alone it must be once; later others are seen. */
static void test_proof(void **state)
{
	struct rig rig;
	int other;

	(void)state;
	up(&rig);
	other = open(rig.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(take(&rig), -EAGAIN);
	assert_int_equal(tenure_check(rig.t), TENURE_NONE);
	(void)close(other);
	assert_int_equal(take(&rig), 0);
	assert_int_equal(lease_check(rig.fd), TENURE_NONE); /* never both */
	tenure_release(rig.t);
	other = open(rig.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(take(&rig), 0);
	assert_int_equal(tenure_check(rig.t), TENURE_HELD);
	tenure_release(rig.t);
	/* No mark any more: it would be blind to this one. */
	tenure_end(rig.t);
	assert_int_equal(take(&rig), -EAGAIN);
	(void)close(other);
	down(&rig);
}

/* ---- who is refused -------------------------------------------------------------------------- */

static void test_refuse(void **state)
{
	struct rig rig;

	(void)state;
	up(&rig);
	rig.refuses = true;
	assert_int_equal(answer_to(&rig, event(&rig), WAIT_MS), FAN_ALLOW); /* not held */
	assert_int_equal(take(&rig), 0);
	assert_int_equal(answer_to(&rig, event(&rig), WAIT_MS), WATCH_DENIED);
	assert_int_equal(rig.broken, 0);
	assert_int_equal(tenure_check(rig.t), TENURE_HELD);
	down(&rig);
}

/* A recall without an end: EBUSY, and nobody is ever let go on without proof. */
static void test_patience(void **state)
{
	uint64_t begun = now_ns();
	struct rig rig;
	int fds[2];

	(void)state;
	up_with(&rig, PATIENCE_NS);
	assert_int_equal(take(&rig), 0);
	fds[0] = event(&rig);
	assert_int_equal(answer_to(&rig, fds[0], PATIENCE_NS / NS_PER_MS / 2), 0);
	fds[1] = event(&rig);
	assert_int_equal(answer_to(&rig, fds[0], WAIT_MS), WATCH_DENIED);
	assert_true(now_ns() >= begun + PATIENCE_NS);
	assert_int_equal(answer_to(&rig, fds[1], WAIT_MS), WATCH_DENIED);
	assert_true(now_ns() >= begun + PATIENCE_NS * 3 / 2);
	/* The recall goes on; who comes now waits for it again. */
	fds[0] = event(&rig);
	assert_int_equal(answer_to(&rig, fds[0], 20), 0);
	tenure_release(rig.t);
	assert_int_equal(answer_to(&rig, fds[0], WAIT_MS), FAN_ALLOW);
	down(&rig);
}

/* More than may wait: refused at once, by the listener. */
static void test_crowd(void **state)
{
	static int fds[GROUP_MAX_ASKS + 3];
	struct rlimit limit;
	struct rig rig;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max < 2 * GROUP_MAX_ASKS) {
		print_message("[          ] too few descriptors\n");
		skip();
	}
	up(&rig);
	assert_int_equal(take(&rig), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = event(&rig);
		if (i % 64 == 0)
			loop_turn(rig.loop, 0);
	}
	for (size_t i = GROUP_MAX_ASKS; i < ARRAY_SIZE(fds); i++)
		assert_int_equal(answer_to(&rig, fds[i], WAIT_MS), WATCH_DENIED);
	tenure_release(rig.t);
	for (size_t i = 0; i < GROUP_MAX_ASKS; i++)
		assert_int_equal(answer_to(&rig, fds[i], WAIT_MS), FAN_ALLOW);
	assert_int_equal(answer_to(&rig, event(&rig), WAIT_MS), FAN_ALLOW);
	down(&rig);
}

/* The kernel dropped events: somebody was let go on without asking. */
static void test_overflow(void **state)
{
	struct rig rig;

	(void)state;
	up(&rig);
	assert_int_equal(kernel_event(&rig.kernel, NULL, 0, FAN_Q_OVERFLOW, 0, 0), FAN_NOFD);
	loop_turn(rig.loop, 20);
	assert_int_equal(rig.broken, 0);
	assert_int_equal(take(&rig), 0);
	(void)kernel_event(&rig.kernel, NULL, 0, FAN_Q_OVERFLOW, 0, 0);
	turn_until_broken(&rig, 1);
	assert_int_equal(tenure_check(rig.t), TENURE_NONE);
	tenure_release(rig.t);
	assert_int_equal(take(&rig), 0);
	assert_int_equal(tenure_check(rig.t), TENURE_HELD);
	down(&rig);
}

/* Whoever waits at the end, known to the loop or not yet, is let go on. */
static void test_end(void **state)
{
	struct fanotify_response r;
	struct rig rig;
	int fds[2], kernel;

	(void)state;
	up(&rig);
	assert_int_equal(take(&rig), 0);
	fds[0] = event(&rig);
	turn_until_broken(&rig, 1);
	fds[1] = event(&rig);
	usleep(50000); /* read, and the loop does not turn */
	kernel = fcntl(rig.kernel.fd, F_DUPFD_CLOEXEC, 0);
	down(&rig);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(read(kernel, &r, sizeof(r)), sizeof(r));
		assert_int_equal(r.fd, fds[i]);
		assert_int_equal(r.response, FAN_ALLOW);
	}
	(void)close(kernel);
}

/* ---- when it is taken again ------------------------------------------------------------------ */

struct again {
	struct tenure_retry *r;
	uint64_t at_ns;
};

static void on_retry(void *arg)
{
	struct again *again = arg;

	if (!again->at_ns)
		again->at_ns = now_ns();
}

static uint64_t until_retry(struct rig *rig, struct again *again, uint64_t since_ns)
{
	uint64_t end = now_ns() + WAIT_MS * NS_PER_MS;

	while (!again->at_ns) {
		assert_true(now_ns() < end);
		loop_turn(rig->loop, 1);
	}
	tenure_retry_free(again->r);
	return (again->at_ns - since_ns) / NS_PER_MS;
}

static void let_one_go_on(struct rig *rig)
{
	int fd;

	assert_int_equal(take(rig), 0);
	fd = event(rig);
	rig->broken = 0;
	turn_until_broken(rig, 1);
	tenure_release(rig->t);
	assert_int_equal(answer_to(rig, fd, WAIT_MS), FAN_ALLOW);
}

static void test_settles(void **state)
{
	struct again again;
	uint64_t since;
	struct rig rig;
	int fd;

	(void)state;
	up(&rig);
	/* Nobody was let go on: nothing to wait for. */
	assert_int_equal(take(&rig), 0);
	tenure_release(rig.t);
	again = (struct again){0};
	since = now_ns();
	assert_int_equal(tenure_retry_new(rig.t, on_retry, &again, &again.r), 0);
	assert_in_range(until_retry(&rig, &again, since), 0, 5000);
	/* Let go on, and nothing is seen of it. */
	let_one_go_on(&rig);
	again = (struct again){0};
	since = now_ns();
	assert_int_equal(tenure_retry_new(rig.t, on_retry, &again, &again.r), 0);
	assert_in_range(until_retry(&rig, &again, since), WATCH_UNSEEN_NS / NS_PER_MS - 20, 5000);
	/* It is seen to have happened: sooner. (In a busy machine everything is late.) */
	tenure_release(rig.t);
	usleep((useconds_t)(WATCH_BUSY_NS / NS_PER_US));
	let_one_go_on(&rig);
	again = (struct again){0};
	since = now_ns();
	assert_int_equal(tenure_retry_new(rig.t, on_retry, &again, &again.r), 0);
	tenure_retry_stand_back(again.r, WAIT_MS * NS_PER_MS); /* means nothing here */
	fd = open(rig.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	(void)close(fd);
	assert_in_range(until_retry(&rig, &again, since), 5, 5000);
	down(&rig);
}

/* Somebody who never stops: it is our turn after a while, and theirs after a slice. */
static void test_turns(void **state)
{
	uint64_t since, asked, gap = 0;
	struct again again = {0};
	struct rig rig;
	int fd;

	(void)state;
	up(&rig);
	let_one_go_on(&rig);
	since = now_ns();
	assert_int_equal(tenure_retry_new(rig.t, on_retry, &again, &again.r), 0);
	while (!again.at_ns) {
		assert_true(now_ns() < since + WAIT_MS * NS_PER_MS);
		asked = now_ns();
		assert_int_equal(answer_to(&rig, event(&rig), WAIT_MS), FAN_ALLOW);
		gap = max_u64(gap, now_ns() - asked);
	}
	/* In a busy machine somebody pauses, as it seems. */
	assert_in_range((again.at_ns - since) / NS_PER_MS,
			gap < WATCH_QUIET_NS / 2 ? WATCH_FORCE_NS / NS_PER_MS - 50 : 0, 5000);
	tenure_retry_free(again.r);
	assert_int_equal(answer_to(&rig, event(&rig), WAIT_MS), FAN_ALLOW);
	asked = now_ns();
	assert_int_equal(take(&rig), 0);
	rig.broken = 0;
	fd = event(&rig);
	assert_int_equal(answer_to(&rig, fd, 20), 0);
	if (now_ns() < asked + WATCH_SLICE_NS) {
		assert_int_equal(rig.broken, 0);
		assert_int_equal(tenure_check(rig.t), TENURE_HELD);
	}
	turn_until_broken(&rig, 1);
	assert_true(now_ns() >= asked + WATCH_SLICE_NS);
	assert_int_equal(tenure_check(rig.t), TENURE_BREAKING);
	tenure_release(rig.t);
	assert_int_equal(answer_to(&rig, fd, WAIT_MS), FAN_ALLOW);
	down(&rig);
}

/* ---- where there is none --------------------------------------------------------------------- */

static void nobody_asks(struct group_ask *a)
{
	(void)a;
}

/* The watchdog's question: it is answered by a listener that has nothing else to do, and by none. */
static void test_sign_of_life(void **state)
{
	struct loop *loop;
	int ends[2];

	(void)state;
	assert_true(tenure_listener_answered());
	tenure_listener_ask();
	assert_true(tenure_listener_answered());
	assert_int_equal(loop_new("test", &loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends),
			 0);
	group_pretend(ends[0]);
	assert_int_equal(group_start(loop, nobody_asks), 0);
	for (int i = 0; i < 3; i++) {
		const uint64_t until = now_ns() + 10 * NS_PER_S;

		tenure_listener_ask();
		while (!tenure_listener_answered() && now_ns() < until)
			(void)usleep(1000);
		assert_true(tenure_listener_answered());
	}
	group_stop();
	assert_true(tenure_listener_answered());
	tenure_close_group();
	(void)close(ends[1]);
	loop_free(loop);
}

/* Whatever this machine lacks, it says what to do. */
static void test_words(void **state)
{
	struct errtext err = {""};
	int fd = open(in_dir("words"), O_RDWR | O_CREAT | O_CLOEXEC, 0644), rc;
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_new("test", &loop), 0);
	tenure_reserve_group();
	assert_int_equal(group_start(loop, nobody_asks), 0);
	rc = group_mark(fd, &err);
	if (rc == 0) {
		group_unmark(fd);
		print_message("[          ] there are pre-content events here\n");
	} else {
		print_message("[          ] %s\n", err.text);
		assert_non_null(strstr(err.text, "tenure = \"watch\""));
	}
	group_stop();
	tenure_close_group();
	loop_free(loop);
	assert_true(group_mark(fd, &err) < 0);
	(void)close(fd);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_not_held),
		leaks_test(test_recall),
		leaks_test(test_asked_while_taken),
		leaks_test(test_proof),
		leaks_test(test_refuse),
		leaks_test(test_patience),
		leaks_test(test_crowd),
		leaks_test(test_overflow),
		leaks_test(test_end),
		leaks_test(test_settles),
		leaks_test(test_turns),
		leaks_test(test_part),
		leaks_test(test_part_settles),
		leaks_test(test_sign_of_life),
		leaks_test(test_words),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	log_set_level(getenv("LEASEHOLD_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	tenure_block_signals();
	return for_each_dir(run_group);
}
