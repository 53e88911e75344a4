/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a file is mapped. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_ADDRESSES_H
#define LEASEHOLD_EXPORT_ADDRESSES_H

#include "util/util.h"

/**
 * Maps the first `bytes` bytes of the file, shared, for reading and writing, at a multiple of `align` (a
 * power of two); `sync` with MAP_SYNC. munmap(2) ends it. 0 or -errno of mmap(2); -EAGAIN: other threads
 * took each address that was found. Any thread.
 */
MUST_CHECK int addresses_map(int fd, uint64_t bytes, uint64_t align, bool sync, uint8_t **base);

#endif
