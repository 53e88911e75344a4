// SPDX-License-Identifier: BSD-3-Clause
/*
 * leasehold bench: how fast an export is from here. Rows of one way (direct, block), one direction, one size and
 * one depth each, for some seconds, with percentiles; at random places of a range.
 */
#include "cli.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/latency.h"
#include "cli/progress.h"

#define DEPTH_MAX	64
#define SIZE_MAX_BYTES	MIB(16)
#define DEFAULT_SECONDS 2
#define SECONDS_MAX	3600
#define WARM_UP_NS	(100 * NS_PER_MS)

enum {
	OPT_WRITE = OPT_VERB,
	OPT_PERSIST,
	OPT_SIZE,
	OPT_DEPTH,
	OPT_SECONDS,
	OPT_RANGE,
};

struct bench {
	struct target_options target;
	bool write, persist, ranged;
	uint64_t size, depth; /* 0: the rows below */
	uint64_t seconds;
	uint64_t offset, length;
	struct lh_client *client;
	struct lh_export *ex;
	uint8_t *memory;
	uint64_t random;
	struct json_object *rows;
};

static const struct {
	uint64_t size, depth;
} shapes[] = {{KIB(4), 1}, {KIB(4), 16}, {KIB(64), 4}, {MIB(1), 2}};

struct row {
	bool block, write;
	uint64_t size, depth;
	uint64_t ns; /* that it took */
	struct latency latency;
};

/* ---- one row --------------------------------------------------------------------------------- */

/* xorshift64 */
static uint64_t random_place(struct bench *b, uint64_t size)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return b->offset + b->random % (b->length / size) * size;
}

struct slot {
	struct lh_op *op;
	uint64_t begun_ns;
};

static int submit(struct bench *b, const struct row *r, unsigned int i, struct slot *slot,
		  struct lh_error *err)
{
	unsigned int flags = (r->write ? LH_IO_WRITE : 0) | (r->block ? LH_IO_BLOCK : 0);

	if (r->write && b->persist)
		flags |= LH_IO_DURABLE;
	slot->begun_ns = now_ns();
	return lh_submit(b->ex,
			 &(struct lh_io){
				 .flags = flags,
				 .offset = random_place(b, r->size),
				 .length = r->size,
				 .buf = b->memory + i * r->size,
			 },
			 &slot->op, err);
}

/* Waits for the operations there are, whatever comes of them. */
static void drain(struct slot *slots, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		if (slots[i].op)
			(void)lh_wait(slots[i].op, -1, NULL);
	}
}

/* Keeps `depth` operations going until `end_ns`. The errors are those of the library. */
static int keep_going(struct bench *b, struct row *r, uint64_t end_ns, struct lh_error *err)
{
	struct slot slots[DEPTH_MAX] = {0};
	struct lh_op *ops[DEPTH_MAX];
	int rc = 0;

	for (unsigned int i = 0; i < r->depth && rc == 0; i++)
		rc = submit(b, r, i, &slots[i], err);
	while (rc == 0 && now_ns() < end_ns && !cli_interrupted) {
		size_t which = 0;

		for (unsigned int i = 0; i < r->depth; i++)
			ops[i] = slots[i].op;
		if (r->depth > 1)
			rc = lh_wait_any(ops, r->depth, -1, &which, err);
		if (rc == 0) {
			rc = lh_wait(slots[which].op, -1, err);
			slots[which].op = NULL;
		}
		if (rc)
			break;
		latency_add(&r->latency, now_ns() - slots[which].begun_ns);
		rc = submit(b, r, (unsigned int)which, &slots[which], err);
	}
	drain(slots, (unsigned int)r->depth);
	return rc;
}

/* Of a bench that is interrupted the row is what there is of it. */
static int measure(struct bench *b, struct row *r, struct lh_error *err)
{
	uint64_t begun;
	int rc = keep_going(b, r, now_ns() + WARM_UP_NS, err);

	if (rc)
		return rc;
	memset(&r->latency, 0, sizeof(r->latency));
	begun = now_ns();
	rc = keep_going(b, r, begun + b->seconds * NS_PER_S, err);
	r->ns = now_ns() - begun;
	return rc;
}

/* ---- what it came to ------------------------------------------------------------------------- */

static double us(uint64_t ns)
{
	return (double)ns / (double)NS_PER_US;
}

static double per_second(const struct row *r)
{
	return (double)r->latency.count / ((double)r->ns / (double)NS_PER_S);
}

static void put_double(struct json_object *o, const char *key, double value)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%.3f", value);
	json_object_object_add(o, key, json_object_new_double_s(value, text));
}

