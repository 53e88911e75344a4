// SPDX-License-Identifier: BSD-3-Clause
/*
 * The count of living keys, by export: views of one file may share a mapping, so only all of them
 * together tell whether its memory can still be reached. Keys are made and killed on slow paths
 * only: one lock, held for a few instructions, will do.
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

static struct list *bucket_of(const struct export *e)
{
	uint64_t hash = (uint64_t)(uintptr_t)e * 0x9e3779b97f4a7c15u;
	struct list *head = &keys_table[hash >> 56];

	static_assert(KEYS_BUCKETS == 256, "the hash has eight bits");
	if (!head->next)
		list_init(head);
	return head;
}

static struct keys_entry *find(const struct export *e)
{
	struct list *head = bucket_of(e), *l;

	list_for_each (l, head) {
		struct keys_entry *entry = list_entry(l, struct keys_entry, link);

		if (entry->export == e)
			return entry;
	}
	return NULL;
}

int keys_add(const struct export *e)
{
	struct keys_entry *entry;
	int err = 0;

	(void)pthread_mutex_lock(&keys_lock);
	entry = find(e);
	if (!entry) {
		entry = calloc(1, sizeof(*entry));
		if (entry) {
			entry->export = e;
			list_push(bucket_of(e), &entry->link);
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
