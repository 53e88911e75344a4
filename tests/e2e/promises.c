// SPDX-License-Identifier: BSD-3-Clause
/*
 * What leasehold.h promises of bytes that were written directly, of holds, of submitted operations and of
 * what is asked wrongly.
 * For tests/e2e: FILE is the exported one.
 *
 *	promises TARGET FILE WHAT		see `all` below
 *
 * Exit status: 0 all was kept, 1 a promise was broken, 2 usage.
 */
#include "promises.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- bytes that died ------------------------------------------------------------------------- */

/* What was lost is there again, and only the copies can have brought it. */
static void test_replay(void)
{
	begin((struct lh_options){.replay = true});
	(void)hold(0, LH_ALL);
	write_directly(AT);
	fence_and_lose(AT);
	go_on();
	must(lh_persist(ex, AT, PIECE, &err) == 0); /* waits for the replay */
	must(is_there(AT));
	must(STAT(replayed_bytes) == PIECE);
	must(STAT(dead_bytes) == 0);
	must(end() == 0);
}

/* Nothing is made again that was confirmed, or written over by a block command: others came after it. */
static void test_replay_order(void)
{
	static const uint8_t zeros[PIECE];
	uint8_t first[PIECE], newer[PIECE];

	begin((struct lh_options){.replay = true});
	(void)hold(0, LH_ALL);
	write_directly(4 * AT);
	memcpy(first, written, sizeof(first));
	write_directly(2 * AT);
	random_bytes(newer, sizeof(newer));
	must(lh_block_write(ex, 2 * AT + 512, newer, sizeof(newer) - 1024, &err) == 0);
	write_directly(AT);
	must(lh_persist(ex, AT, PIECE, &err) == 0);
	fence_and_lose(AT); /* a local process writes there */
	go_on();
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	(void)is_there(AT);
	must(memcmp(got, zeros, sizeof(got)) == 0);
	(void)is_there(2 * AT);
	must(memcmp(got + 512, newer, sizeof(newer) - 1024) == 0);
	(void)is_there(4 * AT);
	must(memcmp(got, first, sizeof(got)) == 0);
	must(STAT(replayed_bytes) == PIECE + 1024);
	must(STAT(dead_bytes) == 0);
	must(end() == 0);
}

/* The same without copies: it is lost, and everyone who should says so. */
static void test_dead(void)
{
	struct lh_hold *other, *h;

	begin((struct lh_options){0});
	h = hold(0, MIB(1));
	other = hold(MIB(2), MIB(1));
	write_directly(AT);
	fence_and_lose(AT);
	go_on();
	must(lh_persist(ex, AT, PIECE, &err) == -LH_EDEAD);
	must(!is_there(AT));
	must(STAT(dead_bytes) == PIECE);
	must(lh_persist(ex, MIB(2), MIB(1), &err) == 0);
	must(lh_unhold(other) == 0);
	must(lh_unhold(h) == -LH_EDEAD);
	must(lh_persist(ex, 0, LH_ALL, &err) == -LH_EDEAD);
	must(end() == -LH_EDEAD);
}

/* Nobody asked before closing. */
static void test_dead_close(void)
{
	begin((struct lh_options){0});
	(void)hold(0, LH_ALL);
	write_directly(AT);
	fence_and_lose(AT);
	go_on();
	must(end() == -LH_EDEAD);
}

static void *unhold(void *arg)
{
	static int rc;

	rc = lh_unhold(arg);
	return &rc;
}

/* Unholding finds the keeper busy with the recall that the bytes die of. */
static void test_dead_meanwhile(void)
{
	const struct timespec ts = {.tv_nsec = 100 * (long)NS_PER_MS};
	struct lh_hold *h;
	pthread_t thread;
	void *rc;

	begin((struct lh_options){0});
	h = hold(0, LH_ALL);
	write_directly(AT);
	fence_and_lose(AT);
	must(pthread_create(&thread, NULL, unhold, h) == 0);
	(void)nanosleep(&ts, NULL);
	must(sem_post(&go) == 0);
	must(pthread_join(thread, &rc) == 0);
	must(*(int *)rc == -LH_EDEAD);
	must(end() == -LH_EDEAD);
}

