// SPDX-License-Identifier: BSD-3-Clause
/*
 * Appends lines to a log in an export; each is durable when its number is printed:
 *
 *	log iwarp://192.0.2.7/data <LINES
 *
 *	cc log.c $(pkg-config --cflags --libs leasehold) -o log
 *
 * The log begins with its length, 8 bytes, little-endian. A line is there before the length says so: if
 * the power fails in between, it is as if it had not been written.
 */
#include <leasehold.h>

#include <endian.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct lh_export *ex;
static struct lh_error why;

/* Written, and durable. */
static void put(uint64_t offset, const void *bytes, uint64_t length)
{
	int rc;

	/* A recall that met them before they were confirmed has lost them: then they are written again. */
	do {
		if (lh_write(ex, offset, bytes, length, &why))
			errx(1, "%s", why.text);
		rc = lh_persist(ex, offset, length, &why);
	} while (rc == -LH_EDEAD);
	if (rc)
		errx(1, "%s", why.text);
}

int main(int argc, char **argv)
{
	struct lh_client *client;
	uint64_t end, stored;
	unsigned int nr = 0;
	char *line = NULL;
	size_t room = 0;
	ssize_t length;

	if (argc != 2)
		errx(2, "usage: log TARGET/EXPORT <LINES");
	if (lh_open(argv[1], NULL, &client, &ex, &why))
		errx(1, "%s", why.text);
	if (lh_hold(ex, 0, LH_ALL, LH_READ | LH_WRITE, LH_HOLD_ALLOCATE, NULL, &why))
		errx(1, "%s", why.text);
	if (lh_read(ex, 0, &stored, sizeof(stored), &why))
		errx(1, "%s", why.text);
	end = le64toh(stored);
	if (end < sizeof(stored))
		end = sizeof(stored);

	while ((length = getline(&line, &room, stdin)) > 0) {
		put(end, line, (uint64_t)length);
		end += (uint64_t)length;
		stored = htole64(end);
		put(0, &stored, sizeof(stored));
		(void)printf("%u\n", ++nr);
	}
	free(line);
	(void)lh_export_close(ex);
	lh_client_close(client);
	return 0;
}
