/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RDMA without an adapter or a kernel module: MPA, DDP and RDMAP over TCP in this process
 * (RFC 5040, 5041, 5044, 6581). Speaks to iWARP adapters and to Linux siw.
 */
#ifndef LEASEHOLD_IWARP_H
#define LEASEHOLD_IWARP_H

#include "fabric/fabric.h"

/*
 * A connection whose private data begin with these two bytes in both directions has our own software
 * at both ends. Units are then as large as MPA allows, also where they do not fit a TCP segment.
 * It is the record format of our direct queues, LH_CM_RECFMT in wire/direct.h, as it lies on the wire.
 */
#define IWARP_OWN_PRIVATE_DATA "HL"

enum iwarp_crc {
	IWARP_CRC_AUTO, /* on, unless both ends are loopback or both opt out */
	IWARP_CRC_ON,
	IWARP_CRC_OFF, /* opt out: off if the peer opts out too */
};

enum iwarp_memory {
	IWARP_MEMORY_ANY,    /* pinned and ODP both accepted (it does neither: it copies) */
	IWARP_MEMORY_PINNED, /* behave as an adapter without ODP */
	IWARP_MEMORY_ODP,    /* behave as an adapter that refuses to pin file memory */
	IWARP_MEMORY_NONE,   /* behave as one that does the same and has no ODP either */
};

struct iwarp_options {
	enum iwarp_crc crc;
	enum iwarp_memory memory;
	bool no_windows; /* behave as an adapter without memory windows */
};

/** Opens the software fabric; it has one device, "iwarp". `options` NULL: all defaults. */
MUST_CHECK int iwarp_fabric_open(const struct iwarp_options *options, struct fabric **f,
				 struct errtext *err);

typedef int iwarp_copy_fn(void *dst, const void *src, size_t len);

/**
 * What copies between the room's own buffers and registered memory, where no system call does it
 * (small units, and every unit with CRC). It returns 0, or -EFAULT if a page of the file behind the
 * memory is gone, where memcpy() would raise SIGBUS; the peer or the work request then gets an access
 * error. The process that serves files installs its guarded copy here, before the first connection.
 * NULL: plain memcpy(), the default. One hook per process.
 */
void iwarp_set_copy_hook(iwarp_copy_fn *copy);

#endif
