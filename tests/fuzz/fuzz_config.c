// SPDX-License-Identifier: BSD-3-Clause
/*
 * The configuration file. What passes is within the limits of control.h; what does not comes with a
 * sentence that names the file.
 */
#include "fuzz.h"

#include "control/control.h"
#include "wire/wire.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static char path[64];
static int fd;

/* The library's parser forgets some texts when it fails; a daemon fails once. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fd = memfd_create("config", MFD_CLOEXEC);
	if (fd < 0)
		abort();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)setenv("XDG_RUNTIME_DIR", "/tmp", 1);
	return 0;
}

static void check(const struct daemon_config *c)
{
	assert(c->nr_listeners <= CONTROL_MAX_LISTENERS && c->nr_exports <= NVME_MAX_NAMESPACES);
	assert(c->nr_referrals <= NVME_MAX_REFERRALS);
	assert(c->reactors >= 1 && c->reactors <= CONTROL_MAX_REACTORS);
	assert(c->worker_threads >= 1 && c->worker_threads <= CONTROL_MAX_WORKERS);
	assert(memchr(c->nqn, 0, sizeof(c->nqn)) && nqn_check(c->nqn, sizeof(c->nqn)) == 0);
	for (unsigned int i = 0; i < c->nr_exports; i++) {
		const struct config_export *e = &c->exports[i];

		assert(e->name[0] && memchr(e->name, 0, sizeof(e->name)));
		assert(e->path[0] && memchr(e->path, 0, sizeof(e->path)));
		assert(e->lba_bytes == 512 || e->lba_bytes == 4096);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct daemon_config *config;
	struct errtext err = {""};

	/* It would read other files. */
	if (memmem(data, size, "@include", 8))
		return 0;
	if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	if (config_load(path, &config, &err) == 0) {
		check(config);
		config_free(config);
	} else {
		assert(strstr(err.text, path));
	}
	return 0;
}
