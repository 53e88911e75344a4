/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A storage host without NVMe: the real rooms from the fabric to the grants, one export, a fake of
 * the reactors (holding_ops), and clients that are loopback queue pairs. Tests call it from their
 * own thread; the control loop has one of its own.
 *
 * The fabric is the software one; with LEASEHOLD_TEST_FABRIC=verbs the first real adapter.
 */
#ifndef LEASEHOLD_GRANT_RIG_H
#define LEASEHOLD_GRANT_RIG_H

#include "test_export_rig.h"

#include <semaphore.h>
#include <stdatomic.h>

#include "grant/grant.h"
#include "iwarp/iwarp.h"
#include "tenure/tenure.h"

#define RIG_WAIT_MS 30000 /* for anything; then the test fails */
#define RIG_BYTES   MIB(16)
#define RIG_BUFFER  KIB(64)

struct rig {
	bool windows;
	struct fabric *fabric;
	struct fabric_device *device;
	struct fabric *fabric2; /* with two_devices: software, ODP only */
	struct holding_env env;
	struct tenure_signals *watch;
	struct holding *h;
	int start_err;
	char start_why[ERRTEXT_BYTES];
	uint16_t last_cntlid; /* of the clients: 1, 2, … */

	/* The fake reactors: the control loop's, but for the atomic ones. */
	const struct serving *serving;
	const struct serving *other; /* of another holding that the test has made */
	atomic_bool hold_quiesce;    /* block work hangs until its queue is fenced */
	atomic_bool hold_forever;    /* … and then too */
	atomic_bool hold_publish;    /* somebody still uses what was served before */
	atomic_bool hold_drain;	     /* block work on a range hangs until its queue is fenced */
	struct loop_msg *quiesce_msg, *publish_msg, *drain_msg;
	void (*drain_fn)(struct loop_msg *msg);
	atomic_uint drains, range_fences;
	atomic_int range_seals;
	atomic_int rights; /* to commit */
	void (*quiesce_fn)(struct loop_msg *msg);
	void (*publish_fn)(struct loop_msg *msg);
	atomic_uint published, quiesced, sealed, fenced, told, regrants, changes, offline;
	atomic_uint recalling, released; /* as who watches is told */
};

/** How the next rig_up() is configured. */
struct rig_options {
	const char *file; /* in the folder; made by the test */
	uint32_t deadline_ms, expiry_ms, max_grants, max_registrations;
	uint32_t max_of_export, max_of_host; /* grants */
	uint64_t max_bytes;
	bool wait_if_busy, read_only, allocate;
	enum iwarp_memory software_memory;
	uint32_t rung_retry_ms;
	enum region_choice registration;
	bool no_start;
	bool two_devices;
	enum tenure_kind tenure;
	bool refuse_while_granted;
	struct cache_limits cache;
	bool closable;		  /* odp_release = at-once */
	bool faults;		  /* rig.fabric is a fault fabric, so far without faults */
	bool windows, no_windows; /* of grants; of the adapter */
};

extern const struct rig_options rig_defaults;

/** A real adapter. */
bool rig_is_verbs(void);
/**
 * Before any test: librdmacm keeps some descriptors for ever, signals and faults have their handlers.
 * Errors are logged; LEASEHOLD_TEST_LOG shows more.
 */
void rig_warm_up(void);

/** What a test's main() does. */
static inline int rig_main(int (*group)(const char *where))
{
	rig_warm_up();
	return for_each_dir(group);
}
/** The same where a test chooses what adapters can do. */
static inline int rig_main_chosen(int (*group)(const char *where))
{
	if (!rig_is_verbs())
		return rig_main(group);
	(void)puts("skipped: what an adapter can is chosen, which takes the software fabric");
	return 77;
}

/** Opens everything and starts the holding; fails the test unless it serves (or waits). */
void rig_up(struct rig *rig, const struct rig_options *options);
/** Stops and frees everything. */
void rig_down(struct rig *rig);

/** holding_start() and its answer; holding_stop() and its end. */
int rig_start(struct rig *rig);
void rig_stop(struct rig *rig);

