// SPDX-License-Identifier: BSD-3-Clause
/*
 * The error log and the figures of the SMART log (NVMe base 2.0 §5.16.1.2, §5.16.1.3). Nothing is
 * kept here when the daemon ends, and what nobody measures is 0: busy time, wear, and the
 * temperature where the memory modules have no sensors.
 */
#include "nvme/controller.h"

#include <string.h>

#define STATUS_TYPE(status) ((status) >> 8 & 7)
#define STATUS_CODE(status) ((status) & 0x7ff)
#define STATUS_TYPE_MEDIA   2
#define STATUS_TYPE_PATH    3
#define STATUS_TYPE_VENDOR  7
#define NOT_IN_A_FIELD	    0xffff
#define TRTYPE_RDMA	    1
#define SMART_UNIT_BYTES    (1000 * 512ull)
#define SMART_SPARE_PERCENT 100 /* less would worry hosts */
#define NS_PER_HOUR	    (3600 * NS_PER_S)

DEFINE_COUNTER(media_errors, "media_errors",
	       "Commands that were answered with a media error: damage, or a device that is gone");
DEFINE_COUNTER(logged, "nvme_errors_logged", "Errors that controllers' error logs took");

/* ---- errors ----------------------------------------------------------------------------------- */

void error_log_init(struct error_log *log)
{
	int err = pthread_mutex_init(&log->lock, NULL);

	assert(err == 0);
	(void)err;
}

void error_log_fini(struct error_log *log)
{
	(void)pthread_mutex_destroy(&log->lock);
}

uint64_t error_log_count(struct error_log *log)
{
	uint64_t count;

	(void)pthread_mutex_lock(&log->lock);
	count = log->count;
	(void)pthread_mutex_unlock(&log->lock);
	return count;
}

void error_log_copy(struct error_log *log, struct nvme_error_entry entries[ERROR_LOG_ENTRIES])
{
	(void)pthread_mutex_lock(&log->lock);
	for (uint64_t i = 0; i < min_u64(log->count, ERROR_LOG_ENTRIES); i++)
		entries[i] = log->entries[(log->count - 1 - i) % ERROR_LOG_ENTRIES];
	(void)pthread_mutex_unlock(&log->lock);
}

static void error_log_add(struct error_log *log, const struct nvme_error_entry *entry)
{
	struct nvme_error_entry *to;

	(void)pthread_mutex_lock(&log->lock);
	to = &log->entries[log->count++ % ERROR_LOG_ENTRIES];
	*to = *entry;
	to->count = htole64(log->count);
	(void)pthread_mutex_unlock(&log->lock);
}

/*
 * Errors are what a host did wrong or what broke. Not: what it asked for (Abort, Compare), what
 * passes by itself, and what our own clients take in their stride.
 */
static bool is_logged(uint16_t status)
{
	switch (STATUS_CODE(status)) {
	case NVME_SC_ABORT_REQUESTED:
	case NVME_SC_ABORT_SQ_DELETED:
	case NVME_SC_FUSED_FAIL:
	case NVME_SC_FUSED_MISSING:
	case NVME_SC_NS_NOT_READY:
	case NVME_SC_ABORTED_PREEMPTED:
	case NVME_SC_RESERVATION_CONFLICT:
	case NVME_SC_CMD_INTERRUPTED:
	case NVME_SC_TRANSIENT_TRANSPORT:
	case NVME_SC_COMPARE_FAILED:
	case NVME_SC_ACCESS_DENIED:
		return false;
	default:
		return STATUS_TYPE(status) != STATUS_TYPE_VENDOR &&
		       STATUS_TYPE(status) != STATUS_TYPE_PATH;
	}
}

static bool has_lba(const struct request *r)
{
	switch (r->command.opcode) {
	case NVME_IO_READ:
	case NVME_IO_WRITE:
	case NVME_IO_COMPARE:
	case NVME_IO_WRITE_ZEROES:
	case NVME_IO_VERIFY:
		return r->queue->qid != 0;
	default:
		return false;
	}
}

/* For most statuses there is one field that can be wrong. */
static uint16_t location(const struct request *r)
{
	if (r->fault)
		return (uint16_t)(r->fault - 1);
	switch (STATUS_CODE(r->status)) {
	case NVME_SC_INVALID_OPCODE:
		return r->command.opcode == NVME_FABRICS
			       ? offsetof(struct nvmf_connect_command, fctype)
			       : offsetof(struct nvme_command, opcode);
	case NVME_SC_INVALID_NS:
		return offsetof(struct nvme_command, nsid);
	case NVME_SC_SGL_INVALID_TYPE:
		return offsetof(struct nvme_command, sgl.type);
	case NVME_SC_SGL_INVALID_DATA:
		return offsetof(struct nvme_command, sgl.bytes);
	case NVME_SC_SGL_OFFSET_INVALID:
		return offsetof(struct nvme_command, sgl.address);
	case NVME_SC_LBA_RANGE:
		return has_lba(r) ? offsetof(struct nvme_command, cdw10) : NOT_IN_A_FIELD;
	case NVME_SC_INVALID_LOG_PAGE:
		return offsetof(struct nvme_command, cdw10);
	default:
		return NOT_IN_A_FIELD;
	}
}

