/* SPDX-License-Identifier: BSD-3-Clause */
/* What fabric.c and wire.c share: the simulated fabric's objects. */
#ifndef LEASEHOLD_SIM_FABRIC_H
#define LEASEHOLD_SIM_FABRIC_H

#include "fabric/fabric_ops.h"
#include "sim.h"

#define OF(kind, ptr) container_of(ptr, struct sim_##kind, base)

struct sim_fabric {
	struct fabric base;
	struct fabric_device device;
	unsigned int objects;
	struct list mrs;   /* over file memory */
	struct list conns; /* all */
	struct list listeners;
	uint64_t next_id;
};
extern struct sim_fabric sf;

struct sim_pd {
	struct fabric_pd base;
	unsigned int objects;
	struct client *client; /* of the direct queue whose domain it is */
};

struct sim_mr {
	struct fabric_mr base;
	struct list link;
	unsigned int access;
	uint64_t born_ns;
	bool file;
	uint32_t *blocks; /* a window's: of what it is bound to */
	/* Of a window that is bound: to what, and on which queue pair; of others, how many there are. */
	struct sim_mr *slab;
	const struct sim_conn *conn;
	unsigned int windows;
	struct list landing; /* struct landing: bytes on the way through the adapter */
};

struct sim_mw {
	struct fabric_mw base;
	struct sim_mr *bound; /* or NULL */
};

struct sim_cq {
	struct fabric_cq base;
	struct fabric_wc *wc; /* ring */
	unsigned int first, count, room;
	struct co *owner;
};

struct sim_cm {
	struct fabric_cm base;
	struct list events; /* struct sim_cm_event */
	unsigned int objects;
	struct co *owner;
};

struct sim_listener {
	struct fabric_listener base;
	struct list link;
	struct sim_cm *cm;
};

struct sim_recv {
	struct list link;
	uint64_t wr_id;
	unsigned int num_sge;
	struct fabric_sge sge[FABRIC_MAX_SGE];
};

struct sim_send {
	struct list link;
	uint64_t seq, wr_id;
	enum fabric_op op;
	unsigned int flags, num_sge;
	struct fabric_sge sge[FABRIC_MAX_SGE];
	uint64_t remote_addr;
	uint32_t rkey, length, sent, got;
	struct fabric_send_wr bind; /* BIND_MW */
	bool done;
	enum fabric_status status;
};

enum conn_state {
	CONN_NEW, /* resolving, or asked for */
	CONN_CONNECTING,
	CONN_OPEN,
	CONN_OVER,
};

struct sim_conn {
	struct fabric_conn base;
	struct list link;
	uint64_t id; /* of both ends */
	bool server;
	enum conn_state state;
	bool has_qp, error, told, destroyed, accepted;
	unsigned int refs;
	struct sim_conn *peer;
	struct sim_cm *cm;
	struct sim_pd *pd;
	struct sim_cq *cq;
	struct fabric_qp_attr attr;
	uint8_t read_depth;
	struct list recvs, sends, inbox;
	unsigned int nr_recvs, nr_sends;
	uint64_t next_seq, tx_seq, last_due;
	bool tx_scheduled;
	struct landing *landing;
	/* The host's side. */
	struct client *client;
	bool frozen;
	uint64_t slow_ns;
	void (*on_post)(void *user, const void *bytes, uint32_t length);
	void *on_post_user;
};

/* fabric.c */
struct sim_mr *key_find(uint32_t key);
/** The bytes at `address` of a key; NULL: it is none, or not for that, or not on that queue pair. */
uint8_t *key_address(uint32_t key, const struct sim_conn *conn, uint64_t address, uint64_t length,
		     unsigned int access, struct sim_mr **mr);
/** For a bind that is posted. */
uint32_t window_next_key(struct fabric_mw *mw);
/** Has a window answer to its new key, on that queue pair. False: it may not be bound so. */
bool window_bind(const struct sim_conn *conn, const struct fabric_send_wr *wr, uint32_t rkey);
/** Adapters take long to destroy a queue pair with windows on it: there are none. */
void fabric_check_unbound(const struct sim_conn *conn);
void cq_push(struct sim_cq *cq, const struct fabric_wc *wc);
void cq_forget(struct sim_cq *cq, const struct fabric_conn *conn);
bool fabric_fault(unsigned int in_thousand);

/* wire.c */
/** Whether anything of ours that names the key has not been completed, on a queue not in error. */
bool wire_names(uint32_t lkey);
/** What is on its way through the adapter lands now. */
void wire_land_all(struct sim_mr *mr);
/** … or may take its time still, as if it were that one's. */
void wire_land_later(struct sim_mr *mr, struct sim_mr *slab);
int sim_post_send(struct fabric_conn *conn, struct fabric_send_wr *wr, struct fabric_send_wr **bad);
int sim_post_recv(struct fabric_conn *conn, struct fabric_recv_wr *wr, struct fabric_recv_wr **bad);
void conn_break(struct sim_conn *c);
void conn_put(struct sim_conn *c);

/* cm.c */
int sim_cm_open(struct fabric *f, struct fabric_cm **cm);
void sim_cm_close(struct fabric_cm *cm);
int sim_cm_poll(struct fabric_cm *cm, struct fabric_cm_event *event);
int sim_listen(struct fabric_cm *cm, const struct sockaddr *addr, int backlog,
	       struct fabric_listener **listener);
void sim_listener_destroy(struct fabric_listener *listener);
int sim_listener_addr(const struct fabric_listener *listener, struct sockaddr_storage *addr);
int sim_resolve(struct fabric_cm *cm, const struct sockaddr *dst, unsigned int timeout_ms,
		void *user, struct fabric_conn **conn);
int sim_qp_create(struct fabric_conn *conn, const struct fabric_qp_attr *attr);
int sim_connect(struct fabric_conn *conn, const struct fabric_conn_param *param);
int sim_accept(struct fabric_conn *conn, const struct fabric_conn_param *param);
int sim_reject(struct fabric_conn *conn, const void *private_data, uint8_t len);
int sim_disconnect(struct fabric_conn *conn);
int sim_conn_fence(struct fabric_conn *conn);
void sim_conn_destroy(struct fabric_conn *conn);
int sim_conn_addr(const struct fabric_conn *conn, struct sockaddr_storage *addr);
bool sim_conn_returns(const struct fabric_conn *conn);
bool sim_conn_taken(const struct fabric_conn *conn);
const char *sim_conn_breach(const struct fabric_conn *conn);
unsigned int sim_conn_read_depth(const struct fabric_conn *conn);

#endif
