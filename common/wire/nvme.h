/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVMe 2.0 base, NVM command set 1.0 and NVMe-oF 1.1 byte layouts. All fields little-endian: read
 * and write them with le16toh(3) and friends. Only what Leasehold uses.
 */
#ifndef LEASEHOLD_WIRE_NVME_H
#define LEASEHOLD_WIRE_NVME_H

#include <assert.h>
#include <endian.h>
#include <stddef.h>
#include <stdint.h>

typedef uint16_t le16;
typedef uint32_t le32;
typedef uint64_t le64;

#define NVME_NQN_BYTES	    256 /* field size; the text is at most 223 bytes and a NUL */
#define NVME_NQN_MAX	    223
#define NVME_DISCOVERY_NQN  "nqn.2014-08.org.nvmexpress.discovery"
#define NVME_RDMA_PORT	    4420
#define NVME_NSID_ALL	    0xffffffffu
#define NVME_CNTLID_DYNAMIC 0xffffu

/* ---- SGL descriptors (NVMe base 2.0 §4.1.2.1; NVMe-oF 1.1 §4.4.1, §7.3.5) ---- */

enum nvme_sgl_type {
	NVME_SGL_DATA_BLOCK = 0x0,
	NVME_SGL_LAST_SEGMENT = 0x3,
	NVME_SGL_KEYED_DATA_BLOCK = 0x4,
};

enum nvme_sgl_subtype {
	NVME_SGL_ADDRESS = 0x0,
	NVME_SGL_OFFSET = 0x1,
	NVME_SGL_INVALIDATE = 0xf, /* keyed only: remote invalidation wanted */
};

struct nvme_sgl_desc {
	le64 address;
	uint8_t bytes[7]; /* data block: length in [0..3]; keyed: length [0..2], key [3..6] */
	uint8_t type;	  /* type << 4 | subtype */
};
static_assert(sizeof(struct nvme_sgl_desc) == 16, "SGL descriptor");

static inline uint32_t nvme_sgl_length(const struct nvme_sgl_desc *d)
{
	return (uint32_t)d->bytes[0] | (uint32_t)d->bytes[1] << 8 | (uint32_t)d->bytes[2] << 16 |
	       (uint32_t)d->bytes[3] << 24;
}

static inline uint32_t nvme_keyed_sgl_length(const struct nvme_sgl_desc *d)
{
	return (uint32_t)d->bytes[0] | (uint32_t)d->bytes[1] << 8 | (uint32_t)d->bytes[2] << 16;
}

static inline uint32_t nvme_keyed_sgl_key(const struct nvme_sgl_desc *d)
{
	return (uint32_t)d->bytes[3] | (uint32_t)d->bytes[4] << 8 | (uint32_t)d->bytes[5] << 16 |
	       (uint32_t)d->bytes[6] << 24;
}

/** Fills a keyed data block; `length` < 16 MiB. */
static inline void nvme_keyed_sgl_set(struct nvme_sgl_desc *d, uint64_t address, uint32_t length,
				      uint32_t key, enum nvme_sgl_subtype subtype)
{
	d->address = htole64(address);
	for (int i = 0; i < 3; i++)
		d->bytes[i] = (uint8_t)(length >> 8 * i);
	for (int i = 0; i < 4; i++)
		d->bytes[3 + i] = (uint8_t)(key >> 8 * i);
	d->type = (uint8_t)(NVME_SGL_KEYED_DATA_BLOCK << 4 | (uint8_t)subtype);
}

/** Fills an in-capsule data block at `offset` behind the command. */
static inline void nvme_offset_sgl_set(struct nvme_sgl_desc *d, uint64_t offset, uint32_t length)
{
	d->address = htole64(offset);
	for (int i = 0; i < 4; i++)
		d->bytes[i] = (uint8_t)(length >> 8 * i);
	d->bytes[4] = d->bytes[5] = d->bytes[6] = 0;
	d->type = (uint8_t)(NVME_SGL_DATA_BLOCK << 4 | NVME_SGL_OFFSET);
}

/* ---- commands and completions ---- */

#define NVME_FLAGS_SGL	     0x40 /* PSDT 01b: SGL in dptr; all that fabrics allow */
#define NVME_FLAGS_FUSE_MASK 0x03

struct nvme_command {
	uint8_t opcode;
	uint8_t flags;
	le16 cid;
	le32 nsid;
	le32 cdw2;
	le32 cdw3;
	le64 metadata;
	struct nvme_sgl_desc sgl;
	le32 cdw10;
	le32 cdw11;
	le32 cdw12;
	le32 cdw13;
	le32 cdw14;
	le32 cdw15;
};
static_assert(sizeof(struct nvme_command) == 64, "submission queue entry");

