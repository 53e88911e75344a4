/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the room: a configuration file as text, before libconfig sees it. */
#ifndef LEASEHOLD_CONTROL_CONFIG_TEXT_H
#define LEASEHOLD_CONTROL_CONFIG_TEXT_H

#include "util/util.h"

#define CONFIG_MAX_BYTES MIB(16)

/**
 * Reads the file, or pipe, whole; at least a byte is there. Free `text`. -ENOENT, -EISDIR, -EFBIG,
 * others of the system.
 */
MUST_CHECK int config_text_read(const char *file, char **text, size_t *len, struct errtext *err);

/**
 * -EINVAL with "FILE:LINE: …" for what libconfig does not tell, in it or in a file that it includes:
 * a whole number that would not be read as it stands there (without the suffix L older versions keep
 * the lower 32 bits only), a comment without an end (which hides all that follows), an @include of
 * what is not there.
 */
MUST_CHECK int config_text_check(const char *file, const char *text, size_t len,
				 struct errtext *err);

/**
 * The first key of a line (from 1 on) that its group has before it, too; if none is (the other is
 * in a file that is included), the line's first; "" if it has none. Cut off at `size`.
 */
void config_text_second(const char *text, size_t len, int line, char *key, size_t size);

#endif
