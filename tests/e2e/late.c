// SPDX-License-Identifier: BSD-3-Clause
/*
 * What was written directly on a queue that stalled may arrive long after the client has given the
 * queue up. It must never land over what is newer and acknowledged. For tests/e2e, with proxy.py
 * between:
 *
 *	late TARGET THROUGH PROXY FILE PID WHAT	[replay]	see `all` below
 *
 * TARGET is the export, THROUGH the same by way of the proxy, whose socket is PROXY; FILE is the
 * exported one and PID the daemon, both on this machine. Exit status: 0 what is newer stayed, 1 it
 * did not, 2 usage.
 */
#include "leasehold.h"

#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PAGE	   KIB(4)
#define AT	   KIB(64)     /* the page that is written again directly */
#define NEXT	   (AT + PAGE) /* by a block command */
#define WAIT_NS	   (20 * NS_PER_S)
#define KATO_MS	   1000 /* of a client whose daemon stops */
#define GIVE_UP_MS 500	/* of one that is to give up */

static const char *target, *through, *path;
static pid_t daemon_pid;
static int proxy;
static struct lh_client *client;
static struct lh_export *ex;
static struct lh_error err;
static bool replaying, by_read; /* how it is to be confirmed, or else by a Commit */
static uint8_t old[2 * PAGE], newer[2 * PAGE], got[2 * PAGE];

static void broken(int line, const char *what)
{
	(void)fprintf(stderr, "late.c:%d: not so: %s (%s)\n", line, what, err.text);
	(void)kill(daemon_pid, SIGCONT);
	exit(1);
}

#define must(what)                               \
	do {                                     \
		if (!(what))                     \
			broken(__LINE__, #what); \
	} while (0)

/* ---- the proxy ------------------------------------------------------------------------------- */

static void connect_proxy(const char *at)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	must(strlen(at) < sizeof(sun.sun_path));
	memcpy(sun.sun_path, at, strlen(at));
	proxy = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(proxy >= 0 && connect(proxy, (struct sockaddr *)&sun, sizeof(sun)) == 0);
}

static void ask(const char *line)
{
	char answer[3];

	must(dprintf(proxy, "%s\n", line) > 0);
	must(recv(proxy, answer, sizeof(answer), MSG_WAITALL) == sizeof(answer));
	must(memcmp(answer, "ok\n", sizeof(answer)) == 0);
}

/* ---- ways to lose a direct queue ------------------------------------------------------------- */

static void write_late(void)
{
	ask("hold");
	must(lh_write(ex, AT, old, sizeof(old), &err) == 0);
	ask("kept 8192");
}

static void by_cut(void)
{
	write_late();
	ask("cut");
}

/* With its controller: the target believes that both live. */
static void by_cut_all(void)
{
	write_late();
	ask("cut-all");
}

/* What is to be confirmed for a recall cannot be: the client ends the queue, as the target does. */
static void by_recall(void)
{
	int fd;

	write_late();
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	must(close(fd) == 0);
}

/* There is no other for so long that the client gives up; then it begins again. */
static void by_giving_up(void)
{
	const struct timespec given_up = {.tv_sec = 4 * GIVE_UP_MS / 1000};
	const uint64_t until = now_ns() + WAIT_NS;

	write_late();
	ask("deny");
	ask("cut-all");
	/* Nobody asks it for anything till then. */
	(void)nanosleep(&given_up, NULL);
	must(lh_block_read(ex, 0, got, PAGE, &err) == -ENOTCONN);
	ask("allow");
	while (lh_block_write(ex, AT, newer, PAGE, &err) < 0)
		must(now_ns() < until);
}

static void nap(void)
{
	const struct timespec ts = {.tv_nsec = 5 * (long)NS_PER_MS};

	(void)nanosleep(&ts, NULL);
}

/* proc_pid_stat(5): the state stands behind the name. */
static bool is_stopped(const char *stat_path)
{
	FILE *f = fopen(stat_path, "re");
	char text[256], *end = NULL;

	if (!f)
		return true; /* it has ended */
	if (fgets(text, sizeof(text), f))
		end = strrchr(text, ')');
	(void)fclose(f);
	return end && end[1] == ' ' && end[2] == 'T';
}

/* Each of its threads: the signal alone is only on its way. */
static void stop_daemon(void)
{
	const uint64_t until = now_ns() + WAIT_NS;
	char pattern[64];
	glob_t tasks;

	must(kill(daemon_pid, SIGSTOP) == 0);
	(void)snprintf(pattern, sizeof(pattern), "/proc/%d/task/*/stat", (int)daemon_pid);
	must(glob(pattern, 0, NULL, &tasks) == 0);
	for (size_t i = 0; i < tasks.gl_pathc; i++) {
		while (!is_stopped(tasks.gl_pathv[i])) {
			must(now_ns() < until);
			nap();
		}
	}
	globfree(&tasks);
}

static int persisted;

static void *persist_late(void *arg)
{
	(void)arg;
	persisted = lh_persist(ex, AT, sizeof(old), NULL);
	return NULL;
}

/* While somebody waits for the word that they are there. */
static void by_cut_unanswered(void)
{
	const uint64_t until = now_ns() + WAIT_NS;
	struct lh_stats stats;
	pthread_t thread;

	write_late();
	must(pthread_create(&thread, NULL, persist_late, NULL) == 0);
	for (lh_export_stats(ex, &stats); stats.commits + stats.confirming_reads == 0;
	     lh_export_stats(ex, &stats)) {
		must(now_ns() < until);
		nap();
	}
	must(by_read == (stats.confirming_reads > 0));
	ask("cut");
	must(pthread_join(thread, NULL) == 0);
	must(persisted == (replaying ? 0 : -LH_EDEAD));
}

