/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine of target/grant/range_recall.c, in its order. `phase` stands for the clock: 0 before the
 * deadline, 1 at it, 2 at the end of grace, 3 at the end of patience, each from BEGIN on.
 */

#ifndef GRANTS_ONLY
#define GRANTS_ONLY 0
#endif

#define WAITING	  0
#define RECALLING 1
#define FENCED	  2
#define INVALID	  3
#define RELEASED  4
#define RETURNING 5
#define ENDED	  6

#define BEGIN	     0
#define NARROWED     1
#define DRAINED	     2
#define KEYS_DEAD    3
#define SEALED	     4
#define REGIONS_GONE 5
#define TIMER	     6
#define OVERTAKEN    7
#define END	     8
#define RETURNED     9

#define DO_NARROW	 1
#define DO_TELL		 2
#define DO_DRAIN	 4
#define DO_SEAL		 8
#define DO_FENCE_CLIENTS 16
#define DO_FENCE_BLOCK	 32
#define DO_KILL_KEYS	 64
#define DO_ESCALATE	 128
#define DO_WITHDRAW	 256
#define DO_RELEASE	 512
#define DO_RETURN	 1024
#define DO_END		 2048
#define DO_TIMER	 4096

byte state;
bit grants_only = GRANTS_ONLY;
bit narrowed, drained, keys_dead, sealed, seal_asked, escalated, over, late;
byte phase;

/* Of the step that is being done. */
int mask;
byte wake; /* the phase of the next TIMER, or 0 */
int before;

#define under_way (state == RECALLING || state == FENCED || state == INVALID)

/* As replay.c takes it apart. */
#define PACKED                                                                                     \
	(state | narrowed << 3 | drained << 4 | keys_dead << 5 | sealed << 6 | seal_asked << 7 |   \
	 escalated << 8 | over << 9 | grants_only << 10 | late << 11)

#ifdef BUG_NO_DRAIN
#define IS_DRAINED 1
#else
#define IS_DRAINED drained
#endif
#ifdef BUG_NO_SEAL
#define IS_SEALED 1
#else
#define IS_SEALED sealed
#endif

inline m_release()
{
	state = RELEASED;
	mask = mask | DO_RELEASE
}

inline m_advance()
{
	if
	:: under_way && keys_dead && grants_only -> m_release()
	:: else
	fi;
	if
	:: under_way && keys_dead && !seal_asked ->
		seal_asked = 1;
		mask = mask | DO_SEAL
	:: else
	fi;
	if
	:: (state == RECALLING || state == FENCED) && narrowed && IS_DRAINED && keys_dead && IS_SEALED ->
		state = INVALID;
		mask = mask | DO_WITHDRAW
	:: else
	fi;
	if
	:: state == RELEASED && over ->
		state = RETURNING;
		mask = mask | DO_RETURN
	:: else
	fi
}

inline m_begin()
{
	if
	:: state == WAITING ->
		state = RECALLING;
		phase = 0;
		mask = mask | DO_TELL | DO_TIMER;
		wake = 1;
		if
		:: !grants_only -> mask = mask | DO_NARROW
		:: else
		fi
	:: else
	fi
}

inline m_narrowed()
{
	if
	:: under_way && !narrowed && !grants_only ->
		narrowed = 1;
		mask = mask | DO_DRAIN;
		if
		:: state == FENCED && phase < 2 ->
			late = 1;
			mask = mask | DO_TIMER;
			wake = 2
#ifndef BUG_NO_LATE_FENCE
		:: state == FENCED && phase >= 2 -> mask = mask | DO_FENCE_BLOCK
#endif
		:: else
		fi
	:: else
	fi
}

inline m_fence()
{
	state = FENCED;
	if
	:: !keys_dead -> mask = mask | DO_FENCE_CLIENTS | DO_KILL_KEYS
	:: else
	fi;
	if
	:: narrowed && !drained -> mask = mask | DO_FENCE_BLOCK
	:: else
	fi
}

inline m_timer()
{
	if
	:: under_way && phase >= 1 && state == RECALLING -> m_fence()
	:: else
	fi;
	if
	:: under_way && phase >= 2 && late ->
		late = 0;
		if
#ifndef BUG_NO_LATE_FENCE
		:: !drained -> mask = mask | DO_FENCE_BLOCK
#endif
		:: else
		fi
	:: else
	fi;
	if
	:: under_way && phase < 3 ->
		mask = mask | DO_TIMER;
		wake = (phase == 0 -> 1 : (late -> 2 : 3))
#ifndef BUG_NO_ESCALATION
	:: under_way && phase == 3 ->
		if
		:: !escalated && !grants_only -> mask = mask | DO_ESCALATE
		:: else
		fi;
		escalated = 1
#endif
	:: else
	fi
}

/* Within a d_step. Leaves `mask` and `wake`, which the caller clears. */
inline range_step(e)
{
	before = PACKED;
#ifdef LOCKSTEP
	phase_now = phase;
#endif
#ifdef TRACE
	printf("range %d %d %d", e, phase, before);
#endif
	mask = 0;
	wake = 0;
	if
	:: e == BEGIN -> m_begin()
	:: e == NARROWED -> m_narrowed()
	:: e == DRAINED ->
		if
		:: under_way && narrowed -> drained = 1
		:: else
		fi
	:: e == KEYS_DEAD ->
		if
		:: under_way -> keys_dead = 1
		:: else
		fi
	:: e == SEALED ->
		if
		:: seal_asked -> sealed = 1
		:: else
		fi
	:: e == REGIONS_GONE ->
		if
		:: state == INVALID -> m_release()
		:: else
		fi
	:: e == TIMER -> m_timer()
	:: e == OVERTAKEN ->
		if
		:: under_way || state == WAITING -> m_release()
		:: else
		fi
	:: e == END -> over = 1
	:: e == RETURNED ->
		if
		:: state == RETURNING ->
			state = ENDED;
			mask = mask | DO_END
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
		struct range_drive_step step = {now.event_now, now.phase_now, now.before,
						now.mask, now.wake, now.after};

		now.differs = !range_drive_lone_step(&step);
	};
	assert(!differs);
	event_now = 0;
	phase_now = 0;
	after = 0;
#endif
	before = 0
}
