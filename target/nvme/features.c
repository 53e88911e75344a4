// SPDX-License-Identifier: BSD-3-Clause
/* Set and Get Features. The admin queue's reactor; the keep-alive timer is control's. */
#include "nvme/controller.h"

#define FEATURE_SAVE	      (1u << 31)
#define FEATURE_SELECT(cdw10) ((cdw10) >> 8 & 7)
#define SELECT_CURRENT	      0
#define SELECT_DEFAULT	      1
#define SELECT_SAVED	      2
#define SELECT_SUPPORTED      3
#define SUPPORTED_CHANGEABLE  4

static void set_kato_on_control(struct request *r)
{
	if (r->queue->owner)
		controller_set_kato(r->queue->owner, r->u.kato_ms);
	request_from_control(r);
}

static void set_kato_back(struct request *r)
{
	r->queue->controller->a.kato_ms = r->u.kato_ms;
	request_complete(r, NVME_SC_SUCCESS);
}

static uint32_t granted_queues(const struct request *r, uint32_t asked)
{
	const struct nvme_limits *limits = &r->queue->q.target->env.limits;
	/* Both 0's based; one number for both, since each queue is a pair. */
	uint32_t n = (uint32_t)min_u64((asked & 0xffff), asked >> 16);

	n = (uint32_t)min_u64(n, limits->max_io_queues - 1);
	return n | n << 16;
}

static void set_queues(struct request *r, uint32_t asked)
{
	if ((asked & 0xffff) == 0xffff || asked >> 16 == 0xffff) {
		request_complete(r, NVME_SC_INVALID_FIELD | NVME_SC_DNR);
		return;
	}
	r->dw0 = granted_queues(r, asked);
	request_complete(r, NVME_SC_SUCCESS);
}

void set_features_execute(struct request *r)
{
	struct controller_admin *a = &r->queue->controller->a;
	const struct nvme_command *sqe = request_sqe(r);
	uint32_t cdw10 = le32toh(sqe->cdw10), cdw11 = le32toh(sqe->cdw11);

	if (cdw10 & FEATURE_SAVE) {
		request_complete(r, NVME_SC_FEATURE_NOT_SAVEABLE | NVME_SC_DNR);
		return;
	}
	switch (cdw10 & 0xff) {
	case NVME_FEAT_QUEUES:
		set_queues(r, cdw11);
		break;
	case NVME_FEAT_KEEP_ALIVE:
		r->u.kato_ms = cdw11;
		request_on_control(r, set_kato_on_control, set_kato_back);
		break;
	case NVME_FEAT_ASYNC_EVENT:
		a->async_config = cdw11;
		request_complete(r, NVME_SC_SUCCESS);
		break;
	case NVME_FEAT_VOLATILE_WRITE_CACHE:
		/* The page cache cannot be turned off, and DAX has none. */
		if (!controller_volatile_cache(r->queue))
			request_complete(r, NVME_SC_INVALID_FIELD | NVME_SC_DNR);
		else if ((cdw11 & 1) == 0)
			request_complete(r, NVME_SC_FEATURE_NOT_CHANGEABLE | NVME_SC_DNR);
		else
			request_complete(r, NVME_SC_SUCCESS);
		break;
	default:
		request_complete(r, NVME_SC_INVALID_FIELD | NVME_SC_DNR);
		break;
	}
}

void get_features_execute(struct request *r)
{
	const struct controller_admin *a = &r->queue->controller->a;
	const struct nvme_limits *limits = &r->queue->q.target->env.limits;
	uint32_t cdw10 = le32toh(request_sqe(r)->cdw10);
	uint32_t select = FEATURE_SELECT(cdw10), current, initial = 0;

	switch (cdw10 & 0xff) {
	case NVME_FEAT_QUEUES:
		current = initial =
			(limits->max_io_queues - 1) | (uint32_t)(limits->max_io_queues - 1) << 16;
		break;
	case NVME_FEAT_KEEP_ALIVE:
		current = a->kato_ms;
		break;
	case NVME_FEAT_ASYNC_EVENT:
		current = a->async_config;
		break;
	case NVME_FEAT_VOLATILE_WRITE_CACHE:
		if (!controller_volatile_cache(r->queue)) {
			request_complete(r, NVME_SC_INVALID_FIELD | NVME_SC_DNR);
			return;
		}
		current = initial = 1;
		break;
	default:
		request_complete(r, NVME_SC_INVALID_FIELD | NVME_SC_DNR);
		return;
	}
	switch (select) {
	case SELECT_CURRENT:
		r->dw0 = current;
		break;
	case SELECT_DEFAULT:
		r->dw0 = initial;
		break;
	case SELECT_SUPPORTED:
		r->dw0 = SUPPORTED_CHANGEABLE;
		break;
	case SELECT_SAVED:
	default:
		request_complete(r, NVME_SC_INVALID_FIELD | NVME_SC_DNR);
		return;
	}
	request_complete(r, NVME_SC_SUCCESS);
}
