/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the verbs fabric share; for verbs*.c only, the only files that see rdma-core.
 *
 *   verbs.c           devices, protection domains, memory, windows, opening and closing
 *   verbs_queue.c     completion queues, receive queues, queue pairs, work requests
 *   verbs_cm.c        the RDMA CM: listeners, connections, events
 *   verbs_loopback.c  connected pairs without a peer, for the self-test
 */
#ifndef LEASEHOLD_FABRIC_VERBS_INTERNAL_H
#define LEASEHOLD_FABRIC_VERBS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include "fabric/fabric_ops.h"

struct verbs_device {
	struct fabric_device base;
	struct verbs_fabric *fabric;
	struct ibv_context *ctx; /* librdmacm's own: queue pairs of its ids must live there */
	uint32_t max_cqe;
	uint32_t max_srq_wr;
	/* Events of the adapter are read by who waits for one, under this; it guards the next two. */
	pthread_mutex_t event_lock;
	bool tells_last; /* a queue pair has said once that it has taken its last shared receive */
	unsigned int silent; /* so many have not */
	/*
	 * Serialises creation and destruction of queue pairs, so that a number in use again never
	 * meets completions of the queue pair that had it before. Taken before verbs_cq.lock.
	 */
	pthread_mutex_t qp_lock;
};

struct verbs_fabric {
	struct fabric base;
	struct ibv_context **contexts; /* rdma_get_devices() */
	unsigned int device_count;
	struct verbs_device *devices;
};

struct verbs_pd {
	struct fabric_pd base;
	struct ibv_pd *pd;
};

struct verbs_mr {
	struct fabric_mr base;
	struct ibv_mr *mr;
};

struct verbs_mw {
	struct fabric_mw base;
	struct ibv_mw *mw;
};

#define VERBS_CQ_BUCKETS 64

struct verbs_cq {
	struct fabric_cq base;
	struct ibv_cq *cq;
	struct ibv_comp_channel *channel;
	/*
	 * Contended only while a queue pair of this queue is created or destroyed. Guards what is
	 * below, and polling, so that completions keep their order.
	 */
	pthread_mutex_t lock;
	struct verbs_conn *buckets[VERBS_CQ_BUCKETS]; /* connections by queue pair number */
	struct ibv_wc *stash; /* completions of the living, taken off when another one died */
	unsigned int stash_head, stash_count, stash_size;
};

struct verbs_srq {
	struct fabric_srq base;
	struct ibv_srq *srq;
	unsigned int max_sge;
};

struct verbs_cm {
	struct fabric_cm base;
	struct verbs_fabric *fabric;
	struct rdma_event_channel *channel;
};

/** What the context of an id points to. */
struct verbs_id {
	struct rdma_cm_id *id; /* NULL: one of a loopback pair */
	bool listening;	       /* of a verbs_listener, else of a verbs_conn */
};

struct verbs_listener {
	struct fabric_listener base;
	struct verbs_id cm;
};

/** Where a connection stands with the CM; the CM thread's. Loopback pairs stay ESTABLISHED. */
enum verbs_conn_state {
	VERBS_CONN_RESOLVING,	/* client: address, then route */
	VERBS_CONN_RESOLVED,	/* client: the device is known, no request sent */
	VERBS_CONN_CONNECTING,	/* client: request sent */
	VERBS_CONN_REQUESTED,	/* server: request came, not answered */
	VERBS_CONN_ACCEPTED,	/* server: answered, the peer has not confirmed */
	VERBS_CONN_ESTABLISHED, /* both ways open */
	VERBS_CONN_OVER,	/* rejected, failed or disconnected; the user was or is told */
};

struct verbs_conn {
	struct fabric_conn base;
	enum verbs_conn_state state;
	struct verbs_id cm;
	struct verbs_loop *loop; /* NULL: not one of a pair that went through the CM */
	struct ibv_qp *qp;
	struct ibv_qp_ex *qpx; /* NULL: cannot post a FLUSH */
	struct verbs_cq *cq;
	struct verbs_conn *next; /* in its bucket of cq */
	atomic_bool broken;	 /* known to be in error: nothing more is posted */
	bool has_srq;
	bool may_take;		/* has a shared queue, and got as far as to take from it */
	atomic_bool last_taken; /* in error, and takes nothing off the shared queue any more */
	uint32_t max_inline;
	uint32_t max_send_sge;
	uint32_t max_recv_sge;
	unsigned int timeout_ms;     /* of each step of resolving */
	uint8_t responder_resources; /* READs of the peer in flight; asked for, then negotiated */
	uint8_t initiator_depth;     /* READs of ours in flight */
};

