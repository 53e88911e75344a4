// SPDX-License-Identifier: BSD-3-Clause
/*
 * A tenure that is not there when somebody looks. Of a device, where there is none to be had, it means
 * nothing; of a file it was taken by force. With the real rooms below; a file plays the device, and the
 * kernel that breaks leases.
 */
#include "grant_rig.h"

#include <errno.h>

static struct rig rig;
static struct rig_client one;

static const unsigned int read_write = LH_GRANT_READ | LH_GRANT_WRITE;

/* ---- the kernel -------------------------------------------------------------------------------- */

static bool no_leases;	     /* as of a device's node */
static atomic_bool by_force; /* what was taken is gone */

bool __real_export_needs_no_lease(const struct export *e);
bool __wrap_export_needs_no_lease(const struct export *e);

bool __wrap_export_needs_no_lease(const struct export *e)
{
	return no_leases || __real_export_needs_no_lease(e);
}

int __real_tenure_take(struct tenure *t, struct errtext *err);
int __wrap_tenure_take(struct tenure *t, struct errtext *err);

int __wrap_tenure_take(struct tenure *t, struct errtext *err)
{
	atomic_store(&by_force, false);
	return no_leases ? -EINVAL : __real_tenure_take(t, err);
}

enum tenure_state __real_tenure_check(const struct tenure *t);
enum tenure_state __wrap_tenure_check(const struct tenure *t);

enum tenure_state __wrap_tenure_check(const struct tenure *t)
{
	return atomic_load(&by_force) ? TENURE_NONE : __real_tenure_check(t);
}

static void up(uint32_t deadline_ms)
{
	struct rig_options options = rig_defaults;

	make_file("file", RIG_BYTES);
	fill_file("file", 0, RIG_BYTES);
	options.deadline_ms = deadline_ms;
	rig_up(&rig, &options);
	rig_client_up(&rig, &one);
}

static void down(void)
{
	rig_client_down(&one);
	rig_down(&rig);
}

/* What a signal, of whichever file, has control do. */
static void scan(void *arg)
{
	(void)arg;
	holding_scan(rig.h);
}

/* ---- tests ------------------------------------------------------------------------------------- */

/* Nobody can take it away, so nobody has. */
static void test_none_needed(void **state)
{
	const uint64_t word = UINT64_C(0x0123456789abcdef);
	struct holding_status status;
	struct grant_answer answer;
	struct lh_grant g;

	(void)state;
	no_leases = true;
	up(1000);
	status = rig_status(&rig);
	assert_true(status.no_tenure);
	answer = rig_acquire(&one, 0, RIG_BYTES, read_write);
	g = rig_grant_of(&answer, 0);
	for (unsigned int i = 0; i < 3; i++)
		rig_call(&rig, scan, NULL);
	atomic_store(&by_force, true);
	rig_call(&rig, scan, NULL);
	atomic_store(&by_force, false);
	assert_int_equal(rig_write(&one, g.address, g.rkey, &word, 8), FABRIC_OK);
	status = rig_status(&rig);
	assert_int_equal(status.state, HOLDING_SERVING);
	assert_int_equal(status.generation, 1);
	assert_int_equal(status.recalls, 0);
	assert_int_equal(status.grants, 1);
	assert_int_equal(atomic_load(&one.told), 0);
	down();
	no_leases = false;
}

/* Of a file the blocks are somebody else's already: whoever has a key is cut off at once. */
static void test_by_force(void **state)
{
	const uint64_t word = 0;
	struct holding_status status;
	struct grant_answer answer;
	struct lh_grant g;

	(void)state;
	up(10000);
	atomic_store(&one.answers, false);
	answer = rig_acquire(&one, 0, RIG_BYTES, read_write);
	g = rig_grant_of(&answer, 0);
	rig_call(&rig, scan, NULL);
	assert_int_equal(rig_status(&rig).recalls, 0);
	atomic_store(&by_force, true);
	rig_call(&rig, scan, NULL);
	status = rig_wait(&rig, HOLDING_SERVING, 2);
	assert_int_equal(status.recalls, 1);
	assert_int_equal(status.last.fenced_clients, 1);
	assert_true(status.last.fenced_ns - status.last.seen_ns < 5 * NS_PER_S);
	rig_client_reconnect(&one);
	assert_int_not_equal(rig_write(&one, g.address, g.rkey, &word, 8), FABRIC_OK);
	down();
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_none_needed),
		leaks_test(test_by_force),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return rig_main(run_group);
}
