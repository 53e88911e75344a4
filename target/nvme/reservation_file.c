// SPDX-License-Identifier: BSD-3-Clause
/*
 * A namespace's reservations on disk, as lines that people can read:
 *
 *   version=1
 *   uuid=...            the namespace's
 *   generation=5
 *   type=3              of the reservation held, 0: none
 *   holder=0            which registrant, counted from 0
 *   registrant=HOSTID KEY
 *   ...                 ascending
 *   checksum=...        of everything above
 *
 * A file that is not exactly what was written is an error, never "no reservation": a host that was
 * shut out would get in. Any thread that may sleep; keeps nothing.
 */
#include "nvme/reservation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/state_file.h"

#define FOLDER	     "reservations"
#define FILE_VERSION 1
#define CHECKSUM_KEY "checksum="

/* "registrant=", a UUID, a space, 16 digits, a newline; and 512 bytes for all else. */
static_assert(RESV_MAX_REGISTRANTS * 68 + 512 < RESV_FILE_BYTES, "the text fits");

/* FNV-1a with 64 bits: against damage, not against people. */
static uint64_t checksum(const char *text, size_t length)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < length; i++)
		h = (h ^ (uint8_t)text[i]) * 0x100000001b3ull;
	return h;
}

/* ---- to text ---------------------------------------------------------------------------------- */

static void add(char *text, size_t *length, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void add(char *text, size_t *length, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	*length += (size_t)vsnprintf(text + *length, RESV_FILE_BYTES - *length, fmt, args);
	va_end(args);
	assert(*length < RESV_FILE_BYTES);
}

void resv_format(const struct resv_state *s, const uint8_t uuid[16], char text[RESV_FILE_BYTES])
{
	char id[UUID_TEXT_BYTES];
	size_t n = 0;

	uuid_format(uuid, id);
	add(text, &n, "version=%d\nuuid=%s\n", FILE_VERSION, id);
	add(text, &n, "generation=%" PRIu32 "\ntype=%d\nholder=%u\n", s->generation, (int)s->type,
	    s->holder);
	for (unsigned int i = 0; i < s->nr; i++) {
		uuid_format(s->registrants[i].hostid, id);
		add(text, &n, "registrant=%s %016" PRIx64 "\n", id, s->registrants[i].key);
	}
	add(text, &n, CHECKSUM_KEY "%016" PRIx64 "\n", checksum(text, n));
}

/* ---- from text -------------------------------------------------------------------------------- */

/* The next line's value, if its key is `key`; the text goes on behind it. */
static char *take(char **text, const char *key)
{
	size_t length = strlen(key);
	char *value = *text, *end = strchr(value, '\n');

	if (!end || strncmp(value, key, length) != 0)
		return NULL;
	*end = '\0';
	*text = end + 1;
	return value + length;
}

static int number(const char *text, int base, uint64_t most, uint64_t *value)
{
	static const char digits[] = "0123456789abcdef";
	char *end;

	if (*text == '\0' || strspn(text, base == 10 ? "0123456789" : digits) != strlen(text))
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &end, base);
	return errno || *end != '\0' || *value > most ? -EINVAL : 0;
}

static int take_number(char **text, const char *key, uint64_t most, uint64_t *value)
{
	const char *field = take(text, key);

	return field ? number(field, 10, most, value) : -EINVAL;
}

static int take_registrant(char *line, struct resv_state *s)
{
	struct resv_registrant *r = &s->registrants[s->nr];
	char *key = strchr(line, ' ');

	if (!key || s->nr == RESV_MAX_REGISTRANTS)
		return -EINVAL;
	*key++ = '\0';
	if (uuid_parse(line, r->hostid) != 0 || number(key, 16, UINT64_MAX, &r->key) != 0)
		return -EINVAL;
	s->nr++;
	return 0;
}

