// SPDX-License-Identifier: BSD-3-Clause
/* leasehold export: what the administrator does with exports of this machine's daemon while it runs. */
#include "admin_socket.h"

#include "cli/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_SOCKET = OPT_VERB,
	OPT_SET,
	OPT_ADOPT,
	OPT_READ_ONLY,
	OPT_DEVICE,
	OPT_KEY, /* and up: one for each of `keys` */
};

/* Keys of the configuration file's group that have an option of the same name. */
static const char *const keys[] = {"nsid", "lba",	 "prepare", "registration",
				   "busy", "deallocate", "tenure",  "refuse"};

static const char *const list_columns[] = {"name",	 "nsid",   "state",   "size_bytes",
					   "generation", "medium", "recalls", "path"};

struct export_options {
	struct target_options target;
	const char *socket;
	struct json_object *group; /* what the export is to be */
	bool adopt;
	const char *device; /* of export rung */
};

/* A value as the daemon's table wants it: true, false, a number, or a text. */
static struct json_object *value_of(const char *text)
{
	char *end;
	long long number;

	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
		return json_object_new_boolean(text[0] == 't');
	errno = 0;
	number = strtoll(text, &end, 10);
	if (text[0] != '\0' && *end == '\0' && errno == 0)
		return json_object_new_int64(number);
	return json_object_new_string(text);
}

static int set(const char *assignment, struct json_object *group)
{
	const char *equals = strchr(assignment, '=');
	char *key;

	if (!equals || equals == assignment)
		return cli_usage(&verb_export, "--set %s: expected KEY=VALUE", assignment);
	key = strndup(assignment, (size_t)(equals - assignment));
	if (!key)
		return cli_failf(EXIT_FAILED, "out of memory");
	json_object_object_add(group, key, value_of(equals + 1));
	free(key);
	return 0;
}

static int take_options(int argc, char **argv, struct export_options *o)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, OPT_SOCKET},
		{"set", required_argument, NULL, OPT_SET},
		{"adopt", no_argument, NULL, OPT_ADOPT},
		{"read-only", no_argument, NULL, OPT_READ_ONLY},
		{"device", required_argument, NULL, OPT_DEVICE},
		{"nsid", required_argument, NULL, OPT_KEY},
		{"lba", required_argument, NULL, OPT_KEY + 1},
		{"prepare", required_argument, NULL, OPT_KEY + 2},
		{"registration", required_argument, NULL, OPT_KEY + 3},
		{"busy", required_argument, NULL, OPT_KEY + 4},
		{"deallocate", required_argument, NULL, OPT_KEY + 5},
		{"tenure", required_argument, NULL, OPT_KEY + 6},
		{"refuse", required_argument, NULL, OPT_KEY + 7},
		{"output", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{0}};
	int c, rc;

	while ((c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		if (c == OPT_SOCKET) {
			o->socket = optarg;
		} else if (c == OPT_SET) {
			rc = set(optarg, o->group);
			if (rc)
				return rc;
		} else if (c == OPT_DEVICE) {
			o->device = optarg;
		} else if (c == OPT_ADOPT) {
			o->adopt = true;
		} else if (c == OPT_READ_ONLY) {
			json_object_object_add(o->group, "read_only",
					       json_object_new_boolean(true));
		} else if (c >= OPT_KEY && (size_t)(c - OPT_KEY) < ARRAY_SIZE(keys)) {
			json_object_object_add(o->group, keys[c - OPT_KEY], value_of(optarg));
		} else {
			rc = cli_option(&verb_export, c, &o->target);
			if (rc != -1)
				return rc;
		}
	}
	return -1;
}

static void put_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, json_object_new_string(text));
}

/* A path as the daemon needs it, who has another working directory. */
static int put_path(struct json_object *group, const char *path)
{
	char *whole = realpath(path, NULL);

	if (!whole && path[0] != '/')
		return cli_failf(EXIT_FAILED, "%s: %s", path, strerror(errno));
	/* A name that is absolute stays as it was given: it may be a link on purpose. */
	put_text(group, "path", path[0] == '/' ? path : whole);
	free(whole);
	return 0;
}

