// SPDX-License-Identifier: BSD-3-Clause
/*
 * Connections that come to nothing: shown out by the fabric, rejected, or ended before a Connect gave
 * them a controller. Each is counted, and has a line that says who, where and why, as far as
 * strangers may cause lines. Control.
 */
#include "nvme/controller.h"

#include <errno.h>
#include <stdio.h>

#include "util/log.h"
#include "wire/wire.h"

DEFINE_COUNTER(rejects, "nvme_rejects", "Connection requests that were rejected");
DEFINE_COUNTER(garbage, "nvme_strangers_garbage",
	       "Connections ended before a Connect, since what came made no sense");
DEFINE_COUNTER(closed, "nvme_strangers_closed",
	       "Connections that the peer closed before a whole Connect had come");
DEFINE_COUNTER(late, "nvme_strangers_late",
	       "Connections ended since no whole Connect came in time");
DEFINE_COUNTER(no_room, "nvme_strangers_no_room",
	       "Connections ended before a Connect for want of room, or by an error here");

static const char *reject_text(bool direct, uint16_t code)
{
	static const char *const nvme[] = {
		[NVMF_RDMA_CM_INVALID_LEN] = "its private data are too short for NVMe/RDMA",
		[NVMF_RDMA_CM_INVALID_RECFMT] = "its private data are of an unknown format",
		[NVMF_RDMA_CM_INVALID_QID] = "its queue id is above limits.max_io_queues",
		[NVMF_RDMA_CM_INVALID_HSQSIZE] = "its send queue has an impossible size",
		[NVMF_RDMA_CM_INVALID_HRQSIZE] = "its receive queue has an impossible size",
		[NVMF_RDMA_CM_NO_RESOURCES] = "out of memory",
		[NVMF_RDMA_CM_INVALID_IRD] = "it takes no RDMA READ",
		[NVMF_RDMA_CM_INVALID_CNTLID] = "it names a controller that is not there",
	};
	static const char *const lh[] = {
		[LH_CM_BAD_FORMAT] = "its private data make no sense",
		[LH_CM_BAD_VERSION] = "it speaks another version of the direct extension",
		[LH_CM_BAD_TOKEN] =
			"its token is unknown, was used, has expired or was for this machine alone",
		[LH_CM_NO_RESOURCES] = "out of memory, or of direct queues for this controller",
		[LH_CM_WRONG_DEVICE] = "it came by an adapter that serves no export",
	};

	if (direct)
		return code < ARRAY_SIZE(lh) && lh[code] ? lh[code] : "?";
	return code < ARRAY_SIZE(nvme) && nvme[code] ? nvme[code] : "?";
}

/* The parameter of a Connect, as its answer names it. */
static const char *parameter_text(uint32_t at)
{
	static const struct {
		uint32_t at;
		const char *text;
	} parameters[] = {
		{CONNECT_IN_COMMAND(qid), " (the queue id)"},
		{CONNECT_IN_COMMAND(sqsize), " (the size of the queue)"},
		{CONNECT_IN_DATA(hostid), " (the host's identifier)"},
		{CONNECT_IN_DATA(cntlid), " (the controller's id)"},
		{CONNECT_IN_DATA(subnqn), " (the subsystem: there is none of that NQN)"},
		{CONNECT_IN_DATA(hostnqn), " (the host's NQN)"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
		if (parameters[i].at == at)
			return parameters[i].text;
	}
	return "";
}

bool refusal_has_line(struct nvme_listener *listener, char more[REFUSAL_MORE_BYTES])
{
	uint64_t left_out;

	if (!log_rate_allows(&listener->refusals, now_ns(), &left_out))
		return false;
	more[0] = '\0';
	if (left_out)
		(void)snprintf(more, REFUSAL_MORE_BYTES, " (%llu more had no line)",
			       (unsigned long long)left_out);
	return true;
}

void refusal_of_request(struct nvme_listener *listener, const struct fabric_conn *conn, bool direct,
			uint16_t code, const char *why)
{
	char peer[ADDRESS_BYTES] = "an unknown address", more[REFUSAL_MORE_BYTES];
	struct sockaddr_storage addr;

	counter_add(&rejects, 1);
	if (!refusal_has_line(listener, more))
		return;
	if (fabric_conn_peer(conn, &addr) == 0)
		address_format(&addr, peer, sizeof(peer));
	log_notice("a connection request from %s to %s was rejected: %s (%s code %u)%s", peer,
		   listener->address, why ? why : reject_text(direct, code),
		   direct ? "direct queue" : "NVMe/RDMA", code, more);
}

static void came_to_nothing(struct nvme_listener *listener, struct counter *counter,
			    const char *peer, const char *why, const char *so_far)
{
	char more[REFUSAL_MORE_BYTES];

	if (counter)
		counter_add(counter, 1);
	if (refusal_has_line(listener, more))
		log_notice("a connection from %s to %s came to nothing: %s%s%s", peer,
			   listener->address, why, so_far, more);
}

static struct counter *counter_of_stranger(int error)
{
	switch (error) {
	case -EPROTO:
		return &garbage;
	case -ETIMEDOUT:
		return &late;
	case -ENOBUFS:
		return &no_room;
	default:
		return &closed;
	}
}

void refusal_of_stranger(struct nvme_listener *listener, const struct fabric_cm_event *event)
{
	char peer[ADDRESS_BYTES];

	address_format(&event->peer, peer, sizeof(peer));
	came_to_nothing(listener, counter_of_stranger(event->error), peer, event->why, "");
}

void refusal_of_queue(struct nvme_queue *nq)
{
	static struct counter *const counters[] = {
		[QUEUE_END_HERE] = &no_room,
		[QUEUE_END_GARBAGE] = &garbage,
		[QUEUE_END_CLOSED] = &closed,
		[QUEUE_END_LATE] = &late,
	};
	uint16_t status = atomic_load_explicit(&nq->refused, memory_order_relaxed);
	enum queue_dawn dawn = atomic_load_explicit(&nq->dawn, memory_order_relaxed);
	struct counter *counter = &garbage;
	char so_far[160];

	if (nq->q.end == QUEUE_END_ORDERED)
		return;
	switch (dawn) {
	case QUEUE_DAWN_REFUSED:
		/* That has a counter of its own, and for want of controllers a line. */
		if ((status & ~NVME_SC_DNR) == NVME_SC_CONNECT_BUSY)
			return;
		counter = NULL;
		(void)snprintf(so_far, sizeof(so_far), "; its Connect had been refused: %s%s",
			       nvme_status_text(status),
			       parameter_text(atomic_load_explicit(&nq->refused_at,
								   memory_order_relaxed)));
		break;
	case QUEUE_DAWN_CONNECT:
		counter = counters[nq->q.end];
		(void)snprintf(so_far, sizeof(so_far), "; the data of its Connect had not come");
		break;
	case QUEUE_DAWN_COMMAND:
		(void)snprintf(so_far, sizeof(so_far), "; what had come was no Connect");
		break;
	default:
		counter = counters[nq->q.end];
		(void)snprintf(so_far, sizeof(so_far), "; no Connect had come");
		break;
	}
	came_to_nothing(nq->listener, counter, nq->q.address, nq->q.why, so_far);
}
