// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a recall costs: those who want the blocks, those who hold them, those who stand by.
 *
 *	lh-bench-recall bare FILE ROUNDS
 *	lh-bench-recall asked FILE ROUNDS
 *	lh-bench-recall wait TARGET FILE ROUNDS GRANTS prompt|slow|dead
 *	lh-bench-recall storm TARGET FILE SECONDS
 *	lh-bench-recall stand-by TARGET SECONDS
 *	lh-bench-recall grants TARGET SECONDS
 *
 * The landlord is a truncate(2) of FILE to the size that it has: it waits for the lease like any
 * other and changes nothing. `bare` measures it against a process that holds a lease and gives it
 * back at once, with no RDMA: what the kernel itself takes. `asked` is that with one question over
 * TCP, to a process that sleeps until it comes: the least that asking a client can cost here, however
 * it is done. Prints one line of JSON. Run by
 * scripts/bench, which knows how to make a target for it.
 */
#include "leasehold.h"

#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GRANT_BYTES KIB(4) /* of each of many grants; a gap of as much keeps them apart */
#define REGRANT_MS  60000  /* all must be granted again by then */
#define PAUSE_NS    (200 * NS_PER_US)

static struct lh_client *client;
static struct lh_export *ex;

static void pause_ns(uint64_t ns)
{
	const struct timespec ts = {.tv_sec = (time_t)(ns / NS_PER_S),
				    .tv_nsec = (long)(ns % NS_PER_S)};

	(void)nanosleep(&ts, NULL);
}

/* ---- the landlord ------------------------------------------------------------------------------ */

static uint64_t truncate_ns(const char *file, off_t size)
{
	const uint64_t begun = now_ns();

	if (truncate(file, size) < 0)
		die("truncate %s: %s", file, strerror(errno));
	return now_ns() - begun;
}

static off_t size_of(const char *file)
{
	struct stat st;

	if (stat(file, &st) < 0)
		die("%s: %s", file, strerror(errno));
	return st.st_size;
}

/* Sends back what comes. */
__attribute__((noreturn)) static void echo(int peer)
{
	char byte;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(peer, &byte, 1) == 1 && write(peer, &byte, 1) == 1)
		;
	exit(0);
}

/* A connection to a process that sends back what comes. */
static int start_echo(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(addr);
	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	int peer;
	pid_t pid;

	if (listener < 0 || fd < 0 || bind(listener, (struct sockaddr *)&addr, length) < 0 ||
	    listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&addr, &length) < 0 ||
	    connect(fd, (struct sockaddr *)&addr, length) < 0 ||
	    (peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 || (pid = fork()) < 0)
		die("cannot start who is asked: %s", strerror(errno));
	if (pid == 0) {
		(void)close(fd);
		echo(peer);
	}
	(void)close(peer);
	(void)close(listener);
	return fd;
}

/*
 * Holds a lease on the file; gives it back at once, or (`ask` is a socket) when a byte sent there has
 * come back; takes it again, writes a byte each time it has it.
 */
__attribute__((noreturn)) static void hold_bare(const char *file, int taken, int ask)
{
	const int fd = open(file, O_RDWR | O_CLOEXEC);
	sigset_t set;
	char byte;
	int sig;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGRTMIN);
	if (fd < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		die("%s: %s", file, strerror(errno));
	for (;;) {
		/* To give a lease back forgets the signal, too. */
		while (fcntl(fd, F_SETSIG, SIGRTMIN) < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
			if (errno != EAGAIN)
				die("no lease on %s: %s", file, strerror(errno));
			pause_ns(PAUSE_NS);
		}
		if (write(taken, "", 1) != 1)
			exit(0);
		(void)sigwait(&set, &sig);
		if (ask >= 0 && (write(ask, "", 1) != 1 || read(ask, &byte, 1) != 1))
			die("who was asked is gone");
		if (fcntl(fd, F_SETLEASE, F_UNLCK) < 0)
			die("unlock %s: %s", file, strerror(errno));
	}
}

