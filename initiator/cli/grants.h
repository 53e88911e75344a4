/* SPDX-License-Identifier: BSD-3-Clause */
/* The listing of `leasehold status --grants`. */
#ifndef LEASEHOLD_GRANTS_H
#define LEASEHOLD_GRANTS_H

#include <stdbool.h>
#include <stdint.h>

/** Of what; NULL: of all. */
struct grants_options {
	const char *socket; /* NULL: the usual place */
	const char *export;
	const char *host;	/* NQN */
	const uint16_t *client; /* controller id */
	bool json;
};

/** Asks and prints; the exit code, with the sentence printed. */
int grants_show(const struct grants_options *o);

#endif
