// SPDX-License-Identifier: BSD-3-Clause
/*
 * The plan of a reload: three things are compared, the file as it was read last, the file as it is now,
 * and what runs. What both files say alike is left alone, unless the reload before could not do it.
 * Pure.
 */
#include "control/reload_plan.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/hosts.h"
#include "control/reload_keys.h"

struct planning {
	const struct reload_running *now;
	struct daemon_config *wanted;
	struct reload_plan *plan;
	struct errtext *err;
	int rc;			    /* the first error */
	struct reload_step nowhere; /* without memory */
};

/* ---- steps ----------------------------------------------------------------------------------- */

struct reload_step *reload_plan_add(struct reload_plan *plan, enum reload_act act,
				    enum reload_outcome outcome)
{
	struct reload_step *steps =
		realloc(plan->steps, (plan->nr_steps + 1) * sizeof(*plan->steps));

	if (!steps)
		return NULL;
	plan->steps = steps;
	steps += plan->nr_steps++;
	*steps = (struct reload_step){.act = act, .outcome = outcome};
	return steps;
}

void reload_plan_free(struct reload_plan *plan)
{
	free(plan->steps);
	*plan = (struct reload_plan){0};
}

static struct reload_step *step(struct planning *p, enum reload_act act,
				enum reload_outcome outcome, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

static struct reload_step *step(struct planning *p, enum reload_act act,
				enum reload_outcome outcome, const char *fmt, ...)
{
	struct reload_step *s = reload_plan_add(p->plan, act, outcome);
	va_list ap;

	if (!s) {
		if (p->rc == 0)
			p->rc = errtext_set(p->err, -ENOMEM, "out of memory");
		return &p->nowhere;
	}
	va_start(ap, fmt);
	(void)vsnprintf(s->text, sizeof(s->text), fmt, ap);
	va_end(ap);
	return s;
}

/* ---- keys that are no list ------------------------------------------------------------------- */

static void plan_key(const struct reload_key_change *change, void *arg)
{
	struct planning *p = arg;
	struct reload_step *s;

	if (!change->live)
		s = step(p, RELOAD_SAY, RELOAD_STAYS, "stays %s until a restart; the file says %s",
			 change->now, change->wanted);
	else if (p->now->level_given && strcmp(change->name, "log_level") == 0)
		s = step(p, RELOAD_SAY, RELOAD_NOTE, "the file says %s; --log-level wins",
			 change->wanted);
	else
		s = step(p, RELOAD_SAY, RELOAD_DONE, "%s, was %s", change->wanted, change->now);
	(void)snprintf(s->what, sizeof(s->what), "%s", change->name);
}

/* ---- hosts ------------------------------------------------------------------------------------ */

static void plan_hosts(struct planning *p)
{
	const struct daemon_config *last = p->now->config;
	unsigned int added, removed;
	struct reload_step *s;

	hosts_compare(last, p->wanted, &added, &removed);
	if (added == 0 && removed == 0 && last->allow_any_host == p->wanted->allow_any_host)
		return;
	s = step(p, RELOAD_HOSTS, RELOAD_PLANNED, "%u added, %u removed", added, removed);
	(void)snprintf(s->what, sizeof(s->what), "hosts");
}

/* ---- referrals ------------------------------------------------------------------------------- */

static bool same_referral(const struct config_referral *a, const struct config_referral *b)
{
	return a->software == b->software && strcmp(a->nqn, b->nqn) == 0 &&
	       memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0;
}

static const struct config_referral *find_referral(const struct daemon_config *c,
						   const struct config_referral *like)
{
	for (unsigned int i = 0; i < c->nr_referrals; i++) {
		if (same_referral(&c->referrals[i], like))
			return &c->referrals[i];
	}
	return NULL;
}

/* 0: it is not there. */
static uint16_t referral_id(const struct reload_running *now, const struct config_referral *like)
{
	for (unsigned int i = 0; i < now->nr_referrals; i++) {
		if (same_referral(&now->referrals[i].config, like))
			return now->referrals[i].id;
	}
	return 0;
}

static void plan_referrals(struct planning *p)
{
	const struct daemon_config *last = p->now->config;
	struct reload_step *s;

	for (unsigned int i = 0; i < last->nr_referrals; i++) {
		const struct config_referral *r = &last->referrals[i];
		const uint16_t id = referral_id(p->now, r);

		if (find_referral(p->wanted, r) || id == 0)
			continue;
		s = step(p, RELOAD_REFERRAL_REMOVE, RELOAD_PLANNED, "removed");
		s->id = id;
		(void)snprintf(s->what, sizeof(s->what), "referral %u", id);
	}
	for (unsigned int i = 0; i < p->wanted->nr_referrals; i++) {
		struct config_referral *r = &p->wanted->referrals[i];
		const struct config_referral *old = find_referral(last, r);

		if ((old && !old->undone) || referral_id(p->now, r))
			continue;
		r->undone = true;
		s = step(p, RELOAD_REFERRAL_ADD, RELOAD_PLANNED, "added");
		s->index = i;
		(void)snprintf(s->what, sizeof(s->what), "referral of the file's, number %u",
			       i + 1);
	}
}

/* ---- listeners ------------------------------------------------------------------------------- */

const struct config_listener *reload_find_listener(const struct daemon_config *c,
						   const struct config_listener *like)
{
	for (unsigned int i = 0; i < c->nr_listeners; i++) {
		const struct config_listener *l = &c->listeners[i];

		if (l->software == like->software && l->port == like->port &&
		    strcmp(l->host, like->host) == 0)
			return l;
	}
	return NULL;
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET6)
		return a6->sin6_port == b6->sin6_port &&
		       memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
	return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
}

