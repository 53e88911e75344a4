// SPDX-License-Identifier: BSD-3-Clause
/*
 * The admin socket: connections, lines in, lines out. Control loop only; never blocks. Recalls run on
 * the same loop, so one request is answered a turn, whoever asks however much: connections that have
 * one stand in a queue. A client that does not read its answers is not read any more, and nothing
 * more is answered to it, until it does. A request may take its time: the next line of its connection
 * waits for the answer, other connections do not.
 *
 *   → {"v":1,"cmd":"status"}
 *   ← {"v":1,"ok":true,"result":{…}}        or {"v":1,"ok":false,"error":"sentence"}
 */
#include "control/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ADMIN_VERSION		1
#define ADMIN_MAX_CONNECTIONS	32
#define ADMIN_MAX_REQUEST_BYTES 65536
#define ADMIN_MAX_UNREAD_BYTES	KIB(64) /* of answers, by one client: then it gets no more of them */

struct admin {
	struct admin_env env;
	struct loop_fd listener;
	char path[PATH_MAX];
	struct list connections; /* the one that was silent for longest first */
	unsigned int nr_connections;
	struct list
		waiting; /* connections with a request to be answered, the first one's turn next */
	struct loop_timer turn; /* armed while somebody waits */
};

struct admin_connection {
	struct loop_fd lfd;
	struct admin *admin;
	struct list link;
	struct list waiting_link;
	bool waits;
	char request[ADMIN_MAX_REQUEST_BYTES];
	size_t request_begin, request_end; /* what is there of it */
	char *answer;			   /* what could not be written yet */
	size_t answer_bytes;
	struct admin_call *call; /* the request that is being answered */
	bool asking;		 /* its verb has not returned */
	bool broken;
	bool ended; /* the client will not say more */
};

struct admin_call {
	struct admin_connection *connection; /* NULL: gone, perhaps with the admin socket */
};

const struct admin_env *admin_call_env(const struct admin_call *call)
{
	return call->connection ? &call->connection->admin->env : NULL;
}

static void connection_close(struct admin_connection *c)
{
	loop_del_fd(c->admin->env.control, &c->lfd);
	(void)close(c->lfd.fd);
	list_del(&c->link);
	if (c->waits)
		list_del(&c->waiting_link);
	c->admin->nr_connections--;
	if (c->call)
		c->call->connection = NULL;
	free(c->answer);
	free(c);
}

static void connection_touch(struct admin_connection *c)
{
	list_del(&c->link);
	list_push(&c->admin->connections, &c->link);
}

/** Somebody may keep connections and ask nothing: who comes when all are taken gets the oldest. */
static bool make_room(struct admin *a)
{
	struct list *l;

	if (a->nr_connections < ADMIN_MAX_CONNECTIONS)
		return true;
	list_for_each (l, &a->connections) {
		struct admin_connection *c = list_entry(l, struct admin_connection, link);

		if (c->call || c->waits)
			continue;
		connection_close(c);
		return true;
	}
	return false;
}

/** The end of its first whole line, or NULL. */
static char *connection_line_end(struct admin_connection *c)
{
	return memchr(c->request + c->request_begin, '\n', c->request_end - c->request_begin);
}

/** May another request of it be begun? */
static bool connection_has_room(const struct admin_connection *c)
{
	return !c->call && c->answer_bytes <= ADMIN_MAX_UNREAD_BYTES;
}

/**
 * Has it stand in the queue, or says what is waited for: the next request, once this one is answered
 * and there is room for another answer; that the client reads. False: it is to be closed.
 */
static bool connection_watch(struct admin_connection *c)
{
	struct admin *a = c->admin;
	uint32_t events = c->answer_bytes ? EPOLLOUT : 0;

	if (!c->waits && connection_has_room(c)) {
		if (connection_line_end(c)) {
			c->waits = true;
			list_push(&a->waiting, &c->waiting_link);
			if (!loop_timer_armed(&a->turn))
				loop_timer_set(a->env.control, &a->turn, now_ns());
		} else if (!c->ended) {
			events |= EPOLLIN;
		} else if (c->answer_bytes == 0) {
			return false;
		}
	}
	return loop_mod_fd(a->env.control, &c->lfd, events) == 0;
}

