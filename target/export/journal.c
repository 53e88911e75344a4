// SPDX-License-Identifier: BSD-3-Clause
/*
 * Writes by the journal, and what is made of their records after a crash. A record holds the old bytes
 * beside the new ones, since only so a block that a crash has torn is told from one that somebody has written
 * since: of the first each byte is one of the two. Two records never speak of the same bytes: commands that
 * overlap have an order (nvme/interlock.h). Worker threads.
 */
#include "journal_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copy.h"
#include "extents.h"
#include "file.h"
#include "fill.h"
#include "mapping.h"
#include "util/counter.h"

DEFINE_COUNTER(records, "journal_records", "Writes, or parts of them, that went by a journal");
DEFINE_COUNTER(waits, "journal_waits", "… of these, that waited for a slot");
DEFINE_COUNTER(mended, "journal_mended_blocks", "Blocks that a crash tore and a start made whole");
DEFINE_COUNTER(kept, "journal_kept_blocks",
	       "Blocks that a start left as they were, since others had changed them");

/* ---- writing --------------------------------------------------------------------------------- */

static int take_slot(struct journal *j, struct journal_slot **slot, uint64_t *sequence)
{
	bool waited = false;
	int ret = 0;

	*slot = NULL;
	(void)pthread_mutex_lock(&j->lock);
	while (!*slot && !(ret = atomic_load(&j->err))) {
		for (unsigned int i = 0; !*slot && i < JOURNAL_SLOTS; i++)
			*slot = j->slots[i].used ? NULL : &j->slots[i];
		if (*slot)
			break;
		waited = true;
		(void)pthread_cond_wait(&j->slot_free, &j->lock);
	}
	if (!ret) {
		(*slot)->used = true;
		*sequence = ++j->sequence;
	}
	(void)pthread_mutex_unlock(&j->lock);
	if (waited)
		counter_add(&waits, 1);
	return ret;
}

static void put_slot(struct journal *j, struct journal_slot *slot)
{
	(void)pthread_mutex_lock(&j->lock);
	slot->used = false;
	(void)pthread_cond_signal(&j->slot_free);
	(void)pthread_mutex_unlock(&j->lock);
}

/* A hole that is found after a crash was made by others: what is written to is none. */
static int fill(const struct view *view, uint64_t offset, uint64_t length)
{
	const uint64_t page = export_page_bytes();
	const uint64_t from = align_down(offset, page), to = align_up(offset + length, page);
	int ret;

	if (view->export->medium == EXPORT_DEVICE || view->export->hugetlbfs)
		return 0;
	fill_write_begin(view->export);
	ret = mapping_populate_own(view->mapping, view->export, from, to - from);
	fill_write_end(view->export);
	return ret;
}

/* Damaged memory has no old bytes, and is mended by being written. */
static int read_old(const struct view *view, struct journal_record *r)
{
	int ret = view_copy_out(view, r->offset, journal_old(r), r->length);

	if (ret != -EIO)
		return ret;
	for (uint32_t at = 0; at < r->length; at += r->lba_bytes) {
		uint8_t *old = journal_old(r) + at;

		ret = view_copy_out(view, r->offset + at, old, r->lba_bytes);
		if (ret == -EIO)
			memset(old, 0, r->lba_bytes);
		else if (ret)
			return ret;
	}
	return 0;
}

static int note(struct journal *j, const struct view *view, const void *bytes,
		struct journal_slot *slot, struct journal_record *r)
{
	int ret = fill(view, r->offset, r->length);

	if (!ret)
		ret = read_old(view, r);
	if (ret)
		return ret;
	if (bytes)
		memcpy(journal_new(r), bytes, r->length);
	else
		memset(journal_new(r), 0, r->length);
	r->crc = journal_crc(r);
	return journal_put(j, slot->at, r, journal_record_bytes(r));
}

