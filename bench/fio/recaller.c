// SPDX-License-Identifier: BSD-3-Clause
/*
 * The landlord of recaller.h. One connection, one request at a time; when an answer takes longer than
 * the time between two, the next goes out at once, and what was missed is not made up for.
 */
#include "recaller.h"

#include "util/runtime_dir.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES 65536u
#define ANSWER_MS    60000
#define GRAIN	     KIB(4) /* what a range is made of, as grants are */

struct recaller {
	char *export_name;
	uint64_t offset, steps, bytes; /* begins at offset + a step * GRAIN */
	uint64_t period_ns;
	uint64_t random;
	int fd;
	int stop_fd;
	pthread_t thread;
	_Atomic int error;
	uint64_t count; /* these two are the thread's until it has ended */
	char why[RECALLER_TEXT_BYTES];
};

/* ---- the socket -------------------------------------------------------------------------------- */

static int open_socket(const char *path, char *why)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (!path)
		runtime_admin_socket(addr.sun_path, sizeof(addr.sun_path));
	else if (strlen(path) < sizeof(addr.sun_path))
		memcpy(addr.sun_path, path, strlen(path) + 1);
	else {
		(void)snprintf(why, RECALLER_TEXT_BYTES, "admin_socket=%s: too long for a socket",
			       path);
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		(void)snprintf(why, RECALLER_TEXT_BYTES,
			       "recall_rate: no daemon answers at %s (%s): it must run on this "
			       "machine; admin_socket= says where its socket is",
			       addr.sun_path, strerror(errno));
		if (fd >= 0)
			(void)close(fd);
		return -1;
	}
	return fd;
}

/* One line back, without its end. -ECANCELED: we are to stop. */
static int read_line(const struct recaller *r, char *text, size_t room)
{
	size_t have = 0;

	for (;;) {
		struct pollfd fds[2] = {{.fd = r->fd, .events = POLLIN},
					{.fd = r->stop_fd, .events = POLLIN}};
		ssize_t n;

		if (poll(fds, 2, ANSWER_MS) == 0)
			return -ETIMEDOUT;
		if (fds[1].revents)
			return -ECANCELED;
		if (have + 1 == room)
			return -EMSGSIZE;
		n = read(r->fd, text + have, room - have - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		have += (size_t)n;
		text[have] = '\0';
		if (text[have - 1] == '\n') {
			text[have - 1] = '\0';
			return 0;
		}
	}
}

/* What the answer says: 0, or -EIO with the daemon's sentence. */
static int take_answer(struct recaller *r, const char *line)
{
	struct json_object *answer = json_tokener_parse(line), *ok = NULL, *error = NULL;
	int rc = 0;

	if (!answer || !json_object_object_get_ex(answer, "ok", &ok) ||
	    !json_object_get_boolean(ok)) {
		(void)json_object_object_get_ex(answer, "error", &error);
		(void)snprintf(r->why, sizeof(r->why), "recall_rate: the daemon says no: %s",
			       error ? json_object_get_string(error) : "and not why");
		rc = -EIO;
	}
	(void)json_object_put(answer);
	return rc;
}

/* Sends a request (freed) and reads its answer. */
static int exchange(struct recaller *r, struct json_object *request)
{
	char line[ANSWER_BYTES];
	int length = snprintf(line, sizeof(line), "%s\n",
			      json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN));
	int rc = 0;

	(void)json_object_put(request);
	/* It is short enough to go out whole or not at all. */
	if (send(r->fd, line, (size_t)length, MSG_NOSIGNAL) < 0)
		rc = -errno;
	if (rc == 0)
		rc = read_line(r, line, sizeof(line));
	if (rc < 0) {
		(void)snprintf(r->why, sizeof(r->why),
			       "recall_rate: the daemon did not answer on its admin socket: %s",
			       strerror(-rc));
		return rc;
	}
	return take_answer(r, line);
}

