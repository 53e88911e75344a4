/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connection management, shared by cm.c, cm_connect.c and cm_listen.c. Everything here is touched
 * under cm->lock, but what is constant. Handshakes are few and small: one lock per channel will do.
 */
#ifndef LEASEHOLD_IWARP_CM_INTERNAL_H
#define LEASEHOLD_IWARP_CM_INTERNAL_H

#include "iwarp_internal.h"

/** What an epoll entry of the channel is about; first in the struct it points to. */
enum cm_kind {
	CM_KIND_WAKE,
	CM_KIND_TIMER,
	CM_KIND_LISTENER,
	CM_KIND_CONN,
};

struct cm_source {
	enum cm_kind kind;
};

struct iw_cm {
	struct fabric_cm base; /* fd: the epoll set */
	struct cm_source wake, timer;
	struct iw_device *dev;
	pthread_mutex_t lock;
	int wake_fd; /* readable while `events` is not empty */
	int timer_fd;
	struct list events;
	struct list handshakes; /* oldest first, as all get the same time */
};

struct cm_event {
	struct list link;
	struct fabric_cm_event event;
};

struct iw_listener {
	struct fabric_listener base;
	struct cm_source source;
	struct iw_cm *cm;
	int fd;
	struct list conns; /* not yet accepted or rejected; shown out, and not told of */
	unsigned int nconns;
};

enum cm_step {
	CM_NEW,		  /* resolved; nothing begun */
	CM_TCP,		  /* connecting: TCP */
	CM_AWAIT_REPLY,	  /* connecting: our MPA Request is out */
	CM_AWAIT_REQUEST, /* accepting: half open, the owner does not know of it */
	CM_REQUESTED,	  /* accepting: the owner has to accept or to reject */
	CM_SHOWN_OUT,	  /* accepting: closed; freed when the owner is told */
	CM_OVER,	  /* established, refused, failed */
};

/** The connection management's part of a connection. */
struct iw_cm_conn {
	struct cm_source source;
	struct iw_conn *conn;
	enum cm_step step;
	bool watched;	  /* in the channel's epoll set */
	bool established; /* was reported, so DISCONNECTED may be */
	bool plain;	  /* connecting: revision 1 only */
	struct iw_listener *listener;
	struct list of_listener;
	struct list handshake;
	uint64_t deadline_ns;
	struct sockaddr_storage address; /* of the peer */
	struct iw_mpa mine;
	struct iw_mpa peer;
	uint8_t frame[IW_MPA_FRAME_MAX];
	size_t have;
	struct cm_event main, disconnected;
};

struct iw_conn *cm_conn_new(struct iw_cm *cm);
/** Off the lists, the epoll set and the queue of events. */
void cm_detach(struct iw_conn *conn);

int cm_watch(struct iw_cm *cm, struct iw_cm_conn *cmc, uint32_t events);
void cm_unwatch(struct iw_cm *cm, struct iw_cm_conn *cmc);
void cm_handshake_begin(struct iw_cm *cm, struct iw_cm_conn *cmc);
void cm_handshake_end(struct iw_cm *cm, struct iw_cm_conn *cmc);

/** Queues the connection's main event; there is only one at a time. */
void cm_report(struct iw_cm *cm, struct iw_cm_conn *cmc, enum fabric_cm_type type, int error);
/** Into RDMA mode: buffers, ESTABLISHED with the peer's private data, over to the queue. */
int cm_establish(struct iw_cm *cm, struct iw_cm_conn *cmc, enum iw_state from, unsigned int ird,
		 unsigned int ord);

/**
 * Receives what is there of the frame, not a byte beyond it. 1: complete, in cmc->peer; 0: not yet;
 * -EPROTO, -ECONNRESET (also the end of the stream), or another -errno.
 */
int cm_receive_frame(struct iw_cm_conn *cmc, bool reply);
/** Sends cmc->mine. */
int cm_send_frame(struct iw_cm_conn *cmc);

/** Our wish about CRC, for the socket and the option. */
bool cm_want_crc(const struct iw_conn *conn);
void cm_set_private(struct iw_mpa *m, const void *data, uint8_t len);

void cm_connect_event(struct iw_cm *cm, struct iw_cm_conn *cmc);
void cm_connect_failed(struct iw_cm *cm, struct iw_cm_conn *cmc, int error);
void cm_listen_event(struct iw_cm *cm, struct iw_listener *listener);
void cm_request_event(struct iw_cm *cm, struct iw_cm_conn *cmc);
/** One that has sent no whole request, and will get no more time. */
void cm_request_late(struct iw_cm *cm, struct iw_cm_conn *cmc);
/** Frees a connection that its owner never heard of. */
void cm_drop(struct iw_cm *cm, struct iw_cm_conn *cmc);

#endif
