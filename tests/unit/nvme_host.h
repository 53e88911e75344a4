/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A raw NVMe/RDMA host for tests of the target, in its process: one thread turns the control loop
 * and polls the host's own queues; nothing is done for the caller's comfort that a bad host would
 * not do.
 */
#ifndef LEASEHOLD_TEST_NVME_HOST_H
#define LEASEHOLD_TEST_NVME_HOST_H

#include "test_dirs.h"

#include <netinet/in.h>

#include "iwarp/iwarp.h"
#include "nvme/nvme.h"

#define HOST_DEPTH	 32
#define HOST_CAPSULE	 (64 + 4096)
#define HOST_DATA	 (1u << 20)
#define TEST_NQN	 "nqn.2026-11.org.leasehold:test"
#define TEST_NSID	 5
#define TEST_FILE_BYTES	 MIB(4)
#define TEST_HOLE_OFFSET MIB(3) /* from here on the file is a hole */
#define TEST_FIRST_MS	 400
#define TEST_QUEUES	 4

/** One target with one export, and what a host needs to reach it. */
struct rig {
	struct fabric *fabric;
	struct fabric_device *dev;
	struct loop *control;
	struct pool *registrar, *workers;
	struct reactor *reactors[2];
	unsigned int nr_reactors;
	struct nvme_limits limits;
	const char *state_dir;
	uint32_t deadline_ms;
	bool deny_conflicts;
	struct holding_env env;
	struct nvme_target *target;
	struct nvme_subsystem *subsystem;
	struct holding *holding;
	struct sockaddr_storage addr;
	bool done;
	int err;
	/* the host's */
	uint8_t hostid; /* of the next to connect; 0: the usual one */
	bool no_hostid; /* of all zeros */
	struct fabric_cm *cm;
	struct fabric_pd *pd;
	int fd; /* none while the target has the lease */
};

struct host_queue {
	struct rig *rig;
	struct fabric_conn *conn;
	struct fabric_cq *cq;
	struct fabric_mr *mr;
	uint8_t *memory; /* capsules, responses, data */
	uint8_t *data;
	uint8_t accept[32]; /* private data */
	uint16_t crqsize;
	uint16_t reject; /* the reject code; 0xffff: it came without the standard's private data */
	uint16_t direct_reject; /* enum lh_cm_status */
	bool resolved, established, dead;
	unsigned int sent, answered;
	struct nvme_completion last; /* newest */
	struct nvme_completion by_cid[64];
	bool has_cid[64];
	/** Of a direct queue: what came, instead of a completion. Set it before Hello. */
	void (*message)(struct host_queue *q, const void *bytes, uint32_t length);
	void *user;
};

void rig_start(struct rig *rig);
/** With another time for clients to give back what they are granted. */
void rig_start_deadline(struct rig *rig, uint32_t deadline_ms);
/**
 * For several hosts, with all the time that they may need for their first command; block commands in
 * conflict with another host's grants wait, or are denied.
 */
void rig_start_hosts(struct rig *rig, uint32_t deadline_ms, bool deny_conflicts);
/** With other limits, and one reactor that is sized for them. */
void rig_start_wide(struct rig *rig, const struct nvme_limits *limits);
/** With a state directory, and all the time that hosts may need for their first command. */
void rig_start_at(struct rig *rig, const char *state_dir);
void rig_stop(struct rig *rig);
/** Turns everything until *flag, at most `ms`. Returns *flag. */
bool rig_wait(struct rig *rig, struct host_queue *q, const bool *flag, unsigned int ms);
void rig_turn(struct rig *rig, struct host_queue *q);
/** Looks at the queue alone. */
void host_poll(struct host_queue *q);

/** A connection with that request; false if it was not accepted. */
bool host_connect(struct rig *rig, struct host_queue *q, const void *request, uint8_t length);
/** It answers so many READs at a time (IRD), and wants to have so many in flight (ORD). */
bool host_connect_depths(struct rig *rig, struct host_queue *q, const void *request, uint8_t length,
			 uint8_t ird, uint8_t ord);
bool host_connect_nvme(struct rig *rig, struct host_queue *q, uint16_t qid);
void host_close(struct host_queue *q);

/** A zeroed command with a null keyed SGL in send buffer `slot`. */
struct nvme_command *host_command(struct host_queue *q, unsigned int slot, uint8_t opcode);
/** Posts send buffer `slot`, `bytes` long; its cid is the slot's number. */
void host_post(struct host_queue *q, unsigned int slot, uint32_t bytes);
/** Waits for the answer to `slot`: its status without the More bit; all is in q->by_cid[slot]. */
uint16_t host_wait(struct host_queue *q, unsigned int slot);
/** Both, with the first slot. */
uint16_t host_run(struct host_queue *q, uint32_t bytes);
void host_keyed(struct host_queue *q, struct nvme_command *cmd, uint32_t length);

/** Connect command; dw0 is in q->by_cid[0]. */
uint16_t host_associate(struct host_queue *q, uint16_t qid, uint16_t cntlid, const char *nqn,
			uint32_t kato_ms);
uint16_t host_enable(struct host_queue *q);
/** An admin queue, associated and enabled; returns the controller's id. */
uint16_t host_admin(struct rig *rig, struct host_queue *q);

#endif
