// SPDX-License-Identifier: BSD-3-Clause
/*
 * Unsharing: a clone (reflink) shares the file's blocks until one of the two writes. Keys exist
 * over blocks of the file's own only, for reading as well: its next writer, a host say, would
 * move the block and leave the key with the clone's. So the kernel is asked to copy what is shared
 * beforehand (FALLOC_FL_UNSHARE_RANGE), extent by extent, since XFS fills holes on the way. Worker
 * threads.
 */
#include "unshare.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "extents.h"
#include "scratch.h"
#include "space.h"
#include "util/counter.h"

/* Between two of them it may be stopped. They are copied, perhaps to a disk, and the file's faults,
 * also those of adapters, wait meanwhile. */
#define UNSHARE_SLICE_BYTES MIB(4)
#define DOING		    "unshare the blocks of"

DEFINE_COUNTER(unshared, "unshared_bytes", "Bytes that were copied to be shared no longer");

int unshare_check(const struct export *e, struct errtext *err)
{
	int fd, ret;

	if (e->medium == EXPORT_DEVICE)
		return errtext_set(err, -EMEDIUMTYPE,
				   "unshare = \"on-acquire\" is for files: the device %s shares "
				   "nothing with anybody; leave it out",
				   e->path);
	ret = scratch_unnamed(e, &fd);
	if (!ret) {
		if (fallocate(fd, FALLOC_FL_UNSHARE_RANGE | FALLOC_FL_KEEP_SIZE, 0,
			      (off_t)export_page_bytes()))
			ret = -errno;
		(void)close(fd);
	}
	/* A full file system is in no start's way: what it can do shows when there is space. */
	if (!ret || ret == -ENOSPC || ret == -EDQUOT)
		return 0;
	if (ret == -EOPNOTSUPP)
		return errtext_set(err, -EMEDIUMTYPE,
				   "unshare = \"on-acquire\" cannot be so of %s: its file system "
				   "does not unshare, as xfs does; leave it out",
				   e->path);
	return errtext_set(err, ret, "unshare = \"on-acquire\" cannot be tried beside %s: %s",
			   e->path, strerror(-ret));
}

static uint64_t shared_bytes(const struct extents *x)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < x->nr; i++)
		bytes += x->list[i].kind == EXTENT_SHARED ? x->list[i].length : 0;
	return bytes;
}

int unshare_range(struct export *e, uint64_t from, uint64_t to, const atomic_bool *stop,
		  struct errtext *err)
{
	struct extents x;
	int ret = extents_read(e->fd, from, to, true, &x);

	if (ret) {
		ret = space_refused(e, DOING, ret, "", err);
		goto out;
	}
	ret = space_promise(e, DOING, shared_bytes(&x), err);
	if (ret)
		goto out;
	for (size_t i = 0; !ret && i < x.nr; i++) {
		const struct extent *s = &x.list[i];

		if (s->kind != EXTENT_SHARED)
			continue;
		ret = space_take(e, FALLOC_FL_UNSHARE_RANGE, s->offset, s->offset + s->length,
				 UNSHARE_SLICE_BYTES, stop);
		if (!ret)
			counter_add(&unshared, s->length);
	}
	if (ret == -ECANCELED)
		ret = errtext_set(err, ret, "somebody wants %s while its blocks are unshared",
				  e->path);
	else if (ret)
		ret = space_refused(e, DOING, ret, "", err);
out:
	space_promise_end(e);
	extents_free(&x);
	return ret;
}
