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
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "fabric/fabric_ops.h"

static struct rig rig;
static struct rig_client one;

static const unsigned int read_write = LH_GRANT_READ | LH_GRANT_WRITE;

/* ---- an adapter that lets go of closed memory, and is slow to forget keys ----------------------- */

static bool lets_go;
static atomic_bool keeps_keys, hangs;
static atomic_uint hanging;

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
	atomic_fetch_add(&hanging, 1);
	while (atomic_load(&hangs))
		(void)usleep(1000);
	atomic_fetch_sub(&hanging, 1);
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

/* It is told, and ends when they are dead. */
static void test_keys_that_do_not_die(void **state)
{
	struct rig_landlord landlord;
	uint64_t end;

	(void)state;
	up(true, 50, IWARP_MEMORY_ODP);
	(void)must_acquire();
	atomic_store(&keeps_keys, true);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	end = now_ns() + 5 * NS_PER_S;
	while (!strstr(rig_status(&rig).why, "2 keys do not die") && now_ns() < end)
		(void)usleep(1000);
	assert_true(now_ns() < end);
	/* Nobody waits: it is no reason to end. */
	(void)usleep(1200000);
	assert_int_equal(rig_status(&rig).state, HOLDING_RELEASED);
	atomic_store(&keeps_keys, false);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_null(strstr(rig_status(&rig).why, "die"));
	down();
}

/* In a process of its own. */
static void stop_with_keys_that_do_not_die(void)
{
	struct rig_landlord landlord;

	up(true, 50, IWARP_MEMORY_ODP);
	atomic_store(&keeps_keys, true);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	(void)rig_wait(&rig, HOLDING_RELEASED, 1);
	rig_stop(&rig);
}

/* What ends the export cannot wait for ever. */
static void test_stop_ends(void **state)
{
	const uint64_t began_ns = now_ns();
	const struct rlimit no_core = {0};
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &no_core);
		(void)signal(SIGABRT, SIG_DFL); /* cmocka's */
		stop_with_keys_that_do_not_die();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_true(now_ns() - began_ns > NS_PER_S);
}

/* ---- what else is wanted back ------------------------------------------------------------------ */

/* Somebody who wants some of it, or all, beside the landlord; by himself, or by `reclaim`. */
struct other {
	struct holding_range range;
	struct holding_reclaim reclaim;
	bool keys_alive; /* when he got it */
	sem_t proven, ended;
};

static void on_proven(struct holding_range *r)
{
	struct other *o = container_of(r, struct other, range);
	struct holding_status status;

	holding_status(rig.h, &status);
	o->keys_alive = status.keys > 0;
	(void)sem_post(&o->proven);
}

static void on_ended(struct holding_range *r)
{
	(void)sem_post(&container_of(r, struct other, range)->ended);
}

static void want_there(void *arg)
{
	holding_recall_range(rig.h, &((struct other *)arg)->range);
}

static void want(struct other *o, uint64_t offset, uint64_t length, bool grants_only)
{
	*o = (struct other){
		.range =
			{
				.offset = offset,
				.length = length,
				.grants_only = grants_only,
				.done = on_proven,
				.ended = on_ended,
			},
	};
	(void)sem_init(&o->proven, 0, 0);
	(void)sem_init(&o->ended, 0, 0);
	rig_call(&rig, want_there, o);
}

static void end_there(void *arg)
{
	holding_recall_end(&((struct other *)arg)->range);
}

static void reclaimed(void *arg, int err, const char *why)
{
	struct other *o = arg;

	(void)why;
	assert(err == 0);
	on_proven(&o->range);
}

static void reclaim_there(void *arg)
{
	struct other *o = arg;

	holding_reclaim(rig.h, &o->reclaim, reclaimed, o);
}

static void reclaim(struct other *o, uint64_t offset, uint64_t length, uint64_t hold_ns)
{
	*o = (struct other){
		.reclaim =
			{
				.offset = offset,
				.length = length,
				.whole = length == 0,
				.hold_ns = hold_ns,
			},
	};
	(void)sem_init(&o->proven, 0, 0);
	rig_call(&rig, reclaim_there, o);
}

static void end_reclaims(void *arg)
{
	(void)arg;
	(void)holding_reclaim_end(rig.h);
}

static void on_released(void *arg, const struct grant_answer *answer)
{
	(void)arg;
	(void)answer;
}

static void release_there(void *arg)
{
	const struct lh_grant *g = arg;
	const struct grant_give_back back = {
		.offset = g->offset, .length = g->length, .generation = 1};

	grant_release(rig.h, one.grants, &back, on_released, NULL);
}

/* The client gives it back, and is answered some day. */
static void release_begins(struct lh_grant *g)
{
	rig_call(&rig, release_there, g);
}

