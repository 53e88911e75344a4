/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of the adversary: see adversary.c. */
#ifndef LEASEHOLD_TEST_ADVERSARY_H
#define LEASEHOLD_TEST_ADVERSARY_H

#include "raw/raw.h"

#define BOTH	   (LH_GRANT_READ | LH_GRANT_WRITE)
#define PREY_BYTES MIB(1) /* that every client here may be granted: half ours, half the victim's */
#define HALF	   (PREY_BYTES / 2)

/** What the script gave us. */
struct adversary {
	uint64_t prey;	       /* where in the export PREY_BYTES are ours */
	unsigned int tries;    /* how often what takes long is tried */
	struct link admin;     /* our controller */
	struct link direct;    /* the direct queue in use; opened again when it died */
	struct link neighbour; /* another controller, of a host that behaves */
	struct link victim;    /* its direct queue, the second that it opened */
	struct raw_grant victims;
};

/** Prints "refused WHAT", or "WORKED WHAT" and remembers that. */
void must_fail(const char *what, bool worked);
/** Prints "fine WHAT", or "FAILED WHAT" and remembers that. */
void must_work(const char *what, bool worked);

/** Our direct queue, alive; a new one if the last has died. */
struct link *fresh_queue(struct adversary *a);
/** A grant on it over the first half of the prey. */
struct raw_grant fresh_grant(struct adversary *a);
/** One write and one read through a key on our direct queue must be refused; the queue dies of it. */
void must_refuse_key(struct adversary *a, const char *what, uint64_t address, uint32_t rkey);
/** The neighbour and its grant over the second half of the prey. */
void meet_victim(struct adversary *a);
/** Its grant works still, and its queue lives. */
void victim_fine(struct adversary *a, const char *after);
/** "ready" for the script, which then has the landlord act; waits until our queue was told. */
void await_recall(struct adversary *a);

void attack_old_keys(struct adversary *a);
void attack_wrap(struct adversary *a);
void attack_neighbours(struct adversary *a);
void attack_answers(struct adversary *a);
void attack_commits(struct adversary *a);
void attack_tokens(struct adversary *a);
void attack_half_open(struct adversary *a);
void attack_flood(struct adversary *a);
void attack_sinks(struct adversary *a);

#endif
