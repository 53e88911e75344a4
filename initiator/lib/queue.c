// SPDX-License-Identifier: BSD-3-Clause
/*
 * A connection and its completion queue: opening, polling by whoever waits, dying, closing. Owns the
 * CM channel, the connection and the completion queue; knows nothing of what is sent.
 */
#include "libleasehold/queue.h"

#include "wire/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define POLL_BATCH 16

static const char *const cannot_arm = "its completion queue gives no notice";

int queue_init(struct queue *q, const char *name,
	       void (*complete)(struct queue *q, const struct fabric_wc *wc),
	       void (*died)(struct queue *q))
{
	pthread_condattr_t attr;
	int fd;

	memset(q, 0, sizeof(*q));
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	(void)snprintf(q->name, sizeof(q->name), "%s", name);
	(void)pthread_mutex_init(&q->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&q->news, &attr);
	(void)pthread_condattr_destroy(&attr);
	q->wake_fd = fd;
	q->closed = true;
	q->why = "it is not open";
	spin_init(&q->spin);
	q->complete = complete;
	q->died = died;
	return 0;
}

void queue_fini(struct queue *q)
{
	assert(!q->conn && q->users == 0);
	(void)close(q->wake_fd);
	(void)pthread_cond_destroy(&q->news);
	(void)pthread_mutex_destroy(&q->lock);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The next event of the channel, before the deadline. */
static int next_event(struct fabric_cm *cm, uint64_t deadline, struct fabric_cm_event *event)
{
	for (;;) {
		struct pollfd pfd = {.fd = fabric_cm_fd(cm), .events = POLLIN};
		uint64_t now = now_ns();
		int rc = fabric_cm_poll(cm, event);

		if (rc != 0)
			return rc < 0 ? rc : 0;
		if (now >= deadline)
			return -ETIMEDOUT;
		if (poll(&pfd, 1, (int)((deadline - now) / NS_PER_MS) + 1) < 0 && errno != EINTR)
			return -errno;
	}
}

static int explain(const struct queue_param *p, int rc, bool taken, struct errtext *err)
{
	switch (rc) {
	case -ECONNREFUSED:
		return errtext_set(err, rc,
				   "no listener at %s: is leaseholdd running there? Check the "
				   "address, the `listeners` of its configuration, and whether it "
				   "speaks this fabric (iwarp:// or rdma://)",
				   p->address);
	case -ETIMEDOUT:
		if (taken)
			return errtext_set(err, rc,
					   "%s accepted the connection and said nothing within "
					   "%u ms: it does not speak NVMe over iWARP, or hangs; "
					   "another program's port?",
					   p->address, p->timeout_ms);
		return errtext_set(err, rc,
				   "%s did not answer within %u ms: check the route and the "
				   "firewall (port 4420 unless told otherwise)",
				   p->address, p->timeout_ms);
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return errtext_set(err, rc,
				   "no way to %s: check the address, and that an RDMA device "
				   "serves its network (rdma link)",
				   p->address);
	case -ENODEV:
	case -EADDRNOTAVAIL:
		return errtext_set(err, rc,
				   "no RDMA device leads to %s: look at `rdma link`, or use "
				   "iwarp://, which needs none",
				   p->address);
	case -ENOMEM:
		return errtext_set(err, rc,
				   "no memory for a connection to %s: raise RLIMIT_MEMLOCK "
				   "(ulimit -l), or ask for less depth",
				   p->address);
	case -ECONNRESET:
	case -EPIPE:
		return errtext_set(err, rc,
				   "%s closed the connection before it was made: check that "
				   "leaseholdd listens there, with this fabric",
				   p->address);
	default:
		return errtext_set(err, rc, "the connection to %s failed: %s", p->address,
				   fabric_refusal_text(rc) ? fabric_refusal_text(rc)
							   : strerror(-rc));
	}
}

static int make_queue_pair(struct queue *q, struct queue_param *p)
{
	struct fabric_device *dev = fabric_conn_device(q->conn);
	const struct fabric_device_info *info = fabric_device_info(dev);
	struct fabric_qp_attr attr = {
		.max_send_wr = p->send_wr,
		.max_recv_wr = p->recv_wr,
		.max_send_sge = 2,
		.max_recv_sge = 1,
		.max_inline = (unsigned int)min_u64(p->max_inline, info->max_inline_bytes),
	};
	int rc = p->get_pd(p->user, dev, &attr.pd);

	if (rc < 0)
		return rc;
	rc = fabric_cq_create(dev, p->send_wr + p->recv_wr, &q->cq);
	if (rc < 0)
		return rc;
	attr.cq = q->cq;
	rc = fabric_qp_create(q->conn, &attr);
	if (rc < 0)
		return rc;
	fabric_conn_set_user(q->conn, q);
	return p->prepare(q, p->user);
}

static int establish(struct queue *q, struct queue_param *p, uint64_t deadline,
		     struct fabric_cm_event *event)
{
	const struct fabric_conn_param param = {
		.private_data = p->private_data,
		.private_data_len = p->private_data_len,
		.responder_resources = p->responder_resources,
		.initiator_depth = p->initiator_depth,
	};
	int rc;

	rc = fabric_resolve(q->cm, (const struct sockaddr *)p->addr, p->timeout_ms, q, &q->conn);
	if (rc < 0)
		return rc;
	rc = next_event(q->cm, deadline, event);
	if (rc < 0)
		return rc;
	if (event->type != FABRIC_CM_RESOLVED)
		return event->error < 0 ? event->error : -ECONNREFUSED;
	rc = make_queue_pair(q, p);
	if (rc < 0)
		return rc;
	rc = fabric_connect(q->conn, &param);
	if (rc < 0)
		return rc;
	/* The software fabric moves its start-up by the CM; nothing to poll yet. */
	rc = next_event(q->cm, deadline, event);
	if (rc < 0)
		return rc;
	if (event->type == FABRIC_CM_ESTABLISHED || event->type == FABRIC_CM_REJECTED) {
		size_t n = min_u64(event->private_data_len, sizeof(p->reply));

		memset(p->reply, 0, sizeof(p->reply));
		memcpy(p->reply, event->private_data, n);
	}
	if (event->type == FABRIC_CM_ESTABLISHED)
		return 0;
	if (event->type == FABRIC_CM_REJECTED) {
		p->rejected = event->private_data_len >= 4;
		return -ECONNREFUSED;
	}
	return event->error < 0 ? event->error : -ECONNREFUSED;
}

static void tear_down(struct queue *q)
{
	if (q->conn)
		fabric_conn_destroy(q->conn);
	q->conn = NULL;
	if (q->cq)
		fabric_cq_destroy(q->cq);
	q->cq = NULL;
	if (q->cm)
		fabric_cm_close(q->cm);
	q->cm = NULL;
}

int queue_open(struct queue *q, struct fabric *f, struct queue_param *p, struct errtext *err)
{
	uint64_t deadline = now_ns() + p->timeout_ms * NS_PER_MS, drained;
	struct fabric_cm_event event;
	int rc;

	assert(q->closed && !q->conn);
	p->rejected = false;
	rc = fabric_cm_open(f, &q->cm);
	if (rc == 0)
		rc = establish(q, p, deadline, &event);
	if (rc < 0) {
		const bool taken = q->conn && fabric_conn_taken(q->conn);

		tear_down(q);
		return p->rejected ? errtext_set(err, rc, "%s refused the connection", p->address)
				   : explain(p, rc, taken, err);
	}
	(void)!read(q->wake_fd, &drained, sizeof(drained));
	(void)pthread_mutex_lock(&q->lock);
	q->live = true;
	q->closed = false;
	(void)pthread_mutex_unlock(&q->lock);
	return 0;
}

/* ---- dying and closing ----------------------------------------------------------------------- */

static void wake_sleeper(struct queue *q)
{
	const uint64_t one = 1;

	if (q->sleeper)
		(void)!write(q->wake_fd, &one, sizeof(one));
}

void queue_wake(struct queue *q)
{
	wake_sleeper(q);
	if (q->waiters)
		(void)pthread_cond_broadcast(&q->news);
}

void queue_kill(struct queue *q, const char *why)
{
	if (!q->live)
		return;
	q->live = false;
	q->why = why;
	/* First nothing touches the callers' memory any more, then they get it back. */
	(void)fabric_conn_fence(q->conn);
	q->died(q);
	queue_wake(q);
}

void queue_close(struct queue *q)
{
	(void)pthread_mutex_lock(&q->lock);
	if (q->conn) {
		queue_kill(q, "we closed it");
		while (q->users) {
			queue_wake(q);
			/* Each leaves at its next look; there is nobody to tell us about it. */
			(void)pthread_mutex_unlock(&q->lock);
			(void)poll(NULL, 0, 1);
			(void)pthread_mutex_lock(&q->lock);
		}
		tear_down(q);
	}
	q->closed = true;
	(void)pthread_mutex_unlock(&q->lock);
}

const char *queue_why(struct queue *q)
{
	const char *why;

	(void)pthread_mutex_lock(&q->lock);
	why = q->why;
	(void)pthread_mutex_unlock(&q->lock);
	return why;
}

bool queue_is_live(struct queue *q)
{
	bool live;

	(void)pthread_mutex_lock(&q->lock);
	live = q->live;
	(void)pthread_mutex_unlock(&q->lock);
	return live;
}

/* ---- polling --------------------------------------------------------------------------------- */

unsigned int queue_poll(struct queue *q)
{
	struct fabric_wc wc[POLL_BATCH];
	unsigned int total = 0;
	int n;

	do {
		if (!q->live)
			return total;
		n = fabric_cq_poll(q->cq, wc, POLL_BATCH);
		if (n < 0) {
			queue_kill(q, "its completion queue failed");
			return total;
		}
		for (int i = 0; i < n; i++) {
			if (!q->live)
				break;
			q->complete(q, &wc[i]);
		}
		total += (unsigned int)n;
	} while (n == POLL_BATCH);
	/* The descriptor is not readable any more for one who sleeps on it: tell. */
	if (total)
		queue_wake(q);
	return total;
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/* Sleeps on the descriptor as the only one, lock dropped. */
static void sleep_on_fd(struct queue *q, bool (*done)(void *arg), void *arg, uint64_t deadline)
{
	struct pollfd fds[2] = {{.events = POLLIN}, {.fd = q->wake_fd, .events = POLLIN}};
	uint64_t now, drained;
	int ms = -1;

	if (fabric_cq_arm(q->cq) < 0) {
		queue_kill(q, cannot_arm);
		return;
	}
	if (queue_poll(q) > 0 || done(arg) || !q->live)
		return;
	fds[0].fd = fabric_cq_fd(q->cq);
	now = now_ns();
	if (deadline != UINT64_MAX)
		ms = deadline <= now ? 0 : (int)min_u64((deadline - now) / NS_PER_MS + 1, 60000);
	q->sleeper = true;
	(void)pthread_mutex_unlock(&q->lock);
	(void)poll(fds, 2, ms);
	if (fds[1].revents)
		(void)!read(q->wake_fd, &drained, sizeof(drained));
	(void)pthread_mutex_lock(&q->lock);
	q->sleeper = false;
}

static void wait_for_news(struct queue *q, uint64_t deadline)
{
	struct timespec ts;

	deadline = min_u64(deadline, now_ns() + NS_PER_S);
	ts.tv_sec = (time_t)(deadline / NS_PER_S);
	ts.tv_nsec = (long)(deadline % NS_PER_S);
	q->waiters++;
	(void)pthread_cond_timedwait(&q->news, &q->lock, &ts);
	q->waiters--;
}

int queue_wait(struct queue *q, bool (*done)(void *arg), void *arg, uint64_t deadline_ns)
{
	uint64_t start = 0, spin_ns = 0, now;
	int rc = 0;

	q->users++;
	for (;;) {
		q->activity++;
		if (done(arg))
			break;
		if (queue_poll(q) > 0) {
			if (start)
				spin_end(&q->spin, now_ns() - start);
			start = 0;
			continue;
		}
		/* A dead queue has nothing to poll: what is waited for comes by queue_wake(). */
		now = now_ns();
		if (now >= deadline_ns) {
			rc = -ETIMEDOUT;
			break;
		}
		if (start == 0)
			spin_ns = spin_begin(&q->spin);
		/* What comes in pieces is on its way: that is no wait yet. */
		if (start == 0 || (q->live && fabric_cq_moved(q->cq)))
			start = now;
		if (q->live && now - start < spin_ns) {
			/* Others may post or poll in between. */
			(void)pthread_mutex_unlock(&q->lock);
			relax();
			(void)pthread_mutex_lock(&q->lock);
			continue;
		}
		if (!q->live || q->sleeper) {
			wait_for_news(q, deadline_ns);
			continue;
		}
		sleep_on_fd(q, done, arg, deadline_ns);
		/* Who slept takes over what followers wait for; one of them takes over from it. */
		if (q->waiters)
			(void)pthread_cond_broadcast(&q->news);
	}
	if (start && rc == 0)
		spin_end(&q->spin, now_ns() - start);
	q->users--;
	if (q->waiters)
		(void)pthread_cond_signal(&q->news);
	return rc;
}

/* ---- the watching thread --------------------------------------------------------------------- */

int queue_watch(struct queue *q, struct pollfd fds[2])
{
	int ms = -1;

	fds[0] = (struct pollfd){.fd = -1, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = -1, .events = POLLIN};
	(void)pthread_mutex_lock(&q->lock);
	if (q->live) {
		fds[1].fd = fabric_cm_fd(q->cm);
		if (q->activity != q->activity_seen || q->sleeper) {
			q->activity_seen = q->activity;
			ms = QUEUE_TICK_MS;
		} else if (fabric_cq_arm(q->cq) < 0) {
			queue_kill(q, cannot_arm);
		} else {
			if (queue_poll(q) > 0)
				ms = 0;
			fds[0].fd = q->live ? fabric_cq_fd(q->cq) : -1;
		}
	}
	(void)pthread_mutex_unlock(&q->lock);
	return ms;
}

void queue_watched(struct queue *q, const struct pollfd fds[2])
{
	(void)pthread_mutex_lock(&q->lock);
	if (fds[0].revents)
		(void)queue_poll(q);
	if (q->live && fds[1].revents) {
		struct fabric_cm_event event;

		while (q->live && fabric_cm_poll(q->cm, &event) == 1) {
			if (event.type == FABRIC_CM_DISCONNECTED ||
			    event.type == FABRIC_CM_DEVICE_GONE) {
				/* Why it ended may be among what completed before. */
				(void)queue_poll(q);
				queue_kill(q, event.type == FABRIC_CM_DEVICE_GONE
						      ? "the RDMA device has gone"
						      : "the peer closed it");
			}
		}
	}
	(void)pthread_mutex_unlock(&q->lock);
}
