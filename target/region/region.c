// SPDX-License-Identifier: BSD-3-Clause
/*
 * Block regions: the runs of a view, registered for our own READs and WRITEs. On the registrar, one
 * slice at a time, so that a recall's work never waits for a whole export; region_find() runs on the
 * reactors. Slices are cut at multiples of the slice size in the file, so that a hole that is filled
 * changes few of them, and one view's region can hold those of the one before.
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
	const struct view *view;
	enum lh_rung rung;
	unsigned int planned;
	atomic_uint count; /* registered: slices [0, count); only the registrar changes it */
	struct region_slice *slices;
	struct shared_mr **mrs;
};

/* ---- plan ------------------------------------------------------------------------------------ */

static uint64_t slice_bytes(const struct fabric_pd *pd)
{
	uint64_t most = fabric_device_info(fabric_pd_device(pd))->max_mr_bytes;
	uint64_t bytes = REGION_SLICE_BYTES;

	while (most >= PAGE_BYTES && bytes > most)
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

			if (slices)
				slices[n] = (struct region_slice){.offset = at, .length = cut - at};
			n++;
			at = cut;
		}
	}
	return n;
}

int region_begin(struct fabric_pd *pd, const struct view *view, enum lh_rung rung,
		 struct region **region)
{
	uint64_t bytes = slice_bytes(pd);
	struct region *r;

	assert(region_registers(rung));
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->pd = pd;
	r->view = view;
	r->rung = rung;
	r->planned = plan(view, bytes, NULL);
	if (r->planned > 0) {
		r->slices = calloc(r->planned, sizeof(r->slices[0]));
		r->mrs = calloc(r->planned, sizeof(struct shared_mr *));
		if (!r->slices || !r->mrs) {
			free(r->slices);
			free(r->mrs);
			free(r);
			return -ENOMEM;
		}
		(void)plan(view, bytes, r->slices);
	}
	*region = r;
	return 0;
}

/* ---- register -------------------------------------------------------------------------------- */

/* The registration that `old` has of exactly this slice. */
static struct shared_mr *take_over(const struct region *r, const struct region *old,
				   const struct region_slice *slice)
{
	const struct region_slice *same;
	struct shared_mr *mr;

	if (!old || old->pd != r->pd || old->rung != r->rung || old->view->base != r->view->base ||
	    old->view->export != r->view->export)
		return NULL;
	same = region_find(old, slice->offset);
	if (!same || same->offset != slice->offset || same->length != slice->length)
		return NULL;
	mr = old->mrs[same - old->slices];
	if (!mr->mr)
		return NULL;
	mr->refs++;
	return mr;
}

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
	err = keys_add(r->view->export);
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
	mr->refs = 1;
	*shared = mr;
	return 0;
}

int region_step(struct region *r, const struct region *old, struct errtext *text)
{
	unsigned int i = atomic_load_explicit(&r->count, memory_order_relaxed);
	bool registered = false;

	while (i < r->planned && !registered) {
		struct region_slice *slice = &r->slices[i];
		struct shared_mr *mr = take_over(r, old, slice);

		if (!mr) {
			int err = register_slice(r, slice, &mr);

			if (err)
				return errtext_set(
					text, err,
					"bytes %llu to %llu cannot be registered (%s) on %s: %s%s",
					(unsigned long long)slice->offset,
					(unsigned long long)(slice->offset + slice->length - 1),
					lh_rung_text(r->rung),
					fabric_device_info(fabric_pd_device(r->pd))->name,
					strerror(-err),
					err == -ENOMEM && r->rung == LH_RUNG_PINNED
						? " (raise RLIMIT_MEMLOCK: LimitMEMLOCK=infinity)"
						: "");
			registered = true;
		}
		r->mrs[i] = mr;
		slice->lkey = mr->mr->lkey;
		atomic_store_explicit(&r->count, ++i, memory_order_relaxed);
	}
	return i < r->planned ? 1 : 0;
}

/* ---- use ------------------------------------------------------------------------------------- */

