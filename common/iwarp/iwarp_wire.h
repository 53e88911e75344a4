/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes on the wire: MPA framing (RFC 5044), DDP (RFC 5041) and RDMAP (RFC 5040) headers, Terminate
 * codes. Private to the iwarp room and its tests. All integers are big-endian, the CRC is not.
 *
 * A unit (FPDU): ULPDU length (2) | DDP segment | zeros to a multiple of 4 | CRC32C (4, always there).
 */
#ifndef LEASEHOLD_IWARP_WIRE_H
#define LEASEHOLD_IWARP_WIRE_H

#include "util/util.h"

#include <endian.h>

#define IW_MPA_KEY_REQUEST "MPA ID Req Frame"
#define IW_MPA_KEY_REPLY   "MPA ID Rep Frame"
#define IW_MPA_KEY_BYTES   16
#define IW_MPA_HEADER	   20  /* key, flags, revision, length of private data */
#define IW_MPA_PRIVATE_MAX 512 /* RFC 5044 §7.1.1; when enhanced, the depths are part of it */
#define IW_MPA_DEPTHS	   4
#define IW_MPA_FRAME_MAX   (IW_MPA_HEADER + IW_MPA_DEPTHS + IW_MPA_PRIVATE_MAX)

#define IW_MPA_FLAG_MARKERS  0x80
#define IW_MPA_FLAG_CRC	     0x40
#define IW_MPA_FLAG_REJECT   0x20
#define IW_MPA_FLAG_ENHANCED 0x10   /* RFC 6581 */
#define IW_MPA_IRD_P2P	     0x8000 /* flags of the IRD word */
#define IW_MPA_IRD_RTR_FPDU  0x4000
#define IW_MPA_ORD_RTR_WRITE 0x8000 /* and of the ORD word */
#define IW_MPA_ORD_RTR_READ  0x4000
#define IW_MPA_DEPTH_MASK    0x3fff
#define IW_MPA_DEPTH_NONE    0x3fff /* "not negotiated" */

#define IW_MPA_CRC_BYTES 4
#define IW_MPA_MAX_ULPDU 65535
#define IW_MPA_LENGTH	 2 /* bytes of the length field */

#define IW_DDP_TAGGED	 0x80
#define IW_DDP_LAST	 0x40
#define IW_DDP_VERSION	 0x01 /* of mask 0x03 */
#define IW_RDMAP_VERSION 0x40 /* 1, in the mask 0xc0 */

enum iw_rdmap_opcode {
	IW_RDMAP_WRITE,
	IW_RDMAP_READ_REQUEST,
	IW_RDMAP_READ_RESPONSE,
	IW_RDMAP_SEND,
	IW_RDMAP_SEND_INV,
	IW_RDMAP_SEND_SE,
	IW_RDMAP_SEND_SE_INV,
	IW_RDMAP_TERMINATE,
	IW_RDMAP_OPCODES,
};

enum iw_ddp_queue {
	IW_QUEUE_SEND,
	IW_QUEUE_READ_REQUEST,
	IW_QUEUE_TERMINATE,
};

struct iw_ctrl {
	uint16_t ulpdu_len;
	uint8_t ddp;
	uint8_t rdmap;
} __attribute__((packed));

struct iw_tagged {
	struct iw_ctrl ctrl;
	uint32_t stag;
	uint64_t to;
} __attribute__((packed));

struct iw_untagged {
	struct iw_ctrl ctrl;
	uint32_t inv_stag;
	uint32_t queue;
	uint32_t msn;
	uint32_t mo;
} __attribute__((packed));

struct iw_read_request {
	struct iw_untagged u;
	uint32_t sink_stag;
	uint64_t sink_to;
	uint32_t length;
	uint32_t source_stag;
	uint64_t source_to;
} __attribute__((packed));

union iw_header {
	struct iw_ctrl ctrl;
	struct iw_tagged tagged;
	struct iw_untagged untagged;
	struct iw_read_request read;
	uint8_t bytes[48];
};

static_assert(sizeof(struct iw_ctrl) == 4, "RFC 5044 §3, RFC 5041 §4.1, RFC 5040 §4.1");
static_assert(sizeof(struct iw_tagged) == 16, "RFC 5041 §4.2");
static_assert(sizeof(struct iw_untagged) == 20, "RFC 5041 §4.3");
static_assert(sizeof(struct iw_read_request) == 48, "RFC 5040 §4.4");
static_assert(sizeof(union iw_header) == 48, "the longest header");

/* Terminate (RFC 5040 §4.8): one control word, then what the bits M, D and R announce. */
#define IW_TERM_M 0x8000u /* length of the terminated segment */
#define IW_TERM_D 0x4000u /* its DDP header */
#define IW_TERM_R 0x2000u /* its Read Request header */

#define IW_TERMINATE_MAX      64 /* bytes of payload that we look at */
#define IW_TERMINATE_UNIT_MAX 96

enum iw_layer {
	IW_LAYER_RDMAP,
	IW_LAYER_DDP,
	IW_LAYER_MPA,
};

enum iw_rdmap_etype {
	IW_RDMAP_LOCAL_CATASTROPHIC,
	IW_RDMAP_REMOTE_PROTECTION,
	IW_RDMAP_REMOTE_OPERATION,
};

enum iw_rdmap_ecode {
	IW_RDMAP_INVALID_STAG = 0x00,
	IW_RDMAP_BOUNDS = 0x01,
	IW_RDMAP_ACCESS = 0x02,
	IW_RDMAP_NOT_ASSOCIATED = 0x03,
	IW_RDMAP_TO_WRAP = 0x04,
	IW_RDMAP_BAD_VERSION = 0x05,
	IW_RDMAP_BAD_OPCODE = 0x06,
	IW_RDMAP_STREAM_CATASTROPHIC = 0x07,
	IW_RDMAP_CANNOT_INVALIDATE = 0x09,
	IW_RDMAP_UNSPECIFIED = 0xff,
};

enum iw_ddp_etype {
	IW_DDP_CATASTROPHIC,
	IW_DDP_TAGGED_BUFFER,
	IW_DDP_UNTAGGED_BUFFER,
};

enum iw_ddp_ecode {
	IW_DDP_T_INVALID_STAG = 0x00,
	IW_DDP_T_BOUNDS = 0x01,
	IW_DDP_T_NOT_ASSOCIATED = 0x02,
	IW_DDP_T_TO_WRAP = 0x03,
	IW_DDP_T_BAD_VERSION = 0x04,
	IW_DDP_U_BAD_QUEUE = 0x01,
	IW_DDP_U_NO_BUFFER = 0x02,
	IW_DDP_U_BAD_MSN = 0x03,
	IW_DDP_U_BAD_MO = 0x04,
	IW_DDP_U_TOO_LONG = 0x05,
	IW_DDP_U_BAD_VERSION = 0x06,
};

enum iw_mpa_ecode {
	IW_MPA_CONNECTION_LOST = 0x01,
	IW_MPA_CRC_ERROR = 0x02,
	IW_MPA_FRAMING = 0x03,
	IW_MPA_BAD_STARTUP = 0x04,
};

#endif
