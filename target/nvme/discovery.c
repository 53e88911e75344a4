// SPDX-License-Identifier: BSD-3-Clause
/*
 * Discovery controllers: what they answer and what they refuse (NVMe-oF 1.1 §5). Commands run on the
 * admin queue's reactor; the log is written on control, which knows listeners and subsystems.
 */
#include "nvme/discovery.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nvme/controller.h"

#define IDENTIFY_BYTES		  4096
#define CTRATT_HOSTID_128	  (1u << 0)
#define CTRATT_TRAFFIC_KEEP_ALIVE (1u << 6)
#define LPA_EXTENDED_DATA	  0x04
#define KAS_100MS		  1
#define SGLS_KEYED		  0x00100005u /* SGLs, keyed, with an offset in the capsule */

/* ---- changes (control) ------------------------------------------------------------------------ */

/*
 * Nothing is kept over a restart, and hosts that see the number they know do not look again: so it
 * begins with the time. In microseconds no number of changes since the last start catches up
 * with it, and it is exact as a number in JSON.
 */
void discovery_init(struct nvme_target *t)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	t->discovery_generation =
		((uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec) / NS_PER_US;
}

void discovery_changed(struct nvme_target *t)
{
	t->discovery_generation++;
	controllers_discovery_changed(t);
}

int nvme_target_add_referral(struct nvme_target *t, const struct nvme_referral *r)
{
	if (nqn_check(r->nqn, sizeof(r->nqn)) < 0 ||
	    (r->addr.ss_family != AF_INET && r->addr.ss_family != AF_INET6))
		return -EINVAL;
	if (t->nr_referrals == NVME_MAX_REFERRALS)
		return -ENOSPC;
	if (t->last_referral_id == NVME_MAX_PORTID)
		return -ENOSPC;
	t->referral_ids[t->nr_referrals] = ++t->last_referral_id;
	t->referrals[t->nr_referrals++] = *r;
	discovery_changed(t);
	return 0;
}

int nvme_target_remove_referral(struct nvme_target *t, uint16_t id)
{
	unsigned int i = 0, after;

	while (i < t->nr_referrals && t->referral_ids[i] != id)
		i++;
	if (i == t->nr_referrals)
		return -ENOENT;
	after = --t->nr_referrals - i;
	memmove(&t->referrals[i], &t->referrals[i + 1], after * sizeof(t->referrals[0]));
	memmove(&t->referral_ids[i], &t->referral_ids[i + 1], after * sizeof(t->referral_ids[0]));
	discovery_changed(t);
	return 0;
}

void nvme_target_each_referral(struct nvme_target *t,
			       void (*fn)(uint16_t id, const struct nvme_referral *r, void *arg),
			       void *arg)
{
	for (unsigned int i = 0; i < t->nr_referrals; i++)
		fn(t->referral_ids[i], &t->referrals[i], arg);
}

/* ---- the log (control) ------------------------------------------------------------------------ */

static enum nvmf_rdma_prtype device_provider(const struct fabric_device *dev)
{
	const struct fabric_device_info *info = fabric_device_info(dev);

	if (info->transport == FABRIC_TRANSPORT_IWARP)
		return NVMF_RDMA_IWARP;
	return info->ethernet ? NVMF_RDMA_ROCE_V2 : NVMF_RDMA_IB;
}

enum nvmf_rdma_prtype discovery_provider(const struct fabric *f, const struct fabric_device *dev)
{
	enum nvmf_rdma_prtype provider = NVMF_RDMA_UNKNOWN;

	if (dev)
		return device_provider(dev);
	for (unsigned int i = 0; i < fabric_device_count(f); i++) {
		enum nvmf_rdma_prtype one = device_provider(fabric_device_at(f, i));

		if (i > 0 && one != provider)
			return NVMF_RDMA_UNKNOWN;
		provider = one;
	}
	return provider;
}

