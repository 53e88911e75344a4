/* SPDX-License-Identifier: BSD-3-Clause */
/* Low descriptor numbers for export files; see low_fd.c. For the export room only. */
#ifndef LEASEHOLD_EXPORT_LOW_FD_H
#define LEASEHOLD_EXPORT_LOW_FD_H

/** The same open file description by a low number, if one is free, and `fd` is closed; else `fd`. */
int low_fd(int fd);
/** In place of close(2), of what low_fd() has given. */
void low_fd_close(int fd);

#endif
