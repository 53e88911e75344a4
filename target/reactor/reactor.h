/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A reactor: one thread, its loop, and completion queues on each adapter: one, or as many as it takes
 * for the room that is wanted. It owns its connections,
 * queue pairs and requests for life; only it posts to them and polls them. It polls while busy and
 * sleeps when idle.
 *
 * Every work request's wr_id is the address of a struct reactor_wr: a completion is one indirect
 * call, no look-up.
 */
#ifndef LEASEHOLD_REACTOR_H
#define LEASEHOLD_REACTOR_H

#include "fabric/fabric.h"
#include "util/loop.h"

#define REACTOR_MAX_DEVICES	8
#define REACTOR_DEFAULT_SPIN_US 50    /* of polling after the last work, before sleeping */
#define REACTOR_CQ_ENTRIES	16384 /* of a device, unless more are wanted */
#define REACTOR_MAX_CQS		16    /* of a device */

struct reactor;

struct reactor_wr {
	/** On the reactor's thread; `wc` is valid during the call. */
	void (*done)(struct reactor_wr *wr, const struct fabric_wc *wc);
};

static inline uint64_t reactor_wr_id(struct reactor_wr *wr)
{
	return (uint64_t)(uintptr_t)wr;
}

/**
 * A reactor with room for `entries` completions on each device, or as many as that can have in
 * REACTOR_MAX_CQS queues; runs from reactor_start() to reactor_free().
 */
MUST_CHECK int reactor_new_sized(unsigned int index, struct fabric_device *const devices[],
				 unsigned int nr_devices, uint64_t spin_ns, unsigned int entries,
				 struct reactor **r);
/** The same with REACTOR_CQ_ENTRIES. */
MUST_CHECK int reactor_new(unsigned int index, struct fabric_device *const devices[],
			   unsigned int nr_devices, uint64_t spin_ns, struct reactor **r);
MUST_CHECK int reactor_start(struct reactor *r);
/** Stops the thread. Its connections must be destroyed. */
void reactor_free(struct reactor *r);

struct loop *reactor_loop(struct reactor *r);
/** The device's completion queue number `n`, from 0; NULL: there are not so many. */
struct fabric_cq *reactor_cq_at(struct reactor *r, const struct fabric_device *dev, unsigned int n);
/** Its entries; 0: there are not so many queues. Any thread. */
unsigned int reactor_cq_entries(const struct reactor *r, const struct fabric_device *dev,
				unsigned int n);
static inline struct fabric_cq *reactor_cq(struct reactor *r, const struct fabric_device *dev)
{
	return reactor_cq_at(r, dev, 0);
}

/**
 * On its thread, from a message: takes all completions that are there now, of every queue. Not
 * those that a faulting fabric holds back.
 */
void reactor_take_completions(struct reactor *r);

/**
 * pread(2) by io_uring: `done` on the reactor's loop with what pread would return (-errno, or bytes,
 * fewer at the end of the file). `fd` stays open, `buf` valid until then. Reactor's thread only.
 */
struct reactor_read {
	void (*done)(struct reactor_read *read, int result);
	int fd;
	void *buf;
	uint32_t length;
	uint64_t offset;
	struct reactor_read *next;
};
void reactor_pread(struct reactor *r, struct reactor_read *read);

#endif
