// SPDX-License-Identifier: BSD-3-Clause
/*
 * The states of ANA groups: changed on control, told to hosts by an event, read by them in log page
 * 0Ch. A command that finds its namespace out of reach is refused when it begins; what has begun
 * runs to its end, since the memory is the same by any path.
 */
#include "nvme/controller.h"

#include <errno.h>
#include <stdio.h>

#include "util/log.h"
#include "wire/wire.h"

#define CMIC_ANA_REPORTING 0x08
/* All five states are reported; a namespace stays in its group. */
#define ANACAP_ALL_STATES  0x1f
#define ANACAP_FIXED_GROUP 0x40

DEFINE_COUNTER(changes, "nvme_ana_changes", "States of ANA groups that were changed");

/* ---- states ----------------------------------------------------------------------------------- */

void ana_init(struct ana_states *ana, const struct nvme_listen_options *options)
{
	for (unsigned int i = 0; i <= NVME_MAX_ANA_GROUPS; i++) {
		uint8_t state = options->ana_state[i] ? options->ana_state[i] : NVME_ANA_OPTIMIZED;

		atomic_init(&ana->state[i], state);
	}
}

uint16_t ana_refusal(enum nvme_ana_state state)
{
	switch (state) {
	case NVME_ANA_INACCESSIBLE:
		return NVME_SC_ANA_INACCESSIBLE;
	case NVME_ANA_PERSISTENT_LOSS:
		return NVME_SC_ANA_PERSISTENT_LOSS;
	default:
		return NVME_SC_ANA_TRANSITION;
	}
}

static void note_change(struct ana_states *ana, unsigned int group)
{
	ana->changed_at[group] = ++ana->changes;
}

void ana_members_changed(struct nvme_target *t, unsigned int group)
{
	struct list *l;

	list_for_each (l, &t->listeners)
		note_change(&list_entry(l, struct nvme_listener, link)->ana, group);
	list_for_each (l, &t->closed_listeners)
		note_change(&list_entry(l, struct nvme_listener, link)->ana, group);
}

/* Lost for good is lost to those who saw it: they come again and see what is new. */
static void end_lost(struct nvme_target *t, const struct nvme_listener *listener)
{
	struct list *l;

	list_for_each (l, &t->controllers) {
		struct controller *c = list_entry(l, struct controller, link);

		if (c->listener == listener && !c->subsystem->discovery)
			controller_kill(c, "a persistent loss of access ended");
	}
}

static bool set_group(struct nvme_listener *listener, unsigned int group, enum nvme_ana_state state,
		      bool *lost)
{
	struct ana_states *ana = &listener->ana;
	enum nvme_ana_state old = ana_state(ana, group);

	if (old == state)
		return false;
	*lost |= old == NVME_ANA_PERSISTENT_LOSS;
	atomic_store_explicit(&ana->state[group], (uint8_t)state, memory_order_relaxed);
	note_change(ana, group);
	counter_add(&changes, 1);
	return true;
}

static void tell(struct nvme_target *t, const struct nvme_listener *listener, unsigned int group,
		 enum nvme_ana_state state)
{
	char which[32] = "s, all";

	if (group)
		(void)snprintf(which, sizeof(which), " %u", group);
	log_notice("listener %s: ANA group%s: %s from now on", listener->address, which,
		   nvme_ana_text(state));
	controllers_ana_changed(t, listener);
}

int nvme_target_set_ana(struct nvme_target *t, uint16_t portid, unsigned int group,
			enum nvme_ana_state state)
{
	unsigned int first = group ? group : 1, last = group ? group : NVME_MAX_ANA_GROUPS;
	bool changed = false, lost = false;
	struct nvme_listener *listener = listener_find(t, portid);

	assert(loop_is_current(t->env.control));
	if (group > NVME_MAX_ANA_GROUPS)
		return -ERANGE;
	if (!listener)
		return -ENOENT;
	for (unsigned int g = first; g <= last; g++)
		changed |= set_group(listener, g, state, &lost);
	if (changed)
		tell(t, listener, group, state);
	if (lost)
		end_lost(t, listener);
	return 0;
}

/* ---- the log (control) ------------------------------------------------------------------------ */

/* A host counts from its own beginning. */
static uint64_t since(const struct request *r, uint64_t change)
{
	uint64_t base = r->queue->controller->ana_base;

	return change > base ? change - base : 0;
}

/* Those that hosts can see, by rising id. */
static unsigned int list_members(const struct request *r, unsigned int group,
				 le32 nsids[NVME_MAX_NAMESPACES])
{
	const struct nvme_target *t = r->queue->q.target;
	unsigned int n = 0;

	for (unsigned int i = 0; i < t->nr_homes; i++) {
		const struct ns_home *home = &t->homes[i];
		unsigned int at = n;
		uint32_t nsid;

		if (home->subsystem != r->queue->controller->subsystem ||
		    home->announced_bytes == 0 || home->ana_group != group)
			continue;
		nsid = holding_nsid(home->holding);
		for (; at > 0 && le32toh(nsids[at - 1]) > nsid; at--)
			nsids[at] = nsids[at - 1];
		nsids[at] = htole32(nsid);
		n++;
	}
	return n;
}

static void log_on_control(struct request *r)
{
	const struct nvme_listener *listener = r->queue->controller->listener;
	const bool groups_only = le32toh(request_sqe(r)->cdw10) & NVME_LOG_ANA_RGO;
	const struct log_part *part = &r->u.log;
	struct nvme_ana_log head = {
		.change_count = htole64(since(r, listener->ana.changes)),
	};
	uint64_t pos = sizeof(head);
	uint16_t groups = 0;

	for (unsigned int group = 1; group <= NVME_MAX_ANA_GROUPS; group++) {
		le32 nsids[NVME_MAX_NAMESPACES];
		unsigned int n = list_members(r, group, nsids);
		struct nvme_ana_group descriptor = {
			.id = htole32(group),
			.nsids = htole32(groups_only ? 0 : n),
			.change_count = htole64(since(r, listener->ana.changed_at[group])),
			.state = (uint8_t)ana_state(&listener->ana, group),
		};

		if (n == 0)
			continue;
		groups++;
		log_part_put(part, r->bounce.data, pos, &descriptor, sizeof(descriptor));
		pos += sizeof(descriptor);
		if (groups_only)
			continue;
		log_part_put(part, r->bounce.data, pos, nsids, n * sizeof(nsids[0]));
		pos += n * sizeof(nsids[0]);
	}
	head.groups = htole16(groups);
	log_part_put(part, r->bounce.data, 0, &head, sizeof(head));
	r->status = NVME_SC_SUCCESS;
	if (part->offset > pos) {
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

void ana_log_execute(struct request *r)
{
	admin_reply(r, r->u.log.length, fill_log);
}

/* ---- Identify --------------------------------------------------------------------------------- */

void ana_identify_controller(const struct nvme_target *t, struct nvme_id_ctrl *id)
{
	id->cmic |= CMIC_ANA_REPORTING;
	id->oaes = htole32(le32toh(id->oaes) | NVME_AEN_CFG_ANA);
	id->anatt = (uint8_t)t->env.limits.ana_transition_s;
	id->anacap = ANACAP_ALL_STATES | ANACAP_FIXED_GROUP;
	id->anagrpmax = htole32(NVME_MAX_ANA_GROUPS);
	id->nanagrpid = htole32(NVME_MAX_ANA_GROUPS);
}
