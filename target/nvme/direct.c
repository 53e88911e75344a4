// SPDX-License-Identifier: BSD-3-Clause
/*
 * The direct extension's commands on the admin queue: Open Direct, Acquire, Renew, Release, Release
 * Part. Parsed on the admin queue's reactor, done on control, where grants live; the request waits for
 * the answer even if its queue dies meanwhile (the queue waits for the request).
 */
#include "nvme/controller.h"

#include <string.h>

#include "nvme/direct_queue.h"
#include "nvme/resv.h"

#define ACQUIRE_REPLY_BYTES                           \
	((uint32_t)(sizeof(struct lh_acquire_reply) + \
		    LH_ACQUIRE_MAX_GRANTS * sizeof(struct lh_grant)))

DEFINE_COUNTER(acquires, "nvme_acquires", "Acquire commands");
DEFINE_COUNTER(acquires_refused, "nvme_acquires_refused", "Acquire commands without a grant");
DEFINE_COUNTER(releases, "nvme_releases", "Release and Release Part commands");

static void answered(struct request *r)
{
	request_complete(r, r->status);
}

/* ---- on control ------------------------------------------------------------------------------- */

static struct grant_client *find_client(const struct request *r)
{
	const struct direct_want *want = &r->u.direct.want;
	struct controller *c = r->queue->owner;
	struct direct_queue *dq = NULL;

	if (r->command.opcode == LH_ADMIN_RELEASE && want->by_token)
		dq = direct_queue_by_token(r->queue->q.target, want->token);
	else if (c)
		dq = controller_find_direct(c, want->dqid);
	return dq ? direct_queue_client(dq) : NULL;
}

/* NULL: there is none, or it is being removed and can only be released. */
static struct holding *find_holding(const struct request *r)
{
	const struct ns_home *home =
		subsystem_home(r->queue->controller->subsystem, r->command.nsid);

	if (!home || (home->detached && r->command.opcode == LH_ADMIN_ACQUIRE))
		return NULL;
	return home->holding;
}

static void token_on_control(struct request *r)
{
	struct controller *c = r->queue->owner;
	struct lh_token token = {.life_ms = htole32(LH_TOKEN_LIFE_MS)};

	r->status = NVME_SC_SUCCESS;
	if (!c || c->dying || c->nr_direct_queues >= NVME_MAX_DIRECT_QUEUES) {
		r->status = LH_SC_LIMIT | NVME_SC_DNR;
	} else {
		controller_new_token(c, token.token);
		memcpy(r->bounce.data, &token, sizeof(token));
	}
	request_from_control(r);
}

/* For dword 0 of a refused Acquire. */
static uint32_t held_units(const struct grant_answer *answer)
{
	uint64_t units = answer->held_length / LH_GRANT_ALIGN;

	return (uint32_t)min_u64(units, LH_HELD_UNITS) |
	       (answer->reclaimed ? LH_HELD_RECLAIMED : 0);
}

static void put_reply(struct request *r, const struct grant_answer *answer)
{
	struct lh_acquire_reply reply = {
		.generation = htole32(answer->generation),
		.count = htole16((uint16_t)answer->count),
		.durability = (uint8_t)answer->durability,
		.access = (uint8_t)answer->access,
		.expiry_ms = htole32(answer->expiry_ms),
		.covered_length = htole64(answer->covered_length),
	};

	assert(answer->count <= LH_ACQUIRE_MAX_GRANTS);
	memcpy(r->bounce.data, &reply, sizeof(reply));
	memcpy(r->bounce.data + sizeof(reply), answer->grants,
	       answer->count * sizeof(answer->grants[0]));
}

static void acquired(void *arg, const struct grant_answer *answer)
{
	struct request *r = arg;

	r->status = answer->status;
	r->dw0 = answer->status == LH_SC_RECALLING || answer->status == LH_SC_DAMAGED
			 ? held_units(answer)
			 : answer->generation;
	if (!answer->status)
		put_reply(r, answer);
	else
		counter_add(&acquires_refused, 1);
	request_from_control(r);
}

static void acquire_on_control(struct request *r)
{
	const struct direct_want *want = &r->u.direct.want;
	struct grant_client *client = find_client(r);
	struct holding *h = find_holding(r);
	struct grant_want grant_want = {
		.offset = want->offset,
		.length = want->length,
		.access = want->access,
		.allocate = want->allocate,
		.generation = want->generation,
	};

	if (!h || !client) {
		r->status = (h ? LH_SC_NO_DIRECT_QUEUE : NVME_SC_INVALID_NS) | NVME_SC_DNR;
		request_from_control(r);
		return;
	}
	if (!resv_may_acquire(
		    subsystem_home(r->queue->controller->subsystem, r->command.nsid)->resv,
		    r->queue->controller->hostid, want->access)) {
		counter_add(&acquires_refused, 1);
		r->status = NVME_SC_RESERVATION_CONFLICT | NVME_SC_DNR;
		request_from_control(r);
		return;
	}
	grant_acquire(h, client, &grant_want, acquired, r);
}

