// SPDX-License-Identifier: BSD-3-Clause
/*
 * A Connect: the command's 64 bytes, then the 1,024 of its data. What passes has names that are
 * strings, and a queue no larger than what is there for it.
 */
#include "fuzz.h"
#include "nvme/parse.h"

#define SET_QUEUE 0x07 /* what the connection was asked for */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	const struct connect_limits limits = {
		.cm_qid = fuzz_byte(&in) & SET_QUEUE,
		.receives = 32,
		.max_io_queues = 4,
		.max_entries = 128,
	};
	struct command command = {.data = COMMAND_IN_CAPSULE};
	struct nvmf_connect_command sqe;
	struct nvmf_connect_data wire;
	struct connect connect;
	uint32_t dw0;
	uint16_t status;

	fuzz_take(&in, &sqe, sizeof(sqe));
	command.length = (uint32_t)min_u64(in.left, sizeof(wire));
	status = connect_parse_command(&sqe, &command, &limits, &connect, &dw0);
	if (status) {
		assert(status & NVME_SC_DNR);
		return 0;
	}
	assert(command.length == sizeof(wire) && connect.qid == limits.cm_qid);
	assert(connect.entries >= 2 && connect.entries <= limits.receives);
	fuzz_take(&in, &wire, sizeof(wire));
	status = connect_parse_data(&wire, &connect, &dw0);
	if (status) {
		assert(dw0 >> 16 == 1 && (dw0 & 0xffff) < sizeof(wire));
		return 0;
	}
	assert(memchr(connect.subnqn, 0, sizeof(connect.subnqn)));
	assert(memchr(connect.hostnqn, 0, sizeof(connect.hostnqn)));
	assert((connect.qid == 0) == (connect.cntlid == NVME_CNTLID_DYNAMIC));
	return 0;
}
