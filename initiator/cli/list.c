// SPDX-License-Identifier: BSD-3-Clause
/* leasehold list: what a target serves. */
#include "cli.h"

#include "cli/progress.h"
#include "libleasehold/uri.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_json(const struct lh_export_info *list, size_t n)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();
		char uuid[UUID_TEXT_BYTES];

		uuid_format(list[i].uuid, uuid);
		(void)json_object_object_add(o, "name", json_object_new_string(list[i].name));
		(void)json_object_object_add(o, "nsid", json_object_new_uint64(list[i].nsid));
		(void)json_object_object_add(o, "uuid", json_object_new_string(uuid));
		(void)json_object_object_add(o, "size_bytes",
					     json_object_new_uint64(list[i].size_bytes));
		(void)json_object_object_add(o, "backed_bytes",
					     json_object_new_uint64(list[i].backed_bytes));
		(void)json_object_object_add(o, "block_bytes",
					     json_object_new_uint64(list[i].block_bytes));
		(void)json_object_object_add(o, "generation",
					     json_object_new_uint64(list[i].generation));
		(void)json_object_object_add(o, "state", json_object_new_string(list[i].state));
		(void)json_object_object_add(o, "rung", json_object_new_string(list[i].rung));
		(void)json_object_object_add(o, "rung_why",
					     json_object_new_string(list[i].rung_why));
		(void)json_object_object_add(o, "durability",
					     json_object_new_string(list[i].durability));
		(void)json_object_object_add(o, "read_only",
					     json_object_new_boolean(list[i].read_only));
		(void)json_object_object_add(o, "volatile_cache",
					     json_object_new_boolean(list[i].volatile_cache));
		(void)json_object_object_add(o, "dax", json_object_new_boolean(list[i].dax));
		(void)json_object_array_add(array, o);
	}
	(void)puts(json_object_to_json_string_ext(array, JSON_C_TO_STRING_PRETTY));
	(void)json_object_put(array);
}

static void print_table(const struct lh_export_info *list, size_t n)
{
	int width = 6;

	for (size_t i = 0; i < n; i++)
		width = (int)max_u64((uint64_t)width, strlen(list[i].name));
	(void)printf("%-*s  %9s  %9s  %-11s %4s  %-6s  %-16s  %s\n", width, "EXPORT", "SIZE",
		     "BACKED", "STATE", "GEN", "RUNG", "DIRECT WRITES", "NOTES");
	for (size_t i = 0; i < n; i++) {
		const struct lh_export_info *e = &list[i];
		char size[PROGRESS_TEXT_BYTES], backed[PROGRESS_TEXT_BYTES];

		progress_bytes(e->size_bytes, size);
		progress_bytes(e->backed_bytes, backed);
		(void)printf("%-*s  %9s  %9s  %-11s %4u  %-6s  %-16s  %s%s%s\n", width, e->name,
			     size, backed, e->state, e->generation, e->rung, e->durability,
			     e->dax ? "dax " : "", e->read_only ? "read-only " : "",
			     e->volatile_cache ? "volatile-cache" : "");
	}
	for (size_t i = 0; i < n; i++) {
		if (strcmp(list[i].rung, "staged") == 0)
			(void)printf("%s is staged: its target copies, nothing can be held (%s)\n",
				     list[i].name, list[i].rung_why);
	}
}

/* Leaves the one that the target names, if it names one. 0, or -errno with `err`. */
static int pick(struct lh_client *client, const char *name, struct lh_export_info *list, size_t *n,
		struct lh_error *err)
{
	struct lh_export *ex;
	int rc;

	if (!name[0])
		return 0;
	for (size_t i = 0; i < *n; i++) {
		if (strcmp(list[i].name, name) == 0) {
			list[0] = list[i];
			*n = 1;
			return 0;
		}
	}
	/* The library has a sentence for that. */
	*n = 0;
	rc = lh_export_open(client, name, &ex, err);
	if (rc == 0)
		(void)lh_export_close(ex);
	return rc;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {ASK_LONG_OPTIONS, {0}};
	struct target_options o = {0};
	struct lh_export_info *list;
	struct lh_client *client;
	struct target_uri uri;
	struct errtext why;
	struct lh_error err;
	size_t n;
	int c, rc;

	while ((c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		rc = cli_option(&verb_list, c, &o);
		if (rc != -1)
			return rc;
	}
	if (argc - optind != 1)
		return cli_usage(&verb_list, "list wants one target");
	rc = lh_connect(argv[optind], &o.lh, &client, &err);
	if (rc < 0)
		return cli_fail_connect(&err);
	rc = target_uri_parse(argv[optind], &uri, &why); /* lh_connect() could, too */
	assert(rc == 0);
	rc = lh_list(client, &list, &n, &err);
	if (rc == 0) {
		rc = pick(client, uri.export_name, list, &n, &err);
		if (rc < 0)
			n = 0;
		else if (o.json)
			print_json(list, n);
		else if (n == 0)
			(void)puts(
				"no exports are served now: there may be none, or they are offline "
				"(leasehold status on the target's host tells)");
		else
			print_table(list, n);
		free(list);
	}
	lh_client_close(client);
	return rc < 0 ? cli_fail(&err) : EXIT_OK;
}

const struct verb verb_list = {
	.name = "list",
	.usage = "[OPTIONS] TARGET",
	.only_asks = true,
	.summary = "show the exports that a target serves",
	.help = "\nOf a target with an export in it that one is shown.\n"
		"\nExamples:\n"
		"  leasehold list iwarp://127.0.0.1\n"
		"  leasehold list iwarp://127.0.0.1/data\n"
		"  leasehold list "
		"'rdma://[fe80::1%25eth2]:4420?nqn=nqn.2026-11.org.example:disks'\n"
		"  leasehold list -o json rdma://storage1 | jq -r '.[].name'\n",
	.run = run,
};
