/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors 0, 1 and 2 of a program that was started without some of them. Before any thread. */
#ifndef LEASEHOLD_STDIO_FDS_H
#define LEASEHOLD_STDIO_FDS_H

#include "util/util.h"

/**
 * Puts /dev/null where 0, 1 or 2 is not open, so that no file or socket of ours gets the number and
 * is read or written as standard input, output or error. Reading such a 0 and writing such a 1 fail
 * with EBADF, as they would without it; what is written to 2 is gone. First thing in main(). 0 or
 * -errno, when /dev/null itself cannot be opened.
 */
MUST_CHECK int stdio_fds_secure(void);

#endif
