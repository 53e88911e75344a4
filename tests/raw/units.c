// SPDX-License-Identifier: BSD-3-Clause
/* See units.h. */
#include "raw/units.h"

#include <string.h>

uint32_t unit_crc32c(const uint8_t *p, size_t len)
{
	uint32_t crc = UINT32_MAX;

	while (len-- > 0) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return ~crc;
}

size_t unit_build(bool crc, const void *header, size_t header_len, const void *payload, size_t len,
		  uint8_t *unit)
{
	size_t total = header_len + len;
	uint16_t ulpdu = htobe16((uint16_t)(total - 2));
	uint32_t sum = 0;

	memcpy(unit, header, header_len);
	memcpy(unit, &ulpdu, sizeof(ulpdu));
	if (len)
		memcpy(unit + header_len, payload, len);
	while (total % 4)
		unit[total++] = 0;
	if (crc)
		sum = htole32(unit_crc32c(unit, total));
	memcpy(unit + total, &sum, sizeof(sum));
	return total + sizeof(sum);
}

struct iw_tagged unit_write_header(uint32_t stag, uint64_t to)
{
	/* Tagged, last, version 1; RDMAP version 1, opcode 0. */
	return (struct iw_tagged){
		.ctrl = {.ddp = 0xc1, .rdmap = 0x40}, .stag = htobe32(stag), .to = htobe64(to)};
}

struct iw_tagged unit_response_header(uint32_t stag, uint64_t to, bool last)
{
	struct iw_tagged h = unit_write_header(stag, to);

	h.ctrl.rdmap = 0x42;
	if (!last)
		h.ctrl.ddp &= ~0x40;
	return h;
}

struct iw_untagged unit_send_header(uint8_t opcode, uint32_t msn, uint32_t mo)
{
	return (struct iw_untagged){.ctrl = {.ddp = 0x41, .rdmap = 0x40 | opcode},
				    .msn = htobe32(msn),
				    .mo = htobe32(mo)};
}

struct iw_read_request unit_read_header(uint32_t msn, uint32_t stag, uint64_t to, uint32_t len)
{
	return (struct iw_read_request){.u = {.ctrl = {.ddp = 0x41, .rdmap = 0x41},
					      .queue = htobe32(1),
					      .msn = htobe32(msn)},
					.sink_stag = htobe32(0x1234),
					.sink_to = htobe64(0x5678),
					.length = htobe32(len),
					.source_stag = htobe32(stag),
					.source_to = htobe64(to)};
}
