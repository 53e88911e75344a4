// SPDX-License-Identifier: BSD-3-Clause
/* The edge: everything a peer says is checked here, once. Pure. */
#include "nvme/parse.h"

#include <errno.h>
#include <string.h>

#define FLAGS_PSDT_BIT 6

/* ---- connection requests ---------------------------------------------------------------------- */

static uint16_t parse_direct_request(const uint8_t *data, size_t length, struct cm_request *request)
{
	struct lh_cm_request wire;

	request->direct = true;
	if (length < sizeof(wire))
		return LH_CM_BAD_FORMAT;
	memcpy(&wire, data, sizeof(wire));
	if (le16toh(wire.version) != LH_PROTOCOL_VERSION)
		return LH_CM_BAD_VERSION;
	/* One receive for a Recall, one for the answer to a Commit. */
	if (le16toh(wire.credits) < 2)
		return LH_CM_BAD_FORMAT;
	request->cntlid = le16toh(wire.cntlid);
	request->credits = le16toh(wire.credits);
	memcpy(request->token, wire.token, sizeof(request->token));
	return 0;
}

uint16_t cm_request_parse(const uint8_t *data, size_t length, struct cm_request *request)
{
	struct nvmf_rdma_cm_request wire;
	le16 recfmt;

	*request = (struct cm_request){0};
	if (length < sizeof(recfmt))
		return NVMF_RDMA_CM_INVALID_LEN;
	memcpy(&recfmt, data, sizeof(recfmt));
	if (le16toh(recfmt) == LH_CM_RECFMT)
		return parse_direct_request(data, length, request);
	if (length < sizeof(wire))
		return NVMF_RDMA_CM_INVALID_LEN;
	if (le16toh(recfmt) != 0)
		return NVMF_RDMA_CM_INVALID_RECFMT;
	memcpy(&wire, data, sizeof(wire));
	/* A queue of one entry could never hold a command. */
	if (le16toh(wire.hsqsize) == 0 || le16toh(wire.hsqsize) == 0xffff)
		return NVMF_RDMA_CM_INVALID_HSQSIZE;
	if (le16toh(wire.hrqsize) < 2)
		return NVMF_RDMA_CM_INVALID_HRQSIZE;
	request->qid = le16toh(wire.qid);
	request->hrqsize = le16toh(wire.hrqsize);
	request->sqsize = (uint16_t)(le16toh(wire.hsqsize) + 1);
	request->cntlid = le16toh(wire.cntlid);
	return 0;
}

/* ---- capsules --------------------------------------------------------------------------------- */

bool capsule_size_ok(uint32_t bytes, const struct capsule_limits *limits)
{
	return bytes >= sizeof(struct nvme_command) &&
	       bytes - sizeof(struct nvme_command) <= limits->inline_bytes;
}

/* Bits 1:0 of the opcode, or of the fabrics command type (NVMe base 2.0 figure 87). */
static uint32_t parse_direction(struct command *c)
{
	switch ((c->opcode == NVME_FABRICS ? c->fctype : c->opcode) & 3) {
	case 0:
		c->direction = DIRECTION_NONE;
		return NVME_SC_SUCCESS;
	case 1:
		c->direction = DIRECTION_FROM_HOST;
		return NVME_SC_SUCCESS;
	case 2:
		c->direction = DIRECTION_TO_HOST;
		return NVME_SC_SUCCESS;
	default: /* both ways: no such command here */
		return REFUSED_AT(NVME_SC_INVALID_OPCODE,
				  c->opcode == NVME_FABRICS
					  ? offsetof(struct nvmf_connect_command, fctype)
					  : offsetof(struct nvme_command, opcode),
				  0);
	}
}

/* One descriptor of the host's memory, behind those there are. */
static uint32_t add_keyed(const struct nvme_sgl_desc *sgl, const struct capsule_limits *limits,
			  struct command *c)
{
	uint8_t subtype = sgl->type & 0x0f;
	struct keyed_sgl keyed = {
		.address = le64toh(sgl->address),
		.length = nvme_keyed_sgl_length(sgl),
		.key = nvme_keyed_sgl_key(sgl),
	};

