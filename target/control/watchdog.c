// SPDX-License-Identifier: BSD-3-Clause
/*
 * Each thread that is watched is sent a probe with a beat: a message, or urgent work. The next beat is
 * sent when all have come back; a thread that sleeps wakes for its probe. One that is late is waited for
 * without a beat, and the manager's patience goes on running: so a thread that comes back in time has
 * cost nothing. A probe that is not back is not sent again.
 *
 * sd_notify(3) sleeps while the manager does not read, so beats have a socket of their own that does
 * not. One that finds no room is sent again soon.
 */
#include "control/watchdog.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/log.h"

#define BEAT "WATCHDOG=1"

#define BEATS_PER_TIMEOUT 2
/* While a beat is overdue: how often is looked, in the time of one. */
#define LOOKS_PER_BEAT 16
#define LOOK_MIN_NS    NS_PER_MS

struct watched {
	const char *name;
	struct loop *loop; /* or … */
	struct pool *pool; /* … or neither: */
	void (*ask)(void);
	bool (*answered)(void);
	struct loop_msg msg;
	struct work work;
	_Atomic bool back;
	unsigned int patience; /* beats */
	uint64_t asked_ns;
	bool late; /* and that was told */
};

struct watchdog {
	struct loop *control;
	struct loop_timer timer;
	uint64_t beat_ns; /* from one to the next */
	int fd;
	struct sockaddr_un to;
	socklen_t to_bytes;
	unsigned int nr;
	struct watched list[WATCHDOG_MAX_THREADS];
};

/* ---- birth ----------------------------------------------------------------------------------- */

static int take_address(struct watchdog *dog, const char *address)
{
	const size_t length = strlen(address);

	/* sd_notify(3) knows others, which need not be of this machine. */
	if (address[0] != '/' && address[0] != '@')
		return -EAFNOSUPPORT;
	if (length < 2 || length >= sizeof(dog->to.sun_path))
		return -EINVAL;
	dog->to.sun_family = AF_UNIX;
	memcpy(dog->to.sun_path, address, length);
	if (address[0] == '@')
		dog->to.sun_path[0] = 0;
	dog->to_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length +
				    (address[0] == '/' ? 1 : 0));
	return 0;
}

static void look(struct loop_timer *timer);

int watchdog_new(struct loop *control, uint64_t timeout_us, const char *address,
		 struct watchdog **result)
{
	struct watchdog *dog;
	int rc;

	if (timeout_us == 0 || timeout_us > UINT64_MAX / NS_PER_US || !address)
		return -EINVAL;
	dog = calloc(1, sizeof(*dog));
	if (!dog)
		return -ENOMEM;
	dog->control = control;
	dog->beat_ns = timeout_us * NS_PER_US / BEATS_PER_TIMEOUT;
	dog->timer.fn = look;
	rc = take_address(dog, address);
	if (rc == 0) {
		dog->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		rc = dog->fd < 0 ? -errno : 0;
	}
	if (rc) {
		free(dog);
		return rc;
	}
	loop_timer_set(control, &dog->timer, now_ns());
	*result = dog;
	return 0;
}

void watchdog_free(struct watchdog *dog)
{
	if (!dog)
		return;
	loop_timer_cancel(dog->control, &dog->timer);
	(void)close(dog->fd);
	free(dog);
}

static struct watched *add(struct watchdog *dog, const char *name, unsigned int patience)
{
	struct watched *w = &dog->list[dog->nr];

	assert(dog->nr < WATCHDOG_MAX_THREADS);
	dog->nr++;
	w->name = name;
	w->patience = patience;
	atomic_store(&w->back, true); /* it has not been asked */
	return w;
}

void watchdog_add_loop(struct watchdog *dog, const char *name, struct loop *loop)
{
	add(dog, name, 1)->loop = loop;
}

void watchdog_add_pool(struct watchdog *dog, const char *name, struct pool *pool)
{
	add(dog, name, WATCHDOG_SLOW_BEATS)->pool = pool;
}

void watchdog_add(struct watchdog *dog, const char *name, void (*ask)(void), bool (*answered)(void))
{
	struct watched *w = add(dog, name, 1);

	w->ask = ask;
	w->answered = answered;
}

/* ---- probes ---------------------------------------------------------------------------------- */

/* On the thread that is watched. */
static void loop_answers(struct loop_msg *msg)
{
	atomic_store(&container_of(msg, struct watched, msg)->back, true);
}

/* The same. */
static void pool_answers(struct work *work)
{
	atomic_store(&container_of(work, struct watched, work)->back, true);
}

static bool is_back(struct watched *w)
{
	return w->answered ? w->answered() : atomic_load(&w->back);
}

static void send_probe(struct watched *w, uint64_t now)
{
	w->asked_ns = now;
	if (w->ask) {
		w->ask();
		return;
	}
	atomic_store(&w->back, false);
	if (w->loop)
		loop_post(w->loop, &w->msg, loop_answers);
	else
		pool_submit(w->pool, &w->work, POOL_URGENT, pool_answers, NULL, NULL);
}

static void tell_late(struct watched *w, uint64_t now)
{
	if (w->late)
		return;
	w->late = true;
	log_error("%s has not answered for %llu ms: the service manager is not told that the "
		  "daemon is well until it does",
		  w->name, (unsigned long long)((now - w->asked_ns) / NS_PER_MS));
}

static void tell_back(struct watched *w, uint64_t now)
{
	if (!w->late)
		return;
	w->late = false;
	log_notice("%s answers again, after %llu ms", w->name,
		   (unsigned long long)((now - w->asked_ns) / NS_PER_MS));
}

/* None is out for longer than it may. Those that are back are told of. */
static bool all_well(struct watchdog *dog, uint64_t now)
{
	bool well = true;

	for (unsigned int i = 0; i < dog->nr; i++) {
		struct watched *w = &dog->list[i];

		if (is_back(w)) {
			tell_back(w, now);
		} else if (now - w->asked_ns >= w->patience * dog->beat_ns) {
			tell_late(w, now);
			well = false;
		}
	}
	return well;
}

/* ---- beats ----------------------------------------------------------------------------------- */

/* False: there is no room now. A manager that is gone will not miss it. */
static bool send_beat(struct watchdog *dog)
{
	ssize_t n = sendto(dog->fd, BEAT, strlen(BEAT), MSG_DONTWAIT | MSG_NOSIGNAL,
			   (const struct sockaddr *)&dog->to, dog->to_bytes);

	return n >= 0 || (errno != EAGAIN && errno != ENOBUFS);
}

static void look(struct loop_timer *timer)
{
	struct watchdog *dog = container_of(timer, struct watchdog, timer);
	const uint64_t now = now_ns();

	if (!all_well(dog, now) || !send_beat(dog)) {
		loop_timer_set(dog->control, timer,
			       now + max_u64(dog->beat_ns / LOOKS_PER_BEAT, LOOK_MIN_NS));
		return;
	}
	for (unsigned int i = 0; i < dog->nr; i++) {
		if (is_back(&dog->list[i]))
			send_probe(&dog->list[i], now);
	}
	loop_timer_set(dog->control, timer, now + dog->beat_ns);
}
