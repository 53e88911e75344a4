// SPDX-License-Identifier: BSD-3-Clause
/* Messages between threads and pollers: nothing is lost on the way to sleep, nothing starves. */
#include "leaks.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "util/loop.h"

static struct loop *loop;

/* Instead of the C library's, to count the system calls. */
static atomic_int wakes, looks, sleeps;

int eventfd_write(int fd, eventfd_t value)
{
	atomic_fetch_add(&wakes, 1);
	return write(fd, &value, sizeof(value)) == sizeof(value) ? 0 : -1;
}

int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
		 const sigset_t *mask)
{
	assert(!mask);
	atomic_fetch_add(&looks, 1);
	if (!timeout || timeout->tv_sec || timeout->tv_nsec)
		atomic_fetch_add(&sleeps, 1);
	return (int)syscall(SYS_epoll_pwait2, epfd, events, max, timeout, NULL, (size_t)8);
}

static int setup(void **state)
{
	atomic_store(&wakes, 0);
	atomic_store(&looks, 0);
	atomic_store(&sleeps, 0);
	return leaks_setup(state) || loop_new("loop", &loop) ? -1 : 0;
}

static int teardown(void **state)
{
	loop_free(loop);
	return leaks_teardown(state);
}

/* Messages. */

#define SENDERS	   4
#define PER_SENDER 5000

struct letter {
	struct loop_msg msg;
	int sender, number;
};

static struct letter letters[SENDERS][PER_SENDER];
static int received[SENDERS]; /* the loop's thread */

static void receive(struct loop_msg *msg)
{
	struct letter *letter = container_of(msg, struct letter, msg);

	assert(loop_is_current(loop));
	assert(letter->number == received[letter->sender]);
	received[letter->sender]++;
}

static void *send_all(void *arg)
{
	struct letter *mine = arg;

	for (int i = 0; i < PER_SENDER; i++) {
		loop_post(loop, &mine[i].msg, receive);
		if (i % 1000 == 0)
			usleep(100);
	}
	return NULL;
}

static void test_order_per_sender(void **state)
{
	pthread_t threads[SENDERS];

	(void)state;
	memset(received, 0, sizeof(received));
	for (int s = 0; s < SENDERS; s++)
		for (int i = 0; i < PER_SENDER; i++)
			letters[s][i] = (struct letter){.sender = s, .number = i};
	assert_int_equal(loop_start(loop), 0);
	for (int s = 0; s < SENDERS; s++)
		assert_int_equal(pthread_create(&threads[s], NULL, send_all, letters[s]), 0);
	for (int s = 0; s < SENDERS; s++)
		(void)pthread_join(threads[s], NULL);
	loop_join(loop);
	for (int s = 0; s < SENDERS; s++)
		assert_int_equal(received[s], PER_SENDER);
}

#define ROUNDS 20000

static struct {
	struct loop *loops[2];
	struct loop_msg msg;
	int rounds;
	atomic_bool over;
} pong;

static void pong_bounce(struct loop_msg *msg)
{
	if (++pong.rounds == ROUNDS)
		atomic_store(&pong.over, true);
	else
		loop_post(pong.loops[pong.rounds % 2], msg, pong_bounce);
}

static bool pong_over(void)
{
	for (int i = 0; i < 3000 && !atomic_load(&pong.over); i++)
		usleep(10000);
	return atomic_load(&pong.over);
}

/* Both sleep in between: one lost wake-up and the ball stops. */
static void test_ping_pong(void **state)
{
	(void)state;
	memset(&pong, 0, sizeof(pong));
	pong.loops[0] = loop;
	assert_int_equal(loop_new("other", &pong.loops[1]), 0);
	assert_int_equal(loop_start(pong.loops[0]), 0);
	assert_int_equal(loop_start(pong.loops[1]), 0);
	loop_post(pong.loops[0], &pong.msg, pong_bounce);
	assert_true(pong_over());
	loop_join(pong.loops[1]);
	loop_join(pong.loops[0]);
	loop_free(pong.loops[1]);
}

static int self_posts;

static void post_again(struct loop_msg *msg)
{
	if (++self_posts < 10)
		loop_post(loop, msg, post_again);
}

static void test_post_to_self(void **state)
{
	struct loop_msg msg;

	(void)state;
	self_posts = 0;
	loop_post(loop, &msg, post_again);
	for (int i = 1; i <= 10; i++) {
		loop_turn(loop, 0);
		assert_int_equal(self_posts, i);
	}
	loop_turn(loop, 1);
	assert_int_equal(self_posts, 10);
	assert_int_equal(atomic_load(&wakes), 0);
}

