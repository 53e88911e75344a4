// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a holding asks of the reactors: publish, quiesce and seal are done when, and only when, every
 * reactor has let go, however they overlap. Real reactors, no adapter; the servings are empty.
 */
#include "leaks.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>

#include "nvme/internal.h"
#include "nvme/nvme_queue.h"

#define REACTORS 3

static struct loop *control;
static struct pool *registrar, *workers;
static struct reactor *reactors[REACTORS];
static struct holding_env env;
static struct nvme_target *target;
static struct nvme_subsystem *subsystem;
static struct holding *holding;
static struct view views[4];
static struct serving servings[4];

static int setup(void **state)
{
	struct holding_config config = {
		.export = {.name = "a", .path = "/nowhere", .lock_dir = "", .state_dir = ""},
		.nsid = 5,
	};
	struct nvme_env nvme = {
		.reactors = reactors,
		.nr_reactors = REACTORS,
		.holdings = &env,
		.limits = {.queue_depth = 8,
			   .max_io_queues = 1,
			   .max_controllers = 1,
			   .max_connections = 1,
			   .inline_bytes = 4096,
			   .mdts_bytes = MIB(1)},
		.version = "1",
	};

	if (leaks_setup(state) || loop_new("control", &control) ||
	    pool_new("registrar", 1, &registrar) || pool_new("worker", 1, &workers))
		return -1;
	for (unsigned int i = 0; i < REACTORS; i++) {
		if (reactor_new(i, NULL, 0, 0, &reactors[i]) || reactor_start(reactors[i]))
			return -1;
	}
	env = (struct holding_env){.control = control, .registrar = registrar, .workers = workers};
	nvme.control = control;
	nvme.registrar = registrar;
	nvme.workers = workers;
	for (unsigned int i = 0; i < ARRAY_SIZE(views); i++) {
		views[i] = (struct view){.generation = i + 1, .size_bytes = MIB(i + 1)};
		servings[i] = (struct serving){.view = &views[i]};
	}
	return nvme_target_new(&nvme, &target) ||
	       nvme_subsystem_new(target, "nqn.2026-11.org.leasehold:test", &subsystem) ||
	       holding_new(&env, &config, &holding) || nvme_subsystem_add(subsystem, holding);
}

static int teardown(void **state)
{
	nvme_target_free(target);
	holding_free(holding);
	pool_free(registrar);
	pool_free(workers);
	for (unsigned int i = 0; i < REACTORS; i++)
		reactor_free(reactors[i]);
	loop_free(control);
	return leaks_teardown(state);
}

/* ---- things done on a reactor ----------------------------------------------------------------- */

struct there {
	struct loop_msg msg;
	struct nvme_reactor *nr;
	void (*fn)(struct nvme_reactor *nr, void *arg);
	void *arg;
	sem_t done;
};

static void there_run(struct loop_msg *msg)
{
	struct there *t = container_of(msg, struct there, msg);

	t->fn(t->nr, t->arg);
	(void)sem_post(&t->done);
}

static void on_reactor(unsigned int i, void (*fn)(struct nvme_reactor *nr, void *arg), void *arg)
{
	struct there t = {.nr = &target->reactors[i], .fn = fn, .arg = arg};

	(void)sem_init(&t.done, 0, 0);
	loop_post(t.nr->loop, &t.msg, there_run);
	(void)sem_wait(&t.done);
}

static void find(struct nvme_reactor *nr, void *arg)
{
	unsigned int slot;

	*(struct ns_use **)arg = ns_find(nr, subsystem, 5, &slot);
}

static void take_keyed(struct nvme_reactor *nr, void *arg)
{
	struct ns_use **use = arg;

	find(nr, use);
	ns_get(*use);
	(*use)->keyed++;
}

static void put_keys(struct nvme_reactor *nr, void *arg)
{
	struct ns_use *use = *(struct ns_use **)arg;

	(void)nr;
	use->keyed--;
	ns_check(use);
}

static void hold(struct nvme_reactor *nr, void *arg)
{
	(void)nr;
	ns_get(*(struct ns_use **)arg);
}

static void put(struct nvme_reactor *nr, void *arg)
{
	(void)nr;
	ns_put(*(struct ns_use **)arg);
}

