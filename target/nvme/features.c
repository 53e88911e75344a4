// SPDX-License-Identifier: BSD-3-Clause
/*
 * Set and Get Features (NVMe base 2.0 §5.27, §5.15). The admin queue's reactor; the keep-alive timer
 * and the list of queues are control's. Nothing is saveable: a controller lasts as long as its
 * association. A feature that is not in the table is refused; over fabrics that is so for interrupts.
 */
#include "nvme/resv.h"

#include <string.h>

#define FEATURE_SAVE	      (1u << 31)
#define FEATURE_SELECT(cdw10) ((cdw10) >> 8 & 7)
#define SELECT_CURRENT	      0
#define SELECT_DEFAULT	      1
#define SELECT_SAVED	      2
#define SELECT_SUPPORTED      3
#define CAP_PER_NAMESPACE     2
#define CAP_CHANGEABLE	      4

/* Log page 12h: supported, changes only the controller itself, scope. */
#define EFFECT_SUPPORTED  (1u << 0)
#define EFFECT_SCOPE_NS	  (1u << 20)
#define EFFECT_SCOPE_CTRL (1u << 21)

#define ARBITRATION_NO_LIMIT	  7u
#define POWER_STATE_MASK	  0x1fu
#define RECOVERY_DULBE		  (1u << 16)
#define TEMPERATURE_SELECT(cdw11) ((cdw11) >> 16 & 15)
#define TEMPERATURE_UNDER(cdw11)  ((cdw11) >> 20 & 3)
#define TEMPERATURE_ALL		  15
#define HOST_ID_EXTENDED	  1u
#define HOST_ID_BYTES		  16
#define BEHAVIOUR_BYTES		  512
#define RESV_NOTICES		  0x0eu /* that there are: 1 << enum nvme_resv_notice */
#define KEEP_ALIVE_UNIT_MS	  100u	/* Identify Controller's KAS */

/* Where fields of the command lie, for the error log. */
#define BYTE_FEATURE	 40
#define BYTE_SELECT	 41
#define BYTE_SAVE	 43
#define BYTE_CDW11	 44
#define BYTE_ENDURANCE	 45
#define BIT_ENDURANCE	 6
#define BYTE_NCQR	 46
#define BYTE_DULBE	 46
#define BYTE_TEMPERATURE 46
#define BIT_UNDER	 4

struct feature {
	uint8_t id;
	uint8_t caps;
	uint16_t data_bytes; /* that Get Features brings; else a dword */
	/** Returns an NVMe status, without DNR; NULL: it answers r by itself with `execute`. */
	uint16_t (*set)(struct request *r, uint32_t cdw11);
	void (*execute)(struct request *r, uint32_t cdw11);
	/** What it is, or what it is at first. */
	uint16_t (*get)(struct request *r, bool initial, uint32_t *value);
};

static struct controller_features *features_of(const struct request *r)
{
	return &r->queue->controller->a.features;
}

/* The status of a set or get, with the place of the field. */
static uint16_t invalid_at(struct request *r, unsigned int byte, unsigned int bit)
{
	r->fault = (uint16_t)((bit << 8 | byte) + 1);
	return NVME_SC_INVALID_FIELD;
}

static uint32_t max_queues(const struct nvme_target *t)
{
	uint32_t n = t->env.limits.max_io_queues - 1;

	return n | n << 16;
}

void features_reset(struct controller *c)
{
	c->a.features = (struct controller_features){
		.arbitration = ARBITRATION_NO_LIMIT,
		.queues = max_queues(c->target),
		.over_k = CONTROLLER_WARNING_K,
	};
	event_thresholds_changed(c);
}

/* ---- numbers that are kept -------------------------------------------------------------------- */

static uint16_t set_arbitration(struct request *r, uint32_t cdw11)
{
	features_of(r)->arbitration = cdw11;
	return NVME_SC_SUCCESS;
}

