// SPDX-License-Identifier: BSD-3-Clause
/*
 * The file-system path: whole commands go here while the export is recalled, and over holes, shared
 * blocks and what is not registered. Reads are pread by io_uring into a bounce buffer; writes are
 * copied through the mapping by a worker, guarded, so that a fault past the end of a truncated file
 * becomes an error and never extends it again. Needs no tenure and names no key of a region.
 */
#include "nvme/io.h"

#include <errno.h>

DEFINE_COUNTER(read_bytes, "nvme_read_fs_bytes", "Read bytes by the file-system path");
DEFINE_COUNTER(write_bytes, "nvme_write_fs_bytes", "Written bytes by the file-system path");
DEFINE_COUNTER(range_errors, "nvme_fs_range_errors", "Commands past the end of a truncated file");

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

static void read_buffered(struct request *r)
{
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

static void write_here(struct request *r)
{
	request_on_worker(r, copy_on_worker, copied);
}

void fspath_write(struct request *r)
{
	request_take_data(r, write_here);
}