struct nvme_completion {
	union {
		struct {
			le32 dw0;
			le32 dw1;
		};
		le64 result; /* Property Get */
	};
	le16 sqhd;
	le16 sqid; /* reserved over fabrics */
	le16 cid;
	le16 status; /* status field << 1; bit 0 is the phase, 0 over fabrics */
};
static_assert(sizeof(struct nvme_completion) == 16, "completion queue entry");

enum nvme_admin_opcode {
	NVME_ADMIN_GET_LOG_PAGE = 0x02,
	NVME_ADMIN_IDENTIFY = 0x06,
	NVME_ADMIN_ABORT = 0x08,
	NVME_ADMIN_SET_FEATURES = 0x09,
	NVME_ADMIN_GET_FEATURES = 0x0a,
	NVME_ADMIN_ASYNC_EVENT = 0x0c,
	NVME_ADMIN_KEEP_ALIVE = 0x18,
	NVME_FABRICS = 0x7f,
};

enum nvme_io_opcode {
	NVME_IO_FLUSH = 0x00,
	NVME_IO_WRITE = 0x01,
	NVME_IO_READ = 0x02,
	NVME_IO_WRITE_UNCORRECTABLE = 0x04,
	NVME_IO_COMPARE = 0x05,
	NVME_IO_WRITE_ZEROES = 0x08,
	NVME_IO_DSM = 0x09,
	NVME_IO_VERIFY = 0x0c,
	NVME_IO_RESV_REGISTER = 0x0d,
	NVME_IO_RESV_REPORT = 0x0e,
	NVME_IO_RESV_ACQUIRE = 0x11,
	NVME_IO_RESV_RELEASE = 0x15,
	NVME_IO_COPY = 0x19,
};

#define NVME_RW_FUA   (1u << 30) /* cdw12 */
#define NVME_RW_PRACT (1u << 29) /* cdw12 */
#define NVME_WZ_DEAC  (1u << 25) /* cdw12 of Write Zeroes */
#define NVME_DSM_AD   (1u << 2)	 /* cdw11 of Dataset Management: deallocate */

#define NVME_DSM_MAX_RANGES  256u
#define NVME_COPY_MAX_RANGES 16u

/** Dataset Management's range (NVM command set 1.0 figure 39). */
struct nvme_dsm_range {
	le32 attributes;
	le32 blocks;
	le64 slba;
};
static_assert(sizeof(struct nvme_dsm_range) == 16, "Dataset Management range");

/** Copy's source range, format 0 (NVM command set 1.0 figure 30). */
struct nvme_copy_range {
	uint8_t reserved0[8];
	le64 slba;
	le16 blocks; /* 0's based */
	uint8_t reserved18[6];
	le32 eilbrt;
	le16 elbat;
	le16 elbatm;
};
static_assert(sizeof(struct nvme_copy_range) == 32, "Copy source range");

/* ---- reservations (NVMe base 2.0 §7.2 to §7.5, §8.19) ---- */

enum nvme_resv_type {
	NVME_RESV_NONE = 0,
	NVME_RESV_WRITE_EXCLUSIVE = 1,
	NVME_RESV_EXCLUSIVE_ACCESS = 2,
	NVME_RESV_WRITE_EXCLUSIVE_REGISTRANTS = 3,
	NVME_RESV_EXCLUSIVE_ACCESS_REGISTRANTS = 4,
	NVME_RESV_WRITE_EXCLUSIVE_ALL = 5,
	NVME_RESV_EXCLUSIVE_ACCESS_ALL = 6,
};

/* cdw10: action in [2:0]. */
enum nvme_resv_register_action {
	NVME_RREGA_REGISTER = 0,
	NVME_RREGA_UNREGISTER = 1,
	NVME_RREGA_REPLACE = 2,
};

enum nvme_resv_acquire_action {
	NVME_RACQA_ACQUIRE = 0,
	NVME_RACQA_PREEMPT = 1,
	NVME_RACQA_PREEMPT_ABORT = 2,
};

enum nvme_resv_release_action {
	NVME_RRELA_RELEASE = 0,
	NVME_RRELA_CLEAR = 1,
};

