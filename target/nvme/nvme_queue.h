/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NVMe queue (admin or I/O) and its requests. A capsule is a receive buffer; a request is a
 * command on its way. There are more requests than capsules, since the receive is posted again
 * before the response is sent, and the host may answer before we hear that it was sent.
 *
 * Reactor's thread, but where said. The life of a request:
 *
 *   FREE -> PARSED -> [WAIT_FUSED] -> [WAIT_LOCK] -> [WAIT_BUFFER] -> [WAIT_FETCH -> FETCHING]
 *   -> EXECUTING -> [WAIT_SEND] -> SENDING -> FREE
 */
#ifndef LEASEHOLD_NVME_QUEUE_H
#define LEASEHOLD_NVME_QUEUE_H

#include "nvme/bounce.h"
#include "nvme/internal.h"
#include "nvme/reservation.h"

/** A change of a namespace's reservations, from its host to control and back (resv.h). */
struct resv_op {
	struct list link; /* control's */
	struct resv_event event;
	/** Control, once; may come before resv_change() returns. */
	void (*done)(struct resv_op *op, uint16_t status, uint16_t fault);
};

enum request_state {
	REQUEST_FREE,
	REQUEST_PARSED,	     /* the command is checked; on the reactor */
	REQUEST_WAIT_FUSED,  /* for the other half of a pair */
	REQUEST_WAIT_LOCK,   /* for an overlapping command to end */
	REQUEST_WAIT_BUFFER, /* for the bounce pool */
	REQUEST_WAIT_FETCH,  /* for room in the send queue, or for a READ of the depth */
	REQUEST_FETCHING,    /* RDMA READs from the host are in flight */
	REQUEST_EXECUTING,   /* elsewhere: a file, a worker, control */
	REQUEST_HELD,	     /* an Asynchronous Event Request */
	REQUEST_WAIT_SEND,   /* for room in the send queue */
	REQUEST_SENDING,     /* RDMA WRITEs and the response are in flight */
};

struct capsule {
	struct reactor_wr wr;
	struct nvme_queue *queue;
	struct receive_pool *pool; /* whose receive it is; NULL: the queue's */
	uint8_t *data;
	uint32_t bytes;	  /* received */
	struct list link; /* received, and no request is free */
};

/** How far a transfer has come: on either side, which piece and how much of it. */
struct transfer_place {
	unsigned int segment, keyed;
	uint32_t segment_bytes, keyed_bytes;
};

struct request {
	struct nvme_queue *queue;
	enum request_state state;
	struct list link;	   /* free or waiting */
	struct reactor_wr last_wr; /* of a chain: signaled */
	struct reactor_wr part_wr; /* of a chain before its last: completes on errors only */

	struct capsule *capsule; /* until the response; a shared one only if data came in it */
	bool in_hand;		 /* counted in the queue's */
	struct nvme_command sqe;
	struct command command;
	struct nvme_completion *cqe; /* registered */
	uint16_t status;
	uint32_t dw0, dw1;
	uint16_t fault; /* 1 + where the failing field lies, for the error log; 0: unknown */

	/* What moves between host and here: in the file, or in a bounce buffer. */
	struct fabric_sge segments[NVME_MAX_SEGMENTS];
	unsigned int nr_segments;
	struct transfer_place fetched_to; /* what has been asked for of them */
	unsigned int chain;		  /* entries of the send queue in use */
	bool send_data;			  /* RDMA WRITE the segments, then respond */
	void (*fetched)(struct request *r);
	void (*buffered)(struct request *r);
	struct bounce bounce;

	/* The namespace it works on. */
	struct ns_use *use;
	unsigned int slot;
	bool keyed;
	struct list keyed_link; /* of ns_use.keyed_requests */
	bool counted;		/* among those that have found the namespace */
	struct command_range range;

	/* Its place among those that overlap it (io.c). */
	struct interlock_node lock;
	bool locked;
	struct export_range changes;	   /* of a command with one range … */
	struct holding_conflict conflict;  /* … what others are granted of that */
	bool way_clear;			   /* nobody is, nor will be while it has its place */
	bool punched;			   /* a hole instead of zeros was tried, in vain */
	bool compared;			   /* the first half of a pair: it found what it should */
	struct request *pair;		   /* the other half, once both are here */
	struct resv_abort_part *preempted; /* somebody waits for its end */

	/* Elsewhere. */
	struct reactor_read pread;
	struct work work;
	struct loop_msg msg;
	void (*there)(struct request *r);
	void (*back)(struct request *r);
	unsigned int tour; /* of the reactors: the next */
	int err;
	union {
		struct {
			struct connect connect;
			struct controller *controller;
		} connect;
		struct {
			struct direct_want want;
		} direct;
		struct log_part log;
		uint32_t kato_ms;
		struct {
			uint64_t done;
		} steps;
		struct {
			struct holding_punch punch;
			struct export_range range;
			unsigned int nr_wire;
			/* Of Dataset Management: what it has of the order, until its end. */
			unsigned int nr_parts;
			struct interlock_part parts[NVME_DSM_MAX_PARTS];
			struct export_range changes[NVME_DSM_MAX_PARTS]; /* the same */
		} punch;
		struct {
			struct export_range sources[NVME_COPY_MAX_RANGES];
			unsigned int nr;
			unsigned int done; /* copied whole */
			bool unread;	   /* it was the source that failed */
		} copy;
		uint32_t queues; /* as in feature 07h */
		struct {
			struct resv_op op;
			unsigned int
				slot; /* of a feature for all namespaces: where it has come to */
			bool found;   /* of a feature for one: it is there */
			uint16_t fault;
		} resv;
		struct {
			uint16_t sqid, cid;
			struct nvme_queue *queue; /* sqid's */
		} abort;
	} u;
};