int journal_begin(struct journal *j, const struct view *view, uint64_t offset, const void *bytes,
		  uint32_t length, struct journal_slot **slot)
{
	struct journal_record *r;
	struct journal_slot *s;
	uint64_t sequence = 0;
	int ret;

	assert(length > 0 && length <= EXPORT_ATOMIC_BYTES);
	if (!range_ok(offset, length, view->size_bytes))
		return -ERANGE;
	ret = take_slot(j, &s, &sequence);
	if (ret)
		return ret;
	r = (struct journal_record *)(void *)s->data;
	*r = (struct journal_record){
		.magic = JOURNAL_RECORD_MAGIC,
		.journal = j->id,
		.sequence = sequence,
		.offset = offset,
		.length = length,
		.lba_bytes = view->export->lba_bytes,
	};
	ret = note(j, view, bytes, s, r);
	if (ret) {
		put_slot(j, s);
		return ret;
	}
	counter_add(&records, 1);
	*slot = s;
	return 0;
}

/* Its first line says that there is none. */
static int forget(struct journal *j, const struct journal_slot *slot)
{
	static const struct journal_record none;

	return journal_put_loosely(j, slot->at, &none, sizeof(none));
}

int journal_end(struct journal *j, struct journal_slot *slot)
{
	int ret = forget(j, slot);

	if (!ret)
		ret = journal_sync(j);
	put_slot(j, slot);
	return ret;
}

/* ---- after a crash --------------------------------------------------------------------------- */

/* What a block of a record is now. */
enum block_state {
	BLOCK_OLD,
	BLOCK_NEW,
	BLOCK_TORN,    /* some of both */
	BLOCK_FOREIGN, /* written by others since, gone, or damaged */
};

