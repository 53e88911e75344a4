// SPDX-License-Identifier: BSD-3-Clause
/*
 * The fabric over rdma-core: opening it, its devices, protection domains, registrations and windows.
 * Any thread; registering and deregistering block in the kernel, so they belong off polling threads.
 *
 * The contexts are librdmacm's own (rdma_get_devices): a queue pair made for one of its ids has to
 * live in the context that librdmacm opened, so everything else does too.
 */
#include "fabric/verbs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fabric/verbs.h"

#define CM_NODE "/dev/infiniband/rdma_cm"

/* IB_UVERBS_DEVICE_FLUSH_*: in the kernel's interface since 6.2, unnamed in libibverbs. */
#define CAP_FLUSH_GLOBAL     (1ull << 38)
#define CAP_FLUSH_PERSISTENT (1ull << 39)

/* ---- errors and flags ----------------------------------------------------------------------- */

int verbs_error(int err)
{
	if (err < 0)
		err = -err;
	switch (err) {
	case 0:
		return -EIO;
	case ENOSYS:
	case EPROTONOSUPPORT:
		return -EOPNOTSUPP;
	case EAGAIN: /* the kernel, where a table is full */
	case ENOSPC:
		return -ENOMEM;
	case ESHUTDOWN:
	case ECONNRESET:
		return -ENOTCONN;
	default:
		return -err;
	}
}

int verbs_cm_result(int rc)
{
	return rc ? verbs_error(rc == -1 ? errno : rc) : 0;
}

unsigned int verbs_access(unsigned int access)
{
	unsigned int v = 0;

	if (access & FABRIC_ACCESS_LOCAL_WRITE)
		v |= IBV_ACCESS_LOCAL_WRITE;
	if (access & FABRIC_ACCESS_REMOTE_READ)
		v |= IBV_ACCESS_REMOTE_READ;
	if (access & FABRIC_ACCESS_REMOTE_WRITE)
		v |= IBV_ACCESS_REMOTE_WRITE;
	if (access & FABRIC_ACCESS_MW_BIND)
		v |= IBV_ACCESS_MW_BIND;
	if (access & FABRIC_ACCESS_ON_DEMAND)
		v |= IBV_ACCESS_ON_DEMAND;
#ifdef LEASEHOLD_HAVE_IBV_WR_FLUSH
	if (access & FABRIC_ACCESS_FLUSH_GLOBAL)
		v |= IBV_ACCESS_FLUSH_GLOBAL;
	if (access & FABRIC_ACCESS_FLUSH_PERSISTENT)
		v |= IBV_ACCESS_FLUSH_PERSISTENT;
#endif
	return v;
}

/* ---- memory --------------------------------------------------------------------------------- */

static int verbs_pd_alloc(struct fabric_device *dev, struct fabric_pd **out)
{
	struct verbs_pd *pd = calloc(1, sizeof(*pd));

	if (!pd)
		return -ENOMEM;
	pd->base.ops = &verbs_ops;
	pd->base.device = dev;
	errno = 0;
	pd->pd = ibv_alloc_pd(verbs_device(dev)->ctx);
	if (!pd->pd) {
		int rc = verbs_error(errno);

		free(pd);
		return rc;
	}
	*out = &pd->base;
	return 0;
}

static int verbs_pd_free(struct fabric_pd *base)
{
	struct verbs_pd *pd = VERBS_OF(pd, base);
	int err = ibv_dealloc_pd(pd->pd);

	if (err)
		return verbs_error(err);
	free(pd);
	return 0;
}

