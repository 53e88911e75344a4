// SPDX-License-Identifier: BSD-3-Clause
/*
 * Commands over many blocks that move no data: Write Zeroes and Verify. On a worker, a step at a
 * time, so that others get it in between.
 */
#include "nvme/io.h"

#include <errno.h>

DEFINE_COUNTER(zeroes, "nvme_write_zeroes", "Write Zeroes commands");
DEFINE_COUNTER(verifies, "nvme_verifies", "Verify commands");

/* ---- steps ------------------------------------------------------------------------------------ */

static uint64_t step_bytes(const struct request *r)
{
	return min_u64(r->range.length - r->u.steps.done, IO_STEP_BYTES);
}

/* The next step, unless one failed or this was the last. */
static void next_step(struct request *r, void (*there)(struct request *r),
		      void (*back)(struct request *r), void (*end)(struct request *r))
{
	if (r->err == 0 && r->u.steps.done < r->range.length)
		request_on_worker_long(r, there, back);
	else
		end(r);
}

/* ---- Write Zeroes ----------------------------------------------------------------------------- */

static void zeroed(struct request *r)
{
	io_written(r, io_status(r->err));
}

static void zero_there(struct request *r)
{
	uint64_t n = step_bytes(r);

	r->err = view_zero(r->use->serving->view, r->range.offset + r->u.steps.done, n);
	r->u.steps.done += n;
}

static void zero_back(struct request *r)
{
	next_step(r, zero_there, zero_back, zeroed);
}

static void zero_all(struct request *r)
{
	r->err = 0;
	r->u.steps.done = 0;
	zero_back(r);
}

/*
 * The whole pages are a hole now, and with FUA what was zeroed at its edges is durable with it; or
 * there are none on this file system.
 */
static void punched(struct request *r)
{
	if (r->err == -EOPNOTSUPP) {
		r->punched = true; /* in vain, once */
		io_begin(r);
		return;
	}
	request_complete(r, io_status(r->err));
}

static struct export_range whole_pages(const struct request *r)
{
	uint64_t from = align_up(r->range.offset, IO_PUNCH_BYTES);
	uint64_t to = align_down(r->range.offset + r->range.length, IO_PUNCH_BYTES);

	return (struct export_range){.offset = from, .length = to > from ? to - from : 0};
}

/* What lies before the first whole page and behind the last. */
static void edges_there(struct request *r)
{
	const struct view *view = r->use->serving->view;
	const struct export_range *pages = &r->u.punch.range;
	uint64_t end = r->range.offset + r->range.length;
	uint64_t pages_end = pages->offset + pages->length;

	r->err = 0;
	if (r->range.offset < pages->offset)
		r->err = view_zero(view, r->range.offset, pages->offset - r->range.offset);
	if (r->err == 0 && pages_end < end)
		r->err = view_zero(view, pages_end, end - pages_end);
}

static void edges_back(struct request *r)
{
	if (r->err)
		request_complete(r, io_status(r->err));
	else
		io_punch(r, &r->u.punch.range, 1, r->range.fua, punched);
}

void io_write_zeroes(struct request *r)
{
	struct export_range pages = whole_pages(r);

	if (!r->range.deallocate || pages.length == 0 || r->punched || !io_can_punch(r)) {
		counter_add(&zeroes, 1);
		zero_all(r);
		return;
	}
	counter_add(&zeroes, 1);
	r->u.punch.range = pages;
	if (pages.length == r->range.length)
		io_punch(r, &r->u.punch.range, 1, r->range.fua, punched);
	else
		request_on_worker_long(r, edges_there, edges_back);
}

/* ---- Verify ----------------------------------------------------------------------------------- */

static void verified(struct request *r)
{
	uint16_t status = NVME_SC_SUCCESS;

	if (r->err == -ERANGE)
		status = NVME_SC_LBA_RANGE | NVME_SC_DNR;
	else if (r->err)
		status = NVME_SC_READ_ERROR | NVME_SC_DNR;
	request_complete(r, status);
}

static void verify_there(struct request *r)
{
	uint64_t n = step_bytes(r);

	r->err = view_verify(r->use->serving->view, r->range.offset + r->u.steps.done, n);
	r->u.steps.done += n;
}

static void verify_back(struct request *r)
{
	next_step(r, verify_there, verify_back, verified);
}

void io_verify(struct request *r)
{
	counter_add(&verifies, 1);
	r->err = 0;
	r->u.steps.done = 0;
	verify_back(r);
}
