/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bench on which the suite's tests work: two sides, `a` and `b`, each with a protection domain, a
 * completion queue and a buffer of its own, and up to RIG_PAIRS connections between them. One thread
 * polls both sides (on the software fabric polling is what moves the bytes).
 */
#ifndef LEASEHOLD_TEST_FABRIC_SUITE_INTERNAL_H
#define LEASEHOLD_TEST_FABRIC_SUITE_INTERNAL_H

#include "leaks.h"

#include "fabric_suite.h"

#define RIG_PAIRS     3
#define RIG_BYTES     KIB(512)
#define RIG_MAX_WR    64
#define RIG_MAX_SGE   4
#define RIG_CQ	      512
#define RIG_KEPT      1024
#define RIG_TIMEOUT_S 20
#define RIG_MRS	      16
#define RIG_EVENTS    8

#define RIG_ALL (FABRIC_ACCESS_LOCAL_WRITE | FABRIC_ACCESS_REMOTE_READ | FABRIC_ACCESS_REMOTE_WRITE)

struct side {
	struct fabric_pd *pd;
	struct fabric_cq *cq;
	struct fabric_srq *srq;
	struct fabric_cm *cm;
	struct fabric_conn *conn[RIG_PAIRS];
	uint8_t *buf;
	struct fabric_mr *mr;			   /* of buf, RIG_ALL */
	struct fabric_cm_event events[RIG_EVENTS]; /* polled, not yet asked for */
	unsigned int event_count;
};

struct rig {
	struct fabric *f;
	struct fabric_device *dev;
	const struct fabric_device_info *info;
	struct side a, b;
	struct fabric_listener *listener;
	struct fabric_conn_param client, server; /* for the next rig_connect() */
	struct fabric_cm_event event;		 /* of the last event waited for */
	struct fabric_wc kept[RIG_KEPT];	 /* polled, not yet asked for */
	unsigned int kept_count;
	uint64_t next_id;
	/* Freed by teardown if a test did not get that far. */
	struct fabric_mr *mr[RIG_MRS];
	struct fabric_mw *mw[RIG_MRS];
};

extern const struct fabric_suite *suite;

int rig_setup(void **state);
int rig_teardown(void **state);
#define rig_test(fn) cmocka_unit_test_setup_teardown(fn, rig_setup, rig_teardown)

/** Connects pair `i` by fabric_loopback_pair(). */
void rig_pair(struct rig *rig, unsigned int i);
/** Destroys pair `i` and what was polled of it, and connects it anew. */
void rig_repair(struct rig *rig, unsigned int i);
void rig_unpair(struct rig *rig, unsigned int i);
/** The same with a shared receive queue on side b. */
void rig_pair_srq(struct rig *rig, unsigned int i);

/** Listens on `addr` (port 0) and connects pair `i` through the CM. Skips without an address. */
void rig_listen(struct rig *rig, const char *addr);
void rig_connect(struct rig *rig, unsigned int i);
/** The steps of it. Leave a.conn[i], b.conn[i] with queue pairs, not accepted. */
void rig_request(struct rig *rig, unsigned int i);
void rig_resolve(struct rig *rig, unsigned int i, const struct sockaddr_storage *to);
void rig_qp(struct rig *rig, struct side *side, unsigned int i);
int rig_qp_try(struct rig *rig, struct side *side, unsigned int i);

/** Polls both completion queues and both CM channels once. */
void rig_pump(struct rig *rig);
/** The next completion of `conn`; fails the test after RIG_TIMEOUT_S. */
struct fabric_wc rig_wait(struct rig *rig, const struct fabric_conn *conn);
/** Waits for one that is a FABRIC_OK of `op`. */
struct fabric_wc rig_wait_ok(struct rig *rig, const struct fabric_conn *conn, enum fabric_op op);
/** True if none comes for `ms`. */
bool rig_quiet(struct rig *rig, const struct fabric_conn *conn, unsigned int ms);
/** The next event of a side; fails the test if it is another than `type`. */
const struct fabric_cm_event *rig_event(struct rig *rig, struct side *side,
					enum fabric_cm_type type);

