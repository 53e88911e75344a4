// SPDX-License-Identifier: BSD-3-Clause
/*
 * Ranges that landlords and local tools want back while the rest is served on: who is asked, what
 * dies, what lives, and what comes back. With the real rooms below.
 */
#include "grant_rig.h"

#include <fcntl.h>

#include "iwarp/iwarp.h"

#define RW (LH_GRANT_READ | LH_GRANT_WRITE)

static struct rig rig;
static struct rig_client one, two;

static void up(const struct rig_options *options)
{
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
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

/* ---- the landlord ---------------------------------------------------------------------------- */

struct wanted {
	struct holding_range range;
	sem_t proven, ended;
	bool proof_was_true;
};

static void on_proven(struct holding_range *r)
{
	struct wanted *w = container_of(r, struct wanted, range);
	const struct serving *s = rig.serving;

	/* Whatever is served now does not reach it, and nobody was given a key. */
	w->proof_was_true = true;
	if (s && holding_export(rig.h)) {
		struct holding_status status;

		holding_status(rig.h, &status);
		if (status.state == HOLDING_SERVING)
			w->proof_was_true = region_find(s->regions[0], r->offset) == NULL &&
					    !view_backed(s->view, r->offset, 1);
	}
	(void)sem_post(&w->proven);
}

static void on_ended(struct holding_range *r)
{
	(void)sem_post(&container_of(r, struct wanted, range)->ended);
}

static void want_there(void *arg)
{
	holding_recall_range(rig.h, &((struct wanted *)arg)->range);
}

static void want(struct wanted *w, uint64_t offset, uint64_t length, bool tenure)
{
	memset(w, 0, sizeof(*w));
	(void)sem_init(&w->proven, 0, 0);
	(void)sem_init(&w->ended, 0, 0);
	w->range.offset = offset;
	w->range.length = length;
	w->range.tenure = tenure;
	w->range.done = on_proven;
	w->range.ended = on_ended;
	rig_call(&rig, want_there, w);
}

static void await(sem_t *sem)
{
	struct timespec end;

	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += RIG_WAIT_MS / 1000;
	assert_int_equal(sem_timedwait(sem, &end), 0);
}

static void get(struct wanted *w, uint64_t offset, uint64_t length)
{
	want(w, offset, length, false);
	await(&w->proven);
	assert_true(w->proof_was_true);
}

static void end_there(void *arg)
{
	holding_recall_end(&((struct wanted *)arg)->range);
}

static void give(struct wanted *w)
{
	rig_call(&rig, end_there, w);
	await(&w->ended);
}

static int write_to(struct rig_client *c, const struct grant_answer *g, uint64_t at)
{
	uint64_t word = 0x1122334455667788;

	return rig_write(c, le64toh(g->grants[0].address) + at, le32toh(g->grants[0].rkey), &word,
			 8);
}

/* Of the slices that are registered for block commands: how many, and how much in all. */
static void assert_registered(unsigned int slices, uint64_t bytes)
{
	struct holding_status status = rig_status(&rig);

	assert_int_equal(status.registrations[0], slices);
	assert_int_equal(status.registered_bytes[0], bytes);
}

static void wait_registered(unsigned int slices, uint64_t bytes)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;

	while (rig_status(&rig).registered_bytes[0] != bytes && now_ns() < end)
		(void)usleep(1000);
	assert_registered(slices, bytes);
}

struct look {
	uint64_t offset;
	bool registered, backed;
};

static void look_there(void *arg)
{
	struct look *l = arg;

	l->registered = region_find(rig.serving->regions[0], l->offset) != NULL;
	l->backed = view_backed(rig.serving->view, l->offset, 1);
}

static bool is_served(uint64_t offset)
{
	struct look l = {.offset = offset};

	rig_call(&rig, look_there, &l);
	return l.registered && l.backed;
}

static void assert_served(uint64_t offset, bool served)
{
	struct look l = {.offset = offset};

	rig_call(&rig, look_there, &l);
	assert_int_equal(l.registered, served);
	assert_int_equal(l.backed, served);
}

/* ---- one range ------------------------------------------------------------------------------- */