/** When one kind of transfer was last seen to move (stall.c). */
struct stall_sight {
	uint32_t done;
	uint64_t since_ns; /* 0: nothing was under way */
};

/** How far a queue has come towards a controller. */
enum queue_dawn {
	QUEUE_DAWN,	    /* nothing has come */
	QUEUE_DAWN_COMMAND, /* a command that is no Connect */
	QUEUE_DAWN_CONNECT,
	QUEUE_DAWN_REFUSED, /* Connect was answered with an error */
};

struct nvme_queue {
	struct queue q;
	uint16_t cm_qid;
	struct nvme_listener *listener; /* it came in by */
	unsigned int nr_requests;
	unsigned int nr_used; /* ever; the others have cost no memory yet; reactor */
	struct capsule *capsules;
	struct request *requests; /* a mapping of its own */
	struct nvme_completion *cqes;
	uint8_t *memory;
	size_t memory_bytes;
	struct fabric_mr *mr;
	struct capsule_limits limits;

	/* control */
	struct controller *owner; /* attached by Connect */
	struct list owner_link;
	bool gone; /* disconnected: its id is free, the connection not closed yet */

	struct figures figures; /* the reactor writes, control reads */

	/* Reactor writes, control reads (refusal.c). */
	_Atomic enum queue_dawn dawn;
	_Atomic uint16_t refused;    /* the status that Connect was answered with … */
	_Atomic uint32_t refused_at; /* … and which parameter */

	/* reactor */
	struct controller *controller; /* NULL before Connect */
	char bad_capsule[80];	       /* why it failed, if for that */
	bool connecting;
	uint16_t qid;
	uint16_t entries;
	uint16_t sqhd;
	bool sq_flow_off;
	bool disconnected;	    /* Disconnect came: no command is taken any more */
	bool silent;		    /* it is answered, and nothing after it */
	struct request *disconnect; /* waits until it is the last */
	struct list free_requests;
	struct list received;	     /* capsules that wait for a request */
	unsigned int in_hand;	     /* commands that the host has no receive back for */
	struct request *fused_first; /* waits for the next command */
	bool fused_broken;	     /* the last command was a first half, and refused */
	struct list sends;	     /* requests that wait for room in the send queue */
	struct list fetches;	     /* requests that wait for READs */
	unsigned int send_free;
	unsigned int reads_used; /* of the READ depth */
	struct bounce_line lines[BOUNCE_KINDS];
	struct list reactor_link;	 /* of nvme_reactor.queues */
	uint32_t reads_done, sends_done; /* chains, so far */
	struct stall_sight reads_sight, sends_sight;
	struct loop_msg stall_msg; /* to control, once */
};

/** Control. Returns a reject code. */
uint16_t nvme_queue_new(struct nvme_target *t, struct cm_channel *channel,
			const struct fabric_cm_event *event, const struct cm_request *request);
static inline struct nvme_queue *nvme_queue_of(struct queue *q)
{
	return container_of(q, struct nvme_queue, q);
}
bool queue_is_nvme(const struct queue *q);
static inline void nvme_queue_dawns(struct nvme_queue *nq, enum queue_dawn dawn)
{
	atomic_store_explicit(&nq->dawn, dawn, memory_order_relaxed);
}

/** Posts the receive again. */
void capsule_repost(struct capsule *capsule);
/** The host may send another command in this one's place. Does nothing the second time. */
void request_put_capsule(struct request *r);

/* ---- requests (request.c, transfer.c) --------------------------------------------------------- */

static inline const struct nvme_command *request_sqe(const struct request *r)
{
	return &r->sqe;
}

static inline struct nvme_reactor *request_reactor(const struct request *r)
{
	return r->queue->q.nr;
}

void request_set_state(struct request *r, enum request_state state);

/** A capsule came in. */
void request_start(struct capsule *capsule);

/** The end of every command: `status` and what r->send_data says go to the host. */
void request_complete(struct request *r, uint16_t status);

/** The same with the place of the field that is wrong: byte and bit of the command. */
static inline void request_refuse(struct request *r, uint16_t status, unsigned int byte,
				  unsigned int bit)
{
	r->fault = (uint16_t)((bit << 8 | byte) + 1);
	request_complete(r, status | NVME_SC_DNR);
}

/** The same with what a parser said. */
static inline void request_reject(struct request *r, uint32_t refusal)
{
	r->fault = (uint16_t)(refusal >> 16);
	request_complete(r, refusal_status(refusal));
}

