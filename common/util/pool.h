/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads for what may block: the registrar (one thread) and the workers. Work is a struct embedded
 * in what it is about; `run` is called on a pool thread, then `done` on the loop that asked.
 */
#ifndef LEASEHOLD_POOL_H
#define LEASEHOLD_POOL_H

#include "util/loop.h"

struct pool;

struct work {
	struct list link;
	void (*run)(struct work *work);
	void (*done)(struct work *work); /* or NULL: the work may free itself in run */
	struct loop *reply;		 /* where done runs */
	struct loop_msg msg;
};

/** `threads` threads named "NAME/0" … */
MUST_CHECK int pool_new(const char *name, unsigned int threads, struct pool **pool);
/** Runs what was submitted, then ends the threads. */
void pool_free(struct pool *pool);

enum pool_urgency {
	POOL_NORMAL,
	POOL_URGENT, /* before everything else that has not started: a recall's work */
	/* What may take long, in turn with what is normal. One thread never does it, where there are several:
	 * so what is urgent, or normal, does not wait for all of them. */
	POOL_BULK,
};

/** Any thread; never fails. The struct must stay alive until done was called. */
void pool_submit(struct pool *pool, struct work *work, enum pool_urgency urgency,
		 void (*run)(struct work *work), void (*done)(struct work *work),
		 struct loop *reply);

/**
 * Makes work that was submitted, and whose `done` was not called yet, urgent if it has not started:
 * somebody waits for its end. By the loop that asked.
 */
void pool_hurry(struct pool *pool, struct work *work);

/**
 * Its threads do not sleep before `until_ns` (now_ns(); 0: as usual): work is to come any moment. Any
 * thread.
 */
void pool_stay_awake(struct pool *pool, uint64_t until_ns);

#endif
