/* SPDX-License-Identifier: BSD-3-Clause */
/* A cmocka setup and teardown that fail a test which leaves descriptors or threads behind. */
#ifndef LEASEHOLD_TEST_LEAKS_H
#define LEASEHOLD_TEST_LEAKS_H

#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct leaks {
	int fds, threads;
};

static inline int leaks_count(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}

static inline void *leaks_idle_thread(void *arg)
{
	return arg;
}

static inline int leaks_setup(void **state)
{
	struct leaks *leaks;
	pthread_t thread;

	/* The sanitizers start threads of their own with the first one. */
	if (pthread_create(&thread, NULL, leaks_idle_thread, NULL) != 0)
		return -1;
	(void)pthread_join(thread, NULL);
	leaks = malloc(sizeof(*leaks));
	if (!leaks)
		return -1;
	/* A joined thread stays in /proc for a moment. */
	usleep(1000);
	leaks->fds = leaks_count("/proc/self/fd");
	leaks->threads = leaks_count("/proc/self/task");
	*state = leaks;
	return 0;
}

static inline int leaks_teardown(void **state)
{
	struct leaks before = *(struct leaks *)*state;
	int fds = leaks_count("/proc/self/fd"), threads = 0;

	free(*state);
	for (int i = 0; i < 1000; i++) {
		threads = leaks_count("/proc/self/task");
		if (threads <= before.threads)
			break;
		usleep(1000);
	}
	if (fds == before.fds && threads <= before.threads)
		return 0;
	print_error("leaked: descriptors %d -> %d, threads %d -> %d\n", before.fds, fds,
		    before.threads, threads);
	return -1;
}

#define leaks_test(fn) cmocka_unit_test_setup_teardown(fn, leaks_setup, leaks_teardown)

#endif
