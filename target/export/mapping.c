// SPDX-License-Identifier: BSD-3-Clause
/*
 * The mapping itself, on the export's own descriptor (a file that is opened again loses our lease).
 * Created and faulted in by worker threads; freed by any of them.
 */
#include "mapping.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "addresses.h"
#include "damage.h"
#include "file.h"

/* Between two of them it may be stopped: a page can take a millisecond. */
#define POPULATE_SLICE_BYTES KIB(256)
/* Pieces with advice of their own; each costs the kernel up to two areas of the 65,530. */
#define MAX_ADVISED_PIECES 1024
/* Of one slice: a device that has more is taken for one that is gone. */
#define MAX_DAMAGED_SLICES 64

/* Of all exports: who has an address. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list mappings = {&mappings, &mappings};

static int say(struct errtext *err, int ret, const struct export *e)
{
	return errtext_set(err, ret, "cannot map %s: %s", e->path, strerror(-ret));
}

int mapping_new(const struct export *e, uint64_t file_bytes, struct mapping **mapping,
		struct errtext *err)
{
	struct mapping *m = calloc(1, sizeof(*m));
	uint64_t bytes;
	int ret;

	if (!m)
		return errtext_set(err, -ENOMEM, "out of memory");
	atomic_init(&m->references, 1);
	list_init(&m->link);
	m->bytes = align_up(file_bytes, export_page_bytes());
	ret = addresses_map(e->fd, m->bytes, e->map_align, export_is_dax(e), &m->base);
	m->own = m->base;
	if (!ret && e->closable) {
		ret = addresses_map(e->fd, m->bytes, e->map_align, export_is_dax(e), &m->own);
		if (ret)
			(void)munmap(m->base, m->bytes);
	}
	if (ret) {
		free(m);
		return say(err, ret, e);
	}
	ret = export_file_bytes(e, &bytes);
	if (ret)
		ret = say(err, ret, e);
	else if (bytes != file_bytes)
		ret = errtext_set(err, -ERANGE, "%s changed its size while it was mapped", e->path);
	if (ret) {
		mapping_put(m);
		return ret;
	}
	m->damage = e->damage;
	(void)pthread_mutex_lock(&lock);
	list_push(&mappings, &m->link);
	(void)pthread_mutex_unlock(&lock);
	*mapping = m;
	return 0;
}

struct mapping *mapping_get(struct mapping *m)
{
	(void)atomic_fetch_add_explicit(&m->references, 1, memory_order_relaxed);
	return m;
}

void mapping_put(struct mapping *m)
{
	if (atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) != 1)
		return;
	(void)pthread_mutex_lock(&lock);
	list_del(&m->link);
	(void)pthread_mutex_unlock(&lock);
	if (m->own != m->base)
		(void)munmap(m->own, m->bytes);
	(void)munmap(m->base, m->bytes);
	free(m);
}

int mapping_close(struct mapping *m)
{
	assert(m->own != m->base);
	/* First: no view that is made from now on is to be of it. */
	atomic_store(&m->closed, true);
	/* The addresses stay taken: nothing else must ever lie where keys still point. */
	return mprotect(m->base, m->bytes, PROT_NONE) == 0 ? 0 : -errno;
}

static void damaged_at(const struct mapping *m, const uint8_t *start, uintptr_t address,
		       uint64_t bytes)
{
	uintptr_t base = (uintptr_t)start;
	uintptr_t from = (uintptr_t)max_u64(address, base);
	uintptr_t to = (uintptr_t)min_u64(address + bytes, base + m->bytes);

	if (from < to)
		(void)damage_add(m->damage, from - base, to - from);
}

void mapping_damaged(uintptr_t address, uint64_t bytes)
{
	struct list *l;

	bytes = max_u64(bytes, export_page_bytes());
	address = (uintptr_t)align_down(address, bytes);
	(void)pthread_mutex_lock(&lock);
	list_for_each (l, &mappings) {
		const struct mapping *m = list_entry(l, struct mapping, link);

		damaged_at(m, m->base, address, bytes);
		if (m->own != m->base)
			damaged_at(m, m->own, address, bytes);
	}
	(void)pthread_mutex_unlock(&lock);
}

