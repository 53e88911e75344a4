// SPDX-License-Identifier: BSD-3-Clause
/*
 * Exports, from the wish to the namespace and back. An entry's life:
 *
 *   ADDING -> THERE -> REMOVING -> gone
 *      +----------------> (it could not be started)
 *      +-------> OFFLINE (at the daemon's start its file was not the one it should be, or the
 *                        administrator took it out of service), until another one of the name
 *                        serves, or it is removed
 *
 * The nsids that a name had are remembered as long as the daemon lives, with the disk's UUID: a host
 * never finds another disk under a number that it knew, nor a client a generation that was recalled.
 * Control loop.
 */
#include "control/exports.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

enum entry_state {
	ENTRY_ADDING,	/* holding_start() has not answered */
	ENTRY_THERE,	/* it serves, or waits for its file */
	ENTRY_REMOVING, /* no host finds it; it is being stopped and forgotten */
	ENTRY_OFFLINE,	/* no namespace; only its name, number and why it is not served are kept */
};

struct entry {
	struct list link;
	struct exports *exports;
	struct holding *h;
	struct config_export config; /* as it was added */
	enum entry_state state;
	bool stopping;	       /* holding_stop() was called */
	exports_done_fn *done; /* of what is under way */
	void *arg;
	int err;		/* to be told at the end of a removal: why it could not be added */
	bool keep;		/* then goes on as an offline one */
	bool by_admin;		/* it is that since exports_offline() */
	struct entry *replaces; /* the offline one, which comes back if this one cannot be added */
	char why[ERRTEXT_BYTES];
};

/** Who had an nsid. */
struct memory {
	char name[LH_NAME_BYTES]; /* "": nobody */
	bool has_uuid;
	uint8_t uuid[16];
	uint32_t generation; /* the last that was served by who was removed */
};

struct exports {
	struct exports_env env;
	struct list entries;
	unsigned int count;
	struct memory memory[NVME_MAX_NSID + 1];
	bool software_only;
	bool going_on;	/* files may be changed */
	bool announced; /* hosts may come */
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
	unsigned int
		giving_back; /* exports whose clients have not let go, and exports_give_back() */
	void (*given_back)(void *arg);
	void *given_back_arg;
};

/**
 * True if no listener needs a real adapter: page-cache files may then be served. It stays so, as
 * fabrics are opened at start only: a listener that comes later brings no adapter, nor takes one away.
 */
static bool software_only(const struct daemon_config *c)
{
	for (unsigned int i = 0; i < c->nr_listeners; i++) {
		if (!c->listeners[i].software)
			return false;
	}
	return true;
}

int exports_new(const struct exports_env *env, struct exports **exports)
{
	struct exports *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->env = *env;
	x->software_only = software_only(env->config);
	list_init(&x->entries);
	*exports = x;
	return 0;
}

static struct entry *find(const struct exports *x, const char *name)
{
	struct list *l;

	list_for_each (l, &x->entries) {
		struct entry *e = list_entry(l, struct entry, link);

		if (strcmp(holding_name(e->h), name) == 0)
			return e;
	}
	return NULL;
}

