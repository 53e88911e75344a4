// SPDX-License-Identifier: BSD-3-Clause
/*
 * Block regions: the runs of a view, registered for our own READs and WRITEs. On the registrar, one
 * slice at a time, so that a recall's work never waits for a whole export; region_find() runs on
 * the reactors, also while slices come and go. Slices are cut at multiples of the slice size in the
 * file, so that a hole that is filled changes few of them, and one view's region can hold those of
 * the one before. No more is registered than the adapter's budget allows; cache.c in the grant room
 * chooses.
 */
#include "region/region.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "region/keys.h"
#include "wire/wire.h"

#define PAGE_BYTES KIB(4)

/* One registration, held by the region that made it and by later ones of the same mapping. */
struct shared_mr {
	struct fabric_mr *mr; /* NULL: withdrawn */
	unsigned int refs;    /* the registrar only */
};

struct region {
	struct fabric_pd *pd;
	struct region_budget *budget;
	const struct view *view;
	enum lh_rung rung;
	unsigned int planned;
	unsigned int next; /* no slice before it can be registered in this pass, … */
	bool past;	   /* … the second, of those that were in no region before */
	unsigned int top;  /* no slice from there on has a key: it is being taken apart */
	atomic_uint count; /* slices that have a registration; only the registrar changes it, … */
	_Atomic uint64_t bytes; /* … as their bytes … */
	struct region_slice *slices;
	struct shared_mr **mrs; /* … and these; NULL: none */
};

/* ---- budget ---------------------------------------------------------------------------------- */

bool region_budget_fits(const struct region_budget *b, uint64_t bytes)
{
	uint32_t n = atomic_load_explicit(&b->registrations, memory_order_relaxed);
	uint64_t used = atomic_load_explicit(&b->bytes, memory_order_relaxed);

	return n < b->max_registrations && range_ok(used, bytes, b->max_bytes);
}

static void charge(struct region_budget *b, uint64_t bytes)
{
	assert(region_budget_fits(b, bytes));
	atomic_fetch_add_explicit(&b->registrations, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&b->bytes, bytes, memory_order_relaxed);
}

static void refund(struct region_budget *b, uint64_t bytes)
{
	atomic_fetch_sub_explicit(&b->registrations, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&b->bytes, bytes, memory_order_relaxed);
}

/* ---- plan ------------------------------------------------------------------------------------ */

static uint64_t slice_bytes(const struct fabric_pd *pd, const struct region_budget *budget)
{
	uint64_t most = fabric_device_info(fabric_pd_device(pd))->max_mr_bytes;
	uint64_t bytes = REGION_SLICE_BYTES;

	while (most >= PAGE_BYTES && bytes > most)
		bytes /= 2;
	while (bytes > PAGE_BYTES && bytes > budget->max_bytes / REGION_BUDGET_SLICES)
		bytes /= 2;
	return bytes;
}

/* Fills `slices` (NULL: only counts), at most REGION_MAX_SLICES. */
static unsigned int plan(const struct view *view, uint64_t bytes, struct region_slice *slices)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < view->nr_runs; i++) {
		uint64_t at = view->runs[i].offset;
		uint64_t end = at + view->runs[i].length;

		while (at < end && n < REGION_MAX_SLICES) {
			uint64_t cut = min_u64(end, align_down(at, bytes) + bytes);

			if (slices) {
				slices[n].offset = at;
				slices[n].length = cut - at;
			}
			n++;
			at = cut;
		}
	}
	return n;
}

static int region_new(struct fabric_pd *pd, struct region_budget *budget, const struct view *view,
		      enum lh_rung rung, unsigned int planned, struct region **region)
{
	struct region *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->pd = pd;
	r->budget = budget;
	r->view = view;
	r->rung = rung;
	r->planned = r->top = planned;
	r->slices = calloc(planned + 1, sizeof(r->slices[0]));
	r->mrs = calloc(planned + 1, sizeof(struct shared_mr *));
	if (!r->slices || !r->mrs) {
		free(r->slices);
		free(r->mrs);
		free(r);
		return -ENOMEM;
	}
	*region = r;
	return 0;
}

/* Slice `i` has a registration now. */
static void add(struct region *r, unsigned int i, struct shared_mr *mr)
{
	struct region_slice *slice = &r->slices[i];

	r->mrs[i] = mr;
	slice->lkey = mr->mr->lkey;
	atomic_fetch_add_explicit(&r->count, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&r->bytes, slice->length, memory_order_relaxed);
	/* Reactors may look: what a slice is comes before it is there. */
	atomic_store_explicit(&slice->ready, true, memory_order_release);
}

