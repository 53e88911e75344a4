// SPDX-License-Identifier: BSD-3-Clause
/*
 * leaseholdd: wires the rooms together, starts and stops them. The main thread is the control
 * thread. Start: configuration, fabrics, threads, exports (all of them or none, but for those whose
 * file was replaced: they stay offline), listeners, admin socket; then what changes the exports'
 * files, which a start that is refused before leaves as they were; then hosts are let in. SIGHUP: the
 * configuration is read again (control/reload.h). Stop (SIGTERM, SIGINT): grants, then queues, then
 * exports, then threads; a second signal changes nothing.
 */
#include "control/exports.h"
#include "control/reload.h"
#include "control/watchdog.h"
#include "doctor/doctor.h"
#include "export/export.h"
#include "fabric/verbs.h"
#include "grant/grant.h"
#include "iwarp/iwarp.h"
#include "nvme/nvme.h"
#include "reactor/reactor.h"
#include "tenure/tenure.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/pool.h"
#include "util/stdio_fds.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define VERSION LEASEHOLD_VERSION

/* How long a stop asks clients for their grants, at most, however long a recall may. */
#define STOP_ASK_MAX_MS 5000
#define STOP_FENCE_MS	500 /* after the deadline, for the keys to go */
#define STOP_LEAVE_MS	250 /* for what was answered to arrive */

struct daemon {
	struct daemon_config *config;
	struct loop *control;
	struct pool *registrar;
	struct pool *workers;
	struct control_fabrics fabrics; /* NULL where no listener of the file uses it */
	struct reactor *reactors[CONTROL_MAX_REACTORS];
	unsigned int nr_reactors;
	struct starts starts;
	struct holding_env holdings_env;
	struct exports *exports;
	struct reload *reload;
	bool level_given;      /* --log-level */
	unsigned int starting; /* exports whose start has not ended */
	bool doors_made;       /* listeners and admin socket */
	struct nvme_target *target;
	struct tenure_signals *lease_signals;
	struct admin *admin;
	struct metrics *metrics;
	struct watchdog *watchdog; /* NULL: the service manager wants none */
	struct loop_fd signals;
	struct loop_timer ask_timer; /* of a stop: for how long clients are asked */
	bool ending, cutting;
	int exit_code;
};

static void begin_stop(struct daemon *d);

/* ---- start ----------------------------------------------------------------------------------- */

static void raise_limit(int resource, const char *name)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(resource, &limit) != 0)
		log_warning("%s cannot be raised to its hard limit: %s", name, strerror(errno));
}

/* For the admin socket; it is better to know before anything is opened. */
static int make_runtime_dir(const struct daemon_config *c, struct errtext *err)
{
	char line[16] = "";
	struct stat st;
	int rc = mkdir(c->runtime_dir, 0755) == 0 ? 0 : -errno;

	if (rc == -EEXIST && stat(c->runtime_dir, &st) == 0)
		rc = S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	if (rc == 0)
		return 0;
	if (c->runtime_dir_line)
		(void)snprintf(line, sizeof(line), ":%u", c->runtime_dir_line);
	return errtext_set(err, rc, "%.150s%s: runtime_dir: %.200s cannot be made: %s", c->file,
			   line, c->runtime_dir, strerror(-rc));
}

