// SPDX-License-Identifier: BSD-3-Clause
/*
 * Several threads read and write one export through one handle, each its own slice of it, against a
 * copy in memory; whatever happens to the grants meanwhile (the test script sees to that), what is
 * read must be what was written. For tests/e2e.
 *
 *	lh-stress TARGET SECONDS THREADS [seed N] [replay] [no-fallback] [block] [lazy]
 *		[range OFFSET LENGTH] [pause MS] [blind]
 *
 * SIGINT ends it early. With a range it leaves the rest of the export alone; with a pause it rests
 * between two operations. Blind it only writes, where others change the file too: whatever comes of it,
 * and without filling holes first; it says "writing" when the first bytes have got there, by a grant
 * unless `block` keeps it from having any.
 * Exit status: 0 all was right, 1 it was not, 2 usage. Prints what the library counted.
 */
#include "leasehold.h"

#include "util/util.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS_MAX 16
#define OPS	    8
#define IO_MAX	    KIB(192)

struct worker {
	pthread_t thread;
	unsigned int index;
	uint64_t random;
	uint64_t base, length; /* the slice */
	uint8_t *shadow;       /* what should be there */
	uint8_t *registered;   /* OPS buffers of IO_MAX */
	uint8_t *plain;	       /* as many, that pass through the library's */
	uint64_t writes, reads, dead;
};

static struct lh_client *client;
static struct lh_export *ex;
static _Atomic bool stop, failed;
static bool block_only, replay, lazy, blind;
static uint64_t range_offset, range_length = LH_ALL, pause_ms;
static _Atomic uint64_t blind_bytes; /* that got there */

static void on_signal(int number)
{
	(void)number;
	atomic_store(&stop, true);
}

static void rest(uint64_t ms)
{
	const struct timespec ts = {.tv_sec = (time_t)(ms / 1000),
				    .tv_nsec = (long)(ms % 1000 * NS_PER_MS)};

	(void)nanosleep(&ts, NULL);
}