/* Page by page, past those that are damaged. Of a device that is gone all of them are. */
static int populate_around(const struct mapping *m, uint8_t *base, const struct export *e,
			   uint64_t offset, uint64_t length, unsigned int *slices)
{
	const uint64_t page = export_page_bytes();

	if (++*slices > MAX_DAMAGED_SLICES)
		return -EIO;
	for (uint64_t at = offset; at < offset + length; at += page) {
		if (!madvise(base + at, page, MADV_POPULATE_WRITE))
			continue;
		if (errno == EINTR || errno == EAGAIN)
			at -= page;
		else if (errno != EHWPOISON)
			return errno == EFAULT ? export_fault_errno(e, at, 0) : -errno;
		else if (!damage_add(m->damage, at, page))
			return -EIO;
	}
	return 0;
}

/* Of several pages the kernel does not say which one has none behind it. */
static int why_not(uint8_t *base, const struct export *e, uint64_t offset, uint64_t length)
{
	const uint64_t page = export_page_bytes();

	for (uint64_t at = offset; at < offset + length; at += page)
		if (madvise(base + at, page, MADV_POPULATE_WRITE) && errno == EFAULT)
			return export_fault_errno(e, at, 0);
	return export_fault_errno(e, offset, 0);
}

static int populate(const struct mapping *m, uint8_t *base, const struct export *e, uint64_t offset,
		    uint64_t length, const atomic_bool *stop)
{
	unsigned int damaged = 0;
	int ret;

	assert(range_ok(offset, length, m->bytes));
	while (length > 0) {
		uint64_t n = min_u64(length, POPULATE_SLICE_BYTES - offset % POPULATE_SLICE_BYTES);

		if (stop && atomic_load_explicit(stop, memory_order_relaxed))
			return -ECANCELED;
		if (!madvise(base + offset, n, MADV_POPULATE_WRITE)) {
			offset += n;
			length -= n;
			continue;
		}
		switch (errno) {
		case EINTR:
		case EAGAIN:
			break;
		case EHWPOISON:
			ret = populate_around(m, base, e, offset, n, &damaged);
			if (ret)
				return ret;
			offset += n;
			length -= n;
			break;
		case EFAULT: /* a SIGBUS, were it an access */
			return why_not(base, e, offset, n);
		default:
			return -errno;
		}
	}
	return 0;
}

int mapping_populate(const struct mapping *m, const struct export *e, uint64_t offset,
		     uint64_t length, const atomic_bool *stop)
{
	int ret = populate(m, m->base, e, offset, length, stop);

	/* By now they have blocks: this costs no more than the page tables. */
	return ret || m->own == m->base ? ret : populate(m, m->own, e, offset, length, stop);
}

int mapping_populate_own(const struct mapping *m, const struct export *e, uint64_t offset,
			 uint64_t length)
{
	return populate(m, m->own, e, offset, length, NULL);
}

static int advise_at(uint8_t *at, uint64_t bytes, int advice)
{
	if (!madvise(at, bytes, advice))
		return 0;
	return errno == EINVAL ? 0 : -errno; /* a kernel without huge pages */
}

static int advise(const struct mapping *m, uint64_t from, uint64_t to, int advice)
{
	int ret = from < to ? advise_at(m->base + from, to - from, advice) : 0;

	if (ret || from >= to || m->own == m->base)
		return ret;
	return advise_at(m->own + from, to - from, advice);
}

int mapping_keep_holes(struct mapping *m, const struct export *e, const struct runs *runs)
{
	uint64_t pos = 0;
	int ret = 0;

	if (e->medium != EXPORT_DAX)
		return 0;
	if (runs->nr > MAX_ADVISED_PIECES)
		return advise(m, 0, m->bytes, MADV_NOHUGEPAGE);
	for (unsigned int i = 0; !ret && i < runs->nr; i++) {
		const struct export_run *r = &runs->list[i];
		uint64_t from = align_up(r->offset, HUGE_PAGE_BYTES);
		uint64_t to = align_down(r->offset + r->length, HUGE_PAGE_BYTES);

		if (from >= to)
			continue;
		ret = advise(m, pos, from, MADV_NOHUGEPAGE);
		if (!ret)
			ret = advise(m, from, to, MADV_HUGEPAGE);
		pos = to;
	}
	return ret ? ret : advise(m, pos, m->bytes, MADV_NOHUGEPAGE);
}
