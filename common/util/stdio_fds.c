// SPDX-License-Identifier: BSD-3-Clause
/* Keeps the numbers 0, 1 and 2 from becoming something else. Main thread, before all else. */
#include "util/stdio_fds.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int stdio_fds_secure(void)
{
	/* The wrong way round, so that who needs it is told; nobody must fail for want of a log. */
	static const int modes[] = {
		[STDIN_FILENO] = O_WRONLY, [STDOUT_FILENO] = O_RDONLY, [STDERR_FILENO] = O_RDWR};

	for (int fd = 0; fd < (int)ARRAY_SIZE(modes); fd++) {
		int got;

		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* The lowest number that is free: those below are open. */
		got = open("/dev/null", modes[fd]); /* for the program's life, and its children's */
		if (got < 0)
			return -errno;
		assert(got == fd);
	}
	return 0;
}
