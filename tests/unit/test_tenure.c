// SPDX-License-Identifier: BSD-3-Clause
/* The kernel's lease: who breaks it, what we learn of it, that the breaker waits for us. */
#include "tenure/lease.h"

#include <pthread.h>
#include <sys/resource.h>

#include "test_dirs.h"

#define WAIT_MS 10000

/* ---- files and openers ----------------------------------------------------------------------- */

static int new_file(const char *name)
{
	int fd = open(in_dir(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, MIB(2)), 0);
	return fd;
}

/* Says 'o' with the file open, closes it when told to, says 'c'; any number of times. */
static void opener(int in, int out, const void *arg)
{
	for (;;) {
		int fd;

		hear(in);
		fd = open(arg, O_RDONLY | O_CLOEXEC);
		say(out, fd < 0 ? 'e' : 'o');
		hear(in);
		(void)close(fd);
		say(out, 'c');
	}
}

static void nonblock_opener(int in, int out, const void *arg)
{
	hear(in);
	say(out, open(arg, O_RDWR | O_NONBLOCK) < 0 && errno == EWOULDBLOCK ? 'w' : 'o');
	hear(in);
}

static void truncater(int in, int out, const void *arg)
{
	for (;;) {
		hear(in);
		say(out, truncate(arg, KIB(64)) ? 'e' : 't');
	}
}

static void mapper(int in, int out, const void *arg)
{
	int fd = open(arg, O_RDWR);
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)close(fd);
	say(out, p == MAP_FAILED ? 'e' : 'm');
	hear(in);
}

/* ---- a loop with a watch --------------------------------------------------------------------- */

struct rig {
	struct loop *loop;
	struct tenure_signals *watch;
	unsigned int batches;
};

static void count_batch(void *arg)
{
	struct rig *rig = arg;

	rig->batches++;
}

static void rig_start(struct rig *rig)
{
	*rig = (struct rig){0};
	assert_int_equal(loop_new("test", &rig->loop), 0);
	assert_int_equal(tenure_signals_new(rig->loop, count_batch, rig, &rig->watch), 0);
	/* What an earlier test has left pending. */
	loop_turn(rig->loop, 0);
	rig->batches = 0;
}

static void rig_stop(struct rig *rig)
{
	tenure_signals_free(rig->watch);
	loop_free(rig->loop);
}

