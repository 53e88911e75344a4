// SPDX-License-Identifier: BSD-3-Clause
/*
 * Get Log Page, in pieces as the host likes. Standard pages are made on the admin queue's reactor;
 * the list of exports needs what only control knows and is made there.
 */
#include "nvme/io.h"
#include "nvme/resv.h"
#include "util/text.h"

#include <stdio.h>
#include <string.h>

#define FIRMWARE_LOG_BYTES 512
#define LOG_MAX_BYTES	   4096
#define LOG_IDS		   256

#define LOG_PAGE_SUPPORTED (1u << 0)

/* Commands supported and effects (NVMe base 2.0 figure 211). */
#define EFFECT_SUPPORTED (1u << 0)
#define EFFECT_CONTENT	 (1u << 1)

#define CDW14_INDEX	 (1u << 23) /* the offset counts entries */
#define CDW14_CSI(cdw14) ((cdw14) >> 24)
#define BYTE_INDEX	 58
#define BYTE_CSI	 59
#define BYTE_OFFSET	 48

static const uint8_t log_pages[] = {
	NVME_LOG_SUPPORTED,  NVME_LOG_ERROR,   NVME_LOG_SMART,	     NVME_LOG_FIRMWARE,
	NVME_LOG_CHANGED_NS, NVME_LOG_EFFECTS, LH_LOG_EXPORTS,	     NVME_LOG_FEATURE_EFFECTS,
	LH_LOG_RECALLS,	     NVME_LOG_ANA,     NVME_LOG_RESERVATION,
};

static const uint8_t admin_opcodes[] = {
	NVME_ADMIN_GET_LOG_PAGE, NVME_ADMIN_IDENTIFY,	  NVME_ADMIN_ABORT,
	NVME_ADMIN_SET_FEATURES, NVME_ADMIN_GET_FEATURES, NVME_ADMIN_ASYNC_EVENT,
	NVME_ADMIN_KEEP_ALIVE,	 LH_ADMIN_OPEN_DIRECT,	  LH_ADMIN_ACQUIRE,
	LH_ADMIN_RENEW,		 LH_ADMIN_RELEASE,	  LH_ADMIN_RELEASE_PART,
};

static void put_part(const struct request *r, uint64_t pos, const void *src, uint64_t length)
{
	log_part_put(&r->u.log, r->bounce.data, pos, src, length);
}

/* ---- standard pages and the change log -------------------------------------------------------- */

static uint32_t supported_log(le32 *log)
{
	for (size_t i = 0; i < ARRAY_SIZE(log_pages); i++)
		log[log_pages[i]] = htole32(LOG_PAGE_SUPPORTED);
	return LOG_IDS * sizeof(*log);
}

static uint32_t effects_log(le32 *log)
{
	le32 *io = log + LOG_IDS;
	bool writes;

	/* No scopes: LPA does not promise them, and Linux warns of those of I/O commands. */
	for (size_t i = 0; i < ARRAY_SIZE(admin_opcodes); i++)
		log[admin_opcodes[i]] = htole32(EFFECT_SUPPORTED);
	for (unsigned int opcode = 0; opcode < LOG_IDS; opcode++) {
		if (io_known((uint8_t)opcode, &writes))
			io[opcode] = htole32(EFFECT_SUPPORTED | (writes ? EFFECT_CONTENT : 0));
	}
	return LOG_MAX_BYTES;
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
	const struct log_part part = r->u.log; /* r may be another one's at the end */
	_Alignas(uint64_t) uint8_t log[LOG_MAX_BYTES] = {0};
	uint32_t bytes;

	switch (part.page) {
	case NVME_LOG_SUPPORTED:
		bytes = supported_log((le32 *)log);
		break;
	case NVME_LOG_ERROR:
		error_log_copy(&c->errors, (struct nvme_error_entry *)log);
		bytes = ERROR_LOG_ENTRIES * sizeof(struct nvme_error_entry);
		break;
	case NVME_LOG_EFFECTS:
		bytes = effects_log((le32 *)log);
		break;
	case NVME_LOG_FEATURE_EFFECTS:
		features_effects((le32 *)log);
		bytes = LOG_IDS * sizeof(le32);
		break;
	case NVME_LOG_FIRMWARE:
		bytes = firmware_log(r, log);
		break;
	case NVME_LOG_RESERVATION:
		bytes = resv_notice_log(c, log);
		break;
	case NVME_LOG_CHANGED_NS:
		bytes = event_changed_ns_log(c, log);
		break;
	default:
		assert(part.page == LH_LOG_RECALLS);
		/* Before it is read: what comes behind what is in it now is told. */
		if (part.specific & LH_LOG_WATCH) {
			c->a.direct_aware = true;
			atomic_store(&c->watching, true);
		}
		bytes = event_change_log(c, log);
		break;
	}
	if (part.offset > bytes) {
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_OFFSET, 0);
		return;
	}
	put_part(r, 0, log, bytes);
	request_complete(r, NVME_SC_SUCCESS);
	event_log_read(c, &part);
}

/* ---- SMART (control) ---------------------------------------------------------------------------- */

static void answer_back(struct request *r)
{
	request_complete(r, r->status);
}

