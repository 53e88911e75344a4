/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers for people: sizes, rates, times, and the line that shows how far a transfer is. Pure. */
#ifndef LEASEHOLD_PROGRESS_H
#define LEASEHOLD_PROGRESS_H

#include "util/util.h"

#define PROGRESS_TEXT_BYTES 32

/** "512 B", "4.0 KiB", "1.5 GiB": three or four digits. */
void progress_bytes(uint64_t bytes, char text[PROGRESS_TEXT_BYTES]);

/** "624 MiB/s"; "-" while no time has passed. */
void progress_rate(uint64_t bytes, uint64_t ns, char text[PROGRESS_TEXT_BYTES]);

/** "850 ms", "12 s", "3:07", "2:15:00". */
void progress_time(uint64_t ns, char text[PROGRESS_TEXT_BYTES]);

/**
 * One line without a newline, at most `columns` wide: what, bar, per cent, rate, time left. `done` of
 * `total` bytes after `ns`.
 */
void progress_line(const char *what, uint64_t done, uint64_t total, uint64_t ns,
		   unsigned int columns, char *line, size_t bytes);

#endif
