/* SPDX-License-Identifier: BSD-3-Clause */
/* Scratch files, beside those that export.h has. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_SCRATCH_H
#define LEASEHOLD_EXPORT_SCRATCH_H

#include "export/export.h"

#define SCRATCH_NAME_BYTES 64

/** A new file in the folder, of which a process that is gone leaves one that is removed; locked by `fd`,
 *  which is to stay open as long as the file is there. 0 or -errno. */
MUST_CHECK int scratch_create(int dir, char name[SCRATCH_NAME_BYTES], int *fd);

/** An empty file without a name, on the file's own file system. 0 or -errno. Worker thread. */
MUST_CHECK int scratch_unnamed(const struct export *e, int *fd);

#endif
