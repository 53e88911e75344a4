/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long a wait polls before it sleeps: for as long as polling pays. It learns from each wait; a
 * sleep has its wake-ups in it, here and perhaps at the target, so it may take long where what is waited
 * for would come in time: a probe, one wait of many that polls for as long as may be, tells.
 */
#ifndef LEASEHOLD_SPIN_H
#define LEASEHOLD_SPIN_H

#include <stdint.h>

#define SPIN_MIN_NS    2000ull
#define SPIN_MAX_NS    150000ull
#define SPIN_PROBE_ONE 16 /* wait of so many is a probe */

struct spin {
	uint64_t ns;	    /* what polling pays, as far as is known */
	unsigned int waits; /* that began */
};

void spin_init(struct spin *spin);
/** A wait begins: so many ns it is to poll. */
uint64_t spin_begin(struct spin *spin);
/** It ended, asleep or not, after `waited_ns`. */
void spin_end(struct spin *spin, uint64_t waited_ns);

#endif
