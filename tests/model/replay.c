// SPDX-License-Identifier: BSD-3-Clause
/*
 * replay FILE...: traces of the model (tests/model/run makes them), done by recall.c. A line "begin" is
 * a new machine, "step EVENT PHASE BEFORE MASK WAKE AFTER" one step: see drive.h. Fails at the first
 * step that comes out otherwise, and if there is a state or an event that no trace has.
 */
#include "drive.h"

#include <stdio.h>
#include <string.h>

#define STATE_MASK 7

struct tally {
	unsigned int runs, steps, states, events;
	unsigned int pairs[RECALL_STATES]; /* events that came in each state */
};

static bool replay_line(const char *line, struct drive *d, struct tally *t)
{
	struct drive_step s;

	if (strcmp(line, "begin\n") == 0) {
		drive_init(d);
		t->runs++;
		return true;
	}
	if (sscanf(line, "step %d %d %d %d %d %d", &s.event, &s.phase, &s.before, &s.mask, &s.wake,
		   &s.after) != 6)
		return false;
	if (!drive_step(d, &s))
		return false;
	t->steps++;
	t->states |= 1u << (s.before & STATE_MASK);
	t->events |= 1u << s.event;
	t->pairs[s.before & STATE_MASK] |= 1u << s.event;
	return true;
}

static bool replay(const char *path, struct tally *t)
{
	FILE *file = fopen(path, "r");
	struct drive d;
	char line[128];
	unsigned int n = 0;
	bool ok = true;

	if (!file) {
		perror(path);
		return false;
	}
	drive_init(&d);
	while (ok && fgets(line, sizeof(line), file)) {
		n++;
		ok = replay_line(line, &d, t);
	}
	if (!ok)
		(void)fprintf(stderr, "%s:%u: %s", path, n, line);
	(void)fclose(file);
	return ok;
}

int main(int argc, char **argv)
{
	struct tally t = {0};
	unsigned int pairs = 0;

	for (int i = 1; i < argc; i++) {
		if (!replay(argv[i], &t))
			return 1;
	}
	for (int i = 0; i < RECALL_STATES; i++)
		pairs += (unsigned int)__builtin_popcount(t.pairs[i]);
	printf("%u runs, %u steps, %u of %d pairs of state and event\n", t.runs, t.steps, pairs,
	       RECALL_STATES * RECALL_EVENTS);
	if (t.states != (1u << RECALL_STATES) - 1 || t.events != (1u << RECALL_EVENTS) - 1) {
		(void)fprintf(stderr, "a state or an event is in no trace\n");
		return 1;
	}
	return 0;
}
