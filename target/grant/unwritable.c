// SPDX-License-Identifier: BSD-3-Clause
/*
 * An export whose journal is broken (export_unwritable()). What one of its records says may go over the file
 * at the next start, so nobody is to have written there meanwhile: hosts are refused by the nvme room, an
 * Acquire for writing in grant.c, and who holds such a grant is asked here to let go. Control loop.
 */
#include "grant/internal.h"

#include "util/log.h"

/* False, which ends the walk: it can be written by, and nobody wants it back yet. */
static bool is_harmless(struct table_node *node, void *arg)
{
	const struct grant *g = container_of(node, struct grant, node);
	const struct holding *h = arg;

	return !(g->access & LH_GRANT_WRITE) || range_held_length(h, g->node.offset) > 0;
}

void unwritable_check(struct holding *h)
{
	const struct export *e = holding_file(h);
	uint64_t end;

	/* In any other state they are on their way out. */
	if (!e || h->state != HOLDING_SERVING || h->recall.state != RECALL_GRANTED || h->stopped ||
	    !export_unwritable(e))
		return;
	holding_log_warnings(h);
	end = h->current->view->mapped_bytes;
	if (!table_each(&h->table, 0, end, is_harmless, h) && conflict_recall(h, 0, end) != 0)
		log_warning("%s: no memory to recall what is granted for writing: tried again soon",
			    h->config.export.name);
}
