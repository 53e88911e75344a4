// SPDX-License-Identifier: BSD-3-Clause
/* What a reload plans: from the file as it was, the file as it is, and what runs. */
#include "control/reload_keys.h"
#include "control/reload_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define A	  "{ name = \"a\"; path = \"/x/a\"; }"
#define B(rest)	  "{ name = \"b\"; path = \"/x/b\"; " rest " }"
#define ONE	  "{ fabric = \"iwarp\"; address = \"127.0.0.1\"; }"
#define TWO(rest) "{ fabric = \"iwarp\"; address = \"127.0.0.1\"; port = 4421; " rest " }"
#define FILE_OF(listeners, exports, rest) \
	"listeners = (" listeners "); exports = (" exports ");" rest

static int load(const char *text, struct daemon_config **config, struct errtext *err)
{
	char path[] = "/tmp/leasehold-reload-XXXXXX";
	int fd = mkstemp(path), rc;

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);
	(void)close(fd);
	rc = config_load(path, config, err);
	(void)unlink(path);
	return rc;
}

static struct daemon_config *config_of(const char *text)
{
	struct daemon_config *c;
	struct errtext err;

	if (load(text, &c, &err) != 0)
		fail_msg("%s", err.text);
	for (unsigned int i = 0; i < c->nr_listeners; i++)
		assert_int_equal(listener_look_up(&c->listeners[i], true, &err), 0);
	return c;
}

/** All that the file has runs, as if the daemon had just been started. */
static struct reload_running *started(const struct daemon_config *c)
{
	struct reload_running *now = calloc(1, sizeof(*now));

	assert_non_null(now);
	now->exports = calloc(c->nr_exports + 1, sizeof(*now->exports));
	assert_non_null(now->exports);
	now->config = c;
	now->software = true;
	for (unsigned int i = 0; i < c->nr_exports; i++)
		now->exports[now->nr_exports++] = (struct reload_export){
			.config = &c->exports[i], .nsid = c->exports[i].nsid};
	for (unsigned int i = 0; i < c->nr_listeners; i++) {
		struct reload_listener *l = &now->listeners[now->nr_listeners++];

		l->portid = (uint16_t)(i + 1);
		l->software = c->listeners[i].software;
		l->addr = c->listeners[i].addr;
		memcpy(l->ana_state, c->listeners[i].ana_state, sizeof(l->ana_state));
	}
	for (unsigned int i = 0; i < c->nr_referrals; i++)
		now->referrals[now->nr_referrals++] = (struct reload_referral){
			.id = (uint16_t)(i + 1), .config = c->referrals[i]};
	return now;
}

static void stopped(struct reload_running *now)
{
	free(now->exports);
	free(now);
}

/** The plan, a step a line: "ACT OUTCOME what: text"; what one cares for must be a part of it. */
static void put_plan(const struct reload_plan *plan, char *text, size_t size)
{
	static const char *const acts[] = {"say",	"hosts",     "referral-", "referral+",
					   "listener-", "listener~", "listener+", "export-",
					   "export/",	"export~",   "export+"};
	static const char *const outcomes[] = {"planned", "done", "failed", "stays", "note"};
	size_t used = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < plan->nr_steps; i++) {
		const struct reload_step *s = &plan->steps[i];

		used += (size_t)snprintf(text + used, size - used, "%s %s %s: %s\n", acts[s->act],
					 outcomes[s->outcome], s->what, s->text);
		assert_true(used < size);
	}
}

static void plans(const struct reload_running *now, struct daemon_config *wanted,
		  const char *expected)
{
	struct reload_plan plan;
	struct errtext err;
	char text[8192];

	assert_int_equal(reload_plan_make(now, wanted, &plan, &err), 0);
	put_plan(&plan, text, sizeof(text));
	assert_string_equal(text, expected);
	reload_plan_free(&plan);
}

/** From a daemon that was started with `old` to `new`. */
static void from_to(const char *old, const char *new, const char *expected)
{
	struct daemon_config *c = config_of(old), *w = config_of(new);
	struct reload_running *now = started(c);

	plans(now, w, expected);
	stopped(now);
	config_free(c);
	config_free(w);
}

static void test_nothing_new(void **state)
{
	(void)state;
	from_to(FILE_OF(ONE, A, ""), FILE_OF(ONE, A, ""), "");
	/* Another line, another order, a number that is its place said: the same. */
	from_to(FILE_OF(ONE, A "," B(""), ""), "\n\n" FILE_OF(ONE, A "," B("nsid = 2;"), ""), "");
	from_to(FILE_OF(ONE, A "," B(""), ""), FILE_OF(ONE, B("") "," A, ""), "");
}

