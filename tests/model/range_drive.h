/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One step of the model's machine of a range (range_machine.pml) done by the real one. The mapping:
 *
 *   state, event, action   the same numbers as in grant/range_recall.h
 *   phase 0 … 3            now: before the deadline, at it, at the end of grace, of patience
 *   wake 0 … 3             wake_ns: no timer, the deadline, the end of grace, of patience
 *   before, after          struct range_recall: state in bits 0-2, then narrowed, drained, keys_dead,
 *                          sealed, seal_asked, escalated, over, grants_only, late
 *
 * The phase means something between BEGIN and the release only.
 */
#ifndef LEASEHOLD_MODEL_RANGE_DRIVE_H
#define LEASEHOLD_MODEL_RANGE_DRIVE_H

#include "grant/range_recall.h"

/** As the model says it. */
struct range_drive_step {
	int event, phase, before, mask, wake, after;
};

/** The real machine and its clock. */
struct range_drive {
	struct range_recall recall;
	uint64_t began_ns;
	uint64_t now_ns;
};

void range_drive_init(struct range_drive *d, bool grants_only);

/** Whether the step is of a machine of grants only. */
bool range_drive_grants_only(const struct range_drive_step *step);

/** Does the step. False: it came out otherwise than in the model; told on stderr. */
bool range_drive_step(struct range_drive *d, const struct range_drive_step *step);

/** The same from `before`, without a history. */
bool range_drive_lone_step(const struct range_drive_step *step);

#endif
