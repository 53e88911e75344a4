// SPDX-License-Identifier: BSD-3-Clause
/* Tells characters that can be shown from what forges lines or moves a cursor. Any thread. */
#include "util/text.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/*
 * The bytes of the character that `s` begins with, or 0: a control character or no UTF-8. Not one
 * byte is read behind the NUL, since it continues nothing.
 */
static size_t plain_bytes(const unsigned char *s)
{
	static const uint32_t least[] = {0, 0xa0, 0x800, 0x10000}; /* shorter forms are none */
	uint32_t point;
	size_t more;

	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	if (s[0] < 0xc0 || s[0] > 0xf7)
		return 0;
	more = s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
	point = s[0] & (0x3fu >> more);
	for (size_t i = 1; i <= more; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (s[i] & 0x3f);
	}
	if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
		return 0;
	/* They end a line, or have what follows shown in another order. */
	if ((point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069))
		return 0;
	return more + 1;
}

bool text_is_plain(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n;

	for (; *s; s += n) {
		n = plain_bytes(s);
		if (n == 0)
			return false;
	}
	return true;
}

void text_make_plain(char *text)
{
	while (*text) {
		size_t n = plain_bytes((const unsigned char *)text);

		if (n == 0)
			*text = '?';
		text += n ? n : 1;
	}
}

void text_shorten(char *out, size_t size, const char *text)
{
	static const char dots[] = "…";
	size_t n = strlen(text), word;

	assert(size >= sizeof(dots));
	if (n < size) {
		memcpy(out, text, n + 1);
		return;
	}
	n = size - sizeof(dots);
	for (word = n; word > 0 && text[word] != ' ';)
		word--;
	while (word > 0 && text[word - 1] == ' ')
		word--;
	if (word > 0)
		n = word;
	else /* one long word: not in the middle of a character */
		while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
			n--;
	(void)snprintf(out, size, "%.*s%s", (int)n, text, dots);
}

void text_word(char *out, size_t size, const char *text)
{
	static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789-_.,:/@%+=";
	size_t n = strspn(text, harmless), used = 0;

	if (n > 0 && text[n] == '\0') {
		(void)snprintf(out, size, "%s", text);
		return;
	}
	assert(size >= sizeof("''"));
	out[used++] = '\'';
	for (; *text; text++) {
		const char *piece = *text == '\'' ? "'\\''" : (const char[]){*text, '\0'};

		n = strlen(piece);
		if (used + n + sizeof("'") > size)
			break;
		memcpy(out + used, piece, n);
		used += n;
	}
	memcpy(out + used, "'", sizeof("'"));
}
