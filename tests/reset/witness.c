// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a machine that is reset in the midst of writes has kept of what it promised:
 *
 *	reset-witness write TARGET DIR		until the machine is reset
 *	reset-witness check FILE DIR		afterwards
 *
 * Each way to write has a part of the export for itself, and writes its pages in an order that looks random,
 * over and over; the n-th write of a way puts its number into each line of its page. What was promised is
 * noted in DIR, which outlives the reset, before more is written. Afterwards no line may be older than the
 * last write that was promised for its page. Exit status: 0 that is so, 1 it is not, 2 usage.
 */
#include "leasehold.h"

#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE	   4096u
#define LINE	   64u
#define PART_BYTES MIB(4)
#define PAGES	   ((unsigned int)(PART_BYTES / PAGE))
#define BATCH	   4u
#define STRIDE	   389u /* has no factor in common with PAGES */

static_assert(PAGES % BATCH == 0 && (PAGES & (PAGES - 1)) == 0 && STRIDE % 2 == 1,
	      "all pages in turn");

struct line {
	uint64_t number; /* of the write, from 1 */
	uint32_t page, way;
	uint8_t rest[LINE - 16];
};
static_assert(sizeof(struct line) == LINE, "a cache line");

/** A way to write. */
struct way {
	const char *name;
	unsigned int flags;
	bool persist; /* by lh_persist() behind them */
	int notes;
};

static struct way ways[] = {
	{.name = "block", .flags = LH_IO_BLOCK},
	{.name = "durable", .flags = LH_IO_DURABLE},
	{.name = "persist", .persist = true},
};

static struct lh_client *client;
static struct lh_export *ex;
static const char *dir;

static void die(const char *what, const char *why)
{
	(void)fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static unsigned int page_of(uint64_t number)
{
	return (unsigned int)((number - 1) * STRIDE % PAGES);
}

static void notes_path(const struct way *w, char *path, size_t size)
{
	(void)snprintf(path, size, "%s/promised-%s", dir, w->name);
}

/* ---- before ---------------------------------------------------------------------------------- */

static void fill(struct line *lines, const struct way *w, uint64_t number)
{
	for (size_t i = 0; i < PAGE / LINE; i++)
		lines[i] = (struct line){
			.number = number, .page = page_of(number), .way = (uint32_t)(w - ways)};
}

/* All that came before it was promised, too. */
static void promise(const struct way *w, uint64_t number)
{
	if (pwrite(w->notes, &number, sizeof(number), 0) != (ssize_t)sizeof(number) ||
	    fdatasync(w->notes) != 0)
		die(w->name, strerror(errno));
}

static void *write_on(void *arg)
{
	static _Thread_local struct line lines[BATCH][PAGE / LINE];
	const struct way *w = arg;
	const uint64_t base = (uint64_t)(w - ways) * PART_BYTES;
	struct lh_op *ops[BATCH];
	struct lh_error err;

	for (uint64_t number = 1;; number += BATCH) {
		for (unsigned int i = 0; i < BATCH; i++) {
			struct lh_io io = {.flags = LH_IO_WRITE | w->flags,
					   .offset = base + (uint64_t)page_of(number + i) * PAGE,
					   .length = PAGE,
					   .buf = lines[i]};

			fill(lines[i], w, number + i);
			if (lh_submit(ex, &io, &ops[i], &err) < 0)
				die(w->name, err.text);
		}
		for (unsigned int i = 0; i < BATCH; i++)
			if (lh_wait(ops[i], -1, &err) < 0)
				die(w->name, err.text);
		if (w->persist && lh_persist(ex, base, PART_BYTES, &err) < 0)
			die(w->name, err.text);
		promise(w, number + BATCH - 1);
		if (number == 1)
			(void)printf("%s has begun\n", w->name);
	}
	return NULL;
}

static int write_until_reset(const char *target)
{
	struct lh_options options = {0};
	struct lh_error err;
	pthread_t threads[ARRAY_SIZE(ways)];

	if (lh_open(target, &options, &client, &ex, &err) < 0 ||
	    lh_hold(ex, PART_BYTES, LH_ALL, LH_READ | LH_WRITE, 0, NULL, &err) < 0)
		die(target, err.text);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		char path[4096];

		notes_path(&ways[i], path, sizeof(path));
		ways[i].notes = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
		if (ways[i].notes < 0)
			die(path, strerror(errno));
		if (pthread_create(&threads[i], NULL, write_on, &ways[i]) != 0)
			die(ways[i].name, "no thread");
	}
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		(void)pthread_join(threads[i], NULL);
	return 1;
}

/* ---- after ----------------------------------------------------------------------------------- */

/* The last write of the page up to `promised`; 0: there was none. */
static uint64_t last_promised(uint64_t promised, unsigned int page)
{
	for (uint64_t n = promised; n > 0 && n + PAGES > promised; n--)
		if (page_of(n) == page)
			return n;
	return 0;
}

static bool line_is_right(const struct line *l, unsigned int way, unsigned int page, uint64_t least)
{
	static const struct line zeros;

	if (memcmp(l, &zeros, sizeof(zeros)) == 0)
		return least == 0;
	return l->number >= least && page_of(l->number) == page && l->page == page && l->way == way;
}

/* Returns how many lines are wrong. */
static unsigned int check_page(const struct way *w, unsigned int page, uint64_t least,
			       const struct line *lines, uint64_t *newer)
{
	unsigned int wrong = 0;

	for (size_t i = 0; i < PAGE / LINE; i++) {
		const struct line *l = &lines[i];

		*newer += l->number > least;
		if (line_is_right(l, (unsigned int)(w - ways), page, least))
			continue;
		if (wrong++ == 0)
			(void)fprintf(
				stderr,
				"%s: page %u line %zu has write %llu of page %u way %u; write "
				"%llu of it was promised\n",
				w->name, page, i, (unsigned long long)l->number, l->page, l->way,
				(unsigned long long)least);
	}
	return wrong;
}

static int check(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	unsigned int wrong = 0;

	if (fd < 0)
		die(file, strerror(errno));
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		const struct way *w = &ways[i];
		uint64_t promised = 0, newer = 0;
		char path[4096];
		int notes;

		notes_path(w, path, sizeof(path));
		notes = open(path, O_RDONLY | O_CLOEXEC);
		if (notes < 0 ||
		    read(notes, &promised, sizeof(promised)) != (ssize_t)sizeof(promised))
			die(path, "nothing was promised: this proves nothing");
		(void)close(notes);
		for (unsigned int page = 0; page < PAGES; page++) {
			struct line lines[PAGE / LINE];
			const off_t at = (off_t)(i * PART_BYTES + (uint64_t)page * PAGE);

			if (pread(fd, lines, sizeof(lines), at) != (ssize_t)sizeof(lines))
				die(file, "it is shorter than it was");
			wrong += check_page(w, page, last_promised(promised, page), lines, &newer);
		}
		(void)printf("%s: %llu writes were promised; %llu lines are newer\n", w->name,
			     (unsigned long long)promised, (unsigned long long)newer);
	}
	(void)close(fd);
	return wrong > 0;
}

int main(int argc, char **argv)
{
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4) {
		dir = argv[3];
		if (strcmp(argv[1], "write") == 0)
			return write_until_reset(argv[2]);
		if (strcmp(argv[1], "check") == 0)
			return check(argv[2]);
	}
	(void)fprintf(stderr, "usage: reset-witness write TARGET DIR | check FILE DIR\n");
	return 2;
}
