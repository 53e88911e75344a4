// SPDX-License-Identifier: BSD-3-Clause
/*
 * Clients: one direct queue each, with the grants it holds of all exports. Their keys are killed
 * here, in batches on the registrar, ahead of everything normal; a grant's bytes are free for others
 * only when its key is dead. Control loop.
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/counter.h"
#include "util/log.h"

#define KILL_COMPLAIN 8 /* failures in a row that are worth a line */

DEFINE_COUNTER(grants_expired, "grants_expired", "Grants that their client did not renew in time");
DEFINE_COUNTER(clients_fenced, "clients_fenced", "Clients that did not release in time");

static void kill_next(struct grant_client *client);

/* ---- birth and end --------------------------------------------------------------------------- */

static void on_expiry(struct loop_timer *timer);

int grant_client_new(const struct holding_env *env, const struct grant_client_config *config,
		     struct grant_client **result)
{
	struct grant_client *client = calloc(1, sizeof(*client));

	assert(config->device < env->nr_devices);
	if (!client)
		return -ENOMEM;
	client->env = env;
	client->config = *config;
	client->config.name[sizeof(client->config.name) - 1] = '\0';
	client->config.host[sizeof(client->config.host) - 1] = '\0';
	client->usage.host = usage_host_get(client->config.host);
	if (!client->usage.host) {
		free(client);
		return -ENOMEM;
	}
	list_init(&client->grants);
	list_init(&client->acquires);
	list_init(&client->releases);
	list_init(&client->dying);
	list_init(&client->dying_slabs);
	list_init(&client->slabs);
	client->expiry.fn = on_expiry;
	*result = client;
	return 0;
}

void grant_client_free(struct grant_client *client)
{
	if (!client)
		return;
	assert(client->usage.grants == 0 && client->usage.bytes == 0 && !client->kill_busy &&
	       list_empty(&client->slabs) && list_empty(&client->acquires) &&
	       list_empty(&client->releases) && !client->gone_done);
	loop_timer_cancel(client->env->control, &client->expiry);
	loop_timer_cancel(client->env->control, &client->kill_timer);
	usage_host_put(client->usage.host);
	free(client);
}

void *grant_client_user(const struct grant_client *client)
{
	return client->config.user;
}

static void on_gone(struct loop_msg *msg)
{
	struct grant_client *client = container_of(msg, struct grant_client, gone_msg);
	void (*done)(void *arg) = client->gone_done;

	client->gone_done = NULL;
	done(client->gone_arg); /* may free the client */
}

void client_check_gone(struct grant_client *client)
{
	if (!client->gone || client->usage.grants > 0 || client->kill_busy ||
	    !list_empty(&client->slabs) || !list_empty(&client->acquires) ||
	    !list_empty(&client->releases))
		return;
	client->gone = false; /* once */
	loop_post(client->env->control, &client->gone_msg, on_gone);
}

void grant_client_gone(struct grant_client *client, void (*done)(void *arg), void *arg)
{
	struct list *l;

	assert(!client->gone_done);
	client->gone = client->fenced = true;
	client->gone_done = done;
	client->gone_arg = arg;
	/* The queue first: it may not have been in error yet. */
	(void)fabric_conn_fence(client->config.conn);
	loop_timer_cancel(client->env->control, &client->expiry);
	grant_cancel_client(client);
	list_for_each (l, &client->grants)
		client_grant_kill(list_entry(l, struct grant, client_link));
	slab_doom_client(client);
	client_check_gone(client);
}

/* ---- grants ---------------------------------------------------------------------------------- */

struct grant *client_grant_new(struct grant_client *client, struct holding *h, uint64_t offset,
			       uint64_t length, unsigned int access)
{
	const struct holding_env *env = h->env;
	struct grant *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	if (access & LH_GRANT_WRITE) {
		g->right = env->ops->commit_begins(env->ops_ctx, client, h, offset, length);
		if (!g->right) {
			free(g);
			return NULL;
		}
	}
	g->client = client;
	g->h = h;
	g->state = GRANT_MAKING;
	g->access = access;
	g->generation = h->generation;
	g->id = ++h->next_id;
	g->born_ns = now_ns();
	g->node.offset = offset;
	g->node.end = offset + length;
	(void)pthread_mutex_lock(&h->table_lock);
	table_insert(&h->table, &g->node);
	(void)pthread_mutex_unlock(&h->table_lock);
	if (access & LH_GRANT_WRITE)
		atomic_fetch_add_explicit(&h->nr_write_grants, 1, memory_order_relaxed);
	list_push(&h->grants, &g->link);
	h->nr_grants++;
	h->granted_bytes += length;
	g->cost_ns = budget_grant_ns(h, client->config.device, 1, length);
	budget_charge(h, g->cost_ns);
	list_push(&client->grants, &g->client_link);
	list_init(&g->dying_link);
	list_init(&g->slab_link);
	usage_add(&client->usage, length);
	return g;
}

