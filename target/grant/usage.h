/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one client has of what it may have: grants, bytes in them, registrations a second; and what all
 * clients of its host have together. The clock is the caller's. Control loop.
 */
#ifndef LEASEHOLD_GRANT_USAGE_H
#define LEASEHOLD_GRANT_USAGE_H

#include "grant/grant.h"

/** The clients of one host NQN. */
struct usage_host {
	struct list link;
	unsigned int clients;
	unsigned int grants;
	uint64_t bytes;
	char nqn[NVME_NQN_BYTES];
};

/** That of the host, for one client more, or NULL: no memory; and that client is gone. */
struct usage_host *usage_host_get(const char *nqn);
void usage_host_put(struct usage_host *host);

/** All zero but for its host: a client that has nothing and has asked for nothing. */
struct usage {
	struct usage_host *host;
	unsigned int grants;
	uint64_t bytes;
	/* A bucket that leaks: registrations times 10^9 that have not leaked away by then_ns. */
	uint64_t registered;
	uint64_t then_ns;
};

/**
 * Whether it may have so many more grants, of so many bytes together, of an export of which there are
 * `of_export`, by the limits of `env`: NVME_SC_SUCCESS, and the registrations are counted, whatever
 * becomes of them; or LH_SC_LIMIT, LH_SC_LIMIT_EXPORT, LH_SC_LIMIT_HOST, LH_SC_LIMIT_BYTES,
 * LH_SC_LIMIT_RATE, the first that speaks against it, and `stats` counts that. `now_ns` never goes back.
 */
uint16_t usage_allow(struct usage *usage, const struct holding_env *env, uint64_t of_export,
		     uint64_t grants, uint64_t bytes, uint64_t now_ns);

/** A grant of so many bytes is taken for it, or its key is dead. */
void usage_add(struct usage *usage, uint64_t bytes);
void usage_drop(struct usage *usage, uint64_t bytes);

#endif
