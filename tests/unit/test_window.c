// SPDX-License-Identifier: BSD-3-Clause
/*
 * Grants that are windows (grant_keys = window): what they reach and whom they serve, what they are bound
 * to and how long that lives, and what becomes of them in a recall. With the real rooms below, on the
 * software fabric.
 */
#include "grant_rig.h"

#include "util/log.h"

#define RW    (LH_GRANT_READ | LH_GRANT_WRITE)
#define SLICE GRANT_SLAB_BYTES

static struct rig rig;
static struct rig_client one, two;

/* ---- what is registered: a stand-in by the linker's --wrap ------------------------------------ */

static atomic_int failing; /* so many of the next fail */
static atomic_uint registered;
static atomic_int kill_failures;
static atomic_uint killed;
static atomic_int slabs_at_punch;  /* that were there when a hole was punched; -1: none was */
static _Atomic uint64_t slab_iova; /* of the last one */
static _Atomic uint32_t slab_rkey;

int __real_grant_slab_register(struct fabric_pd *pd, const struct view *view,
			       const struct region_probe *probe, struct grant_slab *slab);
int __wrap_grant_slab_register(struct fabric_pd *pd, const struct view *view,
			       const struct region_probe *probe, struct grant_slab *slab);

int __wrap_grant_slab_register(struct fabric_pd *pd, const struct view *view,
			       const struct region_probe *probe, struct grant_slab *slab)
{
	bool news = slab->mr == NULL;
	int err;

	if (atomic_load(&failing) > 0) {
		atomic_fetch_sub(&failing, 1);
		return -ENOMEM;
	}
	err = __real_grant_slab_register(pd, view, probe, slab);
	if (err == 0 && news) {
		atomic_fetch_add(&registered, 1);
		atomic_store(&slab_iova, slab->mr->iova);
		atomic_store(&slab_rkey, slab->mr->rkey);
	}
	return err;
}

int __real_grant_slab_kill(struct grant_slab *slab);
int __wrap_grant_slab_kill(struct grant_slab *slab);

int __wrap_grant_slab_kill(struct grant_slab *slab)
{
	/* Tried again later: whoever does not wait for it shows. */
	if (atomic_load(&kill_failures) > 0) {
		atomic_fetch_sub(&kill_failures, 1);
		return -EBUSY;
	}
	atomic_fetch_add(&killed, 1);
	return __real_grant_slab_kill(slab);
}

int __real_export_punch(const struct export *e, const struct export_range *ranges,
			unsigned int nr_ranges);
int __wrap_export_punch(const struct export *e, const struct export_range *ranges,
			unsigned int nr_ranges);

int __wrap_export_punch(const struct export *e, const struct export_range *ranges,
			unsigned int nr_ranges)
{
	atomic_store(&slabs_at_punch, (int)(atomic_load(&registered) - atomic_load(&killed)));
	return __real_export_punch(e, ranges, nr_ranges);
}

/* ---- the rig --------------------------------------------------------------------------------- */

static struct rig_options options_of_windows(void)
{
	struct rig_options options = rig_defaults;

	options.windows = true;
	return options;
}

static void up_with(const struct rig_options *options)
{
	rig_up(&rig, options);
	rig_client_up(&rig, &one);
	rig_client_up(&rig, &two);
	atomic_store(&registered, 0);
	atomic_store(&killed, 0);
	atomic_store(&slabs_at_punch, -1);
	atomic_store(&failing, 0);
}

static void up(void)
{
	const struct rig_options options = options_of_windows();

	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	up_with(&options);
}

static void down(void)
{
	rig_client_down(&one);
	rig_client_down(&two);
	assert_int_equal(rig_status(&rig).grants, 0);
	rig_down(&rig);
}

static struct lh_grant acquire(struct rig_client *c, uint64_t offset, uint64_t length,
			       unsigned int access)
{
	const struct grant_answer answer = rig_acquire(c, offset, length, access);
	const struct lh_grant g = rig_grant_of(&answer, 0);

	assert_int_equal(answer.count, 1);
	assert_int_equal(g.length, length);
	return g;
}

