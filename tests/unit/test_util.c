// SPDX-License-Identifier: BSD-3-Clause
/* Bounds, sizes, UUIDs, lists, and descriptors read and written to the end. */
#include "leaks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#include "util/list.h"
#include "util/log.h"
#include "util/log_rate.h"
#include "util/stdio_fds.h"
#include "util/text.h"
#include "util/util.h"

#define MAX UINT64_MAX

static void test_range_ok(void **state)
{
	static const struct {
		uint64_t off, len, limit;
		bool ok;
	} cases[] = {
		{0, 0, 0, true},	 {0, 1, 0, false},	  {1, 0, 0, false},
		{0, 10, 10, true},	 {1, 9, 10, true},	  {1, 10, 10, false},
		{10, 0, 10, true},	 {11, 0, 10, false},	  {9, 1, 10, true},
		{MAX, 1, MAX, false},	 {MAX, 0, MAX, true},	  {0, MAX, MAX, true},
		{MAX - 1, 1, MAX, true}, {MAX, MAX, MAX, false},  {1, MAX, 10, false},
		{MAX, 2, 10, false},	 {MAX - 3, 8, 10, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(range_ok(cases[i].off, cases[i].len, cases[i].limit), cases[i].ok);
}

static void test_range_overlaps(void **state)
{
	static const struct {
		uint64_t a, alen, b, blen;
		bool overlaps;
	} cases[] = {
		{0, 10, 10, 10, false},	 {0, 11, 10, 10, true},	       {5, 1, 0, 10, true},
		{0, 0, 0, 10, false},	 {5, 0, 0, 10, false},	       {3, 4, 3, 4, true},
		{MAX, 1, MAX, 1, true},	 {MAX - 1, 1, MAX, 1, false},  {MAX - 1, MAX, MAX, 1, true},
		{0, 1, MAX, MAX, false}, {MAX - 5, 100, 0, 50, false}, {0, MAX, MAX - 1, 1, true},
		{0, MAX, MAX, 1, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(
			range_overlaps(cases[i].a, cases[i].alen, cases[i].b, cases[i].blen),
			cases[i].overlaps);
		assert_int_equal(
			range_overlaps(cases[i].b, cases[i].blen, cases[i].a, cases[i].alen),
			cases[i].overlaps);
	}
}

static void test_align(void **state)
{
	(void)state;
	assert_int_equal(align_down(4097, 4096), 4096);
	assert_int_equal(align_down(4095, 4096), 0);
	assert_int_equal(align_up(4097, 4096), 8192);
	assert_int_equal(align_up(4096, 4096), 4096);
	assert_int_equal(align_up(0, 4096), 0);
	assert_true(is_pow2(1) && is_pow2(4096) && is_pow2(1ull << 63));
	assert_false(is_pow2(0) || is_pow2(3) || is_pow2(MAX));
}

static void test_size_parse(void **state)
{
	static const struct {
		const char *text;
		int err;
		uint64_t bytes;
	} cases[] = {
		{"0", 0, 0},
		{"4096", 0, 4096},
		{"4096B", 0, 4096},
		{"0x1000", 0, 4096},
		{"64k", 0, 65536},
		{"64K", 0, 65536},
		{"2M", 0, 2 << 20},
		{"2MB", 0, 2 << 20},
		{"1GiB", 0, 1 << 30},
		{"1g", 0, 1 << 30},
		{"3T", 0, 3ull << 40},
		{"16777215T", 0, 16777215ull << 40},
		{"18446744073709551615", 0, MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"16777216T", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"k", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
		{"1.5G", -EINVAL, 0},
		{"1kk", -EINVAL, 0},
		{"1kiBx", -EINVAL, 0},
		{"1P", -EINVAL, 0},
		{"1ki", -EINVAL, 0},
		{"1iB", -EINVAL, 0},
		{"1BB", -EINVAL, 0},
		{"1kiBB", -EINVAL, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t bytes = 77;

		if (size_parse(cases[i].text, &bytes) != cases[i].err ||
		    bytes != (cases[i].err ? 77 : cases[i].bytes))
			fail_msg("\"%s\" is %llu", cases[i].text, (unsigned long long)bytes);
	}
}

static void test_uuid_text(void **state)
{
	static const uint8_t uuid[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
					 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe};
	static const char good[] = "01234567-89ab-cdef-1032-547698badcfe";
	static const char *const bad[] = {
		"",
		"01234567-89ab-cdef-1032-547698badcf",
		"01234567-89ab-cdef-1032-547698badcfe0",
		"01234567-89ab-cdef-1032-547698badcfg",
		"0123456789abcdef1032547698badcfe",
		"0123456-789ab-cdef-1032-547698badcfe",
		"{01234567-89ab-cdef-1032-547698badcfe}",
		"01234567-89ab-cdef-1032",
		"01234567-89ab-cdef-1032-",
	};
	char text[UUID_TEXT_BYTES];
	uint8_t parsed[16];

	(void)state;
	uuid_format(uuid, text);
	assert_string_equal(text, good);
	assert_int_equal(uuid_parse(good, parsed), 0);
	assert_memory_equal(parsed, uuid, sizeof(uuid));
	assert_int_equal(uuid_parse("01234567-89AB-CDEF-1032-547698BADCFE", parsed), 0);
	assert_memory_equal(parsed, uuid, sizeof(uuid));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(uuid_parse(bad[i], parsed), -EINVAL);
		assert_memory_equal(parsed, uuid, sizeof(uuid));
	}
}

static void test_uuid_random(void **state)
{
	uint8_t a[16], b[16];

	(void)state;
	uuid_random(a);
	uuid_random(b);
	assert_int_equal(a[6] >> 4, 4);
	assert_int_equal(a[8] >> 6, 2);
	assert_memory_not_equal(a, b, sizeof(a));
}

struct item {
	int value;
	struct list link;
};

static void expect(const struct list *head, const char *values)
{
	const struct list *l;

	list_for_each (l, head)
		assert_int_equal(list_entry(l, struct item, link)->value, *values++ - '0');
	assert_int_equal(*values, '\0');
	for (l = head->next; l != head; l = l->next)
		assert_ptr_equal(l->next->prev, l);
}

static void test_list(void **state)
{
	struct list head = LIST_INIT(head), *l, *tmp;
	struct item items[5];

	(void)state;
	assert_true(list_empty(&head));
	assert_null(list_pop(&head));
	for (int i = 0; i < 5; i++)
		items[i].value = i;
	list_push(&head, &items[1].link);
	list_push(&head, &items[2].link);
	list_push_front(&head, &items[0].link);
	list_push(&head, &items[3].link);
	list_push(&head, &items[4].link);
	expect(&head, "01234");
	list_del(&items[2].link);
	list_del(&items[2].link);
	expect(&head, "0134");
	list_for_each_safe (l, tmp, &head)
		if (list_entry(l, struct item, link)->value % 2)
			list_del(l);
	expect(&head, "04");
	assert_ptr_equal(list_pop(&head), &items[0].link);
	assert_ptr_equal(list_pop(&head), &items[4].link);
	assert_true(list_empty(&head));
}

static void test_errtext(void **state)
{
	char lengthy[2 * ERRTEXT_BYTES];
	struct errtext e;

	(void)state;
	assert_int_equal(errtext_set(&e, -ENOENT, "no %s on %d", "disk", 7), -ENOENT);
	assert_string_equal(e.text, "no disk on 7");
	assert_int_equal(errtext_set(NULL, -EIO, "nobody listens"), -EIO);
	memset(lengthy, 'x', sizeof(lengthy) - 1);
	lengthy[sizeof(lengthy) - 1] = '\0';
	assert_int_equal(errtext_set(&e, -EIO, "%s", lengthy), -EIO);
	assert_int_equal(strlen(e.text), ERRTEXT_BYTES - 1);
}

static void test_full(void **state)
{
	char buf[8] = "";
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write_full(fds[1], "abcd", 4), 0);
	assert_int_equal(write_full(fds[1], "efgh", 4), 0);
	assert_int_equal(read(fds[0], buf, sizeof(buf)), sizeof(buf));
	assert_memory_equal(buf, "abcdefgh", sizeof(buf));
	(void)close(fds[1]);
	(void)close(fds[0]);
	assert_int_equal(write_full(fds[0], buf, 1), -EBADF);
}

static void test_log_level(void **state)
{
	enum log_level level = LOG_LEVEL_INFO;

	(void)state;
	assert_int_equal(log_parse_level("debug", &level), 0);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_int_equal(log_parse_level("loud", &level), -EINVAL);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
}

/* In a child without the descriptors of `closed`; its exit status. No assertion: it may have no stderr. */
static int child_without(unsigned int closed)
{
	char byte = 0;
	int pair[2];

	for (int fd = 0; fd < 3; fd++) {
		if (closed & 1u << fd)
			(void)close(fd);
	}
	if (stdio_fds_secure() != 0)
		return 1;
	if (pipe2(pair, O_CLOEXEC) < 0 || pair[0] < 3 || pair[1] < 3)
		return 2; /* a descriptor of ours got such a number */
	if (closed & 1 && (read(0, &byte, 1) != -1 || errno != EBADF))
		return 3;
	if (closed & 2 && (write(1, &byte, 1) != -1 || errno != EBADF))
		return 4;
	if (closed & 4 && write(2, &byte, 1) != 1)
		return 5;
	return 0;
}

static void test_stdio_fds(void **state)
{
	(void)state;
	for (unsigned int closed = 0; closed < 8; closed++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(child_without(closed));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

static void test_text(void **state)
{
	static const struct {
		const char *text, *made;
	} cases[] = {
		{"", ""},
		{"nqn.2026-11.org:a ~", "nqn.2026-11.org:a ~"},
		{"\xc2\xa0\xc3\xa9\xe2\x80\xa6\xf0\x9f\x90\xb1", NULL}, /* two to four bytes */
		{"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", NULL}, /* the edges of what there is */
		{"a\nb", "a?b"},
		{"a\033[2Jb", "a?[2Jb"},
		{"\x1f \x7f", "? ?"},
		{"\xc2\x80\xc2\x9f", "????"}, /* C1 */
		{"\x9b"
		 "1m",
		 "?1m"},	    /* as a byte of its own */
		{"\xc0\xaf", "??"}, /* longer than it need be */
		{"\xe0\x9f\xbf", "???"},
		{"\xf0\x8f\xbf\xbf", "????"},
		{"\xed\xa0\x80", "???"},      /* half of a pair */
		{"\xf4\x90\x80\x80", "????"}, /* behind the last */
		{"\xff\xfe", "??"},
		{"caf\xc3", "caf?"}, /* cut off */
		{"\xe2\x80x", "??x"},
		/* A line's end; to the left. */
		{"a\xe2\x80\xa8_\xe2\x80\xae_", "a???_???_"},
		{"\xe2\x81\xa6_\xe2\x81\xa9", "???_???"},
		{"\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xa5\xe2\x81\xaa", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *made = cases[i].made ? cases[i].made : cases[i].text;
		char text[64];

		strcpy(text, cases[i].text);
		assert_int_equal(text_is_plain(text), strcmp(text, made) == 0);
		text_make_plain(text);
		assert_string_equal(text, made);
		assert_true(text_is_plain(text));
	}
}

static void test_shorten(void **state)
{
	static const struct {
		const char *text, *made;
	} cases[] = {
		{"", ""},
		{"eleven byte", "eleven byte"}, /* fits */
		{"eleven bytes", "eleven…"},
		{"twelve b and", "twelve b…"}, /* the dots just fit */
		{"seven   bytes", "seven…"},
		{"unspeakable word", "unspeaka…"},
		{"unspeak\xc3\xa9"
		 "able",
		 "unspeak…"},
		{" unspeakable", " unspeak…"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char out[12];

		text_shorten(out, sizeof(out), cases[i].text);
		assert_string_equal(out, cases[i].made);
	}
}

static void test_word(void **state)
{
	static const struct {
		const char *text, *made;
	} cases[] = {
		{"nqn.2014-08.org.x:a_B/9@%+=,", "nqn.2014-08.org.x:a_B/9@%+=,"},
		{"", "''"},
		{"a b", "'a b'"},
		{"$(reboot)`x`;\"\\", "'$(reboot)`x`;\"\\'"},
		{"it's", "'it'\\''s'"},
		{"caf\xc3\xa9", "'caf\xc3\xa9'"},
		{"~root", "'~root'"},
	};
	char small[8];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char out[TEXT_WORD_BYTES(40)];

		text_word(out, sizeof(out), cases[i].text);
		assert_string_equal(out, cases[i].made);
	}
	/* The quote is closed, wherever it has to end. */
	text_word(small, sizeof(small), "a b c d e");
	assert_string_equal(small, "'a b c'");
	text_word(small, sizeof(small), "a b'''");
	assert_string_equal(small, "'a b'");
}

static void test_quoting(void **state)
{
	struct errtext err;

	(void)state;
	assert_int_equal(errtext_set(&err, -EINVAL, "\"%s\": no", "a\033c\n"), -EINVAL);
	assert_string_equal(err.text, "\"a?c?\": no");
	/* Cut off in the middle of a character. */
	(void)errtext_set(&err, 0, "%0*d\xc3\xa9", ERRTEXT_BYTES - 2, 0);
	assert_true(text_is_plain(err.text));
}

/* Ten at once, then one a second; what was left out is told once. */
static void test_log_rate(void **state)
{
	struct log_rate rate = {0};
	uint64_t now = 5 * NS_PER_S, left_out = 99;

	(void)state;
	for (unsigned int i = 0; i < LOG_RATE_AT_ONCE; i++) {
		assert_true(log_rate_allows(&rate, now, &left_out));
		assert_int_equal(left_out, 0);
	}
	left_out = 99;
	for (int i = 0; i < 500; i++)
		assert_false(log_rate_allows(&rate, now + (uint64_t)i, &left_out));
	assert_false(log_rate_allows(&rate, now + LOG_RATE_EVERY_NS - 1, &left_out));
	assert_int_equal(left_out, 99);
	assert_true(log_rate_allows(&rate, now + LOG_RATE_EVERY_NS, &left_out));
	assert_int_equal(left_out, 501);
	assert_false(log_rate_allows(&rate, now + LOG_RATE_EVERY_NS, &left_out));
	assert_true(log_rate_allows(&rate, now + 3 * LOG_RATE_EVERY_NS, &left_out));
	assert_int_equal(left_out, 1);
	/* However long it was quiet, no more than those at once. */
	now += 3600 * NS_PER_S;
	for (unsigned int i = 0; i < LOG_RATE_AT_ONCE; i++)
		assert_true(log_rate_allows(&rate, now, &left_out));
	assert_false(log_rate_allows(&rate, now, &left_out));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		leaks_test(test_range_ok),  leaks_test(test_range_overlaps),
		leaks_test(test_align),	    leaks_test(test_size_parse),
		leaks_test(test_uuid_text), leaks_test(test_uuid_random),
		leaks_test(test_list),	    leaks_test(test_errtext),
		leaks_test(test_full),	    leaks_test(test_log_level),
		leaks_test(test_stdio_fds), leaks_test(test_text),
		leaks_test(test_quoting),   leaks_test(test_shorten),
		leaks_test(test_word),	    leaks_test(test_log_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
