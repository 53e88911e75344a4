// SPDX-License-Identifier: BSD-3-Clause
/* leasehold write: standard input to bytes of an export, durable on return. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES MIB(1)

/* Reads up to a piece; 0 at the end, -errno on failure. */
static ssize_t read_some(uint8_t *buf)
{
	size_t have = 0;

	while (have < PIECE_BYTES) {
		ssize_t n = read(STDIN_FILENO, buf + have, PIECE_BYTES - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static int write_piece(struct lh_export *ex, bool block, uint64_t offset, const uint8_t *buf,
		       uint64_t n)
{
	struct lh_error err;
	int rc;

	if (block)
		return lh_block_write(ex, offset, buf, n, &err) < 0 ? cli_fail(&err) : 0;
	/* A generation that dies under it: once more, through the next or by block commands. */
	for (int attempt = 0; attempt < 5; attempt++) {
		rc = lh_write(ex, offset, buf, n, &err);
		if (rc == 0)
			rc = lh_persist(ex, offset, n, &err);
		if (rc == 0)
			return 0;
		if (rc != -LH_EDEAD)
			break;
		lh_forget(ex, offset, n);
	}
	return cli_fail(&err);
}

/* How much standard input has, if it is a file; 0 if that is not known. */
static uint64_t input_bytes(void)
{
	const off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);
	struct stat st;

	if (at < 0 || fstat(STDIN_FILENO, &st) < 0 || !S_ISREG(st.st_mode) || at > st.st_size)
		return 0;
	return (uint64_t)(st.st_size - at);
}

/* What can be known beforehand: a file that does not fit is not begun with. */
static int check(struct lh_export *ex, uint64_t offset, struct lh_export_info *info)
{
	struct lh_error err;

	if (lh_export_info(ex, false, info, &err) < 0)
		return cli_fail(&err);
	if (info->read_only)
		return cli_failf(EXIT_FAILED, "%s is read-only", info->name);
	return cli_range(ex, offset, input_bytes(), info);
}

/* Of a stream the end is not known: a longer one is held to the export's end. */
static int hold(struct lh_export *ex, const struct target_options *o, bool allocate,
		uint64_t offset, uint64_t first)
{
	const unsigned int flags =
		(o->lh.no_fallback ? 0 : LH_HOLD_BRIEF) | (allocate ? LH_HOLD_ALLOCATE : 0);
	struct lh_error err;

	if (lh_hold(ex, offset, first < PIECE_BYTES ? first : LH_ALL, LH_READ | LH_WRITE, flags,
		    NULL, &err) < 0)
		return cli_not_held(&err, o->lh.no_fallback, true);
	return 0;
}

static int copy_in(struct lh_client *client, struct lh_export *ex, const struct target_options *o,
		   bool allocate, uint64_t offset)
{
	const bool block = o->block;
	const uint64_t begin = offset;
	struct lh_export_info info;
	struct lh_error err;
	bool held = false;
	uint8_t *buf;
	ssize_t n = 0;
	int rc = check(ex, offset, &info);

	if (rc)
		return rc;
	buf = lh_alloc(client, PIECE_BYTES);
	if (!buf)
		return cli_failf(EXIT_FAILED, "out of memory");
	while (rc == 0 && (n = read_some(buf)) > 0) {
		rc = cli_range(ex, offset, (uint64_t)n, &info);
		if (rc)
			break;
		if (!block && !held) {
			held = true;
			rc = hold(ex, o, allocate, offset, (uint64_t)n);
			if (rc)
				break;
		}
		rc = write_piece(ex, block, offset, buf, (uint64_t)n);
		offset += rc ? 0 : (uint64_t)n;
	}
	if (rc == 0 && n < 0)
		rc = cli_failf(EXIT_FAILED, "standard input: %s",
			       n == -EBADF ? "it is not open" : strerror((int)-n));
	if (rc == 0 && info.volatile_cache && lh_flush(ex, &err) < 0)
		rc = cli_fail(&err);
	if (rc)
		cli_note("stopped at offset %llu: %llu bytes were written before it",
			 (unsigned long long)offset, (unsigned long long)(offset - begin));
	lh_free(client, buf);
	return rc;
}

static int run(int argc, char **argv)
{
	enum {
		OPT_ALLOCATE = OPT_VERB,
	};
	static const struct option options[] = {
		TARGET_LONG_OPTIONS, {"allocate", no_argument, NULL, OPT_ALLOCATE}, {0}};
	struct target_options o = {0};
	struct lh_client *client;
	struct lh_export *ex;
	uint64_t offset;
	bool allocate = false;
	int c, rc;

	while ((c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		rc = cli_option(&verb_write, c, &o);
		if (rc == -2)
			allocate = true;
		else if (rc != -1)
			return rc;
	}
	if (argc - optind != 2)
		return cli_usage(&verb_write, "write wants a target and an offset");
	if (cli_size(&verb_write, "offset", argv[optind + 1], &offset))
		return EXIT_USAGE;
	rc = cli_open(argv[optind], &o, &client, &ex);
	if (rc)
		return rc;
	rc = copy_in(client, ex, &o, allocate, offset);
	return cli_close(client, ex, rc);
}

const struct verb verb_write = {
	.name = "write",
	.usage = "[OPTIONS] TARGET OFFSET",
	.summary = "write standard input to bytes of an export",
	.help = "\nReturns when the bytes are as durable as the export can make them. A file as "
		"standard\n"
		"input that does not fit is refused before a byte is written; of a stream the size "
		"is not\n"
		"known: what came before the end of the export stays written, and a sentence says "
		"how much.\n"
		"      --allocate         have holes filled, so that they can be reached directly\n"
		"\nExamples:\n"
		"  echo hello | leasehold write iwarp://127.0.0.1/data 4096\n"
		"  leasehold write --block rdma://storage1/data 1M <page\n",
	.run = run,
};
