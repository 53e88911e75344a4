/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Completion queues: the engine. Polling one moves the bytes of its connections.
 *
 * A connection is a slot number here; who works on one names it in the hazard and looks at the slot
 * again, so that another thread may clear the slot, wait, and free the connection. Connections with
 * recent traffic are "hot": their sockets are tried at each poll without asking epoll first, as long
 * as they are few; the others are found through epoll now and then. The queue's descriptor is the
 * epoll set itself, with an eventfd for what other threads bring: it is readable whenever a socket
 * is, so that arming only adds the interest in writing.
 */
#include "iwarp_internal.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define HOT_MAX		 8    /* more hot sockets than these are left to epoll */
#define ALWAYS_HOT	 2    /* so few connections are never left to epoll */
#define COLD_AFTER	 1024 /* turns without work */
#define EPOLL_EVERY	 8    /* turns between looks at the cold ones */
#define EVENTS_PER_LOOK	 64
#define WAKE_TAG	 UINT64_MAX
#define WAIT_YIELDS	 100
#define WAIT_SLEEP_NS	 20000
#define MIN_RING_ENTRIES 16

/* ---- birth and end --------------------------------------------------------------------------- */

static struct iw_hazard *hazard_take(struct iw_device *dev)
{
	struct iw_hazard *hazard = NULL;

	pthread_mutex_lock(&dev->lock);
	for (unsigned int i = 0; i < IW_MAX_CQS && !hazard; i++) {
		if (atomic_load(&dev->hazard[i].taken))
			continue;
		hazard = &dev->hazard[i];
		atomic_store(&hazard->taken, true);
		if (i >= atomic_load(&dev->hazards_used))
			atomic_store(&dev->hazards_used, i + 1);
	}
	pthread_mutex_unlock(&dev->lock);
	return hazard;
}

static void cq_free(struct iw_cq *cq)
{
	if (cq->hazard)
		atomic_store(&cq->hazard->taken, false);
	if (cq->wake_fd >= 0)
		(void)close(cq->wake_fd);
	if (cq->base.fd >= 0)
		(void)close(cq->base.fd);
	free(cq->slots);
	free(cq->inbox);
	free(cq->active);
	free(cq->hot);
	free(cq->ring);
	free(cq);
}

int iw_cq_create(struct fabric_device *dev, unsigned int entries, struct fabric_cq **out)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKE_TAG};
	uint32_t size = MIN_RING_ENTRIES;
	struct iw_cq *cq;
	int err;

	if (entries > IW_MAX_CQE)
		return -EINVAL;
	while (size < entries)
		size <<= 1;
	cq = calloc(1, sizeof(*cq));
	if (!cq)
		return -ENOMEM;
	cq->base.ops = &iw_ops;
	cq->dev = iw_device_of(dev);
	cq->base.fd = epoll_create1(EPOLL_CLOEXEC);
	cq->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (cq->base.fd < 0 || cq->wake_fd < 0 ||
	    epoll_ctl(cq->base.fd, EPOLL_CTL_ADD, cq->wake_fd, &event)) {
		err = -errno;
		goto fail;
	}
	err = -ENOMEM;
	cq->slots = calloc(IW_MAX_CONNS, sizeof(cq->slots[0]));
	cq->inbox = calloc(IW_MAX_CONNS, sizeof(cq->inbox[0]));
	cq->active = calloc(IW_MAX_CONNS, sizeof(cq->active[0]));
	cq->hot = calloc(IW_MAX_CONNS, sizeof(cq->hot[0]));
	cq->ring = calloc(size, sizeof(cq->ring[0]));
	cq->ring_mask = size - 1;
	if (!cq->slots || !cq->inbox || !cq->active || !cq->hot || !cq->ring)
		goto fail;
	cq->hazard = hazard_take(cq->dev);
	if (!cq->hazard)
		goto fail;
	cq->hold.hazard = cq->hazard;
	err = -pthread_mutex_init(&cq->lock, NULL);
	if (err)
		goto fail;
	atomic_fetch_add(&cq->dev->objects, 1);
	*out = &cq->base;
	return 0;

fail:
	cq_free(cq);
	return err;
}