void client_grant_free(struct grant *g)
{
	assert(!grant_key_alive(&g->key) && g->state != GRANT_LIVE && !g->binding);
	slab_put(g);
	if (g->right)
		g->h->env->ops->commit_ends(g->h->env->ops_ctx, g->right);
	if (g->access & LH_GRANT_WRITE)
		atomic_fetch_sub_explicit(&g->h->nr_write_grants, 1, memory_order_relaxed);
	(void)pthread_mutex_lock(&g->h->table_lock);
	table_remove(&g->h->table, &g->node);
	(void)pthread_mutex_unlock(&g->h->table_lock);
	list_del(&g->link);
	g->h->nr_grants--;
	g->h->granted_bytes -= g->node.end - g->node.offset;
	budget_refund(g->h, g->cost_ns);
	list_del(&g->client_link);
	list_del(&g->dying_link);
	usage_drop(&g->client->usage, g->node.end - g->node.offset);
	free(g);
}

/* A grant that is being made is cancelled by its acquire; one that dies does already. */
void client_grant_kill(struct grant *g)
{
	if (g->state != GRANT_LIVE)
		return;
	g->state = GRANT_DYING;
	g->h->nr_live--;
	list_push(&g->client->dying, &g->dying_link);
	kill_next(g->client);
}

void client_slab_kill(struct slab *s)
{
	assert(s->doomed && list_empty(&s->grants));
	list_push(&s->client->dying_slabs, &s->dying_link);
	kill_next(s->client);
}

/* Touches the batch, and a slab: what is dying, so nobody else looks at its keys. */
static void kill_run(struct work *work)
{
	struct grant_client *client = container_of(work, struct grant_client, kill_work);

	for (unsigned int i = 0; i < client->batch_count; i++)
		client->batch_err[i] = grant_key_kill(&client->batch[i]->key);
	if (client->kill_slab)
		client->kill_slab_err = grant_slab_kill(&client->kill_slab->mem);
}

static void on_kill_timer(struct loop_timer *timer)
{
	kill_next(container_of(timer, struct grant_client, kill_timer));
}

static void kill_done(struct work *work)
{
	struct grant_client *client = container_of(work, struct grant_client, kill_work);
	struct holding *holdings[GRANT_KILL_BATCH + 1];
	struct slab *slab = client->kill_slab;
	unsigned int nr_holdings = 0;
	int err = 0;

	/* Busy still: a slab whose last window has gone waits for the next batch. */
	for (unsigned int i = 0; i < client->batch_count; i++) {
		struct grant *g = client->batch[i];

		if (client->batch_err[i]) {
			err = client->batch_err[i];
			list_push(&client->dying, &g->dying_link);
			continue;
		}
		if (nr_holdings == 0 || holdings[nr_holdings - 1] != g->h)
			holdings[nr_holdings++] = g->h;
		client_grant_free(g);
	}
	client->kill_slab = NULL;
	if (slab && client->kill_slab_err) {
		err = client->kill_slab_err;
		list_push(&client->dying_slabs, &slab->dying_link);
	} else if (slab) {
		holdings[nr_holdings++] = slab->h;
		slab_free(slab);
	}
	client->kill_busy = false;
	if (err) {
		if (client->kill_failures % KILL_COMPLAIN == 0)
			log_error("keys of %s cannot be killed, trying again: %s",
				  client->config.name, strerror(-err));
		client->kill_failures++;
		client->kill_timer.fn = on_kill_timer;
		loop_timer_set(client->env->control, &client->kill_timer,
			       now_ns() + backoff_ns(client->kill_failures, RETRY_MAX_NS));
	} else {
		client->kill_failures = 0;
		kill_next(client);
	}
	release_check(client);
	for (unsigned int i = 0; i < nr_holdings; i++)
		holding_check_keys(holdings[i]);
	client_check_gone(client);
}

/* One slab at a time: it takes as long as many keys. */
static void kill_next(struct grant_client *client)
{
	struct list *slab;

	if (client->kill_busy || loop_timer_armed(&client->kill_timer) ||
	    (list_empty(&client->dying) && list_empty(&client->dying_slabs)))
		return;
	client->batch_count = 0;
	slab = list_pop(&client->dying_slabs);
	client->kill_slab = slab ? list_entry(slab, struct slab, dying_link) : NULL;
	while (client->batch_count < GRANT_KILL_BATCH && !list_empty(&client->dying)) {
		struct list *l = list_pop(&client->dying);

		client->batch[client->batch_count++] = list_entry(l, struct grant, dying_link);
	}
	client->kill_busy = true;
	pool_submit(client->env->registrar, &client->kill_work, POOL_URGENT, kill_run, kill_done,
		    client->env->control);
}

