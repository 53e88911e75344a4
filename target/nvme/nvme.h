/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe over Fabrics target: listeners, controllers, queues, commands, and the direct extension.
 * The queue machine is written once, above the fabric.
 *
 * Threads: the functions here run on the control loop. Connection events arrive there; queue pairs
 * are made and destroyed on the registrar; queues and their requests belong to one reactor each;
 * grants and recalls are asked for by messages to the control loop.
 */
#ifndef LEASEHOLD_NVME_H
#define LEASEHOLD_NVME_H

#include "fabric/fabric.h"
#include "grant/grant.h"
#include "reactor/reactor.h"
#include "wire/nvme.h"

#define NVME_DEFAULT_QUEUE_DEPTH     128
#define NVME_DEFAULT_MAX_IO_QUEUES   32 /* per controller */
#define NVME_DEFAULT_MAX_CONTROLLERS 256
#define NVME_STRANGERS_PART	     4 /* of max_controllers hosts that may not connect have a quarter */
#define NVME_DEFAULT_PER_HOST	     128 /* controllers of one host */
#define NVME_DEFAULT_MAX_CONNECTIONS 1024
#define NVME_DEFAULT_INLINE_BYTES    4096 /* in-capsule data */
#define NVME_DEFAULT_MDTS_BYTES	     MIB(1)
/* Of the configuration; an admin queue of fewer entries is against Fabrics, and hosts do not connect. */
#define NVME_MIN_QUEUE_DEPTH	      32
#define NVME_MAX_QUEUE_DEPTH	      1024
#define NVME_MIN_INLINE_BYTES	      1024u /* Connect's data must fit */
#define NVME_MAX_INLINE_BYTES	      16384u
#define NVME_MIN_MDTS_BYTES	      KIB(8)
#define NVME_MAX_MDTS_BYTES	      MIB(8)
#define NVME_DEFAULT_FIRST_COMMAND_MS 5000   /* a queue that sends no Connect is dropped */
#define NVME_MAX_LISTENERS	      16     /* at a time */
#define NVME_MAX_REFERRALS	      16     /* at a time */
#define NVME_MAX_HOSTS		      4096   /* listed */
#define NVME_MAX_PORTID		      0x7fff /* of listeners, ever */
#define NVME_MAX_NAMESPACES	      1000   /* at a time, of all subsystems */
#define NVME_MAX_NSID		      1024   /* a huge NN hurts some hosts */
#define NVME_MAX_ANA_GROUPS	      32     /* group ids are 1 to that */
#define NVME_DEFAULT_ANA_TRANSITION_S 10
#define NVME_DEFAULT_BOUNCE_BYTES \
	MIB(16) /* per reactor and device: the file-system path's buffers */

#define NVME_DEFAULT_SHARED_RECEIVES 0 /* per reactor and device; 0: each queue has its own */
#define NVME_MAX_SHARED_RECEIVES     65536

/* A host that answers no transfer is cut; after a quarter if others wait for its buffers. */
#define NVME_DEFAULT_TRANSFER_TIMEOUT_MS 10000

struct nvme_target;

struct nvme_limits {
	unsigned int queue_depth;
	unsigned int max_io_queues;
	unsigned int max_controllers;
	unsigned int controllers_per_host; /* by host NQN, discovery's too; 0: max_controllers */
	unsigned int max_connections;
	uint32_t inline_bytes;
	uint32_t mdts_bytes;
	uint32_t first_command_ms;
	uint32_t transfer_timeout_ms; /* 0: the default */
	uint64_t bounce_bytes;
	/*
	 * Of the I/O queues of each reactor and device together; more than max_connections, so that
	 * none can keep a message half sent in the last. 0: each queue has as many as it is deep.
	 */
	uint32_t shared_receives;
	/* What hosts are told: how long access may be "change". 1 to 127; 0: the default. */
	uint32_t ana_transition_s;
};

/** What a reactor makes room for at most, on each device: about 2000 queues of the default depth. */
#define NVME_MAX_COMPLETIONS (1u << 19)

/**
 * Room for completions on each of so many reactors and each device: one controller with all queues it
 * may have, and of the others, as many as there may be, each with an admin queue as hosts make them,
 * an I/O queue and a direct queue; at most NVME_MAX_COMPLETIONS.
 */
unsigned int nvme_completions_wanted(const struct nvme_limits *limits, unsigned int nr_reactors);

