// SPDX-License-Identifier: BSD-3-Clause
/* Identify: what we are, truthfully. The admin queue's reactor. */
#include "nvme/io.h"

#include <stdio.h>
#include <string.h>

#define IDENTIFY_BYTES 4096

/* Identify Controller (NVMe base 2.0 figure 275). */
#define CMIC_MULTI_PORT		  0x01
#define CMIC_MULTI_CONTROLLER	  0x02
#define OAES_NS_ATTR		  (1u << 8)
#define CTRATT_HOSTID_128	  (1u << 0)
#define CTRATT_TRAFFIC_KEEP_ALIVE (1u << 6)
#define LPA_EFFECTS		  0x02
#define LPA_EXTENDED_DATA	  0x04
#define ONCS_SAVE_AND_SELECT	  0x0010
#define FRMW_ONE_SLOT_READ_ONLY	  0x03
#define KAS_100MS		  1
#define SQES_64			  0x66
#define CQES_16			  0x44
#define VWC_PRESENT		  0x01
#define VWC_NO_BROADCAST	  0x04
#define SGLS_SUPPORTED		  0x00000001u
#define SGLS_KEYED		  0x00000004u
#define SGLS_ADDRESS_OFFSET	  0x00100000u

/* Identify Namespace. */
#define NMIC_SHARED	       0x01
#define NSATTR_WRITE_PROTECTED 0x01
#define NSTAT_READY	       0x01

/* Where fields of the command lie, for the error log. */
#define BYTE_CNS   40
#define BYTE_CNTID 42
#define BYTE_CSI   47

enum nidt {
	NIDT_NGUID = 2,
	NIDT_UUID = 3,
	NIDT_CSI = 4,
};

/* Text fields are padded with spaces and have no NUL. */
static void put_text(char *field, size_t size, const char *text)
{
	size_t length = strnlen(text, size);

	memset(field, ' ', size);
	memcpy(field, text, length);
}

uint8_t controller_mdts(const struct nvme_target *t)
{
	uint8_t mdts = 0;

	while ((KIB(4) << (mdts + 1)) <= t->env.limits.mdts_bytes)
		mdts++;
	return mdts;
}

bool controller_volatile_cache(struct nvme_queue *nq)
{
	const struct nvme_subsystem *s = nq->controller->subsystem;
	unsigned int slot;

	for (uint32_t nsid = 1; nsid <= s->max_nsid; nsid++) {
		const struct ns_use *use = ns_find(nq->q.nr, s, nsid, &slot);

		if (use && use->serving && export_volatile_cache(use->serving->view->export))
			return true;
	}
	return false;
}

static void fill_ours(const struct nvme_target *t, struct lh_identify *ours)
{
	const struct holding_env *h = t->env.holdings;

	memcpy(ours->magic, LH_MAGIC, sizeof(ours->magic));
	ours->version = htole16(LH_PROTOCOL_VERSION);
	ours->capabilities = htole32(LH_CAP_DIRECT | LH_CAP_ALLOCATE | LH_CAP_COMMIT | LH_CAP_PART |
				     LH_CAP_WATCH);
	ours->recall_deadline_ms = htole32(h->deadline_ms);
	ours->grant_expiry_ms = htole32(h->grant_expiry_ms);
	ours->max_grants = htole32(h->max_grants_per_client);
	ours->max_commit_ranges = htole32(LH_COMMIT_MAX_RANGES);
	ours->max_grant_bytes = htole64(LH_ACQUIRE_MAX_GRANTS * GRANT_KEY_BYTES);
}