#define NVME_RESV_IEKEY	    (1u << 3)		   /* cdw10: ignore the existing key */
#define NVME_RESV_RTYPE(c)  ((uint8_t)((c) >> 8))  /* cdw10 of Acquire and Release */
#define NVME_RESV_CPTPL(c)  ((uint8_t)((c) >> 30)) /* cdw10 of Register */
#define NVME_RESV_EDS	    (1u << 0)		   /* cdw11 of Report: extended data structure */
#define NVME_RESCAP_PERSIST (1u << 0)
#define NVME_RESCAP_TYPES   0x7eu
#define NVME_RESCAP_IEKEY   (1u << 7) /* Ignore Existing Key as of version 1.3 */

enum nvme_resv_cptpl {
	NVME_CPTPL_KEEP = 0,
	NVME_CPTPL_CLEAR = 2,
	NVME_CPTPL_SET = 3,
};

/** Data of Register and Acquire; Release has the first field alone. */
struct nvme_resv_keys {
	le64 crkey;
	le64 key; /* NRKEY, PRKEY */
};
static_assert(sizeof(struct nvme_resv_keys) == 16, "reservation keys");

/** Reservation Status, extended. */
struct nvme_resv_status {
	le32 generation;
	uint8_t type;
	uint8_t registrants[2];
	uint8_t reserved7[2];
	uint8_t ptpl;
	uint8_t reserved10[54];
};
static_assert(sizeof(struct nvme_resv_status) == 64, "Reservation Status");

struct nvme_resv_registrant {
	le16 cntlid;
	uint8_t holds; /* bit 0 */
	uint8_t reserved3[5];
	le64 key;
	uint8_t hostid[16];
	uint8_t reserved32[32];
};
static_assert(sizeof(struct nvme_resv_registrant) == 64, "registrant, extended");

enum nvme_resv_notice {
	NVME_RESV_NOTICE_NONE = 0,
	NVME_RESV_REGISTRATION_PREEMPTED = 1,
	NVME_RESV_RESERVATION_RELEASED = 2,
	NVME_RESV_RESERVATION_PREEMPTED = 3,
};

/** Reservation Notification (log page 80h). */
struct nvme_resv_log {
	le64 count; /* 0: nothing to tell */
	uint8_t type;
	uint8_t more; /* unread ones besides this */
	uint8_t reserved10[2];
	le32 nsid;
	uint8_t reserved16[48];
};
static_assert(sizeof(struct nvme_resv_log) == 64, "Reservation Notification");

/*
 * Status field, 15 bits without the phase: code [7:0], type [10:8], CRD [12:11], more [13],
 * DNR [14]. These constants are type << 8 | code (NVMe base 2.0 §4.2.3).
 */
enum nvme_status {
	NVME_SC_SUCCESS = 0x000,
	NVME_SC_INVALID_OPCODE = 0x001,
	NVME_SC_INVALID_FIELD = 0x002,
	NVME_SC_CID_CONFLICT = 0x003,
	NVME_SC_DATA_TRANSFER_ERROR = 0x004,
	NVME_SC_INTERNAL = 0x006,
	NVME_SC_ABORT_REQUESTED = 0x007,
	NVME_SC_ABORT_SQ_DELETED = 0x008,
	NVME_SC_FUSED_FAIL = 0x009,
	NVME_SC_FUSED_MISSING = 0x00a,
	NVME_SC_INVALID_NS = 0x00b,
	NVME_SC_COMMAND_SEQUENCE = 0x00c,
	NVME_SC_SGL_INVALID_LAST = 0x00d,
	NVME_SC_SGL_INVALID_COUNT = 0x00e,
	NVME_SC_SGL_INVALID_DATA = 0x00f,
	NVME_SC_SGL_INVALID_TYPE = 0x011,
	NVME_SC_OPERATION_DENIED = 0x015,
	NVME_SC_SGL_OFFSET_INVALID = 0x016,
	NVME_SC_HOSTID_INCONSISTENT = 0x018,
	NVME_SC_KA_EXPIRED = 0x019,
	NVME_SC_KA_INVALID = 0x01a,
	NVME_SC_ABORTED_PREEMPTED = 0x01b, /* by a Reservation Acquire: preempt and abort */
	NVME_SC_NS_WRITE_PROTECTED = 0x020,
	NVME_SC_CMD_INTERRUPTED = 0x021,
	NVME_SC_TRANSIENT_TRANSPORT = 0x022,
	NVME_SC_LBA_RANGE = 0x080,
	NVME_SC_CAP_EXCEEDED = 0x081,
	NVME_SC_NS_NOT_READY = 0x082,
	NVME_SC_RESERVATION_CONFLICT = 0x083,
	NVME_SC_ABORT_LIMIT = 0x103,
	NVME_SC_AEN_LIMIT = 0x105,
	NVME_SC_INVALID_LOG_PAGE = 0x109,
	NVME_SC_FEATURE_NOT_SAVEABLE = 0x10d,
	NVME_SC_FEATURE_NOT_CHANGEABLE = 0x10e,
	NVME_SC_FEATURE_NOT_NS_SPECIFIC = 0x10f,
	NVME_SC_COMMAND_SETS_REJECTED = 0x12b, /* of the feature I/O Command Set Profile */
	NVME_SC_CONNECT_FORMAT = 0x180,
	NVME_SC_CONNECT_BUSY = 0x181,
	NVME_SC_CONNECT_INVALID_PARAM = 0x182,
	NVME_SC_CONNECT_RESTART_DISCOVERY = 0x183,
	NVME_SC_CONNECT_INVALID_HOST = 0x184,
	NVME_SC_INVALID_QUEUE_TYPE = 0x185, /* Disconnect; others have the code for themselves */
	NVME_SC_AUTH_REQUIRED = 0x191,
	NVME_SC_CMD_SIZE_LIMIT = 0x183,	   /* Copy; Connect has the same code */
	NVME_SC_OVERLAPPING_RANGE = 0x187, /* Copy */
	NVME_SC_WRITE_FAULT = 0x280,
	NVME_SC_READ_ERROR = 0x281,
	NVME_SC_COMPARE_FAILED = 0x285,
	NVME_SC_ACCESS_DENIED = 0x286,
	NVME_SC_ANA_PERSISTENT_LOSS = 0x301,
	NVME_SC_ANA_INACCESSIBLE = 0x302,
	NVME_SC_ANA_TRANSITION = 0x303,
	NVME_SC_MORE = 0x2000,
	NVME_SC_DNR = 0x4000,
};

