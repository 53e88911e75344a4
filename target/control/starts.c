// SPDX-License-Identifier: BSD-3-Clause
/*
 * How often the daemon was started, and how often it ended without a word (killed, or the machine
 * with it): <state_dir>/daemon/starts. The main thread, before the control loop runs and after it has
 * ended. A lock on the folder keeps a second daemon of the same state directory from counting.
 */
#include "control.h"

#include "util/state_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define FOLDER	   "daemon"
#define NAME	   "starts"
#define TEXT_BYTES 128

/* "NAME NUMBER\n", and on to the next line. */
static bool take_line(const char **text, const char *name, uint64_t *value)
{
	const char *from = *text;
	size_t length = strlen(name);
	char *end;

	if (strncmp(from, name, length) != 0 || from[length] != ' ' || from[length + 1] < '0' ||
	    from[length + 1] > '9')
		return false;
	errno = 0;
	*value = strtoull(from + length + 1, &end, 10);
	if (errno || *end != '\n')
		return false;
	*text = end + 1;
	return true;
}

static int load(int folder, struct starts *s, bool *running)
{
	uint64_t starts, unclean, runs;
	char text[TEXT_BYTES];
	const char *at = text;
	int err = state_file_read(folder, NAME, text, sizeof(text));

	if (err == -ENOENT) {
		*running = false;
		return 0;
	}
	if (err)
		return err;
	if (!take_line(&at, "starts", &starts) || !take_line(&at, "unclean", &unclean) ||
	    !take_line(&at, "running", &runs) || *at || runs > 1 || unclean > starts)
		return -EBADMSG;
	s->all = starts;
	s->unclean = unclean;
	*running = runs == 1;
	return 0;
}

static int store(const struct starts *s, bool running)
{
	char text[TEXT_BYTES];

	(void)snprintf(text, sizeof(text), "starts %" PRIu64 "\nunclean %" PRIu64 "\nrunning %d\n",
		       s->all, s->unclean, running);
	return state_file_write(s->folder, NAME, text);
}

int starts_begin(const char *state_dir, struct starts *s)
{
	bool running = false;
	int err;

	*s = (struct starts){.folder = -1};
	if (state_dir[0] == '\0')
		return 0;
	*s = (struct starts){.folder = state_folder_open(state_dir, FOLDER)};
	if (s->folder < 0)
		return s->folder;
	err = flock(s->folder, LOCK_EX | LOCK_NB) ? -errno : load(s->folder, s, &running);
	if (!err) {
		s->all++;
		s->unclean += running;
		err = store(s, true);
	}
	if (!err)
		return 0;
	(void)close(s->folder);
	*s = (struct starts){.folder = -1};
	return err;
}

int starts_end(struct starts *s)
{
	int err;

	if (s->folder < 0)
		return 0;
	err = store(s, false);
	(void)close(s->folder);
	s->folder = -1;
	return err;
}
