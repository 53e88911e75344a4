// SPDX-License-Identifier: BSD-3-Clause
/*
 * replay FILE...: traces of the models (tests/model/run makes them), done by recall.c and range_recall.c.
 * A line "begin" is a new machine, "step EVENT PHASE BEFORE MASK WAKE AFTER" one step of it: see drive.h;
 * "range" and the same, one of a range's: see range_drive.h. Fails at the first step that comes out
 * otherwise, and if there is a state or an event that no trace has.
 */
#include "drive.h"
#include "range_drive.h"

#include <stdio.h>
#include <string.h>

#define STATE_MASK 7
#define MAX_STATES 8

/* Of one kind of machine. */
struct tally {
	unsigned int steps, states, events;
	unsigned int pairs[MAX_STATES]; /* events that came in each state */
};

struct replay {
	struct drive whole;
	struct range_drive range;
	bool begins; /* which of the two, and of what kind, its first step says */
	unsigned int runs;
	struct tally of_whole, of_range;
};

static void count(struct tally *t, int before, int event)
{
	t->steps++;
	t->states |= 1u << (before & STATE_MASK);
	t->events |= 1u << event;
	t->pairs[before & STATE_MASK] |= 1u << event;
}

static bool replay_step(struct replay *r, const char *line)
{
	struct drive_step s;

	if (sscanf(line, "step %d %d %d %d %d %d", &s.event, &s.phase, &s.before, &s.mask, &s.wake,
		   &s.after) != 6)
		return false;
	if (r->begins)
		drive_init(&r->whole);
	r->begins = false;
	if (!drive_step(&r->whole, &s))
		return false;
	count(&r->of_whole, s.before, s.event);
	return true;
}

static bool replay_range_step(struct replay *r, const char *line)
{
	struct range_drive_step s;

	if (sscanf(line, "range %d %d %d %d %d %d", &s.event, &s.phase, &s.before, &s.mask, &s.wake,
		   &s.after) != 6)
		return false;
	if (r->begins)
		range_drive_init(&r->range, range_drive_grants_only(&s));
	r->begins = false;
	if (!range_drive_step(&r->range, &s))
		return false;
	count(&r->of_range, s.before, s.event);
	return true;
}

static bool replay_line(struct replay *r, const char *line)
{
	if (strcmp(line, "begin\n") != 0)
		return line[0] == 'r' ? replay_range_step(r, line) : replay_step(r, line);
	r->begins = true;
	r->runs++;
	return true;
}

static bool replay(struct replay *r, const char *path)
{
	FILE *file = fopen(path, "r");
	char line[128];
	unsigned int n = 0;
	bool ok = true;

	if (!file) {
		perror(path);
		return false;
	}
	while (ok && fgets(line, sizeof(line), file)) {
		n++;
		ok = replay_line(r, line);
	}
	if (!ok)
		(void)fprintf(stderr, "%s:%u: %s", path, n, line);
	(void)fclose(file);
	return ok;
}

/* Whether each state and each event was there. */
static bool sum_up(const struct tally *t, const char *what, unsigned int states,
		   unsigned int events)
{
	unsigned int pairs = 0;

	for (unsigned int i = 0; i < states; i++)
		pairs += (unsigned int)__builtin_popcount(t->pairs[i]);
	printf("; %s: %u steps, %u of %u pairs of state and event", what, t->steps, pairs,
	       states * events);
	return t->states == (1u << states) - 1 && t->events == (1u << events) - 1;
}

int main(int argc, char **argv)
{
	struct replay r = {.begins = true};
	bool all;

	for (int i = 1; i < argc; i++) {
		if (!replay(&r, argv[i]))
			return 1;
	}
	printf("%u runs", r.runs);
	all = sum_up(&r.of_whole, "the whole", RECALL_STATES, RECALL_EVENTS);
	all = sum_up(&r.of_range, "a range", RANGE_STATES, RANGE_EVENTS) && all;
	printf("\n");
	if (!all)
		(void)fprintf(stderr, "a state or an event is in no trace\n");
	return all ? 0 : 1;
}
