/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An export: one file of the storage host (its identity, descriptor, lock), and views of it: what
 * the file is at one moment, mapped. The only room that opens, maps, allocates and persists files.
 *
 * Threads: everything here may sleep in the file system and is for worker threads, but where said.
 * Nothing here creates RDMA keys; nothing here is called without the caller holding the tenure,
 * where said.
 */
#ifndef LEASEHOLD_EXPORT_H
#define LEASEHOLD_EXPORT_H

#include "util/util.h"
#include "wire/direct.h"

#include <stdatomic.h>
#include <sys/types.h>

enum export_medium {
	EXPORT_DAX,	   /* fsdax: MAP_SYNC works; durable once persisted */
	EXPORT_DEVICE,	   /* device-dax: no file system, so nobody takes anything back */
	EXPORT_MEMORY,	   /* tmpfs, hugetlbfs: can be pinned; gone with the power */
	EXPORT_PAGE_CACHE, /* any other file system; software fabric only; Flush is fdatasync */
};

/** "fsdax", "device-dax", "memory", "page cache". */
const char *export_medium_text(enum export_medium medium);

enum export_prepare {
	EXPORT_PREPARE_NONE,	 /* holes stay holes until somebody writes to them */
	EXPORT_PREPARE_ALLOCATE, /* fill all holes when the export is added first, or adopted */
};

/** Blocks that clones of the file share with it. */
enum export_unshare {
	EXPORT_UNSHARE_NEVER,	   /* stay so until somebody writes to them */
	EXPORT_UNSHARE_ON_ACQUIRE, /* are copied when a client asks for grants of them */
};

/* Of the file system, what stays for others when holes are filled beforehand or blocks unshared. */
#define EXPORT_DEFAULT_RESERVE_PERCENT 1
#define EXPORT_MAX_RESERVE_PERCENT     99

/** What the configuration says of an export. Strings are copied. */
struct export_config {
	const char *name; /* export_name_check() passed */
	const char *path;
	uint32_t lba_bytes; /* 512 or 4096 */
	enum export_prepare prepare;
	enum export_unshare unshare;
	unsigned int allocate_reserve_percent; /* of the file system: stays for others */
	bool read_only;
	bool inbound_persistent;   /* declared: see export_durability() */
	bool sector_atomic;	   /* no write is torn: see export_atomic_bytes() */
	bool keep;		   /* open for the daemon that follows if this one crashes */
	bool closable;		   /* view_close() may be asked for: it is mapped twice */
	bool software_fabric_only; /* every listener is: page-cache files are then allowed */
	bool adopt;		   /* the file takes the place of the one that the identity names */
	const uint8_t *uuid;	   /* NULL, or the only identity that it may have; copied */
	const char *lock_dir;	   /* lock files, one by device and inode */
	const char *state_dir;	   /* identity; "" : none kept, UUID derived from name and file */
};

struct export_identity {
	uint8_t uuid[16];
	uint8_t nguid[16];
};

/**
 * What the service manager has kept open of a daemon that crashed (sd_listen_fds(3)), for exports with
 * `keep`: export_open() takes it. In main(), before any thread is made and any descriptor that may stay.
 */
void export_kept_receive(void);
/**
 * Sets low descriptor numbers aside for files to come, so many at most and an eighth of RLIMIT_NOFILE: an
 * export beyond has any number. In main(), before a device is opened; low_fd.c says what for.
 */
#define EXPORT_LOW_FDS 256
void export_reserve_fds(void);
/** What no export has taken is closed, and its lease let go. Any thread, once all are open. */
void export_kept_drop(void);

struct export;

/**
 * Checks the path (regular file or device-dax device, not empty, size a multiple of the LBA or
 * rounded down to it, see EXPORT_WARN_TAIL), takes the lock file *before* open(2) (an open would
 * recall the other owner's lease), opens O_RDWR | O_NONBLOCK, reads or creates the identity. Takes no
 * lease, keeps nothing mapped.
 * Errors, each with a sentence that says what to do: -ENOENT, -EISDIR, -EINVAL (empty, neither file
 * nor device), -EBUSY (served already, by us or by another daemon: named; a device that the kernel
 * uses as memory), -EACCES, -EWOULDBLOCK (another process holds a lease), -EMEDIUMTYPE (page-cache
 * file and a listener of real RDMA; or inbound_persistent, sector_atomic, or unshare, where it cannot be so),
 * -EREMCHG (another file than the one that had the identity), -ESTALE (not the `uuid`), -EBADMSG
 * (the identity file makes no sense: file and line named), others of the system. Worker thread.
 */