static void take_commit(struct nvme_reactor *nr, void *arg)
{
	struct ns_use **use = arg;

	find(nr, use);
	ns_get(*use);
	(*use)->commits++;
}

static void put_commit(struct nvme_reactor *nr, void *arg)
{
	struct ns_use *use = *(struct ns_use **)arg;

	(void)nr;
	use->commits--;
	ns_put(use);
}

/* ---- operations ------------------------------------------------------------------------------- */

struct op {
	struct loop_msg msg;
	int done;
};

static void op_done(struct loop_msg *msg)
{
	container_of(msg, struct op, msg)->done++;
}

static void nothing(struct nvme_reactor *nr, void *arg)
{
	(void)nr;
	(void)arg;
}

/* What has been posted so far has been run, there and here. */
static void settle(void)
{
	for (unsigned int i = 0; i < REACTORS; i++)
		on_reactor(i, nothing, NULL);
	for (int i = 0; i < 3; i++)
		loop_turn(control, 0);
}

static void publish(const struct serving *s, struct op *op)
{
	op->done = 0;
	nvme_holding_ops()->publish(target, holding, s, &op->msg, op_done);
	settle();
}

static void quiesce(struct op *op)
{
	op->done = 0;
	nvme_holding_ops()->quiesce(target, holding, &op->msg, op_done);
	settle();
}

static void seal(struct op *op)
{
	op->done = 0;
	nvme_holding_ops()->seal(target, holding, &op->msg, op_done);
	settle();
}

static void test_publish(void **state)
{
	struct op first, second, last;
	struct ns_use *use, *later;

	(void)state;
	on_reactor(1, find, &use);
	assert_null(use);
	publish(&servings[0], &first);
	assert_int_equal(first.done, 1);
	on_reactor(1, take_keyed, &use);
	assert_ptr_equal(use->serving, &servings[0]);
	publish(&servings[1], &second);
	assert_int_equal(second.done, 0);
	/* New work gets the new one; it does not hold up the earlier operation. */
	on_reactor(1, take_keyed, &later);
	assert_ptr_equal(later->serving, &servings[1]);
	on_reactor(1, put_keys, &use);
	settle();
	assert_int_equal(second.done, 0);
	on_reactor(1, put, &use);
	settle();
	assert_int_equal(second.done, 1);
	on_reactor(1, put_keys, &later);
	on_reactor(1, put, &later);
	publish(NULL, &last);
	assert_int_equal(last.done, 1);
	on_reactor(2, find, &use);
	assert_null(use->serving);
}

static void test_quiesce(void **state)
{
	struct op op, again;
	struct ns_use *use, *plain;

	(void)state;
	publish(&servings[0], &op);
	on_reactor(0, take_keyed, &use);
	on_reactor(2, find, &plain);
	quiesce(&op);
	assert_int_equal(op.done, 0);
	assert_true(plain->quiesced);
	assert_true(use->quiesced);
	/* The command still uses the serving when its work requests are through: a persist, say. */
	on_reactor(0, put_keys, &use);
	settle();
	assert_int_equal(op.done, 1);
	quiesce(&again);
	assert_int_equal(again.done, 1);
	on_reactor(0, put, &use);
	/* What is published next is not quiesced. */
	publish(&servings[1], &op);
	assert_int_equal(op.done, 1);
	on_reactor(0, find, &use);
	assert_false(use->quiesced || use->sealed);
}

/*
 * Who works on what was served before, without a key of it, does not hold up a recall, and gets no key
 * of it any more: the second half of a pair, say.
 */
static void test_quiesce_older(void **state)
{
	struct op first, second, quiet;
	struct ns_use *older;

	(void)state;
	publish(&servings[0], &first);
	on_reactor(1, find, &older);
	on_reactor(1, hold, &older);
	publish(&servings[1], &second);
	assert_int_equal(second.done, 0);
	quiesce(&quiet);
	assert_int_equal(quiet.done, 1);
	assert_true(older->quiesced);
	assert_int_equal(second.done, 0);
	on_reactor(1, put, &older);
	settle();
	assert_int_equal(second.done, 1);
}

