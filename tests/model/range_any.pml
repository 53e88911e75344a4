/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine of a range alone, with any event at any time, true or not, and the real one beside it: at
 * each step range_recall_step() of target/grant/range_recall.c gets the same state, event and time, and
 * must come to the same state and actions. Every state that any sequence of events leads to is visited.
 */
#define LOCKSTEP

c_decl {
\#include "range_drive.h"
};

int event_now, phase_now, after; /* of the step that is being done */
bit differs;

#include "range_machine.pml"

active proctype anybody()
{
	byte e;

	if
	:: grants_only = 0
	:: grants_only = 1
	fi;
	do
	:: d_step { phase < 3 && under_way -> phase++ }
	:: atomic {
		/* Not select(), which has its favourites in a simulation. */
		if
		:: e = BEGIN
		:: e = NARROWED
		:: e = DRAINED
		:: e = KEYS_DEAD
		:: e = SEALED
		:: e = REGIONS_GONE
		:: e = TIMER
#ifdef NO_OVERTAKEN
		:: e = NARROWED
#else
		:: e = OVERTAKEN
#endif
		:: e = END
		:: e = RETURNED
		fi;
		d_step {
			range_step(e);
			mask = 0;
			wake = 0;
			e = 0
		}
	}
	od
}
