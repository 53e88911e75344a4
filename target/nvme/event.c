// SPDX-License-Identifier: BSD-3-Clause
/*
 * Asynchronous events (NVMe base 2.0 §5.2). They arise on control, travel by message to the reactor
 * of the admin queue, and are noted in the log they point to; a held request answers at once or
 * when one comes. Until that log is read, further events of the kind stay quiet; what is in it then
 * has been told by it.
 */
#include "nvme/resv.h"

#include <stdlib.h>
#include <string.h>

DEFINE_COUNTER(events_sent, "nvme_events", "Asynchronous events sent to hosts");

struct event_msg {
	struct loop_msg msg;
	struct controller *controller;
	bool error;
	bool ns_changed;
	bool ns_gone;
	bool discovery_changed;
	bool ana_changed;
	bool measured;
	uint16_t temperature; /* then */
	uint8_t change;	      /* enum lh_change, or 0 */
	bool told;	      /* of the change, by another way: for the log alone */
	uint8_t resv;	      /* enum nvme_resv_notice, or 0 */
	uint32_t nsid;
	unsigned int slot;
	uint32_t generation;
	uint64_t offset, length;
};

/* ---- on the admin queue's reactor ------------------------------------------------------------- */

static void answer(struct controller *c, enum nvme_aen_type type, uint8_t info, uint8_t page)
{
	struct controller_admin *a = &c->a;
	struct request *r = a->held[0];

	a->nr_held--;
	memmove(&a->held[0], &a->held[1], a->nr_held * sizeof(a->held[0]));
	r->dw0 = (uint32_t)type | (uint32_t)info << 8 | (uint32_t)page << 16;
	request_set_state(r, REQUEST_PARSED);
	counter_add(&events_sent, 1);
	request_complete(r, NVME_SC_SUCCESS);
}

static void answer_pending(struct controller *c)
{
	struct controller_admin *a = &c->a;

	if (a->nr_held > 0 && a->error_pending && !a->error_masked) {
		a->error_pending = false;
		a->error_masked = true;
		answer(c, NVME_AEN_ERROR, NVME_AEN_ERROR_TRANSIENT, NVME_LOG_ERROR);
	}
	if (a->nr_held > 0 && a->hot && !a->hot_told && !a->smart_masked &&
	    (a->async_config & NVME_AEN_CFG_TEMPERATURE)) {
		a->hot_told = true;
		a->smart_masked = true;
		answer(c, NVME_AEN_SMART, NVME_AEN_SMART_TEMPERATURE, NVME_LOG_SMART);
	}
	if (a->nr_held > 0 && resv_notice_waiting(c) && !a->resv_masked) {
		a->resv_masked = true;
		answer(c, NVME_AEN_IO_SPECIFIC, 0, NVME_LOG_RESERVATION);
	}
	if (a->nr_held > 0 && a->vendor_pending && !a->vendor_masked) {
		a->vendor_pending = false;
		a->vendor_masked = true;
		answer(c, NVME_AEN_VENDOR, a->vendor_change, LH_LOG_RECALLS);
	}
	if (a->nr_held > 0 && a->ns_pending && !a->ns_masked &&
	    (a->async_config & NVME_AEN_CFG_NS_ATTR)) {
		a->ns_pending = false;
		a->ns_masked = true;
		answer(c, NVME_AEN_NOTICE, NVME_AEN_NOTICE_NS_CHANGED, NVME_LOG_CHANGED_NS);
	}
	if (a->nr_held > 0 && a->ana_pending && !a->ana_masked &&
	    (a->async_config & NVME_AEN_CFG_ANA)) {
		a->ana_pending = false;
		a->ana_masked = true;
		answer(c, NVME_AEN_NOTICE, NVME_AEN_NOTICE_ANA, NVME_LOG_ANA);
	}
	if (a->nr_held > 0 && a->discovery_pending && !a->discovery_masked &&
	    (a->async_config & NVME_AEN_CFG_DISCOVERY)) {
		a->discovery_pending = false;
		a->discovery_masked = true;
		answer(c, NVME_AEN_NOTICE, NVME_AEN_NOTICE_DISCOVERY, NVME_LOG_DISCOVERY);
	}
}

