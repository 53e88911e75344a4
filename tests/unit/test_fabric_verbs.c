// SPDX-License-Identifier: BSD-3-Clause
/* The fabric suite over rdma-core. Needs an adapter: in the testbed that is soft-RoCE. */
#include "fabric_suite.h"

#include <stdlib.h>

#include "fabric/verbs.h"

int main(void)
{
	const struct fabric_suite verbs = {
		.name = "fabric_verbs",
		.open = verbs_fabric_open,
		.addr = getenv("LEASEHOLD_TESTBED_ADDR"),
		.addr6 = getenv("LEASEHOLD_TESTBED_ADDR6"),
		.cycles = 60,
	};

	return fabric_suite_run(&verbs);
}