static void released(void *arg, const struct grant_answer *answer)
{
	struct request *r = arg;

	r->status = answer->status;
	if (!answer->status && r->command.opcode == LH_ADMIN_RELEASE_PART)
		put_reply(r, answer);
	request_from_control(r);
}

static void release_on_control(struct request *r)
{
	const struct direct_want *want = &r->u.direct.want;
	struct grant_client *client = find_client(r);
	struct holding *h = find_holding(r);
	const struct grant_give_back what = {
		.offset = want->offset,
		.length = want->length,
		.generation = want->generation,
		.split = r->command.opcode == LH_ADMIN_RELEASE_PART,
	};

	/* Without its queue a client holds nothing: releasing nothing is a success. */
	if (!h || !client) {
		const struct grant_answer none = {.status = h ? NVME_SC_SUCCESS
							      : NVME_SC_INVALID_NS | NVME_SC_DNR};

		r->dw0 = LH_RELEASED_NO_QUEUE;
		released(r, &none);
		return;
	}
	grant_release(h, client, &what, released, r);
}

static void renew_on_control(struct request *r)
{
	struct grant_client *client = find_client(r);
	uint32_t expiry_ms = 0;

	r->status = client ? grant_renew(client, &expiry_ms) : LH_SC_NO_DIRECT_QUEUE | NVME_SC_DNR;
	r->dw0 = expiry_ms;
	request_from_control(r);
}

/* ---- on the admin queue's reactor ------------------------------------------------------------- */

static void token_buffered(struct request *r)
{
	r->queue->controller->a.direct_aware = true;
	request_on_control(r, token_on_control, answered);
}

static void reply_buffered(struct request *r)
{
	memset(r->bounce.data, 0, r->bounce.length);
	r->send_data = true;
	request_on_control(
		r, r->command.opcode == LH_ADMIN_ACQUIRE ? acquire_on_control : release_on_control,
		answered);
}

/* It is answered with grants. */
static bool has_reply(const struct request *r)
{
	return r->command.opcode == LH_ADMIN_ACQUIRE || r->command.opcode == LH_ADMIN_RELEASE_PART;
}

static bool nsid_ok(const struct request *r)
{
	/* What is being removed is still released: control knows. */
	return r->command.opcode == LH_ADMIN_RELEASE ||
	       r->command.opcode == LH_ADMIN_RELEASE_PART ||
	       ns_slot(r->queue->q.nr, r->queue->controller->subsystem, r->command.nsid) <
		       NVME_MAX_NAMESPACES;
}

/* Grants come by the paths that commands may take; what is granted stays (docs/multipath.md). */
static uint16_t path_status(const struct request *r)
{
	const struct controller *c = r->queue->controller;
	unsigned int slot;
	const struct ns_use *use = ns_find(r->queue->q.nr, c->subsystem, r->command.nsid, &slot);

	return use ? ana_status(&c->listener->ana, use->ana_group) : NVME_SC_SUCCESS;
}

void direct_execute(struct request *r)
{
	uint32_t refused;

	if (r->command.opcode == LH_ADMIN_OPEN_DIRECT) {
		admin_reply(r, sizeof(struct lh_token), token_buffered);
		return;
	}
	refused = direct_want_parse((const struct lh_admin_command *)request_sqe(r),
				    &r->u.direct.want);
	if (!refused && r->command.opcode != LH_ADMIN_RENEW && !nsid_ok(r))
		refused = REFUSED_IN(NVME_SC_INVALID_NS, nsid);
	/* Room for the largest answer: what was granted must reach the client whole. */
	if (!refused && has_reply(r) &&
	    (r->command.data != COMMAND_KEYED || r->command.length < ACQUIRE_REPLY_BYTES))
		refused = REFUSED_IN(NVME_SC_SGL_INVALID_DATA, sgl.bytes);
	if (!refused && r->command.opcode == LH_ADMIN_ACQUIRE)
		refused = path_status(r);
	if (refused) {
		request_reject(r, refused);
		return;
	}
	switch (r->command.opcode) {
	case LH_ADMIN_ACQUIRE:
		counter_add(&acquires, 1);
		request_buffer(r, r->command.length, reply_buffered);
		break;
	case LH_ADMIN_RELEASE_PART:
		counter_add(&releases, 1);
		request_buffer(r, r->command.length, reply_buffered);
		break;
	case LH_ADMIN_RELEASE:
		counter_add(&releases, 1);
		request_on_control(r, release_on_control, answered);
		break;
	default:
		request_on_control(r, renew_on_control, answered);
		break;
	}
}
