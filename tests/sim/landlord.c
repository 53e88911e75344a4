// SPDX-License-Identifier: BSD-3-Clause
/* The landlord: programs of the storage host that use the file, and whoever runs the target. */
#include "sim.h"

#define NONBLOCK_TRIES 200

static void choose_pages(unsigned int *page, unsigned int *n)
{
	unsigned int pages = (unsigned int)((file_size() + PAGE_BYTES - 1) / PAGE_BYTES);

	*page = (unsigned int)sim_below(pages);
	*n = 1 + (unsigned int)sim_below(min_u64(pages - *page, 8));
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

static void change(void)
{
	unsigned int page, n;

	choose_pages(&page, &n);
	switch (sim_below(6)) {
	case 0:
		/* A namespace of nothing is another test's matter. */
		file_truncate(max_u64(choose_size(), PAGE_BYTES));
		break;
	case 1:
		file_punch(page, n);
		break;
	case 2:
		if (sim_chance(300))
			file_clone(page, n);
		else if (page * PAGE_BYTES + n * PAGE_BYTES <= file_size())
			file_write(page * PAGE_CELLS, n * PAGE_CELLS);
		break;
	case 3:
		file_move(page, n);
		break;
	case 4:
		if (page * PAGE_BYTES + PAGE_BYTES <= file_size())
			file_write(page * PAGE_CELLS, 1 + (unsigned int)sim_below(PAGE_CELLS));
		break;
	default: /* it only looks */
		file_check(sim_now);
		break;
	}
}

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
		co_sleep(sim_delay(5 * NS_PER_MS));
		change();
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

void landlord_main(void *arg)
{
	(void)arg;
	while (!w.ending) {
		co_sleep(sim_delay(w.landlord_ns));
		if (w.ending)
			break;
		if (sim_chance(60))
			world_resize(max_u64(align_up(choose_size(), w.lba_bytes), PAGE_BYTES));
		else if (sim_chance(200))
			truncate_by_path();
		else
			use_the_file();
	}
}
