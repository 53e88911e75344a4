// SPDX-License-Identifier: BSD-3-Clause
/*
 * Start, recall, regrant and stop of a holding, with the real rooms below and landlords that are
 * threads: truncate(2), open(2), unlink(2). Above all: when the landlord's call returns, no key of
 * ours works any more, and what the freed blocks are given to never changes.
 */
#include "grant_rig.h"

#include "iwarp/iwarp.h"

static struct rig rig;
static struct rig_client one, two;

static const unsigned int read_write = LH_GRANT_READ | LH_GRANT_WRITE;

static void up(const struct rig_options *options)
{
	rig_up(&rig, options);
	rig_client_up(&rig, &one);
	rig_client_up(&rig, &two);
}

static void down(void)
{
	rig_client_down(&one);
	rig_client_down(&two);
	rig_down(&rig);
}

static void make_full_file(void)
{
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
}

static struct lh_grant must_acquire(struct rig_client *c, uint64_t offset, uint64_t length)
{
	struct grant_answer answer = rig_acquire(c, offset, length, read_write);
	struct lh_grant g;

	assert_int_equal(answer.status, NVME_SC_SUCCESS);
	assert_int_equal(answer.count, 1);
	g = answer.grants[0];
	g.address = le64toh(g.address);
	g.rkey = le32toh(g.rkey);
	return g;
}

/* A dead key is refused on a queue pair that works. */
static void assert_dead(struct rig_client *c, const struct lh_grant *g)
{
	uint64_t canary = UINT64_C(0xdeadbeefdeadbeef);

	rig_client_reconnect(c);
	assert_int_not_equal(rig_write(c, g->address, g->rkey, &canary, 8), FABRIC_OK);
	rig_client_reconnect(c);
	assert_int_not_equal(rig_rdma_read(c, g->address, g->rkey, &canary, 8), FABRIC_OK);
	rig_client_reconnect(c);
}

static void check_timeline(const struct recall_timeline *t)
{
	assert_true(t->seen_ns > 0);
	assert_true(t->told_ns >= t->seen_ns);
	assert_true(t->drained_ns >= t->seen_ns);
	assert_true(t->released_ns >= t->seen_ns);
	assert_true(t->keys_dead_ns >= t->released_ns);
	assert_true(t->unlocked_ns >= t->keys_dead_ns && t->unlocked_ns >= t->drained_ns);
	assert_true(t->retaken_ns >= t->unlocked_ns);
	assert_true(t->serving_ns >= t->retaken_ns);
}

static uint64_t us(uint64_t ns)
{
	return ns / NS_PER_US;
}

/* ---- recalls --------------------------------------------------------------------------------- */

