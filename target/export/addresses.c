// SPDX-License-Identifier: BSD-3-Clause
/*
 * A mapping at huge page alignment, which mmap(2) alone does not promise. Nothing is ever mapped with
 * MAP_FIXED: where that fails (MAP_SYNC of a file that has no DAX, for one) the kernel may have taken
 * away what was there, another thread's malloc() gets these addresses, and the next attempt lands on
 * its memory. A free place is found, given up and asked for; who was quicker keeps it.
 */
#include "addresses.h"

#include <errno.h>
#include <sys/mman.h>

#define ATTEMPTS 64

/* An aligned place that was free a moment ago, or NULL. */
static void *find_place(uint64_t bytes, uint64_t align)
{
	uint64_t room = bytes + align;
	void *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	(void)munmap(p, room);
	return (uint8_t *)p + (align_up((uint64_t)(uintptr_t)p, align) - (uint64_t)(uintptr_t)p);
}

int addresses_map(int fd, uint64_t bytes, uint64_t align, bool sync, uint8_t **base)
{
	int flags = sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED;

	for (int i = 0; i < ATTEMPTS; i++) {
		void *place = find_place(bytes, align), *p;

		if (!place)
			return -errno;
		p = mmap(place, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
		if (p == MAP_FAILED)
			return -errno;
		if ((uintptr_t)p % align == 0) {
			*base = p;
			return 0;
		}
		(void)munmap(p, bytes);
	}
	return -EAGAIN;
}
