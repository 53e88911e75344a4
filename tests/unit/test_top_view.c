// SPDX-License-Identifier: BSD-3-Clause
/* The screen of `leasehold top`: no line too wide, exactly its rows, what is selected is on it. */
#include "leaks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/top_view.h"

#define EXPORTS 40
#define PID	7

static struct json_object *parse(const char *text)
{
	struct json_object *o = json_tokener_parse(text);

	assert_non_null(o);
	return o;
}

/* e39 is recalled; e20 has the most grants; e05 has a name that is not ASCII and very long. */
static struct json_object *make_export(int i)
{
	char text[1024];

	(void)snprintf(
		text, sizeof(text),
		"{\"name\":\"e%02d%s\",\"path\":\"/mnt/pmem/"
		"e%d\",\"state\":\"%s\",\"why\":\"e%02d: "
		"serves a file with a sentence that is long enough to be cut off at any width\","
		"\"tenure\":\"lease\",\"generation\":%d,\"size_bytes\":%d,\"backed_bytes\":0,"
		"\"grants\":%d,\"clients\":1,\"keys\":3,\"recalls\":1,\"range_recalls\":0,"
		"\"reclaimed\":[{\"offset\":0,\"length\":4096,\"left_ms\":1500}],"
		"\"rungs\":[{\"device\":\"iwarp\",\"rung\":\"pinned\",\"registrations\":1,"
		"\"registered_bytes\":4096,\"why\":\"\"}],"
		"\"last_recall\":{\"generation\":1,\"clients\":2,\"seen_ns\":1000000000,"
		"\"told_ns\":1000000001,\"released_ns\":0,\"fenced_ns\":0,\"drained_ns\":0}}",
		i,
		i == 5 ? "-\xc3\xa4\xc3\xb6\xc3\xbc-0123456789012345678901234567890123456789" : "",
		i, i == 39 ? "recalling" : "serving", i, i + 1, i * 4096, i == 20 ? 99 : 0);
	return parse(text);
}

static struct top_sample sample(uint64_t taken_ns, uint64_t reads, int pid)
{
	struct top_sample s = {.taken_ns = taken_ns};
	struct json_object *exports = json_object_new_array();
	char text[1024];

	(void)snprintf(
		text, sizeof(text),
		"{\"daemon\":{\"version\":\"0\",\"pid\":%d,\"uptime_s\":3,"
		"\"recall_deadline_ms\":1000},\"devices\":[{\"name\":\"iwarp\","
		"\"registrations\":4,\"max_registrations\":9,\"registered_bytes\":4096,"
		"\"max_registered_bytes\":8192}],\"clients\":[{\"cntlid\":1,\"io_queues\":1,"
		"\"direct_queues\":1,\"fabric\":\"iwarp\",\"address\":\"127.0.0.1:4000\","
		"\"hostnqn\":\"nqn.2026-11.org.example:a-host-with-a-name\"}],\"times\":["
		"{\"name\":\"recall_wait\",\"count\":3,\"p50_ns\":1000000,\"p99_ns\":null}]}",
		pid);
	s.status = parse(text);
	for (int i = 0; i < EXPORTS; i++)
		json_object_array_add(exports, make_export(i));
	json_object_object_add(s.status, "exports", exports);
	(void)snprintf(
		text, sizeof(text),
		"{\"nvme_reads\":%llu,\"recalls\":3,\"recalls_fenced\":1,\"exports\":[{\"name\":"
		"\"e00\",\"block_reads\":1},{\"name\":\"e20\",\"block_reads\":%llu,"
		"\"block_errors\":3,\"commits\":4,\"clients_fenced\":2,\"away_ms\":1500}]}",
		(unsigned long long)reads, (unsigned long long)reads * 2);
	s.stats = parse(text);
	s.grants =
		parse("[{\"cntlid\":1,\"offset\":0,\"length\":4096,\"access\":\"read\",\"state\":"
		      "\"granted\",\"durability\":\"commit\",\"hostnqn\":\"nqn.a\"},"
		      "{\"cntlid\":1,\"offset\":8192,\"length\":4096,\"access\":\"read\",\"state\":"
		      "\"granted\",\"durability\":\"commit\",\"hostnqn\":\"nqn.a\"}]");
	return s;
}

struct rig {
	struct top_sample before, now;
	struct top_screen screen;
	struct top_view view;
};

static void setup(struct rig *r)
{
	*r = (struct rig){.before = sample(NS_PER_S, 100, PID),
			  .now = sample(NS_PER_S + NS_PER_S / 2, 600, PID),
			  .view = {.columns = 80, .rows = 24, .interval_ns = 2 * NS_PER_S}};
}

static void teardown(struct rig *r)
{
	top_sample_free(&r->before);
	top_sample_free(&r->now);
	top_screen_free(&r->screen);
}

static void render(struct rig *r)
{
	top_render(&r->view, &r->before, &r->now, &r->screen);
}

static const struct top_line *line_with(const struct rig *r, const char *text)
{
	for (size_t i = 0; i < r->screen.count; i++) {
		if (strstr(r->screen.lines[i].text, text))
			return &r->screen.lines[i];
	}
	return NULL;
}

static void check_lines(const struct top_line *lines, size_t count, size_t columns)
{
	if (!lines) {
		fail();
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const char *text = lines[i].text;

		assert_true(strlen(text) <= columns);
		for (; *text; text++)
			assert_true(*text >= ' ' && *text <= '~');
	}
}

