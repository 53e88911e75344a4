/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the iwarp room share. Who owns what:
 *
 *   iwarp.c   the fabric, its device, protection domains, the ops table
 *   keys.c    the table of keys, memory regions, windows; check, hold, kill
 *   mpa.c     the start-up frames of a connection, bytes in and out
 *   cm.c      connection events, the connecting side; cm_listen.c the accepting side
 *   cq.c      the engine: polls sockets, hands out completions
 *   qp.c      queue pairs: birth, posting; conn.c: a connection's states, flushing, fence, end
 *   tx.c      what is sent; rx.c what is received; term.c Terminate messages
 *
 * Threads. During the handshake a connection belongs to its CM channel and is touched under that
 * channel's lock. iw_cq_attach() hands it to its completion queue, whose thread alone moves bytes
 * from then on. Any thread may fence or destroy: both first raise a flag or clear the slot, then
 * wait until the CQ's hazard does not name the connection.
 *
 * Locks, outermost first: cm->lock, cq->lock, keys.lock; srq->lock and device->lock alone. No lock
 * is held while waiting for a hazard, and none is taken per work request.
 */
#ifndef LEASEHOLD_IWARP_INTERNAL_H
#define LEASEHOLD_IWARP_INTERNAL_H

#include "iwarp/iwarp.h"
#include "iwarp/iwarp_wire.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "fabric/fabric_ops.h"
#include "util/crc32c.h"
#include "util/list.h"

#define IW_MAX_CQS		  256		  /* completion queues of the device */
#define IW_MAX_CONNS		  4096		  /* connections of one completion queue */
#define IW_MAX_CQE		  (1u << 20)	  /* entries of one completion queue */
#define IW_MAX_WR		  4096		  /* work requests of one queue */
#define IW_MAX_INLINE		  256		  /* bytes of one inline send */
#define IW_MAX_READ_DEPTH	  128		  /* READs in flight, either direction */
#define IW_MAX_MESSAGE		  (1u << 30)	  /* bytes of one message */
#define IW_HANDSHAKE_NS		  (10 * NS_PER_S) /* from the TCP connection's start to RDMA mode */
#define IW_MAX_PENDING_HANDSHAKES 128 /* of one listener; the oldest half-open one makes room */

#define IW_HOLD_MAX FABRIC_MAX_SGE /* keys in use at one time by one completion queue */

struct iw_conn;
struct iw_cq;
struct iw_cm;

/* ---- keys (keys.c) -------------------------------------------------------------------------- */

/**
 * A key of the device. Slots live in chunks that are not freed while the device lives, so a stale
 * pointer to one is harmless. `stamp` is unique to one validity of the key and 0 while it has none;
 * the other fields change only while it is 0 and no hazard names the slot.
 */
struct iw_slot {
	_Atomic uint64_t stamp;
	uint32_t index;
	uint32_t key; /* index << 8 | key byte */
	uint8_t *base;
	uint64_t iova;
	uint64_t length;
	unsigned int access;
	const struct fabric_pd *pd;
	uint64_t conn_id;  /* windows: the one connection; 0: every one of the domain */
	struct iw_mr *mr;  /* windows: what it is bound to */
	struct list spare; /* while free */
};

/** What one completion queue's thread is touching just now; others wait until it does not. */
struct iw_hazard {
	alignas(64) _Atomic(struct iw_slot *) slot[IW_HOLD_MAX];
	_Atomic(struct iw_conn *) conn;
	atomic_bool taken;
};

struct iw_ref {
	struct iw_slot *slot;
	uint64_t stamp;
};

/** The keys that a CQ's thread holds: valid until iw_hold_drop(), whatever other threads do. */
struct iw_hold {
	struct iw_hazard *hazard;
	unsigned int n;
	struct iw_ref ref[IW_HOLD_MAX];
};

enum iw_key_result {
	IW_KEY_OK,
	IW_KEY_INVALID,
	IW_KEY_STRANGER, /* another protection domain, or another connection's window */
	IW_KEY_ACCESS,
	IW_KEY_BOUNDS,
	IW_KEY_WRAP,
	IW_KEY_FULL, /* too many keys held at once: drop some first */
};

#define IW_SLOTS_PER_CHUNK 1024u
#define IW_MAX_CHUNKS	   (1u << 14) /* 24 bits of index */

