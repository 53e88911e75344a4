// SPDX-License-Identifier: BSD-3-Clause
/*
 * Durability by libpmem2, which knows the processor's instructions and whether the platform flushes its
 * caches at power failure. It says so of a mapping of its own, one page for a moment; ours it does not
 * make, see addresses.c. Worker threads.
 */
#include "persistence.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

/* Below this are errors of libpmem2's own; the others are -errno. (Its pmem2_err_to_errno() is
 * declared but missing from the library, as of 1.12.) */
#define PMEM2_OWN_ERRORS (-100000)

/* Two threads in pmem2_map_new() at once have been seen to make one of them fail, without a word. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/*
 * libpmem2 walks through /sys with fts(3), which changes the working directory, and that of all
 * threads. So who asks it gets one of his own, for good.
 */
static void keep_cwd_apart(void)
{
	static _Thread_local bool done;

	if (!done)
		done = unshare(CLONE_FS) == 0;
}

void persistence_begin(void)
{
	keep_cwd_apart();
	(void)pthread_mutex_lock(&one_at_a_time);
}

void persistence_end(void)
{
	(void)pthread_mutex_unlock(&one_at_a_time);
}

static int look(struct pmem2_config *config, struct pmem2_source *source,
		struct persistence *persistence)
{
	struct pmem2_map *map;
	int ret;

	persistence_begin();
	ret = pmem2_map_new(&map, config, source);
	if (!ret) {
		persistence->persist = pmem2_get_persist_fn(map);
		persistence->drain = pmem2_get_drain_fn(map);
		persistence->memcpy = pmem2_get_memcpy_fn(map);
		persistence->caches_survive =
			pmem2_map_get_store_granularity(map) == PMEM2_GRANULARITY_BYTE;
		ret = pmem2_map_delete(&map);
	}
	persistence_end();
	return ret;
}

int persistence_find(int fd, const char *path, uint64_t piece, struct persistence *persistence,
		     struct errtext *err)
{
	struct pmem2_source *source = NULL;
	struct pmem2_config *config = NULL;
	size_t bytes = 0;
	int ret;

	*persistence = (struct persistence){0};
	keep_cwd_apart();
	ret = pmem2_source_from_fd(&source, fd);
	if (!ret)
		ret = pmem2_config_new(&config);
	if (!ret)
		ret = pmem2_source_size(source, &bytes);
	if (!ret && bytes >= piece)
		ret = pmem2_config_set_length(config, piece);
	if (!ret)
		ret = pmem2_config_set_required_store_granularity(config,
								  PMEM2_GRANULARITY_CACHE_LINE);
	if (!ret)
		ret = look(config, source, persistence);
	if (ret)
		ret = errtext_set(err, ret <= PMEM2_OWN_ERRORS ? -EINVAL : ret,
				  "cannot find out how %s is made durable: %s (libpmem2 error %d)",
				  path, pmem2_errormsg(), ret);
	(void)pmem2_config_delete(&config);
	(void)pmem2_source_delete(&source);
	return ret;
}
