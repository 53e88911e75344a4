// SPDX-License-Identifier: BSD-3-Clause
/*
 * fanotify(7), class FAN_CLASS_PRE_CONTENT: the listener thread reads what others are about to do with
 * the files that are watched. It answers this process's own doings at once, or we would wait for
 * ourselves; it opens nothing and takes no lock. Its read(2) opens the file for the event: while a
 * worker has the lease for its proof, that sleeps, as long as the proof takes.
 * What it passes on is answered on the loop. When the group is closed the kernel lets everybody go
 * on, also when the process is killed.
 */
#include "group.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include "util/counter.h"
#include "util/thread.h"

DEFINE_COUNTER(watch_asks, "watch_asks", "Local operations on watched files that had to ask");
DEFINE_COUNTER(watch_crowded, "watch_crowded",
	       "Of these: refused since too many waited, or without memory");
DEFINE_COUNTER(watch_unread, "watch_unread", "Events of watched files that could not be read");

/* Of kernel 6.14; libraries may be older. */
#ifndef FAN_PRE_ACCESS
#define FAN_PRE_ACCESS 0x00100000
#endif
#define INFO_TYPE_RANGE 6
struct info_range {
	struct fanotify_event_info_header hdr;
	uint32_t pad;
	uint64_t offset;
	uint64_t count;
};
static_assert(sizeof(struct info_range) == 24, "linux/fanotify.h: fanotify_event_info_range");

#define MARK_MASK     (FAN_PRE_ACCESS | FAN_OPEN_PERM)
#define DENY_WITH(e)  (FAN_DENY | ((uint32_t)(e) << 24))
#define READ_BYTES    4096
#define UNREAD_NAP_US 1000 /* no descriptors, say: not in a tight loop */

static struct {
	int fd;	      /* -1: none … */
	int err;      /* … for this reason */
	int reserved; /* the number that it will have; -1: none */
	bool pretended;
	int wake_fd;
	atomic_bool ending;
	atomic_bool asked; /* tenure_listener_ask() */
	pid_t pid;
	pthread_t thread;
	bool started;
	struct loop *loop;
	void (*on_ask)(struct group_ask *a);
	_Atomic(struct group_ask *) inbox; /* the last one first */
	atomic_bool posted;
	struct loop_msg msg;
	atomic_uint waiting; /* group_asks there are */
} group = {.fd = -1, .err = -ENODEV, .reserved = -1};

