// SPDX-License-Identifier: BSD-3-Clause
/* What reservation commands do to a namespace's state. Pure: see the header. */
#include "nvme/reservation.h"

#include <stddef.h>
#include <string.h>

/* Where fields lie, for the error log. */
#define IN_CDW10(bit) ((uint16_t)(((bit) % 8 << 8 | (40 + (bit) / 8)) + 1))
#define IEKEY_BIT     3
#define RTYPE_BIT     8
#define CPTPL_BIT     30

static bool all_registrants(enum nvme_resv_type type)
{
	return type == NVME_RESV_WRITE_EXCLUSIVE_ALL || type == NVME_RESV_EXCLUSIVE_ACCESS_ALL;
}

/* Other hosts had a share in it: they are told when it goes. */
static bool shared(enum nvme_resv_type type)
{
	return type >= NVME_RESV_WRITE_EXCLUSIVE_REGISTRANTS;
}

/* ---- registrants ------------------------------------------------------------------------------ */

/* The first that is not before `hostid`. */
static unsigned int place_of(const struct resv_state *s, const uint8_t *hostid)
{
	unsigned int low = 0, high = s->nr;

	while (low < high) {
		unsigned int mid = (low + high) / 2;

		if (memcmp(s->registrants[mid].hostid, hostid, RESV_HOSTID_BYTES) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

int resv_find(const struct resv_state *s, const uint8_t hostid[RESV_HOSTID_BYTES])
{
	unsigned int i = place_of(s, hostid);

	if (i == s->nr || memcmp(s->registrants[i].hostid, hostid, RESV_HOSTID_BYTES) != 0)
		return -1;
	return (int)i;
}

bool resv_holds(const struct resv_state *s, unsigned int i)
{
	if (s->type == NVME_RESV_NONE)
		return false;
	return all_registrants(s->type) || s->holder == i;
}

bool resv_valid(const struct resv_state *s)
{
	if (s->nr > RESV_MAX_REGISTRANTS || s->type > NVME_RESV_EXCLUSIVE_ACCESS_ALL)
		return false;
	for (unsigned int i = 1; i < s->nr; i++) {
		if (memcmp(s->registrants[i - 1].hostid, s->registrants[i].hostid,
			   RESV_HOSTID_BYTES) >= 0)
			return false;
	}
	/* Nobody holds what nobody is registered for. */
	if (s->type != NVME_RESV_NONE && s->nr == 0)
		return false;
	if (s->type == NVME_RESV_NONE || all_registrants(s->type))
		return s->holder == 0;
	return s->holder < s->nr;
}

bool resv_allows(const struct resv_state *s, const uint8_t hostid[RESV_HOSTID_BYTES], bool writes)
{
	int i;

	switch (s->type) {
	case NVME_RESV_NONE:
		return true;
	case NVME_RESV_WRITE_EXCLUSIVE:
	case NVME_RESV_WRITE_EXCLUSIVE_REGISTRANTS:
	case NVME_RESV_WRITE_EXCLUSIVE_ALL:
		if (!writes)
			return true;
		break;
	default:
		break;
	}
	i = resv_find(s, hostid);
	if (i < 0)
		return false;
	return shared(s->type) || s->holder == (unsigned int)i;
}

static void release(struct resv_state *s)
{
	s->type = NVME_RESV_NONE;
	s->holder = 0;
}

static void hold(struct resv_state *s, unsigned int i, uint8_t type)
{
	s->type = (enum nvme_resv_type)type;
	s->holder = all_registrants(s->type) ? 0 : i;
}

static void insert(struct resv_state *s, const uint8_t *hostid, uint64_t key)
{
	unsigned int at = place_of(s, hostid);

	memmove(&s->registrants[at + 1], &s->registrants[at],
		(s->nr - at) * sizeof(s->registrants[0]));
	memcpy(s->registrants[at].hostid, hostid, RESV_HOSTID_BYTES);
	s->registrants[at].key = key;
	s->nr++;
	if (s->type != NVME_RESV_NONE && !all_registrants(s->type) && at <= s->holder)
		s->holder++;
}

/* Takes a registrant out; what it held alone, or as the last, is released. */
static void take_out(struct resv_state *s, unsigned int i)
{
	bool alone = s->type != NVME_RESV_NONE && !all_registrants(s->type);

	if (alone && s->holder == i)
		release(s);
	else if (alone && i < s->holder)
		s->holder--;
	s->nr--;
	memmove(&s->registrants[i], &s->registrants[i + 1],
		(s->nr - i) * sizeof(s->registrants[0]));
	memset(&s->registrants[s->nr], 0, sizeof(s->registrants[0]));
	if (s->nr == 0)
		release(s);
}

/* ---- notices ---------------------------------------------------------------------------------- */

static void note(struct resv_outcome *o, const struct resv_event *e, const uint8_t *hostid,
		 enum nvme_resv_notice what)
{
	struct resv_notice *n;

	/* Who did it knows. */
	if (memcmp(e->hostid, hostid, RESV_HOSTID_BYTES) == 0)
		return;
	assert(o->nr_notices < RESV_MAX_REGISTRANTS);
	n = &o->notices[o->nr_notices++];
	memcpy(n->hostid, hostid, RESV_HOSTID_BYTES);
	n->what = what;
}

static void note_all(struct resv_outcome *o, const struct resv_event *e, const struct resv_state *s,
		     enum nvme_resv_notice what)
{
	for (unsigned int i = 0; i < s->nr; i++)
		note(o, e, s->registrants[i].hostid, what);
}

/* ---- the commands ----------------------------------------------------------------------------- */

static void refuse(struct resv_outcome *o, uint16_t status, uint16_t fault)
{
	o->status = status | NVME_SC_DNR;
	o->fault = fault;
}

static void conflict(struct resv_outcome *o)
{
	refuse(o, NVME_SC_RESERVATION_CONFLICT, 0);
}

static void do_register(struct resv_state *s, const struct resv_event *e, int me,
			struct resv_outcome *o)
{
	if (me >= 0) {
		/* Again with the same key changes nothing; another takes a replace. */
		if (s->registrants[me].key != e->key)
			conflict(o);
	} else if (s->nr == RESV_MAX_REGISTRANTS) {
		o->status = NVME_SC_INTERNAL; /* others may unregister */
	} else {
		insert(s, e->hostid, e->key);
	}
}

static void do_unregister(struct resv_state *s, const struct resv_event *e, int me,
			  struct resv_outcome *o)
{
	enum nvme_resv_type type = s->type;

	if (me < 0 || (!e->ignore_key && s->registrants[me].key != e->crkey)) {
		conflict(o);
		return;
	}
	take_out(s, (unsigned int)me);
	if (shared(type) && s->type == NVME_RESV_NONE)
		note_all(o, e, s, NVME_RESV_RESERVATION_RELEASED);
}

static void do_replace(struct resv_state *s, const struct resv_event *e, int me,
		       struct resv_outcome *o)
{
	if (e->ignore_key && me < 0)
		do_register(s, e, me, o); /* whether registered or not */
	else if (me < 0 || (!e->ignore_key && s->registrants[me].key != e->crkey))
		conflict(o);
	else
		s->registrants[me].key = e->key;
}

static void step_register(struct resv_state *s, const struct resv_event *e, bool can_persist,
			  struct resv_outcome *o)
{
	int me = resv_find(s, e->hostid);

	if (e->cptpl == 1 || (e->cptpl == NVME_CPTPL_SET && !can_persist)) {
		refuse(o, NVME_SC_INVALID_FIELD, IN_CDW10(CPTPL_BIT));
		return;
	}
	switch (e->action) {
	case NVME_RREGA_REGISTER:
		do_register(s, e, me, o);
		break;
	case NVME_RREGA_UNREGISTER:
		do_unregister(s, e, me, o);
		break;
	case NVME_RREGA_REPLACE:
		do_replace(s, e, me, o);
		break;
	default:
		refuse(o, NVME_SC_INVALID_FIELD, IN_CDW10(0));
		break;
	}
	if (o->status)
		return;
	if (e->cptpl != NVME_CPTPL_KEEP)
		s->ptpl = e->cptpl == NVME_CPTPL_SET;
	s->generation++;
	o->changed = true;
}

static void do_acquire(struct resv_state *s, const struct resv_event *e, unsigned int me,
		       struct resv_outcome *o)
{
	if (s->type == NVME_RESV_NONE) {
		hold(s, me, e->type);
		o->changed = true;
	} else if (!resv_holds(s, me) || s->type != e->type) {
		conflict(o);
	}
}

/* Unregisters those with that key; returns how many. With `keep` one stays whatever its key. */
static unsigned int take_out_by_key(struct resv_state *s, const struct resv_event *e,
				    const uint8_t *keep, struct resv_outcome *o)
{
	unsigned int n = 0;

	for (unsigned int i = s->nr; i-- > 0;) {
		const struct resv_registrant *r = &s->registrants[i];

		if (r->key != e->key || (keep && memcmp(r->hostid, keep, RESV_HOSTID_BYTES) == 0))
			continue;
		note(o, e, r->hostid, NVME_RESV_REGISTRATION_PREEMPTED);
		take_out(s, i);
		n++;
	}
	return n;
}

static void take_out_others(struct resv_state *s, const struct resv_event *e,
			    struct resv_outcome *o)
{
	for (unsigned int i = s->nr; i-- > 0;) {
		const struct resv_registrant *r = &s->registrants[i];

		if (memcmp(r->hostid, e->hostid, RESV_HOSTID_BYTES) == 0)
			continue;
		note(o, e, r->hostid, NVME_RESV_REGISTRATION_PREEMPTED);
		take_out(s, i);
	}
}

/* The reservation is the issuer's now, and of the type that it wishes. */
static void take_over(struct resv_state *s, const struct resv_event *e, enum nvme_resv_type before,
		      struct resv_outcome *o)
{
	hold(s, (unsigned int)resv_find(s, e->hostid), e->type);
	/* Those who are left had nothing taken from them but the kind of reservation. */
	if (before == s->type)
		return;
	for (unsigned int i = 0; i < s->nr; i++)
		note(o, e, s->registrants[i].hostid, NVME_RESV_RESERVATION_RELEASED);
}

/* §8.19.7. */
static void do_preempt(struct resv_state *s, const struct resv_event *e, struct resv_outcome *o)
{
	enum nvme_resv_type before = s->type;
	bool held = before != NVME_RESV_NONE, all = all_registrants(before);

	if (all && e->key == 0) {
		take_out_others(s, e, o);
		take_over(s, e, before, o);
	} else if (held && !all && s->registrants[s->holder].key == e->key) {
		(void)take_out_by_key(s, e, e->hostid, o);
		take_over(s, e, before, o);
	} else if (held && !all && e->key == 0) {
		refuse(o, NVME_SC_INVALID_FIELD, 0);
		return;
	} else if (take_out_by_key(s, e, NULL, o) == 0) {
		conflict(o);
		return;
	}
	s->generation++;
	o->changed = true;
	o->abort = e->action == NVME_RACQA_PREEMPT_ABORT;
}

static void step_acquire(struct resv_state *s, const struct resv_event *e, struct resv_outcome *o)
{
	int me = resv_find(s, e->hostid);

	if (e->ignore_key)
		refuse(o, NVME_SC_INVALID_FIELD, IN_CDW10(IEKEY_BIT));
	else if (e->action > NVME_RACQA_PREEMPT_ABORT)
		refuse(o, NVME_SC_INVALID_FIELD, IN_CDW10(0));
	else if (e->type == NVME_RESV_NONE || e->type > NVME_RESV_EXCLUSIVE_ACCESS_ALL)
		refuse(o, NVME_SC_INVALID_FIELD, IN_CDW10(RTYPE_BIT));
	else if (me < 0 || s->registrants[me].key != e->crkey)
		conflict(o);
	else if (e->action == NVME_RACQA_ACQUIRE)
		do_acquire(s, e, (unsigned int)me, o);
	else
		do_preempt(s, e, o);
}

static void do_release(struct resv_state *s, const struct resv_event *e, unsigned int me,
		       struct resv_outcome *o)
{
	enum nvme_resv_type type = s->type;

	/* Releasing what is not held does nothing. */
	if (!resv_holds(s, me))
		return;
	if (type != e->type) {
		refuse(o, NVME_SC_INVALID_FIELD, IN_CDW10(RTYPE_BIT));
		return;
	}
	release(s);
	o->changed = true;
	if (shared(type))
		note_all(o, e, s, NVME_RESV_RESERVATION_RELEASED);
}

static void do_clear(struct resv_state *s, const struct resv_event *e, struct resv_outcome *o)
{
	note_all(o, e, s, NVME_RESV_RESERVATION_PREEMPTED);
	memset(s->registrants, 0, sizeof(s->registrants));
	s->nr = 0;
	release(s);
	s->generation++;
	o->changed = true;
}

static void step_release(struct resv_state *s, const struct resv_event *e, struct resv_outcome *o)
{
	int me = resv_find(s, e->hostid);

	if (e->ignore_key)
		refuse(o, NVME_SC_INVALID_FIELD, IN_CDW10(IEKEY_BIT));
	else if (e->action > NVME_RRELA_CLEAR)
		refuse(o, NVME_SC_INVALID_FIELD, IN_CDW10(0));
	else if (me < 0 || s->registrants[me].key != e->crkey)
		conflict(o);
	else if (e->action == NVME_RRELA_RELEASE)
		do_release(s, e, (unsigned int)me, o);
	else
		do_clear(s, e, o);
}

static void step_persist(struct resv_state *s, const struct resv_event *e, bool can_persist,
			 struct resv_outcome *o)
{
	if (e->ptpl && !can_persist) {
		refuse(o, NVME_SC_INVALID_FIELD,
		       (uint16_t)(offsetof(struct nvme_command, cdw11) + 1));
		return;
	}
	o->changed = s->ptpl != e->ptpl;
	s->ptpl = e->ptpl;
}

void resv_step(const struct resv_state *state, const struct resv_event *event, bool can_persist,
	       struct resv_state *next, struct resv_outcome *outcome)
{
	struct resv_state s = *state;

	outcome->status = NVME_SC_SUCCESS;
	outcome->fault = 0;
	outcome->changed = outcome->abort = false;
	outcome->nr_notices = 0;
	switch (event->kind) {
	case RESV_REGISTER:
		step_register(&s, event, can_persist, outcome);
		break;
	case RESV_ACQUIRE:
		step_acquire(&s, event, outcome);
		break;
	case RESV_RELEASE:
		step_release(&s, event, outcome);
		break;
	case RESV_PERSIST:
		step_persist(&s, event, can_persist, outcome);
		break;
	}
	assert(!outcome->status || !outcome->changed);
	if (!outcome->changed)
		return;
	assert(resv_valid(&s));
	*next = s;
}
