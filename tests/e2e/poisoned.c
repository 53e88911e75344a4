// SPDX-License-Identifier: BSD-3-Clause
/*
 * A daemon with damage on demand: what a machine does where memory cannot be read any more, for machines
 * that have none to spare. A page that is damaged takes no access; who touches it
 * gets SIGBUS with BUS_MCEERR_AR and the page's address, a system call EFAULT, and MADV_POPULATE_WRITE
 * EHWPOISON, as by the kernel. What is damaged is what the file named by LEASEHOLD_TEST_POISON says, a
 * line each, "PATH OFFSET LENGTH"; it is read every few milliseconds, and counts for all mappings of PATH.
 * When what it says is in force the same name with ".done" has the same lines.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_PAGES   64
#define PAGE_BYTES  4096
#define LOOK_US	    5000
#define MAX_DAMAGES 16

struct damage {
	char path[PATH_MAX];
	uint64_t offset, length;
};

/* Addresses of pages that are damaged now; 0: none. */
static _Atomic uintptr_t pages[MAX_PAGES];

static bool is_damaged(uintptr_t from, uintptr_t to)
{
	for (unsigned int i = 0; i < MAX_PAGES; i++) {
		uintptr_t page = atomic_load(&pages[i]);

		if (page && page < to && page + PAGE_BYTES > from)
			return true;
	}
	return false;
}

/* The access ends in the daemon's own handler, which does not come back if it was on its guard. */
static void on_segv(int sig, siginfo_t *info, void *context)
{
	const uintptr_t at = (uintptr_t)info->si_addr;
	struct sigaction bus;
	siginfo_t told = {.si_signo = SIGBUS, .si_code = BUS_MCEERR_AR, .si_addr = info->si_addr};

	if (is_damaged(at, at + 1) && sigaction(SIGBUS, NULL, &bus) == 0 &&
	    bus.sa_flags & SA_SIGINFO) {
		told.si_addr_lsb = 12;
		bus.sa_sigaction(SIGBUS, &told, context);
	}
	(void)signal(sig, SIG_DFL);
}

int __real_madvise(void *start, size_t length, int advice);
int __wrap_madvise(void *start, size_t length, int advice);

int __wrap_madvise(void *start, size_t length, int advice)
{
	if (advice == MADV_POPULATE_WRITE &&
	    is_damaged((uintptr_t)start, (uintptr_t)start + length)) {
		errno = EHWPOISON;
		return -1;
	}
	return __real_madvise(start, length, advice);
}

/* Every page of a mapping that the damages name: begins, or ends, to be damaged. */
static void look_at(uintptr_t base, uintptr_t end, uint64_t file_offset, const char *path,
		    const struct damage *damages, unsigned int nr, uintptr_t *wanted,
		    unsigned int *nr_wanted)
{
	for (unsigned int i = 0; i < nr; i++) {
		const struct damage *d = &damages[i];

		if (strcmp(path, d->path) != 0)
			continue;
		for (uint64_t at = d->offset; at < d->offset + d->length; at += PAGE_BYTES) {
			uintptr_t page = base + (at - file_offset);

			if (at >= file_offset && page < end && *nr_wanted < MAX_PAGES)
				wanted[(*nr_wanted)++] = page;
		}
	}
}

static void apply(const struct damage *damages, unsigned int nr)
{
	uintptr_t wanted[MAX_PAGES];
	unsigned int nr_wanted = 0;
	FILE *f = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 128];

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		uintptr_t base, end;
		uint64_t offset;
		char path[PATH_MAX];

		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNx64 " %*s %*s %4095s", &base,
			   &end, &offset, path) == 4)
			look_at(base, end, offset, path, damages, nr, wanted, &nr_wanted);
	}
	(void)fclose(f);
	for (unsigned int i = 0; i < MAX_PAGES; i++) {
		uintptr_t page = atomic_load(&pages[i]);
		bool stays = false;

		for (unsigned int k = 0; k < nr_wanted; k++)
			stays |= wanted[k] == page;
		/* A mapping may be gone by now. */
		if (page && !stays) {
			(void)mprotect((void *)page, PAGE_BYTES, PROT_READ | PROT_WRITE);
			atomic_store(&pages[i], 0);
		}
	}
	for (unsigned int k = 0; k < nr_wanted; k++) {
		unsigned int i = 0;

		if (is_damaged(wanted[k], wanted[k] + 1))
			continue;
		while (i < MAX_PAGES - 1 && atomic_load(&pages[i]))
			i++;
		atomic_store(&pages[i], wanted[k]);
		(void)mprotect((void *)wanted[k], PAGE_BYTES, PROT_NONE);
	}
}

static unsigned int read_damages(const char *name, struct damage damages[MAX_DAMAGES])
{
	FILE *f = fopen(name, "re");
	unsigned int nr = 0;

	while (f && nr < MAX_DAMAGES &&
	       fscanf(f, "%4095s %" SCNu64 " %" SCNu64, damages[nr].path, &damages[nr].offset,
		      &damages[nr].length) == 3)
		nr++;
	if (f)
		(void)fclose(f);
	return nr;
}

static void say_done(const char *name, const struct damage *damages, unsigned int nr)
{
	char done[PATH_MAX], part[PATH_MAX + 8];
	FILE *f;

	(void)snprintf(done, sizeof(done), "%s.done", name);
	(void)snprintf(part, sizeof(part), "%s.part", done);
	f = fopen(part, "we");
	if (!f)
		return;
	for (unsigned int i = 0; i < nr; i++)
		(void)fprintf(f, "%s %" PRIu64 " %" PRIu64 "\n", damages[i].path, damages[i].offset,
			      damages[i].length);
	if (fclose(f) == 0)
		(void)rename(part, done);
}

static void *look(void *arg)
{
	static struct damage damages[MAX_DAMAGES];

	for (;;) {
		unsigned int nr = read_damages(arg, damages);

		apply(damages, nr);
		say_done(arg, damages, nr);
		(void)usleep(LOOK_US);
	}
	return NULL;
}

__attribute__((constructor)) static void begin(void)
{
	struct sigaction action = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER};
	char *name = getenv("LEASEHOLD_TEST_POISON");
	sigset_t all, before;
	pthread_t thread;

	if (!name)
		return;
	(void)sigfillset(&all);
	(void)sigaction(SIGSEGV, &action, NULL);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, look, name) != 0)
		abort();
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}
