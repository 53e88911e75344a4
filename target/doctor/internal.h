/* SPDX-License-Identifier: BSD-3-Clause */
/* What the room's files share. One thread. */
#ifndef LEASEHOLD_DOCTOR_INTERNAL_H
#define LEASEHOLD_DOCTOR_INTERNAL_H

#include "checklist/checklist.h"
#include "control/control.h"

struct doctor {
	struct checklist *list;
	struct daemon_config *config; /* NULL: the file is no good */
	struct loop *loop;	      /* of tenures; does not run */
	struct fabric *software, *verbs;
	bool wants_software, wants_verbs, wants_watch; /* the configuration does */
	bool running;				       /* a daemon answers at its admin socket */
};

/* machine.c */
void doctor_look_at_machine(struct doctor *d);
/** Opens what there is; doctor_run() closes it. */
void doctor_look_at_adapters(struct doctor *d);
/** This process has it, by number of capabilities(7). */
bool doctor_capable(unsigned int capability);

/* place.c */
void doctor_look_at_folders(struct doctor *d);
void doctor_look_at_listeners(struct doctor *d);
void doctor_look_at_exports(struct doctor *d);

#endif