/* Written again, or forgotten (the next): it is not said any more. */
static void test_made_good(void)
{
	struct lh_hold *h;

	begin((struct lh_options){0});
	h = hold(0, LH_ALL);
	write_directly(AT);
	fence_and_lose(AT);
	go_on();
	must(lh_persist(ex, AT, PIECE, &err) == -LH_EDEAD);
	must(lh_write(ex, AT, written, PIECE, &err) == 0);
	must(lh_persist(ex, AT, PIECE, &err) == 0);
	must(is_there(AT));
	must(lh_unhold(h) == 0);
	must(end() == 0);
}

static void test_forgotten(void)
{
	struct lh_hold *h;

	begin((struct lh_options){0});
	h = hold(0, LH_ALL);
	write_directly(AT);
	fence_and_lose(AT);
	go_on();
	must(lh_persist(ex, AT, PIECE, &err) == -LH_EDEAD);
	lh_forget(ex, AT, PIECE);
	must(lh_persist(ex, AT, PIECE, &err) == 0);
	must(lh_unhold(h) == 0);
	must(end() == 0);
}

/* ---- holds ----------------------------------------------------------------------------------- */

static int hold_by_another(uint64_t offset, uint64_t length)
{
	struct lh_client *other;
	struct lh_export *theirs;
	struct lh_error why;
	int rc;

	must(lh_open(uri, NULL, &other, &theirs, &err) == 0);
	rc = lh_hold(theirs, offset, length, LH_READ | LH_WRITE, 0, NULL, &why);
	if (rc == 0)
		rc = lh_write(theirs, offset, written, PIECE, &why);
	(void)lh_export_close(theirs);
	lh_client_close(other);
	return rc;
}

/* A part is given back, and what stays goes on directly by a key of its own. */
static void test_narrow(void)
{
	struct lh_key old, low, high;
	struct lh_hold *a, *b;
	uint64_t acquires;

	begin((struct lh_options){0});
	a = hold(0, MIB(4));
	b = hold(MIB(2), MIB(1));
	acquires = STAT(acquires);
	must(lh_export_key(ex, 0, &old) == 0);
	must(old.length == MIB(4));
	must(hold_by_another(MIB(1), MIB(1)) == -EBUSY);
	must(lh_hold_narrow(a, MIB(3), MIB(2), &err) == -EINVAL);
	must(lh_hold_narrow(a, 0, 0, &err) == -EINVAL);
	write_directly(AT);
	must(STAT(commits) == 0);
	must(lh_hold_narrow(a, 100, MIB(1) - 100, &err) == 0);
	must(STAT(commits) == 1);
	must(is_there(AT));
	must(STAT(acquires) == acquires);
	must(lh_export_key(ex, 0, &low) == 0);
	must(lh_export_key(ex, MIB(2), &high) == 0);
	must(lh_export_key(ex, MIB(1), &old) == -ENOENT &&
	     lh_export_key(ex, MIB(3), &old) == -ENOENT);
	must(low.offset == 0 && low.length == MIB(1) && low.rkey != old.rkey);
	must(high.offset == MIB(2) && high.length == MIB(1) && high.rkey != old.rkey);
	must(low.generation == old.generation && high.generation == old.generation);
	write_directly(MIB(1) - PIECE);
	write_directly(MIB(2));
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	must(is_there(MIB(2)));
	/* What was given back another client has for writing, and nothing else. */
	must(hold_by_another(MIB(1), MIB(1)) == 0);
	must(hold_by_another(MIB(3), MIB(1)) == 0);
	must(hold_by_another(0, KIB(4)) == -EBUSY);
	must(hold_by_another(MIB(2), KIB(4)) == -EBUSY);
	must(STAT(fenced) == 0 && STAT(recalls) == 0);
	/* The old key is dead, over what stayed, too. */
	must(lh_try_key(ex, &old, written, &err) == -EACCES);
	must(lh_unhold(a) == 0);
	must(lh_unhold(b) == 0);
	must(end() == 0);
}

