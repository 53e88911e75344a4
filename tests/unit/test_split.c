// SPDX-License-Identifier: BSD-3-Clause
/*
 * Grants of which a part is given back: what is left has keys of its own, nobody gets it in between, and
 * what cannot be has changed nothing. With the real rooms below.
 */
#include "grant_rig.h"

#include "iwarp/iwarp.h"

#define RW (LH_GRANT_READ | LH_GRANT_WRITE)

static struct rig rig;
static struct rig_client one, two;

/* ---- registrations that are late, or fail: a stand-in by the linker's --wrap ------------------- */

static atomic_int failing;  /* registrations from now on that fail, behind as many that do not: */
static atomic_int sparing;  /* … these */
static atomic_uint late_ms; /* each takes so long */

int __real_grant_key_new(struct fabric_pd *pd, const struct view *view, uint64_t offset,
			 uint64_t length, unsigned int access, const struct region_probe *probe,
			 struct grant_key *key);
int __wrap_grant_key_new(struct fabric_pd *pd, const struct view *view, uint64_t offset,
			 uint64_t length, unsigned int access, const struct region_probe *probe,
			 struct grant_key *key);

int __wrap_grant_key_new(struct fabric_pd *pd, const struct view *view, uint64_t offset,
			 uint64_t length, unsigned int access, const struct region_probe *probe,
			 struct grant_key *key)
{
	(void)usleep(atomic_load(&late_ms) * 1000);
	if (atomic_load(&sparing) > 0) {
		atomic_fetch_sub(&sparing, 1);
	} else if (atomic_load(&failing) > 0) {
		atomic_fetch_sub(&failing, 1);
		return -ENOMEM;
	}
	return __real_grant_key_new(pd, view, offset, length, access, probe, key);
}

/* ---- the rig --------------------------------------------------------------------------------- */

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
	atomic_store(&late_ms, 0);
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
	assert_int_equal(answer.access, access);
	assert_int_equal(g.length, length);
	return g;
}

static void assert_remain(const struct grant_answer *answer, unsigned int i, uint64_t offset,
			  uint64_t length)
{
	const struct lh_grant g = rig_grant_of(answer, i);

	assert_int_equal(g.offset, offset);
	assert_int_equal(g.length, length);
}

/* A byte by the key, `at` from its beginning, and that it is in the file. */
static void assert_works(struct rig_client *c, const struct lh_grant *g, uint64_t at)
{
	static uint8_t byte;
	uint8_t back;

	byte++;
	assert_int_equal(rig_write(c, g->address + at, g->rkey, &byte, 1), FABRIC_OK);
	rig_read(&rig, g->offset + at, &back, 1);
	assert_int_equal(back, byte);
}

static void assert_refused(struct rig_client *c, const struct lh_grant *g, uint64_t at)
{
	const uint8_t byte = 0xdd;
	uint8_t before, after;

	rig_read(&rig, g->offset + at, &before, 1);
	assert_int_not_equal(rig_write(c, g->address + at, g->rkey, &byte, 1), FABRIC_OK);
	rig_client_reconnect(c);
	rig_read(&rig, g->offset + at, &after, 1);
	assert_int_equal(before, after);
}

/* So many, when those that were made in vain are gone. */
static void await_grants(unsigned int n)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;

	while (rig_status(&rig).grants != n && now_ns() < end)
		(void)usleep(1000);
	assert_int_equal(rig_status(&rig).grants, n);
}

static struct grant_answer wait_acquire(struct rig_client *c, uint64_t offset, uint64_t length)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;
	struct grant_answer answer;

	do
		answer = rig_acquire(c, offset, length, RW);
	while (answer.status == LH_SC_RECALLING && now_ns() < end);
	return answer;
}

/* ---- what is cut ----------------------------------------------------------------------------- */

static void test_refused_whole(void **state)
{
	struct lh_grant g, other;

	(void)state;
	up(&rig_defaults);
	g = acquire(&one, 0, KIB(64), RW);
	other = acquire(&one, KIB(64), KIB(4), RW);
	/* It cuts one, and has the other inside: neither ends. */
	assert_int_equal(rig_release(&one, KIB(16), KIB(52), 1), LH_SC_CUT);
	assert_int_equal(rig_release(&one, 0, KIB(4), 0), LH_SC_CUT);
	assert_int_equal(rig_status(&rig).grants, 2);
	assert_works(&one, &g, KIB(16));
	assert_works(&one, &other, 0);
	/* Of another generation nothing is held, of another client neither. */
	assert_int_equal(rig_release(&two, 0, KIB(4), 1), NVME_SC_SUCCESS);
	assert_int_equal(rig_release(&one, 0, KIB(4), 2), LH_SC_STALE_GENERATION);
	assert_int_equal(rig_release(&one, 0, KIB(68), 1), NVME_SC_SUCCESS);
	assert_refused(&one, &g, 0);
	down();
}

