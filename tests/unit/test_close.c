// SPDX-License-Identifier: BSD-3-Clause
/*
 * Letting go at once (odp_release = at-once): a landlord who waits for no client and no deregistration,
 * with the real rooms below. An adapter that maps on demand is played by the software fabric, which
 * passes for one that the self-test has found to let go of closed memory; nobody uses a key while its
 * memory is closed, since this one would fault itself. What a real one does then: tests/e2e,
 * release-at-once, in the testbed VM.
 */
#include "grant_rig.h"

#include <errno.h>
#include <string.h>

#include "fabric/fabric_ops.h"

static struct rig rig;
static struct rig_client one;

static const unsigned int read_write = LH_GRANT_READ | LH_GRANT_WRITE;

/* ---- an adapter that lets go of closed memory, and is slow to forget keys ----------------------- */

static bool lets_go;
static atomic_bool keeps_keys;

int __real_region_probe(struct fabric_device *dev, const struct export *e,
			enum region_choice choice, struct region_probe *result,
			struct errtext *err);
int __wrap_region_probe(struct fabric_device *dev, const struct export *e,
			enum region_choice choice, struct region_probe *result,
			struct errtext *err);

int __wrap_region_probe(struct fabric_device *dev, const struct export *e,
			enum region_choice choice, struct region_probe *result, struct errtext *err)
{
	int rc;

	dev->info.software_fabric = true;
	rc = __real_region_probe(dev, e, choice, result, err);
	assert_false(result->closes);
	if (rc || !lets_go)
		return rc;
	result->closes = result->rung == LH_RUNG_ODP;
	dev->info.software_fabric = false;
	return 0;
}

int __real_fabric_mr_dereg(struct fabric_mr *mr);
int __wrap_fabric_mr_dereg(struct fabric_mr *mr);

int __wrap_fabric_mr_dereg(struct fabric_mr *mr)
{
	return atomic_load(&keeps_keys) ? -EBUSY : __real_fabric_mr_dereg(mr);
}

static void up(bool real, uint32_t deadline_ms, enum iwarp_memory memory)
{
	struct rig_options options = rig_defaults;

	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	lets_go = real;
	options.closable = true;
	options.deadline_ms = deadline_ms;
	options.software_memory = memory;
	rig_up(&rig, &options);
	rig_client_up(&rig, &one);
	atomic_store(&one.answers, false);
}

static void down(void)
{
	rig_client_down(&one);
	rig_down(&rig);
}

static struct lh_grant must_acquire(void)
{
	struct grant_answer answer = rig_acquire(&one, 0, RIG_BYTES / 2, read_write);

	return rig_grant_of(&answer, 0);
}

/* Whether this process has access to a byte that adapters are told of; asked of the kernel. */
static bool reached(const struct view *view, uint64_t offset)
{
	int ends[2];
	ssize_t n;

	assert_int_equal(pipe(ends), 0);
	n = write(ends[1], view->base + offset, 1);
	assert_true(n == 1 || errno == EFAULT);
	(void)close(ends[0]);
	(void)close(ends[1]);
	return n == 1;
}

/* ---- tests ------------------------------------------------------------------------------------- */

/* Neither for a client that never answers nor for keys that do not die. Nothing is served before. */
static void test_nobody_is_waited_for(void **state)
{
	const uint64_t word = UINT64_C(0x1122334455667788);
	struct rig_landlord landlord;
	struct holding_status status;
	const struct view *old;
	uint64_t seen = 0;
	struct lh_grant g;

	(void)state;
	up(true, 10000, IWARP_MEMORY_ODP);
	status = rig_status(&rig);
	assert_true(status.at_once);
	assert_null(status.not_at_once);
	g = must_acquire();
	assert_int_equal(rig_write(&one, g.address, g.rkey, &word, 8), FABRIC_OK);
	old = rig.serving->view;
	assert_true(reached(old, 0));

	atomic_store(&keeps_keys, true);
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, RIG_BYTES / 2);
	assert_true(rig_landlord_join(&landlord) < 5 * NS_PER_S);
	status = rig_wait(&rig, HOLDING_RELEASED, 1);
	assert_true(status.keys > 0);
	assert_int_equal(status.grants, 0);
	assert_int_equal(atomic_load(&one.told), 1);
	assert_int_equal(status.last.fenced_clients, 0);
	assert_true(status.last.closed_ns > 0 && status.last.closed_ns <= status.last.unlocked_ns);
	assert_false(reached(old, 0));
	assert_false(reached(old, RIG_BYTES / 2 - 1));
	/* Block commands go on. */
	assert_int_equal(view_copy_in(old, 512, &word, 8), 0);
	assert_int_equal(view_persist(old, 512, 8), 0);
	assert_int_equal(view_copy_out(old, 512, &seen, 8), 0);
	assert_int_equal(seen, word);
	assert_int_equal(view_copy_in(old, RIG_BYTES - 8, &word, 8), -ERANGE);
	/* The landlord has long gone, the keys have not. */
	(void)usleep(300000);
	assert_int_equal(rig_status(&rig).state, HOLDING_RELEASED);
	assert_int_equal(rig_acquire(&one, 0, KIB(4), read_write).count, 0);

	atomic_store(&keeps_keys, false);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_true(status.last.keys_dead_ns > status.last.unlocked_ns);
	assert_true(status.last.retaken_ns >= status.last.keys_dead_ns);
	assert_int_equal(status.size_bytes, RIG_BYTES / 2);
	assert_true(reached(rig.serving->view, 0));
	/* It has its queue still, and gets another key. */
	g = must_acquire();
	assert_int_equal(rig_write(&one, g.address, g.rkey, &seen, 8), FABRIC_OK);
	down();
}

