/* SPDX-License-Identifier: BSD-3-Clause */
/* What an export is inside this room. For the room's own files. */
#ifndef LEASEHOLD_EXPORT_FILE_H
#define LEASEHOLD_EXPORT_FILE_H

#include "export/export.h"
#include "damage.h"
#include "device.h"
#include "lockfile.h"
#include "persistence.h"
#include "util/list.h"

#include <pthread.h>
#include <stdatomic.h>

struct export
{
	char *name;
	char *path;
	uint32_t lba_bytes;
	enum export_prepare prepare;
	enum export_unshare unshare;
	unsigned int allocate_reserve_percent;
	bool read_only;
	bool inbound_persistent;
	bool sector_atomic;
	bool keep, taken_over;
	bool closable; /* mapped twice: view_close() */
	bool filled;   /* once, or in an earlier life: holes that there are now stay */
	bool hugetlbfs;
	atomic_bool blocks_behind; /* its end, seen once: all_there() in view.c */
	enum export_medium medium;
	struct device device;		/* EXPORT_DEVICE */
	struct persistence persistence; /* of DAX */
	uint64_t map_align;		/* of the mapping: a huge page of the medium */
	struct export_identity identity;
	char *state_dir;
	char *identity_before; /* what its file said before export_open() wrote it; NULL: it did not */
	int fd;
	dev_t dev;
	ino_t ino;
	char *overlay; /* where one was mounted whose upper directory has it; NULL: nowhere */
	struct lockfile lock;
	pthread_rwlock_t fill_lock; /* fill.h */
	struct damage *damage;
	_Atomic(struct journal *) journal; /* what is written goes by it; NULL: none, or not yet */
	bool recovered;			   /* what an earlier daemon left in one was made good */
	struct list promise_link;	   /* space.c's, as is … */
	uint64_t promised_bytes;	   /* … what it is to have of the file system; 0: nothing */
};

/** Size in bytes, not rounded. 0 or -errno. */
MUST_CHECK int export_file_bytes(const struct export *e, uint64_t *bytes);

/** Whether MAP_SYNC works; does by trying: flags and mount options promise more than mmap(2) keeps. */
bool export_map_sync_works(int fd);

/** Bytes of a page of the machine's. */
uint64_t export_page_bytes(void);

/**
 * Why touching the byte at `offset` of a mapping raised SIGBUS with `si_code` (0: unknown):
 * -ERANGE, -ENOSPC or -EIO.
 */
int export_fault_errno(const struct export *e, uint64_t offset, int si_code);

#endif
