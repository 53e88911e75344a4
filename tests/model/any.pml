/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine alone, with any event at any time, true or not, and the real one beside it: at each step
 * recall_step() of target/grant/recall.c gets the same state, event and time, and must come to the
 * same state and actions. Every state that any sequence of events leads to is visited.
 */
#define LOCKSTEP

c_decl {
\#include "drive.h"
};

int event_now, phase_now, after; /* of the step that is being done */
bit differs;

#include "machine.pml"

active proctype anybody()
{
	byte e;

	do
	:: d_step { phase < 2 && state >= RECALLING -> phase++ }
	:: atomic {
		/* Not select(), which has its favourites in a simulation. */
		if
		:: e = TAKEN
		:: e = PREPARED
		:: e = PREPARE_FAILED
		:: e = BREAK
		:: e = LOST
#ifdef NO_STOP
		:: e = BREAK
#else
		:: e = STOP_
#endif
		:: e = KEYS_DEAD
		:: e = DRAINED
		:: e = SEALED
		:: e = FENCE_DONE
		:: e = REGIONS_GONE
		:: e = TIMER
		:: e = GIVEN_BACK
		fi;
		d_step {
			recall_step(e);
			mask = 0;
			wake = 0;
			e = 0
		}
	}
	od
}
