/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What `leasehold top` shows: lines of text made of what the daemon said, no line wider than the screen.
 * Knows no terminal. Main thread.
 */
#ifndef LEASEHOLD_TOP_VIEW_H
#define LEASEHOLD_TOP_VIEW_H

#include "util/util.h"

#include <json-c/json.h>

#define TOP_NAME_BYTES	64
#define TOP_COLUMNS_MAX 512

/** What the daemon said at one moment: results of `status`, `stats`, and `grants` of one export. */
struct top_sample {
	uint64_t taken_ns;
	struct json_object *status, *stats; /* NULL: it has not said anything yet */
	struct json_object *grants;	    /* an array, or NULL */
	bool more_grants;		    /* there are more than these */
};

enum top_sort {
	TOP_BY_NAME,
	TOP_BY_STATE,
	TOP_BY_GRANTS,
	TOP_BY_RECALLS,
	TOP_BY_SIZE,
	TOP_SORTS
};

struct top_view {
	unsigned int columns; /* at most TOP_COLUMNS_MAX */
	unsigned int rows;    /* 0: as many as it takes */
	uint64_t interval_ns;
	enum top_sort sort;
	char selected
		[TOP_NAME_BYTES]; /* an export; chosen by top_render() if there is none of that name */
	bool inside;		  /* of that export alone */
	bool help;
	size_t first; /* row of the list that is shown first; kept so that the selected one is */
	const char *message; /* in the last line; NULL: the keys */
	const char *stale;   /* why there is nothing newer; NULL: it is new */
};

struct top_line {
	char text[TOP_COLUMNS_MAX + 1];
	bool reverse, bold;
};

struct top_screen {
	struct top_line *lines;
	size_t count, room;
};

/** Fills the screen, of which the memory is used again. `before` may be without anything. */
void top_render(struct top_view *view, const struct top_sample *before,
		const struct top_sample *now, struct top_screen *screen);
void top_screen_free(struct top_screen *screen);

/** The selection goes so many exports down, as they are sorted; inside of one the list scrolls. */
void top_move(struct top_view *view, const struct top_sample *now, int by);

void top_sample_free(struct top_sample *sample);

const char *top_sort_name(enum top_sort sort);

#endif
