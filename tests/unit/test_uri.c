// SPDX-License-Identifier: BSD-3-Clause
/* Targets as people write them: what is understood, and what is refused with a sentence. */
#include "leaks.h"

#include <errno.h>
#include <string.h>

#include "libleasehold/uri.h"

static void test_good(void **state)
{
	static const struct {
		const char *text;
		enum target_fabric fabric;
		const char *host;
		uint16_t port;
		const char *export_name;
		const char *nqn;
		enum target_crc crc;
	} cases[] = {
		{"iwarp://127.0.0.1", TARGET_IWARP, "127.0.0.1", 4420, "", LH_DEFAULT_NQN, 0},
		{"iwarp://127.0.0.1/", TARGET_IWARP, "127.0.0.1", 4420, "", LH_DEFAULT_NQN, 0},
		{"iwarp://127.0.0.1/data", TARGET_IWARP, "127.0.0.1", 4420, "data", LH_DEFAULT_NQN,
		 0},
		{"rdma://storage1:4421/a.b-c_d", TARGET_RDMA, "storage1", 4421, "a.b-c_d",
		 LH_DEFAULT_NQN, 0},
		{"RDMA://storage1/x", TARGET_RDMA, "storage1", 4420, "x", LH_DEFAULT_NQN, 0},
		{"rdma://[::1]/x", TARGET_RDMA, "::1", 4420, "x", LH_DEFAULT_NQN, 0},
		{"rdma://[fe80::1%eth2]:65535/x", TARGET_RDMA, "fe80::1%eth2", 65535, "x",
		 LH_DEFAULT_NQN, 0},
		{"iwarp://h/x?crc=on", TARGET_IWARP, "h", 4420, "x", LH_DEFAULT_NQN, TARGET_CRC_ON},
		{"iwarp://h/x?crc=off&nqn=nqn.2026-11.org.example:disks", TARGET_IWARP, "h", 4420,
		 "x", "nqn.2026-11.org.example:disks", TARGET_CRC_OFF},
		{"iwarp://h?crc=auto", TARGET_IWARP, "h", 4420, "", LH_DEFAULT_NQN,
		 TARGET_CRC_AUTO},
		{"rdma://h/x?nqn=nqn.2014-08.org.nvmexpress%3Auuid%3A1", TARGET_RDMA, "h", 4420,
		 "x", "nqn.2014-08.org.nvmexpress:uuid:1", 0},
		{"rdma://h/x?", TARGET_RDMA, "h", 4420, "x", LH_DEFAULT_NQN, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct target_uri uri;
		struct errtext err = {"not called"};

		if (target_uri_parse(cases[i].text, &uri, &err) != 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		assert_int_equal(uri.fabric, cases[i].fabric);
		assert_string_equal(uri.host, cases[i].host);
		assert_int_equal(uri.port, cases[i].port);
		assert_string_equal(uri.export_name, cases[i].export_name);
		assert_string_equal(uri.nqn, cases[i].nqn);
		assert_int_equal(uri.crc, cases[i].crc);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *text;
		const char *says; /* somewhere in the sentence */
	} cases[] = {
		{"", "is no target"},
		{"data", "is no target"},
		{"http://h/x", "is no target"},
		{"iwarp:/h/x", "is no target"},
		{"iwarp://", "names no host"},
		{"iwarp:///x", "names no host"},
		{"iwarp://:4420/x", "names no host"},
		{"iwarp://[]/x", "names no host"},
		{"iwarp://[::1/x", "closing bracket"},
		{"iwarp://::1/x", "brackets"},
		{"iwarp://[::1]4420/x", "no port"},
		{"iwarp://h:/x", "no port"},
		{"iwarp://h:0/x", "no port"},
		{"iwarp://h:65536/x", "no port"},
		{"iwarp://h:99999999999/x", "no port"},
		{"iwarp://h:44a/x", "no port"},
		{"iwarp://h:-1/x", "no port"},
		{"iwarp://h/-x", "no export name"},
		{"iwarp://h/a/b", "no export name"},
		{"iwarp://h/a b", "no export name"},
		{"iwarp://h/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		 "no export name"},
		{"iwarp://h/x?crc", "write it as"},
		{"iwarp://h/x?crc=maybe", "auto, on or off"},
		{"rdma://h/x?crc=on", "iwarp://"},
		{"iwarp://h/x?crc=on&crc=off", "crc= is there twice"},
		{"iwarp://h/x?crc=auto&nqn=" LH_DEFAULT_NQN "&crc=auto", "crc= is there twice"},
		{"iwarp://h/x?nqn=" LH_DEFAULT_NQN "&nqn=" LH_DEFAULT_NQN, "nqn= is there twice"},
		{"iwarp://h/x?nqn=", "no NQN"},
		{"iwarp://h/x?nqn=disk", "no NQN"},
		{"iwarp://h/x?nqn=nqn.2026-11.org.example:a%1B[2J", ":a?[2J\" is no NQN"},
		{"iwarp://h/x?nqn=nqn.2026-11.org.example:a%FF", "is no NQN"},
		{"iwarp://h/x?nqn=%", "bad %XX"},
		{"iwarp://h/x?nqn=%0", "bad %XX"},
		{"iwarp://h/x?nqn=%00", "bad %XX"},
		{"iwarp://h/x?nqn=%zz", "bad %XX"},
		{"iwarp://h/x?depth=3", "not known"},
		{"iwarp://h/x?&crc=on", "write it as"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct target_uri uri = {.port = 1};
		struct errtext err = {""};

		if (target_uri_parse(cases[i].text, &uri, &err) != -EINVAL)
			fail_msg("\"%s\" was understood", cases[i].text);
		if (!strstr(err.text, cases[i].says))
			fail_msg("\"%s\": \"%s\" does not say \"%s\"", cases[i].text, err.text,
				 cases[i].says);
		assert_int_equal(uri.port, 1); /* nothing is written */
	}
}

static void test_long(void **state)
{
	char text[2048] = "iwarp://";
	struct target_uri uri;
	struct errtext err;

	(void)state;
	memset(text + 8, 'h', 256);
	memcpy(text + 8 + 256, "/x", 3);
	assert_int_equal(target_uri_parse(text, &uri, &err), -EINVAL);
	memcpy(text + 8 + 255, "/x", 3);
	assert_int_equal(target_uri_parse(text, &uri, &err), 0);
	strcpy(text, "iwarp://h/x?nqn=");
	memset(text + strlen(text), 'n', 1500);
	assert_int_equal(target_uri_parse(text, &uri, &err), -EINVAL);
	/* The longest NQN, and one longer. */
	strcpy(text, "iwarp://h/x?nqn=nqn.2026-11.");
	memset(text + 28, 'n', 223 - 12);
	text[16 + 223] = '\0';
	assert_int_equal(target_uri_parse(text, &uri, &err), 0);
	assert_int_equal(strlen(uri.nqn), 223);
	text[16 + 223] = 'n';
	text[16 + 224] = '\0';
	assert_int_equal(target_uri_parse(text, &uri, &err), -EINVAL);
}

static void test_address(void **state)
{
	struct target_uri uri;
	char text[300];

	(void)state;
	assert_int_equal(target_uri_parse("rdma://[::1]:4421/x", &uri, NULL), 0);
	target_uri_address(&uri, text, sizeof(text));
	assert_string_equal(text, "[::1]:4421");
	assert_int_equal(target_uri_parse("rdma://10.0.0.1/x", &uri, NULL), 0);
	target_uri_address(&uri, text, sizeof(text));
	assert_string_equal(text, "10.0.0.1:4420");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
