// SPDX-License-Identifier: BSD-3-Clause
/* leasehold status and leasehold stats: what the daemon on this machine says of itself. */
#include "admin_socket.h"

#include "cli/grants.h"
#include "cli/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_SOCKET = OPT_VERB,
	OPT_JSON,
	OPT_GRANTS,
	OPT_HOST,
	OPT_CLIENT,
};

#define ASK_OPTIONS                                                                             \
	{"socket", required_argument, NULL, OPT_SOCKET}, {"json", no_argument, NULL, OPT_JSON}, \
		{"output", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'}

#define ASK_HELP                                                                            \
	ADMIN_SOCKET_HELP                                                                   \
	"  -o, --output json      as the daemon gave it, for scripts; --json is the same\n" \
	"  -h, --help             this\n"

struct ask_options {
	struct target_options target;
	const char *socket;
	bool grants;
	const char *host;
	bool one_client;
	uint16_t client;
};

static int take_client(const struct verb *verb, struct ask_options *o, const char *text)
{
	char *end;
	const unsigned long n = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || n > UINT16_MAX)
		return cli_usage(verb, "--client %s: give the number that status shows as cntlid",
				 text);
	o->client = (uint16_t)n;
	o->one_client = true;
	return -1;
}

static int take_options(const struct verb *verb, const struct option *options, int argc,
			char **argv, struct ask_options *o)
{
	int c, rc = -1;

	while (rc == -1 &&
	       (c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		switch (c) {
		case OPT_SOCKET:
			o->socket = optarg;
			break;
		case OPT_JSON:
			o->target.json = true;
			break;
		case OPT_GRANTS:
			o->grants = true;
			break;
		case OPT_HOST:
			o->host = optarg;
			break;
		case OPT_CLIENT:
			rc = take_client(verb, o, optarg);
			break;
		default:
			rc = cli_option(verb, c, &o->target);
		}
	}
	return rc;
}

static int ask(const struct verb *verb, const struct ask_options *o)
{
	struct json_object *result;
	int rc = admin_socket_ask(o->socket, verb->name, &result);

	if (rc)
		return rc;
	if (o->target.json)
		(void)puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PRETTY));
	else
		table_print(stdout, NULL, result);
	(void)json_object_put(result);
	return EXIT_OK;
}

static int run_status(int argc, char **argv)
{
	static const struct option options[] = {ASK_OPTIONS,
						{"grants", no_argument, NULL, OPT_GRANTS},
						{"host", required_argument, NULL, OPT_HOST},
						{"client", required_argument, NULL, OPT_CLIENT},
						{0}};
	struct ask_options o = {0};
	int rc = take_options(&verb_status, options, argc, argv, &o);

	if (rc != -1)
		return rc;
	if (o.grants) {
		const struct grants_options grants = {
			.socket = o.socket,
			.export = optind < argc ? argv[optind] : NULL,
			.host = o.host,
			.client = o.one_client ? &o.client : NULL,
			.json = o.target.json,
		};

		if (argc - optind > 1)
			return cli_usage(&verb_status, "--grants takes one export, or none");
		return grants_show(&grants);
	}
	if (o.host || o.one_client)
		return cli_usage(&verb_status, "--host and --client go with --grants");
	if (optind != argc)
		return cli_usage(&verb_status,
				 "status takes no \"%s\": it asks the daemon on this machine "
				 "(status --grants takes an export)",
				 argv[optind]);
	return ask(&verb_status, &o);
}

static int run_stats(int argc, char **argv)
{
	static const struct option options[] = {ASK_OPTIONS, {0}};
	struct ask_options o = {0};
	int rc = take_options(&verb_stats, options, argc, argv, &o);

	if (rc != -1)
		return rc;
	if (optind != argc)
		return cli_usage(&verb_stats,
				 "stats takes no \"%s\": it asks the daemon on this machine",
				 argv[optind]);
	return ask(&verb_stats, &o);
}

const struct verb verb_status = {
	.name = "status",
	.usage = "[OPTIONS] [--grants [EXPORT]]",
	.summary = "show this machine's daemon: devices, exports, clients; who holds what",
	.help = "\n      --grants [EXPORT]  every grant of all exports, or of one: whose it is, "
		"its\n"
		"                         range, access, key, and till when\n"
		"      --host NQN         of these only what a host holds\n"
		"      --client ID        of these only what a client holds (its "
		"cntlid)\n" ASK_HELP "\nExamples:\n"
		"  leasehold status\n"
		"  leasehold status -o json | jq '.exports[] | {name, state, generation}'\n"
		"  leasehold status --grants data\n"
		"  leasehold status --grants --json | jq '[.grants[].length] | add'\n",
	.run = run_status,
};

const struct verb verb_stats = {
	.name = "stats",
	.usage = "[OPTIONS]",
	.summary = "show this machine's daemon's counters",
	.help = "\n" ASK_HELP "\nExamples:\n"
		"  leasehold stats\n"
		"  watch -d leasehold stats\n",
	.run = run_stats,
};
