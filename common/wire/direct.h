/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The direct extension: how a Leasehold client learns of exports, gets grants and gives them back.
 * All fields little-endian. What each side does when: docs/architecture.md.
 *
 *   client                                             target
 *     | admin queue: Identify Controller                 |
 *     |<- struct lh_identify in the vendor bytes --------|
 *     | admin queue: Get Log Page C0h                    |
 *     |<- lh_export_log: names, sizes, generations ------|
 *     | admin queue: Open Direct Queue                   |
 *     |<- lh_token: 128 bits, good for 10 s, once -------|
 *     | connect, private data lh_cm_request{token} ----->|   a queue pair with a PD of its own
 *     |<- accept, lh_cm_accept{dqid, credits} -----------|
 *     | direct queue: lh_msg Hello --------------------->|   the connecting side sends first
 *     | admin queue: Acquire(dqid, range, access) ------>|
 *     |<- lh_acquire_reply: grants (address, rkey …) ----|
 *     | RDMA READ and WRITE with those keys ============>|   no target CPU
 *     | direct queue: lh_msg Commit(ranges) ------------>|   covers this queue's writes before it
 *     |<- lh_msg Committed ------------------------------|
 *     |                                                  |   the file system wants its blocks back
 *     |<- lh_msg Recall(export, range, generation) ------|
 *     | stops posting; Commit or a READ; waits --------->|
 *     | admin queue: Release(export, range, gen.) ------>|   keys are dead before the answer
 *     | or Release Part, of bytes inside grants -------->|   new keys for the rest first
 *     |<- lh_acquire_reply: grants for the rest ---------|
 *     |<- async event: regrant possible -----------------|
 *     | admin queue: Acquire ---------------------------->|
 */
#ifndef LEASEHOLD_WIRE_DIRECT_H
#define LEASEHOLD_WIRE_DIRECT_H

#include "wire/nvme.h"

#define LH_PROTOCOL_VERSION 1
#define LH_MAGIC	    "LEASEHLD"
#define LH_NAME_BYTES	    64 /* export names: at most 63 bytes and a NUL */
#define LH_DEFAULT_NQN	    "nqn.2026-11.org.leasehold:target"

/* ---- announced in Identify Controller, vendor bytes ---- */

enum lh_capability {
	LH_CAP_DIRECT = 1 << 0,	  /* direct queues and grants */
	LH_CAP_ALLOCATE = 1 << 1, /* Acquire may fill holes */
	LH_CAP_COMMIT = 1 << 2,
	LH_CAP_PART = 1 << 4,  /* Release Part */
	LH_CAP_WATCH = 1 << 5, /* LH_LOG_WATCH */
};

struct lh_identify {
	char magic[8];
	le16 version;
	le16 reserved;
	le32 capabilities;
	le32 recall_deadline_ms; /* from Recall to the fence */
	le32 grant_expiry_ms;	 /* unless renewed; 0: never */
	le32 max_grants;	 /* per client */
	le32 max_commit_ranges;
	le64 max_grant_bytes; /* of one Acquire */
};
static_assert(sizeof(struct lh_identify) == 40, "lh_identify");

/* ---- log page C0h: the exports ---- */

#define LH_LOG_EXPORTS 0xc0
#define LH_LOG_RECALLS 0xc1

enum lh_export_state {
	LH_EXPORT_SERVING = 0,	   /* grants can be had */
	LH_EXPORT_RECALLING = 1,   /* block I/O goes on; grants come back later */
	LH_EXPORT_REACQUIRING = 2, /* the same, the landlord has its blocks */
	LH_EXPORT_OFFLINE = 3,
};

enum lh_rung {
	LH_RUNG_NONE = 0, /* it is not served */
	LH_RUNG_PINNED = 1,
	LH_RUNG_ODP = 2,
	LH_RUNG_STAGED = 3, /* nothing is registered: block commands copy, no grants */
};

enum lh_durability {
	LH_DURABLE_NONE =
		0, /* nothing survives power loss (tmpfs), or only after fsync-class work */
	LH_DURABLE_COMMIT = 1,
	LH_DURABLE_READ_AFTER_WRITE = 2,
	LH_DURABLE_FLUSH = 3, /* RDMA FLUSH of what was written, or a Commit */
};

