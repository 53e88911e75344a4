/* SPDX-License-Identifier: BSD-3-Clause */
/* Scratch files, beside those that export.h has. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_SCRATCH_H
#define LEASEHOLD_EXPORT_SCRATCH_H

#include "export/export.h"

/** An empty file without a name, on the file's own file system. 0 or -errno. Worker thread. */
MUST_CHECK int scratch_unnamed(const struct export *e, int *fd);

#endif