static const struct reload_listener *listening(const struct reload_running *now,
					       const struct config_listener *l)
{
	for (unsigned int i = 0; i < now->nr_listeners; i++) {
		if (now->listeners[i].software == l->software &&
		    same_address(&now->listeners[i].addr, &l->addr))
			return &now->listeners[i];
	}
	return NULL;
}

static struct reload_step *listener_step(struct planning *p, enum reload_act act,
					 const struct config_listener *l, const char *text)
{
	struct reload_step *s = step(p, act, RELOAD_PLANNED, "%s", text);

	(void)snprintf(s->what, sizeof(s->what), "listener %s port %u (%s)", l->host, l->port,
		       l->software ? "iwarp" : "verbs");
	return s;
}

static void remove_listener(struct planning *p, const struct config_listener *l,
			    const struct reload_listener *there, bool comes_back)
{
	struct reload_step *s = listener_step(p, RELOAD_LISTENER_REMOVE, l, "");

	s->id = there->portid;
	if (there->controllers > 0)
		(void)snprintf(s->text, sizeof(s->text),
			       "removed; %u controller(s) that came by it stay until they leave",
			       there->controllers);
	else
		(void)snprintf(s->text, sizeof(s->text), "removed%s",
			       comes_back ? ", to be added with other options" : "");
}

static bool same_options(const struct config_listener *a, const struct config_listener *b)
{
	return a->no_invalidate == b->no_invalidate &&
	       memcmp(a->ana_state, b->ana_state, sizeof(a->ana_state)) == 0;
}

/* As the file had it, if that was done; else it came by an admin verb, or not at all. */
static const struct config_listener *told(const struct planning *p, const struct config_listener *l)
{
	const struct config_listener *old = reload_find_listener(p->now->config, l);

	return old && !old->undone ? old : NULL;
}

static void plan_listener(struct planning *p, unsigned int index)
{
	struct config_listener *l = &p->wanted->listeners[index];
	const struct config_listener *old = told(p, l);
	const struct reload_listener *there = listening(p->now, l);
	struct reload_step *s;

	if (old && !there) {
		s = listener_step(p, RELOAD_SAY, l,
				  "was removed while the daemon ran, and stays so");
		s->outcome = RELOAD_NOTE;
		return;
	}
	if (old && same_options(old, l))
		return;
	l->undone = true;
	if (!(l->software ? p->now->software : p->now->verbs)) {
		s = listener_step(
			p, RELOAD_SAY, l,
			"stays away until a restart: the daemon was started without a listener "
			"of that fabric");
		s->outcome = RELOAD_STAYS;
		return;
	}
	if (there && (!old || old->no_invalidate == l->no_invalidate)) {
		l->undone = false;
		if (memcmp(there->ana_state + 1, l->ana_state + 1, NVME_MAX_ANA_GROUPS) == 0)
			return;
		s = listener_step(p, RELOAD_LISTENER_ANA, l, "access is as the file has it");
		s->id = there->portid;
	} else {
		s = listener_step(p, RELOAD_LISTENER_ADD, l, "added");
	}
	s->index = index;
}

static bool is_in(const struct daemon_config *c, const struct reload_listener *there)
{
	for (unsigned int i = 0; i < c->nr_listeners; i++) {
		if (c->listeners[i].software == there->software &&
		    same_address(&c->listeners[i].addr, &there->addr))
			return true;
	}
	return false;
}