enum lh_export_flags {
	LH_EXPORT_READ_ONLY = 1 << 0,
	LH_EXPORT_VOLATILE = 1 << 1, /* volatile write cache, as in Identify */
	LH_EXPORT_DAX = 1 << 2,
	LH_EXPORT_TAIL = 1 << 3, /* the file has bytes behind size_bytes, fewer than a block */
};

#define LH_RUNG_WHY_BYTES 144

struct lh_export_entry {
	le32 nsid;
	uint8_t state;	    /* enum lh_export_state */
	uint8_t rung;	    /* enum lh_rung, on the device of this queue */
	uint8_t durability; /* best level, enum lh_durability */
	uint8_t flags;
	le32 generation;
	le32 lba_bytes;
	le64 size_bytes;
	le64 backed_bytes; /* allocated and unshared: what grants can cover now */
	uint8_t uuid[16];
	char name[LH_NAME_BYTES];
	/* Targets that know no more than this end here: zeros are to be assumed for the rest. */
	char rung_why[LH_RUNG_WHY_BYTES]; /* for people: why no better rung; a NUL ends it */
};
static_assert(sizeof(struct lh_export_entry) == 256, "lh_export_entry");

#define LH_EXPORT_ENTRY_LEAST_BYTES offsetof(struct lh_export_entry, rung_why)
static_assert(LH_EXPORT_ENTRY_LEAST_BYTES == 112, "lh_export_entry: the first version's");

struct lh_export_log {
	le64 change_count; /* differs if anything changed */
	le32 count;
	/* At least LH_EXPORT_ENTRY_LEAST_BYTES; newer targets may append fields. */
	le32 entry_bytes;
	/* entries follow */
};
static_assert(sizeof(struct lh_export_log) == 16, "lh_export_log");

/* ---- log page C1h: recalls and changes, newest last ---- */

enum lh_change {
	LH_CHANGE_RECALL = 1,  /* stop, commit, release */
	LH_CHANGE_REGRANT = 2, /* Acquire will work again; `generation` is the new one */
	LH_CHANGE_EXPORT = 3,  /* size, rung or presence changed */
	/* To who watches: it holds none of the bytes, and there is nothing for it to do. */
	LH_CHANGE_RECALLING = 4, /* the file system wants the bytes back */
	LH_CHANGE_RELEASED = 5,	 /* it has them */
};

/*
 * Get Log Page of C1h, Log Specific Field (dword 10, bits 14:8): from now on this controller is told what
 * becomes of recalls of what others hold, too, until it is reset. With LH_CAP_WATCH.
 */
#define LH_LOG_WATCH 0x01

struct lh_change_entry {
	le64 sequence;
	le32 nsid;
	le32 generation;
	le64 offset;
	le64 length;
	uint8_t change; /* enum lh_change */
	uint8_t reserved[7];
};
static_assert(sizeof(struct lh_change_entry) == 40, "lh_change_entry");

struct lh_change_log {
	le64 oldest; /* sequence of the first entry: a gap means read the export log again */
	le32 count;
	le32 entry_bytes;
	/* entries follow */
};
static_assert(sizeof(struct lh_change_log) == 16, "lh_change_log");

/* Async event, type vendor (7): info = enum lh_change, log page C1h. */

/* ---- vendor commands on the admin queue ---- */

/*
 * Bits 1:0 of an opcode are the data direction: 00b none, 10b controller to host.
 *
 * Release ends the grants in its range, and refuses a range that cuts one (LH_SC_CUT): then nothing
 * has changed. Release Part ends the bytes in its range: what is left of a grant, before it and behind
 * it, is granted anew with the same access, before the old key dies, and the reply says with what keys.
 * Its `generation` is that of these grants; `access` what all of them have; `covered_length` the bytes
 * of them all; `count` may be 0. They live as long as the old one would have. Before either the client
 * posts nothing more to what it may end, of a cut grant to no byte, and has waited for what it posted.
 */
enum lh_opcode {
	LH_ADMIN_OPEN_DIRECT = 0xc2, /* → struct lh_token */
	LH_ADMIN_RENEW = 0xc4,
	LH_ADMIN_RELEASE = 0xc8,
	LH_ADMIN_ACQUIRE = 0xca,      /* → struct lh_acquire_reply */
	LH_ADMIN_RELEASE_PART = 0xce, /* → struct lh_acquire_reply; with LH_CAP_PART */
};

#define LH_TOKEN_BYTES	 16
#define LH_TOKEN_LIFE_MS 10000

