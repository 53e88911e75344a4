/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What protects a file's blocks while memory is registered: one struct tenure for each file, of one
 * of two kinds. Both end in the same way: somebody wants the file (TENURE_BREAKING), sleeps, and goes
 * on when we let go. Never both kinds on one file: delivering a fanotify event opens the file, which
 * would break our own lease.
 *
 *   lease  fcntl(2), F_WRLCK: held while nobody else has the file open; any open(2) or truncate(2) by
 *          others breaks it. Costs nothing else. For files that only remote clients use.
 *   watch  fanotify(7), pre-content events: others may have the file open; each of their opens, reads,
 *          writes, truncates … asks first. For files that local programs use, too.
 */
#ifndef LEASEHOLD_TENURE_H
#define LEASEHOLD_TENURE_H

#include "util/list.h"
#include "util/loop.h"

#include <sys/types.h>

enum tenure_kind {
	TENURE_LEASE,
	TENURE_WATCH,
};

enum tenure_state {
	TENURE_HELD,	 /* ours, nobody wants the file */
	TENURE_BREAKING, /* ours still; somebody sleeps until we let go, or tried without sleeping */
	TENURE_NONE,	 /* not ours: never taken, let go, or broken by force */
};

/* ---- the process ----------------------------------------------------------------------------- */

/** Blocks the lease signals (SIGIO and SIGRTMIN + 1) in the calling thread: in main(), before any
 *  thread is made. */
void tenure_block_signals(void);

/**
 * Keeps a descriptor's number for the fanotify group, which is made with the first watch. In main(),
 * before any device is opened: when a process is killed the kernel closes what has the lowest number
 * last, and keys must be gone before whoever waits is let go on.
 */
void tenure_reserve_group(void);
/** After tenure_signals_free(), and when no key is left: who still waits is let go on. */
void tenure_close_group(void);

/**
 * Calls broken(arg) on `loop`, its thread, for every batch of lease signals: scan with
 * tenure_check(). Breaks are not counted, and a batch may tell of no break at all. What was broken
 * before this was made is told too, if tenure_block_signals() came before that. One in a process, as
 * the signals are. Has the watches' listener deliver to the same loop.
 */
struct tenure_signals;
MUST_CHECK int tenure_signals_new(struct loop *loop, void (*broken)(void *arg), void *arg,
				  struct tenure_signals **signals);
/** The loop's thread, after the last tenure_free(). */
void tenure_signals_free(struct tenure_signals *signals);

/** Asks the watches' listener for a sign of life. The loop's thread; does not sleep. */
void tenure_listener_ask(void);
/** It has given one since, or there is no listener. The loop's thread. */
bool tenure_listener_answered(void);

/** The kernel's patience with a lease, seconds of /proc/sys/fs/lease-break-time; -errno if unreadable. */
int tenure_break_time_s(void);

/* ---- one file -------------------------------------------------------------------------------- */

/** What somebody asks for, under watch. */
struct tenure_ask {
	pid_t pid;
	bool open;	 /* open(2): maybe with O_TRUNC */
	uint64_t offset; /* bytes, rounded out by the kernel … */
	uint64_t
		length; /* … 0: to the end. What is moved by collapse or insert range is not named. */
};

/** Where that ends; INT64_MAX: with the file. */
uint64_t tenure_ask_end(const struct tenure_ask *ask);

struct tenure_config {
	enum tenure_kind kind;
	int fd;		   /* the file's only open file description of ours; outlives the tenure */
	struct loop *loop; /* that of tenure_signals_new() */
	const char *name;  /* for the log; outlives the tenure */
	/* The rest is for watches. Both run on the loop. */
	uint64_t patience_ns; /* who was not let go on by then gets EBUSY */
	/** tenure_check() is not TENURE_HELD any more. */
	void (*broken)(void *arg);
	/** Somebody wants a part. True: it comes, by tenure_part_release(), or the whole does. False: the
	 *  whole is wanted. */
	bool (*part)(void *arg, const struct tenure_ask *ask);
	/** True: who asks gets EBUSY, and nothing is broken. */
	bool (*refuse)(void *arg, const struct tenure_ask *ask);
	void *arg;
};

