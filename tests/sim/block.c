// SPDX-License-Identifier: BSD-3-Clause
/*
 * Hosts of the block path. Each keeps some commands in flight, over the same few pages as everybody
 * else, and looks at every byte that it gets.
 */
#include "host.h"

#include <string.h>

#define MAX_FLIGHT	 8u
#define MAX_IO_CELLS	 (HOST_DATA_BYTES / CELL_BYTES)
#define HOST_PATIENCE_NS (2 * NS_PER_S)

struct flight {
	bool busy;
	uint8_t opcode;
	unsigned int slot, cell, n;
	uint64_t issued;
	struct write_op *op;
	bool lie; /* it must not succeed */
};

struct block_host {
	struct host host;
	struct client *client;
	struct flight flights[MAX_FLIGHT];
	unsigned int nr;
};

/* ---- what is on its way ---------------------------------------------------------------------- */

static void on_posted(struct host_queue *q, const void *bytes, uint32_t length)
{
	const struct block_host *b = q->user;
	struct nvme_completion cqe;

	assert(length == sizeof(cqe));
	memcpy(&cqe, bytes, sizeof(cqe));
	for (unsigned int i = 0; i < MAX_FLIGHT; i++) {
		const struct flight *f = &b->flights[i];

		/* Deallocate promises nothing. */
		if (!f->busy || !f->op || f->slot != le16toh(cqe.cid) ||
		    le16toh(cqe.status) >> 1 != 0 || f->opcode == NVME_IO_DSM)
			continue;
		oracle_survives(f->op, b->client->name);
		fabric_check_exclusive(b->client, f->issued, (uint64_t)f->cell * CELL_BYTES,
				       (uint64_t)(f->cell + f->n) * CELL_BYTES);
	}
}

/* ---- what comes back ------------------------------------------------------------------------- */

static void judge(const struct block_host *b, const struct flight *f, uint16_t status)
{
	const char *name = b->client->name;

	if (f->lie && (status & ~NVME_SC_DNR) == 0)
		sim_fail(P_FOREIGN, "%s succeeded with a command that wraps", name);
	if (status == 0 || f->lie)
		return;
	b->client->errors++;
	switch (status & ~NVME_SC_DNR) {
	case NVME_SC_LBA_RANGE:
		if ((uint64_t)(f->cell + f->n) * CELL_BYTES <=
			    align_down(file_size(), w.lba_bytes) &&
		    !w.resized)
			sim_fail(P_HOST, "%s got LBA Out of Range inside a file that was never cut",
				 name);
		break;
	case NVME_SC_CAP_EXCEEDED: /* of a file system that is full */
		break;
	case NVME_SC_CMD_INTERRUPTED: /* others are granted its bytes, and their keys do not die */
		if (!w.keeps_keys && !w.faults && !w.ending)
			sim_fail(P_HOST, "%s waited in vain for grants to go", name);
		break;
	default:
		if (!w.faults && !w.ending && f->opcode != NVME_IO_DSM &&
		    f->opcode != NVME_IO_WRITE_ZEROES)
			sim_fail(P_HOST, "%s got status %x for opcode %x", name, status, f->opcode);
	}
}

static void finish(struct block_host *b, struct flight *f)
{
	struct host_queue *q = b->host.queues[HOST_IO];
	uint16_t status = host_status(q, f->slot);

	sim_log("opcode %x of cells %u+%u: status %x", f->opcode, f->cell, f->n, status);
	judge(b, f, status);
	f->busy = false;
	b->nr--;
	if (f->opcode == NVME_IO_READ && status == 0)
		oracle_check(f->cell, f->n, host_data(q, f->slot), f->issued, b->client->name);
	/* Deallocate changes what it likes. */
	if (f->op && status == 0 && f->opcode != NVME_IO_DSM)
		oracle_ack(f->op);
	else if (f->op)
		oracle_over(f->op);
	f->op = NULL;
}

