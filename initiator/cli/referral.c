// SPDX-License-Identifier: BSD-3-Clause
/* leasehold referral: other discovery services that this machine's daemon points hosts to. */
#include "admin_socket.h"

#include "cli/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_SOCKET = OPT_VERB,
	OPT_NQN,
};

struct referral_options {
	struct target_options target;
	const char *socket;
	const char *nqn;
};

static int send_request(const struct referral_options *o, struct json_object *request)
{
	struct json_object *result, *list;
	int rc = admin_socket_request(o->socket, request, &result);

	if (rc)
		return rc;
	if (o->target.json)
		(void)puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PRETTY));
	else if (json_object_object_get_ex(result, "referrals", &list) &&
		 json_object_array_length(list) > 0)
		table_print(stdout, NULL, list);
	else
		cli_note("there are no referrals");
	(void)json_object_put(result);
	return EXIT_OK;
}

static int run_add(const struct referral_options *o, const char *uri)
{
	struct json_object *request, *group = json_object_new_object();
	int rc = admin_socket_port(&verb_referral, uri, group);

	if (rc) {
		(void)json_object_put(group);
		return rc;
	}
	if (o->nqn)
		json_object_object_add(group, "nqn", json_object_new_string(o->nqn));
	request = admin_socket_command("referral-add");
	json_object_object_add(request, "referral", group);
	return send_request(o, request);
}

static int run_remove(const struct referral_options *o, const char *text)
{
	struct json_object *request;
	unsigned long id;
	char *end;

	errno = 0;
	id = strtoul(text, &end, 10);
	if (*end || end == text || errno || id == 0 || id > UINT16_MAX)
		return cli_usage(&verb_referral,
				 "%s: give the id of a referral, as `referral list` shows it",
				 text);
	request = admin_socket_command("referral-remove");
	json_object_object_add(request, "id", json_object_new_uint64(id));
	return send_request(o, request);
}

static int parse(struct referral_options *o, int argc, char **argv)
{
	static const struct option options[] = {{"socket", required_argument, NULL, OPT_SOCKET},
						{"nqn", required_argument, NULL, OPT_NQN},
						{"output", required_argument, NULL, 'o'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	int c, rc = -1;

	while (rc == -1 &&
	       (c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		if (c == OPT_SOCKET)
			o->socket = optarg;
		else if (c == OPT_NQN)
			o->nqn = optarg;
		else
			rc = cli_option(&verb_referral, c, &o->target);
	}
	return rc;
}

static int run(int argc, char **argv)
{
	struct referral_options o = {0};
	int rc = parse(&o, argc, argv), n = argc - optind;
	const char *what;

	if (rc != -1)
		return rc;
	what = n > 0 ? argv[optind] : "list";
	if (o.nqn && strcmp(what, "add") != 0)
		return cli_usage(&verb_referral, "only referral add takes --nqn");
	if (strcmp(what, "list") == 0 && n <= 1)
		return send_request(&o, admin_socket_command("referral-list"));
	if (strcmp(what, "add") == 0 && n == 2)
		return run_add(&o, argv[optind + 1]);
	if (strcmp(what, "remove") == 0 && n == 2)
		return run_remove(&o, argv[optind + 1]);
	return cli_usage(&verb_referral, "referral wants \"list\", \"add\" with "
					 "FABRIC://HOST[:PORT], or \"remove\" with an id");
}

const struct verb verb_referral = {
	.name = "referral",
	.usage = "[OPTIONS] list | add FABRIC://HOST[:PORT] | remove ID",
	.summary = "other discovery services that this machine's daemon points hosts to",
	.help = "\nHosts that are connected to the discovery service are told of each change. "
		"What\n"
		"is changed lasts until the daemon ends: its configuration file is yours to "
		"change.\n"
		"FABRIC is rdma or iwarp, as in targets; ID is as `list` shows it.\n"
		"      --nqn NQN          add: of the discovery service there (default: the\n"
		"                         well-known one)\n" ADMIN_HELP "\nExamples:\n"
		"  leasehold referral list\n"
		"  leasehold referral add rdma://192.0.2.77:8009\n"
		"  leasehold referral remove 2\n",
	.run = run,
};
