// SPDX-License-Identifier: BSD-3-Clause
/*
 * Where a file has blocks, and of what kind; and the runs of pages that follow from it. The answer
 * stays true only as long as the caller's tenure holds. Worker threads.
 */
#include "extents.h"

#include <errno.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "file.h"

#define FIEMAP_BATCH 256

static int add(struct extents *x, uint64_t offset, uint64_t length, enum extent_kind kind)
{
	struct extent *last = x->nr ? &x->list[x->nr - 1] : NULL;

	if (length == 0)
		return 0;
	if (last && last->kind == kind && last->offset + last->length == offset) {
		last->length += length;
		return 0;
	}
	if (x->nr == x->room) {
		size_t room = x->room ? 2 * x->room : 64;
		struct extent *list = reallocarray(x->list, room, sizeof(*list));

		if (!list)
			return -ENOMEM;
		x->list = list;
		x->room = room;
	}
	x->list[x->nr++] = (struct extent){.offset = offset, .length = length, .kind = kind};
	return 0;
}

void extents_free(struct extents *x)
{
	free(x->list);
	*x = (struct extents){0};
}

/* ---- FIEMAP ---------------------------------------------------------------------------------- */

static enum extent_kind kind_of(uint32_t flags)
{
	if (flags & FIEMAP_EXTENT_SHARED)
		return EXTENT_SHARED;
	if (flags & FIEMAP_EXTENT_UNWRITTEN)
		return EXTENT_UNWRITTEN;
	if (flags & (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED |
		     FIEMAP_EXTENT_DATA_ENCRYPTED | FIEMAP_EXTENT_NOT_ALIGNED |
		     FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL))
		return EXTENT_OTHER;
	return EXTENT_DATA;
}

/* One batch from `pos` on; *next is where to go on, `end` if there is no more. */
static int read_batch(int fd, struct fiemap *map, uint64_t pos, uint64_t end, bool sync,
		      struct extents *x, uint64_t *next)
{
	*map = (struct fiemap){
		.fm_start = pos,
		.fm_length = end - pos,
		.fm_flags = sync ? FIEMAP_FLAG_SYNC : 0,
		.fm_extent_count = FIEMAP_BATCH,
	};
	while (ioctl(fd, FS_IOC_FIEMAP, map))
		if (errno != EINTR)
			return -errno;
	*next = end;
	for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
		const struct fiemap_extent *e = &map->fm_extents[i];
		uint64_t from = max_u64(e->fe_logical, pos);
		uint64_t to = e->fe_logical + e->fe_length;
		int ret;

		if (to < e->fe_logical || to > end)
			to = end;
		if (from >= to)
			continue;
		ret = add(x, from, to - from, kind_of(e->fe_flags));
		if (ret)
			return ret;
		pos = to;
		if (e->fe_flags & FIEMAP_EXTENT_LAST)
			return 0;
	}
	/* A full batch that brought us no further would never end. */
	if (map->fm_mapped_extents == FIEMAP_BATCH && pos > map->fm_start)
		*next = pos;
	return 0;
}

static int read_fiemap(int fd, uint64_t offset, uint64_t end, bool sync, struct extents *x)
{
	struct fiemap *map = malloc(sizeof(*map) + FIEMAP_BATCH * sizeof(struct fiemap_extent));
	int ret = 0;

	if (!map)
		return -ENOMEM;
	while (!ret && offset < end) {
		ret = read_batch(fd, map, offset, end, sync, x, &offset);
		sync = false;
	}
	free(map);
	return ret;
}

/* ---- SEEK_DATA, SEEK_HOLE -------------------------------------------------------------------- */

static int read_seek(int fd, uint64_t offset, uint64_t end, struct extents *x)
{
	while (offset < end) {
		off_t data = lseek(fd, (off_t)offset, SEEK_DATA), hole;
		int ret;

		if (data < 0 && errno == ENXIO)
			return 0;
		if (data < 0)
			return -errno;
		if ((uint64_t)data >= end)
			return 0;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0 && errno == ENXIO)
			return 0; /* shrank between the two */
		if (hole < 0)
			return -errno;
		ret = add(x, (uint64_t)data, min_u64((uint64_t)hole, end) - (uint64_t)data,
			  EXTENT_DATA);
		if (ret)
			return ret;
		offset = (uint64_t)hole;
	}
	return 0;
}

int extents_read(int fd, uint64_t offset, uint64_t end, bool sync, struct extents *x)
{
	int ret;

	*x = (struct extents){0};
	ret = read_fiemap(fd, offset, end, sync, x);
	if (ret == -EBADR && sync) { /* knows FIEMAP, but not the flag */
		if (fsync(fd))
			return -errno;
		ret = read_fiemap(fd, offset, end, false, x);
	}
	if (ret == -EOPNOTSUPP || ret == -ENOTTY) {
		x->seek = true;
		ret = read_seek(fd, offset, end, x);
	}
	return ret;
}

int extents_set_all(struct extents *x, uint64_t end)
{
	x->nr = 0;
	return add(x, 0, end, EXTENT_DATA);
}

int extents_all_data(int fd, uint64_t offset, uint64_t end, bool *all)
{
	struct extents x;
	int ret = extents_read(fd, offset, end, false, &x);

	/* Of one kind and without a gap they are one. */
	if (!ret)
		*all = x.nr == 1 && x.list[0].kind == EXTENT_DATA && x.list[0].offset <= offset &&
		       x.list[0].offset + x.list[0].length >= end;
	extents_free(&x);
	return ret;
}

/* ---- runs ------------------------------------------------------------------------------------ */

/* [from, to) is of the wanted kinds: takes the whole pages in it. */
static void add_run(struct runs *runs, uint64_t from, uint64_t to, uint64_t size)
{
	uint64_t page = export_page_bytes();

	from = align_up(from, page);
	/* The last page may lack blocks beyond the end of the file: nobody's bytes. */
	to = to >= size ? align_up(size, page) : align_down(to, page);
	if (from >= to)
		return;
	runs->list[runs->nr++] = (struct export_run){.offset = from, .length = to - from};
	runs->backed_bytes += min_u64(to, size) - from;
}

int runs_build(const struct extents *x, unsigned int kinds, uint64_t size, struct runs *runs)
{
	uint64_t from = 0, to = 0; /* the stretch so far, across extents */

	*runs = (struct runs){0};
	if (x->nr >= UINT_MAX)
		return -E2BIG;
	runs->list = calloc(x->nr + 1, sizeof(*runs->list));
	if (!runs->list)
		return -ENOMEM;
	for (size_t i = 0; i < x->nr; i++) {
		const struct extent *e = &x->list[i];

		if (e->offset >= size)
			break;
		if (e->kind == EXTENT_SHARED)
			runs->shared_bytes += min_u64(e->length, size - e->offset);
		if (!(kinds & 1u << e->kind))
			continue;
		if (e->offset != to) {
			add_run(runs, from, to, size);
			from = e->offset;
		}
		to = e->offset + e->length;
	}
	add_run(runs, from, to, size);
	return 0;
}
