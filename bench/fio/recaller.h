/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A landlord who wants random parts of an export back, so many times a second: by `reclaim` on the
 * daemon's admin socket, so only on the daemon's machine. A thread of its own.
 */
#ifndef LEASEHOLD_FIO_RECALLER_H
#define LEASEHOLD_FIO_RECALLER_H

#include <stdint.h>

#define RECALLER_TEXT_BYTES 256

struct recaller;

struct recaller_param {
	const char *socket; /* NULL: where a daemon of this user has it */
	const char *export_name;
	uint64_t offset, length; /* within these bytes */
	uint64_t bytes;		 /* each time */
	unsigned int per_second;
	uint64_t seed;
};

/**
 * Looks whether a daemon answers there, and starts. Returns NULL and a sentence in `why`
 * (RECALLER_TEXT_BYTES) if not.
 */
struct recaller *recaller_start(const struct recaller_param *param, char *why);

/** 0, or -errno once a request has failed; nothing more is asked for then. Any thread. */
int recaller_error(struct recaller *r);

/**
 * Ends it; how many were answered, and in `why` the sentence of the one that failed ("" if none did).
 * NULL is allowed.
 */
uint64_t recaller_stop(struct recaller *r, char *why);

#endif