	if (sgl->type >> 4 != NVME_SGL_KEYED_DATA_BLOCK ||
	    (subtype != NVME_SGL_ADDRESS && subtype != NVME_SGL_INVALIDATE))
		return REFUSED_IN(NVME_SC_SGL_INVALID_TYPE, sgl.type);
	/* A null keyed descriptor comes with every command that has no data. */
	if (c->direction == DIRECTION_NONE || keyed.length == 0)
		return NVME_SC_SUCCESS;
	if (keyed.length > limits->mdts_bytes - c->length)
		return REFUSED_IN(NVME_SC_INVALID_FIELD, sgl.bytes);
	if (keyed.address > UINT64_MAX - keyed.length)
		return REFUSED_IN(NVME_SC_SGL_INVALID_DATA, sgl.bytes);
	/* A SEND invalidates one key; the host does the others itself. */
	if (subtype == NVME_SGL_INVALIDATE && !limits->no_invalidate) {
		c->invalidate = true;
		c->invalidate_key = keyed.key;
	}
	c->length += keyed.length;
	c->keyed[c->nr_keyed++] = keyed;
	c->data = COMMAND_KEYED;
	return NVME_SC_SUCCESS;
}

/* A list of descriptors that came in the capsule (NVMe-oF 1.1 §2.3.1). */
static uint32_t parse_list(const struct nvme_sgl_desc *sgl, const uint8_t *capsule, uint32_t bytes,
			   const struct capsule_limits *limits, struct command *c)
{
	uint64_t offset = le64toh(sgl->address);
	uint32_t length = nvme_sgl_length(sgl);

	if ((sgl->type & 0x0f) != NVME_SGL_OFFSET)
		return REFUSED_IN(NVME_SC_SGL_INVALID_TYPE, sgl.type);
	if (length == 0 || length % sizeof(*sgl) != 0)
		return REFUSED_IN(NVME_SC_SGL_INVALID_LAST, sgl.bytes);
	if (length / sizeof(*sgl) > NVME_MAX_KEYED)
		return REFUSED_IN(NVME_SC_SGL_INVALID_COUNT, sgl.bytes);
	if (!range_ok(offset, length, bytes - sizeof(struct nvme_command)))
		return REFUSED_IN(NVME_SC_SGL_OFFSET_INVALID, sgl.address);
	capsule += sizeof(struct nvme_command) + offset;
	for (uint32_t at = 0; at < length; at += (uint32_t)sizeof(*sgl)) {
		struct nvme_sgl_desc one;
		uint32_t refused;

		memcpy(&one, capsule + at, sizeof(one));
		refused = add_keyed(&one, limits, c);
		/* It lies in the list: of the command that is the data pointer. */
		if (refused)
			return REFUSED_IN(refusal_status(refused), sgl);
	}
	return NVME_SC_SUCCESS;
}

static uint32_t parse_in_capsule(const struct nvme_sgl_desc *sgl, uint32_t bytes, struct command *c)
{
	uint64_t offset = le64toh(sgl->address);
	uint32_t length = nvme_sgl_length(sgl);

	if ((sgl->type & 0x0f) != NVME_SGL_OFFSET)
		return REFUSED_IN(NVME_SC_SGL_INVALID_TYPE, sgl.type);
	if (c->direction == DIRECTION_NONE || length == 0)
		return NVME_SC_SUCCESS;
	if (c->direction != DIRECTION_FROM_HOST)
		return REFUSED_IN(NVME_SC_SGL_INVALID_TYPE, sgl.type);
	if (!range_ok(offset, length, bytes - sizeof(struct nvme_command)))
		return REFUSED_IN(NVME_SC_SGL_OFFSET_INVALID, sgl.address);
	c->length = length;
	c->capsule_offset = (uint32_t)(sizeof(struct nvme_command) + offset);
	c->data = COMMAND_IN_CAPSULE;
	return NVME_SC_SUCCESS;
}

uint32_t command_parse(const void *capsule, uint32_t bytes, const struct capsule_limits *limits,
		       struct command *c)
{
	const struct nvme_command *sqe = capsule;
	uint32_t refused;

