/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seam between Leasehold and RDMA. Everything above posts work requests and polls completions
 * through this header; below are `verbs` (rdma-core), `iwarp` (software, over TCP) and `fault` (a
 * wrapper that breaks things on purpose).
 *
 * Threads. A completion queue and every connection on it belong to one thread, the only one to call
 * fabric_post_*(), fabric_cq_poll() and fabric_cq_arm() on them. A CM channel belongs to one thread
 * too (fabric_cm_poll). Registration, creation and destruction of objects may be called from any
 * thread but block: keep them off a polling thread. fabric_conn_fence() may be called from any
 * thread at any time between fabric_qp_create() and fabric_conn_destroy().
 *
 * Errors are 0 or -errno, normalised here: -EOPNOTSUPP (the adapter cannot), -ENOMEM (a queue or a
 * limit of the adapter is full), -ENOTCONN (the queue pair is in error or gone), -EBUSY (a window is
 * still bound), -EINVAL (our own mistake).
 */
#ifndef LEASEHOLD_FABRIC_H
#define LEASEHOLD_FABRIC_H

#include "util/util.h"

#include <sys/socket.h>

#define FABRIC_MAX_SGE		16 /* scatter/gather entries of one work request, any implementation */
#define FABRIC_PRIVATE_DATA_MAX 56  /* of a connect or an accept, everywhere (RDMA CM over IB) */
#define FABRIC_REJECT_DATA_MAX	148 /* what a reject can carry everywhere */
#define FABRIC_WHY_BYTES	128 /* of a text that says what a peer did wrong */

enum fabric_access {
	FABRIC_ACCESS_LOCAL_WRITE = 1 << 0, /* may be a receive buffer or the sink of a READ */
	FABRIC_ACCESS_REMOTE_READ = 1 << 1,
	FABRIC_ACCESS_REMOTE_WRITE = 1 << 2,
	FABRIC_ACCESS_MW_BIND = 1 << 3,
	FABRIC_ACCESS_ON_DEMAND = 1 << 4, /* ODP: no pin; -EOPNOTSUPP where the device lacks it */
	FABRIC_ACCESS_FLUSH_GLOBAL = 1 << 5,
	FABRIC_ACCESS_FLUSH_PERSISTENT = 1 << 6,
};

enum fabric_transport {
	FABRIC_TRANSPORT_IB, /* InfiniBand or RoCE */
	FABRIC_TRANSPORT_IWARP, /* a READ needs a sink that the peer can name: see fabric_device_info */
};

/** What a device says of itself. Claims only: region/probe finds out what is true. */
struct fabric_device_info {
	char name[64]; /* "rxe0", "mlx5_0", "iwarp" */
	enum fabric_transport transport;
	bool ethernet;	      /* transport IB over Ethernet: RoCE */
	bool software_fabric; /* our own iwarp: every rung exists, page-cache files allowed */
	bool odp;	      /* claims READ + WRITE + SEND on demand for RC */
	bool windows_type2;   /* claims type-2 memory windows */
	bool flush;	      /* claims RDMA FLUSH, and this build can post it */
	bool read_sink_needs_bounce; /* hardware iWARP: never use a region as the sink of a READ */
	uint64_t max_mr_bytes;
	uint32_t max_mr;
	uint32_t max_qp_wr;
	uint32_t max_cqe; /* of a completion queue; 0: not told */
	uint32_t max_sge;
	uint32_t max_read_sge;	   /* of a READ; 1 on iWARP adapters */
	uint32_t max_read_depth;   /* RDMA READs in flight per queue pair, either direction */
	uint32_t max_inline_bytes; /* 0: FABRIC_F_INLINE is ignored */
};

struct fabric;	      /* one implementation, opened */
struct fabric_device; /* an adapter */
struct fabric_pd;     /* protection domain */
struct fabric_cq;     /* completion queue */
struct fabric_srq;    /* shared receive queue */
struct fabric_cm;     /* a channel of connection events */
struct fabric_listener;
struct fabric_conn; /* a connection and, after fabric_qp_create(), its queue pair */

/** A registered range. Read-only outside the implementation. */
struct fabric_mr {
	struct fabric_pd *pd;
	void *addr;
	uint64_t iova; /* what the peer names for addr[0] */
	uint64_t length;
	uint32_t lkey;
	uint32_t rkey;
};