static void test_seal(void **state)
{
	struct op op, quiet;
	struct ns_use *use;

	(void)state;
	publish(&servings[0], &op);
	on_reactor(2, take_commit, &use);
	quiesce(&quiet);
	assert_int_equal(quiet.done, 1); /* commits still run */
	assert_false(use->sealed);
	seal(&op);
	assert_int_equal(op.done, 0);
	assert_true(use->sealed);
	on_reactor(2, put_commit, &use);
	settle();
	assert_int_equal(op.done, 1);
}

/* Everything at once: each is done in its own time. */
static void test_overlap(void **state)
{
	struct op published, quiet, sealed, second, gone;
	struct ns_use *block, *commit, *later;

	(void)state;
	publish(&servings[0], &published);
	on_reactor(0, take_keyed, &block);
	on_reactor(1, take_commit, &commit);
	quiesce(&quiet);
	seal(&sealed);
	publish(&servings[1], &second);
	on_reactor(0, take_keyed, &later);
	publish(NULL, &gone);
	assert_int_equal(quiet.done + sealed.done + second.done + gone.done, 0);
	on_reactor(1, put_commit, &commit);
	settle();
	assert_int_equal(sealed.done, 1);
	assert_int_equal(quiet.done + second.done + gone.done, 0);
	on_reactor(0, put_keys, &block);
	settle();
	assert_int_equal(quiet.done, 1);
	assert_int_equal(second.done + gone.done, 0);
	on_reactor(0, put, &block);
	settle();
	assert_int_equal(second.done, 1);
	assert_int_equal(gone.done, 0);
	on_reactor(0, put_keys, &later);
	on_reactor(0, put, &later);
	settle();
	assert_int_equal(gone.done, 1);
}

/* ---- ranges ----------------------------------------------------------------------------------- */

/* A command's work request on [offset, offset + length), of a queue that is nowhere else. */
static struct nvme_queue some_queue;
static struct request some_request = {.queue = &some_queue};
static struct lh_commit_range some_range;
static struct work some_work = {.link = LIST_INIT(some_work.link)}; /* a worker is at it */
static struct ns_commit some_commit = {.ranges = &some_range, .count = 1, .work = &some_work};

static void take_keyed_range(struct nvme_reactor *nr, void *arg)
{
	struct ns_use **use = arg;

	take_keyed(nr, use);
	some_request.use = *use;
	list_push(&(*use)->keyed_requests, &some_request.keyed_link);
}

static void put_keyed_range(struct nvme_reactor *nr, void *arg)
{
	list_del(&some_request.keyed_link);
	put_keys(nr, arg);
}

static void take_commit_range(struct nvme_reactor *nr, void *arg)
{
	struct ns_use **use = arg;

	take_commit(nr, use);
	list_push(&(*use)->commit_list, &some_commit.link);
}

static void put_commit_range(struct nvme_reactor *nr, void *arg)
{
	list_del(&some_commit.link);
	put_commit(nr, arg);
}

typedef void range_op_fn(void *ctx, struct holding *h, uint64_t offset, uint64_t length,
			 struct loop_msg *done, void (*fn)(struct loop_msg *));

static void on_range(range_op_fn *fn, uint64_t offset, uint64_t length, struct op *op)
{
	op->done = 0;
	fn(target, holding, offset, length, &op->msg, op_done);
	settle();
}

/* Only what touches the range, and only on what was served before. */
static void test_drain(void **state)
{
	struct op op, beside;
	struct ns_use *use;

	(void)state;
	publish(&servings[0], &op);
	some_request.range.offset = 8192;
	some_request.range.length = 4096;
	on_reactor(1, take_keyed_range, &use);
	on_range(nvme_holding_ops()->drain, 0, UINT64_MAX, &op);
	assert_int_equal(op.done, 1); /* it is on what is served last */
	publish(&servings[1], &beside);
	assert_int_equal(beside.done, 0);
	on_range(nvme_holding_ops()->drain, 0, 8192, &beside);
	assert_int_equal(beside.done, 1);
	on_range(nvme_holding_ops()->drain, 12288, 4096, &beside);
	assert_int_equal(beside.done, 1);
	on_range(nvme_holding_ops()->drain, 12287, 4096, &op);
	on_range(nvme_holding_ops()->drain, 0, UINT64_MAX, &beside);
	assert_int_equal(op.done + beside.done, 0);
	/* The command still uses the serving. */
	on_reactor(1, put_keyed_range, &use);
	settle();
	assert_int_equal(op.done, 1);
	assert_int_equal(beside.done, 1);
	on_reactor(1, put, &use);
}

