// SPDX-License-Identifier: BSD-3-Clause
/*
 * The configuration file (libconfig). Every group is described by a table of its keys: a key that
 * is not in it, has another type or is out of range is an error that names file, line and key.
 * Keeps nothing: any thread that may sleep.
 */
#include "control/config_group.h"
#include "control/config_text.h"
#include "control/control.h"

#include "util/runtime_dir.h"
#include "wire/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char *const fabric_words[] = {"verbs", "iwarp", NULL};
static const char *const crc_words[] = {"auto", "on", "off", NULL};
static const char *const memory_words[] = {"any", "pinned", "odp", "none", NULL};
static const char *const prepare_words[] = {"none", "allocate", NULL};
static const char *const unshare_words[] = {"never", "on-acquire", NULL};
static const char *const registration_words[] = {"auto", "pinned", "odp", "staged", NULL};
static const char *const busy_words[] = {"refuse", "wait", NULL};
static const char *const deallocate_words[] = {"punch", "advisory", NULL};
static const char *const tenure_words[] = {"lease", "watch", NULL};
static const char *const refuse_words[] = {"never", "while-granted", NULL};
static const char *const conflict_words[] = {"recall", "deny", NULL};
static const char *const grant_key_words[] = {"mr", "window", NULL};
static const char *const release_words[] = {"after-recall", "at-once", NULL};
static const char *const atomic_words[] = {"none", "journal", NULL};
static const char *const inbound_words[] = {"unknown", "persistent", NULL};
static const char *const ana_words[] = {"optimized",	   "non-optimized", "inaccessible",
					"persistent-loss", "change",	    NULL};
static const char *const level_words[] = {"error", "warning", "notice", "info", "debug", NULL};

/* Enumerations are read into ints here and converted once, below. */
struct raw_listener {
	int fabric;
	bool remote_invalidate;
	int ana;
	char address[256];
	uint32_t port;
};

struct raw_ana_group {
	uint32_t group;
	int state;
};

struct raw_host {
	char nqn[NVME_NQN_BYTES];
	int at; /* in the list of the file */
};

struct raw_referral {
	int fabric;
	char address[INET6_ADDRSTRLEN];
	uint32_t port;
	char nqn[NVME_NQN_BYTES];
};

struct raw_export {
	char name[LH_NAME_BYTES];
	char path[PATH_MAX];
	uint32_t nsid;
	uint32_t lba;
	uint32_t ana_group;
	int prepare;
	int unshare;
	int registration;
	int busy;
	int tenure;
	int refuse;
	int deallocate;
	int grant_conflict;
	int grant_keys;
	int inbound_writes;
	int odp_release;
	int sector_atomic;
	bool read_only;
};

struct raw_top {
	int log_level;
	int crc;
	int memory;
	bool windows;
};

#define TOP(field)    offsetof(struct daemon_config, field)
#define LIMITS(field) offsetof(struct nvme_limits, field)

static const struct key top_keys[] = {
	{"nqn", KEY_TEXT, TOP(nqn), 1, NVME_NQN_BYTES},
	{"runtime_dir", KEY_TEXT, TOP(runtime_dir), 1, PATH_MAX},
	{"state_dir", KEY_TEXT, TOP(state_dir), 0, PATH_MAX},
	{"admin_socket", KEY_TEXT, TOP(admin_socket), 1, PATH_MAX},
	{"reactors", KEY_UINT, TOP(reactors), 1, CONTROL_MAX_REACTORS},
	{"worker_threads", KEY_UINT, TOP(worker_threads), 1, CONTROL_MAX_WORKERS},
	{"busy_poll_us", KEY_UINT, TOP(busy_poll_us), 0, 1000000},
	{"recall_deadline_ms", KEY_UINT, TOP(recall_deadline_ms), 1, 600000},
	{"grant_expiry_ms", KEY_UINT, TOP(grant_expiry_ms), 1000, 86400000},
	{"max_grants_per_client", KEY_UINT, TOP(max_grants_per_client), 1, 1u << 20},
	{"max_grants_per_export", KEY_UINT, TOP(max_grants_per_export), 1, GRANT_MAX_PER_EXPORT},
	{"max_grants_per_host", KEY_UINT, TOP(max_grants_per_host), 1, GRANT_MAX_PER_EXPORT},
	{"max_granted_bytes_per_client", KEY_U64, TOP(max_granted_bytes_per_client), 0, INT64_MAX},
	{"max_registrations_per_second", KEY_UINT, TOP(max_registrations_per_second), 0,
	 GRANT_MAX_REGISTRATIONS},
	{"max_registrations_per_adapter", KEY_UINT, TOP(max_registrations_per_adapter), 0,
	 1u << 30},
	{"max_registered_bytes_per_adapter", KEY_U64, TOP(max_registered_bytes_per_adapter), 0,
	 INT64_MAX},
	{"registration_retry_ms", KEY_UINT, TOP(registration_retry_ms), 10, 300000},
	{"allocate_reserve_percent", KEY_UINT, TOP(allocate_reserve_percent), 0,
	 EXPORT_MAX_RESERVE_PERCENT},
	{"log_level", KEY_GROUP},
	{"iwarp", KEY_GROUP},
	{"limits", KEY_GROUP},
	{"ana_transition_s", KEY_UINT, TOP(limits.ana_transition_s), 1, 127},
	{"mdns", KEY_BOOL, TOP(mdns)},
	{"mdns_dir", KEY_TEXT, TOP(mdns_dir), 1, PATH_MAX},
	{"metrics_address", KEY_TEXT, TOP(metrics_address), 1, INET6_ADDRSTRLEN},
	{"metrics_port", KEY_UINT, TOP(metrics_port), 0, 65535},
	{"referrals", KEY_GROUP},
	{"allow_any_host", KEY_BOOL, TOP(allow_any_host)},
	{"hosts", KEY_GROUP},
	{"listeners", KEY_GROUP},
	{"exports", KEY_GROUP},
	{NULL},
};