/* ---- expiry ---------------------------------------------------------------------------------- */

static void on_expiry(struct loop_timer *timer)
{
	struct grant_client *client = container_of(timer, struct grant_client, expiry);
	unsigned int n = 0;
	struct list *l;

	if (now_ns() < client->expires_ns) {
		loop_timer_set(client->env->control, timer, client->expires_ns);
		return;
	}
	list_for_each (l, &client->grants) {
		struct grant *g = list_entry(l, struct grant, client_link);

		n += g->state == GRANT_LIVE;
		client_grant_kill(g);
	}
	if (n == 0)
		return;
	counter_add(&grants_expired, n);
	log_notice("%u grants of %s have expired: not renewed in %u ms", n, client->config.name,
		   client->env->grant_expiry_ms);
}

void client_touch(struct grant_client *client)
{
	uint32_t life_ms = client->env->grant_expiry_ms;

	if (life_ms == 0 || client->fenced)
		return;
	client->expires_ns = now_ns() + life_ms * NS_PER_MS;
	/* It looks at expires_ns when it goes off: no need to move it each time. */
	if (!loop_timer_armed(&client->expiry))
		loop_timer_set(client->env->control, &client->expiry, client->expires_ns);
}

uint16_t grant_renew(struct grant_client *client, uint32_t *expiry_ms)
{
	if (client->fenced)
		return LH_SC_NO_DIRECT_QUEUE;
	client_touch(client);
	*expiry_ms = client->env->grant_expiry_ms;
	return NVME_SC_SUCCESS;
}

/* ---- a recall -------------------------------------------------------------------------------- */

uint64_t client_next_serial(void)
{
	static uint64_t serial; /* one control loop a process; tests run them one after another */

	return ++serial;
}

unsigned int client_tell_all(struct holding *h)
{
	const struct holding_env *env = h->env;
	unsigned int clients = 0;
	struct list *l;

	list_for_each (l, &h->grants) {
		struct grant *g = list_entry(l, struct grant, link);

		if (g->state != GRANT_LIVE || g->client->mark == h->recall_serial)
			continue;
		g->client->mark = h->recall_serial;
		clients++;
		if (!g->client->fenced)
			env->ops->tell(env->ops_ctx, g->client, h, 0, UINT64_MAX, h->generation,
				       env->deadline_ms);
	}
	return clients;
}

/* Of one that is being made, too, if it is the client's queue that does not get on. True: it was not yet. */
static bool fence_holder(const struct grant *g)
{
	struct grant_client *client = g->client;

	if ((g->state != GRANT_LIVE && !g->binding) || client->fenced)
		return false;
	client->fenced = true;
	counter_add(&clients_fenced, 1);
	log_warning("%s holds grants of %s past the deadline: fenced", client->config.name,
		    g->h->config.export.name);
	(void)fabric_conn_fence(client->config.conn);
	return true;
}

unsigned int client_fence_all(struct holding *h)
{
	unsigned int clients = 0;
	struct list *l;

	list_for_each (l, &h->grants)
		clients += fence_holder(list_entry(l, struct grant, link));
	return clients;
}

/* ---- a recall of a range --------------------------------------------------------------------- */

struct range_holders {
	struct holding_range *range;
	unsigned int clients;
};

static bool tell_holder(struct table_node *node, void *arg)
{
	struct grant *g = container_of(node, struct grant, node);
	const struct holding_env *env = g->h->env;
	struct range_holders *x = arg;
	struct holding_range *r = x->range;
	/* To the end as it is: a recall of all there could ever be is one of the generation. */
	uint64_t from = r->offset;
	uint64_t end = min_u64(r->end, align_up(g->h->current->view->size_bytes, LH_GRANT_ALIGN));

	if (g->state != GRANT_LIVE || g->client->mark == r->serial)
		return true;
	g->client->mark = r->serial;
	x->clients++;
	r->beside |= slab_widen(g->client, r, &from, &end);
	if (!g->client->fenced)
		env->ops->tell(env->ops_ctx, g->client, g->h, from, end - from, g->h->generation,
			       env->deadline_ms);
	return true;
}

unsigned int client_tell_range(struct holding_range *r)
{
	struct range_holders x = {.range = r};

	slab_each_holder(r, tell_holder, &x);
	return x.clients;
}

static bool fence_one(struct table_node *node, void *arg)
{
	struct range_holders *x = arg;

	x->clients += fence_holder(container_of(node, struct grant, node));
	return true;
}

unsigned int client_fence_range(struct holding_range *r)
{
	struct range_holders x = {.range = r};

	slab_each_holder(r, fence_one, &x);
	return x.clients;
}