static int open_fabrics(struct daemon *d, struct errtext *err)
{
	struct fabric *fabrics[2];
	bool software = false, verbs = false;
	struct holding_env *env = &d->holdings_env;
	int rc = 0;

	for (unsigned int i = 0; i < d->config->nr_listeners; i++) {
		software |= d->config->listeners[i].software;
		verbs |= !d->config->listeners[i].software;
	}
	if (software) {
		rc = iwarp_fabric_open(&d->config->iwarp, &d->fabrics.software, err);
		iwarp_set_copy_hook(export_guarded_copy);
	}
	if (rc == 0 && verbs)
		rc = verbs_fabric_open(&d->fabrics.verbs, err);
	fabrics[0] = d->fabrics.software;
	fabrics[1] = d->fabrics.verbs;
	for (int f = 0; rc == 0 && f < 2; f++) {
		for (unsigned int i = 0; fabrics[f] && i < fabric_device_count(fabrics[f]); i++) {
			struct fabric_device *dev = fabric_device_at(fabrics[f], i);

			if (env->nr_devices == GRANT_MAX_DEVICES) {
				log_warning("adapter %s is left out: at most %d are used",
					    fabric_device_info(dev)->name, GRANT_MAX_DEVICES);
				continue;
			}
			env->devices[env->nr_devices] = dev;
			rc = fabric_pd_alloc(dev, &env->block_pds[env->nr_devices]);
			if (rc)
				return errtext_set(err, rc, "adapter %s: no protection domain: %s",
						   fabric_device_info(dev)->name, strerror(-rc));
			env->nr_devices++;
		}
	}
	return rc;
}

static int start_threads(struct daemon *d, struct errtext *err)
{
	struct holding_env *env = &d->holdings_env;
	int rc = pool_new("registrar", 1, &d->registrar);

	if (rc == 0)
		rc = pool_new("worker", d->config->worker_threads, &d->workers);
	for (unsigned int i = 0; rc == 0 && i < d->config->reactors; i++) {
		rc = reactor_new_sized(
			i, env->devices, env->nr_devices, d->config->busy_poll_us * NS_PER_US,
			nvme_completions_wanted(&d->config->limits, d->config->reactors),
			&d->reactors[i]);
		if (rc == 0)
			rc = reactor_start(d->reactors[i]);
		if (rc == 0)
			d->nr_reactors++;
	}
	return rc ? errtext_set(err, rc, "threads cannot be started: %s", strerror(-rc)) : 0;
}

/* For the service manager, if it wants to know. */
static void watch_threads(struct daemon *d)
{
	static char names[CONTROL_MAX_REACTORS][24];
	uint64_t timeout_us = 0;
	int rc = sd_watchdog_enabled(0, &timeout_us);

	static_assert(CONTROL_MAX_REACTORS + 3 == WATCHDOG_MAX_THREADS, "see watchdog.h");
	if (rc == 0)
		return;
	if (rc > 0)
		rc = watchdog_new(d->control, timeout_us, getenv("NOTIFY_SOCKET"), &d->watchdog);
	if (rc < 0) {
		log_warning(
			"the service manager's watchdog (WATCHDOG_USEC, NOTIFY_SOCKET) is of no "
			"use, and may end the daemon: %s",
			strerror(-rc));
		return;
	}
	for (unsigned int i = 0; i < d->nr_reactors; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "reactor %u", i);
		watchdog_add_loop(d->watchdog, names[i], reactor_loop(d->reactors[i]));
	}
	watchdog_add_pool(d->watchdog, "the registrar", d->registrar);
	watchdog_add_pool(d->watchdog, "every worker", d->workers);
	watchdog_add(d->watchdog, "the listener of watches", tenure_listener_ask,
		     tenure_listener_answered);
}

static void scan_leases(void *arg)
{
	struct daemon *d = arg;

	exports_scan(d->exports);
}

static int listen_at(struct daemon *d, struct config_listener *l, struct errtext *err)
{
	struct errtext why;
	int rc = listener_look_up(l, false, &why);

	if (rc == 0)
		rc = listener_open(d->target, &d->fabrics, l, &why);
	if (rc)
		return errtext_set(err, rc, "%.100s:%u: listener %s port %u: %.300s",
				   d->config->file, l->line, l->host, l->port, why.text);
	log_info("listening on %s:%u (%s)", l->host, l->port, l->software ? "iwarp" : "verbs");
	return 0;
}

static void fail_start(struct daemon *d)
{
	d->exit_code = EXIT_FAILURE;
	begin_stop(d);
}

