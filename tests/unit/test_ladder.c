// SPDX-License-Identifier: BSD-3-Clause
/*
 * The ladder: pinned, on demand, staged. Which one at the start; changes that are asked for, under
 * grants and under a landlord, with either tenure; regions that cannot be made any more, and the way
 * back up.
 */
#include "grant_rig.h"
#include "watch_rig.h"

#include "wire/wire.h"

static struct rig rig;
static struct rig_client one, two;

static const unsigned int read_write = LH_GRANT_READ | LH_GRANT_WRITE;

static const enum region_choice automatic = REGION_AUTO, pinned = REGION_PINNED, odp = REGION_ODP,
				staged = REGION_STAGED;

static void make_full_file(void)
{
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
}

/* ---- asking for a rung ------------------------------------------------------------------------ */

struct change {
	const char *device;
	const enum region_choice *choice;
	sem_t sem;
	int err;
	char why[ERRTEXT_BYTES];
};

static void on_changed(void *arg, int err, const char *why)
{
	struct change *c = arg;

	c->err = err;
	(void)snprintf(c->why, sizeof(c->why), "%s", why);
	(void)sem_post(&c->sem);
}

static void do_change(void *arg)
{
	struct change *c = arg;

	holding_rung(rig.h, c->device, c->choice, on_changed, c);
}

static void change_begin(struct change *c, const char *device, const enum region_choice *choice)
{
	*c = (struct change){.device = device, .choice = choice};
	(void)sem_init(&c->sem, 0, 0);
	rig_call(&rig, do_change, c);
}

static int change_end(struct change *c)
{
	while (sem_wait(&c->sem) != 0)
		;
	(void)sem_destroy(&c->sem);
	return c->err;
}

static int change(const char *device, const enum region_choice *choice)
{
	struct change c;

	change_begin(&c, device, choice);
	return change_end(&c);
}

/* Waits for a rung of the first device, served. */
static struct holding_status wait_rung(unsigned int device, enum lh_rung wanted)
{
	uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;
	struct holding_status status = rig_status(&rig);

	while (now_ns() < end &&
	       (status.state != HOLDING_SERVING || status.probes[device].rung != wanted)) {
		(void)usleep(1000);
		status = rig_status(&rig);
	}
	assert_int_equal(status.state, HOLDING_SERVING);
	assert_int_equal(status.probes[device].rung, wanted);
	return status;
}

static void up(const struct rig_options *options)
{
	make_full_file();
	rig_up(&rig, options);
	rig_client_up(&rig, &one);
}

static void down(void)
{
	rig_client_down(&one);
	rig_down(&rig);
}

/* ---- at the start ------------------------------------------------------------------------------ */

static void test_start_staged(void **state)
{
	struct rig_options options = rig_defaults;
	struct holding_status status;
	struct rig_landlord landlord;

	(void)state;
	options.software_memory = IWARP_MEMORY_NONE;
	up(&options);
	status = rig_status(&rig);
	assert_int_equal(status.state, HOLDING_SERVING);
	assert_int_equal(status.probes[0].rung, LH_RUNG_STAGED);
	assert_non_null(strstr(status.probes[0].why, "pinned"));
	assert_non_null(strstr(status.probes[0].why, "odp"));
	assert_int_equal(status.keys, 0);
	assert_null(rig.serving->regions[0]);
	assert_int_equal(rig_acquire(&one, 0, KIB(4), read_write).status, LH_SC_NO_DIRECT);
	/* The landlord has the file as soon as the lease is let go. */
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, MIB(8));
	(void)rig_landlord_join(&landlord);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(status.probes[0].rung, LH_RUNG_STAGED);
	assert_int_equal(status.size_bytes, MIB(8));
	assert_int_equal(atomic_load(&rig.fenced), 0);
	down();
}