/* The demo: truncate to half while a client writes, then grow again. */
static void test_truncate(void **state)
{
	struct rig_landlord landlord;
	struct holding_status status;
	struct grant_want want = {
		.length = RIG_BYTES,
		.access = read_write,
		.allocate = true,
	};
	struct lh_grant g;
	uint8_t byte = 9, zero = 1;

	(void)state;
	make_full_file();
	up(&rig_defaults);
	g = must_acquire(&one, 0, RIG_BYTES);
	assert_int_equal(rig_write(&one, g.address + RIG_BYTES - 1, g.rkey, &byte, 1), FABRIC_OK);
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, RIG_BYTES / 2);
	(void)rig_landlord_join(&landlord);
	assert_dead(&one, &g);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(status.generation, 2);
	assert_int_equal(status.size_bytes, RIG_BYTES / 2);
	assert_int_equal(status.recalls, 1);
	assert_int_equal(status.last.generation, 1);
	assert_int_equal(status.last.clients, 1);
	assert_int_equal(status.last.grants, 1);
	assert_int_equal(status.last.fenced_clients, 0);
	assert_int_equal(status.last.fenced_ns, 0);
	check_timeline(&status.last);
	print_message(
		"[          ] truncate took %llu us: told %llu, released %llu, key dead %llu, "
		"unlocked %llu, retaken %llu, serving %llu us after the break was seen\n",
		(unsigned long long)us(landlord.ended_ns - landlord.began_ns),
		(unsigned long long)us(status.last.told_ns - status.last.seen_ns),
		(unsigned long long)us(status.last.released_ns - status.last.seen_ns),
		(unsigned long long)us(status.last.keys_dead_ns - status.last.seen_ns),
		(unsigned long long)us(status.last.unlocked_ns - status.last.seen_ns),
		(unsigned long long)us(status.last.retaken_ns - status.last.seen_ns),
		(unsigned long long)us(status.last.serving_ns - status.last.seen_ns));
	assert_int_equal(atomic_load(&rig.told), 1);
	assert_int_equal(atomic_load(&rig.recalling), 1);
	assert_int_equal(atomic_load(&rig.released), 1);
	assert_int_equal(atomic_load(&rig.regrants), 1);
	assert_int_equal(atomic_load(&rig.changes), 2); /* it came, and it changed its size */
	/* 8: nothing has re-extended it. */
	assert_int_equal(file_bytes("file"), RIG_BYTES / 2);
	assert_int_equal(rig_acquire_want(&one, &want).status, NVME_SC_LBA_RANGE);
	g = must_acquire(&one, 0, RIG_BYTES / 2);
	/* Release of what the recall has taken already: a success. */
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	assert_int_equal(rig_write(&one, g.address, g.rkey, &byte, 1), FABRIC_OK);

	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, RIG_BYTES);
	(void)rig_landlord_join(&landlord);
	status = rig_wait(&rig, HOLDING_SERVING, 3);
	assert_int_equal(status.size_bytes, RIG_BYTES);
	assert_int_equal(rig_acquire_want(&one, &want).status, NVME_SC_SUCCESS);
	rig_read(&rig, RIG_BYTES - 1, &zero, 1);
	assert_int_equal(zero, 0);
	down();
}

/* A client that says nothing is fenced; the freed blocks belong to others from then on. */
static void test_silent_client(void **state)
{
	struct rig_options options = rig_defaults;
	struct rig_landlord landlord;
	struct holding_status status;
	struct lh_grant g, polite;
	uint8_t *canary, *seen;
	uint64_t took;
	int fd;

	(void)state;
	make_full_file();
	options.deadline_ms = 300;
	up(&options);
	atomic_store(&one.answers, false);
	g = must_acquire(&one, 0, RIG_BYTES / 2);
	polite = must_acquire(&two, RIG_BYTES / 2, RIG_BYTES / 2);
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, KIB(4));
	took = rig_landlord_join(&landlord);
	assert_true(took >= 290 * NS_PER_MS);
	assert_true(took < 5 * NS_PER_S);
	/* The blocks go to another file at once. */
	canary = malloc(RIG_BYTES);
	seen = malloc(RIG_BYTES);
	assert_true(canary && seen);
	memset(canary, 0xc5, RIG_BYTES);
	fd = open(in_dir("canary"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, canary, RIG_BYTES, 0), RIG_BYTES);
	/* The fenced queue is in error; with a new one the key is dead. */
	assert_int_not_equal(rig_write(&one, g.address, g.rkey, seen, 64), FABRIC_OK);
	assert_dead(&one, &g);
	assert_dead(&two, &polite);
	assert_int_equal(pread(fd, seen, RIG_BYTES, 0), RIG_BYTES);
	assert_memory_equal(canary, seen, RIG_BYTES);
	(void)close(fd);
	free(canary);
	free(seen);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(status.last.clients, 2);
	assert_int_equal(status.last.fenced_clients, 1);
	assert_true(status.last.fenced_ns >= status.last.seen_ns + 290 * NS_PER_MS);
	/* It has lost its queue; the other one has not. */
	assert_int_equal(rig_acquire(&one, 0, KIB(4), read_write).status, LH_SC_NO_DIRECT_QUEUE);
	(void)must_acquire(&two, 0, KIB(4));
	down();
}

/* Nobody holds anything: straight through. */
static void test_no_grants(void **state)
{
	struct rig_landlord landlord;
	uint64_t took;

	(void)state;
	make_full_file();
	up(&rig_defaults);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	took = rig_landlord_join(&landlord);
	print_message("[          ] open took %llu us\n", (unsigned long long)us(took));
	assert_true(took < 500 * NS_PER_MS);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(atomic_load(&rig.told), 0);
	assert_int_equal(atomic_load(&rig.fenced), 0);
	assert_int_equal(atomic_load(&rig.changes), 1); /* the size is what it was */
	down();
}