/* One listener: the discovery service itself if the host came this way, then every subsystem that it may use. */
static void log_listener(const struct request *r, const struct nvme_listener *listener,
			 const struct sockaddr_storage *local, struct discovery_log *log)
{
	const struct queue *q = &r->queue->q;
	const struct nvme_target *t = q->target;
	const bool same_fabric = listener->channel == q->channel;
	struct sockaddr_storage shown;
	struct discovery_record record = {
		.portid = listener->portid,
		.admin_entries = (uint16_t)t->env.limits.queue_depth,
		.addr = &shown,
	};
	bool here;
	struct list *l;

	if (!discovery_address(&listener->bound, local, &shown))
		return;
	here = same_fabric && discovery_same_address(&shown, local);
	record.provider = discovery_provider(listener->channel->fabric,
					     here ? fabric_conn_device(q->conn) : NULL);
	if (here) {
		record.subtype = NVMF_SUBTYPE_CURRENT;
		record.eflags = NVMF_EFLAGS_PERSISTENT;
		record.nqn = NVME_DISCOVERY_NQN;
		discovery_log_add(log, &record);
	}
	if (!host_may_connect(t, r->queue->controller->hostnqn, r->queue->controller->here))
		return;
	record.subtype = NVMF_SUBTYPE_NVM;
	record.eflags = 0;
	list_for_each (l, &t->subsystems) {
		const struct nvme_subsystem *s = list_entry(l, struct nvme_subsystem, link);

		if (s->discovery)
			continue;
		record.nqn = s->nqn;
		discovery_log_add(log, &record);
	}
}

static void log_referral(const struct nvme_target *t, unsigned int index, struct discovery_log *log)
{
	const struct nvme_referral *referral = &t->referrals[index];
	const struct discovery_record record = {
		.subtype = NVMF_SUBTYPE_REFERRAL,
		.provider = referral->iwarp ? NVMF_RDMA_IWARP : NVMF_RDMA_UNKNOWN,
		/* Behind those of all listeners there can ever be. */
		.portid = (uint16_t)(NVME_MAX_PORTID + t->referral_ids[index]),
		.admin_entries = (uint16_t)t->env.limits.queue_depth,
		.addr = &referral->addr,
		.nqn = referral->nqn,
	};

	discovery_log_add(log, &record);
}

static void log_on_control(struct request *r)
{
	const struct nvme_target *t = r->queue->q.target;
	struct sockaddr_storage local = {0};
	struct discovery_log log = {
		.out = r->bounce.data,
		.offset = r->u.log.offset,
		.length = r->u.log.length,
	};
	struct list *l;

	/* Without it only listeners at all addresses are left out. */
	(void)fabric_conn_local(r->queue->q.conn, &local);
	list_for_each (l, &t->listeners)
		log_listener(r, list_entry(l, struct nvme_listener, link), &local, &log);
	for (unsigned int i = 0; i < t->nr_referrals; i++)
		log_referral(t, i, &log);
	r->status = NVME_SC_SUCCESS;
	if (log.offset > discovery_log_end(&log, t->discovery_generation)) {
		r->fault = 1 + offsetof(struct nvme_command, cdw12);
		r->status = NVME_SC_INVALID_FIELD | NVME_SC_DNR;
	}
	request_from_control(r);
}

static void log_back(struct request *r)
{
	const uint16_t status = r->status;
	const struct log_part part = r->u.log; /* r may be another one's at the end */
	struct controller *c = r->queue->controller;

	request_complete(r, status);
	if (!status)
		event_log_read(c, &part);
}

static void fill_log(struct request *r)
{
	request_on_control(r, log_on_control, log_back);
}

static void log_execute(struct request *r)
{
	uint32_t refused = log_part_parse(request_sqe(r), &r->command, &r->u.log);

	if (refused)
		request_reject(r, refused);
	else if (r->u.log.page != NVME_LOG_DISCOVERY)
		request_complete(r, NVME_SC_INVALID_LOG_PAGE | NVME_SC_DNR);
	else
		admin_reply(r, r->u.log.length, fill_log);
}