/* ---- fabrics commands (NVMe-oF 1.1 §3) ---- */

enum nvmf_type {
	NVMF_PROPERTY_SET = 0x00,
	NVMF_CONNECT = 0x01,
	NVMF_PROPERTY_GET = 0x04,
	NVMF_AUTH_SEND = 0x05,
	NVMF_AUTH_RECEIVE = 0x06,
	NVMF_DISCONNECT = 0x08,
};

struct nvmf_connect_command {
	uint8_t opcode;
	uint8_t flags;
	le16 cid;
	uint8_t fctype;
	uint8_t reserved1[19];
	struct nvme_sgl_desc sgl;
	le16 recfmt;
	le16 qid;
	le16 sqsize; /* 0's based */
	uint8_t cattr;
	uint8_t reserved2;
	le32 kato_ms;
	uint8_t reserved3[12];
};
static_assert(sizeof(struct nvmf_connect_command) == 64, "Connect command");

#define NVMF_CATTR_DISABLE_SQFLOW 0x04

struct nvmf_connect_data {
	uint8_t hostid[16];
	le16 cntlid;
	uint8_t reserved[238];
	char subnqn[NVME_NQN_BYTES];
	char hostnqn[NVME_NQN_BYTES];
	uint8_t reserved2[256];
};
static_assert(sizeof(struct nvmf_connect_data) == 1024, "Connect data");

struct nvmf_disconnect_command {
	uint8_t opcode;
	uint8_t flags;
	le16 cid;
	uint8_t fctype;
	uint8_t reserved1[19];
	struct nvme_sgl_desc sgl;
	le16 recfmt;
	uint8_t reserved2[22];
};
static_assert(sizeof(struct nvmf_disconnect_command) == 64, "Disconnect command");

#define NVMF_OFCS_DISCONNECT 0x0001 /* Identify Controller: the command is supported */

struct nvmf_property_command {
	uint8_t opcode;
	uint8_t flags;
	le16 cid;
	uint8_t fctype;
	uint8_t reserved1[35];
	uint8_t attrib; /* bits 2:0: 0 four bytes, 1 eight bytes */
	uint8_t reserved2[3];
	le32 offset;
	le64 value;
	uint8_t reserved3[8];
};
static_assert(sizeof(struct nvmf_property_command) == 64, "Property command");

enum nvme_property {
	NVME_PROP_CAP = 0x00, /* 8 bytes */
	NVME_PROP_VS = 0x08,
	NVME_PROP_CC = 0x14,
	NVME_PROP_CSTS = 0x1c,
	NVME_PROP_NSSR = 0x20,
	NVME_PROP_CRTO = 0x68,
};

