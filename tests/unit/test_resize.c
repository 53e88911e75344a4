// SPDX-License-Identifier: BSD-3-Clause
/*
 * A new size on request: what is cut off is out of reach before it goes, the rest is not disturbed
 * where it need not be, and what is added is a hole. With the real rooms below.
 */
#include "grant_rig.h"

#include <errno.h>
#include <fcntl.h>

#include "iwarp/iwarp.h"

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

struct asked {
	uint64_t bytes;
	sem_t sem;
	int err;
	char why[ERRTEXT_BYTES];
};

static void on_resized(void *arg, int err, const char *why)
{
	struct asked *a = arg;

	a->err = err;
	(void)snprintf(a->why, sizeof(a->why), "%s", why);
	(void)sem_post(&a->sem);
}

static void ask_there(void *arg)
{
	holding_resize(rig.h, ((struct asked *)arg)->bytes, on_resized, arg);
}

static void ask(struct asked *a, uint64_t bytes)
{
	*a = (struct asked){.bytes = bytes};
	(void)sem_init(&a->sem, 0, 0);
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

static int resize(uint64_t bytes)
{
	struct asked a;

	ask(&a, bytes);
	return answer(&a);
}

static void assert_size(uint64_t bytes, uint32_t generation)
{
	struct holding_status s = rig_wait(&rig, HOLDING_SERVING, generation);

	assert_int_equal(file_bytes("file"), bytes);
	assert_int_equal(s.size_bytes, bytes);
	assert_int_equal(s.backed_bytes + s.hole_bytes + s.shared_bytes, bytes);
	assert_int_equal(rig.serving->view->size_bytes, bytes);
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

/* Nobody is granted what goes: no recall, and a grant elsewhere works on. */
static void test_smaller(void **state)
{
	struct grant_answer g;
	uint64_t word = 7;

	(void)state;
	up(&rig_defaults);
	g = rig_acquire(&one, 0, MIB(1), LH_GRANT_READ | LH_GRANT_WRITE);
	assert_int_equal(g.status, NVME_SC_SUCCESS);
	assert_int_equal(resize(MIB(5)), 0);
	assert_size(MIB(5), 1);
	assert_int_equal(rig_status(&rig).recalls, 0);
	assert_int_equal(atomic_load(&one.told), 0);
	assert_null(region_find(rig.serving->regions[0], MIB(5)));
	assert_non_null(region_find(rig.serving->regions[0], MIB(5) - 1));
	assert_int_equal(
		rig_write(&one, le64toh(g.grants[0].address), le32toh(g.grants[0].rkey), &word, 8),
		FABRIC_OK);
	assert_int_equal(rig_acquire(&two, MIB(5), MIB(1), LH_GRANT_READ).status,
			 NVME_SC_LBA_RANGE);
	assert_int_equal(rig_acquire(&two, MIB(4), MIB(1), LH_GRANT_READ).status, NVME_SC_SUCCESS);
	/* Again, and not at the end of a page: the page that stays was granted. */
	assert_int_equal(resize(MIB(4) + 4096), 0);
	assert_int_equal(atomic_load(&one.told), 1);
	assert_size(MIB(4) + 4096, 2);
	/* The same size: nothing happens. */
	assert_int_equal(resize(MIB(4) + 4096), 0);
	assert_size(MIB(4) + 4096, 2);
	assert_bytes(MIB(1), MIB(3), false);
	down();
}

/* The one that holds what goes gives it back first; so does the one that does not answer. */
static void test_granted(void **state)
{
	struct grant_answer g;
	uint64_t word = 7;

	(void)state;
	up(&rig_defaults);
	g = rig_acquire(&one, MIB(8), MIB(2), LH_GRANT_READ | LH_GRANT_WRITE);
	assert_int_equal(g.status, NVME_SC_SUCCESS);
	assert_int_equal(resize(MIB(9)), 0);
	assert_size(MIB(9), 2);
	assert_int_equal(atomic_load(&one.told), 1);
	assert_int_not_equal(
		rig_write(&one, le64toh(g.grants[0].address), le32toh(g.grants[0].rkey), &word, 8),
		FABRIC_OK);
	assert_bytes(0, MIB(9), false);
	atomic_store(&two.answers, false);
	g = rig_acquire(&two, MIB(8), MIB(1), LH_GRANT_READ | LH_GRANT_WRITE);
	assert_int_equal(g.status, NVME_SC_SUCCESS);
	assert_int_equal(resize(MIB(2)), 0);
	assert_size(MIB(2), 3);
	assert_int_equal(rig_status(&rig).last.fenced_clients, 1);
	down();
}

static void test_larger(void **state)
{
	struct grant_want want = {
		.offset = RIG_BYTES,
		.length = MIB(1),
		.access = LH_GRANT_READ,
		.allocate = true,
	};
	unsigned int changes;

	(void)state;
	up(&rig_defaults);
	changes = atomic_load(&rig.changes);
	assert_int_equal(resize(2 * RIG_BYTES), 0);
	assert_size(2 * RIG_BYTES, 2);
	assert_true(atomic_load(&rig.changes) > changes);
	assert_bytes(0, RIG_BYTES, false);
	assert_bytes(RIG_BYTES, RIG_BYTES, true);
	assert_int_equal(rig_acquire(&one, RIG_BYTES, MIB(1), LH_GRANT_READ).status,
			 LH_SC_NOT_BACKED);
	assert_int_equal(rig_acquire_want(&one, &want).status, NVME_SC_SUCCESS);
	/* And back, and holes are still filled in a mapping that is longer than the file. */
	assert_int_equal(resize(RIG_BYTES + MIB(4)), 0);
	assert_int_equal(rig_status(&rig).generation, 2);
	want.offset = RIG_BYTES + MIB(2);
	assert_int_equal(rig_acquire_want(&one, &want).status, NVME_SC_SUCCESS);
	want.offset = RIG_BYTES + MIB(4);
	assert_int_equal(rig_acquire_want(&one, &want).status, NVME_SC_LBA_RANGE);
	assert_size(RIG_BYTES + MIB(4), 2);
	down();
}

/* While somebody else has the file open: it is done, and said that nobody sees it yet. */
static void test_open_elsewhere(void **state)
{
	struct rig_landlord landlord;
	struct asked a;
	int fd;

	(void)state;
	up(&rig_defaults);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	fd = open(in_dir("file"), O_RDONLY); /* recalls, and waits for it */
	assert_true(fd >= 0);
	ask(&a, MIB(4));
	assert_int_equal(answer(&a), 0);
	assert_int_equal(file_bytes("file"), MIB(4));
	if (a.why[0] == '\0')
		print_message("[          ] it was served again at once\n");
	assert_int_equal(close(fd), 0);
	(void)rig_wait(&rig, HOLDING_SERVING, 3);
	assert_int_equal(rig_status(&rig).size_bytes, MIB(4));
	down();
}

static void reclaim_there(void *arg)
{
	holding_recall_range(rig.h, arg);
}

static void reclaim_end_there(void *arg)
{
	holding_recall_end(arg);
}

static atomic_uint proofs, ends;

static void on_proof(struct holding_range *r)
{
	(void)r;
	atomic_fetch_add(&proofs, 1);
}

static void on_end(struct holding_range *r)
{
	(void)r;
	atomic_fetch_add(&ends, 1);
}

/* Nobody waits for the end of a reclaim: that may be hours. */
static void test_while_reclaimed(void **state)
{
	struct holding_range all = {.tenure = true, .done = on_proof, .ended = on_end};
	struct asked a;

	(void)state;
	atomic_store(&proofs, 0);
	atomic_store(&ends, 0);
	up(&rig_defaults);
	assert_int_equal(rig_acquire(&one, 0, KIB(64), LH_GRANT_READ).status, NVME_SC_SUCCESS);
	rig_call(&rig, reclaim_there, &all);
	ask(&a, RIG_BYTES + MIB(1));
	assert_int_equal(answer(&a), 0);
	assert_non_null(strstr(a.why, "not served yet"));
	assert_int_equal(file_bytes("file"), RIG_BYTES + MIB(1));
	(void)rig_wait(&rig, HOLDING_RELEASED, 1);
	/* And once it is released, too. */
	while (atomic_load(&proofs) == 0)
		(void)usleep(1000);
	ask(&a, MIB(4));
	assert_int_equal(answer(&a), 0);
	assert_non_null(strstr(a.why, "reclaim"));
	assert_int_equal(file_bytes("file"), MIB(4));
	assert_int_equal(rig_status(&rig).state, HOLDING_RELEASED);
	rig_call(&rig, reclaim_end_there, &all);
	assert_size(MIB(4), 2);
	while (atomic_load(&ends) == 0)
		(void)usleep(1000);
	down();
}

static void test_refused(void **state)
{
	struct rig_options options = rig_defaults;
	struct asked first, second;

	(void)state;
	up(&options);
	assert_int_equal(resize(0), -EINVAL);
	assert_int_equal(resize(MIB(1) + 1), -EINVAL);
	assert_int_equal(resize(UINT64_MAX - 4095), -EFBIG);
	assert_int_equal(resize(GRANT_MAX_RESIZE_BYTES + 4096), -EFBIG);
	assert_size(RIG_BYTES, 1);
	atomic_store(&rig.hold_quiesce, true);
	ask(&first, RIG_BYTES + MIB(1));
	ask(&second, RIG_BYTES + MIB(2));
	assert_int_equal(answer(&second), -EBUSY);
	assert_int_equal(answer(&first), 0);
	atomic_store(&rig.hold_quiesce, false);
	assert_size(RIG_BYTES + MIB(1), rig_status(&rig).generation);
	rig_stop(&rig);
	assert_int_equal(resize(MIB(1)), -ENODEV);
	down();
	options.read_only = true;
	up(&options);
	assert_int_equal(resize(MIB(1)), -EROFS);
	assert_size(RIG_BYTES, 1);
	down();
}

/* A stop in the middle answers, whatever it had come to. */
static void test_stopped(void **state)
{
	struct asked a;

	(void)state;
	for (unsigned int i = 0; i < 8; i++) {
		up(&rig_defaults);
		ask(&a, i % 2 ? MIB(3) : RIG_BYTES + MIB(3));
		(void)usleep(i * 200);
		rig_stop(&rig);
		(void)answer(&a);
		down();
	}
}

static atomic_bool storm_over;

static void landlord_storm(struct rig_landlord *l)
{
	unsigned int seed = 3;

	while (!atomic_load(&storm_over)) {
		l->bytes = MIB(2) + KIB(4) * ((unsigned int)rand_r(&seed) % 2000);
		landlord_truncate(l);
		if (l->err)
			return;
		(void)usleep((unsigned int)rand_r(&seed) % 20000);
	}
}

/* Sizes of ours, of a landlord's, and grants, all at once. */
static void test_storm(void **state)
{
	struct rig_landlord landlord;
	unsigned int seed = 11, done = 0;
	uint64_t end;

	(void)state;
	up(&rig_defaults);
	atomic_store(&storm_over, false);
	rig_landlord_start(&landlord, in_dir("file"), landlord_storm, 0);
	end = now_ns() + 3 * NS_PER_S;
	while (now_ns() < end) {
		(void)rig_acquire(rand_r(&seed) % 2 ? &one : &two,
				  KIB(4) * ((unsigned int)rand_r(&seed) % 2000), KIB(16),
				  LH_GRANT_READ);
		done += resize(MIB(2) + KIB(4) * ((unsigned int)rand_r(&seed) % 2000)) == 0;
	}
	atomic_store(&storm_over, true);
	(void)rig_landlord_join(&landlord);
	print_message("[          ] %u sizes, %llu recalls\n", done,
		      (unsigned long long)rig_status(&rig).recalls);
	assert_true(done > 10);
	assert_int_equal(resize(MIB(7)), 0);
	assert_size(MIB(7), rig_status(&rig).generation);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_smaller), leaks_test(test_granted),
		leaks_test(test_larger),  leaks_test(test_open_elsewhere),
		leaks_test(test_refused), leaks_test(test_stopped),
		leaks_test(test_storm),	  leaks_test(test_while_reclaimed),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run_group);
}
