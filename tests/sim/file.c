// SPDX-License-Identifier: BSD-3-Clause
/*
 * A file of blocks behind the door of target/export. Blocks that the file gives up go to another
 * owner at once, who fills them with a pattern; who touches them is caught in the act. Views lie in
 * address ranges that hold nothing: all reading and writing goes through here.
 */
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "export/export.h"
#include "wire/direct.h"

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

/* A mapping: a slot of addresses. */
struct mapping {
	uint8_t *base;
	unsigned int references;
};

struct export
{
	char name[64], path[64];
	uint32_t lba_bytes;
	bool prepare;
	struct export_identity identity;
};

static struct {
	uint8_t *disk;	/* BLOCKS pages */
	uint8_t *space; /* SLOTS * SLOT_BYTES of addresses */
	struct block blocks[BLOCKS];
	struct page pages[FILE_MAX_PAGES];
	uint64_t size;
	struct mapping slots[SLOTS];
	struct export *open;
	int fd; /* of nothing: it has an inode */
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

	for (unsigned int i = 0; i < PAGE_BYTES; i++)
		if (p[i] != f.blocks[block].pattern)
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
		give_away(old, OWNER_CLONE);
	}
	p->shared = false;
}

uint64_t file_size(void)
{
	return f.size;
}

static void write_value(unsigned int cell, unsigned int n);

static unsigned int nr_pages(uint64_t bytes)
{
	return (unsigned int)((bytes + PAGE_BYTES - 1) / PAGE_BYTES);
}

void file_begin(void)
{
	if (!f.disk) {
		f.disk = malloc((size_t)BLOCKS * PAGE_BYTES);
		f.space = mmap(NULL, (SLOTS + 1) * SLOT_BYTES, PROT_NONE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		f.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		assert(f.disk && f.space != MAP_FAILED && f.fd >= 0);
		f.space = (uint8_t *)(uintptr_t)align_up((uint64_t)(uintptr_t)f.space, SLOT_BYTES);
	}
	f.next_block = 0;
	f.open = NULL;
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
	if (f.open)
		sim_fail(P_STUCK, "the export is still open");
	for (unsigned int i = 0; i < SLOTS; i++)
		if (f.slots[i].references)
			sim_fail(P_STUCK, "a mapping is left over");
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (f.blocks[i].owner == OWNER_OTHER)
			check_pattern(i);
}

/* Bytes of the file as a reader of the file sees them. */
static void read_file(uint64_t offset, uint8_t *to, uint64_t length)
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

static void write_file(uint64_t offset, const uint8_t *from, uint64_t length)
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
		offset += n;
		length -= n;
	}
}

static void check_cells(unsigned int cell, unsigned int n, uint64_t issued)
{
	uint8_t bytes[CELL_BYTES];

	for (; n > 0; cell++, n--) {
		read_file((uint64_t)cell * CELL_BYTES, bytes, CELL_BYTES);
		oracle_check(cell, 1, bytes, issued, "who reads the file");
	}
}

void file_check(uint64_t issued)
{
	check_cells(0, (unsigned int)(f.size / CELL_BYTES), issued);
}

int file_pread(void *buf, uint32_t length, uint64_t offset)
{
	uint64_t n = offset < f.size ? min_u64(length, f.size - offset) : 0;

	read_file(offset, buf, n);
	return (int)n;
}

/* ---- the landlord ---------------------------------------------------------------------------- */

static void cut(uint64_t bytes)
{
	unsigned int first = nr_pages(bytes);

	for (unsigned int i = first; i < FILE_MAX_PAGES; i++)
		drop(&f.pages[i]);
	/* The kernel clears the rest of the last page. */
	if (bytes % PAGE_BYTES && f.pages[first - 1].block != NO_BLOCK) {
		own(&f.pages[first - 1]);
		memset(block_at(f.pages[first - 1].block) + bytes % PAGE_BYTES, 0,
		       PAGE_BYTES - bytes % PAGE_BYTES);
	}
}

static void set_size(uint64_t bytes)
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
	set_size(bytes);
	notice_change();
}

void file_truncate_part(uint64_t bytes)
{
	assert(bytes > 0 && bytes < f.size);
	fabric_check_no_key(P_REACHED, bytes, NEVER, "whoever was given the end truncated");
	sim_log("whoever was given the end truncates from %llu to %llu", (unsigned long long)f.size,
		(unsigned long long)bytes);
	w.resized = true;
	set_size(bytes);
}

static void punch(unsigned int page, unsigned int n)
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
	punch(page, n);
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
		write_file((uint64_t)(cell + i) * CELL_BYTES, bytes, CELL_BYTES);
	oracle_set(cell, n, value);
}