/* Writes and reads back at `at` of the grant, and finds it in the file. */
static void assert_works(struct rig_client *c, const struct lh_grant *g, uint64_t at)
{
	uint64_t word, seen = 0;

	random_bytes(&word, sizeof(word));
	assert_int_equal(rig_write(c, g->address + at, g->rkey, &word, 8), FABRIC_OK);
	assert_int_equal(rig_rdma_read(c, g->address + at, g->rkey, &seen, 8), FABRIC_OK);
	assert_int_equal(seen, word);
	seen = 0;
	rig_read(&rig, g->offset + at, &seen, 8);
	assert_int_equal(seen, word);
}

/* By a connection of its own, which is in error afterwards: the client gets another. */
static void assert_refused(struct rig_client *c, uint64_t address, uint32_t rkey)
{
	uint64_t word = 0;

	assert_int_equal(rig_write(c, address, rkey, &word, 8), FABRIC_REMOTE_ACCESS);
	rig_client_reconnect(c);
}

/* But those of block commands, of which some come late. */
static unsigned int keys(void)
{
	const struct holding_status status = rig_status(&rig);

	return status.keys - status.registrations[0];
}

/* Slabs die behind the answer. */
static void await_keys(unsigned int n)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;

	while (keys() != n && now_ns() < end)
		(void)usleep(500);
	assert_int_equal(keys(), n);
}

/* ---- what a window reaches --------------------------------------------------------------------- */

static void test_use(void **state)
{
	struct lh_grant g, r;

	(void)state;
	up();
	assert_true(rig_status(&rig).windows[0]);
	assert_null(rig_status(&rig).no_windows[0]);
	g = acquire(&one, MIB(1), MIB(1), RW);
	r = acquire(&one, MIB(4), KIB(4), LH_GRANT_READ);
	assert_int_equal(atomic_load(&registered), 1);
	assert_int_equal(atomic_load(&one.bound), 2);
	assert_works(&one, &g, 0);
	assert_works(&one, &g, MIB(1) - 8);
	assert_refused(&one, r.address, r.rkey);
	down();
}

/* Each in turn takes the connection with it, and with that the windows that are bound on it. */
static void test_bounds(void **state)
{
	static const int64_t beside[] = {-8, -4, MIB(1), (int64_t)MIB(1) - 4};
	uint8_t before[8], after[8];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(beside); i++) {
		struct lh_grant g;

		up();
		g = acquire(&one, MIB(1), MIB(1), RW);
		rig_read(&rig, MIB(1) + (uint64_t)beside[i], before, 8);
		assert_refused(&one, g.address + (uint64_t)beside[i], g.rkey);
		rig_read(&rig, MIB(1) + (uint64_t)beside[i], after, 8);
		assert_memory_equal(before, after, 8);
		down();
	}
}

static void test_other_queues(void **state)
{
	struct lh_grant g;

	(void)state;
	up();
	g = acquire(&one, 0, KIB(64), RW);
	assert_works(&one, &g, 0);
	assert_refused(&two, g.address, g.rkey);
	/* Another connection of the same client, in the same domain. */
	rig_client_reconnect(&one);
	assert_refused(&one, g.address, g.rkey);
	/* The slab itself is nobody's key. */
	assert_refused(&one, atomic_load(&slab_iova), atomic_load(&slab_rkey));
	assert_refused(&two, atomic_load(&slab_iova), atomic_load(&slab_rkey));
	down();
}

/* ---- what they are bound to ------------------------------------------------------------------- */

/* Acquiring and releasing registers nothing but once; the client's end takes what is left. */
static void test_slab_stays(void **state)
{
	unsigned int before;
	struct lh_grant g;

	(void)state;
	up();
	before = keys();
	for (unsigned int i = 0; i < 300; i++) {
		g = acquire(&one, i % 4 * KIB(64), KIB(64), RW);
		assert_int_equal(keys(), before + 2);
		assert_int_equal(rig_release(&one, 0, UINT64_MAX, 0), NVME_SC_SUCCESS);
		assert_int_equal(keys(), before + 1);
	}
	assert_int_equal(atomic_load(&registered), 1);
	assert_refused(&one, g.address, g.rkey);
	/* Each client has its own. */
	(void)acquire(&two, 0, KIB(64), RW);
	assert_int_equal(atomic_load(&registered), 2);
	rig_client_gone(&one);
	assert_int_equal(keys(), before + 2);
	rig_client_gone(&two);
	assert_int_equal(keys(), before);
	down();
}