/* Two clients in two halves: only the one in the range is asked, and only its key dies. */
static void test_half(void **state)
{
	struct grant_answer a, b;
	struct wanted w;

	(void)state;
	up(&rig_defaults);
	a = rig_acquire(&one, 0, MIB(8), RW);
	b = rig_acquire(&two, MIB(8), MIB(8), RW);
	assert_int_equal(a.status | b.status, 0);
	get(&w, MIB(2), MIB(1));
	assert_int_equal(atomic_load(&one.told), 1);
	assert_int_equal(atomic_load(&one.told_offset), MIB(2));
	assert_int_equal(atomic_load(&one.told_length), MIB(1));
	assert_int_equal(atomic_load(&two.told), 0);
	assert_int_equal(rig_status(&rig).state, HOLDING_SERVING);
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(rig_status(&rig).recalls, 0);
	assert_int_equal(rig_status(&rig).range_recalls, 1);
	assert_int_equal(write_to(&two, &b, 0), FABRIC_OK);
	assert_int_not_equal(write_to(&one, &a, MIB(2)), FABRIC_OK);
	rig_client_reconnect(&one);
	assert_served(MIB(2), false);
	assert_int_equal(rig_status(&rig).reclaimed_bytes, MIB(1));
	assert_int_equal(rig_status(&rig).hole_bytes, 0);
	assert_int_equal(rig_status(&rig).backed_bytes, RIG_BYTES - MIB(1));
	assert_int_equal(atomic_load(&rig.range_seals), 1);
	/* Around it there is something to be had, in it there is not. */
	a = rig_acquire(&one, 0, MIB(8), RW);
	assert_int_equal(a.status, 0);
	assert_int_equal(a.covered_length, MIB(2));
	a = rig_acquire(&one, MIB(2) + 4096, 4096, RW);
	assert_int_equal(a.status, LH_SC_RECALLING);
	assert_int_equal(a.held_length, MIB(1) - 4096);
	assert_false(a.reclaimed);
	assert_int_equal(rig_acquire(&one, MIB(3), 4096, RW).status, 0);
	give(&w);
	assert_int_equal(atomic_load(&rig.range_seals), 0);
	assert_true(atomic_load(&rig.regrants) >= 1);
	assert_served(MIB(2), true);
	assert_int_equal(rig_status(&rig).hole_bytes, 0);
	assert_int_equal(rig_status(&rig).generation, 1);
	a = rig_acquire(&one, MIB(2), MIB(1), RW);
	assert_int_equal(a.status, 0);
	assert_int_equal(a.covered_length, MIB(1));
	assert_int_equal(write_to(&two, &b, MIB(1)), FABRIC_OK);
	assert_int_equal(rig_status(&rig).recalls, 0);
	down();
}

/* Who holds something there and is silent is fenced; nobody else is. */
static void test_silent(void **state)
{
	struct rig_options options = rig_defaults;
	struct grant_answer a, b;
	struct wanted w;

	(void)state;
	options.deadline_ms = 1000;
	up(&options);
	a = rig_acquire(&one, 0, MIB(8), RW);
	b = rig_acquire(&two, MIB(8), MIB(8), RW);
	assert_int_equal(a.status | b.status, 0);
	atomic_store(&one.answers, false);
	atomic_store(&two.answers, false);
	get(&w, MIB(2), MIB(1));
	assert_int_not_equal(write_to(&one, &a, 0), FABRIC_OK);
	assert_int_equal(write_to(&two, &b, 0), FABRIC_OK);
	assert_int_equal(atomic_load(&rig.range_fences), 0);
	give(&w);
	assert_int_equal(rig_status(&rig).generation, 1);
	down();
}

/* Keeps the registrar from everything else. */
struct stall {
	struct work work;
	sem_t over;
};

static void stall(struct work *work)
{
	(void)sem_wait(&container_of(work, struct stall, work)->over);
}

static void *acquire_main(void *arg)
{
	struct grant_answer *answer = arg;

	*answer = rig_acquire(&one, MIB(8), MIB(1), RW);
	return NULL;
}

static bool is_making(const struct grant_status *status, void *arg)
{
	*(bool *)arg |= strcmp(status->state, "making") == 0;
	return true;
}

static void look_for_making(void *arg)
{
	holding_each_grant(rig.h, 0, 0, is_making, arg);
}

