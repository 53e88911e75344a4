// SPDX-License-Identifier: BSD-3-Clause
/*
 * Read, Write, Flush. Data goes straight between the host's memory and the file's own where the
 * range is registered and nobody recalls it; all else takes the file-system path, as do all writes where
 * none may be torn.
 */
#include "nvme/io.h"

#include <errno.h>

DEFINE_COUNTER(reads, "nvme_reads", "Read commands");
DEFINE_COUNTER(writes, "nvme_writes", "Write commands");
DEFINE_COUNTER(flushes, "nvme_flushes", "Flush commands");
DEFINE_COUNTER(read_region, "nvme_read_region_bytes", "Read bytes straight from file memory");
DEFINE_COUNTER(write_region, "nvme_write_region_bytes", "Written bytes straight into file memory");
DEFINE_COUNTER(write_capsule, "nvme_write_capsule_bytes", "Written bytes that came in capsules");

/*
 * The slices of the range as segments; false if part of it is not registered, or damaged (an adapter
 * that meets damage loses the queue), it lies in more slices
 * than one command carries, or the command has waited while another serving took over: what that one
 * leaves out may be somebody else's by now.
 */
static bool map_region(struct request *r)
{
	const struct serving *s = r->use->serving;
	const struct region *region = s->regions[r->queue->q.device];
	uint64_t offset = r->range.offset;
	struct export_range bad;
	uint32_t left = r->range.length;
	unsigned int n = 0;

	if (!region || r->use->quiesced || !ns_is_current(r->use))
		return false;
	if (export_bad(s->view->export, offset, r->range.length, &bad))
		return false;
	while (left > 0) {
		const struct region_slice *slice = region_find(region, offset);
		uint32_t length;

		if (!slice && region_miss(region, offset))
			holding_miss(s->holding);
		if (!slice || n == NVME_MAX_SEGMENTS)
			return false;
		length = (uint32_t)min_u64(left, slice->offset + slice->length - offset);
		r->segments[n++] = (struct fabric_sge){
			.addr = (uint64_t)(uintptr_t)(s->view->base + offset),
			.length = length,
			.lkey = slice->lkey,
		};
		offset += length;
		left -= length;
	}
	r->nr_segments = n;
	return true;
}

/* ---- Read ------------------------------------------------------------------------------------- */

void io_read(struct request *r)
{
	counter_add(&reads, 1);
	if (!map_region(r)) {
		fspath_read(r);
		return;
	}
	counter_add(&read_region, r->range.length);
	request_get_keyed(r);
	r->send_data = true;
	request_complete(r, NVME_SC_SUCCESS);
}

/* ---- Write ------------------------------------------------------------------------------------ */

static int persist(const struct request *r)
{
	return view_persist(r->use->serving->view, r->range.offset, r->range.length);
}

static void persist_on_worker(struct request *r)
{
	r->err = persist(r);
}

static void persisted(struct request *r)
{
	io_written(r, io_status(r->err));
}

static void write_fetched(struct request *r)
{
	/* No work request names the region any more; the serving stays until it is persisted. */
	request_put_keyed(r);
	if (r->range.length > NVME_REACTOR_COPY_BYTES) {
		request_on_worker(r, persist_on_worker, persisted);
		return;
	}
	io_written(r, io_status(persist(r)));
}

void io_write(struct request *r)
{
	const struct fabric_device_info *info =
		fabric_device_info(fabric_conn_device(r->queue->q.conn));

	counter_add(&writes, 1);
	if (r->command.data == COMMAND_IN_CAPSULE)
		counter_add(&write_capsule, r->range.length);
	if (r->command.data == COMMAND_IN_CAPSULE || info->read_sink_needs_bounce ||
	    export_atomic_bytes(r->use->serving->view->export) > 0 || !map_region(r)) {
		fspath_write(r);
		return;
	}
	counter_add(&write_region, r->range.length);
	request_get_keyed(r);
	request_fetch(r, write_fetched);
}

/* ---- Flush ------------------------------------------------------------------------------------ */

static void flush_on_worker(struct request *r)
{
	r->err = export_flush(r->use->serving->view->export);
}

static void flushed(struct request *r)
{
	request_complete(r, io_status(r->err));
}

void io_written(struct request *r, uint16_t status)
{
	/* Elsewhere what was written is durable, or nothing can make it so. */
	if (status || !r->range.fua || !export_volatile_cache(r->use->serving->view->export))
		request_complete(r, status);
	else
		request_on_worker_long(r, flush_on_worker, flushed);
}

void io_flush(struct request *r)
{
	counter_add(&flushes, 1);
	/* A write is durable when it is answered, or nothing could make it so. */
	if (!export_volatile_cache(r->use->serving->view->export)) {
		request_complete(r, NVME_SC_SUCCESS);
		return;
	}
	request_on_worker_long(r, flush_on_worker, flushed);
}
