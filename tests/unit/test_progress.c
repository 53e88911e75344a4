// SPDX-License-Identifier: BSD-3-Clause
/* Numbers for people, the progress line, the nearest word. */
#include "leaks.h"

#include <string.h>

#include "cli/progress.h"
#include "cli/suggest.h"

static void test_bytes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.0 KiB"},
		{1536, "1.5 KiB"},
		{102400, "100 KiB"},
		{1048575, "1.0 MiB"},
		{MIB(256), "256 MiB"},
		{GIB(1), "1.0 GiB"},
		{UINT64_MAX, "16.0 EiB"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[PROGRESS_TEXT_BYTES];

		progress_bytes(cases[i].bytes, text);
		assert_string_equal(text, cases[i].text);
	}
}

static void test_rate_and_time(void **state)
{
	char text[PROGRESS_TEXT_BYTES];

	(void)state;
	progress_rate(MIB(100), NS_PER_S, text);
	assert_string_equal(text, "100 MiB/s");
	progress_rate(1, 0, text);
	assert_string_equal(text, "-");
	progress_time(0, text);
	assert_string_equal(text, "0 ms");
	progress_time(850 * NS_PER_MS, text);
	assert_string_equal(text, "850 ms");
	progress_time(12 * NS_PER_S, text);
	assert_string_equal(text, "12 s");
	progress_time(187 * NS_PER_S, text);
	assert_string_equal(text, "3:07");
	progress_time(8100 * NS_PER_S, text);
	assert_string_equal(text, "2:15:00");
	progress_time(UINT64_MAX, text);
	assert_true(strlen(text) < PROGRESS_TEXT_BYTES);
}

static void test_line(void **state)
{
	static const uint64_t totals[] = {0, 1, 4096, GIB(3), UINT64_MAX};
	char line[256];

	(void)state;
	progress_line("put", MIB(64), MIB(256), NS_PER_S, 80, line, sizeof(line));
	assert_non_null(strstr(line, " 25%"));
	assert_non_null(strstr(line, "3 s left"));
	assert_true(strlen(line) <= 80);
	/* Never wider than the terminal, whatever the numbers. */
	for (size_t t = 0; t < ARRAY_SIZE(totals); t++) {
		for (unsigned int columns = 1; columns < 200; columns++) {
			progress_line("verify", totals[t] / 3, totals[t], 123456789, columns, line,
				      sizeof(line));
			assert_true(strlen(line) <= columns);
			progress_line("verify", totals[t], totals[t], 0, columns, line,
				      sizeof(line));
			assert_true(strlen(line) <= columns);
		}
	}
}

static void test_suggest(void **state)
{
	static const char *const words[] = {"list", "put",   "get",    "hold",
					    "read", "write", "status", "stats"};
	static const struct {
		const char *text, *word;
	} cases[] = {
		{"lsit", "list"},  {"hlod", "hold"},
		{"reed", "read"},  {"wirte", "write"},
		{"stat", "stats"}, {"statsu", "status"},
		{"puts", "put"},   {"explode", NULL},
		{"", NULL},	   {"xyz", NULL},
		{"gett", "get"},   {"a-word-that-is-much-too-long-to-be-one", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *word = suggest(cases[i].text, words, ARRAY_SIZE(words));

		if (cases[i].word)
			assert_string_equal(word, cases[i].word);
		else
			assert_null(word);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_rate_and_time),
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_suggest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