static const struct key level_keys[] = {
	{"log_level", KEY_ENUM, offsetof(struct raw_top, log_level), .words = level_words},
	{NULL},
};

static const struct key iwarp_keys[] = {
	{"crc", KEY_ENUM, offsetof(struct raw_top, crc), .words = crc_words},
	{"memory", KEY_ENUM, offsetof(struct raw_top, memory), .words = memory_words},
	{"windows", KEY_BOOL, offsetof(struct raw_top, windows)},
	{NULL},
};

static const struct key limit_keys[] = {
	{"queue_depth", KEY_UINT, LIMITS(queue_depth), NVME_MIN_QUEUE_DEPTH, NVME_MAX_QUEUE_DEPTH},
	{"max_io_queues", KEY_UINT, LIMITS(max_io_queues), 1, 128},
	{"max_controllers", KEY_UINT, LIMITS(max_controllers), 1, 65519},
	{"controllers_per_host", KEY_UINT, LIMITS(controllers_per_host), 1, 65519},
	{"max_connections", KEY_UINT, LIMITS(max_connections), 1, 65535},
	{"inline_bytes", KEY_UINT, LIMITS(inline_bytes), NVME_MIN_INLINE_BYTES,
	 NVME_MAX_INLINE_BYTES},
	{"mdts_bytes", KEY_UINT, LIMITS(mdts_bytes), NVME_MIN_MDTS_BYTES, NVME_MAX_MDTS_BYTES},
	{"first_command_ms", KEY_UINT, LIMITS(first_command_ms), 100, 600000},
	{"transfer_timeout_ms", KEY_UINT, LIMITS(transfer_timeout_ms), 1000, 600000},
	{"bounce_bytes", KEY_U64, LIMITS(bounce_bytes), MIB(1), GIB(4)},
	{"shared_receives", KEY_UINT, LIMITS(shared_receives), 0, NVME_MAX_SHARED_RECEIVES},
	{NULL},
};

static const struct key listener_keys[] = {
	{"fabric", KEY_ENUM, offsetof(struct raw_listener, fabric), .words = fabric_words,
	 .required = true},
	{"address", KEY_TEXT, offsetof(struct raw_listener, address), 1, 256, .required = true},
	{"port", KEY_UINT, offsetof(struct raw_listener, port), 1, 65535},
	{"remote_invalidate", KEY_BOOL, offsetof(struct raw_listener, remote_invalidate)},
	{"ana", KEY_ENUM, offsetof(struct raw_listener, ana), .words = ana_words},
	{"ana_groups", KEY_GROUP},
	{NULL},
};

static const struct key ana_group_keys[] = {
	{"group", KEY_UINT, offsetof(struct raw_ana_group, group), 1, NVME_MAX_ANA_GROUPS,
	 .required = true},
	{"state", KEY_ENUM, offsetof(struct raw_ana_group, state), .words = ana_words,
	 .required = true},
	{NULL},
};

static const struct key referral_keys[] = {
	{"fabric", KEY_ENUM, offsetof(struct raw_referral, fabric), .words = fabric_words,
	 .required = true},
	{"address", KEY_TEXT, offsetof(struct raw_referral, address), 1, INET6_ADDRSTRLEN,
	 .required = true},
	{"port", KEY_UINT, offsetof(struct raw_referral, port), 1, 65535},
	{"nqn", KEY_TEXT, offsetof(struct raw_referral, nqn), 1, NVME_NQN_BYTES},
	{NULL},
};

static const struct key host_keys[] = {
	{"nqn", KEY_TEXT, offsetof(struct raw_host, nqn), 1, NVME_NQN_BYTES, .required = true},
	{NULL},
};