/* The first block that is wrong, where that is known. */
static uint64_t first_bad_lba(const struct request *r, uint64_t slba)
{
	const struct export *e = r->use && r->use->serving ? r->use->serving->view->export : NULL;
	struct export_range bad;

	if (!e || STATUS_TYPE(r->status) != STATUS_TYPE_MEDIA ||
	    !export_bad(e, r->range.offset, r->range.length, &bad))
		return slba;
	return max_u64(bad.offset, r->range.offset) / export_lba_bytes(e);
}

void health_error(struct request *r)
{
	struct nvme_queue *nq = r->queue;
	uint16_t fault = location(r);
	struct nvme_error_entry entry = {
		.sqid = htole16(nq->qid),
		.cid = r->command.cid,
		.location = htole16(fault),
		.nsid = htole32(r->command.nsid),
		.trtype = TRTYPE_RDMA,
	};

	r->fault = 0;
	if (nq->qid != 0 && STATUS_TYPE(r->status) == STATUS_TYPE_MEDIA &&
	    STATUS_CODE(r->status) != NVME_SC_COMPARE_FAILED &&
	    STATUS_CODE(r->status) != NVME_SC_ACCESS_DENIED) {
		figures_count(&nq->figures.media_errors, 1);
		counter_add(&media_errors, 1);
		/* Clients that are granted it must hear of it. */
		if (r->use && r->use->serving)
			holding_suspect(r->use->serving->holding);
	}
	if (!nq->controller || !is_logged(r->status))
		return;
	r->status |= NVME_SC_MORE;
	entry.status = htole16((uint16_t)(r->status << 1));
	if (has_lba(r)) {
		const struct nvme_command *sqe = request_sqe(r);

		entry.lba = htole64(first_bad_lba(r, (uint64_t)le32toh(sqe->cdw11) << 32 |
							     le32toh(sqe->cdw10)));
	}
	counter_add(&logged, 1);
	error_log_add(&nq->controller->errors, &entry);
	if (STATUS_CODE(r->status) == NVME_SC_INTERNAL)
		controller_error_event(nq->controller);
}

/* ---- figures (control) ------------------------------------------------------------------------ */

static uint64_t look(const _Atomic uint64_t *figure)
{
	return atomic_load_explicit(figure, memory_order_relaxed);
}

void figures_fold(struct figures *to, const struct figures *from)
{
	figures_count(&to->reads, look(&from->reads));
	figures_count(&to->writes, look(&from->writes));
	figures_count(&to->read_bytes, look(&from->read_bytes));
	figures_count(&to->written_bytes, look(&from->written_bytes));
	figures_count(&to->media_errors, look(&from->media_errors));
}

static void put_u64(uint8_t field[16], uint64_t value)
{
	le64 low = htole64(value);

	memcpy(field, &low, sizeof(low));
}

static uint64_t units(uint64_t bytes)
{
	return (bytes + SMART_UNIT_BYTES - 1) / SMART_UNIT_BYTES;
}

void health_smart(struct controller *c, struct nvme_smart_log *log)
{
	const struct nvme_target *t = c->target;
	struct figures sum = {0};
	struct list *l, *k;

	figures_fold(&sum, &c->subsystem->past);
	list_for_each (l, &t->controllers) {
		const struct controller *other = list_entry(l, struct controller, link);

		if (other->subsystem != c->subsystem)
			continue;
		list_for_each (k, &other->io_queues)
			figures_fold(&sum, &list_entry(k, struct nvme_queue, owner_link)->figures);
	}
	log->spare_percent = SMART_SPARE_PERCENT;
	put_u64(log->units_read, units(look(&sum.read_bytes)));
	put_u64(log->units_written, units(look(&sum.written_bytes)));
	put_u64(log->host_reads, look(&sum.reads));
	put_u64(log->host_writes, look(&sum.writes));
	put_u64(log->power_cycles, t->env.starts);
	put_u64(log->unsafe_shutdowns, t->env.unclean_ends);
	put_u64(log->power_on_hours, (now_ns() - t->started_ns) / NS_PER_HOUR);
	put_u64(log->media_errors, look(&sum.media_errors));
	put_u64(log->error_entries, error_log_count(&c->errors));
}
