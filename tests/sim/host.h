/* SPDX-License-Identifier: BSD-3-Clause */
/* An NVMe host: a controller's queues, and commands a slot each. What block.c and direct.c share. */
#ifndef LEASEHOLD_SIM_HOST_H
#define LEASEHOLD_SIM_HOST_H

#include "sim.h"
#include "wire/direct.h"
#include "wire/nvme.h"

#define HOST_DEPTH	  16u
#define HOST_DATA_BYTES	  16384u /* of one command */
#define HOST_INLINE_BYTES 4096u
#define HOST_RECEIVE	  2048u
#define HOST_NO_ANSWER	  0xffffu

struct host_queue;

struct host {
	struct client *client;
	struct fabric_cm *cm;
	struct fabric_pd *pd;
	struct host_queue *queues[3]; /* admin, I/O, direct; NULL: none */
	uint16_t cntlid;
};

enum {
	HOST_ADMIN,
	HOST_IO,
	HOST_DIRECT,
};

struct host_slot {
	bool busy, done;
	struct nvme_completion cqe;
};

struct host_queue {
	struct host *host;
	struct fabric_conn *conn;
	struct fabric_cq *cq;
	struct fabric_mr *mr;
	uint8_t *memory;
	bool resolved, established, dead;
	uint8_t accept[32];
	struct host_slot slots[HOST_DEPTH];
	void (*message)(struct host_queue *q, const void *bytes, uint32_t length);
	/* The same, when it has not left the target yet. */
	void (*posted)(struct host_queue *q, const void *bytes, uint32_t length);
	void (*transferred)(struct host_queue *q, uint64_t id, bool ok);
	void *user;
};

bool host_open(struct host *h, struct client *client);
void host_close(struct host *h);
/** Takes what has come for any of its queues; sleeps at most `ns` for it. */
void host_turn(struct host *h, uint64_t ns);

/** A queue, established; NULL: it was refused, or broke. */
struct host_queue *host_connect(struct host *h, unsigned int which, const void *request,
				uint8_t length);
void host_disconnect(struct host *h, unsigned int which);
/** Admin queue, Connect, enabled; false: not this time. */
bool host_admin(struct host *h);
bool host_io(struct host *h);

/** A free slot with a command of zeros in it; HOST_DEPTH: none is free. */
unsigned int host_slot(struct host_queue *q);
struct nvme_command *host_command(struct host_queue *q, unsigned int slot, uint8_t opcode);
uint8_t *host_data(struct host_queue *q, unsigned int slot);
void host_keyed(struct host_queue *q, unsigned int slot, uint32_t length);
/** In the capsule, behind the command. */
uint8_t *host_inline(struct host_queue *q, unsigned int slot, uint32_t length);
void host_send(struct host_queue *q, unsigned int slot, uint32_t inline_bytes);
/** The status of a slot that is done, which is free afterwards. */
uint16_t host_status(struct host_queue *q, unsigned int slot);
/** Waits, too; HOST_NO_ANSWER: the queue died, or `ns` passed. */
uint16_t host_wait(struct host_queue *q, unsigned int slot, uint64_t ns);
/** An RDMA READ or WRITE on a queue of messages; `transferred` follows. */
bool host_rdma(struct host_queue *q, enum fabric_op op, unsigned int slot, uint32_t length,
	       uint64_t address, uint32_t rkey, uint64_t id);
/** A message from the slot's capsule. */
bool host_message(struct host_queue *q, unsigned int slot, uint32_t length);

#endif
