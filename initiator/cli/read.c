// SPDX-License-Identifier: BSD-3-Clause
/* leasehold read: bytes of an export to standard output. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES MIB(1)

static int copy_out(struct lh_client *client, struct lh_export *ex, bool block, uint64_t offset,
		    uint64_t length)
{
	uint8_t *buf = lh_alloc(client, min_u64(length, PIECE_BYTES));
	struct lh_error err;
	int rc = 0;

	if (!buf)
		return cli_failf(EXIT_FAILED, "out of memory");
	while (length > 0 && rc == 0) {
		uint64_t n = min_u64(length, PIECE_BYTES);

		rc = block ? lh_block_read(ex, offset, buf, n, &err)
			   : lh_read(ex, offset, buf, n, &err);
		if (rc < 0)
			rc = cli_fail(&err);
		else if (write_full(STDOUT_FILENO, buf, n) < 0)
			rc = cli_failf(EXIT_FAILED, "standard output: %s",
				       errno == EBADF ? "it is not open" : strerror(errno));
		offset += n;
		length -= n;
	}
	lh_free(client, buf);
	return rc;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {TARGET_LONG_OPTIONS, {0}};
	struct target_options o = {0};
	struct lh_client *client;
	struct lh_export_info info;
	struct lh_export *ex;
	struct lh_error err;
	uint64_t offset, length;
	int c, rc;

	while ((c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		rc = cli_option(&verb_read, c, &o);
		if (rc != -1)
			return rc;
	}
	if (argc - optind != 3)
		return cli_usage(&verb_read, "read wants a target, an offset and a length");
	if (cli_size(&verb_read, "offset", argv[optind + 1], &offset) ||
	    cli_size(&verb_read, "length", argv[optind + 2], &length))
		return EXIT_USAGE;
	rc = cli_open(argv[optind], &o, &client, &ex);
	if (rc)
		return rc;
	/* Nothing goes to standard output unless all of it is there. */
	rc = cli_range(ex, offset, length, &info);
	if (rc == 0 && length > 0) {
		if (!o.block && lh_hold(ex, offset, length, LH_READ,
					o.lh.no_fallback ? 0 : LH_HOLD_BRIEF, NULL, &err) < 0)
			rc = cli_not_held(&err, o.lh.no_fallback, false);
		if (rc == 0)
			rc = copy_out(client, ex, o.block, offset, length);
	}
	return cli_close(client, ex, rc);
}

const struct verb verb_read = {
	.name = "read",
	.usage = "[OPTIONS] TARGET OFFSET LENGTH",
	.summary = "write bytes of an export to standard output",
	.help = "\nExamples:\n"
		"  leasehold read iwarp://127.0.0.1/data 0 512 | xxd\n"
		"  leasehold read --block rdma://storage1/data 1M 4k >page\n",
	.run = run,
};