#define NVME_CC_EN		 (1u << 0)
#define NVME_CC_SHN_MASK	 (3u << 14)
#define NVME_CSTS_RDY		 (1u << 0)
#define NVME_CSTS_CFS		 (1u << 1)
#define NVME_CSTS_SHST_MASK	 (3u << 2)
#define NVME_CSTS_SHST_OCCURRING (1u << 2)
#define NVME_CSTS_SHST_DONE	 (2u << 2)
#define NVME_VS_1_4		 0x00010400u
#define NVME_VS_2_0		 0x00020000u

/* ---- RDMA CM private data (NVMe-oF 1.1 §7.3.6) ---- */

struct nvmf_rdma_cm_request {
	le16 recfmt;
	le16 qid;
	le16 hrqsize;
	le16 hsqsize; /* 0's based */
	le16 cntlid;
	uint8_t reserved[22];
};
static_assert(sizeof(struct nvmf_rdma_cm_request) == 32, "RDMA CM request private data");

struct nvmf_rdma_cm_accept {
	le16 recfmt;
	le16 crqsize;
	uint8_t reserved[28];
};
static_assert(sizeof(struct nvmf_rdma_cm_accept) == 32, "RDMA CM accept private data");

struct nvmf_rdma_cm_reject {
	le16 recfmt;
	le16 status;
};
static_assert(sizeof(struct nvmf_rdma_cm_reject) == 4, "RDMA CM reject private data");

enum nvmf_rdma_cm_status {
	NVMF_RDMA_CM_INVALID_LEN = 0x01,
	NVMF_RDMA_CM_INVALID_RECFMT = 0x02,
	NVMF_RDMA_CM_INVALID_QID = 0x03,
	NVMF_RDMA_CM_INVALID_HSQSIZE = 0x04,
	NVMF_RDMA_CM_INVALID_HRQSIZE = 0x05,
	NVMF_RDMA_CM_NO_RESOURCES = 0x06,
	NVMF_RDMA_CM_INVALID_IRD = 0x07,
	NVMF_RDMA_CM_INVALID_ORD = 0x08,
	NVMF_RDMA_CM_INVALID_CNTLID = 0x09,
};

/* ---- identify, features, logs ---- */

enum nvme_cns {
	NVME_CNS_NS = 0x00,
	NVME_CNS_CONTROLLER = 0x01,
	NVME_CNS_ACTIVE_NS = 0x02,
	NVME_CNS_NS_DESCRIPTORS = 0x03,
	NVME_CNS_CS_NS = 0x05,
	NVME_CNS_CS_CONTROLLER = 0x06,
	NVME_CNS_CS_ACTIVE_NS = 0x07,
	NVME_CNS_CS_INDEPENDENT_NS = 0x08,
	NVME_CNS_COMMAND_SETS = 0x1c,
};

/** Command sets. */
#define NVME_CSI_NVM 0

enum nvme_cntrltype {
	NVME_CNTRLTYPE_IO = 1,
	NVME_CNTRLTYPE_DISCOVERY = 2,
};

enum nvme_feature {
	NVME_FEAT_ARBITRATION = 0x01,
	NVME_FEAT_POWER = 0x02,
	NVME_FEAT_TEMPERATURE = 0x04,
	NVME_FEAT_ERROR_RECOVERY = 0x05,
	NVME_FEAT_VOLATILE_WRITE_CACHE = 0x06,
	NVME_FEAT_QUEUES = 0x07,
	NVME_FEAT_INTERRUPT_COALESCING = 0x08,
	NVME_FEAT_INTERRUPT_VECTOR = 0x09,
	NVME_FEAT_WRITE_ATOMICITY = 0x0a,
	NVME_FEAT_ASYNC_EVENT = 0x0b,
	NVME_FEAT_KEEP_ALIVE = 0x0f,
	NVME_FEAT_HOST_BEHAVIOUR = 0x16,
	NVME_FEAT_COMMAND_SET_PROFILE = 0x19,
	NVME_FEAT_HOST_ID = 0x81,
	NVME_FEAT_RESV_NOTICE_MASK = 0x82,
	NVME_FEAT_RESV_PERSIST = 0x83,
};

enum nvme_log_page {
	NVME_LOG_SUPPORTED = 0x00,
	NVME_LOG_ERROR = 0x01,
	NVME_LOG_SMART = 0x02,
	NVME_LOG_FIRMWARE = 0x03,
	NVME_LOG_CHANGED_NS = 0x04,
	NVME_LOG_EFFECTS = 0x05,
	NVME_LOG_ANA = 0x0c,
	NVME_LOG_FEATURE_EFFECTS = 0x12,
	NVME_LOG_DISCOVERY = 0x70,
	NVME_LOG_RESERVATION = 0x80,
};

