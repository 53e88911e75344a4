/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the room: what the admin socket can be asked. Control loop. */
#ifndef LEASEHOLD_CONTROL_VERBS_H
#define LEASEHOLD_CONTROL_VERBS_H

#include "control/control.h"

#include <json-c/json.h>

/** Answers one request: 0 and a new `result`, or -errno and a sentence. */
typedef int admin_verb_fn(const struct admin_env *env, struct json_object *request,
			  struct json_object **result, struct errtext *err);

struct admin_verb {
	const char *name;
	admin_verb_fn *answer;
};

admin_verb_fn admin_listener_list, admin_listener_ana;
/** Every listener, as both verbs and status show it. */
struct json_object *admin_listeners_json(const struct admin_env *env);

/** All verbs; a NULL name ends. */
extern const struct admin_verb admin_verbs[];

#endif