MUST_CHECK int export_open(const struct export_config *config, struct export **e,
			   struct errtext *err);
/**
 * What stands in the way of export_open() now, as far as can be told without opening the file: 0, or its
 * errors and sentences; and -EAGAIN: other processes have it open or mapped, which are named. Changes
 * nothing. Worker thread.
 */
MUST_CHECK int export_look(const struct export_config *config, struct errtext *err);

/**
 * An export of a scratch file in the folder of config->path (".leasehold-probe-PID-N"), which need not be
 * there itself; of a device, of that. No identity is made. export_trial_close() removes what was made. Of one
 * at a time. Errors as export_open(). Worker thread.
 */
MUST_CHECK int export_trial_open(const struct export_config *config, struct export **e,
				 struct errtext *err);
void export_trial_close(struct export *e);

/**
 * Every view must be freed. Removes the lock file. Takes back the identity that export_open() made or
 * adopted, unless the export became known: a refused start leaves nothing that is in a later one's way.
 */
void export_close(struct export *e);
/** Hosts may have been told its identity, which now stays. Control thread, before export_close(). */
void export_became_known(struct export *e);

/* Any thread. */
const char *export_name(const struct export *e);
const char *export_path(const struct export *e);
const struct export_identity *export_identity(const struct export *e);
enum export_medium export_medium(const struct export *e);
uint32_t export_lba_bytes(const struct export *e);
bool export_read_only(const struct export *e);
/** A daemon that crashed had it open, and maybe a lease on it, which somebody may wait for. */
bool export_taken_over(const struct export *e);
/** The only O_RDWR open file description of the file; the lease rides on it. */
int export_fd(const struct export *e);
/** Are loads and stores those of the medium itself, past any cache of the kernel's? */
bool export_is_dax(const struct export *e);
/** Not what a descriptor of its own reads and writes: a device is reached by its mapping alone. */
bool export_by_mapping_only(const struct export *e);
/**
 * Nobody can take its memory away, so it is served without a lease where there are none: a device, and
 * hugetlbfs (kernel 7.2), whose pages belong to whoever holds a reference.
 */
bool export_needs_no_lease(const struct export *e);
/** What block writes and Flush mean here, for Identify: true unless what is persisted is durable. */
bool export_volatile_cache(const struct export *e);
/**
 * Best level that a direct grant can promise by an adapter: LH_DURABLE_NONE with a volatile cache; else
 * LH_DURABLE_READ_AFTER_WRITE if it was declared that what an adapter writes here survives a power
 * failure once a read behind it has been answered; else LH_DURABLE_COMMIT.
 */
enum lh_durability export_durability(const struct export *e);

/* What a record of the journal holds. */
#define EXPORT_ATOMIC_BYTES (128u << 10)

/**
 * How many bytes one view_copy_in() or view_zero() may have, in whole blocks, to be there as a whole or not
 * at all when power fails, or the daemon dies, in the middle of it; of a longer one that holds for each block.
 * 0: nothing is promised, not even of a block (LBA). Else writes go by a journal in the state directory: on
 * worker threads, by these two functions, and by no adapter. Any thread.
 */
uint32_t export_atomic_bytes(const struct export *e);

/**
 * The journal could not be written. Until the export is opened anew block writes fail (-EIO), so that none is
 * torn; and nobody may be granted it for writing: what a record still says would go over it. Any thread.
 */
bool export_unwritable(const struct export *e);

/**
 * Whether what lies in the state directory, or will, is gone with the power: on tmpfs and the like. A journal
 * there is of no use for a file that is not. Any thread that may sleep in the file system.
 */
bool export_state_is_volatile(const char *state_dir);

