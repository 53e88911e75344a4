// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bad blocks: what the device's driver knows to be damaged, before anybody has touched it, from an address
 * range scrub, the machine's firmware or an error that somebody else had. libpmem2 says which bytes of the
 * file these are. It takes milliseconds, so it is asked when a view is made, and when the list of the
 * file's block device in /sys has changed. Worker threads.
 */
#include "badblocks.h"

#include <errno.h>
#include <libpmem2.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "file.h"

#define LIST_BYTES \
	KIB(16) /* of the device's list, which is compared; a longer one counts as that */

static void take_all(const struct export *e, struct pmem2_badblock_context *context)
{
	struct pmem2_badblock block;

	while (pmem2_badblock_next(context, &block) == 0) {
		if (!damage_add(e->damage, block.offset, block.length))
			return;
	}
}

void badblocks_look(const struct export *e)
{
	struct pmem2_badblock_context *context = NULL;
	struct pmem2_source *source = NULL;

	if (!export_is_dax(e))
		return;
	persistence_begin();
	/* What cannot be asked (no NVDIMM, no permission) is found by an access. */
	if (pmem2_source_from_fd(&source, e->fd) == 0 &&
	    pmem2_badblock_context_new(&context, source) == 0)
		take_all(e, context);
	if (context)
		pmem2_badblock_context_delete(&context);
	if (source)
		(void)pmem2_source_delete(&source);
	persistence_end();
}

/* FNV-1a of the device's list; 0: it has none. */
static uint64_t list_of(const struct export *e)
{
	static const char *const names[] = {"badblocks",
					    "../badblocks"}; /* of a partition's disk */
	uint64_t hash = 0xcbf29ce484222325;
	char path[96];
	FILE *f = NULL;
	int c;

	for (size_t i = 0; i < ARRAY_SIZE(names) && !f; i++) {
		(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(e->dev),
			       minor(e->dev), names[i]);
		f = fopen(path, "re");
	}
	if (!f)
		return 0;
	for (unsigned int n = 0; n < LIST_BYTES && (c = fgetc(f)) != EOF; n++)
		hash = (hash ^ (uint8_t)c) * 0x100000001b3;
	(void)fclose(f);
	return hash;
}

void export_bad_look(const struct export *e)
{
	uint64_t list;

	if (e->medium != EXPORT_DAX)
		return;
	list = list_of(e);
	/* The first view has had them all. */
	if (atomic_exchange(&e->damage->list_hash, list) != list)
		badblocks_look(e);
}
