// SPDX-License-Identifier: BSD-3-Clause
/*
 * A ring of buffers: each is filled, sent on its way, waited for in turn. Owns its buffers while a
 * transfer runs. Main thread.
 */
#include "transfer.h"

#include "cli/progress.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PROGRESS_EVERY_NS (100 * NS_PER_MS)
#define PERSIST_ROUNDS	  5

struct piece {
	struct lh_op *op;
	uint8_t *buf;
	uint64_t at; /* from the beginning of the transfer */
	uint64_t length;
};

/* What a pass does with a piece before it is sent, and when it is back. 0 or an exit code. */
struct pass {
	const char *what;
	unsigned int flags;
	int (*before)(struct transfer *t, const struct piece *p);
	int (*after)(struct transfer *t, const struct piece *p);
};

/* ---- options --------------------------------------------------------------------------------- */

static int take_size(const struct verb *verb, const char *name, uint64_t *value)
{
	return cli_size(verb, name, optarg, value) ? EXIT_USAGE : -1;
}

static int take_depth(const struct verb *verb, struct transfer *t)
{
	uint64_t depth;
	int rc = take_size(verb, "--depth", &depth);

	if (rc != -1)
		return rc;
	if (depth < 1 || depth > TRANSFER_DEPTH_MAX)
		return cli_usage(verb, "--depth: give 1 to %u", TRANSFER_DEPTH_MAX);
	t->depth = (unsigned int)depth;
	return -1;
}

int transfer_option(const struct verb *verb, int c, struct target_options *o, struct transfer *t)
{
	switch (c) {
	case OPT_VERIFY:
		t->verify = true;
		return -1;
	case OPT_OFFSET:
		return take_size(verb, "--offset", &t->offset);
	case OPT_LENGTH:
		t->length_given = true;
		return take_size(verb, "--length", &t->length);
	case OPT_DEPTH:
		return take_depth(verb, t);
	default:
		return cli_option(verb, c, o);
	}
}

/* ---- the file's side ------------------------------------------------------------------------- */

