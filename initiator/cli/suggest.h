/* SPDX-License-Identifier: BSD-3-Clause */
/* "Did you mean …?" Pure. */
#ifndef LEASEHOLD_SUGGEST_H
#define LEASEHOLD_SUGGEST_H

#include "util/util.h"

/** The word most like `text`, or NULL if none is near. */
const char *suggest(const char *text, const char *const words[], size_t count);

#endif