static void test_start_as_asked(void **state)
{
	static const struct {
		enum iwarp_memory memory;
		enum region_choice choice;
		int err;
		enum lh_rung rung;
	} tries[] = {
		{IWARP_MEMORY_ANY, REGION_AUTO, 0, LH_RUNG_PINNED},
		{IWARP_MEMORY_ANY, REGION_ODP, 0, LH_RUNG_ODP},
		{IWARP_MEMORY_ANY, REGION_STAGED, 0, LH_RUNG_STAGED},
		{IWARP_MEMORY_ODP, REGION_AUTO, 0, LH_RUNG_ODP},
		{IWARP_MEMORY_ODP, REGION_PINNED, -EOPNOTSUPP, LH_RUNG_NONE},
		{IWARP_MEMORY_PINNED, REGION_ODP, -EOPNOTSUPP, LH_RUNG_NONE},
		{IWARP_MEMORY_NONE, REGION_AUTO, 0, LH_RUNG_STAGED},
		{IWARP_MEMORY_NONE, REGION_PINNED, -EOPNOTSUPP, LH_RUNG_NONE},
		{IWARP_MEMORY_NONE, REGION_ODP, -EOPNOTSUPP, LH_RUNG_NONE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		struct rig_options options = rig_defaults;

		make_full_file();
		options.software_memory = tries[i].memory;
		options.registration = tries[i].choice;
		options.no_start = true;
		rig_up(&rig, &options);
		assert_int_equal(rig_start(&rig), tries[i].err);
		if (tries[i].err)
			assert_non_null(strstr(rig.start_why, "no adapter"));
		else
			assert_int_equal(rig_status(&rig).probes[0].rung, tries[i].rung);
		rig_down(&rig);
	}
}

/* ---- changes that are asked for ---------------------------------------------------------------- */

static void test_down_and_up(void **state)
{
	struct grant_answer answer;
	struct holding_status status;

	(void)state;
	up(&rig_defaults);
	answer = rig_acquire(&one, 0, KIB(64), read_write);
	assert_int_equal(answer.status, NVME_SC_SUCCESS);
	/* Who holds a grant is asked for it; its bytes are safe, its key dead. */
	assert_int_equal(change(NULL, &staged), 0);
	status = rig_status(&rig);
	assert_int_equal(status.state, HOLDING_SERVING);
	assert_int_equal(status.generation, 2);
	assert_int_equal(status.probes[0].rung, LH_RUNG_STAGED);
	assert_string_equal(status.probes[0].why, "asked for");
	assert_int_equal(status.choices[0], REGION_STAGED);
	assert_int_equal(status.keys, 0);
	assert_int_equal(status.grants, 0);
	assert_int_equal(atomic_load(&one.told), 1);
	assert_int_equal(atomic_load(&rig.fenced), 0);
	assert_int_equal(rig_acquire(&one, 0, KIB(64), read_write).status, LH_SC_NO_DIRECT);
	/* And up again, through every one of them. */
	assert_int_equal(change(NULL, &odp), 0);
	status = rig_status(&rig);
	assert_int_equal(status.generation, 3);
	assert_int_equal(status.probes[0].rung, LH_RUNG_ODP);
	answer = rig_acquire(&one, 0, KIB(64), read_write);
	assert_int_equal(answer.status, NVME_SC_SUCCESS);
	assert_int_equal(answer.generation, 3);
	assert_int_equal(change(fabric_device_info(rig.device)->name, &automatic), 0);
	status = rig_status(&rig);
	assert_int_equal(status.generation, 4);
	assert_int_equal(status.probes[0].rung, LH_RUNG_PINNED);
	/* The same again is no change: whoever holds a grant goes on. */
	answer = rig_acquire(&one, 0, KIB(64), read_write);
	assert_int_equal(answer.status, NVME_SC_SUCCESS);
	assert_int_equal(change(NULL, NULL), 0);
	assert_int_equal(change(NULL, &pinned), 0);
	status = rig_status(&rig);
	assert_int_equal(status.generation, 4);
	assert_int_equal(status.choices[0], REGION_PINNED);
	assert_int_equal(status.grants, 1);
	/* Each change is one of the export, for those who list it. */
	assert_true(atomic_load(&rig.changes) >= 4);
	down();
}

static void test_impossible(void **state)
{
	struct rig_options options = rig_defaults;
	struct change c;

	(void)state;
	options.software_memory = IWARP_MEMORY_PINNED;
	up(&options);
	assert_int_equal(rig_acquire(&one, 0, KIB(64), read_write).status, NVME_SC_SUCCESS);
	change_begin(&c, NULL, &odp);
	assert_int_equal(change_end(&c), -EOPNOTSUPP);
	assert_non_null(strstr(c.why, "not offered"));
	assert_int_equal(change("mlx5_9", &staged), -ENOENT);
	assert_int_equal(rig_status(&rig).generation, 1);
	assert_int_equal(rig_status(&rig).grants, 1);
	assert_int_equal(rig_status(&rig).choices[0], REGION_AUTO);
	down();
}

struct both {
	struct change a, b;
};

static void do_both(void *arg)
{
	struct both *both = arg;

	do_change(&both->a);
	do_change(&both->b);
}

/* One at a time; the second one is told so. */
static void test_two_at_once(void **state)
{
	struct both both = {.a = {.choice = &staged}, .b = {.choice = &automatic}};

	(void)state;
	up(&rig_defaults);
	(void)sem_init(&both.a.sem, 0, 0);
	(void)sem_init(&both.b.sem, 0, 0);
	rig_call(&rig, do_both, &both);
	assert_int_equal(change_end(&both.b), -EBUSY);
	assert_int_equal(change_end(&both.a), 0);
	down();
}

static void test_one_device(void **state)
{
	struct rig_options options = rig_defaults;
	struct holding_status status;

	(void)state;
	make_full_file();
	options.two_devices = true;
	rig_up(&rig, &options);
	/* Both are called the same here: both change. */
	assert_int_equal(change("iwarp", &odp), 0);
	status = rig_status(&rig);
	assert_int_equal(status.probes[0].rung, LH_RUNG_ODP);
	assert_int_equal(status.probes[1].rung, LH_RUNG_ODP);
	/* The second cannot pin: it is staged, as the first makes up for it. */
	assert_int_equal(change(NULL, &pinned), 0);
	status = rig_status(&rig);
	assert_int_equal(status.probes[0].rung, LH_RUNG_PINNED);
	assert_int_equal(status.probes[1].rung, LH_RUNG_STAGED);
	assert_int_equal(status.keys, 1);
	rig_client_up(&rig, &one);
	rig_client_up_on(&rig, 1, &two);
	assert_int_equal(rig_acquire(&one, 0, KIB(4), read_write).status, NVME_SC_SUCCESS);
	assert_int_equal(rig_acquire(&two, 0, KIB(4), read_write).status, LH_SC_NO_DIRECT);
	rig_client_down(&two);
	down();
}

/* ---- with a landlord --------------------------------------------------------------------------- */

static atomic_bool closed;

static void hold_open(struct rig_landlord *l)
{
	int fd = open(l->path, O_RDONLY);

	l->err = fd < 0 ? -errno : 0;
	while (!atomic_load(&closed))
		(void)usleep(1000);
	(void)close(fd);
	l->ended_ns = now_ns();
}

static void test_while_released(void **state)
{
	struct rig_landlord landlord;
	struct change c;

	(void)state;
	up(&rig_defaults);
	atomic_store(&closed, false);
	rig_landlord_start(&landlord, in_dir("file"), hold_open, 0);
	(void)rig_wait(&rig, HOLDING_RELEASED, 1);
	change_begin(&c, NULL, &staged);
	assert_int_equal(change_end(&c), 0);
	assert_non_null(strstr(c.why, "not served yet"));
	atomic_store(&closed, true);
	(void)rig_landlord_join(&landlord);
	assert_int_equal(wait_rung(0, LH_RUNG_STAGED).generation, 2);
	down();
}

/* ---- with local tools that have it -------------------------------------------------------------- */

static void want_it(void *arg)
{
	holding_recall_range(rig.h, arg);
}

static void end_it(void *arg)
{
	holding_recall_end(arg);
}

static atomic_uint its_ends;

static void on_it(struct holding_range *r)
{
	(void)r;
}

static void on_its_end(struct holding_range *r)
{
	(void)r;
	atomic_fetch_add(&its_ends, 1);
}

/* Nobody waits for the end of a reclaim: that may be hours. */
static void test_while_reclaimed(void **state)
{
	struct holding_range all = {.tenure = true, .done = on_it, .ended = on_its_end};
	struct change c;

	(void)state;
	up(&rig_defaults);
	assert_int_equal(rig_acquire(&one, 0, KIB(64), read_write).status, NVME_SC_SUCCESS);
	rig_call(&rig, want_it, &all);
	change_begin(&c, NULL, &staged);
	assert_int_equal(change_end(&c), 0);
	assert_non_null(strstr(c.why, "not served yet"));
	(void)rig_wait(&rig, HOLDING_RELEASED, 1);
	/* And once it is released, too. */
	change_begin(&c, NULL, &odp);
	assert_int_equal(change_end(&c), 0);
	assert_non_null(strstr(c.why, "reclaim"));
	rig_call(&rig, end_it, &all);
	assert_int_equal(wait_rung(0, LH_RUNG_ODP).generation, 2);
	down();
}

/* Part of it is out: another rung takes a recall of all, which leaves that part out still. */
static void test_part_reclaimed(void **state)
{
	struct holding_range part = {
		.offset = MIB(4), .length = MIB(1), .done = on_it, .ended = on_its_end};
	static const enum region_choice *const choices[] = {&staged, &automatic};
	static const enum lh_rung rungs[] = {LH_RUNG_STAGED, LH_RUNG_PINNED};
	struct grant_answer answer;

	(void)state;
	up(&rig_defaults);
	atomic_store(&its_ends, 0);
	for (unsigned int i = 0; i < 4; i++) {
		rig_call(&rig, want_it, &part);
		if (i >= 2)
			(void)usleep(50000);
		assert_int_equal(change(NULL, choices[i % 2]), 0);
		(void)wait_rung(0, rungs[i % 2]);
		answer = rig_acquire(&one, MIB(4), KIB(4), read_write);
		assert_int_equal(answer.status, i % 2 ? LH_SC_RECALLING : LH_SC_NO_DIRECT);
		rig_call(&rig, end_it, &part);
		while (atomic_load(&its_ends) <= i)
			(void)usleep(1000);
		do {
			(void)usleep(2000);
			answer = rig_acquire(&one, MIB(4), KIB(4), read_write);
		} while (answer.status == LH_SC_RECALLING);
		assert_int_equal(answer.status, i % 2 ? NVME_SC_SUCCESS : LH_SC_NO_DIRECT);
	}
	down();
}

static atomic_bool storm_over, storm_calm;

static void storm(struct rig_landlord *l)
{
	while (!atomic_load(&storm_over)) {
		if (!atomic_load(&storm_calm))
			landlord_open_close(l);
		(void)usleep(1500);
	}
}

/* Changes in the middle of recalls, and the other way round: each is answered and comes true. */
static void test_storm(void **state)
{
	static const enum region_choice *const choices[] = {&staged, &odp, &pinned, &automatic};
	static const enum lh_rung rungs[] = {LH_RUNG_STAGED, LH_RUNG_ODP, LH_RUNG_PINNED,
					     LH_RUNG_PINNED};
	struct rig_landlord landlord;

	(void)state;
	up(&rig_defaults);
	atomic_store(&storm_over, false);
	atomic_store(&storm_calm, false);
	rig_landlord_start(&landlord, in_dir("file"), storm, 0);
	for (unsigned int i = 0; i < 8; i++) {
		(void)rig_acquire(&one, 0, KIB(64), read_write);
		assert_int_equal(change(NULL, choices[i % 4]), 0);
		/* On a busy machine, all the time between two landlords may go into registering. */
		atomic_store(&storm_calm, true);
		(void)wait_rung(0, rungs[i % 4]);
		atomic_store(&storm_calm, false);
	}
	atomic_store(&storm_over, true);
	(void)rig_landlord_join(&landlord);
	assert_int_equal(atomic_load(&rig.fenced), 0);
	down();
}

static void test_stop_under_way(void **state)
{
	struct change c;

	(void)state;
	for (unsigned int i = 0; i < 6; i++) {
		make_full_file();
		rig_up(&rig, &rig_defaults);
		change_begin(&c, NULL, i % 2 ? &staged : NULL);
		if (i % 3 == 0)
			(void)usleep(500 * i);
		rig_down(&rig);
		(void)change_end(&c);
	}
}

/* ---- watched ------------------------------------------------------------------------------------ */

static struct fake_kernel kernel;

static void up_watched(uint32_t deadline_ms)
{
	struct rig_options options = rig_defaults;

	options.tenure = TENURE_WATCH;
	options.deadline_ms = deadline_ms;
	kernel_up(&kernel);
	up(&options);
}

static void down_watched(void)
{
	down();
	kernel_down(&kernel);
}

static int ask(uint64_t mask)
{
	return kernel_event(&kernel, in_dir("file"), SOMEBODY, mask, 0, KIB(4));
}

static void expect_let_go_on(int fd)
{
	struct fanotify_response r = {0};

	assert_true(kernel_answer(&kernel, RIG_WAIT_MS, &r));
	assert_int_equal(r.fd, fd);
	assert_int_equal(r.response, FAN_ALLOW);
}

/* On every rung whoever asks is let go on, and it is served again as it was. */
static void test_watched(void **state)
{
	static const enum region_choice *const choices[] = {&staged, &odp, &automatic};
	static const enum lh_rung rungs[] = {LH_RUNG_STAGED, LH_RUNG_ODP, LH_RUNG_PINNED};
	struct holding_status status;
	uint32_t generation = 1;

	(void)state;
	up_watched(rig_defaults.deadline_ms);
	for (size_t i = 0; i < ARRAY_SIZE(choices); i++) {
		assert_int_equal(change(NULL, choices[i]), 0);
		(void)rig_wait(&rig, HOLDING_SERVING, ++generation);
		assert_int_equal(rig_acquire(&one, 0, KIB(64), read_write).status,
				 rungs[i] == LH_RUNG_STAGED ? LH_SC_NO_DIRECT : NVME_SC_SUCCESS);
		expect_let_go_on(ask(FAN_PRE_ACCESS));
		assert_int_equal(rig_status(&rig).generation, generation);
		expect_let_go_on(ask(FAN_OPEN_PERM));
		status = rig_wait(&rig, HOLDING_SERVING, ++generation);
		assert_int_equal(status.generation, generation);
		assert_int_equal(status.probes[0].rung, rungs[i]);
		assert_int_equal(status.keys > 0, rungs[i] != LH_RUNG_STAGED);
	}
	assert_int_equal(atomic_load(&rig.fenced), 0);
	down_watched();
}

/* Somebody waits behind a client that does not answer; meanwhile another rung is asked for. */
static void test_change_in_recall(void **state)
{
	struct holding_status status;
	struct change c;
	int fd;

	(void)state;
	up_watched(2000);
	assert_int_equal(rig_acquire(&one, 0, KIB(64), read_write).status, NVME_SC_SUCCESS);
	atomic_store(&one.answers, false);
	fd = ask(FAN_OPEN_PERM);
	(void)rig_wait(&rig, HOLDING_RECALLING, 1);
	change_begin(&c, NULL, &staged);
	expect_let_go_on(fd);
	assert_int_equal(change_end(&c), 0);
	status = wait_rung(0, LH_RUNG_STAGED);
	assert_int_equal(status.keys, 0);
	assert_int_equal(status.last.fenced_clients, status.generation == 2 ? 1 : 0);
	down_watched();
}

/* The other way round: the recall is for the rung, and somebody comes into it. */
static void test_recall_in_change(void **state)
{
	struct holding_status status;
	struct fanotify_response r;
	struct change c;
	int fd;

	(void)state;
	up_watched(2000);
	assert_int_equal(rig_acquire(&one, 0, KIB(64), read_write).status, NVME_SC_SUCCESS);
	atomic_store(&one.answers, false);
	change_begin(&c, NULL, &staged);
	(void)rig_wait(&rig, HOLDING_RECALLING, 1);
	fd = ask(FAN_PRE_ACCESS);
	/* Not while the key works. */
	assert_false(kernel_answer(&kernel, 100, &r));
	expect_let_go_on(fd);
	assert_int_equal(change_end(&c), 0);
	status = wait_rung(0, LH_RUNG_STAGED);
	assert_int_equal(status.keys, 0);
	assert_int_equal(status.recalls, 1);
	assert_int_equal(status.last.fenced_clients, 1);
	down_watched();
}

/* Both at once, at any moment: each is let go on, each change is answered and comes true. */
static void test_watched_storm(void **state)
{
	static const enum region_choice *const choices[] = {&staged, &automatic};
	static const enum lh_rung rungs[] = {LH_RUNG_STAGED, LH_RUNG_PINNED};

	(void)state;
	up_watched(rig_defaults.deadline_ms);
	for (unsigned int i = 0; i < 16; i++) {
		struct change c;
		int fd = -1;

		(void)rig_acquire(&one, 0, KIB(64), read_write);
		if (i % 4 < 2)
			fd = ask(i % 4 ? FAN_OPEN_PERM : FAN_PRE_ACCESS);
		(void)usleep(300 * (i % 5));
		change_begin(&c, NULL, choices[i % 2]);
		(void)usleep(400 * (i % 7));
		if (fd < 0)
			fd = ask(FAN_PRE_ACCESS);
		expect_let_go_on(fd);
		assert_int_equal(change_end(&c), 0);
		(void)wait_rung(0, rungs[i % 2]);
	}
	assert_int_equal(atomic_load(&rig.fenced), 0);
	down_watched();
}

/* ---- regions that cannot be made ---------------------------------------------------------------- */

/* A stand-in by the linker's --wrap: on the first device, the N-th from now on, or all. */
#define NONE_FAIL 0
#define ALL_FAIL  (-1)

static atomic_int failing;

int __real_fabric_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			 unsigned int access, struct fabric_mr **mr);
int __wrap_fabric_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			 unsigned int access, struct fabric_mr **mr);

