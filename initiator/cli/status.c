// SPDX-License-Identifier: BSD-3-Clause
/* leasehold status and leasehold stats: what the daemon on this machine says of itself. */
#include "admin_socket.h"

#include "cli/table.h"

#include <stdio.h>
#include <string.h>

#define SOCKET_HELP                                                                                \
	"      --socket PATH      the daemon's admin socket (default /run/leasehold/admin.sock,\n" \
	"                         or leasehold/admin.sock in $XDG_RUNTIME_DIR when not root)\n"    \
	"  -o, --output json      as the daemon gave it, for scripts\n"                            \
	"  -h, --help             this\n"

static int ask(const struct verb *verb, int argc, char **argv)
{
	enum {
		OPT_SOCKET = OPT_VERB,
	};
	static const struct option options[] = {{"socket", required_argument, NULL, OPT_SOCKET},
						{"output", required_argument, NULL, 'o'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	struct target_options o = {0};
	struct json_object *result;
	const char *path = NULL;
	int c, rc;

	while ((c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		rc = cli_option(verb, c, &o);
		if (rc == -2)
			path = optarg;
		else if (rc != -1)
			return rc;
	}
	if (optind != argc)
		return cli_usage(verb, "%s takes no \"%s\": it asks the daemon on this machine",
				 verb->name, argv[optind]);
	rc = admin_socket_ask(path, verb->name, &result);
	if (rc)
		return rc;
	if (o.json)
		(void)puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PRETTY));
	else
		table_print(stdout, NULL, result);
	(void)json_object_put(result);
	return EXIT_OK;
}

static int run_status(int argc, char **argv)
{
	return ask(&verb_status, argc, argv);
}

static int run_stats(int argc, char **argv)
{
	return ask(&verb_stats, argc, argv);
}

const struct verb verb_status = {
	.name = "status",
	.usage = "[OPTIONS]",
	.summary = "show this machine's daemon: devices, exports, clients",
	.help = "\n" SOCKET_HELP "\nExamples:\n"
		"  leasehold status\n"
		"  leasehold status -o json | jq '.exports[] | {name, state, generation}'\n",
	.run = run_status,
};

const struct verb verb_stats = {
	.name = "stats",
	.usage = "[OPTIONS]",
	.summary = "show this machine's daemon's counters",
	.help = "\n" SOCKET_HELP "\nExamples:\n"
		"  leasehold stats\n"
		"  watch -d leasehold stats\n",
	.run = run_stats,
};
