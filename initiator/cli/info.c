// SPDX-License-Identifier: BSD-3-Clause
/* leasehold info: all that a client can know of one export without touching its bytes. Main thread. */
#include "cli.h"

#include "cli/latency.h"
#include "cli/progress.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PINGS 16

enum {
	OPT_JSON = OPT_VERB
};

struct info {
	struct lh_client_info target;
	struct lh_export_info export;
	uint8_t nguid[16];
	bool has_nguid;
	char why_not[300]; /* no grant can be had; "": it can */
	uint64_t ping_min_ns, ping_median_ns, ping_max_ns;
};

/* ---- asking ---------------------------------------------------------------------------------- */

static int measure(struct lh_client *client, struct info *i, struct lh_error *err)
{
	struct latency all = {0};

	i->ping_min_ns = UINT64_MAX;
	for (int n = 0; n < PINGS; n++) {
		uint64_t ns = 0;
		int rc = lh_ping(client, &ns, err);

		if (rc < 0)
			return rc;
		latency_add(&all, ns);
		i->ping_min_ns = min_u64(i->ping_min_ns, ns);
		i->ping_max_ns = max_u64(i->ping_max_ns, ns);
	}
	/* A bucket stands for a little more and a little less than what was measured. */
	i->ping_median_ns = max_u64(i->ping_min_ns, min_u64(latency_at(&all, 0.5), i->ping_max_ns));
	return 0;
}

static const char *no_grants(const struct info *i)
{
	const struct lh_export_info *e = &i->export;

	if (!i->target.direct)
		return "the target is none of Leasehold, or of another version of it";
	if (strcmp(e->state, "offline") == 0)
		return "the target does not have its file now (leasehold status there tells why)";
	if (strcmp(e->rung, "staged") == 0)
		return "it is staged: its target copies";
	if (strcmp(e->state, "serving") != 0)
		return "its file system has the blocks back for a while";
	if (strcmp(e->rung, "none") == 0)
		return "this adapter of the target does not reach it";
	if (e->backed_bytes == 0 && e->size_bytes > 0)
		return i->target.can_allocate && !e->read_only
			       ? "it has no blocks of its own yet: give --allocate, or write to it"
			       : "it has no blocks of its own";
	return "";
}

static void say_why_not(struct info *i)
{
	const char *rung_why = strcmp(i->export.rung, "staged") == 0 ? i->export.rung_why : "";

	(void)snprintf(i->why_not, sizeof(i->why_not), "%s%s%s%s", no_grants(i),
		       rung_why[0] ? " (" : "", rung_why, rung_why[0] ? ")" : "");
}

static int ask(struct lh_client *client, struct lh_export *ex, struct info *i, struct lh_error *err)
{
	static const uint8_t none[16];
	int rc = lh_export_info(ex, false, &i->export, err);

	if (rc == 0)
		rc = measure(client, i, err);
	if (rc < 0)
		return rc;
	lh_client_info(client, &i->target);
	say_why_not(i);
	/* What is offline may be no namespace now. */
	i->has_nguid = lh_export_nguid(ex, i->nguid, NULL) == 0 &&
		       memcmp(i->nguid, none, sizeof(none)) != 0;
	return 0;
}

/* ---- telling --------------------------------------------------------------------------------- */

static void put_text(struct json_object *o, const char *key, const char *text)
{
	(void)json_object_object_add(o, key, json_object_new_string(text));
}

static void put_number(struct json_object *o, const char *key, uint64_t n)
{
	(void)json_object_object_add(o, key, json_object_new_uint64(n));
}

static void put_bool(struct json_object *o, const char *key, bool v)
{
	(void)json_object_object_add(o, key, json_object_new_boolean(v));
}

static struct json_object *direct_json(const struct info *i)
{
	struct json_object *o = json_object_new_object();

	put_bool(o, "now", !i->why_not[0]);
	put_text(o, "why_not", i->why_not);
	put_bool(o, "extension", i->target.direct);
	put_text(o, "rung", i->export.rung);
	put_text(o, "rung_why", i->export.rung_why);
	put_text(o, "access", i->export.read_only ? "read" : "read-write");
	put_text(o, "durability", i->export.durability);
	put_bool(o, "can_allocate", i->target.can_allocate);
	put_bool(o, "can_split", i->target.can_split);
	put_bool(o, "can_commit", i->target.can_commit);
	put_bool(o, "can_flush", i->target.can_flush);
	put_bool(o, "can_watch", i->target.can_watch);
	put_number(o, "recall_deadline_ms", i->target.recall_deadline_ms);
	put_number(o, "grant_expiry_ms", i->target.grant_expiry_ms);
	put_number(o, "max_grants", i->target.max_grants);
	put_number(o, "max_grant_bytes", i->target.max_grant_bytes);
	return o;
}

static struct json_object *target_json(const struct lh_client_info *t)
{
	struct json_object *o = json_object_new_object();

	put_text(o, "address", t->address);
	put_text(o, "model", t->model);
	put_text(o, "firmware", t->firmware);
	put_text(o, "fabric", t->fabric);
	put_text(o, "device", t->device);
	put_number(o, "controller", t->controller);
	put_number(o, "max_transfer_bytes", t->max_transfer_bytes);
	return o;
}

static struct json_object *round_trip_json(const struct info *i)
{
	struct json_object *o = json_object_new_object();

	put_number(o, "min_ns", i->ping_min_ns);
	put_number(o, "median_ns", i->ping_median_ns);
	put_number(o, "max_ns", i->ping_max_ns);
	return o;
}

