// SPDX-License-Identifier: BSD-3-Clause
/*
 * SIGBUS as an error code: a file can be truncated, and a medium can fail, between any check and
 * the access. Each thread says when it touches file memory; a fault then ends the copy, not the
 * process. Any other SIGBUS does what it did before. Any thread; nothing here sleeps or locks.
 */
#include "guard.h"

#include "damage.h"
#include "mapping.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define COPY_SLICE_BYTES 4096
#define MOST_LSB	 31 /* larger pages than of 1 GiB there are not */

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#endif
#ifndef THREAD_SANITIZER
#define THREAD_SANITIZER 0
#endif

/* The sanitizer blocks all signals in every handler; leaving it by a jump must undo that. */
#define SAVE_MASK THREAD_SANITIZER

struct guard {
	sigjmp_buf env;
	volatile sig_atomic_t armed;
	bool unblocked;
	struct guard_fault fault;
};

/* initial-exec: the handler must not end up in malloc() by its first look at the variable. */
static _Thread_local struct guard guard __attribute__((tls_model("initial-exec")));

static struct sigaction before;
static atomic_bool installed;

static char *put_hex(char *at, uint64_t n)
{
	for (int shift = 60; shift >= 0; shift -= 4) {
		if (n >> shift || shift == 0)
			*at++ = "0123456789abcdef"[n >> shift & 15];
	}
	return at;
}

/* The last thing that this process says. In a signal handler: no stdio, no log. */
static void say_fault(const siginfo_t *info)
{
	static const char head[] = "fatal: SIGBUS at 0x", middle[] = ", code 0x";
	char text[80], *at = text;
	ssize_t n;

	memcpy(at, head, sizeof(head) - 1);
	at = put_hex(at + sizeof(head) - 1, (uint64_t)(uintptr_t)info->si_addr);
	memcpy(at, middle, sizeof(middle) - 1);
	at = put_hex(at + sizeof(middle) - 1, (uint64_t)(unsigned int)info->si_code);
	*at++ = '\n';
	n = write(STDERR_FILENO, text, (size_t)(at - text));
	(void)n;
}

/* Around the address: a page, or the entry of a larger one. */
static uint64_t told_bytes(const siginfo_t *info)
{
	const int lsb = info->si_addr_lsb;

	return lsb > 0 && lsb < MOST_LSB ? 1ull << lsb : 1;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)context;
	/* si_code <= 0: somebody sent it, no access of ours. */
	if (guard.armed && info->si_code > 0) {
		guard.fault = (struct guard_fault){.address = info->si_addr, .code = info->si_code};
		if (info->si_code == BUS_MCEERR_AR)
			guard.fault.bytes = told_bytes(info);
		guard.armed = 0;
		siglongjmp(guard.env, 1);
	}
	/* Damage found in memory of ours that nobody touches now: who does will get BUS_MCEERR_AR. */
	if (info->si_code == BUS_MCEERR_AO) {
		damage_told_at(info->si_addr, told_bytes(info));
		return;
	}
	if (info->si_code > 0)
		say_fault(info);
	/* Not ours: with the old action back, the same access (or the raise) happens again. */
	(void)sigaction(sig, &before, NULL);
	if (info->si_code <= 0)
		(void)raise(sig);
}

int export_guard_init(void)
{
	/* SA_NODEFER: SIGBUS is not blocked in the handler, so leaving it by a jump needs no
	 * sigprocmask(2), neither then nor in each sigsetjmp(). */
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};

	if (atomic_exchange(&installed, true))
		return 0;
	(void)sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, &before)) {
		atomic_store(&installed, false);
		return -errno;
	}
	return 0;
}

/* A fault with SIGBUS blocked kills the process, and our threads start with all signals blocked. */
static void unblock(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGBUS);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	guard.unblocked = true;
}

int guard_run(void (*fn)(void *arg), void *arg, struct guard_fault *fault)
{
	assert(!guard.armed && atomic_load_explicit(&installed, memory_order_relaxed));
	if (!guard.unblocked)
		unblock();
	if (sigsetjmp(guard.env, SAVE_MASK)) {
		*fault = guard.fault;
		if (fault->code == BUS_MCEERR_AR)
			mapping_damaged((uintptr_t)fault->address, fault->bytes);
		return -EFAULT;
	}
	guard.armed = 1;
	atomic_signal_fence(memory_order_seq_cst);
	fn(arg);
	atomic_signal_fence(memory_order_seq_cst);
	guard.armed = 0;
	return 0;
}

struct copy {
	uint8_t *dst;
	const uint8_t *src;
	size_t length;
};

void guard_memcpy(uint8_t *dst, const uint8_t *src, size_t length)
{
#if THREAD_SANITIZER
	/* Remote hosts race on file memory by nature: nothing for the sanitizer to judge. */
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(length) : : "memory");
#else
	memcpy(dst, src, length);
#endif
}

/* By slices: memcpy() may begin anywhere in its range. */
static void copy(void *arg)
{
	struct copy *c = arg;

	while (c->length > 0) {
		size_t n = min_u64(c->length, COPY_SLICE_BYTES);

		guard_memcpy(c->dst, c->src, n);
		c->dst += n;
		c->src += n;
		c->length -= n;
	}
}

int export_guarded_copy(void *dst, const void *src, size_t length)
{
	struct copy c = {.dst = dst, .src = src, .length = length};
	struct guard_fault fault;

	return guard_run(copy, &c, &fault);
}

struct comparison {
	const void *a;
	const void *b;
	size_t length;
	bool equal;
};

static void compare(void *arg)
{
	struct comparison *c = arg;
#if THREAD_SANITIZER
	/* As in guard_memcpy(). Nothing is compared, and so equal, of no bytes. */
	__asm__ volatile("test %1, %1\n\trepe cmpsb\n\tsete %0"
			 : "=q"(c->equal), "+c"(c->length), "+S"(c->a), "+D"(c->b)
			 :
			 : "memory", "cc");
#else
	c->equal = memcmp(c->a, c->b, c->length) == 0;
#endif
}

int export_guarded_equal(const void *a, const void *b, size_t length)
{
	struct comparison c = {.a = a, .b = b, .length = length};
	struct guard_fault fault;
	int err = guard_run(compare, &c, &fault);

	return err ? err : c.equal;
}