/** Of DAX: the platform flushes the processor's caches at a power failure (eADR). */
bool export_caches_survive(const struct export *e);

/**
 * Where an overlay was mounted, when the file was opened, whose upper directory has it; NULL: nowhere.
 * Who truncates it there asks neither lease nor watch.
 */
const char *export_overlay(const struct export *e);

/** What the path that was configured names now. */
enum export_place {
	EXPORT_IN_PLACE,  /* the file that is open, or nobody can tell */
	EXPORT_NOT_THERE, /* nothing */
	EXPORT_REPLACED,  /* another file */
	EXPORT_DELETED,	  /* and the file that is open has no name left */
};

/** Looks; opens nothing. Worker thread. */
enum export_place export_place(const struct export *e);

/**
 * Who has the file open or mapped, from /proc, for people: "postgres (pid 812), cat (pid 991)".
 * Writes "" if nobody is seen (no permission). Returns the number found.
 */
int export_holders(const struct export *e, char *text, size_t size);

/* ---- views ---------------------------------------------------------------------------------- */

/** Part of the file that may be registered: allocated, written, unshared. */
struct export_run {
	uint64_t offset; /* bytes, page-aligned */
	uint64_t length; /* bytes, page-aligned (the last one may reach past the size) */
};

/**
 * The file at one moment. Immutable; made and freed by its owner (the holding), read by all.
 * [base, base + size) is mapped shared, MAP_SYNC on DAX, at 2 MiB alignment (of the
 * huge page on hugetlbfs).
 */
struct view {
	struct export *export;
	uint32_t generation;
	uint8_t *base;
	uint64_t size_bytes; /* of the file, rounded down to the LBA */
	uint64_t mapped_bytes;
	/* These four make up the file's size, which exceeds size_bytes by less than an LBA. */
	uint64_t backed_bytes;	       /* in runs */
	uint64_t hole_bytes;	       /* holes, and what else makes no run of whole pages */
	uint64_t shared_bytes;	       /* with clones */
	uint64_t left_out_bytes;       /* in runs if view_leave_out() had not been asked for less */
	const struct export_run *runs; /* ascending, disjoint, not touching */
	unsigned int nr_runs;
	/* What view_unshare() would make runs of, in the same order; none if it is not to. */
	const struct export_run *clones;
	unsigned int nr_clones;
	struct mapping *mapping; /* the room's own */
};

/** The size of the file now, rounded down to the LBA. 0 or -errno; -ENOLINK: deleted. */
MUST_CHECK int export_size(const struct export *e, uint64_t *bytes);

/**
 * Looks at size and extents, with EXPORT_PREPARE_ALLOCATE fills the holes (unless that was done, as its
 * identity says, which says so from then on), fills unwritten extents through the mapping's own faults, syncs,
 * looks again, maps, and pre-faults every run for writing (MADV_POPULATE_WRITE; never load + store).
 * Under tenure. -ENODATA: size 0 now; -ENOLINK: deleted. On memory file systems nothing is shared
 * and SEEK_HOLE tells the holes (hugetlbfs has none: every page is got here). Page-cache files are
 * not pre-faulted and keep their unwritten extents, which count as backed. A view of nothing but
 * holes has no runs and is no error. `before`, or NULL: the view of an earlier generation, whose mapping
 * is used again if the file has the same pages still. -ECANCELED: `stop`, or NULL, has become true, which
 * is looked at every few pages; what was made ready by then stays so.
 */
MUST_CHECK int view_new(struct export *e, uint32_t generation, const struct view *before,
			const atomic_bool *stop, struct view **view, struct errtext *err);
/**
 * Before the first view: whether making it changes what the file has of its file system (holes
 * that are filled, pages that hugetlbfs gets, unwritten extents on DAX). `*bytes`: how many will be
 * backed then; 0: it changes nothing. The space for the holes is kept for this export, from what
 * other exports look for, until it has them or is closed. Changes nothing itself. Under tenure.
 * -ENOSPC; others of the system's.
 */
