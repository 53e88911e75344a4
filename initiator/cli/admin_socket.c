// SPDX-License-Identifier: BSD-3-Clause
/* A request over the daemon's admin socket. Main thread; keeps nothing open. */
#include "admin_socket.h"

#include "util/runtime_dir.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (16u << 20)
#define ANSWER_MS  10000

static int open_socket(const char *path, int *out, struct errtext *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path))
		return errtext_set(err, EXIT_USAGE, "%s: too long for a socket", path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errtext_set(err, EXIT_FAILED, "socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		const int why = errno;

		(void)close(fd);
		return errtext_set(err, EXIT_NO_CONNECT, "no daemon answers at %s (%s): %s", path,
				   strerror(why),
				   why == EACCES
					   ? "ask as the user that runs leaseholdd"
					   : "is leaseholdd running? Its `admin_socket` may be "
					     "elsewhere: give --socket PATH");
	}
	*out = fd;
	return 0;
}

/* Reads to the newline; the answer is a string for free(3). */
static char *read_line(int fd, int ms)
{
	size_t room = 65536, have = 0;
	char *text = malloc(room);

	while (text) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		ssize_t n;
		char *end;

		if (poll(&pfd, 1, ms) <= 0)
			break;
		n = read(fd, text + have, room - have - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		text[have + (size_t)n] = '\0';
		end = strchr(text + have, '\n');
		have += (size_t)n;
		if (end) {
			*end = '\0';
			return text;
		}
		if (have + 1 == room) {
			char *more = room < ANSWER_MAX ? realloc(text, room * 2) : NULL;

			if (!more)
				break;
			text = more;
			room *= 2;
		}
	}
	free(text);
	return NULL;
}

static int take_answer(const char *path, const char *line, struct json_object **result,
		       struct errtext *err)
{
	struct json_object *answer = json_tokener_parse(line), *ok, *part;
	int rc = 0;

	if (!answer || !json_object_object_get_ex(answer, "ok", &ok)) {
		(void)json_object_put(answer);
		return errtext_set(err, EXIT_FAILED,
				   "%s answers what is not understood here: is the daemon "
				   "of another version?",
				   path);
	}
	if (json_object_get_boolean(ok) && json_object_object_get_ex(answer, "result", &part))
		*result = json_object_get(part);
	else if (json_object_object_get_ex(answer, "error", &part))
		rc = errtext_set(err, EXIT_FAILED, "%s", json_object_get_string(part));
	else
		rc = errtext_set(err, EXIT_FAILED, "the daemon says no, and not why");
	(void)json_object_put(answer);
	return rc;
}

struct json_object *admin_socket_command(const char *command)
{
	struct json_object *request = json_object_new_object();

	(void)json_object_object_add(request, "v", json_object_new_int(1));
	(void)json_object_object_add(request, "cmd", json_object_new_string(command));
	return request;
}

/* A daemon that ends just now is no reason to die of a signal, without a word. */
static bool send_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		text += n;
		len -= (size_t)n;
	}
	return true;
}

static char *exchange(int fd, struct json_object *request, int ms)
{
	const char *line = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);

	if (!send_all(fd, line, strlen(line)) || !send_all(fd, "\n", 1))
		return NULL;
	return read_line(fd, ms);
}

int admin_socket_try(const char *path, struct json_object *request, int ms,
		     struct json_object **result, struct errtext *err)
{
	char standard[sizeof(((struct sockaddr_un *)NULL)->sun_path)], *line = NULL;
	int fd = -1, rc;

	if (!path) {
		runtime_admin_socket(standard, sizeof(standard));
		path = standard;
	}
	rc = open_socket(path, &fd, err);
	if (rc == 0) {
		assert(fd >= 0);
		line = exchange(fd, request, ms);
		(void)close(fd);
		rc = line ? take_answer(path, line, result, err)
			  : errtext_set(err, EXIT_FAILED,
					"%s did not answer: look at the daemon's log", path);
	}
	free(line);
	(void)json_object_put(request);
	return rc;
}

int admin_socket_wait(const char *path, struct json_object *request, int ms,
		      struct json_object **result)
{
	struct errtext err;
	int rc = admin_socket_try(path, request, ms, result, &err);

	return rc ? cli_failf(rc, "%s", err.text) : 0;
}

int admin_socket_request(const char *path, struct json_object *request, struct json_object **result)
{
	return admin_socket_wait(path, request, ANSWER_MS, result);
}

int admin_socket_ask(const char *path, const char *command, struct json_object **result)
{
	return admin_socket_request(path, admin_socket_command(command), result);
}
