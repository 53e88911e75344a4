// SPDX-License-Identifier: BSD-3-Clause
/*
 * Views: a file prepared for registration, and what there was to register. A view is made in one
 * go, under tenure, and never changes; the mapping under it is shared with the views that
 * view_allocate() makes of it. Worker threads, but for the lookups.
 */
#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fill.h"
#include "mapping.h"

/* ---- preparation ----------------------------------------------------------------------------- */

#define KIND(k) (1u << (k))

/* What may be registered. Through the page cache everything that cannot fail for lack of space may,
 * however the file system keeps it; only clones stay out, there as elsewhere. */
static unsigned int registrable(const struct export *e)
{
	if (e->medium == EXPORT_PAGE_CACHE)
		return KIND(EXTENT_DATA) | KIND(EXTENT_UNWRITTEN) | KIND(EXTENT_OTHER);
	return KIND(EXTENT_DATA);
}

static int sync_file(const struct export *e)
{
	return fsync(e->fd) ? -errno : 0;
}

/*
 * Without FIEMAP (tmpfs, for one) what fallocate(2) got is told from a hole only by st_blocks. If
 * the file has a block for each of its bytes there are no holes, whatever SEEK_HOLE says. (Blocks
 * behind the end can make that wrong: then a hole is filled.)
 */
