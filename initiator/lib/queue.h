/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection with a completion queue of its own, polled by whoever waits. The NVMe queues and
 * the direct queues are built on it.
 *
 * Threads. `lock` makes its holder "the thread" that the fabric asks for: everything here is called
 * with it held unless it says otherwise. Who waits polls a little, then sleeps on the descriptor as
 * the one sleeper; others wait for the sleeper's news. A watching thread (the client's service
 * thread, an export's keeper) sleeps on the descriptor only while no caller is at it.
 *
 * Lock order: export lock of direct queue → (none). Two queue locks are never held at once.
 */
#ifndef LEASEHOLD_QUEUE_H
#define LEASEHOLD_QUEUE_H

#include "fabric/fabric.h"
#include "libleasehold/spin.h"
#include "util/util.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#define QUEUE_TICK_MS 5 /* how often a watcher looks at a queue that callers are polling */

struct queue {
	char name[48]; /* "I/O queue 1", for sentences */
	pthread_mutex_t lock;
	pthread_cond_t news; /* completions were processed, or the queue died */
	struct fabric_cm *cm;
	struct fabric_conn *conn; /* NULL: not connected */
	struct fabric_cq *cq;
	bool live;		/* established and not dead */
	bool closed;		/* by us, or never opened */
	bool sleeper;		/* somebody sleeps on the descriptor and will tell */
	unsigned int users;	/* threads inside queue_wait() */
	unsigned int waiters;	/* of them, asleep on `news` */
	int wake_fd;		/* eventfd that wakes the sleeper when the queue dies */
	uint64_t activity;	/* counts polls by callers */
	uint64_t activity_seen; /* by the watcher */
	struct spin spin;	/* how long waits poll */
	/** Why it ended, for sentences; of the last connection, never NULL. Its own lock's. */
	const char *why;

	/** A completion, under the lock. */
	void (*complete)(struct queue *q, const struct fabric_wc *wc);
	/** The queue has died: fail what is in flight. Under the lock, once per connection. */
	void (*died)(struct queue *q);
};

MUST_CHECK int queue_init(struct queue *q, const char *name,
			  void (*complete)(struct queue *q, const struct fabric_wc *wc),
			  void (*died)(struct queue *q));
/** Not connected, nobody inside. Not under the lock. */
void queue_fini(struct queue *q);

struct queue_param {
	const struct sockaddr_storage *addr;
	const char *address; /* the same, for sentences */
	unsigned int timeout_ms;
	unsigned int send_wr, recv_wr;
	unsigned int max_inline;
	uint8_t responder_resources, initiator_depth;
	const void *private_data;
	uint8_t private_data_len;
	/** The device is known: gives the protection domain. Not under the lock. */
	int (*get_pd)(void *user, struct fabric_device *dev, struct fabric_pd **pd);
	/** The queue pair exists: post the receives. Not under the lock. */
	int (*prepare)(struct queue *q, void *user);
	void *user;
	/* out */
	uint8_t reply[FABRIC_PRIVATE_DATA_MAX]; /* the target's private data */
	bool rejected;				/* by the target, with `reply` as its reason */
};

/**
 * Connects: one thread, not under the lock, nobody else using the queue. On success it is live.
 * On failure it is as before, with a sentence.
 */
MUST_CHECK int queue_open(struct queue *q, struct fabric *f, struct queue_param *param,
			  struct errtext *err);

/** Fences and destroys. Not under the lock; waits for those inside queue_wait() to leave. */
void queue_close(struct queue *q);

/**
 * Fences the connection, fails everything in flight, wakes everybody. Idempotent: the first reason
 * (a string that stays) is kept as `why`.
 */
void queue_kill(struct queue *q, const char *why);
/** The last `why`; takes the lock itself. */
const char *queue_why(struct queue *q);

/** Established and not dead; takes the lock itself. A moment's view. */
bool queue_is_live(struct queue *q);

/** Processes what completions there are; returns how many. */
unsigned int queue_poll(struct queue *q);

/**
 * Waits until done(arg) is true or the deadline (now_ns(); UINT64_MAX: none) has passed. Drops the
 * lock while it sleeps. Returns 0 or -ETIMEDOUT. done() must become true when the queue dies.
 */
MUST_CHECK int queue_wait(struct queue *q, bool (*done)(void *arg), void *arg,
			  uint64_t deadline_ns);

/** Tells those that wait on `news` and the sleeper to look again: something changed by other means. */
void queue_wake(struct queue *q);

/**
 * For the watching thread, lock not held, before it sleeps: fills two pollfds (completions, CM
 * events; fd -1 for what is not to be watched now) and returns for how many ms at most (-1: any).
 */
int queue_watch(struct queue *q, struct pollfd fds[2]);
/** After it slept: takes in completions and CM events. Lock not held. */
void queue_watched(struct queue *q, const struct pollfd fds[2]);

#endif
