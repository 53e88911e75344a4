// SPDX-License-Identifier: BSD-3-Clause
/* The private data of a connection request: NVMe's 32 bytes, or the direct extension's. */
#include "fuzz.h"
#include "nvme/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(data, size);
	struct cm_request request;
	uint16_t reject = cm_request_parse(copy, size, &request);

	if (reject == 0 && request.direct)
		assert(request.credits >= 2);
	else if (reject == 0)
		assert(request.sqsize >= 2 && request.hrqsize >= 2);
	free(copy);
	return 0;
}
