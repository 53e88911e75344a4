/* SPDX-License-Identifier: BSD-3-Clause */
/* Texts of strangers: what may stand in a log line, on a terminal and in JSON. */
#ifndef LEASEHOLD_UTIL_TEXT_H
#define LEASEHOLD_UTIL_TEXT_H

#include <stdbool.h>

/** True: UTF-8 (RFC 3629) without control characters (U+0000 to U+001F, U+007F to U+009F). */
bool text_is_plain(const char *text);

/** Puts a '?' in the place of each byte that text_is_plain() would refuse. */
void text_make_plain(char *text);

#endif
