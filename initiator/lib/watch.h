/* SPDX-License-Identifier: BSD-3-Clause */
/* What somebody who watches an export is to be told; see watch.c. Inside the library only. */
#ifndef LEASEHOLD_LIB_WATCH_H
#define LEASEHOLD_LIB_WATCH_H

#include "leasehold.h"

#include "wire/direct.h"

/** Zero to begin. Under client->lock. */
struct watch {
	struct lh_watch_event *events; /* a ring of LH_WATCH_EVENTS; NULL: nobody watches */
	unsigned int first, count;
	bool begun;
	bool listed;  /* the target has it in its list; also while nobody watches */
	bool busy;    /* the log just read has something of it */
	bool offline; /* this and what follows: as it was told last */
	enum lh_export_state state;
	uint32_t generation;
	uint64_t size_bytes;
	uint8_t rung, durability, flags;
};

struct lh_client;
struct lh_export;

/** An entry of the change log. Service thread, client->lock held. */
void watch_change(struct lh_export *ex, const struct lh_change_entry *change);
/** The export list and then the change log were read. `missed`: not all of the latter. Service thread. */
void watch_look(struct lh_client *client, bool missed);
/** The connection is lost, or back. client->lock held. */
void watch_connection(struct lh_client *client, bool back);
void watch_fini(struct watch *w);

#endif
