/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors that the service manager keeps for a daemon that follows this one. The room's own part. */
#ifndef LEASEHOLD_EXPORT_KEPT_H
#define LEASEHOLD_EXPORT_KEPT_H

#include "file.h"

#include <sys/stat.h>

/** The descriptor that came for this file, which is the caller's now; -1: none did. */
int kept_take(const struct stat *st);
/** Has it kept, with whatever lease is taken on it. Without a service manager that does nothing. */
void kept_store(const struct export *e);
/** Has it kept no longer. */
void kept_forget(const struct export *e);

#endif