/* Unholding confirms what was written and gives back what nobody else holds. */
static void test_unhold(void)
{
	struct lh_hold_info info;
	struct lh_hold *a, *b, *c;

	begin((struct lh_options){0});
	a = hold(0, MIB(1));
	b = hold(MIB(2), MIB(1));
	c = hold(KIB(512), KIB(512));
	write_directly(AT);
	must(STAT(commits) == 0);
	must(lh_unhold(a) == 0);
	must(STAT(commits) == 1);
	must(is_there(AT));
	lh_hold_info(b, &info);
	must(info.offset == MIB(2) && info.length == MIB(1) && info.granted_bytes == MIB(1));
	lh_hold_info(c, &info);
	must(info.granted_bytes == KIB(512));
	must(lh_unhold(c) == 0);
	must(STAT(releases) >= 1);
	must(lh_unhold(b) == 0);
	/* Nothing is held: this goes by block commands, and is no fallback. */
	random_bytes(written, sizeof(written));
	must(lh_write(ex, AT, written, PIECE, &err) == 0);
	must(STAT(block_write_bytes) == PIECE && STAT(fallbacks) == 0);
	must(is_there(AT));
	must(end() == 0);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	must(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) == 0);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

#define LOST_NS (2 * NS_PER_S)

/*
 * Without a connection unholding waits for it, and does not turn meanwhile. The case kills the daemon
 * and starts another when it is told to.
 */
static void test_unhold_lost(void)
{
	const struct timespec lost = {.tv_sec = LOST_NS / NS_PER_S};
	struct lh_hold *h, *other;
	uint64_t before, used;
	pthread_t thread;
	void *rc;

	begin((struct lh_options){.replay = true});
	h = hold(0, MIB(1));
	other = hold(MIB(2), MIB(1));
	write_directly(AT);
	(void)puts("kill it");
	(void)fflush(stdout);
	WAIT_STAT(fenced, 1);
	before = cpu_ns();
	must(pthread_create(&thread, NULL, unhold, h) == 0);
	(void)nanosleep(&lost, NULL);
	used = cpu_ns() - before;
	(void)printf("used %llu ms of %llu\nstart it\n", (unsigned long long)(used / NS_PER_MS),
		     (unsigned long long)(LOST_NS / NS_PER_MS));
	(void)fflush(stdout);
	must(used < LOST_NS / 4);
	must(pthread_join(thread, &rc) == 0 && *(int *)rc == 0);
	must(is_there(AT));
	wait_granted(other);
	must(lh_unhold(other) == 0);
	h = hold(AT, PIECE);
	wait_granted(h);
	write_directly(AT);
	must(lh_persist(ex, AT, PIECE, &err) == 0);
	must(lh_unhold(h) == 0);
	must(end() == 0);
}

/* A range may reach beyond the end, even begin there; it is granted when the export has grown. */
static void test_beyond(void)
{
	struct lh_export_info info;
	struct lh_hold_info held;
	struct lh_hold *over, *behind;
	uint64_t size;
	int fd;

	begin((struct lh_options){0});
	must(lh_export_info(ex, true, &info, &err) == 0);
	size = info.size_bytes;
	over = hold(size - MIB(1), MIB(2));
	behind = hold(size + MIB(1), MIB(1));
	lh_hold_info(over, &held);
	must(held.length == MIB(1) && held.granted_bytes == MIB(1));
	lh_hold_info(behind, &held);
	must(held.length == 0 && held.granted_bytes == 0);
	must(lh_write(ex, size + MIB(1), written, PIECE, &err) == -ERANGE);
	must(lh_write(ex, size - KIB(4), written, KIB(8), &err) == -ERANGE);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	must(fd >= 0);
	must(posix_fallocate(fd, (off_t)size, (off_t)MIB(2)) == 0);
	must(close(fd) == 0);
	for (uint64_t until = now_ns() + WAIT_NS; held.length < MIB(1); lh_hold_info(behind, &held))
		must(now_ns() < until);
	wait_granted(behind);
	wait_granted(over);
	lh_hold_info(over, &held);
	must(held.granted_bytes == MIB(2));
	write_directly(size + MIB(1));
	must(end() == 0);
}