/* Who is fenced gets nothing elsewhere either, not even what was under way. */
static void test_silent_acquires(void **state)
{
	struct rig_options options = rig_defaults;
	struct grant_answer answer;
	struct stall stalled;
	bool making = false;
	pthread_t thread;
	struct wanted w;

	(void)state;
	options.deadline_ms = 100;
	up(&options);
	atomic_store(&one.answers, false);
	assert_int_equal(rig_acquire(&one, 0, MIB(1), RW).status, 0);
	(void)sem_init(&stalled.over, 0, 0);
	pool_submit(rig.env.registrar, &stalled.work, POOL_URGENT, stall, NULL, NULL);
	assert_int_equal(pthread_create(&thread, NULL, acquire_main, &answer), 0);
	while (!making) {
		(void)usleep(1000);
		rig_call(&rig, look_for_making, &making);
	}
	want(&w, 0, MIB(1), false);
	while (rig_status(&rig).last_range.fenced_clients == 0)
		(void)usleep(1000);
	(void)sem_post(&stalled.over);
	(void)pthread_join(thread, NULL);
	assert_int_equal(answer.status, LH_SC_NO_DIRECT_QUEUE);
	await(&w.proven);
	assert_true(w.proof_was_true);
	assert_int_equal(rig_status(&rig).grants, 0);
	give(&w);
	(void)sem_destroy(&stalled.over);
	down();
}

/*
 * The file is one slice, and a page of it is wanted: block commands reach the rest of it straight, from the
 * first serving without the page on, while a client lets go of it or does not; and it is one slice again.
 */
static void test_beside(void **state)
{
	const uint64_t at = MIB(2) + 4096, page = 4096;
	struct rig_options options = rig_defaults;
	struct wanted w, wider;

	(void)state;
	options.deadline_ms = 500;
	up(&options);
	assert_registered(1, RIG_BYTES);
	assert_int_equal(rig_acquire(&one, at, page, RW).status, 0);
	atomic_store(&one.answers, false);
	want(&w, at, page, false);
	while (is_served(at))
		(void)usleep(1000);
	assert_int_equal(sem_trywait(&w.proven), -1);
	assert_served(0, true);
	assert_served(at - 1, true);
	assert_served(at + page, true);
	assert_served(RIG_BYTES - 1, true);
	assert_registered(2, RIG_BYTES - page);
	await(&w.proven);
	assert_true(w.proof_was_true);
	assert_registered(2, RIG_BYTES - page);
	/* Another one, in what was left of it. */
	get(&wider, MIB(8), MIB(1));
	assert_registered(3, RIG_BYTES - page - MIB(1));
	give(&w);
	assert_registered(2, RIG_BYTES - MIB(1));
	give(&wider);
	assert_registered(1, RIG_BYTES);
	down();
}

/* Where an adapter holds no more than there is, the rest comes when what was there is gone. */
static void test_beside_in_turn(void **state)
{
	struct rig_options options = rig_defaults;
	struct wanted w;

	(void)state;
	options.cache.max_registrations = 2;
	up(&options);
	get(&w, MIB(2), MIB(1));
	wait_registered(2, RIG_BYTES - MIB(1));
	give(&w);
	wait_registered(1, RIG_BYTES);
	down();
}

/* Block work on it that does not end is fenced, and nothing else happens. */
static void test_stuck(void **state)
{
	struct rig_options options = rig_defaults;
	struct wanted w;

	(void)state;
	options.deadline_ms = 100;
	up(&options);
	atomic_store(&rig.hold_drain, true);
	want(&w, MIB(2), MIB(1), false);
	(void)usleep(50000);
	assert_int_equal(sem_trywait(&w.proven), -1);
	await(&w.proven);
	assert_int_equal(atomic_load(&rig.range_fences), 1);
	assert_int_equal(atomic_load(&rig.fenced), 0);
	assert_int_equal(rig_status(&rig).recalls, 0);
	atomic_store(&rig.hold_drain, false);
	give(&w);
	down();
}