const struct region_slice *region_find(const struct region *r, uint64_t offset)
{
	unsigned int low = 0, high = atomic_load_explicit(&r->count, memory_order_relaxed);

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;
		const struct region_slice *slice = &r->slices[mid];

		if (offset < slice->offset)
			high = mid;
		else if (offset - slice->offset >= slice->length)
			low = mid + 1;
		else
			return slice;
	}
	return NULL;
}

unsigned int region_count(const struct region *r)
{
	return atomic_load_explicit(&r->count, memory_order_relaxed);
}

/* ---- part of it ------------------------------------------------------------------------------ */

static bool touches(const struct region_slice *slice, uint64_t offset, uint64_t length)
{
	return slice->offset < offset + length && offset < slice->offset + slice->length;
}

int region_narrow(const struct region *old, const struct view *view,
		  const struct export_range *ranges, unsigned int nr_ranges, struct region **region)
{
	unsigned int count = region_count(old), n = 0;
	struct region *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->pd = old->pd;
	r->view = view;
	r->rung = old->rung;
	r->slices = calloc(count + 1, sizeof(r->slices[0]));
	r->mrs = calloc(count + 1, sizeof(struct shared_mr *));
	if (!r->slices || !r->mrs) {
		free(r->slices);
		free(r->mrs);
		free(r);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < count; i++) {
		bool out = !old->mrs[i]->mr;

		for (unsigned int k = 0; k < nr_ranges && !out; k++)
			out = touches(&old->slices[i], ranges[k].offset, ranges[k].length);
		if (out)
			continue;
		r->slices[n] = old->slices[i];
		r->mrs[n++] = old->mrs[i];
		old->mrs[i]->refs++;
	}
	r->planned = n;
	atomic_store_explicit(&r->count, n, memory_order_relaxed);
	*region = r;
	return 0;
}

/* The first slice that ends behind `offset`. */
static unsigned int first_behind(const struct region *r, uint64_t offset)
{
	unsigned int low = 0, high = region_count(r);

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
	unsigned int count = region_count(r);

	for (unsigned int i = first_behind(r, offset); i < count; i++) {
		if (!touches(&r->slices[i], offset, length))
			break;
		if (r->mrs[i]->mr)
			return true;
	}
	return false;
}

void region_widen(const struct region *r, uint64_t *from, uint64_t *to)
{
	const uint64_t offset = *from, end = *to;
	unsigned int count = region_count(r);

	for (unsigned int i = first_behind(r, offset); i < count; i++) {
		const struct region_slice *slice = &r->slices[i];

		if (!touches(slice, offset, end - offset))
			break;
		*from = min_u64(*from, slice->offset);
		*to = max_u64(*to, slice->offset + slice->length);
	}
}

int region_withdraw(struct region *r, uint64_t offset, uint64_t length)
{
	unsigned int count = region_count(r);

	for (unsigned int i = first_behind(r, offset); i < count; i++) {
		int err;

		if (!touches(&r->slices[i], offset, length))
			break;
		if (!r->mrs[i]->mr)
			continue;
		err = fabric_mr_dereg(r->mrs[i]->mr);
		if (err)
			return err;
		r->mrs[i]->mr = NULL;
		keys_drop(r->view->export);
		return 1;
	}
	return 0;
}

/* ---- teardown -------------------------------------------------------------------------------- */

int region_shrink(struct region *r)
{
	unsigned int i = atomic_load_explicit(&r->count, memory_order_relaxed);

	while (i > 0) {
		struct shared_mr *shared = r->mrs[i - 1];
		bool last = shared->refs == 1;

		if (last) {
			int err = shared->mr ? fabric_mr_dereg(shared->mr) : 0;

			if (err)
				return err;
			if (shared->mr)
				keys_drop(r->view->export);
			free(shared);
		} else {
			shared->refs--;
		}
		r->mrs[--i] = NULL;
		atomic_store_explicit(&r->count, i, memory_order_relaxed);
		if (last)
			break;
	}
	return i > 0 ? 1 : 0;
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