static const struct key export_keys[] = {
	{"name", KEY_TEXT, offsetof(struct raw_export, name), 1, LH_NAME_BYTES, .required = true},
	{"path", KEY_TEXT, offsetof(struct raw_export, path), 1, PATH_MAX, .required = true},
	{"nsid", KEY_UINT, offsetof(struct raw_export, nsid), 1, NVME_MAX_NSID},
	{"lba", KEY_UINT, offsetof(struct raw_export, lba), 512, 4096},
	{"ana_group", KEY_UINT, offsetof(struct raw_export, ana_group), 1, NVME_MAX_ANA_GROUPS},
	{"prepare", KEY_ENUM, offsetof(struct raw_export, prepare), .words = prepare_words},
	{"unshare", KEY_ENUM, offsetof(struct raw_export, unshare), .words = unshare_words},
	{"registration", KEY_ENUM, offsetof(struct raw_export, registration),
	 .words = registration_words},
	{"busy", KEY_ENUM, offsetof(struct raw_export, busy), .words = busy_words},
	{"tenure", KEY_ENUM, offsetof(struct raw_export, tenure), .words = tenure_words},
	{"refuse", KEY_ENUM, offsetof(struct raw_export, refuse), .words = refuse_words},
	{"deallocate", KEY_ENUM, offsetof(struct raw_export, deallocate),
	 .words = deallocate_words},
	{"grant_conflict", KEY_ENUM, offsetof(struct raw_export, grant_conflict),
	 .words = conflict_words},
	{"grant_keys", KEY_ENUM, offsetof(struct raw_export, grant_keys), .words = grant_key_words},
	{"inbound_writes", KEY_ENUM, offsetof(struct raw_export, inbound_writes),
	 .words = inbound_words},
	{"odp_release", KEY_ENUM, offsetof(struct raw_export, odp_release), .words = release_words},
	{"sector_atomic", KEY_ENUM, offsetof(struct raw_export, sector_atomic),
	 .words = atomic_words},
	{"read_only", KEY_BOOL, offsetof(struct raw_export, read_only)},
	{NULL},
};

/** A word of ana_words. */
static uint8_t ana_state_of(int word)
{
	enum nvme_ana_state state = NVME_ANA_OPTIMIZED;
	int rc = nvme_ana_parse(ana_words[word], &state);

	assert(rc == 0);
	(void)rc;
	return (uint8_t)state;
}

/** Looks up a list of groups, "( { … }, { … } )". */
static int find_list(const struct daemon_config *c, const config_t *file, const char *name,
		     int limit, const config_setting_t **list, struct errtext *err)
{
	const config_setting_t *s = config_lookup(file, name);

	if (!s)
		return errtext_set(err, -EINVAL,
				   "%s: the list \"%s\" is missing: add %s = ( { … } );", c->file,
				   name, name);
	if (!config_setting_is_list(s) || config_setting_length(s) == 0)
		return config_bad(c, s, err, "expected a list of groups: %s = ( { … }, { … } );",
				  name);
	if (config_setting_length(s) > limit)
		return config_bad(c, s, err, "expected at most %d entries, not %d", limit,
				  config_setting_length(s));
	for (int i = 0; i < config_setting_length(s); i++) {
		const config_setting_t *e = config_setting_get_elem(s, (unsigned int)i);

		if (!config_setting_is_group(e))
			return config_bad(c, e, err, "expected a group: { … }");
	}
	*list = s;
	return 0;
}

/** The state of all groups, then those of single ones. */
static int read_ana(const struct daemon_config *c, const config_setting_t *listener, int all,
		    struct config_listener *l, struct errtext *err)
{
	const config_setting_t *list = config_setting_get_member(listener, "ana_groups");
	bool said[NVME_MAX_ANA_GROUPS + 1] = {false};

	for (unsigned int i = 1; i <= NVME_MAX_ANA_GROUPS; i++)
		l->ana_state[i] = ana_state_of(all);
	if (!list)
		return 0;
	if (!config_setting_is_list(list))
		return config_bad(c, list, err,
				  "expected a list of groups: ana_groups = ( { … }, { … } )");
	for (int i = 0; i < config_setting_length(list); i++) {
		const config_setting_t *s = config_setting_get_elem(list, (unsigned int)i);
		struct raw_ana_group raw = {0};
		int rc;

		if (!config_setting_is_group(s))
			return config_bad(c, s, err, "expected a group: { group = …; state = …; }");
		rc = config_read_group(c, ana_group_keys, s, &raw, err);
		if (rc)
			return rc;
		if (said[raw.group])
			return config_bad(c, s, err, "group %u is there already", raw.group);
		said[raw.group] = true;
		l->ana_state[raw.group] = ana_state_of(raw.state);
	}
	return 0;
}

static int read_listener(const struct daemon_config *c, const config_setting_t *s,
			 struct config_listener *l, struct errtext *err)
{
	struct raw_listener raw = {.port = NVME_RDMA_PORT, .remote_invalidate = true};
	int rc = config_read_group(c, listener_keys, s, &raw, err);

	if (rc)
		return rc;
	*l = (struct config_listener){
		.software = raw.fabric == 1,
		.no_invalidate = !raw.remote_invalidate,
		.port = (uint16_t)raw.port,
		.line = config_setting_source_line(s),
	};
	memcpy(l->host, raw.address, sizeof(l->host));
	return read_ana(c, s, raw.ana, l, err);
}

