// SPDX-License-Identifier: BSD-3-Clause
/*
 * The verbs `listener-list` and `listener-ana`: the ports that hosts come in by, and what access each
 * gives to the groups of namespaces. Control loop; never sleeps.
 */
#include "control/verbs.h"

#include "wire/wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- list ------------------------------------------------------------------------------------- */

struct listing {
	const struct admin_env *env;
	struct json_object *array;
};

struct group_search {
	unsigned int group;
	bool found;
};

static void match_group(const struct holding *h, bool removing, void *arg)
{
	struct group_search *search = arg;

	search->found |= !removing && holding_config(h)->ana_group == search->group;
}

static bool group_is_used(const struct admin_env *env, unsigned int group)
{
	struct group_search search = {.group = group};

	exports_each(env->exports, match_group, &search);
	return search.found;
}

/* Groups with exports, and those that are not as the rest. */
static struct json_object *groups_json(const struct admin_env *env,
				       const struct nvme_listener_status *status)
{
	struct json_object *array = json_object_new_array();

	for (unsigned int group = 1; group <= NVME_MAX_ANA_GROUPS; group++) {
		enum nvme_ana_state state = (enum nvme_ana_state)status->ana_state[group];
		struct json_object *o;

		if (!group_is_used(env, group) && state == status->ana_state[NVME_MAX_ANA_GROUPS])
			continue;
		o = json_object_new_object();
		json_object_object_add(o, "group", json_object_new_uint64(group));
		json_object_object_add(o, "state", json_object_new_string(nvme_ana_text(state)));
		json_object_array_add(array, o);
	}
	return array;
}

static void add_listener(const struct nvme_listener_status *status, void *arg)
{
	const struct listing *listing = arg;
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "port_id", json_object_new_uint64(status->portid));
	json_object_object_add(o, "fabric", json_object_new_string(status->fabric));
	json_object_object_add(o, "address", json_object_new_string(status->address));
	json_object_object_add(o, "controllers", json_object_new_uint64(status->controllers));
	json_object_object_add(o, "ana", groups_json(listing->env, status));
	json_object_array_add(listing->array, o);
}

struct json_object *admin_listeners_json(const struct admin_env *env)
{
	struct listing listing = {.env = env, .array = json_object_new_array()};

	nvme_target_each_listener(env->target, add_listener, &listing);
	return listing.array;
}

int admin_listener_list(const struct admin_env *env, struct admin_call *call,
			struct json_object *request, struct json_object **result,
			struct errtext *err)
{
	struct json_object *o = json_object_new_object();

	(void)call;
	(void)request;
	(void)err;
	json_object_object_add(o, "listeners", admin_listeners_json(env));
	*result = o;
	return 0;
}

/* ---- ana -------------------------------------------------------------------------------------- */

/** Looks for a listener by its port id or its address. */
struct search {
	const char *wanted;
	uint16_t portid; /* 0: not found */
	char known[ERRTEXT_BYTES / 2];
};

static void match_listener(const struct nvme_listener_status *status, void *arg)
{
	struct search *search = arg;
	size_t used = strlen(search->known);
	char portid[8];

	(void)snprintf(portid, sizeof(portid), "%u", status->portid);
	if (strcmp(search->wanted, portid) == 0 || strcmp(search->wanted, status->address) == 0)
		search->portid = status->portid;
	(void)snprintf(search->known + used, sizeof(search->known) - used, "%s%s (%s)",
		       used ? ", " : "", portid, status->address);
}

static const char *text_of(struct json_object *request, const char *key)
{
	struct json_object *field;

	if (!json_object_object_get_ex(request, key, &field) ||
	    !json_object_is_type(field, json_type_string))
		return NULL;
	return json_object_get_string(field);
}

/** 0 where it is not said: all groups. */
static int group_of(struct json_object *request, unsigned int *group, struct errtext *err)
{
	struct json_object *field;
	int64_t value;

	*group = 0;
	if (!json_object_object_get_ex(request, "group", &field))
		return 0;
	value = json_object_get_int64(field);
	if (!json_object_is_type(field, json_type_int) || value < 1 || value > NVME_MAX_ANA_GROUPS)
		return errtext_set(err, -EINVAL, "\"group\" must be a number from 1 to %d",
				   NVME_MAX_ANA_GROUPS);
	*group = (unsigned int)value;
	return 0;
}

int admin_listener_ana(const struct admin_env *env, struct admin_call *call,
		       struct json_object *request, struct json_object **result,
		       struct errtext *err)
{
	const char *text = text_of(request, "state");
	struct search search = {.wanted = text_of(request, "listener")};
	enum nvme_ana_state state;
	unsigned int group;
	int rc = group_of(request, &group, err);

	if (rc)
		return rc;
	if (!text || nvme_ana_parse(text, &state) != 0)
		return errtext_set(err, -EINVAL,
				   "\"state\" must be optimized, non-optimized, inaccessible, "
				   "persistent-loss or change");
	if (!search.wanted)
		return errtext_set(err, -EINVAL,
				   "\"listener\" is missing: a port id or an address with port");
	nvme_target_each_listener(env->target, match_listener, &search);
	if (!search.portid)
		return errtext_set(err, -ENOENT, "no listener \"%.64s\"; there are %s",
				   search.wanted, search.known);
	rc = nvme_target_set_ana(env->target, search.portid, group, state);
	if (rc)
		return errtext_set(err, rc, "the state cannot be set: %s", strerror(-rc));
	return admin_listener_list(env, call, request, result, err);
}