	assert(capsule_size_ok(bytes, limits));
	/* Not the descriptors: most of it, and seldom used. */
	memset(c, 0, offsetof(struct command, keyed));
	c->cid = sqe->cid;
	c->opcode = sqe->opcode;
	c->nsid = le32toh(sqe->nsid);
	if (c->opcode == NVME_FABRICS) {
		c->fctype = (uint8_t)(c->nsid & 0xff);
		c->nsid = 0;
	}
	/* No PRPs over fabrics, no metadata pointer. */
	if ((sqe->flags & ~NVME_FLAGS_FUSE_MASK) != NVME_FLAGS_SGL)
		return REFUSED_AT(NVME_SC_INVALID_FIELD, offsetof(struct nvme_command, flags),
				  FLAGS_PSDT_BIT);
	if ((sqe->flags & NVME_FLAGS_FUSE_MASK) == NVME_FLAGS_FUSE_MASK)
		return REFUSED_IN(NVME_SC_INVALID_FIELD, flags);
	c->fuse = (enum command_fuse)(sqe->flags & NVME_FLAGS_FUSE_MASK);
	if (c->fuse != FUSE_NONE && (limits->admin || c->opcode == NVME_FABRICS)) {
		c->fuse = FUSE_NONE;
		return REFUSED_IN(NVME_SC_INVALID_FIELD, flags);
	}
	refused = parse_direction(c);
	if (refused)
		return refused;
	switch (sqe->sgl.type >> 4) {
	case NVME_SGL_KEYED_DATA_BLOCK:
		return add_keyed(&sqe->sgl, limits, c);
	case NVME_SGL_DATA_BLOCK:
		return parse_in_capsule(&sqe->sgl, bytes, c);
	case NVME_SGL_LAST_SEGMENT:
		return parse_list(&sqe->sgl, capsule, bytes, limits, c);
	default:
		return REFUSED_IN(NVME_SC_SGL_INVALID_TYPE, sgl.type);
	}
}

/* ---- Connect ---------------------------------------------------------------------------------- */

static uint16_t bad_parameter(uint32_t where, uint32_t *dw0)
{
	*dw0 = where;
	return NVME_SC_CONNECT_INVALID_PARAM | NVME_SC_DNR;
}

uint16_t connect_parse_command(const struct nvmf_connect_command *sqe,
			       const struct command *command, const struct connect_limits *limits,
			       struct connect *connect, uint32_t *dw0)
{
	uint16_t sqsize = le16toh(sqe->sqsize);

	*dw0 = 0;
	if (le16toh(sqe->recfmt) != 0) {
		*dw0 = CONNECT_IN_COMMAND(recfmt);
		return NVME_SC_CONNECT_FORMAT | NVME_SC_DNR;
	}
	if (command->length != sizeof(struct nvmf_connect_data))
		return NVME_SC_SGL_INVALID_DATA | NVME_SC_DNR;
	connect->qid = le16toh(sqe->qid);
	if (connect->qid != limits->cm_qid || connect->qid > limits->max_io_queues)
		return bad_parameter(CONNECT_IN_COMMAND(qid), dw0);
	/* More entries than receives would let a host that keeps to its rules overrun us. */
	if (sqsize == 0 || sqsize >= limits->max_entries || sqsize >= limits->receives)
		return bad_parameter(CONNECT_IN_COMMAND(sqsize), dw0);
	connect->entries = (uint16_t)(sqsize + 1);
	connect->sq_flow_off = (sqe->cattr & NVMF_CATTR_DISABLE_SQFLOW) != 0;
	connect->kato_ms = connect->qid == 0 ? le32toh(sqe->kato_ms) : 0;
	return NVME_SC_SUCCESS;
}

uint16_t connect_parse_data(const struct nvmf_connect_data *data, struct connect *connect,
			    uint32_t *dw0)
{
	*dw0 = 0;
	connect->cntlid = le16toh(data->cntlid);
	/* Dynamic controllers only: the admin queue asks for any, the others name theirs. */
	if ((connect->qid == 0) != (connect->cntlid == NVME_CNTLID_DYNAMIC))
		return bad_parameter(CONNECT_IN_DATA(cntlid), dw0);
	if (nqn_check(data->subnqn, sizeof(data->subnqn)) < 0)
		return bad_parameter(CONNECT_IN_DATA(subnqn), dw0);
	if (nqn_check(data->hostnqn, sizeof(data->hostnqn)) < 0)
		return bad_parameter(CONNECT_IN_DATA(hostnqn), dw0);
	memcpy(connect->hostid, data->hostid, sizeof(connect->hostid));
	memcpy(connect->subnqn, data->subnqn, sizeof(connect->subnqn));
	memcpy(connect->hostnqn, data->hostnqn, sizeof(connect->hostnqn));
	return NVME_SC_SUCCESS;
}

/* ---- admin commands with a shape of their own ------------------------------------------------- */

uint32_t log_part_parse(const struct nvme_command *sqe, const struct command *command,
			struct log_part *part)
{
	uint32_t cdw10 = le32toh(sqe->cdw10);
	uint64_t dwords = ((uint64_t)(le32toh(sqe->cdw11) & 0xffff) << 16 | cdw10 >> 16) + 1;