static void print_json(const struct info *i)
{
	const struct lh_export_info *e = &i->export;
	struct json_object *o = json_object_new_object();
	char text[UUID_TEXT_BYTES];

	put_text(o, "name", e->name);
	put_text(o, "nqn", i->target.nqn);
	put_number(o, "nsid", e->nsid);
	uuid_format(e->uuid, text);
	put_text(o, "uuid", text);
	uuid_format(i->nguid, text);
	(void)json_object_object_add(o, "nguid",
				     i->has_nguid ? json_object_new_string(text) : NULL);
	put_text(o, "state", e->state);
	put_number(o, "generation", e->generation);
	put_number(o, "size_bytes", e->size_bytes);
	put_number(o, "backed_bytes", e->backed_bytes);
	put_number(o, "block_bytes", e->block_bytes);
	put_bool(o, "read_only", e->read_only);
	put_bool(o, "volatile_cache", e->volatile_cache);
	put_bool(o, "dax", e->dax);
	put_bool(o, "tail", e->tail);
	(void)json_object_object_add(o, "direct", direct_json(i));
	(void)json_object_object_add(o, "target", target_json(&i->target));
	(void)json_object_object_add(o, "round_trip", round_trip_json(i));
	(void)puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	(void)json_object_put(o);
}

static void line(const char *key, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void line(const char *key, const char *fmt, ...)
{
	va_list ap;

	(void)printf("  %-13s  ", key);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	(void)putchar('\n');
}

static void print_direct(const struct info *i)
{
	const struct lh_export_info *e = &i->export;

	if (i->why_not[0])
		line("direct access", "not now: %s", i->why_not);
	else
		line("direct access", "yes, %s, to %s", e->rung,
		     e->read_only ? "read" : "read and write");
	if (!i->target.direct)
		return;
	if (!e->read_only)
		line("direct writes", "durability: %s", e->durability);
	line("grants", "given back within %u ms when recalled%s%s", i->target.recall_deadline_ms,
	     i->target.can_split ? ", in parts too" : "",
	     i->target.can_allocate && !e->read_only ? "; holes are filled on request" : "");
}

static void print_text(const struct info *i)
{
	const struct lh_export_info *e = &i->export;
	char size[PROGRESS_TEXT_BYTES], backed[PROGRESS_TEXT_BYTES], uuid[UUID_TEXT_BYTES];
	char nguid[UUID_TEXT_BYTES] = "-";

	progress_bytes(e->size_bytes, size);
	progress_bytes(e->backed_bytes, backed);
	uuid_format(e->uuid, uuid);
	if (i->has_nguid)
		uuid_format(i->nguid, nguid);
	(void)printf("%s\n", e->name);
	line("state", "%s, generation %u", e->state, e->generation);
	line("size", "%s: %llu bytes, in blocks of %u%s", size, (unsigned long long)e->size_bytes,
	     e->block_bytes, e->tail ? "; the file has some more, fewer than a block" : "");
	line("backed", "%s have blocks of their own", backed);
	line("access", "%s%s%s", e->read_only ? "read-only" : "read-write", e->dax ? ", dax" : "",
	     e->volatile_cache ? ", volatile cache: a flush makes block writes durable" : "");
	print_direct(i);
	line("uuid", "%s", uuid);
	line("nguid", "%s", nguid);
	line("subsystem", "%s, namespace %u", i->target.nqn, e->nsid);
	line("target", "%s, %s %s, controller %u", i->target.address, i->target.model,
	     i->target.firmware, i->target.controller);
	line("by way of", "%s, %s", i->target.fabric, i->target.device);
	line("round trip", "%llu us (%llu to %llu, of %d commands)",
	     (unsigned long long)(i->ping_median_ns / NS_PER_US),
	     (unsigned long long)(i->ping_min_ns / NS_PER_US),
	     (unsigned long long)(i->ping_max_ns / NS_PER_US), PINGS);
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int run(int argc, char **argv)
{
	static const struct option options[] = {
		ASK_LONG_OPTIONS, {"json", no_argument, NULL, OPT_JSON}, {0}};
	struct target_options o = {0};
	struct lh_client *client;
	struct lh_export *ex;
	struct lh_error err;
	struct info i = {0};
	int c, rc;

	while ((c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		rc = c == OPT_JSON ? -1 : cli_option(&verb_info, c, &o);
		o.json |= c == OPT_JSON;
		if (rc != -1)
			return rc;
	}
	if (argc - optind != 1)
		return cli_usage(&verb_info, "info wants one target, with an export in it");
	cli_catch_signals();
	rc = cli_open_any(argv[optind], &o, &client, &ex);
	if (rc)
		return rc;
	rc = ask(client, ex, &i, &err);
	if (rc == 0 && o.json)
		print_json(&i);
	else if (rc == 0)
		print_text(&i);
	return cli_close(client, ex, rc < 0 ? cli_fail(&err) : EXIT_OK);
}

const struct verb verb_info = {
	.name = "info",
	.usage = "[OPTIONS] TARGET",
	.only_asks = true,
	.summary = "show all about one export, and how far away it is",
	.help = "\nAs a client sees it: size, names, state, what direct access there is or would "
		"be, and\n"
		"the time that a command takes to the target and back.\n"
		"      --json             for scripts; -o json is the same\n"
		"\nExamples:\n"
		"  leasehold info iwarp://127.0.0.1/data\n"
		"  leasehold info --json rdma://storage1/data | jq .direct\n",
	.run = run,
};
