// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a reader may see. Of every cell all writes are known: when each began, when it was over, and
 * when it was superseded, that is when a write was acknowledged that had begun after this one was
 * over. A reader may see any write that had begun and was not superseded when the reader asked.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

struct write_op {
	struct list link;    /* all */
	struct list pending; /* not over */
	unsigned int cell, n;
	uint64_t value, issued, over;
	uint32_t key;
	uint64_t conn;
};

struct seen {
	struct write_op *op;
	uint64_t superseded;
};

struct cell {
	struct seen *
		seen; /* first those that are superseded, so that who looks for others need not pass them */
	unsigned int superseded, n, room;
};

static struct {
	struct cell cells[FILE_MAX_PAGES * PAGE_CELLS];
	struct list ops, pending;
	uint64_t last_value;
} o;

void oracle_begin(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(o.cells); i++)
		o.cells[i].superseded = o.cells[i].n = 0;
	o.last_value = 0;
	list_init(&o.ops);
	list_init(&o.pending);
	oracle_ack(oracle_issue(0, ARRAY_SIZE(o.cells), 0));
}

void oracle_end(void)
{
	struct list *l;

	while ((l = list_pop(&o.ops)))
		free(list_entry(l, struct write_op, link));
}

uint64_t oracle_value(void)
{
	return ++o.last_value << 8 | 0xa5;
}

void oracle_fill(void *bytes, unsigned int n, uint64_t value)
{
	uint64_t *p = bytes;

	for (size_t i = 0; i < (size_t)n * CELL_BYTES / sizeof(*p); i += 4)
		p[i] = p[i + 1] = p[i + 2] = p[i + 3] = value;
}

static void cell_add(struct cell *c, struct write_op *op)
{
	if (c->n == c->room) {
		c->room = c->room ? 2 * c->room : 4;
		c->seen = realloc(c->seen, c->room * sizeof(*c->seen));
		assert(c->seen);
	}
	c->seen[c->n++] = (struct seen){.op = op, .superseded = NEVER};
}

struct write_op *oracle_issue(unsigned int cell, unsigned int n, uint64_t value)
{
	struct write_op *op = calloc(1, sizeof(*op));

	assert(op && cell + n <= ARRAY_SIZE(o.cells));
	*op = (struct write_op){
		.cell = cell,
		.n = n,
		.value = value,
		.issued = sim_now,
		.over = NEVER,
	};
	list_push(&o.ops, &op->link);
	list_push(&o.pending, &op->pending);
	for (unsigned int i = 0; i < n; i++)
		cell_add(&o.cells[cell + i], op);
	return op;
}

void oracle_over(struct write_op *op)
{
	if (op->over != NEVER)
		return;
	op->over = sim_now;
	list_del(&op->pending);
}

static void supersede(struct cell *c, unsigned int k)
{
	struct seen seen = c->seen[k];

	seen.superseded = sim_now;
	c->seen[k] = c->seen[c->superseded];
	c->seen[c->superseded++] = seen;
}

void oracle_ack(struct write_op *op)
{
	for (unsigned int i = 0; i < op->n; i++) {
		struct cell *c = &o.cells[op->cell + i];

		for (unsigned int k = c->superseded; k < c->n; k++)
			if (c->seen[k].op != op && c->seen[k].op->over <= op->issued)
				supersede(c, k);
	}
	oracle_over(op);
}

void oracle_by_key(struct write_op *op, uint32_t key)
{
	op->key = key;
}

void oracle_by_conn(struct write_op *op, uint64_t conn)
{
	op->conn = conn;
}

static void over_all(uint32_t key, uint64_t conn)
{
	struct list *l, *next;

	list_for_each_safe (l, next, &o.pending) {
		struct write_op *op = list_entry(l, struct write_op, pending);

		if ((key && op->key == key) || (conn && op->conn == conn))
			oracle_over(op);
	}
}

void oracle_key_dead(uint32_t key)
{
	over_all(key, 0);
}

void oracle_conn_dead(uint64_t conn)
{
	over_all(0, conn);
}

void oracle_set(unsigned int cell, unsigned int n, uint64_t value)
{
	if (n > 0)
		oracle_ack(oracle_issue(cell, n, value));
}

/* What is not superseded, nor is once `op`, which may be NULL, is acknowledged. */
static bool may_survive(const struct cell *c, uint64_t value, const struct write_op *op)
{
	for (unsigned int k = c->n; k-- > c->superseded;) {
		const struct seen *seen = &c->seen[k];

		if (seen->op->value == value &&
		    (!op || seen->op == op || seen->op->over > op->issued))
			return true;
	}
	return false;
}

static void explain(unsigned int cell)
{
	const struct cell *c = &o.cells[cell];

	for (unsigned int k = 0; k < c->n; k++)
		sim_log("  cell %u: value %llx began %.6f over %.6f superseded %.6f", cell,
			(unsigned long long)c->seen[k].op->value,
			(double)(c->seen[k].op->issued - w.base_ns) / 1e6,
			c->seen[k].op->over == NEVER
				? -1.0
				: (double)(c->seen[k].op->over - w.base_ns) / 1e6,
			c->seen[k].superseded == NEVER
				? -1.0
				: (double)(c->seen[k].superseded - w.base_ns) / 1e6);
}

/* Most sectors hold one value. */
static bool is_whole(const uint64_t *p)
{
	return memcmp(p, p + 1, CELL_BYTES - sizeof(*p)) == 0;
}

/* Each line of a cell of the medium alone: a write that is not acknowledged may be there in part. */
static void check_lines(unsigned int cell, const void *bytes, const struct write_op *op,
			const char *who)
{
	const uint64_t *p = bytes;
	const unsigned int n = is_whole(p) ? 1 : CELL_BYTES / sizeof(*p);

	for (unsigned int i = 0; i < n; i++) {
		if (may_survive(&o.cells[cell], p[i], op))
			continue;
		explain(cell);
		sim_fail(P_POWER, "%s: byte %llu would be %llx after a power failure", who,
			 (unsigned long long)cell * CELL_BYTES + i * sizeof(*p),
			 (unsigned long long)p[i]);
	}
}

void oracle_survives(const struct write_op *op, const char *who)
{
	uint8_t bytes[CELL_BYTES];

	for (unsigned int i = 0; i < op->n; i++)
		if (file_medium(op->cell + i, bytes))
			check_lines(op->cell + i, bytes, op, who);
}

void oracle_check_medium(unsigned int cell, const void *bytes)
{
	check_lines(cell, bytes, NULL, "the medium");
}

static bool may_see(const struct cell *c, uint64_t value, uint64_t issued)
{
	for (unsigned int k = c->n; k-- > 0;)
		if (c->seen[k].op->value == value && c->seen[k].superseded >= issued)
			return true;
	return false;
}

void oracle_check(unsigned int cell, unsigned int n, const void *bytes, uint64_t issued,
		  const char *who)
{
	const uint64_t *p = bytes;

	for (unsigned int i = 0; i < n; i++, p += CELL_BYTES / sizeof(*p)) {
		if (!is_whole(p))
			sim_fail(P_LOST, "%s sees a torn sector at byte %llu", who,
				 (unsigned long long)(cell + i) * CELL_BYTES);
		if (may_see(&o.cells[cell + i], p[0], issued))
			continue;
		explain(cell + i);
		sim_fail(P_LOST, "%s sees %llx at byte %llu, which it may not", who,
			 (unsigned long long)p[0], (unsigned long long)(cell + i) * CELL_BYTES);
	}
}
