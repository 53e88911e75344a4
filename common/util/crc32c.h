/* SPDX-License-Identifier: BSD-3-Clause */
/* CRC-32C, of what is sent and of what is kept. */
#ifndef LEASEHOLD_CRC32C_H
#define LEASEHOLD_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/** CRC-32C of `len` bytes appended to what `crc` stands for; begin with 0. Any thread. */
uint32_t crc32c(uint32_t crc, const void *buf, size_t len);
/** The same from tables, for tests. */
uint32_t crc32c_table(uint32_t crc, const void *buf, size_t len);

#endif