/* For people: one line an export. */
static void print_list(struct json_object *list)
{
	struct json_object *rows = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *from = json_object_array_get_idx(list, i);
		struct json_object *row = json_object_new_object(), *v;

		for (size_t k = 0; k < ARRAY_SIZE(list_columns); k++) {
			if (!json_object_object_get_ex(from, list_columns[k], &v))
				v = NULL;
			json_object_object_add(row, list_columns[k], json_object_get(v));
		}
		json_object_array_add(rows, row);
	}
	if (json_object_array_length(rows) > 0)
		table_print(stdout, NULL, rows);
	else
		cli_note("there are no exports");
	(void)json_object_put(rows);
}

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

/* For people: how each adapter reaches the export. */
static void print_rungs(struct json_object *result)
{
	struct json_object *rungs;

	if (!json_object_object_get_ex(result, "rungs", &rungs))
		return;
	for (size_t i = 0; i < json_object_array_length(rungs); i++) {
		struct json_object *r = json_object_array_get_idx(rungs, i);
		const char *why = text_of(r, "why");

		(void)printf("%s: %s%s%s%s\n", text_of(r, "device"), text_of(r, "rung"),
			     why[0] ? " (" : "", why, why[0] ? ")" : "");
	}
}

static int ask(const struct export_options *o, struct json_object *request)
{
	const char *command =
		json_object_get_string(json_object_object_get(request, "cmd")) + strlen("export ");
	struct json_object *result, *field;
	/* The request is freed there; it is still needed here. */
	int rc = admin_socket_wait(o->socket, json_object_get(request), -1, &result);

	if (rc)
		return rc;
	if (o->target.json) {
		(void)puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PRETTY));
	} else if (json_object_is_type(result, json_type_array)) {
		print_list(result);
	} else if (strcmp(command, "rung") == 0) {
		print_rungs(result);
	} else if (strcmp(command, "remove") != 0) {
		struct json_object *list = json_object_new_array();

		json_object_array_add(list, json_object_get(result));
		print_list(list);
		(void)json_object_put(list);
	}
	if (!o->target.json && json_object_object_get_ex(result, "note", &field))
		cli_note("%s", json_object_get_string(field));
	(void)json_object_put(result);
	return EXIT_OK;
}

static int add(const struct export_options *o, char **names, struct json_object *request)
{
	int rc;

	put_text(o->group, "name", names[0]);
	rc = names[1] ? put_path(o->group, names[1]) : 0;
	if (rc)
		return rc;
	json_object_object_add(request, "export", json_object_get(o->group));
	json_object_object_add(request, "adopt", json_object_new_boolean(o->adopt));
	return ask(o, request);
}

static int resize(const struct export_options *o, char **names, struct json_object *request)
{
	uint64_t bytes;
	int rc = cli_size(&verb_export, "size", names[1], &bytes);

	if (rc)
		return rc;
	if (bytes > INT64_MAX)
		return cli_usage(&verb_export, "%s: no file is that long", names[1]);
	put_text(request, "name", names[0]);
	json_object_object_add(request, "size_bytes", json_object_new_int64((int64_t)bytes));
	return ask(o, request);
}

static int rung(const struct export_options *o, char **names, struct json_object *request)
{
	put_text(request, "name", names[0]);
	if (names[1])
		put_text(request, "registration", names[1]);
	if (o->device)
		put_text(request, "device", o->device);
	return ask(o, request);
}

static int by_name(const struct export_options *o, char **names, struct json_object *request)
{
	put_text(request, "name", names[0]);
	return ask(o, request);
}

static int list(const struct export_options *o, char **names, struct json_object *request)
{
	(void)names;
	return ask(o, request);
}

static const struct subverb {
	const char *name, *command;
	int least, most; /* arguments */
	const char *wants;
	int (*run)(const struct export_options *o, char **names, struct json_object *request);
} subverbs[] = {
	{"add", "export add", 1, 2, "NAME, and PATH unless the configuration file has it", add},
	{"remove", "export remove", 1, 1, "NAME", by_name},
	{"resize", "export resize", 2, 2, "NAME and SIZE", resize},
	{"rung", "export rung", 1, 2, "NAME, and auto, pinned, odp or staged unless that stays",
	 rung},
	{"offline", "export offline", 1, 1, "NAME", by_name},
	{"online", "export online", 1, 1, "NAME", by_name},
	{"list", "export list", 0, 0, "nothing more", list},
};

