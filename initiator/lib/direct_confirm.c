// SPDX-License-Identifier: BSD-3-Clause
/*
 * Operations that are done only when they are durable: what confirms them is sent right behind their
 * bytes. While so many Commits are on their way the others gather, and share the next one: few wait for
 * nothing, and many cost little. All under the queue's lock.
 */
#include "libleasehold/export.h"

#define COMMITS_AT_ONCE 1

static void leave(struct lh_op *op)
{
	list_del(&op->link);
	op->confirming = false;
	op_settle(op);
}

static void turn_away(struct lh_op *op)
{
	op->stop = true;
	leave(op);
}

void direct_confirm_later(struct direct *d, struct lh_op *op)
{
	op->confirming = true;
	op->covered = false;
	list_push(&d->confirming, &op->link);
}

/* Sends one Commit for those that none was sent for yet, as far as it has room. */
static void cover(struct direct *d)
{
	/* While the gate is closed the keeper confirms all there is. */
	const bool wait = d->gate_closed || direct_commits_out(d) >= COMMITS_AT_ONCE;
	struct direct_commit *c = wait ? NULL : direct_commit_begin(d);
	struct list *pos;

	list_for_each (pos, &d->confirming) {
		struct lh_op *op = list_entry(pos, struct lh_op, link);
		uint64_t next;

		if (op->covered)
			continue;
		if (c)
			direct_commit_add(d, c, op->offset, op->length, &next);
		if (write_log_dirty(&d->log, op->offset, op->length))
			continue;
		op->covered = true;
		op->tag = d->commit_tag + (c && c->count > 0 ? 1 : 0);
	}
	if (c && direct_commit_send(d, c) < 0)
		assert(list_empty(&d->confirming)); /* the queue died */
}

void direct_confirm(struct direct *d)
{
	struct list *pos, *tmp;

	if (list_empty(&d->confirming))
		return;
	cover(d);
	list_for_each_safe (pos, tmp, &d->confirming) {
		struct lh_op *op = list_entry(pos, struct lh_op, link);

		if (op->covered && !direct_commit_out(d, op->tag, op->offset, op->length))
			leave(op);
	}
}

void direct_confirm_failed(struct direct *d, const struct direct_commit *c)
{
	struct list *pos, *tmp;

	list_for_each_safe (pos, tmp, &d->confirming) {
		struct lh_op *op = list_entry(pos, struct lh_op, link);

		for (size_t r = 0; r < c->count; r++) {
			if (!range_overlaps(c->ranges[r].offset, c->ranges[r].length, op->offset,
					    op->length))
				continue;
			op->transient = true;
			turn_away(op);
			break;
		}
	}
}

void direct_confirm_died(struct direct *d)
{
	struct list *pos, *tmp;

	list_for_each_safe (pos, tmp, &d->confirming)
		turn_away(list_entry(pos, struct lh_op, link));
}
