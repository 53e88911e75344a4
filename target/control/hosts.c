// SPDX-License-Identifier: BSD-3-Clause
/*
 * Hosts that may connect from other machines: what the configuration file says of them, and the verbs
 * `host-list`, `host-allow` and `host-deny`. Control loop; never sleeps.
 *
 *   {"v":1,"cmd":"host-allow","nqn":"nqn.2014-08.org.nvmexpress:uuid:…"}
 */
#include "control/verbs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/hosts.h"
#include "util/log.h"

/* ---- the file --------------------------------------------------------------------------------- */

/* Those of `a` that are not in `b` (NULL: none is); both are in order. `out` (or NULL) has room for all of a's. */
static unsigned int missing(const struct daemon_config *a, const struct daemon_config *b,
			    char (*out)[NVME_NQN_BYTES])
{
	unsigned int n = 0, j = 0;

	for (unsigned int i = 0; a && i < a->nr_hosts; i++) {
		while (b && j < b->nr_hosts && strcmp(b->hosts[j], a->hosts[i]) < 0)
			j++;
		if (b && j < b->nr_hosts && strcmp(b->hosts[j], a->hosts[i]) == 0)
			continue;
		if (out)
			memcpy(out[n], a->hosts[i], sizeof(*out));
		n++;
	}
	return n;
}

void hosts_compare(const struct daemon_config *last, const struct daemon_config *wanted,
		   unsigned int *added, unsigned int *removed)
{
	*added = missing(wanted, last, NULL);
	*removed = missing(last, wanted, NULL);
}

static struct nvme_hosts hosts_of(char (*nqns)[NVME_NQN_BYTES], unsigned int count)
{
	return (struct nvme_hosts){(const char(*)[NVME_NQN_BYTES])nqns, count};
}

/* What the next reload is to see as new. */
static void forget(struct daemon_config *wanted, const struct nvme_hosts *added)
{
	unsigned int n = 0, j = 0;

	for (unsigned int i = 0; i < wanted->nr_hosts; i++) {
		if (j < added->count && strcmp(added->nqns[j], wanted->hosts[i]) == 0)
			j++;
		else
			memmove(wanted->hosts[n++], wanted->hosts[i], sizeof(*wanted->hosts));
	}
	wanted->nr_hosts = n;
}

int hosts_take(struct nvme_target *target, const struct daemon_config *last,
	       struct daemon_config *wanted)
{
	const size_t most = (size_t)wanted->nr_hosts + (last ? last->nr_hosts : 0);
	char(*nqns)[NVME_NQN_BYTES] = calloc(most ? most : 1, sizeof(*nqns));
	struct nvme_hosts added, removed;
	int rc;

	if (!nqns)
		return -ENOMEM;
	added = hosts_of(nqns, missing(wanted, last, nqns));
	removed = hosts_of(nqns + added.count, missing(last, wanted, nqns + added.count));
	/* At once: who stays must not be disconnected in between. */
	rc = nvme_target_change_hosts(target, &added, &removed, wanted->allow_any_host);
	if (rc) {
		forget(wanted, &added);
		added.count = 0;
		/* Who is to go goes nevertheless. */
		if (nvme_target_change_hosts(target, &added, &removed, wanted->allow_any_host) != 0)
			log_error("hosts that the configuration does not list any more could not "
				  "be struck off either");
	}
	free(nqns);
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

static int hosts_json(const struct admin_env *env, struct json_object **result, struct errtext *err)
{
	struct json_object *o = json_object_new_object();
	struct json_object *array = json_object_new_array();

	if (nvme_target_each_host(env->target, add_host, array) != 0) {
		json_object_put(array);
		json_object_put(o);
		return errtext_set(err, -ENOMEM, "host-list: %s", strerror(ENOMEM));
	}
	json_object_object_add(o, "any_host", json_object_new_boolean(env->config->allow_any_host));
	json_object_object_add(o, "hosts", array);
	*result = o;
	return 0;
}

int admin_host_list(const struct admin_env *env, struct admin_call *call,
		    struct json_object *request, struct json_object **result, struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", NULL};
	int rc = request_check_keys(request, known, err);

	(void)call;
	return rc ? rc : hosts_json(env, result, err);
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
	return hosts_json(env, result, err);
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
	rc = nvme_target_deny_host(env->target, nqn);
	if (rc == -ENOENT)
		return errtext_set(err, rc, "host-deny: %s is not listed; leasehold host list",
				   nqn);
	if (rc)
		return errtext_set(err, rc, "host-deny: %s", strerror(-rc));
	log_notice("host %s may not connect any more", nqn);
	return hosts_json(env, result, err);
}
