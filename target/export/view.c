// SPDX-License-Identifier: BSD-3-Clause
/*
 * Views: a file prepared for registration, and what there was to register. A view is made in one
 * go, under tenure, and never changes; the mapping under it is shared with the views that
 * view_allocate() and view_unshare() make of it. Worker threads, but for the lookups.
 */
#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "badblocks.h"
#include "fill.h"
#include "identity.h"
#include "journal.h"
#include "mapping.h"
#include "unshare.h"

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
 * the file has a block for each of its bytes there are no holes, whatever SEEK_HOLE says. Unless it was
 * ever seen to have blocks behind its end: then their number says nothing, and SEEK_HOLE is believed.
 */
static bool all_there(struct export *e)
{
	struct stat st;
	uint64_t bytes;

	if (fstat(e->fd, &st))
		return false;
	bytes = (uint64_t)st.st_blocks * 512;
	if (bytes > align_up((uint64_t)st.st_size, export_page_bytes()))
		atomic_store(&e->blocks_behind, true);
	return bytes >= (uint64_t)st.st_size && !atomic_load(&e->blocks_behind);
}

/* What a view is made of. */
struct plan {
	struct export *e;
	struct mapping *m;
	uint64_t file_bytes;
	uint64_t from, to; /* page bounds: only what lies there is made ready */
	bool allocate;	   /* fills the holes in it */
	bool unshare;	   /* parts it from clones */
	const atomic_bool *stop;
};

static int populate(const struct plan *p, uint64_t from, uint64_t to)
{
	return mapping_populate(p->m, p->e, from, to - from, p->stop);
}

static int fill_unwritten(const struct plan *p, const struct extents *x, bool *filled)
{
	for (size_t i = 0; i < x->nr; i++) {
		uint64_t lo = max_u64(x->list[i].offset, p->from);
		uint64_t hi = min_u64(x->list[i].offset + x->list[i].length, p->to);
		int ret;

		if (x->list[i].kind != EXTENT_UNWRITTEN || lo >= hi)
			continue;
		/* A block is a page here: DAX has no smaller ones. */
		ret = populate(p, lo, hi);
		if (ret)
			return ret;
		*filled = true;
	}
	return 0;
}

/* DAX: zeroes and converts the unwritten extents by faulting them in. */
static int prepare_dax(const struct plan *p, struct extents *x)
{
	struct runs whole = {0};
	bool filled = false;
	int ret;

	ret = runs_build(x, KIND(EXTENT_DATA) | KIND(EXTENT_UNWRITTEN), p->file_bytes, &whole);
	if (!ret)
		ret = mapping_keep_holes(p->m, p->e, &whole);
	free(whole.list);
	if (!ret)
		ret = fill_unwritten(p, x, &filled);
	if (!ret && filled)
		ret = sync_file(p->e);
	if (ret || !filled)
		return ret;
	extents_free(x);
	return extents_read(p->e->fd, 0, p->m->bytes, true, x);
}

/* A page cache without FIEMAP: only what was faulted in is seen to be allocated. */
static int prepare_seek(const struct plan *p, struct extents *x)
{
	uint64_t pos = p->from;
	int ret = 0;

	if (all_there(p->e))
		return extents_set_all(x, p->m->bytes);
	if (!p->allocate)
		return 0;
	for (size_t i = 0; !ret && i < x->nr && pos < p->to; i++) {
		if (x->list[i].offset > pos)
			ret = populate(p, pos, min_u64(x->list[i].offset, p->to));
		pos = max_u64(pos, x->list[i].offset + x->list[i].length);
	}
	if (!ret && pos < p->to)
		ret = populate(p, pos, p->to);
	extents_free(x);
	return ret ? ret : extents_read(p->e->fd, 0, p->m->bytes, true, x);
}

/*
 * Makes ready what there is (and what was filled) in [from, to); leaves the extents of the whole file
 * in `x`. The caller frees them in any case.
 */
