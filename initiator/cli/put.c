// SPDX-License-Identifier: BSD-3-Clause
/* leasehold put: a local file into an export. */
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	OPT_ALLOCATE = OPT_TRANSFER
};

struct put {
	struct target_options o;
	struct transfer t;
	bool allocate;
};

static int parse(struct put *p, int argc, char **argv)
{
	static const struct option options[] = {
		TRANSFER_LONG_OPTIONS, {"allocate", no_argument, NULL, OPT_ALLOCATE}, {0}};
	int c, rc = -1;

	while (rc == -1 &&
	       (c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		rc = transfer_option(&verb_put, c, &p->o, &p->t);
		if (rc == -2) {
			p->allocate = true;
			rc = -1;
		}
	}
	if (rc == -1 && argc - optind != 2)
		return cli_usage(&verb_put, "put wants a file and a target, in this order");
	return rc;
}

/* Opens the source and finds how much of it is meant. */
static int open_source(struct put *p, const char *path)
{
	struct stat st;

	p->t.path = path;
	p->t.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (p->t.fd < 0)
		return cli_failf(EXIT_FAILED, "%s: %s", path, strerror(errno));
	if (fstat(p->t.fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		(void)close(p->t.fd);
		return cli_failf(EXIT_FAILED,
				 "%s is no regular file: `leasehold write` takes "
				 "standard input",
				 path);
	}
	if (p->t.length_given && p->t.length > (uint64_t)st.st_size) {
		(void)close(p->t.fd);
		return cli_failf(EXIT_FAILED, "%s has only %llu bytes", path,
				 (unsigned long long)st.st_size);
	}
	if (!p->t.length_given)
		p->t.length = (uint64_t)st.st_size;
	return 0;
}

static int check_fit(const struct put *p, const char *uri)
{
	struct lh_export_info info;
	struct lh_error err;
	int rc = lh_export_info(p->t.ex, false, &info, &err);

	if (rc == 0 && !range_ok(p->t.offset, p->t.length, info.size_bytes))
		rc = lh_export_info(p->t.ex, true, &info, &err);
	if (rc < 0)
		return cli_fail(&err);
	if (info.read_only)
		return cli_failf(EXIT_FAILED, "%s is read-only", uri);
	if (!range_ok(p->t.offset, p->t.length, info.size_bytes))
		return cli_failf(
			EXIT_FAILED,
			"%s does not fit: %llu bytes at offset %llu into an export of %llu "
			"bytes (make the exported file larger, or give --length)",
			p->t.path, (unsigned long long)p->t.length, (unsigned long long)p->t.offset,
			(unsigned long long)info.size_bytes);
	return 0;
}

static int move(struct put *p, const char *uri)
{
	const uint64_t begun = now_ns();
	int rc = check_fit(p, uri);

	if (rc == 0)
		rc = transfer_hold(&p->t, LH_READ | LH_WRITE, p->allocate);
	if (rc == 0)
		rc = transfer_put(&p->t);
	if (rc == 0)
		rc = transfer_persist(&p->t);
	p->t.ns = now_ns() - begun;
	transfer_count(&p->t);
	if (rc == 0 && p->t.verify)
		rc = transfer_compare(&p->t);
	return rc;
}

static int run(int argc, char **argv)
{
	struct put p = {.t = {.depth = TRANSFER_DEPTH, .piece_bytes = TRANSFER_PIECE_BYTES}};
	int rc = parse(&p, argc, argv);

	if (rc != -1)
		return rc;
	cli_catch_signals();
	rc = open_source(&p, argv[optind]);
	if (rc)
		return rc;
	rc = cli_open(argv[optind + 1], &p.o, &p.t.client, &p.t.ex);
	if (rc == 0) {
		p.t.block = p.o.block;
		p.t.no_fallback = p.o.lh.no_fallback;
		p.t.quiet = p.o.json;
		rc = move(&p, argv[optind + 1]);
		if (rc == 0)
			transfer_report(&p.t, "put", p.o.json, p.t.verify);
		rc = cli_close(p.t.client, p.t.ex, rc);
	}
	(void)close(p.t.fd);
	return rc;
}

const struct verb verb_put = {
	.name = "put",
	.usage = "[OPTIONS] FILE TARGET",
	.verifies = true,
	.summary = "write a local file into an export",
	.help = "\nReturns when the bytes are as durable as the export can make them.\n"
		"      --verify           read back and compare\n"
		"      --offset N         where in the export (default 0)\n"
		"      --length N         so many bytes of FILE (default: all)\n"
		"      --allocate         have holes of the exported file filled, so that all of "
		"it\n"
		"                         can be reached directly\n"
		"      --depth N          pieces of 1 MiB in flight (default 8)\n"
		"\nExamples:\n"
		"  leasehold put big.img iwarp://127.0.0.1/data\n"
		"  leasehold put --verify --allocate big.img rdma://storage1/data\n"
		"  leasehold put --block --offset 1G boot.img rdma://storage1/disk7\n",
	.run = run,
};
