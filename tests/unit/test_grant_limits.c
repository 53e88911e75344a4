// SPDX-License-Identifier: BSD-3-Clause
/*
 * What one client, one host and one export may have, given back in every way in which grants end; and
 * whether a recall could take all of it in time. With the real rooms below.
 */
#include "grant_rig.h"

#include <errno.h>
#include <string.h>

#include "iwarp/iwarp.h"

#define MOST KIB(64)

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

static void up_with_bytes(uint32_t deadline_ms, uint32_t expiry_ms)
{
	struct rig_options options = rig_defaults;

	options.max_bytes = MOST;
	options.deadline_ms = deadline_ms;
	options.expiry_ms = expiry_ms;
	up(&options);
}

static void down(void)
{
	rig_client_down(&one);
	rig_client_down(&two);
	assert_int_equal(rig_status(&rig).grants, 0);
	rig_down(&rig);
}

static uint16_t status_of(struct rig_client *c, uint64_t offset, uint64_t length)
{
	return rig_acquire(c, offset, length, LH_GRANT_READ).status;
}

/* ---- what a recall has time for ---------------------------------------------------------------- */

#define NS_PER_GIB (20 * NS_PER_S)

#define VERY_SLOW (200 * NS_PER_S) /* a GiB, too */

static uint64_t gib_ns; /* that the adapter takes to give memory back; 0: what it does take */

int __real_region_probe(struct fabric_device *dev, const struct export *e,
			enum region_choice choice, struct region_probe *result,
			struct errtext *err);
int __wrap_region_probe(struct fabric_device *dev, const struct export *e,
			enum region_choice choice, struct region_probe *result,
			struct errtext *err);
int __wrap_region_probe(struct fabric_device *dev, const struct export *e,
			enum region_choice choice, struct region_probe *result, struct errtext *err)
{
	int rc = __real_region_probe(dev, e, choice, result, err);

	/* And nothing that depends on how busy this machine is. */
	if (gib_ns) {
		result->dereg_ns_per_gib = gib_ns;
		result->dereg_ns_per_key = 0;
	}
	return rc;
}

/* The same bytes over and over: each grant of them has a key, which a recall has to end. */
static void test_time(void **state)
{
	const uint64_t each_ns = NS_PER_GIB / (GIB(1) / RIG_BYTES);
	const uint64_t break_ns = (uint64_t)tenure_break_time_s() * NS_PER_S;
	uint64_t granted = 0;

	(void)state;
	gib_ns = NS_PER_GIB;
	up(&rig_defaults);
	gib_ns = 0;
	while (granted < 1000 && status_of(&one, 0, RIG_BYTES) == NVME_SC_SUCCESS)
		granted++;
	assert_true(granted > 1);
	assert_int_equal(status_of(&two, 0, RIG_BYTES), LH_SC_LIMIT_TIME);
	/* With the file's own registrations, and the deadline. */
	assert_true((granted + 1) * each_ns + rig_defaults.deadline_ms * NS_PER_MS <= break_ns / 4);
	/* What is given back may be had again. */
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&two, 0, RIG_BYTES), NVME_SC_SUCCESS);
	down();
}

/* ---- and one of all exports -------------------------------------------------------------------- */

static struct holding *other;
static sem_t other_done;
static int other_err;
static char other_why[ERRTEXT_BYTES];

static void on_other_started(void *arg, int err, const char *why)
{
	(void)arg;
	other_err = err;
	(void)snprintf(other_why, sizeof(other_why), "%s", why);
	(void)sem_post(&other_done);
}

static void do_start_other(void *arg)
{
	(void)arg;
	holding_start(other, on_other_started, NULL);
}

static void on_other_stopped(void *arg)
{
	(void)arg;
	holding_free(other);
	(void)sem_post(&other_done);
}

static void do_stop_other(void *arg)
{
	(void)arg;
	holding_stop(other, on_other_stopped, NULL);
}

/* -errno, as it is started. */
static int start_other(enum tenure_kind tenure)
{
	struct holding_config config = {.export = config_of("other"), .nsid = 2, .tenure = tenure};

	make_file("other", RIG_BYTES);
	fill_file("other", 0, RIG_BYTES);
	(void)sem_init(&other_done, 0, 0);
	assert_int_equal(holding_new(&rig.env, &config, &other), 0);
	rig_call(&rig, do_start_other, NULL);
	assert_int_equal(sem_wait(&other_done), 0);
	return other_err;
}

