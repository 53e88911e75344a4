/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The folders that tests about files run in: LEASEHOLD_TEST_DIR if it is set (a DAX file system in
 * the testbed), else one on tmpfs and one on whatever /var/tmp is on. The same program covers each
 * kind of medium. A folder made here is removed at the end with what is in it.
 */
#ifndef LEASEHOLD_TEST_DIRS_H
#define LEASEHOLD_TEST_DIRS_H

#include "leaks.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "util/util.h"

#define PATH_BYTES 256

/* Of the current round. Weak: one for the whole program, whichever of its files include this. */
__attribute__((weak)) char test_dir[PATH_BYTES];

/** Where a mapping does not keep the file open whose lease is asked for, but the one below. */
static inline bool dir_is_overlay(void)
{
	struct statfs fs;

	return !statfs(test_dir, &fs) && fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

#define MAX_PATHS 64

/** `name` in the folder; the text stays as it is. */
static inline const char *in_dir(const char *name)
{
	static char paths[MAX_PATHS][2 * PATH_BYTES];
	char path[2 * PATH_BYTES];
	unsigned int i;

	(void)snprintf(path, sizeof(path), "%s/%s", test_dir, name);
	for (i = 0; i < MAX_PATHS && paths[i][0]; i++)
		if (!strcmp(paths[i], path))
			return paths[i];
	assert_true(i < MAX_PATHS);
	memcpy(paths[i], path, sizeof(path));
	return paths[i];
}

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void remove_tree(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/** Runs group(folder's kind) in each folder, of it what LEASEHOLD_TEST_FILTER says. Returns the number of failures. */
static inline int for_each_dir(int (*group)(const char *where))
{
	static const char *const defaults[] = {"/dev/shm", "/var/tmp"};
	const char *set = getenv("LEASEHOLD_TEST_DIR");
	int failed = 0;

	if (getenv("LEASEHOLD_TEST_FILTER"))
		cmocka_set_test_filter(getenv("LEASEHOLD_TEST_FILTER"));
	for (unsigned int i = 0; i < (set ? 1 : ARRAY_SIZE(defaults)); i++) {
		const char *parent = set ? set : defaults[i];

		(void)snprintf(test_dir, sizeof(test_dir), "%s/leasehold-test-XXXXXX", parent);
		if (!mkdtemp(test_dir)) {
			print_error("cannot make a folder in %s: %s\n", parent, strerror(errno));
			return 1;
		}
		failed += group(parent);
		remove_tree(test_dir);
	}
	return failed;
}

/** A process that runs child(arg) and is killed at the latest when the test ends. */
struct child {
	pid_t pid;
	int from, to; /* pipes; the child's ends are descriptors in `c` of its own copy */
};

static inline void child_start(struct child *c, void (*fn)(int in, int out, const void *arg),
			       const void *arg)
{
	int up[2], down[2];

	assert_int_equal(pipe2(up, O_CLOEXEC), 0);
	assert_int_equal(pipe2(down, O_CLOEXEC), 0);
	c->pid = fork();
	assert_true(c->pid >= 0);
	if (c->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(up[0]);
		(void)close(down[1]);
		fn(down[0], up[1], arg);
		_exit(0);
	}
	(void)close(up[1]);
	(void)close(down[0]);
	c->from = up[0];
	c->to = down[1];
}

/** Waits for the child's next byte; -1 if there is none within `ms`. */
static inline int child_get(const struct child *c, int ms)
{
	struct pollfd p = {.fd = c->from, .events = POLLIN};
	char byte;

	if (poll(&p, 1, ms) != 1 || read(c->from, &byte, 1) != 1)
		return -1;
	return byte;
}

static inline void child_put(const struct child *c, char byte)
{
	assert_int_equal(write(c->to, &byte, 1), 1);
}

/** Kills and reaps. */
static inline void child_stop(struct child *c)
{
	(void)kill(c->pid, SIGKILL);
	(void)waitpid(c->pid, NULL, 0);
	(void)close(c->from);
	(void)close(c->to);
}

/* ---- in the child: no cmocka, whose failures would return into the parent's tests ---- */

static inline void say(int out, char byte)
{
	if (write(out, &byte, 1) != 1)
		_exit(1);
}

static inline void hear(int in)
{
	char byte;

	if (read(in, &byte, 1) != 1)
		_exit(0);
}

#endif
