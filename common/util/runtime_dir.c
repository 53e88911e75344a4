// SPDX-License-Identifier: BSD-3-Clause
#include "util/runtime_dir.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OF_ROOT "/run/leasehold"

int runtime_dir(char *path, size_t size)
{
	const char *run = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0)
		(void)snprintf(path, size, "%s", OF_ROOT);
	else if (run && run[0])
		(void)snprintf(path, size, "%s/leasehold", run);
	else
		return -ENOENT;
	return 0;
}

void runtime_admin_socket(char *path, size_t size)
{
	char dir[PATH_MAX];

	(void)snprintf(path, size, "%s/" RUNTIME_ADMIN_SOCKET,
		       runtime_dir(dir, sizeof(dir)) < 0 ? OF_ROOT : dir);
}
