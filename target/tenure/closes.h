/* SPDX-License-Identifier: BSD-3-Clause */
/* The inotify instance of the process, and what it tells retry.c. For the room's own files. */
#ifndef LEASEHOLD_TENURE_CLOSES_H
#define LEASEHOLD_TENURE_CLOSES_H

#include "util/loop.h"

#define CLOSES_NONE (-1) /* no watch: nothing is told of the file */
#define CLOSES_ALL  (-2) /* events were lost: it may have been any file */

/**
 * Lets the retries of this loop hear of close(2). One instance for all, since closing one makes the
 * kernel wait for some ten milliseconds. Without, or if it fails, retries have their timers only.
 */
void closes_start(struct loop *loop);
/** After the last retry. */
void closes_stop(void);

/** The watch of the file, the same one for whoever asks; CLOSES_NONE if there is none. */
int closes_watch(struct loop *loop, int fd);
/** After the last who asked for it. */
void closes_unwatch(int wd);

/* ---- retry.c: what has happened, in this order; the loop's thread ------------------------------ */

/** Closed; or, with CLOSES_ALL, perhaps. */
void retry_closed(int wd);
/** Opened or changed. */
void retry_came_in(int wd);
/** No more is known just now: those whose file was closed try. */
void retry_after_events(void);

/** Nobody waits. */
bool retry_none(void);

#endif
