// SPDX-License-Identifier: BSD-3-Clause
/*
 * The door of target/export, with the file of file.c behind it: views of it, and bytes by them.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/export.h"
#include "wire/direct.h"

struct export
{
	char name[64], path[64];
	uint32_t lba_bytes;
	bool prepare; /* its holes are to be filled, once … */
	bool filled;  /* … which was done */
	struct export_identity identity;
};

static struct {
	struct export *open;
	int fd; /* of nothing: it has an inode */
} door = {.fd = -1};

void export_begin(void)
{
	door.open = NULL;
	if (door.fd < 0)
		door.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert(door.fd >= 0);
}

void export_end(void)
{
	if (door.open)
		sim_fail(P_STUCK, "the export is still open");
}

/* ---- the export ------------------------------------------------------------------------------ */

const char *export_medium_text(enum export_medium medium)
{
	return medium == EXPORT_DAX ? "fsdax" : medium == EXPORT_MEMORY ? "memory" : "page cache";
}

int export_open(const struct export_config *config, struct export **e, struct errtext *err)
{
	struct export *x = calloc(1, sizeof(*x));

	(void)err;
	sim_pause();
	assert(x && !door.open);
	(void)snprintf(x->name, sizeof(x->name), "%s", config->name);
	(void)snprintf(x->path, sizeof(x->path), "%s", config->path);
	x->lba_bytes = config->lba_bytes;
	x->prepare = config->prepare == EXPORT_PREPARE_ALLOCATE;
	memset(&x->identity, 7, sizeof(x->identity));
	door.open = x;
	*e = x;
	return 0;
}

void export_close(struct export *e)
{
	sim_pause();
	assert(e == door.open);
	door.open = NULL;
	free(e);
}

void export_became_known(struct export *e)
{
	(void)e;
}

const char *export_name(const struct export *e)
{
	return e->name;
}

const char *export_path(const struct export *e)
{
	return e->path;
}

const struct export_identity *export_identity(const struct export *e)
{
	return &e->identity;
}

enum export_medium export_medium(const struct export *e)
{
	(void)e;
	return w.dax ? EXPORT_DAX : EXPORT_MEMORY;
}

bool export_is_dax(const struct export *e)
{
	return export_medium(e) == EXPORT_DAX;
}

bool export_by_mapping_only(const struct export *e)
{
	(void)e;
	return false;
}

bool export_needs_no_lease(const struct export *e)
{
	return export_medium(e) == EXPORT_MEMORY;
}

uint32_t export_lba_bytes(const struct export *e)
{
	return e->lba_bytes;
}

bool export_read_only(const struct export *e)
{
	(void)e;
	return false;
}

bool export_unwritable(const struct export *e)
{
	(void)e;
	return false;
}

int export_fd(const struct export *e)
{
	(void)e;
	return door.fd;
}

bool export_volatile_cache(const struct export *e)
{
	(void)e;
	return !w.dax;
}

uint32_t export_atomic_bytes(const struct export *e)
{
	(void)e;
	return 0;
}

enum lh_durability export_durability(const struct export *e)
{
	(void)e;
	return w.dax ? LH_DURABLE_COMMIT : LH_DURABLE_NONE;
}

bool export_taken_over(const struct export *e)
{
	(void)e;
	return false;
}

const char *export_overlay(const struct export *e)
{
	(void)e;
	return NULL;
}

enum export_place export_place(const struct export *e)
{
	(void)e;
	return EXPORT_IN_PLACE;
}

int export_holders(const struct export *e, char *text, size_t size)
{
	(void)e;
	(void)snprintf(text, size, "landlord (pid 1)");
	return 1;
}

int export_device(const struct export *e, dev_t *device)
{
	(void)e;
	*device = 1;
	return 0;
}

int export_size(const struct export *e, uint64_t *bytes)
{
	sim_pause();
	*bytes = align_down(file_size(), e->lba_bytes);
	sim_pause();
	return 0;
}

int export_hole_bytes(const struct export *e, uint64_t *blocks, uint64_t *bytes)
{
	(void)e;
	*blocks = *bytes = 0;
	return 0;
}

