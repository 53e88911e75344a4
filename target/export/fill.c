// SPDX-License-Identifier: BSD-3-Clause
/*
 * Filling holes. A fallocate(2) that fails for lack of space keeps what it got (ext4, XFS): a file
 * larger than its file system would take all of that and be refused nevertheless. So there is a look
 * first, with a part of the file system that stays for others; and what a call that failed in the
 * midst has left is punched out again, which needs no less care than any punch:
 *
 *   it was a hole before       and what was data or preallocated then stays as it was;
 *   it is unwritten now        after a write-back: what a host wrote meanwhile is data by then;
 *   nobody is writing there    writers through the mapping are kept out from the look to the punch,
 *                              and keys exist over runs only, of which this was no part;
 *   the tenure is held         else somebody else may be writing.
 *
 * Worker threads.
 */
#include "fill.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "space.h"
#include "util/counter.h"

/* Between two of them it may be stopped: a memory file system clears what it gives. */
#define FILL_SLICE_BYTES MIB(256)
#define DOING		 "fill the holes of"
#define KEPT		 "; it keeps what it got of them"

DEFINE_COUNTER(undone, "allocations_undone_bytes",
	       "Bytes that failing allocations got and gave back");

/* ---- the lock -------------------------------------------------------------------------------- */

/* Writers share it. Who gives back is rare, and comes first: it would wait for ever under load. */
int fill_lock_init(struct export *e)
{
	pthread_rwlockattr_t attr;
	int ret = pthread_rwlockattr_init(&attr);

	if (ret)
		return -ret;
	(void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	ret = pthread_rwlock_init(&e->fill_lock, &attr);
	(void)pthread_rwlockattr_destroy(&attr);
	return -ret;
}

void fill_lock_fini(struct export *e)
{
	(void)pthread_rwlock_destroy(&e->fill_lock);
}

void fill_write_begin(struct export *e)
{
	(void)pthread_rwlock_rdlock(&e->fill_lock);
}

void fill_write_end(struct export *e)
{
	(void)pthread_rwlock_unlock(&e->fill_lock);
}

/* ---- what there is to fill ------------------------------------------------------------------- */

/* At least what fallocate(2) will take of [from, to), metadata aside. */
static uint64_t missing_bytes(const struct export *e, uint64_t from, uint64_t to,
			      const struct extents *x)
{
	uint64_t missing = to - from, there;
	struct stat st;

	for (size_t i = 0; i < x->nr; i++)
		missing -= min_u64(x->list[i].length, missing);
	/* What fallocate(2) got looks like a hole there: see all_there() in view.c. */
	if (x->seek && !fstat(e->fd, &st)) {
		uint64_t size = align_up((uint64_t)st.st_size, export_page_bytes());

		there = (uint64_t)st.st_blocks * 512;
		missing = min_u64(missing, size - min_u64(there, size));
	}
	return missing;
}

int fill_promise(struct export *e, uint64_t from, uint64_t to, const struct extents *x,
		 struct errtext *err)
{
	return space_promise(e, DOING, missing_bytes(e, from, to, x), err);
}

/* ---- giving back ----------------------------------------------------------------------------- */

static int punch(const struct export *e, uint64_t from, uint64_t to)
{
	const struct export_range range = {.offset = from, .length = to - from};
	int ret = export_punch(e, &range, 1);

	if (!ret)
		counter_add(&undone, range.length);
	return ret;
}

/* The parts of [at, end) that no extent of `before` covers; *next: the first that may matter. */
static int punch_gaps(const struct export *e, const struct extents *before, size_t *next,
		      uint64_t at, uint64_t end)
{
	int ret = 0;

	while (*next < before->nr && before->list[*next].offset + before->list[*next].length <= at)
		(*next)++;
	for (size_t i = *next; !ret && at < end; i++) {
		uint64_t cut = i < before->nr ? min_u64(end, before->list[i].offset) : end;

		if (at < cut)
			ret = punch(e, at, cut);
		if (i >= before->nr)
			break;
		at = max_u64(at, before->list[i].offset + before->list[i].length);
	}
	return ret;
}

/* Returns why not all of it was given back, or 0. */
static int give_back(struct export *e, uint64_t from, uint64_t to, const struct extents *before)
{
	struct extents now = {0};
	size_t next = 0;
	int ret;

	/* Without FIEMAP nobody can tell; tmpfs itself undoes what fails. */
	if (before->seek || e->hugetlbfs)
		return 0;
	(void)pthread_rwlock_wrlock(&e->fill_lock);
	ret = extents_read(e->fd, from, to, true, &now);
	if (!ret && fcntl(e->fd, F_GETLEASE) != F_WRLCK)
		ret = -EAGAIN;
	for (size_t i = 0; !ret && i < now.nr; i++) {
		const struct extent *x = &now.list[i];

		if (x->kind == EXTENT_UNWRITTEN)
			ret = punch_gaps(e, before, &next, x->offset, x->offset + x->length);
	}
	(void)pthread_rwlock_unlock(&e->fill_lock);
	extents_free(&now);
	return ret;
}

/* ---- filling --------------------------------------------------------------------------------- */

int fill_holes(struct export *e, uint64_t from, uint64_t to, const atomic_bool *stop,
	       struct errtext *err)
{
	struct extents before;
	int ret;

	if (e->medium == EXPORT_DEVICE)
		return 0; /* has none */
	ret = extents_read(e->fd, from, to, true, &before);
	if (ret) {
		ret = space_refused(e, DOING, ret, "", err);
		goto out;
	}
	/* A call that has nothing to do changes the times of the file nevertheless. */
	if (missing_bytes(e, from, to, &before) == 0)
		goto out;
	ret = fill_promise(e, from, to, &before, err);
	if (ret)
		goto out;
	ret = space_take(e, 0, from, to, FILL_SLICE_BYTES, stop);
	/* Whoever wants the file has it at once; what is filled by then is needed soon again. */
	if (ret == -ECANCELED)
		ret = errtext_set(err, ret, "somebody wants %s while its holes are filled",
				  e->path);
	else if (ret)
		ret = space_refused(e, DOING, ret, give_back(e, from, to, &before) ? KEPT : "",
				    err);
out:
	space_promise_end(e);
	extents_free(&before);
	return ret;
}
