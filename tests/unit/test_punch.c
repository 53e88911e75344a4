// SPDX-License-Identifier: BSD-3-Clause
/*
 * Holes that hosts ask for: no key over the blocks when they go, nothing else disturbed, and no new
 * generation fills them again. With the real rooms below.
 */
#include "grant_rig.h"

#include <fcntl.h>
#include <sched.h>

#include "iwarp/iwarp.h"

static struct rig rig;
static struct rig_client one, two;

/* A slow file system; and how often something was published while it was at it. */
static atomic_uint punch_ms, published_meanwhile;

int __real_export_punch(const struct export *e, const struct export_range *ranges,
			unsigned int nr_ranges);
int __wrap_export_punch(const struct export *e, const struct export_range *ranges,
			unsigned int nr_ranges);

int __wrap_export_punch(const struct export *e, const struct export_range *ranges,
			unsigned int nr_ranges)
{
	unsigned int before = atomic_load(&rig.published);
	int err;

	(void)usleep(1000 * atomic_load(&punch_ms));
	err = __real_export_punch(e, ranges, nr_ranges);
	atomic_fetch_add(&published_meanwhile, atomic_load(&rig.published) - before);
	return err;
}

static void make_full_file(void)
{
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
}

static void up(const struct rig_options *options)
{
	make_full_file();
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

struct asked {
	struct holding_punch punch;
	struct export_range ranges[4];
	sem_t sem;
	int err;
};

static void on_punched(struct holding_punch *punch, int err)
{
	struct asked *a = container_of(punch, struct asked, punch);

	a->err = err;
	(void)sem_post(&a->sem);
}

static void ask_there(void *arg)
{
	holding_punch(rig.h, &((struct asked *)arg)->punch);
}

static void ask(struct asked *a, uint64_t offset, uint64_t length)
{
	(void)sem_init(&a->sem, 0, 0);
	a->ranges[0] = (struct export_range){.offset = offset, .length = length};
	a->punch = (struct holding_punch){.ranges = a->ranges, .nr_ranges = 1, .done = on_punched};
	rig_call(&rig, ask_there, a);
}

static int answer(struct asked *a)
{
	struct timespec end;

	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += RIG_WAIT_MS / 1000;
	assert_int_equal(sem_timedwait(&a->sem, &end), 0);
	return a->err;
}

static int punch(uint64_t offset, uint64_t length)
{
	struct asked a;

	ask(&a, offset, length);
	return answer(&a);
}

static void assert_bytes(uint64_t offset, uint64_t length, bool zero)
{
	uint8_t bytes[512];

	for (uint64_t at = offset; at < offset + length; at += sizeof(bytes)) {
		rig_read(&rig, at, bytes, sizeof(bytes));
		for (size_t i = 0; i < sizeof(bytes); i++)
			assert_int_equal(bytes[i], zero ? 0 : fill_byte(at));
	}
}

/* The file is RIG_BYTES, without the hole. */
static void assert_hole(uint64_t offset, uint64_t length)
{
	assert_int_equal(file_bytes("file"), RIG_BYTES);
	assert_true(allocated_bytes("file") < RIG_BYTES);
	assert_bytes(offset, length, true);
	assert_bytes(offset - 4096, 4096, false);
	if (offset + length < RIG_BYTES)
		assert_bytes(offset + length, 4096, false);
}

/* What the reactors see: no slice over the hole, slices on both sides. */
static void assert_unregistered(uint64_t offset, uint64_t length)
{
	const struct serving *s = rig.serving;

	assert_false(view_backed(s->view, offset, 1));
	assert_false(view_backed(s->view, offset + length - 1, 1));
	assert_true(view_backed(s->view, offset - 1, 1));
	assert_null(region_find(s->regions[0], offset));
	assert_null(region_find(s->regions[0], offset + length - 1));
	assert_non_null(region_find(s->regions[0], offset - 1));
	assert_non_null(region_find(s->regions[0], 0));
	assert_int_equal(s->view->hole_bytes, length);
	assert_int_equal(s->view->backed_bytes, RIG_BYTES - length);
}

/* Nobody is granted any of it: the generation stays, and another's grant elsewhere works on. */
static void test_quiet(void **state)
{
	struct grant_answer g;
	uint64_t word = 7;

	(void)state;
	up(&rig_defaults);
	g = rig_acquire(&one, MIB(8), MIB(1), LH_GRANT_READ | LH_GRANT_WRITE);
	assert_int_equal(g.status, NVME_SC_SUCCESS);
	assert_int_equal(punch(MIB(2), MIB(1)), 0);
	assert_hole(MIB(2), MIB(1));
	assert_unregistered(MIB(2), MIB(1));
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(rig_status(&rig).recalls, 0);
	assert_int_equal(atomic_load(&one.told), 0);
	assert_int_equal(
		rig_write(&one, le64toh(g.grants[0].address), le32toh(g.grants[0].rkey), &word, 8),
		FABRIC_OK);
	/* Again: nothing is registered there. */
	assert_int_equal(punch(MIB(2), MIB(1)), 0);
	/* To the very end of the file. */
	assert_int_equal(punch(RIG_BYTES - KIB(64), KIB(64)), 0);
	assert_hole(RIG_BYTES - KIB(64), KIB(64));
	/* It cannot be granted now, unless it is filled. */
	assert_int_equal(rig_acquire(&two, MIB(2), 4096, LH_GRANT_READ).status, LH_SC_NOT_BACKED);
	down();
}

/* It is granted: recalled first, and the hole outlives the new generation. */
static void test_granted(void **state)
{
	struct grant_answer g;
	uint64_t word = 7;

	(void)state;
	up(&rig_defaults);
	g = rig_acquire(&one, 0, RIG_BYTES, LH_GRANT_READ | LH_GRANT_WRITE);
	assert_int_equal(g.status, NVME_SC_SUCCESS);
	assert_int_equal(punch(MIB(2), MIB(1)), 0);
	assert_int_equal(atomic_load(&one.told), 1);
	assert_hole(MIB(2), MIB(1));
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(rig_status(&rig).last.fenced_clients, 0);
	assert_int_not_equal(rig_write(&one, le64toh(g.grants[0].address) + MIB(2),
				       le32toh(g.grants[0].rkey), &word, 8),
			     FABRIC_OK);
	assert_hole(MIB(2), MIB(1));
	assert_unregistered(MIB(2), MIB(1));
	down();
}

/* A client that never answers is fenced, and the hole comes in time. */
static void test_granted_silent(void **state)
{
	struct rig_options options = rig_defaults;
	struct grant_answer g;

	(void)state;
	options.deadline_ms = 100;
	up(&options);
	atomic_store(&one.answers, false);
	g = rig_acquire(&one, MIB(2), 4096, LH_GRANT_READ);
	assert_int_equal(g.status, NVME_SC_SUCCESS);
	assert_int_equal(punch(MIB(2), MIB(1)), 0);
	assert_hole(MIB(2), MIB(1));
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(rig_status(&rig).last.fenced_clients, 1);
	down();
}

/* Somebody still uses what was served before: the file is not touched until they are through. */
static void test_waits(void **state)
{
	struct asked a, b;

	(void)state;
	up(&rig_defaults);
	atomic_store(&rig.hold_publish, true);
	ask(&a, MIB(2), MIB(1));
	ask(&b, MIB(6), MIB(1)); /* the next batch */
	(void)usleep(100000);
	assert_int_equal(sem_trywait(&a.sem), -1);
	assert_bytes(MIB(2), MIB(1), false);
	atomic_store(&rig.hold_publish, false);
	rig_release_publish(&rig);
	assert_int_equal(answer(&a), 0);
	assert_int_equal(answer(&b), 0);
	assert_hole(MIB(2), MIB(1));
	assert_hole(MIB(6), MIB(1));
	down();
}

static void ask_size(struct asked *a, uint64_t bytes)
{
	(void)sem_init(&a->sem, 0, 0);
	a->punch = (struct holding_punch){.resize_to = bytes, .done = on_punched};
	rig_call(&rig, ask_there, a);
}

/*
 * Around the wish for a size that the file has: there is nothing to do for that, and it goes on. All
 * wait for the first one; the size parts the two others.
 */
static void test_behind_a_size(void **state)
{
	struct asked first, before, size, behind;

	(void)state;
	up(&rig_defaults);
	atomic_store(&rig.hold_publish, true);
	ask(&first, MIB(2), MIB(1));
	ask(&before, MIB(4), MIB(1));
	ask_size(&size, RIG_BYTES);
	ask(&behind, MIB(6), MIB(1));
	rig_release_publish(&rig);
	assert_int_equal(answer(&first), 0);
	assert_int_equal(answer(&before), 0);
	assert_int_equal(answer(&size), 0);
	assert_int_equal(answer(&behind), 0);
	assert_hole(MIB(4), MIB(1));
	assert_hole(MIB(6), MIB(1));
	down();
}

/* The landlord has the file open: there is no key, and no need to wait for him. */
static void test_released(void **state)
{
	int fd;

	(void)state;
	up(&rig_defaults);
	fd = open(in_dir("file"), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	(void)rig_wait(&rig, HOLDING_RELEASED, 1);
	assert_int_equal(punch(MIB(2), MIB(1)), 0);
	assert_bytes(MIB(2), MIB(1), true);
	assert_int_equal(rig_status(&rig).state, HOLDING_RELEASED);
	(void)close(fd);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_hole(MIB(2), MIB(1));
	assert_unregistered(MIB(2), MIB(1));
	down();
}

/*
 * A recall in the middle of it: first the landlord, then the hole. The file is not prepared for
 * another generation while it is punched: that would register what is going away.
 */
static void test_recalled(void **state)
{
	struct rig_landlord landlord;
	struct asked a;

	(void)state;
	up(&rig_defaults);
	atomic_store(&punch_ms, 500);
	atomic_store(&published_meanwhile, 0);
	atomic_store(&rig.hold_publish, true);
	ask(&a, MIB(2), MIB(1));
	while (atomic_load(&rig.published) < 2)
		(void)usleep(1000);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)usleep(50000);
	assert_int_equal(sem_trywait(&a.sem), -1);
	atomic_store(&rig.hold_publish, false);
	rig_release_publish(&rig);
	(void)rig_landlord_join(&landlord);
	assert_int_equal(answer(&a), 0);
	atomic_store(&punch_ms, 0);
	assert_int_equal(atomic_load(&published_meanwhile), 0);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	assert_hole(MIB(2), MIB(1));
	down();
}

static void test_stopped(void **state)
{
	struct asked a;

	(void)state;
	up(&rig_defaults);
	rig_stop(&rig);
	ask(&a, MIB(2), MIB(1));
	assert_int_equal(answer(&a), -ENODEV);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(punch(MIB(2), MIB(1)), 0);
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
		(void)usleep(2000);
	}
}