static int read_piece(struct transfer *t, uint8_t *buf, uint64_t at, uint64_t length)
{
	uint64_t done = 0;

	while (done < length) {
		ssize_t n = pread(t->fd, buf + done, length - done,
				  (off_t)(t->file_offset + at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return cli_failf(EXIT_FAILED, "%s: %s", t->path,
					 n < 0 ? strerror(errno) : "it became shorter meanwhile");
		done += (uint64_t)n;
	}
	return 0;
}

static int fill(struct transfer *t, const struct piece *p)
{
	return read_piece(t, p->buf, p->at, p->length);
}

static int store(struct transfer *t, const struct piece *p)
{
	uint64_t done = 0;

	while (done < p->length) {
		ssize_t n = pwrite(t->fd, p->buf + done, p->length - done,
				   (off_t)(t->file_offset + p->at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cli_failf(EXIT_FAILED, "%s: %s", t->path, strerror(errno));
		done += (uint64_t)n;
	}
	return 0;
}

static int compare(struct transfer *t, const struct piece *p)
{
	uint8_t *file = malloc(p->length);
	int rc;

	if (!file)
		return cli_failf(EXIT_FAILED, "out of memory");
	rc = read_piece(t, file, p->at, p->length);
	for (uint64_t i = 0; rc == 0 && i < p->length; i++) {
		if (file[i] != p->buf[i]) {
			t->differs_at = t->offset + p->at + i;
			rc = cli_failf(EXIT_MISMATCH,
				       "verify: byte %llu of the export is %02xh, %s has %02xh",
				       (unsigned long long)t->differs_at, p->buf[i], t->path,
				       file[i]);
		}
	}
	free(file);
	return rc;
}

/* ---- progress -------------------------------------------------------------------------------- */

struct meter {
	const char *what;
	bool on;
	uint64_t begun_ns, shown_ns;
	uint64_t total;
};

static void meter_show(struct meter *m, uint64_t done, bool last)
{
	char line[256];
	struct winsize size;
	uint64_t now;

	if (!m->on)
		return;
	now = now_ns();
	if (!last && now - m->shown_ns < PROGRESS_EVERY_NS)
		return;
	m->shown_ns = now;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 20)
		size.ws_col = 80;
	if (last) {
		(void)fprintf(stderr, "\r%*s\r", size.ws_col - 1, "");
		return;
	}
	progress_line(m->what, done, m->total, now - m->begun_ns,
		      (unsigned int)min_u64(size.ws_col - 1u, sizeof(line) - 1), line,
		      sizeof(line));
	(void)fprintf(stderr, "\r%s", line);
}

/* ---- the ring -------------------------------------------------------------------------------- */

/* `failed`: an error was told; of what is still out only the return is of interest. */
static int retire(struct transfer *t, const struct pass *pass, struct piece *p, bool failed)
{
	struct lh_op *op = p->op;
	struct lh_error err;

	p->op = NULL;
	if (lh_wait(op, -1, &err) < 0)
		return failed ? 0 : cli_fail(&err);
	if (failed)
		return 0;
	return pass->after ? pass->after(t, p) : 0;
}

static int launch(struct transfer *t, const struct pass *pass, struct piece *p)
{
	struct lh_io io = {.flags = pass->flags | (t->block ? LH_IO_BLOCK : 0),
			   .offset = t->offset + p->at,
			   .length = p->length,
			   .buf = p->buf};
	struct lh_error err;
	int rc = pass->before ? pass->before(t, p) : 0;

	if (rc)
		return rc;
	return lh_submit(t->ex, &io, &p->op, &err) < 0 ? cli_fail(&err) : 0;
}

static int run_ring(struct transfer *t, const struct pass *pass, struct piece *pieces)
{
	struct meter meter = {.what = pass->what,
			      .on = !t->quiet && isatty(STDERR_FILENO),
			      .begun_ns = now_ns(),
			      .total = t->length};
	uint64_t at = 0;
	unsigned int next = 0;
	int rc = 0;

	assert(t->depth >= 1 && t->depth <= TRANSFER_DEPTH_MAX);
	meter.shown_ns = meter.begun_ns;
	while (at < t->length && rc == 0) {
		struct piece *p = &pieces[next];

		if (p->op)
			rc = retire(t, pass, p, false);
		if (rc == 0 && cli_interrupted)
			rc = cli_failf(EXIT_FAILED, "interrupted");
		if (rc)
			break;
		p->at = at;
		p->length = min_u64(t->piece_bytes, t->length - at);
		rc = launch(t, pass, p);
		at += p->length;
		meter_show(&meter, at, false);
		next = (next + 1) % t->depth;
	}
	/* What is out must come back, whatever happened: the buffers are theirs till then. */
	for (unsigned int i = 0; i < t->depth; i++) {
		struct piece *p = &pieces[(next + i) % t->depth];
		int one = p->op ? retire(t, pass, p, rc != 0) : 0;

		rc = rc ? rc : one;
	}
	meter_show(&meter, at, true);
	return rc;
}

static int run_pass(struct transfer *t, const struct pass *pass)
{
	struct piece pieces[TRANSFER_DEPTH_MAX] = {0};
	uint8_t *mem = lh_alloc(t->client, t->depth * t->piece_bytes);
	int rc;

	if (!mem)
		return cli_failf(EXIT_FAILED,
				 "%u buffers of %llu bytes cannot be registered: %s (ask for less "
				 "--depth, or raise ulimit -l)",
				 t->depth, (unsigned long long)t->piece_bytes, strerror(errno));
	for (unsigned int i = 0; i < t->depth; i++)
		pieces[i].buf = mem + i * t->piece_bytes;
	rc = run_ring(t, pass, pieces);
	lh_free(t->client, mem);
	return rc;
}

int transfer_put(struct transfer *t)
{
	static const struct pass pass = {.what = "put", .flags = LH_IO_WRITE, .before = fill};

	return run_pass(t, &pass);
}

int transfer_get(struct transfer *t)
{
	static const struct pass pass = {.what = "get", .after = store};

	return run_pass(t, &pass);
}

int transfer_compare(struct transfer *t)
{
	static const struct pass pass = {.what = "verify", .after = compare};

	return run_pass(t, &pass);
}

/* ---- holding and making sure ----------------------------------------------------------------- */

int transfer_hold(struct transfer *t, unsigned int access, bool allocate)
{
	const unsigned int flags = allocate ? LH_HOLD_ALLOCATE : 0;
	const bool can_allocate = access & LH_WRITE;
	struct lh_error err;
	int rc;

	if (t->block || t->length == 0)
		return 0;
	if (t->no_fallback) {
		rc = lh_hold(t->ex, t->offset, t->length, access, flags, NULL, &err);
		return rc < 0 ? cli_not_held(&err, true, can_allocate) : 0;
	}
	rc = lh_hold(t->ex, t->offset, t->length, access, flags | LH_HOLD_BRIEF, NULL, &err);
	if (rc == -ETIMEDOUT) {
		cli_note("going by block commands until it is granted: %s", err.text);
		rc = lh_hold(t->ex, t->offset, t->length, access, flags | LH_HOLD_NOWAIT, NULL,
			     &err);
	}
	switch (rc) {
	case 0:
		return 0;
	case -ENODATA:
	case -EOPNOTSUPP:
	case -EBUSY:
	case -EDQUOT:
		(void)snprintf(t->way_why, sizeof(t->way_why), "%s", err.text);
		t->block = true;
		return cli_not_held(&err, false, can_allocate);
	default:
		return cli_fail(&err);
	}
}

/* Writes again the pieces whose grant died before they were confirmed. */
static int mend(struct transfer *t, bool *dead)
{
	uint8_t *buf = lh_alloc(t->client, t->piece_bytes);
	struct lh_error err;
	int rc = 0;

	if (!buf)
		return cli_failf(EXIT_FAILED, "out of memory");
	*dead = false;
	for (uint64_t at = 0; at < t->length && rc == 0; at += t->piece_bytes) {
		uint64_t n = min_u64(t->piece_bytes, t->length - at);

		if (lh_persist(t->ex, t->offset + at, n, &err) != -LH_EDEAD)
			continue;
		*dead = true;
		lh_forget(t->ex, t->offset + at, n);
		rc = read_piece(t, buf, at, n);
		if (rc == 0 && lh_write(t->ex, t->offset + at, buf, n, &err) < 0)
			rc = cli_fail(&err);
	}
	lh_free(t->client, buf);
	return rc;
}

int transfer_persist(struct transfer *t)
{
	struct lh_export_info info;
	struct lh_error err;
	bool dead = true;
	int rc = 0;

	if (!t->block) {
		for (unsigned int round = 0; rc == 0 && dead && round < PERSIST_ROUNDS; round++) {
			dead = lh_persist(t->ex, t->offset, t->length, &err) == -LH_EDEAD;
			if (dead)
				rc = mend(t, &dead);
		}
		if (rc)
			return rc;
		if (dead)
			return cli_failf(EXIT_FAILED, "%s", err.text);
	}
	/* During recalls part of it went by block commands. */
	if (lh_export_info(t->ex, false, &info, &err) == 0 && info.volatile_cache &&
	    lh_flush(t->ex, &err) < 0)
		return cli_fail(&err);
	return 0;
}

/* ---- the report ------------------------------------------------------------------------------ */

void transfer_count(struct transfer *t)
{
	struct lh_stats s;

	t->by_direct = 0;
	t->by_block = t->length;
	if (t->block)
		return;
	lh_export_stats(t->ex, &s);
	t->by_block = s.fallback_bytes;
	t->by_direct = s.direct_read_bytes + s.direct_write_bytes - s.fallback_bytes;
}

static const char *way(const struct transfer *t)
{
	if (t->by_block == 0)
		return t->block ? "block" : "direct";
	return t->by_direct ? "mixed" : "block";
}

static void print_way(const struct transfer *t)
{
	char direct[PROGRESS_TEXT_BYTES], block[PROGRESS_TEXT_BYTES];

	progress_bytes(t->by_direct, direct);
	progress_bytes(t->by_block, block);
	if (strcmp(way(t), "mixed") == 0)
		(void)printf(", %s directly, %s by block commands", direct, block);
	else
		(void)printf(", %s",
			     t->by_direct || !t->by_block ? "directly" : "by block commands");
}

void transfer_report(const struct transfer *t, const char *verb, bool json, bool verified)
{
	char size[PROGRESS_TEXT_BYTES], rate[PROGRESS_TEXT_BYTES];
	struct lh_stats stats;

	lh_export_stats(t->ex, &stats);
	if (json) {
		struct json_object *o = json_object_new_object();

		(void)json_object_object_add(o, "verb", json_object_new_string(verb));
		(void)json_object_object_add(o, "way", json_object_new_string(way(t)));
		if (t->way_why[0])
			(void)json_object_object_add(o, "way_why",
						     json_object_new_string(t->way_why));
		(void)json_object_object_add(o, "bytes", json_object_new_uint64(t->length));
		(void)json_object_object_add(o, "direct_bytes",
					     json_object_new_uint64(t->by_direct));
		(void)json_object_object_add(o, "block_bytes", json_object_new_uint64(t->by_block));
		(void)json_object_object_add(o, "seconds",
					     json_object_new_double((double)t->ns / 1e9));
		(void)json_object_object_add(
			o, "bytes_per_second",
			json_object_new_uint64(
				t->ns ? (uint64_t)((double)t->length * 1e9 / (double)t->ns) : 0));
		(void)json_object_object_add(o, "verified", json_object_new_boolean(verified));
		(void)json_object_object_add(o, "fallbacks",
					     json_object_new_uint64(stats.fallbacks));
		(void)json_object_object_add(o, "retries", json_object_new_uint64(stats.retries));
		(void)json_object_object_add(o, "recalls", json_object_new_uint64(stats.recalls));
		(void)json_object_object_add(o, "fenced", json_object_new_uint64(stats.fenced));
		(void)json_object_object_add(o, "dead_bytes",
					     json_object_new_uint64(stats.dead_bytes));
		(void)puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
		(void)json_object_put(o);
		return;
	}
	progress_bytes(t->length, size);
	progress_rate(t->length, t->ns, rate);
	(void)printf("%s %s in %.2f s, %s", verb, size, (double)t->ns / 1e9, rate);
	print_way(t);
	if (verified)
		(void)printf(", verified");
	if (stats.recalls)
		(void)printf(" (%llu recall%s)", (unsigned long long)stats.recalls,
			     stats.recalls == 1 ? "" : "s");
	if (stats.fallbacks)
		(void)printf(
			" (%llu operation%s went by block commands, where nothing was granted)",
			(unsigned long long)stats.fallbacks, stats.fallbacks == 1 ? "" : "s");
	(void)putchar('\n');
}