/** A type-2 memory window; `rkey` is the current key, changed by each bind. */
struct fabric_mw {
	struct fabric_pd *pd;
	uint32_t rkey;
};

/* ---- devices and memory --------------------------------------------------------------------- */

/** The devices of an opened fabric, in a fixed order. fabric_device_at() is never NULL below count. */
unsigned int fabric_device_count(const struct fabric *f);
struct fabric_device *fabric_device_at(const struct fabric *f, unsigned int index);
const struct fabric_device_info *fabric_device_info(const struct fabric_device *dev);

/** "verbs" or "iwarp". */
const char *fabric_name(const struct fabric *f);

/** Closes the fabric. Every object made from it must be gone. */
void fabric_close(struct fabric *f);

MUST_CHECK int fabric_pd_alloc(struct fabric_device *dev, struct fabric_pd **pd);
/** -EBUSY while something is registered in it. */
int fabric_pd_free(struct fabric_pd *pd);
struct fabric_device *fabric_pd_device(const struct fabric_pd *pd);

/**
 * Registers [addr, addr + length), length > 0. `iova` is the address the peer will use for `addr`:
 * pass (uint64_t)(uintptr_t)addr where it is not chosen; a chosen one is congruent to the address
 * modulo the page size. REMOTE_WRITE implies LOCAL_WRITE. Blocks.
 * -EOPNOTSUPP: this kind of memory cannot be registered this way (fsdax pinned; ODP on a device
 * without it). -EFAULT: not mapped, or not writable. -ENOMEM: the adapter has no room, or pinning
 * would pass RLIMIT_MEMLOCK (the kernel has one error for both; ODP pins nothing, and CAP_IPC_LOCK
 * lifts the limit: systemd's LimitMEMLOCK=infinity).
 */
MUST_CHECK int fabric_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			     unsigned int access, struct fabric_mr **mr);

/**
 * Invalidates the keys and frees the registration. When it returns 0 no byte is read or written
 * through the keys any more, whatever is still arriving; a peer that uses them gets a remote access
 * error. -EBUSY: a window is bound; nothing has changed. Blocks.
 */
int fabric_mr_dereg(struct fabric_mr *mr);

/** A window whose BIND_MW did not complete with FABRIC_OK is good for nothing but fabric_mw_free(). */
MUST_CHECK int fabric_mw_alloc(struct fabric_pd *pd, struct fabric_mw **mw);
/**
 * Revokes a bound window too; needs no work request. No access begins through the key once it has
 * returned; one that was being placed at that moment may land, as with fabric_conn_fence().
 */
int fabric_mw_free(struct fabric_mw *mw);

/* ---- completion queues and receive queues --------------------------------------------------- */

enum fabric_status {
	FABRIC_OK,
	FABRIC_FLUSHED,		 /* the queue pair went to error first */
	FABRIC_REMOTE_ACCESS,	 /* the peer refused the key, the range or the access */
	FABRIC_LOCAL_PROTECTION, /* our own lkey was refused */
	FABRIC_LENGTH,		 /* a message longer than the receive buffer */
	FABRIC_REMOTE_OPERATION, /* the peer could not do it */
	FABRIC_RETRY_EXCEEDED,	 /* the peer does not answer */
	FABRIC_RNR_EXCEEDED,	 /* the peer has no receive posted */
	FABRIC_MW_BIND_ERROR,
	FABRIC_GENERAL_ERROR,
};

/** "remote access error" and so on; never NULL. */
const char *fabric_status_text(enum fabric_status status);

enum fabric_op {
	FABRIC_OP_SEND,
	FABRIC_OP_SEND_INV, /* send and invalidate `inv_rkey` at the peer */
	FABRIC_OP_WRITE,
	FABRIC_OP_READ,
	FABRIC_OP_FLUSH,
	FABRIC_OP_LOCAL_INV,
	FABRIC_OP_BIND_MW,
	FABRIC_OP_RECV, /* completions only */
};

#define FABRIC_WC_WITH_INV 1u /* a receive that invalidated `inv_rkey` here (rxe does not say so) */

struct fabric_wc {
	uint64_t wr_id;
	/*
	 * NULL: a receive of a shared queue, taken for a connection whose destruction has begun; it
	 * is good for nothing but posting the receive again. As long as it is not known that every
	 * receive of a connection has completed, another thread may be destroying it by the time
	 * this is looked at: then only `user` counts.
	 */
	struct fabric_conn *conn;
	void *user; /* receives of a shared queue: fabric_conn_user(conn) when this was polled */
	enum fabric_status status;
	enum fabric_op op; /* unless status is FABRIC_OK: RECV, or any other; SEND_INV is SEND */
	uint32_t byte_len; /* receives */
	uint32_t flags;
	uint32_t inv_rkey;
};