static void test_exports(void **state)
{
	(void)state;
	from_to(FILE_OF(ONE, A, ""), FILE_OF(ONE, A "," B(""), ""),
		"export+ planned export b: added\n");
	from_to(FILE_OF(ONE, A "," B(""), ""), FILE_OF(ONE, A, ""),
		"export- planned export b: removed\n");
	/* What goes makes room for what comes. */
	from_to(FILE_OF(ONE, A "," B(""), ""),
		FILE_OF(ONE, A ", { name = \"c\"; path = \"/x/b\"; }", ""),
		"export- planned export b: removed\nexport+ planned export c: added\n");
	from_to(FILE_OF(ONE, A "," B(""), ""),
		FILE_OF(ONE, A "," B("lba = 512; busy = \"wait\"; nsid = 9;"), ""),
		"export~ planned export b: nsid 9, was 2; lba 512, was 4096; busy wait, was "
		"refuse\n");
	from_to(FILE_OF(ONE, A "," B(""), ""),
		FILE_OF(ONE, A "," B("registration = \"odp\"; prepare = \"allocate\";"), ""),
		"export/ planned export b: prepare allocate, was none; registration odp, was "
		"auto\n");
	from_to(FILE_OF(ONE, A "," B(""), ""), FILE_OF(ONE, A "," B("busy = \"wait\";"), ""),
		"say done export b: busy wait, was refuse; from its next start on\n");
	from_to(FILE_OF(ONE, A "," B(""), ""),
		FILE_OF(ONE, A ", { name = \"b\"; path = \"/x/c\"; }", ""),
		"say stays export b: stays as it was (path /x/c, was /x/b): under its name hosts "
		"would find another disk; if that is meant, leasehold export remove, then "
		"leasehold export add --adopt\n");
}

/** The keys that the sentence on an unknown one lists. */
static char *known_keys(const char *text, struct errtext *err)
{
	struct daemon_config *c;
	char *keys;

	assert_int_equal(load(text, &c, err), -EINVAL);
	keys = strstr(err->text, "known here: ");
	assert_non_null(keys);
	return keys + strlen("known here: ");
}

/* Each option counts, and none is left out. */
static void test_every_option(void **state)
{
	static const struct {
		const char *key, *option, *step;
	} all[] = {
		{"name", NULL, NULL},
		{"path", NULL, NULL},
		{"nsid", "nsid = 7;", "export~ planned export b: nsid 7, was 2\n"},
		{"lba", "lba = 512;", "export~ planned export b: lba 512, was 4096\n"},
		{"ana_group", "ana_group = 2;", "export~ planned export b: ana_group 2, was 1\n"},
		{"prepare", "prepare = \"allocate\";",
		 "say done export b: prepare allocate, was none; from its next start on\n"},
		{"unshare", "unshare = \"on-acquire\";",
		 "export~ planned export b: unshare on-acquire, was never\n"},
		{"registration", "registration = \"staged\";",
		 "export/ planned export b: registration staged, was auto\n"},
		{"busy", "busy = \"wait\";",
		 "say done export b: busy wait, was refuse; from its next start on\n"},
		{"tenure", "tenure = \"watch\";",
		 "export~ planned export b: tenure watch, was lease\n"},
		{"refuse", "tenure = \"watch\"; refuse = \"while-granted\";",
		 "export~ planned export b: tenure watch, was lease; refuse while-granted, was "
		 "never\n"},
		{"deallocate", "deallocate = \"advisory\";",
		 "export~ planned export b: deallocate advisory, was punch\n"},
		{"grant_conflict", "grant_conflict = \"deny\";",
		 "export~ planned export b: grant_conflict deny, was recall\n"},
		{"grant_keys", "grant_keys = \"window\";",
		 "export~ planned export b: grant_keys window, was mr\n"},
		{"inbound_writes", "inbound_writes = \"persistent\";",
		 "export~ planned export b: inbound_writes persistent, was unknown\n"},
		{"odp_release", "odp_release = \"at-once\";",
		 "export~ planned export b: odp_release at-once, was after-recall\n"},
		{"sector_atomic", "sector_atomic = \"journal\";",
		 "export~ planned export b: sector_atomic journal, was none\n"},
		{"read_only", "read_only = true;",
		 "export~ planned export b: read_only true, was false\n"},
	};
	struct errtext err;
	char text[512], *key, *rest;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (!all[i].option)
			continue;
		(void)snprintf(text, sizeof(text), FILE_OF(ONE, A "," B("%s"), ""), all[i].option);
		from_to(FILE_OF(ONE, A "," B(""), ""), text, all[i].step);
	}
	rest = known_keys(FILE_OF(ONE, B("nosuch = 1;"), ""), &err);
	while ((key = strtok_r(rest, ", ", &rest)) != NULL) {
		bool found = false;

		for (size_t i = 0; i < ARRAY_SIZE(all); i++)
			found |= strcmp(all[i].key, key) == 0;
		if (!found)
			fail_msg("nobody tried %s", key);
	}
}

