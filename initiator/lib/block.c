// SPDX-License-Identifier: BSD-3-Clause
/*
 * Block commands: operations cut into NVMe Reads, Writes and deallocations on an I/O queue, as many in
 * flight as the queue has slots. Under the queue's lock, but for block_flush().
 */
#include "libleasehold/export.h"

#include <errno.h>
#include <string.h>

#define PIECE_BYTES_MAX MIB(1)
#define BLOCKS_MAX	65536u /* of one command: 16 bits, 0's based */

/* Statuses that pass by themselves. */
static bool is_transient(uint16_t status)
{
	if (status & NVME_SC_DNR)
		return false;
	switch (status & 0x7ff) {
	case NVME_SC_NS_NOT_READY:
	case NVME_SC_CMD_INTERRUPTED:
	case NVME_SC_TRANSIENT_TRANSPORT:
	case NVME_SC_ABORT_SQ_DELETED:
	case NVME_SC_ABORT_REQUESTED:
	case NVME_SC_ANA_TRANSITION:
		return true;
	default:
		return false;
	}
}

static void piece_done(struct nvme_queue *nq, struct nvme_slot *slot)
{
	struct lh_op *op = slot->op;
	bool write = op->flags & LH_IO_WRITE;

	if (slot->error) {
		op->stop = true;
	} else {
		uint16_t status = nvme_cqe_status(&slot->cqe);

		if (status != NVME_SC_SUCCESS) {
			op->stop = true;
			op->transient = is_transient(status);
			if (!op->transient && !op->error) {
				op->status = status;
				op->error = nvme_status_to_errno(status);
			}
		} else if (slot->bounce && !write) {
			memcpy(op->buf + slot->op_offset, slot->bounce, slot->length);
		}
	}
	if (slot->bounce)
		chunk_put(&nq->bounce, slot->bounce);
	op->in_flight--;
	op_settle(op);
}

static void set_range(const struct lh_op *op, struct nvme_command *cmd, uint64_t offset,
		      uint32_t length)
{
	uint64_t lba = offset / op->ex->lba_bytes;

	cmd->opcode = op->flags & LH_IO_WRITE ? NVME_IO_WRITE : NVME_IO_READ;
	cmd->nsid = htole32(op->ex->nsid);
	cmd->cdw10 = htole32((uint32_t)lba);
	cmd->cdw11 = htole32((uint32_t)(lba >> 32));
	cmd->cdw12 = htole32((length / op->ex->lba_bytes - 1) |
			     (op->flags & LH_IO_DURABLE ? NVME_RW_FUA : 0));
}

/* Posts the next command of a deallocation; there is a slot. */
static void post_deallocation(struct nvme_queue *nq, struct lh_op *op)
{
	const uint32_t lba_bytes = op->ex->lba_bytes;
	const uint64_t blocks = min_u64((op->length - op->cursor) / lba_bytes, UINT32_MAX);
	struct nvme_slot *slot = nvme_queue_get(nq);
	struct nvme_dsm_range *range;

	assert(slot);
	slot->op = op;
	slot->bounce = NULL;
	slot->done = piece_done;
	slot->cmd->opcode = NVME_IO_DSM;
	slot->cmd->nsid = htole32(op->ex->nsid);
	slot->cmd->cdw10 = htole32(0); /* one range, 0's based */
	slot->cmd->cdw11 = htole32(NVME_DSM_AD);
	range = (struct nvme_dsm_range *)(void *)slot->data;
	*range = (struct nvme_dsm_range){
		.blocks = htole32((uint32_t)blocks),
		.slba = htole64((op->offset + op->cursor) / lba_bytes),
	};
	nvme_slot_set_data(nq, slot, sizeof(*range));
	op->cursor += blocks * lba_bytes;
	op->in_flight++;
	nvme_queue_post(nq, slot, 0);
}