/* What is in flight of ours ends first, or its queue is fenced; till then it reaches the memory. */
static void test_our_own_work_is_drained(void **state)
{
	struct rig_landlord landlord;
	struct holding_status status;
	uint64_t took;

	(void)state;
	up(true, 400, IWARP_MEMORY_ODP);
	(void)must_acquire();
	atomic_store(&rig.hold_quiesce, true);
	atomic_store(&keeps_keys, true);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)usleep(150000);
	assert_int_equal(atomic_load(&landlord.ended_ns), 0);
	assert_true(reached(rig.serving->view, 0));
	took = rig_landlord_join(&landlord);
	assert_true(took >= 390 * NS_PER_MS && took < 5 * NS_PER_S);
	assert_false(reached(rig.serving->view, 0));
	assert_int_equal(atomic_load(&rig.fenced), 1);
	atomic_store(&rig.hold_quiesce, false);
	atomic_store(&keeps_keys, false);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_true(status.last.closed_ns >= status.last.drained_ns);
	down();
}

/* The end of the export waits for the keys, as ever. */
static void test_stop_meanwhile(void **state)
{
	struct rig_landlord landlord;

	(void)state;
	up(true, 10000, IWARP_MEMORY_ODP);
	(void)must_acquire();
	atomic_store(&keeps_keys, true);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	(void)rig_wait(&rig, HOLDING_RELEASED, 1);
	atomic_store(&keeps_keys, false);
	down();
}

/* One after the other, with clients and landlords as they come. */
static void test_again_and_again(void **state)
{
	struct holding_status status;

	(void)state;
	up(true, 10000, IWARP_MEMORY_ODP);
	for (uint32_t i = 1; i <= 10; i++) {
		struct rig_landlord landlord;

		(void)rig_wait(&rig, HOLDING_SERVING, i);
		if (i % 3)
			(void)must_acquire();
		rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
		assert_true(rig_landlord_join(&landlord) < 5 * NS_PER_S);
	}
	status = rig_wait(&rig, HOLDING_SERVING, 11);
	assert_int_equal(status.recalls, 10);
	assert_int_equal(status.last.fenced_clients, 0);
	down();
}

/* Asked for in vain: the landlord waits for who has a key, as ever, and people are told. */
static void in_vain(bool real, enum iwarp_memory memory, const char *why)
{
	struct rig_landlord landlord;
	struct holding_status status;

	up(real, 300, memory);
	status = rig_status(&rig);
	assert_false(status.at_once);
	assert_non_null(status.not_at_once);
	assert_non_null(strstr(status.not_at_once, why));
	(void)must_acquire();
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, RIG_BYTES / 2);
	assert_true(rig_landlord_join(&landlord) >= 290 * NS_PER_MS);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(status.last.fenced_clients, 1);
	assert_int_equal(status.last.closed_ns, 0);
	down();
}

static void test_in_vain(void **state)
{
	(void)state;
	in_vain(false, IWARP_MEMORY_ODP, "the software fabric copies by itself");
	in_vain(true, IWARP_MEMORY_PINNED, "memory that is pinned is reached");
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_nobody_is_waited_for),
		leaks_test(test_our_own_work_is_drained),
		leaks_test(test_stop_meanwhile),
		leaks_test(test_again_and_again),
		leaks_test(test_in_vain),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main_chosen(run_group);
}
