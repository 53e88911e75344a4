/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the room: what is counted of each export and of each host, for metrics and `stats`. Control loop. */
#ifndef LEASEHOLD_CONTROL_COUNTS_H
#define LEASEHOLD_CONTROL_COUNTS_H

#include "control/exports.h"
#include "nvme/nvme.h"

/** One export, as it is now. */
struct counted {
	struct holding_status s;
	struct nvme_ns_counts n;
};

/** Something that only grows while the export is served. */
struct counts_kind {
	const char *name; /* snake_case */
	const char *help;
	uint64_t (*value)(const struct counted *c);
};

/** All of them; a NULL name ends. */
extern const struct counts_kind counts_kinds[];

void counts_look(const struct admin_env *env, const struct holding *h, struct counted *c);

/** Who is connected with one NQN, and what he holds. */
struct host_counts {
	const char *nqn; /* valid until the loop goes on */
	uint64_t controllers, io_queues, direct_queues;
	uint64_t grants, granted_bytes;
};

/** Of all hosts, by name; to free(), NULL: no memory. */
struct host_counts *counts_hosts(const struct admin_env *env, size_t *count);

#endif
