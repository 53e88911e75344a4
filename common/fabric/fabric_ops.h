/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For implementations of the fabric only. Each public object begins with the struct here that bears
 * its name; fabric.c finds the ops through it. Every slot is filled.
 */
#ifndef LEASEHOLD_FABRIC_OPS_H
#define LEASEHOLD_FABRIC_OPS_H

#include "fabric/fabric.h"

struct fabric_ops {
	const char *name;
	void (*close)(struct fabric *f);
	unsigned int (*device_count)(const struct fabric *f);
	struct fabric_device *(*device_at)(const struct fabric *f, unsigned int index);

	int (*pd_alloc)(struct fabric_device *dev, struct fabric_pd **pd);
	int (*pd_free)(struct fabric_pd *pd);
	int (*mr_reg)(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
		      unsigned int access, struct fabric_mr **mr);
	int (*mr_dereg)(struct fabric_mr *mr);
	int (*mw_alloc)(struct fabric_pd *pd, struct fabric_mw **mw);
	int (*mw_free)(struct fabric_mw *mw);

	int (*cq_create)(struct fabric_device *dev, unsigned int entries, struct fabric_cq **cq);
	void (*cq_destroy)(struct fabric_cq *cq);
	int (*cq_poll)(struct fabric_cq *cq, struct fabric_wc *wc, unsigned int n);
	int (*cq_arm)(struct fabric_cq *cq);
	int (*srq_create)(struct fabric_pd *pd, unsigned int max_wr, unsigned int max_sge,
			  struct fabric_srq **srq);
	void (*srq_destroy)(struct fabric_srq *srq);

	int (*post_send)(struct fabric_conn *conn, struct fabric_send_wr *wr,
			 struct fabric_send_wr **bad);
	int (*post_recv)(struct fabric_conn *conn, struct fabric_recv_wr *wr,
			 struct fabric_recv_wr **bad);
	int (*post_srq_recv)(struct fabric_srq *srq, struct fabric_recv_wr *wr,
			     struct fabric_recv_wr **bad);

	int (*cm_open)(struct fabric *f, struct fabric_cm **cm);
	void (*cm_close)(struct fabric_cm *cm);
	int (*cm_poll)(struct fabric_cm *cm, struct fabric_cm_event *event);
	int (*listen)(struct fabric_cm *cm, const struct sockaddr *addr, int backlog,
		      struct fabric_listener **listener);
	void (*listener_destroy)(struct fabric_listener *listener);
	int (*listener_addr)(const struct fabric_listener *listener, struct sockaddr_storage *addr);
	int (*resolve)(struct fabric_cm *cm, const struct sockaddr *dst, unsigned int timeout_ms,
		       void *user, struct fabric_conn **conn);
	int (*qp_create)(struct fabric_conn *conn, const struct fabric_qp_attr *attr);
	int (*connect)(struct fabric_conn *conn, const struct fabric_conn_param *param);
	int (*accept)(struct fabric_conn *conn, const struct fabric_conn_param *param);
	int (*reject)(struct fabric_conn *conn, const void *private_data, uint8_t len);
	int (*disconnect)(struct fabric_conn *conn);
	int (*conn_fence)(struct fabric_conn *conn);
	void (*conn_destroy)(struct fabric_conn *conn);
	int (*conn_peer)(const struct fabric_conn *conn, struct sockaddr_storage *addr);
	int (*conn_local)(const struct fabric_conn *conn, struct sockaddr_storage *addr);
	bool (*conn_returns)(const struct fabric_conn *conn);
	bool (*conn_taken)(const struct fabric_conn *conn);
	const char *(*conn_breach)(const struct fabric_conn *conn);
	unsigned int (*conn_read_depth)(const struct fabric_conn *conn);
	int (*loopback_pair)(struct fabric_device *dev, const struct fabric_qp_attr *a,
			     const struct fabric_qp_attr *b, struct fabric_conn **conn_a,
			     struct fabric_conn **conn_b);
};

struct fabric {
	const struct fabric_ops *ops;
};

struct fabric_device {
	const struct fabric_ops *ops;
	struct fabric_device_info info;
};

struct fabric_pd {
	const struct fabric_ops *ops;
	struct fabric_device *device;
};

struct fabric_cq {
	const struct fabric_ops *ops;
	int fd;
	bool moved; /* bytes, since fabric_cq_moved() was asked */
};

struct fabric_srq {
	const struct fabric_ops *ops;
};

struct fabric_cm {
	const struct fabric_ops *ops;
	int fd;
};

struct fabric_listener {
	const struct fabric_ops *ops;
	void *user;
};

struct fabric_conn {
	const struct fabric_ops *ops;
	struct fabric_device *device;
	void *user;
};

#endif
