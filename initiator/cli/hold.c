// SPDX-License-Identifier: BSD-3-Clause
/*
 * leasehold hold: keeps grants over a range and tells what happens to them, as it happens; writes
 * through them in a loop if asked. For demonstrations and tests: each line is one event,
 *	SECONDS.MICROSECONDS EVENT …
 * in CLOCK_MONOTONIC, the clock of the daemon's timelines. Events are printed by the library's keeper
 * thread, the rest by the main thread.
 */
#include "cli.h"

#include "cli/progress.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCK_BYTES	4096u
#define PERSIST_EVERY	64 /* writes */
#define IDLE_NS		(20 * NS_PER_MS)
#define BEYOND_PAUSE_NS (20 * NS_PER_MS) /* when nothing of the range is there */
#define SECONDS_MAX	1000000000u	 /* over 31 years; in ns it fits beside the clock */

enum {
	OPT_RANGE = OPT_VERB,
	OPT_SECONDS,
	OPT_WRITE,
	OPT_ALLOCATE,
	OPT_ACQUIRE,
	OPT_TRY_OLD_KEY,
	OPT_REPLAY,
	OPT_JSON,
};

struct hold {
	struct target_options o;
	const char *uri;
	bool ranged;
	uint64_t offset, length;
	uint64_t seconds; /* 0: until a signal */
	bool write, allocate, try_old_key;
	bool all; /* held to the end, whatever that becomes */

	struct lh_client *client;
	struct lh_export *ex;
	_Atomic unsigned int granted; /* events of each kind so far */
	_Atomic unsigned int dead;
	_Atomic bool ended; /* no more lines from the keeper */

	struct lh_key key;
	bool key_known;
	unsigned int key_of; /* `granted` when the key was noted */
	uint64_t writes, write_bytes, range_errors, dead_ranges;
	uint64_t counter;
	bool beyond; /* the last write was past the end */
};

/* ---- lines ----------------------------------------------------------------------------------- */

static void line(const struct hold *h, uint64_t time_ns, const char *event, const char *text)
{
	if (h->o.json) {
		struct json_object *o = json_object_new_object();

		(void)json_object_object_add(o, "time_ns", json_object_new_uint64(time_ns));
		(void)json_object_object_add(o, "event", json_object_new_string(event));
		(void)json_object_object_add(o, "text", json_object_new_string(text));
		(void)printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
		(void)json_object_put(o);
		return;
	}
	(void)printf("%llu.%06llu %s%s%s\n", (unsigned long long)(time_ns / NS_PER_S),
		     (unsigned long long)(time_ns % NS_PER_S / NS_PER_US), event,
		     text[0] ? " " : "", text);
}

static void event_json(const struct lh_event *e)
{
	struct json_object *o = json_object_new_object();

	(void)json_object_object_add(o, "time_ns", json_object_new_uint64(e->time_ns));
	(void)json_object_object_add(o, "event", json_object_new_string(lh_event_name(e->kind)));
	(void)json_object_object_add(o, "generation", json_object_new_uint64(e->generation));
	(void)json_object_object_add(o, "offset", json_object_new_uint64(e->offset));
	(void)json_object_object_add(o, "length", json_object_new_uint64(e->length));
	(void)json_object_object_add(o, "text", json_object_new_string(e->text));
	(void)printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	(void)json_object_put(o);
}

/* On the keeper thread. */
static void on_event(const struct lh_event *e, void *user)
{
	struct hold *h = user;
	char text[256];

	if (e->kind == LH_EVENT_GRANTED || e->kind == LH_EVENT_REGRANTED)
		atomic_fetch_add(&h->granted, 1);
	if (e->kind == LH_EVENT_RELEASED || e->kind == LH_EVENT_FENCED)
		atomic_fetch_add(&h->dead, 1);
	if (atomic_load(&h->ended))
		return;
	if (h->o.json) {
		event_json(e);
		return;
	}
	switch (e->kind) {
	case LH_EVENT_GRANTED:
	case LH_EVENT_REGRANTED:
		(void)snprintf(text, sizeof(text), "generation %u, %llu bytes", e->generation,
			       (unsigned long long)e->length);
		break;
	case LH_EVENT_TOLD:
	case LH_EVENT_RELEASED:
	case LH_EVENT_FENCED:
		(void)snprintf(text, sizeof(text), "generation %u: %s", e->generation, e->text);
		break;
	case LH_EVENT_DEAD:
	case LH_EVENT_REPLAYED:
		(void)snprintf(text, sizeof(text), "%llu bytes: %s", (unsigned long long)e->length,
			       e->text);
		break;
	case LH_EVENT_RESIZED:
		(void)snprintf(text, sizeof(text), "to %llu bytes", (unsigned long long)e->length);
		break;
	default:
		(void)snprintf(text, sizeof(text), "%s", e->text);
	}
	line(h, e->time_ns, lh_event_name(e->kind), text);
}

