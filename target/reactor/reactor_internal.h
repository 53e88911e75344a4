/* SPDX-License-Identifier: BSD-3-Clause */
/* Between reactor.c and pread.c: the ring that reads files for one reactor. */
#ifndef LEASEHOLD_REACTOR_INTERNAL_H
#define LEASEHOLD_REACTOR_INTERNAL_H

#include "reactor/reactor.h"

struct pread_ring;

/** On the thread that owns `loop` now. Uses io_uring, or two threads where the kernel forbids it. */
MUST_CHECK int pread_ring_new(struct loop *loop, struct pread_ring **ring);
/** Every read must have been answered. */
void pread_ring_free(struct pread_ring *ring);

/** Queues one read; it starts at the next pread_ring_poll(). */
void pread_ring_add(struct pread_ring *ring, struct reactor_read *read);

/** Starts what was queued, answers what is done. True if there was anything. */
bool pread_ring_poll(struct pread_ring *ring);

#endif