/* Whatever else can refuse the start, now that exports can not. */
static int make_doors(struct daemon *d, struct errtext *err)
{
	struct admin_env env = {
		.control = d->control,
		.config = d->config,
		.holdings_env = &d->holdings_env,
		.exports = d->exports,
		.target = d->target,
		.reload = d->reload,
		.fabrics = d->fabrics,
		.version = VERSION,
	};
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < d->config->nr_listeners; i++)
		rc = listen_at(d, &d->config->listeners[i], err);
	if (rc == 0)
		rc = metrics_new(&env, &d->metrics, err);
	return rc ? rc : admin_new(&env, &d->admin, err);
}

/** All exports are there, or wait for a file that is busy, or for a person: hosts may come. */
static void exports_ready(struct daemon *d)
{
	unsigned int offline = exports_count_offline(d->exports);
	struct errtext err;

	nvme_target_admit(d->target, true);
	if (mdns_publish(d->config, d->target, &err) != 0)
		log_warning("%s", err.text);
	exports_announced(d->exports);
	export_kept_drop();
	(void)sd_notify(0, "READY=1");
	if (offline)
		log_warning("%u of %u export(s) are offline%s: leasehold status says why", offline,
			    exports_count(d->exports),
			    offline == exports_count(d->exports) ? ", nothing is served" : "");
	log_notice("leaseholdd %s is ready: %u export(s), %u listener(s), admin socket %s", VERSION,
		   exports_count(d->exports), d->config->nr_listeners, d->config->admin_socket);
	if (!d->config->allow_any_host && d->config->nr_hosts == 0)
		log_notice("only hosts on this machine may connect: list others (`hosts` in the "
			   "configuration, `leasehold host allow`), or set allow_any_host");
	reload_ready(d->reload);
}

/* An export has come a step further. */
static void check_start(void *arg)
{
	struct daemon *d = arg;
	struct errtext err;

	if (d->ending || d->starting > exports_held(d->exports))
		return;
	if (d->exit_code != EXIT_SUCCESS) {
		fail_start(d);
		return;
	}
	if (!d->doors_made) {
		if (make_doors(d, &err) != 0) {
			log_error("%s", err.text);
			fail_start(d);
			return;
		}
		d->doors_made = true;
		exports_go_on(d->exports);
	}
	if (d->starting == 0 && !d->ending)
		exports_ready(d);
}

static void export_started(void *arg, int rc, const char *why)
{
	struct daemon *d = arg;

	if (rc == -EREMCHG) { /* it stays, offline */
		log_warning("%s", why);
	} else if (rc && rc != -ECANCELED) { /* that: by the stop of the daemon */
		log_error("%s", why);
		d->exit_code = EXIT_FAILURE;
	} else if (rc == 0) {
		log_info("%s", why);
	}
	d->starting--;
	check_start(d);
}

static int add_referrals(struct daemon *d)
{
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < d->config->nr_referrals; i++) {
		const struct config_referral *from = &d->config->referrals[i];
		struct nvme_referral r = {.addr = from->addr, .iwarp = from->software};

		memcpy(r.nqn, from->nqn, sizeof(r.nqn));
		rc = nvme_target_add_referral(d->target, &r);
	}
	return rc;
}

/* SMART says it. Without the file the daemon does all else. */
static void count_start(struct daemon *d)
{
	int err = starts_begin(d->config->state_dir, &d->starts);

	if (err)
		log_warning("%s/daemon/starts: starts are not counted: %s", d->config->state_dir,
			    strerror(-err));
}

static void count_end(struct daemon *d)
{
	int err = starts_end(&d->starts);

	if (err)
		log_warning("%s/daemon/starts: this end will count as an unclean one: %s",
			    d->config->state_dir, strerror(-err));
}

static int make_reload(struct daemon *d)
{
	const struct reload_env env = {
		.control = d->control,
		.workers = d->workers,
		.config = d->config,
		.level_given = d->level_given,
		.holdings_env = &d->holdings_env,
		.exports = d->exports,
		.target = d->target,
		.fabrics = &d->fabrics,
	};

	return reload_new(&env, &d->reload);
}