/* ---- writing --------------------------------------------------------------------------------- */

static int persist(struct hold *h)
{
	struct lh_error err;
	int rc = lh_persist(h->ex, h->offset, h->length, &err);

	if (rc == -LH_EDEAD) {
		line(h, now_ns(), "unconfirmed", err.text);
		h->dead_ranges++;
		lh_forget(h->ex, h->offset, h->length);
		return 0;
	}
	return rc < 0 ? cli_fail(&err) : 0;
}

static void pause_ns(uint64_t ns)
{
	const struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_S),
				    .tv_nsec = (long)(ns % NS_PER_S)};

	(void)nanosleep(&ts, NULL);
}

/* One block of the pattern at `*at`, which moves on and wraps. */
static int write_one(struct hold *h, uint8_t *buf, uint64_t *at)
{
	const uint64_t n = min_u64(BLOCK_BYTES, h->length - *at);
	struct lh_error err;
	char text[64];
	int rc;

	h->counter++;
	for (size_t i = 0; i < BLOCK_BYTES; i += sizeof(h->counter))
		memcpy(buf + i, &h->counter, sizeof(h->counter));
	rc = lh_write(h->ex, h->offset + *at, buf, n, &err);
	if (rc == -ERANGE) {
		const bool whole = *at == 0;

		h->range_errors++;
		if (!h->beyond) {
			(void)snprintf(text, sizeof(text), "error at %llu",
				       (unsigned long long)h->offset + *at);
			line(h, now_ns(), "range", text);
			h->beyond = true;
		}
		*at = 0;
		if (whole)
			pause_ns(BEYOND_PAUSE_NS);
		return persist(h);
	}
	if (rc < 0)
		return cli_fail(&err);
	h->writes++;
	h->write_bytes += n;
	*at += n;
	if (*at >= h->length) {
		*at = 0;
		h->beyond = false;
	}
	return h->writes % PERSIST_EVERY == 0 ? persist(h) : 0;
}

/* ---- the old key ----------------------------------------------------------------------------- */

static void note_key(struct hold *h)
{
	const unsigned int granted = atomic_load(&h->granted);

	if (granted != h->key_of && lh_export_key(h->ex, h->offset, &h->key) == 0) {
		h->key_of = granted;
		h->key_known = true;
	}
}

/* After a recall: the key that was ours, once more, on the queue that it was granted to. */
static void try_old_key(struct hold *h)
{
	static const char word[8] = "old key";
	struct lh_error err;
	char text[LH_ERROR_BYTES + 64];
	int rc;

	h->key_known = false;
	rc = lh_try_key(h->ex, &h->key, h->write ? word : NULL, &err);
	if (rc == 0)
		(void)snprintf(text, sizeof(text), "key of generation %u STILL WORKS",
			       h->key.generation);
	else if (rc == -EACCES)
		(void)snprintf(text, sizeof(text), "key of generation %u refused: %s",
			       h->key.generation, err.text);
	else
		(void)snprintf(text, sizeof(text), "key of generation %u could not be tried: %s",
			       h->key.generation, err.text);
	line(h, now_ns(), "old", text);
}

static int look_after_keys(struct hold *h, unsigned int *dead)
{
	const unsigned int now = atomic_load(&h->dead);
	int rc = 0;

	if (!h->try_old_key)
		return 0;
	if (now != *dead) {
		*dead = now;
		/* A refusal costs the queue: what was written on it by now is confirmed first. */
		rc = h->write ? persist(h) : 0;
		if (rc == 0 && h->key_known)
			try_old_key(h);
	}
	note_key(h);
	return rc;
}

/* ---- the verb -------------------------------------------------------------------------------- */

