/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How people reach the daemon: the configuration file and the admin socket.
 *
 * Threads: the configuration is read before threads exist, and again by a worker (reload.h); the
 * admin socket lives on the control loop, and so does everything it calls.
 */
#ifndef LEASEHOLD_CONTROL_H
#define LEASEHOLD_CONTROL_H

#include "grant/grant.h"
#include "iwarp/iwarp.h"
#include "nvme/nvme.h"
#include "util/log.h"

#include <limits.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define CONTROL_MAX_LISTENERS 16
#define CONTROL_MAX_REACTORS  64
#define CONTROL_MAX_WORKERS   256

#define CONTROL_DEFAULT_WORKERS		4
#define CONTROL_DEFAULT_CONFIG		"/etc/leasehold/leaseholdd.conf"
#define CONTROL_DEFAULT_STATE_DIR	"/var/lib/leasehold"
#define CONTROL_DEFAULT_MDNS_DIR	"/etc/avahi/services"
#define CONTROL_DEFAULT_METRICS_ADDRESS "127.0.0.1"

/* ---- configuration --------------------------------------------------------------------------- */

struct exports; /* exports.h */
struct reload;

struct config_listener {
	bool software; /* iwarp, else verbs */
	bool no_invalidate;
	char host[256];
	uint16_t port;
	uint8_t ana_state[NVME_MAX_ANA_GROUPS + 1]; /* enum nvme_ana_state, by group */
	unsigned int line;			    /* in the file, for messages */
	struct sockaddr_storage addr;		    /* what `host` is, by listener_look_up() */
	bool undone; /* is not as the file has it: the next reload tries again */
};

struct config_referral {
	bool software; /* iwarp, else verbs */
	struct sockaddr_storage addr;
	char nqn[NVME_NQN_BYTES];
	bool undone; /* as above */
};

/* Without a memory holes that were punched since would be filled again, with each start. */
#define CONFIG_PREPARE_NEEDS_STATE \
	"prepare = \"allocate\" needs a state_dir, where it is kept that the holes were filled"

struct config_export {
	char name[LH_NAME_BYTES];
	char path[PATH_MAX];
	uint32_t nsid;	/* 0: not said, and it has no place in a list */
	bool nsid_said; /* else it is the place in the list */
	uint32_t lba_bytes;
	uint32_t ana_group;
	enum export_prepare prepare;
	enum export_unshare unshare;
	enum region_choice registration;
	bool read_only;
	bool inbound_persistent;
	bool sector_atomic; /* by a journal */
	bool advisory_deallocate;
	bool wait_if_busy;
	enum tenure_kind tenure;
	bool refuse_while_granted;
	bool deny_conflicts;
	bool windows; /* for grants */
	bool release_at_once;
	unsigned int line;
	bool undone; /* as above */
};

struct daemon_config {
	char file[PATH_MAX];
	char nqn[NVME_NQN_BYTES];
	char runtime_dir[PATH_MAX];
	unsigned int runtime_dir_line; /* in the file; 0: not said there */
	char lock_dir
		[PATH_MAX]; /* one for all daemons of the machine or user, whatever the file says */
	char state_dir[PATH_MAX];
	char admin_socket[PATH_MAX];
	enum log_level log_level;
	unsigned int reactors;
	unsigned int worker_threads;
	uint32_t busy_poll_us;
	uint32_t recall_deadline_ms;
	uint32_t grant_expiry_ms;
	uint32_t max_grants_per_client;
	uint32_t max_grants_per_export;
	uint32_t max_grants_per_host;
	uint64_t max_granted_bytes_per_client;	   /* 0: no limit */
	uint32_t max_registrations_per_second;	   /* of a client; 0: no limit */
	uint32_t max_registrations_per_adapter;	   /* for block commands; 0: what it has */
	uint64_t max_registered_bytes_per_adapter; /* the same; 0: no limit */
	uint32_t registration_retry_ms;	   /* to the first attempt at a better rung; then doubled */
	uint32_t allocate_reserve_percent; /* of a file system, that nothing is made ready with */
	struct iwarp_options iwarp;
	struct nvme_limits limits;
	struct config_listener listeners[CONTROL_MAX_LISTENERS];
	unsigned int nr_listeners;
	struct config_referral referrals[NVME_MAX_REFERRALS];
	unsigned int nr_referrals;
	char (*hosts)[NVME_NQN_BYTES]; /* that may connect from other machines, in order */
	unsigned int nr_hosts;
	bool allow_any_host;
	bool mdns;
	char mdns_dir[PATH_MAX];
	char metrics_address[INET6_ADDRSTRLEN];
	uint32_t metrics_port; /* 0: no metrics */
	struct config_export *exports;
	unsigned int nr_exports;
};