/* Of another line: names that mean the same address show when it is listened on. */
static int check_listener(const struct daemon_config *c, const config_setting_t *s,
			  const struct config_listener *l, struct errtext *err)
{
	for (unsigned int i = 0; i < c->nr_listeners; i++) {
		const struct config_listener *other = &c->listeners[i];

		if (other->software == l->software && other->port == l->port &&
		    strcmp(other->host, l->host) == 0)
			return config_bad_key(
				c, s, "address", err,
				"address \"%s\", port %u: listened on already, by line %u", l->host,
				l->port, other->line);
	}
	return 0;
}

static int read_listeners(struct daemon_config *c, const config_t *file, struct errtext *err)
{
	const config_setting_t *list = NULL;
	int rc = find_list(c, file, "listeners", CONTROL_MAX_LISTENERS, &list, err);

	for (int i = 0; rc == 0 && i < config_setting_length(list); i++) {
		rc = read_listener(c, config_setting_get_elem(list, (unsigned int)i),
				   &c->listeners[i], err);
		if (rc == 0)
			rc = check_listener(c, config_setting_get_elem(list, (unsigned int)i),
					    &c->listeners[i], err);
		c->nr_listeners += rc == 0;
	}
	return rc;
}

/* Hosts connect to what they read here: an address, no name. */
static bool parse_address(const char *text, uint16_t port, struct sockaddr_storage *addr)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)addr;
	struct sockaddr_in *in = (struct sockaddr_in *)addr;

	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return in->sin_addr.s_addr != htonl(INADDR_ANY);
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		return !IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
	}
	return false;
}

static int read_referral(const struct daemon_config *c, const config_setting_t *s,
			 struct config_referral *r, struct errtext *err)
{
	struct raw_referral raw = {.port = NVME_RDMA_PORT, .nqn = NVME_DISCOVERY_NQN};
	int rc = config_read_group(c, referral_keys, s, &raw, err);

	if (rc)
		return rc;
	*r = (struct config_referral){.software = raw.fabric == 1};
	if (!parse_address(raw.address, (uint16_t)raw.port, &r->addr))
		return config_bad_key(
			c, s, "address", err,
			"address \"%s\": expected the IPv4 or IPv6 address of another "
			"discovery service",
			raw.address);
	if (nqn_check(raw.nqn, sizeof(raw.nqn)) != 0)
		return config_bad_key(c, s, "nqn", err, "nqn \"%s\": expected an NQN like %s",
				      raw.nqn, NVME_DISCOVERY_NQN);
	memcpy(r->nqn, raw.nqn, sizeof(r->nqn));
	return 0;
}

static int read_referrals(struct daemon_config *c, const config_t *file, struct errtext *err)
{
	const config_setting_t *list;
	int rc;

	if (!config_lookup(file, "referrals"))
		return 0;
	rc = find_list(c, file, "referrals", NVME_MAX_REFERRALS, &list, err);
	for (int i = 0; rc == 0 && i < config_setting_length(list); i++) {
		rc = read_referral(c, config_setting_get_elem(list, (unsigned int)i),
				   &c->referrals[i], err);
		c->nr_referrals += rc == 0;
	}
	return rc;
}

static int read_host(const struct daemon_config *c, const config_setting_t *s, struct raw_host *raw,
		     struct errtext *err)
{
	int rc = config_read_group(c, host_keys, s, raw, err);

	if (rc == 0 && nqn_check(raw->nqn, sizeof(raw->nqn)) != 0)
		rc = config_bad_key(c, s, "nqn", err,
				    "nqn \"%s\": expected an NQN, as the host's "
				    "/etc/nvme/hostnqn has it",
				    raw->nqn);
	return rc;
}

static int by_nqn(const void *a, const void *b)
{
	const struct raw_host *one = a, *other = b;
	int order = strcmp(one->nqn, other->nqn);

	return order ? order : one->at - other->at;
}

/* In order, as whoever looks for one wants them. */
static int take_hosts(struct daemon_config *c, const config_setting_t *list, struct raw_host *raw,
		      struct errtext *err)
{
	const int count = config_setting_length(list);

	c->hosts = calloc((size_t)count, sizeof(*c->hosts));
	if (!c->hosts)
		return errtext_set(err, -ENOMEM, "%s: out of memory", c->file);
	qsort(raw, (size_t)count, sizeof(*raw), by_nqn);
	for (int i = 0; i < count; i++) {
		if (i > 0 && strcmp(raw[i - 1].nqn, raw[i].nqn) == 0)
			return config_bad_key(
				c, config_setting_get_elem(list, (unsigned int)raw[i].at), "nqn",
				err, "nqn \"%s\": is there already", raw[i].nqn);
		memcpy(c->hosts[c->nr_hosts++], raw[i].nqn, sizeof(*c->hosts));
	}
	return 0;
}