struct iw_keys {
	pthread_mutex_t lock; /* slots are taken and given back under it */
	_Atomic(struct iw_slot *) chunk[IW_MAX_CHUNKS];
	unsigned int nchunks;
	struct list spare; /* first in, first out: a key stays dead as long as possible */
	_Atomic uint64_t next_stamp;
};

struct iw_mr {
	struct fabric_mr base;
	struct iw_slot *slot;
	atomic_int binds; /* windows bound to it; -1: being deregistered */
};

struct iw_mw {
	struct fabric_mw base;
	struct iw_slot *slot;
};

struct iw_pd {
	struct fabric_pd base;
	atomic_uint objects;
};

struct iw_device {
	struct fabric_device base;
	struct iwarp_options options;
	struct iw_keys keys;
	pthread_mutex_t lock; /* for taking a hazard */
	atomic_uint hazards_used;
	struct iw_hazard hazard[IW_MAX_CQS];
	_Atomic uint64_t next_conn_id;
	atomic_uint objects; /* domains, completion queues: must be 0 at close */
};

int iw_keys_init(struct iw_keys *keys);
void iw_keys_fini(struct iw_keys *keys);

int iw_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova, unsigned int access,
	      struct fabric_mr **mr);
int iw_mr_dereg(struct fabric_mr *mr);
int iw_mw_alloc(struct fabric_pd *pd, struct fabric_mw **mw);
int iw_mw_free(struct fabric_mw *mw);

/**
 * The one place that checks a key: valid, owner, access, bounds, in this order. On IW_KEY_OK the
 * key is held and *ptr is where `addr` lies in this process. `access` 0: a local read.
 */
enum iw_key_result iw_key_check(struct iw_hold *hold, const struct iw_conn *conn, uint32_t key,
				uint64_t addr, uint64_t len, unsigned int access, void **ptr);
/** Holds again what was held before; false if one of them has died since (nothing is held then). */
bool iw_hold_again(struct iw_hold *hold, const struct iw_ref *ref, unsigned int n);
void iw_hold_drop(struct iw_hold *hold);

/** Ends a window's current key on behalf of `conn`; false if there is no such key there. */
bool iw_window_invalidate(struct iw_device *dev, struct iw_hold *hold, const struct iw_conn *conn,
			  uint32_t key);
/** The next key of a window, for a bind that will be carried out later. */
uint32_t iw_window_next_key(struct iw_mw *mw);
/** Carries out a bind; false if it is not allowed. The MR's bind was counted with iw_mr_get(). */
bool iw_window_bind(struct iw_device *dev, struct iw_mw *mw, struct iw_mr *mr,
		    const struct iw_conn *conn, uint32_t key, uint64_t addr, uint64_t length,
		    unsigned int access);
bool iw_mr_get(struct iw_mr *mr);
void iw_mr_put(struct iw_mr *mr);

#define IW_TOUCH_BYTES 4096
/**
 * The kernel could not reach some of these bytes, and does not say which: reads them with the hook, whose
 * owner learns it. Their keys are held.
 */
void iw_touch(const struct iovec *iov, size_t count);
/** Copies into or out of registered memory with the hook of iwarp_set_copy_hook(). */
int iw_copy(void *dst, const void *src, size_t len);

/* ---- start-up frames (mpa.c) ---------------------------------------------------------------- */

/** An MPA Request or Reply frame (RFC 5044 §7.1, RFC 6581 §9). */
struct iw_mpa {
	bool reply;
	bool markers;
	bool crc;
	bool reject;
	bool enhanced; /* revision 2 with depths */
	uint8_t revision;
	uint16_t ird, ord; /* enhanced only; IW_MPA_DEPTH_NONE: not negotiated */
	bool peer_to_peer; /* the initiator will send a ready-to-receive unit of one of these kinds */
	bool rtr_fpdu, rtr_write, rtr_read;
	uint16_t private_len;
	uint8_t private_data[IW_MPA_PRIVATE_MAX];
};

/** Writes the frame; returns its length. */
size_t iw_mpa_build(const struct iw_mpa *m, uint8_t frame[IW_MPA_FRAME_MAX]);
/**
 * Looks at the first `have` bytes of a frame. Returns the length of the whole frame once known
 * (IW_MPA_HEADER bytes suffice) or 0, or -EPROTO as soon as it cannot be one. When `have` is the
 * whole length `m` has been filled.
 */
int iw_mpa_parse(const uint8_t *frame, size_t have, bool reply, struct iw_mpa *m);

/* ---- completion queues (cq.c) --------------------------------------------------------------- */