static struct json_object *row_json(const struct bench *b, const struct row *r)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "way", json_object_new_string(r->block ? "block" : "direct"));
	json_object_object_add(o, "op", json_object_new_string(r->write ? "write" : "read"));
	json_object_object_add(o, "persist", json_object_new_boolean(r->write && b->persist));
	json_object_object_add(o, "size_bytes", json_object_new_int64((int64_t)r->size));
	json_object_object_add(o, "depth", json_object_new_int64((int64_t)r->depth));
	json_object_object_add(o, "operations", json_object_new_int64((int64_t)r->latency.count));
	put_double(o, "seconds", (double)r->ns / (double)NS_PER_S);
	put_double(o, "operations_per_second", per_second(r));
	put_double(o, "bytes_per_second", per_second(r) * (double)r->size);
	put_double(o, "mean_us", us(latency_mean(&r->latency)));
	put_double(o, "p50_us", us(latency_at(&r->latency, .5)));
	put_double(o, "p99_us", us(latency_at(&r->latency, .99)));
	put_double(o, "p999_us", us(latency_at(&r->latency, .999)));
	put_double(o, "max_us", us(r->latency.max_ns));
	return o;
}

static void print_row(const struct row *r)
{
	char size[PROGRESS_TEXT_BYTES], rate[PROGRESS_TEXT_BYTES];

	progress_bytes(r->size, size);
	progress_rate(r->latency.count * r->size, r->ns, rate);
	(void)printf("%-6s  %-5s  %8s  %5llu  %9.0f  %11s  %8.1f  %8.1f  %8.1f  %8.1f  %8.1f\n",
		     r->block ? "block" : "direct", r->write ? "write" : "read", size,
		     (unsigned long long)r->depth, per_second(r), rate,
		     us(latency_mean(&r->latency)), us(latency_at(&r->latency, .5)),
		     us(latency_at(&r->latency, .99)), us(latency_at(&r->latency, .999)),
		     us(r->latency.max_ns));
	(void)fflush(stdout);
}