MUST_CHECK int export_look_ahead(struct export *e, uint64_t *bytes, struct errtext *err);
void view_free(struct view *view);
/**
 * Takes the access to [base, base + mapped_bytes) away from everybody, for good: of this view and of all
 * that share its mapping. An adapter that maps on demand goes by this process's page tables: when this
 * returns it has dropped what it had of them, and what it asks for it does not get. What the functions
 * here do with the bytes goes another way, and goes on. Of an export that is `closable`. 0 or -errno.
 * Idempotent. Worker thread.
 */
MUST_CHECK int view_close(const struct view *view);

/**
 * Fills the holes of [offset, offset + length) (fallocate with KEEP_SIZE, then prepared like in
 * view_new()), and makes a view of the same generation and mapping with the runs there are now.
 * Shared blocks stay shared and out of the runs, unless the export says otherwise (view_unshare()).
 * Under tenure. The old view stays valid until freed.
 * -ENOSPC: it does not fit beside what stays for others; then no hole is filled.
 */
MUST_CHECK int view_allocate(const struct view *old, uint64_t offset, uint64_t length,
			     const atomic_bool *stop, struct view **view, struct errtext *err);

/**
 * The same without filling holes: copies what clones share there to blocks of the file's own, if
 * the export says on-acquire. -ENOSPC as above. What was copied before an error stays so, and is
 * seen by the next look.
 */
MUST_CHECK int view_unshare(const struct view *old, uint64_t offset, uint64_t length,
			    const atomic_bool *stop, struct view **view, struct errtext *err);

/**
 * A fresh look: the same without filling or copying, of a file that somebody has changed in
 * [offset, offset + length), which alone is pre-faulted. -ERANGE: it is longer now, which takes another
 * mapping, or it ends before a run of the old view does. One that is shorter otherwise gets a view that
 * ends there.
 */
MUST_CHECK int view_again(const struct view *old, uint64_t offset, uint64_t length,
			  const atomic_bool *stop, struct view **view, struct errtext *err);

/** Bytes of an export. */
struct export_range {
	uint64_t offset;
	uint64_t length;
};

/**
 * A view of the same generation and mapping whose runs leave out `ranges` (page-aligned): first step
 * of a hole punch. The file is not looked at. The old view stays valid until freed.
 */
MUST_CHECK int view_exclude(const struct view *old, const struct export_range *ranges,
			    unsigned int nr_ranges, struct view **view);

/** The same of what comes back: left_out_bytes counts it, and it is no hole. */
MUST_CHECK int view_leave_out(const struct view *old, const struct export_range *ranges,
			      unsigned int nr_ranges, struct view **view);

/**
 * A view of the same generation and mapping that ends at `bytes`, which are fewer than the old one's:
 * first step of a truncate of our own. The file is not looked at.
 */
MUST_CHECK int view_cut(const struct view *old, uint64_t bytes, struct view **view);

static inline uint64_t view_file_bytes(const struct view *view)
{
	return view->backed_bytes + view->hole_bytes + view->shared_bytes + view->left_out_bytes;
}

/** What the file has behind its last whole logical block, and what is not served. Any thread. */
static inline uint64_t view_tail_bytes(const struct view *view)
{
	return view_file_bytes(view) - view->size_bytes;
}

/* What whoever runs the target should know of an export. */
enum export_warning {
	EXPORT_WARN_PAGE_CACHE = 1 << 0, /* no DAX */
	EXPORT_WARN_TAIL = 1 << 1,	 /* the size is not one of whole blocks */
	EXPORT_WARN_SPARSE = 1 << 2,	 /* and nobody asked for its holes to be filled */
	EXPORT_WARN_OVERLAY = 1 << 3,	 /* export_overlay() */
	EXPORT_WARN_UNWRITABLE = 1 << 4, /* export_unwritable() */
};

/**
 * Those that hold for the view (NULL: none now), of whose holes `hole_bytes` are left, a mask of
 * enum export_warning. Any thread.
 */
unsigned int export_warnings(const struct export *e, const struct view *view, uint64_t hole_bytes);
/** A sentence about one that holds, with what to do about it. Any thread. */
void export_warning_text(const struct export *e, const struct view *view, uint64_t hole_bytes,
			 enum export_warning warning, char *text, size_t size);

