// SPDX-License-Identifier: BSD-3-Clause
/* The limits of one client, its host and an export, each exactly at its edge, with a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "grant/usage.h"
#include "util/counter.h"

#define PLENTY (1u << 21)

/* Only the client's own limit counts. */
#define CLIENT(grants)                                                    \
	.max_grants_per_client = (grants), .max_grants_per_host = PLENTY, \
	.max_grants_per_export = PLENTY

static uint64_t counted(const char *name)
{
	for (const struct counter *c = counter_first(); c; c = c->next) {
		if (strcmp(c->name, name) == 0)
			return counter_read(c);
	}
	fail_msg("no counter %s", name);
	return 0;
}

static void test_grants(void **state)
{
	const struct holding_env env = {CLIENT(3)};
	const uint64_t before = counted("acquires_over_grants_limit");
	struct usage_host host = {0};
	struct usage u = {.host = &host};

	(void)state;
	assert_int_equal(usage_allow(&u, &env, 0, 4, 1, 0), LH_SC_LIMIT);
	assert_int_equal(usage_allow(&u, &env, 0, 3, 1, 0), NVME_SC_SUCCESS);
	usage_add(&u, 1);
	usage_add(&u, 1);
	assert_int_equal(usage_allow(&u, &env, 0, 2, 1, 0), LH_SC_LIMIT);
	assert_int_equal(usage_allow(&u, &env, 0, 1, 1, 0), NVME_SC_SUCCESS);
	usage_drop(&u, 1);
	assert_int_equal(usage_allow(&u, &env, 0, 2, 1, 0), NVME_SC_SUCCESS);
	assert_int_equal(counted("acquires_over_grants_limit"), before + 2);
}

/* Its clients share what a host may have; another host has its own. */
static void test_host(void **state)
{
	const struct holding_env env = {.max_grants_per_client = 3,
					.max_grants_per_host = 4,
					.max_grants_per_export = PLENTY};
	const uint64_t before = counted("acquires_over_host_limit");
	struct usage one = {.host = usage_host_get("nqn.a")};
	struct usage two = {.host = usage_host_get("nqn.a")};
	struct usage other = {.host = usage_host_get("nqn.b")};

	(void)state;
	assert_ptr_equal(one.host, two.host);
	assert_ptr_not_equal(one.host, other.host);
	for (int i = 0; i < 3; i++)
		usage_add(&one, 1);
	assert_int_equal(usage_allow(&two, &env, 0, 2, 1, 0), LH_SC_LIMIT_HOST);
	assert_int_equal(usage_allow(&two, &env, 0, 1, 1, 0), NVME_SC_SUCCESS);
	usage_add(&two, 1);
	assert_int_equal(usage_allow(&two, &env, 0, 1, 1, 0), LH_SC_LIMIT_HOST);
	assert_int_equal(usage_allow(&other, &env, 0, 3, 1, 0), NVME_SC_SUCCESS);
	for (int i = 0; i < 3; i++)
		usage_drop(&one, 1);
	usage_host_put(one.host);
	assert_int_equal(usage_allow(&two, &env, 0, 2, 1, 0), NVME_SC_SUCCESS);
	usage_drop(&two, 1);
	usage_host_put(two.host);
	usage_host_put(other.host);
	assert_int_equal(counted("acquires_over_host_limit"), before + 2);
}

static void test_export(void **state)
{
	const struct holding_env env = {.max_grants_per_client = 3,
					.max_grants_per_host = PLENTY,
					.max_grants_per_export = 5};
	const uint64_t before = counted("acquires_over_export_limit");
	struct usage_host host = {0};
	struct usage u = {.host = &host};

	(void)state;
	assert_int_equal(usage_allow(&u, &env, 3, 2, 1, 0), NVME_SC_SUCCESS);
	assert_int_equal(usage_allow(&u, &env, 3, 3, 1, 0), LH_SC_LIMIT_EXPORT);
	assert_int_equal(usage_allow(&u, &env, 5, 1, 1, 0), LH_SC_LIMIT_EXPORT);
	assert_int_equal(counted("acquires_over_export_limit"), before + 2);
}

static void test_bytes(void **state)
{
	struct holding_env env = {CLIENT(8), .max_granted_bytes_per_client = GIB(1)};
	const uint64_t before = counted("acquires_over_bytes_limit");
	struct usage_host host = {0};
	struct usage u = {.host = &host};

	(void)state;
	assert_int_equal(usage_allow(&u, &env, 0, 1, GIB(1) + 1, 0), LH_SC_LIMIT_BYTES);
	assert_int_equal(usage_allow(&u, &env, 0, 1, UINT64_MAX, 0), LH_SC_LIMIT_BYTES);
	assert_int_equal(usage_allow(&u, &env, 0, 1, GIB(1), 0), NVME_SC_SUCCESS);
	usage_add(&u, GIB(1) - KIB(4));
	assert_int_equal(usage_allow(&u, &env, 0, 1, KIB(4), 0), NVME_SC_SUCCESS);
	assert_int_equal(usage_allow(&u, &env, 0, 1, KIB(4) + 1, 0), LH_SC_LIMIT_BYTES);
	usage_add(&u, KIB(4));
	assert_int_equal(usage_allow(&u, &env, 0, 1, 1, 0), LH_SC_LIMIT_BYTES);
	usage_drop(&u, KIB(4));
	assert_int_equal(usage_allow(&u, &env, 0, 1, KIB(4), 0), NVME_SC_SUCCESS);
	assert_int_equal(counted("acquires_over_bytes_limit"), before + 4);
	env.max_granted_bytes_per_client = 0;
	assert_int_equal(usage_allow(&u, &env, 0, 1, UINT64_MAX, 0), NVME_SC_SUCCESS);
}