/* ---- no fallback ----------------------------------------------------------------------------- */

/* The export's second half is a hole. */
static void test_no_fallback(void)
{
	struct lh_export_info info;
	struct lh_hold *h;
	uint64_t half, begun;

	begin((struct lh_options){.no_fallback = true});
	must(lh_export_info(ex, true, &info, &err) == 0);
	half = info.size_bytes / 2;
	begun = now_ns();
	must(lh_hold(ex, 0, LH_ALL, LH_READ, 0, NULL, &err) == -ENODATA);
	must(strstr(err.text, "holes") && strstr(err.text, "have the holes filled"));
	must(lh_hold(ex, half, half, LH_READ, 0, NULL, &err) == -ENODATA);
	must(strstr(err.text, "holes") && strstr(err.text, "have the holes filled"));
	/* What is found out later is said by the operations. */
	must(lh_hold(ex, half, half, LH_READ, LH_HOLD_NOWAIT, NULL, &err) == 0);
	must(lh_read(ex, half, got, PIECE, &err) == -ENODATA);
	must(strstr(err.text, "holes"));
	must(now_ns() - begun < WAIT_NS);
	h = hold(0, half);
	write_directly(AT);
	must(lh_unhold(h) == 0);
	/* With them filled there is nothing left to refuse. */
	must(lh_hold(ex, 0, LH_ALL, LH_READ | LH_WRITE, LH_HOLD_ALLOCATE, &h, &err) == 0);
	write_directly(half);
	must(lh_persist(ex, half, PIECE, &err) == 0);
	must(STAT(fallbacks) == 0);
	must(end() == 0);
}

/* What is punched out of a file that is held cannot be had any more, the rest can. */
static void test_punched(void)
{
	uint64_t begun;
	struct lh_hold *h;
	int fd;

	begin((struct lh_options){.no_fallback = true});
	h = hold(0, MIB(4));
	write_directly(MIB(3));
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(fd >= 0);
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)MIB(2)) == 0);
	must(close(fd) == 0);
	must(lh_read(ex, MIB(3), got, PIECE, &err) == 0); /* waits for the regrant */
	must(memcmp(got, written, PIECE) == 0);
	begun = now_ns();
	must(lh_read(ex, AT, got, PIECE, &err) == -ENODATA);
	must(strstr(err.text, "holes"));
	must(now_ns() - begun < WAIT_NS);
	must(STAT(fallbacks) == 0);
	must(lh_unhold(h) == 0);
	must(end() == 0);
}

/* What another client holds, and what is in holes, is granted once it may be: nobody waits for it. */
static void test_patient(void)
{
	struct lh_client *other;
	struct lh_export *same;
	struct lh_hold *h;

	must(lh_open(uri, NULL, &other, &same, &err) == 0);
	must(lh_hold(same, 0, LH_ALL, LH_READ | LH_WRITE, 0, NULL, &err) == 0);
	begin((struct lh_options){0});
	must(lh_hold(ex, 0, MIB(1), LH_READ | LH_WRITE, 0, &h, &err) == -EBUSY);
	must(lh_hold(ex, 0, MIB(1), LH_READ | LH_WRITE, LH_HOLD_NOWAIT, &h, &err) == 0);
	random_bytes(written, sizeof(written));
	must(lh_write(ex, AT, written, PIECE, &err) == 0);
	must(STAT(fallbacks) == 1);
	must(lh_export_close(same) == 0);
	lh_client_close(other);
	wait_granted(h);
	write_directly(AT);
	must(lh_unhold(h) == 0);
	must(end() == 0);
}

/* ---- submitted operations -------------------------------------------------------------------- */

static struct lh_op *submit(unsigned int flags, uint64_t offset, void *buf)
{
	const struct lh_io io = {.flags = flags, .offset = offset, .length = PIECE, .buf = buf};
	struct lh_op *op;