static int prepare(const struct plan *p, struct extents *x)
{
	struct export *e = p->e;
	int ret = 0;

	*x = (struct extents){0};
	if (e->medium == EXPORT_MEMORY && (p->allocate || all_there(e)))
		ret = populate(p, p->from, p->to);
	if (e->medium == EXPORT_DEVICE)
		return extents_set_all(x, p->m->bytes);
	if (!ret)
		ret = extents_read(e->fd, 0, p->m->bytes, true, x);
	if (ret)
		return ret;
	switch (e->medium) {
	case EXPORT_DAX:
		return prepare_dax(p, x);
	case EXPORT_PAGE_CACHE:
		return x->seek ? prepare_seek(p, x) : 0;
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
	case -ECANCELED:
		return errtext_set(err, ret, "somebody wants %s while it is prepared", e->path);
	default:
		return errtext_set(err, ret, "cannot prepare %s: %s", e->path, strerror(-ret));
	}
}

/* ---- birth and end --------------------------------------------------------------------------- */

/* Makes a view on the plan's mapping, which it takes over on success. */
static int make(const struct plan *p, uint32_t generation, struct view **view, struct errtext *err)
{
	struct view *v = calloc(1, sizeof(*v));
	struct runs runs = {0}, clones = {0};
	struct extents x = {0};
	int ret = p->unshare ? unshare_range(p->e, p->from, p->to, p->stop, err) : 0;

	if (!ret && p->allocate)
		ret = fill_holes(p->e, p->from, p->to, p->stop, err);
	if (ret) {
		free(v);
		return ret;
	}
	ret = v ? prepare(p, &x) : -ENOMEM;
	if (!ret)
		ret = runs_build(&x, registrable(p->e), p->file_bytes, &runs);
	if (!ret && p->e->unshare == EXPORT_UNSHARE_ON_ACQUIRE)
		ret = runs_build(&x, KIND(EXTENT_SHARED), p->file_bytes, &clones);
	extents_free(&x);
	for (unsigned int i = 0; !ret && i < runs.nr && p->e->medium != EXPORT_PAGE_CACHE; i++) {
		uint64_t lo = max_u64(runs.list[i].offset, p->from);
		uint64_t hi = min_u64(runs.list[i].offset + runs.list[i].length, p->to);

		if (lo < hi)
			ret = populate(p, lo, hi);
	}
	if (ret) {
		free(clones.list);
		free(runs.list);
		free(v);
		return say(err, ret, p->e);
	}
	*v = (struct view){
		.export = p->e,
		.generation = generation,
		.base = p->m->base,
		.size_bytes = align_down(p->file_bytes, p->e->lba_bytes),
		.mapped_bytes = p->m->bytes,
		.backed_bytes = runs.backed_bytes,
		.hole_bytes = p->file_bytes - runs.backed_bytes - runs.shared_bytes,
		.shared_bytes = runs.shared_bytes,
		.runs = runs.list,
		.nr_runs = runs.nr,
		.clones = clones.list,
		.nr_clones = clones.nr,
		.mapping = p->m,
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
	if (!before || before->export != e || atomic_load(&before->mapping->closed) ||
	    before->mapping->bytes != align_up(file_bytes, export_page_bytes()))
		return mapping_new(e, file_bytes, mapping, err);
	*mapping = mapping_get(before->mapping);
	return 0;
}

/* Once, when it is added: what the landlord or a host punches later stays a hole, whoever starts again. */
static bool is_to_fill(const struct export *e)
{
	return e->prepare == EXPORT_PREPARE_ALLOCATE && !e->filled;
}

/*
 * The holes are filled, for good, before it is noted: who dies in between fills what is left of them. And
 * it is noted under the same tenure: before anybody can punch one that is not to be filled any more.
 */
static int note_filled(struct export *e, struct errtext *err)
{
	int ret = e->medium == EXPORT_DEVICE ? 0 : sync_file(e);

	if (ret)
		return errtext_set(err, ret, "cannot sync %s: %s", e->path, strerror(-ret));
	ret = identity_filled(e->state_dir, e->name, err);
	e->filled = ret == 0;
	return ret;
}

/*
 * What an earlier daemon was writing when it ended: also if this one is to have no journal, or if nobody is to
 * write: who reads is not to see a torn block either.
 */
static int recover(struct export *e, const struct view *view, struct errtext *err)
{
	int ret;

	if (e->recovered || e->state_dir[0] == '\0')
		return 0;
	ret = journal_recover(e, view, err);
	e->recovered = !ret;
	return ret;
}

int view_new(struct export *e, uint32_t generation, const struct view *before,
	     const atomic_bool *stop, struct view **view, struct errtext *err)
{
	struct plan p = {
		.e = e,
		.allocate = is_to_fill(e),
		.stop = stop,
	};
	int ret = look(e, &p.file_bytes, err);
	struct view *v;

	if (!ret)
		ret = map(e, p.file_bytes, before, &p.m, err);
	if (ret)
		return ret;
	p.to = p.m->bytes;
	/* Who had the file may have written them anew, or let them go: what is bad still is found so. */
	damage_clear(e->damage, 0, UINT64_MAX - UINT32_MAX);
	badblocks_look(e);
	ret = make(&p, generation, &v, err);
	if (ret) {
		mapping_put(p.m);
		return ret;
	}
	ret = p.allocate ? note_filled(e, err) : 0;
	if (!ret)
		ret = recover(e, v, err);
	if (ret)
		view_free(v);
	else
		*view = v;
	return ret;
}

int export_look_ahead(struct export *e, uint64_t *bytes, struct errtext *err)
{
	bool fills = is_to_fill(e);
	uint64_t file_bytes = 0, there = 0, unwritten = 0, end;
	struct extents x = {0};
	int ret = look(e, &file_bytes, err);

	if (ret)
		return ret;
	*bytes = 0;
	if (e->medium == EXPORT_DEVICE || (!fills && !e->hugetlbfs && e->medium != EXPORT_DAX))
		return 0;
	end = align_up(file_bytes, export_page_bytes());
	ret = extents_read(e->fd, 0, end, true, &x);
	if (ret)
		ret = errtext_set(err, ret, "cannot look at %s: %s", e->path, strerror(-ret));
	else if (fills)
		ret = fill_promise(e, 0, end, &x, err);
	for (size_t i = 0; i < x.nr; i++) {
		there += x.list[i].length;
		if (e->medium == EXPORT_DAX && x.list[i].kind == EXTENT_UNWRITTEN)
			unwritten += x.list[i].length;
	}
	extents_free(&x);
	if (ret)
		return ret;
	if (e->hugetlbfs || (fills && there < end))
		*bytes = file_bytes;
	else if (unwritten > 0)
		*bytes = there;
	return 0;
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

static int grow(const struct view *old, uint64_t offset, uint64_t length, bool allocate,
		const atomic_bool *stop, struct view **view, struct errtext *err)
{
	uint64_t page = export_page_bytes();
	struct plan p = {
		.e = old->export,
		.m = old->mapping,
		.allocate = allocate,
		.unshare = old->export->unshare == EXPORT_UNSHARE_ON_ACQUIRE,
		.stop = stop,
	};
	int ret;

	if (length == 0 || !range_ok(offset, length, old->size_bytes))
		return errtext_set(err, -ERANGE, "outside %s", p.e->path);
	ret = look_again(old, &p.file_bytes, err);
	if (ret)
		return ret;
	p.from = align_down(offset, page);
	p.to = align_up(offset + length, page);
	(void)mapping_get(p.m);
	ret = make(&p, old->generation, view, err);
	if (ret)
		mapping_put(p.m);
	return ret;
}

int view_allocate(const struct view *old, uint64_t offset, uint64_t length, const atomic_bool *stop,
		  struct view **view, struct errtext *err)
{
	return grow(old, offset, length, true, stop, view, err);
}

int view_unshare(const struct view *old, uint64_t offset, uint64_t length, const atomic_bool *stop,
		 struct view **view, struct errtext *err)
{
	return grow(old, offset, length, false, stop, view, err);
}

int view_again(const struct view *old, uint64_t offset, uint64_t length, const atomic_bool *stop,
	       struct view **view, struct errtext *err)
{
	struct plan p = {.e = old->export, .m = old->mapping, .stop = stop};
	uint64_t page = export_page_bytes(), most;
	int ret = look(p.e, &p.file_bytes, err);

	if (ret)
		return ret;
	most = align_up(p.file_bytes, page);
	if (p.file_bytes > view_file_bytes(old) ||
	    (p.file_bytes < view_file_bytes(old) && view_run_at(old, most)))
		return errtext_set(err, -ERANGE, "%s has another size now", p.e->path);
	p.from = min_u64(align_down(offset, page), most);
	p.to = length < most - p.from ? min_u64(align_up(offset + length, page), most) : most;
	(void)mapping_get(p.m);
	ret = make(&p, old->generation, view, err);
	if (ret)
		mapping_put(p.m);
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

/* What the ranges leave of a list of runs. -ENOMEM. */
static int rest_of(const struct export_run *list, unsigned int nr,
		   const struct export_range *sorted, unsigned int nr_ranges, struct runs *rest)
{
	rest->list = calloc((size_t)nr + nr_ranges + 1, sizeof(*rest->list));
	if (!rest->list)
		return -ENOMEM;
	for (unsigned int i = 0, next = 0; i < nr; i++)
		next = add_rest(rest, list[i].offset, list[i].offset + list[i].length, sorted,
				nr_ranges, next);
	return 0;
}

/* What is left of `old` without the ranges, of a file of `file_bytes`. */
static int narrow(const struct view *old, const struct export_range *ranges, unsigned int nr_ranges,
		  uint64_t file_bytes, bool comes_back, struct view **view)
{
	struct export_range *sorted = malloc((nr_ranges + 1) * sizeof(*sorted));
	struct view *v = malloc(sizeof(*v));
	struct runs runs = {0}, clones = {0};
	int ret = -ENOMEM;

	if (!v || !sorted)
		goto fail;
	memcpy(sorted, ranges, nr_ranges * sizeof(*sorted));
	qsort(sorted, nr_ranges, sizeof(*sorted), compare_ranges);
	ret = rest_of(old->runs, old->nr_runs, sorted, nr_ranges, &runs);
	if (!ret)
		ret = rest_of(old->clones, old->nr_clones, sorted, nr_ranges, &clones);
	/* A fault for a huge page would fill the hole that comes. */
	if (!ret)
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
	v->clones = clones.list;
	v->nr_clones = clones.nr;
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
	free(clones.list);
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
	free((void *)view->clones);
	free((void *)view->runs);
	free(view);
}

int view_close(const struct view *view)
{
	return mapping_close(view->mapping);
}

/* ---- lookups: any thread --------------------------------------------------------------------- */

/* The first run that ends behind `offset`. */
static const struct export_run *find(const struct export_run *list, unsigned int nr,
				     uint64_t offset)
{
	unsigned int lo = 0, hi = nr;

	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;

		if (list[mid].offset + list[mid].length <= offset)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < nr ? &list[lo] : NULL;
}

const struct export_run *view_run_at(const struct view *view, uint64_t offset)
{
	return find(view->runs, view->nr_runs, offset);
}

bool view_unsharable(const struct view *view, uint64_t offset)
{
	const struct export_run *r = find(view->clones, view->nr_clones, offset);

	return r && r->offset <= offset;
}

bool view_backed(const struct view *view, uint64_t offset, uint64_t length)
{
	const struct export_run *r = view_run_at(view, offset);

	return r && offset >= r->offset && range_ok(offset - r->offset, length, r->length);
}