static int run_subverb(const struct export_options *o, int argc, char **argv)
{
	const struct subverb *s = NULL;
	struct json_object *request;
	int rc;

	for (size_t i = 0; argc > 0 && i < ARRAY_SIZE(subverbs); i++) {
		if (strcmp(argv[0], subverbs[i].name) == 0)
			s = &subverbs[i];
	}
	if (!s)
		return argc > 0 ? cli_usage(
					  &verb_export,
					  "export %s: there is add, remove, resize, rung, offline, "
					  "online and list",
					  argv[0])
				: cli_usage(&verb_export,
					    "add, remove, resize, rung, offline, online or list?");
	if (argc - 1 < s->least || argc - 1 > s->most)
		return cli_usage(&verb_export, "export %s wants %s", s->name, s->wants);
	if (strcmp(s->name, "add") != 0 && (o->adopt || json_object_object_length(o->group) > 0))
		return cli_usage(&verb_export, "export %s: only export add takes such options",
				 s->name);
	if (strcmp(s->name, "rung") != 0 && o->device)
		return cli_usage(&verb_export, "export %s: only export rung takes --device",
				 s->name);
	request = admin_socket_command(s->command);
	rc = s->run(o, argv + 1, request);
	(void)json_object_put(request);
	return rc;
}

static int run_export(int argc, char **argv)
{
	struct export_options o = {.group = json_object_new_object()};
	int rc = take_options(argc, argv, &o);

	if (rc == -1)
		rc = run_subverb(&o, argc - optind, argv + optind);
	(void)json_object_put(o.group);
	return rc;
}

const struct verb verb_export = {
	.name = "export",
	.usage = "add NAME [PATH] | remove NAME | resize NAME SIZE | rung NAME [WORD] | "
		 "offline NAME | online NAME | list [OPTIONS]",
	.summary = "add, remove, resize exports of this machine's daemon while it runs",
	.help = "\nAdd: serves a file as a new namespace; hosts are told. Ends when it is served.\n"
		"Without PATH: as the configuration file had NAME when it was read last.\n"
		"Remove: hosts lose it at once, grants are recalled, the file is let go; its "
		"bytes\n"
		"stay. Resize: gives the file another size; beyond a smaller one hosts get "
		"errors,\n"
		"what is added reads as zeros. What is changed lasts until the daemon ends: its\n"
		"configuration file is yours to change. A failed command has changed nothing.\n"
		"Rung: tests the adapters again and changes how they reach the export, under I/O:\n"
		"pinned, odp (on demand), staged (the target copies, no grants), auto (the best).\n"
		"Offline: before its device is removed or its file system unmounted. Hosts lose\n"
		"it, grants are recalled, the file is closed; name, number and identity stay.\n"
		"A reload leaves it so. Online, or a restart of the daemon, serves it again.\n"
		"\nOptions of add, as in the configuration file:\n"
		"      --nsid N           namespace number (default: what NAME had, else a new "
		"one)\n"
		"      --lba 512|4096     size of a block (default 4096)\n"
		"      --prepare allocate fill the holes of the file first\n"
		"      --registration auto|pinned|odp|staged\n"
		"      --busy wait        serve it when others have closed the file\n"
		"      --deallocate advisory  hosts' Deallocate does nothing\n"
		"      --tenure watch     for files that local programs use, too\n"
		"      --refuse while-granted  with watch: they get EBUSY while there are grants\n"
		"      --read-only        no host and no client may write\n"
		"      --set KEY=VALUE    any key of an export in the configuration file\n"
		"      --adopt            the file takes the place of the one that NAME was: the\n"
		"                         same disk for hosts (restored, or moved elsewhere)\n"
		"\nOption of rung:\n"
		"      --device NAME      of that adapter only (default: of all)\n"
		"\nOptions:\n" ADMIN_HELP "\nExamples:\n"
		"  leasehold export add scratch /mnt/pmem/scratch --lba 512\n"
		"  leasehold export resize scratch 2G\n"
		"  leasehold export list -o json | jq -r '.[] | select(.state != "
		"\"serving\").name'\n"
		"  leasehold export remove scratch\n"
		"  leasehold export rung data             (its adapter has a new driver)\n"
		"  leasehold export add --adopt data      (offline: its file was replaced)\n"
		"  leasehold export offline data && umount /mnt/pmem\n"
		"\nExit status: 0 done, 1 the daemon refused and said why, 2 bad command line, 4 "
		"no\n"
		"daemon answers.\n",
	.run = run_export,
};