static void test_middle(void **state)
{
	struct grant_answer rest, theirs;
	struct lh_grant g, low, high, between;

	(void)state;
	up(&rig_defaults);
	g = acquire(&one, 0, KIB(64), RW);
	rest = rig_release_part(&one, KIB(16), KIB(16));
	assert_int_equal(rest.generation, 1);
	assert_int_equal(rest.access, RW);
	assert_int_equal(rest.covered_length, KIB(48));
	assert_int_equal(rest.count, 2);
	assert_remain(&rest, 0, 0, KIB(16));
	assert_remain(&rest, 1, KIB(32), KIB(32));
	assert_int_equal(rig_status(&rig).grants, 2);
	low = rig_grant_of(&rest, 0);
	high = rig_grant_of(&rest, 1);
	assert_works(&one, &low, 0);
	assert_works(&one, &low, KIB(16) - 1);
	assert_works(&one, &high, 0);
	assert_works(&one, &high, KIB(32) - 1);
	/* The old key is dead, over what was given back and over the rest; the new ones end there. */
	assert_refused(&one, &g, KIB(16));
	assert_refused(&one, &g, 0);
	assert_refused(&one, &low, KIB(16));
	assert_refused(&one, &high, KIB(32));
	/* Others get what was given back, and no byte more. */
	theirs = rig_acquire(&two, KIB(16), KIB(16), RW);
	between = rig_grant_of(&theirs, 0);
	assert_works(&two, &between, 0);
	assert_int_equal(rig_acquire(&two, KIB(12), KIB(4), LH_GRANT_READ).status, LH_SC_CONFLICT);
	assert_int_equal(rig_acquire(&two, KIB(32), KIB(4), LH_GRANT_READ).status, LH_SC_CONFLICT);
	down();
}

static void test_ends(void **state)
{
	struct grant_answer rest;
	struct lh_grant g;

	(void)state;
	up(&rig_defaults);
	(void)acquire(&one, KIB(16), KIB(64), LH_GRANT_READ);
	rest = rig_release_part(&one, 0, KIB(20));
	assert_int_equal(rest.count, 1);
	assert_int_equal(rest.access, LH_GRANT_READ);
	assert_remain(&rest, 0, KIB(20), KIB(60));
	g = rig_grant_of(&rest, 0);
	assert_refused(&one, &g, 0); /* for reading still */
	rest = rig_release_part(&one, KIB(76), UINT64_MAX);
	assert_int_equal(rest.count, 1);
	assert_remain(&rest, 0, KIB(20), KIB(56));
	/* All of it, and nothing. */
	rest = rig_release_part(&one, KIB(20), KIB(56));
	assert_int_equal(rest.status, NVME_SC_SUCCESS);
	assert_int_equal(rest.count, 0);
	assert_int_equal(rig_status(&rig).grants, 0);
	rest = rig_release_part(&one, KIB(20), KIB(56));
	assert_int_equal(rest.status, NVME_SC_SUCCESS);
	assert_int_equal(rest.count, 0);
	down();
}

/* One's own grants may overlap: each that is cut is split, each inside ends. */
static void test_overlapping(void **state)
{
	struct grant_answer rest;
	struct lh_grant inside;

	(void)state;
	up(&rig_defaults);
	(void)acquire(&one, 0, KIB(32), LH_GRANT_READ);
	(void)acquire(&one, KIB(16), KIB(48), RW);
	inside = acquire(&one, KIB(16), KIB(4), LH_GRANT_READ);
	rest = rig_release_part(&one, KIB(16), KIB(8));
	assert_int_equal(rest.count, 3);
	assert_remain(&rest, 0, 0, KIB(16));
	assert_remain(&rest, 1, KIB(24), KIB(8));
	assert_remain(&rest, 2, KIB(24), KIB(40));
	assert_int_equal(rest.access, LH_GRANT_READ); /* what all have */
	assert_int_equal(rest.covered_length, KIB(64));
	assert_refused(&one, &inside, 0);
	assert_int_equal(rig_status(&rig).grants, 3);
	assert_int_equal(rig_acquire(&two, KIB(16), KIB(8), RW).status, NVME_SC_SUCCESS);
	down();
}

