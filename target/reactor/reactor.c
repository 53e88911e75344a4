// SPDX-License-Identifier: BSD-3-Clause
/*
 * A reactor: the thread, its loop, its completion queues, and the poller that hands
 * completions to whoever posted the work. Knows nothing of what the work is.
 */
#include "reactor/reactor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "reactor/reactor_internal.h"
#include "util/counter.h"
#include "util/log.h"

#define POLL_BATCH 32

DEFINE_COUNTER(completions, "reactor_completions", "Work completions that reactors took");
DEFINE_COUNTER(sleeps, "reactor_sleeps", "Times a reactor armed its queues to sleep");

struct reactor_queue {
	const struct fabric_device *dev;
	struct fabric_cq *cq;
	unsigned int number, entries; /* of the device's */
	struct loop_fd lfd;
	bool broken; /* the adapter said so; its connections end by their events */
};

struct reactor {
	unsigned int index;
	struct loop *loop;
	bool started;
	struct loop_poller poller;
	struct pread_ring *ring;
	unsigned int nr_queues;
	struct reactor_queue queues[REACTOR_MAX_DEVICES * REACTOR_MAX_CQS];
};

/* The descriptor has done its work when the loop is awake: the poller looks at the queue. */
static void queue_awake(struct loop_fd *lfd, uint32_t events)
{
	(void)lfd;
	(void)events;
}

static bool poll_queue(struct reactor *r, struct reactor_queue *q)
{
	struct fabric_wc wc[POLL_BATCH];
	int n;

	if (q->broken)
		return false;
	n = fabric_cq_poll(q->cq, wc, POLL_BATCH);
	if (n < 0) {
		q->broken = true;
		log_error("reactor %u: the completion queue of %s is broken (error %d)", r->index,
			  fabric_device_info(q->dev)->name, -n);
		return false;
	}
	for (int i = 0; i < n; i++) {
		struct reactor_wr *wr = (struct reactor_wr *)(uintptr_t)wc[i].wr_id;

		wr->done(wr, &wc[i]);
	}
	if (n > 0)
		counter_add(&completions, (uint64_t)n);
	return n > 0;
}

void reactor_take_completions(struct reactor *r)
{
	for (unsigned int i = 0; i < r->nr_queues; i++) {
		/* More than so many have not been there when this began. */
		unsigned int polls = r->queues[i].entries / POLL_BATCH + 1;

		while (polls-- > 0 && poll_queue(r, &r->queues[i]))
			continue;
	}
}

static bool reactor_poll(struct loop_poller *poller)
{
	struct reactor *r = container_of(poller, struct reactor, poller);
	bool worked = false;

	for (unsigned int i = 0; i < r->nr_queues; i++) {
		worked |= poll_queue(r, &r->queues[i]);
		/* Who reads and writes directly makes no completion, but goes on. */
		worked |= fabric_cq_moved(r->queues[i].cq);
	}
	worked |= pread_ring_poll(r->ring);
	return worked;
}

/*
 * The descriptor is watched for one event only, and watched again here: level-triggered, it would
 * keep a loop that is busy polling from ever falling asleep.
 */
static void reactor_arm(struct loop_poller *poller)
{
	struct reactor *r = container_of(poller, struct reactor, poller);

	for (unsigned int i = 0; i < r->nr_queues; i++) {
		struct reactor_queue *q = &r->queues[i];

		if (q->broken)
			continue;
		if (fabric_cq_arm(q->cq) < 0 ||
		    loop_mod_fd(r->loop, &q->lfd, EPOLLIN | EPOLLONESHOT) < 0)
			q->broken = true;
	}
	counter_add(&sleeps, 1);
}

static int add_queue(struct reactor *r, struct fabric_device *dev, unsigned int number,
		     unsigned int entries)
{
	struct reactor_queue *q = &r->queues[r->nr_queues];
	int err = fabric_cq_create(dev, entries, &q->cq);

	if (err)
		return err;
	q->dev = dev;
	q->number = number;
	q->entries = entries;
	q->lfd = (struct loop_fd){.fd = fabric_cq_fd(q->cq), .fn = queue_awake};
	err = loop_add_fd(r->loop, &q->lfd, EPOLLIN | EPOLLONESHOT);
	if (err) {
		fabric_cq_destroy(q->cq);
		return err;
	}
	r->nr_queues++;
	return 0;
}

