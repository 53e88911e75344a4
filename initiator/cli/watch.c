// SPDX-License-Identifier: BSD-3-Clause
/*
 * leasehold watch: follows what happens to an export, a line an event, and holds nothing of it. Main
 * thread.
 */
#include "cli.h"

#include "cli/progress.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TURN_MS	    100		/* to look at signals */
#define SECONDS_MAX 1000000000u /* over 31 years; in ns it fits beside the clock */

enum {
	OPT_SECONDS = OPT_VERB,
	OPT_JSON,
};

struct watching {
	struct target_options o;
	uint64_t seconds; /* 0: until a signal */
};

/* ---- lines ----------------------------------------------------------------------------------- */

/* By this machine's clock, as daemons log it. */
static void time_text(uint64_t monotonic_ns, bool whole, char text[48])
{
	struct timespec now;
	uint64_t ns;
	time_t seconds;
	struct tm tm;
	size_t n;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec - (now_ns() - monotonic_ns);
	seconds = (time_t)(ns / NS_PER_S);
	(void)localtime_r(&seconds, &tm);
	n = strftime(text, 32, whole ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S", &tm);
	n += (size_t)snprintf(text + n, 48 - n, ".%06u", (unsigned int)(ns % NS_PER_S / NS_PER_US));
	if (whole)
		(void)strftime(text + n, 48 - n, "%z", &tm);
}

static void print_json(const struct lh_watch_event *e)
{
	struct json_object *o = json_object_new_object();
	const bool ranged = e->kind == LH_WATCH_RECALLING || e->kind == LH_WATCH_RELEASED;
	char text[48];

	time_text(e->time_ns, true, text);
	(void)json_object_object_add(o, "time", json_object_new_string(text));
	(void)json_object_object_add(o, "time_ns", json_object_new_uint64(e->time_ns));
	(void)json_object_object_add(o, "event", json_object_new_string(lh_watch_name(e->kind)));
	(void)json_object_object_add(o, "state", json_object_new_string(e->state));
	(void)json_object_object_add(o, "generation", json_object_new_uint64(e->generation));
	(void)json_object_object_add(o, "size_bytes", json_object_new_uint64(e->size_bytes));
	(void)json_object_object_add(o, "rung", json_object_new_string(e->rung));
	if (ranged) {
		(void)json_object_object_add(o, "whole",
					     json_object_new_boolean(e->length == LH_ALL));
		(void)json_object_object_add(o, "offset", json_object_new_uint64(e->offset));
		(void)json_object_object_add(
			o, "length",
			json_object_new_uint64(min_u64(
				e->length, e->size_bytes - min_u64(e->offset, e->size_bytes))));
	}
	(void)printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(o);
}

static void range_text(const struct lh_watch_event *e, char *text, size_t bytes)
{
	if (e->length == LH_ALL)
		(void)snprintf(text, bytes, "all");
	else
		(void)snprintf(text, bytes, "%llu bytes at %llu", (unsigned long long)e->length,
			       (unsigned long long)e->offset);
}

static void print_text(const struct lh_watch_event *e)
{
	char time[48], size[PROGRESS_TEXT_BYTES], range[64], text[200] = "";

	time_text(e->time_ns, false, time);
	progress_bytes(e->size_bytes, size);
	range_text(e, range, sizeof(range));
	switch (e->kind) {
	case LH_WATCH_BEGUN:
	case LH_WATCH_CHANGED:
		(void)snprintf(text, sizeof(text), "%s, generation %u, %s, %s", e->state,
			       e->generation, size, e->rung);
		break;
	case LH_WATCH_RECALLING:
		(void)snprintf(text, sizeof(text), "generation %u: the file system wants %s back",
			       e->generation, range);
		break;
	case LH_WATCH_RELEASED:
		(void)snprintf(text, sizeof(text), "generation %u: the file system has %s",
			       e->generation, range);
		break;
	case LH_WATCH_SERVED:
		(void)snprintf(text, sizeof(text), "generation %u, %s", e->generation, size);
		break;
	case LH_WATCH_RESIZED:
		(void)snprintf(text, sizeof(text), "to %llu bytes (%s)",
			       (unsigned long long)e->size_bytes, size);
		break;
	case LH_WATCH_OFFLINE:
		(void)snprintf(text, sizeof(text),
			       "the target does not have its file now, or "
			       "serves it no more");
		break;
	case LH_WATCH_LOST:
		(void)snprintf(text, sizeof(text), "the connection; trying again");
		break;
	case LH_WATCH_RECONNECTED:
		break;
	case LH_WATCH_MISSED:
		(void)snprintf(text, sizeof(text), "more happened than could be told");
		break;
	}
	(void)printf("%s %s%s%s\n", time, lh_watch_name(e->kind), text[0] ? " " : "", text);
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int parse_seconds(struct watching *w, const char *text)
{
	char *end;

	errno = 0;
	w->seconds = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || w->seconds > SECONDS_MAX)
		return cli_usage(&verb_watch,
				 "--seconds %s: give a whole number up to %u; 0 is until a signal",
				 text, SECONDS_MAX);
	return -1;
}

static int parse(struct watching *w, int argc, char **argv)
{
	static const struct option options[] = {ASK_LONG_OPTIONS,
						{"seconds", required_argument, NULL, OPT_SECONDS},
						{"json", no_argument, NULL, OPT_JSON},
						{0}};
	int c, rc = -1;

	while (rc == -1 &&
	       (c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		switch (c) {
		case OPT_SECONDS:
			rc = parse_seconds(w, optarg);
			break;
		case OPT_JSON:
			w->o.json = true;
			break;
		default:
			rc = cli_option(&verb_watch, c, &w->o);
		}
	}
	if (rc == -1 && argc - optind != 1)
		return cli_usage(&verb_watch, "watch wants one target, with an export in it");
	return rc;
}

static int follow(const struct watching *w, struct lh_export *ex)
{
	const uint64_t end = w->seconds ? now_ns() + w->seconds * NS_PER_S : UINT64_MAX;

	while (!cli_interrupted && now_ns() < end) {
		struct lh_watch_event event;
		struct lh_error err;
		int rc = lh_watch_next(ex, TURN_MS, &event, &err);

		if (rc == -ETIMEDOUT)
			continue;
		if (rc < 0)
			return cli_interrupted ? EXIT_OK : cli_fail(&err);
		if (w->o.json)
			print_json(&event);
		else
			print_text(&event);
	}
	return EXIT_OK;
}

static int run(int argc, char **argv)
{
	/* A target that is gone for long is what is watched for. */
	struct watching w = {.o = {.lh = {.reconnect_ms = UINT32_MAX}}};
	struct lh_client *client;
	struct lh_export *ex;
	struct lh_error err;
	int rc = parse(&w, argc, argv);

	if (rc != -1)
		return rc;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	cli_catch_signals();
	rc = cli_open_any(argv[optind], &w.o, &client, &ex);
	if (rc)
		return rc;
	/* That is an event here. */
	lh_client_on_lost(client, NULL, NULL);
	rc = lh_watch(ex, &err) < 0 ? cli_fail(&err) : follow(&w, ex);
	return cli_close(client, ex, rc);
}

const struct verb verb_watch = {
	.name = "watch",
	.usage = "[OPTIONS] TARGET",
	.only_asks = true,
	.summary = "follow what happens to an export: recalls, sizes, offline and back",
	.help = "\nPrints a line per event: begun, recalling, released, served, resized, offline, "
		"changed,\n"
		"lost, reconnected, missed. Holds nothing: nobody waits for who watches. Goes on\n"
		"while the target is gone. Ends on SIGINT.\n"
		"      --seconds N        for how long (default: until a signal)\n"
		"      --json             events as JSON, one a line; -o json is the same\n"
		"\nExamples:\n"
		"  leasehold watch iwarp://127.0.0.1/data\n"
		"  leasehold watch --json rdma://storage1/data | jq -r "
		"'select(.event == \"recalling\").time'\n",
	.run = run,
};
