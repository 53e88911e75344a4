// SPDX-License-Identifier: BSD-3-Clause
/* The configuration file: what is read, and that each mistake is told with its line and key. */
#include "control/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTENERS "listeners = ( { fabric = \"iwarp\"; address = \"127.0.0.1\"; } );\n"
#define EXPORTS	  "exports = ( { name = \"a\"; path = \"/tmp/a\"; } );\n"

/** Loads `text` from a file named "conf" in a fresh folder. */
static int load(const char *text, struct daemon_config **config, struct errtext *err)
{
	char folder[] = "/tmp/leasehold-config-XXXXXX";
	char path[64];
	FILE *f;
	int rc;

	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/conf", folder);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	rc = config_load(path, config, err);
	(void)unlink(path);
	(void)rmdir(folder);
	return rc;
}

static void refuse(const char *text, const char *expected)
{
	struct daemon_config *config = NULL;
	struct errtext err = {""};

	assert_int_equal(load(text, &config, &err), -EINVAL);
	assert_null(config);
	if (!strstr(err.text, expected))
		fail_msg("expected \"%s\" in \"%s\"", expected, err.text);
}

static void test_defaults(void **state)
{
	struct daemon_config *c;
	struct errtext err;

	(void)state;
	assert_int_equal(load(LISTENERS EXPORTS, &c, &err), 0);
	assert_string_equal(c->nqn, LH_DEFAULT_NQN);
	assert_int_equal(c->nr_listeners, 1);
	assert_true(c->listeners[0].software);
	assert_int_equal(c->listeners[0].port, NVME_RDMA_PORT);
	assert_int_equal(c->nr_exports, 1);
	assert_string_equal(c->exports[0].path, "/tmp/a");
	assert_int_equal(c->exports[0].nsid, 1);
	assert_int_equal(c->exports[0].lba_bytes, 4096);
	assert_int_equal(c->exports[0].ana_group, 1);
	assert_int_equal(c->exports[0].tenure, TENURE_LEASE);
	assert_false(c->exports[0].refuse_while_granted);
	assert_false(c->exports[0].inbound_persistent);
	assert_false(c->exports[0].sector_atomic);
	assert_int_equal(c->exports[0].unshare, EXPORT_UNSHARE_NEVER);
	assert_int_equal(c->listeners[0].ana_state[1], NVME_ANA_OPTIMIZED);
	assert_int_equal(c->limits.ana_transition_s, 10);
	assert_int_equal(c->limits.controllers_per_host, NVME_DEFAULT_PER_HOST);
	assert_int_equal(c->recall_deadline_ms, GRANT_DEFAULT_DEADLINE_MS);
	assert_int_equal(c->max_grants_per_client, GRANT_DEFAULT_MAX_PER_CLIENT);
	assert_int_equal(c->max_grants_per_export, GRANT_DEFAULT_MAX_PER_EXPORT);
	assert_int_equal(c->max_grants_per_host, GRANT_DEFAULT_MAX_PER_HOST);
	assert_int_equal(c->max_registrations_per_adapter, GRANT_DEFAULT_MAX_REGISTERED);
	assert_int_equal(c->max_registered_bytes_per_adapter, GRANT_DEFAULT_MAX_REGISTERED);
	assert_int_equal(c->max_granted_bytes_per_client, GRANT_DEFAULT_MAX_BYTES);
	assert_int_equal(c->max_registrations_per_second, GRANT_DEFAULT_MAX_REGISTRATIONS);
	assert_int_equal(c->allocate_reserve_percent, EXPORT_DEFAULT_RESERVE_PERCENT);
	assert_false(c->iwarp.no_windows);
	config_free(c);
}

