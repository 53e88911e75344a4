/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How blocks are given back: target/grant/recall.c and the world around it, for spin. See run.
 *
 * One export. The machine (machine.pml) is a copy of recall.c's, line by line; that the two are the
 * same is checked, not believed: any.pml, replay.c. Around it what holding.c, grant.c, client.c,
 * make.c and serve.c make of its actions, with the reactors, the registrar, the adapter, the kernel's
 * lease, and three who do as they like: clients, block hosts, and the landlord.
 *
 * Fair, that is, each goes on as long as it can: the clock, the control loop, the registrar, workers,
 * reactors, the adapter. Not fair, they may stop for good at any moment: clients, hosts, the landlord.
 *
 * What is left out, and why nothing is lost by it:
 * - Time is three phases: before the deadline, after it, after the end of patience. The machine
 *   compares `now` with these two and with nothing else. The clock may go on at any moment, so a
 *   deadline may come before anybody had the time to do anything, or after all is done.
 * - The range is the whole file and a client has one grant (two, in two clients, want different
 *   bytes, or both read): the recall treats all grants alike, and counts them only to know "none".
 * - Messages have no travelling time of their own: whoever sends does so at any moment, which is the
 *   same as to have sent long ago. Recall (TELL) is no message at all: a client may release at any
 *   moment, told or not; told, it may refuse. Losing one's queue, by error, end or a bad key, is one
 *   step. What a client sends that changes nothing (a second Release, one of a stale generation, a
 *   guessed key, a refused Commit or Acquire) is no step, but that it costs a bad key's sender its
 *   queue. So a client here can do all that a wire allows.
 * - KEYS_DEAD and DRAINED come as soon as they are true and again never; when holding.c looks is its
 *   own affair (tests/unit/test_holding.c). All events may come in any order in which they can be true,
 *   more than the one queue of holding.c gives.
 * - Registrations of ours are counted, at most two: "some" and "more are being made".
 * - The adapter: from the return of an invalidation on, nothing is placed through the key. That is
 *   what the fabric's tests prove (tests/unit/fabric_suite_fence.c), and the self-test at start.
 * - MAX_GENERATION takings of the tenure; afterwards the landlord keeps it. Nothing in the machine
 *   survives a release but `stopping`, which is another reason why two are as good as many.
 *
 * Macros: CLIENTS, MAX_GENERATION, WORKS (block work in flight); BLOCK, COMMIT, GROWTH, STOP, FORCE
 * (the kernel breaks the lease by force), HANG (the adapter never finishes; PATIENCE ends the
 * process), AT_ONCE (odp_release: close.c's part; the machine is the same); each leaves out what is not
 * asked for. BUG_…: see run.
 */
#include "machine.pml"

#define TENURE_NONE	0
#define TENURE_HELD	1
#define TENURE_BREAKING 2

/* Grants. DEAF: its key takes no more, what is under way is still placed. */
#define NO_GRANT 0
#define MAKING	 1
#define MADE	 2
#define LIVE	 3
#define DYING	 4
#define DEAF	 5

#define DOWN  0
#define UP    1
#define ERROR 2

#define NO_COMMIT 0
#define AT_WORK	  1
#define PERSISTED 2

#define NOTHING	   0
#define GENERATION 1
#define MORE	   2 /* growth: another view of the same generation */

#define OK	1
#define FAILED	2

#define KEYS (CLIENTS) /* values that keys can have: few, so that they come again soon */

/* The kernel. */
byte tenure;
bit waits;  /* the landlord sleeps until we let go */
bit forced; /* it got its blocks by force: the one exception */

/* Control: what it knows beside the machine. */
bit want, taken_msg, lost_msg, fence_msg, sealed_msg, quiesced, stopped, dead;
byte timer; /* 0, or the phase it goes off in */
byte generation;

/* What is registered, being registered, deregistered. */
byte regions, making, made;
bit slice, cancel, freeing;

/* Block work. */
bit block_open = 0, block_error, quiesce_msg, quiesce_wait;
byte works;

/* Commits. */
bit commits_open, seal_msg, seal_wait;

/* Clients. key: value + 1. write: the key that a write on its way was let in by. */
byte queue[CLIENTS], grant[CLIENTS], key[CLIENTS], write[CLIENTS], commit[CLIENTS],
	commit_generation[CLIENTS], grant_generation[CLIENTS];
bit cancelled[CLIENTS], fenced[CLIENTS];

/* The adapter: who may use a key, + 1. */
byte owner[KEYS + 1];

#ifdef AT_ONCE
/* The memory that is registered is closed: what names a key gets an error. Until no key is left. */
bit at_once, closed;
#define CLOSED closed
#else
#define CLOSED 0
#endif

byte i; /* of loops within a step, 0 outside */

/* ---- the invariants -------------------------------------------------------------------------- */

#define covered (tenure != TENURE_NONE || forced)

/* 1: no memory is registered without a tenure. */
inline check_registered()
{
	assert(covered);
}

/* 2: the tenure goes when no key and no work on it is left; keys may be over memory that is closed. */
inline check_release()
{
	assert((regions == 0 || CLOSED) && making == NOTHING);
	assert(works == 0);
	i = 0;
	do
	:: i < CLIENTS ->
		assert((grant[i] == NO_GRANT && write[i] == 0) ||
		       (CLOSED && grant[i] != MAKING && grant[i] != LIVE));
		assert(commit[i] != AT_WORK);
		i++
	:: else -> break
	od;
	i = 0;
	do
	:: i <= KEYS -> assert(owner[i] == 0 || CLOSED); i++
	:: else -> break
	od;
	i = 0
}

/* ---- control --------------------------------------------------------------------------------- */

inline fence_clients()
{
	i = 0;
	do
	:: i < CLIENTS ->
		if
		:: grant[i] == LIVE && !fenced[i] ->
			fenced[i] = 1;
#ifndef BUG_NO_ERROR
			queue[i] = ERROR
#endif
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

inline kill_all()
{
	i = 0;
	do
	:: i < CLIENTS ->
		if
		:: grant[i] == LIVE -> grant[i] = DYING
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

inline cancel_acquires()
{
	i = 0;
	do
	:: i < CLIENTS ->
		if
		:: grant[i] == MAKING || grant[i] == MADE -> cancelled[i] = 1
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

inline carry_out()
{
	if
	:: mask & DO_ABORT -> /* the process ends, and with it its keys; then the lease */
		dead = 1;
		waits = 0
	:: else ->
		if
		:: mask & DO_CANCEL ->
			cancel = (making != NOTHING);
			quiesced = !(mask & DO_QUIESCE);
			if
			:: mask & DO_QUIESCE -> cancel_acquires()
			:: else
			fi
		:: else
		fi;
		if
		:: mask & DO_QUIESCE -> quiesce_msg = 1
		:: else
		fi;
		if
		:: mask & DO_SEAL -> seal_msg = 1
		:: else
		fi;
		if
		:: mask & DO_FENCE_CLIENTS -> fence_clients()
		:: else
		fi;
		if
		:: mask & DO_FENCE_BLOCK ->
			/* A reactor that has not seen the quiesce may start more: its queues go, too. */
#ifdef BUG_FENCE_COUNTS
			block_error = block_error || works > 0
#else
			block_error = block_error || quiesce_msg || works > 0
#endif
		:: else
		fi;
		if
		:: mask & DO_REPORT_FENCE -> fence_msg = 1
		:: else
		fi;
		if
		:: mask & DO_KILL_KEYS -> kill_all()
		:: else
		fi;
		if
		:: mask & DO_FREE_REGIONS -> freeing = 1
		:: else
		fi;
		if
		:: mask & DO_RELEASE_TENURE ->
			check_release();
			tenure = TENURE_NONE;
			waits = 0;
			forced = 0;
			lost_msg = 0;
			freeing = CLOSED;
			quiesced = 0;
			timer = 0
		:: else
		fi;
		if
		:: mask & DO_RETRY_TENURE -> want = 1
		:: else
		fi;
		if
		:: mask & DO_PREPARE ->
			assert(making == NOTHING);
			making = GENERATION;
			cancel = 0
		:: else
		fi;
		if
		:: mask & DO_PUBLISH ->
			check_registered();
			assert(regions > 0 && works == 0);
#ifdef BUG_SAME_GENERATION
			generation = 1;
#else
			generation++;
#endif
			/* Of an older generation nothing is left: what is given now is higher. */
			i = 0;
			do
			:: i < CLIENTS ->
				assert(grant[i] == NO_GRANT && commit[i] != AT_WORK);
				assert(grant_generation[i] < generation);
				i++
			:: else -> break
			od;
			i = 0;
			making = NOTHING;
			slice = 0;
			made = 0;
			block_open = 1;
			commits_open = 1
		:: else
		fi;
		if
		:: mask & DO_STOPPED -> stopped = 1
		:: else
		fi;
		if
		:: mask & DO_TIMER -> timer = wake
		:: else
		fi
	fi;
	mask = 0;
	wake = 0
}

inline event(e)
{
	recall_step(e);
	carry_out()
}

#define going_on (state >= RECALLING)

inline give_up()
{
	making = NOTHING;
	made = 0;
	slice = 0;
	cancel = 0;
	if
	:: state == RETAKING -> event(PREPARE_FAILED)
	:: else
	fi
}

/* What was made is there, or is not. */
inline complete()
{
	if
	:: tenure == TENURE_BREAKING && making == GENERATION && state == RETAKING -> event(BREAK)
	:: else
	fi;
	if
	:: made == FAILED || cancel -> give_up()
	:: else ->
		if
		:: making == GENERATION -> event(PREPARED)
		:: else ->
			assert(state == GRANTED);
			making = NOTHING;
			made = 0;
			slice = 0
		fi
	fi
}

#if CLIENTS == 1
#define NO_GRANTS  (grant[0] == NO_GRANT)
#define NONE_MADE  (grant[0] != MAKING && grant[0] != MADE)
#define NONE_LIVE  (grant[0] != LIVE)
#define NO_COMMITS (commit[0] != AT_WORK)
#define WRITES(k)  (write[0] == (k))
#define HELD(k)	   (key[0] == (k))
#else
#define NO_GRANTS  (grant[0] == NO_GRANT && grant[1] == NO_GRANT)
#define NONE_MADE                                                                                  \
	(grant[0] != MAKING && grant[1] != MAKING && grant[0] != MADE && grant[1] != MADE)
#define NONE_LIVE  (grant[0] != LIVE && grant[1] != LIVE)
#define NO_COMMITS (commit[0] != AT_WORK && commit[1] != AT_WORK)
#define WRITES(k)  (write[0] == (k) || write[1] == (k))
#define HELD(k)	   (key[0] == (k) || key[1] == (k))
#endif

active proctype control()
{
end:	do
	:: d_step { !dead && taken_msg ->
		taken_msg = 0;
		event(TAKEN);
		if
		:: tenure == TENURE_BREAKING && state == RETAKING -> event(BREAK)
		:: tenure == TENURE_NONE && state == RETAKING -> event(LOST)
		:: else
		fi }
	/* The signal of the lease: seen now or later. */
	:: d_step { !dead && tenure == TENURE_BREAKING && (state == GRANTED || state == RETAKING) ->
		event(BREAK) }
	:: d_step { !dead && lost_msg ->
		lost_msg = 0;
		if
		:: state != INVALID && state != RELEASED -> event(LOST)
		:: else
		fi }
	:: d_step { !dead && made != 0 -> complete() }
#ifdef BUG_NO_DRAIN
	:: d_step { !dead && going_on && !drained && making == NOTHING -> event(DRAINED) }
#else
	:: d_step { !dead && going_on && !drained && quiesced && making == NOTHING -> event(DRAINED) }
#endif
	:: d_step { !dead && going_on && !keys_dead && NO_GRANTS -> event(KEYS_DEAD) }
	:: d_step { !dead && going_on && !seal_asked && NONE_LIVE -> event(GIVEN_BACK) }
	:: d_step { !dead && sealed_msg -> sealed_msg = 0; event(SEALED) }
	:: d_step { !dead && fence_msg -> fence_msg = 0; event(FENCE_DONE) }
	:: d_step { !dead && freeing && regions == 0 && making == NOTHING -> event(REGIONS_GONE) }
	:: d_step { !dead && timer > 0 && phase >= timer -> timer = 0; event(TIMER) }
#ifdef AT_ONCE
	/* Nobody is asked: the keys go now. */
	:: d_step { !dead && going_on && published && tenure == TENURE_BREAKING && !at_once ->
		at_once = 1;
		kill_all() }
	:: d_step { !dead && at_once && !closed && going_on && drained && sealed && NONE_MADE &&
			making == NOTHING ->
		closed = 1;
		if
		:: !keys_dead -> event(KEYS_DEAD)
		:: else
		fi }
	:: d_step { !dead && closed && state == INVALID -> event(REGIONS_GONE) }
	/* Dead indeed: from here on as if it had been waited for. */
	:: d_step { !dead && at_once && !going_on && (!closed || (regions == 0 && NO_GRANTS)) ->
		at_once = 0;
		closed = 0;
		freeing = 0 }
#endif
	od
}

active proctype clock()
{
end:	do
	:: d_step { !dead && going_on && phase == 0 -> phase = 1 }
#ifdef PATIENCE
	:: d_step { !dead && going_on && phase == 1 -> phase = 2 }
#endif
	od
}

/* Acquires that have their key, and clients whose queue is gone. */
proctype undertaker(byte c)
{
end:	do
	:: d_step { !dead && grant[c] == MAKING && cancelled[c] ->
		grant[c] = NO_GRANT;
		cancelled[c] = 0 }
	:: d_step { !dead && grant[c] == MADE ->
#ifdef BUG_NO_SECOND_LOOK
		grant[c] = LIVE;
#else
		grant[c] = (cancelled[c] -> DYING : LIVE);
#endif
		/* It is given only for the generation that is served. */
		assert(grant[c] == DYING || (state == GRANTED && !fenced[c]));
		assert(grant[c] == DYING || grant_generation[c] == generation);
		cancelled[c] = 0 }
	:: d_step { !dead && queue[c] == ERROR && (!fenced[c] || grant[c] == LIVE) ->
		fenced[c] = 1;
		if
		:: grant[c] == LIVE -> grant[c] = DYING
		:: grant[c] == MAKING || grant[c] == MADE -> cancelled[c] = 1
		:: else
		fi }
	:: d_step { !dead && queue[c] == ERROR && fenced[c] && grant[c] == NO_GRANT &&
			commit[c] == NO_COMMIT && write[c] == 0 ->
		queue[c] = DOWN;
		fenced[c] = 0 }
	od
}

/* ---- registrar and workers ------------------------------------------------------------------- */

proctype registrar(byte c)
{
end:	do
	/* The lowest value that no key has. */
	:: d_step { !dead && grant[c] == MAKING && !cancelled[c] ->
		i = 1;
		do
		:: HELD(i) -> i++
		:: else -> break
		od;
		assert(i <= KEYS);
		check_registered();
		assert(owner[i] == 0);
		key[c] = i;
		owner[i] = c + 1;
		grant[c] = MADE;
		i = 0 }
	:: d_step { !dead && grant[c] == DYING ->
		owner[key[c]] = 0;
#ifdef BUG_REUSE
		key[c] = 0;
		grant[c] = NO_GRANT
#else
		grant[c] = DEAF
#endif
		}
#ifdef HANG
	:: !dead
#endif
	:: d_step { !dead && grant[c] == DEAF && !WRITES(key[c]) ->
		key[c] = 0;
		grant[c] = NO_GRANT }
	od
}

active proctype worker()
{
end:	do
	:: d_step { !dead && freeing && regions > 0 -> regions-- }
	/* Nobody else has the file open: it may be taken. */
	:: d_step { !dead && want && !stopped && tenure == TENURE_NONE && !forced &&
#if defined(AT_ONCE) && !defined(BUG_RETAKEN_EARLY)
			!at_once &&
#endif
			generation < MAX_GENERATION ->
		want = 0;
		tenure = TENURE_HELD;
		taken_msg = 1 }
	:: d_step { !dead && making != NOTHING && made == 0 && cancel -> made = FAILED }
	:: d_step { !dead && making != NOTHING && made == 0 && !cancel && !slice ->
		slice = 1;
		regions++;
		check_registered() }
	:: d_step { !dead && making != NOTHING && made == 0 && slice -> made = OK }
	:: d_step { !dead && making != NOTHING && made == 0 && !cancel && slice -> made = FAILED }
	od
}

/* ---- adapter --------------------------------------------------------------------------------- */

proctype adapter(byte c)
{
end:	do
#if defined(AT_ONCE) && !defined(BUG_NOT_CLOSED)
	:: d_step { !dead && write[c] > 0 && closed ->
		write[c] = 0;
		if
		:: queue[c] == UP -> queue[c] = ERROR
		:: else
		fi }
	:: d_step { !dead && write[c] > 0 && !closed ->
#else
	:: d_step { !dead && write[c] > 0 ->
#endif
		/* 3 and 6: bytes are placed only over blocks that are ours, by the key's own client. */
		assert(covered);
		assert(key[c] == write[c] && grant[c] >= MADE);
		write[c] = 0 }
	od
}

/* ---- reactors -------------------------------------------------------------------------------- */

active proctype reactor_block()
{
end:	do
	:: d_step { !dead && quiesce_msg -> quiesce_msg = 0; block_open = 0; quiesce_wait = 1 }
	:: d_step { !dead && quiesce_wait && works == 0 -> quiesce_wait = 0; quiesced = 1 }
	:: d_step { !dead && block_error && works > 0 -> works--; assert(covered && regions > 0) }
	od
}

active proctype reactor_seal()
{
end:	do
	:: d_step { !dead && seal_msg -> seal_msg = 0; commits_open = 0; seal_wait = 1 }
	:: d_step { !dead && seal_wait && NO_COMMITS -> seal_wait = 0; sealed_msg = 1 }
	od
}

#ifdef COMMIT
proctype reactor_commit(byte c)
{
end:	do
	:: d_step { !dead && commit[c] == AT_WORK ->
		/* Memory of ours is flushed, of the generation in which it was written. */
		assert(covered);
		assert(commit_generation[c] == generation);
		commit[c] = PERSISTED }
	/* In error, nothing leaves: the client's fabric never saw an answer. */
#ifdef BUG_ANSWER_EARLY
	:: d_step { !dead && commit[c] == AT_WORK && queue[c] == UP ->
#else
	:: d_step { !dead && commit[c] == PERSISTED && queue[c] == UP ->
#endif
		assert(commit[c] == PERSISTED);
		assert(!fenced[c]);
		commit[c] = NO_COMMIT;
		commit_generation[c] = 0 }
	:: d_step { !dead && commit[c] == PERSISTED && queue[c] != UP ->
		commit[c] = NO_COMMIT;
		commit_generation[c] = 0 }
	od
}
#endif

/* ---- who does as it likes -------------------------------------------------------------------- */

proctype client(byte c)
{
end:	do
	:: !dead /* for ever, if it likes */
	:: d_step { !dead && queue[c] == DOWN && !stopped -> queue[c] = UP }
	:: d_step { !dead && queue[c] == UP -> queue[c] = ERROR }
	/* Acquire. */
	:: d_step { !dead && queue[c] == UP && !fenced[c] && state == GRANTED && grant[c] == NO_GRANT ->
		grant[c] = MAKING;
		cancelled[c] = 0;
		grant_generation[c] = generation }
	/* Release, or the end of its time; honest or not, that is: it may have a write on its way. */
	:: d_step { !dead && grant[c] == LIVE -> grant[c] = DYING }
	/* A write through any key that the adapter takes from it, before or after a Release. */
	:: d_step { !dead && queue[c] == UP && write[c] == 0 && owner[1] == c + 1 -> write[c] = 1 }
#if CLIENTS > 1
	:: d_step { !dead && queue[c] == UP && write[c] == 0 && owner[2] == c + 1 -> write[c] = 2 }
#endif
#ifdef COMMIT
	/* Commit of this generation, or of an older one. */
	:: d_step { !dead && queue[c] == UP && commit[c] == NO_COMMIT && commits_open && generation > 0 ->
		commit[c] = AT_WORK;
		commit_generation[c] = generation }
#ifdef BUG_NO_GENERATION
	:: d_step { !dead && queue[c] == UP && commit[c] == NO_COMMIT && commits_open && generation > 1 ->
		commit[c] = AT_WORK;
		commit_generation[c] = generation - 1 }
#endif
#endif
	od
}

#ifdef BLOCK
active proctype host()
{
end:	do
	:: !dead
	:: d_step { !dead && block_open && !block_error && works < WORKS ->
		assert(covered && regions > 0);
		works++ }
	/* It answers: our READ or WRITE is done. */
	:: d_step { !dead && !block_error && works > 0 ->
		assert(covered && regions > 0);
		works-- }
	/* It connects again: the reactor has seen what was sent to it before that. */
	:: d_step { !dead && block_error && works == 0 && !quiesce_msg -> block_error = 0 }
	od
}
#endif

active proctype landlord()
{
end:	do
	:: !dead
	:: d_step { !dead && tenure == TENURE_HELD -> tenure = TENURE_BREAKING; waits = 1 }
	/* By hand, or a host's hole: without the kernel. */
	:: d_step { !dead && state == GRANTED && tenure == TENURE_HELD -> event(BREAK) }
	/* The same range again, at any time. */
	:: d_step { !dead && tenure == TENURE_BREAKING && state != RELEASED -> event(BREAK) }
#ifdef GROWTH
	/* Not the landlord's: a client's Acquire over a hole. */
	:: d_step { !dead && state == GRANTED && making == NOTHING && regions < 2 ->
		making = MORE;
		cancel = 0 }
#endif
#ifdef FORCE
	:: d_step { !dead && tenure == TENURE_BREAKING ->
		tenure = TENURE_NONE;
		waits = 0;
		forced = 1;
		lost_msg = 1;
		if
		:: state == RELEASED && !taken_msg -> forced = 0
		:: else
		fi }
#endif
#ifdef STOP
	:: d_step { !dead && !stopping -> event(STOP_) }
#endif
	od
}

init {
	byte c;
	atomic {
		want = 1;
		do
		:: c < CLIENTS ->
			run undertaker(c);
			run registrar(c);
			run adapter(c);
			run client(c);
#ifdef COMMIT
			run reactor_commit(c);
#endif
			c++
		:: else -> break
		od
	}
}

/* 4: every recall ends, whatever clients and hosts do; so does a stop. */
ltl ends { [] (waits -> <> !waits) && [] (stopping -> <> (stopped || dead)) }
