/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MPA Request and Reply frames: RFC 5044 §7.1 and, in revision 2 with the enhanced flag, the depths
 * and ready-to-receive bits of RFC 6581 §9. Bytes only: what to do about them is cm.c's business.
 */
#include "iwarp_internal.h"

#include <errno.h>
#include <string.h>

static void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

size_t iw_mpa_build(const struct iw_mpa *m, uint8_t frame[IW_MPA_FRAME_MAX])
{
	uint8_t *p = frame + IW_MPA_HEADER;
	uint8_t flags = 0;

	assert(m->private_len <= IW_MPA_PRIVATE_MAX - (m->enhanced ? IW_MPA_DEPTHS : 0));
	/* Sixteen characters, no NUL. NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
	memcpy(frame, m->reply ? IW_MPA_KEY_REPLY : IW_MPA_KEY_REQUEST, IW_MPA_KEY_BYTES);
	if (m->markers)
		flags |= IW_MPA_FLAG_MARKERS;
	if (m->crc)
		flags |= IW_MPA_FLAG_CRC;
	if (m->reject)
		flags |= IW_MPA_FLAG_REJECT;
	if (m->enhanced)
		flags |= IW_MPA_FLAG_ENHANCED;
	frame[16] = flags;
	frame[17] = m->revision;
	if (m->enhanced) {
		uint16_t ird = m->ird & IW_MPA_DEPTH_MASK;
		uint16_t ord = m->ord & IW_MPA_DEPTH_MASK;

		if (m->peer_to_peer)
			ird |= IW_MPA_IRD_P2P;
		if (m->rtr_fpdu)
			ird |= IW_MPA_IRD_RTR_FPDU;
		if (m->rtr_write)
			ord |= IW_MPA_ORD_RTR_WRITE;
		if (m->rtr_read)
			ord |= IW_MPA_ORD_RTR_READ;
		put_be16(p, ird);
		put_be16(p + 2, ord);
		p += IW_MPA_DEPTHS;
	}
	memcpy(p, m->private_data, m->private_len);
	p += m->private_len;
	put_be16(frame + 18, (uint16_t)(p - frame - IW_MPA_HEADER));
	return (size_t)(p - frame);
}

int iw_mpa_parse(const uint8_t *frame, size_t have, bool reply, struct iw_mpa *m)
{
	const char *key = reply ? IW_MPA_KEY_REPLY : IW_MPA_KEY_REQUEST;
	const uint8_t *data = frame + IW_MPA_HEADER;
	struct iw_mpa out = {.reply = reply};
	uint16_t len;

	/* Garbage is told by its first bytes, not by waiting for twenty. */
	if (memcmp(frame, key, have < IW_MPA_KEY_BYTES ? have : IW_MPA_KEY_BYTES) != 0)
		return -EPROTO;
	if (have < IW_MPA_HEADER)
		return 0;
	out.markers = frame[16] & IW_MPA_FLAG_MARKERS;
	out.crc = frame[16] & IW_MPA_FLAG_CRC;
	out.reject = frame[16] & IW_MPA_FLAG_REJECT;
	out.revision = frame[17];
	out.enhanced = out.revision == 2 && (frame[16] & IW_MPA_FLAG_ENHANCED);
	len = get_be16(frame + 18);
	if (out.revision < 1 || out.revision > 2 || len > IW_MPA_PRIVATE_MAX)
		return -EPROTO;
	if (out.reject && !reply)
		return -EPROTO;
	if (out.enhanced && len < IW_MPA_DEPTHS)
		return -EPROTO;
	if (have < (size_t)IW_MPA_HEADER + len)
		return IW_MPA_HEADER + len;
	if (out.enhanced) {
		uint16_t ird = get_be16(data);
		uint16_t ord = get_be16(data + 2);

		out.ird = ird & IW_MPA_DEPTH_MASK;
		out.ord = ord & IW_MPA_DEPTH_MASK;
		out.peer_to_peer = ird & IW_MPA_IRD_P2P;
		out.rtr_fpdu = ird & IW_MPA_IRD_RTR_FPDU;
		out.rtr_write = ord & IW_MPA_ORD_RTR_WRITE;
		out.rtr_read = ord & IW_MPA_ORD_RTR_READ;
		data += IW_MPA_DEPTHS;
		len -= IW_MPA_DEPTHS;
	}
	out.private_len = len;
	memcpy(out.private_data, data, len);
	*m = out;
	return IW_MPA_HEADER + (out.enhanced ? IW_MPA_DEPTHS : 0) + len;
}