static int read_hosts(struct daemon_config *c, const config_t *file, struct errtext *err)
{
	const config_setting_t *list;
	struct raw_host *raw;
	int rc, count;

	if (!config_lookup(file, "hosts"))
		return 0;
	rc = find_list(c, file, "hosts", NVME_MAX_HOSTS, &list, err);
	if (rc)
		return rc;
	count = config_setting_length(list);
	raw = calloc((size_t)count, sizeof(*raw));
	if (!raw)
		return errtext_set(err, -ENOMEM, "%s: out of memory", c->file);
	for (int i = 0; rc == 0 && i < count; i++) {
		raw[i].at = i;
		rc = read_host(c, config_setting_get_elem(list, (unsigned int)i), &raw[i], err);
	}
	if (rc == 0)
		rc = take_hosts(c, list, raw, err);
	free(raw);
	return rc;
}

/* What can be said of it alone. */
static int check_one(const struct daemon_config *c, const config_setting_t *s,
		     const struct config_export *e, struct errtext *err)
{
	if (export_name_check(e->name) != 0)
		return config_bad_key(
			c, s, "name", err,
			"name \"%s\": use 1 to 63 letters, digits, '-', '_', '.', first a "
			"letter or digit",
			e->name);
	if (e->path[0] != '/')
		return config_bad_key(c, s, "path", err, "path \"%s\": expected an absolute path",
				      e->path);
	if (e->lba_bytes != 512 && e->lba_bytes != 4096)
		return config_bad_key(c, s, "lba", err, "lba: expected 512 or 4096, not %u",
				      e->lba_bytes);
	if (e->refuse_while_granted && e->tenure != TENURE_WATCH)
		return config_bad_key(
			c, s, "refuse", err,
			"refuse = \"while-granted\" needs tenure = \"watch\": whoever breaks "
			"a lease cannot be refused");
	return 0;
}

static int check_others(const struct daemon_config *c, const config_setting_t *s,
			const struct config_export *e, struct errtext *err)
{
	for (const struct config_export *o = c->exports; o < e; o++) {
		if (strcmp(o->name, e->name) == 0)
			return config_bad_key(c, s, "name", err,
					      "name \"%s\" is used already at line %u", e->name,
					      o->line);
		if (strcmp(o->path, e->path) == 0)
			return config_bad_key(
				c, s, "path", err,
				"\"%s\" has path %s, which \"%s\" exports already (line %u)",
				e->name, e->path, o->name, o->line);
		if (o->nsid == e->nsid)
			return config_bad_key(c, s, "nsid", err,
					      "nsid %u is used already by \"%s\" at line %u",
					      e->nsid, o->name, o->line);
	}
	return 0;
}

static int read_export(const struct daemon_config *c, const config_setting_t *s, uint32_t nsid,
		       struct config_export *e, struct errtext *err)
{
	struct raw_export raw = {.lba = 4096, .nsid = nsid, .ana_group = 1};
	int rc = config_read_group(c, export_keys, s, &raw, err);

	if (rc)
		return rc;
	*e = (struct config_export){
		.nsid = raw.nsid,
		.nsid_said = config_setting_get_member(s, "nsid") != NULL,
		.lba_bytes = raw.lba,
		.ana_group = raw.ana_group,
		.prepare = raw.prepare ? EXPORT_PREPARE_ALLOCATE : EXPORT_PREPARE_NONE,
		.unshare = raw.unshare ? EXPORT_UNSHARE_ON_ACQUIRE : EXPORT_UNSHARE_NEVER,
		.registration = (enum region_choice)raw.registration,
		.wait_if_busy = raw.busy == 1,
		.tenure = raw.tenure == 1 ? TENURE_WATCH : TENURE_LEASE,
		.refuse_while_granted = raw.refuse == 1,
		.read_only = raw.read_only,
		.inbound_persistent = raw.inbound_writes == 1,
		.release_at_once = raw.odp_release == 1,
		.sector_atomic = raw.sector_atomic == 1,
		.advisory_deallocate = raw.deallocate == 1,
		.deny_conflicts = raw.grant_conflict == 1,
		.windows = raw.grant_keys == 1,
		.line = config_setting_source_line(s),
	};
	memcpy(e->name, raw.name, sizeof(e->name));
	memcpy(e->path, raw.path, sizeof(e->path));
	return check_one(c, s, e, err);
}

/* Groups that come another way than in the file: a configuration to name the place in messages. */
static struct daemon_config *elsewhere(const char *where, struct errtext *err)
{
	struct daemon_config *c = calloc(1, sizeof(*c));

	if (c)
		(void)snprintf(c->file, sizeof(c->file), "%s", where);
	else
		(void)errtext_set(err, -ENOMEM, "out of memory");
	return c;
}

int config_read_export(const config_setting_t *group, const char *where, struct config_export *e,
		       struct errtext *err)
{
	struct daemon_config *c = elsewhere(where, err);
	int rc = c ? read_export(c, group, 0, e, err) : -ENOMEM;

