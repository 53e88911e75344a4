// SPDX-License-Identifier: BSD-3-Clause
/*
 * The front door of the fabric: checks what every implementation would have to check alike, then
 * dispatches to the ops that the object carries. Holds no state; runs on the caller's thread.
 */
#include "fabric/fabric.h"

#include <errno.h>

#include "fabric/fabric_ops.h"

/* ---- texts ---------------------------------------------------------------------------------- */

static const char *const status_texts[] = {
	[FABRIC_OK] = "success",
	[FABRIC_FLUSHED] = "flushed: the queue pair is in error",
	[FABRIC_REMOTE_ACCESS] = "remote access error",
	[FABRIC_LOCAL_PROTECTION] = "local protection error",
	[FABRIC_LENGTH] = "length error",
	[FABRIC_REMOTE_OPERATION] = "remote operation error",
	[FABRIC_RETRY_EXCEEDED] = "transport retry count exceeded",
	[FABRIC_RNR_EXCEEDED] = "receiver-not-ready retry count exceeded",
	[FABRIC_MW_BIND_ERROR] = "memory window bind error",
	[FABRIC_GENERAL_ERROR] = "general error",
};

const char *fabric_status_text(enum fabric_status status)
{
	if ((size_t)status >= ARRAY_SIZE(status_texts))
		return "unknown status";
	return status_texts[status];
}

const char *fabric_refusal_text(int error)
{
	switch (error) {
	case -EPROTONOSUPPORT:
		return "the peer demands MPA markers, which Leasehold does not speak";
	case -EPROTO:
		return "what answers there does not speak MPA (iWARP): another program's port?";
	case -EMSGSIZE:
		return "the peer sent more private data than 255 bytes";
	default:
		return NULL;
	}
}

/* ---- devices and memory --------------------------------------------------------------------- */

unsigned int fabric_device_count(const struct fabric *f)
{
	return f->ops->device_count(f);
}

struct fabric_device *fabric_device_at(const struct fabric *f, unsigned int index)
{
	assert(index < f->ops->device_count(f));
	return f->ops->device_at(f, index);
}

const struct fabric_device_info *fabric_device_info(const struct fabric_device *dev)
{
	return &dev->info;
}

const char *fabric_name(const struct fabric *f)
{
	return f->ops->name;
}

void fabric_close(struct fabric *f)
{
	if (f)
		f->ops->close(f);
}

int fabric_pd_alloc(struct fabric_device *dev, struct fabric_pd **pd)
{
	return dev->ops->pd_alloc(dev, pd);
}

int fabric_pd_free(struct fabric_pd *pd)
{
	return pd ? pd->ops->pd_free(pd) : 0;
}

struct fabric_device *fabric_pd_device(const struct fabric_pd *pd)
{
	return pd->device;
}

int fabric_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
		  unsigned int access, struct fabric_mr **mr)
{
	/* Neither the addresses nor what the peer names may wrap. */
	if (length == 0 || length > SIZE_MAX || (uintptr_t)addr > UINTPTR_MAX - length ||
	    iova > UINT64_MAX - length)
		return -EINVAL;
	return pd->ops->mr_reg(pd, addr, length, iova, access, mr);
}

int fabric_mr_dereg(struct fabric_mr *mr)
{
	return mr ? mr->pd->ops->mr_dereg(mr) : 0;
}

int fabric_mw_alloc(struct fabric_pd *pd, struct fabric_mw **mw)
{
	return pd->ops->mw_alloc(pd, mw);
}

int fabric_mw_free(struct fabric_mw *mw)
{
	return mw ? mw->pd->ops->mw_free(mw) : 0;
}

/* ---- completion queues and receive queues --------------------------------------------------- */

int fabric_cq_create(struct fabric_device *dev, unsigned int entries, struct fabric_cq **cq)
{
	if (entries == 0)
		return -EINVAL;
	return dev->ops->cq_create(dev, entries, cq);
}

void fabric_cq_destroy(struct fabric_cq *cq)
{
	if (cq)
		cq->ops->cq_destroy(cq);
}

int fabric_cq_poll(struct fabric_cq *cq, struct fabric_wc *wc, unsigned int n)
{
	return cq->ops->cq_poll(cq, wc, n);
}

bool fabric_cq_moved(struct fabric_cq *cq)
{
	bool moved = cq->moved;

	cq->moved = false;
	return moved;
}

int fabric_cq_fd(const struct fabric_cq *cq)
{
	return cq->fd;
}

int fabric_cq_arm(struct fabric_cq *cq)
{
	return cq->ops->cq_arm(cq);
}

int fabric_srq_create(struct fabric_pd *pd, unsigned int max_wr, unsigned int max_sge,
		      struct fabric_srq **srq)
{
	if (max_wr == 0 || max_sge == 0 || max_sge > FABRIC_MAX_SGE)
		return -EINVAL;
	return pd->ops->srq_create(pd, max_wr, max_sge, srq);
}

void fabric_srq_destroy(struct fabric_srq *srq)
{
	if (srq)
		srq->ops->srq_destroy(srq);
}

/* ---- work requests -------------------------------------------------------------------------- */

int fabric_post_send(struct fabric_conn *conn, struct fabric_send_wr *wr,
		     struct fabric_send_wr **bad)
{
	struct fabric_send_wr *unposted;

	return conn->ops->post_send(conn, wr, bad ? bad : &unposted);
}