/* On what is served now, too. */
static void test_drain_all(void **state)
{
	struct op op, beside;
	struct ns_use *use;

	(void)state;
	publish(&servings[0], &op);
	some_request.range.offset = 8192;
	some_request.range.length = 4096;
	on_reactor(1, take_keyed_range, &use);
	on_range(nvme_holding_ops()->drain_all, 0, 8192, &beside);
	assert_int_equal(beside.done, 1);
	on_range(nvme_holding_ops()->drain_all, 4096, 8192, &op);
	assert_int_equal(op.done, 0);
	publish(&servings[1], &beside);
	assert_int_equal(op.done, 0);
	on_reactor(1, put_keyed_range, &use);
	settle();
	assert_int_equal(op.done, 1);
	on_reactor(1, put, &use);
}

struct asks_sealed {
	uint64_t offset, length;
	bool sealed;
};

static void ask_sealed(struct nvme_reactor *nr, void *arg)
{
	struct asks_sealed *a = arg;
	unsigned int slot;

	(void)ns_find(nr, subsystem, 5, &slot);
	a->sealed = ns_sealed(&nr->slots[slot], a->offset, a->length);
}

static bool sealed(unsigned int reactor, uint64_t offset, uint64_t length)
{
	struct asks_sealed a = {.offset = offset, .length = length};

	on_reactor(reactor, ask_sealed, &a);
	return a.sealed;
}

static void test_seal_range(void **state)
{
	struct op op, again, published;
	struct ns_use *use;

	(void)state;
	publish(&servings[0], &op);
	some_range.offset = htole64(8192);
	some_range.length = htole64(4096);
	on_reactor(2, take_commit_range, &use);
	on_range(nvme_holding_ops()->seal_range, 0, 4096, &op);
	assert_int_equal(op.done, 1);
	on_range(nvme_holding_ops()->seal_range, 4096, 8192, &op);
	on_range(nvme_holding_ops()->seal_range, 4096, 8192, &again);
	assert_int_equal(op.done + again.done, 0);
	for (unsigned int i = 0; i < REACTORS; i++) {
		assert_true(sealed(i, 12287, 1));
		assert_true(sealed(i, 0, 1));
		assert_false(sealed(i, 12288, 4096));
	}
	on_reactor(2, put_commit_range, &use);
	settle();
	assert_int_equal(op.done + again.done, 2);
	/* They outlive what is served, and are taken back one by one. */
	publish(&servings[1], &published);
	on_range(nvme_holding_ops()->unseal_range, 4096, 8192, &op);
	assert_int_equal(op.done, 1);
	assert_true(sealed(1, 4096, 1));
	on_range(nvme_holding_ops()->unseal_range, 4096, 8192, &op);
	assert_false(sealed(1, 4096, 1));
	assert_true(sealed(1, 4095, 1));
	/* What is left goes with the slot. */
}

static void test_unknown(void **state)
{
	struct holding_config config = {
		.export = {.name = "b", .path = "/nowhere", .lock_dir = "", .state_dir = ""},
		.nsid = 5,
	};
	struct holding *other;
	struct op op = {.done = 0};

	(void)state;
	assert_int_equal(holding_new(&env, &config, &other), 0);
	assert_int_equal(nvme_subsystem_add(subsystem, other), -EEXIST);
	/* A holding that no subsystem offers: nothing can be using it. */
	nvme_holding_ops()->quiesce(target, other, &op.msg, op_done);
	settle();
	assert_int_equal(op.done, 1);
	holding_free(other);
}

/* ---- namespaces that come and go -------------------------------------------------------------- */

static void find_detached(struct nvme_reactor *nr, void *arg)
{
	*(struct ns_use **)arg = ns_find_detached(nr, subsystem, 5);
}

/* As a request does that waits for its place: it holds the slot, and no serving. */
static void take_request(struct nvme_reactor *nr, void *arg)
{
	unsigned int *slot = arg;

	*slot = ns_slot(nr, subsystem, 5);
	assert_true(*slot < NVME_MAX_NAMESPACES);
	nr->slots[*slot].requests++;
}

static void put_request(struct nvme_reactor *nr, void *arg)
{
	struct ns_slot *slot = &nr->slots[*(unsigned int *)arg];

	slot->requests--;
	ns_put_slow(slot);
}