static void test_everything_said(void **state)
{
	static const char text[] =
		"nqn = \"nqn.2026-11.org.example:x\"; reactors = 2; worker_threads = 8;\n"
		"busy_poll_us = 0; recall_deadline_ms = 250; grant_expiry_ms = 5000;\n"
		"allocate_reserve_percent = 0; max_grants_per_client = 7;\n"
		"max_grants_per_export = 16777216; max_grants_per_host = 8;\n"
		"max_registrations_per_adapter = 9; max_registered_bytes_per_adapter = \"1M\";"
		"max_granted_bytes_per_client = \"64G\"; max_registrations_per_second = 0;\n"
		"log_level = \"debug\"; runtime_dir = \"/tmp/r\"; state_dir = \"/s\";\n"
		"iwarp = { crc = \"on\"; memory = \"odp\"; windows = false; };\n"
		"limits = { queue_depth = 64; inline_bytes = 8192; bounce_bytes = \"64M\";\n"
		"  shared_receives = 4096; max_controllers = 64; };\n"
		"listeners = ( { fabric = \"verbs\"; address = \"::\"; port = 4421;\n"
		"  remote_invalidate = false; ana = \"inaccessible\";\n"
		"  ana_groups = ( { group = 2; state = \"optimized\"; } ); } );\n"
		"ana_transition_s = 30;\n"
		"exports = ( { name = \"b\"; path = \"/b\"; nsid = 7; lba = 512;\n"
		"  prepare = \"allocate\"; registration = \"odp\"; busy = \"wait\";\n"
		"  ana_group = 2; tenure = \"watch\"; refuse = \"while-granted\";\n"
		"  read_only = true; deallocate = \"advisory\"; grant_conflict = \"deny\";\n"
		"  grant_keys = \"window\"; odp_release = \"at-once\"; sector_atomic = "
		"\"journal\";\n"
		"  inbound_writes = \"persistent\"; unshare = \"on-acquire\"; } );\n";
	struct daemon_config *c;
	struct errtext err;

	(void)state;
	assert_int_equal(load(text, &c, &err), 0);
	assert_int_equal(c->reactors, 2);
	assert_int_equal(c->allocate_reserve_percent, 0);
	assert_int_equal(c->max_grants_per_client, 7);
	assert_int_equal(c->max_grants_per_export, 16777216);
	assert_int_equal(c->max_grants_per_host, 8);
	assert_int_equal(c->max_registrations_per_adapter, 9);
	assert_int_equal(c->max_registered_bytes_per_adapter, MIB(1));
	assert_int_equal(c->max_granted_bytes_per_client, GIB(64));
	assert_int_equal(c->max_registrations_per_second, 0);
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
	assert_string_equal(c->admin_socket, "/tmp/r/admin.sock");
	assert_int_equal(c->runtime_dir_line, 6);
	assert_string_equal(c->state_dir, "/s");
	assert_int_equal(c->iwarp.crc, IWARP_CRC_ON);
	assert_int_equal(c->iwarp.memory, IWARP_MEMORY_ODP);
	assert_true(c->iwarp.no_windows);
	assert_int_equal(c->limits.bounce_bytes, MIB(64));
	assert_int_equal(c->limits.shared_receives, 4096);
	assert_int_equal(c->limits.controllers_per_host, 64); /* no more than there are */
	assert_false(c->listeners[0].software);
	assert_true(c->listeners[0].no_invalidate);
	assert_int_equal(c->listeners[0].ana_state[1], NVME_ANA_INACCESSIBLE);
	assert_int_equal(c->listeners[0].ana_state[2], NVME_ANA_OPTIMIZED);
	assert_int_equal(c->listeners[0].ana_state[NVME_MAX_ANA_GROUPS], NVME_ANA_INACCESSIBLE);
	assert_int_equal(c->limits.ana_transition_s, 30);
	assert_int_equal(c->exports[0].ana_group, 2);
	assert_true(c->exports[0].advisory_deallocate);
	assert_true(c->exports[0].deny_conflicts);
	assert_true(c->exports[0].windows);
	assert_int_equal(c->exports[0].nsid, 7);
	assert_int_equal(c->exports[0].prepare, EXPORT_PREPARE_ALLOCATE);
	assert_int_equal(c->exports[0].unshare, EXPORT_UNSHARE_ON_ACQUIRE);
	assert_int_equal(c->exports[0].registration, REGION_ODP);
	assert_true(c->exports[0].wait_if_busy);
	assert_int_equal(c->exports[0].tenure, TENURE_WATCH);
	assert_true(c->exports[0].refuse_while_granted);
	assert_true(c->exports[0].read_only);
	assert_true(c->exports[0].inbound_persistent);
	assert_true(c->exports[0].sector_atomic);
	config_free(c);
}

