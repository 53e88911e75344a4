// SPDX-License-Identifier: BSD-3-Clause
/*
 * The configuration file as text, with those that it includes: reads it, and finds what libconfig
 * does not tell: whole numbers that do not fit where it puts them, a comment that has no end, which
 * file could not be included, which key is there twice. Knows of its grammar what comments, texts,
 * names, numbers, groups and @include look like; everything else is libconfig's. Keeps
 * nothing: any thread that may sleep.
 */
#include "control/config_text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading --------------------------------------------------------------------------------- */

static int read_whole(int fd, char *text, size_t *len)
{
	size_t used = 0;
	ssize_t n;

	do {
		n = read(fd, text + used, CONFIG_MAX_BYTES - used);
		if (n < 0 && errno != EINTR)
			return -errno;
		used += n > 0 ? (size_t)n : 0;
	} while (n != 0 && used < CONFIG_MAX_BYTES);
	if (used == CONFIG_MAX_BYTES)
		return -EFBIG;
	if (used == 0)
		text[used++] = '\n';
	*len = used;
	return 0;
}

int config_text_read(const char *file, char **text, size_t *len, struct errtext *err)
{
	struct stat st;
	char *all = NULL;
	int fd, rc;

	fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return errtext_set(err, -errno, "%s: cannot be read: %s", file, strerror(errno));
	rc = fstat(fd, &st) ? -errno : S_ISDIR(st.st_mode) ? -EISDIR : 0;
	if (rc == 0) {
		all = malloc(CONFIG_MAX_BYTES);
		rc = all ? read_whole(fd, all, len) : -ENOMEM;
	}
	(void)close(fd);
	if (rc == 0) {
		*text = all;
		return 0;
	}
	free(all);
	if (rc == -EISDIR)
		return errtext_set(err, rc, "%s: is a directory: name a file in it", file);
	return errtext_set(err, rc, "%s: cannot be read: %s", file, strerror(-rc));
}

/* ---- what libconfig does not tell ------------------------------------------------------------ */

#define INCLUDE_WORD  "@include"
#define INCLUDE_DEPTH 10 /* libconfig's own limit; it has an error for more */

struct scan {
	const char *file;
	const char *text, *at, *end;
	unsigned int line;
	const char *key; /* the last name that was seen */
	int key_len;
	unsigned int unclosed; /* line of a comment that the text ends in */
	unsigned int depth;    /* of inclusion */
};

static int check_text(const struct scan *from, struct errtext *err);

static bool is_name(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '*';
}

static void step(struct scan *s)
{
	if (*s->at++ == '\n')
		s->line++;
}

static bool looking_at(const struct scan *s, const char *two)
{
	return s->end - s->at >= 2 && s->at[0] == two[0] && s->at[1] == two[1];
}

/* A comment or a text in quotes, if one begins here. */
static bool skip_opaque(struct scan *s)
{
	if (*s->at == '#' || looking_at(s, "//")) {
		while (s->at < s->end && *s->at != '\n')
			step(s);
		return true;
	}
	if (looking_at(s, "/*")) {
		const unsigned int line = s->line;

		s->at += 2;
		while (s->at < s->end && !looking_at(s, "*/"))
			step(s);
		if (s->at == s->end)
			s->unclosed = line;
		else
			s->at += 2;
		return true;
	}
	if (*s->at == '"') {
		step(s);
		while (s->at < s->end && *s->at != '"') {
			if (*s->at == '\\' && s->end - s->at >= 2)
				step(s);
			step(s);
		}
		if (s->at < s->end)
			step(s);
		return true;
	}
	return false;
}

/* A word that begins with a digit: a whole number that fits, or none at all. */
static bool fits(const char *word, size_t len, bool negative)
{
	bool hex = len > 2 && word[0] == '0' && (word[1] == 'x' || word[1] == 'X');
	uint64_t limit, value = 0, base = hex ? 16 : 10;
	bool is_long = false;

	while (len > 0 && word[len - 1] == 'L') {
		is_long = true;
		len--;
	}
	limit = (is_long ? (uint64_t)INT64_MAX : (uint64_t)INT32_MAX) + negative;
	for (size_t i = hex ? 2 : 0; i < len; i++) {
		unsigned int digit;

		if (!isxdigit((unsigned char)word[i]) || (!hex && !isdigit((unsigned char)word[i])))
			return true; /* a fraction, or what libconfig will complain of */
		digit = isdigit((unsigned char)word[i])
				? (unsigned int)(word[i] - '0')
				: (unsigned int)(tolower((unsigned char)word[i]) - 'a') + 10;
		if (value > (limit - digit) / base)
			return false;
		value = value * base + digit;
	}
	return true;
}

/* An @include at the beginning of a line: where its file's name is, or NULL. */
static const char *include_name(const struct scan *s, size_t *len)
{
	const size_t word = strlen(INCLUDE_WORD);
	const char *at = s->at, *name;

	if (s->end - at <= (ptrdiff_t)word || memcmp(at, INCLUDE_WORD, word) != 0)
		return NULL;
	for (const char *before = at; before > s->text && before[-1] != '\n'; before--)
		if (before[-1] != ' ' && before[-1] != '\t')
			return NULL;
	at += word;
	while (at < s->end && (*at == ' ' || *at == '\t'))
		at++;
	if (at == s->end || *at != '"')
		return NULL;
	name = ++at;
	while (at < s->end && *at != '"' && *at != '\n')
		at++;
	*len = (size_t)(at - name);
	return at < s->end && *at == '"' ? name : NULL;
}