/* In slices; what reaches over a border is cut, what is longer has registrations of its own. */
static void test_slices(void **state)
{
	const struct rig_options options = options_of_windows();
	const unsigned int slices = 12; /* of which so many may lie idle */
	struct grant_answer answer;
	unsigned int before;

	(void)state;
	make_file("file", slices * SLICE);
	for (unsigned int i = 0; i < slices; i++)
		fill_file("file", i * SLICE, KIB(64));
	fill_file("file", SLICE - KIB(64), KIB(64));
	up_with(&options);
	before = keys();
	answer = rig_acquire(&one, SLICE - KIB(64), KIB(128), RW);
	assert_int_equal(answer.count, 2);
	assert_int_equal(answer.covered_length, KIB(128));
	for (unsigned int i = 0; i < 2; i++) {
		const struct lh_grant g = rig_grant_of(&answer, i);

		assert_works(&one, &g, KIB(64) - 8);
	}
	assert_int_equal(atomic_load(&registered), 2);
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 0), NVME_SC_SUCCESS);
	for (unsigned int i = 0; i < slices; i++) {
		(void)acquire(&one, i * SLICE, KIB(64), RW);
		assert_int_equal(rig_release(&one, 0, UINT64_MAX, 0), NVME_SC_SUCCESS);
	}
	await_keys(before + 8);
	down();
}

/* No more slabs than a recall has time for: who lets one lie idle gives way, and the next has one. */
static void test_too_many(void **state)
{
	struct rig_options options = options_of_windows();
	unsigned int before;
	struct lh_grant g;

	(void)state;
	options.max_of_export = 1;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	up_with(&options);
	before = keys();
	(void)acquire(&one, 0, KIB(64), RW);
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 0), NVME_SC_SUCCESS);
	assert_int_equal(keys(), before + 1);
	g = acquire(&two, 0, KIB(64), RW);
	assert_int_equal(atomic_load(&two.bound), 0);
	assert_works(&two, &g, 0);
	await_keys(before + 1);
	assert_int_equal(rig_release(&two, 0, UINT64_MAX, 0), NVME_SC_SUCCESS);
	assert_int_equal(keys(), before);
	g = acquire(&two, 0, KIB(64), RW);
	assert_int_equal(atomic_load(&two.bound), 1);
	assert_works(&two, &g, 0);
	down();
}

static void test_long(void **state)
{
	const struct rig_options options = options_of_windows();
	struct lh_grant g;

	(void)state;
	make_file("file", SLICE + MIB(1));
	fill_file("file", 0, SLICE + MIB(1));
	up_with(&options);
	g = acquire(&one, 0, SLICE + MIB(1), RW);
	assert_int_equal(atomic_load(&registered), 0);
	assert_works(&one, &g, SLICE - 4);
	/* What is left of it is short enough. */
	assert_int_equal(rig_release_part(&one, 0, SLICE).status, NVME_SC_SUCCESS);
	assert_int_equal(atomic_load(&registered), 1);
	down();
}

static void test_no_room(void **state)
{
	struct lh_grant g;

	(void)state;
	up();
	atomic_store(&failing, 1);
	g = acquire(&one, 0, KIB(64), RW);
	assert_int_equal(atomic_load(&one.bound), 0);
	assert_works(&one, &g, 0);
	g = acquire(&one, KIB(64), KIB(64), RW);
	assert_int_equal(atomic_load(&one.bound), 1);
	assert_works(&one, &g, 0);
	down();
}

static void test_no_windows(void **state)
{
	struct rig_options options = options_of_windows();
	struct lh_grant g;

	(void)state;
	options.no_windows = true;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	up_with(&options);
	assert_false(rig_status(&rig).windows[0]);
	assert_non_null(strstr(rig_status(&rig).no_windows[0], "no type-2 memory windows"));
	g = acquire(&one, 0, KIB(64), RW);
	assert_works(&one, &g, 0);
	assert_int_equal(atomic_load(&registered), 0);
	down();
}

/* ---- parts of one ------------------------------------------------------------------------------ */

