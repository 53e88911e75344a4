// SPDX-License-Identifier: BSD-3-Clause
/*
 * The screen of `leasehold top` as lines: the daemon and its rates, recalls, registrations, then the
 * exports and the clients; or one export with who holds what of it.
 */
#include "cli/top_view.h"

#include "cli/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDE	      110 /* columns from which on there is more */
#define EXPORTS_LEAST 4	  /* rows of the list, before clients get any */

/* ---- lines ----------------------------------------------------------------------------------- */

static struct top_line *line(struct top_screen *s, const struct top_view *v, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
static struct top_line *line(struct top_screen *s, const struct top_view *v, const char *fmt, ...)
{
	const size_t width = min_u64(v->columns, TOP_COLUMNS_MAX);
	struct top_line *l;
	va_list ap;

	if (s->count == s->room) {
		const size_t room = s->room ? s->room * 2 : 64;

		l = realloc(s->lines, room * sizeof(*l));
		if (!l)
			abort();
		s->lines = l;
		s->room = room;
	}
	l = &s->lines[s->count++];
	*l = (struct top_line){0};
	va_start(ap, fmt);
	(void)vsnprintf(l->text, width + 1, fmt, ap);
	va_end(ap);
	/* A column a byte: what is not ASCII has no width that is known. */
	for (char *c = l->text; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
	return l;
}

/* Text that is too long for its column ends in a tilde. */
static const char *fit(const char *text, size_t width, char out[128])
{
	const size_t n = strlen(text), most = min_u64(width, 127);

	(void)snprintf(out, most + 1, "%s", text);
	if (n > most && most > 0)
		out[most - 1] = '~';
	return out;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static struct json_object *get(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(o, key, &v);
	return v;
}

static uint64_t number(struct json_object *o, const char *key)
{
	return json_object_get_uint64(get(o, key));
}

static const char *text(struct json_object *o, const char *key)
{
	const char *t = json_object_get_string(get(o, key));

	return t ? t : "-";
}

/* Why it is in its state, without its name. */
static const char *why_of(struct json_object *e)
{
	const char *why = text(e, "why"), *name = text(e, "name");
	const size_t n = strlen(name);

	return strncmp(why, name, n) == 0 && strncmp(why + n, ": ", 2) == 0 ? why + n + 2 : why;
}

static size_t length(struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

static struct json_object *at(struct json_object *array, size_t i)
{
	return json_object_array_get_idx(array, i);
}

/* ---- the exports, in order ------------------------------------------------------------------- */

const char *top_sort_name(enum top_sort sort)
{
	static const char *const names[TOP_SORTS] = {"name", "state", "grants", "recalls", "size"};

	return names[sort];
}

static uint64_t recalls_of(struct json_object *e)
{
	return number(e, "recalls") + number(e, "range_recalls");
}

/* The most first, but for names; what is alike by name. */
static bool comes_before(enum top_sort sort, struct json_object *a, struct json_object *b)
{
	uint64_t x = 0, y = 0;
	int states;

	switch (sort) {
	case TOP_BY_STATE:
		states = strcmp(text(a, "state"), text(b, "state"));
		if (states != 0)
			return states < 0;
		break;
	case TOP_BY_GRANTS:
		x = number(a, "grants");
		y = number(b, "grants");
		break;
	case TOP_BY_RECALLS:
		x = recalls_of(a);
		y = recalls_of(b);
		break;
	case TOP_BY_SIZE:
		x = number(a, "size_bytes");
		y = number(b, "size_bytes");
		break;
	case TOP_BY_NAME:
	case TOP_SORTS:
		break;
	}
	return x != y ? x > y : strcmp(text(a, "name"), text(b, "name")) < 0;
}

struct sorted {
	struct json_object **rows;
	size_t count, selected;
};

static struct sorted sort_exports(const struct top_view *v, struct json_object *exports)
{
	struct sorted s = {.count = length(exports)};

	s.rows = calloc(s.count + 1, sizeof(struct json_object *));
	if (!s.rows)
		abort();
	for (size_t i = 0; i < s.count; i++) {
		struct json_object *e = at(exports, i);
		size_t k = i;

		for (; k > 0 && comes_before(v->sort, e, s.rows[k - 1]); k--)
			s.rows[k] = s.rows[k - 1];
		s.rows[k] = e;
	}
	for (size_t i = 0; i < s.count; i++) {
		if (strcmp(text(s.rows[i], "name"), v->selected) == 0)
			s.selected = i;
	}
	return s;
}

static void select_row(struct top_view *v, const struct sorted *s, size_t i)
{
	(void)snprintf(v->selected, sizeof(v->selected), "%s", text(s->rows[i], "name"));
}

void top_move(struct top_view *v, const struct top_sample *now, int by)
{
	struct sorted s;
	int64_t to;

	if (v->inside) {
		to = (int64_t)v->first + by;
		v->first = to > 0 ? (size_t)to : 0;
		return;
	}
	s = sort_exports(v, get(now->status, "exports"));
	to = (int64_t)s.selected + by;
	if (s.count > 0)
		select_row(v, &s, to < 0 ? 0 : min_u64((uint64_t)to, s.count - 1));
	free(s.rows);
}

/* ---- the head -------------------------------------------------------------------------------- */

struct rate {
	bool known;
	double per_s;
};

/* How fast a counter went, of these objects in the two samples. Not known over a daemon's restart. */
static struct rate rate_in(const struct top_sample *before, const struct top_sample *now,
			   struct json_object *of_before, struct json_object *of_now,
			   const char *counter)
{
	const uint64_t a = number(of_before, counter), b = number(of_now, counter);
	const uint64_t pid = number(get(now->status, "daemon"), "pid");

	if (!of_before || !of_now || b < a || now->taken_ns <= before->taken_ns ||
	    number(get(before->status, "daemon"), "pid") != pid)
		return (struct rate){0};
	return (struct rate){.known = true,
			     .per_s = (double)(b - a) * (double)NS_PER_S /
				      (double)(now->taken_ns - before->taken_ns)};
}

static struct rate rate_of(const struct top_sample *before, const struct top_sample *now,
			   const char *counter)
{
	return rate_in(before, now, before->stats, now->stats, counter);
}

/* NULL: it was not there. */
static struct json_object *counts_of(const struct top_sample *s, const char *export)
{
	struct json_object *exports = get(s->stats, "exports");

	for (size_t i = 0; i < length(exports); i++) {
		if (strcmp(text(at(exports, i), "name"), export) == 0)
			return at(exports, i);
	}
	return NULL;
}

static struct rate sum(struct rate a, struct rate b)
{
	return (struct rate){.known = a.known && b.known, .per_s = a.per_s + b.per_s};
}

static const char *count_text(struct rate r, char out[PROGRESS_TEXT_BYTES])
{
	if (!r.known)
		(void)snprintf(out, PROGRESS_TEXT_BYTES, "-");
	else if (r.per_s < 9999.5)
		(void)snprintf(out, PROGRESS_TEXT_BYTES, "%.0f/s", r.per_s);
	else if (r.per_s < 9999500)
		(void)snprintf(out, PROGRESS_TEXT_BYTES, "%.1fk/s", r.per_s / 1e3);
	else
		(void)snprintf(out, PROGRESS_TEXT_BYTES, "%.1fM/s", r.per_s / 1e6);
	return out;
}

static const char *bytes_text(struct rate r, char out[PROGRESS_TEXT_BYTES])
{
	if (!r.known)
		(void)snprintf(out, PROGRESS_TEXT_BYTES, "-");
	else
		progress_rate((uint64_t)r.per_s, NS_PER_S, out);
	return out;
}

static void put_rates(struct top_screen *s, const struct top_view *v,
		      const struct top_sample *before, const struct top_sample *now)
{
	char t[6][PROGRESS_TEXT_BYTES];
	const struct rate in = sum(rate_of(before, now, "nvme_bytes_from_hosts"),
				   rate_of(before, now, "nvme_write_capsule_bytes"));

	(void)line(s, v, "block    reads %s, %s   writes %s, %s",
		   count_text(rate_of(before, now, "nvme_reads"), t[0]),
		   bytes_text(rate_of(before, now, "nvme_bytes_to_hosts"), t[1]),
		   count_text(rate_of(before, now, "nvme_writes"), t[2]), bytes_text(in, t[3]));
	(void)line(s, v, "direct   commits %s, %s   grants %s   (one-sided I/O: not counted)",
		   count_text(rate_of(before, now, "nvme_commits"), t[0]),
		   bytes_text(rate_of(before, now, "nvme_commit_bytes"), t[1]),
		   count_text(rate_of(before, now, "grants"), t[2]));
}

/* The same of the export that is looked into. */
static void put_export_rates(struct top_screen *s, const struct top_view *v,
			     const struct top_sample *before, const struct top_sample *now)
{
	struct json_object *a = counts_of(before, v->selected), *b = counts_of(now, v->selected);
	char t[4][PROGRESS_TEXT_BYTES];

	(void)line(s, v, "block    reads %s, %s   writes %s, %s   errors %llu",
		   count_text(rate_in(before, now, a, b, "block_reads"), t[0]),
		   bytes_text(rate_in(before, now, a, b, "block_read_bytes"), t[1]),
		   count_text(rate_in(before, now, a, b, "block_writes"), t[2]),
		   bytes_text(rate_in(before, now, a, b, "block_written_bytes"), t[3]),
		   (unsigned long long)number(b, "block_errors"));
	(void)line(s, v, "direct   commits %s, %s   grants %s   fenced %llu   away %.1f s",
		   count_text(rate_in(before, now, a, b, "commits"), t[0]),
		   bytes_text(rate_in(before, now, a, b, "committed_bytes"), t[1]),
		   count_text(rate_in(before, now, a, b, "grants_given"), t[2]),
		   (unsigned long long)number(b, "clients_fenced"),
		   (double)number(b, "away_ms") / 1e3);
}

/* At most so long, in few letters. */
static const char *bound_text(struct json_object *o, const char *key, char out[24])
{
	const double us = (double)number(o, key) / (double)NS_PER_US;

	if (!get(o, key))
		(void)snprintf(out, 24, "long");
	else if (us < 1000)
		(void)snprintf(out, 24, "%.0f us", us);
	else if (us < 1000000)
		(void)snprintf(out, 24, "%g ms", us / 1e3);
	else
		(void)snprintf(out, 24, "%g s", us / 1e6);
	return out;
}

static struct json_object *time_of(struct json_object *status, const char *name)
{
	struct json_object *times = get(status, "times");

	for (size_t i = 0; i < length(times); i++) {
		if (strcmp(text(at(times, i), "name"), name) == 0)
			return at(times, i);
	}
	return NULL;
}

static void put_recall_times(struct top_screen *s, const struct top_view *v,
			     const struct top_sample *now)
{
	struct json_object *wait = time_of(now->status, "recall_wait");
	struct json_object *answer = time_of(now->status, "recall_answer");
	const uint64_t recalls =
		number(now->stats, "recalls") + number(now->stats, "range_recalls");
	const uint64_t fenced =
		number(now->stats, "recalls_fenced") + number(now->stats, "range_recalls_fenced");
	char all[100] = "", answered[60] = "", a[24], b[24];

	if (number(wait, "count") > 0)
		(void)snprintf(all, sizeof(all), "   owners waited: half <= %s, 99%% <= %s",
			       bound_text(wait, "p50_ns", a), bound_text(wait, "p99_ns", b));
	if (number(answer, "count") > 0)
		(void)snprintf(answered, sizeof(answered), "   clients: half <= %s",
			       bound_text(answer, "p50_ns", a));
	(void)line(s, v, "recalls  %llu, %llu fenced%s%s", (unsigned long long)recalls,
		   (unsigned long long)fenced, all, answered);
}

static const char *limit_text(uint64_t limit, bool bytes, char out[PROGRESS_TEXT_BYTES])
{
	if (limit == 0 || limit > INT64_MAX / 2)
		(void)snprintf(out, PROGRESS_TEXT_BYTES, "no limit");
	else if (bytes)
		progress_bytes(limit, out);
	else
		(void)snprintf(out, PROGRESS_TEXT_BYTES, "%llu", (unsigned long long)limit);
	return out;
}

static void put_devices(struct top_screen *s, const struct top_view *v, struct json_object *devices)
{
	for (size_t i = 0; i < length(devices); i++) {
		struct json_object *d = at(devices, i);
		char name[128], size[PROGRESS_TEXT_BYTES], most[PROGRESS_TEXT_BYTES];
		char keys[PROGRESS_TEXT_BYTES];

		progress_bytes(number(d, "registered_bytes"), size);
		(void)line(s, v, "%-8s registered %llu of %s, %s of %s",
			   fit(text(d, "name"), 8, name),
			   (unsigned long long)number(d, "registrations"),
			   limit_text(number(d, "max_registrations"), false, keys), size,
			   limit_text(number(d, "max_registered_bytes"), true, most));
	}
}

/* ---- recalls in progress --------------------------------------------------------------------- */

static bool is_recalled(struct json_object *e)
{
	return strcmp(text(e, "state"), "recalling") == 0;
}

static bool range_is_recalled(struct json_object *e)
{
	struct json_object *t = get(e, "last_range_recall");

	return t && number(t, "proven_ns") == 0 && !is_recalled(e);
}

/* The first step that is not over. */
static const char *step_of(struct json_object *t)
{
	if (number(t, "fenced_ns"))
		return "fenced, its keys are killed";
	if (number(t, "told_ns") && !number(t, "released_ns"))
		return "clients were asked";
	if (!number(t, "drained_ns"))
		return "block work ends";
	return "its keys are killed";
}

static void put_recall(struct top_screen *s, const struct top_view *v, const struct top_sample *now,
		       struct json_object *e)
{
	const bool whole = is_recalled(e);
	struct json_object *t = get(e, whole ? "last_recall" : "last_range_recall");
	const uint64_t deadline =
		number(t, "seen_ns") +
		number(get(now->status, "daemon"), "recall_deadline_ms") * NS_PER_MS;
	const bool late = now->taken_ns > deadline;
	const double seconds =
		(double)(late ? now->taken_ns - deadline : deadline - now->taken_ns) /
		(double)NS_PER_S;
	char name[128], what[40] = "a range";

	if (whole)
		(void)snprintf(what, sizeof(what), "generation %llu",
			       (unsigned long long)number(e, "generation"));
	/* What matters most first: narrow screens cut off the rest. */
	line(s, v, "RECALL   %s: deadline %s%.1f s%s; %s, %llu clients, %s",
	     fit(text(e, "name"), 24, name), late ? "" : "in ", seconds, late ? " ago" : "",
	     whole ? step_of(t) : "clients were asked", (unsigned long long)number(t, "clients"),
	     what)
		->bold = true;
}

static void put_recalls(struct top_screen *s, const struct top_view *v,
			const struct top_sample *now, size_t most)
{
	struct json_object *exports = get(now->status, "exports");
	size_t n = 0;

	for (size_t i = 0; i < length(exports); i++) {
		struct json_object *e = at(exports, i);

		if (!is_recalled(e) && !range_is_recalled(e))
			continue;
		if (n++ < most)
			put_recall(s, v, now, e);
	}
	if (n > most)
		(void)line(s, v, "RECALL   and of %zu more", n - most);
}

static void put_head(struct top_screen *s, const struct top_view *v,
		     const struct top_sample *before, const struct top_sample *now)
{
	struct json_object *daemon = get(now->status, "daemon"), *exports, *clients;
	char up[PROGRESS_TEXT_BYTES];
	uint64_t grants = 0;
	size_t serving = 0;

	progress_time(number(daemon, "uptime_s") * NS_PER_S, up);
	line(s, v, "leasehold top   leaseholdd %s, pid %llu, up %s   every %g s   by %s",
	     text(daemon, "version"), (unsigned long long)number(daemon, "pid"), up,
	     (double)v->interval_ns / (double)NS_PER_S, top_sort_name(v->sort))
		->bold = true;
	if (v->stale)
		line(s, v, "WAITING: %s", v->stale)->reverse = true;
	exports = get(now->status, "exports");
	clients = get(now->status, "clients");
	for (size_t i = 0; i < length(exports); i++) {
		serving += strcmp(text(at(exports, i), "state"), "serving") == 0;
		grants += number(at(exports, i), "grants");
	}
	(void)line(s, v, "exports  %zu, %zu serving   clients %zu   grants %llu", length(exports),
		   serving, length(clients), (unsigned long long)grants);
	put_rates(s, v, before, now);
	put_recall_times(s, v, now);
	put_devices(s, v, get(now->status, "devices"));
	put_recalls(s, v, now, v->rows ? 3 : SIZE_MAX);
}

/* ---- lists ----------------------------------------------------------------------------------- */

static const char *rung_text(struct json_object *e)
{
	struct json_object *rungs = get(e, "rungs");

	for (size_t i = 1; i < length(rungs); i++) {
		if (strcmp(text(at(rungs, i), "rung"), text(at(rungs, 0), "rung")) != 0)
			return "mixed";
	}
	return length(rungs) ? text(at(rungs, 0), "rung") : "-";
}

static void put_export(struct top_screen *s, const struct top_view *v, struct json_object *e,
		       bool selected)
{
	char name[128], state[128], size[PROGRESS_TEXT_BYTES], backed[PROGRESS_TEXT_BYTES];
	char more[256] = "";
	struct top_line *l;

	progress_bytes(number(e, "size_bytes"), size);
	progress_bytes(number(e, "backed_bytes"), backed);
	if (v->columns >= WIDE)
		(void)snprintf(more, sizeof(more), " %10s %6llu  %.120s", backed,
			       (unsigned long long)number(e, "keys"), why_of(e));
	l = line(s, v, "%-18s %-10s %6llu %-6s %10s %6llu %7llu %7llu%s",
		 fit(text(e, "name"), 18, name), fit(text(e, "state"), 10, state),
		 (unsigned long long)number(e, "generation"), rung_text(e), size,
		 (unsigned long long)number(e, "grants"), (unsigned long long)number(e, "clients"),
		 (unsigned long long)recalls_of(e), more);
	l->reverse = selected;
}

/* So that the selected row is among those shown. */
static void scroll_to(struct top_view *v, size_t selected, size_t shown)
{
	if (selected < v->first)
		v->first = selected;
	if (shown > 0 && selected >= v->first + shown)
		v->first = selected - shown + 1;
}

static void put_exports(struct top_screen *s, struct top_view *v, const struct sorted *exports,
			size_t shown)
{
	line(s, v, "%-18s %-10s %6s %-6s %10s %6s %7s %7s%s", "EXPORT", "STATE", "GEN", "RUNG",
	     "SIZE", "GRANTS", "CLIENTS", "RECALLS",
	     v->columns >= WIDE ? "     BACKED   KEYS  WHY" : "")
		->bold = true;
	if (exports->count == 0)
		(void)line(s, v, "none: leasehold export add");
	if (v->rows)
		scroll_to(v, exports->selected, shown);
	if (v->first + shown > exports->count)
		v->first = exports->count > shown ? exports->count - shown : 0;
	for (size_t i = v->first; i < exports->count && i < v->first + shown; i++)
		put_export(s, v, exports->rows[i], v->rows && i == exports->selected);
}

static void put_clients(struct top_screen *s, const struct top_view *v, struct json_object *clients,
			size_t shown)
{
	line(s, v, "%6s %5s %6s %-8s %-22s %s", "CLIENT", "BLOCK", "DIRECT", "FABRIC", "ADDRESS",
	     "HOST")
		->bold = true;
	for (size_t i = 0; i < length(clients) && i < shown; i++) {
		struct json_object *c = at(clients, i);
		char address[128], host[128];

		if (i + 1 == shown && length(clients) > shown) {
			(void)line(s, v, "and %zu more", length(clients) - i);
			break;
		}
		(void)line(s, v, "%6llu %5llu %6llu %-8s %-22s %s",
			   (unsigned long long)number(c, "cntlid"),
			   (unsigned long long)number(c, "io_queues"),
			   (unsigned long long)number(c, "direct_queues"), text(c, "fabric"),
			   fit(text(c, "address"), 22, address),
			   fit(text(c, "hostnqn"), v->columns > 60 ? v->columns - 53 : 8, host));
	}
	if (length(clients) == 0)
		(void)line(s, v, "none");
}

static void put_lists(struct top_screen *s, struct top_view *v, const struct top_sample *now)
{
	struct sorted exports = sort_exports(v, get(now->status, "exports"));
	struct json_object *clients = get(now->status, "clients");
	size_t of_exports = exports.count, of_clients = length(clients), left;

	if (exports.count > 0)
		select_row(v, &exports, exports.selected);
	(void)line(s, v, "%s", "");
	if (v->rows) {
		/* Two heads, the gap between them, the last line. */
		left = v->rows > s->count + 4 ? v->rows - s->count - 4 : 1;
		of_clients = max_u64(of_clients, 1);
		if (of_exports + of_clients > left)
			of_clients = left > EXPORTS_LEAST
					     ? min_u64(of_clients,
						       max_u64(left / 3, left > of_exports
										 ? left - of_exports
										 : 0))
					     : 0;
		of_exports = left - of_clients;
	}
	put_exports(s, v, &exports, of_exports);
	if (of_clients > 0 || !v->rows) {
		(void)line(s, v, "%s", "");
		put_clients(s, v, clients, of_clients);
	}
	free(exports.rows);
}

/* ---- one export ------------------------------------------------------------------------------ */

static struct json_object *selected_export(const struct top_view *v, const struct top_sample *now)
{
	struct json_object *exports = get(now->status, "exports");

	for (size_t i = 0; i < length(exports); i++) {
		if (strcmp(text(at(exports, i), "name"), v->selected) == 0)
			return at(exports, i);
	}
	return NULL;
}

static double ms_between(struct json_object *t, const char *from, const char *to)
{
	const uint64_t a = number(t, from), b = number(t, to);

	return a && b > a ? (double)(b - a) / (double)NS_PER_MS : 0;
}

static void put_last_recall(struct top_screen *s, const struct top_view *v, struct json_object *t)
{
	if (!t)
		return;
	(void)line(s, v,
		   "last     generation %llu, %llu clients, %llu fenced: released %.1f ms, "
		   "unlocked %.1f ms, served %.1f ms",
		   (unsigned long long)number(t, "generation"),
		   (unsigned long long)number(t, "clients"),
		   (unsigned long long)number(t, "fenced_clients"),
		   ms_between(t, "seen_ns", "released_ns"), ms_between(t, "seen_ns", "unlocked_ns"),
		   ms_between(t, "seen_ns", "serving_ns"));
}

static void put_one(struct top_screen *s, const struct top_view *v, const struct top_sample *before,
		    const struct top_sample *now, struct json_object *e)
{
	char size[PROGRESS_TEXT_BYTES], backed[PROGRESS_TEXT_BYTES], left[PROGRESS_TEXT_BYTES];
	struct json_object *rungs = get(e, "rungs"), *reclaimed = get(e, "reclaimed");

	progress_bytes(number(e, "size_bytes"), size);
	progress_bytes(number(e, "backed_bytes"), backed);
	line(s, v, "%s: %s", v->selected, text(e, "path"))->bold = true;
	if (v->stale)
		line(s, v, "WAITING: %s", v->stale)->reverse = true;
	(void)line(s, v, "state    %s, generation %llu, by %s: %s", text(e, "state"),
		   (unsigned long long)number(e, "generation"), text(e, "tenure"), why_of(e));
	(void)line(s, v, "size     %s, backed %s   keys %llu   recalls %llu, of ranges %llu", size,
		   backed, (unsigned long long)number(e, "keys"),
		   (unsigned long long)number(e, "recalls"),
		   (unsigned long long)number(e, "range_recalls"));
	put_export_rates(s, v, before, now);
	for (size_t i = 0; i < length(rungs); i++) {
		struct json_object *r = at(rungs, i);

		progress_bytes(number(r, "registered_bytes"), left);
		(void)line(s, v, "%-8.8s %s, registered %llu, %s%s%s", text(r, "device"),
			   text(r, "rung"), (unsigned long long)number(r, "registrations"), left,
			   text(r, "why")[0] ? ": " : "", text(r, "why"));
	}
	for (size_t i = 0; i < length(reclaimed); i++) {
		struct json_object *r = at(reclaimed, i);

		(void)line(s, v, "RECLAIM  %llu bytes at %llu, for another %.1f s",
			   (unsigned long long)number(r, "length"),
			   (unsigned long long)number(r, "offset"),
			   (double)number(r, "left_ms") / 1e3);
	}
	put_last_recall(s, v, get(e, "last_recall"));
	if (is_recalled(e) || range_is_recalled(e))
		put_recall(s, v, now, e);
}

/* A line for each client that holds some of it. */
static void put_holders(struct top_screen *s, const struct top_view *v, struct json_object *grants)
{
	line(s, v, "%6s %6s %10s  %s", "CLIENT", "GRANTS", "BYTES", "HOST")->bold = true;
	for (size_t i = 0; i < length(grants); i++) {
		const uint64_t id = number(at(grants, i), "cntlid");
		uint64_t n = 0, bytes = 0;
		char size[PROGRESS_TEXT_BYTES], host[128];
		bool known = false;

		for (size_t k = 0; k < length(grants); k++) {
			struct json_object *g = at(grants, k);

			if (number(g, "cntlid") != id)
				continue;
			known |= k < i;
			n++;
			bytes += number(g, "length");
		}
		if (known)
			continue;
		progress_bytes(bytes, size);
		(void)line(s, v, "%6llu %6llu %10s  %s", (unsigned long long)id,
			   (unsigned long long)n, size,
			   fit(text(at(grants, i), "hostnqn"),
			       v->columns > 40 ? v->columns - 27 : 13, host));
	}
	if (length(grants) == 0)
		(void)line(s, v, "nobody holds any of it");
}

static void put_grants(struct top_screen *s, struct top_view *v, const struct top_sample *now)
{
	const size_t all = length(now->grants);
	/* Its head and the last line of the screen. */
	const size_t shown = v->rows ? (v->rows > s->count + 2 ? v->rows - s->count - 2 : 1) : all;

	line(s, v, "%6s %16s %10s %-10s %-10s %-16s %s", "CLIENT", "OFFSET", "LENGTH", "ACCESS",
	     "STATE", "DURABILITY", now->more_grants ? "(the first)" : "")
		->bold = true;
	if (v->first + shown > all)
		v->first = all > shown ? all - shown : 0;
	for (size_t i = v->first; i < all && i < v->first + shown; i++) {
		struct json_object *g = at(now->grants, i);
		char size[PROGRESS_TEXT_BYTES];

		progress_bytes(number(g, "length"), size);
		(void)line(s, v, "%6llu %16llu %10s %-10s %-10s %s",
			   (unsigned long long)number(g, "cntlid"),
			   (unsigned long long)number(g, "offset"), size, text(g, "access"),
			   text(g, "state"), text(g, "durability"));
	}
}

static void put_inside(struct top_screen *s, struct top_view *v, const struct top_sample *before,
		       const struct top_sample *now)
{
	struct json_object *e = selected_export(v, now);

	if (!e) {
		line(s, v, "%s: is no export any more", v->selected)->bold = true;
		if (v->stale)
			line(s, v, "WAITING: %s", v->stale)->reverse = true;
		return;
	}
	put_one(s, v, before, now, e);
	(void)line(s, v, "%s", "");
	put_holders(s, v, now->grants);
	(void)line(s, v, "%s", "");
	put_grants(s, v, now);
}

/* ---- the screen ------------------------------------------------------------------------------ */

static void put_help(struct top_screen *s, const struct top_view *v)
{
	static const char *const lines[] = {
		"Up, Down, PgUp, PgDn, Home, End   select an export; scroll in one",
		"Enter, Right                      one export: its adapters, clients, grants",
		"Esc, Left, Backspace              back to all of them",
		"s                                 sort by name, state, grants, recalls, size",
		"r                                 reclaim the export from its clients (asks "
		"first)",
		"space                             look again now",
		"q                                 quit",
		"",
		"Rates are of block commands and of commits. What clients read and write with "
		"grants",
		"goes past this machine's processors, so nobody counts it here.",
		"registered: what of the adapter's budget is used, in registrations and in bytes.",
		"RECALL: who owns the file waits for its blocks; at the deadline clients are cut "
		"off.",
		"",
		"Any key goes back.",
	};

	line(s, v, "leasehold top: keys")->bold = true;
	(void)line(s, v, "%s", "");
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		(void)line(s, v, "%s", lines[i]);
}

/* Exactly as many lines as there are rows; the last is the message or the keys. */
static void put_foot(struct top_screen *s, const struct top_view *v)
{
	const char *keys = v->inside ? "q quit   Esc back   up/down scroll   r reclaim   ? help"
				     : "q quit   s sort   Enter look into   r reclaim   ? help";

	if (!v->rows)
		return;
	if (s->count > v->rows - 1)
		s->count = v->rows - 1;
	while (s->count < v->rows - 1)
		(void)line(s, v, "%s", "");
	line(s, v, "%s", v->message ? v->message : keys)->reverse = v->message != NULL;
}

void top_render(struct top_view *v, const struct top_sample *before, const struct top_sample *now,
		struct top_screen *s)
{
	s->count = 0;
	if (v->help) {
		put_help(s, v);
	} else if (!now->status) {
		line(s, v, "leasehold top")->bold = true;
		line(s, v, "WAITING: %s", v->stale ? v->stale : "for the daemon")->reverse = true;
	} else if (v->inside) {
		put_inside(s, v, before, now);
	} else {
		put_head(s, v, before, now);
		put_lists(s, v, now);
	}
	put_foot(s, v);
}

void top_screen_free(struct top_screen *s)
{
	free(s->lines);
	*s = (struct top_screen){0};
}

void top_sample_free(struct top_sample *sample)
{
	(void)json_object_put(sample->status);
	(void)json_object_put(sample->stats);
	(void)json_object_put(sample->grants);
	*sample = (struct top_sample){0};
}