struct tenure;

/** Protects nothing yet. The loop's thread. -ENOMEM. */
MUST_CHECK int tenure_new(const struct tenure_config *config, struct tenure **t);
/** It must have been ended, if it was ever taken. The loop's thread. */
void tenure_free(struct tenure *t);

/**
 * What was let go on has ended, as far as one can tell. False: too early to take it, even for one's own
 * sake; tenure_retry_new() tells when it is not. Always true for a lease: taking it fails instead. The
 * loop's thread.
 */
bool tenure_settled(const struct tenure *t);
/** On the loop's thread, right before a worker calls tenure_take(). From here on whoever asks waits. */
void tenure_begin(struct tenure *t);
/**
 * Takes it. A worker's; if it fails, the loop's thread calls tenure_release(). Our own mappings through
 * the descriptor do not matter.
 * -EAGAIN: somebody else has the file open or mapped, or came just now (a watch needs to have it
 * alone once only: from then on it sees whoever comes); lease: -EACCES: not the file's owner and no
 * CAP_LEASE; -EINVAL: the file system has no leases. Watch: -EPERM, -EOPNOTSUPP, others, each with a
 * sentence in `err` that says what to do.
 */
MUST_CHECK int tenure_take(struct tenure *t, struct errtext *err);
/** Lets go. Whoever waits goes on from here. The loop's thread, does not sleep. Idempotent. */
void tenure_release(struct tenure *t);
/** Does not sleep. The loop's thread. */
enum tenure_state tenure_check(const struct tenure *t);
/** No file is watched any more, nor is it asked for. A worker's, after tenure_release(). Idempotent. */
void tenure_end(struct tenure *t);

/**
 * Tells when it may be worth taking it again: a lease when others have closed the file (inotify) and
 * by a timer that backs off from 1 ms to 250 ms and starts over at a close; a watch when what was let
 * go on has ended, as far as one can tell (watch.c). Opens nothing and does not sleep. `retry` runs on
 * the loop until tenure_retry_free(), which it may call itself. If inotify is at its limits, the timer
 * alone must do. -ENOMEM.
 */
struct tenure_retry;
MUST_CHECK int tenure_retry_new(struct tenure *t, void (*retry)(void *arg), void *arg,
				struct tenure_retry **r);
/**
 * Holds the first attempt back for `ns`, or until somebody has opened or changed the file: for after a
 * recall. Whoever broke a lease without waiting for it (truncate(1) and others open with O_NONBLOCK
 * and fail) would otherwise find it taken again at every try. Call it before tenure_release(), so that
 * nobody comes in unseen; without inotify it does nothing, nor for a watch, where everybody waits.
 * The loop's thread.
 */
void tenure_retry_stand_back(struct tenure_retry *r, uint64_t ns);
/** The loop's thread. */
void tenure_retry_free(struct tenure_retry *r);

/* ---- part of a watched file ------------------------------------------------------------------ */

/** Bytes [offset, end) that are let go while the rest is held. Embed it. */
struct tenure_part {
	uint64_t offset, end;
	struct list link; /* the room's own, as is the rest */
	uint64_t let_go_ns;
	uint64_t allowed_ns; /* the last one that was let go on there */
};

/* All on the loop's thread; none of them sleeps. */

/** Whoever waits for nothing outside of it goes on, as does who asks from now on. */
void tenure_part_release(struct tenure *t, struct tenure_part *part);
/** From here on whoever asks waits. A fresh look at it comes after. Of each that was released, before
 *  tenure_free(). */
void tenure_part_take(struct tenure *t, struct tenure_part *part);
/** What was let go on there has ended, as far as one can tell. */
bool tenure_part_settled(const struct tenure *t, const struct tenure_part *part);
/** As tenure_retry_new(): tells when it may be worth asking that. Before what it is for is released. */
MUST_CHECK int tenure_part_retry_new(struct tenure *t, void (*retry)(void *arg), void *arg,
				     struct tenure_retry **r);

#endif
