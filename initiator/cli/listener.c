// SPDX-License-Identifier: BSD-3-Clause
/* leasehold listener: the ports of this machine's daemon, which come and go, and the access by each. */
#include "admin_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_SOCKET = OPT_VERB,
	OPT_GROUP,
	OPT_NO_INVALIDATE,
	OPT_ANA,
	OPT_DISCONNECT,
};

struct listener_options {
	struct target_options o;
	const char *socket;
	uint64_t group;		   /* ana: 0: all */
	struct json_object *added; /* add: keys of the configuration file */
	bool disconnect;	   /* remove */
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
		(void)puts(strcmp(text(l, "state"), "removed") == 0 ? "  (removed)" : "");
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
	if (!l->o.json && text(result, "note")[0])
		cli_note("%s", text(result, "note"));
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

static int run_add(const struct listener_options *l, const char *uri)
{
	struct json_object *request;
	int rc = admin_socket_port(&verb_listener, uri, l->added);

	if (rc)
		return rc;
	request = admin_socket_command("listener-add");
	(void)json_object_object_add(request, "listener", json_object_get(l->added));
	return send_request(l, request);
}

static int run_remove(const struct listener_options *l, const char *listener)
{
	struct json_object *request = admin_socket_command("listener-remove");

	(void)json_object_object_add(request, "listener", json_object_new_string(listener));
	(void)json_object_object_add(request, "disconnect", json_object_new_boolean(l->disconnect));
	return send_request(l, request);
}

/* STATE of all groups, or GROUP:STATE of one. What a state is the daemon knows. */
static int take_ana(struct json_object *added, const char *arg)
{
	const char *colon = strchr(arg, ':');
	struct json_object *list, *group;
	unsigned long number;
	char *end;

	if (!colon) {
		(void)json_object_object_add(added, "ana", json_object_new_string(arg));
		return -1;
	}
	errno = 0;
	number = strtoul(arg, &end, 10);
	if (end == arg || end != colon || errno || number == 0 || number > INT32_MAX)
		return cli_usage(&verb_listener, "--ana %s: give STATE or GROUP:STATE", arg);
	if (!json_object_object_get_ex(added, "ana_groups", &list)) {
		list = json_object_new_array();
		(void)json_object_object_add(added, "ana_groups", list);
	}
	group = json_object_new_object();
	(void)json_object_object_add(group, "group", json_object_new_uint64(number));
	(void)json_object_object_add(group, "state", json_object_new_string(colon + 1));
	(void)json_object_array_add(list, group);
	return -1;
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
	static const struct option options[] = {
		{"socket", required_argument, NULL, OPT_SOCKET},
		{"group", required_argument, NULL, OPT_GROUP},
		{"no-invalidate", no_argument, NULL, OPT_NO_INVALIDATE},
		{"ana", required_argument, NULL, OPT_ANA},
		{"disconnect", no_argument, NULL, OPT_DISCONNECT},
		{"output", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{0}};
	int c, rc = -1;

	while (rc == -1 &&
	       (c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		if (c == OPT_SOCKET)
			l->socket = optarg;
		else if (c == OPT_GROUP)
			rc = take_group(l, optarg);
		else if (c == OPT_NO_INVALIDATE)
			(void)json_object_object_add(l->added, "remote_invalidate",
						     json_object_new_boolean(false));
		else if (c == OPT_ANA)
			rc = take_ana(l->added, optarg);
		else if (c == OPT_DISCONNECT)
			l->disconnect = true;
		else
			rc = cli_option(&verb_listener, c, &l->o);
	}
	return rc;
}

static int run_subverb(const struct listener_options *l, int n, char **arg)
{
	const char *what = n > 0 ? arg[0] : "list";

	if (strcmp(what, "ana") != 0 && l->group)
		return cli_usage(&verb_listener, "only listener ana takes --group");
	if (strcmp(what, "add") != 0 && json_object_object_length(l->added) > 0)
		return cli_usage(&verb_listener,
				 "only listener add takes --ana and --no-invalidate");
	if (strcmp(what, "remove") != 0 && l->disconnect)
		return cli_usage(&verb_listener, "only listener remove takes --disconnect");
	if (strcmp(what, "list") == 0 && n <= 1)
		return run_list(l);
	if (strcmp(what, "ana") == 0 && n == 3)
		return run_ana(l, arg[1], arg[2]);
	if (strcmp(what, "add") == 0 && n == 2)
		return run_add(l, arg[1]);
	if (strcmp(what, "remove") == 0 && n == 2)
		return run_remove(l, arg[1]);
	return cli_usage(&verb_listener,
			 "listener wants \"list\", \"add\" with FABRIC://HOST[:PORT], \"remove\" "
			 "with a listener, or \"ana\" with a listener and a state");
}

static int run(int argc, char **argv)
{
	struct listener_options l = {.added = json_object_new_object()};
	int rc = parse(&l, argc, argv);

	if (rc == -1)
		rc = run_subverb(&l, argc - optind, argv + optind);
	(void)json_object_put(l.added);
	return rc;
}

const struct verb verb_listener = {
	.name = "listener",
	.usage = "[OPTIONS] list | add FABRIC://HOST[:PORT] | remove LISTENER | ana LISTENER STATE",
	.summary = "show, add, remove this machine's ports; set what access hosts have by one",
	.help = "\nLISTENER is a port id or an address with port, as `list` shows them. Hosts "
		"that\n"
		"are connected to the discovery service are told of each port that comes or goes.\n"
		"What is changed lasts until the daemon ends: its configuration file is yours to\n"
		"change.\n"
		"\nAdd: FABRIC is rdma or iwarp, as in targets, and one that the configuration "
		"file\n"
		"has a listener of.\n"
		"      --no-invalidate    for hosts or adapters that cannot: no remote "
		"invalidation\n"
		"      --ana STATE        access to all groups (default optimized)\n"
		"      --ana GROUP:STATE  to one group; may be repeated\n"
		"\nRemove: nobody comes in by it any more. Hosts that did stay until they leave.\n"
		"      --disconnect       end them too, now or later\n"
		"\nAna: STATE is\n"
		"  optimized, non-optimized   hosts may use this path; they prefer the first\n"
		"  inaccessible               commands are refused; hosts take another path\n"
		"  persistent-loss            the same, for good\n"
		"  change                     the same, for a moment (ana_transition_s)\n"
		"      --group N          of that ANA group only (default: of all)\n"
		"\nOptions:\n" ADMIN_HELP "\nExamples:\n"
		"  leasehold listener list\n"
		"  leasehold listener add rdma://192.0.2.11 --ana non-optimized\n"
		"  leasehold listener remove 2\n"
		"  leasehold listener ana 192.0.2.10:4420 inaccessible\n"
		"  leasehold listener ana 2 non-optimized --group 1\n",
	.run = run,
};