static void stop_other(void)
{
	rig_call(&rig, do_stop_other, NULL);
	assert_int_equal(sem_wait(&other_done), 0);
	(void)sem_destroy(&other_done);
}

static void do_swap(void *arg)
{
	struct holding *h = rig.h;

	(void)arg;
	rig.h = other;
	other = h;
}

/* The rig's is the other one till it is called again. */
static void swap(void)
{
	rig_call(&rig, do_swap, NULL);
}

static uint64_t fill(struct rig_client *c)
{
	uint64_t granted = 0;

	while (granted < 1000 && status_of(c, 0, RIG_BYTES) == NVME_SC_SUCCESS)
		granted++;
	assert_int_equal(status_of(c, 0, RIG_BYTES), LH_SC_LIMIT_TIME);
	return granted;
}

static void read_budget(void *arg)
{
	grant_recall_budget(arg);
}

/* One registrar ends the keys of all exports, and all may be wanted back at once. */
static void test_time_of_all(void **state)
{
	const uint64_t each_ns = NS_PER_GIB / (GIB(1) / RIG_BYTES);
	const uint64_t break_ns = (uint64_t)tenure_break_time_s() * NS_PER_S;
	struct recall_budget budget;
	uint64_t first, second;

	(void)state;
	gib_ns = NS_PER_GIB;
	up(&rig_defaults);
	assert_int_equal(start_other(TENURE_LEASE), 0);
	gib_ns = 0;
	/* Who comes first has most, and leaves something. */
	first = fill(&one);
	swap();
	second = fill(&two);
	assert_true(second > 1 && first > second);
	assert_true((first + second + 2) * each_ns + rig_defaults.deadline_ms * NS_PER_MS <=
		    break_ns / 4);
	rig_call(&rig, read_budget, &budget);
	assert_true(budget.granted_ns >= (first + second) * each_ns);
	assert_true(budget.granted_ns + budget.regions_ns <= budget.limit_ns);
	/* And what one gives back is the other's. */
	swap();
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	swap();
	assert_true(fill(&two) > 0);
	swap();
	stop_other();
	down();
}

/* Another export is not served where what is granted already leaves its landlord too little time. */
static void test_time_for_another(void **state)
{
	struct rig_options options = rig_defaults;

	(void)state;
	gib_ns = NS_PER_GIB;
	options.deadline_ms = 5000;
	up(&options);
	(void)fill(&one);
	assert_int_equal(start_other(TENURE_LEASE), -EDQUOT);
	gib_ns = 0;
	assert_non_null(strstr(other_why, "of all exports at once"));
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	rig_call(&rig, do_start_other, NULL);
	assert_int_equal(sem_wait(&other_done), 0);
	assert_int_equal(other_err, 0);
	stop_other();
	down();
}

/* ---- and of one that comes back ---------------------------------------------------------------- */

static void check_budget(void)
{
	struct recall_budget budget;

	rig_call(&rig, read_budget, &budget);
	assert_true(budget.granted_ns + budget.regions_ns <= budget.limit_ns);
}

static sem_t tested;
static int test_err;

static void on_tested(void *arg, int err, const char *why)
{
	(void)arg;
	(void)why;
	test_err = err;
	(void)sem_post(&tested);
}

static void do_test(void *arg)
{
	holding_rung(rig.h, NULL, arg, on_tested, NULL);
}

/* As an administrator has it: with that rung, or tested again. */
static int test_again(const enum region_choice *choice)
{
	(void)sem_init(&tested, 0, 0);
	rig_call(&rig, do_test, (void *)(uintptr_t)choice);
	rig_wait_sem(&tested);
	(void)sem_destroy(&tested);
	return test_err;
}

/* What fits and what does not is reckoned with it. */
static void need_usual_patience(void)
{
	if (tenure_break_time_s() == 45)
		return;
	print_message("skipped: fs.lease-break-time is not 45 s\n");
	skip();
}

/* The rig's file, beside another one of which much is granted. */
static void up_beside(uint64_t ns_per_gib, uint32_t rung_retry_ms)
{
	struct rig_options options = rig_defaults;

	need_usual_patience();
	options.rung_retry_ms = rung_retry_ms;
	gib_ns = ns_per_gib;
	up(&options);
	gib_ns = NS_PER_GIB;
	assert_int_equal(start_other(TENURE_LEASE), 0);
	swap();
	(void)fill(&two);
	swap();
}

static void down_beside(void)
{
	gib_ns = 0;
	swap();
	assert_int_equal(rig_release(&two, 0, UINT64_MAX, 0), NVME_SC_SUCCESS);
	swap();
	stop_other();
	down();
}

