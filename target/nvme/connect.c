// SPDX-License-Identifier: BSD-3-Clause
/*
 * Fabrics commands (NVMe-oF 1.1 §3): Connect, Property Get and Set, Disconnect. Connect is checked on
 * the reactor and decided on control; the registers belong to the admin queue's reactor.
 */
#include "nvme/controller.h"

#define CAP_CQR		 (1ull << 16)
#define CAP_TO_500MS	 (15ull << 24)
#define CAP_CSS_NVM	 (1ull << 37)
#define CAP_CSS_IOCS	 (1ull << 43) /* Identify tells which command sets there are */
#define CAP_CRWMS	 (1ull << 59) /* ready means ready for all commands */
#define CC_CSS_NVM	 0
#define CC_CSS_ALL	 6
#define CC_CSS(cc)	 ((cc) >> 4 & 7)
#define CC_MPS(cc)	 ((cc) >> 7 & 15)
#define CC_AMS(cc)	 ((cc) >> 11 & 7)
#define CC_IOSQES(cc)	 ((cc) >> 16 & 15)
#define CC_IOCQES(cc)	 ((cc) >> 20 & 15)
#define PROPERTY_8_BYTES 1
#define BYTE_ATTRIB	 offsetof(struct nvmf_property_command, attrib)
#define BYTE_OFFSET	 offsetof(struct nvmf_property_command, offset)
#define SQES_64_BYTES	 6
#define SHN_NORMAL	 (1u << 14)
#define SHN_ABRUPT	 (2u << 14)
#define CQES_16_BYTES	 4

DEFINE_COUNTER(connects_refused, "nvme_connects_refused",
	       "Connect commands answered with an error");

/* ---- Connect ---------------------------------------------------------------------------------- */

static void connect_failed(struct request *r, uint16_t status, uint32_t dw0)
{
	struct nvme_queue *nq = r->queue;

	nq->connecting = false;
	counter_add(&connects_refused, 1);
	atomic_store_explicit(&nq->refused, status, memory_order_relaxed);
	atomic_store_explicit(&nq->refused_at, dw0, memory_order_relaxed);
	nvme_queue_dawns(nq, QUEUE_DAWN_REFUSED);
	r->dw0 = dw0;
	request_complete(r, status);
}

static void connect_on_control(struct request *r)
{
	r->status = controller_connect(r->queue, &r->u.connect.connect, &r->u.connect.controller,
				       &r->dw0);
	/* An earlier queue of this id that has ended takes no command any more when this is answered. */
	request_by_all_reactors(r);
}

static void connect_back(struct request *r)
{
	struct nvme_queue *nq = r->queue;
	const struct connect *connect = &r->u.connect.connect;

	if (r->status) {
		connect_failed(r, r->status, r->dw0);
		return;
	}
	nq->controller = r->u.connect.controller;
	nq->qid = connect->qid;
	nq->entries = connect->entries;
	nq->sq_flow_off = connect->sq_flow_off;
	nq->sqhd = 0;
	request_complete(r, NVME_SC_SUCCESS);
}

static void connect_data(struct request *r)
{
	uint32_t dw0;
	uint16_t status = connect_parse_data(request_data(r), &r->u.connect.connect, &dw0);

	if (status) {
		connect_failed(r, status, dw0);
		return;
	}
	request_on_control(r, connect_on_control, connect_back);
}

static void connect_execute(struct request *r)
{
	struct nvme_queue *nq = r->queue;
	const struct nvme_limits *limits = &nq->q.target->env.limits;
	struct connect_limits connect_limits = {
		.cm_qid = nq->cm_qid,
		.receives = (uint16_t)nq->q.receives,
		.max_io_queues = (uint16_t)limits->max_io_queues,
		.max_entries = (uint16_t)limits->queue_depth,
	};
	uint32_t dw0 = 0;
	uint16_t status;

	if (nq->controller || nq->connecting) {
		request_complete(r, NVME_SC_COMMAND_SEQUENCE | NVME_SC_DNR);
		return;
	}
	status = connect_parse_command((const struct nvmf_connect_command *)request_sqe(r),
				       &r->command, &connect_limits, &r->u.connect.connect, &dw0);
	if (status) {
		connect_failed(r, status, dw0);
		return;
	}
	nq->connecting = true;
	nvme_queue_dawns(nq, QUEUE_DAWN_CONNECT);
	request_take_data(r, connect_data);
}