static void test_mistakes_name_line_and_key(void **state)
{
	(void)state;
	refuse(EXPORTS, "\"listeners\" is missing");
	refuse(LISTENERS, "\"exports\" is missing");
	refuse("state_dir = \"\";\n" LISTENERS
	       "exports = ( { name = \"a\"; path = \"/a\"; prepare = \"allocate\"; } );\n",
	       "conf:3: prepare = \"allocate\" needs a state_dir");
	refuse(LISTENERS EXPORTS "colour = 3;\n", "conf:3: colour: unknown key; known here: nqn");
	refuse(LISTENERS EXPORTS "reactors = \"two\";\n", "conf:3: reactors: expected a number");
	refuse(LISTENERS EXPORTS "max_granted_bytes_per_client = 4095;\n",
	       "conf:3: max_granted_bytes_per_client: expected 0, for no limit, or at least 4096");
	refuse(LISTENERS EXPORTS "max_grants_per_export = 16777217;\n",
	       "conf:3: max_grants_per_export: expected a number from 1 to 16777216");
	refuse(LISTENERS EXPORTS "max_registered_bytes_per_adapter = 1048575;\n",
	       "conf:3: max_registered_bytes_per_adapter: expected 0, for no limit, or at least "
	       "1048576, not 1048575");
	refuse(LISTENERS EXPORTS "max_grants_per_host = 0;\n",
	       "conf:3: max_grants_per_host: expected a number from 1 to 16777216");
	refuse(LISTENERS EXPORTS "max_registrations_per_second = 1000001;\n",
	       "conf:3: max_registrations_per_second: expected a number from 0 to 1000000");
	refuse(LISTENERS EXPORTS "reactors = 0;\n",
	       "conf:3: reactors: expected a number from 1 to");
	refuse(LISTENERS EXPORTS "allocate_reserve_percent = 100;\n",
	       "conf:3: allocate_reserve_percent: expected a number from 0 to 99");
	refuse(LISTENERS EXPORTS "reactors = -1;\n", "not -1");
	refuse(LISTENERS EXPORTS "nqn = \"x\";\n", "conf:3: nqn: expected an NQN");
	refuse(LISTENERS EXPORTS "nqn = \"" NVME_DISCOVERY_NQN "\";\n",
	       "conf:3: nqn: \"" NVME_DISCOVERY_NQN "\" is what every discovery service");
	refuse(LISTENERS EXPORTS "iwarp = 3;\n", "conf:3: iwarp: expected a group");
	refuse(LISTENERS EXPORTS "iwarp = { windows = 1; };\n", "windows: expected true or false");
	refuse(LISTENERS EXPORTS "log_level = \"loud\";\n", "expected one of \"error\"");
	refuse(LISTENERS EXPORTS "limits = { mdts_bytes = 12288; };\n", "expected a power of two");
	refuse(LISTENERS EXPORTS "limits = { mdts_bytes = 4096; };\n",
	       "conf:3: mdts_bytes: expected a number from 8192 to 8388608, not 4096");
	refuse(LISTENERS EXPORTS "limits = { inline_bytes = 0; };\n",
	       "conf:3: inline_bytes: expected a number from 1024 to 16384, not 0");
	refuse(LISTENERS EXPORTS "limits = { inline_bytes = 1032; };\n",
	       "expected a multiple of 16");
	refuse(LISTENERS EXPORTS "limits = { queue_depth = 31; };\n",
	       "conf:3: queue_depth: expected a number from 32 to 1024, not 31");
	refuse(LISTENERS EXPORTS "limits = { controllers_per_host = 0; };\n", "from 1 to 65519");
	refuse(LISTENERS EXPORTS "limits = { controllers_per_host = 257; };\n",
	       "expected at most max_controllers, which is 256, not 257");
	refuse(LISTENERS EXPORTS "limits = { shared_receives = 65537; };\n", "from 0 to 65536");
	refuse(LISTENERS EXPORTS "limits = { max_connections = 500; shared_receives = 500; };\n",
	       "conf:3: shared_receives: expected 0, or more than max_connections, which is 500");
	refuse(LISTENERS EXPORTS "limits = { bounce_bytes = \"12x\"; };\n", "expected a size");
	refuse(LISTENERS "exports = ( { name = \"a\" } );\n",
	       "conf:2: the key \"path\" is missing");
	refuse(LISTENERS "exports = ( { name = \"-a\"; path = \"/a\" } );\n", "name \"-a\"");
	refuse(LISTENERS "exports = ( { name = \"a\"; path = \"a\" } );\n", "absolute path");
	refuse(LISTENERS
	       "exports = ( { name = \"a\"; path = \"/a\"; inbound_writes = \"yes\"; } );\n",
	       "inbound_writes: expected one of \"unknown\", \"persistent\", not \"yes\"");
	refuse(LISTENERS "exports = ( { name = \"a\"; path = \"/a\"; sector_atomic = true; } );\n",
	       "sector_atomic: expected one of \"none\", \"journal\"");
	refuse(LISTENERS "exports = ( { name = \"a\"; path = \"/a\"; unshare = \"always\"; } );\n",
	       "conf:2: unshare: expected one of \"never\", \"on-acquire\", not \"always\"");
	refuse(LISTENERS "exports = ( { name = \"a\"; path = \"/a\"; lba = 1000; } );\n",
	       "expected 512 or 4096");
	refuse(LISTENERS "exports = ( { name = \"a\"; path = \"/a\"; },\n"
			 " { name = \"a\"; path = \"/b\"; } );\n",
	       "conf:3: name \"a\" is used already at line 2");
	refuse(LISTENERS "exports = ( { name = \"a\"; path = \"/a\"; nsid = 2; },\n"
			 " { name = \"b\"; path = \"/b\"; } );\n",
	       "nsid 2 is used already");
	refuse(LISTENERS "exports = ( 3 );\n", "expected a group");
	refuse(LISTENERS "exports = ( );\n", "expected a list of groups");
	refuse("listeners = ( { fabric = \"tcp\"; address = \"x\"; } );\n" EXPORTS,
	       "conf:1: fabric: expected one of \"verbs\", \"iwarp\", not \"tcp\"");
	refuse("listeners = ( { fabric = \"iwarp\"; address = \"x\"; },\n"
	       "{ fabric = \"verbs\"; address = \"x\"; },\n"
	       "{ fabric = \"iwarp\"; address = \"x\"; } );\n" EXPORTS,
	       ":3: address \"x\", port 4420: listened on already, by line 1");
	refuse("listeners = ( { fabric = \"iwarp\"; address = \"x\"; port = 70000; } );\n" EXPORTS,
	       "conf:1: port: expected a number from 1 to 65535, not 70000");
	refuse("listeners = ( { fabric = \"iwarp\"; address = \"x\"; ana = \"lost\"; } "
	       ");\n" EXPORTS,
	       "conf:1: ana: expected one of \"optimized\", \"non-optimized\"");
	refuse("listeners = ( { fabric = \"iwarp\"; address = \"x\"; ana_groups = 1; } "
	       ");\n" EXPORTS,
	       "conf:1: ana_groups: expected a list");
	refuse("listeners = ( { fabric = \"iwarp\"; address = \"x\";\n"
	       "  ana_groups = ( { group = 33; state = \"change\"; } ); } );\n" EXPORTS,
	       "conf:2: group: expected a number from 1 to 32, not 33");
	refuse("listeners = ( { fabric = \"iwarp\"; address = \"x\";\n"
	       "  ana_groups = ( { group = 3; state = \"change\"; },\n"
	       "    { group = 3; state = \"change\"; } ); } );\n" EXPORTS,
	       "conf:3: group 3 is there already");
	refuse("listeners = ( { fabric = \"iwarp\"; address = \"x\";\n"
	       "  ana_groups = ( { group = 3; } ); } );\n" EXPORTS,
	       "conf:2: the key \"state\" is missing");
	refuse(LISTENERS "exports = ( { name = \"a\"; path = \"/a\"; ana_group = 0; } );\n",
	       "ana_group: expected a number from 1 to 32, not 0");
	refuse(LISTENERS EXPORTS "ana_transition_s = 0;\n", "ana_transition_s: expected a number");
	refuse("listeners = (\n", "conf:");
}