static void plan_listeners(struct planning *p)
{
	const struct daemon_config *last = p->now->config;

	for (unsigned int i = 0; i < last->nr_listeners; i++) {
		const struct config_listener *old = &last->listeners[i];
		const struct config_listener *new = reload_find_listener(p->wanted, old);
		const struct reload_listener *there = listening(p->now, old);

		if (there && (!new || (!old->undone && new->no_invalidate != old->no_invalidate)))
			remove_listener(p, old, there, new != NULL);
	}
	for (unsigned int i = 0; i < p->wanted->nr_listeners; i++)
		plan_listener(p, i);
	for (unsigned int i = 0; i < p->now->nr_listeners; i++) {
		const struct reload_listener *there = &p->now->listeners[i];
		struct reload_step *s;

		if (is_in(last, there) || is_in(p->wanted, there))
			continue;
		s = step(p, RELOAD_SAY, RELOAD_NOTE,
			 "was added while the daemon ran, is not in the file, and stays");
		(void)snprintf(s->what, sizeof(s->what), "listener %u", there->portid);
	}
}

/* ---- exports --------------------------------------------------------------------------------- */

enum {
	CHANGED_PATH = 1,
	CHANGED_RUNG = 2,
	CHANGED_LATER = 4, /* looked at when it is started */
	CHANGED_ANEW = 8,  /* it was made for the old value */
};

struct changes {
	unsigned int mask;
	char text[ERRTEXT_BYTES / 2]; /* "lba 512, was 4096; …" */
};

static void changed(struct changes *c, unsigned int kind, const char *key, const char *old,
		    const char *new)
{
	const size_t used = strlen(c->text);

	if (strcmp(old, new) == 0)
		return;
	c->mask |= kind;
	(void)snprintf(c->text + used, sizeof(c->text) - used, "%s%s %s, was %s", used ? "; " : "",
		       key, new, old);
}

static void changed_number(struct changes *c, const char *key, uint32_t old, uint32_t new)
{
	char was[16], is[16];

	(void)snprintf(was, sizeof(was), "%u", old);
	(void)snprintf(is, sizeof(is), "%u", new);
	changed(c, CHANGED_ANEW, key, was, is);
}

static void changed_word(struct changes *c, unsigned int kind, const char *key, bool old, bool new,
			 const char *no, const char *yes)
{
	changed(c, kind, key, old ? yes : no, new ? yes : no);
}

/* What of `old`, which runs as number `nsid`, is otherwise in `new`. */
static struct changes compare(const struct config_export *old, uint32_t nsid,
			      const struct config_export *new)
{
	struct changes c = {0};

	changed(&c, CHANGED_PATH, "path", old->path, new->path);
	if (new->nsid_said)
		changed_number(&c, "nsid", nsid, new->nsid);
	changed_number(&c, "lba", old->lba_bytes, new->lba_bytes);
	changed_number(&c, "ana_group", old->ana_group, new->ana_group);
	changed_word(&c, CHANGED_LATER, "prepare", old->prepare == EXPORT_PREPARE_ALLOCATE,
		     new->prepare == EXPORT_PREPARE_ALLOCATE, "none", "allocate");
	changed_word(&c, CHANGED_ANEW, "unshare", old->unshare == EXPORT_UNSHARE_ON_ACQUIRE,
		     new->unshare == EXPORT_UNSHARE_ON_ACQUIRE, "never", "on-acquire");
	changed(&c, CHANGED_RUNG, "registration", region_choice_text(old->registration),
		region_choice_text(new->registration));
	changed_word(&c, CHANGED_LATER, "busy", old->wait_if_busy, new->wait_if_busy, "refuse",
		     "wait");
	changed_word(&c, CHANGED_ANEW, "tenure", old->tenure == TENURE_WATCH,
		     new->tenure == TENURE_WATCH, "lease", "watch");
	changed_word(&c, CHANGED_ANEW, "refuse", old->refuse_while_granted,
		     new->refuse_while_granted, "never", "while-granted");
	changed_word(&c, CHANGED_ANEW, "deallocate", old->advisory_deallocate,
		     new->advisory_deallocate, "punch", "advisory");
	changed_word(&c, CHANGED_ANEW, "grant_conflict", old->deny_conflicts, new->deny_conflicts,
		     "recall", "deny");
	changed_word(&c, CHANGED_ANEW, "grant_keys", old->windows, new->windows, "mr", "window");
	changed_word(&c, CHANGED_ANEW, "inbound_writes", old->inbound_persistent,
		     new->inbound_persistent, "unknown", "persistent");
	changed_word(&c, CHANGED_ANEW, "odp_release", old->release_at_once, new->release_at_once,
		     "after-recall", "at-once");
	changed_word(&c, CHANGED_ANEW, "sector_atomic", old->sector_atomic, new->sector_atomic,
		     "none", "journal");
	changed_word(&c, CHANGED_ANEW, "read_only", old->read_only, new->read_only, "false",
		     "true");
	return c;
}

static const struct config_export *named(const struct daemon_config *c, const char *name)
{
	for (unsigned int i = 0; i < c->nr_exports; i++) {
		if (strcmp(c->exports[i].name, name) == 0)
			return &c->exports[i];
	}
	return NULL;
}