/* Posts the next piece of an operation. False: it must wait for a slot or a chunk. */
static bool post_piece(struct nvme_queue *nq, struct lh_op *op)
{
	const uint32_t limit = nq->client->max_transfer_bytes;
	const bool write = op->flags & LH_IO_WRITE;
	uint64_t length = min_u64(op->length - op->cursor, PIECE_BYTES_MAX);
	bool in_capsule = write && op->length <= nq->client->inline_bytes;
	uint8_t *data = op->buf + op->cursor, *chunk = NULL;
	struct nvme_slot *slot;

	if (limit)
		length = min_u64(length, limit);
	length = min_u64(length, (uint64_t)BLOCKS_MAX * op->ex->lba_bytes);
	if (!nq->free || nq->in_flight >= nq->limit)
		return false;
	if (op->flags & LH_IO_DEALLOCATE) {
		post_deallocation(nq, op);
		return true;
	}
	if (!in_capsule && !op->mr) {
		length = min_u64(length, BOUNCE_CHUNK_BYTES);
		chunk = chunk_get(&nq->bounce, nq->client->memory.pd);
		if (!chunk) {
			/* With nothing in flight no chunk will ever come back: no memory. */
			if (nq->bounce.mem)
				return false;
			op->error = -ENOMEM;
			op->stop = true;
			return true;
		}
		if (write)
			memcpy(chunk, data, length);
		stat_add(op->ex, STAT_BOUNCED_BYTES, length);
	}
	slot = nvme_queue_get(nq);
	assert(slot);
	slot->op = op;
	slot->op_offset = op->cursor;
	slot->length = (uint32_t)length;
	slot->bounce = chunk;
	slot->done = piece_done;
	set_range(op, slot->cmd, op->offset + op->cursor, (uint32_t)length);
	op->cursor += length;
	op->in_flight++;
	if (in_capsule) {
		memcpy(slot->data, data, length);
		nvme_slot_set_inline(slot, (uint32_t)length);
	} else if (!nvme_slot_set_memory(nq, slot, chunk ? nq->bounce.mr : op->mr,
					 chunk ? chunk : data, (uint32_t)length,
					 write ? FABRIC_ACCESS_REMOTE_READ
					       : FABRIC_ACCESS_REMOTE_WRITE)) {
		return true; /* the queue died, and took slot and piece back */
	}
	nvme_queue_post(nq, slot, in_capsule ? (uint32_t)length : 0);
	return true;
}

void block_pump(struct nvme_queue *nq)
{
	while (!list_empty(&nq->pending)) {
		struct lh_op *op = list_entry(nq->pending.next, struct lh_op, link);

		if (!nq->q.live)
			op->stop = true;
		while (!op->stop && op->cursor < op->length) {
			if (!post_piece(nq, op))
				return;
		}
		/* A dying queue empties the list under our hands: look at it afresh. */
		if (op->listed) {
			list_del(&op->link);
			op->listed = false;
			op_settle(op);
		}
	}
}

int block_start(struct lh_op *op, struct nvme_queue *nq)
{
	int rc = 0;

	assert(op->offset % op->ex->lba_bytes == 0 && op->length % op->ex->lba_bytes == 0);
	(void)pthread_mutex_lock(&nq->q.lock);
	if (nq->up) {
		op->q = &nq->q;
		op->state = OP_BLOCK;
		op->cursor = 0;
		op->stop = false;
		op->transient = false;
		op->listed = true;
		list_push(&nq->pending, &op->link);
		block_pump(nq);
	} else {
		rc = -ENOTCONN;
	}
	(void)pthread_mutex_unlock(&nq->q.lock);
	return rc;
}

static void fill_flush(struct nvme_queue *nq, struct nvme_slot *slot, void *arg)
{
	const struct lh_export *ex = arg;

	(void)nq;
	nvme_slot_set_no_data(slot);
	slot->cmd->opcode = NVME_IO_FLUSH;
	slot->cmd->nsid = htole32(ex->nsid);
}

int block_flush(struct lh_export *ex, struct nvme_queue *nq, uint16_t *status)
{
	struct nvme_completion cqe;
	int rc = nvme_queue_exec(nq, fill_flush, ex, NULL, 0,
				 now_ns() + CLIENT_COMMAND_MS * NS_PER_MS, &cqe);

	if (rc == 0)
		*status = nvme_cqe_status(&cqe);
	return rc;
}
