/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting a thread that no signal ever interrupts. For the util room's own files. */
#ifndef LEASEHOLD_THREAD_H
#define LEASEHOLD_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "util/util.h"

#define THREAD_NAME_BYTES 16 /* pthread_setname_np(3) */

/**
 * Starts `main` with every signal blocked but those of its own faults, which end the process if they
 * are (a guarded copy catches SIGBUS). Returns 0 or -errno.
 */
MUST_CHECK static inline int thread_start(pthread_t *thread, void *(*main)(void *arg), void *arg)
{
	static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
	sigset_t all, old;
	int err;

	(void)sigfillset(&all);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		(void)sigdelset(&all, faults[i]);
	/* The child inherits the mask: a signal cannot arrive before the child could block it. */
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(thread, NULL, main, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

/** Names the calling thread `name` and `suffix`; what is too long loses the end of `name`. */
static inline void thread_name_self(const char *name, const char *suffix)
{
	char text[THREAD_NAME_BYTES];
	size_t room = sizeof(text) - 1 - __builtin_strlen(suffix);

	(void)snprintf(text, sizeof(text), "%.*s%s", (int)room, name, suffix);
	(void)pthread_setname_np(pthread_self(), text);
}

#endif
