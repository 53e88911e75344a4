// SPDX-License-Identifier: BSD-3-Clause
/*
 * The messages of a direct queue (wire/direct.h): Hello, Commit and its answer, Recall, credits; and the
 * RDMA READ in a Commit's place. Owns the messages' memory. All under the queue's lock.
 *
 * One such READ confirms whatever was written on its queue pair before it was posted, whichever grants
 * the bytes lie in. The far end begins to answer a READ when every WRITE before it on that connection
 * was handed over for placement (InfiniBand: vol. 1 §9.5 and §10.8.3.3, the table of work request
 * ordering; iWARP: RFC 5040 §5.5), and its adapter's reads of memory do not pass its writes (PCI
 * Express Base §2.4.1), so with the answer they are where the read has been answered from. That this
 * survives a power failure is what the level says, and a target grants it for nothing less.
 */
#include "libleasehold/export.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define MESSAGE_STRIDE align_up(LH_MSG_MAX_BYTES, 64)
#define RECEIVES       LH_MSG_DEFAULT_CREDITS
#define ORDER_AT       ((DIRECT_MESSAGES + RECEIVES) * MESSAGE_STRIDE)
#define MEM_BYTES      (ORDER_AT + (uint64_t)DIRECT_COMMITS * DIRECT_READ_BYTES)

static uint8_t *message_at(const struct direct *d, unsigned int i)
{
	return d->mem + i * MESSAGE_STRIDE;
}

static uint8_t *receive_at(const struct direct *d, unsigned int i)
{
	return d->mem + (DIRECT_MESSAGES + i) * MESSAGE_STRIDE;
}

int direct_message_init(struct direct *d)
{
	d->mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (d->mem == MAP_FAILED) {
		d->mem = NULL;
		return -ENOMEM;
	}
	return 0;
}

void direct_message_fini(struct direct *d)
{
	if (d->mr)
		(void)fabric_mr_dereg(d->mr);
	if (d->mem)
		(void)munmap(d->mem, MEM_BYTES);
	d->mr = NULL;
	d->mem = NULL;
}

static int post_receive(struct direct *d, unsigned int i)
{
	struct fabric_sge sge = {.addr = (uint64_t)(uintptr_t)receive_at(d, i),
				 .length = (uint32_t)MESSAGE_STRIDE,
				 .lkey = d->mr->lkey};
	struct fabric_recv_wr wr = {.wr_id = DIRECT_WR_RECV | i, .sg_list = &sge, .num_sge = 1};

	return fabric_post_recv(d->q.conn, &wr, NULL);
}

int direct_message_post_receives(struct direct *d)
{
	int rc = 0;

	if (!d->mr)
		rc = fabric_mr_reg(d->ex->client->memory.pd, d->mem, MEM_BYTES,
				   (uint64_t)(uintptr_t)d->mem, FABRIC_ACCESS_LOCAL_WRITE, &d->mr);
	for (unsigned int i = 0; rc == 0 && i < RECEIVES; i++)
		rc = post_receive(d, i);
	d->free_messages = (1u << DIRECT_MESSAGES) - 1;
	d->owed = 0;
	return rc;
}

/* ---- sending --------------------------------------------------------------------------------- */

/* The last credit is for messages that bring credits and nothing else. */
static bool can_send(const struct direct *d, enum lh_msg_type type)
{
	return d->q.live && d->free_messages && d->credits > (type == LH_MSG_CREDIT ? 0 : 1);
}

static int send_message(struct direct *d, unsigned int i, enum lh_msg_type type, uint32_t length,
			uint64_t tag)
{
	struct lh_msg *msg = (struct lh_msg *)message_at(d, i);
	struct fabric_sge sge = {
		.addr = (uint64_t)(uintptr_t)msg, .length = length, .lkey = d->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = DIRECT_WR_MESSAGE | i,
				    .op = FABRIC_OP_SEND,
				    .flags = FABRIC_F_SIGNALED | FABRIC_F_SOLICITED,
				    .sg_list = &sge,
				    .num_sge = 1};
	int rc;

	*msg = (struct lh_msg){.type = htole16((uint16_t)type),
			       .credits = htole16((uint16_t)d->owed),
			       .length = htole32(length),
			       .tag = htole64(tag),
			       .nsid = htole32(d->ex->nsid)};
	rc = fabric_post_send(d->q.conn, &wr, NULL);
	if (rc < 0) {
		queue_kill(&d->q, "a message could not be posted");
		return -ENOTCONN;
	}
	d->free_messages &= ~(1u << i);
	d->credits--;
	d->owed = 0;
	return 0;
}

