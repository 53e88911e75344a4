/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A raw client of a target, for tests that misbehave: connections, commands, grants and one-sided
 * work, written against the wire (wire/nvme.h, wire/direct.h) and the fabric, not against
 * libleasehold, so that nothing in it is ever polite by accident. One thread, one command at a time
 * unless the caller posts more. What cannot be done at all ends the program with exit status 1.
 */
#ifndef LEASEHOLD_TEST_RAW_H
#define LEASEHOLD_TEST_RAW_H

#include "fabric/fabric.h"
#include "util/util.h"
#include "wire/wire.h"

#define RAW_DEPTH      32u
#define RAW_SLOT_BYTES 8192u
#define RAW_STEP_NS    (20 * NS_PER_S)

/* Exit status: something worked that must not. */
#define RAW_BAD_EXIT 3

/** The target, and how it is reached. Set by raw_open(). */
struct raw_target {
	struct fabric *fabric;
	struct fabric_cm *cm;
	struct fabric_pd *pd;
	struct sockaddr_storage dst;
	const char *nqn;
	uint32_t nsid;
};
extern struct raw_target raw;

/** One connection: a queue pair with its receives. */
struct link {
	struct fabric_conn *conn;
	struct fabric_cq *cq;
	struct fabric_mr *mr;
	uint8_t *mem; /* RAW_DEPTH receive slots, as many send slots, the data slot */
	bool resolved, established, dead;
	int error;
	uint8_t reply[FABRIC_PRIVATE_DATA_MAX]; /* private data of an accept or a reject */
	bool got;				/* a message for the caller is in `in` */
	uint8_t in[RAW_SLOT_BYTES];
	unsigned int answers; /* messages so far, Recalls not counted */
	bool sent, rma_done;
	enum fabric_status rma_status;
	bool told; /* a Recall came */
	uint32_t told_generation;

	int host;	 /* admin queue: number of the host; 0 becomes one that nobody else has */
	uint16_t cntlid; /* queues of a controller */
	uint16_t dqid;	 /* direct queues */
};

struct raw_grant {
	uint32_t generation, rkey;
	uint64_t address, length;
};

/** FABRIC ADDRESS PORT NQN NSID, as on a command line. */
void raw_open(char *const argv[]);
uint64_t raw_number(const char *text);
/** A line for the script that reads us: "WHAT NS WORDS". */
void raw_say(const char *what, uint64_t at_ns, const char *words);

/* ---- connections ---- */

/** Connects with that private data. 0, or -errno; the link may then be closed only. */
int link_open(struct link *l, const void *private_data, uint8_t len);
void link_close(struct link *l);
/** Moves what there is to move on two links (either may be NULL); sleeps a moment. */
void link_turn(struct link *a, struct link *b);
/** Where a message is put, one of RAW_DEPTH; slot 0 is what commands use. */
uint8_t *link_slot(struct link *l, unsigned int slot);
/** RAW_SLOT_BYTES that commands and one-sided work read and write. */
uint8_t *link_data(struct link *l);
int link_send_slot(struct link *l, unsigned int slot, uint32_t bytes);
int link_send(struct link *l, uint32_t bytes);

/* ---- commands ---- */

/** An empty command in a slot, with the data slot as its data if there are any. */
struct nvme_command *command_in(struct link *l, unsigned int slot, uint8_t opcode,
				uint32_t data_bytes);
struct nvme_command *command_new(struct link *l, uint8_t opcode, uint32_t data_bytes);
/** Sends what is in slot 0 and waits for its completion; `other` is turned meanwhile. */
struct nvme_completion command_run(struct link *l, struct link *other);
/** The same, as a status; 0 is success. */
uint16_t command_status(struct link *l, struct link *other);
uint16_t raw_status_of(const struct nvme_completion *cqe);

/** Private data of a queue's connection; the Connect command on an empty one, and its data. */
struct nvmf_rdma_cm_request queue_request(uint16_t qid, uint16_t cntlid);
void connect_build(struct nvmf_connect_command *connect, struct nvmf_connect_data *data,
		   uint16_t qid, int host, uint16_t cntlid);
/** A queue of the controller in l->cntlid; 0 is the admin queue, which makes one. */
void queue_open(struct link *l, uint16_t qid);
/** An admin queue and its controller, enabled. */
void admin_open(struct link *admin);
/** One block from or to the data slot on an I/O queue, 4096 bytes at `offset`. Its status. */
uint16_t block_io(struct link *io, uint8_t opcode, uint64_t offset);

/* ---- direct queues and grants ---- */

/** A token, in a request that uses it. Status of the command. */
uint16_t token_take(struct link *admin, struct lh_cm_request *request);
/** A direct queue of our own; says Hello. Returns its number, or -1 if the target refuses. */
int direct_open(struct link *admin, struct link *direct);
void hello(struct link *admin, struct link *direct);
/** As direct_open(); a refusal ends the program. */
void direct_must_open(struct link *admin, struct link *direct);

/** An Acquire or a Release or a Renew in a slot. */
void grant_command(struct link *admin, unsigned int slot, uint8_t opcode, uint16_t dqid,
		   uint64_t offset, uint64_t length, uint32_t generation, unsigned int access);
/** One answer; grants are in *g if it is 0. */
uint16_t acquire_try(struct link *admin, struct link *direct, unsigned int access, uint64_t offset,
		     uint64_t bytes, struct raw_grant *g);
/** Waits while a recall is under way; anything else ends the program. Prints "granted". */
struct raw_grant acquire(struct link *admin, struct link *direct, unsigned int access,
			 uint64_t offset, uint64_t bytes);
uint16_t release_try(struct link *admin, struct link *direct, uint64_t offset, uint64_t length,
		     uint32_t generation);
/** All of that generation; must succeed. */
void release_all(struct link *admin, struct link *direct, uint32_t generation);
/** A Commit of one range in generation and namespace; its status, or -1 if the queue died. */
int commit_try(struct link *admin, struct link *direct, uint32_t ns, uint32_t generation,
	       uint64_t offset, uint64_t length);

/* ---- one-sided ---- */

enum fabric_status rma(struct link *admin, struct link *l, enum fabric_op op, uint64_t address,
		       uint32_t rkey, uint32_t bytes);
/** A write, and a read behind it, so that success means that the target let both happen. */
enum fabric_status round_trip(struct link *admin, struct link *l, uint64_t address, uint32_t rkey,
			      uint32_t bytes);

#endif