static uint16_t get_arbitration(struct request *r, bool initial, uint32_t *value)
{
	*value = initial ? ARBITRATION_NO_LIMIT : features_of(r)->arbitration;
	return NVME_SC_SUCCESS;
}

/* There is one power state. */
static uint16_t set_power(struct request *r, uint32_t cdw11)
{
	if (cdw11 & POWER_STATE_MASK)
		return NVME_SC_INVALID_FIELD;
	features_of(r)->power = cdw11;
	return NVME_SC_SUCCESS;
}

static uint16_t get_power(struct request *r, bool initial, uint32_t *value)
{
	*value = initial ? 0 : features_of(r)->power;
	return NVME_SC_SUCCESS;
}

static uint16_t set_temperature(struct request *r, uint32_t cdw11)
{
	unsigned int sensor = TEMPERATURE_SELECT(cdw11), under = TEMPERATURE_UNDER(cdw11);

	/* The composite temperature is all there is. */
	if (sensor != 0 && sensor != TEMPERATURE_ALL)
		return invalid_at(r, BYTE_TEMPERATURE, 0);
	if (under > 1)
		return invalid_at(r, BYTE_TEMPERATURE, BIT_UNDER);
	if (under)
		features_of(r)->under_k = (uint16_t)cdw11;
	else
		features_of(r)->over_k = (uint16_t)cdw11;
	event_thresholds_changed(r->queue->controller);
	return NVME_SC_SUCCESS;
}

static uint16_t get_temperature(struct request *r, bool initial, uint32_t *value)
{
	uint32_t cdw11 = le32toh(request_sqe(r)->cdw11);
	bool under = TEMPERATURE_UNDER(cdw11) == 1;

	if (TEMPERATURE_SELECT(cdw11) != 0)
		return invalid_at(r, BYTE_TEMPERATURE, 0);
	if (TEMPERATURE_UNDER(cdw11) > 1)
		return invalid_at(r, BYTE_TEMPERATURE, BIT_UNDER);
	if (initial)
		*value = under ? 0 : CONTROLLER_WARNING_K;
	else
		*value = under ? features_of(r)->under_k : features_of(r)->over_k;
	return NVME_SC_SUCCESS;
}

static uint16_t set_atomicity(struct request *r, uint32_t cdw11)
{
	/* Atomic is what fits one command, wished for or not. */
	features_of(r)->atomicity = cdw11 & 1;
	return NVME_SC_SUCCESS;
}

static uint16_t get_atomicity(struct request *r, bool initial, uint32_t *value)
{
	*value = initial ? 0 : features_of(r)->atomicity;
	return NVME_SC_SUCCESS;
}

/*
 * Notices that there are not here are not turned on, and reading tells so; the standard has but one of
 * them refused, and some hosts ask for more than Identify offers.
 */
static uint16_t set_async_event(struct request *r, uint32_t cdw11)
{
	struct controller *c = r->queue->controller;
	uint32_t known = c->subsystem->discovery
				 ? NVME_AEN_CFG_DISCOVERY
				 : NVME_AEN_CFG_WARNINGS | NVME_AEN_CFG_NS_ATTR | NVME_AEN_CFG_ANA;

	/* There are no endurance groups (NVMe base 2.0 §5.27.1.8). */
	if (cdw11 & NVME_AEN_CFG_ENDURANCE)
		return invalid_at(r, BYTE_ENDURANCE, BIT_ENDURANCE);
	event_configure(c, cdw11 & known);
	return NVME_SC_SUCCESS;
}

static uint16_t get_async_event(struct request *r, bool initial, uint32_t *value)
{
	*value = initial ? 0 : r->queue->controller->a.async_config;
	return NVME_SC_SUCCESS;
}

/* NVM alone, or as the host may call it: combination 0. */
static uint16_t set_profile(struct request *r, uint32_t cdw11)
{
	(void)r;
	return cdw11 & 0x1ff ? NVME_SC_COMMAND_SETS_REJECTED : NVME_SC_SUCCESS;
}