/* Block work that hangs: its queues are fenced at the deadline. */
static void test_hanging_block_work(void **state)
{
	struct rig_options options = rig_defaults;
	struct rig_landlord landlord;
	uint64_t took;

	(void)state;
	make_full_file();
	options.deadline_ms = 200;
	up(&options);
	(void)must_acquire(&one, 0, KIB(4));
	atomic_store(&rig.hold_quiesce, true);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	took = rig_landlord_join(&landlord);
	assert_true(took >= 190 * NS_PER_MS && took < 5 * NS_PER_S);
	atomic_store(&rig.hold_quiesce, false);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(atomic_load(&rig.fenced), 1);
	assert_int_equal(rig_status(&rig).last.fenced_clients, 0);
	down();
}

/* Somebody keeps the file open: released until it is closed. */
static void test_held_open(void **state)
{
	struct holding_status status;
	struct lh_grant g;
	int fd;

	(void)state;
	make_full_file();
	up(&rig_defaults);
	g = must_acquire(&one, 0, KIB(64));
	fd = open(in_dir("file"), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_dead(&one, &g);
	status = rig_wait(&rig, HOLDING_RELEASED, 1);
	assert_int_equal(status.keys, 0);
	assert_int_equal(rig_acquire(&one, 0, KIB(4), read_write).status, LH_SC_RECALLING);
	(void)usleep(400000);
	assert_int_equal(rig_status(&rig).state, HOLDING_RELEASED);
	(void)close(fd);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	(void)must_acquire(&one, 0, KIB(4));
	down();
}

/* Truncated to nothing: nothing can be served, until it grows again. */
static void test_emptied(void **state)
{
	struct rig_landlord landlord;
	struct holding_status status;

	(void)state;
	make_full_file();
	up(&rig_defaults);
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, 0);
	(void)rig_landlord_join(&landlord);
	status = rig_wait(&rig, HOLDING_RELEASED, 1);
	for (int i = 0; i < 1000 && !strstr(status.why, "empty"); i++) {
		(void)usleep(10000);
		status = rig_status(&rig);
	}
	assert_int_equal(status.state, HOLDING_RELEASED);
	assert_non_null(strstr(status.why, "empty"));
	assert_int_equal(status.size_bytes, 0);
	assert_int_equal(status.backed_bytes, 0);
	assert_int_equal(truncate(in_dir("file"), MIB(2)), 0);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(status.size_bytes, MIB(2));
	assert_int_equal(status.hole_bytes, MIB(2));
	down();
}

static void test_deleted(void **state)
{
	struct rig_landlord landlord;

	(void)state;
	make_full_file();
	up(&rig_defaults);
	(void)must_acquire(&one, 0, KIB(4));
	/* No lease is broken by that; what comes after it is no more than a stop. */
	assert_int_equal(unlink(in_dir("file")), 0);
	assert_int_equal(rig_status(&rig).state, HOLDING_SERVING);
	down();

	make_full_file();
	up(&rig_defaults);
	assert_int_equal(link(in_dir("file"), in_dir("other")), 0);
	rig_landlord_start(&landlord, in_dir("other"), landlord_open_close, 0);
	assert_int_equal(unlink(in_dir("file")), 0);
	(void)rig_landlord_join(&landlord);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(unlink(in_dir("other")), 0);
	down();
}

struct warning {
	const char *part;
	bool found;
};

static void find_warning(void *arg)
{
	struct warning *w = arg;
	char text[ERRTEXT_BYTES];

	w->found = false;
	for (unsigned int i = 0; holding_warning(rig.h, i, text, sizeof(text)); i++)
		w->found |= strstr(text, w->part) != NULL;
}

/* Waits until there is a warning with `part` in it, or none any more. */
static void wait_warning(const char *part, bool wanted)
{
	uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;
	struct warning w = {.part = part};

	for (;;) {
		rig_call(&rig, find_warning, &w);
		if (w.found == wanted)
			return;
		assert_true(now_ns() < end);
		(void)usleep(20000);
	}
}