static const struct reload_export *running(const struct reload_running *now, const char *name)
{
	for (unsigned int i = 0; i < now->nr_exports; i++) {
		if (strcmp(now->exports[i].config->name, name) == 0)
			return &now->exports[i];
	}
	return NULL;
}

static struct reload_step *export_step(struct planning *p, enum reload_act act, const char *name,
				       const char *text)
{
	const struct reload_export *there = running(p->now, name);
	struct reload_step *s = step(p, act, RELOAD_PLANNED, "%s", text);

	(void)snprintf(s->name, sizeof(s->name), "%s", name);
	(void)snprintf(s->what, sizeof(s->what), "export %s", name);
	if (act != RELOAD_SAY && there && there->changing && p->rc == 0)
		p->rc = errtext_set(p->err, -EBUSY,
				    "export %s is being added or removed: reload when that has "
				    "ended",
				    name);
	return s;
}

/* One that runs, and is otherwise in the file. */
static void change_export(struct planning *p, struct config_export *e, const struct changes *c)
{
	struct reload_step *s;

	e->undone = true;
	if (c->mask & CHANGED_PATH) {
		s = export_step(p, RELOAD_SAY, e->name, "");
		s->outcome = RELOAD_STAYS;
		(void)snprintf(s->text, sizeof(s->text),
			       "stays as it was (%.200s): under its name hosts would find another "
			       "disk; if that is meant, leasehold export remove, then leasehold "
			       "export add --adopt",
			       c->text);
	} else if (c->mask & CHANGED_ANEW) {
		(void)export_step(p, RELOAD_EXPORT_AGAIN, e->name, c->text);
	} else if (c->mask & CHANGED_RUNG) {
		(void)export_step(p, RELOAD_EXPORT_RUNG, e->name, c->text);
	} else {
		e->undone = false;
		s = export_step(p, RELOAD_SAY, e->name, "");
		s->outcome = RELOAD_DONE;
		(void)snprintf(s->text, sizeof(s->text), "%s; from its next start on", c->text);
	}
}

static void plan_export(struct planning *p, struct config_export *e)
{
	const struct config_export *old = named(p->now->config, e->name);
	const struct reload_export *there = running(p->now, e->name);
	const bool told = old && !old->undone;
	struct reload_step *s;
	struct changes c;

	if (!there && told) {
		s = export_step(p, RELOAD_SAY, e->name,
				"was removed while the daemon ran, and stays so");
		s->outcome = RELOAD_NOTE;
		return;
	}
	if (!there) {
		e->undone = true;
		(void)export_step(p, RELOAD_EXPORT_ADD, e->name, "added");
		return;
	}
	c = compare(told ? old : there->config, told && old->nsid_said ? old->nsid : there->nsid,
		    e);
	if (c.mask == 0)
		return;
	if (there->by_admin) {
		e->undone = true;
		s = export_step(p, RELOAD_SAY, e->name, "");
		s->outcome = RELOAD_STAYS;
		(void)snprintf(s->text, sizeof(s->text),
			       "stays offline, where the administrator put it, and as it was "
			       "(%.200s): leasehold export online, then leasehold reload again",
			       c.text);
		return;
	}
	if (there->offline) {
		e->undone = true;
		(void)export_step(p, RELOAD_EXPORT_ADD, e->name, c.text);
		return;
	}
	change_export(p, e, &c);
}

static void plan_exports(struct planning *p)
{
	const struct daemon_config *last = p->now->config;

	for (unsigned int i = 0; i < last->nr_exports; i++) {
		const char *name = last->exports[i].name;

		if (!named(p->wanted, name) && running(p->now, name))
			(void)export_step(p, RELOAD_EXPORT_REMOVE, name, "removed");
	}
	for (unsigned int i = 0; i < p->wanted->nr_exports; i++)
		plan_export(p, &p->wanted->exports[i]);
	for (unsigned int i = 0; i < p->now->nr_exports; i++) {
		const char *name = p->now->exports[i].config->name;
		struct reload_step *s;

		if (named(p->wanted, name) || named(last, name))
			continue;
		s = export_step(p, RELOAD_SAY, name,
				"was added while the daemon ran, is not in the file, and stays");
		s->outcome = RELOAD_NOTE;
	}
}

/* ---- all ------------------------------------------------------------------------------------- */

int reload_plan_make(const struct reload_running *now, struct daemon_config *wanted,
		     struct reload_plan *plan, struct errtext *err)
{
	struct planning p = {.now = now, .wanted = wanted, .plan = plan, .err = err};

	*plan = (struct reload_plan){0};
	reload_keys_each(now->config, wanted, plan_key, &p);
	plan_hosts(&p);
	plan_referrals(&p);
	plan_listeners(&p);
	plan_exports(&p);
	if (p.rc) {
		reload_plan_free(plan);
		return p.rc;
	}
	return 0;
}
