// SPDX-License-Identifier: BSD-3-Clause
/*
 * Namespaces that come, go and change their size, as a host sees it: the event, the list of what
 * changed, Identify, the status of commands; and a storm of commands meanwhile.
 */
#include "nvme_rig.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "iwarp/iwarp.h"
#include "nvme/reservation.h"
#include "util/log.h"

#define NSID  2
#define DNR   NVME_SC_DNR
#define BYTES MIB(4)
#define LBA   4096u

static struct rig rig;
static struct holding *second;
static const char *state_dir;	 /* of the second one */
static struct sigaction guarded; /* which cmocka replaces for each test */

/* ---- what control is asked for ---------------------------------------------------------------- */

struct call {
	struct loop_msg msg;
	void (*fn)(struct call *call);
	uint64_t bytes;
	int err;
	sem_t sem;
};

static void on_call(struct loop_msg *msg)
{
	struct call *call = container_of(msg, struct call, msg);

	call->fn(call);
}

static int on_control(void (*fn)(struct call *call), uint64_t bytes)
{
	struct call call = {.fn = fn, .bytes = bytes};

	(void)sem_init(&call.sem, 0, 0);
	loop_post(rig.env.control, &call.msg, on_call);
	/* The host's side goes on meanwhile. */
	while (sem_trywait(&call.sem) != 0)
		(void)rig_answered(rig.admin, RIG_DEPTH - 1);
	return call.err;
}

static void ended(void *arg, int err, const char *why)
{
	struct call *call = arg;

	if (err)
		print_error("%s\n", why);
	call->err = err;
	(void)sem_post(&call->sem);
}

static void add_there(struct call *call)
{
	struct holding_config config = {.export = config_of("second"), .nsid = NSID};

	config.export.lba_bytes = LBA;
	config.export.state_dir = state_dir;
	call->err = holding_new(&rig.env, &config, &second);
	if (!call->err)
		call->err = nvme_subsystem_add(rig.subsystem, second);
	if (!call->err)
		holding_start(second, ended, call);
	else
		(void)sem_post(&call->sem);
}

static void forgotten(void *arg)
{
	holding_free(second);
	second = NULL;
	(void)sem_post(&((struct call *)arg)->sem);
}

static void stopped(void *arg)
{
	nvme_subsystem_remove(rig.subsystem, second, forgotten, arg);
}

static void remove_there(struct call *call)
{
	nvme_subsystem_detach(rig.subsystem, second);
	holding_stop(second, stopped, call);
}

static void resize_first_there(struct call *call)
{
	holding_resize(rig.h, call->bytes, ended, call);
}

static void resize_there(struct call *call)
{
	holding_resize(second, call->bytes, ended, call);
}

/* ---- what the host asks for ------------------------------------------------------------------- */

static uint16_t identify(uint8_t cns, uint32_t nsid)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_IDENTIFY);

	sqe.nsid = htole32(nsid);
	sqe.cdw10 = htole32(cns);
	rig_keyed(&rig, &sqe, 0, 4096);
	return rig_do(rig.admin, &sqe, NULL, 0);
}

static uint64_t nsze(uint32_t nsid)
{
	assert_int_equal(identify(NVME_CNS_NS, nsid), 0);
	return le64toh(((struct nvme_id_ns *)(void *)rig.memory)->nsze);
}

static uint32_t word(unsigned int i)
{
	return le32toh(((le32 *)(void *)rig.memory)[i]);
}

static void assert_active(uint32_t second_nsid)
{
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(identify(i ? NVME_CNS_CS_ACTIVE_NS : NVME_CNS_ACTIVE_NS, 0), 0);
		assert_int_equal(word(0), RIG_NSID);
		assert_int_equal(word(1), second_nsid);
		assert_int_equal(word(2), 0);
	}
}

static unsigned int arm(void)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_ASYNC_EVENT);

	return rig_send(rig.admin, &sqe, NULL, 0);
}