void file_write(unsigned int cell, unsigned int n)
{
	check_pages(w.watch, cell / PAGE_CELLS, nr_pages((uint64_t)n * CELL_BYTES),
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
	if (page >= nr_pages(f.size))
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

/* ---- the door: the export -------------------------------------------------------------------- */

const char *export_medium_text(enum export_medium medium)
{
	return medium == EXPORT_DAX ? "fsdax" : medium == EXPORT_MEMORY ? "memory" : "page cache";
}

int export_open(const struct export_config *config, struct export **e, struct errtext *err)
{
	struct export *x = calloc(1, sizeof(*x));

	(void)err;
	assert(x && !f.open);
	(void)snprintf(x->name, sizeof(x->name), "%s", config->name);
	(void)snprintf(x->path, sizeof(x->path), "%s", config->path);
	x->lba_bytes = config->lba_bytes;
	x->prepare = config->prepare == EXPORT_PREPARE_ALLOCATE;
	memset(&x->identity, 7, sizeof(x->identity));
	f.open = x;
	*e = x;
	return 0;
}

void export_close(struct export *e)
{
	assert(e == f.open);
	f.open = NULL;
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

int export_fd(const struct export *e)
{
	(void)e;
	return f.fd;
}

bool export_volatile_cache(const struct export *e)
{
	(void)e;
	return !w.dax;
}

enum lh_durability export_durability(const struct export *e)
{
	(void)e;
	return w.dax ? LH_DURABLE_COMMIT : LH_DURABLE_NONE;
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
	*bytes = align_down(f.size, e->lba_bytes);
	return 0;
}

int export_hole_bytes(const struct export *e, uint64_t *blocks, uint64_t *bytes)
{
	(void)e;
	*blocks = *bytes = 0;
	return 0;
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

/* ---- the door: views ------------------------------------------------------------------------- */

static void need_tenure(const char *what)
{
	if (!tenure_over(0, 0))
		sim_fail(P_ROOM, "%s without a tenure", what);
}

static struct mapping *mapping_new(void)
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

static uint64_t file_bytes_of(const struct view *view)
{
	return view->backed_bytes + view->hole_bytes + view->shared_bytes;
}

/* The file as it is now. */
static struct view *look(const struct export *e, uint32_t generation, struct mapping *m)
{
	struct view *v = calloc(1, sizeof(*v));
	struct export_run *runs = calloc(FILE_MAX_PAGES, sizeof(*runs));
	unsigned int n = 0;

	assert(v && runs);
	for (unsigned int i = 0; i < nr_pages(f.size); i++) {
		uint64_t at = (uint64_t)i * PAGE_BYTES, bytes = min_u64(PAGE_BYTES, f.size - at);

		if (f.pages[i].block == NO_BLOCK) {
			v->hole_bytes += bytes;
		} else if (f.pages[i].shared) {
			v->shared_bytes += bytes;
		} else {
			v->backed_bytes += bytes;
			if (n > 0 && runs[n - 1].offset + runs[n - 1].length == at)
				runs[n - 1].length += PAGE_BYTES;
			else
				runs[n++] = (struct export_run){at, PAGE_BYTES};
		}
	}
	v->export = (struct export *)e;
	v->generation = generation;
	v->base = m->base;
	v->size_bytes = align_down(f.size, e->lba_bytes);
	v->mapped_bytes = align_up(f.size, PAGE_BYTES);
	v->runs = runs;
	v->nr_runs = n;
	v->mapping = m;
	return v;
}

static void fill(uint64_t from, uint64_t to)
{
	for (uint64_t i = from / PAGE_BYTES; i * PAGE_BYTES < min_u64(to, f.size); i++)
		if (f.pages[i].block == NO_BLOCK)
			f.pages[i].block = get_block();
}

int view_new(struct export *e, uint32_t generation, const struct view *before,
	     const atomic_bool *stop, struct view **view, struct errtext *err)
{
	(void)stop; /* nothing happens meanwhile */
	need_tenure("a view is made");
	if (w.faults && sim_chance(30))
		return errtext_set(err, -ENOMEM, "no view, says the simulator");
	if (e->prepare && generation <= 1)
		fill(0, f.size);
	if (before && before->export == e && file_bytes_of(before) == f.size) {
		before->mapping->references++;
		*view = look(e, generation, before->mapping);
	} else {
		*view = look(e, generation, mapping_new());
	}
	return 0;
}

int export_look_ahead(struct export *e, uint64_t *bytes, struct errtext *err)
{
	(void)err;
	need_tenure("the file is looked at");
	*bytes = e->prepare ? f.size : 0;
	return 0;
}

int view_allocate(const struct view *old, uint64_t offset, uint64_t length, const atomic_bool *stop,
		  struct view **view, struct errtext *err)
{
	(void)stop;
	need_tenure("holes are filled");
	if (length == 0 || !range_ok(offset, length, old->size_bytes))
		return errtext_set(err, -ERANGE, "outside the file");
	if (align_up(f.size, PAGE_BYTES) != align_up(file_bytes_of(old), PAGE_BYTES))
		return errtext_set(err, -ERANGE, "another size now");
	if (!tenure_over(offset, offset + length))
		sim_fail(P_UNDONE, "holes are filled where the file is not held");
	if (sim_chance(50))
		return errtext_set(err, -ENOSPC, "no room, says the simulator");
	fill(align_down(offset, PAGE_BYTES), offset + length);
	old->mapping->references++;
	*view = look(old->export, old->generation, old->mapping);
	return 0;
}

int view_again(const struct view *old, uint64_t offset, uint64_t length, const atomic_bool *stop,
	       struct view **view, struct errtext *err)
{
	(void)stop;
	(void)offset;
	(void)length;
	need_tenure("what was recalled is looked at again");
	if (f.size > file_bytes_of(old) || view_run_at(old, align_up(f.size, PAGE_BYTES)))
		return errtext_set(err, -ERANGE, "another size now");
	old->mapping->references++;
	*view = look(old->export, old->generation, old->mapping);
	return 0;
}

/* What is left of `old` without the pages that `out` says, of a file of `bytes`. */
static struct view *narrow(const struct view *old, const bool *out, uint64_t bytes)
{
	struct export_run *runs = calloc(FILE_MAX_PAGES, sizeof(*runs));
	struct view *v = malloc(sizeof(*v));
	unsigned int n = 0;

	assert(v && runs);
	*v = *old;
	v->backed_bytes = 0;
	for (unsigned int r = 0; r < old->nr_runs; r++) {
		for (uint64_t at = old->runs[r].offset;
		     at < old->runs[r].offset + old->runs[r].length; at += PAGE_BYTES) {
			if (out[at / PAGE_BYTES] || at >= bytes)
				continue;
			v->backed_bytes += min_u64(PAGE_BYTES, bytes - at);
			if (n > 0 && runs[n - 1].offset + runs[n - 1].length == at)
				runs[n - 1].length += PAGE_BYTES;
			else
				runs[n++] = (struct export_run){at, PAGE_BYTES};
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

void view_free(struct view *view)
{
	if (!view)
		return;
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

bool view_backed(const struct view *view, uint64_t offset, uint64_t length)
{
	const struct export_run *r = view_run_at(view, offset);

	return r && offset >= r->offset && range_ok(offset - r->offset, length, r->length);
}

/* ---- the door: bytes ------------------------------------------------------------------------- */

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
	return range_ok(offset, length, f.size) ? 0 : -ERANGE;
}

int export_flush(const struct export *e)
{
	(void)e;
	return 0;
}

static int copy_in(const struct view *view, uint64_t offset, const void *src, uint64_t length)
{
	uint64_t n = offset < f.size ? min_u64(length, f.size - offset) : 0;

	check_range(view, offset, length, "a copy");
	write_file(offset, src, n);
	return n < length ? -ERANGE : 0;
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
	check_range(view, offset, length, "a read");
	if (!range_ok(offset, length, f.size))
		return -ERANGE;
	read_file(offset, dst, length);
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
	return range_ok(offset, length, f.size) ? 0 : -ERANGE;
}

int export_punch(const struct export *e, const struct export_range *ranges, unsigned int nr_ranges)
{
	(void)e;
	for (unsigned int i = 0; i < nr_ranges; i++) {
		uint64_t from = ranges[i].offset, to = from + ranges[i].length;

		fabric_check_no_key(P_REACHED, from, to, "a host punched");
		if (sim_chance(20))
			return -ENOSPC;
		/* Behind the end there is nothing. */
		to = min_u64(to, align_up(f.size, PAGE_BYTES));
		sim_log("pages %llu to %llu are punched for a host",
			(unsigned long long)(from / PAGE_BYTES),
			(unsigned long long)(to / PAGE_BYTES));
		if (from < to)
			punch((unsigned int)(from / PAGE_BYTES),
			      (unsigned int)((to - from) / PAGE_BYTES));
	}
	return 0;
}

int export_resize(const struct export *e, uint64_t bytes)
{
	(void)e;
	fabric_check_no_key(P_REACHED,
			    w.dax && w.pinned ? 0 : align_up(min_u64(bytes, f.size), PAGE_BYTES),
			    NEVER, "the file was given another size");
	if (sim_chance(30))
		return -ENOSPC;
	sim_log("the size is set from %llu to %llu", (unsigned long long)f.size,
		(unsigned long long)bytes);
	w.resized |= bytes != f.size;
	set_size(bytes);
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
