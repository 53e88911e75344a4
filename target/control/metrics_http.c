// SPDX-License-Identifier: BSD-3-Clause
/*
 * http://ADDRESS:PORT/metrics, by libmicrohttpd. It has no thread: its epoll descriptor is one of the control
 * loop's, and each answer is made there, at once, as those of the admin socket are.
 */
#include "control/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include <microhttpd.h>

#include "util/log.h"
#include "util/loop.h"

#define MAX_CONNECTIONS	 16
#define IDLE_SECONDS	 3
#define CONNECTION_BYTES 16384 /* of a request, with all its header fields */

struct metrics {
	struct admin_env env;
	struct MHD_Daemon *http;
	struct loop_fd lfd;
	struct loop_timer timer; /* who says nothing is put out in time */
};

static enum MHD_Result answer(struct MHD_Connection *c, unsigned int status, const char *type,
			      char *text, size_t bytes, enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(bytes, text, mode);
	enum MHD_Result ret;

	if (!r)
		return MHD_NO;
	(void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	ret = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return ret;
}

static enum MHD_Result answer_words(struct MHD_Connection *c, unsigned int status, char *words)
{
	return answer(c, status, "text/plain; charset=utf-8", words, strlen(words),
		      MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_bytes, void **state)
{
	static char only_get[] = "only GET and HEAD\n", no_memory[] = "out of memory\n",
		    elsewhere[] = "leaseholdd: what it counts is at /metrics\n";
	struct metrics *m = arg;
	size_t bytes;
	char *text;

	(void)version;
	(void)upload;
	/* What is sent along is not taken. */
	if (*upload_bytes > 0)
		return MHD_NO;
	if (!*state) { /* the header alone so far */
		*state = m;
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer_words(c, MHD_HTTP_METHOD_NOT_ALLOWED, only_get);
	if (strcmp(url, "/metrics") != 0)
		return answer_words(c, MHD_HTTP_NOT_FOUND, elsewhere);
	text = metrics_text(&m->env, &bytes);
	if (!text)
		return answer_words(c, MHD_HTTP_SERVICE_UNAVAILABLE, no_memory);
	return answer(c, MHD_HTTP_OK, METRICS_CONTENT_TYPE, text, bytes, MHD_RESPMEM_MUST_FREE);
}

static void turn(struct metrics *m)
{
	MHD_UNSIGNED_LONG_LONG ms;

	(void)MHD_run(m->http);
	/* At its limit it looks for no more; that it is below it again it only sees at the next turn. */
	(void)MHD_run(m->http);
	if (MHD_get_timeout(m->http, &ms) == MHD_YES)
		loop_timer_set(m->env.control, &m->timer, now_ns() + ms * NS_PER_MS);
	else
		loop_timer_cancel(m->env.control, &m->timer);
}

static void on_ready(struct loop_fd *lfd, uint32_t events)
{
	(void)events;
	turn(container_of(lfd, struct metrics, lfd));
}

static void on_timer(struct loop_timer *timer)
{
	turn(container_of(timer, struct metrics, timer));
}

/* What it has to say to people, which is of single connections. */
static void on_log(void *arg, const char *fmt, va_list ap)
{
	char text[256];

	(void)arg;
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	log_debug("metrics: %s", text);
}

int metrics_new(const struct admin_env *env, struct metrics **metrics, struct errtext *err)
{
	const struct daemon_config *c = env->config;
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(c->metrics_port)};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(c->metrics_port)};
	bool is_v6 = inet_pton(AF_INET6, c->metrics_address, &v6.sin6_addr) == 1;
	const union MHD_DaemonInfo *info;
	struct metrics *m;
	int rc;

	*metrics = NULL;
	if (c->metrics_port == 0)
		return 0;
	if (!is_v6 && inet_pton(AF_INET, c->metrics_address, &v4.sin_addr) != 1)
		return errtext_set(err, -EINVAL, "metrics_address: %s is no IPv4 or IPv6 address",
				   c->metrics_address);
	m = calloc(1, sizeof(*m));
	if (!m)
		return errtext_set(err, -ENOMEM, "metrics: out of memory");
	m->env = *env;
	errno = 0;
	m->http = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG | (is_v6 ? MHD_USE_IPv6 : 0),
				   c->metrics_port, NULL, NULL, on_request, m,
				   MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_SOCK_ADDR,
				   is_v6 ? (void *)&v6 : (void *)&v4, MHD_OPTION_CONNECTION_LIMIT,
				   (unsigned int)MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
				   (unsigned int)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				   (size_t)CONNECTION_BYTES, MHD_OPTION_END);
	info = m->http ? MHD_get_daemon_info(m->http, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		rc = errno ? -errno : -EIO;
		errtext_set(err, rc, "metrics at %s port %u: %s", c->metrics_address,
			    c->metrics_port, strerror(-rc));
		goto out_stop;
	}
	m->lfd = (struct loop_fd){.fd = info->epoll_fd, .fn = on_ready};
	m->timer.fn = on_timer;
	rc = loop_add_fd(env->control, &m->lfd, EPOLLIN);
	if (rc) {
		errtext_set(err, rc, "metrics: %s", strerror(-rc));
		goto out_stop;
	}
	log_info("metrics at http://%s%s%s:%u/metrics", is_v6 ? "[" : "", c->metrics_address,
		 is_v6 ? "]" : "", c->metrics_port);
	*metrics = m;
	return 0;

out_stop:
	if (m->http)
		MHD_stop_daemon(m->http);
	free(m);
	return rc;
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	loop_timer_cancel(m->env.control, &m->timer);
	loop_del_fd(m->env.control, &m->lfd);
	MHD_stop_daemon(m->http);
	free(m);
}
