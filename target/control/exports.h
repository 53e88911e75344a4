/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The exports of the daemon, those of the configuration file and those that come and go while it
 * runs. Control loop.
 */
#ifndef LEASEHOLD_CONTROL_EXPORTS_H
#define LEASEHOLD_CONTROL_EXPORTS_H

#include "control/control.h"

struct exports;

struct exports_env {
	struct loop *control;
	const struct daemon_config *config;
	const struct holding_env *holdings_env;
	struct nvme_subsystem *subsystem;
	/** Of exports that are added before exports_go_on(): exports_held() may have changed. */
	void (*held)(void *arg);
	void *held_arg;
};

MUST_CHECK int exports_new(const struct exports_env *env, struct exports **exports);

/** done(arg, 0 or -errno, sentence): once, also before the call returns. */
typedef void exports_done_fn(void *arg, int err, const char *why);

/**
 * Adds an export and starts it: done when it serves, or waits for a busy file, or when it cannot be
 * and nothing of it is left. nsid 0: what the name had before in this daemon's life, else one that
 * nobody had. -EEXIST: name or nsid is taken, or the nsid was another export's; -ENOSPC; others as
 * holding_start().
 *
 * -EREMCHG (another file than the one that had the identity): before exports_announced() the export
 * stays, offline, under its number. An offline one gives way to one that is added under its name.
 */
void exports_add(struct exports *x, const struct config_export *config, bool adopt,
		 exports_done_fn *done, void *arg);
/**
 * How many of those that are being added wait for exports_go_on(), all else being done: making
 * them ready changes their files, which a start that is refused must not.
 */
unsigned int exports_held(const struct exports *x);
/** Nothing can refuse the start any more: files may be changed. Once. */
void exports_go_on(struct exports *x);
/**
 * Hosts may come from now on: what they are told stays. Of exports that are added before, and stopped
 * without it, no identity is kept.
 */
void exports_announced(struct exports *x);
bool exports_are_announced(const struct exports *x);
/**
 * Takes it from the hosts, recalls what is granted, lets go of the file: then done. -ENOENT: there is
 * none; -EBUSY: it is being added or removed. Of an offline one nothing is left then.
 */
void exports_remove(struct exports *x, const char *name, exports_done_fn *done, void *arg);
/**
 * As exports_remove(), but its name, number and identity stay, and exports_online() brings it back.
 * -ENOENT, -EBUSY as above; -EALREADY: it is offline, for whatever reason.
 */
void exports_offline(struct exports *x, const char *name, exports_done_fn *done, void *arg);
/**
 * Adds an offline one as it was added before, under its number: as exports_add(), and if it cannot be
 * it stays offline. -ENOENT, -EBUSY as above; -EALREADY: it is not offline.
 */
void exports_online(struct exports *x, const char *name, exports_done_fn *done, void *arg);
/** As holding_resize(). -ENOENT, -EBUSY as above; -ENODEV: it is offline. */
void exports_resize(struct exports *x, const char *name, uint64_t bytes, exports_done_fn *done,
		    void *arg);

/** As holding_reclaim(). -ENOENT, -EBUSY, -ENODEV as above. */
void exports_reclaim(struct exports *x, const char *name, const struct holding_reclaim *want,
		     exports_done_fn *done, void *arg);
/** Ends all of that export before their time. -ENOENT. */
MUST_CHECK int exports_reclaim_end(struct exports *x, const char *name, struct errtext *err);

/** As holding_rung(). -ENOENT, -EBUSY, -ENODEV as above. */
void exports_rung(struct exports *x, const char *name, const char *device,
		  const enum region_choice *choice, exports_done_fn *done, void *arg);

/** A lease signal came. */
void exports_scan(struct exports *x);
unsigned int exports_count(const struct exports *x);
/** How many of these are offline. */
unsigned int exports_count_offline(const struct exports *x);
void exports_each(const struct exports *x,
		  void (*fn)(const struct holding *h, bool removing, void *arg), void *arg);

/** An export as somebody who wants another one sees it. */
struct exports_entry {
	const struct config_export *config; /* as it was added */
	uint32_t nsid;
	bool offline;
	bool by_admin; /* it is, since exports_offline() */
	bool changing; /* it is being added or removed */
};
/** Calls fn for each, during the call. */
void exports_each_entry(const struct exports *x,
			void (*fn)(const struct exports_entry *e, void *arg), void *arg);
/** The one of that name, or NULL. */
const struct holding *exports_find(const struct exports *x, const char *name);

/**
 * Before a stop: what is granted is recalled, so that clients can confirm and let go while they are
 * connected, and nothing is granted again there. Returns of how many exports; 0: nobody has a grant, and
 * done is not called. done once, also before the call returns: nobody has one any more. A stop may come
 * before that.
 */
unsigned int exports_give_back(struct exports *x, void (*done)(void *arg), void *arg);
/** Stops all; done once, later. Nothing can be added any more. Then free, before the target. */
void exports_stop(struct exports *x, void (*done)(void *arg), void *arg);
/** Those that are stopped still belong to the target: the target first. */
void exports_free(struct exports *x);

#endif