static void test_part(void **state)
{
	struct grant_answer rest;
	struct lh_grant g, low, high;
	unsigned int before;

	(void)state;
	up();
	g = acquire(&one, 0, KIB(64), RW);
	before = keys();
	rest = rig_release_part(&one, KIB(16), KIB(16));
	assert_int_equal(rest.count, 2);
	low = rig_grant_of(&rest, 0);
	high = rig_grant_of(&rest, 1);
	assert_int_equal(keys(), before + 1);
	assert_int_equal(atomic_load(&registered), 1);
	assert_works(&one, &low, KIB(16) - 8);
	assert_works(&one, &high, 0);
	(void)acquire(&two, KIB(16), KIB(16), RW);
	assert_refused(&one, g.address, g.rkey);
	down();
}

/* ---- recalls ----------------------------------------------------------------------------------- */

/* Who releases with the proof that a tenure wants asserts that no key is alive: holding.c. */
static void test_recall(void **state)
{
	struct rig_landlord landlord;
	struct lh_grant g;

	(void)state;
	up();
	g = acquire(&one, 0, KIB(64), RW);
	(void)acquire(&two, MIB(1), KIB(64), LH_GRANT_READ);
	assert_int_equal(rig_release(&two, 0, UINT64_MAX, 0), NVME_SC_SUCCESS);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(rig_status(&rig).last.fenced_clients, 0);
	assert_int_equal(rig_status(&rig).last.clients, 1);
	assert_refused(&one, g.address, g.rkey);
	rig_client_down(&one);
	rig_client_up(&rig, &one);
	g = acquire(&one, 0, KIB(64), RW);
	assert_works(&one, &g, 0);
	down();
}

/* A client that does not answer: no work request is needed to end its windows. */
static void test_fence(void **state)
{
	struct rig_options options = options_of_windows();
	struct rig_landlord landlord;
	struct lh_grant g;

	(void)state;
	options.deadline_ms = 100;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	up_with(&options);
	g = acquire(&one, 0, KIB(64), RW);
	atomic_store(&one.answers, false);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	assert_int_equal(rig_status(&rig).last.fenced_clients, 1);
	rig_client_reconnect(&one);
	assert_refused(&one, g.address, g.rkey);
	down();
}

struct acquiring {
	struct rig_client *c;
	struct grant_want want;
	struct grant_answer answer;
	atomic_bool done;
};

static void on_answer(void *arg, const struct grant_answer *answer)
{
	struct acquiring *a = arg;

	a->answer = *answer;
	atomic_store(&a->done, true);
}

static void acquire_there(void *arg)
{
	struct acquiring *a = arg;

	grant_acquire(rig.h, a->c->grants, &a->want, on_answer, a);
}

static bool binds_wait(struct rig_client *c)
{
	bool any;

	(void)pthread_mutex_lock(&c->lock);
	any = !list_empty(&c->binds);
	(void)pthread_mutex_unlock(&c->lock);
	return any;
}

#define AWAIT(what)                                                       \
	do {                                                              \
		const uint64_t end_ = now_ns() + RIG_WAIT_MS * NS_PER_MS; \
		while (!(what) && now_ns() < end_)                        \
			(void)usleep(500);                                \
		assert_true(what);                                        \
	} while (0)

/* A bind is behind what the client does not take: its queue is put in error, so the recall ends. */
static void test_bind_hangs(void **state)
{
	struct acquiring a = {.c = &one, .want = {.length = KIB(64), .access = RW}};
	struct rig_options options = options_of_windows();
	struct rig_landlord landlord;

	(void)state;
	options.deadline_ms = 100;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	up_with(&options);
	atomic_store(&one.hold_binds, true);
	rig_call(&rig, acquire_there, &a);
	AWAIT(binds_wait(&one));
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	AWAIT(rig_status(&rig).last.fenced_clients == 1);
	assert_false(atomic_load(&a.done));
	assert_int_equal(landlord.ended_ns, 0);
	atomic_store(&one.hold_binds, false);
	AWAIT(atomic_load(&a.done));
	assert_int_equal(a.answer.status, LH_SC_NO_DIRECT_QUEUE);
	(void)rig_landlord_join(&landlord);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	down();
}

