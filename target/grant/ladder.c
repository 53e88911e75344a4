// SPDX-License-Identifier: BSD-3-Clause
/*
 * Which rung an export stands on with each adapter: pinned, on demand, or staged, where nothing is
 * registered and bytes are copied. What is asked for and what the self-test found decide; a region that
 * cannot be made after all puts the adapter on the staged rung until the next attempt. A rung changes
 * only with a new generation: by a recall for ourselves, since that is what clients know how to answer,
 * or with the next one that comes. Control loop, but where said.
 */
#include "grant/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/counter.h"
#include "util/log.h"
#include "wire/wire.h"

DEFINE_COUNTER(rungs_down, "rung_downgrades", "Times that an adapter came to a lower rung");
DEFINE_COUNTER(rungs_up, "rung_upgrades", "Times that an adapter came to a higher rung");
DEFINE_COUNTER(rung_recalls, "rung_recalls", "Recalls for a change of rungs");

const char *region_choice_text(enum region_choice choice)
{
	static const char *const words[] = {"auto", "pinned", "odp", "staged"};

	return words[choice];
}

/* ---- the self-test (a worker's) --------------------------------------------------------------- */

/*
 * An adapter's: what a watch lets go on late, or an overlay without a word, must find memory that the file
 * system can take back.
 */
static bool must_not_pin(const struct holding *h, const struct export *e, unsigned int device)
{
	return (h->config.tenure == TENURE_WATCH || export_overlay(e)) &&
	       !fabric_device_info(h->env->devices[device])->software_fabric;
}

static void test_one(const struct holding *h, unsigned int i, const struct export *e,
		     enum region_choice choice, struct region_probe *found)
{
	struct errtext text;
	int err;

	*found = (struct region_probe){.rung = LH_RUNG_NONE};
	if (choice == REGION_STAGED) {
		(void)snprintf(found->why, sizeof(found->why), "asked for");
		return;
	}
	if (must_not_pin(h, e, i))
		choice = REGION_ODP;
	err = region_probe(h->env->devices[i], e, choice, found, &text);
	if (!err)
		return;
	/* What an adapter keeps for ever it would keep again. */
	*found = (struct region_probe){.rung = LH_RUNG_NONE, .passing = err != -EBUSY};
	(void)snprintf(found->why, sizeof(found->why), "%.255s", text.text);
}

/* Staged will not do, unless another adapter does better. */
static bool insists(enum region_choice choice)
{
	return choice == REGION_PINNED || choice == REGION_ODP;
}

int ladder_test(struct holding *h, const struct export *e, struct errtext *err)
{
	const struct holding_env *env = h->env;
	struct ladder *l = &h->ladder;
	bool served = false;
	const char *why = "there is no adapter";
	unsigned int last = 0;

	for (unsigned int i = 0; i < env->nr_devices; i++) {
		if (l->asked[i] != REGION_PINNED || !must_not_pin(h, e, i))
			continue;
		if (export_overlay(e))
			return errtext_set(
				err, -EINVAL,
				"%s: registration = \"pinned\" is not for the upper directory of "
				"an "
				"overlay (%s): a truncate there asks nobody, and would wait for "
				"ever; unmount it first",
				h->config.export.name, export_overlay(e));
		if (h->config.tenure == TENURE_WATCH)
			return errtext_set(
				err, -EINVAL,
				"%s: registration = \"pinned\" needs tenure = \"lease\": under "
				"watch the file system must be able to take memory back by itself",
				h->config.export.name);
	}
	for (unsigned int i = 0; i < env->nr_devices; i++) {
		test_one(h, i, e, l->asked[i], &l->found[i]);
		served |= !insists(l->asked[i]) || region_registers(l->found[i].rung);
		why = l->found[i].why;
		last = i;
	}
	if (served)
		return 0;
	return errtext_set(
		err, -EOPNOTSUPP,
		"%s: no adapter can register the memory of %s (%s%s%s); use the software "
		"fabric, an adapter with on-demand paging that works, a kernel that permits "
		"lease holders to pin fsdax, or registration = \"auto\", which copies",
		h->config.export.name, h->config.export.path,
		env->nr_devices ? fabric_device_info(env->devices[last])->name : "",
		env->nr_devices ? ": " : "", why);
}

/* ---- what is in force ------------------------------------------------------------------------- */

static void staged(struct region_probe *probe, const char *why)
{
	*probe = (struct region_probe){.rung = LH_RUNG_STAGED};
	memmove(probe->why, why, strnlen(why, sizeof(probe->why) - 1));
}