/* Another page at `at`, behind those that there are. */
static void add_page(struct export_run *runs, unsigned int *nr_runs, uint64_t at)
{
	struct export_run *last = *nr_runs > 0 ? &runs[*nr_runs - 1] : NULL;

	if (last && last->offset + last->length == at)
		last->length += PAGE_BYTES;
	else
		runs[(*nr_runs)++] = (struct export_run){at, PAGE_BYTES};
}

static struct export_run *runs_new(void)
{
	struct export_run *runs = calloc(FILE_MAX_PAGES, sizeof(*runs));

	assert(runs);
	return runs;
}

int export_backing(const struct export *e, uint64_t *blocks, uint64_t *size_bytes,
		   struct export_run **runs, unsigned int *nr_runs)
{
	unsigned int pages;
	uint64_t had = *blocks;
	int err = export_size(e, size_bytes);

	pages = file_nr_pages(file_size());
	*blocks = 0;
	*runs = NULL;
	*nr_runs = 0;
	for (unsigned int i = 0; i < pages; i++)
		*blocks += file_page(i) != FILE_HOLE;
	if (*blocks < had)
		*runs = runs_new();
	for (unsigned int i = 0; *runs && i < pages; i++)
		if (file_page(i) != FILE_HOLE)
			add_page(*runs, nr_runs, (uint64_t)i * PAGE_BYTES);
	sim_pause();
	return err;
}

/* Its memory is never damaged. */
bool export_bad(const struct export *e, uint64_t offset, uint64_t length, struct export_range *bad)
{
	(void)e;
	(void)offset;
	(void)length;
	(void)bad;
	return false;
}

unsigned int export_bad_ranges(const struct export *e,
			       struct export_range ranges[EXPORT_MAX_BAD_RANGES])
{
	(void)e;
	(void)ranges;
	return 0;
}

uint64_t export_bad_found(const struct export *e)
{
	(void)e;
	return 0;
}

void export_bad_collect(void)
{
}

void export_bad_look(const struct export *e)
{
	(void)e;
}

void view_touch(const struct view *view, uint64_t offset, uint64_t length)
{
	(void)view;
	(void)offset;
	(void)length;
}

unsigned int export_warnings(const struct export *e, const struct view *view, uint64_t hole_bytes)
{
	(void)e;
	(void)view;
	(void)hole_bytes;
	return 0;
}

void export_warning_text(const struct export *e, const struct view *view, uint64_t hole_bytes,
			 enum export_warning warning, char *text, size_t size)
{
	(void)e;
	(void)view;
	(void)hole_bytes;
	(void)warning;
	(void)snprintf(text, size, "-");
}

/* ---- views ----------------------------------------------------------------------------------- */

static void need_tenure(const char *what)
{
	if (!tenure_over(0, 0))
		sim_fail(P_ROOM, "%s without a tenure", what);
}

static uint64_t file_bytes_of(const struct view *view)
{
	return view->backed_bytes + view->hole_bytes + view->shared_bytes;
}

/* The file as it is now. */
static struct view *look(const struct export *e, uint32_t generation, struct mapping *m)
{
	struct view *v = calloc(1, sizeof(*v));
	struct export_run *runs = runs_new();
	unsigned int n = 0;

	assert(v);
	for (unsigned int i = 0; i < file_nr_pages(file_size()); i++) {
		uint64_t at = (uint64_t)i * PAGE_BYTES,
			 bytes = min_u64(PAGE_BYTES, file_size() - at);

		if (file_page(i) == FILE_HOLE) {
			v->hole_bytes += bytes;
		} else if (file_page(i) == FILE_SHARED) {
			v->shared_bytes += bytes;
		} else {
			v->backed_bytes += bytes;
			add_page(runs, &n, at);
		}
	}
	v->export = (struct export *)e;
	v->generation = generation;
	v->base = m->base;
	v->size_bytes = align_down(file_size(), e->lba_bytes);
	v->mapped_bytes = align_up(file_size(), PAGE_BYTES);
	v->runs = runs;
	v->nr_runs = n;
	v->mapping = m;
	return v;
}

/* A page at a time: somebody may want the file meanwhile. */
static int in_pages(void (*fn)(unsigned int page, unsigned int n), uint64_t from, uint64_t to,
		    const atomic_bool *stop)
{
	for (uint64_t at = align_down(from, PAGE_BYTES); at < to && at < file_size();
	     at += PAGE_BYTES) {
		if (stop && atomic_load(stop))
			return -ECANCELED;
		if (!tenure_over(at, at + PAGE_BYTES))
			sim_fail(P_UNDONE, "blocks are got where the file is not held");
		fn((unsigned int)(at / PAGE_BYTES), 1);
		sim_pause();
	}
	return 0;
}