static int parse_range(struct hold *h, const char *text)
{
	char copy[128], *colon;

	if (h->ranged)
		return cli_usage(&verb_hold, "--range is there twice: a hold has one");
	if (strlen(text) >= sizeof(copy))
		return cli_usage(&verb_hold, "--range: write it as OFFSET:LENGTH");
	memcpy(copy, text, strlen(text) + 1);
	colon = strchr(copy, ':');
	if (!colon || !colon[1])
		return cli_usage(&verb_hold, "--range %s: write it as OFFSET:LENGTH", text);
	*colon = '\0';
	if (cli_size(&verb_hold, "offset", copy, &h->offset) ||
	    cli_size(&verb_hold, "length", colon + 1, &h->length))
		return EXIT_USAGE;
	if (h->length == 0)
		return cli_usage(&verb_hold, "--range: a length of 0 holds nothing");
	h->ranged = true;
	return -1;
}

static int parse_seconds(struct hold *h, const char *text)
{
	char *end;

	errno = 0;
	h->seconds = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || h->seconds > SECONDS_MAX)
		return cli_usage(&verb_hold,
				 "--seconds %s: give a whole number up to %u; 0 is until a signal",
				 text, SECONDS_MAX);
	return -1;
}

static int take_option(struct hold *h, int c)
{
	switch (c) {
	case OPT_RANGE:
		return parse_range(h, optarg);
	case OPT_SECONDS:
		return parse_seconds(h, optarg);
	case OPT_WRITE:
		h->write = true;
		return -1;
	case OPT_ACQUIRE:
		if (strcmp(optarg, "allocate") != 0)
			return cli_usage(&verb_hold, "--acquire %s: there is allocate", optarg);
		h->allocate = true;
		return -1;
	case OPT_ALLOCATE:
		h->allocate = true;
		return -1;
	case OPT_TRY_OLD_KEY:
		h->try_old_key = true;
		return -1;
	case OPT_REPLAY:
		h->o.lh.replay = true;
		return -1;
	case OPT_JSON:
		h->o.json = true;
		return -1;
	default:
		return EXIT_USAGE;
	}
}

