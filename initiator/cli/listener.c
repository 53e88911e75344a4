// SPDX-License-Identifier: BSD-3-Clause
/* leasehold listener: the ports of this machine's daemon, and the access that each gives. */
#include "admin_socket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_SOCKET = OPT_VERB,
	OPT_GROUP,
};

struct listener_options {
	struct target_options o;
	const char *socket;
	uint64_t group; /* 0: all */
};

static const char *text(struct json_object *o, const char *key)
{
	struct json_object *field;

	return json_object_object_get_ex(o, key, &field) ? json_object_get_string(field) : "";
}

static void print_groups(struct json_object *listener)
{
	struct json_object *groups;

	if (!json_object_object_get_ex(listener, "ana", &groups))
		return;
	for (size_t i = 0; i < json_object_array_length(groups); i++) {
		struct json_object *group = json_object_array_get_idx(groups, i);

		(void)printf("%s%s:%s", i ? " " : "", text(group, "group"), text(group, "state"));
	}
}

static void print_table(struct json_object *result)
{
	struct json_object *list;

	if (!json_object_object_get_ex(result, "listeners", &list))
		return;
	(void)printf("%-4s  %-6s  %-24s  %-11s  %s\n", "PORT", "FABRIC", "ADDRESS", "CONTROLLERS",
		     "ANA (GROUP:STATE)");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *l = json_object_array_get_idx(list, i);

		(void)printf("%-4s  %-6s  %-24s  %-11s  ", text(l, "port_id"), text(l, "fabric"),
			     text(l, "address"), text(l, "controllers"));
		print_groups(l);
		(void)putchar('\n');
	}
}

static int send_request(const struct listener_options *l, struct json_object *request)
{
	struct json_object *result;
	int rc = admin_socket_request(l->socket, request, &result);

	if (rc)
		return rc;
	if (l->o.json)
		(void)puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PRETTY));
	else
		print_table(result);
	(void)json_object_put(result);
	return EXIT_OK;
}

static int run_list(const struct listener_options *l)
{
	return send_request(l, admin_socket_command("listener-list"));
}

static int run_ana(const struct listener_options *l, const char *listener, const char *state)
{
	struct json_object *request = admin_socket_command("listener-ana");

	(void)json_object_object_add(request, "listener", json_object_new_string(listener));
	(void)json_object_object_add(request, "state", json_object_new_string(state));
	if (l->group)
		(void)json_object_object_add(request, "group", json_object_new_uint64(l->group));
	return send_request(l, request);
}

static int take_group(struct listener_options *l, const char *arg)
{
	char *end;

	l->group = strtoul(arg, &end, 10);
	if (*end || l->group == 0)
		return cli_usage(&verb_listener, "--group %s: give a number from 1", arg);
	return -1;
}

static int parse(struct listener_options *l, int argc, char **argv)
{
	static const struct option options[] = {{"socket", required_argument, NULL, OPT_SOCKET},
						{"group", required_argument, NULL, OPT_GROUP},
						{"output", required_argument, NULL, 'o'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	int c, rc = -1;

	while (rc == -1 &&
	       (c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		rc = cli_option(&verb_listener, c, &l->o);
		if (rc == -2 && c == OPT_SOCKET) {
			l->socket = optarg;
			rc = -1;
		} else if (rc == -2) {
			rc = take_group(l, optarg);
		}
	}
	return rc;
}

static int run(int argc, char **argv)
{
	struct listener_options l = {0};
	int rc = parse(&l, argc, argv), n = argc - optind;
	const char *what;

	if (rc != -1)
		return rc;
	what = n > 0 ? argv[optind] : "list";
	if (strcmp(what, "list") == 0 && n <= 1)
		return run_list(&l);
	if (strcmp(what, "ana") == 0 && n == 3)
		return run_ana(&l, argv[optind + 1], argv[optind + 2]);
	return cli_usage(&verb_listener, "listener wants \"list\", or \"ana\" with a listener "
					 "and a state");
}

const struct verb verb_listener = {
	.name = "listener",
	.usage = "[OPTIONS] list | ana LISTENER STATE",
	.summary = "show this machine's ports; set what access hosts have by one",
	.help = "\nLISTENER is a port id or an address with port, as `list` shows them. STATE:\n"
		"  optimized, non-optimized   hosts may use this path; they prefer the first\n"
		"  inaccessible               commands are refused; hosts take another path\n"
		"  persistent-loss            the same, for good\n"
		"  change                     the same, for a moment (ana_transition_s)\n"
		"      --group N          of that ANA group only (default: of all)\n"
		"      --socket PATH      the daemon's admin socket\n"
		"  -o, --output json      for scripts\n"
		"\nExamples:\n"
		"  leasehold listener list\n"
		"  leasehold listener ana 192.0.2.10:4420 inaccessible\n"
		"  leasehold listener ana 2 non-optimized --group 1\n",
	.run = run,
};