static int verbs_mr_reg(struct fabric_pd *pd, void *addr, uint64_t length, uint64_t iova,
			unsigned int access, struct fabric_mr **out)
{
	const struct fabric_device_info *info = &pd->device->info;
	struct verbs_mr *mr;

	if ((access & FABRIC_ACCESS_ON_DEMAND) && !info->odp)
		return -EOPNOTSUPP;
	if ((access & (FABRIC_ACCESS_FLUSH_GLOBAL | FABRIC_ACCESS_FLUSH_PERSISTENT)) &&
	    !info->flush)
		return -EOPNOTSUPP;
	if (access & FABRIC_ACCESS_REMOTE_WRITE)
		access |= FABRIC_ACCESS_LOCAL_WRITE;
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		return -ENOMEM;
	errno = 0;
	mr->mr = ibv_reg_mr_iova2(VERBS_OF(pd, pd)->pd, addr, length, iova, verbs_access(access));
	if (!mr->mr) {
		int rc = verbs_error(errno);

		free(mr);
		return rc;
	}
	mr->base.pd = pd;
	mr->base.addr = addr;
	mr->base.iova = iova;
	mr->base.length = length;
	mr->base.lkey = mr->mr->lkey;
	mr->base.rkey = mr->mr->rkey;
	*out = &mr->base;
	return 0;
}

static int verbs_mr_dereg(struct fabric_mr *base)
{
	struct verbs_mr *mr = VERBS_OF(mr, base);
	int err = ibv_dereg_mr(mr->mr);

	/* With a window bound rxe says EINVAL, others EBUSY; nothing else can be wrong with it. */
	if (err)
		return abs(err) == EINVAL ? -EBUSY : verbs_error(err);
	free(mr);
	return 0;
}

static int verbs_mw_alloc(struct fabric_pd *pd, struct fabric_mw **out)
{
	struct verbs_mw *mw;

	if (!pd->device->info.windows_type2)
		return -EOPNOTSUPP;
	mw = calloc(1, sizeof(*mw));
	if (!mw)
		return -ENOMEM;
	errno = 0;
	mw->mw = ibv_alloc_mw(VERBS_OF(pd, pd)->pd, IBV_MW_TYPE_2);
	if (!mw->mw) {
		int rc = verbs_error(errno);

		free(mw);
		return rc;
	}
	mw->base.pd = pd;
	mw->base.rkey = mw->mw->rkey;
	*out = &mw->base;
	return 0;
}

static int verbs_mw_free(struct fabric_mw *base)
{
	struct verbs_mw *mw = VERBS_OF(mw, base);
	int err = ibv_dealloc_mw(mw->mw);

	if (err)
		return verbs_error(err);
	free(mw);
	return 0;
}

/* ---- devices -------------------------------------------------------------------------------- */

