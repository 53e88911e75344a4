// SPDX-License-Identifier: BSD-3-Clause
/* leasehold get: an export into a local file, which appears under its name when it is whole. */
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct get {
	struct target_options o;
	struct transfer t;
	bool in_place;	     /* the target is no regular file: written as it is */
	char name[PATH_MAX]; /* FILE, or what it links to */
	char temporary[PATH_MAX];
};

static int parse(struct get *g, int argc, char **argv)
{
	static const struct option options[] = {TRANSFER_LONG_OPTIONS, {0}};
	int c, rc = -1;

	while (rc == -1 && (c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1)
		rc = transfer_option(&verb_get, c, &g->o, &g->t);
	if (rc == -1 && argc - optind != 2)
		return cli_usage(&verb_get, "get wants a target and a file, in this order");
	return rc;
}

static int find_length(struct get *g)
{
	struct lh_export_info info;
	struct lh_error err;
	int rc;

	if (lh_export_info(g->t.ex, false, &info, &err) < 0)
		return cli_fail(&err);
	if (!g->t.length_given && g->t.offset <= info.size_bytes)
		g->t.length = info.size_bytes - g->t.offset;
	rc = cli_range(g->t.ex, g->t.offset, g->t.length, &info);
	if (rc)
		return rc;
	if (info.tail && g->t.offset + g->t.length == info.size_bytes)
		cli_note("%s ends at %llu, the last whole block of %u bytes: the target's file has "
			 "a few more, which it does not serve and its log names",
			 info.name, (unsigned long long)info.size_bytes, info.block_bytes);
	return 0;
}

static int close_sink(struct get *g, int rc)
{
	if (close(g->t.fd) < 0 && rc == 0)
		rc = cli_failf(EXIT_FAILED, "%s: %s", g->t.path, strerror(errno));
	if (g->in_place)
		return rc;
	if (rc == 0 && rename(g->temporary, g->name) < 0)
		rc = cli_failf(EXIT_FAILED, "%s: %s", g->t.path, strerror(errno));
	if (rc)
		(void)unlink(g->temporary);
	cli_temporary(NULL);
	return rc;
}

/* A file beside the one that it will replace, with that one's mode and, if we may, owner. */
static int open_temporary(struct get *g, const struct stat *old)
{
	int n = snprintf(g->temporary, sizeof(g->temporary), "%s.part-%d", g->name, (int)getpid());

	if (n < 0 || (size_t)n >= sizeof(g->temporary)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	g->t.fd = open(g->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (g->t.fd < 0)
		return -1;
	cli_temporary(g->temporary);
	if (!old)
		return 0;
	(void)!fchown(g->t.fd, old->st_uid, old->st_gid);
	return fchmod(g->t.fd, old->st_mode & 0777);
}

static int open_sink(struct get *g, const char *path)
{
	struct stat st, link;
	bool exists = stat(path, &st) == 0;
	int rc;

	g->t.path = path;
	if (exists && !S_ISREG(st.st_mode)) {
		if (g->t.verify)
			return cli_usage(&verb_get,
					 "--verify: %s is no regular file, and cannot be read back",
					 path);
		/* Its reader would get the pieces in the order in which they come. */
		if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))
			return cli_usage(&verb_get,
					 "%s is a pipe, and nothing can be written at an offset of "
					 "it: name a file, or use leasehold read, which writes to "
					 "standard output",
					 path);
		g->in_place = true;
		g->t.fd = open(path, O_WRONLY | O_CLOEXEC);
		return g->t.fd < 0 ? cli_failf(EXIT_FAILED, "%s: %s", path, strerror(errno)) : 0;
	}
	if (lstat(path, &link) == 0 && S_ISLNK(link.st_mode)) {
		/* What it links to is replaced, not the link. */
		if (!realpath(path, g->name))
			return cli_failf(EXIT_FAILED, "%s, a symbolic link: %s", path,
					 strerror(errno));
	} else if (snprintf(g->name, sizeof(g->name), "%s", path) >= (int)sizeof(g->name)) {
		return cli_failf(EXIT_FAILED, "%s: %s", path, strerror(ENAMETOOLONG));
	}
	rc = open_temporary(g, exists ? &st : NULL);
	if (rc < 0) {
		rc = cli_failf(EXIT_FAILED, "%s: %s", path, strerror(errno));
		if (g->t.fd >= 0)
			rc = close_sink(g, rc);
	}
	return rc;
}

static int move(struct get *g)
{
	const uint64_t begun = now_ns();
	int rc = transfer_hold(&g->t, LH_READ, false);

	if (rc == 0)
		rc = transfer_get(&g->t);
	g->t.ns = now_ns() - begun;
	transfer_count(&g->t);
	if (rc == 0 && g->t.verify && !g->in_place)
		rc = transfer_compare(&g->t);
	return rc;
}

static int run(int argc, char **argv)
{
	struct get g = {
		.t = {.fd = -1, .depth = TRANSFER_DEPTH, .piece_bytes = TRANSFER_PIECE_BYTES}};
	int rc = parse(&g, argc, argv);

	if (rc != -1)
		return rc;
	cli_catch_signals();
	rc = cli_open(argv[optind], &g.o, &g.t.client, &g.t.ex);
	if (rc)
		return rc;
	g.t.block = g.o.block;
	g.t.no_fallback = g.o.lh.no_fallback;
	g.t.quiet = g.o.json;
	rc = find_length(&g);
	if (rc == 0)
		rc = open_sink(&g, argv[optind + 1]);
	if (rc == 0) {
		rc = move(&g);
		rc = close_sink(&g, rc);
		if (rc == 0)
			transfer_report(&g.t, "get", g.o.json, g.t.verify && !g.in_place);
	}
	return cli_close(g.t.client, g.t.ex, rc);
}

const struct verb verb_get = {
	.name = "get",
	.usage = "[OPTIONS] TARGET FILE",
	.verifies = true,
	.summary = "read an export into a local file",
	.help = "\nFILE is replaced when all of it is here, and keeps its mode; on a failure it is "
		"left "
		"as it\n"
		"was. Of a symbolic link the file behind it is replaced.\n"
		"      --verify           read the export again and compare\n"
		"      --offset N         from where in the export (default 0)\n"
		"      --length N         how much (default: to its end)\n"
		"      --depth N          pieces of 1 MiB in flight (default 8)\n"
		"\nExamples:\n"
		"  leasehold get iwarp://127.0.0.1/data copy.img\n"
		"  leasehold get --block --offset 1G --length 64M rdma://storage1/disk7 part.img\n",
	.run = run,
};