struct iw_cqe {
	struct fabric_wc wc;
	uint32_t slot;
	uint32_t generation;
	bool shared; /* a receive of a shared queue: returned whatever becomes of its connection */
};

struct iw_cq_slot {
	_Atomic(struct iw_conn *) conn;
	_Atomic uint32_t generation;
	bool active; /* CQ's thread: in cq->active */
	bool hot;    /* CQ's thread: in cq->hot */
	bool queued; /* cq->lock: in cq->inbox */
};

struct iw_cq {
	struct fabric_cq base; /* fd: the epoll set of the sockets and of wake_fd */
	struct iw_device *dev;
	struct iw_hazard *hazard;
	struct iw_hold hold;

	/* Any thread. */
	pthread_mutex_t lock;
	atomic_bool attention; /* something for the CQ's thread: new connections, fenced ones */
	int wake_fd;
	struct iw_cq_slot *slots;
	unsigned int slots_used; /* high-water mark; cq->lock */
	uint32_t *inbox;	 /* slots of connections that were attached; cq->lock */
	unsigned int inbox_len;

	/* The CQ's thread. */
	uint32_t *active;
	unsigned int nactive;
	uint32_t *hot; /* the active ones that are looked at without asking epoll */
	unsigned int nhot;
	unsigned int turn;
	bool armed;
	struct iw_cqe *ring;
	uint32_t ring_mask, ring_head, ring_tail;
};

int iw_cq_create(struct fabric_device *dev, unsigned int entries, struct fabric_cq **cq);
void iw_cq_destroy(struct fabric_cq *cq);
int iw_cq_poll(struct fabric_cq *cq, struct fabric_wc *wc, unsigned int n);
int iw_cq_arm(struct fabric_cq *cq);

/** Room for one more completion? */
static inline bool iw_cq_room(const struct iw_cq *cq)
{
	return cq->ring_tail - cq->ring_head <= cq->ring_mask;
}

/** Appends a completion; there must be room. */
void iw_cq_push(struct iw_cq *cq, const struct iw_conn *conn, const struct fabric_wc *wc);

/** After a post: if the queue is armed, what the post brought about must wake it. */
void iw_cq_posted(struct iw_cq *cq, struct iw_conn *conn);

/** Any thread: gives a connection a place on its queue. -ENOMEM: IW_MAX_CONNS. */
int iw_cq_join(struct iw_cq *cq, struct iw_conn *conn);
/** Any thread: the CQ's thread takes over (socket ready, or flushing to do). Idempotent. */
void iw_cq_attach(struct iw_cq *cq, struct iw_conn *conn);
/** Any thread: takes it off; when this returns the CQ's thread does not touch it any more. */
void iw_cq_leave(struct iw_cq *cq, struct iw_conn *conn);
/** Any thread but within a hazard: until the CQ's thread is not at work on `conn`. */
void iw_cq_wait(struct iw_cq *cq, const struct iw_conn *conn);
/** Any thread: makes the queue's thread look. */
void iw_cq_kick(struct iw_cq *cq);

/* ---- queue pairs (qp.c) --------------------------------------------------------------------- */

enum iw_state {
	IW_IDLE,	/* new; no socket, or one that waits for accept or reject */
	IW_HANDSHAKE,	/* TCP or MPA under way; belongs to the CM channel */
	IW_ESTABLISHED, /* RDMA mode; belongs to the completion queue */
	IW_ERROR,	/* nothing is sent or received any more; requests are flushed */
};

enum iw_swr_state {
	IW_SWR_POSTED,
	IW_SWR_READING, /* a Read Request was built; the response is outstanding */
	IW_SWR_DONE,
};

/** A send work request in its ring. Behind it lie its entries, or its inline bytes. */
struct iw_swr {
	uint64_t wr_id;
	uint8_t op; /* enum fabric_op */
	uint8_t state;
	uint16_t flags;
	uint16_t num_sge;
	uint16_t inline_len;
	uint32_t length;
	uint32_t rkey;
	uint64_t remote_addr;
	struct { /* BIND_MW */
		struct iw_mw *mw;
		struct iw_mr *mr;
		uint64_t addr, length;
		unsigned int access;
		uint32_t key;
	} bind;
	struct fabric_sge sge[]; /* or bytes */
};

struct iw_rwr {
	uint64_t wr_id;
	uint32_t num_sge;
	uint32_t length;
	struct fabric_sge sge[];
};