static void finish(exports_done_fn *done, void *arg, int err, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

static void finish(exports_done_fn *done, void *arg, int err, const char *fmt, ...)
{
	char text[ERRTEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	done(arg, err, text);
}

/* ---- the end of one --------------------------------------------------------------------------- */

static void check_stopped(struct exports *x)
{
	void (*done)(void *arg) = x->stopped;
	struct list *l;

	if (!done)
		return;
	list_for_each (l, &x->entries) {
		const struct entry *e = list_entry(l, struct entry, link);

		if (e->state != ENTRY_OFFLINE && (e->state != ENTRY_THERE || e->stopping))
			return;
	}
	x->stopped = NULL;
	done(x->stopped_arg);
}

static void link_entry(struct entry *e)
{
	list_push(&e->exports->entries, &e->link);
	e->exports->count++;
}

static void unlink_entry(struct entry *e)
{
	list_del(&e->link);
	e->exports->count--;
}

static void free_entry(struct entry *e)
{
	if (!e)
		return;
	holding_free(e->h);
	free(e);
}

/* Hosts may know it from the daemon's life before: the number stays its own. */
static void keep_offline(struct entry *e)
{
	struct memory *m = &e->exports->memory[holding_nsid(e->h)];

	e->state = ENTRY_OFFLINE;
	(void)snprintf(m->name, sizeof(m->name), "%s", holding_name(e->h));
	if (e->by_admin) {
		holding_set_why(e->h, e->why);
		log_notice("%s: out of service, its file is closed; leasehold export online %s "
			   "brings it back",
			   holding_name(e->h), holding_name(e->h));
	}
	e->done(e->arg, e->err, e->err ? e->why : "");
	check_stopped(e->exports);
}

static void forgotten(void *arg)
{
	struct entry *e = arg;
	struct exports *x = e->exports;
	struct holding_status last;

	holding_status(e->h, &last);
	/* None, if it never came to serve. */
	if (last.generation)
		x->memory[last.nsid].generation = last.generation;

	if (e->keep) {
		keep_offline(e);
		return;
	}
	unlink_entry(e);
	if (e->replaces)
		link_entry(e->replaces);
	if (!e->err)
		log_notice("%s: removed", holding_name(e->h));
	e->done(e->arg, e->err, e->why);
	free_entry(e);
	check_stopped(x);
}

static void forget(struct entry *e)
{
	e->state = ENTRY_REMOVING;
	nvme_subsystem_remove(e->exports->env.subsystem, e->h, forgotten, e);
}

/* ---- add -------------------------------------------------------------------------------------- */

static void remember(struct entry *e)
{
	struct memory *m = &e->exports->memory[holding_nsid(e->h)];
	const struct export *file = holding_export(e->h);

	if (!file)
		return;
	(void)snprintf(m->name, sizeof(m->name), "%s", holding_name(e->h));
	m->has_uuid = true;
	memcpy(m->uuid, export_identity(file)->uuid, sizeof(m->uuid));
	if (e->exports->announced)
		holding_became_known(e->h);
}

/* Its path alone does not tell which one it is. */
static void note_why(struct entry *e, const char *why)
{
	const char *name = holding_name(e->h);
	const size_t n = strlen(name);

	if (strncmp(why, name, n) == 0 && why[n] == ':')
		(void)snprintf(e->why, sizeof(e->why), "%s", why);
	else
		(void)snprintf(e->why, sizeof(e->why), "%s: %.*s", name,
			       (int)(sizeof(e->why) - n - 3), why);
}

static void held(void *arg)
{
	struct entry *e = arg;

	e->exports->env.held(e->exports->env.held_arg);
}

static void started(void *arg, int err, const char *why)
{
	struct entry *e = arg;

	/* Stopped meanwhile: the end of the stop tells. */
	if (e->stopping) {
		e->err = err ? err : -ECANCELED;
		(void)snprintf(e->why, sizeof(e->why), "%s", why);
		return;
	}
	if (err) {
		e->err = err;
		e->keep = err == -EREMCHG && !e->exports->announced;
		note_why(e, why);
		/* Everything is undone but its place among the namespaces. */
		forget(e);
		return;
	}
	e->state = ENTRY_THERE;
	free_entry(e->replaces);
	e->replaces = NULL;
	remember(e);
	e->done(e->arg, 0, why);
}

/* Two daemons' lives may differ; in one, a number means one disk. */
static uint32_t choose_nsid(const struct exports *x, const struct config_export *config)
{
	uint32_t nsid;

	if (config->nsid)
		return config->nsid;
	for (nsid = 1; nsid <= NVME_MAX_NSID; nsid++) {
		if (strcmp(x->memory[nsid].name, config->name) == 0)
			return nsid;
	}
	for (nsid = 1; nsid <= NVME_MAX_NSID; nsid++) {
		if (x->memory[nsid].name[0] == '\0')
			return nsid;
	}
	return 0;
}

static const struct holding *with_nsid(const struct exports *x, uint32_t nsid)
{
	struct list *l;

	list_for_each (l, &x->entries) {
		const struct entry *e = list_entry(l, struct entry, link);

		if (holding_nsid(e->h) == nsid)
			return e->h;
	}
	return NULL;
}

static int make(struct exports *x, const struct config_export *c, uint32_t nsid, bool adopt,
		struct entry **entry)
{
	const struct memory *m = &x->memory[nsid];
	struct holding_config config = {
		.export =
			{
				.name = c->name,
				.path = c->path,
				.lba_bytes = c->lba_bytes,
				.prepare = c->prepare,
				.unshare = c->unshare,
				.allocate_reserve_percent = x->env.config->allocate_reserve_percent,
				.read_only = c->read_only,
				.inbound_persistent = c->inbound_persistent,
				.sector_atomic = c->sector_atomic,
				.keep = c->tenure == TENURE_LEASE,
				.closable = c->release_at_once,
				.software_fabric_only = x->software_only,
				.adopt = adopt,
				.uuid = m->has_uuid ? m->uuid : NULL,
				.lock_dir = x->env.config->lock_dir,
				.state_dir = x->env.config->state_dir,
			},
		.nsid = nsid,
		.ana_group = c->ana_group,
		.registration = c->registration,
		.wait_if_busy = c->wait_if_busy,
		.tenure = c->tenure,
		.refuse_while_granted = c->refuse_while_granted,
		.advisory_deallocate = c->advisory_deallocate,
		.deny_conflicts = c->deny_conflicts,
		.windows = c->windows,
		.generations_before = m->generation,
	};
	struct entry *e = calloc(1, sizeof(*e));
	int rc = e ? holding_new(x->env.holdings_env, &config, &e->h) : -ENOMEM;

	if (rc == 0) {
		rc = nvme_subsystem_add(x->env.subsystem, e->h);
		if (rc)
			holding_free(e->h);
	}
	if (rc) {
		free(e);
		return rc;
	}
	e->exports = x;
	e->config = *c;
	link_entry(e);
	*entry = e;
	return 0;
}

void exports_add(struct exports *x, const struct config_export *config, bool adopt,
		 exports_done_fn *done, void *arg)
{
	uint32_t nsid = choose_nsid(x, config);
	const struct holding *other;
	struct entry *e, *offline;
	int rc;

	if (x->stopping) {
		finish(done, arg, -ESHUTDOWN, "the daemon is being stopped");
		return;
	}
	if (x->going_on && !x->announced) {
		finish(done, arg, -EAGAIN,
		       "the daemon is being started: try again when it is ready");
		return;
	}
	if (config->prepare == EXPORT_PREPARE_ALLOCATE && !x->env.config->state_dir[0]) {
		finish(done, arg, -EINVAL, CONFIG_PREPARE_NEEDS_STATE);
		return;
	}
	offline = find(x, config->name);
	if (offline && offline->state != ENTRY_OFFLINE) {
		finish(done, arg, -EEXIST, "name \"%s\" is used already", config->name);
		return;
	}
	if (nsid == 0 || nsid > NVME_MAX_NSID) {
		finish(done, arg, -ENOSPC,
		       "export %s: every nsid from 1 to %u was used since the daemon started",
		       config->name, NVME_MAX_NSID);
		return;
	}
	other = with_nsid(x, nsid);
	if (other && (!offline || other != offline->h)) {
		finish(done, arg, -EEXIST, "nsid %u is used already by \"%s\"", nsid,
		       holding_name(other));
		return;
	}
	if (x->memory[nsid].name[0] && strcmp(x->memory[nsid].name, config->name) != 0) {
		finish(done, arg, -EEXIST,
		       "nsid %u was \"%s\" since the daemon started, and hosts may remember it: "
		       "use another one",
		       nsid, x->memory[nsid].name);
		return;
	}
	rc = make(x, config, nsid, adopt, &e);
	if (rc == -ENOSPC) {
		finish(done, arg, rc,
		       "export %s cannot be added: there are %u namespaces, more cannot be",
		       config->name, NVME_MAX_NAMESPACES);
		return;
	}
	if (rc) {
		finish(done, arg, rc, "export %s cannot be added: %s", config->name, strerror(-rc));
		return;
	}
	if (offline)
		unlink_entry(offline);
	e->replaces = offline;
	e->done = done;
	e->arg = arg;
	if (!x->going_on)
		holding_hold(e->h, held, e);
	holding_start(e->h, started, e);
}

unsigned int exports_held(const struct exports *x)
{
	unsigned int n = 0;
	struct list *l;

	list_for_each (l, &x->entries) {
		const struct entry *e = list_entry(l, struct entry, link);

		n += e->state == ENTRY_ADDING && holding_is_held(e->h);
	}
	return n;
}

void exports_go_on(struct exports *x)
{
	struct list *l;

	x->going_on = true;
	list_for_each (l, &x->entries)
		holding_go_on(list_entry(l, struct entry, link)->h);
}

void exports_announced(struct exports *x)
{
	struct list *l;

	x->announced = true;
	list_for_each (l, &x->entries)
		remember(list_entry(l, struct entry, link));
}

bool exports_are_announced(const struct exports *x)
{
	return x->announced;
}

/* ---- remove ----------------------------------------------------------------------------------- */

static void holding_stopped(void *arg)
{
	struct entry *e = arg;

	if (e->exports->stopping && e->state == ENTRY_THERE) {
		e->stopping = false;
		check_stopped(e->exports);
		return;
	}
	forget(e);
}

/* Hosts lose it, what is granted is recalled, the file is let go: forgotten() has the rest. */
static void take_away(struct entry *e, exports_done_fn *done, void *arg)
{
	/* One that waited for its file until now has no identity remembered yet. */
	remember(e);
	e->state = ENTRY_REMOVING;
	e->stopping = true;
	e->done = done;
	e->arg = arg;
	e->err = 0;
	nvme_subsystem_detach(e->exports->env.subsystem, e->h);
	holding_stop(e->h, holding_stopped, e);
}

/* The entry that can be worked on, or NULL and an answer. */
static struct entry *get(struct exports *x, const char *name, exports_done_fn *done, void *arg)
{
	struct entry *e = find(x, name);

	if (!e)
		finish(done, arg, -ENOENT, "there is no export \"%s\"; leasehold export list",
		       name);
	else if (x->stopping)
		finish(done, arg, -ESHUTDOWN, "the daemon is being stopped");
	else if (e->state == ENTRY_OFFLINE)
		finish(done, arg, -ENODEV, "export \"%s\" is offline: %s", name, e->why);
	else if (e->state != ENTRY_THERE)
		finish(done, arg, -EBUSY, "export \"%s\" is being %s", name,
		       e->state == ENTRY_ADDING ? "added" : "removed");
	else
		return e;
	return NULL;
}

void exports_remove(struct exports *x, const char *name, exports_done_fn *done, void *arg)
{
	struct entry *e = find(x, name);

	if (e && e->state == ENTRY_OFFLINE && !x->stopping) {
		unlink_entry(e);
		log_notice("%s: removed", name);
		done(arg, 0, "");
		free_entry(e);
		return;
	}
	e = get(x, name, done, arg);
	if (e)
		take_away(e, done, arg);
}

/* ---- out of service and back ------------------------------------------------------------------ */

void exports_offline(struct exports *x, const char *name, exports_done_fn *done, void *arg)
{
	struct entry *e = find(x, name);

	if (e && e->state == ENTRY_OFFLINE && !x->stopping) {
		finish(done, arg, -EALREADY, "export \"%s\" is offline already: %s", name, e->why);
		return;
	}
	e = get(x, name, done, arg);
	if (!e)
		return;
	e->keep = e->by_admin = true;
	(void)snprintf(e->why, sizeof(e->why), "by the administrator");
	take_away(e, done, arg);
}

void exports_online(struct exports *x, const char *name, exports_done_fn *done, void *arg)
{
	const struct entry *e = find(x, name);
	struct config_export config;

	if (e && e->state == ENTRY_THERE && !x->stopping) {
		finish(done, arg, -EALREADY, "export \"%s\" is not offline", name);
		return;
	}
	if (!e || e->state != ENTRY_OFFLINE || x->stopping) {
		(void)get(x, name, done, arg);
		return;
	}
	config = e->config;
	exports_add(x, &config, false, done, arg);
}

/* ---- resize ----------------------------------------------------------------------------------- */

void exports_resize(struct exports *x, const char *name, uint64_t bytes, exports_done_fn *done,
		    void *arg)
{
	struct entry *e = get(x, name, done, arg);

	if (e)
		holding_resize(e->h, bytes, done, arg);
}

void exports_rung(struct exports *x, const char *name, const char *device,
		  const enum region_choice *choice, exports_done_fn *done, void *arg)
{
	struct entry *e = get(x, name, done, arg);

	if (e)
		holding_rung(e->h, device, choice, done, arg);
}

/* ---- reclaim ---------------------------------------------------------------------------------- */

void exports_reclaim(struct exports *x, const char *name, const struct holding_reclaim *want,
		     exports_done_fn *done, void *arg)
{
	struct entry *e = get(x, name, done, arg);

	if (e)
		holding_reclaim(e->h, want, done, arg);
}

int exports_reclaim_end(struct exports *x, const char *name, struct errtext *err)
{
	struct entry *e = find(x, name);

	if (!e)
		return errtext_set(err, -ENOENT, "there is no export \"%s\"; leasehold export list",
				   name);
	(void)holding_reclaim_end(e->h);
	return 0;
}

/* ---- what others see -------------------------------------------------------------------------- */

void exports_scan(struct exports *x)
{
	struct list *l;

	list_for_each (l, &x->entries)
		holding_scan(list_entry(l, struct entry, link)->h);
}

unsigned int exports_count(const struct exports *x)
{
	return x->count;
}

unsigned int exports_count_offline(const struct exports *x)
{
	unsigned int n = 0;
	struct list *l;

	list_for_each (l, &x->entries)
		n += list_entry(l, struct entry, link)->state == ENTRY_OFFLINE;
	return n;
}

void exports_each(const struct exports *x,
		  void (*fn)(const struct holding *h, bool removing, void *arg), void *arg)
{
	struct list *l;

	list_for_each (l, &x->entries) {
		const struct entry *e = list_entry(l, struct entry, link);

		fn(e->h, e->state == ENTRY_REMOVING, arg);
	}
}

void exports_each_entry(const struct exports *x,
			void (*fn)(const struct exports_entry *e, void *arg), void *arg)
{
	struct list *l;

	list_for_each (l, &x->entries) {
		const struct entry *e = list_entry(l, struct entry, link);
		const struct exports_entry entry = {
			.config = &e->config,
			.nsid = holding_nsid(e->h),
			.offline = e->state == ENTRY_OFFLINE,
			.by_admin = e->state == ENTRY_OFFLINE && e->by_admin,
			.changing = e->state == ENTRY_ADDING || e->state == ENTRY_REMOVING,
		};

		fn(&entry, arg);
	}
}

const struct holding *exports_find(const struct exports *x, const char *name)
{
	const struct entry *e = find(x, name);

	return e ? e->h : NULL;
}

/* ---- stop ------------------------------------------------------------------------------------- */

/* One more, or fewer, that holds it up. */
static void given_back(void *arg, int err, const char *why)
{
	struct exports *x = arg;

	if (err)
		log_warning("%s", why);
	if (--x->giving_back == 0 && !x->stopping)
		x->given_back(x->given_back_arg);
}

unsigned int exports_give_back(struct exports *x, void (*done)(void *arg), void *arg)
{
	static const struct holding_reclaim want = {.whole = true,
						    .hold_ns = HOLDING_RECLAIM_TILL_STOP};
	unsigned int asked = 0;
	struct holding_status s;
	struct list *l;

	x->given_back = done;
	x->given_back_arg = arg;
	x->giving_back = 1; /* our own */
	list_for_each (l, &x->entries) {
		struct entry *e = list_entry(l, struct entry, link);

		if (e->state != ENTRY_THERE || e->stopping)
			continue;
		holding_status(e->h, &s);
		if (s.clients == 0)
			continue;
		asked++;
		x->giving_back++;
		holding_reclaim(e->h, &want, given_back, x);
	}
	if (asked > 0)
		given_back(x, 0, "");
	return asked;
}

void exports_stop(struct exports *x, void (*done)(void *arg), void *arg)
{
	struct list *l;

	assert(!x->stopping);
	x->stopping = true;
	x->stopped = done;
	x->stopped_arg = arg;
	list_for_each (l, &x->entries) {
		struct entry *e = list_entry(l, struct entry, link);

		if (e->state == ENTRY_REMOVING || e->state == ENTRY_OFFLINE)
			continue;
		if (e->state == ENTRY_THERE)
			remember(e);
		e->stopping = true;
		holding_stop(e->h, holding_stopped, e);
	}
	check_stopped(x);
}

void exports_free(struct exports *x)
{
	struct list *l;

	if (!x)
		return;
	while ((l = list_pop(&x->entries)))
		free_entry(list_entry(l, struct entry, link));
	free(x);
}
