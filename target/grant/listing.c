// SPDX-License-Identifier: BSD-3-Clause
/* Who holds what. Control loop; looks and changes nothing. */
#include "grant/internal.h"

struct listing {
	bool (*fn)(const struct grant_status *status, void *arg);
	void *arg;
	uint64_t now_ns;
};

static bool is_wanted_back(const struct grant *g)
{
	const uint64_t length = g->node.end - g->node.offset;
	uint64_t kept = length;

	return recall_going_on(&g->h->recall) || (g->slab && g->slab->doomed) ||
	       range_held_back(g->h, g->node.offset, &kept) || kept < length;
}

static const char *state_text(const struct grant *g)
{
	switch (g->state) {
	case GRANT_MAKING:
		return "making";
	case GRANT_LIVE:
		if (g->client->fenced)
			return "fenced";
		return is_wanted_back(g) ? "recalling" : "granted";
	case GRANT_DYING:
		return "dying";
	}
	return "unknown";
}

static bool show(struct table_node *node, void *arg)
{
	const struct grant *g = container_of(node, struct grant, node);
	const struct listing *listing = arg;
	const struct grant_client *client = g->client;
	const struct grant_status status = {
		.host = client->config.host,
		.cntlid = client->config.cntlid,
		.id = g->id,
		.generation = g->generation,
		.offset = node->offset,
		.length = node->end - node->offset,
		.serial = node->serial,
		.access = g->access,
		.durability = holding_durability(g->h, client->config.device),
		.rung = g->h->probes[client->config.device].rung,
		.window = g->slab != NULL,
		.device = client->config.device,
		.expires = g->state == GRANT_LIVE && client->expires_ns != 0,
		.left_ns = client->expires_ns > listing->now_ns
				   ? client->expires_ns - listing->now_ns
				   : 0,
		.age_ns = listing->now_ns - g->born_ns,
		.state = state_text(g),
	};

	return listing->fn(&status, listing->arg);
}

void holding_each_grant(const struct holding *h, uint64_t offset, uint64_t serial,
			bool (*fn)(const struct grant_status *status, void *arg), void *arg)
{
	struct listing listing = {.fn = fn, .arg = arg, .now_ns = now_ns()};

	(void)table_each_after(&h->table, offset, serial, show, &listing);
}
