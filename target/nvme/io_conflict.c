// SPDX-License-Identifier: BSD-3-Clause
/*
 * Commands that change what another host was granted for writing (grant/conflict.c): refused, or
 * sent to control until these grants are gone. Such a command keeps its place meanwhile and nothing
 * else, above all no namespace, and begins again when the way is clear. It is found elsewhere, as
 * one at work: an Abort leaves it, and a queue that ends waits for it.
 */
#include "nvme/io.h"

#include <errno.h>

DEFINE_COUNTER(denials, "nvme_conflicts_denied",
	       "Commands refused since another host is granted what they change");

/* ---- on control ------------------------------------------------------------------------------- */

static void conflict_over(struct holding_conflict *c, int err)
{
	struct request *r = container_of(c, struct request, conflict);

	r->err = err;
	request_from_control(r);
}

static void recall_there(struct request *r)
{
	struct holding *h = r->queue->q.target->homes[r->slot].holding;

	if (h)
		holding_recall_conflicts(h, &r->conflict);
	else
		conflict_over(&r->conflict, 0); /* it begins again, and finds none */
}

/* ---- on the queue's reactor ------------------------------------------------------------------- */

static void recalled(struct request *r)
{
	switch (r->err) {
	case 0:
		r->way_clear = true;
		io_begin(r);
		break;
	case -EAGAIN:
		request_complete(r, NVME_SC_CMD_INTERRUPTED);
		break;
	default:
		request_complete(r, NVME_SC_INTERNAL);
		break;
	}
}

bool io_clear_way(struct request *r, const struct export_range *changes, unsigned int nr)
{
	struct holding *h = r->use->serving->holding;
	const uint8_t *host = r->queue->controller->hostid;

	assert(r->locked);
	if (r->way_clear || !holding_conflicts(h, host, changes, nr))
		return true;
	if (holding_config(h)->deny_conflicts) {
		counter_add(&denials, 1);
		/* Of a pair it is the Write. */
		request_complete(r->pair ? r->pair : r, NVME_SC_ACCESS_DENIED | NVME_SC_DNR);
		return false;
	}
	r->conflict = (struct holding_conflict){
		.ranges = changes,
		.nr_ranges = nr,
		.host = host,
		.done = conflict_over,
	};
	request_drop_buffer(r);
	request_put_ns(r);
	request_on_control(r, recall_there, recalled);
	return false;
}

bool io_clear_range(struct request *r)
{
	r->changes = (struct export_range){.offset = r->range.offset, .length = r->range.length};
	return io_clear_way(r, &r->changes, 1);
}
