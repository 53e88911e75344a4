/* SPDX-License-Identifier: BSD-3-Clause */
/* Overlays over a file. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_OVERLAY_H
#define LEASEHOLD_EXPORT_OVERLAY_H

#include <stdbool.h>
#include <stddef.h>

#define OVERLAY_MOUNTS "/proc/self/mountinfo"

/**
 * Whether `path` lies in the upper directory of an overlay that is mounted, by the list of mounts in the
 * file `mounts` (proc(5), mountinfo), of this mount namespace alone; `where` then gets its mount point.
 * Nobody who truncates the file through it asks whoever has a lease or a watch of the file below. False
 * also if nobody can tell. Worker thread.
 */
bool overlay_over(const char *mounts, const char *path, char *where, size_t size);

#endif
