/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A redo journal: what is about to be written is noted first, so that no block of it stays torn when
 * power fails, or the daemon dies, in the middle of writing it in place. For the room's own files.
 *
 * A file of the state directory, with a slot for each write that may be under way. A record has the bytes
 * that were there and those that are to be there. It is durable before the first of them is touched, and
 * gone, durably, before anybody is told that they are written: so what a crash leaves was never
 * acknowledged, and nobody else had a reason to count on it.
 */
#ifndef LEASEHOLD_EXPORT_JOURNAL_H
#define LEASEHOLD_EXPORT_JOURNAL_H

#include "export/export.h"

/* Writes that may be under way at once; another one waits. */
#define JOURNAL_SLOTS 16

struct journal;
struct journal_slot;

/** What journal_replay() found, in blocks. */
struct journal_found {
	unsigned int records;
	unsigned int mended; /* were torn, or part of a write that was */
	unsigned int kept;   /* somebody changed them since, or took them away: left as they are */
};

/**
 * Opens the journal of the export, which has its identity by now; `create`: makes one if there is none,
 * else `*j` is NULL then. One that was another file's is emptied. -EBADMSG: it is damaged; others of the
 * system. Worker thread.
 */
MUST_CHECK int journal_open(const struct export *e, bool create, struct journal **j,
			    struct errtext *err);
/** Closes it; it stays. */
void journal_close(struct journal *j);
/** Closes and removes it. */
void journal_remove(struct journal *j);

/**
 * What a write left torn that a crash has ended is made whole: the new bytes, where each byte in place is
 * the old or the new one. What is neither was written by others since and stays, as do blocks that the
 * file does not have any more. Nothing is left to do then. Under tenure, before anything is served.
 */
MUST_CHECK int journal_replay(struct journal *j, const struct view *view,
			      struct journal_found *found, struct errtext *err);

/**
 * Notes that `bytes` (NULL: zeros), EXPORT_ATOMIC_BYTES at most, are about to be written at `offset`; both
 * are of whole blocks. Waits for a slot. journal_end() follows when they are in place, durably, or will not
 * be. Holes under them are filled. Errors of view_copy_in(); -EIO too if the journal cannot be written.
 * Worker thread.
 */
MUST_CHECK int journal_begin(struct journal *j, const struct view *view, uint64_t offset,
			     const void *bytes, uint32_t length, struct journal_slot **slot);
MUST_CHECK int journal_end(struct journal *j, struct journal_slot *slot);

#endif
