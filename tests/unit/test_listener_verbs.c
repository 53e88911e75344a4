// SPDX-License-Identifier: BSD-3-Clause
/*
 * The verbs that add and remove listeners and referrals: what they refuse, in which words, and that a
 * refused request has changed nothing. A target without hosts, on the software fabric.
 */
#include "leaks.h"

#include "control/verbs.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct daemon_config config;
static struct holding_env holdings_env;
static struct fabric *fabric;
static struct admin_env env;

static int setup(void **state)
{
	struct nvme_env nvme = {
		.holdings = &holdings_env,
		.limits = {.queue_depth = 128,
			   .max_io_queues = 4,
			   .max_controllers = 4,
			   .max_connections = 16,
			   .inline_bytes = 4096,
			   .mdts_bytes = MIB(1)},
		.version = "1",
	};
	struct exports_env exports = {.config = &config, .holdings_env = &holdings_env};
	struct errtext err;

	if (leaks_setup(state))
		return -1;
	env = (struct admin_env){.config = &config, .holdings_env = &holdings_env, .version = "1"};
	assert_int_equal(loop_new("control", &env.control), 0);
	exports.control = holdings_env.control = nvme.control = env.control;
	assert_int_equal(iwarp_fabric_open(NULL, &fabric, &err), 0);
	env.fabrics.software = fabric;
	assert_int_equal(nvme_target_new(&nvme, &env.target), 0);
	assert_int_equal(exports_new(&exports, &env.exports), 0);
	return 0;
}

static int teardown(void **state)
{
	nvme_target_free(env.target);
	exports_free(env.exports);
	fabric_close(fabric);
	loop_free(env.control);
	return leaks_teardown(state);
}

/** A port that nobody listens at, most likely. */
static unsigned int free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		fail_msg("no socket: error %d", errno);
		return 0;
	}
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
	(void)close(fd);
	return ntohs(at.sin_port);
}

/** The verb's answer as text in `out`; or what is wrong. */
static int ask(admin_verb_fn *verb, const char *text, char out[4096])
{
	struct json_object *request = json_tokener_parse(text), *result = NULL;
	struct errtext err = {""};
	int rc;

	assert_non_null(request);
	rc = verb(&env, NULL, request, &result, &err);
	(void)snprintf(out, 4096, "%s",
		       rc ? err.text
			  : json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN));
	json_object_put(result);
	json_object_put(request);
	return rc;
}

static void does(admin_verb_fn *verb, const char *request, const char *expected)
{
	char out[4096];

	if (ask(verb, request, out) != 0 || !strstr(out, expected))
		fail_msg("%s: expected %s in %s", request, expected, out);
}

static void refuses(admin_verb_fn *verb, const char *request, const char *expected)
{
	char out[4096], before[4096], after[4096];

	assert_int_equal(ask(admin_listener_list, "{}", before), 0);
	if (ask(verb, request, out) >= 0 || !strstr(out, expected))
		fail_msg("%s: expected %s in %s", request, expected, out);
	assert_int_equal(ask(admin_listener_list, "{}", after), 0);
	assert_string_equal(before, after);
}

#define LISTENER(rest) \
	"{\"v\":1,\"listener\":{\"fabric\":\"iwarp\",\"address\":\"127.0.0.1\"" rest "}}"