/* What admin verbs did stays, but where the file says something new of it. */
static void test_live_exports(void **state)
{
	struct daemon_config *c = config_of(FILE_OF(ONE, A, ""));
	struct daemon_config *live = config_of(FILE_OF(ONE, A "," B("lba = 512;"), ""));
	struct daemon_config *w;
	struct reload_running *now = started(c);

	(void)state;
	now->exports[1] = (struct reload_export){.config = &live->exports[1], .nsid = 5};
	now->nr_exports = 2;
	w = config_of(FILE_OF(ONE, A, ""));
	plans(now, w,
	      "say note export b: was added while the daemon ran, is not in the file, and stays\n");
	config_free(w);
	/* The file has it by now, as it is; or otherwise. */
	w = config_of(FILE_OF(ONE, A "," B("lba = 512;"), ""));
	plans(now, w, "");
	assert_false(w->exports[1].undone);
	config_free(w);
	w = config_of(FILE_OF(ONE, A "," B(""), ""));
	plans(now, w, "export~ planned export b: lba 4096, was 512\n");
	assert_true(w->exports[1].undone);
	config_free(w);
	/* Somebody removed `a`. */
	now->exports[0] = now->exports[1];
	now->nr_exports = 1;
	w = config_of(FILE_OF(ONE, A "," B("lba = 512;"), ""));
	plans(now, w, "say note export a: was removed while the daemon ran, and stays so\n");
	config_free(w);
	w = config_of(FILE_OF(ONE, B("lba = 512;"), ""));
	plans(now, w, "");
	config_free(w);
	stopped(now);
	config_free(live);
	config_free(c);
}

static void test_undone_is_tried_again(void **state)
{
	struct daemon_config *c = config_of(FILE_OF(ONE "," TWO(""), A "," B("lba = 512;"), ""));
	struct daemon_config *w = config_of(FILE_OF(ONE "," TWO(""), A "," B("lba = 512;"), ""));
	struct daemon_config *old = config_of(FILE_OF(ONE, A "," B(""), ""));
	struct reload_running *now = started(c);

	(void)state;
	c->exports[1].undone = true;
	c->listeners[1].undone = true;
	now->nr_listeners = 1;
	now->exports[1].config = &old->exports[1];
	plans(now, w,
	      "listener+ planned listener 127.0.0.1 port 4421 (iwarp): added\n"
	      "export~ planned export b: lba 512, was 4096\n");
	now->nr_exports = 1;
	plans(now, w,
	      "listener+ planned listener 127.0.0.1 port 4421 (iwarp): added\n"
	      "export+ planned export b: added\n");
	stopped(now);
	config_free(old);
	config_free(w);
	config_free(c);
}

static void test_offline_and_changing(void **state)
{
	struct daemon_config *c = config_of(FILE_OF(ONE, A "," B(""), ""));
	struct daemon_config *w =
		config_of(FILE_OF(ONE, A ", { name = \"b\"; path = \"/x/c\"; }", ""));
	struct reload_running *now = started(c);
	struct reload_plan plan = {0};
	struct errtext err;

	(void)state;
	/* Its file was not the one it should be: another one may be. */
	now->exports[1].offline = true;
	plans(now, w, "export+ planned export b: path /x/c, was /x/b\n");
	/* Where the administrator has put it, it stays. */
	now->exports[1].by_admin = true;
	plans(now, w,
	      "say stays export b: stays offline, where the administrator put it, and as it was "
	      "(path /x/c, was /x/b): leasehold export online, then leasehold reload again\n");
	now->exports[1].by_admin = false;
	now->exports[1].changing = true;
	assert_int_equal(reload_plan_make(now, w, &plan, &err), -EBUSY);
	assert_string_equal(err.text,
			    "export b is being added or removed: reload when that has ended");
	assert_null(plan.steps);
	config_free(w);
	/* Of no interest where nothing is to be done with it. */
	w = config_of(FILE_OF(ONE, A "," B(""), ""));
	plans(now, w, "");
	config_free(w);
	stopped(now);
	config_free(c);
}

