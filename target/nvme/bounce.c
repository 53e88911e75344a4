// SPDX-License-Identifier: BSD-3-Clause
/*
 * A pool of registered memory, cut into chunks; a buffer is a run of them. First fit over a bitmap:
 * the pool is small and so are the requests. Those that wait are served strictly in order, so that
 * a large one is not starved by small ones.
 */
#include "nvme/bounce.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "util/counter.h"

#define CHUNK_BYTES KIB(16)

DEFINE_COUNTER(waits, "nvme_bounce_waits", "Commands that had to wait for a bounce buffer");

struct bounce_pool {
	uint8_t *base;
	uint64_t bytes;
	struct fabric_mr *mr;
	uint32_t nr_chunks, nr_free;
	uint32_t hint; /* no free chunk before it */
	struct list waiting;
	bool *used;
};

int bounce_pool_new(struct fabric_pd *pd, uint64_t bytes, uint32_t max_bytes,
		    struct bounce_pool **pool)
{
	const struct fabric_device_info *info = fabric_device_info(fabric_pd_device(pd));
	struct bounce_pool *p = calloc(1, sizeof(*p));
	unsigned int access = FABRIC_ACCESS_LOCAL_WRITE;
	int err = -ENOMEM;

	if (!p)
		return -ENOMEM;
	list_init(&p->waiting);
	p->bytes = align_up(max_u64(bytes, max_bytes), CHUNK_BYTES);
	p->nr_chunks = p->nr_free = (uint32_t)(p->bytes / CHUNK_BYTES);
	p->used = calloc(p->nr_chunks, sizeof(*p->used));
	if (!p->used)
		goto free_memory;
	p->base = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->base == MAP_FAILED)
		goto free_memory;
	/* iWARP adapters let the peer name the sink of a READ. */
	if (info->read_sink_needs_bounce)
		access |= FABRIC_ACCESS_REMOTE_WRITE;
	err = fabric_mr_reg(pd, p->base, p->bytes, (uint64_t)(uintptr_t)p->base, access, &p->mr);
	if (err)
		goto unmap;
	*pool = p;
	return 0;

unmap:
	(void)munmap(p->base, p->bytes);
free_memory:
	free(p->used);
	free(p);
	return err;
}

void bounce_pool_free(struct bounce_pool *pool)
{
	if (!pool)
		return;
	assert(list_empty(&pool->waiting) && pool->nr_free == pool->nr_chunks);
	(void)fabric_mr_dereg(pool->mr);
	(void)munmap(pool->base, pool->bytes);
	free(pool->used);
	free(pool);
}

static bool take(struct bounce_pool *pool, struct bounce *b)
{
	uint32_t run = 0;

	if (b->chunks > pool->nr_free)
		return false;
	while (pool->hint < pool->nr_chunks && pool->used[pool->hint])
		pool->hint++;
	for (uint32_t i = pool->hint; i < pool->nr_chunks; i++) {
		run = pool->used[i] ? 0 : run + 1;
		if (run < b->chunks)
			continue;
		b->first = i + 1 - run;
		for (uint32_t j = b->first; j <= i; j++)
			pool->used[j] = true;
		pool->nr_free -= b->chunks;
		b->data = pool->base + b->first * CHUNK_BYTES;
		b->lkey = pool->mr->lkey;
		return true;
	}
	return false;
}

bool bounce_get(struct bounce_pool *pool, struct bounce *b, uint32_t length,
		void (*ready)(struct bounce *bounce))
{
	assert(!b->data && length > 0 && length <= pool->bytes);
	b->length = length;
	b->chunks = (uint32_t)(align_up(length, CHUNK_BYTES) / CHUNK_BYTES);
	b->ready = ready;
	list_init(&b->link);
	if (list_empty(&pool->waiting) && take(pool, b))
		return true;
	list_push(&pool->waiting, &b->link);
	counter_add(&waits, 1);
	return false;
}

static void serve_waiting(struct bounce_pool *pool)
{
	while (!list_empty(&pool->waiting)) {
		struct bounce *b = list_entry(pool->waiting.next, struct bounce, link);

		if (!take(pool, b))
			return;
		list_del(&b->link);
		b->ready(b);
	}
}

void bounce_put(struct bounce_pool *pool, struct bounce *b)
{
	if (b->data) {
		for (uint32_t i = 0; i < b->chunks; i++)
			pool->used[b->first + i] = false;
		pool->nr_free += b->chunks;
		if (b->first < pool->hint)
			pool->hint = b->first;
	} else if (b->link.next && !list_empty(&b->link)) {
		list_del(&b->link);
	} else {
		return;
	}
	b->data = NULL;
	serve_waiting(pool);
}
