// SPDX-License-Identifier: BSD-3-Clause
/* See promises.h. */
#include "promises.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *uri, *path;
struct lh_client *client;
struct lh_export *ex;
struct lh_error err;
sem_t go;
_Atomic bool keep;
uint8_t written[PIECE], got[PIECE];

void broken(const char *file, int line, const char *what)
{
	(void)fprintf(stderr, "%s:%d: not so: %s (%s)\n", file, line, what, err.text);
	exit(1);
}

void on_event(const struct lh_event *event, void *user)
{
	(void)user;
	if (event->kind == LH_EVENT_TOLD && atomic_load(&keep))
		while (sem_wait(&go) < 0 && errno == EINTR)
			;
}

void begin(struct lh_options options)
{
	must(lh_open(uri, &options, &client, &ex, &err) == 0);
	lh_export_on_event(ex, on_event, NULL);
}

int end(void)
{
	int rc = lh_export_close(ex);

	lh_client_close(client);
	return rc;
}

uint64_t stat_of(size_t field)
{
	struct lh_stats s;
	uint64_t value;

	lh_export_stats(ex, &s);
	memcpy(&value, (const uint8_t *)&s + field, sizeof(value));
	return value;
}

uint64_t confirmations(void)
{
	return STAT(commits) + STAT(confirming_reads) + STAT(confirming_flushes);
}

void wait_stat(size_t field, uint64_t least, const char *name)
{
	const struct timespec ts = {.tv_nsec = 5 * (long)NS_PER_MS};
	const uint64_t until = now_ns() + WAIT_NS;

	while (stat_of(field) < least) {
		if (now_ns() > until)
			broken(__FILE_NAME__, __LINE__, name);
		(void)nanosleep(&ts, NULL);
	}
}

void write_directly(uint64_t offset)
{
	static uint8_t passing[PIECE];
	const uint64_t direct = STAT(direct_write_bytes), fallbacks = STAT(fallbacks);

	random_bytes(written, sizeof(written));
	memcpy(passing, written, sizeof(written));
	must(lh_write(ex, offset, passing, sizeof(passing), &err) == 0);
	memset(passing, 0, sizeof(passing));
	must(STAT(direct_write_bytes) == direct + sizeof(written));
	must(STAT(fallbacks) == fallbacks);
}

bool is_there(uint64_t offset)
{
	must(lh_block_read(ex, offset, got, sizeof(got), &err) == 0);
	return memcmp(got, written, sizeof(got)) == 0;
}

void fence_and_lose(uint64_t offset)
{
	static const uint8_t zeros[PIECE];
	int fd;

	must(STAT(fenced) == 0);
	atomic_store(&keep, true);
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(fd >= 0);
	must(pwrite(fd, zeros, sizeof(zeros), (off_t)offset) == (ssize_t)sizeof(zeros));
	must(close(fd) == 0);
	atomic_store(&keep, false);
	must(STAT(fenced) == 0); /* the keeper has had no turn */
}

void go_on(void)
{
	must(sem_post(&go) == 0);
	WAIT_STAT(fenced, 1);
}

struct lh_hold *hold(uint64_t offset, uint64_t length)
{
	struct lh_hold *h;

	must(lh_hold(ex, offset, length, LH_READ | LH_WRITE, 0, &h, &err) == 0);
	return h;
}

void wait_granted(struct lh_hold *h)
{
	const struct timespec ts = {.tv_nsec = 5 * (long)NS_PER_MS};
	const uint64_t until = now_ns() + WAIT_NS;
	struct lh_hold_info info;

	for (lh_hold_info(h, &info); info.granted_bytes < info.length; lh_hold_info(h, &info)) {
		must(now_ns() < until);
		(void)nanosleep(&ts, NULL);
	}
}