static void count_done(void *arg)
{
	++*(int *)arg;
}

static void count_a_read(struct nvme_reactor *nr, void *arg)
{
	(void)arg;
	figures_count(&nr->slots[0].figures.reads, 1);
}

static void test_remove(void **state)
{
	struct nvme_ns_counts counts;
	struct op first, last;
	struct ns_use *use, *detached;
	unsigned int slot;
	int removed = 0;

	(void)state;
	publish(&servings[0], &first);
	on_reactor(2, take_keyed, &use);
	on_reactor(1, take_request, &slot);
	nvme_subsystem_detach(subsystem, holding);
	nvme_subsystem_detach(subsystem, holding);
	assert_int_equal(nvme_subsystem_add(subsystem, holding), -EEXIST);
	for (unsigned int i = 0; i < REACTORS; i++) {
		/* New commands do not find it; commits do, until it has stopped. */
		on_reactor(i, find, &detached);
		assert_null(detached);
		on_reactor(i, find_detached, &detached);
		assert_ptr_equal(detached->serving, &servings[0]);
	}
	for (unsigned int i = 0; i < REACTORS; i++)
		on_reactor(i, count_a_read, NULL);
	nvme_target_ns_counts(target, holding, &counts);
	assert_int_equal(counts.reads, REACTORS);
	publish(NULL, &last);
	assert_int_equal(last.done, 0);
	on_reactor(2, put_keys, &use);
	on_reactor(2, put, &use);
	settle();
	assert_int_equal(last.done, 1);
	nvme_subsystem_remove(subsystem, holding, count_done, &removed);
	settle();
	assert_int_equal(removed, 0);
	assert_int_equal(nvme_subsystem_add(subsystem, holding), -EEXIST);
	on_reactor(1, put_request, &slot);
	settle();
	assert_int_equal(removed, 1);
	for (unsigned int i = 0; i < REACTORS; i++) {
		on_reactor(i, find_detached, &detached);
		assert_null(detached);
	}

	/* The next one in its place: nothing of the old is seen, and nothing waits for it. */
	assert_int_equal(nvme_subsystem_add(subsystem, holding), 0);
	nvme_target_ns_counts(target, holding, &counts);
	assert_int_equal(counts.reads, 0);
	on_reactor(0, find, &use);
	assert_null(use);
	publish(&servings[1], &first);
	assert_int_equal(first.done, 1);
	on_reactor(0, find, &use);
	assert_ptr_equal(use->serving, &servings[1]);
	quiesce(&last);
	assert_int_equal(last.done, 1);
}

/* One that was never served, and as many as there can be. */
static void test_all_slots(void **state)
{
	struct holding *many[NVME_MAX_NAMESPACES];
	int removed = 0;

	(void)state;
	for (unsigned int i = 0; i < NVME_MAX_NAMESPACES; i++) {
		struct holding_config config = {
			.export = {.name = "b", .path = "/", .lock_dir = "", .state_dir = ""},
			.nsid = i + 10,
		};

		assert_int_equal(holding_new(&env, &config, &many[i]), 0);
		assert_int_equal(nvme_subsystem_add(subsystem, many[i]),
				 i + 1 < NVME_MAX_NAMESPACES ? 0 : -ENOSPC);
	}
	nvme_subsystem_remove(subsystem, many[3], count_done, &removed);
	settle(); /* its reservations first, … */
	settle(); /* … then the reactors */
	assert_int_equal(removed, 1);
	assert_int_equal(nvme_subsystem_add(subsystem, many[NVME_MAX_NAMESPACES - 1]), 0);
	for (unsigned int i = 0; i < NVME_MAX_NAMESPACES; i++) {
		if (i != 3)
			nvme_subsystem_remove(subsystem, many[i], count_done, &removed);
	}
	settle();
	settle();
	assert_int_equal(removed, NVME_MAX_NAMESPACES);
	for (unsigned int i = 0; i < NVME_MAX_NAMESPACES; i++)
		holding_free(many[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_publish, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quiesce, setup, teardown),
		cmocka_unit_test_setup_teardown(test_quiesce_older, setup, teardown),
		cmocka_unit_test_setup_teardown(test_seal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overlap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_seal_range, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_remove, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all_slots, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