static int make_target(struct daemon *d, struct errtext *err)
{
	struct holding_env *env = &d->holdings_env;
	struct nvme_env nvme = {
		.control = d->control,
		.registrar = d->registrar,
		.workers = d->workers,
		.reactors = d->reactors,
		.nr_reactors = d->nr_reactors,
		.holdings = env,
		.limits = d->config->limits,
		.version = VERSION,
	};
	struct exports_env exports = {
		.control = d->control,
		.config = d->config,
		.holdings_env = env,
		.held = check_start,
		.held_arg = d,
	};
	struct nvme_subsystem *subsystem = NULL;
	int rc;

	env->control = d->control;
	env->registrar = d->registrar;
	env->workers = d->workers;
	env->ops = nvme_holding_ops();
	env->deadline_ms = d->config->recall_deadline_ms;
	env->grant_expiry_ms = d->config->grant_expiry_ms;
	env->max_grants_per_client = d->config->max_grants_per_client;
	env->max_grants_per_export = d->config->max_grants_per_export;
	env->max_grants_per_host = d->config->max_grants_per_host;
	env->max_granted_bytes_per_client = d->config->max_granted_bytes_per_client;
	env->max_registrations_per_second = d->config->max_registrations_per_second;
	env->rung_retry_ms = d->config->registration_retry_ms;
	count_start(d);
	nvme.starts = d->starts.all;
	nvme.unclean_ends = d->starts.unclean;
	rc = cache_new(env, &(struct cache_limits){
				    .max_registrations = d->config->max_registrations_per_adapter,
				    .max_bytes = d->config->max_registered_bytes_per_adapter,
			    });
	if (rc == 0)
		rc = nvme_target_new(&nvme, &d->target);
	env->ops_ctx = d->target;
	if (rc == 0) {
		nvme_target_admit(d->target, false);
		rc = nvme_subsystem_new(d->target, d->config->nqn, &subsystem);
	}
	if (rc == 0)
		rc = hosts_take(d->target, NULL, d->config);
	if (rc == 0)
		rc = add_referrals(d);
	exports.subsystem = subsystem;
	if (rc == 0)
		rc = exports_new(&exports, &d->exports);
	if (rc == 0)
		rc = make_reload(d);
	if (rc == 0)
		rc = tenure_signals_new(d->control, scan_leases, d, &d->lease_signals);
	return rc ? errtext_set(err, rc, "the target cannot be set up: %s", strerror(-rc)) : 0;
}

/* ---- stop ------------------------------------------------------------------------------------ */

static void exports_stopped(void *arg)
{
	loop_stop(((struct daemon *)arg)->control);
}

static void target_stopped(void *arg)
{
	struct daemon *d = arg;

	exports_stop(d->exports, exports_stopped, d);
}

/* Whoever has not let go is cut off with all others. */
static void cut(struct daemon *d)
{
	if (d->cutting)
		return;
	d->cutting = true;
	loop_timer_cancel(d->control, &d->ask_timer);
	nvme_target_stop(d->target, target_stopped, d);
}

/* The answers to the last Releases are on their way still. */
static void given_back(void *arg)
{
	struct daemon *d = arg;

	if (!d->cutting)
		loop_timer_set(d->control, &d->ask_timer, now_ns() + STOP_LEAVE_MS * NS_PER_MS);
}

static void asked_long_enough(struct loop_timer *timer)
{
	cut(container_of(timer, struct daemon, ask_timer));
}

static void begin_stop(struct daemon *d)
{
	uint64_t ms = min_u64(d->config->recall_deadline_ms + STOP_FENCE_MS, STOP_ASK_MAX_MS);

	if (d->ending)
		return;
	d->ending = true;
	(void)sd_notify(0, "STOPPING=1");
	/* Before those who are to hear of it are sent away. */
	reload_stop(d->reload);
	admin_free(d->admin);
	metrics_free(d->metrics);
	d->admin = NULL;
	if (d->config->mdns)
		mdns_withdraw(d->config);
	d->ask_timer.fn = asked_long_enough;
	loop_timer_set(d->control, &d->ask_timer, now_ns() + ms * NS_PER_MS);
	if (exports_give_back(d->exports, given_back, d) == 0)
		cut(d);
}