/* ---- properties ------------------------------------------------------------------------------- */

static uint64_t capabilities(const struct request *r)
{
	const struct nvme_limits *limits = &r->queue->q.target->env.limits;
	uint64_t cap = (uint64_t)(limits->queue_depth - 1) | CAP_CQR | CAP_TO_500MS | CAP_CSS_NVM;

	/* A discovery controller is one of version 1.4. */
	if (!r->queue->controller->subsystem->discovery)
		cap |= CAP_CSS_IOCS | CAP_CRWMS;
	return cap;
}

static void property_get(struct request *r)
{
	const struct nvmf_property_command *sqe = (const void *)request_sqe(r);
	const struct controller_admin *a = &r->queue->controller->a;
	bool wide = (sqe->attrib & 7) == PROPERTY_8_BYTES;
	uint64_t value;

	switch (le32toh(sqe->offset)) {
	case NVME_PROP_CAP:
		value = capabilities(r);
		break;
	case NVME_PROP_VS:
		value = r->queue->controller->subsystem->discovery ? NVME_VS_1_4 : NVME_VS_2_0;
		break;
	case NVME_PROP_CC:
		value = a->cc;
		break;
	case NVME_PROP_CSTS:
		value = a->csts;
		break;
	case NVME_PROP_CRTO:
		value = CAP_TO_500MS >> 24;
		break;
	default:
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_OFFSET, 0);
		return;
	}
	/* The field's other values are reserved. */
	if ((sqe->attrib & 7) > PROPERTY_8_BYTES ||
	    wide != (le32toh(sqe->offset) == NVME_PROP_CAP)) {
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_ATTRIB, 0);
		return;
	}
	r->dw0 = (uint32_t)value;
	r->dw1 = (uint32_t)(value >> 32);
	request_complete(r, NVME_SC_SUCCESS);
}

static bool configuration_ok(uint32_t cc)
{
	uint32_t sq = CC_IOSQES(cc), cq = CC_IOCQES(cc);

	/* 0: a host that has not set them yet; over fabrics the sizes are fixed anyway. */
	return (CC_CSS(cc) == CC_CSS_NVM || CC_CSS(cc) == CC_CSS_ALL) && CC_MPS(cc) == 0 &&
	       CC_AMS(cc) == 0 && (sq == 0 || sq == SQES_64_BYTES) &&
	       (cq == 0 || cq == CQES_16_BYTES);
}

static void set_ready(struct controller *c, bool ready)
{
	atomic_store_explicit(&c->ready, ready, memory_order_release);
}

static bool shutdown_wanted(uint32_t cc)
{
	return (cc & NVME_CC_SHN_MASK) == SHN_NORMAL || (cc & NVME_CC_SHN_MASK) == SHN_ABRUPT;
}

/*
 * Requests for events are gone with a reset, unanswered (NVMe base 2.0 §5.2), and features are what
 * they were.
 */
static void forget_settings(struct controller *c)
{
	struct controller_admin *a = &c->a;

	while (a->nr_held > 0)
		request_release(a->held[--a->nr_held]);
	a->async_config = 0;
	atomic_store(&c->watching, false);
	features_reset(c);
	a->error_pending = a->error_masked = false;
	a->ns_pending = a->ns_masked = a->vendor_pending = a->vendor_masked = false;
	a->discovery_pending = a->discovery_masked = false;
	a->ana_pending = a->ana_masked = false;
	a->resv_masked = false;
	a->nr_resv = 0;
	a->resv_count = 0;
}

static void reset_on_control(struct request *r)
{
	controller_reset(r->queue->owner);
	/* None of its queues begins a command any more when this is answered. */
	request_by_all_reactors(r);
}

