// SPDX-License-Identifier: BSD-3-Clause
/*
 * The verb `grants`: who holds what, by export and offset. There may be very many: an answer looks
 * at GRANTS_PER_ANSWER of them and says where the next one goes on, so that recalls, on the same
 * loop, do not wait for it. What comes or goes in between is in one of the answers or in none.
 * Control loop.
 *
 *   → {"v":1,"cmd":"grants","export":"b","host":"nqn.…","client":3}       (each may be missing)
 *   ← {"v":1,"ok":true,"result":{"grants":[…],"next":{"nsid":1,"offset":8192,"serial":77}}}
 *   → {"v":1,"cmd":"grants","export":"b","after":{"nsid":1,"offset":8192,"serial":77}}
 */
#include "control/verbs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/wire.h"

#define GRANTS_PER_ANSWER 64 /* looked at, whether they are wanted or not */

struct grants_call {
	const struct admin_env *env;
	const char *export, *host; /* NULL: any */
	bool one_client;
	uint64_t client;	       /* controller id */
	uint64_t nsid, offset, serial; /* goes on behind it */

	const struct holding *holdings[NVME_MAX_NSID]; /* by nsid */
	unsigned int nr_holdings;
	const struct holding *h; /* whose grants are looked at */
	unsigned int looked_at;
	bool more;
	struct json_object *list;
};

/* ---- the request ------------------------------------------------------------------------------ */

static int get_text(struct json_object *request, const char *key, const char **text,
		    struct errtext *err)
{
	*text = request_text(request, key);
	if (!*text && json_object_object_get_ex(request, key, NULL))
		return errtext_set(err, -EINVAL, "\"%s\" is no text", key);
	return 0;
}

static int get_after(struct json_object *request, struct grants_call *g, struct errtext *err)
{
	static const char *const known[] = {"nsid", "offset", "serial", NULL};
	struct json_object *after;
	int rc;

	if (!json_object_object_get_ex(request, "after", &after))
		return 0;
	if (!json_object_is_type(after, json_type_object))
		return errtext_set(err, -EINVAL,
				   "\"after\" is what the answer before had as \"next\"");
	rc = request_check_keys(after, known, err);
	if (rc == 0)
		rc = request_number(after, "nsid", UINT32_MAX, &g->nsid, err);
	if (rc == 0)
		rc = request_number(after, "offset", INT64_MAX, &g->offset, err);
	if (rc == 0)
		rc = request_number(after, "serial", INT64_MAX, &g->serial, err);
	return rc;
}

static int get_wanted(struct json_object *request, struct grants_call *g, struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", "export", "host", "client", "after", NULL};
	int rc = request_check_keys(request, known, err);

	if (rc == 0)
		rc = get_text(request, "export", &g->export, err);
	if (rc == 0)
		rc = get_text(request, "host", &g->host, err);
	if (rc == 0)
		rc = request_number(request, "client", UINT16_MAX, &g->client, err);
	if (rc == 0)
		rc = get_after(request, g, err);
	g->one_client = json_object_object_get_ex(request, "client", NULL);
	if (rc == 0 && g->export && !exports_find(g->env->exports, g->export))
		rc = errtext_set(err, -ENOENT,
				 "there is no export \"%.64s\"; leasehold export list", g->export);
	return rc;
}

/* ---- the answer ------------------------------------------------------------------------------- */

static const char *access_text(unsigned int access)
{
	if (access == LH_GRANT_READ)
		return "read";
	return access == LH_GRANT_WRITE ? "write" : "read-write";
}

static struct json_object *grant_json(const struct grants_call *g, const struct grant_status *s)
{
	const struct fabric_device *dev = g->env->holdings_env->devices[s->device];
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "export", json_object_new_string(holding_name(g->h)));
	json_object_object_add(o, "hostnqn", json_object_new_string(s->host));
	json_object_object_add(o, "cntlid", json_object_new_int(s->cntlid));
	json_object_object_add(o, "id", json_object_new_int64(s->id));
	json_object_object_add(o, "generation", json_object_new_int64(s->generation));
	json_object_object_add(o, "offset", json_object_new_uint64(s->offset));
	json_object_object_add(o, "length", json_object_new_uint64(s->length));
	json_object_object_add(o, "access", json_object_new_string(access_text(s->access)));
	json_object_object_add(o, "durability",
			       json_object_new_string(lh_durability_text(s->durability)));
	json_object_object_add(o, "key", json_object_new_string(s->window ? "window" : "mr"));
	json_object_object_add(o, "rung", json_object_new_string(lh_rung_text(s->rung)));
	json_object_object_add(o, "device", json_object_new_string(fabric_device_info(dev)->name));
	json_object_object_add(
		o, "expires_s",
		s->expires ? json_object_new_uint64((s->left_ns + NS_PER_S - 1) / NS_PER_S) : NULL);
	json_object_object_add(o, "age_s", json_object_new_uint64(s->age_ns / NS_PER_S));
	json_object_object_add(o, "state", json_object_new_string(s->state));
	return o;
}

static bool add_grant(const struct grant_status *s, void *arg)
{
	struct grants_call *g = arg;

	if (g->looked_at == GRANTS_PER_ANSWER) {
		g->more = true;
		return false;
	}
	g->looked_at++;
	g->nsid = holding_nsid(g->h);
	g->offset = s->offset;
	g->serial = s->serial;
	if ((!g->host || strcmp(g->host, s->host) == 0) &&
	    (!g->one_client || g->client == s->cntlid))
		json_object_array_add(g->list, grant_json(g, s));
	return true;
}

static void note_export(const struct holding *h, bool removing, void *arg)
{
	struct grants_call *g = arg;

	(void)removing;
	if (g->nr_holdings < ARRAY_SIZE(g->holdings) && holding_nsid(h) >= g->nsid &&
	    (!g->export || strcmp(g->export, holding_name(h)) == 0))
		g->holdings[g->nr_holdings++] = h;
}

static int by_nsid(const void *a, const void *b)
{
	const struct holding *const *x = a, *const *y = b;

	return (holding_nsid(*x) > holding_nsid(*y)) - (holding_nsid(*x) < holding_nsid(*y));
}

static struct json_object *next_json(const struct grants_call *g)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "nsid", json_object_new_uint64(g->nsid));
	json_object_object_add(o, "offset", json_object_new_uint64(g->offset));
	json_object_object_add(o, "serial", json_object_new_uint64(g->serial));
	return o;
}

int admin_grants(const struct admin_env *env, struct admin_call *call, struct json_object *request,
		 struct json_object **result, struct errtext *err)
{
	struct grants_call g = {.env = env};
	int rc = get_wanted(request, &g, err);

	(void)call;
	if (rc)
		return rc;
	g.list = json_object_new_array();
	exports_each(env->exports, note_export, &g);
	qsort(g.holdings, g.nr_holdings, sizeof(g.holdings[0]), by_nsid);
	for (unsigned int i = 0; i < g.nr_holdings && !g.more; i++) {
		const bool same = holding_nsid(g.holdings[i]) == g.nsid;

		g.h = g.holdings[i];
		holding_each_grant(g.h, same ? g.offset : 0, same ? g.serial : 0, add_grant, &g);
	}
	*result = json_object_new_object();
	json_object_object_add(*result, "grants", g.list);
	if (g.more)
		json_object_object_add(*result, "next", next_json(&g));
	return 0;
}