/* What libconfig would cut to 32 bits without a word. */
static void test_numbers_too_large(void **state)
{
	struct daemon_config *c;
	struct errtext err;

	(void)state;
	refuse(LISTENERS EXPORTS "recall_deadline_ms = 4294968296;\n",
	       "conf:3: recall_deadline_ms: 4294968296 is too large a number");
	refuse(LISTENERS EXPORTS "reactors = 4294967297;\n", "conf:3: reactors: 4294967297 is");
	refuse(LISTENERS EXPORTS "recall_deadline_ms = 9999999999;\n", "9999999999 is too large");
	refuse(LISTENERS EXPORTS "reactors = 0x100000001;\n", "reactors: 0x100000001 is");
	refuse(LISTENERS EXPORTS "reactors = 2147483648;\n", "2147483648 is");
	refuse(LISTENERS EXPORTS "reactors = 2147483647;\n", "1 to 64, not 2147483647");
	refuse(LISTENERS EXPORTS "reactors = -4294967295;\n", "reactors: -4294967295 is");
	refuse(LISTENERS EXPORTS "reactors = 4294967297L;\n", "1 to 64, not 4294967297");
	refuse(LISTENERS EXPORTS "reactors = 18446744073709551617L;\n", "18446744073709551617L is");
	refuse(LISTENERS EXPORTS "limits : { bounce_bytes = 4294967296; };\n",
	       "conf:3: bounce_bytes: 4294967296 is too large a number; a size may be written as");
	refuse(LISTENERS "exports = ( { name = \"a\"; path = \"/a\";\n nsid = 4294967297; } );\n",
	       "conf:3: nsid: 4294967297 is");
	refuse("listeners = ( { fabric = \"iwarp\"; address = \"x\"; port = 4294971716; } "
	       ");\n" EXPORTS,
	       "conf:1: port: 4294971716 is");
	/* No numbers. */
	assert_int_equal(
		load("# 4294967297\n// 4294967297\n/* 4294967297\n */" LISTENERS
		     "exports = ( { name = \"a4294967297\"; path = \"/a\\\" 4294967297\"; } "
		     ");\nlimits = { bounce_bytes = 4294967296L; };",
		     &c, &err),
		0);
	assert_int_equal(c->limits.bounce_bytes, GIB(4));
	config_free(c);
}