static void open_and_close(void)
{
	struct rig_landlord landlord;

	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
}

static struct holding_status wait_rung(uint32_t generation, enum lh_rung rung)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;
	struct holding_status status;

	do {
		(void)usleep(1000);
		status = rig_wait(&rig, HOLDING_SERVING, generation);
	} while (status.probes[0].rung != rung && now_ns() < end);
	assert_int_equal(status.probes[0].rung, rung);
	check_budget();
	return status;
}

/*
 * An adapter that was measured again takes longer for the same file. What was promised to others stays:
 * it is copied, nothing is granted of it, and no recall is spent on what would not fit either.
 */
static void test_time_of_a_dearer_one(void **state)
{
	static const enum region_choice pinned = REGION_PINNED;
	struct holding_status status;

	(void)state;
	up_beside(1 /* ns */, 20);
	gib_ns = VERY_SLOW;
	assert_int_equal(test_again(NULL), 0);
	open_and_close();
	status = wait_rung(2, LH_RUNG_STAGED);
	assert_non_null(strstr(status.probes[0].why, "of all exports at once"));
	assert_int_equal(status_of(&one, 0, KIB(4)), LH_SC_NO_DIRECT);
	(void)usleep(200000);
	assert_int_equal(rig_status(&rig).generation, status.generation);
	assert_int_equal(test_again(&pinned), -EDQUOT);
	assert_int_equal(rig_status(&rig).generation, status.generation);
	/* When others have let go it is what it was. */
	swap();
	assert_int_equal(rig_release(&two, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	swap();
	(void)wait_rung(3, LH_RUNG_PINNED);
	assert_int_equal(status_of(&one, 0, KIB(4)), NVME_SC_SUCCESS);
	down_beside();
}

static void landlord_longer(struct rig_landlord *l)
{
	int fd = open(l->path, O_RDWR | O_CLOEXEC);

	l->err = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)l->bytes);
	(void)close(fd);
}

/* The landlord has made it longer, and shorter again. */
static void test_time_of_a_longer_one(void **state)
{
	struct rig_landlord landlord;

	(void)state;
	up_beside(NS_PER_GIB, 3600000);
	rig_landlord_start(&landlord, in_dir("file"), landlord_longer, RIG_BYTES * 12);
	(void)rig_landlord_join(&landlord);
	(void)wait_rung(2, LH_RUNG_STAGED);
	rig_landlord_start(&landlord, in_dir("file"), landlord_truncate, RIG_BYTES);
	(void)rig_landlord_join(&landlord);
	(void)wait_rung(3, LH_RUNG_STAGED);
	assert_int_equal(test_again(NULL), 0);
	(void)wait_rung(4, LH_RUNG_PINNED);
	down_beside();
}

static void on_reclaimed(void *arg, int err, const char *why)
{
	(void)arg;
	(void)why;
	test_err = err;
	(void)sem_post(&tested);
}

static void do_reclaim(void *arg)
{
	holding_reclaim(rig.h, arg, on_reclaimed, NULL);
}

static void end_reclaims(void *arg)
{
	*(unsigned int *)arg = holding_reclaim_end(rig.h);
}

/* A part that comes back with more blocks than it had: not tried for ever, but with another rung. */
static void test_time_of_a_part(void **state)
{
	struct holding_reclaim part = {
		.offset = MIB(2), .length = MIB(14), .hold_ns = 3600 * NS_PER_S};
	static const uint8_t bytes[KIB(64)] = {1};
	unsigned int ended;

	(void)state;
	need_usual_patience();
	make_file("file", RIG_BYTES);
	fill_file("file", 0, MIB(2));
	rig_up(&rig, &rig_defaults);
	gib_ns = VERY_SLOW;
	assert_int_equal(test_again(NULL), 0);
	open_and_close();
	gib_ns = NS_PER_GIB;
	(void)wait_rung(2, LH_RUNG_PINNED);
	assert_int_equal(start_other(TENURE_LEASE), 0);
	rig_client_up(&rig, &one);
	rig_client_up(&rig, &two);
	swap();
	(void)fill(&two);
	swap();
	(void)sem_init(&tested, 0, 0);
	rig_call(&rig, do_reclaim, &part);
	rig_wait_sem(&tested);
	(void)sem_destroy(&tested);
	assert_int_equal(test_err, 0);
	/* As a host's writes would, without keys. */
	for (uint64_t at = part.offset; at < part.offset + part.length; at += sizeof(bytes))
		assert_int_equal(
			pwrite(export_fd(holding_export(rig.h)), bytes, sizeof(bytes), (off_t)at),
			sizeof(bytes));
	rig_call(&rig, end_reclaims, &ended);
	assert_int_equal(ended, 1);
	(void)wait_rung(3, LH_RUNG_STAGED);
	down_beside();
}

