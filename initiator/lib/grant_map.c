// SPDX-License-Identifier: BSD-3-Clause
/* Range → key: a sorted array, searched by halves, with the last hit tried first. Pure. */
#include "libleasehold/grant_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void grant_map_fini(struct grant_map *m)
{
	free(m->pieces);
	*m = (struct grant_map){0};
}

/* Index of the first grant that ends behind `offset`; count if there is none. */
static size_t first_behind(const struct grant_map *m, uint64_t offset)
{
	size_t low = 0, high = m->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct grant_piece *p = &m->pieces[mid];

		if (p->offset + p->length <= offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int grant_map_add(struct grant_map *m, const struct grant_piece *piece)
{
	size_t i;

	if (piece->length == 0 || piece->offset > UINT64_MAX - piece->length)
		return -EINVAL;
	i = first_behind(m, piece->offset);
	if (i < m->count && m->pieces[i].offset < piece->offset + piece->length)
		return -EINVAL;
	if (m->count == m->room) {
		size_t room = m->room ? m->room * 2 : 16;
		struct grant_piece *pieces = realloc(m->pieces, room * sizeof(*pieces));

		if (!pieces)
			return -ENOMEM;
		m->pieces = pieces;
		m->room = room;
	}
	memmove(&m->pieces[i + 1], &m->pieces[i], (m->count - i) * sizeof(*m->pieces));
	m->pieces[i] = *piece;
	m->count++;
	return 0;
}

const struct grant_piece *grant_map_find(struct grant_map *m, uint64_t offset, uint32_t access)
{
	const struct grant_piece *p;

	if (m->last >= m->count || m->pieces[m->last].offset > offset ||
	    offset - m->pieces[m->last].offset >= m->pieces[m->last].length) {
		m->last = first_behind(m, offset);
		if (m->last == m->count || m->pieces[m->last].offset > offset)
			return NULL;
	}
	p = &m->pieces[m->last];
	return (p->access & access) == access ? p : NULL;
}

bool grant_map_covers(struct grant_map *m, uint64_t offset, uint64_t length, uint32_t access)
{
	while (length > 0) {
		const struct grant_piece *p = grant_map_find(m, offset, access);
		uint64_t here;

		if (!p)
			return false;
		here = min_u64(length, p->length - (offset - p->offset));
		offset += here;
		length -= here;
	}
	return true;
}

bool grant_map_gap(struct grant_map *m, uint64_t offset, uint64_t end, uint32_t access,
		   uint64_t *gap_offset, uint64_t *gap_length)
{
	size_t i;

	for (i = first_behind(m, offset); offset < end; i++) {
		const struct grant_piece *p = i < m->count ? &m->pieces[i] : NULL;

		if (!p || p->offset > offset) {
			*gap_offset = offset;
			*gap_length = min_u64(end, p ? p->offset : end) - offset;
			return true;
		}
		/* Held with less access than asked for: a gap, though not one to fill beside it. */
		if ((p->access & access) != access) {
			*gap_offset = offset;
			*gap_length = min_u64(end, p->offset + p->length) - offset;
			return true;
		}
		offset = p->offset + p->length;
	}
	return false;
}

uint64_t grant_map_bytes(const struct grant_map *m, uint64_t offset, uint64_t end, size_t *pieces)
{
	uint64_t bytes = 0;
	size_t n = 0;

	for (size_t i = first_behind(m, offset); i < m->count && m->pieces[i].offset < end; i++) {
		const struct grant_piece *p = &m->pieces[i];

		bytes += min_u64(end, p->offset + p->length) - max_u64(offset, p->offset);
		n++;
	}
	if (pieces)
		*pieces = n;
	return bytes;
}

void grant_map_remove(struct grant_map *m, size_t index)
{
	assert(index < m->count);
	m->count--;
	m->losses++;
	memmove(&m->pieces[index], &m->pieces[index + 1], (m->count - index) * sizeof(*m->pieces));
}

void grant_map_clear(struct grant_map *m)
{
	m->count = 0;
	m->losses++;
}
