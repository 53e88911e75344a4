// SPDX-License-Identifier: BSD-3-Clause
/* Checks are kept as the JSON that scripts get; people get a table of it. */
#include "checklist/checklist.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define FOUND_BYTES 1024
#define LABEL_MAX   32 /* of the column; what is longer moves its own line */
#define LABEL_BYTES 512

struct checklist {
	struct json_object *checks;
	unsigned int count[CHECK_FAIL + 1];
};

static const char *const words[] = {"ok", "warn", "fail"};

struct checklist *checklist_new(void)
{
	struct checklist *list = calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	list->checks = json_object_new_array();
	if (!list->checks) {
		free(list);
		return NULL;
	}
	return list;
}

void checklist_free(struct checklist *list)
{
	if (!list)
		return;
	(void)json_object_put(list->checks);
	free(list);
}

void checklist_add(struct checklist *list, enum check_state state, const char *check,
		   const char *about, const char *next, const char *fmt, ...)
{
	struct json_object *o = json_object_new_object();
	char found[FOUND_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(found, sizeof(found), fmt, ap);
	va_end(ap);
	(void)json_object_object_add(o, "check", json_object_new_string(check));
	(void)json_object_object_add(o, "about", about ? json_object_new_string(about) : NULL);
	(void)json_object_object_add(o, "state", json_object_new_string(words[state]));
	(void)json_object_object_add(o, "found", json_object_new_string(found));
	(void)json_object_object_add(o, "next", next ? json_object_new_string(next) : NULL);
	(void)json_object_array_add(list->checks, o);
	list->count[state]++;
}

unsigned int checklist_count(const struct checklist *list, enum check_state state)
{
	return list->count[state];
}

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v = json_object_object_get(o, key);

	return v ? json_object_get_string(v) : NULL;
}

static void label_of(struct json_object *o, char label[LABEL_BYTES])
{
	const char *about = text_of(o, "about");

	(void)snprintf(label, LABEL_BYTES, "%s%s%s", text_of(o, "check"), about ? " " : "",
		       about ? about : "");
}

static void print_table(const struct checklist *list, FILE *out)
{
	const size_t n = json_object_array_length(list->checks);
	char label[LABEL_BYTES];
	int width = 0;

	for (size_t i = 0; i < n; i++) {
		size_t length;

		label_of(json_object_array_get_idx(list->checks, i), label);
		length = strlen(label);
		if (length <= LABEL_MAX && (int)length > width)
			width = (int)length;
	}
	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_array_get_idx(list->checks, i);
		const char *state = text_of(o, "state"), *next = text_of(o, "next");

		label_of(o, label);
		(void)fprintf(out, "%-4s  %-*s  %s\n", strcmp(state, "fail") == 0 ? "FAIL" : state,
			      width, label, text_of(o, "found"));
		if (next)
			(void)fprintf(out, "%*s-> %s\n", width + 8, "", next);
	}
	(void)fprintf(out, "%zu checks: %u ok, %u warnings, %u failed\n", n, list->count[CHECK_OK],
		      list->count[CHECK_WARN], list->count[CHECK_FAIL]);
}

void checklist_print(const struct checklist *list, FILE *out, bool json)
{
	struct json_object *top;

	if (!json) {
		print_table(list, out);
		return;
	}
	top = json_object_new_object();
	(void)json_object_object_add(top, "ok", json_object_new_uint64(list->count[CHECK_OK]));
	(void)json_object_object_add(top, "warnings",
				     json_object_new_uint64(list->count[CHECK_WARN]));
	(void)json_object_object_add(top, "failed",
				     json_object_new_uint64(list->count[CHECK_FAIL]));
	(void)json_object_object_add(top, "checks", json_object_get(list->checks));
	(void)fprintf(out, "%s\n", json_object_to_json_string_ext(top, JSON_C_TO_STRING_PRETTY));
	(void)json_object_put(top);
}