int fabric_post_recv(struct fabric_conn *conn, struct fabric_recv_wr *wr,
		     struct fabric_recv_wr **bad)
{
	struct fabric_recv_wr *unposted;

	return conn->ops->post_recv(conn, wr, bad ? bad : &unposted);
}

int fabric_post_srq_recv(struct fabric_srq *srq, struct fabric_recv_wr *wr,
			 struct fabric_recv_wr **bad)
{
	struct fabric_recv_wr *unposted;

	return srq->ops->post_srq_recv(srq, wr, bad ? bad : &unposted);
}

/* ---- connections ---------------------------------------------------------------------------- */

int fabric_cm_open(struct fabric *f, struct fabric_cm **cm)
{
	return f->ops->cm_open(f, cm);
}

void fabric_cm_close(struct fabric_cm *cm)
{
	if (cm)
		cm->ops->cm_close(cm);
}

int fabric_cm_fd(const struct fabric_cm *cm)
{
	return cm->fd;
}

int fabric_cm_poll(struct fabric_cm *cm, struct fabric_cm_event *event)
{
	return cm->ops->cm_poll(cm, event);
}

int fabric_listen(struct fabric_cm *cm, const struct sockaddr *addr, int backlog, void *user,
		  struct fabric_listener **listener)
{
	struct fabric_listener *l;
	int rc = cm->ops->listen(cm, addr, backlog, &l);

	if (rc)
		return rc;
	l->user = user;
	*listener = l;
	return 0;
}

void fabric_listener_destroy(struct fabric_listener *listener)
{
	if (listener)
		listener->ops->listener_destroy(listener);
}

void *fabric_listener_user(const struct fabric_listener *listener)
{
	return listener->user;
}

int fabric_listener_addr(const struct fabric_listener *listener, struct sockaddr_storage *addr)
{
	return listener->ops->listener_addr(listener, addr);
}

int fabric_resolve(struct fabric_cm *cm, const struct sockaddr *dst, unsigned int timeout_ms,
		   void *user, struct fabric_conn **conn)
{
	return cm->ops->resolve(cm, dst, timeout_ms, user, conn);
}

static bool qp_attr_ok(const struct fabric_qp_attr *attr)
{
	return attr->pd && attr->cq && attr->max_send_wr > 0 && attr->max_send_sge > 0 &&
	       attr->max_send_sge <= FABRIC_MAX_SGE && attr->max_recv_sge <= FABRIC_MAX_SGE;
}

int fabric_qp_create(struct fabric_conn *conn, const struct fabric_qp_attr *attr)
{
	if (!qp_attr_ok(attr) || attr->pd->device != conn->device)
		return -EINVAL;
	return conn->ops->qp_create(conn, attr);
}

static bool conn_param_ok(const struct fabric_conn_param *param)
{
	return param->private_data_len <= FABRIC_PRIVATE_DATA_MAX &&
	       (param->private_data || param->private_data_len == 0);
}

int fabric_connect(struct fabric_conn *conn, const struct fabric_conn_param *param)
{
	if (!conn_param_ok(param))
		return -EINVAL;
	return conn->ops->connect(conn, param);
}

int fabric_accept(struct fabric_conn *conn, const struct fabric_conn_param *param)
{
	if (!conn_param_ok(param))
		return -EINVAL;
	return conn->ops->accept(conn, param);
}

int fabric_reject(struct fabric_conn *conn, const void *private_data, uint8_t len)
{
	if (len > FABRIC_REJECT_DATA_MAX || (!private_data && len > 0))
		return -EINVAL;
	return conn->ops->reject(conn, private_data, len);
}

int fabric_disconnect(struct fabric_conn *conn)
{
	return conn->ops->disconnect(conn);
}

int fabric_conn_fence(struct fabric_conn *conn)
{
	return conn->ops->conn_fence(conn);
}

void fabric_conn_destroy(struct fabric_conn *conn)
{
	if (conn)
		conn->ops->conn_destroy(conn);
}

void fabric_conn_set_user(struct fabric_conn *conn, void *user)
{
	conn->user = user;
}

void *fabric_conn_user(const struct fabric_conn *conn)
{
	return conn->user;
}

struct fabric_device *fabric_conn_device(const struct fabric_conn *conn)
{
	return conn->device;
}

int fabric_conn_peer(const struct fabric_conn *conn, struct sockaddr_storage *addr)
{
	return conn->ops->conn_peer(conn, addr);
}

int fabric_conn_local(const struct fabric_conn *conn, struct sockaddr_storage *addr)
{
	return conn->ops->conn_local(conn, addr);
}

bool fabric_conn_returns(const struct fabric_conn *conn)
{
	return conn->ops->conn_returns(conn);
}

bool fabric_conn_taken(const struct fabric_conn *conn)
{
	return conn->ops->conn_taken(conn);
}

const char *fabric_conn_breach(const struct fabric_conn *conn)
{
	return conn->ops->conn_breach(conn);
}

unsigned int fabric_conn_read_depth(const struct fabric_conn *conn)
{
	return conn->ops->conn_read_depth(conn);
}

int fabric_loopback_pair(struct fabric_device *dev, const struct fabric_qp_attr *a,
			 const struct fabric_qp_attr *b, struct fabric_conn **conn_a,
			 struct fabric_conn **conn_b)
{
	if (!qp_attr_ok(a) || !qp_attr_ok(b) || a->pd->device != dev || b->pd->device != dev)
		return -EINVAL;
	return dev->ops->loopback_pair(dev, a, b, conn_a, conn_b);
}
