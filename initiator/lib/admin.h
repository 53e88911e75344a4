/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is said on the admin queue: enabling the controller, Identify, log pages, keep-alive, async
 * events, and the vendor commands of the direct extension.
 */
#ifndef LEASEHOLD_ADMIN_H
#define LEASEHOLD_ADMIN_H

#include "libleasehold/client.h"

/** Enables the controller just connected, identifies it, asks for I/O queues. Blocks. */
MUST_CHECK int admin_setup(struct lh_client *client, unsigned int *io_queues, struct errtext *err);

/** Enables the controller just connected. Blocks. */
MUST_CHECK int admin_enable(struct lh_client *client, struct errtext *err);

/** The whole discovery log, as it was at one moment, in an array for free(3). Blocks. */
MUST_CHECK int admin_discovery(struct lh_client *client, struct nvmf_discovery_entry **entries,
			       size_t *count, uint64_t *generation, struct errtext *err);

/** The export list: what the target says, in an array for free(3). Blocks. */
MUST_CHECK int admin_exports(struct lh_client *client, struct lh_export_entry **entries,
			     size_t *count, struct errtext *err);

/** Reads changes from client->change_next on and calls `fn` for each. Blocks. */
MUST_CHECK int admin_changes(struct lh_client *client,
			     void (*fn)(struct lh_client *client,
					const struct lh_change_entry *change),
			     bool *gap, struct errtext *err);

/** Keep Alive, waited for. Blocks. */
MUST_CHECK int admin_ping(struct lh_client *client, struct errtext *err);
/** The namespace's NGUID by Identify; zeros if it is none, or not active. Blocks. */
MUST_CHECK int admin_nguid(struct lh_client *client, uint32_t nsid, uint8_t nguid[16],
			   struct errtext *err);

/** Sends an Async Event Request; the answer sets client->aen_pending and wakes the service thread. */
int admin_arm_event(struct lh_client *client);
/** Sends Keep Alive; see client->keep_alive_since_ns. */
int admin_keep_alive(struct lh_client *client);
/** Tells the controller that we go (CC.SHN). */
void admin_shutdown(struct lh_client *client);

/** A vendor command under way. The caller keeps it until `done`. */
struct admin_call {
	struct lh_admin_command cmd; /* opcode, nsid, dqid, range …; the rest is filled in */
	void *in;		     /* where a reading command's data goes */
	size_t in_bytes;
	void (*wake)(void *user); /* may be NULL; after `done`, under the admin queue's lock */
	void *user;
	_Atomic bool done;
	int error; /* -errno, or 0 and `status` */
	uint16_t status;
	uint32_t dw0; /* of the completion */
};

/** -ENOTCONN, -EAGAIN (all slots are out), or 0: done will become true. */
MUST_CHECK int admin_start(struct lh_client *client, struct admin_call *call);

/** Release, by its token, of all that was granted on a direct queue that is lost. */
struct lh_admin_command admin_burial(uint32_t nsid, const uint8_t token[LH_TOKEN_BYTES]);
/** Whether that status of it means that none of the queue's keys is alive. */
bool admin_is_buried(uint16_t status);
/** The same at once, before there is anybody who could write. Blocks. */
MUST_CHECK int admin_bury(struct lh_client *client, uint32_t nsid,
			  const uint8_t token[LH_TOKEN_BYTES], struct errtext *err);

#endif
