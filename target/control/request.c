// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the verbs of the admin socket have in common: requests that are taken apart strictly, and groups
 * that are read by the tables of the configuration file. Pure.
 */
#include "control/verbs.h"

#include <errno.h>
#include <string.h>

int request_check_keys(struct json_object *request, const char *const *known, struct errtext *err)
{
	json_object_object_foreach(request, key, value)
	{
		const char *const *k = known;

		(void)value;
		while (*k && strcmp(*k, key) != 0)
			k++;
		if (!*k)
			return errtext_set(err, -EINVAL, "unknown key \"%.64s\" in the request",
					   key);
	}
	return 0;
}

const char *request_text(struct json_object *request, const char *key)
{
	struct json_object *field;

	if (!json_object_object_get_ex(request, key, &field) ||
	    !json_object_is_type(field, json_type_string))
		return NULL;
	return json_object_get_string(field);
}

int request_bool(struct json_object *request, const char *key, bool *value, struct errtext *err)
{
	struct json_object *field;

	*value = false;
	if (!json_object_object_get_ex(request, key, &field))
		return 0;
	if (!json_object_is_type(field, json_type_boolean))
		return errtext_set(err, -EINVAL, "\"%s\" must be true or false", key);
	*value = json_object_get_boolean(field);
	return 0;
}

int request_number(struct json_object *request, const char *key, uint64_t most, uint64_t *value,
		   struct errtext *err)
{
	struct json_object *field;

	if (!json_object_object_get_ex(request, key, &field))
		return 0;
	if (!json_object_is_type(field, json_type_int) || json_object_get_int64(field) < 0)
		return errtext_set(err, -EINVAL, "\"%s\" must be a number, 0 or more", key);
	*value = (uint64_t)json_object_get_int64(field);
	if (*value > most)
		return errtext_set(err, -EINVAL, "\"%s\" must be at most %llu", key,
				   (unsigned long long)most);
	return 0;
}

/* ---- groups ----------------------------------------------------------------------------------- */

static int add_value(config_setting_t *group, const char *key, struct json_object *value,
		     const char *cmd, struct errtext *err)
{
	config_setting_t *s;
	int type, ok;

	switch (json_object_get_type(value)) {
	case json_type_string:
		type = CONFIG_TYPE_STRING;
		break;
	case json_type_int:
		type = CONFIG_TYPE_INT64;
		break;
	case json_type_boolean:
		type = CONFIG_TYPE_BOOL;
		break;
	default:
		return errtext_set(err, -EINVAL,
				   "%s: %.64s: expected a text, a number, true or false", cmd, key);
	}
	s = config_setting_add(group, key, type);
	if (!s)
		return errtext_set(err, -EINVAL, "%s: \"%.64s\" is no key", cmd, key);
	if (type == CONFIG_TYPE_STRING)
		ok = config_setting_set_string(s, json_object_get_string(value));
	else if (type == CONFIG_TYPE_INT64)
		ok = config_setting_set_int64(s, json_object_get_int64(value));
	else
		ok = config_setting_set_bool(s, json_object_get_boolean(value));
	return ok ? 0 : errtext_set(err, -ENOMEM, "out of memory");
}

/* A list of groups, in which there are values only. */
static int add_list(config_setting_t *group, const char *key, struct json_object *array,
		    const char *cmd, struct errtext *err)
{
	config_setting_t *list = config_setting_add(group, key, CONFIG_TYPE_LIST);
	int rc = 0;

	if (!list)
		return errtext_set(err, -EINVAL, "%s: \"%.64s\" is no key", cmd, key);
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *object = json_object_array_get_idx(array, i);
		config_setting_t *s;

		if (!json_object_is_type(object, json_type_object))
			return errtext_set(err, -EINVAL, "%s: %.64s: expected a list of objects",
					   cmd, key);
		s = config_setting_add(list, NULL, CONFIG_TYPE_GROUP);
		if (!s)
			return errtext_set(err, -ENOMEM, "out of memory");
		json_object_object_foreach(object, inner, value)
		{
			if (rc == 0)
				rc = add_value(s, inner, value, cmd, err);
		}
		if (rc)
			return rc;
	}
	return 0;
}

int request_group(struct json_object *request, const char *key, const char *cmd, config_t *config,
		  struct errtext *err)
{
	struct json_object *object;
	int rc = 0;

	config_init(config);
	if (!json_object_object_get_ex(request, key, &object) ||
	    !json_object_is_type(object, json_type_object))
		return errtext_set(err, -EINVAL,
				   "\"%s\" is missing: an object with what a group of the "
				   "configuration file has",
				   key);
	json_object_object_foreach(object, member, value)
	{
		if (rc)
			continue;
		if (json_object_is_type(value, json_type_array))
			rc = add_list(config_root_setting(config), member, value, cmd, err);
		else
			rc = add_value(config_root_setting(config), member, value, cmd, err);
	}
	return rc;
}
