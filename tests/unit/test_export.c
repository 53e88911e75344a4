// SPDX-License-Identifier: BSD-3-Clause
/* Exports: which files may be served, by whom, under which identity. */
#include "test_export_rig.h"

#include "tenure/lease.h"

#define WAIT_MS 10000

static int synced_fd, sync_errno;
static unsigned int syncs;

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
	synced_fd = fd;
	syncs++;
	errno = sync_errno;
	return sync_errno ? -1 : __real_fdatasync(fd);
}

/* ---- which files ----------------------------------------------------------------------------- */

/* A flush is one of the file where there is a cache, and its failure is told. */
static void test_flush(void **state)
{
	struct export_config config = config_of("file");
	unsigned int wanted;
	struct export *e;

	(void)state;
	make_file("file", MIB(1));
	e = must_open(&config);
	wanted = export_medium(e) == EXPORT_PAGE_CACHE;
	syncs = 0;
	assert_int_equal(export_flush(e), 0);
	assert_int_equal(syncs, wanted);
	if (wanted) {
		assert_true(export_volatile_cache(e));
		assert_int_equal(synced_fd, export_fd(e));
		sync_errno = EIO;
		assert_int_equal(export_flush(e), -EIO);
		sync_errno = 0;
		assert_int_equal(export_flush(e), 0);
	}
	export_close(e);
}

static void test_bad_files(void **state)
{
	struct export_config config = config_of("missing");

	(void)state;
	must_fail(&config, -ENOENT, "missing does not exist");
	config.path = test_dir;
	must_fail(&config, -EISDIR, "is a directory");
	assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0);
	config.path = in_dir("pipe");
	must_fail(&config, -EINVAL, "neither a regular file nor a device-dax device");
	config.path = "/dev/null";
	must_fail(&config, -EINVAL, "neither a regular file nor a device-dax device");
	config.path = make_file("empty", 0);
	must_fail(&config, -EINVAL, "is empty");
	config.path = make_file("tiny", 4095);
	config.lba_bytes = 4096;
	must_fail(&config, -EINVAL, "smaller than a block");
	config.lba_bytes = 1000;
	must_fail(&config, -EINVAL, "1000");
	config = config_of("tiny");
	config.lock_dir = "/proc/none";
	must_fail(&config, -ENOENT, "/proc/none");
	config = config_of("tiny");
	config.name = "../x";
	must_fail(&config, -EINVAL, "name");
	/* Nothing is left locked. */
	assert_int_equal(rmdir(in_dir("run")), 0);
}

static void test_open(void **state)
{
	struct export_config config = config_of("a");
	const char *medium = getenv("LEASEHOLD_TEST_MEDIUM");
	struct export *e;
	uint64_t bytes;

	(void)state;
	make_file("a", MIB(1));
	config.read_only = true;
	e = must_open(&config);
	assert_string_equal(export_name(e), "disk");
	assert_string_equal(export_path(e), config.path);
	assert_int_equal(export_lba_bytes(e), 512);
	assert_true(export_read_only(e));
	assert_true(export_fd(e) >= 0);
	assert_int_equal(export_size(e, &bytes), 0);
	assert_int_equal(bytes, MIB(1));
	print_message("medium: %s\n", export_medium_text(export_medium(e)));
	assert_int_equal(export_medium(e) == EXPORT_MEMORY, dir_is_memory());
	if (medium)
		assert_string_equal(export_medium_text(export_medium(e)), medium);
	assert_int_equal(export_volatile_cache(e), export_medium(e) != EXPORT_DAX);
	assert_int_equal(export_durability(e),
			 export_medium(e) == EXPORT_DAX ? LH_DURABLE_COMMIT : LH_DURABLE_NONE);
	assert_int_equal(export_flush(e), 0);
	export_close(e);
	export_close(NULL);
}

static unsigned int scratch_files(void)
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

