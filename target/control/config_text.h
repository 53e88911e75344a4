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
 * -EINVAL with "FILE:LINE: KEY: …" if a whole number is in it that libconfig would not read as it
 * stands there: without the suffix L its older versions keep the lower 32 bits only.
 */
MUST_CHECK int config_text_check(const char *file, const char *text, size_t len,
				 struct errtext *err);

#endif