/* Noticed while it is served; at the next recall there is nothing to come back to. */
static void test_deleted_is_said(void **state)
{
	struct rig_landlord landlord;
	struct holding_status status;
	char path[64];

	(void)state;
	make_full_file();
	up(&rig_defaults);
	assert_false(rig_status(&rig).deleted);
	assert_int_equal(unlink(in_dir("file")), 0);
	wait_warning("was deleted: what is written is gone", true);
	status = rig_status(&rig);
	assert_true(status.deleted);
	assert_int_equal(status.state, HOLDING_SERVING);
	/* Before the loop hears of us again, which orders it before the close. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", export_fd(holding_export(rig.h)));
	(void)must_acquire(&one, 0, KIB(4));
	rig_landlord_start(&landlord, path, landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	status = rig_wait(&rig, HOLDING_OFFLINE, 1);
	assert_non_null(strstr(status.why, "was deleted"));
	assert_int_equal(status.size_bytes, 0);
	assert_int_equal(rig_acquire(&one, 0, KIB(4), read_write).status, NVME_SC_NS_NOT_READY);
	/* Another one in its place can be served. */
	make_full_file();
	assert_int_equal(rig_start(&rig), 0);
	(void)rig_wait(&rig, HOLDING_SERVING, 1);
	wait_warning("was deleted", false);
	down();
}

static void test_renamed_is_said(void **state)
{
	(void)state;
	make_full_file();
	up(&rig_defaults);
	assert_int_equal(rename(in_dir("file"), in_dir("moved")), 0);
	wait_warning("does not exist any more", true);
	assert_false(rig_status(&rig).deleted);
	make_file("file", MIB(1));
	wait_warning("is another file now", true);
	wait_warning("does not exist any more", false);
	assert_int_equal(rename(in_dir("moved"), in_dir("file")), 0);
	wait_warning("is another file now", false);
	assert_int_equal(rig_status(&rig).generation, 1);
	down();
}

/* As truncate(2) through an overlay does it: the kernel breaks no lease for it. */
static void change_unasked(void (*change)(int fd))
{
	change(export_fd(holding_export(rig.h)));
}

static void cut(int fd)
{
	assert_int_equal(ftruncate(fd, MIB(2)), 0);
}

static void make_longer(int fd)
{
	assert_int_equal(ftruncate(fd, RIG_BYTES + MIB(1)), 0);
}

static void cut_and_regrow(int fd)
{
	assert_int_equal(ftruncate(fd, MIB(2)), 0);
	assert_int_equal(ftruncate(fd, RIG_BYTES), 0);
}

/* Whoever changed it did not ask: it is noticed, clients are asked, and what is there is served. */
static void test_unasked(void **state)
{
	static void (*const changes[])(int fd) = {cut, make_longer, cut_and_regrow};
	static const uint64_t sizes[] = {MIB(2), RIG_BYTES + MIB(1), RIG_BYTES};
	static const uint64_t backed[] = {MIB(2), RIG_BYTES, MIB(2)};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		struct holding_status status;

		make_full_file();
		up(&rig_defaults);
		atomic_store(&one.answers, true);
		(void)must_acquire(&one, 0, KIB(4));
		change_unasked(changes[i]);
		status = rig_wait(&rig, HOLDING_SERVING, 2);
		assert_int_equal(status.size_bytes, sizes[i]);
		assert_int_equal(status.backed_bytes, backed[i]);
		assert_int_equal(status.last.clients, 1);
		assert_int_equal(status.last.fenced_clients, 0);
		/* Once. */
		(void)must_acquire(&one, 0, KIB(4));
		holding_suspect(rig.h);
		(void)usleep(100000);
		assert_int_equal(rig_status(&rig).generation, 2);
		down();
	}
}

/* A look that finds the file as it is served changes nothing. */
static void test_nothing_unasked(void **state)
{
	(void)state;
	make_full_file();
	up(&rig_defaults);
	for (int i = 0; i < 5; i++) {
		holding_suspect(rig.h);
		(void)usleep(20000);
	}
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(rig_status(&rig).recalls, 0);
	down();
}

/*
 * Holes were filled, and who serves the old view does not let go of it: a host that does not answer.
 * Its keys go all the same, since nothing is in flight on them, and the landlord does not wait.
 */