/* Landlords, grants and holes together; the assertions are the rooms' own. */
static void test_storm(void **state)
{
	struct rig_landlord landlord;
	unsigned int seed = 3, holes = 0;
	struct rig_options options = rig_defaults;
	uint64_t end;

	(void)state;
	options.deadline_ms = 100;
	up(&options);
	atomic_store(&storm_over, false);
	rig_landlord_start(&landlord, in_dir("file"), storm, 0);
	end = now_ns() + 3 * NS_PER_S;
	while (now_ns() < end) {
		uint64_t offset = KIB(4) * ((unsigned int)rand_r(&seed) % 4000);
		struct asked a[3];

		for (unsigned int i = 0; i < 3; i++)
			ask(&a[i], offset, KIB(4) * (1 + (unsigned int)rand_r(&seed) % 64));
		(void)rig_acquire(rand_r(&seed) % 2 ? &one : &two, offset, KIB(16), LH_GRANT_READ);
		for (unsigned int i = 0; i < 3; i++)
			holes += answer(&a[i]) == 0;
	}
	atomic_store(&storm_over, true);
	(void)rig_landlord_join(&landlord);
	print_message("[          ] %u holes, %llu recalls\n", holes,
		      (unsigned long long)rig_status(&rig).recalls);
	assert_true(holes > 10);
	assert_int_equal(file_bytes("file"), RIG_BYTES);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_quiet),		 leaks_test(test_granted),
		leaks_test(test_granted_silent), leaks_test(test_waits),
		leaks_test(test_released),	 leaks_test(test_recalled),
		leaks_test(test_stopped),	 leaks_test(test_storm),
		leaks_test(test_behind_a_size),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run_group);
}
