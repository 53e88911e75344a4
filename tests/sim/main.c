// SPDX-License-Identifier: BSD-3-Clause
/* The program: which seeds, and what of the target is replaced that needs no room of its own. */
#include "sim.h"

#include <malloc.h>
#include <signal.h>
#include <sys/time.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "reactor/reactor_internal.h"
#include "util/log.h"

/* ---- util: the clock, randomness, the log ---- */

uint64_t __wrap_now_ns(void);
void __wrap_random_bytes(void *buf, size_t len);

uint64_t __wrap_now_ns(void)
{
	return sim_now;
}

void __wrap_random_bytes(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len-- > 0)
		*p++ = (uint8_t)sim_random();
}

void log_set_level(enum log_level level)
{
	(void)level;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	(void)level;
	if (!sim.verbose)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sim_log("| %s", text);
}

/* ---- reactor: reads of files ---- */

struct pread_ring {
	struct loop *loop;
	struct loop_fd lfd; /* wakes the loop when a read is done */
	struct reactor_read *first, **last;
	struct reading_file *done;
	unsigned int started;
};

struct reading_file {
	struct pread_ring *ring;
	struct reactor_read *read;
	int result;
	struct reading_file *next;
};

static void awake(struct loop_fd *lfd, uint32_t events)
{
	(void)lfd;
	(void)events;
}

int pread_ring_new(struct loop *loop, struct pread_ring **ring)
{
	struct pread_ring *r = calloc(1, sizeof(*r));

	assert(r);
	r->loop = loop;
	r->last = &r->first;
	r->lfd = (struct loop_fd){.fd = sim_fd_new(), .fn = awake};
	*ring = r;
	return loop_add_fd(loop, &r->lfd, 1);
}

void pread_ring_free(struct pread_ring *ring)
{
	assert(ring->started == 0 && !ring->first);
	loop_del_fd(ring->loop, &ring->lfd);
	free(ring);
}

void pread_ring_add(struct pread_ring *ring, struct reactor_read *read)
{
	read->next = NULL;
	*ring->last = read;
	ring->last = &read->next;
	sim_fd_kick(ring->lfd.fd);
}

static void read_over(void *arg)
{
	struct reading_file *rf = arg;

	rf->result = file_pread(rf->read->buf, rf->read->length, rf->read->offset);
	rf->next = rf->ring->done;
	rf->ring->done = rf;
	sim_fd_kick(rf->ring->lfd.fd);
}

bool pread_ring_poll(struct pread_ring *ring)
{
	bool worked = false;

	while (ring->first) {
		struct reading_file *rf = calloc(1, sizeof(*rf));

		assert(rf);
		*rf = (struct reading_file){.ring = ring, .read = ring->first};
		ring->first = rf->read->next;
		if (!ring->first)
			ring->last = &ring->first;
		ring->started++;
		sim_after(sim_delay(100 * NS_PER_US), read_over, rf);
		worked = true;
	}
	while (ring->done) {
		struct reading_file *rf = ring->done;
		struct reactor_read *read = rf->read;
		int result = rf->result;

		ring->done = rf->next;
		ring->started--;
		free(rf);
		read->done(read, result);
		worked = true;
	}
	return worked;
}

/* ---- the program ---- */

#define SEED_SECONDS 5 /* of the processor: hundreds of times what one takes */

static void on_crash(int sig)
{
	static char text[256];
	int n = snprintf(text, sizeof(text),
			 "seed %llu: the target %s\nreplay: tests/sim/sim --seed %llu --verbose\n",
			 (unsigned long long)sim.seed,
			 sig == SIGABRT	    ? "gave up (an assertion, or abort)"
			 : sig == SIGVTALRM ? "hangs"
					    : "crashed",
			 (unsigned long long)sim.seed);

	(void)!write(STDOUT_FILENO, text, (size_t)n);
	_exit(1);
}

static void usage(FILE *to)
{
	(void)fprintf(
		to,
		"Usage: sim [--seed N] [--seeds N] [--from N] [--jobs N] [--verbose]\n\n"
		"  --seed N     this one only\n"
		"  --seeds N    so many, from --from on (default 1000 from 1)\n"
		"  --jobs N     in so many processes\n"
		"  --verbose    everything that happens\n\n"
		"Ends at the first seed that breaks a promise, with exit status 1 and a line that\n"
		"replays it.\n");
}

static int run(uint64_t from, uint64_t seeds, uint64_t step)
{
	for (uint64_t i = 0; i < seeds; i += step) {
		const struct itimerval most = {.it_value.tv_sec = SEED_SECONDS};

		(void)setitimer(ITIMER_VIRTUAL, &most, NULL);
		world_run(from + i);
	}
	return 0;
}

static int run_jobs(uint64_t from, uint64_t seeds, unsigned int jobs)
{
	int failed = 0, status;

	(void)fflush(stdout);
	for (unsigned int j = 0; j < jobs; j++) {
		pid_t pid = fork();

		if (pid < 0)
			return 1;
		if (pid == 0)
			_exit(run(from + j, seeds > j ? seeds - j : 0, jobs));
	}
	while (wait(&status) > 0)
		failed |= status != 0;
	return failed;
}

int main(int argc, char **argv)
{
	uint64_t from = 1, seeds = 1000, one = 0;
	unsigned int jobs = 1;
	struct timespec a, b;
	double s;
	int rc;

	for (int i = 1; i < argc; i++) {
		bool more = i + 1 < argc;

		if (strcmp(argv[i], "--verbose") == 0) {
			sim.verbose = true;
		} else if (strcmp(argv[i], "--seed") == 0 && more) {
			one = strtoull(argv[++i], NULL, 0);
		} else if (strcmp(argv[i], "--seeds") == 0 && more) {
			seeds = strtoull(argv[++i], NULL, 0);
		} else if (strcmp(argv[i], "--from") == 0 && more) {
			from = strtoull(argv[++i], NULL, 0);
		} else if (strcmp(argv[i], "--jobs") == 0 && more) {
			jobs = (unsigned int)strtoul(argv[++i], NULL, 0);
		} else {
			bool help = strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;

			usage(help ? stdout : stderr);
			return help ? 0 : 2;
		}
	}
	/* The next seed needs it again: no page goes back to the kernel. */
	(void)mallopt(M_MMAP_THRESHOLD, (int)MIB(32)); /* the most */
	(void)mallopt(M_TRIM_THRESHOLD, (int)GIB(1));
	(void)signal(SIGABRT, on_crash);
	(void)signal(SIGSEGV, on_crash);
	(void)signal(SIGBUS, on_crash);
	(void)signal(SIGFPE, on_crash);
	(void)signal(SIGVTALRM, on_crash);
	if (one) {
		world_run(one);
		printf("seed %llu: all promises kept\n", (unsigned long long)one);
		return 0;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &a);
	rc = jobs > 1 ? run_jobs(from, seeds, jobs) : run(from, seeds, 1);
	(void)clock_gettime(CLOCK_MONOTONIC, &b);
	s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	if (rc == 0)
		printf("seeds %llu to %llu: all promises kept; %.1f s, %.0f seeds/s\n",
		       (unsigned long long)from, (unsigned long long)(from + seeds - 1), s,
		       (double)seeds / s);
	return rc;
}