static void test_recall_while_growing(void **state)
{
	struct grant_want want = {.length = MIB(4), .access = read_write, .allocate = true};
	struct rig_landlord landlord;

	(void)state;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, MIB(1));
	up(&rig_defaults);
	atomic_store(&rig.hold_publish, true);
	assert_int_equal(rig_acquire_want(&one, &want).status, NVME_SC_SUCCESS);
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, MIB(2));
	(void)rig_landlord_join(&landlord);
	assert_int_equal(rig_wait(&rig, HOLDING_SERVING, 2).backed_bytes, MIB(2));
	rig_release_publish(&rig);
	down();
}

/* The registrar is busy for others; a recall's work goes before what has not started. */
#define BUSY_WORKS 40
#define BUSY_US	   20000

static void be_busy(struct work *work)
{
	(void)work;
	(void)usleep(BUSY_US);
}

static void acquire_and_forget(void *arg, const struct grant_answer *answer)
{
	atomic_store((atomic_int *)arg, answer->status);
}

struct busy_call {
	struct grant_want want;
	struct work works[BUSY_WORKS];
	atomic_int status;
};

static void make_busy(void *arg)
{
	struct busy_call *call = arg;

	for (unsigned int i = 0; i < BUSY_WORKS; i++)
		pool_submit(rig.env.registrar, &call->works[i], POOL_NORMAL, be_busy, NULL, NULL);
	grant_acquire(rig.h, one.grants, &call->want, acquire_and_forget, &call->status);
}

static void test_recall_in_a_busy_host(void **state)
{
	static struct busy_call call;
	struct rig_landlord landlord;
	uint64_t took;

	(void)state;
	memset(&call, 0, sizeof(call));
	call.want.length = KIB(4);
	call.want.access = read_write;
	atomic_init(&call.status, -1);
	make_full_file();
	up(&rig_defaults);
	rig_call(&rig, make_busy, &call);
	(void)usleep(BUSY_US);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	took = rig_landlord_join(&landlord);
	assert_true(took < BUSY_WORKS * BUSY_US / 2 * NS_PER_US);
	assert_int_equal(atomic_load(&call.status), LH_SC_RECALLING);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	down();
}

#define MANY 10000

static void test_recall_of_many(void **state)
{
	struct rig_options options = rig_defaults;
	struct rig_landlord landlord;
	struct holding_status status;
	uint64_t took;

	(void)state;
	make_file("file", MIB(40));
	fill_file("file", 0, MIB(40));
	options.max_grants = MANY;
	up(&options);
	for (unsigned int i = 0; i < MANY; i++)
		(void)must_acquire(i % 2 ? &one : &two, KIB(4) * i, KIB(4));
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, MIB(1));
	took = rig_landlord_join(&landlord);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(status.last.grants, MANY);
	assert_int_equal(status.last.clients, 2);
	assert_int_equal(status.last.fenced_clients, 0);
	assert_int_equal(atomic_load(&rig.told), 2); /* once each, for all */
	print_message("[          ] recall of %d grants: %llu us\n", MANY,
		      (unsigned long long)us(took));
	down();
}

/* ---- no proof -------------------------------------------------------------------------------- */

#define BREAK_TIME   "/proc/sys/fs/lease-break-time"
#define BREAK_TIME_S 4

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	(void)close(fd);
}

/* A daemon in a process of its own whose block work hangs for ever. */
static int hang(const char *dir)
{
	struct rig_options options = rig_defaults;

	options.deadline_ms = 100;
	(void)snprintf(test_dir, sizeof(test_dir), "%s", dir);
	rig_up(&rig, &options);
	atomic_store(&rig.hold_quiesce, true);
	atomic_store(&rig.hold_forever, true);
	(void)write(STDOUT_FILENO, "r", 1);
	(void)sleep(60);
	return 0;
}

static void exec_hang(int in, int out, const void *arg)
{
	(void)in;
	(void)dup2(out, STDOUT_FILENO);
	(void)execl("/proc/self/exe", "test_holding", "--hang", (const char *)arg, NULL);
	_exit(1);
}

