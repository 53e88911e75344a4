/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranges of bytes that may overlap, and who overlaps a given one: a treap by offset in which each
 * node knows the furthest end below it. Insertion, removal and the first overlap in O(log n). One
 * thread.
 */
#ifndef LEASEHOLD_UTIL_RANGE_TABLE_H
#define LEASEHOLD_UTIL_RANGE_TABLE_H

#include "util/util.h"

struct table_node {
	struct table_node *left, *right;
	uint64_t offset, end; /* bytes, offset < end */
	uint64_t furthest;    /* end of anything in this subtree */
	uint64_t serial;      /* the table's: later ones have higher ones, never 0 */
	uint32_t weight;
};

struct table {
	struct table_node *root;
	uint64_t random;
	unsigned int count;
	uint64_t last_serial;
};

/** `node` has offset and end; it must stay where it is until removed. */
void table_insert(struct table *table, struct table_node *node);
void table_remove(struct table *table, struct table_node *node);

/**
 * Calls fn for each node that overlaps [offset, end), ascending, until it returns false; fn must not
 * change the table. Returns false if fn did.
 */
bool table_each(const struct table *table, uint64_t offset, uint64_t end,
		bool (*fn)(struct table_node *node, void *arg), void *arg);

/**
 * The same of all nodes behind (offset, serial), by offset and then by serial; that one need not be
 * there any more. The first in O(log n).
 */
bool table_each_after(const struct table *table, uint64_t offset, uint64_t serial,
		      bool (*fn)(struct table_node *node, void *arg), void *arg);

#endif
