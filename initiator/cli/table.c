// SPDX-License-Identifier: BSD-3-Clause
/*
 * JSON for people. An array of objects becomes a table whose columns are the scalar keys of its first
 * object; what does not fit a cell (objects, arrays) follows beneath, one line each. Main thread.
 */
#include "cli/table.h"

#include "cli/progress.h"

#include <stdbool.h>
#include <string.h>

#define COLUMNS_MAX 12
#define CELL_MAX    96

static bool is_scalar(struct json_object *v)
{
	return !json_object_is_type(v, json_type_object) &&
	       !json_object_is_type(v, json_type_array);
}

static bool ends_with(const char *text, const char *end)
{
	const size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

/* A value as it stands in a cell. */
static void cell_text(const char *key, struct json_object *v, char text[CELL_MAX])
{
	if (!v) {
		(void)snprintf(text, CELL_MAX, "-");
	} else if (json_object_is_type(v, json_type_int) && ends_with(key, "_bytes")) {
		char size[PROGRESS_TEXT_BYTES];

		progress_bytes(json_object_get_uint64(v), size);
		(void)snprintf(text, CELL_MAX, "%s", size);
	} else if (json_object_is_type(v, json_type_boolean)) {
		(void)snprintf(text, CELL_MAX, "%s", json_object_get_boolean(v) ? "yes" : "no");
	} else if (is_scalar(v)) {
		(void)snprintf(text, CELL_MAX, "%s", json_object_get_string(v));
	} else {
		text[0] = '\0';
	}
	if (!text[0])
		(void)snprintf(text, CELL_MAX, "-");
}

static bool is_array_of_objects(struct json_object *v)
{
	return json_object_is_type(v, json_type_array) && json_object_array_length(v) > 0 &&
	       json_object_is_type(json_object_array_get_idx(v, 0), json_type_object);
}

/* "rung=pinned device=iwarp": an object in one line. */
static void print_inline(FILE *out, struct json_object *v)
{
	const char *sep = "";

	if (json_object_is_type(v, json_type_object)) {
		json_object_object_foreach(v, key, value)
		{
			char text[CELL_MAX];

			if (json_object_is_type(value, json_type_string)) {
				(void)fprintf(out, "%s%s=%s", sep, key,
					      json_object_get_string(value));
			} else if (is_scalar(value)) {
				cell_text(key, value, text);
				(void)fprintf(out, "%s%s=%s", sep, key, text);
			} else {
				(void)fprintf(out, "%s%s=%s", sep, key,
					      json_object_to_json_string(value));
			}
			sep = " ";
		}
	} else if (json_object_is_type(v, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(v); i++) {
			(void)fputs(sep, out);
			print_inline(out, json_object_array_get_idx(v, i));
			sep = ", ";
		}
	} else {
		char text[CELL_MAX];

		cell_text("", v, text);
		(void)fputs(text, out);
	}
}

struct columns {
	const char *keys[COLUMNS_MAX];
	int widths[COLUMNS_MAX];
	size_t count;
};

static void find_columns(struct json_object *rows, struct columns *c)
{
	struct json_object *first = json_object_array_get_idx(rows, 0);

	c->count = 0;
	json_object_object_foreach(first, key, value)
	{
		/* Sentences would make the table too wide: they go beneath. */
		if (c->count < COLUMNS_MAX && is_scalar(value) && strcmp(key, "why") != 0 &&
		    strcmp(key, "uuid") != 0)
			c->keys[c->count++] = key;
	}
	for (size_t i = 0; i < c->count; i++) {
		c->widths[i] = (int)strlen(c->keys[i]);
		for (size_t r = 0; r < json_object_array_length(rows); r++) {
			struct json_object *row = json_object_array_get_idx(rows, r);
			char text[CELL_MAX];

			cell_text(c->keys[i], json_object_object_get(row, c->keys[i]), text);
			if ((int)strlen(text) > c->widths[i])
				c->widths[i] = (int)strlen(text);
		}
	}
}

static bool in_columns(const struct columns *c, const char *key)
{
	for (size_t i = 0; i < c->count; i++) {
		if (strcmp(c->keys[i], key) == 0)
			return true;
	}
	return false;
}

static bool is_array_of_strings(struct json_object *v)
{
	return json_object_is_type(v, json_type_array) && json_object_array_length(v) > 0 &&
	       json_object_is_type(json_object_array_get_idx(v, 0), json_type_string);
}

/* Sentences: whole, and a line each. */
static void print_sentences(FILE *out, const char *key, struct json_object *list)
{
	for (size_t i = 0; i < json_object_array_length(list); i++)
		(void)fprintf(out, "    %s: %s\n", key,
			      json_object_get_string(json_object_array_get_idx(list, i)));
}

static void print_rest(FILE *out, const struct columns *c, struct json_object *row)
{
	json_object_object_foreach(row, key, value)
	{
		if (in_columns(c, key) || !value)
			continue;
		if (json_object_is_type(value, json_type_array) &&
		    json_object_array_length(value) == 0)
			continue;
		if (json_object_is_type(value, json_type_string) &&
		    json_object_get_string_len(value) == 0)
			continue;
		if (is_array_of_strings(value)) {
			print_sentences(out, key, value);
			continue;
		}
		(void)fprintf(out, "    %s: ", key);
		if (json_object_is_type(value, json_type_string))
			(void)fputs(json_object_get_string(value), out);
		else
			print_inline(out, value);
		(void)fputc('\n', out);
	}
}

static void print_rows(FILE *out, struct json_object *rows)
{
	struct columns c;

	find_columns(rows, &c);
	(void)fputs("  ", out);
	for (size_t i = 0; i < c.count; i++)
		(void)fprintf(out, "%-*s%s", i + 1 < c.count ? c.widths[i] : 0, c.keys[i],
			      i + 1 < c.count ? "  " : "\n");
	for (size_t r = 0; r < json_object_array_length(rows); r++) {
		struct json_object *row = json_object_array_get_idx(rows, r);

		(void)fputs("  ", out);
		for (size_t i = 0; i < c.count; i++) {
			char text[CELL_MAX];

			cell_text(c.keys[i], json_object_object_get(row, c.keys[i]), text);
			(void)fprintf(out, "%-*s%s", i + 1 < c.count ? c.widths[i] : 0, text,
				      i + 1 < c.count ? "  " : "\n");
		}
		print_rest(out, &c, row);
	}
}

static void print_object(FILE *out, struct json_object *object)
{
	int width = 0;

	json_object_object_foreach(object, k, v)
	{
		if (is_scalar(v) && (int)strlen(k) > width)
			width = (int)strlen(k);
	}
	json_object_object_foreach(object, key, value)
	{
		char text[CELL_MAX];

		if (!is_scalar(value))
			continue;
		cell_text(key, value, text);
		(void)fprintf(out, "  %-*s  %s\n", width, key, text);
	}
	json_object_object_foreach(object, name, part)
	{
		if (!is_scalar(part))
			table_print(out, name, part);
	}
}

void table_print(FILE *out, const char *title, struct json_object *value)
{
	if (title)
		(void)fprintf(out, "%s\n", title);
	if (is_array_of_objects(value)) {
		print_rows(out, value);
	} else if (json_object_is_type(value, json_type_object)) {
		print_object(out, value);
	} else {
		(void)fputs("  ", out);
		if (json_object_is_type(value, json_type_array) &&
		    json_object_array_length(value) == 0)
			(void)fputs("none", out);
		else
			print_inline(out, value);
		(void)fputc('\n', out);
	}
}
