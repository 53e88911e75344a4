// SPDX-License-Identifier: BSD-3-Clause
/*
 * The verbs `referral-list`, `referral-add` and `referral-remove`: other discovery services that the
 * discovery log points to. Control loop; never sleeps.
 *
 *   {"v":1,"cmd":"referral-add","referral":{"fabric":"verbs","address":"192.0.2.77","port":4420,…}}
 *   {"v":1,"cmd":"referral-remove","id":2}
 */
#include "control/verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "util/log.h"

/* ---- list ------------------------------------------------------------------------------------- */

static void address_of(const struct sockaddr_storage *addr, char host[INET6_ADDRSTRLEN],
		       uint16_t *port)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)addr;

	if (addr->ss_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, INET6_ADDRSTRLEN);
		*port = ntohs(in6->sin6_port);
	} else {
		(void)inet_ntop(AF_INET, &in->sin_addr, host, INET6_ADDRSTRLEN);
		*port = ntohs(in->sin_port);
	}
}

static void add_referral(uint16_t id, const struct nvme_referral *r, void *arg)
{
	struct json_object *o = json_object_new_object();
	char host[INET6_ADDRSTRLEN] = "";
	uint16_t port;

	address_of(&r->addr, host, &port);
	json_object_object_add(o, "id", json_object_new_uint64(id));
	json_object_object_add(o, "fabric", json_object_new_string(r->iwarp ? "iwarp" : "verbs"));
	json_object_object_add(o, "address", json_object_new_string(host));
	json_object_object_add(o, "port", json_object_new_uint64(port));
	json_object_object_add(o, "nqn", json_object_new_string(r->nqn));
	json_object_array_add(arg, o);
}

static struct json_object *referrals_json(const struct admin_env *env)
{
	struct json_object *o = json_object_new_object();
	struct json_object *array = json_object_new_array();

	nvme_target_each_referral(env->target, add_referral, array);
	json_object_object_add(o, "referrals", array);
	return o;
}

int admin_referral_list(const struct admin_env *env, struct admin_call *call,
			struct json_object *request, struct json_object **result,
			struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", NULL};
	int rc = request_check_keys(request, known, err);

	(void)call;
	if (rc)
		return rc;
	*result = referrals_json(env);
	return 0;
}

/* ---- add -------------------------------------------------------------------------------------- */

static int get_referral(struct json_object *request, struct nvme_referral *r, struct errtext *err)
{
	struct config_referral read;
	config_t config;
	int rc = request_group(request, "referral", "referral-add", &config, err);

	if (rc == 0)
		rc = config_read_referral(config_root_setting(&config), "referral-add", &read, err);
	config_destroy(&config);
	if (rc)
		return rc;
	*r = (struct nvme_referral){.addr = read.addr, .iwarp = read.software};
	memcpy(r->nqn, read.nqn, sizeof(r->nqn));
	return 0;
}

struct search {
	const struct nvme_referral *wanted;
	uint16_t id; /* 0: it is not there */
};

static void match_referral(uint16_t id, const struct nvme_referral *r, void *arg)
{
	struct search *search = arg;

	if (r->iwarp == search->wanted->iwarp && strcmp(r->nqn, search->wanted->nqn) == 0 &&
	    memcmp(&r->addr, &search->wanted->addr, sizeof(r->addr)) == 0)
		search->id = id;
}

int admin_referral_add(const struct admin_env *env, struct admin_call *call,
		       struct json_object *request, struct json_object **result,
		       struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", "referral", NULL};
	struct nvme_referral r;
	struct search search = {.wanted = &r};
	int rc = request_check_keys(request, known, err);

	(void)call;
	if (rc == 0)
		rc = get_referral(request, &r, err);
	if (rc)
		return rc;
	nvme_target_each_referral(env->target, match_referral, &search);
	if (search.id)
		return errtext_set(err, -EEXIST, "referral-add: it is there already, with id %u",
				   search.id);
	rc = nvme_target_add_referral(env->target, &r);
	if (rc == -ENOSPC)
		return errtext_set(err, rc, "referral-add: there are %d referrals, more cannot be",
				   NVME_MAX_REFERRALS);
	if (rc)
		return errtext_set(err, rc, "referral-add: %s", strerror(-rc));
	log_notice("a referral was added to the discovery log");
	*result = referrals_json(env);
	return 0;
}

/* ---- remove ----------------------------------------------------------------------------------- */

int admin_referral_remove(const struct admin_env *env, struct admin_call *call,
			  struct json_object *request, struct json_object **result,
			  struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", "id", NULL};
	struct json_object *field = NULL;
	int64_t id;
	int rc = request_check_keys(request, known, err);

	(void)call;
	if (rc)
		return rc;
	if (!json_object_object_get_ex(request, "id", &field) ||
	    !json_object_is_type(field, json_type_int))
		return errtext_set(err, -EINVAL, "\"id\" is missing: a number of referral-list");
	id = json_object_get_int64(field);
	if (id < 1 || id > UINT16_MAX ||
	    nvme_target_remove_referral(env->target, (uint16_t)id) != 0)
		return errtext_set(err, -ENOENT,
				   "there is no referral %lld; leasehold referral list",
				   (long long)id);
	log_notice("referral %lld was removed from the discovery log", (long long)id);
	*result = referrals_json(env);
	return 0;
}