/* Turns the loop until lease signals came. */
static void rig_wait(struct rig *rig)
{
	uint64_t end = now_ns() + WAIT_MS * NS_PER_MS;
	unsigned int before = rig->batches;

	while (rig->batches == before) {
		assert_true(now_ns() < end);
		loop_turn(rig->loop, 100);
	}
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_take_release(void **state)
{
	int fd = new_file("a"), pipes[2];

	(void)state;
	assert_int_equal(lease_check(fd), TENURE_NONE);
	lease_release(fd);
	assert_int_equal(lease_take(fd), 0);
	assert_int_equal(lease_check(fd), TENURE_HELD);
	assert_int_equal(lease_take(fd), 0);
	assert_int_equal(lease_check(fd), TENURE_HELD);
	lease_release(fd);
	assert_int_equal(lease_check(fd), TENURE_NONE);
	lease_release(fd);
	(void)close(fd);
	assert_int_equal(lease_check(fd), TENURE_NONE);

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(lease_take(pipes[0]), -EINVAL);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
	assert_true(tenure_break_time_s() > 0);
}

static void test_taken_by_others(void **state)
{
	int fd = new_file("a"), other = open(in_dir("a"), O_RDONLY | O_CLOEXEC);
	struct child c;

	(void)state;
	assert_int_equal(lease_take(fd), -EAGAIN);
	assert_int_equal(lease_check(fd), TENURE_NONE);
	(void)close(other);
	assert_int_equal(lease_take(fd), 0);
	lease_release(fd);

	child_start(&c, mapper, in_dir("a"));
	assert_int_equal(child_get(&c, WAIT_MS), 'm');
	assert_int_equal(lease_take(fd), dir_is_overlay() ? 0 : -EAGAIN);
	child_stop(&c);
	assert_int_equal(lease_take(fd), 0);
	lease_release(fd);
	(void)close(fd);
}

/* The whole dialogue: the signal comes, the breaker sleeps until we let go, and not longer. */
static void one_break(const char *what, void (*breaker)(int in, int out, const void *arg), int done)
{
	int fd = new_file("a");
	uint64_t start, seen, released;
	struct child c;
	struct rig rig;

	rig_start(&rig);
	child_start(&c, breaker, in_dir("a"));
	assert_int_equal(lease_take(fd), 0);
	start = now_ns();
	child_put(&c, 'g');
	rig_wait(&rig);
	seen = now_ns();
	assert_int_equal(lease_check(fd), TENURE_BREAKING);
	assert_int_equal(lease_take(fd), -EAGAIN);
	assert_int_equal(child_get(&c, 50), -1); /* it sleeps */
	assert_int_equal(lease_check(fd), TENURE_BREAKING);
	released = now_ns();
	lease_release(fd);
	assert_int_equal(child_get(&c, WAIT_MS), done);
	print_message("%s: signal after %llu us, goes on %llu us after the release\n", what,
		      (unsigned long long)((seen - start) / NS_PER_US),
		      (unsigned long long)((now_ns() - released) / NS_PER_US));
	assert_int_equal(lease_check(fd), TENURE_NONE);
	child_stop(&c);
	assert_int_equal(lease_take(fd), 0);
	lease_release(fd);
	(void)close(fd);
	rig_stop(&rig);
}

static void test_break_open(void **state)
{
	(void)state;
	one_break("open", opener, 'o');
}

static void test_break_truncate(void **state)
{
	(void)state;
	one_break("truncate", truncater, 't');
}

/* Nobody sleeps, but the lease is being broken all the same. */
static void test_break_nonblock(void **state)
{
	int fd = new_file("a");
	struct child c;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	child_start(&c, nonblock_opener, in_dir("a"));
	assert_int_equal(lease_take(fd), 0);
	child_put(&c, 'g');
	assert_int_equal(child_get(&c, WAIT_MS), 'w');
	rig_wait(&rig);
	assert_int_equal(lease_check(fd), TENURE_BREAKING);
	lease_release(fd);
	assert_int_equal(lease_check(fd), TENURE_NONE);
	child_stop(&c);
	(void)close(fd);
	rig_stop(&rig);
}

/* What our own descriptor does breaks nothing. */
static void test_own_work(void **state)
{
	int fd = new_file("a");
	void *p;

	(void)state;
	p = mmap(NULL, MIB(2), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(lease_take(fd), 0); /* with our mapping there */
	assert_int_equal(ftruncate(fd, MIB(1)), 0);
	assert_int_equal(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, MIB(1)), 0);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	assert_int_equal(munmap(p, MIB(2)), 0);
	assert_int_equal(lease_check(fd), TENURE_HELD);
	lease_release(fd);
	(void)close(fd);
}

static void *take_on_thread(void *arg)
{
	return (void *)(intptr_t)lease_take(*(int *)arg);
}

/* The worker that took it is gone when the break comes. */
static void test_taken_on_thread(void **state)
{
	int fd = new_file("a");
	pthread_t thread;
	struct child c;
	struct rig rig;
	void *ret;

	(void)state;
	rig_start(&rig);
	child_start(&c, opener, in_dir("a"));
	assert_int_equal(pthread_create(&thread, NULL, take_on_thread, &fd), 0);
	assert_int_equal(pthread_join(thread, &ret), 0);
	assert_null(ret);
	child_put(&c, 'g');
	rig_wait(&rig);
	assert_int_equal(lease_check(fd), TENURE_BREAKING);
	lease_release(fd);
	assert_int_equal(child_get(&c, WAIT_MS), 'o');
	child_stop(&c);
	(void)close(fd);
	rig_stop(&rig);
}

#define FILES  8
#define ROUNDS 125

/* A thousand breaks of eight leases at once: each is found, though the signals are only counted. */
static void test_thousand(void **state)
{
	char name[8];
	int fds[FILES];
	struct child c[FILES];
	bool open_there[FILES] = {0};
	unsigned int breaks[FILES] = {0}, total = 0;
	uint64_t end = now_ns() + 60 * NS_PER_S;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	for (int i = 0; i < FILES; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		fds[i] = new_file(name);
		child_start(&c[i], opener, in_dir(name));
	}
	for (int i = 0; i < FILES; i++) {
		assert_int_equal(lease_take(fds[i]), 0);
		child_put(&c[i], 'g');
	}
	while (total < FILES * ROUNDS) {
		assert_true(now_ns() < end);
		rig_wait(&rig);
		for (int i = 0; i < FILES; i++) {
			if (lease_check(fds[i]) != TENURE_BREAKING)
				continue;
			lease_release(fds[i]);
			breaks[i]++;
			total++;
			open_there[i] = true;
		}
		for (int i = 0; i < FILES; i++) {
			if (!open_there[i])
				continue;
			open_there[i] = false;
			assert_int_equal(child_get(&c[i], WAIT_MS), 'o');
			child_put(&c[i], 'g');
			assert_int_equal(child_get(&c[i], WAIT_MS), 'c');
			if (breaks[i] == ROUNDS)
				continue;
			assert_int_equal(lease_take(fds[i]), 0);
			child_put(&c[i], 'g');
		}
	}
	print_message("%u breaks in %u batches of signals\n", total, rig.batches);
	for (int i = 0; i < FILES; i++) {
		assert_int_equal(breaks[i], ROUNDS);
		child_stop(&c[i]);
		(void)close(fds[i]);
	}
	rig_stop(&rig);
}

/* No room for queued signals: one bare SIGIO comes, and the scan finds every lease. */
static void test_overflow(void **state)
{
	struct rlimit before, none;
	char name[8];
	int fds[FILES];
	struct child c[FILES];
	struct rig rig;

	(void)state;
	rig_start(&rig);
	for (int i = 0; i < FILES; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		fds[i] = new_file(name);
		child_start(&c[i], opener, in_dir(name));
		assert_int_equal(lease_take(fds[i]), 0);
	}
	assert_int_equal(getrlimit(RLIMIT_SIGPENDING, &before), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &none), 0);
	for (int i = 0; i < FILES; i++)
		child_put(&c[i], 'g');
	/* All asleep before we look: the queue would have had to hold one signal for each. */
	for (int i = 0; i < FILES; i++)
		while (lease_check(fds[i]) != TENURE_BREAKING)
			usleep(1000);
	rig_wait(&rig);
	assert_int_equal(setrlimit(RLIMIT_SIGPENDING, &before), 0);
	assert_int_equal(rig.batches, 1);
	for (int i = 0; i < FILES; i++) {
		assert_int_equal(lease_check(fds[i]), TENURE_BREAKING);
		lease_release(fds[i]);
		assert_int_equal(child_get(&c[i], WAIT_MS), 'o');
		child_stop(&c[i]);
		(void)close(fds[i]);
	}
	rig_stop(&rig);
}