/**
 * A queue for `entries` completions. A write's or a send's completion means sent, not placed.
 * On the software fabric the completion queue is the engine: polling it moves the bytes.
 */
MUST_CHECK int fabric_cq_create(struct fabric_device *dev, unsigned int entries,
				struct fabric_cq **cq);
void fabric_cq_destroy(struct fabric_cq *cq);

/** Up to `n` completions, never blocks. Returns how many, or -errno if the queue itself is broken. */
int fabric_cq_poll(struct fabric_cq *cq, struct fabric_wc *wc, unsigned int n);

/**
 * True if polling has moved bytes since the last call, which may have made no completion: a peer reads
 * or writes one-sided, and more is to be expected. False always where the adapter moves them itself.
 * For the thread that polls.
 */
bool fabric_cq_moved(struct fabric_cq *cq);

/** A descriptor that becomes readable (POLLIN) when an armed queue has work. Lives as long as the cq. */
int fabric_cq_fd(const struct fabric_cq *cq);

/**
 * Takes pending notifications off the descriptor and asks for one at the next completion (for the
 * software fabric: at the next byte). Afterwards poll once more before sleeping. 0 or -errno.
 */
int fabric_cq_arm(struct fabric_cq *cq);

/**
 * Receives that several connections take from, in the order posted. A connection that finds none
 * waits (RNR NAKs; the software fabric stops reading its stream, so that answers to READs behind
 * the message wait too; an iWARP adapter ends the connection). A receive that was taken completes,
 * also when its connection ends or is destroyed; those not taken stay. -EOPNOTSUPP: the adapter has
 * none; -ENOMEM: or not so long.
 */
MUST_CHECK int fabric_srq_create(struct fabric_pd *pd, unsigned int max_wr, unsigned int max_sge,
				 struct fabric_srq **srq);
/** After the connections that use it. */
void fabric_srq_destroy(struct fabric_srq *srq);

/* ---- work requests -------------------------------------------------------------------------- */

struct fabric_sge {
	uint64_t addr; /* in the iova space of lkey's MR; with FABRIC_F_INLINE the process's */
	uint32_t length;
	uint32_t lkey;
};

enum fabric_wr_flags {
	FABRIC_F_SIGNALED = 1 << 0, /* a completion on success; failures always complete */
	FABRIC_F_SOLICITED = 1 << 1,
	FABRIC_F_INLINE =
		1 << 2, /* copied at post time; lkey ignored; ≤ max_inline of the queue pair */
	FABRIC_F_FENCE = 1 << 3, /* after earlier READs of this queue have completed */
};

enum fabric_flush_level {
	FABRIC_FLUSH_GLOBAL,
	FABRIC_FLUSH_PERSISTENT,
};

/** wr_id comes back in the completion, here and in receives; its bits 62 and 63 must be clear. */
struct fabric_send_wr {
	struct fabric_send_wr *next;
	uint64_t wr_id;
	enum fabric_op op;
	unsigned int flags;
	struct fabric_sge *sg_list;
	unsigned int num_sge;
	uint64_t remote_addr; /* WRITE, READ, FLUSH */
	uint32_t rkey;	      /* WRITE, READ, FLUSH; the key to kill for SEND_INV and LOCAL_INV */
	struct { /* BIND_MW: afterwards mw->rkey is the new key, also in `rkey` above on return */
		struct fabric_mw *mw;
		struct fabric_mr *mr;
		uint64_t addr; /* in the MR's iova space; also what the peer names */
		uint64_t length;
		unsigned int access; /* FABRIC_ACCESS_REMOTE_* */
	} bind;
	struct {
		uint32_t length;
		enum fabric_flush_level level;
	} flush;
};

struct fabric_recv_wr {
	struct fabric_recv_wr *next;
	uint64_t wr_id;
	struct fabric_sge *sg_list;
	unsigned int num_sge;
};

/**
 * Posts a chain with one doorbell; lists and inline data are copied before it returns. On an error
 * `*bad` (may be NULL) is the first request that was not posted. -ENOMEM: the queue is full;
 * -ENOTCONN: the queue pair is in error (a flushed completion would be lost otherwise).
 */
