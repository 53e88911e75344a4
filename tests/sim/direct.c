// SPDX-License-Identifier: BSD-3-Clause
/*
 * Clients of the direct path: a direct queue beside the admin queue, grants, RDMA of their own,
 * Commit, and what they do when they are asked to give it back.
 */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GRANTS	8u
#define MAX_WRITES	32u
#define MAX_WRITE_CELLS 16u
#define ANSWER_NS	(10 * NS_PER_S)

struct held {
	bool alive;
	uint64_t offset, length, address;
	uint32_t rkey, generation;
	unsigned int access;
};

struct piece {
	uint64_t offset, length;
};

struct direct {
	struct host host;
	struct client *client;
	uint16_t dqid;
	struct held grants[MAX_GRANTS], old; /* and one that was given back */
	struct write_op *writes[MAX_WRITES];
	uint64_t write_offset[MAX_WRITES], write_length[MAX_WRITES];
	unsigned int nr_writes;
	struct piece committing[MAX_GRANTS];
	unsigned int nr_committing;
	uint32_t generation; /* of the writes */
	bool recalled;
	bool recalled_all; /* or more than one range */
	uint64_t recall_offset, recall_length;
	uint32_t recall_generation;
	uint32_t gone; /* the newest that it was told to give back as a whole */
	uint64_t next_tag, committed_tag;
	uint16_t committed_status;
	uint64_t next_id, done_id;
	bool done_ok;
	unsigned int credits, owed;
	bool unsure; /* an Acquire was not answered, and may have come to something */
	bool forgot; /* a grant that it had no room for */
};

/* All of it, by one of them or several. */
static bool has(const struct piece *ranges, unsigned int n, uint64_t offset, uint64_t length)
{
	uint64_t at = offset, before;

	do {
		before = at;
		for (unsigned int i = 0; i < n; i++) {
			if (range_overlaps(ranges[i].offset, ranges[i].length, at, 1))
				at = ranges[i].offset + ranges[i].length;
		}
	} while (at > before && at < offset + length);
	return at >= offset + length;
}

/* ---- messages -------------------------------------------------------------------------------- */

static void on_message(struct host_queue *q, const void *bytes, uint32_t length)
{
	struct direct *d = q->user;
	struct lh_msg_recall recall;
	struct lh_msg m;

	if (length < sizeof(m))
		sim_fail(P_HOST, "%s got a message of %u bytes", d->client->name, length);
	memcpy(&m, bytes, sizeof(m));
	d->owed++;
	d->credits += le16toh(m.credits);
	switch (le16toh(m.type)) {
	case LH_MSG_COMMITTED:
		d->committed_tag = le64toh(m.tag);
		d->committed_status = le16toh(m.status);
		break;
	case LH_MSG_RECALL:
		memcpy(&recall, bytes, sizeof(recall));
		d->recall_offset = le64toh(recall.offset);
		d->recall_length = le64toh(recall.length);
		d->recalled_all = d->recalled || d->recall_length == UINT64_MAX;
		d->recalled = true;
		d->recall_generation = le32toh(recall.generation);
		if (le64toh(recall.offset) == 0 && le64toh(recall.length) == UINT64_MAX)
			d->gone = (uint32_t)max_u64(d->gone, d->recall_generation);
		sim_log("is told to give back generation %u", d->recall_generation);
		break;
	default:
		break;
	}
}

/* Nothing but commit() has anything confirmed. */
static void on_posted(struct host_queue *q, const void *bytes, uint32_t length)
{
	const struct direct *d = q->user;
	struct lh_msg m;

	assert(length >= sizeof(m));
	memcpy(&m, bytes, sizeof(m));
	if (le16toh(m.type) != LH_MSG_COMMITTED || le16toh(m.status) != 0)
		return;
	if (!tenure_held())
		sim_fail(P_RELEASED, "a Commit of %s is a success after the release",
			 d->client->name);
	for (unsigned int i = 0; i < d->nr_writes; i++) {
		if (has(d->committing, d->nr_committing, d->write_offset[i], d->write_length[i]))
			oracle_survives(d->writes[i], d->client->name);
	}
}

static void on_transferred(struct host_queue *q, uint64_t id, bool ok)
{
	struct direct *d = q->user;

	d->done_id = id;
	d->done_ok = ok;
}