static int reclaim(struct recaller *r, uint64_t offset)
{
	struct json_object *request = json_object_new_object();

	(void)json_object_object_add(request, "v", json_object_new_int(1));
	(void)json_object_object_add(request, "cmd", json_object_new_string("reclaim"));
	(void)json_object_object_add(request, "name", json_object_new_string(r->export_name));
	(void)json_object_object_add(request, "offset", json_object_new_uint64(offset));
	(void)json_object_object_add(request, "length", json_object_new_uint64(r->bytes));
	return exchange(r, request);
}

/* ---- the thread -------------------------------------------------------------------------------- */

static uint64_t next_random(struct recaller *r)
{
	r->random ^= r->random << 13;
	r->random ^= r->random >> 7;
	r->random ^= r->random << 17;
	return r->random;
}

/* Sleeps until then. False: it is to stop. */
static bool sleep_until(const struct recaller *r, uint64_t when_ns)
{
	const uint64_t now = now_ns(), left = when_ns > now ? when_ns - now : 0;
	const struct timespec ts = {.tv_sec = (time_t)(left / NS_PER_S),
				    .tv_nsec = (long)(left % NS_PER_S)};
	struct pollfd pfd = {.fd = r->stop_fd, .events = POLLIN};

	return ppoll(&pfd, 1, &ts, NULL) == 0;
}

static void *recall(void *arg)
{
	struct recaller *r = arg;
	uint64_t next = now_ns() + r->period_ns;

	while (sleep_until(r, next)) {
		int rc = reclaim(r, r->offset + next_random(r) % r->steps * GRAIN);

		if (rc == -ECANCELED)
			break;
		if (rc < 0) {
			atomic_store(&r->error, rc);
			return NULL;
		}
		r->count++;
		next = max_u64(next + r->period_ns, now_ns());
	}
	r->why[0] = '\0';
	return NULL;
}

/* ---- birth and end ----------------------------------------------------------------------------- */

static void free_it(struct recaller *r)
{
	if (r->fd >= 0)
		(void)close(r->fd);
	if (r->stop_fd >= 0)
		(void)close(r->stop_fd);
	free(r->export_name);
	free(r);
}

struct recaller *recaller_start(const struct recaller_param *param, char *why)
{
	struct recaller *r = calloc(1, sizeof(*r));

	if (!r) {
		(void)snprintf(why, RECALLER_TEXT_BYTES, "recall_rate: out of memory");
		return NULL;
	}
	r->offset = align_up(param->offset, GRAIN);
	r->bytes = max_u64(align_down(min_u64(param->bytes, param->length), GRAIN), GRAIN);
	r->steps = 1;
	if (param->offset + param->length > r->offset + r->bytes)
		r->steps += (param->offset + param->length - r->offset - r->bytes) / GRAIN;
	r->period_ns = NS_PER_S / param->per_second;
	r->random = param->seed | 1;
	r->export_name = strdup(param->export_name);
	r->stop_fd = eventfd(0, EFD_CLOEXEC);
	r->fd = open_socket(param->socket, why);
	if (r->fd < 0) {
		free_it(r);
		return NULL;
	}
	if (!r->export_name || r->stop_fd < 0 || pthread_create(&r->thread, NULL, recall, r) != 0) {
		(void)snprintf(why, RECALLER_TEXT_BYTES, "recall_rate: no thread could be started");
		free_it(r);
		return NULL;
	}
	return r;
}

int recaller_error(struct recaller *r)
{
	return atomic_load_explicit(&r->error, memory_order_relaxed);
}

uint64_t recaller_stop(struct recaller *r, char *why)
{
	const uint64_t one = 1;
	uint64_t count;

	why[0] = '\0';
	if (!r)
		return 0;
	(void)!write(r->stop_fd, &one, sizeof(one));
	(void)pthread_join(r->thread, NULL);
	count = r->count;
	(void)snprintf(why, RECALLER_TEXT_BYTES, "%s", r->why);
	free_it(r);
	return count;
}
