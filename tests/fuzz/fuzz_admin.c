// SPDX-License-Identifier: BSD-3-Clause
/*
 * The admin socket: bytes of a client, in two writes so that lines come in pieces. Each whole line
 * is answered with one line, whatever it is; the daemon here has a target without listeners, and no
 * request makes it listen anywhere.
 */
#include "fuzz.h"

#include "control/control.h"
#include "control/exports.h"
#include "control/reload.h"
#include "util/loop.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[256];
static struct daemon_config config;
static struct holding_env holdings_env;
static struct loop *control;
static struct admin *admin;
static struct nvme_target *target;
static struct exports *exports;
/* Somewhere to point to; nobody looks at it. */
static char nothing;
static struct fabric *const no_fabric = (struct fabric *)(void *)&nothing;
static struct sockaddr_un addr = {.sun_family = AF_UNIX};

/* What is to be exported is taken apart, but no file of this machine is touched. */
void __wrap_exports_add(struct exports *x, const struct config_export *export, bool adopt,
			exports_done_fn *done, void *arg);

void __wrap_exports_add(struct exports *x, const struct config_export *export, bool adopt,
			exports_done_fn *done, void *arg)
{
	(void)x;
	(void)adopt;
	assert(export->name[0] && memchr(export->name, 0, sizeof(export->name)));
	assert(export->path[0] && memchr(export->path, 0, sizeof(export->path)));
	done(arg, -ENODEV, "not here");
}

/* Nor is anything listened at: what would be is looked at, and as good as no adapter found. */
int __wrap_nvme_target_listen(struct nvme_target *t, struct fabric *f, const struct sockaddr *at,
			      const struct nvme_listen_options *options, struct errtext *err);

int __wrap_nvme_target_listen(struct nvme_target *t, struct fabric *f, const struct sockaddr *at,
			      const struct nvme_listen_options *options, struct errtext *err)
{
	assert(t == target && f == no_fabric);
	assert(at->sa_family == AF_INET || at->sa_family == AF_INET6);
	for (unsigned int g = 1; g <= NVME_MAX_ANA_GROUPS; g++)
		assert(options->ana_state[g]);
	return errtext_set(err, -ENODEV, "not here");
}

/* Nor is a file read again: a pool's threads would have to. */
void __wrap_reload_begin(struct reload *r, reload_done_fn *done, void *arg);

void __wrap_reload_begin(struct reload *r, reload_done_fn *done, void *arg)
{
	const struct reload_plan nothing_new = {.nr_steps = 0};

	(void)r;
	done(arg, 0, "", &nothing_new);
}

static void clean_up(void)
{
	admin_free(admin);
	(void)rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct admin_env env = {.config = &config, .holdings_env = &holdings_env, .version = "1"};
	struct nvme_env nvme = {
		.holdings = &holdings_env,
		.limits = {.queue_depth = 128,
			   .max_io_queues = 4,
			   .max_controllers = 4,
			   .max_connections = 16,
			   .inline_bytes = 4096,
			   .mdts_bytes = MIB(1)},
		.version = "1",
	};
	struct exports_env exports_env = {.config = &config, .holdings_env = &holdings_env};
	const char *parent = getenv("LEASEHOLD_TEST_DIR");
	struct errtext err;

	(void)argc;
	(void)argv;
	(void)snprintf(dir, sizeof(dir), "%s/leasehold-fuzz-XXXXXX", parent ? parent : "/dev/shm");
	if (!mkdtemp(dir) || loop_new("control", &control) < 0)
		abort();
	(void)snprintf(config.runtime_dir, sizeof(config.runtime_dir), "%s", dir);
	(void)snprintf(config.admin_socket, sizeof(config.admin_socket), "%s/s", dir);
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
	holdings_env.control = nvme.control = env.control = control;
	if (nvme_target_new(&nvme, &target) < 0)
		abort();
	env.target = target;
	env.fabrics.software = env.fabrics.verbs = no_fabric;
	exports_env.control = control;
	if (exports_new(&exports_env, &exports) < 0)
		abort();
	env.exports = exports;
	if (admin_new(&env, &admin, &err) < 0)
		abort();
	return atexit(clean_up);
}

/* Turns the loop until nothing comes any more; counts the lines that did. True: the end came. */
static bool hear(int fd, unsigned int *lines)
{
	char text[4096];

	for (unsigned int idle = 0; idle < 3;) {
		ssize_t n;

		loop_turn(control, 0);
		n = recv(fd, text, sizeof(text), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return true;
		idle = n > 0 ? 0 : idle + 1;
		for (ssize_t i = 0; i < n; i++)
			*lines += text[i] == '\n';
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t first = size ? data[0] * size / 256 : 0;
	unsigned int asked = 0, answered = 0;
	bool ended;

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
		abort();
	for (size_t i = 0; i < size; i++)
		asked += data[i] == '\n';
	(void)send(fd, data, first, MSG_NOSIGNAL | MSG_DONTWAIT);
	ended = hear(fd, &answered);
	if (!ended)
		(void)send(fd, data + first, size - first, MSG_NOSIGNAL | MSG_DONTWAIT);
	ended = ended || hear(fd, &answered);
	assert(ended || answered == asked);
	(void)close(fd);
	loop_turn(control, 0);
	loop_turn(control, 0);
	return 0;
}