static void read_changed(void)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_GET_LOG_PAGE);

	sqe.nsid = htole32(NVME_NSID_ALL);
	sqe.cdw10 = htole32(NVME_LOG_CHANGED_NS | (4096u / 4 - 1) << 16);
	rig_keyed(&rig, &sqe, 0, 4096);
	assert_int_equal(rig_do(rig.admin, &sqe, NULL, 0), 0);
}

/* It is in the log. */
static void wait_changed(void)
{
	for (unsigned int i = 0; i < 1000; i++) {
		read_changed();
		if (word(0) != 0)
			break;
		(void)usleep(5000);
	}
	assert_int_equal(word(0), NSID);
}

/* The event came, points to the list, which names the second one, once. */
static void assert_event(unsigned int slot)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_GET_LOG_PAGE);

	assert_int_equal(rig_answer(rig.admin, slot), 0);
	assert_int_equal(le32toh(rig.admin->cqe[slot].dw0),
			 NVME_AEN_NOTICE | NVME_AEN_NOTICE_NS_CHANGED << 8 |
				 NVME_LOG_CHANGED_NS << 16);
	sqe.nsid = htole32(NVME_NSID_ALL);
	sqe.cdw10 = htole32(NVME_LOG_CHANGED_NS | (4096u / 4 - 1) << 16);
	rig_keyed(&rig, &sqe, 0, 4096);
	/* What was refused was not read. */
	sqe.cdw12 = htole32(4100);
	assert_int_equal(rig_do(rig.admin, &sqe, NULL, 0), NVME_SC_INVALID_FIELD | DNR);
	read_changed();
	assert_int_equal(word(0), NSID);
	assert_int_equal(word(1), 0);
	read_changed();
	assert_int_equal(word(0), 0);
}

static uint16_t rw(struct rig_queue *q, uint8_t opcode, uint32_t nsid, uint64_t slba)
{
	struct nvme_command sqe = rig_blocks(opcode, slba, 1);

	sqe.nsid = htole32(nsid);
	rig_keyed(&rig, &sqe, 8192, LBA);
	return rig_do(q, &sqe, NULL, 0);
}

static void want_events(uint32_t which)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_SET_FEATURES);

	sqe.nsid = 0;
	sqe.cdw10 = htole32(NVME_FEAT_ASYNC_EVENT);
	sqe.cdw11 = htole32(which);
	assert_int_equal(rig_do(rig.admin, &sqe, NULL, 0), 0);
}

static void up(void)
{
	struct rig_options options = {.lba_bytes = LBA, .inline_bytes = 4096};

	rig_up(&rig, &options);
	make_file("second", BYTES);
	fill_file("second", 0, BYTES);
	state_dir = "";
	want_events(NVME_AEN_CFG_NS_ATTR);
}