static int check_included(const struct scan *s, const char *name, size_t name_len,
			  struct errtext *err)
{
	struct scan inner = {.line = 1, .key = "", .depth = s->depth + 1};
	char path[PATH_MAX], *text = NULL;
	struct errtext why;
	struct stat st;
	size_t len = 0;
	int rc;

	/* With escapes in it libconfig alone knows what it is. */
	if (name_len >= sizeof(path) || s->depth >= INCLUDE_DEPTH || memchr(name, '\\', name_len))
		return 0;
	memcpy(path, name, name_len);
	path[name_len] = '\0';
	if (stat(path, &st) != 0)
		return errtext_set(err, -EINVAL, "%.150s:%u: " INCLUDE_WORD " \"%.200s\": %s%s",
				   s->file, s->line, path, strerror(errno),
				   path[0] == '/' ? ""
						  : " (from where the daemon is started; give the "
						    "whole path)");
	/* A pipe can be read once. */
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return 0;
	rc = config_text_read(path, &text, &len, &why);
	if (rc)
		return errtext_set(err, -EINVAL, "%.150s:%u: " INCLUDE_WORD " %.300s", s->file,
				   s->line, why.text);
	inner.file = path;
	inner.text = inner.at = text;
	inner.end = text + len;
	rc = check_text(&inner, err);
	free(text);
	return rc;
}

static int check_text(const struct scan *from, struct errtext *err)
{
	struct scan s = *from;

	while (s.at < s.end) {
		const char *word = s.at;
		bool negative;
		size_t n;

		if (skip_opaque(&s))
			continue;
		if (*word == '@' && (word = include_name(&s, &n)) != NULL) {
			int rc = check_included(&s, word, n, err);

			if (rc)
				return rc;
			s.at = word + n + 1;
			continue;
		}
		word = s.at;
		negative = *word == '-';
		word += negative || *word == '+';
		n = 0;
		while (word + n < s.end && (is_name(word[n]) || word[n] == '.'))
			n++;
		if (n == 0) {
			step(&s);
			continue;
		}
		if (!isdigit((unsigned char)*word)) {
			s.key = word;
			s.key_len = (int)min_u64(n, 64);
		} else if (!fits(word, n, negative)) {
			return errtext_set(
				err, -EINVAL, "%.200s:%u: %.*s: %s%.*s is too large a number%s",
				s.file, s.line, s.key_len, s.key, negative ? "-" : "",
				(int)min_u64(n, 64), word,
				word[n - 1] == 'L' ? "" : "; a size may be written as \"4G\"");
		}
		s.at = word + n;
	}
	if (s.unclosed)
		return errtext_set(
			err, -EINVAL,
			"%.300s:%u: a comment begins here and has no end: close it with */", s.file,
			s.unclosed);
	return 0;
}

int config_text_check(const char *file, const char *text, size_t len, struct errtext *err)
{
	struct scan s = {
		.file = file, .text = text, .at = text, .end = text + len, .line = 1, .key = ""};

	return check_text(&s, err);
}

/* ---- a key that is there twice --------------------------------------------------------------- */

#define A_KEY	   'k'
#define GROUPS_MAX 64 /* that lie in each other */

/* Goes behind what comes next: '{', '}' or A_KEY, which `s` then names; 0: none does. */
static char next_mark(struct scan *s)
{
	while (s->at < s->end) {
		const char *word = s->at, *behind;

		if (skip_opaque(s))
			continue;
		while (s->at < s->end && is_name(*s->at))
			s->at++;
		if (s->at == word) {
			step(s);
			if (*word == '{' || *word == '}')
				return *word;
			continue;
		}
		behind = s->at;
		while (behind < s->end && isspace((unsigned char)*behind))
			behind++;
		if (behind < s->end && (*behind == '=' || *behind == ':')) {
			s->key = word;
			s->key_len = (int)(s->at - word);
			return A_KEY;
		}
	}
	return 0;
}

/* Whether the group that `key` names a key of has that key before it, too. */
static bool is_second(const char *text, const struct scan *key)
{
	struct scan s = {.text = text, .at = text, .end = key->end};
	bool there[GROUPS_MAX] = {false};
	size_t depth = 0;

	for (;;) {
		switch (next_mark(&s)) {
		case '{':
			if (++depth == GROUPS_MAX)
				return false;
			there[depth] = false;
			break;
		case '}':
			depth -= depth > 0;
			break;
		case A_KEY:
			if (s.key == key->key)
				return there[depth];
			if (s.key_len == key->key_len &&
			    memcmp(s.key, key->key, (size_t)key->key_len) == 0)
				there[depth] = true;
			break;
		default:
			return false;
		}
	}
}

void config_text_second(const char *text, size_t len, int line, char *key, size_t size)
{
	struct scan s = {.text = text, .at = text, .end = text + len, .line = 1};
	bool second = false;
	char mark;

	key[0] = '\0';
	while (!second && (mark = next_mark(&s)) != 0 && s.line <= (unsigned int)line) {
		if (mark != A_KEY || s.line < (unsigned int)line)
			continue;
		second = is_second(text, &s);
		if (second || key[0] == '\0')
			(void)snprintf(key, size, "%.*s", s.key_len, s.key);
	}
}
