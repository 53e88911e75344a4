// SPDX-License-Identifier: BSD-3-Clause
/* The target as a whole: its birth, its subsystems, its stop. Control loop. */
#include "nvme/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nvme/discovery.h"
#include "nvme/nvme_queue.h"
#include "nvme/receives.h"
#include "nvme/resv.h"

#define MACHINE_ID_BYTES 32

/* ---- birth ------------------------------------------------------------------------------------ */

static int add_subsystem(struct nvme_target *t, const char *nqn, struct nvme_subsystem **subsystem);

static int limits_check(struct nvme_limits *l)
{
	static_assert(sizeof(struct nvmf_connect_data) == NVME_MIN_INLINE_BYTES, "Connect");
	/* Depths below NVME_MIN_QUEUE_DEPTH are for tests. */
	if (l->queue_depth < 2 || l->queue_depth > NVME_MAX_QUEUE_DEPTH || l->max_io_queues == 0 ||
	    l->max_io_queues > 65534 || l->max_controllers == 0 || l->max_connections == 0)
		return -EINVAL;
	/* Identify Controller counts in units of 16 bytes. */
	if (l->inline_bytes < NVME_MIN_INLINE_BYTES || l->inline_bytes > NVME_MAX_INLINE_BYTES ||
	    l->inline_bytes % 16 != 0)
		return -EINVAL;
	if (l->shared_receives > NVME_MAX_SHARED_RECEIVES ||
	    (l->shared_receives > 0 && l->shared_receives <= l->max_connections))
		return -EINVAL;
	if (l->controllers_per_host == 0)
		l->controllers_per_host = l->max_controllers;
	if (l->transfer_timeout_ms == 0)
		l->transfer_timeout_ms = NVME_DEFAULT_TRANSFER_TIMEOUT_MS;
	if (l->ana_transition_s == 0)
		l->ana_transition_s = NVME_DEFAULT_ANA_TRANSITION_S;
	if (l->ana_transition_s > 127)
		return -EINVAL;
	if (l->mdts_bytes < NVME_MIN_MDTS_BYTES || l->mdts_bytes > NVME_MAX_MDTS_BYTES ||
	    !is_pow2(l->mdts_bytes))
		return -EINVAL;
	return 0;
}

static void free_reactors(struct nvme_target *t)
{
	receives_free(t);
	for (unsigned int i = 0; i < t->env.nr_reactors; i++) {
		for (unsigned int d = 0; d < GRANT_MAX_DEVICES; d++)
			bounce_pool_free(t->reactors[i].bounce[d]);
		holdings_fini(&t->reactors[i]);
	}
	free(t->reactors);
}

static int make_reactors(struct nvme_target *t)
{
	const struct holding_env *h = t->env.holdings;

	for (unsigned int i = 0; i < t->env.nr_reactors; i++) {
		struct nvme_reactor *nr = &t->reactors[i];

		nr->target = t;
		nr->reactor = t->env.reactors[i];
		nr->loop = reactor_loop(nr->reactor);
		nr->index = i;
		stall_init(nr);
		for (unsigned int d = 0; d < h->nr_devices; d++) {
			int err = bounce_pool_new(h->block_pds[d], t->env.limits.bounce_bytes,
						  t->env.limits.mdts_bytes, &nr->bounce[d]);

			if (err)
				return err;
		}
	}
	receives_new(t);
	return 0;
}

int nvme_target_new(const struct nvme_env *env, struct nvme_target **target)
{
	struct nvme_target *t = calloc(1, sizeof(*t));
	struct nvme_subsystem *discovery;
	int err = -ENOMEM;

	if (!t)
		return -ENOMEM;
	t->env = *env;
	t->started_ns = now_ns();
	(void)snprintf(t->late_why, sizeof(t->late_why),
		       "it had not begun after %u ms, limits.first_command_ms",
		       env->limits.first_command_ms);
	t->warmth.period_ms = HEALTH_LOOK_MS;
	discovery_init(t);
	list_init(&t->channels);
	list_init(&t->listeners);
	list_init(&t->closed_listeners);
	list_init(&t->subsystems);
	list_init(&t->controllers);
	list_init(&t->queues);
	err = limits_check(&t->env.limits);
	if (err)
		goto free_target;
	err = -ENOMEM;
	t->reactors = calloc(env->nr_reactors, sizeof(*t->reactors));
	if (!t->reactors)
		goto free_target;
	for (unsigned int i = 0; i < env->nr_reactors; i++)
		holdings_init(&t->reactors[i]);
	err = make_reactors(t);
	if (err)
		goto free_reactors;
	err = add_subsystem(t, NVME_DISCOVERY_NQN, &discovery);
	if (err)
		goto free_reactors;
	discovery->discovery = true;
	discovery->max_nsid = 0;
	*target = t;
	return 0;

free_reactors:
	free_reactors(t);
free_target:
	free(t);
	return err;
}

