/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the room: groups of a configuration file, each read by a table of its keys. */
#ifndef LEASEHOLD_CONTROL_CONFIG_GROUP_H
#define LEASEHOLD_CONTROL_CONFIG_GROUP_H

#include "control/control.h"

#include <libconfig.h>

/* Of an error's text, the rest is for file, line and key. */
#define SENTENCE_BYTES (ERRTEXT_BYTES * 7 / 8)

enum key_type {
	KEY_UINT, /* uint32_t or unsigned int */
	KEY_U64,  /* uint64_t, also "64M" */
	KEY_BOOL,
	KEY_TEXT,  /* char array of `max` bytes */
	KEY_ENUM,  /* one of `words`, stored as an int */
	KEY_GROUP, /* read elsewhere */
};

struct key {
	const char *name;
	enum key_type type;
	size_t offset;
	uint64_t min, max;
	const char *const *words; /* KEY_ENUM: NULL ends */
	bool required;
};

/** "FILE:LINE: KEY: sentence"; always -EINVAL. */
int config_bad(const struct daemon_config *c, const config_setting_t *s, struct errtext *err,
	       const char *fmt, ...) PRINTF_LIKE(4, 5);

/** Of a key in a group, which the sentence names: "FILE:LINE: sentence". */
int config_bad_key(const struct daemon_config *c, const config_setting_t *group, const char *key,
		   struct errtext *err, const char *fmt, ...) PRINTF_LIKE(5, 6);

/** Reads one key, as below. */
MUST_CHECK int config_read_key(const struct daemon_config *c, const struct key *k,
			       const config_setting_t *s, void *base, struct errtext *err);
/**
 * Reads every key of a group by its table, which a NULL name ends, into the struct at `base`; what the table
 * lacks is an error, as is a value of another type or out of range, each with file, line and key. -EINVAL.
 */
MUST_CHECK int config_read_group(const struct daemon_config *c, const struct key *keys,
				 const config_setting_t *group, void *base, struct errtext *err);

#endif