struct lh_token {
	uint8_t token[LH_TOKEN_BYTES];
	le32 life_ms;
	le32 reserved;
};
static_assert(sizeof(struct lh_token) == 24, "lh_token");

enum lh_grant_access {
	LH_GRANT_READ = 1 << 0,
	LH_GRANT_WRITE = 1 << 1, /* exclusive among direct clients */
};

enum lh_acquire_flags {
	LH_ACQUIRE_ALLOCATE = 1 << 8, /* fill holes in the range (never grows the file) */
};

/* One submission queue entry: what Acquire, the Releases and Renew say in cdw10 … cdw15. */
struct lh_admin_command {
	uint8_t opcode;
	uint8_t flags; /* NVME_FLAGS_SGL */
	le16 cid;
	le32 nsid;
	/*
	 * Release: if not zero, of the queue that was opened with it instead of `dqid`, whichever
	 * controller's it is: how who has lost a queue, perhaps with its controller, makes sure that
	 * its keys are dead. Others: reserved.
	 */
	uint8_t token[16];
	struct nvme_sgl_desc sgl;
	le16 dqid;	   /* the direct queue, from lh_cm_accept */
	le16 access_flags; /* Acquire: enum lh_grant_access | enum lh_acquire_flags */
	le64 offset;	   /* bytes; a multiple of 4096 for Acquire and Release */
	/* Bytes; a multiple of 4096 for Acquire and Release Part; Release: ~0 means to the end. */
	le64 length;
	le32 generation; /* Release: of the grants; Acquire: 0, or must match if not 0; Renew is of all */
} __attribute__((packed, aligned(8)));
static_assert(sizeof(struct lh_admin_command) == 64, "lh_admin_command");
static_assert(offsetof(struct lh_admin_command, dqid) == 40, "lh_admin_command: cdw10");

#define LH_GRANT_ALIGN 4096u

struct lh_grant {
	le64 offset; /* in the export */
	le64 length;
	le64 address; /* what to name in RDMA READ and WRITE for `offset` */
	le32 rkey;
	le32 id;
};
static_assert(sizeof(struct lh_grant) == 32, "lh_grant");

#define LH_ACQUIRE_MAX_GRANTS 127

struct lh_acquire_reply {
	le32 generation;
	le16 count;
	uint8_t durability; /* enum lh_durability that the client may rely on */
	uint8_t access;	    /* granted */
	le32 expiry_ms;	    /* 0: never */
	le32 reserved;
	le64 covered_length; /* from the offset asked for; less than asked: go on from there */
	le64 reserved2;
	/* count grants follow */
};
static_assert(sizeof(struct lh_acquire_reply) == 32, "lh_acquire_reply");

/*
 * Vendor-specific status codes (type 7): Release of what is not held succeeds; the rest says why.
 * NVME_SC_LBA_RANGE is used for ranges outside the export. Of Release Part, LH_SC_RECALLING says that
 * what would be left is wanted back, too (release it as a whole), and LH_SC_LIMIT and its like that it
 * is one grant too many: whatever its error is, nothing has changed.
 */
enum lh_status {
	LH_SC_STALE_GENERATION = 0x7c0,
	LH_SC_NOT_BACKED = 0x7c1, /* holes or shared blocks; ALLOCATE may help */
	LH_SC_RECALLING = 0x7c2,  /* try again at the regrant event; dword 0: below */
	LH_SC_CONFLICT = 0x7c3,	  /* another client holds it */
	LH_SC_NO_DIRECT_QUEUE = 0x7c4,
	LH_SC_LIMIT = 0x7c5,
	LH_SC_NO_DIRECT =
		0x7c6, /* this export cannot be granted on this device: use block commands */
	/* Of one client, as LH_SC_LIMIT is of its number of grants: */
	LH_SC_LIMIT_BYTES = 0x7c7,
	LH_SC_LIMIT_RATE = 0x7c8, /* grants in too short a time: try again a little later */
	/* Of grants, by all clients together: */
	LH_SC_LIMIT_EXPORT = 0x7c9, /* of one export */
	LH_SC_LIMIT_HOST = 0x7ca,   /* of one host, to all exports */
	/* Of Release: a grant reaches outside the range. Nothing was released. */
	LH_SC_CUT = 0x7cb,
	LH_SC_DAMAGED =
		0x7cc, /* the medium is: block commands tell for each block; dword 0: below */
	/* Of Acquire: a recall, of the export or of all at once, would have no time for more. */
	LH_SC_LIMIT_TIME = 0x7cd,
	/* Of Commit: its queue has no grant for writing, of that generation, of some of the bytes. */
	LH_SC_NOT_GRANTED = 0x7ce,
};

