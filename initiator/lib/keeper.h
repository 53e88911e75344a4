/* SPDX-License-Identifier: BSD-3-Clause */
/* What the keeper's files share: keeper.c (the thread, recalls, loss) and acquire.c. Its thread only. */
#ifndef LEASEHOLD_KEEPER_H
#define LEASEHOLD_KEEPER_H

#include "libleasehold/admin.h"
#include "libleasehold/export.h"

struct keeper {
	struct lh_export *ex;
	bool woken;	 /* since the loop began anew: something may have come that it has passed */
	bool attending;	 /* to a recall or a loss: not again from inside */
	bool unreleased; /* the last recall's Release failed: its grants went another way */
	bool cleared;	 /* a lost queue was cleared up, but for what follows the burial */
	bool need;	 /* some hold may lack grants */
	bool again;	 /* the next grants are a regrant */
	bool told_waiting; /* LH_EVENT_WAITING was sent */
	bool closing;
	uint64_t dead_told; /* by LH_EVENT_DEAD */
	uint64_t next_try_ns;
	uint64_t backoff_ns;
	uint32_t announced; /* generation of the last GRANTED or REGRANTED */
	uint64_t announced_bytes;
	uint64_t ways_made; /* grants given back to get others with more access */
	bool size_is_old;   /* the target says BEYOND: news of the size is on the way */
	uint32_t expiry_ms; /* of grants; 0: never */
	uint64_t renew_ns;
	uint64_t size_bytes; /* last seen */
};

/** Sends a vendor command and waits, attending to recalls. 0 (see call->status) or -errno. */
MUST_CHECK int keeper_call(struct keeper *k, struct admin_call *call);
/** Answers a recall or clears up after a lost queue, if there is one. */
void keeper_attend(struct keeper *k);
void keeper_emit(struct keeper *k, const struct lh_event *event);
/** Release, waited for. Lock not held. */
int keeper_release(struct keeper *k, uint64_t offset, uint64_t length, uint32_t generation);

/**
 * Gets what the holds lack. 0: all that can be granted is. -EAGAIN: try again later, `why` says
 * what for. `*generation` is 0 if nothing is granted, else of the `*bytes` that are.
 */
MUST_CHECK int keeper_acquire_all(struct keeper *k, uint32_t *generation, uint64_t *bytes,
				  struct errtext *why);

#endif
