/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An export "disk" of the file "a" with sector_atomic = "journal", and a daemon that dies in the middle of a
 * write to it: a process that ends between journal_begin() and journal_end(). A tmpfs can be as if it were DAX;
 * a program with this rig is linked with --wrap=mmap64, fstatfs64 and persistence_find.
 */
#ifndef LEASEHOLD_JOURNAL_RIG_H
#define LEASEHOLD_JOURNAL_RIG_H

#include "test_export_rig.h"

#include "export/journal_file.h" /* the room's own: records, and where they lie */

#define LBA    ((uint64_t)512)
#define PAGE   KIB(4)
#define SIZE   MIB(1)
#define AT     KIB(64) /* where the write was that did not end … */
#define LENGTH KIB(16) /* … and how long */
#define OLD    0x0f
#define NEW    0xf3
#define OTHER  0x55

/** As if a tmpfs were DAX. journal_main() says when. */
extern bool as_dax;	 /* files are mapped with MAP_SYNC */
extern bool state_as_is; /* folders say what they lie on */
extern bool no_pmem;	 /* of the journal libpmem2 knows nothing */

/**
 * What a test's main() does: in each folder with(its kind), or without(its kind) where a journal cannot be; and
 * with("as if DAX") where it is memory. Without `without` such a folder is skipped, which says so.
 */
int journal_main(int (*with)(const char *name), int (*without)(const char *name));

/* ---- the file, as others see it --------------------------------------------------------------- */

/** Writes `length` times the byte, at most LENGTH, and lets it reach the medium. */
void put(uint64_t offset, int byte, size_t length);
/** `length` bytes, at most LENGTH, are this one. */
bool all_are(uint64_t offset, int byte, size_t length);
/** The file, of SIZE, is OLD all over. */
void make_old(void);

/* ---- the export ------------------------------------------------------------------------------- */

struct export_config journaled(void);
/** Serves it, for a moment. */
void start(const struct export_config *config);
/** The same of journaled(). */
void start_again(void);
/**
 * A daemon begins to write LENGTH bytes NEW at AT, and dies when bytes [from, to) of them are in place. The
 * record stays.
 */
void die_between(uint64_t from, uint64_t to);

/* ---- its journal ------------------------------------------------------------------------------ */

const char *journal_path(void);
/** How many records stand in a journal; in that of "disk". */
unsigned int live_in(const char *path);
unsigned int live_records(void);
/** A bit of the file's byte `at`. */
void flip(const char *path, uint64_t at);

#endif