void iw_cq_destroy(struct fabric_cq *base)
{
	struct iw_cq *cq = iw_cq_of(base);

	for (unsigned int i = 0; i < cq->slots_used; i++)
		assert(!atomic_load(&cq->slots[i].conn));
	atomic_fetch_sub(&cq->dev->objects, 1);
	pthread_mutex_destroy(&cq->lock);
	cq_free(cq);
}

/* ---- any thread ------------------------------------------------------------------------------ */

static void cq_wake(struct iw_cq *cq)
{
	uint64_t one = 1;

	(void)!write(cq->wake_fd, &one, sizeof(one)); /* a full counter wakes as well */
}

void iw_cq_kick(struct iw_cq *cq)
{
	atomic_store(&cq->attention, true);
	cq_wake(cq);
}

int iw_cq_join(struct iw_cq *cq, struct iw_conn *conn)
{
	unsigned int i = 0;

	pthread_mutex_lock(&cq->lock);
	while (i < cq->slots_used && atomic_load(&cq->slots[i].conn))
		i++;
	if (i == IW_MAX_CONNS) {
		pthread_mutex_unlock(&cq->lock);
		return -ENOMEM;
	}
	if (i == cq->slots_used)
		cq->slots_used++;
	conn->cq = cq;
	conn->cq_slot = i;
	conn->cq_generation = atomic_load(&cq->slots[i].generation);
	atomic_store(&cq->slots[i].conn, conn);
	pthread_mutex_unlock(&cq->lock);
	return 0;
}

void iw_cq_attach(struct iw_cq *cq, struct iw_conn *conn)
{
	struct iw_cq_slot *slot = &cq->slots[conn->cq_slot];

	pthread_mutex_lock(&cq->lock);
	if (atomic_load(&slot->conn) == conn && !slot->queued) {
		slot->queued = true;
		cq->inbox[cq->inbox_len++] = conn->cq_slot;
	}
	pthread_mutex_unlock(&cq->lock);
	iw_cq_kick(cq);
}

void iw_cq_wait(struct iw_cq *cq, const struct iw_conn *conn)
{
	const struct timespec nap = {.tv_nsec = WAIT_SLEEP_NS};

	for (unsigned int tries = 0; atomic_load(&cq->hazard->conn) == conn; tries++) {
		if (tries < WAIT_YIELDS)
			(void)sched_yield();
		else
			(void)nanosleep(&nap, NULL);
	}
}

void iw_cq_leave(struct iw_cq *cq, struct iw_conn *conn)
{
	struct iw_cq_slot *slot = &cq->slots[conn->cq_slot];

	/* Its completions are lost from here on, also what is pushed just now: poll compares. */
	atomic_fetch_add(&slot->generation, 1);
	atomic_store(&slot->conn, NULL);
	iw_cq_wait(cq, conn);
}

/* ---- completions ----------------------------------------------------------------------------- */

void iw_cq_push(struct iw_cq *cq, const struct iw_conn *conn, const struct fabric_wc *wc)
{
	struct iw_cqe *cqe = &cq->ring[cq->ring_tail & cq->ring_mask];

	assert(iw_cq_room(cq));
	cqe->wc = *wc;
	cqe->slot = conn->cq_slot;
	cqe->generation = conn->cq_generation;
	cqe->shared = conn->srq && wc->op == FABRIC_OP_RECV;
	cq->ring_tail++;
}