/* What is left of a grant that is split is a key more, till the old one is dead. */
static void test_time_of_a_split(void **state)
{
	struct grant_answer answer;

	(void)state;
	gib_ns = NS_PER_GIB;
	up(&rig_defaults);
	gib_ns = 0;
	assert_int_equal(status_of(&one, 0, RIG_BYTES), NVME_SC_SUCCESS);
	(void)fill(&two);
	answer = rig_release_part(&one, MIB(4), KIB(4));
	assert_int_equal(answer.status, LH_SC_LIMIT_TIME);
	check_budget();
	assert_int_equal(rig_release(&two, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	answer = rig_release_part(&one, MIB(4), KIB(4));
	assert_int_equal(answer.status, NVME_SC_SUCCESS);
	assert_int_equal(answer.count, 2);
	check_budget();
	down();
	/* And where it is the time of all exports that is short. */
	up_beside(NS_PER_GIB, 3600000);
	assert_int_equal(status_of(&one, 0, RIG_BYTES), NVME_SC_SUCCESS);
	assert_true(fill(&two) > 0);
	answer = rig_release_part(&one, MIB(4), KIB(4));
	assert_int_equal(answer.status, LH_SC_LIMIT_TIME);
	check_budget();
	assert_int_equal(rig_release(&two, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	answer = rig_release_part(&one, MIB(4), KIB(4));
	assert_int_equal(answer.status, NVME_SC_SUCCESS);
	down_beside();
}

/* ---- bytes ------------------------------------------------------------------------------------ */

static void fill_up(struct rig_client *c)
{
	assert_int_equal(status_of(c, 0, MOST - KIB(4)), NVME_SC_SUCCESS);
	assert_int_equal(status_of(c, MIB(1), KIB(8)), LH_SC_LIMIT_BYTES);
	assert_int_equal(status_of(c, MIB(1), KIB(4)), NVME_SC_SUCCESS);
	assert_int_equal(status_of(c, MIB(2), KIB(4)), LH_SC_LIMIT_BYTES);
}

static void test_bytes(void **state)
{
	(void)state;
	up_with_bytes(1000, 0);
	fill_up(&one);
	/* The same bytes again are a key more. */
	assert_int_equal(status_of(&one, 0, KIB(4)), LH_SC_LIMIT_BYTES);
	/* Each has its own. */
	fill_up(&two);
	assert_int_equal(rig_release(&one, MIB(1), KIB(4), 1), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&one, MIB(2), KIB(8)), LH_SC_LIMIT_BYTES);
	assert_int_equal(status_of(&one, MIB(2), KIB(4)), NVME_SC_SUCCESS);
	assert_int_equal(rig_release(&one, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
	fill_up(&one);
	down();
}

static void test_bytes_of_a_recall(void **state)
{
	struct rig_landlord landlord;

	(void)state;
	up_with_bytes(1000, 0);
	fill_up(&one);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	fill_up(&one);
	down();
}

/* A fenced client gets nothing more; its end finds no byte left of it, nor does who comes next. */
static void test_bytes_of_a_fence(void **state)
{
	struct rig_landlord landlord;

	(void)state;
	up_with_bytes(50, 0);
	fill_up(&one);
	atomic_store(&one.answers, false);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	assert_int_equal(rig_wait(&rig, HOLDING_SERVING, 2).last.fenced_clients, 1);
	assert_int_equal(rig_status(&rig).grants, 0);
	assert_int_equal(status_of(&one, 0, KIB(4)), LH_SC_NO_DIRECT_QUEUE);
	rig_client_down(&one);
	rig_client_up(&rig, &one);
	fill_up(&one);
	down();
}

static void test_bytes_of_an_expiry(void **state)
{
	const uint64_t end = now_ns() + RIG_WAIT_MS * NS_PER_MS;

	(void)state;
	up_with_bytes(1000, 100);
	assert_int_equal(status_of(&one, 0, MOST), NVME_SC_SUCCESS);
	/* Given back when the key is dead, a little later than it is counted as none. */
	while (status_of(&one, MIB(1), MOST) == LH_SC_LIMIT_BYTES && now_ns() < end)
		(void)usleep(1000);
	assert_true(now_ns() < end);
	down();
}

/* ---- the rate --------------------------------------------------------------------------------- */

/* The clock is the machine's here: nothing is said of how fast it is. test_usage has the edges. */
static void test_rate(void **state)
{
	struct rig_options options = rig_defaults;
	const uint64_t begun = now_ns();
	unsigned int got = 0, refused = 0;
	uint64_t seconds;
	uint16_t status;

	(void)state;
	options.max_grants = 4;
	options.max_registrations = 1;
	up(&options);
	while (refused == 0 || got < 5) {
		status = status_of(&one, 0, KIB(4));
		if (status == NVME_SC_SUCCESS) {
			got++;
			assert_int_equal(rig_release(&one, 0, UINT64_MAX, 1), NVME_SC_SUCCESS);
		} else {
			assert_int_equal(status, LH_SC_LIMIT_RATE);
			assert_in_range(got, 4, UINT32_MAX);
			refused++;
			(void)usleep(10000);
		}
		assert_true(now_ns() - begun < RIG_WAIT_MS * NS_PER_MS);
	}
	seconds = (now_ns() - begun) / NS_PER_S + 1;
	assert_in_range(got, 5, 4 + seconds);
	assert_int_equal(status_of(&two, 0, KIB(4)), NVME_SC_SUCCESS);
	down();
}

/* ---- of all clients ---------------------------------------------------------------------------- */

/* Ends of grants give back what they took: by a release, by a recall, by the client's end. */
static void check_shared(uint16_t refusal)
{
	struct rig_landlord landlord;

	assert_int_equal(status_of(&one, 0, KIB(4)), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&one, KIB(4), KIB(4)), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&two, KIB(8), KIB(4)), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&two, KIB(12), KIB(4)), refusal);
	assert_int_equal(rig_release(&one, 0, KIB(4), 1), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&two, KIB(12), KIB(4)), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&one, 0, KIB(4)), refusal);
	rig_landlord_start(&landlord, in_dir("file"), landlord_open_close, 0);
	(void)rig_landlord_join(&landlord);
	(void)rig_wait(&rig, HOLDING_SERVING, 2);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(status_of(&one, i * KIB(4), KIB(4)), NVME_SC_SUCCESS);
	assert_int_equal(status_of(&two, KIB(12), KIB(4)), refusal);
	rig_client_gone(&one);
	assert_int_equal(status_of(&two, KIB(12), KIB(4)), NVME_SC_SUCCESS);
}