/* Only in the testbed: the time is the whole machine's. */
static void set_break_time(int seconds)
{
	FILE *f = fopen("/proc/sys/fs/lease-break-time", "we");

	assert_non_null(f);
	assert_true(fprintf(f, "%d\n", seconds) > 0);
	assert_int_equal(fclose(f), 0);
}

static void by_force(void (*breaker)(int in, int out, const void *arg), int done)
{
	int fd = new_file("a");
	struct child c;
	struct rig rig;

	rig_start(&rig);
	child_start(&c, breaker, in_dir("a"));
	assert_int_equal(lease_take(fd), 0);
	child_put(&c, 'g');
	rig_wait(&rig);
	assert_int_equal(lease_check(fd), TENURE_BREAKING);
	assert_int_equal(child_get(&c, WAIT_MS), done);
	assert_int_equal(lease_check(fd), TENURE_NONE);
	lease_release(fd);
	child_stop(&c);
	assert_int_equal(lease_take(fd), 0);
	lease_release(fd);
	(void)close(fd);
	rig_stop(&rig);
}

static void test_by_force(void **state)
{
	int before = tenure_break_time_s();

	(void)state;
	if (!getenv("LEASEHOLD_TESTBED")) {
		print_message("only in the testbed\n");
		skip();
	}
	set_break_time(1);
	by_force(opener, 'o'); /* leaves us a read lease, which protects nothing */
	by_force(truncater, 't');
	set_break_time(before);
}

/* ---- retry ----------------------------------------------------------------------------------- */

struct retry {
	struct tenure_retry *r;
	int fd;
	unsigned int calls;
	uint64_t last_ns, longest_ns;
	bool taken;
};

static void on_retry(void *arg)
{
	struct retry *retry = arg;
	uint64_t now = now_ns();

	if (retry->calls++)
		retry->longest_ns = max_u64(retry->longest_ns, now - retry->last_ns);
	retry->last_ns = now;
	if (lease_take(retry->fd))
		return;
	retry->taken = true;
	tenure_retry_free(retry->r); /* from its own callback */
	retry->r = NULL;
}

static void test_retry(void **state)
{
	struct retry retry = {.fd = new_file("a")};
	uint64_t end, closed, late_ns = 0;
	struct child c;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	child_start(&c, opener, in_dir("a"));
	child_put(&c, 'g');
	assert_int_equal(child_get(&c, WAIT_MS), 'o');
	assert_int_equal(retry_new(rig.loop, retry.fd, NULL, on_retry, &retry, &retry.r), 0);
	for (end = now_ns() + 1200 * NS_PER_MS; now_ns() < end;) {
		uint64_t since = now_ns();

		loop_turn(rig.loop, 10);
		late_ns = max_u64(late_ns, now_ns() - since);
	}
	assert_false(retry.taken);
	/* 1, 3, 7, 15, 31, 63, 127, 255, 505, 755, 1005 ms */
	assert_in_range(retry.calls, 5, 12);
	assert_in_range(retry.longest_ns / NS_PER_MS, 200, 600 + late_ns / NS_PER_MS);

	child_put(&c, 'g');
	assert_int_equal(child_get(&c, WAIT_MS), 'c');
	closed = now_ns();
	while (!retry.taken) {
		assert_true(now_ns() < closed + WAIT_MS * NS_PER_MS);
		loop_turn(rig.loop, 100);
	}
	print_message("taken %llu us after the close, calls %u\n",
		      (unsigned long long)((now_ns() - closed) / NS_PER_US), retry.calls);
	assert_in_range((now_ns() - closed) / NS_PER_MS, 0, 100);
	assert_int_equal(lease_check(retry.fd), TENURE_HELD);
	lease_release(retry.fd);
	child_stop(&c);
	(void)close(retry.fd);
	rig_stop(&rig);
}

