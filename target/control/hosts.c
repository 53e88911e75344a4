// SPDX-License-Identifier: BSD-3-Clause
/*
 * Hosts that may connect from other machines: what the configuration file says of them, and the verbs
 * `host-list`, `host-allow` and `host-deny`. Control loop; never sleeps.
 *
 *   {"v":1,"cmd":"host-allow","nqn":"nqn.2014-08.org.nvmexpress:uuid:…"}
 */
#include "control/verbs.h"

#include <errno.h>
#include <string.h>

#include "control/hosts.h"
#include "util/log.h"

/* ---- the file --------------------------------------------------------------------------------- */

static bool has(const struct daemon_config *c, const char *nqn)
{
	for (unsigned int i = 0; c && i < c->nr_hosts; i++) {
		if (strcmp(c->hosts[i], nqn) == 0)
			return true;
	}
	return false;
}

void hosts_compare(const struct daemon_config *last, const struct daemon_config *wanted,
		   unsigned int *added, unsigned int *removed)
{
	*added = *removed = 0;
	for (unsigned int i = 0; i < wanted->nr_hosts; i++)
		*added += !has(last, wanted->hosts[i]);
	for (unsigned int i = 0; last && i < last->nr_hosts; i++)
		*removed += !has(wanted, last->hosts[i]);
}

int hosts_take(struct nvme_target *target, const struct daemon_config *last,
	       struct daemon_config *wanted)
{
	int rc = 0;

	/* Who stays must not be disconnected in between. */
	for (unsigned int i = 0; i < wanted->nr_hosts; i++) {
		int err = has(last, wanted->hosts[i])
				  ? -EEXIST
				  : nvme_target_allow_host(target, wanted->hosts[i]);

		if (err == 0 || err == -EEXIST)
			continue;
		rc = err;
		/* The next reload sees it as new. */
		memmove(wanted->hosts[i], wanted->hosts[--wanted->nr_hosts],
			sizeof(wanted->hosts[i]));
		i--;
	}
	nvme_target_any_host(target, wanted->allow_any_host);
	for (unsigned int i = 0; last && i < last->nr_hosts; i++) {
		/* A verb may have struck it off. */
		if (!has(wanted, last->hosts[i]) &&
		    nvme_target_deny_host(target, last->hosts[i]) == 0)
			log_notice("host %s may not connect any more", last->hosts[i]);
	}
	return rc;
}

/* ---- verbs ------------------------------------------------------------------------------------ */

static void add_host(const char *nqn, unsigned int controllers, void *arg)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "nqn", json_object_new_string(nqn));
	json_object_object_add(o, "controllers", json_object_new_uint64(controllers));
	json_object_array_add(arg, o);
}

static struct json_object *hosts_json(const struct admin_env *env)
{
	struct json_object *o = json_object_new_object();
	struct json_object *array = json_object_new_array();

	nvme_target_each_host(env->target, add_host, array);
	json_object_object_add(o, "any_host", json_object_new_boolean(env->config->allow_any_host));
	json_object_object_add(o, "hosts", array);
	return o;
}

int admin_host_list(const struct admin_env *env, struct admin_call *call,
		    struct json_object *request, struct json_object **result, struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", NULL};
	int rc = request_check_keys(request, known, err);

	(void)call;
	if (rc == 0)
		*result = hosts_json(env);
	return rc;
}

static int get_nqn(struct json_object *request, const char **nqn, struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", "nqn", NULL};
	int rc = request_check_keys(request, known, err);

	if (rc)
		return rc;
	*nqn = request_text(request, "nqn");
	return *nqn ? 0
		    : errtext_set(err, -EINVAL,
				  "\"nqn\" is missing: the NQN of the host, as its "
				  "/etc/nvme/hostnqn has it");
}

int admin_host_allow(const struct admin_env *env, struct admin_call *call,
		     struct json_object *request, struct json_object **result, struct errtext *err)
{
	const char *nqn;
	int rc = get_nqn(request, &nqn, err);

	(void)call;
	if (rc)
		return rc;
	rc = nvme_target_allow_host(env->target, nqn);
	switch (rc) {
	case 0:
		break;
	case -EEXIST:
		return errtext_set(err, rc, "host-allow: %s is allowed already", nqn);
	case -EINVAL:
		return errtext_set(err, rc,
				   "host-allow: \"%s\" is no NQN: expected one like "
				   "nqn.2014-08.org.nvmexpress:uuid:…, as the host's "
				   "/etc/nvme/hostnqn has it",
				   nqn);
	case -ENOSPC:
		return errtext_set(err, rc, "host-allow: %d hosts are listed, more cannot be",
				   NVME_MAX_HOSTS);
	default:
		return errtext_set(err, rc, "host-allow: %s", strerror(-rc));
	}
	log_notice("host %s may connect", nqn);
	*result = hosts_json(env);
	return 0;
}

int admin_host_deny(const struct admin_env *env, struct admin_call *call,
		    struct json_object *request, struct json_object **result, struct errtext *err)
{
	const char *nqn;
	int rc = get_nqn(request, &nqn, err);

	(void)call;
	if (rc)
		return rc;
	if (env->config->allow_any_host)
		return errtext_set(err, -EPERM,
				   "host-deny: any host may connect, by allow_any_host in the "
				   "configuration: set it to false, and reload");
	if (nvme_target_deny_host(env->target, nqn) != 0)
		return errtext_set(err, -ENOENT, "host-deny: %s is not listed; leasehold host list",
				   nqn);
	log_notice("host %s may not connect any more", nqn);
	*result = hosts_json(env);
	return 0;
}
