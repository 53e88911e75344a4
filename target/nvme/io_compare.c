// SPDX-License-Identifier: BSD-3-Clause
/*
 * Compare, and the pair Compare and Write (NVMe base 2.0 §3.4.2). The pair's halves are next to each
 * other in the submission queue, so the first waits for the very next command of its queue. Then it
 * runs under one exclusive place in the order; both are answered at the end, the first first.
 */
#include "nvme/io.h"

#include <errno.h>

DEFINE_COUNTER(compares, "nvme_compares", "Compare commands");
DEFINE_COUNTER(miscompares, "nvme_miscompares", "Compare commands that found other bytes");
DEFINE_COUNTER(fused, "nvme_fused", "Pairs of Compare and Write");

/* ---- Compare ---------------------------------------------------------------------------------- */

static void compare_on_worker(struct request *r)
{
	r->err = view_compare(r->use->serving->view, r->range.offset, request_data(r),
			      r->range.length);
}

/* The bytes were as they should: the other half, in the first one's place. */
static void write_second(struct request *first)
{
	struct request *second = first->pair;

	first->compared = true;
	request_get_ns(second, first->use, first->slot);
	request_put_ns(first);
	/* Else pairs that have the first half's buffer could wait for each other's second. */
	request_drop_buffer(first);
	request_set_state(first, REQUEST_WAIT_FUSED);
	request_set_state(second, REQUEST_PARSED);
	io_write(second);
}

static void compared(struct request *r)
{
	switch (r->err) {
	case 0:
		if (r->pair)
			write_second(r);
		else
			request_complete(r, NVME_SC_SUCCESS);
		break;
	case -EILSEQ:
		counter_add(&miscompares, 1);
		request_complete(r, NVME_SC_COMPARE_FAILED | NVME_SC_DNR);
		break;
	case -ERANGE:
		request_complete(r, NVME_SC_LBA_RANGE | NVME_SC_DNR);
		break;
	default:
		request_complete(r, NVME_SC_READ_ERROR);
		break;
	}
}

static void compare_ready(struct request *r)
{
	request_on_worker(r, compare_on_worker, compared);
}

void io_compare(struct request *r)
{
	counter_add(&compares, 1);
	request_take_data(r, compare_ready);
}

/* ---- pairs ------------------------------------------------------------------------------------ */

static bool same_place(const struct request *a, const struct request *b)
{
	const struct nvme_command *x = request_sqe(a), *y = request_sqe(b);

	return a->command.nsid == b->command.nsid && x->cdw10 == y->cdw10 && x->cdw11 == y->cdw11 &&
	       (le32toh(x->cdw12) & 0xffff) == (le32toh(y->cdw12) & 0xffff);
}

static void second_arrived(struct request *first, struct request *second, bool broken)
{
	if (!first) {
		request_complete(second, broken ? NVME_SC_FUSED_FAIL : NVME_SC_FUSED_MISSING);
		return;
	}
	if (second->command.opcode != NVME_IO_WRITE || !same_place(first, second)) {
		request_complete(first, NVME_SC_FUSED_FAIL);
		request_complete(second, NVME_SC_INVALID_FIELD | NVME_SC_DNR);
		return;
	}
	counter_add(&fused, 1);
	first->pair = second;
	second->pair = first;
	request_set_state(second, REQUEST_WAIT_FUSED);
	request_set_state(first, REQUEST_PARSED);
	io_begin(first);
}

bool io_fused(struct request *r)
{
	struct nvme_queue *nq = r->queue;
	struct request *first = nq->fused_first;
	bool broken = nq->fused_broken;

	nq->fused_first = NULL;
	nq->fused_broken = false;
	switch (r->command.fuse) {
	case FUSE_FIRST:
		if (first)
			request_complete(first, NVME_SC_FUSED_MISSING);
		if (r->command.opcode != NVME_IO_COMPARE) {
			nq->fused_broken = true;
			request_complete(r, NVME_SC_INVALID_FIELD | NVME_SC_DNR);
			return true;
		}
		nq->fused_first = r;
		request_set_state(r, REQUEST_WAIT_FUSED);
		return true;
	case FUSE_SECOND:
		second_arrived(first, r, broken);
		return true;
	case FUSE_NONE:
		break;
	}
	if (first)
		request_complete(first, NVME_SC_FUSED_MISSING);
	return false;
}

void io_fused_apart(struct request *r)
{
	struct nvme_queue *nq = r->queue;
	struct request *first = nq->fused_first;

	nq->fused_first = NULL;
	nq->fused_broken = r->command.fuse == FUSE_FIRST;
	if (first)
		request_complete(first, r->command.fuse == FUSE_SECOND ? NVME_SC_FUSED_FAIL
								       : NVME_SC_FUSED_MISSING);
}
