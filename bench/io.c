// SPDX-License-Identifier: BSD-3-Clause
/*
 * Reads or writes of one kind through libleasehold, again and again, and how long they take.
 *
 *	lh-bench-io TARGET direct|block WHAT BYTES DEPTH MS PID
 *
 * WHAT is `read`; `write`, which is over when the library says so: a direct one has left then, a block
 * one is acknowledged; `write-seen`, a direct write and a direct read of 8 bytes behind it, after which
 * everybody sees the bytes; `write-persist`, a direct write and lh_persist(). DEPTH are in flight at
 * once, at places at random. PID is the daemon's, for its processor time. Prints one line of JSON.
 */
#include "leasehold.h"

#include "measure.h"

#include <stdio.h>
#include <string.h>

#define WARM_PART  10 /* of the time, before it counts: so many-th */
#define SEEN_BYTES 8

struct work {
	struct lh_export *ex;
	uint64_t size; /* of the export */
	uint64_t bytes;
	unsigned int flags; /* enum lh_io_flags */
	bool seen, persist;
	struct run run;
};

/* One at a time: as a caller who wants the bytes now does it. */
static void one(struct work *w, void *buf)
{
	const uint64_t offset = random_place(w->size, w->bytes), begun = now_ns();
	struct lh_error err;
	uint64_t seen;
	int rc;

	if (w->flags & LH_IO_BLOCK)
		rc = w->flags & LH_IO_WRITE ? lh_block_write(w->ex, offset, buf, w->bytes, &err)
					    : lh_block_read(w->ex, offset, buf, w->bytes, &err);
	else
		rc = w->flags & LH_IO_WRITE ? lh_write(w->ex, offset, buf, w->bytes, &err)
					    : lh_read(w->ex, offset, buf, w->bytes, &err);
	if (rc == 0 && w->seen)
		rc = lh_read(w->ex, offset, &seen, SEEN_BYTES, &err);
	if (rc == 0 && w->persist)
		rc = lh_persist(w->ex, offset, w->bytes, &err);
	if (rc < 0)
		die("%s", err.text);
	samples_add(&w->run.samples, now_ns() - begun);
	w->run.bytes += w->bytes;
}

struct slot {
	struct lh_op *op;
	void *buf;
	uint64_t begun_ns;
};

static void start(struct work *w, struct slot *s)
{
	const struct lh_io io = {.flags = w->flags,
				 .offset = random_place(w->size, w->bytes),
				 .length = w->bytes,
				 .buf = s->buf};
	struct lh_error err;

	s->begun_ns = now_ns();
	if (lh_submit(w->ex, &io, &s->op, &err) < 0)
		die("%s", err.text);
}

static void finish(struct work *w, struct slot *s)
{
	struct lh_error err;

	if (lh_wait(s->op, -1, &err) < 0)
		die("%s", err.text);
	s->op = NULL;
	samples_add(&w->run.samples, now_ns() - s->begun_ns);
	w->run.bytes += w->bytes;
}

/* Keeps `depth` in flight until `end_ns`; the oldest is waited for. None is left. */
static void many(struct work *w, struct slot *slots, uint64_t depth, uint64_t end_ns)
{
	for (uint64_t i = 0; i < depth; i++)
		start(w, &slots[i]);
	for (uint64_t i = 0; now_ns() < end_ns; i = i + 1 < depth ? i + 1 : 0) {
		finish(w, &slots[i]);
		start(w, &slots[i]);
	}
	for (uint64_t i = 0; i < depth; i++)
		finish(w, &slots[i]);
}

static void go_on(struct work *w, struct slot *slots, uint64_t depth, uint64_t ns)
{
	const uint64_t end = now_ns() + ns;
	struct lh_error err;
	uint64_t seen;

	if (depth > 1)
		many(w, slots, depth, end);
	else
		while (now_ns() < end)
			one(w, slots[0].buf);
	/* What was written directly has to be there before the clock stops. */
	if (w->flags == LH_IO_WRITE && lh_read(w->ex, 0, &seen, SEEN_BYTES, &err) < 0)
		die("%s", err.text);
}

static void parse(struct work *w, const char *way, const char *what)
{
	const bool direct = strcmp(way, "direct") == 0;

	if (!direct && strcmp(way, "block") != 0)
		die("'%s': expected direct or block", way);
	w->flags = direct ? 0 : LH_IO_BLOCK;
	if (strcmp(what, "read") == 0)
		return;
	w->flags |= LH_IO_WRITE;
	w->seen = direct && strcmp(what, "write-seen") == 0;
	w->persist = direct && strcmp(what, "write-persist") == 0;
	if (!w->seen && !w->persist && strcmp(what, "write") != 0)
		die("'%s': expected read, write or, directly, write-seen or write-persist", what);
}

/* Connects and, for direct access, has all of it granted. */
static struct lh_client *open_export(struct work *w, const char *target)
{
	const struct lh_options options = {.no_fallback = true};
	struct lh_export_info info;
	struct lh_client *client;
	struct lh_error err;

	if (lh_open(target, &options, &client, &w->ex, &err) < 0 ||
	    lh_export_info(w->ex, false, &info, &err) < 0)
		die("%s", err.text);
	w->size = info.size_bytes;
	if (w->size < w->bytes)
		die("%s has %llu bytes, fewer than %llu", target, (unsigned long long)w->size,
		    (unsigned long long)w->bytes);
	if (!(w->flags & LH_IO_BLOCK) &&
	    lh_hold(w->ex, 0, LH_ALL, LH_READ | LH_WRITE, 0, NULL, &err) < 0)
		die("%s", err.text);
	return client;
}

int main(int argc, char **argv)
{
	struct slot slots[LH_OPS_MAX] = {0};
	struct lh_client *client;
	struct work w = {0};
	uint64_t depth, ns;
	pid_t daemon;
	uint8_t *buf;

	if (argc != 8) {
		(void)fprintf(stderr, "usage: see the head of bench/io.c, or run scripts/bench\n");
		return 2;
	}
	parse(&w, argv[2], argv[3]);
	w.bytes = number(argv[4], SEEN_BYTES, MIB(64));
	depth = number(argv[5], 1, LH_OPS_MAX);
	ns = number(argv[6], 1, 3600000) * NS_PER_MS;
	daemon = (pid_t)number(argv[7], 1, INT32_MAX);
	if (depth > 1 && (w.seen || w.persist))
		die("%s goes one at a time only", argv[3]);
	client = open_export(&w, argv[1]);
	buf = lh_alloc(client, depth * w.bytes);
	if (!buf)
		die("out of memory");
	memset(buf, 0x5a, depth * w.bytes);
	for (uint64_t i = 0; i < depth; i++)
		slots[i].buf = buf + i * w.bytes;
	go_on(&w, slots, depth, ns / WARM_PART);
	run_begin(&w.run, daemon);
	go_on(&w, slots, depth, ns);
	run_end(&w.run);
	lh_free(client, buf);
	if (lh_export_close(w.ex) < 0)
		die("what was written directly was lost");
	lh_client_close(client);
	return 0;
}
