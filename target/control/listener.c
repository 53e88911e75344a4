// SPDX-License-Identifier: BSD-3-Clause
/*
 * The verbs `listener-list`, `listener-ana`, `listener-add` and `listener-remove`: the ports that hosts
 * come in by, and what access each gives to the groups of namespaces. Control loop; never sleeps.
 *
 *   {"v":1,"cmd":"listener-ana","listener":"2","state":"inaccessible","group":1}
 *   {"v":1,"cmd":"listener-add","listener":{"fabric":"iwarp","address":"192.0.2.11","port":4421,…}}
 *   {"v":1,"cmd":"listener-remove","listener":"2","disconnect":false}
 *
 * What is added is what a group of the configuration file has, read by the same table.
 */
#include "control/verbs.h"

#include "wire/wire.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "util/log.h"

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
	json_object_object_add(o, "state",
			       json_object_new_string(status->removed ? "removed" : "listening"));
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
	bool removed;
	unsigned int listening; /* how many do */
	char known[ERRTEXT_BYTES / 2];
};

static void match_listener(const struct nvme_listener_status *status, void *arg)
{
	struct search *search = arg;
	size_t used = strlen(search->known);
	char portid[8];

	(void)snprintf(portid, sizeof(portid), "%u", status->portid);
	search->listening += !status->removed;
	/* Those that are removed come last; by then their address may be another's. */
	if (strcmp(search->wanted, portid) == 0 ||
	    (strcmp(search->wanted, status->address) == 0 && !search->portid)) {
		search->portid = status->portid;
		search->removed = status->removed;
	}
	(void)snprintf(search->known + used, sizeof(search->known) - used, "%s%s (%s)",
		       used ? ", " : "", portid, status->address);
}

/** The one that the request names. */
static int find_listener(const struct admin_env *env, struct json_object *request,
			 struct search *search, struct errtext *err)
{
	*search = (struct search){.wanted = request_text(request, "listener")};
	if (!search->wanted)
		return errtext_set(err, -EINVAL,
				   "\"listener\" is missing: a port id or an address with port");
	nvme_target_each_listener(env->target, match_listener, search);
	if (search->portid)
		return 0;
	if (search->known[0] == '\0')
		return errtext_set(err, -ENOENT, "no listener \"%.64s\"; there are none",
				   search->wanted);
	return errtext_set(err, -ENOENT, "no listener \"%.64s\"; there are %s", search->wanted,
			   search->known);
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
	const char *text = request_text(request, "state");
	struct search search;
	enum nvme_ana_state state;
	unsigned int group;
	int rc = group_of(request, &group, err);

	if (rc)
		return rc;
	if (!text || nvme_ana_parse(text, &state) != 0)
		return errtext_set(err, -EINVAL,
				   "\"state\" must be optimized, non-optimized, inaccessible, "
				   "persistent-loss or change");
	rc = find_listener(env, request, &search, err);
	if (rc)
		return rc;
	rc = nvme_target_set_ana(env->target, search.portid, group, state);
	if (rc)
		return errtext_set(err, rc, "the state cannot be set: %s", strerror(-rc));
	return admin_listener_list(env, call, request, result, err);
}

/* ---- add -------------------------------------------------------------------------------------- */

int listener_look_up(struct config_listener *l, bool numeric, struct errtext *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE | AI_NUMERICSERV |
					     (numeric ? AI_NUMERICHOST : 0)};
	struct addrinfo *found;
	char port[8];
	int rc;

	(void)snprintf(port, sizeof(port), "%u", l->port);
	rc = getaddrinfo(l->host, port, &hints, &found);
	if (rc)
		return errtext_set(err, -EADDRNOTAVAIL, "address \"%.200s\": %s%s", l->host,
				   gai_strerror(rc), numeric ? " (expected a numeric one)" : "");
	l->addr = (struct sockaddr_storage){0};
	memcpy(&l->addr, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return 0;
}