/* ---- the other commands (reactor) ------------------------------------------------------------- */

static void put_text(char *field, size_t size, const char *text)
{
	size_t length = strnlen(text, size);

	memset(field, ' ', size);
	memcpy(field, text, length);
}

static void fill_controller(struct request *r)
{
	const struct controller *c = r->queue->controller;
	const struct nvme_limits *limits = &c->target->env.limits;
	struct nvme_id_ctrl *id = (struct nvme_id_ctrl *)r->bounce.data;

	put_text(id->sn, sizeof(id->sn), c->subsystem->serial);
	put_text(id->mn, sizeof(id->mn), "Leasehold");
	put_text(id->fr, sizeof(id->fr), c->target->env.version);
	id->mdts = controller_mdts(c->target);
	id->cntlid = htole16(c->cntlid);
	id->ver = htole32(NVME_VS_1_4);
	id->oaes = htole32(NVME_AEN_CFG_DISCOVERY);
	id->ctratt = htole32(CTRATT_HOSTID_128 | CTRATT_TRAFFIC_KEEP_ALIVE);
	id->cntrltype = NVME_CNTRLTYPE_DISCOVERY;
	id->aerl = NVME_AER_LIMIT - 1;
	id->lpa = LPA_EXTENDED_DATA;
	id->kas = htole16(KAS_100MS);
	id->maxcmd = htole16((uint16_t)limits->queue_depth);
	id->sgls = htole32(SGLS_KEYED);
	(void)snprintf(id->subnqn, sizeof(id->subnqn), "%s", c->subsystem->nqn);
	/* Reserved here, but there are hosts that look at them. */
	id->ioccsz = htole32((uint32_t)sizeof(struct nvme_command) / 16);
	id->iorcsz = htole32(sizeof(struct nvme_completion) / 16);
	id->msdbd = 1;
	request_complete(r, NVME_SC_SUCCESS);
}

/* Keep-alive and the one event: 0 if it is that feature, with values that fit; else a refusal. */
static uint32_t feature_parse(const struct nvme_command *sqe, bool set)
{
	switch (le32toh(sqe->cdw10) & 0xff) {
	case NVME_FEAT_KEEP_ALIVE:
		return 0;
	case NVME_FEAT_ASYNC_EVENT:
		return set && (le32toh(sqe->cdw11) & ~NVME_AEN_CFG_DISCOVERY)
			       ? REFUSED_IN(NVME_SC_INVALID_FIELD, cdw11)
			       : 0;
	default:
		return REFUSED_IN(NVME_SC_INVALID_FIELD, cdw10);
	}
}

bool discovery_execute(struct request *r)
{
	const struct nvme_command *sqe = request_sqe(r);
	uint32_t refused;

	switch (r->command.opcode) {
	case NVME_ADMIN_IDENTIFY:
		if ((le32toh(sqe->cdw10) & 0xff) == NVME_CNS_CONTROLLER)
			admin_reply(r, IDENTIFY_BYTES, fill_controller);
		else
			request_refuse(r, NVME_SC_INVALID_FIELD,
				       offsetof(struct nvme_command, cdw10), 0);
		return true;
	case NVME_ADMIN_GET_LOG_PAGE:
		log_execute(r);
		return true;
	case NVME_ADMIN_SET_FEATURES:
	case NVME_ADMIN_GET_FEATURES:
		refused = feature_parse(sqe, r->command.opcode == NVME_ADMIN_SET_FEATURES);
		if (refused)
			request_reject(r, refused);
		return refused != 0;
	case NVME_ADMIN_ASYNC_EVENT:
	case NVME_ADMIN_KEEP_ALIVE:
	case NVME_ADMIN_ABORT:
		return false;
	default:
		request_complete(r, NVME_SC_INVALID_OPCODE | NVME_SC_DNR);
		return true;
	}
}
