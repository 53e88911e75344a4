// SPDX-License-Identifier: BSD-3-Clause
/* Copies of unconfirmed writes in the order they were made. Pure but for its memory. */
#include "libleasehold/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void replay_init(struct replay *r, bool on, uint64_t limit)
{
	*r = (struct replay){.on = on, .limit = limit};
	list_init(&r->writes);
}

void replay_fini(struct replay *r)
{
	replay_clear(r);
}

bool replay_fits(const struct replay *r, uint64_t length)
{
	return r->bytes == 0 || range_ok(r->bytes, length, r->limit);
}

int replay_keep(struct replay *r, uint64_t offset, const void *data, uint64_t length)
{
	struct replay_write *w = malloc(sizeof(*w) + length);

	if (!w)
		return -ENOMEM;
	w->offset = offset;
	w->length = length;
	memcpy(w->data, data, length);
	list_push(&r->writes, &w->link);
	r->bytes += length;
	return 0;
}

struct replay_write *replay_pop(struct replay *r)
{
	struct list *l = list_pop(&r->writes);
	struct replay_write *w;

	if (!l)
		return NULL;
	w = list_entry(l, struct replay_write, link);
	r->bytes -= w->length;
	return w;
}

void replay_clear(struct replay *r)
{
	struct list *pos, *tmp;

	list_for_each_safe (pos, tmp, &r->writes)
		free(list_entry(pos, struct replay_write, link));
	list_init(&r->writes);
	r->bytes = 0;
}
