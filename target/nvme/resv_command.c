// SPDX-License-Identifier: BSD-3-Clause
/*
 * The reservation commands on their queue's reactor, and feature 83h on the admin queue's: parsed,
 * done on control, answered. Meanwhile the command uses no serving: what it brings about may be a
 * recall, which waits for all who do.
 */
#include "nvme/resv.h"

#include <string.h>

DEFINE_COUNTER(registers, "nvme_resv_registers", "Reservation Register commands");
DEFINE_COUNTER(acquires, "nvme_resv_acquires", "Reservation Acquire commands");
DEFINE_COUNTER(releases, "nvme_resv_releases", "Reservation Release commands");
DEFINE_COUNTER(reports, "nvme_resv_reports", "Reservation Report commands");

static struct ns_resv *resv_of(const struct request *r)
{
	return r->queue->q.target->homes[r->slot].resv;
}

/* ---- changes ---------------------------------------------------------------------------------- */

static void change_answered(struct request *r)
{
	r->fault = r->u.resv.fault;
	request_complete(r, r->status);
}

static void change_done(struct resv_op *op, uint16_t status, uint16_t fault)
{
	struct request *r = container_of(op, struct request, u.resv.op);

	r->status = status;
	r->u.resv.fault = fault;
	request_from_control(r);
}

static void change_on_control(struct request *r)
{
	resv_change(resv_of(r), &r->u.resv.op);
}

static void change_ready(struct request *r)
{
	struct resv_event *event = &r->u.resv.op.event;

	resv_parse_data(request_data(r), event);
	memcpy(event->hostid, r->queue->controller->hostid, sizeof(event->hostid));
	r->u.resv.op.done = change_done;
	request_put_ns(r);
	request_on_control(r, change_on_control, change_answered);
}

/* Identifier 0: two controllers that have it are of two hosts, which nothing tells apart. */
static bool is_nobody(const uint8_t hostid[RESV_HOSTID_BYTES])
{
	static const uint8_t zero[RESV_HOSTID_BYTES];

	return memcmp(hostid, zero, sizeof(zero)) == 0;
}

void resv_change_execute(struct request *r)
{
	uint32_t refused = resv_parse_command(request_sqe(r), &r->command, &r->u.resv.op.event);

	switch (r->command.opcode) {
	case NVME_IO_RESV_REGISTER:
		counter_add(&registers, 1);
		break;
	case NVME_IO_RESV_ACQUIRE:
		counter_add(&acquires, 1);
		break;
	default:
		counter_add(&releases, 1);
		break;
	}
	if (refused)
		request_reject(r, refused);
	else if (is_nobody(r->queue->controller->hostid))
		request_complete(r, NVME_SC_OPERATION_DENIED | NVME_SC_DNR);
	else
		request_take_data(r, change_ready);
}

/* ---- Report ----------------------------------------------------------------------------------- */

static void report_answered(struct request *r)
{
	r->send_data = true;
	request_complete(r, NVME_SC_SUCCESS);
}

static void report_on_control(struct request *r)
{
	resv_report(resv_of(r), r->bounce.data, r->bounce.length);
	request_from_control(r);
}

static void report_buffered(struct request *r)
{
	memset(r->bounce.data, 0, r->bounce.length);
	request_on_control(r, report_on_control, report_answered);
}

void resv_report_execute(struct request *r)
{
	uint32_t refused = resv_parse_report(request_sqe(r), &r->command,
					     r->queue->q.target->env.limits.mdts_bytes);

	counter_add(&reports, 1);
	if (refused) {
		request_reject(r, refused);
		return;
	}
	request_put_ns(r);
	request_buffer(r, r->command.length, report_buffered);
}

/* ---- feature 83h ------------------------------------------------------------------------------ */

static void persist_next(struct request *r);

static void persist_done(struct resv_op *op, uint16_t status, uint16_t fault)
{
	struct request *r = container_of(op, struct request, u.resv.op);

	if (status && !r->status) {
		r->status = status;
		r->u.resv.fault = fault;
	}
	persist_next(r);
}

/* For one namespace, or for all of the subsystem, one after another. */
static void persist_next(struct request *r)
{
	const struct nvme_target *t = r->queue->q.target;
	const struct nvme_subsystem *s = r->queue->controller->subsystem;
	uint32_t nsid = r->command.nsid;
	bool one = nsid != NVME_NSID_ALL;

	while (r->u.resv.slot < t->nr_homes) {
		unsigned int slot = r->u.resv.slot++;
		const struct ns_home *home = &t->homes[slot];

		if (!home->holding || home->detached || home->subsystem != s ||
		    (one && holding_nsid(home->holding) != nsid))
			continue;
		r->u.resv.found = true;
		resv_change(t->homes[slot].resv, &r->u.resv.op);
		return;
	}
	/* It was there when the command came, and is being removed. */
	if (one && !r->u.resv.found)
		r->status = NVME_SC_INVALID_NS | NVME_SC_DNR;
	request_from_control(r);
}

void resv_persist_execute(struct request *r, uint32_t cdw11)
{
	r->u.resv.op = (struct resv_op){
		.event = {.kind = RESV_PERSIST, .ptpl = cdw11 & 1},
		.done = persist_done,
	};
	r->u.resv.slot = 0;
	r->u.resv.found = false;
	r->u.resv.fault = 0;
	r->status = NVME_SC_SUCCESS;
	request_on_control(r, persist_next, change_answered);
}
