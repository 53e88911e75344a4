// SPDX-License-Identifier: BSD-3-Clause
/* What makes direct writes durable: an RDMA READ or FLUSH behind them, or a Commit. */
#include "promises.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SCATTERED 100 /* pages apart from each other: more than a Commit names */

/* Writes that, and persists it. */
static void persist(uint64_t commits, uint64_t reads)
{
	write_directly(AT);
	must(lh_persist(ex, AT, PIECE, &err) == 0);
	must(STAT(commits) == commits && STAT(confirming_reads) == reads);
	must(is_there(AT));
}

/* Of a target that grants the level read-after-write, which clients may take or leave. */
void test_by_read(void)
{
	struct lh_hold_info info;
	uint64_t reads, commits;
	int fd;

	begin((struct lh_options){0});
	lh_hold_info(hold(0, LH_ALL), &info);
	must(strcmp(info.durability, "read-after-write") == 0);
	persist(0, 1);
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	must(STAT(confirming_reads) == 1); /* there was nothing to confirm */
	for (uint64_t i = 0; i < SCATTERED; i++)
		must(lh_write(ex, i * KIB(8), written, 1, &err) == 0);
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	reads = STAT(confirming_reads);
	must(STAT(commits) == 0 && reads > 1 && reads < SCATTERED);
	/* For a recall the target is asked. */
	write_directly(AT);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0 && close(fd) == 0);
	WAIT_STAT(releases, 1);
	commits = STAT(commits);
	must(commits > 0 && STAT(confirming_reads) == reads);
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	must(is_there(AT));
	must(STAT(dead_bytes) == 0 && STAT(fenced) == 0);
	must(end() == 0);

	begin((struct lh_options){.persist = LH_PERSIST_COMMIT});
	(void)hold(0, LH_ALL);
	persist(1, 0);
	must(end() == 0);

	begin((struct lh_options){.persist = LH_PERSIST_READ});
	must(lh_hold(ex, 0, LH_ALL, LH_WRITE, 0, NULL, &err) == -EINVAL);
	must(strstr(err.text, "hold it for LH_READ, too"));
	(void)hold(0, LH_ALL);
	persist(0, 1);
	must(end() == 0);

	/* Of a grant smaller than such a read is. */
	begin((struct lh_options){0});
	must(lh_hold(ex, 0, 3, LH_READ | LH_WRITE, 0, NULL, &err) == 0);
	must(lh_write(ex, 0, written, 3, &err) == 0);
	must(lh_persist(ex, 0, 3, &err) == 0);
	must(STAT(confirming_reads) == 1);
	must(end() == 0);

	/* What cannot be read cannot be confirmed by a read. */
	begin((struct lh_options){0});
	must(lh_hold(ex, 0, LH_ALL, LH_WRITE, 0, NULL, &err) == 0);
	persist(1, 0);
	must(end() == 0);
}

static void flushes(uint64_t commits, uint64_t n)
{
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	must(STAT(commits) == commits && STAT(confirming_reads) == 0);
	must(STAT(confirming_flushes) == n);
}

/* Of a target that grants the level flush, which clients may take or leave. */
void test_by_flush(void)
{
	struct lh_hold_info info;
	uint64_t commits;
	int fd;

	begin((struct lh_options){0});
	lh_hold_info(hold(0, LH_ALL), &info);
	must(strcmp(info.durability, "flush") == 0);
	write_directly(AT);
	flushes(0, 1);
	flushes(0, 1); /* there was nothing to confirm */
	must(is_there(AT));
	/* Two pages with one between them, by one; far apart, by a Commit. */
	must(lh_write(ex, 0, written, 1, &err) == 0);
	must(lh_write(ex, KIB(8), written, 1, &err) == 0);
	flushes(0, 2);
	must(lh_write(ex, 0, written, 1, &err) == 0);
	must(lh_write(ex, MIB(4), written, 1, &err) == 0);
	flushes(1, 2);
	/* For a recall the target is asked. */
	write_directly(AT);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0 && close(fd) == 0);
	WAIT_STAT(releases, 1);
	commits = STAT(commits);
	must(commits > 1);
	flushes(commits, 2);
	must(is_there(AT));
	must(STAT(dead_bytes) == 0 && STAT(fenced) == 0);
	must(end() == 0);

	begin((struct lh_options){.persist = LH_PERSIST_COMMIT});
	(void)hold(0, LH_ALL);
	persist(1, 0);
	must(end() == 0);

	/* It reads nothing. */
	begin((struct lh_options){.persist = LH_PERSIST_FLUSH});
	must(lh_hold(ex, 0, LH_ALL, LH_WRITE, 0, NULL, &err) == 0);
	write_directly(AT);
	flushes(0, 1);
	must(end() == 0);

	/* What a write of three bytes takes is its page. */
	begin((struct lh_options){0});
	must(lh_hold(ex, 0, 3, LH_WRITE, 0, NULL, &err) == 0);
	must(lh_write(ex, 0, written, 3, &err) == 0);
	flushes(0, 1);
	must(end() == 0);

	begin((struct lh_options){.persist = LH_PERSIST_READ});
	must(lh_hold(ex, 0, LH_ALL, LH_READ | LH_WRITE, 0, NULL, &err) == -EOPNOTSUPP);
	must(strstr(err.text, "inbound_writes"));
	must(end() == 0);
}

void test_not_by_flush(void)
{
	begin((struct lh_options){.persist = LH_PERSIST_FLUSH});
	must(lh_hold(ex, 0, LH_ALL, LH_WRITE, 0, NULL, &err) == -EOPNOTSUPP);
	must(strstr(err.text, "flush_proven"));
	must(end() == 0);
}

/* Of one that grants less: it is said, and nothing less is done instead. */
void test_not_by_read(void)
{
	begin((struct lh_options){.persist = LH_PERSIST_READ});
	must(lh_hold(ex, 0, LH_ALL, LH_READ | LH_WRITE, 0, NULL, &err) == -EOPNOTSUPP);
	must(strstr(err.text, "inbound_writes"));
	must(lh_hold(ex, 0, LH_ALL, LH_READ, 0, NULL, &err) == 0);
	must(end() == 0);
	begin((struct lh_options){0});
	(void)hold(0, LH_ALL);
	persist(1, 0);
	must(end() == 0);
}