static bool send_message(struct direct *d, struct lh_msg *m, const void *rest, uint32_t length)
{
	struct host_queue *q = d->host.queues[HOST_DIRECT];
	unsigned int slot = (unsigned int)(d->next_id++ % HOST_DEPTH);
	uint8_t *at = (uint8_t *)host_command(q, slot, 0);

	m->credits = htole16((uint16_t)d->owed);
	d->owed = 0;
	m->length = htole32((uint32_t)sizeof(*m) + length);
	memcpy(at, m, sizeof(*m));
	if (length)
		memcpy(at + sizeof(*m), rest, length);
	return host_message(q, slot, (uint32_t)sizeof(*m) + length);
}

/* ---- the queue ------------------------------------------------------------------------------- */

static uint16_t admin_command(struct direct *d, uint8_t opcode, uint64_t offset, uint64_t length,
			      unsigned int access_flags, uint32_t generation, void *data,
			      uint32_t bytes)
{
	struct host_queue *q = d->host.queues[HOST_ADMIN];
	unsigned int slot = host_slot(q);
	struct lh_admin_command *cmd;
	uint16_t status;

	if (slot == HOST_DEPTH)
		return HOST_NO_ANSWER;
	cmd = (void *)host_command(q, slot, opcode);
	cmd->dqid = htole16(d->dqid);
	cmd->access_flags = htole16((uint16_t)access_flags);
	cmd->offset = htole64(offset);
	cmd->length = htole64(length);
	cmd->generation = htole32(generation);
	if (bytes)
		host_keyed(q, slot, bytes);
	host_send(q, slot, 0);
	status = host_wait(q, slot, ANSWER_NS);
	if (status == 0 && bytes)
		memcpy(data, host_data(q, slot), bytes);
	return status;
}

static bool open_queue(struct direct *d)
{
	struct lh_cm_request request = {.recfmt = htole16(LH_CM_RECFMT),
					.version = htole16(LH_PROTOCOL_VERSION),
					.cntlid = htole16(d->host.cntlid),
					.credits = htole16(HOST_DEPTH)};
	struct lh_msg hello = {.type = htole16(LH_MSG_HELLO)};
	struct lh_cm_accept accept;
	struct lh_token token;
	struct host_queue *q;

	memset(d->grants, 0, sizeof(d->grants));
	d->nr_writes = 0;
	d->recalled = false;
	d->owed = 0;
	d->unsure = d->forgot = false;
	if (admin_command(d, LH_ADMIN_OPEN_DIRECT, 0, 0, 0, 0, &token, sizeof(token)) != 0)
		return false;
	memcpy(request.token, token.token, sizeof(request.token));
	q = host_connect(&d->host, HOST_DIRECT, &request, sizeof(request));
	if (!q)
		return false;
	q->user = d;
	q->message = on_message;
	q->posted = on_posted;
	q->transferred = on_transferred;
	memcpy(&accept, q->accept, sizeof(accept));
	d->dqid = le16toh(accept.dqid);
	d->credits = le16toh(accept.credits);
	return send_message(d, &hello, NULL, 0);
}

/* ---- grants ---------------------------------------------------------------------------------- */

struct reply {
	struct lh_acquire_reply head;
	struct lh_grant grants[LH_ACQUIRE_MAX_GRANTS];
};

static struct held held_of(const struct reply *reply, unsigned int i, unsigned int access)
{
	const struct lh_grant *wire = &reply->grants[i];

	return (struct held){.alive = true,
			     .offset = le64toh(wire->offset),
			     .length = le64toh(wire->length),
			     .address = le64toh(wire->address),
			     .rkey = le32toh(wire->rkey),
			     .generation = le32toh(reply->head.generation),
			     .access = access};
}

/* What it has no room for it forgets: until it expires, or is recalled. */
static void keep(struct direct *d, const struct held *g)
{
	for (unsigned int i = 0; i < MAX_GRANTS; i++) {
		if (d->grants[i].alive)
			continue;
		d->grants[i] = *g;
		return;
	}
	d->forgot = true;
}