/* A reactor that hangs: the whole export is recalled, with the means that that has. */
static void test_escalates(void **state)
{
	struct rig_options options = rig_defaults;
	struct wanted w;

	(void)state;
	options.deadline_ms = 100;
	up(&options);
	atomic_store(&rig.hold_drain, true);
	atomic_store(&rig.hold_forever, true);
	atomic_store(&rig.hold_quiesce, true);
	want(&w, MIB(2), MIB(1), false);
	while (atomic_load(&rig.fenced) == 0)
		(void)usleep(1000);
	assert_int_equal(sem_trywait(&w.proven), -1);
	atomic_store(&rig.hold_drain, false);
	atomic_store(&rig.hold_forever, false);
	atomic_store(&rig.hold_quiesce, false);
	rig_release_quiesce(&rig);
	await(&w.proven);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	/* It is not forgotten over that. */
	assert_served(MIB(2), false);
	give(&w);
	assert_served(MIB(2), true);
	assert_int_equal(rig_status(&rig).generation, 2);
	down();
}

/* To the end of the file, and all of it: the generation stays as long as the size does. */
static void test_all_of_it(void **state)
{
	struct grant_answer a;
	struct wanted w;

	(void)state;
	up(&rig_defaults);
	a = rig_acquire(&one, 0, MIB(8), RW);
	assert_int_equal(a.status, 0);
	get(&w, MIB(12) + 5, 0);
	assert_int_equal(atomic_load(&one.told), 0);
	assert_served(RIG_BYTES - 1, false);
	assert_int_equal(write_to(&one, &a, 0), FABRIC_OK);
	give(&w);
	get(&w, 0, 0);
	assert_int_equal(atomic_load(&one.told), 1);
	assert_int_equal(atomic_load(&one.told_offset), 0);
	assert_int_equal(atomic_load(&one.told_length), RIG_BYTES);
	give(&w);
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(rig_status(&rig).backed_bytes, RIG_BYTES);
	down();
}

/* ---- what landlords do ----------------------------------------------------------------------- */

static void fill_through(int fd, uint64_t offset, size_t length)
{
	uint8_t *bytes = malloc(length);

	assert_non_null(bytes);
	memset(bytes, 0x5a, length);
	assert_int_equal(pwrite(fd, bytes, length, (off_t)offset), length);
	free(bytes);
}

/* Blocks that are gone when it ends are not registered; those that came back are. */
static void test_fresh_look(void **state)
{
	struct wanted w;
	int fd;

	(void)state;
	up(&rig_defaults);
	fd = export_fd(holding_export(rig.h));
	get(&w, MIB(2), MIB(2));
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB(2), MIB(1)),
			 0);
	give(&w);
	assert_served(MIB(2), false);
	assert_served(MIB(3), true);
	assert_int_equal(rig_status(&rig).hole_bytes, MIB(1));
	assert_int_equal(rig_acquire(&one, MIB(2), 4096, RW).status, LH_SC_NOT_BACKED);
	get(&w, 0, MIB(4));
	fill_through(fd, MIB(2), MIB(1));
	give(&w);
	assert_served(MIB(2), true);
	assert_int_equal(rig_status(&rig).generation, 1);
	down();
}

/* A file that is shorter by what was recalled ends there, and that is all. */
static void test_truncated(void **state)
{
	struct grant_answer a;
	struct wanted w;

	(void)state;
	up(&rig_defaults);
	a = rig_acquire(&one, 0, MIB(1), RW);
	assert_int_equal(a.status, 0);
	get(&w, MIB(8), 0);
	assert_int_equal(ftruncate(export_fd(holding_export(rig.h)), MIB(9) + 512), 0);
	give(&w);
	assert_int_equal(rig_status(&rig).size_bytes, MIB(9) + 512);
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(rig_status(&rig).recalls, 0);
	assert_int_equal(atomic_load(&rig.changes), 2);
	assert_served(MIB(9), true);
	assert_served(MIB(9) + 4096, false);
	assert_int_equal(write_to(&one, &a, 0), FABRIC_OK);
	assert_int_equal(rig_acquire(&one, MIB(9), 4096, RW).status, 0);
	assert_int_equal(rig_acquire(&one, MIB(9) + 4096, 4096, RW).status, NVME_SC_LBA_RANGE);
	down();
}

