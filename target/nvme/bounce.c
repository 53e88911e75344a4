// SPDX-License-Identifier: BSD-3-Clause
/*
 * A pool of registered memory, cut into chunks; a buffer is a run of them. First fit over a bitmap:
 * the pool is small and so are the requests. Lines are served in turns, one buffer each, and strictly:
 * where the next one in turn does not fit the others wait too, so that a large one is not starved by
 * small ones. A line that has its share is not in the way: it comes back when it gives some of it up.
 */
#include "nvme/bounce.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "util/counter.h"

#define CHUNK_BYTES KIB(16)

DEFINE_COUNTER(waits, "nvme_bounce_waits", "Commands that had to wait for a bounce buffer");

struct bounce_part {
	struct bounce_pool *pool;
	uint32_t begin, end; /* chunks of the pool */
	uint32_t nr_free;
	uint32_t hint;	      /* no free chunk before it */
	uint32_t share;	      /* chunks a line may hold */
	struct list eligible; /* lines, by turn */
	bool serving;
};

struct bounce_pool {
	uint8_t *base;
	uint64_t bytes;
	struct fabric_mr *mr;
	struct bounce_part parts[BOUNCE_KINDS];
	bool *used;
};

static uint32_t part_init(struct bounce_pool *pool, enum bounce_kind kind, uint32_t begin,
			  uint64_t bytes, uint32_t share)
{
	uint32_t chunks = (uint32_t)(bytes / CHUNK_BYTES);

	pool->parts[kind] = (struct bounce_part){
		.pool = pool,
		.begin = begin,
		.end = begin + chunks,
		.nr_free = chunks,
		.hint = begin,
		.share = chunks / share,
	};
	list_init(&pool->parts[kind].eligible);
	return begin + chunks;
}

int bounce_pool_new(struct fabric_pd *pd, uint64_t bytes, uint32_t max_bytes,
		    struct bounce_pool **pool)
{
	const struct fabric_device_info *info = fabric_device_info(fabric_pd_device(pd));
	struct bounce_pool *p = calloc(1, sizeof(*p));
	unsigned int access = FABRIC_ACCESS_LOCAL_WRITE;
	uint32_t chunks;
	int err = -ENOMEM;

	if (!p)
		return -ENOMEM;
	bytes = align_up(max_u64(bytes, max_bytes), CHUNK_BYTES);
	chunks = part_init(p, BOUNCE_IO, 0, bytes, BOUNCE_IO_SHARE);
	chunks = part_init(p, BOUNCE_RESERVE, chunks, BOUNCE_RESERVE_BYTES, BOUNCE_RESERVE_SHARE);
	p->bytes = (uint64_t)chunks * CHUNK_BYTES;
	p->used = calloc(chunks, sizeof(*p->used));
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
	for (unsigned int i = 0; i < BOUNCE_KINDS; i++) {
		const struct bounce_part *part = &pool->parts[i];

		assert(list_empty(&part->eligible) && part->nr_free == part->end - part->begin);
		(void)part;
	}
	(void)fabric_mr_dereg(pool->mr);
	(void)munmap(pool->base, pool->bytes);
	free(pool->used);
	free(pool);
}

void bounce_line_init(struct bounce_line *line, struct bounce_pool *pool, enum bounce_kind kind)
{
	line->part = &pool->parts[kind];
	line->held = 0;
	list_init(&line->link);
	list_init(&line->waiting);
}

static bool take(struct bounce_part *part, struct bounce *b)
{
	struct bounce_pool *pool = part->pool;
	uint32_t run = 0;

	if (b->chunks > part->nr_free)
		return false;
	while (part->hint < part->end && pool->used[part->hint])
		part->hint++;
	for (uint32_t i = part->hint; i < part->end; i++) {
		run = pool->used[i] ? 0 : run + 1;
		if (run < b->chunks)
			continue;
		b->first = i + 1 - run;
		for (uint32_t j = b->first; j <= i; j++)
			pool->used[j] = true;
		part->nr_free -= b->chunks;
		b->line->held += b->chunks;
		b->data = pool->base + (size_t)b->first * CHUNK_BYTES;
		b->lkey = pool->mr->lkey;
		return true;
	}
	return false;
}

static bool within_share(const struct bounce_line *line, const struct bounce *b)
{
	return line->held == 0 || line->held + b->chunks <= line->part->share;
}

static struct bounce *first_of(const struct bounce_line *line)
{
	return list_entry(line->waiting.next, struct bounce, link);
}

/* Takes part in the turns if it may have what it wants next; else not. */
static void line_up(struct bounce_line *line)
{
	if (list_empty(&line->waiting) || !within_share(line, first_of(line))) {
		if (!list_empty(&line->link))
			list_del(&line->link);
	} else if (list_empty(&line->link)) {
		list_push(&line->part->eligible, &line->link);
	}
}

bool bounce_get(struct bounce_line *line, struct bounce *b, uint32_t length,
		void (*ready)(struct bounce *bounce))
{
	struct bounce_part *part = line->part;

	b->chunks = (uint32_t)(align_up(length, CHUNK_BYTES) / CHUNK_BYTES);
	assert(!b->data && length > 0 && b->chunks <= part->end - part->begin);
	b->length = length;
	b->line = line;
	b->ready = ready;
	list_init(&b->link);
	if (list_empty(&part->eligible) && list_empty(&line->waiting) && within_share(line, b) &&
	    take(part, b))
		return true;
	list_push(&line->waiting, &b->link);
	line_up(line);
	counter_add(&waits, 1);
	return false;
}

/* Who is served may give back at once what it got: then the turns go on here, not deeper. */
static void serve_waiting(struct bounce_part *part)
{
	if (part->serving)
		return;
	part->serving = true;
	while (!list_empty(&part->eligible)) {
		struct bounce_line *line =
			list_entry(part->eligible.next, struct bounce_line, link);
		struct bounce *b = first_of(line);

		if (!take(part, b))
			break;
		list_del(&b->link);
		list_del(&line->link);
		line_up(line);
		b->ready(b);
	}
	part->serving = false;
}

void bounce_put(struct bounce *b)
{
	struct bounce_line *line = b->line;
	struct bounce_part *part;

	if (!line)
		return;
	part = line->part;
	b->line = NULL;
	if (b->data) {
		for (uint32_t i = 0; i < b->chunks; i++)
			part->pool->used[b->first + i] = false;
		part->nr_free += b->chunks;
		line->held -= b->chunks;
		if (b->first < part->hint)
			part->hint = b->first;
	} else {
		list_del(&b->link);
	}
	b->data = NULL;
	line_up(line);
	serve_waiting(part);
}

bool bounce_line_in_the_way(const struct bounce_line *line)
{
	return line->held > 0 && !list_empty(&line->part->eligible);
}