/**
 * How many bytes of the file lie in holes now: hosts fill those of a view by writing to them. Not
 * counted again while the file has as many `*blocks` as the last time, at first UINT64_MAX. 0 or
 * -errno. Worker thread.
 */
MUST_CHECK int export_hole_bytes(const struct export *e, uint64_t *blocks, uint64_t *bytes);

/**
 * What of the file somebody may have changed who did not have to ask. `*size_bytes` as export_size(). If
 * the file has fewer `*blocks` than the last time (at first UINT64_MAX), `*runs`, to free(), are the bytes
 * that have any, in whole pages, ascending, not touching; else NULL. 0 or -errno; -ENOLINK: deleted.
 * Worker thread.
 */
MUST_CHECK int export_backing(const struct export *e, uint64_t *blocks, uint64_t *size_bytes,
			      struct export_run **runs, unsigned int *nr_runs);

/** True if [offset, offset + length) lies inside one run. Any thread. */
bool view_backed(const struct view *view, uint64_t offset, uint64_t length);

/** True if view_unshare() may make a run of the page at `offset`. Any thread. */
bool view_unsharable(const struct view *view, uint64_t offset);

/** The run that holds `offset`, else the next one after it, else NULL. Any thread. */
const struct export_run *view_run_at(const struct view *view, uint64_t offset);

/* ---- damage --------------------------------------------------------------------------------- */

/* Ranges of damaged memory that are known of an export; what is beyond is found anew by each access. */
#define EXPORT_MAX_BAD_RANGES 64

/**
 * Is any of [offset, offset + length) known to be damaged? Then `*bad` is the first such range, whole
 * pages, which may reach outside. Bytes get there when an access of ours fails with poison, or the
 * kernel tells of it, or the device's list of bad blocks has it, and leave when they were written whole, given back to the file system, or looked
 * at anew by view_new(). Any thread; without damage a load.
 */
bool export_bad(const struct export *e, uint64_t offset, uint64_t length, struct export_range *bad);
/** All of them, ascending; returns how many. Any thread. */
unsigned int export_bad_ranges(const struct export *e,
			       struct export_range ranges[EXPORT_MAX_BAD_RANGES]);
/** How often something was found: another number, another look. Any thread. */
uint64_t export_bad_found(const struct export *e);
/** What the kernel has told of by a signal finds its export. Worker thread. */
void export_bad_collect(void);
/** On fsdax: a look at the bad blocks of the device, if it has others than the last time. Worker thread. */
void export_bad_look(const struct export *e);

/* ---- bytes ---------------------------------------------------------------------------------- */

/**
 * Makes [offset, offset + length) of the mapping durable: on DAX by the persist function of
 * libpmem2 (nothing on eADR), on other media nothing (their cache is volatile and said to be).
 * Under tenure; without, a range that was cut off meanwhile may count as durable. Guarded: -ERANGE
 * past the view or the file, -EIO if the medium failed. Any thread; costs as much as the range is
 * long (reactors: up to 64 KiB).
 */
MUST_CHECK int view_persist(const struct view *view, uint64_t offset, uint64_t length);

/** Flush: fdatasync where the cache is volatile and durable work exists, else nothing. */
MUST_CHECK int export_flush(const struct export *e);

/**
 * Copies into the file through the mapping and persists, never extending it: -ERANGE if it was
 * truncated under us, -ENOSPC, -EIO (poison, a dead device). What was copied before the failing
 * page stays. Needs no tenure. The file-system path of block writes.
 */
MUST_CHECK int view_copy_in(const struct view *view, uint64_t offset, const void *src,
			    uint64_t length);

/**
 * Between the mapping and a buffer, persisting what is written, with nothing looked up: under
 * tenure, of a range that is backed (view_backed()). Guarded: -ERANGE, -EIO as above. Reactors: up
 * to 64 KiB, of what is not a page-cache file. In: of an export without export_atomic_bytes().
 */
MUST_CHECK int view_stage_in(const struct view *view, uint64_t offset, const void *src,
			     uint64_t length);
MUST_CHECK int view_stage_out(const struct view *view, uint64_t offset, void *dst, uint64_t length);

