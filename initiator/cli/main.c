// SPDX-License-Identifier: BSD-3-Clause
/* The command line: finds the verb and runs it. One file per verb. */
#include "cli.h"

#include "cli/suggest.h"
#include "util/stdio_fds.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct verb *const verbs[] = {
	&verb_discover, &verb_list,   &verb_info,    &verb_put,	     &verb_get,
	&verb_read,	&verb_write,  &verb_hold,    &verb_watch,    &verb_bench,
	&verb_status,	&verb_top,    &verb_stats,   &verb_listener, &verb_referral,
	&verb_host,	&verb_export, &verb_reclaim, &verb_reload,   &verb_doctor,
};

static void help(FILE *out)
{
	(void)fputs("leasehold: files of a storage host's memory, read and written over RDMA\n\n"
		    "Usage: leasehold VERB [OPTIONS] …\n"
		    "       leasehold --help | --version\n\n",
		    out);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		(void)fprintf(out, "  %-8s %s\n", verbs[i]->name, verbs[i]->summary);
	(void)fputs("\n`leasehold VERB --help` teaches each by example. To begin:\n"
		    "  leasehold list iwarp://127.0.0.1\n"
		    "  leasehold put big.img iwarp://127.0.0.1/data\n",
		    out);
}

static int unknown(const char *text)
{
	const char *names[ARRAY_SIZE(verbs)];
	const char *near;

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		names[i] = verbs[i]->name;
	near = suggest(text, names, ARRAY_SIZE(names));
	if (near)
		(void)fprintf(stderr, "leasehold: there is no verb \"%s\"; did you mean %s?\n",
			      text, near);
	else
		(void)fprintf(stderr,
			      "leasehold: there is no verb \"%s\"; leasehold --help lists "
			      "those there are\n",
			      text);
	return EXIT_USAGE;
}

/* What was to be printed must have come out. */
static int finish(int code)
{
	const bool broken = ferror(stdout);

	if ((fflush(stdout) != 0 || broken) && code == EXIT_OK)
		return cli_failf(EXIT_FAILED, "standard output cannot be written%s%s",
				 broken ? "" : ": ", broken ? "" : strerror(errno));
	return code;
}

int main(int argc, char **argv)
{
	static char name[] = "leasehold", help_option[] = "--help";
	const struct verb *verb = NULL;

	if (stdio_fds_secure() < 0)
		return EXIT_FAILED;
	if (argc < 2) {
		help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		help(stdout);
		return finish(EXIT_OK);
	}
	if (strcmp(argv[1], "--version") == 0) {
		(void)printf("leasehold %s\n", lh_version());
		return finish(EXIT_OK);
	}
	if (strcmp(argv[1], "help") == 0 && argc > 2) {
		argv[1] = argv[2];
		argv[2] = help_option;
	} else if (strcmp(argv[1], "help") == 0) {
		help(stdout);
		return finish(EXIT_OK);
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(argv[1], verbs[i]->name) == 0)
			verb = verbs[i];
	}
	if (!verb)
		return unknown(argv[1]);
	/* getopt_long(3) prefixes its messages with this. */
	argv[1] = name;
	return finish(verb->run(argc - 1, argv + 1));
}
