// SPDX-License-Identifier: BSD-3-Clause
/*
 * What clients cost a daemon that ask nothing of it.
 *
 *	lh-bench-idle TARGET CLIENTS PID
 *
 * Each client has an admin queue, a block queue and, with a grant for reading, a direct queue: three
 * connections. Looked at for one keep-alive time-out, so that each has its keep-alives in it. PID is
 * the daemon's. Prints one line of JSON; `busy_percent` is of one processor.
 */
#include "leasehold.h"

#include "measure.h"

#include <poll.h>
#include <stdio.h>

#define CLIENTS_MAX 256
#define GRANT_BYTES KIB(4)
#define KATO_MS	    15000
#define SETTLE_MS   1000

int main(int argc, char **argv)
{
	const struct lh_options options = {.no_fallback = true, .kato_ms = KATO_MS};
	struct lh_client *clients[CLIENTS_MAX];
	struct lh_export *exports[CLIENTS_MAX];
	uint64_t count, begun, cpu;
	struct lh_error err;
	pid_t daemon;

	if (argc != 4) {
		(void)fprintf(stderr,
			      "usage: see the head of bench/idle.c, or run scripts/bench\n");
		return 2;
	}
	count = number(argv[2], 1, CLIENTS_MAX);
	daemon = (pid_t)number(argv[3], 1, INT32_MAX);
	for (uint64_t i = 0; i < count; i++)
		if (lh_open(argv[1], &options, &clients[i], &exports[i], &err) < 0 ||
		    lh_hold(exports[i], 0, GRANT_BYTES, LH_READ, 0, NULL, &err) < 0)
			die("client %llu: %s", (unsigned long long)i + 1, err.text);
	(void)poll(NULL, 0, SETTLE_MS);
	begun = now_ns();
	cpu = cpu_ns(daemon);
	(void)poll(NULL, 0, KATO_MS);
	cpu = cpu_ns(daemon) - cpu;
	(void)printf("{\"clients\":%llu,\"seconds\":%.3f,\"busy_percent\":%.4f}\n",
		     (unsigned long long)count, (double)(now_ns() - begun) / (double)NS_PER_S,
		     100 * (double)cpu / (double)(now_ns() - begun));
	for (uint64_t i = 0; i < count; i++) {
		(void)lh_export_close(exports[i]);
		lh_client_close(clients[i]);
	}
	return 0;
}
