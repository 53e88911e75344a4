/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the room: what a reload has to do. It carries out what differs between the file as it was read
 * last and as it is now, so what admin verbs changed meanwhile stays where the file says nothing new
 * of it. Pure.
 */
#ifndef LEASEHOLD_CONTROL_RELOAD_PLAN_H
#define LEASEHOLD_CONTROL_RELOAD_PLAN_H

#include "control/exports.h"

enum reload_act {
	RELOAD_SAY,   /* nothing is to be done, or it is done with the others */
	RELOAD_HOSTS, /* all of them at once, and whether any may */
	RELOAD_REFERRAL_REMOVE,
	RELOAD_REFERRAL_ADD,
	RELOAD_LISTENER_REMOVE,
	RELOAD_LISTENER_ANA,
	RELOAD_LISTENER_ADD,
	RELOAD_EXPORT_REMOVE,
	RELOAD_EXPORT_RUNG,
	RELOAD_EXPORT_AGAIN, /* removed and added, with the identity and number that it had */
	RELOAD_EXPORT_ADD,
};

enum reload_outcome {
	RELOAD_PLANNED,
	RELOAD_DONE,
	RELOAD_FAILED, /* tried: the text says why, and what is now */
	RELOAD_STAYS,  /* cannot be changed while the daemon runs */
	RELOAD_NOTE,   /* what is otherwise than the file has it, and why */
};

struct reload_step {
	enum reload_act act;
	enum reload_outcome outcome;
	char what[320]; /* "export b", "limits.queue_depth" */
	char text[ERRTEXT_BYTES];
	char name[LH_NAME_BYTES]; /* of the export */
	unsigned int index;	  /* of the listener or referral in the new configuration */
	uint16_t id;		  /* of that which is there: port id, referral id */
};

/** In the order in which they are carried out: what goes makes room for what comes. */
struct reload_plan {
	struct reload_step *steps;
	unsigned int nr_steps;
};

/** What runs. */
struct reload_export {
	const struct config_export *config; /* as it was added */
	uint32_t nsid;
	bool offline, changing;
	bool by_admin; /* offline, and on purpose */
};

struct reload_listener {
	uint16_t portid;
	bool software;
	struct sockaddr_storage addr;
	unsigned int controllers;
	uint8_t ana_state[NVME_MAX_ANA_GROUPS + 1];
};

struct reload_referral {
	uint16_t id;
	struct config_referral config;
};

struct reload_running {
	const struct daemon_config
		*config;      /* as the file was read last, or as far as it was done */
	bool software, verbs; /* fabrics that are open */
	bool level_given;     /* --log-level */
	struct reload_export *exports;
	unsigned int nr_exports;
	struct reload_listener listeners[NVME_MAX_LISTENERS]; /* that listen */
	unsigned int nr_listeners;
	struct reload_referral referrals[NVME_MAX_REFERRALS];
	unsigned int nr_referrals;
};

/**
 * Listeners in both have been looked up. In `wanted` what is to be done is marked as undone. -EBUSY:
 * somebody is adding or removing an export that it is about (`err` names it); -ENOMEM. Then there is
 * no plan.
 */
MUST_CHECK int reload_plan_make(const struct reload_running *now, struct daemon_config *wanted,
				struct reload_plan *plan, struct errtext *err);
/** A step more, at the end. NULL: no memory. Pointers to others are not valid any more. */
struct reload_step *reload_plan_add(struct reload_plan *plan, enum reload_act act,
				    enum reload_outcome outcome);
void reload_plan_free(struct reload_plan *plan);

/** The listener with the same fabric, address and port, as the file says them, or NULL. */
const struct config_listener *reload_find_listener(const struct daemon_config *c,
						   const struct config_listener *like);

#endif