/* How many are allowed one after another. */
static unsigned int allowed(struct usage *u, const struct holding_env *env, uint64_t now_ns)
{
	unsigned int n = 0;

	while (n < 100 && usage_allow(u, env, 0, 1, 1, now_ns) == NVME_SC_SUCCESS)
		n++;
	return n;
}

static void test_rate(void **state)
{
	const struct holding_env env = {CLIENT(2), .max_registrations_per_second = 3};
	const uint64_t before = counted("acquires_over_rate_limit"), start = 77 * NS_PER_S;
	const uint64_t third = NS_PER_S / 3 + 1;
	struct usage_host host = {0};
	struct usage u = {.host = &host};

	(void)state;
	/* A second's worth at once, and no more of it however often one asks. */
	assert_int_equal(allowed(&u, &env, start), 3);
	assert_int_equal(usage_allow(&u, &env, 0, 1, 1, start), LH_SC_LIMIT_RATE);
	/* One comes back in a third of a second, not before. */
	assert_int_equal(allowed(&u, &env, start + third - 2), 0);
	assert_int_equal(allowed(&u, &env, start + third), 1);
	assert_int_equal(allowed(&u, &env, start + third), 0);
	/* Several are taken whole or not at all. */
	assert_int_equal(usage_allow(&u, &env, 0, 2, 1, start + 2 * third), LH_SC_LIMIT_RATE);
	assert_int_equal(usage_allow(&u, &env, 0, 1, 1, start + 2 * third), NVME_SC_SUCCESS);
	/* It never holds more than that second's worth. */
	assert_int_equal(allowed(&u, &env, start + 1000000 * NS_PER_S), 3);
	assert_int_equal(counted("acquires_over_rate_limit"), before + 7);
}

/* After a recall a client gets all that it may hold, whatever the rate. */
static void test_all_at_once(void **state)
{
	struct holding_env env = {CLIENT(20), .max_registrations_per_second = 1};
	struct usage_host host = {0};
	struct usage u = {.host = &host};

	(void)state;
	assert_int_equal(allowed(&u, &env, 0), 20);
	assert_int_equal(allowed(&u, &env, 5 * NS_PER_S), 5);
	assert_int_equal(allowed(&u, &env, 40 * NS_PER_S), 20);
	env.max_registrations_per_second = 0;
	assert_int_equal(allowed(&u, &env, 40 * NS_PER_S), 100);
}

/* The largest numbers that the configuration takes lose nothing and do not wrap. */
static void test_largest(void **state)
{
	const struct holding_env env = {CLIENT(1u << 20),
					.max_registrations_per_second = GRANT_MAX_REGISTRATIONS};
	const uint64_t late = UINT64_MAX - 2000;
	struct usage_host host = {0};
	struct usage u = {.host = &host};

	(void)state;
	assert_int_equal(usage_allow(&u, &env, 0, 1u << 20, 1, late), NVME_SC_SUCCESS);
	assert_int_equal(usage_allow(&u, &env, 0, 1, 1, late), LH_SC_LIMIT_RATE);
	assert_int_equal(usage_allow(&u, &env, 0, 1, 1, late + 999), LH_SC_LIMIT_RATE);
	assert_int_equal(usage_allow(&u, &env, 0, 1, 1, late + 1000), NVME_SC_SUCCESS);
	assert_int_equal(usage_allow(&u, &env, 0, 1, 1, late + 1000), LH_SC_LIMIT_RATE);
}

/* What a refusal was for is not taken from the rate. */
static void test_refused_costs_nothing(void **state)
{
	const struct holding_env env = {CLIENT(2), .max_granted_bytes_per_client = KIB(4),
					.max_registrations_per_second = 2};
	struct usage_host host = {0};
	struct usage u = {.host = &host};

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(usage_allow(&u, &env, 0, 3, 1, 0), LH_SC_LIMIT);
		assert_int_equal(usage_allow(&u, &env, 0, 1, KIB(8), 0), LH_SC_LIMIT_BYTES);
	}
	assert_int_equal(allowed(&u, &env, 0), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grants),	cmocka_unit_test(test_host),
		cmocka_unit_test(test_export),	cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_rate),	cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_largest), cmocka_unit_test(test_refused_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
