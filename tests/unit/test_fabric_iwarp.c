// SPDX-License-Identifier: BSD-3-Clause
/* The fabric suite over our own iWARP, on loopback. */
#include "fabric_suite.h"

#include <stdlib.h>

#include "iwarp/iwarp.h"

static int open_iwarp(struct fabric **f, struct errtext *err)
{
	struct iwarp_options options = {.crc = IWARP_CRC_AUTO};

	if (getenv("LEASEHOLD_TEST_CRC"))
		options.crc = IWARP_CRC_ON;
	return iwarp_fabric_open(&options, f, err);
}

int main(void)
{
	const char *addr = getenv("LEASEHOLD_TEST_ADDR"), *addr6 = getenv("LEASEHOLD_TEST_ADDR6");
	const struct fabric_suite iwarp = {
		.name = "fabric_iwarp",
		.open = open_iwarp,
		.addr = addr ? addr : "127.0.0.1",
		.addr6 = addr6 ? addr6 : "::1",
		.cycles = 1000,
	};

	return fabric_suite_run(&iwarp);
}
