// SPDX-License-Identifier: BSD-3-Clause
/*
 * Commands that began under a serving which had the range registered, and come to move their data when
 * somebody has got that range back: by then its keys are not theirs to name; and those beside it, which do
 * not notice. A whole target, a raw host.
 */
#include "nvme_rig.h"

#include "iwarp/iwarp.h"
#include "nvme/parse.h"
#include "util/counter.h"
#include "util/log.h"

#define AT     MIB(4) /* of the file: what is wanted back */
#define LENGTH KIB(64)
#define LBA    4096u

static const struct rig_options options = {.lba_bytes = LBA, .inline_bytes = 4096};
static struct rig rig;
static struct rig_queue *io;

/* ---- a worker that is held in its flush ------------------------------------------------------- */

static atomic_bool hold;
static sem_t entered, go_on;

int __real_export_flush(const struct export *e);
int __wrap_export_flush(const struct export *e);

int __wrap_export_flush(const struct export *e)
{
	if (atomic_load(&hold)) {
		(void)sem_post(&entered);
		while (sem_wait(&go_on) != 0)
			;
	}
	return __real_export_flush(e);
}

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) != 0)
		;
}

/* ---- somebody who wants the range back -------------------------------------------------------- */

struct landlord {
	struct holding_range range;
	struct loop_msg msg;
	sem_t proven, ended;
};

static void on_proven(struct holding_range *r)
{
	(void)sem_post(&container_of(r, struct landlord, range)->proven);
}

static void on_ended(struct holding_range *r)
{
	(void)sem_post(&container_of(r, struct landlord, range)->ended);
}

static void recall_there(struct loop_msg *msg)
{
	holding_recall_range(rig.h, &container_of(msg, struct landlord, msg)->range);
}

static void end_there(struct loop_msg *msg)
{
	holding_recall_end(&container_of(msg, struct landlord, msg)->range);
}

/* Returns when nothing remote reaches the range, whatever is held on the worker. */
static void take_back_at(struct landlord *l, uint64_t offset)
{
	*l = (struct landlord){
		.range = {
			.offset = offset, .length = LENGTH, .done = on_proven, .ended = on_ended}};
	(void)sem_init(&l->proven, 0, 0);
	(void)sem_init(&l->ended, 0, 0);
	loop_post(rig.env.control, &l->msg, recall_there);
	wait_for(&l->proven);
}

static void take_back(struct landlord *l)
{
	take_back_at(l, AT);
}

static void give_back(struct landlord *l)
{
	loop_post(rig.env.control, &l->msg, end_there);
	wait_for(&l->ended);
	(void)sem_destroy(&l->proven);
	(void)sem_destroy(&l->ended);
}

/* ---- the host --------------------------------------------------------------------------------- */

static struct nvme_command moving(uint8_t opcode, uint64_t offset, uint32_t length, uint32_t at)
{
	struct nvme_command sqe = rig_blocks(opcode, offset / LBA, length / LBA);

	rig_keyed(&rig, &sqe, at, length);
	return sqe;
}

/* The host's side moves only while we look at it. */
static void wait_entered(unsigned int slot)
{
	while (sem_trywait(&entered) != 0) {
		assert_false(rig_answered(io, slot));
		(void)usleep(200);
	}
}

static uint64_t counted(const char *name)
{
	for (const struct counter *c = counter_first(); c; c = c->next) {
		if (strcmp(c->name, name) == 0)
			return counter_read(c);
	}
	fail();
	return 0;
}

static uint64_t by_region(void)
{
	return counted("nvme_read_region_bytes") + counted("nvme_write_region_bytes");
}

static void assert_file(uint64_t offset, uint64_t length, int byte)
{
	uint8_t bytes[LENGTH];

	rig_read(&rig, offset, bytes, length);
	for (uint64_t i = 0; i < length; i++)
		assert_int_equal(bytes[i], byte);
}

/* False, and nothing is up: what is durable at once has no flush to be held in. */
static bool up(void)
{
	struct nvme_command sqe;

	atomic_store(&hold, false);
	(void)sem_init(&entered, 0, 0);
	(void)sem_init(&go_on, 0, 0);
	rig_up(&rig, &options);
	io = rig.io[0];
	if (!export_volatile_cache(holding_export(rig.h))) {
		rig_down(&rig);
		return false;
	}
	/* What is there, and that it is reached without a copy. */
	memset(rig.memory, 0x11, LENGTH);
	sqe = moving(NVME_IO_WRITE, AT, LENGTH, 0);
	assert_int_equal(rig_do(io, &sqe, NULL, 0), 0);
	assert_file(AT, LENGTH, 0x11);
	assert_true(by_region() >= LENGTH);
	atomic_store(&hold, true);
	return true;
}