int __wrap_fabric_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			 unsigned int access, struct fabric_mr **mr)
{
	int which = fabric_pd_device(pd) == rig.device ? atomic_load(&failing) : NONE_FAIL;

	if (which == ALL_FAIL || (which > 0 && atomic_fetch_sub(&failing, 1) == 1))
		return -ENOMEM;
	return __real_fabric_mr_reg(pd, addr, length, iova, access, mr);
}

static void fall_and_rise(const struct rig_options *options, int which)
{
	struct holding_status status;
	struct rig_landlord landlord;

	make_file("file", RIG_BYTES);
	/* Three pieces: three registrations. */
	fill_file("file", 0, MIB(2));
	fill_file("file", MIB(4), MIB(2));
	fill_file("file", MIB(8), MIB(2));
	rig_up(&rig, options);
	rig_client_up(&rig, &one);
	status = rig_status(&rig);
	assert_int_equal(status.probes[0].rung, LH_RUNG_PINNED);
	atomic_store(&failing, which);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	status = wait_rung(0, LH_RUNG_STAGED);
	assert_non_null(strstr(status.probes[0].why, "pinned: "));
	assert_non_null(strstr(status.probes[0].why, "Cannot allocate memory"));
	/* What could be registered before it failed is not any more. */
	assert_int_equal(status.keys, 0);
	assert_int_equal(rig_acquire(&one, 0, KIB(4), read_write).status, LH_SC_NO_DIRECT);
	atomic_store(&failing, NONE_FAIL);
	/* By itself, or asked to. */
	if (options->rung_retry_ms > 1000)
		assert_int_equal(change(NULL, NULL), 0);
	status = wait_rung(0, LH_RUNG_PINNED);
	assert_true(status.keys >= 1);
	assert_int_equal(rig_acquire(&one, 0, KIB(4), read_write).status, NVME_SC_SUCCESS);
	down();
}