static int read_at(int fd, uint64_t at, uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t n = pread(fd, bytes, length, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		bytes += n;
		at += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

/* Of what may be one: not looked at the bytes yet. */
static bool may_be_record(const struct journal *j, const struct journal_record *r)
{
	return r->magic == JOURNAL_RECORD_MAGIC && r->journal == j->id &&
	       (r->lba_bytes == 512 || r->lba_bytes == 4096) && r->length > 0 &&
	       r->length <= EXPORT_ATOMIC_BYTES && r->length % r->lba_bytes == 0 &&
	       r->offset % r->lba_bytes == 0;
}

/* `*is`: there is a whole one. What was not durable yet has begun nothing. Reads no more than there is. */
static int read_record(const struct journal *j, const struct journal_slot *s, bool *is)
{
	struct journal_record r;
	int ret = read_at(j->fd, s->at, (uint8_t *)&r, sizeof(r));

	*is = false;
	if (ret || !may_be_record(j, &r))
		return ret;
	ret = read_at(j->fd, s->at, s->data, journal_record_bytes(&r));
	*is = !ret && r.crc == journal_crc((const struct journal_record *)(const void *)s->data);
	return ret;
}

/* What the write does not change is old: it does not say that the write had begun. */
static enum block_state compare(const uint8_t *is, const uint8_t *old, const uint8_t *new,
				uint32_t length)
{
	if (memcmp(is, old, length) == 0)
		return BLOCK_OLD;
	if (memcmp(is, new, length) == 0)
		return BLOCK_NEW;
	for (uint32_t i = 0; i < length; i++)
		if (is[i] != old[i] && is[i] != new[i])
			return BLOCK_FOREIGN;
	return BLOCK_TORN;
}

/* Whether the file still has the bytes, in blocks. */
static bool has(const struct view *view, const struct extents *x, uint64_t offset, uint64_t length)
{
	const struct export *e = view->export;

	if (!range_ok(offset, length, view->size_bytes))
		return false;
	if (e->medium == EXPORT_DEVICE || e->hugetlbfs)
		return true;
	for (size_t i = 0; i < x->nr; i++) {
		const struct extent *extent = &x->list[i];

		/* A block of the file's own lies in a page, and a page in one extent, or in several. */
		if (range_overlaps(offset, length, extent->offset, extent->length))
			return true;
	}
	return false;
}

static int look(const struct view *view, struct journal_record *r, enum block_state *states)
{
	const struct export *e = view->export;
	const uint32_t lba = r->lba_bytes;
	struct extents x = {0};
	uint8_t is[4096];
	int ret = 0;

	assert(lba <= sizeof(is));
	if (e->medium != EXPORT_DEVICE && !e->hugetlbfs)
		ret = extents_read(e->fd, r->offset, r->offset + r->length, true, &x);
	for (uint32_t at = 0; !ret && at < r->length; at += lba) {
		enum block_state *state = &states[at / lba];

		*state = BLOCK_FOREIGN;
		if (has(view, &x, r->offset + at, lba) &&
		    view_copy_out(view, r->offset + at, is, lba) == 0)
			*state = compare(is, journal_old(r) + at, journal_new(r) + at, lba);
	}
	extents_free(&x);
	return ret;
}

static int redo(const struct view *view, struct journal_record *r, struct journal_found *found)
{
	enum block_state states[EXPORT_ATOMIC_BYTES / 512] = {0};
	const uint32_t lba = r->lba_bytes, blocks = r->length / lba;
	unsigned int nr[BLOCK_FOREIGN + 1] = {0};
	int ret = look(view, r, states);
	bool whole;

	if (ret)
		return ret;
	for (uint32_t i = 0; i < blocks; i++)
		nr[states[i]]++;
	found->kept += nr[BLOCK_FOREIGN];
	/* All old: it had not begun, or somebody has put back what was there. */
	whole = nr[BLOCK_FOREIGN] == 0 && nr[BLOCK_OLD] < blocks;
	for (uint32_t i = 0; !ret && i < blocks; i++) {
		if (states[i] != BLOCK_TORN && !(whole && states[i] == BLOCK_OLD))
			continue;
		ret = copy_in_place(view, r->offset + (uint64_t)i * lba,
				    journal_new(r) + (size_t)i * lba, lba);
		found->mended++;
	}
	return ret;
}

/* Reads the records into the slots' own memory; `*live` are those that count, by age. */
static int read_records(struct journal *j, struct journal_slot **live, unsigned int *nr)
{
	*nr = 0;
	for (unsigned int i = 0; i < JOURNAL_SLOTS; i++) {
		struct journal_slot *s = &j->slots[i];
		struct journal_record *r = (struct journal_record *)(void *)s->data;
		unsigned int at = *nr;
		bool is;
		int ret = read_record(j, s, &is);

		if (ret)
			return ret;
		if (!is)
			continue;
		for (; at > 0; at--) {
			const struct journal_record *before =
				(const struct journal_record *)(const void *)live[at - 1]->data;

			if (before->sequence < r->sequence)
				break;
			live[at] = live[at - 1];
		}
		live[at] = s;
		(*nr)++;
	}
	return 0;
}

int journal_count(struct journal *j, unsigned int *nr)
{
	struct journal_slot *live[JOURNAL_SLOTS];

	return read_records(j, live, nr);
}

int journal_replay(struct journal *j, const struct view *view, struct journal_found *found,
		   struct errtext *err)
{
	struct journal_slot *live[JOURNAL_SLOTS];
	unsigned int nr;
	int ret = read_records(j, live, &nr);

	*found = (struct journal_found){0};
	if (ret)
		return errtext_set(err, ret, "cannot read the journal %s: %s", j->path,
				   strerror(-ret));
	for (unsigned int i = 0; !ret && i < nr; i++, found->records++)
		ret = redo(view, (struct journal_record *)(void *)live[i]->data, found);
	/* A page cache: it had another medium when the record was made. */
	if (!ret && nr > 0)
		ret = export_flush(view->export);
	if (ret)
		return errtext_set(err, ret,
				   "what the last daemon was writing to %s cannot be made whole by "
				   "the journal %s: %s",
				   view->export->path, j->path, strerror(-ret));
	for (unsigned int i = 0; !ret && i < nr; i++)
		ret = forget(j, live[i]);
	if (!ret && nr > 0)
		ret = journal_sync(j);
	if (ret)
		return errtext_set(err, ret, "cannot write the journal %s", j->path);
	counter_add(&mended, found->mended);
	counter_add(&kept, found->kept);
	return 0;
}
