// SPDX-License-Identifier: BSD-3-Clause
/*
 * The direct extension: a message of a direct queue (first byte even), or a command of the admin
 * queue (odd).
 */
#include "fuzz.h"
#include "nvme/parse.h"

static void try_message(const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(data, size);
	struct direct_message message;
	uint64_t sum = 0;

	if (direct_message_parse(copy, (uint32_t)size, &message) == 0 &&
	    message.type == LH_MSG_COMMIT) {
		assert(message.count <= LH_COMMIT_MAX_RANGES);
		/* Reads every range to the last byte. */
		for (uint32_t i = 0; i < message.count; i++)
			sum += le64toh(message.ranges[i].offset) ^
			       le64toh(message.ranges[i].length);
	}
	free(copy);
	/* So that the sum is made. */
	if (sum == 0x4c45415345484c44)
		abort();
}

static void try_want(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct lh_admin_command sqe;
	struct direct_want want;

	fuzz_take(&in, &sqe, sizeof(sqe));
	if (direct_want_parse(&sqe, &want) != 0 || sqe.opcode == LH_ADMIN_RENEW)
		return;
	assert(want.offset % LH_GRANT_ALIGN == 0 && want.length <= UINT64_MAX - want.offset);
	if (sqe.opcode == LH_ADMIN_RELEASE_PART)
		assert(want.length % LH_GRANT_ALIGN == 0 ||
		       want.offset + want.length == UINT64_MAX);
	assert(sqe.opcode == LH_ADMIN_RELEASE || sqe.opcode == LH_ADMIN_RELEASE_PART ||
	       (want.length > 0 && want.access));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		try_want(data + 1, size - 1);
	else
		try_message(data + 1, size - 1);
	return 0;
}