/**
 * The same as view_copy_in() outwards (by pread(2)): -ERANGE, -EIO. Holes read as zeros without
 * being filled, which reading the mapping would do on memory file systems. Reactors use io_uring
 * on export_fd(). What is known to be damaged is not touched: -EIO.
 */
MUST_CHECK int view_copy_out(const struct view *view, uint64_t offset, void *dst, uint64_t length);

/**
 * Reads all of it that is mapped, for the damage that is to be noted on the way: of a range that an
 * adapter could not reach. Guarded; any thread; costs as much as the range is long.
 */
void view_touch(const struct view *view, uint64_t offset, uint64_t length);

/** Writes zeros as view_copy_in() writes bytes: through the mapping, durable, blocks allocated. */
MUST_CHECK int view_zero(const struct view *view, uint64_t offset, uint64_t length);

/** 0 if the file holds `bytes` there, -EILSEQ if it does not; else as view_copy_out(). */
MUST_CHECK int view_compare(const struct view *view, uint64_t offset, const void *bytes,
			    uint64_t length);

/**
 * Copies inside the file, between ranges that do not overlap; as view_copy_in(). On an error `unread`
 * says whether it was the source that could not be read.
 */
MUST_CHECK int view_copy(const struct view *view, uint64_t from, uint64_t to, uint64_t length,
			 bool *unread);

/** Reads the range and forgets it: 0 if all of it can be read. As view_copy_out(). */
MUST_CHECK int view_verify(const struct view *view, uint64_t offset, uint64_t length);

/**
 * Gives the blocks of the ranges back to the file system: they read as zeros. Never changes the
 * size. No key may exist over them. What a failing range leaves undone is undone, -errno; the
 * holes are as durable as a write would be.
 */
MUST_CHECK int export_punch(const struct export *e, const struct export_range *ranges,
			    unsigned int nr_ranges);

/**
 * Truncates or extends the file, durably; what is added is a hole. No key may exist over what goes,
 * nor over any of a file that is pinned on DAX. -EOPNOTSUPP: a device.
 */
MUST_CHECK int export_resize(const struct export *e, uint64_t bytes);

/** Whether a punched hole is one that nobody fills: not on hugetlbfs or a device. Any thread. */
bool export_can_punch(const struct export *e);

/**
 * Copies between any two addresses, one of which may lie in a view: -EFAULT instead of SIGBUS. Any
 * thread. For the software fabric's copies (iwarp_set_copy_hook()). Like all that is guarded it
 * unblocks SIGBUS in the calling thread, for good.
 */
MUST_CHECK int export_guarded_copy(void *dst, const void *src, size_t length);

/** Are the bytes at `a` and `b` the same? 1 yes, 0 no, or -EFAULT, as export_guarded_copy(). */
MUST_CHECK int export_guarded_equal(const void *a, const void *b, size_t length);

/** Installs the SIGBUS handler; once, before threads. Other SIGBUS still end the process. */
MUST_CHECK int export_guard_init(void);

/* ---- scratch -------------------------------------------------------------------------------- */

/**
 * A file of its own in the export's folder (".leasehold-probe-PID-N"), for the self-test of
 * adapters: allocated, mapped as a view is and pre-faulted. Linked until freed. For a device, which is not
 * written to, other memory that can be pinned.
 */
struct export_scratch {
	uint8_t *base; /* at 2 MiB alignment */
	uint64_t bytes;
	int fd;
	int dir;
	char name[64];
};

/** At least `bytes`. Removes what dead processes have left there. */
MUST_CHECK int export_scratch_new(const struct export *e, uint64_t bytes,
				  struct export_scratch *scratch, struct errtext *err);
/** Nothing may be registered over it. */
void export_scratch_free(struct export_scratch *scratch);
/** Takes the access to it away from everybody, as view_close(), or gives it back. 0 or -errno. */
MUST_CHECK int export_scratch_close(const struct export_scratch *scratch, bool closed);

/** Which file system the file lies on. 0 or -errno. */
MUST_CHECK int export_device(const struct export *e, dev_t *device);

#endif
