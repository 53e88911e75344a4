// SPDX-License-Identifier: BSD-3-Clause
/*
 * Registrations: one protection domain per client, the callers' buffers in a sorted array, bounce
 * chunks. Any thread; registering blocks and is not for the data path.
 */
#include "libleasehold/memory.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A buffer is sink and source of READ and WRITE here, and named to the target by block commands. */
#define ACCESS (FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE)

#define UNBIND_MS 2000

static unsigned int access_for(const struct fabric_pd *pd)
{
	return ACCESS |
	       (fabric_device_info(fabric_pd_device(pd))->windows_type2 ? FABRIC_ACCESS_MW_BIND
									: 0);
}

bool memory_has_windows(const struct memory *m)
{
	return access_for(m->pd) & FABRIC_ACCESS_MW_BIND;
}

void memory_init(struct memory *m)
{
	*m = (struct memory){0};
	(void)pthread_mutex_init(&m->lock, NULL);
}

void memory_fini(struct memory *m)
{
	assert(m->count == 0);
	if (m->pd)
		(void)fabric_pd_free(m->pd);
	free(m->bufs);
	(void)pthread_mutex_destroy(&m->lock);
}

int memory_pd(struct memory *m, struct fabric_device *dev, struct fabric_pd **pd)
{
	int rc = 0;

	(void)pthread_mutex_lock(&m->lock);
	if (!m->pd)
		rc = fabric_pd_alloc(dev, &m->pd);
	else if (fabric_pd_device(m->pd) != dev)
		rc = -EXDEV;
	if (rc == 0)
		*pd = m->pd;
	(void)pthread_mutex_unlock(&m->lock);
	return rc;
}

/* Index of the first buffer that ends behind `addr`. */
static size_t first_behind(const struct memory *m, const uint8_t *addr)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (m->bufs[mid]->addr + m->bufs[mid]->bytes <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int insert(struct memory *m, struct lh_buf *buf)
{
	size_t i = first_behind(m, buf->addr);

	if (i < m->count && m->bufs[i]->addr < buf->addr + buf->bytes)
		return -EEXIST;
	if (m->count == m->room) {
		size_t room = m->room ? m->room * 2 : 8;
		struct lh_buf **bufs = realloc(m->bufs, room * sizeof(struct lh_buf *));

		if (!bufs)
			return -ENOMEM;
		m->bufs = bufs;
		m->room = room;
	}
	memmove(&m->bufs[i + 1], &m->bufs[i], (m->count - i) * sizeof(struct lh_buf *));
	m->bufs[i] = buf;
	m->count++;
	return 0;
}

int memory_register(struct memory *m, struct lh_client *client, void *addr, size_t bytes,
		    struct lh_buf **out, struct errtext *err)
{
	struct lh_buf *buf;
	int rc;

	if (!addr)
		return errtext_set(err, -EINVAL, "no buffer was given to be registered");
	if (bytes == 0)
		return errtext_set(err, -EINVAL, "a buffer of 0 bytes cannot be registered");
	buf = calloc(1, sizeof(*buf));
	if (!buf)
		return errtext_set(err, -ENOMEM, "out of memory");
	*buf = (struct lh_buf){.client = client, .addr = addr, .bytes = bytes};
	rc = fabric_mr_reg(m->pd, addr, bytes, (uint64_t)(uintptr_t)addr, access_for(m->pd),
			   &buf->mr);
	if (rc < 0) {
		free(buf);
		return errtext_set(err, rc, "%zu bytes cannot be registered with the adapter: %s%s",
				   bytes, strerror(-rc),
				   rc == -ENOMEM ? " (raise RLIMIT_MEMLOCK: ulimit -l)" : "");
	}
	(void)pthread_mutex_lock(&m->lock);
	rc = insert(m, buf);
	(void)pthread_mutex_unlock(&m->lock);
	if (rc < 0) {
		(void)fabric_mr_dereg(buf->mr);
		free(buf);
		return errtext_set(err, rc,
				   rc == -EEXIST ? "part of the buffer is registered already"
						 : "out of memory");
	}
	*out = buf;
	return 0;
}

void memory_unregister(struct memory *m, struct lh_buf *buf)
{
	(void)pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < m->count; i++) {
		if (m->bufs[i] == buf) {
			m->count--;
			memmove(&m->bufs[i], &m->bufs[i + 1],
				(m->count - i) * sizeof(struct lh_buf *));
			break;
		}
	}
	(void)pthread_mutex_unlock(&m->lock);
	/* The last windows over it are on their way out: their invalidation was posted, or their queue
	 * is being closed. */
	for (unsigned int i = 0; fabric_mr_dereg(buf->mr) == -EBUSY && i < UNBIND_MS; i++)
		(void)poll(NULL, 0, 1);
	if (buf->ours)
		(void)munmap(buf->addr, buf->bytes);
	free(buf);
}

const struct fabric_mr *memory_find(struct memory *m, const void *addr, uint64_t bytes)
{
	const struct fabric_mr *mr = NULL;
	size_t i;

	(void)pthread_mutex_lock(&m->lock);
	i = first_behind(m, addr);
	if (i < m->count && m->bufs[i]->addr <= (const uint8_t *)addr &&
	    range_ok((uint64_t)((const uint8_t *)addr - m->bufs[i]->addr), bytes,
		     m->bufs[i]->bytes))
		mr = m->bufs[i]->mr;
	(void)pthread_mutex_unlock(&m->lock);
	return mr;
}

struct lh_buf *memory_at(struct memory *m, const void *addr)
{
	struct lh_buf *buf = NULL;
	size_t i;

	(void)pthread_mutex_lock(&m->lock);
	i = first_behind(m, addr);
	if (i < m->count && m->bufs[i]->addr == addr)
		buf = m->bufs[i];
	(void)pthread_mutex_unlock(&m->lock);
	return buf;
}

/* ---- bounce chunks --------------------------------------------------------------------------- */

static_assert(BOUNCE_CHUNKS == 32, "one word of free bits");

static void chunk_make(struct bounce *b, struct fabric_pd *pd)
{
	const size_t bytes = BOUNCE_CHUNKS * BOUNCE_CHUNK_BYTES;
	uint8_t *mem =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return;
	if (fabric_mr_reg(pd, mem, bytes, (uint64_t)(uintptr_t)mem, access_for(pd), &b->mr) < 0) {
		(void)munmap(mem, bytes);
		return;
	}
	b->mem = mem;
	b->free = ~0u;
}

uint8_t *chunk_get(struct bounce *b, struct fabric_pd *pd)
{
	unsigned int i;

	if (!b->mem)
		chunk_make(b, pd);
	if (!b->free)
		return NULL;
	i = (unsigned int)__builtin_ctz(b->free);
	b->free &= b->free - 1;
	return b->mem + i * BOUNCE_CHUNK_BYTES;
}

void chunk_put(struct bounce *b, uint8_t *chunk)
{
	b->free |= 1u << ((size_t)(chunk - b->mem) / BOUNCE_CHUNK_BYTES);
}

void chunk_fini(struct bounce *b)
{
	if (b->mem) {
		(void)fabric_mr_dereg(b->mr);
		(void)munmap(b->mem, BOUNCE_CHUNKS * BOUNCE_CHUNK_BYTES);
	}
	*b = (struct bounce){0};
}