/* What a generation that is made now stands on. */
static void decide(const struct holding *h, unsigned int i, struct region_probe *probe)
{
	const struct ladder *l = &h->ladder;

	if (l->failed[i])
		staged(probe, l->failure[i]);
	else if (region_registers(l->best[i].rung))
		*probe = l->best[i];
	else
		staged(probe, l->best[i].why);
}

static bool same(const struct region_probe *a, const struct region_probe *b)
{
	return a->rung == b->rung && a->iova == b->iova && a->windows == b->windows &&
	       a->flush == b->flush;
}

/* Another generation would be another one. */
static bool differs(const struct holding *h)
{
	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		struct region_probe probe;

		decide(h, i, &probe);
		if (!same(&probe, &h->probes[i]))
			return true;
	}
	return false;
}

void ladder_settle(struct holding *h)
{
	for (unsigned int i = 0; i < h->env->nr_devices; i++)
		decide(h, i, &h->probes[i]);
}

void ladder_adopt(struct holding *h)
{
	struct ladder *l = &h->ladder;

	memcpy(l->choice, l->asked, sizeof(l->choice));
	memcpy(l->best, l->found, sizeof(l->best));
	memset(l->failed, 0, sizeof(l->failed));
}

static void fail(struct ladder *l, unsigned int device, enum lh_rung rung, const char *why)
{
	l->failed[device] = true;
	(void)snprintf(l->failure[device], sizeof(l->failure[device]), "%s: %.480s",
		       lh_rung_text(rung), why);
}

bool ladder_fall(struct holding *h, unsigned int device, const char *why)
{
	struct ladder *l = &h->ladder;

	/* Who starts it with one kind only wants to know. */
	if (h->make.kind != MAKE_GENERATION || (h->generation == 0 && insists(l->choice[device])))
		return false;
	fail(l, device, h->probes[device].rung, why);
	staged(&h->probes[device], l->failure[device]);
	return true;
}

int ladder_fit(struct holding *h, uint64_t bytes, struct errtext *err)
{
	int ret = budget_check(h, bytes, err);

	/* Who starts it is told, and chooses. */
	while (ret == -EDQUOT && h->generation > 0) {
		const int device = budget_dearest(h, h->probes);

		if (device < 0 || !ladder_fall(h, (unsigned int)device, err->text))
			break;
		ret = budget_check(h, bytes, err);
	}
	return ret;
}

/* What would fit no better than before is not worth a recall. */
static void stay_within(struct holding *h)
{
	struct ladder *l = &h->ladder;
	struct region_probe probes[GRANT_MAX_DEVICES];
	struct errtext why;
	int device = 0;

	while (device >= 0) {
		for (unsigned int i = 0; i < h->env->nr_devices; i++)
			decide(h, i, &probes[i]);
		if (budget_try(h, probes, &why) == 0)
			return;
		device = budget_dearest(h, probes);
		if (device < 0)
			return;
		fail(l, (unsigned int)device, probes[device].rung, why.text);
	}
}

/* ---- changes ---------------------------------------------------------------------------------- */

static void on_answer(struct loop_msg *msg)
{
	struct ladder *l = container_of(msg, struct ladder, msg);
	void (*done)(void *arg, int err, const char *why) = l->done;

	l->done = NULL;
	l->answering = false;
	done(l->arg, l->err, l->text.text);
}

static void answer(struct holding *h, int err, const char *why)
{
	struct ladder *l = &h->ladder;

	if (!l->done || l->answering)
		return;
	l->answering = true;
	l->err = err;
	(void)errtext_set(&l->text, err, "%s", why);
	loop_post(h->env->control, &l->msg, on_answer);
}

/* Nobody else wants the file: nobody is waited for before it is taken again. */
static void recall(struct holding *h)
{
	counter_add(&rung_recalls, 1);
	h->evicting = true;
	holding_event(h, RECALL_BREAK);
}

static unsigned int height(enum lh_rung rung)
{
	switch (rung) {
	case LH_RUNG_PINNED:
		return 3;
	case LH_RUNG_ODP:
		return 2;
	case LH_RUNG_STAGED:
		return 1;
	default:
		return 0;
	}
}

/* Something that is not as it should be may be better another time. */
static bool unhappy(const struct holding *h)
{
	const struct ladder *l = &h->ladder;

	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		if (l->failed[i] || (l->best[i].passing && !region_registers(l->best[i].rung)))
			return true;
	}
	return differs(h);
}