static int take_state(char *text, struct resv_state *s)
{
	uint64_t generation, type, holder;
	char *line;

	if (take_number(&text, "generation=", UINT32_MAX, &generation) != 0 ||
	    take_number(&text, "type=", NVME_RESV_EXCLUSIVE_ACCESS_ALL, &type) != 0 ||
	    take_number(&text, "holder=", RESV_MAX_REGISTRANTS, &holder) != 0)
		return -EINVAL;
	while ((line = take(&text, "registrant="))) {
		if (take_registrant(line, s) != 0)
			return -EINVAL;
	}
	s->generation = (uint32_t)generation;
	s->type = (enum nvme_resv_type)type;
	s->holder = (unsigned int)holder;
	s->ptpl = true; /* or there were no file */
	return *text == '\0' && resv_valid(s) ? 0 : -EINVAL;
}

static int damaged(struct errtext *err, const char *path, const char *what)
{
	return errtext_set(err, -EBADMSG,
			   "%s: %s: it says which hosts are shut out, so the export stays offline; "
			   "restore the file, or remove it to forget all reservations",
			   path, what);
}

int resv_parse(char *text, const uint8_t uuid[16], const char *path, struct resv_state *state,
	       struct errtext *err)
{
	struct resv_state s = {0};
	char *sum = strstr(text, "\n" CHECKSUM_KEY), *field;
	uint64_t value;
	uint8_t theirs[16];

	if (!sum)
		return damaged(err, path, "it has no checksum");
	sum++;
	value = checksum(text, (size_t)(sum - text));
	{
		char expected[64];

		(void)snprintf(expected, sizeof(expected), CHECKSUM_KEY "%016" PRIx64 "\n", value);
		if (strcmp(sum, expected) != 0)
			return damaged(err, path, "its checksum is wrong");
	}
	*sum = '\0';
	if (take_number(&text, "version=", UINT32_MAX, &value) != 0)
		return damaged(err, path, "it has no version");
	if (value != FILE_VERSION)
		return damaged(err, path, "it is of a version that is not known here");
	field = take(&text, "uuid=");
	if (!field || uuid_parse(field, theirs) != 0)
		return damaged(err, path, "it names no namespace");
	if (memcmp(theirs, uuid, sizeof(theirs)) != 0)
		return errtext_set(err, -ESTALE,
				   "%s: it is of another namespace (uuid %s): remove it if this "
				   "export is to begin without reservations",
				   path, field);
	if (take_state(text, &s) != 0)
		return damaged(err, path, "what it says makes no sense");
	*state = s;
	return 0;
}

/* ---- the file --------------------------------------------------------------------------------- */

static int load_from(int folder, const char *path, const char *name, const uint8_t uuid[16],
		     struct resv_state *state, struct errtext *err)
{
	char *text = malloc(RESV_FILE_BYTES);
	int ret = text ? state_file_read(folder, name, text, RESV_FILE_BYTES) : -ENOMEM;

	if (ret == -ENOENT) {
		*state = (struct resv_state){0};
		ret = 0;
	} else if (ret == -EFBIG) {
		ret = damaged(err, path, "it is too long");
	} else if (ret) {
		(void)errtext_set(err, ret, "cannot read %s: %s", path, strerror(-ret));
	} else {
		ret = resv_parse(text, uuid, path, state, err);
	}
	free(text);
	return ret;
}

int resv_load(const char *state_dir, const char *name, const uint8_t uuid[16],
	      struct resv_state *state, struct errtext *err)
{
	char path[4096];
	int folder, ret;

	if (state_dir[0] == '\0') {
		*state = (struct resv_state){0};
		return 0;
	}
	folder = state_folder_open(state_dir, FOLDER);
	if (folder < 0)
		return errtext_set(err, folder, "cannot use %s/" FOLDER ": %s", state_dir,
				   strerror(-folder));
	(void)snprintf(path, sizeof(path), "%s/" FOLDER "/%s", state_dir, name);
	ret = load_from(folder, path, name, uuid, state, err);
	(void)close(folder);
	return ret;
}

int resv_store(const char *state_dir, const char *name, const uint8_t uuid[16],
	       const struct resv_state *state)
{
	int folder = state_folder_open(state_dir, FOLDER), ret;
	char *text;

	if (folder < 0)
		return folder;
	text = malloc(RESV_FILE_BYTES);
	if (!text) {
		ret = -ENOMEM;
	} else if (state->ptpl) {
		resv_format(state, uuid, text);
		ret = state_file_write(folder, name, text);
	} else {
		ret = state_file_remove(folder, name);
	}
	free(text);
	(void)close(folder);
	return ret;
}
