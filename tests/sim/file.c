// SPDX-License-Identifier: BSD-3-Clause
/*
 * A file of blocks. Blocks that the file gives up go to another owner at once, who fills them with a
 * pattern; who touches them is caught in the act. Mappings lie in address ranges that hold nothing:
 * all reading and writing goes through here.
 */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCKS	   192u
#define NO_BLOCK   UINT32_MAX
#define SLOTS	   1024u
#define SLOT_BYTES MIB(2)

enum owner {
	OWNER_OTHER, /* another file, with a pattern */
	OWNER_FILE,
	OWNER_CLONE, /* a clone of the file alone */
};

struct block {
	enum owner owner;
	uint8_t pattern;
	uint64_t given_ns;
};

struct page {
	uint32_t block;
	bool shared; /* with a clone */
};

static struct {
	uint8_t *disk;	 /* BLOCKS pages, as who reads them sees them: caches and all */
	uint8_t *medium; /* the same, as they are when power has failed: only what was persisted */
	uint8_t *space;	 /* SLOTS * SLOT_BYTES of addresses */
	struct block blocks[BLOCKS];
	struct page pages[FILE_MAX_PAGES];
	uint64_t size;
	struct mapping slots[SLOTS];
	uint32_t next_block;
} f;

/* ---- blocks ---------------------------------------------------------------------------------- */

static uint8_t *block_at(uint32_t block)
{
	return f.disk + (size_t)block * PAGE_BYTES;
}

static void check_pattern(uint32_t block)
{
	const uint8_t *p = block_at(block);

	/* Its first byte is right, and each other one is as the one before it. */
	if (p[0] != f.blocks[block].pattern || memcmp(p, p + 1, PAGE_BYTES - 1) != 0)
		sim_fail(P_REACHED, "block %u of another file was changed", block);
}

static void give_away(uint32_t block, enum owner owner)
{
	struct block *b = &f.blocks[block];

	b->owner = owner;
	b->given_ns = sim_now;
	if (owner != OWNER_OTHER)
		return;
	b->pattern = (uint8_t)(0x40 | sim_below(64));
	memset(block_at(block), b->pattern, PAGE_BYTES);
}

/* Bytes of a block become durable, with the lines they lie in. */
static void persist(uint32_t block, uint64_t from, uint64_t to)
{
	uint64_t at = (uint64_t)block * PAGE_BYTES + align_down(from, LINE_BYTES);

	memcpy(f.medium + at, f.disk + at, align_up(to, LINE_BYTES) - align_down(from, LINE_BYTES));
}

static uint32_t get_block(void)
{
	for (unsigned int i = 0; i < 2 * BLOCKS; i++) {
		uint32_t block = f.next_block++ % BLOCKS;

		/* Clones are deleted when room is needed. */
		if (f.blocks[block].owner == OWNER_CLONE && i >= BLOCKS)
			give_away(block, OWNER_OTHER);
		if (f.blocks[block].owner != OWNER_OTHER)
			continue;
		check_pattern(block);
		f.blocks[block].owner = OWNER_FILE;
		memset(block_at(block), 0, PAGE_BYTES);
		persist(block, 0, PAGE_BYTES);
		return block;
	}
	abort();
}

static void drop(struct page *p)
{
	if (p->block != NO_BLOCK)
		give_away(p->block, p->shared ? OWNER_CLONE : OWNER_OTHER);
	*p = (struct page){.block = NO_BLOCK};
}

/* For a writer of the file: a block of the file's own. */
static void own(struct page *p)
{
	uint32_t old = p->block;

	if (old != NO_BLOCK && !p->shared)
		return;
	p->block = get_block();
	if (old != NO_BLOCK) {
		memcpy(block_at(p->block), block_at(old), PAGE_BYTES);
		persist(p->block, 0, PAGE_BYTES);
		give_away(old, OWNER_CLONE);
	}
	p->shared = false;
}

uint64_t file_size(void)
{
	return f.size;
}

enum file_page file_page(unsigned int page)
{
	const struct page *p = &f.pages[page];

	return p->block == NO_BLOCK ? FILE_HOLE : p->shared ? FILE_SHARED : FILE_OWN;
}

void file_fill(unsigned int page, unsigned int n)
{
	for (unsigned int i = page; i < page + n; i++)
		if (f.pages[i].block == NO_BLOCK)
			f.pages[i].block = get_block();
}

void file_unshare(unsigned int page, unsigned int n)
{
	for (unsigned int i = page; i < page + n; i++)
		if (f.pages[i].shared)
			own(&f.pages[i]);
}

static void write_value(unsigned int cell, unsigned int n);