/* Without proof in half of the kernel's patience the daemon ends itself, before the landlord goes on. */
static void test_no_proof(void **state)
{
	struct rig_landlord landlord;
	struct child child;
	uint64_t took;
	int status;

	(void)state;
	if (!getenv("LEASEHOLD_TESTBED")) {
		print_message("[          ] changes fs.lease-break-time: in the testbed only\n");
		skip();
	}
	make_full_file();
	write_text(BREAK_TIME, "4");
	child_start(&child, exec_hang, test_dir);
	assert_int_equal(child_get(&child, 20000), 'r');
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, KIB(4));
	took = rig_landlord_join(&landlord);
	assert_int_equal(waitpid(child.pid, &status, 0), child.pid);
	write_text(BREAK_TIME, "45");
	(void)close(child.from);
	(void)close(child.to);
	print_message("[          ] truncate took %llu us\n", (unsigned long long)us(took));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_true(took > BREAK_TIME_S * NS_PER_S / 2 - 100 * NS_PER_MS);
	assert_true(took < BREAK_TIME_S * NS_PER_S);
}

/* ---- start and stop -------------------------------------------------------------------------- */

/* A process that has the file open. */
static void hold_open(int in, int out, const void *arg)
{
	if (open(arg, O_RDONLY) < 0)
		_exit(1);
	say(out, 'o');
	hear(in);
}

static void test_start_errors(void **state)
{
	struct rig_options options = rig_defaults;
	struct child child;

	(void)state;
	options.no_start = true;
	options.file = "missing";
	rig_up(&rig, &options);
	assert_int_equal(rig_start(&rig), -ENOENT);
	assert_int_equal(rig_status(&rig).state, HOLDING_OFFLINE);
	rig_down(&rig);

	/* Busy: refused with a name, and served at the second attempt. */
	make_full_file();
	options.file = "file";
	child_start(&child, hold_open, in_dir("file"));
	assert_int_equal(child_get(&child, 5000), 'o');
	rig_up(&rig, &options);
	assert_int_equal(rig_start(&rig), -EBUSY);
	print_message("[          ] %s\n", rig.start_why);
	assert_non_null(strstr(rig.start_why, "test_holding"));
	assert_int_equal(rig_status(&rig).state, HOLDING_OFFLINE);
	child_stop(&child);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_status(&rig).state, HOLDING_SERVING);
	rig_down(&rig);

	/* No kind of registration is there. (A real adapter can always pin tmpfs.) */
	options.software_memory = IWARP_MEMORY_PINNED;
	options.registration = rig_is_verbs() ? REGION_PINNED : REGION_ODP;
	if (!rig_is_verbs() || !dir_is_memory()) {
		rig_up(&rig, &options);
		assert_int_equal(rig_start(&rig), -EOPNOTSUPP);
		print_message("[          ] %s\n", rig.start_why);
		rig_down(&rig);
	}

	/* More than the kernel's patience allows. */
	options = rig_defaults;
	options.no_start = true;
	options.deadline_ms = 60000;
	rig_up(&rig, &options);
	assert_int_equal(rig_start(&rig), -ERANGE);
	print_message("[          ] %s\n", rig.start_why);
	rig_down(&rig);
}

static void test_wait_if_busy(void **state)
{
	struct rig_options options = rig_defaults;
	int fd;

	(void)state;
	make_full_file();
	options.wait_if_busy = true;
	fd = open(in_dir("file"), O_RDONLY | O_CLOEXEC);
	up(&options);
	assert_non_null(strstr(rig.start_why, "waiting"));
	assert_int_equal(rig_status(&rig).state, HOLDING_STARTING);
	assert_int_equal(rig_acquire(&one, 0, KIB(4), read_write).status, LH_SC_RECALLING);
	(void)close(fd);
	(void)rig_wait(&rig, HOLDING_SERVING, 1);
	(void)must_acquire(&one, 0, KIB(4));
	down();

	/* Stopped while it waits. */
	fd = open(in_dir("file"), O_RDONLY | O_CLOEXEC);
	up(&options);
	down();
	(void)close(fd);
}

