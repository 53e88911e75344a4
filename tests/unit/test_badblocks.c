// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bad blocks that the device's driver tells of, by a libpmem2 and a /sys of the test's own: known at the
 * start, when they change, and after a recall; and asked for only then.
 */
#include "test_export_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export/badblocks.h" /* the room's own */
#include "export/file.h"

#define PAGE KIB(4)

/* ---- libpmem2 and /sys ------------------------------------------------------------------------ */

static struct pmem2_badblock blocks[8];
static unsigned int nr_blocks, at, contexts, looks;
static const char *list; /* of the device; NULL: it has none */
static int context_err;

int __wrap_pmem2_badblock_context_new(struct pmem2_badblock_context **context,
				      const struct pmem2_source *source);
int __wrap_pmem2_badblock_next(struct pmem2_badblock_context *context,
			       struct pmem2_badblock *block);
void __wrap_pmem2_badblock_context_delete(struct pmem2_badblock_context **context);
FILE *__wrap_fopen64(const char *path, const char *mode);
FILE *__real_fopen64(const char *path, const char *mode);

int __wrap_pmem2_badblock_context_new(struct pmem2_badblock_context **context,
				      const struct pmem2_source *source)
{
	assert_non_null(source);
	looks++;
	if (context_err)
		return context_err;
	contexts++;
	at = 0;
	*context = (struct pmem2_badblock_context *)(void *)blocks;
	return 0;
}

int __wrap_pmem2_badblock_next(struct pmem2_badblock_context *context, struct pmem2_badblock *block)
{
	assert_ptr_equal(context, blocks);
	if (at == nr_blocks)
		return PMEM2_E_NO_BAD_BLOCK_FOUND;
	*block = blocks[at++];
	return 0;
}

void __wrap_pmem2_badblock_context_delete(struct pmem2_badblock_context **context)
{
	assert_ptr_equal(*context, blocks);
	contexts--;
	*context = NULL;
}

FILE *__wrap_fopen64(const char *path, const char *mode)
{
	char *text;

	if (strncmp(path, "/sys/dev/block/", 15) != 0)
		return __real_fopen64(path, mode);
	if (!list || strstr(path, "/../"))
		return NULL;
	text = (char *)(uintptr_t)list;
	return fmemopen(text, strlen(text), "r");
}

/* ---- tests ------------------------------------------------------------------------------------ */

static struct export *open_dax(void)
{
	struct export *e;

	make_file("a", MIB(1));
	fill_file("a", 0, MIB(1));
	e = open_file("a");
	e->medium = EXPORT_DAX;
	looks = 0;
	return e;
}

static void close_dax(struct export *e)
{
	assert_int_equal(contexts, 0);
	export_close(e);
	nr_blocks = 0;
	list = NULL;
	context_err = 0;
}

static bool is_bad(const struct export *e, uint64_t offset, uint64_t length)
{
	struct export_range bad;

	return export_bad(e, offset, length, &bad);
}

static void test_change(void **state)
{
	struct export *e = open_dax();

	(void)state;
	list = "0 0\n";
	export_bad_look(e);
	assert_int_equal(looks, 1);
	export_bad_look(e);
	assert_int_equal(looks, 1);
	/* Blocks of 512 bytes, of which whole pages are taken for damaged. */
	blocks[0] = (struct pmem2_badblock){.offset = 3 * PAGE + 512, .length = 512};
	blocks[1] = (struct pmem2_badblock){.offset = 9 * PAGE, .length = 2 * PAGE};
	nr_blocks = 2;
	list = "17 1\n40 16\n";
	export_bad_look(e);
	assert_int_equal(looks, 2);
	assert_true(is_bad(e, 3 * PAGE, 1) && is_bad(e, 9 * PAGE, 1) &&
		    is_bad(e, 11 * PAGE - 1, 1));
	assert_false(is_bad(e, 0, 3 * PAGE) || is_bad(e, 4 * PAGE, 5 * PAGE) ||
		     is_bad(e, 11 * PAGE, PAGE));
	export_bad_look(e);
	assert_int_equal(looks, 2);
	/* A view is made of what there is then. */
	damage_clear(e->damage, 0, MIB(1));
	badblocks_look(e);
	assert_int_equal(looks, 3);
	assert_true(is_bad(e, 3 * PAGE, 1) && is_bad(e, 9 * PAGE, 1));
	close_dax(e);
}

/* A recall may have mended them, or not. */
static void test_view(void **state)
{
	struct export *e = open_dax();
	struct errtext err;
	struct view *view;

	(void)state;
	blocks[0] = (struct pmem2_badblock){.offset = 0, .length = PAGE};
	nr_blocks = 1;
	/* Mapped as what it is: only the bad blocks are those of DAX. */
	e->medium = dir_is_memory() ? EXPORT_MEMORY : EXPORT_PAGE_CACHE;
	assert_int_equal(view_new(e, 1, NULL, NULL, &view, &err), 0);
	assert_int_equal(looks, 0);
	view_free(view);
	assert_true(damage_add(e->damage, 5 * PAGE, PAGE));
	assert_int_equal(view_new(e, 2, NULL, NULL, &view, &err), 0);
	assert_false(is_bad(e, 0, MIB(1)));
	view_free(view);
	close_dax(e);
}

/* Who cannot be asked costs nothing but that. */
static void test_refused(void **state)
{
	struct export *e = open_dax();

	(void)state;
	list = "8 1\n";
	context_err = PMEM2_E_NOSUPP;
	export_bad_look(e);
	assert_int_equal(looks, 1);
	assert_false(is_bad(e, 0, MIB(1)));
	close_dax(e);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_change),
		leaks_test(test_view),
		leaks_test(test_refused),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	return for_each_dir(run_group);
}