	free(c);
	return rc;
}

int config_read_listener(const config_setting_t *group, const char *where,
			 struct config_listener *l, struct errtext *err)
{
	struct daemon_config *c = elsewhere(where, err);
	int rc = c ? read_listener(c, group, l, err) : -ENOMEM;

	free(c);
	return rc;
}

int config_read_referral(const config_setting_t *group, const char *where,
			 struct config_referral *r, struct errtext *err)
{
	struct daemon_config *c = elsewhere(where, err);
	int rc = c ? read_referral(c, group, r, err) : -ENOMEM;

	free(c);
	return rc;
}

static int read_exports(struct daemon_config *c, const config_t *file, struct errtext *err)
{
	const config_setting_t *list;
	int rc = find_list(c, file, "exports", NVME_MAX_NAMESPACES, &list, err);

	if (rc)
		return rc;
	c->exports = calloc((size_t)config_setting_length(list), sizeof(*c->exports));
	if (!c->exports)
		return errtext_set(err, -ENOMEM, "%s: out of memory", c->file);
	for (int i = 0; i < config_setting_length(list); i++) {
		const config_setting_t *s = config_setting_get_elem(list, (unsigned int)i);
		struct config_export *e = &c->exports[i];

		rc = read_export(c, s, (uint32_t)i + 1, e, err);
		if (rc == 0 && e->prepare == EXPORT_PREPARE_ALLOCATE && c->state_dir[0] == '\0')
			rc = config_bad_key(c, s, "prepare", err, "%s", CONFIG_PREPARE_NEEDS_STATE);
		if (rc == 0)
			rc = check_others(c, s, e, err);
		if (rc)
			return rc;
		c->nr_exports++;
	}
	return 0;
}

/** A group at the top level, if it is there. */
static int read_section(const struct daemon_config *c, const config_t *file, const char *name,
			const struct key *keys, void *base, struct errtext *err)
{
	const config_setting_t *s = config_lookup(file, name);

	if (!s)
		return 0;
	if (!config_setting_is_group(s))
		return config_bad(c, s, err, "expected a group: %s = { … };", name);
	return config_read_group(c, keys, s, base, err);
}

/**
 * Lock files go to one fixed place, or two daemons would not see each other's; the socket, too, if the
 * file does not say. Where there is none (not root, no XDG_RUNTIME_DIR), runtime_dir has to do.
 */
static int set_runtime_dir(struct daemon_config *c, struct errtext *err)
{
	bool there = runtime_dir(c->lock_dir, sizeof(c->lock_dir)) == 0;

	if (!there && c->runtime_dir[0])
		memcpy(c->lock_dir, c->runtime_dir, sizeof(c->lock_dir));
	else if (!there)
		return errtext_set(err, -EINVAL,
				   "%s: not root and XDG_RUNTIME_DIR is not set: there is no place "
				   "for lock files; set runtime_dir",
				   c->file);
	if (c->runtime_dir[0] == '\0')
		memcpy(c->runtime_dir, c->lock_dir, sizeof(c->runtime_dir));
	return 0;
}

static void set_defaults(struct daemon_config *c)
{
	(void)snprintf(c->nqn, sizeof(c->nqn), "%s", LH_DEFAULT_NQN);
	(void)snprintf(c->state_dir, sizeof(c->state_dir), "%s", CONTROL_DEFAULT_STATE_DIR);
	(void)snprintf(c->mdns_dir, sizeof(c->mdns_dir), "%s", CONTROL_DEFAULT_MDNS_DIR);
	(void)snprintf(c->metrics_address, sizeof(c->metrics_address), "%s",
		       CONTROL_DEFAULT_METRICS_ADDRESS);
	c->reactors = 1;
	c->worker_threads = CONTROL_DEFAULT_WORKERS;
	c->busy_poll_us = REACTOR_DEFAULT_SPIN_US;
	c->recall_deadline_ms = GRANT_DEFAULT_DEADLINE_MS;
	c->grant_expiry_ms = GRANT_DEFAULT_EXPIRY_MS;
	c->max_grants_per_client = GRANT_DEFAULT_MAX_PER_CLIENT;
	c->max_grants_per_export = GRANT_DEFAULT_MAX_PER_EXPORT;
	c->max_grants_per_host = GRANT_DEFAULT_MAX_PER_HOST;
	c->max_granted_bytes_per_client = GRANT_DEFAULT_MAX_BYTES;
	c->max_registrations_per_second = GRANT_DEFAULT_MAX_REGISTRATIONS;
	c->max_registrations_per_adapter = GRANT_DEFAULT_MAX_REGISTERED;
	c->max_registered_bytes_per_adapter = GRANT_DEFAULT_MAX_REGISTERED;
	c->registration_retry_ms = GRANT_DEFAULT_RUNG_RETRY_MS;
	c->allocate_reserve_percent = EXPORT_DEFAULT_RESERVE_PERCENT;
	c->limits = (struct nvme_limits){
		.queue_depth = NVME_DEFAULT_QUEUE_DEPTH,
		.max_io_queues = NVME_DEFAULT_MAX_IO_QUEUES,
		.max_controllers = NVME_DEFAULT_MAX_CONTROLLERS,
		.controllers_per_host = NVME_DEFAULT_PER_HOST,
		.max_connections = NVME_DEFAULT_MAX_CONNECTIONS,
		.inline_bytes = NVME_DEFAULT_INLINE_BYTES,
		.mdts_bytes = NVME_DEFAULT_MDTS_BYTES,
		.first_command_ms = NVME_DEFAULT_FIRST_COMMAND_MS,
		.transfer_timeout_ms = NVME_DEFAULT_TRANSFER_TIMEOUT_MS,
		.bounce_bytes = NVME_DEFAULT_BOUNCE_BYTES,
		.shared_receives = NVME_DEFAULT_SHARED_RECEIVES,
		.ana_transition_s = NVME_DEFAULT_ANA_TRANSITION_S,
	};
}