/* The page has so many bytes: the part must not begin behind them. */
static void answer_part(struct request *r, uint64_t bytes)
{
	r->status = NVME_SC_SUCCESS;
	if (r->u.log.offset > bytes) {
		r->fault = 1 + BYTE_OFFSET;
		r->status = NVME_SC_INVALID_FIELD | NVME_SC_DNR;
	}
	request_from_control(r);
}

/* A worker has it: r->err is in kelvins, with the warning above. */
#define WARNING_SHIFT	    16
#define WARNING_TEMPERATURE (1 << 1)

static void smart_on_control(struct request *r)
{
	struct nvme_smart_log log = {0};

	health_smart(r->queue->controller, &log);
	log.warning = (uint8_t)(r->err >> WARNING_SHIFT);
	log.temperature_k[0] = (uint8_t)r->err;
	log.temperature_k[1] = (uint8_t)(r->err >> 8);
	put_part(r, 0, &log, sizeof(log));
	answer_part(r, sizeof(log));
}

static void smart_back(struct request *r)
{
	const uint16_t status = r->status;
	const struct log_part part = r->u.log;
	struct controller *c = r->queue->controller;

	answer_back(r);
	if (!status)
		event_log_read(c, &part);
}

static void measure(struct request *r)
{
	r->err = health_memory_temperature(HEALTH_SENSORS);
}

static void measured(struct request *r)
{
	const struct controller_features *f = &r->queue->controller->a.features;

	if (controller_is_hot(f, (uint16_t)r->err))
		r->err |= WARNING_TEMPERATURE << WARNING_SHIFT;
	request_on_control(r, smart_on_control, smart_back);
}

static void fill_smart(struct request *r)
{
	request_on_worker_long(r, measure, measured);
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
	text_shorten(entry->rung_why, sizeof(entry->rung_why), status.probes[device].why);
	if (!e)
		return;
	entry->durability = (uint8_t)holding_durability(home->holding, device);
	entry->flags = (uint8_t)((export_read_only(e) ? LH_EXPORT_READ_ONLY : 0) |
				 (export_volatile_cache(e) ? LH_EXPORT_VOLATILE : 0) |
				 (export_is_dax(e) ? LH_EXPORT_DAX : 0) |
				 (status.tail_bytes > 0 ? LH_EXPORT_TAIL : 0));
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

		if (!t->homes[i].holding || t->homes[i].subsystem != s || t->homes[i].detached)
			continue;
		export_entry(&t->homes[i], r->queue->q.device, &entry);
		put_part(r, pos, &entry, sizeof(entry));
		pos += sizeof(entry);
		count++;
	}
	head.count = htole32(count);
	put_part(r, 0, &head, sizeof(head));
	answer_part(r, pos);
}

static void fill_exports(struct request *r)
{
	r->queue->controller->a.direct_aware = true;
	request_on_control(r, exports_on_control, answer_back);
}

/* Pages of no namespace in particular; SMART has none for each (Identify Controller's LPA). */
static bool of_controller(uint8_t page)
{
	switch (page) {
	case NVME_LOG_SUPPORTED:
	case NVME_LOG_ERROR:
	case NVME_LOG_SMART:
	case NVME_LOG_FIRMWARE:
	case NVME_LOG_CHANGED_NS:
	case NVME_LOG_EFFECTS:
	case NVME_LOG_FEATURE_EFFECTS:
		return true;
	default:
		return false;
	}
}

/* ---- the command ------------------------------------------------------------------------------ */

void log_page_execute(struct request *r)
{
	uint32_t cdw14 = le32toh(request_sqe(r)->cdw14);
	uint32_t refused = log_part_parse(request_sqe(r), &r->command, &r->u.log);

	if (refused) {
		request_reject(r, refused);
		return;
	}
	if (cdw14 & CDW14_INDEX) {
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_INDEX, 7);
		return;
	}
	if (of_controller(r->u.log.page) && r->command.nsid != 0 &&
	    r->command.nsid != NVME_NSID_ALL) {
		request_refuse(r, NVME_SC_INVALID_FIELD, offsetof(struct nvme_command, nsid), 0);
		return;
	}
	switch (r->u.log.page) {
	case NVME_LOG_SMART:
		admin_reply(r, r->u.log.length, fill_smart);
		break;
	case NVME_LOG_EFFECTS:
		if (CDW14_CSI(cdw14) != NVME_CSI_NVM) {
			request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_CSI, 0);
			break;
		}
		admin_reply(r, r->u.log.length, fill_page);
		break;
	case NVME_LOG_SUPPORTED:
	case NVME_LOG_ERROR:
	case NVME_LOG_FIRMWARE:
	case NVME_LOG_CHANGED_NS:
	case NVME_LOG_FEATURE_EFFECTS:
	case NVME_LOG_RESERVATION:
	case LH_LOG_RECALLS:
		admin_reply(r, r->u.log.length, fill_page);
		break;
	case NVME_LOG_ANA:
		ana_log_execute(r);
		break;
	case LH_LOG_EXPORTS:
		admin_reply(r, r->u.log.length, fill_exports);
		break;
	default:
		request_complete(r, NVME_SC_INVALID_LOG_PAGE | NVME_SC_DNR);
		break;
	}
}