/* No more queues than it takes: each is one more to look at. */
static int add_queues(struct reactor *r, struct fabric_device *dev, unsigned int entries)
{
	unsigned int most = fabric_device_info(dev)->max_cqe;
	unsigned int left = entries;

	for (unsigned int n = 0; left > 0 && n < REACTOR_MAX_CQS; n++) {
		unsigned int part = most ? (unsigned int)min_u64(left, most) : left;
		int err = add_queue(r, dev, n, part);

		if (err)
			return err;
		left -= part;
	}
	if (left > 0)
		log_warning("reactor %u: %s has room for %u completions, not for %u: fewer or "
			    "shorter queues can connect through it",
			    r->index, fabric_device_info(dev)->name, entries - left, entries);
	return 0;
}

int reactor_new(unsigned int index, struct fabric_device *const devices[], unsigned int nr_devices,
		uint64_t spin_ns, struct reactor **reactor)
{
	return reactor_new_sized(index, devices, nr_devices, spin_ns, REACTOR_CQ_ENTRIES, reactor);
}

int reactor_new_sized(unsigned int index, struct fabric_device *const devices[],
		      unsigned int nr_devices, uint64_t spin_ns, unsigned int entries,
		      struct reactor **reactor)
{
	struct reactor *r;
	char name[24];
	int err;

	if (nr_devices > REACTOR_MAX_DEVICES)
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->index = index;
	(void)snprintf(name, sizeof(name), "reactor/%u", index);
	err = loop_new(name, &r->loop);
	if (err)
		goto free_memory;
	loop_set_spin(r->loop, spin_ns);
	err = pread_ring_new(r->loop, &r->ring);
	if (err)
		goto free_loop;
	for (unsigned int i = 0; i < nr_devices; i++) {
		err = add_queues(r, devices[i], entries);
		if (err)
			goto free_queues;
	}
	r->poller = (struct loop_poller){.poll = reactor_poll, .arm = reactor_arm};
	loop_add_poller(r->loop, &r->poller);
	*reactor = r;
	return 0;

free_queues:
	while (r->nr_queues > 0) {
		struct reactor_queue *q = &r->queues[--r->nr_queues];

		loop_del_fd(r->loop, &q->lfd);
		fabric_cq_destroy(q->cq);
	}
	pread_ring_free(r->ring);
free_loop:
	loop_free(r->loop);
free_memory:
	free(r);
	return err;
}

int reactor_start(struct reactor *r)
{
	int err = loop_start(r->loop);

	if (!err)
		r->started = true;
	return err;
}

struct loop *reactor_loop(struct reactor *r)
{
	return r->loop;
}

static const struct reactor_queue *find_queue(const struct reactor *r,
					      const struct fabric_device *dev, unsigned int n)
{
	for (unsigned int i = 0; i < r->nr_queues; i++) {
		if (r->queues[i].dev == dev && r->queues[i].number == n)
			return &r->queues[i];
	}
	return NULL;
}

struct fabric_cq *reactor_cq_at(struct reactor *r, const struct fabric_device *dev, unsigned int n)
{
	const struct reactor_queue *q = find_queue(r, dev, n);

	return q ? q->cq : NULL;
}

unsigned int reactor_cq_entries(const struct reactor *r, const struct fabric_device *dev,
				unsigned int n)
{
	const struct reactor_queue *q = find_queue(r, dev, n);

	return q ? q->entries : 0;
}

void reactor_pread(struct reactor *r, struct reactor_read *read)
{
	pread_ring_add(r->ring, read);
}

void reactor_free(struct reactor *r)
{
	if (!r)
		return;
	if (r->started)
		loop_join(r->loop);
	loop_del_poller(r->loop, &r->poller);
	while (r->nr_queues > 0) {
		struct reactor_queue *q = &r->queues[--r->nr_queues];

		loop_del_fd(r->loop, &q->lfd);
		fabric_cq_destroy(q->cq);
	}
	pread_ring_free(r->ring);
	loop_free(r->loop);
	free(r);
}