static void arm(struct holding *h)
{
	struct ladder *l = &h->ladder;
	uint64_t ns = max_u64(h->env->rung_retry_ms, 1) * NS_PER_MS;

	for (unsigned int i = 1; i < l->attempts && ns < LADDER_RETRY_MAX_NS; i++)
		ns *= 2;
	loop_timer_set(h->env->control, &l->timer, now_ns() + min_u64(ns, LADDER_RETRY_MAX_NS));
}

static void submit(struct holding *h);

static void on_timer(struct loop_timer *timer)
{
	struct holding *h = container_of(timer, struct holding, ladder.timer);
	struct ladder *l = &h->ladder;

	if (h->stopped || h->recall.stopping)
		return;
	if (h->state != HOLDING_SERVING || l->busy || l->done) {
		arm(h);
		return;
	}
	memcpy(l->asked, l->choice, sizeof(l->asked));
	memset(l->again, 0, sizeof(l->again));
	l->insist = false;
	submit(h);
}

static void tell_windows(struct holding *h, unsigned int i)
{
	struct ladder *l = &h->ladder;
	const char *why = slab_no_windows(h, i);

	if (why && !l->no_windows[i])
		log_warning(
			"%s: with %s each grant has a registration of its own, and not a window as "
			"grant_keys asks for: %s",
			h->config.export.name, fabric_device_info(h->env->devices[i])->name, why);
	l->no_windows[i] = why != NULL;
}

static void tell(struct holding *h)
{
	struct ladder *l = &h->ladder;
	bool news = false;

	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		enum lh_rung was = l->published[i], is = h->probes[i].rung;
		const char *name = fabric_device_info(h->env->devices[i])->name;

		tell_windows(h, i);
		l->published[i] = is;
		if (was == is)
			continue;
		news |= was != LH_RUNG_NONE;
		if (was != LH_RUNG_NONE)
			counter_add(height(is) > height(was) ? &rungs_up : &rungs_down, 1);
		if (is == LH_RUNG_STAGED && l->choice[i] != REGION_STAGED)
			log_warning("%s: with %s bytes are copied (staged) and no grants given: %s",
				    h->config.export.name, name, h->probes[i].why);
		else if (was != LH_RUNG_NONE)
			log_notice("%s: with %s: %s, after %s", h->config.export.name, name,
				   lh_rung_text(is), lh_rung_text(was));
	}
	if (news)
		holding_changed(h, LH_CHANGE_EXPORT);
}

void ladder_published(struct holding *h)
{
	struct ladder *l = &h->ladder;
	bool asked = l->done && !l->busy && !l->answering;

	tell(h);
	close_published(h);
	if (!unhappy(h)) {
		l->attempts = 0;
		loop_timer_cancel(h->env->control, &l->timer);
	} else if (!loop_timer_armed(&l->timer)) {
		l->attempts++;
		arm(h);
	}
	if (!asked)
		return;
	/* It was made before the answer was known. */
	if (differs(h))
		recall(h);
	else
		answer(h, 0, "");
}

void ladder_not_served(struct holding *h)
{
	char text[ERRTEXT_BYTES];

	if (!h->ladder.done || h->ladder.busy)
		return;
	(void)snprintf(text, sizeof(text), "not served yet: %.450s", h->why);
	answer(h, 0, text);
}

/* Somebody wants one kind of one adapter, which the others do not make up for. */
static int check_asked(struct holding *h)
{
	struct ladder *l = &h->ladder;
	const char *why = "";

	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		if (!l->again[i])
			continue;
		if (!insists(l->asked[i]) || region_registers(l->found[i].rung))
			return 0;
		why = l->found[i].why;
	}
	return errtext_set(&l->text, -EOPNOTSUPP, "%s: %s", h->config.export.name, why);
}

/* A worker's: found, err, text. */
static void test_run(struct work *work)
{
	struct holding *h = container_of(work, struct holding, ladder.work);
	struct ladder *l = &h->ladder;

	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		if (l->again[i])
			region_probe_forget(h->env->devices[i]);
	}
	l->err = ladder_test(h, l->export, &l->text);
	if (l->insist && l->err == 0)
		l->err = check_asked(h);
	if (!l->insist)
		l->err = 0;
}