static void test_listeners(void **state)
{
	(void)state;
	from_to(FILE_OF(ONE, A, ""), FILE_OF(ONE "," TWO(""), A, ""),
		"listener+ planned listener 127.0.0.1 port 4421 (iwarp): added\n");
	from_to(FILE_OF(ONE "," TWO(""), A, ""), FILE_OF(ONE, A, ""),
		"listener- planned listener 127.0.0.1 port 4421 (iwarp): removed\n");
	from_to(FILE_OF(ONE "," TWO(""), A, ""), FILE_OF(ONE "," TWO("ana = \"change\";"), A, ""),
		"listener~ planned listener 127.0.0.1 port 4421 (iwarp): access is as the file has "
		"it\n");
	from_to(FILE_OF(ONE "," TWO(""), A, ""),
		FILE_OF(ONE "," TWO("remote_invalidate = false;"), A, ""),
		"listener- planned listener 127.0.0.1 port 4421 (iwarp): removed, to be added with "
		"other options\n"
		"listener+ planned listener 127.0.0.1 port 4421 (iwarp): added\n");
	/* Of a fabric that is not open. */
	from_to(FILE_OF(ONE, A, ""),
		FILE_OF(ONE ", { fabric = \"verbs\"; address = \"127.0.0.1\"; }", A, ""),
		"say stays listener 127.0.0.1 port 4420 (verbs): stays away until a restart: the "
		"daemon was started without a listener of that fabric\n");
}

static void test_live_listeners(void **state)
{
	struct daemon_config *c = config_of(FILE_OF(ONE, A, ""));
	struct daemon_config *two = config_of(FILE_OF(ONE "," TWO(""), A, ""));
	struct daemon_config *w = config_of(FILE_OF(ONE, A, ""));
	struct reload_running *now = started(two);

	(void)state;
	now->config = c;
	now->exports[0].config = &c->exports[0];
	/* Somebody added the second, and has hosts go elsewhere from the first. */
	now->listeners[0].ana_state[1] = NVME_ANA_INACCESSIBLE;
	plans(now, w,
	      "say note listener 2: was added while the daemon ran, is not in the file, and "
	      "stays\n");
	config_free(w);
	w = config_of(FILE_OF(ONE "," TWO("ana = \"change\";"), A, ""));
	plans(now, w,
	      "listener~ planned listener 127.0.0.1 port 4421 (iwarp): access is as the file has "
	      "it\n");
	config_free(w);
	/* Somebody removed the first. */
	now->nr_listeners = 0;
	w = config_of(FILE_OF(ONE, A, ""));
	plans(now, w,
	      "say note listener 127.0.0.1 port 4420 (iwarp): was removed while the daemon ran, "
	      "and stays so\n");
	config_free(w);
	stopped(now);
	config_free(two);
	config_free(c);
}

static void test_hosts(void **state)
{
	static const char none[] = FILE_OF(ONE, A, "");
	static const char two[] = FILE_OF(ONE, A,
					  "hosts = ( { nqn = \"nqn.2026-11.org.x:a\"; }, { nqn = "
					  "\"nqn.2026-11.org.x:b\"; } );");
	static const char other[] = FILE_OF(ONE, A,
					    "hosts = ( { nqn = \"nqn.2026-11.org.x:b\"; }, { nqn = "
					    "\"nqn.2026-11.org.x:c\"; } );");

	(void)state;
	from_to(two, two, "");
	from_to(none, two, "hosts planned hosts: 2 added, 0 removed\n");
	from_to(two, other, "hosts planned hosts: 1 added, 1 removed\n");
	from_to(two, none, "hosts planned hosts: 0 added, 2 removed\n");
	from_to(none, FILE_OF(ONE, A, "allow_any_host = true;"),
		"say done allow_any_host: true, was false\n"
		"hosts planned hosts: 0 added, 0 removed\n");
}