int direct_send_hello(struct direct *d)
{
	if (!can_send(d, LH_MSG_HELLO))
		return -ENOTCONN;
	return send_message(d, (unsigned int)__builtin_ctz(d->free_messages), LH_MSG_HELLO,
			    sizeof(struct lh_msg), 0);
}

static void return_credits(struct direct *d)
{
	if (d->owed >= RECEIVES / 2 && can_send(d, LH_MSG_CREDIT))
		(void)send_message(d, (unsigned int)__builtin_ctz(d->free_messages), LH_MSG_CREDIT,
				   sizeof(struct lh_msg), 0);
}

static struct direct_commit *free_commit(const struct direct *d)
{
	for (unsigned int i = 0; i < DIRECT_COMMITS; i++) {
		if (!d->commits[i].used)
			return (struct direct_commit *)&d->commits[i];
	}
	return NULL;
}

bool direct_can_commit(const struct direct *d)
{
	return can_send(d, LH_MSG_COMMIT) && free_commit(d);
}

/* What makes writes durable behind them. FABRIC_OP_SEND: nothing but a Commit. */
static enum fabric_op order_op(const struct direct *d)
{
	/* During a recall the target's own work is asked for: it takes any level. */
	if (d->gate_closed || d->ex->client->opt.persist == LH_PERSIST_COMMIT)
		return FABRIC_OP_SEND;
	if (d->durability == LH_DURABLE_READ_AFTER_WRITE)
		return FABRIC_OP_READ;
	if (d->durability == LH_DURABLE_FLUSH && client_can_flush(d->ex->client))
		return FABRIC_OP_FLUSH;
	return FABRIC_OP_SEND;
}

/* All of what was taken lies in one grant, and a FLUSH from its begin to its end is not much more. */
static const struct grant_piece *piece_to_flush(struct direct *d, const struct direct_commit *c)
{
	const struct write_range *last = &c->ranges[c->count - 1];
	const uint64_t offset = c->ranges[0].offset, end = last->offset + last->length;
	const struct grant_piece *piece = grant_map_find(&d->map, offset, LH_GRANT_WRITE);
	uint64_t written = 0;

	for (size_t i = 0; i < c->count; i++)
		written += c->ranges[i].length;
	if (!piece || end > piece->offset + piece->length || end - offset > UINT32_MAX ||
	    end - offset > max_u64(2 * written, DIRECT_FLUSH_BYTES))
		return NULL;
	return piece;
}

/* The grant whose key does it; NULL: it takes a Commit. */
static const struct grant_piece *order_piece(struct direct *d, const struct direct_commit *c,
					     enum fabric_op op)
{
	switch (op) {
	case FABRIC_OP_READ:
		return grant_map_find(&d->map, c->ranges[0].offset, LH_GRANT_READ);
	case FABRIC_OP_FLUSH:
		return piece_to_flush(d, c);
	default:
		return NULL;
	}
}

static int post_order(struct direct *d, struct direct_commit *c, enum fabric_op op,
		      const struct grant_piece *piece)
{
	const struct write_range *last = &c->ranges[c->count - 1];
	const uint64_t index = (uint64_t)(c - d->commits);
	const uint64_t at = c->ranges[0].offset - piece->offset;
	struct fabric_sge sge = {
		.addr = (uint64_t)(uintptr_t)(d->mem + ORDER_AT + index * DIRECT_READ_BYTES),
		.length = (uint32_t)min_u64(DIRECT_READ_BYTES, piece->length - at),
		.lkey = d->mr->lkey};
	struct fabric_send_wr wr = {.wr_id = DIRECT_WR_ORDER | index,
				    .op = op,
				    .flags = FABRIC_F_SIGNALED,
				    .remote_addr = piece->address + at,
				    .rkey = piece->rkey};

	if (op == FABRIC_OP_READ) {
		wr.sg_list = &sge;
		wr.num_sge = 1;
		stat_add(d->ex, STAT_CONFIRMING_READS, 1);
	} else {
		wr.flush.length = (uint32_t)(last->offset + last->length - c->ranges[0].offset);
		wr.flush.level = FABRIC_FLUSH_PERSISTENT;
		stat_add(d->ex, STAT_CONFIRMING_FLUSHES, 1);
	}
	c->one_sided = true;
	if (fabric_post_send(d->q.conn, &wr, NULL) == 0)
		return 0;
	queue_kill(&d->q,
		   "what was to confirm writes could not be posted"); /* it kills the ranges */
	return -ENOTCONN;
}