static void bare(const char *file, uint64_t rounds, bool asked)
{
	const off_t size = size_of(file);
	struct samples s = {0};
	int taken[2];
	pid_t holder;
	char byte;

	if (pipe(taken) < 0 || (holder = fork()) < 0)
		die("cannot start the holder: %s", strerror(errno));
	if (holder == 0) {
		(void)close(taken[0]);
		hold_bare(file, taken[1], asked ? start_echo() : -1);
	}
	(void)close(taken[1]);
	for (uint64_t i = 0; i < rounds; i++) {
		if (read(taken[0], &byte, 1) != 1)
			die("the holder of the bare lease is gone");
		pause_ns(PAUSE_NS);
		samples_add(&s, truncate_ns(file, size));
	}
	(void)kill(holder, SIGKILL);
	(void)waitpid(holder, NULL, 0);
	(void)printf("{\"what\":\"%s\",", asked ? "asked" : "bare");
	samples_print(&s);
	(void)puts("}");
}

/* ---- clients ----------------------------------------------------------------------------------- */

static void connect_to(const char *target, const struct lh_options *options)
{
	struct lh_error err;

	if (lh_open(target, options, &client, &ex, &err) < 0)
		die("%s", err.text);
}

static void leave(void)
{
	(void)lh_export_close(ex);
	lh_client_close(client);
}

static void hold(uint64_t offset, uint64_t length, struct lh_hold **h)
{
	struct lh_error err;

	if (lh_hold(ex, offset, length, LH_READ | LH_WRITE, LH_HOLD_ALLOCATE, h, &err) < 0)
		die("%s", err.text);
}

/* How long the service thread sleeps when it is told of a recall: it answers that much later. */
static _Atomic uint64_t late_ns;
static _Atomic unsigned int fences;

static void on_event(const struct lh_event *event, void *user)
{
	(void)user;
	if (event->kind == LH_EVENT_TOLD && atomic_load(&late_ns))
		pause_ns(atomic_load(&late_ns));
	else if (event->kind == LH_EVENT_FENCED)
		atomic_fetch_add(&fences, 1);
}

static void wait_granted(struct lh_hold **holds, uint64_t count, uint32_t newer_than)
{
	const uint64_t end = now_ns() + REGRANT_MS * NS_PER_MS;
	struct lh_hold_info info;

	for (uint64_t i = 0; i < count;) {
		lh_hold_info(holds[i], &info);
		if (info.granted_bytes == info.length && info.generation > newer_than) {
			i++;
			continue;
		}
		if (now_ns() > end)
			die("hold %llu of %llu was not granted again within %d s",
			    (unsigned long long)i, (unsigned long long)count, REGRANT_MS / 1000);
		pause_ns(PAUSE_NS);
	}
}

static uint32_t generation_of(struct lh_hold *h)
{
	struct lh_hold_info info;

	lh_hold_info(h, &info);
	return info.generation;
}

static void wait_rounds(const char *file, uint64_t rounds, uint64_t grants, const char *manner)
{
	const off_t size = size_of(file);
	struct lh_client_info info;
	struct lh_hold **holds = calloc(grants, sizeof(struct lh_hold *));
	struct samples waits = {0}, regrants = {0};

	if (!holds)
		die("out of memory");
	if (2 * grants * GRANT_BYTES > (uint64_t)size)
		die("%s is too small for %llu grants", file, (unsigned long long)grants);
	lh_client_info(client, &info);
	if (strcmp(manner, "slow") == 0)
		atomic_store(&late_ns, info.recall_deadline_ms * NS_PER_MS / 10 * 9);
	else if (strcmp(manner, "dead") == 0)
		atomic_store(&late_ns, info.recall_deadline_ms * NS_PER_MS * 2);
	else if (strcmp(manner, "prompt") != 0)
		die("'%s': expected prompt, slow or dead", manner);
	lh_export_on_event(ex, on_event, NULL);
	for (uint64_t i = 0; i < grants; i++)
		hold(2 * i * GRANT_BYTES, GRANT_BYTES, &holds[i]);
	for (uint64_t i = 0; i < rounds; i++) {
		const uint32_t generation = generation_of(holds[0]);
		const uint64_t begun = now_ns();

		samples_add(&waits, truncate_ns(file, size));
		wait_granted(holds, grants, generation);
		samples_add(&regrants, now_ns() - begun);
	}
	atomic_store(&late_ns, 0);
	(void)printf("{\"what\":\"wait\",\"client\":\"%s\",\"grants\":%llu,\"fences\":%u,", manner,
		     (unsigned long long)grants, atomic_load(&fences));
	samples_print(&waits);
	(void)printf(",\"granted_again\":{");
	samples_print(&regrants);
	(void)puts("}}");
	free(holds);
}

