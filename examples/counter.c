// SPDX-License-Identifier: BSD-3-Clause
/*
 * A counter on the first page of an export: one program counts, many look, and the target's processor
 * has no part in it.
 *
 *	counter iwarp://192.0.2.7/data count 1000	counts on by so much
 *	counter iwarp://192.0.2.7/data look		prints it
 *
 *	cc counter.c $(pkg-config --cflags --libs leasehold) -o counter
 */
#include <leasehold.h>

#include <endian.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096

int main(int argc, char **argv)
{
	bool count = argc == 4 && strcmp(argv[2], "count") == 0;
	struct lh_client *client;
	struct lh_export *ex;
	struct lh_error why;
	uint64_t *page, value;

	if (!count && !(argc == 3 && strcmp(argv[2], "look") == 0))
		errx(2, "usage: counter TARGET/EXPORT look | count N");
	if (lh_open(argv[1], NULL, &client, &ex, &why))
		errx(1, "%s", why.text);
	/* Who counts is the only one who writes; grants to read are for any number. */
	if (lh_hold(ex, 0, PAGE, count ? LH_READ | LH_WRITE : LH_READ, count ? LH_HOLD_ALLOCATE : 0,
		    NULL, &why))
		errx(1, "%s", why.text);
	page = lh_alloc(client, PAGE);
	if (!page)
		err(1, "memory");
	if (lh_read(ex, 0, page, sizeof(*page), &why))
		errx(1, "%s", why.text);
	value = le64toh(*page);

	for (uint64_t left = count ? strtoull(argv[3], NULL, 10) : 0; left > 0; left--) {
		*page = htole64(++value);
		/* Adapters place eight aligned bytes at once; the software fabric may cut them. */
		if (lh_write(ex, 0, page, sizeof(*page), &why))
			errx(1, "%s", why.text);
	}
	if (count && lh_persist(ex, 0, sizeof(*page), &why))
		errx(1, "%s", why.text);
	(void)printf("%" PRIu64 "\n", value);
	lh_free(client, page);
	(void)lh_export_close(ex);
	lh_client_close(client);
	return 0;
}