/* Pollers. */

struct queue {
	struct loop_poller poller;
	atomic_int entries;
	int polls, arms, taken;
	int appear_at_arm; /* entries that come just as it is armed */
	bool always_busy;
	int delete_at;
	struct queue *victim;
};

static bool queue_poll(struct loop_poller *poller)
{
	struct queue *q = container_of(poller, struct queue, poller);
	int n = atomic_exchange(&q->entries, 0);

	q->taken += n;
	if (++q->polls == q->delete_at)
		loop_del_poller(loop, &q->victim->poller);
	return n > 0 || q->always_busy;
}

static void queue_arm(struct loop_poller *poller)
{
	struct queue *q = container_of(poller, struct queue, poller);

	q->arms++;
	atomic_fetch_add(&q->entries, q->appear_at_arm);
	q->appear_at_arm = 0;
}

static void queue_add(struct queue *q)
{
	q->poller = (struct loop_poller){.poll = queue_poll, .arm = queue_arm};
	loop_add_poller(loop, &q->poller);
}

static void test_poller_turns(void **state)
{
	struct queue q = {.entries = 3};
	int polls;

	(void)state;
	queue_add(&q);
	loop_turn(loop, -1);
	assert_int_equal(q.taken, 3);
	assert_int_equal(q.arms, 0);
	/* What comes while it is being armed is found before the sleep. */
	q.appear_at_arm = 2;
	loop_turn(loop, -1);
	assert_int_equal(q.taken, 5);
	assert_int_equal(q.arms, 1);
	polls = q.polls;
	loop_turn(loop, 1);
	assert_int_equal(q.arms, 2);
	assert_true(q.polls >= polls + 2);
	loop_del_poller(loop, &q.poller);
	polls = q.polls;
	loop_turn(loop, 0);
	assert_int_equal(q.polls, polls);
}

static void test_poller_del_in_poll(void **state)
{
	struct queue q[4] = {0};

	(void)state;
	for (int i = 0; i < 4; i++)
		queue_add(&q[i]);
	q[0].delete_at = 1;
	q[0].victim = &q[1];
	q[2].delete_at = 1;
	q[2].victim = &q[2];
	loop_turn(loop, 0);
	assert_int_equal(q[0].polls, 1);
	assert_int_equal(q[1].polls, 0);
	assert_int_equal(q[2].polls, 1);
	assert_int_equal(q[3].polls, 1);
	loop_turn(loop, 0);
	assert_int_equal(q[1].polls + q[2].polls, 1);
	assert_int_equal(q[3].polls, 2);
	loop_del_poller(loop, &q[0].poller);
	loop_del_poller(loop, &q[3].poller);
}

static void stop_msg(struct loop_msg *msg)
{
	(void)msg;
	loop_stop(loop);
}

static void *post_stop_soon(void *arg)
{
	usleep(20000);
	loop_post(loop, arg, stop_msg);
	return NULL;
}

static void *post_stop_asleep(void *arg)
{
	while (!atomic_load(&sleeps))
		usleep(1000);
	loop_post(loop, arg, stop_msg);
	return NULL;
}

static void run_until_message(void *(*poster)(void *))
{
	struct loop_msg msg;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, poster, &msg), 0);
	loop_run(loop);
	(void)pthread_join(thread, NULL);
}

static void test_poller_sleeps_and_wakes(void **state)
{
	struct queue q = {0};

	(void)state;
	queue_add(&q);
	run_until_message(post_stop_asleep);
	assert_int_equal(atomic_load(&wakes), 1);
	assert_int_equal(atomic_load(&sleeps), 1);
	assert_in_range(q.arms, 1, 5);
	assert_in_range(q.polls, 2, 20);
	loop_del_poller(loop, &q.poller);
}

static void test_poller_spins(void **state)
{
	struct queue q = {.entries = 1};
	uint64_t start = now_ns();

	(void)state;
	queue_add(&q);
	loop_set_spin(loop, 60 * NS_PER_S);
	run_until_message(post_stop_soon);
	/* Neither the loop nor who posted made a system call for each turn. */
	assert_int_equal(q.arms, 0);
	assert_int_equal(atomic_load(&wakes), 0);
	assert_true((uint64_t)atomic_load(&looks) <= (now_ns() - start) / (50 * NS_PER_US) + 1);
	loop_del_poller(loop, &q.poller);
}

static struct {
	struct loop_fd lfd;
	struct loop_timer timer;
	struct loop_msg msg;
	bool fd, timed, messaged;
} others;

static void others_check(void)
{
	if (others.fd && others.timed && others.messaged)
		loop_stop(loop);
}

