/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moving a file's bytes to or from an export, several pieces in flight, with a progress line; and
 * comparing. What put and get share.
 */
#ifndef LEASEHOLD_TRANSFER_H
#define LEASEHOLD_TRANSFER_H

#include "cli.h"

struct transfer {
	struct lh_client *client;
	struct lh_export *ex;
	int fd;
	const char *path;
	uint64_t file_offset;
	uint64_t offset; /* in the export */
	uint64_t length;
	bool block;
	bool no_fallback;
	bool quiet; /* no progress line */
	unsigned int depth;
	uint64_t piece_bytes;
	bool verify, length_given; /* as the command line has it */
	/* out */
	uint64_t ns;	    /* how long it took */
	uint64_t by_direct; /* bytes moved directly, and by block commands: transfer_count() */
	uint64_t by_block;
	uint64_t differs_at; /* transfer_compare(): offset in the export */
	char way_why[512];   /* why all went by block commands though it was not asked for; or "" */
};

#define TRANSFER_DEPTH	     8
#define TRANSFER_DEPTH_MAX   64
#define TRANSFER_PIECE_BYTES MIB(1)

/* The options of both verbs. */
enum {
	OPT_VERIFY = OPT_VERB,
	OPT_OFFSET,
	OPT_LENGTH,
	OPT_DEPTH,
	OPT_TRANSFER, /* a verb's own begin here */
};
/* clang-format off */
#define TRANSFER_LONG_OPTIONS					\
	TARGET_LONG_OPTIONS,					\
	{"verify", no_argument, NULL, OPT_VERIFY},		\
	{"offset", required_argument, NULL, OPT_OFFSET},	\
	{"length", required_argument, NULL, OPT_LENGTH},	\
	{"depth", required_argument, NULL, OPT_DEPTH}
/* clang-format on */

/** As cli_option(), for these and those of a target: -1 taken, -2 another's, or an exit code. */
int transfer_option(const struct verb *verb, int c, struct target_options *o, struct transfer *t);

/** Each returns 0 or an exit code, with the sentence printed. */
int transfer_put(struct transfer *t);
int transfer_get(struct transfer *t);
/** EXIT_MISMATCH if a byte differs. */
int transfer_compare(struct transfer *t);

/** Makes direct writes durable, writing again what died; flushes a volatile cache. */
int transfer_persist(struct transfer *t);

/**
 * Holds the range for the transfer; where that is not possible says so and has it go by block
 * commands, for good or until it is granted; with no_fallback that is an error. 0 or an exit code.
 */
int transfer_hold(struct transfer *t, unsigned int access, bool allocate);

/** Notes how the bytes went so far. What was written twice counts twice. */
void transfer_count(struct transfer *t);

/** The summary line or object. */
void transfer_report(const struct transfer *t, const char *verb, bool json, bool verified);

#endif
