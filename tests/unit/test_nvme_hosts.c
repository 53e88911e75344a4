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

#include "control/control.h"
#include "fabric/verbs_path.h"
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
	const struct nvme_hosts none = {0};
	struct nvme_target t = {0};
	char nqn[NVME_NQN_BYTES];

	(void)state;
	list_init(&t.controllers);
	assert_false(host_may_connect(&t, "nqn.2026-11.org.leasehold:a", false));
	assert_true(host_may_connect(&t, "nqn.2026-11.org.leasehold:a", true));
	assert_int_equal(nvme_target_allow_host(&t, "nqn.2026-11.org.leasehold:a"), 0);
	assert_int_equal(nvme_target_allow_host(&t, "nqn.2026-11.org.leasehold:a"), -EEXIST);
	assert_true(host_may_connect(&t, "nqn.2026-11.org.leasehold:a", false));
	assert_false(host_may_connect(&t, "nqn.2026-11.org.leasehold:b", false));
	assert_false(host_may_connect(&t, "nqn.2026-11.org.leasehold:", false));
	assert_int_equal(nvme_target_change_hosts(&t, &none, &none, true), 0);
	assert_true(host_may_connect(&t, "nqn.2026-11.org.leasehold:b", false));
	assert_int_equal(nvme_target_change_hosts(&t, &none, &none, false), 0);
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
	free(t.hosts);
}

/* How often discovery logs have changed, which is what control does once for each change of the list. */
static uint64_t generation;

static unsigned int changes(const struct nvme_target *t)
{
	const uint64_t was = generation;

	generation = t->discovery_generation;
	return (unsigned int)(generation - was);
}

static char many[2 * NVME_MAX_HOSTS][NVME_NQN_BYTES];

static void name_many(void)
{
	for (unsigned int i = 0; i < 2 * NVME_MAX_HOSTS; i++)
		(void)snprintf(many[i], sizeof(many[i]), "nqn.2026-11.org.leasehold:%06u", i);
}

static struct nvme_hosts some_of(unsigned int first, unsigned int count)
{
	return (struct nvme_hosts){(const char(*)[NVME_NQN_BYTES])many + first, count};
}

static unsigned int listed(const struct nvme_target *t)
{
	unsigned int n = 0;

	assert_int_equal(nvme_target_each_host(t, count, &n), 0);
	return n;
}

static void test_many(void **state)
{
	const struct nvme_hosts none = {0}, all = some_of(0, NVME_MAX_HOSTS),
				others = some_of(NVME_MAX_HOSTS, NVME_MAX_HOSTS),
				more = some_of(NVME_MAX_HOSTS, 1),
				swapped = some_of(2 * NVME_MAX_HOSTS - 2, 2);
	struct nvme_target t = {0};

	(void)state;
	name_many();
	list_init(&t.controllers);
	generation = t.discovery_generation;
	assert_int_equal(nvme_target_change_hosts(&t, &all, &none, false), 0);
	assert_int_equal(changes(&t), 1);
	assert_int_equal(listed(&t), NVME_MAX_HOSTS);
	for (unsigned int i = 0; i < 2 * NVME_MAX_HOSTS; i++)
		assert_int_equal(host_may_connect(&t, many[i], false), i < NVME_MAX_HOSTS);
	assert_int_equal(nvme_target_allow_host(&t, more.nqns[0]), -ENOSPC);
	assert_int_equal(nvme_target_change_hosts(&t, &more, &none, false), -ENOSPC);
	assert_int_equal(listed(&t), NVME_MAX_HOSTS);
	/* All are others: there is room as soon as the first are gone. */
	assert_int_equal(nvme_target_change_hosts(&t, &others, &all, false), 0);
	assert_int_equal(changes(&t), 1);
	for (unsigned int i = 0; i < 2 * NVME_MAX_HOSTS; i++)
		assert_int_equal(host_may_connect(&t, many[i], false), i >= NVME_MAX_HOSTS);
	/* Listed already, not listed any more. */
	assert_int_equal(nvme_target_change_hosts(&t, &others, &all, false), 0);
	assert_int_equal(listed(&t), NVME_MAX_HOSTS);
	/* Every second goes, one comes between them. */
	for (unsigned int i = NVME_MAX_HOSTS; i < 2 * NVME_MAX_HOSTS; i += 2)
		assert_int_equal(nvme_target_deny_host(&t, many[i]), 0);
	assert_int_equal(nvme_target_allow_host(&t, "nqn.2026-11.org.leasehold:005000"), 0);
	assert_int_equal(listed(&t), NVME_MAX_HOSTS / 2 + 1);
	assert_true(host_may_connect(&t, "nqn.2026-11.org.leasehold:005000", false));
	assert_true(host_may_connect(&t, "nqn.2026-11.org.leasehold:005001", false));
	assert_false(host_may_connect(&t, "nqn.2026-11.org.leasehold:005002", false));
	strcpy(many[2 * NVME_MAX_HOSTS - 1], "nqn.2026-11.org.leasehold:000000");
	assert_int_equal(nvme_target_change_hosts(&t, &swapped, &none, false), -EINVAL);
	assert_int_equal(nvme_target_change_hosts(&t, &none, &swapped, false), -EINVAL);
	free(t.hosts);
}

