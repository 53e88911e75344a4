/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client: a controller at the target, its queues, the service thread. Inside the library only.
 *
 * Locks, in the order they may be taken: client.lock, then (alone) one queue's lock. Nothing takes
 * client.lock with a queue's lock held.
 */
#ifndef LEASEHOLD_CLIENT_H
#define LEASEHOLD_CLIENT_H

#include "leasehold.h"

#include "libleasehold/nvme_queue.h"
#include "libleasehold/uri.h"

#include <stdatomic.h>

#define CLIENT_ADMIN_DEPTH 32
#define CLIENT_COMMAND_MS  30000 /* no command may take longer; then the connection is made anew */
#define CLIENT_NO_ANSWER   "a command was not answered within 30 s"

enum client_state {
	CLIENT_LIVE,
	CLIENT_LOST,   /* the service thread is at it */
	CLIENT_FAILED, /* it gave up; it begins again when somebody asks for something */
};

struct lh_client {
	struct lh_options opt; /* without zeros */
	struct target_uri uri;
	struct sockaddr_storage addr;
	char address[300];
	char host_nqn[NVME_NQN_BYTES];
	uint8_t host_id[16];
	struct fabric *fabric;
	struct memory memory;

	struct nvme_queue admin;
	struct nvme_queue *io;
	_Atomic unsigned int io_count; /* open ones */
	_Atomic unsigned int io_next;

	/* Set while connecting, read-only while live. */
	uint16_t cntlid;
	bool direct;
	struct {
		uint16_t version;
		uint32_t capabilities;
		uint32_t recall_deadline_ms;
		uint32_t grant_expiry_ms;
		uint32_t max_grants;
		uint32_t max_commit_ranges;
		uint64_t max_grant_bytes;
	} ext;
	uint32_t max_entries;	     /* of an I/O queue: CAP.MQES + 1 */
	uint32_t max_transfer_bytes; /* 0: no limit */
	uint32_t inline_bytes;	     /* data in an I/O capsule, at most NVME_SLOT_DATA_BYTES */
	char model[41];
	char firmware[9];

	pthread_t service;
	bool service_started;
	int wake_fd;
	_Atomic bool stop;
	_Atomic bool given_up;	  /* lh_client_give_up() */
	_Atomic bool aen_pending; /* an event came: read the change log, send the request again */
	_Atomic bool watching;	  /* somebody called lh_watch() */
	_Atomic bool aer_out;	  /* a request is held by the target */
	_Atomic uint64_t keep_alive_since_ns; /* sent and not answered; 0: answered */
	uint64_t change_next;		      /* sequence of the first change not seen */

	pthread_mutex_t lock; /* what follows */
	pthread_cond_t changed;
	enum client_state state;
	uint64_t epoch;	     /* counts controllers */
	struct errtext why;  /* LOST, FAILED */
	uint64_t gave_up_ns; /* FAILED last */
	void (*on_lost)(const struct lh_lost *lost, void *user);
	void *on_lost_user;
	struct list exports; /* struct lh_export.link */
	_Atomic uint64_t reconnects;
};

/** Writes a sentence into the caller's struct and returns `code`. */
int client_fail(struct lh_error *err, int code, const struct errtext *text);
int client_failf(struct lh_error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/** A queue has died: the service thread has work. Any thread, any lock held. */
void client_queue_died(struct lh_client *client);
void client_wake(struct lh_client *client);

/**
 * Waits until the client is live. Returns 0, or -ENOTCONN with a sentence when it gave up or
 * `deadline_ns` has passed. No lock held.
 */
MUST_CHECK int client_wait_live(struct lh_client *client, uint64_t deadline_ns,
				struct errtext *err);
/** The same for what was asked for at `since_ns`: it does not wait if the client has given up since. */
MUST_CHECK int client_wait_live_since(struct lh_client *client, uint64_t since_ns,
				      uint64_t deadline_ns, struct errtext *err);

/** The controller's count: a direct queue of another epoch is worth nothing. */
uint64_t client_epoch(struct lh_client *client);
/** A moment's view; each change of it wakes the exports' keepers. */
enum client_state client_state(struct lh_client *client);

/** The I/O queue for the next operation. */
struct nvme_queue *client_io_queue(struct lh_client *client);

static inline struct fabric_device *client_device(const struct lh_client *client)
{
	return fabric_pd_device(client->memory.pd);
}
/** Our adapter can post an RDMA FLUSH. */
static inline bool client_can_flush(const struct lh_client *client)
{
	return fabric_device_info(client_device(client))->flush;
}

/** Reads the export list and tells the open exports. */
int client_refresh(struct lh_client *client, struct errtext *err);

/** A client that is not connected: the address looked up, the fabric opened. Blocks. */
MUST_CHECK int client_new_for(const char *uri, const struct lh_options *options,
			      struct lh_client **client, struct errtext *err);
/** An enabled controller of the discovery service, and no more than that. Blocks. */
MUST_CHECK int client_open_discovery(struct lh_client *client, struct errtext *err);
/** Disconnects and frees a client whose service thread does not run. */
void client_end(struct lh_client *client);

/* host_id.c */

/** This host's NQN and identifier: `wanted` or the files of /etc. */
MUST_CHECK int host_identity(const char *wanted, char nqn[NVME_NQN_BYTES], uint8_t id[16],
			     struct errtext *err);

#endif