/* One behind the other, not waiting: as if it had waited. */
static void test_several_at_once(void **state)
{
	const struct grant_give_back parts[] = {
		{.offset = KIB(8), .length = KIB(8), .split = true},
		{.offset = KIB(40), .length = KIB(8), .split = true},
		{.offset = KIB(4), .length = KIB(8), .split = true},
	};
	struct grant_answer answers[ARRAY_SIZE(parts)];
	struct lh_grant g;

	(void)state;
	up(&rig_defaults);
	g = acquire(&one, 0, KIB(64), RW);
	atomic_store(&late_ms, 2);
	rig_release_parts(&one, parts, ARRAY_SIZE(parts), answers);
	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++)
		assert_int_equal(answers[i].status, NVME_SC_SUCCESS);
	await_grants(3);
	assert_int_equal(rig_acquire(&two, KIB(4), KIB(12), RW).status, NVME_SC_SUCCESS);
	assert_int_equal(rig_acquire(&two, KIB(40), KIB(8), RW).status, NVME_SC_SUCCESS);
	assert_int_equal(rig_acquire(&two, 0, KIB(4), RW).status, LH_SC_CONFLICT);
	assert_int_equal(rig_acquire(&two, KIB(16), KIB(24), RW).status, LH_SC_CONFLICT);
	assert_int_equal(rig_acquire(&two, KIB(48), KIB(16), RW).status, LH_SC_CONFLICT);
	assert_refused(&one, &g, KIB(20));
	down();
}

/* ---- what cannot be --------------------------------------------------------------------------- */

static void test_limits(void **state)
{
	struct rig_options options = rig_defaults;
	struct lh_grant g;

	(void)state;
	options.max_grants = 2;
	options.max_bytes = KIB(64);
	up(&options);
	g = acquire(&one, 0, KIB(64), RW);
	/* Both are there for a moment. Bytes do not count: they are had already. */
	assert_int_equal(rig_release_part(&one, KIB(16), KIB(4)).status, LH_SC_LIMIT);
	assert_int_equal(rig_status(&rig).grants, 1);
	assert_works(&one, &g, KIB(16));
	assert_int_equal(rig_release_part(&one, 0, KIB(4)).status, NVME_SC_SUCCESS);
	assert_int_equal(rig_status(&rig).grants, 1);
	down();
}

/* The first registration fails, or the second. */
static void test_no_key(void **state)
{
	(void)state;
	for (int spare = 0; spare < 2; spare++) {
		struct lh_grant g;

		up(&rig_defaults);
		g = acquire(&one, 0, KIB(64), RW);
		atomic_store(&sparing, spare);
		atomic_store(&failing, 1);
		assert_int_equal(rig_release_part(&one, KIB(16), KIB(4)).status, LH_SC_LIMIT);
		assert_int_equal(atomic_load(&failing), 0);
		assert_works(&one, &g, KIB(16));
		assert_int_equal(rig_release_part(&one, KIB(16), KIB(4)).count, 2);
		assert_int_equal(rig_status(&rig).grants, 2);
		down();
	}
}

/* ---- what comes in between ------------------------------------------------------------------- */

struct splitting {
	struct rig_client *c;
	struct grant_give_back what;
	struct grant_answer answer;
	atomic_bool done;
};

static void on_split(void *arg, const struct grant_answer *answer)
{
	struct splitting *s = arg;

	s->answer = *answer;
	atomic_store(&s->done, true);
}

static void split_there(void *arg)
{
	struct splitting *s = arg;

	grant_release(rig.h, s->c->grants, &s->what, on_split, s);
}

static void begin_split(struct splitting *s, struct rig_client *c, uint64_t offset, uint64_t length)
{
	s->c = c;
	s->what = (struct grant_give_back){.offset = offset, .length = length, .split = true};
	atomic_store(&s->done, false);
	rig_call(&rig, split_there, s);
}

static void end_split(struct splitting *s)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;

	while (!atomic_load(&s->done) && now_ns() < end)
		(void)usleep(1000);
	assert_true(atomic_load(&s->done));
}

/* It is given up, all is released, and the landlord goes on. */
static void test_recall(void **state)
{
	struct rig_landlord landlord;
	struct grant_answer again;
	struct splitting s;
	struct lh_grant g;

	(void)state;
	up(&rig_defaults);
	g = acquire(&one, 0, KIB(64), RW);
	atomic_store(&late_ms, 30);
	begin_split(&s, &one, KIB(16), KIB(4));
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	end_split(&s);
	(void)rig_landlord_join(&landlord);
	/* It came too late, or the grant had ended: either way there is no key. */
	assert_true(s.answer.status == LH_SC_RECALLING || s.answer.status == NVME_SC_SUCCESS);
	assert_int_equal(rig_status(&rig).last.fenced_clients, 0);
	assert_refused(&one, &g, 0);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(rig_status(&rig).grants, 0);
	again = wait_acquire(&two, 0, KIB(64));
	assert_int_equal(again.status, NVME_SC_SUCCESS);
	down();
}

