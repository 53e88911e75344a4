// SPDX-License-Identifier: BSD-3-Clause
/*
 * The self-test of adapters. The software fabric in each of its presentations; and, where there is a
 * real adapter, that one: in the testbed LEASEHOLD_TESTBED_RDMA says which, and so what must come
 * out. A stock soft-RoCE must be refused for on-demand paging, and the kernel must live.
 */
#include "test_export_rig.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "fabric/verbs.h"
#include "iwarp/iwarp.h"
#include "region/region.h"
#include "util/log.h"

#define FILE_BYTES MIB(8)

static struct export *export;

static unsigned int count_probe_files(void)
{
	DIR *dir = opendir(test_dir);
	struct dirent *entry;
	unsigned int n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		n += strncmp(entry->d_name, ".leasehold-probe-", 17) == 0;
	(void)closedir(dir);
	return n;
}

static struct fabric *open_iwarp(const struct iwarp_options *options)
{
	struct fabric *f;
	struct errtext err;

	assert_int_equal(iwarp_fabric_open(options, &f, &err), 0);
	return f;
}

static void close_fabric(struct fabric *f)
{
	region_probe_forget(NULL);
	fabric_close(f);
}

static struct region_probe probe(struct fabric *f, enum region_choice choice)
{
	struct region_probe result = {.rung = LH_RUNG_STAGED};
	struct errtext err = {""};
	int rc = region_probe(fabric_device_at(f, 0), export, choice, &result, &err);

	if (rc)
		print_error("region_probe: %d: %s\n", rc, err.text);
	assert_int_equal(rc, 0);
	print_message("[          ] %s\n", result.why);
	assert_int_equal(count_probe_files(), 0);
	return result;
}

static void test_any(void **state)
{
	struct fabric *f = open_iwarp(NULL);
	struct region_probe result = probe(f, REGION_AUTO);

	(void)state;
	assert_int_equal(result.rung, LH_RUNG_PINNED);
	assert_true(result.iova);
	assert_true(result.windows);
	assert_string_equal(result.why, "pinned: works");
	result = probe(f, REGION_ODP);
	assert_int_equal(result.rung, LH_RUNG_ODP);
	assert_true(result.iova);
	assert_string_equal(result.why, "odp: works");
	close_fabric(f);
}

static void test_pinned_only(void **state)
{
	struct iwarp_options options = {.memory = IWARP_MEMORY_PINNED, .no_windows = true};
	struct fabric *f = open_iwarp(&options);
	struct region_probe result = probe(f, REGION_AUTO);

	(void)state;
	assert_int_equal(result.rung, LH_RUNG_PINNED);
	assert_false(result.windows);
	result = probe(f, REGION_ODP);
	assert_int_equal(result.rung, LH_RUNG_NONE);
	assert_non_null(strstr(result.why, "odp: not offered"));
	close_fabric(f);
}

static void test_odp_only(void **state)
{
	struct iwarp_options options = {.memory = IWARP_MEMORY_ODP};
	struct fabric *f = open_iwarp(&options);
	struct region_probe result = probe(f, REGION_AUTO);

	(void)state;
	assert_int_equal(result.rung, LH_RUNG_ODP);
	assert_non_null(strstr(result.why, "pinned: refused by the kernel"));
	assert_non_null(strstr(result.why, "odp: works"));
	result = probe(f, REGION_PINNED);
	assert_int_equal(result.rung, LH_RUNG_NONE);
	close_fabric(f);
}

static void test_crc(void **state)
{
	struct iwarp_options options = {.crc = IWARP_CRC_ON};
	struct fabric *f = open_iwarp(&options);

	(void)state;
	assert_int_equal(probe(f, REGION_AUTO).rung, LH_RUNG_PINNED);
	close_fabric(f);
}

/* What was found is remembered: the second time nothing is written to the file system. */
static void test_remembered(void **state)
{
	struct fabric *f = open_iwarp(NULL);
	struct region_probe result = probe(f, REGION_AUTO), again;
	uint64_t begin = now_ns();

	(void)state;
	for (int i = 0; i < 1000; i++) {
		struct errtext err;

		assert_int_equal(
			region_probe(fabric_device_at(f, 0), export, REGION_AUTO, &again, &err), 0);
	}
	assert_true(now_ns() - begin < NS_PER_S);
	assert_memory_equal(&result, &again, sizeof(again));
	close_fabric(f);
}