static uint64_t next_random(struct worker *w)
{
	/* xorshift64 */
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

static void complain(const struct worker *w, const char *what, const char *why)
{
	(void)fprintf(stderr, "thread %u: %s: %s\n", w->index, what, why);
	atomic_store(&failed, true);
	atomic_store(&stop, true);
}

/* Any place and length in the slice; often small, sometimes aligned. */
static void pick(struct worker *w, uint64_t *offset, uint64_t *length)
{
	const uint64_t kind = next_random(w) % 4;

	*length = kind == 0   ? 4096
		  : kind == 1 ? next_random(w) % 64 + 1
			      : next_random(w) % IO_MAX + 1;
	*length = min_u64(*length, w->length);
	*offset = next_random(w) % (w->length - *length + 1);
	if (kind == 0)
		*offset = align_down(*offset, 4096);
}

static uint8_t *buffer(struct worker *w, unsigned int i)
{
	return (next_random(w) & 1 ? w->registered : w->plain) + i * IO_MAX;
}

static bool check(const struct worker *w, const uint8_t *got, uint64_t offset, uint64_t length)
{
	char why[128];

	for (uint64_t i = 0; i < length; i++) {
		if (got[i] == w->shadow[offset + i])
			continue;
		(void)snprintf(why, sizeof(why), "byte %llu is %02xh and should be %02xh",
			       (unsigned long long)w->base + offset + i, got[i],
			       w->shadow[offset + i]);
		complain(w, "read", why);
		return false;
	}
	return true;
}

/* Confirms; what died is written again from the copy. */
static bool persist(struct worker *w)
{
	struct lh_error err;
	int rc = lh_persist(ex, w->base, w->length, &err);

	while (rc == -LH_EDEAD && !replay) {
		w->dead++;
		rc = lh_write(ex, w->base, w->shadow, w->length, &err);
		if (rc == 0)
			rc = lh_persist(ex, w->base, w->length, &err);
	}
	if (rc < 0)
		complain(w, "persist", err.text);
	return rc == 0;
}

static bool write_one(struct worker *w)
{
	uint64_t offset, length;
	uint8_t *buf = buffer(w, 0);
	struct lh_error err;

	pick(w, &offset, &length);
	for (uint64_t i = 0; i < length; i++)
		buf[i] = (uint8_t)next_random(w);
	memcpy(w->shadow + offset, buf, length);
	w->writes++;
	if (lh_write(ex, w->base + offset, buf, length, &err) == 0)
		return true;
	complain(w, "write", err.text);
	return false;
}

/*
 * What was written and not confirmed may be lost with its grant, and a read would show it: persist
 * first. (Without a recall in between the read alone would do.)
 */
static bool read_one(struct worker *w)
{
	uint64_t offset, length;
	uint8_t *buf = buffer(w, 0);
	struct lh_error err;

	if (!persist(w))
		return false;
	pick(w, &offset, &length);
	w->reads++;
	if (lh_read(ex, w->base + offset, buf, length, &err) < 0) {
		complain(w, "read", err.text);
		return false;
	}
	return check(w, buf, offset, length);
}

/* Several in flight at once, over pieces that do not touch. */
static bool burst(struct worker *w)
{
	const uint64_t step = min_u64(w->length / OPS, IO_MAX);
	struct lh_op *ops[OPS] = {NULL};
	struct lh_error err;
	bool ok = true;

	for (unsigned int i = 0; i < OPS && ok; i++) {
		struct lh_io io = {.flags = LH_IO_WRITE,
				   .offset = w->base + i * step,
				   .length = step,
				   .buf = buffer(w, i)};

		memset(io.buf, (int)next_random(w), step);
		memcpy(w->shadow + i * step, io.buf, step);
		if (lh_submit(ex, &io, &ops[i], &err) < 0) {
			complain(w, "submit", err.text);
			ok = false;
		}
		w->writes++;
	}
	for (unsigned int i = 0; i < OPS; i++) {
		if (ops[i] && lh_wait(ops[i], -1, &err) < 0) {
			complain(w, "wait", err.text);
			ok = false;
		}
	}
	return ok;
}

/* Any place, any time; what cannot be written just now is not. */
static void write_blindly(struct worker *w)
{
	uint64_t offset, length;
	uint8_t *buf = buffer(w, 0);
	struct lh_error err;

	pick(w, &offset, &length);
	memset(buf, (int)next_random(w), length);
	if (lh_write(ex, w->base + offset, buf, length, &err) == 0) {
		w->writes++;
		atomic_fetch_add(&blind_bytes, length);
	} else {
		rest(1);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (blind && !atomic_load(&stop))
		write_blindly(w);
	while (!atomic_load(&stop)) {
		const uint64_t what = next_random(w) % 16;
		bool ok = what == 0 ? burst(w) : what < 5 && !lazy ? read_one(w) : write_one(w);

		if (!ok)
			break;
		if (pause_ms > 0)
			rest(pause_ms);
	}
	if (!blind && !atomic_load(&failed))
		(void)persist(w);
	return NULL;
}

static void drop(struct worker *w)
{
	free(w->shadow);
	free(w->plain);
	lh_free(client, w->registered);
}

static bool start(struct worker *w, unsigned int index, uint64_t slice, uint64_t seed)
{
	struct lh_error err;

	*w = (struct worker){.index = index,
			     .random = seed * 0x9e3779b97f4a7c15ull + index + 1,
			     .base = range_offset + index * slice,
			     .length = slice};
	w->shadow = malloc(slice);
	w->plain = malloc(OPS * IO_MAX);
	w->registered = lh_alloc(client, OPS * IO_MAX);
	if (!w->shadow || !w->plain || !w->registered)
		complain(w, "start", "out of memory");
	else if (!blind && lh_block_read(ex, w->base, w->shadow, slice, &err) < 0)
		complain(w, "first read", err.text);
	else if (pthread_create(&w->thread, NULL, work, w) == 0)
		return true;
	drop(w);
	return false;
}

/* The whole slice, the other way. */
static void finish(struct worker *w)
{
	uint8_t *all = malloc(w->length);
	struct lh_error err;

	(void)pthread_join(w->thread, NULL);
	if (all && !blind && !atomic_load(&failed)) {
		if (lh_block_read(ex, w->base, all, w->length, &err) < 0)
			complain(w, "last read", err.text);
		else
			(void)check(w, all, 0, w->length);
	}
	free(all);
	drop(w);
}

/* A write that fell back is among the library's counts before it is among ours. */
static bool first_bytes_arrived(void)
{
	const uint64_t bytes = atomic_load(&blind_bytes);
	struct lh_stats s;

	lh_export_stats(ex, &s);
	return bytes > s.fallback_bytes;
}

static int run(unsigned int threads, uint64_t seconds, uint64_t seed)
{
	struct worker workers[THREADS_MAX];
	struct lh_export_info info;
	struct lh_stats s;
	uint64_t writes = 0, reads = 0, dead = 0, slice;
	unsigned int started = 0;
	bool told = false;
	struct lh_error err;

	if (lh_export_info(ex, false, &info, &err) < 0 ||
	    (!block_only && lh_hold(ex, range_offset, range_length, LH_READ | LH_WRITE,
				    blind ? 0 : LH_HOLD_ALLOCATE, NULL, &err) < 0)) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	if (range_offset >= info.size_bytes) {
		(void)fprintf(stderr, "the range is behind the end\n");
		return 1;
	}
	slice = align_down(min_u64(range_length, info.size_bytes - range_offset) / threads, 4096);
	while (started < threads && start(&workers[started], started, slice, seed))
		started++;
	for (uint64_t end = now_ns() + seconds * NS_PER_S; now_ns() < end && !atomic_load(&stop);) {
		if (!told && first_bytes_arrived()) {
			(void)puts("writing");
			(void)fflush(stdout);
			told = true;
		}
		rest(10);
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < started; i++) {
		finish(&workers[i]);
		writes += workers[i].writes;
		reads += workers[i].reads;
		dead += workers[i].dead;
	}
	lh_export_stats(ex, &s);
	(void)printf("writes=%llu reads=%llu dead=%llu recalls=%llu regrants=%llu fenced=%llu "
		     "fallbacks=%llu retries=%llu commits=%llu reconnects=%llu replayed=%llu\n",
		     (unsigned long long)writes, (unsigned long long)reads,
		     (unsigned long long)dead, (unsigned long long)s.recalls,
		     (unsigned long long)s.regrants, (unsigned long long)s.fenced,
		     (unsigned long long)s.fallbacks, (unsigned long long)s.retries,
		     (unsigned long long)s.commits, (unsigned long long)s.reconnects,
		     (unsigned long long)s.replayed_bytes);
	return atomic_load(&failed) || started < threads ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct lh_options options = {0};
	uint64_t seconds, threads, seed = 1;
	struct lh_error err;
	int rc;

	if (argc < 4 || size_parse(argv[2], &seconds) < 0 || size_parse(argv[3], &threads) < 0 ||
	    threads < 1 || threads > THREADS_MAX) {
		(void)fprintf(stderr, "usage: lh-stress TARGET SECONDS THREADS [seed N] [replay] "
				      "[no-fallback] [block] [lazy] [range OFFSET LENGTH] "
				      "[pause MS] [blind]\n");
		return 2;
	}
	for (int i = 4; i < argc; i++) {
		if (strcmp(argv[i], "replay") == 0)
			options.replay = replay = true;
		else if (strcmp(argv[i], "no-fallback") == 0)
			options.no_fallback = true;
		else if (strcmp(argv[i], "block") == 0)
			block_only = true;
		else if (strcmp(argv[i], "lazy") == 0)
			lazy = true; /* persists at the end only */
		else if (strcmp(argv[i], "blind") == 0)
			blind = true;
		else if (strcmp(argv[i], "seed") == 0 && i + 1 < argc)
			(void)!size_parse(argv[++i], &seed);
		else if (strcmp(argv[i], "pause") == 0 && i + 1 < argc)
			(void)!size_parse(argv[++i], &pause_ms);
		else if (strcmp(argv[i], "range") == 0 && i + 2 < argc) {
			(void)!size_parse(argv[++i], &range_offset);
			(void)!size_parse(argv[++i], &range_length);
		}
	}
	(void)signal(SIGINT, on_signal);
	if (lh_open(argv[1], &options, &client, &ex, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	rc = run((unsigned int)threads, seconds, seed);
	if (lh_export_close(ex) < 0 && rc == 0 && !blind) {
		(void)fprintf(stderr, "writes died unconfirmed while closing\n");
		rc = 1;
	}
	lh_client_close(client);
	return rc;
}