/* Not renewed: what is left does not live on. */
static void test_expiry(void **state)
{
	struct rig_options options = rig_defaults;
	struct splitting s;
	struct lh_grant g;

	(void)state;
	options.expiry_ms = 60;
	up(&options);
	g = acquire(&one, 0, KIB(64), RW);
	atomic_store(&late_ms, 100);
	begin_split(&s, &one, KIB(16), KIB(4));
	end_split(&s);
	assert_int_equal(s.answer.status, NVME_SC_SUCCESS);
	assert_int_equal(s.answer.count, 0);
	await_grants(0);
	assert_refused(&one, &g, 0);
	/* Nor what was split in time. */
	atomic_store(&late_ms, 0);
	(void)acquire(&one, 0, KIB(64), RW);
	assert_int_equal(rig_release_part(&one, KIB(16), KIB(4)).status, NVME_SC_SUCCESS);
	await_grants(0);
	down();
}

static void test_client_dies(void **state)
{
	struct splitting s;

	(void)state;
	up(&rig_defaults);
	(void)acquire(&one, 0, KIB(64), RW);
	atomic_store(&late_ms, 30);
	begin_split(&s, &one, KIB(16), KIB(4));
	rig_client_gone(&one);
	end_split(&s);
	assert_int_equal(rig_status(&rig).grants, 0);
	assert_int_equal(rig_acquire(&two, 0, KIB(64), RW).status, NVME_SC_SUCCESS);
	atomic_store(&late_ms, 0);
	rig_client_down(&two);
	rig_client_down(&one);
	rig_down(&rig);
}

static void test_stop(void **state)
{
	struct splitting s;

	(void)state;
	up(&rig_defaults);
	(void)acquire(&one, 0, KIB(64), RW);
	atomic_store(&late_ms, 30);
	begin_split(&s, &one, KIB(16), KIB(4));
	rig_stop(&rig);
	end_split(&s);
	assert_int_equal(rig_status(&rig).grants, 0);
	atomic_store(&late_ms, 0);
	assert_int_equal(rig_start(&rig), 0);
	down();
}

/* ---- the recall of a range -------------------------------------------------------------------- */

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

static void await(const atomic_bool *flag)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;

	while (!atomic_load(flag) && now_ns() < end)
		(void)usleep(500);
	assert_true(atomic_load(flag));
}

/* Answered with the range alone: the rest stays, of the same generation. */
static void test_range(void **state)
{
	struct holding_range r = {
		.offset = KIB(16), .length = KIB(16), .done = on_proven, .ended = on_ended};
	struct grant_answer rest;
	struct lh_grant low, high;

	(void)state;
	up(&rig_defaults);
	(void)acquire(&one, 0, KIB(64), RW);
	atomic_store(&one.answers, false);
	atomic_store(&proven, false);
	atomic_store(&ended, false);
	rig_call(&rig, recall_there, &r);
	/* What would be left is wanted back as well. */
	assert_int_equal(rig_release_part(&one, KIB(16), KIB(8)).status, LH_SC_RECALLING);
	assert_false(atomic_load(&proven));
	rest = rig_release_part(&one, KIB(16), KIB(16));
	assert_int_equal(rest.count, 2);
	await(&proven);
	low = rig_grant_of(&rest, 0);
	high = rig_grant_of(&rest, 1);
	assert_works(&one, &low, KIB(16) - 1);
	assert_works(&one, &high, 0);
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(rig_acquire(&one, KIB(16), KIB(16), RW).status, LH_SC_RECALLING);
	rig_call(&rig, end_there, &r);
	await(&ended);
	(void)acquire(&one, KIB(16), KIB(16), RW);
	assert_works(&one, &low, 0);
	assert_int_equal(atomic_load(&one.told), 1);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_refused_whole),
		leaks_test(test_middle),
		leaks_test(test_ends),
		leaks_test(test_overlapping),
		leaks_test(test_several_at_once),
		leaks_test(test_limits),
		leaks_test(test_no_key),
		leaks_test(test_recall),
		leaks_test(test_expiry),
		leaks_test(test_client_dies),
		leaks_test(test_stop),
		leaks_test(test_range),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run_group);
}
