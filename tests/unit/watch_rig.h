/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kernel for the tenure `watch`, where the real one may not be asked: a pair of sockets in place of
 * the fanotify group. Events go in, answers come out; no marks. One at a time.
 */
#ifndef LEASEHOLD_WATCH_RIG_H
#define LEASEHOLD_WATCH_RIG_H

#include "test_dirs.h"

#include <sys/fanotify.h>
#include <sys/socket.h>

#include "tenure/group.h"

#ifndef FAN_PRE_ACCESS
#define FAN_PRE_ACCESS 0x00100000
#endif

#define WATCH_DENIED (FAN_DENY | (EBUSY << 24))
#define SOMEBODY     ((pid_t)0x3ffffff) /* no process of ours */

struct fake_kernel {
	int fd;
};

static inline void kernel_up(struct fake_kernel *k)
{
	int fds[2], room = 1 << 20;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	(void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	(void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	k->fd = fds[1];
	group_pretend(fds[0]);
}

/** After tenure_signals_free(). */
static inline void kernel_down(struct fake_kernel *k)
{
	tenure_close_group();
	(void)close(k->fd);
}

struct fake_event {
	struct fanotify_event_metadata m;
	struct fanotify_event_info_header info;
	uint32_t pad;
	uint64_t offset, count;
};

/** Somebody is about to do something with the file; returns what the answer will name. */
static inline int kernel_event(const struct fake_kernel *k, const char *path, pid_t pid,
			       uint64_t mask, uint64_t offset, uint64_t count)
{
	struct fake_event e = {
		.m =
			{
				.vers = FANOTIFY_METADATA_VERSION,
				.metadata_len = sizeof(e.m),
				.event_len = mask == FAN_PRE_ACCESS ? sizeof(e) : sizeof(e.m),
				.mask = mask,
				.pid = pid,
				.fd = path ? open(path, O_RDONLY | O_CLOEXEC) : FAN_NOFD,
			},
		.info = {.info_type = 6, .len = sizeof(e) - sizeof(e.m)},
		.offset = offset,
		.count = count,
	};

	assert_true(e.m.fd >= 0 || !path);
	assert_int_equal(write(k->fd, &e, e.m.event_len), e.m.event_len);
	return e.m.fd;
}

/** The next answer within `ms`; false: none. */
static inline bool kernel_answer(const struct fake_kernel *k, int ms, struct fanotify_response *r)
{
	struct pollfd p = {.fd = k->fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1 && read(k->fd, r, sizeof(*r)) == (ssize_t)sizeof(*r);
}

#endif