static void test_fall_and_rise(void **state)
{
	struct rig_options options = rig_defaults;

	(void)state;
	options.rung_retry_ms = 200;
	fall_and_rise(&options, ALL_FAIL);
	options.rung_retry_ms = 60000;
	fall_and_rise(&options, 2);
	/* Also where nothing else will do: at the start it would have been refused. */
	options.registration = REGION_PINNED;
	fall_and_rise(&options, 2);
}

/* Nothing can be registered when it starts, not even for the self-test: later it can. */
static void test_start_under_faults(void **state)
{
	struct rig_options options = rig_defaults;
	struct holding_status status;

	(void)state;
	make_full_file();
	options.no_start = true;
	options.rung_retry_ms = 20;
	rig_up(&rig, &options);
	atomic_store(&failing, ALL_FAIL);
	assert_int_equal(rig_start(&rig), 0);
	status = rig_status(&rig);
	assert_int_equal(status.probes[0].rung, LH_RUNG_STAGED);
	(void)usleep(100000);
	assert_int_equal(rig_status(&rig).generation, 1); /* in vain, and nobody noticed */
	atomic_store(&failing, NONE_FAIL);
	assert_int_equal(wait_rung(0, LH_RUNG_PINNED).generation, 2);
	rig_down(&rig);
}