static void check_grant(const struct direct *d, const struct held *g, uint64_t offset,
			uint64_t length)
{
	if (g->offset < offset || !range_ok(g->offset - offset, g->length, length))
		sim_fail(P_FOREIGN, "%s asked for %llu+%llu and was granted %llu+%llu",
			 d->client->name, (unsigned long long)offset, (unsigned long long)length,
			 (unsigned long long)g->offset, (unsigned long long)g->length);
}

static void acquire(struct direct *d)
{
	uint64_t pages = file_size() / PAGE_BYTES, offset, length;
	unsigned int access = 1 + (unsigned int)sim_below(3), flags = access;
	struct reply reply;
	uint16_t status;
	uint32_t gone;
	bool lie = d->client->kind == CLIENT_LIAR && sim_chance(100);

	if (pages == 0)
		return;
	offset = sim_below(pages) * PAGE_BYTES;
	length = (1 + sim_below(sim_chance(700) ? 4 : pages)) * PAGE_BYTES;
	if (sim_chance(150))
		flags |= LH_ACQUIRE_ALLOCATE;
	if (lie) {
		offset = UINT64_MAX - PAGE_BYTES + 1;
		length = offset + sim_below(8) * PAGE_BYTES;
	}
	client_asked(d->client, offset, length, access);
	gone = d->gone;
	status = admin_command(d, LH_ADMIN_ACQUIRE, offset, length, flags,
			       sim_chance(100) ? d->generation : 0, &reply, sizeof(reply));
	sim_log("acquire %llu+%llu access %u: status %x", (unsigned long long)offset,
		(unsigned long long)length, access, status);
	d->unsure = d->unsure || status == HOST_NO_ANSWER;
	if (status != 0)
		return;
	if (lie)
		sim_fail(P_FOREIGN, "%s was granted a range that wraps", d->client->name);
	if (le32toh(reply.head.generation) <= gone)
		sim_fail(P_FOREIGN, "%s was granted generation %u after %u was recalled",
			 d->client->name, le32toh(reply.head.generation), gone);
	for (unsigned int i = 0; i < le16toh(reply.head.count); i++) {
		const struct held g = held_of(&reply, i, access);

		check_grant(d, &g, offset, length);
		keep(d, &g);
	}
	/* What a liar did not commit of another one, nobody can: their key tells when they are over. */
	if (d->generation != le32toh(reply.head.generation))
		d->nr_writes = 0;
	d->generation = le32toh(reply.head.generation);
}

static struct held *any_grant(struct direct *d, unsigned int access)
{
	unsigned int first = (unsigned int)sim_below(MAX_GRANTS);

	for (unsigned int i = 0; i < MAX_GRANTS; i++) {
		struct held *g = &d->grants[(first + i) % MAX_GRANTS];

		if (g->alive && (g->access & access))
			return g;
	}
	return NULL;
}

/* A Release was a success: what it named is nobody's by a key of this client. */
static void check_released(const struct direct *d, uint64_t offset, uint64_t length,
			   uint32_t generation)
{
	if (d->unsure || (generation && generation != d->generation))
		return;
	if (fabric_granted(d->host.queues[HOST_DIRECT]->conn, offset,
			   offset + min_u64(length, UINT64_MAX - offset)))
		sim_fail(P_FOREIGN, "%s has released bytes %llu+%llu, and has a key over them",
			 d->client->name, (unsigned long long)offset, (unsigned long long)length);
}

static bool is_touched(const struct held *g, uint64_t offset, uint64_t length, uint32_t generation)
{
	return g->alive && range_overlaps(g->offset, g->length, offset, length) &&
	       (generation == 0 || g->generation == generation);
}

static bool is_inside(const struct held *g, uint64_t offset, uint64_t length)
{
	return g->offset >= offset && g->offset + g->length <= offset + length;
}

static void release(struct direct *d, uint64_t offset, uint64_t length, uint32_t generation)
{
	struct held old[MAX_GRANTS];
	uint16_t status;

	memcpy(old, d->grants, sizeof(old));
	/* It does not use them while it waits: that is the promise of a Release. */
	for (unsigned int i = 0; i < MAX_GRANTS; i++) {
		struct held *g = &d->grants[i];

		if (is_touched(g, offset, length, generation) && is_inside(g, offset, length))
			g->alive = false;
	}
	status = admin_command(d, LH_ADMIN_RELEASE, offset, length, 0, generation, NULL, 0);
	sim_log("release %llu+%llu of generation %u: status %x", (unsigned long long)offset,
		(unsigned long long)length, generation, status);
	for (unsigned int i = 0; i < MAX_GRANTS; i++) {
		if (old[i].alive && !d->grants[i].alive && status == LH_SC_CUT)
			d->grants[i].alive = true;
		else if (old[i].alive && !d->grants[i].alive)
			d->old = old[i];
	}
	if (status == 0)
		check_released(d, offset, length, generation);
}