/* Who may find it has, or it is withheld, or quiesced. */
static void drop(struct region *r, unsigned int i)
{
	r->mrs[i] = NULL;
	atomic_store_explicit(&r->slices[i].ready, false, memory_order_relaxed);
	atomic_fetch_sub_explicit(&r->count, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&r->bytes, r->slices[i].length, memory_order_relaxed);
}

static bool is_ready(const struct region_slice *slice)
{
	return atomic_load_explicit(&slice->ready, memory_order_acquire);
}

static bool has_key(const struct region *r, unsigned int i)
{
	return r->mrs[i] && r->mrs[i]->mr;
}

/* Shares registration `k` of `old`, unless there is none or it is on its way out. */
static void share(struct region *r, unsigned int i, const struct region *old, unsigned int k)
{
	if (!has_key(old, k) || !is_ready(&old->slices[k]))
		return;
	old->mrs[k]->refs++;
	add(r, i, old->mrs[k]);
}

static bool touches(const struct region_slice *slice, uint64_t offset, uint64_t length)
{
	return slice->offset < offset + length && offset < slice->offset + slice->length;
}

/*
 * What is known of these bytes, and what there is of exactly these slices. Both are in the file's
 * order.
 */
static void take_over(struct region *r, const struct region *old)
{
	const bool same_memory = old->pd == r->pd && old->rung == r->rung &&
				 old->view->base == r->view->base &&
				 old->view->export == r->view->export;
	unsigned int first = 0;

	for (unsigned int i = 0; i < r->planned; i++) {
		struct region_slice *slice = &r->slices[i];

		while (first < old->planned &&
		       old->slices[first].offset + old->slices[first].length <= slice->offset)
			first++;
		for (unsigned int k = first; k < old->planned; k++) {
			const struct region_slice *had = &old->slices[k];

			if (!touches(had, slice->offset, slice->length))
				break;
			if (region_slice_heat(had) > region_slice_heat(slice))
				atomic_store_explicit(&slice->heat, (uint8_t)region_slice_heat(had),
						      memory_order_relaxed);
			slice->kept |= same_memory && is_ready(had);
			if (same_memory && had->offset == slice->offset &&
			    had->length == slice->length)
				share(r, i, old, k);
		}
	}
}

int region_begin(struct fabric_pd *pd, struct region_budget *budget, const struct view *view,
		 enum lh_rung rung, const struct region *old, struct region **region)
{
	uint64_t bytes = slice_bytes(pd, budget);
	struct region *r;
	int err;

	assert(region_registers(rung));
	err = region_new(pd, budget, view, rung, plan(view, bytes, NULL), &r);
	if (err)
		return err;
	(void)plan(view, bytes, r->slices);
	if (old)
		take_over(r, old);
	*region = r;
	return 0;
}

/* ---- register -------------------------------------------------------------------------------- */

static int register_slice(const struct region *r, const struct region_slice *slice,
			  struct shared_mr **shared)
{
	uint8_t *addr = r->view->base + slice->offset;
	struct shared_mr *mr = calloc(1, sizeof(*mr));
	unsigned int access = FABRIC_ACCESS_LOCAL_WRITE;
	int err;

	if (r->rung == LH_RUNG_ODP)
		access |= FABRIC_ACCESS_ON_DEMAND;
	if (!mr)
		return -ENOMEM;
	err = keys_add(r->view->export, slice->offset, slice->length);
	if (err) {
		free(mr);
		return err;
	}
	err = fabric_mr_reg(r->pd, addr, slice->length, (uint64_t)(uintptr_t)addr, access, &mr->mr);
	if (err) {
		keys_drop(r->view->export);
		free(mr);
		return err;
	}
	charge(r->budget, slice->length);
	mr->refs = 1;
	*shared = mr;
	return 0;
}

