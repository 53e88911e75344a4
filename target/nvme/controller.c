// SPDX-License-Identifier: BSD-3-Clause
/*
 * Controllers: who is connected. Control loop. A controller is made by the Connect of an admin
 * queue and dies with it; it is freed when the last of its queues is.
 */
#include "nvme/controller.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/direct_queue.h"
#include "nvme/discovery.h"
#include "util/log.h"

#define CNTLID_MAX 0xffef

DEFINE_COUNTER(controllers_made, "nvme_controllers", "Associations that hosts made");
DEFINE_COUNTER(controllers_refused, "nvme_controllers_refused",
	       "Associations refused because a limit of controllers was reached");
DEFINE_COUNTER(controllers_expired, "nvme_keep_alive_expired", "Associations ended by keep alive");

struct controller *controller_find(struct nvme_target *t, uint16_t cntlid)
{
	struct list *l;

	list_for_each (l, &t->controllers) {
		struct controller *c = list_entry(l, struct controller, link);

		if (c->cntlid == cntlid)
			return c;
	}
	return NULL;
}

/* ---- keep alive ------------------------------------------------------------------------------- */

/* Traffic counts: any command since the last look is a sign of life (NVMe base 2.0 §3.9). */
static void keep_alive_due(struct loop_timer *timer)
{
	struct controller *c = container_of(timer, struct controller, keep_alive);

	if (!atomic_exchange_explicit(&c->active, false, memory_order_relaxed)) {
		counter_add(&controllers_expired, 1);
		controller_kill(c, "its keep-alive time is over");
		return;
	}
	controller_set_kato(c, c->kato_ms);
}

void controller_set_kato(struct controller *c, uint32_t kato_ms)
{
	struct loop *loop = c->target->env.control;

	if (kato_ms == 0 && c->subsystem->discovery)
		kato_ms = NVME_DISCOVERY_IDLE_MS;
	c->kato_ms = kato_ms;
	if (kato_ms == 0 || c->dying)
		loop_timer_cancel(loop, &c->keep_alive);
	else
		loop_timer_set(loop, &c->keep_alive, now_ns() + kato_ms * NS_PER_MS);
}

/* ---- Connect ---------------------------------------------------------------------------------- */

static uint16_t new_cntlid(struct nvme_target *t)
{
	do {
		t->next_cntlid = t->next_cntlid >= CNTLID_MAX ? 1 : (uint16_t)(t->next_cntlid + 1);
	} while (controller_find(t, t->next_cntlid));
	return t->next_cntlid;
}

static void attach(struct nvme_queue *nq, struct controller *c)
{
	nq->owner = c;
	queue_started(&nq->q);
	atomic_store_explicit(&c->active, true, memory_order_relaxed);
}

unsigned int controllers_of_host(const struct nvme_target *t, const char *hostnqn)
{
	const struct list *l;
	unsigned int n = 0;

	list_for_each (l, &t->controllers) {
		const struct controller *c = list_entry(l, struct controller, link);

		if (!c->dying && strcmp(c->hostnqn, hostnqn) == 0)
			n++;
	}
	return n;
}

/* Who may only ask the discovery service must not take the place of who may connect. */
static unsigned int strangers_limit(const struct nvme_target *t)
{
	return (unsigned int)max_u64(t->env.limits.max_controllers / NVME_STRANGERS_PART, 1);
}

/* Discovery controllers of hosts that may not connect. Those that end have their place until they have. */
static unsigned int strangers(const struct nvme_target *t)
{
	const struct list *l;
	unsigned int n = 0;

	list_for_each (l, &t->controllers) {
		const struct controller *c = list_entry(l, struct controller, link);

		if (c->subsystem->discovery && !host_may_connect(t, c->hostnqn, c->here))
			n++;
	}
	return n;
}

/* A limit of controllers, as the log says it. */
struct full {
	const char *who;
	unsigned int allowed;
	const char *limit, *advice;
};