struct nvme_env {
	struct loop *control;
	struct pool *registrar;
	struct pool *workers;
	struct reactor *const *reactors;
	unsigned int nr_reactors;
	const struct holding_env *holdings; /* devices and block protection domains, same order */
	struct nvme_limits limits;
	const char *version; /* firmware revision shown to hosts */
	/* Of the daemon, this one too; for SMART. 0: nobody counts them. */
	uint64_t starts, unclean_ends;
};

MUST_CHECK int nvme_target_new(const struct nvme_env *env, struct nvme_target **t);

/** From now on; who is there already stays. Fewer connections than shared_receives, if there are any. */
void nvme_target_limit(struct nvme_target *t, unsigned int max_connections,
		       unsigned int controllers_per_host);

/** Whether hosts may connect where it listens; at first they may. Those that are there stay. */
void nvme_target_admit(struct nvme_target *t, bool hosts);

/** How holdings reach queues; the context is the target. Wired in main.c. */
const struct holding_ops *nvme_holding_ops(void);

/** One subsystem by NQN; namespaces are holdings, by their configured nsid. Before listening. */
struct nvme_subsystem;
MUST_CHECK int nvme_subsystem_new(struct nvme_target *t, const char *nqn,
				  struct nvme_subsystem **s);

/**
 * Adds a namespace, also while I/O runs; then start the holding. Hosts are told when it serves.
 * -EEXIST: the nsid is another's; -ERANGE, -ENOSPC: NVME_MAX_NSID, NVME_MAX_NAMESPACES; -ESHUTDOWN.
 */
MUST_CHECK int nvme_subsystem_add(struct nvme_subsystem *s, struct holding *h);
/**
 * The namespace is not there any more for new commands, and hosts are told; who holds grants can
 * still commit and release. Then stop the holding. Idempotent.
 */
void nvme_subsystem_detach(struct nvme_subsystem *s, struct holding *h);
/**
 * Of a holding that is stopped, or failed to start: done once, later, when no command knows of it:
 * then it may be freed. Queues whose commands do not end in time are cut.
 */
void nvme_subsystem_remove(struct nvme_subsystem *s, struct holding *h, void (*done)(void *arg),
			   void *arg);

struct nvme_listen_options {
	/** For hosts or adapters that cannot: a response never invalidates a key of the host. */
	bool no_invalidate;
	/** enum nvme_ana_state by group, 1 to NVME_MAX_ANA_GROUPS; 0: optimized. */
	uint8_t ana_state[NVME_MAX_ANA_GROUPS + 1];
};

/**
 * Listens, also while hosts are connected by others; those at the discovery service are told. Its port
 * id is one that no listener of this target had before. `err` says what to do (-EADDRINUSE: the port
 * is taken, -ENODEV, -ENOSPC: NVME_MAX_LISTENERS …).
 */
MUST_CHECK int nvme_target_listen(struct nvme_target *t, struct fabric *f,
				  const struct sockaddr *addr,
				  const struct nvme_listen_options *options, struct errtext *err);

/**
 * Nobody comes in by it any more, and it is gone from the discovery log. Hosts that came stay until
 * they leave, or with `disconnect` are cut now; as long as one is there, the listener is still known, as
 * removed, and this may be called again. -ENOENT.
 */
MUST_CHECK int nvme_target_unlisten(struct nvme_target *t, uint16_t portid, bool disconnect);

/**
 * From now on hosts that come, or came, in by the listener with this port id (its `portid` in status)
 * have that access to the namespaces of the group (0: of all groups), and are told. Commands that have
 * begun end as they would. Who sees a persistent loss end has to connect again. -ENOENT, -ERANGE.
 */
MUST_CHECK int nvme_target_set_ana(struct nvme_target *t, uint16_t portid, unsigned int group,
				   enum nvme_ana_state state);

/**
 * Another discovery service that the discovery log points to. At most NVME_MAX_REFERRALS (-ENOSPC).
 * Hosts that are connected to the discovery service are told.
 */
struct nvme_referral {
	struct sockaddr_storage addr; /* with port */
	bool iwarp;		      /* else the RDMA provider is left open */
	char nqn[256];		      /* of the discovery subsystem there */
};
MUST_CHECK int nvme_target_add_referral(struct nvme_target *t, const struct nvme_referral *r);
/** By the id that nvme_target_each_referral() gives; ids are not used again. -ENOENT. */
MUST_CHECK int nvme_target_remove_referral(struct nvme_target *t, uint16_t id);
void nvme_target_each_referral(struct nvme_target *t,
			       void (*fn)(uint16_t id, const struct nvme_referral *r, void *arg),
			       void *arg);

