/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes into the file, in place. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_COPY_H
#define LEASEHOLD_EXPORT_COPY_H

#include "export/export.h"

/** As view_copy_in(), of `src` or zeros (NULL), past the journal. */
MUST_CHECK int copy_in_place(const struct view *view, uint64_t offset, const void *src,
			     uint64_t length);

#endif