/* Longer takes another mapping, and shorter by more others' keys: a new generation, at once. */
static void test_other_size(void **state)
{
	struct wanted w;

	(void)state;
	up(&rig_defaults);
	get(&w, MIB(8), 0);
	assert_int_equal(ftruncate(export_fd(holding_export(rig.h)), RIG_BYTES + MIB(1)), 0);
	give(&w);
	assert_int_equal(rig_wait(&rig, HOLDING_SERVING, 2).size_bytes, RIG_BYTES + MIB(1));
	assert_served(MIB(8), true);
	get(&w, MIB(8), MIB(1));
	assert_int_equal(ftruncate(export_fd(holding_export(rig.h)), MIB(8)), 0);
	give(&w);
	assert_int_equal(rig_wait(&rig, HOLDING_SERVING, 3).size_bytes, MIB(8));
	down();
}

/* Holes elsewhere cannot be filled before the look at the new size: who wants that is told to wait. */
static void test_growth_meanwhile(void **state)
{
	const struct grant_want want_hole = {
		.offset = MIB(1),
		.length = 4096,
		.access = RW,
		.allocate = true,
	};
	struct wanted w;
	int fd;

	(void)state;
	up(&rig_defaults);
	fd = export_fd(holding_export(rig.h));
	get(&w, MIB(1), MIB(1));
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB(1), MIB(1)),
			 0);
	give(&w);
	get(&w, MIB(12), 0);
	assert_int_equal(ftruncate(fd, MIB(13)), 0);
	assert_int_equal(rig_acquire_want(&one, &want_hole).status, LH_SC_RECALLING);
	give(&w);
	assert_int_equal(rig_acquire_want(&one, &want_hole).status, NVME_SC_SUCCESS);
	assert_int_equal(rig_status(&rig).generation, 1);
	down();
}

/* ---- several --------------------------------------------------------------------------------- */

static void test_several(void **state)
{
	struct grant_answer a, b;
	struct wanted w[4];

	(void)state;
	up(&rig_defaults);
	a = rig_acquire(&one, 0, MIB(1), RW);
	assert_int_equal(a.status, 0);
	want(&w[0], MIB(2), MIB(2), false);
	want(&w[1], MIB(3), MIB(2), false);
	want(&w[2], MIB(2), MIB(2), false);
	want(&w[3], MIB(10), 4096, false);
	for (unsigned int i = 0; i < 4; i++) {
		await(&w[i].proven);
		assert_true(w[i].proof_was_true);
	}
	give(&w[0]);
	assert_served(MIB(2), false); /* the third wants it still */
	give(&w[2]);
	assert_served(MIB(2), true);
	assert_served(MIB(3), false);
	assert_served(MIB(10), false);
	b = rig_acquire(&two, MIB(3), 4096, RW);
	assert_int_equal(b.status, LH_SC_RECALLING);
	assert_int_equal(b.held_length, MIB(2)); /* to where the other one ends */
	give(&w[3]);
	give(&w[1]);
	assert_served(MIB(3), true);
	assert_int_equal(write_to(&one, &a, 0), FABRIC_OK);
	assert_int_equal(atomic_load(&rig.range_seals), 0);
	down();
}

/* Ended before it is proven: both are told, in order. */
static void test_ended_early(void **state)
{
	struct rig_options options = rig_defaults;
	struct wanted w;

	(void)state;
	options.deadline_ms = 200;
	up(&options);
	atomic_store(&one.answers, false);
	assert_int_equal(rig_acquire(&one, 0, MIB(8), RW).status, 0);
	want(&w, MIB(2), MIB(1), false);
	rig_call(&rig, end_there, &w);
	assert_int_equal(sem_trywait(&w.ended), -1);
	await(&w.proven);
	await(&w.ended);
	assert_served(MIB(2), true);
	down();
}

/* ---- with a recall of the whole export ------------------------------------------------------- */

static void test_overtaken(void **state)
{
	struct rig_options options = rig_defaults;
	struct rig_landlord landlord;
	struct wanted w, late;

	(void)state;
	options.deadline_ms = 300;
	up(&options);
	atomic_store(&one.answers, false);
	assert_int_equal(rig_acquire(&one, 0, MIB(8), RW).status, 0);
	want(&w, MIB(2), MIB(1), false);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_wait(&rig, HOLDING_RECALLING, 1);
	want(&late, MIB(4), MIB(1), false);
	await(&w.proven);
	await(&late.proven);
	(void)rig_landlord_join(&landlord);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_served(MIB(2), false);
	assert_served(MIB(4), false);
	assert_served(MIB(6), true);
	give(&w);
	give(&late);
	assert_served(MIB(2), true);
	assert_served(MIB(4), true);
	assert_int_equal(rig_status(&rig).generation, 2);
	down();
}

