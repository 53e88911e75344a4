/* SPDX-License-Identifier: BSD-3-Clause */
/* What the verbs of `leasehold` share. Main thread only. */
#ifndef LEASEHOLD_CLI_H
#define LEASEHOLD_CLI_H

#include "leasehold.h"

#include "util/util.h"

#include <getopt.h>
#include <signal.h>

enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_MISMATCH = 3,   /* --verify found other bytes */
	EXIT_NO_CONNECT = 4, /* no connection to the target or to the daemon's socket */
};

struct verb {
	const char *name;
	const char *usage; /* behind "leasehold NAME" */
	const char *summary;
	const char *help; /* options and examples */
	bool only_asks;	  /* it has the options to connect, none to move bytes */
	bool only_direct; /* there is nothing that it could do by block commands alone */
	bool verifies;	  /* it has --verify */
	int (*run)(int argc, char **argv);
};

extern const struct verb verb_discover, verb_list, verb_put, verb_get, verb_hold, verb_read,
	verb_write, verb_bench, verb_status, verb_stats, verb_listener, verb_referral, verb_host,
	verb_export, verb_reclaim, verb_reload, verb_doctor, verb_info, verb_watch, verb_top;

/** Options that every verb with a target has; and the values that they leave. */
struct target_options {
	struct lh_options lh;
	bool block;  /* by block commands alone */
	bool direct; /* that was said; it is so without, too */
	bool json;   /* -o json */
};

enum {
	OPT_DIRECT = 1000,
	OPT_BLOCK,
	OPT_HOST_NQN,
	OPT_IO_QUEUES,
	OPT_NO_FALLBACK,
	OPT_VERB, /* a verb's own begin here */
};

#define TARGET_SHORT_OPTIONS "ho:"
#define ASK_LONG_OPTIONS                                                            \
	{"help", no_argument, NULL, 'h'}, {"output", required_argument, NULL, 'o'}, \
	{                                                                           \
		"host-nqn", required_argument, NULL, OPT_HOST_NQN                   \
	}
#define TARGET_LONG_OPTIONS                                                         \
	{"help", no_argument, NULL, 'h'}, {"output", required_argument, NULL, 'o'}, \
		{"direct", no_argument, NULL, OPT_DIRECT},                          \
		{"block", no_argument, NULL, OPT_BLOCK},                            \
		{"host-nqn", required_argument, NULL, OPT_HOST_NQN},                \
		{"io-queues", required_argument, NULL, OPT_IO_QUEUES},              \
	{                                                                           \
		"no-fallback", no_argument, NULL, OPT_NO_FALLBACK                   \
	}

/**
 * Takes an option that getopt_long(3) returned. -1: it was one of these; -2: it is none of these; else
 * the exit code to end with (help was shown, or the value is bad).
 */
int cli_option(const struct verb *verb, int c, struct target_options *o);

/** For a bad command line: says what, points to --help; returns EXIT_USAGE. */
int cli_usage(const struct verb *verb, const char *fmt, ...) PRINTF_LIKE(2, 3);
void cli_help(const struct verb *verb);
/** Says what failed; returns the exit code that fits. */
int cli_fail(const struct lh_error *err);
/** The same of a call that was given the target: one that is no target is a bad command line. */
int cli_fail_connect(const struct lh_error *err);
int cli_failf(int code, const char *fmt, ...) PRINTF_LIKE(2, 3);
void cli_note(const char *fmt, ...) PRINTF_LIKE(1, 2);

/** Parses a size or fails with EXIT_USAGE; 0 if it is one. */
int cli_size(const struct verb *verb, const char *what, const char *text, uint64_t *bytes);

/** Parses "OFFSET:LENGTH", "OFFSET:" (length UINT64_MAX), or fails with EXIT_USAGE; 0 if it is one. */
int cli_span(const struct verb *verb, const char *text, uint64_t *offset, uint64_t *length);

/**
 * Learns of the export, anew if the range is not inside what is known of it. 0, or the exit code with
 * the sentence printed if it is outside.
 */
int cli_range(struct lh_export *ex, uint64_t offset, uint64_t length, struct lh_export_info *info);

/**
 * lh_hold() failed: 0 with a note that it goes by block commands; with --no-fallback the exit code,
 * with the sentence, and the options that help, printed.
 */
int cli_not_held(const struct lh_error *err, bool no_fallback, bool can_allocate);

/** lh_open() with the sentence printed, of an export that is not offline; 0 or the exit code. */
int cli_open(const char *uri, const struct target_options *o, struct lh_client **client,
	     struct lh_export **ex);
/** The same of one that may be offline. */
int cli_open_any(const char *uri, const struct target_options *o, struct lh_client **client,
		 struct lh_export **ex);
/** Closes both; an error of closing is printed. Returns `code`, or EXIT_FAILED if that was 0. */
int cli_close(struct lh_client *client, struct lh_export *ex, int code);

/**
 * Set by SIGINT and SIGTERM once cli_catch_signals() was called. The library then waits no more for
 * a target that is gone, and the program has 10 s to end in good order; after that, or at a second
 * signal, it ends at once, whatever it waits for.
 */
extern volatile sig_atomic_t cli_interrupted;
void cli_catch_signals(void);
/** A file to remove when it ends at once. NULL: none any more. `path` must stay. */
void cli_temporary(const char *path);

#endif
