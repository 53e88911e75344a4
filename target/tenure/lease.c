// SPDX-License-Identifier: BSD-3-Clause
/*
 * The kernel's write lease on a file (fcntl(2), "Leases"). The signal that tells of a break goes to
 * the process, where it waits, blocked, until the control loop reads it from a signalfd. It is only
 * a hint: when the queue of signals is full, one bare SIGIO stands for any number of breaks.
 */
#include "lease.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "closes.h"
#include "watch.h"

#define LEASE_SIGNAL   (SIGRTMIN + 1) /* queued, one for each break, as long as there is room */
#define SIGNALS_A_READ 16

struct tenure_signals {
	struct loop_fd lfd;
	struct loop *loop;
	void (*broken)(void *arg);
	void *arg;
};

static void lease_signals(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGIO);
	(void)sigaddset(set, LEASE_SIGNAL);
}

void tenure_block_signals(void)
{
	sigset_t set;

	lease_signals(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* ---- the signals ----------------------------------------------------------------------------- */

static void on_signals(struct loop_fd *lfd, uint32_t events)
{
	struct tenure_signals *signals = container_of(lfd, struct tenure_signals, lfd);
	struct signalfd_siginfo info[SIGNALS_A_READ];
	bool any = false;

	(void)events;
	/* All of them, before the scan: what comes after this is read again. */
	while (read(lfd->fd, info, sizeof(info)) > 0)
		any = true;
	if (any)
		signals->broken(signals->arg); /* may free it */
}

int tenure_signals_new(struct loop *loop, void (*broken)(void *arg), void *arg,
		       struct tenure_signals **signals)
{
	struct tenure_signals *s = calloc(1, sizeof(*s));
	sigset_t set;
	int ret;

	if (!s)
		return -ENOMEM;
	lease_signals(&set);
	*s = (struct tenure_signals){.loop = loop, .broken = broken, .arg = arg};
	s->lfd.fn = on_signals;
	s->lfd.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (s->lfd.fd < 0) {
		ret = -errno;
		goto free_signals;
	}
	ret = loop_add_fd(loop, &s->lfd, EPOLLIN);
	if (ret)
		goto close_fd;
	closes_start(loop);
	*signals = s;
	return 0;

close_fd:
	(void)close(s->lfd.fd);
free_signals:
	free(s);
	return ret;
}

void tenure_signals_free(struct tenure_signals *signals)
{
	if (!signals)
		return;
	closes_stop();
	watch_stop();
	loop_del_fd(signals->loop, &signals->lfd);
	(void)close(signals->lfd.fd);
	free(signals);
}

/* ---- the lease ------------------------------------------------------------------------------- */

int lease_take(int fd)
{
	/* The process, not the worker that happens to call: F_SETLEASE names the calling thread as
	 * owner where there is none yet. */
	struct f_owner_ex owner = {.type = F_OWNER_PID, .pid = getpid()};

	if (fcntl(fd, F_SETOWN_EX, &owner) || fcntl(fd, F_SETSIG, LEASE_SIGNAL) ||
	    fcntl(fd, F_SETLEASE, F_WRLCK))
		return -errno;
	if (fcntl(fd, F_GETLEASE) != F_WRLCK) {
		lease_release(fd);
		return -EAGAIN;
	}
	return 0;
}

void lease_release(int fd)
{
	(void)fcntl(fd, F_SETLEASE, F_UNLCK); /* EAGAIN: there was none */
}

/*
 * The description's lease in /proc/self/fdinfo, which names its own locks only:
 * "lock:  1: LEASE  BREAKING  UNLCK 812 fd:00:1234 0 EOF" (ACTIVE when nobody wants it).
 */
static enum tenure_state check_fdinfo(int fd)
{
	enum tenure_state state = TENURE_NONE;
	char path[64], line[256];
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	if (!file)
		return TENURE_BREAKING;
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, "lock:", 5) && strstr(line, " LEASE ") &&
		    strstr(line, " BREAKING "))
			state = TENURE_BREAKING;
	if (ferror(file))
		state = TENURE_BREAKING;
	(void)fclose(file);
	return state;
}

enum tenure_state lease_check(int fd)
{
	/*
	 * The type that the lease will have when the break is over: F_WRLCK only if there is none.
	 * F_RDLCK: somebody wants to read (or did, and the kernel took the write half by force).
	 * F_UNLCK: somebody wants to write, or there is no lease.
	 */
	int type = fcntl(fd, F_GETLEASE);

	if (type == F_WRLCK)
		return TENURE_HELD;
	return type < 0 ? TENURE_NONE : check_fdinfo(fd);
}

int tenure_break_time_s(void)
{
	FILE *file = fopen("/proc/sys/fs/lease-break-time", "re");
	char text[32] = "", *end;
	long seconds;

	if (!file)
		return -errno;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	(void)fclose(file);
	seconds = strtol(text, &end, 10);
	return end == text || seconds < 0 || seconds > INT_MAX ? -EIO : (int)seconds;
}