/* At every size and in every view. */
static void test_fits(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	for (unsigned int columns = 1; columns <= TOP_COLUMNS_MAX;
	     columns += columns < 250 ? 1 : 131) {
		for (unsigned int rows = 1; rows <= 70; rows += rows < 30 ? 1 : 20) {
			for (int kind = 0; kind < 4; kind++) {
				r.view.columns = columns;
				r.view.rows = rows;
				r.view.inside = kind == 1;
				r.view.help = kind == 2;
				r.view.stale = kind == 3 ? "no daemon answers at all" : NULL;
				render(&r);
				assert_int_equal(r.screen.count, rows);
				check_lines(r.screen.lines, rows, columns);
			}
		}
	}
	teardown(&r);
}

/* Wherever it is in the list, and however that is sorted, the selected one is seen; once. */
static void test_selected_is_seen(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	render(&r);
	assert_string_equal(r.view.selected, "e00");
	for (int sort = 0; sort < TOP_SORTS; sort++) {
		r.view.sort = (enum top_sort)sort;
		top_move(&r.view, &r.now, -INT32_MAX);
		for (int i = 0; i < EXPORTS + 3; i++) {
			size_t seen = 0;

			render(&r);
			for (size_t k = 0; k < r.screen.count; k++) {
				if (r.screen.lines[k].reverse) {
					assert_memory_equal(r.screen.lines[k].text, r.view.selected,
							    3);
					seen++;
				}
			}
			assert_int_equal(seen, 1);
			top_move(&r.view, &r.now, 1);
		}
	}
	r.view.sort = TOP_BY_GRANTS;
	top_move(&r.view, &r.now, -INT32_MAX);
	assert_string_equal(r.view.selected, "e20");
	r.view.sort = TOP_BY_SIZE;
	top_move(&r.view, &r.now, -INT32_MAX);
	assert_string_equal(r.view.selected, "e39");
	r.view.sort = TOP_BY_STATE;
	top_move(&r.view, &r.now, -INT32_MAX);
	assert_string_equal(r.view.selected, "e39");
	teardown(&r);
}

/* In rows without an end all is there, and nothing is marked: it is for scripts. */
static void test_once(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	r.view.rows = 0;
	render(&r);
	for (int i = 0; i < EXPORTS; i++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "e%02d", i);
		assert_non_null(line_with(&r, name));
	}
	for (size_t i = 0; i < r.screen.count; i++)
		assert_false(r.screen.lines[i].reverse);
	assert_null(line_with(&r, "q quit"));
	teardown(&r);
}

static void test_rates_and_recalls(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	render(&r);
	assert_non_null(line_with(&r, "reads 1000/s")); /* 500 in half a second */
	assert_non_null(line_with(&r, "half <= 1 ms, 99% <= long"));
	assert_non_null(line_with(&r, "registered 4 of 9, 4.0 KiB of 8.0 KiB"));
	assert_non_null(line_with(&r, "RECALL   e39: deadline in 0.5 s; clients were asked, "
				      "2 clients"));
	r.now.taken_ns = 4 * NS_PER_S;
	render(&r);
	assert_non_null(line_with(&r, "e39: deadline 2.0 s ago; "));
	/* Another daemon has counted from the beginning. */
	json_object_object_add(json_object_object_get(r.before.status, "daemon"), "pid",
			       json_object_new_int(PID + 1));
	render(&r);
	assert_non_null(line_with(&r, "reads -, "));
	top_sample_free(&r.before);
	render(&r);
	assert_non_null(line_with(&r, "reads -, "));
	teardown(&r);
}

/* One export: each client once, with all that it holds; and one that has gone. */
static void test_inside(void **state)
{
	struct rig r;

	(void)state;
	setup(&r);
	render(&r);
	r.view.inside = true;
	render(&r);
	assert_non_null(line_with(&r, "e00: /mnt/pmem/e0"));
	assert_non_null(line_with(&r, "RECLAIM  4096 bytes at 0, for another 1.5 s"));
	assert_non_null(line_with(&r, "     1      2    8.0 KiB  nqn.a"));
	assert_non_null(line_with(&r, "            8192"));
	/* Its own rates, and none where it was not counted. */
	assert_non_null(line_with(&r, "block    reads 0/s, 0 B/s   writes 0/s, 0 B/s   errors 0"));
	(void)snprintf(r.view.selected, sizeof(r.view.selected), "e20");
	render(&r);
	assert_non_null(line_with(&r, "block    reads 2000/s, "));
	assert_non_null(line_with(&r, "   errors 3"));
	assert_non_null(line_with(&r, "grants 0/s   fenced 2   away 1.5 s"));
	(void)snprintf(r.view.selected, sizeof(r.view.selected), "e21");
	render(&r);
	assert_non_null(line_with(&r, "block    reads -, -   writes -, -"));
	(void)snprintf(r.view.selected, sizeof(r.view.selected), "gone");
	render(&r);
	assert_non_null(line_with(&r, "gone: is no export any more"));
	teardown(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fits),   cmocka_unit_test(test_selected_is_seen),
		cmocka_unit_test(test_once),   cmocka_unit_test(test_rates_and_recalls),
		cmocka_unit_test(test_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
