/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One step of the model's machine (machine.pml) done by the real one. The mapping:
 *
 *   state, event, action   the same numbers as in grant/recall.h
 *   phase 0, 1, 2          now: before the deadline, at it, at the end of patience
 *   wake 0, 1, 2           wake_ns: no timer, the deadline, the end of patience
 *   lost                   deadline_ns was moved to a moment gone by
 *   before, after          struct recall: state in bits 0-2, then stopping, published, keys_dead,
 *                          drained, sealed, seal_asked, fence_done, lost
 *
 * The phase means something between the first event of a recall and its release only.
 */
#ifndef LEASEHOLD_MODEL_DRIVE_H
#define LEASEHOLD_MODEL_DRIVE_H

#include "grant/recall.h"

/** As the model says it. */
struct drive_step {
	int event, phase, before, mask, wake, after;
};

/** The real machine and its clock. */
struct drive {
	struct recall recall;
	uint64_t began_ns; /* of the recall that is going on */
	uint64_t now_ns;
};

void drive_init(struct drive *d);

/** Does the step. False: it came out otherwise than in the model; told on stderr. */
bool drive_step(struct drive *d, const struct drive_step *step);

/** The same from `before`, without a history. */
bool drive_lone_step(const struct drive_step *step);

#endif