static void test_deadline_over_budget(void **state)
{
	uint32_t longest_ms = grant_longest_deadline_ms();
	struct daemon_config *c;
	struct errtext err;
	char text[512];

	(void)state;
	assert_true(longest_ms > 0);
	if (longest_ms >= 600000)
		skip();
	(void)snprintf(text, sizeof(text), LISTENERS EXPORTS "recall_deadline_ms = %u;\n",
		       longest_ms + 1);
	refuse(text, "conf:3: recall_deadline_ms: ");
	refuse(text, "more than a quarter of fs.lease-break-time");
	(void)snprintf(text, sizeof(text), LISTENERS EXPORTS "recall_deadline_ms = %u;\n",
		       longest_ms);
	assert_int_equal(load(text, &c, &err), 0);
	config_free(c);
}

/* As many as there may be, last ones first; each a line. */
static void write_hosts(char *text, size_t size, unsigned int n, const char *more)
{
	size_t used = (size_t)snprintf(text, size, "%shosts = (\n", LISTENERS EXPORTS);

	for (unsigned int i = n; i > 0; i--)
		used += (size_t)snprintf(text + used, size - used,
					 "{ nqn = \"nqn.2026-11.org.x:%06u\"; }%s\n", i,
					 i > 1 || *more ? "," : "");
	(void)snprintf(text + used, size - used, "%s);\n", more);
}

static void refuse_many_hosts(void)
{
	const size_t size = 64 * (NVME_MAX_HOSTS + 64);
	char *text = malloc(size), nqn[NVME_NQN_BYTES];
	struct daemon_config *c;
	struct errtext err;

	assert_non_null(text);
	write_hosts(text, size, NVME_MAX_HOSTS, "");
	assert_int_equal(load(text, &c, &err), 0);
	assert_int_equal(c->nr_hosts, NVME_MAX_HOSTS);
	for (unsigned int i = 0; i < NVME_MAX_HOSTS; i++) {
		(void)snprintf(nqn, sizeof(nqn), "nqn.2026-11.org.x:%06u", i + 1);
		assert_string_equal(c->hosts[i], nqn);
	}
	config_free(c);
	write_hosts(text, size, NVME_MAX_HOSTS + 1, "");
	refuse(text, "conf:3: hosts: ");
	write_hosts(text, size, NVME_MAX_HOSTS - 1, "{ nqn = \"nqn.2026-11.org.x:000007\"; }");
	refuse(text, "conf:4099: nqn \"nqn.2026-11.org.x:000007\": is there already");
	free(text);
}