/** A range of a side's buffer as an SGE. */
struct fabric_sge rig_sge(const struct side *side, uint64_t off, uint32_t len);
/** Posts one signaled request (or fails the test); returns its wr_id. */
uint64_t rig_post(struct rig *rig, struct fabric_conn *conn, enum fabric_op op,
		  struct fabric_sge sge, uint64_t remote_addr, uint32_t rkey);
uint64_t rig_recv(struct rig *rig, struct fabric_conn *conn, struct fabric_sge sge);
/** Posts and waits; the status. */
enum fabric_status rig_do(struct rig *rig, struct fabric_conn *conn, enum fabric_op op,
			  struct fabric_sge sge, uint64_t remote_addr, uint32_t rkey);

/**
 * From a.conn[i]: `op` on b's memory, then a READ that is allowed. The first failure's status, or
 * FABRIC_OK. (A write's completion means sent: on iWARP it is the READ that learns of the failure.)
 */
enum fabric_status rig_try(struct rig *rig, unsigned int i, enum fabric_op op, uint32_t len,
			   uint64_t remote_addr, uint32_t rkey);
/** Fails the test unless rig_try() was refused for the key, the range or the access. */
void rig_refused(struct rig *rig, unsigned int i, enum fabric_op op, uint32_t len,
		 uint64_t remote_addr, uint32_t rkey);

struct fabric_mr *rig_reg(struct rig *rig, struct fabric_pd *pd, void *addr, uint64_t len,
			  uint64_t iova, unsigned int access);
void rig_dereg(struct rig *rig, struct fabric_mr *mr);
struct fabric_mw *rig_window(struct rig *rig, struct fabric_pd *pd);
void rig_window_free(struct rig *rig, struct fabric_mw *mw);

static inline uint64_t addr_of(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

/** iWARP, but not ours: an adapter, or siw. Held to less. */
static inline bool adapter_iwarp(const struct rig *rig)
{
	return rig->info->transport == FABRIC_TRANSPORT_IWARP && !rig->info->software_fabric;
}

/** Fills with bytes that repeat late and depend on `seed`. */
void pattern_fill(uint8_t *p, size_t len, unsigned int seed);

/* fabric_suite_data.c */
void test_devices(void **state);
void test_send_recv(void **state);
void test_send_many(void **state);
void test_sges(void **state);
void test_inline(void **state);
void test_write_read(void **state);
void test_zero_length(void **state);
void test_unsignaled(void **state);
void test_queue_full(void **state);
void test_srq(void **state);
void test_srq_empty(void **state);
void test_srq_destroyed(void **state);
void test_too_long(void **state);
void test_no_receive(void **state);
void test_sleep(void **state);
void test_sleep_behind_writes(void **state);
void test_echo_threads(void **state);
void test_on_demand(void **state);
void test_flush(void **state);

/* fabric_suite_keys.c */
void test_registration_errors(void **state);
void test_key_checks(void **state);
void test_dereg(void **state);
void test_iova(void **state);
void test_window(void **state);
void test_window_bounds(void **state);
void test_window_free(void **state);
void test_window_before_first_message(void **state);
void test_send_inv(void **state);

/* fabric_suite_fence.c */
void test_fence(void **state);
void test_fence_flood_write(void **state);
void test_fence_flood_read(void **state);
void test_dereg_flood(void **state);
void test_window_flood(void **state);
void test_destroy_with_completions(void **state);

/* fabric_suite_cm.c */
void test_private_data(void **state);
void test_addresses(void **state);
void test_reject(void **state);
void test_closed_port(void **state);
void test_unanswered(void **state);
void test_disconnect(void **state);
void test_destroy_connected(void **state);
void test_read_depth(void **state);
void test_listen_errors(void **state);
void test_ipv6(void **state);
void test_cycles(void **state);

#endif