static void down(void)
{
	rig_down(&rig);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void test_come_and_go(void **state)
{
	struct nvme_command sqe;
	unsigned int event;

	(void)state;
	up();
	assert_active(0);
	for (unsigned int round = 0; round < 3; round++) {
		event = arm();
		assert_int_equal(rw(rig.io[0], NVME_IO_READ, NSID, 0), NVME_SC_INVALID_NS | DNR);
		assert_int_equal(on_control(add_there, 0), 0);
		assert_event(event);
		assert_active(NSID);
		assert_int_equal(nsze(NSID), BYTES / LBA);
		/* A limit that is set for it does not outlive it. */
		sqe = rig_command(NVME_ADMIN_GET_FEATURES);
		sqe.nsid = htole32(NSID);
		sqe.cdw10 = htole32(NVME_FEAT_ERROR_RECOVERY);
		event = rig_send(rig.admin, &sqe, NULL, 0);
		assert_int_equal(rig_answer(rig.admin, event), 0);
		assert_int_equal(le32toh(rig.admin->cqe[event].dw0), 0);
		sqe = rig_command(NVME_ADMIN_SET_FEATURES);
		sqe.nsid = htole32(NSID);
		sqe.cdw10 = htole32(NVME_FEAT_ERROR_RECOVERY);
		sqe.cdw11 = htole32(7);
		assert_int_equal(rig_do(rig.admin, &sqe, NULL, 0), 0);
		for (unsigned int q = 0; q < 2; q++) {
			assert_int_equal(rw(rig.io[q], NVME_IO_WRITE, NSID, q), 0);
			assert_int_equal(rw(rig.io[q], NVME_IO_READ, NSID, q), 0);
		}
		event = arm();
		assert_int_equal(on_control(remove_there, 0), 0);
		assert_event(event);
		assert_active(0);
		assert_int_equal(nsze(NSID), 0);
		for (unsigned int q = 0; q < 2; q++) {
			assert_int_equal(rw(rig.io[q], NVME_IO_READ, NSID, 0),
					 NVME_SC_INVALID_NS | DNR);
			assert_int_equal(rw(rig.io[q], NVME_IO_WRITE, RIG_NSID, 0), 0);
		}
		sqe = rig_command(NVME_IO_FLUSH);
		sqe.nsid = htole32(NSID);
		assert_int_equal(rig_do(rig.io[0], &sqe, NULL, 0), NVME_SC_INVALID_NS | DNR);
	}
	down();
}

static void test_size(void **state)
{
	unsigned int event;

	(void)state;
	up();
	assert_int_equal(on_control(add_there, 0), 0);
	assert_event(arm());
	/* Larger: at once seen and served. */
	event = arm();
	assert_int_equal(rw(rig.io[0], NVME_IO_WRITE, NSID, BYTES / LBA), NVME_SC_LBA_RANGE | DNR);
	assert_int_equal(on_control(resize_there, 2 * BYTES), 0);
	assert_event(event);
	assert_int_equal(nsze(NSID), 2 * BYTES / LBA);
	memset(rig.memory + 8192, 7, LBA);
	assert_int_equal(rw(rig.io[0], NVME_IO_READ, NSID, BYTES / LBA), 0);
	assert_true(rig.memory[8192] == 0 && rig.memory[8192 + LBA - 1] == 0);
	memset(rig.memory + 8192, 7, LBA);
	assert_int_equal(rw(rig.io[1], NVME_IO_WRITE, NSID, 2 * BYTES / LBA - 1), 0);
	/* Smaller. */
	event = arm();
	assert_int_equal(on_control(resize_there, BYTES / 2), 0);
	assert_event(event);
	assert_int_equal(nsze(NSID), BYTES / 2 / LBA);
	for (unsigned int q = 0; q < 2; q++) {
		assert_int_equal(rw(rig.io[q], NVME_IO_READ, NSID, BYTES / 2 / LBA - 1), 0);
		assert_int_equal(rw(rig.io[q], NVME_IO_READ, NSID, BYTES / 2 / LBA),
				 NVME_SC_LBA_RANGE | DNR);
		assert_int_equal(rw(rig.io[q], NVME_IO_WRITE, NSID, 2 * BYTES / LBA - 1),
				 NVME_SC_LBA_RANGE | DNR);
		assert_int_equal(rw(rig.io[q], NVME_IO_READ, RIG_NSID, 5), 0);
	}
	/* The list is in order, whatever changed first. */
	assert_int_equal(on_control(resize_there, BYTES), 0);
	assert_int_equal(on_control(resize_first_there, RIG_BYTES / 2), 0);
	read_changed();
	assert_int_equal(word(0), RIG_NSID);
	assert_int_equal(word(1), NSID);
	assert_int_equal(word(2), 0);
	assert_int_equal(on_control(remove_there, 0), 0);
	down();
}

#define FEW_CUTS 5 /* one, as a rule; with a look only now and then there are many more */

/*
 * Somebody has cut the file without asking: memory that a command names is missing. It costs the queue,
 * which nothing can answer on any more; the host comes again and is told that there are no such blocks.
 */
static void test_cut_unasked(void **state)
{
	static const uint8_t opcodes[] = {NVME_IO_READ, NVME_IO_WRITE};

	(void)state;
	assert_int_equal(sigaction(SIGBUS, &guarded, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
		const uint64_t bytes = RIG_BYTES / 2 >> i;
		unsigned int slot, cuts = 0;
		uint16_t status = 0;

		if (i == 0)
			up();
		assert_int_equal(rw(rig.io[0], opcodes[i], RIG_NSID, bytes / LBA), 0);
		assert_int_equal(ftruncate(export_fd(holding_export(rig.h)), (off_t)bytes), 0);
		while (status == 0) {
			struct nvme_command sqe = rig_blocks(opcodes[i], bytes / LBA, 1);

			rig_keyed(&rig, &sqe, 8192, LBA);
			slot = rig_send(rig.io[0], &sqe, NULL, 0);
			while (!rig_answered(rig.io[0], slot) && !rig.io[0]->dead)
				;
			if (rig_answered(rig.io[0], slot)) {
				status = rig_answer(rig.io[0], slot);
				continue;
			}
			assert_in_range(++cuts, 1, FEW_CUTS);
			rig_host_down(&rig);
			rig_host_up(&rig);
		}
		assert_int_equal(status, NVME_SC_LBA_RANGE | DNR);
		assert_int_equal(rw(rig.io[0], opcodes[i], RIG_NSID, bytes / LBA - 1), 0);
	}
	down();
}

/* One command of many kinds, on either namespace. */
static void send_any(struct rig_queue *q, unsigned int *seed, unsigned int *slot, bool *is_second)
{
	static const uint8_t opcodes[] = {NVME_IO_READ, NVME_IO_WRITE, NVME_IO_WRITE_ZEROES,
					  NVME_IO_COMPARE, NVME_IO_VERIFY};
	unsigned int which = (unsigned int)rand_r(seed) % ARRAY_SIZE(opcodes);
	/* Few blocks: many wait for one another. */
	struct nvme_command sqe = rig_blocks(opcodes[which], (uint64_t)rand_r(seed) % 8,
					     1 + (unsigned int)rand_r(seed) % 4);

	*is_second = rand_r(seed) % 4 != 0;
	sqe.nsid = htole32(*is_second ? NSID : RIG_NSID);
	if (opcodes[which] == NVME_IO_WRITE_ZEROES && rand_r(seed) % 2)
		sqe.cdw12 |= htole32(1u << 25); /* deallocate */
	if (opcodes[which] != NVME_IO_WRITE_ZEROES && opcodes[which] != NVME_IO_VERIFY)
		rig_keyed(&rig, &sqe, 65536 + (uint32_t)(which * 65536),
			  ((le32toh(sqe.cdw12) & 0xffff) + 1) * LBA);
	*slot = rig_send(q, &sqe, NULL, 0);
}

static void check_status(uint16_t status, bool is_second)
{
	switch (status) {
	case NVME_SC_SUCCESS:
	case NVME_SC_COMPARE_FAILED | DNR:
	case NVME_SC_COMPARE_FAILED:
		return;
	case NVME_SC_INVALID_NS | DNR:
	case NVME_SC_NS_NOT_READY:
	case NVME_SC_LBA_RANGE | DNR:
		if (is_second)
			return;
		break;
	default:
		break;
	}
	print_error("status %x of namespace %d\n", status, is_second ? NSID : RIG_NSID);
	fail();
}

static void test_storm(void **state)
{
	enum {
		AT_A_TIME = RIG_DEPTH - 4,
	};
	unsigned int seed = 5, slots[2][AT_A_TIME];
	bool is_second[2][AT_A_TIME];

	(void)state;
	up();
	for (unsigned int round = 0; round < 60; round++) {
		/* Some before it is there, some in the midst, some when it has gone. */
		for (unsigned int step = 0; step < 3; step++) {
			for (unsigned int i = 0; i < AT_A_TIME; i++) {
				for (unsigned int q = 0; q < 2; q++)
					send_any(rig.io[q], &seed, &slots[q][i], &is_second[q][i]);
			}
			if (step == 0)
				assert_int_equal(on_control(add_there, 0), 0);
			else if (step == 1 && round % 3 == 0)
				assert_int_equal(on_control(resize_there,
							    round % 2 ? BYTES : (uint64_t)4 * LBA),
						 0);
			else if (step == 2)
				assert_int_equal(on_control(remove_there, 0), 0);
			for (unsigned int i = 0; i < AT_A_TIME; i++) {
				for (unsigned int q = 0; q < 2; q++)
					check_status(rig_answer(rig.io[q], slots[q][i]),
						     is_second[q][i]);
			}
		}
	}
	down();
}

/* A change that came while the log was not read is in it: read, it is no event any more. */
static void test_told_by_the_log(void **state)
{
	unsigned int event;

	(void)state;
	up();
	event = arm();
	assert_int_equal(on_control(add_there, 0), 0);
	assert_int_equal(rig_answer(rig.admin, event), 0);
	event = arm();
	assert_int_equal(on_control(resize_there, 2 * BYTES), 0);
	assert_false(rig_answered(rig.admin, event));
	read_changed();
	assert_int_equal(word(0), NSID);
	assert_false(rig_answered(rig.admin, event));
	assert_int_equal(on_control(remove_there, 0), 0);
	assert_event(event);
	down();
}

/* A change that nobody wanted to be told of is in the log, and no event when the notice is on again. */
static void test_notice_off(void **state)
{
	unsigned int event;

	(void)state;
	up();
	/* It waits for a request when it is turned off. */
	assert_int_equal(on_control(add_there, 0), 0);
	wait_changed();
	want_events(0);
	want_events(NVME_AEN_CFG_NS_ATTR);
	event = arm();
	assert_false(rig_answered(rig.admin, event));
	/* It comes while it is off. */
	want_events(0);
	assert_int_equal(on_control(resize_there, 2 * BYTES), 0);
	wait_changed();
	want_events(NVME_AEN_CFG_NS_ATTR);
	assert_false(rig_answered(rig.admin, event));
	/* And the next one is told. */
	assert_int_equal(on_control(remove_there, 0), 0);
	assert_event(event);
	down();
}

/* ---- a reservation that is changed while its namespace goes ------------------------------------ */

static atomic_bool storing_held;
static atomic_uint stores;

int __real_resv_store(const char *dir, const char *name, const uint8_t uuid[16],
		      const struct resv_state *state);
int __wrap_resv_store(const char *dir, const char *name, const uint8_t uuid[16],
		      const struct resv_state *state);

int __wrap_resv_store(const char *dir, const char *name, const uint8_t uuid[16],
		      const struct resv_state *state)
{
	atomic_fetch_add(&stores, 1);
	while (atomic_load(&storing_held))
		(void)usleep(1000);
	return __real_resv_store(dir, name, uuid, state);
}

static uint16_t reserve(uint8_t opcode, uint32_t cdw10, uint64_t first, uint64_t second_key)
{
	struct nvme_command sqe = rig_command(opcode);
	const le64 keys[2] = {htole64(first), htole64(second_key)};

	sqe.nsid = htole32(NSID);
	sqe.cdw10 = htole32(cdw10);
	memcpy(rig.memory, keys, sizeof(keys));
	rig_keyed(&rig, &sqe, 0, sizeof(keys));
	return rig_do(rig.io[0], &sqe, NULL, 0);
}

static unsigned int ask_persist(bool on)
{
	struct nvme_command sqe = rig_command(NVME_ADMIN_SET_FEATURES);

	sqe.nsid = htole32(NSID);
	sqe.cdw10 = htole32(NVME_FEAT_RESV_PERSIST);
	sqe.cdw11 = htole32(on);
	return rig_send(rig.admin, &sqe, NULL, 0);
}

struct look {
	struct loop_msg msg;
	struct nvme_reactor *nr;
	unsigned int reserved;
	sem_t sem;
};

static void look_there(struct loop_msg *msg)
{
	struct look *look = container_of(msg, struct look, msg);

	for (unsigned int i = 0; i < NVME_MAX_NAMESPACES; i++)
		look->reserved += look->nr->slots[i].reservation != NULL;
	(void)sem_post(&look->sem);
}

/* Namespaces that a reactor takes for reserved. */
static unsigned int reserved_at(unsigned int reactor)
{
	struct look look = {.nr = &rig.target->reactors[reactor]};

	(void)sem_init(&look.sem, 0, 0);
	loop_post(look.nr->loop, &look.msg, look_there);
	while (sem_wait(&look.sem) != 0)
		;
	(void)sem_destroy(&look.sem);
	return look.reserved;
}

static void test_reserved_and_gone(void **state)
{
	struct call removal = {.fn = remove_there};
	unsigned int slots[4];
	uint16_t status;

	(void)state;
	up();
	state_dir = in_dir("state");
	assert_int_equal(mkdir(state_dir, 0700), 0);
	assert_int_equal(on_control(add_there, 0), 0);
	assert_int_equal(reserve(NVME_IO_RESV_REGISTER, 0, 0, 0x11), 0);
	assert_int_equal(reserve(NVME_IO_RESV_ACQUIRE, NVME_RESV_WRITE_EXCLUSIVE << 8, 0x11, 0), 0);
	assert_int_equal(reserved_at(0), 1);
	/* The first is on its way to the disk, the others wait for it, and the namespace goes. */
	atomic_store(&stores, 0);
	atomic_store(&storing_held, true);
	for (unsigned int i = 0; i < ARRAY_SIZE(slots); i++)
		slots[i] = ask_persist(i % 2 == 0);
	while (atomic_load(&stores) == 0)
		assert_false(rig_answered(rig.admin, slots[0]));
	(void)sem_init(&removal.sem, 0, 0);
	loop_post(rig.env.control, &removal.msg, on_call);
	for (unsigned int i = 0; i < 100; i++) {
		assert_false(rig_answered(rig.admin, slots[0]));
		(void)usleep(1000);
	}
	atomic_store(&storing_held, false);
	for (unsigned int i = 0; i < ARRAY_SIZE(slots); i++) {
		status = rig_answer(rig.admin, slots[i]);
		if (i > 0 && status != 0)
			assert_true(status == NVME_SC_NS_NOT_READY ||
				    status == (NVME_SC_INVALID_NS | DNR));
		else
			assert_int_equal(status, 0);
	}
	while (sem_trywait(&removal.sem) != 0)
		(void)rig_answered(rig.admin, RIG_DEPTH - 1);
	/* Nothing of it is left for whoever has its place next. */
	for (unsigned int i = 0; i < RIG_REACTORS; i++)
		assert_int_equal(reserved_at(i), 0);
	state_dir = "";
	assert_int_equal(on_control(add_there, 0), 0);
	for (unsigned int q = 0; q < 2; q++) {
		assert_int_equal(rw(rig.io[q], NVME_IO_READ, NSID, 0), 0);
		assert_int_equal(rw(rig.io[q], NVME_IO_WRITE, NSID, 0), 0);
	}
	assert_int_equal(on_control(remove_there, 0), 0);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_told_by_the_log),   leaks_test(test_notice_off),
		leaks_test(test_come_and_go),	    leaks_test(test_size),
		leaks_test(test_cut_unasked),	    leaks_test(test_storm),
		leaks_test(test_reserved_and_gone),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	log_set_level(getenv("LEASEHOLD_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	tenure_block_signals();
	assert_int_equal(export_guard_init(), 0);
	assert_int_equal(sigaction(SIGBUS, NULL, &guarded), 0);
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run_group);
}
