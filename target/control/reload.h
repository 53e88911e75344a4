/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the configuration file again while the daemon runs, by SIGHUP or the verb `reload`. Control
 * loop; what sleeps is a worker's.
 */
#ifndef LEASEHOLD_CONTROL_RELOAD_H
#define LEASEHOLD_CONTROL_RELOAD_H

#include "control/exports.h"
#include "control/reload_plan.h"

struct reload;

/** All must outlive it. */
struct reload_env {
	struct loop *control;
	struct pool *workers;
	struct daemon_config *config; /* becomes what is carried out */
	bool level_given;	      /* --log-level */
	struct holding_env *holdings_env;
	struct exports *exports;
	struct nvme_target *target;
	const struct control_fabrics *fabrics;
};

MUST_CHECK int reload_new(const struct reload_env *env, struct reload **r);

/**
 * done(arg, 0, "", plan) once, later: every step of the plan has its outcome; or done(arg, -errno,
 * sentence, NULL), also before this returns: nothing was changed. -EBUSY: another reload is under way, or
 * an export that it is about is being added or removed; -EAGAIN: the daemon is being started;
 * -ESHUTDOWN; others as config_load(). `done` may be NULL. All of it is in the log, too.
 *
 * A step that cannot be done does not keep the others from being tried, and what is done stays.
 */
typedef void reload_done_fn(void *arg, int err, const char *why, const struct reload_plan *plan);
void reload_begin(struct reload *r, reload_done_fn *done, void *arg);
/** The same for SIGHUP, which nobody answers: what cannot be begun now is, as soon as it can. */
void reload_signal(struct reload *r);
/** exports_announced() was called. */
void reload_ready(struct reload *r);

/** The daemon ends: what is not done is not begun; who waits for an answer gets it before this returns. */
void reload_stop(struct reload *r);
/** After the workers have ended. */
void reload_free(struct reload *r);

#endif
