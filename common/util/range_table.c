// SPDX-License-Identifier: BSD-3-Clause
/* The treap of range_table.h: split and merge. Depth is O(log n) whatever the offsets are. */
#include "util/range_table.h"

static uint32_t next_weight(struct table *table)
{
	/* splitmix64 */
	uint64_t z = (table->random += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (uint32_t)(z >> 32);
}

static bool is_before(const struct table_node *node, uint64_t offset, uint64_t serial)
{
	return node->offset != offset ? node->offset < offset : node->serial < serial;
}

/* Order of nodes. */
static bool before(const struct table_node *a, const struct table_node *b)
{
	return is_before(a, b->offset, b->serial);
}

static void refresh(struct table_node *node)
{
	node->furthest = node->end;
	if (node->left)
		node->furthest = max_u64(node->furthest, node->left->furthest);
	if (node->right)
		node->furthest = max_u64(node->furthest, node->right->furthest);
}

/* Those before `at` go to *low, the others to *high. */
static void split(struct table_node *node, const struct table_node *at, struct table_node **low,
		  struct table_node **high)
{
	if (!node) {
		*low = *high = NULL;
		return;
	}
	if (before(node, at)) {
		split(node->right, at, &node->right, high);
		*low = node;
	} else {
		split(node->left, at, low, &node->left);
		*high = node;
	}
	refresh(node);
}

static struct table_node *merge(struct table_node *low, struct table_node *high)
{
	if (!low || !high)
		return low ? low : high;
	if (low->weight >= high->weight) {
		low->right = merge(low->right, high);
		refresh(low);
		return low;
	}
	high->left = merge(low, high->left);
	refresh(high);
	return high;
}

static struct table_node *insert(struct table_node *root, struct table_node *node)
{
	if (!root || node->weight > root->weight) {
		split(root, node, &node->left, &node->right);
		refresh(node);
		return node;
	}
	if (before(node, root))
		root->left = insert(root->left, node);
	else
		root->right = insert(root->right, node);
	refresh(root);
	return root;
}

void table_insert(struct table *table, struct table_node *node)
{
	assert(node->offset < node->end);
	node->left = node->right = NULL;
	node->weight = next_weight(table);
	node->serial = ++table->last_serial;
	table->root = insert(table->root, node);
	table->count++;
}

static struct table_node *take_out(struct table_node *root, struct table_node *node)
{
	assert(root); /* it is in the table */
	if (root == node)
		return merge(node->left, node->right);
	if (before(node, root))
		root->left = take_out(root->left, node);
	else
		root->right = take_out(root->right, node);
	refresh(root);
	return root;
}

void table_remove(struct table *table, struct table_node *node)
{
	table->root = take_out(table->root, node);
	table->count--;
}

static bool each(struct table_node *node, uint64_t offset, uint64_t end,
		 bool (*fn)(struct table_node *node, void *arg), void *arg)
{
	if (!node || node->furthest <= offset)
		return true;
	if (!each(node->left, offset, end, fn, arg))
		return false;
	if (node->offset >= end)
		return true;
	if (node->end > offset && !fn(node, arg))
		return false;
	return each(node->right, offset, end, fn, arg);
}

bool table_each(const struct table *table, uint64_t offset, uint64_t end,
		bool (*fn)(struct table_node *node, void *arg), void *arg)
{
	return each(table->root, offset, end, fn, arg);
}

static bool each_after(struct table_node *node, uint64_t offset, uint64_t serial,
		       bool (*fn)(struct table_node *node, void *arg), void *arg)
{
	if (!node)
		return true;
	if (is_before(node, offset, serial + 1))
		return each_after(node->right, offset, serial, fn, arg);
	return each_after(node->left, offset, serial, fn, arg) && fn(node, arg) &&
	       each_after(node->right, offset, serial, fn, arg);
}

bool table_each_after(const struct table *table, uint64_t offset, uint64_t serial,
		      bool (*fn)(struct table_node *node, void *arg), void *arg)
{
	return each_after(table->root, offset, serial, fn, arg);
}