static void note_ns(struct controller_admin *a, uint32_t nsid)
{
	a->ns_pending = (a->async_config & NVME_AEN_CFG_NS_ATTR) != 0;
	for (unsigned int i = 0; i < a->nr_changed_ns && i < CHANGED_NS_MAX; i++) {
		if (a->changed_ns[i] == nsid)
			return;
	}
	/* In order, as every list of namespaces is. */
	if (a->nr_changed_ns < CHANGED_NS_MAX) {
		unsigned int at = a->nr_changed_ns;

		for (; at > 0 && a->changed_ns[at - 1] > nsid; at--)
			a->changed_ns[at] = a->changed_ns[at - 1];
		a->changed_ns[at] = nsid;
	}
	if (a->nr_changed_ns <= CHANGED_NS_MAX)
		a->nr_changed_ns++;
}

static void note_change(struct controller_admin *a, const struct event_msg *event)
{
	uint64_t sequence = a->next_change++;

	a->changes[sequence % CHANGE_LOG_ENTRIES] = (struct lh_change_entry){
		.sequence = htole64(sequence),
		.nsid = htole32(event->nsid),
		.generation = htole32(event->generation),
		.offset = htole64(event->offset),
		.length = htole64(event->length),
		.change = event->change,
	};
	if (a->nr_changes < CHANGE_LOG_ENTRIES)
		a->nr_changes++;
	if (event->told)
		return;
	a->vendor_change = event->change;
	/* Plain hosts never hear of it. */
	a->vendor_pending = a->direct_aware;
}

/* Told once, until it was within the thresholds again. */
static void look_at_temperature(struct controller *c)
{
	c->a.hot = controller_is_hot(&c->a.features, c->a.temperature);
	if (!c->a.hot)
		c->a.hot_told = false;
}

/*
 * What namespaces have changed while nobody wanted to be told is in the log, but no event any more: it
 * is one when it happens. A change of access is told later too: Linux reads that log before it asks to be
 * told, and would stay with what it has read.
 */
void event_configure(struct controller *c, uint32_t config)
{
	c->a.async_config = config;
	if (!(config & NVME_AEN_CFG_NS_ATTR))
		c->a.ns_pending = false;
	event_thresholds_changed(c);
}

void event_thresholds_changed(struct controller *c)
{
	look_at_temperature(c);
	answer_pending(c);
}

static void event_arrived(struct loop_msg *msg)
{
	struct event_msg *event = container_of(msg, struct event_msg, msg);
	struct controller *c = event->controller;

	if (event->error)
		c->a.error_pending = true;
	if (event->ns_changed)
		note_ns(&c->a, event->nsid);
	/* The next one in its place begins with the defaults. */
	if (event->ns_gone) {
		c->a.features.recovery[event->slot] = 0;
		c->a.features.resv_mask[event->slot] = 0;
	}
	if (event->change)
		note_change(&c->a, event);
	if (event->resv)
		resv_notice_note(c, event->nsid, event->slot, (enum nvme_resv_notice)event->resv);
	if (event->discovery_changed)
		c->a.discovery_pending = true;
	if (event->ana_changed)
		c->a.ana_pending = true;
	if (event->measured) {
		c->a.temperature = event->temperature;
		look_at_temperature(c);
	}
	free(event);
	answer_pending(c);
}

void event_request_execute(struct request *r)
{
	struct controller *c = r->queue->controller;

	if (c->a.nr_held == NVME_AER_LIMIT) {
		request_complete(r, NVME_SC_AEN_LIMIT | NVME_SC_DNR);
		return;
	}
	request_set_state(r, REQUEST_HELD);
	list_init(&r->link);
	/* A held request needs no receive buffer: the host may send another command into it. */
	request_put_capsule(r);
	c->a.held[c->a.nr_held++] = r;
	answer_pending(c);
}