static void signal_ready(struct loop_fd *lfd, uint32_t events)
{
	struct daemon *d = container_of(lfd, struct daemon, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(lfd->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGHUP) {
		reload_signal(d->reload);
		return;
	}
	log_notice("%s: stopping", info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
	begin_stop(d);
}

static void tear_down(struct daemon *d)
{
	nvme_target_free(d->target);
	exports_free(d->exports);
	tenure_signals_free(d->lease_signals);
	/* Before the loops that they post to: the last post may not have returned yet. */
	if (d->registrar)
		pool_free(d->registrar);
	if (d->workers)
		pool_free(d->workers);
	reload_free(d->reload);
	for (unsigned int i = 0; i < d->config->reactors; i++) {
		if (d->reactors[i])
			reactor_free(d->reactors[i]);
	}
	/* After the last probe has come back. */
	watchdog_free(d->watchdog);
	cache_free(&d->holdings_env);
	for (unsigned int i = 0; i < d->holdings_env.nr_devices; i++) {
		if (d->holdings_env.block_pds[i])
			(void)fabric_pd_free(d->holdings_env.block_pds[i]);
	}
	if (d->fabrics.software)
		fabric_close(d->fabrics.software);
	if (d->fabrics.verbs)
		fabric_close(d->fabrics.verbs);
	/* Not before the keys: who is watched goes on without asking from here. */
	tenure_close_group();
	export_kept_drop();
	if (d->control) {
		loop_del_fd(d->control, &d->signals);
		loop_free(d->control);
	}
	(void)close(d->signals.fd);
	count_end(d);
	config_free(d->config);
}

/* ---- the program ----------------------------------------------------------------------------- */

static int watch_signals(struct daemon *d)
{
	sigset_t set;
	int rc;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	tenure_block_signals();
	tenure_reserve_group();
	d->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	d->signals.fn = signal_ready;
	rc = d->signals.fd < 0 ? -errno : loop_new("control", &d->control);
	return rc ? rc : loop_add_fd(d->control, &d->signals, EPOLLIN);
}

static int run(struct daemon_config *config, bool level_given)
{
	struct daemon d = {.config = config, .level_given = level_given, .starts.folder = -1};
	struct errtext err = {"out of memory"};
	int rc;

	raise_limit(RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK");
	raise_limit(RLIMIT_NOFILE, "RLIMIT_NOFILE");
	export_kept_receive();
	export_reserve_fds();
	rc = make_runtime_dir(config, &err);
	if (rc == 0)
		rc = watch_signals(&d);
	if (rc == 0)
		rc = export_guard_init();
	if (rc == 0)
		rc = open_fabrics(&d, &err);
	if (rc == 0)
		rc = start_threads(&d, &err);
	if (rc == 0)
		rc = make_target(&d, &err);
	if (rc) {
		log_error("%s", err.text);
		count_end(&d);
		exit(EXIT_FAILURE);
	}
	watch_threads(&d);
	d.starting = config->nr_exports;
	for (unsigned int i = 0; i < config->nr_exports; i++)
		exports_add(d.exports, &config->exports[i], false, export_started, &d);
	loop_run(d.control);
	rc = d.exit_code;
	tear_down(&d);
	if (rc == EXIT_SUCCESS)
		log_notice("stopped");
	return rc;
}

static void usage(FILE *out)
{
	(void)fputs("Usage: leaseholdd [--config FILE] [--check] [--log-level LEVEL]\n"
		    "       leaseholdd [--config FILE] --doctor [--json]\n"
		    "\n"
		    "Serves files to remote hosts over RDMA, straight from and into their memory,\n"
		    "under kernel leases. Runs in the foreground; stops on SIGTERM or SIGINT,\n"
		    "and reads its configuration again on SIGHUP.\n"
		    "\n"
		    "  -c, --config FILE      read FILE (default " CONTROL_DEFAULT_CONFIG ")\n"
		    "      --check            check the file, say what is wrong with it, and exit\n"
		    "      --doctor           look at what this machine can do for it, and what\n"
		    "                         stands in the way; changes nothing\n"
		    "      --json             that for scripts\n"
		    "      --log-level LEVEL  error, warning, notice, info or debug\n"
		    "      --version          print the version\n"
		    "  -h, --help             print this\n"
		    "\n"
		    "A first configuration:\n"
		    "\n"
		    "  listeners = ( { fabric = \"iwarp\"; address = \"127.0.0.1\"; } );\n"
		    "  exports = ( { name = \"data\"; path = \"/mnt/pmem/data\"; } );\n"
		    "\n"
		    "then, from a client: leasehold list iwarp://127.0.0.1\n"
		    "Exit status: 0 stopped cleanly, or no fault was found; 1 failed; 2 wrong\n"
		    "usage.\n"
		    "Every key, with its default: leaseholdd.conf(5).\n",
		    out);
}

/* The exit status of what only prints: it must have come out. */
static int printed(void)
{
	if (!ferror(stdout) && fflush(stdout) == 0)
		return EXIT_SUCCESS;
	(void)fprintf(stderr, "leaseholdd: standard output cannot be written: %s\n",
		      strerror(errno));
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	enum {
		OPT_CHECK = 256,
		OPT_DOCTOR,
		OPT_JSON,
		OPT_LEVEL,
		OPT_VERSION,
	};
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, OPT_CHECK},
		{"doctor", no_argument, NULL, OPT_DOCTOR},
		{"json", no_argument, NULL, OPT_JSON},
		{"log-level", required_argument, NULL, OPT_LEVEL},
		{"version", no_argument, NULL, OPT_VERSION},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *file = CONTROL_DEFAULT_CONFIG;
	struct daemon_config *config;
	struct errtext err;
	enum log_level level = LOG_LEVEL_INFO;
	bool check = false, doctor = false, json = false, level_given = false;
	int option;

	/* A queue or a signalfd must not become what the log is written to. */
	if (stdio_fds_secure() < 0)
		return EXIT_FAILURE;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			file = optarg;
			break;
		case OPT_CHECK:
			check = true;
			break;
		case OPT_DOCTOR:
			doctor = true;
			break;
		case OPT_JSON:
			json = true;
			break;
		case OPT_LEVEL:
			if (log_parse_level(optarg, &level) != 0) {
				(void)fprintf(
					stderr,
					"leaseholdd: --log-level %s: expected error, warning, "
					"notice, info or debug\n",
					optarg);
				return 2;
			}
			level_given = true;
			break;
		case OPT_VERSION:
			(void)puts("leaseholdd " VERSION);
			return printed();
		case 'h':
			usage(stdout);
			return printed();
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "leaseholdd: what is \"%s\"? See leaseholdd --help\n",
			      argv[optind]);
		return 2;
	}
	if ((json && !doctor) || (check && doctor)) {
		(void)fprintf(stderr, "leaseholdd: %s\n",
			      json && !doctor ? "--json goes with --doctor"
					      : "--check and --doctor: choose one of them");
		return 2;
	}
	if (doctor) {
		const int status = doctor_run(file, json), out = printed();

		return status ? status : out;
	}
	if (config_load(file, &config, &err) != 0) {
		(void)fprintf(stderr, "leaseholdd: %s\n", err.text);
		return EXIT_FAILURE;
	}
	if (check) {
		(void)printf("%s: fine: %u export(s), %u listener(s)\n", file, config->nr_exports,
			     config->nr_listeners);
		config_free(config);
		return printed();
	}
	log_set_level(level_given ? level : config->log_level);
	return run(config, level_given);
}
