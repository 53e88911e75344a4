// SPDX-License-Identifier: BSD-3-Clause
/*
 * The mapping itself, by libpmem2 on the export's own descriptor (it never opens the file: that
 * would break our lease). Created and faulted in by worker threads; freed by any of them.
 */
#include "mapping.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "file.h"

#define POPULATE_SLICE_BYTES MIB(64)
/* Pieces with advice of their own; each costs the kernel up to two areas of the 65,530. */
#define MAX_ADVISED_PIECES 1024

/* Below this are errors of libpmem2's own; the others are -errno. (Its pmem2_err_to_errno() is
 * declared but missing from the library, as of 1.12.) */
#define PMEM2_OWN_ERRORS (-100000)

static int say(struct errtext *err, int pmem2_err, const struct export *e)
{
	int ret = pmem2_err <= PMEM2_OWN_ERRORS ? -EINVAL : pmem2_err;

	return errtext_set(err, ret, "cannot map %s: %s (libpmem2 error %d)", e->path,
			   pmem2_errormsg(), pmem2_err);
}

/* Two threads in pmem2_map_new() at once have been seen to make one of them fail, without a word. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* Addresses for the mapping, at huge page alignment; libpmem2 alone would align to a page. */
static int reserve(struct mapping *m, const struct export *e, struct pmem2_config *config)
{
	size_t size = m->bytes + e->map_align;
	uintptr_t at;
	int ret = pmem2_vm_reservation_new(&m->reservation, NULL, size);

	if (ret)
		return ret;
	at = (uintptr_t)pmem2_vm_reservation_get_address(m->reservation);
	ret = pmem2_config_set_vm_reservation(config, m->reservation,
					      align_up(at, e->map_align) - at);
	if (ret)
		(void)pmem2_vm_reservation_delete(&m->reservation);
	return ret;
}

static void unmap(struct mapping *m)
{
	(void)pthread_mutex_lock(&one_at_a_time);
	(void)pmem2_map_delete(&m->map);
	(void)pmem2_vm_reservation_delete(&m->reservation);
	(void)pthread_mutex_unlock(&one_at_a_time);
}

static int map_file(struct mapping *m, const struct export *e, uint64_t file_bytes,
		    struct pmem2_config *config, struct pmem2_source *source, struct errtext *err)
{
	bool dax = e->medium == EXPORT_DAX;
	int ret;

	ret = pmem2_config_set_required_store_granularity(config, dax ? PMEM2_GRANULARITY_CACHE_LINE
								      : PMEM2_GRANULARITY_PAGE);
	if (ret)
		return say(err, ret, e);
	(void)pthread_mutex_lock(&one_at_a_time);
	ret = reserve(m, e, config);
	if (!ret) {
		ret = pmem2_map_new(&m->map, config, source);
		if (ret)
			(void)pmem2_vm_reservation_delete(&m->reservation);
	}
	(void)pthread_mutex_unlock(&one_at_a_time);
	if (ret)
		return say(err, ret, e);
	/* A length that is not of whole pages cannot be asked for: it is the file's, whatever it is. */
	if (pmem2_map_get_size(m->map) != file_bytes) {
		unmap(m);
		return errtext_set(err, -ERANGE, "%s changed its size while it was mapped",
				   e->path);
	}
	m->base = pmem2_map_get_address(m->map);
	assert((uintptr_t)m->base % e->map_align == 0);
	if (dax) {
		m->persist = pmem2_get_persist_fn(m->map);
		m->drain = pmem2_get_drain_fn(m->map);
		m->memcpy = pmem2_get_memcpy_fn(m->map);
	}
	return 0;
}

/*
 * libpmem2 walks through /sys with fts(3), which changes the working directory, and that of all
 * threads. So who maps gets one of his own, for good.
 */
static void keep_cwd_apart(void)
{
	static _Thread_local bool done;

	if (!done)
		done = unshare(CLONE_FS) == 0;
}

int mapping_new(const struct export *e, uint64_t file_bytes, struct mapping **mapping,
		struct errtext *err)
{
	struct mapping *m = calloc(1, sizeof(*m));
	struct pmem2_config *config;
	struct pmem2_source *source;
	int ret;

	if (!m)
		return errtext_set(err, -ENOMEM, "out of memory");
	keep_cwd_apart();
	atomic_init(&m->references, 1);
	m->bytes = align_up(file_bytes, export_page_bytes());
	ret = pmem2_source_from_fd(&source, e->fd);
	if (ret) {
		ret = say(err, ret, e);
		goto free_mapping;
	}
	ret = pmem2_config_new(&config);
	if (ret) {
		ret = say(err, ret, e);
		goto free_source;
	}
	ret = map_file(m, e, file_bytes, config, source, err);
	(void)pmem2_config_delete(&config);
free_source:
	(void)pmem2_source_delete(&source);
free_mapping:
	if (ret)
		free(m);
	else
		*mapping = m;
	return ret;
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
	unmap(m);
	free(m);
}

int mapping_populate(const struct mapping *m, const struct export *e, uint64_t offset,
		     uint64_t length)
{
	assert(range_ok(offset, length, m->bytes));
	while (length > 0) {
		uint64_t n = min_u64(length, POPULATE_SLICE_BYTES - offset % POPULATE_SLICE_BYTES);

		if (!madvise(m->base + offset, n, MADV_POPULATE_WRITE)) {
			offset += n;
			length -= n;
			continue;
		}
		switch (errno) {
		case EINTR:
		case EAGAIN:
			break;
		case EHWPOISON:
			return -EIO;
		case EFAULT: /* a SIGBUS, were it an access; it does not say where */
			return export_fault_errno(e, offset, 0);
		default:
			return -errno;
		}
	}
	return 0;
}

static int advise(const struct mapping *m, uint64_t from, uint64_t to, int advice)
{
	if (from >= to || !madvise(m->base + from, to - from, advice))
		return 0;
	return errno == EINVAL ? 0 : -errno; /* a kernel without huge pages */
}

int mapping_keep_holes(struct mapping *m, const struct export *e, const struct runs *runs)
{
	uint64_t pos = 0;
	int ret = 0;

	if (e->medium != EXPORT_DAX || m->small_pages_only)
		return 0;
	if (runs->nr > MAX_ADVISED_PIECES) {
		m->small_pages_only = true;
		return advise(m, 0, m->bytes, MADV_NOHUGEPAGE);
	}
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
