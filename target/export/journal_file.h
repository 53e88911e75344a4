/* SPDX-License-Identifier: BSD-3-Clause */
/* What the journal's file looks like, and how bytes get there for good. For journal*.c. */
#ifndef LEASEHOLD_EXPORT_JOURNAL_FILE_H
#define LEASEHOLD_EXPORT_JOURNAL_FILE_H

#include "identity.h"
#include "journal.h"
#include "persistence.h"

#include <pthread.h>

#define JOURNAL_RECORD_MAGIC 0x64726f636572686cull
#define JOURNAL_HEAD_BYTES   4096
/* The record with a page to itself at most, the old bytes, the new ones. */
#define JOURNAL_SLOT_BYTES (4096 + 2ull * EXPORT_ATOMIC_BYTES)
#define JOURNAL_FILE_BYTES (JOURNAL_HEAD_BYTES + JOURNAL_SLOTS * JOURNAL_SLOT_BYTES)

/* Numbers as the machine has them: a file for this machine. */
struct journal_record {
	uint64_t magic; /* 0: there is none */
	uint64_t journal;
	uint64_t sequence; /* of one run of a daemon */
	uint64_t offset;
	uint32_t length;
	uint32_t lba_bytes;
	uint32_t crc; /* CRC-32C of record and bytes, taken with 0 here */
	uint8_t reserved[20];
};
static_assert(sizeof(struct journal_record) == 64, "a cache line");

struct journal_slot {
	uint64_t at;   /* in the file */
	uint8_t *data; /* as it is there */
	bool used;
};

/* Which file its records are of. */
enum journal_whose {
	JOURNAL_NOBODYS, /* it was never finished, and has none */
	JOURNAL_OURS,	 /* of the one that is asked for */
	JOURNAL_OTHERS,
};

struct journal {
	char *path, *name;
	int dir, fd;
	enum journal_whose whose;
	bool made;    /* by this journal_open_named() */
	uint64_t id;  /* in each record: those of earlier ones count for nothing */
	uint8_t *map; /* on DAX, of ours; else NULL */
	struct persistence by;

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t slot_free, synced_more;
	struct journal_slot slots[JOURNAL_SLOTS];
	uint8_t *memory; /* of all slots' data */
	uint64_t sequence;
	uint64_t asked, synced; /* fdatasync(2): who comes while one is under way shares the next */
	bool syncing;
	atomic_int err; /* it cannot be written; for good */
};

/** The bytes of a record, which follow it. */
static inline uint8_t *journal_old(struct journal_record *r)
{
	return (uint8_t *)(r + 1);
}

static inline uint8_t *journal_new(struct journal_record *r)
{
	return journal_old(r) + r->length;
}

static inline size_t journal_record_bytes(const struct journal_record *r)
{
	return sizeof(*r) + 2 * (size_t)r->length;
}

/**
 * Opens the journal `name` of the state directory, whosever it is, seen from the file of `mark`; ours is made
 * ready to be written. Where there is none, or nobody's, `create` makes one of ours; without, `*j` is NULL if
 * there is none. -EBADMSG: it is damaged; others of the system. Worker thread.
 */
MUST_CHECK int journal_open_named(const char *state_dir, const char *name,
				  const struct identity_mark *mark, bool create, struct journal **j,
				  struct errtext *err);
/** Whether the file `name` in the folder is a journal of the file of `mark`, in good order. */
bool journal_is_of(int dir, const char *name, const struct identity_mark *mark);
/** A descriptor of the folder of journals, or -errno: -ENOENT, none was ever made. close(2) it. */
MUST_CHECK int journal_folder_open(const char *state_dir);
/** Closes and removes it. */
void journal_remove(struct journal *j);
/** Closes it, and gives it a name that no export has, under which journal_recover() finds it. */
MUST_CHECK int journal_set_aside(struct journal *j, struct errtext *err);

/**
 * What a write left torn that a crash has ended is made whole: the new bytes, where each byte in place is
 * the old or the new one. What is neither was written by others since and stays, as do blocks that the
 * file does not have any more. Nothing is left to do then. Of a journal that is ours; under tenure.
 */
MUST_CHECK int journal_replay(struct journal *j, const struct view *view,
			      struct journal_found *found, struct errtext *err);
/** How many writes had not ended. 0 or -errno. */
MUST_CHECK int journal_count(struct journal *j, unsigned int *nr);

uint32_t journal_crc(const struct journal_record *r);

/** Bytes of the file, durable when it returns; -EIO from then on if that fails. Any thread that may sleep. */
MUST_CHECK int journal_put(struct journal *j, uint64_t at, const void *bytes, size_t length);
/** The same of several: all that was put loosely before journal_sync() is durable behind it. */
MUST_CHECK int journal_put_loosely(struct journal *j, uint64_t at, const void *bytes,
				   size_t length);
MUST_CHECK int journal_sync(struct journal *j);

#endif