	part->page = (uint8_t)(cdw10 & 0xff);
	part->retain = (cdw10 & 1u << 15) != 0;
	part->specific = (uint8_t)(cdw10 >> 8 & 0x7f);
	part->offset = (uint64_t)le32toh(sqe->cdw13) << 32 | le32toh(sqe->cdw12);
	if (part->offset % 4 != 0)
		return REFUSED_IN(NVME_SC_INVALID_FIELD, cdw12);
	if (dwords * 4 != command->length)
		return REFUSED_IN(NVME_SC_SGL_INVALID_DATA, sgl.bytes);
	part->length = command->length;
	return NVME_SC_SUCCESS;
}

uint32_t direct_want_parse(const struct lh_admin_command *sqe, struct direct_want *want)
{
	unsigned int access = le16toh(sqe->access_flags);

	want->dqid = le16toh(sqe->dqid);
	want->offset = le64toh(sqe->offset);
	want->length = le64toh(sqe->length);
	want->generation = le32toh(sqe->generation);
	want->access = access & (LH_GRANT_READ | LH_GRANT_WRITE);
	want->allocate = (access & LH_ACQUIRE_ALLOCATE) != 0;
	if (sqe->opcode == LH_ADMIN_RENEW)
		return NVME_SC_SUCCESS;
	if (want->offset % LH_GRANT_ALIGN != 0)
		return REFUSED_AT(NVME_SC_INVALID_FIELD, offsetof(struct lh_admin_command, offset),
				  0);
	if (sqe->opcode == LH_ADMIN_RELEASE || sqe->opcode == LH_ADMIN_RELEASE_PART) {
		static const uint8_t none[LH_TOKEN_BYTES];

		memcpy(want->token, sqe->token, sizeof(want->token));
		want->by_token = sqe->opcode == LH_ADMIN_RELEASE &&
				 memcmp(want->token, none, sizeof(none)) != 0;
		if (sqe->opcode == LH_ADMIN_RELEASE_PART && want->length % LH_GRANT_ALIGN != 0 &&
		    want->length < UINT64_MAX - want->offset)
			return REFUSED_AT(NVME_SC_INVALID_FIELD,
					  offsetof(struct lh_admin_command, length), 0);
		/* ~0: to the end, whatever it is. */
		if (want->length > UINT64_MAX - want->offset)
			want->length = UINT64_MAX - want->offset;
		return NVME_SC_SUCCESS;
	}
	if (want->access == 0 ||
	    (access & ~(unsigned int)(LH_GRANT_READ | LH_GRANT_WRITE | LH_ACQUIRE_ALLOCATE)))
		return REFUSED_AT(NVME_SC_INVALID_FIELD,
				  offsetof(struct lh_admin_command, access_flags), 0);
	if (want->length == 0)
		return REFUSED_AT(NVME_SC_INVALID_FIELD, offsetof(struct lh_admin_command, length),
				  0);
	if (want->length > UINT64_MAX - want->offset)
		return REFUSED_AT(NVME_SC_LBA_RANGE, offsetof(struct lh_admin_command, offset), 0);
	return NVME_SC_SUCCESS;
}

/* ---- messages of a direct queue --------------------------------------------------------------- */

static int parse_commit(const void *data, uint32_t bytes, struct direct_message *message)
{
	const struct lh_msg_commit *commit = data;

	if (bytes < sizeof(*commit))
		return -EPROTO;
	message->generation = le32toh(commit->generation);
	message->count = le32toh(commit->count);
	if (message->count > LH_COMMIT_MAX_RANGES ||
	    bytes != sizeof(*commit) + message->count * sizeof(commit->ranges[0]))
		return -EPROTO;
	message->ranges = commit->ranges;
	return 0;
}

int direct_message_parse(const void *data, uint32_t bytes, struct direct_message *message)
{
	const struct lh_msg *wire = data;

	*message = (struct direct_message){.type = LH_MSG_HELLO};
	if (bytes < sizeof(*wire) || le32toh(wire->length) != bytes)
		return -EPROTO;
	message->credits = le16toh(wire->credits);
	message->tag = le64toh(wire->tag);
	message->nsid = le32toh(wire->nsid);
	switch (le16toh(wire->type)) {
	case LH_MSG_HELLO:
		message->type = LH_MSG_HELLO;
		return 0;
	case LH_MSG_CREDIT:
		message->type = LH_MSG_CREDIT;
		return 0;
	case LH_MSG_COMMIT:
		message->type = LH_MSG_COMMIT;
		return parse_commit(data, bytes, message);
	default:
		return -EPROTO;
	}
}