int view_new(struct export *e, uint32_t generation, const struct view *before,
	     const atomic_bool *stop, struct view **view, struct errtext *err)
{
	sim_pause();
	if (w.faults && sim_chance(30))
		return errtext_set(err, -ENOMEM, "no view, says the simulator");
	if (e->prepare && !e->filled && in_pages(file_fill, 0, file_size(), stop) < 0)
		return errtext_set(err, -ECANCELED, "somebody wants it");
	need_tenure("a view is made");
	e->filled = e->prepare;
	if (before && before->export == e && file_bytes_of(before) == file_size()) {
		before->mapping->references++;
		*view = look(e, generation, before->mapping);
	} else {
		*view = look(e, generation, file_map());
	}
	sim_pause();
	return 0;
}

int export_look_ahead(struct export *e, uint64_t *bytes, struct errtext *err)
{
	(void)err;
	sim_pause();
	need_tenure("the file is looked at");
	*bytes = e->prepare && !e->filled ? file_size() : 0;
	return 0;
}

static int grow(const struct view *old, uint64_t offset, uint64_t length, bool allocate,
		const atomic_bool *stop, struct view **view, struct errtext *err)
{
	sim_pause();
	need_tenure("blocks are got");
	if (length == 0 || !range_ok(offset, length, old->size_bytes))
		return errtext_set(err, -ERANGE, "outside the file");
	if (align_up(file_size(), PAGE_BYTES) != align_up(file_bytes_of(old), PAGE_BYTES))
		return errtext_set(err, -ERANGE, "another size now");
	if (sim_chance(50))
		return errtext_set(err, -ENOSPC, "no room, says the simulator");
	if ((w.unshares && in_pages(file_unshare, offset, offset + length, stop) < 0) ||
	    (allocate && in_pages(file_fill, offset, offset + length, stop) < 0))
		return errtext_set(err, -ECANCELED, "somebody wants it");
	need_tenure("blocks were got");
	old->mapping->references++;
	*view = look(old->export, old->generation, old->mapping);
	sim_pause();
	return 0;
}

int view_allocate(const struct view *old, uint64_t offset, uint64_t length, const atomic_bool *stop,
		  struct view **view, struct errtext *err)
{
	return grow(old, offset, length, true, stop, view, err);
}

int view_unshare(const struct view *old, uint64_t offset, uint64_t length, const atomic_bool *stop,
		 struct view **view, struct errtext *err)
{
	assert(w.unshares);
	return grow(old, offset, length, false, stop, view, err);
}

int view_again(const struct view *old, uint64_t offset, uint64_t length, const atomic_bool *stop,
	       struct view **view, struct errtext *err)
{
	(void)stop;
	(void)offset;
	(void)length;
	sim_pause();
	need_tenure("what was recalled is looked at again");
	if (file_size() > file_bytes_of(old) || view_run_at(old, align_up(file_size(), PAGE_BYTES)))
		return errtext_set(err, -ERANGE, "another size now");
	old->mapping->references++;
	*view = look(old->export, old->generation, old->mapping);
	sim_pause();
	return 0;
}

/* What is left of `old` without the pages that `out` says, of a file of `bytes`. */
static struct view *narrow(const struct view *old, const bool *out, uint64_t bytes)
{
	struct export_run *runs = runs_new();
	struct view *v = malloc(sizeof(*v));
	unsigned int n = 0;

	assert(v);
	*v = *old;
	v->backed_bytes = 0;
	for (unsigned int r = 0; r < old->nr_runs; r++) {
		for (uint64_t at = old->runs[r].offset;
		     at < old->runs[r].offset + old->runs[r].length; at += PAGE_BYTES) {
			if (out[at / PAGE_BYTES] || at >= bytes)
				continue;
			v->backed_bytes += min_u64(PAGE_BYTES, bytes - at);
			add_page(runs, &n, at);
		}
	}
	v->runs = runs;
	v->nr_runs = n;
	v->size_bytes = align_down(bytes, old->export->lba_bytes);
	v->shared_bytes = min_u64(old->shared_bytes, bytes - v->backed_bytes);
	v->hole_bytes = bytes - v->backed_bytes - v->shared_bytes;
	old->mapping->references++;
	return v;
}

