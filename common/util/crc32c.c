/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CRC-32C (Castagnoli, reflected 0x82f63b78), as in iSCSI and RFC 5044 §4.4. With the processor's
 * instruction where it has one, over three streams at a time because the instruction takes three
 * cycles and can start in each; else from tables of eight. No state but the tables; any thread.
 */
#include "util/crc32c.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL   0x82f63b78u
#define STREAM_BYTES ((size_t)1024) /* each of the three */

static uint32_t table[8][256];
/* What STREAM_BYTES zeros make of a register, by byte of the register. */
static uint32_t shift[4][256];
static bool has_instruction;

static uint32_t step_byte(uint32_t crc, uint8_t byte)
{
	return table[0][(crc ^ byte) & 0xff] ^ (crc >> 8);
}

__attribute__((constructor)) static void crc32c_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
		table[0][i] = crc;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int t = 1; t < 8; t++)
			table[t][i] = step_byte(table[t - 1][i], 0);
	/* The register is linear in its bits: 32 of them tell all. */
	for (int byte = 0; byte < 4; byte++) {
		uint32_t bits[8];

		for (int bit = 0; bit < 8; bit++) {
			uint32_t crc = 1u << (8 * byte + bit);

			for (size_t n = 0; n < STREAM_BYTES; n++)
				crc = step_byte(crc, 0);
			bits[bit] = crc;
		}
		for (int i = 0; i < 256; i++) {
			uint32_t crc = 0;

			for (int bit = 0; bit < 8; bit++)
				if (i & (1 << bit))
					crc ^= bits[bit];
			shift[byte][i] = crc;
		}
	}
#if defined(__x86_64__)
	has_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

uint32_t crc32c_table(uint32_t crc, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		word = le64toh(word) ^ crc;
		crc = table[7][word & 0xff] ^ table[6][word >> 8 & 0xff] ^
		      table[5][word >> 16 & 0xff] ^ table[4][word >> 24 & 0xff] ^
		      table[3][word >> 32 & 0xff] ^ table[2][word >> 40 & 0xff] ^
		      table[1][word >> 48 & 0xff] ^ table[0][word >> 56];
	}
	while (len-- > 0)
		crc = step_byte(crc, *p++);
	return ~crc;
}

#if defined(__x86_64__)

static uint32_t shifted(uint32_t crc)
{
	return shift[0][crc & 0xff] ^ shift[1][crc >> 8 & 0xff] ^ shift[2][crc >> 16 & 0xff] ^
	       shift[3][crc >> 24];
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return word;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_instruction(uint32_t crc, const uint8_t *p,
								     size_t len)
{
	uint64_t a = ~crc;

	a &= UINT32_MAX;
	while (len >= 3 * STREAM_BYTES) {
		uint64_t b = 0, c = 0;

		for (size_t i = 0; i < STREAM_BYTES; i += 8) {
			a = __builtin_ia32_crc32di(a, load64(p + i));
			b = __builtin_ia32_crc32di(b, load64(p + STREAM_BYTES + i));
			c = __builtin_ia32_crc32di(c, load64(p + 2 * STREAM_BYTES + i));
		}
		a = shifted(shifted((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
		p += 3 * STREAM_BYTES;
		len -= 3 * STREAM_BYTES;
	}
	for (; len >= 8; len -= 8, p += 8)
		a = __builtin_ia32_crc32di(a, load64(p));
	while (len-- > 0)
		a = __builtin_ia32_crc32qi((uint32_t)a, *p++);
	return ~(uint32_t)a;
}

#endif

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
#if defined(__x86_64__)
	if (has_instruction)
		return crc32c_instruction(crc, buf, len);
#endif
	return crc32c_table(crc, buf, len);
}