static void test_discovery(void **state)
{
	const struct sockaddr_in6 *in6;
	const struct sockaddr_in *in;
	struct daemon_config *c;
	struct errtext err;

	(void)state;
	assert_int_equal(load(LISTENERS EXPORTS, &c, &err), 0);
	assert_int_equal(c->nr_referrals, 0);
	assert_false(c->mdns);
	assert_string_equal(c->mdns_dir, "/etc/avahi/services");
	config_free(c);
	assert_int_equal(load(LISTENERS EXPORTS "mdns = true; mdns_dir = \"/tmp/m\";\n"
						"referrals = ( { fabric = \"iwarp\"; address = "
						"\"192.0.2.1\"; },\n { fabric = \"verbs\"; "
						"address = \"2001:db8::1\"; port = 8009;\n"
						"  nqn = \"nqn.2026-11.org.example:d\"; } );\n",
			      &c, &err),
			 0);
	assert_true(c->mdns);
	assert_string_equal(c->mdns_dir, "/tmp/m");
	assert_int_equal(c->nr_referrals, 2);
	in = (const void *)&c->referrals[0].addr;
	assert_true(c->referrals[0].software);
	assert_int_equal(in->sin_family, AF_INET);
	assert_int_equal(ntohl(in->sin_addr.s_addr), 0xc0000201);
	assert_int_equal(ntohs(in->sin_port), NVME_RDMA_PORT);
	assert_string_equal(c->referrals[0].nqn, NVME_DISCOVERY_NQN);
	in6 = (const void *)&c->referrals[1].addr;
	assert_false(c->referrals[1].software);
	assert_int_equal(in6->sin6_family, AF_INET6);
	assert_int_equal(ntohs(in6->sin6_port), 8009);
	assert_string_equal(c->referrals[1].nqn, "nqn.2026-11.org.example:d");
	config_free(c);
	refuse(LISTENERS EXPORTS "mdns = 1;\n", "conf:3: mdns: expected true or false");
	refuse(LISTENERS EXPORTS "hosts = ( \"nqn.x\" );\n", "expected a group");
	refuse(LISTENERS EXPORTS "hosts = ( { nqn = \"me\"; } );\n", "nqn \"me\": expected an NQN");
	refuse(LISTENERS EXPORTS "hosts = ( { nqn = \"nqn.2026-11.org.x:a\"; },\n"
				 "{ nqn = \"nqn.2026-11.org.x:a\"; } );\n",
	       "conf:4: nqn \"nqn.2026-11.org.x:a\": is there already");
	refuse_many_hosts();
	refuse(LISTENERS EXPORTS "referrals = 1;\n", "conf:3: referrals: expected a list");
	refuse(LISTENERS EXPORTS "referrals = ( { address = \"192.0.2.1\"; } );\n",
	       "the key \"fabric\" is missing");
	refuse(LISTENERS EXPORTS
	       "referrals = ( { fabric = \"verbs\"; address = \"storage\"; } );\n",
	       "conf:3: address \"storage\": expected the IPv4 or IPv6 address");
	refuse(LISTENERS EXPORTS
	       "referrals = ( { fabric = \"verbs\"; address = \"0.0.0.0\"; } );\n",
	       "address \"0.0.0.0\"");
	refuse(LISTENERS EXPORTS
	       "referrals = ( { fabric = \"verbs\"; address = \"::1\"; nqn = \"x\"; } );\n",
	       "nqn \"x\": expected an NQN");
}

/* As many exports as there can be namespaces, and no more. */
static void test_many_exports(void **state)
{
	struct daemon_config *config;
	struct errtext err;
	char path[] = "/tmp/leasehold-conf-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	for (unsigned int n = NVME_MAX_NAMESPACES; n <= NVME_MAX_NAMESPACES + 1; n++) {
		FILE *file = fopen(path, "w");

		assert_non_null(file);
		(void)fputs(LISTENERS "exports = (", file);
		for (unsigned int i = 0; i < n; i++)
			(void)fprintf(file, "%s{ name = \"e%u\"; path = \"/e%u\"; }", i ? "," : "",
				      i, i);
		(void)fputs(");\n", file);
		assert_int_equal(fclose(file), 0);
		if (n == NVME_MAX_NAMESPACES) {
			assert_int_equal(config_load(path, &config, &err), 0);
			assert_int_equal(config->nr_exports, n);
			config_free(config);
		} else {
			assert_int_equal(config_load(path, &config, &err), -EINVAL);
			assert_non_null(strstr(err.text, "exports: expected at most 1000 entries, "
							 "not 1001"));
		}
	}
	(void)close(fd);
	(void)unlink(path);
}

static void test_missing_file(void **state)
{
	struct daemon_config *config;
	struct errtext err;

	(void)state;
	assert_int_equal(config_load("/nonexistent/leaseholdd.conf", &config, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/leaseholdd.conf: cannot be read"));
	assert_int_equal(config_load("/tmp", &config, &err), -EISDIR);
	assert_non_null(strstr(err.text, "/tmp: is a directory"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_everything_said),
		cmocka_unit_test(test_mistakes_name_line_and_key),
		cmocka_unit_test(test_numbers_too_large),
		cmocka_unit_test(test_deadline_over_budget),
		cmocka_unit_test(test_discovery),
		cmocka_unit_test(test_many_exports),
		cmocka_unit_test(test_missing_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