static uint16_t get_profile(struct request *r, bool initial, uint32_t *value)
{
	(void)r;
	(void)initial;
	*value = 0;
	return NVME_SC_SUCCESS;
}

/* ---- per namespace ---------------------------------------------------------------------------- */

static unsigned int slot_of(const struct request *r)
{
	return ns_slot(r->queue->q.nr, r->queue->controller->subsystem, r->command.nsid);
}

/* Nothing is retried here that a limit could cut short; the number is kept for the host. */
static uint16_t set_recovery(struct request *r, uint32_t cdw11)
{
	unsigned int slot = slot_of(r);

	/* NSFEAT says that blocks without storage read as zeros, not as errors. */
	if (cdw11 & RECOVERY_DULBE)
		return invalid_at(r, BYTE_DULBE, 0);
	if (r->command.nsid == NVME_NSID_ALL) {
		for (unsigned int i = 0; i < NVME_MAX_NAMESPACES; i++)
			features_of(r)->recovery[i] = (uint16_t)cdw11;
		return NVME_SC_SUCCESS;
	}
	if (slot == NVME_MAX_NAMESPACES)
		return NVME_SC_INVALID_NS;
	features_of(r)->recovery[slot] = (uint16_t)cdw11;
	return NVME_SC_SUCCESS;
}

static uint16_t get_recovery(struct request *r, bool initial, uint32_t *value)
{
	unsigned int slot = slot_of(r);

	if (slot == NVME_MAX_NAMESPACES)
		return NVME_SC_INVALID_NS;
	*value = initial ? 0 : features_of(r)->recovery[slot];
	return NVME_SC_SUCCESS;
}

/* ---- reservations ------------------------------------------------------------------------------ */

static uint16_t set_notice_mask(struct request *r, uint32_t cdw11)
{
	unsigned int slot = slot_of(r);

	if (r->command.nsid == NVME_NSID_ALL) {
		memset(features_of(r)->resv_mask, (int)(cdw11 & RESV_NOTICES),
		       sizeof(features_of(r)->resv_mask));
		return NVME_SC_SUCCESS;
	}
	if (slot == NVME_MAX_NAMESPACES)
		return NVME_SC_INVALID_NS;
	features_of(r)->resv_mask[slot] = (uint8_t)(cdw11 & RESV_NOTICES);
	return NVME_SC_SUCCESS;
}

static uint16_t get_notice_mask(struct request *r, bool initial, uint32_t *value)
{
	unsigned int slot = slot_of(r);

	if (slot == NVME_MAX_NAMESPACES)
		return NVME_SC_INVALID_NS;
	*value = initial ? 0 : features_of(r)->resv_mask[slot];
	return NVME_SC_SUCCESS;
}

/* The namespace's, for all hosts. */
static uint16_t get_persist(struct request *r, bool initial, uint32_t *value)
{
	unsigned int slot = slot_of(r);

	if (slot == NVME_MAX_NAMESPACES)
		return NVME_SC_INVALID_NS;
	*value = !initial && resv_persists(r->queue->q.target->homes[slot].resv);
	return NVME_SC_SUCCESS;
}

static void set_persist(struct request *r, uint32_t cdw11)
{
	if (r->command.nsid != NVME_NSID_ALL && slot_of(r) == NVME_MAX_NAMESPACES)
		request_refuse(r, NVME_SC_INVALID_NS, offsetof(struct nvme_command, nsid), 0);
	else
		resv_persist_execute(r, cdw11);
}

/* ---- the volatile write cache ----------------------------------------------------------------- */

/* The page cache cannot be turned off, and DAX has none. */
static uint16_t set_cache(struct request *r, uint32_t cdw11)
{
	if (!controller_volatile_cache(r->queue))
		return NVME_SC_INVALID_FIELD;
	return cdw11 & 1 ? NVME_SC_SUCCESS : NVME_SC_FEATURE_NOT_CHANGEABLE;
}

static uint16_t get_cache(struct request *r, bool initial, uint32_t *value)
{
	(void)initial;
	if (!controller_volatile_cache(r->queue))
		return NVME_SC_INVALID_FIELD;
	*value = 1;
	return NVME_SC_SUCCESS;
}