/*
 * Dword 0 of an Acquire refused with LH_SC_DAMAGED: how many units of LH_GRANT_ALIGN are, from the offset on.
 * Of one refused with LH_SC_RECALLING: how many units of LH_GRANT_ALIGN, from the offset
 * asked for, are kept out of service while the rest is served (ask behind them); 0: all of the export.
 */
#define LH_HELD_UNITS	  0x7fffffffu
#define LH_HELD_RECLAIMED 0x80000000u /* by an operator's reclaim, which may last */

/* Dword 0 of a Release that succeeded: there is no such direct queue, fenced or not, to hold anything. */
#define LH_RELEASED_NO_QUEUE 1u

/* ---- direct queue: connection ---- */

#define LH_CM_RECFMT 0x4c48 /* NVMe's own record formats are 0 and up; a plain target rejects it */

struct lh_cm_request {
	le16 recfmt;
	le16 version;
	le16 cntlid;
	le16 credits; /* receives the client has posted */
	uint8_t token[LH_TOKEN_BYTES];
	uint8_t reserved[8];
};
static_assert(sizeof(struct lh_cm_request) == 32, "lh_cm_request");

struct lh_cm_accept {
	le16 recfmt;
	le16 version;
	le16 dqid;
	le16 credits; /* receives the target has posted */
	uint8_t reserved[24];
};
static_assert(sizeof(struct lh_cm_accept) == 32, "lh_cm_accept");

struct lh_cm_reject {
	le16 recfmt;
	le16 status; /* enum lh_cm_status */
};
static_assert(sizeof(struct lh_cm_reject) == 4, "lh_cm_reject");

enum lh_cm_status {
	LH_CM_BAD_FORMAT = 1,
	LH_CM_BAD_VERSION = 2,
	LH_CM_BAD_TOKEN = 3, /* unknown, used or older than LH_TOKEN_LIFE_MS */
	LH_CM_NO_RESOURCES = 4,
	LH_CM_WRONG_DEVICE = 5,
};

/* ---- direct queue: messages ---- */

enum lh_msg_type {
	LH_MSG_HELLO = 1,     /* client, first message; no body */
	LH_MSG_COMMIT = 2,    /* client: lh_msg_commit */
	LH_MSG_COMMITTED = 3, /* target: status in the header, tag of the Commit */
	LH_MSG_RECALL = 4,    /* target: lh_msg_recall */
	LH_MSG_CREDIT =
		5, /* either, nothing but credits; consumes none itself beyond a reserve of 1 */
};

/**
 * Credits: every message consumes one receive of the other side; `credits` returns receives that
 * have been posted again since. A side with none left waits. Both start from the CM private data.
 */
struct lh_msg {
	le16 type;
	le16 credits;
	le32 length; /* whole message, header included */
	le64 tag;    /* chosen by the asker, echoed */
	le16 status; /* replies: an NVMe status */
	le16 reserved;
	le32 nsid;
};
static_assert(sizeof(struct lh_msg) == 24, "lh_msg");

struct lh_commit_range {
	le64 offset;
	le64 length;
};

#define LH_COMMIT_MAX_RANGES 64

struct lh_msg_commit {
	struct lh_msg header;
	le32 generation;
	le32 count;
	struct lh_commit_range ranges[];
};
static_assert(sizeof(struct lh_msg_commit) == 32, "lh_msg_commit");

/**
 * Release every grant that touches the range (offset 0, length ~0: all of the export's; its generation
 * dies). Commit first what was written through them: a Commit covers writes through grants that are
 * still held, and those to a range that was given back are refused, or say nothing.
 */
struct lh_msg_recall {
	struct lh_msg header;
	le64 offset;
	le64 length;
	le32 generation;
	le32 deadline_ms; /* from now: then the queue is fenced */
};
static_assert(sizeof(struct lh_msg_recall) == 48, "lh_msg_recall");

#define LH_MSG_MAX_BYTES \
	(sizeof(struct lh_msg_commit) + LH_COMMIT_MAX_RANGES * sizeof(struct lh_commit_range))
#define LH_MSG_DEFAULT_CREDITS 16

#endif
