/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What every fabric must do, as one cmocka group that runs against any of them. Both ends of each
 * connection live in this process.
 */
#ifndef LEASEHOLD_TEST_FABRIC_SUITE_H
#define LEASEHOLD_TEST_FABRIC_SUITE_H

#include "fabric/fabric.h"

struct fabric_suite {
	const char *name;
	/** Opens the fabric. An error ends the program with 77 and the sentence. */
	int (*open)(struct fabric **f, struct errtext *err);
	const char *addr;    /* numeric address of this machine; NULL: no test of the CM */
	const char *addr6;   /* the same for IPv6; NULL: skipped */
	unsigned int cycles; /* connects and disconnects in the test for leaks */
};

/** Runs it all; returns the program's exit status. */
int fabric_suite_run(const struct fabric_suite *suite);

#endif
