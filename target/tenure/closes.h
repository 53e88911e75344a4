/* SPDX-License-Identifier: BSD-3-Clause */
/* The inotify instance of the process. For the room's own files. */
#ifndef LEASEHOLD_TENURE_CLOSES_H
#define LEASEHOLD_TENURE_CLOSES_H

#include "util/loop.h"

/**
 * Lets the retries of this loop hear of close(2). One instance for all, since closing one makes the
 * kernel wait for some ten milliseconds. Without, or if it fails, retries have their timers only.
 */
void closes_start(struct loop *loop);
/** After the last retry. */
void closes_stop(void);

#endif