/** A ring of work requests of one size; the indices run freely. */
struct iw_ring {
	uint8_t *mem;
	size_t stride;
	uint32_t size; /* a power of two ≥ limit */
	uint32_t limit;
	uint32_t head, tail;
};

static inline void *iw_ring_at(const struct iw_ring *ring, uint32_t index)
{
	return ring->mem + (size_t)(index & (ring->size - 1)) * ring->stride;
}

/** One of our READs in flight. The sink key is ours alone: random, good for this READ, no table. */
struct iw_read {
	uint32_t swr;
	uint32_t sink_stag;
	uint32_t received;
};

/** One of the peer's READs that we have to answer. */
struct iw_reply {
	uint32_t sink_stag;
	uint32_t source_stag;
	uint64_t sink_to;
	uint64_t source_to;
	uint32_t length;
	uint32_t built;
};

struct iw_srq {
	struct fabric_srq base;
	struct iw_pd *pd;
	pthread_mutex_t lock;
	struct iw_ring ring;
	unsigned int max_sge;
};

/** Why a connection goes to error, and what to tell the peer. */
struct iw_fault {
	enum fabric_status send_status; /* of the oldest unfinished send; FLUSHED: no news */
	enum fabric_status recv_status; /* of the receive that was being filled */
	bool has_swr;			/* send_status is for this request instead: */
	uint32_t swr;
	bool terminate; /* send a Terminate with the three below */
	bool context;	/* that quotes the header that is being received */
	uint8_t layer, etype, ecode;
};

#define IW_TX_UNITS	48
#define IW_TX_IOV	(2 * IW_TX_UNITS + 2 * FABRIC_MAX_SGE)
#define IW_TX_HEADERS	((size_t)IW_TX_UNITS * 64)
#define IW_TX_CRC_BYTES KIB(160) /* two units of the largest size with headers */
#define IW_TX_BATCH	KIB(512)
#define IW_RX_AHEAD	(8 * 1024 + 256) /* a header and what fits of small units */
#define IW_RX_CRC_BYTES KIB(160)	 /* at least one unit of the largest size */

enum iw_unit_kind {
	IW_UNIT_SEND_QUEUE,
	IW_UNIT_REPLY,
	IW_UNIT_TERMINATE,
};

struct iw_unit {
	size_t end; /* offset in the batch behind it */
	uint8_t kind;
	bool last; /* of its message */
};

/** The sending side. A batch of units is built, then pushed until the socket has taken it all. */
struct iw_tx {
	uint8_t *buf; /* headers and trailers; with CRC the payload too */
	size_t buf_len, buf_used;
	struct iovec iov[IW_TX_IOV];
	unsigned int iov_n, iov_at;
	struct iw_unit unit[IW_TX_UNITS];
	unsigned int units, unit_at;
	size_t total, sent;
	struct iw_ref ref[IW_HOLD_MAX]; /* keys that the batch points into */
	unsigned int refs;

	uint32_t next;	     /* send queue: the request to be built next */
	uint32_t sent_swr;   /* send queue: the request whose bytes are leaving */
	uint32_t built;	     /* bytes of `next` that are in units */
	unsigned int sge_at; /* where these end */
	uint32_t sge_off;
	bool reply_turn;
	size_t reply_run; /* bytes of responses since the last request */
	bool hold_back;	  /* accepting side: until the first unit has come (RFC 5044 §7.1.2) */
	bool blocked;	  /* the socket takes no more now */
	bool broken;	  /* it takes no more ever; what the peer said last is still to be read */
	int broken_errno;
	uint32_t msn_send, msn_read;
	uint64_t stag_seed;
};

enum iw_rx_state {
	IW_RX_HEADER,
	IW_RX_PAYLOAD,
	IW_RX_TRAILER,
};

struct iw_rx {
	uint8_t *buf;
	uint32_t size, head, tail;
	enum iw_rx_state state;
	bool drained; /* the socket gave less than was asked for: do not ask again this turn */
	/* Stopped with bytes at hand: the turn's share is used up, CQ full, shared queue empty. */
	bool stalled;
	const struct iw_opcode *op;
	union iw_header header; /* of the current unit, as it came */
	uint32_t header_len;
	uint32_t payload, placed; /* of the current unit */
	uint32_t pad;
	bool last;

	uint32_t msn_send, msn_read; /* expected next */
	bool receiving;		     /* a message is being put into a receive */
	uint32_t received;
	struct iw_rwr *rwr; /* head of the receive ring, or srq_copy */
	bool has_copy;	    /* a receive of the shared queue is ours, and not completed */
	struct iw_rwr *srq_copy;
	uint8_t terminate[IW_TERMINATE_MAX];
};