static void down(void)
{
	rig_down(&rig);
	(void)sem_destroy(&entered);
	(void)sem_destroy(&go_on);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void test_read_durable(void **state)
{
	struct nvme_command sqe;
	struct landlord landlord;
	unsigned int slot;
	uint64_t before;

	(void)state;
	if (!up())
		skip();
	memset(rig.memory, 0, LENGTH);
	sqe = moving(NVME_IO_READ, AT, LENGTH, 0);
	sqe.cdw12 |= htole32(NVME_RW_FUA);
	slot = rig_send(io, &sqe, NULL, 0);
	wait_entered(slot);
	take_back(&landlord);
	before = by_region();
	atomic_store(&hold, false);
	(void)sem_post(&go_on);
	assert_int_equal(rig_answer(io, slot), 0);
	for (uint32_t i = 0; i < LENGTH; i++)
		assert_int_equal(rig.memory[i], 0x11);
	assert_int_equal(by_region(), before);
	give_back(&landlord);
	down();
}

/* The Compare runs on the worker, the Write has what the Compare began with. */
static void test_pair(void **state)
{
	struct nvme_command compare, write;
	struct landlord landlord;
	unsigned int x, y;
	uint64_t before;

	(void)state;
	if (!up())
		skip();
	memset(rig.memory + LENGTH, 0x22, LBA);
	compare = moving(NVME_IO_COMPARE, AT, LBA, 0);
	write = moving(NVME_IO_WRITE, AT, LBA, LENGTH);
	compare.cdw12 |= htole32(NVME_RW_FUA);
	compare.flags |= FUSE_FIRST;
	write.flags |= FUSE_SECOND;
	x = rig_send(io, &compare, NULL, 0);
	y = rig_send(io, &write, NULL, 0);
	wait_entered(x);
	take_back(&landlord);
	before = by_region();
	atomic_store(&hold, false);
	(void)sem_post(&go_on);
	assert_int_equal(rig_answer(io, x), 0);
	assert_int_equal(rig_answer(io, y), 0);
	assert_int_equal(by_region(), before);
	assert_file(AT, LBA, 0x22);
	assert_file(AT + LBA, LBA, 0x11);
	give_back(&landlord);
	down();
}

/* A Read that waits for a Write of the same blocks to be durable. */
static void test_in_order(void **state)
{
	struct nvme_command write, read;
	struct landlord landlord;
	unsigned int x, y;
	uint64_t before;

	(void)state;
	if (!up())
		skip();
	memset(rig.memory, 0x33, LENGTH);
	write = moving(NVME_IO_WRITE, AT, LENGTH, 0);
	write.cdw12 |= htole32(NVME_RW_FUA);
	read = moving(NVME_IO_READ, AT, LENGTH, LENGTH);
	x = rig_send(io, &write, NULL, 0);
	wait_entered(x);
	y = rig_send(io, &read, NULL, 0);
	take_back(&landlord);
	before = by_region();
	atomic_store(&hold, false);
	(void)sem_post(&go_on);
	assert_int_equal(rig_answer(io, x), 0);
	assert_int_equal(rig_answer(io, y), 0);
	for (uint32_t i = 0; i < LENGTH; i++)
		assert_int_equal(rig.memory[LENGTH + i], 0x33);
	assert_int_equal(by_region(), before);
	give_back(&landlord);
	/* And straight again, when it has been given back. */
	assert_int_equal(rig_do(io, &read, NULL, 0), 0);
	assert_int_equal(by_region(), before + LENGTH);
	down();
}

static void up_plain(void)
{
	rig_up(&rig, &options);
	io = rig.io[0];
}

/* What goes by registrations while a page next to it is somebody's, in the same slice of the file. */
static void test_beside(void **state)
{
	struct nvme_command sqe;
	struct landlord landlord;
	uint64_t before;

	(void)state;
	up_plain();
	take_back(&landlord);
	before = by_region();
	sqe = moving(NVME_IO_WRITE, AT + LENGTH, LENGTH, 0);
	assert_int_equal(rig_do(io, &sqe, NULL, 0), 0);
	sqe = moving(NVME_IO_READ, AT - LENGTH, LENGTH, 0);
	assert_int_equal(rig_do(io, &sqe, NULL, 0), 0);
	assert_int_equal(by_region(), before + LENGTH + LENGTH);
	sqe = moving(NVME_IO_READ, AT, LENGTH, 0);
	assert_int_equal(rig_do(io, &sqe, NULL, 0), 0);
	assert_int_equal(by_region(), before + LENGTH + LENGTH);
	give_back(&landlord);
	rig_down(&rig);
}

static void wait_under_way(uint64_t before)
{
	while (by_region() == before)
		(void)usleep(200);
}

/* A host that stands still in the middle of a command beside the range, by another registration. */
static void test_still_beside(void **state)
{
	struct landlord landlord, other;
	uint64_t before, fences;
	struct nvme_command sqe;
	unsigned int slot;

	(void)state;
	up_plain();
	take_back(&landlord);
	before = by_region();
	fences = counted("nvme_block_fences");
	sqe = moving(NVME_IO_WRITE, AT - LENGTH, LENGTH, 0);
	slot = rig_send(io, &sqe, NULL, 0);
	wait_under_way(before);
	take_back_at(&other, AT + MIB(1));
	assert_int_equal(counted("nvme_block_fences"), fences);
	assert_int_equal(rig_answer(io, slot), 0);
	give_back(&landlord);
	give_back(&other);
	rig_down(&rig);
}

/* The same by the registration that has to go: there is no proof before the command has ended. */
static void test_still_on_it(void **state)
{
	struct landlord landlord;
	struct nvme_command sqe;
	uint64_t before, fences;

	(void)state;
	up_plain();
	before = by_region();
	fences = counted("nvme_block_fences");
	sqe = moving(NVME_IO_WRITE, AT - LENGTH, LENGTH, 0);
	(void)rig_send(io, &sqe, NULL, 0);
	wait_under_way(before);
	take_back(&landlord);
	assert_int_equal(counted("nvme_block_fences"), fences + 1);
	assert_true(rig_was_cut(io));
	give_back(&landlord);
	rig_down(&rig);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_read_durable), leaks_test(test_pair),
		leaks_test(test_in_order),     leaks_test(test_beside),
		leaks_test(test_still_beside), leaks_test(test_still_on_it),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	log_set_level(getenv("LEASEHOLD_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	tenure_block_signals();
	if (export_guard_init())
		return 1;
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run_group);
}
