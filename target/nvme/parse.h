/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The edge: what a peer says, checked once. Pure functions; no connection, no namespace, any thread.
 * What passes here is asserted, not tested, further in.
 */
#ifndef LEASEHOLD_NVME_PARSE_H
#define LEASEHOLD_NVME_PARSE_H

#include "export/export.h"
#include "nvme/reservation.h"
#include "wire/wire.h"

#include <string.h>

/* ---- refusals --------------------------------------------------------------------------------- */

/*
 * What a parser returns: 0, or an NVMe status, and above its 16 bits 1 + where the field lies that is
 * wrong (the error log's Parameter Error Location); 0 there: in no one field of the command.
 */
#define REFUSED_AT(status, byte, bit) \
	((uint32_t)(status) | NVME_SC_DNR | (((uint32_t)(bit) << 8 | (uint32_t)(byte)) + 1) << 16)
#define REFUSED_IN(status, field) REFUSED_AT(status, offsetof(struct nvme_command, field), 0)

static inline uint16_t refusal_status(uint32_t refusal)
{
	return (uint16_t)refusal;
}

/* ---- connection requests ---------------------------------------------------------------------- */

/** Private data of a connection request: NVMe-oF 1.1 §7.3.6.2, or our direct queue's. */
struct cm_request {
	bool direct;
	/* NVMe */
	uint16_t qid;
	uint16_t hrqsize;
	uint16_t sqsize; /* entries: hsqsize + 1 */
	uint16_t cntlid; /* both kinds */
	/* direct */
	uint16_t credits;
	uint8_t token[LH_TOKEN_BYTES];
};

/**
 * Returns 0, or the reject code: enum lh_cm_status if request->direct was set, else enum
 * nvmf_rdma_cm_status.
 */
MUST_CHECK uint16_t cm_request_parse(const uint8_t *data, size_t length,
				     struct cm_request *request);

/* ---- capsules --------------------------------------------------------------------------------- */

struct capsule_limits {
	uint32_t inline_bytes; /* that a capsule can carry behind the command */
	uint32_t mdts_bytes;
	bool admin;	    /* the opcode's set: fabrics and admin, or fabrics and I/O */
	bool no_invalidate; /* hosts here cannot: what they ask for is not done */
};

enum command_data {
	COMMAND_NO_DATA,
	COMMAND_IN_CAPSULE, /* from the host, behind the command */
	COMMAND_KEYED,	    /* in the host's memory */
};

enum command_direction {
	DIRECTION_NONE,
	DIRECTION_FROM_HOST,
	DIRECTION_TO_HOST,
};

enum command_fuse {
	FUSE_NONE,
	FUSE_FIRST,
	FUSE_SECOND,
};

#define NVME_MAX_KEYED 16u /* keyed descriptors of one command: MSDBD */

/** Some of the host's memory. */
struct keyed_sgl {
	uint64_t address;
	uint32_t length; /* not 0 */
	uint32_t key;
};

/** What a capsule says. */
struct command {
	uint16_t cid; /* as on the wire */
	uint8_t opcode;
	uint8_t fctype; /* of NVME_FABRICS */
	enum command_fuse fuse;
	uint32_t nsid;
	enum command_data data;
	enum command_direction direction;
	uint32_t length;	 /* of the data; 0 with COMMAND_NO_DATA */
	uint32_t capsule_offset; /* COMMAND_IN_CAPSULE: from the capsule's start */
	bool invalidate;	 /* the response is to invalidate `invalidate_key` */
	uint32_t invalidate_key;
	unsigned int nr_keyed;			/* COMMAND_KEYED */
	struct keyed_sgl keyed[NVME_MAX_KEYED]; /* together `length` */
};

/** Whether so many bytes can be a command capsule at all; if not, the peer speaks something else. */
bool capsule_size_ok(uint32_t bytes, const struct capsule_limits *limits);

/**
 * Checks what all commands share (flags, SGL, direction, sizes); `bytes` passed capsule_size_ok().
 * Returns 0 or a refusal; cid, opcode and fctype are set in any case.
 */
MUST_CHECK uint32_t command_parse(const void *capsule, uint32_t bytes,
				  const struct capsule_limits *limits, struct command *command);

/* ---- I/O commands (parse_io.c) ---------------------------------------------------------------- */

/** A command's place in the file. */
struct command_range {
	uint64_t offset; /* bytes */
	uint32_t length;
	bool fua;
	bool deallocate; /* Write Zeroes */
};

/** Commands that move as many bytes as their range has. Returns 0 or a refusal, as all of these do. */
MUST_CHECK uint32_t command_parse_range(const struct nvme_command *sqe,
					const struct command *command, uint32_t lba_bytes,
					uint64_t size_bytes, uint32_t mdts_bytes,
					struct command_range *range);
/** Commands without data. */
MUST_CHECK uint32_t command_parse_blocks(const struct nvme_command *sqe, uint32_t lba_bytes,
					 uint64_t size_bytes, struct command_range *range);

/** The same of Verify, which takes no protection information action. */
MUST_CHECK uint32_t verify_parse(const struct nvme_command *sqe, uint32_t lba_bytes,
				 uint64_t size_bytes, struct command_range *range);

