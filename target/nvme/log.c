// SPDX-License-Identifier: BSD-3-Clause
/*
 * Get Log Page, in pieces as the host likes. Standard pages are made on the admin queue's reactor;
 * the list of exports needs what only control knows and is made there.
 */
#include "nvme/controller.h"

#include <stdio.h>
#include <string.h>

#define ERROR_LOG_BYTES	    64
#define SMART_LOG_BYTES	    512
#define FIRMWARE_LOG_BYTES  512
#define LOG_MAX_BYTES	    4096
#define SMART_TEMPERATURE_K 313
#define SMART_SPARE_PERCENT 100

/* Copies what of [pos, pos + length) of the page lies in the part that was asked for. */
static void put_part(const struct request *r, uint64_t pos, const void *src, uint64_t length)
{
	const struct log_part *part = &r->u.log;
	uint64_t from = max_u64(pos, part->offset);
	uint64_t to = min_u64(pos + length, part->offset + part->length);

	if (from < to)
		memcpy(r->bounce.data + (from - part->offset), (const uint8_t *)src + (from - pos),
		       to - from);
}

/* ---- standard pages and the change log -------------------------------------------------------- */

/*
 * Reported as zeros for now: no error was logged, nothing was counted. Spare and temperature are
 * what keeps a host from warning of a device that has neither.
 */
static uint32_t smart_log(uint8_t *log)
{
	log[1] = SMART_TEMPERATURE_K & 0xff;
	log[2] = SMART_TEMPERATURE_K >> 8;
	log[3] = SMART_SPARE_PERCENT;
	return SMART_LOG_BYTES;
}

static uint32_t firmware_log(const struct request *r, uint8_t *log)
{
	char *revision = (char *)log + 8;

	log[0] = 1; /* slot 1 is active */
	memset(revision, ' ', 8);
	memcpy(revision, r->queue->q.target->env.version,
	       strnlen(r->queue->q.target->env.version, 8));
	return FIRMWARE_LOG_BYTES;
}

static void fill_page(struct request *r)
{
	struct controller *c = r->queue->controller;
	const struct log_part *part = &r->u.log;
	uint8_t log[LOG_MAX_BYTES] = {0};
	uint32_t bytes;

	switch (part->page) {
	case NVME_LOG_ERROR:
		bytes = ERROR_LOG_BYTES;
		break;
	case NVME_LOG_SMART:
		bytes = smart_log(log);
		break;
	case NVME_LOG_FIRMWARE:
		bytes = firmware_log(r, log);
		break;
	case NVME_LOG_CHANGED_NS:
		bytes = event_changed_ns_log(c, log, !part->retain);
		break;
	default:
		assert(part->page == LH_LOG_RECALLS);
		bytes = event_change_log(c, log);
		break;
	}
	if (part->offset > bytes) {
		request_complete(r, NVME_SC_INVALID_FIELD | NVME_SC_DNR);
		return;
	}
	put_part(r, 0, log, bytes);
	request_complete(r, NVME_SC_SUCCESS);
	if (!part->retain)
		event_log_read(c, part->page);
}

/* ---- the exports (control) -------------------------------------------------------------------- */

static enum lh_export_state export_state(const struct holding_status *status, bool served)
{
	switch (status->state) {
	case HOLDING_SERVING:
		return LH_EXPORT_SERVING;
	case HOLDING_RECALLING:
		return LH_EXPORT_RECALLING;
	case HOLDING_STARTING:
	case HOLDING_RELEASED:
		return served ? LH_EXPORT_REACQUIRING : LH_EXPORT_OFFLINE;
	case HOLDING_OFFLINE:
		break;
	}
	return LH_EXPORT_OFFLINE;
}

static void export_entry(const struct ns_home *home, unsigned int device,
			 struct lh_export_entry *entry)
{
	const struct export *e = holding_export(home->holding);
	struct holding_status status;

	holding_status(home->holding, &status);
	*entry = (struct lh_export_entry){
		.nsid = htole32(holding_nsid(home->holding)),
		.state = (uint8_t)export_state(&status, home->announced_bytes > 0),
		.rung = (uint8_t)status.probes[device].rung,
		.generation = htole32(status.generation),
		.lba_bytes = htole32(holding_config(home->holding)->export.lba_bytes),
		.size_bytes = htole64(status.size_bytes),
		.backed_bytes = htole64(status.backed_bytes),
	};
	(void)snprintf(entry->name, sizeof(entry->name), "%s", holding_name(home->holding));
	if (!e)
		return;
	entry->durability = (uint8_t)export_durability(e);
	entry->flags = (uint8_t)((export_read_only(e) ? LH_EXPORT_READ_ONLY : 0) |
				 (export_volatile_cache(e) ? LH_EXPORT_VOLATILE : 0) |
				 (export_medium(e) == EXPORT_DAX ? LH_EXPORT_DAX : 0));
	memcpy(entry->uuid, export_identity(e)->uuid, sizeof(entry->uuid));
}

static void exports_on_control(struct request *r)
{
	const struct nvme_target *t = r->queue->q.target;
	const struct nvme_subsystem *s = r->queue->controller->subsystem;
	struct lh_export_log head = {
		.change_count = htole64(t->change_count),
		.entry_bytes = htole32(sizeof(struct lh_export_entry)),
	};
	uint64_t pos = sizeof(head);
	uint32_t count = 0;

	for (unsigned int i = 0; i < t->nr_homes; i++) {
		struct lh_export_entry entry;

		if (t->homes[i].subsystem != s)
			continue;
		export_entry(&t->homes[i], r->queue->q.device, &entry);
		put_part(r, pos, &entry, sizeof(entry));
		pos += sizeof(entry);
		count++;
	}
	head.count = htole32(count);
	put_part(r, 0, &head, sizeof(head));
	r->status = r->u.log.offset <= pos ? NVME_SC_SUCCESS : NVME_SC_INVALID_FIELD | NVME_SC_DNR;
	request_from_control(r);
}

static void exports_back(struct request *r)
{
	request_complete(r, r->status);
}

static void fill_exports(struct request *r)
{
	r->queue->controller->a.direct_aware = true;
	request_on_control(r, exports_on_control, exports_back);
}

/* ---- the command ------------------------------------------------------------------------------ */

void log_page_execute(struct request *r)
{
	uint16_t status = log_part_parse(request_sqe(r), &r->command, &r->u.log);

	if (status) {
		request_complete(r, status);
		return;
	}
	switch (r->u.log.page) {
	case NVME_LOG_ERROR:
	case NVME_LOG_SMART:
	case NVME_LOG_FIRMWARE:
	case NVME_LOG_CHANGED_NS:
	case LH_LOG_RECALLS:
		admin_reply(r, r->u.log.length, fill_page);
		break;
	case LH_LOG_EXPORTS:
		admin_reply(r, r->u.log.length, fill_exports);
		break;
	default:
		request_complete(r, NVME_SC_INVALID_LOG_PAGE | NVME_SC_DNR);
		break;
	}
}
