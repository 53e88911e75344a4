// SPDX-License-Identifier: BSD-3-Clause
/*
 * Through buffers: whole commands go here while the export is recalled, over holes, shared blocks and
 * what is not registered, as all is on the staged rung, and what came in a capsule. Names no key of a
 * region.
 *
 * Small ones under tenure, over pages that are present, are copied right here, past the caches and
 * durably on DAX. The rest takes the file-system path, which needs no tenure: reads are pread by io_uring
 * into a bounce buffer (of a device, which has no pread, copied by a worker); writes are copied through
 * the mapping by a worker. Both are guarded, so that a fault past the end of a truncated file becomes an
 * error and never extends it again.
 */
#include "nvme/io.h"

#include <errno.h>

DEFINE_COUNTER(read_bytes, "nvme_read_fs_bytes", "Read bytes by the file-system path");
DEFINE_COUNTER(write_bytes, "nvme_write_fs_bytes", "Written bytes by the file-system path");
DEFINE_COUNTER(read_staged, "nvme_read_staged_bytes", "Read bytes copied by reactors");
DEFINE_COUNTER(write_staged, "nvme_write_staged_bytes",
	       "Written bytes copied by reactors, but for those that came in capsules");
DEFINE_COUNTER(range_errors, "nvme_fs_range_errors", "Commands past the end of a truncated file");

/*
 * Small, under tenure and over pages that are present: a copy here is cheaper than a worker or a system
 * call. Those of a page cache may not be present; and what a newer serving leaves out may be somebody
 * else's by now.
 */
static bool may_copy_here(const struct request *r)
{
	const struct view *view = r->use->serving->view;

	return !r->use->quiesced && ns_is_current(r->use) &&
	       r->range.length <= NVME_REACTOR_COPY_BYTES &&
	       export_medium(view->export) != EXPORT_PAGE_CACHE &&
	       view_backed(view, r->range.offset, r->range.length);
}

/* ---- Read ------------------------------------------------------------------------------------- */

static void read_done(struct reactor_read *read, int result)
{
	struct request *r = container_of(read, struct request, pread);

	request_set_state(r, REQUEST_PARSED);
	if (r->queue->q.failed) {
		request_release(r);
	} else if (result == (int)r->range.length) {
		counter_add(&read_bytes, r->range.length);
		r->send_data = true;
		request_complete(r, NVME_SC_SUCCESS);
	} else if (result >= 0) {
		counter_add(&range_errors, 1);
		request_complete(r, NVME_SC_LBA_RANGE | NVME_SC_DNR);
	} else {
		request_complete(r, NVME_SC_READ_ERROR);
	}
}

static void copied_out(struct request *r)
{
	if (r->err == 0) {
		r->send_data = true;
		request_complete(r, NVME_SC_SUCCESS);
	} else if (r->err == -ERANGE) {
		counter_add(&range_errors, 1);
		request_complete(r, NVME_SC_LBA_RANGE | NVME_SC_DNR);
	} else {
		request_complete(r, NVME_SC_READ_ERROR);
	}
}

static void copy_out_here(struct request *r)
{
	const struct view *view = r->use->serving->view;

	r->err = view_stage_out(view, r->range.offset, r->bounce.data, r->range.length);
	if (r->err == 0)
		counter_add(&read_staged, r->range.length);
	copied_out(r);
}

static void read_on_worker(struct request *r)
{
	r->err = view_copy_out(r->use->serving->view, r->range.offset, r->bounce.data,
			       r->range.length);
}

static void read_by_worker(struct request *r)
{
	if (r->err == 0)
		counter_add(&read_bytes, r->range.length);
	copied_out(r);
}

static void read_buffered(struct request *r)
{
	if (may_copy_here(r)) {
		copy_out_here(r);
		return;
	}
	if (export_by_mapping_only(r->use->serving->view->export)) {
		request_on_worker(r, read_on_worker, read_by_worker);
		return;
	}
	r->pread = (struct reactor_read){
		.done = read_done,
		.fd = export_fd(r->use->serving->view->export),
		.buf = r->bounce.data,
		.length = r->range.length,
		.offset = r->range.offset,
	};
	request_set_state(r, REQUEST_EXECUTING);
	reactor_pread(r->queue->q.nr->reactor, &r->pread);
}

void fspath_read(struct request *r)
{
	request_buffer(r, r->range.length, read_buffered);
}

/* ---- Write ------------------------------------------------------------------------------------ */

static void copy_on_worker(struct request *r)
{
	r->err = view_copy_in(r->use->serving->view, r->range.offset, request_data(r),
			      r->range.length);
}

static void copied(struct request *r)
{
	if (r->err == 0)
		counter_add(&write_bytes, r->range.length);
	else if (r->err == -ERANGE)
		counter_add(&range_errors, 1);
	io_written(r, io_status(r->err));
}

static void copy_in_here(struct request *r)
{
	r->err = view_stage_in(r->use->serving->view, r->range.offset, request_data(r),
			       r->range.length);
	if (r->err == 0 && r->command.data != COMMAND_IN_CAPSULE)
		counter_add(&write_staged, r->range.length);
	else if (r->err == -ERANGE)
		counter_add(&range_errors, 1);
	io_written(r, io_status(r->err));
}

static void write_here(struct request *r)
{
	/* A journal is for those that may sleep, and is synced twice. */
	if (export_atomic_bytes(r->use->serving->view->export) > 0)
		request_on_worker_long(r, copy_on_worker, copied);
	else if (may_copy_here(r))
		copy_in_here(r);
	else
		request_on_worker(r, copy_on_worker, copied);
}

void fspath_write(struct request *r)
{
	request_take_data(r, write_here);
}
