// SPDX-License-Identifier: BSD-3-Clause
/*
 * What many of a kind cost: each other's time, and the daemon's memory.
 *
 *	lh-bench-scale TARGET clients N block|direct MS PID
 *	lh-bench-scale TARGET grants N MS PID
 *
 * `clients`: N of them, each on a thread of its own, read 4 KiB at a time at places at random. `grants`: one
 * client has N grants of 4 KiB, and reads from one after another at random. PID is the daemon's. Prints one
 * line of JSON; `made_ms` is how long it took until all were there, `kib_each` what the daemon's memory
 * (anonymous and resident) grew by for each.
 */
#include "leasehold.h"

#include "measure.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES	    KIB(4)
#define CLIENTS_MAX 1024
#define GRANTS_MAX  16384
#define WARM_PART   10 /* of the time, before it counts: so many-th */

struct reader {
	struct lh_client *client;
	struct lh_export *ex;
	uint64_t size; /* that it reads from, from the beginning on */
	unsigned int flags;
	void *buf;
	uint64_t warm_ns, end_ns;
	struct samples samples;
	pthread_t thread;
};

static uint64_t memory_kib(pid_t pid)
{
	char path[64], line[128];
	uint64_t kib = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	if (!f)
		die("no memory of process %d: it is gone", (int)pid);
	while (!kib && fgets(line, sizeof(line), f))
		if (strncmp(line, "RssAnon:", 8) == 0)
			kib = strtoull(line + 8, NULL, 10);
	(void)fclose(f);
	return kib;
}

static uint64_t grown_kib(pid_t pid, uint64_t before)
{
	const uint64_t now = memory_kib(pid);

	return now > before ? now - before : 0;
}

static void open_reader(struct reader *r, const char *target, bool direct)
{
	const struct lh_options options = {.no_fallback = direct};
	struct lh_export_info info;
	struct lh_error err;

	if (lh_open(target, &options, &r->client, &r->ex, &err) < 0 ||
	    lh_export_info(r->ex, false, &info, &err) < 0)
		die("%s", err.text);
	r->size = info.size_bytes;
	r->flags = direct ? 0 : LH_IO_BLOCK;
	r->buf = lh_alloc(r->client, BYTES);
	if (!r->buf)
		die("out of memory");
}

static void close_reader(struct reader *r)
{
	lh_free(r->client, r->buf);
	(void)lh_export_close(r->ex);
	lh_client_close(r->client);
	free(r->samples.ns);
}

static void *read_on(void *arg)
{
	struct reader *r = arg;
	uint64_t now = now_ns();

	while (now < r->end_ns) {
		const uint64_t begun = now, offset = random_place(r->size, BYTES);
		struct lh_error err;
		int rc = r->flags & LH_IO_BLOCK ? lh_block_read(r->ex, offset, r->buf, BYTES, &err)
						: lh_read(r->ex, offset, r->buf, BYTES, &err);

		if (rc < 0)
			die("%s", err.text);
		now = now_ns();
		if (begun >= r->warm_ns)
			samples_add(&r->samples, now - begun);
	}
	return NULL;
}

/* All at once; then one line. */
static void measure(struct reader *readers, uint64_t n, uint64_t ms, uint64_t each,
		    uint64_t made_ns, uint64_t kib)
{
	const uint64_t begin = now_ns(), warm = begin + ms * NS_PER_MS / WARM_PART;
	struct samples all = {0};

	for (uint64_t i = 0; i < n; i++) {
		readers[i].warm_ns = warm;
		readers[i].end_ns = warm + ms * NS_PER_MS;
		if (pthread_create(&readers[i].thread, NULL, read_on, &readers[i]) != 0)
			die("no thread for client %llu", (unsigned long long)i + 1);
	}
	for (uint64_t i = 0; i < n; i++) {
		(void)pthread_join(readers[i].thread, NULL);
		for (size_t s = 0; s < readers[i].samples.count; s++)
			samples_add(&all, readers[i].samples.ns[s]);
	}
	(void)printf("{\"made_ms\":%.3f,\"kib_each\":%.3f,\"iops\":%.1f,",
		     (double)made_ns / (double)NS_PER_MS, (double)kib / (double)each,
		     (double)all.count * 1000 / (double)ms);
	samples_print(&all);
	(void)puts("}");
}

static void clients(const char *target, uint64_t n, bool direct, uint64_t ms, pid_t daemon)
{
	static struct reader readers[CLIENTS_MAX];
	const uint64_t before = memory_kib(daemon), begun = now_ns();
	struct lh_error err;

	for (uint64_t i = 0; i < n; i++) {
		open_reader(&readers[i], target, direct);
		if (direct && lh_hold(readers[i].ex, 0, LH_ALL, LH_READ, 0, NULL, &err) < 0)
			die("client %llu: %s", (unsigned long long)i + 1, err.text);
	}
	measure(readers, n, ms, n, now_ns() - begun, grown_kib(daemon, before));
	for (uint64_t i = 0; i < n; i++)
		close_reader(&readers[i]);
}

static void grants(const char *target, uint64_t n, uint64_t ms, pid_t daemon)
{
	struct reader r = {0};
	uint64_t before, begun;
	struct lh_error err;

	open_reader(&r, target, true);
	if (r.size < n * BYTES)
		die("%s is smaller than %llu grants of 4 KiB", target, (unsigned long long)n);
	r.size = n * BYTES;
	before = memory_kib(daemon);
	begun = now_ns();
	for (uint64_t i = 0; i < n; i++)
		if (lh_hold(r.ex, i * BYTES, BYTES, LH_READ, 0, NULL, &err) < 0)
			die("grant %llu: %s", (unsigned long long)i + 1, err.text);
	measure(&r, 1, ms, n, now_ns() - begun, grown_kib(daemon, before));
	close_reader(&r);
}

int main(int argc, char **argv)
{
	const bool is_clients = argc == 7 && strcmp(argv[2], "clients") == 0;
	uint64_t ms;
	pid_t daemon;

	if (!is_clients && (argc != 6 || strcmp(argv[2], "grants") != 0)) {
		(void)fprintf(stderr,
			      "usage: see the head of bench/scale.c, or run scripts/bench\n");
		return 2;
	}
	ms = number(argv[argc - 2], 1, 3600000);
	daemon = (pid_t)number(argv[argc - 1], 1, INT32_MAX);
	if (!is_clients)
		grants(argv[1], number(argv[3], 1, GRANTS_MAX), ms, daemon);
	else if (strcmp(argv[4], "block") == 0 || strcmp(argv[4], "direct") == 0)
		clients(argv[1], number(argv[3], 1, CLIENTS_MAX), argv[4][0] == 'd', ms, daemon);
	else
		die("'%s': expected block or direct", argv[4]);
	return 0;
}