/* A queue that dies meanwhile: nothing is granted, nothing is left. */
static void test_bind_fails(void **state)
{
	struct acquiring a = {.c = &one, .want = {.length = KIB(64), .access = RW}};
	unsigned int before;

	(void)state;
	up();
	before = keys();
	atomic_store(&one.hold_binds, true);
	rig_call(&rig, acquire_there, &a);
	AWAIT(binds_wait(&one));
	(void)fabric_conn_fence(one.file);
	atomic_store(&one.hold_binds, false);
	AWAIT(atomic_load(&a.done));
	assert_int_equal(a.answer.status, LH_SC_NO_DIRECT_QUEUE);
	AWAIT(rig_status(&rig).grants == 0 && keys() == before + 1);
	/* Its bytes are free. */
	(void)acquire(&two, 0, KIB(64), RW);
	down();
	/* And at the same moment the client goes. */
	up();
	before = keys();
	a = (struct acquiring){.c = &one, .want = {.length = KIB(64), .access = RW}};
	atomic_store(&one.hold_binds, true);
	rig_call(&rig, acquire_there, &a);
	AWAIT(binds_wait(&one));
	atomic_store(&one.hold_binds, false);
	rig_client_gone(&one);
	assert_true(atomic_load(&a.done));
	assert_int_equal(keys(), before);
	down();
}

/* ---- the recall of a range --------------------------------------------------------------------- */

static atomic_bool proven, ended;

static void on_proven(struct holding_range *r)
{
	(void)r;
	atomic_store(&proven, true);
}

static void on_ended(struct holding_range *r)
{
	(void)r;
	atomic_store(&ended, true);
}

static void recall_there(void *arg)
{
	holding_recall_range(rig.h, arg);
}

static void end_there(void *arg)
{
	holding_recall_end(arg);
}

/*
 * What is bound to the same slab goes, too, and may be had again at once; the new slab does not reach the
 * range. Slabs that nobody uses go without a word.
 */
static void test_range(void **state)
{
	struct holding_range r = {
		.offset = MIB(1), .length = KIB(64), .done = on_proven, .ended = on_ended};
	struct lh_grant g;

	(void)state;
	up();
	(void)acquire(&one, MIB(1), KIB(4), RW);
	g = acquire(&one, MIB(3), KIB(4), RW);
	(void)acquire(&two, MIB(8), KIB(4), RW);
	assert_int_equal(rig_release(&two, 0, UINT64_MAX, 0), NVME_SC_SUCCESS);
	atomic_store(&proven, false);
	atomic_store(&ended, false);
	atomic_store(&one.answers, false);
	rig_call(&rig, recall_there, &r);
	AWAIT(atomic_load(&one.told) == 1);
	assert_int_equal(atomic_load(&two.told), 0);
	assert_int_equal(atomic_load(&one.told_offset), MIB(1));
	assert_int_equal(atomic_load(&one.told_length), MIB(2) + KIB(4));
	assert_int_equal(rig_release(&one, MIB(1), KIB(64), 0), NVME_SC_SUCCESS);
	(void)usleep(20000);
	assert_false(atomic_load(&proven));
	assert_works(&one, &g, 0);
	/* A slab of its own, beside the range, though the old one is there. */
	g = acquire(&one, MIB(5), KIB(4), RW);
	assert_int_equal(atomic_load(&registered), 3);
	assert_int_equal(rig_release(&one, MIB(3), KIB(4), 0), NVME_SC_SUCCESS);
	AWAIT(atomic_load(&proven));
	assert_works(&one, &g, 0);
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(rig_status(&rig).last_range.fenced_clients, 0);
	assert_int_equal(rig_acquire(&one, MIB(1), KIB(4), RW).status, LH_SC_RECALLING);
	(void)acquire(&one, MIB(3), KIB(4), RW);
	(void)acquire(&one, 0, KIB(4), RW);
	rig_call(&rig, end_there, &r);
	AWAIT(atomic_load(&ended));
	g = acquire(&one, MIB(1), KIB(4), RW);
	assert_works(&one, &g, 0);
	down();
}

/* Of a grant that reaches outside, the rest is kept: bound to what is not wanted back. */
static void test_range_splits(void **state)
{
	struct holding_range r = {
		.offset = KIB(16), .length = KIB(16), .done = on_proven, .ended = on_ended};
	struct grant_answer rest;
	struct lh_grant low, high;

	(void)state;
	up();
	(void)acquire(&one, 0, KIB(64), RW);
	atomic_store(&proven, false);
	atomic_store(&ended, false);
	atomic_store(&one.answers, false);
	rig_call(&rig, recall_there, &r);
	AWAIT(atomic_load(&one.told) == 1);
	assert_int_equal(atomic_load(&one.told_offset), KIB(16));
	assert_int_equal(atomic_load(&one.told_length), KIB(16));
	rest = rig_release_part(&one, KIB(16), KIB(16));
	assert_int_equal(rest.count, 2);
	AWAIT(atomic_load(&proven));
	low = rig_grant_of(&rest, 0);
	high = rig_grant_of(&rest, 1);
	assert_works(&one, &low, KIB(16) - 8);
	assert_works(&one, &high, 0);
	assert_int_equal(atomic_load(&one.bound), 3);
	rig_call(&rig, end_there, &r);
	AWAIT(atomic_load(&ended));
	down();
}

