// SPDX-License-Identifier: BSD-3-Clause
/* Copies of unconfirmed writes in the order they were made. Pure but for its memory. */
#include "libleasehold/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct replay_write *write_of(struct list *l)
{
	return list_entry(l, struct replay_write, link);
}

void replay_init(struct replay *r, bool on, uint64_t limit)
{
	*r = (struct replay){.on = on, .limit = limit};
	list_init(&r->writes);
}

static void drop(struct replay *r, struct replay_write *w)
{
	list_del(&w->link);
	r->bytes -= w->length;
	free(w);
}

void replay_fini(struct replay *r)
{
	struct list *pos, *next;

	assert(!r->out);
	list_for_each_safe (pos, next, &r->writes)
		drop(r, write_of(pos));
}

bool replay_fits(const struct replay *r, uint64_t length)
{
	return r->bytes == 0 || range_ok(r->bytes, length, r->limit);
}

static struct replay_write *copy(uint64_t number, uint64_t offset, const void *data,
				 uint64_t length)
{
	struct replay_write *w = malloc(sizeof(*w) + length);

	if (!w)
		return NULL;
	list_init(&w->link);
	w->number = number;
	w->offset = offset;
	w->length = length;
	memcpy(w->data, data, length);
	return w;
}

int replay_keep(struct replay *r, uint64_t offset, const void *data, uint64_t length)
{
	struct replay_write *w = copy(r->number + 1, offset, data, length);

	if (!w)
		return -ENOMEM;
	r->number++;
	list_push(&r->writes, &w->link);
	r->bytes += length;
	return 0;
}

/* ---- what is kept no longer ------------------------------------------------------------------ */

/* Cuts [from, to) out of a copy that it touches; what is left behind it is a copy of its own, the next. */
static int cut(struct replay *r, struct replay_write *w, uint64_t from, uint64_t to)
{
	const uint64_t end = w->offset + w->length;

	if (to < end) {
		struct replay_write *behind =
			copy(w->number, to, w->data + (to - w->offset), end - to);

		if (!behind)
			return -ENOMEM;
		list_push_front(&w->link, &behind->link); /* right after it */
		r->bytes += behind->length;
	}
	if (from > w->offset) {
		r->bytes -= end - from;
		w->length = from - w->offset;
	} else {
		drop(r, w);
	}
	return 0;
}

/* The first range that ends behind `at`. */
static size_t first_behind(const struct write_range *ranges, size_t count, uint64_t at)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (ranges[mid].offset + ranges[mid].length > at)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

int replay_confirmed(struct replay *r, const struct write_range *ranges, size_t count,
		     uint64_t number, struct write_range *lost)
{
	struct list *pos = r->writes.next;
	int rc = 0;

	while (pos != &r->writes) {
		struct replay_write *w = write_of(pos);
		struct list *before = pos->prev;
		size_t i = first_behind(ranges, count, w->offset);

		if (w->number > number)
			break;
		pos = pos->next;
		if (i == count || ranges[i].offset >= w->offset + w->length)
			continue;
		*lost = (struct write_range){w->offset, w->length};
		if (cut(r, w, ranges[i].offset, ranges[i].offset + ranges[i].length) < 0) {
			drop(r, w);
			rc = -ENOMEM;
			break;
		}
		/* What is left of it may touch the next range. */
		pos = before->next;
	}
	return rc;
}

int replay_overwritten(struct replay *r, uint64_t offset, uint64_t length, struct write_range *lost)
{
	const struct write_range range = {offset, length};

	return replay_confirmed(r, &range, 1, UINT64_MAX, lost);
}

/* ---- made again ------------------------------------------------------------------------------ */

struct replay_write *replay_pop(struct replay *r)
{
	struct list *l = list_pop(&r->writes);

	assert(!r->out);
	if (!l)
		return NULL;
	r->out = write_of(l);
	r->bytes -= r->out->length;
	return r->out;
}

void replay_put(struct replay *r)
{
	free(r->out);
	r->out = NULL;
}

bool replay_out(const struct replay *r, uint64_t offset, uint64_t length)
{
	return r->out && range_overlaps(r->out->offset, r->out->length, offset, length);
}