static unsigned int cq_take(struct iw_cq *cq, struct fabric_wc *wc, unsigned int n)
{
	unsigned int got = 0;

	while (got < n && cq->ring_head != cq->ring_tail) {
		const struct iw_cqe *cqe = &cq->ring[cq->ring_head & cq->ring_mask];

		if (cqe->generation ==
		    atomic_load_explicit(&cq->slots[cqe->slot].generation, memory_order_acquire)) {
			wc[got++] = cqe->wc;
		} else if (cqe->shared) {
			wc[got] = cqe->wc;
			wc[got].conn = NULL;
			wc[got++].user = NULL;
		}
		cq->ring_head++;
	}
	return got;
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* The connection in a slot, named in the hazard; NULL if there is none any more. */
static struct iw_conn *cq_enter(struct iw_cq *cq, uint32_t index)
{
	struct iw_conn *conn = atomic_load(&cq->slots[index].conn);

	if (!conn)
		return NULL;
	atomic_store(&cq->hazard->conn, conn);
	if (atomic_load(&cq->slots[index].conn) == conn)
		return conn;
	atomic_store_explicit(&cq->hazard->conn, NULL, memory_order_release);
	return NULL;
}

static void cq_exit(struct iw_cq *cq)
{
	atomic_store_explicit(&cq->hazard->conn, NULL, memory_order_release);
}

static void make_hot(struct iw_cq *cq, uint32_t index)
{
	if (cq->slots[index].hot)
		return;
	cq->slots[index].hot = true;
	cq->hot[cq->nhot++] = index;
}

/* What waits for the socket to take bytes. A handshake's connection is none of our business yet. */
static bool wants_to_write(const struct iw_conn *conn)
{
	return iw_conn_state(conn) == IW_ESTABLISHED && iw_tx_pending(conn);
}

/* Adds the socket to the set, or changes what is awaited of it, or takes it out in the end. */
static void watch(struct iw_cq *cq, struct iw_conn *conn, bool writable)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLRDHUP | (writable ? EPOLLOUT : 0),
		.data.u64 = conn->cq_slot,
	};

	if (iw_conn_state(conn) != IW_ESTABLISHED) {
		if (conn->on_epoll)
			(void)epoll_ctl(cq->base.fd, EPOLL_CTL_DEL, conn->fd, &event);
		conn->on_epoll = false;
		return;
	}
	if (conn->on_epoll && conn->epoll_events == event.events)
		return;
	if (epoll_ctl(cq->base.fd, conn->on_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, conn->fd,
		      &event)) {
		/* The kernel is out of memory: without a wake-up the connection is no use. */
		struct iw_fault fault = iw_fault_silent(FABRIC_GENERAL_ERROR);

		iw_conn_fail(conn, &fault);
		return;
	}
	conn->on_epoll = true;
	conn->epoll_events = event.events;
}

/* Takes over what other threads have brought. */
static void cq_attend(struct iw_cq *cq)
{
	uint32_t kept = 0;

	atomic_store(&cq->attention, false);
	pthread_mutex_lock(&cq->lock);
	for (unsigned int i = 0; i < cq->inbox_len; i++) {
		struct iw_cq_slot *slot = &cq->slots[cq->inbox[i]];

		slot->queued = false;
		if (!slot->active && atomic_load(&slot->conn)) {
			slot->active = true;
			cq->active[cq->nactive++] = cq->inbox[i];
		}
	}
	cq->inbox_len = 0;
	pthread_mutex_unlock(&cq->lock);

	/* A fenced one may be among the cold: look at all. */
	for (unsigned int i = 0; i < cq->nactive; i++) {
		struct iw_conn *conn = cq_enter(cq, cq->active[i]);

		if (!conn) {
			cq->slots[cq->active[i]].active = false;
			continue;
		}
		conn->idle_turns = 0;
		make_hot(cq, cq->active[i]);
		watch(cq, conn, false);
		cq_exit(cq);
		cq->active[kept++] = cq->active[i];
	}
	cq->nactive = kept;
}

/* One connection's turn, with the hazard naming it. */
static void cq_turn(struct iw_cq *cq, struct iw_conn *conn)
{
	bool moved = iw_conn_service(conn);

	cq->base.moved |= moved;
	if (moved || iw_conn_pending(conn) || wants_to_write(conn))
		conn->idle_turns = 0;
	else
		conn->idle_turns++;
	if (iw_conn_state(conn) == IW_ERROR && conn->on_epoll)
		watch(cq, conn, false);
}

/* Is there no more reason to look at it without being told? */
static bool gone_cold(const struct iw_cq *cq, const struct iw_conn *conn)
{
	if (iw_conn_state(conn) == IW_ERROR)
		return conn->flushed;
	return conn->idle_turns > COLD_AFTER && cq->nactive > ALWAYS_HOT;
}