static int parse(struct hold *h, int argc, char **argv)
{
	static const struct option options[] = {TARGET_LONG_OPTIONS,
						{"range", required_argument, NULL, OPT_RANGE},
						{"seconds", required_argument, NULL, OPT_SECONDS},
						{"write", no_argument, NULL, OPT_WRITE},
						{"allocate", no_argument, NULL, OPT_ALLOCATE},
						{"acquire", required_argument, NULL, OPT_ACQUIRE},
						{"try-old-key", no_argument, NULL, OPT_TRY_OLD_KEY},
						{"replay", no_argument, NULL, OPT_REPLAY},
						{"json", no_argument, NULL, OPT_JSON},
						{0}};
	int c, rc = -1;

	while (rc == -1 &&
	       (c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		rc = cli_option(&verb_hold, c, &h->o);
		if (rc == -2)
			rc = take_option(h, c);
	}
	if (rc == -1 && argc - optind != 1)
		return cli_usage(&verb_hold, "hold wants one target");
	if (rc == -1 && h->o.block)
		return cli_usage(&verb_hold, "hold is for direct access: there is nothing to hold "
					     "for block commands");
	h->uri = argv[optind];
	return rc;
}

static int loop(struct hold *h)
{
	const uint64_t end = h->seconds ? now_ns() + h->seconds * NS_PER_S : UINT64_MAX;
	uint8_t *buf = lh_alloc(h->client, BLOCK_BYTES);
	unsigned int dead = 0;
	uint64_t at = 0;
	int rc = 0;

	if (!buf)
		return cli_failf(EXIT_FAILED, "out of memory");
	note_key(h);
	while (rc == 0 && !cli_interrupted && now_ns() < end) {
		if (h->write)
			rc = write_one(h, buf, &at);
		else
			pause_ns(IDLE_NS);
		if (rc == 0)
			rc = look_after_keys(h, &dead);
	}
	if (rc == 0 && h->write)
		rc = persist(h);
	lh_free(h->client, buf);
	return rc;
}

static void summary(struct hold *h, uint64_t ns)
{
	char text[256], time[PROGRESS_TEXT_BYTES], size[PROGRESS_TEXT_BYTES];
	struct lh_stats s;

	atomic_store(&h->ended, true);
	lh_export_stats(h->ex, &s);
	progress_time(ns, time);
	progress_bytes(h->write_bytes, size);
	(void)snprintf(text, sizeof(text),
		       "after %s: %llu recalls, %llu fences, %llu new grants, %llu writes (%s), "
		       "%llu by block commands, %llu range errors, %llu unconfirmed",
		       time, (unsigned long long)s.recalls, (unsigned long long)s.fenced,
		       (unsigned long long)s.regrants, (unsigned long long)h->writes, size,
		       (unsigned long long)s.fallbacks, (unsigned long long)h->range_errors,
		       (unsigned long long)h->dead_ranges);
	line(h, now_ns(), "ended", text);
}

/* What is asked for begins in the export, or it is an error; what is beyond it is told of. */
static int check_range(struct hold *h)
{
	struct lh_export_info info;
	struct lh_error err;

	if (lh_export_info(h->ex, false, &info, &err) < 0)
		return cli_fail(&err);
	if (h->write && info.read_only)
		return cli_failf(EXIT_FAILED, "%s is read-only: hold it without --write", h->uri);
	if (h->length == LH_ALL && h->offset <= info.size_bytes) {
		/* To write over; what is held is all, even if it grows. */
		h->all = true;
		h->length = info.size_bytes - h->offset;
	}
	if (h->all && h->offset == 0)
		return 0;
	if (h->offset < info.size_bytes && range_ok(h->offset, h->length, info.size_bytes))
		return 0;
	if (lh_export_info(h->ex, true, &info, &err) < 0)
		return cli_fail(&err);
	if (h->offset >= info.size_bytes)
		return cli_range(h->ex, h->offset, h->length, &info);
	if (!range_ok(h->offset, h->length, info.size_bytes))
		cli_note("%s has %llu bytes: of the %llu at offset %llu the first %llu are held, "
			 "the rest when it has grown",
			 info.name, (unsigned long long)info.size_bytes,
			 (unsigned long long)h->length, (unsigned long long)h->offset,
			 (unsigned long long)(info.size_bytes - h->offset));
	return 0;
}

static int hold(struct hold *h)
{
	struct lh_error err;

	if (lh_hold(h->ex, h->offset, h->all ? LH_ALL : h->length,
		    h->write ? LH_READ | LH_WRITE : LH_READ, h->allocate ? LH_HOLD_ALLOCATE : 0,
		    NULL, &err) == 0)
		return 0;
	(void)cli_fail(&err);
	if (err.code == -ENODATA && !h->allocate)
		cli_note("that is: give --allocate");
	return EXIT_FAILED;
}

static int run(int argc, char **argv)
{
	struct hold h = {.length = LH_ALL};
	uint64_t begun;
	int rc = parse(&h, argc, argv);

	if (rc != -1)
		return rc;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	cli_catch_signals();
	rc = cli_open(h.uri, &h.o, &h.client, &h.ex);
	if (rc)
		return rc;
	begun = now_ns();
	rc = check_range(&h);
	if (rc)
		return cli_close(h.client, h.ex, rc);
	lh_export_on_event(h.ex, on_event, &h);
	rc = hold(&h);
	if (rc == 0)
		rc = loop(&h);
	if (rc == 0)
		summary(&h, now_ns() - begun);
	lh_export_on_event(h.ex, NULL, NULL);
	return cli_close(h.client, h.ex, rc);
}

const struct verb verb_hold = {
	.name = "hold",
	.usage = "[OPTIONS] TARGET",
	.only_direct = true,
	.summary = "hold grants over a range and tell what happens to them",
	.help = "\nPrints a line per event, in seconds of CLOCK_MONOTONIC: granted, told, "
		"released,\n"
		"regranted, fenced, range error. Goes on over recalls. Ends on SIGINT with a "
		"summary.\n"
		"      --range OFF:LEN    what to hold (default: all, whatever it becomes)\n"
		"      --seconds N        for how long (default: until a signal)\n"
		"      --write            write a counter through the grant, 4 KiB at a time\n"
		"      --allocate         have holes filled (also: --acquire allocate)\n"
		"      --try-old-key      after a recall use the old key once more, on the queue "
		"that "
		"it\n"
		"                         was granted to, and tell whether it is refused; the "
		"queue "
		"ends\n"
		"                         of that, and another is opened\n"
		"      --replay           write again what was not confirmed when a grant died\n"
		"      --json             events as JSON, one a line\n"
		"\nExamples:\n"
		"  leasehold hold iwarp://127.0.0.1/data\n"
		"  leasehold hold --write --allocate --try-old-key iwarp://127.0.0.1/data &\n"
		"  cat /mnt/dax/data >/dev/null            # on the target: an open recalls\n"
		"  leasehold export resize data 128M       # so does a new size\n",
	.run = run,
};
