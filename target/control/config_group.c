// SPDX-License-Identifier: BSD-3-Clause
/*
 * A group of a configuration file (libconfig), read by a table: a key that is not in it, has another type
 * or is out of range is an error that names file, line and key.
 */
#include "control/config_group.h"

#include "control/config_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int say_bad(const struct daemon_config *c, const config_setting_t *s, const char *name,
		   struct errtext *err, const char *fmt, va_list ap)
{
	const char *file = config_setting_source_file(s); /* of what was included */
	const unsigned int line = config_setting_source_line(s);
	char sentence[SENTENCE_BYTES];

	(void)vsnprintf(sentence, sizeof(sentence), fmt, ap);
	if (line == 0) /* it came another way */
		return errtext_set(err, -EINVAL, "%s: %s%s%s", c->file, name ? name : "",
				   name ? ": " : "", sentence);
	return errtext_set(err, -EINVAL, "%s:%u: %s%s%s", file ? file : c->file, line,
			   name ? name : "", name ? ": " : "", sentence);
}

int config_bad(const struct daemon_config *c, const config_setting_t *s, struct errtext *err,
	       const char *fmt, ...)
{
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = say_bad(c, s, config_setting_name(s), err, fmt, ap);
	va_end(ap);
	return ret;
}

int config_bad_key(const struct daemon_config *c, const config_setting_t *group, const char *key,
		   struct errtext *err, const char *fmt, ...)
{
	const config_setting_t *s = config_setting_get_member(group, key);
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = say_bad(c, s ? s : group, NULL, err, fmt, ap);
	va_end(ap);
	return ret;
}

static void list_words(const char *const *words, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (; *words && used < size; words++) {
		int n = snprintf(text + used, size - used, "%s\"%s\"", used ? ", " : "", *words);

		used += n > 0 ? (size_t)n : 0;
	}
}

/* The file itself is checked before it is parsed. */
static int check_included(const struct daemon_config *c, const config_setting_t *s,
			  struct errtext *err)
{
	const char *file = config_setting_source_file(s);
	char *text;
	size_t len;
	int rc;

	if (!file || strcmp(file, c->file) == 0)
		return 0;
	rc = config_text_read(file, &text, &len, err);
	if (rc)
		return rc;
	rc = config_text_check(file, text, len, err);
	free(text);
	return rc;
}

static int read_number(const struct daemon_config *c, const struct key *k,
		       const config_setting_t *s, uint64_t *value, struct errtext *err)
{
	int type = config_setting_type(s);
	long long v;

	if (type == CONFIG_TYPE_STRING && k->type == KEY_U64) {
		if (size_parse(config_setting_get_string(s), value) != 0)
			return config_bad(c, s, err,
					  "expected a size like 4096, \"64k\" or \"1G\"");
	} else if (type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64) {
		int rc = check_included(c, s, err);

		if (rc)
			return rc;
		v = config_setting_get_int64(s);
		if (v < 0)
			return config_bad(
				c, s, err, "expected a number from %llu to %llu, not %lld",
				(unsigned long long)k->min, (unsigned long long)k->max, v);
		*value = (uint64_t)v;
	} else {
		return config_bad(c, s, err, "expected a number from %llu to %llu",
				  (unsigned long long)k->min, (unsigned long long)k->max);
	}
	if (*value < k->min || *value > k->max)
		return config_bad(c, s, err, "expected a number from %llu to %llu, not %llu",
				  (unsigned long long)k->min, (unsigned long long)k->max,
				  (unsigned long long)*value);
	return 0;
}

static int read_text(const struct daemon_config *c, const struct key *k, const config_setting_t *s,
		     char *out, struct errtext *err)
{
	const char *text;

	if (config_setting_type(s) != CONFIG_TYPE_STRING)
		return config_bad(c, s, err, "expected a text in quotes");
	text = config_setting_get_string(s);
	if (strlen(text) < k->min)
		return config_bad(c, s, err, "must not be empty");
	if (strlen(text) >= k->max)
		return config_bad(c, s, err, "longer than %llu bytes",
				  (unsigned long long)k->max - 1);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

static int read_word(const struct daemon_config *c, const struct key *k, const config_setting_t *s,
		     int *out, struct errtext *err)
{
	char all[256];

	list_words(k->words, all, sizeof(all));
	if (config_setting_type(s) == CONFIG_TYPE_STRING) {
		const char *text = config_setting_get_string(s);

		for (int i = 0; k->words[i]; i++) {
			if (strcmp(text, k->words[i]) == 0) {
				*out = i;
				return 0;
			}
		}
		return config_bad(c, s, err, "expected one of %s, not \"%s\"", all, text);
	}
	return config_bad(c, s, err, "expected one of %s", all);
}

int config_read_key(const struct daemon_config *c, const struct key *k, const config_setting_t *s,
		    void *base, struct errtext *err)
{
	char *field = (char *)base + k->offset;
	uint64_t number = 0;
	int rc;

	switch (k->type) {
	case KEY_UINT:
		rc = read_number(c, k, s, &number, err);
		if (rc == 0)
			*(uint32_t *)(void *)field = (uint32_t)number;
		return rc;
	case KEY_U64:
		rc = read_number(c, k, s, &number, err);
		if (rc == 0)
			*(uint64_t *)(void *)field = number;
		return rc;
	case KEY_BOOL:
		if (config_setting_type(s) != CONFIG_TYPE_BOOL)
			return config_bad(c, s, err, "expected true or false");
		*(bool *)(void *)field = config_setting_get_bool(s);
		return 0;
	case KEY_TEXT:
		return read_text(c, k, s, field, err);
	case KEY_ENUM:
		return read_word(c, k, s, (int *)(void *)field, err);
	case KEY_GROUP:
		return 0;
	}
	return -EINVAL;
}

int config_read_group(const struct daemon_config *c, const struct key *keys,
		      const config_setting_t *group, void *base, struct errtext *err)
{
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *s = config_setting_get_elem(group, (unsigned int)i);
		const struct key *k = keys;
		int rc;

		while (k->name && strcmp(k->name, config_setting_name(s)) != 0)
			k++;
		if (!k->name) {
			char known[SENTENCE_BYTES - 32];
			size_t used = 0;

			for (k = keys; k->name && used < sizeof(known); k++)
				used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s",
							 used ? ", " : "", k->name);
			return config_bad(c, s, err, "unknown key; known here: %s", known);
		}
		rc = config_read_key(c, k, s, base, err);
		if (rc)
			return rc;
	}
	for (const struct key *k = keys; k->name; k++) {
		if (k->required && !config_setting_get_member(group, k->name))
			return config_bad(c, group, err, "the key \"%s\" is missing", k->name);
	}
	return 0;
}
