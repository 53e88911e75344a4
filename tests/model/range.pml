/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The recall of a range: target/grant/range_recall.c and a world around it. The machine
 * (range_machine.pml) is a copy of it, line by line; that the two are the same is checked
 * (range_any.pml, replay.c). One range and one client stand for many: what is asked about a range concerns only what touches
 * it, and each recall has a machine of its own; what they share is that nothing served leaves in what
 * any of them wants, which is `out` here.
 *
 * The world. A client that holds a grant and answers, or not; an Acquire that was under way; block
 * work that ends, or not; commits; the registrar; a reactor that hangs (HANG); the landlord, who
 * may be through before he got it; a recall of the whole export at any time. Events come as their
 * truth does, in any order. GRANTS: only the grants are wanted, for a block command; block work
 * goes on.
 */

#ifdef GRANTS
#define GRANTS_ONLY 1
#endif
#include "range_machine.pml"

/* What was asked of the world. */
bit do_narrow, do_tell, do_drain, do_seal, do_withdraw;
bit do_fence_client, do_kill, do_fence_block, do_escalate;

/* What there is. */
bit key = 1;	 /* the client's, alive */
bit queue = 1;	 /* the client's */
bit making = 1;	 /* an Acquire under way: its key may come yet */
bit work;	 /* block work that names keys of a serving that has the range */
bit commit;	 /* at work on the range */
bit regions = 1; /* our own keys over it */
bit out;	 /* what is served leaves it out */
bit refusing;	 /* commits there */
bit held_back;	 /* no grant there */
bit whole;	 /* the whole export is being recalled */
bit whole_gone;	 /* … and has let go */
bit landlord;	 /* has the range */
byte told_landlord;

#ifdef GRANTS
#define SAFE assert(!landlord || !key)
#else
#define SAFE assert(!landlord || (!key && !work && !commit && !regions))
#endif

/* What the machine wants, of the world. */
inline obey()
{
	do_narrow = do_narrow || (mask & DO_NARROW);
	do_tell = do_tell || (mask & DO_TELL);
	do_drain = do_drain || (mask & DO_DRAIN);
	do_seal = do_seal || (mask & DO_SEAL);
	do_fence_client = do_fence_client || (mask & DO_FENCE_CLIENTS);
	do_kill = do_kill || (mask & DO_KILL_KEYS);
	do_fence_block = do_fence_block || (mask & DO_FENCE_BLOCK);
	do_escalate = do_escalate || (mask & DO_ESCALATE);
	do_withdraw = do_withdraw || (mask & DO_WITHDRAW);
	if
	:: mask & DO_RELEASE ->
		told_landlord++;
		assert(told_landlord == 1);
		landlord = !over;
		SAFE
	:: else
	fi
}

inline happens(e)
{
	d_step {
		range_step(e);
		obey();
		mask = 0;
		wake = 0
	}
}

/* ---- the world ---- */

active proctype client()
{
	/* One that does not answer stops at the first line. */
	do
	:: atomic { do_tell && key && queue -> key = 0; break }
	:: atomic { key && queue -> SAFE } /* it writes */
	:: !key || !queue -> break
	:: break
	od
}

active proctype acquire()
{
	/* Cancelled or not, its key may be there for a moment: then it is killed. */
	if
	:: atomic { making && do_tell -> making = 0 }
	:: atomic { making && !held_back && !key && queue -> making = 0; key = 1 }
	:: atomic { making -> making = 0 }
	fi;
	/* And another time, or never. */
#ifdef BUG_NOT_HELD_BACK
end:	atomic { held_back && !key && queue -> key = 1; SAFE }
#else
end:	atomic { state == ENDED && !held_back -> key = 1; SAFE }
#endif
}

active proctype host()
{
end:	do
	:: atomic { !out && regions && !work && !whole && state != ENDED -> work = 1; SAFE }
	:: atomic { work -> work = 0 }
	:: atomic { work -> goto stuck }
	od;
stuck:
#ifdef HANG
	atomic { whole -> work = 0 }
#else
#ifdef GRANTS
end_stuck: /* nobody waits for it */
#endif
	atomic { do_fence_block || whole -> work = 0 }
#endif
}

active proctype committer()
{
end:	do
	:: atomic { !refusing && queue && !whole && !commit && state != ENDED -> commit = 1; SAFE }
	:: atomic { commit -> commit = 0 }
	od
}

active proctype clock()
{
	do
#ifndef BUG_NO_DEADLINE
	:: atomic { under_way && phase < 3 -> phase++; happens(TIMER) }
#endif
	:: state >= RELEASED -> break
	od
}

active proctype landlord_()
{
	/* He may be through, or have given up, before he got it. */
	atomic { !over -> landlord = 0; happens(END) }
}

/* A recall of the whole export: ours, or another landlord's. */
active proctype whole_recall()
{
	bit any;

#ifdef HANG
	any = 0;
#else
	if
	:: any = 1
	:: any = 0
	fi;
#endif
	if
	:: atomic { any || do_escalate -> whole = 1 }
	:: atomic { !any && state >= RELEASED -> goto nothing }
	fi;
	/* That this ends is what recall.pml shows. */
	atomic { !work && !commit && !making -> key = 0; queue = 0; regions = 0; whole_gone = 1; out = 1; happens(OVERTAKEN); SAFE };
nothing:
	skip
}

active proctype control()
{
	held_back = 1;
	if
	:: happens(BEGIN)
	:: atomic { whole -> skip } /* WAITING: it will be overtaken */
	fi;
	do
	:: atomic { do_narrow -> do_narrow = 0; out = 1; happens(NARROWED) }
#ifdef BUG_NO_DRAIN
	:: atomic { do_drain -> do_drain = 0 }
#else
	:: atomic { do_drain && !work -> do_drain = 0; happens(DRAINED) }
#endif
	:: atomic { under_way && !key && !making && !keys_dead -> happens(KEYS_DEAD) }
	:: atomic { do_seal && !refusing -> refusing = 1 }
	:: atomic { do_seal && refusing && !commit -> do_seal = 0; happens(SEALED) }
	:: atomic { do_fence_client && queue -> queue = 0 }
	:: atomic { do_kill && !queue && key -> key = 0 }
	:: atomic {
		do_withdraw && state == INVALID ->
		do_withdraw = 0;
		regions = 0;
		assert(!work);
		happens(REGIONS_GONE)
	   }
	:: atomic {
		state == RETURNING && !(whole && !whole_gone) && !do_seal ->
#ifndef BUG_RETURN_WITHOUT_END
		assert(!landlord);
#endif
		regions = 1;
		out = 0;
		refusing = 0;
		happens(RETURNED);
		held_back = 0;
		SAFE;
		break
	   }
#ifdef BUG_RETURN_WITHOUT_END
	:: atomic { state == RELEASED -> regions = 1; out = 0; SAFE }
#endif
	od
}

ltl ends { <> (state == ENDED) }
