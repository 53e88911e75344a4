/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small text files that must survive: <state_dir>/<folder>/<name>. Either the whole new text is there
 * after a crash, or the whole old one. For threads that may sleep in the file system.
 */
#ifndef LEASEHOLD_UTIL_STATE_FILE_H
#define LEASEHOLD_UTIL_STATE_FILE_H

#include "util/util.h"

/** A descriptor of <state_dir>/<folder>, made if need be, or -errno. close(2) it. */
MUST_CHECK int state_folder_open(const char *state_dir, const char *folder);

/**
 * Reads the whole file, at most `size` - 1 bytes, and ends it with a NUL; NULs in it become '?'.
 * -ENOENT: there is none. -EFBIG: it does not fit.
 */
MUST_CHECK int state_file_read(int folder, const char *name, char *text, size_t size);

/** Writes it under another name, syncs it, renames it, syncs the folder. */
MUST_CHECK int state_file_write(int folder, const char *name, const char *text);

/** Removes it for good; that there is none is a success. */
MUST_CHECK int state_file_remove(int folder, const char *name);

#endif