/** Just before the response: what the logs say of the command. */
static inline void request_account(struct request *r)
{
	struct figures *f = &r->queue->figures;
	/* Of which there is none where the command named none, or one that is not there. */
	struct ns_figures *ns = r->counted ? &r->queue->q.nr->slots[r->slot].figures : NULL;

	if (r->status != NVME_SC_SUCCESS) {
		if (ns)
			figures_count(&ns->errors, 1);
		health_error(r);
		return;
	}
	if (r->queue->qid == 0 || !ns)
		return;
	switch (r->command.opcode) {
	case NVME_IO_READ:
	case NVME_IO_COMPARE:
		figures_count(&f->reads, 1);
		figures_count(&f->read_bytes, r->command.length);
		figures_count(&ns->reads, 1);
		figures_count(&ns->read_bytes, r->command.length);
		break;
	case NVME_IO_VERIFY:
		/* It reads the medium, but is no read command (NVM command set 1.0 §4.1.4.2). */
		figures_count(&f->read_bytes, r->range.length);
		figures_count(&ns->read_bytes, r->range.length);
		break;
	case NVME_IO_WRITE:
		figures_count(&f->writes, 1);
		figures_count(&f->written_bytes, r->command.length);
		figures_count(&ns->writes, 1);
		figures_count(&ns->written_bytes, r->command.length);
		break;
	default:
		break;
	}
}

/** A first half that is done: it only keeps the pair's place in the order for its second. */
static inline bool request_holds_for_pair(const struct request *r)
{
	return r->pair && r->compared && r->state == REQUEST_WAIT_FUSED;
}

/** Gives up everything the request holds, without a word to the host; with the place of a pair. */
void request_release(struct request *r);

/** Gets a bounce buffer of `length` bytes, which becomes the only segment, then calls `buffered`. */
void request_buffer(struct request *r, uint32_t length, void (*buffered)(struct request *r));

/** Gives the buffer back before the end. */
void request_drop_buffer(struct request *r);

/** RDMA READs the command's keyed data into the segments, then calls `fetched`. */
void request_fetch(struct request *r, void (*fetched)(struct request *r));

/**
 * The data from the host, wherever it is: calls `ready` with request_data() in place. For small
 * structures (Connect data).
 */
void request_take_data(struct request *r, void (*ready)(struct request *r));
const void *request_data(const struct request *r);

/** Runs `there` on a worker, then `back` on the reactor. */
void request_on_worker(struct request *r, void (*there)(struct request *r),
		       void (*back)(struct request *r));
/** The same of what may take long, as a sync does: never all workers are at it (POOL_BULK). */
void request_on_worker_long(struct request *r, void (*there)(struct request *r),
			    void (*back)(struct request *r));
/** Runs `there` on the control loop; it sees to it that request_from_control() is called once. */
void request_on_control(struct request *r, void (*there)(struct request *r),
			void (*back)(struct request *r));
void request_from_control(struct request *r);
/** The same by way of every reactor: each has seen what control had posted to it before. */
void request_by_all_reactors(struct request *r);

/**
 * Uses and leaves the namespace; with keys from get_keyed() to put_keyed(). Its slot stays what it is
 * until the request ends.
 */
void request_get_ns(struct request *r, struct ns_use *use, unsigned int slot);
void request_put_ns(struct request *r);
void request_get_keyed(struct request *r);
void request_put_keyed(struct request *r);

static inline struct interlock *request_interlock(const struct request *r)
{
	return r->queue->q.target->homes[r->slot].interlock;
}

/** Gives up waiting for its place. False: it has it, and a message is on its way. */
MUST_CHECK bool request_cancel_lock(struct request *r);

/** Takes it out of what it only waits for, to be completed. False: it moves, or is elsewhere. */
MUST_CHECK bool request_stop_waiting(struct request *r);
/** It is over, and somebody waits for that (resv_abort.c). */
void request_preempted_gone(struct resv_abort_part *part);

/** Transfers (transfer.c). */
void transfer_send(struct request *r);	/* state SENDING, or waits */
void transfer_fetch(struct request *r); /* state FETCHING, or waits */
void transfer_kick(struct nvme_queue *q);

/* ---- hosts that stop answering (stall.c) ------------------------------------------------------- */

void stall_init(struct nvme_reactor *nr);
void stall_begin(struct nvme_reactor *nr);
/** Reactor: the queue is looked at, until stall_forget(). */
void stall_watch(struct nvme_queue *nq);
void stall_forget(struct nvme_queue *nq);

/** After something was posted that the host has to answer. */
static inline void stall_expect(struct nvme_queue *nq)
{
	if (!loop_timer_armed(&nq->q.nr->stall_timer))
		stall_begin(nq->q.nr);
}

/* ---- command sets ----------------------------------------------------------------------------- */

void fabrics_execute(struct request *r); /* connect.c */
/** A request has ended, and nq->disconnect waits. */
void disconnect_check(struct nvme_queue *nq);
void admin_execute(struct request *r);
void io_execute(struct request *r);

/* fspath.c */
void fspath_read(struct request *r);
void fspath_write(struct request *r);

#endif