static int check_metrics(const struct daemon_config *c, const config_t *file, struct errtext *err)
{
	struct in6_addr any;

	if (inet_pton(AF_INET, c->metrics_address, &any) == 1 ||
	    inet_pton(AF_INET6, c->metrics_address, &any) == 1)
		return 0;
	return config_bad(c, config_lookup(file, "metrics_address"), err,
			  "\"%s\" is no IPv4 or IPv6 address", c->metrics_address);
}

/* What the daemon finds must not depend on where it is started. */
static int check_absolute(const struct daemon_config *c, const config_t *file, struct errtext *err)
{
	const struct {
		const char *key, *path;
	} paths[] = {{"runtime_dir", c->runtime_dir},
		     {"state_dir", c->state_dir},
		     {"admin_socket", c->admin_socket},
		     {"mdns_dir", c->mdns_dir}};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		const config_setting_t *s = config_lookup(file, paths[i].key);

		if (s && paths[i].path[0] && paths[i].path[0] != '/')
			return config_bad(c, s, err, "expected an absolute path, not \"%s\"",
					  paths[i].path);
	}
	return 0;
}

static int check_top(struct daemon_config *c, const config_t *file, struct errtext *err)
{
	const config_setting_t *root = config_root_setting(file);
	uint32_t longest_ms = grant_longest_deadline_ms();
	const config_setting_t *s;
	int rc = check_absolute(c, file, err);

	if (rc == 0)
		rc = check_metrics(c, file, err);
	if (rc)
		return rc;
	if (c->recall_deadline_ms > longest_ms) {
		s = config_lookup(file, "recall_deadline_ms");
		return config_bad(
			c, s ? s : root, err,
			"%u ms is more than a quarter of fs.lease-break-time, which is %u ms "
			"now: raise that, or shorten the deadline",
			c->recall_deadline_ms, longest_ms);
	}
	if (c->max_granted_bytes_per_client > 0 && c->max_granted_bytes_per_client < LH_GRANT_ALIGN)
		return config_bad(
			c, config_lookup(file, "max_granted_bytes_per_client"), err,
			"expected 0, for no limit, or at least %u, the smallest grant, not %llu",
			(unsigned int)LH_GRANT_ALIGN,
			(unsigned long long)c->max_granted_bytes_per_client);
	if (c->max_registered_bytes_per_adapter > 0 &&
	    c->max_registered_bytes_per_adapter < GRANT_MIN_REGISTERED_BYTES)
		return config_bad(c, config_lookup(file, "max_registered_bytes_per_adapter"), err,
				  "expected 0, for no limit, or at least %llu, not %llu",
				  (unsigned long long)GRANT_MIN_REGISTERED_BYTES,
				  (unsigned long long)c->max_registered_bytes_per_adapter);
	if (nqn_check(c->nqn, sizeof(c->nqn)) != 0) {
		s = config_lookup(file, "nqn");
		return config_bad(c, s ? s : root, err,
				  "expected an NQN like nqn.2026-11.org.example:name, not \"%s\"",
				  c->nqn);
	}
	if (strcmp(c->nqn, NVME_DISCOVERY_NQN) == 0)
		return config_bad(
			c, config_lookup(file, "nqn"), err,
			"\"%s\" is what every discovery service is called: choose a name of "
			"its own",
			c->nqn);
	if (!is_pow2(c->limits.mdts_bytes)) {
		s = config_lookup(file, "limits.mdts_bytes");
		return config_bad(c, s ? s : root, err, "expected a power of two, not %u",
				  c->limits.mdts_bytes);
	}
	if (c->limits.controllers_per_host > c->limits.max_controllers) {
		s = config_lookup(file, "limits.controllers_per_host");
		if (s)
			return config_bad(
				c, s, err, "expected at most max_controllers, which is %u, not %u",
				c->limits.max_controllers, c->limits.controllers_per_host);
		c->limits.controllers_per_host = c->limits.max_controllers;
	}
	if (c->limits.shared_receives > 0 &&
	    c->limits.shared_receives <= c->limits.max_connections) {
		s = config_lookup(file, "limits.shared_receives");
		return config_bad(c, s ? s : root, err,
				  "expected 0, or more than max_connections, which is %u",
				  c->limits.max_connections);
	}
	if (c->limits.inline_bytes % 16 != 0) {
		s = config_lookup(file, "limits.inline_bytes");
		return config_bad(c, s ? s : root, err, "expected a multiple of 16, not %u",
				  c->limits.inline_bytes);
	}
	s = config_lookup(file, "runtime_dir");
	c->runtime_dir_line = s ? config_setting_source_line(s) : 0;
	if (c->admin_socket[0] == '\0') {
		int n = snprintf(c->admin_socket, sizeof(c->admin_socket),
				 "%s/" RUNTIME_ADMIN_SOCKET, c->runtime_dir);

		if (n < 0 || (size_t)n >= sizeof(c->admin_socket))
			return errtext_set(err, -EINVAL, "%s: runtime_dir: too long", c->file);
	}
	if (strlen(c->admin_socket) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
		s = config_lookup(file, "admin_socket");
		if (!s)
			s = config_lookup(file, "runtime_dir");
		return config_bad(
			c, s ? s : root, err,
			"the admin socket's path has %zu bytes, and the system takes at most "
			"%zu: %s",
			strlen(c->admin_socket), sizeof(((struct sockaddr_un *)0)->sun_path) - 1,
			c->admin_socket);
	}
	return 0;
}