/*
 * Whether the host has all that it may have. One that connects again and again must not keep out the others,
 * nor may those who are not listed keep out those who are.
 */
static bool is_full(const struct nvme_target *t, const struct connect *connect, bool welcome,
		    struct full *full)
{
	const struct nvme_limits *limits = &t->env.limits;

	*full = (struct full){"there are", limits->max_controllers, "limits.max_controllers",
			      "disconnect hosts (`leasehold status` lists them) or raise it"};
	if (t->nr_controllers >= full->allowed)
		return true;
	*full = (struct full){"it has", limits->controllers_per_host, "limits.controllers_per_host",
			      "disconnect some there (`leasehold status` lists them) or raise it"};
	if (controllers_of_host(t, connect->hostnqn) >= full->allowed)
		return true;
	*full = (struct full){"hosts that may not connect have", strangers_limit(t),
			      "a quarter of limits.max_controllers",
			      "list those that may (`leasehold host allow`) or raise it"};
	return !welcome && strangers(t) >= full->allowed;
}

static bool may_have_controller(const struct nvme_queue *nq, const struct connect *connect,
				bool welcome)
{
	char more[REFUSAL_MORE_BYTES], host[HOST_TEXT_BYTES];
	struct full full;

	if (!is_full(nq->q.target, connect, welcome, &full))
		return true;
	counter_add(&controllers_refused, 1);
	if (refusal_has_line(nq->listener, more))
		log_warning("host %s was refused a controller of %s: %s %u, as many as %s "
			    "allows; %s%s",
			    host_text(connect->hostnqn, host), connect->subnqn, full.who,
			    full.allowed, full.limit, full.advice, more);
	return false;
}

static uint16_t connect_admin(struct nvme_queue *nq, const struct connect *connect,
			      struct controller **controller, uint32_t *dw0)
{
	struct nvme_target *t = nq->q.target;
	struct nvme_subsystem *s = target_find_subsystem(t, connect->subnqn);
	const bool here = nq->q.here;
	const bool welcome = host_may_connect(t, connect->hostnqn, here);
	char text[HOST_TEXT_BYTES];
	struct controller *c;

	/* Before anything else: who may not connect is not told what there is either. */
	if ((!s || !s->discovery) && !welcome) {
		host_refused(nq, connect->hostnqn);
		return NVME_SC_CONNECT_INVALID_HOST | NVME_SC_DNR;
	}
	if (!s) {
		*dw0 = CONNECT_IN_DATA(subnqn);
		return NVME_SC_CONNECT_INVALID_PARAM | NVME_SC_DNR;
	}
	/* No controller is available (NVMe-oF 1.1 §3.3); later there may be one. */
	if (!may_have_controller(nq, connect, welcome))
		return NVME_SC_CONNECT_BUSY;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NVME_SC_CONNECT_BUSY;
	c->target = t;
	c->subsystem = s;
	c->here = here;
	c->listener = nq->listener;
	listener_get(c->listener);
	c->ana_base = nq->listener->ana.changes;
	c->cntlid = new_cntlid(t);
	c->max_qid = t->env.limits.max_io_queues;
	memcpy(c->hostid, connect->hostid, sizeof(c->hostid));
	memcpy(c->hostnqn, connect->hostnqn, sizeof(c->hostnqn));
	list_init(&c->io_queues);
	list_init(&c->direct_queues);
	c->keep_alive.fn = keep_alive_due;
	c->a.kato_ms = keep_alive_round(connect->kato_ms);
	c->a.next_change = 1;
	features_reset(c);
	error_log_init(&c->errors);
	c->admin = nq;
	list_push(&t->controllers, &c->link);
	t->nr_controllers++;
	attach(nq, c);
	controller_set_kato(c, c->a.kato_ms);
	if (!s->discovery)
		temperature_watch(t);
	counter_add(&controllers_made, 1);
	log_info("host %s connected to %s from %s over %s: controller %u",
		 host_text(c->hostnqn, text), s->nqn, nq->q.address,
		 fabric_name(nq->q.channel->fabric), c->cntlid);
	*controller = c;
	*dw0 = c->cntlid;
	return NVME_SC_SUCCESS;
}