/* Gives the hot ones their turn; `all`, or only those that have something to do of their own. */
static void cq_hot_turns(struct iw_cq *cq, bool all)
{
	unsigned int kept = 0, n = cq->nhot;

	for (unsigned int i = 0; i < n; i++) {
		uint32_t index = cq->hot[i];
		struct iw_conn *conn = cq_enter(cq, index);
		bool cold = true;

		if (conn) {
			if (all || iw_conn_pending(conn) || wants_to_write(conn))
				cq_turn(cq, conn);
			else
				conn->idle_turns++;
			cold = gone_cold(cq, conn);
			cq_exit(cq);
		}
		if (cold)
			cq->slots[index].hot = false;
		else
			cq->hot[kept++] = index;
	}
	cq->nhot = kept;
}

static void cq_look(struct iw_cq *cq)
{
	struct epoll_event events[EVENTS_PER_LOOK];
	int n = epoll_wait(cq->base.fd, events, EVENTS_PER_LOOK, 0);

	for (int i = 0; i < n; i++) {
		uint32_t index = (uint32_t)events[i].data.u64;
		struct iw_conn *conn;

		if (events[i].data.u64 == WAKE_TAG)
			continue;
		conn = cq_enter(cq, index);
		if (!conn)
			continue;
		conn->idle_turns = 0;
		make_hot(cq, index);
		cq_turn(cq, conn);
		if (conn->epoll_events & EPOLLOUT)
			watch(cq, conn, wants_to_write(conn));
		cq_exit(cq);
	}
}

static void cq_progress(struct iw_cq *cq)
{
	bool few = cq->nhot <= HOT_MAX;

	if (atomic_load_explicit(&cq->attention, memory_order_acquire))
		cq_attend(cq);
	cq->turn++;
	cq_hot_turns(cq, few);
	if (!few || (cq->nactive > cq->nhot && cq->turn % EPOLL_EVERY == 0))
		cq_look(cq);
}

/*
 * Is there something that no descriptor will tell of: bytes at hand, or bytes for a socket whose
 * readiness is not awaited?
 */
static bool left_over(struct iw_cq *cq)
{
	bool left = false;

	for (unsigned int i = 0; i < cq->nhot && !left; i++) {
		struct iw_conn *conn = cq_enter(cq, cq->hot[i]);

		if (!conn)
			continue;
		left = iw_conn_pending(conn) ||
		       (wants_to_write(conn) && !(conn->epoll_events & EPOLLOUT));
		cq_exit(cq);
	}
	return left;
}

int iw_cq_poll(struct fabric_cq *base, struct fabric_wc *wc, unsigned int n)
{
	struct iw_cq *cq = iw_cq_of(base);
	unsigned int got = cq_take(cq, wc, n);

	if (got == n)
		return (int)got;
	cq_progress(cq);
	got += cq_take(cq, wc + got, n - got);
	/* Who has armed polls once more and sleeps if nothing was completed; there may be more to do. */
	if (cq->armed && left_over(cq)) {
		cq->armed = false;
		cq_wake(cq);
	}
	return (int)got;
}

/* ---- sleeping -------------------------------------------------------------------------------- */

int iw_cq_arm(struct fabric_cq *base)
{
	struct iw_cq *cq = iw_cq_of(base);
	bool work = cq->ring_head != cq->ring_tail;
	uint64_t count;

	(void)!read(cq->wake_fd, &count, sizeof(count));
	/* What came before the read must not be slept over. */
	if (atomic_load(&cq->attention))
		cq_attend(cq);
	for (unsigned int i = 0; i < cq->nhot; i++) {
		struct iw_conn *conn = cq_enter(cq, cq->hot[i]);

		if (!conn)
			continue;
		work |= iw_conn_pending(conn);
		watch(cq, conn, wants_to_write(conn));
		cq_exit(cq);
	}
	cq->armed = true;
	if (work)
		cq_wake(cq);
	return 0;
}

void iw_cq_posted(struct iw_cq *cq, struct iw_conn *conn)
{
	bool pending;

	/* The caller is the queue's thread, and the connection its own: no hazard is needed. */
	pending = wants_to_write(conn) || iw_conn_pending(conn);
	if (pending)
		make_hot(cq, conn->cq_slot);
	if (!cq->armed || (!pending && cq->ring_head == cq->ring_tail))
		return;
	cq->armed = false;
	cq_wake(cq);
}