/* ---- queues ----------------------------------------------------------------------------------- */

static void queues_on_control(struct request *r)
{
	struct controller *c = r->queue->owner;

	r->status = c && controller_has_io_queues(c) ? NVME_SC_COMMAND_SEQUENCE | NVME_SC_DNR
						     : NVME_SC_SUCCESS;
	if (c && !r->status)
		c->max_qid = (r->u.queues & 0xffff) + 1;
	request_from_control(r);
}

static void queues_back(struct request *r)
{
	if (!r->status)
		r->dw0 = features_of(r)->queues = r->u.queues;
	request_complete(r, r->status);
}

static void set_queues(struct request *r, uint32_t asked)
{
	uint32_t n = (uint32_t)min_u64(asked & 0xffff, asked >> 16);

	if ((asked & 0xffff) == 0xffff || asked >> 16 == 0xffff) {
		request_refuse(r, NVME_SC_INVALID_FIELD,
			       (asked & 0xffff) == 0xffff ? BYTE_CDW11 : BYTE_NCQR, 0);
		return;
	}
	/* Both 0's based; one number for both, since each queue is a pair. */
	n = (uint32_t)min_u64(n, r->queue->q.target->env.limits.max_io_queues - 1);
	r->u.queues = n | n << 16;
	/* Only before the first I/O queue (NVMe base 2.0 §5.27.1.5). */
	request_on_control(r, queues_on_control, queues_back);
}

static uint16_t get_queues(struct request *r, bool initial, uint32_t *value)
{
	*value = initial ? max_queues(r->queue->q.target) : features_of(r)->queues;
	return NVME_SC_SUCCESS;
}

/* ---- keep alive ------------------------------------------------------------------------------- */

uint32_t keep_alive_round(uint32_t kato_ms)
{
	uint32_t units = kato_ms / KEEP_ALIVE_UNIT_MS;

	if (kato_ms % KEEP_ALIVE_UNIT_MS && units < UINT32_MAX / KEEP_ALIVE_UNIT_MS)
		units++;
	return units * KEEP_ALIVE_UNIT_MS;
}

static void kato_on_control(struct request *r)
{
	if (r->queue->owner)
		controller_set_kato(r->queue->owner, r->u.kato_ms);
	request_from_control(r);
}

static void kato_back(struct request *r)
{
	r->queue->controller->a.kato_ms = r->u.kato_ms;
	request_complete(r, NVME_SC_SUCCESS);
}

static void set_keep_alive(struct request *r, uint32_t cdw11)
{
	r->u.kato_ms = keep_alive_round(cdw11);
	request_on_control(r, kato_on_control, kato_back);
}

static uint16_t get_keep_alive(struct request *r, bool initial, uint32_t *value)
{
	*value = initial ? 0 : r->queue->controller->a.kato_ms;
	return NVME_SC_SUCCESS;
}

/* ---- with data -------------------------------------------------------------------------------- */

static void behaviour_here(struct request *r)
{
	/* Retries with a delay; telemetry of area 4; LBA formats beyond 16, which CTRATT does not promise. */
	static const uint8_t most[sizeof(features_of(r)->behaviour)] = {1, 1, 0};
	const uint8_t *data = request_data(r);
	struct controller_features *f = features_of(r);

	for (size_t i = 0; i < sizeof(f->behaviour); i++) {
		if (data[i] > most[i]) {
			request_complete(r, NVME_SC_INVALID_FIELD | NVME_SC_DNR);
			return;
		}
	}
	memcpy(f->behaviour, data, sizeof(f->behaviour));
	request_complete(r, NVME_SC_SUCCESS);
}

static void set_behaviour(struct request *r, uint32_t cdw11)
{
	(void)cdw11;
	if (r->command.data == COMMAND_NO_DATA || r->command.length != BEHAVIOUR_BYTES)
		request_complete(r, NVME_SC_SGL_INVALID_DATA | NVME_SC_DNR);
	else
		request_take_data(r, behaviour_here);
}