struct nvme_queue *controller_find_queue(const struct controller *c, uint16_t qid)
{
	struct list *l;

	list_for_each (l, &c->io_queues) {
		struct nvme_queue *nq = list_entry(l, struct nvme_queue, owner_link);

		/* Of one that ends nothing can be had any more; its id is free. */
		if (nq->cm_qid == qid && !nq->gone && nq->q.state < QUEUE_STOPPING)
			return nq;
	}
	return NULL;
}

static uint16_t connect_io(struct nvme_queue *nq, const struct connect *connect,
			   struct controller **controller, uint32_t *dw0)
{
	struct controller *c = controller_find(nq->q.target, connect->cntlid);

	if (!c || c->dying)
		*dw0 = CONNECT_IN_DATA(cntlid);
	else if (c->subsystem->discovery || connect->qid > c->max_qid)
		*dw0 = CONNECT_IN_COMMAND(qid);
	else if (strcmp(c->subsystem->nqn, connect->subnqn) != 0)
		*dw0 = CONNECT_IN_DATA(subnqn);
	else if (strcmp(c->hostnqn, connect->hostnqn) != 0)
		*dw0 = CONNECT_IN_DATA(hostnqn);
	else if (memcmp(c->hostid, connect->hostid, sizeof(c->hostid)) != 0)
		*dw0 = CONNECT_IN_DATA(hostid);
	else if (nq->listener != c->listener || !host_may_join(c, nq->q.here))
		*dw0 = CONNECT_IN_DATA(cntlid); /* an association goes by one port */
	if (*dw0)
		return NVME_SC_CONNECT_INVALID_PARAM | NVME_SC_DNR;
	if (!controller_ready(c) || controller_find_queue(c, connect->qid))
		return NVME_SC_COMMAND_SEQUENCE | NVME_SC_DNR;
	attach(nq, c);
	list_push(&c->io_queues, &nq->owner_link);
	c->nr_io_queues++;
	log_debug("controller %u: I/O queue %u connected from %s", c->cntlid, connect->qid,
		  nq->q.address);
	*controller = c;
	*dw0 = c->cntlid;
	return NVME_SC_SUCCESS;
}

uint16_t controller_connect(struct nvme_queue *nq, const struct connect *connect,
			    struct controller **controller, uint32_t *dw0)
{
	*dw0 = 0;
	/* It may be on its way out, and then nobody would detach it. */
	if (nq->q.state >= QUEUE_STOPPING || nq->q.target->stopping)
		return NVME_SC_COMMAND_SEQUENCE;
	return connect->qid == 0 ? connect_admin(nq, connect, controller, dw0)
				 : connect_io(nq, connect, controller, dw0);
}

