// SPDX-License-Identifier: BSD-3-Clause
/*
 * Damaged memory of an export: who holds a grant over it is asked to let go, since he would lose his
 * queue to it, and nobody is granted it again; block commands are refused for these blocks alone. What is
 * damaged the export room knows; here is what follows. Control loop.
 */
#include "grant/internal.h"

#include <stdio.h>
#include <string.h>

#include "util/log.h"

static bool is_none(struct table_node *node, void *arg)
{
	(void)node;
	(void)arg;
	return false;
}

static bool was_said(const struct holding *h, const struct export_range *r)
{
	for (unsigned int i = 0; i < h->nr_damage; i++) {
		const struct export_range *old = &h->damage[i];

		if (old->offset <= r->offset && old->offset + old->length >= r->offset + r->length)
			return true;
	}
	return false;
}

static void say(const struct holding *h, const struct export_range *r)
{
	log_error("%s: %s is damaged: its memory from byte %llu on, %llu bytes, cannot be read. "
		  "Hosts "
		  "get read errors for these blocks, clients no grants; all else is served. Write "
		  "these blocks anew, whole, from a copy (a host, or dd conv=notrunc here), or "
		  "restore the file; replace the module if there is more",
		  h->config.export.name, h->config.export.path, (unsigned long long)r->offset,
		  (unsigned long long)r->length);
}

void damage_check(struct holding *h)
{
	struct export_range ranges[EXPORT_MAX_BAD_RANGES];
	const struct export *e = holding_file(h);
	uint64_t found = e ? export_bad_found(e) : 0;
	unsigned int nr;

	if (!e || found == h->damage_found)
		return;
	h->damage_found = found;
	nr = export_bad_ranges(e, ranges);
	for (unsigned int i = 0; i < nr; i++) {
		const uint64_t from = ranges[i].offset, to = from + ranges[i].length;

		if (!was_said(h, &ranges[i]))
			say(h, &ranges[i]);
		/* In any other state they are on their way out. */
		if (h->recall.state == RECALL_GRANTED && !h->stopped &&
		    !table_each(&h->table, from, to, is_none, NULL) &&
		    conflict_recall(h, from, to) != 0)
			h->damage_found--; /* no memory: the next look tries again */
	}
	memcpy(h->damage, ranges, nr * sizeof(ranges[0]));
	h->nr_damage = nr;
}

uint64_t damage_length(const struct holding *h, uint64_t offset, uint64_t *length)
{
	const struct export *e = holding_file(h);
	struct export_range bad;

	if (!e || !export_bad(e, offset, length ? *length : LH_GRANT_ALIGN, &bad))
		return 0;
	if (bad.offset <= offset)
		return bad.offset + bad.length - offset;
	if (length)
		*length = bad.offset - offset;
	return 0;
}

bool damage_warning(const struct holding *h, char *text, size_t size)
{
	struct export_range ranges[EXPORT_MAX_BAD_RANGES];
	const struct export *e = holding_file(h);
	unsigned int nr = e ? export_bad_ranges(e, ranges) : 0;
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < nr; i++)
		bytes += ranges[i].length;
	if (nr > 0)
		(void)snprintf(
			text, size,
			"%llu bytes of %s, in %u range(s), are damaged and cannot be read: "
			"write these blocks anew from a copy; bad_ranges in leasehold status "
			"-o json has them",
			(unsigned long long)bytes, h->config.export.path, nr);
	return nr > 0;
}
