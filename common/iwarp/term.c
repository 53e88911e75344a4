/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Terminate messages (RFC 5040 §4.8, §7): which code an error has, how it is said, what it means
 * when the peer says it. Bytes only.
 */
#include "iwarp_internal.h"

#include <string.h>

#define TERM_RESERVED 0x1f /* of the byte with the bits M, D and R */

struct iw_fault iw_fault_silent(enum fabric_status send_status)
{
	return (struct iw_fault){.send_status = send_status, .recv_status = FABRIC_FLUSHED};
}

struct iw_fault iw_fault_ddp(uint8_t etype, uint8_t ecode)
{
	return (struct iw_fault){
		.send_status = FABRIC_FLUSHED,
		.recv_status = FABRIC_FLUSHED,
		.terminate = true,
		.context = true,
		.layer = IW_LAYER_DDP,
		.etype = etype,
		.ecode = ecode,
	};
}

struct iw_fault iw_fault_rdmap(uint8_t etype, uint8_t ecode)
{
	struct iw_fault fault = iw_fault_ddp(etype, ecode);

	fault.layer = IW_LAYER_RDMAP;
	return fault;
}

struct iw_fault iw_fault_key(enum iw_key_result result, bool ddp)
{
	static const struct {
		uint8_t ddp, rdmap;
	} code[] = {
		[IW_KEY_INVALID] = {IW_DDP_T_INVALID_STAG, IW_RDMAP_INVALID_STAG},
		[IW_KEY_STRANGER] = {IW_DDP_T_NOT_ASSOCIATED, IW_RDMAP_NOT_ASSOCIATED},
		[IW_KEY_BOUNDS] = {IW_DDP_T_BOUNDS, IW_RDMAP_BOUNDS},
		[IW_KEY_WRAP] = {IW_DDP_T_TO_WRAP, IW_RDMAP_TO_WRAP},
	};

	assert(result != IW_KEY_OK && result != IW_KEY_FULL);
	/* Access rights are RDMAP's affair, whoever asks (RFC 5040 §7.1). */
	if (result == IW_KEY_ACCESS)
		return iw_fault_rdmap(IW_RDMAP_REMOTE_PROTECTION, IW_RDMAP_ACCESS);
	if (ddp)
		return iw_fault_ddp(IW_DDP_TAGGED_BUFFER, code[result].ddp);
	return iw_fault_rdmap(IW_RDMAP_REMOTE_PROTECTION, code[result].rdmap);
}

const char *iw_fault_breach(const struct iw_fault *fault)
{
	/* Its Terminate said so. */
	if (fault->send_status == FABRIC_REMOTE_ACCESS)
		return "it refused a key that it had named itself";
	if (!fault->terminate)
		return NULL;
	if (fault->layer == IW_LAYER_MPA)
		return fault->ecode == IW_MPA_CRC_ERROR
			       ? "it sent a unit with a wrong CRC"
			       : "it sent a unit of an impossible length, as random bytes have";
	if (fault->layer == IW_LAYER_DDP)
		return fault->etype == IW_DDP_TAGGED_BUFFER
			       ? "it sent data for memory that it may not write"
			       : "it sent a segment that breaks the rules of DDP";
	switch (fault->etype) {
	case IW_RDMAP_REMOTE_PROTECTION:
		return "it used a key that is not its own, or no longer, or beyond its range";
	case IW_RDMAP_REMOTE_OPERATION:
		return "it sent what is no message of RDMAP";
	default: /* our own trouble */
		return NULL;
	}
}

size_t iw_term_build(const struct iw_conn *conn, const struct iw_fault *fault,
		     uint8_t unit[IW_TERMINATE_UNIT_MAX])
{
	const struct iw_rx *rx = &conn->rx;
	struct iw_untagged header = {
		.ctrl.ddp = IW_DDP_LAST | IW_DDP_VERSION,
		.ctrl.rdmap = IW_RDMAP_VERSION | IW_RDMAP_TERMINATE,
		.queue = htobe32(IW_QUEUE_TERMINATE),
		.msn = htobe32(1),
	};
	uint32_t control = (uint32_t)fault->layer << 28 | (uint32_t)fault->etype << 24 |
			   (uint32_t)fault->ecode << 16;
	size_t quote = 0, len;
	uint32_t crc = 0;

	if (fault->context) {
		/* The segment's length and header lie in the unit as they are to be quoted. */
		bool tagged = rx->header.ctrl.ddp & IW_DDP_TAGGED;

		control |= IW_TERM_M | IW_TERM_D;
		quote = tagged ? sizeof(struct iw_tagged) : sizeof(struct iw_untagged);
		if (rx->header_len == sizeof(struct iw_read_request)) {
			control |= IW_TERM_R;
			quote = sizeof(struct iw_read_request);
		}
	}
	len = sizeof(header) + sizeof(control) + quote;
	header.ctrl.ulpdu_len = htobe16((uint16_t)(len - IW_MPA_LENGTH));
	control = htobe32(control);
	memset(unit, 0, IW_TERMINATE_UNIT_MAX);
	memcpy(unit, &header, sizeof(header));
	memcpy(unit + sizeof(header), &control, sizeof(control));
	memcpy(unit + sizeof(header) + sizeof(control), rx->header.bytes, quote);
	len = align_up(len, 4);
	if (conn->crc)
		crc = htole32(crc32c(0, unit, len));
	memcpy(unit + len, &crc, sizeof(crc));
	return len + sizeof(crc);
}

enum fabric_status iw_term_status(const uint8_t *payload, size_t len)
{
	uint8_t layer, etype, ecode;

	if (len < 4)
		return FABRIC_GENERAL_ERROR;
	layer = payload[0] >> 4;
	etype = payload[0] & 0xf;
	ecode = payload[1];
	/*
	 * Linux siw (7.2) lays these out from the other end on little-endian machines. Its header
	 * bits are reserved ones then, which tells.
	 */
	if ((payload[2] & TERM_RESERVED) && !(payload[2] & ~TERM_RESERVED)) {
		layer = payload[0] & 0xf;
		etype = payload[0] >> 4;
	}
	if (layer == IW_LAYER_RDMAP && etype == IW_RDMAP_REMOTE_PROTECTION)
		return FABRIC_REMOTE_ACCESS;
	if (layer == IW_LAYER_DDP && etype == IW_DDP_TAGGED_BUFFER && ecode <= IW_DDP_T_TO_WRAP)
		return FABRIC_REMOTE_ACCESS;
	if (layer == IW_LAYER_DDP && etype == IW_DDP_UNTAGGED_BUFFER && ecode == IW_DDP_U_NO_BUFFER)
		return FABRIC_RNR_EXCEEDED;
	if (layer == IW_LAYER_MPA)
		return FABRIC_GENERAL_ERROR;
	return FABRIC_REMOTE_OPERATION;
}
