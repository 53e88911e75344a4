/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the room: the keys that are no list, as a reload sees them: which of them two configurations
 * have differently, and which can change while the daemon runs. Pure.
 */
#ifndef LEASEHOLD_CONTROL_RELOAD_KEYS_H
#define LEASEHOLD_CONTROL_RELOAD_KEYS_H

#include "control/control.h"

#define RELOAD_VALUE_BYTES 160 /* of a value as text, cut off */

struct reload_key_change {
	const char *name; /* "log_level", "limits.queue_depth" */
	bool live;
	char now[RELOAD_VALUE_BYTES], wanted[RELOAD_VALUE_BYTES]; /* as in the file */
};

/** Calls fn for each key that differs, in the order of the table. */
void reload_keys_each(const struct daemon_config *now, const struct daemon_config *wanted,
		      void (*fn)(const struct reload_key_change *change, void *arg), void *arg);

/** `now` takes the keys of `wanted` that can change while the daemon runs. */
void reload_keys_take(struct daemon_config *now, const struct daemon_config *wanted);

/** Whether such a key can change while the daemon runs. -ENOENT: there is none of that name. */
MUST_CHECK int reload_key_find(const char *name, bool *live);

#endif