static sem_t stopped;

static void on_stopped(void *arg)
{
	(void)arg;
	(void)sem_post(&stopped);
}

static void stop_there(void *arg)
{
	(void)arg;
	holding_stop(rig.h, on_stopped, NULL);
}

static void stop_begins(void)
{
	(void)sem_init(&stopped, 0, 0);
	rig_call(&rig, stop_there, NULL);
}

static bool posted(sem_t *sem)
{
	int n;

	assert_int_equal(sem_getvalue(sem, &n), 0);
	return n > 0;
}

/* Prompt, though nobody answers and no key dies. */
static void landlord_comes(void)
{
	struct rig_landlord landlord;
	struct holding_status status;

	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	assert_true(rig_landlord_join(&landlord) < 5 * NS_PER_S);
	status = rig_wait(&rig, HOLDING_RELEASED, 1);
	assert_true(status.keys > 0);
	assert_int_equal(status.grants, 0);
	assert_true(status.last.closed_ns > 0);
	assert_int_equal(status.last.fenced_clients, 0);
}

/* Once the keys can die it is served again as a whole, by a mapping that is reached. */
static void served_again(void)
{
	struct holding_status status;
	struct lh_grant g;
	uint64_t word = 1;

	atomic_store(&keeps_keys, false);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_true(status.last.retaken_ns >= status.last.keys_dead_ns);
	assert_int_equal(status.registered_bytes[0], RIG_BYTES);
	assert_int_equal(status.backed_bytes, RIG_BYTES);
	assert_int_equal(atomic_load(&rig.range_seals), 0);
	g = must_acquire();
	assert_int_equal(rig_write(&one, g.address, g.rkey, &word, 8), FABRIC_OK);
}

/* `reclaim` of all of it waits for a client's answer. It gets it with the landlord, and keeps it. */
static void test_reclaim_that_waits(void **state)
{
	struct other o;

	(void)state;
	up(true, 10000, IWARP_MEMORY_ODP);
	(void)must_acquire();
	atomic_store(&keeps_keys, true);
	reclaim(&o, 0, 0, 60 * NS_PER_S);
	assert_int_equal(rig_wait(&rig, HOLDING_RECALLING, 1).grants, 1);
	assert_false(posted(&o.proven));
	landlord_comes();
	rig_wait_sem(&o.proven);
	assert_true(o.keys_alive);
	/* The keys go first, and it is his still. */
	atomic_store(&keeps_keys, false);
	while (rig_status(&rig).keys > 0)
		(void)usleep(1000);
	(void)usleep(100000);
	assert_int_equal(rig_status(&rig).state, HOLDING_RELEASED);
	rig_call(&rig, end_reclaims, NULL);
	served_again();
	down();
}

/* The same, and his time is over before the keys are dead. */
static void test_reclaim_is_over_first(void **state)
{
	struct other o;

	(void)state;
	up(true, 10000, IWARP_MEMORY_ODP);
	(void)must_acquire();
	atomic_store(&keeps_keys, true);
	reclaim(&o, 0, 0, 0);
	(void)rig_wait(&rig, HOLDING_RECALLING, 1);
	landlord_comes();
	rig_wait_sem(&o.proven);
	(void)usleep(100000);
	assert_int_equal(rig_status(&rig).state, HOLDING_RELEASED);
	served_again();
	down();
}

/* He who comes when the landlord has it already, and the keys are alive, has it at once, too. */
static void test_reclaim_behind(void **state)
{
	struct other whole, part;

	(void)state;
	up(true, 10000, IWARP_MEMORY_ODP);
	(void)must_acquire();
	atomic_store(&keeps_keys, true);
	landlord_comes();
	reclaim(&whole, 0, 0, 60 * NS_PER_S);
	want(&part, 0, MIB(1), false);
	rig_wait_sem(&whole.proven);
	rig_wait_sem(&part.proven);
	assert_true(whole.keys_alive && part.keys_alive);
	rig_call(&rig, end_there, &part);
	rig_wait_sem(&part.ended);
	rig_call(&rig, end_reclaims, NULL);
	served_again();
	down();
}

