// SPDX-License-Identifier: BSD-3-Clause
/*
 * The landlord: programs of the storage host that use the file, and whoever runs the target. Under a
 * lease its open(2) is what they wait for; under watch each thing they do.
 */
#include "sim.h"

#define NONBLOCK_TRIES 200

enum deed {
	TRUNCATE,
	PUNCH,
	CLONE,
	WRITE,
	WRITE_SOME,
	MOVE,
	LOOK,
};

struct change {
	struct watched_op op;
	enum deed deed;
	uint64_t bytes;	      /* TRUNCATE */
	unsigned int page, n; /* WRITE_SOME: that many sectors of it */
};

static unsigned int file_pages(void)
{
	return (unsigned int)((file_size() + PAGE_BYTES - 1) / PAGE_BYTES);
}

static uint64_t choose_size(void)
{
	uint64_t unit = sim_chance(700) ? PAGE_BYTES : CELL_BYTES,
		 most = FILE_MAX_PAGES * PAGE_BYTES;

	/* Mostly near what it was. */
	if (sim_chance(700))
		return (1 + sim_below(min_u64(file_size() * 5 / 4, most) / unit)) * unit;
	return (uint64_t)w.pages * PAGE_BYTES;
}

static struct change choose(void)
{
	unsigned int pages = file_pages();
	struct change c = {.page = (unsigned int)sim_below(pages)};

	c.n = 1 + (unsigned int)sim_below(min_u64(pages - c.page, 8));
	switch (sim_below(6)) {
	case 0:
		c.deed = TRUNCATE;
		/* A namespace of nothing is another test's matter. */
		c.bytes = max_u64(choose_size(), PAGE_BYTES);
		break;
	case 1:
		c.deed = PUNCH;
		break;
	case 2:
		c.deed = sim_chance(300) ? CLONE : WRITE;
		break;
	case 3:
		c.deed = MOVE;
		break;
	case 4:
		c.deed = WRITE_SOME;
		c.n = 1 + (unsigned int)sim_below(PAGE_CELLS);
		break;
	default:
		c.deed = LOOK;
		break;
	}
	return c;
}

static void look(const struct change *c)
{
	if (w.watch)
		file_look(c->page, c->n);
	else
		file_check(sim_now);
}

static void carry_out(const struct change *c)
{
	unsigned int pages = file_pages(), n = c->n;

	if (c->deed == TRUNCATE) {
		file_truncate(c->bytes);
		return;
	}
	/* Somebody may have made it shorter. */
	if (c->page >= pages)
		return;
	n = (unsigned int)min_u64(n, c->deed == WRITE_SOME ? n : pages - c->page);
	switch (c->deed) {
	case PUNCH:
		file_punch(c->page, n);
		break;
	case CLONE:
		file_clone(c->page, n);
		break;
	case WRITE:
		if ((uint64_t)(c->page + n) * PAGE_BYTES <= file_size())
			file_write(c->page * PAGE_CELLS, n * PAGE_CELLS);
		break;
	case WRITE_SOME:
		if ((uint64_t)(c->page + 1) * PAGE_BYTES <= file_size())
			file_write(c->page * PAGE_CELLS, n);
		break;
	case MOVE:
		file_move(c->page, n);
		break;
	default:
		look(c);
		break;
	}
}

/* ---- under a lease --------------------------------------------------------------------------- */

static void use_the_file(void)
{
	bool nonblock = sim_chance(150);
	unsigned int tries = 0;

	while (!landlord_open(nonblock)) {
		if (++tries > NONBLOCK_TRIES || w.ending)
			return;
		co_sleep(sim_delay(20 * NS_PER_MS));
	}
	sim_log("the landlord is in");
	for (unsigned int i = (unsigned int)sim_below(4); i > 0; i--) {
		struct change c;

		co_sleep(sim_delay(5 * NS_PER_MS));
		c = choose();
		carry_out(&c);
	}
	co_sleep(sim_delay(sim_chance(100) ? 400 * NS_PER_MS : 5 * NS_PER_MS));
	landlord_close();
	sim_log("the landlord is out");
}

static void truncate_by_path(void)
{
	landlord_enter();
	file_truncate(max_u64(choose_size(), PAGE_BYTES));
	landlord_leave();
}

/* ---- under watch ----------------------------------------------------------------------------- */

static void run(const struct watched_op *op)
{
	carry_out(container_of(op, const struct change, op));
}

static int ask(struct change *c)
{
	unsigned int n = c->deed == WRITE_SOME ? 1 : c->n;
	uint64_t from = (uint64_t)c->page * PAGE_BYTES, to = from + (uint64_t)n * PAGE_BYTES;

	c->op.run = run;
	if (c->deed == TRUNCATE)
		return watch_ask(&c->op, c->bytes, NEVER);
	/* Who copies it asks for more than it names then. */
	if ((c->deed == LOOK || c->deed == CLONE) && sim_chance(200))
		return watch_ask(&c->op, c->deed == CLONE ? 0 : from, NEVER);
	return watch_ask(&c->op, from, to);
}

/* Between two things that one does with it. */
enum pace {
	PACE_SHORT,    /* comes, does it, and goes */
	PACE_PATIENT,  /* has it open for long; it is served again in between */
	PACE_RESTLESS, /* never stops */
	PACES,
};

static uint64_t pause_ns(enum pace pace)
{
	if (pace == PACE_PATIENT)
		return sim_below(300 * NS_PER_MS);
	return sim_delay(pace == PACE_SHORT ? 20 * NS_PER_MS : 2 * NS_PER_MS);
}

static void use_the_watched_file(void)
{
	static const unsigned int most[PACES] = {6, 30, 500};
	enum pace pace = sim_chance(60)	   ? PACE_RESTLESS
			 : sim_chance(700) ? PACE_PATIENT
					   : PACE_SHORT;

	bool blind;

	if (watch_ask_open(&blind) != 0)
		return;
	(void)landlord_open(false);
	sim_log("the landlord is in");
	for (uint64_t n = sim_below(most[pace]); n > 0 && !w.ending; n--) {
		struct change c;

		co_sleep(pause_ns(pace));
		c = choose();
		c.op.blind = blind && c.deed != TRUNCATE; /* which asks by the inode */
		(void)ask(&c);
	}
	landlord_close();
	sim_log("the landlord is out");
}

static void truncate_watched_by_path(void)
{
	struct change c = {.deed = TRUNCATE, .bytes = max_u64(choose_size(), PAGE_BYTES)};

	(void)ask(&c);
}

/* ---- its life -------------------------------------------------------------------------------- */

static void use(void)
{
	(w.watch ? use_the_watched_file : use_the_file)();
}

void landlord_main(void *arg)
{
	(void)arg;
	for (unsigned int i = w.early ? 1 + (unsigned int)sim_below(8) : 0; i > 0; i--) {
		use();
		co_sleep(sim_delay(5 * NS_PER_MS));
	}
	/* Several that never stop need never be out at the same time. */
	while (w.early && !w.served)
		co_sleep(NS_PER_MS);
	while (!w.ending) {
		co_sleep(sim_delay(w.landlord_ns));
		if (w.ending)
			break;
		if (sim_chance(60))
			world_resize(max_u64(align_up(choose_size(), w.lba_bytes), PAGE_BYTES));
		else if (sim_chance(200))
			(w.watch ? truncate_watched_by_path : truncate_by_path)();
		else
			use();
	}
}
