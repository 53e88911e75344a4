/* SPDX-License-Identifier: BSD-3-Clause */
/* Why a target refused a queue, in words: what it said, and what to do about it. Pure. */
#ifndef LEASEHOLD_REFUSAL_H
#define LEASEHOLD_REFUSAL_H

#include "libleasehold/nvme_queue.h"

/** What an NVMe queue's connection was refused with (enum nvmf_rdma_cm_status). */
const char *refusal_of_connection(uint16_t status);

/**
 * What a Connect command was refused with: the status and, for Invalid Parameters, where the
 * parameter lies (NVMe-oF 1.1 §3.3). `client`, `entries` and the name of `nq` are looked at. Returns an
 * errno of its own for what a caller can do something about, else -EPROTO.
 */
int refusal_of_connect(const struct nvme_queue *nq, const struct nvme_completion *cqe,
		       struct errtext *err);

#endif