struct direct_commit *direct_commit_begin(struct direct *d)
{
	struct direct_commit *c = direct_can_commit(d) ? free_commit(d) : NULL;

	if (c)
		c->count = 0;
	return c;
}

void direct_commit_add(struct direct *d, struct direct_commit *c, uint64_t offset, uint64_t length,
		       uint64_t *next)
{
	c->count += write_log_take(&d->log, offset, length, c->ranges + c->count,
				   d->max_commit_ranges - c->count, next);
}

int direct_commit_send(struct direct *d, struct direct_commit *c)
{
	const struct grant_piece *piece;
	enum fabric_op op;
	struct lh_msg_commit *msg;
	unsigned int i;
	uint32_t bytes;
	int rc;

	if (c->count == 0)
		return 0;
	c->used = true;
	c->one_sided = false;
	c->copies = d->replay.number;
	c->tag = ++d->commit_tag;
	c->sent_ns = now_ns();
	op = order_op(d);
	piece = order_piece(d, c, op);
	if (piece)
		return post_order(d, c, op, piece);
	i = (unsigned int)__builtin_ctz(d->free_messages);
	msg = (struct lh_msg_commit *)message_at(d, i);
	msg->generation = htole32(d->generation);
	msg->count = htole32((uint32_t)c->count);
	for (size_t r = 0; r < c->count; r++) {
		msg->ranges[r].offset = htole64(c->ranges[r].offset);
		msg->ranges[r].length = htole64(c->ranges[r].length);
	}
	bytes = (uint32_t)(sizeof(*msg) + c->count * sizeof(msg->ranges[0]));
	rc = send_message(d, i, LH_MSG_COMMIT, bytes, c->tag); /* dying, it kills the ranges */
	stat_add(d->ex, STAT_COMMITS, 1);
	stat_add(d->ex, STAT_COMMIT_RANGES, c->count);
	return rc;
}

int direct_send_commit(struct direct *d, uint64_t offset, uint64_t length, uint64_t *next)
{
	struct direct_commit *c = direct_commit_begin(d);

	if (!c)
		return d->q.live ? -EAGAIN : -ENOTCONN;
	direct_commit_add(d, c, offset, length, next);
	return direct_commit_send(d, c);
}

unsigned int direct_commits_out(const struct direct *d)
{
	unsigned int out = 0;

	for (unsigned int i = 0; i < DIRECT_COMMITS; i++)
		out += d->commits[i].used;
	return out;
}

uint64_t direct_commit_due_ns(const struct direct *d)
{
	uint64_t due = UINT64_MAX;

	for (unsigned int i = 0; i < DIRECT_COMMITS; i++) {
		if (d->commits[i].used)
			due = min_u64(due, d->commits[i].sent_ns + CLIENT_COMMAND_MS * NS_PER_MS);
	}
	return due;
}

