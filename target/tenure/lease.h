/* SPDX-License-Identifier: BSD-3-Clause */
/* The lease of an open file description. For the room's own files and for tests. */
#ifndef LEASEHOLD_TENURE_LEASE_H
#define LEASEHOLD_TENURE_LEASE_H

#include "tenure/tenure.h"

/**
 * Takes the write lease on an open file description (F_SETOWN_EX, F_SETSIG, F_SETLEASE; checked).
 * Worker thread. Errors: tenure_take().
 */
MUST_CHECK int lease_take(int fd);

/** Lets go. The landlord goes on from here. Any thread, does not sleep. Idempotent. */
void lease_release(int fd);

/**
 * Any thread. While the lease is held, one fcntl(2). Else F_GETLEASE tells the same of a lease that
 * is being broken and of one that is gone, so /proc/self/fdinfo is read; if that fails, the answer
 * is TENURE_BREAKING: a recall that finds nothing to recall does no harm.
 */
enum tenure_state lease_check(int fd);

/**
 * A retry for a lease on a descriptor alone; for a watch, `due` says when the next attempt may be, as
 * now_ns() (in the past: now), and `noticed` that something was opened, changed or closed.
 */
struct retry_pace {
	uint64_t (*due)(void *arg);
	void (*noticed)(void *arg);
	void *arg;
};
MUST_CHECK int retry_new(struct loop *loop, int fd, const struct retry_pace *pace,
			 void (*retry)(void *arg), void *arg, struct tenure_retry **r);

#endif
