// SPDX-License-Identifier: BSD-3-Clause
/*
 * The verbs `export add`, `remove`, `resize`, `rung`, `offline`, `online` and `list`. Most are
 * answered later: files are opened, clients asked to let go. Control loop; never sleeps.
 *
 *   {"v":1,"cmd":"export add","export":{"name":"b","path":"/mnt/pmem/b",…},"adopt":false}
 *   {"v":1,"cmd":"export remove","name":"b"}
 *   {"v":1,"cmd":"export resize","name":"b","size_bytes":1073741824}
 *   {"v":1,"cmd":"export rung","name":"b","registration":"odp","device":"mlx5_0"}  (both may be missing)
 *   {"v":1,"cmd":"export offline","name":"b"}
 *   {"v":1,"cmd":"export online","name":"b"}
 *   {"v":1,"cmd":"export list"}
 *
 * "export" has what a group of the configuration file has, read by the same table; or a name alone:
 * what the group of that name had when the file was read last, at the start or by a reload.
 */
#include "control/verbs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"
#include "wire/wire.h"

/* ---- requests --------------------------------------------------------------------------------- */

static int get_name(struct json_object *request, const char **name, struct errtext *err)
{
	struct json_object *field;

	if (!json_object_object_get_ex(request, "name", &field) ||
	    !json_object_is_type(field, json_type_string))
		return errtext_set(err, -EINVAL, "\"name\" is missing: the export's");
	*name = json_object_get_string(field);
	if (export_name_check(*name) != 0)
		return errtext_set(err, -EINVAL, "name \"%.64s\" is no export's name", *name);
	return 0;
}

static int get_export(struct json_object *request, struct config_export *e, struct errtext *err)
{
	config_t config;
	int rc = request_group(request, "export", "export add", &config, err);

	if (rc == 0)
		rc = config_read_export(config_root_setting(&config), "export add", e, err);
	config_destroy(&config);
	return rc;
}

/* Without a path it is to be as the configuration file has it. */
static int get_wanted(const struct daemon_config *file, struct json_object *request,
		      struct config_export *e, struct errtext *err)
{
	struct json_object *object, *name;

	if (!json_object_object_get_ex(request, "export", &object) ||
	    !json_object_is_type(object, json_type_object) ||
	    json_object_object_get_ex(object, "path", NULL) ||
	    !json_object_object_get_ex(object, "name", &name) ||
	    !json_object_is_type(name, json_type_string))
		return get_export(request, e, err);
	if (json_object_object_length(object) > 1)
		return errtext_set(err, -EINVAL,
				   "export add: without a path it is added as the configuration "
				   "file has it, and no option can be said");
	for (unsigned int i = 0; i < file->nr_exports; i++) {
		if (strcmp(file->exports[i].name, json_object_get_string(name)) == 0) {
			*e = file->exports[i];
			return 0;
		}
	}
	return errtext_set(
		err, -ENOENT,
		"export \"%.64s\" was not in %.300s when that was read last: say its path",
		json_object_get_string(name), file->file);
}

/* ---- answers ---------------------------------------------------------------------------------- */

struct verb_call {
	struct admin_call *call;
	char name[LH_NAME_BYTES];
};

static int call_new(struct admin_call *call, const char *name, struct verb_call **out,
		    struct errtext *err)
{
	struct verb_call *v = calloc(1, sizeof(*v));

	if (!v)
		return errtext_set(err, -ENOMEM, "out of memory");
	v->call = call;
	memcpy(v->name, name, strlen(name) + 1);
	*out = v;
	return 0;
}

static void refuse(struct verb_call *v, int err, const char *why)
{
	log_warning("%s", why);
	admin_answer(v->call, err, NULL, why);
	free(v);
}

/* The export as it is now, with a note if there is one. */
static void show(struct verb_call *v, const char *note)
{
	const struct admin_env *env = admin_call_env(v->call);
	const struct holding *h = env ? exports_find(env->exports, v->name) : NULL;
	struct json_object *o;

	o = h ? status_export(env, h, false) : json_object_new_object();
	if (note[0])
		json_object_object_add(o, "note", json_object_new_string(note));
	admin_answer(v->call, 0, o, "");
	free(v);
}

static bool is_served(const struct verb_call *v)
{
	const struct admin_env *env = admin_call_env(v->call);
	const struct holding *h = env ? exports_find(env->exports, v->name) : NULL;
	struct holding_status s;

	if (!h)
		return false;
	holding_status(h, &s);
	return s.state == HOLDING_SERVING;
}

static void added(void *arg, int err, const char *why)
{
	if (err) {
		refuse(arg, err, why);
		return;
	}
	log_notice("%s", why);
	show(arg, is_served(arg) ? "" : why);
}

int admin_export_add(const struct admin_env *env, struct admin_call *call,
		     struct json_object *request, struct json_object **result, struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", "export", "adopt", NULL};
	struct config_export *config = calloc(1, sizeof(*config));
	bool adopt = false;
	struct verb_call *v = NULL;
	int rc;

	(void)result;
	if (!config)
		return errtext_set(err, -ENOMEM, "out of memory");
	rc = request_check_keys(request, known, err);
	if (rc == 0)
		rc = request_bool(request, "adopt", &adopt, err);
	if (rc == 0)
		rc = get_wanted(env->config, request, config, err);
	if (rc == 0)
		rc = call_new(call, config->name, &v, err);
	if (rc == 0) {
		exports_add(env->exports, config, adopt, added, v);
		rc = ADMIN_LATER;
	}
	free(config);
	return rc;
}