/**
 * Reads and checks a file. On an error `err` says "FILE:LINE: KEY: what was expected", and the
 * result is not to be used. -ENOENT, -EINVAL. Files and addresses named in it are not looked at.
 * Before there are threads, or on a worker: it sleeps.
 */
MUST_CHECK int config_load(const char *file, struct daemon_config **config, struct errtext *err);
void config_free(struct daemon_config *config);

/**
 * What the file says of hosts that may connect, as far as it is otherwise than in `last` (NULL: all). Whoever may
 * not any more is disconnected. -ENOMEM, -ENOSPC: nobody was added, and who was to be is not in `wanted` any more.
 * Control loop, or before there are threads.
 */
struct nvme_target;
MUST_CHECK int hosts_take(struct nvme_target *target, const struct daemon_config *last,
			  struct daemon_config *wanted);

/**
 * One export, listener or referral as a group of the configuration file has it, from elsewhere: the
 * same table, checks and words, "WHERE: KEY: …". nsid 0: not said.
 */
struct config_setting_t;
MUST_CHECK int config_read_export(const struct config_setting_t *group, const char *where,
				  struct config_export *e, struct errtext *err);
MUST_CHECK int config_read_listener(const struct config_setting_t *group, const char *where,
				    struct config_listener *l, struct errtext *err);
MUST_CHECK int config_read_referral(const struct config_setting_t *group, const char *where,
				    struct config_referral *r, struct errtext *err);

/* ---- starts ---------------------------------------------------------------------------------- */

/** Of all daemons that used the state directory. */
struct starts {
	int folder; /* kept, with a lock, until the end; -1: nothing is counted */
	uint64_t all;
	uint64_t unclean; /* of these: that did not get to starts_end() */
};

/**
 * Counts this one, durably; nothing with state_dir "". On an error, also when another daemon that
 * uses the directory is alive (-EWOULDBLOCK) or the file is not ours (-EBADMSG, -EFBIG), the
 * numbers are 0.
 */
MUST_CHECK int starts_begin(const char *state_dir, struct starts *s);
/** It ends as it should. Idempotent. */
MUST_CHECK int starts_end(struct starts *s);

/* ---- mDNS ------------------------------------------------------------------------------------ */

/**
 * Writes a service file for Avahi that announces the target's listeners as a discovery service; the
 * old one of the same subsystem is replaced. With mdns = false: removes it. -ENOENT: no listener can be
 * announced, all are on loopback addresses or InfiniBand.
 */
MUST_CHECK int mdns_publish(const struct daemon_config *config, struct nvme_target *target,
			    struct errtext *err);
void mdns_withdraw(const struct daemon_config *config);

/* ---- listeners ------------------------------------------------------------------------------- */

/**
 * The fabrics of the daemon. They are opened at start, for the listeners of the configuration file,
 * and stay: reactors and exports are made for their adapters. NULL: not open.
 */
struct control_fabrics {
	struct fabric *software, *verbs;
};

/**
 * Finds the address. `numeric`: it must be one, since a name may take its time to be looked up. `err`
 * says what is wrong, but not with which listener. Any thread.
 */
MUST_CHECK int listener_look_up(struct config_listener *l, bool numeric, struct errtext *err);
/** Listens as it is configured, at an address that was looked up. `err` as above. */
MUST_CHECK int listener_open(struct nvme_target *target, const struct control_fabrics *fabrics,
			     const struct config_listener *l, struct errtext *err);
/** Who looks for the service on the network sees what there is now. */
void listener_announce(const struct daemon_config *config, struct nvme_target *target);

/* ---- admin socket ---------------------------------------------------------------------------- */

/** What the socket's verbs talk about. Must outlive it. */
struct admin_env {
	struct loop *control;
	const struct daemon_config *config;
	const struct holding_env *holdings_env;
	struct exports *exports;
	struct nvme_target *target;
	struct reload *reload;
	struct control_fabrics fabrics;
	const char *version;
};

struct admin;

/**
 * Listens at config->admin_socket, mode 0600: one JSON request a line, one JSON answer a line
 * (docs/exports.md). -EADDRINUSE: a living daemon answers there; a dead one's is replaced.
 */
MUST_CHECK int admin_new(const struct admin_env *env, struct admin **admin, struct errtext *err);
/** Closes every connection and removes the socket. */
void admin_free(struct admin *admin);

/* ---- metrics --------------------------------------------------------------------------------- */

struct metrics;

/**
 * Answers HTTP at config->metrics_address, on the control loop: OpenMetrics text at /metrics. NULL with
 * metrics_port 0. An address in use: -EADDRINUSE.
 */
MUST_CHECK int metrics_new(const struct admin_env *env, struct metrics **metrics,
			   struct errtext *err);
/** Closes every connection. NULL is allowed. */
void metrics_free(struct metrics *metrics);

#endif
