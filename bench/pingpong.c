// SPDX-License-Identifier: BSD-3-Clause
/*
 * The least that a question and an answer of so many bytes take over TCP here: two processes that look
 * for bytes without ever sleeping.
 *
 *	lh-bench-pingpong OUT BACK MS
 *
 * OUT bytes there, then BACK bytes back, one at a time. Prints one line of JSON.
 */
#include "measure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES_MAX MIB(1)
#define WARM_PART 10 /* of the time, before it counts: so many-th */

static uint8_t buffer[BYTES_MAX];

static void connect_both(int *near, int *far)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	*near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || *near < 0 || bind(listener, (struct sockaddr *)&addr, len) < 0 ||
	    listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *)&addr, &len) < 0 ||
	    connect(*near, (struct sockaddr *)&addr, len) < 0 ||
	    (*far = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0 ||
	    setsockopt(*near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    setsockopt(*far, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		die("no connection over loopback: %s", strerror(errno));
	(void)close(listener);
}

/* False: the other end has closed. */
static bool receive(int fd, size_t bytes)
{
	for (size_t have = 0; have < bytes;) {
		const ssize_t n = recv(fd, buffer + have, bytes - have, MSG_DONTWAIT);

		if (n == 0)
			return false;
		if (n > 0)
			have += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			die("recv: %s", strerror(errno));
	}
	return true;
}

static void transmit(int fd, size_t bytes)
{
	if (write_full(fd, buffer, bytes) < 0)
		die("the other end is gone");
}

__attribute__((noreturn)) static void answer(int fd, size_t out, size_t back)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	move_apart();
	while (receive(fd, out))
		transmit(fd, back);
	_exit(0);
}

static void ask(struct run *r, int fd, size_t out, size_t back, uint64_t ns)
{
	const uint64_t end = now_ns() + ns;

	while (now_ns() < end) {
		const uint64_t begun = now_ns();

		transmit(fd, out);
		if (!receive(fd, back))
			die("the other end is gone");
		samples_add(&r->samples, now_ns() - begun);
		r->bytes += out + back;
	}
}

int main(int argc, char **argv)
{
	struct run run = {0};
	size_t out, back;
	int near, far;
	uint64_t ns;
	pid_t peer;

	if (argc != 4) {
		(void)fprintf(stderr, "usage: see the head of bench/pingpong.c\n");
		return 2;
	}
	out = number(argv[1], 1, BYTES_MAX);
	back = number(argv[2], 1, BYTES_MAX);
	ns = number(argv[3], 1, 3600000) * NS_PER_MS;
	connect_both(&near, &far);
	peer = fork();
	if (peer < 0)
		die("fork: %s", strerror(errno));
	if (peer == 0) {
		(void)close(near);
		answer(far, out, back);
	}
	(void)close(far);
	ask(&run, near, out, back, ns / WARM_PART);
	run_begin(&run, peer);
	ask(&run, near, out, back, ns);
	run_end(&run);
	(void)close(near);
	(void)waitpid(peer, NULL, 0);
	return 0;
}
