// SPDX-License-Identifier: BSD-3-Clause
/*
 * Whoever wants some pages of the file back while the rest is served on: between the proof and the end
 * the blocks under them change hands. Also in the middle of all else that goes on.
 */
#include "sim.h"

#include "grant/grant.h"

#include <string.h>

#define PATIENCE_NS (60 * NS_PER_S)

struct reclaim {
	struct holding_range range;
	struct loop_msg recall_msg, end_msg;
	unsigned int page, n;
	bool to_end;
	bool proven, ended;
	struct co *co;
};

static void on_proven(struct holding_range *range)
{
	struct reclaim *r = container_of(range, struct reclaim, range);

	r->proven = true;
	sim_log("pages %u+%u are proven free", r->page, r->n);
	fabric_check_no_key(P_REACHED, range->offset, range->end, "a range was proven free");
	co_wake(r->co);
}

static void on_ended(struct holding_range *range)
{
	struct reclaim *r = container_of(range, struct reclaim, range);

	r->ended = true;
	co_wake(r->co);
}

static void do_recall(struct loop_msg *msg)
{
	holding_recall_range(world_holding(),
			     &container_of(msg, struct reclaim, recall_msg)->range);
}

static void do_end(struct loop_msg *msg)
{
	holding_recall_end(&container_of(msg, struct reclaim, end_msg)->range);
}

static void wait_for(const bool *flag, const char *what)
{
	for (uint64_t end = sim_now + PATIENCE_NS; !*flag && sim_now < end;)
		(void)co_wait(NS_PER_S);
	if (!*flag)
		sim_fail(P_STUCK, "%s", what);
}

struct change {
	struct watched_op op;
	unsigned int page;
	uint64_t bytes; /* to cut it to; 0: the page alone */
};

static void carry_out(const struct watched_op *op)
{
	const struct change *c = container_of(op, const struct change, op);

	if (c->bytes) {
		if (c->bytes >= PAGE_BYTES && c->bytes < file_size())
			file_truncate_part(c->bytes);
		return;
	}
	if ((uint64_t)(c->page + 1) * PAGE_BYTES > file_size())
		return; /* somebody made it shorter */
	if (sim_chance(500))
		file_move_part(c->page, 1);
	else
		file_punch_part(c->page, 1);
}

/* Who was told that it is free asks all the same, where local programs do. */
static void change(const struct reclaim *r)
{
	struct change c = {.op.run = carry_out, .page = r->page + (unsigned int)sim_below(r->n)};
	uint64_t from = (uint64_t)c.page * PAGE_BYTES;

	if (r->to_end && sim_chance(400))
		c.bytes = from + sim_below(2) * CELL_BYTES;
	if (!w.watch)
		carry_out(&c.op);
	else if (c.bytes)
		(void)watch_ask(&c.op, c.bytes, NEVER);
	else
		(void)watch_ask(&c.op, from, from + PAGE_BYTES);
}

static void reclaim(struct reclaim *r)
{
	unsigned int pages = (unsigned int)(file_size() / PAGE_BYTES);

	if (pages == 0)
		return;
	memset(r, 0, sizeof(*r));
	r->co = co_self();
	r->page = (unsigned int)sim_below(pages);
	r->n = 1 + (unsigned int)sim_below(min_u64(pages - r->page, 8));
	r->to_end = sim_chance(250);
	if (r->to_end)
		r->n = pages - r->page;
	r->range = (struct holding_range){
		.offset = (uint64_t)r->page * PAGE_BYTES,
		.length = r->to_end ? 0 : (uint64_t)r->n * PAGE_BYTES,
		.done = on_proven,
		.ended = on_ended,
	};
	sim_log("pages %u+%u are wanted back", r->page, r->n);
	loop_post(world_control(), &r->recall_msg, do_recall);
	/* Some do not wait to be told. */
	if (sim_chance(100))
		co_sleep(sim_delay(5 * NS_PER_MS));
	else
		wait_for(&r->proven, "a range is not proven free");
	if (r->proven) {
		for (unsigned int i = (unsigned int)sim_below(4); i > 0; i--) {
			change(r);
			co_sleep(sim_delay(5 * NS_PER_MS));
		}
	}
	sim_log("pages %u+%u are given back", r->page, r->n);
	loop_post(world_control(), &r->end_msg, do_end);
	wait_for(&r->ended, "a range that was given back is not served again");
}

void reclaim_main(void *arg)
{
	struct reclaim r;

	(void)arg;
	while (!w.ending) {
		co_sleep(sim_delay(w.landlord_ns));
		if (!w.ending)
			reclaim(&r);
	}
}
