// SPDX-License-Identifier: BSD-3-Clause
/* The room's door: one file's tenure, of whichever kind. */
#include "tenure.h"

#include <errno.h>
#include <stdlib.h>

#include "lease.h"
#include "watch.h"

struct tenure {
	struct tenure_config c;
	struct watch *watch; /* NULL: a lease */
};

int tenure_new(const struct tenure_config *config, struct tenure **result)
{
	struct tenure *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return -ENOMEM;
	t->c = *config;
	rc = config->kind == TENURE_WATCH ? watch_new(config, &t->watch) : 0;
	if (rc) {
		free(t);
		return rc;
	}
	*result = t;
	return 0;
}

void tenure_free(struct tenure *t)
{
	if (!t)
		return;
	if (t->watch)
		watch_free(t->watch);
	free(t);
}

bool tenure_settled(const struct tenure *t)
{
	return !t->watch || watch_settled(t->watch);
}

void tenure_begin(struct tenure *t)
{
	if (t->watch)
		watch_begin(t->watch);
}

int tenure_take(struct tenure *t, struct errtext *err)
{
	return t->watch ? watch_take(t->watch, err) : lease_take(t->c.fd);
}

void tenure_release(struct tenure *t)
{
	if (t->watch)
		watch_release(t->watch);
	else
		lease_release(t->c.fd);
}

enum tenure_state tenure_check(const struct tenure *t)
{
	return t->watch ? watch_check(t->watch) : lease_check(t->c.fd);
}

void tenure_end(struct tenure *t)
{
	if (t->watch)
		watch_end(t->watch);
}

int tenure_retry_new(struct tenure *t, void (*retry)(void *arg), void *arg, struct tenure_retry **r)
{
	struct retry_pace pace = {0};

	if (t->watch)
		pace = watch_pace(t->watch);
	return retry_new(t->c.loop, t->c.fd, &pace, retry, arg, r);
}

/* ---- parts ----------------------------------------------------------------------------------- */

uint64_t tenure_ask_end(const struct tenure_ask *ask)
{
	if (ask->length == 0 || ask->length > INT64_MAX - min_u64(ask->offset, INT64_MAX))
		return INT64_MAX;
	return ask->offset + ask->length;
}

void tenure_part_release(struct tenure *t, struct tenure_part *part)
{
	watch_part_release(t->watch, part);
}

void tenure_part_take(struct tenure *t, struct tenure_part *part)
{
	watch_part_take(t->watch, part);
}

bool tenure_part_settled(const struct tenure *t, const struct tenure_part *part)
{
	return watch_part_settled(t->watch, part);
}

int tenure_part_retry_new(struct tenure *t, void (*retry)(void *arg), void *arg,
			  struct tenure_retry **r)
{
	struct retry_pace pace = watch_parts_pace(t->watch);

	return retry_new(t->c.loop, t->c.fd, &pace, retry, arg, r);
}
