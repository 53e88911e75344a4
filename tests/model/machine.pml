/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine of target/grant/recall.c, in its order. `phase` stands for the clock: 0 before the
 * deadline, 1 at it, 2 at the end of patience; `lost` is a deadline that was moved to a moment gone by.
 */

#define RELEASED  0
#define RETAKING  1
#define GRANTED	  2
#define RECALLING 3
#define DRAINING  4
#define FENCED	  5
#define INVALID	  6

#define TAKEN	       0
#define PREPARED       1
#define PREPARE_FAILED 2
#define BREAK	       3
#define LOST	       4
#define STOP_	       5
#define KEYS_DEAD      6
#define DRAINED	       7
#define SEALED	       8
#define FENCE_DONE     9
#define REGIONS_GONE   10
#define TIMER	       11
#define GIVEN_BACK     12
#define EVENTS	       13

#define DO_CANCEL	  1
#define DO_TELL		  2
#define DO_QUIESCE	  4
#define DO_SEAL		  8
#define DO_FENCE_CLIENTS  16
#define DO_FENCE_BLOCK	  32
#define DO_REPORT_FENCE	  64
#define DO_KILL_KEYS	  128
#define DO_FREE_REGIONS	  256
#define DO_RELEASE_TENURE 512
#define DO_RETRY_TENURE	  1024
#define DO_PREPARE	  2048
#define DO_PUBLISH	  4096
#define DO_STOPPED	  8192
#define DO_TIMER	  16384
#define DO_ABORT	  32768

byte state;
bit stopping, published, keys_dead, drained, sealed, seal_asked, fence_done, lost;
byte phase;

/* Of the step that is being done. */
int mask;
byte wake; /* the phase of the next TIMER, or 0 */
int before;

#define due (phase >= 1 || lost)

/* As replay.c takes it apart. */
#define PACKED                                                                                     \
	(state | stopping << 3 | published << 4 | keys_dead << 5 | drained << 6 | sealed << 7 |    \
	 seal_asked << 8 | fence_done << 9 | lost << 10)

inline m_arm()
{
	phase = 0;
	lost = 0;
	mask = mask | DO_TIMER;
	wake = 1
}

inline m_seal()
{
	if
	:: !seal_asked -> mask = mask | DO_SEAL
	:: else
	fi;
	seal_asked = 1
}

inline m_advance()
{
	if
	:: state == RECALLING && keys_dead ->
		state = DRAINING;
		m_seal()
	:: else
	fi;
	if
#ifdef BUG_RELEASE_BEFORE_FENCE
	:: (state == DRAINING && keys_dead && drained && sealed) || state == FENCED ->
#else
#ifdef BUG_NO_SEAL
	:: (state == DRAINING || (state == FENCED && fence_done)) && keys_dead && drained ->
#else
	:: (state == DRAINING || (state == FENCED && fence_done)) && keys_dead && drained && sealed ->
#endif
#endif
		state = INVALID;
		mask = mask | DO_FREE_REGIONS
	:: else
	fi
}

inline m_begin()
{
	if
	:: state == GRANTED ->
		state = RECALLING;
		m_arm();
		mask = mask | DO_CANCEL | DO_QUIESCE | DO_TELL
	:: state == RETAKING ->
		keys_dead = 1;
		sealed = 1;
		seal_asked = 1;
		state = DRAINING;
		m_arm();
		mask = mask | DO_CANCEL
	:: else
	fi
}

inline m_fence()
{
	if
	:: !keys_dead -> mask = mask | DO_FENCE_CLIENTS
	:: else
	fi;
#ifndef BUG_NO_BLOCK_FENCE
	if
	:: !drained && published -> mask = mask | DO_FENCE_BLOCK
	:: else
	fi;
#endif
	mask = mask | DO_REPORT_FENCE;
	m_seal();
	state = FENCED
}

inline m_timer()
{
	if
	:: state < RECALLING
	:: state >= RECALLING && phase == 2 -> mask = mask | DO_ABORT
	:: else ->
#ifndef BUG_NO_DEADLINE
		if
		:: due && (state == RECALLING || state == DRAINING) -> m_fence()
		:: else
		fi;
#endif
		mask = mask | DO_TIMER;
		wake = (due -> 2 : 1)
	fi
}

inline m_taken()
{
	if
	:: state == RELEASED && stopping -> mask = mask | DO_RELEASE_TENURE
	:: state == RELEASED && !stopping ->
		published = 0;
		keys_dead = 0;
		drained = 0;
		sealed = 0;
		seal_asked = 0;
		fence_done = 0;
		state = RETAKING;
		mask = mask | DO_PREPARE
	:: else
	fi
}

inline m_regions_gone()
{
	if
	:: state == INVALID ->
		state = RELEASED;
		phase = 0;
		lost = 0;
		mask = mask | DO_RELEASE_TENURE;
		mask = mask | (stopping -> DO_STOPPED : DO_RETRY_TENURE)
	:: else
	fi
}

/* Within a d_step. Leaves `mask` and `wake`, which the caller clears. */
inline recall_step(e)
{
	before = PACKED;
#ifdef LOCKSTEP
	phase_now = phase;
#endif
#ifdef TRACE
	printf("step %d %d %d", e, phase, before);
#endif
	mask = 0;
	wake = 0;
	if
	:: e == TAKEN -> m_taken()
	:: e == PREPARED ->
		if
		:: state == RETAKING ->
			state = GRANTED;
			published = 1;
			mask = mask | DO_PUBLISH
		:: else
		fi
	:: e == PREPARE_FAILED ->
		if
		:: state == RETAKING ->
			keys_dead = 1;
			drained = 1;
			sealed = 1;
			seal_asked = 1;
			m_arm();
			state = INVALID;
			mask = mask | DO_FREE_REGIONS
		:: else
		fi
	:: e == BREAK -> m_begin()
	:: e == LOST ->
		m_begin();
		if
		:: state >= RECALLING ->
			lost = lost || phase == 0;
			m_timer()
		:: else
		fi
	:: e == STOP_ ->
		if
		:: !stopping ->
			stopping = 1;
			m_begin();
			if
			:: state == RELEASED -> mask = mask | DO_STOPPED
			:: else
			fi
		:: else
		fi
	:: e == KEYS_DEAD ->
		if
		:: state >= RECALLING -> keys_dead = 1
		:: else
		fi
	:: e == DRAINED ->
		if
		:: state >= RECALLING -> drained = 1
		:: else
		fi
	:: e == SEALED ->
		if
		:: seal_asked -> sealed = 1
		:: else
		fi
	:: e == FENCE_DONE ->
		if
		:: state == FENCED && !fence_done ->
			fence_done = 1;
			if
			:: !keys_dead -> mask = mask | DO_KILL_KEYS
			:: else
			fi
		:: else
		fi
	:: e == REGIONS_GONE -> m_regions_gone()
	:: e == TIMER -> m_timer()
	:: e == GIVEN_BACK ->
		if
		:: state == RECALLING -> m_seal()
		:: else
		fi
	fi;
	m_advance();
#ifdef TRACE
	printf(" %d %d %d\n", mask, wake, PACKED);
#endif
#ifdef LOCKSTEP
	event_now = e;
	after = PACKED;
	c_code {
		struct drive_step step = {now.event_now, now.phase_now, now.before,
					  now.mask, now.wake, now.after};

		now.differs = !drive_lone_step(&step);
	};
	assert(!differs);
	event_now = 0;
	phase_now = 0;
	after = 0;
#endif
	before = 0
}
