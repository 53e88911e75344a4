/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The service manager is told that the daemon is well, while it is: the control loop turns, and each thread
 * that others wait for has answered since the last time. If it is told no more it starts the daemon anew.
 *
 * All on the control loop, or where it does not run. Nothing here sleeps, whatever the manager does.
 */
#ifndef LEASEHOLD_CONTROL_WATCHDOG_H
#define LEASEHOLD_CONTROL_WATCHDOG_H

#include "util/loop.h"
#include "util/pool.h"

/* Of a daemon: the reactors (CONTROL_MAX_REACTORS), registrar, workers, and the listener of watches. */
#define WATCHDOG_MAX_THREADS 67

/*
 * A thread that may sleep in the file system or in an adapter is given so many beats to answer; others
 * one. With WatchdogSec=30: two minutes, and 15 seconds.
 */
#define WATCHDOG_SLOW_BEATS 8

struct watchdog;

/**
 * `timeout_us`: how long the manager waits for a beat (sd_watchdog_enabled(3)); it gets two in that
 * time. `address`: its socket, as $NOTIFY_SOCKET has it. Beats from the next turn of the loop on.
 * -EAFNOSUPPORT: that is no Unix socket; -EINVAL: no time or no address; -errno.
 */
MUST_CHECK int watchdog_new(struct loop *control, uint64_t timeout_us, const char *address,
			    struct watchdog **dog);
/** What is watched must be gone, or have answered; no beat comes after it. NULL is allowed. */
void watchdog_free(struct watchdog *dog);

/** `name` is for the log and outlives the watchdog, as does what is watched (see watchdog_free()). */
void watchdog_add_loop(struct watchdog *dog, const char *name, struct loop *loop);
/** It answers when one of its threads has nothing urgent to do. */
void watchdog_add_pool(struct watchdog *dog, const char *name, struct pool *pool);
/**
 * Anything that answers by itself: `ask` has it do so, `answered` tells whether it has since the last
 * time. Neither sleeps.
 */
void watchdog_add(struct watchdog *dog, const char *name, void (*ask)(void),
		  bool (*answered)(void));

#endif
