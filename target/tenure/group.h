/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fanotify group of the process and the thread that reads it. For the room's own files and its
 * tests. Not for FAN_REPORT_FID: who is to answer needs the descriptor that comes with an event.
 */
#ifndef LEASEHOLD_TENURE_GROUP_H
#define LEASEHOLD_TENURE_GROUP_H

#include "tenure/tenure.h"
#include "util/list.h"

#include <sys/stat.h>

#define GROUP_MAX_ASKS \
	1024 /* that wait at a time, of all files, a descriptor each; more get EBUSY */

/** Somebody who waits in the kernel. */
struct group_ask {
	struct group_ask *next; /* in the inbox */
	struct list link;	/* of the watch that lets it wait */
	int event_fd;		/* what the kernel knows it by; -1: it has dropped some */
	dev_t dev;
	ino_t ino;
	uint64_t since_ns;
	bool told; /* the watch's: whoever holds the file knows of it */
	struct tenure_ask ask;
};

/**
 * Starts the listener, unless it runs or there is no group. It answers what this process does itself
 * at once, opens nothing, and posts the rest: on_ask() gets each on `loop`, and must end it.
 */
MUST_CHECK int group_start(struct loop *loop, void (*on_ask)(struct group_ask *a));
/** The listener has ended; who still waits is let go on. */
void group_stop(void);

/**
 * Answers (0: allow, else an errno that the kernel knows here) and frees; false: it is not there
 * any more.
 */
bool group_answer(struct group_ask *a, int err);

/** Whether the file's openers and users ask. A worker's. With `err` saying what to do about it. */
MUST_CHECK int group_mark(int fd, struct errtext *err);
void group_unmark(int fd);

/** For tests: a descriptor to be read and written as the group, and no marks. Before group_start(). */
void group_pretend(int fd);

#endif
