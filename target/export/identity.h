/* SPDX-License-Identifier: BSD-3-Clause */
/* Who an export is, across restarts. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_IDENTITY_H
#define LEASEHOLD_EXPORT_IDENTITY_H

#include "export/export.h"

/**
 * Reads `<state_dir>/exports/<name>` and compares it with the open file, or makes both identity and
 * file. With state_dir "" the identity is derived from name, device and inode. Worker thread.
 * -EREMCHG: another file than the one the identity was given to; with `adopt` the identity is this
 * file's from now on. -EBADMSG: the identity file makes
 * no sense; the sentence names file and line.
 * `*filled`: identity_filled() was said of this file, and it is not adopted anew.
 * `*before` is what the identity file said until now, to free: NULL if it still does, "" if there was
 * none.
 */
MUST_CHECK int identity_get(const char *state_dir, const struct export *e, bool adopt,
			    struct export_identity *identity, char **before, bool *filled,
			    struct errtext *err);

/**
 * From now on its holes count as filled, for this file under this identity: `*filled` of identity_get().
 * Durable when it returns. Nothing without a state directory. 0 or -errno. Worker thread.
 */
MUST_CHECK int identity_filled(const char *state_dir, const char *name, struct errtext *err);

/** Which file it is, to be kept beside what is kept of it. */
struct identity_mark {
	uint64_t have; /* the room's own */
	uint64_t fs_id, inode, generation;
	uint8_t fs_uuid[16];
};

/** 0 or -errno. Worker thread. */
MUST_CHECK int identity_mark(const struct export *e, struct identity_mark *mark);
/** Are they of one file, as far as both can tell? */
bool identity_same(const struct identity_mark *was, const struct identity_mark *is);

/** Nobody heard of the identity: the file says again what it said `before`. 0 or -errno. */
MUST_CHECK int identity_take_back(const char *state_dir, const char *name, const char *before);

#endif
