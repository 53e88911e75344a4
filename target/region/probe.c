// SPDX-License-Identifier: BSD-3-Clause
/*
 * The self-test of an adapter with the memory of a file system: which kinds to try, in which order,
 * and what was found before. On a worker; one runs at a time, since the next one may then find its
 * answer here.
 */
#include "region/region.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "region/probe_run.h"
#include "util/list.h"
#include "util/log.h"
#include "util/text.h"
#include "wire/wire.h"

/* Found for one kind. `result.rung` is the kind or NONE; `result.why` without the kind's name. */
struct finding {
	struct list link;
	const struct fabric_device *dev;
	dev_t file_system;
	enum export_medium medium;
	enum lh_rung kind;
	struct region_probe result;
};

static pthread_mutex_t probe_lock = PTHREAD_MUTEX_INITIALIZER; /* the rest, and the running one */
static struct list findings = LIST_INIT(findings);

/* ---- one kind -------------------------------------------------------------------------------- */

static int run_kind(struct probe_run *run)
{
	int rc, err;

	run->want = malloc(run->scratch->bytes);
	run->seen = malloc(run->scratch->bytes);
	rc = run->want && run->seen ? probe_link_open(run) : -ENOMEM;
	if (rc == 0)
		rc = probe_steps(run);
	err = probe_link_close(run);
	free(run->want);
	free(run->seen);
	return err ? err : rc;
}

/* `passing`: it failed in a way that is not worth remembering. */
static int try_kind(struct fabric_device *dev, const struct export *e, enum lh_rung kind,
		    struct region_probe *result, bool *passing, struct errtext *text)
{
	struct probe_run run = {
		.dev = dev,
		.info = fabric_device_info(dev),
		.kind = kind,
		.result = result,
		.why = result->why,
		.why_size = sizeof(result->why),
	};
	struct export_scratch scratch;
	int rc = export_scratch_new(e, PROBE_FILE_BYTES, &scratch, text);

	if (rc)
		return rc;
	run.scratch = &scratch;
	rc = run_kind(&run);
	if (rc == -EBUSY) {
		/* Something is registered over it for ever: mapping and file must stay. */
		return errtext_set(text, rc,
				   "adapter %s does not give back the self-test's memory beside %s",
				   run.info->name, export_path(e));
	}
	export_scratch_free(&scratch);
	*passing = result->passing = run.passing;
	if (rc == -EILSEQ) {
		result->rung = LH_RUNG_NONE;
		return 0;
	}
	if (rc)
		return errtext_set(text, rc, "adapter %s cannot be tested: %s", run.info->name,
				   strerror(-rc));
	return 0;
}

/* ---- what was found before ------------------------------------------------------------------- */

static struct finding *find(const struct fabric_device *dev, dev_t file_system,
			    enum export_medium medium, enum lh_rung kind)
{
	struct list *l;

	list_for_each (l, &findings) {
		struct finding *f = list_entry(l, struct finding, link);

		if (f->dev == dev && f->file_system == file_system && f->medium == medium &&
		    f->kind == kind)
			return f;
	}
	return NULL;
}

static void tell(const struct fabric_device *dev, const struct export *e, enum lh_rung kind,
		 const struct region_probe *result)
{
	const char *name = fabric_device_info(dev)->name;

	if (result->rung == LH_RUNG_NONE)
		log_notice("self-test of %s on the %s of %s: %s: %s", name,
			   export_medium_text(export_medium(e)), export_path(e), lh_rung_text(kind),
			   result->why);
	else
		log_info(
			"self-test of %s on the %s of %s: %s works%s%s%s; deregistration %llu µs a "
			"GiB, %llu ns a key",
			name, export_medium_text(export_medium(e)), export_path(e),
			lh_rung_text(kind), result->why[0] ? " (but not: " : "", result->why,
			result->why[0] ? ")" : "",
			(unsigned long long)(result->dereg_ns_per_gib / NS_PER_US),
			(unsigned long long)result->dereg_ns_per_key);
}

/* Under the lock. */
static int look(struct fabric_device *dev, const struct export *e, dev_t file_system,
		enum lh_rung kind, struct region_probe *found, struct errtext *text)
{
	struct finding *f = find(dev, file_system, export_medium(e), kind);
	bool passing = false;
	int rc = 0;

	if (!f) {
		f = calloc(1, sizeof(*f));
		if (!f)
			return errtext_set(text, -ENOMEM, "no memory for the self-test");
		f->dev = dev;
		f->file_system = file_system;
		f->medium = export_medium(e);
		f->kind = kind;
		if (kind == LH_RUNG_ODP && export_medium(e) == EXPORT_DEVICE)
			(void)snprintf(f->result.why, sizeof(f->result.why),
				       "not for the memory of a device, which can be pinned");
		else if (kind == LH_RUNG_ODP && !fabric_device_info(dev)->odp)
			(void)snprintf(f->result.why, sizeof(f->result.why),
				       "not offered by the adapter or its driver");
		else
			rc = try_kind(dev, e, kind, &f->result, &passing, text);
		if (rc) {
			free(f);
			return rc;
		}
		tell(dev, e, kind, &f->result);
		list_push(&findings, &f->link);
	}
	*found = f->result;
	if (passing) {
		list_del(&f->link);
		free(f);
	}
	return 0;
}

int region_probe(struct fabric_device *dev, const struct export *e, enum region_choice choice,
		 struct region_probe *result, struct errtext *text)
{
	static const enum lh_rung kinds[] = {LH_RUNG_PINNED, LH_RUNG_ODP};
	struct region_probe best = {.rung = LH_RUNG_NONE};
	char why[2 * sizeof(best.why)] = "";
	bool passing = false;
	size_t used = 0;
	dev_t file_system;
	int rc = export_device(e, &file_system);

	assert(choice != REGION_STAGED);
	if (rc)
		return errtext_set(text, rc, "%s: %s", export_path(e), strerror(-rc));
	(void)pthread_mutex_lock(&probe_lock);
	for (size_t i = 0; rc == 0 && best.rung == LH_RUNG_NONE && i < ARRAY_SIZE(kinds); i++) {
		struct region_probe one = {.rung = LH_RUNG_NONE};
		bool works;

		if ((choice == REGION_PINNED && kinds[i] != LH_RUNG_PINNED) ||
		    (choice == REGION_ODP && kinds[i] != LH_RUNG_ODP))
			continue;
		rc = look(dev, e, file_system, kinds[i], &one, text);
		if (rc)
			break;
		passing |= one.passing;
		works = one.rung != LH_RUNG_NONE;
		if (works)
			best = one;
		used += (size_t)snprintf(why + used, sizeof(why) - used, "%s%s: %s%s%s",
					 used ? "; " : "", lh_rung_text(kinds[i]),
					 works ? "works" : "",
					 works && one.why[0] ? ", but not: " : "", one.why);
		used = min_u64(used, sizeof(why) - 1);
	}
	(void)pthread_mutex_unlock(&probe_lock);
	if (rc)
		return rc;
	text_shorten(best.why, sizeof(best.why), why);
	best.passing = passing;
	*result = best;
	return 0;
}

void region_probe_forget(const struct fabric_device *dev)
{
	struct list *l, *next;

	(void)pthread_mutex_lock(&probe_lock);
	list_for_each_safe (l, next, &findings) {
		struct finding *f = list_entry(l, struct finding, link);

		if (dev && f->dev != dev)
			continue;
		list_del(&f->link);
		free(f);
	}
	(void)pthread_mutex_unlock(&probe_lock);
}
