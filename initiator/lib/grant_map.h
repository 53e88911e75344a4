/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which bytes of an export can be named remotely, and how: a sorted array of grants that do not
 * overlap, all of one generation. Pure; the owner locks.
 */
#ifndef LEASEHOLD_GRANT_MAP_H
#define LEASEHOLD_GRANT_MAP_H

#include "util/util.h"

struct grant_piece {
	uint64_t offset; /* in the export */
	uint64_t length;
	uint64_t address; /* remote address of `offset` */
	uint32_t rkey;
	uint32_t access; /* enum lh_grant_access */
};

struct grant_map {
	struct grant_piece *pieces;
	size_t count;
	size_t room;
	size_t last;	 /* where the last search ended: neighbours come next */
	uint64_t losses; /* counts removals: while it stays, what was granted still is */
};

void grant_map_fini(struct grant_map *m);

/** Adds a grant. -EINVAL: empty, wraps, or overlaps one that is there; -ENOMEM. */
MUST_CHECK int grant_map_add(struct grant_map *m, const struct grant_piece *piece);

/** The grant that holds `offset` with all of `access`, or NULL. Valid until the map changes. */
const struct grant_piece *grant_map_find(struct grant_map *m, uint64_t offset, uint32_t access);

/** True if every byte of the range is granted with `access`; an empty range is. */
bool grant_map_covers(struct grant_map *m, uint64_t offset, uint64_t length, uint32_t access);

/**
 * The first stretch of [offset, end) that no grant with `access` covers. False: there is none.
 */
bool grant_map_gap(struct grant_map *m, uint64_t offset, uint64_t end, uint32_t access,
		   uint64_t *gap_offset, uint64_t *gap_length);

/** Bytes of [offset, end) that are granted, and how many grants touch it (may be NULL). */
uint64_t grant_map_bytes(const struct grant_map *m, uint64_t offset, uint64_t end, size_t *pieces);

/** Takes grant number `index` out. */
void grant_map_remove(struct grant_map *m, size_t index);
void grant_map_clear(struct grant_map *m);

#endif
