// SPDX-License-Identifier: BSD-3-Clause
/* Formats sizes, rates, times and the progress line. Pure, any thread. */
#include "cli/progress.h"

#include <stdio.h>
#include <string.h>

static void scaled(double value, const char *suffix, char text[PROGRESS_TEXT_BYTES])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	size_t u = 0;

	/* 1023.6 would be printed as 1024. */
	while (value >= 1023.5 && u + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		u++;
	}
	(void)snprintf(text, PROGRESS_TEXT_BYTES, "%.*f %s%s", u > 0 && value < 99.95 ? 1 : 0,
		       value, units[u], suffix);
}

void progress_bytes(uint64_t bytes, char text[PROGRESS_TEXT_BYTES])
{
	scaled((double)bytes, "", text);
}

void progress_rate(uint64_t bytes, uint64_t ns, char text[PROGRESS_TEXT_BYTES])
{
	if (ns == 0)
		(void)snprintf(text, PROGRESS_TEXT_BYTES, "-");
	else
		scaled((double)bytes * 1e9 / (double)ns, "/s", text);
}

void progress_time(uint64_t ns, char text[PROGRESS_TEXT_BYTES])
{
	const uint64_t s = (ns + NS_PER_S / 2) / NS_PER_S;

	if (ns < NS_PER_S)
		(void)snprintf(text, PROGRESS_TEXT_BYTES, "%u ms", (unsigned int)(ns / NS_PER_MS));
	else if (s < 60)
		(void)snprintf(text, PROGRESS_TEXT_BYTES, "%u s", (unsigned int)s);
	else if (s < 3600)
		(void)snprintf(text, PROGRESS_TEXT_BYTES, "%u:%02u", (unsigned int)(s / 60),
			       (unsigned int)(s % 60));
	else
		(void)snprintf(text, PROGRESS_TEXT_BYTES, "%llu:%02u:%02u",
			       (unsigned long long)(s / 3600), (unsigned int)(s / 60 % 60),
			       (unsigned int)(s % 60));
}

void progress_line(const char *what, uint64_t done, uint64_t total, uint64_t ns,
		   unsigned int columns, char *line, size_t bytes)
{
	char rate[PROGRESS_TEXT_BYTES], left[PROGRESS_TEXT_BYTES] = "-",
					amount[PROGRESS_TEXT_BYTES];
	char tail[128], bar[64];
	const unsigned int percent =
		total ? (unsigned int)((double)done * 100 / (double)total) : 100;
	size_t width, full, used;

	progress_rate(done, ns, rate);
	progress_bytes(done, amount);
	if (done > 0 && done <= total)
		progress_time((uint64_t)((double)ns / (double)done * (double)(total - done)), left);
	used = (size_t)snprintf(tail, sizeof(tail), " %3u%%  %9s  %11s  %s left", percent, amount,
				rate, left);
	used += strlen(what) + 3;
	width = used < columns ? min_u64(columns - used, sizeof(bar) - 1) : 0;
	if (width < 5) {
		(void)snprintf(line, bytes, "%.*s%.*s", (int)columns, what,
			       (int)(columns > strlen(what) ? columns - strlen(what) : 0), tail);
		return;
	}
	full = total ? (size_t)((double)width * (double)min_u64(done, total) / (double)total)
		     : width;
	memset(bar, '#', full);
	memset(bar + full, '.', width - full);
	bar[width] = '\0';
	(void)snprintf(line, bytes, "%s [%s]%s", what, bar, tail);
}