/* ---- the configuration ------------------------------------------------------------------------ */

static struct daemon_config config_of(unsigned int first, unsigned int n)
{
	return (struct daemon_config){.hosts = many + first, .nr_hosts = n};
}

/* What a verb did stays, but for what the file takes back; all hosts are others in one change. */
static void test_take(void **state)
{
	struct daemon_config first = config_of(0, NVME_MAX_HOSTS),
			     second = config_of(NVME_MAX_HOSTS - 2, NVME_MAX_HOSTS);
	const struct daemon_config none = {0};
	struct nvme_target t = {0};

	(void)state;
	name_many();
	list_init(&t.controllers);
	generation = t.discovery_generation;
	assert_int_equal(hosts_take(&t, NULL, &first), 0);
	assert_int_equal(changes(&t), 1);
	assert_int_equal(nvme_target_deny_host(&t, many[0]), 0);
	assert_int_equal(nvme_target_allow_host(&t, many[2 * NVME_MAX_HOSTS - 1]), 0);
	(void)changes(&t);
	/* With the one of the verb there is no room for all: none comes, but who is to go is gone. */
	assert_int_equal(hosts_take(&t, &first, &second), -ENOSPC);
	assert_int_equal(changes(&t), 1);
	assert_int_equal(listed(&t), 3);
	assert_int_equal(second.nr_hosts, 2);
	assert_true(host_may_connect(&t, many[NVME_MAX_HOSTS - 1], false));
	assert_true(host_may_connect(&t, many[2 * NVME_MAX_HOSTS - 1], false));
	assert_false(host_may_connect(&t, many[1], false));
	first = config_of(NVME_MAX_HOSTS - 2, NVME_MAX_HOSTS - 1);
	assert_int_equal(hosts_take(&t, &second, &first), 0);
	assert_int_equal(listed(&t), NVME_MAX_HOSTS);
	second = none;
	assert_int_equal(hosts_take(&t, &first, &second), 0);
	assert_int_equal(listed(&t), 1);
	free(t.hosts);
}

static void test_text(void **state)
{
	char out[HOST_TEXT_BYTES];

	(void)state;
	assert_string_equal(host_text("nqn.2014-08.org.nvmexpress:uuid:0af3", out),
			    "nqn.2014-08.org.nvmexpress:uuid:0af3");
	assert_string_equal(host_text("nqn.2014-08.x:$(id);`id`", out),
			    "'nqn.2014-08.x:$(id);`id`'");
	assert_string_equal(host_text("nqn.2014-08.x:a b", out), "'nqn.2014-08.x:a b'");
	assert_string_equal(host_text("nqn.2014-08.x:'a", out), "'nqn.2014-08.x:'\\''a'");
}

/* Both ends of a path are one port: by the gids, and where packets go by lids by these too. */
static void test_path(void **state)
{
	const uint8_t a[VERBS_GID_BYTES] = {0xfe, 0x80, [15] = 1},
		      b[VERBS_GID_BYTES] = {0xfe, 0x80, [15] = 2};
	const struct verbs_end near = {a, 7}, far = {a, 8}, other = {b, 7};

	(void)state;
	assert_true(verbs_ends_are_one(&near, &near, true));
	assert_true(verbs_ends_are_one(&near, &far, false));
	assert_false(verbs_ends_are_one(&near, &far, true));
	assert_false(verbs_ends_are_one(&near, &other, true));
	assert_false(verbs_ends_are_one(&near, &other, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_here), cmocka_unit_test(test_list),
		cmocka_unit_test(test_many), cmocka_unit_test(test_take),
		cmocka_unit_test(test_text), cmocka_unit_test(test_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