/* Who looks opens nothing, so that a lease stays, and what is tried is tried beside the file. */
/* Files have numbers below those of devices, which are opened after the numbers were set aside. */
static void test_low_fd(void **state)
{
	const struct export_config config = config_of("a");
	int device = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_true(device >= 0);
	make_file("a", MIB(1));
	for (unsigned int round = 0; round < 2 * EXPORT_LOW_FDS; round++) {
		struct export *e = must_open(&config);
		int fd = export_fd(e);

		assert_true(fd < device);
		export_close(e);
		/* It is nobody else's now. */
		assert_true(fcntl(fd, F_GETFD) >= 0);
	}
	(void)close(device);
}

static void test_look(void **state)
{
	struct export_config config = config_of("looked");
	struct export *e, *trial;
	struct errtext err;
	int fd;

	(void)state;
	assert_int_equal(export_look(&config, &err), -ENOENT);
	assert_non_null(strstr(err.text, "looked does not exist"));
	fd = open(make_file("looked", MIB(1)), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(lease_take(fd), 0);
	assert_int_equal(export_look(&config, &err), 0);
	assert_int_equal(export_trial_open(&config, &trial, &err), 0);
	assert_int_equal(scratch_files(), export_medium(trial) == EXPORT_DEVICE ? 0 : 1);
	assert_int_equal(fcntl(fd, F_GETLEASE), F_WRLCK);
	assert_int_equal(lease_take(export_fd(trial)), 0);
	lease_release(export_fd(trial));
	/* Somebody who clears up takes it for the living. */
	{
		struct export_scratch scratch;

		assert_int_equal(export_scratch_new(trial, MIB(1), &scratch, &err), 0);
		assert_int_equal(access(export_path(trial), F_OK), 0);
		export_scratch_free(&scratch);
	}
	lease_release(fd);
	(void)close(fd);
	e = must_open(&config);
	assert_int_equal(export_medium(e), export_medium(trial));
	export_trial_close(trial);
	assert_int_equal(scratch_files(), 0);
	assert_int_equal(export_look(&config, &err), -EBUSY);
	assert_non_null(strstr(err.text, "served already by this daemon as export disk"));
	export_close(e);
	assert_int_equal(export_look(&config, &err), 0);
	config.path = "/nowhere/looked";
	assert_int_equal(export_trial_open(&config, &trial, &err), -ENOENT);
	assert_non_null(strstr(err.text, "no file can be made in /nowhere"));
}

static void test_medium_refused(void **state)
{
	struct export_config config = config_of("a");
	struct export *e;

	(void)state;
	make_file("a", MIB(1));
	e = must_open(&config);
	config.software_fabric_only = false;
	if (export_medium(e) == EXPORT_PAGE_CACHE) {
		char text[ERRTEXT_BYTES];

		assert_int_equal(export_warnings(e, NULL, 0), EXPORT_WARN_PAGE_CACHE);
		export_warning_text(e, NULL, 0, EXPORT_WARN_PAGE_CACHE, text, sizeof(text));
		assert_non_null(strstr(text, "page cache"));
		export_close(e);
		must_fail(&config, -EMEDIUMTYPE, "without DAX");
	} else {
		export_close(e);
		export_close(must_open(&config));
	}
}

/* A declaration is no wish: where it cannot be so there is no export of it. */
static void test_inbound_refused(void **state)
{
	struct export_config config = config_of("a");
	struct export *e;
	bool is_volatile, by_adapters;

	(void)state;
	make_file("a", MIB(1));
	e = must_open(&config);
	is_volatile = export_volatile_cache(e);
	by_adapters = export_medium(e) != EXPORT_PAGE_CACHE;
	export_close(e);
	config.inbound_persistent = true;
	must_fail(&config, -EMEDIUMTYPE, "every listener is of the software fabric");
	config.software_fabric_only = false;
	if (!by_adapters)
		return;
	if (is_volatile) {
		must_fail(&config, -EMEDIUMTYPE, "survives a power failure by itself");
		return;
	}
	e = must_open(&config);
	assert_int_equal(export_durability(e), LH_DURABLE_READ_AFTER_WRITE);
	export_close(e);
}

/* What its file system cannot do is not promised of an export; a trial leaves nothing. */
static void test_unshare_refused(void **state)
{
	struct export_config config = config_of("a");
	unsigned int before;
	bool can;
	int fd;

	(void)state;
	make_file("a", MIB(1));
	export_close(open_file("a"));
	fd = open(make_file("b", MIB(1)), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	can = !fallocate(fd, FALLOC_FL_UNSHARE_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096);
	(void)close(fd);
	before = (unsigned int)leaks_count(test_dir);
	config.unshare = EXPORT_UNSHARE_ON_ACQUIRE;
	if (can)
		export_close(must_open(&config));
	else
		must_fail(&config, -EMEDIUMTYPE, "its file system does not unshare");
	assert_int_equal(leaks_count(test_dir), before);
}

/* Finds the warning with `part` in it, of a first view. */
static bool warns(struct export *e, const char *part)
{
	char text[ERRTEXT_BYTES];
	struct view *view;
	struct errtext err;
	bool found = false;

	assert_int_equal(view_new(e, 1, NULL, NULL, &view, &err), 0);
	for (unsigned int left = export_warnings(e, view, view->hole_bytes); left;
	     left &= left - 1) {
		export_warning_text(e, view, view->hole_bytes, left & -left, text, sizeof(text));
		found |= strstr(text, part) != NULL;
	}
	view_free(view);
	return found;
}

static void test_warnings(void **state)
{
	struct export_config config = config_of("a");
	struct export *e;
	uint64_t bytes;

	(void)state;
	make_file("a", MIB(1) + 100);
	fill_file("a", 0, KIB(64));
	e = must_open(&config);
	assert_true(warns(e, "the last 100 are not served"));
	assert_true(warns(e, "leasehold export resize disk 1049088 makes"));
	assert_true(warns(e, "983140 of 1048676 bytes are in holes"));
	assert_true(warns(e, "prepare = allocate"));
	assert_int_equal(export_size(e, &bytes), 0);
	assert_int_equal(bytes, MIB(1));
	export_close(e);
	config.prepare = EXPORT_PREPARE_ALLOCATE;
	e = must_open(&config);
	assert_false(warns(e, "holes"));
	export_close(e);

	make_file("a", MIB(1));
	alter_file("a", 0, 0, MIB(1));
	e = open_file("a");
	assert_false(warns(e, "holes"));
	assert_false(warns(e, "not served"));
	export_close(e);
}

static void test_deleted(void **state)
{
	struct export *e;
	struct view *view;
	struct errtext err;
	uint64_t bytes;

	(void)state;
	make_file("a", MIB(1));
	e = open_file("a");
	assert_int_equal(unlink(in_dir("a")), 0);
	assert_int_equal(export_size(e, &bytes), -ENOLINK);
	assert_int_equal(view_new(e, 1, NULL, NULL, &view, &err), -ENOLINK);
	export_close(e);
}

/* ---- by whom --------------------------------------------------------------------------------- */

static unsigned int lock_files(void)
{
	return (unsigned int)leaks_count(in_dir("run")) - 2; /* . and .. */
}

static void test_twice(void **state)
{
	struct export_config config = config_of("a");
	struct export *e, *other;

	(void)state;
	make_file("a", MIB(1));
	make_file("b", MIB(1));
	e = must_open(&config);
	assert_int_equal(lease_take(export_fd(e)), 0);
	config.name = "again";
	must_fail(&config, -EBUSY, "served already by this daemon as export disk");
	assert_int_equal(link(in_dir("a"), in_dir("hard")), 0);
	config.path = in_dir("hard");
	must_fail(&config, -EBUSY, "hard: served already by this daemon as export disk");
	assert_int_equal(symlink(in_dir("a"), in_dir("soft")), 0);
	config.path = in_dir("soft");
	must_fail(&config, -EBUSY, "as export disk");
	assert_int_equal(lease_check(export_fd(e)), TENURE_HELD); /* refused before the open */
	other = open_file("b");
	assert_int_equal(lock_files(), 2);
	export_close(other);
	export_close(e);
	assert_int_equal(lock_files(), 0);
	export_close(must_open(&config));
	assert_int_equal(unlink(in_dir("soft")), 0);
	assert_int_equal(unlink(in_dir("hard")), 0);
}

/* Serves until killed; says whether its lease was broken. */
static void server(int in, int out, const void *arg)
{
	struct export_config config = *(const struct export_config *)arg;
	struct export *e;

	if (export_open(&config, &e, NULL) || lease_take(export_fd(e)))
		_exit(1);
	for (;;) {
		say(out, lease_check(export_fd(e)) == TENURE_HELD ? 'h' : 'b');
		hear(in);
	}
}

static void test_two_daemons(void **state)
{
	struct export_config config = config_of("a");
	char part[64];
	struct child c;

	(void)state;
	make_file("a", MIB(1));
	config.name = "theirs";
	child_start(&c, server, &config);
	assert_int_equal(child_get(&c, WAIT_MS), 'h');
	config.name = "ours";
	(void)snprintf(part, sizeof(part), "served already by leaseholdd pid %d as export theirs",
		       (int)c.pid);
	must_fail(&config, -EBUSY, part);
	child_put(&c, '?');
	assert_int_equal(child_get(&c, WAIT_MS), 'h');
	child_stop(&c); /* leaves its lock file, which locks nothing */
	assert_int_equal(lock_files(), 1);
	export_close(must_open(&config));
	assert_int_equal(lock_files(), 0);
}

static void leaser(int in, int out, const void *arg)
{
	int fd = open(arg, O_RDWR);

	say(out, lease_take(fd) ? 'e' : 'l');
	hear(in);
}

static void test_leased(void **state)
{
	struct export_config config = config_of("a");
	struct child c;

	(void)state;
	make_file("a", MIB(1));
	child_start(&c, leaser, config.path);
	assert_int_equal(child_get(&c, WAIT_MS), 'l');
	must_fail(&config, -EWOULDBLOCK, "another process holds a lease");
	assert_int_equal(lock_files(), 0);
	child_stop(&c);
	export_close(must_open(&config));
}

static void holder(int in, int out, const void *arg)
{
	say(out, open(arg, O_RDONLY) < 0 ? 'e' : 'o');
	hear(in);
}

static void mapper(int in, int out, const void *arg)
{
	int fd = open(arg, O_RDWR);
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)close(fd);
	say(out, p == MAP_FAILED ? 'e' : 'o');
	hear(in);
}

static void test_holders(void **state)
{
	char text[512], opened[32], mapped[32];
	struct child a, b;
	struct export *e;

	(void)state;
	make_file("a", MIB(1));
	e = open_file("a");
	assert_int_equal(export_holders(e, text, sizeof(text)), 0);
	assert_string_equal(text, "");
	child_start(&a, holder, in_dir("a"));
	/* Only now: it has inherited the export's own descriptor, which is enough to be named. */
	assert_int_equal(child_get(&a, WAIT_MS), 'o');
	child_start(&b, mapper, in_dir("a"));
	assert_int_equal(child_get(&b, WAIT_MS), 'o');
	assert_int_equal(export_holders(e, text, sizeof(text)), 2);
	print_message("holders: %s\n", text);
	(void)snprintf(opened, sizeof(opened), "(pid %d)", (int)a.pid);
	(void)snprintf(mapped, sizeof(mapped), "(pid %d)", (int)b.pid);
	assert_non_null(strstr(text, opened));
	assert_non_null(strstr(text, mapped));
	assert_non_null(strstr(text, "test_export"));
	/* No room: counted all the same. */
	assert_int_equal(export_holders(e, text, 4), 2);
	assert_string_equal(text, "");
	child_stop(&a);
	child_stop(&b);
	export_close(e);
}

/* Each seen by one way only: the export was opened after they were started. */
static void test_holders_apart(void **state)
{
	char text[512];
	struct child c;
	struct export *e;

	(void)state;
	make_file("a", MIB(1));
	child_start(&c, mapper, in_dir("a"));
	assert_int_equal(child_get(&c, WAIT_MS), 'o');
	e = open_file("a");
	assert_int_equal(lease_take(export_fd(e)), dir_is_overlay() ? 0 : -EAGAIN);
	assert_int_equal(export_holders(e, text, sizeof(text)), 1);
	child_stop(&c);
	export_close(e);

	child_start(&c, holder, in_dir("a"));
	assert_int_equal(child_get(&c, WAIT_MS), 'o');
	e = open_file("a");
	assert_int_equal(lease_take(export_fd(e)), -EAGAIN);
	assert_int_equal(export_holders(e, text, sizeof(text)), 1);
	child_stop(&c);
	/* Looking broke nothing. */
	assert_int_equal(lease_take(export_fd(e)), 0);
	assert_int_equal(export_holders(e, text, sizeof(text)), 0);
	assert_int_equal(lease_check(export_fd(e)), TENURE_HELD);
	export_close(e);
}

/* ---- identity -------------------------------------------------------------------------------- */

static struct export_identity identity_of(const struct export_config *config)
{
	struct export *e = must_open(config);
	struct export_identity identity = *export_identity(e);

	export_became_known(e);
	export_close(e);
	return identity;
}

static void test_identity_kept(void **state)
{
	struct export_config config = config_of("a");
	struct export_identity first, second;
	struct stat st;

	(void)state;
	remove_tree(in_dir("state"));
	make_file("a", MIB(1));
	make_file("b", MIB(1));
	config.state_dir = in_dir("state");
	first = identity_of(&config);
	assert_int_equal(stat(in_dir("state/exports/disk"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	second = identity_of(&config);
	assert_memory_equal(&first, &second, sizeof(first));
	config.name = "other";
	second = identity_of(&config);
	assert_memory_not_equal(first.uuid, second.uuid, 16);
	assert_memory_not_equal(first.nguid, second.nguid, 16);
	assert_memory_not_equal(first.uuid, first.nguid, 16);

	/* Under the old name another file: refused until a person decides. */
	config.name = "disk";
	config.path = in_dir("b");
	must_fail(&config, -EREMCHG, "add --adopt disk; else remove");
	must_fail(&config, -EREMCHG, "state/exports/disk to give it");
	config.path = in_dir("a");
	second = identity_of(&config);
	assert_memory_equal(&first, &second, sizeof(first));
	config.path = in_dir("b");
	assert_int_equal(unlink(in_dir("state/exports/disk")), 0);
	second = identity_of(&config);
	assert_memory_not_equal(first.uuid, second.uuid, 16);
}

/* Who was not served leaves the state directory as it was, whether there was a record or not. */
static void test_identity_taken_back(void **state)
{
	struct export_config config = config_of("a");
	struct export_identity first, second;
	struct stat st;

	(void)state;
	remove_tree(in_dir("state"));
	make_file("a", MIB(1));
	make_file("b", MIB(1));
	config.state_dir = in_dir("state");
	export_close(must_open(&config));
	assert_int_equal(stat(in_dir("state/exports/disk"), &st), -1);
	config.path = in_dir("b");
	first = identity_of(&config);

	/* Adopted by a file that is then not served, or has not the UUID that it should have. */
	config.adopt = true;
	config.path = in_dir("a");
	export_close(must_open(&config));
	config.uuid = (const uint8_t[16]){1};
	must_fail(&config, -ESTALE, "another nsid");
	config.uuid = NULL;
	config.adopt = false;
	must_fail(&config, -EREMCHG, "--adopt");
	config.path = in_dir("b");
	second = identity_of(&config);
	assert_memory_equal(&first, &second, sizeof(first));
}

static void write_identity(const char *text, size_t len)
{
	int fd = open(in_dir("state/exports/disk"), O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	(void)close(fd);
}

static void test_identity_corrupt(void **state)
{
	static const char good[] = "uuid=4f0c5f0e-0f5b-4c7e-9d3a-0a4d6f3b2c11\n"
				   "nguid=7d444840-9dc0-41d1-b245-5ffdce74fad2\n"
				   "filesystem_id=0123456789abcdef\n"
				   "inode=18446744073709551615\n";
	static const struct {
		const char *text;
		const char *part;
	} bad[] = {
		{"", "line 1: the file ends without uuid"},
		{"garbage\n", "line 1 makes no sense"},
		{"uuid=4f0c5f0e\n", "line 1 makes no sense"},
		{"uuid=4f0c5f0e-0f5b-4c7e-9d3a-0a4d6f3b2c11\nnguid=\n", "line 2 makes no sense"},
		{"# comment\n\nuuid=4f0c5f0e-0f5b-4c7e-9d3a-0a4d6f3b2c11\ninode=12x\n", "line 4"},
		{"inode=99999999999999999999999\n", "line 1 makes no sense"},
		{"inode=-1\n", "line 1 makes no sense"},
		{"inode=1\ninode=1\n", "line 2 makes no sense"},
		{"colour=red\n", "line 1 makes no sense"},
		{"uuid=4f0c5f0e-0f5b-4c7e-9d3a-0a4d6f3b2c11\n", "without nguid"},
	};
	struct export_config config = config_of("a");
	char big[6000];

	(void)state;
	remove_tree(in_dir("state"));
	make_file("a", MIB(1));
	config.state_dir = in_dir("state");
	export_close(must_open(&config));
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		write_identity(bad[i].text, strlen(bad[i].text));
		must_fail(&config, -EBADMSG, bad[i].part);
	}
	memset(big, 'x', sizeof(big));
	write_identity(big, sizeof(big));
	must_fail(&config, -EBADMSG, "line 1");
	memset(big, 0, sizeof(big));
	write_identity(big, 100);
	must_fail(&config, -EBADMSG, "line 1");
	write_identity(good, strlen(good));
	must_fail(&config, -EREMCHG, "another file system");
	assert_int_equal(unlink(in_dir("state/exports/disk")), 0);
	assert_int_equal(symlink("/etc/passwd", in_dir("state/exports/disk")), 0);
	must_fail(&config, -ELOOP, "cannot read");
	/* A failure leaves neither a lock nor half a file. */
	assert_int_equal(lock_files(), 0);
	assert_int_equal(leaks_count(in_dir("state/exports")), 3);
	config.state_dir = "/proc/none/state";
	must_fail(&config, -ENOENT, "/proc/none/state");
}

static void test_identity_derived(void **state)
{
	struct export_config config = config_of("a");
	struct export_identity first, second;

	(void)state;
	make_file("a", MIB(1));
	make_file("b", MIB(1));
	first = identity_of(&config);
	assert_int_equal(first.uuid[6] >> 4, 8);
	assert_int_equal(first.uuid[8] >> 6, 2);
	assert_memory_not_equal(first.uuid, first.nguid, 16);
	second = identity_of(&config);
	assert_memory_equal(&first, &second, sizeof(first));
	config.path = in_dir("b");
	second = identity_of(&config);
	assert_memory_not_equal(first.uuid, second.uuid, 16);
	config = config_of("a");
	config.name = "disk2";
	second = identity_of(&config);
	assert_memory_not_equal(first.uuid, second.uuid, 16);
}

static int run(const char *where)
{
	const struct CMUnitTest tests[] = {
		leaks_test(test_bad_files),
		leaks_test(test_open),
		leaks_test(test_low_fd),
		leaks_test(test_look),
		leaks_test(test_medium_refused),
		leaks_test(test_inbound_refused),
		leaks_test(test_unshare_refused),
		leaks_test(test_warnings),
		leaks_test(test_deleted),
		leaks_test(test_twice),
		leaks_test(test_flush),
		leaks_test(test_two_daemons),
		leaks_test(test_leased),
		leaks_test(test_holders),
		leaks_test(test_holders_apart),
		leaks_test(test_identity_kept),
		leaks_test(test_identity_corrupt),
		leaks_test(test_identity_derived),
		leaks_test(test_identity_taken_back),
	};

	return cmocka_run_group_tests_name(where, tests, NULL, NULL);
}

int main(void)
{
	export_reserve_fds();
	tenure_block_signals();
	if (export_guard_init())
		return 1;
	return for_each_dir(run);
}
