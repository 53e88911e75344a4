/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the room: what the path of a connection says of where it leads. */
#ifndef LEASEHOLD_FABRIC_VERBS_PATH_H
#define LEASEHOLD_FABRIC_VERBS_PATH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VERBS_GID_BYTES 16

/** One end; of RoCE the gid alone, whose paths have no lids. */
struct verbs_end {
	const uint8_t *gid; /* VERBS_GID_BYTES */
	uint16_t lid;
};

/** Whether both ends are one port. `lids`: packets find their way by them, whatever the gids are. */
static inline bool verbs_ends_are_one(const struct verbs_end *a, const struct verbs_end *b,
				      bool lids)
{
	return memcmp(a->gid, b->gid, VERBS_GID_BYTES) == 0 && (!lids || a->lid == b->lid);
}

#endif