static void test_export(void **state)
{
	struct rig_options options = rig_defaults;

	(void)state;
	options.max_of_export = 3;
	up(&options);
	check_shared(LH_SC_LIMIT_EXPORT);
	down();
}

static void test_host(void **state)
{
	struct rig_options options = rig_defaults;

	(void)state;
	options.max_of_host = 3;
	up(&options);
	check_shared(LH_SC_LIMIT_HOST);
	down();
}

/* A number of grants that no recall gets back in time is refused at start, by name. */
static void test_budget(void **state)
{
	struct rig_options options = rig_defaults;

	(void)state;
	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	options.no_start = true;
	options.max_of_export = GRANT_MAX_PER_EXPORT;
	rig_up(&rig, &options);
	assert_int_equal(rig_start(&rig), -EDQUOT);
	assert_non_null(strstr(rig.start_why, "16777216 grants"));
	assert_non_null(strstr(rig.start_why, "more than a quarter of fs.lease-break-time"));
	assert_non_null(strstr(rig.start_why, "lower max_grants_per_export"));
	/* None are given on that rung, so none are to be killed. */
	rig_down(&rig);
	options.registration = REGION_STAGED;
	rig_up(&rig, &options);
	assert_int_equal(rig_start(&rig), 0);
	rig_down(&rig);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_time),
		leaks_test(test_time_of_all),
		leaks_test(test_time_for_another),
		leaks_test(test_time_of_a_dearer_one),
		leaks_test(test_time_of_a_longer_one),
		leaks_test(test_time_of_a_part),
		leaks_test(test_time_of_a_split),
		leaks_test(test_bytes),
		leaks_test(test_bytes_of_a_recall),
		leaks_test(test_bytes_of_a_fence),
		leaks_test(test_bytes_of_an_expiry),
		leaks_test(test_rate),
		leaks_test(test_export),
		leaks_test(test_host),
		leaks_test(test_budget),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run_group);
}