/*
 * Turns until it was called; the ns of it, in which a turn counts for no more than it should take:
 * what a busy machine takes from us is not the room's.
 */
static uint64_t turn_until_called(struct rig *rig, const struct retry *retry)
{
	uint64_t ns = 0, end = now_ns() + 3 * WAIT_MS * NS_PER_MS;

	while (retry->calls == 0) {
		uint64_t begun = now_ns();

		assert_true(begun < end);
		loop_turn(rig->loop, 10);
		ns += min_u64(now_ns() - begun, 11 * NS_PER_MS);
	}
	return ns;
}

static void count(void *arg)
{
	((struct retry *)arg)->calls++;
}

/* Nobody comes: the first attempt is as late as it was told. Somebody opens: it is soon. */
static void test_retry_stands_back(void **state)
{
	struct retry retry = {.fd = new_file("a")};
	uint64_t start = now_ns();
	struct child c;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	assert_int_equal(retry_new(rig.loop, retry.fd, NULL, count, &retry, &retry.r), 0);
	tenure_retry_stand_back(retry.r, 300 * NS_PER_MS);
	assert_in_range(turn_until_called(&rig, &retry) / NS_PER_MS, 0, 600);
	assert_true(now_ns() - start >= 300 * NS_PER_MS);

	tenure_retry_stand_back(retry.r, WAIT_MS * NS_PER_MS);
	retry.calls = 0;
	loop_turn(rig.loop, 50);
	assert_int_equal(retry.calls, 0);
	child_start(&c, opener, in_dir("a"));
	child_put(&c, 'g');
	assert_int_equal(child_get(&c, WAIT_MS), 'o');
	assert_in_range(turn_until_called(&rig, &retry) / NS_PER_MS, 0, 500);
	child_stop(&c);
	tenure_retry_free(retry.r);
	(void)close(retry.fd);
	rig_stop(&rig);
}

/* Two for one file: the end of one does not make the other deaf. */
static void test_retries_share(void **state)
{
	struct retry retry = {.fd = new_file("a")}, other = {.fd = retry.fd};
	struct child c;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	assert_int_equal(retry_new(rig.loop, retry.fd, NULL, count, &retry, &retry.r), 0);
	assert_int_equal(retry_new(rig.loop, other.fd, NULL, count, &other, &other.r), 0);
	tenure_retry_free(other.r);
	tenure_retry_stand_back(retry.r, 10ull * WAIT_MS * NS_PER_MS);
	child_start(&c, opener, in_dir("a"));
	child_put(&c, 'g');
	assert_int_equal(child_get(&c, WAIT_MS), 'o');
	(void)turn_until_called(&rig, &retry);
	child_stop(&c);
	tenure_retry_free(retry.r);
	(void)close(retry.fd);
	rig_stop(&rig);
}

static void nothing(void *arg)
{
	(void)arg;
}

/* Neither the watch for closes nor its end opens the file. */
static void test_retry_opens_nothing(void **state)
{
	int fd = new_file("a");
	struct tenure_retry *r;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	assert_int_equal(lease_take(fd), 0);
	assert_int_equal(retry_new(rig.loop, fd, NULL, nothing, NULL, &r), 0);
	assert_int_equal(lease_check(fd), TENURE_HELD);
	loop_turn(rig.loop, 20);
	tenure_retry_free(r);
	assert_int_equal(lease_check(fd), TENURE_HELD);
	assert_int_equal(rig.batches, 0);
	lease_release(fd);
	(void)close(fd);
	rig_stop(&rig);
	tenure_retry_free(NULL);
	tenure_signals_free(NULL);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_take_release),
		leaks_test(test_taken_by_others),
		leaks_test(test_break_open),
		leaks_test(test_break_truncate),
		leaks_test(test_break_nonblock),
		leaks_test(test_own_work),
		leaks_test(test_taken_on_thread),
		leaks_test(test_thousand),
		leaks_test(test_overflow),
		leaks_test(test_by_force),
		leaks_test(test_retry),
		leaks_test(test_retry_opens_nothing),
		leaks_test(test_retry_stands_back),
		leaks_test(test_retries_share),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	tenure_block_signals();
	return for_each_dir(run);
}
