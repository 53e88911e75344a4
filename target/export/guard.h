/* SPDX-License-Identifier: BSD-3-Clause */
/* Touching file memory that may be gone. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_GUARD_H
#define LEASEHOLD_EXPORT_GUARD_H

#include "export/export.h"

struct guard_fault {
	const void *address;
	int code;	/* BUS_ADRERR, BUS_MCEERR_AR … */
	uint64_t bytes; /* BUS_MCEERR_AR: around the address, that are damaged */
};

/**
 * Calls fn(arg). If it touches memory that the file does not have any more, returns -EFAULT and
 * writes `fault`; fn is then left in the middle, so it must hold nothing. Any thread; not nested.
 */
MUST_CHECK int guard_run(void (*fn)(void *arg), void *arg, struct guard_fault *fault);

/** memcpy() of file memory; to be called by what guard_run() runs. */
void guard_memcpy(uint8_t *dst, const uint8_t *src, size_t length);

#endif