/* Who holds a grant by another adapter is left in peace; the next recall brings the better rung. */
static void test_others_in_peace(void **state)
{
	struct rig_options options = rig_defaults;
	struct rig_landlord landlord;

	(void)state;
	make_full_file();
	options.two_devices = true;
	options.rung_retry_ms = 20;
	rig_up(&rig, &options);
	rig_client_up(&rig, &one);
	rig_client_up_on(&rig, 1, &two);
	atomic_store(&failing, ALL_FAIL);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	assert_int_equal(wait_rung(0, LH_RUNG_STAGED).probes[1].rung, LH_RUNG_ODP);
	while (rig_acquire(&two, 0, KIB(4), read_write).status != NVME_SC_SUCCESS)
		(void)usleep(1000);
	atomic_store(&failing, NONE_FAIL);
	(void)usleep(300000);
	assert_int_equal(rig_status(&rig).probes[0].rung, LH_RUNG_STAGED);
	assert_int_equal(rig_status(&rig).grants, 1);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	(void)wait_rung(0, LH_RUNG_PINNED);
	rig_client_down(&two);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_start_staged),	     leaks_test(test_start_as_asked),
		leaks_test(test_down_and_up),	     leaks_test(test_impossible),
		leaks_test(test_two_at_once),	     leaks_test(test_one_device),
		leaks_test(test_while_released),     leaks_test(test_while_reclaimed),
		leaks_test(test_part_reclaimed),     leaks_test(test_storm),
		leaks_test(test_stop_under_way),     leaks_test(test_watched),
		leaks_test(test_change_in_recall),   leaks_test(test_recall_in_change),
		leaks_test(test_watched_storm),	     leaks_test(test_fall_and_rise),
		leaks_test(test_start_under_faults), leaks_test(test_others_in_peace),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main_chosen(run_group);
}