/* What is over the budget is left out, and no error. */
int region_register(struct region *r, unsigned int i, struct errtext *text)
{
	const struct region_slice *slice = &r->slices[i];
	struct shared_mr *mr;
	int err;

	if (r->mrs[i] || !region_budget_fits(r->budget, slice->length))
		return 0;
	err = register_slice(r, slice, &mr);
	if (err)
		return errtext_set(
			text, err, "bytes %llu to %llu cannot be registered (%s) on %s: %s%s",
			(unsigned long long)slice->offset,
			(unsigned long long)(slice->offset + slice->length - 1),
			lh_rung_text(r->rung), fabric_device_info(fabric_pd_device(r->pd))->name,
			strerror(-err),
			err == -ENOMEM && r->rung == LH_RUNG_PINNED
				? " (raise RLIMIT_MEMLOCK: LimitMEMLOCK=infinity)"
				: "");
	add(r, i, mr);
	return 1;
}

/* The next slice that can be registered of those that had been before; or `planned`. */
static unsigned int find_kept(struct region *r)
{
	for (; !r->past && r->next < r->planned; r->next++) {
		const struct region_slice *slice = &r->slices[r->next];

		if (!r->mrs[r->next] && slice->kept && region_budget_fits(r->budget, slice->length))
			return r->next;
	}
	return r->planned;
}

/* The next one, of those first. */
static unsigned int find_next(struct region *r)
{
	unsigned int kept = find_kept(r);

	if (kept < r->planned)
		return kept;
	if (!r->past)
		r->next = 0;
	r->past = true;
	while (r->next < r->planned && r->mrs[r->next])
		r->next++;
	if (r->next < r->planned && !region_budget_fits(r->budget, r->slices[r->next].length))
		return r->planned;
	return r->next;
}

int region_step(struct region *r, struct errtext *text)
{
	unsigned int i = find_next(r);
	int err = i < r->planned ? region_register(r, i, text) : 0;

	return err > 0 ? find_next(r) < r->planned : err;
}

int region_step_kept(struct region *r, struct errtext *text)
{
	unsigned int i = find_kept(r);
	int err = i < r->planned ? region_register(r, i, text) : 0;

	return err > 0 ? find_kept(r) < r->planned : err;
}

bool region_more(const struct region *r)
{
	unsigned int i = r->past ? r->next : 0;

	while (i < r->planned && r->mrs[i])
		i++;
	return i < r->planned && region_budget_fits(r->budget, r->slices[i].length);
}

bool region_lacks(const struct region *r)
{
	return region_count(r) < r->planned;
}

bool region_past(const struct region *r)
{
	return r->past;
}

/* ---- use ------------------------------------------------------------------------------------- */

static struct region_slice *planned_at(const struct region *r, uint64_t offset)
{
	unsigned int low = 0, high = r->planned;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;
		struct region_slice *slice = &r->slices[mid];

		if (offset < slice->offset)
			high = mid;
		else if (offset - slice->offset >= slice->length)
			low = mid + 1;
		else
			return slice;
	}
	return NULL;
}

/* True: it was not. Written once between two looks of control: mostly it is only read. */
static bool touch(struct region_slice *slice)
{
	if (atomic_load_explicit(&slice->touched, memory_order_relaxed))
		return false;
	atomic_store_explicit(&slice->touched, true, memory_order_relaxed);
	return true;
}

const struct region_slice *region_find(const struct region *r, uint64_t offset)
{
	struct region_slice *slice = planned_at(r, offset);

	if (!slice || !is_ready(slice))
		return NULL;
	(void)touch(slice);
	return slice;
}

bool region_miss(const struct region *r, uint64_t offset)
{
	struct region_slice *slice = planned_at(r, offset);

	return slice && !is_ready(slice) && touch(slice);
}

unsigned int region_count(const struct region *r)
{
	return atomic_load_explicit(&r->count, memory_order_relaxed);
}

uint64_t region_bytes(const struct region *r)
{
	return atomic_load_explicit(&r->bytes, memory_order_relaxed);
}

/* ---- which slices ---------------------------------------------------------------------------- */

void region_age(struct region *r, bool cools)
{
	for (unsigned int i = 0; i < r->planned; i++) {
		struct region_slice *slice = &r->slices[i];
		unsigned int heat = region_slice_heat(slice);

		/* Not exchanged: a touch that is lost to this is one of many. */
		if (atomic_load_explicit(&slice->touched, memory_order_relaxed)) {
			atomic_store_explicit(&slice->touched, false, memory_order_relaxed);
			heat = heat + REGION_HEAT_TOUCH < REGION_HEAT_MAX ? heat + REGION_HEAT_TOUCH
									  : REGION_HEAT_MAX;
		} else if (cools && heat > 0) {
			heat--;
		} else {
			continue;
		}
		atomic_store_explicit(&slice->heat, (uint8_t)heat, memory_order_relaxed);
	}
}

