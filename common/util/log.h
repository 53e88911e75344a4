/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log lines to stderr, one fact a line, with the kernel's level prefixes ("<6>") when stderr is the
 * journal. Any thread. Rooms return errors; the room that decides logs, once. Nothing logs on the
 * data path.
 */
#ifndef LEASEHOLD_LOG_H
#define LEASEHOLD_LOG_H

#include "util/util.h"

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_NOTICE,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/** Lines above this level are dropped. Default LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

/** "error" … "debug" → level. Returns 0 or -EINVAL. */
MUST_CHECK int log_parse_level(const char *text, enum log_level *level);

void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...)	 log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)	 log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