static void test_stop(void **state)
{
	struct rig_landlord landlord;
	struct lh_grant g;

	(void)state;
	make_full_file();
	/* With grants: they are recalled. */
	up(&rig_defaults);
	g = must_acquire(&one, 0, KIB(64));
	rig_stop(&rig);
	assert_int_equal(rig_status(&rig).state, HOLDING_OFFLINE);
	assert_int_equal(atomic_load(&rig.told), 1);
	assert_int_equal(atomic_load(&rig.offline), 1);
	assert_dead(&one, &g);
	assert_int_equal(rig_acquire(&one, 0, KIB(4), read_write).status, NVME_SC_NS_NOT_READY);
	down();

	/* In the middle of a recall, and with a client that does not answer. */
	up(&rig_defaults);
	atomic_store(&one.answers, false);
	(void)must_acquire(&one, 0, KIB(64));
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_wait(&rig, HOLDING_RECALLING, 1);
	rig_stop(&rig);
	(void)rig_landlord_join(&landlord);
	down();

	/* And again, from the beginning, in the same process. */
	up(&rig_defaults);
	assert_int_equal(rig_status(&rig).generation, 1);
	down();
}

/* A stop right after the start, at whatever point that is. */
static void do_nothing(void *arg, int err, const char *why)
{
	(void)arg;
	(void)err;
	(void)why;
}

static void start_only(void *arg)
{
	holding_start(((struct rig *)arg)->h, do_nothing, NULL);
}

static atomic_uint held;

static void on_held(void *arg)
{
	(void)arg;
	atomic_fetch_add(&held, 1);
}

static void hold(void *arg)
{
	atomic_store(&held, 0);
	holding_hold(((struct rig *)arg)->h, on_held, NULL);
	start_only(arg);
}

static void go_on(void *arg)
{
	holding_go_on(((struct rig *)arg)->h);
}

static void wait_held(unsigned int times)
{
	for (unsigned int ms = 0; atomic_load(&held) < times; ms++) {
		assert_true(ms < RIG_WAIT_MS);
		(void)usleep(1000);
	}
}

static void look_held(void *arg)
{
	*(bool *)arg = holding_is_held(rig.h);
}

static bool is_held(void)
{
	bool is;

	rig_call(&rig, look_held, &is);
	return is;
}

