// SPDX-License-Identifier: BSD-3-Clause
/* leasehold host: which hosts may connect to this machine's daemon from other machines. */
#include "admin_socket.h"

#include "cli/table.h"

#include <stdio.h>
#include <string.h>

enum {
	OPT_SOCKET = OPT_VERB
};

struct host_options {
	struct target_options target;
	const char *socket;
};

static void print_hosts(struct json_object *result)
{
	struct json_object *any, *list;

	if (json_object_object_get_ex(result, "any_host", &any) && json_object_get_boolean(any))
		cli_note("any host may connect (allow_any_host)");
	else
		cli_note("hosts of this machine may connect, and those listed");
	if (json_object_object_get_ex(result, "hosts", &list) && json_object_array_length(list) > 0)
		table_print(stdout, NULL, list);
	else
		cli_note("none is listed");
}

static int send_request(const struct host_options *o, struct json_object *request)
{
	struct json_object *result;
	int rc = admin_socket_request(o->socket, request, &result);

	if (rc)
		return rc;
	if (o->target.json)
		(void)puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PRETTY));
	else
		print_hosts(result);
	(void)json_object_put(result);
	return EXIT_OK;
}

static int run_change(const struct host_options *o, const char *cmd, const char *nqn)
{
	struct json_object *request = admin_socket_command(cmd);

	json_object_object_add(request, "nqn", json_object_new_string(nqn));
	return send_request(o, request);
}

static int parse(struct host_options *o, int argc, char **argv)
{
	static const struct option options[] = {{"socket", required_argument, NULL, OPT_SOCKET},
						{"output", required_argument, NULL, 'o'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	int c, rc = -1;

	while (rc == -1 &&
	       (c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		if (c == OPT_SOCKET)
			o->socket = optarg;
		else
			rc = cli_option(&verb_host, c, &o->target);
	}
	return rc;
}

static int run(int argc, char **argv)
{
	struct host_options o = {0};
	int rc = parse(&o, argc, argv), n = argc - optind;
	const char *what;

	if (rc != -1)
		return rc;
	what = n > 0 ? argv[optind] : "list";
	if (strcmp(what, "list") == 0 && n <= 1)
		return send_request(&o, admin_socket_command("host-list"));
	if (strcmp(what, "allow") == 0 && n == 2)
		return run_change(&o, "host-allow", argv[optind + 1]);
	if (strcmp(what, "deny") == 0 && n == 2)
		return run_change(&o, "host-deny", argv[optind + 1]);
	return cli_usage(&verb_host,
			 "host wants \"list\", or \"allow\" or \"deny\" with the NQN of a host");
}

const struct verb verb_host = {
	.name = "host",
	.usage = "[OPTIONS] list | allow NQN | deny NQN",
	.summary = "which hosts may connect to this machine's daemon",
	.help = "\nHosts on this machine always may, others if their NQN is listed: a host has\n"
		"it in its /etc/nvme/hostnqn. Who is denied is disconnected. What is changed\n"
		"lasts until the daemon ends: its configuration file (hosts) is yours to change.\n"
		"An NQN is a name that whoever sends it chooses: see docs/security.md.\n" ADMIN_HELP
		"\nExamples:\n"
		"  leasehold host list\n"
		"  leasehold host allow nqn.2014-08.org.nvmexpress:uuid:0af3…\n"
		"  leasehold host deny nqn.2014-08.org.nvmexpress:uuid:0af3…\n",
	.run = run,
};