/* What is left of a grant behind a Release Part, or before it: in the reply, or the grant had ended. */
static void take_remain(struct direct *d, const struct reply *reply, const struct held *g,
			uint64_t from, uint64_t to)
{
	const unsigned int count = le16toh(reply->head.count);

	if (from >= to)
		return;
	for (unsigned int i = 0; i < count; i++) {
		const struct held new = held_of(reply, i, g->access);

		if (new.offset != from || new.length != to - from)
			continue;
		if (new.generation != g->generation || new.rkey == g->rkey)
			sim_fail(P_FOREIGN, "%s got key %x of generation %u for the rest of %x",
				 d->client->name, new.rkey, new.generation, g->rkey);
		keep(d, &new);
		return;
	}
	/* One that has expired was none any more. */
	if (count > 0 && w.expiry_ms == 0)
		sim_fail(P_FOREIGN, "%s gave back a part, and did not get bytes %llu+%llu again",
			 d->client->name, (unsigned long long)from,
			 (unsigned long long)(to - from));
}

/* True: it did. On an error nothing has changed. */
static bool release_part(struct direct *d, uint64_t offset, uint64_t length)
{
	const uint32_t generation = d->generation;
	struct held old[MAX_GRANTS];
	struct reply reply;
	uint16_t status;

	memcpy(old, d->grants, sizeof(old));
	for (unsigned int i = 0; i < MAX_GRANTS; i++) {
		if (is_touched(&d->grants[i], offset, length, generation))
			d->grants[i].alive = false;
	}
	status = admin_command(d, LH_ADMIN_RELEASE_PART, offset, length, 0, generation, &reply,
			       sizeof(reply));
	sim_log("release part %llu+%llu of generation %u: status %x", (unsigned long long)offset,
		(unsigned long long)length, generation, status);
	for (unsigned int i = 0; i < MAX_GRANTS; i++) {
		const struct held *g = &old[i];

		if (!is_touched(g, offset, length, generation))
			continue;
		if (status == 0) {
			d->old = *g;
			take_remain(d, &reply, g, g->offset, offset);
			take_remain(d, &reply, g, offset + length, g->offset + g->length);
		} else if (status != HOST_NO_ANSWER) {
			d->grants[i].alive = true;
		}
	}
	if (status == 0)
		check_released(d, offset, length, generation);
	return status == 0;
}