/* Who does not answer is fenced for a grant beside the range, too. */
static void test_range_fences(void **state)
{
	struct holding_range r = {
		.offset = MIB(1), .length = KIB(64), .done = on_proven, .ended = on_ended};
	struct rig_options options = options_of_windows();

	(void)state;
	options.deadline_ms = 100;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	up_with(&options);
	(void)acquire(&one, MIB(3), KIB(4), RW);
	atomic_store(&proven, false);
	atomic_store(&ended, false);
	atomic_store(&one.answers, false);
	rig_call(&rig, recall_there, &r);
	AWAIT(atomic_load(&proven));
	assert_int_equal(rig_status(&rig).last_range.fenced_clients, 1);
	assert_int_equal(rig_status(&rig).generation, 1);
	rig_call(&rig, end_there, &r);
	AWAIT(atomic_load(&ended));
	down();
}

/* ---- holes ------------------------------------------------------------------------------------- */

struct punching {
	struct holding_punch punch;
	struct export_range range;
	atomic_int err; /* 1: not yet */
};

static void on_punched(struct holding_punch *p, int err)
{
	atomic_store(&container_of(p, struct punching, punch)->err, err);
}

static void punch_there(void *arg)
{
	struct punching *p = arg;

	p->punch.ranges = &p->range;
	p->punch.nr_ranges = 1;
	p->punch.done = on_punched;
	holding_punch(rig.h, &p->punch);
}

/* A slab that lies idle dies first; one that is in use is recalled for it. */
static void test_punch(void **state)
{
	struct punching p = {.range = {MIB(1), KIB(64)}, .err = 1};
	uint8_t bytes[64], zeros[64] = {0};

	(void)state;
	up();
	(void)acquire(&one, MIB(2), KIB(4), RW);
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 0), NVME_SC_SUCCESS);
	atomic_store(&kill_failures, 7);
	rig_call(&rig, punch_there, &p);
	AWAIT(atomic_load(&p.err) <= 0);
	assert_int_equal(atomic_load(&p.err), 0);
	assert_int_equal(atomic_load(&slabs_at_punch), 0);
	assert_int_equal(rig_status(&rig).generation, 1);
	rig_read(&rig, MIB(1), bytes, sizeof(bytes));
	assert_memory_equal(bytes, zeros, sizeof(bytes));
	(void)acquire(&one, MIB(2), KIB(4), RW);
	assert_int_equal(atomic_load(&registered), 2);
	p = (struct punching){.range = {MIB(3), KIB(64)}, .err = 1};
	rig_call(&rig, punch_there, &p);
	AWAIT(atomic_load(&p.err) <= 0);
	assert_int_equal(atomic_load(&p.err), 0);
	assert_int_equal(atomic_load(&slabs_at_punch), 0);
	assert_int_equal(atomic_load(&one.told), 1);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_use),	       leaks_test(test_bounds),
		leaks_test(test_other_queues), leaks_test(test_slab_stays),
		leaks_test(test_slices),       leaks_test(test_too_many),
		leaks_test(test_long),	       leaks_test(test_no_room),
		leaks_test(test_no_windows),   leaks_test(test_part),
		leaks_test(test_recall),       leaks_test(test_fence),
		leaks_test(test_bind_hangs),   leaks_test(test_bind_fails),
		leaks_test(test_range),	       leaks_test(test_range_splits),
		leaks_test(test_range_fences), leaks_test(test_punch),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	tenure_block_signals();
	assert_int_equal(export_guard_init(), 0);
	iwarp_set_copy_hook(export_guarded_copy);
	if (rig_is_verbs()) {
		print_message("SKIP: its tests are of the software fabric's windows\n");
		return 77;
	}
	return for_each_dir(run_group);
}
