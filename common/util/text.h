/* SPDX-License-Identifier: BSD-3-Clause */
/* Texts for people: what may stand in a log line, on a terminal and in JSON, and in few bytes. */
#ifndef LEASEHOLD_UTIL_TEXT_H
#define LEASEHOLD_UTIL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/** True: UTF-8 (RFC 3629) without control characters (U+0000 to U+001F, U+007F to U+009F) and without those
 * that end lines or turn the direction of text (U+2028 to U+202E, U+2066 to U+2069). */
bool text_is_plain(const char *text);

/** Puts a '?' in the place of each byte that text_is_plain() would refuse. */
void text_make_plain(char *text);

/** Copies `text` into `size` bytes, at least 4; if too long then cut behind a word, with a "…". */
void text_shorten(char *out, size_t size, const char *text);

/** Bytes that text_word() may need for a text of so many, its NUL counted. */
#define TEXT_WORD_BYTES(bytes) (4 * ((bytes) - 1) + 3)

/**
 * Writes `text` as a shell takes it for one word: as it is, if it has letters, digits and "-_.,:/@%+=" only, else
 * between single quotes. What does not fit in `size` bytes is left out.
 */
void text_word(char *out, size_t size, const char *text);

#endif