void tenure_reserve_group(void)
{
	assert(group.fd < 0 && group.reserved < 0);
	group.reserved = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Not before it is needed: the kernel warns of such groups. */
static void open_group(void)
{
	/* Without a limit: when the queue is full the kernel lets everybody go on. */
	int fd = fanotify_init(FAN_CLASS_PRE_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK |
				       FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS,
			       O_RDONLY | O_LARGEFILE | O_CLOEXEC);

	if (fd < 0) {
		group.err = -errno;
		return;
	}
	if (group.reserved >= 0 && dup3(fd, group.reserved, O_CLOEXEC) >= 0) {
		(void)close(fd);
		fd = group.reserved;
		group.reserved = -1;
	}
	group.fd = fd;
	group.err = 0;
}

void tenure_close_group(void)
{
	assert(!group.started);
	if (group.fd >= 0)
		(void)close(group.fd);
	if (group.reserved >= 0)
		(void)close(group.reserved);
	group.fd = group.reserved = -1;
	group.err = -ENODEV;
	group.pretended = false;
}

void group_pretend(int fd)
{
	assert(group.fd < 0);
	group.fd = fd;
	group.err = 0;
	group.pretended = true;
}

/* ---- marks ----------------------------------------------------------------------------------- */

static int explain(int err, struct errtext *text)
{
	switch (err) {
	case EPERM:
	case EACCES:
		return errtext_set(
			text, -EPERM,
			"tenure = \"watch\" needs CAP_SYS_ADMIN: run the daemon with it, or "
			"use tenure = \"lease\"");
	case EINVAL:
	case ENOSYS:
		return errtext_set(text, -EOPNOTSUPP,
				   "this kernel has no pre-content events of fanotify(7), which "
				   "tenure = \"watch\" needs: use Linux 6.14 or later, built with "
				   "CONFIG_FANOTIFY_ACCESS_PERMISSIONS, or tenure = \"lease\"");
	case EOPNOTSUPP:
	case ENODEV:
	case EXDEV:
		return errtext_set(
			text, -EOPNOTSUPP,
			"its file system has no pre-content events of fanotify(7), which "
			"tenure = \"watch\" needs: ext4, xfs and btrfs have; use tenure = "
			"\"lease\"");
	case EMFILE:
	case ENOSPC:
		return errtext_set(text, -err,
				   "tenure = \"watch\": no more fanotify groups or marks: see "
				   "fs.fanotify.max_user_groups and max_user_marks");
	default:
		return errtext_set(text, -err, "tenure = \"watch\": fanotify(7): %s",
				   strerror(err));
	}
}

int group_mark(int fd, struct errtext *text)
{
	if (group.fd < 0)
		return explain(-group.err, text);
	if (!group.pretended && fanotify_mark(group.fd, FAN_MARK_ADD, MARK_MASK, fd, NULL) != 0)
		return explain(errno, text);
	return 0;
}

void group_unmark(int fd)
{
	if (group.fd >= 0 && !group.pretended)
		(void)fanotify_mark(group.fd, FAN_MARK_REMOVE, MARK_MASK, fd, NULL);
}

/* ---- answers --------------------------------------------------------------------------------- */

/* False: whoever asked has been killed. Any thread; does not sleep. */
static bool respond(int event_fd, int err)
{
	struct fanotify_response r = {
		.fd = event_fd,
		.response = err ? DENY_WITH(err) : FAN_ALLOW,
	};
	bool there;

	if (event_fd < 0)
		return false;
	there = write(group.fd, &r, sizeof(r)) == (ssize_t)sizeof(r);
	/* Not before: the kernel knows it by this number. */
	(void)close(event_fd);
	return there;
}

bool group_answer(struct group_ask *a, int err)
{
	bool there = respond(a->event_fd, err);

	atomic_fetch_sub(&group.waiting, 1);
	free(a);
	return there;
}

/* ---- the listener ---------------------------------------------------------------------------- */

/* In the order in which they came. */
static struct group_ask *take_inbox(void)
{
	struct group_ask *a = atomic_exchange(&group.inbox, NULL), *first = NULL;

	while (a) {
		struct group_ask *next = a->next;

		a->next = first;
		first = a;
		a = next;
	}
	return first;
}

static void on_inbox(struct loop_msg *msg)
{
	struct group_ask *a;

	(void)msg;
	/* Before looking: what comes later is posted again. */
	atomic_store(&group.posted, false);
	a = take_inbox();
	while (a) {
		struct group_ask *next = a->next;

		group.on_ask(a);
		a = next;
	}
}

static void pass_on(struct group_ask *a)
{
	struct group_ask *head = atomic_load(&group.inbox);

	do
		a->next = head;
	while (!atomic_compare_exchange_weak(&group.inbox, &head, a));
	if (!atomic_exchange(&group.posted, true))
		loop_post(group.loop, &group.msg, on_inbox);
}

static void read_range(const struct fanotify_event_metadata *m, struct tenure_ask *ask)
{
	const char *at = (const char *)m + m->metadata_len, *end = (const char *)m + m->event_len;

	while (at + sizeof(struct fanotify_event_info_header) <= end) {
		struct info_range info;

		memcpy(&info.hdr, at, sizeof(info.hdr));
		if (info.hdr.len < sizeof(info.hdr) || at + info.hdr.len > end)
			return;
		if (info.hdr.info_type == INFO_TYPE_RANGE && info.hdr.len >= sizeof(info)) {
			memcpy(&info, at, sizeof(info));
			ask->offset = info.offset;
			ask->length = info.count;
		}
		at += info.hdr.len;
	}
}

static struct group_ask *new_ask(void)
{
	struct group_ask *a = NULL;

	if (atomic_fetch_add(&group.waiting, 1) < GROUP_MAX_ASKS)
		a = calloc(1, sizeof(*a));
	if (!a)
		atomic_fetch_sub(&group.waiting, 1);
	else
		list_init(&a->link);
	return a;
}

static void take_event(const struct fanotify_event_metadata *m)
{
	struct group_ask *a;
	struct stat st = {0};

	if (m->fd >= 0 && m->pid == group.pid) {
		(void)respond(m->fd, 0);
		return;
	}
	if (m->fd < 0 && !(m->mask & FAN_Q_OVERFLOW))
		return;
	counter_add(&watch_asks, 1);
	a = new_ask();
	if (!a || (m->fd >= 0 && fstat(m->fd, &st) != 0)) {
		counter_add(&watch_crowded, 1);
		(void)respond(m->fd, EBUSY);
		if (a)
			atomic_fetch_sub(&group.waiting, 1);
		free(a);
		return;
	}
	a->event_fd = m->fd;
	a->dev = st.st_dev;
	a->ino = st.st_ino;
	a->since_ns = now_ns();
	a->ask.pid = m->pid;
	a->ask.open = (m->mask & FAN_OPEN_PERM) != 0;
	read_range(m, &a->ask);
	pass_on(a);
}

static void take_events(const char *buf, ssize_t n)
{
	const struct fanotify_event_metadata *m = (const void *)buf;

	for (; FAN_EVENT_OK(m, n); m = FAN_EVENT_NEXT(m, n)) {
		if (m->vers != FANOTIFY_METADATA_VERSION)
			return;
		take_event(m);
	}
}

static void *listener(void *arg)
{
	struct pollfd fds[2] = {
		{.fd = group.fd, .events = POLLIN},
		{.fd = group.wake_fd, .events = POLLIN},
	};
	_Alignas(struct fanotify_event_metadata) char buf[READ_BYTES];
	eventfd_t drained;

	(void)arg;
	for (;;) {
		ssize_t n;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents)
			(void)eventfd_read(group.wake_fd, &drained);
		if (atomic_load(&group.ending))
			return NULL;
		atomic_store(&group.asked, false);
		if (!fds[0].revents)
			continue;
		n = read(group.fd, buf, sizeof(buf));
		if (n > 0) {
			take_events(buf, n);
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			/* The kernel has refused for us whoever asked. */
			counter_add(&watch_unread, 1);
			(void)usleep(UNREAD_NAP_US);
		}
	}
}

