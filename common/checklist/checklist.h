/* SPDX-License-Identifier: BSD-3-Clause */
/* What a look at a machine has found: checks, each with its state and what to do next. One thread. */
#ifndef LEASEHOLD_CHECKLIST_H
#define LEASEHOLD_CHECKLIST_H

#include <stdio.h>

#include "util/util.h"

enum check_state {
	CHECK_OK,
	CHECK_WARN, /* it works, but not as well as it might, or not for sure */
	CHECK_FAIL, /* it stands in the way */
};

struct checklist;

/** NULL: no memory. */
struct checklist *checklist_new(void);
void checklist_free(struct checklist *list);

/**
 * Adds one, at the end. `check` is its name, in lower case; `about` what it is about, or NULL: the machine.
 * `next` says what to do, or is NULL where nothing is. All are copied.
 */
void checklist_add(struct checklist *list, enum check_state state, const char *check,
		   const char *about, const char *next, const char *fmt, ...) PRINTF_LIKE(6, 7);

/** How many are in that state. */
unsigned int checklist_count(const struct checklist *list, enum check_state state);

/** A line each and a last one with the sum; as JSON: an object with the numbers and the array `checks`. */
void checklist_print(const struct checklist *list, FILE *out, bool json);

#endif