/* Async event result dw0: type [2:0], info [15:8], log page [23:16]. */
enum nvme_aen_type {
	NVME_AEN_ERROR = 0,
	NVME_AEN_SMART = 1,
	NVME_AEN_NOTICE = 2,
	NVME_AEN_IO_SPECIFIC = 6, /* info 0: a reservation notification is in log page 80h */
	NVME_AEN_VENDOR = 7,
};
#define NVME_AEN_ERROR_TRANSIENT   0x04 /* internal */
#define NVME_AEN_SMART_TEMPERATURE 0x01 /* a threshold */
#define NVME_AEN_NOTICE_NS_CHANGED 0x00
#define NVME_AEN_NOTICE_ANA	   0x03
#define NVME_AEN_NOTICE_DISCOVERY  0xf0
#define NVME_AEN_CFG_WARNINGS	   0x3fu      /* feature 0Bh: SMART's critical warnings */
#define NVME_AEN_CFG_TEMPERATURE   (1u << 1)  /* one of these */
#define NVME_AEN_CFG_NS_ATTR	   (1u << 8)  /* feature 0Bh, and OAES */
#define NVME_AEN_CFG_ANA	   (1u << 11) /* the same */
#define NVME_AEN_CFG_ENDURANCE	   (1u << 14)
#define NVME_AEN_CFG_DISCOVERY	   (1u << 31) /* the same; discovery controllers only */

/** Error Information Log Entry (NVMe base 2.0 figure 206). */
struct nvme_error_entry {
	le64 count; /* 0: no entry */
	le16 sqid;
	le16 cid;
	le16 status;   /* as in the completion */
	le16 location; /* of the field: byte [7:0], bit [10:8]; all ones: none in particular */
	le64 lba;
	le32 nsid;
	uint8_t vendor;
	uint8_t trtype;
	uint8_t reserved30[2];
	le64 specific;
	le16 transport;
	uint8_t reserved42[22];
};
static_assert(sizeof(struct nvme_error_entry) == 64, "error log entry");

/** SMART / Health Information (NVMe base 2.0 figure 207). */
struct nvme_smart_log {
	uint8_t warning;
	uint8_t temperature_k[2];
	uint8_t spare_percent;
	uint8_t spare_threshold;
	uint8_t used_percent;
	uint8_t endurance_warning;
	uint8_t reserved7[25];
	uint8_t units_read[16]; /* of 1000 times 512 bytes, rounded up */
	uint8_t units_written[16];
	uint8_t host_reads[16]; /* commands */
	uint8_t host_writes[16];
	uint8_t busy_minutes[16];
	uint8_t power_cycles[16];
	uint8_t power_on_hours[16];
	uint8_t unsafe_shutdowns[16];
	uint8_t media_errors[16];
	uint8_t error_entries[16];
	le32 warning_minutes;
	le32 critical_minutes;
	uint8_t reserved200[312];
};
static_assert(sizeof(struct nvme_smart_log) == 512, "SMART log");

/* ---- asymmetric namespace access (NVMe base 2.0 §8.1) ---- */

enum nvme_ana_state {
	NVME_ANA_OPTIMIZED = 0x1,
	NVME_ANA_NON_OPTIMIZED = 0x2,
	NVME_ANA_INACCESSIBLE = 0x3,
	NVME_ANA_PERSISTENT_LOSS = 0x4,
	NVME_ANA_CHANGE = 0xf,
};

/** Log page 0Ch: this, then the groups' descriptors by rising id. */
struct nvme_ana_log {
	le64 change_count;
	le16 groups;
	uint8_t reserved10[6];
};
static_assert(sizeof(struct nvme_ana_log) == 16, "ANA log");

/** A group's descriptor; `nsids` namespace ids follow, unless the host wanted none. */
struct nvme_ana_group {
	le32 id;
	le32 nsids;
	le64 change_count;
	uint8_t state; /* enum nvme_ana_state */
	uint8_t reserved17[15];
};
static_assert(sizeof(struct nvme_ana_group) == 32, "ANA group descriptor");

#define NVME_LOG_ANA_RGO (1u << 8) /* cdw10: groups only */

struct nvme_power_state {
	le16 max_power;
	uint8_t rest[30];
};
static_assert(sizeof(struct nvme_power_state) == 32, "power state");