struct iw_conn {
	struct fabric_conn base;
	struct iw_device *dev;
	uint64_t id; /* never used again */
	atomic_int state;
	atomic_bool fenced;	  /* any thread */
	atomic_bool disconnected; /* DISCONNECTED is reported once */
	int fd;			  /* written under cm->lock, constant once established */
	bool crc;
	bool own;	 /* our software at the other end as well */
	uint32_t mulpdu; /* largest ULPDU that we send */

	/* Set by qp_create. */
	struct iw_pd *pd;
	struct iw_cq *cq;
	struct iw_srq *srq;
	uint32_t cq_slot, cq_generation; /* its place there, for the time it has it */
	unsigned int max_send_sge, max_recv_sge, max_inline;
	struct iw_ring sq, rq;

	/* The CQ's thread, or before attachment the CM's. */
	struct iw_tx tx;
	struct iw_rx rx;
	struct iw_read *reads; /* ord of them, a ring */
	uint32_t reads_head, reads_tail, ord;
	struct iw_reply *replies; /* ird of them, a ring */
	uint32_t replies_head, replies_tail, ird;
	struct iw_fault fault;
	const char *_Atomic breach; /* what the peer broke, for whoever asks; any thread reads */
	bool flushed;		    /* every request posted has its completion on the queue */
	bool on_epoll;
	uint32_t epoll_events;
	unsigned int idle_turns;

	/* The CM channel, under its lock. */
	struct iw_cm *cm; /* NULL: of a loopback pair */
	struct iw_cm_conn *cmc;
};

struct iw_conn *iw_conn_new(struct iw_device *dev);
/** Frees the memory and closes the socket; it must be off its queue and its channel. */
void iw_conn_free(struct iw_conn *conn);
/** What was agreed on. */
struct iw_terms {
	bool crc;
	bool own; /* our software at the other end as well */
	bool accepting;
	unsigned int ird, ord;
};

/** Buffers for RDMA mode; before iw_cq_attach(). */
MUST_CHECK int iw_conn_prepare(struct iw_conn *conn, const struct iw_terms *terms);
/** Takes the step if the state is still `from`; whether it was taken. Any thread. */
bool iw_conn_move(struct iw_conn *conn, enum iw_state from, enum iw_state to);
/** Whatever the state was, it is IW_ERROR now. Any thread. */
void iw_conn_set_error(struct iw_conn *conn);

static inline enum iw_state iw_conn_state(const struct iw_conn *conn)
{
	return (enum iw_state)atomic_load_explicit(&conn->state, memory_order_acquire);
}

int iw_qp_create(struct fabric_conn *conn, const struct fabric_qp_attr *attr);
int iw_post_send(struct fabric_conn *conn, struct fabric_send_wr *wr, struct fabric_send_wr **bad);
int iw_post_recv(struct fabric_conn *conn, struct fabric_recv_wr *wr, struct fabric_recv_wr **bad);
int iw_srq_create(struct fabric_pd *pd, unsigned int max_wr, unsigned int max_sge,
		  struct fabric_srq **srq);
void iw_srq_destroy(struct fabric_srq *srq);
int iw_post_srq_recv(struct fabric_srq *srq, struct fabric_recv_wr *wr,
		     struct fabric_recv_wr **bad);
int iw_conn_fence(struct fabric_conn *conn);
int iw_disconnect(struct fabric_conn *conn);
void iw_conn_destroy(struct fabric_conn *conn);
int iw_loopback_pair(struct fabric_device *dev, const struct fabric_qp_attr *a,
		     const struct fabric_qp_attr *b, struct fabric_conn **conn_a,
		     struct fabric_conn **conn_b);

/* The CQ's thread only, below. */

/** Moves what can be moved; returns whether anything was. The hazard names the connection. */
bool iw_conn_service(struct iw_conn *conn);
/** Established → error: Terminate if asked for, the socket shut, the CM told. */
void iw_conn_fail(struct iw_conn *conn, const struct iw_fault *fault);
/** Takes finished requests off the head of the send queue, in order, as the queue has room. */
void iw_sq_reap(struct iw_conn *conn);
/** Puts one successful receive completion on the queue. */
void iw_recv_done(struct iw_conn *conn, uint32_t bytes, bool invalidated, uint32_t key);
/** False: the connection's shared queue is empty. Else iw_recv_begin() has what it needs of it. */
bool iw_recv_take(struct iw_conn *conn);
/** Of a connection that ends: what it took and has not completed is posted again. */
void iw_recv_return(struct iw_conn *conn);
/** The next receive for a message, or NULL. */
struct iw_rwr *iw_recv_begin(struct iw_conn *conn);
/** Has something to do at the next turn, whether or not bytes come. */
bool iw_conn_pending(const struct iw_conn *conn);