int view_exclude(const struct view *old, const struct export_range *ranges, unsigned int nr_ranges,
		 struct view **view)
{
	bool out[FILE_MAX_PAGES] = {0};

	for (unsigned int i = 0; i < nr_ranges; i++)
		for (uint64_t at = ranges[i].offset; at < ranges[i].offset + ranges[i].length &&
						     at < (uint64_t)FILE_MAX_PAGES * PAGE_BYTES;
		     at += PAGE_BYTES)
			out[at / PAGE_BYTES] = true;
	*view = narrow(old, out, file_bytes_of(old));
	return 0;
}

/* What comes back counts as a hole here. */
int view_leave_out(const struct view *old, const struct export_range *ranges,
		   unsigned int nr_ranges, struct view **view)
{
	return view_exclude(old, ranges, nr_ranges, view);
}

int view_cut(const struct view *old, uint64_t bytes, struct view **view)
{
	static const bool none[FILE_MAX_PAGES];

	assert(bytes > 0 && bytes < file_bytes_of(old));
	*view = narrow(old, none, bytes);
	return 0;
}

/* The simulated adapter copies by itself. */
int view_close(const struct view *view)
{
	(void)view;
	return -EOPNOTSUPP;
}

void view_free(struct view *view)
{
	if (!view)
		return;
	sim_pause();
	assert(view->mapping->references > 0);
	if (--view->mapping->references == 0)
		fabric_check_no_key(P_ROOM, 0, NEVER, NULL);
	free((void *)view->runs);
	free(view);
}

const struct export_run *view_run_at(const struct view *view, uint64_t offset)
{
	for (unsigned int i = 0; i < view->nr_runs; i++)
		if (view->runs[i].offset + view->runs[i].length > offset)
			return &view->runs[i];
	return NULL;
}

bool view_unsharable(const struct view *view, uint64_t offset)
{
	(void)view;
	return w.unshares && file_page((unsigned int)(offset / PAGE_BYTES)) == FILE_SHARED;
}

