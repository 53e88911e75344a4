/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reservations at work: one struct ns_resv per namespace, on control; an immutable copy of its state
 * on every reactor while a reservation is held, and a NULL there while none is.
 *
 * A change goes, one at a time per namespace: pure step (reservation.h) -> file, if it persists
 * (worker) -> reactors -> those shut out give their grants back, those preempted have no command
 * left -> notices -> answer.
 */
#ifndef LEASEHOLD_NVME_RESV_H
#define LEASEHOLD_NVME_RESV_H

#include "nvme/controller.h"
#include "nvme/reservation.h"

/* ---- resv.c (control) ------------------------------------------------------------------------- */

MUST_CHECK int resv_new(struct nvme_target *t, unsigned int slot);
/** The namespace goes: `done` once, later, when no change is being done any more; none begins. */
void resv_retire(struct ns_resv *nsr, void (*done)(struct ns_home *home));
/** When no reactor and no worker has anything to do with it any more. */
void resv_free(struct ns_resv *nsr);

/** The namespace is about to be served: what was kept on disk holds from now on. */
void resv_served(struct ns_resv *nsr);

/** One change that somebody waits for. Embed it. */
void resv_change(struct ns_resv *nsr, struct resv_op *op);

/** Reservation Status of up to `length` bytes. */
void resv_report(const struct ns_resv *nsr, uint8_t *data, uint32_t length);

/** Whether a host may have a grant for such access (enum lh_grant_access). */
bool resv_may_acquire(const struct ns_resv *nsr, const uint8_t hostid[RESV_HOSTID_BYTES],
		      unsigned int access);

/** Feature 83h; any thread. */
bool resv_persists(const struct ns_resv *nsr);

/* ---- resv_abort.c ------------------------------------------------------------------------------ */

/**
 * Control: commands of the hosts that were preempted end: those that wait with an error of their
 * own, those at work as they can; queues that are not through at the recall's deadline are cut.
 * `done` once, later or at once.
 */

void resv_abort(struct ns_resv *nsr, const struct ns_home *home, const struct resv_outcome *outcome,
		void (*done)(struct ns_resv *nsr));

/* ---- resv_command.c (the queue's reactor) ------------------------------------------------------ */

void resv_change_execute(struct request *r);
void resv_report_execute(struct request *r);
/** Set Features 83h; cdw11. */
void resv_persist_execute(struct request *r, uint32_t cdw11);

/* ---- resv_notice.c ----------------------------------------------------------------------------- */

/** Control: each controller of the host gets it, unless it has masked it. */
void controllers_resv_notice(struct nvme_target *t, const struct ns_home *home,
			     const struct resv_notice *notice);
/** The admin queue's reactor: in the log, or masked. */
void resv_notice_note(struct controller *c, uint32_t nsid, unsigned int slot,
		      enum nvme_resv_notice what);
/** Log page 80h; its length. */
uint32_t resv_notice_log(const struct controller *c, uint8_t *log);
/** What the page shows has been read. */
void resv_notice_take(struct controller *c);
bool resv_notice_waiting(const struct controller *c);

/* ---- the data path ----------------------------------------------------------------------------- */

/** What a reactor knows of a namespace: its slot's reservation is not NULL. */
static inline bool resv_conflicts(const struct resv_state *held, const struct controller *c,
				  bool writes)
{
	return !resv_allows(held, c->hostid, writes);
}

#endif