static int one_row(struct bench *b, bool block, uint64_t size, uint64_t depth)
{
	struct row *r = calloc(1, sizeof(*r));
	struct lh_error err;
	int rc;

	if (!r)
		return cli_failf(EXIT_FAILED, "out of memory");
	*r = (struct row){.block = block, .write = b->write, .size = size, .depth = depth};
	rc = measure(b, r, &err);
	if (rc)
		rc = cli_fail(&err);
	else if (r->latency.count == 0)
		rc = EXIT_OK; /* interrupted before the first */
	else if (b->target.json)
		json_object_array_add(b->rows, row_json(b, r));
	else
		print_row(r);
	free(r);
	return rc;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static int rows_of(struct bench *b, bool block)
{
	int rc = EXIT_OK;

	if (b->size || b->depth)
		return one_row(b, block, b->size ? b->size : KIB(4), b->depth ? b->depth : 1);
	for (size_t i = 0; i < ARRAY_SIZE(shapes) && rc == EXIT_OK && !cli_interrupted; i++) {
		if (shapes[i].size <= b->length)
			rc = one_row(b, block, shapes[i].size, shapes[i].depth);
	}
	return rc;
}

/* What is not granted would go by block commands, and be taken for direct. */
static int hold_range(struct bench *b, bool *held)
{
	unsigned int access = b->write ? LH_READ | LH_WRITE : LH_READ;
	struct lh_hold_info info;
	struct lh_hold *hold;
	struct lh_error err;

	*held = false;
	if (b->target.block)
		return EXIT_OK;
	if (lh_hold(b->ex, b->offset, b->length, access, LH_HOLD_BRIEF, &hold, &err) < 0) {
		if (b->target.direct || b->target.lh.no_fallback)
			return cli_fail(&err);
		cli_note("not direct: %s", err.text);
		return EXIT_OK;
	}
	lh_hold_info(hold, &info);
	if (info.granted_bytes < b->length) {
		if (b->target.direct || b->target.lh.no_fallback)
			return cli_failf(
				EXIT_FAILED,
				"%llu of %llu bytes are granted: the others have no blocks "
				"of their own (holes, or shared with a clone)",
				(unsigned long long)info.granted_bytes,
				(unsigned long long)b->length);
		cli_note("not direct: %llu of %llu bytes are granted",
			 (unsigned long long)info.granted_bytes, (unsigned long long)b->length);
		return EXIT_OK;
	}
	*held = true;
	return EXIT_OK;
}

static int bench(struct bench *b)
{
	uint64_t room = b->size || b->depth
				? (b->size ? b->size : KIB(4)) * (b->depth ? b->depth : 1)
				: MIB(2);
	bool held;
	int rc;

	b->memory = lh_alloc(b->client, room);
	if (!b->memory)
		return cli_failf(EXIT_FAILED, "out of memory");
	for (uint64_t i = 0; i < room; i++)
		b->memory[i] = (uint8_t)(i * 131);
	rc = hold_range(b, &held);
	if (rc == EXIT_OK && !b->target.json)
		(void)printf("%-6s  %-5s  %8s  %5s  %9s  %11s  %8s  %8s  %8s  %8s  %8s\n", "WAY",
			     "OP", "SIZE", "DEPTH", "OPS/S", "RATE", "MEAN US", "P50", "P99",
			     "P99.9", "MAX");
	b->rows = json_object_new_array();
	if (rc == EXIT_OK && held)
		rc = rows_of(b, false);
	if (rc == EXIT_OK && !b->target.direct && !b->target.lh.no_fallback && !cli_interrupted)
		rc = rows_of(b, true);
	if (rc == EXIT_OK && b->target.json)
		(void)puts(json_object_to_json_string_ext(b->rows, JSON_C_TO_STRING_PRETTY));
	(void)json_object_put(b->rows);
	lh_free(b->client, b->memory);
	return rc;
}

static int check_range(struct bench *b)
{
	uint64_t largest = b->size ? b->size : KIB(4);
	struct lh_export_info info;
	int rc;

	rc = cli_range(b->ex, b->offset, b->ranged ? b->length : 0, &info);
	if (rc)
		return rc;
	if (!b->ranged)
		b->length = info.size_bytes;
	if (info.read_only && b->write)
		return cli_failf(EXIT_FAILED, "%s is read-only", info.name);
	if (b->length < largest)
		return cli_failf(EXIT_FAILED, "%llu bytes are less than one operation of %llu",
				 (unsigned long long)b->length, (unsigned long long)largest);
	return EXIT_OK;
}

static int take_number(const char *option, const char *text, uint64_t most, uint64_t *value)
{
	if (size_parse(text, value) == 0 && *value >= 1 && *value <= most)
		return -1;
	return cli_usage(&verb_bench, "%s %s: give a number from 1 to %llu", option, text,
			 (unsigned long long)most);
}

static int take_option(struct bench *b, int c)
{
	int rc;

	switch (c) {
	case OPT_WRITE:
		b->write = true;
		return -1;
	case OPT_PERSIST:
		b->persist = true;
		return -1;
	case OPT_SIZE:
		return take_number("--size", optarg, SIZE_MAX_BYTES, &b->size);
	case OPT_DEPTH:
		return take_number("--depth", optarg, DEPTH_MAX, &b->depth);
	case OPT_SECONDS:
		return take_number("--seconds", optarg, SECONDS_MAX, &b->seconds);
	case OPT_RANGE:
		rc = cli_span(&verb_bench, optarg, &b->offset, &b->length);
		if (rc)
			return rc;
		if (b->length == UINT64_MAX)
			return cli_usage(&verb_bench, "--range %s: write it as OFFSET:LENGTH",
					 optarg);
		b->ranged = true;
		return -1;
	default:
		return cli_option(&verb_bench, c, &b->target);
	}
}

static int run(int argc, char **argv)
{
	static const struct option options[] = {TARGET_LONG_OPTIONS,
						{"write", no_argument, NULL, OPT_WRITE},
						{"persist", no_argument, NULL, OPT_PERSIST},
						{"size", required_argument, NULL, OPT_SIZE},
						{"depth", required_argument, NULL, OPT_DEPTH},
						{"seconds", required_argument, NULL, OPT_SECONDS},
						{"range", required_argument, NULL, OPT_RANGE},
						{0}};
	struct bench b = {.seconds = DEFAULT_SECONDS, .random = 88172645463325252ull};
	int c, rc;

	while ((c = getopt_long(argc, argv, TARGET_SHORT_OPTIONS, options, NULL)) != -1) {
		rc = take_option(&b, c);
		if (rc != -1)
			return rc;
	}
	if (argc - optind != 1)
		return cli_usage(&verb_bench, "bench wants one target");
	if (b.write && !b.ranged)
		return cli_usage(&verb_bench, "--write overwrites: say which bytes, by --range "
					      "OFFSET:LENGTH");
	if (b.persist && !b.write)
		return cli_usage(&verb_bench, "--persist is of writes: add --write");
	cli_catch_signals();
	rc = cli_open(argv[optind], &b.target, &b.client, &b.ex);
	if (rc)
		return rc;
	rc = check_range(&b);
	if (rc == EXIT_OK)
		rc = bench(&b);
	return cli_close(b.client, b.ex, rc);
}

const struct verb verb_bench = {
	.name = "bench",
	.usage = "[OPTIONS] TARGET",
	.summary = "measure how fast an export is from here",
	.help = "\nReads at random places, directly and by block commands, some sizes and depths\n"
		"one after another, and prints rates and times. Nothing is changed without "
		"--write.\n"
		"\n      --write            write instead; what is in the range is lost\n"
		"      --persist          with --write: each is done when it is durable\n"
		"      --range OFF:LEN    in these bytes (default: all of the export)\n"
		"      --size BYTES       of one operation, at most 16M; one row (default of that: "
		"4k)\n"
		"      --depth N          operations at a time, at most 64; one row (default of "
		"that: 1)\n"
		"      --seconds N        for each row (default 2)\n"
		"\nExamples:\n"
		"  leasehold bench iwarp://127.0.0.1/data\n"
		"  leasehold bench --direct --size 4k --depth 16 rdma://storage1/data\n"
		"  leasehold bench --write --persist --range 1G:64M rdma://storage1/scratch\n"
		"  leasehold bench -o json iwarp://127.0.0.1/data | jq '.[] | [.way, .p99_us]'\n",
	.run = run,
};