/* While somebody has the file open there is nothing to recall; and it ends without being served. */
static void test_released(void **state)
{
	struct wanted w, x;
	int fd;

	(void)state;
	up(&rig_defaults);
	fd = open(in_dir("file"), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	(void)rig_wait(&rig, HOLDING_RELEASED, 1);
	want(&w, MIB(2), MIB(1), false);
	want(&x, MIB(4), MIB(1), false);
	await(&w.proven);
	await(&x.proven);
	give(&x);
	(void)close(fd);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_served(MIB(2), false);
	assert_served(MIB(4), true);
	give(&w);
	assert_served(MIB(2), true);
	down();
}

static void test_stopped(void **state)
{
	struct wanted w, x;

	(void)state;
	up(&rig_defaults);
	get(&w, MIB(2), MIB(1));
	want(&x, MIB(4), MIB(1), false);
	rig_stop(&rig);
	await(&x.proven);
	give(&w);
	give(&x);
	assert_int_equal(rig_start(&rig), 0);
	assert_served(MIB(2), true);
	down();
}

/* ---- reclaim --------------------------------------------------------------------------------- */

struct asked {
	struct holding_reclaim want;
	sem_t sem;
	int err;
};

static void on_reclaimed(void *arg, int err, const char *why)
{
	struct asked *a = arg;

	(void)why;
	a->err = err;
	(void)sem_post(&a->sem);
}

static void reclaim_there(void *arg)
{
	holding_reclaim(rig.h, &((struct asked *)arg)->want, on_reclaimed, arg);
}

static int reclaim(uint64_t offset, uint64_t length, bool whole, unsigned int hold_ms)
{
	struct asked a = {.want = {.offset = offset,
				   .length = length,
				   .whole = whole,
				   .hold_ns = hold_ms * NS_PER_MS}};

	(void)sem_init(&a.sem, 0, 0);
	rig_call(&rig, reclaim_there, &a);
	await(&a.sem);
	return a.err;
}

static void end_reclaims(void *arg)
{
	*(unsigned int *)arg = holding_reclaim_end(rig.h);
}

/* The tenure goes too: others open the file at once, and it is left to them as long as was said. */
static void test_reclaim_whole(void **state)
{
	struct grant_answer answer;
	uint64_t began;
	int fd;

	(void)state;
	up(&rig_defaults);
	assert_int_equal(rig_acquire(&one, 0, MIB(8), RW).status, 0);
	assert_int_equal(reclaim(0, 0, true, 500), 0);
	began = now_ns();
	assert_int_equal(atomic_load(&one.told), 1);
	assert_int_equal(rig_status(&rig).state, HOLDING_RELEASED);
	fd = open(in_dir("file"), O_RDWR | O_CLOEXEC | O_NONBLOCK);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, MIB(10)), 0);
	(void)close(fd);
	answer = rig_acquire(&one, 0, 4096, RW);
	assert_int_equal(answer.status, LH_SC_RECALLING);
	assert_true(answer.reclaimed);
	assert_int_equal(answer.held_length, 0);
	(void)usleep(200000);
	assert_int_equal(rig_status(&rig).state, HOLDING_RELEASED);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_true(now_ns() - began >= 450 * NS_PER_MS);
	assert_int_equal(rig_status(&rig).size_bytes, MIB(10));
	/* Without a time it is taken again at once. */
	assert_int_equal(reclaim(0, 0, true, 0), 0);
	(void)rig_wait(&rig, HOLDING_SERVING, 3);
	down();
}

static void test_reclaim_part(void **state)
{
	struct grant_answer b;
	unsigned int n = 0;

	(void)state;
	up(&rig_defaults);
	b = rig_acquire(&two, MIB(8), MIB(8), RW);
	assert_int_equal(b.status, 0);
	assert_int_equal(reclaim(MIB(2), MIB(1), false, 200), 0);
	assert_served(MIB(2), false);
	assert_int_equal(write_to(&two, &b, 0), FABRIC_OK);
	while (atomic_load(&rig.regrants) == 0)
		(void)usleep(1000);
	assert_served(MIB(2), true);
	/* Before its time. */
	assert_int_equal(reclaim(MIB(2), MIB(1), false, 3600000), 0);
	assert_int_equal(reclaim(MIB(4), 0, false, 3600000), 0);
	rig_call(&rig, end_reclaims, &n);
	assert_int_equal(n, 2);
	while (atomic_load(&rig.regrants) < 3)
		(void)usleep(1000);
	assert_served(MIB(2), true);
	assert_served(MIB(4), true);
	assert_int_equal(reclaim(RIG_BYTES, 0, false, 0), -EINVAL);
	/* One that holds is no reason not to stop. */
	assert_int_equal(reclaim(MIB(2), MIB(1), false, 3600000), 0);
	assert_int_equal(reclaim(0, 0, true, 3600000), 0);
	down();
}