static void test_listener_refusals(void **state)
{
	static const struct {
		const char *request, *expected;
	} bad[] = {
		{"{}", "\"listener\" is missing"},
		{"{\"listener\":\"iwarp://127.0.0.1\"}", "\"listener\" is missing"},
		{"{\"listener\":{},\"force\":true}", "unknown key \"force\""},
		{"{\"listener\":{}}", "\"fabric\" is missing"},
		{"{\"listener\":{\"fabric\":\"iwarp\"}}", "\"address\" is missing"},
		{"{\"listener\":{\"fabric\":\"tcp\",\"address\":\"127.0.0.1\"}}",
		 "fabric: expected one of"},
		{"{\"listener\":{\"fabric\":\"verbs\",\"address\":\"127.0.0.1\"}}",
		 "fabric \"verbs\" is not open"},
		{"{\"listener\":{\"fabric\":\"iwarp\",\"address\":\"localhost\"}}",
		 "expected a numeric one"},
		{"{\"listener\":{\"fabric\":\"iwarp\",\"address\":\"\"}}", "must not be empty"},
		{"{\"listener\":{\"fabric\":\"iwarp\",\"address\":\"203.0.113.9\"}}",
		 "no such address"},
		{LISTENER(",\"port\":0"), "port: expected a number from 1 to 65535"},
		{LISTENER(",\"port\":65536"), "not 65536"},
		{LISTENER(",\"port\":\"4420\""), "port: expected a number"},
		{LISTENER(",\"port\":4294971716"), "port: expected a number"},
		{LISTENER(",\"remote_invalidate\":1"), "expected true or false"},
		{LISTENER(",\"ana\":\"lost\""), "ana: expected one of"},
		{LISTENER(",\"ana\":{}"), "ana: expected a text"},
		{LISTENER(",\"ana\":null"), "ana: expected a text"},
		{LISTENER(",\"ana\":[]"), "ana: expected one of"},
		{LISTENER(",\"ana_groups\":1"), "expected a list of groups"},
		{LISTENER(",\"ana_groups\":[1]"), "expected a list of objects"},
		{LISTENER(",\"ana_groups\":[{\"group\":1}]"), "\"state\" is missing"},
		{LISTENER(",\"ana_groups\":[{\"group\":33,\"state\":\"change\"}]"), "1 to 32"},
		{LISTENER(",\"ana_groups\":[{\"group\":1,\"state\":[]}]"), "state: expected"},
		{LISTENER(",\"ana_groups\":[{\"group\":1,\"state\":\"change\"},"
			  "{\"group\":1,\"state\":\"change\"}]"),
		 "group 1 is there already"},
		{LISTENER(",\"backlog\":1"), "unknown key"},
		{LISTENER(",\"a b\":1"), "is no key"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		refuses(admin_listener_add, bad[i].request, bad[i].expected);
}

static void test_listeners(void **state)
{
	unsigned int first = free_port();
	char add[512], again[512];

	(void)state;
	refuses(admin_listener_remove, "{\"listener\":\"1\"}", "there are none");
	(void)snprintf(add, sizeof(add),
		       LISTENER(",\"port\":%u,\"remote_invalidate\":false,\"ana\":\"change\","
				"\"ana_groups\":[{\"group\":2,\"state\":\"inaccessible\"}]"),
		       first);
	does(admin_listener_add, add, "\"port_id\":1,\"listeners\":[{");
	does(admin_listener_list, "{}", "\"state\":\"listening\",\"controllers\":0");
	does(admin_listener_list, "{}", "{\"group\":2,\"state\":\"inaccessible\"}");
	refuses(admin_listener_add, add, "the port is in use");
	refuses(admin_listener_remove, "{}", "\"listener\" is missing");
	refuses(admin_listener_remove, "{\"listener\":1}", "\"listener\" is missing");
	refuses(admin_listener_remove, "{\"listener\":\"2\"}", "there are 1 (127.0.0.1:");
	refuses(admin_listener_remove, "{\"listener\":\"1\",\"disconnect\":0}", "true or false");
	refuses(admin_listener_remove, "{\"listener\":\"1\",\"now\":true}", "unknown key \"now\"");
	(void)snprintf(again, sizeof(again), LISTENER(",\"port\":%u"), free_port());
	does(admin_listener_add, again, "\"port_id\":2");
	does(admin_listener_remove, "{\"listener\":\"1\"}",
	     "\"port_id\":1,\"listeners\":[{\"port_id\":2");
	/* The port is free again, the number is not. */
	does(admin_listener_add, add, "\"port_id\":3");
	(void)snprintf(again, sizeof(again), "{\"listener\":\"127.0.0.1:%u\",\"disconnect\":true}",
		       first);
	does(admin_listener_remove, again, "\"port_id\":3");
	does(admin_listener_remove, "{\"listener\":\"2\",\"disconnect\":false}",
	     "that was the last listener");
	does(admin_listener_list, "{}", "\"listeners\":[]");
}

#define REFERRAL(rest) "{\"referral\":{\"fabric\":\"verbs\",\"address\":\"192.0.2.77\"" rest "}}"

static void test_referrals(void **state)
{
	static const struct {
		const char *request, *expected;
	} bad[] = {
		{"{}", "\"referral\" is missing"},
		{"{\"referral\":{},\"x\":1}", "unknown key"},
		{"{\"referral\":{\"fabric\":\"verbs\"}}", "\"address\" is missing"},
		{"{\"referral\":{\"fabric\":\"verbs\",\"address\":\"example\"}}",
		 "expected the IPv4"},
		{"{\"referral\":{\"fabric\":\"verbs\",\"address\":\"0.0.0.0\"}}",
		 "expected the IPv4"},
		{REFERRAL(",\"nqn\":\"x\""), "expected an NQN"},
		{REFERRAL(",\"port\":0"), "1 to 65535"},
		{REFERRAL(""), "it is there already, with id 1"},
	};
	char many[256];

	(void)state;
	does(admin_referral_list, "{}", "\"referrals\":[]");
	does(admin_referral_add, REFERRAL(""),
	     "{\"id\":1,\"fabric\":\"verbs\",\"address\":\"192.0.2.77\",\"port\":4420,\"nqn\":"
	     "\"nqn.2014-08.org.nvmexpress.discovery\"}");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		refuses(admin_referral_add, bad[i].request, bad[i].expected);
	refuses(admin_referral_list, "{\"x\":1}", "unknown key");
	refuses(admin_referral_remove, "{}", "\"id\" is missing");
	refuses(admin_referral_remove, "{\"id\":\"1\"}", "\"id\" is missing");
	refuses(admin_referral_remove, "{\"id\":0}", "no referral 0");
	refuses(admin_referral_remove, "{\"id\":-1}", "no referral -1");
	refuses(admin_referral_remove, "{\"id\":65537}", "no referral 65537");
	refuses(admin_referral_remove, "{\"id\":2}", "no referral 2");
	does(admin_referral_remove, "{\"id\":1}", "\"referrals\":[]");
	for (unsigned int i = 1; i <= NVME_MAX_REFERRALS; i++) {
		(void)snprintf(many, sizeof(many), REFERRAL(",\"port\":%u"), i);
		does(admin_referral_add, many, "192.0.2.77");
	}
	refuses(admin_referral_add, REFERRAL(",\"port\":99"), "more cannot be");
	does(admin_referral_remove, "{\"id\":17}", "\"id\":16,");
}

/* What looks for the service on the network finds what there is. */
static void test_announced(void **state)
{
	char folder[] = "/tmp/leasehold-verbs-XXXXXX", path[PATH_MAX], add[256];

	(void)state;
	assert_non_null(mkdtemp(folder));
	config.mdns = true;
	(void)snprintf(config.mdns_dir, sizeof(config.mdns_dir), "%s", folder);
	(void)snprintf(config.nqn, sizeof(config.nqn), "n");
	(void)snprintf(path, sizeof(path), "%s/leasehold-n.service", folder);
	(void)snprintf(add, sizeof(add),
		       "{\"listener\":{\"fabric\":\"iwarp\",\"address\":\"0.0.0.0\",\"port\":%u}}",
		       free_port());
	does(admin_listener_add, add, "\"port_id\":1");
	assert_int_equal(access(path, F_OK), 0);
	does(admin_listener_remove, "{\"listener\":\"1\"}", "the last listener");
	assert_int_equal(access(path, F_OK), -1);
	config.mdns = false;
	(void)rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_listener_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_listeners, setup, teardown),
		cmocka_unit_test_setup_teardown(test_referrals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_announced, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
