// SPDX-License-Identifier: BSD-3-Clause
#include "measure.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)fprintf(stderr, "%s: ", program_invocation_short_name);
	(void)vfprintf(stderr, fmt, args);
	(void)fputc('\n', stderr);
	va_end(args);
	exit(1);
}

uint64_t number(const char *text, uint64_t min, uint64_t max)
{
	uint64_t n;

	if (size_parse(text, &n) < 0 || n < min || n > max)
		die("'%s': expected a number from %llu to %llu", text, (unsigned long long)min,
		    (unsigned long long)max);
	return n;
}

void move_apart(void)
{
	const long count = sysconf(_SC_NPROCESSORS_CONF);
	cpu_set_t mine, others;

	CPU_ZERO(&others);
	if (sched_getaffinity(0, sizeof(mine), &mine) < 0)
		return;
	for (int i = 0; i < count && i < CPU_SETSIZE; i++)
		if (!CPU_ISSET(i, &mine))
			CPU_SET(i, &others);
	if (CPU_COUNT(&others))
		(void)sched_setaffinity(0, sizeof(others), &others);
}

uint64_t random_place(uint64_t size, uint64_t bytes)
{
	static _Thread_local uint64_t random =
		88172645463325252ull; /* xorshift64: any seed but 0 */

	random ^= random << 13;
	random ^= random >> 7;
	random ^= random << 17;
	return random % (size / bytes) * bytes;
}

/* ---- samples ----------------------------------------------------------------------------------- */

void samples_add(struct samples *s, uint64_t ns)
{
	if (s->count == SAMPLES_MAX)
		return;
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 1024;
		s->ns = reallocarray(s->ns, s->room, sizeof(*s->ns));
		if (!s->ns)
			die("out of memory");
	}
	s->ns[s->count++] = ns;
}

static int smaller_first(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double at_us(const struct samples *s, double part)
{
	const size_t i = (size_t)(part * (double)s->count);

	return s->count ? (double)s->ns[i < s->count ? i : s->count - 1] / (double)NS_PER_US : 0;
}

static double mean_us(const struct samples *s)
{
	double sum = 0;

	for (size_t i = 0; i < s->count; i++)
		sum += (double)s->ns[i];
	return s->count ? sum / (double)s->count / (double)NS_PER_US : 0;
}

void samples_print(struct samples *s)
{
	if (s->count)
		qsort(s->ns, s->count, sizeof(*s->ns), smaller_first);
	(void)printf("\"count\":%zu,\"mean_us\":%.3f,\"p50_us\":%.3f,\"p99_us\":%.3f,"
		     "\"max_us\":%.3f",
		     s->count, mean_us(s), at_us(s, .5), at_us(s, .99), at_us(s, 1));
	free(s->ns);
	*s = (struct samples){0};
}

/* ---- runs -------------------------------------------------------------------------------------- */

uint64_t cpu_ns(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
		die("no processor time of process %d: it is gone", (int)pid);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

void run_begin(struct run *r, pid_t peer)
{
	r->samples.count = 0;
	r->bytes = 0;
	r->peer = peer;
	r->peer_cpu_ns = cpu_ns(peer);
	r->own_cpu_ns = cpu_ns(getpid());
	r->begun_ns = now_ns();
}

void run_end(struct run *r)
{
	const uint64_t ns = now_ns() - r->begun_ns;
	const uint64_t own = cpu_ns(getpid()) - r->own_cpu_ns;
	const uint64_t peer = cpu_ns(r->peer) - r->peer_cpu_ns;

	(void)printf(
		"{\"bytes\":%llu,\"seconds\":%.6f,\"client_cpu_s\":%.6f,\"target_cpu_s\":%.6f,",
		(unsigned long long)r->bytes, (double)ns / (double)NS_PER_S,
		(double)own / (double)NS_PER_S, (double)peer / (double)NS_PER_S);
	samples_print(&r->samples);
	(void)puts("}");
}