/* Files of dead processes go, those of living ones stay. */
static void test_stale(void **state)
{
	struct fabric *f = open_iwarp(NULL);
	int dead = open(in_dir(".leasehold-probe-1-1"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int alive = open(in_dir(".leasehold-probe-1-2"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct region_probe result;
	struct errtext err;

	(void)state;
	assert_true(dead >= 0 && alive >= 0);
	(void)close(dead);
	assert_int_equal(flock(alive, LOCK_EX), 0);
	assert_int_equal(region_probe(fabric_device_at(f, 0), export, REGION_AUTO, &result, &err),
			 0);
	assert_int_equal(count_probe_files(), 1);
	assert_int_equal(access(in_dir(".leasehold-probe-1-2"), F_OK), 0);
	assert_int_equal(unlink(in_dir(".leasehold-probe-1-2")), 0);
	(void)close(alive);
	close_fabric(f);
}

/* A block region: slices, look-ups, sharing, and the count of keys. */
static void test_region(void **state)
{
	struct fabric *f = open_iwarp(NULL);
	struct view *view = must_view(export);
	struct region_budget budget = {.max_registrations = UINT32_MAX, .max_bytes = UINT64_MAX};
	struct region *region, *later;
	const struct region_slice *slice;
	struct grant_key key;
	struct region_probe how = {.rung = LH_RUNG_PINNED, .iova = true};
	struct region_cover cover = {0};
	struct fabric_pd *pd;
	struct errtext err;
	int rc;

	(void)state;
	assert_int_equal(fabric_pd_alloc(fabric_device_at(f, 0), &pd), 0);
	assert_int_equal(region_keys_alive(view), 0);
	region_covered(&cover, export);
	assert_int_equal(region_begin(pd, &budget, view, LH_RUNG_PINNED, NULL, &region), 0);
	while ((rc = region_step(region, &err)) > 0)
		;
	assert_int_equal(rc, 0);
	assert_int_equal(region_count(region), view->nr_runs);
	assert_int_equal(region_keys_alive(view), view->nr_runs);
	for (unsigned int i = 0; i < view->nr_runs; i++) {
		const struct export_run *run = &view->runs[i];

		slice = region_find(region, run->offset);
		assert_non_null(slice);
		assert_ptr_equal(slice, region_find(region, run->offset + run->length - 1));
		assert_int_equal(slice->offset, run->offset);
		assert_null(region_find(region, run->offset + run->length));
	}
	/* A second region shares what is the same. */
	assert_int_equal(region_begin(pd, &budget, view, LH_RUNG_PINNED, region, &later), 0);
	assert_int_equal(region_step(later, &err), 0);
	assert_int_equal(region_keys_alive(view), view->nr_runs);
	assert_int_equal(region_find(later, 0)->lkey, region_find(region, 0)->lkey);
	assert_int_equal(region_free(region), 0);
	assert_int_equal(region_keys_alive(view), view->nr_runs);
	assert_int_equal(region_free(later), 0);
	assert_int_equal(region_keys_alive(view), 0);

	assert_int_equal(grant_key_new(pd, view, 4096, 8192, LH_GRANT_READ, &how, &key), 0);
	assert_int_equal(region_keys_alive(view), 1);
	assert_true(key.address % 4096 == (uintptr_t)(view->base + 4096) % 4096);
	assert_true(key.address != (uintptr_t)(view->base + 4096));
	assert_true(key.address < UINT64_MAX - 8192);
	assert_int_equal(grant_key_kill(&key), 0);
	assert_int_equal(grant_key_kill(&key), 0);
	assert_int_equal(region_keys_alive(view), 0);
	region_uncovered(&cover);
	view_free(view);
	assert_int_equal(fabric_pd_free(pd), 0);
	close_fabric(f);
}

static int register_all(const struct view *view, struct fabric_pd *pd)
{
	struct region_budget budget = {.max_registrations = UINT32_MAX, .max_bytes = UINT64_MAX};
	struct region *region;
	struct errtext err;

	if (region_begin(pd, &budget, view, LH_RUNG_PINNED, NULL, &region) != 0)
		return -ENOMEM;
	return region_step(region, &err);
}

static int grant_all(const struct view *view, struct fabric_pd *pd)
{
	const struct region_probe how = {.rung = LH_RUNG_PINNED};
	struct grant_key key;

	return grant_key_new(pd, view, 0, view->runs[0].length, LH_GRANT_READ, &how, &key);
}

static int grant_slab(const struct view *view, struct fabric_pd *pd)
{
	const struct region_probe how = {.rung = LH_RUNG_PINNED, .windows = true};
	struct grant_slab slab;

	grant_slab_plan(fabric_pd_device(pd), view, 0, &slab);
	return grant_slab_register(pd, view, &how, &slab);
}

/* Whether the process ends by an assertion, before anything is registered. */
static bool dies(int (*fn)(const struct view *view, struct fabric_pd *pd), const struct view *view,
		 struct fabric_pd *pd)
{
	int status = 0;
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		const struct rlimit none = {0};

		(void)setrlimit(RLIMIT_CORE, &none);
		(void)signal(SIGABRT, SIG_DFL);
		_exit(fn(view, pd) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* No memory is registered without a tenure that covers it: in none of the ways in which it could be. */
static void test_uncovered(void **state)
{
	static int (*const ways[])(const struct view *view,
				   struct fabric_pd *pd) = {register_all, grant_all, grant_slab};
	struct fabric *f = open_iwarp(NULL);
	struct view *view = must_view(export);
	struct region_cover cover = {0};
	struct region_gap gap = {.offset = KIB(4), .end = KIB(8)};
	struct region_gap elsewhere = {.offset = view->mapped_bytes, .end = INT64_MAX};
	struct fabric_pd *pd;

	(void)state;
	assert_int_equal(fabric_pd_alloc(fabric_device_at(f, 0), &pd), 0);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		assert_true(dies(ways[i], view, pd));
		region_covered(&cover, export);
		region_gap_open(&cover, &elsewhere);
		assert_false(dies(ways[i], view, pd));
		region_gap_open(&cover, &gap);
		assert_true(dies(ways[i], view, pd));
		region_uncovered(&cover);
		region_uncovered(&cover);
		assert_true(dies(ways[i], view, pd));
		/* What is let go of it stays so. */
		region_covered(&cover, export);
		assert_true(dies(ways[i], view, pd));
		region_gap_close(&gap);
		assert_false(dies(ways[i], view, pd));
		region_gap_close(&elsewhere);
		region_uncovered(&cover);
	}
	view_free(view);
	assert_int_equal(fabric_pd_free(pd), 0);
	close_fabric(f);
}

/* ---- a real adapter -------------------------------------------------------------------------- */

static bool testbed_is(const char *what)
{
	const char *rdma = getenv("LEASEHOLD_TESTBED_RDMA");

	return rdma && strcmp(rdma, what) == 0;
}

static void test_verbs(void **state)
{
	bool dax = export_medium(export) == EXPORT_DAX;
	bool memory = export_medium(export) == EXPORT_MEMORY;
	struct region_probe result;
	struct fabric *f;
	struct errtext err;

	(void)state;
	if (verbs_fabric_open(&f, &err) != 0) {
		print_message("[          ] no adapter: %s\n", err.text);
		skip();
	}
	print_message("[          ] %s on %s\n", fabric_device_info(fabric_device_at(f, 0))->name,
		      export_medium_text(export_medium(export)));
	if (fabric_device_info(fabric_device_at(f, 0))->transport == FABRIC_TRANSPORT_IWARP) {
		/* No queue pairs without a CM: no self-test, no rung. */
		assert_int_equal(
			region_probe(fabric_device_at(f, 0), export, REGION_AUTO, &result, &err),
			-EOPNOTSUPP);
		print_message("[          ] %s\n", err.text);
		close_fabric(f);
		return;
	}
	result = probe(f, REGION_PINNED);
	if (memory)
		assert_int_equal(result.rung, LH_RUNG_PINNED);
	if (dax && !getenv("LEASEHOLD_TESTBED_KLP"))
		assert_non_null(strstr(result.why, "refused by the kernel for this file system"));
	if (memory && testbed_is("fixed-mw"))
		assert_true(result.windows);
	if (memory && testbed_is("fixed"))
		assert_non_null(strstr(result.why, "past the end of a window was not refused"));
	result = probe(f, REGION_ODP);
	if (testbed_is("stock")) {
		assert_int_equal(result.rung, LH_RUNG_NONE);
		assert_non_null(strstr(result.why, "odp: RDMA WRITE of 100 bytes at +200 changed "
						   "other bytes (near 0..99)"));
	} else if (testbed_is("fixed") || testbed_is("fixed-mw")) {
		assert_int_equal(result.rung, LH_RUNG_ODP);
		assert_true(result.iova);
		assert_true(result.closes);
		assert_int_equal(result.windows, testbed_is("fixed-mw"));
	}
	result = probe(f, REGION_AUTO);
	assert_true(result.rung == LH_RUNG_NONE || result.dereg_ns_per_key > 0);
	print_message("[          ] deregistration: %llu us a GiB, %llu ns a key\n",
		      (unsigned long long)result.dereg_ns_per_gib / 1000,
		      (unsigned long long)result.dereg_ns_per_key);
	close_fabric(f);
}

static int run_group(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_any),	 leaks_test(test_pinned_only), leaks_test(test_odp_only),
		leaks_test(test_crc),	 leaks_test(test_remembered),  leaks_test(test_stale),
		leaks_test(test_region), leaks_test(test_uncovered),   cmocka_unit_test(test_verbs),
	};
	int failed;

	make_file("file", FILE_BYTES);
	fill_file("file", 0, MIB(1));
	fill_file("file", MIB(2), MIB(3));
	export = open_file("file");
	failed = cmocka_run_group_tests_name(where, tests, NULL, NULL);
	export_close(export);
	return failed;
}

int main(void)
{
	log_set_level(LOG_LEVEL_WARNING);
	assert_int_equal(export_guard_init(), 0);
	iwarp_set_copy_hook(export_guarded_copy);
	return for_each_dir(run_group);
}
