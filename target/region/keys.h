/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many keys over each export's memory are alive: the last word before a tenure is released; whether
 * there may be any: the first; and the addresses of grants. For the region room only; any thread.
 */
#ifndef LEASEHOLD_REGION_KEYS_H
#define LEASEHOLD_REGION_KEYS_H

#include "region/region.h"

/**
 * Counts one key over so many bytes from `offset` on, before it is made: so the count is never too low.
 * Asserts that the tenure covers them. -ENOMEM.
 */
MUST_CHECK int keys_add(const struct export *e, uint64_t offset, uint64_t length);
/** The key is dead, or was never made. */
void keys_drop(const struct export *e);

/**
 * An address for a client to name `length` bytes at `addr` by: random, and congruent to the address
 * modulo the page size, so that an adapter can map page by page (2 MiB where it may be that large).
 */
uint64_t key_random_iova(const void *addr, uint64_t length);

#endif
