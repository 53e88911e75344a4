// SPDX-License-Identifier: BSD-3-Clause
/*
 * For tests/e2e: a daemon that grants the level read-after-write on whatever it serves, so that clients
 * that confirm their writes by reads can be tested where nothing is durable. The daemon's main.c is
 * linked in; this takes the place of one function.
 */
#include "grant/grant.h"

enum lh_durability __wrap_holding_durability(const struct holding *h, unsigned int device);

enum lh_durability __wrap_holding_durability(const struct holding *h, unsigned int device)
{
	(void)h;
	(void)device;
	return LH_DURABLE_READ_AFTER_WRITE;
}
