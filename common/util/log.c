// SPDX-License-Identifier: BSD-3-Clause
/* Log lines to stderr: one write(2) a line, so that lines of several threads never mix. */
#include "util/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/text.h"

static const struct {
	const char *name;
	const char *journal; /* sd-daemon(3) */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", "<3>"},	[LOG_LEVEL_WARNING] = {"warning", "<4>"},
	[LOG_LEVEL_NOTICE] = {"notice", "<5>"}, [LOG_LEVEL_INFO] = {"info", "<6>"},
	[LOG_LEVEL_DEBUG] = {"debug", "<7>"},
};

static _Atomic int threshold = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	atomic_store(&threshold, (int)level);
}

int log_parse_level(const char *text, enum log_level *level)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcmp(text, levels[i].name) == 0) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	size_t used;
	va_list ap;
	int n;

	if ((int)level > atomic_load_explicit(&threshold, memory_order_relaxed))
		return;
	if (getenv("JOURNAL_STREAM")) {
		n = snprintf(line, sizeof(line), "%s", levels[level].journal);
	} else {
		struct timespec ts;
		struct tm tm;

		(void)clock_gettime(CLOCK_REALTIME, &ts);
		(void)localtime_r(&ts.tv_sec, &tm);
		n = snprintf(line, sizeof(line), "%02d:%02d:%02d.%06ld %-7s ", tm.tm_hour,
			     tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000, levels[level].name);
	}
	used = n < 0 ? 0 : (size_t)n;
	va_start(ap, fmt);
	n = vsnprintf(line + used, sizeof(line) - used - 1, fmt, ap);
	va_end(ap);
	text_make_plain(line + used); /* it may quote a stranger */
	if (n > 0)
		used = min_u64(used + (size_t)n, sizeof(line) - 2);
	line[used++] = '\n';
	(void)!write(STDERR_FILENO, line, used);
}
