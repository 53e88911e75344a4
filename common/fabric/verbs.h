/* SPDX-License-Identifier: BSD-3-Clause */
/* The fabric over rdma-core: RC queue pairs, the RDMA CM. */
#ifndef LEASEHOLD_FABRIC_VERBS_H
#define LEASEHOLD_FABRIC_VERBS_H

#include "fabric/fabric.h"

/**
 * Opens every RDMA device of the machine. -ENODEV with what to do in `err` if there is none, or if
 * the kernel lacks rdma_ucm or ib_uverbs.
 */
MUST_CHECK int verbs_fabric_open(struct fabric **f, struct errtext *err);

#endif
