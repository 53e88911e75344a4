/* SPDX-License-Identifier: BSD-3-Clause */
/* The simulated file, for the door of target/export that lies in front of it (export.c). */
#ifndef LEASEHOLD_SIM_FILE_H
#define LEASEHOLD_SIM_FILE_H

#include "sim.h"

enum file_page {
	FILE_HOLE,
	FILE_SHARED, /* with a clone */
	FILE_OWN,
};

static inline unsigned int file_nr_pages(uint64_t bytes)
{
	return (unsigned int)((bytes + PAGE_BYTES - 1) / PAGE_BYTES);
}

enum file_page file_page(unsigned int page);

/** Bytes of the file as a reader of it sees them; within the pages there are. */
void file_read(uint64_t offset, uint8_t *to, uint64_t length);
/** NULL: zeros. What is shared or a hole gets blocks of its own. */
void file_write_bytes(uint64_t offset, const uint8_t *from, uint64_t length);

/** As the processor does it with its caches; what is in a hole is nothing. */
void file_persist(uint64_t offset, uint64_t length);

/** Holes among `n` pages get blocks. */
void file_fill(unsigned int page, unsigned int n);
/** Those that a clone shares get blocks of their own. */
void file_unshare(unsigned int page, unsigned int n);
/** `n` pages become holes. */
void file_drop(unsigned int page, unsigned int n);
void file_set_size(uint64_t bytes);

/* A mapping of the file: a slot of addresses. */
struct mapping {
	uint8_t *base;
	unsigned int references;
};

/** With one reference; who lets go of the last has it back. */
struct mapping *file_map(void);

#endif