/** Writes what it can and keeps the rest. False: the connection is to be closed. */
static bool connection_send(struct admin_connection *c, const char *text, size_t len)
{
	char *joined;

	if (c->answer_bytes == 0) {
		ssize_t n = send(c->lfd.fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	if (len == 0)
		return true;
	joined = realloc(c->answer, c->answer_bytes + len);
	if (!joined)
		return false;
	memcpy(joined + c->answer_bytes, text, len);
	c->answer = joined;
	c->answer_bytes += len;
	return true;
}

static bool connection_flush(struct admin_connection *c)
{
	ssize_t n = send(c->lfd.fd, c->answer, c->answer_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	memmove(c->answer, c->answer + n, c->answer_bytes - (size_t)n);
	c->answer_bytes -= (size_t)n;
	return connection_watch(c);
}

static const struct admin_verb *find_verb(const char *name)
{
	for (const struct admin_verb *v = admin_verbs; v->name; v++) {
		if (strcmp(name, v->name) == 0)
			return v;
	}
	return NULL;
}

static const char *known_verbs(char text[ERRTEXT_BYTES / 2])
{
	size_t used = 0;

	for (const struct admin_verb *v = admin_verbs; v->name && used < ERRTEXT_BYTES / 2; v++)
		used += (size_t)snprintf(text + used, ERRTEXT_BYTES / 2 - used, "%s%s",
					 used ? ", " : "", v->name);
	return text;
}

/** One JSON object and nothing else, or NULL. */
static struct json_object *parse_request(const char *line, size_t len)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *request;
	size_t used;

	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	request = json_tokener_parse_ex(tokener, line, (int)len);
	used = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	while (used < len && (line[used] == ' ' || line[used] == '\t' || line[used] == '\r'))
		used++;
	if (used == len && json_object_is_type(request, json_type_object))
		return request;
	json_object_put(request);
	return NULL;
}

/** Finds and runs the verb. `result` is set on success. */
static int answer(struct admin_call *call, const char *line, size_t len,
		  struct json_object **result, struct errtext *err)
{
	struct json_object *request = parse_request(line, len);
	const struct admin_verb *verb;
	struct json_object *field;
	const char *name;
	char known[ERRTEXT_BYTES / 2];
	int rc;

	if (!request)
		return errtext_set(err, -EINVAL,
				   "not one JSON object, and nothing else, on one line: send "
				   "{\"v\":1,\"cmd\":\"status\"}");
	if (!json_object_object_get_ex(request, "v", &field) ||
	    !json_object_is_type(field, json_type_int) ||
	    json_object_get_int64(field) != ADMIN_VERSION) {
		json_object_put(request);
		return errtext_set(err, -EPROTO,
				   "\"v\" must be the number %d, the version of this protocol",
				   ADMIN_VERSION);
	}
	if (!json_object_object_get_ex(request, "cmd", &field)) {
		json_object_put(request);
		return errtext_set(err, -EINVAL, "\"cmd\" is missing");
	}
	if (!json_object_is_type(field, json_type_string)) {
		json_object_put(request);
		return errtext_set(err, -EINVAL,
				   "\"cmd\" is no string: write it as \"cmd\":\"status\"");
	}
	name = json_object_get_string(field);
	verb = find_verb(name);
	rc = verb ? verb->answer(admin_call_env(call), call, request, result, err)
		  : errtext_set(err, -EOPNOTSUPP, "unknown cmd \"%.64s\"; this daemon knows %s",
				name, known_verbs(known));
	json_object_put(request);
	return rc;
}

/** Sends the answer. False: the connection is to be closed. */
static bool connection_reply(struct admin_connection *c, int rc, struct json_object *result,
			     const char *why)
{
	struct json_object *reply = json_object_new_object();
	const char *text;
	bool alive;

	json_object_object_add(reply, "v", json_object_new_int(ADMIN_VERSION));
	json_object_object_add(reply, "ok", json_object_new_boolean(rc == 0));
	if (rc == 0)
		json_object_object_add(reply, "result", result);
	else
		json_object_object_add(reply, "error", json_object_new_string(why));
	text = json_object_to_json_string_ext(reply, JSON_C_TO_STRING_PLAIN |
							     JSON_C_TO_STRING_NOSLASHESCAPE);
	alive = connection_send(c, text, strlen(text)) && connection_send(c, "\n", 1);
	json_object_put(reply);
	return alive;
}

static void connection_answer(struct admin_connection *c, int rc, struct json_object *result,
			      const char *why)
{
	free(c->call);
	c->call = NULL;
	connection_touch(c);
	c->broken = !connection_reply(c, rc, result, why);
}

/** Answers a line, now or later. False: the connection is to be closed. */
static bool connection_line(struct admin_connection *c, const char *line, size_t len)
{
	struct admin_call *call = calloc(1, sizeof(*call));
	struct json_object *result = NULL;
	struct errtext err = {""};
	int rc;

	if (!call)
		return false;
	call->connection = c;
	c->call = call;
	c->asking = true;
	rc = answer(call, line, len, &result, &err);
	if (rc != ADMIN_LATER)
		connection_answer(c, rc, result, err.text);
	c->asking = false;
	return !c->broken && connection_watch(c);
}

/** One request of the connection whose turn it is; it goes to the end of the queue if it has more. */
static void on_turn(struct loop_timer *timer)
{
	struct admin *a = container_of(timer, struct admin, turn);
	struct list *l = list_pop(&a->waiting);
	struct admin_connection *c;
	const char *line;
	char *end;

	if (!l)
		return;
	/* Not before everything else that is due: the loop looks at that first. */
	if (!list_empty(&a->waiting))
		loop_timer_set(a->env.control, timer, now_ns());
	c = list_entry(l, struct admin_connection, waiting_link);
	c->waits = false;
	line = c->request + c->request_begin;
	end = connection_line_end(c);
	c->request_begin = (size_t)(end + 1 - c->request);
	if (!connection_line(c, line, (size_t)(end - line)))
		connection_close(c);
}

void admin_answer(struct admin_call *call, int rc, struct json_object *result, const char *why)
{
	struct admin_connection *c = call->connection;

	if (!c) {
		free(call);
		json_object_put(result);
		return;
	}
	connection_answer(c, rc, result, why);
	if (c->asking)
		return;
	if (c->broken || !connection_watch(c))
		connection_close(c);
}

/** Reads once. False: the connection is to be closed. */
static bool connection_read(struct admin_connection *c)
{
	ssize_t n;

	memmove(c->request, c->request + c->request_begin, c->request_end - c->request_begin);
	c->request_end -= c->request_begin;
	c->request_begin = 0;
	n = read(c->lfd.fd, c->request + c->request_end, sizeof(c->request) - c->request_end);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		c->ended = true;
	c->request_end += (size_t)n;
	connection_touch(c);
	if (c->request_end == sizeof(c->request) && !connection_line_end(c)) {
		static const char too_long[] = "{\"v\":1,\"ok\":false,\"error\":\"a request is "
					       "longer than 65536 bytes\"}\n";

		(void)connection_send(c, too_long, sizeof(too_long) - 1);
		return false;
	}
	return connection_watch(c);
}

static void connection_ready(struct loop_fd *lfd, uint32_t events)
{
	struct admin_connection *c = container_of(lfd, struct admin_connection, lfd);
	bool alive = true;

	/* The client is gone. What it asked for goes on, what it waits for nobody will read. */
	if (events & (EPOLLHUP | EPOLLERR) && (c->call || c->answer_bytes || c->ended))
		alive = false;
	if (alive && events & EPOLLOUT && c->answer_bytes)
		alive = connection_flush(c);
	if (alive && events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !c->waits &&
	    connection_has_room(c))
		alive = connection_read(c);
	if (!alive)
		connection_close(c);
}

static void listener_ready(struct loop_fd *lfd, uint32_t events)
{
	struct admin *a = container_of(lfd, struct admin, listener);
	int fd = accept4(lfd->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct admin_connection *c;

	(void)events;
	if (fd < 0)
		return;
	c = make_room(a) ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		static const char busy[] =
			"{\"v\":1,\"ok\":false,\"error\":\"as many requests as there can be are "
			"being answered: try again\"}\n";

		(void)!send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)close(fd);
		return;
	}
	c->admin = a;
	c->lfd.fd = fd;
	c->lfd.fn = connection_ready;
	if (loop_add_fd(a->env.control, &c->lfd, EPOLLIN) != 0) {
		(void)close(fd);
		free(c);
		return;
	}
	a->nr_connections++;
	list_push(&a->connections, &c->link);
}

/** True if a daemon answers at that address. */
static bool is_alive(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool alive;

	if (fd < 0)
		return false;
	alive = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0;
	(void)close(fd);
	return alive;
}

static int listen_at(const char *path, int *out, struct errtext *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t mask;
	int fd, rc;

	if (strlen(path) >= sizeof(addr.sun_path))
		return errtext_set(err, -ENAMETOOLONG,
				   "admin socket %s: longer than %zu bytes; set admin_socket", path,
				   sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return errtext_set(err, -EEXIST,
					   "admin socket %s: something else is there; remove it or "
					   "set admin_socket",
					   path);
		if (is_alive(&addr))
			return errtext_set(
				err, -EADDRINUSE,
				"admin socket %s: another leaseholdd answers there; stop "
				"it or set admin_socket and runtime_dir",
				path);
		(void)unlink(path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return errtext_set(err, -errno, "admin socket: %s", strerror(errno));
	mask = umask(0177);
	rc = bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0 ? 0 : -errno;
	(void)umask(mask);
	if (rc == 0 && listen(fd, ADMIN_MAX_CONNECTIONS) != 0)
		rc = -errno;
	if (rc) {
		(void)close(fd);
		return errtext_set(err, rc, "admin socket %s: %s", path, strerror(-rc));
	}
	*out = fd;
	return 0;
}

int admin_new(const struct admin_env *env, struct admin **admin, struct errtext *err)
{
	struct admin *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return errtext_set(err, -ENOMEM, "admin socket: out of memory");
	a->env = *env;
	list_init(&a->connections);
	list_init(&a->waiting);
	a->turn.fn = on_turn;
	(void)snprintf(a->path, sizeof(a->path), "%s", env->config->admin_socket);
	rc = listen_at(a->path, &a->listener.fd, err);
	if (rc)
		goto out_free;
	a->listener.fn = listener_ready;
	rc = loop_add_fd(env->control, &a->listener, EPOLLIN);
	if (rc) {
		errtext_set(err, rc, "admin socket: %s", strerror(-rc));
		goto out_close;
	}
	*admin = a;
	return 0;

out_close:
	(void)close(a->listener.fd);
	(void)unlink(a->path);
out_free:
	free(a);
	return rc;
}

/** Of a request that will not be answered any more its client is told that, if it reads. */
static void connection_end(struct admin_connection *c)
{
	static const char why[] =
		"the daemon is being stopped: what was asked for may be done or not";

	if (c->call)
		(void)connection_reply(c, -ESHUTDOWN, NULL, why);
	connection_close(c);
}

void admin_free(struct admin *admin)
{
	struct list *l, *tmp;

	if (!admin)
		return;
	list_for_each_safe (l, tmp, &admin->connections)
		connection_end(list_entry(l, struct admin_connection, link));
	loop_timer_cancel(admin->env.control, &admin->turn);
	loop_del_fd(admin->env.control, &admin->listener);
	(void)close(admin->listener.fd);
	(void)unlink(admin->path);
	free(admin);
}
