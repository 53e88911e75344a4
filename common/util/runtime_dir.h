/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a daemon and those who talk to it on its machine find each other. Any thread. */
#ifndef LEASEHOLD_UTIL_RUNTIME_DIR_H
#define LEASEHOLD_UTIL_RUNTIME_DIR_H

#include "util/util.h"

#define RUNTIME_ADMIN_SOCKET "admin.sock" /* in the folder, unless the daemon is told otherwise */

/**
 * The folder of this user's daemon: /run/leasehold for root, else leasehold in $XDG_RUNTIME_DIR.
 * -ENOENT: not root, and that is not set.
 */
MUST_CHECK int runtime_dir(char *path, size_t size);

/** Where to look for the admin socket: there, or where root's daemon has it. */
void runtime_admin_socket(char *path, size_t size);

#endif