/* ---- sending, receiving (tx.c, rx.c, term.c) ------------------------------------------------- */

/** Builds and pushes until nothing is left or the socket is full. Returns whether bytes moved. */
bool iw_tx_run(struct iw_conn *conn);
/** A last attempt to finish the unit under way and to send a Terminate behind it. */
void iw_tx_terminate(struct iw_conn *conn, const struct iw_fault *fault);
bool iw_tx_pending(const struct iw_conn *conn);

bool iw_rx_run(struct iw_conn *conn);

/** The Terminate code for a key refused to an RDMA Write (`ddp`) or to a Read Request. */
struct iw_fault iw_fault_key(enum iw_key_result result, bool ddp);
struct iw_fault iw_fault_ddp(uint8_t etype, uint8_t ecode);
struct iw_fault iw_fault_rdmap(uint8_t etype, uint8_t ecode);
/** Nothing to tell the peer: the wire is gone, or it told us. */
struct iw_fault iw_fault_silent(enum fabric_status send_status);
/** What the peer has done, if a fault is its doing, as a clause; or NULL. */
const char *iw_fault_breach(const struct iw_fault *fault);
/** Builds a whole Terminate unit; returns its length. */
size_t iw_term_build(const struct iw_conn *conn, const struct iw_fault *fault,
		     uint8_t unit[IW_TERMINATE_UNIT_MAX]);
/** What a Terminate of the peer means for the oldest request that it may be about. */
enum fabric_status iw_term_status(const uint8_t *payload, size_t len);

/* ---- connection management (cm.c, cm_listen.c) ----------------------------------------------- */

int iw_cm_open(struct fabric *f, struct fabric_cm **cm);
void iw_cm_close(struct fabric_cm *cm);
int iw_cm_poll(struct fabric_cm *cm, struct fabric_cm_event *event);
int iw_listen(struct fabric_cm *cm, const struct sockaddr *addr, int backlog,
	      struct fabric_listener **listener);
void iw_listener_destroy(struct fabric_listener *listener);
int iw_listener_addr(const struct fabric_listener *listener, struct sockaddr_storage *addr);
int iw_resolve(struct fabric_cm *cm, const struct sockaddr *dst, unsigned int timeout_ms,
	       void *user, struct fabric_conn **conn);
int iw_connect(struct fabric_conn *conn, const struct fabric_conn_param *param);
int iw_accept(struct fabric_conn *conn, const struct fabric_conn_param *param);
int iw_reject(struct fabric_conn *conn, const void *private_data, uint8_t len);
bool iw_conn_returns(const struct fabric_conn *conn);
bool iw_conn_taken(const struct fabric_conn *conn);
const char *iw_conn_breach(const struct fabric_conn *conn);
int iw_conn_peer(const struct fabric_conn *conn, struct sockaddr_storage *addr);
int iw_conn_local(const struct fabric_conn *conn, struct sockaddr_storage *addr);

/** Any thread: shuts the socket, if there is one; the number is not reused meanwhile. */
void iw_cm_shut(struct iw_conn *conn, int how);
/** Any thread: DISCONNECTED, once, if the connection was established. */
void iw_cm_disconnected(struct iw_conn *conn);
/** Any thread: forgets the connection and its events. */
void iw_cm_forget(struct iw_conn *conn);

/** Socket options that every connection has; loopback or not; the size of units. */
void iw_socket_tune(int fd);
bool iw_socket_is_loopback(int fd);
uint32_t iw_socket_mulpdu(int fd, bool large);

static inline struct iw_conn *iw_conn_of(const struct fabric_conn *conn)
{
	return container_of(conn, struct iw_conn, base);
}

static inline struct iw_device *iw_device_of(const struct fabric_device *dev)
{
	return container_of(dev, struct iw_device, base);
}

static inline struct iw_cq *iw_cq_of(const struct fabric_cq *cq)
{
	return container_of(cq, struct iw_cq, base);
}

extern const struct fabric_ops iw_ops;

#endif