MUST_CHECK int fabric_post_send(struct fabric_conn *conn, struct fabric_send_wr *wr,
				struct fabric_send_wr **bad);
MUST_CHECK int fabric_post_recv(struct fabric_conn *conn, struct fabric_recv_wr *wr,
				struct fabric_recv_wr **bad);
MUST_CHECK int fabric_post_srq_recv(struct fabric_srq *srq, struct fabric_recv_wr *wr,
				    struct fabric_recv_wr **bad);

/* ---- connections ---------------------------------------------------------------------------- */

struct fabric_qp_attr {
	struct fabric_pd *pd;
	struct fabric_cq *cq;	/* sends and receives */
	struct fabric_srq *srq; /* or NULL */
	unsigned int max_send_wr;
	unsigned int max_recv_wr;
	unsigned int max_send_sge;
	unsigned int max_recv_sge;
	unsigned int max_inline; /* capped to the device's */
};

/** For connect and accept. Depths are capped to what device and peer can. */
struct fabric_conn_param {
	const void *private_data;
	uint8_t private_data_len;
	uint8_t responder_resources; /* READs the peer may have in flight to us */
	uint8_t initiator_depth;     /* READs we shall have in flight to the peer */
};

enum fabric_cm_type {
	FABRIC_CM_RESOLVED, /* client: fabric_conn_device() is known: create the queue pair, connect */
	/*
	 * Server: `conn` is new: create the queue pair and accept, or reject. With an `error` it can
	 * only be rejected: see fabric_refusal_text().
	 */
	FABRIC_CM_CONNECT_REQUEST,
	/*
	 * Server: somebody at `peer` reached `listener` and was shown out before it had asked; `why`
	 * is what was wrong, as a clause ("its first bytes are no …"). There is no connection. -EPROTO:
	 * what it sent is no request; -ECONNRESET: closed before a whole one had come; -ETIMEDOUT: none
	 * came in time; -ENOBUFS: no room for one more, or no such adapter. Over verbs the last
	 * only: the rest is between the peer and the adapter.
	 */
	FABRIC_CM_SHOWN_OUT,
	FABRIC_CM_ESTABLISHED,
	FABRIC_CM_REJECTED, /* client: private data is the peer's reason, if it gave one */
	FABRIC_CM_FAILED, /* client: `error` says why (-ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH …) */
	/*
	 * The peer or the wire is gone; the queue pair is in error. At most once a connection, also on
	 * a server whose accept came to nothing; may follow one's own fabric_disconnect() too.
	 */
	FABRIC_CM_DISCONNECTED,
	FABRIC_CM_DEVICE_GONE, /* of `conn`, or of `listener` where conn is NULL */
};

struct fabric_cm_event {
	enum fabric_cm_type type;
	struct fabric_conn *conn;
	struct fabric_listener *listener; /* CONNECT_REQUEST, SHOWN_OUT, DEVICE_GONE */
	int error;
	struct sockaddr_storage peer; /* SHOWN_OUT */
	char why[FABRIC_WHY_BYTES];   /* SHOWN_OUT: nothing of the peer's own words is in it */
	uint8_t responder_resources; /* CONNECT_REQUEST, ESTABLISHED: what the peer asks for or grants */
	uint8_t initiator_depth;
	uint8_t private_data_len;
	uint8_t private_data[255]; /* may be padded with zeros by the transport */
};

MUST_CHECK int fabric_cm_open(struct fabric *f, struct fabric_cm **cm);
/** Every connection and listener of it must be destroyed first. */
void fabric_cm_close(struct fabric_cm *cm);
int fabric_cm_fd(const struct fabric_cm *cm);
/**
 * Why the fabric itself cannot connect to a peer that answers, or asks: of -EPROTONOSUPPORT (a demand
 * that cannot be met), -EPROTO (no such protocol) and -EMSGSIZE (private data); NULL of other errors.
 */
const char *fabric_refusal_text(int error);
/** 1 and an event, 0 if there is none now, or -errno. Never blocks. Call until 0. */
MUST_CHECK int fabric_cm_poll(struct fabric_cm *cm, struct fabric_cm_event *event);

/** Listens on an IPv4 or IPv6 address (port in it). -EADDRINUSE, -EADDRNOTAVAIL, -ENODEV. */
MUST_CHECK int fabric_listen(struct fabric_cm *cm, const struct sockaddr *addr, int backlog,
			     void *user, struct fabric_listener **listener);
