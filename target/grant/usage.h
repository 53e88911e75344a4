/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one client has of what it may have: grants, bytes in them, registrations a second. Pure: the
 * clock is the caller's. One thread.
 */
#ifndef LEASEHOLD_GRANT_USAGE_H
#define LEASEHOLD_GRANT_USAGE_H

#include "grant/grant.h"

/** All zero: a client that has nothing and has asked for nothing. */
struct usage {
	unsigned int grants;
	uint64_t bytes;
	/* A bucket that leaks: registrations times 10^9 that have not leaked away by then_ns. */
	uint64_t registered;
	uint64_t then_ns;
};

/**
 * Whether it may have so many more grants, of so many bytes together, by the limits of `env`:
 * NVME_SC_SUCCESS, and the registrations are counted, whatever becomes of them; or LH_SC_LIMIT,
 * LH_SC_LIMIT_BYTES, LH_SC_LIMIT_RATE, the first that speaks against it, and `stats` counts that.
 * `now_ns` never goes back.
 */
uint16_t usage_allow(struct usage *usage, const struct holding_env *env, uint64_t grants,
		     uint64_t bytes, uint64_t now_ns);

/** A grant of so many bytes is taken for it, or its key is dead. */
void usage_add(struct usage *usage, uint64_t bytes);
void usage_drop(struct usage *usage, uint64_t bytes);

#endif