unsigned int region_hottest_missing(const struct region *r)
{
	unsigned int hottest = REGION_NO_SLICE, most = 0;

	for (unsigned int i = 0; i < r->planned; i++) {
		const struct region_slice *slice = &r->slices[i];

		if (region_slice_heat(slice) > most && !is_ready(slice) &&
		    !atomic_load(&slice->withheld)) {
			hottest = i;
			most = region_slice_heat(slice);
		}
	}
	return hottest;
}

unsigned int region_coldest_ready(const struct region *r, uint64_t bytes)
{
	unsigned int coldest = REGION_NO_SLICE, least = UINT_MAX;

	for (unsigned int i = 0; i < r->planned && least > 0; i++) {
		const struct region_slice *slice = &r->slices[i];

		if (region_slice_heat(slice) < least && slice->length >= bytes && is_ready(slice)) {
			coldest = i;
			least = region_slice_heat(slice);
		}
	}
	return coldest;
}

const struct region_slice *region_slice_at(const struct region *r, unsigned int i)
{
	return &r->slices[i];
}

void region_withhold(struct region *r, unsigned int i)
{
	assert(is_ready(&r->slices[i]));
	atomic_store(&r->slices[i].withheld, true);
	atomic_store(&r->slices[i].ready, false);
}

/* ---- part of it ------------------------------------------------------------------------------ */

/* The first slice that ends behind `offset`. */
static unsigned int first_behind(const struct region *r, uint64_t offset)
{
	unsigned int low = 0, high = r->planned;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (r->slices[mid].offset + r->slices[mid].length <= offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool region_reaches(const struct region *r, uint64_t offset, uint64_t length)
{
	for (unsigned int i = first_behind(r, offset); i < r->planned; i++) {
		if (!touches(&r->slices[i], offset, length))
			break;
		if (has_key(r, i))
			return true;
	}
	return false;
}

bool region_shares(const struct region *r, uint64_t offset, uint64_t length, uint64_t other,
		   uint64_t other_length)
{
	for (unsigned int i = first_behind(r, offset); i < r->planned; i++) {
		if (!touches(&r->slices[i], offset, length))
			break;
		if (touches(&r->slices[i], other, other_length))
			return true;
	}
	return false;
}

/* Its key dies, whoever shares it. */
static int deregister(const struct region *r, unsigned int i)
{
	struct shared_mr *shared = r->mrs[i];
	int err = shared->mr ? fabric_mr_dereg(shared->mr) : 0;

	if (err || !shared->mr)
		return err;
	shared->mr = NULL;
	keys_drop(r->view->export);
	refund(r->budget, r->slices[i].length);
	return 0;
}

int region_withdraw(struct region *r, uint64_t offset, uint64_t length)
{
	for (unsigned int i = first_behind(r, offset); i < r->planned; i++) {
		int err;

		if (!touches(&r->slices[i], offset, length))
			break;
		if (!has_key(r, i))
			continue;
		err = deregister(r, i);
		return err ? err : 1;
	}
	return 0;
}

/* The region has slice `i` no more, and 1 if nobody has; or -errno. */
static int let_go(struct region *r, unsigned int i)
{
	struct shared_mr *shared = r->mrs[i];
	bool last = shared->refs == 1;
	int err = last ? deregister(r, i) : 0;

	if (err)
		return err;
	drop(r, i);
	if (last)
		free(shared);
	else
		shared->refs--;
	return last;
}

int region_release(struct region *r, unsigned int i)
{
	int rc = r->mrs[i] ? let_go(r, i) : 0;

	if (rc < 0)
		return rc;
	r->next = r->past && i < r->next ? i : r->next;
	atomic_store(&r->slices[i].withheld, false);
	return 0;
}

/* ---- teardown -------------------------------------------------------------------------------- */

int region_shrink(struct region *r)
{
	int rc = 0;

	while (r->top > 0 && rc == 0) {
		rc = r->mrs[r->top - 1] ? let_go(r, r->top - 1) : 0;
		if (rc < 0)
			return rc;
		r->top--;
	}
	return region_count(r) > 0;
}

int region_free(struct region *r)
{
	int err;

	if (!r)
		return 0;
	do {
		err = region_shrink(r);
	} while (err > 0);
	if (err)
		return err;
	free(r->slices);
	free(r->mrs);
	free(r);
	return 0;
}
