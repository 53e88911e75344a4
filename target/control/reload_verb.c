// SPDX-License-Identifier: BSD-3-Clause
/*
 * The verb `reload`: the configuration file is read again. Answered when all that it asks for was done or
 * tried. Control loop; never sleeps.
 *
 *   {"v":1,"cmd":"reload"}
 *   {"v":1,"ok":true,"result":{"file":"…","done":1,"failed":0,"steps":[
 *     {"outcome":"done","what":"export b","text":"added"}]}}
 *
 * An outcome is "done", "failed", "stays" (needs a restart, or more) or "note".
 */
#include "control/reload.h"
#include "control/verbs.h"

#include <errno.h>
#include <stdlib.h>

static const char *outcome_text(enum reload_outcome outcome)
{
	switch (outcome) {
	case RELOAD_DONE:
		return "done";
	case RELOAD_PLANNED:
	case RELOAD_FAILED:
		return "failed";
	case RELOAD_STAYS:
		return "stays";
	case RELOAD_NOTE:
		return "note";
	}
	return "unknown";
}

static struct json_object *plan_json(const char *file, const struct reload_plan *plan)
{
	struct json_object *o = json_object_new_object(), *steps = json_object_new_array();
	uint64_t of[RELOAD_NOTE + 1] = {0};

	for (unsigned int i = 0; i < plan->nr_steps; i++) {
		const struct reload_step *s = &plan->steps[i];
		struct json_object *step = json_object_new_object();

		of[s->outcome]++;
		json_object_object_add(step, "outcome",
				       json_object_new_string(outcome_text(s->outcome)));
		json_object_object_add(step, "what", json_object_new_string(s->what));
		json_object_object_add(step, "text", json_object_new_string(s->text));
		json_object_array_add(steps, step);
	}
	json_object_object_add(o, "file", json_object_new_string(file));
	json_object_object_add(o, "done", json_object_new_uint64(of[RELOAD_DONE]));
	json_object_object_add(o, "failed", json_object_new_uint64(of[RELOAD_FAILED]));
	json_object_object_add(o, "steps", steps);
	return o;
}

static void reloaded(void *arg, int err, const char *why, const struct reload_plan *plan)
{
	const struct admin_env *env = admin_call_env(arg);

	admin_answer(arg, err, plan && env ? plan_json(env->config->file, plan) : NULL, why);
}

int admin_reload(const struct admin_env *env, struct admin_call *call, struct json_object *request,
		 struct json_object **result, struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", NULL};
	int rc = request_check_keys(request, known, err);

	(void)result;
	if (rc)
		return rc;
	reload_begin(env->reload, reloaded, call);
	return ADMIN_LATER;
}
