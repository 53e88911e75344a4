// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the target holds of the file. Stands at the door of target/tenure, whose own files are behind it
 * but for those that talk to the kernel: writes down what is taken and let go, looks whether that may
 * be, and that whoever is told to let go does so in time.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#include "grant/grant.h"
#include "tenure/tenure.h"
#include "tenure/watch.h"

#define MAX_PARTS GRANT_MAX_LOCALS

/* The target knows that somebody waits. */
struct owed {
	struct list link;
	uint64_t from, to;
	bool paid;
};

static struct {
	struct tenure *tenure;
	struct tenure_config config; /* the room's above */
	bool held;
	uint64_t let_go_ns;
	const struct tenure_part *parts[MAX_PARTS]; /* let go */
	unsigned int nr_parts;
	struct list owed;
} t;

void tenures_begin(void)
{
	memset(&t, 0, sizeof(t));
	list_init(&t.owed);
}

void tenures_end(void)
{
	struct list *l;

	if (t.tenure || t.held || t.nr_parts > 0)
		sim_fail(P_STUCK, "the tenure, or part of it, is left over");
	while ((l = list_pop(&t.owed)))
		free(list_entry(l, struct owed, link));
}

bool tenure_held(void)
{
	return t.held;
}

bool tenure_over(uint64_t from, uint64_t to)
{
	for (unsigned int i = 0; i < t.nr_parts; i++)
		if (t.parts[i]->offset < to && from < t.parts[i]->end)
			return false;
	return t.held;
}

bool tenure_let_go(uint64_t from, uint64_t to)
{
	for (unsigned int i = 0; i < t.nr_parts; i++)
		if (t.parts[i]->offset <= from && to <= t.parts[i]->end)
			return true;
	return !t.held;
}

uint64_t tenure_forced_ns(uint64_t from, uint64_t to)
{
	uint64_t let_go_ns = t.held ? NEVER - WATCH_FORCE_NS : t.let_go_ns;

	for (unsigned int i = 0; i < t.nr_parts; i++)
		if (t.parts[i]->offset < to && from < t.parts[i]->end)
			let_go_ns = min_u64(let_go_ns, t.parts[i]->let_go_ns);
	return let_go_ns + WATCH_FORCE_NS;
}

/* ---- in time --------------------------------------------------------------------------------- */

static void due(void *arg)
{
	struct owed *o = arg;

	if (!o->paid && !w.keeps_keys)
		sim_fail(P_LATE,
			 "bytes %llu to %llu are wanted, and not let go; the deadline is %u ms",
			 (unsigned long long)o->from, (unsigned long long)o->to, w.deadline_ms);
	list_del(&o->link);
	free(o);
}

static void owe(uint64_t from, uint64_t to)
{
	struct owed *o = calloc(1, sizeof(*o));

	assert(o);
	*o = (struct owed){.from = from, .to = to};
	list_push(&t.owed, &o->link);
	sim_after(w.deadline_ms * NS_PER_MS + SLACK_NS, due, o);
}

static void pay(uint64_t from, uint64_t to)
{
	struct list *l;

	list_for_each (l, &t.owed) {
		struct owed *o = list_entry(l, struct owed, link);

		o->paid |= from <= o->from && o->to <= to;
	}
}

static void on_broken(void *arg)
{
	(void)arg;
	if (tenure_check(t.tenure) == TENURE_BREAKING)
		owe(0, NEVER);
	t.config.broken(t.config.arg);
}

static bool on_part(void *arg, const struct tenure_ask *ask)
{
	bool comes = t.config.part(t.config.arg, ask);

	(void)arg;
	if (comes)
		owe(ask->offset, tenure_ask_end(ask));
	return comes;
}

static bool on_refuse(void *arg, const struct tenure_ask *ask)
{
	(void)arg;
	return t.config.refuse(t.config.arg, ask);
}

/* ---- the door -------------------------------------------------------------------------------- */

int __wrap_tenure_new(const struct tenure_config *config, struct tenure **result);
int __real_tenure_new(const struct tenure_config *config, struct tenure **result);
void __wrap_tenure_free(struct tenure *tenure);
void __real_tenure_free(struct tenure *tenure);
int __wrap_tenure_take(struct tenure *tenure, struct errtext *err);
int __real_tenure_take(struct tenure *tenure, struct errtext *err);
void __wrap_tenure_release(struct tenure *tenure);
void __real_tenure_release(struct tenure *tenure);
void __wrap_tenure_part_release(struct tenure *tenure, struct tenure_part *part);
void __real_tenure_part_release(struct tenure *tenure, struct tenure_part *part);
void __wrap_tenure_part_take(struct tenure *tenure, struct tenure_part *part);
void __real_tenure_part_take(struct tenure *tenure, struct tenure_part *part);

int __wrap_tenure_new(const struct tenure_config *config, struct tenure **result)
{
	struct tenure_config ours = *config;
	int rc;

	if (t.tenure)
		sim_fail(P_ROOM, "the file has two tenures");
	t.config = *config;
	ours.broken = on_broken;
	ours.part = on_part;
	ours.refuse = on_refuse;
	rc = __real_tenure_new(&ours, result);
	if (rc == 0)
		t.tenure = *result;
	return rc;
}

void __wrap_tenure_free(struct tenure *tenure)
{
	t.tenure = NULL;
	__real_tenure_free(tenure);
}

int __wrap_tenure_take(struct tenure *tenure, struct errtext *err)
{
	int rc;

	if (t.held)
		sim_fail(P_ROOM, "the tenure is taken twice");
	rc = __real_tenure_take(tenure, err);
	t.held = rc == 0;
	if (t.held)
		sim_log("the tenure is taken");
	sim_pause();
	return rc;
}

void __wrap_tenure_release(struct tenure *tenure)
{
	if (t.held) {
		fabric_check_no_key(P_RELEASED, 0, NEVER, "the tenure was let go");
		t.let_go_ns = sim_now;
		sim_log("the tenure is let go");
	}
	t.held = false;
	pay(0, NEVER);
	__real_tenure_release(tenure);
}

void __wrap_tenure_part_release(struct tenure *tenure, struct tenure_part *part)
{
	fabric_check_no_key(P_RELEASED, part->offset, part->end, "part of the tenure was let go");
	if (t.nr_parts == MAX_PARTS)
		sim_fail(P_ROOM, "too many parts of the tenure are let go");
	t.parts[t.nr_parts++] = part;
	sim_log("bytes %llu to %llu are let go", (unsigned long long)part->offset,
		(unsigned long long)part->end);
	pay(part->offset, part->end);
	__real_tenure_part_release(tenure, part);
}

void __wrap_tenure_part_take(struct tenure *tenure, struct tenure_part *part)
{
	unsigned int i = 0;

	while (i < t.nr_parts && t.parts[i] != part)
		i++;
	if (i == t.nr_parts)
		sim_fail(P_ROOM, "part of the tenure is taken back that was not let go");
	t.parts[i] = t.parts[--t.nr_parts];
	sim_log("bytes %llu to %llu are taken back", (unsigned long long)part->offset,
		(unsigned long long)part->end);
	__real_tenure_part_take(tenure, part);
}