void event_request_forget(struct controller *c, const struct request *r)
{
	struct controller_admin *a = &c->a;
	unsigned int i = 0;

	while (a->held[i] != r)
		i++;
	assert(i < a->nr_held);
	a->nr_held--;
	memmove(&a->held[i], &a->held[i + 1], (a->nr_held - i) * sizeof(a->held[0]));
}

/*
 * What came until now is in the log that was read, so it is no event any more (NVMe base 2.0 §5.2). A
 * later part alone says nothing of what came since the beginning was read: that is still told.
 */
static void clear(const struct log_part *part, bool *pending, bool *masked)
{
	*masked = false;
	if (part->offset == 0)
		*pending = false;
}

void event_log_read(struct controller *c, const struct log_part *part)
{
	struct controller_admin *a = &c->a;

	if (part->retain)
		return;
	switch (part->page) {
	case LH_LOG_RECALLS:
		clear(part, &a->vendor_pending, &a->vendor_masked);
		break;
	case NVME_LOG_RESERVATION:
		/* The next notice is a log page of its own. */
		resv_notice_take(c);
		a->resv_masked = false;
		break;
	case NVME_LOG_SMART:
		a->smart_masked = false;
		if (part->offset == 0)
			a->hot_told = a->hot;
		break;
	case NVME_LOG_ERROR:
		clear(part, &a->error_pending, &a->error_masked);
		break;
	case NVME_LOG_CHANGED_NS:
		a->nr_changed_ns = 0;
		clear(part, &a->ns_pending, &a->ns_masked);
		break;
	case NVME_LOG_DISCOVERY:
		clear(part, &a->discovery_pending, &a->discovery_masked);
		break;
	case NVME_LOG_ANA:
		clear(part, &a->ana_pending, &a->ana_masked);
		break;
	default:
		return;
	}
	answer_pending(c);
}

uint32_t event_changed_ns_log(const struct controller *c, uint8_t *log)
{
	const struct controller_admin *a = &c->a;
	le32 *list = (le32 *)log;

	memset(log, 0, CHANGED_NS_MAX * sizeof(*list));
	if (a->nr_changed_ns > CHANGED_NS_MAX) {
		list[0] = htole32(NVME_NSID_ALL);
	} else {
		for (unsigned int i = 0; i < a->nr_changed_ns; i++)
			list[i] = htole32(a->changed_ns[i]);
	}
	return CHANGED_NS_MAX * sizeof(*list);
}

uint32_t event_change_log(const struct controller *c, uint8_t *log)
{
	const struct controller_admin *a = &c->a;
	uint64_t oldest = a->next_change - a->nr_changes;
	struct lh_change_log head = {
		.oldest = htole64(oldest),
		.count = htole32(a->nr_changes),
		.entry_bytes = htole32(sizeof(struct lh_change_entry)),
	};

	memcpy(log, &head, sizeof(head));
	for (unsigned int i = 0; i < a->nr_changes; i++)
		memcpy(log + sizeof(head) + i * sizeof(a->changes[0]),
		       &a->changes[(oldest + i) % CHANGE_LOG_ENTRIES], sizeof(a->changes[0]));
	return (uint32_t)(sizeof(head) + a->nr_changes * sizeof(a->changes[0]));
}

/* ---- on control ------------------------------------------------------------------------------- */

static void send_event(struct controller *c, const struct event_msg *what)
{
	struct event_msg *event;

	if (c->dying || !c->admin || !queue_reachable(&c->admin->q))
		return;
	event = malloc(sizeof(*event));
	/* Only a doorbell: the logs and the direct queue say the same. */
	if (!event)
		return;
	*event = *what;
	event->controller = c;
	loop_post(c->admin->q.nr->loop, &event->msg, event_arrived);
}

static void send_to_all(struct nvme_target *t, const struct nvme_subsystem *s,
			const struct event_msg *what)
{
	struct list *l;

	list_for_each (l, &t->controllers) {
		struct controller *c = list_entry(l, struct controller, link);

		if (c->subsystem == s)
			send_event(c, what);
	}
}