static void removed(void *arg, int err, const char *why)
{
	struct verb_call *v = arg;
	struct json_object *o;

	if (err) {
		refuse(v, err, why);
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "name", json_object_new_string(v->name));
	json_object_object_add(o, "state", json_object_new_string("removed"));
	admin_answer(v->call, 0, o, "");
	free(v);
}

/* Of a verb that takes a name and nothing else. */
static int by_name(struct exports *x, struct admin_call *call, struct json_object *request,
		   struct errtext *err,
		   void (*fn)(struct exports *x, const char *name, exports_done_fn *done,
			      void *arg),
		   exports_done_fn *done)
{
	static const char *const known[] = {"v", "cmd", "name", NULL};
	struct verb_call *v = NULL;
	const char *name = "";
	int rc = request_check_keys(request, known, err);

	if (rc == 0)
		rc = get_name(request, &name, err);
	if (rc == 0)
		rc = call_new(call, name, &v, err);
	if (rc)
		return rc;
	fn(x, v->name, done, v);
	return ADMIN_LATER;
}

int admin_export_remove(const struct admin_env *env, struct admin_call *call,
			struct json_object *request, struct json_object **result,
			struct errtext *err)
{
	(void)result;
	return by_name(env->exports, call, request, err, exports_remove, removed);
}

static void changed(void *arg, int err, const char *why)
{
	if (err)
		refuse(arg, err, why);
	else
		show(arg, why);
}

int admin_export_offline(const struct admin_env *env, struct admin_call *call,
			 struct json_object *request, struct json_object **result,
			 struct errtext *err)
{
	(void)result;
	return by_name(env->exports, call, request, err, exports_offline, changed);
}

int admin_export_online(const struct admin_env *env, struct admin_call *call,
			struct json_object *request, struct json_object **result,
			struct errtext *err)
{
	(void)result;
	return by_name(env->exports, call, request, err, exports_online, added);
}

int admin_export_resize(const struct admin_env *env, struct admin_call *call,
			struct json_object *request, struct json_object **result,
			struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", "name", "size_bytes", NULL};
	struct json_object *field = NULL;
	const char *name = "";
	struct verb_call *v = NULL;
	int rc = request_check_keys(request, known, err);

	(void)result;
	if (rc == 0)
		rc = get_name(request, &name, err);
	if (rc == 0 &&
	    (!json_object_object_get_ex(request, "size_bytes", &field) ||
	     !json_object_is_type(field, json_type_int) || json_object_get_int64(field) < 0))
		rc = errtext_set(err, -EINVAL, "\"size_bytes\" is missing, or no number");
	if (rc == 0)
		rc = call_new(call, name, &v, err);
	if (rc)
		return rc;
	exports_resize(env->exports, v->name, (uint64_t)json_object_get_int64(field), changed, v);
	return ADMIN_LATER;
}

/* False: it is not said. */
static bool get_choice(struct json_object *request, enum region_choice *choice, int *rc,
		       struct errtext *err)
{
	const char *word = request_text(request, "registration");
	struct json_object *field;

	if (!json_object_object_get_ex(request, "registration", &field))
		return false;
	for (int i = REGION_AUTO; word && i <= REGION_STAGED; i++) {
		if (strcmp(word, region_choice_text((enum region_choice)i)) == 0) {
			*choice = (enum region_choice)i;
			return true;
		}
	}
	*rc = errtext_set(
		err, -EINVAL,
		"registration: expected one of \"auto\", \"pinned\", \"odp\", \"staged\"");
	return false;
}

int admin_export_rung(const struct admin_env *env, struct admin_call *call,
		      struct json_object *request, struct json_object **result, struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", "name", "registration", "device", NULL};
	enum region_choice choice = REGION_AUTO;
	struct verb_call *v = NULL;
	const char *name = "";
	bool chosen = false;
	int rc = request_check_keys(request, known, err);

	(void)result;
	if (rc == 0)
		rc = get_name(request, &name, err);
	if (rc == 0)
		chosen = get_choice(request, &choice, &rc, err);
	if (rc == 0 && json_object_object_get_ex(request, "device", NULL) &&
	    !request_text(request, "device"))
		rc = errtext_set(err, -EINVAL, "\"device\" is no text");
	if (rc == 0)
		rc = call_new(call, name, &v, err);
	if (rc)
		return rc;
	exports_rung(env->exports, v->name, request_text(request, "device"),
		     chosen ? &choice : NULL, changed, v);
	return ADMIN_LATER;
}

struct list_call {
	const struct admin_env *env;
	struct json_object *list;
};

static void add_one(const struct holding *h, bool removing, void *arg)
{
	struct list_call *l = arg;

	json_object_array_add(l->list, status_export(l->env, h, removing));
}

int admin_export_list(const struct admin_env *env, struct admin_call *call,
		      struct json_object *request, struct json_object **result, struct errtext *err)
{
	static const char *const known[] = {"v", "cmd", NULL};
	struct list_call l = {.env = env};
	int rc = request_check_keys(request, known, err);

	(void)call;
	if (rc)
		return rc;
	l.list = json_object_new_array();
	exports_each(env->exports, add_one, &l);
	*result = l.list;
	return 0;
}
