/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of every shape in the test folder, and exports of them. */
#ifndef LEASEHOLD_TEST_EXPORT_RIG_H
#define LEASEHOLD_TEST_EXPORT_RIG_H

#include "test_dirs.h"

#include "export/export.h"

static inline bool dir_is_memory(void)
{
	struct statfs fs;

	return !statfs(test_dir, &fs) && (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC);
}

/** Holes only. Fails if an earlier test has left a lease. */
static inline const char *make_file(const char *name, uint64_t bytes)
{
	int fd = open(in_dir(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	(void)close(fd);
	return in_dir(name);
}

/** The byte that fill_file() writes at an offset: never 0, different in neighbouring pages. */
static inline uint8_t fill_byte(uint64_t offset)
{
	return (uint8_t)(1 + (offset / 512) % 251);
}

/** Writes [offset, offset + bytes) and lets it reach the medium. */
static inline void fill_file(const char *name, uint64_t offset, uint64_t bytes)
{
	const uint64_t end = offset + bytes;
	int fd = open(in_dir(name), O_RDWR | O_CLOEXEC);
	uint8_t buf[KIB(64)];

	assert_true(fd >= 0);
	while (offset < end) {
		const size_t n = (size_t)min_u64(sizeof(buf), end - offset);
		size_t run;

		/* Not byte by byte: a sanitizer looks at each store. */
		for (size_t i = 0; i < n; i += run) {
			run = (size_t)min_u64(512 - (offset + i) % 512, n - i);
			memset(buf + i, fill_byte(offset + i), run);
		}
		assert_int_equal(pwrite(fd, buf, n, (off_t)offset), n);
		offset += n;
	}
	assert_int_equal(fsync(fd), 0);
	(void)close(fd);
}

static inline void alter_file(const char *name, int mode, uint64_t offset, uint64_t bytes)
{
	int fd = open(in_dir(name), O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fallocate(fd, mode, (off_t)offset, (off_t)bytes), 0);
	assert_int_equal(fsync(fd), 0);
	(void)close(fd);
}

static inline uint64_t allocated_bytes(const char *name)
{
	struct stat st;

	assert_int_equal(stat(in_dir(name), &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static inline uint64_t file_bytes(const char *name)
{
	struct stat st;

	assert_int_equal(stat(in_dir(name), &st), 0);
	return (uint64_t)st.st_size;
}

/** A configuration for the file `name`, exported as "disk"; the caller changes what it likes. */
static inline struct export_config config_of(const char *name)
{
	return (struct export_config){
		.name = "disk",
		.path = in_dir(name),
		.lba_bytes = 512,
		.software_fabric_only = true,
		.lock_dir = in_dir("run"),
		.state_dir = "",
	};
}

static inline struct export *must_open(const struct export_config *config)
{
	struct export *e = NULL;
	struct errtext err = {""};
	int ret = export_open(config, &e, &err);

	if (ret)
		print_error("export_open: %d: %s\n", ret, err.text);
	assert_int_equal(ret, 0);
	return e;
}

static inline struct export *open_file(const char *name)
{
	struct export_config config = config_of(name);

	return must_open(&config);
}

/** Fails with `expected`, and the sentence has `part` in it. */
static inline void must_fail(const struct export_config *config, int expected, const char *part)
{
	struct export *e = NULL;
	struct errtext err = {""};
	int ret = export_open(config, &e, &err);

	if (ret != expected || !strstr(err.text, part))
		print_error("export_open: %d: %s\n", ret, err.text);
	assert_int_equal(ret, expected);
	assert_non_null(strstr(err.text, part));
	assert_null(e);
}

static inline struct view *must_view(struct export *e)
{
	struct view *view = NULL;
	struct errtext err = {""};
	int ret = view_new(e, 1, NULL, NULL, &view, &err);

	if (ret)
		print_error("view_new: %d: %s\n", ret, err.text);
	assert_int_equal(ret, 0);
	return view;
}

#endif
