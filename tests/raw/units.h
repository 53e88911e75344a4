/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What iWARP says on a TCP connection, unit by unit, for tests that say what they like. Numbers are
 * written out here from the RFCs, not taken from the iwarp room, where the point is that the room has
 * them right.
 */
#ifndef LEASEHOLD_TEST_UNITS_H
#define LEASEHOLD_TEST_UNITS_H

#include "iwarp/iwarp_wire.h"

/** Bit by bit, as the polynomial is written. */
uint32_t unit_crc32c(const uint8_t *p, size_t len);

/** A unit with the header and payload given: its length filled in, padded, summed if `crc`. Its length. */
size_t unit_build(bool crc, const void *header, size_t header_len, const void *payload, size_t len,
		  uint8_t *unit);

struct iw_tagged unit_write_header(uint32_t stag, uint64_t to);
struct iw_tagged unit_response_header(uint32_t stag, uint64_t to, bool last);
struct iw_untagged unit_send_header(uint8_t opcode, uint32_t msn, uint32_t mo);
struct iw_read_request unit_read_header(uint32_t msn, uint32_t stag, uint64_t to, uint32_t len);

#endif