static void others_fd(struct loop_fd *lfd, uint32_t events)
{
	(void)events;
	others.fd = true;
	loop_del_fd(loop, lfd);
	others_check();
}

static void others_timer(struct loop_timer *timer)
{
	(void)timer;
	others.timed = true;
	others_check();
}

static void others_msg(struct loop_msg *msg)
{
	(void)msg;
	others.messaged = true;
	others_check();
}

static void test_busy_poller_starves_nothing(void **state)
{
	struct queue q = {.always_busy = true};

	(void)state;
	memset(&others, 0, sizeof(others));
	others.lfd.fd = eventfd(1, EFD_CLOEXEC);
	others.lfd.fn = others_fd;
	others.timer.fn = others_timer;
	queue_add(&q);
	assert_int_equal(loop_add_fd(loop, &others.lfd, EPOLLIN), 0);
	loop_timer_set(loop, &others.timer, now_ns() + 5 * NS_PER_MS);
	loop_post(loop, &others.msg, others_msg);
	loop_run(loop);
	assert_int_equal(q.arms, 0);
	(void)close(others.lfd.fd);
	loop_del_poller(loop, &q.poller);
}

/* What is expected any moment. */

#define AWAKE_NS    (10 * NS_PER_S) /* longer than the test takes */
#define AWAKE_POSTS 20

static atomic_int handled;
static atomic_uint_fast64_t awake_until;

static void be_awake(struct loop_msg *msg)
{
	(void)msg;
	loop_stay_awake(loop, atomic_load(&awake_until));
	atomic_fetch_add(&handled, 1);
}

static void handle(struct loop_msg *msg)
{
	(void)msg;
	atomic_fetch_add(&handled, 1);
}

static void handle_fd(struct loop_fd *lfd, uint32_t events)
{
	eventfd_t value;

	(void)events;
	(void)eventfd_read(lfd->fd, &value);
	atomic_fetch_add(&handled, 1);
}

static void handle_timer(struct loop_timer *timer)
{
	(void)timer;
	atomic_fetch_add(&handled, 1);
}

static void post_and_wait(struct loop_msg *msg, void (*fn)(struct loop_msg *msg))
{
	const int before = atomic_load(&handled);

	loop_post(loop, msg, fn);
	while (atomic_load(&handled) == before)
		usleep(100);
}

/* Nobody is woken for messages; descriptors and timers have their turn; then it sleeps as before. */
static void test_stay_awake(void **state)
{
	struct loop_fd lfd = {.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .fn = handle_fd};
	struct loop_timer timer = {.fn = handle_timer};
	struct loop_msg msg;
	int slept, woken;

	(void)state;
	atomic_store(&handled, 0);
	assert_int_equal(loop_add_fd(loop, &lfd, EPOLLIN), 0);
	loop_timer_set(loop, &timer, now_ns() + 20 * NS_PER_MS);
	assert_int_equal(loop_start(loop), 0);
	atomic_store(&awake_until, now_ns() + AWAKE_NS);
	post_and_wait(&msg, be_awake);
	slept = atomic_load(&sleeps);
	woken = atomic_load(&wakes);
	for (int i = 0; i < AWAKE_POSTS; i++)
		post_and_wait(&msg, handle);
	assert_int_equal(eventfd_write(lfd.fd, 1), 0);
	/* These, the descriptor and the timer. */
	while (atomic_load(&handled) < 1 + AWAKE_POSTS + 2)
		usleep(100);
	assert_int_equal(atomic_load(&sleeps), slept);
	assert_int_equal(atomic_load(&wakes), woken + 1);
	/* Called off, and over. */
	for (int i = 0; i < 2; i++) {
		atomic_store(&awake_until, i == 0 ? 0 : now_ns() + 5 * NS_PER_MS);
		slept = atomic_load(&sleeps);
		post_and_wait(&msg, be_awake);
		while (atomic_load(&sleeps) == slept)
			usleep(100);
	}
	woken = atomic_load(&wakes);
	post_and_wait(&msg, handle);
	assert_int_equal(atomic_load(&wakes), woken + 1);
	loop_join(loop);
	loop_del_fd(loop, &lfd);
	(void)close(lfd.fd);
}

#define loop_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		loop_test(test_order_per_sender),   loop_test(test_ping_pong),
		loop_test(test_post_to_self),	    loop_test(test_poller_turns),
		loop_test(test_poller_del_in_poll), loop_test(test_poller_sleeps_and_wakes),
		loop_test(test_poller_spins),	    loop_test(test_busy_poller_starves_nothing),
		loop_test(test_stay_awake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
