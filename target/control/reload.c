// SPDX-License-Identifier: BSD-3-Clause
/*
 * A reload, from the file to the answer. Control loop.
 *
 *   IDLE -> READING (a worker reads the file and looks names up; nothing is changed)
 *        -> the plan; keys, referrals, listeners, at once
 *        -> EXPORTS, one after the other, each as its admin verb does it -> IDLE
 *
 * An export that is to be made anew is removed and added. If it then cannot be, it is added as it was:
 * a file that is wrong about one option costs a moment, not the export.
 */
#include "control/reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "control/reload_keys.h"
#include "util/log.h"

enum reload_state {
	RELOAD_IDLE,
	RELOAD_READING,
	RELOAD_EXPORTS,
};

struct reload {
	struct reload_env env;
	enum reload_state state;
	bool again; /* SIGHUP came when none could be begun */
	bool stopping;
	struct work work; /* READING, as are … */
	struct daemon_config *wanted;
	int read_err;
	struct errtext read_text;
	struct reload_plan plan;
	unsigned int at;	       /* EXPORTS: the step that is under way */
	struct config_export old, new; /* of that step: how it was added, how it is to be */
	struct errtext anew;	       /* why it could not be made anew */
	reload_done_fn *done;
	void *arg;
};

int reload_new(const struct reload_env *env, struct reload **r)
{
	*r = calloc(1, sizeof(**r));
	if (!*r)
		return -ENOMEM;
	(*r)->env = *env;
	return 0;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* NULL: nobody waits. */
static void answer(struct reload *r, int err, const char *why, const struct reload_plan *plan)
{
	reload_done_fn *done = r->done;

	r->done = NULL;
	if (done)
		done(r->arg, err, why, plan);
}

static void end(struct reload *r)
{
	reload_plan_free(&r->plan);
	config_free(r->wanted);
	r->wanted = NULL;
	r->state = RELOAD_IDLE;
	if (r->stopping)
		return;
	(void)sd_notify(0, "READY=1");
	if (!r->again)
		return;
	r->again = false;
	reload_begin(r, NULL, NULL);
}

static void refuse(struct reload *r, int err, const char *why)
{
	log_error("reload: nothing was changed: %s", why);
	answer(r, err, why, NULL);
}

static void log_step(const struct reload_step *s)
{
	switch (s->outcome) {
	case RELOAD_DONE:
		log_notice("reload: %s: %s", s->what, s->text);
		break;
	case RELOAD_PLANNED:
	case RELOAD_FAILED:
		log_error("reload: %s: %s", s->what, s->text);
		break;
	case RELOAD_STAYS:
		log_warning("reload: %s: %s", s->what, s->text);
		break;
	case RELOAD_NOTE:
		log_info("reload: %s: %s", s->what, s->text);
		break;
	}
}

static void log_end(const struct reload *r)
{
	unsigned int of[RELOAD_NOTE + 1] = {0};

	for (unsigned int i = 0; i < r->plan.nr_steps; i++) {
		log_step(&r->plan.steps[i]);
		of[r->plan.steps[i].outcome]++;
	}
	if (of[RELOAD_DONE] + of[RELOAD_FAILED] == 0)
		log_notice("reload: nothing was to be changed");
	else
		log_notice("reload: %u change(s) done, %u could not be", of[RELOAD_DONE],
			   of[RELOAD_FAILED]);
}

/* Numbers by place are those of the next start, and not always those of now. */
static void note_number(const struct exports_entry *e, void *arg)
{
	struct reload *r = arg;
	const struct daemon_config *c = r->env.config;
	struct reload_step *s;

	for (unsigned int i = 0; i < c->nr_exports; i++) {
		const struct config_export *file = &c->exports[i];

		if (strcmp(file->name, e->config->name) != 0)
			continue;
		if (file->nsid_said || file->nsid == e->nsid)
			return;
		s = reload_plan_add(&r->plan, RELOAD_SAY, RELOAD_NOTE);
		if (!s)
			return;
		(void)snprintf(s->what, sizeof(s->what), "export %s", file->name);
		(void)snprintf(s->text, sizeof(s->text),
			       "has nsid %u, and by its place in the file %u after a restart: say "
			       "nsid = %u there",
			       e->nsid, file->nsid, e->nsid);
	}
}

static void finish(struct reload *r)
{
	exports_each_entry(r->env.exports, note_number, r);
	log_end(r);
	answer(r, 0, "", &r->plan);
	end(r);
}

/* ---- exports --------------------------------------------------------------------------------- */

static void next_export(struct reload *r);

static struct config_export *file_export(const struct reload *r, const char *name)
{
	const struct daemon_config *c = r->env.config;

	for (unsigned int i = 0; i < c->nr_exports; i++) {
		if (strcmp(c->exports[i].name, name) == 0)
			return &c->exports[i];
	}
	return NULL;
}

/* The sentence may begin with the name, which the step says already. */
static void fail(struct reload_step *s, const char *why)
{
	const size_t n = strlen(s->name);

	if (n > 0 && strncmp(why, s->name, n) == 0 && strncmp(why + n, ": ", 2) == 0)
		why += n + 2;
	s->outcome = RELOAD_FAILED;
	(void)snprintf(s->text, sizeof(s->text), "%s", why);
}

/* False: the daemon is being stopped, and everybody has been answered. */
static bool goes_on(struct reload *r)
{
	if (!r->stopping)
		return true;
	end(r);
	return false;
}

static void export_done(void *arg, int err, const char *why)
{
	struct reload *r = arg;
	struct reload_step *s;
	struct config_export *e;

	if (!goes_on(r))
		return;
	s = &r->plan.steps[r->at];
	e = file_export(r, s->name);
	if (err)
		fail(s, why);
	else
		s->outcome = RELOAD_DONE;
	if (!err && e)
		e->undone = false;
	r->at++;
	next_export(r);
}

static void put_back(void *arg, int err, const char *why)
{
	struct reload *r = arg;
	struct reload_step *s;
	char text[ERRTEXT_BYTES];

	if (!goes_on(r))
		return;
	s = &r->plan.steps[r->at];
	(void)snprintf(text, sizeof(text), "%.240s; %s%.200s", r->anew.text,
		       err ? "it is not served any more: " : "it is served as it was",
		       err ? why : "");
	fail(s, text);
	r->at++;
	next_export(r);
}

static void made_anew(void *arg, int err, const char *why)
{
	struct reload *r = arg;

	if (err && !r->stopping) {
		(void)errtext_set(&r->anew, err, "%s", why);
		exports_add(r->env.exports, &r->old, false, put_back, r);
		return;
	}
	export_done(r, err, why);
}

static void add_export(struct reload *r, exports_done_fn *done)
{
	r->new = *file_export(r, r->plan.steps[r->at].name);
	/* Its place in the list may be the number of another one. */
	if (!r->new.nsid_said)
		r->new.nsid = 0;
	exports_add(r->env.exports, &r->new, false, done, r);
}

static void removed_for_another(void *arg, int err, const char *why)
{
	struct reload *r = arg;

	if (err || r->stopping)
		export_done(r, err, why);
	else
		add_export(r, made_anew);
}

static void note_old(const struct exports_entry *e, void *arg)
{
	struct reload *r = arg;

	if (strcmp(e->config->name, r->plan.steps[r->at].name) != 0)
		return;
	r->old = *e->config;
	r->old.nsid = e->nsid;
}

static void next_export(struct reload *r)
{
	const struct reload_step *s;

	while (r->at < r->plan.nr_steps && r->plan.steps[r->at].act < RELOAD_EXPORT_REMOVE)
		r->at++;
	if (r->at == r->plan.nr_steps) {
		finish(r);
		return;
	}
	s = &r->plan.steps[r->at];
	switch (s->act) {
	case RELOAD_EXPORT_REMOVE:
		exports_remove(r->env.exports, s->name, export_done, r);
		break;
	case RELOAD_EXPORT_RUNG:
		exports_rung(r->env.exports, s->name, NULL, &file_export(r, s->name)->registration,
			     export_done, r);
		break;
	case RELOAD_EXPORT_AGAIN:
		exports_each_entry(r->env.exports, note_old, r);
		exports_remove(r->env.exports, s->name, removed_for_another, r);
		break;
	default:
		add_export(r, export_done);
		break;
	}
}

/* ---- keys, referrals, listeners -------------------------------------------------------------- */

static void take_keys(struct reload *r)
{
	struct daemon_config *c = r->env.config;
	struct holding_env *env = r->env.holdings_env;

	if (c->mdns && (!r->wanted->mdns || strcmp(c->mdns_dir, r->wanted->mdns_dir) != 0))
		mdns_withdraw(c);
	reload_keys_take(c, r->wanted);
	if (!r->env.level_given)
		log_set_level(c->log_level);
	env->max_grants_per_host = c->max_grants_per_host;
	env->max_granted_bytes_per_client = c->max_granted_bytes_per_client;
	env->max_registrations_per_second = c->max_registrations_per_second;
	env->rung_retry_ms = c->registration_retry_ms;
	nvme_target_limit(r->env.target, c->limits.max_connections, c->limits.controllers_per_host);
}

static int do_referral(struct reload *r, const struct reload_step *s)
{
	struct config_referral *from = &r->wanted->referrals[s->index];
	struct nvme_referral referral = {.addr = from->addr, .iwarp = from->software};
	int rc;

	if (s->act == RELOAD_REFERRAL_REMOVE)
		return nvme_target_remove_referral(r->env.target, s->id);
	memcpy(referral.nqn, from->nqn, sizeof(referral.nqn));
	rc = nvme_target_add_referral(r->env.target, &referral);
	from->undone = rc != 0;
	return rc;
}

static int do_listener(struct reload *r, const struct reload_step *s, struct errtext *why)
{
	struct config_listener *l = &r->wanted->listeners[s->index];
	int rc = 0;

	if (s->act == RELOAD_LISTENER_REMOVE)
		return nvme_target_unlisten(r->env.target, s->id, false);
	if (s->act == RELOAD_LISTENER_ADD)
		rc = listener_open(r->env.target, r->env.fabrics, l, why);
	for (unsigned int g = 1;
	     rc == 0 && s->act == RELOAD_LISTENER_ANA && g <= NVME_MAX_ANA_GROUPS; g++)
		rc = nvme_target_set_ana(r->env.target, s->id, g,
					 (enum nvme_ana_state)l->ana_state[g]);
	l->undone = rc != 0;
	return rc;
}

static void do_step(struct reload *r, struct reload_step *s)
{
	struct errtext why = {""};
	int rc;

	if (s->act == RELOAD_SAY || s->act >= RELOAD_EXPORT_REMOVE)
		return;
	if (s->act == RELOAD_HOSTS)
		rc = hosts_take(r->env.target, r->env.config, r->wanted);
	else if (s->act == RELOAD_REFERRAL_REMOVE || s->act == RELOAD_REFERRAL_ADD)
		rc = do_referral(r, s);
	else
		rc = do_listener(r, s, &why);
	if (rc)
		fail(s, why.text[0] ? why.text : strerror(-rc));
	else
		s->outcome = RELOAD_DONE;
}

/* What the file says is from now on what it said last. */
static void take_lists(struct reload *r)
{
	struct daemon_config *c = r->env.config, *w = r->wanted;
	struct config_export *exports = c->exports;
	char(*hosts)[NVME_NQN_BYTES] = c->hosts;

	memcpy(c->referrals, w->referrals, sizeof(c->referrals));
	c->nr_referrals = w->nr_referrals;
	memcpy(c->listeners, w->listeners, sizeof(c->listeners));
	c->nr_listeners = w->nr_listeners;
	c->exports = w->exports;
	c->nr_exports = w->nr_exports;
	w->exports = exports;
	c->hosts = w->hosts;
	c->nr_hosts = w->nr_hosts;
	w->hosts = hosts;
}

/* ---- the plan -------------------------------------------------------------------------------- */

static void note_export(const struct exports_entry *e, void *arg)
{
	struct reload_running *now = arg;

	now->exports[now->nr_exports++] = (struct reload_export){.config = e->config,
								 .nsid = e->nsid,
								 .offline = e->offline,
								 .by_admin = e->by_admin,
								 .changing = e->changing};
}

static void note_listener(const struct nvme_listener_status *status, void *arg)
{
	struct reload_running *now = arg;
	struct reload_listener *l = &now->listeners[now->nr_listeners];

	if (status->removed)
		return;
	assert(now->nr_listeners < ARRAY_SIZE(now->listeners));
	now->nr_listeners++;
	l->portid = status->portid;
	l->software = strcmp(status->fabric, "iwarp") == 0;
	l->addr = status->bound;
	l->controllers = status->controllers;
	memcpy(l->ana_state, status->ana_state, sizeof(l->ana_state));
}

static void note_referral(uint16_t id, const struct nvme_referral *referral, void *arg)
{
	struct reload_running *now = arg;
	struct reload_referral *to = &now->referrals[now->nr_referrals];

	assert(now->nr_referrals < ARRAY_SIZE(now->referrals));
	now->nr_referrals++;
	to->id = id;
	to->config = (struct config_referral){.software = referral->iwarp, .addr = referral->addr};
	memcpy(to->config.nqn, referral->nqn, sizeof(to->config.nqn));
}

static int make_plan(struct reload *r, struct errtext *err)
{
	struct reload_running *now = calloc(1, sizeof(*now));
	int rc = -ENOMEM;

	if (!now)
		return errtext_set(err, rc, "out of memory");
	now->exports = calloc(exports_count(r->env.exports) + 1, sizeof(*now->exports));
	if (now->exports) {
		now->config = r->env.config;
		now->software = r->env.fabrics->software != NULL;
		now->verbs = r->env.fabrics->verbs != NULL;
		now->level_given = r->env.level_given;
		exports_each_entry(r->env.exports, note_export, now);
		nvme_target_each_listener(r->env.target, note_listener, now);
		nvme_target_each_referral(r->env.target, note_referral, now);
		rc = reload_plan_make(now, r->wanted, &r->plan, err);
	} else {
		(void)errtext_set(err, rc, "out of memory");
	}
	free(now->exports);
	free(now);
	return rc;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int look_up(const struct daemon_config *now, struct daemon_config *wanted,
		   struct errtext *err)
{
	for (unsigned int i = 0; i < wanted->nr_listeners; i++) {
		struct config_listener *l = &wanted->listeners[i];
		const struct config_listener *old = reload_find_listener(now, l);
		struct errtext why;
		int rc;

		/* A name that means another machine's address by now is no change of the file. */
		if (old && old->addr.ss_family) {
			l->addr = old->addr;
			continue;
		}
		rc = listener_look_up(l, false, &why);
		if (rc)
			return errtext_set(err, rc, "%.100s:%u: listener %s port %u: %.300s",
					   wanted->file, l->line, l->host, l->port, why.text);
	}
	return 0;
}

/* A pipe was read once, and nobody may be at its other end. */
static int check_kind(const char *file, struct errtext *err)
{
	struct stat st;

	if (stat(file, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return errtext_set(err, -EINVAL, "%s: is no file: it cannot be read again", file);
	return 0;
}

/* The running configuration changes only when this is over. */
static void read_run(struct work *work)
{
	struct reload *r = container_of(work, struct reload, work);
	const struct daemon_config *now = r->env.config;

	r->read_err = check_kind(now->file, &r->read_text);
	if (r->read_err == 0)
		r->read_err = config_load(now->file, &r->wanted, &r->read_text);
	if (r->read_err == 0)
		r->read_err = look_up(now, r->wanted, &r->read_text);
}

static void read_done(struct work *work)
{
	struct reload *r = container_of(work, struct reload, work);
	struct errtext err = r->read_text;
	int rc = r->read_err;

	if (!goes_on(r))
		return;
	if (rc == 0)
		rc = make_plan(r, &err);
	if (rc) {
		refuse(r, rc, err.text);
		end(r);
		return;
	}
	r->state = RELOAD_EXPORTS;
	take_keys(r);
	for (unsigned int i = 0; i < r->plan.nr_steps; i++)
		do_step(r, &r->plan.steps[i]);
	take_lists(r);
	if (r->plan.nr_steps > 0)
		listener_announce(r->env.config, r->env.target);
	r->at = 0;
	next_export(r);
}

void reload_begin(struct reload *r, reload_done_fn *done, void *arg)
{
	char text[64];

	if (r->stopping || r->state != RELOAD_IDLE || !exports_are_announced(r->env.exports)) {
		const char *why = r->stopping ? "the daemon is being stopped"
				  : r->state != RELOAD_IDLE
					  ? "another reload is under way: try again when it has "
					    "ended"
					  : "the daemon is being started: try again when it is "
					    "ready";

		if (done)
			done(arg,
			     r->stopping ? -ESHUTDOWN
			     : r->state	 ? -EBUSY
					 : -EAGAIN,
			     why, NULL);
		return;
	}
	log_notice("reload: %s is read again", r->env.config->file);
	(void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
		       (unsigned long long)(now_ns() / NS_PER_US));
	(void)sd_notify(0, text);
	r->state = RELOAD_READING;
	r->done = done;
	r->arg = arg;
	pool_submit(r->env.workers, &r->work, POOL_NORMAL, read_run, read_done, r->env.control);
}

void reload_signal(struct reload *r)
{
	if (r->state != RELOAD_IDLE || !exports_are_announced(r->env.exports))
		r->again = true;
	else
		reload_begin(r, NULL, NULL);
}

void reload_ready(struct reload *r)
{
	if (r->again) {
		r->again = false;
		reload_begin(r, NULL, NULL);
	}
}

/* ---- stop ------------------------------------------------------------------------------------ */

void reload_stop(struct reload *r)
{
	if (!r || r->stopping)
		return;
	r->stopping = true;
	if (r->state == RELOAD_READING)
		refuse(r, -ESHUTDOWN, "the daemon is being stopped");
	if (r->state != RELOAD_EXPORTS)
		return;
	for (unsigned int i = r->at; i < r->plan.nr_steps; i++) {
		struct reload_step *s = &r->plan.steps[i];

		if (s->outcome == RELOAD_PLANNED)
			fail(s, i == r->at ? "the daemon is being stopped: done or not"
					   : "not begun: the daemon is being stopped");
	}
	log_end(r);
	answer(r, 0, "", &r->plan);
}

void reload_free(struct reload *r)
{
	if (!r)
		return;
	reload_plan_free(&r->plan);
	config_free(r->wanted);
	free(r);
}