static int read_all(struct daemon_config *c, const config_t *file, struct errtext *err)
{
	const config_setting_t *root = config_root_setting(file);
	const config_setting_t *level = config_lookup(file, "log_level");
	struct raw_top raw = {.log_level = LOG_LEVEL_INFO, .windows = true};
	int rc;

	set_defaults(c);
	rc = config_read_group(c, top_keys, root, c, err);
	if (rc == 0)
		rc = set_runtime_dir(c, err);
	if (rc == 0 && level)
		rc = config_read_key(c, level_keys, level, &raw, err);
	if (rc == 0)
		rc = read_section(c, file, "iwarp", iwarp_keys, &raw, err);
	if (rc == 0)
		rc = read_section(c, file, "limits", limit_keys, &c->limits, err);
	if (rc == 0)
		rc = read_listeners(c, file, err);
	if (rc == 0)
		rc = read_referrals(c, file, err);
	if (rc == 0)
		rc = read_hosts(c, file, err);
	if (rc == 0)
		rc = read_exports(c, file, err);
	if (rc == 0)
		rc = check_top(c, file, err);
	c->log_level = (enum log_level)raw.log_level;
	c->iwarp.crc = (enum iwarp_crc)raw.crc;
	c->iwarp.memory = (enum iwarp_memory)raw.memory;
	c->iwarp.no_windows = !raw.windows;
	return rc;
}

/* What libconfig makes of the text, if it reads every number as it stands there. */
static int parse_text(struct daemon_config *c, const char *text, size_t len, config_t *parsed,
		      struct errtext *err)
{
	const char *included;
	char key[64];
	FILE *stream;
	int rc = config_text_check(c->file, text, len, err);

	if (rc)
		return rc;
	stream = fmemopen((void *)(uintptr_t)text, len, "r");
	if (!stream)
		return errtext_set(err, -errno, "%s: cannot be read: %s", c->file, strerror(errno));
	rc = config_read(parsed, stream);
	(void)fclose(stream);
	if (rc == CONFIG_TRUE)
		return read_all(c, parsed, err);
	included = config_error_file(parsed);
	if (!included && strstr(config_error_text(parsed), "duplicate")) {
		config_text_second(text, len, config_error_line(parsed), key, sizeof(key));
		return errtext_set(err, -EINVAL, "%s:%d: %s: is there a second time", c->file,
				   config_error_line(parsed), key);
	}
	return errtext_set(
		err, -EINVAL,
		"%.300s:%d: %s: expected key = value; with every bracket and quote closed",
		included ? included : c->file, config_error_line(parsed),
		config_error_text(parsed));
}

int config_load(const char *file, struct daemon_config **config, struct errtext *err)
{
	struct daemon_config *c = calloc(1, sizeof(*c));
	char *text = NULL;
	config_t parsed;
	size_t len;
	int rc;

	if (!c)
		return errtext_set(err, -ENOMEM, "out of memory");
	(void)snprintf(c->file, sizeof(c->file), "%s", file);
	config_init(&parsed);
	rc = config_text_read(file, &text, &len, err);
	if (rc == 0)
		rc = parse_text(c, text, len, &parsed, err);
	free(text);
	config_destroy(&parsed);
	if (rc) {
		config_free(c);
		return rc;
	}
	*config = c;
	return 0;
}

void config_free(struct daemon_config *config)
{
	if (!config)
		return;
	free(config->exports);
	free(config->hosts);
	free(config);
}