void direct_message_sent(struct direct *d, unsigned int index)
{
	d->free_messages |= 1u << index;
	return_credits(d);
	direct_confirm(d);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Its bytes may or may not be there. */
static void commit_failed(struct direct *d, struct direct_commit *c)
{
	direct_confirm_failed(d, c);
	/* With copies at hand the way out is that of a lost queue: write them again. */
	if (d->replay.on)
		return;
	for (size_t i = 0; i < c->count; i++) {
		write_log_kill(&d->log, c->ranges[i].offset, c->ranges[i].length);
		stat_add(d->ex, STAT_DEAD_BYTES, c->ranges[i].length);
	}
}

static void forget_copies(struct direct *d, const struct direct_commit *c)
{
	struct write_range lost;

	if (replay_confirmed(&d->replay, c->ranges, c->count, c->copies, &lost) < 0)
		write_log_kill(&d->log, lost.offset, lost.length);
}

static void confirmed(struct direct *d, struct direct_commit *c)
{
	c->used = false;
	if (d->replay.on) {
		forget_copies(d, c);
		direct_pump(d); /* writes may wait for room, or for another Commit */
	}
	direct_confirm(d);
}

void direct_order_answered(struct direct *d, unsigned int index)
{
	assert(d->commits[index].used && d->commits[index].one_sided);
	confirmed(d, &d->commits[index]);
}

static bool take_committed(struct direct *d, const struct lh_msg *msg)
{
	for (unsigned int i = 0; i < DIRECT_COMMITS; i++) {
		struct direct_commit *c = &d->commits[i];

		if (!c->used || c->one_sided || c->tag != le64toh(msg->tag))
			continue;
		if ((le16toh(msg->status) & 0x7fff) != NVME_SC_SUCCESS) {
			c->used = false;
			commit_failed(d, c);
			return !d->replay.on;
		}
		confirmed(d, c);
		return true;
	}
	return false;
}

/* Of two recalls: all that lies between them, too. */
static void widen_recall(struct direct_recall *r, uint64_t offset, uint64_t length)
{
	const uint64_t end =
		max_u64(r->length > UINT64_MAX - r->offset ? UINT64_MAX : r->offset + r->length,
			length > UINT64_MAX - offset ? UINT64_MAX : offset + length);

	r->offset = min_u64(r->offset, offset);
	r->length = end == UINT64_MAX ? UINT64_MAX : end - r->offset;
}

static bool take_recall(struct direct *d, const struct lh_msg *msg, uint32_t bytes)
{
	struct lh_msg_recall recall;

	if (bytes < sizeof(recall))
		return false;
	memcpy(&recall, msg, sizeof(recall));
	d->tells++;
	if (!d->recall.pending) {
		d->recall = (struct direct_recall){
			.pending = true,
			.told_ns = now_ns(),
			.offset = le64toh(recall.offset),
			.length = le64toh(recall.length),
			.generation = le32toh(recall.generation),
			.deadline_ms = le32toh(recall.deadline_ms),
		};
	} else {
		d->recall.generation =
			(uint32_t)max_u64(d->recall.generation, le32toh(recall.generation));
		widen_recall(&d->recall, le64toh(recall.offset), le64toh(recall.length));
	}
	d->gate_closed = true;
	export_wake(d->ex);
	return true;
}

void direct_message_received(struct direct *d, unsigned int index, uint32_t bytes)
{
	struct lh_msg msg;
	bool ok = bytes >= sizeof(msg);

	if (ok) {
		memcpy(&msg, receive_at(d, index), sizeof(msg));
		ok = le32toh(msg.length) == bytes && bytes <= LH_MSG_MAX_BYTES;
	}
	if (ok) {
		d->credits += le16toh(msg.credits);
		switch (le16toh(msg.type)) {
		case LH_MSG_COMMITTED:
			ok = take_committed(d, &msg);
			break;
		case LH_MSG_RECALL:
			ok = take_recall(d, (const struct lh_msg *)receive_at(d, index), bytes);
			break;
		case LH_MSG_CREDIT:
			break;
		default:
			ok = false;
		}
	}
	/* Nonsense from the target: this queue cannot be trusted any more. */
	if (!ok || d->credits > 65535 || post_receive(d, index) < 0) {
		queue_kill(&d->q, "the target sent a message that makes no sense");
		return;
	}
	d->owed++;
	return_credits(d);
	direct_confirm(d);
}

void direct_message_recall(struct direct *d, uint32_t generation)
{
	if (d->recall.pending || generation <= d->recalled || generation != d->generation)
		return;
	d->tells++;
	d->recall = (struct direct_recall){.pending = true,
					   .told_ns = now_ns(),
					   .length = UINT64_MAX,
					   .generation = generation};
	d->gate_closed = true;
	export_wake(d->ex);
}

bool direct_commit_out(const struct direct *d, uint64_t tag, uint64_t offset, uint64_t length)
{
	for (unsigned int i = 0; i < DIRECT_COMMITS; i++) {
		const struct direct_commit *c = &d->commits[i];

		if (!c->used || c->tag > tag)
			continue;
		for (size_t r = 0; r < c->count; r++) {
			if (range_overlaps(c->ranges[r].offset, c->ranges[r].length, offset,
					   length))
				return true;
		}
	}
	return false;
}

void direct_message_died(struct direct *d)
{
	for (unsigned int i = 0; i < DIRECT_COMMITS; i++) {
		if (d->commits[i].used) {
			d->commits[i].used = false;
			commit_failed(d, &d->commits[i]);
		}
	}
}