/** Identify Controller (CNS 01h, NVMe base 2.0 figure 275). */
struct nvme_id_ctrl {
	le16 vid;
	le16 ssvid;
	char sn[20];
	char mn[40];
	char fr[8];
	uint8_t rab;
	uint8_t ieee[3];
	uint8_t cmic;
	uint8_t mdts;
	le16 cntlid;
	le32 ver;
	le32 rtd3r;
	le32 rtd3e;
	le32 oaes;
	le32 ctratt;
	le16 rrls;
	uint8_t reserved102[9];
	uint8_t cntrltype; /* enum nvme_cntrltype */
	uint8_t fguid[16];
	le16 crdt1;
	le16 crdt2;
	le16 crdt3;
	uint8_t reserved134[119];
	uint8_t nvmsr;
	uint8_t vwci;
	uint8_t mec;
	le16 oacs;
	uint8_t acl;
	uint8_t aerl;
	uint8_t frmw;
	uint8_t lpa;
	uint8_t elpe;
	uint8_t npss;
	uint8_t avscc;
	uint8_t apsta;
	le16 wctemp;
	le16 cctemp;
	le16 mtfa;
	le32 hmpre;
	le32 hmmin;
	uint8_t tnvmcap[16];
	uint8_t unvmcap[16];
	le32 rpmbs;
	le16 edstt;
	uint8_t dsto;
	uint8_t fwug;
	le16 kas; /* units of 100 ms */
	le16 hctma;
	le16 mntmt;
	le16 mxtmt;
	le32 sanicap;
	le32 hmminds;
	le16 hmmaxd;
	le16 nsetidmax;
	le16 endgidmax;
	uint8_t anatt;
	uint8_t anacap;
	le32 anagrpmax;
	le32 nanagrpid;
	le32 pels;
	le16 domainid;
	uint8_t reserved358[10];
	uint8_t megcap[16];
	uint8_t reserved384[128];
	uint8_t sqes;
	uint8_t cqes;
	le16 maxcmd;
	le32 nn;
	le16 oncs;
	le16 fuses;
	uint8_t fna;
	uint8_t vwc;
	le16 awun;
	le16 awupf;
	uint8_t icsvscc;
	uint8_t nwpc;
	le16 acwu;
	le16 ocfs;
	le32 sgls;
	le32 mnan;
	uint8_t reserved544[224];
	char subnqn[NVME_NQN_BYTES];
	uint8_t reserved1024[768];
	le32 ioccsz; /* units of 16 bytes */
	le32 iorcsz;
	le16 icdoff;
	uint8_t fcatt;
	uint8_t msdbd;
	le16 ofcs;
	uint8_t reserved1806[242];
	struct nvme_power_state psd[32];
	uint8_t vendor[1024]; /* ours: struct lh_identify of wire/direct.h */
};
static_assert(sizeof(struct nvme_id_ctrl) == 4096, "Identify Controller");
static_assert(offsetof(struct nvme_id_ctrl, oacs) == 256, "Identify Controller: OACS");
static_assert(offsetof(struct nvme_id_ctrl, kas) == 320, "Identify Controller: KAS");
static_assert(offsetof(struct nvme_id_ctrl, anatt) == 342, "Identify Controller: ANATT");
static_assert(offsetof(struct nvme_id_ctrl, mnan) == 540, "Identify Controller: MNAN");
static_assert(offsetof(struct nvme_id_ctrl, sqes) == 512, "Identify Controller: SQES");
static_assert(offsetof(struct nvme_id_ctrl, sgls) == 536, "Identify Controller: SGLS");
static_assert(offsetof(struct nvme_id_ctrl, subnqn) == 768, "Identify Controller: SUBNQN");
static_assert(offsetof(struct nvme_id_ctrl, ioccsz) == 1792, "Identify Controller: IOCCSZ");
static_assert(offsetof(struct nvme_id_ctrl, vendor) == 3072, "Identify Controller: vendor");

struct nvme_lba_format {
	le16 ms;
	uint8_t lbads; /* log2 of the LBA size */
	uint8_t rp;
};