void file_begin(void)
{
	if (!f.disk) {
		f.disk = malloc((size_t)BLOCKS * PAGE_BYTES);
		f.medium = malloc((size_t)BLOCKS * PAGE_BYTES);
		f.space = mmap(NULL, (SLOTS + 1) * SLOT_BYTES, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		assert(f.disk && f.medium && f.space != MAP_FAILED);
		f.space = (uint8_t *)(uintptr_t)align_up((uint64_t)(uintptr_t)f.space, SLOT_BYTES);
	}
	f.next_block = 0;
	for (unsigned int i = 0; i < SLOTS; i++)
		f.slots[i] = (struct mapping){.base = f.space + i * SLOT_BYTES};
	for (uint32_t i = 0; i < BLOCKS; i++)
		give_away(i, OWNER_OTHER);
	f.size = (uint64_t)w.pages * PAGE_BYTES - (sim_chance(200) ? 3 * CELL_BYTES : 0);
	for (unsigned int i = 0; i < FILE_MAX_PAGES; i++)
		f.pages[i] = (struct page){.block = NO_BLOCK};
	for (unsigned int i = 0; i < w.pages; i++) {
		if (sim_chance(150))
			continue; /* a hole */
		f.pages[i].block = get_block();
		f.pages[i].shared = sim_chance(50);
		if (sim_chance(500) && i + 1 < w.pages)
			write_value(i * PAGE_CELLS, PAGE_CELLS);
	}
}

void file_end(void)
{
	for (unsigned int i = 0; i < SLOTS; i++)
		if (f.slots[i].references)
			sim_fail(P_STUCK, "a mapping is left over");
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (f.blocks[i].owner == OWNER_OTHER)
			check_pattern(i);
}

/* Bytes of the file as a reader of the file sees them. */
void file_read(uint64_t offset, uint8_t *to, uint64_t length)
{
	while (length > 0) {
		const struct page *p = &f.pages[offset / PAGE_BYTES];
		uint64_t in = offset % PAGE_BYTES, n = min_u64(length, PAGE_BYTES - in);

		if (p->block == NO_BLOCK)
			memset(to, 0, n);
		else
			memcpy(to, block_at(p->block) + in, n);
		to += n;
		offset += n;
		length -= n;
	}
}

void file_write_bytes(uint64_t offset, const uint8_t *from, uint64_t length)
{
	while (length > 0) {
		struct page *p = &f.pages[offset / PAGE_BYTES];
		uint64_t in = offset % PAGE_BYTES, n = min_u64(length, PAGE_BYTES - in);

		own(p);
		if (from) {
			memcpy(block_at(p->block) + in, from, n);
			from += n;
		} else {
			memset(block_at(p->block) + in, 0, n);
		}
		persist(p->block, in, in + n);
		offset += n;
		length -= n;
	}
}

void file_persist(uint64_t offset, uint64_t length)
{
	while (length > 0) {
		uint64_t in = offset % PAGE_BYTES, n = min_u64(length, PAGE_BYTES - in);
		uint32_t block = f.pages[offset / PAGE_BYTES].block;

		if (block != NO_BLOCK)
			persist(block, in, in + n);
		offset += n;
		length -= n;
	}
}

bool file_medium(unsigned int cell, void *bytes)
{
	const struct page *p = &f.pages[cell / PAGE_CELLS];

	if (!w.dax || (uint64_t)(cell + 1) * CELL_BYTES > f.size)
		return false;
	if (p->block == NO_BLOCK)
		memset(bytes, 0, CELL_BYTES);
	else
		memcpy(bytes,
		       f.medium + (size_t)p->block * PAGE_BYTES +
			       (size_t)(cell % PAGE_CELLS) * CELL_BYTES,
		       CELL_BYTES);
	return true;
}

static void check_cells(unsigned int cell, unsigned int n, uint64_t issued)
{
	uint8_t bytes[CELL_BYTES];

	for (; n > 0; cell++, n--) {
		file_read((uint64_t)cell * CELL_BYTES, bytes, CELL_BYTES);
		oracle_check(cell, 1, bytes, issued, "who reads the file");
		if (file_medium(cell, bytes))
			oracle_check_medium(cell, bytes);
	}
}

void file_check(uint64_t issued)
{
	check_cells(0, (unsigned int)(f.size / CELL_BYTES), issued);
}

int file_pread(void *buf, uint32_t length, uint64_t offset)
{
	uint64_t n = offset < f.size ? min_u64(length, f.size - offset) : 0;

	file_read(offset, buf, n);
	return (int)n;
}

/* ---- the landlord ---------------------------------------------------------------------------- */

static void cut(uint64_t bytes)
{
	unsigned int first = file_nr_pages(bytes);

	for (unsigned int i = first; i < FILE_MAX_PAGES; i++)
		drop(&f.pages[i]);
	/* The kernel clears the rest of the last page. */
	if (bytes % PAGE_BYTES && f.pages[first - 1].block != NO_BLOCK) {
		own(&f.pages[first - 1]);
		memset(block_at(f.pages[first - 1].block) + bytes % PAGE_BYTES, 0,
		       PAGE_BYTES - bytes % PAGE_BYTES);
		persist(f.pages[first - 1].block, bytes % PAGE_BYTES, PAGE_BYTES);
	}
}

void file_set_size(uint64_t bytes)
{
	uint64_t low = min_u64(bytes, f.size), high = max_u64(bytes, f.size);

	cut(low);
	f.size = bytes;
	oracle_set((unsigned int)(low / CELL_BYTES), (unsigned int)((high - low) / CELL_BYTES), 0);
}

/* Whoever broke the lease has all of it, whoever asked for a part or was given one, that. */
static void check_pages(bool part, unsigned int page, unsigned int n, const char *what)
{
	fabric_check_no_key(P_REACHED, part ? (uint64_t)page * PAGE_BYTES : 0,
			    part ? (uint64_t)(page + n) * PAGE_BYTES : NEVER, what);
}

void file_truncate(uint64_t bytes)
{
	assert(bytes > 0 && bytes <= (uint64_t)FILE_MAX_PAGES * PAGE_BYTES);
	fabric_check_no_key(P_REACHED, w.watch ? bytes : 0, NEVER, "the landlord truncated");
	sim_log("the landlord truncates from %llu to %llu", (unsigned long long)f.size,
		(unsigned long long)bytes);
	w.resized |= bytes != f.size;
	file_set_size(bytes);
	notice_change();
}

void file_truncate_part(uint64_t bytes)
{
	assert(bytes > 0 && bytes < f.size);
	fabric_check_no_key(P_REACHED, bytes, NEVER, "whoever was given the end truncated");
	sim_log("whoever was given the end truncates from %llu to %llu", (unsigned long long)f.size,
		(unsigned long long)bytes);
	w.resized = true;
	file_set_size(bytes);
}

void file_drop(unsigned int page, unsigned int n)
{
	for (unsigned int i = page; i < page + n; i++)
		drop(&f.pages[i]);
}

static unsigned int cells_of(unsigned int page, unsigned int n)
{
	uint64_t end = min_u64((uint64_t)(page + n) * PAGE_BYTES, f.size);

	return (unsigned int)((end - (uint64_t)page * PAGE_BYTES) / CELL_BYTES);
}

static void punch_there(unsigned int page, unsigned int n, const char *who)
{
	sim_log("%s punches pages %u+%u", who, page, n);
	file_drop(page, n);
	oracle_set(page * PAGE_CELLS, cells_of(page, n), 0);
}

void file_punch(unsigned int page, unsigned int n)
{
	check_pages(w.watch, page, n, "the landlord punched");
	punch_there(page, n, "the landlord");
	notice_change();
}

void file_punch_part(unsigned int page, unsigned int n)
{
	check_pages(true, page, n, "whoever was given the range punched");
	punch_there(page, n, "whoever was given them");
}

static void write_value(unsigned int cell, unsigned int n)
{
	uint64_t value = oracle_value();
	uint8_t bytes[CELL_BYTES];

	oracle_fill(bytes, 1, value);
	for (unsigned int i = 0; i < n; i++)
		file_write_bytes((uint64_t)(cell + i) * CELL_BYTES, bytes, CELL_BYTES);
	oracle_set(cell, n, value);
}

void file_write(unsigned int cell, unsigned int n)
{
	check_pages(w.watch, cell / PAGE_CELLS, file_nr_pages((uint64_t)n * CELL_BYTES),
		    "the landlord wrote");
	write_value(cell, n);
	notice_change();
}

void file_look(unsigned int page, unsigned int n)
{
	check_pages(w.watch, page, n, "the landlord looked");
	check_cells(page * PAGE_CELLS, cells_of(page, n), sim_now);
}

void file_clone(unsigned int page, unsigned int n)
{
	check_pages(w.watch, page, n, "the landlord cloned");
	sim_log("the landlord clones pages %u+%u", page, n);
	for (unsigned int i = page; i < page + n; i++)
		f.pages[i].shared = f.pages[i].block != NO_BLOCK;
}

static void move_there(unsigned int page, unsigned int n, const char *who)
{
	sim_log("%s moves pages %u+%u", who, page, n);
	for (unsigned int i = page; i < page + n; i++) {
		struct page *p = &f.pages[i];
		uint32_t old = p->block;

		if (old == NO_BLOCK || p->shared)
			continue;
		p->block = get_block();
		memcpy(block_at(p->block), block_at(old), PAGE_BYTES);
		persist(p->block, 0, PAGE_BYTES);
		give_away(old, OWNER_OTHER);
	}
}

void file_move(unsigned int page, unsigned int n)
{
	check_pages(w.watch, page, n, "the landlord moved blocks");
	move_there(page, n, "the landlord");
}

void file_move_part(unsigned int page, unsigned int n)
{
	check_pages(true, page, n, "whoever was given the range moved blocks");
	move_there(page, n, "whoever was given them");
}

/* ---- mappings -------------------------------------------------------------------------------- */

struct mapping *file_map(void)
{
	unsigned int first = (unsigned int)sim_below(SLOTS);

	for (unsigned int i = 0; i < SLOTS; i++) {
		struct mapping *m = &f.slots[(first + i) % SLOTS];

		if (m->references > 0)
			continue;
		m->references = 1;
		return m;
	}
	sim_fail(P_STUCK, "%u mappings of one file", SLOTS);
}

/* ---- adapters -------------------------------------------------------------------------------- */

bool file_address(const void *addr)
{
	const uint8_t *p = addr;

	return f.space && p >= f.space && p < f.space + SLOTS * SLOT_BYTES;
}

uint64_t file_offset(const void *addr)
{
	return (uint64_t)((const uint8_t *)addr - f.space) % SLOT_BYTES;
}

bool file_overlaps(const void *addr, uint64_t length, uint64_t from, uint64_t to)
{
	uint64_t offset = file_offset(addr);

	return offset < to && from < offset + length;
}

static const struct mapping *slot_of(const void *addr)
{
	return &f.slots[(uint64_t)((const uint8_t *)addr - f.space) / SLOT_BYTES];
}

void file_register(const void *addr, uint64_t length, bool remote, uint32_t **blocks)
{
	uint64_t offset = file_offset(addr);

	if (!tenure_over(offset, offset + length))
		sim_fail(P_REGISTERED, "memory is registered that is not held");
	if (slot_of(addr)->references == 0)
		sim_fail(P_ROOM, "memory is registered that no view maps");
	if (offset % PAGE_BYTES || length % PAGE_BYTES ||
	    !range_ok(offset, length, align_up(f.size, PAGE_BYTES)))
		sim_fail(P_ROOM, "bytes %llu+%llu are registered, of a file of %llu",
			 (unsigned long long)offset, (unsigned long long)length,
			 (unsigned long long)f.size);
	*blocks = calloc(length / PAGE_BYTES, sizeof(**blocks));
	assert(*blocks);
	for (uint64_t i = 0; i < length / PAGE_BYTES; i++) {
		const struct page *p = &f.pages[offset / PAGE_BYTES + i];

		if (p->block == NO_BLOCK)
			sim_fail(P_UNDONE, "page %llu, a hole, is registered",
				 (unsigned long long)(offset / PAGE_BYTES + i));
		if (p->shared)
			sim_fail(P_ROOM, "page %llu, which a clone shares, is registered",
				 (unsigned long long)(offset / PAGE_BYTES + i));
		(*blocks)[i] = p->block;
	}
	(void)remote;
}

/* Where one page's bytes are now, by a pinned key or on demand. */
static int resolve(const void *addr, const uint32_t *blocks, uint64_t key_offset, uint32_t *block)
{
	uint64_t page = file_offset(addr) / PAGE_BYTES;

	if (w.pinned) {
		*block = blocks[key_offset / PAGE_BYTES];
		return 0;
	}
	if (page >= file_nr_pages(f.size))
		return -EFAULT;
	*block = f.pages[page].block;
	if (*block == NO_BLOCK)
		sim_fail(P_UNDONE, "an adapter fills the hole at page %llu",
			 (unsigned long long)page);
	return 0;
}

int file_dma(const void *addr, const uint32_t *blocks, uint64_t key_offset, void *bytes,
	     uint32_t length, bool write, const char *who)
{
	const uint8_t *at = addr;
	uint8_t *data = bytes;

	if (slot_of(addr)->references == 0)
		sim_fail(P_REACHED, "%s goes through a view that is gone", who);
	while (length > 0) {
		uint64_t in = file_offset(at) % PAGE_BYTES;
		uint32_t n = (uint32_t)min_u64(length, PAGE_BYTES - in), block;

		if (resolve(at, blocks, key_offset, &block) < 0)
			return -EFAULT;
		if (f.blocks[block].owner != OWNER_FILE)
			sim_fail(P_REACHED, "%s %s block %u, which the file gave up %.3f ms ago",
				 who, write ? "writes to" : "reads", block,
				 (double)(sim_now - f.blocks[block].given_ns) / 1e6);
		if (!tenure_over(file_offset(at), file_offset(at) + n))
			sim_fail(P_REACHED, "%s reaches what is not held", who);
		if (write)
			memcpy(block_at(block) + in, data, n);
		else
			memcpy(data, block_at(block) + in, n);
		at += n;
		data += n;
		key_offset += n;
		length -= n;
	}
	return 0;
}
