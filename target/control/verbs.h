/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the room: what the admin socket can be asked, and how it is answered. Control loop. */
#ifndef LEASEHOLD_CONTROL_VERBS_H
#define LEASEHOLD_CONTROL_VERBS_H

#include "control/exports.h"

#include <json-c/json.h>
#include <libconfig.h>

/** One request that waits for its answer; nothing else is read from its connection meanwhile. */
struct admin_call;

#define ADMIN_LATER 1

/**
 * Answers one request: 0 and a new `result`, or -errno and a sentence, or ADMIN_LATER: then
 * admin_answer() is called once, at any time (also before it returned).
 */
typedef int admin_verb_fn(const struct admin_env *env, struct admin_call *call,
			  struct json_object *request, struct json_object **result,
			  struct errtext *err);

/** Takes `result` over (NULL with an error). The client may be gone: then nobody hears it. */
void admin_answer(struct admin_call *call, int rc, struct json_object *result, const char *why);
/** NULL: nobody hears the answer, and what the env points to may be gone as well. */
const struct admin_env *admin_call_env(const struct admin_call *call);

struct admin_verb {
	const char *name;
	admin_verb_fn *answer;
};

admin_verb_fn admin_listener_list, admin_listener_ana, admin_listener_add, admin_listener_remove;
admin_verb_fn admin_referral_list, admin_referral_add, admin_referral_remove;
admin_verb_fn admin_host_list, admin_host_allow, admin_host_deny;
admin_verb_fn admin_reclaim, admin_grants, admin_reload;
admin_verb_fn admin_export_add, admin_export_remove, admin_export_resize, admin_export_list;
admin_verb_fn admin_export_rung, admin_export_offline, admin_export_online;
/** Every listener, as both verbs and status show it. */
struct json_object *admin_listeners_json(const struct admin_env *env);

/** All verbs; a NULL name ends. */
extern const struct admin_verb admin_verbs[];

/* request.c: what verbs have in common */

/** Every key of the request must be one of `known` (NULL ends). */
MUST_CHECK int request_check_keys(struct json_object *request, const char *const *known,
				  struct errtext *err);
/** A text, or NULL if there is none. */
const char *request_text(struct json_object *request, const char *key);
/** False where it is not said. */
MUST_CHECK int request_bool(struct json_object *request, const char *key, bool *value,
			    struct errtext *err);
/** 0 to `most`; `value` stays where it is not said. */
MUST_CHECK int request_number(struct json_object *request, const char *key, uint64_t most,
			      uint64_t *value, struct errtext *err);
/**
 * The member `key` as a group of the configuration file, which holds values and lists of groups of
 * values. `config` is to be destroyed, also after an error. `cmd` is for messages.
 */
MUST_CHECK int request_group(struct json_object *request, const char *key, const char *cmd,
			     config_t *config, struct errtext *err);

/** status.c: an export as `status` shows it. */
struct json_object *status_export(const struct admin_env *env, const struct holding *h,
				  bool removing);
/** What local tools have of it now. */
struct json_object *status_reclaimed(const struct holding *h);

#endif