/* After an attempt of our own. */
static void retried(struct holding *h)
{
	struct ladder *l = &h->ladder;

	if (l->err == 0) {
		ladder_adopt(h);
		stay_within(h);
	}
	if (h->state != HOLDING_SERVING)
		return; /* the next one takes it up */
	/* Who holds grants by another adapter is not disturbed: with the next generation, or later. */
	if (l->err == 0 && differs(h) && h->nr_live == 0 && list_empty(&h->acquires)) {
		recall(h);
	} else if (unhappy(h)) {
		l->attempts++;
		arm(h);
	}
}

/* The rungs stay; why may be news. Keys are being made: what they look at is not written. */
static void explain(struct holding *h)
{
	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		struct region_probe probe;

		decide(h, i, &probe);
		memcpy(h->probes[i].why, probe.why, sizeof(probe.why));
	}
}

/* Somebody wants a kind with which a recall would take too long. */
static bool no_time(struct holding *h, struct errtext *err)
{
	const struct ladder *l = &h->ladder;

	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		if (l->insist && l->again[i] && insists(l->asked[i]))
			return budget_try(h, l->found, err) != 0;
	}
	return false;
}

static void test_done(struct work *work)
{
	struct holding *h = container_of(work, struct holding, ladder.work);
	struct ladder *l = &h->ladder;
	char why[ERRTEXT_BYTES];
	struct errtext text;

	l->busy = false;
	if (!l->done) {
		retried(h);
	} else if (h->recall.stopping) {
		answer(h, -ENODEV, "the export is being stopped");
	} else if (l->err) {
		(void)snprintf(why, sizeof(why), "%s", l->text.text);
		answer(h, l->err, why);
	} else if (no_time(h, &text)) {
		answer(h, -EDQUOT, text.text);
	} else {
		ladder_adopt(h);
		stay_within(h);
		l->attempts = 0;
		if (h->state == HOLDING_SERVING && !differs(h)) {
			explain(h);
			answer(h, 0, "");
		} else if (h->state == HOLDING_SERVING) {
			recall(h);
		} else if (h->recall.state == RECALL_RELEASED) {
			ladder_not_served(h);
		}
	}
	holding_check_stopped(h);
}

static void submit(struct holding *h)
{
	struct ladder *l = &h->ladder;

	l->busy = true;
	l->export = holding_file(h);
	pool_submit(h->env->workers, &l->work, POOL_BULK, test_run, test_done, h->env->control);
}

/* ---- from above ------------------------------------------------------------------------------- */

void ladder_start(struct holding *h)
{
	struct ladder *l = &h->ladder;

	for (unsigned int i = 0; i < GRANT_MAX_DEVICES; i++)
		l->asked[i] = l->choice[i] = h->config.registration;
	memset(l->published, 0, sizeof(l->published));
	memset(l->failed, 0, sizeof(l->failed));
	memset(l->no_windows, 0, sizeof(l->no_windows));
	l->attempts = 0;
	l->timer.fn = on_timer;
}

void ladder_stop(struct holding *h)
{
	assert(!h->ladder.busy);
	loop_timer_cancel(h->env->control, &h->ladder.timer);
}

static const char *unfit(const struct holding *h, int *err)
{
	*err = -EBUSY;
	if (h->ladder.done || h->ladder.busy)
		return "its adapters are being tested already";
	*err = -ENODEV;
	if (h->recall.stopping || h->state == HOLDING_OFFLINE || h->generation == 0)
		return "it is not served";
	return NULL;
}

void holding_rung(struct holding *h, const char *device, const enum region_choice *choice,
		  void (*done)(void *arg, int err, const char *why), void *arg)
{
	struct ladder *l = &h->ladder;
	char text[ERRTEXT_BYTES];
	bool any = false;
	int err;
	const char *why = unfit(h, &err);

	if (why) {
		(void)snprintf(text, sizeof(text), "%s: %s", h->config.export.name, why);
		done(arg, err, text);
		return;
	}
	for (unsigned int i = 0; i < h->env->nr_devices; i++) {
		const char *name = fabric_device_info(h->env->devices[i])->name;

		l->asked[i] = l->choice[i];
		l->again[i] = !device || strcmp(name, device) == 0;
		if (l->again[i] && choice)
			l->asked[i] = *choice;
		any |= l->again[i];
	}
	if (!any) {
		(void)snprintf(text, sizeof(text), "%s: there is no adapter \"%.64s\"",
			       h->config.export.name, device ? device : "");
		done(arg, -ENOENT, text);
		return;
	}
	l->insist = choice != NULL;
	l->done = done;
	l->arg = arg;
	l->answering = false;
	submit(h);
}
