/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reservations of one namespace, the pure part (NVMe base 2.0 §8.19): who is registered, who holds
 * what, and what a command makes of it. (state, event) in, next state and outcome out; no I/O, no
 * clock, no pointers. Any thread.
 */
#ifndef LEASEHOLD_NVME_RESERVATION_H
#define LEASEHOLD_NVME_RESERVATION_H

#include "util/util.h"
#include "wire/nvme.h"

#define RESV_MAX_REGISTRANTS 128 /* hosts of one namespace; one more is refused */
#define RESV_HOSTID_BYTES    16

struct resv_registrant {
	uint8_t hostid[RESV_HOSTID_BYTES];
	uint64_t key;
};

/** All there is to know of a namespace's reservations. Zeroed: nothing. Copied as it is. */
struct resv_state {
	uint32_t generation;
	enum nvme_resv_type type; /* of the reservation held */
	bool ptpl;		  /* persists through power loss */
	unsigned int nr;
	unsigned int holder; /* index; but for all-registrants types, and where none is held */
	struct resv_registrant registrants[RESV_MAX_REGISTRANTS]; /* by hostid, ascending */
};

enum resv_kind {
	RESV_REGISTER,
	RESV_ACQUIRE,
	RESV_RELEASE,
	RESV_PERSIST, /* feature 83h: `ptpl` */
};

/** A command, as its host says it. */
struct resv_event {
	enum resv_kind kind;
	uint8_t action; /* RREGA, RACQA, RRELA */
	bool ignore_key;
	uint8_t type;  /* RTYPE */
	uint8_t cptpl; /* enum nvme_resv_cptpl */
	bool ptpl;
	uint64_t crkey;
	uint64_t key; /* NRKEY, PRKEY */
	uint8_t hostid[RESV_HOSTID_BYTES];
};

/** One that every controller of a host is to be told. */
struct resv_notice {
	uint8_t hostid[RESV_HOSTID_BYTES];
	enum nvme_resv_notice what;
};

struct resv_outcome {
	uint16_t status; /* NVMe, with DNR */
	uint16_t fault;	 /* 1 + byte | bit << 8 of the command; 0: none in particular */
	bool changed;	 /* there is a next state */
	bool abort;	 /* commands of those who were preempted are to be aborted */
	unsigned int nr_notices;
	struct resv_notice notices[RESV_MAX_REGISTRANTS];
};

/**
 * What `event` does. `next` may not be `state`; it is written only if outcome->changed. `can_persist`:
 * there is a place to keep it through power loss.
 */
void resv_step(const struct resv_state *state, const struct resv_event *event, bool can_persist,
	       struct resv_state *next, struct resv_outcome *outcome);

/** Whether the reservation lets that host read or write (the two groups of the conflict table). */
bool resv_allows(const struct resv_state *state, const uint8_t hostid[RESV_HOSTID_BYTES],
		 bool writes);

/** Index of a host, or -1. */
int resv_find(const struct resv_state *state, const uint8_t hostid[RESV_HOSTID_BYTES]);

/** Whether registrant `i` holds the reservation. */
bool resv_holds(const struct resv_state *state, unsigned int i);

/** Whether it makes sense: for what comes from a file. */
bool resv_valid(const struct resv_state *state);

/* ---- the state on disk (reservation_file.c) --------------------------------------------------- */

#define RESV_FILE_BYTES 16384

/** Writes the text of a state, with a NUL. */
void resv_format(const struct resv_state *state, const uint8_t uuid[16],
		 char text[RESV_FILE_BYTES]);

/**
 * Reads it back, taking `text` apart. -EBADMSG: damaged, or of another version; -ESTALE: of another
 * namespace. The sentence names `path` and what is wrong.
 */
MUST_CHECK int resv_parse(char *text, const uint8_t uuid[16], const char *path,
			  struct resv_state *state, struct errtext *err);

/**
 * <state_dir>/reservations/<name>. Load gives an empty state where there is no file; store removes
 * the file of a state that does not persist. For threads that may sleep in the file system.
 */
MUST_CHECK int resv_load(const char *state_dir, const char *name, const uint8_t uuid[16],
			 struct resv_state *state, struct errtext *err);
MUST_CHECK int resv_store(const char *state_dir, const char *name, const uint8_t uuid[16],
			  const struct resv_state *state);

#endif
