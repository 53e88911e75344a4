// SPDX-License-Identifier: BSD-3-Clause
/* leasehold status --grants: who holds what, asked for piece by piece. Main thread. */
#include "cli/grants.h"

#include "cli/admin_socket.h"
#include "cli/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct json_object *make_request(const struct grants_options *o, struct json_object *after)
{
	struct json_object *request = admin_socket_command("grants");

	if (o->export)
		json_object_object_add(request, "export", json_object_new_string(o->export));
	if (o->host)
		json_object_object_add(request, "host", json_object_new_string(o->host));
	if (o->client)
		json_object_object_add(request, "client", json_object_new_int64(*o->client));
	if (after)
		json_object_object_add(request, "after", json_object_get(after));
	return request;
}

/* Appends to `all`. `after`: where to go on (NULL: at the beginning), then where the next one does. */
static int ask_some(const struct grants_options *o, struct json_object **after,
		    struct json_object *all)
{
	struct json_object *result, *some = NULL, *next = NULL;
	int rc = admin_socket_request(o->socket, make_request(o, *after), &result);

	(void)json_object_put(*after);
	*after = NULL;
	if (rc)
		return rc;
	if (!json_object_object_get_ex(result, "grants", &some) ||
	    !json_object_is_type(some, json_type_array)) {
		(void)json_object_put(result);
		return cli_failf(EXIT_FAILED, "the daemon's answer has no \"grants\"");
	}
	for (size_t i = 0; i < json_object_array_length(some); i++)
		json_object_array_add(all, json_object_get(json_object_array_get_idx(some, i)));
	if (json_object_object_get_ex(result, "next", &next))
		*after = json_object_get(next);
	(void)json_object_put(result);
	return EXIT_OK;
}

static const char *text_of(struct json_object *row, const char *key)
{
	const char *text = json_object_get_string(json_object_object_get(row, key));

	return text ? text : "-";
}

/* A table for each client of each export, without what its head says. */
static void print(struct json_object *all)
{
	struct json_object *tables = json_object_new_object();

	if (json_object_array_length(all) == 0)
		table_print(stdout, NULL, all);
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *row = json_object_array_get_idx(all, i), *table;
		char head[512];

		(void)snprintf(head, sizeof(head), "%s: controller %s of %s",
			       text_of(row, "export"), text_of(row, "cntlid"),
			       text_of(row, "hostnqn"));
		if (!json_object_object_get_ex(tables, head, &table)) {
			table = json_object_new_array();
			json_object_object_add(tables, head, table);
		}
		json_object_object_del(row, "export");
		json_object_object_del(row, "cntlid");
		json_object_object_del(row, "hostnqn");
		json_object_array_add(table, json_object_get(row));
	}
	json_object_object_foreach(tables, title, rows) table_print(stdout, title, rows);
	(void)json_object_put(tables);
}

int grants_show(const struct grants_options *o)
{
	struct json_object *all = json_object_new_array(), *after = NULL, *out;
	int rc;

	do {
		rc = ask_some(o, &after, all);
	} while (rc == EXIT_OK && after);
	if (rc == EXIT_OK && o->json) {
		out = json_object_new_object();
		json_object_object_add(out, "grants", json_object_get(all));
		(void)puts(json_object_to_json_string_ext(out, JSON_C_TO_STRING_PRETTY));
		(void)json_object_put(out);
	} else if (rc == EXIT_OK) {
		print(all);
	}
	(void)json_object_put(all);
	return rc;
}
