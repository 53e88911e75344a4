// SPDX-License-Identifier: BSD-3-Clause
/*
 * Uses a key through libleasehold when it is told to, and says what came of it. For tests/e2e.
 *
 *	trial TARGET
 *
 * Holds the export, prints "ready", waits for a line on standard input, tries the key: prints "refused",
 * "works" or "not proven", and the library's sentence.
 */
#include "leasehold.h"

#include <errno.h>
#include <stdio.h>

static int complain(const struct lh_error *err)
{
	(void)fprintf(stderr, "trial: %s\n", err->text);
	return 1;
}

static int try_it(struct lh_export *ex)
{
	struct lh_error err = {0};
	struct lh_key key;
	char line[16];
	int rc;

	if (lh_hold(ex, 0, LH_ALL, LH_READ | LH_WRITE, 0, NULL, &err) < 0)
		return complain(&err);
	if (lh_export_key(ex, 0, &key) < 0)
		return 1;
	(void)puts("ready");
	(void)fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	rc = lh_try_key(ex, &key, NULL, &err);
	(void)printf("%s: %s\n",
		     rc == 0	     ? "works"
		     : rc == -EACCES ? "refused"
				     : "not proven",
		     err.text);
	return 0;
}

int main(int argc, char **argv)
{
	struct lh_client *client;
	struct lh_export *ex;
	struct lh_error err;
	int rc;

	if (argc != 2)
		return 2;
	if (lh_open(argv[1], NULL, &client, &ex, &err) < 0)
		return complain(&err);
	rc = try_it(ex);
	lh_client_give_up(client);
	(void)lh_export_close(ex);
	lh_client_close(client);
	return rc;
}
