/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What protects a file's blocks while memory is registered. Here: the kernel lease (fcntl,
 * F_WRLCK). A signal is only a hint that some lease is being broken: scan all.
 */
#ifndef LEASEHOLD_TENURE_H
#define LEASEHOLD_TENURE_H

#include "util/loop.h"

enum tenure_state {
	TENURE_HELD,	 /* ours, nobody waits */
	TENURE_BREAKING, /* ours, and somebody sleeps until we let go */
	TENURE_NONE,	 /* not ours (never taken, let go, or broken by force) */
};

/** Blocks the lease signals (SIGIO and one real-time signal) in the calling thread: in main(),
 *  before any thread is made. */
void tenure_block_signals(void);

/** Calls broken(arg) on `loop` for every batch of lease signals: scan with tenure_check(). */
struct tenure_watch;
MUST_CHECK int tenure_watch_new(struct loop *loop, void (*broken)(void *arg), void *arg,
				struct tenure_watch **watch);
void tenure_watch_free(struct tenure_watch *watch);

/**
 * Takes the write lease on an open file description (F_SETOWN, F_SETSIG, F_SETLEASE; checked).
 * Worker thread. -EAGAIN: somebody else has the file open (or mapped); -EACCES: not the owner and
 * no CAP_LEASE; -EINVAL: the file system has no leases.
 */
MUST_CHECK int tenure_take(int fd);

/** Lets go. The landlord goes on from here. Any thread, does not sleep. Idempotent. */
void tenure_release(int fd);

/** Any thread, does not sleep. */
enum tenure_state tenure_check(int fd);

/** The kernel's patience, seconds of /proc/sys/fs/lease-break-time; -errno if unreadable. */
int tenure_break_time_s(void);

/**
 * Tells when it may be worth trying tenure_take() again: after a close(2) of the file by others
 * (inotify), and by a timer that backs off from 1 ms to 250 ms. `retry` runs on `loop` until
 * tenure_retry_stop().
 */
struct tenure_retry;
MUST_CHECK int tenure_retry_new(struct loop *loop, int fd, void (*retry)(void *arg), void *arg,
				struct tenure_retry **r);
void tenure_retry_free(struct tenure_retry *r);

#endif