void nvme_target_limit(struct nvme_target *t, unsigned int max_connections,
		       unsigned int controllers_per_host)
{
	struct nvme_limits *l = &t->env.limits;

	assert(loop_is_current(t->env.control));
	assert(l->shared_receives == 0 || max_connections < l->shared_receives);
	l->max_connections = max_connections;
	l->controllers_per_host = controllers_per_host;
}

/* ---- subsystems ------------------------------------------------------------------------------- */

/* FNV-1a: a serial number that survives restarts and differs between machines. */
static uint64_t hash(uint64_t h, const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		h = (h ^ (uint8_t)text[i]) * 0x100000001b3ull;
	return h;
}

static void make_serial(struct nvme_subsystem *s)
{
	char id[MACHINE_ID_BYTES] = {0};
	uint64_t h = 0xcbf29ce484222325ull;
	int fd = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, id, sizeof(id)) > 0)
			h = hash(h, id, sizeof(id));
		(void)close(fd);
	}
	h = hash(h, s->nqn, strlen(s->nqn));
	(void)snprintf(s->serial, sizeof(s->serial), "LH%016llX", (unsigned long long)h);
}

static int add_subsystem(struct nvme_target *t, const char *nqn, struct nvme_subsystem **subsystem)
{
	struct nvme_subsystem *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->target = t;
	(void)snprintf(s->nqn, sizeof(s->nqn), "%s", nqn);
	make_serial(s);
	s->max_nsid = NVME_MAX_NSID;
	s->slot_of = calloc(t->env.nr_reactors, sizeof(*s->slot_of));
	if (!s->slot_of) {
		free(s);
		return -ENOMEM;
	}
	for (unsigned int r = 0; r < t->env.nr_reactors; r++) {
		for (unsigned int i = 0; i <= NVME_MAX_NSID; i++)
			s->slot_of[r][i] = NVME_MAX_NAMESPACES;
	}
	list_push(&t->subsystems, &s->link);
	*subsystem = s;
	return 0;
}

int nvme_subsystem_new(struct nvme_target *t, const char *nqn, struct nvme_subsystem **subsystem)
{
	int err;

	if (nqn_check(nqn, NVME_NQN_BYTES) < 0 || strcmp(nqn, NVME_DISCOVERY_NQN) == 0)
		return -EINVAL;
	if (target_find_subsystem(t, nqn))
		return -EEXIST;
	err = add_subsystem(t, nqn, subsystem);
	if (!err)
		discovery_changed(t);
	return err;
}

struct nvme_subsystem *target_find_subsystem(struct nvme_target *t, const char *nqn)
{
	struct list *l;

	list_for_each (l, &t->subsystems) {
		struct nvme_subsystem *s = list_entry(l, struct nvme_subsystem, link);

		if (strcmp(s->nqn, nqn) == 0)
			return s;
	}
	return NULL;
}

int target_device_index(const struct nvme_target *t, const struct fabric_device *dev)
{
	const struct holding_env *h = t->env.holdings;

	for (unsigned int i = 0; i < h->nr_devices; i++) {
		if (h->devices[i] == dev)
			return (int)i;
	}
	return -ENODEV;
}

/* ---- the stop --------------------------------------------------------------------------------- */

void target_check_stopped(struct nvme_target *t)
{
	void (*stopped)(void *arg) = t->stopped;

	if (!t->stopping || !stopped || t->nr_queues > 0 || t->nr_rejects > 0 ||
	    t->nr_attaching > 0 || t->nr_renewing > 0 || t->warmth.busy || !receives_settle(t))
		return;
	assert(list_empty(&t->controllers));
	t->stopped = NULL;
	channel_close_all(t);
	stopped(t->stopped_arg);
}

static void stop_now(struct loop_msg *msg)
{
	target_check_stopped(container_of(msg, struct nvme_target, stop_msg));
}

void nvme_target_stop(struct nvme_target *t, void (*done)(void *arg), void *arg)
{
	struct list *l;

	assert(!t->stopping);
	t->stopping = true;
	t->stopped = done;
	t->stopped_arg = arg;
	listener_close_all(t);
	temperature_forget(t);
	list_for_each (l, &t->queues)
		queue_stop(list_entry(l, struct queue, link), "the target stops");
	/* Not from inside the caller. */
	loop_post(t->env.control, &t->stop_msg, stop_now);
}

void nvme_target_free(struct nvme_target *t)
{
	struct list *l;

	if (!t)
		return;
	/* Without a stop: it never listened, or nobody came. */
	assert(t->nr_queues == 0 && t->nr_rejects == 0);
	listener_close_all(t);
	listener_free_all(t);
	channel_close_all(t);
	while ((l = list_pop(&t->subsystems))) {
		struct nvme_subsystem *s = list_entry(l, struct nvme_subsystem, link);

		free(s->slot_of);
		free(s);
	}
	for (unsigned int i = 0; i < t->nr_homes; i++) {
		interlock_free(t->homes[i].interlock);
		resv_free(t->homes[i].resv);
	}
	free(t->hosts);
	free_reactors(t);
	free(t);
}