static bool wants_current(const struct request *r)
{
	return FEATURE_SELECT(le32toh(request_sqe(r)->cdw10)) == SELECT_CURRENT;
}

static void fill_behaviour(struct request *r)
{
	if (wants_current(r))
		memcpy(r->bounce.data, features_of(r)->behaviour,
		       sizeof(features_of(r)->behaviour));
	request_complete(r, NVME_SC_SUCCESS);
}

static uint16_t get_behaviour(struct request *r, bool initial, uint32_t *value)
{
	(void)initial;
	(void)value;
	admin_reply(r, BEHAVIOUR_BYTES, fill_behaviour);
	return NVME_SC_SUCCESS;
}

/* It came with Connect, and stays (NVMe base 2.0 §5.27.1.25). */
static uint16_t set_host_id(struct request *r, uint32_t cdw11)
{
	(void)r;
	(void)cdw11;
	return NVME_SC_COMMAND_SEQUENCE;
}

static void fill_host_id(struct request *r)
{
	if (wants_current(r))
		memcpy(r->bounce.data, r->queue->controller->hostid, HOST_ID_BYTES);
	request_complete(r, NVME_SC_SUCCESS);
}

static uint16_t get_host_id(struct request *r, bool initial, uint32_t *value)
{
	(void)initial;
	(void)value;
	/* Over fabrics all are of 128 bits. */
	if (!(le32toh(request_sqe(r)->cdw11) & HOST_ID_EXTENDED))
		return NVME_SC_INVALID_FIELD;
	admin_reply(r, HOST_ID_BYTES, fill_host_id);
	return NVME_SC_SUCCESS;
}

/* ---- the commands ----------------------------------------------------------------------------- */

static const struct feature features[] = {
	{NVME_FEAT_ARBITRATION, CAP_CHANGEABLE, 0, set_arbitration, NULL, get_arbitration},
	{NVME_FEAT_POWER, CAP_CHANGEABLE, 0, set_power, NULL, get_power},
	{NVME_FEAT_TEMPERATURE, CAP_CHANGEABLE, 0, set_temperature, NULL, get_temperature},
	{NVME_FEAT_ERROR_RECOVERY, CAP_CHANGEABLE | CAP_PER_NAMESPACE, 0, set_recovery, NULL,
	 get_recovery},
	{NVME_FEAT_VOLATILE_WRITE_CACHE, 0, 0, set_cache, NULL, get_cache},
	{NVME_FEAT_QUEUES, CAP_CHANGEABLE, 0, NULL, set_queues, get_queues},
	{NVME_FEAT_WRITE_ATOMICITY, CAP_CHANGEABLE, 0, set_atomicity, NULL, get_atomicity},
	{NVME_FEAT_ASYNC_EVENT, CAP_CHANGEABLE, 0, set_async_event, NULL, get_async_event},
	{NVME_FEAT_KEEP_ALIVE, CAP_CHANGEABLE, 0, NULL, set_keep_alive, get_keep_alive},
	{NVME_FEAT_HOST_BEHAVIOUR, CAP_CHANGEABLE, BEHAVIOUR_BYTES, NULL, set_behaviour,
	 get_behaviour},
	{NVME_FEAT_COMMAND_SET_PROFILE, 0, 0, set_profile, NULL, get_profile},
	{NVME_FEAT_HOST_ID, 0, HOST_ID_BYTES, set_host_id, NULL, get_host_id},
	{NVME_FEAT_RESV_NOTICE_MASK, CAP_CHANGEABLE | CAP_PER_NAMESPACE, 0, set_notice_mask, NULL,
	 get_notice_mask},
	{NVME_FEAT_RESV_PERSIST, CAP_CHANGEABLE | CAP_PER_NAMESPACE, 0, NULL, set_persist,
	 get_persist},
};

static const struct feature *find_feature(uint32_t id)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		if (features[i].id == id)
			return &features[i];
	}
	return NULL;
}

