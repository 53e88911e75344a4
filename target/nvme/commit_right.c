// SPDX-License-Identifier: BSD-3-Clause
/*
 * Rights to commit, by slot, each on the reactor of its direct queue. Grants for writing of two clients
 * never overlap; those of one may. They are of the generation that is served here: grants of the one
 * before are gone, and said so, before it is published.
 */
#include "nvme/commit_right.h"

#include <stdlib.h>

struct commit_right {
	struct loop_msg begins, ends;
	struct table_node node; /* ns_slot.rights */
	struct nvme_reactor *nr;
	struct ns_slot *slot;
	const struct direct_queue *dq; /* only compared */
};

static void begun(struct loop_msg *msg)
{
	struct commit_right *right = container_of(msg, struct commit_right, begins);

	table_insert(&right->slot->rights, &right->node);
}

static void ended(struct loop_msg *msg)
{
	struct commit_right *right = container_of(msg, struct commit_right, ends);

	table_remove(&right->slot->rights, &right->node);
	free(right);
}

struct commit_right *commit_right_begin(struct nvme_reactor *nr, unsigned int slot,
					const struct direct_queue *dq, uint64_t offset,
					uint64_t length)
{
	struct commit_right *right = calloc(1, sizeof(*right));

	assert(slot < NVME_MAX_NAMESPACES);
	if (!right)
		return NULL;
	right->nr = nr;
	right->slot = &nr->slots[slot];
	right->dq = dq;
	right->node.offset = offset;
	right->node.end = offset + length;
	loop_post(nr->loop, &right->begins, begun);
	return right;
}

void commit_right_end(struct commit_right *right)
{
	loop_post(right->nr->loop, &right->ends, ended);
}

struct cover {
	const struct direct_queue *dq;
	uint64_t at, end; /* what is not found yet */
};

/* They come in the order of their offsets. */
static bool cover(struct table_node *node, void *arg)
{
	const struct commit_right *right = container_of(node, struct commit_right, node);
	struct cover *c = arg;

	if (node->offset > c->at)
		return false;
	if (right->dq == c->dq)
		c->at = max_u64(c->at, node->end);
	return c->at < c->end;
}

bool commit_right_covers(const struct ns_slot *slot, const struct direct_queue *dq, uint64_t offset,
			 uint64_t length)
{
	struct cover c = {.dq = dq, .at = offset, .end = offset + length};

	if (length > 0)
		(void)table_each(&slot->rights, c.at, c.end, cover, &c);
	return c.at >= c.end;
}