/* A write that is to be durable is not done while nobody has said so, and is made again. */
static void by_cut_durable(void)
{
	const struct lh_io io = {.flags = LH_IO_WRITE | LH_IO_DURABLE,
				 .offset = AT,
				 .length = sizeof(old),
				 .buf = old};
	struct lh_client *other;
	struct lh_export *same;
	struct lh_op *op;

	ask("hold");
	must(lh_submit(ex, &io, &op, &err) == 0);
	ask("kept 8192");
	must(lh_wait(op, 100, &err) == -ETIMEDOUT);
	ask("cut");
	must(lh_wait(op, -1, &err) == 0);
	must(lh_persist(ex, AT, sizeof(old), &err) == 0);
	must(lh_open(target, NULL, &other, &same, &err) == 0);
	must(lh_block_read(same, AT, got, sizeof(got), &err) == 0);
	must(memcmp(got, old, sizeof(old)) == 0);
	must(lh_export_close(same) == 0);
	lh_client_close(other);
}

/* The bytes wait in the daemon's socket; the client loses patience with its controller. */
static void by_stop(void)
{
	stop_daemon();
	must(lh_write(ex, AT, old, sizeof(old), &err) == 0);
}

/* ---- the test -------------------------------------------------------------------------------- */

static void wait_fenced(void)
{
	const uint64_t until = now_ns() + WAIT_NS;
	struct lh_stats stats;

	for (lh_export_stats(ex, &stats); stats.fenced == 0; lh_export_stats(ex, &stats)) {
		must(now_ns() < until);
		nap();
	}
	must(stats.direct_write_bytes == sizeof(old));
}

static void is_newer(const char *who)
{
	for (size_t i = 0; i < sizeof(got); i++) {
		if (got[i] == newer[i])
			continue;
		(void)fprintf(stderr,
			      "read back by %s: byte %zu is %s, not what was acknowledged last\n",
			      who, i, got[i] == old[i] ? "what was written before" : "neither");
		exit(1);
	}
}

static void look(void)
{
	struct lh_client *other;
	struct lh_export *same;
	int fd;

	must(lh_open(target, NULL, &other, &same, &err) == 0);
	must(lh_block_read(same, AT, got, sizeof(got), &err) == 0);
	is_newer("another client");
	must(lh_export_close(same) == 0);
	lh_client_close(other);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0);
	must(pread(fd, got, sizeof(got), AT) == (ssize_t)sizeof(got));
	must(close(fd) == 0);
	is_newer("a local process");
}

static void run(void (*lose)(void), bool replay)
{
	struct lh_options options = {.replay = replay};
	struct lh_hold_info info;
	struct lh_hold *hold;
	bool again;

	replaying = replay;
	if (lose == by_stop)
		options.kato_ms = options.connect_ms = KATO_MS;
	if (lose == by_giving_up)
		options.reconnect_ms = GIVE_UP_MS;
	random_bytes(old, sizeof(old));
	random_bytes(newer, sizeof(newer));
	must(lh_open(through, &options, &client, &ex, &err) == 0);
	must(lh_hold(ex, 0, LH_ALL, LH_READ | LH_WRITE, 0, &hold, &err) == 0);
	lh_hold_info(hold, &info);
	by_read = strcmp(info.durability, "read-after-write") == 0;
	lose();
	wait_fenced();
	must(kill(daemon_pid, SIGCONT) == 0);
	must(lh_write(ex, AT, newer, PAGE, &err) == 0);
	must(lh_persist(ex, AT, PAGE, &err) == 0);
	/* Where there were the bytes, and a way, it was made again; else it is said to be lost. */
	again = (replay && lose != by_giving_up) || lose == by_cut_durable;
	must(lh_persist(ex, NEXT, PAGE, &err) == (again ? 0 : -LH_EDEAD));
	must(lh_block_write(ex, NEXT, newer + PAGE, PAGE, &err) == 0);
	must(lh_persist(ex, AT, sizeof(newer), &err) == 0);
	ask("release");
	look();
	must(lh_export_close(ex) == 0);
	lh_client_close(client);
	(void)close(proxy);
}

static const struct {
	const char *name;
	void (*lose)(void);
} all[] = {
	{"cut", by_cut},
	{"cut-all", by_cut_all},
	{"recall", by_recall},
	{"give-up", by_giving_up},
	{"stop", by_stop},
	{"unanswered", by_cut_unanswered},
	{"durable", by_cut_durable},
};

int main(int argc, char **argv)
{
	const bool replay = argc == 8 && strcmp(argv[7], "replay") == 0;

	for (size_t i = 0; argc == 7 + replay && i < ARRAY_SIZE(all); i++) {
		if (strcmp(argv[6], all[i].name) != 0)
			continue;
		target = argv[1];
		through = argv[2];
		path = argv[4];
		daemon_pid = (pid_t)strtol(argv[5], NULL, 10);
		connect_proxy(argv[3]);
		run(all[i].lose, replay);
		return 0;
	}
	(void)fprintf(stderr, "usage: late TARGET THROUGH PROXY FILE PID WHAT [replay]\n");
	return 2;
}