static void collect(struct block_host *b)
{
	struct host_queue *q = b->host.queues[HOST_IO];

	for (unsigned int i = 0; i < MAX_FLIGHT; i++) {
		struct flight *f = &b->flights[i];

		if (f->busy && q->slots[f->slot].done)
			finish(b, f);
		else if (f->busy && b->client->kind == CLIENT_GOOD && !w.faults && !w.slow_hosts &&
			 !w.ending &&
			 sim_now - f->issued > HOST_PATIENCE_NS + w.deadline_ms * NS_PER_MS)
			sim_fail(P_HOST, "%s has waited %llu ms for opcode %x", b->client->name,
				 (unsigned long long)((sim_now - f->issued) / NS_PER_MS),
				 f->opcode);
	}
}

/* ---- what it sends --------------------------------------------------------------------------- */

static void choose_range(struct flight *f)
{
	unsigned int unit = w.lba_bytes / CELL_BYTES;
	unsigned int cells = FILE_MAX_PAGES * PAGE_CELLS;
	unsigned int most = (unsigned int)min_u64(cells, file_size() / CELL_BYTES * 9 / 8 + unit);

	f->n = unit *
	       (1 + (unsigned int)sim_below(sim_chance(700) ? 8 / unit + 1 : MAX_IO_CELLS / unit));
	f->n = (unsigned int)min_u64(f->n, MAX_IO_CELLS);
	f->cell = (unsigned int)sim_below(most / unit) * unit;
	if (f->cell + f->n > cells)
		f->cell = cells - f->n;
}

static void set_blocks(struct nvme_command *cmd, uint64_t slba, uint32_t blocks)
{
	cmd->cdw10 = htole32((uint32_t)slba);
	cmd->cdw11 = htole32((uint32_t)(slba >> 32));
	cmd->cdw12 = htole32(blocks - 1);
}

static uint32_t fill_write(struct host_queue *q, struct flight *f, struct nvme_command *cmd)
{
	uint32_t bytes = f->n * CELL_BYTES;
	uint64_t value = oracle_value();

	f->op = oracle_issue(f->cell, f->n, value);
	oracle_by_conn(f->op, sim_conn_id(q->conn));
	if (sim_chance(200))
		cmd->cdw12 |= htole32(NVME_RW_FUA);
	if (bytes <= HOST_INLINE_BYTES && sim_chance(300)) {
		oracle_fill(host_inline(q, f->slot, bytes), f->n, value);
		return bytes;
	}
	oracle_fill(host_data(q, f->slot), f->n, value);
	host_keyed(q, f->slot, bytes);
	return 0;
}

static uint32_t fill_dsm(struct host_queue *q, struct flight *f, struct nvme_command *cmd)
{
	struct nvme_dsm_range range = {
		.blocks = htole32(f->n * CELL_BYTES / w.lba_bytes),
		.slba = htole64((uint64_t)f->cell * CELL_BYTES / w.lba_bytes)};

	cmd->cdw10 = cmd->cdw12 = 0;
	cmd->cdw11 = htole32(NVME_DSM_AD);
	memcpy(host_inline(q, f->slot, sizeof(range)), &range, sizeof(range));
	f->op = oracle_issue(f->cell, f->n, 0);
	oracle_by_conn(f->op, sim_conn_id(q->conn));
	return sizeof(range);
}

