// SPDX-License-Identifier: BSD-3-Clause
/* leasehold discover: where a target's subsystems are, by its discovery service. */
#include "cli.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_json(const struct lh_discovery_entry *list, size_t n, uint64_t generation)
{
	struct json_object *top = json_object_new_object(), *array = json_object_new_array();

	for (size_t i = 0; i < n; i++) {
		const struct lh_discovery_entry *e = &list[i];
		struct json_object *o = json_object_new_object();

		(void)json_object_object_add(o, "kind", json_object_new_string(e->kind));
		(void)json_object_object_add(o, "transport", json_object_new_string(e->transport));
		(void)json_object_object_add(o, "provider", json_object_new_string(e->provider));
		(void)json_object_object_add(o, "address", json_object_new_string(e->address));
		(void)json_object_object_add(o, "service", json_object_new_string(e->service));
		(void)json_object_object_add(o, "nqn", json_object_new_string(e->nqn));
		(void)json_object_object_add(o, "port_id", json_object_new_int(e->port_id));
		(void)json_object_object_add(o, "controller", json_object_new_int(e->controller));
		(void)json_object_object_add(o, "admin_entries",
					     json_object_new_int(e->admin_entries));
		(void)json_object_object_add(o, "persistent",
					     json_object_new_boolean(e->persistent));
		(void)json_object_array_add(array, o);
	}
	(void)json_object_object_add(top, "generation", json_object_new_uint64(generation));
	(void)json_object_object_add(top, "entries", array);
	(void)puts(json_object_to_json_string_ext(top, JSON_C_TO_STRING_PRETTY));
	(void)json_object_put(top);
}

static void print_table(const struct lh_discovery_entry *list, size_t n)
{
	int width = 7;

	for (size_t i = 0; i < n; i++)
		width = (int)max_u64((uint64_t)width, strlen(list[i].address));
	(void)printf("%-8s  %-9s  %-10s  %-*s  %-5s  %s\n", "KIND", "TRANSPORT", "PROVIDER", width,
		     "ADDRESS", "PORT", "NQN");
	for (size_t i = 0; i < n; i++)
		(void)printf("%-8s  %-9s  %-10s  %-*s  %-5s  %s\n", list[i].kind, list[i].transport,
			     list[i].provider, width, list[i].address, list[i].service,
			     list[i].nqn);
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {ASK_LONG_OPTIONS, {0}};
	struct target_options o = {0};
	struct lh_discovery_entry *list;
	struct lh_error err;
	uint64_t generation;
	size_t n;
	int c, rc;

	while ((c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		rc = cli_option(&verb_discover, c, &o);
		if (rc != -1)
			return rc;
	}
	if (argc - optind != 1)
		return cli_usage(&verb_discover, "discover wants one target");
	rc = lh_discover(argv[optind], &o.lh, &list, &n, &generation, &err);
	if (rc < 0)
		return cli_fail_connect(&err);
	if (o.json)
		print_json(list, n, generation);
	else
		print_table(list, n);
	free(list);
	return EXIT_OK;
}

const struct verb verb_discover = {
	.name = "discover",
	.usage = "[OPTIONS] TARGET",
	.only_asks = true,
	.summary = "show where a target's subsystems are, by its discovery service",
	.help = "\nExamples:\n"
		"  leasehold discover iwarp://127.0.0.1\n"
		"  leasehold discover -o json rdma://storage1 | jq -r '.entries[].nqn'\n"
		"\nKinds: nvm (a subsystem), referral (another discovery service), current (the "
		"one\n"
		"that was asked). Any NVMe/RDMA target can be asked.\n",
	.run = run,
};