static uint16_t namespace_path(const struct request *r, uint32_t nsid)
{
	const struct controller *c = r->queue->controller;
	const struct ns_use *use;
	unsigned int slot;

	use = ns_find(r->queue->q.nr, c->subsystem, nsid, &slot);
	return use ? ana_status(&c->listener->ana, use->ana_group) : NVME_SC_SUCCESS;
}

/*
 * What belongs to a namespace is as far away as the namespace; what is set for all of them, as the
 * farthest.
 */
static uint16_t path_status(const struct request *r, const struct feature *f)
{
	const struct nvme_subsystem *s = r->queue->controller->subsystem;
	uint16_t status = NVME_SC_SUCCESS;

	if (!(f->caps & CAP_PER_NAMESPACE))
		return NVME_SC_SUCCESS;
	if (r->command.nsid != NVME_NSID_ALL)
		return namespace_path(r, r->command.nsid);
	for (uint32_t nsid = 1; nsid <= s->max_nsid && !status; nsid++)
		status = namespace_path(r, nsid);
	return status;
}

/* The field that is wrong: where the feature's own function says, or where it is for most. */
static void refuse(struct request *r, uint16_t status)
{
	if ((status == NVME_SC_INVALID_FIELD || status == NVME_SC_COMMAND_SETS_REJECTED) &&
	    !r->fault)
		r->fault = 1 + BYTE_CDW11;
	request_complete(r, status | NVME_SC_DNR);
}

void set_features_execute(struct request *r)
{
	const struct nvme_command *sqe = request_sqe(r);
	uint32_t cdw10 = le32toh(sqe->cdw10), cdw11 = le32toh(sqe->cdw11);
	const struct feature *f = find_feature(cdw10 & 0xff);
	uint16_t status;

	if (!f) {
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_FEATURE, 0);
		return;
	}
	if (cdw10 & FEATURE_SAVE) {
		request_refuse(r, NVME_SC_FEATURE_NOT_SAVEABLE, BYTE_SAVE, 7);
		return;
	}
	if (!(f->caps & CAP_PER_NAMESPACE) && r->command.nsid != 0 &&
	    r->command.nsid != NVME_NSID_ALL) {
		request_refuse(r, NVME_SC_FEATURE_NOT_NS_SPECIFIC,
			       offsetof(struct nvme_command, nsid), 0);
		return;
	}
	status = path_status(r, f);
	if (status) {
		request_complete(r, status);
		return;
	}
	if (f->execute) {
		f->execute(r, cdw11);
		return;
	}
	status = f->set(r, cdw11);
	if (status)
		refuse(r, status);
	else
		request_complete(r, NVME_SC_SUCCESS);
}

void get_features_execute(struct request *r)
{
	uint32_t cdw10 = le32toh(request_sqe(r)->cdw10);
	const struct feature *f = find_feature(cdw10 & 0xff);
	uint32_t select = FEATURE_SELECT(cdw10), value = 0;
	uint16_t status;

	if (!f) {
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_FEATURE, 0);
		return;
	}
	if (select > SELECT_SUPPORTED) {
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_SELECT, 0);
		return;
	}
	if (select == SELECT_SUPPORTED) {
		r->dw0 = f->caps;
		request_complete(r, NVME_SC_SUCCESS);
		return;
	}
	status = path_status(r, f);
	if (status) {
		request_complete(r, status);
		return;
	}
	/* What cannot be saved has its default there. */
	status = f->get(r, select != SELECT_CURRENT, &value);
	if (status) {
		refuse(r, status);
	} else if (!f->data_bytes) {
		r->dw0 = value;
		request_complete(r, NVME_SC_SUCCESS);
	}
}

void features_effects(le32 *log)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		log[features[i].id] =
			htole32(EFFECT_SUPPORTED |
				(features[i].caps & CAP_PER_NAMESPACE ? EFFECT_SCOPE_NS
								      : EFFECT_SCOPE_CTRL));
}