/** Hosts by their NQNs, in the order of strcmp(), each once. */
struct nvme_hosts {
	const char (*nqns)[NVME_NQN_BYTES];
	unsigned int count;
};

/**
 * Who gets controllers of subsystems: hosts of this machine, and of others those that are listed by their
 * NQNs, or `any` (at first none). Adds, then removes; those that are listed already, or are not, are none the
 * worse for it. Whoever may not be there any more is disconnected. All of it or, on an error, nothing: -EINVAL:
 * no NQN, or not in order; -ENOSPC: NVME_MAX_HOSTS; -ENOMEM.
 */
MUST_CHECK int nvme_target_change_hosts(struct nvme_target *t, const struct nvme_hosts *add,
					const struct nvme_hosts *remove, bool any);
/** One. -EINVAL, -EEXIST, -ENOSPC, -ENOMEM. */
MUST_CHECK int nvme_target_allow_host(struct nvme_target *t, const char *nqn);
/** One. -ENOENT: it is not listed; -ENOMEM. */
MUST_CHECK int nvme_target_deny_host(struct nvme_target *t, const char *nqn);
/** Those that are listed, in order, with the controllers that each has now. -ENOMEM. */
MUST_CHECK int nvme_target_each_host(const struct nvme_target *t,
				     void (*fn)(const char *nqn, unsigned int controllers,
						void *arg),
				     void *arg);

/** Refuses new connections, disconnects all, waits for queue pairs to go. done once. */
void nvme_target_stop(struct nvme_target *t, void (*done)(void *arg), void *arg);
void nvme_target_free(struct nvme_target *t);

/* ---- what status shows ------------------------------------------------------------------------ */

struct nvme_controller_status {
	uint16_t cntlid;
	const char *hostnqn;
	const char *subnqn;
	char address[64];   /* of the host */
	const char *fabric; /* "verbs", "iwarp" */
	unsigned int io_queues;
	unsigned int direct_queues;
	uint32_t kato_ms;
};

/** What was done to one namespace since it was added: commands as they were answered, and Commits. */
struct nvme_ns_counts {
	uint64_t reads, writes; /* commands, answered without an error; a Compare is a read */
	uint64_t read_bytes, written_bytes;
	uint64_t errors; /* commands, of any kind, that were answered with one */
	uint64_t commits, committed_bytes;
	uint64_t commits_refused;
};

/** A moment's view; all 0 if it is not there. Control loop. */
void nvme_target_ns_counts(const struct nvme_target *t, const struct holding *h,
			   struct nvme_ns_counts *counts);

/** Calls fn for each controller, on the control loop, during the call. */
void nvme_target_each_controller(struct nvme_target *t,
				 void (*fn)(const struct nvme_controller_status *status, void *arg),
				 void *arg);

/** What is reserved of a namespace. */
struct nvme_resv_summary {
	enum nvme_resv_type type; /* NVME_RESV_NONE: some are registered, and none holds anything */
	bool persists;		  /* through power loss */
	unsigned int registrants;
};

struct nvme_registrant_status {
	const uint8_t *hostid; /* 16 bytes */
	const char *hostnqn;   /* NULL: no controller of it is connected */
	bool holds;
};

/** False if nobody is registered. Control loop. */
bool nvme_target_reservation(const struct nvme_target *t, const struct holding *h,
			     struct nvme_resv_summary *summary);
/** Calls fn for each registrant of the namespace, during the call. Control loop. */
void nvme_target_each_registrant(const struct nvme_target *t, const struct holding *h,
				 void (*fn)(const struct nvme_registrant_status *status, void *arg),
				 void *arg);

struct nvme_listener_status {
	const char *fabric;
	uint16_t portid; /* as in the discovery log */
	char address[64];
	uint8_t ana_state[NVME_MAX_ANA_GROUPS + 1]; /* enum nvme_ana_state; [0] unused */
	unsigned int controllers;		    /* that came in by it, discovery's too */
	bool removed;				    /* some of them are all that is left of it */
	struct sockaddr_storage bound;
	enum nvmf_rdma_prtype provider;
};
void nvme_target_each_listener(struct nvme_target *t,
			       void (*fn)(const struct nvme_listener_status *status, void *arg),
			       void *arg);

#endif