static void test_referrals(void **state)
{
	static const char one[] = FILE_OF(
		ONE, A, "referrals = ( { fabric = \"verbs\"; address = \"192.0.2.1\"; } );");
	static const char other[] = FILE_OF(
		ONE, A, "referrals = ( { fabric = \"verbs\"; address = \"192.0.2.2\"; } );");

	(void)state;
	from_to(one, one, "");
	from_to(FILE_OF(ONE, A, ""), one,
		"referral+ planned referral of the file's, number 1: added\n");
	from_to(one, other,
		"referral- planned referral 1: removed\n"
		"referral+ planned referral of the file's, number 1: added\n");
}

static void test_keys(void **state)
{
	struct daemon_config *c, *w;
	struct reload_running *now;

	(void)state;
	from_to(FILE_OF(ONE, A, ""),
		FILE_OF(ONE, A,
			"log_level = \"debug\"; reactors = 2; nqn = \"nqn.2026-11.org.example:x\";"
			"max_granted_bytes_per_client = \"4G\"; iwarp = { windows = false; };"
			"limits = { max_connections = 7; bounce_bytes = \"32M\"; };"),
		"say stays nqn: stays \"nqn.2026-11.org.leasehold:target\" until a restart; the "
		"file says \"nqn.2026-11.org.example:x\"\n"
		"say done log_level: \"debug\", was \"info\"\n"
		"say stays reactors: stays 1 until a restart; the file says 2\n"
		"say done max_granted_bytes_per_client: 4294967296, was 0\n"
		"say stays iwarp.windows: stays true until a restart; the file says false\n"
		"say done limits.max_connections: 7, was 1024\n"
		"say stays limits.bounce_bytes: stays 16777216 until a restart; the file says "
		"33554432\n");
	/* More connections than there are receives for. */
	from_to(FILE_OF(ONE, A, "limits = { max_connections = 7; shared_receives = 8; };"),
		FILE_OF(ONE, A, "limits = { max_connections = 8; shared_receives = 9; };"),
		"say stays limits.max_connections: stays 7 until a restart; the file says 8\n"
		"say stays limits.shared_receives: stays 8 until a restart; the file says 9\n");
	c = config_of(FILE_OF(ONE, A, "limits = { max_connections = 7; shared_receives = 8; };"));
	w = config_of(FILE_OF(ONE, A,
			      "log_level = \"debug\"; reactors = 2;"
			      "limits = { max_connections = 8; shared_receives = 9; };"));
	now = started(c);
	now->level_given = true;
	plans(now, w,
	      "say note log_level: the file says \"debug\"; --log-level wins\n"
	      "say stays reactors: stays 1 until a restart; the file says 2\n"
	      "say stays limits.max_connections: stays 7 until a restart; the file says 8\n"
	      "say stays limits.shared_receives: stays 8 until a restart; the file says 9\n");
	reload_keys_take(c, w);
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(c->reactors, 1);
	assert_int_equal(c->limits.max_connections, 7);
	assert_int_equal(c->limits.shared_receives, 8);
	stopped(now);
	config_free(w);
	config_free(c);
}

/** Every key that the sentence on an unknown one lists, but lists and groups. */
static void knows_all(const char *text, const char *prefix)
{
	static const char *const others[] = {"iwarp",	  "limits",    "hosts",
					     "referrals", "listeners", "exports"};
	struct errtext err;
	char *key, *rest = known_keys(text, &err), name[64];
	bool live;

	while ((key = strtok_r(rest, ", ", &rest)) != NULL) {
		bool other = false;

		for (size_t i = 0; i < ARRAY_SIZE(others); i++)
			other |= strcmp(key, others[i]) == 0;
		(void)snprintf(name, sizeof(name), "%s%s", prefix, key);
		if (!other && reload_key_find(name, &live) != 0)
			fail_msg("a reload does not know %s", name);
	}
}

static void test_no_key_is_left_out(void **state)
{
	bool live;

	(void)state;
	knows_all("nosuch = 1;", "");
	knows_all("limits = { nosuch = 1; };", "limits.");
	knows_all("iwarp = { nosuch = 1; };", "iwarp.");
	assert_int_equal(reload_key_find("nosuch", &live), -ENOENT);
	assert_int_equal(reload_key_find("log_level", &live), 0);
	assert_true(live);
	assert_int_equal(reload_key_find("reactors", &live), 0);
	assert_false(live);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_new),
		cmocka_unit_test(test_exports),
		cmocka_unit_test(test_every_option),
		cmocka_unit_test(test_live_exports),
		cmocka_unit_test(test_undone_is_tried_again),
		cmocka_unit_test(test_offline_and_changing),
		cmocka_unit_test(test_listeners),
		cmocka_unit_test(test_live_listeners),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_referrals),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_no_key_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
