// SPDX-License-Identifier: BSD-3-Clause
/*
 * Copy, within one namespace, source descriptor format 0. Its place in the order is everything from
 * the first to the last byte it touches. The copy goes through a buffer on a worker.
 */
#include "nvme/io.h"

#include <errno.h>

DEFINE_COUNTER(copies, "nvme_copies", "Copy commands");

static void copy_done(struct request *r)
{
	uint16_t status = io_status(r->err);

	/* The lowest source that was not copied, or not all of it; with a status only. */
	r->dw0 = status ? r->u.copy.done : 0;
	if (r->err == -EIO && r->u.copy.unread)
		status = NVME_SC_READ_ERROR;
	io_written(r, status);
}

static void copy_there(struct request *r)
{
	const struct view *view = r->use->serving->view;
	uint64_t to = r->range.offset;

	r->err = 0;
	for (r->u.copy.done = 0; r->u.copy.done < r->u.copy.nr; r->u.copy.done++) {
		const struct export_range *from = &r->u.copy.sources[r->u.copy.done];

		r->err = view_copy(view, from->offset, to, from->length, &r->u.copy.unread);
		if (r->err)
			break;
		to += from->length;
	}
}

/* The sources are known; also after the wait for its place. */
static void run(struct request *r)
{
	uint64_t from = r->range.offset, end = from + r->range.length;

	for (unsigned int i = 0; i < r->u.copy.nr; i++) {
		const struct export_range *s = &r->u.copy.sources[i];

		from = min_u64(from, s->offset);
		end = max_u64(end, s->offset + s->length);
	}
	if (io_lock(r, from, end, true) && io_clear_range(r))
		request_on_worker_long(r, copy_there, copy_done);
}

static void sources_ready(struct request *r)
{
	const struct view *view = r->use->serving->view;
	struct copy_limits limits = {
		.lba_bytes = export_lba_bytes(view->export),
		.size_bytes = view->size_bytes,
		.range_bytes = IO_COPY_RANGE_BYTES,
		.total_bytes = IO_COPY_BYTES,
	};
	uint32_t refused = copy_parse_sources(request_sqe(r), request_data(r), r->u.copy.nr,
					      &limits, r->u.copy.sources, &r->range);

	/* Nobody waits for his place with a buffer in his hands. */
	request_drop_buffer(r);
	if (refused) {
		request_reject(r, refused);
		return;
	}
	counter_add(&copies, 1);
	run(r);
}

void io_copy(struct request *r)
{
	uint32_t refused;

	if (r->locked) {
		run(r);
		return;
	}
	refused = copy_parse(request_sqe(r), &r->command, &r->u.copy.nr);
	if (refused)
		request_reject(r, refused);
	else
		request_take_data(r, sources_ready);
}
