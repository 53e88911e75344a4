/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The only room that creates RDMA keys over file memory: the self-test of each adapter, the block
 * regions (local keys for our own READs and WRITEs) and the keys of grants.
 *
 * Everything here blocks and runs on the registrar (or, the self-test, on a worker at start), but
 * region_find(), which is the reactors' data path.
 */
#ifndef LEASEHOLD_REGION_H
#define LEASEHOLD_REGION_H

#include "export/export.h"
#include "fabric/fabric.h"
#include "wire/direct.h"

/* One registration covers at most this much: what a recall of a range takes with it, at either end. */
#define REGION_SLICE_BYTES MIB(64)
#define REGION_MAX_SLICES  65536 /* runs beyond this many are left to the file-system path */

/** What the self-test found for one device and the memory of one file system. */
struct region_probe {
	enum lh_rung rung;	   /* best that works: PINNED, ODP or NONE */
	bool passing;		   /* what failed may work another time: no memory for it, say */
	bool iova;		   /* a freely chosen address works: grants get random ones */
	bool windows;		   /* type-2 windows enforce bounds and queue pair */
	uint64_t dereg_ns_per_gib; /* measured */
	char why[256];		   /* for people: what failed, at which step, on which kind */
};

enum region_choice {
	REGION_AUTO, /* pinned, then ODP, then staged */
	REGION_PINNED,
	REGION_ODP,
	REGION_STAGED, /* nothing is registered: bytes are copied */
};

/** On this rung there are keys. */
static inline bool region_registers(enum lh_rung rung)
{
	return rung == LH_RUNG_PINNED || rung == LH_RUNG_ODP;
}

/**
 * Not for REGION_STAGED. Proves by doing, on loopback queue pairs and a probe file in the
 * directory of `e` (linked until everything is deregistered; stale ones removed), graded, stopping
 * a kind at its first failure: odd offsets over several packets as remote target and as local
 * source and sink, near iova, far iova (ODP: only after near), overrun of the MR, wrong protection
 * domain, use after invalidate; for windows also bounds, another queue pair, and both ways of
 * revoking. An iova or windows that fail cost only themselves. Returns 0 with rung NONE where
 * nothing works; -errno if it could not even try. A worker's; takes seconds at worst
 * (PROBE_COMPLETION_MS a step); what was found is remembered for the device, the file system and
 * the medium, so that a hundred exports do not take a hundred.
 */
MUST_CHECK int region_probe(struct fabric_device *dev, const struct export *e,
			    enum region_choice choice, struct region_probe *result,
			    struct errtext *err);

/**
 * Forgets what was found for the device (NULL: for all): before its fabric is closed, or so that the
 * next test is one.
 */
void region_probe_forget(const struct fabric_device *dev);

/* ---- block regions --------------------------------------------------------------------------- */

struct region_slice {
	uint64_t offset; /* bytes in the file */
	uint64_t length;
	uint32_t lkey;
};

/** The registrations of one view in one protection domain. Immutable once made. */
struct region;

/*
 * Made and taken apart a slice at a time, so that the registrar can turn to a recall in between:
 * region_begin() registers nothing; region_step() one slice (and those that `old`, a region of the
 * same mapping or NULL, has registered already: they are shared); region_shrink() deregisters one.
 * Both return 1 if there is more to do, 0 if not, or -errno (nothing lost: try again, or shrink).
 * `old` must live during the call only.
 */
MUST_CHECK int region_begin(struct fabric_pd *pd, const struct view *view, enum lh_rung rung,
			    struct region **region);
MUST_CHECK int region_step(struct region *region, const struct region *old, struct errtext *err);
MUST_CHECK int region_shrink(struct region *region);

/**
 * The registrations of `old` that touch none of `ranges`, shared with it, for a view that leaves them
 * out: registers nothing. -ENOMEM. `old` must live during the call only.
 */
MUST_CHECK int region_narrow(const struct region *old, const struct view *view,
			     const struct export_range *ranges, unsigned int nr_ranges,
			     struct region **region);

/**
 * Deregisters the next slice that touches the range, whoever shares it, of a region that is in use: no
 * work request may name its key any more. 1: it did, there may be more; 0: there was none; -errno.
 */
MUST_CHECK int region_withdraw(struct region *region, uint64_t offset, uint64_t length);

/** Whether a slice that touches the range has a key. While nothing of it is with the registrar. */
bool region_reaches(const struct region *region, uint64_t offset, uint64_t length);
/** Widens [*from, *to) to the slices that touch it now. Any thread while the region lives. */
void region_widen(const struct region *region, uint64_t *from, uint64_t *to);

/** Deregisters all: when it returns 0 every key of it is dead. On -errno those left can be retried. */
MUST_CHECK int region_free(struct region *region);

/**
 * The slice that holds `offset`, or NULL (hole, shared, unregistered). Lock-free, any thread while
 * the region lives.
 */
const struct region_slice *region_find(const struct region *region, uint64_t offset);

unsigned int region_count(const struct region *region); /* keys in it */

/* ---- keys of grants -------------------------------------------------------------------------- */

/** One client's key over [offset, offset + length) of a view, in the client's protection domain. */
struct grant_key {
	uint64_t offset;
	uint64_t length;
	uint64_t address; /* for the client: random where iova is proven */
	uint32_t rkey;
	struct fabric_mr *mr; /* NULL: dead */
	const struct export *export;
};

/** `access`: enum lh_grant_access. The range must be backed (view_backed()), under tenure. */
MUST_CHECK int grant_key_new(struct fabric_pd *pd, const struct view *view, uint64_t offset,
			     uint64_t length, unsigned int access, const struct region_probe *probe,
			     struct grant_key *key);
/** When it returns 0 the key is dead: the proof. Idempotent. */
MUST_CHECK int grant_key_kill(struct grant_key *key);

/**
 * Keys alive now over the memory of the view's export, of both kinds and of all its views: must be 0
 * before a tenure is released. Any thread.
 */
unsigned int region_keys_alive(const struct view *view);

#endif
