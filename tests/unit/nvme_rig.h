/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole target in this process, one export on the software fabric, and a raw NVMe host: it sends
 * any 64 bytes as a command, with any data behind them, and shows what comes back. The host's side
 * runs on the test's thread.
 */
#ifndef LEASEHOLD_NVME_RIG_H
#define LEASEHOLD_NVME_RIG_H

#include "test_export_rig.h"

#include <semaphore.h>
#include <stdatomic.h>

#include "nvme/internal.h"
#include "tenure/tenure.h"

#define RIG_NSID     1
#define RIG_BYTES    MIB(16)
#define RIG_DEPTH    32
#define RIG_MEMORY   MIB(4) /* of the host, registered */
#define RIG_REACTORS 2

struct rig_options {
	uint32_t lba_bytes;
	uint32_t inline_bytes;
	uint32_t transfer_timeout_ms; /* 0: the default */
	uint32_t shared_receives;     /* 0: none, unless the environment wants some */
	bool read_only, advisory, no_invalidate;
	bool journal; /* sector_atomic */
	enum region_choice registration;
	bool loses_receives; /* the adapter, of queues that end */
};

struct rig {
	struct rig_options options;
	struct fabric *fabric;
	struct holding_env env;
	struct reactor *reactors[RIG_REACTORS];
	struct tenure_signals *watch;
	struct holding *h;
	struct nvme_target *target;
	struct nvme_subsystem *subsystem;
	uint16_t port;

	/* The host. */
	struct fabric *host;
	struct fabric_cm *cm;
	struct fabric_pd *pd;
	struct fabric_mr *mr;
	uint8_t *memory;
	uint16_t cntlid;
	struct rig_queue *admin, *io[2];
};

/** One queue of the host: commands by slot, which is the CID. */
struct rig_queue {
	struct rig *rig;
	struct fabric_conn *conn;
	struct fabric_cq *cq;
	struct fabric_mr *mr;
	uint8_t *buffers; /* RIG_DEPTH receives, then RIG_DEPTH capsules */
	bool resolved, established, dead;
	unsigned int next;
	unsigned int answered;	  /* in all */
	unsigned int invalidated; /* of these: that killed a key of ours, … */
	uint32_t invalidated_key; /* … this one, the last time */
	bool done[RIG_DEPTH];
	unsigned int order[RIG_DEPTH]; /* the how manieth answer it was */
	struct nvme_completion cqe[RIG_DEPTH];
};

void rig_up(struct rig *rig, const struct rig_options *options);
void rig_down(struct rig *rig);
/** The target alone goes, with its hosts still connected; then only rig_host_down(). */
void rig_target_down(struct rig *rig);
/** The host alone leaves, and comes back with queues and a controller of its own. */
void rig_host_down(struct rig *rig);
void rig_host_up(struct rig *rig);

/** A command of I/O: opcode, namespace 1, no data. */
struct nvme_command rig_command(uint8_t opcode);
/** The same over blocks. */
struct nvme_command rig_blocks(uint8_t opcode, uint64_t slba, uint32_t blocks);
/** Data: `length` bytes of the host's memory from `at` on. */
void rig_keyed(struct rig *rig, struct nvme_command *sqe, uint32_t at, uint32_t length);

/** Sends a capsule; returns its slot. */
unsigned int rig_send(struct rig_queue *q, const struct nvme_command *sqe, const void *data,
		      uint32_t bytes);
/** Waits for the answer: its status without the More bit. */
uint16_t rig_answer(struct rig_queue *q, unsigned int slot);
/** True if it has come by now. */
bool rig_answered(struct rig_queue *q, unsigned int slot);
/** Waits until the target has cut the queue: true if it has. */
bool rig_was_cut(struct rig_queue *q);
/** Sends and waits for the answer. */
uint16_t rig_do(struct rig_queue *q, const struct nvme_command *sqe, const void *data,
		uint32_t bytes);

/** Reads the file through the holding's own descriptor. */
void rig_read(struct rig *rig, uint64_t offset, void *bytes, size_t length);

#endif
