/* SPDX-License-Identifier: BSD-3-Clause */
/* What the fuzz targets share: bytes of the input, taken from the front. */
#ifndef LEASEHOLD_FUZZ_H
#define LEASEHOLD_FUZZ_H

#include "util/util.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct fuzz_input {
	const uint8_t *data;
	size_t left;
};

/** The next `size` bytes; zeros behind the end. */
static inline void fuzz_take(struct fuzz_input *in, void *to, size_t size)
{
	size_t n = size < in->left ? size : in->left;

	memset(to, 0, size);
	if (n > 0)
		memcpy(to, in->data, n);
	in->data += n;
	in->left -= n;
}

static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
	uint8_t byte;

	fuzz_take(in, &byte, 1);
	return byte;
}

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
	uint16_t v;

	fuzz_take(in, &v, sizeof(v));
	return v;
}

/** A copy of its own, of exactly that size: a look behind its end is an error. Not NULL. */
static inline void *fuzz_copy(const void *from, size_t size)
{
	void *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	if (size)
		memcpy(copy, from, size);
	return copy;
}

#endif