static void fill_controller(struct request *r)
{
	const struct controller *c = r->queue->controller;
	const struct nvme_subsystem *s = c->subsystem;
	const struct nvme_target *t = c->target;
	const struct nvme_limits *limits = &t->env.limits;
	struct nvme_id_ctrl *id = (struct nvme_id_ctrl *)r->bounce.data;

	put_text(id->sn, sizeof(id->sn), s->serial);
	put_text(id->mn, sizeof(id->mn), "Leasehold");
	put_text(id->fr, sizeof(id->fr), t->env.version);
	id->cmic = CMIC_MULTI_PORT | CMIC_MULTI_CONTROLLER;
	id->mdts = controller_mdts(t);
	id->cntlid = htole16(c->cntlid);
	id->ver = htole32(NVME_VS_2_0);
	id->oaes = htole32(OAES_NS_ATTR);
	id->ctratt = htole32(CTRATT_HOSTID_128 | CTRATT_TRAFFIC_KEEP_ALIVE);
	id->cntrltype = NVME_CNTRLTYPE_IO;
	id->acl = NVME_ABORT_LIMIT - 1;
	id->aerl = NVME_AER_LIMIT - 1;
	id->frmw = FRMW_ONE_SLOT_READ_ONLY;
	/*
	 * Bit 5 is not only pages 00h and 12h, which are there: it would promise the scope of every
	 * command in page 05h, and page 13h for NVMe-MI, of which there is nothing.
	 */
	id->lpa = LPA_EFFECTS | LPA_EXTENDED_DATA;
	id->elpe = ERROR_LOG_ENTRIES - 1;
	id->oncs = htole16(ONCS_SAVE_AND_SELECT);
	id->wctemp = htole16(CONTROLLER_WARNING_K);
	id->cctemp = htole16(CONTROLLER_CRITICAL_K);
	id->kas = htole16(KAS_100MS);
	id->sqes = SQES_64;
	id->cqes = CQES_16;
	id->maxcmd = htole16((uint16_t)limits->queue_depth);
	/* What could be: namespaces come while the controller lives. */
	id->nn = htole32(s->max_nsid);
	id->mnan = htole32(NVME_MAX_NAMESPACES);
	id->vwc = VWC_NO_BROADCAST;
	if (controller_volatile_cache(r->queue))
		id->vwc |= VWC_PRESENT;
	id->sgls = htole32(SGLS_SUPPORTED | SGLS_KEYED | SGLS_ADDRESS_OFFSET);
	(void)snprintf(id->subnqn, sizeof(id->subnqn), "%s", s->nqn);
	id->ioccsz =
		htole32((uint32_t)sizeof(struct nvme_command) / 16 + limits->inline_bytes / 16);
	id->iorcsz = htole32(sizeof(struct nvme_completion) / 16);
	id->icdoff = htole16(0);
	id->ofcs = htole16(NVMF_OFCS_DISCONNECT);
	io_identify_controller(t, id);
	ana_identify_controller(t, id);
	fill_ours(t, (struct lh_identify *)id->vendor);
	request_complete(r, NVME_SC_SUCCESS);
}

static uint8_t log2_of(uint32_t v)
{
	return (uint8_t)(31 - __builtin_clz(v));
}

/* What is served, or NULL with the status to answer in *status. */
static const struct ns_use *find_use(const struct request *r, uint16_t *status)
{
	const struct nvme_subsystem *s = r->queue->controller->subsystem;
	const struct ns_use *use;
	unsigned int slot;

	if (r->command.nsid == 0 || r->command.nsid > s->max_nsid) {
		*status = NVME_SC_INVALID_NS | NVME_SC_DNR;
		return NULL;
	}
	*status = NVME_SC_SUCCESS;
	use = ns_find(r->queue->q.nr, s, r->command.nsid, &slot);
	return use && use->serving ? use : NULL;
}

static const struct serving *find_serving(const struct request *r, uint16_t *status)
{
	const struct ns_use *use = find_use(r, status);

	return use ? use->serving : NULL;
}

static void fill_namespace(struct request *r)
{
	struct nvme_id_ns *id = (struct nvme_id_ns *)r->bounce.data;
	uint16_t status;
	const struct ns_use *use = find_use(r, &status);

	/* An inactive namespace is all zeros (NVMe base 2.0 §5.17.2.1). */
	if (use) {
		const struct serving *serving = use->serving;
		const struct view *view = serving->view;
		enum nvme_ana_state ana =
			ana_state(&r->queue->controller->listener->ana, use->ana_group);
		bool lost = ana == NVME_ANA_INACCESSIBLE || ana == NVME_ANA_PERSISTENT_LOSS;
		uint32_t lba = export_lba_bytes(view->export);

		id->nsze = id->ncap = htole64(view->size_bytes / lba);
		/* What is in use cannot be told by who has no access (NVMe base 2.0 §8.1). */
		if (!lost)
			id->nuse = id->nsze;
		id->anagrpid = htole32(use->ana_group);
		id->nmic = NMIC_SHARED;
		if (export_read_only(view->export))
			id->nsattr = NSATTR_WRITE_PROTECTED;
		memcpy(id->nguid, export_identity(view->export)->nguid, sizeof(id->nguid));
		id->lbaf[0].lbads = log2_of(lba);
		io_identify_namespace(r->queue->q.target, serving, id);
	}
	request_complete(r, status);
}

static void fill_active(struct request *r)
{
	const struct nvme_subsystem *s = r->queue->controller->subsystem;
	le32 *list = (le32 *)r->bounce.data;
	unsigned int n = 0;

	if (r->command.nsid >= NVME_NSID_ALL - 1) {
		request_complete(r, NVME_SC_INVALID_NS | NVME_SC_DNR);
		return;
	}
	for (uint64_t nsid = r->command.nsid + 1ull;
	     nsid <= s->max_nsid && n < IDENTIFY_BYTES / sizeof(*list); nsid++) {
		unsigned int slot;
		const struct ns_use *use = ns_find(r->queue->q.nr, s, (uint32_t)nsid, &slot);

		if (use && use->serving)
			list[n++] = htole32((uint32_t)nsid);
	}
	request_complete(r, NVME_SC_SUCCESS);
}

