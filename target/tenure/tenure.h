/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What protects a file's blocks while memory is registered. Here: the kernel lease (fcntl,
 * F_WRLCK). A signal is only a hint that some lease is being broken: scan all.
 */
#ifndef LEASEHOLD_TENURE_H
#define LEASEHOLD_TENURE_H

#include "util/loop.h"

enum tenure_state {
	TENURE_HELD,	 /* ours, nobody wants the file */
	TENURE_BREAKING, /* ours still; somebody sleeps until we let go, or tried without sleeping */
	TENURE_NONE,	 /* not ours: never taken, let go, or broken by force when time was up */
};

/** Blocks the lease signals (SIGIO and SIGRTMIN + 1) in the calling thread: in main(), before any
 *  thread is made. */
void tenure_block_signals(void);

/**
 * Calls broken(arg) on `loop`, its thread, for every batch of lease signals: scan with
 * tenure_check(). Breaks are not counted, and a batch may tell of no break at all. What was broken
 * before the watch was made is told too, if tenure_block_signals() came before that. One in a
 * process, as the signals are.
 */
struct tenure_watch;
MUST_CHECK int tenure_watch_new(struct loop *loop, void (*broken)(void *arg), void *arg,
				struct tenure_watch **watch);
/** The loop's thread, after the last tenure_retry_free(). */
void tenure_watch_free(struct tenure_watch *watch);

/**
 * Takes the write lease on an open file description (F_SETOWN_EX, F_SETSIG, F_SETLEASE; checked).
 * Our own mappings through that description do not matter. Worker thread.
 * -EAGAIN: somebody else has the file open or mapped, or came just now; -EACCES: not the file's
 * owner and no CAP_LEASE; -EINVAL: the file system has no leases.
 */
MUST_CHECK int tenure_take(int fd);

/** Lets go. The landlord goes on from here. Any thread, does not sleep. Idempotent. */
void tenure_release(int fd);

/**
 * Any thread. While the tenure is held, one fcntl(2). Else F_GETLEASE tells the same of a lease that
 * is being broken and of one that is gone, so /proc/self/fdinfo is read; if that fails, the answer
 * is TENURE_BREAKING: a recall that finds nothing to recall does no harm.
 */
enum tenure_state tenure_check(int fd);

/** The kernel's patience, seconds of /proc/sys/fs/lease-break-time; -errno if unreadable. */
int tenure_break_time_s(void);

/**
 * Tells when it may be worth trying tenure_take() again: after a close(2) of the file by others
 * (inotify), and by a timer that backs off from 1 ms to 250 ms and starts over at a close. Opens
 * nothing and does not sleep. `retry` runs on `loop`, its thread, until tenure_retry_free(), which
 * it may call itself. Without a tenure_watch on the same loop, or if inotify is at its limits, the
 * timer alone must do. -ENOMEM.
 */
struct tenure_retry;
MUST_CHECK int tenure_retry_new(struct loop *loop, int fd, void (*retry)(void *arg), void *arg,
				struct tenure_retry **r);
/**
 * Holds the first attempt back for `ns`, or until somebody has opened or changed the file: for after a
 * recall. Whoever broke the lease without waiting for it (truncate(1) and others open with O_NONBLOCK
 * and fail) would otherwise find it taken again at every try. Call it before tenure_release(), so that
 * nobody comes in unseen; without inotify it does nothing. The loop's thread.
 */
void tenure_retry_stand_back(struct tenure_retry *r, uint64_t ns);
/** The loop's thread. */
void tenure_retry_free(struct tenure_retry *r);

#endif
