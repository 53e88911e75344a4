// SPDX-License-Identifier: BSD-3-Clause
/*
 * The verb `reclaim`: a range of an export, or all of it, for tools of this machine. Answered with the
 * proof that nothing remote reaches it. Control loop; never sleeps.
 *
 *   {"v":1,"cmd":"reclaim","name":"b","hold_ms":30000}                              with the tenure
 *   {"v":1,"cmd":"reclaim","name":"b","offset":0,"length":1048576,"hold_ms":30000}  no length: to the end
 *   {"v":1,"cmd":"reclaim","name":"b","end":true}                                   before their time
 */
#include "control/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"
#include "wire/wire.h"

#define RECLAIM_MAX_HOLD_MS (24ull * 3600 * 1000)

struct reclaim_call {
	struct admin_call *call;
	char name[LH_NAME_BYTES];
	struct holding_reclaim want;
};

static int get_want(struct json_object *request, struct holding_reclaim *want, struct errtext *err)
{
	uint64_t hold_ms = 0;
	int rc;

	want->whole = !json_object_object_get_ex(request, "offset", NULL);
	if (want->whole && json_object_object_get_ex(request, "length", NULL))
		return errtext_set(err, -EINVAL, "\"length\" wants an \"offset\" too");
	rc = request_number(request, "offset", INT64_MAX, &want->offset, err);
	if (rc == 0)
		rc = request_number(request, "length", INT64_MAX, &want->length, err);
	if (rc == 0 && want->length == 0 && json_object_object_get_ex(request, "length", NULL))
		rc = errtext_set(err, -EINVAL,
				 "a \"length\" of 0 is no range: leave it out to mean to the end");
	if (rc == 0)
		rc = request_number(request, "hold_ms", RECLAIM_MAX_HOLD_MS, &hold_ms, err);
	want->hold_ns = hold_ms * NS_PER_MS;
	return rc;
}

/* What was asked for and is not there (yet). */
static void put_note(struct json_object *o, const struct holding *h,
		     const struct holding_reclaim *want)
{
	struct holding_status s;
	char text[ERRTEXT_BYTES];

	holding_status(h, &s);
	if (want->whole || want->length == 0 || s.state != HOLDING_SERVING ||
	    range_ok(want->offset, want->length, s.size_bytes))
		return;
	(void)snprintf(
		text, sizeof(text),
		"%s ends at byte %llu: only %llu of the %llu bytes of the range are in it", s.name,
		(unsigned long long)s.size_bytes,
		(unsigned long long)(want->offset < s.size_bytes ? s.size_bytes - want->offset : 0),
		(unsigned long long)want->length);
	json_object_object_add(o, "note", json_object_new_string(text));
}

/* `want`: that which is answered, or NULL. */
static struct json_object *show(const struct exports *x, const char *name,
				const struct holding_reclaim *want)
{
	const struct holding *h = exports_find(x, name);
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(name));
	if (h)
		json_object_object_add(o, "reclaimed", status_reclaimed(h));
	if (h && want)
		put_note(o, h, want);
	return o;
}

static void reclaimed(void *arg, int err, const char *why)
{
	struct reclaim_call *v = arg;
	const struct admin_env *env = admin_call_env(v->call);

	if (err)
		log_warning("%s", why);
	admin_answer(v->call, err, env && !err ? show(env->exports, v->name, &v->want) : NULL, why);
	free(v);
}

int admin_reclaim(const struct admin_env *env, struct admin_call *call, struct json_object *request,
		  struct json_object **result, struct errtext *err)
{
	static const char *const known[] = {"v",      "cmd",	 "name", "offset",
					    "length", "hold_ms", "end",	 NULL};
	struct holding_reclaim want = {0};
	struct reclaim_call *v;
	const char *name;
	bool end = false;
	int rc = request_check_keys(request, known, err);

	name = request_text(request, "name");
	if (rc)
		return rc;
	if (!name || export_name_check(name) != 0)
		return errtext_set(err, -EINVAL, "\"name\" is missing, or no export's: which one?");
	rc = request_bool(request, "end", &end, err);
	if (rc == 0)
		rc = get_want(request, &want, err);
	if (rc)
		return rc;
	if (end) {
		if (json_object_object_length(request) > 4)
			return errtext_set(err, -EINVAL, "\"end\" ends all of them: say no more");
		rc = exports_reclaim_end(env->exports, name, err);
		if (rc == 0)
			*result = show(env->exports, name, NULL);
		return rc;
	}
	v = calloc(1, sizeof(*v));
	if (!v)
		return errtext_set(err, -ENOMEM, "out of memory");
	v->call = call;
	v->want = want;
	memcpy(v->name, name, strlen(name) + 1);
	exports_reclaim(env->exports, v->name, &want, reclaimed, v);
	return ADMIN_LATER;
}
