// SPDX-License-Identifier: BSD-3-Clause
/* Admin commands: which is which, and the small ones. The admin queue's reactor. */
#include "nvme/controller.h"
#include "nvme/discovery.h"

#include <string.h>

/* ---- answers with data ------------------------------------------------------------------------ */

static void reply_buffered(struct request *r)
{
	memset(r->bounce.data, 0, r->bounce.length);
	r->send_data = true;
	r->there(r);
}

void admin_reply(struct request *r, uint32_t length, void (*fill)(struct request *r))
{
	if (r->command.data != COMMAND_KEYED || r->command.length != length) {
		request_complete(r, NVME_SC_SGL_INVALID_DATA | NVME_SC_DNR);
		return;
	}
	r->there = fill;
	request_buffer(r, length, reply_buffered);
}

/* ---- small commands --------------------------------------------------------------------------- */

static void keep_alive_execute(struct request *r)
{
	request_complete(r, NVME_SC_SUCCESS);
}

void admin_execute(struct request *r)
{
	if (r->queue->controller->subsystem->discovery && discovery_execute(r))
		return;
	switch (r->command.opcode) {
	case NVME_ADMIN_IDENTIFY:
		identify_execute(r);
		break;
	case NVME_ADMIN_GET_LOG_PAGE:
		log_page_execute(r);
		break;
	case NVME_ADMIN_SET_FEATURES:
		set_features_execute(r);
		break;
	case NVME_ADMIN_GET_FEATURES:
		get_features_execute(r);
		break;
	case NVME_ADMIN_ASYNC_EVENT:
		event_request_execute(r);
		break;
	case NVME_ADMIN_KEEP_ALIVE:
		keep_alive_execute(r);
		break;
	case NVME_ADMIN_ABORT:
		abort_execute(r);
		break;
	case LH_ADMIN_OPEN_DIRECT:
	case LH_ADMIN_ACQUIRE:
	case LH_ADMIN_RENEW:
	case LH_ADMIN_RELEASE:
	case LH_ADMIN_RELEASE_PART:
		direct_execute(r);
		break;
	default:
		request_complete(r, NVME_SC_INVALID_OPCODE | NVME_SC_DNR);
		break;
	}
}