/** Dataset Management: what the command says, … */
MUST_CHECK uint32_t dsm_parse(const struct nvme_command *sqe, const struct command *command,
			      bool *deallocate, unsigned int *nr);
/**
 * … and its data: the whole units in each range; those that have none are left out. `ranges` may be
 * the same memory as `wire`.
 */
MUST_CHECK uint32_t dsm_parse_ranges(const void *wire, unsigned int nr, uint32_t lba_bytes,
				     uint64_t size_bytes, uint64_t unit_bytes,
				     struct export_range *ranges, unsigned int *nr_ranges);

struct copy_limits {
	uint32_t lba_bytes;
	uint64_t size_bytes;
	uint64_t range_bytes; /* of one source */
	uint64_t total_bytes;
};

/** Copy: what the command says, and its data. `sources` has NVME_COPY_MAX_RANGES. */
MUST_CHECK uint32_t copy_parse(const struct nvme_command *sqe, const struct command *command,
			       unsigned int *nr);
MUST_CHECK uint32_t copy_parse_sources(const struct nvme_command *sqe, const void *wire,
				       unsigned int nr, const struct copy_limits *limits,
				       struct export_range *sources, struct command_range *to);

/* ---- reservations (parse_resv.c) -------------------------------------------------------------- */

/** Register, Acquire, Release: what the command says, and its data. The host is not in either. */
MUST_CHECK uint32_t resv_parse_command(const struct nvme_command *sqe,
				       const struct command *command, struct resv_event *event);
void resv_parse_data(const void *wire, struct resv_event *event);
/** Report; `most_bytes` at a time. */
MUST_CHECK uint32_t resv_parse_report(const struct nvme_command *sqe, const struct command *command,
				      uint32_t most_bytes);

/* ---- Connect (NVMe-oF 1.1 §3.3) --------------------------------------------------------------- */

/** dw0 of a failed Connect: where the invalid parameter lies. */
#define CONNECT_IN_COMMAND(field) ((uint32_t)offsetof(struct nvmf_connect_command, field))
#define CONNECT_IN_DATA(field)	  (1u << 16 | (uint32_t)offsetof(struct nvmf_connect_data, field))

struct connect_limits {
	uint16_t cm_qid;	/* what the connection request said */
	uint16_t receives;	/* posted: our crqsize */
	uint16_t max_io_queues; /* per controller */
	uint16_t max_entries;	/* CAP.MQES + 1 */
};

struct connect {
	uint16_t qid;
	uint16_t entries; /* of the submission queue */
	uint16_t cntlid;
	bool sq_flow_off;
	uint32_t kato_ms;
	uint8_t hostid[16];
	char subnqn[NVME_NQN_BYTES];
	char hostnqn[NVME_NQN_BYTES];
};

/** Both return an NVMe status and, where it is Invalid Parameters, dw0. */
MUST_CHECK uint16_t connect_parse_command(const struct nvmf_connect_command *sqe,
					  const struct command *command,
					  const struct connect_limits *limits,
					  struct connect *connect, uint32_t *dw0);
MUST_CHECK uint16_t connect_parse_data(const struct nvmf_connect_data *data,
				       struct connect *connect, uint32_t *dw0);

/* ---- messages of a direct queue --------------------------------------------------------------- */

struct direct_message {
	enum lh_msg_type type;
	uint16_t credits;
	uint64_t tag;
	uint32_t nsid;
	/* Commit */
	uint32_t generation;
	uint32_t count;
	const struct lh_commit_range *ranges; /* in the message; offsets not checked yet */
};

/** A message from a client. Returns 0 or -EPROTO. */
MUST_CHECK int direct_message_parse(const void *data, uint32_t bytes,
				    struct direct_message *message);

/** Get Log Page: the part that is asked for. Returns 0 or a refusal. */
struct log_part {
	uint8_t page;
	bool retain;	  /* the event stays masked */
	uint8_t specific; /* the log specific field */
	uint64_t offset;
	uint32_t length;
};
MUST_CHECK uint32_t log_part_parse(const struct nvme_command *sqe, const struct command *command,
				   struct log_part *part);
/** Copies what of [pos, pos + length) of the page lies in the part, to where it belongs in `out`. */
static inline void log_part_put(const struct log_part *part, uint8_t *out, uint64_t pos,
				const void *src, uint64_t length)
{
	uint64_t from = max_u64(pos, part->offset);
	uint64_t to = min_u64(pos + length, part->offset + part->length);

	if (from < to)
		memcpy(out + (from - part->offset), (const uint8_t *)src + (from - pos), to - from);
}

/**
 * Acquire and Release: offset and length are checked against each other and LH_GRANT_ALIGN. Returns 0
 * or a refusal.
 */
struct direct_want {
	uint16_t dqid;
	unsigned int access;
	bool allocate;
	uint64_t offset;
	uint64_t length;
	uint32_t generation;
	bool by_token; /* Release: `token` names the queue */
	uint8_t token[LH_TOKEN_BYTES];
};
MUST_CHECK uint32_t direct_want_parse(const struct lh_admin_command *sqe, struct direct_want *want);

#endif
