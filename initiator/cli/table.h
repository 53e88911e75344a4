/* SPDX-License-Identifier: BSD-3-Clause */
/* Prints JSON of any shape for people: objects as "key value" lines, arrays of objects as tables. */
#ifndef LEASEHOLD_TABLE_H
#define LEASEHOLD_TABLE_H

#include <json-c/json.h>
#include <stdio.h>

/** Prints `value`; `title` stands above it where it is not NULL. */
void table_print(FILE *out, const char *title, struct json_object *value);

#endif
