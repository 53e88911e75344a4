// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reads of files for one reactor, which must not sleep: by io_uring, all of a turn with one system
 * call; what does not fit the ring waits in a list. Where the kernel refuses io_uring (containers
 * often do) two threads read instead. Everything here is for the reactor's thread, but
 * thread_read().
 */
#include "reactor/reactor_internal.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/counter.h"
#include "util/pool.h"

#define RING_ENTRIES	 64
#define FALLBACK_THREADS 2
/* A copy this long would hold up the other queues: the kernel's threads do it. */
#define INLINE_READ_BYTES KIB(64)

DEFINE_COUNTER(preads, "reactor_preads", "Reads of the file-system path");

/* One read on the way without io_uring. */
struct read_slot {
	struct work work;
	struct pread_ring *ring;
	struct reactor_read *read;
	int result;
	struct read_slot *next;
};

struct pread_ring {
	struct loop *loop;
	struct reactor_read *first, **last; /* not started */
	unsigned int started;		    /* in flight */

	struct io_uring uring;
	struct loop_fd event; /* wakes the loop when a read is done */

	struct pool *threads; /* instead of the uring */
	struct read_slot slots[RING_ENTRIES];
	struct read_slot *free_slots;
	bool answered; /* a thread's answer was run since the last poll */
	bool warm;     /* see warm_up() */
};

static void event_ready(struct loop_fd *lfd, uint32_t events)
{
	eventfd_t count;

	(void)events;
	(void)eventfd_read(lfd->fd, &count);
}

static int open_uring(struct pread_ring *ring)
{
	int err = io_uring_queue_init(RING_ENTRIES, &ring->uring, 0);

	if (err < 0)
		return err;
	ring->event =
		(struct loop_fd){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .fn = event_ready};
	if (ring->event.fd < 0) {
		err = -errno;
		goto exit_ring;
	}
	err = io_uring_register_eventfd(&ring->uring, ring->event.fd);
	if (err)
		goto close_event;
	err = loop_add_fd(ring->loop, &ring->event, EPOLLIN);
	if (err)
		goto close_event;
	return 0;

close_event:
	(void)close(ring->event.fd);
exit_ring:
	io_uring_queue_exit(&ring->uring);
	return err;
}

int pread_ring_new(struct loop *loop, struct pread_ring **ring)
{
	struct pread_ring *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->loop = loop;
	p->last = &p->first;
	for (unsigned int i = 0; i < RING_ENTRIES; i++) {
		p->slots[i].ring = p;
		p->slots[i].next = p->free_slots;
		p->free_slots = &p->slots[i];
	}
	if (open_uring(p) < 0) {
		err = pool_new("pread", FALLBACK_THREADS, &p->threads);
		if (err) {
			free(p);
			return err;
		}
	}
	*ring = p;
	return 0;
}

void pread_ring_free(struct pread_ring *ring)
{
	assert(!ring->first);
	if (ring->threads) {
		assert(ring->started == 0);
		pool_free(ring->threads);
	} else {
		loop_del_fd(ring->loop, &ring->event);
		(void)close(ring->event.fd);
		io_uring_queue_exit(&ring->uring);
	}
	free(ring);
}

void pread_ring_add(struct pread_ring *ring, struct reactor_read *read)
{
	read->next = NULL;
	*ring->last = read;
	ring->last = &read->next;
}

static struct reactor_read *take_first(struct pread_ring *ring)
{
	struct reactor_read *read = ring->first;

	ring->first = read->next;
	if (!ring->first)
		ring->last = &ring->first;
	ring->started++;
	counter_add(&preads, 1);
	return read;
}

static void thread_read(struct work *work)
{
	struct read_slot *slot = container_of(work, struct read_slot, work);
	struct reactor_read *read = slot->read;
	ssize_t n;

	do {
		n = pread(read->fd, read->buf, read->length, (off_t)read->offset);
	} while (n < 0 && errno == EINTR);
	slot->result = n < 0 ? -errno : (int)n;
}

static void thread_read_done(struct work *work)
{
	struct read_slot *slot = container_of(work, struct read_slot, work);
	struct pread_ring *ring = slot->ring;
	struct reactor_read *read = slot->read;
	int result = slot->result;

	slot->next = ring->free_slots;
	ring->free_slots = slot;
	ring->started--;
	ring->answered = true;
	read->done(read, result);
}

static bool poll_threads(struct pread_ring *ring)
{
	bool worked = ring->answered;

	ring->answered = false;
	while (ring->first && ring->free_slots) {
		struct read_slot *slot = ring->free_slots;

		ring->free_slots = slot->next;
		slot->read = take_first(ring);
		pool_submit(ring->threads, &slot->work, POOL_NORMAL, thread_read, thread_read_done,
			    ring->loop);
		worked = true;
	}
	return worked;
}

/*
 * The kernel makes a thread for a task's first read that may not be copied here, and keeps it. Better
 * at the start, with the other threads, than in the middle of a recall.
 */
static void warm_up(struct pread_ring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

	ring->warm = true;
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, NULL);
	io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
	ring->started++;
}

static bool submit(struct pread_ring *ring)
{
	bool any = false;

	if (!ring->warm)
		warm_up(ring);

	while (ring->first && ring->started < RING_ENTRIES) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
		struct reactor_read *read;

		if (!sqe)
			break;
		read = take_first(ring);
		io_uring_prep_read(sqe, read->fd, read->buf, read->length, read->offset);
		io_uring_sqe_set_data(sqe, read);
		if (read->length > INLINE_READ_BYTES)
			io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
		any = true;
	}
	/* What it does not take now (-EAGAIN, -EBUSY) stays in the ring for the next turn. */
	if (io_uring_sq_ready(&ring->uring) > 0)
		(void)io_uring_submit(&ring->uring);
	return any || io_uring_sq_ready(&ring->uring) > 0;
}

static bool reap(struct pread_ring *ring)
{
	struct io_uring_cqe *cqe;
	bool any = false;

	while (ring->started > 0 && io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
		struct reactor_read *read = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&ring->uring, cqe);
		ring->started--;
		any = true;
		if (!read)
			continue;
		/* A signal that no thread of ours takes: again, in order. */
		if (result == -EINTR || result == -EAGAIN)
			pread_ring_add(ring, read);
		else
			read->done(read, result);
	}
	return any;
}

bool pread_ring_poll(struct pread_ring *ring)
{
	bool worked;

	if (ring->threads)
		return poll_threads(ring);
	worked = submit(ring);
	worked |= reap(ring);
	return worked;
}
