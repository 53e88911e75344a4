/* SPDX-License-Identifier: BSD-3-Clause */
/* The lock file of an inode: who serves it. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_LOCKFILE_H
#define LEASEHOLD_EXPORT_LOCKFILE_H

#include "util/util.h"

#include <sys/stat.h>

struct lockfile {
	int fd;
	char *path;
};

/**
 * Takes `<dir>/lock-<major>:<minor>-<inode>` for the file that `st` tells of, and writes our pid
 * and `name` into it. Makes `dir` (not its parents) if there is none. Worker thread.
 * -EBUSY: taken, by this process or another; the sentence names the owner.
 */
MUST_CHECK int lockfile_take(const char *dir, const struct stat *st, const char *name,
			     struct lockfile *lock, struct errtext *err);

/** Whether it is taken: 0 or -EBUSY, as above. Takes and makes nothing. Worker thread. */
MUST_CHECK int lockfile_look(const char *dir, const struct stat *st, struct errtext *err);

/** Removes the lock file. */
void lockfile_drop(struct lockfile *lock);

#endif