#define VERBS_OF(kind, ptr) container_of(ptr, struct verbs_##kind, base)

static inline struct verbs_device *verbs_device(const struct fabric_device *dev)
{
	return VERBS_OF(device, dev);
}

static inline struct verbs_conn *verbs_conn(const struct fabric_conn *conn)
{
	return VERBS_OF(conn, conn);
}

extern const struct fabric_ops verbs_ops;

/**
 * The one place where rdma-core's ways of failing become ours: takes an errno, positive or negative
 * (0 where a call failed without saying why), returns a negative one that fabric.h documents.
 */
int verbs_error(int err);

/** The same for calls of librdmacm, which return -1 and set errno. */
int verbs_cm_result(int rc);

/** IBV_ACCESS_* for FABRIC_ACCESS_*. */
unsigned int verbs_access(unsigned int access);

/* verbs_queue.c */
int verbs_cq_create(struct fabric_device *dev, unsigned int entries, struct fabric_cq **cq);
void verbs_cq_destroy(struct fabric_cq *cq);
int verbs_cq_poll(struct fabric_cq *cq, struct fabric_wc *wc, unsigned int n);
int verbs_cq_arm(struct fabric_cq *cq);
int verbs_srq_create(struct fabric_pd *pd, unsigned int max_wr, unsigned int max_sge,
		     struct fabric_srq **srq);
void verbs_srq_destroy(struct fabric_srq *srq);
int verbs_qp_create(struct fabric_conn *conn, const struct fabric_qp_attr *attr);
void verbs_qp_destroy(struct verbs_conn *conn);
int verbs_conn_fence(struct fabric_conn *conn);
int verbs_post_send(struct fabric_conn *conn, struct fabric_send_wr *wr,
		    struct fabric_send_wr **bad);
int verbs_post_recv(struct fabric_conn *conn, struct fabric_recv_wr *wr,
		    struct fabric_recv_wr **bad);
int verbs_post_srq_recv(struct fabric_srq *srq, struct fabric_recv_wr *wr,
			struct fabric_recv_wr **bad);

/* verbs_cm.c */
int verbs_cm_open(struct fabric *f, struct fabric_cm **cm);
void verbs_cm_close(struct fabric_cm *cm);
int verbs_cm_poll(struct fabric_cm *cm, struct fabric_cm_event *event);
int verbs_listen(struct fabric_cm *cm, const struct sockaddr *addr, int backlog,
		 struct fabric_listener **listener);
void verbs_listener_destroy(struct fabric_listener *listener);
int verbs_listener_addr(const struct fabric_listener *listener, struct sockaddr_storage *addr);
int verbs_resolve(struct fabric_cm *cm, const struct sockaddr *dst, unsigned int timeout_ms,
		  void *user, struct fabric_conn **conn);
int verbs_connect(struct fabric_conn *conn, const struct fabric_conn_param *param);
int verbs_accept(struct fabric_conn *conn, const struct fabric_conn_param *param);
int verbs_reject(struct fabric_conn *conn, const void *private_data, uint8_t len);
int verbs_disconnect(struct fabric_conn *conn);
void verbs_conn_destroy(struct fabric_conn *conn);
int verbs_conn_peer(const struct fabric_conn *conn, struct sockaddr_storage *addr);
int verbs_conn_local(const struct fabric_conn *conn, struct sockaddr_storage *addr);
bool verbs_conn_returns(const struct fabric_conn *conn);
bool verbs_conn_taken(const struct fabric_conn *conn);
const char *verbs_conn_breach(const struct fabric_conn *conn);
unsigned int verbs_conn_read_depth(const struct fabric_conn *conn);

/* verbs_loopback.c */
int verbs_loopback_pair(struct fabric_device *dev, const struct fabric_qp_attr *a,
			const struct fabric_qp_attr *b, struct fabric_conn **conn_a,
			struct fabric_conn **conn_b);
/** One connection of the pair is gone. */
void verbs_loop_put(struct verbs_loop *loop);

#endif