	must(lh_submit(ex, &io, &op, &err) == 0);
	return op;
}

static void deallocate(uint64_t offset)
{
	must(lh_wait(submit(LH_IO_DEALLOCATE, offset, NULL), -1, &err) == 0);
}

static bool is_zero(uint64_t offset)
{
	static const uint8_t zeros[PIECE];

	must(lh_block_read(ex, offset, got, sizeof(got), &err) == 0);
	return memcmp(got, zeros, sizeof(got)) == 0;
}

#define DURABLE 32 /* more than there are Commits at a time */

/* Is done when it is durable, directly or by block commands; many share what confirms them. */
static void test_durable(void)
{
	const unsigned int flags = LH_IO_WRITE | LH_IO_DURABLE;
	struct lh_op *ops[DURABLE];
	uint64_t sent, shared = 0;

	begin((struct lh_options){0});
	random_bytes(written, sizeof(written));
	(void)hold(0, LH_ALL);
	/* On a busy machine each may be confirmed before the next is submitted. */
	for (unsigned int round = 1; shared == 0 && round <= 20; round++) {
		const uint64_t before = confirmations();

		for (uint64_t i = 0; i < DURABLE; i++)
			ops[i] = submit(flags, AT + i * PIECE, written);
		for (unsigned int i = 0; i < DURABLE; i++)
			must(lh_wait(ops[i], -1, &err) == 0);
		must(STAT(direct_write_bytes) == (uint64_t)round * DURABLE * PIECE &&
		     STAT(fallbacks) == 0);
		sent = confirmations() - before;
		must(sent > 0 && sent <= DURABLE);
		shared = DURABLE - sent;
	}
	must(shared > 0);
	sent = confirmations();
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	must(confirmations() == sent); /* nothing was left to confirm */
	for (uint64_t i = 0; i < DURABLE; i++)
		must(is_there(AT + i * PIECE));
	random_bytes(written, sizeof(written));
	must(lh_wait(submit(flags | LH_IO_BLOCK, AT + 1, written), -1, &err) == 0);
	must(is_there(AT + 1));
	must(STAT(dead_bytes) == 0);
	must(end() == 0);
}

/* One that a recall meets on its way is confirmed with all the rest, or made again. */
static void test_durable_recall(void)
{
	begin((struct lh_options){0});
	(void)hold(0, LH_ALL);
	for (unsigned int i = 0; i < 20; i++) {
		const uint64_t recalls = STAT(recalls);
		struct lh_op *op;
		int fd;

		random_bytes(written, sizeof(written));
		op = submit(LH_IO_WRITE | LH_IO_DURABLE, AT, written);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		must(fd >= 0);
		must(lh_wait(op, -1, &err) == 0);
		must(pread(fd, got, sizeof(got), (off_t)AT) == (ssize_t)sizeof(got));
		must(memcmp(got, written, sizeof(got)) == 0);
		must(close(fd) == 0);
		WAIT_STAT(recalls, recalls + 1);
		WAIT_STAT(regrants, i + 1);
	}
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	must(end() == 0);
}

/* The range becomes a hole, though it is granted; nothing else changes. */
static void test_deallocate(void)
{
	begin((struct lh_options){0});
	(void)hold(0, LH_ALL);
	must(!is_zero(AT));
	write_directly(AT);
	write_directly(AT + PIECE);
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	deallocate(AT);
	must(is_zero(AT));
	must(is_there(AT + PIECE));
	must(lh_read(ex, AT, got, PIECE, &err) == 0 && got[0] == 0);
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	must(end() == 0);
}

/* What was written before it and never confirmed is not made again after it. */
static void test_deallocate_order(void)
{
	begin((struct lh_options){.replay = true});
	(void)hold(0, LH_ALL);
	write_directly(AT);
	atomic_store(&keep, true);
	deallocate(AT); /* fences us */
	atomic_store(&keep, false);
	go_on();
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	must(is_zero(AT));
	must(STAT(replayed_bytes) == 0);
	must(end() == 0);
}

