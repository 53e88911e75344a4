// SPDX-License-Identifier: BSD-3-Clause
/*
 * I/O commands: Read, Write, Flush. Data goes straight between the host's memory and the file's own
 * where the range is registered and nobody recalls it; all else takes the file-system path.
 */
#include "nvme/controller.h"

#include <errno.h>

#define SC_NS_WRITE_PROTECTED 0x020 /* NVMe base 2.0 figure 94 */

DEFINE_COUNTER(reads, "nvme_reads", "Read commands");
DEFINE_COUNTER(writes, "nvme_writes", "Write commands");
DEFINE_COUNTER(flushes, "nvme_flushes", "Flush commands");
DEFINE_COUNTER(read_region, "nvme_read_region_bytes", "Read bytes straight from file memory");
DEFINE_COUNTER(write_region, "nvme_write_region_bytes", "Written bytes straight into file memory");
DEFINE_COUNTER(write_capsule, "nvme_write_capsule_bytes", "Written bytes that came in capsules");

static uint16_t status_of(int err)
{
	return err ? nvme_status_from_errno(err) | NVME_SC_DNR : NVME_SC_SUCCESS;
}

/*
 * The slices of the range as segments; false if part of it is not registered, or it lies in more
 * slices than one command carries.
 */
static bool map_region(struct request *r)
{
	const struct serving *s = r->use->serving;
	const struct region *region = s->regions[r->queue->q.device];
	uint64_t offset = r->range.offset;
	uint32_t left = r->range.length;
	unsigned int n = 0;

	if (!region || r->use->quiesced)
		return false;
	while (left > 0) {
		const struct region_slice *slice = region_find(region, offset);
		uint32_t length;

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

static void read_execute(struct request *r)
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
	request_complete(r, status_of(r->err));
}

static void write_fetched(struct request *r)
{
	/* No work request names the region any more; the serving stays until it is persisted. */
	request_put_keyed(r);
	if (r->range.length > NVME_REACTOR_COPY_BYTES) {
		request_on_worker(r, persist_on_worker, persisted);
		return;
	}
	request_complete(r, status_of(persist(r)));
}

/*
 * Small, and over pages that are present: a copy here is cheaper than a worker. Those of a page cache
 * may not be present.
 */
static bool may_copy_here(const struct request *r)
{
	const struct view *view = r->use->serving->view;

	return !r->use->quiesced && r->range.length <= NVME_REACTOR_COPY_BYTES &&
	       export_medium(view->export) != EXPORT_PAGE_CACHE &&
	       view_backed(view, r->range.offset, r->range.length);
}

static void write_in_capsule(struct request *r)
{
	counter_add(&write_capsule, r->range.length);
	if (!may_copy_here(r)) {
		fspath_write(r);
		return;
	}
	request_complete(r, status_of(view_copy_in(r->use->serving->view, r->range.offset,
						   request_data(r), r->range.length)));
}

static void write_execute(struct request *r)
{
	const struct fabric_device_info *info =
		fabric_device_info(fabric_conn_device(r->queue->q.conn));

	counter_add(&writes, 1);
	if (export_read_only(r->use->serving->view->export)) {
		request_complete(r, SC_NS_WRITE_PROTECTED | NVME_SC_DNR);
		return;
	}
	if (r->command.data == COMMAND_IN_CAPSULE) {
		write_in_capsule(r);
		return;
	}
	if (info->read_sink_needs_bounce || !map_region(r)) {
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

static void flush_execute(struct request *r)
{
	counter_add(&flushes, 1);
	/* A write is durable when it is answered, or nothing could make it so. */
	if (!export_volatile_cache(r->use->serving->view->export)) {
		request_complete(r, NVME_SC_SUCCESS);
		return;
	}
	request_on_worker(r, flush_on_worker, persisted);
}

/* ---- the command ------------------------------------------------------------------------------ */

static uint16_t find_namespace(struct request *r)
{
	unsigned int slot = 0;
	struct ns_use *use =
		ns_find(r->queue->q.nr, r->queue->controller->subsystem, r->command.nsid, &slot);

	if (!use) {
		bool known = r->command.nsid != 0 &&
			     r->command.nsid <= r->queue->controller->subsystem->max_nsid &&
			     r->queue->controller->subsystem->slot_of[r->command.nsid] <
				     NVME_MAX_NAMESPACES;

		return known ? NVME_SC_NS_NOT_READY : NVME_SC_INVALID_NS | NVME_SC_DNR;
	}
	if (!use->serving)
		return NVME_SC_NS_NOT_READY;
	request_get_ns(r, use, slot);
	return NVME_SC_SUCCESS;
}

static uint16_t parse_range(struct request *r)
{
	const struct view *view = r->use->serving->view;

	return command_parse_range(request_sqe(r), &r->command, export_lba_bytes(view->export),
				   view->size_bytes, r->queue->q.target->env.limits.mdts_bytes,
				   &r->range);
}

void io_execute(struct request *r)
{
	uint8_t opcode = r->command.opcode;
	uint16_t status;

	if (opcode != NVME_IO_READ && opcode != NVME_IO_WRITE && opcode != NVME_IO_FLUSH) {
		request_complete(r, NVME_SC_INVALID_OPCODE | NVME_SC_DNR);
		return;
	}
	status = find_namespace(r);
	if (!status && opcode != NVME_IO_FLUSH)
		status = parse_range(r);
	if (status) {
		request_complete(r, status);
		return;
	}
	if (opcode == NVME_IO_READ)
		read_execute(r);
	else if (opcode == NVME_IO_WRITE)
		write_execute(r);
	else
		flush_execute(r);
}
