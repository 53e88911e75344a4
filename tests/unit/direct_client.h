/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A raw client of direct queues, well-behaved or not, and a landlord, for tests of both. The control
 * loop is turned by the test's thread. Three functions of the rooms below are wrapped, so that it is
 * seen when bytes are persisted, when a queue pair is put in error, and when the landlord gets the
 * blocks: link with --wrap of view_persist, fabric_conn_fence and lease_release.
 */
#ifndef LEASEHOLD_TEST_DIRECT_CLIENT_H
#define LEASEHOLD_TEST_DIRECT_CLIENT_H

#include "nvme_host.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "nvme/controller.h"

#define DNR	     NVME_SC_DNR
#define TAGS	     128
#define NO_ANSWER    0xffff
#define STEP_MS	     20000u
#define PATIENT_MS   10000u /* for clients that answer, on whatever machine */
#define FENCE_MS     1000u  /* for those that do not */
#define QUIET_MS     100u   /* of watching that nothing comes */
#define LARGE	     (2 * NVME_REACTOR_COPY_BYTES) /* persisted on a worker */
#define MAX_PERSISTS 256

struct persists {
	struct lh_commit_range ranges[MAX_PERSISTS];
	atomic_uint begun, done;
	atomic_bool hold; /* those of LARGE */
	sem_t gate;
	atomic_int err; /* of all behind the first `fails_after` */
	atomic_uint fails_after;
};

/** What control, which is the test's thread, did to a client's queue. Nothing of other threads' doing. */
struct ends {
	pthread_t control;
	struct host_queue *watched; /* this one; NULL: nothing is noted */
	unsigned int fences;
	bool error_here; /* our end was in error when fabric_conn_fence() returned */
	unsigned int releases;
	bool dead_at_release; /* the client could see its end dead before the landlord went on */
};

struct direct {
	struct host_queue q;
	uint16_t dqid;
	unsigned int slot, owed, writes, next_tag;
	bool gives_credits;
	unsigned int recalls, committed;
	bool recalled;
	struct lh_msg_recall recall; /* the last */
	bool has[TAGS];
	uint16_t status[TAGS];
	unsigned int persisted[TAGS]; /* how many ranges had been, when it was answered */
};

extern struct rig rig;
extern struct host_queue admin;
extern uint16_t cntlid; /* of admin */
extern struct persists persists;
extern struct ends ends;

/** A target with a controller; clients have PATIENT_MS for a recall, or FENCE_MS. */
int setup(void **state);
int setup_strict(void **state);
/** With a target that is started so. */
int setup_with(void **state, void (*start)(struct rig *rig));
int teardown(void **state);

/* ---- its queue ---- */

/** A token for another direct queue of the controller `id`, in a request that uses it. */
void take_token(struct host_queue *from, struct lh_cm_request *request, uint16_t id);
/** 0, or why it was rejected (enum lh_cm_status). */
uint16_t connect_with(struct direct *d, const struct lh_cm_request *request);
/** Connected; without Hello, or with it. */
void open_silent(struct direct *d);
void open_direct(struct direct *d);
/** The connection has ended or does now, and is closed; the controller has not. */
void assert_ended(struct direct *d);
void post(struct direct *d, const void *bytes, uint32_t length);
/** A message that is nothing but its header. */
void post_type(struct direct *d, unsigned int type, uint16_t credits);
/** Turns everything for as long as *flag is false; the landlord's signals are looked for, too. */
bool turn_until(struct direct *d, const bool *flag, unsigned int ms);
void watch_quiet(struct direct *d);

/* ---- grants ---- */

/** One of the extension's admin commands about bytes. */
uint16_t ask(const struct direct *d, uint8_t opcode, uint64_t offset, uint64_t length,
	     uint32_t generation);
/** One grant over all of it; the generation in *generation. Waits for a recall to be over. */
struct lh_grant acquire(const struct direct *d, uint64_t offset, uint64_t length,
			uint32_t *generation);
void give_back(const struct direct *d, uint32_t generation);
void post_write(struct direct *d, const struct lh_grant *grant, uint64_t at, uint8_t byte,
		uint32_t length);
void assert_byte(uint64_t offset, uint8_t byte);

/* ---- Commit ---- */

/** The tag. */
unsigned int post_commit_as(struct direct *d, uint32_t nsid, uint32_t generation,
			    const struct lh_commit_range *ranges, uint32_t count);
unsigned int post_commit(struct direct *d, uint32_t generation, uint64_t offset, uint64_t length);
/** Its answer's status; NO_ANSWER: none came, or the queue died. */
uint16_t committed(struct direct *d, unsigned int tag);
uint16_t commit(struct direct *d, uint32_t generation, uint64_t offset, uint64_t length);
/** Until the first view_persist() has begun. */
void wait_begun(struct direct *d);
void assert_persisted(unsigned int n, uint64_t offset, uint64_t length);
/** Ends persists.hold. */
void let_go(void);

/** Never sleeps: asks again and again, as one who does not want to wait. -1: not within `ms`. */
int landlord_open(struct direct *d, unsigned int ms);

#endif