/** Identify Namespace (CNS 00h, NVM command set 1.0 figure 97). */
struct nvme_id_ns {
	le64 nsze;
	le64 ncap;
	le64 nuse;
	uint8_t nsfeat;
	uint8_t nlbaf; /* 0's based */
	uint8_t flbas;
	uint8_t mc;
	uint8_t dpc;
	uint8_t dps;
	uint8_t nmic;
	uint8_t rescap;
	uint8_t fpi;
	uint8_t dlfeat;
	le16 nawun;
	le16 nawupf;
	le16 nacwu;
	le16 nabsn;
	le16 nabo;
	le16 nabspf;
	le16 noiob;
	uint8_t nvmcap[16];
	le16 npwg;
	le16 npwa;
	le16 npdg;
	le16 npda;
	le16 nows;
	le16 mssrl;
	le32 mcl;
	uint8_t msrc;
	uint8_t reserved81[11];
	le32 anagrpid;
	uint8_t reserved96[3];
	uint8_t nsattr;
	le16 nvmsetid;
	le16 endgid;
	uint8_t nguid[16];
	uint8_t eui64[8];
	struct nvme_lba_format lbaf[64];
	uint8_t vendor[3712];
};
static_assert(sizeof(struct nvme_id_ns) == 4096, "Identify Namespace");
static_assert(offsetof(struct nvme_id_ns, anagrpid) == 92, "Identify Namespace: ANAGRPID");
static_assert(offsetof(struct nvme_id_ns, nguid) == 104, "Identify Namespace: NGUID");
static_assert(offsetof(struct nvme_id_ns, lbaf) == 128, "Identify Namespace: LBAF");

/** Identify Namespace, I/O command set independent (CNS 08h, NVMe base 2.0 figure 280). */
struct nvme_id_ns_independent {
	uint8_t nsfeat;
	uint8_t nmic;
	uint8_t rescap;
	uint8_t fpi;
	le32 anagrpid;
	uint8_t nsattr;
	uint8_t reserved9;
	le16 nvmsetid;
	le16 endgid;
	uint8_t nstat;
	uint8_t reserved15[4081];
};
static_assert(sizeof(struct nvme_id_ns_independent) == 4096, "independent Identify Namespace");

/* ---- the discovery log (page 70h; NVMe-oF 1.1 §5.3, §7.3.1 for RDMA) ---- */

enum nvmf_trtype {
	NVMF_TRTYPE_RDMA = 1,
};

enum nvmf_adrfam {
	NVMF_ADRFAM_IPV4 = 1,
	NVMF_ADRFAM_IPV6 = 2,
};

enum nvmf_subtype {
	NVMF_SUBTYPE_REFERRAL = 1, /* another discovery service */
	NVMF_SUBTYPE_NVM = 2,
	NVMF_SUBTYPE_CURRENT = 3, /* the discovery service that is asked */
};

#define NVMF_TREQ_SQFLOW_OFF   0x04 /* SQ flow control may be disabled */
#define NVMF_EFLAGS_PERSISTENT 0x02 /* explicit persistent connections (EPCSD) */

enum nvmf_rdma_qptype {
	NVMF_RDMA_CONNECTED = 1,
};

enum nvmf_rdma_prtype {
	NVMF_RDMA_UNKNOWN = 1,
	NVMF_RDMA_IB = 2,
	NVMF_RDMA_ROCE_V2 = 4,
	NVMF_RDMA_IWARP = 5,
};

#define NVMF_RDMA_CMS_RDMA_CM 1

/** Text fields are padded with spaces, but for the NQN, which ends with a NUL. */
struct nvmf_discovery_entry {
	uint8_t trtype;
	uint8_t adrfam;
	uint8_t subtype;
	uint8_t treq;
	le16 portid;
	le16 cntlid;
	le16 asqsz;
	le16 eflags;
	uint8_t reserved12[20];
	char trsvcid[32];
	uint8_t reserved64[192];
	char subnqn[NVME_NQN_BYTES];
	char traddr[256];
	struct {
		uint8_t qptype;
		uint8_t prtype;
		uint8_t cms;
		uint8_t reserved3[5];
		le16 pkey;
		uint8_t reserved10[246];
	} rdma; /* TSAS */
};
static_assert(sizeof(struct nvmf_discovery_entry) == 1024, "discovery log entry");
static_assert(offsetof(struct nvmf_discovery_entry, trsvcid) == 32, "discovery log entry: TRSVCID");
static_assert(offsetof(struct nvmf_discovery_entry, rdma) == 768, "discovery log entry: TSAS");

struct nvmf_discovery_head {
	le64 genctr;
	le64 numrec;
	le16 recfmt;
	uint8_t reserved[1006];
};
static_assert(sizeof(struct nvmf_discovery_head) == 1024, "discovery log header");

struct nvme_ns_descriptor {
	uint8_t nidt; /* 2 NGUID, 3 UUID, 4 command set */
	uint8_t nidl;
	uint8_t reserved[2];
	/* nidl bytes follow */
};

#endif
