// SPDX-License-Identifier: BSD-3-Clause
/*
 * Dataset Management: Deallocate gives whole pages back to the file system, through the holding,
 * which sees to it that no key is alive over them (grant/punch.c); other attributes are hints that
 * we do not need. It has its ranges alone until the holes are there, also when its queue has ended
 * meanwhile: nothing that was written later and acknowledged becomes part of them. Commands between
 * its ranges do not wait for it. Which ranges, its data say; so that it waits for its place without a
 * buffer it fetches them again when its turn has come.
 */
#include "nvme/io.h"

#include <errno.h>
#include <string.h>

DEFINE_COUNTER(dsms, "nvme_deallocates", "Dataset Management commands that deallocate");

bool io_can_punch(const struct request *r)
{
	const struct serving *s = r->use->serving;

	return !holding_config(s->holding)->advisory_deallocate &&
	       export_can_punch(s->view->export);
}

/* ---- on control ------------------------------------------------------------------------------- */

static void punch_done(struct holding_punch *punch, int err)
{
	struct request *r = container_of(punch, struct request, u.punch.punch);

	r->err = err;
	request_from_control(r);
}

static void punch_there(struct request *r)
{
	struct holding *h = r->queue->q.target->homes[r->slot].holding;

	if (h)
		holding_punch(h, &r->u.punch.punch);
	else
		punch_done(&r->u.punch.punch, -ENODEV);
}

void io_punch(struct request *r, const struct export_range *ranges, unsigned int nr_ranges,
	      bool durable, void (*back)(struct request *r))
{
	r->u.punch.punch = (struct holding_punch){
		.ranges = ranges,
		.nr_ranges = nr_ranges,
		.durable = durable,
		.done = punch_done,
	};
	/* What is served now is to be replaced: who uses it would wait for itself. */
	request_put_ns(r);
	request_on_control(r, punch_there, back);
}

/* ---- the command ------------------------------------------------------------------------------ */

static void deallocated(struct request *r)
{
	if (r->err == 0 || r->err == -EOPNOTSUPP)
		request_complete(r, NVME_SC_SUCCESS);
	else
		request_complete(r, io_status(r->err));
}

static bool take_place(struct request *r, const struct export_range *ranges, unsigned int n)
{
	struct interlock_part parts[NVME_DSM_MAX_PARTS] = {0};
	unsigned int nr = 0;

	for (unsigned int i = 0; i < n; i++) {
		const struct export_range *range = &ranges[i];

		nr = interlock_cover(
			parts, nr, ARRAY_SIZE(parts),
			(struct interlock_part){range->offset, range->offset + range->length});
	}
	if (r->locked) {
		/* The namespace, or what the host says it wants, is another now. */
		if (nr == r->u.punch.nr_parts &&
		    memcmp(parts, r->u.punch.parts, nr * sizeof(*parts)) == 0)
			return true;
		request_complete(r, NVME_SC_NS_NOT_READY);
		return false;
	}
	r->u.punch.nr_parts = nr;
	memcpy(r->u.punch.parts, parts, sizeof(parts));
	for (unsigned int i = 0; i < nr; i++)
		r->u.punch.changes[i] = (struct export_range){
			.offset = parts[i].offset, .length = parts[i].end - parts[i].offset};
	if (io_lock_parts(r, r->u.punch.parts, nr))
		return true;
	/* Nobody waits for his place with a buffer in his hands. */
	request_drop_buffer(r);
	return false;
}

static void ranges_ready(struct request *r)
{
	const struct view *view = r->use->serving->view;
	struct export_range *ranges = (struct export_range *)(void *)r->bounce.data;
	unsigned int n = 0;
	uint32_t refused;

	refused = dsm_parse_ranges(request_data(r), r->u.punch.nr_wire,
				   export_lba_bytes(view->export), view->size_bytes, IO_PUNCH_BYTES,
				   ranges, &n);
	if (refused || n == 0 || !io_can_punch(r)) {
		request_reject(r, refused);
		return;
	}
	if (take_place(r, ranges, n) && io_clear_way(r, r->u.punch.changes, r->u.punch.nr_parts))
		io_punch(r, ranges, n, false, deallocated);
}

void io_dsm(struct request *r)
{
	bool deallocate;
	uint32_t refused = dsm_parse(request_sqe(r), &r->command, &deallocate, &r->u.punch.nr_wire);

	if (refused || !deallocate) {
		request_reject(r, refused);
		return;
	}
	if (!r->locked)
		counter_add(&dsms, 1);
	/* The ranges are turned into ours in the buffer, which what came in the capsule needs too. */
	if (r->command.data == COMMAND_IN_CAPSULE)
		request_buffer(r, NVME_DSM_MAX_RANGES * sizeof(struct export_range), ranges_ready);
	else
		request_take_data(r, ranges_ready);
}