/*
 * A read is done long before a deallocation that waits for another client's time to be over. False: this
 * program stood still for so long that nothing is shown.
 */
static bool read_is_first(uint64_t offset)
{
	struct lh_op *ops[2];
	struct lh_client *other;
	struct lh_export *same;
	size_t which = 7;
	bool first;

	while (sem_trywait(&go) == 0)
		;
	must(lh_open(uri, NULL, &other, &same, &err) == 0);
	lh_export_on_event(same, on_event, NULL);
	must(lh_hold(same, 0, LH_ALL, LH_READ, 0, NULL, &err) == 0);
	begin((struct lh_options){.io_queues = 2});
	atomic_store(&keep, true);
	ops[0] = submit(LH_IO_DEALLOCATE, offset, NULL);
	ops[1] = submit(LH_IO_BLOCK, MIB(2), got);
	must(lh_wait_any(ops, 2, -1, &which, &err) == 0 && which < 2);
	first = which == 1 && lh_wait_any(ops, 1, 0, &which, &err) == -ETIMEDOUT;
	must(lh_wait(ops[1], -1, &err) == 0);
	must(lh_wait_any(ops, 1, -1, &which, &err) == 0 && which == 0);
	must(lh_wait(ops[0], 0, &err) == 0);
	atomic_store(&keep, false);
	must(sem_post(&go) == 0);
	must(lh_export_close(same) == 0);
	lh_client_close(other);
	must(end() == 0);
	return first;
}

/* Whichever is done first is told first, whatever queue it is on. */
static void test_wait_any(void)
{
	size_t which = 7;

	must(lh_wait_any(NULL, 0, -1, &which, &err) == -EINVAL && which == 7);
	must(read_is_first(AT) || read_is_first(AT + PIECE) || read_is_first(AT + 2 * PIECE));
}

/* Many at once, directly and by block commands. */
static void test_wait_any_many(void)
{
	static uint8_t buf[16][PIECE];
	struct lh_op *ops[16];
	uint64_t at[16];
	size_t out = ARRAY_SIZE(ops);

	begin((struct lh_options){0});
	(void)hold(0, LH_ALL);
	for (size_t i = 0; i < out; i++) {
		memset(buf[i], (int)i + 1, PIECE);
		at[i] = i * PIECE;
		ops[i] = submit(LH_IO_WRITE | (i % 2 ? LH_IO_BLOCK : 0), at[i], buf[i]);
	}
	while (out > 0) {
		size_t which = out;

		must(lh_wait_any(ops, out, -1, &which, &err) == 0 && which < out);
		must(lh_wait(ops[which], 0, &err) == 0);
		ops[which] = ops[--out];
	}
	must(lh_persist(ex, 0, LH_ALL, &err) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		memset(written, (int)i + 1, PIECE);
		must(is_there(at[i]));
	}
	must(end() == 0);
}

/* ---- asked wrongly --------------------------------------------------------------------------- */

static void refused(struct lh_options options, const char *says)
{
	must(lh_open(uri, &options, &client, &ex, &err) == -EINVAL);
	must(strstr(err.text, says));
}

