// SPDX-License-Identifier: BSD-3-Clause
/* leasehold reload: this machine's daemon reads its configuration file again. */
#include "admin_socket.h"

#include <stdio.h>
#include <string.h>

enum {
	OPT_SOCKET = OPT_VERB,
};

static const char *text(struct json_object *o, const char *key)
{
	struct json_object *field;

	return json_object_object_get_ex(o, key, &field) ? json_object_get_string(field) : "";
}

static int number(struct json_object *o, const char *key)
{
	struct json_object *field;

	return json_object_object_get_ex(o, key, &field) ? json_object_get_int(field) : 0;
}

/* What was done to standard output, what is otherwise than the file has it to standard error. */
static void print_steps(struct json_object *result)
{
	struct json_object *steps;

	if (!json_object_object_get_ex(result, "steps", &steps))
		return;
	for (size_t i = 0; i < json_object_array_length(steps); i++) {
		struct json_object *s = json_object_array_get_idx(steps, i);

		if (strcmp(text(s, "outcome"), "done") == 0)
			(void)printf("%s: %s\n", text(s, "what"), text(s, "text"));
		else
			cli_note("%s: %s", text(s, "what"), text(s, "text"));
	}
	if (number(result, "done") + number(result, "failed") == 0)
		(void)printf("nothing was to be changed\n");
}

static int ask(const char *socket, bool json)
{
	struct json_object *result;
	int rc = admin_socket_wait(socket, admin_socket_command("reload"), -1, &result);

	if (rc)
		return rc;
	if (json)
		(void)puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PRETTY));
	else
		print_steps(result);
	if (number(result, "failed") > 0)
		rc = cli_failf(EXIT_FAILED, "not all of %s could be done: see above",
			       text(result, "file"));
	(void)json_object_put(result);
	return rc;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {{"socket", required_argument, NULL, OPT_SOCKET},
						{"output", required_argument, NULL, 'o'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	struct target_options o = {0};
	const char *socket = NULL;
	int c, rc = -1;

	while (rc == -1 &&
	       (c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		if (c == OPT_SOCKET)
			socket = optarg;
		else
			rc = cli_option(&verb_reload, c, &o);
	}
	if (rc != -1)
		return rc;
	if (argc > optind)
		return cli_usage(&verb_reload, "it takes no argument: the daemon knows its file");
	return ask(socket, o.json);
}

const struct verb verb_reload = {
	.name = "reload",
	.usage = "[OPTIONS]",
	.summary = "have this machine's daemon read its configuration file again",
	.help = "\nWhat is otherwise in the file than when it was read last is carried out: "
		"exports\n"
		"and listeners come, go and change, and so do some limits. Hosts and clients of "
		"all\n"
		"else notice nothing. A file with a mistake changes nothing. What other verbs "
		"have\n"
		"changed stays where the file says nothing new of it.\n"
		"\nOne line for each change. What cannot be changed while the daemon runs is "
		"named,\n"
		"with both values; so is what could not be done, and why: the rest is done all "
		"the\n"
		"same, and the next reload tries again. SIGHUP does the same, and only the log "
		"says\n"
		"so. leaseholdd.conf(5) says of each key whether it can be reloaded.\n"
		"\nOptions:\n" ADMIN_HELP "\nExamples:\n"
		"  leasehold reload\n"
		"  leasehold reload -o json | jq '.steps[] | select(.outcome == \"stays\")'\n"
		"\nExit status: 0 done, 1 the daemon refused, or could not do all, and said why,\n"
		"2 bad command line, 4 no daemon answers.\n",
	.run = run,
};
