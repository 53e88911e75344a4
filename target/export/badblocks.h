/* SPDX-License-Identifier: BSD-3-Clause */
/* What a device's driver knows to be damaged. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_BADBLOCKS_H
#define LEASEHOLD_EXPORT_BADBLOCKS_H

#include "export/export.h"

/** Notes those of the file as its damage; nothing where nobody can tell. Worker thread; milliseconds. */
void badblocks_look(const struct export *e);

#endif