static void test_wrong(void)
{
	struct lh_io io = {.length = KIB(4), .buf = got};
	struct lh_hold *h = NULL;
	struct lh_op *op = NULL;
	struct lh_buf *buf = NULL;
	struct lh_options crc = {0}, keys = {0}, by = {0};

	refused((struct lh_options){.kato_ms = 1}, "kato_ms 1: give at least 500");
	refused((struct lh_options){.io_queues = LH_IO_QUEUES_MAX + 1}, "io_queues 17: give");
	refused((struct lh_options){.io_depth = LH_DEPTH_MAX + 1}, "io_depth 1025: give 2 to 1024");
	refused((struct lh_options){.io_depth = 1}, "io_depth 1: give 2 to 1024");
	refused((struct lh_options){.direct_depth = UINT32_MAX}, "direct_depth 4294967295: give");
	memset(&crc.crc, 0xff, sizeof(crc.crc));
	refused(crc, "crc 4294967295: ");
	memset(&keys.keys, 0xff, sizeof(keys.keys));
	refused(keys, "keys 4294967295: ");
	memset(&by.persist, 0xff, sizeof(by.persist));
	refused(by, "persist 4294967295: ");
	begin((struct lh_options){.io_queues = LH_IO_QUEUES_MAX, .io_depth = LH_IO_DEPTH_MIN});
	must(lh_buf_register(client, NULL, PIECE, &buf, &err) == -EINVAL && !buf);
	must(strstr(err.text, "no buffer"));
	must(lh_buf_register(client, got, 0, &buf, &err) == -EINVAL && !buf);
	must(lh_read(ex, 0, NULL, PIECE, &err) == -EINVAL && strstr(err.text, "no buffer"));
	must(lh_block_write(ex, 0, NULL, PIECE, &err) == -EINVAL);
	for (unsigned int bit = 0; bit < 32; bit++) {
		io.flags = 1u << bit;
		if (io.flags & (LH_IO_WRITE | LH_IO_BLOCK | LH_IO_DEALLOCATE))
			continue;
		must(lh_submit(ex, &io, &op, &err) == -EINVAL && !op);
		must(strstr(err.text, "LH_IO_WRITE"));
	}
	io.flags = LH_IO_DURABLE | LH_IO_BLOCK;
	must(lh_submit(ex, &io, &op, &err) == -EINVAL && !op);
	io.flags = 0xff;
	must(lh_submit(ex, &io, &op, &err) == -EINVAL && !op);
	io.flags = LH_IO_DEALLOCATE | LH_IO_BLOCK;
	must(lh_submit(ex, &io, &op, &err) == -EINVAL && !op);
	io.flags = LH_IO_DEALLOCATE;
	io.offset = 1;
	must(lh_submit(ex, &io, &op, &err) == -EINVAL && !op);
	must(strstr(err.text, "not whole blocks of"));
	io.offset = 0;
	io.flags = LH_IO_BLOCK;
	must(lh_submit(ex, &io, &op, &err) == 0 && lh_wait(op, -1, &err) == 0);
	must(lh_hold(ex, 0, LH_ALL, 0, 0, &h, &err) == -EINVAL && !h);
	must(lh_hold(ex, 0, LH_ALL, LH_READ | 4, 0, &h, &err) == -EINVAL && !h);
	must(lh_hold(ex, 0, 0, LH_READ, 0, &h, &err) == -EINVAL && !h);
	must(lh_hold(ex, 0, LH_ALL, LH_READ, 8, &h, &err) == -EINVAL && !h);
	must(strstr(err.text, "LH_HOLD_BRIEF"));
	must(end() == 0);
}

static const struct {
	const char *name;
	void (*run)(void);
} all[] = {
	{"by-read", test_by_read},
	{"durable", test_durable},
	{"durable-recall", test_durable_recall},
	{"not-by-read", test_not_by_read},
	{"by-flush", test_by_flush},
	{"not-by-flush", test_not_by_flush},
	{"replay", test_replay},
	{"replay-order", test_replay_order},
	{"dead", test_dead},
	{"dead-close", test_dead_close},
	{"dead-meanwhile", test_dead_meanwhile},
	{"made-good", test_made_good},
	{"forgotten", test_forgotten},
	{"unhold", test_unhold},
	{"unhold-lost", test_unhold_lost},
	{"narrow", test_narrow},
	{"beyond", test_beyond},
	{"no-fallback", test_no_fallback},
	{"patient", test_patient},
	{"punched", test_punched},
	{"deallocate", test_deallocate},
	{"deallocate-order", test_deallocate_order},
	{"wait-any", test_wait_any},
	{"wait-any-many", test_wait_any_many},
	{"wrong", test_wrong},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 4 && i < ARRAY_SIZE(all); i++) {
		if (strcmp(argv[3], all[i].name) != 0)
			continue;
		uri = argv[1];
		path = argv[2];
		(void)sem_init(&go, 0, 0);
		all[i].run();
		return 0;
	}
	(void)fprintf(stderr, "usage: promises TARGET FILE WHAT\n");
	return 2;
}