/* ---- storm ----------------------------------------------------------------------------------- */

static atomic_bool storm_over;

static void storm(struct rig_landlord *l)
{
	while (!atomic_load(&storm_over)) {
		int fd = open(l->path, O_RDONLY | O_CLOEXEC);

		if (fd >= 0)
			(void)close(fd);
		(void)usleep(30000);
	}
}

static void on_punched(struct holding_punch *punch, int err)
{
	(void)err;
	free(punch);
}

static void punch_there(void *arg)
{
	holding_punch(rig.h, arg);
}

/* Ranges, landlords of the whole, grants and holes together; the assertions are the rooms' own. */
static void test_storm(void **state)
{
	static struct export_range hole = {.offset = MIB(5), .length = KIB(64)};
	static struct wanted w[8];
	bool used[8] = {false};
	struct rig_landlord landlord;
	struct rig_options options = rig_defaults;
	unsigned int seed = 7, proven = 0;
	uint64_t end;

	(void)state;
	options.deadline_ms = 100;
	up(&options);
	atomic_store(&storm_over, false);
	rig_landlord_start(&landlord, in_dir("file"), storm, 0);
	end = now_ns() + 3 * NS_PER_S;
	while (now_ns() < end) {
		unsigned int i = (unsigned int)rand_r(&seed) % 8;
		uint64_t offset = KIB(4) * ((unsigned int)rand_r(&seed) % 4000);

		if (used[i]) {
			if (rand_r(&seed) % 2) {
				await(&w[i].proven);
				proven++;
			}
			rig_call(&rig, end_there, &w[i]);
			await(&w[i].ended);
			used[i] = false;
		} else {
			want(&w[i], offset, KIB(4) * (1 + (unsigned int)rand_r(&seed) % 512),
			     rand_r(&seed) % 32 == 0);
			used[i] = true;
		}
		(void)rig_acquire(rand_r(&seed) % 2 ? &one : &two, offset, KIB(16), RW);
		if (rand_r(&seed) % 8 == 0) {
			struct holding_punch *p = calloc(1, sizeof(*p));

			assert_non_null(p);
			p->ranges = &hole;
			p->nr_ranges = 1;
			p->done = on_punched;
			rig_call(&rig, punch_there, p);
		}
	}
	atomic_store(&storm_over, true);
	(void)rig_landlord_join(&landlord);
	for (unsigned int i = 0; i < 8; i++) {
		if (used[i])
			give(&w[i]);
	}
	print_message("[          ] %u proven, %llu of ranges, %llu of the whole\n", proven,
		      (unsigned long long)rig_status(&rig).range_recalls,
		      (unsigned long long)rig_status(&rig).recalls);
	assert_true(rig_status(&rig).range_recalls > 10);
	(void)rig_wait(&rig, HOLDING_SERVING, 1);
	assert_int_equal(atomic_load(&rig.range_seals), 0);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_half),
		leaks_test(test_silent),
		leaks_test(test_silent_acquires),
		leaks_test(test_beside),
		leaks_test(test_beside_in_turn),
		leaks_test(test_stuck),
		leaks_test(test_escalates),
		leaks_test(test_all_of_it),
		leaks_test(test_fresh_look),
		leaks_test(test_truncated),
		leaks_test(test_other_size),
		leaks_test(test_growth_meanwhile),
		leaks_test(test_several),
		leaks_test(test_ended_early),
		leaks_test(test_overtaken),
		leaks_test(test_released),
		leaks_test(test_stopped),
		leaks_test(test_reclaim_whole),
		leaks_test(test_reclaim_part),
		leaks_test(test_storm),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run_group);
}