static void reset_back(struct request *r)
{
	atomic_store_explicit(&r->queue->controller->in_reset, false, memory_order_release);
	request_complete(r, NVME_SC_SUCCESS);
}

static void property_set(struct request *r)
{
	const struct nvmf_property_command *sqe = (const void *)request_sqe(r);
	struct controller *c = r->queue->controller;
	uint32_t old = c->a.cc, cc = (uint32_t)le64toh(sqe->value);
	bool reset = (old & NVME_CC_EN) && !(cc & NVME_CC_EN);

	if (le32toh(sqe->offset) != NVME_PROP_CC) {
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_OFFSET, 0);
		return;
	}
	if ((sqe->attrib & 7) != 0) {
		request_refuse(r, NVME_SC_INVALID_FIELD, BYTE_ATTRIB, 0);
		return;
	}
	c->a.cc = cc;
	if (!(old & NVME_CC_EN) && (cc & NVME_CC_EN)) {
		c->a.csts = configuration_ok(cc) ? NVME_CSTS_RDY : NVME_CSTS_CFS;
		set_ready(c, c->a.csts == NVME_CSTS_RDY);
	}
	if (!reset && shutdown_wanted(cc)) {
		/* RDY stays; only a reset makes the controller take commands again. */
		set_ready(c, false);
		shutdown_begin(c, r->queue);
	}
	if (reset) {
		atomic_store_explicit(&c->in_reset, true, memory_order_release);
		set_ready(c, false);
		c->a.csts = 0;
		forget_settings(c);
		request_on_control(r, reset_on_control, reset_back);
		return;
	}
	request_complete(r, NVME_SC_SUCCESS);
}

/* ---- Disconnect ------------------------------------------------------------------------------- */

static void disconnect_on_control(struct request *r)
{
	controller_queue_disconnected(r->queue);
	request_from_control(r);
}

/* It is answered last: what is under way ends as it would. */
static void disconnect_wait(struct request *r)
{
	struct nvme_queue *nq = r->queue;

	request_set_state(r, REQUEST_HELD);
	list_init(&r->link);
	nq->disconnect = r;
	disconnect_check(nq);
}

void disconnect_check(struct nvme_queue *nq)
{
	struct request *r = nq->disconnect;

	if (nq->q.busy > 1 || nq->q.failed)
		return;
	nq->disconnect = NULL;
	nq->silent = true;
	request_set_state(r, REQUEST_PARSED);
	request_complete(r, NVME_SC_SUCCESS);
}

static void disconnect_execute(struct request *r)
{
	const struct nvmf_disconnect_command *sqe = (const void *)request_sqe(r);
	struct nvme_queue *nq = r->queue;

	if (nq->qid == 0) {
		request_refuse(r, NVME_SC_INVALID_QUEUE_TYPE,
			       offsetof(struct nvmf_disconnect_command, fctype), 0);
		return;
	}
	if (le16toh(sqe->recfmt) != 0) {
		request_refuse(r, NVME_SC_CONNECT_FORMAT,
			       offsetof(struct nvmf_disconnect_command, recfmt), 0);
		return;
	}
	nq->disconnected = true;
	request_on_control(r, disconnect_on_control, disconnect_wait);
}

void fabrics_execute(struct request *r)
{
	const struct nvme_queue *nq = r->queue;

	if (r->command.fctype == NVMF_CONNECT) {
		connect_execute(r);
		return;
	}
	if (!nq->controller || nq->disconnected) {
		request_complete(r, NVME_SC_COMMAND_SEQUENCE | NVME_SC_DNR);
		return;
	}
	if (r->command.fctype == NVMF_DISCONNECT)
		disconnect_execute(r);
	else if (r->command.fctype == NVMF_PROPERTY_GET && nq->qid == 0)
		property_get(r);
	else if (r->command.fctype == NVMF_PROPERTY_SET && nq->qid == 0)
		property_set(r);
	else
		request_complete(r, NVME_SC_INVALID_OPCODE | NVME_SC_DNR);
}