void controllers_ns_changed(struct nvme_target *t, const struct ns_home *home)
{
	struct event_msg event = {
		.ns_changed = true,
		.ns_gone = home->detached,
		.nsid = holding_nsid(home->holding),
		.slot = (unsigned int)(home - t->homes),
	};

	send_to_all(t, home->subsystem, &event);
}

void controllers_ana_changed(struct nvme_target *t, const struct nvme_listener *listener)
{
	const struct event_msg event = {.ana_changed = true};
	struct list *l;

	list_for_each (l, &t->controllers) {
		struct controller *c = list_entry(l, struct controller, link);

		if (c->listener == listener && !c->subsystem->discovery)
			send_event(c, &event);
	}
}

void controllers_discovery_changed(struct nvme_target *t)
{
	const struct event_msg event = {.discovery_changed = true};
	struct list *l;

	list_for_each (l, &t->controllers) {
		struct controller *c = list_entry(l, struct controller, link);

		if (c->subsystem->discovery)
			send_event(c, &event);
	}
}

void controllers_temperature(struct nvme_target *t, uint16_t kelvins)
{
	const struct event_msg event = {.measured = true, .temperature = kelvins};
	struct list *l;

	list_for_each (l, &t->controllers) {
		struct controller *c = list_entry(l, struct controller, link);

		if (!c->subsystem->discovery)
			send_event(c, &event);
	}
}

void controllers_changed(struct nvme_target *t, const struct ns_home *home, unsigned int change)
{
	struct holding_status status;
	struct event_msg event = {
		.change = (uint8_t)change,
		.nsid = holding_nsid(home->holding),
	};

	holding_status(home->holding, &status);
	event.generation = status.generation;
	event.length = home->detached ? 0 : status.size_bytes;
	send_to_all(t, home->subsystem, &event);
}

void controllers_recalled(struct nvme_target *t, const struct ns_home *home, unsigned int change,
			  uint64_t offset, uint64_t length)
{
	struct holding_status status;
	struct event_msg event = {
		.change = (uint8_t)change,
		.nsid = holding_nsid(home->holding),
		.offset = offset,
		.length = length,
	};
	struct list *l;

	list_for_each (l, &t->controllers) {
		struct controller *c = list_entry(l, struct controller, link);

		if (c->subsystem != home->subsystem || !atomic_load(&c->watching))
			continue;
		if (!event.generation) {
			holding_status(home->holding, &status);
			event.generation = status.generation;
		}
		send_event(c, &event);
	}
}

void controllers_resv_notice(struct nvme_target *t, const struct ns_home *home,
			     const struct resv_notice *notice)
{
	const struct event_msg event = {
		.resv = (uint8_t)notice->what,
		.nsid = holding_nsid(home->holding),
		.slot = (unsigned int)(home - t->homes),
	};
	struct list *l;

	list_for_each (l, &t->controllers) {
		struct controller *c = list_entry(l, struct controller, link);

		if (c->subsystem == home->subsystem &&
		    memcmp(c->hostid, notice->hostid, sizeof(c->hostid)) == 0)
			send_event(c, &event);
	}
}

static void error_on_control(struct loop_msg *msg)
{
	struct controller *c = container_of(msg, struct controller, error_msg);
	struct event_msg event = {.error = true};

	atomic_store_explicit(&c->error_told, false, memory_order_release);
	send_event(c, &event);
}

/* Control sees it before the last message of the queue that it comes from, and so before the end. */
void controller_error_event(struct controller *c)
{
	if (!atomic_exchange_explicit(&c->error_told, true, memory_order_acq_rel))
		loop_post(c->target->env.control, &c->error_msg, error_on_control);
}

void controller_recall_event(struct controller *c, uint32_t nsid, uint64_t offset, uint64_t length,
			     uint32_t generation, bool told)
{
	struct event_msg event = {
		.change = LH_CHANGE_RECALL,
		.told = told,
		.nsid = nsid,
		.generation = generation,
		.offset = offset,
		.length = length,
	};

	send_event(c, &event);
}
