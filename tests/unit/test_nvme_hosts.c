// SPDX-License-Identifier: BSD-3-Clause
/*
 * Whose connections count as this machine's own, and the list of the others. What a list does to hosts that
 * connect is tests/e2e/cases/hosts.sh.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/internal.h"

static struct sockaddr_storage address(const char *text, uint16_t port)
{
	struct sockaddr_storage addr = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&addr;

	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
	}
	return addr;
}

static bool here(const char *peer, const char *local)
{
	const struct sockaddr_storage from = address(peer, 40000), to = address(local, 4420);

	return host_is_here(&from, &to);
}

static void test_here(void **state)
{
	const struct sockaddr_storage none = {0}, some = address("192.0.2.1", 1);

	(void)state;
	assert_true(here("127.0.0.1", "127.0.0.1"));
	assert_true(here("127.8.9.10", "192.0.2.1"));
	assert_true(here("::1", "::1"));
	assert_true(here("::ffff:127.0.0.1", "::ffff:127.0.0.1"));
	assert_true(here("192.0.2.1", "192.0.2.1"));
	assert_true(here("::ffff:192.0.2.1", "192.0.2.1"));
	assert_true(here("2001:db8::1", "2001:db8::1"));
	assert_false(here("192.0.2.2", "192.0.2.1"));
	assert_false(here("2001:db8::2", "2001:db8::1"));
	assert_false(here("::ffff:192.0.2.2", "192.0.2.1"));
	/* The first four bytes alike. */
	assert_false(here("192.0.2.1", "c000:201::"));
	assert_false(here("7f00::1", "2001:db8::1"));
	assert_false(host_is_here(&none, &none));
	assert_false(host_is_here(&none, &some));
	assert_false(host_is_here(&some, &none));
}

static void count(const char *nqn, unsigned int controllers, void *arg)
{
	assert_non_null(strstr(nqn, "nqn."));
	assert_int_equal(controllers, 0);
	++*(unsigned int *)arg;
}

static void test_list(void **state)
{
	struct nvme_target t = {0};
	char nqn[NVME_NQN_BYTES];
	unsigned int n = 0;

	(void)state;
	list_init(&t.controllers);
	assert_false(host_may_connect(&t, "nqn.2026-11.org.leasehold:a", false));
	assert_true(host_may_connect(&t, "nqn.2026-11.org.leasehold:a", true));
	assert_int_equal(nvme_target_allow_host(&t, "nqn.2026-11.org.leasehold:a"), 0);
	assert_int_equal(nvme_target_allow_host(&t, "nqn.2026-11.org.leasehold:a"), -EEXIST);
	assert_true(host_may_connect(&t, "nqn.2026-11.org.leasehold:a", false));
	assert_false(host_may_connect(&t, "nqn.2026-11.org.leasehold:b", false));
	assert_false(host_may_connect(&t, "nqn.2026-11.org.leasehold:", false));
	nvme_target_any_host(&t, true);
	assert_true(host_may_connect(&t, "nqn.2026-11.org.leasehold:b", false));
	nvme_target_any_host(&t, false);
	assert_false(host_may_connect(&t, "nqn.2026-11.org.leasehold:b", false));
	assert_int_equal(nvme_target_deny_host(&t, "nqn.2026-11.org.leasehold:b"), -ENOENT);
	assert_int_equal(nvme_target_deny_host(&t, "nqn.2026-11.org.leasehold:a"), 0);
	assert_false(host_may_connect(&t, "nqn.2026-11.org.leasehold:a", false));
	assert_int_equal(nvme_target_allow_host(&t, ""), -EINVAL);
	assert_int_equal(nvme_target_allow_host(&t, "a host"), -EINVAL);
	memset(nqn, 'x', sizeof(nqn));
	memcpy(nqn, "nqn.2026-11.org.leasehold:", 26);
	nqn[sizeof(nqn) - 1] = '\0';
	assert_int_equal(nvme_target_allow_host(&t, nqn), -EINVAL); /* longer than any */
	for (unsigned int i = 0; i < NVME_MAX_HOSTS; i++) {
		(void)snprintf(nqn, sizeof(nqn), "nqn.2026-11.org.leasehold:%u", i);
		assert_int_equal(nvme_target_allow_host(&t, nqn), 0);
	}
	assert_int_equal(nvme_target_allow_host(&t, "nqn.2026-11.org.leasehold:more"), -ENOSPC);
	nvme_target_each_host(&t, count, &n);
	assert_int_equal(n, NVME_MAX_HOSTS);
	free(t.hosts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_here),
		cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