/* How much a queue pair sends inline cannot be asked, only tried. */
static uint32_t probe_inline(struct ibv_context *ctx)
{
	struct ibv_pd *pd = ibv_alloc_pd(ctx);
	struct ibv_cq *cq = ibv_create_cq(ctx, 2, NULL, NULL, 0);
	uint32_t found = 0;

	for (uint32_t want = 512; pd && cq && want >= 32 && found == 0; want /= 2) {
		struct ibv_qp_init_attr attr = {
			.send_cq = cq,
			.recv_cq = cq,
			.qp_type = IBV_QPT_RC,
			.cap = {.max_send_wr = 1,
				.max_recv_wr = 1,
				.max_send_sge = 1,
				.max_recv_sge = 1,
				.max_inline_data = want},
		};
		struct ibv_qp *qp = ibv_create_qp(pd, &attr);

		if (!qp)
			continue;
		found = want;
		(void)ibv_destroy_qp(qp);
	}
	if (cq)
		(void)ibv_destroy_cq(cq);
	if (pd)
		(void)ibv_dealloc_pd(pd);
	return found;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static int device_init(struct verbs_device *dev, struct ibv_context *ctx)
{
	const uint32_t odp_needed = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_RECV |
				    IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;
	const unsigned int type2 = IBV_DEVICE_MEM_WINDOW_TYPE_2A | IBV_DEVICE_MEM_WINDOW_TYPE_2B;
	struct fabric_device_info *info = &dev->base.info;
	struct ibv_device_attr_ex ex = {0};
	const struct ibv_device_attr *attr = &ex.orig_attr;
	struct ibv_port_attr port;
	int err = ibv_query_device_ex(ctx, NULL, &ex);

	if (err)
		return verbs_error(err);
	dev->base.ops = &verbs_ops;
	dev->ctx = ctx;
	dev->max_cqe = (uint32_t)attr->max_cqe;
	dev->max_srq_wr = (uint32_t)attr->max_srq_wr;
	(void)pthread_mutex_init(&dev->qp_lock, NULL);
	(void)pthread_mutex_init(&dev->event_lock, NULL);

	(void)strncpy(info->name, ibv_get_device_name(ctx->device), sizeof(info->name) - 1);
	info->transport = ctx->device->transport_type == IBV_TRANSPORT_IWARP
				  ? FABRIC_TRANSPORT_IWARP
				  : FABRIC_TRANSPORT_IB;
	info->ethernet = info->transport == FABRIC_TRANSPORT_IB &&
			 ibv_query_port(ctx, 1, &port) == 0 &&
			 port.link_layer == IBV_LINK_LAYER_ETHERNET;
	info->read_sink_needs_bounce = info->transport == FABRIC_TRANSPORT_IWARP;
	info->odp = (ex.odp_caps.general_caps & IBV_ODP_SUPPORT) &&
		    (ex.odp_caps.per_transport_caps.rc_odp_caps & odp_needed) == odp_needed;
	info->windows_type2 = attr->device_cap_flags & type2;
#ifdef LEASEHOLD_HAVE_IBV_WR_FLUSH
	info->flush = (ex.device_cap_flags_ex & CAP_FLUSH_GLOBAL) &&
		      (ex.device_cap_flags_ex & CAP_FLUSH_PERSISTENT);
#endif
	info->max_mr_bytes = attr->max_mr_size;
	info->max_mr = (uint32_t)attr->max_mr;
	info->max_cqe = dev->max_cqe;
	info->max_qp_wr = (uint32_t)attr->max_qp_wr;
	info->max_sge = min_u32((uint32_t)attr->max_sge, FABRIC_MAX_SGE);
	info->max_read_sge = info->transport == FABRIC_TRANSPORT_IWARP ? 1 : info->max_sge;
	if (attr->max_sge_rd > 0)
		info->max_read_sge = min_u32(info->max_read_sge, (uint32_t)attr->max_sge_rd);
	/* The CM counts READs in a byte, and its largest value means "do not care". */
	info->max_read_depth = min_u32(
		min_u32((uint32_t)attr->max_qp_rd_atom, (uint32_t)attr->max_qp_init_rd_atom), 254);
	info->max_inline_bytes = probe_inline(ctx);
	return 0;
}

static void verbs_close(struct fabric *base)
{
	struct verbs_fabric *f = VERBS_OF(fabric, base);

	for (unsigned int i = 0; i < f->device_count; i++) {
		(void)pthread_mutex_destroy(&f->devices[i].qp_lock);
		(void)pthread_mutex_destroy(&f->devices[i].event_lock);
	}
	rdma_free_devices(f->contexts);
	free(f->devices);
	free(f);
}

static unsigned int verbs_device_count(const struct fabric *base)
{
	return VERBS_OF(fabric, base)->device_count;
}

static struct fabric_device *verbs_device_at(const struct fabric *base, unsigned int index)
{
	return &VERBS_OF(fabric, base)->devices[index].base;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Says in a sentence why nothing can be opened; 0 if there is hope. librdmacm itself would print. */
static int check_system(struct errtext *err)
{
	struct ibv_device **list;
	int count = 0, fd, saved;

	errno = 0;
	list = ibv_get_device_list(&count);
	saved = errno;
	if (list)
		ibv_free_device_list(list);
	if (!list && saved == EPERM)
		return errtext_set(err, -EPERM, "may not list the RDMA devices: permission denied");
	if (!list || count == 0) {
		if (access("/sys/class/infiniband_verbs", F_OK) != 0)
			return errtext_set(
				err, -ENODEV,
				"no RDMA device: the kernel's ib_uverbs is not loaded; "
				"load the adapter's driver and \"modprobe ib_uverbs\", or "
				"use the software fabric (iwarp)");
		return errtext_set(err, -ENODEV,
				   "no RDMA device: load the adapter's driver, or make a software "
				   "one (\"rdma link add rxe0 type rxe netdev DEV\"), or use the "
				   "software fabric (iwarp); if \"rdma link\" shows one, its "
				   "user-space driver (ibverbs-providers) is not installed");
	}
	fd = open(CM_NODE, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		saved = errno;
		if (saved == EACCES || saved == EPERM)
			return errtext_set(err, -EACCES,
					   "may not open " CM_NODE ": permission denied; run as a "
					   "user who may (group rdma, or root), and in a container "
					   "pass /dev/infiniband in");
		return errtext_set(err, -ENODEV,
				   "cannot open " CM_NODE " (%s): \"modprobe rdma_ucm\", and in a "
				   "container pass /dev/infiniband in",
				   strerror(saved));
	}
	(void)close(fd);
	return 0;
}

int verbs_fabric_open(struct fabric **out, struct errtext *err)
{
	struct verbs_fabric *f;
	int count = 0, rc;

	rc = check_system(err);
	if (rc)
		return rc;
	f = calloc(1, sizeof(*f));
	if (!f)
		return errtext_set(err, -ENOMEM, "out of memory");
	f->base.ops = &verbs_ops;
	f->contexts = rdma_get_devices(&count);
	if (!f->contexts || count == 0) {
		rc = errtext_set(err, -ENODEV,
				 "no RDMA device could be opened: may this user read and write "
				 "/dev/infiniband/uverbs*? (group rdma, or root)");
		goto free_fabric;
	}
	f->devices = calloc((size_t)count, sizeof(*f->devices));
	if (!f->devices) {
		rc = errtext_set(err, -ENOMEM, "out of memory");
		goto free_contexts;
	}
	rc = -ENODEV;
	for (int i = 0; i < count; i++) {
		int failed = device_init(&f->devices[f->device_count], f->contexts[i]);

		f->devices[f->device_count].fabric = f;

		if (failed)
			rc = failed;
		else
			f->device_count++;
	}
	if (f->device_count == 0) {
		rc = errtext_set(err, rc, "cannot query the RDMA device: %s", strerror(-rc));
		goto free_devices;
	}
	*out = &f->base;
	return 0;

free_devices:
	free(f->devices);
free_contexts:
	if (f->contexts)
		rdma_free_devices(f->contexts);
free_fabric:
	free(f);
	return rc;
}

const struct fabric_ops verbs_ops = {
	.name = "verbs",
	.close = verbs_close,
	.device_count = verbs_device_count,
	.device_at = verbs_device_at,
	.pd_alloc = verbs_pd_alloc,
	.pd_free = verbs_pd_free,
	.mr_reg = verbs_mr_reg,
	.mr_dereg = verbs_mr_dereg,
	.mw_alloc = verbs_mw_alloc,
	.mw_free = verbs_mw_free,
	.cq_create = verbs_cq_create,
	.cq_destroy = verbs_cq_destroy,
	.cq_poll = verbs_cq_poll,
	.cq_arm = verbs_cq_arm,
	.srq_create = verbs_srq_create,
	.srq_destroy = verbs_srq_destroy,
	.post_send = verbs_post_send,
	.post_recv = verbs_post_recv,
	.post_srq_recv = verbs_post_srq_recv,
	.cm_open = verbs_cm_open,
	.cm_close = verbs_cm_close,
	.cm_poll = verbs_cm_poll,
	.listen = verbs_listen,
	.listener_destroy = verbs_listener_destroy,
	.listener_addr = verbs_listener_addr,
	.resolve = verbs_resolve,
	.qp_create = verbs_qp_create,
	.connect = verbs_connect,
	.accept = verbs_accept,
	.reject = verbs_reject,
	.disconnect = verbs_disconnect,
	.conn_fence = verbs_conn_fence,
	.conn_destroy = verbs_conn_destroy,
	.conn_peer = verbs_conn_peer,
	.conn_local = verbs_conn_local,
	.conn_returns = verbs_conn_returns,
	.conn_taken = verbs_conn_taken,
	.conn_breach = verbs_conn_breach,
	.conn_read_depth = verbs_conn_read_depth,
	.loopback_pair = verbs_loopback_pair,
};