void fabric_listener_destroy(struct fabric_listener *listener);
void *fabric_listener_user(const struct fabric_listener *listener);
/** The address in force (with the port that the system chose where 0 was asked for). */
int fabric_listener_addr(const struct fabric_listener *listener, struct sockaddr_storage *addr);

/** Starts towards `dst`; FABRIC_CM_RESOLVED or FABRIC_CM_FAILED follows within timeout_ms. */
MUST_CHECK int fabric_resolve(struct fabric_cm *cm, const struct sockaddr *dst,
			      unsigned int timeout_ms, void *user, struct fabric_conn **conn);
/** -ENOMEM: more than the device can; -ENOTCONN: the peer that asked has gone meanwhile. */
MUST_CHECK int fabric_qp_create(struct fabric_conn *conn, const struct fabric_qp_attr *attr);
MUST_CHECK int fabric_connect(struct fabric_conn *conn, const struct fabric_conn_param *param);
/** After fabric_qp_create() and the posting of receives. The connecting side must send first. */
MUST_CHECK int fabric_accept(struct fabric_conn *conn, const struct fabric_conn_param *param);
/** Refuses a CONNECT_REQUEST; the connection must still be destroyed. */
int fabric_reject(struct fabric_conn *conn, const void *private_data, uint8_t len);

/** Queue pair to error and a disconnect to the peer. Posted requests complete as flushed. */
int fabric_disconnect(struct fabric_conn *conn);

/**
 * Queue pair to error. Any thread, idempotent. When it returns, nothing that the peer sends on this
 * connection is placed any more and nothing of ours on it begins. What an adapter was placing at
 * that very moment may still land (soft-RoCE: the rest of one packet; the software fabric:
 * nothing); fabric_mr_dereg() waits for it, so that is the proof. Posted requests complete as
 * flushed, soon, in later polls.
 */
int fabric_conn_fence(struct fabric_conn *conn);

/**
 * Destroys queue pair and connection, in any state; a peer still connected sees a disconnect.
 * Windows bound on it are freed or invalidated first: soft-RoCE would wait 50 s for each.
 * Completions not yet polled are lost: none of this connection is returned once this was called,
 * but for receives of a shared queue, without a connection.
 * Blocks. Where it is not called on the CM's thread the caller sees to it that this thread is not
 * at work on an event of the connection.
 */
void fabric_conn_destroy(struct fabric_conn *conn);

void fabric_conn_set_user(struct fabric_conn *conn, void *user);
void *fabric_conn_user(const struct fabric_conn *conn);
struct fabric_device *fabric_conn_device(const struct fabric_conn *conn);
int fabric_conn_peer(const struct fabric_conn *conn, struct sockaddr_storage *addr);
int fabric_conn_local(const struct fabric_conn *conn, struct sockaddr_storage *addr);
/**
 * Of a connection that came in from an address of this machine: whether what is sent on it goes back to the
 * port that it came in by. Over InfiniBand and RoCE the address alone is only what the peer says of itself;
 * over TCP the answers went there.
 */
bool fabric_conn_returns(const struct fabric_conn *conn);
/**
 * Connecting: whether the peer has taken the transport's connection, so that only its answer to
 * fabric_connect() is missing; false where the fabric cannot tell.
 */
bool fabric_conn_taken(const struct fabric_conn *conn);
/**
 * What the peer did against the rules of the transport, or against its own word, which ended the
 * connection, as a clause ("it sent …"); NULL: nothing, or the fabric does not say. Any thread; a
 * constant.
 */
const char *fabric_conn_breach(const struct fabric_conn *conn);
/** READs that we may have in flight, as negotiated; valid once established. */
unsigned int fabric_conn_read_depth(const struct fabric_conn *conn);

/**
 * Two connected queue pairs on one device, without a CM: for the self-test. Each may be fenced,
 * posted to, destroyed like any other; `a` sends first. Blocks. -ENETDOWN, -EADDRNOTAVAIL: no port
 * of the device is up or has an address.
 */
MUST_CHECK int fabric_loopback_pair(struct fabric_device *dev, const struct fabric_qp_attr *a,
				    const struct fabric_qp_attr *b, struct fabric_conn **conn_a,
				    struct fabric_conn **conn_b);

#endif
