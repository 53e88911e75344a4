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

/** What a start found, in blocks. */
struct journal_found {
	unsigned int records;
	unsigned int mended; /* were torn, or part of a write that was */
	unsigned int kept;   /* somebody changed them since, or took them away: left as they are */
};

/**
 * Opens the journal of the export, which has its identity by now, or makes one. `*j` is NULL if there is one
 * under its name that has what was being written to another file: nothing is done to that before
 * journal_recover(). -EBADMSG: it is damaged; others of the system. Worker thread.
 */
MUST_CHECK int journal_open(const struct export *e, struct journal **j, struct errtext *err);
/** Closes it; it stays. NULL: nothing. */
void journal_close(struct journal *j);
/** The same, but one that journal_open() has made goes. */
void journal_take_back(struct journal *j);

/**
 * What an earlier daemon was writing to the file when it ended is made whole, whatever name the export had
 * then: the mark of the file counts, and no record is ever of use for another one. Then the export has a
 * journal of its own if it is to have one (e->journal), and the file no other. Under tenure, before anything is
 * served. Errors as journal_open(), and of reading and writing the file. Worker thread.
 */
MUST_CHECK int journal_recover(struct export *e, const struct view *view, struct errtext *err);

/** It could not be written once, and is not written any more: journal_begin() fails. Any thread. */
bool journal_is_broken(const struct journal *j);

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
