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

#include <limits.h>
#include <stdatomic.h>

#include "export/export.h"
#include "fabric/fabric.h"
#include "util/list.h"
#include "wire/direct.h"

/* One registration covers at most this much: a recall of a range registers less anew, at either end. */
#define REGION_SLICE_BYTES MIB(64)
#define REGION_MAX_SLICES  65536 /* runs beyond this many are left to the file-system path */

/**
 * What the self-test found for one device and the memory of one file system; and of an export what is in
 * force, with STAGED for NONE.
 */
struct region_probe {
	enum lh_rung rung; /* best that works: PINNED, ODP or NONE */
	bool passing;	   /* what failed may work another time: no memory for it, say */
	bool iova;	   /* a freely chosen address works: grants get random ones */
	bool windows;	   /* type-2 windows enforce bounds and queue pair */
	bool flush;	   /* RDMA FLUSH is obeyed, by keys that allow it alone */
	bool closes; /* of ODP: its keys reach nothing of memory that is closed (view_close()) */
	uint64_t dereg_ns_per_gib; /* measured, of one large registration … */
	uint64_t dereg_ns_per_key; /* … and of a page's, as a small grant has it */
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
 * domain, use after invalidate; on demand, use of memory that was closed; for windows also bounds, another queue pair, and both ways of
 * revoking. An iova, closing, windows or FLUSH that fail cost only themselves. Returns 0 with rung NONE where
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

/* ---- what may be registered ------------------------------------------------------------------- */

/**
 * One export's tenure, as its owner tells of it. Whatever registers memory of an export asserts that it is
 * covered: invariant 1. Embed it, all zero; any thread.
 */
struct region_cover {
	const struct export *export; /* NULL: nothing may be registered */
	struct list link;
	struct list gaps;
};

/** Bytes [offset, end) of it that are let go while the rest is held. Embed it. */
struct region_gap {
	uint64_t offset, end;
	struct list link;
};

/** The tenure is taken. */
void region_covered(struct region_cover *cover, const struct export *e);
/** Right before it is let go. Gaps stay. Idempotent. */
void region_uncovered(struct region_cover *cover);
/** The same of a part: right before that is let go; once it is taken again. */
void region_gap_open(struct region_cover *cover, struct region_gap *gap);
void region_gap_close(struct region_gap *gap);

/* ---- block regions --------------------------------------------------------------------------- */

/**
 * What one adapter may have registered for block commands at once, of all exports, and has. Limits are
 * set once; the registrar alone changes what is used, any thread may look.
 */
struct region_budget {
	uint32_t max_registrations;
	uint64_t max_bytes;
	_Atomic uint32_t registrations;
	_Atomic uint64_t bytes;
};

/** Whether a slice of so many bytes more would be within it. Any thread. */
bool region_budget_fits(const struct region_budget *budget, uint64_t bytes);

#define REGION_BUDGET_SLICES 16 /* at least so many slices fit in the bytes of a budget */

/* How much a slice is used: each turn in which it is touched adds, each that cools takes one away. */
#define REGION_HEAT_TOUCH 2
#define REGION_HEAT_MAX	  16

/** A slice of the plan; `offset` and `length` never change, `lkey` not while it is ready. */
struct region_slice {
	uint64_t offset; /* bytes in the file */
	uint64_t length;
	uint32_t lkey;
	_Atomic bool ready;    /* its key may be named */
	_Atomic bool touched;  /* by a command, since it was looked at last; also in vain */
	_Atomic bool withheld; /* it has a key that nobody may name any more */
	_Atomic uint8_t heat;
	bool kept; /* its bytes had a key in the region before */
};

/**
 * The slices of one view, registered in one protection domain as far as the budget goes: which ones, may
 * change while it is in use.
 */
struct region;

/*
 * Made and taken apart a slice at a time, so that the registrar can turn to a recall in between:
 * region_begin() registers nothing, but shares what `old`, an earlier region of the export or NULL, has
 * of the same mapping, and learns from it what is hot;
 * region_step() registers one slice; region_shrink() deregisters one. Both return 1 if there is more to
 * do, 0 if not (or, of a step: not within the budget), or -errno (nothing lost: try again, or shrink).
 * `old` must live during the call only.
 */
MUST_CHECK int region_begin(struct fabric_pd *pd, struct region_budget *budget,
			    const struct view *view, enum lh_rung rung, const struct region *old,
			    struct region **region);
MUST_CHECK int region_step(struct region *region, struct errtext *err);
/** A step that registers nothing but what had a key in `old`: so that its users go on as they did. */
MUST_CHECK int region_step_kept(struct region *region, struct errtext *err);
MUST_CHECK int region_shrink(struct region *region);
/** Whether a step would register one. While nothing of it is with the registrar. */
bool region_more(const struct region *region);
/** Whether it lacks slices, whatever the budget. Any thread while the region lives. */
bool region_lacks(const struct region *region);
/** Whether nothing that it lacks was in the region before. Registrar, or while it is idle. */
bool region_past(const struct region *region);

/**
 * Deregisters the next slice that touches the range, whoever shares it, of a region that is in use: no
 * work request may name its key any more. 1: it did, there may be more; 0: there was none; -errno.
 */
MUST_CHECK int region_withdraw(struct region *region, uint64_t offset, uint64_t length);

/** Whether a slice that touches the range has a key. While nothing of it is with the registrar. */
bool region_reaches(const struct region *region, uint64_t offset, uint64_t length);
/**
 * Whether bytes of both ranges lie in one slice: who names the key of one then names what reaches the
 * other, too. Lock-free, any thread while the region lives.
 */
bool region_shares(const struct region *region, uint64_t offset, uint64_t length, uint64_t other,
		   uint64_t other_length);

/** Deregisters all: when it returns 0 every key of it is dead. On -errno those left can be retried. */
MUST_CHECK int region_free(struct region *region);

/**
 * The slice that holds `offset`, for a command that is to name its key, or NULL (hole, shared,
 * unregistered). Lock-free, any thread while the region lives.
 */
const struct region_slice *region_find(const struct region *region, uint64_t offset);

/**
 * A command did not find `offset`. True if its slice may be registered, and nobody has missed it since
 * region_age(). Lock-free, any thread while the region lives.
 */
bool region_miss(const struct region *region, uint64_t offset);

unsigned int region_count(const struct region *region); /* keys in it */
uint64_t region_bytes(const struct region *region);	/* that they cover */

/* ---- which slices ---------------------------------------------------------------------------- */

#define REGION_NO_SLICE UINT_MAX

/* On control, of a region that is published. */

/** Once a turn: slices that were touched since the last one get hotter, if it `cools` the others colder. */
void region_age(struct region *region, bool cools);
/** The hottest slice that is not ready and not being taken away, if any is not cold; or none. */
unsigned int region_hottest_missing(const struct region *region);
/** The coldest that is ready, of those with at least so many bytes; or none. */
unsigned int region_coldest_ready(const struct region *region, uint64_t bytes);
/** Slice `i` of the plan. */
const struct region_slice *region_slice_at(const struct region *region, unsigned int i);
static inline unsigned int region_slice_heat(const struct region_slice *slice)
{
	return atomic_load_explicit(&slice->heat, memory_order_relaxed);
}
/**
 * Nobody finds slice `i` any more who looks from now on. It keeps its key until region_release(), for
 * those who have found it.
 */
void region_withhold(struct region *region, unsigned int i);
/** Registrar: deregisters slice `i`, which is withheld: no work request may name its key any more. */
MUST_CHECK int region_release(struct region *region, unsigned int i);
/** Registrar: as region_step(), of slice `i`. */
MUST_CHECK int region_register(struct region *region, unsigned int i, struct errtext *err);

/* ---- keys of grants -------------------------------------------------------------------------- */

/** One client's key over [offset, offset + length) of a view, in the client's protection domain. */
struct grant_key {
	uint64_t offset;
	uint64_t length;
	uint64_t address; /* for the client: random where iova is proven */
	uint32_t rkey;
	struct fabric_mr *mr; /* its own, or … */
	struct fabric_mw *mw; /* … a window; neither: dead */
	const struct export *export;
};

static inline bool grant_key_alive(const struct grant_key *key)
{
	return key->mr || key->mw;
}

/** `access`: enum lh_grant_access. The range must be backed (view_backed()), under tenure. */
MUST_CHECK int grant_key_new(struct fabric_pd *pd, const struct view *view, uint64_t offset,
			     uint64_t length, unsigned int access, const struct region_probe *probe,
			     struct grant_key *key);
/**
 * When it returns 0 the key is dead: no access begins through it. Of a key with a registration of its own
 * that is the proof; what an adapter was just placing through a window may still land, until its slab is
 * dead. Idempotent.
 */
MUST_CHECK int grant_key_kill(struct grant_key *key);

/* ---- … that are windows ----------------------------------------------------------------------- */

/* A client's windows over the bytes of one such slice of the file share a registration. */
#define GRANT_SLAB_BYTES MIB(64)

/** What one client's windows are bound to, in its protection domain. Its own key reaches nothing. */
struct grant_slab {
	uint64_t offset, end; /* bytes in the file, inside one run and one slice */
	struct fabric_mr *mr; /* NULL: not registered yet, or dead */
	const struct export *export;
};

/** GRANT_SLAB_BYTES, or as much of it as the device registers at once. Any thread, as the next two. */
uint64_t grant_slab_bytes(const struct fabric_device *dev);
/** What one may cover round `offset`, which is backed; it may be made smaller before it is registered. */
void grant_slab_plan(const struct fabric_device *dev, const struct view *view, uint64_t offset,
		     struct grant_slab *slab);
bool grant_slab_covers(const struct grant_slab *slab, uint64_t offset, uint64_t length);

/** Registers it unless it is. It must be backed, under tenure, and windows be proven. */
MUST_CHECK int grant_slab_register(struct fabric_pd *pd, const struct view *view,
				   const struct region_probe *probe, struct grant_slab *slab);
/** When it returns 0 nothing reaches its bytes through it or a window of it. Idempotent. -EBUSY: a
 *  window of it lives. */
MUST_CHECK int grant_slab_kill(struct grant_slab *slab);

/** A window for [offset, offset + length) of the slab; it has no key before it is bound. */
MUST_CHECK int grant_window_new(const struct grant_slab *slab, uint64_t offset, uint64_t length,
				struct grant_key *key);
/** The work request that binds it; `access`: enum lh_grant_access. Any thread, as the next. */
void grant_window_bind(const struct grant_slab *slab, const struct grant_key *key,
		       unsigned int access, struct fabric_send_wr *wr);
/** The work request has completed with FABRIC_OK. */
void grant_window_bound(struct grant_key *key);

/**
 * Keys alive now over the memory of the view's export, of every kind (a slab is one, too) and of all its
 * views: must be 0 before a tenure is released. Any thread.
 */
unsigned int region_keys_alive(const struct view *view);

#endif
