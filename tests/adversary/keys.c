// SPDX-License-Identifier: BSD-3-Clause
/* Keys that are dead, or somebody else's, or nobody's. */
#include "adversary.h"

#include <stdio.h>
#include <string.h>

#define WRAPS	  300 /* of the 8 bits that a key changes by */
#define PAGE	  4096u
#define KEY_INDEX 8 /* the bits below belong to one index */

/* The same queue, the same bytes, a newer grant in force over them. */
static void replay_released(struct adversary *a)
{
	struct raw_grant old = fresh_grant(a), now;

	must_work("the grant",
		  round_trip(&a->admin, &a->direct, old.address, old.rkey, 64) == FABRIC_OK);
	release_all(&a->admin, &a->direct, old.generation);
	now = fresh_grant(a);
	must_work("the newer grant",
		  round_trip(&a->admin, &a->direct, now.address, now.rkey, 64) == FABRIC_OK);
	must_fail("the released key beside a newer one: write",
		  round_trip(&a->admin, &a->direct, old.address, old.rkey, 64) == FABRIC_OK);
	/* The queue died of it; the next has a domain of its own. */
	now = fresh_grant(a);
	must_refuse_key(a, "the released key on another queue", old.address, old.rkey);
	must_refuse_key(a, "the key of a queue that died", now.address, now.rkey);
}

void attack_old_keys(struct adversary *a)
{
	struct raw_grant old, now;

	replay_released(a);
	old = fresh_grant(a);
	await_recall(a);
	must_work("what was written before the release",
		  round_trip(&a->admin, &a->direct, old.address, old.rkey, 64) == FABRIC_OK);
	release_all(&a->admin, &a->direct, old.generation);
	now = fresh_grant(a);
	must_work("a later generation", now.generation > old.generation);
	must_work("the grant of it",
		  round_trip(&a->admin, &a->direct, now.address, now.rkey, 64) == FABRIC_OK);
	must_fail("the recalled key on the queue it was granted to",
		  round_trip(&a->admin, &a->direct, old.address, old.rkey, 64) == FABRIC_OK);
	must_refuse_key(a, "the recalled key on another queue", old.address, old.rkey);
}

void attack_wrap(struct adversary *a)
{
	static struct raw_grant old[WRAPS];
	unsigned int again = 0, worked = 0;
	struct raw_grant live;
	char text[80];

	for (unsigned int i = 0; i < WRAPS; i++) {
		const uint64_t at = a->prey + (uint64_t)(i % (HALF / PAGE)) * PAGE;

		if (acquire_try(&a->admin, fresh_queue(a), BOTH, at, PAGE, &old[i]) != 0 ||
		    release_try(&a->admin, &a->direct, 0, UINT64_MAX, 0) != 0)
			must_work("an acquire and its release", false);
		for (unsigned int j = 0; j < i; j++)
			again += old[j].rkey == old[i].rkey && old[j].address == old[i].address;
	}
	(void)snprintf(text, sizeof(text), "%u grants, none with key and address of one before",
		       WRAPS);
	must_work(text, again == 0);
	meet_victim(a);
	for (unsigned int i = 0; i < a->tries; i++) {
		const struct raw_grant *o = &old[i % 2 ? i : WRAPS - 1 - i];

		live = fresh_grant(a);
		worked += round_trip(&a->admin, &a->direct, o->address, o->rkey, 64) == FABRIC_OK;
		/* A key value that is in use again names only what it is in use for. */
		if (o->rkey != live.rkey) {
			live = fresh_grant(a);
			worked += round_trip(&a->admin, &a->direct, live.address, o->rkey, 64) ==
				  FABRIC_OK;
		}
		worked += round_trip(&a->admin, fresh_queue(a), a->victims.address, o->rkey, 64) ==
			  FABRIC_OK;
	}
	must_fail("one of the keys of before", worked > 0);
	victim_fine(a, "300 acquires");
	release_all(&a->neighbour, &a->victim, 0);
}

/* Values near a key: its 8 bits, its index, single bits. */
static uint32_t near_key(uint32_t key, unsigned int n)
{
	const uint32_t step = n / 8 + 1;

	switch (n % 8) {
	case 0:
		return key + step;
	case 1:
		return key - step;
	case 2:
		return key + (step << KEY_INDEX);
	case 3:
		return key - (step << KEY_INDEX);
	case 4:
		return key ^ 1u << (step - 1) % 32;
	case 5:
		return (key & ~0xffu) | (key * 37 + step) % 256;
	case 6:
		return key << KEY_INDEX | step;
	default:
		return n == 7 ? 0 : UINT32_MAX / step;
	}
}

void attack_neighbours(struct adversary *a)
{
	struct raw_grant own;
	unsigned int worked = 0;
	struct link io = {.host = a->admin.host, .cntlid = a->admin.cntlid};

	meet_victim(a);
	own = fresh_grant(a);
	must_fail("the neighbour's key, on our queue beside a grant of ours",
		  round_trip(&a->admin, &a->direct, a->victims.address, a->victims.rkey, 64) ==
			  FABRIC_OK);
	must_refuse_key(a, "the neighbour's key", a->victims.address, a->victims.rkey);
	own = fresh_grant(a);
	must_refuse_key(a, "our key at the neighbour's address", a->victims.address, own.rkey);
	own = fresh_grant(a);
	must_refuse_key(a, "the neighbour's key at our address", own.address, a->victims.rkey);
	for (unsigned int i = 0; i < a->tries; i++) {
		const uint32_t guess = near_key(a->victims.rkey, i);

		own = fresh_grant(a);
		if (guess != own.rkey)
			worked += round_trip(&a->admin, &a->direct, a->victims.address, guess,
					     64) == FABRIC_OK;
		own = fresh_grant(a);
		if (near_key(own.rkey, i) != own.rkey)
			worked += round_trip(&a->admin, &a->direct, own.address,
					     near_key(own.rkey, i), 64) == FABRIC_OK;
	}
	must_fail("a guessed key", worked > 0);
	/* Block queues and the admin queue reach no grant, not even our own. */
	own = fresh_grant(a);
	queue_open(&io, 1);
	must_fail("our key on a block queue",
		  round_trip(&a->admin, &io, own.address, own.rkey, 64) == FABRIC_OK);
	link_close(&io);
	victim_fine(a, "all that");
	own = fresh_grant(a);
	must_fail("the neighbour's key on the admin queue",
		  round_trip(NULL, &a->admin, a->victims.address, a->victims.rkey, 64) ==
			  FABRIC_OK);
	victim_fine(a, "that");
	link_close(&a->direct);
	link_close(&a->admin);
	admin_open(&a->admin);
	release_all(&a->neighbour, &a->victim, 0);
}