/* Held, a start changes nothing: whether it is stopped, disturbed or goes on. */
static void test_held(void **state)
{
	struct rig_options options = rig_defaults;
	struct rig_landlord landlord;
	uint64_t before;
	int fd;

	(void)state;
	make_file("file", RIG_BYTES);
	before = allocated_bytes("file");
	options.no_start = options.allocate = options.wait_if_busy = true;
	rig_up(&rig, &options);
	rig_call(&rig, hold, &rig);
	wait_held(1);
	assert_int_equal(rig_status(&rig).state, HOLDING_STARTING);
	rig_down(&rig);
	assert_int_equal(allocated_bytes("file"), before);

	rig_up(&rig, &options);
	rig_call(&rig, hold, &rig);
	wait_held(1);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	wait_held(2);
	assert_int_equal(allocated_bytes("file"), before);
	assert_int_equal(rig_status(&rig).recalls, 0);
	rig_call(&rig, go_on, &rig);
	(void)rig_wait(&rig, HOLDING_SERVING, 1);
	assert_int_equal(rig_status(&rig).hole_bytes, 0);
	rig_down(&rig);

	/* While somebody has it open it is not held, and waits for him though busy = wait was not said. */
	make_file("file", RIG_BYTES);
	options.wait_if_busy = false;
	rig_up(&rig, &options);
	rig_call(&rig, hold, &rig);
	wait_held(1);
	assert_true(is_held());
	fd = open(in_dir("file"), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_false(is_held());
	rig_call(&rig, go_on, &rig);
	(void)usleep(100000);
	assert_int_equal(allocated_bytes("file"), before);
	(void)close(fd);
	(void)rig_wait(&rig, HOLDING_SERVING, 1);
	assert_int_equal(rig_status(&rig).hole_bytes, 0);
	rig_down(&rig);

	/* Without holes there is nothing to be held for. */
	make_full_file();
	options.allocate = false;
	rig_up(&rig, &options);
	rig_call(&rig, hold, &rig);
	(void)rig_wait(&rig, HOLDING_SERVING, 1);
	assert_int_equal(atomic_load(&held), 0);
	rig_down(&rig);
}

static void test_stop_while_starting(void **state)
{
	struct rig_options options = rig_defaults;

	(void)state;
	make_full_file();
	options.no_start = true;
	for (unsigned int i = 0; i < 40; i += rig_is_verbs() ? 5 : 1) {
		rig_up(&rig, &options);
		rig_call(&rig, start_only, &rig);
		(void)usleep(i * (rig_is_verbs() ? 100000 : 500));
		rig_down(&rig);
	}
}

/* ---- all at once ----------------------------------------------------------------------------- */

static atomic_bool storm_over;

/* Opens, truncates, grows: as fast as it can. */
static void storm(struct rig_landlord *l)
{
	unsigned int seed = 1;

	while (!atomic_load(&storm_over)) {
		int what = rand_r(&seed) % 4;

		if (what < 2)
			landlord_open_close(l);
		else if (truncate(l->path, (off_t)(MIB(2) * (1 + (unsigned int)what))) != 0)
			l->err = errno;
		(void)usleep((unsigned int)rand_r(&seed) %
			     (getenv("LEASEHOLD_TESTBED") ? 400000 : 3000));
	}
}

/* Landlords and clients together; the assertions are the rooms' own. */
static void test_storm(void **state)
{
	struct rig_options options = rig_defaults;
	unsigned int granted = 0, refused = 0, written = 0, seed = 5;
	struct rig_landlord landlord;
	struct holding_status status;
	uint64_t end;

	(void)state;
	make_full_file();
	options.deadline_ms = 100;
	options.expiry_ms = 50;
	up(&options);
	atomic_store(&storm_over, false);
	rig_landlord_start(&landlord, in_dir("file"), storm, 0);
	end = now_ns() + (getenv("LEASEHOLD_TESTBED") ? 10 : 3) * NS_PER_S;
	while (now_ns() < end) {
		struct rig_client *c = rand_r(&seed) % 2 ? &one : &two;
		struct grant_want want = {
			.offset = KIB(4) * ((unsigned int)rand_r(&seed) % 1024),
			.length = KIB(4) * (1 + (unsigned int)rand_r(&seed) % 64),
			.access = rand_r(&seed) % 2 ? read_write : LH_GRANT_READ,
			.allocate = rand_r(&seed) % 2,
		};
		struct grant_answer answer = rig_acquire_want(c, &want);
		uint8_t bytes[64] = {0};

		/* One that was fenced comes again as a new client. */
		if (answer.status == LH_SC_NO_DIRECT_QUEUE) {
			rig_client_down(c);
			rig_client_up(&rig, c);
			continue;
		}
		atomic_store(&c->answers, rand_r(&seed) % 8 != 0);
		if (answer.status) {
			refused++;
			continue;
		}
		granted++;
		if (rig_rdma_read(c, le64toh(answer.grants[0].address),
				  le32toh(answer.grants[0].rkey), bytes, sizeof(bytes)) == 0)
			written++;
		else
			rig_client_reconnect(c);
		if (rand_r(&seed) % 2)
			(void)rig_release(c, want.offset, want.length, 0);
	}
	atomic_store(&storm_over, true);
	(void)rig_landlord_join(&landlord);
	atomic_store(&one.answers, true);
	atomic_store(&two.answers, true);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	print_message("[          ] %u generations, %u granted, %u refused, %u transfers\n",
		      status.generation, granted, refused, written);
	/* How many there were depends on how much the landlord lets be made. */
	assert_true(status.generation > 2);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_truncate),
		leaks_test(test_silent_client),
		leaks_test(test_no_grants),
		leaks_test(test_hanging_block_work),
		leaks_test(test_held_open),
		leaks_test(test_emptied),
		leaks_test(test_deleted),
		leaks_test(test_deleted_is_said),
		leaks_test(test_renamed_is_said),
		leaks_test(test_unasked),
		leaks_test(test_nothing_unasked),
		leaks_test(test_recall_while_growing),
		leaks_test(test_recall_in_a_busy_host),
		leaks_test(test_recall_of_many),
		leaks_test(test_no_proof),
		leaks_test(test_start_errors),
		leaks_test(test_wait_if_busy),
		leaks_test(test_stop),
		leaks_test(test_held),
		leaks_test(test_stop_while_starting),
		leaks_test(test_storm),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--hang") == 0) {
		rig_warm_up();
		return hang(argv[2]);
	}
	return rig_main(run_group);
}