static void issue(struct block_host *b)
{
	static const uint8_t opcodes[] = {NVME_IO_READ,	 NVME_IO_READ,	      NVME_IO_READ,
					  NVME_IO_WRITE, NVME_IO_WRITE,	      NVME_IO_WRITE,
					  NVME_IO_FLUSH, NVME_IO_WRITE_ZEROES};
	struct host_queue *q = b->host.queues[HOST_IO];
	struct nvme_command *cmd;
	struct flight *f = b->flights;
	uint32_t in_capsule = 0;
	uint64_t slba;

	while (f->busy)
		f++;
	*f = (struct flight){.busy = true, .issued = sim_now, .slot = host_slot(q)};
	assert(f->slot < HOST_DEPTH);
	b->nr++;
	choose_range(f);
	f->opcode = opcodes[sim_below(ARRAY_SIZE(opcodes))];
	if (sim_chance(40))
		f->opcode = NVME_IO_DSM;
	f->lie = b->client->kind == CLIENT_LIAR && f->opcode == NVME_IO_READ && sim_chance(200);
	cmd = host_command(q, f->slot, f->opcode);
	slba = (uint64_t)f->cell * CELL_BYTES / w.lba_bytes;
	if (f->lie) /* in bytes, it wraps to where it was */
		slba += sim_chance(500) ? UINT64_MAX / w.lba_bytes + 1 : UINT64_MAX - slba;
	set_blocks(cmd, slba, f->n * CELL_BYTES / w.lba_bytes);
	switch (f->opcode) {
	case NVME_IO_READ:
		host_keyed(q, f->slot, f->n * CELL_BYTES);
		break;
	case NVME_IO_WRITE:
		in_capsule = fill_write(q, f, cmd);
		break;
	case NVME_IO_WRITE_ZEROES:
		if (sim_chance(300))
			cmd->cdw12 |= htole32(NVME_WZ_DEAC);
		f->op = oracle_issue(f->cell, f->n, 0);
		oracle_by_conn(f->op, sim_conn_id(q->conn));
		break;
	case NVME_IO_DSM:
		in_capsule = fill_dsm(q, f, cmd);
		break;
	default:
		cmd->cdw10 = cmd->cdw11 = cmd->cdw12 = 0;
	}
	host_send(q, f->slot, in_capsule);
}

/* ---- its life -------------------------------------------------------------------------------- */

static void maybe_turn_bad(const struct block_host *b)
{
	struct fabric_conn *conn = b->host.queues[HOST_IO]->conn;

	switch (b->client->kind) {
	case CLIENT_SLOW:
		sim_conn_slow(conn, sim_chance(500) ? 2 * w.deadline_ms * NS_PER_MS : NS_PER_MS);
		break;
	case CLIENT_DEAD:
		if (sim_chance(5)) {
			sim_log("is dead from now on");
			sim_conn_freeze(conn, true);
		}
		break;
	default:
		break;
	}
}

static void work(struct block_host *b)
{
	const struct host_queue *admin = b->host.queues[HOST_ADMIN];
	struct host_queue *q = b->host.queues[HOST_IO];
	unsigned int most = 1 + (unsigned int)sim_below(MAX_FLIGHT);

	memset(b->flights, 0, sizeof(b->flights));
	b->nr = 0;
	q->user = b;
	q->posted = on_posted;
	while (!w.ending && !q->dead && !admin->dead) {
		collect(b);
		maybe_turn_bad(b);
		if (b->client->kind == CLIENT_RECONNECTING && sim_chance(20))
			return;
		if (b->nr < most && !q->dead) {
			issue(b);
			if (sim_chance(500))
				continue;
		}
		if (sim_chance(700))
			co_sleep(sim_delay(8 * NS_PER_MS));
		host_turn(&b->host, b->nr == most ? 500 * NS_PER_MS : sim_delay(20 * NS_PER_MS));
	}
	/* Those in flight are waited for, by those who can. */
	for (uint64_t end = sim_now + 30 * NS_PER_S; b->nr > 0 && !q->dead && sim_now < end;) {
		collect(b);
		if (b->nr > 0)
			host_turn(&b->host, NS_PER_S);
	}
	if ((q->dead || admin->dead) && !w.ending && b->client->kind == CLIENT_GOOD && !w.faults)
		sim_fail(P_HOST, "%s lost its queue", b->client->name);
}

void block_main(void *arg)
{
	struct block_host b = {.client = arg};

	while (!w.ending) {
		bool up;

		if (!host_open(&b.host, b.client))
			break;
		up = host_admin(&b.host) && host_io(&b.host);
		if (!up && !w.ending && b.client->kind == CLIENT_GOOD && !w.faults)
			sim_fail(P_HOST, "%s cannot connect", b.client->name);
		if (up) {
			sim_log("is connected");
			work(&b);
		}
		host_close(&b.host);
		co_sleep(sim_delay(50 * NS_PER_MS));
	}
	sim_log("went home");
}
