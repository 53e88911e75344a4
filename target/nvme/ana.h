/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asymmetric namespace access (NVMe base 2.0 §8.1): every export is in a group, and each listener has
 * a state for each group, which is what hosts see that came in by it. Control writes the states; a
 * reactor reads one of them for each command: the message that tells hosts comes after it.
 */
#ifndef LEASEHOLD_NVME_ANA_H
#define LEASEHOLD_NVME_ANA_H

#include "nvme/nvme.h"

#include <stdatomic.h>

struct controller;
struct nvme_listener;
struct request;

struct ana_states {
	_Atomic uint8_t state[NVME_MAX_ANA_GROUPS + 1]; /* by group; 0 is none's */

	/* control */
	uint64_t changes; /* of all groups */
	uint64_t changed_at[NVME_MAX_ANA_GROUPS + 1];
};

/** Control, before anyone comes. */
void ana_init(struct ana_states *ana, const struct nvme_listen_options *options);

static inline enum nvme_ana_state ana_state(const struct ana_states *ana, unsigned int group)
{
	return (enum nvme_ana_state)atomic_load_explicit(&ana->state[group], memory_order_relaxed);
}

/** What a command on a namespace of the group gets: 0, or a status, as any path will do without DNR. */
uint16_t ana_refusal(enum nvme_ana_state state);

static inline uint16_t ana_status(const struct ana_states *ana, unsigned int group)
{
	enum nvme_ana_state state = ana_state(ana, group);

	return state <= NVME_ANA_NON_OPTIMIZED ? NVME_SC_SUCCESS : ana_refusal(state);
}

/** Control: namespaces of the group came or went. */
void ana_members_changed(struct nvme_target *t, unsigned int group);

/** Reactor: log page 0Ch. */
void ana_log_execute(struct request *r);
/** Reactor: what Identify Controller says. */
void ana_identify_controller(const struct nvme_target *t, struct nvme_id_ctrl *id);

#endif