static void storm(const char *file, uint64_t seconds)
{
	const uint64_t begun = now_ns(), end = begun + seconds * NS_PER_S;
	const off_t size = size_of(file);
	struct samples waits = {0};
	struct lh_hold *h;

	hold(0, MIB(1), &h);
	while (now_ns() < end) {
		const uint32_t generation = generation_of(h);

		samples_add(&waits, truncate_ns(file, size));
		wait_granted(&h, 1, generation);
	}
	(void)printf("{\"what\":\"storm\",\"recalls_per_second\":%.1f,",
		     (double)waits.count * (double)NS_PER_S / (double)(now_ns() - begun));
	samples_print(&waits);
	(void)puts("}");
}

/* Somebody who has nothing to do with it: 4 KiB at random places, by block commands and directly. */
static void stand_by(uint64_t seconds)
{
	const uint64_t end = now_ns() + seconds * NS_PER_S;
	struct samples block = {0}, direct = {0};
	struct lh_export_info info;
	struct lh_error err;
	void *buf = lh_alloc(client, GRANT_BYTES);

	if (!buf || lh_export_info(ex, false, &info, &err) < 0)
		die("%s", buf ? err.text : "out of memory");
	hold(0, LH_ALL, NULL);
	while (now_ns() < end) {
		const uint64_t offset = random_place(info.size_bytes, GRANT_BYTES);
		uint64_t begun = now_ns();

		if (lh_block_read(ex, offset, buf, GRANT_BYTES, &err) < 0)
			die("%s", err.text);
		samples_add(&block, now_ns() - begun);
		begun = now_ns();
		if (lh_read(ex, offset, buf, GRANT_BYTES, &err) < 0)
			die("%s", err.text);
		samples_add(&direct, now_ns() - begun);
	}
	lh_free(client, buf);
	(void)printf("{\"what\":\"stand-by\",\"block\":{");
	samples_print(&block);
	(void)printf("},\"direct\":{");
	samples_print(&direct);
	(void)puts("}}");
}

static void grants_per_second(uint64_t seconds)
{
	const uint64_t begun = now_ns(), end = begun + seconds * NS_PER_S;
	uint64_t count = 0;

	while (now_ns() < end) {
		struct lh_hold *h;

		hold(0, GRANT_BYTES, &h);
		(void)lh_unhold(h);
		count++;
	}
	(void)printf("{\"what\":\"grants\",\"per_second\":%.1f}\n",
		     (double)count * (double)NS_PER_S / (double)(now_ns() - begun));
}

int main(int argc, char **argv)
{
	const struct lh_options options = {.no_fallback = true};
	const char *what = argc > 1 ? argv[1] : "";

	if ((strcmp(what, "bare") == 0 || strcmp(what, "asked") == 0) && argc == 4) {
		bare(argv[2], number(argv[3], 1, SAMPLES_MAX), what[0] == 'a');
		return 0;
	}
	if (!((strcmp(what, "wait") == 0 && argc == 7) ||
	      (strcmp(what, "storm") == 0 && argc == 5) ||
	      (strcmp(what, "stand-by") == 0 && argc == 4) ||
	      (strcmp(what, "grants") == 0 && argc == 4))) {
		(void)fprintf(stderr,
			      "usage: see the head of bench/recall.c, or run scripts/bench\n");
		return 2;
	}
	connect_to(argv[2], &options);
	if (what[0] == 'w')
		wait_rounds(argv[3], number(argv[4], 1, SAMPLES_MAX), number(argv[5], 1, 100000),
			    argv[6]);
	else if (strcmp(what, "storm") == 0)
		storm(argv[3], number(argv[4], 1, 3600));
	else if (what[0] == 's')
		stand_by(number(argv[3], 1, 3600));
	else
		grants_per_second(number(argv[3], 1, 3600));
	leave();
	return 0;
}