/** Runs fn(arg) on the control loop and waits. */
void rig_call(struct rig *rig, void (*fn)(void *arg), void *arg);
/** Ends the test program if nobody posts it. */
void rig_wait_sem(sem_t *sem);
struct holding_status rig_status(struct rig *rig);
/** Waits until the holding is in the state with at least that generation. */
struct holding_status rig_wait(struct rig *rig, enum holding_state state, uint32_t generation);
void rig_release_publish(struct rig *rig);
/** What hangs ends: work that was quiesced or drained. */
void rig_release_quiesce(struct rig *rig);

/** Reads the file through the holding's own descriptor: an open would recall the lease. */
void rig_read(struct rig *rig, uint64_t offset, void *bytes, size_t length);

/* ---- clients --------------------------------------------------------------------------------- */

struct rig_client {
	struct rig *rig;
	unsigned int device;
	struct fabric_pd *pd;	   /* the target's, for this client */
	struct fabric_pd *peer_pd; /* the client's own */
	struct fabric_cq *cq;
	struct fabric_conn *peer, *file;
	struct fabric_conn *first_peer, *first_file; /* what the grant room knows */
	uint8_t *buffer, *anchor;
	struct fabric_mr *buffer_mr, *anchor_mr;
	struct grant_client *grants;
	/* With windows: the reactor that binds them and has the target's side of the connection. */
	struct fabric_cq *file_cq;
	pthread_t reactor;
	atomic_bool reactor_stops;
	pthread_mutex_t lock;	/* of `file`, and … */
	struct list binds;	/* … struct grant_bind */
	atomic_bool hold_binds; /* as behind a peer that takes nothing */
	atomic_uint bound;
	atomic_bool answers; /* releases when told */
	atomic_uint told;
	_Atomic uint64_t told_offset, told_length;
};

void rig_client_up(struct rig *rig, struct rig_client *c);
void rig_client_up_on(struct rig *rig, unsigned int device, struct rig_client *c);
/** grant_client_gone(), then everything of it. */
void rig_client_down(struct rig_client *c);
void rig_client_gone(struct rig_client *c);
/** A fresh queue pair: the old one is in error, or is to be left behind. */
void rig_client_reconnect(struct rig_client *c);

struct grant_answer rig_acquire(struct rig_client *c, uint64_t offset, uint64_t length,
				unsigned int access);
struct grant_answer rig_acquire_want(struct rig_client *c, const struct grant_want *want);
uint16_t rig_release(struct rig_client *c, uint64_t offset, uint64_t length, uint32_t generation);
/** With grants that are cut split. */
struct grant_answer rig_release_part(struct rig_client *c, uint64_t offset, uint64_t length);
/** Of several, one behind the other without waiting; what became of each. */
void rig_release_parts(struct rig_client *c, const struct grant_give_back *parts, unsigned int n,
		       struct grant_answer *answers);
/** An acquire and, behind it without waiting, a release of everything. */
struct grant_answer rig_acquire_and_release(struct rig_client *c, const struct grant_want *want,
					    uint16_t *released);

/** RDMA by the client, waiting: the completion's status (enum fabric_status) or -errno. */
int rig_write(struct rig_client *c, uint64_t address, uint32_t rkey, const void *bytes,
	      uint32_t length);
int rig_rdma_read(struct rig_client *c, uint64_t address, uint32_t rkey, void *bytes,
		  uint32_t length);

/** A landlord in a thread of its own: fn(path) and then an end that can be waited for. */
struct rig_landlord {
	pthread_t thread;
	const char *path;
	void (*fn)(struct rig_landlord *l);
	uint64_t bytes;
	uint64_t began_ns;
	_Atomic uint64_t ended_ns; /* 0: it waits still */
	int err;
};

void rig_landlord_start(struct rig_landlord *l, const char *path,
			void (*fn)(struct rig_landlord *l), uint64_t bytes);
/** Waits for it; fails the test if it failed. Returns how long it took, ns. */
uint64_t rig_landlord_join(struct rig_landlord *l);
void landlord_truncate(struct rig_landlord *l);
void landlord_open_close(struct rig_landlord *l);

/** One of an answer's, in host order. */
static inline struct lh_grant rig_grant_of(const struct grant_answer *answer, unsigned int i)
{
	struct lh_grant g;

	assert_int_equal(answer->status, NVME_SC_SUCCESS);
	assert_true(i < answer->count);
	g = answer->grants[i];
	g.offset = le64toh(g.offset);
	g.length = le64toh(g.length);
	g.address = le64toh(g.address);
	g.rkey = le32toh(g.rkey);
	return g;
}

#endif
