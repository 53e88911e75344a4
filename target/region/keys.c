// SPDX-License-Identifier: BSD-3-Clause
/*
 * The count of living keys, by export: views of one file may share a mapping, so only all of them
 * together tell whether its memory can still be reached. Keys are made and killed on slow paths
 * only: one lock, held for a few instructions, will do. Beside it, which exports are covered by a
 * tenure: every key is counted before it is made, so there nothing gets past the question.
 */
#include "region/keys.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "util/list.h"

#define KEYS_BUCKETS 256

struct keys_entry {
	struct list link;
	const struct export *export;
	unsigned int alive; /* never 0 in the table */
};

static pthread_mutex_t keys_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list keys_table[KEYS_BUCKETS]; /* all zero: never used */
static struct list covers[KEYS_BUCKETS];     /* the same, of struct region_cover */

static struct list *bucket_in(struct list *table, const struct export *e)
{
	uint64_t hash = (uint64_t)(uintptr_t)e * 0x9e3779b97f4a7c15u;
	struct list *head = &table[hash >> 56];

	static_assert(KEYS_BUCKETS == 256, "the hash has eight bits");
	if (!head->next)
		list_init(head);
	return head;
}

/* ---- what is covered ------------------------------------------------------------------------- */

void region_covered(struct region_cover *cover, const struct export *e)
{
	(void)pthread_mutex_lock(&keys_lock);
	assert(!cover->export);
	cover->export = e;
	if (!cover->gaps.next)
		list_init(&cover->gaps);
	list_push(bucket_in(covers, e), &cover->link);
	(void)pthread_mutex_unlock(&keys_lock);
}

void region_uncovered(struct region_cover *cover)
{
	(void)pthread_mutex_lock(&keys_lock);
	if (cover->export)
		list_del(&cover->link);
	cover->export = NULL;
	(void)pthread_mutex_unlock(&keys_lock);
}

void region_gap_open(struct region_cover *cover, struct region_gap *gap)
{
	(void)pthread_mutex_lock(&keys_lock);
	if (!cover->gaps.next)
		list_init(&cover->gaps);
	list_push(&cover->gaps, &gap->link);
	(void)pthread_mutex_unlock(&keys_lock);
}

void region_gap_close(struct region_gap *gap)
{
	(void)pthread_mutex_lock(&keys_lock);
	list_del(&gap->link);
	(void)pthread_mutex_unlock(&keys_lock);
}

static bool is_covered(const struct export *e, uint64_t offset, uint64_t length)
{
	const struct list *head = bucket_in(covers, e), *l, *g;

	list_for_each (l, head) {
		const struct region_cover *cover = list_entry(l, struct region_cover, link);

		if (cover->export != e)
			continue;
		list_for_each (g, &cover->gaps) {
			const struct region_gap *gap = list_entry(g, struct region_gap, link);

			if (gap->offset < offset + length && offset < gap->end)
				return false;
		}
		return true;
	}
	return false;
}

/* ---- what is registered ----------------------------------------------------------------------- */

static struct keys_entry *find(const struct export *e)
{
	struct list *head = bucket_in(keys_table, e), *l;

	list_for_each (l, head) {
		struct keys_entry *entry = list_entry(l, struct keys_entry, link);

		if (entry->export == e)
			return entry;
	}
	return NULL;
}

int keys_add(const struct export *e, uint64_t offset, uint64_t length)
{
	struct keys_entry *entry;
	int err = 0;

	(void)pthread_mutex_lock(&keys_lock);
	/* Invariant 1. */
	assert(is_covered(e, offset, length));
	entry = find(e);
	if (!entry) {
		entry = calloc(1, sizeof(*entry));
		if (entry) {
			entry->export = e;
			list_push(bucket_in(keys_table, e), &entry->link);
		}
	}
	if (entry)
		entry->alive++;
	else
		err = -ENOMEM;
	(void)pthread_mutex_unlock(&keys_lock);
	return err;
}

void keys_drop(const struct export *e)
{
	struct keys_entry *entry;

	(void)pthread_mutex_lock(&keys_lock);
	entry = find(e);
	assert(entry && entry->alive > 0);
	if (--entry->alive == 0) {
		list_del(&entry->link);
		free(entry);
	}
	(void)pthread_mutex_unlock(&keys_lock);
}

unsigned int region_keys_alive(const struct view *view)
{
	struct keys_entry *entry;
	unsigned int alive;

	(void)pthread_mutex_lock(&keys_lock);
	entry = find(view->export);
	alive = entry ? entry->alive : 0;
	(void)pthread_mutex_unlock(&keys_lock);
	return alive;
}