bool controller_has_io_queues(const struct controller *c)
{
	struct list *l;

	list_for_each (l, &c->io_queues) {
		const struct nvme_queue *nq = list_entry(l, struct nvme_queue, owner_link);

		if (nq->q.state < QUEUE_STOPPING && !nq->gone)
			return true;
	}
	return false;
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void stop_queues(struct controller *c, const char *why)
{
	struct list *l;

	list_for_each (l, &c->io_queues)
		queue_stop(&list_entry(l, struct nvme_queue, owner_link)->q, why);
	list_for_each (l, &c->direct_queues)
		queue_stop(direct_queue_base(direct_queue_from_link(l)), why);
}

void controller_reset(struct controller *c)
{
	c->ana_base = c->listener->ana.changes;
	c->max_qid = c->target->env.limits.max_io_queues;
	stop_queues(c, "its controller was reset");
}

void controller_kill(struct controller *c, const char *why)
{
	char text[HOST_TEXT_BYTES];

	if (c->dying)
		return;
	c->dying = true;
	loop_timer_cancel(c->target->env.control, &c->keep_alive);
	log_info("host %s left controller %u of %s: %s", host_text(c->hostnqn, text), c->cntlid,
		 c->subsystem->nqn, why);
	stop_queues(c, "its controller has gone");
	if (c->admin)
		queue_stop(&c->admin->q, why);
}

void controller_queue_disconnected(struct nvme_queue *nq)
{
	nq->gone = true;
	queue_linger(&nq->q);
}

void controller_queue_stopping(struct nvme_queue *nq)
{
	struct controller *c = nq->owner;

	if (nq == c->admin)
		controller_kill(c, nq->q.why);
	else if (!c->dying)
		log_debug("controller %u: I/O queue %u ended: %s", c->cntlid, nq->cm_qid,
			  nq->q.why);
}

void controller_put(struct controller *c)
{
	struct nvme_target *t = c->target;

	if (!c->dying || c->admin || !list_empty(&c->io_queues) || !list_empty(&c->direct_queues))
		return;
	list_del(&c->link);
	t->nr_controllers--;
	error_log_fini(&c->errors);
	listener_put(c->listener);
	free(c);
}

void controller_queue_gone(struct nvme_queue *nq)
{
	struct controller *c = nq->owner;

	if (!c)
		return;
	if (nq == c->admin) {
		c->admin = NULL;
	} else {
		list_del(&nq->owner_link);
		c->nr_io_queues--;
		figures_fold(&c->subsystem->past, &nq->figures);
	}
	nq->owner = NULL;
	controller_put(c);
}

/* ---- direct queues ---------------------------------------------------------------------------- */

void controller_new_token(struct controller *c, uint8_t token[LH_TOKEN_BYTES])
{
	struct direct_token *oldest = &c->tokens[0];

	for (unsigned int i = 1; i < NVME_MAX_TOKENS; i++) {
		if (c->tokens[i].until_ns < oldest->until_ns)
			oldest = &c->tokens[i];
	}
	random_bytes(oldest->token, sizeof(oldest->token));
	oldest->until_ns = now_ns() + LH_TOKEN_LIFE_MS * NS_PER_MS;
	memcpy(token, oldest->token, LH_TOKEN_BYTES);
}

bool controller_take_token(struct controller *c, const uint8_t token[LH_TOKEN_BYTES])
{
	uint64_t now = now_ns();

	for (unsigned int i = 0; i < NVME_MAX_TOKENS; i++) {
		struct direct_token *known = &c->tokens[i];
		uint8_t differs = 0;

		/* In constant time: nobody learns how much of a guess was right. */
		for (unsigned int j = 0; j < LH_TOKEN_BYTES; j++)
			differs |= known->token[j] ^ token[j];
		if (differs || known->until_ns == 0)
			continue;
		bool in_time = now < known->until_ns;

		*known = (struct direct_token){0};
		return in_time;
	}
	return false;
}

struct direct_queue *controller_find_direct(struct controller *c, uint16_t dqid)
{
	struct list *l;

	list_for_each (l, &c->direct_queues) {
		struct direct_queue *dq = direct_queue_from_link(l);

		if (direct_queue_id(dq) == dqid)
			return dq;
	}
	return NULL;
}

/* ---- status ----------------------------------------------------------------------------------- */

void nvme_target_each_controller(struct nvme_target *t,
				 void (*fn)(const struct nvme_controller_status *status, void *arg),
				 void *arg)
{
	struct list *l;

	list_for_each (l, &t->controllers) {
		const struct controller *c = list_entry(l, struct controller, link);
		struct nvme_controller_status status = {
			.cntlid = c->cntlid,
			.hostnqn = c->hostnqn,
			.subnqn = c->subsystem->nqn,
			.fabric = "",
			.io_queues = c->nr_io_queues,
			.direct_queues = c->nr_direct_queues,
			.kato_ms = c->kato_ms,
		};

		if (c->dying || !c->admin)
			continue;
		status.fabric = fabric_name(c->admin->q.channel->fabric);
		(void)snprintf(status.address, sizeof(status.address), "%s", c->admin->q.address);
		fn(&status, arg);
	}
}