int listener_open(struct nvme_target *target, const struct control_fabrics *fabrics,
		  const struct config_listener *l, struct errtext *err)
{
	struct fabric *fabric = l->software ? fabrics->software : fabrics->verbs;
	struct nvme_listen_options options = {.no_invalidate = l->no_invalidate};

	if (!fabric)
		return errtext_set(
			err, -ENODEV,
			"fabric \"%s\" is not open: the daemon was started without a "
			"listener of it, so its exports are not registered there; put one "
			"into the configuration file and restart",
			l->software ? "iwarp" : "verbs");
	memcpy(options.ana_state, l->ana_state, sizeof(options.ana_state));
	return nvme_target_listen(target, fabric, (const struct sockaddr *)&l->addr, &options, err);
}

static int get_listener(struct json_object *request, struct config_listener *l, struct errtext *err)
{
	config_t config;
	int rc = request_group(request, "listener", "listener-add", &config, err);

	if (rc == 0)
		rc = config_read_listener(config_root_setting(&config), "listener-add", l, err);
	config_destroy(&config);
	return rc;
}

void listener_announce(const struct daemon_config *config, struct nvme_target *target)
{
	struct errtext err;
	int rc;

	if (!config->mdns)
		return;
	rc = mdns_publish(config, target, &err);
	if (rc == -ENOENT)
		mdns_withdraw(config);
	if (rc)
		log_warning("%s", err.text);
}

static void note_last(const struct nvme_listener_status *status, void *arg)
{
	uint16_t *last = arg;

	if (status->portid > *last)
		*last = status->portid;
}

int admin_listener_add(const struct admin_env *env, struct admin_call *call,
		       struct json_object *request, struct json_object **result,
		       struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", "listener", NULL};
	struct config_listener l = {.port = 0};
	struct json_object *o;
	struct errtext why;
	uint16_t last = 0;
	int rc = request_check_keys(request, known, err);

	(void)call;
	if (rc == 0)
		rc = get_listener(request, &l, err);
	if (rc)
		return rc;
	rc = listener_look_up(&l, true, &why);
	if (rc == 0)
		rc = listener_open(env->target, &env->fabrics, &l, &why);
	if (rc)
		return errtext_set(err, rc, "listener-add: %.400s", why.text);
	log_notice("listening on %s port %u (%s)", l.host, l.port, l.software ? "iwarp" : "verbs");
	listener_announce(env->config, env->target);
	nvme_target_each_listener(env->target, note_last, &last);
	o = json_object_new_object();
	json_object_object_add(o, "port_id", json_object_new_uint64(last));
	json_object_object_add(o, "listeners", admin_listeners_json(env));
	*result = o;
	return 0;
}

/* ---- remove ----------------------------------------------------------------------------------- */

int admin_listener_remove(const struct admin_env *env, struct admin_call *call,
			  struct json_object *request, struct json_object **result,
			  struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", "listener", "disconnect", NULL};
	struct search search;
	bool disconnect;
	int rc = request_check_keys(request, known, err);

	(void)call;
	if (rc == 0)
		rc = request_bool(request, "disconnect", &disconnect, err);
	if (rc == 0)
		rc = find_listener(env, request, &search, err);
	if (rc)
		return rc;
	if (search.removed && !disconnect)
		return errtext_set(
			err, -EALREADY,
			"listener %u is removed already; hosts that came by it are still "
			"there, --disconnect ends them",
			search.portid);
	rc = nvme_target_unlisten(env->target, search.portid, disconnect);
	if (rc)
		return errtext_set(err, rc, "the listener cannot be removed: %s", strerror(-rc));
	log_notice("listener %u was removed; hosts that came by it %s", search.portid,
		   disconnect ? "are disconnected" : "stay until they leave");
	if (!search.removed)
		listener_announce(env->config, env->target);
	*result = json_object_new_object();
	json_object_object_add(*result, "port_id", json_object_new_uint64(search.portid));
	json_object_object_add(*result, "listeners", admin_listeners_json(env));
	if (!search.removed && search.listening == 1)
		json_object_object_add(
			*result, "note",
			json_object_new_string(
				"that was the last listener: nobody can connect until "
				"one is added"));
	return 0;
}
