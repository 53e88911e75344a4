// SPDX-License-Identifier: BSD-3-Clause
/*
 * Writes each range once, by libleasehold, while the target loses power and comes back; notes what it
 * was promised, and at the end reads all of it back:
 *
 *	witness TARGET FILE HOW		block | direct | replay | durable | recall
 *
 * FILE is the exported one, of zeros, on this machine. A cache line of what was acknowledged holds what
 * was written; one of what was not, that or zeros. Prints what came to be. Exit status: 0 every promise
 * was kept, 1 one was not, 2 usage.
 */
#include "leasehold.h"

#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK	  512u
#define LINE	  64u
#define SIZE	  MIB(2)
#define MAX_RANGE KIB(96)
#define OUT	  4u /* block writes in flight; direct writes before they are confirmed */
#define ROUNDS	  6u

static const char *path;
static struct lh_client *client;
static struct lh_export *ex;
static struct lh_error err;
static atomic_bool over;

struct range {
	uint64_t offset, length;
	bool promised;
};

static struct range ranges[OUT * ROUNDS];
static unsigned int nr_ranges, dead;
static uint64_t next_offset;

static void broken(int line, const char *what)
{
	(void)fprintf(stderr, "witness.c:%d: not so: %s (%s)\n", line, what, err.text);
	exit(1);
}

#define must(what)                               \
	do {                                     \
		if (!(what))                     \
			broken(__LINE__, #what); \
	} while (0)

/* ---- what is written ------------------------------------------------------------------------- */

/* No byte of a line is zero, and no two lines are the same. */
static void fill(uint8_t *line, uint64_t offset)
{
	for (unsigned int i = 0; i < LINE; i++)
		line[i] = (uint8_t)(1 + (offset / LINE >> i % 4 * 7 & 0x7f));
}

/*
 * Short ones, and some that are too long for a reactor; no two in one page, which is how death counts. A
 * page between two of them makes two ranges of a Commit.
 */
static struct range *next_range(uint8_t *bytes)
{
	static const uint64_t lengths[] = {BLOCK, KIB(4), 3 * BLOCK, KIB(20), BLOCK, MAX_RANGE};
	struct range *r = &ranges[nr_ranges];

	*r = (struct range){
		.offset = next_offset + (nr_ranges % 3 ? BLOCK : 0),
		.length = lengths[nr_ranges % ARRAY_SIZE(lengths)],
	};
	nr_ranges++;
	next_offset = align_up(r->offset + r->length, KIB(4)) + (nr_ranges % 2 ? KIB(4) : 0);
	must(next_offset <= SIZE);
	for (uint64_t at = 0; at < r->length; at += LINE)
		fill(bytes + at, r->offset + at);
	return r;
}

/* OUT at once, each promised when it is waited for. */
static void submit(unsigned int flags)
{
	static uint8_t bytes[OUT][MAX_RANGE];
	struct lh_op *ops[OUT];
	struct range *range[OUT];

	for (unsigned int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < OUT; i++) {
			struct lh_io io = {.flags = LH_IO_WRITE | flags, .buf = bytes[i]};

			range[i] = next_range(bytes[i]);
			io.offset = range[i]->offset;
			io.length = range[i]->length;
			must(lh_submit(ex, &io, &ops[i], &err) == 0);
		}
		for (size_t i = 0; i < OUT; i++) {
			must(lh_wait(ops[i], -1, &err) == 0);
			range[i]->promised = true;
		}
	}
}

static void block(void)
{
	submit(LH_IO_BLOCK);
}

static void hold(void)
{
	must(lh_hold(ex, 0, LH_ALL, LH_READ | LH_WRITE, 0, NULL, &err) == 0);
}

static void durable(void)
{
	hold();
	submit(LH_IO_DURABLE);
}

static void direct(void)
{
	static uint8_t bytes[MAX_RANGE];

	hold();
	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t from = next_offset;
		struct range *range[OUT];
		int rc;

		for (size_t i = 0; i < OUT; i++) {
			range[i] = next_range(bytes);
			must(lh_write(ex, range[i]->offset, bytes, range[i]->length, &err) == 0);
		}
		rc = lh_persist(ex, from, next_offset - from, &err);
		must(rc == 0 || rc == -LH_EDEAD);
		for (size_t i = 0; i < OUT; i++)
			range[i]->promised = rc == 0;
		if (rc) {
			dead++;
			lh_forget(ex, from, next_offset - from);
		}
	}
}

/* Opens the file, again and again, which recalls all of it. */
static void *intrude(void *arg)
{
	const struct timespec ts = {.tv_nsec = 10 * (long)NS_PER_MS};

	(void)arg;
	while (!atomic_load(&over)) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd >= 0)
			(void)close(fd);
		(void)nanosleep(&ts, NULL);
	}
	return NULL;
}

static void recalled(void)
{
	pthread_t thread;

	must(pthread_create(&thread, NULL, intrude, NULL) == 0);
	direct();
	atomic_store(&over, true);
	(void)pthread_join(thread, NULL);
}

/* ---- what is there --------------------------------------------------------------------------- */

static void check_line(const uint8_t *line, uint64_t offset, bool written, bool promised)
{
	static const uint8_t zeros[LINE];
	uint8_t wanted[LINE];

	fill(wanted, offset);
	if (written && memcmp(line, wanted, LINE) == 0)
		return;
	if (!promised && memcmp(line, zeros, LINE) == 0)
		return;
	(void)fprintf(stderr, "witness: byte %llu, %s, holds %02x %02x %02x %02x\n",
		      (unsigned long long)offset,
		      promised	? "which was acknowledged"
		      : written ? "which was written"
				: "which nobody wrote",
		      line[0], line[1], line[2], line[3]);
	exit(1);
}

static void check(void)
{
	static uint8_t bytes[SIZE];
	unsigned int next = 0;

	must(lh_block_read(ex, 0, bytes, SIZE, &err) == 0);
	for (uint64_t at = 0; at < SIZE; at += LINE) {
		const struct range *r;

		while (next < nr_ranges && at >= ranges[next].offset + ranges[next].length)
			next++;
		r = next < nr_ranges && at >= ranges[next].offset ? &ranges[next] : NULL;
		check_line(bytes + at, at, r != NULL, r && r->promised);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} ways[] = {
		{"block", block},     {"direct", direct},   {"replay", direct},
		{"durable", durable}, {"recall", recalled},
	};

	for (size_t i = 0; argc == 4 && i < ARRAY_SIZE(ways); i++) {
		struct lh_options options = {.replay = strcmp(argv[3], "replay") == 0};
		struct lh_stats s;

		if (strcmp(argv[3], ways[i].name) != 0)
			continue;
		path = argv[2];
		must(lh_open(argv[1], &options, &client, &ex, &err) == 0);
		ways[i].run();
		check();
		lh_export_stats(ex, &s);
		printf("reconnects=%llu recalls=%llu direct=%llu block=%llu replayed=%llu dead=%u "
		       "of %u\n",
		       (unsigned long long)s.reconnects, (unsigned long long)s.recalls,
		       (unsigned long long)s.direct_writes, (unsigned long long)s.block_writes,
		       (unsigned long long)s.replayed_bytes, dead, ROUNDS);
		(void)lh_export_close(ex);
		lh_client_close(client);
		return 0;
	}
	(void)fprintf(stderr, "usage: witness TARGET FILE block|direct|replay|durable|recall\n");
	return 2;
}