/* One range was had before, with the keys over it; of another a client and old keys are in the way. */
static void test_ranges(void **state)
{
	struct other had, waits, dying;
	uint64_t registered;

	(void)state;
	up(true, 10000, IWARP_MEMORY_ODP);
	(void)must_acquire();
	want(&had, RIG_BYTES - MIB(2), MIB(1), false);
	rig_wait_sem(&had.proven);
	registered = rig_status(&rig).registered_bytes[0];
	assert_int_equal(registered, RIG_BYTES - MIB(1));
	atomic_store(&keeps_keys, true);
	want(&dying, RIG_BYTES - MIB(4), MIB(1), false);
	want(&waits, MIB(1), MIB(1), false);
	(void)usleep(100000);
	assert_false(posted(&waits.proven) || posted(&dying.proven));
	landlord_comes();
	rig_wait_sem(&waits.proven);
	rig_wait_sem(&dying.proven);
	rig_call(&rig, end_there, &waits);
	rig_wait_sem(&waits.ended);
	rig_call(&rig, end_there, &had);
	rig_wait_sem(&had.ended);
	/* One is not over: what is served again lacks it. */
	atomic_store(&keeps_keys, false);
	registered = rig_wait(&rig, HOLDING_SERVING, 2).registered_bytes[0];
	assert_int_equal(registered, RIG_BYTES - MIB(1));
	rig_call(&rig, end_there, &dying);
	rig_wait_sem(&dying.ended);
	served_again();
	down();
}

/* The registrar hangs in another key's end, and comes to a range's when that is forgotten. */
static void test_range_is_over_first(void **state)
{
	struct other *o = malloc(sizeof(*o));
	struct lh_grant g;

	(void)state;
	assert_non_null(o);
	up(true, 10000, IWARP_MEMORY_ODP);
	g = must_acquire();
	atomic_store(&rig.hold_drain, true);
	atomic_store(&rig.hold_publish, true); /* what was served before is used still */
	want(o, RIG_BYTES - MIB(2), MIB(1), false);
	while (atomic_load(&rig.drains) == 0)
		(void)usleep(1000);
	atomic_store(&hangs, true);
	release_begins(&g);
	while (atomic_load(&hanging) == 0)
		(void)usleep(1000);
	/* Its slices are to go now, behind that. */
	rig_release_quiesce(&rig);
	(void)usleep(50000);
	assert_false(posted(&o->proven));
	landlord_comes();
	rig_wait_sem(&o->proven);
	rig_call(&rig, end_there, o);
	rig_wait_sem(&o->ended);
	free(o);
	assert_int_equal(rig_status(&rig).state, HOLDING_RELEASED);
	atomic_store(&hangs, false);
	rig_release_publish(&rig);
	served_again();
	down();
}

/* A host's command beside another's grant: only that is wanted back. */
static void test_grants_only(void **state)
{
	struct other o;

	(void)state;
	up(true, 10000, IWARP_MEMORY_ODP);
	(void)must_acquire();
	atomic_store(&keeps_keys, true);
	want(&o, 0, KIB(64), true);
	(void)usleep(50000);
	assert_false(posted(&o.proven));
	landlord_comes();
	rig_wait_sem(&o.proven);
	rig_call(&rig, end_there, &o);
	rig_wait_sem(&o.ended);
	served_again();
	down();
}

/* The end of the export: with a reclaim that has it, and one that waits, and before all that. */
static void test_stop_of_reclaimed(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		struct other whole, part;
		struct rig_landlord landlord;

		up(true, 10000, IWARP_MEMORY_ODP);
		(void)must_acquire();
		if (i < 2)
			reclaim(&part, RIG_BYTES - MIB(2), MIB(1), 60 * NS_PER_S);
		if (i == 0)
			rig_wait_sem(&part.proven);
		atomic_store(&keeps_keys, true);
		if (i == 1)
			reclaim(&whole, 0, 0, HOLDING_RECLAIM_TILL_STOP);
		if (i < 2) {
			landlord_comes();
			atomic_store(&keeps_keys, false);
			down();
			continue;
		}
		/* He comes when it is just being stopped, which waits for the client. */
		stop_begins();
		rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
		assert_true(rig_landlord_join(&landlord) < 5 * NS_PER_S);
		(void)usleep(50000);
		assert_false(posted(&stopped));
		assert_true(rig_status(&rig).keys > 0);
		atomic_store(&keeps_keys, false);
		rig_wait_sem(&stopped);
		assert_int_equal(rig_status(&rig).state, HOLDING_OFFLINE);
		assert_int_equal(rig_status(&rig).keys, 0);
		down();
	}
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
		leaks_test(test_nobody_is_waited_for), leaks_test(test_our_own_work_is_drained),
		leaks_test(test_stop_meanwhile),       leaks_test(test_again_and_again),
		leaks_test(test_keys_that_do_not_die), leaks_test(test_stop_ends),
		leaks_test(test_reclaim_that_waits),   leaks_test(test_reclaim_is_over_first),
		leaks_test(test_reclaim_behind),       leaks_test(test_ranges),
		leaks_test(test_range_is_over_first),  leaks_test(test_grants_only),
		leaks_test(test_stop_of_reclaimed),    leaks_test(test_in_vain),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main_chosen(run_group);
}