static bool all_there(const struct export *e)
{
	struct stat st;

	return !fstat(e->fd, &st) && (uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size;
}

static int fill_unwritten(const struct mapping *m, const struct export *e, uint64_t from,
			  uint64_t to, const struct extents *x, bool *filled)
{
	for (size_t i = 0; i < x->nr; i++) {
		uint64_t lo = max_u64(x->list[i].offset, from);
		uint64_t hi = min_u64(x->list[i].offset + x->list[i].length, to);
		int ret;

		if (x->list[i].kind != EXTENT_UNWRITTEN || lo >= hi)
			continue;
		/* A block is a page here: DAX has no smaller ones. */
		ret = mapping_populate(m, e, lo, hi - lo);
		if (ret)
			return ret;
		*filled = true;
	}
	return 0;
}

/* DAX: zeroes and converts the unwritten extents of [from, to) by faulting them in. */
static int prepare_dax(struct mapping *m, const struct export *e, uint64_t from, uint64_t to,
		       uint64_t size, struct extents *x)
{
	struct runs whole = {0};
	bool filled = false;
	int ret;

	ret = runs_build(x, KIND(EXTENT_DATA) | KIND(EXTENT_UNWRITTEN), size, &whole);
	if (!ret)
		ret = mapping_keep_holes(m, e, &whole);
	free(whole.list);
	if (!ret)
		ret = fill_unwritten(m, e, from, to, x, &filled);
	if (!ret && filled)
		ret = sync_file(e);
	if (ret || !filled)
		return ret;
	extents_free(x);
	return extents_read(e->fd, 0, m->bytes, true, x);
}

/* A page cache without FIEMAP: only what was faulted in is seen to be allocated. */
static int prepare_seek(struct mapping *m, const struct export *e, uint64_t from, uint64_t to,
			bool allocate, struct extents *x)
{
	uint64_t pos = from;
	int ret = 0;

	if (all_there(e))
		return extents_set_all(x, m->bytes);
	if (!allocate)
		return 0;
	for (size_t i = 0; !ret && i < x->nr && pos < to; i++) {
		if (x->list[i].offset > pos)
			ret = mapping_populate(m, e, pos, min_u64(x->list[i].offset, to) - pos);
		pos = max_u64(pos, x->list[i].offset + x->list[i].length);
	}
	if (!ret && pos < to)
		ret = mapping_populate(m, e, pos, to - pos);
	extents_free(x);
	return ret ? ret : extents_read(e->fd, 0, m->bytes, true, x);
}

/*
 * Makes ready what there is (and, with `allocate`, what was filled) in [from, to), two page
 * bounds; leaves the extents of the whole file in `x`. The caller frees them in any case.
 */
static int prepare(struct mapping *m, const struct export *e, uint64_t from, uint64_t to,
		   bool allocate, uint64_t size, struct extents *x)
{
	int ret = 0;

	*x = (struct extents){0};
	if (e->medium == EXPORT_MEMORY && (allocate || all_there(e)))
		ret = mapping_populate(m, e, from, to - from);
	if (e->medium == EXPORT_DEVICE)
		return extents_set_all(x, m->bytes);
	if (!ret)
		ret = extents_read(e->fd, 0, m->bytes, true, x);
	if (ret)
		return ret;
	switch (e->medium) {
	case EXPORT_DAX:
		return prepare_dax(m, e, from, to, size, x);
	case EXPORT_PAGE_CACHE:
		return x->seek ? prepare_seek(m, e, from, to, allocate, x) : 0;
	case EXPORT_MEMORY:
	case EXPORT_DEVICE:
		break;
	}
	return 0;
}

static int say(struct errtext *err, int ret, const struct export *e)
{
	switch (ret) {
	case -ENOSPC:
	case -EDQUOT:
		return errtext_set(err, ret, "no space on the file system to prepare %s", e->path);
	case -ERANGE:
		return errtext_set(err, ret, "%s shrank while it was prepared", e->path);
	case -EIO:
		return errtext_set(err, ret, "the memory of %s is damaged or gone", e->path);
	default:
		return errtext_set(err, ret, "cannot prepare %s: %s", e->path, strerror(-ret));
	}
}

/* ---- birth and end --------------------------------------------------------------------------- */

/* Makes a view on `m`, which it takes over on success. Runs inside [from, to) are faulted in. */
static int make(struct export *e, uint32_t generation, struct mapping *m, uint64_t file_bytes,
		uint64_t from, uint64_t to, bool allocate, struct view **view, struct errtext *err)
{
	struct view *v = calloc(1, sizeof(*v));
	struct runs runs = {0};
	struct extents x = {0};
	int ret = allocate ? fill_holes(e, from, to, err) : 0;

	if (ret) {
		free(v);
		return ret;
	}
	ret = v ? prepare(m, e, from, to, allocate, file_bytes, &x) : -ENOMEM;
	if (!ret)
		ret = runs_build(&x, registrable(e), file_bytes, &runs);
	extents_free(&x);
	for (unsigned int i = 0; !ret && i < runs.nr && e->medium != EXPORT_PAGE_CACHE; i++) {
		uint64_t lo = max_u64(runs.list[i].offset, from);
		uint64_t hi = min_u64(runs.list[i].offset + runs.list[i].length, to);

		if (lo < hi)
			ret = mapping_populate(m, e, lo, hi - lo);
	}
	if (ret) {
		free(runs.list);
		free(v);
		return say(err, ret, e);
	}
	*v = (struct view){
		.export = e,
		.generation = generation,
		.base = m->base,
		.size_bytes = align_down(file_bytes, e->lba_bytes),
		.mapped_bytes = m->bytes,
		.backed_bytes = runs.backed_bytes,
		.hole_bytes = file_bytes - runs.backed_bytes - runs.shared_bytes,
		.shared_bytes = runs.shared_bytes,
		.runs = runs.list,
		.nr_runs = runs.nr,
		.mapping = m,
	};
	*view = v;
	return 0;
}

/* The size to make a view of; not rounded. */
static int look(const struct export *e, uint64_t *file_bytes, struct errtext *err)
{
	uint64_t bytes;
	int ret = export_size(e, &bytes);

	if (ret == -ENOLINK)
		return errtext_set(err, ret, "%s was deleted", e->path);
	if (!ret && bytes == 0)
		return errtext_set(err, -ENODATA, "%s is empty now", e->path);
	if (!ret)
		ret = export_file_bytes(e, file_bytes);
	if (ret)
		return errtext_set(err, ret, "cannot look at %s: %s", e->path, strerror(-ret));
	return 0;
}

/* What lies in the file's place is seen through any mapping, so one that is as long will do. */
static int map(struct export *e, uint64_t file_bytes, const struct view *before,
	       struct mapping **mapping, struct errtext *err)
{
	if (!before || before->export != e ||
	    before->mapping->bytes != align_up(file_bytes, export_page_bytes()))
		return mapping_new(e, file_bytes, mapping, err);
	*mapping = mapping_get(before->mapping);
	return 0;
}

int view_new(struct export *e, uint32_t generation, const struct view *before, struct view **view,
	     struct errtext *err)
{
	struct mapping *m = NULL;
	uint64_t bytes = 0;
	int ret;

	ret = look(e, &bytes, err);
	if (!ret)
		ret = map(e, bytes, before, &m, err);
	if (ret)
		return ret;
	/* Once, when it is added: what the landlord or a host punches later stays a hole. */
	ret = make(e, generation, m, bytes, 0, m->bytes,
		   e->prepare == EXPORT_PREPARE_ALLOCATE && generation <= 1, view, err);
	if (ret)
		mapping_put(m);
	return ret;
}

/* Under tenure it has the size it had; else the mapping might not fit it. */
static int look_again(const struct view *old, uint64_t *file_bytes, struct errtext *err)
{
	const struct export *e = old->export;
	uint64_t page = export_page_bytes();
	int ret = look(e, file_bytes, err);

	if (ret)
		return ret;
	if (align_up(*file_bytes, page) != align_up(view_file_bytes(old), page))
		return errtext_set(err, -ERANGE, "%s has another size now", e->path);
	return 0;
}

int view_allocate(const struct view *old, uint64_t offset, uint64_t length, struct view **view,
		  struct errtext *err)
{
	struct export *e = old->export;
	struct mapping *m = old->mapping;
	uint64_t page = export_page_bytes(), bytes = 0;
	int ret;

	if (length == 0 || !range_ok(offset, length, old->size_bytes))
		return errtext_set(err, -ERANGE, "outside %s", e->path);
	ret = look_again(old, &bytes, err);
	if (ret)
		return ret;
	ret = make(e, old->generation, mapping_get(m), bytes, align_down(offset, page),
		   align_up(offset + length, page), true, view, err);
	if (ret)
		mapping_put(m);
	return ret;
}

int view_again(const struct view *old, uint64_t offset, uint64_t length, struct view **view,
	       struct errtext *err)
{
	struct mapping *m = old->mapping;
	uint64_t page = export_page_bytes(), bytes = 0, from, to, most;
	int ret = look(old->export, &bytes, err);

	if (ret)
		return ret;
	most = align_up(bytes, page);
	if (bytes > view_file_bytes(old) ||
	    (bytes < view_file_bytes(old) && view_run_at(old, most)))
		return errtext_set(err, -ERANGE, "%s has another size now", old->export->path);
	from = min_u64(align_down(offset, page), most);
	to = length < most - from ? min_u64(align_up(offset + length, page), most) : most;
	ret = make(old->export, old->generation, mapping_get(m), bytes, from, to, false, view, err);
	if (ret)
		mapping_put(m);
	return ret;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct export_range *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* The pieces of [at, end) outside the ranges from `i` on, ascending. Returns the first range that
 * may concern what lies behind. */
static unsigned int add_rest(struct runs *runs, uint64_t at, uint64_t end,
			     const struct export_range *ranges, unsigned int nr, unsigned int i)
{
	while (i < nr && ranges[i].offset + ranges[i].length <= at)
		i++;
	for (unsigned int j = i; at < end; j++) {
		uint64_t cut = j < nr ? min_u64(end, ranges[j].offset) : end;

		if (at < cut)
			runs->list[runs->nr++] =
				(struct export_run){.offset = at, .length = cut - at};
		if (j >= nr || cut == end)
			break;
		at = max_u64(at, ranges[j].offset + ranges[j].length);
	}
	return i;
}

/* What is left of `old` without the ranges, of a file of `file_bytes`. */
static int narrow(const struct view *old, const struct export_range *ranges, unsigned int nr_ranges,
		  uint64_t file_bytes, bool comes_back, struct view **view)
{
	struct export_range *sorted = malloc((nr_ranges + 1) * sizeof(*sorted));
	struct view *v = malloc(sizeof(*v));
	struct runs runs = {0};
	int ret = -ENOMEM;

	runs.list = calloc((size_t)old->nr_runs + nr_ranges + 1, sizeof(*runs.list));
	if (!v || !runs.list || !sorted)
		goto fail;
	memcpy(sorted, ranges, nr_ranges * sizeof(*sorted));
	qsort(sorted, nr_ranges, sizeof(*sorted), compare_ranges);
	for (unsigned int i = 0, next = 0; i < old->nr_runs; i++)
		next = add_rest(&runs, old->runs[i].offset,
				old->runs[i].offset + old->runs[i].length, sorted, nr_ranges, next);
	/* A fault for a huge page would fill the hole that comes. */
	ret = mapping_keep_holes(old->mapping, old->export, &runs);
	if (ret)
		goto fail;
	for (unsigned int i = 0; i < runs.nr; i++)
		runs.backed_bytes +=
			min_u64(runs.list[i].offset + runs.list[i].length, file_bytes) -
			runs.list[i].offset;
	*v = *old;
	v->runs = runs.list;
	v->nr_runs = runs.nr;
	v->size_bytes = align_down(file_bytes, old->export->lba_bytes);
	v->backed_bytes = runs.backed_bytes;
	/* Where these lie is not known here. */
	if (comes_back)
		v->left_out_bytes += old->backed_bytes - v->backed_bytes;
	v->left_out_bytes = min_u64(v->left_out_bytes, file_bytes - v->backed_bytes);
	v->shared_bytes =
		min_u64(old->shared_bytes, file_bytes - v->backed_bytes - v->left_out_bytes);
	v->hole_bytes = file_bytes - v->backed_bytes - v->left_out_bytes - v->shared_bytes;
	(void)mapping_get(old->mapping);
	free(sorted);
	*view = v;
	return 0;

fail:
	free(runs.list);
	free(sorted);
	free(v);
	return ret;
}

int view_exclude(const struct view *old, const struct export_range *ranges, unsigned int nr_ranges,
		 struct view **view)
{
	return narrow(old, ranges, nr_ranges, view_file_bytes(old), false, view);
}

int view_leave_out(const struct view *old, const struct export_range *ranges,
		   unsigned int nr_ranges, struct view **view)
{
	return narrow(old, ranges, nr_ranges, view_file_bytes(old), true, view);
}

int view_cut(const struct view *old, uint64_t bytes, struct view **view)
{
	struct export_range rest = {.offset = align_up(bytes, export_page_bytes())};

	assert(bytes > 0 && bytes < view_file_bytes(old));
	/* Runs end with a whole page. */
	rest.length = max_u64(align_up(view_file_bytes(old), export_page_bytes()), rest.offset) -
		      rest.offset;
	return narrow(old, &rest, rest.length > 0, bytes, false, view);
}

void view_free(struct view *view)
{
	if (!view)
		return;
	mapping_put(view->mapping);
	free((void *)view->runs);
	free(view);
}

/* ---- lookups: any thread --------------------------------------------------------------------- */

const struct export_run *view_run_at(const struct view *view, uint64_t offset)
{
	unsigned int lo = 0, hi = view->nr_runs;

	/* The first run that ends behind `offset`. */
	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (view->runs[mid].offset + view->runs[mid].length <= offset)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < view->nr_runs ? &view->runs[lo] : NULL;
}

bool view_backed(const struct view *view, uint64_t offset, uint64_t length)
{
	const struct export_run *r = view_run_at(view, offset);

	return r && offset >= r->offset && range_ok(offset - r->offset, length, r->length);
}
