/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the fault fabric share: fault.c, fault_queue.c, fault_conn.c. */
#ifndef LEASEHOLD_FABRIC_FAULT_INTERNAL_H
#define LEASEHOLD_FABRIC_FAULT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "fabric/fabric_ops.h"
#include "fabric/fault.h"

#define FAULT_HELD_MAX 256

struct fault_fabric {
	struct fabric base;
	struct fabric *inner;
	struct fault_options options;
	_Atomic uint64_t calls, draws;
	unsigned int device_count;
	struct fault_device *devices;
};

struct fault_device {
	struct fabric_device base;
	struct fabric_device *inner;
	struct fault_fabric *fabric;
};

/* A descriptor that is readable when the inner one is, or when we say so. */
struct fault_bell {
	int epoll, event;
	bool rings;
};

struct fault_held {
	struct fabric_wc wc;
	unsigned int polls; /* to go */
};

struct fault_cq {
	struct fabric_cq base;
	struct fabric_cq *inner;
	struct fault_fabric *fabric;
	struct fault_bell bell;
	pthread_mutex_t lock; /* against the destruction of a connection on another thread */
	struct fault_held held[FAULT_HELD_MAX];
	unsigned int held_count;
};

struct fault_cm {
	struct fabric_cm base;
	struct fabric_cm *inner;
	struct fault_fabric *fabric;
	struct fault_bell bell;
	struct fabric_cm_event event; /* held, if holding */
	unsigned int polls;
	bool holding;
};

struct fault_conn {
	struct fabric_conn base;
	struct fabric_conn *inner;
	struct fault_fabric *fabric;
	struct fault_cq *cq;
	struct fault_cm *cm;
	bool has_srq;
};

/* The small ones: an object and what it stands for. */
#define FAULT_WRAPPER(kind)                  \
	struct fault_##kind {                \
		struct fabric_##kind base;   \
		struct fabric_##kind *inner; \
	}
FAULT_WRAPPER(pd);
FAULT_WRAPPER(mr);
FAULT_WRAPPER(mw);
FAULT_WRAPPER(srq);
FAULT_WRAPPER(listener);

#define FAULT_OF(kind, ptr) container_of(ptr, struct fault_##kind, base)

#define FAULT_INNER(kind, ptr) (FAULT_OF(kind, ptr)->inner)

static inline struct fault_fabric *fault_of_device(const struct fabric_device *dev)
{
	return FAULT_OF(device, dev)->fabric;
}

extern const struct fabric_ops fault_ops;

/** True once in a million / ppm draws, if the options have faults at `site`. */
bool fault_chance(struct fault_fabric *f, enum fault_site site, unsigned int ppm);
/** Counts a call that can fail: 0, or the error with which it does. */
int fault_may_fail(struct fault_fabric *f, enum fault_site site);
/** The same, and allocates `size` zeroed bytes where it goes on. */
int fault_begin(struct fault_fabric *f, enum fault_site site, size_t size, void *object);
/** For how many polls to hold something back. */
unsigned int fault_hold_for(struct fault_fabric *f, enum fault_site site);

MUST_CHECK int fault_bell_init(struct fault_bell *bell, int inner_fd);
void fault_bell_fini(struct fault_bell *bell);
void fault_bell_set(struct fault_bell *bell, bool on);

/* fault_queue.c */
int fault_cq_create(struct fabric_device *dev, unsigned int entries, struct fabric_cq **out);
void fault_cq_destroy(struct fabric_cq *base);
int fault_cq_poll(struct fabric_cq *base, struct fabric_wc *wc, unsigned int n);
int fault_cq_arm(struct fabric_cq *base);
int fault_srq_create(struct fabric_pd *pd, unsigned int max_wr, unsigned int max_sge,
		     struct fabric_srq **out);
void fault_srq_destroy(struct fabric_srq *srq);
int fault_post_send(struct fabric_conn *base, struct fabric_send_wr *wr,
		    struct fabric_send_wr **bad);
int fault_post_recv(struct fabric_conn *base, struct fabric_recv_wr *wr,
		    struct fabric_recv_wr **bad);
int fault_post_srq_recv(struct fabric_srq *srq, struct fabric_recv_wr *wr,
			struct fabric_recv_wr **bad);

/* fault_conn.c */
int fault_cm_open(struct fabric *base, struct fabric_cm **out);
void fault_cm_close(struct fabric_cm *base);
int fault_cm_poll(struct fabric_cm *base, struct fabric_cm_event *event);
int fault_listen(struct fabric_cm *base, const struct sockaddr *addr, int backlog,
		 struct fabric_listener **out);
void fault_listener_destroy(struct fabric_listener *l);
int fault_listener_addr(const struct fabric_listener *l, struct sockaddr_storage *addr);
int fault_resolve(struct fabric_cm *base, const struct sockaddr *dst, unsigned int timeout_ms,
		  void *user, struct fabric_conn **out);
int fault_qp_create(struct fabric_conn *base, const struct fabric_qp_attr *attr);
int fault_connect(struct fabric_conn *conn, const struct fabric_conn_param *param);
int fault_accept(struct fabric_conn *conn, const struct fabric_conn_param *param);
int fault_reject(struct fabric_conn *conn, const void *private_data, uint8_t len);
int fault_disconnect(struct fabric_conn *conn);
int fault_conn_fence(struct fabric_conn *conn);
void fault_conn_destroy(struct fabric_conn *base);
int fault_conn_peer(const struct fabric_conn *conn, struct sockaddr_storage *addr);
int fault_conn_local(const struct fabric_conn *conn, struct sockaddr_storage *addr);
bool fault_conn_returns(const struct fabric_conn *conn);
bool fault_conn_taken(const struct fabric_conn *conn);
const char *fault_conn_breach(const struct fabric_conn *conn);
unsigned int fault_conn_read_depth(const struct fabric_conn *conn);
int fault_loopback_pair(struct fabric_device *dev, const struct fabric_qp_attr *attr_a,
			const struct fabric_qp_attr *attr_b, struct fabric_conn **conn_a,
			struct fabric_conn **conn_b);

#endif