/* Some pages of a grant, perhaps more than it has. */
static void release_some(struct direct *d, const struct held *g)
{
	const uint64_t pages = g->length / PAGE_BYTES;
	const uint64_t from = sim_below(pages);
	const uint64_t n = 1 + sim_below(sim_chance(200) ? pages : pages - from);

	if (sim_chance(200))
		release(d, g->offset + from * PAGE_BYTES, n * PAGE_BYTES, g->generation);
	else
		(void)release_part(d, g->offset + from * PAGE_BYTES, n * PAGE_BYTES);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Some whole sectors of a grant, inside the file. */
static bool choose(const struct held *g, uint64_t *offset, unsigned int *cells)
{
	uint64_t end = min_u64(g->offset + g->length, file_size());
	uint64_t have = end > g->offset ? (end - g->offset) / CELL_BYTES : 0;

	if (have == 0)
		return false;
	*cells = 1 + (unsigned int)sim_below(min_u64(have, MAX_WRITE_CELLS));
	*offset = g->offset + sim_below(have - *cells + 1) * CELL_BYTES;
	return true;
}

static void write_some(struct direct *d)
{
	struct host_queue *q = d->host.queues[HOST_DIRECT];
	struct held *g = any_grant(d, LH_GRANT_WRITE);
	unsigned int slot = d->nr_writes % HOST_DEPTH, cells;
	uint64_t offset, value = oracle_value();
	struct write_op *op;

	/* A buffer is written from until it is committed: so many at most. */
	if (!g || d->nr_writes >= HOST_DEPTH - 2 || !choose(g, &offset, &cells))
		return;
	if (d->nr_writes > 0 && d->generation != g->generation)
		return;
	d->generation = g->generation;
	op = oracle_issue((unsigned int)(offset / CELL_BYTES), cells, value);
	oracle_by_key(op, g->rkey);
	oracle_fill(host_data(q, slot), cells, value);
	d->write_offset[d->nr_writes] = offset;
	d->write_length[d->nr_writes] = cells * (uint64_t)CELL_BYTES;
	d->writes[d->nr_writes++] = op;
	sim_log("writes cells %llu+%u by key %x", (unsigned long long)(offset / CELL_BYTES), cells,
		g->rkey);
	(void)host_rdma(q, FABRIC_OP_WRITE, slot, cells * CELL_BYTES,
			g->address + (offset - g->offset), g->rkey, ++d->next_id);
}

static void read_some(struct direct *d)
{
	struct host_queue *q = d->host.queues[HOST_DIRECT];
	struct held *g = any_grant(d, LH_GRANT_READ);
	uint64_t offset, id = ++d->next_id, issued = sim_now, end = sim_now + ANSWER_NS;
	unsigned int slot = HOST_DEPTH - 1, cells;
	uint64_t address;
	uint32_t rkey;

	if (!g || !choose(g, &offset, &cells))
		return;
	address = g->address + (offset - g->offset);
	rkey = g->rkey;
	if (!host_rdma(q, FABRIC_OP_READ, slot, cells * CELL_BYTES, address, rkey, id))
		return;
	while (d->done_id != id && !q->dead && sim_now < end)
		host_turn(&d->host, end - sim_now);
	if (d->done_id == id && d->done_ok)
		oracle_check((unsigned int)(offset / CELL_BYTES), cells, host_data(q, slot), issued,
			     d->client->name);
}

#define MAX_RANGES (MAX_GRANTS + 1)

/* Returns the status; HOST_NO_ANSWER: none came. */
static uint16_t commit_ranges(struct direct *d, const struct piece *ranges, unsigned int n,
			      uint32_t generation)
{
	struct {
		le32 generation;
		le32 count;
		struct lh_commit_range ranges[MAX_RANGES];
	} rest = {htole32(generation), htole32(n)};
	struct lh_msg m = {.type = htole16(LH_MSG_COMMIT), .nsid = htole32(SIM_NSID)};
	struct host_queue *q = d->host.queues[HOST_DIRECT];
	uint64_t tag = ++d->next_tag, end = sim_now + ANSWER_NS;

	m.tag = htole64(tag);
	for (unsigned int i = 0; i < n; i++)
		rest.ranges[i] = (struct lh_commit_range){htole64(ranges[i].offset),
							  htole64(ranges[i].length)};
	/* The same bytes, in one range more. */
	if (n < MAX_RANGES && ranges[0].length > PAGE_BYTES && sim_chance(300)) {
		uint64_t length = ranges[0].length;
		uint64_t first = (1 + sim_below((length - 1) / PAGE_BYTES)) * PAGE_BYTES;

		rest.ranges[0].length = htole64(first);
		rest.ranges[n++] = (struct lh_commit_range){htole64(ranges[0].offset + first),
							    htole64(length - first)};
		rest.count = htole32(n);
	}
	while (d->credits < 2 && !q->dead && sim_now < end)
		host_turn(&d->host, end - sim_now);
	if (d->credits < 2 || q->dead)
		return HOST_NO_ANSWER;
	d->credits--;
	if (!send_message(d, &m, &rest,
			  (uint32_t)(offsetof(typeof(rest), ranges) + n * sizeof(rest.ranges[0]))))
		return HOST_NO_ANSWER;
	while (d->committed_tag != tag && !q->dead && sim_now < end)
		host_turn(&d->host, end - sim_now);
	return d->committed_tag == tag ? d->committed_status : HOST_NO_ANSWER;
}

static uint16_t commit_range(struct direct *d, uint64_t offset, uint64_t length,
			     uint32_t generation)
{
	const struct piece range = {offset, length};

	return commit_ranges(d, &range, 1, generation);
}

/* What it holds for writing in the generation of its writes, as far as the file goes. */
static unsigned int held_to_write(const struct direct *d, struct piece *ranges)
{
	const uint64_t bytes = align_down(file_size(), w.lba_bytes);
	unsigned int n = 0;

	for (unsigned int i = 0; i < MAX_GRANTS; i++) {
		const struct held *g = &d->grants[i];

		if (!g->alive || !(g->access & LH_GRANT_WRITE) || g->generation != d->generation ||
		    g->offset >= bytes)
			continue;
		ranges[n++] = (struct piece){g->offset, min_u64(g->length, bytes - g->offset)};
	}
	return n;
}

/* All that it holds: covers whatever it has written there. */
static void commit(struct direct *d)
{
	struct piece *ranges = d->committing;
	unsigned int n = d->nr_writes, held = held_to_write(d, ranges);
	uint16_t status;

	if (n == 0)
		return;
	if (n == 1 && sim_chance(500) && held > 0) { /* only its bytes, or so */
		unsigned int i = 0;
		uint64_t from = align_down(d->write_offset[0], PAGE_BYTES);

		while (i < held - 1 && !has(&ranges[i], 1, d->write_offset[0], 1))
			i++;
		if (has(&ranges[i], 1, from, 1)) {
			ranges[0] = (struct piece){
				from, min_u64(ranges[i].offset + ranges[i].length - from,
					      MAX_WRITE_CELLS * CELL_BYTES + PAGE_BYTES)};
			held = 1;
		}
	}
	d->nr_committing = held;
	status = held ? commit_ranges(d, ranges, held, d->generation) : LH_SC_NOT_GRANTED;
	sim_log("commit of %u writes: status %x", n, status);
	if (status == LH_SC_NOT_GRANTED && held > 0 && w.expiry_ms == 60000)
		sim_fail(P_HOST, "%s may not commit what it holds", d->client->name);
	if (status == 0)
		for (unsigned int i = 0; i < n; i++)
			if (has(ranges, held, d->write_offset[i], d->write_length[i]))
				oracle_ack(d->writes[i]);
	/* Else their key tells when they are over. */
	d->nr_writes = d->nr_committing = 0;
}

/* ---- lies ------------------------------------------------------------------------------------ */

static void commit_foreign(struct direct *d)
{
	uint64_t offset = sim_below(file_size() / PAGE_BYTES + 1) * PAGE_BYTES;

	/* Of a key that was made, told to nobody, and does not die, it has the right still. */
	if (d->unsure || d->forgot || !d->generation || w.keeps_keys)
		return;
	for (unsigned int i = 0; i < MAX_GRANTS; i++) {
		const struct held *g = &d->grants[i];

		if (g->alive && range_overlaps(g->offset, g->length, offset, PAGE_BYTES))
			return;
	}
	if (commit_range(d, offset, PAGE_BYTES, d->generation) == 0)
		sim_fail(P_FOREIGN, "%s committed what it has no grant of", d->client->name);
}

static void lie(struct direct *d)
{
	struct host_queue *q = d->host.queues[HOST_DIRECT];
	const struct held *g = any_grant(d, LH_GRANT_READ | LH_GRANT_WRITE);
	unsigned int slot = HOST_DEPTH - 2;
	uint64_t address;
	uint32_t rkey;

	oracle_fill(host_data(q, slot), MAX_WRITE_CELLS, 0xbad0bad0bad0bad0ull);
	switch (sim_below(7)) {
	case 0: /* by a key that it gave back */
		if (d->old.rkey)
			(void)host_rdma(q, FABRIC_OP_WRITE, slot, CELL_BYTES, d->old.address,
					d->old.rkey, ++d->next_id);
		break;
	case 1: /* by somebody else's */
		if (fabric_guess_key(d->client, &rkey, &address))
			(void)host_rdma(q, FABRIC_OP_WRITE, slot, CELL_BYTES, address, rkey,
					++d->next_id);
		break;
	case 2: /* past its own */
		if (g)
			(void)host_rdma(q, FABRIC_OP_WRITE, slot, 2 * CELL_BYTES,
					g->address + g->length - CELL_BYTES, g->rkey, ++d->next_id);
		break;
	case 3: /* what wraps */
		if (d->generation && commit_range(d, UINT64_MAX - PAGE_BYTES + 1, 2 * PAGE_BYTES,
						  d->generation) == 0)
			sim_fail(P_FOREIGN, "%s committed a range that wraps", d->client->name);
		break;
	case 5: /* of bytes that it holds nothing of */
		commit_foreign(d);
		break;
	case 4: /* of a generation that is over, or to come */
		if (d->generation && commit_range(d, 0, PAGE_BYTES, d->generation + 100000) == 0)
			sim_fail(P_FOREIGN, "%s committed in a generation to come",
				 d->client->name);
		break;
	default: /* twice, and of what it has not */
		release(d, 0, UINT64_MAX, 0);
		release(d, 0, UINT64_MAX, d->generation);
		break;
	}
}

/* ---- its life -------------------------------------------------------------------------------- */

/* In a generation that is over nothing can be committed, whoever asks. */
static void commit_stale(struct direct *d)
{
	uint32_t generation = d->generation - 1;

	if (commit_range(d, 0, PAGE_BYTES, generation) == 0)
		sim_fail(P_FOREIGN, "%s committed in generation %u, after it had a grant of %u",
			 d->client->name, generation, generation + 1);
}

static void on_recall(struct direct *d)
{
	uint32_t generation = d->recall_generation;

	d->recalled = false;
	switch (d->client->kind) {
	case CLIENT_SLOW:
		co_sleep(sim_delay(2 * w.deadline_ms * NS_PER_MS));
		break;
	case CLIENT_DEAD:
		if (sim_chance(300)) {
			sim_log("is dead from now on");
			sim_conn_freeze(d->host.queues[HOST_DIRECT]->conn, true);
		}
		if (sim_chance(700))
			return;
		break;
	case CLIENT_LIAR:
		if (sim_chance(500))
			return; /* it goes on */
		break;
	default:
		break;
	}
	commit(d);
	/* What it is not asked for it keeps, if it can. */
	if (d->recalled_all || generation != d->generation || sim_chance(500) ||
	    !release_part(d, d->recall_offset, d->recall_length))
		release(d, 0, UINT64_MAX, generation);
}

static void act(struct direct *d)
{
	switch (sim_below(10)) {
	case 0:
	case 1:
		acquire(d);
		break;
	case 2:
	case 3:
	case 4:
		write_some(d);
		break;
	case 5:
		read_some(d);
		break;
	case 6:
	case 7:
		commit(d);
		break;
	case 8:
		if (d->client->kind == CLIENT_LIAR) {
			lie(d);
		} else if (sim_chance(300)) {
			const struct held *g = any_grant(d, LH_GRANT_READ | LH_GRANT_WRITE);

			commit(d);
			if (g && sim_chance(500))
				release_some(d, g);
			else if (g)
				release(d, g->offset, g->length, g->generation);
		}
		break;
	default:
		if (d->generation > 1 && sim_chance(200))
			commit_stale(d);
		if (sim_chance(100))
			(void)admin_command(d, LH_ADMIN_RENEW, 0, 0, 0, 0, NULL, 0);
		break;
	}
}

static void work(struct direct *d)
{
	const struct host_queue *admin = d->host.queues[HOST_ADMIN];
	struct host_queue *q = d->host.queues[HOST_DIRECT];

	while (!w.ending && !q->dead && !admin->dead) {
		if (d->recalled)
			on_recall(d);
		if (d->client->kind == CLIENT_RECONNECTING && sim_chance(20))
			return;
		if (!q->dead && !admin->dead && !d->recalled)
			act(d);
		host_turn(&d->host, sim_delay(10 * NS_PER_MS));
	}
}

void direct_main(void *arg)
{
	struct direct d = {.client = arg};

	while (!w.ending) {
		bool up;

		if (!host_open(&d.host, d.client))
			break;
		up = host_admin(&d.host);
		while (up && !w.ending && !d.host.queues[HOST_ADMIN]->dead) {
			if (open_queue(&d)) {
				sim_log("has a direct queue");
				work(&d);
			}
			host_disconnect(&d.host, HOST_DIRECT);
			co_sleep(sim_delay(30 * NS_PER_MS));
			if (sim_chance(200))
				break;
		}
		host_close(&d.host);
		co_sleep(sim_delay(30 * NS_PER_MS));
	}
	sim_log("went home");
}
