// SPDX-License-Identifier: BSD-3-Clause
/*
 * The edge, for reservation commands. What their fields allow depends on who is registered: that is
 * judged in reservation.c, for all of them. Pure.
 */
#include "nvme/parse.h"

#include <string.h>

uint32_t resv_parse_command(const struct nvme_command *sqe, const struct command *command,
			    struct resv_event *event)
{
	uint32_t cdw10 = le32toh(sqe->cdw10), bytes = sizeof(struct nvme_resv_keys);

	*event = (struct resv_event){
		.action = cdw10 & 7,
		.ignore_key = (cdw10 & NVME_RESV_IEKEY) != 0,
	};
	switch (command->opcode) {
	case NVME_IO_RESV_REGISTER:
		event->kind = RESV_REGISTER;
		event->cptpl = NVME_RESV_CPTPL(cdw10);
		break;
	case NVME_IO_RESV_ACQUIRE:
		event->kind = RESV_ACQUIRE;
		event->type = NVME_RESV_RTYPE(cdw10);
		break;
	default:
		assert(command->opcode == NVME_IO_RESV_RELEASE);
		event->kind = RESV_RELEASE;
		event->type = NVME_RESV_RTYPE(cdw10);
		bytes = sizeof(le64);
		break;
	}
	return command->length == bytes ? 0 : REFUSED_IN(NVME_SC_SGL_INVALID_DATA, sgl.bytes);
}

void resv_parse_data(const void *wire, struct resv_event *event)
{
	struct nvme_resv_keys keys = {0};

	memcpy(&keys, wire, event->kind == RESV_RELEASE ? sizeof(keys.crkey) : sizeof(keys));
	event->crkey = le64toh(keys.crkey);
	event->key = le64toh(keys.key);
}

uint32_t resv_parse_report(const struct nvme_command *sqe, const struct command *command,
			   uint32_t most_bytes)
{
	uint64_t bytes = (le32toh(sqe->cdw10) + 1ull) * 4;

	/* Over fabrics every host identifier is of 128 bits. */
	if (!(le32toh(sqe->cdw11) & NVME_RESV_EDS))
		return REFUSED_IN(NVME_SC_HOSTID_INCONSISTENT, cdw11);
	if (bytes > most_bytes)
		return REFUSED_IN(NVME_SC_INVALID_FIELD, cdw10);
	if (command->data != COMMAND_KEYED || command->length != bytes)
		return REFUSED_IN(NVME_SC_SGL_INVALID_DATA, sgl.bytes);
	return NVME_SC_SUCCESS;
}