int group_start(struct loop *loop, void (*on_ask)(struct group_ask *a))
{
	int rc;

	if (group.fd < 0)
		open_group();
	if (group.started || group.fd < 0)
		return 0;
	group.loop = loop;
	group.on_ask = on_ask;
	group.pid = getpid();
	group.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (group.wake_fd < 0)
		return -errno;
	atomic_store(&group.posted, false);
	atomic_store(&group.ending, false);
	atomic_store(&group.asked, false);
	rc = thread_start(&group.thread, listener, NULL);
	if (rc) {
		(void)close(group.wake_fd);
		return rc;
	}
	(void)pthread_setname_np(group.thread, "watch");
	group.started = true;
	return 0;
}

void tenure_listener_ask(void)
{
	if (!group.started)
		return;
	atomic_store(&group.asked, true);
	(void)eventfd_write(group.wake_fd, 1);
}

bool tenure_listener_answered(void)
{
	return !group.started || !atomic_load(&group.asked);
}

void group_stop(void)
{
	struct group_ask *a;

	if (!group.started)
		return;
	atomic_store(&group.ending, true);
	(void)eventfd_write(group.wake_fd, 1);
	(void)pthread_join(group.thread, NULL);
	(void)close(group.wake_fd);
	group.started = false;
	/* Nothing is watched any more, so that nothing is held up. */
	a = take_inbox();
	while (a) {
		struct group_ask *next = a->next;

		(void)group_answer(a, 0);
		a = next;
	}
}