bool view_backed(const struct view *view, uint64_t offset, uint64_t length)
{
	const struct export_run *r = view_run_at(view, offset);

	return r && offset >= r->offset && range_ok(offset - r->offset, length, r->length);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static void check_range(const struct view *view, uint64_t offset, uint64_t length, const char *what)
{
	if (!range_ok(offset, length, view->size_bytes))
		sim_fail(P_ROOM, "%s of bytes %llu+%llu of a view of %llu", what,
			 (unsigned long long)offset, (unsigned long long)length,
			 (unsigned long long)view->size_bytes);
	if (view->mapping->references == 0)
		sim_fail(P_ROOM, "%s by a view that is gone", what);
}

int view_persist(const struct view *view, uint64_t offset, uint64_t length)
{
	check_range(view, offset, length, "a persist");
	while (length > 0) {
		uint64_t n = min_u64(length, PAGE_BYTES - offset % PAGE_BYTES);

		sim_pause();
		if (!tenure_over(offset, offset + n))
			sim_fail(P_RELEASED, "what is not held is persisted");
		if (!range_ok(offset, n, file_size()))
			return -ERANGE;
		if (w.dax)
			file_persist(offset, n);
		offset += n;
		length -= n;
	}
	sim_pause();
	return 0;
}

int export_flush(const struct export *e)
{
	(void)e;
	sim_pause();
	return 0;
}

static int copy_in(const struct view *view, uint64_t offset, const void *src, uint64_t length)
{
	const uint8_t *from = src;

	check_range(view, offset, length, "a copy");
	while (length > 0) {
		uint64_t n = min_u64(length, PAGE_BYTES - offset % PAGE_BYTES), there;

		sim_pause();
		there = offset < file_size() ? min_u64(n, file_size() - offset) : 0;
		file_write_bytes(offset, from, there);
		if (there < n)
			return -ERANGE;
		from = from ? from + n : NULL;
		offset += n;
		length -= n;
	}
	sim_pause();
	return 0;
}

int view_copy_in(const struct view *view, uint64_t offset, const void *src, uint64_t length)
{
	return copy_in(view, offset, src, length);
}

/* A reactor's, that looks at nothing: the file must be ours. */
static void check_staged(const struct view *view, uint64_t offset, uint64_t length)
{
	check_range(view, offset, length, "a staged copy");
	if (!view_backed(view, offset, length))
		sim_fail(P_ROOM, "a staged copy of bytes %llu+%llu, which are not backed",
			 (unsigned long long)offset, (unsigned long long)length);
	if (!tenure_over(offset, offset + length))
		sim_fail(P_RELEASED, "a staged copy of what is not held");
}

int view_stage_in(const struct view *view, uint64_t offset, const void *src, uint64_t length)
{
	check_staged(view, offset, length);
	return copy_in(view, offset, src, length);
}

int view_stage_out(const struct view *view, uint64_t offset, void *dst, uint64_t length)
{
	check_staged(view, offset, length);
	return view_copy_out(view, offset, dst, length);
}

int view_copy_out(const struct view *view, uint64_t offset, void *dst, uint64_t length)
{
	uint8_t *to = dst;

	check_range(view, offset, length, "a read");
	while (length > 0) {
		uint64_t n = min_u64(length, PAGE_BYTES - offset % PAGE_BYTES);

		sim_pause();
		if (!range_ok(offset, n, file_size()))
			return -ERANGE;
		file_read(offset, to, n);
		to += n;
		offset += n;
		length -= n;
	}
	return 0;
}

int view_zero(const struct view *view, uint64_t offset, uint64_t length)
{
	return copy_in(view, offset, NULL, length);
}

int view_compare(const struct view *view, uint64_t offset, const void *bytes, uint64_t length)
{
	uint8_t *is = malloc(length);
	int err = view_copy_out(view, offset, is, length);

	if (!err && memcmp(is, bytes, length) != 0)
		err = -EILSEQ;
	free(is);
	return err;
}

int view_copy(const struct view *view, uint64_t from, uint64_t to, uint64_t length, bool *unread)
{
	uint8_t *bytes = malloc(length);
	int err = view_copy_out(view, from, bytes, length);

	*unread = err != 0;
	if (!err)
		err = copy_in(view, to, bytes, length);
	free(bytes);
	return err;
}

int view_verify(const struct view *view, uint64_t offset, uint64_t length)
{
	check_range(view, offset, length, "a verify");
	return range_ok(offset, length, file_size()) ? 0 : -ERANGE;
}

int export_punch(const struct export *e, const struct export_range *ranges, unsigned int nr_ranges)
{
	(void)e;
	for (unsigned int i = 0; i < nr_ranges; i++) {
		uint64_t from = ranges[i].offset, to = from + ranges[i].length;

		sim_pause();
		fabric_check_no_key(P_REACHED, from, to, "a host punched");
		if (sim_chance(20))
			return -ENOSPC;
		/* Behind the end there is nothing. */
		to = min_u64(to, align_up(file_size(), PAGE_BYTES));
		sim_log("pages %llu to %llu are punched for a host",
			(unsigned long long)(from / PAGE_BYTES),
			(unsigned long long)(to / PAGE_BYTES));
		if (from < to)
			file_drop((unsigned int)(from / PAGE_BYTES),
				  (unsigned int)((to - from) / PAGE_BYTES));
	}
	return 0;
}

int export_resize(const struct export *e, uint64_t bytes)
{
	(void)e;
	sim_pause();
	fabric_check_no_key(P_REACHED,
			    w.dax && w.pinned ? 0
					      : align_up(min_u64(bytes, file_size()), PAGE_BYTES),
			    NEVER, "the file was given another size");
	if (sim_chance(30))
		return -ENOSPC;
	sim_log("the size is set from %llu to %llu", (unsigned long long)file_size(),
		(unsigned long long)bytes);
	w.resized |= bytes != file_size();
	file_set_size(bytes);
	notice_change();
	return 0;
}

bool export_can_punch(const struct export *e)
{
	(void)e;
	return true;
}

int export_guarded_copy(void *dst, const void *src, size_t length)
{
	memcpy(dst, src, length);
	return 0;
}

int export_guarded_equal(const void *a, const void *b, size_t length)
{
	return memcmp(a, b, length) == 0;
}