static uint8_t *put_descriptor(uint8_t *p, enum nidt type, const uint8_t *id, uint8_t length)
{
	struct nvme_ns_descriptor d = {.nidt = (uint8_t)type, .nidl = length};

	memcpy(p, &d, sizeof(d));
	memcpy(p + sizeof(d), id, length);
	return p + sizeof(d) + length;
}

static void fill_descriptors(struct request *r)
{
	uint16_t status;
	const struct serving *serving = find_serving(r, &status);

	if (serving) {
		const struct export_identity *id = export_identity(serving->view->export);
		static const uint8_t csi = NVME_CSI_NVM;
		uint8_t *p = r->bounce.data;

		p = put_descriptor(p, NIDT_NGUID, id->nguid, sizeof(id->nguid));
		p = put_descriptor(p, NIDT_UUID, id->uuid, sizeof(id->uuid));
		(void)put_descriptor(p, NIDT_CSI, &csi, sizeof(csi));
	} else if (!status) {
		status = NVME_SC_INVALID_NS | NVME_SC_DNR;
	}
	request_complete(r, status);
}

/* ---- by command set --------------------------------------------------------------------------- */

static void fill_independent(struct request *r)
{
	struct nvme_id_ns_independent *id = (struct nvme_id_ns_independent *)r->bounce.data;
	uint16_t status;
	const struct ns_use *use = find_use(r, &status);

	if (use) {
		id->nmic = NMIC_SHARED;
		id->rescap = io_rescap(use->serving);
		id->anagrpid = htole32(use->ana_group);
		if (export_read_only(use->serving->view->export))
			id->nsattr = NSATTR_WRITE_PROTECTED;
		id->nstat = NSTAT_READY;
	}
	request_complete(r, status);
}

/* No protection information, no metadata: the NVM command set has nothing to add. */
static void fill_nvm_namespace(struct request *r)
{
	uint16_t status;

	(void)find_serving(r, &status);
	request_complete(r, status);
}

/* No limits but MDTS. */
static void fill_nvm_controller(struct request *r)
{
	request_complete(r, NVME_SC_SUCCESS);
}

static void fill_command_sets(struct request *r)
{
	le64 *combinations = (le64 *)r->bounce.data;

	combinations[0] = htole64(1u << NVME_CSI_NVM);
	request_complete(r, NVME_SC_SUCCESS);
}

static void identify_command_sets(struct request *r, uint16_t cntid)
{
	if (cntid != NVME_CNTLID_DYNAMIC && cntid != r->queue->controller->cntlid)
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_CNTID, 0);
	else
		admin_reply(r, IDENTIFY_BYTES, fill_command_sets);
}

static void identify_nvm(struct request *r, void (*fill)(struct request *r))
{
	if (le32toh(request_sqe(r)->cdw11) >> 24 != NVME_CSI_NVM)
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_CSI, 0);
	else
		admin_reply(r, IDENTIFY_BYTES, fill);
}

/* ---- the command ------------------------------------------------------------------------------ */

void identify_execute(struct request *r)
{
	uint32_t cdw10 = le32toh(request_sqe(r)->cdw10);

	switch (cdw10 & 0xff) {
	case NVME_CNS_NS:
		admin_reply(r, IDENTIFY_BYTES, fill_namespace);
		break;
	case NVME_CNS_CONTROLLER:
		admin_reply(r, IDENTIFY_BYTES, fill_controller);
		break;
	case NVME_CNS_ACTIVE_NS:
		admin_reply(r, IDENTIFY_BYTES, fill_active);
		break;
	case NVME_CNS_NS_DESCRIPTORS:
		admin_reply(r, IDENTIFY_BYTES, fill_descriptors);
		break;
	case NVME_CNS_CS_NS:
		identify_nvm(r, fill_nvm_namespace);
		break;
	case NVME_CNS_CS_CONTROLLER:
		identify_nvm(r, fill_nvm_controller);
		break;
	case NVME_CNS_CS_ACTIVE_NS:
		identify_nvm(r, fill_active);
		break;
	case NVME_CNS_CS_INDEPENDENT_NS:
		admin_reply(r, IDENTIFY_BYTES, fill_independent);
		break;
	case NVME_CNS_COMMAND_SETS:
		identify_command_sets(r, (uint16_t)(cdw10 >> 16));
		break;
	default:
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_CNS, 0);
		break;
	}
}
