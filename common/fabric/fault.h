/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fabric around another one that breaks things on purpose, for tests. It stays within what a real
 * fabric may do: calls fail, connections are cut, completions and CM events are late. Completions of
 * one connection keep their order, and none is lost or made up; those of different connections may
 * overtake each other. Freeing never fails.
 */
#ifndef LEASEHOLD_FABRIC_FAULT_H
#define LEASEHOLD_FABRIC_FAULT_H

#include "fabric/fabric.h"

/** Where a fault may come: a bit each. */
enum fault_site {
	FAULT_REGISTER = 1 << 0,   /* fabric_mr_reg, fabric_mw_alloc: fail */
	FAULT_CREATE = 1 << 1,	   /* domains, queues, queue pairs, listeners, channels: fail */
	FAULT_CONNECT = 1 << 2,	   /* fabric_resolve, fabric_connect, fabric_accept: fail */
	FAULT_POST = 1 << 3,	   /* each request posted: fails, or the connection is cut */
	FAULT_COMPLETION = 1 << 4, /* each completion: is held back, or the connection is cut */
	FAULT_CM_EVENT = 1 << 5,   /* each event: is held back */
};

#define FAULT_EVERYWHERE 0x3fu

struct fault_options {
	uint64_t seed;
	unsigned int sites; /* 0: everywhere */
	/* Chances in a million, drawn from the seed: the same calls in the same order, the same faults. */
	unsigned int fail_ppm; /* the call returns `error` and has done nothing */
	unsigned int cut_ppm;  /* the queue pair goes to error, as if the wire had been cut */
	unsigned int hold_ppm; /* held back for up to hold_polls polls of its queue or channel */
	unsigned int hold_polls;
	uint64_t fail_nth; /* besides: the N-th call (from 1) that can fail does; 0: none */
	int error;	   /* of failing calls; 0: -ENOMEM */
};

/** Wraps `inner`, which belongs to the new fabric from here (not on an error). 0 or -ENOMEM. */
MUST_CHECK int fault_fabric_open(struct fabric *inner, const struct fault_options *options,
				 struct fabric **f);

/** Changes the options of a fabric in use; the count for fail_nth begins anew. */
void fault_set(struct fabric *f, const struct fault_options *options);

/** How many calls could have failed since the last fault_set() (a sweep ends when N passes it). */
uint64_t fault_calls(const struct fabric *f);

#endif
